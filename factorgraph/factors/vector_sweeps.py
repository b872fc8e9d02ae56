"""Compiled two passes over a forest of vectors: long chains, such as Kalman smoothers, have nothing to batch.

The formulas are those of ``VectorGaussian.rule``, for one factor and one of its arguments at a time.
"""

import math
from typing import Any

import numpy as np

from factorgraph.compiled import njit
from factorgraph.forest import group_by
from factorgraph.messages import Array
from factorgraph.unroll import Unrolled, Weights

#: A pivot that is smaller than this, relative to its diagonal element, is rounding: times the number of columns.
_ROUNDING = 16.0 * float(np.finfo(float).eps)


def vector_sweeps(graph: Unrolled, weights: Weights, schedule: str) -> "VectorTwoPass | None":
    """Two passes, or None: with observations, and for other schedules."""
    firsts = weights.value[graph.firsts]
    return VectorTwoPass(graph, weights) if schedule == "two-pass" and np.isnan(firsts).all() else None


@njit(cache=True, error_model="numpy")
def _solve(M: Any, R: Any) -> Any:
    """M⁻¹ R for symmetric M >= 0, by Cholesky; the pseudo-inverse if M is singular."""
    n = len(M)
    L = M.copy()
    for j in range(n):
        for k in range(j):
            L[j, j] -= L[j, k] * L[j, k]
        if not L[j, j] > _ROUNDING * n * M[j, j]:
            return np.linalg.pinv(M) @ R
        L[j, j] = math.sqrt(L[j, j])
        for i in range(j + 1, n):
            for k in range(j):
                L[i, j] -= L[i, k] * L[j, k]
            L[i, j] /= L[j, j]
    X = R.copy()
    for c in range(R.shape[1]):
        for i in range(n):
            for k in range(i):
                X[i, c] -= L[i, k] * X[k, c]
            X[i, c] /= L[i, i]
        for i in range(n - 1, -1, -1):
            for k in range(i + 1, n):
                X[i, c] -= L[k, i] * X[k, c]
            X[i, c] /= L[i, i]
    return X


@njit(cache=True, error_model="numpy")
def _send(own: int, edges: Any, W: Any, w: Any, place: Any, size: Any, h: Any, G: Any, B: Any, A: Any) -> None:
    """Fill in the message on the edge ``own`` of a factor with these edges, from the laws h and G on the others."""
    m, n, d = W.shape[0], W.shape[1] - size[own], size[own]
    U, W_i = np.empty((m, n)), np.empty((m, d))
    M, R = np.zeros((n, n)), np.zeros((n, 1 + d))
    column, to = 0, 0
    for e in edges:
        k, p = size[e], place[e]
        if e == own:
            W_i[:] = W[:, column : column + k]
        else:
            U[:, to : to + k] = W[:, column : column + k]
            for a in range(k):
                R[to + a, 0] = h[p + a * k]
                for b in range(k):
                    M[to + a, to + b] = G[p + a * k + b]
            to += k
        column += k
    for r in range(m):
        for a in range(n):
            R[a, 0] += U[r, a] * w[r]
            for b in range(n):
                M[a, b] += U[r, a] * U[r, b]
            for b in range(d):
                R[a, 1 + b] += U[r, a] * W_i[r, b]
    X = _solve(M, R)
    p = place[own]
    B[p : p + d * d], A[p : p + d * d] = 0.0, 0.0
    for r in range(m):
        for b in range(1 + d):
            rest = w[r] if b == 0 else W_i[r, b - 1]
            for a in range(n):
                rest -= U[r, a] * X[a, b]
            for a in range(d):
                if b == 0:
                    B[p + a * d] += W_i[r, a] * rest
                else:
                    A[p + a * d + b - 1] += 0.5 * W_i[r, a] * rest
                    A[p + (b - 1) * d + a] += 0.5 * W_i[r, a] * rest


@njit(cache=True, error_model="numpy")
def _cavities(
    edges: Any, start: int, d: int, field: Any, precision: Any, place: Any, B: Any, A: Any, h: Any, G: Any
) -> None:
    """Fill in h and G on the edges of a variable: its own weight and all other messages, from both sides."""
    for q in range(d * d):
        left, right = (field[start + q], precision[start + q]), (0.0, 0.0)
        for e in edges:
            p = place[e] + q
            h[p], G[p] = left
            left = left[0] + B[p], left[1] + A[p]
        for n in range(len(edges) - 1, -1, -1):
            p = place[edges[n]] + q
            h[p], G[p] = h[p] + right[0], G[p] + right[1]
            right = right[0] + B[p], right[1] + A[p]


@njit(cache=True, error_model="numpy")
def _two_pass(
    order: Any, inwards: Any, edges: Any, factors: Any, variables: Any, field: Any, precision: Any, B: Any, A: Any
) -> None:
    """Fill in all messages: those towards the roots in the order of removal, then the others in the reverse order.

    On an edge that is not ``inwards`` the variable is the leaf: its law goes to the factor on the way in, and the
    factor's message to it on the way back.
    """
    owner, variable, place, size, start = edges
    factor_starts, matrix_starts, row_starts, matrices, targets = factors
    variable_starts, by_variable = variables
    h, G = np.zeros(B.size), np.zeros(B.size)
    complete = np.zeros(variable_starts.size - 1, np.bool_)
    for n in range(2 * order.size):
        back = n >= order.size
        e = order[2 * order.size - 1 - n] if back else order[n]
        f, i = owner[e], variable[e]
        if back == inwards[e]:
            if not complete[i]:
                around = by_variable[variable_starts[i] : variable_starts[i + 1]]
                _cavities(around, start[e], size[e], field, precision, place, B, A, h, G)
                complete[i] = back
        else:
            w = targets[row_starts[f] : row_starts[f + 1]]
            W = matrices[matrix_starts[f] : matrix_starts[f + 1]].reshape(w.size, -1)
            _send(e, np.arange(factor_starts[f], factor_starts[f + 1]), W, w, place, size, h, G, B, A)


class VectorTwoPass:
    """Two passes over a forest of vectors."""

    stride = 1
    log_partition = None

    def __init__(self, graph: Unrolled, weights: Weights) -> None:
        self.weights = weights
        self.B, self.A = np.zeros(graph.edges), np.zeros(graph.edges)
        assert graph.peeled is not None
        place = np.flatnonzero(graph.firsts[graph.ends])
        dimension = np.ones(graph.variables, dtype=np.int64)
        for places in graph.vectors:
            dimension[places[:, 0, 0]] = places.shape[1]
        start = graph.ends[place].astype(np.int64)
        when, inwards = (values[place] for values in graph.peeled)
        self.order = np.argsort(when, kind="stable"), inwards
        self.edges = graph.owners[place], start, place, dimension[start], start
        rows, matrices, targets = [], [], []
        for stack in graph.stacks:
            W, w, _ = stack.parameters
            rows.append(np.tile(W.shape[1:], (len(W), 1)))
            matrices.append(W.ravel())
            targets.append(w.ravel())
        counts = np.concatenate(rows)
        starts = (np.concatenate([[0], np.cumsum(sizes)]) for sizes in (counts.prod(axis=1), counts[:, 0]))
        factor_starts = np.searchsorted(place, graph.factor_starts)
        self.factors = factor_starts, *starts, np.concatenate(matrices), np.concatenate(targets)
        self.variables = group_by(start, graph.variables)

    def sweep(self, count: int) -> tuple[float, int]:
        """Send every message once."""
        field, precision = self.weights.field, self.weights.precision
        _two_pass(*self.order, self.edges, self.factors, self.variables, field, precision, self.B, self.A)
        return 0.0, 0

    def messages(self) -> tuple[Array, Array]:
        """All messages B and A (E,)."""
        return self.B, self.A

    def moments(self) -> None:
        """They follow from the messages."""
