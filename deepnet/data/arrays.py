"""Tables in files of arrays: NPY, NPZ and IDX, read from their beginning to their end."""

import contextlib
import itertools
import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from deepnet.data import idx
from deepnet.data.files import DataError, opened
from deepnet.data.table import PICTURES, Column, Table, joined, texts

_PARTS = ("_train", "_test")


class _Stored(NamedTuple):
    """An array in a stream that stands at the beginning of its data."""

    stream: IO[bytes]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    where: str

    def pieces(self, size: int) -> Iterator[NDArray[Any]]:
        """Yield the array ``size`` rows at a time."""
        row = math.prod(self.shape[1:])
        for start in range(0, self.shape[0], size):
            count = min(size, self.shape[0] - start)
            data = self.stream.read(count * row * self.dtype.itemsize)
            if len(data) < count * row * self.dtype.itemsize:
                raise DataError(f"{self.where} is truncated: must have {self.shape[0]} rows, ends in row {start + 1}")
            yield np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])


def read_npy(path: Path, size: int, labels: Path | None = None, target: str = "") -> Iterator[Table]:
    """Yield pieces of an array whose first axis counts the rows: columns are called by their numbers, from 0, or by the
    names that the array has; arrays of more axes, or of bytes, are pictures, in the one column "x"."""
    yield from _paired(path, PICTURES, size, labels, target)


def read_idx(path: Path, size: int, labels: Path | None = None, target: str = "") -> Iterator[Table]:
    """Yield pieces of pictures, in the column "x", with their labels from a file of their own."""
    yield from _paired(path, PICTURES, size, labels, target)


def read_npz(path: Path, size: int, part: str = "") -> Iterator[Table]:
    """Yield pieces of the arrays in an archive, each of them a column, or several: NAME[0], NAME[1], ...

    Args:
        path: of the file.
        size: of a piece.
        part: "_train" or "_test": only arrays whose names end so, the ending left out; "" for all arrays.
    """
    with zipfile.ZipFile(path) as archive, contextlib.ExitStack() as stack:
        members = [name for name in archive.namelist() if name.endswith(".npy") and name[:-4].endswith(part)]
        stored = {}
        for member in members:
            stream = stack.enter_context(archive.open(member))
            name = member.removesuffix(".npy")
            stored[name.removesuffix(part)] = _npy(stream, f"{path}, array {name}")
        yield from _tables(path, stored, size, prefixed=True)


def numbers_in(path: Path) -> int:
    """Return how many numbers there are in an array, by the header of its file."""
    with contextlib.ExitStack() as stack:
        return math.prod(_stored(path, stack).shape)


def map_array(path: Path, labels: Path | None = None, target: str = "") -> Table:
    """Return all rows of an array in a plain file, mapped into memory, with its labels, which are read; as
    ``read_npy`` and ``read_idx``."""
    with contextlib.ExitStack() as stack:
        stored = _stored(path, stack)
        size, found = math.prod(stored.shape) * stored.dtype.itemsize, path.stat().st_size - stored.stream.tell()
        if found < size:
            raise DataError(f"{path} is truncated: must have {size} bytes of data, got {found}")
        values = np.memmap(path, stored.dtype, "r", stored.stream.tell(), stored.shape)
        columns = _columns(PICTURES, values, str(path), prefixed=False)
        if labels is not None:
            known = joined(list(_paired(labels, target, len(values), None, "")))
            columns |= known.columns
            if len(known) != len(values):
                got = f"{path}: {len(values)}, {labels}: {len(known)}"
                raise DataError(f"{path} must have as many labels as rows, got {got}")
    return Table(path, columns, np.arange(len(values)), mapped=True)


def npz_parts(path: Path) -> bool:
    """Return whether the names of all arrays in an archive end in _train or _test, some in each."""
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
    return all(name.endswith(_PARTS) for name in names) and len({name[name.rindex("_") :] for name in names}) == 2


def _paired(path: Path, name: str, size: int, labels: Path | None, target: str) -> Iterator[Table]:
    """Yield pieces of one array, and of its labels if there is a file of them, which become the column ``target``."""
    with contextlib.ExitStack() as stack:
        stored = {name: _stored(path, stack)}
        if labels is not None:
            stored[target] = _stored(labels, stack)
            if len(stored[target].shape) != 1:
                raise DataError(f"{labels} must have one axis, of labels, got shape {stored[target].shape}")
        yield from _tables(path, stored, size, prefixed=False)


def _stored(path: Path, stack: contextlib.ExitStack) -> _Stored:
    stream = stack.enter_context(opened(path))
    if path.name.removesuffix(".gz").endswith(".npy"):
        return _npy(stream, str(path))
    shape, dtype = idx.read_header(stream, path)
    return _Stored(stream, shape, dtype, str(path))


def _npy(stream: IO[bytes], where: str) -> _Stored:
    try:
        version = np.lib.format.read_magic(stream)
        if version > (2, 0):
            raise ValueError(f"its header has version {version[0]}, this program reads 1 and 2")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
    except ValueError as error:
        raise DataError(f"{where} cannot be read: {error}") from error
    if dtype.hasobject:
        raise DataError(f"{where} must have numbers or texts, got objects, which only pickle could read")
    if not shape or min(shape) < 0:
        raise DataError(f"{where} must have an axis of rows, got shape {shape}")
    if fortran and len(shape) > 1:
        raise DataError(f"{where} must be stored row by row (order C), got column by column (order F)")
    return _Stored(stream, shape, dtype, where)


def _tables(path: Path, stored: Mapping[str, _Stored], size: int, *, prefixed: bool) -> Iterator[Table]:
    if not stored:
        raise DataError(f"{path} must hold arrays, got none")
    rows = {name: array.shape[0] for name, array in stored.items()}
    if len(set(rows.values())) > 1:
        got = ", ".join(f"{array.where}: {array.shape[0]}" for array in stored.values())
        raise DataError(f"{path} must have as many labels as rows, and arrays of one length, got {got}")
    start = 0
    for piece in zip(*(array.pieces(size) for array in stored.values()), strict=True):
        columns: dict[str, Column] = {}
        for name, values in zip(stored, piece, strict=True):
            columns |= _columns(name, values, stored[name].where, prefixed)
        yield Table(path, columns, np.arange(start, start + len(piece[0])))
        start += len(piece[0])


def _columns(name: str, values: NDArray[Any], where: str, prefixed: bool) -> dict[str, Column]:
    """Return an array as columns."""
    if values.dtype.names is not None:
        return {field: _plain(values[field], where) for field in values.dtype.names}
    if values.ndim == 1:
        return {name: _plain(values, where)}
    if values.ndim > 2 or values.dtype == np.uint8:
        return {name: _plain(values, where)}
    plain = _plain(values, where)
    labels = (f"{name}[{j}]" if prefixed else str(j) for j in itertools.count())
    return {label: plain[:, j] for label, j in zip(labels, range(values.shape[1]), strict=False)}


def _plain(values: NDArray[Any], where: str) -> Column:
    if values.dtype.kind in "biuf":
        return values
    if values.dtype.kind in "SU":
        if values.ndim > 1:
            raise DataError(f"{where} must have one axis if it holds texts, got {values.ndim}")
        decoded = np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values
        return cast(Column, texts(decoded.tolist()))
    raise DataError(f"{where} must have real numbers or texts, got {values.dtype}")
