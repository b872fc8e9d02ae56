"""One mini-batch: forward and backward sweeps, then the posterior becomes the next prior [DL, Alg. 1]."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from deepnet.layers import Layer, Plan, Update
from deepnet.network import per_layer
from deepnet.outputs import output_of
from factorgraph.dense.operations import Operations
from factorgraph.dense.state import Array, Message


def initial_layers(
    plans: Sequence[Plan],
    *,
    eps_init: float | Sequence[float],
    rng: np.random.Generator,
    dtype: np.dtype | type = np.float32,
) -> list[Layer]:
    """Return layers with random initial states, which break the permutation symmetry of the hidden units.

    Args:
        plans: from the data to the output.
        eps_init: size of what is drawn, for all layers or one per layer: see ``DensePlan.initial_layer``.
        rng: to draw from.
        dtype: of the states.
    """
    layers: list[Layer] = []
    for plan, size in zip(plans, per_layer("eps_init", eps_init, len(plans)), strict=True):
        layers.append(plan.initial_layer(size, rng, dtype, layers[-1] if layers else None))
    return layers


def train_batch(
    layers: Sequence[Layer],
    x: Array,
    y: Array,
    updates: Sequence[Update],
    *,
    operations: Operations,
    tau: int = 1,
    rng: np.random.Generator | None = None,
    power: Array | None = None,
) -> None:
    """Run ``tau`` inner iterations on one mini-batch and update the weights of ``layers`` in place.

    Args:
        layers: from the data to the output.
        x: inputs (features, samples), without constant units.
        y: labels as the output observes them: (outputs, samples) of ±1 or numbers, or (samples) of class numbers for an
            argmax; or soft targets, the probabilities of the classes with one more axis in front.
        updates: one per layer.
        operations: where the layers are.
        tau: number of inner iterations.
        rng: for the sampled form of an argmax output.
        power: to which the likelihood of each sample is taken, (samples,); None for 1.

    Raises:
        FloatingPointError: before any weight is changed, if the messages of the labels are no numbers.
    """
    start_batch(layers, x, updates)
    bases = [layer.base(copied=tau > 1) for layer in layers]
    for iteration in range(tau):
        last = iteration == tau - 1
        now = updates if iteration else [replace(update, reinforcement=0.0) for update in updates]
        forward(layers, operations, last=last)
        backward(layers, bases, now, y, operations, last=last, rng=rng, power=power)


def forward(layers: Sequence[Layer], operations: Operations, *, last: bool) -> None:
    """Moments of the units, then mean and variance of the pre-activations, from the data up."""
    units, below = None, None
    for layer, layer_above in zip(layers, (*layers[1:], None), strict=True):
        if below is not None:
            assert layer.to_inputs is not None
            if units is None:
                units = operations.moments(layer.to_inputs, below.omega, below.V)
            layer.receive(*units)
        free = layer_above is not None and layer_above.to_inputs is not None and layer_above.to_inputs.B is None
        layer.omega, layer.V, units = layer.forward(operations, last=last, free_moments=free)
        below = layer


def backward(
    layers: Sequence[Layer],
    bases: Sequence[Any],
    updates: Sequence[Update],
    y: Array,
    operations: Operations,
    *,
    last: bool,
    rng: np.random.Generator | None,
    power: Array | None,
) -> None:
    """g and Γ of every layer, the messages made of them and the new weights, from the labels down."""
    top = layers[-1]
    output, scale = output_of(top), top.plan.scale
    above = output.observe(y, scale, rng)
    if power is not None:
        above = output.raised(above, power)
    derivatives = operations.derivatives(above, top.omega, top.V)
    operations.require_finite(derivatives[0])
    if last:
        output.learn(y, scale * top.omega, scale * scale * top.V, power, operations.total)
    finishing: list[Callable[[], None]] = []
    for number in reversed(range(len(layers))):
        layer = layers[number]
        layer.g, layer.gamma = derivatives
        sent = layer.backward(operations, above, bases[number], updates[number], last=last)
        if sent.finish is not None:
            finishing.append(sent.finish)
        if layer.to_inputs is None:
            break
        assert sent.B is not None
        above = layer.to_inputs = replace(layer.to_inputs, B=sent.B, A=sent.A)
        derivatives = sent.derivatives_below
        if derivatives is None:
            below = layers[number - 1]
            derivatives = operations.derivatives(above, below.omega, below.V)
    for finish in finishing:
        finish()


def output_moments(layers: Sequence[Layer], x: Array, operations: Operations) -> tuple[Array, Array]:
    """Return mean and variance of the outputs' pre-activations for new inputs (features, samples): one forward pass.

    Returns:
        omega and V times scale and scale², as the output channel sees them, each (outputs, samples).
    """
    start_batch(layers, x, [None] * len(layers))
    forward(layers, operations, last=True)
    scale = layers[-1].plan.scale
    return scale * layers[-1].omega, scale * scale * layers[-1].V


def start_batch(layers: Sequence[Layer], x: Array, updates: Sequence[Update | None]) -> None:
    """Data into the first layer; no message about the inputs of the others."""
    for layer, update in zip(layers, updates, strict=True):
        layer.start(update)
    layers[0].receive(x, None)
    for below, layer in pairwise(layers):
        layer.to_inputs = Message(below.plan.channel, below.plan.scale)
