"""Reference values of the scalar functions with at least 50 correct digits, from textbook definitions in mpmath.

Nothing here is clever: moments are mixture moments of z, differences are taken as they stand, and the working precision
is doubled until two results agree. Arguments are floats and count as exact.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from mpmath import mp, mpf

Values = tuple[mpf, ...]


def to_agreement(function: Callable[..., Values], *args: Any) -> Values:
    """Result with 50 digits where it is above 1e-330, absolutely right below (which is zero for a float).

    The first precision holds the sum of 1 and the smallest argument, so that no argument is lost in every attempt
    alike; a difference is believed to vanish only at 480 digits or more.
    """
    digits = 60 - int(min([0.0, *(math.log10(abs(x)) for x in args if x)]))
    previous = None
    while digits < 4000:
        with mp.workdps(digits):
            result = function(*args)
            floor = mpf(10) ** -330 if digits >= 480 else mpf(0)
            if previous is not None and all(
                (x != 0 and abs(x - y) <= mpf(10) ** -50 * abs(x)) or abs(x - y) < floor
                for x, y in zip(result, previous, strict=True)
            ):
                return result
        digits, previous = 2 * digits, result
    raise ArithmeticError(f"{function.__name__}{args} does not settle")


def legendre(n: int) -> tuple[list[mpf], list[mpf]]:
    """Gauss-Legendre in the working precision: Newton from the float64 nodes."""
    nodes, weights = [], []
    for x in np.polynomial.legendre.leggauss(n)[0]:
        x = mpf(float(x))
        for _ in range(3):
            p, q = mpf(1), x
            for k in range(2, n + 1):
                p, q = q, ((2 * k - 1) * x * q - (k - 1) * p) / k
            slope = n * (x * q - p) / (x * x - 1)
            x -= q / slope
        nodes.append(x)
        weights.append(2 / ((1 - x * x) * slope**2))
    return nodes, weights


# ---- special functions -----------------------------------------------------------------------------------------------


def upper(x: mpf) -> mpf:
    """H(x) = erfc(x/√2)/2."""
    return mp.erfc(x / mp.sqrt(2)) / 2


def density(x: mpf) -> mpf:
    """N(x; 0, 1); mpmath's own rounds its constant once per call, which is fine at any precision."""
    return mp.npdf(x)


def mills(x: mpf) -> mpf:
    """K(x) = N(x)/H(x)."""
    return density(x) / upper(x)


def erfcx(x: float) -> Values:
    return (mp.exp(mpf(x) ** 2) * mp.erfc(mpf(x)),)


def log_erfcx(x: float) -> Values:
    return (mpf(x) ** 2 + mp.log(mp.erfc(mpf(x))),)


def log_normal_cdf(x: float) -> Values:
    return (mp.log1p(-upper(mpf(x))) if x > 0 else mp.log(upper(-mpf(x))),)


def inverse_mills(x: float) -> Values:
    return (mills(mpf(x)),)


def log_2cosh(x: float) -> Values:
    return (mp.log(2 * mp.cosh(mpf(x))),)


def log1mexp(x: float) -> Values:
    return (mp.log1p(-mp.exp(-mpf(x))),)


def truncated_normal(a: float) -> Values:
    k = mills(mpf(a))
    return k - a, 1 - k * (k - a)


# ---- identity --------------------------------------------------------------------------------------------------------


def identity_phi(B: mpf, A: mpf, omega: mpf, V: mpf) -> mpf:
    """log ∫ e^{Bx - Ax²/2} N(x; omega, V) dx, by completing the square."""
    return (B * V + omega) ** 2 / (2 * V * (1 + A * V)) - omega**2 / (2 * V) - mp.log1p(A * V) / 2


def identity(B: float, A: float, omega: float, V: float, noise: float = 0.0) -> Values:
    B, A, omega, v = mpf(B), mpf(A), mpf(omega), mpf(V) + mpf(noise)
    mean, variance = (B * v + omega) / (1 + A * v), v / (1 + A * v)
    g = (mean - omega) / v
    return identity_phi(B, A, omega, v), mean, variance, g, 1 / v - variance / v**2


def identity_observed(y: float, omega: float, V: float, noise: float = 0.0) -> Values:
    omega, v = mpf(omega), mpf(V) + mpf(noise)
    return -mp.log(2 * mp.pi * v) / 2 - (y - omega) ** 2 / (2 * v), (y - omega) / v, 1 / v


# ---- sign and probit -------------------------------------------------------------------------------------------------


def sign_phi(B: mpf, omega: mpf, V: mpf) -> mpf:
    """log Σ_x e^{Bx} H(-x omega/√V)."""
    t = omega / mp.sqrt(V)
    return mp.log(mp.exp(B) * upper(-t) + mp.exp(-B) * upper(t))


def sign(B: float, omega: mpf, V: mpf) -> Values:
    B, omega, V = mpf(B), mpf(omega), mpf(V)
    t = omega / mp.sqrt(V)
    plus, minus = mp.exp(B) * upper(-t), mp.exp(-B) * upper(t)
    z = plus + minus
    g = 2 * mp.sinh(B) * density(t) / mp.sqrt(V) / z
    return mp.log(z), (plus - minus) / z, 4 * plus * minus / z**2, g, g * (omega / V + g)


def probit(B: float, omega: float, V: float, slope: float, threshold: float) -> Values:
    return sign(B, mpf(omega) - mpf(threshold), mpf(V) + 1 / mpf(slope) ** 2)


def sign_observed(y: float, omega: mpf, V: mpf) -> Values:
    omega, V = mpf(omega), mpf(V)
    a = -y * omega / mp.sqrt(V)
    g = y * mills(a) / mp.sqrt(V)
    return mp.log1p(-upper(-a)) if a < 0 else mp.log(upper(a)), g, g * (omega / V + g)


def probit_observed(y: float, omega: float, V: float, slope: float, threshold: float) -> Values:
    return sign_observed(y, mpf(omega) - mpf(threshold), mpf(V) + 1 / mpf(slope) ** 2)


# ---- ReLU ------------------------------------------------------------------------------------------------------------


class Mixture(NamedTuple):
    """Spike (z < 0) and slab (z > 0): log-partition, weights, means, variances and B - A E[x] on the slab."""

    phi: mpf
    p0: mpf
    p1: mpf
    m0: mpf
    m1: mpf
    v0: mpf
    v1: mpf


def relu_mixture(B: mpf, A: mpf, omega: mpf, V: mpf) -> Mixture:
    t = omega / mp.sqrt(V)
    mu, s = (B * V + omega) / (1 + A * V), mp.sqrt(V / (1 + A * V))
    a = -mu / s
    w0 = upper(t)
    w1 = mp.exp(identity_phi(B, A, omega, V)) * upper(a)
    k0, k1 = mills(t), mills(a)
    return Mixture(
        mp.log(w0 + w1), w0 / (w0 + w1), w1 / (w0 + w1),
        omega - mp.sqrt(V) * k0, mu + s * k1, V * (1 - k0 * (k0 - t)), s**2 * (1 - k1 * (k1 - a)),
    )  # fmt: skip


def relu_phi(B: mpf, A: mpf, omega: mpf, V: mpf) -> mpf:
    return relu_mixture(B, A, omega, V).phi


def relu(B: float, A: float, omega: float, V: float) -> Values:
    omega, V = mpf(omega), mpf(V)
    m = relu_mixture(mpf(B), mpf(A), omega, V)
    mean_z = m.p0 * m.m0 + m.p1 * m.m1
    variance_z = m.p0 * m.v0 + m.p1 * m.v1 + m.p0 * m.p1 * (m.m1 - m.m0) ** 2
    variance_x = m.p1 * m.v1 + m.p0 * m.p1 * m.m1**2
    return m.phi, m.p1 * m.m1, variance_x, (mean_z - omega) / V, 1 / V - variance_z / V**2


def relu_observed(y: float, omega: float, V: float) -> Values:
    return identity_observed(y, omega, V) if y > 0 else sign_observed(-1.0, omega, V)


# ---- Heaviside -------------------------------------------------------------------------------------------------------


def heaviside(B: float, A: float, omega: float, V: float) -> Values:
    c = mpf(B) - mpf(A) / 2
    t = mpf(omega) / mp.sqrt(V)
    up, down = mp.exp(c) * upper(-t), upper(t)
    z = up + down
    phi = mp.log(z) if abs(c) > 1 else mp.log1p(upper(-t) * mp.expm1(c))
    g = mp.expm1(c) * density(t) / mp.sqrt(V) / z
    return phi, up / z, up * down / z**2, g, g * (mpf(omega) / V + g)


def heaviside_observed(y: float, omega: float, V: float) -> Values:
    return sign_observed(2 * y - 1, omega, V)


# ---- piecewise linear outputs ----------------------------------------------------------------------------------------


class Piece(NamedTuple):
    """x = level + slope z for low < z < high."""

    low: float
    high: float
    level: mpf
    slope: mpf


class Part(NamedTuple):
    """What a piece adds: weight, mean and variance of z, mean of x, and mu, the mode of its tilted normal law."""

    weight: mpf
    mean: mpf
    variance: mpf
    x: mpf
    mu: mpf


def part(piece: Piece, B: mpf, A: mpf, omega: mpf, V: mpf) -> Part:
    level, slope = piece.level, piece.slope
    b, a = slope * (B - A * level), A * slope**2
    mu, s = (b * V + omega) / (1 + a * V), mp.sqrt(V / (1 + a * V))
    low, high = ((mpf(end) - mu) / s for end in (piece.low, piece.high))
    mass = upper(low) - upper(high) if low > 0 else upper(-high) - upper(-low)
    at_low, at_high = (density(end) if mp.isfinite(end) else mpf(0) for end in (low, high))
    first = (at_low - at_high) / mass
    second = 1 + (sum(e * d for e, d in ((low, at_low), (-high, at_high)) if mp.isfinite(e))) / mass
    mean = mu + s * first
    weight = mp.exp(B * level - A * level**2 / 2 + identity_phi(b, a, omega, V)) * mass
    return Part(weight, mean, s**2 * (second - first**2), level + slope * mean, mu)


def piecewise(pieces: Callable[[], list[Piece]], B: float, A: float, omega: float, V: float) -> Values:
    B, A, omega, V = mpf(B), mpf(A), mpf(omega), mpf(V)
    parts = [(piece, part(piece, B, A, omega, V)) for piece in pieces()]
    z = sum(each.weight for _, each in parts)
    mean = sum(each.weight * each.x for _, each in parts) / z
    mean_z = sum(each.weight * each.mean for _, each in parts) / z
    spread = sum(e.weight * (piece.slope**2 * e.variance + (e.x - mean) ** 2) for piece, e in parts) / z
    spread_z = sum(e.weight * (e.variance + (e.mean - mean_z) ** 2) for _, e in parts) / z
    return mp.log(z), mean, spread, (mean_z - omega) / V, 1 / V - spread_z / V**2


def hard_tanh_pieces() -> list[Piece]:
    return [
        Piece(-math.inf, -1, mpf(-1), mpf(0)), Piece(-1, 1, mpf(0), mpf(1)), Piece(1, math.inf, mpf(1), mpf(0)),
    ]  # fmt: skip


def hard_sigmoid_pieces(width: float) -> list[Piece]:
    return [
        Piece(-math.inf, -width, mpf(0), mpf(0)),
        Piece(-width, width, mpf(1) / 2, 1 / (2 * mpf(width))),
        Piece(width, math.inf, mpf(1), mpf(0)),
    ]


def leaky_relu_pieces(slope: float) -> list[Piece]:
    return [Piece(-math.inf, 0, mpf(0), mpf(slope)), Piece(0, math.inf, mpf(0), mpf(1))]


def asymmetric_absolute_pieces(shift: float) -> list[Piece]:
    return [Piece(-math.inf, shift, mpf(0), mpf(-1)), Piece(shift, math.inf, mpf(0), mpf(1))]


def door_pieces(width: float) -> list[Piece]:
    return [
        Piece(-math.inf, -width, mpf(1), mpf(0)), Piece(-width, width, mpf(-1), mpf(0)),
        Piece(width, math.inf, mpf(1), mpf(0)),
    ]  # fmt: skip


def places(pieces: Callable[[], list[Piece]], y: float, omega: mpf, V: mpf) -> list[Part]:
    """Where x = y: the pieces that are constant there, or else the single places, of weight density over |slope|."""
    flat = [part(p, mpf(0), mpf(0), omega, V) for p in pieces() if p.slope == 0 and p.level == y]
    if flat:
        return flat
    sloped = [(p, (mpf(y) - p.level) / p.slope) for p in pieces() if p.slope != 0]
    heights = [density((z - omega) / mp.sqrt(V)) / mp.sqrt(V) / abs(p.slope) for p, z in sloped]
    return [
        Part(height, z, mpf(0), mpf(y), z)
        for (p, z), height in zip(sloped, heights, strict=True)
        if p.low <= z < p.high or (z == p.high and p.slope < 0)
    ]


def piecewise_observed(pieces: Callable[[], list[Piece]], y: float, omega: float, V: float) -> Values:
    omega, V = mpf(omega), mpf(V)
    found = places(pieces, y, omega, V)
    total = sum(p.weight for p in found)
    mean = sum(p.weight * p.mean for p in found) / total
    spread = sum(p.weight * (p.variance + (p.mean - mean) ** 2) for p in found) / total
    return mp.log(total), (mean - omega) / V, 1 / V - spread / V**2
