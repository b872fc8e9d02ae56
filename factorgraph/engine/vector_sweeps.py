"""Compiled two passes over a forest of vectors: long chains, such as Kalman smoothers, have nothing to batch.

Messages stay rows [R, z] (see ``square_roots``) from the leaves to the beliefs, and each carries the logarithm of what
stands before e^{-|R x - z|²/2}: the integral over any belief is the partition function of its tree, a sum of terms none
of which cancel.
"""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factorgraph.engine.cavity import indefinite
from factorgraph.engine.forest import group_by
from factorgraph.engine.unroll import Potentials, Unrolled
from factorgraph.factors.square_roots import ROUNDING, law_of_rows, rows_of_natural, send, triangle, workspace
from factorgraph.factors.vector_rules import natural
from factorgraph.messages.natural import Array
from factorgraph.numerics.special import LOG_2PI
from factorgraph.runtime.compiled import njit

#: Edges of a variable from which on its cavity laws are built from the left and from the right.
_MANY = 8


def vector_sweeps(graph: Unrolled, potentials: Potentials, schedule: str) -> "VectorTwoPass | None":
    """Two passes, or None: for other schedules, with scalars, or for weights e^{h·x - x·Gx/2} that are no rows.

    They are sent once and for all, whatever the first messages; under damping there are no two passes, and maxima are
    means.

    Raises:
        ModelError: factors that observations leave exactly determined.
    """
    for stack in graph.stacks:
        kind: Any = stack.kind
        kind.check_determined(stack.parameters, np.isnan(potentials.value[stack.variables[:, kind.columns]]))
    if schedule != "two-pass" or np.any(graph.vector_of < 0):
        return None
    sweeps = VectorTwoPass(graph, potentials)
    return sweeps if sweeps.possible else None


# ---- one variable ----------------------------------------------------------------------------------------------------


@njit(part=True, error_model="numpy")
def _store(X: Any, n: int, d: int, rows: Any, at: int) -> None:
    """Write the first n rows of X to a place."""
    for r in range(n):
        for c in range(d + 1):
            rows[at + r * (d + 1) + c] = X[r, c]


@njit(cache=True, error_model="numpy")
def _own_rows(starts: Any, sizes: Any, blocks: Any, potentials: Any, rows: Any, count: Any, logs: Any) -> bool:
    """Fill in the rows and the log-constants of all variables' own weights, given what is observed; whether they exist.

    An observed component becomes an independent normal one that no factor sees.
    """
    field, precision, value = potentials
    maximum = np.max(sizes)
    _, _, X, order, zero, _ = workspace(1, 2 * maximum)
    h, G, tilt = np.empty(maximum), np.empty((maximum, maximum)), np.empty(maximum)
    for i in range(sizes.size):
        d, s = sizes[i], starts[i]
        logs[i] = 0.0
        for a in range(d):
            h[a] = field[s + a * d]
            for b in range(d):
                G[a, b] = precision[s + a * d + b]
        for a in range(d):
            y = value[s + a * d]
            if not np.isnan(y):
                logs[i] += h[a] * y - 0.5 * G[a, a] * y * y - 0.5 * LOG_2PI
                for b in range(d):
                    h[b] -= G[b, a] * y
                    G[a, b], G[b, a] = 0.0, 0.0
                h[a], G[a, a] = 0.0, 1.0
        count[i] = rows_of_natural(h[:d], G[:d, :d], X, d, order, zero, tilt)
        if count[i] < 0:
            return False
        for a in range(d - count[i]):
            if tilt[a] != 0.0:
                return False
        _store(X, count[i], d, rows, blocks[i])
        for r in range(count[i]):
            logs[i] += 0.5 * X[r, d] * X[r, d]
    return True


@njit(part=True, error_model="numpy", forceinline=True)
def _append(X: Any, n: int, d: int, rows: Any, at: int, count: int) -> int:
    """Write the rows that begin at a place behind the first n of X; how many there are now."""
    for r in range(n, n + count):
        for c in range(d + 1):
            X[r, c] = rows[at + c]
        at += d + 1
    return n + count


@njit(part=True, error_model="numpy", forceinline=True)
def _append_message(X: Any, n: int, d: int, edges: Any, messages: Any, e: int, value: Any, s: int) -> int:
    """The same for a message, with what is observed inserted."""
    end = _append(X, n, d, messages[0], edges[2][e], messages[1][e])
    for a in range(d):
        y = value[s + a * d]
        if not np.isnan(y):
            for r in range(n, end):
                X[r, d] -= X[r, a] * y
                X[r, a] = 0.0
    return end


@njit(part=True, error_model="numpy", forceinline=True)
def _settle(X: Any, n: int, d: int, work: Any) -> tuple[int, float]:
    """At most d rows instead of n, and the logarithm of the constant that is left over."""
    rank = triangle(X, n, d, d + 1, work[3], work[4], ROUNDING)
    left = 0.0
    for r in range(rank, n):
        left -= 0.5 * X[r, d] * X[r, d]
    return rank, left


@njit(part=True, error_model="numpy")
def _gather(i: int, but: int, variables: Any, edges: Any, own: Any, messages: Any, value: Any, work: Any) -> Any:
    """Rows in the workspace from the own weight of variable i and all messages but one; their number, log-constant."""
    starts, sizes, blocks, by_edge, around = variables
    d, s, X = sizes[i], starts[i], work[2]
    n = _append(X, 0, d, own[0], blocks[i], own[1][i])
    log_z = own[2][i]
    for p in range(by_edge[i], by_edge[i + 1]):
        e = around[p]
        if e != but:
            if n + messages[1][e] > 4 * d:
                n, left = _settle(X, n, d, work)
                log_z += left
            n = _append_message(X, n, d, edges, messages, e, value, s)
            log_z += messages[2][e]
    n, left = _settle(X, n, d, work)
    return n, log_z + left


@njit(part=True, error_model="numpy", forceinline=True)
def _law(i: int, n: int, variables: Any, value: Any, laws: Any, place: int, work: Any) -> float:
    """Fill in the law of n settled rows for variable i at its place; the logarithm of its integral over g."""
    d, s = variables[1][i], variables[0][i]
    log_z = law_of_rows(work[2], n, d, work[3], laws, place)
    for a in range(d):
        if not np.isnan(value[s + a * d]):
            to = place + a * (d + 1)
            for b in range(d):
                laws[to + b] = 0.0
            laws[to + d] = value[s + a * d]
    return log_z


@njit(part=True, error_model="numpy")
def _cavities(i: int, variables: Any, edges: Any, own: Any, messages: Any, laws: Any, value: Any, work: Any) -> None:
    """Fill in the laws on all edges of a variable: what is left of an edge waits where its law will be."""
    starts, sizes, blocks, by_edge, around = variables
    d, s, X = sizes[i], starts[i], work[2]
    log_z, n = own[2][i], _append(X, 0, d, own[0], blocks[i], own[1][i])
    for p in range(by_edge[i], by_edge[i + 1]):
        e = around[p]
        block = edges[2][e]
        _store(X, n, d, laws[0], block)
        laws[1][e], laws[2][e] = n, log_z
        n = _append_message(X, n, d, edges, messages, e, value, s)
        n, left = _settle(X, n, d, work)
        log_z += left + messages[2][e]
    right, count, log_z = np.empty(d * (d + 1)), 0, 0.0
    for p in range(by_edge[i + 1] - 1, by_edge[i] - 1, -1):
        e = around[p]
        block = edges[2][e]
        n = _append(X, 0, d, laws[0], block, laws[1][e])
        n = _append(X, n, d, right, 0, count)
        n, left = _settle(X, n, d, work)
        laws[1][e], laws[2][e] = n, laws[2][e] + log_z + left + _law(i, n, variables, value, laws[0], block, work)
        n = _append(X, 0, d, right, 0, count)
        n = _append_message(X, n, d, edges, messages, e, value, s)
        count, left = _settle(X, n, d, work)
        log_z += left + messages[2][e]
        _store(X, count, d, right, 0)


# ---- two passes ------------------------------------------------------------------------------------------------------


@njit(part=True, error_model="numpy")
def _send(e: int, edges: Any, factors: Any, messages: Any, laws: Any, tilt: Any, work: Any) -> None:
    """Fill in the message on an edge, in at most as many rows as the vector has components."""
    owner, _, block, size, _ = edges
    factor_starts, matrix_starts, row_starts, matrices, targets, sigma, constants = factors
    f, d, X = owner[e], size[e], work[2]
    begin, end = factor_starts[f], factor_starts[f + 1]
    first, last = row_starts[f], row_starts[f + 1]
    n, log_z, rows = last - first, constants[f], work[5]
    if end - begin == 1:  # of one argument: what the factor is
        log_z -= 0.5 * n * LOG_2PI
        for r in range(n):
            rows[r, d] = targets[first + r]
            for c in range(d):
                rows[r, c] = matrices[matrix_starts[f] + r * d + c]
    else:
        W = matrices[matrix_starts[f] : matrix_starts[f + 1]].reshape(n, -1)
        factor, arguments = (W, targets[first:last], sigma[first:last]), (block, size, laws[1])
        n, log_factor, _ = send(e, begin, end, factor, arguments, laws[0], work, tilt, tilt)
        log_z += log_factor
        for other in range(begin, end):
            if other != e:
                log_z += laws[2][other]
    if n > d:
        for r in range(n):
            for c in range(d + 1):
                X[r, c] = rows[r, c]
        n, left = _settle(X, n, d, work)
        log_z, rows = log_z + left, X
    messages[1][e], messages[2][e] = n, log_z
    _store(rows, n, d, messages[0], block[e])


@njit(cache=True, error_model="numpy")
def _two_pass(
    order: Any, inwards: Any, edges: Any, factors: Any, variables: Any, own: Any, messages: Any, laws: Any, value: Any
) -> None:
    """Fill in all messages: those towards the roots in the order of removal, then the others in the reverse order.

    On an edge that is not ``inwards`` the variable is the leaf: its law goes to the factor on the way in, and the
    factor's message to it on the way back. A factor of one argument needs no law.
    """
    owner, variable, block, size, _ = edges
    factor_starts, by_edge = factors[0], variables[3]
    maximum = np.max(size)
    rows, columns = 1, 2 * maximum
    for f in range(factor_starts.size - 1):
        together = maximum
        for e in range(factor_starts[f], factor_starts[f + 1]):
            together += size[e]
        rows, columns = max(rows, factors[2][f + 1] - factors[2][f]), max(columns, together)
    work, tilt = workspace(rows, columns), np.zeros(columns)
    complete = np.zeros(variables[0].size, np.bool_)
    for n in range(2 * order.size):
        back = n >= order.size
        e = order[2 * order.size - 1 - n] if back else order[n]
        i, f = variable[e], owner[e]
        if back != inwards[e]:
            _send(e, edges, factors, messages, laws, tilt, work)
        elif factor_starts[f + 1] - factor_starts[f] > 1 and not complete[i]:
            if back and by_edge[i + 1] - by_edge[i] > _MANY:
                _cavities(i, variables, edges, own, messages, laws, value, work)
                complete[i] = True
            else:
                k, log_z = _gather(i, e, variables, edges, own, messages, value, work)
                laws[1][e], laws[2][e] = k, log_z + _law(i, k, variables, value, laws[0], block[e], work)


@njit(cache=True, error_model="numpy")
def _beliefs(
    variables: Any, edges: Any, own: Any, messages: Any, value: Any, mean: Any, variance: Any, logs: Any
) -> int:
    """Fill in moments, and log Z of each variable's tree; the first variable that some direction has no law, or -1."""
    starts, sizes = variables[:2]
    maximum, wrong = np.max(sizes), -1
    work, laws = workspace(1, 3 * maximum), np.empty(maximum * (maximum + 1))
    for i in range(sizes.size):
        d, s = sizes[i], starts[i]
        n, log_z = _gather(i, -1, variables, edges, own, messages, value, work)
        logs[i] = log_z + _law(i, n, variables, value, laws, 0, work)
        if wrong < 0 and (n < d or not np.isfinite(logs[i])):
            wrong = i
        for a in range(d):
            mean[s + a * d] = laws[a * (d + 1) + d]
            for b in range(d):
                total = 0.0
                for c in range(d):
                    total += laws[a * (d + 1) + c] * laws[b * (d + 1) + c]
                variance[s + a * d + b] = total
    return wrong


@njit(cache=True, error_model="numpy")
def _natural(edges: Any, messages: Any, B: Any, A: Any) -> None:
    """Fill in the messages as e^{B·x - x·Ax/2}."""
    _, _, block, size, place = edges
    for e in range(size.size):
        d, p, at = size[e], place[e], block[e]
        rows = messages[0][at : at + d * (d + 1)].reshape(d, d + 1)
        natural(rows, messages[1][e], d, B[p : p + d * d].reshape(d, d), A[p : p + d * d].reshape(d, d))


class VectorTwoPass:
    """Two passes over a forest of vectors.

    Attributes:
        possible: whether the own weights of all variables are rows [R, z].
    """

    stride = 1

    def __init__(self, graph: Unrolled, potentials: Potentials) -> None:
        self.graph, self.precision, self.value = graph, potentials.precision, potentials.value
        starts = np.flatnonzero(graph.is_first)
        sizes = np.ones(graph.variables, dtype=np.int64)
        for places in graph.vectors:
            sizes[places[:, 0, 0]] = places.shape[1]
        sizes = sizes[starts]
        blocks = _offsets(sizes * (sizes + 1))
        self.own = _arrays(blocks)
        given = potentials.field, potentials.precision, potentials.value
        self.possible = _own_rows(starts, sizes, blocks, given, *self.own)
        if not self.possible:
            return
        assert graph.peeled is not None
        place = np.flatnonzero(graph.is_first[graph.ends])
        variable = np.searchsorted(starts, graph.ends[place])
        when, inwards = (values[place] for values in graph.peeled)
        self.order = np.argsort(when, kind="stable"), inwards
        size = sizes[variable]
        block = _offsets(size * (size + 1))
        self.edges = graph.owners[place], variable, block[:-1], size, place
        self.sent, self.laws = _arrays(block), _arrays(block)
        self.variables = starts, sizes, blocks, *group_by(variable, starts.size)
        self.factors = _factors(graph, np.searchsorted(place, graph.factor_starts))
        self.mean, self.variance = np.zeros((2, graph.variables))
        self.logs, self.wrong = np.zeros(starts.size), -1

    def sweep(self, count: int) -> tuple[float, int]:
        """Send every message once."""
        _two_pass(*self.order, self.edges, self.factors, self.variables, self.own, self.sent, self.laws, self.value)
        moments = self.mean, self.variance, self.logs
        self.wrong = _beliefs(self.variables, self.edges, self.own, self.sent, self.value, *moments)
        return 0.0, 0

    def messages(self) -> tuple[Array, Array]:
        """Return all messages B and A (E,)."""
        B, A = np.zeros((2, self.graph.edges))
        _natural(self.edges, self.sent, B, A)
        return B, A

    def moments(self) -> tuple[Array, Array]:
        """Return means and variances.

        Raises:
            IndefiniteError: a vector of which nothing says where it is.
        """
        if self.wrong >= 0:
            raise indefinite(self.graph, int(self.variables[0][self.wrong]), 0.0)
        return self.mean, self.variance

    @cached_property
    def log_partition(self) -> float:
        """log Z, from one belief in each tree."""
        from scipy.sparse import coo_array  # here, because they take a tenth of a second to import
        from scipy.sparse.csgraph import connected_components

        owner, variable = self.edges[:2]
        size = self.logs.size + self.graph.factors
        links = coo_array((np.ones(owner.size), (variable, self.logs.size + owner)), shape=(size, size))
        trees = connected_components(links, directed=False)[1][: self.logs.size]
        return float(self.logs[np.unique(trees, return_index=True)[1]].sum())

    @cached_property
    def entropy(self) -> float:
        """log Z of the same laws without data, less the constants of the factors, plus ½ for each free component.

        -∞ if a factor has no noise in some direction.
        """
        targets, sigma, constants = self.factors[4:]
        if not np.all(sigma > 0.0):
            return -np.inf
        zeros, value = np.zeros_like(self.value), np.where(np.isnan(self.value), np.nan, 0.0)
        homogeneous = VectorTwoPass(self.graph, Potentials(zeros, self.precision, value, self.graph.own))
        homogeneous.factors = *self.factors[:4], np.zeros_like(targets), sigma, constants
        homogeneous.sweep(1)
        rows = 0.5 * targets.size * LOG_2PI
        free = sum(int(np.isnan(value[places[..., 0]]).sum()) for places in self.graph.vectors)
        return homogeneous.log_partition - float(constants.sum()) + rows + 0.5 * free


def _offsets(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(sizes)])


def _arrays(blocks: NDArray[np.int64]) -> tuple[Array, NDArray[np.int64], Array]:
    """Return room for rows in blocks, how many there are in each, and their log-constants."""
    return np.zeros(blocks[-1]), np.zeros(blocks.size - 1, np.int64), np.zeros(blocks.size - 1)


def _factors(graph: Unrolled, factor_starts: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """Where the edges, matrices and rows of each factor begin, W, w, σ, and c + log (2π)^{m/2}."""
    shapes, parameters = [], []
    for stack in graph.stacks:
        W, w, constant, sigma = stack.parameters
        shapes.append(np.tile(W.shape[1:], (len(W), 1)))
        parameters.append((W.ravel(), w.ravel(), sigma.ravel(), constant + 0.5 * w.shape[1] * LOG_2PI))
    counts = np.concatenate(shapes)
    columns = [np.concatenate(column) for column in zip(*parameters, strict=True)]
    return factor_starts, _offsets(counts.prod(axis=1)), _offsets(counts[:, 0]), *columns
