"""Inputs that stay on the disk: made of rows of a mapped file when they are asked for, those of a batch at a time."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from deepnet.data.preparation import Inputs, Preparation
from deepnet.data.table import Table


class MappedInputs:
    """Inputs (samples, features) that are prepared when some of them are asked for.

    Indexed by a slice it is such inputs again; by anything else, or as an argument of NumPy, it is an array.

    Args:
        preparation: how inputs are made of rows.
        table: of columns that are mapped from a file into memory.
        rows: of the table, one for each sample.
        dtype: of the inputs.
    """

    ndim = 2

    def __init__(self, preparation: Preparation, table: Table, rows: Any, dtype: DTypeLike) -> None:
        self._preparation, self._table, self._rows, self.dtype = preparation, table, rows, np.dtype(dtype)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of samples and features."""
        return len(self), self._preparation.features

    def __getitem__(self, chosen: Any) -> Any:
        part = MappedInputs(self._preparation, self._table, self._rows[chosen], self.dtype)
        return part if isinstance(chosen, slice) else np.asarray(part)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Inputs:
        if not len(self):
            values: Any = np.empty(self.shape, self.dtype)
        else:
            values = self._preparation.apply(self._table.rows(self._rows), self.dtype)
        return values if dtype is None else values.astype(dtype, copy=False)

    def astype(self, dtype: DTypeLike, copy: bool = True) -> "MappedInputs":
        """Return the same inputs of another type."""
        same = np.dtype(dtype) == self.dtype
        return self if same else MappedInputs(self._preparation, self._table, self._rows, dtype)
