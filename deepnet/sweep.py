"""One mini-batch: forward and backward sweeps, then the posterior becomes the next prior [DL Alg. 1]."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from deepnet.network import per_layer
from deepnet.outputs import output_of
from factorgraph.dense.operations import Operations, Step
from factorgraph.dense.state import Array, Layer, LayerPlan, Message


@dataclass(frozen=True)
class Update:
    """How the messages of a batch change the weights of one layer: H ← βH_in + r H + ρ H_prev, m ← αm + (1-α)m_new.

    Attributes:
        rho: ρ, weight of the previous posterior as the next prior; near 1.
        damping: α in [0, 1).
        beta: likelihood weight β > 0; 1 is [DL].
        reinforcement: r >= 0, weight of the previous inner iteration's field.
    """

    rho: float = 1.0
    damping: float = 0.0
    beta: float = 1.0
    reinforcement: float = 0.0


def initial_layers(
    plans: Sequence[LayerPlan],
    *,
    eps_init: float | Sequence[float],
    rng: np.random.Generator,
    dtype: np.dtype | type = np.float32,
) -> list[Layer]:
    """Layers with random initial fields, which break the permutation symmetry of the hidden units.

    ±1 weights start with H ~ eps_init N(0, 1) [DL App. B.1]; continuous ones with means and deviations of size
    eps_init/(scale √inputs), so that the scaled sums over inputs of size 1 start with the size of eps_init whatever the
    width. One value serves all layers, or each has its own.
    """
    layers: list[Layer] = []
    for plan, size in zip(plans, per_layer("eps_init", eps_init, len(plans)), strict=True):
        noise = rng.standard_normal((plan.outputs, plan.inputs))
        if plan.spin_weights:
            H, G = size * noise, None
        else:
            deviation = size / (plan.scale * plan.inputs**0.5)
            H, G = noise / deviation, np.full(noise.shape, deviation**-2.0)
        assert plan.prior is not None
        mean, sigma = plan.prior.moments(H=H, G=0.0 if G is None else G)
        if plan.mask is not None:
            mean, sigma = mean * plan.mask, sigma * plan.mask
        below = layers[-1] if layers else None
        layers.append(
            Layer(
                plan=plan,
                H=H.astype(dtype),
                G=None if G is None else G.astype(dtype),
                mean=mean.astype(dtype),
                sigma=None if plan.spin_weights else sigma.astype(dtype),
                below=below,
            )
        )
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
) -> None:
    """Run ``tau`` inner iterations on one mini-batch and update the weights of ``layers`` in place.

    Args:
        layers: from the data to the output.
        x: inputs (features, samples), without constant units.
        y: labels as the output observes them: (outputs, samples) of ±1, or (samples) of class numbers for an argmax; or
            soft targets, the probabilities of the classes with one more axis in front.
        updates: one per layer.
        operations: where the layers are.
        tau: number of inner iterations.
        rng: for the sampled form of an argmax output.

    Raises:
        FloatingPointError: before any weight is changed, if the messages of the labels are no numbers.
    """
    bases = [(layer.H, layer.G) if tau == 1 else (layer.H.copy(), _copied(layer.G)) for layer in layers]
    for layer, update in zip(layers, updates, strict=True):
        layer.beta, layer.damping = update.beta, update.damping
    start_batch(layers, x)
    for iteration in range(tau):
        last = iteration == tau - 1
        steps = [
            Step(base_H, base_G, update.rho, update.reinforcement if iteration else 0.0)
            for update, (base_H, base_G) in zip(updates, bases, strict=True)
        ]
        forward(layers, operations, last=last)
        backward(layers, steps, y, operations, last=last, rng=rng)


def forward(layers: Sequence[Layer], operations: Operations, *, last: bool) -> None:
    """Moments of the units, then mean and variance of the pre-activations, from the data up."""
    units = None
    for layer, layer_above in zip(layers, (*layers[1:], None), strict=True):
        if layer.below is not None:
            assert layer.to_inputs is not None
            if units is None:
                units = operations.moments(layer.to_inputs, layer.below.omega, layer.below.V)
            layer.x_mean = with_constant_unit(layer.plan, units[0], 1)
            layer.x_variance = with_constant_unit(layer.plan, units[1], 0)
        free = layer_above is not None and layer_above.to_inputs is not None and layer_above.to_inputs.B is None
        layer.omega, layer.V, units = operations.forward(layer, last=last, free_moments=free)


def backward(
    layers: Sequence[Layer],
    steps: Sequence[Step],
    y: Array,
    operations: Operations,
    *,
    last: bool,
    rng: np.random.Generator | None,
) -> None:
    """g and Γ of every layer, the messages made of them and the new weights, from the labels down."""
    output = layers[-1].plan
    above = output_of(output).observe(y, output.scale, rng)
    derivatives = operations.derivatives(above, layers[-1].omega, layers[-1].V)
    operations.require_finite(derivatives[0])
    for layer, step in zip(reversed(layers), reversed(steps), strict=True):
        layer.g, layer.gamma = derivatives
        sent = operations.backward(layer, above, step, last=last)
        if layer.below is None or layer.to_inputs is None:
            return
        assert sent.B is not None
        units = layer.plan.inputs - layer.plan.bias
        A = None if sent.A is None else sent.A[:units]
        above = layer.to_inputs = replace(layer.to_inputs, B=sent.B[:units], A=A)
        derivatives = sent.derivatives_below
        if derivatives is None:
            derivatives = operations.derivatives(above, layer.below.omega, layer.below.V)


def output_moments(layers: Sequence[Layer], x: Array, operations: Operations) -> tuple[Array, Array]:
    """Mean and variance of the outputs' pre-activations for new inputs (features, samples): one forward pass.

    Returns:
        omega and V times scale and scale², as the output channel sees them, each (outputs, samples).
    """
    start_batch(layers, x)
    forward(layers, operations, last=True)
    scale = layers[-1].plan.scale
    return scale * layers[-1].omega, scale * scale * layers[-1].V


def start_batch(layers: Sequence[Layer], x: Array) -> None:
    """Data into the first layer; no message about the inputs of the others, no earlier iteration."""
    for layer in layers:
        layer.memory = None
        if layer.below is None:
            layer.x_mean = with_constant_unit(layer.plan, x, 1)
        else:
            layer.to_inputs = Message(layer.below.plan.channel, layer.below.plan.scale)


def with_constant_unit(plan: LayerPlan, values: Array, constant: float) -> Array:
    """Inputs (units, samples) of a layer with the value of the constant unit below them, if it has a bias."""
    if not plan.bias:
        return values
    return np.concatenate([values, np.full_like(values, constant, shape=(1, values.shape[1]))])


def _copied(values: Array | None) -> Array | None:
    return None if values is None else values.copy()
