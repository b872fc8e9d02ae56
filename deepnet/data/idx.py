"""IDX files, plain or .gz: those of MNIST and Fashion-MNIST, and any."""

import math
from pathlib import Path
from typing import IO, Any

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

#: Types of the data, big-endian, by the third byte of the magic number.
_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


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


def read_header(stream: IO[bytes], path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of the array in an IDX file: magic number 0x0000<type><dimensions>, big-endian sizes,
    data."""
    magic = stream.read(4)
    if len(magic) < 4:
        raise DataError(f"{path} is truncated: {len(magic)} bytes, less than its header")
    if magic[:2] != b"\0\0" or magic[2] not in _TYPES or not magic[3]:
        got = int.from_bytes(magic, "big")
        raise DataError(
            f"{path} has a wrong magic number: must be 0x0000, a type and the number of axes, got {got:#010x}"
        )
    sizes = stream.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(f"{path} is truncated: {4 + len(sizes)} bytes, less than its header")
    return tuple(int(size) for size in np.frombuffer(sizes, ">u4")), np.dtype(_TYPES[magic[2]])


def _read_idx(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return (n, *shape) bytes of an IDX file."""
    with reading(path), opened(path) as stream:
        sizes, dtype = read_header(stream, path)
        if dtype != np.uint8 or len(sizes) != 1 + len(shape):
            need = f"{0x0801 + len(shape):#010x}, of bytes along {1 + len(shape)} axes"
            raise DataError(f"{path} has a wrong magic number: must be {need}, got {dtype} along {len(sizes)}")
        if not 0 < sizes[0] <= _LARGEST or sizes[1:] != shape:
            need = f"{('n', *shape)} with 0 < n <= {_LARGEST}"
            raise DataError(f"{path} has a wrong shape: must be {need}, got {sizes}")
        data = read_announced(stream, math.prod(sizes), path)
    return np.frombuffer(data, np.uint8).reshape(sizes)
