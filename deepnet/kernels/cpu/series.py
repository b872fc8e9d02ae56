"""Messages of BP and BPI at full means, as matrix products: g at omega minus the own term, in powers of the own term.

With t = omega/√V and the own term s = m x̂/√V, √V g(t - s) = Σ_p a_p (-s)^p. Inputs enter as u = x̂/X, X the largest
|x̂| of the sample, so that no power overflows:

    H_ki = Σ_n x̂ g = Σ_p (-m_ki)^p Σ_n C_p,kn x̂_in u_in^p,    B_in = Σ_k m g = Σ_p (-u_in)^p Σ_k m_ki^(p+1) C_p,kn

with C_p = a_p X^p V^(-(p+1)/2): p + 1 products instead of a function of every edge and sample. Factors (k, n) whose
series is not down to float32 resolution at the chosen order are left out of the products and computed edge by edge.

What a_p are is the affair of the units: here those of sign units, elsewhere those of others.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from deepnet.kernels.cpu.float32 import FAST, edge_g32, exp32, f32, in_widest_vectors, inlined, sign_g32
from factorgraph.dense.operations import Operations
from factorgraph.dense.state import Array, Layer
from factorgraph.runtime.parallel import shared

loop: Callable[..., Any] = shared(error_model="numpy", fastmath=FAST)

#: Highest order of the series.
ORDERS = 12

#: Size of the first two neglected terms, relative to that of √V g of a unit in conflict, √(t² + 1).
RESOLUTION = 2e-7

#: Largest X/√V of a factor in the series: C_p stays far below the largest float32.
LARGEST_RATIO = 30.0

#: Largest |t| s of a factor in the series: an error of the leading coefficient grows by e^{|t| s} until t - s.
LARGEST_SHIFT = 2.0

_UNKNOWN = np.int8(-1)

#: Smaller numbers are zero: their products would be denormal, and slow.
_NEGLIGIBLE = f32(1e-30)


class Units(Protocol):
    """The units of a layer that receive a message."""

    @property
    def evaluation(self) -> float:
        """Cost of one evaluation of g in multiply-adds of a product."""
        ...

    def expand(self, layer: Layer, largest_m: Array, largest_x: Array, series: "Series", threads: int) -> None:
        """Fill the series of all factors, which the largest |m| of every output and |x̂| of every sample bound."""
        ...

    def add_edges(self, layer: Layer, rest: Array, x: Array, B: Array, threads: int) -> None:
        """H_ki += x̂ g and B_ni += m g for the listed factors (k, n); x̂ and B are (samples, inputs)."""
        ...


@dataclass(frozen=True)
class Series:
    """The series of all factors.

    Attributes:
        coefficients: C_p, (orders, outputs, samples).
        needed: order that each factor needs; ORDERS + 1 if none is enough.
        computed: number of orders that are filled, for each output.
    """

    coefficients: Array
    needed: Array
    computed: Array

    @classmethod
    def of(cls, layer: Layer) -> "Series":
        """Return one to be filled."""
        outputs, samples = layer.omega.shape
        return cls(
            np.empty((ORDERS + 1, outputs, samples), f32),
            np.empty((outputs, samples), np.int8),
            np.empty(outputs, np.int8),
        )


def edge_messages(layer: Layer, units: Units, operations: Operations, threads: int) -> Array | None:
    """Fill H_in of the layer and return B (None if the inputs are data).

    Args:
        layer: in float32, with its omega, V and inputs.
        units: of the layer, with the message about them.
        operations: of the device, for the products.
        threads: how many share the work.
    """
    # Coefficients of every factor, and the order that each needs.
    largest = np.maximum(np.abs(layer.x_mean).max(axis=0), f32(1e-20))
    series = Series.of(layer)
    units.expand(layer, np.abs(layer.mean).max(axis=1), largest, series, threads)
    # The order for all; factors that need more are left to the edges.
    order = _cheapest_order(series.needed, units.evaluation)
    used = series.coefficients[: order + 1]
    _clear(used, series.needed, series.computed, threads)
    rest = np.ascontiguousarray(np.argwhere(series.needed > order))
    # The products, then what is left.
    ratio = layer.x_mean / largest
    _sum_weights(layer, used, ratio, operations, threads)
    B = None if layer.plan.is_first else _sum_inputs(layer, used, ratio, operations, threads)
    if len(rest):
        B_rest = np.zeros(layer.x_mean.shape[::-1], f32)
        units.add_edges(layer, rest, np.ascontiguousarray(layer.x_mean.T), B_rest, threads)
        if B is not None:
            B += B_rest.T
    return B


@dataclass(frozen=True)
class SignUnits:
    """Sign units that receive the fields ``field``, ±1e30 where they are observed: see ``Units``."""

    field: Array

    #: Roughly (2 and 0.022 ns on one core).
    evaluation = 90.0

    def expand(self, layer: Layer, largest_m: Array, largest_x: Array, series: Series, threads: int) -> None:
        arrays = (series.coefficients, series.needed, series.computed)
        _expand(layer.omega, layer.V, self.field, largest_m, largest_x, *arrays, threads)

    def add_edges(self, layer: Layer, rest: Array, x: Array, B: Array, threads: int) -> None:
        _add_edges(rest, layer.mean, x, layer.omega, layer.V, self.field, layer.H_in, B, threads)


def _cheapest_order(needed: Array, evaluation: float) -> int:
    """Return the order at which the products and the factors left to the edges cost least together."""
    counts = np.bincount(needed.ravel(), minlength=ORDERS + 2)
    left = needed.size - np.cumsum(counts[: ORDERS + 1])
    return int(np.argmin(np.arange(1, ORDERS + 2) + evaluation * left / needed.size))


def _sum_weights(layer: Layer, coefficients: Array, ratio: Array, operations: Operations, threads: int) -> None:
    """H_in by Horner's rule in -m."""
    # x̂ u^p for all orders, then H_in = Σ_p (-m)^p C_p (x̂ u^p)ᵀ from the highest order down.
    powers = [layer.x_mean]
    for _ in coefficients[1:]:
        powers.append(_flushed(powers[-1] * ratio))
    operations.outer(coefficients[-1], powers[-1], layer.H_in)
    for c, power in zip(coefficients[-2::-1], powers[-2::-1], strict=True):
        operations.outer(c, power, layer.scratch)
        _horner(layer.H_in.ravel(), layer.mean.ravel(), layer.scratch.ravel(), threads)


def _sum_inputs(layer: Layer, coefficients: Array, ratio: Array, operations: Operations, threads: int) -> Array:
    """Return B by Horner's rule in -u."""
    # (m^(p+1))ᵀ C_p for all orders, then B = Σ_p (-u)^p of them from the highest order down.
    power = layer.scratch
    power[...] = layer.mean
    sums = [operations.times_transposed(power, coefficients[0])]
    for c in coefficients[1:]:
        _multiply(power.ravel(), layer.mean.ravel(), threads)
        sums.append(operations.times_transposed(power, c))
    B = sums.pop()
    for total in reversed(sums):
        _horner(B.ravel(), ratio.ravel(), total.ravel(), threads)
    return B


def _flushed(values: Array) -> Array:
    values[np.abs(values) < _NEGLIGIBLE] = 0
    return values


@loop
def _horner(target: Any, argument: Any, coefficient: Any, thread: int, threads: int) -> None:
    """target = coefficient - argument target."""
    in_widest_vectors()
    for i in range(thread * target.size // threads, (thread + 1) * target.size // threads):
        target[i] = coefficient[i] - argument[i] * target[i]


@loop
def _multiply(target: Any, factor: Any, thread: int, threads: int) -> None:
    """target *= factor, negligible numbers becoming zero."""
    in_widest_vectors()
    for i in range(thread * target.size // threads, (thread + 1) * target.size // threads):
        value = target[i] * factor[i]
        target[i] = value if abs(value) > _NEGLIGIBLE else f32(0.0)


@loop
def _expand(
    omega: Any,
    V: Any,
    field: Any,
    largest_m: Any,
    largest_x: Any,
    coefficients: Any,
    needed: Any,
    computed: Any,
    thread: int,
    threads: int,
) -> None:
    """C_p of every factor and the order it needs: ORDERS + 1 if none is enough; a row ends with its last need.

    h = √V g = ∂_t log Z, and the normal density has N' = -tN; hence h' = -h (h + t), and
    (p + 1) a_{p+1} = -t a_p - a_{p-1} - Σ_j a_j a_{p-j}. In float64: the recurrence amplifies rounding by |t| an order.
    """
    rows, samples = omega.shape
    in_widest_vectors()
    a, state = np.empty((coefficients.shape[0], samples)), new_state(samples)
    t = state[0]
    for k in range(thread * rows // threads, (thread + 1) * rows // threads):
        # a_0 = √V g at t; then order by order until every factor of the row is resolved.
        start_row(omega[k], V[k], largest_m[k], largest_x, state, needed[k])
        for j in range(samples):
            a[0, j] = _g(f32(t[j]), f32(2.0) * field[k, j])
        computed[k] = a.shape[0]
        for p in range(a.shape[0]):
            if p > 0:
                _next_coefficients(a, p, t)
            if keep_order(a[p], p, largest_m[k], state, coefficients[p, k], needed[k]) == 0:
                computed[k] = p + 1
                break
        leave_unresolved(needed[k])


@inlined
def new_state(samples):
    """What the factors of an output keep from order to order, as arrays of their own, which do not overlap.

    t; X/√V; V^(-1/2) times its power; the size below which a term is negligible; the power of the own term; and whether
    the term before was negligible.
    """
    kept = np.empty(samples), np.empty(samples), np.empty(samples), np.empty(samples), np.empty(samples)
    return *kept, np.empty(samples, np.int8)


@inlined
def start_row(omega, V, largest_m, largest_x, state, needed):
    """The state at order 0 of the factors of an output, and whether their series converge fast enough at all."""
    t, ratio, scale, limit, power, before = state
    for j in range(omega.shape[0]):
        scale[j] = 1.0 / np.sqrt(V[j])
        t[j] = omega[j] * scale[j]
        ratio[j] = largest_x[j] * scale[j]
        limit[j] = RESOLUTION * np.sqrt(t[j] * t[j] + 1.0)
        fits = ratio[j] < LARGEST_RATIO and abs(t[j]) * largest_m * ratio[j] < LARGEST_SHIFT
        needed[j] = _UNKNOWN if fits else ORDERS + 1
    power[:] = 1.0
    before[:] = 0


@inlined
def keep_order(a, p, largest_m, state, coefficients, needed):
    """C_p = a_p X^p V^(-(p+1)/2) of the factors of an output; return how many are not yet resolved."""
    _, ratio, scale, limit, power, before = state
    unresolved = 0
    for j in range(a.shape[0]):
        # Resolved two orders ago if this term and the one before it are negligible.
        small = abs(a[j]) * power[j] <= limit[j]
        found = small and before[j] != 0 and needed[j] == _UNKNOWN
        needed[j] = max(p - 2, 0) if found else needed[j]
        unresolved += 1 if needed[j] == _UNKNOWN else 0
        before[j] = 1 if small else 0
        # Numbers that would be denormal are zero.
        power[j] *= largest_m * ratio[j]
        value = f32(scale[j] * a[j])
        coefficients[j] = value if abs(value) > _NEGLIGIBLE else f32(0.0)
        scale[j] *= ratio[j]
    return unresolved


@inlined
def leave_unresolved(needed):
    """What is unresolved at the highest order is computed edge by edge."""
    for j in range(needed.shape[0]):
        needed[j] = ORDERS + 1 if needed[j] == _UNKNOWN else needed[j]


@inlined
def _next_coefficients(a, p, t):
    """a_p from those before it: p a_p = -t a_{p-1} - a_{p-2} - Σ_q a_q a_{p-1-q}."""
    for j in range(t.shape[0]):
        a[p, j] = -t[j] * a[p - 1, j]
    if p > 1:
        for j in range(t.shape[0]):
            a[p, j] -= a[p - 2, j]
    for q in range(p):
        for j in range(t.shape[0]):
            a[p, j] -= a[q, j] * a[p - 1 - q, j]
    for j in range(t.shape[0]):
        a[p, j] /= p


@loop
def _clear(coefficients: Any, needed: Any, computed: Any, thread: int, threads: int) -> None:
    """Zero where nothing was computed, and all of the factors that need a higher order."""
    orders, rows, samples = coefficients.shape
    in_widest_vectors()
    for k in range(thread * rows // threads, (thread + 1) * rows // threads):
        for p in range(orders):
            for j in range(samples):
                kept = p < computed[k] and needed[k, j] < orders
                coefficients[p, k, j] = coefficients[p, k, j] if kept else f32(0.0)


@inlined
def _g(t, c):
    """√V g of a sign unit at t with a message of log-odds c."""
    eps = exp32(max(-abs(c), f32(-87.0)))
    return sign_g32(t, c, eps, (f32(1.0) - eps) if c >= f32(0.0) else (eps - f32(1.0)))


@loop
def _add_edges(
    rest: Any, m: Any, x: Any, omega: Any, V: Any, field: Any, H: Any, B: Any, thread: int, threads: int
) -> None:
    """H_ki += x g and B_ni += m g for the listed factors (k, n); each thread owns some of the inputs i."""
    inputs = m.shape[1]
    in_widest_vectors()
    start, stop = thread * inputs // threads, (thread + 1) * inputs // threads
    for f in range(rest.shape[0]):
        k, n = rest[f, 0], rest[f, 1]
        _add_edges_of(m[k], x[n], omega[k, n], V[k, n], f32(2.0) * field[k, n], H[k], B[n], start, stop)


@inlined
def _add_edges_of(m, x, omega, V, c, H, B, start, stop):
    inverse = f32(1.0) / np.sqrt(V)
    eps = exp32(max(-abs(c), f32(-87.0)))
    for i in range(start, stop):
        g = edge_g32(omega * inverse, inverse, c, eps, m[i] * x[i])
        H[i] += x[i] * g
        B[i] += m[i] * g
