"""Float32 loops of ReLU units and of continuous weights against the exact float64 formulas, extremes included."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepnet.kernels import CpuOperations
from deepnet.kernels.cpu.float32 import f32
from deepnet.kernels.cpu.relu import tail32
from deepnet.lower import lower
from deepnet.network import perceptron
from deepnet.sweep import initial_layers
from factorgraph.channels import ReLU
from factorgraph.channels.relu import relu_slopes
from factorgraph.dense.numpy_operations import PRECISION_FLOOR, NumpyOperations
from factorgraph.dense.operations import Step
from factorgraph.dense.state import Message
from factorgraph.numerics.special import log_normal_cdf_array, truncated_normal_array
from factorgraph.runtime.compiled import njit

#: Rounding of some two dozen float32 operations, and the polynomials.
ELEMENTARY = 5e-6

#: Relative rounding of float32.
ULP = 1.2e-7

#: Where the exponent of p0 or p1 is larger, it is less than what float32 holds, and clipped.
FAR = 80.0

#: Smaller moments and derivatives in z, times the scale, are zero.
NEGLIGIBLE = 1.1e-25

slopes = np.vectorize(relu_slopes)


@njit
def tail(x):
    return tail32(x)


def test_the_tail_of_a_normal_law():
    """Below zero the exponent x²/2 of the hazard is rounded to float32: up to 72 units in the last place."""
    x = np.concatenate([np.linspace(-12, 30, 8401), -np.geomspace(1e-9, 1e-1, 50), np.geomspace(30, 3000, 50)])
    x = x.astype(np.float32)
    S, q, excess, variance, hazard, rest = np.array([tail(v) for v in x]).T
    exact, exact_variance = truncated_normal_array(x.astype(float))
    np.testing.assert_allclose(excess, exact, rtol=2e-5)
    np.testing.assert_allclose(variance, exact_variance, rtol=ELEMENTARY)
    np.testing.assert_allclose(hazard[x > 0], exact[x > 0] + x[x > 0], rtol=ELEMENTARY)
    logarithms = log_normal_cdf_array(-x.astype(float))
    np.testing.assert_allclose(
        np.log(S) + q - 0.5 * x.astype(float) ** 2, logarithms + 0.5 * np.log(2 * np.pi), atol=2e-5
    )
    inner = np.abs(x) < 12
    np.testing.assert_allclose(
        rest[inner], np.exp(log_normal_cdf_array(-np.abs(x[inner]).astype(float))) * (2 * np.pi) ** 0.5, rtol=2e-5
    )


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([0.1, 1.0]),
    ratio=st.sampled_from([0.1, 3.0, 30.0]),
    exponent=st.floats(-6, 6),
    field=st.sampled_from([0.0, 1e-6, 1.0, 30.0]),
    precision=st.sampled_from([0.0, 1e-6, 1.0, 1e3]),
)
def test_units_equal_the_channel(seed, scale, ratio, exponent, field, precision):
    """Errors relative to the terms of each value, and to what rounding makes of the exponents of p0 and p1."""
    rng, shape = np.random.default_rng(seed), (3, 70)
    deviation = 10.0 ** (0.5 * exponent)
    V = (deviation**2 * rng.uniform(0.5, 2, shape)).astype(f32)
    omega = (ratio * rng.standard_normal(shape) * np.sqrt(V)).astype(f32)
    B = (field * rng.standard_normal(shape) / deviation / scale).astype(f32)
    A = (precision * rng.exponential(size=shape) / deviation**2 / scale**2).astype(f32)
    ours = CpuOperations()
    mean, variance = ours.moments(Message(ReLU(), scale, B=B, A=A), omega, V)
    g, gamma = ours.derivatives(Message(ReLU(), scale, B=B, A=A), omega, V)
    free = ours.moments(Message(ReLU(), scale), omega, V)

    # In units where V is 1.
    sd = f32(scale) * np.sqrt(V.astype(float))
    t, b, a = omega.astype(float) * f32(scale) / sd, B * sd, A * sd**2
    x, delta, exact_g, exact_gamma, x1, v1, *_ = slopes(b, a, t, 1.0)
    p1 = x / x1
    p0 = 1.0 - p1
    z0, _ = truncated_normal_array(t)
    pull = np.where(
        b + t < 0, np.abs(b) + a * x1, (np.abs(b) + a * np.abs(t)) / (1 + a) + a * np.maximum(x1 - (b + t) / (1 + a), 0)
    )
    terms = t**2 + (np.abs(b) * (np.abs(b) + 2 * np.abs(t)) + a * t**2) / (1 + a)
    error = ELEMENTARY + 4 * ULP * terms
    seen = np.minimum(p0, p1) > np.exp(-FAR)
    assert seen.any() or ratio > 3 or field > 1
    moved = p1 * (a * v1 + p0 * pull * (z0 + x1))
    for found, exact, size, unit in (
        (mean, x, x, sd),
        (variance, delta, delta, sd**2),
        (g, exact_g, p1 * pull, f32(scale) / sd),
        (gamma, exact_gamma, moved, (f32(scale) / sd) ** 2),
    ):
        assert np.all(np.isfinite(found))
        assert np.all((np.abs(found / unit - exact) <= error * size + NEGLIGIBLE / unit)[seen])
    exact = ReLU().moments(B=0.0, A=0.0, omega=t, V=1.0)
    for found, value, unit in zip(free, exact, (sd, sd**2), strict=True):
        assert np.all(np.abs(found / unit - value) <= error * value + NEGLIGIBLE / unit)


@pytest.mark.parametrize("density", [1.0, 0.4])
@pytest.mark.parametrize("reinforcement", [0.0, 0.3])
@pytest.mark.parametrize("shape", [(3, 5), (130, 100)])
def test_continuous_weights_are_renewed_as_by_the_formulas(density, reinforcement, shape):
    """Some precisions at their floor, some messages that would make a weight less certain."""
    rng = np.random.default_rng(0)
    model = perceptron([shape[1], shape[0]], weights="continuous", density=density, rng=rng)
    results = []
    for operations in (CpuOperations(), NumpyOperations()):
        rng = np.random.default_rng(1)
        (layer,) = initial_layers(lower(model, "mf"), eps_init=1.0, rng=rng)
        layer.H_in[...], layer.G_in[...] = rng.standard_normal((2, *shape))
        layer.G[:2], layer.G_in[:2] = 1e-9, -1.0
        layer.beta, layer.damping = 0.7, 0.2
        base = (layer.H.copy(), layer.G.copy()) if reinforcement else (layer.H, layer.G)
        operations.update_weights(layer, Step(*base, rho=0.95, reinforcement=reinforcement))
        results.append(layer)
    ours, plain = results
    assert plain.G.min() == f32(PRECISION_FLOOR) < plain.G.max()
    for name in ("H", "G", "mean", "sigma"):
        np.testing.assert_allclose(getattr(ours, name), getattr(plain, name), rtol=ELEMENTARY, atol=1e-7, err_msg=name)
