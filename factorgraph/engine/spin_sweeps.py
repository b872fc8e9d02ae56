"""Compiled sweeps for graphs of Ising pairs alone: every pair in one pass, with the totals of its two ends at hand.

A message e^{Bs} is carried as r = e^{2B}, a total as T = e^{2H}, a coupling as w = e^{2J}. The cavity odds are T/r, and
r' = (1 + wT/r)/(w + T/r) = (r + wT)/(wr + T): no transcendental function, one division, only positive terms. Maxima
take the weaker of J and the cavity field H - B, in the fields themselves. An observed spin is one in a field so strong
that what it sends is rounded to what it sends in an infinite one.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factorgraph.engine.damping import Damping
from factorgraph.engine.schedules import ROUNDS, EdgeOrder, edge_order, edges_of, urgent
from factorgraph.engine.unroll import Potentials, Unrolled
from factorgraph.messages.natural import Array, combine_maxima
from factorgraph.numerics.elementwise import formula
from factorgraph.numerics.powers import binomials, log2_ratios, power, powers_of_2
from factorgraph.runtime.compiled import njit

#: Exponents below this stay clear of overflow, products of two such factors included.
_SAFE_EXPONENT = 340.0
#: A field of which no rounding tells that it is not infinite: e^{-2 · 20} is less than 2^-53.
_CERTAIN = 20.0
#: Pairs of which damped messages are computed together: what they need stays in the fastest cache.
_BLOCK = 64


def spin_sweeps(
    graph: Unrolled,
    potentials: Potentials,
    start: tuple[Array, Array] | None,
    schedule: str,
    damping: Damping,
    maximum: bool,
    rng: np.random.Generator,
) -> "SpinSweeps | SpinTwoPass | None":
    """Return sweeps, or None: with other variables, reinforcement, or constraints, or where odds might overflow."""
    stack = graph.stacks[0]
    if not graph.spin.all() or damping.reinforcement:
        return None
    bounds = np.abs(stack.parameters[0])[:, None]
    if start is not None:
        bounds = np.maximum(bounds, np.abs(start[0].reshape(-1, 2)))
    heard = np.zeros(graph.variables)
    _add(stack.variables, bounds, heard)
    known = ~np.isnan(potentials.value)
    field = (
        np.where(known, (_CERTAIN + 2.0 * heard) * potentials.value, potentials.field)
        if known.any()
        else potentials.field
    )
    if not 2.0 * float(np.max(np.abs(field) + heard)) < (math.inf if maximum else _SAFE_EXPONENT):
        return None
    if schedule == "two-pass" and not maximum:
        return SpinTwoPass(graph, potentials, field)
    start = None if schedule == "two-pass" else start  # they are sent once and for all
    kind = SpinResidual if schedule == "residual" else SpinSweeps
    return kind(graph, potentials, field, start, edge_order(graph, schedule, rng), damping.damping, maximum)


@njit(cache=True, error_model="numpy")
def _add(ends: Any, B: Any, total: Any) -> None:
    """Add messages (F, 2), or bounds of both in one column, to the totals of their variables."""
    for f in range(B.shape[0]):
        total[ends[f, 0]] += B[f, 0]
        total[ends[f, 1]] += B[f, -1]


@njit(cache=True, error_model="numpy")
def _multiply(ends: Any, r: Any, total: Any) -> None:
    """Multiply the totals by the messages (F, 2)."""
    for f in range(r.shape[0]):
        total[ends[f, 0]] *= r[f, 0]
        total[ends[f, 1]] *= r[f, 1]


@formula
def _odds(r: float, w: float, T: float) -> float:
    """The message that goes on from a variable of odds T that r came to."""
    return (r + w * T) / (w * r + T)


@njit(cache=True, error_model="numpy")
def _moments(T: Any) -> tuple[Array, Array]:
    """Means (T - 1)/(T + 1) and variances 4T/(T + 1)²."""
    mean, variance = np.empty(T.size), np.empty(T.size)
    for i in range(T.size):
        share = 1.0 / (1.0 + T[i])
        mean[i], variance[i] = (T[i] - 1.0) * share, 4.0 * T[i] * share * share
    return mean, variance


def _beliefs(T: Array, value: Array) -> tuple[Array, Array]:
    """Return means and variances, with what is observed."""
    mean, variance = _moments(T)
    known = ~np.isnan(value)
    if known.any():
        mean[known], variance[known] = value[known], 0.0
    return mean, variance


def _logarithms(r: Array) -> tuple[Array, Array]:
    """Return B = ½ log r, and an A that is zero everywhere and takes no memory."""
    B = np.log(r.ravel())
    B *= 0.5
    return B, np.broadcast_to(np.zeros(()), B.shape)


# ---- sweeps ----------------------------------------------------------------------------------------------------------


@njit(cache=True, error_model="numpy")
def _flood(ends: Any, w: Any, r: Any, T: Any, new_T: Any) -> None:
    """One flooding sweep in place."""
    for f in range(w.size):
        i, j = ends[f, 0], ends[f, 1]
        to_i, to_j = _odds(r[f, 1], w[f], T[j]), _odds(r[f, 0], w[f], T[i])
        r[f, 0], r[f, 1] = to_i, to_j
        new_T[i] *= to_i
        new_T[j] *= to_j


@njit(cache=True, error_model="numpy")
def _flood_and_look(ends: Any, w: Any, r: Any, T: Any, new_T: Any) -> tuple[float, int]:
    """The same; the largest |log new - log old|/2, to first order, and its edge."""
    worst, where = 0.0, 0
    for f in range(w.size):
        i, j = ends[f, 0], ends[f, 1]
        to_i, to_j = _odds(r[f, 1], w[f], T[j]), _odds(r[f, 0], w[f], T[i])
        x, y = abs(to_i / r[f, 0] - 1.0), abs(to_j / r[f, 1] - 1.0)
        if x > worst:
            worst, where = x, 2 * f
        if y > worst:
            worst, where = y, 2 * f + 1
        r[f, 0], r[f, 1] = to_i, to_j
        new_T[i] *= to_i
        new_T[j] *= to_j
    return 0.5 * worst, where


@njit(cache=True, error_model="numpy")
def _flood_damped(
    ends: Any, w: Any, r: Any, T: Any, new_T: Any, share: float, numerators: Any, denominators: Any, look: bool
) -> tuple[float, int]:
    """One flooding sweep with the share that damping lets through; if asked, the largest |log new - log old|/2 without
    damping, and its edge.

    Block by block, so that logarithms and powers are taken of many ratios at once.
    """
    worst, where, block = 0.0, 0, numerators.size // 2
    change = denominators
    for start in range(0, w.size, block):
        size = min(block, w.size - start)
        for k in range(size):
            f = start + k
            s, t, a, b, v = T[ends[f, 0]], T[ends[f, 1]], r[f, 0], r[f, 1], w[f]
            numerators[2 * k], denominators[2 * k] = b + v * t, (v * b + t) * a
            numerators[2 * k + 1], denominators[2 * k + 1] = a + v * s, (v * a + s) * b
        log2_ratios(numerators, denominators, 2 * size)
        if look:
            for k in range(2 * size):
                if abs(change[k]) > worst:
                    worst, where = abs(change[k]), 2 * start + k
        powers_of_2(share, change, 2 * size)
        for k in range(size):
            f = start + k
            to_i, to_j = r[f, 0] * change[2 * k], r[f, 1] * change[2 * k + 1]
            r[f, 0], r[f, 1] = to_i, to_j
            new_T[ends[f, 0]] *= to_i
            new_T[ends[f, 1]] *= to_j
    return 0.5 * math.log(2.0) * worst, where


@njit(cache=True, error_model="numpy")
def _send(
    order: Any, ends: Any, w: Any, r: Any, T: Any, new_r: Any, new_T: Any, share: float, look: bool
) -> tuple[float, int]:
    """Send on the edges of ``order``, as new messages and totals: at the same time, or one after the other in place.

    With the share that damping lets through. If asked, the largest |log new - log old|/2 without damping, to first
    order, and its edge.
    """
    worst, where, exponent = 0.0, 0, binomials(share)
    for n in range(order.size):
        e = order[n]
        back, old = r[e ^ np.uint32(1)], r[e]
        coupling, total = w[e >> np.uint32(1)], T[ends[e ^ np.uint32(1)]]
        x = (back + coupling * total) / ((coupling * back + total) * old)
        if look and abs(x - 1.0) > worst:
            worst, where = abs(x - 1.0), e
        if share < 1.0:
            x = power(x, exponent)
        new_r[e] = old * x
        new_T[ends[e]] *= x
    return 0.5 * worst, where


@njit(cache=True, error_model="numpy")
def _send_maxima(
    order: Any, ends: Any, J: Any, B: Any, H: Any, new_B: Any, new_H: Any, share: float, look: bool
) -> tuple[float, int]:
    """The same for maxima: couplings, messages and totals are fields, and so is the change."""
    worst, where = 0.0, 0
    for n in range(order.size):
        e = order[n]
        old = B[e]
        change = combine_maxima(J[e >> np.uint32(1)], H[ends[e ^ np.uint32(1)]] - B[e ^ np.uint32(1)]) - old
        if look and abs(change) > worst:
            worst, where = abs(change), e
        new_B[e] = old + share * change
        new_H[ends[e]] += share * change
    return worst, where


class SpinSweeps:
    """Sweeps over Ising pairs in a given order; the residual is the largest change of a message B, seen every fifth.

    Pairs lie in memory in the order in which they send. An edge takes 20 bytes: 4 for its end, 8 for the coupling and 8
    for its message; flooding for maxima 8 more for the message before.
    """

    stride = 5
    log_partition = None
    entropy = None

    def __init__(
        self,
        graph: Unrolled,
        potentials: Potentials,
        field: Array,
        start: tuple[Array, Array] | None,
        order: EdgeOrder,
        damping: float,
        maximum: bool,
    ) -> None:
        stack, self.order, self.maximum, self.share = graph.stacks[0], order, maximum, 1.0 - damping
        self.value = potentials.value
        ends, J, B = stack.variables, stack.parameters[0], None if start is None else start[0].reshape(-1, 2)
        if order.factors is not None:
            ends, J, B = ends[order.factors], J[order.factors], None if B is None else B[order.factors]
        self.ends = ends.view(np.uint32)
        if maximum:
            self.w, self.base = J, field
            self.r = np.zeros(ends.shape) if B is None else B.copy()
        else:
            self.w, self.base = np.exp(2.0 * J), np.exp(2.0 * field)
            self.r = np.ones(ends.shape) if B is None else np.exp(2.0 * B)
        self.T = self._total()
        self.old = (np.empty_like(self.r), np.empty_like(self.T)) if order.together else None

    def _total(self) -> Array:
        total = self.base.copy()
        (_add if self.maximum else _multiply)(self.ends, self.r, total)
        return total

    def send(self, edges: NDArray[np.uint32], look: bool) -> tuple[float, int]:
        """Send on some edges, at the same time if the order says so; the largest change and its edge, if asked."""
        r, T = self.r, self.T
        if self.old is not None:
            r, T = self.old
            np.copyto(r, self.r)
            np.copyto(T, self.T)
        function = _send_maxima if self.maximum else _send
        arrays = self.ends.reshape(-1), self.w, r.reshape(-1), T, self.r.reshape(-1), self.T
        change, edge = function(edges, *arrays, self.share, look)
        return change, self.order.edge(edge)

    def sweep(self, count: int) -> tuple[float, int]:
        """Send every message ``count`` times."""
        if self.old is not None and not self.maximum:
            return self._flood(*self.old, count)
        change = 0.0, 0
        for left in range(count, 0, -1):
            change = self.send(next(self.order.edges), left == 1 and not self.order.once)
        self.T = self._total()  # step by step they collect what was rounded
        return change

    def _flood(self, r: Array, new: Array, count: int) -> tuple[float, int]:
        """Send every message ``count`` times: pair by pair in place, with totals made anew in ``new``."""
        change, room = (0.0, 0), (np.empty(2 * _BLOCK), np.empty(2 * _BLOCK))
        for left in range(count, 0, -1):
            np.copyto(new, self.base)
            arrays = self.ends, self.w, self.r, self.T, new
            if self.share < 1.0:
                change = _flood_damped(*arrays, self.share, *room, left == 1)
            elif left > 1:
                _flood(*arrays)
            else:
                change = _flood_and_look(*arrays)
            self.T, new = new, self.T
        self.old = (r, new)
        return change

    def messages(self) -> tuple[Array, Array]:
        """Return B = ½ log r, or B itself."""
        r = self.r
        if self.order.factors is not None:
            r = np.empty_like(self.r)
            r[self.order.factors] = self.r
        return (r.ravel(), np.broadcast_to(np.zeros(()), r.size)) if self.maximum else _logarithms(r)

    def moments(self) -> tuple[Array, Array] | None:
        """Return means and variances from the totals; for maxima they follow from the messages."""
        return None if self.maximum else _beliefs(self.T, self.value)


@njit(cache=True, error_model="numpy")
def _pending(ends: Any, w: Any, r: Any, T: Any, maximum: bool) -> Any:
    """By how much the larger of the two messages of each pair (F,) would change: a field, or e^{2|field|} - 1."""
    change = np.empty(w.size)
    for f in range(w.size):
        s, t, a, b, v = T[ends[f, 0]], T[ends[f, 1]], r[f, 0], r[f, 1], w[f]
        if maximum:
            change[f] = max(abs(combine_maxima(v, t - b) - a), abs(combine_maxima(v, s - a) - b))
        else:
            # A ratio of two positive numbers and its inverse, of which one is at least 1.
            x, x_old, y, y_old = b + v * t, (v * b + t) * a, a + v * s, (v * a + s) * b
            change[f] = max(max(x, x_old) / min(x, x_old), max(y, y_old) / min(y, y_old)) - 1.0
    return change


class SpinResidual(SpinSweeps):
    """The pairs whose messages would change most send first; see ``schedules.urgent``."""

    stride = 1

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.change = self._pending()

    def _pending(self) -> Array:
        return _pending(self.ends, self.w, self.r, self.T, self.maximum)

    def sweep(self, count: int) -> tuple[float, int]:
        """Go some rounds, with as many actions as there are pairs, if so many are pending."""
        for rounds_left in range(ROUNDS, 0, -1):
            self.send(edges_of(urgent(self.change)), False)
            if rounds_left == 1:
                self.T = self._total()  # step by step they collect what was rounded
            self.change = self._pending()
        change = self.change
        where = int(change.argmax()) if change.size else 0
        largest = float(change.max(initial=0.0))
        return (largest if self.maximum else 0.5 * math.log1p(largest)), 2 * where


# ---- two passes over a forest ----------------------------------------------------------------------------------------


@njit(part=True, error_model="numpy")
def _log_beyond(product: float) -> float:
    """The logarithm of a running product that leaves the safe range; 0 within it."""
    return math.log(product) if product > 1e150 else 0.0


@njit(part=True, error_model="numpy")
def _within(product: float) -> float:
    """What remains of it."""
    return 1.0 if product > 1e150 else product


@njit(cache=True, error_model="numpy")
def _two_pass(order: Any, w: Any, T: Any, inwards: Any) -> float:
    """Messages towards the roots in the order of elimination, then back; T becomes the totals. Returns log Z.

    Summing a leaf of odds T out leaves r^{1/2 s} √((Tw + 1)(T + w)/(Tw)), and a root is T^{1/2} + T^{-1/2}.
    """
    log_z, product = 0.0, 1.0
    root = np.ones(T.size, np.bool_)
    for n in range(order.shape[0]):
        leaf, other, f = order[n, 0], order[n, 1], order[n, 2]
        t, v = T[leaf], w[f]
        up, down, root[leaf] = 1.0 + v * t, v + t, False
        inwards[n] = up / down
        T[other] *= inwards[n]
        log_z += _log_beyond(product)
        product = _within(product) * (up * (down / (v * t)))
    log_z = 0.5 * (log_z + math.log(product))
    for i in range(T.size):
        if root[i]:
            log_z += math.log((1.0 + T[i]) / math.sqrt(T[i]))
    for n in range(order.shape[0] - 1, -1, -1):
        leaf, other, f = order[n, 0], order[n, 1], order[n, 2]
        T[leaf] *= _odds(inwards[n], w[f], T[other])
    return log_z


@njit(cache=True, error_model="numpy")
def _both_ways(order: Any, ends: Any, w: Any, T: Any, inwards: Any) -> Any:
    """The messages (F, 2) of two passes, from those inwards and the totals."""
    r = np.empty(ends.shape)
    for n in range(order.shape[0]):
        leaf, other, f = order[n, 0], order[n, 1], order[n, 2]
        side = 0 if ends[f, 0] == leaf else 1
        r[f, 1 - side] = inwards[n]
        r[f, side] = _odds(inwards[n], w[f], T[other])
    return r


class SpinTwoPass:
    """Two passes over a forest of Ising pairs."""

    stride = 1
    entropy = None

    def __init__(self, graph: Unrolled, potentials: Potentials, field: Array) -> None:
        assert graph.elimination is not None
        stack = graph.stacks[0]
        self.ends, self.w, self.order = stack.variables, np.exp(2.0 * stack.parameters[0]), graph.elimination
        self.base, self.value = np.exp(2.0 * field), potentials.value
        self.log_base = float(graph.own.base.sum()) if field is potentials.field else None  # else something is observed
        self.T, self.inwards, self.log_partition = self.base, np.empty(len(self.order)), None

    def sweep(self, count: int) -> tuple[float, int]:
        """Send every message once."""
        self.T = self.base.copy()
        log_z = _two_pass(self.order, self.w, self.T, self.inwards)
        self.log_partition = None if self.log_base is None else self.log_base + log_z
        return 0.0, 0

    def messages(self) -> tuple[Array, Array]:
        """Return B = ½ log r."""
        return _logarithms(_both_ways(self.order, self.ends, self.w, self.T, self.inwards))

    def moments(self) -> tuple[Array, Array]:
        """Return means and variances from the totals."""
        return _beliefs(self.T, self.value)
