"""Fused float32 loops for the layers that dominate training; everything else falls to the plain kernels."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import get_num_threads

from deepnet.kernels import loops, products, series, sparse
from deepnet.kernels.float32 import f32
from deepnet.kernels.fusible import fields, fusible, sign_units
from deepnet.kernels.library import ONE_THREAD
from deepnet.kernels.sparse import DENSE, Edges
from factorgraph.channels import Argmax, Sign
from factorgraph.dense.plain import EdgeMeans, PlainKernels, Step
from factorgraph.dense.state import VARIANCE_FLOOR, Array, Layer, Message

#: Elements below which a second thread costs more than it saves.
_SMALL = 1 << 13


class FusedKernels(PlainKernels):
    """Fused loops where inputs are float32 and the channel is ``Sign`` or the weights are ±1; plain ones elsewhere.

    A fused layer computes, while omega, V or B are in the cache, what will be asked for next: the moments of its units
    without a message, g and Γ of the units below.
    """

    def __init__(self) -> None:
        self._edges: dict[str, tuple[Array, Edges]] = {}
        self._free: _Known | None = None
        self._sent: _Known | None = None

    def running(self) -> AbstractContextManager[Any]:
        """As ``PlainKernels.running``: one pool of threads for everything."""
        return ONE_THREAD

    def gather(self, data: Array, chosen: Array) -> Array:
        """As ``PlainKernels.gather``."""
        if data.dtype != np.float32:
            return super().gather(data, chosen)
        x = np.empty((data.shape[1], len(chosen)), f32)
        loops.gather(data, chosen, x, _threads(x))
        return x

    def times(self, W: Array, x: Array) -> Array:
        """As ``PlainKernels.times``."""
        return products.times(W, x, get_num_threads()) if _float32(W, x) else super().times(W, x)

    def times_transposed(self, W: Array, g: Array) -> Array:
        """As ``PlainKernels.times_transposed``."""
        return products.times_transposed(W, g, get_num_threads()) if _float32(W, g) else super().times_transposed(W, g)

    def outer(self, g: Array, x: Array, out: Array) -> None:
        """As ``PlainKernels.outer``."""
        if _float32(g, x):
            products.outer(g, x, out, get_num_threads())
        else:
            super().outer(g, x, out)

    def add_product(self, target: Array, a: Array, b: Array) -> None:
        """As ``PlainKernels.add_product``."""
        if _float32(target, a):
            loops.add_product(target, a, b, _threads(target))
        else:
            super().add_product(target, a, b)

    def moments(self, message: Message, omega: Array, V: Array) -> tuple[Array, Array]:
        """As ``PlainKernels.moments``."""
        if not sign_units(message, omega):
            return super().moments(message, omega, V)
        if message.B is None and self._free is not None and self._free.of(omega):
            return self._free.results
        mean, variance = np.empty_like(omega), np.empty_like(omega)
        if message.B is None:
            loops.free_sign_moments(omega, V, mean, variance, _threads(omega))
        else:
            loops.sign_moments(message.B, omega, V, mean, variance, _threads(omega))
        return mean, variance

    def derivatives(self, message: Message, omega: Array, V: Array) -> tuple[Array, Array]:
        """As ``PlainKernels.derivatives``; neither sign nor argmax units feel the scale."""
        if self._sent is not None and self._sent.of(omega, message.B):
            return self._sent.results
        if sign_units(message, omega):
            g, gamma = np.empty_like(omega), np.empty_like(omega)
            loops.sign_derivatives(fields(message), omega, V, g, gamma, _threads(omega))
        elif isinstance(message.channel, Argmax) and message.channel.form == "double_jensen" and _float32(omega, V):
            g, gamma = np.empty_like(omega), np.empty_like(omega)
            loops.argmax_derivatives(message.y, omega, V, g, gamma)
        else:
            return super().derivatives(message, omega, V)
        return g, gamma

    def edge_messages(self, layer: Layer, message: Message, means: EdgeMeans | None = None) -> Array | None:
        """As ``PlainKernels.edge_messages``; at full means by a series in the own terms, unless there are few edges."""
        if means is not None or not sign_units(message, layer.omega):
            return super().edge_messages(layer, message, means)
        if not self._few_edges(layer):
            return series.edge_messages(layer, fields(message), self, get_num_threads())
        B = layer.x_mean[:0] if layer.plan.is_first else np.empty_like(layer.x_mean)
        layer.H_in.fill(0)
        numbers = layer.mean, layer.x_mean, layer.omega, layer.V, fields(message)
        sparse.edge_messages(*self._edges_of(layer)[:2], *numbers, layer.H_in, B, get_num_threads())
        return None if layer.plan.is_first else B

    def fuses(self, layer: Layer, *, last: bool) -> bool:
        """Layers of ±1 weights on all edges or few, with sign inputs or data, without part of an earlier iteration."""
        if not fusible(layer, last=last):
            return False
        return layer.plan.mask is None or self._few_edges(layer)

    def _few_edges(self, layer: Layer) -> bool:
        """Whether loops over edges are faster than products of whole arrays."""
        return layer.plan.mask is not None and self._edges_of(layer).inputs.size < DENSE * layer.H.size

    def _edges_of(self, layer: Layer) -> Edges:
        """The edges of a layer with a mask, kept from call to call."""
        mask = layer.plan.mask
        assert mask is not None
        kept = self._edges.get(layer.plan.name)
        if kept is None or kept[0] is not mask:
            kept = self._edges[layer.plan.name] = (mask, Edges.of(mask))
        return kept[1]

    def preactivations(self, layer: Layer) -> None:
        """As ``PlainKernels.preactivations``."""
        layer.omega = np.empty((layer.plan.outputs, layer.x_mean.shape[1]), f32)
        layer.V = np.empty_like(layer.omega)
        delta = layer.x_mean[:0] if layer.x_variance is None else layer.x_variance
        arrays = (layer.mean, layer.x_mean, delta, f32(VARIANCE_FLOOR), layer.omega, layer.V)
        threads = products.threads_worth(layer.mean, layer.x_mean.shape[1], get_num_threads())
        if layer.plan.mask is None:
            unit = products.uses_unit(*layer.mean.shape, layer.x_mean.shape[1])
            units = layer.omega if isinstance(layer.plan.channel, Sign) else layer.omega[:0]
            self._free = _Known((layer.omega,), (np.empty_like(units), np.empty_like(units)))
            loops.preactivations(*arrays, *self._free.results, unit, threads)
        else:
            sparse.preactivations(*self._edges_of(layer)[:2], *arrays, threads)

    def send_and_update(self, layer: Layer, step: Step) -> Array | None:
        """As ``PlainKernels.send_and_update``."""
        messages, amp = (layer.g, layer.gamma, layer.x_mean), layer.plan.closure == "amp"
        threads = products.threads_worth(layer.mean, layer.x_mean.shape[1], get_num_threads())
        B = layer.x_mean[:0] if layer.plan.is_first else np.empty_like(layer.x_mean)
        base, numbers = _update_arguments(layer, step)
        receiving = (*messages, amp, base, layer.H, layer.mean, *numbers)
        if layer.plan.mask is None:
            unit = products.uses_unit(*layer.mean.shape, layer.x_mean.shape[1])
            below = layer.below if layer.below and isinstance(layer.below.plan.channel, Sign) else None
            omega, V = (B[:0], B[:0]) if below is None else (below.omega, below.V)
            self._sent = _Known((omega, B), (np.empty_like(omega), np.empty_like(omega)))
            loops.send_and_receive(*receiving, B, omega, V, *self._sent.results, unit, min(threads, layer.plan.outputs))
        else:
            edges = self._edges_of(layer)
            if not layer.plan.is_first:
                sparse.send(*edges[2:], *messages, layer.mean, amp, B, threads)
            sparse.receive(*edges[:2], *receiving, threads)
        return None if layer.plan.is_first else B

    def update_weights(self, layer: Layer, step: Step) -> None:
        """As ``PlainKernels.update_weights``; fused for ±1 weights."""
        if not (layer.plan.spin_weights and layer.H.dtype == np.float32):
            super().update_weights(layer, step)
            return
        base, numbers = _update_arguments(layer, step)
        threads = _threads(layer.H)
        loops.update_spins(layer.H_in, base, layer.H, layer.mean, *numbers, threads)
        if layer.plan.mask is not None:
            loops.erase(layer.mean, layer.plan.mask, threads)


@dataclass(frozen=True)
class _Known:
    """Results computed beforehand, and the arrays that they were computed from."""

    sources: tuple[Array, ...]
    results: tuple[Array, Array]

    def of(self, *arrays: Array | None) -> bool:
        """Whether there are results, and of these arrays; they may be the sources without the row of a bias."""
        rows = len(self.results[0])
        return all(
            array is not None and len(array) == rows and (array is source or array.base is source)
            for array, source in zip(arrays, self.sources, strict=True)
        )


def _update_arguments(layer: Layer, step: Step) -> tuple[Array, tuple[np.float32, ...]]:
    """The base field, and β, ρ, r, α.

    A loop to which the same array came twice would take it for one that overlaps, and be slow: where the base is the
    layer's own field, its weight goes to r and the base has no rows.
    """
    if step.field is layer.H:
        return layer.H[:0], (f32(layer.beta), f32(0.0), f32(step.rho + step.reinforcement), f32(layer.damping))
    return step.field, (f32(layer.beta), f32(step.rho), f32(step.reinforcement), f32(layer.damping))


def _float32(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype == np.float32


def _threads(values: Array) -> int:
    """How many threads a pass over ``values`` is worth."""
    return 1 if values.size < _SMALL else get_num_threads()
