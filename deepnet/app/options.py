"""Types and help of command-line options: what is wrong with a text is said in words, in one line.

Nothing heavy is imported before it is asked for: tables of names, defaults.
"""

import argparse
import os
from collections.abc import Collection
from pathlib import Path

DATASET_HELP = "{names}; or a file: CSV, ARFF, Parquet, NPY, NPZ or IDX, plain or .gz"

DEVICE_HELP = "where to compute: {names}; cuda-tf32 rounds the factors of matrix products to 10 bits"

#: Longest text that an error repeats whole.
_LONGEST = 60


def tables() -> dict[str, Collection[str]]:
    """Return the names that options take, by the option, as the tables have them that everything else reads."""
    from deepnet.baselines import BASELINES, MESSAGE_PASSING
    from deepnet.config import DTYPES
    from deepnet.data import DATASETS
    from deepnet.data.tasks import KINDS
    from deepnet.export.packing import FORMATS
    from deepnet.kernels.devices import DEVICES
    from deepnet.layers import MEMORIES
    from deepnet.network import ACTIVATIONS, WEIGHTS
    from deepnet.outputs import AUTO, classifying, numeric
    from deepnet.presets import PRESETS
    from factorgraph.dense.closures import CLOSURES

    return {
        "algorithm": (MESSAGE_PASSING, *BASELINES),
        "dataset": DATASETS,
        "ood": DATASETS,
        "closure": CLOSURES,
        "weights": WEIGHTS,
        "activation": ACTIVATIONS,
        "output": (AUTO, *classifying(), *numeric()),
        "memory": MEMORIES,
        "preset": PRESETS,
        "dtype": DTYPES,
        "device": DEVICES,
        "tasks": [f"{kind}:N" for kind in KINDS],
        "to": FORMATS,
    }


class Help(argparse.HelpFormatter):
    """Help with the names that an option takes for ``{names}``."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help
        if text and "{names}" in text:
            *names, last = tables()[action.dest]
            text = text.replace("{names}", f"{', '.join(names)} or {last}")
        return text


class SettingsHelp(Help):
    """The same with the defaults of ``Config``."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        from deepnet.config import Config

        text, value = super()._get_help_string(action), getattr(Config, action.dest, None)
        if value is None:
            return text
        return f"{text} (default: {' '.join(map(str, value)) if isinstance(value, tuple) else value})"


def add_data_options(command: argparse.ArgumentParser) -> None:
    """Add what says how a data set is found and what its classes are."""
    command.add_argument(
        "--task",
        choices=("multiclass", "parity"),
        default=argparse.SUPPRESS,
        help="the classes of the data set, or odd against even (default: that of the run, multiclass for a new one)",
    )
    command.add_argument("--data-dir", metavar="DIR", default=None, help="folder with the files of the data set")


def dataset(text: str) -> str | Path:
    """Return the name of a data set, or the path of a file that holds one."""
    names = tables()["dataset"]
    if text in names:
        return text
    if text and (given := path(text)).is_file():
        return given.absolute()
    raise argparse.ArgumentTypeError(f"must be one of {', '.join(names)}, or a file, got {short(text)}")


def file(text: str) -> Path:
    """Return the absolute path of a file that is there."""
    if not (given := path(text)).is_file():
        raise argparse.ArgumentTypeError(f"must be a file, got {short(text)}")
    return given.absolute()


def device(text: str) -> str:
    """Return the name of a device."""
    return _one_of("device", text)


def export_format(text: str) -> str:
    """Return the name of what a network is exported to."""
    return _one_of("to", text)


def _one_of(option: str, text: str) -> str:
    names = tables()[option]
    if text not in names:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(names)}, got {short(text)}")
    return text


def path(text: str) -> Path:
    """Return a path that a file or folder can have, with the home of ``~`` or ``~user`` put in."""
    if not text:
        raise argparse.ArgumentTypeError("must be the name of a file or folder, got ''")
    try:
        os.lstat(Path(text).expanduser())
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except RuntimeError:
        raise argparse.ArgumentTypeError(f"must be below an existing home, got {short(text)}") from None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise argparse.ArgumentTypeError(f"must be the name of a file or folder, got {short(text)}: {reason}") from None
    return Path(text).expanduser()


def integer(text: str) -> int:
    """Return an integer."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be an integer, got {short(text)}") from None


def number(text: str) -> float:
    """Return a number, which may be infinite."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, got {short(text)}") from None


def short(text: str) -> str:
    """Return a text as an error repeats it."""
    return repr(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")
