"""Ground truth: enumeration of spins, dense Gaussian algebra, and elimination along a tree decomposition.

Nothing here uses a message rule: factors enter through ``log_factor`` alone.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.special import logsumexp

from factorgraph.brief import briefly
from factorgraph.graph import Graph
from factorgraph.messages import Array, ContradictionError, IndefiniteError
from factorgraph.model import Model, ModelError
from factorgraph.result import Marginal
from factorgraph.settings import data_sizes, weights_of
from factorgraph.special import LOG_2PI
from factorgraph.unroll import Stack, Unrolled, Weights, unroll

#: Numbers that may be held or operations that may be done; about a second and a gigabyte.
_MOST_NUMBERS = 2**25
_MOST_OPERATIONS = 2e10


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
        mean: (N,) of all scalars.
        variance: (N,) of all scalars; covariance matrices in the places of vectors.
    """

    log_partition: float
    method: str
    graph: Unrolled
    mean: Array
    variance: Array

    def __getitem__(self, name: str) -> Marginal:
        """Moments of a variable by its name; raises ``KeyError`` if there is none."""
        layout = self.graph.layout
        if name not in layout.shapes:
            raise KeyError(f"`name` must be one of {sorted(layout.shapes)}, got {name!r}")
        variance = layout.matrices(name, self.variance)
        if layout.model.variables[name].dimension:
            variance = np.diagonal(variance, axis1=-2, axis2=-1)
        return Marginal(layout.components(name, self.mean), variance)

    def covariance(self, name: str) -> Array:
        """Covariance matrices (..., d, d) of a variable of vectors; raises ``KeyError`` if there is none."""
        return self.graph.layout.vector_matrices(name, self.variance)


def exact(
    model: Model | Graph,
    *,
    observed: Mapping[str, ArrayLike] | None = None,
    fields: Mapping[str, ArrayLike] | None = None,
    precisions: Mapping[str, ArrayLike] | None = None,
) -> Exact:
    """Exact marginals and log Z.

    Spins are enumerated (with the Gaussian integral over the real variables for each state), or, if there are no free
    real variables and too many states, eliminated along a tree decomposition. Real variables need Gaussian factors.

    Args:
        model: the description.
        observed: as for ``infer``.
        fields: as for ``infer``.
        precisions: as for ``infer``.

    Raises:
        TooLargeError: too many states, or too wide a tree; with the estimated cost.
        ModelError: real variables with a factor or prior that is not Gaussian.
        ContradictionError: no state has a weight.
        IndefiniteError: the law of the real variables has no normalisation.
    """
    model = model.model if isinstance(model, Graph) else model
    graph = unroll(model, data_sizes(model, observed or {}, 1))
    weights = weights_of(graph, observed or {}, fields or {}, precisions or {})
    _check_gaussian(graph, weights)
    free = np.isnan(weights.value)
    spins, reals = np.flatnonzero(free & graph.spin), np.flatnonzero(free & ~graph.spin)
    states = 2.0 ** min(spins.size, 900)
    operations = states * (reals.size**3 + graph.edges)
    if states <= _MOST_NUMBERS and states * (1 + reals.size**2) <= 4 * _MOST_NUMBERS and operations <= _MOST_OPERATIONS:
        return _enumerate(graph, weights, spins, reals)
    if reals.size:
        raise TooLargeError(
            f"the exact solution must take at most {_MOST_OPERATIONS:.0e} operations, got {operations:.1e}"
        )
    return _eliminate(graph, weights, spins)


def _check_gaussian(graph: Unrolled, weights: Weights) -> None:
    free = ~graph.spin & np.isnan(weights.value)
    for law in graph.laws:
        if free[law.variables].any():
            i = int(law.variables[free[law.variables]][0])
            raise ModelError(f"the law of {graph.label(i)} must be Gaussian for an exact solution, got {law.source}")
    for stack in graph.stacks:
        if not stack.kind.quadratic and free[stack.variables].any():
            raise ModelError(f"factors on real variables must be Gaussian for an exact solution, got {stack.kind.name}")


# ---- enumeration -----------------------------------------------------------------------------------------------------


def _enumerate(graph: Unrolled, weights: Weights, spins: NDArray[np.intp], reals: NDArray[np.intp]) -> Exact:
    """Sum over all states of the spins; each with its Gaussian integral."""
    states = 1.0 - 2.0 * ((np.arange(2**spins.size)[:, None] >> np.arange(spins.size)) & 1)
    chunk = max(1, _MOST_NUMBERS // (8 * (1 + reals.size**2 + graph.variables)))
    row, column = _coordinates(graph)
    logs, means, seconds = [], [], []
    for start in range(0, len(states), chunk):
        log_w, mean, variance = _integrate(graph, weights, spins, reals, states[start : start + chunk])
        top = log_w.max()
        if top == -np.inf:
            continue
        w = np.exp(log_w - top)
        logs.append(top + np.log(w.sum()))
        means.append(w @ mean / w.sum())
        seconds.append(w @ (variance + mean[:, row] * mean[:, column]) / w.sum())
    if not logs:
        raise ContradictionError("evidence must be consistent, got a model in which no state has a weight")
    log_z = float(np.asarray(logsumexp(logs)))
    share = np.exp(np.array(logs) - log_z)
    mean = share @ np.array(means)
    spread = share @ np.array(seconds) - mean[row] * mean[column]
    variance = np.where(graph.spin, (1.0 - mean) * (1.0 + mean), spread)
    if not spins.size:
        variance = np.where(graph.spin, variance, _integrate(graph, weights, spins, reals, states)[2][0])
    return Exact(log_z, "enumeration" if spins.size else "dense", graph, mean, variance)


def _coordinates(graph: Unrolled) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(N,) of which two scalars a place holds the covariance: twice itself, or two components of its vector."""
    row, column = np.arange(graph.variables), np.arange(graph.variables)
    for places in graph.vectors:
        row[places], column[places] = places[:, :, :1], places[:, None, :, 0]
    return row, column


def _integrate(
    graph: Unrolled, weights: Weights, spins: NDArray[np.intp], reals: NDArray[np.intp], states: Array
) -> tuple[Array, Array, Array]:
    """log-weights (S,) of some states, and means and (co)variances (S, N) in them."""
    x = np.broadcast_to(weights.value, (len(states), graph.variables)).copy()
    x[:, spins], x[:, reals] = states, 0.0
    constant = _log_weights(graph, weights, x)
    if not reals.size:
        return constant, x, np.zeros_like(x)
    b, Q = _quadratic(graph, weights, reals, x)
    variance = np.zeros_like(x)
    position = np.full(graph.variables, -1)
    position[reals] = np.arange(reals.size)
    row, column = (position[scalar] for scalar in _coordinates(graph))
    both = (row >= 0) & (column >= 0)
    log_w = np.empty(len(x))
    for n in range(len(x)):
        try:
            factor = cho_factor(Q[n if len(Q) > 1 else 0], lower=True)
        except np.linalg.LinAlgError:
            raise IndefiniteError("the precision matrix must be positive definite, got one that is not") from None
        mean = cho_solve(factor, b[n])
        x[n, reals] = mean
        variance[n, both] = cho_solve(factor, np.eye(reals.size))[row[both], column[both]]
        log_w[n] = constant[n] + 0.5 * (b[n] @ mean + reals.size * LOG_2PI) - np.log(np.diag(factor[0])).sum()
    return log_w, x, variance


def _log_weights(graph: Unrolled, weights: Weights, x: Array) -> Array:
    """log of the product of everything at states x (S, N)."""
    total = graph.log_base.sum() + x @ weights.field - 0.5 * x**2 @ _precision(graph, weights)
    for term in _terms(graph, weights):
        total = total + term.log_factor(term.parameters, *_arguments(term, x)).sum(axis=0)
    return total


def _precision(graph: Unrolled, weights: Weights) -> Array:
    """Own precision of all real scalars, 0 elsewhere."""
    return np.where(graph.spin | (graph.vector_of >= 0), 0.0, weights.precision)


class _Term(NamedTuple):
    """Factors of one kind (see ``Stack``), or the vectors' own precision matrices."""

    spins: tuple[bool, ...]
    log_factor: Callable[..., Array]
    variables: NDArray[Any]
    parameters: tuple[Array, ...]


def _terms(graph: Unrolled, weights: Weights) -> list[_Term]:
    stacks = [_Term(s.kind.spins, s.kind.log_factor, s.variables, s.parameters) for s in graph.stacks]
    own = [_Term((False,) * p.shape[1], _own, p[..., 0], (weights.precision[p],)) for p in graph.vectors]
    return [*stacks, *own]


def _own(parameters: tuple[Array, ...], *x: Array) -> Array:
    """-x·Gx/2 of vectors with components x."""
    return -0.5 * np.einsum("fij,if...,jf...->f...", parameters[0], np.stack(x), np.stack(x))


def _arguments(term: _Term, x: Array) -> list[Array]:
    """Values (F, S) of each argument."""
    return [x[:, column].T for column in term.variables.T]


def _quadratic(graph: Unrolled, weights: Weights, reals: NDArray[np.intp], x: Array) -> tuple[Array, Array]:
    """b (S, n) and Q (S, n, n) of the exponent b·x - x·Q x/2 in the real variables, from values of the log-factors.

    Quadratic functions are known from their values at 0, ±1 on each axis and 1 on each pair of axes.
    """
    place = np.full(graph.variables, -1)
    place[reals] = np.arange(reals.size)
    b = np.broadcast_to(weights.field[reals], (len(x), reals.size)).copy()
    Q = np.zeros((len(x), reals.size, reals.size))
    Q[:, np.arange(reals.size), np.arange(reals.size)] = _precision(graph, weights)[reals]
    for term in _terms(graph, weights):
        values, where = _arguments(term, x), place[term.variables]
        free = [np.where(where[:, i] >= 0, 1.0, 0.0)[:, None] for i in range(where.shape[1])]

        def at(*moved: tuple[int, float], term=term, values=values, free=free) -> Array:
            shifted = list(values)
            for i, step in moved:
                shifted[i] = shifted[i] + step * free[i]
            return term.log_factor(term.parameters, *shifted)

        zero = at()
        moving = [i for i in range(where.shape[1]) if not term.spins[i] and np.any(where[:, i] >= 0)]
        for n, i in enumerate(moving):
            up, down, rows = at((i, 1.0)), at((i, -1.0)), where[:, i] >= 0
            _accumulate(b, (where[rows, i],), 0.5 * (up - down)[rows])
            _accumulate(Q, (where[rows, i], where[rows, i]), -(up + down - 2.0 * zero)[rows])
            for j in moving[:n]:
                mixed = -(at((i, 1.0), (j, 1.0)) - up - at((j, 1.0)) + zero)
                rows = (where[:, i] >= 0) & (where[:, j] >= 0)
                _accumulate(Q, (where[rows, i], where[rows, j]), mixed[rows])
                _accumulate(Q, (where[rows, j], where[rows, i]), mixed[rows])
    return b, Q


def _accumulate(target: Array, index: tuple[NDArray[np.intp], ...], values: Array) -> None:
    np.add.at(np.moveaxis(target, 0, -1), index, values)


# ---- elimination -----------------------------------------------------------------------------------------------------


def _eliminate(graph: Unrolled, weights: Weights, spins: NDArray[np.intp]) -> Exact:
    """Tables along a tree decomposition: inwards and outwards once [Lauritzen-Spiegelhalter 1988]."""
    cliques, parents = _decomposition(graph, spins)
    cost = sum(2.0 ** len(clique) for clique in cliques)
    if cost > _MOST_NUMBERS:
        width = max(len(clique) for clique in cliques) - 1
        raise TooLargeError(
            f"the exact solution must take at most {_MOST_NUMBERS:.0e} numbers, got {cost:.1e} (a tree decomposition "
            f"of width {width}; enumeration of {spins.size} spins would take 2^{spins.size} states)"
        )
    tables = _clique_tables(graph, weights, cliques)
    order = range(len(cliques))
    upward: list[Array] = []
    for c in reversed(order):
        upward.insert(0, np.zeros(()))
        if parents[c] >= 0:
            upward[0] = _onto(tables[c], cliques[c], cliques[parents[c]])
            tables[parents[c]] = tables[parents[c]] + upward[0]
    for c in order:
        if parents[c] >= 0:
            outside = _safe_difference(tables[parents[c]], upward[c])
            tables[c] = tables[c] + _onto(outside, cliques[parents[c]], cliques[c])
    roots = [c for c in order if parents[c] < 0]
    log_z = sum(float(np.asarray(logsumexp(tables[c]))) for c in roots) + _constant(graph, weights)
    if log_z == -np.inf:
        raise ContradictionError("evidence must be consistent, got a model in which no state has a weight")
    mean = weights.value.copy()
    for clique, table in zip(cliques, tables, strict=True):
        for axis, i in enumerate(clique):
            others = tuple(a for a in range(len(clique)) if a != axis)
            log_p = logsumexp(table, axis=others)
            mean[i] = np.tanh(0.5 * (log_p[0] - log_p[1]))
    return Exact(log_z, "elimination", graph, mean, np.where(graph.spin, (1.0 - mean) * (1.0 + mean), 0.0))


def _decomposition(graph: Unrolled, spins: NDArray[np.intp]) -> tuple[list[tuple[int, ...]], list[int]]:
    """Cliques of a tree decomposition in an order from the roots, and the parent of each (-1 for a root)."""
    import networkx as nx
    from networkx.algorithms.approximation import treewidth_min_fill_in

    free = np.zeros(graph.variables, dtype=bool)
    free[spins] = True
    primal = nx.Graph()
    primal.add_nodes_from(spins.tolist())
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


def _clique_tables(graph: Unrolled, weights: Weights, cliques: list[tuple[int, ...]]) -> list[Array]:
    """Log-weights of the states of each clique: every field and factor in one of them; state 0 is +1."""
    tables = [np.zeros((2,) * len(clique)) for clique in cliques]
    homes: dict[int, list[int]] = {}
    for c, clique in enumerate(cliques):
        for i in clique:
            homes.setdefault(i, []).append(c)
    for i, found in homes.items():
        field = weights.field[i] * np.array([1.0, -1.0])
        tables[found[0]] = tables[found[0]] + _spread(field, (i,), cliques[found[0]])
    for stack in graph.stacks:
        for row, variables in enumerate(stack.variables.tolist()):
            free = tuple(i for i in variables if i in homes)
            if free:
                home = next(c for c in homes[free[0]] if set(free) <= set(cliques[c]))
                table = _factor_table(graph, weights, stack, row, free)
                tables[home] = tables[home] + _spread(table, free, cliques[home])
    return tables


def _factor_table(graph: Unrolled, weights: Weights, stack: Stack, row: int, free: tuple[int, ...]) -> Array:
    """The log-factor at all states of its free arguments."""
    states = np.array(list(itertools.product((1.0, -1.0), repeat=len(free))))
    columns = {i: states[:, a] for a, i in enumerate(free)}
    x = [
        np.asarray(columns.get(i, np.full(len(states), weights.value[i])))[None] for i in stack.variables[row].tolist()
    ]
    return stack.kind.log_factor(tuple(p[row : row + 1] for p in stack.parameters), *x)[0].reshape((2,) * len(free))


def _constant(graph: Unrolled, weights: Weights) -> float:
    """log-weight of what is observed, and of the factors that have nothing free."""
    known = np.where(np.isnan(weights.value), 0.0, weights.value)
    total = float(graph.log_base.sum() + known @ weights.field - 0.5 * known**2 @ _precision(graph, weights))
    for term in _terms(graph, weights):
        settled = ~np.isnan(weights.value[term.variables]).any(axis=1)
        x = [weights.value[term.variables[settled, i]][:, None] for i in range(term.variables.shape[1])]
        total += float(term.log_factor(tuple(p[settled] for p in term.parameters), *x).sum())
    return total


def _spread(table: Array, own: tuple[int, ...], clique: tuple[int, ...]) -> Array:
    """A table over the variables ``own`` as one over a clique that contains them."""
    order = np.argsort([clique.index(i) for i in own])
    shape = tuple(2 if i in own else 1 for i in clique)
    return table.transpose(order).reshape(shape)


def _onto(table: Array, own: tuple[int, ...], clique: tuple[int, ...]) -> Array:
    """The log-marginal of a table on the variables that its clique shares with another, over the other clique."""
    lost = tuple(axis for axis, i in enumerate(own) if i not in clique)
    shared = tuple(i for i in own if i in clique)
    return _spread(np.asarray(logsumexp(table, axis=lost)) if lost else table, shared, clique)


def _safe_difference(total: Array, part: Array) -> Array:
    """total - part, where both may be -∞."""
    return np.where(np.isneginf(total), -np.inf, total - np.where(np.isneginf(part), 0.0, part))
