"""Special functions against 50 digits, over their whole range."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import reference as ref
import tolerances as tol
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from factorgraph.numerics import special

pytestmark = pytest.mark.quick

SIGNED = [
    0.0,
    *(s * x for x in (1e-300, 1e-9, 0.01, 0.4999, 0.5, 1.0, 3.0, 4.0, 5.5, 9.0, 26.0) for s in (1, -1)),
]
POSITIVE = [*np.linspace(2.9, 3.1, 60), *np.geomspace(3.0, 5e3, 60), 1e6, 1e12]

Case = tuple[Callable[..., Any], Callable[..., ref.Values], list[float]]
CASES: dict[str, Case] = {
    "erfcx": (special.erfcx_array, ref.erfcx, [*SIGNED, *POSITIVE]),
    "log_erfcx": (special.log_erfcx_array, ref.log_erfcx, [*SIGNED, *POSITIVE, -35.0, -1e3]),
    "log_normal_cdf": (special.log_normal_cdf_array, ref.log_normal_cdf, [*SIGNED, 36.0, *(-x for x in POSITIVE)]),
    "inverse_mills": (special.inverse_mills_array, ref.inverse_mills, [*SIGNED, *POSITIVE, -36.0]),
    "log_2cosh": (special.log_2cosh_array, ref.log_2cosh, [*SIGNED, 1e3, -1e3]),
    "log1mexp": (special.log1mexp_array, ref.log1mexp, [1e-300, 1e-9, 0.5, 0.69, 0.7, 1.0, 40.0, 700.0]),
    "truncated_normal": (special.truncated_normal_array, ref.truncated_normal, [*SIGNED, *POSITIVE, -36.0]),
}
CASE = pytest.mark.parametrize("name", CASES)


def outputs(name: str, x: Any) -> tuple[Any, ...]:
    """Results as a tuple, also of functions with one output."""
    result = CASES[name][0](x)
    return result if isinstance(result, tuple) else (result,)


def assert_accurate(name: str, x: float) -> None:
    for got, expected in zip(outputs(name, x), ref.to_agreement(CASES[name][1], x), strict=True):
        error = abs(ref.mpf(float(got)) - expected)
        assert error <= max(tol.SPECIAL * abs(expected), tol.TINY64), (name, x, got, float(expected))


@CASE
def test_accuracy_over_the_range(name: str) -> None:
    for x in CASES[name][2]:
        assert_accurate(name, float(x))


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.floats(0.0, 26.0), st.sampled_from([1.0, -1.0]), st.sampled_from(sorted(CASES)))
def test_accuracy_anywhere(x: float, side: float, name: str) -> None:
    if name != "log1mexp":
        assert_accurate(name, side * x)
    elif x > 0:
        assert_accurate(name, x)


@CASE
def test_array_equals_scalar_and_keeps_shape_and_type(name: str) -> None:
    points = CASES[name][2]
    x = np.array(points[: len(points) // 2 * 2]).reshape(2, -1)
    for j, array in enumerate(outputs(name, x)):
        assert array.shape == x.shape and array.dtype == np.float64
        assert array.tolist() == [[outputs(name, v)[j] for v in row] for row in x]
    single = np.array([0.25, 2.0, 7.0], dtype=np.float32)
    for narrow, wide in zip(outputs(name, single), outputs(name, single.astype(float)), strict=True):
        assert narrow.dtype == np.float32
        np.testing.assert_array_equal(narrow, wide.astype(np.float32))


def test_limits() -> None:
    assert special.erfcx_array(-30.0) == math.inf
    assert special.log_normal_cdf_array(50.0) == 0.0
    assert special.inverse_mills_array(-50.0) == 0.0
    assert special.inverse_mills_array(1e200) == 1e200
    assert special.truncated_normal_array(-50.0) == (50.0, 1.0)
    excess, variance = special.truncated_normal_array(1e9)
    assert (excess, variance) == pytest.approx((1e-9, 1e-18), rel=1e-15)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.floats(-50.0, 40.0))
def test_bounds_of_the_tail(a: float) -> None:
    """Birnbaum and Sampford: 0 < K'(a) = K (K - a) < 1, so that 0 < Var < 1; Var < (mean excess)² < 2 Var for a > 0."""
    excess, variance = special.truncated_normal_array(a)
    assert excess > 0
    assert 0 < variance <= 1
    if a > 0:
        assert variance < excess**2 < 2 * variance


# ---- bodies without an array version ---------------------------------------------------------------------------------

NUMBERS = st.floats(1e-40, 1e40).flatmap(lambda x: st.sampled_from([x, -x]))


@settings(deadline=None, derandomize=True, max_examples=200)
@given(NUMBERS, NUMBERS)
def test_error_free_transformations(a: float, b: float) -> None:
    s, e = special.two_sum(a, b)
    assert s == a + b and Fraction(s) + Fraction(e) == Fraction(a) + Fraction(b)
    p, e = special.two_product(a, b)
    assert p == a * b and Fraction(p) + Fraction(e) == Fraction(a) * Fraction(b)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_twofold_arithmetic_has_thirty_digits(a: float, b: float, c: float, d: float) -> None:
    x, y = special.two_sum(a, b), special.two_sum(c, d)
    exact_x, exact_y = Fraction(a) + Fraction(b), Fraction(c) + Fraction(d)
    assume(exact_x and exact_y)
    for function, exact, scale in (
        (special.add2, exact_x + exact_y, abs(exact_x) + abs(exact_y)),
        (special.multiply2, exact_x * exact_y, abs(exact_x * exact_y)),
        (special.divide2, exact_x / exact_y, abs(exact_x / exact_y)),
    ):
        high, low = function(*x, *y)
        assert high + low == high
        assert abs(Fraction(high) + Fraction(low) - exact) <= scale * Fraction(1, 10**30)


def test_half_square_ratio_is_right_absolutely() -> None:
    for omega, v in ((1.1e6, 1.3e6), (0.93e-3, 1.7e-12), (3.37e8, 0.91e12)):
        high, low = special.half_square_ratio(omega, 0.0, v, 0.0)
        exact = Fraction(omega) ** 2 / (2 * Fraction(v))
        assert abs(Fraction(high) - exact) > Fraction(1, 10**13)  # one float would not do
        assert abs(Fraction(high) + Fraction(low) - exact) < Fraction(1, 10**24)


def test_two_product_survives_infinity() -> None:
    assert special.two_product(1e200, 1e200) == (math.inf, 0.0)


@pytest.mark.parametrize("x", [0.0, 1e-200, 1e-9, -1e-5, 0.3, 0.999, 1.0, -7.0, 300.0])
def test_hyperbolic_bodies(x: float) -> None:
    with ref.mp.workdps(450):
        log_cosh, sech2 = ref.mp.log(ref.mp.cosh(ref.mpf(x))), ref.mp.sech(ref.mpf(x)) ** 2
    assert special.log_cosh(x) == pytest.approx(float(log_cosh), rel=tol.SPECIAL, abs=tol.TINY64)
    assert special.sech2(x) == pytest.approx(float(sech2), rel=tol.SPECIAL, abs=tol.TINY64)


@pytest.mark.parametrize("a", [-30.0, -2.0, -1e-10, 0.0, 1e-10, 2.999, 3.0, 3.001, 30.0, 900.0])
def test_normal_tail_outputs_agree_with_each_other(a: float) -> None:
    """Its five outputs are different functions of one tail; only one of them is checked above in each regime."""
    with ref.mp.workdps(450):
        exact = ref.mpf(a)
        h = ref.upper(abs(exact))
        factor = ref.upper(exact) * (ref.mp.exp(exact**2 / 2) if a > 0 else 1)
    got = special.normal_tail(a, 0.5 * a * a)
    assert got[0] == pytest.approx(float(h), rel=tol.SPECIAL, abs=tol.TINY64)
    assert got[1] == pytest.approx(float(factor), rel=tol.SPECIAL)
    assert got[2] == special.inverse_mills(a)
    assert got[3:] == special.truncated_normal(a)
