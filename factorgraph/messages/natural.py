"""The message families and their scalar formulas.

From factor to variable every message is e^{Bx - Ax²/2}: ``B`` alone for a spin, where x² = 1, and ``(B, A)`` for a real
variable. From variable to factor goes the *cavity law*, the product of all other messages:

| family   | to the variable | to the factor: first, second                                                      |
|----------|-----------------|-----------------------------------------------------------------------------------|
| spin     | B               | field h of the law ∝ e^{hs}, ±∞ where the spin is observed; unused                |
| Gaussian | B, A            | mean and variance; variance 0 where it is observed; h and ∞ for the law e^{hx} dx |
| vector   | B, A            | information h and precision matrix G; value and ∞ for components that are observed |
| category | B_c             | log-probability of each state c, -∞ where it is impossible; unused                |

A vector of dimension d has d² places on every edge, as in ``layout``: B fills the first column, A is the matrix.
A category of q states has q places. Messages add place by place; what else the families need is in ``vectors.py`` and
``categories.py``.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from factorgraph.numerics.elementwise import formula
from factorgraph.numerics.special import LOG_2PI, add2, two_product
from factorgraph.runtime.compiled import njit

Array = NDArray[np.float64]


class Incoming(NamedTuple):
    """Cavity laws that the k arguments of F factors send, in the representation of this module.

    Attributes:
        first: (F, k), for vectors (F, slots).
        second: likewise.
        mean: full means (F, k), given to kinds with ``full_variance`` only.
        variance: full variances (F, k), likewise.
        wanted: (F, k) which arguments will be sent their message; None for all. The others may be left at 0.
        centre: (F, slots) for the log-partition of a ``centred`` kind: where the laws, not normalised, are 1; None for
            0 with vectors, and for normalised laws with scalars.
    """

    first: Array
    second: Array
    mean: Any = None
    variance: Any = None
    wanted: Any = None
    centre: Any = None


class Outgoing(NamedTuple):
    """Messages B and A (F, k) to the arguments; A is None if all arguments are spins."""

    B: Array
    A: Array | None = None


@formula
def combine(a: float, b: float) -> float:
    """atanh(tanh a tanh b): the field that a spin feels through a coupling b from a spin in field a.

    Right to rounding relative to the result, for infinite arguments too.
    """
    small, large = min(abs(a), abs(b)), max(abs(a), abs(b))
    if small < 0.5:
        t = math.tanh(small) * math.tanh(large)
        size = 0.5 * math.log1p(2.0 * t / (1.0 - t))
    elif small == math.inf:
        size = math.inf
    else:
        size = small + 0.5 * (
            math.log1p(math.exp(-2.0 * (small + large))) - math.log1p(math.exp(-2.0 * (large - small)))
        )
    return size if (a >= 0.0) == (b >= 0.0) else -size


@formula
def combine_maxima(a: float, b: float) -> float:
    """The limit of ``combine`` for large fields, in which sums over states become maxima: the weaker of the two."""
    size = min(abs(a), abs(b))
    return size if (a >= 0.0) == (b >= 0.0) else -size


@formula
def log_cosh_change(h: float, d: float) -> float:
    """log cosh(h + d) - log cosh h, for infinite h too."""
    if math.isinf(h):
        return d if h > 0.0 else -d
    return abs(h + d) - abs(h) + math.log1p(math.exp(-2.0 * abs(h + d))) - math.log1p(math.exp(-2.0 * abs(h)))


@formula
def log_weight(h: float, s: float) -> float:
    """log of the weight of s = ±1 under the law ∝ e^{hs}."""
    x = -2.0 * h * s
    return -(math.log1p(math.exp(x)) if x < 0.0 else x + math.log1p(math.exp(-x)))


@formula
def log_sum_of_two(a: float, b: float) -> float:
    """log(e^a + e^b), for -∞ too."""
    top = max(a, b)
    return top if math.isinf(top) else top + math.log1p(math.exp(min(a, b) - top))


@formula
def parity_weights(even: float, odd: float, h: float) -> tuple[float, float]:
    """log-probabilities that a product of spins is +1 and -1, after one more spin in field h.

    In logarithms, because a coupling may outweigh fields that leave a product a probability of e^{-1000}.
    """
    up, down = log_weight(h, 1.0), log_weight(h, -1.0)
    return log_sum_of_two(even + up, odd + down), log_sum_of_two(even + down, odd + up)


@formula
def pull(mean: float, variance: float, B: float, A: float) -> float:
    """(B - A mean)/(1 + A variance), the shift of the mean of N(mean, variance) by e^{Bx - Ax²/2}, over the variance.

    The difference is rounded once, however much cancels.
    """
    p, p_lo = two_product(A, mean)
    return add2(B, 0.0, -p, -p_lo)[0] / (1.0 + A * variance)


@formula
def log_gaussian_mean(mean: float, variance: float, B: float, A: float) -> float:
    """log E e^{Bx - Ax²/2}, x ~ N(mean, variance), relative to the value of e^{Bx - Ax²/2} at the mean of the product.

    Under the measure e^{hx} dx, h = mean, if the variance is infinite. A law of negative precision, which only the
    message makes one that exists, is divided by √(2π |variance|): in all sums over the graph this cancels. NaN where
    the integral diverges. An integral is the value at the peak times the width there, so that B x, which may be of any
    size, does not appear.
    """
    if math.isinf(variance):
        return mean * ((B + mean) / A) + 0.5 * (LOG_2PI - math.log(A)) if A > 0.0 else math.nan
    rate = 1.0 + A * variance
    if not (rate > 0.0 if variance >= 0.0 else rate < 0.0):
        return math.nan
    slope = pull(mean, variance, B, A)
    return -0.5 * (variance * slope * slope + math.log(abs(rate)))


@formula
def log_mean_about(x: float, mean: float, variance: float, B: float, A: float) -> float:
    """The same relative to the value at any x: log E e^{B(y - x) - A(y² - x²)/2}."""
    p, p_lo = two_product(A, x)
    rest = add2(B, 0.0, -p, -p_lo)[0]
    if math.isinf(variance):
        rest += mean
        return mean * x + 0.5 * (rest * rest / A + LOG_2PI - math.log(A)) if A > 0.0 else math.nan
    rate, shift = 1.0 + A * variance, mean - x
    if not (rate > 0.0 if variance >= 0.0 else rate < 0.0):
        return math.nan
    return 0.5 * ((rest * (rest * variance + 2.0 * shift) - A * shift * shift) / rate - math.log(abs(rate)))


def natural(mean: Array, variance: Array) -> tuple[Array, Array, Any]:
    """Return information and precision of Gaussian laws; and where the variable is observed (variance 0)."""
    known = variance == 0.0
    G = np.where(known, 0.0, 1.0 / np.where(known, 1.0, variance))
    return np.where(known, 0.0, np.where(np.isinf(variance), mean, mean * G)), G, known


def log_integral(H: Array, G: Array) -> Array:
    """Return log ∫ e^{Hx - Gx²/2} dx; 0 for the flat measure."""
    flat = G == 0.0
    G = np.where(flat, 1.0, G)
    return np.where(flat, 0.0, 0.5 * (H * H / G + LOG_2PI - np.log(G)))


@formula
def spin_moment(h: float) -> tuple[float, float]:
    """tanh h and sech² h, ±∞ included, with one exponential where 1 - e^{-2|h|} does not cancel."""
    e = math.exp(-2.0 * abs(h))
    size = (1.0 - e) / (1.0 + e) if e < 0.5 else math.tanh(abs(h))
    return (size if h >= 0.0 else -size), 4.0 * e / ((1.0 + e) * (1.0 + e))


@njit(cache=True, error_model="numpy")
def spin_moments(h: Array) -> tuple[Array, Array]:
    """``spin_moment`` of fields of any shape."""
    mean, variance = np.empty(h.size), np.empty(h.size)
    for i, value in enumerate(h.flat):
        mean[i], variance[i] = spin_moment(value)
    return mean.reshape(h.shape), variance.reshape(h.shape)
