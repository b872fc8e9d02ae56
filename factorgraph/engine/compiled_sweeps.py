"""Compiled sweeps for graphs of pairs, vectors or categories, and for forests: which there are, for which runs."""

from collections.abc import Callable
from typing import Any

import numpy as np

from factorgraph.engine.binary_sweeps import binary_sweeps
from factorgraph.engine.category_sweeps import category_sweeps
from factorgraph.engine.constants import WithConstants, add_constants, changing_edges, constant_messages
from factorgraph.engine.damping import Damping
from factorgraph.engine.real_sweeps import real_sweeps
from factorgraph.engine.spin_sweeps import spin_sweeps
from factorgraph.engine.sweeps import Sweeps
from factorgraph.engine.tree_sweeps import tree_sweeps
from factorgraph.engine.unroll import Potentials, Unrolled
from factorgraph.engine.vector_sweeps import vector_sweeps
from factorgraph.factors.base import Kind
from factorgraph.factors.pairwise import RealPair, SpinPair
from factorgraph.factors.parity import SpinProduct
from factorgraph.factors.potts import PottsPair
from factorgraph.factors.table import Tabulated
from factorgraph.factors.vector_linear import VectorGaussian
from factorgraph.messages.natural import Array

#: Sweeps over pairs of one kind, or None where they do not fit: from graph, weights, first messages (None for zeros),
#: schedule, damping, maximum and generator.
_OF_PAIRS: dict[type[Kind], Callable[..., Any]] = {
    SpinPair: spin_sweeps,
    SpinProduct: spin_sweeps,
    RealPair: real_sweeps,
}
#: What there may be beside each other for those of categories.
_DISCRETE = {PottsPair, Tabulated, SpinPair, SpinProduct}


def compiled_sweeps(
    graph: Unrolled,
    potentials: Potentials,
    start: tuple[Array, Array] | None,
    schedule: str,
    damping: Damping,
    maximum: bool,
    rng: np.random.Generator,
) -> Sweeps | None:
    """Return sweeps equal to the general ones; None where there are none for this graph and this run."""
    if graph.nonconjugate:
        return None
    kinds = {type(stack.kind) for stack in graph.stacks}
    if kinds == {VectorGaussian}:
        # log Z and entropy are computed when they are asked for
        vectors: Any = vector_sweeps(graph, potentials, schedule)
        return vectors
    sweeps = _over_pairs(graph, potentials, start, schedule, damping, maximum, rng)
    return tree_sweeps(graph, potentials, start, schedule, maximum) if sweeps is None else sweeps


def _over_pairs(
    graph: Unrolled,
    potentials: Potentials,
    start: tuple[Array, Array] | None,
    schedule: str,
    damping: Damping,
    maximum: bool,
    rng: np.random.Generator,
) -> Sweeps | None:
    """Return sweeps over the stacks of pairs, with what constant messages add to the variables' own weights."""
    pairs = graph.without_constants
    makers = _makers(pairs)
    if not makers:
        return None
    sent = constant_messages(graph, maximum)
    known = add_constants(graph, potentials, sent) if sent else potentials
    if known is None:
        return None
    first = start
    if start is not None and sent:
        edges = changing_edges(graph)
        first = start[0][edges], start[1][edges]
    for make in makers:
        sweeps = make(pairs, known, first, schedule, damping, maximum, rng)
        if sweeps is not None:
            return WithConstants(sweeps, graph, sent) if sent else sweeps
    return None


def _makers(graph: Unrolled) -> list[Callable[..., Any]]:
    """Return what may make sweeps over pairs, the quickest first."""
    kinds = {type(stack.kind) for stack in graph.stacks}
    if not kinds or any(len(stack.kind.widths) != 2 for stack in graph.stacks):
        return []
    one = [_OF_PAIRS[kind] for kind in kinds if kind in _OF_PAIRS and len(graph.stacks) == 1]
    return one + [binary_sweeps, category_sweeps] * (kinds <= _DISCRETE)
