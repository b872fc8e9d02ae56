"""Compiled sweeps for graphs of Ising pairs alone: every pair in one pass, with the totals of its two ends at hand.

A message e^{Bs} is carried as r = e^{2B}, a total as T = e^{2H}, a coupling as w = e^{2J}. The cavity odds are T/r, and
r' = (1 + wT/r)/(w + T/r) = (r + wT)/(wr + T): no transcendental function, one division, only positive terms.
"""

import math
from typing import Any

import numpy as np

from factorgraph.engine.damping import Damping
from factorgraph.engine.unroll import Unrolled, Weights
from factorgraph.messages.natural import Array
from factorgraph.numerics.elementwise import formula
from factorgraph.runtime.compiled import njit

#: Exponents below this stay clear of overflow, products of two such factors included.
_SAFE_EXPONENT = 340.0


def spin_sweeps(
    graph: Unrolled, weights: Weights, start: tuple[Array, Array] | None, schedule: str, damping: Damping
) -> "SpinFlooding | SpinTwoPass | None":
    """Sweeps by odds ratios, or None: where they might overflow, with other variables, damping, or other schedules."""
    if (
        not graph.spin.all()
        or schedule not in ("flooding", "two-pass")
        or damping != Damping()
        or not odds_are_safe(graph, weights, start)
    ):
        return None
    if schedule == "flooding":
        return SpinFlooding(graph, weights, start)
    return SpinTwoPass(graph, weights, graph.elimination)


def odds_are_safe(graph: Unrolled, weights: Weights, start: tuple[Array, Array] | None) -> bool:
    """Whether no odds ratio can overflow: a total is at most |h| + Σ|J|, or what it starts at; nothing is observed."""
    stack = graph.stacks[0]
    if not np.isnan(weights.value).all():
        return False
    totals = [_largest_total(stack.variables, stack.parameters[0][:, None], weights.field)]
    if start is not None:
        totals.append(_largest_total(stack.variables, start[0].reshape(-1, 2), weights.field))
    return 2.0 * max(totals) < _SAFE_EXPONENT


@njit(cache=True, error_model="numpy")
def _largest_total(ends: Any, B: Any, field: Any) -> float:
    """The largest |h| + Σ|B| of a variable, with messages (F, 2), or bounds of both in one column."""
    total = np.abs(field)
    for f in range(B.shape[0]):
        total[ends[f, 0]] += abs(B[f, 0])
        total[ends[f, 1]] += abs(B[f, -1])
    return total.max()


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


def _logarithms(r: Array) -> tuple[Array, Array]:
    """B = ½ log r, and an A that is zero everywhere and takes no memory."""
    B = np.log(r.ravel())
    B *= 0.5
    return B, np.broadcast_to(np.zeros(()), B.shape)


# ---- flooding --------------------------------------------------------------------------------------------------------


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
    """The same, and the largest |log new - log old|/2, to first order, with its edge."""
    worst, where = 0.0, 0
    for f in range(w.size):
        i, j = ends[f, 0], ends[f, 1]
        a, b = r[f, 0], r[f, 1]
        to_i, to_j = _odds(b, w[f], T[j]), _odds(a, w[f], T[i])
        if abs(to_i - a) > worst * a:
            worst, where = abs(to_i - a) / a, 2 * f
        if abs(to_j - b) > worst * b:
            worst, where = abs(to_j - b) / b, 2 * f + 1
        r[f, 0], r[f, 1] = to_i, to_j
        new_T[i] *= to_i
        new_T[j] *= to_j
    return 0.5 * worst, where


class SpinFlooding:
    """Flooding of Ising pairs; the residual is the largest change of a message B, seen every fifth sweep."""

    stride = 5
    log_partition = None
    entropy = None

    def __init__(self, graph: Unrolled, weights: Weights, start: tuple[Array, Array] | None) -> None:
        stack = graph.stacks[0]
        self.ends, self.w = stack.variables.view(np.uint32), np.exp(2.0 * stack.parameters[0])
        self.base = np.exp(2.0 * weights.field)
        self.T, self.next = self.base.copy(), np.empty_like(self.base)
        if start is None:
            self.r = np.ones(stack.variables.shape)
            return
        self.r = np.exp(2.0 * start[0]).reshape(-1, 2)
        for column, r in zip(stack.variables.T, self.r.T, strict=True):
            np.multiply.at(self.T, column, r)

    def sweep(self, count: int) -> tuple[float, int]:
        """Send every message ``count`` times."""
        change = 0.0, 0
        for left in range(count, 0, -1):
            np.copyto(self.next, self.base)
            if left > 1:
                _flood(self.ends, self.w, self.r, self.T, self.next)
            else:
                change = _flood_and_look(self.ends, self.w, self.r, self.T, self.next)
            self.T, self.next = self.next, self.T
        return change

    def messages(self) -> tuple[Array, Array]:
        """B = ½ log r."""
        return _logarithms(self.r)

    def moments(self) -> tuple[Array, Array]:
        """Means and variances from the totals."""
        return _moments(self.T)


# ---- two passes over a forest ----------------------------------------------------------------------------------------


@njit(cache=True, error_model="numpy")
def _log_beyond(product: float) -> float:
    """The logarithm of a running product that leaves the safe range; 0 within it."""
    return math.log(product) if product > 1e150 else 0.0


@njit(cache=True, error_model="numpy")
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

    def __init__(self, graph: Unrolled, weights: Weights, order: Any) -> None:
        stack = graph.stacks[0]
        self.ends, self.w, self.order = stack.variables, np.exp(2.0 * stack.parameters[0]), order
        self.base, self.log_base = np.exp(2.0 * weights.field), float(graph.own.base.sum())
        self.T, self.inwards, self.log_partition = self.base, np.empty(len(order)), None

    def sweep(self, count: int) -> tuple[float, int]:
        """Send every message once."""
        self.T = self.base.copy()
        self.log_partition = self.log_base + _two_pass(self.order, self.w, self.T, self.inwards)
        return 0.0, 0

    def messages(self) -> tuple[Array, Array]:
        """B = ½ log r."""
        return _logarithms(_both_ways(self.order, self.ends, self.w, self.T, self.inwards))

    def moments(self) -> tuple[Array, Array]:
        """Means and variances from the totals."""
        return _moments(self.T)
