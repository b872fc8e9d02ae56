"""Layers of ±1 weights with few edges: loops over the edges in place of matrix products.

The arrays of the weights stay (outputs, inputs); only their edges are read and written. Each edge meets a row of all
samples, in vector instructions. ``threads`` share the outputs, or the inputs where these are summed into.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit, prange
from scipy.sparse import csc_array, csr_array

from deepnet.kernels.float32 import FAST, f32, inlined, update_spin32
from deepnet.kernels.loops import loop
from factorgraph.dense.state import Array

#: Density from which on the loops over edges take longer than products of whole arrays.
DENSE = 0.12

#: Sums over samples may be reordered: that is what lets them run in vector registers.
summing: Any = njit(error_model="numpy", fastmath=FAST | {"reassoc"}, forceinline=True)


class Edges(NamedTuple):
    """Where a mask is True: inputs of output k are inputs[first[k]:first[k+1]], outputs of input i likewise."""

    first_input: Array
    inputs: Array
    first_output: Array
    outputs: Array

    @classmethod
    def of(cls, mask: Array) -> "Edges":
        """The edges of a boolean (outputs, inputs) array."""
        rows, columns = csr_array(mask), csc_array(mask)
        return cls(*(a.astype(np.int32) for a in (rows.indptr, rows.indices, columns.indptr, columns.indices)))


@loop
def preactivations(
    first: Any, inputs: Any, m: Any, x: Any, delta: Any, floor: Any, omega: Any, V: Any, threads: int
) -> None:
    """omega = Σ m x̂ and V = Σ (σ x̂² + Δ) over edges, at least ``floor``; ``delta`` has no rows for known inputs."""
    rows = m.shape[0]
    for thread in prange(threads):
        for k in range(thread * rows // threads, (thread + 1) * rows // threads):
            omega[k] = f32(0.0)
            V[k] = f32(0.0)
            for e in range(first[k], first[k + 1]):
                i = inputs[e]
                _add_moments(m[k, i], (f32(1.0) - m[k, i]) * (f32(1.0) + m[k, i]), x[i], omega[k], V[k])
                if delta.shape[0] > 0:
                    _add(f32(1.0), delta[i], V[k])
            for j in range(x.shape[1]):
                V[k, j] = max(V[k, j], floor)


@inlined
def _add_moments(m: Any, sigma: Any, x: Any, omega: Any, V: Any) -> None:
    for j in range(x.shape[0]):
        omega[j] += m * x[j]
        V[j] += sigma * x[j] * x[j]


@inlined
def _add(factor: Any, values: Any, total: Any) -> None:
    for j in range(values.shape[0]):
        total[j] += factor * values[j]


@loop
def send(first: Any, outputs: Any, g: Any, gamma: Any, x: Any, m: Any, amp: bool, B: Any, threads: int) -> None:
    """B = Σ m g over edges; for ``amp`` with x̂ Σ m²Γ."""
    rows, samples = x.shape
    for thread in prange(threads):
        reaction = np.empty(samples, np.float32)
        for i in range(thread * rows // threads, (thread + 1) * rows // threads):
            B[i] = f32(0.0)
            reaction[:] = f32(0.0)
            for e in range(first[i], first[i + 1]):
                k = outputs[e]
                _add(m[k, i], g[k], B[i])
                if amp:
                    _add(m[k, i] * m[k, i], gamma[k], reaction)
            if amp:
                for j in range(samples):
                    B[i, j] += x[i, j] * reaction[j]


@loop
def receive(
    first: Any,
    inputs: Any,
    g: Any,
    gamma: Any,
    x: Any,
    amp: bool,
    base: Any,
    H: Any,
    m: Any,
    beta: Any,
    rho: Any,
    r: Any,
    alpha: Any,
    threads: int,
) -> None:
    """New weights of the edges from H_in = Σ x̂ g, for ``amp`` with m Σ x̂² Γ; ``base`` has no rows if ``rho`` is 0."""
    rows = m.shape[0]
    for thread in prange(threads):
        for k in range(thread * rows // threads, (thread + 1) * rows // threads):
            for e in range(first[k], first[k + 1]):
                i = inputs[e]
                message = _overlap(g[k], x[i])
                if amp:
                    message += m[k, i] * _square_overlap(gamma[k], x[i])
                prior = base[k, i] if base.shape[0] > 0 else f32(0.0)
                H[k, i], m[k, i] = update_spin32(message, prior, H[k, i], m[k, i], beta, rho, r, alpha)


@summing
def _overlap(g: Any, x: Any) -> Any:
    total = f32(0.0)
    for j in range(g.shape[0]):
        total += g[j] * x[j]
    return total


@summing
def _square_overlap(gamma: Any, x: Any) -> Any:
    total = f32(0.0)
    for j in range(gamma.shape[0]):
        total += gamma[j] * x[j] * x[j]
    return total
