"""The series of ReLU units: see ``deepnet.kernels.cpu.series``.

In z with V = 1 and mean t, Z = Z_0 + Z_1 of spike and slab under the message (b, a), and

    n' = -t n,    Z_0' = -n,    (1 + a) Z_1' = (b - a t) Z_1 + n

with the normal density n at t, by parts. Hence recurrences of the Taylor coefficients of n, Z_1 and Z', and
√V g = Z'/Z. A part that is negligible at t may be all of Z at t - s, which no coefficient would tell: the larger one of
the rates |t| of log n and |x1 - t| of log Z_1, with the mean x1 of the slab, bounds s.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from deepnet.kernels.cpu.float32 import f32, in_widest_vectors, inlined
from deepnet.kernels.cpu.relu import relu_parts32
from deepnet.kernels.cpu.series import (
    LARGEST_SHIFT,
    ORDERS,
    Series,
    keep_order,
    leave_unresolved,
    loop,
    new_state,
    start_row,
)
from factorgraph.dense.state import Array, Layer


@dataclass(frozen=True)
class ReluUnits:
    """ReLU units at scale · z that receive the messages (B, A): see ``series.Units``."""

    B: Array
    A: Array
    scale: float

    #: Roughly (4 and 0.022 ns on one core).
    evaluation = 180.0

    def expand(self, layer: Layer, largest_m: Array, largest_x: Array, series: Series, threads: int) -> None:
        arrays = (largest_m, largest_x, series.coefficients, series.needed, series.computed)
        _expand(layer.omega, layer.V, self.B, self.A, f32(self.scale), *arrays, threads)

    def add_edges(self, layer: Layer, rest: Array, x: Array, B: Array, threads: int) -> None:
        message = (self.B, self.A, f32(self.scale))
        _add_edges(rest, layer.mean, x, layer.omega, layer.V, *message, layer.H_in, B, threads)


@loop
def _expand(
    omega: Any,
    V: Any,
    B: Any,
    A: Any,
    scale: Any,
    largest_m: Any,
    largest_x: Any,
    coefficients: Any,
    needed: Any,
    computed: Any,
    thread: int,
    threads: int,
) -> None:
    """C_p of every factor and the order it needs, as ``series`` has it for sign units; in float64 as there."""
    rows, samples = omega.shape
    in_widest_vectors()
    orders = coefficients.shape[0]
    state = new_state(samples)
    t, ratio = state[0], state[1]
    # Taylor coefficients of √V g; of Z; and, from order -1 on, of Z_1 and n; all over Z.
    a, Z = np.empty((orders, samples)), np.empty((orders + 1, samples))
    slab, n = np.zeros((orders + 2, samples)), np.zeros((orders + 2, samples))
    # Z_1' = (β - αt) Z_1 + (1 - α) n, and room for the coefficients of a slope.
    beta, alpha, slope = np.empty(samples), np.empty(samples), np.empty(samples)
    for k in range(thread * rows // threads, (thread + 1) * rows // threads):
        start_row(omega[k], V[k], largest_m[k], largest_x, state, needed[k])
        message = B[k], A[k], scale
        _start(V[k], *message, largest_m[k], t, ratio, a[0], slab[1], n[1], beta, alpha, needed[k])
        computed[k] = orders
        for p in range(orders):
            _next_coefficients(p, t, beta, alpha, slope, a, Z, slab, n)
            if keep_order(a[p], p, largest_m[k], state, coefficients[p, k], needed[k]) == 0:
                computed[k] = p + 1
                break
        leave_unresolved(needed[k])


@inlined
def _start(V, B, A, scale, largest_m, t, ratio, a, slab, n, beta, alpha, needed):
    """Everything at order 0, from the float32 bodies of the unit; what does not fit is left to the edges."""
    for j in range(V.shape[0]):
        sd = scale * np.sqrt(V[j])
        own_b, own_a = B[j] * sd, A[j] * sd * sd
        _, p1, x1, _, d1, _, density = relu_parts32(own_b, own_a, f32(t[j]))
        a[j], slab[j], n[j] = p1 * d1, p1, density
        narrow = 1.0 / (1.0 + np.float64(own_a))
        beta[j], alpha[j] = own_b * narrow, own_a * narrow
        rate = max(abs(t[j]), abs(x1 - t[j]))
        needed[j] = needed[j] if rate * largest_m * ratio[j] < LARGEST_SHIFT else ORDERS + 1


@inlined
def _next_coefficients(p, t, beta, alpha, slope, a, Z, slab, n):
    """a_p, and those of Z, Z_1 and n at p + 1; each loop writes to one array, so that it runs in vector registers."""
    inverse = 1.0 / (p + 1.0)
    samples = t.shape[0]
    # Z_1', but for n.
    for j in range(samples):
        slope[j] = beta[j] * slab[p + 1, j] - alpha[j] * (t[j] * slab[p + 1, j] + slab[p, j])
    for j in range(samples):
        slab[p + 2, j] = (slope[j] + (1.0 - alpha[j]) * n[p + 1, j]) * inverse
    # Z' = Z_1' - n.
    for j in range(samples):
        slope[j] -= alpha[j] * n[p + 1, j]
    for j in range(samples):
        Z[p + 1, j] = slope[j] * inverse
    for j in range(samples):
        n[p + 2, j] = -(t[j] * n[p + 1, j] + n[p, j]) * inverse
    # Z'/Z, order by order; Z is 1 at order 0, where a is there already.
    if p > 0:
        a[p] = slope
        for q in range(1, p + 1):
            for j in range(samples):
                a[p, j] -= Z[q, j] * a[p - q, j]


@loop
def _add_edges(
    rest: Any,
    m: Any,
    x: Any,
    omega: Any,
    V: Any,
    B: Any,
    A: Any,
    scale: Any,
    H: Any,
    B_in: Any,
    thread: int,
    threads: int,
) -> None:
    """H_ki += x g and B_ni += m g for the listed factors (k, n); each thread owns some of the inputs i."""
    inputs = m.shape[1]
    in_widest_vectors()
    start, stop = thread * inputs // threads, (thread + 1) * inputs // threads
    for f in range(rest.shape[0]):
        k, n = rest[f, 0], rest[f, 1]
        message = B[k, n], A[k, n], scale
        _add_edges_of(m[k], x[n], omega[k, n], V[k, n], *message, H[k], B_in[n], start, stop)


@inlined
def _add_edges_of(m, x, omega, V, B, A, scale, H, B_in, start, stop):
    inverse = f32(1.0) / np.sqrt(V)
    sd = scale * V * inverse
    for i in range(start, stop):
        _, p1, _, _, d1, _, _ = relu_parts32(B * sd, A * sd * sd, (omega - m[i] * x[i]) * inverse)
        g = inverse * p1 * d1
        H[i] += x[i] * g
        B_in[i] += m[i] * g
