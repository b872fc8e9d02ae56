"""Compiled sweeps for graphs of pairs, vectors or categories, and for forests: which there are, for which runs."""

from collections.abc import Callable
from typing import Any

import numpy as np

from factorgraph.engine.category_sweeps import category_sweeps
from factorgraph.engine.constants import WithConstants, add_constants, constant_messages
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

#: Sweeps over pairs, or None where they do not fit: from graph, weights, first messages (None for zeros), schedule,
#: damping, maximum and generator.
_OF_PAIRS: dict[type[Kind], Callable[..., Any]] = {
    SpinPair: spin_sweeps,
    SpinProduct: spin_sweeps,
    RealPair: real_sweeps,
}


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
    if kinds in ({PottsPair}, {Tabulated}) and graph.categories:
        return None if maximum else category_sweeps(graph, potentials, start, schedule, damping)
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
    """Return sweeps over the one stack of pairs, with what constant messages add to the variables' own weights."""
    others = [stack for stack in graph.stacks if not stack.constant]
    make = _OF_PAIRS.get(type(others[0].kind)) if len(others) == 1 else None
    if make is None or others[0].variables.shape[1] != 2:
        return None
    stack, sent = others[0], constant_messages(graph, maximum)
    known = add_constants(graph, potentials, sent) if sent else potentials
    if known is None:
        return None
    first = start if start is None else (start[0][stack.edges], start[1][stack.edges])
    sweeps = make(graph.of_stack(stack), known, first, schedule, damping, maximum, rng)
    return WithConstants(sweeps, graph, stack, sent) if sent and sweeps is not None else sweeps
