"""Sparse regression with a product, y = W¹ (W⁰ x + hidden noise) + noise: the claims of [ML, section IV]."""

import numpy as np
import pytest

from factorgraph.channels import Identity, Sign
from factorgraph.priors import Binary, GaussBernoulli, Gaussian
from models import (
    GLM,
    Ensemble,
    MarchenkoPastur,
    MultiLayerGLM,
    algorithmic_threshold,
    information_threshold,
    state_evolution,
)

DENSITY = 0.3
#: Fixed points to 1e-10, averages by quadrature to 1e-8.
FIXED = 1e-6


def product(middle: float, measured: float, noise: float, hidden: float = 0.0) -> Ensemble:
    """Hidden units and measurements per signal component."""
    return Ensemble(GaussBernoulli(DENSITY), [Identity(hidden), Identity(noise)], [middle, measured / middle])


@pytest.fixture(scope="module")
def compressed_sensing() -> float:
    """Measurements per component from which one matrix of independent entries is enough."""
    return algorithmic_threshold(
        lambda ratio: Ensemble(GaussBernoulli(DENSITY), [Identity(1e-10)], [ratio]), 0.3, 0.9, xtol=1e-3
    )


@pytest.mark.parametrize(
    ("middle", "measured", "found"),
    [
        (0.05, 0.05, True), (0.05, 1.0, True), (1.0, 0.05, True),
        (-0.05, 1.0, False), (1.0, -0.05, False), (-0.05, 0.05, False), (0.05, -0.05, False),
    ],
)  # fmt: skip
def test_without_noise_both_ratios_must_exceed_that_of_compressed_sensing(compressed_sensing, middle, measured, found):
    """Distances from it; 1 is far above."""
    model = product(compressed_sensing + middle, compressed_sensing + measured, 1e-10)
    error = state_evolution(model, iterations=20_000, tolerance=1e-8).mse[-1, 0]
    assert (error < 1e-6 * DENSITY) == found and (found or error > 1e-3)


@pytest.mark.parametrize(("middle", "measured", "noise"), [(0.7, 0.6, 1e-2), (1.4, 0.5, 0.1), (0.4, 0.9, 1e-3)])
def test_the_fixed_point_has_the_r_transform_of_the_product(middle, measured, noise):
    """A = R(-V) for FᵀF/noise of F = W¹ W⁰, where R(-V) = 1/V - γ at tr(FᵀF/noise + γ)⁻¹ = V.

    With eigenvalues c of W¹ᵀW¹/noise, V = 1/(γ + ratio E[c/(1 + cV)]) [Silverstein, Bai 1995], which leaves R in closed
    form; and from the eigenvalues of a matrix by its definition.
    """
    run = state_evolution(product(middle, measured, noise), iterations=20_000, tolerance=1e-10)
    V, A = run.overlaps[0].variance, run.fields[0].precision
    values, weights = MarchenkoPastur().eigenvalues(measured / middle)
    assert pytest.approx(middle * np.sum(weights * values / (noise + values * V)), rel=FIXED) == A
    n, rng = 600, np.random.default_rng(0)
    rows = [round(middle * n), round(measured * n)]
    F = rng.standard_normal((rows[1], rows[0])) @ rng.standard_normal((rows[0], n)) / (n * rows[0]) ** 0.5
    squares = np.zeros(n)
    squares[: min(F.shape)] = np.linalg.svd(F, compute_uv=False)[:n] ** 2
    low, high = 1e-12, 1.0 / V
    for _ in range(200):
        gamma = 0.5 * (low + high)
        low, high = (gamma, high) if np.mean(1.0 / (squares / noise + gamma)) > V else (low, gamma)
    assert pytest.approx(1.0 / V - gamma, rel=0.03) == A  # traces of matrices of this size vary by 1/n


def errors(hidden: float, seeds: int = 4, size: int = 500) -> np.ndarray:
    """Squared errors (seeds, 3) of ML-AMP, of VAMP on the product, and of AMP layer by layer."""
    noise, found = 1e-3, []
    model = product(1.2, 0.9, noise, hidden)
    for seed in range(seeds):
        sample = model.sample(size, seed)
        W0, W1 = sample.weights
        x, y = sample.signals[0], sample.y
        whole = MultiLayerGLM(model.prior, sample.weights, model.channels).infer(y)
        total = noise + hidden * float(np.sum(W1**2)) / len(W1)  # of the outputs, if it were white
        vamp = GLM(model.prior, W1 @ W0, Identity(total)).infer(y, closure="vamp")
        first = GLM(Gaussian(0.0, 1.0 / (DENSITY + hidden)), W1, Identity(noise)).infer(y).signal
        second = GLM(model.prior, W0, Identity(hidden + float(first.variance.mean()))).infer(first.mean)
        found.append([np.mean((run.signal.mean - x) ** 2) for run in (whole, vamp, second)])
    return np.array(found)


def test_hidden_noise_tells_the_algorithms_apart():
    """Without it VAMP on the product has the error of ML-AMP, with it a greater one; so have layers one by one."""
    clean, noisy = errors(0.0), errors(0.05)
    np.testing.assert_allclose(clean[:, 1], clean[:, 0], rtol=0.02)
    assert np.all(clean[:, 2] > 5.0 * clean[:, 0])
    assert np.all(noisy[:, 1] > 1.02 * noisy[:, 0])
    assert np.all(noisy[:, 2] > 1.1 * noisy[:, 0])
    law = state_evolution(product(1.2, 0.9, 1e-3, 0.05)).mse[-1, 0]
    assert np.mean(noisy[:, 0]) == pytest.approx(law, rel=0.15)


def test_correlated_patterns_need_more_examples_than_random_ones():
    """y = sign(W¹ W⁰ x): the information-theoretic threshold falls towards that of random patterns with directions."""

    def threshold(middle: float | None, low: float, high: float) -> float:
        def family(ratio: float) -> Ensemble:
            if middle is None:
                return Ensemble(Binary(), [Sign()], [ratio])
            return Ensemble(Binary(), [Identity(), Sign()], [middle, ratio / middle])

        return information_threshold(family, low, high, xtol=1e-2)

    random = threshold(None, 1.1, 1.4)
    assert random == pytest.approx(1.249, abs=0.01)
    several, few = threshold(4.0, 1.1, 1.4), threshold(1.0, 1.2, 1.8)
    assert random + 0.02 < several < few
