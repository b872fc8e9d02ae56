"""The operations of a sweep in plain NumPy: the scalar free energies applied to whole layers.

``PlainKernels`` serves every channel and prior in every precision, and defines what the fused kernels compute.
"""

from collections.abc import Callable
from typing import cast

import numpy as np

from deepnet.blocks import blocks
from deepnet.state import Array, Layer, Message
from factorgraph.channels import Channel

#: Smallest precision of a continuous weight, where ρ < 1 and no message keeps it up.
PRECISION_FLOOR = 1e-6

#: Means (m, x̂) of a block of edges: from the rows of the weight array to two (rows, inputs, samples) arrays.
EdgeMeans = Callable[[slice], tuple[Array, Array]]


class PlainKernels:
    """Elementwise operations on layers, through the channels' and priors' own formulas."""

    def moments(self, message: Message, omega: Array, V: Array) -> tuple[Array, Array]:
        """Mean x̂ and variance Δ of the outputs of a hidden layer, given its pre-activations and the message."""
        channel, s = cast(Channel, message.channel), message.scale
        return channel.moments(B=_or_zero(message.B), A=_or_zero(message.A), omega=s * omega, V=s * s * V)

    def derivatives(self, message: Message, omega: Array, V: Array) -> tuple[Array, Array]:
        """g and Γ of the pre-activations z: the chain rule through scale · z brings one factor scale each time."""
        s = message.scale
        if message.y is None:
            channel = cast(Channel, message.channel)
            g, gamma = channel.derivatives(B=_or_zero(message.B), A=_or_zero(message.A), omega=s * omega, V=s * s * V)
        elif isinstance(message.channel, Channel):
            _, g, gamma = message.channel.observe(message.y, omega=s * omega, V=s * s * V)
        else:
            _, g, gamma = message.channel.observe(message.y, omega=s * omega, V=s * s * V, rng=message.rng)
        return s * g, s * s * gamma

    def edge_messages(self, layer: Layer, message: Message, means: EdgeMeans | None = None) -> Array | None:
        """Sum the messages with g at omega minus the own term: fill H_in, return B (None if the inputs are data).

        Args:
            layer: with its omega, V, and inputs.
            message: about its outputs.
            means: cavity means of the edges; the full means of the layer if None.
        """
        B = None if layer.plan.is_first else np.zeros_like(layer.x_mean)
        for rows in blocks(layer.plan.outputs, layer.x_mean.size):
            m, x = (layer.mean[rows, :, None], layer.x_mean[None]) if means is None else means(rows)
            own = m * x
            g, _ = self.derivatives(message.rows(rows), layer.omega[rows, None] - own, layer.V[rows, None])
            layer.H_in[rows] = (x * g).sum(axis=2)
            if B is not None:
                B += (m * g).sum(axis=0)
        return B

    def update_weights(
        self, layer: Layer, base_H: Array, base_G: Array | None, *, rho: float, reinforcement: float
    ) -> None:
        """New fields H = βH_in + r H + ρ H_base (G likewise), and from them the damped means [DL App. B].

        Args:
            layer: its H, G, mean, variance and m² are replaced in place.
            base_H: field at the start of the batch; may be the layer's own array if ``reinforcement`` is 0.
            base_G: precision at the start of the batch, likewise; None for ±1 weights.
            rho: weight of the prior.
            reinforcement: weight of the previous iteration's field; 0 at the first iteration.
        """
        _renew(layer.H, layer.beta * layer.H_in + rho * base_H, reinforcement)
        if layer.G is not None:
            assert layer.G_in is not None and base_G is not None
            _renew(layer.G, layer.beta * layer.G_in + rho * base_G, reinforcement)
            np.maximum(layer.G, PRECISION_FLOOR, out=layer.G)
        mean, variance = layer.plan.prior.moments(H=layer.H, G=_or_zero(layer.G))
        layer.mean *= layer.damping
        layer.mean += (1.0 - layer.damping) * mean
        # A spin of mean m has variance 1 - m², damped or not; (1 - m)(1 + m) keeps its digits as |m| -> 1.
        layer.variance[...] = (1.0 - layer.mean) * (1.0 + layer.mean) if layer.plan.spin_weights else variance
        if layer.plan.mask is not None:
            layer.mean *= layer.plan.mask
            layer.variance *= layer.plan.mask
        np.square(layer.mean, out=layer.mean_squared)


def _or_zero(values: Array | None) -> Array | float:
    return 0.0 if values is None else values


def _renew(parameter: Array, fresh: Array, reinforcement: float) -> None:
    parameter *= reinforcement
    parameter += fresh
