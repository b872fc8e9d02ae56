"""From the messages of maxima to one state: where beliefs are tied, spins are fixed one after the other.

A belief of maxima says by how much the best state with the spin up is better than the best one with the spin down. If
no belief is tied, the signs are the state. If some are, the signs of several best states would get mixed. On a forest
the state is then found from the roots outwards, each spin given those that are fixed already [Viterbi]; with loops,
one of each cluster of tied spins is fixed and the messages are sent again, until none is tied.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from factorgraph.engine.bethe import log_weights
from factorgraph.engine.cavity import beliefs, cavity_laws, totals
from factorgraph.engine.damping import Damping
from factorgraph.engine.schedules import Batch, two_pass
from factorgraph.engine.sweeps import ScheduledSweeps, repeat
from factorgraph.engine.unroll import Unrolled, Weights
from factorgraph.interface.errors import ContradictionError
from factorgraph.messages.natural import Array, Incoming

#: Beliefs that are smaller than this, relative to the messages that they are sums of, are rounding.
_ROUNDING = 1e-12
#: Sweeps after a tied spin has been fixed, and the change at which there are no more.
_SWEEPS, _TOLERANCE = 20, 1e-9


class Assignment(NamedTuple):
    """A state.

    Attributes:
        values: (N,) of all scalars; means of real ones, which are where their maximum is.
        tied: (N,) spins for which the other value is as good, as far as the messages tell.
    """

    values: Array
    tied: NDArray[np.bool_]


def most_probable(graph: Unrolled, weights: Weights, B: Array, A: Array, change: float) -> Assignment:
    """The state that messages of maxima point to, every spin ±1.

    Args:
        graph: the factors.
        weights: of the variables.
        B: messages (E,).
        A: messages (E,).
        change: how far the messages may be from their fixed point.

    Raises:
        ContradictionError: constraints that contradict each other.
        IndefiniteError: a real variable without a positive precision.
    """
    known = beliefs(graph, weights, B, A)
    values = known.mean.copy()
    free = graph.spin & np.isnan(weights.value)
    values[free] = np.where(known.H[free] >= 0.0, 1.0, -1.0)
    tied = free & _tied(graph, weights, known.H, B, change)
    if graph.is_forest:
        state = _backtrack(graph, weights, B, A, values) if tied.any() else values
    elif tied.any() or np.isneginf(log_weights(graph, weights, values)).any():
        state = _decimate(graph, weights, B, A, change)
    else:
        state = values
    values[free] = state[free]
    return Assignment(values, tied)


def _tied(graph: Unrolled, weights: Weights, H: Array, B: Array, change: float) -> NDArray[np.bool_]:
    """Which beliefs (N,) are 0, up to rounding and the change that messages have left."""
    size = np.abs(weights.field) + np.bincount(graph.ends, np.where(np.isinf(B), 0.0, np.abs(B)), graph.variables)
    return np.isfinite(H) & (np.abs(H) <= _ROUNDING * size + change * np.maximum(size, 1.0))


# ---- forests ---------------------------------------------------------------------------------------------------------


def _backtrack(graph: Unrolled, weights: Weights, B: Array, A: Array, values: Array) -> Array:
    """Values from the roots outwards: what is nearer to the root is fixed, what is farther away has told its part."""
    steps = two_pass(graph)
    assert steps is not None and graph.peeled is not None
    outwards = ~graph.peeled[1] if graph.heads is None else np.zeros(graph.edges, dtype=bool)
    roots = graph.spin & np.isnan(weights.value)
    roots[graph.ends[outwards]] = False
    fixed = replace(weights, value=weights.value.copy())
    fixed.value[roots] = values[roots]
    for step in steps:
        for batch in step:
            _fix(graph, fixed, B, A, batch, outwards)
    return fixed.value


def _fix(graph: Unrolled, fixed: Weights, B: Array, A: Array, batch: Batch, outwards: NDArray[np.bool_]) -> None:
    """Fix the spins to which the factors of a batch send outwards, one argument after the other."""
    stack = graph.stacks[batch.stack]
    arity = stack.variables.shape[1]
    for column in range(arity):
        if not stack.kind.spins[column] or batch.rows is None or batch.slots is None:
            continue
        edges = stack.offset + batch.rows * arity + column
        rows = batch.rows[batch.slots[:, column] & outwards[edges] & np.isnan(fixed.value[graph.ends[edges]])]
        if not rows.size:
            continue
        own = stack.offset + rows[:, None] * arity + np.arange(arity)
        h, g = (law.reshape(own.shape) for law in cavity_laws(graph, fixed, B, A, own.ravel()))
        sent = stack.kind.rule(tuple(p[rows] for p in stack.parameters), Incoming(h, g), maximum=True).B[:, column]
        fixed.value[stack.variables[rows, column]] = np.where(h[:, column] + sent >= 0.0, 1.0, -1.0)


# ---- loops -----------------------------------------------------------------------------------------------------------


def _decimate(graph: Unrolled, weights: Weights, B: Array, A: Array, change: float) -> Array:
    """Values found by fixing tied spins and sending the messages again.

    Where the signs that are left at the end violate a constraint, the clearest of them are fixed in the same way.
    """
    value = weights.value.copy()
    sweeps = ScheduledSweeps(
        graph,
        replace(weights, value=value),
        (B.copy(), A.copy()),
        Damping(),
        True,
        schedule="sequential",
        rng=np.random.default_rng(0),
    )
    while True:
        H = totals(graph, weights, sweeps.B, sweeps.A)[0]
        left = graph.spin & np.isnan(value)
        state = np.where(left, np.where(H >= 0.0, 1.0, -1.0), value)
        tied = left & (_tied(graph, weights, H, sweeps.B, change) | np.isnan(H))
        if not left.any() or not (tied.any() or np.isneginf(log_weights(graph, weights, _whole(state))).any()):
            return state
        if not tied.any():
            tied = left & (np.abs(H) == np.abs(H[left]).max())
        chosen = _one_each(graph, tied)
        kept = sweeps.B.copy(), sweeps.A.copy()
        for sign in (1.0, -1.0):
            value[chosen] = sign * state[chosen]
            sweeps.B, sweeps.A = kept[0].copy(), kept[1].copy()
            if _settle(sweeps):
                break


def _whole(state: Array) -> Array:
    """A state in which the reals, which do not meet spins in maxima, are anywhere."""
    return np.where(np.isnan(state), 0.0, state)


def _settle(sweeps: ScheduledSweeps) -> bool:
    """Send messages with the spins fixed so far; False if they contradict each other."""
    try:
        repeat(sweeps, limit=_SWEEPS, tolerance=_TOLERANCE)
        beliefs(sweeps.graph, sweeps.weights, sweeps.B, sweeps.A)
    except ContradictionError:
        sweeps.B[np.isnan(sweeps.B)] = 0.0
        return False
    return True


def _one_each(graph: Unrolled, marked: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The first variable of each component of the graph of marked variables: those between them are decided."""
    from scipy.sparse import coo_array  # here, because they take a tenth of a second to import
    from scipy.sparse.csgraph import connected_components

    joined = marked[graph.ends]
    factors, variables = graph.owners[joined], graph.ends[joined].astype(np.int64)
    size = graph.variables + graph.factors
    matrix = coo_array((np.ones(factors.size), (variables, graph.variables + factors)), shape=(size, size))
    where = np.flatnonzero(marked)
    first = np.unique(connected_components(matrix, directed=False)[1][where], return_index=True)[1]
    return where[first]
