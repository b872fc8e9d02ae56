"""Known matrices: dense, sparse, or anything that multiplies vectors."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

from factorgraph.interface.arguments import check_number, real_array
from factorgraph.numerics.spectral import Spectral
from models.inference.known_products import Squared

Array = NDArray[np.float64]


class Uniform:
    """The matrix (rows, columns) whose entries all equal ``value``: the mean square in place of every W²."""

    def __init__(self, shape: tuple[int, int], value: float) -> None:
        self.shape = shape
        self.value = value

    @property
    def T(self) -> "Uniform":  # noqa: N802  (as of arrays)
        """The transposed matrix."""
        return Uniform((self.shape[1], self.shape[0]), self.value)

    def __matmul__(self, x: Array) -> Array:
        return np.tile(self.value * x.sum(axis=0), (self.shape[0], 1))


def known_matrix(name: str, W: Any, mean_square: float | None) -> tuple[Any, Any]:
    """Return W and its entrywise square as float64 operators with ``@`` and ``.T``.

    Args:
        name: for messages.
        W: array, SciPy sparse array or matrix, or ``LinearOperator``, (outputs, inputs).
        mean_square: E W², which then replaces every squared entry; needed for a ``LinearOperator``, whose entries are
            not known; None for exact squares.

    Raises:
        ValueError: W is no such matrix, has entries that are not finite real numbers, or no squares.
    """
    if mean_square is not None:
        mean_square = check_number("mean_square", mean_square, above=0.0)
    matrix, squares = _operator(name, W) if isinstance(W, LinearOperator) else _with_squares(name, W)
    if len(matrix.shape) != 2 or 0 in matrix.shape:
        raise ValueError(f"`{name}` must be a matrix (outputs, inputs), got shape {matrix.shape}")
    if isinstance(W, Spectral) and mean_square is None:
        mean_square = W.mean_square
    if mean_square is not None:
        return matrix, Uniform(matrix.shape, mean_square)
    if squares is None:
        raise ValueError(
            f"`mean_square` must be given for `{name}`, a LinearOperator whose entries are not known: the mean of its "
            "squared entries, |W|²/(outputs · inputs), which is 1/inputs for rows of norm 1 and 1/outputs for columns "
            "of norm 1; else estimate it as the mean of (W @ v)² / inputs over random signs v, got None"
        )
    return matrix, squares


def _operator(name: str, W: LinearOperator) -> tuple[Any, None]:
    """Return W as it is; raise ValueError if it is not real."""
    if W.dtype is not None and W.dtype.kind not in "biuf":  # None: unknown
        raise ValueError(f"`{name}` must be a matrix of real numbers, got a LinearOperator of type {W.dtype}")
    return W, None


def _with_squares(name: str, W: Any) -> tuple[Any, Any]:
    """Return W in float64, contiguous or by rows, and its squares; raise ValueError if an entry is no finite real
    number."""
    if not sparse.issparse(W):
        dense = np.ascontiguousarray(real_array(name, W))
        return dense, Squared(dense)
    if W.dtype.kind not in "biuf":
        raise ValueError(f"`{name}` must be a matrix of real numbers, got a sparse one of type {W.dtype}")
    matrix: Any = sparse.csr_array(W, dtype=np.float64)
    real_array(name, matrix.data)
    return matrix, sparse.csr_array(matrix.multiply(matrix))


def with_entries(name: str, W: Any) -> Array:
    """Return W as a dense array; raise ValueError if its entries are not known."""
    if isinstance(W, LinearOperator):
        raise ValueError(f"`{name}` must be an array or sparse for messages on edges, got a LinearOperator")
    return W.toarray() if sparse.issparse(W) else W


def outlying_mean(W: Any) -> bool:
    """Return whether the mean of the entries stands out: its singular value lies above those of the fluctuations about
    it."""
    rows, columns = W.shape
    mean = float((W @ np.ones((columns, 1))).sum()) / (rows * columns)
    probe = np.random.default_rng(0).choice([-1.0, 1.0], size=(columns, 8))
    variance = float(np.mean(np.square(W @ probe - mean * probe.sum(axis=0)))) / columns
    return abs(mean) * (rows * columns) ** 0.5 > variance**0.5 * (rows**0.5 + columns**0.5)
