"""The command ``deepnet``: train a network, evaluate it, show a run, time training.

Exit codes: 0; 1 for what failed at run time (files, disk, divergence); 2 for wrong input; 130 after Ctrl-C. The heavy
imports wait until a command needs them, so that the help texts come at once.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from io import TextIOWrapper
from typing import Any, NoReturn

from deepnet.app.commands import export, show, train
from deepnet.app.evaluate import add_evaluate
from deepnet.app.flatness import add_flatness
from deepnet.app.options import (
    DATASET_HELP,
    DEVICE_HELP,
    Help,
    SettingsHelp,
    add_data_options,
    dataset,
    export_format,
    file,
    integer,
    number,
    path,
    short,
)
from deepnet.app.predict import add_predict
from deepnet.app.report import add_report
from deepnet.app.terminal import UsageError, complain, drop_output, say
from deepnet.bench.command import add_bench
from deepnet.experiments.command import add_sweep
from deepnet.processes.launched import LauncherError, launched, run_together, world
from factorgraph.interface.command_line import add_common, handle_common


class _Parser(argparse.ArgumentParser):
    """Errors as exceptions, so that there is one place where they are printed."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see: {self.prog} --help)")

    def _get_validation_formatter(self) -> argparse.HelpFormatter:
        """One that does not fill in names and defaults (Python 3.14 checks a text when it is added): they take long."""
        return argparse.HelpFormatter(self.prog)

    def _print_message(self, message: str, file: Any = None) -> None:
        """As in the base class, but an output that takes nothing is an error."""
        print(message, end="", file=file)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (that of the process if None) and return the exit code.

    Processes that a launcher has started together run it together.
    """
    try:
        return run_together(partial(_run, argv))
    except LauncherError as error:
        complain(f"error: {error}")
        return 1


def _run(argv: Sequence[str] | None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Greek letters is no reason to stop
    try:
        try:
            top = parser()
            args = top.parse_args(argv)
            if (version := handle_common(top, args)) is not None:
                say(version)
                return 0
            if args.command is not train and launched() and world().size > 1:
                raise UsageError("several processes run one command together, which must be train")
            return args.command(args)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # here, where an error can be reported, and not when the program has ended
    except KeyboardInterrupt:
        complain("interrupted")
        return 130
    except BrokenPipeError:  # the reader of a pipe has gone, and wants to hear no more
        drop_output()
        return 1
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        drop_output()
        message = _message(error) or "not enough memory: try a smaller network or `batch_size`"
        complain(f"error: {' '.join(message.split())}")
        return code


def _message(error: Exception) -> str:
    """Return what an error says; one of the system, which may be about the output or a file, in words."""
    if type(error).__module__ != "builtins" or not isinstance(error, OSError):
        return str(error)
    what = "the output" if error.filename is None else str(error.filename)
    return f"could not read or write {what}: {error.strerror or error}"


def _exit_code(error: Exception) -> int | None:
    """Return 2 for wrong input, 1 for a failure at run time, None for a mistake in this program."""
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


# --- the command line -------------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands. A setting that is not given is absent from its result."""
    top = _Parser(prog="deepnet", description="Deep networks trained by message passing.", allow_abbrev=False)
    add_common(top)
    commands = top.add_subparsers(metavar="COMMAND")
    _add_train(commands)
    add_evaluate(commands)
    add_predict(commands)
    add_report(commands)
    add_bench(commands)
    add_sweep(commands)
    add_flatness(commands)
    showing = commands.add_parser("show", help="settings, network and last metrics of a run", allow_abbrev=False)
    showing.description = "Print the settings, the network and the last metrics of a run."
    showing.set_defaults(command=show)
    showing.add_argument("run", metavar="RUN", type=path, help="folder of the run")
    exporting = commands.add_parser(
        "export", help="a network as a file of its own", formatter_class=Help, allow_abbrev=False
    )
    exporting.description = (
        "Write the most probable weights of a run to a file that predicts without it: of ±1 weights and sign units "
        "packed in one bit a weight, for deepnet.load_packed, or as a header in C; of any network as a graph of ONNX "
        "operators. Inputs are pixels as the data set has them; of columns of a file, what the run makes of them."
    )
    exporting.set_defaults(command=export)
    exporting.add_argument("run", metavar="RUN", type=path, help="folder of the run")
    exporting.add_argument(
        "--to", metavar="FORMAT", type=export_format, default="packed", help="{names} (default: packed)"
    )
    exporting.add_argument("--out", metavar="FILE", type=path, required=True, help="file to write")
    exporting.add_argument(
        "--bayes",
        action="store_true",
        help="with packed: means and variances in 8 bits each, for deepnet.load; prints what that costs in accuracy",
    )
    exporting.add_argument("--data-dir", metavar="DIR", default=None, help="folder with the files of the data set")
    return top


def _add_train(commands: Any) -> None:
    training = commands.add_parser(
        "train",
        help="train a network, or go on training it",
        description="Train a network and write settings, checkpoints, metrics and a figure to a folder. Settings with "
        "several values take one value for all layers or one per layer.",
        formatter_class=SettingsHelp,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    training.set_defaults(command=train)
    add = training.add_argument
    value = (
        "a number or 'start:end:rate', which relaxes exponentially by the factor rate an epoch, or a run with '/run'"
    )
    add("dataset", metavar="DATASET", type=dataset, help=f"{DATASET_HELP}; comes before the options")
    add("--hidden", metavar="N", nargs="*", type=_width, help="units of each hidden layer")
    add("--algorithm", metavar="NAME", help="{names}")
    add("--closure", metavar="NAME", nargs="+", help="{names}")
    add("--weights", metavar="KIND", nargs="+", help="{names}")
    add(
        "--mass",
        metavar="X",
        nargs="+",
        type=number,
        help="prior probability that a weight is 0 (default: learnt)",
    )
    add("--activation", metavar="NAME", nargs="+", help="{names}")
    add("--output", metavar="NAME", help="{names}")
    add("--temperature", metavar="X", type=number, help="of the noise of logistic, softmax and probit outputs")
    add(
        "--noise-variance",
        metavar="X",
        type=number,
        help="of a gaussian output, as a share of the targets' variance (default: learnt)",
    )
    add("--label-noise", metavar="X", type=number, help="share of the training labels taken to be drawn at random")
    add("--bias", action=argparse.BooleanOptionalAction, help="give every unit the weight of a constant unit")
    add("--density", metavar="X", nargs="+", type=number, help="fraction of the weights kept")
    add("--epochs", metavar="N", type=integer, help="passes over the training set")
    add("--batch-size", metavar="N", type=integer, help="samples in a mini-batch")
    add("--memory", metavar="NAME", help="{names}: what is kept of the batches seen; covariance is for streams")
    add("--preset", metavar="NAME", help="{names}: where rho, damping and beta come from if not given")
    add("--rho", metavar="X", nargs="+", help=f"weight of the previous posterior as the next prior: {value}")
    add("--damping", metavar="X", nargs="+", help="weight of the old means, in [0, 1): likewise")
    add("--beta", metavar="X", nargs="+", help="likelihood weight of the layers: likewise")
    add("--tau", metavar="N", type=integer, help="inner iterations a batch")
    add("--reinforcement", metavar="X", type=number, help="weight of the previous inner iteration's field")
    add("--replicas", metavar="Y", type=integer, help="coupled networks, which focus on wide minima")
    add("--coupling", metavar="X", nargs="+", help=f"of several replicas to their centre, γ >= 0: {value}")
    add("--learning-rate", metavar="X", type=number, help="of a baseline trained by gradients (default: its own)")
    add("--eps-init", metavar="X", nargs="+", type=_size, help="size of the random initial fields, or critical")
    add("--seed", metavar="N", type=integer, help="of everything random")
    add("--members", metavar="K", type=integer, help="networks trained side by side, whose predictions are averaged")
    add("--dtype", metavar="NAME", help="{names}")
    add_data_options(training)
    add("--tasks", metavar="KIND:N", help="learn N tasks made of the data set one after the other: {names}")
    _add_options_of_files(training)
    add("--out", metavar="DIR", type=path, default=None, help="folder of the run (default: runs/DATASET-METHOD-SEED)")
    add("--resume", action="store_true", default=False, help="go on with the run in the folder, with its settings")
    add("--device", metavar="NAME", default=None, help=f"{DEVICE_HELP} (default: cpu, or that of a resumed run)")
    add("--no-plot", dest="plot", action="store_false", default=True, help="draw no figure")


def _add_options_of_files(training: argparse.ArgumentParser) -> None:
    group = training.add_argument_group(
        "options of files",
        "Settings that are not given are then those of MessagePassingClassifier, or of MessagePassingRegressor for "
        "numbers.",
    )
    add = group.add_argument
    add(
        "--target",
        metavar="COLUMN",
        help="column with labels, or with numbers that do not occur again and again; a file of them for IDX, and NPY "
        "without names. Numbers are taken for such with output gaussian, or poisson for counts",
    )
    add("--test", metavar="FILE", nargs="+", type=file, help="the test set, and the file of its labels if need be")
    add("--test-fraction", metavar="X", type=number, help="part of the rows to test with, if no --test (default: 0.2)")
    add("--stratify", action="store_true", help="take the same part of every class")
    add("--categorical", metavar="COLUMN", nargs="+", help="columns of numbers that are categories")
    add("--ignore", metavar="COLUMN", nargs="+", help="columns to leave out")


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
