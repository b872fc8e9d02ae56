"""The commands ``train``, ``evaluate``, ``show`` and ``export``. Heavy imports wait until a command needs them."""

import argparse
import contextlib
import json
import shlex
from collections.abc import Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Any

from deepnet.app.terminal import Progress, complain, say, wrong_input
from deepnet.app.texts import column_heads, errors, header, last_metrics, row, summary, sums

if TYPE_CHECKING:
    from deepnet.app.run import Run
    from deepnet.data import Dataset
    from deepnet.data.tasks import TaskSequence
    from deepnet.state import Network

#: Smallest time between two drawings of the figure while training goes on, in seconds.
FIGURE_PERIOD = 30.0

#: Arguments of ``train`` that are no settings of the network.
_NOT_SETTINGS = ("command", "dataset", "data_dir", "out", "resume", "plot", "device")


def train(args: argparse.Namespace) -> int:
    if args.plot:
        _require_matplotlib()
    given = {name: _unwrapped(name, value) for name, value in vars(args).items() if name not in _NOT_SETTINGS}
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
    from deepnet.data.tasks import Tasks, load_data
    from deepnet.kernels.devices import operations_for

    settings = dict(given)
    task, tasks = settings.pop("task", "multiclass"), settings.pop("tasks", None)
    with wrong_input():
        tasks = None if tasks is None else str(Tasks.of(tasks))
        config = Config(**settings)
        operations_for(args.device or "cpu", config.dtype)
    directory = args.out or default_directory(args.dataset, task, tasks, config.method, config.seed)
    check_free(directory)
    data = load_data(args.dataset, task=task, tasks=tasks, data_dir=args.data_dir, dtype=config.dtype)
    run = Run(directory, Description.of(data, config, args.data_dir, args.device or "cpu"))
    with wrong_input():
        network = run.load(run.description.device)
    with run.begun():
        yield run, network, data


@contextlib.contextmanager
def _resumed(
    args: argparse.Namespace, given: dict[str, Any]
) -> "Iterator[tuple[Run, Network, Dataset | TaskSequence]]":
    """The run in the folder, which is locked before it is read; further epochs added."""
    from deepnet.app.run import Run, check_writable, default_directory
    from deepnet.config import Config
    from deepnet.kernels.devices import operations_for

    defaults = {name: given.get(name, getattr(Config, name)) for name in ("algorithm", "closure", "seed")}
    method = defaults["closure" if defaults["algorithm"] == Config.algorithm else "algorithm"]
    task, tasks = given.get("task", "multiclass"), given.get("tasks")
    directory = args.out or default_directory(args.dataset, task, tasks, method, defaults["seed"])
    with Run.resumed(directory) as run:
        with wrong_input():
            run.description.check_same(args.dataset, given)
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
    with contextlib.closing(progress):
        for measured in run.train(network, data, progress):
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
    command = ["deepnet", "train", run.description.dataset, "--out", str(run.directory), "--resume"]
    complain(f"interrupted after epoch {len(run.history)}; go on with: {shlex.join(command)}")


# --- evaluate, show and export ----------------------------------------------------------------------------------------


def evaluate(args: argparse.Namespace) -> int:
    from deepnet.app import run as runs
    from deepnet.kernels.devices import operations_for

    run = runs.Run.open(args.run)
    with wrong_input():
        operations_for(args.device, run.description.config.dtype)
    data = run.description.load_data(args.data_dir, dataset=args.dataset, task=getattr(args, "task", None))
    network = run.load(args.device)
    measured = runs.evaluate(network, data)
    if args.json:
        say(json.dumps({"run": str(args.run), "dataset": data.name, "task": data.task} | measured))
    else:
        say(f"{args.run}, epoch {network.epoch}, on {data.name} ({data.task}):\n{errors(measured)}")
    return 0


def show(args: argparse.Namespace) -> int:
    from deepnet.app.run import Run

    run = Run.open(args.run)
    network = run.load()
    say(f"{header(run, network)}\n\n{last_metrics(run, network)}\n{sums(network)}")
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
