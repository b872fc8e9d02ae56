"""Ground truth: enumeration of discrete variables, dense Gaussian algebra, elimination along a tree decomposition.

Nothing here uses a message rule: factors enter through ``log_factor``, or as quadratic forms where they are on free
real variables.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr, logsumexp

from factorgraph.engine.bethe import TOO_LARGE, log_potentials
from factorgraph.engine.inputs import data_sizes, potentials_of, values_of
from factorgraph.engine.joint import Joint, compensated
from factorgraph.engine.laws import joint_law, marginal, named_values
from factorgraph.engine.unroll import Potentials, Stack, Unrolled, unroll
from factorgraph.factors.joints import components
from factorgraph.factors.switch import Switched
from factorgraph.interface.arguments import shown
from factorgraph.interface.brief import briefly
from factorgraph.interface.errors import ContradictionError, ModelError
from factorgraph.messages.categories import normalised
from factorgraph.messages.natural import Array, spin_moments
from factorgraph.model.description import Factor, Model
from factorgraph.model.graph import Graph, model_of

#: Numbers that may be held or operations that may be done: less than a gigabyte, and some ten seconds.
_MAX_NUMBERS = 2**25
_MAX_OPERATIONS = 5e10
#: Operations for a term of a state in an enumeration, for an element of a table in an elimination, and for what every
#: factor and variable takes in Python before there is a table.
_TERM_OPERATIONS, _TABLE_OPERATIONS, _MIN_OPERATIONS = 50.0, 50.0, 1e4


class TooLargeError(ValueError):
    """A model whose exact solution would cost too much; the message says how much."""


@briefly
@dataclass(frozen=True)
class Exact:
    """The exact solution of a model.

    Attributes:
        log_partition: log Z.
        method: how it was found.
        graph: the unrolled model.
        mean: (N,) of all scalars; probabilities of the states in the places of categories.
        variance: (N,) of all scalars; covariance matrices in the places of vectors.
        entropy: of the joint law; differential for real variables.
        potentials: fields, precisions and observations.
    """

    log_partition: float
    method: str
    graph: Unrolled
    mean: Array
    variance: Array
    entropy: float
    potentials: Potentials
    _later: "_Later" = field(repr=False, compare=False)

    def __getitem__(self, name: str) -> Any:
        """Moments of a variable by its name, or the law of a category; raises ``KeyError`` if there is none."""
        return marginal(self.graph.layout, name, self.mean, self.variance)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy is made of: without what is found later, which is solved for again there."""
        return {name: value for name, value in vars(self).items() if name != "_later"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        solve = partial(_solved, self.graph, self.potentials)
        vars(self)["_later"] = _Later(lambda: solve()._later.best(), lambda places: solve()._later.covariance(places))

    def covariance(self, name: str) -> Array:
        """Return covariance matrices (..., d, d) of a variable of vectors; raise ``KeyError`` if there is none."""
        return self.graph.layout.vector_matrices(name, self.variance)

    @cached_property
    def best(self) -> "Best":
        """The state of the largest weight."""
        values = self._later.best()
        log_weight = float(log_potentials(self.graph, self.potentials, values)[0])
        return Best(named_values(self.graph.layout, values), log_weight)

    def pairs(self, factor: Factor) -> Any:
        """Return joint laws of the arguments of each factor of a group, as ``Result.pairs`` does.

        Every configuration of discrete arguments is solved for: a large group takes long.

        Raises:
            ValueError: not a factor of this model.
            TooLargeError: too many configurations.
        """
        model = self.graph.layout.model
        numbers = [number for number, other in enumerate(model.factors) if other is factor]
        shape = getattr(factor, "shape", (-1,))
        for stack in self.graph.stacks:
            for number, rows in stack.origins:
                if numbers and number == numbers[0]:
                    laws = [_joint_law(self, stack, row) for row in range(rows.start, rows.stop)]
                    joined = [np.reshape(v, (*shape, *np.shape(v[0]))) for v in zip(*laws, strict=True)]
                    return joint_law(*joined, axes=len(shape))
        raise ValueError(f"`factor` must be a group of this model, got {shown(factor)}")


class _Later(NamedTuple):
    """What is found when it is asked for.

    Attributes:
        best: the state (N,) of the largest weight.
        covariance: from places (n,) of real scalars their covariances (n, n).
    """

    best: Callable[[], Array]
    covariance: Callable[[NDArray[Any]], Array]


class Best(NamedTuple):
    """The most probable state.

    Attributes:
        values: by name: ±1 of spins, states of categories, reals.
        log_weight: of all factors and weights there.
    """

    values: dict[str, NDArray[Any]]
    log_weight: float


def exact(
    model: Model | Graph,
    *,
    observed: Mapping[str, ArrayLike] | None = None,
    fields: Mapping[str, ArrayLike] | None = None,
    precisions: Mapping[str, ArrayLike] | None = None,
) -> Exact:
    """Return exact marginals and log Z.

    Spins and categories are enumerated, with the Gaussian integral over the real variables for each state, or, if there
    are no free real variables, eliminated along a tree decomposition (by the order of least fill) where that costs
    less. Real variables need Gaussian factors.

    Args:
        model: the description.
        observed: as for ``infer``.
        fields: as for ``infer``.
        precisions: as for ``infer``.

    Raises:
        TooLargeError: too many states, or too wide a tree; with the estimated cost.
        ModelError: real variables with a factor or prior that is not Gaussian, or numbers so large that log Z is none.
        ContradictionError: no state has a weight.
        IndefiniteError: the law of the real variables has no normalisation.
    """
    model, evidence = model_of(model), values_of("observed", observed, missing=True)
    graph = unroll(model, data_sizes(model, evidence, 1))
    potentials = potentials_of(graph, evidence, fields, precisions)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is told in words
        return _solved(graph, potentials)


def _solved(graph: Unrolled, potentials: Potentials) -> Exact:
    """Return the exact solution by the method that costs least."""
    if any(isinstance(stack.kind, Switched) for stack in graph.stacks):
        return _mixture(graph, potentials)
    _check_gaussian(graph, potentials)
    free = np.isnan(potentials.value)
    discrete, reals = _free_discrete(graph, potentials), np.flatnonzero(free & graph.real)
    operations = _enumeration_cost(graph, discrete, reals.size)
    if reals.size or operations <= _MIN_OPERATIONS * (1 + graph.factors + len(discrete)):
        if operations > _MAX_OPERATIONS or reals.size**2 > _MAX_NUMBERS:
            raise TooLargeError(
                f"the exact solution must take at most {_MAX_OPERATIONS:.0e} operations, got {operations:.1e}"
            )
        return _enumerate(graph, potentials, discrete, reals)
    cliques, parents = _decomposition(graph, discrete)
    numbers = sum(_states([discrete[i] for i in clique]) for clique in cliques)
    if numbers <= _MAX_NUMBERS and numbers * _TABLE_OPERATIONS <= operations:
        return _eliminate(graph, potentials, discrete, cliques, parents)
    if operations <= _MAX_OPERATIONS:
        return _enumerate(graph, potentials, discrete, reals)
    width = max(len(clique) for clique in cliques) - 1
    power = sum(math.log2(len(own.values)) for own in discrete.values())
    what = "variables" if graph.categories else "spins"
    raise TooLargeError(
        f"the exact solution must take at most {_MAX_NUMBERS:.0e} numbers, got {numbers:.1e} (a tree decomposition "
        f"of width {width}; enumeration of {len(discrete)} {what} would take 2^{power:.4g} states)"
    )


def _log_partition(terms: Iterable[float]) -> float:
    try:
        total = math.fsum(terms)
    except (OverflowError, ValueError):  # beyond the floats on the way, or inf - inf
        total = math.nan
    if not math.isfinite(total):
        raise ModelError(TOO_LARGE)
    return total


class _Discrete(NamedTuple):
    """A spin or a category that is free.

    Attributes:
        places: (w,) where it is in the rows of all scalars.
        values: (q, w) what is there in each of its states.
    """

    places: NDArray[np.intp]
    values: Array


def _free_discrete(graph: Unrolled, potentials: Potentials) -> dict[int, _Discrete]:
    """Return the free spins and categories by their first places."""
    free = np.isnan(potentials.value)
    spin = np.array([[1.0], [-1.0]])
    found = {int(i): _Discrete(np.array([i]), spin) for i in np.flatnonzero(free & graph.spin)}
    for places in graph.categories:
        values = np.eye(places.shape[1])
        found |= {int(own[0]): _Discrete(own, values) for own in places[free[places[:, 0]]]}
    return dict(sorted(found.items()))


def _all_values(graph: Unrolled, places: NDArray[Any]) -> _Discrete:
    """Return a spin or a category by its places, free or not."""
    return _Discrete(places, np.array([[1.0], [-1.0]]) if graph.spin[places[0]] else np.eye(places.size))


def _states(discrete: Iterable[_Discrete]) -> float:
    """Return the number of joint states; of very many, a large one."""
    return 2.0 ** min(sum(math.log2(len(own.values)) for own in discrete), 900.0)


def _enumeration_cost(graph: Unrolled, discrete: dict[int, _Discrete], reals: int) -> float:
    """Operations: one decomposition of the precision, and every term of every state twice."""
    states, rows = _states(discrete.values()), graph.factors + reals
    terms = _TERM_OPERATIONS * (graph.edges + graph.variables)
    return 2.0 * rows * reals**2 + states * (8.0 * rows * reals + terms)


def _check_gaussian(graph: Unrolled, potentials: Potentials) -> None:
    free = graph.real & np.isnan(potentials.value)
    for law in graph.nonconjugate:
        if free[law.variables].any():
            i = int(law.variables[free[law.variables]][0])
            raise ModelError(f"the law of {graph.label(i)} must be Gaussian for an exact solution, got {law.source}")
    for stack in graph.stacks:
        if not stack.kind.quadratic and free[stack.variables].any():
            raise ModelError(f"factors on real variables must be Gaussian for an exact solution, got {stack.kind.name}")


def _joint_law(solution: Exact, stack: Stack, row: int) -> tuple[Array, Array, Array]:
    """Return the law of the arguments of one factor: of every configuration of the discrete ones the weight, and means
    and covariances of the real ones."""
    graph, potentials, kind = solution.graph, solution.potentials, stack.kind
    discrete = [_all_values(graph, stack.variables[row, own]) for own in kind.discrete]
    shape = tuple(len(own.values) for own in discrete)
    if math.prod(shape) > _MAX_NUMBERS:
        raise TooLargeError(f"`factor` must have at most {_MAX_NUMBERS:.0e} configurations, got {math.prod(shape):.0e}")
    reals = stack.variables[row, components(kind)]
    logs, means = np.full(shape, -np.inf), np.zeros((*shape, len(reals)))
    covariances = np.zeros((*shape, len(reals), len(reals)))
    for numbers in np.ndindex(shape):
        value = potentials.value.copy()
        wanted = [own.values[n] for own, n in zip(discrete, numbers, strict=True)]
        for own, w in zip(discrete, wanted, strict=True):
            if np.isnan(value[own.places]).all():
                value[own.places] = w
        if not all(np.array_equal(value[own.places], w) for own, w in zip(discrete, wanted, strict=True)):
            continue  # not what is observed
        try:
            given = _solved(graph, replace(potentials, value=value))
        except ContradictionError:
            continue
        logs[numbers], means[numbers] = given.log_partition, given.mean[reals]
        covariances[numbers] = given._later.covariance(reals)
    with np.errstate(invalid="ignore"):
        return np.exp(logs - logsumexp(logs)), means, covariances


# ---- enumeration -----------------------------------------------------------------------------------------------------


class _Moments(NamedTuple):
    """Total weight of some states relative to a reference, and means and (co)variances (N,) under it."""

    weight: float
    mean: Array
    variance: Array


def _enumerate(
    graph: Unrolled, potentials: Potentials, discrete: dict[int, _Discrete], reals: NDArray[np.intp]
) -> Exact:
    """Return the sum over all states of the discrete variables, each with its Gaussian integral."""
    joint = Joint(graph, potentials, reals)
    gaussian = joint.gaussian() if reals.size else None
    counts = [len(own.values) for own in discrete.values()]
    size, strides = math.prod(counts), np.cumprod([1, *counts], dtype=np.int64)[:-1]
    chunk = max(1, _MAX_NUMBERS // (4 * (1 + graph.variables + graph.factors + len(joint.residuals.target))))

    def chunks() -> Iterator[tuple[Array, Array]]:
        for start in range(0, size, chunk):
            numbers = np.arange(start, min(size, start + chunk))
            x = np.broadcast_to(potentials.value, (len(numbers), graph.variables)).copy()
            for own, stride in zip(discrete.values(), strides, strict=True):
                x[:, own.places] = own.values[numbers // stride % len(own.values)]
            terms = joint.terms(x)
            yield x, terms if gaussian is None else np.concatenate([terms, joint.integrated(gaussian, x)])

    kept = list(chunks()) if size <= chunk else None  # a single one is needed twice
    reference = _most_likely(iter(kept or chunks()))[0]
    _log_partition(reference)  # of the most probable state alone: it must be a float
    row, column = _coordinates(graph)
    parts, mean_log = [], 0.0
    for x, terms in kept or chunks():
        log_w = compensated(terms - reference[:, None])
        w = np.exp(log_w)
        mean_log += float((w * np.where(w > 0.0, log_w, 0.0)).sum())
        if w.any():
            low = x.min(axis=0)
            mean = low + w @ (x - low) / w.sum()
            parts.append(_Moments(w.sum(), mean, w @ ((x - mean)[:, row] * (x - mean)[:, column]) / w.sum()))
    total = _together(parts, row, column)
    variance = total.variance + (0.0 if gaussian is None else _placed(graph, gaussian.covariance(), reals))
    log_z = _log_partition([*reference, math.log(total.weight)])
    entropy = math.log(total.weight) - mean_log / total.weight
    if gaussian is not None:
        entropy += gaussian.log_volume + 0.5 * reals.size
    method = "enumeration" if discrete else "dense"

    def covariance(places: NDArray[Any]) -> Array:
        found = np.zeros((places.size, places.size))
        for x, terms in chunks():
            w = np.exp(compensated(terms - reference[:, None]))
            rest = x[:, places] - total.mean[places]
            found += (w * rest.T) @ rest / total.weight
        within = _block(gaussian.covariance(), reals, places) if gaussian is not None else 0.0
        return found + within

    later = _Later(lambda: _most_likely(chunks())[1], covariance)
    return Exact(log_z, method, graph, total.mean, variance, entropy, potentials, later)


def _most_likely(chunks: Iterator[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Return the terms of the logarithm in the state of the largest weight, and it: sums relative to them do not
    cancel."""
    best, found = -np.inf, None
    for x, terms in chunks:
        log_w = terms.sum(axis=0)
        n = int(log_w.argmax())
        if log_w[n] > best:
            best, found = float(log_w[n]), (terms[:, n].copy(), x[n].copy())
    if found is None:
        raise ContradictionError("evidence must be consistent, got a model in which no state has a weight")
    return found


def _together(parts: list[_Moments], row: NDArray[np.intp], column: NDArray[np.intp]) -> _Moments:
    """Return the moments of a mixture, from deviations and not from squares.

    Those of the means are from the smallest one, so that nothing cancels in probabilities of categories.
    """
    share = np.array([part.weight for part in parts])
    total = share.sum()
    share /= total
    means = np.array([part.mean for part in parts])
    low = means.min(axis=0)
    mean = low + share @ (means - low)
    within = share @ np.array([part.variance for part in parts])
    rest = means - mean
    return _Moments(float(total), mean, within + share @ (rest[:, row] * rest[:, column]))


def _coordinates(graph: Unrolled) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return (N,) of which two scalars a place holds the covariance: twice itself, or two components of its vector."""
    row, column = np.arange(graph.variables), np.arange(graph.variables)
    for places in graph.vectors:
        row[places], column[places] = places[:, :, :1], places[:, None, :, 0]
    return row, column


def _block(covariance: Array, reals: NDArray[np.intp], places: NDArray[Any]) -> Array:
    """Return the covariances of some places from those of the free real scalars; 0 for what is not among them."""
    where = np.searchsorted(reals, places)
    where = np.minimum(where, reals.size - 1)
    free = reals[where] == places
    return np.where(free[:, None] & free, covariance[np.ix_(where, where)], 0.0)


def _placed(graph: Unrolled, covariance: Array, reals: NDArray[np.intp]) -> Array:
    """Return (N,) the elements of a covariance matrix of the free real scalars that the places hold, 0 elsewhere."""
    position = np.full(graph.variables, -1)
    position[reals] = np.arange(reals.size)
    row, column = (position[scalar] for scalar in _coordinates(graph))
    return np.where((row >= 0) & (column >= 0), covariance[row, column], 0.0)


# ---- switches --------------------------------------------------------------------------------------------------------


def _mixture(graph: Unrolled, potentials: Potentials) -> Exact:
    """Return the sum over the states of the categories that switch, each with the solution of the model it leaves."""
    first_of = [stack.variables[:, 0] for stack in graph.stacks if isinstance(stack.kind, Switched)]
    discrete = _free_discrete(graph, potentials)
    switching = [discrete[i] for i in sorted(set(np.concatenate(first_of).tolist()) & set(discrete))]
    cost = _states(switching) * _enumeration_cost(graph, {}, int(np.sum(graph.real & np.isnan(potentials.value))))
    if cost > _MAX_OPERATIONS:
        raise TooLargeError(
            f"the exact solution must take at most {_MAX_OPERATIONS:.0e} operations, got {cost:.1e} for "
            f"{_states(switching):.1e} states of the categories that switch"
        )
    found = []
    for numbers in itertools.product(*(range(len(own.values)) for own in switching)):
        value = potentials.value.copy()
        for own, c in zip(switching, numbers, strict=True):
            value[own.places] = own.values[c]
        try:
            found.append(_solved(_switched(graph, value), replace(potentials, value=value)))
        except ContradictionError:
            continue
    if not found:
        raise ContradictionError("evidence must be consistent, got a model in which no state has a weight")
    top = max(solution.log_partition for solution in found)
    parts = [_Moments(math.exp(s.log_partition - top), s.mean, s.variance) for s in found]
    total = _together(parts, *_coordinates(graph))
    share = np.array([part.weight for part in parts]) / total.weight
    entropy = float(entr(share).sum() + share @ [s.entropy for s in found])
    log_z = top + math.log(total.weight)

    def best() -> Array:
        states = [s._later.best() for s in found]
        return states[int(np.argmax([log_potentials(graph, potentials, state)[0] for state in states]))]

    def covariance(places: NDArray[Any]) -> Array:
        rest = np.array([s.mean[places] for s in found]) - total.mean[places]
        within = np.array([s._later.covariance(places) for s in found])
        return np.einsum("c,cij->ij", share, within + rest[:, :, None] * rest[:, None])

    later = _Later(best, covariance)
    return Exact(log_z, "enumeration", graph, total.mean, total.variance, entropy, potentials, later)


def _switched(graph: Unrolled, value: Array) -> Unrolled:
    """Return the graph in which each switch is the factor of its category's state."""
    stacks = []
    for stack in graph.stacks:
        if isinstance(stack.kind, Switched):
            q = stack.kind.count
            given = stack.kind.given(stack.parameters, value[stack.variables[:, :q]].argmax(axis=1))
            stack = Stack(stack.kind.inner, stack.variables[:, q:], given, stack.offset, stack.origins)
        stacks.append(stack)
    return replace(graph, stacks=tuple(stacks))


# ---- elimination -----------------------------------------------------------------------------------------------------


def _eliminate(
    graph: Unrolled,
    potentials: Potentials,
    discrete: dict[int, _Discrete],
    cliques: list[tuple[int, ...]],
    parents: list[int],
) -> Exact:
    """Tables along a tree decomposition: inwards and outwards once [Lauritzen-Spiegelhalter 1988].

    Every table is relative to its largest value: fields and couplings of any size then leave the digits of the others.
    """
    tables, logs = _clique_tables(graph, potentials, discrete, cliques)
    order, given = range(len(cliques)), list(tables)
    upward: list[Array] = [np.zeros(()) for _ in order]
    # Inwards: every clique sends its parent the message of its own part of the tree.
    for c in reversed(order):
        if parents[c] >= 0:
            upward[c], top = _anchored(_onto(tables[c], cliques[c], cliques[parents[c]]))
            tables[parents[c]] = tables[parents[c]] + upward[c]
            logs.append(top)
    # Outwards: every clique receives from its parent the message of all the rest.
    for c in order:
        if parents[c] >= 0:
            outside = _safe_difference(tables[parents[c]], upward[c])
            tables[c] = tables[c] + _anchored(_onto(outside, cliques[parents[c]], cliques[c]))[0]
    logs += [float(np.asarray(logsumexp(tables[c]))) for c in order if parents[c] < 0]
    # What no clique contains has observed arguments only.
    left_out = np.zeros(graph.variables, dtype=bool)
    left_out[np.concatenate([np.empty(0, np.intp), *(own.places for own in discrete.values())])] = True
    settled = Joint(graph, potentials, np.empty(0, np.intp), left_out).terms(potentials.value[None])[:, 0]
    if -np.inf in logs or np.isneginf(settled).any():
        raise ContradictionError("evidence must be consistent, got a model in which no state has a weight")
    # Marginals of the spins of every clique, and entropies of cliques given what they share with their parents.
    mean, variance, entropy = potentials.value.copy(), np.zeros(graph.variables), 0.0
    for c, (clique, table) in enumerate(zip(cliques, tables, strict=True)):
        entropy += _entropy(table)
        if parents[c] >= 0:
            entropy -= _entropy(_onto(table, clique, cliques[parents[c]]))
        for axis, i in enumerate(clique):
            others = tuple(a for a in range(len(clique)) if a != axis)
            logs_of_states, places = np.asarray(logsumexp(table, axis=others)), discrete[i].places
            if graph.spin[i]:
                mean[places], variance[places] = spin_moments(0.5 * (logs_of_states[:1] - logs_of_states[1:]))
            else:
                mean[places] = np.exp(normalised(logs_of_states[None])[0])
                variance[places] = mean[places] * (1.0 - mean[places])
    log_z = _log_partition([*logs, *settled])
    later = _Later(
        lambda: _best_along(given, cliques, parents, discrete, potentials.value),
        lambda places: np.zeros((places.size, places.size)),  # there are no free real variables
    )
    return Exact(log_z, "elimination", graph, mean, variance, entropy, potentials, later)


def _entropy(table: Array) -> float:
    """Return -Σ p log p of log-weights."""
    return float(entr(np.exp(normalised(table.reshape(1, -1)))).sum())


def _best_along(
    tables: list[Array],
    cliques: list[tuple[int, ...]],
    parents: list[int],
    discrete: dict[int, _Discrete],
    value: Array,
) -> Array:
    """Return the state (N,) of the largest weight: maxima inwards, and states outwards from the roots."""
    tables, value, state = list(tables), value.copy(), {}
    for c in reversed(range(len(cliques))):
        if parents[c] >= 0:
            tables[parents[c]] = tables[parents[c]] + _onto(tables[c], cliques[c], cliques[parents[c]], np.max)
    for clique, table in zip(cliques, tables, strict=True):
        given = table[tuple(state.get(i, slice(None)) for i in clique)]
        rest = [i for i in clique if i not in state]
        state |= dict(zip(rest, np.unravel_index(int(given.argmax()), given.shape), strict=True))
    for i, number in state.items():
        value[discrete[i].places] = discrete[i].values[number]
    return value


def _decomposition(graph: Unrolled, discrete: dict[int, _Discrete]) -> tuple[list[tuple[int, ...]], list[int]]:
    """Return the cliques of a tree decomposition in an order from the roots, and the parent of each (-1 for a root)."""
    import networkx as nx
    from networkx.algorithms.approximation import treewidth_min_fill_in

    free = np.zeros(graph.variables, dtype=bool)
    free[list(discrete)] = True  # their first places alone
    primal = nx.Graph()
    primal.add_nodes_from(discrete)
    for stack in graph.stacks:
        for row in stack.variables:
            primal.add_edges_from(itertools.combinations(row[free[row]].tolist(), 2))
    cliques: list[tuple[int, ...]] = []
    parents: list[int] = []
    for component in nx.connected_components(primal):
        tree = treewidth_min_fill_in(primal.subgraph(component))[1]
        number = {}
        root = next(iter(tree))
        for parent, bag in [(None, root), *nx.bfs_edges(tree, root)]:
            number[bag] = len(cliques)
            parents.append(-1 if parent is None else number[parent])
            cliques.append(tuple(sorted(bag)))
    return cliques, parents


def _clique_tables(
    graph: Unrolled, potentials: Potentials, discrete: dict[int, _Discrete], cliques: list[tuple[int, ...]]
) -> tuple[list[Array], list[float]]:
    """Return the log-weights of the states of each clique, and what was taken from them: every variable's own weight
    and every factor in one of them; state 0 of a spin is +1."""
    tables, logs = [np.zeros([len(discrete[i].values) for i in clique]) for clique in cliques], []
    homes: dict[int, list[int]] = {}
    for c, clique in enumerate(cliques):
        for i in clique:
            homes.setdefault(i, []).append(c)

    def put(table: Array, own: tuple[int, ...], home: int) -> None:
        table, top = _anchored(table)
        tables[home] = tables[home] + _spread(table, own, cliques[home])
        logs.append(top)

    for i, found in homes.items():
        field, values = potentials.own.field[discrete[i].places], discrete[i].values
        put(np.where(values == 0.0, 0.0, field * np.where(values == 0.0, 1.0, values)).sum(axis=1), (i,), found[0])
        logs.append(float(potentials.own.base[i]))
    for stack in graph.stacks:
        for row, variables in enumerate(stack.variables.tolist()):
            free = tuple(i for i in variables if i in homes)
            if free:
                home = next(c for c in homes[free[0]] if set(free) <= set(cliques[c]))
                put(_factor_table(potentials, discrete, stack, row, free), free, home)
    return tables, logs


def _anchored(table: Array) -> tuple[Array, float]:
    """Return a table of logarithms relative to its largest value, and that; all of them may be -∞."""
    top = float(table.max())
    return (table - top if top > -np.inf else table), top


def _factor_table(
    potentials: Potentials, discrete: dict[int, _Discrete], stack: Stack, row: int, free: tuple[int, ...]
) -> Array:
    """Return the log-factor at all states of its free arguments."""
    counts = [len(discrete[i].values) for i in free]
    states, columns = np.indices(counts).reshape(len(free), -1), {}
    for i, numbers in zip(free, states, strict=True):
        columns |= dict(zip(discrete[i].places.tolist(), discrete[i].values[numbers].T, strict=True))
    constant = np.ones(states.shape[1])
    x = [np.asarray(columns.get(i, potentials.value[i] * constant))[None] for i in stack.variables[row].tolist()]
    return stack.kind.log_factor(tuple(p[row : row + 1] for p in stack.parameters), *x)[0].reshape(counts)


def _spread(table: Array, own: tuple[int, ...], clique: tuple[int, ...]) -> Array:
    """Return a table over the variables ``own`` as one over a clique that contains them."""
    order = np.argsort([clique.index(i) for i in own])
    size = dict(zip(own, table.shape, strict=True))
    shape = tuple(size.get(i, 1) for i in clique)
    return table.transpose(order).reshape(shape)


def _onto(table: Array, own: tuple[int, ...], clique: tuple[int, ...], over: Any = logsumexp) -> Array:
    """Return the log-marginal of a table (or what else is taken ``over`` the others) on the variables that its clique
    shares with another, over the other clique."""
    lost = tuple(axis for axis, i in enumerate(own) if i not in clique)
    shared = tuple(i for i in own if i in clique)
    return _spread(np.asarray(over(table, axis=lost)) if lost else table, shared, clique)


def _safe_difference(total: Array, part: Array) -> Array:
    """Return total - part, where both may be -∞."""
    return np.where(np.isneginf(total), -np.inf, total - np.where(np.isneginf(part), 0.0, part))
