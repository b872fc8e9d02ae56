"""Messages that depend on no others: those of factors of one argument, sent once and for all before the first sweep."""

import numpy as np
from numpy.typing import NDArray

from factorgraph.engine.sweeps import Sweeps
from factorgraph.engine.unroll import Potentials, Stack, Unrolled
from factorgraph.messages.natural import Array, Incoming, Outgoing


def constant_messages(graph: Unrolled, maximum: bool) -> list[tuple[Stack, Outgoing]]:
    """Return the constant messages, with their stacks."""
    sent = []
    for stack in graph.stacks:
        if stack.constant:
            shape = stack.variables.shape
            given = Incoming(np.zeros(shape), np.ones(shape))
            sent.append((stack, stack.kind.rule(stack.parameters, given, maximum=maximum)))
    return sent


def first_messages(graph: Unrolled, start: tuple[Array, Array] | None, maximum: bool) -> tuple[Array, Array]:
    """Return the messages before the first sweep, those of an earlier run or silence, with the constant ones."""
    if start is not None:
        B, A = start
    else:
        B = np.zeros(graph.edges)
        A = (
            graph.parametric.astype(np.float64) if graph.nonconjugate else np.zeros(graph.edges)
        )  # a law begins with V = 1
    _fill(B, A, constant_messages(graph, maximum))
    return B, A


def _fill(B: Array, A: Array, sent: list[tuple[Stack, Outgoing]]) -> None:
    for stack, new in sent:
        B[stack.edges] = new.B.ravel()
        if new.A is not None:
            A[stack.edges] = new.A.ravel()


def changing_edges(graph: Unrolled) -> NDArray[np.intp]:
    """Return the edges of stacks whose messages are not constant, in their order."""
    own = [np.arange(stack.edges.start, stack.edges.stop) for stack in graph.stacks if not stack.constant]
    return np.concatenate([np.empty(0, np.intp), *own])


def add_constants(graph: Unrolled, potentials: Potentials, sent: list[tuple[Stack, Outgoing]]) -> Potentials | None:
    """Return the variables' own weights with the messages in them; a certain spin becomes an observed one.

    None where certainties contradict each other.
    """
    field, precision, value = potentials.field.copy(), potentials.precision.copy(), potentials.value.copy()
    for stack, new in sent:
        np.add.at(field, stack.variables.ravel(), new.B.ravel())  # -∞ for states of categories
        if new.A is not None:
            np.add.at(precision, stack.variables.ravel(), new.A.ravel())
    certain = np.isinf(field) & graph.spin
    if np.isnan(field).any() or np.any(~np.isnan(value[certain]) & (value[certain] != np.sign(field[certain]))):
        return None
    value[certain], field[certain] = np.sign(field[certain]), potentials.field[certain]
    return Potentials(field, precision, value, potentials.own)


class WithConstants:
    """Sweeps over the stacks that send other messages, beside constant ones."""

    log_partition = None
    entropy = None

    def __init__(self, sweeps: Sweeps, graph: Unrolled, sent: list[tuple[Stack, Outgoing]]) -> None:
        self.sweeps, self.edges, self.sent, self.changing = sweeps, graph.edges, sent, changing_edges(graph)

    @property
    def stride(self) -> int:
        """That of the sweeps."""
        return self.sweeps.stride

    def sweep(self, count: int) -> tuple[float, int]:
        """Send every other message ``count`` times."""
        change, edge = self.sweeps.sweep(count)
        return change, int(self.changing[edge])

    def messages(self) -> tuple[Array, Array]:
        """Return all messages."""
        B, A = np.zeros((2, self.edges))
        B[self.changing], A[self.changing] = self.sweeps.messages()
        _fill(B, A, self.sent)
        return B, A

    def moments(self) -> tuple[Array, Array] | None:
        """Return the those of the sweeps."""
        return self.sweeps.moments()
