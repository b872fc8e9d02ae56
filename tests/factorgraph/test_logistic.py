"""The logistic channel against quadrature with 30 digits, its limits, and draws."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

from factorgraph.channels import Logistic, Sign


def sigmoid(x):
    return 1 / (1 + mp.exp(-x))


def chance(omega, V):
    """E σ(z), z ~ N(omega, V), with its first two derivatives in omega; panels about all places where it changes."""
    deviation = mp.sqrt(V)
    low, high = omega, omega + V
    for _ in range(110):  # the mode of σ(z) N(z; omega, V)
        middle = (low + high) / 2
        low, high = (middle, high) if (middle - omega) / V < sigmoid(-middle) else (low, middle)
    mode = (low + high) / 2
    width = 1 / mp.sqrt(1 / V + sigmoid(mode) * sigmoid(-mode))
    places = [mode + k * deviation for k in (-14, -8, -4, -2, -1, 1, 2, 4, 8, 14)]
    places += [mode + k * width for k in (-8, -4, -2, -1, 0, 1, 2, 4, 8)]
    places += [mpf(x) for x in (-60, -30, -10, -3, 0, 3, 10, 30, 60, 200) if abs(x - mode) < 14 * deviation]

    def mean(f):
        def integrand(z):
            return f(z) * mp.exp(-((z - omega) ** 2) / (2 * V))

        return mp.quad(integrand, sorted(set(places))) / mp.sqrt(2 * mp.pi * V)

    return (
        mean(sigmoid),
        mean(lambda z: sigmoid(z) * sigmoid(-z)),
        mean(lambda z: sigmoid(z) * sigmoid(-z) * (sigmoid(-z) - sigmoid(z))),
    )


def close(ours, theirs, size=0.0, rtol=1e-11):
    assert abs(ours - theirs) <= rtol * (abs(theirs) + size)


NUMBERS = {
    "V": st.floats(-6, 5).map(lambda x: 10.0**x),
    "deviations": st.floats(-12, 12),
    "temperature": st.floats(-3, 3).map(lambda x: 10.0**x),
    "threshold": st.sampled_from([0.0, -0.3, 2.0]),
}


@given(y=st.sampled_from([-1.0, 1.0]), **NUMBERS)
@settings(max_examples=20)
@example(y=1.0, V=58.5, deviations=-11.0, temperature=1.0, threshold=0.0)
def test_observed(y, V, deviations, temperature, threshold):
    omega = threshold + deviations * math.sqrt(V)
    found = Logistic(temperature, threshold).observe(y, omega=omega, V=V)
    with mp.workdps(30):
        T = mpf(temperature)
        p, slope, bend = chance(y * (mpf(omega) - mpf(threshold)) / T, V / T**2)
        g = slope / p
        close(found.phi, mp.log(p), 1e-3)
        close(found.g, y * g / T)
        close(found.gamma, (g * g - bend / p) / T**2, 1 / mpf(V) + 1 / T**2)


@given(B=st.sampled_from([0.0, 1e-8, -0.4, 3.0, -40.0]), **NUMBERS)
@settings(max_examples=20)
def test_tilted(B, V, deviations, temperature, threshold):
    omega = threshold + deviations * math.sqrt(V)
    found = Logistic(temperature, threshold).evaluate(B=B, A=0.7, omega=omega, V=V)
    with mp.workdps(30):
        T = mpf(temperature)
        p, slope, bend = chance((mpf(omega) - mpf(threshold)) / T, V / T**2)
        plus, minus = mp.exp(B) * p, mp.exp(-B) * (1 - p)
        total, lift = plus + minus, 2 * mp.sinh(B)
        g = lift * slope / total / T
        close(found.phi, mp.log(total), 1e-3)
        close(found.mean, (plus - minus) / total, 1)
        close(found.variance, 4 * plus * minus / total**2)
        close(found.g, g)
        close(found.gamma, g * g - lift * bend / total / T**2, 1 / mpf(V) + 1 / T**2)


@given(omega=st.floats(-30, 30), V=st.floats(1e-2, 1e2), y=st.sampled_from([-1.0, 1.0]))
@settings(max_examples=30)
def test_the_limit_is_a_hard_threshold(omega, V, y):
    """The noise adds its variance π²T²/3 to V, to first order."""
    soft, hard = (channel.observe(y, omega=omega, V=V) for channel in (Logistic(1e-7 * math.sqrt(V)), Sign()))
    for ours, theirs in zip(soft, hard, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("omega", [-700.0, -1e-3, 0.0, 30.0, 1e10])
@pytest.mark.parametrize("V", [1e-90, 1e-8, 1.0, 1e6, 1e90])
def test_extremes_are_numbers(omega, V):
    values = Logistic().evaluate(B=[-1e3, 0.0, 2.0], A=0.0, omega=omega * math.sqrt(V), V=V)
    assert all(np.isfinite(part).all() for part in values)
    assert np.all((values.variance >= 0.0) & (np.abs(values.mean) <= 1.0)) and values.g[1] == 0.0


def test_draws():
    rng, channel = np.random.default_rng(0), Logistic(0.5, 0.2)
    z = np.full(100_000, 0.7)
    expected = 1.0 / (1.0 + math.exp(-(0.7 - 0.2) / 0.5))
    assert abs(np.mean(channel.sample(z, rng) == 1.0) - expected) < 4.0 * math.sqrt(expected * (1 - expected) / len(z))
    assert list(channel([-1.0, 0.2, 0.3])) == [-1.0, 1.0, 1.0]


@pytest.mark.parametrize("values", [{"temperature": 0.0}, {"temperature": math.inf}, {"threshold": math.nan}])
def test_wrong_arguments(values):
    (name,) = values
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        Logistic(**values)
