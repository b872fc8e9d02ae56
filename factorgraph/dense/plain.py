"""The operations of a sweep in plain NumPy: the scalar free energies applied to whole layers.

``PlainKernels`` serves every channel and prior in every precision, and defines what the fused kernels compute.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from factorgraph.channels import Argmax, Channel
from factorgraph.dense.blocks import blocks
from factorgraph.dense.state import Array, Layer, Message
from factorgraph.priors import Prior

#: Smallest precision of a continuous weight, where ρ < 1 and no message keeps it up.
PRECISION_FLOOR = 1e-6

#: Means (m, x̂) of a block of edges: from the rows of the weight array to two (rows, inputs, samples) arrays.
EdgeMeans = Callable[[slice], tuple[Array, Array]]


@dataclass(frozen=True)
class Step:
    """How the messages of an iteration change the weights of a layer: H ← βH_in + r H + ρ H_base, G likewise.

    Attributes:
        field: H at the start of the batch; may be the layer's own array if ``reinforcement`` is 0.
        precision: G at the start of the batch, likewise; None for ±1 weights.
        rho: weight of the base.
        reinforcement: weight of the previous iteration's field; 0 at the first iteration.
    """

    field: Array
    precision: Array | None
    rho: float
    reinforcement: float


class PlainKernels:
    """Operations on layers: products with NumPy, the rest through the channels' and priors' own formulas."""

    def running(self) -> AbstractContextManager[Any]:
        """To be entered around sweeps, once for many of them."""
        return nullcontext()

    def gather(self, data: Array, chosen: Array) -> Array:
        """The chosen rows of the data (samples, features) as inputs (features, chosen)."""
        return np.ascontiguousarray(data[chosen].T)

    def array(self, values: Array) -> Array:
        """The values where these operations take place; the same array if it is there."""
        return values

    def host(self, values: Array) -> Array:
        """The values as a NumPy array; the same array if it is one."""
        return values

    def place(self, layer: Layer) -> Layer:
        """Arrange the arrays of a layer, which are where they belong, as the operations like them best."""
        return layer

    def times(self, W: Array, x: Array) -> Array:
        """Σ_i W_ki x_in, (outputs, samples), of an array of edges W and an array of inputs x."""
        return W @ x

    def times_transposed(self, W: Array, g: Array) -> Array:
        """Σ_k W_ki g_kn, (inputs, samples), of an array of edges W and an array of outputs g."""
        return W.T @ g

    def outer(self, g: Array, x: Array, out: Array) -> None:
        """Fill an array of edges with Σ_n g_kn x_in."""
        np.matmul(g, x.T, out=out)

    def add_product(self, target: Array, a: Array, b: Array) -> None:
        """target += a b, arrays of edges."""
        target += a * b

    def moments(self, message: Message, omega: Array, V: Array) -> tuple[Array, Array]:
        """Mean x̂ and variance Δ of the outputs of a hidden layer, given its pre-activations and the message.

        A signal has its prior instead, and pre-activations of no account.
        """
        if isinstance(message.channel, Prior):
            return message.channel.moments(H=_or_zero(message.B), G=_or_zero(message.A))
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
            output = cast(Argmax, message.channel)
            _, g, gamma = output.observe(message.y, omega=s * omega, V=s * s * V, rng=message.rng)
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
            if not layer.observed:
                layer.H_in[rows] = (x * g).sum(axis=2)
            if B is not None:
                B += (m * g).sum(axis=0)
        return B

    def require_finite(self, values: Array) -> None:
        """Raise ``FloatingPointError`` if a value is not a number or infinite."""
        if not np.isfinite(values.sum()):
            raise FloatingPointError("messages must be finite")

    def fuses(self, layer: Layer, *, last: bool) -> bool:
        """Whether ``preactivations`` and ``send_and_update`` do for this layer what closure and update do in turn."""
        return False

    def preactivations(self, layer: Layer) -> None:
        """Set omega and V of a layer that is fused."""
        raise NotImplementedError

    def send_and_update(self, layer: Layer, step: Step) -> Array | None:
        """Given g and Γ of a layer that is fused, update its weights; return B as a closure's ``send`` does."""
        raise NotImplementedError

    def update_weights(self, layer: Layer, step: Step) -> None:
        """New fields, and from them the damped means [DL App. B]; H, G, mean and sigma are replaced in place."""
        _renew(layer.H, layer.beta * layer.H_in + step.rho * step.field, step.reinforcement)
        if layer.G is not None:
            assert layer.G_in is not None and step.precision is not None
            _renew(layer.G, layer.beta * layer.G_in + step.rho * step.precision, step.reinforcement)
            np.maximum(layer.G, PRECISION_FLOOR, out=layer.G)
        mean, variance = cast(Prior, layer.plan.prior).moments(H=layer.H, G=_or_zero(layer.G))
        layer.mean *= layer.damping
        layer.mean += (1.0 - layer.damping) * mean
        if layer.plan.mask is not None:
            layer.mean *= layer.plan.mask
            variance = variance * layer.plan.mask
        if layer.sigma is not None:
            layer.sigma[...] = variance


def _or_zero(values: Array | None) -> Array | float:
    return 0.0 if values is None else values


def _renew(parameter: Array, fresh: Array, reinforcement: float) -> None:
    parameter *= reinforcement
    parameter += fresh
