"""The operations of a sweep on device arrays."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np

from deepnet.kernels.gpu.cublas import address
from deepnet.kernels.gpu.device import Device
from deepnet.kernels.gpu.source import STRIP, TILE
from deepnet.kernels.support import (
    REACTIONS,
    fields,
    fuses_iteration,
    noisy,
    supports_argmax,
    supports_fusing,
    supports_sign_units,
)
from factorgraph.channels import Argmax, Channel
from factorgraph.dense import numpy_operations
from factorgraph.dense.layer_steps import backward_step, forward_step
from factorgraph.dense.operations import Backward, EdgeMeans, Forward, Path, Step
from factorgraph.dense.state import Array, Layer, Message
from factorgraph.priors import Prior

#: Moments or derivatives of units by the formulas of their channel.
Formula = Callable[[Message, Array, Array], tuple[Array, Array]]

#: Threads that keep a large device busy, several times over.
_THREADS = 1 << 17

#: Up to so many rows, cuBLAS takes 25 us on an H100 for (10, 128) times a transposed (128, 501), and 5 for a plain one.
_FEW = 16


class GpuOperations:
    """Sweeps on a device: own kernels for sign units and ±1 weights, elementwise formulas for the rest.

    The methods are documented in ``factorgraph.dense.operations.Operations``.

    Arrays are float32. Nothing here waits for the device: there are no checks that would read a number back.

    Args:
        device: where the arrays are.
    """

    def __init__(self, device: Device) -> None:
        self.device = device

    def running(self) -> AbstractContextManager[Any]:
        """Keep all work on one stream."""
        return self.device.running()

    def array(self, values: Array) -> Array:
        """Copy to the device what is not there."""
        return self.device.xp.asarray(values)

    def host(self, values: Array) -> Array:
        return self.device.host(values)

    def total(self, values: Array) -> Array:
        return values

    def everywhere(self, values: Array) -> Array:
        return values

    def place(self, layer: Layer) -> Layer:
        """Lay arrays that are factors of the same products one behind the other."""
        xp = self.device.xp
        layer.mean, layer.sigma = xp.stack([layer.mean, layer.variance])
        layer.H_in, layer.scratch = xp.stack([layer.H_in, layer.scratch])
        return layer

    def gather(self, data: Array, chosen: Array) -> Array:
        return self.device.xp.take(data, chosen, axis=0).T.copy()

    def times(self, W: Array, x: Array, *, coarse: bool = False) -> Array:
        return self._product(W, x)

    def times_transposed(self, W: Array, g: Array, *, coarse: bool = False) -> Array:
        return self._product(W.T, g)

    def outer(self, g: Array, x: Array, out: Array, *, coarse: bool = False) -> None:
        self.device.product(g, x.T.copy() if len(g) <= _FEW else x.T, out)

    def add_product(self, target: Array, a: Array, b: Array) -> None:
        self.device.launch("add_product", target.size, a, b, target)

    def moments(self, message: Message, omega: Array, V: Array) -> tuple[Array, Array]:
        if not supports_sign_units(message, omega):
            return self._by_formula(numpy_operations.moments, message, omega, V)
        mean, variance = self._empty(2, *omega.shape)
        B = np.zeros_like(omega) if message.B is None else message.B
        self.device.launch("sign_moments", omega.size, B, omega, V, mean, variance)
        return mean, variance

    def derivatives(self, message: Message, omega: Array, V: Array) -> tuple[Array, Array]:
        """Lay g and Γ one behind the other."""
        if supports_argmax(message, omega):
            g, gamma = self._empty(2, *omega.shape)
            classes, samples = omega.shape
            self.device.launch("argmax_derivatives", samples, classes, message.y, omega, noisy(message, V), g, gamma)
        elif supports_sign_units(message, omega):
            g, gamma = self._empty(2, *omega.shape)
            self.device.launch("sign_derivatives", omega.size, fields(message), omega, V, g, gamma)
        else:
            return self._by_formula(numpy_operations.derivatives, message, omega, V)
        if message.power is not None:
            g *= message.power
            gamma *= message.power
        return g, gamma

    def edge_messages(self, layer: Layer, message: Message, means: EdgeMeans | None = None) -> Array | None:
        """Evaluate g of every edge in one kernel where the means are full and the units sign units."""
        plain = means is None and message.power is None
        if not plain or not supports_sign_units(message, layer.omega):
            return numpy_operations.edge_messages(self, layer, message, means)
        # How edges are split into parts, and what the edges of an output share.
        launch, (outputs, samples), inputs = self.device.launch, layer.omega.shape, layer.plan.inputs
        groups, chunks = edge_parts(outputs, inputs, samples)
        padded = -(-outputs // TILE) * TILE
        factors = self._empty(samples, padded, 4)
        shape = (outputs, padded, samples)
        launch("edge_factors", samples * padded, *shape, fields(message), layer.omega, layer.V, factors)
        # g of every edge and sample, summed in parts [DL, eqs. 78, 81, 83]; then the parts.
        H_parts = self._empty(chunks, outputs, inputs)
        B_parts = None if layer.plan.is_first else self._empty(groups, samples, inputs)
        sizes = (outputs, inputs, samples, padded, groups, chunks)
        arrays = (layer.mean, layer.x_mean.T.copy(), factors, H_parts, B_parts)
        launch("edge_messages", inputs * groups * chunks, *sizes, *arrays)
        launch("sum_parts", outputs * inputs, chunks, H_parts, layer.H_in)
        if B_parts is None:
            return None
        B = self._empty(inputs, samples)
        launch("sum_parts_transposed", B.size, groups, inputs, B_parts, B)
        return B

    def weight_moments(self, prior: Prior, H: Array, G: Array | float) -> tuple[Array, Array]:
        """As ``Operations.weight_moments``; on the processor, which takes time, without a scalar kernel."""
        if prior.on_gpu:
            return prior.moments(H=H, G=G)
        return self._back(prior.moments(H=self.host(H), G=G if isinstance(G, float | int) else self.host(G)))

    def require_finite(self, values: Array) -> None:
        """Nothing: the answer would have to come from the device. The whole network is checked after the epoch."""

    def path(self, layer: Layer, *, last: bool) -> Path:
        """Fuse layers without a mask."""
        fused = supports_fusing(layer.plan, layer.H.dtype) and fuses_iteration(layer, last=last)
        return Path.FUSED if fused and layer.plan.mask is None else Path.CLOSURE

    def forward(self, layer: Layer, *, last: bool, free_moments: bool) -> Forward:
        """Compute both products of a fused layer in one call."""
        if self.path(layer, last=last) is Path.CLOSURE:
            return forward_step(self, layer)
        # omega = m x̂ and σ x̂², one call for both; then Σ Δ and the floor of V [DL, eqs. 89, 88].
        inputs = self._empty(2, *layer.x_mean.shape)
        self.device.launch("with_squares", layer.x_mean.size, layer.x_mean, inputs)
        omega, V = outputs = self._empty(2, layer.plan.outputs, layer.x_mean.shape[1])
        self.device.product(self._pair(layer.mean, layer.sigma), inputs, outputs)
        arguments = self._strip_sums(layer.x_variance)
        self.device.launch("finish_variances", *self._strips(V), *arguments, layer.plan.min_variance, V)
        return Forward(omega, V)

    def backward(self, layer: Layer, above: Message, step: Step, *, last: bool) -> Backward:
        """Compute both products of each kind in one call where AMP has two."""
        if self.path(layer, last=last) is Path.CLOSURE:
            return backward_step(self, layer, above, step, last=last)
        # Mean field: B = mᵀ g and H_in = g x̂ᵀ [DL, eqs. 93, 95].
        B = None
        if not REACTIONS[layer.plan.closure]:
            if not layer.plan.is_first:
                B = self.times_transposed(layer.mean, layer.g)
            self.outer(layer.g, layer.x_mean, layer.H_in)
            self._update(layer, step, None)
            return Backward(B)
        # AMP: mᵀ g and σᵀ Γ in one call, from which B = mᵀ g + x̂ Σ (1 - σ)Γ.
        g, weights = self._pair(layer.g, layer.gamma), self._pair(layer.mean, layer.sigma)
        if not layer.plan.is_first:
            B, reaction = parts = self._empty(2, *layer.x_mean.shape)
            self.device.product(weights.transpose(0, 2, 1), g, parts)
            arguments = self._strip_sums(layer.gamma)
            self.device.launch("finish_fields", *self._strips(B), *arguments, layer.x_mean, reaction, B)
        # Likewise g x̂ᵀ and Γ (x̂²)ᵀ, from which H_in = g x̂ᵀ + m Σ x̂²Γ within the update.
        inputs = self._empty(2, *layer.x_mean.shape)
        self.device.launch("with_squares", layer.x_mean.size, layer.x_mean, inputs)
        messages = self._pair(layer.H_in, layer.scratch)
        self.device.product(g, inputs.transpose(0, 2, 1), messages)
        self._update(layer, step, messages[1])
        return Backward(B)

    def update_weights(self, layer: Layer, step: Step) -> None:
        """Renew ±1 weights in one kernel."""
        if layer.plan.spin_weights:
            self._update(layer, step, None)
        else:
            numpy_operations.update_weights(self, layer, step)

    def _update(self, layer: Layer, step: Step, reaction: Array | None) -> None:
        arrays = (layer.H_in, reaction, step.field, layer.plan.mask)
        numbers = (self._number(layer.beta), self._number(step.rho), self._number(layer.damping))
        weights = (layer.H, layer.mean, layer.sigma)
        self.device.launch("update_spins", layer.H.size, *arrays, *numbers, float(step.reinforcement), *weights)

    def _by_formula(self, function: Formula, message: Message, omega: Array, V: Array) -> tuple[Array, Array]:
        """By the formulas of a channel; on the processor, which takes time, where they are no scalar kernels.

        Raises:
            ValueError: the form of an argmax that samples, which needs random numbers of the processor.
        """
        if isinstance(message.channel, Argmax) and message.channel.form == "single_jensen":
            raise ValueError(f"`form` of an argmax must be another one on a GPU, got {message.channel.form!r}")
        if isinstance(message.channel, Channel) and message.channel.on_gpu:
            return function(message, omega, V)
        known = {name: values for name in ("B", "A", "y", "power") if (values := getattr(message, name)) is not None}
        there = replace(message, **{name: self.host(values) for name, values in known.items()})
        return self._back(function(there, self.host(omega), self.host(V)))

    def _back(self, results: tuple[Array, Array]) -> tuple[Array, Array]:
        first, second = (self.array(np.asarray(values, np.float32)) for values in results)
        return first, second

    def _number(self, value: Any) -> Array:
        """Return a hyper-parameter in device memory, where schedules have it already."""
        return value if hasattr(value, "shape") else self.device.xp.full((), value, np.float32)

    def _empty(self, *shape: int) -> Array:
        return self.device.xp.empty(shape, np.float32)

    def _product(self, a: Array, b: Array) -> Array:
        out = self._empty(a.shape[0], b.shape[1])
        self.device.product(a, b, out)
        return out

    def _pair(self, a: Array, b: Array) -> Array:
        """Return (2, ...): both arrays without a copy if, as ``place`` and ``derivatives`` leave them, b follows a."""
        whole = a.base
        if whole is not None and whole is b.base and whole.shape == (2, *a.shape) and address(whole) == address(a):
            return whole
        return self.device.xp.stack([a, b])

    def _strips(self, units: Array) -> tuple[int, ...]:
        """Return threads over strips of an array of units, and its shape."""
        rows, samples = units.shape
        return -(-rows // STRIP) * samples, rows, samples

    def _strip_sums(self, values: Array | None) -> tuple[int, Array | None]:
        """Return number and array of the partial sums over units, (strips, samples); none for no values."""
        if values is None:
            return 0, None
        size, rows, samples = self._strips(values)
        parts = self._empty(size // samples, samples)
        self.device.launch("strip_sums", size, rows, samples, values, parts)
        return len(parts), parts


def edge_parts(outputs: int, inputs: int, samples: int) -> tuple[int, int]:
    """Return how many groups of outputs and chunks of samples the edges of a layer are split into.

    Each thread takes an input, a group and a chunk. Their product is what keeps a device busy; of the ways to have it,
    this one balances the memory of the partial sums, groups · samples · inputs and chunks · outputs · inputs. It
    depends on the layer only, so that results do not depend on the device.
    """
    tiles = -(-outputs // TILE)
    wanted = max(1.0, _THREADS / inputs)
    chunks = min(max(round((wanted * samples / outputs) ** 0.5), 1), samples)
    groups = min(max(round(wanted / chunks), 1), tiles)
    return groups, min(max(round(wanted / groups), 1), samples)
