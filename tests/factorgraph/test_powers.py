"""Powers of ratios against more digits."""

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factorgraph.numerics.powers import binomials, log2_ratio, log2_ratios, power, power_of_2, powers_of_2
from factorgraph.runtime.compiled import njit

SIZES = st.sampled_from([0.0, 1e-12, 1e-6, 1e-3, 4e-3, 0.1, 1.0, 30.0, 300.0])
UNITS = st.floats(-1.0, 1.0)
#: How far a function may be off, relative: two units in the last place.
ROUNDING = 2.0 * np.finfo(float).eps


@njit
def one_by_one(x, share):
    exponent = binomials(share)
    for i in range(x.size):
        x[i] = power(x[i], exponent)


def scaled(size, unit):
    return float(np.exp(size * unit))


@given(above=SIZES, below=SIZES, first=UNITS, second=UNITS)
def test_logarithms_of_ratios(above, below, first, second):
    """Relative to themselves: also of ratios next to 1."""
    numerator, denominator = scaled(above, first), scaled(below, second)
    with mpmath.workdps(50):
        truth = float(mpmath.log(mpmath.mpf(numerator) / mpmath.mpf(denominator), 2))
    assert log2_ratio(numerator, denominator) == pytest.approx(truth, rel=ROUNDING, abs=0.0)


@given(size=st.sampled_from([1e-9, 1e-3, 1.0, 1000.0]), unit=UNITS)
def test_powers_of_2(size, unit):
    with mpmath.workdps(50):
        truth = float(mpmath.mpf(2) ** mpmath.mpf(size * unit))
    assert power_of_2(size * unit) == pytest.approx(truth, rel=ROUNDING, abs=0.0)


@pytest.mark.parametrize("share", [0.97, 0.7, 0.3, 0.01])
def test_many_powers_and_one_after_the_other(share):
    """The same as NumPy's up to the rounding of the logarithm."""
    rng = np.random.default_rng(0)
    ratio = np.exp(rng.choice([0.0, 1e-9, 1e-5, 1e-3, 0.1, 1.0, 100.0], 2000) * rng.normal(size=2000))
    other = np.exp(rng.normal(size=2000))
    expected = (ratio * other / other) ** share
    together, alone = other.copy(), ratio * other / other
    log2_ratios(ratio * other, together, 2000)
    powers_of_2(share, together, 2000)
    one_by_one(alone, share)
    bound = ROUNDING * (1.0 + np.abs(np.log(ratio)))
    assert np.all(np.abs(together / expected - 1.0) <= bound)
    assert np.all(np.abs(alone / expected - 1.0) <= bound)
