"""Data sets in files of the user's, of any name: which column is to be learned, and which rows are for testing."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from deepnet.data.arrays import map_array, npz_parts, numbers_in, read_idx, read_npy, read_npz
from deepnet.data.dataset import Dataset
from deepnet.data.delimited import read_arff, read_csv
from deepnet.data.files import DataError, reading
from deepnet.data.fitting import fit_preparation
from deepnet.data.mapped import MappedInputs
from deepnet.data.parquet import read_parquet
from deepnet.data.preparation import Preparation
from deepnet.data.table import LABELS, PIECE, Table, joined, pieces
from deepnet.data.target import Classes, Numbers, Target, fit_target
from deepnet.sizes import total_memory
from factorgraph.interface.arguments import check_fields, check_flag, check_instance, check_name, check_number, shown

#: Part of the memory that the numbers of a file may take; plain arrays with more stay on the disk.
IN_MEMORY = 0.25

#: Part of the rows that is for testing, if no other one is asked for.
TEST_FRACTION = 0.2

#: How a file is read, by the ending of its name; files of other names are taken for IDX files.
READERS: dict[str, Callable[..., Iterator[Table]]] = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".txt": read_csv,
    ".arff": read_arff,
    ".parquet": read_parquet,
    ".npy": read_npy,
    ".npz": read_npz,
}


@dataclass(frozen=True)
class Files:
    """Which files make a data set, and how.

    Attributes:
        train: the file with the training set.
        target: the column with the labels; for files of arrays without names (IDX, NPY) the file with the labels.
        test: the file with the test set; None to take it from the same file.
        test_target: the file with its labels, where ``target`` is a file.
        test_fraction: part of the rows that is for testing, without ``test``.
        stratify: take the same part of every class.
        categorical: columns of numbers that are categories.
        ignore: columns that are left out.
    """

    train: Path
    target: str
    test: Path | None = None
    test_target: Path | None = None
    test_fraction: float | None = None
    stratify: bool = False
    categorical: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_flag("stratify", self.stratify)
        if self.test is not None and (self.test_fraction is not None or self.stratify):
            raise ValueError("`test_fraction` and `stratify` must be left out if there is a file of tests")
        if self.test_fraction is not None:
            check_number("test_fraction", self.test_fraction, above=0, below=1)
        if (self.test_target is not None) != (self.test is not None and self.labels is not None):
            raise ValueError("`test` must be a file, and that of its labels too if, and only if, `target` is a file")

    @property
    def labels(self) -> Path | None:
        """The file with the labels, where the target is one."""
        return Path(self.target) if needs_labels(self.train) and Path(self.target).is_file() else None

    @property
    def column(self) -> str:
        """The column with the labels, once the files are read."""
        return self.target if self.labels is None else LABELS

    @property
    def name(self) -> str:
        """What the data set is called."""
        return data_name(self.train)

    def to_json(self) -> dict[str, Any]:
        """Return what ``from_json`` takes."""
        return stored(vars(self))

    @classmethod
    def from_json(cls, values: Any) -> "Files":
        """Return the reverse of ``to_json``; raise ``ValueError`` that names the field for anything else."""
        check_fields("files", values, [each.name for each in fields(cls)])
        paths = {
            name: None if values[name] is None and name != "train" else Path(check_name(f"files.{name}", values[name]))
            for name in ("train", "test", "test_target")
        }
        lists = {}
        for name in ("categorical", "ignore"):
            each = check_instance(f"files.{name}", values[name], list, "a list")
            lists[name] = tuple(check_name(f"files.{name}", value) for value in each)
        return cls(**values | paths | lists | {"target": check_name("files.target", values["target"])})

    def digests(self) -> dict[str, str]:
        """Return a digest of each file by its path."""
        paths = [self.train, self.labels, self.test, self.test_target]
        return {str(path): _digest(path) for path in paths if path is not None}


def as_given(train: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields of ``Files`` from options of the command line, those that are given: there ``test`` may be two
    files, and paths may be relative."""
    given = {"train": train, **options}
    for name in ("categorical", "ignore"):
        if name in given:
            given[name] = tuple(given[name])
    if "test" in given:
        if len(given["test"]) > 2:
            raise ValueError(f"`test` must be a file, or two with that of the labels, got {len(given['test'])} files")
        given |= dict(zip(("test", "test_target"), given["test"], strict=False))
    if "target" in given and needs_labels(train) and Path(given["target"]).is_file():
        given["target"] = str(Path(given["target"]).absolute())
    return given


def stored(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields of ``Files`` as JSON has them."""
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}


def data_name(path: Path) -> str:
    """Return what the data set in a file is called."""
    return re.split(r"[^\w-]", path.name.lstrip("."), maxsplit=1)[0] or "data"


def load_files(
    files: Files,
    *,
    kind: str | None = None,
    seed: int = 0,
    dtype: DTypeLike = np.float32,
    preparation: Preparation | None = None,
    target: Target | None = None,
) -> Dataset:
    """Load a data set from files of the user's.

    Args:
        files: which.
        kind: what the target is, one of ``deepnet.data.target.KINDS``; None for what its column suggests.
        seed: of what is for testing.
        dtype: float32 or float64, of the inputs.
        preparation: how to make the inputs; None to learn it from the training set.
        target: the classes, or the scale of the numbers; None for those of the training set.

    Raises:
        ValueError: an option of ``files`` is for classes, and the target are numbers.
        DataError: a file cannot be read or is not as it must be; names file, line and column.
    """
    column = files.column
    table, held = read_table(files.train, column, files.labels), _test_table(files)
    if target is None:
        target = fit_target(table, column, kind)
    if files.stratify and isinstance(target, Numbers):
        raise ValueError("`stratify` must be left out for a target of numbers, which has no classes")
    inputs, y = table.without([column, *files.ignore]), target.read(table, column)
    train, test = np.arange(len(table)), np.arange(0)
    if held is None:
        train, test = _split(files, y, seed)
    if preparation is None:
        if (y[train] == y[train[0]]).all():
            need = "must have different values among the rows for training, else there is nothing to learn"
            raise DataError(f"{files.train}, column {column}: {need}, got {shown(_first(table, column, train))} only")
        preparation = fit_preparation(inputs, train, files.categorical)
        target = target.fitted(y[train])
    if held is None:
        x_test, y_test = _inputs(preparation, inputs, test, dtype), y[test]
    else:
        x_test = _inputs(preparation, held, np.arange(len(held)), dtype)
        y_test = target.read(held, column)
    return Dataset(
        name=files.name,
        task=target.task,
        x_train=_inputs(preparation, inputs, train, dtype),
        y_train=target.encode(y[train]),
        x_test=x_test,
        y_test=target.encode(y_test),
        labels=target.labels if isinstance(target, Classes) else (),
        numbers=target if isinstance(target, Numbers) else None,
        preparation=preparation,
    )


def _first(table: Table, column: str, rows: NDArray[np.integer]) -> Any:
    return table.column(column)[rows[:1]].tolist()[0]


def _inputs(preparation: Preparation, table: Table, rows: NDArray[np.integer], dtype: DTypeLike) -> Any:
    """Return the inputs of some rows, made a piece at a time; of a mapped file, inputs that stay there."""
    if table.mapped:
        return MappedInputs(preparation, table, rows, dtype)
    x = np.empty((len(rows), preparation.features), dtype)
    for start, some in zip(range(0, len(rows), PIECE), pieces(rows), strict=True):
        x[start : start + PIECE] = preparation.apply(table.rows(some), dtype)
    return x


def read_pieces(
    path: Path, target: str = "", labels: Path | None = None, *, part: str = "", size: int = PIECE
) -> Iterator[Table]:
    """Yield a file in pieces of ``size`` rows.

    Args:
        path: of the file.
        target: what the labels in a file of their own are called.
        labels: the file with the labels, for files of arrays without names.
        part: of an archive with a training and a test part, "_train" or "_test".
        size: of a piece.

    Raises:
        DataError: it cannot be read, or is not what the ending of its name says.
    """
    reader = READERS.get(_ending(path), read_idx)
    options: dict[str, Any] = {"part": part} if reader is read_npz else {}
    if reader in (read_npy, read_idx):
        options = {"labels": labels, "target": target}
    with reading(path):
        yield from reader(path, size, **options)


def read_table(path: Path, target: str = "", labels: Path | None = None, part: str = "_train") -> Table:
    """Return all rows of a file; those of one part, if it is an archive that has two.

    A plain NPY or IDX file whose numbers, in float32, would take much of the memory is mapped.
    """
    if READERS.get(_ending(path), read_idx) in (read_npy, read_idx) and path.suffix != ".gz":
        with reading(path):
            if 4 * numbers_in(path) > IN_MEMORY * total_memory():
                return map_array(path, labels, target)
    pieces = list(read_pieces(path, target, labels, part="" if whole(path) else part))
    if not pieces:
        raise DataError(f"{path} must have rows, got none")
    return joined(pieces)


def whole(path: Path) -> bool:
    """Return whether a file is one set of rows, and no archive that has a training and a test part."""
    with reading(path):
        return _ending(path) != ".npz" or not npz_parts(path)


def column_names(path: Path) -> str:
    """Return the names of the columns of a file, for people; errors as of ``read_pieces``."""
    for table in read_pieces(path, part="" if whole(path) else "_train", size=1):
        return f"one of the columns {table.names}"
    return "a column"


def _test_table(files: Files) -> Table | None:
    """Return the table of tests; None to take them from that of the training set."""
    if files.test is not None:
        return read_table(files.test, files.column, files.test_target, part="_test")
    if not whole(files.train):
        return read_table(files.train, part="_test")
    return None


def _split(files: Files, y: NDArray[Any], seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows for training and those for testing, each in the order of the file."""
    from sklearn.model_selection import train_test_split

    fraction = TEST_FRACTION if files.test_fraction is None else files.test_fraction
    try:
        parts = train_test_split(
            np.arange(len(y)),
            test_size=fraction,
            stratify=y if files.stratify else None,
            random_state=seed % 2**32,
        )
    except ValueError as error:  # too few rows, or a class of one
        raise DataError(f"{files.train} cannot be split into rows for training and testing: {error}") from error
    return np.sort(parts[0]), np.sort(parts[1])


def _ending(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).suffix.lower()


def needs_labels(path: Path) -> bool:
    """Return whether the labels of a file of this name are in a file of their own."""
    return _ending(path) not in READERS or _ending(path) == ".npy"


def _digest(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{os.fspath(path)} cannot be read: {error.strerror or error}") from error
