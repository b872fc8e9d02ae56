"""Which messages are sent in which order: a sweep is a sequence of steps, whose messages are sent at the same time.

A step is a list of ``Batch``: rows of one stack, and which of their arguments get their message. Orders of single
factors become steps by ``levels``: a factor may act together with all others that do not wait for it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from factorgraph.engine.unroll import Unrolled
from factorgraph.messages.natural import Array
from factorgraph.runtime.compiled import njit

T = TypeVar("T")


class Batch(NamedTuple):
    """Factors that send at the same time.

    Attributes:
        stack: index of their stack.
        rows: (R,) which factors; None for all.
        slots: (R, k) which arguments are sent their message; None for all.
    """

    stack: int
    rows: NDArray[np.intp] | None = None
    slots: NDArray[np.bool_] | None = None


Step = list[Batch]


class Table(NamedTuple):
    """All factors in one row: those of stack s are ``first[s] .. first[s + 1] - 1``; arguments as ragged rows.

    Attributes:
        first: (stacks + 1,) number of the first factor of each stack.
        starts: (F + 1,) position of each factor's first argument.
        variables: (E,) arguments.
    """

    first: NDArray[np.int64]
    starts: NDArray[np.int64]
    variables: NDArray[np.int32]

    @classmethod
    def of(cls, graph: Unrolled) -> "Table":
        """Return the table of a graph."""
        sizes = [len(stack.variables) for stack in graph.stacks]
        return cls(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), graph.factor_starts, graph.ends)

    def steps(self, level: NDArray[Any], factors: NDArray[Any], slots: NDArray[np.bool_] | None = None) -> list[Step]:
        """Return steps in the order of ``level``, one per factor listed (repetitions allowed), with marked arguments
        (E,)."""
        stack = np.searchsorted(self.first, factors, side="right") - 1
        order = np.lexsort((factors, stack, level))
        level, stack, factors = level[order], stack[order], factors[order]
        cuts = np.flatnonzero((np.diff(level) != 0) | (np.diff(stack) != 0)) + 1
        result: list[Step] = []
        for a, b in zip([0, *cuts], [*cuts, len(factors)], strict=True):
            if a == b:
                continue
            rows, s = factors[a:b] - self.first[stack[a]], int(stack[a])
            marks = None if slots is None else self._marks(factors[a:b], slots)
            if a and level[a] == level[a - 1]:
                result[-1].append(Batch(s, rows, marks))
            else:
                result.append([Batch(s, rows, marks)])
        return result

    def _marks(self, factors: NDArray[Any], slots: NDArray[np.bool_]) -> NDArray[np.bool_]:
        arity = int(self.starts[factors[0] + 1] - self.starts[factors[0]])
        return slots[self.starts[factors][:, None] + np.arange(arity)]


@njit(cache=True)
def _conflict_levels(order: Any, starts: Any, variables: Any, size: int) -> Any:
    """Level of each factor of ``order``: one above the highest that shares a variable with it and comes before it."""
    reached, level = np.zeros(size, np.int64), np.zeros(order.size, np.int64)
    for n in range(order.size):
        f, top = order[n], 0
        for p in range(starts[f], starts[f + 1]):
            top = max(top, reached[variables[p]])
        level[n] = top
        for p in range(starts[f], starts[f + 1]):
            reached[variables[p]] = top + 1
    return level


@njit(cache=True)
def _last_arguments(starts: Any, variables: Any) -> Any:
    """(E,) True at the last variable of each factor, in the order of the graph; ``variables`` by first places."""
    last = np.zeros(variables.size, np.bool_)
    for f in range(starts.size - 1):
        best = starts[f]
        for p in range(starts[f], starts[f + 1]):
            if variables[p] > variables[best]:
                best = p
        for p in range(starts[f], starts[f + 1]):
            last[p] = variables[p] == variables[best]
    return last


@njit(cache=True)
def _forward_levels(order: Any, starts: Any, variables: Any, last: Any, size: int) -> Any:
    """Level of each factor: one above those that send forward to one of its other arguments."""
    reached, level = np.zeros(size, np.int64), np.zeros(order.size, np.int64)
    for f in order:
        top = 0
        for p in range(starts[f], starts[f + 1]):
            if not last[p]:
                top = max(top, reached[variables[p]])
        level[f] = top
        for p in range(starts[f], starts[f + 1]):
            if last[p]:
                reached[variables[p]] = max(reached[variables[p]], top + 1)
    return level


def two_pass(graph: Unrolled) -> list[Step] | None:
    """From the leaves inwards and back, each message once [Mézard-Montanari, ch. 14]; None if there are loops."""
    if graph.peeled is None:
        return None
    when, inwards = graph.peeled
    # An edge removed with its factor as the leaf carries a message inwards; all others carry theirs on the way back.
    return _edge_steps(Table.of(graph), np.where(inwards, when, 2 * when.max(initial=0) + 1 - when), graph.owners)


def _edge_steps(table: Table, level: NDArray[Any], owner: NDArray[Any]) -> list[Step]:
    """Return steps that send on every edge at its own level; a factor acts once per level at which it sends."""
    keys, inverse = np.unique(np.stack([level, owner]), axis=1, return_inverse=True)
    order = np.argsort(inverse.ravel(), kind="stable")
    steps: list[Step] = []
    stack = np.searchsorted(table.first, keys[1], side="right") - 1
    cuts = np.flatnonzero((np.diff(keys[0]) != 0) | (np.diff(stack) != 0)) + 1
    starts = np.searchsorted(inverse.ravel()[order], np.arange(keys.shape[1] + 1))
    for a, b in zip([0, *cuts], [*cuts, keys.shape[1]], strict=True):
        if a == b:
            continue
        factors, s = keys[1, a:b], int(stack[a])
        arity = int(table.starts[factors[0] + 1] - table.starts[factors[0]])
        slots = np.zeros((b - a, arity), dtype=bool)
        edges = order[starts[a] : starts[b]]
        slots[np.repeat(np.arange(b - a), np.diff(starts[a : b + 1])), edges - table.starts[owner[edges]]] = True
        batch = Batch(s, factors - table.first[s], slots)
        if a and keys[0, a] == keys[0, a - 1]:
            steps[-1].append(batch)
        else:
            steps.append([batch])
    return steps


def in_order(graph: Unrolled, table: Table, factors: NDArray[np.intp]) -> list[Step]:
    """Return some factors one after the other, together those that do not wait for each other."""
    return table.steps(_conflict_levels(factors, table.starts, table.variables, graph.variables), factors)


def flooding(graph: Unrolled, rng: np.random.Generator) -> Iterator[list[Step]]:
    """Yield all messages at the same time."""
    step = [Batch(s) for s in range(len(graph.stacks))]
    while True:
        yield [step]


def sequential(graph: Unrolled, rng: np.random.Generator) -> Iterator[list[Step]]:
    """Yield one factor after the other, in the order of the graph."""
    steps = in_order(graph, Table.of(graph), np.arange(graph.factors))
    while True:
        yield steps


def random(graph: Unrolled, rng: np.random.Generator) -> Iterator[list[Step]]:
    """Yield one factor after the other, in a new random order every sweep."""
    table = Table.of(graph)
    while True:
        yield in_order(graph, table, rng.permutation(graph.acting))


def passes(graph: Unrolled) -> tuple[list[Step], list[Step]]:
    """Forward every factor sends to the last of its variables, in the order of the graph; backward to the others."""
    table = Table.of(graph)
    element = table.variables if graph.first_of is None else graph.first_of[table.variables]
    last = _last_arguments(table.starts, element)
    order = np.argsort(np.maximum.reduceat(element, table.starts[:-1]), kind="stable")
    level = _forward_levels(order, table.starts, table.variables, last, graph.variables)
    factors = np.arange(graph.factors)
    return _sending(table.steps(level, factors, last)), _sending(table.steps(-level, factors, ~last))


def _sending(steps: list[Step]) -> list[Step]:
    """Return the steps without factors that send nothing."""
    kept = ([batch for batch in step if batch.slots is None or batch.slots.any()] for step in steps)
    return [step for step in kept if step]


def forward_backward(graph: Unrolled, rng: np.random.Generator) -> Iterator[list[Step]]:
    """Yield the two passes, over and over."""
    forward, backward = passes(graph)
    while True:
        yield forward + backward


#: Rounds of a sweep of the residual schedule, in each of which one part in so many of the factors acts.
ROUNDS = 4


def urgent(changes: Array) -> NDArray[np.intp]:
    """Return the those of the factors, in their order, whose messages would change most: one in ``ROUNDS``, if so many
    would.

    Priorities are compared within a round only, not after every message [Aksenov et al. 2020, relaxed schedules].
    """
    maximum = max(1, changes.size // ROUNDS)
    bound = np.partition(changes, changes.size - maximum)[changes.size - maximum] if maximum < changes.size else 0.0
    return np.flatnonzero(changes >= bound if bound > 0.0 else changes > 0.0)


class EdgeOrder(NamedTuple):
    """The order in which pairs of variables send, for graphs of pairs alone.

    Attributes:
        factors: (F,) the pairs in the order in which they had best lie in memory; None for that of the graph.
        edges: for each sweep the edges on which is sent, 2 n + k to argument k of the n-th pair of ``factors``.
        together: all of them are sent at the same time.
        once: after one sweep no message changes.
    """

    factors: NDArray[np.intp] | None
    edges: Iterator[NDArray[np.uint32]]
    together: bool = False
    once: bool = False

    @property
    def places(self) -> NDArray[np.intp] | None:
        """(E,) the edge of the graph that each of these is."""
        return None if self.factors is None else (2 * self.factors[:, None] + np.arange(2)).ravel()

    def edge(self, e: int) -> int:
        """Return the edge of the graph that one of these is."""
        return int(e if self.factors is None else 2 * self.factors[e >> 1] + (e & 1))


def edges_of(pairs: NDArray[np.intp]) -> NDArray[np.uint32]:
    """Return both edges of some pairs."""
    edges = np.empty((pairs.size, 2), np.uint32)
    edges[:, 0] = 2 * pairs
    edges[:, 1] = edges[:, 0] + 1
    return edges.ravel()


@dataclass
class Same(Generic[T]):
    """The same every time; unlike an iterator of the library it can be copied and sent."""

    each: T

    def __iter__(self) -> "Same[T]":
        return self

    def __next__(self) -> T:
        return self.each


@dataclass
class Shuffled:
    """The edges of all pairs in a new random order every time; it too can be copied and sent."""

    pairs: int
    rng: np.random.Generator

    def __iter__(self) -> "Shuffled":
        return self

    def __next__(self) -> NDArray[np.uint32]:
        return edges_of(self.rng.permutation(self.pairs))


def edge_order(graph: Unrolled, schedule: str, rng: np.random.Generator) -> EdgeOrder:
    """Return what a schedule of this name is on pairs; of the residual one all edges, one after the other."""
    everything = np.arange(graph.edges, dtype=np.uint32)
    if schedule in ("flooding", "residual"):
        return EdgeOrder(None, Same(everything), schedule == "flooding")
    if schedule == "random":
        return EdgeOrder(None, Shuffled(graph.factors, rng))
    starts, ends = graph.factor_starts, graph.ends
    if schedule == "sequential":  # those that do not wait for each other side by side
        level = _conflict_levels(np.arange(graph.factors), starts, ends, graph.variables)
        return EdgeOrder(np.argsort(level, kind="stable"), Same(everything))
    if schedule == "two-pass":
        assert graph.elimination is not None
        leaf, _, factors = graph.elimination.T
        inwards = 2 * np.arange(graph.factors) + (ends.reshape(-1, 2)[factors, 0] == leaf)
        return EdgeOrder(factors, Same(_product_and_adjoint(inwards)), once=True)
    last = _last_arguments(starts, ends)
    order = np.argsort(np.maximum.reduceat(ends, starts[:-1]), kind="stable")
    factors = np.argsort(_forward_levels(order, starts, ends, last, graph.variables), kind="stable")
    forward = 2 * np.arange(graph.factors) + last.reshape(-1, 2)[factors, 1]
    return EdgeOrder(factors, Same(_product_and_adjoint(forward)))


def _product_and_adjoint(edges: NDArray[np.intp]) -> NDArray[np.uint32]:
    """Return some edges, and then the others of their pairs in the reverse order."""
    return np.concatenate([edges, (edges ^ 1)[::-1]]).astype(np.uint32)


SCHEDULES: dict[str, Callable[[Unrolled, np.random.Generator], Iterator[list[Step]]]] = {
    "flooding": flooding,
    "sequential": sequential,
    "random": random,
    "forward-backward": forward_backward,
}
