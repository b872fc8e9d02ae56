"""Matrices that are read once an iteration: the same numbers as with one reading for each pair of products."""

import numpy as np
import pytest
import tolerances as tol
from hypothesis import given, settings
from hypothesis import strategies as st

from factorgraph.channels import Absolute, Heaviside, Identity, Numeric, Poisson, Probit, ReLU, Sign
from factorgraph.priors import Binary, GaussBernoulli, Gaussian, Laplace, Mixture
from models import Ensemble, MultiLayerGLM
from models.inference import known_products as products
from models.inference.known_products import RowFunction, product_and_adjoint

OUTPUTS = [Identity(0.1), Sign(), Probit(1.0), ReLU(), Absolute(), Heaviside(), Poisson()]
SIGNALS = [Gaussian(), GaussBernoulli(0.3), Binary(), Laplace(1.0)]


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 40),
    columns=st.sampled_from([1, 30, 3001, 7000]),
    keep=st.sampled_from([0.0, 0.4]),
    seed=st.integers(0, 99),
)
def test_there_and_back_are_four_products(rows, columns, keep, seed):
    rng = np.random.default_rng(seed)
    M, x, delta = rng.standard_normal((rows, columns)), rng.standard_normal((columns, 1)), rng.random((columns, 1))
    values, own = rng.random((4, rows)), rng.standard_normal(rows)
    formula, _ = Identity().observe_formula
    v = (M**2 @ delta)[:, 0]
    omega = keep * values[1] + (1 - keep) * ((M @ x)[:, 0] + own * v)
    V = np.maximum(keep * values[2] + (1 - keep) * v, 0.5)
    _, g, gamma = formula(values[0], omega, V, values[3])
    found = product_and_adjoint(M, x, delta, RowFunction(formula, values, 1, own, keep, 1 - keep, minimum=0.5))
    sums = found[2]
    for result, expected in [
        (values[1], omega),
        (values[2], V),
        (found[0][:, 0], g),
        (found[1][:, 0], gamma),
        (sums.first[:, 0], M.T @ g),
        (sums.second[:, 0], M.T**2 @ gamma),
    ]:
        np.testing.assert_allclose(result, expected, rtol=0, atol=tol.COMPILED * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("channel", OUTPUTS, ids=repr)
def test_the_formula_of_a_channel_is_that_of_its_output(channel):
    omega, V = np.array([-0.7, 0.3, 1.2]), np.array([0.5, 1.0, 2.0])
    y = channel(omega)
    formula, parameters = channel.observe_formula
    assert [list(r) for r in formula(y, omega, V, *parameters)] == [
        list(r) for r in channel.observe(y, omega=omega, V=V)
    ]


@pytest.mark.parametrize("prior", SIGNALS, ids=repr)
def test_the_formula_of_a_prior_is_that_of_its_moments(prior):
    H, G = np.array([-0.7, 0.0, 1.2]), np.array([0.0, 1.0, 2.0])
    formula, parameters = prior.moments_formula
    assert [list(r) for r in formula(H, G, *parameters)[-2:]] == [list(r) for r in prior.moments(H=H, G=G)]


def both_ways(monkeypatch, model, n, **options):
    """The same inference with one reading a pair of products and with one reading an iteration."""
    sample = model.sample(n, 0)
    glm = MultiLayerGLM(model.prior, sample.weights, model.channels)
    runs = []
    for size in (products.LARGE, 0):
        monkeypatch.setattr(products, "LARGE", size)
        runs.append(glm.infer(sample.y, truth=sample.signals, tolerance=0.0, **options))
    return runs


def assert_same(plain, once):
    assert np.abs(plain.signal.mean).max() > tol.SOMETHING
    assert plain.status == once.status and plain.iterations == once.iterations
    assert once.free_entropy == pytest.approx(plain.free_entropy, rel=tol.READINGS)
    np.testing.assert_allclose(once.trace.residual, plain.trace.residual, rtol=tol.READINGS, atol=tol.READINGS)
    np.testing.assert_allclose(once.mse, plain.mse, rtol=tol.READINGS)
    for a, b in zip((plain.signal, *plain.hidden, plain.output), (once.signal, *once.hidden, once.output), strict=True):
        scale = np.abs(a.mean).max()
        np.testing.assert_allclose(b.mean, a.mean, rtol=0, atol=tol.READINGS * scale)
        np.testing.assert_allclose(b.variance, a.variance, rtol=0, atol=tol.READINGS * np.abs(a.variance).max())
    for a, b in zip(plain.field, once.field, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=tol.READINGS * max(1.0, np.abs(a).max()))


@pytest.mark.parametrize("closure", ["amp", "mf", "bp"])
@pytest.mark.parametrize(
    "options",
    [{"damping": 0.0}, {"damping": 0.4}, {"damping": 0.0, "reinforcement": 0.02}, {"damping": 0.2, "start": "random"}],
    ids=str,
)
def test_every_closure_mixing_and_start(monkeypatch, closure, options):
    model = Ensemble(GaussBernoulli(0.3), [ReLU(), Identity(0.05)], [1.1, 1.3])
    plain, once = both_ways(monkeypatch, model, 61, closure=closure, iterations=5, **options)
    assert_same(plain, once)


@pytest.mark.parametrize("prior", [*SIGNALS, Mixture([-1, 0, 1], [1, 2, 1])], ids=repr)
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_every_prior_at_every_depth(monkeypatch, prior, depth):
    model = Ensemble(prior, [Identity(0.1)] * depth, [1.2] * depth)
    assert_same(*both_ways(monkeypatch, model, 45, damping=0.2, iterations=6))


@pytest.mark.parametrize("channel", [*OUTPUTS, Numeric(np.tanh, noise=0.1)], ids=lambda channel: type(channel).__name__)
def test_every_channel(monkeypatch, channel):
    model = Ensemble(Gaussian(), [Identity(0.1), channel], [1.2, 1.4])
    assert_same(*both_ways(monkeypatch, model, 30, damping=0.2, iterations=5, start="random"))


def test_the_run_that_stops_or_begins_again_is_the_same(monkeypatch):
    """Adaptive damping begins again with what is left of the run before, and a callback sees the same chain."""
    model, seen = Ensemble(Binary(), [Sign(), Sign()], [1.0, 1.0]), ([], [])
    sample = model.sample(51, 0)
    glm = MultiLayerGLM(model.prior, sample.weights, model.channels)
    for size, means in zip((products.LARGE, 0), seen, strict=True):
        monkeypatch.setattr(products, "LARGE", size)

        def look(number, chain, means=means):
            means.append([mean.copy() for mean in (*chain.means, *chain.field)])
            if number == 4:
                chain.begin(None)
            return number == 8

        assert glm.infer(sample.y, tolerance=0.0, damping=0.3, callback=look).status == "stopped"
    for a, b in zip(*seen, strict=True):
        for mean, other in zip(a, b, strict=True):
            np.testing.assert_allclose(other, mean, rtol=0, atol=tol.READINGS * max(1.0, np.abs(mean).max()))


def test_what_is_not_finite_is_reported(monkeypatch):
    model = Ensemble(GaussBernoulli(0.3), [ReLU(), Identity(0.1)], [1.0, 1.0])
    sample = model.sample(40, 0)
    glm = MultiLayerGLM(model.prior, sample.weights, model.channels)

    def spoil(number, chain):
        chain.layers[0].g = np.full_like(chain.layers[0].g, np.nan)

    for size in (products.LARGE, 0):
        monkeypatch.setattr(products, "LARGE", size)
        result = glm.infer(sample.y, damping=0.0, tolerance=0.0, callback=spoil)
        assert result.status == "diverged" and result.iterations == 2
