"""State evolution and free entropy: identities, exact limits, thresholds known from elsewhere."""

import itertools
import math

import members
import numpy as np
import pytest
import tolerances as tol
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from members import HIDDEN
from scipy.integrate import quad
from scipy.optimize import brentq, minimize_scalar

from factorgraph.channels import Absolute, Identity, Poisson, Probit, ReLU, Sign
from factorgraph.priors import Binary, GaussBernoulli, Gaussian, GaussianMixture
from models.asymptotics.averages import Field, Overlap, hidden_averages, output_averages, prior_averages
from models.asymptotics.ensembles import Ensemble
from models.asymptotics.free_entropy import (
    algorithmic_threshold,
    fixed_point_free_entropy,
    free_entropy,
    information_threshold,
)
from models.asymptotics.state_evolution import state_evolution

#: Without noise nothing is left to infer, and averages diverge.
CHANNELS = [channel for channel in HIDDEN if channel != Identity()]
PRIORS = [prior for each in members.PRIORS.values() for prior in each]
POINTS = [(0.5, 0.5, 1.0), (0.99, 0.01, 3.0), (1 - 1e-6, 1e-6, 10.0), (0.9, 0.1, 1e4), (1e-3, 0.999, 1.0)]

# ---- averages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", PRIORS, ids=str)
@pytest.mark.parametrize("A", [1e-3, 1.0, 30.0, 1e6])
def test_second_moment_of_the_signal_splits(prior, A):
    """E x² = q + V: the message leaves the law of x what it is."""
    mean, variance = prior.moments(H=0.0, G=0.0)
    output = prior_averages(prior, Field(A, A, A)).output
    assert output is not None and output.variance < variance
    assert output.square + output.variance == pytest.approx(mean**2 + variance, rel=tol.AVERAGES)


@pytest.mark.parametrize("channel", CHANNELS, ids=str)
@pytest.mark.parametrize(("q", "V", "A"), POINTS)
def test_nishimori_identities_of_a_hidden_layer(channel, q, V, A):
    """E x² = q + V and E g² = E Γ."""
    mean, variance = channel.moments(B=0.0, A=0.0, omega=0.0, V=q + V)
    averages = hidden_averages(channel, Overlap(q, q, V), Field(A, A, A), q + V)
    assert averages.output is not None and averages.field is not None
    assert averages.output.square + averages.output.variance == pytest.approx(mean**2 + variance, rel=tol.AVERAGES)
    assert averages.field.noise == pytest.approx(averages.field.precision, rel=tol.AVERAGES, abs=1e-8)


@pytest.mark.parametrize("channel", CHANNELS, ids=str)
@pytest.mark.parametrize(("q", "V"), [point[:2] for point in POINTS])
def test_nishimori_identity_of_the_output(channel, q, V):
    field = output_averages(channel, Overlap(q, q, V), q + V).field
    assert field is not None and field.precision > 0
    assert field.noise == pytest.approx(field.precision, rel=tol.AVERAGES)


@pytest.mark.parametrize("channel", [Sign(), ReLU(), Absolute(), Identity(0.2)], ids=str)
@pytest.mark.parametrize("truth", [Sign(), ReLU(), Identity(0.5)], ids=str)
def test_averages_over_a_truth_of_another_kind_by_sampling(channel, truth):
    rng = np.random.default_rng(0)
    m, q, V, rho, b, c, A = 0.4, 0.5, 0.3, 1.1, 0.7, 1.3, 0.9
    omega = rng.standard_normal(400_000) * q**0.5
    z = omega * m / q + rng.standard_normal(omega.size) * (rho - m * m / q) ** 0.5
    x = truth.sample(z, rng)
    B = b * x + c**0.5 * rng.standard_normal(omega.size)
    student = channel.evaluate(B=B, A=A, omega=omega, V=V)
    score = truth.evaluate(B=b / c * B, A=b * b / c, omega=omega * m / q, V=rho - m * m / q).g
    got = hidden_averages(channel, Overlap(m, q, V), Field(b, c, A), rho, truth)
    assert got.output is not None and got.field is not None
    samples = [student.mean * x, student.mean**2, student.variance, student.g * score, student.g**2, student.gamma]
    for value, sample in zip([*got.output, *got.field], samples, strict=True):
        assert value == pytest.approx(sample.mean(), abs=4.5 * sample.std() / sample.size**0.5, rel=1e-6)


# ---- the iteration ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_linear_gaussian_model_is_ridge_regression(ratio):
    """V = 1/(1 + α/(Δ + V)), a quadratic equation."""
    noise = 0.1
    result = state_evolution(Ensemble(Gaussian(), [Identity(noise)], [ratio]))
    exact = brentq(lambda V: V * (1 + ratio / (noise + V)) - 1, 0.0, 1.0, xtol=1e-14)
    assert result.converged and result.mse[-1, 0] == pytest.approx(exact, rel=1e-6)


def test_the_general_path_reduces_to_the_bayes_optimal_one():
    model = Ensemble(GaussBernoulli(0.3), [ReLU(), Identity(0.1)], [1.5, 1.2])
    bayes, general = state_evolution(model, iterations=8), state_evolution(model, truth=model, iterations=8)
    np.testing.assert_allclose(general.mse, bayes.mse, rtol=1e-5)
    assert bayes.mse[-1, 0] < 0.5 * bayes.mse[0, 0]


def test_wrong_noise_and_prior_is_ridge_regression_with_another_penalty():
    """Mean squared error and claimed variance of a linear estimate, against the estimate itself at N = 1000."""
    truth = Ensemble(GaussBernoulli(0.2), [Identity(0.5)], [0.8])
    model = Ensemble(Gaussian(0.0, 1.0), [Identity(0.1)], [0.8])
    result = state_evolution(model, truth=truth)
    errors = []
    for seed in range(4):
        sample = truth.sample(1000, seed)
        W = sample.weights[0]
        estimate = np.linalg.solve(W.T @ W + 0.1 * np.eye(1000), W.T @ sample.y)
        errors.append(np.mean((estimate - sample.signals[0]) ** 2))
    assert result.converged
    assert result.mse[-1, 0] == pytest.approx(np.mean(errors), rel=0.1)
    assert abs(result.overlaps[0].variance - result.mse[-1, 0]) > 0.1 * result.mse[-1, 0]  # it claims what is not so


def test_uninformative_and_informative_start_enclose_the_hard_phase():
    model = Ensemble(Binary(), [Sign()], [1.35])
    low, high = state_evolution(model), state_evolution(model, start="informative")
    assert low.converged and high.converged
    assert low.mse[-1, 0] > 0.2 and high.mse[-1, 0] < 1e-9


# ---- free entropy ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_free_entropy_is_the_log_evidence_of_a_linear_gaussian_model(ratio):
    """log N(y; 0, WWᵀ + Δ) for N = 1500, whose fluctuations are of order 1/√N per component."""
    model, noise, n = Ensemble(Gaussian(), [Identity(0.1)], [ratio]), 0.1, 1500
    exact = []
    for seed in range(2):
        sample = model.sample(n, seed)
        covariance = sample.weights[0] @ sample.weights[0].T + noise * np.eye(len(sample.y))
        _, logdet = np.linalg.slogdet(covariance)
        # The average over y of yᵀC⁻¹y is its length.
        exact.append(-0.5 * (logdet + len(sample.y) * (1 + math.log(2 * math.pi))) / n)
    assert fixed_point_free_entropy(model, state_evolution(model)) == pytest.approx(np.mean(exact), abs=2e-3)
    assert abs(exact[0]) > 0.3


@pytest.mark.parametrize(
    "model",
    [
        Ensemble(Binary(), [Sign()], [1.2]),
        Ensemble(GaussBernoulli(0.3), [ReLU(), Identity(0.1)], [1.5, 0.7]),
        Ensemble(Gaussian(), [Sign(), Sign()], [0.6, 1.2]),
        Ensemble(Binary(0.2), [Identity(0.3), Absolute(), Probit(2.0)], [0.8, 1.4, 1.1]),
    ],
    ids=["perceptron", "relu", "signs", "three"],
)
def test_fixed_points_are_stationary(model):
    result = state_evolution(model, tolerance=1e-10)
    V, A = np.array([o.variance for o in result.overlaps]), np.array([f.precision for f in result.fields])
    assert result.converged and np.all(A > 0.01)
    both = np.concatenate([V, A])

    def phi(x):
        return free_entropy(model, x[: len(V)], x[len(V) :])

    for i, value in enumerate(both):
        step = 1e-3 * value * np.eye(len(both))[i]
        slope = (phi(both + step) - phi(both - step)) / 2e-3
        bend = abs(phi(both + 100 * step) - phi(both - 100 * step)) / 2e-1
        far = abs(phi(both + 300 * step) - phi(both)) / 0.3
        assert abs(slope) < 1e-5  # derivative in log V or log A
        assert max(bend, far) > 1e-4  # and Φ does depend on it


#: Closed forms with noise enough for a fixed point that is reached within the usual iterations.
NOISY = [Identity(0.1), Identity(0.5), Probit(2.0, 0.3), Sign()]


@settings(max_examples=15, deadline=None)
@given(
    prior=st.sampled_from(
        [Binary(0.2), Gaussian(0.3, 1.5), GaussBernoulli(0.4, 0.5, 1.5), GaussianMixture([1, 2], [-1, 1], [0.3, 0.5])]
    ),
    hidden=st.sampled_from([[], [Sign()], [ReLU()], [Identity(0.3)], [Probit(2.0, 0.3)]]),
    output=st.sampled_from(NOISY),
    ratios=st.tuples(st.floats(0.3, 2.0), st.floats(0.3, 2.0)),
)
def test_the_fixed_points_of_drawn_models_are_stationary(prior, hidden, output, ratios):
    """The derivative of the free entropy in log V and log A of every layer vanishes; no error above the prior's."""
    channels = [*hidden, output]
    model = Ensemble(prior, channels, list(ratios[: len(channels)]))
    result = state_evolution(model, tolerance=1e-10)
    assume(result.converged)
    V, A = np.array([o.variance for o in result.overlaps]), np.array([f.precision for f in result.fields])
    assume(V.min() > 1e-6)
    both = np.concatenate([V, A])
    for i, value in enumerate(both):
        step = 1e-3 * value * np.eye(len(both))[i]
        high, low = (free_entropy(model, x[: len(V)], x[len(V) :]) for x in (both + step, both - step))
        assert abs(high - low) / 2e-3 < 1e-5
    _, variance = prior.moments(H=0.0, G=0.0)
    assert 0.0 < result.mse[-1][0] <= variance * (1 + 1e-9)


def test_information_and_error():
    """d(mutual information)/d(1/Δ) = ½ α times the error of z."""

    def information(precision):
        model = Ensemble(GaussBernoulli(0.3), [Identity(1 / precision)], [0.7])
        result = state_evolution(model, tolerance=1e-11)
        phi = fixed_point_free_entropy(model, result)
        V = result.overlaps[0].variance
        return -phi - 0.35 * math.log(2 * math.pi * math.e / precision), V / (1 + precision * V)

    (up, _), (down, _), (_, error) = information(5.05), information(4.95), information(5.0)
    assert error > 0.01
    assert (up - down) / 0.1 == pytest.approx(0.35 * error, rel=1e-4)


# ---- transitions -----------------------------------------------------------------------------------------------------


def perceptron(ratio):
    return Ensemble(Binary(), [Sign()], [ratio])


def test_binary_perceptron_thresholds():
    assert information_threshold(perceptron, 1.1, 1.45) == pytest.approx(1.245, rel=3e-3)
    assert algorithmic_threshold(perceptron, 1.4, 1.6, xtol=1e-3) == pytest.approx(1.4926, rel=3e-3)


@pytest.mark.parametrize("density", [0.1, 0.5])
def test_noiseless_sparse_regression(density):
    """α = A V(A) has a solution with V > 0 below its greatest value; V by an independent integral. α = ρ for A → ∞."""

    def variance(A):
        def integrand(u):  # u: signal plus noise of variance 1/A
            slab = density * math.exp(-0.5 * u * u / (1 + 1 / A)) / math.sqrt(1 + 1 / A)
            spike = (1 - density) * math.exp(-0.5 * u * u * A) * math.sqrt(A)
            on = slab / (slab + spike)
            mean = u / (1 + 1 / A)
            return (slab + spike) / math.sqrt(2 * math.pi) * on * (1 / (1 + A) + (1 - on) * mean * mean)

        edges = [k / math.sqrt(A) for k in (0, 1, 2, 3, 5, 8)]
        points = [*edges, *(x for x in (0.5, 1, 2, 4, 8) if x > edges[-1])]
        return 2 * sum(quad(integrand, a, b, epsabs=1e-14)[0] for a, b in itertools.pairwise(points))

    best = minimize_scalar(lambda s: -math.exp(s) * variance(math.exp(s)), bounds=(0.0, 8.0), method="bounded")
    line = algorithmic_threshold(
        lambda ratio: Ensemble(GaussBernoulli(density), [Identity()], [ratio]), density, 0.95, xtol=1e-3
    )
    assert line == pytest.approx(-best.fun, abs=2e-3)
    assert line > density + 0.05
    A = 1e10
    averages = prior_averages(GaussBernoulli(density), Field(A, A, A))
    assert averages.output is not None
    assert A * averages.output.variance == pytest.approx(density, rel=1e-3)


# ---- ensembles and wrong arguments -----------------------------------------------------------------------------------


def test_samples_have_the_sizes_and_second_moments_of_the_ensemble():
    model = Ensemble(GaussBernoulli(0.3), [ReLU(), Sign()], [1.5, 0.5])
    sample = model.sample(2000, 0)
    assert [W.shape for W in sample.weights] == [(3000, 2000), (1500, 3000)]
    assert [len(x) for x in sample.signals] == [2000, 3000]
    moments = [np.mean(x**2) for x in sample.signals]
    np.testing.assert_allclose(moments, model.second_moments, rtol=0.2)
    assert set(sample.y) == {-1.0, 1.0}
    assert np.array_equal(sample.y, model.sample(2000, 0).y)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Ensemble(Binary(), [], []), "`channels` must be one per ratio, and at least one"),
        (lambda: Ensemble(Binary(), [Sign()], [1.0, 2.0]), "`ratios` must be one per channel"),
        (lambda: Ensemble(Binary(), [Sign()], [-1.0]), "`ratios` must be a finite number > 0"),
        (lambda: perceptron(0.1).sample(3), "`n` must be large enough"),
        (
            lambda: state_evolution(perceptron(1.0), start="warm"),
            "`start` must be one of .*uninformative",
        ),
        (lambda: state_evolution(perceptron(1.0), damping=1.0), "`damping` must be a finite number >= 0 and < 1"),
        (lambda: state_evolution(perceptron(1.0), iterations=0), "`iterations` must be an integer >= 1"),
        (lambda: state_evolution(perceptron(1.0), tolerance=-1.0), "`tolerance` must be a finite number >= 0"),
        (lambda: state_evolution(perceptron(1.0), truth=perceptron(2.0)), "`truth` must have the ratios"),
        (lambda: state_evolution(Ensemble(Gaussian(), [Poisson()], [1.0])), "`channel` must have a density"),
        (lambda: information_threshold(perceptron, 1.3, 1.4), "`low` and `high` must enclose the transition"),
        (lambda: algorithmic_threshold(perceptron, 1.1, 1.2), "`low` and `high` must enclose the transition"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
