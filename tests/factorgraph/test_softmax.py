"""The softmax output and the noisy argmax: against quadrature, each other, and the hard argmax that they become."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from factorgraph.channels import Argmax, Logistic, Softmax

#: Exact values against quadrature of another kind.
QUADRATURE = 1e-7

#: Relative error of probabilities that the exact form claims.
PROBABILITY = 1e-8

FORMS = ["odds", "exact"]


def drawn(K, n, seed, spread=2.0):
    rng = np.random.default_rng(seed)
    return rng.integers(K, size=n), spread * rng.normal(size=(K, n)), np.exp(rng.normal(size=(K, n)))


def expected_softmax(omega, V, T, nodes=40):
    """E softmax(z/T) on a grid of Gauss-Hermite nodes over all classes, (K,)."""
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    z = np.stack(np.meshgrid(*(m + np.sqrt(v) * x for m, v in zip(omega, V, strict=True)), indexing="ij"))
    weights = np.prod(np.meshgrid(*[w / w.sum()] * len(omega), indexing="ij"), axis=0)
    return (weights * np.exp(log_softmax(z / T, axis=0))).reshape(len(omega), -1).sum(axis=1)


@pytest.mark.parametrize("T", [0.7, 2.0, 30.0])
@pytest.mark.parametrize("K", [2, 3, 4])
def test_probabilities_are_those_of_quadrature_over_all_classes(K, T):
    _, omega, V = drawn(K, 4, seed=K)
    channel = Softmax("exact", temperature=T)
    theirs = np.stack([expected_softmax(omega[:, n], V[:, n], T) for n in range(4)], axis=1)
    for ours in (channel.probabilities(omega=omega, V=V), np.exp(channel.log_probabilities(omega=omega, V=V))):
        np.testing.assert_allclose(ours, theirs, atol=QUADRATURE)


@settings(max_examples=40)
@given(
    form=st.sampled_from(FORMS),
    V=st.tuples(st.floats(-6, 5), st.floats(-6, 5)).map(lambda v: 10.0 ** np.array(v)),
    deviations=st.floats(-20, 20),
    T=st.floats(-2, 2).map(lambda x: 10.0**x),
)
def test_two_classes_are_a_logistic_output(form, V, deviations, T):
    """Of the difference, which has extremes of its own tests."""
    gap = deviations * np.sqrt(V.sum() + T * T)
    omega = np.array([gap, 0.0]) + 0.3
    ours = Softmax(form, temperature=T).observe(np.array([0]), omega=omega[:, None], V=V[:, None])
    theirs = Logistic(T).observe(1.0, omega=omega[0] - omega[1], V=V.sum())
    scale = 1.0 / np.sqrt(V.sum() + T * T)
    assert ours.phi[0] == pytest.approx(theirs.phi, rel=QUADRATURE, abs=1e-12 if form == "odds" else PROBABILITY)
    np.testing.assert_allclose(ours.g[:, 0], [theirs.g, -theirs.g], rtol=1e-6, atol=1e-9 * scale)
    np.testing.assert_allclose(ours.gamma[:, 0], theirs.gamma, rtol=1e-5, atol=1e-7 * scale**2)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("T", [0.1, 1.0, 10.0])
def test_known_pre_activations_give_the_softmax_itself(form, T):
    y, omega, _ = drawn(5, 8, seed=1)
    values = Softmax(form, temperature=T).observe(y, omega=omega, V=1e-14)
    p = np.exp(log_softmax(omega / T, axis=0))
    columns = np.arange(8)
    np.testing.assert_allclose(values.phi, log_softmax(omega / T, axis=0)[y, columns], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(values.g, (np.eye(5)[y].T - p) / T, atol=1e-7 / T)
    np.testing.assert_allclose(values.gamma, p * (1 - p) / T**2, atol=1e-6 / T**2)


def test_the_limit_of_no_temperature_is_the_hard_argmax():
    y, omega, V = drawn(4, 6, seed=2, spread=1.0)
    hard = Argmax("exact").observe(y, omega=omega, V=V)
    for channel in (lambda T: Softmax("exact", temperature=T), lambda T: Argmax("exact", noise=T * T)):
        errors = []
        for T in (1e-1, 1e-2, 1e-3):
            found = channel(T).observe(y, omega=omega, V=V)
            errors.append([np.abs(a - b).max() for a, b in zip(found, hard, strict=True)])
        assert np.all(np.array(errors[1]) < 0.05 * np.array(errors[0]))  # of second order in T
        assert np.all(np.array(errors[2]) < 1e-4)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("T", [0.3, 1.0, 4.0])
def test_derivatives_are_those_of_phi(form, T):
    y, omega, V = drawn(4, 6, seed=3)
    channel, step = Softmax(form, temperature=T), 1e-3
    values = channel.observe(y, omega=omega, V=V)
    for k in range(4):
        phi = [channel.observe(y, omega=omega + i * step * np.eye(4)[k][:, None], V=V).phi for i in (-2, -1, 0, 1, 2)]
        slope = (phi[0] - 8 * phi[1] + 8 * phi[3] - phi[4]) / (12 * step)
        bend = (-phi[0] + 16 * phi[1] - 30 * phi[2] + 16 * phi[3] - phi[4]) / (12 * step**2)
        np.testing.assert_allclose(values.g[k], slope, atol=1e-7 * max(1.0, 1 / T))
        np.testing.assert_allclose(values.gamma[k], -bend, atol=2e-6 * max(1.0, 1 / T**2))
    np.testing.assert_allclose(values.g.sum(axis=0), 0.0, atol=1e-12 / T)


def test_odds_are_nearer_than_rivals_by_themselves_and_right_where_nothing_is_known():
    y, omega, V = drawn(10, 40, seed=4)
    odds, exact = (Softmax(form).observe(y, omega=omega, V=V).phi for form in FORMS)
    columns = np.arange(40)
    each = Logistic().observe(1.0, omega=omega[y, columns] - omega, V=V + V[y, columns]).phi
    rivals = each.sum(axis=0) - each[y, columns]
    assert np.abs(odds - exact).mean() < 0.4 * np.abs(rivals - exact).mean()
    assert Softmax("odds").observe(np.array([3]), omega=np.zeros((10, 1)), V=1.0).phi[0] == pytest.approx(-np.log(10))


@settings(max_examples=25)
@given(
    form=st.sampled_from(FORMS),
    seed=st.integers(0, 10_000),
    spread=st.floats(-3, 4),
    widths=st.floats(0, 5),
    T=st.floats(-2, 2).map(lambda x: 10.0**x),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_extremes_give_numbers(form, seed, spread, widths, T, dtype):
    rng = np.random.default_rng(seed)
    omega = (10.0**spread * rng.normal(size=(3, 4))).astype(dtype)
    V = (10.0 ** rng.uniform(-widths, widths, (3, 4))).astype(dtype)
    channel, y = Softmax(form, temperature=T), rng.integers(3, size=4)
    values = channel.observe(y, omega=omega, V=V)
    for each in (*values, channel.probabilities(omega=omega, V=V)):
        assert each.dtype == dtype and np.all(np.isfinite(each))
    assert np.all(values.phi <= 1e-6)
    np.testing.assert_allclose(channel.probabilities(omega=omega, V=V).sum(axis=0), 1.0, rtol=1e-5)


@given(st.floats(0, 1e3), st.sampled_from(["double_jensen", "exact"]))
@settings(max_examples=20)
def test_noise_of_an_argmax_adds_to_the_variances(noise, form):
    y, omega, V = drawn(3, 5, seed=5)
    noisy, plain = Argmax(form, noise=noise), Argmax(form)
    for a, b in zip(
        noisy.observe(y, omega=omega, V=V), plain.observe(y, omega=omega, V=V + np.float64(noise)), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(noisy.probabilities(omega=omega, V=V), plain.probabilities(omega=omega, V=V + noise))
    assert noisy.scale_free == (noise == 0)


def test_laws_for_known_pre_activations():
    z = np.array([[0.3, -1.0], [0.1, 2.0], [-0.5, 1.9]])
    assert Argmax().conditional(z).tolist() == [[1, 0], [0, 1], [0, 0]]
    np.testing.assert_allclose(Softmax(temperature=0.5).conditional(z), np.exp(log_softmax(z / 0.5, axis=0)))
    noisy = Argmax(noise=0.3)
    np.testing.assert_allclose(noisy.conditional(z), Argmax().probabilities(omega=z, V=0.3), atol=1e-12)


def test_wrong_parameters_are_named():
    for call, message in (
        (lambda: Softmax("double_jensen"), "`form` must be one of odds, exact, got 'double_jensen'"),
        (lambda: Softmax(temperature=0.0), "`temperature` must be a finite number > 0, got 0.0"),
        (lambda: Argmax(noise=-1.0), "`noise` must be a finite number >= 0, got -1.0"),
        (lambda: Softmax().observe(np.array([3]), omega=np.zeros((3, 1)), V=1.0), "`y` must be in 0..2, got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
