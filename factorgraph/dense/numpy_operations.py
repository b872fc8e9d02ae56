"""The operations of a sweep in NumPy: the scalar free energies applied to whole layers.

They serve every channel and prior in every precision, and define what compiled operations compute.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import numpy as np

from factorgraph.channels import Argmax, Channel
from factorgraph.dense.blocks import blocks
from factorgraph.dense.layer_steps import backward_step, forward_step
from factorgraph.dense.operations import Backward, EdgeMeans, Forward, Operations, Path, Step
from factorgraph.dense.state import Array, Layer, Message
from factorgraph.priors import Prior

#: Smallest precision of a continuous weight, where ρ < 1 and no message keeps it up. [DL] names no such bound: without
#: one the precision of an input that is always 0 would decay to 0, and its mean H/G be lost.
PRECISION_FLOOR = 1e-6


class NumpyOperations:
    """Products by NumPy, and the channels' and priors' own formulas.

    The methods are documented in ``factorgraph.dense.operations.Operations``.
    """

    def running(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def gather(self, data: Array, chosen: Array) -> Array:
        return gather(data, chosen)

    def array(self, values: Array) -> Array:
        return values

    def host(self, values: Array) -> Array:
        return values

    def total(self, values: Array) -> Array:
        return values

    def everywhere(self, values: Array) -> Array:
        return values

    def place(self, layer: Layer) -> Layer:
        return layer

    def times(self, W: Array, x: Array, *, coarse: bool = False) -> Array:
        return W @ x

    def times_transposed(self, W: Array, g: Array, *, coarse: bool = False) -> Array:
        return W.T @ g

    def outer(self, g: Array, x: Array, out: Array, *, coarse: bool = False) -> None:
        np.matmul(g, x.T, out=out)

    def add_product(self, target: Array, a: Array, b: Array) -> None:
        target += a * b

    def moments(self, message: Message, omega: Array, V: Array) -> tuple[Array, Array]:
        return moments(message, omega, V)

    def derivatives(self, message: Message, omega: Array, V: Array) -> tuple[Array, Array]:
        return derivatives(message, omega, V)

    def edge_messages(self, layer: Layer, message: Message, means: EdgeMeans | None = None) -> Array | None:
        return edge_messages(self, layer, message, means)

    def update_weights(self, layer: Layer, step: Step) -> None:
        update_weights(self, layer, step)

    def weight_moments(self, prior: Prior, H: Array, G: Array | float) -> tuple[Array, Array]:
        return prior.moments(H=H, G=G)

    def require_finite(self, values: Array) -> None:
        require_finite(values)

    def path(self, layer: Layer, *, last: bool) -> Path:
        return Path.CLOSURE

    def forward(self, layer: Layer, *, last: bool, free_moments: bool) -> Forward:
        return forward_step(self, layer)

    def backward(self, layer: Layer, above: Message, step: Step, *, last: bool) -> Backward:
        return backward_step(self, layer, above, step, last=last)


def gather(data: Array, chosen: Array) -> Array:
    """Return the chosen rows of the data (samples, features) as inputs (features, chosen)."""
    return np.ascontiguousarray(data[chosen].T)


def moments(message: Message, omega: Array, V: Array) -> tuple[Array, Array]:
    """Return mean x̂ and variance Δ by the formulas of the channel, or of the prior of a signal."""
    if isinstance(message.channel, Prior):
        return message.channel.moments(H=_or_zero(message.B), G=_or_zero(message.A))
    channel, s = cast(Channel, message.channel), message.scale
    return channel.moments(B=_or_zero(message.B), A=_or_zero(message.A), omega=s * omega, V=s * s * V)


def derivatives(message: Message, omega: Array, V: Array) -> tuple[Array, Array]:
    """Return g and Γ by the formulas of the channel; the chain rule through scale · z brings one factor scale each
    time."""
    s = message.scale
    if message.y is None:
        channel = cast(Channel, message.channel)
        g, gamma = channel.derivatives(B=_or_zero(message.B), A=_or_zero(message.A), omega=s * omega, V=s * s * V)
    elif isinstance(message.channel, Channel):
        _, g, gamma = message.channel.observe(message.y, omega=s * omega, V=s * s * V)
    else:
        output = cast(Argmax, message.channel)
        observe = output.observe if message.y.ndim == 1 else output.observe_soft
        _, g, gamma = observe(message.y, omega=s * omega, V=s * s * V, rng=message.rng)
    return raised(message, s * g, s * s * gamma)


def raised(message: Message, g: Array, gamma: Array) -> tuple[Array, Array]:
    """Return g and Γ of the likelihood to its power, where it has one."""
    return (g, gamma) if message.power is None else (message.power * g, message.power * gamma)


def edge_messages(
    operations: Operations, layer: Layer, message: Message, means: EdgeMeans | None = None
) -> Array | None:
    """Return the messages of BP and BPI, edge by edge in blocks, with g by any ``operations``."""
    B = None if layer.plan.is_first else np.zeros_like(layer.x_mean)
    for rows in blocks(layer.plan.outputs, layer.x_mean.size):
        # g with the own term left out of omega [DL, eqs. 66, 78], then its part of both sums [DL, eqs. 69, 71, 81, 83].
        m, x = (layer.mean[rows, :, None], layer.x_mean[None]) if means is None else means(rows)
        own = m * x
        g, _ = operations.derivatives(message.rows(rows), layer.omega[rows, None] - own, layer.V[rows, None])
        if not layer.observed:
            layer.H_in[rows] = (x * g).sum(axis=2)
        if B is not None:
            B += (m * g).sum(axis=0)
    return B


def update_weights(operations: Operations, layer: Layer, step: Step) -> None:
    """Renew fields and damped means in place: H ← βH_in + r H + ρ H_base, m ← αm + (1 - α) ∂_H psi(H, G) [DL, App. B].

    G likewise, but messages that would make weights less certain, Σ_n [x̂²Γ + Δ(Γ - g²)] < 0, count as none, unless
    weights take finitely many values: their law has a normalisation for every G.

    The means are those of the posterior of the batch. In [DL, eqs. 3, 8] the next batch begins with those of its prior,
    tanh(ρ H) for ±1 weights in place of tanh H: see ``docs/deviations.md``.
    """
    _renew(layer.H, layer.beta * layer.H_in + step.rho * step.field, step.reinforcement)
    if layer.G is not None:
        assert layer.G_in is not None and step.precision is not None
        finite = cast(Prior, layer.plan.prior).support is not None
        received = layer.G_in if finite else np.maximum(layer.G_in, 0.0)
        _renew(layer.G, layer.beta * received + step.rho * step.precision, step.reinforcement)
        if not finite:
            np.maximum(layer.G, PRECISION_FLOOR, out=layer.G)
    mean, variance = operations.weight_moments(cast(Prior, layer.plan.prior), layer.H, _or_zero(layer.G))
    # Damped means [DL, eqs. 134-135]; masked weights stay zero.
    layer.mean *= layer.damping
    layer.mean += (1.0 - layer.damping) * mean
    if layer.plan.mask is not None:
        layer.mean *= layer.plan.mask
        variance = variance * layer.plan.mask
    if layer.sigma is not None:
        layer.sigma[...] = variance


def require_finite(values: Array) -> None:
    """Raise ``FloatingPointError`` if a value is not a number or infinite."""
    if not np.isfinite(values.sum()):
        raise FloatingPointError("messages must be finite")


def _or_zero(values: Array | None) -> Array | float:
    return 0.0 if values is None else values


def _renew(parameter: Array, fresh: Array, reinforcement: float) -> None:
    parameter *= reinforcement
    parameter += fresh
