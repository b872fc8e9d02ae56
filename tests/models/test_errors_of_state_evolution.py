"""Errors of pre-activations and of new outputs: state evolution against simulated models, and closed forms."""

import numpy as np
import pytest

from factorgraph.channels import HardTanh, Identity, Logistic, Poisson, Probit, ReLU, Sign, SymmetricDoor
from factorgraph.priors import Binary, Exponential, GaussBernoulli, Gaussian
from models import (
    Ensemble,
    MultiLayerGLM,
    generalisation_error,
    preactivation_errors,
    state_evolution,
    vamp_state_evolution,
)

SIZE, SEEDS, NEW = 1000, 4, 4000
#: Relative deviation of four runs of 1000 components: a few percent, three deviations of their mean.
SIMULATED = 0.1

CASES = {
    "sign": (Ensemble(Gaussian(), [Sign()], [2.0]), None),
    "logistic": (Ensemble(GaussBernoulli(0.3), [Logistic(0.3)], [2.0]), None),
    "regression": (Ensemble(GaussBernoulli(0.3), [Identity(0.05)], [0.8]), None),
    "bounded": (Ensemble(Exponential(), [HardTanh()], [1.0]), None),
    "two layers": (Ensemble(GaussBernoulli(0.3), [ReLU(), Identity(0.05)], [1.5, 0.8]), None),
    "wrong noise": (
        Ensemble(Gaussian(), [Identity(0.5)], [1.5]), Ensemble(GaussBernoulli(0.3), [Identity(0.05)], [1.5]),
    ),
    "wrong output": (Ensemble(Gaussian(), [Probit(1.0)], [2.0]), Ensemble(Gaussian(), [Sign()], [2.0])),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_simulated_models_have_these_errors(name):
    model, truth = CASES[name]
    law = state_evolution(model, truth=truth)
    assert law.converged
    found = []
    for seed in range(SEEDS):
        sample = (truth or model).sample(SIZE, seed)
        result = MultiLayerGLM(model.prior, sample.weights, model.channels).infer(sample.y)
        assert result.converged
        last, estimate = sample.signals[-1], (result.signal, *result.hidden)[-1]
        rng = np.random.default_rng(100 + seed)
        W = rng.standard_normal((NEW, last.size)) / last.size**0.5
        y = (truth or model).channels[-1].sample(W @ last, rng)
        V = float(np.mean(estimate.variance))
        predicted, _ = model.channels[-1].moments(B=0.0, A=0.0, omega=W @ estimate.mean, V=V)
        wrong = (np.sign(predicted) != y) if model.channels[-1].spin else (predicted - y) ** 2
        found.append([np.mean((result.output.mean - sample.weights[-1] @ last) ** 2), np.mean(wrong)])
    expected = [preactivation_errors(model, law, truth)[-1], generalisation_error(model, law, truth)]
    np.testing.assert_allclose(np.mean(found, axis=0), expected, rtol=SIMULATED)
    assert min(expected) > 1e-3


@pytest.mark.parametrize("ratio", [0.5, 3.0])
def test_a_sign_errs_by_the_angle(ratio):
    """arccos(√q)/π; the error of z is V - V² E Γ."""
    model = Ensemble(Gaussian(), [Sign()], [ratio])
    law = state_evolution(model)
    q = law.overlaps[0].square
    assert generalisation_error(model, law) == pytest.approx(np.arccos(q**0.5) / np.pi, rel=1e-6)
    V = law.overlaps[0].variance
    expected = V * (1.0 - V * law.fields[0].precision / ratio)
    assert preactivation_errors(model, law)[0] == pytest.approx(expected, rel=1e-6)


def test_a_truth_that_is_the_model_changes_nothing():
    model = Ensemble(Binary(), [Probit(2.0)], [1.2])
    law, same = state_evolution(model), state_evolution(model, truth=model)
    assert preactivation_errors(model, same, model) == pytest.approx(preactivation_errors(model, law), rel=1e-5)
    assert generalisation_error(model, same, model) == pytest.approx(generalisation_error(model, law), rel=1e-5)
    vamp = vamp_state_evolution(model)
    assert generalisation_error(model, vamp) == pytest.approx(generalisation_error(model, law), rel=1e-3)


def test_wrong_arguments():
    model = Ensemble(Gaussian(), [SymmetricDoor(0.7)], [1.0])
    other = Ensemble(Gaussian(), [ReLU(), SymmetricDoor(0.7)], [1.0, 1.0])
    law = state_evolution(model, iterations=2)
    for function in (preactivation_errors, generalisation_error):
        with pytest.raises(ValueError, match="`result` must be a StateEvolution"):
            function(model, None)
        with pytest.raises(ValueError, match="`result` must be of 2 layers, as the model, got 1"):
            function(other, law)
        with pytest.raises(ValueError, match="`truth` must have outputs as the model's"):
            function(model, law, Ensemble(Gaussian(), [Identity(0.1)], [1.0]))
    counts = Ensemble(Gaussian(), [Poisson()], [1.0])
    with pytest.raises(ValueError, match="`model` must have outputs with moments in closed form"):
        generalisation_error(counts, law)
