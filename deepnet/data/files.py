"""What the readers of all formats share: errors, packed files, and how much of a file is believed."""

import contextlib
import gzip
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from factorgraph.io.files import FileTooLargeError, read_at_most

CLASSES = 10


class DataError(Exception):
    """The files of a data set are missing, damaged or cannot be downloaded; the message says which and what to do."""


class Raw(NamedTuple):
    """Bytes as stored: pixels (n, features) and labels (n,), all uint8."""

    x_train: NDArray[np.uint8]
    labels_train: NDArray[np.uint8]
    x_test: NDArray[np.uint8]
    labels_test: NDArray[np.uint8]


def read_announced(stream: IO[bytes], size: int, where: Path | str) -> bytes:
    """Return the rest of a stream, to the very end, where the CRC of a packed one is checked; its size must be as
    announced.

    Memory is taken for what is there, and for one byte more than announced at most.
    """
    try:
        data = read_at_most(stream, size)
    except FileTooLargeError:
        raise DataError(f"{where} is damaged: must have {size} bytes of data, got more") from None
    if len(data) != size:
        raise DataError(f"{where} is damaged: must have {size} bytes of data, got {len(data)}")
    return data


def opened(path: Path) -> IO[bytes]:
    """Return a file to read from, unpacked if it is a .gz."""
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Around the reading of a file: damaged bytes make the readers of gzip and tar raise nearly anything."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path} cannot be read: {str(error) or type(error).__name__}") from error


def check_labels(labels: NDArray[np.uint8], where: Path | str) -> None:
    if (largest := labels.max()) >= CLASSES:
        raise DataError(f"{where} is damaged: labels must lie in 0..{CLASSES - 1}, got {largest}")


def pooch() -> Any:
    """Return the library that downloads."""
    try:
        return importlib.import_module("pooch")
    except ImportError as error:
        raise DataError("pooch is needed for downloads and not installed: pip install 'cavity[data]'") from error
