"""Which results of sending every message once are exact."""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factorgraph.unroll import Unrolled, Weights


def is_exact(graph: Unrolled, weights: Weights) -> bool:
    """Whether sending every message once on this forest gives exact means, variances and log Z.

    No sum may be approximated, no variable have a law of its own; and of the messages that a mixture is projected to,
    at most one may enter each tree of Gaussian factors: beyond it the means and variances stay exact, because they
    follow linearly from those of one variable, but two projections do not know of each other.
    """
    if graph.laws or any(stack.kind.relaxed or stack.kind.approximate for stack in graph.stacks):
        return False
    projecting = [stack for stack in graph.stacks if stack.kind.projects]
    if not projecting:
        return True
    from scipy.sparse import coo_array  # here, because they take a tenth of a second to import
    from scipy.sparse.csgraph import connected_components

    real = ~graph.spin & np.isnan(weights.value)
    links = [np.empty((0, 2), np.int64)]
    for stack in graph.stacks:
        linked = [i for i, spin in enumerate(stack.kind.spins) if not spin]
        for pair in itertools.pairwise(linked):
            ends = stack.variables[:, pair]
            links.append(ends[real[ends].all(axis=1)].astype(np.int64))
    entering = [_first_marked(stack.variables[:, stack.kind.projects], real) for stack in projecting]
    rows, columns = np.concatenate(links).T
    matrix = coo_array((np.ones(rows.size), (rows, columns)), shape=(graph.variables, graph.variables))
    tree = connected_components(matrix, directed=False)[1]
    return bool(np.bincount(tree[np.concatenate(entering)], minlength=1).max() <= 1)


def _first_marked(targets: NDArray[Any], marked: NDArray[np.bool_]) -> NDArray[Any]:
    """Of each row of variables the first marked one; rows without one are left out."""
    found = marked[targets]
    return targets[np.arange(len(targets)), found.argmax(axis=1)][found.any(axis=1)]
