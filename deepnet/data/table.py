"""Rows of a file of the user's: columns by name, and where in the file each row stands."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepnet.data.files import DataError

Column = NDArray[Any]

#: Columns of data that have no names: pictures, and their labels.
PICTURES, LABELS = "x", "y"

#: Rows that are read, or learned from, at once.
PIECE = 8192

#: Different texts that any column may have; a column with more is one of categories only if they recur.
_FEW = 20

#: The type of columns of texts: 16 bytes for a short one, where a Python string takes some 60.
TEXT = np.dtypes.StringDType()

#: Texts that stand for a value that is not there.
MISSING = frozenset({"", "?", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "<NA>"})


@dataclass(frozen=True, eq=False)
class Table:
    """Some rows of a file.

    Attributes:
        file: from which they are.
        columns: one-dimensional, by name: real numbers, those that are missing NaN; or texts (of type ``TEXT``), those
            that are missing "". Pictures have more axes: (rows, ...).
        places: number of every row in the file, as its reader counts.
        unit: what the reader counts: "line" or "row".
        categorical: columns of which the file says that they are categories.
        mapped: the columns are on the disk, and not to be copied whole.
    """

    file: Path
    columns: dict[str, Column]
    places: NDArray[np.integer]
    unit: str = "row"
    categorical: frozenset[str] = field(default_factory=frozenset)
    mapped: bool = False

    def __len__(self) -> int:
        return len(self.places)

    @property
    def names(self) -> str:
        """The names of the columns, of bounded length, as errors list them."""
        names = ", ".join(self.columns)
        return names if len(names) <= 400 else f"{names[:400]}..."

    def where(self, row: int, column: str) -> str:
        """Return the place of a value, as errors name it."""
        return f"{self.file}, {self.unit} {self.places[row]}, column {column}"

    def column(self, name: str) -> Column:
        """Return a column; raise ``DataError`` if there is none of this name."""
        if name not in self.columns:
            raise DataError(f"{self.file} must have a column {name}, got the columns {self.names}")
        return self.columns[name]

    def rows(self, chosen: Any) -> "Table":
        """Return some of the rows."""
        columns = {name: values[chosen] for name, values in self.columns.items()}
        return replace(self, columns=columns, places=self.places[chosen])

    def without(self, names: Sequence[str]) -> "Table":
        """Return all but some columns; raise ``DataError`` if one of these is not there."""
        for name in names:
            self.column(name)
        return replace(self, columns={name: values for name, values in self.columns.items() if name not in names})


def joined(tables: Sequence[Table]) -> Table:
    """Return the rows of several pieces of one file; the pieces are emptied column by column, to save memory."""
    first = tables[0]
    columns = {name: np.concatenate([table.columns.pop(name) for table in tables]) for name in list(first.columns)}
    return replace(first, columns=columns, places=np.concatenate([table.places for table in tables]))


def pieces(rows: NDArray[np.integer]) -> Iterator[NDArray[np.integer]]:
    """Yield numbers of rows, at most ``PIECE`` at a time."""
    for start in range(0, len(rows), PIECE):
        yield rows[start : start + PIECE]


def texts(values: Sequence[Any]) -> Column:
    """Return a column of texts; blanks around them are no part of them, and texts for missing values become ""."""
    stripped = (value.strip() for value in values)
    return np.array(["" if value in MISSING else value for value in stripped], dtype=TEXT)


def most_categories(rows: int, most: int) -> int:
    """Return how many categories a column of so many rows may have, ``most`` in any case: each should occur twice, or
    they are names of the rows, or numbers that are written in another way."""
    return min(most, max(_FEW, rows // 2))


def is_text(column: Column) -> bool:
    """Return whether a column holds texts."""
    return column.dtype == TEXT


def numbers(column: Column) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return a column as numbers, those missing NaN, and which of its values are there and are no finite numbers."""
    if not is_text(column):
        values = column.astype(np.float64)
        return values, np.isinf(values)
    values = np.fromiter(map(_number, column), np.float64, len(column))
    return values, ~np.isfinite(values) & (column != "")


def _number(text: str) -> float:
    try:
        return np.nan if "_" in text else float(text)  # underscores are Python's, and no part of numbers in files
    except ValueError:
        return np.nan
