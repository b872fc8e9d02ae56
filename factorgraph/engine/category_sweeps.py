"""Compiled sweeps for graphs of pairs of categories alone, by one table for all, one for each, or Potts couplings.

Flooding carries messages and totals as products of probabilities, r and T, and tables as W = e^{log table}: the cavity
law is T/r, the message a matrix product of it, without a transcendental function, and with positive terms only. Two
passes over a forest carry logarithms, zeros and entries of any size included.
"""

import math
from typing import Any

import numpy as np

from factorgraph.engine.damping import Damping
from factorgraph.engine.forest import eliminate_pairs, group_by
from factorgraph.engine.unroll import Potentials, Unrolled
from factorgraph.factors.base import distinct
from factorgraph.factors.potts import PottsPair, log_others
from factorgraph.messages.categories import log_sum, normalise, normalised
from factorgraph.messages.natural import Array, log_sum_of_two
from factorgraph.runtime.compiled import njit

#: Exponents below this stay clear of overflow, products of two such factors included.
_SAFE_EXPONENT = 340.0


def category_sweeps(
    graph: Unrolled, potentials: Potentials, start: tuple[Array, Array] | None, schedule: str, damping: Damping
) -> "CategoryFlooding | CategoryTwoPass | None":
    """Return sweeps over pairs, or None: with other factors or variables, damping, or another schedule.

    There is no flooding where products might overflow: with zeros, observations, or very strong factors.
    """
    kind: Any = graph.stacks[0].kind
    if len(graph.stacks) != 1 or damping != Damping() or np.any(graph.category_of < 0):
        return None
    if len(kind.states) != 2 or getattr(kind, "listed", None) is not None:
        return None
    if schedule == "two-pass":
        return CategoryTwoPass(graph, potentials)
    if schedule == "flooding" and _products_are_safe(graph, potentials, start):
        return CategoryFlooding(graph, potentials, start)
    return None


def _spread(logs: Array) -> Array:
    return logs.max(axis=1) - logs.min(axis=1)


def _products_are_safe(graph: Unrolled, potentials: Potentials, start: tuple[Array, Array] | None) -> bool:
    """Return whether no product can overflow: the logarithms of a total differ by at most those of all that it is made
    of."""
    stack = graph.stacks[0]
    kind: Any = stack.kind
    logs = distinct(stack.parameters[0])
    if not np.isnan(potentials.value).all() or not np.isfinite(logs).all() or not np.isfinite(potentials.field).all():
        return False
    maximum = np.abs(logs) if isinstance(kind, PottsPair) else _spread(logs)
    size = np.broadcast_to(maximum, len(stack.variables)) + math.log(max(kind.states))
    if start is not None:
        B = start[0].reshape(stack.variables.shape)
        if not np.isfinite(B).all():
            return False
        q = kind.states[0]
        size = np.maximum(size, np.maximum(_spread(B[:, :q]), _spread(B[:, q:])))
    total = np.zeros(graph.variables)
    for slot in (0, kind.states[0]):
        np.add.at(total, stack.variables[:, slot], size)
    own = max((float(_spread(potentials.field[places]).max()) for places in graph.categories), default=0.0)
    return float(total.max()) + own < _SAFE_EXPONENT


# ---- flooding --------------------------------------------------------------------------------------------------------


@njit(part=True, error_model="numpy")
def _replaced(new: Any, r: Any, place: int, T: Any, look: bool, worst: float) -> float:
    """Scale a message to a mean of 1, multiply it to the total, put it in its place; the largest relative change."""
    scale = new.size / new.sum()
    for c in range(new.size):
        value = new[c] * scale
        if look:
            worst = max(worst, abs(value - r[c]) / r[c])
        r[c] = value
        T[place + c] *= value
    return worst


@njit(cache=True, error_model="numpy")
def _flood_potts(first: Any, second: Any, w: Any, r: Any, T: Any, new_T: Any, look: bool) -> tuple[float, int]:
    """One flooding sweep in place; the largest relative change of a message and its edge, if looked for."""
    q, worst, where = r.shape[1] // 2, 0.0, 0
    p, to = np.empty((2, q)), np.empty((2, q))
    for f in range(first.size):
        places = (first[f], second[f])
        for side in range(2):
            for c in range(q):
                p[side, c] = T[places[side] + c] / r[f, side * q + c]
            out = to[1 - side]
            before, after = 0.0, 0.0
            for c in range(q):
                out[c] = before + w[f] * p[side, c]
                before += p[side, c]
            for c in range(q - 1, -1, -1):
                out[c] += after
                after += p[side, c]
        for side in range(2):
            change = _replaced(to[side], r[f, side * q : (side + 1) * q], places[side], new_T, look, worst)
            if change > worst:
                worst, where = change, f * 2 * q + side * q
    return worst, where


@njit(cache=True, error_model="numpy")
def _flood_tables(
    first: Any, second: Any, W: Any, turned: Any, r: Any, T: Any, new_T: Any, look: bool
) -> tuple[float, int]:
    """The same with tables W (F or 1, a, b), and ``turned`` (F or 1, b, a)."""
    a, b = W.shape[1:]
    worst, where = 0.0, 0
    p, p2, to, to2 = np.empty(a), np.empty(b), np.empty(a), np.empty(b)
    for f in range(first.size):
        n = f if W.shape[0] > 1 else 0
        for c in range(a):
            p[c], to[c] = T[first[f] + c] / r[f, c], 0.0
        for c in range(b):
            p2[c], to2[c] = T[second[f] + c] / r[f, a + c], 0.0
        for i in range(a):
            for j in range(b):
                to2[j] += W[n, i, j] * p[i]
        for j in range(b):
            for i in range(a):
                to[i] += turned[n, j, i] * p2[j]
        change = _replaced(to, r[f, :a], first[f], new_T, look, worst)
        if change > worst:
            worst, where = change, f * (a + b)
        change = _replaced(to2, r[f, a:], second[f], new_T, look, worst)
        if change > worst:
            worst, where = change, f * (a + b) + a
    return worst, where


class CategoryFlooding:
    """Flooding of pairs; the residual is the largest change of a logarithm, to first order, seen every fifth sweep."""

    stride = 5
    log_partition = None
    entropy = None

    def __init__(self, graph: Unrolled, potentials: Potentials, start: tuple[Array, Array] | None) -> None:
        stack = graph.stacks[0]
        kind: Any = stack.kind
        self.categories, self.states = graph.categories, kind.states
        a = kind.states[0]
        self.ends = np.ascontiguousarray(stack.variables[:, 0]), np.ascontiguousarray(stack.variables[:, a])
        logs = distinct(stack.parameters[0])
        self.tables: tuple[Array, ...] = (np.exp(logs),)
        if not isinstance(kind, PottsPair):
            W = np.exp(logs - logs.max(axis=1, keepdims=True)).reshape(-1, *kind.states)
            self.tables = (W, np.ascontiguousarray(np.swapaxes(W, 1, 2)))
        self.base = np.empty(graph.variables)
        for places in graph.categories:
            field = potentials.field[places]
            self.base[places] = np.exp(field - field.max(axis=1, keepdims=True))
        self.T, self.next = self.base.copy(), np.empty_like(self.base)
        self.r = np.ones(stack.variables.shape)
        if start is not None:
            for own in (slice(0, a), slice(a, None)):
                r = np.exp(normalised(start[0].reshape(self.r.shape)[:, own]))
                self.r[:, own] = r * r.shape[1]
            np.multiply.at(self.T, stack.variables.ravel(), self.r.ravel())

    def sweep(self, count: int) -> tuple[float, int]:
        """Send every message ``count`` times."""
        change = 0.0, 0
        flood = _flood_potts if len(self.tables) == 1 else _flood_tables
        for left in range(count, 0, -1):
            np.copyto(self.next, self.base)
            change = flood(*self.ends, *self.tables, self.r, self.T, self.next, left == 1)
            self.T, self.next = self.next, self.T
        return change

    def messages(self) -> tuple[Array, Array]:
        """Return B = log r, normalised."""
        B, a = np.log(self.r), self.states[0]
        normalise(B[:, :a])
        normalise(B[:, a:])
        return B.ravel(), np.broadcast_to(np.zeros(()), B.size)

    def moments(self) -> tuple[Array, Array]:
        """Return probabilities from the totals, and p(1 - p)."""
        p = self.T.copy()
        for places in self.categories:
            p[places] /= p[places].sum(axis=1, keepdims=True)
        return p, p * (1.0 - p)


# ---- two passes over a forest ----------------------------------------------------------------------------------------


@njit(cache=True, error_model="numpy")
def _send(logs: Any, potts: bool, a: int, b: int, side: int, law: Any, out: Any, terms: Any) -> None:
    """log Σ of a factor times the law of its argument ``side``, at the values of the other one."""
    if potts:
        log_others(law, out)
        for c in range(a):
            out[c] = log_sum_of_two(logs[0] + law[c], out[c])
        return
    n, m = (a, b) if side == 0 else (b, a)
    for c in range(m):
        for d in range(n):
            terms[d] = law[d] + (logs[d * b + c] if side == 0 else logs[c * b + d])
        out[c] = log_sum(terms[:n])


@njit(part=True, error_model="numpy")
def _cavity(total: Any, f: int, i: int, own: Any, place: Any, field: Any, incidence: Any, B: Any, slot: Any) -> Any:
    """The law of variable i without the message ``own`` of factor f: by subtraction, or the sum of the others where the
    message is -∞."""
    starts, order = incidence
    q = own.size
    law = np.empty(q)
    for c in range(q):
        law[c] = total[place[i] + c] - own[c]
        if own[c] == -math.inf:
            law[c] = field[place[i] + c]
            for p in range(starts[i], starts[i + 1]):
                e = order[p]
                if e // 2 != f:
                    law[c] += B[e // 2, slot[e % 2] + c]
    return law


@njit(cache=True, error_model="numpy")
def _two_pass(
    order: Any, ends: Any, place: Any, logs: Any, potts: bool, a: int, b: int, field: Any, incidence: Any
) -> tuple[float, Array, Array]:
    """log Z, totals and messages of sums from the leaves to the roots and back."""
    F, slot = ends.shape[0], (0, a)
    B, total = np.zeros((F, a + b)), field.copy()
    maximum = max(a, b)
    terms, law, root, log_z = np.empty(maximum), np.empty(maximum), np.ones(place.size - 1, np.bool_), 0.0
    for n in range(order.shape[0]):
        leaf, other, f = order[n]
        side, q = (0, a) if ends[f, 0] == leaf else (1, b)
        own = total[place[leaf] : place[leaf] + q]
        top = log_sum(own)
        log_z, root[leaf] = log_z + top, False
        for c in range(q):
            law[c] = own[c] - top
        out = B[f, slot[1 - side] : slot[1 - side] + (b if side == 0 else a)]
        _send(logs[f if logs.shape[0] > 1 else 0], potts, a, b, side, law[:q], out, terms)
        total[place[other] : place[other] + out.size] += out
    for i in range(root.size):
        if root[i]:
            log_z += log_sum(total[place[i] : place[i + 1]])
    for n in range(order.shape[0] - 1, -1, -1):
        leaf, other, f = order[n]
        side, q = (0, a) if ends[f, 0] == leaf else (1, b)
        inwards = B[f, slot[1 - side] : slot[1 - side] + (b if side == 0 else a)]
        other_law = _cavity(total, f, other, inwards, place, field, incidence, B, slot)
        other_law -= log_sum(other_law)
        out = B[f, slot[side] : slot[side] + q]
        _send(logs[f if logs.shape[0] > 1 else 0], potts, a, b, 1 - side, other_law, out, terms)
        total[place[leaf] : place[leaf] + q] += out
    return log_z, total, B


class CategoryTwoPass:
    """Two passes over a forest of pairs of categories."""

    stride = 1
    entropy = None

    def __init__(self, graph: Unrolled, potentials: Potentials) -> None:
        stack = graph.stacks[0]
        kind: Any = stack.kind
        self.graph, self.potentials, self.log_partition = graph, potentials, None
        first_of = np.flatnonzero(graph.is_first)
        number = np.full(graph.variables, -1, dtype=np.int32)
        number[first_of] = np.arange(first_of.size)
        self.states = kind.states
        self.ends = np.ascontiguousarray(number[stack.variables[:, [0, kind.states[0]]]])
        self.place = np.append(first_of, graph.variables)
        self.order = eliminate_pairs(self.ends, first_of.size)
        self.logs = distinct(stack.parameters[0])
        self.potts = isinstance(kind, PottsPair)
        if self.potts:
            self.logs = self.logs[:, None]

    def sweep(self, count: int) -> tuple[float, int]:
        """Send every message once."""
        value = self.potentials.value
        field = np.where(np.isnan(value) | (value > 0.0), self.potentials.field, -np.inf)
        incidence = group_by(self.ends.ravel(), self.place.size - 1)
        log_z, self.total, self.B = _two_pass(
            self.order, self.ends, self.place, self.logs, self.potts, *self.states, field, incidence
        )
        self.log_partition = log_z if math.isfinite(log_z) else None
        return 0.0, 0

    def messages(self) -> tuple[Array, Array]:
        """Return B, normalised."""
        B, a = np.nan_to_num(self.B, nan=-np.inf, neginf=-np.inf), self.states[0]
        normalise(B[:, :a])
        normalise(B[:, a:])
        return B.ravel(), np.zeros(B.size)

    def moments(self) -> tuple[Array, Array] | None:
        """Return probabilities from the totals, and p(1 - p); None where no state has a weight."""
        if self.log_partition is None:
            return None
        p = np.empty(self.graph.variables)
        for places in self.graph.categories:
            p[places] = np.exp(normalised(self.total[places]))
        return p, p * (1.0 - p)
