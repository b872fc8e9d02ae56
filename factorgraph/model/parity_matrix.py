"""Parity-check matrices, checked."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from factorgraph.interface.arguments import number_array, shown
from factorgraph.interface.errors import ModelError


def checked_matrix(matrix: Any) -> tuple[sparse.csr_array, tuple[int, int]]:
    """Return a matrix of 0 and 1, with sorted indices and no stored zeros, and its shape."""
    values: NDArray[Any] = number_array("matrix", matrix.data if sparse.issparse(matrix) else matrix, error=ModelError)
    shape = matrix.shape if sparse.issparse(matrix) else values.shape
    if len(shape) != 2 or 0 in shape:
        raise ModelError(f"`matrix` must have two axes and an element, got shape {shape}")
    values = values.astype(values.dtype.newbyteorder("="), copy=False)  # SciPy takes no other
    checks = sparse.csr_array(matrix if sparse.issparse(matrix) else values, copy=True)
    checks.sum_duplicates()
    checks.eliminate_zeros()
    if np.any(checks.data != 1):
        raise ModelError(f"`matrix` must be of 0 and 1, got {shown(checks.data[checks.data != 1][0])}")
    return checks, shape
