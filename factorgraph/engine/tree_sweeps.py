"""Compiled passes over any forest of scalars whose factors have rules in closed form: nothing there is to batch.

From the leaves inwards every variable and factor sends on the one edge that is left of it, and on the way back on all
others. Cavity parameters are added up from the left and from the right, as in ``cavity``.
"""

import math
from typing import Any

import numpy as np

from factorgraph.engine.cavity import check_fields
from factorgraph.engine.damping import largest_change
from factorgraph.engine.forest import group_by
from factorgraph.engine.sweeps import scales
from factorgraph.engine.unroll import Potentials, Unrolled
from factorgraph.factors.base import Kind
from factorgraph.factors.linear import LinearGaussian, linear_messages, mixed_messages
from factorgraph.factors.pairwise import RealPair, SpinPair, SpinRealPair, spin_real_messages
from factorgraph.factors.parity import SpinProduct, parity_messages
from factorgraph.messages.natural import Array
from factorgraph.runtime.compiled import njit

_LINEAR, _REAL_PAIR, _PARITY, _SPIN_REAL = range(4)
_RULES: dict[type[Kind], int] = {
    LinearGaussian: _LINEAR,
    RealPair: _REAL_PAIR,
    SpinPair: _PARITY,
    SpinProduct: _PARITY,
    SpinRealPair: _SPIN_REAL,
}


def tree_sweeps(
    graph: Unrolled, potentials: Potentials, start: tuple[Array, Array] | None, schedule: str, maximum: bool
) -> "TreeTwoPass | None":
    """Two passes, or None: for other schedules and kinds, vectors, and variables with laws of another form."""
    kinds = {type(stack.kind) for stack in graph.stacks}
    if (
        schedule != "two-pass"
        or graph.nonconjugate
        or graph.first_of is not None
        or not kinds
        or not kinds <= _RULES.keys()
    ):
        return None
    return TreeTwoPass(graph, potentials, start, maximum)


@njit(part=True, error_model="numpy")
def _law(h: float, g: float, spin: bool, value: float) -> tuple[float, float]:
    """Natural parameters in the representation that factors see."""
    if not math.isnan(value):
        return (value * math.inf if spin else value), 0.0
    if spin:
        return h, g
    return (h, math.inf) if g == 0.0 else (h / g, 1.0 / g)


@njit(cache=True, error_model="numpy")
def _two_pass(order: Any, inwards: Any, graph: Any, potentials: Any, factors: Any, state: Any, maximum: bool) -> int:
    """Fill in all laws and messages; the first edge whose law has no field, or -1.

    ``order`` is that in which edges are taken off, with the factor as the leaf if ``inwards``, else with the variable.
    What is left in the end is a root. Whoever sends on one edge sends on all: what it cannot know yet comes again.
    A projection also takes the law of the variable that it is sent to.
    """
    owner, ends, by_variable, around = graph
    spin, field, precision, value = potentials
    starts, rule, spins, c, target, noise, of_spin = factors
    B, A, m, v = state
    E, N, F = order.size, field.size, starts.size - 1
    leaf, wrong = np.zeros(N + F, np.bool_), -1
    scratch = np.empty((3, 1 << np.max(spins)))
    for n in range(2 * E + N + F):
        back, e = n >= E, -1
        if n < E or n >= E + N + F:
            e = order[2 * E + N + F - 1 - n if back else n]
            node = N + owner[e] if inwards[e] else ends[e]
            leaf[node] = True
        else:
            node = n - E
            if leaf[node]:
                continue
        if node < N:
            a, b = by_variable[node], by_variable[node + 1]
            if back and b - a == 1 and e >= 0:
                continue
            h, g = field[node], precision[node]
            for p in range(a, b):
                edge = around[p]
                m[edge], v[edge] = h, g
                h, g = h + B[edge], g + A[edge]
            h, g, known, is_spin = 0.0, 0.0, value[node], spin[node]
            for p in range(b - 1, a - 1, -1):
                edge = around[p]
                if math.isnan(m[edge] + h) and (back or edge == e) and wrong < 0:
                    wrong = edge
                m[edge], v[edge] = _law(m[edge] + h, v[edge] + g, is_spin, known)
                h, g = h + B[edge], g + A[edge]
            continue
        f = node - N
        a, b = starts[f], starts[f + 1]
        if back and b - a == 1 and e >= 0:
            continue
        projects = rule[f] == _SPIN_REAL or spins[f] > 0
        if projects and not back:
            i = ends[e]
            h, g = field[i], precision[i]
            for p in range(by_variable[i], by_variable[i + 1]):
                if around[p] != e:
                    h, g = h + B[around[p]], g + A[around[p]]
            m[e], v[e] = _law(h, g, spin[i], value[i])
        kept_B, kept_A = B[e], A[e]
        if rule[f] == _REAL_PAIR:
            J = target[f]
            B[a], B[a + 1], A[a], A[a + 1] = J * m[a + 1], J * m[a], -J * J * v[a + 1], -J * J * v[a]
        elif rule[f] == _PARITY:
            parity_messages(target[f], m[a:b], maximum, B[a:b])
        elif rule[f] == _SPIN_REAL:
            B[a], B[a + 1], A[a + 1] = spin_real_messages(target[f], m[a], m[a + 1], v[a + 1])
        elif spins[f] == 0:
            linear_messages(a, b, c, target[f], noise[f], m, v, of_spin, (1.0, 0.0, 0.0), B, A)
        else:
            room = scratch[:, : 1 << spins[f]]
            mixed_messages(c[a:b], target[f], noise[f], m[a:b], v[a:b], of_spin[a:b], room, B[a:b], A[a:b])
        if projects and back and e >= 0:
            B[e], A[e] = kept_B, kept_A
    return wrong


class TreeTwoPass:
    """Two passes over a forest of scalars; more of them where a factor's messages depend on all its arguments."""

    stride = 1
    log_partition = None
    entropy = None

    def __init__(
        self, graph: Unrolled, potentials: Potentials, start: tuple[Array, Array] | None, maximum: bool
    ) -> None:
        assert graph.peeled is not None
        when, inwards = graph.peeled
        self.graph, self.potentials, self.maximum = graph, potentials, maximum
        self.projects = any(stack.kind.projects for stack in graph.stacks)
        self.order = group_by(when, int(when.max(initial=0)) + 1)[1], inwards
        self.places = graph.owners, graph.ends, *graph.incidence
        self.own = graph.spin, potentials.field, potentials.precision, potentials.value
        self.factors = graph.factor_starts, *_factors(graph), graph.spin[graph.ends]
        self.B, self.A = np.zeros((2, graph.edges)) if start is None else start
        self.laws = np.zeros(graph.edges), np.zeros(graph.edges)

    def sweep(self, count: int) -> tuple[float, int]:
        """Send every message once; the largest relative change, if it is not the last one anyway."""
        old = unit = None
        if self.projects:
            old, unit = (self.B.copy(), self.A.copy()), scales(self.graph, self.potentials, self.B, self.A)
        state = self.B, self.A, *self.laws
        wrong = _two_pass(*self.order, self.places, self.own, self.factors, state, self.maximum)
        if wrong >= 0:
            check_fields(self.graph, self.graph.ends[[wrong]], np.array([np.nan]))
        if old is None or unit is None:
            return 0.0, 0
        edges = np.arange(self.graph.edges)
        return max(largest_change(a, b, edges, u) for a, b, u in zip(old, (self.B, self.A), unit, strict=True))

    def messages(self) -> tuple[Array, Array]:
        """Return all messages."""
        return self.B, self.A

    def moments(self) -> None:
        """They follow from the messages."""


def _factors(graph: Unrolled) -> tuple[Any, ...]:
    """Return rule, number of spins, coefficients (E,) of its arguments, target or coupling, and noise of each
    factor."""
    columns = []
    for stack in graph.stacks:
        F, k = stack.variables.shape
        rule = _RULES[type(stack.kind)]
        c, target, noise = stack.parameters if rule == _LINEAR else (np.zeros((F, k)), *stack.parameters, np.ones(F))
        counts = np.full(F, rule), np.full(F, sum(stack.kind.spins) if rule == _LINEAR else 0)
        columns.append((*counts, c.ravel(), target, noise))
    return tuple(np.concatenate(column) for column in zip(*columns, strict=True))
