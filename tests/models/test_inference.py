"""Inference with known weights: against exact posteriors, state evolution, training, and other closures."""

import numpy as np
import pytest
import tolerances as tol
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from deepnet.lower import lower
from deepnet.network import perceptron
from deepnet.sweep import Update, initial_layers, train_batch
from factorgraph.channels import Absolute, Heaviside, Identity, Numeric, Poisson, Probit, ReLU, Sign
from factorgraph.dense.numpy_operations import NumpyOperations
from factorgraph.priors import Binary, Exponential, GaussBernoulli, Gaussian, Laplace, Mixture
from models import GLM, Ensemble, MultiLayerGLM, fixed_point_free_entropy, learn, state_evolution


def infer(model, n, seed=0, **options):
    sample = model.sample(n, seed)
    glm = MultiLayerGLM(model.prior, sample.weights, model.channels)
    return glm.infer(sample.y, truth=sample.signals, **options), sample


# ---- exact answers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_linear_gaussian_posterior_and_evidence(ratio):
    """Means to the tolerance of the stop, variances and log-evidence to the finite-size error O(1/N)."""
    result, sample = infer(Ensemble(Gaussian(), [Identity(0.1)], [ratio]), 1000, tolerance=1e-10)
    W, y = sample.weights[0], sample.y
    covariance = np.linalg.inv(np.eye(1000) + W.T @ W / 0.1)
    evidence = W @ W.T + 0.1 * np.eye(len(y))
    log_evidence = -0.5 * (np.linalg.slogdet(2 * np.pi * evidence)[1] + y @ np.linalg.solve(evidence, y))
    assert result.converged
    np.testing.assert_allclose(result.signal.mean, covariance @ W.T @ y / 0.1, atol=1e-7)
    np.testing.assert_allclose(result.signal.variance, np.diag(covariance), rtol=0.3)
    assert result.signal.variance.mean() == pytest.approx(np.trace(covariance) / 1000, rel=5e-3)
    assert result.free_entropy == pytest.approx(log_evidence, rel=3e-3)


def test_product_of_two_matrices_is_one_linear_model():
    result, sample = infer(Ensemble(Gaussian(), [Identity(), Identity(0.1)], [1.5, 0.6]), 800, tolerance=1e-10)
    W = sample.weights[1] @ sample.weights[0]
    covariance = np.linalg.inv(np.eye(800) + W.T @ W / 0.1)
    mean = covariance @ W.T @ sample.y / 0.1
    assert result.converged
    np.testing.assert_allclose(result.signal.mean, mean, atol=1e-6)
    np.testing.assert_allclose(result.hidden[0].mean, sample.weights[0] @ mean, atol=1e-6)
    hidden_covariance = sample.weights[0] @ covariance @ sample.weights[0].T
    assert result.hidden[0].variance.mean() == pytest.approx(np.diag(hidden_covariance).mean(), rel=1e-2)
    evidence = W @ W.T + 0.1 * np.eye(len(sample.y))
    log_evidence = -0.5 * (np.linalg.slogdet(2 * np.pi * evidence)[1] + sample.y @ np.linalg.solve(evidence, sample.y))
    assert result.free_entropy == pytest.approx(log_evidence, rel=5e-3)


def test_a_small_binary_model_against_enumeration():
    """12 spins, strong noise: relaxed messages are right to a few percent, and BP at least as right as mean field."""
    rng = np.random.default_rng(0)
    W = rng.standard_normal((24, 12)) / 12**0.5
    spins = np.array(np.meshgrid(*[[-1.0, 1.0]] * 12)).reshape(12, -1)
    y = np.sign(W @ spins[:, 7] + rng.standard_normal(24))
    channel = Probit(1.0)
    log_p = channel.observe(y[:, None], omega=W @ spins, V=1e-12).phi.sum(axis=0)
    p = np.exp(log_p - log_p.max())
    exact = spins @ p / p.sum()
    log_evidence = log_p.max() + np.log(p.mean())
    errors = {}
    for closure in ("amp", "bp", "mf"):
        result = GLM(Binary(), W, channel).infer(y, closure=closure, damping=0.3)
        assert result.converged
        errors[closure] = np.abs(result.signal.mean - exact).max()
        if closure != "mf":
            assert result.free_entropy == pytest.approx(log_evidence, rel=tol.SMALL_MODEL)
    assert errors["amp"] < 0.06 and errors["bp"] < 0.06 and errors["mf"] > errors["bp"]
    assert np.abs(exact).max() > 0.5


# ---- state evolution -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "n"),
    [
        (Ensemble(GaussBernoulli(0.2), [Identity(1e-4)], [0.6]), 4000),
        (Ensemble(Binary(), [Sign()], [1.2]), 4001),
        (Ensemble(GaussBernoulli(0.3), [ReLU(), Identity(0.01)], [1.5, 1.0]), 4000),
        (Ensemble(Binary(), [Sign(), Sign()], [0.8, 1.0]), 4001),
    ],
    ids=["sparse", "perceptron", "relu", "signs"],
)
def test_instances_follow_state_evolution_at_every_iteration(model, n):
    theory = state_evolution(model, iterations=8)
    steps = len(theory.mse)
    runs = [infer(model, n, seed, damping=0.0, iterations=steps)[0] for seed in range(2)]
    mse = np.array([run.trace.mse for run in runs])
    overlap = np.array([run.trace.overlap for run in runs])
    moments = np.array(model.second_moments)
    spread = tol.INSTANCE * (4000 / n) ** 0.5 * moments
    assert theory.mse[-1, 0] < 0.8 * theory.mse[0, 0]
    assert np.all(np.abs(mse.mean(axis=0) - theory.mse) < spread)
    assert np.all(np.abs(overlap.mean(axis=0) - theory.overlap) < 2 * spread)


def test_free_entropy_of_an_instance_follows_theory():
    relu = Ensemble(GaussBernoulli(0.3), [ReLU(), Identity(0.05)], [1.5, 1.0])
    for model in (Ensemble(Binary(), [Sign()], [0.8]), relu):
        values = []
        for seed in range(3):
            result, _ = infer(model, 1000, seed)
            assert result.converged
            values.append(result.free_entropy / 1000)
        theory = fixed_point_free_entropy(model, state_evolution(model))
        assert np.mean(values) == pytest.approx(theory, abs=0.03) and abs(theory) > 0.3


# ---- one AMP ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tau", [1, 2, 5])
def test_training_a_perceptron_is_inference_of_its_weights(tau):
    """Free weights and observed inputs, or a free signal and an observed matrix: the same sweeps and marginals."""
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((61, 40)), rng.choice([-1.0, 1.0], size=40)
    operations = NumpyOperations()
    layers = initial_layers(lower(perceptron([61, 1]), "amp"), eps_init=0.0, rng=rng, dtype=np.float64)
    with operations.running():
        train_batch(layers, x, y[None], [Update(rho=1.0)], operations=operations, tau=tau)
    result = GLM(Binary(), x.T, Sign()).infer(y, damping=0.0, iterations=tau + 1, tolerance=0.0)
    assert np.abs(layers[0].mean).max() > 0.3
    np.testing.assert_allclose(result.signal.mean, layers[0].mean[0], rtol=tol.READINGS, atol=tol.READINGS)
    np.testing.assert_allclose(result.signal.variance, layers[0].variance[0], rtol=tol.READINGS)


def test_amp_and_bp_agree_at_large_sizes():
    model = Ensemble(GaussBernoulli(0.3), [ReLU(), Identity(0.05)], [1.5, 1.0])
    (amp, _), (bp, _) = (infer(model, 200, closure=closure, damping=0.2) for closure in ("amp", "bp"))
    assert amp.converged and bp.converged
    assert np.abs(amp.signal.mean).max() > 1
    for a, b in zip((amp.signal, *amp.hidden), (bp.signal, *bp.hidden), strict=True):
        assert np.sqrt(np.mean((a.mean - b.mean) ** 2)) < 0.05
    assert amp.free_entropy == pytest.approx(bp.free_entropy, rel=0.05)


# ---- matrices --------------------------------------------------------------------------------------------------------


def test_sparse_and_implicit_matrices_equal_dense_ones():
    rng = np.random.default_rng(0)
    W = rng.standard_normal((300, 400)) * (rng.random((300, 400)) < 0.1) / 40**0.5
    x = GaussBernoulli(0.2).sample(400, rng)
    y = W @ x + 0.05 * rng.standard_normal(300)
    channel = Identity(0.0025)
    dense = GLM(GaussBernoulli(0.2), W, channel).infer(y)
    for other in (sparse.csr_matrix(W), sparse.coo_array(W)):
        result = GLM(GaussBernoulli(0.2), other, channel).infer(y)
        np.testing.assert_allclose(result.signal.mean, dense.signal.mean, atol=1e-9)
    uniform = GLM(GaussBernoulli(0.2), W, channel, mean_square=1 / 400).infer(y)
    implicit = GLM(GaussBernoulli(0.2), aslinearoperator(W), channel, mean_square=1 / 400).infer(y)
    assert dense.converged and uniform.converged and np.abs(dense.signal.mean).max() > 1
    np.testing.assert_allclose(implicit.signal.mean, uniform.signal.mean, atol=1e-9)
    assert np.abs(uniform.signal.mean - dense.signal.mean).max() > 1e-6  # another approximation
    few = W[:60, :80]
    bp = [GLM(Gaussian(), w, channel).infer(y[:60], closure="bp").signal.mean for w in (few, sparse.csr_matrix(few))]
    np.testing.assert_allclose(bp[0], bp[1], atol=1e-9)


def test_a_cosine_transform_of_a_hundred_thousand_components():
    """Rows of a fast transform, which is never stored."""
    from scipy.fft import dct, idct

    n, m = 100_000, 60_000
    rng = np.random.default_rng(0)
    rows = rng.permutation(n)[:m]
    signs = rng.choice([-1.0, 1.0], size=n)
    scale = 1.0

    def forward(x):
        return scale * dct(signs * x.ravel(), norm="ortho")[rows]

    def backward(g):
        full = np.zeros(n)
        full[rows] = g.ravel()
        return scale * signs * idct(full, norm="ortho")

    W = LinearOperator((m, n), matvec=forward, rmatvec=backward, dtype=np.float64)
    prior = GaussBernoulli(0.1)
    x = prior.sample(n, rng)
    y = W @ x + 0.01 * rng.standard_normal(m)
    result = GLM(prior, W, Identity(1e-4), mean_square=1 / n).infer(y, truth=x, damping=0.1)
    assert result.converged and result.mse is not None
    assert result.mse[0] < 3e-4 and np.mean(x**2) > 0.05


def test_several_outputs_are_as_many_inferences():
    model = Ensemble(GaussBernoulli(0.3), [ReLU(), Identity(0.05)], [1.5, 1.0])
    sample = model.sample(200, 0)
    glm = MultiLayerGLM(model.prior, sample.weights, model.channels)
    other = sample.y[::-1].copy()
    together = glm.infer(np.stack([sample.y, other], axis=1), damping=0.3, iterations=30, tolerance=0.0)
    for i, y in enumerate((sample.y, other)):
        alone = glm.infer(y, damping=0.3, iterations=30, tolerance=0.0)
        np.testing.assert_allclose(together.signal.mean[:, i], alone.signal.mean, atol=1e-9)
    assert together.hidden[0].variance.shape == (300, 2)


# ---- convergence -----------------------------------------------------------------------------------------------------

HARD_FOR_OTHERS = {
    "abs hidden": (Ensemble(GaussBernoulli(0.3, 1.0), [Absolute(), Identity(0.01)], [2.0, 1.0]), {}, 0.02),
    "little noise": (Ensemble(GaussBernoulli(0.2), [Identity(1e-8)], [0.6]), {}, 1e-7),
    "no noise": (Ensemble(GaussBernoulli(0.2), [Identity()], [0.6]), {}, 1e-10),
    "perceptron": (Ensemble(Binary(), [Sign()], [1.7]), {}, 1e-3),
    "phase retrieval": (Ensemble(GaussBernoulli(0.3), [Absolute()], [2.0]), {"start": "random", "rng": 1}, 1e-8),
    "heaviside": (Ensemble(Binary(), [Heaviside(), Identity(0.01)], [2.0, 1.0]), {}, 0.05),
    "laplace": (Ensemble(Laplace(1.0), [Identity(0.1)], [1.0]), {}, 0.5),
    "counts": (Ensemble(Gaussian(), [Poisson()], [3.0]), {}, 0.5),
    "atoms": (Ensemble(Mixture([-1, 0, 1], [1, 2, 1]), [Identity(0.01)], [0.8]), {}, 1e-3),
}


@pytest.mark.parametrize("name", HARD_FOR_OTHERS)
def test_converges_without_tuning_and_no_worse_than_with_constant_damping(name):
    model, options, error = HARD_FOR_OTHERS[name]
    result, sample = infer(model, 600, **options)
    assert result.converged, result.message

    def mse(run):
        x = sample.signals[0]
        return min(np.mean((run.signal.mean - x) ** 2), np.mean((run.signal.mean + x) ** 2))

    assert mse(result) < error
    for damping in (0.0, 0.5):
        constant, _ = infer(model, 600, damping=damping, **options)
        assert mse(result) <= 1.01 * mse(constant) + 1e-9


@pytest.mark.parametrize("name", HARD_FOR_OTHERS)
def test_what_comes_after_the_stop_changes_nothing(name):
    model, options, _ = HARD_FOR_OTHERS[name]
    (stopped, _), (fine, _) = (infer(model, 300, tolerance=tolerance, **options) for tolerance in (1e-6, 1e-10))
    assert stopped.converged and fine.converged and stopped.iterations <= fine.iterations
    scale = np.sqrt(np.mean(fine.signal.mean**2))
    assert scale > 0.1
    assert np.sqrt(np.mean((stopped.signal.mean - fine.signal.mean) ** 2)) < tol.STOPPED * scale


def test_certainty_of_a_wrong_signal_is_not_convergence():
    """Undamped, this instance stops at estimates without variance that the output contradicts."""
    model, options, _ = HARD_FOR_OTHERS["phase retrieval"]
    constant, _ = infer(model, 400, 3, damping=0.0, **options)
    assert constant.status == "diverged" and "damping" in constant.message
    result, sample = infer(model, 400, 3, **options)
    assert result.converged
    assert min(np.mean((result.signal.mean - side * sample.signals[0]) ** 2) for side in (-1, 1)) < 1e-8


def test_stopping_does_not_fire_in_a_bottleneck():
    """Just above the spinodal the estimates hardly change for many iterations, then find the truth."""
    model = Ensemble(Binary(), [Sign()], [1.55])
    for seed in range(2):
        result, _ = infer(model, 3001, seed)
        assert result.converged and result.mse is not None
        assert result.iterations > 20 and result.mse[0] < 1e-3


@pytest.mark.parametrize("seed", [2, 20, 22])
def test_a_solution_is_not_left_again(seed):
    """Where state evolution gives no error: certain spins do not react, whatever variance their sums are given."""
    model = Ensemble(Binary(), [Identity(), Sign()], [1.233, 2.5 / 1.233])
    result, _ = infer(model, 1000, seed)
    assert result.converged and result.iterations < 50 and result.mse == (0.0, result.mse[1])


def test_divergence_is_reported_with_its_cause():
    rng = np.random.default_rng(0)
    W = rng.standard_normal((300, 500)) / 500**0.5
    x = GaussBernoulli(0.1).sample(500, rng)
    shifted = W + 0.5
    result = GLM(GaussBernoulli(0.1), shifted, Identity(1e-4)).infer(shifted @ x, iterations=300, damping=0.0)
    assert result.status in ("diverged", "not converged")
    assert "outlying mean" in result.message and "remove" in result.message
    bad = W @ np.diag(np.logspace(0, -4, 500)[rng.permutation(500)]) @ np.linalg.qr(rng.standard_normal((500, 500)))[0]
    result = GLM(GaussBernoulli(0.1), bad, Identity(1e-8)).infer(bad @ x, iterations=200, damping=0.0)
    assert not result.converged and "VAMP" in result.message


def test_the_callback_stops():
    model = Ensemble(Binary(), [Sign()], [1.2])
    result, _ = infer(model, 500, callback=lambda iteration, chain: iteration == 3)
    assert result.status == "stopped" and result.iterations == 3


def test_the_description_says_what_is_observed():
    glm = GLM(Binary(), np.eye(3), Sign())
    text = str(glm.description())
    assert "x0[units0, samples] ~ Binary" in text and "W0[units1, units0] observed" in text and "y ~ Sign" in text


# ---- wrong arguments -------------------------------------------------------------------------------------------------

EYE = np.eye(4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MultiLayerGLM(Binary(), [], []), "`channels` must be one per matrix"),
        (lambda: MultiLayerGLM(Binary(), [EYE], [Sign(), Sign()]), "`weights` must be one per channel"),
        (lambda: MultiLayerGLM(Binary(), [EYE, EYE[:, :3]], [Sign(), Sign()]), r"`weights\[1\]` must have 4 columns"),
        (lambda: GLM(Binary(), np.ones(3), Sign()), r"`weights` must be a matrix"),
        (lambda: GLM(Binary(), EYE * np.nan, Sign()), r"`weights` must be finite numbers"),
        (lambda: GLM(Binary(), aslinearoperator(EYE), Sign()), "`mean_square` must be given"),
        (lambda: GLM(Binary(), EYE, Sign(), mean_square=-1.0), "`mean_square` must be a finite number > 0"),
        (lambda: MultiLayerGLM(Binary(), [EYE], [Sign()], mean_square=[1.0, 2.0]), "`mean_square` must be one or 1"),
        (lambda: GLM(Binary(), EYE, Sign()).infer(np.ones(3)), r"`y` must be outputs of shape \(4,\)"),
        (lambda: GLM(Binary(), EYE, Sign()).infer(np.zeros(4)), "`y` must be -1 or \\+1, got 0"),
        (lambda: GLM(Binary(), EYE, Identity()).infer(np.full(4, np.nan)), "`y` must be finite numbers, got nan"),
        (lambda: GLM(Binary(), EYE, Poisson()).infer(np.full(4, 0.5)), "`y` must be integers >= 0"),
        (lambda: GLM(Binary(), EYE, Numeric(np.tanh)).infer(np.full(4, 0.5)), "`noise` must be > 0"),
        (lambda: GLM(Gaussian(), np.ones((3, 1)), Identity()).infer([1.0, 2.0, 3.0]), "`y` must be W x for some x"),
        (lambda: GLM(Binary(), EYE, Sign()).infer(np.ones(4), closure="ep"), "`closure` must be one of"),
        (lambda: GLM(Binary(), EYE, Sign()).infer(np.ones(4), damping=1.0), "`damping` must be 'adaptive' or"),
        (lambda: GLM(Binary(), EYE, Sign()).infer(np.ones(4), iterations=0), "`iterations` must be an integer >= 1"),
        (lambda: GLM(Binary(), EYE, Sign()).infer(np.ones(4), start="warm"), "`start` must be 'prior', 'random'"),
        (lambda: GLM(Binary(), EYE, Sign()).infer(np.ones(4), start=np.ones(3)), "`start` must be .* means"),
        (lambda: GLM(Binary(), EYE, Sign()).infer(np.ones(4), truth=np.ones(3)), "`truth` must be numbers of shape"),
        (lambda: GLM(Binary(), EYE, Sign()).infer(np.ones(4), truth=[EYE[0], EYE[0]]), "`truth` must be at most 1"),
        (
            lambda: GLM(Binary(), aslinearoperator(EYE), Sign(), mean_square=0.25).infer(np.ones(4), closure="bp"),
            r"`weights` must be an array or sparse for messages on edges",
        ),
    ],
)  # fmt: skip
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_learning_of_the_scale_of_positive_signals():
    model = Ensemble(Exponential(2.0), [Identity(0.05)], [0.9])
    sample = model.sample(1500, 0)
    found = learn(GLM(Exponential(), sample.weights[0], Identity(0.05)), sample.y, fixed=("noise",))
    assert found.converged and isinstance(found.prior, Exponential)
    assert found.prior.scale == pytest.approx(2.0, rel=0.1)
