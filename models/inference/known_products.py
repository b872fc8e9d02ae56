"""Products with a known dense matrix and with its squared entries, in one reading of the matrix.

An iteration needs W x̂ and W² Δ, then Wᵀ g and (W²)ᵀ Γ. A large matrix is limited by the memory that is read: reading
it once for each pair costs little more than one product, and W² is never stored. Where the answer to a few of the sums
is known before the others, g and Γ of the observed outputs or x̂ and Δ of the signal, both pairs take one reading.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from factorgraph.dense.state import Layer
from factorgraph.numerics.elementwise import Elementwise
from factorgraph.runtime.compiled import njit

Array = NDArray[np.float64]

#: Entries of the rows between their two products: half a megabyte, twice, stays in a cache of 2 MB a core.
BETWEEN = 1 << 16
#: A matrix of fewer entries stays in a cache of some megabytes as it is.
LARGE = 1 << 20


class Squared:
    """The entrywise square of a dense matrix, not stored."""

    def __init__(self, matrix: Array) -> None:
        self.matrix = matrix
        self.shape = matrix.shape

    @property
    def T(self) -> "Squared":  # noqa: N802  (as of arrays)
        """The transposed matrix."""
        return Squared(self.matrix.T)

    @cached_property
    def columns(self) -> Array:
        """The columns of the matrix itself, not squared, one after the other: a copy, made once."""
        return np.ascontiguousarray(self.matrix.T)

    def __matmul__(self, x: Array) -> Array:
        if x.shape[1] == 1 and self.matrix.flags.c_contiguous:
            return _pair(self.matrix, x, x)[1]
        return np.square(self.matrix) @ x


class Sums(NamedTuple):
    """Products with a matrix and with its squares: W x̂ and W² Δ, or Wᵀ g and (W²)ᵀ Γ.

    Attributes:
        first: that with the matrix.
        second: that with its squares.
    """

    first: Array
    second: Array


@dataclass
class RowFunction:
    """How each row of a matrix M answers to its products, as M x and M² δ are called here.

    u = M x + own · v with v = M² δ ≥ 0, then values[slot] = keep · values[slot] + take · u, values[slot + 1] likewise
    from v, but ``minimum`` at least; the last two results of the formula are the answer.

    Attributes:
        formula: scalar formula.
        values: its arguments, (inputs of the formula, rows); two of them to be replaced.
        slot: which ones.
        own: coefficient of v in u, (rows,).
        keep: of old values.
        take: of new ones.
        minimum: of the new values[slot + 1].
    """

    formula: Elementwise
    values: Array
    slot: int
    own: Array
    keep: float = 0.0
    take: float = 1.0
    minimum: float = 0.0


def pairs(layer: Layer) -> bool:
    """Return whether both products take one reading: those of one sample with a dense matrix and its exact squares."""
    return isinstance(layer.squares, Squared) and layer.x_mean.shape[1] == 1


def large(layer: Layer) -> bool:
    """Return whether the matrix is dense, with exact squares, and larger than a cache."""
    return isinstance(layer.squares, Squared) and layer.mean.size > LARGE


def products(layer: Layer) -> Sums:
    """Return W x̂ and W² Δ."""
    assert layer.x_variance is not None
    if pairs(layer):
        return Sums(*_pair(layer.mean, layer.x_mean, layer.x_variance))
    return Sums(layer.mean @ layer.x_mean, layer.squares @ layer.x_variance)


def transposed_products(layer: Layer) -> Sums:
    """Return Wᵀ g and (W²)ᵀ Γ."""
    if not pairs(layer):
        return Sums(layer.mean.T @ layer.g, layer.squares.T @ layer.gamma)
    sums = np.zeros((2, layer.plan.inputs, 1))
    _columns(layer.mean, layer.g.ravel(), layer.gamma.ravel(), sums[0, :, 0], sums[1, :, 0])
    return Sums(*sums)


def product_and_adjoint(M: Array, x: Array, delta: Array, row_function: RowFunction) -> tuple[Array, Array, Sums]:
    """Return the answers a and b to M x and M² δ, and the products Mᵀ a and (M²)ᵀ b, in one reading of M.

    Args:
        M: (rows, columns), contiguous.
        x: (columns, 1).
        delta: likewise.
        row_function: that of the rows; its values are replaced.
    """
    r = row_function
    results, back = np.empty((r.formula.outputs, len(M))), np.zeros((2, M.shape[1]))
    numbers = np.array([r.keep, r.take, r.minimum])
    _product_and_adjoint(M, x.ravel(), delta.ravel(), r.formula.loop, r.values, r.slot, r.own, numbers, results, back)
    return results[-2, :, None], results[-1, :, None], Sums(*back[:, :, None])


def _pair(W: Array, x: Array, delta: Array) -> Array:
    """Return W x and W² Δ, (2, rows, 1)."""
    sums = np.empty((2, len(W), 1))
    _rows(W, x.ravel(), delta.ravel(), sums[0, :, 0], sums[1, :, 0])
    return sums


@njit(cache=True, fastmath={"reassoc", "contract"})
def _rows(W: Any, x: Any, delta: Any, first: Any, second: Any) -> None:
    """Fill with W x and W² Δ; four rows at a time, so that x and Δ are read a fourth as often."""
    rows, columns = W.shape
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


@njit(cache=True, fastmath={"reassoc", "contract"})
def _columns(W: Any, g: Any, gamma: Any, first: Any, second: Any) -> None:
    """Add Wᵀ g and (W²)ᵀ Γ; eight rows at a time, so that the sums are read and written an eighth as often."""
    rows, columns = W.shape
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


@njit(cache=True, fastmath={"reassoc", "contract"})
def _product_and_adjoint(
    M: Any, x: Any, delta: Any, loop: Any, values: Any, slot: int, own: Any, numbers: Any, results: Any, back: Any
) -> None:
    """See ``product_and_adjoint``: products of some rows, their answers, and the way back while the next rows are
    read."""
    keep, take, minimum = numbers
    rows, start = max(BETWEEN // M.shape[1] // 4 * 4, 4), 0
    there = np.empty((2, rows))
    for middle in range(0, M.shape[0], rows):
        stop = min(middle + rows, M.shape[0])
        old = results[-2:, start:middle]
        _step(M[middle:stop], x, delta, there, M[start:middle], old, back)
        for j in range(stop - middle):
            v = max(there[1, j], 0.0)
            u, k = there[0, j] + own[middle + j] * v, middle + j
            values[slot, k] = keep * values[slot, k] + take * u
            values[slot + 1, k] = max(keep * values[slot + 1, k] + take * v, minimum)
        arguments = np.ascontiguousarray(values[:, middle:stop])
        answers = np.empty((results.shape[0], stop - middle))
        loop(stop - middle, arguments.ctypes, answers.ctypes)
        for i in range(len(answers)):
            for j in range(stop - middle):
                results[i, middle + j] = answers[i, j]
        start = middle
    _columns(M[start:], results[-2, start:], results[-1, start:], back[0], back[1])


@njit(cache=True, fastmath={"reassoc", "contract"})
def _step(new: Any, x: Any, delta: Any, there: Any, old: Any, answers: Any, back: Any) -> None:
    """Products of ``new`` rows, and the way back of ``old`` ones.

    Four of each at a time: the former are on their way from the memory while one computes with the latter.
    """
    both = min(len(new), len(old)) // 4 * 4
    back0, back1 = back[0], back[1]
    for k in range(0, both, 4):
        g0, g1, g2, g3 = answers[0, k], answers[0, k + 1], answers[0, k + 2], answers[0, k + 3]
        h0, h1, h2, h3 = answers[1, k], answers[1, k + 1], answers[1, k + 2], answers[1, k + 3]
        a0, a1, a2, a3 = 0.0, 0.0, 0.0, 0.0
        b0, b1, b2, b3 = 0.0, 0.0, 0.0, 0.0
        for i in range(x.size):
            p, q, r, s = new[k, i], new[k + 1, i], new[k + 2, i], new[k + 3, i]
            xi, di = x[i], delta[i]
            a0, a1, a2, a3 = a0 + p * xi, a1 + q * xi, a2 + r * xi, a3 + s * xi
            b0, b1, b2, b3 = b0 + p * p * di, b1 + q * q * di, b2 + r * r * di, b3 + s * s * di
            p, q, r, s = old[k, i], old[k + 1, i], old[k + 2, i], old[k + 3, i]
            back0[i] += p * g0 + q * g1 + r * g2 + s * g3
            back1[i] += p * p * h0 + q * q * h1 + r * r * h2 + s * s * h3
        there[0, k], there[0, k + 1], there[0, k + 2], there[0, k + 3] = a0, a1, a2, a3
        there[1, k], there[1, k + 1], there[1, k + 2], there[1, k + 3] = b0, b1, b2, b3
    _rows(new[both:], x, delta, there[0, both:], there[1, both:])
    _columns(old[both:], answers[0, both:], answers[1, both:], back0, back1)
