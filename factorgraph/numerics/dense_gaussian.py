"""Dense Gaussian algebra that neither expands squares nor squares a matrix: for the ground truth.

A law is given by residuals, e^{-|t - A x|²/2 + f·x + x·Ex/2} with a diagonal E >= 0, and is solved through the QR
decomposition of A. Means far from zero, and residuals of very different sizes, then cost no digits.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr, solve_triangular

from factorgraph.interface.errors import IndefiniteError
from factorgraph.numerics.special import LOG_2PI

Array = NDArray[np.float64]

#: What is left of a column after the others have been projected out is rounding below this share, times the size.
_ROUNDING = 16.0 * float(np.finfo(float).eps)
_REFINEMENTS = 3


class DenseGaussian:
    """The laws of n variables that differ in t and f alone.

    Args:
        rows: (m, n) matrix whose rows are to be weighted.
        weight: (m,) squares of the factors of the rows: A = weight^½ rows.
        excess: (n,) diagonal of E.

    Raises:
        IndefiniteError: the precision matrix AᵀA - E is not positive definite.
    """

    def __init__(self, rows: Array, weight: Array, excess: Array) -> None:
        self.rows, self.scale, self.excess = rows, np.sqrt(weight), excess
        A = self.scale[:, None] * rows
        size = np.abs(A).max(axis=0, initial=0.0)
        if not np.all(size > 0.0):
            raise _indefinite()
        self.column_scale = np.exp2(np.floor(np.log2(size)))  # columns of like size, without rounding
        A = A / self.column_scale
        #: Large rows first: with pivoting of columns the decomposition then is accurate row by row [Cox-Higham 1998].
        self.order = np.argsort(-np.abs(A).max(axis=1), kind="stable")
        norms = np.linalg.norm(A, axis=0)
        if len(A) < len(norms):
            raise _indefinite()
        self.q, self.r, self.pivots = (np.asarray(part) for part in qr(A[self.order], mode="economic", pivoting=True))
        if np.any(np.abs(np.diag(self.r)) <= _ROUNDING * len(norms) * norms[self.pivots]):
            raise _indefinite()
        #: Cholesky factor of S with AᵀA - E = RᵀS R; None for the identity.
        self.inner: Array | None = None
        if excess.any():
            lost = self._solved(np.diag(np.sqrt(excess) / self.column_scale)[self.pivots], transposed=True)
            self.inner = _cholesky(np.eye(len(norms)) - lost @ lost.T)

    @property
    def log_volume(self) -> float:
        """log ∫ of the law relative to its peak."""
        n = len(self.column_scale)
        logs = np.log(np.abs(np.diag(self.r))).sum() + np.log(self.column_scale).sum()
        inner = 0.0 if self.inner is None else np.log(np.diag(self.inner)).sum()
        return float(0.5 * n * LOG_2PI - logs - inner)

    def covariance(self) -> Array:
        """Return (n, n), every variance a sum of squares."""
        root = (
            np.eye(len(self.column_scale))
            if self.inner is None
            else self._inner(np.eye(len(self.column_scale)), transposed=True)
        )
        inverse = np.empty_like(root)
        inverse[self.pivots] = self._solved(root)
        inverse /= self.column_scale[:, None]
        return inverse @ inverse.T

    def mean(self, target: Array, field: Array) -> Array:
        """Return means (n, S) for t = weight^½ target, target (m, S), and fields f (n, S)."""
        x = np.zeros(field.shape)
        for _ in range(1 + _REFINEMENTS):
            rest = self.scale[:, None] * (target - self.rows @ x)
            pull = (field + self.excess[:, None] * x) / self.column_scale[:, None]
            y = self.q.T @ rest[self.order] + self._solved(pull[self.pivots], transposed=True)
            if self.inner is not None:
                y = self._inner(self._inner(y), transposed=True)
            step = np.empty_like(x)
            step[self.pivots] = self._solved(y)
            x = x + step / self.column_scale[:, None]
        return x

    def log_peak(self, target: Array, field: Array, x: Array) -> Array:
        """Return terms (m + n, S) of the exponent at x."""
        rest = self.scale[:, None] * (target - self.rows @ x)
        return np.concatenate([-0.5 * rest * rest, (field + 0.5 * self.excess[:, None] * x) * x])

    def _solved(self, values: Array, *, transposed: bool = False) -> Array:
        """Return R⁻¹ or R⁻ᵀ times values."""
        return np.asarray(solve_triangular(self.r, values, trans=int(transposed)))

    def _inner(self, values: Array, *, transposed: bool = False) -> Array:
        assert self.inner is not None
        return np.asarray(solve_triangular(self.inner, values, lower=True, trans=int(transposed)))


def _cholesky(S: Array) -> Array:
    """Return the lower factor of a matrix with a diagonal of at most 1."""
    try:
        L = np.asarray(np.linalg.cholesky(S), dtype=np.float64)
    except np.linalg.LinAlgError:
        raise _indefinite() from None
    if np.any(np.diag(L) ** 2 <= _ROUNDING * len(L)):
        raise _indefinite()
    return L


def _indefinite() -> IndefiniteError:
    return IndefiniteError("the precision matrix must be positive definite, got one that is not")
