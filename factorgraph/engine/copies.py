"""Copies of a graph side by side with potentials and messages of one run: what differs between them settles at once."""

from typing import NamedTuple

import numpy as np

from factorgraph.engine.damping import Damping
from factorgraph.engine.sweeps import ScheduledSweeps
from factorgraph.engine.unroll import Own, Potentials, Unrolled, tile
from factorgraph.messages.natural import Array

#: Sweeps until the messages have settled, at most, and the change at which there are no more.
_SWEEPS, _TOLERANCE = 100, 1e-9


class Copies(NamedTuple):
    """A run on copies of its graph.

    Attributes:
        graph: the copies.
        potentials: of all their variables.
        messages: B and A (E,), in the order of the edges of the copies, which lie side by side in each stack.
    """

    graph: Unrolled
    potentials: Potentials
    messages: tuple[Array, Array]


def side_by_side(graph: Unrolled, potentials: Potentials, messages: tuple[Array, Array], count: int) -> Copies:
    """Return a run on so many copies of its graph."""
    own = Own(*(np.tile(values, count) for values in potentials.own))
    field, precision, value = (np.tile(v, count) for v in (potentials.field, potentials.precision, potentials.value))
    parts = [stack.edges for stack in graph.stacks]
    B, A = (np.concatenate([np.empty(0), *(np.tile(values[part], count) for part in parts)]) for values in messages)
    return Copies(tile(graph, count), Potentials(field, precision, value, own), (B, A))


def settled(
    graph: Unrolled,
    potentials: Potentials,
    messages: tuple[Array, Array],
    schedule: str,
    *,
    sweeps: int = _SWEEPS,
    tolerance: float = _TOLERANCE,
) -> tuple[Array, Array]:
    """Return the messages given what has changed."""
    start = messages[0].copy(), messages[1].copy()
    running = ScheduledSweeps(
        graph, potentials, start, Damping(), False, schedule=schedule, rng=np.random.default_rng(0)
    )
    with np.errstate(all="ignore"):
        for _ in range(sweeps):
            if running.sweep(1)[0] <= tolerance:
                break
    return running.messages()
