"""Vector approximate message passing: against exact posteriors, its state evolution, AMP, and on any kind of matrix."""

import numpy as np
import pytest
import tolerances as tol
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from factorgraph import Spectral
from factorgraph.channels import Absolute, Identity, Probit, ReLU, Sign
from factorgraph.priors import Binary, GaussBernoulli, Gaussian
from models import (
    GLM,
    Empirical,
    Ensemble,
    Geometric,
    MarchenkoPastur,
    MultiLayerGLM,
    RowOrthogonal,
    learn,
    state_evolution,
    vamp_state_evolution,
)

FAST = {"fast": True}


def infer(model, n, seed=0, source=None, **options):
    """Estimates of a draw from ``source``, by default from the model."""
    sample = (source or model).sample(n, seed)
    glm = MultiLayerGLM(model.prior, sample.weights, model.channels)
    return glm.infer(sample.y, **({"truth": sample.signals, "closure": "vamp"} | options)), sample


def array(matrix):
    return matrix @ np.eye(matrix.shape[1])


# ---- exact answers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("condition", [1.0, 1e4])
def test_linear_gaussian_posterior_and_evidence_are_exact(condition):
    result, sample = infer(Ensemble(Gaussian(0.3, 2.0), [Identity(0.01)], [0.7], [Geometric(condition)]), 120)
    W, y = array(sample.weights[0]), sample.y
    covariance = np.linalg.inv(2.0 * np.eye(120) + W.T @ W / 0.01)
    evidence = W @ W.T / 2.0 + 0.01 * np.eye(len(y))
    rest = y - W @ np.full(120, 0.3)
    log_evidence = -0.5 * (np.linalg.slogdet(2 * np.pi * evidence)[1] + rest @ np.linalg.solve(evidence, rest))
    assert result.converged and result.iterations < 5
    np.testing.assert_allclose(result.signal.mean, covariance @ (0.6 + W.T @ y / 0.01), atol=tol.SHARED)
    np.testing.assert_allclose(result.signal.variance, np.trace(covariance) / 120, rtol=tol.SHARED)
    assert result.free_entropy == pytest.approx(log_evidence, rel=tol.SHARED)


def test_products_of_matrices_have_the_exact_mean():
    model = Ensemble(Gaussian(), [Identity(), Identity(0.1)], [1.5, 0.6], [Geometric(30.0), MarchenkoPastur()])
    result, sample = infer(model, 300, tolerance=1e-11)
    W0, W1 = (array(W) for W in sample.weights)
    W = W1 @ W0
    mean = np.linalg.solve(np.eye(300) + W.T @ W / 0.1, W.T @ sample.y / 0.1)
    assert result.converged
    np.testing.assert_allclose(result.signal.mean, mean, atol=tol.SHARED)
    np.testing.assert_allclose(result.hidden[0].mean, W0 @ mean, atol=tol.SHARED)


def test_a_small_binary_model_against_enumeration():
    """As for the other closures, 12 spins and strong noise."""
    rng = np.random.default_rng(0)
    W = rng.standard_normal((24, 12)) / 12**0.5
    spins = np.array(np.meshgrid(*[[-1.0, 1.0]] * 12)).reshape(12, -1)
    y = np.sign(W @ spins[:, 7] + rng.standard_normal(24))
    log_p = Probit(1.0).observe(y[:, None], omega=W @ spins, V=1e-12).phi.sum(axis=0)
    p = np.exp(log_p - log_p.max())
    result = GLM(Binary(), W, Probit(1.0)).infer(y, closure="vamp")
    assert result.converged
    assert np.abs(result.signal.mean - spins @ p / p.sum()).max() < tol.SMALL_SHARED
    assert result.free_entropy == pytest.approx(log_p.max() + np.log(p.mean()), rel=tol.SMALL_MODEL)


def test_several_samples_are_as_many_runs():
    model = Ensemble(GaussBernoulli(0.3), [Identity(0.01)], [0.8], [Geometric(50.0)])
    W = model.sample(60, 0).weights[0]
    Y = W @ GaussBernoulli(0.3).sample((60, 3), np.random.default_rng(1))
    glm = GLM(model.prior, W, model.channels[0])
    together = glm.infer(Y, closure="vamp", tolerance=1e-11)
    runs = [glm.infer(y, closure="vamp", tolerance=1e-11) for y in Y.T]
    for what in ("signal", "output"):
        for part in ("mean", "variance"):
            values = [getattr(getattr(run, what), part) for run in runs]
            np.testing.assert_allclose(getattr(getattr(together, what), part), np.transpose(values), atol=tol.SHARED)
    assert together.free_entropy == pytest.approx(sum(run.free_entropy for run in runs), rel=tol.SHARED)


# ---- state evolution -------------------------------------------------------------------------------------------------

CASES = {
    "sparse, condition 1000": Ensemble(GaussBernoulli(0.3), [Identity(1e-4)], [0.7], [Geometric(1000.0, **FAST)]),
    "sparse, tall": Ensemble(GaussBernoulli(0.3), [Identity(0.1)], [2.0], [Geometric(10.0, **FAST)]),
    "signs of spins, orthogonal rows": Ensemble(Binary(), [Sign()], [0.9], [RowOrthogonal(**FAST)]),
    "rectified, two layers": Ensemble(
        GaussBernoulli(0.3), [ReLU(), Identity(1e-2)], [2.0, 1.0], [Geometric(30.0, **FAST), RowOrthogonal(**FAST)]
    ),
    "product, then signs": Ensemble(
        Gaussian(), [Identity(), Sign(), Identity(0.1)], [1.2, 1.2, 1.5],
        [Geometric(10.0, **FAST), RowOrthogonal(**FAST), Geometric(3.0, **FAST)],
    ),
}  # fmt: skip

#: What is assumed, and what is true.
MISMATCHED = {
    "density and noise, condition 100": (
        Ensemble(GaussBernoulli(0.5), [Identity(0.05)], [0.7], [Geometric(100.0, **FAST)]),
        Ensemble(GaussBernoulli(0.2, 0.3), [Identity(0.01)], [0.7], [Geometric(100.0, **FAST)]),
    ),
    "normal signal and noise, really signs of spins": (
        Ensemble(Gaussian(0.1, 2.0), [Probit(0.5)], [1.5], [RowOrthogonal(**FAST)]),
        Ensemble(Binary(0.2), [Sign()], [1.5], [RowOrthogonal(**FAST)]),
    ),
    "rectified, two layers": (
        Ensemble(
            GaussBernoulli(0.5), [ReLU(), Identity(0.1)], [2.0, 1.0], [Geometric(30.0, **FAST), RowOrthogonal(**FAST)]
        ),
        CASES["rectified, two layers"],
    ),
    "product, then signs": (
        Ensemble(
            Gaussian(precision=0.5), [Identity(), Probit(0.2), Identity(0.3)], [1.2, 1.2, 1.5],
            [Geometric(10.0, **FAST), RowOrthogonal(**FAST), Geometric(3.0, **FAST)],
        ),
        CASES["product, then signs"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", [*CASES, *(f"{name} (not so)" for name in MISMATCHED)])
def test_instances_follow_state_evolution_at_every_iteration(name):
    """Four of N = 4000: their mean error within its own error bar, up to what all iterations of one share."""
    model, source = (CASES[name], None) if name in CASES else MISMATCHED[name.removesuffix(" (not so)")]
    theory = vamp_state_evolution(model, truth=source)
    assert theory.converged
    runs = [infer(model, 4000, seed, source, iterations=9, tolerance=0.0)[0].trace for seed in range(4)]
    scale = np.array((source or model).second_moments)
    for what in ("mse", "overlap"):
        expected = getattr(theory, what)
        for step in range(min(9, len(expected))):
            values = np.array([getattr(run, what)[step] for run in runs])
            bar = values.std(axis=0, ddof=1) / len(runs) ** 0.5
            off = np.abs(values.mean(axis=0) - expected[step])
            assert np.all(off < tol.BARS * bar + tol.FINITE_SIZE * scale), (what, step, off, bar)
    if source is not None:
        errors, variances = theory.mse[-1], np.array([overlap.variance for overlap in theory.overlaps])
        assert np.abs(errors - variances).max() > 0.05 * errors.max()  # it claims what is not so


@pytest.mark.parametrize("name", CASES)
def test_a_truth_that_is_the_model_changes_nothing(name):
    """Two sets of formulas: precisions alone, and overlaps, fields and variances of their own."""
    model = CASES[name]
    bayes, general = (vamp_state_evolution(model, truth=truth, iterations=12) for truth in (None, model))
    np.testing.assert_allclose(general.mse, bayes.mse, rtol=tol.FIXED_POINT)
    assert bayes.mse[-1, 0] < 0.8 * bayes.mse[0, 0]


@pytest.mark.parametrize("ratio", [0.6, 1.8])
def test_wrong_noise_and_prior_is_ridge_regression(ratio):
    """With a Gaussian prior the estimate is linear, and its error a sum over singular values."""
    spectrum, noise, assumed, precision = Geometric(20.0), 0.3, 0.05, 0.7
    truth = Ensemble(GaussBernoulli(0.3), [Identity(noise)], [ratio], [spectrum])
    model = Ensemble(Gaussian(precision=precision), [Identity(assumed)], [ratio], [spectrum])
    values, weights = spectrum.eigenvalues(ratio)
    shrink = precision / (precision + values / assumed)
    bias = 0.3 * (weights @ shrink**2 + max(0.0, 1.0 - ratio))
    spread = noise * (weights @ (values / (assumed * precision + values) ** 2))
    result = vamp_state_evolution(model, truth=truth)
    assert result.converged and result.mse[-1, 0] == pytest.approx(bias + spread, rel=tol.FIXED_POINT)


def test_a_noiseless_tall_matrix_leaves_no_error():
    result = vamp_state_evolution(Ensemble(GaussBernoulli(0.2), [Identity()], [1.5]))
    assert result.converged and result.mse[-1, 0] < 1e-12


@pytest.mark.parametrize("start", ["uninformative", "informative"])
@pytest.mark.parametrize(
    ("model", "known"),
    [
        (Ensemble(GaussBernoulli(0.2), [Identity()], [0.6]), True),
        (Ensemble(GaussBernoulli(0.2), [Identity()], [0.6]), False),
        (Ensemble(GaussBernoulli(0.2), [Identity()], [0.7], [Geometric(10.0)]), True),
        (Ensemble(GaussBernoulli(0.2), [Identity()], [0.7], [Geometric(10.0)]), False),
        (Ensemble(Binary(), [Sign()], [2.0], [RowOrthogonal()]), True),
        (Ensemble(Binary(), [Sign()], [2.0], [RowOrthogonal()]), False),
        (Ensemble(GaussBernoulli(0.3), [ReLU(), Identity()], [3.0, 0.9]), True),
    ],
)
def test_perfect_recovery_is_an_end(model, known, start):
    """What follows would be rounding; the means m and q of a model that may be wrong resolve less."""
    result = vamp_state_evolution(model, truth=None if known else model, start=start)
    assert result.converged and "the signal is recovered" in result.message and len(result.mse) < 100
    assert abs(result.mse[-1, 0]) < (1e-9 if known else 1e-6) * model.second_moments[0]


def test_an_informative_start_is_no_recovery():
    model = Ensemble(Binary(), [Probit(1.0)], [0.5], [RowOrthogonal()])
    informed, other = (vamp_state_evolution(model, start=start) for start in ("informative", "uninformative"))
    assert informed.mse[0, 0] < 1e-9 and informed.mse[-1, 0] > 0.1
    assert informed.mse[-1, 0] == pytest.approx(other.mse[-1, 0], rel=tol.FIXED_POINT)


def test_what_diverges_says_so_without_warnings():
    """Far too certain of the noise and of the signal's size."""
    truth = Ensemble(Gaussian(precision=1e-6), [Identity(1e3)], [0.5])
    for run in (vamp_state_evolution, state_evolution):
        result = run(Ensemble(GaussBernoulli(1e-3, 0.0, 1e-9), [Identity(1e-9)], [0.5]), truth=truth, iterations=200)
        assert result.mse.shape == result.overlap.shape and result.mse.shape[1] == 1


@pytest.mark.parametrize(
    "model",
    [
        Ensemble(GaussBernoulli(0.3), [Identity(1e-2)], [0.6]),
        Ensemble(Binary(), [Sign()], [1.0]),
        Ensemble(GaussBernoulli(0.3), [ReLU(), Identity(1e-2)], [2.0, 1.0]),
        Ensemble(Binary(), [Probit(0.3), Identity(), Probit(0.1)], [1.5, 0.9, 2.0]),
    ],
    ids=str,
)
def test_independent_entries_have_the_fixed_points_of_amp(model):
    """Two recursions of different form: precisions and the Marchenko-Pastur law here, overlaps there."""
    ours, amp = vamp_state_evolution(model, tolerance=1e-10), state_evolution(model, tolerance=1e-10)
    assert ours.converged and amp.converged
    np.testing.assert_allclose(ours.mse[-1], amp.mse[-1], rtol=tol.FIXED_POINT)
    informed, amp = (run(model, start="informative") for run in (vamp_state_evolution, state_evolution))
    np.testing.assert_allclose(informed.mse[-1], amp.mse[-1], rtol=tol.FIXED_POINT, atol=1e-11)


def test_an_instance_with_independent_entries_agrees_with_amp():
    model = Ensemble(GaussBernoulli(0.3), [ReLU(), Identity(1e-2)], [2.0, 1.0])
    result, sample = infer(model, 500)
    amp = MultiLayerGLM(model.prior, sample.weights, model.channels).infer(sample.y, truth=sample.signals)
    assert result.converged and amp.converged
    for ours, theirs in zip((result.signal, *result.hidden), (amp.signal, *amp.hidden), strict=True):
        assert np.mean((ours.mean - theirs.mean) ** 2) < 0.05 * np.mean(ours.variance)
        assert np.mean(ours.variance) == pytest.approx(np.mean(theirs.variance), rel=0.1)
    assert result.free_entropy == pytest.approx(amp.free_entropy, abs=0.01 * 500)


@pytest.mark.parametrize("ratio", [0.3, 1.0, 2.5])
def test_spectra_have_their_moments(ratio):
    rows = round(400 * ratio)
    rng = np.random.default_rng(0)
    for spectrum in (MarchenkoPastur(), RowOrthogonal(), Geometric(100.0), Geometric(100.0, fast=True)):
        values, weights = spectrum.eigenvalues(ratio)
        assert weights.sum() == pytest.approx(min(1.0, ratio), rel=tol.SPECTRUM)
        assert spectrum.gain(ratio) == pytest.approx(1.0, rel=tol.SPECTRUM)
        W = spectrum.sample(rows, 400, rng)
        squares = np.linalg.svd(array(W) if isinstance(W, Spectral) else W, compute_uv=False) ** 2
        for gamma in (0.01, 1.0):
            sampled = np.sum(1.0 / (gamma + squares)) / 400
            assert weights @ (1.0 / (gamma + values)) == pytest.approx(sampled, rel=0.06)
    given = Empirical.of(array(Geometric(10.0).sample(rows, 400, rng)))
    assert given.gain(ratio) == pytest.approx(1.0, rel=tol.SPECTRUM)


@pytest.mark.parametrize("ratio", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("gamma", [1.0, 1e-4, 1e-8])
def test_marchenko_pastur_resolvent(ratio, gamma):
    """E 1/(γ + λ) in closed form, zeros included."""
    values, weights = MarchenkoPastur().eigenvalues(ratio)
    root = ((1.0 - ratio + gamma) ** 2 + 4.0 * ratio * gamma) ** 0.5
    closed = (root + 1.0 - ratio - gamma) / (2.0 * gamma)
    ours = weights @ (1.0 / (gamma + values)) + max(0.0, 1.0 - ratio) / gamma
    assert ours == pytest.approx(closed, rel=1e-7)


# ---- where other messages fail ---------------------------------------------------------------------------------------


def test_condition_numbers_at_which_amp_diverges():
    model = Ensemble(GaussBernoulli(0.2), [Identity(1e-4)], [0.6], [Geometric(1e4)])
    sample = model.sample(500, 1)
    glm = MultiLayerGLM(model.prior, [array(sample.weights[0])], model.channels)
    vamp = glm.infer(sample.y, closure="vamp", truth=sample.signals, iterations=1000)
    amp = glm.infer(sample.y, closure="amp", truth=sample.signals, iterations=150, damping=0.5)
    assert vamp.converged and vamp.mse[0] < 0.15
    assert not amp.converged and "VAMP" in amp.message


def test_a_matrix_of_ones_and_a_noiseless_tall_matrix():
    rng = np.random.default_rng(0)
    x = GaussBernoulli(0.2).sample(200, rng)
    W = 1.0 + rng.standard_normal((140, 200)) / 200**0.5
    result = GLM(GaussBernoulli(0.2), W, Identity(1e-4)).infer(W @ x, closure="vamp", truth=x)
    assert result.converged and result.mse[0] < 1e-3
    W = rng.standard_normal((300, 200))
    result = GLM(GaussBernoulli(0.2), W, Identity()).infer(W @ x, closure="vamp", truth=x)
    assert result.converged and result.mse[0] < 1e-15


@given(
    seed=st.integers(0, 2**32 - 1), m=st.integers(1, 8), n=st.integers(1, 8), rank=st.integers(1, 8),
    prior=st.sampled_from([Binary(), Gaussian(), GaussBernoulli(0.1)]),
    channel=st.sampled_from([Identity(1e-6), Identity(1.0), Sign(), ReLU(), Probit(0.1)]),
)  # fmt: skip
@settings(max_examples=12, deadline=None)
def test_no_model_however_wrong_gives_numbers_that_are_none(seed, m, n, rank, prior, channel):
    """Small, rank-deficient, badly scaled matrices, and outputs from another model."""
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((m, rank)) @ rng.standard_normal((rank, n)) * 10.0 ** rng.uniform(-2, 2)
    y = channel.sample(10.0 * rng.standard_normal(m), rng)
    result = GLM(prior, W, channel).infer(y, closure="vamp", iterations=60)
    assert result.status in ("converged", "not converged", "diverged")
    if result.status != "diverged":
        for estimate in (result.signal, result.output):
            assert np.all(np.isfinite(estimate.mean)) and np.all(estimate.variance >= 0.0)


@pytest.mark.parametrize("layers", [1, 2])
def test_an_iteration_takes_four_products_with_each_matrix(layers):
    calls = []

    def counted(matrix):
        def times(operator):
            return lambda x: (calls.append(x.size), operator @ x)[1]

        return LinearOperator(matrix.shape, matvec=times(matrix), rmatvec=times(matrix.T), dtype=float)

    model = Ensemble(GaussBernoulli(0.3), [ReLU()] * (layers - 1) + [Identity(0.01)], [0.8] * layers)
    sample = model.sample(50, 0)
    svds = [Spectral.of(W) for W in sample.weights]
    glm = MultiLayerGLM(model.prior, [Spectral(counted(A.u), A.s, counted(A.vt)) for A in svds], model.channels)
    seen = []
    glm.infer(sample.y, closure="vamp", tolerance=0.0, iterations=6, callback=lambda *_: seen.append(len(calls)))
    assert np.diff(seen)[1:].tolist() == [4 * layers] * 4


@pytest.mark.parametrize("closure", ["vamp", "amp"])
@pytest.mark.parametrize(
    "model",
    [
        Ensemble(GaussBernoulli(0.3), [Absolute(), Identity(1e-3)], [2.0, 1.0]),
        Ensemble(GaussBernoulli(0.3), [Absolute()], [2.0]),
        Ensemble(Binary(), [Absolute()], [2.0]),
    ],
    ids=str,
)
def test_models_that_do_not_see_the_sign(model, closure):
    """They begin off the symmetry, where nothing could be learnt."""
    result, sample = infer(model, 200, closure=closure)
    errors = [np.mean((sign * result.signal.mean - sample.signals[0]) ** 2) for sign in (-1.0, 1.0)]
    assert result.converged and min(errors) < 0.01 * model.second_moments[0]


@pytest.mark.parametrize("closure", ["vamp", "amp"])
def test_a_fixed_point_without_the_sign_is_reported(closure):
    result, _ = infer(Ensemble(Gaussian(), [Absolute()], [0.3]), 200, closure=closure)
    assert result.converged and "knows nothing of the signal" in result.message
    assert np.max(np.abs(result.signal.mean)) < 1e-3


# ---- options ---------------------------------------------------------------------------------------------------------


def test_learning_of_noise_and_density():
    model = Ensemble(GaussBernoulli(0.2), [Identity(0.01)], [0.7], [Geometric(30.0)])
    sample = model.sample(600, 2)
    guess = GLM(GaussBernoulli(0.5), sample.weights[0], Identity(0.1))
    found = learn(guess, sample.y, fixed=("mean", "variance"), closure="vamp", rounds=15)
    assert found.channel.noise == pytest.approx(0.01, rel=0.2)
    assert found.prior.density == pytest.approx(0.2, rel=0.15)


def test_start_damping_and_callback():
    model = Ensemble(GaussBernoulli(0.3), [Identity(0.01)], [0.8], [Geometric(30.0)])
    result, sample = infer(model, 300, tolerance=1e-9)
    damped, _ = infer(model, 300, tolerance=1e-9, damping=0.5)
    np.testing.assert_allclose(damped.signal.mean, result.signal.mean, atol=1e-6)
    assert damped.iterations > result.iterations
    started, _ = infer(model, 300, tolerance=1e-9, start=sample.signals[0])
    assert started.trace.mse[0][0] < 1e-30
    np.testing.assert_allclose(started.signal.mean, result.signal.mean, atol=1e-6)
    stopped, _ = infer(model, 300, callback=lambda number, chain: number == 3)
    assert stopped.status == "stopped" and stopped.iterations == 3
    B, A = result.field
    np.testing.assert_allclose(model.prior.moments(H=B, G=A)[0], result.signal.mean)


def test_errors_name_what_to_change():
    W = np.random.default_rng(0).standard_normal((5, 8)) / 8**0.5
    glm = GLM(Gaussian(), W, Identity(0.1))
    with pytest.raises(ValueError, match="`reinforcement` must be 0"):
        glm.infer(np.ones(5), closure="vamp", reinforcement=0.1)
    with pytest.raises(ValueError, match="known singular values for 'vamp'"):
        GLM(Gaussian(), aslinearoperator(W), Identity(0.1), mean_square=0.1).infer(np.ones(5), closure="vamp")
    with pytest.raises(ValueError, match="`spectra` must be one per channel"):
        Ensemble(Gaussian(), [Identity(0.1)], [1.0], [RowOrthogonal()] * 2)
    with pytest.raises(ValueError, match="use vamp_state_evolution"):
        state_evolution(Ensemble(Gaussian(), [Identity(0.1)], [1.0], [RowOrthogonal()]))
    truth = Ensemble(Gaussian(), [Identity(0.1)], [1.0])
    with pytest.raises(ValueError, match="`truth` must have the ratios and spectra"):
        vamp_state_evolution(Ensemble(Gaussian(), [Identity(0.1)], [1.0], [RowOrthogonal()]), truth=truth)
    with pytest.raises(ValueError, match="`truth` must have noiseless"):
        vamp_state_evolution(Ensemble(Gaussian(), [Identity()], [1.0]), truth=truth)
    with pytest.raises(ValueError, match="`condition` must be"):
        Geometric(0.5)
    with pytest.raises(ValueError, match="`values` must be"):
        Empirical((1.0, -1.0))
    with pytest.raises(ValueError, match="`start` must be"):
        vamp_state_evolution(Ensemble(Gaussian(), [Identity(0.1)], [1.0]), start="best")
