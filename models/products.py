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
    """Four rows at a time, so that x and Δ are read a fourth as often."""
    rows, columns = W.shape
    first, second = np.empty(rows), np.empty(rows)
    for k in range(0, rows - 3, 4):
        a0, a1, a2, a3 = 0.0, 0.0, 0.0, 0.0
        b0, b1, b2, b3 = 0.0, 0.0, 0.0, 0.0
        for i in range(columns):
            p, q, r, s = W[k, i], W[k + 1, i], W[k + 2, i], W[k + 3, i]
            xi, di = x[i], delta[i]
            a0, a1, a2, a3 = a0 + p * xi, a1 + q * xi, a2 + r * xi, a3 + s * xi
            b0, b1, b2, b3 = b0 + p * p * di, b1 + q * q * di, b2 + r * r * di, b3 + s * s * di
        first[k], first[k + 1], first[k + 2], first[k + 3] = a0, a1, a2, a3
        second[k], second[k + 1], second[k + 2], second[k + 3] = b0, b1, b2, b3
    for k in range(rows - rows % 4, rows):
        a0, b0 = 0.0, 0.0
        for i in range(columns):
            w = W[k, i]
            a0, b0 = a0 + w * x[i], b0 + w * w * delta[i]
        first[k], second[k] = a0, b0
    return first, second


@njit(cache=True, fastmath={"reassoc", "contract"})
def _columns(W: Any, g: Any, gamma: Any) -> Any:
    """Eight rows at a time, so that the sums are read and written an eighth as often."""
    rows, columns = W.shape
    first, second = np.zeros(columns), np.zeros(columns)
    for k in range(0, rows - 7, 8):
        g0, g1, g2, g3, g4, g5, g6, g7 = g[k], g[k + 1], g[k + 2], g[k + 3], g[k + 4], g[k + 5], g[k + 6], g[k + 7]
        h = gamma[k : k + 8]
        h0, h1, h2, h3, h4, h5, h6, h7 = h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7]
        for i in range(columns):
            p, q, r, s = W[k, i], W[k + 1, i], W[k + 2, i], W[k + 3, i]
            t, u, v, w = W[k + 4, i], W[k + 5, i], W[k + 6, i], W[k + 7, i]
            first[i] += p * g0 + q * g1 + r * g2 + s * g3 + t * g4 + u * g5 + v * g6 + w * g7
            second[i] += (p * p * h0 + q * q * h1 + r * r * h2 + s * s * h3) + (
                t * t * h4 + u * u * h5 + v * v * h6 + w * w * h7
            )
    for k in range(rows - rows % 8, rows):
        for i in range(columns):
            first[i] += W[k, i] * g[k]
            second[i] += W[k, i] * W[k, i] * gamma[k]
    return first, second
