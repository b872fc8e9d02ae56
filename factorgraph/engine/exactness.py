"""Which results of sending every message once are exact, and how large the errors of numerical integrals are."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from factorgraph.engine.unroll import Potentials, Stack, Unrolled, incoming
from factorgraph.interface.errors import ContradictionError, IndefiniteError
from factorgraph.messages.natural import Array

#: Largest estimated error of an integral done numerically up to which a result is called exact.
LARGEST_ERROR = 1e-8


def is_exact(graph: Unrolled, potentials: Potentials) -> bool:
    """Return whether sending every message once on this forest gives exact means, variances and log Z.

    No sum may be approximated, no variable have a law of its own; and of the messages that a mixture is projected to,
    at most one may enter each tree of Gaussian factors: beyond it the means and variances stay exact, because they
    follow linearly from those of one variable, but not where two projections meet.
    """
    if graph.nonconjugate or any(stack.kind.full_variance or stack.kind.approximate for stack in graph.stacks):
        return False
    projecting = [stack for stack in graph.stacks if stack.kind.projects]
    if not projecting:
        return True
    from scipy.sparse import coo_array  # here, because they take a tenth of a second to import
    from scipy.sparse.csgraph import connected_components

    element = np.arange(graph.variables) if graph.first_of is None else graph.first_of  # one for all places of a vector
    free = np.zeros(graph.variables, dtype=bool)
    free[element[graph.real & np.isnan(potentials.value)]] = True
    links = [np.empty((0, 2), np.int64)]
    for stack in graph.stacks:
        ends = element[stack.variables[:, list(stack.kind.reals)]]
        rows, slots = np.nonzero(free[ends])
        anchors = ends[rows, free[ends].argmax(axis=1)[rows]] if rows.size else rows
        links.append(np.stack([anchors, ends[rows, slots]], axis=1).astype(np.int64))
    entering = [_first_marked(element[stack.variables[:, stack.kind.projects]], free) for stack in projecting]
    rows, columns = np.concatenate(links).T
    matrix = coo_array((np.ones(rows.size), (rows, columns)), shape=(graph.variables, graph.variables))
    tree = connected_components(matrix, directed=False)[1]
    return bool(np.bincount(tree[np.concatenate(entering)], minlength=1).max() <= 1)


def _first_marked(targets: NDArray[Any], marked: NDArray[np.bool_]) -> NDArray[Any]:
    """Of each row of variables the first marked one; rows without one are left out."""
    found = marked[targets]
    return targets[np.arange(len(targets)), found.argmax(axis=1)][found.any(axis=1)]


def integration_error(graph: Unrolled, laws: tuple[Array, Array]) -> float:
    """Return the largest estimated error of all integrals that factors do numerically; 0 if all have closed forms.

    Args:
        graph: the factors.
        laws: all cavity laws.

    Raises:
        IndefiniteError: an integral diverges.
        ContradictionError: a factor is 0 wherever it was looked at.
    """
    largest = 0.0
    for stack in graph.stacks:
        if not stack.kind.numerical or not len(stack.variables):
            continue
        given = incoming(stack.kind, stack.variables, (laws[0][stack.edges], laws[1][stack.edges]), None)
        errors = stack.kind.error(stack.parameters, given)
        if not np.all(errors < np.inf):
            row = int(np.flatnonzero(~(errors < np.inf))[0])
            _refuse(graph, stack, row, given.second[row], bool(np.isnan(errors[row])))
        largest = max(largest, float(errors.max()))
    return largest


def _refuse(graph: Unrolled, stack: Stack, row: int, variances: Array, zero: bool) -> None:
    factor = graph.factor_label(stack, row)
    if zero:
        raise ContradictionError(f"evidence must be consistent, got no place where {factor} is not 0")
    spin = np.array(stack.kind.spins)
    open_ended = stack.variables[row][~spin & (np.isinf(variances) | (variances < 0.0))]
    cause = "it grows faster than the laws of its arguments fall off"
    if open_ended.size:
        names = " and ".join(f"`{graph.label(i)}`" for i in open_ended)
        cause = f"nothing else says where {names} must be: give it a prior, a precision or another factor"
    raise IndefiniteError(
        f"the integral of {factor} must be finite, with second moments, got one that diverges; {cause}"
    )
