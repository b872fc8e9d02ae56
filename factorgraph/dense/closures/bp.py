"""Relaxed belief propagation: cavity means on every edge, full variances [DL, App. A.3].

A cavity mean depends on the messages of its own edge in all earlier iterations of the batch. Keeping them would take
(outputs × inputs × samples) numbers; instead the layer's full quantities of each iteration are kept, and the
messages of a block of edges are replayed from the first iteration on. At the first one cavity and full means coincide:
BP is BPI there, and with one iteration a batch it costs the same. Where the weights are
observed the cavity means of the inputs are kept on the edges instead, and nothing is replayed.
"""

from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from factorgraph.dense.blocks import blocks
from factorgraph.dense.closures.bpi import BPInspired
from factorgraph.dense.closures.common import Sent
from factorgraph.dense.operations import Operations
from factorgraph.dense.state import Array, Layer, Message


@dataclass(frozen=True)
class Iteration:
    """Full quantities of one past iteration: its messages, and what turns them into the next cavity means.

    Attributes:
        above: message about the outputs.
        omega: mean of the pre-activations.
        V: their variance.
        H: field of the weights after the iteration; None if they are observed.
        G: their precision; None for ±1 weights.
        to_inputs: message about the inputs.
        below_omega: pre-activations of the layer below in the *next* iteration.
        below_variance: their variance.
    """

    above: Message
    omega: Array
    V: Array
    H: Array | None
    G: Array | None
    to_inputs: Message | None
    below_omega: Array | None
    below_variance: Array | None


@dataclass
class History:
    """All past iterations of a batch.

    Attributes:
        mean: m of the first iteration.
        x_mean: x̂ of the first iteration; with observed weights x̂_{→k} of the latest one, (outputs, inputs, samples).
        above: message about the outputs in the latest iteration.
        omega: mean of the pre-activations there.
        V: their variance.
        iterations: oldest first.
    """

    mean: Array
    x_mean: Array
    above: Message
    omega: Array
    V: Array
    iterations: list[Iteration]

    def complete(self, layer: Layer) -> None:
        """Record the latest iteration; called at the next one, when its fields and messages below are known."""
        below = layer.below
        self.iterations.append(
            Iteration(
                above=self.above,
                omega=self.omega,
                V=self.V,
                H=None if layer.observed else layer.fields(),
                G=None if layer.G is None else layer.G.copy(),
                to_inputs=layer.to_inputs,
                below_omega=None if below is None else below.omega,
                below_variance=None if below is None else below.V,
            )
        )

    def cavity_means(self, layer: Layer, rows: slice, operations: Operations) -> tuple[Array, Array]:
        """Return m_{ki→n} and x̂_{in→k} of the current iteration for some outputs k, each (rows, inputs, samples)."""
        m: Array = self.mean[rows, :, None]
        x: Array = self.x_mean[None] if self.x_mean.ndim == 2 else self.x_mean[rows]
        # The messages of every iteration, replayed: g without the own term, then m and x̂ without the own message.
        for past in self.iterations:
            g, _ = operations.derivatives(past.above.rows(rows), past.omega[rows, None] - m * x, past.V[rows, None])
            m, x = _next_mean(layer, past, rows, m, x * g, operations), _next_input(layer, past, x, m * g, operations)
        return m, x


def _next_mean(layer: Layer, past: Iteration, rows: slice, m: Array, own: Array, operations: Operations) -> Array:
    """Return the mean of the weights once the ``own`` message, x̂ g, is left out of their field, damped; observed ones
    stay."""
    if past.H is None or layer.plan.prior is None:
        return m
    G = 0.0 if past.G is None else past.G[rows, :, None]
    new, _ = operations.weight_moments(layer.plan.prior, past.H[rows, :, None] - layer.beta * own, G)
    m = layer.damping * m + (1.0 - layer.damping) * new
    return m if layer.plan.mask is None else m * layer.plan.mask[rows, :, None]


def _next_input(layer: Layer, past: Iteration, x: Array, own: Array, operations: Operations) -> Array:
    """Return the mean of the inputs once the ``own`` message, m g, is left out of B; data and the constant unit
    stay."""
    if past.to_inputs is None:
        return x
    assert past.to_inputs.B is not None
    units = past.to_inputs.B.shape[0]
    cavity = replace(past.to_inputs, B=past.to_inputs.B - own[:, :units])
    omega, V = cast(Array, past.below_omega), cast(Array, past.below_variance)  # None below a signal: not needed
    new, _ = operations.moments(cavity, omega, V)
    return np.concatenate([new, np.ones_like(own[:, units:])], axis=1)


class BeliefPropagation(BPInspired):
    """omega = Σ m_{→n} x̂_{→k}, B = Σ m_{→n} g_{→i}, H = Σ x̂_{→k} g_{→i}, with g_{→i} at omega - m_{→n} x̂_{→k}."""

    name = "bp"

    def omega(self, layer: Layer, operations: Operations) -> Array:
        """[DL, eq. 65], the sum over all inputs."""
        if layer.memory is None:
            return super().omega(layer, operations)
        history = cast(History, layer.memory)
        history.complete(layer)
        omega = np.empty_like(layer.omega)
        edges = np.empty((layer.plan.outputs, *layer.x_mean.shape)) if layer.observed else None
        # omega = Σ_i m_{→n} x̂_{→k}, block by block; with observed weights the cavity means are kept.
        for rows in blocks(layer.plan.outputs, layer.x_mean.size):
            m, x = history.cavity_means(layer, rows, operations)
            omega[rows] = (m * x).sum(axis=1)
            if edges is not None:
                edges[rows] = x
        if edges is not None:
            history.x_mean, history.iterations = edges, []
        return omega

    def send(self, layer: Layer, above: Message, operations: Operations, *, last: bool) -> Sent:
        """[DL, eqs. 66, 69, 71]."""
        if layer.memory is not None:
            history = cast(History, layer.memory)
            B = operations.edge_messages(layer, above, lambda rows: history.cavity_means(layer, rows, operations))
            history.above, history.omega, history.V = above, layer.omega, layer.V
            return Sent(B)
        if not last:
            mean = layer.mean if layer.observed else layer.mean.copy()
            layer.memory = History(mean, layer.x_mean, above, layer.omega, layer.V, [])
        return super().send(layer, above, operations, last=last)
