"""Stable scalar functions under the channels and priors: Gaussian tails, Mills ratios, truncated moments.

Bodies (``@formula``) take and return float64 scalars and are what other bodies compose; the ``*_array`` functions at
the end of the file are the broadcasting versions. Throughout, H(x) = erfc(x/√2)/2 is the upper tail of a standard
normal, N(x) its density and K(x) = N(x)/H(x) the inverse Mills ratio.

*Twofold* numbers are unevaluated sums hi + lo of two floats, about 32 digits. They carry exponents such as ω²/(2V):
these reach 5e5 and their differences decide between two hypotheses, so their absolute error must be small.
"""

import math
from typing import Any

from numpy.typing import ArrayLike

from factorgraph.numerics.elementwise import Elementwise, formula

SQRT_HALF = math.sqrt(0.5)
INV_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)
LOG_2PI = math.log(2.0 * math.pi)
_SPLITTER = 134217729.0  # 2**27 + 1
_CONTINUED_FRACTION_FROM = 3.0


# ---- twofold arithmetic [Dekker 1971] --------------------------------------------------------------------------------


@formula
def two_sum(a: float, b: float) -> tuple[float, float]:
    """a + b exactly, as rounded sum and rounding error."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


@formula
def _split(a: float) -> tuple[float, float]:
    """a as the sum of two numbers of at most 26 bits [Veltkamp]."""
    t = _SPLITTER * a
    high = t - (t - a)
    return high, a - high


@formula
def two_product(a: float, b: float) -> tuple[float, float]:
    """a * b exactly, as rounded product and rounding error; the error is 0 where it is not finite."""
    p = a * b
    a1, a2 = _split(a)
    b1, b2 = _split(b)
    e = ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2
    return p, (e if math.isfinite(e) else 0.0)


@formula
def add2(a: float, a_lo: float, b: float, b_lo: float) -> tuple[float, float]:
    """Sum of two twofold numbers; the error is relative to the larger term."""
    s, e = two_sum(a, b)
    return two_sum(s, e + (a_lo + b_lo))


@formula
def multiply2(a: float, a_lo: float, b: float, b_lo: float) -> tuple[float, float]:
    """Product of two twofold numbers."""
    p, e = two_product(a, b)
    return two_sum(p, e + (a * b_lo + a_lo * b))


@formula
def divide2(a: float, a_lo: float, b: float, b_lo: float) -> tuple[float, float]:
    """Quotient of two twofold numbers: one Newton correction of the rounded quotient."""
    q = a / b
    p, e = two_product(q, b)
    return two_sum(q, (((a - p) - e) + a_lo - q * b_lo) / b)


@formula
def half_square_ratio(x: float, x_lo: float, v: float, v_lo: float) -> tuple[float, float]:
    """x²/(2v), the exponent of N(x; 0, v), as a twofold number."""
    p, p_lo = multiply2(x, x_lo, x, x_lo)
    return divide2(p, p_lo, 2.0 * v, 2.0 * v_lo)


# ---- logarithms and hyperbolic functions -----------------------------------------------------------------------------


@formula
def log1mexp(x: float) -> float:
    """log(1 - e^{-x}) for x > 0 [Mächler 2012]."""
    return math.log(-math.expm1(-x)) if x < 0.6931471805599453 else math.log1p(-math.exp(-x))


@formula
def log_2cosh(x: float) -> float:
    """log(e^x + e^{-x}) = |x| + log1p(e^{-2|x|})."""
    return abs(x) + math.log1p(math.exp(-2.0 * abs(x)))


@formula
def log_cosh(x: float) -> float:
    """log cosh x without cancellation at x → 0: ½ log(1 + sinh² x) there."""
    if abs(x) < 1.0:
        return 0.5 * math.log1p(math.sinh(x) ** 2)
    return log_2cosh(x) - 0.6931471805599453


@formula
def sech2(x: float) -> float:
    """sech² x = 1 - tanh² x, without the subtraction."""
    e = math.exp(-2.0 * abs(x))
    return 4.0 * e / ((1.0 + e) * (1.0 + e))


# ---- the tail of a normal distribution -------------------------------------------------------------------------------


@formula
def _tail_fraction(a: float) -> tuple[float, float, float]:
    """(K, K - a, Var) of a standard normal above a ≥ 3, from the continued fraction K = a + 1/(a + 2/(a + 3/(a +
    ...))).

    With c_j = a + (j+1)/c_{j+1} it gives K - a = 1/c_1 and Var = 1 - K(K - a) = (a + 4/c_2 - 3/c_3)/(c_1² c_2), where
    the leading terms have been cancelled by hand; the plain differences lose a² and a⁴ ulps.
    """
    p, q, square = 1.0, 1.0, 1.0 / a / a  # c = a p/q, without a division at every level
    for j in range(int(6.0 + 170.0 / a), 3, -1):  # depth for full precision, found by comparison with 40 digits
        p, q = p + j * square * q, p
    c = a * (p / q)
    c2 = a + 3.0 / c
    c1 = a + 2.0 / c2
    return a + 1.0 / c1, 1.0 / c1, (a + (4.0 / c2 - 3.0 / c)) / c1 / c1 / c2


@formula
def upper_tail(a: float) -> tuple[float, float, float, float]:
    """(F, K, K - a, Var) for a ≥ 0: H(a) = e^{-a²/2} F, and mean excess and variance of a standard normal above a."""
    if a >= _CONTINUED_FRACTION_FROM:
        k, excess, variance = _tail_fraction(a)
        return INV_SQRT_2PI / k, k, excess, variance
    x = a * SQRT_HALF
    f = 0.5 * math.erfc(x) * math.exp(x * x)
    k = INV_SQRT_2PI / f
    return f, k, k - a, 1.0 - k * (k - a)


@formula
def normal_tail(a: float, q: float) -> tuple[float, float, float, float, float]:
    """(H(|a|), F, K, K - a, Var) for any a, given q = a²/2 to full accuracy.

    F is H(a) with its exponential taken out: H(a) = e^{-q} F for a > 0, H(a) = F for a ≤ 0. K - a and Var are the mean
    excess E[x | x > a] - a and variance of a standard normal above a. For a ≤ 0 nothing cancels in K - a = K + |a|.
    """
    f, k, excess, variance = upper_tail(abs(a))
    density = math.exp(-q)
    h = f * density
    if a > 0.0:
        return h, f, k, excess, variance
    k = INV_SQRT_2PI * density / (1.0 - h)
    excess = k - a
    return h, 1.0 - h, k, excess, 1.0 - k * excess


@formula
def half_square(a: float) -> float:
    """a²/2, held below overflow."""
    return 0.5 * min(abs(a), 1e150) ** 2


@formula
def tail_logarithm(a: float, q: float, h: float, f: float) -> float:
    """log H(a) of the H(|a|) and F that ``normal_tail`` has found."""
    return math.log(f) - q if a > 0.0 else math.log1p(-h)


@formula
def log_upper_tail(a: float, q: float) -> float:
    """log H(a), given q = a²/2."""
    h, f, _, _, _ = normal_tail(a, q)
    return tail_logarithm(a, q, h, f)


@formula
def erfcx(x: float) -> float:
    """e^{x²} erfc(x); overflows to infinity below x ≈ -26.6."""
    if x >= 0.0:
        return 2.0 * upper_tail(x / SQRT_HALF)[0]
    square, error = two_product(x, x)
    return math.erfc(x) * (math.exp(square) * (1.0 + error)) if square < 709.0 else math.inf


@formula
def log_erfcx(x: float) -> float:
    """log(e^{x²} erfc(x)), finite for all x."""
    return x * x + math.log1p(-math.erf(x)) if x < 0.5 else math.log(erfcx(x))


@formula
def log_normal_cdf(x: float) -> float:
    """log Φ(x) = log H(-x)."""
    return log_upper_tail(-x, half_square(x))


@formula
def inverse_mills(x: float) -> float:
    """K(x) = N(x)/H(x) = √(2/π)/erfcx(x/√2) [DL, eq. 130, corrected]."""
    return normal_tail(x, half_square(x))[2]


@formula
def truncated_normal(a: float) -> tuple[float, float]:
    """Mean excess E[x | x > a] - a and variance of a standard normal truncated to x > a.

    K(a) - a and 1 - K(a)(K(a) - a), of order 1/a and 1/a² for a → ∞; the mean itself is K(a).
    """
    _, _, _, excess, variance = normal_tail(a, half_square(a))
    return excess, variance


# ---- array versions --------------------------------------------------------------------------------------------------


def _log1mexp_element(x: float, out: Any) -> None:
    out[0] = log1mexp(x)


def _log_2cosh_element(x: float, out: Any) -> None:
    out[0] = log_2cosh(x)


def _erfcx_element(x: float, out: Any) -> None:
    out[0] = erfcx(x)


def _log_erfcx_element(x: float, out: Any) -> None:
    out[0] = log_erfcx(x)


def _log_normal_cdf_element(x: float, out: Any) -> None:
    out[0] = log_normal_cdf(x)


def _inverse_mills_element(x: float, out: Any) -> None:
    out[0] = inverse_mills(x)


def _truncated_normal_element(a: float, excess: Any, variance: Any) -> None:
    excess[0], variance[0] = truncated_normal(a)


_log1mexp = Elementwise(_log1mexp_element, 1, 1)
_log_2cosh = Elementwise(_log_2cosh_element, 1, 1)
_erfcx = Elementwise(_erfcx_element, 1, 1)
_log_erfcx = Elementwise(_log_erfcx_element, 1, 1)
_log_normal_cdf = Elementwise(_log_normal_cdf_element, 1, 1)
_inverse_mills = Elementwise(_inverse_mills_element, 1, 1)
_truncated_normal = Elementwise(_truncated_normal_element, 1, 2)


def log1mexp_array(x: ArrayLike) -> Any:
    """Return log(1 - e^{-x}), elementwise for x > 0."""
    return _log1mexp(x)[0]


def log_2cosh_array(x: ArrayLike) -> Any:
    """Return log(2 cosh x), elementwise."""
    return _log_2cosh(x)[0]


def erfcx_array(x: ArrayLike) -> Any:
    """Return scaled complementary error function e^{x²} erfc(x), elementwise."""
    return _erfcx(x)[0]


def log_erfcx_array(x: ArrayLike) -> Any:
    """Return log(e^{x²} erfc(x)), elementwise."""
    return _log_erfcx(x)[0]


def log_normal_cdf_array(x: ArrayLike) -> Any:
    """Return log Φ(x), elementwise."""
    return _log_normal_cdf(x)[0]


def inverse_mills_array(x: ArrayLike) -> Any:
    """Return K(x) = N(x)/H(x), elementwise."""
    return _inverse_mills(x)[0]


def truncated_normal_array(a: ArrayLike) -> tuple[Any, Any]:
    """Return mean excess E[x | x > a] - a and variance of a standard normal truncated to x > a, elementwise."""
    excess, variance = _truncated_normal(a)
    return excess, variance
