"""Known matrices: dense, sparse, or anything that multiplies vectors."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

from factorgraph.spectral import Spectral
from models.products import Squared

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
    """W and its entrywise square as float64 operators with ``@`` and ``.T``.

    Args:
        name: for messages.
        W: array, SciPy sparse array or matrix, or ``LinearOperator``, (outputs, inputs).
        mean_square: E W², which then replaces every squared entry; needed for a ``LinearOperator``, whose entries are
            not known; None for exact squares.

    Raises:
        ValueError: W is no such matrix, has entries that are not finite, or no squares.
    """
    if mean_square is not None and not (np.isfinite(mean_square) and mean_square > 0.0):
        raise ValueError(f"`mean_square` must be finite numbers > 0, got {mean_square}")
    shape = np.shape(W)
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"{name} must be a matrix (outputs, inputs), got shape {shape}")
    if isinstance(W, Spectral) and mean_square is None:
        mean_square = W.mean_square
    if isinstance(W, LinearOperator):
        if mean_square is None:
            raise ValueError(
                f"`mean_square` must be given for {name}, a LinearOperator (1/inputs for normalised columns), got None"
            )
        return W, Uniform(shape, mean_square)
    if sparse.issparse(W):
        matrix: Any = sparse.csr_array(W, dtype=np.float64)
        entries, squares = matrix.data, sparse.csr_array(matrix.multiply(matrix))
    else:
        matrix = entries = np.ascontiguousarray(W, dtype=np.float64)
        squares = Squared(matrix)
    if not np.all(np.isfinite(entries)):
        raise ValueError(f"{name} must have finite entries, got some that are infinite or not a number")
    return matrix, squares if mean_square is None else Uniform(shape, mean_square)


def with_entries(name: str, W: Any) -> Array:
    """W as a dense array; raises ValueError if its entries are not known."""
    if isinstance(W, LinearOperator):
        raise ValueError(f"{name} must be an array or sparse for messages on edges, got a LinearOperator")
    return W.toarray() if sparse.issparse(W) else W


def outlying_mean(W: Any) -> bool:
    """Whether the mean of the entries stands out: its singular value lies above those of the fluctuations about it."""
    rows, columns = W.shape
    mean = float((W @ np.ones((columns, 1))).sum()) / (rows * columns)
    probe = np.random.default_rng(0).choice([-1.0, 1.0], size=(columns, 8))
    square = float(np.mean(np.square(W @ probe))) / columns - mean**2
    return abs(mean) * (rows * columns) ** 0.5 > square**0.5 * (rows**0.5 + columns**0.5)
