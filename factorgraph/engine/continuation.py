"""Messages of an earlier run as the first ones of another: which factors both have, and which messages still hold."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from factorgraph.engine.cavity import cavity_parameters
from factorgraph.engine.unroll import Potentials, Stack, Unrolled
from factorgraph.messages.natural import Array


class Shared(NamedTuple):
    """What two graphs have in common.

    Attributes:
        places: (N,) of each scalar of the earlier one its place in the other; -1 if it has none.
        stacks: stacks of the earlier graph and of the other, and which rows (R,) of one are which of the other.
    """

    places: NDArray[np.intp]
    stacks: list[tuple[Stack, Stack, NDArray[np.intp], NDArray[np.intp]]]


def shared(earlier: Unrolled, graph: Unrolled) -> Shared | None:
    """Return which factors are in both graphs; None without any, or where variables of one name differ in form.

    Two graphs of the same structure share every factor, whatever its parameters. In others a factor is the same if it
    is of one kind and on the same elements of variables of the same names: of several on the same elements the first is
    the first.
    """
    if _same_structure(earlier, graph):
        rows = [np.arange(len(stack.variables)) for stack in graph.stacks]
        return Shared(np.arange(graph.variables), list(zip(earlier.stacks, graph.stacks, rows, rows, strict=True)))
    names = [name for name in earlier.layout.shapes if name in graph.layout.shapes]
    if earlier.copies != graph.copies or any(_form(earlier, name) != _form(graph, name) for name in names):
        return None
    places = np.full((earlier.copies, earlier.layout.size), -1)
    of_copy = graph.layout.size * np.arange(graph.copies)[:, None]
    for name in names:
        places[:, earlier.layout.slice(name)] = of_copy + np.arange(graph.layout.size)[graph.layout.slice(name)]
    found = list(_common_rows(earlier, graph, places.ravel()))
    return Shared(places.ravel(), found) if found else None


def _common_rows(
    earlier: Unrolled, graph: Unrolled, places: NDArray[np.intp]
) -> Iterator[tuple[Stack, Stack, NDArray[np.intp], NDArray[np.intp]]]:
    for old in earlier.stacks:
        for new in graph.stacks:
            if old.kind != new.kind or old.variables.shape[1] != new.variables.shape[1]:
                continue
            moved = places[old.variables]
            both = np.concatenate([moved, new.variables])
            row = np.unique(both, axis=0, return_inverse=True)[1].ravel()
            keys = [part * len(row) + _count_before(part) for part in np.split(row, [len(moved)])]
            _, first, second = np.intersect1d(*keys, assume_unique=True, return_indices=True)
            kept = (moved[first] >= 0).all(axis=1)
            if kept.any():
                yield old, new, first[kept], second[kept]


def _count_before(values: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return (F,) how many equal values come before each."""
    order = np.argsort(values, kind="stable")
    ordered, before = values[order], np.empty_like(values)
    before[order] = np.arange(values.size) - np.searchsorted(ordered, ordered)
    return before


def _same_structure(one: Unrolled, other: Unrolled) -> bool:
    """Return whether edge e of both graphs ties the same element of the same variable to the same factor.

    Parameters, fields and priors may differ.
    """
    if one is other or one.stacks is other.stacks:
        return one.copies == other.copies
    if one.copies != other.copies or list(one.layout.shapes) != list(other.layout.shapes):
        return False
    return (
        all(_form(one, name) == _form(other, name) for name in one.layout.shapes)
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


def _form(graph: Unrolled, name: str) -> tuple[Any, ...]:
    variable = graph.layout.model.variables[name]
    return graph.layout.shapes[name], variable.is_spin, variable.states, variable.dimension, variable.shared


def continued(
    graph: Unrolled, potentials: Potentials, earlier: Unrolled, then: Potentials, common: Shared, B: Array, A: Array
) -> tuple[Array, Array]:
    """Return the messages of an earlier run where its factors are, without those that no longer hold, and silence else.

    Infinite messages are conclusions from evidence and hard constraints: where something that they may rest on has
    changed, they are taken back, as are messages that diverged. A negative precision is good only together with what
    else was known: a real variable that would be left without a positive one loses its messages.

    Args:
        graph: of the new run.
        potentials: of the new run.
        earlier: graph of the earlier run.
        then: weights of the earlier run.
        common: what both have.
        B: messages (E,) of the earlier run.
        A: messages (E,) of the earlier run.
    """
    sent = B, A
    B, A = np.zeros(graph.edges), graph.parametric.astype(np.float64)
    for old, new, rows, own in common.stacks:
        for source, target in zip(sent, (B, A), strict=True):
            target[new.edges].reshape(new.variables.shape)[own] = source[old.edges].reshape(old.variables.shape)[rows]
    lost = np.isnan(B) | ~np.isfinite(A)
    if np.isinf(B).any() and not _follows(potentials, earlier, then, common):
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


def _follows(potentials: Potentials, earlier: Unrolled, then: Potentials, common: Shared) -> bool:
    """Return whether all that was certain in the earlier run still is: its observations, what its fields exclude, and
    its factors are among those of the new one."""
    given, excluded = ~np.isnan(then.value), np.isneginf(then.field)
    if (common.places[given | excluded] < 0).any():
        return False
    return (
        np.array_equal(then.value[given], potentials.value[common.places[given]])
        and bool(np.isneginf(potentials.field[common.places[excluded]]).all())
        and sum(rows.size * old.variables.shape[1] for old, _, rows, _ in common.stacks) == earlier.edges
        and all(
            old is new
            or (
                old.kind == new.kind
                and all(np.array_equal(p[rows], q[own]) for p, q in zip(old.parameters, new.parameters, strict=True))
            )
            for old, new, rows, own in common.stacks
        )
    )
