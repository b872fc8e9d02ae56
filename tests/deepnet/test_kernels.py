"""Branch-free float32 bodies against the exact float64 ones, extremes included."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit, vectorize

from deepnet.config import Config
from deepnet.kernels import CpuOperations
from deepnet.kernels.cpu.ahead import versions
from deepnet.kernels.cpu.float32 import exp32, f32, hazard32, hazard_excess32, sign_g32, tanh32
from deepnet.kernels.cpu.fused_loops import argmax_derivatives
from deepnet.lower import lower
from deepnet.network import perceptron
from deepnet.sweep import Update, initial_layers, train_batch
from deepnet.train import warm_up
from factorgraph.channels import Argmax, Sign
from factorgraph.dense.numpy_operations import NumpyOperations
from factorgraph.dense.state import Message
from factorgraph.numerics.special import inverse_mills_array

#: Rounding of a dozen float32 operations.
ELEMENTARY = 1e-6

#: g of a sign unit: the exponent omega²/2V - 2|B|, of size up to 100 where it matters, is rounded to float32.
SIGN = 3e-5

#: 1 - e^{-2|B|}, a factor of g, is a difference of float32 numbers of size 1.
DIFFERENCE = 1.2e-7

#: The hazard of a rival, and its excess: their polynomials and exponentials.
RIVAL = 2e-5

#: Relative rounding of float32.
ULP = 1.2e-7

#: Deviations beyond which e^{-x²/2} is nothing in float32.
FAR = 12.0

exp_array = vectorize(["float32(float32)"])(lambda x: exp32(x))
tanh_array = vectorize(["float32(float32)"])(lambda x: tanh32(x))


@njit
def hazard(y):
    n, e = hazard32(y)
    return y + e / n


def test_exp():
    x = np.linspace(-87, 80, 200_001, dtype=np.float32)
    np.testing.assert_allclose(exp_array(x), np.exp(x.astype(float)), rtol=ELEMENTARY)


def test_tanh():
    x = np.concatenate([np.linspace(-20, 20, 100_001), [-1e30, -100, 0, 1e-30, 100, 1e30]]).astype(np.float32)
    np.testing.assert_allclose(tanh_array(x), np.tanh(x.astype(float)), rtol=0, atol=2e-7)
    assert np.all(np.abs(tanh_array(x)) <= 1)


def test_hazard():
    y = np.concatenate([np.linspace(0, 50, 5001), np.geomspace(50, 1e4, 500)]).astype(np.float32)
    ours = np.array([hazard(f32(v)) for v in y])
    np.testing.assert_allclose(ours, inverse_mills_array(y.astype(float)), rtol=ELEMENTARY)


@njit
def hazard_excess(x):
    return hazard_excess32(x)


def test_hazard_and_its_excess():
    """Below zero the exponent x²/2 is rounded to float32: a relative error of up to 72 units in the last place."""
    x = np.concatenate([np.linspace(-12, 30, 8401), -np.geomspace(1e-9, 1e-1, 50)]).astype(np.float32)
    ours = np.array([hazard_excess(v) for v in x])
    hazards = inverse_mills_array(x.astype(float))
    np.testing.assert_allclose(ours[:, 0], hazards, rtol=2e-5)
    np.testing.assert_allclose(ours[:, 1], hazards - x.astype(float), rtol=2e-5)


def exact(B, omega, V):
    return Sign().evaluate(B=np.float64(B), A=0.0, omega=np.float64(omega), V=np.float64(V))


@given(
    st.floats(-1e4, 1e4) | st.floats(-3, 3) | st.floats(-1e-20, 1e-20),
    st.floats(-1e3, 1e3) | st.floats(-5, 5),
    st.floats(-6, 6),
)
def test_fused_sign_unit_equals_the_channel(B, ratio, exponent):
    """x̂ and Δ to absolute 1e-6, g and Γ to that of their factor 1 - e^{-2|B|}; all relative to their conditioning."""
    V = np.full((1, 1), 10.0**exponent, np.float32)
    omega = (ratio * np.sqrt(V)).astype(np.float32)
    message = Message(Sign(), 1.0, B=np.full((1, 1), B, np.float32))
    mean, variance = CpuOperations().moments(message, omega, V)
    g, gamma = CpuOperations().derivatives(message, omega, V)
    free, free_variance = CpuOperations().moments(Message(Sign(), 1.0), omega, V)
    values = exact(0.0, omega, V)
    assert np.all(np.abs(free - values.mean) <= 1e-6)
    assert np.all(np.abs(free_variance - values.variance) <= 1e-6 + SIGN * values.variance)
    values = exact(message.B, omega, V)
    y = np.abs(omega) / np.sqrt(V)
    conditioning = SIGN * (1 + y) * (1 + np.minimum(y, 20))
    assert np.all(np.abs(mean - values.mean) <= 1e-6 + conditioning * values.variance)
    assert np.all(np.abs(variance - values.variance) <= 1e-6 + conditioning * values.variance)
    scale = DIFFERENCE / np.sqrt(V) + conditioning * np.abs(values.g)
    assert np.all(np.abs(g - values.g) <= scale)
    assert np.all(np.abs(gamma - values.gamma) <= (1 + y) / np.sqrt(V) * (scale + conditioning * np.abs(values.g)))


@pytest.mark.parametrize("y", [-1.0, 1.0])
def test_fused_output_equals_the_observed_channel(y):
    ratio = np.concatenate([np.linspace(-30, 30, 601), [-1e3, 1e3]])
    V = np.full((1, ratio.size), 2.5, np.float32)
    omega = (ratio * np.sqrt(2.5)).astype(np.float32)[None]
    g, gamma = CpuOperations().derivatives(Message(Sign(), 1.0, y=np.full_like(V, y)), omega, V)
    _, g_exact, gamma_exact = Sign().observe(y, omega=omega.astype(float), V=2.5)
    np.testing.assert_allclose(g, g_exact, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(gamma, gamma_exact, rtol=1e-4, atol=1e-9)


@given(
    st.lists(st.floats(-300, 300) | st.floats(-4, 4), min_size=3, max_size=3),
    st.lists(st.floats(-8, 8), min_size=3, max_size=3),
    st.integers(0, 2),
)
def test_fused_argmax_equals_the_channel(ratios, exponents, label):
    """Rivals from far ahead to far behind, and variances of any sizes; errors relative to what float32 makes of x."""
    V = (10.0 ** np.array(exponents)).astype(np.float32)[:, None]
    omega = (np.array(ratios)[:, None] * np.sqrt(V)).astype(np.float32)
    found = [np.empty_like(omega) for _ in range(2)]
    argmax_derivatives(np.array([label]), omega, V, *found)
    exact = Argmax().observe([label], omega=omega.astype(float), V=V.astype(float))
    rivals = np.arange(3) != label
    variance = V[rivals, 0].astype(float) + V[label, 0]
    gap = omega[rivals, 0].astype(float) - omega[label, 0]
    # The gap is rounded by its terms, x = gap/√variance by itself: x changes by so much, log K by (K + 1) times that.
    terms = np.maximum(np.abs(omega[rivals, 0]), np.abs(omega[label, 0])) / np.sqrt(variance)
    hazards = np.abs(exact.g[rivals, 0]) * np.sqrt(variance)
    conditioning = RIVAL + ULP * (np.abs(gap) / np.sqrt(variance) + terms) * (
        1 + hazards + np.abs(gap) / np.sqrt(variance)
    )
    normal = np.abs(gap) / np.sqrt(variance) < FAR  # farther behind, K is below what float32 can hold, and clipped
    floor = np.exp(-0.5 * FAR**2) / variance ** np.array([[0.5], [1.0]])
    for result, values, minimum in zip(found, (exact.g, exact.gamma), floor, strict=True):
        bound = conditioning * np.abs(values[rivals, 0]) + np.where(normal, 0.0, minimum * (1 + hazards**2))
        assert np.all(np.isfinite(result))
        assert np.all(np.abs(result[rivals, 0] - values[rivals, 0]) <= bound)
        assert abs(result[label, 0] - values[label, 0]) <= bound.sum() + ULP * np.abs(values[rivals, 0]).sum()


def test_edge_loop_survives_reordering():
    """The rounding trick of exp32 inside a loop whose sums may be reordered."""
    rng = np.random.default_rng(0)
    layers = initial_layers(lower(perceptron([50, 40, 1]), "bpi"), eps_init=1.0, rng=rng)
    x, y = rng.standard_normal((50, 33)).astype(np.float32), np.ones((1, 33), np.float32)
    train_batch(layers, x, y, [Update()] * 2, operations=CpuOperations())
    layer, message = layers[0], layers[1].to_inputs
    assert message is not None
    fields = []
    for operations in (CpuOperations(), NumpyOperations()):
        operations.edge_messages(layer, message)
        fields.append(layer.H_in.copy())
    np.testing.assert_allclose(*fields, rtol=0, atol=1e-5 * np.abs(fields[1]).max())
    assert np.abs(fields[1]).max() > 0.01


@njit
def g_of_one_edge(t, c, eps, strength):
    return sign_g32(t, c, eps, strength)


def test_g_of_one_edge():
    g = g_of_one_edge(f32(-2.0), f32(3.0), f32(np.exp(-3.0)), f32(1 - np.exp(-3.0)))
    assert g == pytest.approx(exact(1.5, -2.0, 1.0).g, rel=1e-6)


@pytest.mark.parametrize("closure", ["mf", "bp"])
def test_what_is_compiled_ahead_is_what_training_calls(closure, monkeypatch):
    monkeypatch.setattr("deepnet.train.prepare", lambda *_: None)
    config = Config(hidden=(7, 7), closure=closure)
    wanted = versions(config)
    assert len(wanted) > 5
    for classes in (2, 10):
        warm_up(config, classes)
    assert not [function.__name__ for function, types in wanted if types not in function.overloads]
