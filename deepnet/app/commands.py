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
    from deepnet.data import Dataset, Files
    from deepnet.data.tasks import TaskSequence
    from deepnet.state import Network

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
            return _train_and_print(run, network, data, args.plot)
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
def _begun(args: argparse.Namespace, given: dict[str, Any]) -> "Iterator[tuple[Run, Network, Dataset | TaskSequence]]":
    """A new run in a folder that is locked; nothing is written yet."""
    from deepnet.app.run import Description, Run, check_free, default_directory
    from deepnet.config import Config
    from deepnet.data import load_files
    from deepnet.data.tasks import Tasks, load_data
    from deepnet.kernels.devices import operations_for
    from deepnet.outputs import AUTO, classifying
    from factorgraph.interface.arguments import check_choice

    settings = {name: value for name, value in given.items() if name not in _OF_FILES}
    task, tasks = settings.pop("task", "multiclass"), settings.pop("tasks", None)
    with wrong_input():
        tasks = None if tasks is None else str(Tasks.of(tasks))
        files = _files(args.dataset, given, task, tasks)
        config = Config(**settings if files is None else _settings_for_files() | settings)
        check_choice("output", config.output, (AUTO, *classifying()))  # all data sets have labels
        operations_for(args.device or "cpu", config.dtype)
    name = args.dataset if files is None else files.name
    directory = args.out or default_directory(name, task, tasks, config.method, config.seed)
    check_free(directory)
    if files is None:
        data = load_data(args.dataset, task=task, tasks=tasks, data_dir=args.data_dir, dtype=config.dtype)
    else:
        data = load_files(files, seed=config.seed, dtype=config.dtype)
    run = Run(directory, Description.of(data, config, args.data_dir, args.device or "cpu", files))
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
    from deepnet.data.own import as_given

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
        raise ValueError(f"`target` must name the column of {dataset} with the labels, got none")
    return Files(**as_given(dataset, options))


def _settings_for_files() -> dict[str, Any]:
    """Return the defaults of the estimator, which suit small tables."""
    from dataclasses import fields
    from inspect import signature

    from deepnet.config import Config
    from deepnet.estimator import MessagePassingClassifier

    known = {field.name for field in fields(Config)}
    parameters = signature(MessagePassingClassifier).parameters
    return {name: each.default for name, each in parameters.items() if name in known}


@contextlib.contextmanager
def _resumed(
    args: argparse.Namespace, given: dict[str, Any]
) -> "Iterator[tuple[Run, Network, Dataset | TaskSequence]]":
    """The run in the folder, which is locked before it is read; further epochs added."""
    from deepnet.app.run import Run, check_writable, default_directory
    from deepnet.config import Config
    from deepnet.data.own import as_given, data_name, stored
    from deepnet.kernels.devices import operations_for

    defaults = {name: given.get(name, getattr(Config, name)) for name in ("algorithm", "closure", "seed")}
    method = defaults["closure" if defaults["algorithm"] == Config.algorithm else "algorithm"]
    task, tasks = given.get("task", "multiclass"), given.get("tasks")
    name = args.dataset if isinstance(args.dataset, str) else data_name(args.dataset)
    directory = args.out or default_directory(name, task, tasks, method, defaults["seed"])
    with Run.resumed(directory) as run:
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


def _train_and_print(run: "Run", network: "Network", data: "Dataset | TaskSequence", plot: bool) -> int:
    from deepnet.continual import tasks_of
    from deepnet.train import status

    say(header(run, network))
    if network.epoch:
        say(f"resumed after epoch {network.epoch} of {run.description.epochs}")
    say(column_heads(network))
    progress, drawn = Progress(len(tasks_of(data)[0].x_train)), perf_counter()
    with contextlib.closing(progress), contextlib.closing(Compiling()) as compiling:
        for measured in run.train(network, data, progress, compiling):
            progress.close()
            say(row(measured, run.description.epochs))
            if plot and perf_counter() - drawn > FIGURE_PERIOD:
                _draw(run, network)
                drawn = perf_counter()
    if plot:
        _draw(run, network)
    say(summary(run, status(run.history, data.classes, network.config.remedy), plot))
    return 0


def _draw(run: "Run", network: "Network") -> None:
    from deepnet.app.figures import save_curves, save_tasks
    from deepnet.app.run import TASKS_FIGURE
    from deepnet.continual import TASK_ERRORS

    if run.history:
        save_curves(run.figure, run.history, [layer.plan.name for layer in network.layers], run.description.title())
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
    from deepnet.export import packing

    run = Run.open(args.run)
    network = run.load()
    with wrong_input():
        packing.export(packing.pack(network.layers), args.out, args.to)
    say(f"{args.out}: {args.out.stat().st_size} bytes, {args.to}, from epoch {network.epoch} of {args.run}")
    return 0
