"""Compiled sweeps for graphs whose factors are all of one kind: which there are, and for which schedules they fit."""

from collections.abc import Callable
from typing import Any

from factorgraph.engine.category_sweeps import category_sweeps
from factorgraph.engine.damping import Damping
from factorgraph.engine.real_sweeps import real_sweeps
from factorgraph.engine.spin_sweeps import spin_sweeps
from factorgraph.engine.sweeps import Sweeps
from factorgraph.engine.unroll import Unrolled, Weights
from factorgraph.engine.vector_sweeps import vector_sweeps
from factorgraph.factors.base import Kind
from factorgraph.factors.pairwise import RealPair, SpinPair
from factorgraph.factors.potts import PottsPair
from factorgraph.factors.table import Tabulated
from factorgraph.factors.vector_linear import VectorGaussian
from factorgraph.messages.natural import Array

#: From graph, weights, first messages (None for zeros), schedule and damping to sweeps, or None where they do not fit.
_OF_KIND: dict[type[Kind], Callable[..., Any]] = {
    SpinPair: spin_sweeps,
    RealPair: real_sweeps,
    VectorGaussian: vector_sweeps,
    PottsPair: category_sweeps,
    Tabulated: category_sweeps,
}


def compiled_sweeps(
    graph: Unrolled, weights: Weights, start: tuple[Array, Array] | None, schedule: str, damping: Damping
) -> Sweeps | None:
    """Sweeps equal to the general ones; None where there are none for this graph and this run."""
    kinds = {type(stack.kind) for stack in graph.stacks}
    if len(kinds) != 1 or graph.laws:
        return None
    make = _OF_KIND.get(kinds.pop())
    return None if make is None else make(graph, weights, start, schedule, damping)
