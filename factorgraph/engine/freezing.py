"""Factors whose messages are held: what the others see of them is a weight of their variables."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from factorgraph.engine.constants import add_constants
from factorgraph.engine.unroll import Potentials, Stack, Unrolled
from factorgraph.factors.base import chosen
from factorgraph.interface.arguments import check_instance, shown
from factorgraph.interface.errors import ContradictionError
from factorgraph.messages.natural import Array, Outgoing


class Moving(NamedTuple):
    """The factors that are not held.

    Attributes:
        graph: with these alone.
        potentials: of the variables, with the messages of the held ones.
        edges: (E,) which edges they are of the whole graph.
    """

    graph: Unrolled
    potentials: Potentials
    edges: NDArray[np.intp]

    def completed(self, messages: tuple[Array, Array], held: tuple[Array, Array] | None) -> tuple[Array, Array]:
        """Return all messages, those that moved among the ones that were held."""
        if held is None:
            return messages
        B, A = held[0].copy(), held[1].copy()
        B[self.edges], A[self.edges] = messages
        return B, A


def held_rows(graph: Unrolled, frozen: Sequence[Any]) -> list[NDArray[np.bool_]]:
    """Return which rows (F,) of each stack are of the factors in ``frozen``.

    Raises:
        ValueError: not factors of this model, or sums over many arguments and factors below a channel, whose messages
            are no weights.
    """
    check_instance("frozen", frozen, (tuple, list), "a sequence of factors of the model")
    factors = graph.layout.model.factors
    numbers = {number for number, own in enumerate(factors) if any(own is factor for factor in frozen)}
    if unknown := [f for f in frozen if not any(f is own for own in factors)]:
        raise ValueError(f"`frozen` must be factors of this model, got {shown(unknown[0])}")
    found = []
    for stack in graph.stacks:
        held = np.zeros(len(stack.variables), dtype=bool)
        for number, rows in stack.origins:
            held[rows] |= number in numbers
        if held.any() and (stack.kind.full_variance or stack.kind.law_slot is not None):
            raise ValueError(f"`frozen` must be factors whose messages are weights of variables, got {stack.kind.name}")
        found.append(held)
    return found


def without_held(
    graph: Unrolled, potentials: Potentials, messages: tuple[Array, Array], held: list[NDArray[np.bool_]]
) -> Moving:
    """Return the factors that are not held, given the messages (E,) of those that are.

    Raises:
        ContradictionError: held messages that contradict each other.
    """
    sent, edges = [], []
    for stack, rows in zip(graph.stacks, held, strict=True):
        own = np.flatnonzero(rows)
        B, A = (values[stack.edges].reshape(stack.variables.shape)[own] for values in messages)
        part = Stack(stack.kind, stack.variables[own], chosen(stack.parameters, own), 0, ())
        sent.append((part, Outgoing(B, A)))
        edges.append(stack.offset + np.flatnonzero(np.repeat(~rows, stack.variables.shape[1])))
    known = add_constants(graph, potentials, sent)
    if known is None:
        raise ContradictionError("evidence must be consistent, got frozen messages that contradict each other")
    moving = graph.on([np.flatnonzero(~rows) for rows in held])
    return Moving(moving, known, np.concatenate([np.empty(0, np.intp), *edges]))
