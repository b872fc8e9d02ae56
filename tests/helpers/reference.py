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


# ---- absolute value --------------------------------------------------------------------------------------------------


class Slab(NamedTuple):
    """One side of |z|: weight, and mean and variance of |z| there, with mu its untruncated mean."""

    weight: mpf
    mean: mpf
    variance: mpf
    mu: mpf


def absolute_slab(B: mpf, A: mpf, omega: mpf, V: mpf) -> Slab:
    mu, s = (B * V + omega) / (1 + A * V), mp.sqrt(V / (1 + A * V))
    a = -mu / s
    k = mills(a)
    return Slab(mp.exp(identity_phi(B, A, omega, V)) * upper(a), mu + s * k, s**2 * (1 - k * (k - a)), mu)


def absolute(B: float, A: float, omega: float, V: float) -> Values:
    B, A, omega, V = mpf(B), mpf(A), mpf(omega), mpf(V)
    up, down = absolute_slab(B, A, omega, V), absolute_slab(B, A, -omega, V)
    z = up.weight + down.weight
    p, q = up.weight / z, down.weight / z
    spread = p * up.variance + q * down.variance
    variance_z = spread + p * q * (up.mean + down.mean) ** 2
    g = (p * up.mean - q * down.mean - omega) / V
    x = p * up.mean + q * down.mean
    return mp.log(z), x, spread + p * q * (up.mean - down.mean) ** 2, g, 1 / V - variance_z / V**2


def absolute_observed(y: float, omega: float, V: float) -> Values:
    y, omega, V = mpf(y), mpf(omega), mpf(V)
    up, down = mp.exp(-((y - omega) ** 2) / (2 * V)), mp.exp(-((y + omega) ** 2) / (2 * V))
    z = up + down
    mean = y * (up - down) / z
    variance = 4 * y**2 * up * down / z**2
    return mp.log(z) - mp.log(2 * mp.pi * V) / 2, (mean - omega) / V, 1 / V - variance / V**2


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
