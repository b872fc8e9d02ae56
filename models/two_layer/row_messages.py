"""Messages about the rows of a matrix: one Gaussian law a row, one d × d precision for all of them."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from factorgraph.interface.arguments import real_array, shown

Array = NDArray[np.float64]

#: Bounds of a sent precision in units of the one received, so that both stay in the cone of positive definite matrices.
LEAST, MOST = 1e-6, 1e9


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

    def mixed(self, old: "RowMessage", damping: float) -> "RowMessage":
        """α old + (1 - α) this one, in natural parameters; the cone is convex."""
        return RowMessage(*(damping * a + (1.0 - damping) * b for a, b in zip(old, self, strict=True)))


def extrinsic(mean: Array, covariance: Array, received: RowMessage) -> RowMessage:
    """What a node sends: its estimate divided by what it received, Γ_out = C⁻¹ - Γ_in kept between two bounds.

    The mean of the product of both messages is the estimate also where the precision has met a bound.

    Args:
        mean: of the rows given everything, (n, d).
        covariance: C, averaged over the rows, (d, d), positive definite.
        received: with a precision that is positive definite.
    """
    L = np.linalg.cholesky(received.precision)
    gain, axes = np.linalg.eigh(symmetric(L.T @ covariance @ L))  # covariance in units of the received one
    sent = np.clip(1.0 / np.clip(gain, 1e-300, None) - 1.0, LEAST, MOST)
    root = L @ axes
    precision = symmetric((root * sent) @ root.T)
    return RowMessage(mean @ (received.precision + precision) - received.information, precision)


def inverse(A: Array) -> Array:
    """Of matrices (..., d, d)."""
    found: Any = np.linalg.inv(A)
    return found


def symmetric(A: Array) -> Array:
    """The symmetric part of matrices (..., d, d)."""
    return 0.5 * (A + np.swapaxes(A, -1, -2))


def positive_definite(name: str, value: ArrayLike, d: int | None = None) -> Array:
    """A symmetric positive definite matrix (d, d), from one or from a number, which stands for a multiple of 1.

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
    least, most = np.linalg.eigvalsh(matrix)[[0, -1]]
    if not least > 1e-14 * most:
        raise ValueError(f"`{name}` must be positive definite, got eigenvalues from {least:.3g} to {most:.3g}")
    return symmetric(matrix)
