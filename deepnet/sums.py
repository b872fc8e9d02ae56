"""Sums of real inputs, each with the sign of its weight."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def sums(W: NDArray[Any], x: NDArray[Any]) -> NDArray[Any]:
    """Return W @ x, 0 where nothing but rounding is left of the terms; those of integers are exact."""
    z = W.astype(np.float64, copy=False) @ x.astype(np.float64, copy=False)
    largest = max(W.max(), -W.min())
    rounding = len(x) * np.finfo(np.float64).eps * largest * np.abs(x).sum(axis=0, dtype=np.float64)
    z *= np.abs(z) > rounding
    return z.astype(x.dtype)
