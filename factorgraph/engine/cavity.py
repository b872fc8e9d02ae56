"""From messages to cavity laws and beliefs: the rules of the variables.

Cavity parameters are sums over all edges of a variable but one. They are built from the left and from the right, never
by subtraction: nothing cancels, and infinite fields (hard constraints) need no special case; +∞ and -∞ together give
NaN, a contradiction. So does a category all of whose states are impossible.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from factorgraph.engine.unroll import Beliefs, Potentials, Unrolled
from factorgraph.interface.errors import ContradictionError, IndefiniteError
from factorgraph.messages.categories import normalised
from factorgraph.messages.natural import Array, spin_moment
from factorgraph.messages.vectors import ROUNDING, blurred, conditioned, moments, represent, smallest_eigenvalues
from factorgraph.runtime.compiled import njit


@njit(cache=True, error_model="numpy")
def _cavities(
    starts: Any,
    order: Any,
    parametric: Any,
    full_variance: Any,
    field: Any,
    precision: Any,
    B: Any,
    A: Any,
    h: Any,
    g: Any,
) -> None:
    """Fill h, g (E,) with the natural parameters of all cavity laws."""
    for i in range(field.size):
        H, G, messages = field[i], precision[i], 0.0
        for p in range(starts[i], starts[i + 1]):
            e = order[p]
            h[e], g[e] = H, G
            if not parametric[e]:
                H, G, messages = H + B[e], G + A[e], messages + A[e]
        H, G = 0.0, 0.0
        for p in range(starts[i + 1] - 1, starts[i] - 1, -1):
            e = order[p]
            h[e], g[e] = h[e] + H, g[e] + G
            if full_variance[i]:
                g[e] = precision[i] + max(messages, 0.0)
            if not parametric[e]:
                H, G = H + B[e], G + A[e]


@njit(cache=True, error_model="numpy")
def _some_cavities(
    edges: Any,
    ends: Any,
    starts: Any,
    order: Any,
    parametric: Any,
    full_variance: Any,
    field: Any,
    precision: Any,
    B: Any,
    A: Any,
) -> Any:
    """Natural parameters h, g of the cavity laws on some edges."""
    h, g = np.empty(edges.size), np.empty(edges.size)
    for n in range(edges.size):
        i = ends[edges[n]]
        h[n], messages, others = field[i], 0.0, 0.0
        for p in range(starts[i], starts[i + 1]):
            e = order[p]
            if parametric[e]:
                continue
            messages += A[e]
            if e != edges[n]:
                h[n] += B[e]
                others += A[e]
        g[n] = precision[i] + (max(messages, 0.0) if full_variance[i] else others)
    return h, g


@njit(cache=True, error_model="numpy")
def _represent(ends: Any, spin: Any, vector_of: Any, value: Any, h: Any, g: Any) -> None:
    """Natural parameters on edges to some variables, to the representation that factors see, in place; those of vectors
    stay natural."""
    for n in range(ends.size):
        i = ends[n]
        if vector_of[i] >= 0:
            continue
        if not np.isnan(value[i]):
            h[n], g[n] = (value[i] * np.inf if spin[i] else value[i]), 0.0
        elif not spin[i]:
            if g[n] == 0.0:
                g[n] = np.inf
            else:
                h[n], g[n] = h[n] / g[n], 1.0 / g[n]


@njit(cache=True, error_model="numpy")
def _totals(ends: Any, parametric: Any, full_variance: Any, field: Any, precision: Any, B: Any, A: Any) -> Any:
    H, messages = field.copy(), np.zeros(field.size)
    for e in range(ends.size):
        if not parametric[e]:
            H[ends[e]] += B[e]
            messages[ends[e]] += A[e]
    for i in range(field.size):
        messages[i] = precision[i] + (max(messages[i], 0.0) if full_variance[i] else messages[i])
    return H, messages


def totals(graph: Unrolled, potentials: Potentials, B: Array, A: Array) -> tuple[Array, Array]:
    """Return natural parameters H and G (N,) of all beliefs, without those of laws."""
    return _totals(graph.ends, graph.parametric, graph.full_variance, potentials.field, potentials.precision, B, A)


def cavity_parameters(graph: Unrolled, potentials: Potentials, B: Array, A: Array) -> tuple[Array, Array]:
    """Return natural parameters (E,) of the cavity laws on all edges."""
    h, g = np.empty(graph.edges), np.empty(graph.edges)
    _cavities(
        *graph.incidence, graph.parametric, graph.full_variance, potentials.field, potentials.precision, B, A, h, g
    )
    return h, g


def cavity_laws(
    graph: Unrolled, potentials: Potentials, B: Array, A: Array, edges: NDArray[np.intp] | None = None
) -> tuple[Array, Array]:
    """Return the cavity laws that variables send, as ``messages`` represents them, on some edges or on all.

    An edge that carries the parameters of a channel's law is sent the natural parameters instead: (B, A), or (y, ∞)
    where the output is observed.

    Raises:
        ContradictionError: hard constraints contradict each other at a variable.
    """
    starts, order = graph.incidence
    if edges is None or 4 * edges.size > graph.edges:
        h, g = cavity_parameters(graph, potentials, B, A)
        h, g = (h, g) if edges is None else (h[edges], g[edges])
    else:
        h, g = _some_cavities(
            edges,
            graph.ends,
            starts,
            order,
            graph.parametric,
            graph.full_variance,
            potentials.field,
            potentials.precision,
            B,
            A,
        )
    ends, parametric = (graph.ends, graph.parametric) if edges is None else (graph.ends[edges], graph.parametric[edges])
    check_fields(graph, ends, h)
    raw = parametric if graph.nonconjugate else None
    natural = (h[raw], g[raw]) if raw is not None else None
    laws = _law_moments(graph, potentials, B, A, ends, h, g) if graph.nonconjugate else []
    laws += _observed_vectors(graph, potentials, ends, h, g)
    laws += _category_laws(graph, potentials, ends, h)
    _represent(ends, graph.spin, graph.vector_of, potentials.value, h, g)
    for where, mean, variance in laws:
        h[where], g[where] = mean, variance
    if raw is not None and natural is not None and raw.any():
        y = potentials.value[ends[raw]]
        h[raw], g[raw] = np.where(np.isnan(y), natural[0], y), np.where(np.isnan(y), natural[1], np.inf)
    return h, g


def _law_moments(
    graph: Unrolled, potentials: Potentials, B: Array, A: Array, variables: NDArray[Any], H: Array, G: Array
) -> list[tuple[NDArray[np.intp], Array, Array]]:
    """Return positions among ``variables``, means and variances of those that are free and have a law of their own."""
    result = []
    number = np.where(np.isnan(potentials.value[variables]), graph.nonconjugate_of[variables], -1)
    for k, law in enumerate(graph.nonconjugate):
        where = np.flatnonzero(number == k)
        if where.size:
            members = np.searchsorted(law.variables, variables[where], sorter=law.sorter)
            _, mean, variance = law.evaluate(H[where], G[where], B, A, law.sorter[members])
            result.append((where, mean, variance))
    return result


def _observed_vectors(
    graph: Unrolled, potentials: Potentials, variables: NDArray[Any], h: Array, g: Array
) -> list[tuple[NDArray[np.intp], Array, Array]]:
    """Return positions among ``variables`` of the places of vectors, of dimensions of which any component is observed,
    and what is sent from there. Others send natural parameters as they are."""
    result = []
    for k, places in enumerate(graph.vectors):
        if np.isnan(potentials.value[places[..., 0]]).all():
            continue
        d = places.shape[1]
        where = np.flatnonzero(graph.vector_of[variables] == k).reshape(-1, d, d)
        given = conditioned(h[where][..., 0], g[where], potentials.value[variables[where[..., 0]]])
        result.append((where.ravel(), *represent(given)))
    return result


def _category_laws(
    graph: Unrolled, potentials: Potentials, variables: NDArray[Any], h: Array
) -> list[tuple[NDArray[np.intp], Array, Any]]:
    """Return positions among ``variables`` of all places of categories, and the log-probabilities that are sent from
    there."""
    result = []
    for k, places in enumerate(graph.categories):
        where = np.flatnonzero(graph.category_of[variables] == k).reshape(-1, places.shape[1])
        value = potentials.value[variables[where]]
        law = normalised(np.where(np.isnan(value), h[where], np.where(value > 0.0, 0.0, -np.inf)))
        if (impossible := np.isneginf(law[:, 0]) & np.isneginf(law).all(axis=1)).any():
            _contradiction(graph, int(variables[where[impossible][0, 0]]))
        result.append((where.ravel(), law.ravel(), 0.0))
    return result


def beliefs(graph: Unrolled, potentials: Potentials, B: Array, A: Array) -> Beliefs:
    """Return the moments of all variables.

    Raises:
        ContradictionError: hard constraints or observations contradict each other at a variable.
        IndefiniteError: the belief of a free real variable has no positive precision.
    """
    H, G = totals(graph, potentials, B, A)
    mean, variance = np.zeros_like(H), np.zeros_like(H)
    terms = _terms(graph, potentials, A) if graph.real.any() else np.zeros(0)
    wrong = _moments(graph.spin, graph.conjugate, potentials.value, H, G, terms, mean, variance)
    if wrong >= 0 and not graph.real[wrong]:
        _contradiction(graph, wrong)
    if wrong >= 0:
        raise indefinite(graph, wrong, 0.0 if abs(G[wrong]) <= ROUNDING * terms[wrong] else float(G[wrong]))
    if graph.nonconjugate:
        for where, m, v in _law_moments(graph, potentials, B, A, np.arange(H.size), H, G):
            mean[where], variance[where] = m, v
    magnitudes = _magnitudes(graph, B) if graph.vectors else terms
    for places in graph.vectors:
        given = conditioned(H[places][..., 0], G[places], potentials.value[places[..., 0]])
        sizes = np.where(given.free, np.diagonal(terms[places], axis1=1, axis2=2), 1.0)
        minimum = smallest_eigenvalues(given.precision, sizes)
        if not np.all(minimum > 0.0):
            raise indefinite(graph, int(places[~(minimum > 0.0)][0, 0, 0]), float(minimum[~(minimum > 0.0)][0]))
        mean[places[..., 0]], variance[places] = moments(given)
        lost = blurred(given, minimum, np.abs(potentials.field[places[..., 0]]) + magnitudes[places[..., 0]])
        if lost.any():
            raise _unresolved(graph, int(places[lost][0, 0, 0]))
    for places in graph.categories:
        mean[places] = _probabilities(graph, places, H[places], potentials.value[places])
        variance[places] = mean[places] * (1.0 - mean[places])
    return Beliefs(H, G, mean, variance)


def _probabilities(graph: Unrolled, places: NDArray[np.intp], H: Array, value: Array) -> Array:
    """Return (n, q) of the states of categories, given their total log-weights, and what is observed."""
    free = np.isnan(value)
    possible = np.where(free, H, np.where(value > 0.0, H, -np.inf))
    wrong = ~(possible > -np.inf).any(axis=1) | np.isnan(H).any(axis=1)
    if wrong.any():
        _contradiction(graph, int(places[wrong][0, 0]))
    return np.where(free, np.exp(normalised(H)), value)


def _terms(graph: Unrolled, potentials: Potentials, A: Array) -> Array:
    """Return (N,) absolute values of what total precisions are sums of, added up."""
    return np.abs(potentials.precision) + _magnitudes(graph, A)


def _magnitudes(graph: Unrolled, messages: Array) -> Array:
    """Return (N,) absolute values of all messages that are added up at a variable."""
    sizes = np.where(graph.parametric, 0.0, np.abs(messages)) if graph.nonconjugate else np.abs(messages)
    return np.bincount(graph.ends, sizes, minlength=graph.variables).astype(np.float64, copy=False)


@njit(cache=True, error_model="numpy")
def _moments(spin: Any, conjugate: Any, value: Any, H: Any, G: Any, terms: Any, mean: Any, variance: Any) -> int:
    """Fill in the moments of all variables without a law of their own; the first one that has none, or -1."""
    for i in range(H.size):
        if not np.isnan(value[i]):
            mean[i], variance[i] = value[i], 0.0
            if np.isnan(H[i]) or (spin[i] and np.isinf(H[i]) and np.sign(H[i]) != value[i]):
                return i
        elif spin[i]:
            mean[i], variance[i] = spin_moment(H[i])
            if np.isnan(H[i]):
                return i
        elif conjugate[i]:
            mean[i], variance[i] = H[i] / G[i], 1.0 / G[i]
            if not (ROUNDING * terms[i] < G[i] < np.inf and np.isfinite(H[i])):
                return i
    return -1


def check_fields(graph: Unrolled, variables: NDArray[Any], h: Array) -> None:
    """An error if a field is NaN: +∞ and -∞ met on a spin, or the messages to a real variable overflowed."""
    wrong = np.flatnonzero(np.isnan(h))
    if not wrong.size:
        return
    i = int(variables[wrong[0]])
    if not graph.real[i]:
        _contradiction(graph, i)
    raise IndefiniteError(f"messages to {graph.label(i)} must be finite, got NaN: they diverged")


def _contradiction(graph: Unrolled, i: int) -> None:
    raise ContradictionError(
        f"evidence must be consistent, got contradicting constraints on {graph.label(i)}: no state has a weight"
    )


def _unresolved(graph: Unrolled, i: int) -> IndefiniteError:
    return IndefiniteError(
        f"the law of {graph.label(i)} must not be so sharp in one direction, at this distance from 0, that its mean in "
        "another is lost by rounding: use the schedule 'two-pass' on a forest of vectors alone, wider noise, or "
        "components in which what is sharp is a single one"
    )


def indefinite(graph: Unrolled, i: int, G: float) -> IndefiniteError:
    """Return the error for variable i of total precision G, or with that smallest eigenvalue of a vector's."""
    place = " in some direction, or a trillion times less than in another" if graph.vector_of[i] >= 0 else ""
    cause = (
        f"nothing says where it is{place}: give it a prior, a precision or a factor that holds it"
        if G == 0.0
        else "the couplings are too strong for the precisions: its law has no normalisation, or the messages diverged"
    )
    return IndefiniteError(f"precision of {graph.label(i)} must be > 0, got {G:g}; {cause}")
