"""Messages of an earlier run as the first ones of another: which of them still say something."""

import numpy as np

from factorgraph.engine.cavity import cavity_parameters
from factorgraph.engine.unroll import Potentials, Unrolled
from factorgraph.messages.natural import Array


def same_structure(one: Unrolled, other: Unrolled) -> bool:
    """Return whether edge e of both graphs ties the same element of the same variable to the same factor.

    Parameters, fields and priors may differ.
    """
    if one is other or one.stacks is other.stacks:
        return one.copies == other.copies
    if one.copies != other.copies or dict(one.layout.shapes) != dict(other.layout.shapes):
        return False
    variables = [[_form(graph, name) for name in graph.layout.shapes] for graph in (one, other)]
    return (
        variables[0] == variables[1]
        and len(one.stacks) == len(other.stacks)
        and all(
            type(a.kind) is type(b.kind)
            and a.kind.spins == b.kind.spins
            and a.kind.dimensions == b.kind.dimensions
            and a.kind.states == b.kind.states
            and np.array_equal(a.variables, b.variables)
            for a, b in zip(one.stacks, other.stacks, strict=True)
        )
        and np.array_equal(one.parametric, other.parametric)
    )


def _form(graph: Unrolled, name: str) -> tuple[bool, int, int, bool]:
    variable = graph.layout.model.variables[name]
    return variable.is_spin, variable.states, variable.dimension, variable.shared


def continued(
    graph: Unrolled, potentials: Potentials, B: Array, A: Array, old: tuple[Unrolled, Potentials]
) -> tuple[Array, Array]:
    """Return the copies of the messages of a run on a graph of the same structure, without those that no longer hold.

    Infinite messages are conclusions from evidence and hard constraints: where something that they may rest on has
    changed, they are taken back, as are messages that diverged. A negative precision is good only together with what
    else was known: a real variable that would be left without a positive one loses its messages.

    Args:
        graph: of the new run.
        potentials: of the new run.
        B: messages (E,).
        A: messages (E,).
        old: graph and weights of the earlier run.
    """
    B, A = B.copy(), A.copy()
    lost = np.isnan(B) | ~np.isfinite(A)
    if np.isinf(B).any() and not _follows(graph, potentials, *old):
        lost |= np.isinf(B)
    for k, places in enumerate(graph.categories):
        edge = np.flatnonzero(graph.category_of[graph.ends] == k).reshape(-1, places.shape[1])
        lost[edge] = lost[edge].any(axis=1, keepdims=True)
    B[lost], A[lost] = 0.0, np.where(graph.parametric[lost], 1.0, 0.0)
    if (A < 0.0).any():
        g = cavity_parameters(graph, potentials, B, A)[1]
        bad = np.zeros(graph.variables, dtype=bool)
        bad[graph.ends[~(g >= 0.0)]] = True
        lost = (bad & graph.conjugate & graph.real)[graph.ends] & ~graph.parametric
        B[lost], A[lost] = 0.0, 0.0
    return B, A


def _follows(graph: Unrolled, potentials: Potentials, earlier: Unrolled, then: Potentials) -> bool:
    """Return whether all that was certain in the earlier run still is: its observations and factors are those of this
    one."""
    given = ~np.isnan(then.value)
    return np.array_equal(then.value[given], potentials.value[given]) and (
        earlier is graph
        or all(
            a.kind == b.kind and all(np.array_equal(p, q) for p, q in zip(a.parameters, b.parameters, strict=True))
            for a, b in zip(earlier.stacks, graph.stacks, strict=True)
        )
    )
