"""From the messages of a forest to values of its variables: from the roots outwards, each given those before it.

What is farther from the root than a variable has told it all in its messages; what is nearer is fixed. So the law of
each variable given those that have a value is at hand: maxima of these laws are a most probable state [Viterbi], draws
from them a sample of the joint law.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factorgraph.engine.cavity import cavity_laws, totals
from factorgraph.engine.schedules import Batch, two_pass
from factorgraph.engine.unroll import Potentials, Unrolled
from factorgraph.factors.base import chosen
from factorgraph.messages.natural import Array, Incoming, natural

#: From a graph, places (n,) of whole variables, and the natural parameters H and G of their laws to values, NaN for
#: what stays free.
Pick = Callable[[Unrolled, NDArray[Any], Array, Array], Array]


def from_the_roots(graph: Unrolled, potentials: Potentials, B: Array, A: Array, pick: Pick, *, maximum: bool) -> Array:
    """Return values (N,) of all variables that ``pick`` gives one.

    Args:
        graph: a forest.
        potentials: of the variables; what is observed is kept.
        B: messages (E,) of two passes.
        A: messages (E,).
        pick: chooses values.
        maximum: whether the messages are those of maxima.
    """
    steps = two_pass(graph)
    assert steps is not None and graph.peeled is not None
    outwards = ~graph.peeled[1]
    fixed = replace(potentials, value=potentials.value.copy())
    free = np.isnan(potentials.value)
    for places in graph.vectors:
        free[places] = free[places].any(axis=(1, 2), keepdims=True)
    free[graph.ends[outwards]] = False
    roots = np.flatnonzero(free)
    _set(fixed.value, roots, pick(graph, roots, *(values[roots] for values in totals(graph, potentials, B, A))))
    for step in steps:
        for batch in step:
            _fix(graph, fixed, (B, A), batch, outwards, pick, maximum)
    return fixed.value


def _set(value: Array, places: NDArray[Any], chosen: Array) -> None:
    """Fill in what was chosen where nothing was observed."""
    value[places] = np.where(np.isnan(value[places]), chosen, value[places])


def _fix(
    graph: Unrolled,
    fixed: Potentials,
    messages: tuple[Array, Array],
    batch: Batch,
    outwards: NDArray[np.bool_],
    pick: Pick,
    maximum: bool,
) -> None:
    """Fix the variables to which the factors of a batch send outwards, one argument after the other."""
    stack = graph.stacks[batch.stack]
    if batch.rows is None or batch.slots is None:
        return
    arity, slot = stack.variables.shape[1], 0
    for width in stack.kind.widths:
        own = slice(slot, slot + width)
        edges = stack.offset + batch.rows * arity + slot
        open_ = np.isnan(fixed.value[stack.variables[batch.rows, own]]).any(axis=1)
        rows = batch.rows[batch.slots[:, slot] & outwards[edges] & open_]
        slot += width
        if not rows.size:
            continue
        table = stack.offset + rows[:, None] * arity + np.arange(arity)
        first, second = (law.reshape(table.shape) for law in cavity_laws(graph, fixed, *messages, table.ravel()))
        sent = stack.kind.rule(chosen(stack.parameters, rows), Incoming(first, second), maximum=maximum)
        places = stack.variables[rows, own].ravel()
        H, G = first[:, own].ravel(), second[:, own].ravel()
        real = graph.real[places] & graph.single[places]
        H[real], G[real], _ = natural(H[real], G[real])
        H = H + sent.B[:, own].ravel()
        G = G if sent.A is None else G + sent.A[:, own].ravel()
        _set(fixed.value, places, pick(graph, places, H, G))
