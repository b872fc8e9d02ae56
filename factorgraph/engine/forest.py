"""Forests: found, and ordered, by taking leaves off."""

from typing import Any

import numpy as np

from factorgraph.runtime.compiled import njit


@njit(cache=True)
def group_by(ends: Any, size: int) -> Any:
    """Counting sort: positions in ``ends`` by value 0..size-1, as (starts, order)."""
    starts = np.zeros(size + 1, np.int64)
    for i in ends:
        starts[i + 1] += 1
    for i in range(size):
        starts[i + 1] += starts[i]
    cursor, order = starts[:-1].copy(), np.empty(ends.size, np.int32)
    for e in range(ends.size):
        i = ends[e]
        order[cursor[i]] = e
        cursor[i] += 1
    return starts, order


@njit(cache=True)
def peel(starts: Any, variables: Any, var_starts: Any, var_order: Any, owner: Any) -> Any:
    """Take leaves off a bipartite graph, round by round, until nothing is left.

    A variable or factor with one edge left is a leaf of its round. Returns the round in which each edge was removed,
    whether its factor was the leaf, and how many edges went: all of them if and only if the graph is a forest.
    """
    F, N, E = starts.size - 1, var_starts.size - 1, variables.size
    degree, alive = np.empty(F + N, np.int64), np.ones(E, np.bool_)
    for f in range(F):
        degree[f] = starts[f + 1] - starts[f]
    for i in range(N):
        degree[F + i] = var_starts[i + 1] - var_starts[i]
    queue, turn = np.empty(F + N, np.int64), np.zeros(F + N, np.int64)
    head, tail, removed = 0, 0, 0
    for node in range(F + N):
        if degree[node] == 1:
            queue[tail] = node
            tail += 1
    when, by_factor = np.zeros(E, np.int64), np.zeros(E, np.bool_)
    while head < tail:
        node = queue[head]
        head += 1
        if degree[node] != 1:
            continue
        edge = -1
        if node < F:
            for p in range(starts[node], starts[node + 1]):
                if alive[p]:
                    edge = p
        else:
            for p in range(var_starts[node - F], var_starts[node - F + 1]):
                if alive[var_order[p]]:
                    edge = var_order[p]
        alive[edge], when[edge], by_factor[edge] = False, turn[node], node < F
        removed += 1
        other = F + variables[edge] if node < F else owner[edge]
        degree[node] -= 1
        degree[other] -= 1
        turn[other] = max(turn[other], turn[node] + 1)
        if degree[other] == 1:
            queue[tail] = other
            tail += 1
    return when, by_factor, removed


@njit(cache=True)
def eliminate_pairs(ends: Any, size: int) -> Any:
    """Order in which leaves can be taken off a graph of pairs (F, 2), as rows (leaf, the other end, their pair).

    Leaves queue up, so that neighbours in the order seldom wait for each other. Of each variable only the number of its
    remaining pairs and the exclusive-or of their indices and other ends are kept: for a leaf these are the ones sought.
    The order has F rows if and only if the graph is a forest.
    """
    left = np.zeros((size, 3), np.int32)
    for f in range(ends.shape[0]):
        i, j = ends[f, 0], ends[f, 1]
        left[i, 0] += 1
        left[j, 0] += 1
        left[i, 1] ^= j
        left[j, 1] ^= i
        left[i, 2] ^= f
        left[j, 2] ^= f
    order, queue = np.empty((min(ends.shape[0], size), 3), np.int32), np.empty(size, np.int32)
    count, head, tail = 0, 0, 0
    for i in range(size):
        if left[i, 0] == 1:
            queue[tail] = i
            tail += 1
    while head < tail:
        i = queue[head]
        head += 1
        if left[i, 0] != 1:
            continue
        j, f = left[i, 1], left[i, 2]
        order[count, 0], order[count, 1], order[count, 2] = i, j, f
        count += 1
        left[i, 0] = 0
        left[j, 0] -= 1
        left[j, 1] ^= i
        left[j, 2] ^= f
        if left[j, 0] == 1:
            queue[tail] = j
            tail += 1
    return order[:count]
