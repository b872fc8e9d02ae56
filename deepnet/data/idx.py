"""MNIST and Fashion-MNIST: IDX files, plain or .gz."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepnet.data.files import DataError, Raw, check_labels, opened, read_announced, reading

STEMS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_SHAPE = (28, 28)
_LARGEST = 1_000_000  # images or labels in a file


def find(folder: Path) -> list[Path] | None:
    """Return the four files, each as .gz or plain, in the order of `STEMS`."""
    paths = []
    for stem in STEMS:
        found = [path for path in (folder / f"{stem}.gz", folder / stem) if path.is_file()]
        paths += found[:1]
    return paths if len(paths) == len(STEMS) else None


def read(paths: list[Path]) -> Raw:
    return Raw(*_read_idx_pair(*paths[:2]), *_read_idx_pair(*paths[2:]))


def _read_idx_pair(images: Path, labels: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    x = _read_idx(images, _SHAPE)
    y = _read_idx(labels, ())
    if len(x) != len(y):
        raise DataError(f"{labels} must hold one label for each image of {images}: {len(x)} images, {len(y)} labels")
    check_labels(y, labels)
    return x.reshape(len(x), -1), y


def _read_idx(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return (n, *shape) bytes of an IDX file: magic number 0x000008<dimensions>, big-endian sizes, data."""
    ndim = 1 + len(shape)
    start = 4 * (1 + ndim)
    with reading(path), opened(path) as stream:
        header = stream.read(start)
        if len(header) < start:
            raise DataError(f"{path} is truncated: {len(header)} bytes, less than its header")
        magic = int.from_bytes(header[:4], "big")
        if magic != 0x0800 + ndim:
            raise DataError(f"{path} has a wrong magic number: must be {0x0800 + ndim:#010x}, got {magic:#010x}")
        sizes = tuple(int(size) for size in np.frombuffer(header, ">u4", offset=4))
        if not 0 < sizes[0] <= _LARGEST or sizes[1:] != shape:
            need = f"{('n', *shape)} with 0 < n <= {_LARGEST}"
            raise DataError(f"{path} has a wrong shape: must be {need}, got {sizes}")
        data = read_announced(stream, math.prod(sizes), path)
    return np.frombuffer(data, np.uint8).reshape(sizes)
