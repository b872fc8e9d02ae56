"""Fused float32 loops over the layers that dominate training: sign units and ±1 weights.

One pass over memory each, in vector instructions. Everything else falls to the plain kernels. Threads own disjoint
outputs, so that results do not depend on their number.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import get_num_threads, njit, prange

from deepnet.kernels.float32 import FAST, exp32, f32, inlined, sign_g32, sign_terms32, tanh32
from deepnet.kernels.plain import EdgeMeans, PlainKernels
from deepnet.state import Array, Layer, Message
from factorgraph.channels import Sign

#: One thread: these passes are short, and a second pool of threads beside that of the matrix products costs more in
#: waiting than it saves (four times the epoch, measured on two cores).
loop: Callable[..., Any] = njit(cache=True, error_model="numpy", fastmath=FAST)

#: All cores: the loops over edges take longest by far. Sums over samples may be reordered: that is what lets them run
#: in vector registers.
summing_loop: Callable[..., Any] = njit(cache=True, error_model="numpy", parallel=True, fastmath=FAST | {"reassoc"})

#: Variances of units below this are zero: products of such numbers would be denormal, and slow.
_NEGLIGIBLE = f32(1e-25)


class FusedKernels(PlainKernels):
    """Fused loops where inputs are float32 and the channel is ``Sign`` or the weights are ±1; plain ones elsewhere."""

    def moments(self, message: Message, omega: Array, V: Array) -> tuple[Array, Array]:
        """As ``PlainKernels.moments``."""
        if not _fits(message, omega):
            return super().moments(message, omega, V)
        mean, variance = np.empty_like(omega), np.empty_like(omega)
        _sign_moments(message.B, omega, V, mean, variance)
        return mean, variance

    def derivatives(self, message: Message, omega: Array, V: Array) -> tuple[Array, Array]:
        """As ``PlainKernels.derivatives``; a sign unit does not feel the scale."""
        if not _fits(message, omega):
            return super().derivatives(message, omega, V)
        g, gamma = np.empty_like(omega), np.empty_like(omega)
        _sign_derivatives(_log_odds(message), omega, V, g, gamma)
        return g, gamma

    def edge_messages(self, layer: Layer, message: Message, means: EdgeMeans | None = None) -> Array | None:
        """As ``PlainKernels.edge_messages``; fused for full means."""
        if means is not None or not _fits(message, layer.omega):
            return super().edge_messages(layer, message, means)
        rows = _sign_rows(_log_odds(message), layer.omega, layer.V)
        B = np.zeros_like(layer.x_mean)
        _sign_edges(layer.mean, layer.x_mean, *rows, layer.H_in, B, not layer.plan.is_first, get_num_threads())
        return None if layer.plan.is_first else B

    def update_weights(
        self, layer: Layer, base_H: Array, base_G: Array | None, *, rho: float, reinforcement: float
    ) -> None:
        """As ``PlainKernels.update_weights``; fused for ±1 weights."""
        if not (layer.plan.spin_weights and layer.H.dtype == np.float32):
            super().update_weights(layer, base_H, base_G, rho=rho, reinforcement=reinforcement)
            return
        arrays = (layer.H_in, base_H, layer.H, layer.mean, layer.variance, layer.mean_squared)
        numbers = (f32(layer.beta), f32(rho), f32(reinforcement), f32(layer.damping))
        if layer.plan.mask is None:
            _update_spins(*arrays, *numbers)
        else:
            _update_masked_spins(*arrays, *numbers, layer.plan.mask)


def _fits(message: Message, omega: Array) -> bool:
    """Whole layers of sign units in float32; blocks of edges have three axes."""
    per_edge = omega.ndim > 2 or (message.B is not None and message.B.ndim > 2)
    return isinstance(message.channel, Sign) and omega.dtype == np.float32 and not per_edge


def _log_odds(message: Message) -> Array:
    """c = 2B of the outputs; a huge number where they are observed, e^{-|c|} being zero then."""
    if message.y is not None:
        return np.where(message.y > 0, f32(1e30), f32(-1e30))
    assert message.B is not None
    return message.B + message.B


@loop
def _sign_moments(B: Any, omega: Any, V: Any, mean: Any, variance: Any) -> None:
    for k in range(omega.shape[0]):
        for j in range(omega.shape[1]):
            t = omega[k, j] / np.sqrt(V[k, j])
            c = f32(2.0) * B[k, j]
            eps = exp32(max(-abs(c), f32(-87.0)))
            against, along, _, _, _ = sign_terms32(t, c, eps)
            scale = f32(1.0) / (against + along)
            u, v = against * scale, along * scale
            delta = f32(4.0) * u * v
            mean[k, j] = v - u if t >= f32(0.0) else u - v
            variance[k, j] = delta if delta > _NEGLIGIBLE else f32(0.0)


@loop
def _sign_derivatives(c: Any, omega: Any, V: Any, g: Any, gamma: Any) -> None:
    for k in range(omega.shape[0]):
        for j in range(omega.shape[1]):
            inverse = f32(1.0) / np.sqrt(V[k, j])
            t = omega[k, j] * inverse
            eps = exp32(max(-abs(c[k, j]), f32(-87.0)))
            against, along, slope, d, y = sign_terms32(t, c[k, j], eps)
            scale = f32(1.0) / (against + along)
            strength = (f32(1.0) - eps) if c[k, j] >= f32(0.0) else (eps - f32(1.0))
            h = strength * d * scale
            # Γ V = h (h + t), and h + t written without the cancellation against t in the tail: E/N of the hazard.
            excess = (slope - y * along) * scale
            g[k, j] = inverse * h
            gamma[k, j] = inverse * inverse * h * (excess if t < f32(0.0) else -excess)


@loop
def _sign_rows(c: Any, omega: Any, V: Any) -> Any:
    """What the edges of an output share: omega/√V, 1/√V, c, e^{-|c|}, sign(c)(1 - e^{-|c|})/√V."""
    shape = omega.shape
    ratio, inverse, eps, strength = (
        np.empty(shape, f32),
        np.empty(shape, f32),
        np.empty(shape, f32),
        np.empty(shape, f32),
    )
    for k in range(shape[0]):
        for j in range(shape[1]):
            inverse[k, j] = f32(1.0) / np.sqrt(V[k, j])
            ratio[k, j] = omega[k, j] * inverse[k, j]
            eps[k, j] = exp32(max(-abs(c[k, j]), f32(-87.0)))
            sign = inverse[k, j] if c[k, j] >= f32(0.0) else -inverse[k, j]
            strength[k, j] = sign * (f32(1.0) - eps[k, j])
    return ratio, inverse, c, eps, strength


@summing_loop
def _sign_edges(
    m: Any, x: Any, ratio: Any, inverse: Any, c: Any, eps: Any, strength: Any, H: Any, B: Any, send: bool, threads: int
) -> None:
    """H_ki = Σ_n x g and B_in = Σ_k m g with g at omega - m x; each thread owns some of the inputs i."""
    outputs, samples = ratio.shape
    inputs = x.shape[0]
    size = (inputs + threads - 1) // threads
    for thread in prange(threads):
        for k in range(outputs):
            for i in range(thread * size, min(inputs, (thread + 1) * size)):
                m_ki = m[k, i]
                total = f32(0.0)
                for j in range(samples):
                    x_ij = x[i, j]
                    t = ratio[k, j] - m_ki * x_ij * inverse[k, j]
                    g = sign_g32(t, c[k, j], eps[k, j], strength[k, j])
                    total += x_ij * g
                    if send:
                        B[i, j] += m_ki * g
                H[k, i] = total


@inlined
def _update_spin(H_in, base, H, m, beta, rho, reinforcement, damping):
    """The new field and damped mean of one weight."""
    field = beta * H_in + rho * base + reinforcement * H
    return field, damping * m + (f32(1.0) - damping) * tanh32(field)


@loop
def _update_spins(
    H_in: Any, base: Any, H: Any, m: Any, variance: Any, squared: Any, beta: Any, rho: Any, r: Any, alpha: Any
) -> None:
    for k in range(H.shape[0]):
        for i in range(H.shape[1]):
            H[k, i], mean = _update_spin(H_in[k, i], base[k, i], H[k, i], m[k, i], beta, rho, r, alpha)
            m[k, i] = mean
            variance[k, i] = (f32(1.0) - mean) * (f32(1.0) + mean)
            squared[k, i] = mean * mean


@loop
def _update_masked_spins(
    H_in: Any,
    base: Any,
    H: Any,
    m: Any,
    variance: Any,
    squared: Any,
    beta: Any,
    rho: Any,
    r: Any,
    alpha: Any,
    mask: Any,
) -> None:
    for k in range(H.shape[0]):
        for i in range(H.shape[1]):
            field, mean = _update_spin(H_in[k, i], base[k, i], H[k, i], m[k, i], beta, rho, r, alpha)
            kept = f32(1.0) if mask[k, i] else f32(0.0)
            H[k, i] = field
            m[k, i] = kept * mean
            variance[k, i] = kept * (f32(1.0) - mean) * (f32(1.0) + mean)
            squared[k, i] = kept * mean * mean
