"""Compiled sweeps for graphs of pairs, of vectors, and for forests: which there are, and for which runs they fit."""

from collections.abc import Callable
from typing import Any

import numpy as np

from factorgraph.engine.constants import WithConstants, add_constants, constant_messages
from factorgraph.engine.damping import Damping
from factorgraph.engine.real_sweeps import real_sweeps
from factorgraph.engine.spin_sweeps import spin_sweeps
from factorgraph.engine.sweeps import Sweeps
from factorgraph.engine.tree_sweeps import tree_sweeps
from factorgraph.engine.unroll import Unrolled, Weights
from factorgraph.engine.vector_sweeps import vector_sweeps
from factorgraph.factors.base import Kind
from factorgraph.factors.pairwise import RealPair, SpinPair
from factorgraph.factors.vector_linear import VectorGaussian
from factorgraph.messages.natural import Array

#: From graph, weights, first messages (None for zeros), schedule, damping, maximum and generator to sweeps, or None where they do not fit.
_OF_KIND: dict[type[Kind], Callable[..., Any]] = {
    SpinPair: spin_sweeps,
    RealPair: real_sweeps,
    VectorGaussian: vector_sweeps,
}


def compiled_sweeps(
    graph: Unrolled,
    weights: Weights,
    start: tuple[Array, Array] | None,
    schedule: str,
    damping: Damping,
    maximum: bool,
    rng: np.random.Generator,
) -> Sweeps | None:
    """Sweeps equal to the general ones; None where there are none for this graph and this run."""
    if graph.laws:
        return None
    others = [stack for stack in graph.stacks if not stack.constant]
    sweeps = None
    if len(others) == 1 and (make := _OF_KIND.get(type(others[0].kind))) is not None:
        stack, sent = others[0], constant_messages(graph, maximum)
        core, known = graph.of_stack(stack), add_constants(graph, weights, sent) if sent else weights
        first = start if start is None else (start[0][stack.edges], start[1][stack.edges])
        sweeps = None if known is None else make(core, known, first, schedule, damping, maximum, rng)
        if sweeps is not None and sent:
            sweeps = WithConstants(sweeps, graph, stack, sent)
    return tree_sweeps(graph, weights, start, schedule, maximum) if sweeps is None else sweeps
