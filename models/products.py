"""Products with a known dense matrix and with its squared entries, in one reading of the matrix.

An iteration needs W x̂ and W² Δ, then Wᵀ g and (W²)ᵀ Γ. A large matrix is limited by the memory that is read; reading it
once for each pair costs little more than one product, and W² is never stored.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from factorgraph.dense.plain import PlainKernels
from factorgraph.dense.state import Layer

Array = NDArray[np.float64]


class Squared:
    """The entrywise square of a dense matrix, not stored."""

    def __init__(self, matrix: Array) -> None:
        self.matrix = matrix
        self.shape = matrix.shape

    @property
    def T(self) -> "Squared":  # noqa: N802  (as of arrays)
        """The transposed matrix."""
        return Squared(self.matrix.T)

    def __matmul__(self, x: Array) -> Array:
        return np.square(self.matrix) @ x


class PairedKernels(PlainKernels):
    """Plain kernels that know the products of the current layer beforehand, where ``pair`` has been called for it."""

    def __init__(self) -> None:
        self._known: list[tuple[Any, Any, Array]] = []

    def pair(self, layer: Layer, x: Array, delta: Array) -> None:
        """Compute W x and W² Δ of one sample."""
        self._pair(layer, x, delta, _rows)

    def pair_transposed(self, layer: Layer, g: Array, gamma: Array) -> None:
        """Compute Wᵀ g and (W²)ᵀ Γ of one sample."""
        self._pair(layer, g, gamma, _columns)

    def _pair(self, layer: Layer, a: Array, b: Array, products: Any) -> None:
        self._known = []
        W = layer.mean
        if isinstance(layer.squares, Squared) and a.shape[1] == 1 and W.flags.c_contiguous:
            first, second = products(W, a.ravel(), b.ravel())
            self._known = [(W, a, first[:, None]), (layer.squares, b, second[:, None])]

    def times(self, W: Any, x: Array) -> Array:
        found = self._find(W, x)
        return super().times(W, x) if found is None else found

    def times_transposed(self, W: Any, g: Array) -> Array:
        found = self._find(W, g)
        return super().times_transposed(W, g) if found is None else found

    def _find(self, W: Any, x: Array) -> Array | None:
        for matrix, vector, product in self._known:
            if matrix is W and vector is x:
                return product
        return None


@njit(cache=True, fastmath={"reassoc", "contract"})
def _rows(W: Any, x: Any, delta: Any) -> Any:
    first, second = np.empty(W.shape[0]), np.empty(W.shape[0])
    for k in range(W.shape[0]):
        a, b = 0.0, 0.0
        for i in range(W.shape[1]):
            w = W[k, i]
            a += w * x[i]
            b += w * w * delta[i]
        first[k], second[k] = a, b
    return first, second


@njit(cache=True, fastmath={"reassoc", "contract"})
def _columns(W: Any, g: Any, gamma: Any) -> Any:
    """Four rows at a time, so that the sums are read and written a fourth as often."""
    rows, columns = W.shape
    first, second = np.zeros(columns), np.zeros(columns)
    for k in range(0, rows - 3, 4):
        for i in range(columns):
            p, q, r, s = W[k, i], W[k + 1, i], W[k + 2, i], W[k + 3, i]
            first[i] += p * g[k] + q * g[k + 1] + r * g[k + 2] + s * g[k + 3]
            second[i] += p * p * gamma[k] + q * q * gamma[k + 1] + r * r * gamma[k + 2] + s * s * gamma[k + 3]
    for k in range(rows - rows % 4, rows):
        for i in range(columns):
            first[i] += W[k, i] * g[k]
            second[i] += W[k, i] * W[k, i] * gamma[k]
    return first, second
