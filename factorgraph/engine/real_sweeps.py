"""Compiled sweeps for graphs of Gaussian pairs e^{Jxy} alone: every pair in one pass, with its ends' totals at hand."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from factorgraph.engine.cavity import indefinite
from factorgraph.engine.damping import Damping, largest_change, relative_change
from factorgraph.engine.schedules import ROUNDS, EdgeOrder, edge_order, edges_of, urgent
from factorgraph.engine.unroll import Potentials, Unrolled
from factorgraph.messages.natural import Array
from factorgraph.messages.vectors import ROUNDING
from factorgraph.runtime.compiled import njit

#: Precisions that change by less, relative to the largest, have settled.
_ROUNDING = 1e-15
#: How many times the precisions around it that of an observed variable is: 1/_HELD vanishes beside whatever it meets.
_HELD = 2.0**200


def real_sweeps(
    graph: Unrolled,
    potentials: Potentials,
    start: tuple[Array, Array] | None,
    schedule: str,
    damping: Damping,
    maximum: bool,
    rng: np.random.Generator,
) -> "RealSweeps | RealInOrder | RealTwoPass | None":
    """Return sweeps over Gaussian pairs, whose maxima are their means; None with other variables or reinforcement."""
    if graph.spin.any() or not graph.single.all() or damping.reinforcement:
        return None
    held = _held(graph, potentials)
    if schedule == "two-pass":
        return RealTwoPass(graph, potentials, held)
    if schedule in ("flooding", "sequential"):
        return RealSweeps(graph, potentials, held, start, damping.damping, schedule == "sequential")
    kind = RealResidual if schedule == "residual" else RealInOrder
    return kind(graph, potentials, held, start, damping.damping, edge_order(graph, schedule, rng))


def _held(graph: Unrolled, potentials: Potentials) -> tuple[Array, Array]:
    """Return fields and precisions of all variables; what is observed is held where it is by a precision beyond all
    others."""
    known = np.flatnonzero(~np.isnan(potentials.value))
    if not known.size:
        return potentials.field, potentials.precision
    field, precision, stack = potentials.field.copy(), potentials.precision.copy(), graph.stacks[0]
    size = np.abs(potentials.precision)
    _add_up(stack.variables.view(np.uint32), np.abs(stack.parameters[0])[:, None] * np.ones(2), size)
    precision[known] = _HELD * np.maximum(size[known], 1.0)
    field[known] = precision[known] * potentials.value[known]
    return field, precision


# ---- flooding and sequential -----------------------------------------------------------------------------------------


@njit(cache=True, error_model="numpy")
def _add_up(ends: Any, values: Any, total: Any) -> None:
    for f in range(ends.shape[0]):
        total[ends[f, 0]] += values[f, 0]
        total[ends[f, 1]] += values[f, 1]


def _total(ends: Any, own: Array, messages: Array) -> Array:
    total = own.copy()
    _add_up(ends, messages, total)
    return total


def _units(ends: Any, own: Array, held: Array, A: Array, G: Array) -> tuple[Array, Array]:
    """As ``sweeps.scales``, by variable, where the totals G are those of ``held`` precisions."""
    scale = np.maximum(G if held is own else _total(ends, own, A), 0.0)
    return np.sqrt(scale), scale


@njit(cache=True, error_model="numpy")
def _sweep_precisions(
    ends: Any, J: Any, A: Any, t: Any, G: Any, new_G: Any, live: bool, damping: float, sent: Any
) -> float:
    """One sweep in place of A' = -J t, t = J/g with the cavity precision g of the other end; the largest change.

    If ``live`` the totals G are updated at once, and the sweep is sequential; else the new ones are added to ``new_G``.
    Where there is damping, ``sent`` are the messages without it, and so is the change.
    """
    worst = 0.0
    for f in range(J.size):
        i, j, a, b = ends[f, 0], ends[f, 1], A[f, 0], A[f, 1]
        t[f, 0], t[f, 1] = J[f] / (G[j] - b), J[f] / (G[i] - a)
        to_i, to_j = -J[f] * t[f, 0], -J[f] * t[f, 1]
        change = max(abs(to_i - a), abs(to_j - b))
        if not change <= worst:
            worst = change
        if damping > 0.0:
            sent[f, 0], sent[f, 1] = to_i, to_j
            to_i, to_j = damping * a + (1.0 - damping) * to_i, damping * b + (1.0 - damping) * to_j
        if live:
            G[i] += to_i - a
            G[j] += to_j - b
        else:
            new_G[i] += to_i
            new_G[j] += to_j
        A[f, 0], A[f, 1] = to_i, to_j
    return worst


@njit(cache=True, error_model="numpy")
def _sweep_fields(ends: Any, t: Any, B: Any, H: Any, new_H: Any, live: bool, damping: float, sent: Any) -> None:
    """One sweep in place of B' = t h, h the cavity field of the other end; H updated at once if ``live``."""
    for f in range(t.shape[0]):
        i, j = ends[f, 0], ends[f, 1]
        a, b = B[f, 0], B[f, 1]
        to_i, to_j = t[f, 0] * (H[j] - b), t[f, 1] * (H[i] - a)
        if damping > 0.0:
            sent[f, 0], sent[f, 1] = to_i, to_j
            to_i, to_j = damping * a + (1.0 - damping) * to_i, damping * b + (1.0 - damping) * to_j
        if live:
            H[i] += to_i - a
            H[j] += to_j - b
        else:
            new_H[i] += to_i
            new_H[j] += to_j
        B[f, 0], B[f, 1] = to_i, to_j


class RealSweeps:
    """Flooding or sequential sweeps over Gaussian pairs; the residual is seen every fifth sweep.

    Precisions do not depend on fields: once they have settled to rounding, t is kept and the fields alone go on.
    """

    stride = 5
    log_partition = None
    entropy = None

    def __init__(
        self,
        graph: Unrolled,
        potentials: Potentials,
        held: tuple[Array, Array],
        start: tuple[Array, Array] | None,
        damping: float,
        live: bool,
    ) -> None:
        stack = graph.stacks[0]
        self.ends, self.J, self.live, self.damping = stack.variables.view(np.uint32), stack.parameters[0], live, damping
        first = np.zeros((2, self.ends.size)) if start is None else np.stack(start)
        self.B, self.A = first.reshape(2, -1, 2)
        self.t, self.old = np.empty_like(self.A), (np.empty_like(self.B), np.empty_like(self.A))
        self.sent = (self.B, self.A) if damping == 0.0 else (np.empty_like(self.B), self.A.copy())
        self.base, self.precision = held, potentials.precision
        self.H, self.G = _total(self.ends, held[0], self.B), _total(self.ends, held[1], self.A)
        self.settled = False

    def sweep(self, count: int) -> tuple[float, int]:
        """Send every message ``count`` times."""
        for left in range(count, 0, -1):
            if left == 1:
                np.copyto(self.old[0], self.B)
                np.copyto(self.old[1], self.A)
            if not self.settled:
                new_G = self.base[1].copy()
                change = _sweep_precisions(
                    self.ends, self.J, self.A, self.t, self.G, new_G, self.live, self.damping, self.sent[1]
                )
                self.G = _total(self.ends, self.base[1], self.A) if self.live else new_G
                self.settled = change <= _ROUNDING * float(np.abs(self.A).max(initial=0.0))
            new_H = self.base[0].copy()
            _sweep_fields(self.ends, self.t, self.B, self.H, new_H, self.live, self.damping, self.sent[0])
            self.H = _total(self.ends, self.base[0], self.B) if self.live else new_H
        scale = _units(self.ends, self.precision, self.base[1], self.A, self.G)
        pairs = zip(self.old, self.sent, scale, strict=True)
        return max(largest_change(old.ravel(), new.ravel(), self.ends.ravel(), size) for old, new, size in pairs)

    def messages(self) -> tuple[Array, Array]:
        """Return all messages."""
        return self.B.ravel(), self.A.ravel()

    def moments(self) -> None:
        """They follow from the messages."""


# ---- other orders ----------------------------------------------------------------------------------------------------


@njit(cache=True, error_model="numpy")
def _send(order: Any, ends: Any, J: Any, messages: Any, totals: Any, scales: Any, share: float) -> tuple[float, int]:
    """Send on the edges of ``order``, one after the other in place; the largest relative change and its edge.

    With the share that damping lets through; the change is that without damping.
    """
    B, A = messages
    H, G = totals
    worst, where = 0.0, 0
    for n in range(order.size):
        e = order[n]
        i, j, back = ends[e], ends[e ^ np.uint32(1)], e ^ np.uint32(1)
        t = J[e >> np.uint32(1)] / (G[j] - A[back])
        to_B, to_A = t * (H[j] - B[back]), -J[e >> np.uint32(1)] * t
        change = max(relative_change(B[e], to_B, scales[0][i]), relative_change(A[e], to_A, scales[1][i]))
        if change > worst:
            worst, where = change, e
        to_B, to_A = share * (to_B - B[e]), share * (to_A - A[e])
        B[e], A[e] = B[e] + to_B, A[e] + to_A
        H[i], G[i] = H[i] + to_B, G[i] + to_A
    return worst, where


@njit(cache=True, error_model="numpy")
def _pending(ends: Any, J: Any, messages: Any, totals: Any, scales: Any) -> Any:
    """The relative change (2F,) that each message would make."""
    B, A = messages
    H, G = totals
    change = np.empty(B.size)
    for e in range(np.uint32(B.size)):
        i, j, back = ends[e], ends[e ^ np.uint32(1)], e ^ np.uint32(1)
        t = J[e >> np.uint32(1)] / (G[j] - A[back])
        change[e] = max(
            relative_change(B[e], t * (H[j] - B[back]), scales[0][i]),
            relative_change(A[e], -J[e >> np.uint32(1)] * t, scales[1][i]),
        )
    return change


class RealInOrder:
    """Sweeps over Gaussian pairs in a given order; pairs lie in memory in the order in which they send."""

    stride = 1
    log_partition = None
    entropy = None

    def __init__(
        self,
        graph: Unrolled,
        potentials: Potentials,
        held: tuple[Array, Array],
        start: tuple[Array, Array] | None,
        damping: float,
        order: EdgeOrder,
    ) -> None:
        stack, self.order, self.share = graph.stacks[0], order, 1.0 - damping
        self.pairs, self.J, places = stack.variables.view(np.uint32), stack.parameters[0], order.places
        B, A = np.zeros((2, graph.edges)) if start is None else start
        if places is not None:
            self.pairs, self.J, B, A = self.pairs[order.factors], self.J[order.factors], B[places], A[places]
        self.ends, self.sent = self.pairs.ravel(), (B, A)
        self.base, self.precision = held, potentials.precision
        self.measure()

    def measure(self) -> None:
        """Take the totals anew, because rounding collects in them, and the units of the changes to come."""
        self.totals = tuple(
            _total(self.pairs, own, sent.reshape(-1, 2)) for own, sent in zip(self.base, self.sent, strict=True)
        )
        A = self.sent[1].reshape(-1, 2)
        self.scales = _units(self.pairs, self.precision, self.base[1], A, self.totals[1])

    def send(self, edges: NDArray[np.uint32]) -> tuple[float, int]:
        """Send on some edges; the largest change and its edge."""
        return _send(edges, self.ends, self.J, self.sent, self.totals, self.scales, self.share)

    def sweep(self, count: int) -> tuple[float, int]:
        """Send every message ``count`` times."""
        change = 0.0, 0
        for _ in range(count):
            change = self.send(next(self.order.edges))
            self.measure()
        return change[0], self.order.edge(change[1])

    def messages(self) -> tuple[Array, Array]:
        """Return all messages."""
        if self.order.places is None:
            return self.sent
        B, A = np.empty((2, self.ends.size))
        B[self.order.places], A[self.order.places] = self.sent
        return B, A

    def moments(self) -> None:
        """They follow from the messages."""


class RealResidual(RealInOrder):
    """The pairs whose messages would change most send first; see ``schedules.urgent``."""

    def sweep(self, count: int) -> tuple[float, int]:
        """Go some rounds, with as many actions as there are pairs, if so many are pending."""
        for _ in range(ROUNDS):
            first = urgent(self._pending().reshape(-1, 2).max(axis=1))
            self.send(edges_of(first))
        self.measure()
        change = self._pending()
        where = int(change.argmax()) if change.size else 0
        return float(change.max(initial=0.0)), where

    def _pending(self) -> Array:
        return _pending(self.ends, self.J, self.sent, self.totals, self.scales)


# ---- two passes over a forest ----------------------------------------------------------------------------------------


@njit(cache=True, error_model="numpy")
def _solve(order: Any, J: Any, H: Any, G: Any, own: Any, t: Any, u: Any) -> int:
    """Means and variances in place of the fields H and precisions G; -1, or the first variable without a precision.

    Everything but rounding of what a variable had of its ``own`` may have been taken from it.

    A leaf is x = u + t x' + noise of variance v given the other end x', with v = 1/G, u = v H and t = v J; what it
    leaves there is the field J u and the precision -J t. On the way back it has mean u + t m' and variance v + t² v'.
    """
    root = np.ones(H.size, np.bool_)
    for n in range(order.shape[0]):
        leaf, other, f = order[n, 0], order[n, 1], order[n, 2]
        v, root[leaf] = 1.0 / G[leaf], False
        u[n], t[n] = v * H[leaf], v * J[f]
        if not (G[leaf] > max(0.0, ROUNDING * own[leaf]) and np.isfinite(v) and np.isfinite(u[n])):
            return leaf
        H[other] += J[f] * u[n]
        G[other] -= J[f] * t[n]
        G[leaf] = v
    for i in range(H.size):
        if root[i]:
            precision = G[i]
            H[i], G[i] = H[i] / precision, 1.0 / precision
            if not (precision > max(0.0, ROUNDING * own[i]) and np.isfinite(H[i]) and np.isfinite(G[i])):
                G[i] = precision
                return i
    for n in range(order.shape[0] - 1, -1, -1):
        leaf, other, f = order[n, 0], order[n, 1], order[n, 2]
        H[leaf] = u[n] + t[n] * H[other]
        G[leaf] += t[n] * t[n] * G[other]
    return -1


@njit(cache=True, error_model="numpy")
def _both_ways(order: Any, ends: Any, J: Any, mean: Any, variance: Any, t: Any, u: Any) -> Any:
    """The messages B and A (F, 2) of two passes, from the leaves' laws and all beliefs."""
    B, A = np.empty(ends.shape), np.empty(ends.shape)
    for n in range(order.shape[0]):
        leaf, other, f = order[n, 0], order[n, 1], order[n, 2]
        side = 0 if ends[f, 0] == leaf else 1
        B[f, 1 - side], A[f, 1 - side] = J[f] * u[n], -J[f] * t[n]
        back = J[f] / (1.0 / variance[other] - A[f, 1 - side])
        B[f, side], A[f, side] = back * (mean[other] / variance[other] - B[f, 1 - side]), -back * J[f]
    return B.ravel(), A.ravel()


class RealTwoPass:
    """Two passes over a forest of Gaussian pairs."""

    stride = 1
    log_partition = None
    entropy = None

    def __init__(self, graph: Unrolled, potentials: Potentials, held: tuple[Array, Array]) -> None:
        assert graph.elimination is not None
        stack = graph.stacks[0]
        self.graph, self.value, self.base = graph, potentials.value, held
        self.ends, self.J, self.order = stack.variables, stack.parameters[0], graph.elimination
        self.t, self.u = np.empty(len(self.order)), np.empty(len(self.order))
        self.mean, self.variance, self.wrong = *held, -1

    def sweep(self, count: int) -> tuple[float, int]:
        """Send every message once."""
        self.mean, self.variance = (values.copy() for values in self.base)
        self.wrong = _solve(self.order, self.J, self.mean, self.variance, self.base[1], self.t, self.u)
        return 0.0, 0

    def messages(self) -> tuple[Array, Array]:
        """Return all messages."""
        return _both_ways(self.order, self.ends, self.J, self.mean, self.variance, self.t, self.u)

    def moments(self) -> tuple[Array, Array]:
        """Return means and variances.

        Raises:
            IndefiniteError: a variable without a positive precision when it is the leaf.
        """
        if self.wrong >= 0:
            left, own = float(self.variance[self.wrong]), float(self.base[1][self.wrong])
            raise indefinite(self.graph, self.wrong, 0.0 if abs(left) <= ROUNDING * own else left)
        known = ~np.isnan(self.value)
        return np.where(known, self.value, self.mean), np.where(known, 0.0, self.variance)
