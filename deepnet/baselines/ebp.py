"""Expectation backpropagation of Soudry, Hubara and Meir, the parameter-free Bayesian baseline of [DL, App. B.7].

It is mean-field message passing to first order in what comes back: with the message B from above, a hidden unit passes
g = B ∂_omega x̂ down, where message passing has the full ∂_omega phi(B, omega, V). The label enters in full. Every
batch adds its messages Σ_n g x̂ to the fields of the weights, whose posterior is the next prior; nothing is damped. The
variance of continuous weights is 1. The biases of the authors' program are left to the settings, as in [DL].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from deepnet.baselines.base import Baseline, Epoch, arguments, dense
from deepnet.layers import DenseLayer, DensePlan, Layer, Plan, Update
from deepnet.outputs import output_of
from deepnet.sweep import forward, start_batch
from factorgraph.channels import Channel
from factorgraph.dense.operations import Operations, Step
from factorgraph.dense.state import Array


@dataclass(frozen=True)
class UnitVariancePlan(DensePlan):
    """A dense layer whose fields start as h ~ size · N(0, 1)/√inputs: the means of continuous weights of variance 1."""

    def initial_layer(
        self, size: float, rng: np.random.Generator, dtype: np.dtype[Any] | type, below: Layer | None
    ) -> DenseLayer:
        """As ``Plan.initial_layer``."""
        H = (size * self.inputs**-0.5 * rng.standard_normal((self.outputs, self.inputs))).astype(dtype)
        G = None if self.spin_weights else np.ones_like(H)
        assert self.prior is not None
        mean, sigma = self.prior.moments(H=H, G=0.0 if G is None else G)
        if self.mask is not None:
            mean, sigma = mean * self.mask, sigma * self.mask
        return DenseLayer(self, H, G, mean.astype(dtype), None if G is None else sigma.astype(dtype), below=below)


class ExpectationBackpropagation(Baseline):
    """See the module. For batches of about 10 samples: the messages of many, all taken at one point, overshoot."""

    settings = ("eps_init",)
    devices = ("cpu",)
    point = False
    remedy = "Try smaller batches (10 samples), or another `eps_init`"

    def plans(self, plans: Sequence[Plan]) -> tuple[Plan, ...]:
        return tuple(UnitVariancePlan(**arguments(plan, closure="mf")) for plan in dense(plans))

    def train(self, layers: Sequence[Layer], epoch: Epoch) -> None:
        output = output_of(layers[-1])
        for batch in epoch.batches:
            y = output.encode(epoch.y[batch], epoch.x.dtype)
            train_batch(layers, epoch.operations.gather(epoch.x, batch), y, epoch.operations, epoch.rng)
            if epoch.progress is not None:
                epoch.progress(len(batch))


def train_batch(
    layers: Sequence[Layer], x: Array, y: Array, operations: Operations, rng: np.random.Generator | None = None
) -> None:
    """Add the messages of a mini-batch to the weights, in place: arguments as of ``deepnet.sweep.train_batch``."""
    start_batch(layers, x, [Update()] * len(layers))
    forward(layers, operations, last=True)
    plan, top = layers[-1].plan, layers[-1]
    g, _ = operations.derivatives(output_of(top).observe(y, plan.scale, rng), top.omega, top.V)
    operations.require_finite(g)
    for number in reversed(range(len(layers))):
        layer = cast(DenseLayer, layers[number])
        B = operations.times_transposed(layer.mean, g)[: layer.plan.features] if number else None
        operations.outer(g, layer.x_mean, layer.H_in)
        if layer.G_in is not None:
            layer.G_in.fill(0.0)
        operations.update_weights(layer, Step(layer.H, layer.G, rho=1.0, reinforcement=0.0))
        if B is not None:
            g = (B * _slope(layers[number - 1])).astype(x.dtype)


def _slope(layer: Layer) -> Array:
    """Return ∂_omega x̂ of the units of a hidden layer, of which no message from above is known."""
    scale, channel = layer.plan.scale, cast(Channel, layer.plan.channel)
    return scale * channel.nonlinearity.linearised(scale * layer.omega, scale * scale * layer.V).slope
