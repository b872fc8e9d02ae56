"""Forests: found, and ordered, by taking leaves off."""

from typing import Any

import numpy as np
from numba import njit


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
    """Order in which leaves can be taken off a graph of pairs (F, 2), as rows (pair, which end is the leaf).

    Of each variable only the number of its remaining pairs and the exclusive-or of their indices is kept: for a leaf it
    is the index itself. The order has F rows if and only if the graph is a forest.
    """
    degree, mixed = np.zeros(size, np.int32), np.zeros(size, np.int32)
    for f in range(ends.shape[0]):
        for side in range(2):
            degree[ends[f, side]] += 1
            mixed[ends[f, side]] ^= f
    order, count = np.empty((ends.shape[0], 2), np.int32), 0
    for start in range(size):
        i = start
        while degree[i] == 1:
            f = mixed[i]
            side = 0 if ends[f, 0] == i else 1
            order[count, 0], order[count, 1] = f, side
            count += 1
            degree[i] = 0
            i = ends[f, 1 - side]
            degree[i] -= 1
            mixed[i] ^= f
    return order[:count]
