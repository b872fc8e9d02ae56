"""Every channel and prior over the whole documented range: numbers, never NaN, and refusals that name the argument."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from members import VECTOR_PRIORS

import factorgraph.channels as channels
import factorgraph.priors as priors
from factorgraph.channels import (
    Absolute,
    Argmax,
    AsymmetricAbsolute,
    HardSigmoid,
    HardTanh,
    Heaviside,
    Identity,
    LeakyReLU,
    Logistic,
    Numeric,
    Poisson,
    Probit,
    ReLU,
    Sign,
    SymmetricDoor,
)
from factorgraph.priors import (
    Binary,
    Exponential,
    GaussBernoulli,
    Gaussian,
    GaussianMixture,
    Laplace,
    Mixture,
    Positive,
    Ternary,
)

SPINS, POSITIVE, COUNTS = (-1.0, 1.0), (0.0, 1e-30, 2.0, 7e4), (0.0, 1.0, 15.0, 16.0, 1e6, 1e15)
ANY = (-1e30, -3.0, 0.0, 1e-3, 7e4)

#: Members of the package by name, each as instances with outputs that they can have.
CHANNELS = {
    "Absolute": [(Absolute(), POSITIVE)],
    "AsymmetricAbsolute": [(AsymmetricAbsolute(s), (-abs(s) / 2, abs(s), 7e4)) for s in (1e-4, -0.3, 1e3)],
    "HardSigmoid": [(HardSigmoid(), (0.0, 1e-30, 0.7, 1.0)), (HardSigmoid(1e-6), (0.0, 0.5, 1.0))],
    "HardTanh": [(HardTanh(), (-1.0, 1e-30, 0.3, 1.0))],
    "Heaviside": [(Heaviside(), (0.0, 1.0))],
    "Identity": [(Identity(), ANY), (Identity(0.3), ANY), (Identity(1e20), ANY)],
    "LeakyReLU": [(LeakyReLU(), ANY), (LeakyReLU(1e6), ANY), (LeakyReLU(-0.3), POSITIVE)],
    "Logistic": [(Logistic(T, t), SPINS) for T, t in ((1.0, 0.0), (1e-6, -0.1), (1e6, 1e3))],
    "Poisson": [(Poisson(), COUNTS)],
    "Probit": [(Probit(s, t), SPINS) for s, t in ((300.0, -0.1), (1e-100, 0.0), (math.inf, 1e3))],
    "ReLU": [(ReLU(), POSITIVE)],
    "Sign": [(Sign(), SPINS)],
    "SymmetricDoor": [(SymmetricDoor(w), SPINS) for w in (1.0, 1e-12, 1e12)],
}
#: By vectors, or by quadrature with a range of its own: below.
OTHERS = {"Argmax", "Numeric", "Softmax"}
PRIORS = {
    "Binary": [Binary(), Binary(-1e4)],
    "Exponential": [Exponential(), Exponential(0.07)],
    "GaussBernoulli": [GaussBernoulli(0.1), GaussBernoulli(1e-10, 3.0, 1e8), GaussBernoulli(1.0)],
    "Gaussian": [Gaussian(), Gaussian(5.0, 0.0), Gaussian(-1e3, 1e6)],
    "GaussianMixture": [GaussianMixture([1, 2], [0, 5], [1e-6, 1e4])],
    "Laplace": [Laplace(), Laplace(0.07)],
    "Positive": [Positive(), Positive(-30.0, 0.5), Positive(1e3, 1e-2)],
    "Ternary": [Ternary(), Ternary(1e-9)],
    "Mixture": [Mixture([-1, 0, 2], [1, 2, 3]), Mixture([0.0], [1.0])],
}
EACH_CHANNEL = [case for cases in CHANNELS.values() for case in cases]
EACH_PRIOR = [prior for members in PRIORS.values() for prior in members]

LARGEST = 100.0  # decades, as ``Channel`` documents
SIZE = 40
TYPES = st.sampled_from([np.float64, np.float32])
RANGE = settings(deadline=None, derandomize=True, max_examples=150)


def test_the_tables_are_complete():
    abstract = {"Channel", "ChannelValues", "ObservedValues", "Prior", "PriorValues"}
    assert {*CHANNELS, *OTHERS} == set(channels.__all__) - abstract
    assert {*PRIORS, *VECTOR_PRIORS} == set(priors.__all__) - abstract


def sizes(low=-LARGEST, high=LARGEST):
    """Arrays of positive numbers, most of them moderate, some anywhere."""
    return arrays(np.float64, SIZE, elements=st.one_of(st.floats(-3, 3), st.floats(low, high))).map(lambda e: 10.0**e)


SIGNS = arrays(np.float64, SIZE, elements=st.sampled_from([-1.0, 0.0, 1.0]))


def as_type(dtype, *values):
    with np.errstate(over="ignore", under="ignore"):
        return [value.astype(dtype) for value in values]


def assert_numbers(results, dtype):
    for values in results:
        assert values.dtype == dtype
        assert np.all(np.isfinite(values) if dtype == np.float64 else ~np.isnan(values))


@RANGE
@given(st.sampled_from(EACH_CHANNEL), sizes(), sizes(), sizes(-12, 10), sizes(), SIGNS, SIGNS, SIGNS, st.data(), TYPES)
def test_channels(case, B, A, t, V, first, second, third, data, dtype):
    channel, outputs = case
    y = np.array(data.draw(st.lists(st.sampled_from(outputs), min_size=SIZE, max_size=SIZE)))
    y, B, A, omega, V = as_type(dtype, y, B * first, A * abs(second), t * third * np.sqrt(V), V)
    kept = (V > 0) & np.isfinite(V) & np.isfinite(B) & np.isfinite(A) & np.isfinite(omega) & np.isfinite(y)
    y, B, A, omega, V = (values[kept] for values in (y, B, A, omega, V))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        observed = channel.observe(y, omega=omega, V=V)
        assert_numbers(observed, dtype)
        if not isinstance(channel, Poisson):
            values = channel.evaluate(B=B, A=A, omega=omega, V=V)
            assert_numbers(values, dtype)
            assert np.all(values.variance >= 0)
    if channel.interval is None:
        assert np.all(observed.phi <= 1e-12)  # probabilities
    if not isinstance(channel, Absolute | AsymmetricAbsolute | SymmetricDoor) and channel != LeakyReLU(-0.3):
        assert np.all(observed.gamma >= 0)  # log-concave likelihoods
    if dtype == np.float64:
        assert np.all(observed.gamma * V <= 1 + 1e-12)


@RANGE
@given(st.sampled_from(EACH_PRIOR), sizes(), sizes(), SIGNS, SIGNS, TYPES)
def test_priors(prior, H, G, first, second, dtype):
    H, G = as_type(dtype, H * first, G * abs(second))
    kept = np.isfinite(H) & np.isfinite(G)
    if isinstance(prior, Exponential | Laplace):
        kept &= (G > 0) | (abs(H) * prior.scale < 0.99)
    if isinstance(prior, Gaussian) and prior.precision == 0.0:
        kept &= G > 0
    H, G = H[kept], G[kept]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = prior.evaluate(H=H, G=G)
        assert_numbers(values, dtype)
        assert np.all(values.variance >= 0)
        for got, expected in zip(prior.moments(H=H, G=G), values[1:], strict=True):
            np.testing.assert_array_equal(got, expected)


@RANGE
@given(st.sampled_from(["double_jensen", "single_jensen", "exact"]), st.integers(0, 2**32 - 1), st.floats(0, 8), TYPES)
def test_classes(form, seed, spread, dtype):
    rng = np.random.default_rng(seed)
    V, t = 10.0 ** rng.uniform(-spread, spread, (4, 5)), 10.0 ** rng.uniform(-6, min(spread, 1.4), (4, 5))
    omega, V = as_type(dtype, t * rng.choice([-1, 0, 1], (4, 5)) * np.sqrt(V.min()), V)
    y = rng.integers(0, 4, 5)
    values = Argmax(form).observe(y, omega=omega, V=V, rng=rng)
    assert_numbers(values, dtype)
    assert np.all(values.phi <= 1e-12)
    if form != "single_jensen":
        probabilities = Argmax(form).probabilities(omega=omega, V=V)
        assert_numbers((probabilities,), dtype)
        np.testing.assert_allclose(probabilities.sum(axis=0), 1.0, rtol=1e-12 if dtype == np.float64 else 1e-6)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    st.sampled_from([Numeric(np.tanh), Numeric(abs, breakpoints=[0.0], noise=0.1), Numeric(np.sign, breakpoints=[0])]),
    st.floats(-50, 50), st.floats(0, 1e3), st.floats(-20, 20), st.floats(-6, 6), TYPES,
)  # fmt: skip
def test_quadrature(channel, B, A, t, log_v, dtype):
    V = 10.0**log_v
    B, A, omega, V = as_type(dtype, *map(np.float64, (B, A, t * math.sqrt(V), V)))
    values = channel.evaluate(B=B, A=A, omega=omega, V=V)
    assert_numbers(values, dtype)
    assert values.variance >= 0


WRONG = {
    "complex": np.array([1j, 2.0]),
    "masked": np.ma.array([1.0, 2.0], mask=[True, False]),
    "a string": "3",
    "strings": ["1"],
    "nothing": None,
    "ragged": [[1.0], [1.0, 2.0]],
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=list(WRONG))
def test_what_is_no_real_number_is_refused_by_name(wrong):
    for channel, outputs in [*EACH_CHANNEL, (Numeric(np.tanh, noise=0.1), ANY)]:
        for name in ("y", "omega", "V"):
            arguments = {"y": outputs[-1], "omega": 0.0, "V": 1.0} | {name: wrong}
            with pytest.raises(ValueError, match=f"^`{name}` must"):
                channel.observe(arguments.pop("y"), **arguments)
        for name in () if isinstance(channel, Poisson) else ("B", "A", "omega", "V"):
            with pytest.raises(ValueError, match=f"^`{name}` must"):
                channel.evaluate(**({"B": 0.0, "A": 0.0, "omega": 0.0, "V": 1.0} | {name: wrong}))
    for prior in EACH_PRIOR:
        for name in ("H", "G"):
            for method in (prior.evaluate, prior.moments):
                with pytest.raises(ValueError, match=f"^`{name}` must"):
                    method(**({"H": 0.1, "G": 1.0} | {name: wrong}))
    for name in ("omega", "V"):
        with pytest.raises(ValueError, match=f"^`{name}` must"):
            Argmax().observe(0, **({"omega": np.zeros(3), "V": np.ones(3)} | {name: wrong}))


@pytest.mark.parametrize(
    "V", [0.0, -1.0, math.nan, math.inf, [1.0, 0.0], np.array([1.0, math.nan], np.float32)], ids=str
)
def test_a_variance_that_is_none_is_refused(V):
    match = "^`V` must be finite and > 0, got"
    for channel, outputs in [*EACH_CHANNEL, (Numeric(np.tanh, noise=0.1), ANY)]:
        with pytest.raises(ValueError, match=match):
            channel.observe(outputs[-1], omega=0.0, V=V)
        for method in () if isinstance(channel, Poisson) else (channel.evaluate, channel.moments, channel.derivatives):
            with pytest.raises(ValueError, match=match):
                method(B=0.1, A=0.2, omega=0.3, V=V)
