"""Posterior modes by AMP and VAMP: the conditions of a minimum, other programs' minimisers, the path of LASSO."""

import numpy as np
import pytest
from scipy.optimize import nnls
from scipy.special import expit

from factorgraph.channels import Identity, Logistic, Sign
from factorgraph.iteration import Status
from factorgraph.priors import Binary, Exponential, Gaussian, Laplace, Positive
from models import GLM, lasso_path
from models.inference.lasso import duality_gap

#: Relative to |y|²/2, of estimates that change by less than 1e-10: the gap of one support is of that order.
GAP = 1e-8
#: Of coefficients of order 1, likewise: 1e-10 over one minus the rate of convergence.
SAME = 1e-6
RUN = {"maximum": True, "tolerance": 1e-10, "iterations": 3000}


def regression(samples: int, features: int, correlation: float, seed: int):
    """Correlated columns, one coefficient in ten not 0, a little noise."""
    rng = np.random.default_rng(seed)
    C = correlation ** np.abs(np.subtract.outer(np.arange(features), np.arange(features)))
    X = rng.standard_normal((samples, features)) @ np.linalg.cholesky(C).T / features**0.5
    w = np.where(rng.random(features) < 0.1, 3.0 * rng.standard_normal(features), 0.0)
    return X, X @ w + 0.1 * rng.standard_normal(samples)


@pytest.mark.parametrize(("samples", "features", "correlation"), [(100, 200, 0.0), (120, 60, 0.0), (60, 90, 0.5)])
@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
def test_lasso_has_no_duality_gap(samples, features, correlation, share):
    X, y = regression(samples, features, correlation, 0)
    penalty = share * np.max(np.abs(X.T @ y)) / samples
    result = GLM(Laplace(1.0 / (penalty * samples)), X, Identity(1.0)).infer(y, **RUN)
    w = result.signal.mean
    assert result.converged and 0 < np.count_nonzero(w) < features
    assert -1e-14 < duality_gap(X, y, w, penalty) < GAP
    sklearn = pytest.importorskip("sklearn.linear_model")
    other = sklearn.Lasso(alpha=penalty, fit_intercept=False, tol=1e-12, max_iter=100_000).fit(X, y).coef_
    np.testing.assert_allclose(w, other, atol=SAME)
    density = -0.5 * np.sum((y - X @ w) ** 2) - 0.5 * samples * np.log(2 * np.pi)
    density -= penalty * samples * np.abs(w).sum() - features * np.log(0.5 * penalty * samples)
    assert result.free_entropy == pytest.approx(density, rel=1e-9)


def ill_conditioned(samples: int, features: int, condition: float, seed: int):
    """Singular values in geometric progression, in general directions."""
    rng = np.random.default_rng(seed)
    U, _, Vt = np.linalg.svd(rng.standard_normal((samples, features)), full_matrices=False)
    X = U * np.geomspace(1.0, 1.0 / condition, min(samples, features)) @ Vt
    z = X @ np.where(rng.random(features) < 0.1, 3.0 * rng.standard_normal(features), 0.0)
    return X, z + 0.01 * np.std(z) * rng.standard_normal(samples)


#: Likes of which AMP solves in up to 2342 iterations with damping of up to 0.95, or not in 3000.
HARD = {
    "correlation 0.9": lambda: regression(60, 90, 0.9, 0),
    "correlation 0.99": lambda: regression(60, 40, 0.99, 0),
    "condition 100": lambda: ill_conditioned(60, 90, 1e2, 0),
    "condition 10000": lambda: ill_conditioned(90, 40, 1e4, 0),
}


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
def test_vamp_solves_lasso_for_columns_that_are_not_independent(name, share):
    X, y = HARD[name]()
    noise, penalty = float(y @ y) / len(y), share * np.max(np.abs(X.T @ y)) / len(y)
    model = GLM(Laplace(noise / (penalty * len(y))), X, Identity(noise))
    result = model.infer(y, closure="vamp", **RUN)
    w = result.signal.mean
    assert result.converged and 0 < np.count_nonzero(w) < w.size
    assert -1e-14 < duality_gap(X, y, w, penalty) < GAP
    density = -0.5 * np.sum((y - X @ w) ** 2) / noise - 0.5 * len(y) * np.log(2 * np.pi * noise)
    density -= np.abs(w).sum() / model.prior.scale + w.size * np.log(2.0 * model.prior.scale)
    assert result.free_entropy == pytest.approx(density, rel=1e-9)
    sklearn = pytest.importorskip("sklearn.linear_model")
    other = sklearn.Lasso(alpha=penalty, fit_intercept=False, tol=1e-12, max_iter=1_000_000).fit(X, y).coef_
    np.testing.assert_allclose(w, other, atol=SAME)


@pytest.mark.parametrize("shape", [(100, 200), (120, 60)])
@pytest.mark.parametrize("correlation", [0.9, 0.99])
def test_what_amp_has_converged_to_there_is_a_minimum(shape, correlation):
    """All coefficients rest at 0 while strongly damped messages come back from where they had gone."""
    X, y = regression(*shape, correlation, 0)
    noise, penalty = float(y @ y) / len(y), 0.5 * np.max(np.abs(X.T @ y)) / len(y)
    result = GLM(Laplace(noise / (penalty * len(y))), X, Identity(noise)).infer(y, **RUN)
    assert not result.converged or duality_gap(X, y, result.signal.mean, penalty) < GAP


@pytest.mark.parametrize("seed", range(6))
def test_what_vamp_has_converged_to_is_a_minimum(seed):
    """Of random shapes, units and correlations, from the minimum of another penalty, undamped or damped."""
    rng = np.random.default_rng(seed)
    samples, features = rng.integers(1, 40, 2)
    X, y = regression(samples, features, float(rng.uniform(0.0, 0.99)), seed)
    w = np.zeros(features)
    for penalty in np.max(np.abs(X.T @ y)) * np.array([1.5, 0.7, 0.2, 0.02]):
        model = GLM(Laplace(float(y @ y) / penalty), X, Identity(float(y @ y)))
        result = model.infer(y, maximum=True, closure="vamp", start=w, tolerance=1e-8, iterations=400)
        assert not result.converged or duality_gap(X, y, result.signal.mean, penalty / samples) < 1e-5
        w = result.signal.mean if result.status is not Status.DIVERGED else w


def test_several_samples_have_the_modes_of_each():
    X, y = HARD["condition 100"]()
    Y = np.stack([y, -0.5 * y[::-1]], axis=1)
    model = GLM(Laplace(0.3), X, Identity(0.01))
    together = model.infer(Y, closure="vamp", **RUN).signal
    for column, each in zip(Y.T, together.mean.T, strict=True):
        np.testing.assert_allclose(model.infer(column, closure="vamp", **RUN).signal.mean, each, atol=SAME)


@pytest.mark.parametrize("closure", ["amp", "vamp"])
def test_the_path_of_lasso(closure):
    X, y = regression(80, 120, 0.3, 1)
    path = lasso_path(X, y, count=12, smallest=0.01, closure=closure)
    assert path.converged and path.gaps.max() < 1e-6
    assert np.abs(path.coefficients[0]).max() < SAME and np.count_nonzero(path.coefficients[-1]) > 20
    sizes = np.abs(path.coefficients).sum(axis=1)
    assert np.all(np.diff(sizes) > 0)
    sklearn = pytest.importorskip("sklearn.linear_model")
    _, other, _ = sklearn.lasso_path(X, y, alphas=path.penalties, tol=1e-12, max_iter=100_000)
    np.testing.assert_allclose(path.coefficients.T, other, atol=1e-4)
    again = lasso_path(X, y, path.penalties[[5, 2]], closure=closure)
    np.testing.assert_allclose(again.coefficients, path.coefficients[[2, 5]], atol=1e-5)


@pytest.mark.parametrize(("of_X", "of_y"), [(1e-9, 1.0), (1e9, 1.0), (1.0, 1e-9), (1.0, 1e9), (1e-30, 1e30)])
def test_units_are_of_no_account_to_the_path_of_lasso(of_X, of_y):
    X, y = regression(40, 30, 0.3, 1)
    path, other = (lasso_path(a * X, b * y, count=10, smallest=0.01) for a, b in ((1.0, 1.0), (of_X, of_y)))
    assert other.converged and other.gaps.max() < 1e-6
    np.testing.assert_allclose(other.penalties, of_X * of_y * path.penalties, rtol=1e-12)
    np.testing.assert_allclose(other.coefficients * (of_X / of_y), path.coefficients, atol=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_what_has_converged_is_a_minimum_for_a_single_sample_too(seed):
    """There the first steps can leave the one active coefficient where it is while the messages still change."""
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((1, 30)) / 30**0.5, rng.standard_normal(1)
    w = np.zeros(30)
    for penalty in np.max(np.abs(X.T @ y)) * np.geomspace(0.9, 0.05, 10):
        model = GLM(Laplace(float(y @ y) / penalty), X, Identity(float(y @ y)))
        result = model.infer(y, maximum=True, start=w, iterations=300)
        assert not result.converged or duality_gap(X, y, result.signal.mean, penalty) < 1e-4
        w = result.signal.mean if result.status is not Status.DIVERGED else w


@pytest.mark.parametrize(("closure", "correlation"), [("amp", 0.0), ("vamp", 0.9)])
def test_ridge_and_coefficients_that_are_not_negative(closure, correlation):
    X, y = regression(90, 60, correlation, 2)
    ridge = GLM(Gaussian(0.0, 0.3), X, Identity(0.5)).infer(y, closure=closure, **RUN).signal.mean
    np.testing.assert_allclose(ridge, np.linalg.solve(X.T @ X / 0.5 + 0.3 * np.eye(60), X.T @ y / 0.5), atol=SAME)
    known = GLM(Positive(0.0, 1.0 / 0.3), X, Identity(0.5)).infer(y, closure=closure, **RUN).signal.mean
    rows = np.vstack([X / 0.5**0.5, 0.3**0.5 * np.eye(60)])
    np.testing.assert_allclose(known, nnls(rows, np.concatenate([y / 0.5**0.5, np.zeros(60)]))[0], atol=SAME)
    assert np.any(known == 0.0) and np.all(known >= 0.0)


@pytest.mark.parametrize("prior", [Laplace(0.5), Exponential(0.5), Gaussian(0.0, 0.2)], ids=str)
@pytest.mark.parametrize("channel", [Identity(0.2), Logistic(0.4, 0.1)], ids=str)
@pytest.mark.parametrize(("closure", "correlation"), [("amp", 0.0), ("vamp", 0.8)])
def test_gradients_vanish_at_the_mode(prior, channel, closure, correlation):
    """Xᵀ ∂ log P(y|z) is minus the slope of log q where w is not 0, and within its jump where it is."""
    X, z = regression(150, 80, correlation, 3)
    y = channel.sample(3.0 * z, np.random.default_rng(0))
    result = GLM(prior, X, channel).infer(y, closure=closure, **RUN)
    w = result.signal.mean
    assert result.converged and np.abs(w).max() > 0.1
    if isinstance(channel, Identity):
        slope = X.T @ (y - X @ w) / channel.noise
    else:
        slope = X.T @ (y * expit(-y * (X @ w - channel.threshold) / channel.temperature)) / channel.temperature
    if isinstance(prior, Gaussian):
        np.testing.assert_allclose(slope, prior.precision * w, atol=SAME)
        return
    on = w != 0.0
    assert 0 < on.sum() < w.size
    np.testing.assert_allclose(slope[on], np.sign(w[on]) / prior.scale, atol=SAME)
    assert np.all(slope[~on] <= 1.0 / prior.scale + SAME)
    if isinstance(prior, Laplace):
        assert np.all(slope[~on] >= -1.0 / prior.scale - SAME)


@pytest.mark.parametrize("prior", [Laplace(0.7), Exponential(0.7), Gaussian(0.4, 2.0), Positive(-0.4, 0.6)], ids=str)
def test_maxima_of_priors(prior):
    """max_w [log q(w) + Hw - Gw²/2] on a fine grid; its place is the derivative of that, and the slope that of it."""
    w = np.linspace(-6.0, 6.0, 480_001)
    cut = w >= 0.0 if isinstance(prior, (Exponential, Positive)) else np.ones_like(w, dtype=bool)
    log_q = {
        Laplace: lambda: -np.abs(w) / 0.7 - np.log(1.4),
        Exponential: lambda: -w / 0.7 - np.log(0.7),
        Gaussian: lambda: -((w - 0.4) ** 2) - 0.5 * np.log(np.pi),
        Positive: lambda: -((w + 0.4) ** 2) / 1.2 - np.log(np.trapezoid(np.exp(-((w[cut] + 0.4) ** 2) / 1.2), w[cut])),
    }[type(prior)]()
    for H in (-3.1, -1.0, 0.3, 2.7):
        psi, place, slope = prior.maximum(H=H, G=1.3)
        values = np.where(cut, log_q + H * w - 0.65 * w * w, -np.inf)
        assert psi == pytest.approx(values.max(), abs=1e-8) and place == pytest.approx(w[values.argmax()], abs=3e-5)
        low, high = (prior.maximum(H=H + step, G=1.3) for step in (-1e-5, 1e-5))
        assert (high.psi - low.psi) / 2e-5 == pytest.approx(place, abs=1e-8)
        assert (high.mean - low.mean) / 2e-5 == pytest.approx(slope, abs=1e-8)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (GLM(Binary(), np.eye(3), Identity(0.1)), {}, "`maximum` must be False for the prior Binary"),
        (GLM(Laplace(), np.eye(3), Sign()), {}, r"`maximum` must be False for the output Sign\(\)"),
        (GLM(Laplace(), np.eye(3), Identity()), {}, "`noise` must be > 0 for a maximum, got 0.0"),
        (
            GLM(Laplace(), np.eye(3), Identity(0.1)),
            {"closure": "mf"},
            "`closure` must be 'amp' or 'vamp' for a maximum, got 'mf'",
        ),
    ],
    ids=["atoms", "hard", "noiseless", "mean field"],
)
def test_what_has_no_maximum_is_refused(model, options, message):
    with pytest.raises(ValueError, match=message):
        model.infer(np.ones(3), maximum=True, **options)
