"""State evolution of matrix VAMP against exact posteriors, random matrices and the algorithm itself."""

import numpy as np
import pytest
import tolerances as tol
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from models import GaussianRows, Head, MatrixVAMP, marchenko_pastur, matrix_state_evolution


def spectrum_of(X):
    return np.linalg.svd(X, compute_uv=False) ** 2


@pytest.mark.parametrize("samples, inputs", [(300, 100), (100, 300), (200, 200)])
def test_marchenko_pastur(samples, inputs):
    rng = np.random.default_rng(0)
    values = np.sort(spectrum_of(rng.normal(size=(samples, inputs)) / inputs**0.5))
    law = marchenko_pastur(samples, inputs)
    assert law.shape == values.shape
    np.testing.assert_allclose(law, values, atol=0.08 * values.max())
    np.testing.assert_allclose(law.sum(), samples, rtol=0.01)  # E x² = 1 a row
    np.testing.assert_allclose(marchenko_pastur(samples, inputs, variance=2.0), 2.0 * inputs * law)


@pytest.mark.parametrize("samples, inputs", [(30, 10), (10, 30), (20, 20)])
def test_quantiles_of_marchenko_pastur(samples, inputs):
    """By numerical integration of the density; that of square matrices has no bound at 0."""
    ratio = samples / inputs
    low, high = (1.0 - ratio**0.5) ** 2, (1.0 + ratio**0.5) ** 2

    def density(root):  # in the root of the eigenvalue
        value = root * root
        return np.sqrt(max((high - value) * (value - low), 0.0)) / (np.pi * root) if root > 0.0 else high**0.5 / np.pi

    masses = [quad(density, low**0.5, value**0.5, limit=200)[0] for value in marchenko_pastur(samples, inputs)]
    size = min(samples, inputs)
    np.testing.assert_allclose(np.array(masses) / min(ratio, 1.0), (np.arange(size) + 0.5) / size, atol=tol.QUANTILES)


@pytest.mark.parametrize("method", ["mmse", "map"])
@pytest.mark.parametrize("samples", [60, 150])
def test_linear_units(method, samples):
    """The posterior covariance is known, and the excess of the test error is that of the outputs."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(samples, 100)) / 10.0
    head = Head(rng.normal(size=(3, 2)), "linear", noise=[0.1, 0.2])
    prior = GaussianRows(np.diag([0.5, 1.0, 2.0]), mean=[0.3, 0.0, -0.2])
    found = matrix_state_evolution(prior, head, spectrum_of(X), samples=samples, inputs=100, method=method)
    W = head.scaled_weights
    modes = np.linalg.inv(prior.precision + spectrum_of(X)[:, None, None] * (W @ W.T))
    C = (modes.sum(axis=0) + max(100 - samples, 0) * prior.covariance) / 100
    scale = np.sum(X**2) / samples
    assert found.converged
    assert found.mse[-1] == pytest.approx(np.trace(C) / 3, rel=tol.LINEAR_EVOLUTION[method])
    assert found.test_error[-1] == pytest.approx(1.0 + scale * np.trace(W.T @ C @ W) / 2, rel=tol.POINTS)


@settings(max_examples=12, deadline=None)
@given(
    method=st.sampled_from(["mmse", "map"]),
    rows=st.integers(1, 3),
    outputs=st.integers(1, 3),
    samples=st.integers(20, 150),
    noise=st.floats(0.05, 1.0),
    seed=st.integers(0, 10**6),
)
def test_linear_units_of_any_head(method, rows, outputs, samples, noise, seed):
    """The fixed point is the posterior covariance of a linear model, mode by mode."""
    rng = np.random.default_rng(seed)
    s2 = spectrum_of(rng.normal(size=(samples, 60)) / 60**0.5)
    head = Head(rng.normal(size=(rows, outputs)), "linear", noise=noise)
    prior = GaussianRows(np.diag(rng.uniform(0.3, 2.0, rows)), mean=rng.normal(size=rows))
    found = matrix_state_evolution(prior, head, s2, samples=samples, inputs=60, method=method)
    W = head.scaled_weights
    modes = np.linalg.inv(prior.precision + s2[:, None, None] * (W @ W.T))
    C = (modes.sum(axis=0) + max(60 - samples, 0) * prior.covariance) / 60
    assert found.converged
    assert found.mse[-1] == pytest.approx(np.trace(C) / rows, rel=tol.LINEAR_EVOLUTION[method])


@pytest.mark.parametrize("activation, samples", [("sigmoid", 400), ("relu", 500)])
def test_the_algorithm_follows(activation, samples):
    """Test errors of four networks, each against its own state evolution."""
    inputs, d, ratios = 100, 2, []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        truth, X = rng.normal(size=(inputs, d)), rng.normal(size=(samples, inputs)) / inputs**0.5
        X_test = rng.normal(size=(3000, inputs)) / inputs**0.5
        head = Head([1.0, -0.6], activation, noise=0.002 if activation == "sigmoid" else 0.02, hidden_bias=[0.2, 0.0])
        model = MatrixVAMP(GaussianRows(np.eye(d)), X, head)
        result = model.infer(head.sample(X @ truth, rng), nodes=8, tolerance=1e-3)
        assert result.converged
        error = 1.0 + np.mean((result.predict(X_test) - head(X_test @ truth)) ** 2) / head.noise[0]
        law = matrix_state_evolution(
            model.prior, head, model.matrix.s**2, samples=samples, inputs=inputs, nodes=8, points=512
        )
        assert law.converged and law.test_error[-1] > 1.1
        ratios.append(error / law.test_error[-1])
    bar = np.std(ratios, ddof=1) / 2.0
    assert abs(np.mean(ratios) - 1.0) < 0.03 + 3.0 * bar, (ratios, bar)
    assert bar < 0.08


def test_the_algorithm_follows_at_every_iteration():
    """Without damping, both from the prior's mean; the true weights have the second moments of their law."""
    inputs, samples, d, ratios, options = 200, 600, 2, [], {"tolerance": 0.0, "iterations": 7, "damping": 0.0}
    for seed in range(8):
        rng = np.random.default_rng(seed)
        truth = np.linalg.qr(rng.normal(size=(inputs, d)))[0] * inputs**0.5
        X = rng.normal(size=(samples, inputs)) / inputs**0.5
        head = Head([1.0, -0.6], "relu", noise=0.02, hidden_bias=[0.2, 0.0])
        model = MatrixVAMP(GaussianRows(np.eye(d)), X, head)
        Y = head.sample(X @ truth, rng)
        found = model.infer(Y, nodes=8, start="prior", truth=truth, **options).trace.mse
        law = matrix_state_evolution(
            model.prior, head, model.matrix.s**2, samples=samples, inputs=inputs, nodes=8, points=512, **options
        ).mse
        assert len(found) == len(law) == 7
        ratios.append(np.array(found) / law)
    bar = np.std(ratios, axis=0, ddof=1) / len(ratios) ** 0.5
    assert np.all(np.abs(np.mean(ratios, axis=0) - 1.0) < 0.02 + 2.5 * bar) and bar.max() < 0.07, (ratios, bar)
    assert law[0] > 1.4 * law[1] > 1.6 * law[2]  # what the iterations make of it is greater than the bars


def test_informative_start_and_modes():
    head = Head([1.0, -0.6], "sigmoid", noise=0.01)
    prior = GaussianRows(np.eye(2))
    options = {"samples": 400, "inputs": 100, "nodes": 8, "points": 256}
    law = marchenko_pastur(400, 100)
    low = matrix_state_evolution(prior, head, law, **options)
    high = matrix_state_evolution(prior, head, law, start="informative", **options)
    assert high.test_error[0] < 0.98 * low.test_error[0]
    np.testing.assert_allclose(high.test_error[-1], low.test_error[-1], rtol=0.02)
    most_probable = matrix_state_evolution(prior, head, law, method="map", damping=0.5, **options)
    assert most_probable.test_error[-1] > 0.98 * low.test_error[-1]
    short = matrix_state_evolution(prior, head, law, iterations=1, **options)
    assert not short.converged and "raise `iterations`" in short.message


@pytest.mark.parametrize(
    "options, message",
    [
        ({"spectrum": np.ones(11)}, "`spectrum` must be 1 to 10 numbers"),
        ({"spectrum": np.zeros(3)}, "`spectrum` must be 1 to 10 numbers"),
        ({"prior": GaussianRows(np.eye(3))}, r"`prior` must be of rows in R\^1"),
        ({"method": "vb"}, "`method` must be one of"),
        ({"start": "truth"}, "`start` must be one of"),
        ({"points": 100}, "`points` must be a power of 2"),
        ({"damping": 1.0}, "`damping` must be a finite number"),
    ],
)
def test_errors(options, message):
    arguments = {"prior": GaussianRows(np.eye(1)), "spectrum": np.ones(5)} | options
    prior, spectrum = arguments.pop("prior"), arguments.pop("spectrum")
    with pytest.raises(ValueError, match=message):
        matrix_state_evolution(prior, Head([1.0], noise=0.1), spectrum, samples=10, inputs=20, **arguments)
