"""Expectation backpropagation of Soudry, Hubara and Meir (2014), the parameter-free Bayesian baseline of [DL App. B.7].

It is mean-field message passing to first order in what comes back: with the message B from above, a hidden unit passes
g = B ∂_omega x̂ down, where message passing has the full ∂_omega phi(B, omega, V). The label enters in full. Every batch
adds its messages Σ_n g x̂ to the fields of the weights, whose posterior is the next prior; nothing is damped. The
variance of continuous weights is 1. The biases of the authors' program are left to the settings, as in [DL].
"""

from collections.abc import Sequence
from typing import cast

import numpy as np

from deepnet.baselines.base import Baseline, Epoch, placed
from deepnet.outputs import output_of
from deepnet.sweep import forward, start_batch
from factorgraph.channels import Channel
from factorgraph.dense.operations import Operations, Step
from factorgraph.dense.state import Array, Layer, LayerPlan


class ExpectationBackpropagation(Baseline):
    """See the module. For batches of about 10 samples: the messages of many, all taken at one point, overshoot."""

    settings = ("eps_init",)
    devices = ("cpu",)
    point = False
    remedy = "Try smaller batches (10 samples), or another `eps_init`"

    def start(
        self, plans: Sequence[LayerPlan], *, eps_init: Sequence[float], rng: np.random.Generator, dtype: np.dtype
    ) -> list[Layer]:
        """Fields h ~ eps_init N(0, 1)/√inputs, which are the means of continuous weights."""
        arrays = []
        for plan, size in zip(plans, eps_init, strict=True):
            H = size * plan.inputs**-0.5 * rng.standard_normal((plan.outputs, plan.inputs))
            G = None if plan.spin_weights else np.ones_like(H)
            assert plan.prior is not None
            mean, sigma = plan.prior.moments(H=H, G=0.0 if G is None else G)
            if plan.mask is not None:
                mean, sigma = mean * plan.mask, sigma * plan.mask
            values = {"H": H, "G": G, "mean": mean, "sigma": None if G is None else sigma}
            arrays.append({name: None if each is None else each.astype(dtype) for name, each in values.items()})
        return placed(plans, arrays)

    def state(self, shape: tuple[int, int], binary: bool) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(("H", "mean") if binary else ("H", "mean", "G", "variance"), shape)

    def train(self, layers: Sequence[Layer], memory: dict[str, Array], epoch: Epoch) -> None:
        output = output_of(layers[-1].plan)
        for batch in epoch.batches:
            y = output.encode(epoch.y[batch], epoch.x.dtype)
            train_batch(layers, epoch.operations.gather(epoch.x, batch), y, epoch.operations, epoch.rng)
            if epoch.progress is not None:
                epoch.progress(len(batch))


def train_batch(
    layers: Sequence[Layer], x: Array, y: Array, operations: Operations, rng: np.random.Generator | None = None
) -> None:
    """Add the messages of a mini-batch to the weights, in place: arguments as of ``deepnet.sweep.train_batch``."""
    start_batch(layers, x)
    forward(layers, operations, last=True)
    plan, top = layers[-1].plan, layers[-1]
    g, _ = operations.derivatives(output_of(plan).observe(y, plan.scale, rng), top.omega, top.V)
    operations.require_finite(g)
    for layer in reversed(layers):
        below = layer.below
        B = None if below is None else operations.times_transposed(layer.mean, g)[: below.plan.outputs]
        operations.outer(g, layer.x_mean, layer.H_in)
        layer.G_in = None if layer.G is None else np.zeros_like(layer.G)
        layer.beta, layer.damping = 1.0, 0.0
        operations.update_weights(layer, Step(layer.H, layer.G, rho=1.0, reinforcement=0.0))
        if below is not None and B is not None:
            g = (B * _slope(below)).astype(x.dtype)


def _slope(layer: Layer) -> Array:
    """∂_omega x̂ of the units of a hidden layer, of which no message from above is known."""
    scale, channel = layer.plan.scale, cast(Channel, layer.plan.channel)
    return scale * channel.nonlinearity.linearised(scale * layer.omega, scale * scale * layer.V).slope
