"""The command ``deepnet``: train a network, evaluate it, show a run, time training.

Exit codes: 0; 1 for what failed at run time (files, disk, divergence); 2 for wrong input; 130 after Ctrl-C. The heavy
imports wait until a command needs them, so that the help texts come at once.
"""

import argparse
import contextlib
import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from io import TextIOWrapper
from time import perf_counter
from typing import TYPE_CHECKING, Any, NoReturn

from deepnet.app.options import integer, number, path, short
from deepnet.bench.command import add_bench
from deepnet.experiments.command import add_sweep

if TYPE_CHECKING:
    from deepnet.app.run import Run
    from deepnet.data import Dataset
    from deepnet.train import Network

#: Least time between two drawings of the figure while training goes on, in seconds.
FIGURE_PERIOD = 30.0

_DATASET_HELP = "digits, mnist, fashion-mnist or cifar10"

_BASELINES = ("binarynet", "binarynet-adam", "binarynet-cosine", "ebp")

_DEVICE_HELP = "where to compute: cpu, cuda, or cuda-tf32, which rounds the factors of matrix products to 10 bits"

#: Arguments of ``train`` that are no settings of the network.
_NOT_SETTINGS = ("command", "dataset", "data_dir", "out", "resume", "plot", "device")


class UsageError(Exception):
    """The command line is wrong, or asks for what cannot be."""


class _Parser(argparse.ArgumentParser):
    """Errors as exceptions, so that there is one place where they are printed."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see: {self.prog} --help)")

    def _print_message(self, message: str, file: Any = None) -> None:
        """As in the base class, but an output that takes nothing is an error."""
        print(message, end="", file=file)


class _Help(argparse.HelpFormatter):
    """Help with the defaults of ``Config``, which is imported for it."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        from deepnet.config import Config

        value = getattr(Config, action.dest, None)
        if value is None:
            return action.help
        return f"{action.help} (default: {' '.join(map(str, value)) if isinstance(value, tuple) else value})"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (that of the process if None) and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Greek letters is no reason to stop
    try:
        try:
            args = parser().parse_args(argv)
            return args.command(args)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # here, where an error can be told, and not when the program has ended
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    except BrokenPipeError:  # the reader of a pipe has gone, and wants to hear no more
        _drop_output()
        return 1
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        _drop_output()
        message = _message(error) or "not enough memory: try a smaller network or `batch_size`"
        _complain(f"error: {' '.join(message.split())}")
        return code


def _complain(text: str) -> None:
    """A line on the error stream, if that takes any."""
    with contextlib.suppress(OSError):
        print(f"deepnet: {text}", file=sys.stderr, flush=True)


def _message(error: Exception) -> str:
    """What an error says; one of the system, which may be about the output or a file, in words."""
    if type(error).__module__ != "builtins" or not isinstance(error, OSError):
        return str(error)
    what = "the output" if error.filename is None else str(error.filename)
    return f"could not read or write {what}: {error.strerror or error}"


def _drop_output() -> None:
    """Lose what an output that takes nothing any more still holds: Python would try again at the end, and complain."""
    try:
        sys.stdout.flush()
    except (AttributeError, OSError, ValueError):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)


def _exit_code(error: Exception) -> int | None:
    """2 for wrong input, 1 for a failure at run time, None for a mistake in this program."""
    if isinstance(error, UsageError):
        return 2
    from deepnet.app.checkpoint import CheckpointError
    from deepnet.app.run import RunError
    from deepnet.baselines import BaselineError
    from deepnet.bench import BenchError
    from deepnet.data import DataError
    from deepnet.kernels.devices import DeviceUnavailableError
    from deepnet.train import DivergenceError
    from factorgraph.runtime.executor import ExecutorError

    if isinstance(error, RunError):
        return 2
    failures = (
        BaselineError
        | BenchError
        | CheckpointError
        | DataError
        | DeviceUnavailableError
        | DivergenceError
        | ExecutorError
        | MemoryError
        | OSError
    )
    return 1 if isinstance(error, failures) else None


@contextlib.contextmanager
def _wrong_input() -> Iterator[None]:
    """Around calls that check what the user gave: a ``ValueError`` there is a wrong setting."""
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from error


# --- the command line -------------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """The parser of all commands. A setting that is not given is absent from its result."""
    top = _Parser(prog="deepnet", description="Deep networks trained by message passing.", allow_abbrev=False)
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    _add_train(commands)
    evaluating = commands.add_parser("evaluate", help="errors of a trained network", allow_abbrev=False)
    evaluating.description = "Print the errors of the newest checkpoint of a run, on the whole training and test set."
    evaluating.set_defaults(command=_evaluate)
    evaluating.add_argument("run", metavar="RUN", type=path, help="folder of the run")
    evaluating.add_argument("dataset", metavar="DATASET", type=_dataset, help=_DATASET_HELP)
    _add_data_options(evaluating)
    evaluating.add_argument("--device", metavar="NAME", default="cpu", help=f"{_DEVICE_HELP} (default: cpu)")
    evaluating.add_argument("--json", action="store_true", help="print one JSON object")
    add_bench(commands, _dataset, _DATASET_HELP)
    add_sweep(commands)
    showing = commands.add_parser("show", help="settings, network and last metrics of a run", allow_abbrev=False)
    showing.description = "Print the settings, the network and the last metrics of a run."
    showing.set_defaults(command=_show)
    showing.add_argument("run", metavar="RUN", type=path, help="folder of the run")
    return top


def _add_train(commands: Any) -> None:
    training = commands.add_parser(
        "train",
        help="train a network, or go on training it",
        description="Train a network and write settings, checkpoints, metrics and a figure to a folder. Settings with "
        "several values take one value for all layers or one per layer.",
        formatter_class=_Help,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    training.set_defaults(command=_train)
    add = training.add_argument
    value = "a number or 'start:end:rate', which relaxes exponentially by the factor rate an epoch"
    add("dataset", metavar="DATASET", type=_dataset, help=f"{_DATASET_HELP}; comes before the options")
    add("--hidden", metavar="N", nargs="*", type=_width, help="units of each hidden layer")
    add("--algorithm", metavar="NAME", help=f"message-passing, or a baseline: {', '.join(_BASELINES)}")
    add("--closure", metavar="NAME", nargs="+", help="bp, bpi, mf or amp")
    add("--weights", metavar="KIND", nargs="+", help="binary or continuous")
    add("--activation", metavar="NAME", nargs="+", help="sign or relu")
    add("--output", metavar="NAME", help="auto, sign, argmax, argmax-single-jensen or argmax-exact")
    add("--bias", action=argparse.BooleanOptionalAction, help="give every unit the weight of a constant unit")
    add("--density", metavar="X", nargs="+", type=number, help="fraction of the weights kept")
    add("--epochs", metavar="N", type=integer, help="passes over the training set")
    add("--batch-size", metavar="N", type=integer, help="samples in a mini-batch")
    add("--preset", metavar="NAME", help="default or paper: where rho, damping and beta come from if not given")
    add("--rho", metavar="X", nargs="+", help=f"weight of the previous posterior as the next prior: {value}")
    add("--damping", metavar="X", nargs="+", help="weight of the old means, in [0, 1): likewise")
    add("--beta", metavar="X", nargs="+", help="likelihood weight of the layers: likewise")
    add("--tau", metavar="N", type=integer, help="inner iterations a batch")
    add("--reinforcement", metavar="X", type=number, help="weight of the previous inner iteration's field")
    add("--learning-rate", metavar="X", type=number, help="of a baseline trained by gradients (default: its own)")
    add("--eps-init", metavar="X", nargs="+", type=_size, help="size of the random initial fields, or critical")
    add("--seed", metavar="N", type=integer, help="of everything random")
    add("--dtype", metavar="NAME", help="float32 or float64")
    _add_data_options(training)
    add("--out", metavar="DIR", type=path, default=None, help="folder of the run (default: runs/DATASET-CLOSURE-SEED)")
    add("--resume", action="store_true", default=False, help="go on with the run in the folder, with its settings")
    add("--device", metavar="NAME", default=None, help=f"{_DEVICE_HELP} (default: cpu, or that of a resumed run)")
    add("--no-plot", dest="plot", action="store_false", default=True, help="draw no figure")


def _add_data_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--task",
        choices=("multiclass", "parity"),
        default=argparse.SUPPRESS,
        help="the classes of the data set, or odd against even (default: that of the run, multiclass for a new one)",
    )
    command.add_argument("--data-dir", metavar="DIR", default=None, help="folder with the files of the data set")


def _dataset(text: str) -> str:
    from deepnet.data import DATASETS

    if text not in DATASETS:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(DATASETS)}, got {short(text)}")
    return text


def _size(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text  # "critical", or for ``Config`` to refuse


def _width(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be integers, got {short(text)}; DATASET comes before the options"
        ) from None


# --- train ------------------------------------------------------------------------------------------------------------


def _train(args: argparse.Namespace) -> int:
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
    """A single value of a list as itself: it is meant for all layers, those that come to it by default included."""
    return value[0] if isinstance(value, list) and len(value) == 1 and name != "hidden" else value


@contextlib.contextmanager
def _begun(args: argparse.Namespace, given: dict[str, Any]) -> "Iterator[tuple[Run, Network, Dataset]]":
    """A new run in a folder that is locked; nothing is written yet."""
    from deepnet.app.run import Description, Run, check_free, default_directory
    from deepnet.config import Config
    from deepnet.data import load_dataset
    from deepnet.kernels.devices import operations_for

    settings = dict(given)
    task = settings.pop("task", "multiclass")
    with _wrong_input():
        config = Config(**settings)
        operations_for(args.device or "cpu", config.dtype)
    directory = args.out or default_directory(args.dataset, task, config.method, config.seed)
    check_free(directory)
    data = load_dataset(args.dataset, task=task, data_dir=args.data_dir, dtype=config.dtype)
    run = Run(directory, Description.of(data, config, args.data_dir, args.device or "cpu"))
    with _wrong_input():
        network = run.load(run.description.device)
    with run.begun():
        yield run, network, data


@contextlib.contextmanager
def _resumed(args: argparse.Namespace, given: dict[str, Any]) -> "Iterator[tuple[Run, Network, Dataset]]":
    """The run in the folder, which is locked before it is read; further epochs added."""
    from deepnet.app.run import Run, check_writable, default_directory
    from deepnet.config import Config
    from deepnet.kernels.devices import operations_for

    defaults = {name: given.get(name, getattr(Config, name)) for name in ("algorithm", "closure", "seed")}
    method = defaults["closure" if defaults["algorithm"] == Config.algorithm else "algorithm"]
    directory = args.out or default_directory(args.dataset, given.get("task", "multiclass"), method, defaults["seed"])
    with Run.resumed(directory) as run:
        with _wrong_input():
            run.description.check_same(args.dataset, given)
            run.extend(given.get("epochs", run.description.config.epochs), args.device)
            operations_for(run.description.device, run.description.config.dtype)
        check_writable(directory)
        if changed := run.description.changed_versions():
            _complain(f"note: the last digits may differ from before: {changed}")
        data = run.description.load_data(args.data_dir)
        with _wrong_input():
            network = run.load(run.description.device)
        yield run, network, data


def _train_and_print(run: "Run", network: "Network", data: "Dataset", plot: bool) -> int:
    from deepnet.train import status

    _say(_header(run, network))
    if network.epoch:
        _say(f"resumed after epoch {network.epoch} of {network.config.epochs}")
    _say(_column_heads(network))
    progress, drawn = _Progress(len(data.x_train)), perf_counter()
    with contextlib.closing(progress):
        for measured in run.train(network, data, progress):
            progress.close()
            _say(_row(measured, network.config.epochs))
            if plot and perf_counter() - drawn > FIGURE_PERIOD:
                _draw(run, network)
                drawn = perf_counter()
    if plot:
        _draw(run, network)
    _say(_summary(run, status(run.history, data.classes, network.config.remedy), plot))
    return 0


class _Progress:
    """A bar for the samples of an epoch on the standard error stream; nothing if that is no terminal."""

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._bar: Any = None

    def __call__(self, samples: int) -> None:
        from tqdm import tqdm

        if self._bar is None:
            self._bar = tqdm(total=self._samples, unit=" samples", unit_scale=True, leave=False, disable=None)
        self._bar.update(samples)
        if self._bar.n >= self._samples:
            self._bar.set_description("evaluating")

    def close(self) -> None:
        """Remove the bar of the epoch."""
        if self._bar is not None:
            self._bar.close()
        self._bar = None


def _draw(run: "Run", network: "Network") -> None:
    from deepnet.app.figures import save_curves

    if run.history:
        save_curves(run.figure, run.history, [layer.plan.name for layer in network.layers], run.description.title())


def _print_interrupted(run: "Run") -> None:
    command = ["deepnet", "train", run.description.dataset, "--out", str(run.directory), "--resume"]
    _complain(f"interrupted after epoch {len(run.history)}; go on with: {shlex.join(command)}")


# --- evaluate and show ------------------------------------------------------------------------------------------------


def _evaluate(args: argparse.Namespace) -> int:
    from deepnet.app.run import Run, evaluate
    from deepnet.kernels.devices import operations_for

    run = Run.open(args.run)
    with _wrong_input():
        operations_for(args.device, run.description.config.dtype)
    data = run.description.load_data(args.data_dir, dataset=args.dataset, task=getattr(args, "task", None))
    network = run.load(args.device)
    measured = evaluate(network, data)
    if args.json:
        _say(json.dumps({"run": str(args.run), "dataset": data.name, "task": data.task} | measured))
    else:
        _say(f"{args.run}, epoch {network.epoch}, on {data.name} ({data.task}):\n{_errors(measured)}")
    return 0


def _show(args: argparse.Namespace) -> int:
    from deepnet.app.run import Run

    run = Run.open(args.run)
    network = run.load()
    _say(f"{_header(run, network)}\n\n{_last_metrics(run, network)}\n{_sums(network)}")
    return 0


# --- texts ------------------------------------------------------------------------------------------------------------


def _header(run: "Run", network: "Network") -> str:
    """What is trained on what: settings, model and layers."""
    layers = [f"  {layer.plan}" for layer in network.layers]
    return "\n".join([f"run       {run.directory}", str(run.description), "layers", *layers])


def _column_heads(network: "Network") -> str:
    return (
        f"\n{'':9}  {'error (%)':36}polarization of layer\n"
        f"{'epoch':>9}  {'train':>5}  {'test':>5}  {'test Bayes':>10}  {'seconds':>7}  "
    ) + " ".join(f"{layer.plan.name:>6}" for layer in network.layers)


def _row(measured: Mapping[str, Any], epochs: int) -> str:
    """One epoch in one line."""
    return (
        f"{measured['epoch']:>4}/{epochs:<4}  {measured['train_error']:5.2f}  {measured['test_error']:5.2f}  "
        f"{measured['bayes_test_error']:10.2f}  {measured['seconds']:7.2f}  "
    ) + " ".join(f"{value:6.3f}" for value in measured["polarization"])


def _errors(measured: Mapping[str, Any]) -> str:
    """The four errors as a table."""
    lines = [f"{'error (%)':<10} {'pointwise':>9} {'Bayesian':>9}"]
    for name in ("train", "test"):
        lines.append(f"{name:<10} {measured[f'{name}_error']:9.2f} {measured[f'bayes_{name}_error']:9.2f}")
    return "\n".join(lines)


def _summary(run: "Run", status: str, plot: bool) -> str:
    """The end of a run: status, final errors, files."""
    lines = [f"\n{status}"]
    if run.history:
        last = run.history[-1]
        lines.append(f"final test error {last['test_error']:.2f} %, Bayesian {last['bayes_test_error']:.2f} %")
    if plot and run.history:
        lines.append(f"figure: {run.figure}")
    return "\n".join([*lines, f"files:  {run.directory}"])


def _last_metrics(run: "Run", network: "Network") -> str:
    """The metrics of the last epoch, and where the curves are."""
    epochs = f"epoch {network.epoch} of {network.config.epochs}"
    figure = f"figure: {run.figure if run.figure.exists() else 'none'}"
    if not run.history:
        return f"{epochs}\n{figure}"
    last = run.history[-1]
    times = f"{last['seconds']:.2f} s of training, {last['evaluation_seconds']:.2f} s of evaluation"
    rows = [f"{'layer':<10} {'polarization':>12} {'overlap':>9}"]
    for layer, q0, q_ab in zip(network.layers, last["polarization"], last["overlap"], strict=True):
        rows.append(f"{layer.plan.name:<10} {q0:12.4f} {q_ab:9.4f}")
    return "\n".join([f"{epochs}: {times}", _errors(last), *rows, figure])


def _sums(network: "Network") -> str:
    """What the pre-activations are expected to be, which the messages take for Gaussian."""
    from deepnet.observables import expected_preactivations

    rows = [f"{'layer':<10} {'known part':>12} {'excess kurtosis':>16}   of the sums into its units, expected"]
    for layer, expected in zip(network.layers, expected_preactivations(network.layers), strict=True):
        rows.append(f"{layer.plan.name:<10} {expected.known:12.4f} {expected.excess_kurtosis:16.4f}")
    return "\n".join(rows)


def _say(text: str) -> None:
    print(text, flush=True)
