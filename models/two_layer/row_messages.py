"""Messages about the rows of a matrix: one Gaussian law a row, one d × d precision for all of them."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from factorgraph.interface.arguments import real_array, shown
from factorgraph.messages.linear_node import inverses, symmetric
from factorgraph.messages.ranges import MIN_VARIANCE, message_precisions

Array = NDArray[np.float64]


class RowMessage(NamedTuple):
    """e^{b·z - z·Γz/2} for every row z in R^d of a matrix.

    Attributes:
        information: b = Γ r, (n, d).
        precision: Γ, (d, d), symmetric, positive semidefinite.
    """

    information: Array
    precision: Array

    @property
    def mean(self) -> Array:
        """r, (n, d); the precision must be positive definite."""
        mean: Any = np.linalg.solve(self.precision, self.information.T)
        return mean.T


def extrinsic(mean: Array, covariance: Array, received: RowMessage) -> RowMessage:
    """Return what a node sends: its estimate divided by what it received, of precision Γ_out = C⁻¹ - Γ_in within its
    range.

    The mean of the product of both messages is the estimate also where the precision has met a bound.

    Args:
        mean: of the rows given everything, (n, d).
        covariance: C, averaged over the rows, (d, d), positive semidefinite.
        received: with a precision that is positive definite.
    """
    minimum = MIN_VARIANCE * inverses(received.precision)  # all rows may rest in kinks, where modes do not move
    C = covariance + minimum
    share = np.eye(len(C)) - C @ received.precision
    precision = message_precisions(C[None], share[None])[0]
    return RowMessage(mean @ (received.precision + precision) - received.information, precision)


def positive_definite(name: str, value: ArrayLike, d: int | None = None) -> Array:
    """Return a symmetric positive definite matrix (d, d), from one or from a number, which stands for a multiple of 1.

    Raises:
        ValueError: it is none.
    """
    matrix: Any = real_array(name, value).copy()
    if matrix.ndim == 0 and d is not None:
        matrix = matrix * np.eye(d)
    shape = "(d, d)" if d is None else f"({d}, {d})"
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or 0 in matrix.shape or len(matrix) != (d or len(matrix)):
        raise ValueError(f"`{name}` must be a matrix {shape}, got shape {matrix.shape}")
    if not np.allclose(matrix, matrix.T, rtol=1e-10, atol=1e-10 * float(np.abs(matrix).max())):
        raise ValueError(f"`{name}` must be symmetric, got {shown(matrix.tolist())}")
    minimum, maximum = np.linalg.eigvalsh(matrix)[[0, -1]]
    if not minimum > 1e-14 * maximum:
        raise ValueError(f"`{name}` must be positive definite, got eigenvalues from {minimum:.3g} to {maximum:.3g}")
    return symmetric(matrix)
