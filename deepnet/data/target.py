"""What is learned from a column: classes, or numbers on a scale of their own."""

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from deepnet.data.files import DataError
from deepnet.data.table import TEXT, Column, Table, is_text, most_categories, numbers
from factorgraph.interface.arguments import check_fields, check_flag, check_number, shown

#: A class as the user knows it.
Label = str | int

#: What a target may be.
KINDS = ("classes", "numbers", "counts")

#: The task of a data set whose targets are numbers.
REGRESSION = "regression"

#: Most classes that a target may have.
_MOST_CLASSES = 1000

#: Whole numbers are classes if there are few of them, or if each has many rows.
_FEW_CLASSES, _ROWS_OF_A_CLASS = 20, 20

_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")


class Learned(ABC):
    """What is learned, and how a network has it."""

    task: ClassVar[str]

    @property
    @abstractmethod
    def size(self) -> int:
        """What ``deepnet.state.model`` calls classes: how many there are; of numbers, how many each sample has."""

    @abstractmethod
    def read(self, table: Table, column: str) -> NDArray[Any]:
        """Return class numbers, or numbers as they stand there, (rows,); raise ``DataError`` for values that are
        none."""

    @abstractmethod
    def fitted(self, values: NDArray[Any]) -> Self:
        """Return the same with what is learned from what was read of the training set."""

    @property
    def unit(self) -> float:
        """What errors on the scale of the network are multiplied by."""
        return 1.0

    @abstractmethod
    def chance(self, y: NDArray[Any]) -> float:
        """Return the error of who does not see the inputs, given the targets of a data set."""

    @abstractmethod
    def encode(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return what was read as networks take it."""


@dataclass(frozen=True)
class Classes(Learned):
    """Classes, as the user knows them, in the order of their numbers."""

    labels: tuple[Label, ...]
    task = "multiclass"

    @property
    def size(self) -> int:
        return len(self.labels)

    def read(self, table: Table, column: str) -> NDArray[np.intp]:
        known = {str(label): number for number, label in enumerate(self.labels)}
        found = _label_column(table, column)
        chosen = np.array([known.get(label, -1) for label in found], dtype=np.intp)
        if (chosen < 0).any():
            row = int((chosen < 0).argmax())
            need = ", ".join(map(str, self.labels[:50]))
            raise DataError(f"{table.where(row, column)}: must be one of the classes {need}, got {shown(found[row])}")
        return chosen

    def fitted(self, values: NDArray[Any]) -> Self:
        return self

    def encode(self, values: NDArray[Any]) -> NDArray[np.integer]:
        """Return ±1 for two classes, else the class numbers."""
        return 2 * values.astype(np.int8) - 1 if self.size == 2 else values.astype(np.int64)

    def chance(self, y: NDArray[Any]) -> float:
        """Of classes that are equally frequent, in percent."""
        return 100.0 * (1.0 - 1.0 / self.size)

    def __str__(self) -> str:
        return f"{self.size} classes"


@dataclass(frozen=True)
class Numbers(Learned):
    """Numbers, one a row.

    Attributes:
        mean, scale: what they are shifted and divided by; 0 and 1 of counts.
        counts: they are whole and not negative.
    """

    mean: float = 0.0
    scale: float = 1.0
    counts: bool = False
    task = REGRESSION

    @property
    def size(self) -> int:
        return 1

    def read(self, table: Table, column: str) -> NDArray[np.float64]:
        found = table.column(column)
        if found.ndim > 1:
            raise DataError(f"{table.file}, column {column}: must be one number a row, got shape {found.shape[1:]}")
        values, _ = numbers(found)
        wrong, need = ~np.isfinite(values), "a finite number"
        if self.counts:
            wrong, need = wrong | (values < 0) | (values != np.floor(values)), "a count, a whole number >= 0"
        if wrong.any():
            row = int(wrong.argmax())
            raise DataError(f"{table.where(row, column)}: must be {need}, got {shown(found[row])}")
        return values

    def fitted(self, values: NDArray[Any]) -> Self:
        from sklearn.preprocessing import StandardScaler

        if self.counts:
            return self
        scaler: Any = StandardScaler().fit(values[:, None])
        mean, scale = float(scaler.mean_[0]), float(scaler.scale_[0])
        if not np.isfinite(mean) or not np.isfinite(scale):
            raise DataError(f"the target must have a finite variance, got values up to {np.abs(values).max():g}")
        return replace(self, mean=mean, scale=scale)

    def encode(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return numbers of mean 0 and variance 1 in the training set, or counts as they are."""
        return (values - self.mean) / self.scale

    @property
    def unit(self) -> float:
        return self.scale

    def chance(self, y: NDArray[Any]) -> float:
        """Of their mean, the root mean square."""
        return self.scale * float(np.std(y))

    def decode(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return numbers on the scale of the file, of those on that of the network."""
        return self.mean + self.scale * values

    def to_json(self) -> dict[str, Any]:
        """Return what ``from_json`` takes."""
        return {"mean": self.mean, "scale": self.scale, "counts": self.counts}

    @classmethod
    def from_json(cls, values: Any) -> "Numbers":
        """Return the reverse of ``to_json``; raise ``ValueError`` that names the field for anything else."""
        record = check_fields("numbers", values, ("mean", "scale", "counts"))
        return cls(
            check_number("numbers.mean", record["mean"]),
            check_number("numbers.scale", record["scale"], above=0),
            check_flag("numbers.counts", record["counts"]),
        )

    def __str__(self) -> str:
        return "counts" if self.counts else f"numbers of mean {self.mean:g} and deviation {self.scale:g}"


Target = Classes | Numbers


def fit_target(table: Table, column: str, kind: str | None = None) -> Target:
    """Return what is in a column: the different labels, sorted; or numbers, whose scale is not known yet.

    Args:
        table: all rows of a file.
        column: the name of the column.
        kind: one of ``KINDS``; None for classes if there are texts, or whole numbers of which most occur again and
            again, and for numbers else.

    Raises:
        DataError: there is no such column, or it does not have at least two classes, or too many.
    """
    found = table.column(column)
    if (_kind(found) if kind is None else kind) != "classes":
        return Numbers(counts=kind == "counts")
    labels = set(_label_column(table, column).tolist())
    if len(labels) < 2:
        raise DataError(f"{table.file}, column {column}: must have at least two classes, got {shown(sorted(labels))}")
    most = most_categories(len(found), _MOST_CLASSES)
    if len(labels) > most:
        need = f"at most {most} classes in {len(found)} rows, or numbers (with a decimal point)"
        raise DataError(f"{table.file}, column {column}: must have {need}, got {len(labels)}: {shown(sorted(labels))}")
    if all(_INTEGER.fullmatch(label) for label in labels):
        return Classes(tuple(sorted(map(int, labels))))
    return Classes(tuple(sorted(labels)))


def _kind(found: Column) -> str:
    values, wrong = numbers(found)
    there = values[np.isfinite(values)]
    if found.ndim > 1 or len(there) <= wrong.sum():
        return "classes"
    if (there != np.floor(there)).any():
        return "numbers"
    return "classes" if len(np.unique(there)) <= max(_FEW_CLASSES, len(there) // _ROWS_OF_A_CLASS) else "numbers"


def _label_column(table: Table, target: str) -> Column:
    """Return the labels as texts."""
    column = table.column(target)
    if column.ndim > 1:
        raise DataError(f"{table.file}, column {target}: must be one label a row, got shape {column.shape[1:]}")
    if is_text(column):
        wrong, need = column == "", "a label"
        found = column
    else:
        values = column.astype(np.float64)
        wrong, need = ~np.isfinite(values) | (values != np.floor(values)), "a class, a text or a whole number"
        found = np.array([str(int(value)) for value in np.where(wrong, 0, values).tolist()], dtype=TEXT)
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(f"{table.where(row, target)}: must be {need}, got {shown(column[row])}")
    return found
