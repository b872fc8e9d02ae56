"""From the messages of maxima to one state: where beliefs are tied, spins are fixed one after the other.

A belief of maxima says by how much the best state with the spin up is better than the best one with the spin down, or
of each state of a category, how much the best joint state with it weighs. If no belief is tied, where they lean is the
state. If some are, several best states would get mixed. On a forest the state is then found from the roots outwards,
each variable given those that are fixed already; with loops, one of each cluster of tied variables is fixed and the
messages are sent again, until none is tied.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from factorgraph.engine.bethe import log_potentials
from factorgraph.engine.cavity import beliefs, totals
from factorgraph.engine.damping import Damping
from factorgraph.engine.outwards import from_the_roots
from factorgraph.engine.sweeps import ScheduledSweeps, repeat
from factorgraph.engine.unroll import Beliefs, Potentials, Unrolled
from factorgraph.interface.errors import ContradictionError
from factorgraph.messages.categories import indicators, state_of
from factorgraph.messages.natural import Array

#: Beliefs that are smaller than this, relative to the messages that they are sums of, are rounding.
_ROUNDING = 1e-12
#: Sweeps after a tied spin has been fixed, and the change at which there are no more.
_SWEEPS, _TOLERANCE = 20, 1e-9


class Assignment(NamedTuple):
    """A state.

    Attributes:
        values: (N,) of all scalars; means of real ones, which are where their maximum is.
        tied: (N,) spins, and all places of categories, for which another value is as good, as far as messages tell.
    """

    values: Array
    tied: NDArray[np.bool_]


def most_probable(graph: Unrolled, potentials: Potentials, B: Array, A: Array, change: float) -> Assignment:
    """Return the state that messages of maxima point to, every spin ±1, every category in one of its states.

    Args:
        graph: the factors.
        potentials: of the variables.
        B: messages (E,).
        A: messages (E,).
        change: how far the messages may be from their fixed point.

    Raises:
        ContradictionError: constraints that contradict each other.
        IndefiniteError: a real variable without a positive precision.
    """
    known = beliefs(graph, potentials, B, A)
    values, free = leaning(graph, potentials, known), ~graph.real & np.isnan(potentials.value)
    tied = free & _tied(graph, potentials, known.H, B, change)
    if graph.is_forest:
        state = from_the_roots(graph, potentials, B, A, best, maximum=True) if tied.any() else values
    elif tied.any() or np.isneginf(log_potentials(graph, potentials, values)).any():
        state = _decimate(graph, potentials, B, A, change)
    else:
        state = values
    values[free] = state[free]
    return Assignment(values, tied)


def leaning(graph: Unrolled, potentials: Potentials, known: Beliefs) -> Array:
    """Return (N,) the likelier value of every spin, the likeliest state of every category, what is observed, other
    means."""
    every = np.arange(graph.variables)
    return np.where(graph.real | ~np.isnan(potentials.value), known.mean, best(graph, every, known.H, known.G))


def best(graph: Unrolled, places: NDArray[Any], H: Array, G: Array) -> Array:
    """Where laws of natural parameters H (n,) at whole variables are largest; NaN for real ones: see ``Pick``."""
    values = np.where(graph.spin[places], np.where(H >= 0.0, 1.0, -1.0), np.nan)
    for rows, q in category_rows(graph, places):
        values[rows] = indicators(state_of(H[rows]), q)
    return values


def category_rows(graph: Unrolled, places: NDArray[Any]) -> list[tuple[NDArray[np.intp], int]]:
    """For each number q of states where in an array of places those of its categories are, (m, q); and q."""
    kinds = graph.category_of[places]
    sizes = [own.shape[1] for own in graph.categories]
    return [(np.flatnonzero(kinds == k).reshape(-1, q), q) for k, q in enumerate(sizes)]


def margins(graph: Unrolled, H: Array) -> Array:
    """Return (N,) by how much the best value of a spin or category is better than the next, in halves of logarithms."""
    margin = np.abs(H)
    for places in graph.categories:
        first, second = np.sort(H[places], axis=1).T[[-1, -2]]
        with np.errstate(invalid="ignore"):  # nothing is possible: NaN
            margin[places] = 0.5 * (first - second)[:, None]
    return margin


def _tied(graph: Unrolled, potentials: Potentials, H: Array, B: Array, change: float) -> NDArray[np.bool_]:
    """Return which beliefs (N,) have two best values, up to rounding and the change that messages have left."""
    size = _finite_size(potentials.field) + np.bincount(graph.ends, _finite_size(B), graph.variables)
    for places in graph.categories:
        size[places] = size[places].max(axis=1, keepdims=True)
    margin = margins(graph, H)
    return np.isfinite(margin) & (margin <= _ROUNDING * size + change * np.maximum(size, 1.0))


def _finite_size(values: Array) -> Array:
    return np.where(np.isinf(values), 0.0, np.abs(values))


# ---- loops -----------------------------------------------------------------------------------------------------------


def _decimate(graph: Unrolled, potentials: Potentials, B: Array, A: Array, change: float) -> Array:
    """Return values found by fixing tied variables and sending the messages again.

    Where what is left at the end violates a constraint, the clearest of it is fixed in the same way.
    """
    value = potentials.value.copy()
    sweeps = ScheduledSweeps(
        graph,
        replace(potentials, value=value),
        (B.copy(), A.copy()),
        Damping(),
        True,
        schedule="sequential",
        rng=np.random.default_rng(0),
    )
    while True:
        H = totals(graph, potentials, sweeps.B, sweeps.A)[0]
        left, margin = ~graph.real & np.isnan(value), margins(graph, H)
        state = np.where(left, best(graph, np.arange(graph.variables), H, H), value)
        tied = left & (_tied(graph, potentials, H, sweeps.B, change) | np.isnan(margin))
        if not left.any() or not (tied.any() or np.isneginf(log_potentials(graph, potentials, _whole(state))).any()):
            return state
        if not tied.any():
            tied = left & (margin == margin[left].max())
        chosen = _places(graph, _one_each(graph, tied))
        kept = sweeps.B.copy(), sweeps.A.copy()
        for values in (state[chosen], _next_best(graph, chosen, H[chosen])):
            value[chosen] = values
            sweeps.B, sweeps.A = kept[0].copy(), kept[1].copy()
            if _settle(sweeps):
                break


def _places(graph: Unrolled, variables: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return all places of the variables of which one is given."""
    if graph.first_of is None:
        return variables
    marked = np.zeros(graph.variables, dtype=bool)
    marked[graph.first_of[variables]] = True
    return np.flatnonzero(marked[graph.first_of])


def _next_best(graph: Unrolled, places: NDArray[np.intp], H: Array) -> Array:
    """Return the other value of spins, the second best state of categories."""
    H = -H
    for rows, _ in category_rows(graph, places):
        H[rows] = -H[rows]
        H[rows[np.arange(len(rows)), state_of(H[rows])]] = -np.inf
    return best(graph, places, H, H)


def _whole(state: Array) -> Array:
    """Return a state in which the reals, which do not meet spins in maxima, are anywhere."""
    return np.where(np.isnan(state), 0.0, state)


def _settle(sweeps: ScheduledSweeps) -> bool:
    """Send messages with the spins fixed so far; False if they contradict each other."""
    try:
        repeat(sweeps, limit=_SWEEPS, tolerance=_TOLERANCE)
        beliefs(sweeps.graph, sweeps.potentials, sweeps.B, sweeps.A)
    except ContradictionError:
        sweeps.B[np.isnan(sweeps.B)] = 0.0
        return False
    return True


def _one_each(graph: Unrolled, marked: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the first variable of each component of the graph of marked variables: those between them are decided."""
    from scipy.sparse import coo_array  # here, because they take a tenth of a second to import
    from scipy.sparse.csgraph import connected_components

    joined = marked[graph.ends]
    factors, variables = graph.owners[joined], graph.ends[joined].astype(np.int64)
    size = graph.variables + graph.factors
    matrix = coo_array((np.ones(factors.size), (variables, graph.variables + factors)), shape=(size, size))
    where = np.flatnonzero(marked)
    first = np.unique(connected_components(matrix, directed=False)[1][where], return_index=True)[1]
    return where[first]
