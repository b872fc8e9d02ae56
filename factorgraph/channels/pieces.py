"""Pieces of outputs that are piecewise linear: a normal law from a bound upwards, or between two bounds.

A piece is the law of x ~ N(omega, V), cut off, under the message e^{t(x)}, t = Bx - Ax²/2: the normal density of mean
mu = (BV + omega)/(1 + AV) and variance s² = V/(1 + AV), of weight e^E P/√(1 + AV) with P its share within the bounds.
Where the mode is outside, E - (bound - mu)²/(2s²) = t(bound) - (bound - omega)²/(2V) at the next bound takes the place
of E. omega and V are twofold, for what scales and shifts may have rounded. ``ReLU``, whose loops are hot, has the case
of one bound at 0 in fewer operations.
"""

import math

from factorgraph.channels.relu import NODES, SMALL, WEIGHTS
from factorgraph.numerics.elementwise import formula
from factorgraph.numerics.interval import nearest_interval
from factorgraph.numerics.special import (
    add2,
    divide2,
    half_square,
    half_square_ratio,
    multiply2,
    normal_tail,
    two_product,
)


@formula
def pull_at(B: float, A: float, x: float) -> tuple[float, float]:
    """t'(x) = B - Ax, twofold."""
    p, p_lo = two_product(A, x)
    return add2(B, 0.0, -p, -p_lo)


@formula
def tilt_at(B: float, A: float, x: float) -> tuple[float, float]:
    """t(x) = Bx - Ax²/2, twofold."""
    d, d_lo = pull_at(B, 0.5 * A, x)
    return multiply2(d, d_lo, x, 0.0)


@formula
def distance(
    B: float, A: float, omega: float, omega_lo: float, V: float, V_lo: float, x: float
) -> tuple[float, float, float, float]:
    """(x - mu)(1 + AV) and 1 + AV, twofold."""
    rate, rate_lo = multiply2(A, 0.0, V, V_lo)
    rate, rate_lo = add2(rate, rate_lo, 1.0, 0.0)
    n, n_lo = pull_at(B, A, x)
    n, n_lo = multiply2(n, n_lo, V, V_lo)
    m, m_lo = add2(omega, omega_lo, -x, 0.0)
    n, n_lo = add2(-m, -m_lo, -n, -n_lo)
    return n, n_lo, rate, rate_lo


@formula
def edge(
    B: float, A: float, omega: float, omega_lo: float, V: float, V_lo: float, bound: float
) -> tuple[float, float, float]:
    """The exponent t - (bound - omega)²/(2V) at the bound, twofold, and (bound - mu)/s."""
    n, _, rate, _ = distance(B, A, omega, omega_lo, V, V_lo, bound)
    t, t_lo = tilt_at(B, A, bound)
    m, m_lo = add2(omega, omega_lo, -bound, 0.0)
    q, q_lo = half_square_ratio(m, m_lo, V, V_lo)
    e, e_lo = add2(t, t_lo, -q, -q_lo)
    return e, e_lo, n / math.sqrt(V) / math.sqrt(rate)


@formula
def mode(B: float, A: float, omega: float, omega_lo: float, V: float, V_lo: float) -> tuple[float, float, float, float]:
    """E = [B(BV + 2 omega) - A omega²]/(2(1 + AV)), twofold, mu = (BV + omega)/(1 + AV) and B - A mu, the quotient of
    B - A omega and 1 + AV: correctly rounded also where terms cancel."""
    c, c_lo = multiply2(B, 0.0, V, V_lo)
    p, p_lo = multiply2(omega, omega_lo, A, 0.0)
    mu, _ = add2(c, c_lo, omega, omega_lo)
    pull, _ = add2(B, 0.0, -p, -p_lo)
    c, c_lo = add2(c, c_lo, 2.0 * omega, 2.0 * omega_lo)
    c, c_lo = multiply2(c, c_lo, B, 0.0)
    p, p_lo = multiply2(p, p_lo, omega, omega_lo)
    c, c_lo = add2(c, c_lo, -p, -p_lo)
    rate, rate_lo = multiply2(A, 0.0, V, V_lo)
    rate, rate_lo = add2(rate, rate_lo, 1.0, 0.0)
    e, e_lo = divide2(c, c_lo, 2.0 * rate, 2.0 * rate_lo)
    return e, e_lo, mu / rate, pull / rate


@formula
def slab(
    B: float, A: float, omega: float, omega_lo: float, V: float, V_lo: float, bound: float
) -> tuple[float, float, float, float, float, float, float]:
    """e, e_lo, f, x, v, excess, pull of the piece above the bound: its weight f e^{e + e_lo}; mean, variance, mean
    distance from the bound, and B - A x."""
    root = math.sqrt(1.0 + A * V)
    s = math.sqrt(V) / root
    e, e_lo, a = edge(B, A, omega, omega_lo, V, V_lo, bound)
    _, f, k, excess, variance = normal_tail(a, half_square(a))
    if a > 0.0:
        return (
            e,
            e_lo,
            f / root,
            bound + s * excess,
            s * s * variance,
            s * excess,
            pull_at(B, A, bound)[0] - A * s * excess,
        )
    e, e_lo, mu, pull = mode(B, A, omega, omega_lo, V, V_lo)
    return e, e_lo, f / root, mu + s * k, s * s * variance, s * excess, pull - A * s * k


@formula
def ramp(
    B: float, A: float, omega: float, omega_lo: float, V: float, V_lo: float, low: float, high: float
) -> tuple[float, float, float, float, float, float, float, float]:
    """e, e_lo, f, x, v, below, above, pull of the piece between two bounds, as for ``slab``; its mean is x = low +
    below = high - above.

    All is found from the bound by which the mass lies, and where the mode is inside by its distance from the mode.
    """
    root = math.sqrt(1.0 + A * V)
    s, length = math.sqrt(V) / root, high - low
    e0, e0_lo, a0 = edge(B, A, omega, omega_lo, V, V_lo, low)
    e1, e1_lo, a1 = edge(B, A, omega, omega_lo, V, V_lo, high)
    n, _, rate, _ = distance(B, A, omega, omega_lo, V, V_lo, 0.5 * (low + high))
    centre = n / math.sqrt(V) / math.sqrt(rate)  # of the bounds, relative to the mode
    lower = centre >= 0.0
    a, side, bound = (a0, 1.0, low) if lower else (-a1, -1.0, high)
    e, e_lo = (e0, e0_lo) if lower else (e1, e1_lo)
    f, excess, shift, variance = nearest_interval(a, length / s, abs(centre))
    near = s * excess
    if a > 0.0:
        x, pull = bound + side * near, pull_at(B, A, bound)[0] - side * A * near
    else:
        e, e_lo, x, pull = mode(B, A, omega, omega_lo, V, V_lo)
        x, pull = x + side * s * shift, pull - side * A * s * shift
    below, above = (near, length - near) if lower else (length - near, near)
    return e, e_lo, f / root, x, s * s * variance, below, above, pull


@formula
def log_slab_mean(
    B: float, A: float, omega: float, omega_lo: float, V: float, V_lo: float, bound: float, e: float, e_lo: float,
    f: float, change: float,
) -> float:  # fmt: skip
    """log of the mean of e^t under the slab without the message, for a slab of weight f e^{e + e_lo} with it.

    It is ∫_0^1 dr E_r t with the slab of (rB, rA) where the change of t is small, so that its error is relative to B
    and A; else the difference of two logarithms.
    """
    if change < SMALL:
        log_mean = 0.0
        for i in range(4):
            r = NODES[i]
            _, _, _, x, v, _, _ = slab(r * B, r * A, omega, omega_lo, V, V_lo, bound)
            log_mean += WEIGHTS[i] * (B * x - 0.5 * (A * v + A * x * x))
        return log_mean
    e0, e0_lo, f0, _, _, _, _ = slab(0.0, 0.0, omega, omega_lo, V, V_lo, bound)
    return (e - e0) + (e_lo - e0_lo) + math.log(f / f0)


@formula
def slab_growth(
    B: float, A: float, omega: float, omega_lo: float, V: float, V_lo: float, bound: float, e: float, e_lo: float,
    f: float, change: float,
) -> float:  # fmt: skip
    """What the message adds to the weight that the slab has without one, for log(1 + sum over the pieces)."""
    e0, e0_lo, f0, _, _, _, _ = slab(0.0, 0.0, omega, omega_lo, V, V_lo, bound)
    log_mean = log_slab_mean(B, A, omega, omega_lo, V, V_lo, bound, e, e_lo, f, change)
    return f0 * math.exp(e0 + e0_lo) * math.expm1(min(log_mean, 700.0))


@formula
def ramp_growth(
    B: float, A: float, omega: float, omega_lo: float, V: float, V_lo: float, low: float, high: float, e: float,
    e_lo: float, f: float, change: float,
) -> float:  # fmt: skip
    """The same for the piece between two bounds."""
    e0, e0_lo, f0, _, _, _, _, _ = ramp(0.0, 0.0, omega, omega_lo, V, V_lo, low, high)
    log_mean = 0.0
    if change < SMALL:
        for i in range(4):
            r = NODES[i]
            _, _, _, x, v, _, _, _ = ramp(r * B, r * A, omega, omega_lo, V, V_lo, low, high)
            log_mean += WEIGHTS[i] * (B * x - 0.5 * (A * v + A * x * x))
    else:
        log_mean = (e - e0) + (e_lo - e0_lo) + math.log(f / f0)
    return f0 * math.exp(e0 + e0_lo) * math.expm1(min(log_mean, 700.0))
