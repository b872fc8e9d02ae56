"""Compiled sweeps for graphs of pairs of spins and categories: tables, Potts and Ising couplings, of any mix.

Sweeps with loops carry messages and totals as products of probabilities, r and T, and tables as W = e^{log table}: the
cavity law is T/r, the message a matrix product of it, without a transcendental function, and with positive terms only.
Two passes over a forest carry logarithms, zeros and entries of any size included.
"""

import math
from typing import Any

import numpy as np

from factorgraph.engine.damping import Damping
from factorgraph.engine.discrete_pairs import Pairs, StackOfPairs
from factorgraph.engine.forest import eliminate_pairs, group_by
from factorgraph.engine.unroll import Potentials, Unrolled
from factorgraph.factors.potts import log_others, maxima_of_others
from factorgraph.messages.categories import log_sum
from factorgraph.messages.natural import Array, log_sum_of_two
from factorgraph.runtime.compiled import njit

#: Exponents below this stay clear of overflow, products of two such factors included.
_SAFE_EXPONENT = 340.0


def category_sweeps(
    graph: Unrolled,
    potentials: Potentials,
    start: tuple[Array, Array] | None,
    schedule: str,
    damping: Damping,
    maximum: bool,
    rng: np.random.Generator,
) -> "CategorySweeps | CategoryTwoPass | None":
    """Return sweeps over pairs, or None: with other factors, reinforcement, or another schedule.

    There are no sweeps with loops for maxima, or where products might overflow or vanish: with zeros in tables, or very
    strong factors.
    """
    loopy = schedule in ("flooding", "sequential") or (schedule == "random" and len(graph.stacks) == 1)
    if damping.reinforcement or (schedule != "two-pass" and (maximum or not loopy)):
        return None
    pairs = Pairs.of(graph)
    if pairs is None:
        return None
    field = pairs.field(potentials)
    if schedule == "two-pass":
        return CategoryTwoPass(pairs, field, maximum)
    B = None if start is None else pairs.spread(start[0])
    if not _products_are_safe(pairs, field, B):
        return None
    return CategorySweeps(
        pairs, field, B, damping.damping, schedule == "flooding", rng if schedule == "random" else None
    )


# ---- sweeps ----------------------------------------------------------------------------------------------------------


def _products_are_safe(pairs: Pairs, field: Array, B: Array | None) -> bool:
    """Return whether no product can overflow or vanish: the logarithms of a total differ by at most those of all that
    it is made of."""
    heard = np.zeros(pairs.places)
    for own, sent in zip(pairs.stacks, np.split(np.zeros(pairs.at[-1]) if B is None else B, pairs.cuts), strict=True):
        size = np.abs(own.logs[:, 0]) if own.potts else _differences(own.logs)
        both = sent.reshape(len(own.ends), -1)
        for side, part in enumerate(np.split(both, [own.values[0]], axis=1)):
            with np.errstate(invalid="ignore"):
                bound = np.maximum(size, _differences(part))
            heard += np.bincount(own.ends[:, side], bound + math.log(sum(own.values)), pairs.places)
    possible = np.where(np.isneginf(field), np.nan, field)
    high = np.fmax.reduceat(possible, pairs.firsts)
    largest = float((high - np.fmin.reduceat(possible, pairs.firsts)).max())  # NaN where nothing is possible
    return float(heard.max()) + largest < _SAFE_EXPONENT


def _differences(logs: Array) -> Array:
    return logs.max(axis=1) - logs.min(axis=1)


@njit(part=True, error_model="numpy")
def _replaced(new: Any, r: Any, place: int, T: Any, together: bool, share: float, look: bool, worst: float) -> float:
    """Scale a message to a mean of 1, multiply it to the total, put it in its place; the largest relative change."""
    scale = new.size / new.sum()
    if together and share == 1.0 and not look:
        for c in range(new.size):
            value = new[c] * scale
            r[c] = value
            T[place + c] *= value
        return worst
    for c in range(new.size):
        value = new[c] * scale
        if look:
            worst = max(worst, abs(value - r[c]) / r[c])
        if share < 1.0:
            value = r[c] * math.exp(share * math.log(value / r[c]))
        T[place + c] *= value if together else value / r[c]
        r[c] = value
    return worst


@njit(cache=True, error_model="numpy")
def _send_potts(
    order: Any, first: Any, second: Any, w: Any, r: Any, T: Any, new_T: Any, together: bool, share: float, look: bool
) -> tuple[float, int]:
    """Send both messages of pairs with Potts couplings, at the same time or one after the other in place.

    With the share that damping lets through. If asked, the largest relative change without damping, and where: 2 f, or
    2 f + 1.
    """
    q, worst, where = r.shape[1] // 2, 0.0, 0
    p, to = np.empty((2, q)), np.empty((2, q))
    for f in order:
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
            own = r[f, side * q : (side + 1) * q]
            change = _replaced(to[side], own, places[side], new_T, together, share, look, worst)
            if change > worst:
                worst, where = change, 2 * f + side
    return worst, where


@njit(cache=True, error_model="numpy")
def _send_tables(
    order: Any,
    first: Any,
    second: Any,
    W: Any,
    turned: Any,
    r: Any,
    T: Any,
    new_T: Any,
    together: bool,
    share: float,
    look: bool,
) -> tuple[float, int]:
    """The same with tables W (F or 1, a, b), and ``turned`` (F or 1, b, a)."""
    a, b = W.shape[1:]
    worst, where = 0.0, 0
    p, p2, to, to2 = np.empty(a), np.empty(b), np.empty(a), np.empty(b)
    for f in order:
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
        change = _replaced(to, r[f, :a], first[f], new_T, together, share, look, worst)
        if change > worst:
            worst, where = change, 2 * f
        change = _replaced(to2, r[f, a:], second[f], new_T, together, share, look, worst)
        if change > worst:
            worst, where = change, 2 * f + 1
    return worst, where


@njit(cache=True, error_model="numpy")
def _multiply(first: Any, second: Any, r: Any, a: int, T: Any) -> None:
    """Multiply the messages (F, a + b) of one stack to the totals."""
    for f in range(first.size):
        for c in range(a):
            T[first[f] + c] *= r[f, c]
        for c in range(r.shape[1] - a):
            T[second[f] + c] *= r[f, a + c]


class _Part:
    """One stack of pairs: its ends and tables, and its messages, a view of all."""

    def __init__(self, own: StackOfPairs, r: Array) -> None:
        (self.a, b), F = own.values, len(own.ends)
        self.first, self.second = (np.ascontiguousarray(column) for column in own.ends.T)
        self.r, self.everything = r.reshape(F, self.a + b), np.arange(F)
        self.tables: tuple[Array, ...] = (np.exp(own.logs[:, 0]),)
        if not own.potts:
            W = np.exp(own.logs - own.logs.max(axis=1, keepdims=True)).reshape(-1, self.a, b)
            self.tables = W, np.ascontiguousarray(np.swapaxes(W, 1, 2))

    def send(self, order: Any, *how: Any) -> tuple[float, int]:
        """Send some pairs' messages; see ``_send_potts``."""
        function = _send_potts if len(self.tables) == 1 else _send_tables
        order = self.everything if order is None else order
        return function(order, self.first, self.second, *self.tables, self.r, *how)

    def multiply(self, T: Array) -> None:
        """Multiply all messages to the totals."""
        _multiply(self.first, self.second, self.r, self.a, T)


class CategorySweeps:
    """Sweeps over pairs in a given order; the residual is the largest change of a logarithm, to first order, seen every
    fifth sweep.

    Args:
        pairs: of the graph.
        field: log-weights of all places.
        start: messages as logarithms, flat; None for silence.
        damping: share of the old logarithm in the new one.
        together: all are sent at the same time, else one after the other.
        rng: generator of a new random order in every sweep; None for the order of the graph.
    """

    stride = 5
    log_partition = None
    entropy = None

    def __init__(
        self,
        pairs: Pairs,
        field: Array,
        start: Array | None,
        damping: float,
        together: bool,
        rng: np.random.Generator | None,
    ) -> None:
        self.pairs, self.together, self.share, self.rng = pairs, together, 1.0 - damping, rng
        # Own weights relative to the largest of each variable.
        self.base = np.exp(field - np.repeat(np.maximum.reduceat(field, pairs.firsts), pairs.counts))
        self.r = np.ones(pairs.at[-1]) if start is None else np.exp(start)
        cuts = zip(pairs.stacks, np.split(self.r, pairs.cuts), strict=True)
        self.parts = [_Part(own, r) for own, r in cuts]
        self.T, self.next = self._total(), np.empty_like(self.base)

    def _total(self) -> Array:
        T = self.base.copy()
        for part in self.parts:
            part.multiply(T)
        return T

    def sweep(self, count: int) -> tuple[float, int]:
        """Send every message ``count`` times."""
        worst = 0.0, 0
        for left in range(count, 0, -1):
            new = self.T
            if self.together:
                new = self.next
                np.copyto(new, self.base)
            order = None if self.rng is None else self.rng.permutation(len(self.parts[0].first))
            worst = self._send(order, new, left == 1)
            if self.together:
                self.T, self.next = new, self.T
        if not self.together:
            self.T = self._total()  # step by step they collect what was rounded
        return worst

    def _send(self, order: Any, new_T: Array, look: bool) -> tuple[float, int]:
        worst, where = 0.0, 0
        for own, part in zip(self.pairs.stacks, self.parts, strict=True):
            change, n = part.send(order, self.T, new_T, self.together, self.share, look)
            if change > worst:
                worst, where = change, own.edge(n)
        return worst, where

    def messages(self) -> tuple[Array, Array]:
        """Return B = log r, normalised, or half the log-odds of a spin."""
        B = self.pairs.gathered(np.log(self.r))
        return B, np.broadcast_to(np.zeros(()), B.size)

    def moments(self) -> tuple[Array, Array]:
        """Return them from the totals."""
        with np.errstate(divide="ignore"):
            return self.pairs.moments(np.log(self.T))


# ---- two passes over a forest ----------------------------------------------------------------------------------------


@njit(cache=True, error_model="numpy")
def _message(logs: Any, potts: bool, a: int, b: int, side: int, law: Any, out: Any, terms: Any, maximum: bool) -> None:
    """log Σ of a factor times the law of its argument ``side``, at the values of the other one; or the maximum."""
    if potts:
        if maximum:
            maxima_of_others(law, out)
        else:
            log_others(law, out)
        for c in range(a):
            own = logs[0] + law[c]
            out[c] = max(own, out[c]) if maximum else log_sum_of_two(own, out[c])
        return
    n, m = (a, b) if side == 0 else (b, a)
    for c in range(m):
        for d in range(n):
            terms[d] = law[d] + (logs[d * b + c] if side == 0 else logs[c * b + d])
        out[c] = np.max(terms[:n]) if maximum else log_sum(terms[:n])


@njit(part=True, error_model="numpy")
def _cavity(
    total: Any, f: int, node: int, place: int, own: Any, field: Any, incidence: Any, B: Any, at: Any, sizes: Any
) -> Any:
    """The law of a variable without the message ``own`` of factor f: by subtraction, or the sum of the others where the
    message is -∞."""
    starts, order = incidence
    law = np.empty(own.size)
    for c in range(own.size):
        law[c] = total[place + c] - own[c]
        if own[c] == -math.inf:
            law[c] = field[place + c]
            for p in range(starts[node], starts[node + 1]):
                g, side = order[p] // 2, order[p] % 2
                if g != f:
                    law[c] += B[at[g] + side * sizes[g, 0] + c]
    return law


@njit(cache=True, error_model="numpy")
def _two_pass(
    order: Any, nodes: Any, place: Any, pairs: Any, field: Any, incidence: Any, maximum: bool
) -> tuple[float, Array, Array]:
    """log Z, totals and messages from the leaves to the roots and back."""
    sizes, at, table, potts, logs = pairs
    B, total = np.zeros(at[-1]), field.copy()
    terms, root, log_z = np.empty(np.max(sizes)), np.ones(place.size - 1, np.bool_), 0.0
    for n in range(2 * order.shape[0]):
        back = n >= order.shape[0]
        leaf, other, f = order[2 * order.shape[0] - 1 - n if back else n]
        a, b = sizes[f, 0], sizes[f, 1]
        side = 0 if nodes[f, 0] == leaf else 1
        # From the leaf inwards, and from the other end back.
        sender = 1 - side if back else side
        node, receiver = (other, leaf) if back else (leaf, other)
        mine, theirs = (slice(at[f], at[f] + a), slice(at[f] + a, at[f + 1]))
        if sender == 1:
            mine, theirs = theirs, mine
        if back:
            law = _cavity(total, f, node, place[node], B[mine], field, incidence, B, at, sizes)
        else:
            law = total[place[node] : place[node + 1]].copy()
        top = np.max(law) if maximum else log_sum(law)
        law -= top
        if not back:
            log_z, root[leaf] = log_z + top, False
        out = B[theirs]
        _message(logs[table[f] :], potts[f], a, b, sender, law, out, terms, maximum)
        total[place[receiver] : place[receiver + 1]] += out
    for i in range(root.size):
        if root[i]:
            # What came back to a root is what it had: nothing did.
            own = total[place[i] : place[i + 1]]
            log_z += np.max(own) if maximum else log_sum(own)
    return log_z, total, B


class CategoryTwoPass:
    """Two passes over a forest of pairs, for sums or maxima."""

    stride = 1
    entropy = None

    def __init__(self, pairs: Pairs, field: Array, maximum: bool) -> None:
        self.pairs, self.field, self.maximum, self.log_partition = pairs, field, maximum, None
        ends = np.concatenate([own.ends for own in pairs.stacks])
        self.nodes = np.searchsorted(pairs.firsts, ends).astype(np.int32)
        self.place = np.append(pairs.firsts, pairs.places)
        self.order = eliminate_pairs(self.nodes, pairs.firsts.size)
        self.base = float(pairs.graph.own.base.sum())

    def sweep(self, count: int) -> tuple[float, int]:
        """Send every message once."""
        pairs, incidence = self.pairs, group_by(self.nodes.ravel(), self.place.size - 1)
        arrays = pairs.sizes, pairs.at, *pairs.tables
        log_z, self.total, self.B = _two_pass(
            self.order, self.nodes, self.place, arrays, self.field, incidence, self.maximum
        )
        self.log_partition = log_z + self.base if math.isfinite(log_z) and not self.maximum else None
        return 0.0, 0

    def messages(self) -> tuple[Array, Array]:
        """Return B, normalised."""
        B = self.pairs.gathered(np.nan_to_num(self.B, nan=-np.inf, neginf=-np.inf), self.maximum)
        return B, np.zeros(B.size)

    def moments(self) -> tuple[Array, Array] | None:
        """Return them from the totals; None where no state has a weight, and for maxima."""
        return None if self.log_partition is None else self.pairs.moments(self.total)
