"""The operations of a sweep on the processor: compiled float32 loops for the layers that dominate training."""

from contextlib import AbstractContextManager
from typing import Any, cast

import numpy as np
from numba import get_num_threads

from deepnet.kernels.cpu import fused_loops as loops
from deepnet.kernels.cpu import gaussian, products, relu, relu_series, series, sparse
from deepnet.kernels.cpu.float32 import f32
from deepnet.kernels.cpu.library import ONE_THREAD
from deepnet.kernels.cpu.sparse import DENSE, Edges
from deepnet.kernels.support import (
    REACTIONS,
    fields,
    fuses_iteration,
    noisy,
    supports_argmax,
    supports_fusing,
    supports_gaussian_weights,
    supports_relu_units,
    supports_sign_units,
)
from factorgraph.channels import Sign
from factorgraph.dense import numpy_operations
from factorgraph.dense.layer_steps import backward_step, forward_step
from factorgraph.dense.numpy_operations import PRECISION_FLOOR
from factorgraph.dense.operations import Backward, EdgeMeans, Forward, Path, Step
from factorgraph.dense.state import Array, Layer, Message
from factorgraph.priors import Gaussian, Prior

#: Elements below which a second thread costs more than it saves.
_SMALL = 1 << 13


class CpuOperations:
    """Fused loops where ``deepnet.kernels.support`` has them, NumPy's formulas elsewhere.

    The methods are documented in ``factorgraph.dense.operations.Operations``. A fused layer also computes, while omega,
    V or B are in the cache, what the sweep needs next, and returns it: the moments of its units without a message, g
    and Γ of the units below.
    """

    def __init__(self) -> None:
        self._edges: dict[str, tuple[Array, Edges]] = {}

    def running(self) -> AbstractContextManager[Any]:
        """Keep all work on one pool of threads."""
        return ONE_THREAD

    def gather(self, data: Array, chosen: Array) -> Array:
        if data.dtype != np.float32:
            return numpy_operations.gather(data, chosen)
        x = np.empty((data.shape[1], len(chosen)), f32)
        loops.gather(data, chosen, x, _threads(x))
        return x

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
        return products.times(W, x, get_num_threads(), coarse=coarse) if _float32(W, x) else W @ x

    def times_transposed(self, W: Array, g: Array, *, coarse: bool = False) -> Array:
        return products.times_transposed(W, g, get_num_threads(), coarse=coarse) if _float32(W, g) else W.T @ g

    def outer(self, g: Array, x: Array, out: Array, *, coarse: bool = False) -> None:
        if _float32(g, x):
            products.outer(g, x, out, get_num_threads(), coarse=coarse)
        else:
            np.matmul(g, x.T, out=out)

    def add_product(self, target: Array, a: Array, b: Array) -> None:
        if _float32(target, a):
            loops.add_product(target, a, b, _threads(target))
        else:
            target += a * b

    def moments(self, message: Message, omega: Array, V: Array) -> tuple[Array, Array]:
        sign, rectified = supports_sign_units(message, omega), supports_relu_units(message, omega)
        if not (sign or rectified):
            return numpy_operations.moments(message, omega, V)
        mean, variance = np.empty_like(omega), np.empty_like(omega)
        found = mean, variance, _threads(omega)
        if sign and message.B is None:
            loops.free_sign_moments(omega, V, *found)
        elif sign:
            loops.sign_moments(message.B, omega, V, *found)
        elif message.B is None:
            relu.free_moments(omega, V, f32(message.scale), *found)
        else:
            relu.moments(message.B, message.A, omega, V, f32(message.scale), *found)
        return mean, variance

    def derivatives(self, message: Message, omega: Array, V: Array) -> tuple[Array, Array]:
        # The scale is left out: the derivatives in omega of sign and argmax units do not depend on it.
        if supports_sign_units(message, omega):
            g, gamma = np.empty_like(omega), np.empty_like(omega)
            loops.sign_derivatives(fields(message), omega, V, g, gamma, _threads(omega))
        elif supports_relu_units(message, omega):
            g, gamma = np.empty_like(omega), np.empty_like(omega)
            relu.derivatives(message.B, message.A, omega, V, f32(message.scale), g, gamma, _threads(omega))
        elif supports_argmax(message, omega):
            g, gamma = np.empty_like(omega), np.empty_like(omega)
            loops.argmax_derivatives(message.y, omega, noisy(message, V), g, gamma)
        else:
            return numpy_operations.derivatives(message, omega, V)
        return numpy_operations.raised(message, g, gamma)

    def edge_messages(self, layer: Layer, message: Message, means: EdgeMeans | None = None) -> Array | None:
        """Sum a series in the own terms where the means are full and edges are many, else edge by edge."""
        plain = means is None and message.power is None
        units = self._units(message, layer.omega) if plain else None
        if units is None:
            return numpy_operations.edge_messages(self, layer, message, means)
        if not (isinstance(units, series.SignUnits) and self._few_edges(layer)):
            return series.edge_messages(layer, units, self, get_num_threads())
        B = layer.x_mean[:0] if layer.plan.is_first else np.empty_like(layer.x_mean)
        layer.H_in.fill(0)
        numbers = layer.mean, layer.x_mean, layer.omega, layer.V, units.field
        sparse.edge_messages(*self._edges_of(layer)[:2], *numbers, layer.H_in, B, get_num_threads())
        return None if layer.plan.is_first else B

    def weight_moments(self, prior: Prior, H: Array, G: Array | float) -> tuple[Array, Array]:
        """As ``Operations.weight_moments``."""
        return prior.moments(H=H, G=G)

    def require_finite(self, values: Array) -> None:
        numpy_operations.require_finite(values)

    def path(self, layer: Layer, *, last: bool) -> Path:
        if not supports_fusing(layer.plan, layer.H.dtype) or not fuses_iteration(layer, last=last):
            return Path.CLOSURE
        if layer.plan.mask is None:
            return Path.FUSED
        return Path.EDGES if self._few_edges(layer) else Path.CLOSURE

    def _units(self, message: Message, omega: Array) -> series.Units | None:
        """Return the units that receive a message, if their g has a series."""
        if supports_sign_units(message, omega):
            return series.SignUnits(fields(message))
        if supports_relu_units(message, omega):
            assert message.B is not None and message.A is not None
            return relu_series.ReluUnits(message.B, message.A, message.scale)
        return None

    def _few_edges(self, layer: Layer) -> bool:
        """Return whether loops over edges are faster than products of whole arrays."""
        return layer.plan.mask is not None and self._edges_of(layer).inputs.size < DENSE * layer.H.size

    def _edges_of(self, layer: Layer) -> Edges:
        """Return the edges of a layer with a mask, kept from call to call."""
        mask = layer.plan.mask
        assert mask is not None
        kept = self._edges.get(layer.plan.name)
        if kept is None or kept[0] is not mask:
            kept = self._edges[layer.plan.name] = (mask, Edges.of(mask))
        return kept[1]

    def forward(self, layer: Layer, *, last: bool, free_moments: bool) -> Forward:
        path = self.path(layer, last=last)
        if path is Path.CLOSURE:
            return forward_step(self, layer)
        # Arrays to fill; those without rows stand for what is known or not wanted.
        omega = np.empty((layer.plan.outputs, layer.x_mean.shape[1]), f32)
        V = np.empty_like(omega)
        delta = layer.x_mean[:0] if layer.x_variance is None else layer.x_variance
        arrays = (layer.mean, layer.x_mean, delta, f32(layer.plan.min_variance), omega, V)
        threads = products.threads_worth(layer.mean, layer.x_mean.shape[1], get_num_threads())
        if path is Path.EDGES:
            sparse.preactivations(*self._edges_of(layer)[:2], *arrays, threads)
            return Forward(omega, V)
        # The moments of the units above follow while omega and V are in the cache.
        free_moments = free_moments and isinstance(layer.plan.channel, Sign)
        units = omega if free_moments else omega[:0]
        moments = np.empty_like(units), np.empty_like(units)
        loops.preactivations(*arrays, *moments, _uses_amx(layer), threads)
        return Forward(omega, V, moments if free_moments else None)

    def backward(self, layer: Layer, above: Message, step: Step, *, last: bool) -> Backward:
        path = self.path(layer, last=last)
        if path is Path.CLOSURE:
            return backward_step(self, layer, above, step, last=last)
        messages, reaction = (layer.g, layer.gamma, layer.x_mean), REACTIONS[layer.plan.closure]
        threads = products.threads_worth(layer.mean, layer.x_mean.shape[1], get_num_threads())
        B = layer.x_mean[:0] if layer.plan.is_first else np.empty_like(layer.x_mean)
        base, numbers = _update_arguments(layer, step)
        receiving = (*messages, reaction, base, layer.H, layer.mean, *numbers)
        if path is Path.EDGES:
            edges = self._edges_of(layer)
            if not layer.plan.is_first:
                sparse.send(*edges[2:], *messages, layer.mean, reaction, B, threads)
            sparse.receive(*edges[:2], *receiving, threads)
            return Backward(None if layer.plan.is_first else B)
        # Likewise g and Γ of the units below, from B.
        below = layer.below if layer.below and isinstance(layer.below.plan.channel, Sign) else None
        omega, V = (B[:0], B[:0]) if below is None else (below.omega, below.V)
        derivatives = np.empty_like(omega), np.empty_like(omega)
        sending = (B, omega, V, *derivatives, _uses_amx(layer), min(threads, layer.plan.outputs))
        loops.send_and_receive(*receiving, *sending)
        if layer.plan.is_first:
            return Backward(None)
        return Backward(B, derivatives_below=None if below is None else derivatives)

    def update_weights(self, layer: Layer, step: Step) -> None:
        """Renew ±1 weights in one pass."""
        if supports_gaussian_weights(layer):
            _update_gaussians(layer, step)
            return
        if not (layer.plan.spin_weights and layer.H.dtype == np.float32):
            numpy_operations.update_weights(self, layer, step)
            return
        base, numbers = _update_arguments(layer, step)
        threads = _threads(layer.H)
        loops.update_spins(layer.H_in, base, layer.H, layer.mean, *numbers, threads)
        if layer.plan.mask is not None:
            loops.erase(layer.mean, layer.plan.mask, threads)


def _update_gaussians(layer: Layer, step: Step) -> None:
    """Renew continuous weights in one pass."""
    base, numbers = _update_arguments(layer, step)
    G, threads, prior = cast(Array, layer.G), _threads(layer.H), cast(Gaussian, layer.plan.prior)
    precisions = G[:0] if base.shape[0] == 0 else step.precision
    h, precision, _ = prior.natural
    arrays = layer.H_in, layer.G_in, base, precisions, layer.H, G, layer.mean, layer.sigma
    gaussian.update(*arrays, *numbers, f32(h), f32(precision), f32(PRECISION_FLOOR), threads)
    if layer.plan.mask is not None:
        loops.erase(layer.mean, layer.plan.mask, threads)
        loops.erase(layer.sigma, layer.plan.mask, threads)


def _uses_amx(layer: Layer) -> bool:
    """Return whether the products of a layer are for AMX."""
    return products.uses_amx(*layer.mean.shape, layer.x_mean.shape[1])


def _update_arguments(layer: Layer, step: Step) -> tuple[Array, tuple[np.float32, np.float32, np.float32, np.float32]]:
    """Return the base field, and β, ρ, r, α.

    A loop to which the same array came twice would take it for one that overlaps, and be slow: where the base is the
    layer's own field, its weight goes to r and the base has no rows.
    """
    if step.field is layer.H:
        return layer.H[:0], (f32(layer.beta), f32(0.0), f32(step.rho + step.reinforcement), f32(layer.damping))
    return step.field, (f32(layer.beta), f32(step.rho), f32(step.reinforcement), f32(layer.damping))


def _float32(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype == np.float32


def _threads(values: Array) -> int:
    """Return how many threads a pass over ``values`` is worth."""
    return 1 if values.size < _SMALL else get_num_threads()
