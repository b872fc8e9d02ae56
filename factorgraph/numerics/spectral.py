"""Matrices known by their singular values: A = U diag(s) Vᵀ, dense or as fast transforms."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.linalg import svd
from scipy.sparse.linalg import LinearOperator

from factorgraph.interface.arguments import real_array

Array = NDArray[np.float64]

_ORTHONORMAL = 1e-8  # how far the products of two probes may be from those of orthonormal columns, relative


class Spectral(LinearOperator):
    """A = U diag(s) Vᵀ, (m, n), with r singular values s > 0.

    Args:
        u: (m, r) with orthonormal columns: array or ``LinearOperator``; None for the identity, where r = m.
        s: (r,) the singular values.
        vt: (r, n) with orthonormal rows: array or ``LinearOperator``; None for the identity, where r = n.

    Raises:
        ValueError: shapes that do not fit, singular values that are not finite and > 0, or factors that do not keep
            lengths and angles.
    """

    def __init__(self, u: Any, s: ArrayLike, vt: Any) -> None:
        self.s: Array = real_array("s", s).copy()
        r = self.s.size
        if self.s.ndim != 1 or r == 0 or not np.all(self.s > 0.0):
            raise ValueError("`s` must be a vector of finite numbers > 0 (no directions of no weight), got others")
        self.u, self.vt = _factor("u", u, r, axis=1), _factor("vt", vt, r, axis=0)
        shape = (r if self.u is None else self.u.shape[0], r if self.vt is None else self.vt.shape[1])
        super().__init__(np.dtype(np.float64), shape)

    @classmethod
    def of(cls, matrix: Any) -> "Spectral":
        """Return the singular value decomposition of an array or sparse matrix; a ``Spectral`` as it is.

        Singular values below rounding, max(m, n) 2⁻⁵² of the largest, are left out.

        Raises:
            ValueError: not a matrix of finite entries, an operator without known singular values, or no entry but 0.
        """
        if isinstance(matrix, cls):
            return matrix
        matrix = matrix_argument("matrix", matrix)
        dense = matrix.toarray() if sparse.issparse(matrix) else matrix
        dense = dense.astype(np.float64, copy=False)
        u, s, vt = svd(dense, full_matrices=False, check_finite=False)
        rank = int(np.sum(s > max(dense.shape) * np.finfo(float).eps * s[0]))
        if rank == 0:
            raise ValueError("`matrix` must have an entry that is not 0, got zeros")
        return cls(np.ascontiguousarray(u[:, :rank]), s[:rank], np.ascontiguousarray(vt[:rank]))

    @property
    def rank(self) -> int:
        """r, the number of singular values."""
        return self.s.size

    @property
    def mean_square(self) -> float:
        """Of the entries, Σ s²/(mn)."""
        return float(np.sum(self.s**2)) / (self.shape[0] * self.shape[1])

    def left(self, c: Array) -> Array:
        """Return U c, (m, k) of (r, k)."""
        return c if self.u is None else self.u @ c

    def left_transposed(self, z: Array) -> Array:
        """Return Uᵀ z, (r, k) of (m, k)."""
        return z if self.u is None else self.u.T @ z

    def right(self, x: Array) -> Array:
        """Return Vᵀ x, (r, k) of (n, k)."""
        return x if self.vt is None else self.vt @ x

    def right_transposed(self, c: Array) -> Array:
        """Return V c, (n, k) of (r, k)."""
        return c if self.vt is None else self.vt.T @ c

    def _matmat(self, X: Array) -> Array:
        return self.left(self.s[:, None] * self.right(X))

    def _rmatmat(self, X: Array) -> Array:
        return self.right_transposed(self.s[:, None] * self.left_transposed(X))

    def _matvec(self, x: Array) -> Array:
        return self._matmat(np.reshape(x, (-1, 1)))

    def _rmatvec(self, x: Array) -> Array:
        return self._rmatmat(np.reshape(x, (-1, 1)))

    def _transpose(self) -> Any:
        u, vt = (None if factor is None else factor.T for factor in (self.vt, self.u))
        return Spectral(u, self.s, vt)

    def _adjoint(self) -> Any:
        return self._transpose()


def matrix_argument(name: str, matrix: Any, *, error: type[ValueError] = ValueError) -> Any:
    """Return a matrix of finite numbers: an array, sparse, or a ``Spectral``; no singular value is computed.

    Raises:
        ValueError: anything else; of the class ``error``.
    """
    if isinstance(matrix, Spectral):
        return matrix
    if isinstance(matrix, LinearOperator):
        raise error(f"`{name}` must be an array, sparse or a Spectral (singular values known), got an operator")
    entries = matrix.tocoo().data if sparse.issparse(matrix) else matrix
    try:
        array = real_array(name, entries, error=error)
    except error as cause:
        raise error(f"`{name}` must be a matrix of finite numbers: {cause}") from None
    whole = matrix if sparse.issparse(matrix) else array
    if len(whole.shape) != 2 or 0 in whole.shape:
        raise error(f"`{name}` must be a matrix of finite numbers, got an array of shape {whole.shape}")
    return whole


def _factor(name: str, factor: Any, r: int, axis: int) -> Any:
    """Return a checked factor with r columns (axis 1) or rows (axis 0) that are orthonormal; None for the identity."""
    if factor is None:
        return None
    factor = factor if isinstance(factor, LinearOperator) else real_array(name, factor)
    if len(factor.shape) != 2 or factor.shape[axis] != r or factor.shape[1 - axis] < r:
        side = "columns" if axis else "rows"
        raise ValueError(f"`{name}` must have {r} orthonormal {side}, one for each singular value, got {factor.shape}")
    probes = np.random.default_rng(0).standard_normal((r, 2))
    image = (factor if axis else factor.T) @ probes
    if not np.allclose(image.T @ image, probes.T @ probes, rtol=_ORTHONORMAL, atol=_ORTHONORMAL * r):
        raise ValueError(f"`{name}` must have orthonormal {'columns' if axis else 'rows'}, got others")
    return factor
