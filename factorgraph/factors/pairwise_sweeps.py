"""Compiled sweeps for graphs of pairs alone: every factor in one pass, with the totals of its two ends at hand.

Each kernel equals the general sweeps in what it sends; a factor gets an end's cavity law from the end's total by taking
its own message away again.
"""

import math
from typing import Any

import numpy as np
from numba import njit

from factorgraph.damping import Damping, largest_change
from factorgraph.messages import Array
from factorgraph.unroll import Unrolled, Weights

#: Exponents below this stay clear of overflow, products of two such factors included.
_SAFE_EXPONENT = 340.0

#: Precisions that change by less, relative to the largest, have settled.
_ROUNDING = 1e-15


def spin_sweeps(
    graph: Unrolled, weights: Weights, messages: tuple[Array, Array], schedule: str, damping: Damping
) -> "SpinFlooding | SpinTwoPass | None":
    """Sweeps by odds ratios, or None: where they might overflow, under damping, and for other schedules."""
    if damping != Damping() or not odds_are_safe(graph, weights, messages):
        return None
    if schedule == "flooding":
        return SpinFlooding(graph, weights, messages)
    return SpinTwoPass(graph, weights, graph.elimination) if schedule == "two-pass" else None


def real_sweeps(
    graph: Unrolled, weights: Weights, messages: tuple[Array, Array], schedule: str, damping: Damping
) -> "RealSweeps | RealTwoPass | None":
    """Sweeps over Gaussian pairs, or None: with observations or reinforcement, and for other schedules."""
    if damping.reinforcement or not np.isnan(weights.value).all():
        return None
    if schedule in ("flooding", "sequential"):
        return RealSweeps(graph, weights, messages, schedule == "sequential", damping.damping)
    return RealTwoPass(graph, weights, graph.elimination) if schedule == "two-pass" else None


@njit(cache=True, error_model="numpy")
def _log_beyond(product: float) -> float:
    """The logarithm of a running product that leaves the safe range; 0 within it."""
    return math.log(product) if product > 1e150 else 0.0


@njit(cache=True, error_model="numpy")
def _within(product: float) -> float:
    """What remains of it."""
    return 1.0 if product > 1e150 else product


# ---- spins, by odds ratios -------------------------------------------------------------------------------------------
#
# A message e^{Bs} is carried as r = e^{2B}, a total as T = e^{2H}, a coupling as w = e^{2J}. The cavity odds are T/r,
# and r' = (1 + wT/r)/(w + T/r) = (r + wT)/(wr + T): no transcendental function, one division, only positive terms.


@njit(cache=True, error_model="numpy")
def _flood_spins(ends: Any, w: Any, r: Any, T: Any, new_T: Any) -> None:
    """One flooding sweep in place."""
    for f in range(w.size):
        i, j = ends[f, 0], ends[f, 1]
        a, b, t, u, v = r[f, 0], r[f, 1], T[i], T[j], w[f]
        to_i, to_j = (b + v * u) / (v * b + u), (a + v * t) / (v * a + t)
        r[f, 0], r[f, 1] = to_i, to_j
        new_T[i] *= to_i
        new_T[j] *= to_j


@njit(cache=True, error_model="numpy", fastmath={"nnan", "ninf", "nsz"})
def _largest_ratio(old: Any, new: Any) -> float:
    """max |new - old|/old of positive finite numbers, in vector instructions."""
    worst = 0.0
    for e in range(old.size):
        worst = max(worst, abs(new[e] - old[e]) / old[e])
    return worst


@njit(cache=True, error_model="numpy")
def _largest_log_change(old: Any, new: Any) -> tuple[float, int]:
    """The largest |log new - log old| / 2, to first order, and where it is."""
    worst, where = 0.0, 0
    for start in range(0, old.size, 4096):
        change = _largest_ratio(old[start : start + 4096], new[start : start + 4096])
        if change > worst:
            worst, where = change, start
    for e in range(where, min(where + 4096, old.size)):
        if abs(new[e] - old[e]) / old[e] == worst:
            where = e
    return 0.5 * worst, where


@njit(cache=True, error_model="numpy")
def _two_pass_spins(ends: Any, w: Any, r: Any, T: Any, order: Any) -> float:
    """Messages towards the root in the order of elimination, then back; T becomes the totals. Returns log Z.

    Summing a leaf of odds T out leaves r^{1/2 s} √((Tw + 1)(T + w)/(Tw)), and a root is T^{1/2} + T^{-1/2}.
    """
    log_z, product = 0.0, 1.0
    root = np.ones(T.size, np.bool_)
    for n in range(order.shape[0]):
        f, side = order[n, 0], order[n, 1]
        i, j = ends[f, side], ends[f, 1 - side]
        t, v, root[i] = T[i], w[f], False
        r[f, 1 - side] = (1.0 + v * t) / (v + t)
        T[j] *= r[f, 1 - side]
        log_z += _log_beyond(product)
        product = _within(product) * ((1.0 + v * t) / v) * ((t + v) / t)
    log_z = 0.5 * (log_z + math.log(product))
    for i in range(T.size):
        if root[i]:
            log_z += math.log((1.0 + T[i]) / math.sqrt(T[i]))
    for n in range(order.shape[0] - 1, -1, -1):
        f, side = order[n, 0], order[n, 1]
        b, t = r[f, 1 - side], T[ends[f, 1 - side]]
        r[f, side] = (b + w[f] * t) / (w[f] * b + t)
        T[ends[f, side]] *= r[f, side]
    return log_z


class SpinFlooding:
    """Flooding of Ising pairs; the residual is the largest change of a message B, seen every fifth sweep."""

    stride = 5
    log_partition = None

    def __init__(self, graph: Unrolled, weights: Weights, messages: tuple[Array, Array]) -> None:
        stack = graph.stacks[0]
        self.ends, self.w = stack.variables.view(np.uint32), np.exp(2.0 * stack.parameters[0])
        self.r = np.exp(2.0 * messages[0]).reshape(-1, 2)
        self.old = np.empty_like(self.r)
        self.base = np.exp(2.0 * weights.field)
        self.T, self.next = self.base.copy(), self.base.copy()
        for column, r in zip(stack.variables.T, self.r.T, strict=True):
            np.multiply.at(self.T, column, r)

    def sweep(self, count: int) -> tuple[float, int]:
        """Send every message ``count`` times."""
        for left in range(count, 0, -1):
            if left == 1:
                np.copyto(self.old, self.r)
            np.copyto(self.next, self.base)
            _flood_spins(self.ends, self.w, self.r, self.T, self.next)
            self.T, self.next = self.next, self.T
        return _largest_log_change(self.old.ravel(), self.r.ravel())

    def messages(self) -> tuple[Array, Array]:
        """B = ½ log r."""
        return _logarithms(self.r)


class SpinTwoPass:
    """Two passes over a forest of Ising pairs."""

    stride = 1

    def __init__(self, graph: Unrolled, weights: Weights, order: Any) -> None:
        stack = graph.stacks[0]
        self.ends, self.w, self.order = stack.variables, np.exp(2.0 * stack.parameters[0]), order
        self.r, self.T = np.ones(self.ends.shape), np.exp(2.0 * weights.field)
        self.log_base, self.log_partition = float(graph.log_base.sum()), None

    def sweep(self, count: int) -> tuple[float, int]:
        """Send every message once."""
        self.log_partition = self.log_base + _two_pass_spins(self.ends, self.w, self.r, self.T, self.order)
        return 0.0, 0

    def messages(self) -> tuple[Array, Array]:
        """B = ½ log r."""
        return _logarithms(self.r)


def _logarithms(r: Array) -> tuple[Array, Array]:
    """B = ½ log r, and an A that is zero everywhere and takes no memory."""
    B = np.log(r.ravel())
    B *= 0.5
    return B, np.broadcast_to(np.zeros(()), B.shape)


def odds_are_safe(graph: Unrolled, weights: Weights, messages: tuple[Array, Array]) -> bool:
    """Whether no odds ratio can overflow: a total is at most |h| + Σ|J|, and nothing is observed."""
    stack = graph.stacks[0]
    J = np.abs(stack.parameters[0])
    bound = np.abs(weights.field)
    if not (np.isnan(weights.value).all() and J.max(initial=0.0) < _SAFE_EXPONENT):
        return False
    for column in stack.variables.T:
        bound = bound + np.bincount(column, J, minlength=graph.variables)
    return bool(2.0 * bound.max(initial=0.0) < _SAFE_EXPONENT and np.abs(messages[0]).max(initial=0.0) < _SAFE_EXPONENT)


# ---- real variables --------------------------------------------------------------------------------------------------


@njit(cache=True, error_model="numpy")
def _add_up(ends: Any, values: Any, total: Any) -> None:
    for f in range(ends.shape[0]):
        total[ends[f, 0]] += values[f, 0]
        total[ends[f, 1]] += values[f, 1]


@njit(cache=True, error_model="numpy")
def _sweep_precisions(ends: Any, J: Any, A: Any, t: Any, G: Any, new_G: Any, live: bool, damping: float) -> float:
    """One sweep in place of A' = -J t, t = J/g with the cavity precision g of the other end; the largest change.

    If ``live`` the totals G are updated at once, and the sweep is sequential; else the new ones are added to ``new_G``.
    """
    worst = 0.0
    for f in range(J.size):
        i, j, a, b = ends[f, 0], ends[f, 1], A[f, 0], A[f, 1]
        t[f, 0], t[f, 1] = J[f] / (G[j] - b), J[f] / (G[i] - a)
        to_i = damping * a - (1.0 - damping) * J[f] * t[f, 0]
        to_j = damping * b - (1.0 - damping) * J[f] * t[f, 1]
        change = max(abs(to_i - a), abs(to_j - b))
        if not change <= worst:
            worst = change
        if live:
            G[i] += to_i - a
            G[j] += to_j - b
        else:
            new_G[i] += to_i
            new_G[j] += to_j
        A[f, 0], A[f, 1] = to_i, to_j
    return worst


@njit(cache=True, error_model="numpy")
def _sweep_fields(ends: Any, t: Any, B: Any, H: Any, new_H: Any, live: bool, damping: float) -> None:
    """One sweep in place of B' = t h, h the cavity field of the other end; H updated at once if ``live``."""
    keep = 1.0 - damping
    for f in range(t.shape[0]):
        i, j = ends[f, 0], ends[f, 1]
        a, b = B[f, 0], B[f, 1]
        to_i, to_j = keep * t[f, 0] * (H[j] - b) + damping * a, keep * t[f, 1] * (H[i] - a) + damping * b
        if live:
            H[i] += to_i - a
            H[j] += to_j - b
        else:
            new_H[i] += to_i
            new_H[j] += to_j
        B[f, 0], B[f, 1] = to_i, to_j


@njit(cache=True, error_model="numpy")
def _two_pass_reals(ends: Any, J: Any, B: Any, A: Any, H: Any, G: Any, order: Any) -> None:
    """Messages towards the root in the order of elimination, then back; H and G become the totals."""
    for n in range(order.shape[0]):
        f, side = order[n, 0], order[n, 1]
        i, j = ends[f, side], ends[f, 1 - side]
        t = J[f] / G[i]
        B[f, 1 - side], A[f, 1 - side] = t * H[i], -t * J[f]
        H[j] += B[f, 1 - side]
        G[j] += A[f, 1 - side]
    for n in range(order.shape[0] - 1, -1, -1):
        f, side = order[n, 0], order[n, 1]
        i, j = ends[f, side], ends[f, 1 - side]
        t = J[f] / (G[j] - A[f, 1 - side])
        B[f, side], A[f, side] = t * (H[j] - B[f, 1 - side]), -t * J[f]
        H[i] += B[f, side]
        G[i] += A[f, side]


class RealSweeps:
    """Flooding or sequential sweeps over Gaussian pairs; the residual is seen every fifth sweep.

    Precisions do not depend on fields: once they have settled to rounding, t is kept and the fields alone go on.
    """

    stride = 5
    log_partition = None

    def __init__(
        self, graph: Unrolled, weights: Weights, messages: tuple[Array, Array], live: bool, damping: float
    ) -> None:
        stack = graph.stacks[0]
        self.ends, self.J, self.live, self.damping = stack.variables.view(np.uint32), stack.parameters[0], live, damping
        self.B, self.A = (values.reshape(-1, 2) for values in messages)
        self.t, self.old = np.empty_like(self.A), (np.empty_like(self.B), np.empty_like(self.A))
        self.base = weights.field, weights.precision
        self.H, self.G = self._total(0, self.B), self._total(1, self.A)
        self.settled = False

    def _total(self, which: int, messages: Array) -> Array:
        total = self.base[which].copy()
        _add_up(self.ends, messages, total)
        return total

    def sweep(self, count: int) -> tuple[float, int]:
        """Send every message ``count`` times."""
        for left in range(count, 0, -1):
            if left == 1:
                np.copyto(self.old[0], self.B)
                np.copyto(self.old[1], self.A)
            if not self.settled:
                new_G = self.base[1].copy()
                change = _sweep_precisions(self.ends, self.J, self.A, self.t, self.G, new_G, self.live, self.damping)
                self.G = self._total(1, self.A) if self.live else new_G
                self.settled = change <= _ROUNDING * float(np.abs(self.A).max(initial=0.0))
            new_H = self.base[0].copy()
            _sweep_fields(self.ends, self.t, self.B, self.H, new_H, self.live, self.damping)
            self.H = self._total(0, self.B) if self.live else new_H
        changes = (largest_change(o.ravel(), n.ravel()) for o, n in zip(self.old, (self.B, self.A), strict=True))
        return max(changes)

    def messages(self) -> tuple[Array, Array]:
        """All messages."""
        return self.B.ravel(), self.A.ravel()


class RealTwoPass:
    """Two passes over a forest of Gaussian pairs."""

    stride = 1
    log_partition = None

    def __init__(self, graph: Unrolled, weights: Weights, order: Any) -> None:
        stack = graph.stacks[0]
        self.ends, self.J, self.order = stack.variables, stack.parameters[0], order
        self.B, self.A = np.zeros(self.ends.shape), np.zeros(self.ends.shape)
        self.H, self.G = weights.field.copy(), weights.precision.copy()

    def sweep(self, count: int) -> tuple[float, int]:
        """Send every message once."""
        _two_pass_reals(self.ends, self.J, self.B, self.A, self.H, self.G, self.order)
        return 0.0, 0

    def messages(self) -> tuple[Array, Array]:
        """All messages."""
        return self.B.ravel(), self.A.ravel()
