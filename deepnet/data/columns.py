"""Columns of numbers and of categories as inputs of a network.

Everything is fitted and applied by scikit-learn's transformers. What they have learned is kept as JSON, and a
transformer is made from it by fitting it anew on the few rows that leave it with these very numbers: no pickle is
involved.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from deepnet.data.files import DataError
from deepnet.data.preparation import LARGEST, Inputs, Preparation
from deepnet.data.table import TEXT, Column, Table, is_text, most_categories, numbers, pieces
from factorgraph.interface.arguments import shown

#: Most categories of a column; more are likely to be names or numbers of the rows.
_MOST_CATEGORIES = 1000


@dataclass(frozen=True)
class Numbers:
    """A column of numbers.

    Attributes:
        name: of the column.
        mean, scale: what it is shifted and divided by. Missing values are put at the mean.
        missing: whether values were missing: then one more input says where.
    """

    name: str
    mean: float
    scale: float
    missing: bool


@dataclass(frozen=True)
class Categories:
    """A column of categories, one input for each, 1 or 0; all 0 where the value is missing."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Columns(Preparation):
    """Columns of numbers and of categories; the inputs are the numbers, where some are missing, and the categories.

    Every column then has a mean square of about 1, whatever its unit or the number of its categories.
    """

    numbers: tuple[Numbers, ...]
    categories: tuple[Categories, ...]

    @property
    def features(self) -> int:
        indicators = sum(each.missing for each in self.numbers)
        return len(self.numbers) + indicators + sum(len(each.values) for each in self.categories)

    @classmethod
    def fit(cls, table: Table, train: Any, categorical: Sequence[str]) -> "Columns":
        """Return what is learned from a table.

        Args:
            table: all rows of a file, columns of inputs only.
            train: those to learn means and deviations from; categories are those of all rows.
            categorical: columns of numbers that are categories.
        """
        for name in categorical:
            table.column(name)
        named = {*categorical, *table.categorical}
        kinds = {name: name in named or (is_text(c) and not _mostly_numbers(c)) for name, c in table.columns.items()}
        plain = [name for name, category in kinds.items() if not category]
        categories = tuple(_fit_categories(table, name) for name, category in kinds.items() if category)
        return cls(_fit_numbers(table, train, plain) if plain else (), categories)

    def apply(self, table: Table, dtype: DTypeLike) -> Inputs:
        parts = []
        if self.numbers:
            values = np.stack([_checked_numbers(table, each.name) for each in self.numbers], axis=1)
            with np.errstate(over="ignore"):
                scaled = self._scaler().transform(values)
            if (far := np.abs(scaled) > LARGEST).any():
                row, column = np.argwhere(far)[0]
                each, value = self.numbers[column], values[row, column]
                need = f"within {LARGEST * each.scale:g} of {each.mean:g}"
                raise DataError(f"{table.where(row, each.name)}: must be {need}, got {value:g}")
            parts.append(self._imputer().transform(scaled))
        if self.categories:
            columns = [_checked_categories(table, each) for each in self.categories]
            parts.append(self._encoder().transform(np.stack(columns, axis=1).astype(object)))
        return np.concatenate(parts, axis=1).astype(dtype)

    def to_json(self) -> dict[str, Any]:
        columns = [asdict(each) for each in self.numbers]
        return {
            "kind": "columns",
            "numbers": columns,
            "categories": [{"name": each.name, "values": list(each.values)} for each in self.categories],
        }

    def _scaler(self) -> Any:
        from sklearn.preprocessing import StandardScaler

        scaler: Any = StandardScaler()
        scaler.mean_ = np.array([each.mean for each in self.numbers])
        scaler.scale_ = np.array([each.scale for each in self.numbers])
        scaler.var_, scaler.n_features_in_ = scaler.scale_**2, len(self.numbers)
        return scaler

    def _imputer(self) -> Any:
        """Return what puts 0, the mean, where a number is missing."""
        from sklearn.impute import SimpleImputer

        some_missing = np.where([each.missing for each in self.numbers], np.nan, 0.0)
        imputer = SimpleImputer(strategy="constant", fill_value=0.0, add_indicator=True)
        return imputer.fit(np.stack([np.zeros_like(some_missing), some_missing]))

    def _encoder(self) -> Any:
        from sklearn.preprocessing import OneHotEncoder

        known = [np.array(each.values, dtype=object) for each in self.categories]
        options = {"categories": known, "handle_unknown": "ignore", "sparse_output": False}
        return OneHotEncoder(**options).fit(np.array([[values[0] for values in known]], dtype=object))


def _mostly_numbers(column: Column) -> bool:
    """Return whether more than half of the texts that are there are numbers."""
    values, wrong = numbers(column)
    return bool(np.isfinite(values).sum() > wrong.sum())


def _checked_numbers(table: Table, name: str) -> NDArray[np.float64]:
    """Return a column as numbers, NaN where they are missing."""
    column = table.column(name)
    if column.ndim > 1:
        raise DataError(f"{table.file}, column {name}: must be one number a row, got shape {column.shape[1:]}")
    values, wrong = numbers(column)
    if wrong.any():
        row = int(wrong.argmax())
        hint = " (train with --categorical for a column of categories)" if is_text(column) else ""
        raise DataError(f"{table.where(row, name)}: must be a finite number{hint}, got {shown(column[row])}")
    return values


def _categories(column: Column) -> NDArray[Any]:
    """Return a column as texts; numbers that are whole have no point."""
    if is_text(column):
        return column
    column = column.astype(np.float64)
    plain = [int(value) if value.is_integer() else value for value in column.tolist()]
    return np.array(["" if value != value else str(value) for value in plain], dtype=TEXT)


def _checked_categories(table: Table, known: Categories) -> NDArray[Any]:
    """Return a column as texts, all of them known or missing."""
    found = _categories(table.column(known.name))
    values = {*known.values, ""}
    row = next((row for row, value in enumerate(found) if value not in values), None)
    if row is not None:
        names = ", ".join(known.values)
        names = names if len(names) <= 200 else f"{names[:200]}..."
        raise DataError(f"{table.where(row, known.name)}: must be one of {names}, got {shown(found[row])}")
    return found


def _fit_numbers(table: Table, train: NDArray[np.integer], names: Sequence[str]) -> tuple[Numbers, ...]:
    """Return what is learned of columns of numbers, at least one, from some rows, a piece at a time."""
    from sklearn.preprocessing import StandardScaler

    scaler: Any = StandardScaler()
    missing, largest = np.zeros(len(names), np.int64), np.full(len(names), -np.inf)
    for rows in pieces(train):
        some = table.rows(rows)
        values = np.stack([_checked_numbers(some, name) for name in names], axis=1)
        missing += np.isnan(values).sum(axis=0)
        largest = np.fmax(largest, np.fmax.reduce(values))
        with np.errstate(all="ignore"):
            scaler.partial_fit(values)
    fitted = []
    for name, mean, scale, none, most in zip(names, scaler.mean_, scaler.scale_, missing, largest, strict=True):
        if none == len(train):
            raise DataError(f"{table.file}, column {name}: must have values, all are missing; leave it out by --ignore")
        if not np.isfinite(mean) or not np.isfinite(scale) or not scale > 0:
            raise DataError(f"{table.file}, column {name}: must have a finite variance, got {most:g}")
        fitted.append(Numbers(name, float(mean), float(scale), bool(none)))
    return tuple(fitted)


def _fit_categories(table: Table, name: str) -> Categories:
    column = _categories(table.columns[name])
    found = sorted(set(column.tolist()) - {""})
    if not found:
        raise DataError(f"{table.file}, column {name}: must have values, all are missing; leave it out by --ignore")
    most = most_categories(len(column), _MOST_CATEGORIES)
    if len(found) > most:
        row = int((column == found[0]).argmax())
        raise DataError(
            f"{table.where(row, name)}: must be a number, got {shown(found[0])}; or the column must have at most "
            f"{most} categories in {len(column)} rows, got {len(found)}: leave it out by --ignore"
        )
    return Categories(name, tuple(found))
