"""ReLU units in float32: branch-free bodies, as those of ``deepnet.kernels.cpu.float32``, and parallel loops.

A unit is a mixture of a *spike* at 0 of weight p0 and a *slab* on x > 0, a normal law cut off at a deviations from its
mean, of weight p1: see ``factorgraph.channels.relu``, whose float64 bodies these are tested against.
"""

from typing import Any

import numpy as np

from deepnet.kernels.cpu.float32 import exp32, f32, hazard32, in_widest_vectors, inlined
from deepnet.kernels.cpu.fused_loops import loop

# The variance of a normal variable beyond y >= 0 is M(y)/N(y)², relative error 1.8e-6, with N as in ``hazard32``. The
# leading coefficient gives the limit 1/y²; all are positive: no cancellation. Least squares as there.
_V0, _V1, _V2 = f32(0.570796907), f32(1.03348553), f32(0.881536961)
_V3, _V4, _V5 = f32(0.460621983), f32(0.161901489), f32(0.0389923081)
_V6, _V7, _V8 = f32(0.0063837152), f32(0.000656766992), f32(3.31237206e-05)

_SQRT_2PI = f32(2.5066282746310002)
_INV_SQRT_2PI = f32(0.3989422804014327)
_LARGEST_RATIO = f32(1e4)  # deviations beyond which a tail is taken for that at so many: y^9 must not overflow
_LARGEST_EXPONENT = f32(87.0)  # e^-87 is just above the smallest normal number: denormals are slow
_NEGLIGIBLE = f32(1e-25)  # moments and derivatives below this are zero, likewise


@inlined
def tail32(x):
    """What lies beyond x in a normal law: (S, q, excess, variance, K, tail), the three in the middle as of
    ``normal_tail``.

    √(2π) e^{x²/2} H(x) = S e^q with q = x²/2 below zero, else 0, so that S has no exponent; tail = √(2π) H(|x|).
    """
    y = min(abs(x), _LARGEST_RATIO)
    n, e = hazard32(y)
    m = (((((((_V8 * y + _V7) * y + _V6) * y + _V5) * y + _V4) * y + _V3) * y + _V2) * y + _V1) * y + _V0
    inverse = f32(1.0) / n
    excess = e * inverse
    mills = n / (y * n + e)
    # Below zero: what is not beyond |x|.
    q = f32(0.5) * x * x
    density = exp32(-min(q, _LARGEST_EXPONENT))
    tail = density * mills
    rest = _SQRT_2PI - tail
    hazard = density / rest
    beyond = hazard + abs(x)
    if x >= f32(0.0):
        return mills, f32(0.0), excess, m * inverse * inverse, y + excess, tail
    return rest, q, beyond, f32(1.0) - hazard * beyond, hazard, tail


@inlined
def relu_parts32(b, a, t):
    """What all of a unit that receives the message (b, a) at z ~ N(t, 1) is made of: (p0, p1, x1, v1, d1, z0, n).

    Weights of spike and slab, mean and variance of the slab, d1 = b - a x1, E|z| in the spike, and N(t)/Z.
    """
    rate = f32(1.0) + a
    s = f32(1.0) / np.sqrt(rate)
    edge = -(b + t) * s
    spike, q, z0, _, _, _ = tail32(t)
    slab, p, excess, variance, hazard, _ = tail32(edge)
    # p1/p0 = s S(edge)/S(t) e^delta. Where both exponents are there their difference is taken before it is rounded.
    narrow = s * s
    exponent = f32(0.5) * (b * (b + t + t) - a * t * t) * narrow
    delta = exponent if (t < f32(0.0)) and (edge < f32(0.0)) else p - q
    small = exp32(-min(abs(delta), _LARGEST_EXPONENT))
    slab *= s
    part0 = spike * small if delta > f32(0.0) else spike
    part1 = slab if delta > f32(0.0) else slab * small
    scale = f32(1.0) / (part0 + part1)
    x1 = s * excess
    # x1 = s (K - edge) for a slab that is mostly cut off, its uncut mean plus s K for one that is mostly there.
    d1 = (b - a * t) * narrow - a * s * hazard if edge < f32(0.0) else b - a * x1
    n = exp32(-min(max(p, q), _LARGEST_EXPONENT)) * scale
    return part0 * scale, part1 * scale, x1, narrow * variance, d1, z0, n


@inlined
def relu_moments32(B, A, omega, V):
    """x̂ and Δ of a unit that receives the message (B, A)."""
    inverse = f32(1.0) / np.sqrt(V)
    sd = V * inverse
    p0, p1, x1, v1, _, _, _ = relu_parts32(B * sd, A * V, omega * inverse)
    return _normal(sd * p1 * x1), _normal(V * p1 * (v1 + p0 * x1 * x1))


@inlined
def free_relu_moments32(omega, V):
    """x̂ and Δ of a unit that receives no message: the slab is what is beyond a = -omega/√V."""
    inverse = f32(1.0) / np.sqrt(V)
    a = -omega * inverse
    _, _, x1, v1, _, tail = tail32(a)
    small = _INV_SQRT_2PI * tail
    p0, p1 = (f32(1.0) - small, small) if a >= f32(0.0) else (small, f32(1.0) - small)
    return _normal(V * inverse * p1 * x1), _normal(V * p1 * (v1 + p0 * x1 * x1))


@inlined
def relu_derivatives32(B, A, omega, V):
    """g and Γ of a unit that receives the message (B, A)."""
    inverse = f32(1.0) / np.sqrt(V)
    a = A * V
    p0, p1, x1, v1, d1, z0, _ = relu_parts32(B * V * inverse, a, omega * inverse)
    curvature = p1 * (a * v1 - p0 * d1 * (z0 + x1))
    return _normal(inverse * p1 * d1), _normal(inverse * inverse * curvature)


@inlined
def _normal(value):
    return value if abs(value) > _NEGLIGIBLE else f32(0.0)


@loop
def moments(
    B: Any, A: Any, omega: Any, V: Any, scale: Any, mean: Any, variance: Any, thread: int, threads: int
) -> None:
    """x̂ and Δ of units at scale · z that receive the messages (B, A)."""
    rows = omega.shape[0]
    in_widest_vectors()
    for k in range(thread * rows // threads, (thread + 1) * rows // threads):
        _moments(B[k], A[k], omega[k], V[k], scale, mean[k], variance[k])


@inlined
def _moments(B: Any, A: Any, omega: Any, V: Any, scale: Any, mean: Any, variance: Any) -> None:
    for j in range(omega.shape[0]):
        mean[j], variance[j] = relu_moments32(B[j], A[j], scale * omega[j], scale * scale * V[j])


@loop
def free_moments(omega: Any, V: Any, scale: Any, mean: Any, variance: Any, thread: int, threads: int) -> None:
    """x̂ and Δ of units at scale · z that receive no message."""
    rows = omega.shape[0]
    in_widest_vectors()
    for k in range(thread * rows // threads, (thread + 1) * rows // threads):
        _free_moments(omega[k], V[k], scale, mean[k], variance[k])


@inlined
def _free_moments(omega: Any, V: Any, scale: Any, mean: Any, variance: Any) -> None:
    for j in range(omega.shape[0]):
        mean[j], variance[j] = free_relu_moments32(scale * omega[j], scale * scale * V[j])


@loop
def derivatives(B: Any, A: Any, omega: Any, V: Any, scale: Any, g: Any, gamma: Any, thread: int, threads: int) -> None:
    """g and Γ in z of units at scale · z that receive the messages (B, A)."""
    rows = omega.shape[0]
    in_widest_vectors()
    for k in range(thread * rows // threads, (thread + 1) * rows // threads):
        _derivatives(B[k], A[k], omega[k], V[k], scale, g[k], gamma[k])


@inlined
def _derivatives(B: Any, A: Any, omega: Any, V: Any, scale: Any, g: Any, gamma: Any) -> None:
    for j in range(omega.shape[0]):
        slope, curvature = relu_derivatives32(B[j], A[j], scale * omega[j], scale * scale * V[j])
        g[j], gamma[j] = scale * slope, scale * scale * curvature
