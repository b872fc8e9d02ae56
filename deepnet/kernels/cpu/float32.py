"""Branch-free float32 bodies that the compiler turns into vector instructions.

The float64 bodies of ``factorgraph`` are exact to 1e-12 and branch; these are their fast counterparts for the dense
sweeps: no branch, no library call, one division. Tests hold them against the float64 bodies over the whole range.
"""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from factorgraph.runtime.compiled import njit

#: Products may be fused with sums; nothing may be reordered (the rounding trick in ``exp32`` relies on the order). The
#: bodies are inlined by LLVM: Numba's own inlining would give them the flags of the loop that calls them.
FAST = {"contract", "nnan", "ninf", "nsz"}

f32 = np.float32

inlined: Callable[..., Any] = njit(part=True, error_model="numpy", fastmath=FAST, forceinline=True)

# exp: round(x / ln 2) is read off the mantissa of x / ln 2 + 1.5·2^23; ln 2 is split in a short and a long part.
_LOG2_E = f32(1.4426950408889634)
_ROUNDER = f32(12582912.0)
_ROUNDER_BITS = np.int32(0x4B400000)
_ONE_BITS = np.int32(0x3F800000)
_LN2_HIGH = f32(0.693359375)
_LN2_LOW = f32(-2.12194440e-4)
_E2, _E3, _E4, _E5, _E6 = f32(0.5), f32(1.6666655e-1), f32(4.1665795e-2), f32(8.3334519e-3), f32(1.3981999e-3)

# The hazard of a normal variable beyond itself: K(y) - y = E(y) / N(y) for y >= 0, relative error 8.7e-8, with
# K(y) = exp(-y²/2) / ∫_y^∞ exp(-u²/2) du. Equal leading coefficients give the limit 1/y; all are positive: no
# cancellation. Least squares on Chebyshev nodes in 1 / (1 + y/2), iteratively reweighted towards the minimax error.
_N0, _N1, _N2 = f32(1.25331403), f32(1.51062862), f32(0.864586999)
_N3, _N4, _N5 = f32(0.289053024), f32(0.0570567629), f32(0.00575532101)
_M1, _M2, _M3, _M4 = f32(0.749873491), f32(0.277560116), f32(0.0570565881), f32(0.00575532101)

_SQRT_2PI = f32(2.5066282746310002)
_TWICE_DENSITY = f32(0.7978845608028654)  # 2/√(2π)
_LARGEST_EXPONENT = f32(25.0)  # e^25 = 7e10: what it outweighs is far below float32 resolution
_SMALLEST_EXPONENT = f32(-87.0)  # just above the smallest normal number: denormals are slow
_NEGLIGIBLE = f32(1e-25)  # variances of units below this are zero: products of such numbers would be denormal, and slow
_LARGEST_RATIO = f32(1e4)  # |omega|/√V beyond which g is clipped: y^7 e^25 must not overflow


@cast(Callable[..., Any], intrinsic)
def float_bits(typingctx: Any, x: Any) -> Any:
    """The bits of a float32 as int32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(32))

    return types.int32(types.float32), codegen


@cast(Callable[..., Any], intrinsic)
def float_from_bits(typingctx: Any, bits: Any) -> Any:
    """The float32 with the given bits, an int32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), codegen


@cast(Callable[..., Any], intrinsic)
def in_widest_vectors(typingctx: Any) -> Any:
    """Have the loops of the calling function use all of a vector register, of whose 512 bits compilers use half."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')  # llvmlite knows attributes of one word
        return context.get_dummy_value()

    return types.void(), codegen


@inlined
def exp32(x):
    """e^x for -87 <= x <= 88, float32."""
    shifted = x * _LOG2_E + _ROUNDER
    power = shifted - _ROUNDER
    r = (x - power * _LN2_HIGH) - power * _LN2_LOW
    poly = ((((_E6 * r + _E5) * r + _E4) * r + _E3) * r + _E2) * (r * r) + r + f32(1.0)
    exponent = np.int32(float_bits(shifted) - _ROUNDER_BITS)
    return poly * float_from_bits(np.int32(np.int32(exponent << np.int32(23)) + _ONE_BITS))


@inlined
def tanh32(x):
    """tanh x, float32, absolute error below 1e-7 (relative too, but for |x| << 1)."""
    e = exp32(max(f32(-2.0) * abs(x), _SMALLEST_EXPONENT))
    t = (f32(1.0) - e) / (f32(1.0) + e)
    return t if x >= f32(0.0) else -t


@inlined
def hazard32(y):
    """Polynomials (N, E) with K(y) = y + E/N, the hazard of a normal variable at y >= 0."""
    n = ((((_N5 * y + _N4) * y + _N3) * y + _N2) * y + _N1) * y + _N0
    e = (((_M4 * y + _M3) * y + _M2) * y + _M1) * y + f32(1.0)
    return n, e


@inlined
def hazard_excess32(x):
    """K(x) and K(x) - x for any x; below zero K = N/(1 - H(|x|)) with the density N and H = N/K(|x|)."""
    y = min(abs(x), _LARGEST_RATIO)
    n, e = hazard32(y)
    excess = e / n
    inverse = _SQRT_2PI * exp32(min(f32(0.5) * y * y, f32(80.0)))
    below = (y + excess) / (inverse * (y + excess) - f32(1.0))
    return (y + excess, excess) if x >= f32(0.0) else (below, below + y)


@inlined
def tails32(t):
    """2H(|t|), the probability of a normal variable beyond ±t."""
    y = min(abs(t), f32(13.0))
    n, e = hazard32(y)
    return _TWICE_DENSITY * exp32(f32(-0.5) * y * y) * n / (y * n + e)


@inlined
def sign_terms32(t, c, eps):
    """What every moment of a sign unit is made of, at t = omega/√V with a message of log-odds c = 2B from above.

    Z = e^{Bx} H(-xt) summed over x = ±1, up to a common factor. On the side where the Mills ratio R = H/N is huge,
    R(-y) = √(2π) e^{y²/2} - R(y); R(y) = N/D, D = yN + E. ``eps`` = e^{-|c|}; the weights of the two outputs are 1 and
    eps, ``a`` that of the output opposed to t. Where the other one outweighs it beyond any float32 the unit is certain:
    its term is left out, and g, Γ and Δ are zero.

    Returns:
        (against, along, slope, D, y): the two terms of Z, against and along t; slope = aE - bD; D; y = |t|, clipped.
    """
    y = min(abs(t), _LARGEST_RATIO)
    opposed = (t < f32(0.0)) == (c >= f32(0.0))
    a = f32(1.0) if opposed else eps
    b = eps if opposed else f32(1.0)
    log_b = -abs(c) if opposed else f32(0.0)
    n, e = hazard32(y)
    d = y * n + e
    exponent = f32(0.5) * y * y + log_b
    along = _SQRT_2PI * exp32(max(min(exponent, _LARGEST_EXPONENT), _SMALLEST_EXPONENT)) * d - b * n
    certain = exponent > _LARGEST_EXPONENT
    return f32(0.0) if certain else a * n, along, a * e - b * d, f32(0.0) if certain else d, y


@inlined
def sign_g32(t, c, eps, strength):
    """√V g = 2 N(t) sinh B / Z of a sign unit; ``strength`` = sign(B)(1 - e^{-2|B|})."""
    against, along, _, d, _ = sign_terms32(t, c, eps)
    return strength * d / (against + along)


@inlined
def sign_moments32(B, omega, V):
    """x̂ and Δ of a sign unit that receives the field B."""
    t = omega / np.sqrt(V)
    c = f32(2.0) * B
    eps = exp32(max(-abs(c), _SMALLEST_EXPONENT))
    against, along, _, _, _ = sign_terms32(t, c, eps)
    scale = f32(1.0) / (against + along)
    u, v = against * scale, along * scale
    delta = f32(4.0) * u * v
    return v - u if t >= f32(0.0) else u - v, delta if delta > _NEGLIGIBLE else f32(0.0)


@inlined
def free_sign_moments32(omega, V):
    """x̂ and Δ of a sign unit that receives no message."""
    t = omega / np.sqrt(V)
    tails = tails32(t)
    delta = tails * (f32(2.0) - tails)
    return f32(1.0) - tails if t >= f32(0.0) else tails - f32(1.0), delta if delta > _NEGLIGIBLE else f32(0.0)


@inlined
def sign_derivatives32(B, omega, V):
    """g and Γ of a sign unit that receives the field B: ±1e30 where it is observed."""
    inverse = f32(1.0) / np.sqrt(V)
    t = omega * inverse
    c = f32(2.0) * B
    eps = exp32(max(-abs(c), _SMALLEST_EXPONENT))
    against, along, slope, d, y = sign_terms32(t, c, eps)
    scale = f32(1.0) / (against + along)
    strength = (f32(1.0) - eps) if c >= f32(0.0) else (eps - f32(1.0))
    h = strength * d * scale
    # Γ V = h (h + t), and h + t written without the cancellation against t in the tail: E/N of the hazard.
    excess = (slope - y * along) * scale
    return inverse * h, inverse * inverse * h * (excess if t < f32(0.0) else -excess)


@inlined
def rival32(gap, inverse):
    """-g and Γ of a rival of the label: ``gap`` = omega - omega_label, ``inverse`` = 1/√(V + V_label)."""
    hazard, excess = hazard_excess32(gap * inverse)
    return inverse * hazard, inverse * inverse * hazard * excess


@inlined
def update_spin32(H_in, base, H, m, beta, rho, r, alpha):
    """New field and mean of a ±1 weight."""
    field = beta * H_in + rho * base + r * H
    mean = alpha * m + (f32(1.0) - alpha) * tanh32(field)
    return field, mean


@inlined
def edge_factor32(B, omega, V):
    """What all edges of a sign unit that receives the field B share: t = omega/√V, 1/√V, c = 2B and e^{-|c|}."""
    inverse = f32(1.0) / np.sqrt(V)
    c = f32(2.0) * B
    return omega * inverse, inverse, c, exp32(max(-abs(c), _SMALLEST_EXPONENT))


@inlined
def edge_g32(t, inverse, c, eps, own):
    """g of a sign unit at omega minus the ``own`` term of an edge."""
    strength = inverse * (f32(1.0) - eps) if c >= f32(0.0) else inverse * (eps - f32(1.0))
    return sign_g32(t - own * inverse, c, eps, strength)
