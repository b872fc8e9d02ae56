"""Powers of positive ratios, right to rounding; next to 1 also what they differ from 1 by.

Of many at once, logarithms and powers of 2 are computed without a branch or a call, in loops that a compiler turns into
ones over vectors. Of one after the other, where the next waits for it, a series near 1 is quicker.
"""

import math
from typing import Any

import numpy as np

from factorgraph.runtime.compiled import njit

#: Added to a number of moderate size, it leaves the nearest integer in the lowest bits.
_ROUNDING = 1.5 * 2.0**52
_ROUNDING_BITS = int(np.float64(_ROUNDING).view(np.int64))
_HALF = 1 << 51
#: Changes of a ratio below which its powers are sums of six terms, and of three, to rounding.
_SMALL, _TINY = 0.004, 1e-4
#: Of log2 (1 + t)/(1 - t) = 2/ln 2 Σ t^{2n+1}/(2n + 1), enough for |t| < 0.201: ratios from 2^-0.587 to 2^0.587.
_A0, _A1, _A2, _A3, _A4, _A5, _A6, _A7, _A8, _A9, _A10 = (2.0 / math.log(2.0) / (2 * n + 1) for n in range(11))
#: Of 2^f = Σ (f ln 2)^n/n!, enough for |f| <= 1/2.
_E1, _E2, _E3, _E4, _E5, _E6, _E7, _E8, _E9, _E10, _E11, _E12, _E13 = (
    math.log(2.0) ** n / math.factorial(n) for n in range(1, 14)
)


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def log2_ratio(numerator: float, denominator: float) -> float:
    """log2 of the ratio of two positive normal numbers.

    The bits of a number are its logarithm, but for 0.087: their difference says by which power of 2 to multiply the
    denominator, so that what is left of the ratio is near 1.
    """
    bits = np.float64(denominator).view(np.int64)
    exponent = (np.float64(numerator).view(np.int64) - bits + _HALF) >> 52
    near = np.int64(bits + (exponent << 52)).view(np.float64)
    t = (numerator - near) / (numerator + near)
    z = t * t
    series = _A6 + z * (_A7 + z * (_A8 + z * (_A9 + z * _A10)))
    series = _A0 + z * (_A1 + z * (_A2 + z * (_A3 + z * (_A4 + z * (_A5 + z * series)))))
    return (np.int64(exponent + _ROUNDING_BITS).view(np.float64) - _ROUNDING) + t * series


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def power_of_2(x: float) -> float:
    """2^x, for |x| < 1022."""
    rounded = x + _ROUNDING
    f = x - (rounded - _ROUNDING)
    series = _E8 + f * (_E9 + f * (_E10 + f * (_E11 + f * (_E12 + f * _E13))))
    series = _E1 + f * (_E2 + f * (_E3 + f * (_E4 + f * (_E5 + f * (_E6 + f * (_E7 + f * series))))))
    bits = np.float64(1.0 + f * series).view(np.int64)
    return np.int64(bits + (np.float64(rounded).view(np.int64) << 52)).view(np.float64)


@njit(cache=True, error_model="numpy")
def log2_ratios(numerators: Any, denominators: Any, size: int) -> None:
    """Replace the first denominators by the logarithms of the ratios."""
    for i in range(size):
        denominators[i] = log2_ratio(numerators[i], denominators[i])


@njit(cache=True, error_model="numpy")
def powers_of_2(share: float, x: Any, size: int) -> None:
    """Replace the first x by 2^(share x)."""
    for i in range(size):
        x[i] = power_of_2(share * x[i])


@njit(part=True, error_model="numpy")
def binomials(share: float) -> Any:
    """The exponent, for ``power``: the coefficients of d^1 to d^6 in (1 + d)^share."""
    c1 = share
    c2 = c1 * (share - 1.0) / 2.0
    c3 = c2 * (share - 2.0) / 3.0
    c4 = c3 * (share - 3.0) / 4.0
    c5 = c4 * (share - 4.0) / 5.0
    return c1, c2, c3, c4, c5, c5 * (share - 5.0) / 6.0


@njit(part=True, error_model="numpy")
def power(x: float, share: Any) -> float:
    """The power of one ratio, given the exponent's ``binomials``."""
    c1, c2, c3, c4, c5, c6 = share
    d = x - 1.0
    if abs(d) < _TINY:
        return 1.0 + d * (c1 + d * (c2 + d * c3))
    if abs(d) < _SMALL:
        return 1.0 + d * (c1 + d * (c2 + d * (c3 + d * (c4 + d * (c5 + d * c6)))))
    return power_of_2(c1 * log2_ratio(x, 1.0))
