"""The commands ``train``, ``show`` and ``export``. Heavy imports wait until a command needs them."""

import argparse
import contextlib
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from deepnet.app.terminal import Compiling, Progress, complain, say, wrong_input
from deepnet.app.texts import column_heads, header, last_metrics, row, summary, sums, zeros

if TYPE_CHECKING:
    from deepnet.app.run import Run
    from deepnet.config import Config
    from deepnet.data import Dataset, Files
    from deepnet.data.tasks import TaskSequence
    from deepnet.ensemble import Trained

#: Smallest time between two drawings of the figure while training goes on, in seconds.
FIGURE_PERIOD = 30.0

#: Arguments of ``train`` that are no settings of the network.
_NOT_SETTINGS = ("command", "dataset", "data_dir", "out", "resume", "plot", "device")

#: Those that say what is to be done with a file.
_OF_FILES = ("target", "test", "test_fraction", "stratify", "categorical", "ignore")


def train(args: argparse.Namespace) -> int:
    if args.plot:
        _require_matplotlib()
    given = {
        name: value if name in _OF_FILES else _unwrapped(name, value)
        for name, value in vars(args).items()
        if name not in _NOT_SETTINGS
    }
    with (_resumed if args.resume else _begun)(args, given) as (run, network, data):
        try:
            run.prepare(network)
            return _train_and_print(run, network, data, args.plot and run.communicator.rank == 0)
        except KeyboardInterrupt:
            _print_interrupted(run)
            return 130


def _require_matplotlib() -> None:
    from deepnet.data import DataError

    try:
        import deepnet.app.figures  # noqa: F401
    except ModuleNotFoundError as error:
        raise DataError(f"{error}, or train with --no-plot") from error
    except ImportError as error:  # there, and broken
        raise DataError(f"matplotlib is needed for the figure ({error}): mend it, or train with --no-plot") from error


def _unwrapped(name: str, value: Any) -> Any:
    """Return a single value of a list as itself: it is meant for all layers, those that come to it by default
    included."""
    return value[0] if isinstance(value, list) and len(value) == 1 and name != "hidden" else value


@contextlib.contextmanager
def _begun(args: argparse.Namespace, given: dict[str, Any]) -> "Iterator[tuple[Run, Trained, Dataset | TaskSequence]]":
    """A new run in a folder that is locked; nothing is written yet."""
    from deepnet.app.following import run_of
    from deepnet.app.run import Description, default_directory
    from deepnet.config import Config
    from deepnet.data import load_files
    from deepnet.data.tasks import Tasks, load_data
    from deepnet.kernels.devices import operations_for
    from deepnet.outputs import AUTO, classifying, numeric
    from deepnet.processes import world
    from factorgraph.interface.arguments import check_choice

    settings = {name: value for name, value in given.items() if name not in _OF_FILES}
    task, tasks = settings.pop("task", "multiclass"), settings.pop("tasks", None)
    with wrong_input():
        tasks = None if tasks is None else str(Tasks.of(tasks))
        files = _files(args.dataset, given, task, tasks)
        if files is None:
            config = Config(**settings)
            check_choice("output", config.output, (AUTO, *classifying()))  # all data sets have labels
        else:
            if "noise_variance" in settings:  # which only this output has
                settings.setdefault("output", "gaussian")
            config = _config_for_files(settings, regression=settings.get("output") in numeric())
        operations_for(args.device or "cpu", config.dtype)
    name = args.dataset if files is None else files.name
    directory = args.out or default_directory(name, task, tasks, config.method, config.seed)
    communicator = world()
    run_here = run_of(communicator)
    run_here.check_free(directory)
    if files is None:
        with communicator.after_first():  # which downloads for all
            data = load_data(args.dataset, task=task, tasks=tasks, data_dir=args.data_dir, dtype=config.dtype)
    else:
        with wrong_input():
            data = load_files(files, kind=_kind(config.output), seed=config.seed, dtype=config.dtype)
            if data.numbers is not None:
                config = _config_for_files(settings, regression=True)
    description = Description.of(data, config, args.data_dir, args.device or "cpu", files)
    run = run_here(directory, description, communicator=communicator)
    with wrong_input():
        network = run.load(run.description.device)
    with run.begun():
        yield run, network, data


def _files(dataset: "str | Path", given: Mapping[str, Any], task: str, tasks: str | None) -> "Files | None":
    """Return which files are meant by the options; None for the name of a data set.

    Raises:
        ValueError: an option is missing, or one too many.
    """
    from deepnet.data import Files
    from deepnet.data.own import as_given, column_names, needs_labels

    options = {name: given[name] for name in _OF_FILES if name in given}
    if isinstance(dataset, str):
        if options:
            raise ValueError(f"`{next(iter(options))}` must be left out for {dataset}, which is no file")
        return None
    if task != "multiclass":
        raise ValueError(f"`task` must be multiclass for a file, got {task}")
    if tasks is not None:
        raise ValueError(f"`tasks` must be left out for a file, got {tasks}")
    if "target" not in options:
        what = "be the file with the labels" if needs_labels(dataset) else f"be {column_names(dataset)}"
        raise ValueError(f"`target` must {what} of {dataset}, got none")
    return Files(**as_given(dataset, options))


def _config_for_files(settings: Mapping[str, Any], *, regression: bool) -> "Config":
    """Return the settings given and the defaults of the estimator, which suit small tables."""
    from dataclasses import fields
    from inspect import signature

    from deepnet.config import Config
    from deepnet.estimator import MessagePassingClassifier, MessagePassingRegressor
    from deepnet.outputs import AUTO

    known = {field.name for field in fields(Config)}
    parameters = signature(MessagePassingRegressor if regression else MessagePassingClassifier).parameters
    defaults = {name: each.default for name, each in parameters.items() if name in known}
    return Config(**defaults | {name: value for name, value in settings.items() if (name, value) != ("output", AUTO)})


def _kind(output: str) -> str | None:
    """Return what the target is for an output: one of ``deepnet.data.target.KINDS``, or None if either may be."""
    from deepnet.outputs import AUTO, numeric

    if output in numeric():
        return "counts" if output == "poisson" else "numbers"
    return None if output == AUTO else "classes"


@contextlib.contextmanager
def _resumed(
    args: argparse.Namespace, given: dict[str, Any]
) -> "Iterator[tuple[Run, Trained, Dataset | TaskSequence]]":
    """The run in the folder, which is locked before it is read; further epochs added."""
    from deepnet.app.following import run_of
    from deepnet.app.run import check_writable, default_directory
    from deepnet.config import Config
    from deepnet.data.own import as_given, data_name, stored
    from deepnet.kernels.devices import operations_for
    from deepnet.processes import world

    defaults = {name: given.get(name, getattr(Config, name)) for name in ("algorithm", "closure", "seed")}
    method = defaults["closure" if defaults["algorithm"] == Config.algorithm else "algorithm"]
    task, tasks = given.get("task", "multiclass"), given.get("tasks")
    name = args.dataset if isinstance(args.dataset, str) else data_name(args.dataset)
    directory = args.out or default_directory(name, task, tasks, method, defaults["seed"])
    communicator = world()
    with run_of(communicator).resumed(directory) as run:
        run.communicator = communicator
        with wrong_input():
            if isinstance(args.dataset, Path):
                given |= stored(as_given(args.dataset, {name: given[name] for name in _OF_FILES if name in given}))
            run.description.check_same(str(args.dataset), given)
            run.extend(given.get("epochs", run.description.config.epochs), args.device)
            operations_for(run.description.device, run.description.config.dtype)
        check_writable(directory)
        if changed := run.description.changed_versions():
            complain(f"note: the last digits may differ from before: {changed}")
        data = run.description.load_data(args.data_dir)
        with wrong_input():
            network = run.load(run.description.device)
        yield run, network, data


def _train_and_print(run: "Run", network: "Trained", data: "Dataset | TaskSequence", plot: bool) -> int:
    from deepnet.continual import tasks_of
    from deepnet.train import status

    say(header(run, network))
    if network.epoch:
        say(f"resumed after epoch {network.epoch} of {run.description.epochs}")
    measures = run.description.measures
    say(column_heads(network, measures))
    progress, drawn = Progress(len(tasks_of(data)[0].x_train)), perf_counter()
    with contextlib.closing(progress), contextlib.closing(Compiling()) as compiling:
        for measured in run.train(network, data, progress, compiling):
            progress.close()
            say(row(measured, run.description.epochs, measures))
            if plot and perf_counter() - drawn > FIGURE_PERIOD:
                _draw(run, network)
                drawn = perf_counter()
    if plot:
        _draw(run, network)
    chance = data.target.chance(tasks_of(data)[0].y_train)
    say(summary(run, status(run.history, chance, network.config.remedy, measures), plot))
    return 0


def _draw(run: "Run", network: "Trained") -> None:
    from deepnet.app.figures import save_curves, save_tasks
    from deepnet.app.run import TASKS_FIGURE
    from deepnet.continual import TASK_ERRORS

    if run.history:
        names, description = [layer.plan.name for layer in network.members[0].layers], run.description
        save_curves(run.figure, run.history, names, description.title(), description.measures)
    if any(TASK_ERRORS[0] in measured for measured in run.history):
        save_tasks(run.directory / TASKS_FIGURE, run.history, run.description.title())


def _print_interrupted(run: "Run") -> None:
    command = ["deepnet", "train", run.description.source, "--out", str(run.directory), "--resume"]
    complain(f"interrupted after epoch {len(run.history)}; go on with: {shlex.join(command)}")


# --- show and export --------------------------------------------------------------------------------------------------


def show(args: argparse.Namespace) -> int:
    from deepnet.app.run import Run

    run = Run.open(args.run)
    network = run.load()
    say(f"{header(run, network)}\n\n{last_metrics(run, network)}\n{sums(network)}")
    if found := zeros(network):
        say(found)
    return 0


def export(args: argparse.Namespace) -> int:
    from deepnet.app.run import Run
    from deepnet.data import DataError
    from deepnet.export import packing

    run = Run.open(args.run)
    network = run.load()
    if args.bayes:
        return _export_posterior(run, network, args)
    try:
        with wrong_input():
            packing.export(run.exported(network), args.out, args.to)
    except ImportError as error:
        raise DataError(str(error)) from error
    say(f"{args.out}: {args.out.stat().st_size} bytes, {args.to}, from epoch {network.epoch} of {args.run}")
    return 0


def _export_posterior(run: "Run", network: "Trained", args: argparse.Namespace) -> int:
    """Write means and variances in 8 bits each, and say what that costs on the test set."""
    from deepnet.metrics import measure
    from deepnet.saved import load, save
    from deepnet.state import Network

    with wrong_input():
        if args.to != "packed":
            raise ValueError(f"`bayes` must be left out for {args.to}, which has no posterior")
        save(network, args.out, packed=True)
    data, read, measures = run.description.load_data(args.data_dir), load(args.out), run.description.measures
    assert isinstance(read, Network)
    before, after = (measure(each, data.x_test, data.y_test, data.target.unit) for each in (network, read))
    names = {
        "bayes_error": f"Bayesian test {measures.error}",
        **{name: name.replace("_", " ") for name in measures.scores},
    }
    size = f"{args.out.stat().st_size} bytes, posterior of 8 bits a number"
    say(f"{args.out}: {size}, from epoch {network.epoch} of {args.run}")
    for name, text in names.items():
        say(f"{text:<40} {before[name]:10.5g} in full {after[name]:10.5g} packed")
    return 0
