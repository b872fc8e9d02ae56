"""Perceptrons and committees learned as inference, and parameters learned by expectation maximisation."""

import numpy as np
import pytest

from factorgraph.channels import Identity, Probit, ReLU, Sign
from factorgraph.priors import Binary, GaussBernoulli, Gaussian, Laplace
from models import GLM, Committee, Ensemble, Perceptron, learn, state_evolution


def teacher(weights, samples, rng):
    X = rng.standard_normal((samples, weights.size))
    return X, np.where(X @ weights >= 0, 1.0, -1.0)


@pytest.mark.parametrize("kind", ["binary", "continuous"])
def test_a_student_generalises_as_theory_says(kind):
    """Error of the Bayesian label is the mean of H over the overlap: compared through the mean squared error."""
    rng = np.random.default_rng(0)
    prior = Binary() if kind == "binary" else Gaussian()
    weights = prior.sample(1001, rng)
    X, y = teacher(weights, 1300, rng)
    X_test, y_test = teacher(weights, 4000, rng)
    student = Perceptron(prior).fit(X, y)
    assert student.result_.converged
    theory = state_evolution(Ensemble(prior, [Sign()], [1300 / 1001])).mse[-1, 0]
    assert np.mean((student.result_.signal.mean - weights) ** 2) == pytest.approx(theory, abs=0.1)
    overlap = 1 - theory
    error = np.arccos(np.sqrt(overlap)) / np.pi  # angle between the teacher and the mean of the posterior
    assert np.mean(student.predict(X_test) != y_test) == pytest.approx(error, abs=0.03) and error < 0.3
    probability = student.predict_proba(X_test)
    confident = np.abs(probability - 0.5) > 0.4
    assert np.mean((probability > 0.5)[confident] == (y_test > 0)[confident]) > 0.93


def test_all_weights_are_found_beyond_the_spinodal():
    rng = np.random.default_rng(1)
    weights = Binary().sample(1001, rng)
    X, y = teacher(weights, 1800, rng)
    student = Perceptron().fit(X, y)
    np.testing.assert_array_equal(student.weights_, weights)
    assert student.errors_ == 0


def test_reinforcement_finds_binary_weights_for_random_labels():
    rng = np.random.default_rng(0)
    X, y = rng.choice([-1.0, 1.0], size=(600, 1001)), rng.choice([-1.0, 1.0], size=600)
    solver = Perceptron(reinforcement=0.01).fit(X, y)
    assert solver.errors_ == 0 and solver.result_.status == "stopped"
    assert set(solver.weights_) == {-1.0, 1.0}
    assert np.all(y * (X @ solver.weights_) > 0)
    assert Perceptron().fit(X, y).errors_ > 0  # the posterior's means alone do not


def test_noisy_labels():
    rng = np.random.default_rng(0)
    weights = Binary().sample(501, rng)
    X = rng.standard_normal((1500, 501))
    y = np.where(X @ weights / 501**0.5 + 0.5 * rng.standard_normal(1500) >= 0, 1.0, -1.0)
    student = Perceptron(channel=Probit(2.0)).fit(X, y)
    assert student.result_.converged and np.mean(student.weights_ == weights) > 0.9


def test_a_committee_learns_its_rule():
    rng = np.random.default_rng(0)
    first, second = rng.choice([-1.0, 1.0], size=(3, 101)), np.ones(3)

    def label(X):
        return np.sign(np.sign(X @ first.T) @ second)

    X, X_test = rng.standard_normal((1500, 101)), rng.standard_normal((2000, 101))
    committee = Committee(second, iterations=300).fit(X, label(X))
    assert committee.weights_.shape == (3, 101)
    assert np.mean(committee.predict(X_test) == label(X_test)) > 0.9
    overlaps = np.abs(np.sign(committee.weights_) @ first.T / 101)
    assert np.all(overlaps.max(axis=1) > 0.9)  # each unit has found another of the teacher's
    assert len(set(overlaps.argmax(axis=1))) == 3


def test_parameters_are_learned():
    model = Ensemble(GaussBernoulli(0.2, 0.0, 2.0), [Identity(0.05)], [0.8])
    sample = model.sample(1500, 1)
    guess = GLM(GaussBernoulli(0.5), sample.weights[0], Identity(1.0))
    learned = learn(guess, sample.y, fixed=("mean",), truth=sample.signals)
    assert learned.converged and learned.result.converged
    assert isinstance(learned.prior, GaussBernoulli) and isinstance(learned.channel, Identity)
    assert learned.prior.density == pytest.approx(0.2, abs=0.04) and learned.prior.mean == 0.0
    assert learned.prior.variance == pytest.approx(2.0, rel=0.2)
    assert learned.channel.noise == pytest.approx(0.05, rel=0.25)
    known = GLM(model.prior, sample.weights[0], Identity(0.05)).infer(sample.y, truth=sample.signals)
    first = guess.infer(sample.y, truth=sample.signals)
    assert learned.result.mse is not None and known.mse is not None and first.mse is not None
    assert learned.result.mse[0] < 1.05 * known.mse[0] and first.mse[0] > 1.5 * known.mse[0]
    assert learned.result.free_entropy > first.free_entropy


def test_the_steps_of_learning_climb_the_evidence_of_a_gaussian_model():
    rng = np.random.default_rng(0)
    W = rng.standard_normal((600, 400)) / 20
    y = W @ (1.5 * rng.standard_normal(400)) + 0.3 * rng.standard_normal(600)
    learned = learn(GLM(Gaussian(), W, Identity(1.0)), y, fixed=("mean",))

    def evidence(precision, noise):
        covariance = W @ W.T / precision + noise * np.eye(600)
        return -0.5 * (np.linalg.slogdet(covariance)[1] + y @ np.linalg.solve(covariance, y))

    found = learned.history[-1]["precision"], learned.history[-1]["noise"]
    for factors in ((1.1, 1.0), (0.9, 1.0), (1.0, 1.1), (1.0, 0.9)):
        assert evidence(*found) > evidence(*np.multiply(found, factors))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Perceptron(channel=ReLU()), "`channel` must have outputs ±1"),
        (lambda: Perceptron().fit(np.ones(3), [1, 1, 1]), "`X` must be a matrix of patterns"),
        (lambda: Perceptron().fit(np.eye(3), [1, 0, 1]), r"`y` must be -1 or \+1, got 0"),
        (lambda: Perceptron().fit(np.eye(3), [1, 1, 1]).predict(np.eye(2)), "`X` must be .* as in `fit`"),
        (lambda: Committee([1.0, 0.0]), "`second` must be non-zero numbers"),
        (lambda: learn(GLM(Laplace(), np.eye(2), Sign()), [1, 1]), "`fixed` must be some, not all"),
        (lambda: learn(GLM(Binary(), np.eye(2), Sign()), [1, 1], fixed=("noise",)), "`fixed` must be some, not all"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
