"""Pairs of spins and categories of any kinds as flat arrays, for compiled sweeps.

Every variable has a place for each of its values, two for a spin (+1, -1); a message has one for each value of the
variable that it goes to. So a spin is a category of two states, and all pairs are tables or Potts couplings.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factorgraph.engine.unroll import Potentials, Stack, Unrolled
from factorgraph.factors.base import distinct
from factorgraph.factors.pairwise import SpinPair
from factorgraph.factors.parity import SpinProduct
from factorgraph.factors.potts import PottsPair
from factorgraph.factors.table import Tabulated
from factorgraph.messages.categories import normalised
from factorgraph.messages.natural import Array, spin_moments

Index = NDArray[Any]


@dataclass(frozen=True, eq=False)
class StackOfPairs:
    """F pairs of one kind.

    Attributes:
        stack: of the graph.
        values: how many values both ends have.
        ends: (F, 2) their first places.
        potts: whether ``logs`` are couplings.
        logs: (F or 1, a b) log-tables, or (F, 1) couplings.
    """

    stack: Stack
    values: tuple[int, int]
    ends: Index
    potts: bool
    logs: Array

    @classmethod
    def of(cls, stack: Stack, position: Index) -> "StackOfPairs":
        """Return what a stack is, given the first place of each scalar."""
        kind: Any = stack.kind
        a, b = kind.states or (0, 0)
        ends = position[stack.variables[:, [0, kind.widths[0]]]]
        return cls(stack, (a or 2, b or 2), ends, isinstance(kind, PottsPair), _logs(stack))

    def edge(self, n: int) -> int:
        """Return the first of the graph's edges of message n: 2 f + side."""
        width = self.stack.variables.shape[1]
        return self.stack.offset + (n >> 1) * width + (n & 1) * self.stack.kind.widths[0]

    def spread(self, B: Array) -> Array:
        """Return its messages among those of the graph (E,) as log-weights of all values, flat."""
        own = B[self.stack.edges].reshape(self.stack.variables.shape)
        columns = np.split(own, [self.stack.kind.widths[0]], axis=1)
        wide = [v if q else np.concatenate([v, -v], axis=1) for v, q in zip(columns, self._states, strict=True)]
        return np.concatenate(wide, axis=1).ravel()

    def gathered(self, logs: Array, maximum: bool) -> Array:
        """Return the reverse, normalised, and half the log-odds of spins."""
        columns = np.split(logs.reshape(len(self.ends), -1), [self.values[0]], axis=1)
        with np.errstate(invalid="ignore"):
            sent = [
                normalised(v, maximum=maximum) if q else 0.5 * (v[:, :1] - v[:, 1:])
                for v, q in zip(columns, self._states, strict=True)
            ]
        return np.concatenate(sent, axis=1).ravel()

    @property
    def _states(self) -> tuple[int, ...]:
        return self.stack.kind.states or (0, 0)


@dataclass(frozen=True, eq=False)
class Pairs:
    """All pairs of a graph, in its order.

    Attributes:
        graph: the factors.
        position: (N,) the first place of each scalar.
        stacks: the pairs.
    """

    graph: Unrolled
    position: Index
    stacks: tuple[StackOfPairs, ...]

    @classmethod
    def of(cls, graph: Unrolled) -> "Pairs | None":
        """Return the pairs of a graph; None if it has other factors, or real variables."""
        if graph.real.any() or not all(_is_pair(stack) for stack in graph.stacks):
            return None
        width = np.where(graph.spin, 2, 1)
        position = (np.cumsum(width) - width).astype(np.int32)
        return cls(graph, position, tuple(StackOfPairs.of(stack, position) for stack in graph.stacks))

    @property
    def places(self) -> int:
        """Number of places."""
        return self.graph.variables + int(self.graph.spin.sum())

    @cached_property
    def firsts(self) -> Index:
        """The first place of each variable."""
        return self.position[self.graph.is_first]

    @property
    def counts(self) -> Index:
        """How many values each variable has."""
        return np.diff(np.append(self.firsts, self.places))

    @cached_property
    def sizes(self) -> Index:
        """(F, 2) how many values the ends of each pair have."""
        return np.concatenate([np.broadcast_to(own.values, own.ends.shape) for own in self.stacks])

    @cached_property
    def at(self) -> Index:
        """(F + 1,) where the two messages of a pair begin in a row of all, one behind the other."""
        return np.concatenate([[0], np.cumsum(self.sizes.sum(axis=1))])

    @property
    def cuts(self) -> Index:
        """Where the messages of each stack but the first begin."""
        return self.at[np.cumsum([len(own.ends) for own in self.stacks])[:-1]]

    @property
    def tables(self) -> tuple[Index, NDArray[np.bool_], Array]:
        """(F,) where the log-table or the coupling of each pair begins, whether it is one, and all of them in a row."""
        begins, start = [], 0
        for own in self.stacks:
            begins.append(start + np.arange(len(own.ends)) * own.logs.shape[1] * (len(own.logs) > 1))
            start += own.logs.size
        potts = np.concatenate([np.full(len(own.ends), own.potts) for own in self.stacks])
        return np.concatenate(begins), potts, np.concatenate([own.logs.ravel() for own in self.stacks])

    def field(self, potentials: Potentials) -> Array:
        """Return log-weights of all places, -∞ for what is not observed where something is."""
        logs, spin = np.empty(self.places), self.graph.spin
        h, value, first = potentials.field, potentials.value, self.position
        free = np.isnan(value)
        logs[first] = np.where(free | (value > 0.0), h, -np.inf)
        logs[first[spin] + 1] = np.where(free | (value < 0.0), -h, -np.inf)[spin]
        return logs

    def spread(self, B: Array) -> Array:
        """Return messages (E,) of the graph as log-weights of all values, flat."""
        return np.concatenate([own.spread(B) for own in self.stacks])

    def gathered(self, logs: Array, maximum: bool = False) -> Array:
        """Return the reverse, normalised, and half the log-odds of spins."""
        parts = zip(self.stacks, np.split(logs, self.cuts), strict=True)
        return np.concatenate([own.gathered(part, maximum) for own, part in parts])

    def moments(self, logs: Array) -> tuple[Array, Array]:
        """Return means and variances (N,) from the total log-weights of all places."""
        graph = self.graph
        mean, variance = np.empty((2, graph.variables))
        up = self.position[graph.spin]
        mean[graph.spin], variance[graph.spin] = spin_moments(0.5 * (logs[up] - logs[up + 1]))
        for places in graph.categories:
            mean[places] = np.exp(normalised(logs[self.position[places]]))
            variance[places] = mean[places] * (1.0 - mean[places])
        return mean, variance


def _is_pair(stack: Stack) -> bool:
    kinds = (PottsPair, SpinPair, SpinProduct, Tabulated)
    return isinstance(stack.kind, kinds) and len(stack.kind.widths) == 2


def _logs(stack: Stack) -> Array:
    """Return couplings (F, 1) or log-tables (F, a b) of a stack; one row if all are the same."""
    kind, own = stack.kind, distinct(stack.parameters[0])
    if isinstance(kind, PottsPair):
        return stack.parameters[0][:, None]
    if not isinstance(kind, Tabulated):  # of two spins: a coupling, or a constraint
        product, J = np.array([1.0, -1.0, -1.0, 1.0]), own[:, None]
        hard = np.isinf(J)
        return np.where(hard, np.where(product == np.sign(J), 0.0, -np.inf), np.where(hard, 0.0, J) * product)
    if kind.listed is None:
        return own
    dense = np.full((len(own), int(np.prod(kind.values))), -np.inf)
    dense[:, np.ravel_multi_index(tuple(kind.configurations.T), kind.values)] = own
    return dense
