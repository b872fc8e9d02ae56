"""Layers of ±1 weights with few edges: loops over the edges in place of matrix products.

The arrays of the weights stay (outputs, inputs); only their edges are read and written. Edges meet rows of all
samples, in vector instructions: four at a time, so that the row that all of them meet is read a fourth as often.
``threads`` share the outputs, or the inputs where these are summed into.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csc_array, csr_array

from deepnet.kernels.cpu import tile
from deepnet.kernels.cpu.float32 import FAST, edge_factor32, edge_g32, f32, in_widest_vectors, inlined, update_spin32
from deepnet.kernels.cpu.fused_loops import loop
from factorgraph.dense.state import Array
from factorgraph.runtime.compiled import njit

#: Density from which on the loops over edges take longer than products of whole arrays.
DENSE = 0.12

#: Sums over samples may be reordered: that is what lets them run in vector registers.
summing: Any = njit(part=True, error_model="numpy", fastmath=FAST | {"reassoc"}, forceinline=True)


class Edges(NamedTuple):
    """Where a mask is True: inputs of output k are inputs[first[k]:first[k+1]], outputs of input i likewise."""

    first_input: Array
    inputs: Array
    first_output: Array
    outputs: Array

    @classmethod
    def of(cls, mask: Array) -> "Edges":
        """Return the edges of a boolean (outputs, inputs) array."""
        rows, columns = csr_array(mask), csc_array(mask)
        return cls(*(a.astype(np.int32) for a in (rows.indptr, rows.indices, columns.indptr, columns.indices)))


@loop
def preactivations(
    first: Any, inputs: Any, m: Any, x: Any, delta: Any, floor: Any, omega: Any, V: Any, thread: int, threads: int
) -> None:
    """omega = Σ m x̂ and V = Σ (σ x̂² + Δ) over edges, at least ``floor``; ``delta`` has no rows for known inputs."""
    rows = m.shape[0]
    in_widest_vectors()
    for k in range(thread * rows // threads, (thread + 1) * rows // threads):
        omega[k] = f32(0.0)
        V[k] = f32(0.0)
        # Four edges at a time: omega += m x̂ and V += (1 - m²) x̂² + Δ [DL, eqs. 89, 88].
        fours = first[k + 1] - (first[k + 1] - first[k]) % 4
        for e in range(first[k], fours, 4):
            a, b, c, d = inputs[e], inputs[e + 1], inputs[e + 2], inputs[e + 3]
            _add_four_moments(m[k, a], m[k, b], m[k, c], m[k, d], x[a], x[b], x[c], x[d], omega[k], V[k])
            if delta.shape[0] > 0:
                one = f32(1.0)
                _add_four(one, one, one, one, delta[a], delta[b], delta[c], delta[d], V[k])
        # The one to three edges that are left.
        for e in range(fours, first[k + 1]):
            i = inputs[e]
            _add(m[k, i], x[i], omega[k])
            _add_squares((f32(1.0) - m[k, i]) * (f32(1.0) + m[k, i]), x[i], V[k])
            if delta.shape[0] > 0:
                _add(f32(1.0), delta[i], V[k])
        for j in range(x.shape[1]):
            V[k, j] = max(V[k, j], floor)


@inlined
def _add_four_moments(
    m0: Any, m1: Any, m2: Any, m3: Any, x0: Any, x1: Any, x2: Any, x3: Any, omega: Any, V: Any
) -> None:
    one = f32(1.0)
    s0, s1 = (one - m0) * (one + m0), (one - m1) * (one + m1)
    s2, s3 = (one - m2) * (one + m2), (one - m3) * (one + m3)
    for j in range(omega.shape[0]):
        p, q, r, s = x0[j], x1[j], x2[j], x3[j]
        omega[j] += (m0 * p + m1 * q) + (m2 * r + m3 * s)
        V[j] += (s0 * p * p + s1 * q * q) + (s2 * r * r + s3 * s * s)


@inlined
def _add_four(f0: Any, f1: Any, f2: Any, f3: Any, v0: Any, v1: Any, v2: Any, v3: Any, total: Any) -> None:
    for j in range(total.shape[0]):
        total[j] += (f0 * v0[j] + f1 * v1[j]) + (f2 * v2[j] + f3 * v3[j])


@inlined
def _add(factor: Any, values: Any, total: Any) -> None:
    for j in range(total.shape[0]):
        total[j] += factor * values[j]


@inlined
def _add_squares(factor: Any, values: Any, total: Any) -> None:
    for j in range(total.shape[0]):
        total[j] += factor * values[j] * values[j]


@loop
def send(
    first: Any, outputs: Any, g: Any, gamma: Any, x: Any, m: Any, amp: bool, B: Any, thread: int, threads: int
) -> None:
    """B = Σ m g over edges; for ``amp`` with x̂ Σ m²Γ."""
    rows, samples = B.shape
    in_widest_vectors()
    reaction = np.empty(samples, np.float32)
    for i in range(thread * rows // threads, (thread + 1) * rows // threads):
        B[i] = f32(0.0)
        reaction[:] = f32(0.0)
        # B += m g [DL, eq. 93], four edges at a time, and Σ m²Γ for the reaction.
        fours = first[i + 1] - (first[i + 1] - first[i]) % 4
        for e in range(first[i], fours, 4):
            a, b, c, d = outputs[e], outputs[e + 1], outputs[e + 2], outputs[e + 3]
            p, q, r, s = m[a, i], m[b, i], m[c, i], m[d, i]
            _add_four(p, q, r, s, g[a], g[b], g[c], g[d], B[i])
            if amp:
                _add_four(p * p, q * q, r * r, s * s, gamma[a], gamma[b], gamma[c], gamma[d], reaction)
        for e in range(fours, first[i + 1]):
            k = outputs[e]
            _add(m[k, i], g[k], B[i])
            if amp:
                _add(m[k, i] * m[k, i], gamma[k], reaction)
        # x̂ Σ m²Γ, the part of AMP's B without an earlier iteration.
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
    thread: int,
    threads: int,
) -> None:
    """New weights of the edges from H_in = Σ x̂ g, for ``amp`` with m Σ x̂² Γ; ``base`` has no rows if ``rho`` is 0.

    The edges of an output are brought together, so that they are renewed in vector instructions.
    """
    rows, inputs_in_all = m.shape
    in_widest_vectors()
    message, field = np.zeros(inputs_in_all, f32), np.zeros(inputs_in_all, f32)
    mean, prior = np.zeros(inputs_in_all, f32), np.zeros(inputs_in_all, f32)
    for k in range(thread * rows // threads, (thread + 1) * rows // threads):
        own = inputs[first[k] : first[k + 1]]
        count = own.shape[0]
        # H_in = Σ_n x̂ g of every edge [DL, eq. 95].
        _overlaps_of(g[k], x, own, message)
        # The edges side by side: old field, mean and base.
        for e in range(count):
            field[e], mean[e] = H[k, own[e]], m[k, own[e]]
            if base.shape[0] > 0:
                prior[e] = base[k, own[e]]
        # m Σ x̂²Γ, the part of AMP's H_in without an earlier iteration.
        if amp:
            for e in range(count):
                message[e] += mean[e] * _square_overlap(gamma[k], x[own[e]])
        # New fields and means in vector instructions, then back to their places.
        for e in range(count):
            field[e], mean[e] = update_spin32(message[e], prior[e], field[e], mean[e], beta, rho, r, alpha)
        for e in range(count):
            H[k, own[e]], m[k, own[e]] = field[e], mean[e]


@inlined
def _overlaps_of(g: Any, x: Any, own: Any, out: Any) -> None:
    count = own.shape[0]
    fours = count - count % 4
    for e in range(0, fours, 4):
        _four_overlaps(g, x[own[e]], x[own[e + 1]], x[own[e + 2]], x[own[e + 3]], out[e : e + 4])
    for e in range(fours, count):
        out[e] = _overlap(g, x[own[e]])


@summing
def _four_overlaps(g: Any, x0: Any, x1: Any, x2: Any, x3: Any, out: Any) -> None:
    a, b, c, d = f32(0.0), f32(0.0), f32(0.0), f32(0.0)
    for j in range(g.shape[0]):
        a += g[j] * x0[j]
        b += g[j] * x1[j]
        c += g[j] * x2[j]
        d += g[j] * x3[j]
    out[0], out[1], out[2], out[3] = a, b, c, d


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


def edge_messages(
    first: Array,
    inputs: Array,
    m: Array,
    x: Array,
    omega: Array,
    V: Array,
    field: Array,
    H_in: Array,
    B: Array,
    threads: int,
) -> None:
    """H_in = Σ x̂ g at the edges and B = Σ m g, unless it has no rows; g of sign units at omega minus the own term.

    ``field`` is B of the message about the units.
    """
    parts = np.zeros((threads, max(len(B), 1), x.shape[1]), f32)
    _edge_messages(first, inputs, m, x, omega, V, field, H_in, parts, len(B) > 0, threads)
    if len(B):
        _sum_of_parts(parts, B, threads)


@loop
def _edge_messages(
    first: Any,
    inputs: Any,
    m: Any,
    x: Any,
    omega: Any,
    V: Any,
    field: Any,
    H_in: Any,
    parts: Any,
    sends: bool,
    thread: int,
    threads: int,
) -> None:
    """H_in, and B in a part for each thread."""
    in_widest_vectors()
    rows, samples = omega.shape
    t, inverse = np.empty(samples, f32), np.empty(samples, f32)
    c, eps = np.empty(samples, f32), np.empty(samples, f32)
    for k in range(thread * rows // threads, (thread + 1) * rows // threads):
        # What all edges of the output share.
        for j in range(samples):
            t[j], inverse[j], c[j], eps[j] = edge_factor32(field[k, j], omega[k, j], V[k, j])
        # g of every edge and sample [DL, eq. 78].
        for e in range(first[k], first[k + 1]):
            i = inputs[e]
            H_in[k, i] = _edge(m[k, i], x[i], t, inverse, c, eps, parts[thread, i if sends else 0])


@loop
def _sum_of_parts(parts: Any, B: Any, thread: int, threads: int) -> None:
    """The parts of B added up, in a fixed order."""
    in_widest_vectors()
    for i in range(thread * B.shape[0] // threads, (thread + 1) * B.shape[0] // threads):
        for other in range(parts.shape[0]):
            tile.put(parts[other, i], B[i], other > 0)


@tile.summing
def _edge(m: Any, x: Any, t: Any, inverse: Any, c: Any, eps: Any, B: Any) -> Any:
    """Σ x̂ g of an edge, and m g added to B."""
    in_widest_vectors()
    total = f32(0.0)
    for j in range(x.shape[0]):
        g = edge_g32(t[j], inverse[j], c[j], eps[j], m * x[j])
        total += x[j] * g
        B[j] += m * g
    return total
