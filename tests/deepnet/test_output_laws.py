"""Every output: messages are derivatives of what is predicted, without noise it is the hard one, powers count."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, poisson

from deepnet.config import Config
from deepnet.outputs import OUTPUTS, classifying, kind_named, numeric, output_channel, output_of
from deepnet.outputs.gaussian import GaussianOutput
from deepnet.predict import log_loss, predict_proba, predictive
from deepnet.train import Evaluation, init, metrics, train, train_epoch
from factorgraph.channels import Identity
from factorgraph.dense.numpy_operations import derivatives

#: Differences of the fourth order.
DIFFERENCES = 1e-6

#: Outputs that learn from the very probabilities that they predict.
EXACT = [name for name in OUTPUTS if name not in ("argmax", "argmax-single-jensen", "argmax-probit", "softmax")]


def classes_of(name):
    return 2 if kind_named(name).serves(2) and not kind_named(name).coupled else 3


def made(name, *, temperature=0.6, noise_variance=0.4):
    """An output, with the classes or the numbers of targets that it is made for."""
    classes = classes_of(name)
    channel = output_channel(name, classes, temperature=temperature, noise_variance=noise_variance)
    return kind_named(name)(channel, kind_named(name).units_for(classes)), classes


def labels_for(output, name, classes, samples, rng):
    if name in numeric():
        return rng.integers(0, 5, (samples, output.units)).astype(float)
    return rng.integers(0, 2, samples) * 2 - 1 if classes == 2 else rng.integers(0, classes, samples)


@pytest.mark.parametrize("name", EXACT)
def test_messages_are_derivatives_of_the_log_likelihood(name):
    rng, scale, step = np.random.default_rng(0), 0.7, 1e-3
    output, classes = made(name)
    y = output.encode(labels_for(output, name, classes, 6, rng), np.float64)
    omega, V = rng.normal(size=(output.units, 6)), rng.uniform(0.5, 2, (output.units, 6))
    g, gamma = derivatives(output.observe(y, scale), omega, V)
    for k in range(output.units):
        phi = [
            output.log_likelihood(y, scale * (omega + i * step * np.eye(output.units)[k][:, None]), scale**2 * V)
            for i in (-2, -1, 0, 1, 2)
        ]
        phi = [each if each.ndim == 1 else each.sum(axis=0) for each in phi]
        np.testing.assert_allclose(g[k], (phi[0] - 8 * phi[1] + 8 * phi[3] - phi[4]) / (12 * step), atol=DIFFERENCES)
        bend = (-phi[0] + 16 * phi[1] - 30 * phi[2] + 16 * phi[3] - phi[4]) / (12 * step**2)
        np.testing.assert_allclose(gamma[k], -bend, atol=20 * DIFFERENCES)


@pytest.mark.parametrize("name", classifying())
def test_probabilities_are_those_of_the_log_likelihood_and_add_up(name):
    rng = np.random.default_rng(1)
    output, classes = made(name)
    omega, V = rng.normal(size=(output.units, 5)), rng.uniform(0.5, 2, (output.units, 5))
    p = output.probabilities(omega, V)
    p = np.concatenate([1 - p, p], axis=1) if p.shape[1] == 1 else p
    np.testing.assert_allclose(p.sum(axis=1), 1.0, atol=1e-8)
    for c in range(classes):
        y = output.encode(np.full(5, 2 * c - 1 if classes == 2 else c), np.float64)
        np.testing.assert_allclose(np.exp(output.log_likelihood(y, omega, V)).ravel(), p[:, c], rtol=1e-7)
    soft = rng.dirichlet(np.ones(classes), 5)
    expected = np.log((soft * p).sum(axis=1))
    found = output.log_likelihood(output.encode(soft, np.float64), omega, V)
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-7, atol=1e-9)
    # What stays of the entropy for known pre-activations: nothing of a hard output.
    entropy = output.conditional_entropy(omega, V)
    assert np.all(entropy == 0) == (name in ("sign", "argmax", "argmax-exact", "argmax-single-jensen"))
    assert np.all(entropy <= -(p * np.log(p)).sum(axis=1) + 0.05)


@pytest.mark.parametrize(
    "name, hard",
    [("logistic", "sign"), ("probit", "sign"), ("softmax-exact", "argmax-exact"), ("argmax-probit", "argmax")],
)
def test_without_noise_outputs_are_the_hard_ones(name, hard):
    rng = np.random.default_rng(2)
    classes = classes_of(name)
    omega, V = rng.normal(size=(1 if classes == 2 else 3, 6)), rng.uniform(0.5, 2, (1 if classes == 2 else 3, 6))
    errors = []
    for T in (1e-1, 1e-2, 1e-3):
        found = []
        for output in (made(name, temperature=T)[0], made(hard)[0]):
            y = output.encode(np.arange(6) % 2 * 2 - 1 if classes == 2 else np.arange(6) % 3, np.float64)
            found.append(
                np.concatenate([*derivatives(output.observe(y, 1.0), omega, V), output.probabilities(omega, V).T])
            )
        errors.append(np.abs(found[0] - found[1]).max())
    assert errors[1] < 0.03 * errors[0] and errors[2] < 1e-4  # of second order in T


@given(y=st.floats(-30, 30), omega=st.floats(-30, 30), V=st.floats(-6, 6), noise=st.floats(-6, 6), w=st.floats(0.1, 20))
@settings(max_examples=60)
def test_gaussian_noise_to_a_power(y, omega, V, noise, w):
    """g and Γ of log ∫ N(y; z, s²)^w N(z; omega, V) dz, which is N(y; omega, V + s²/w) up to a factor without omega."""
    V, noise = 10.0**V, 10.0**noise
    output = GaussianOutput(Identity(noise), 1)
    one = np.ones((1, 1))
    g, gamma = derivatives(output.raised(output.observe(y * one, 1.0), w * one[0]), omega * one, V * one)
    total = V + noise / w
    assert g[0, 0] == pytest.approx((y - omega) / total, rel=1e-9, abs=1e-9 / np.sqrt(total))
    assert gamma[0, 0] == pytest.approx(1 / total, rel=1e-9)
    assert output.log_likelihood(y * one, omega * one, V * one)[0, 0] == pytest.approx(
        norm.logpdf(y, omega, np.sqrt(V + noise)), rel=1e-9, abs=1e-9
    )


def test_a_power_of_a_gaussian_likelihood_by_quadrature():
    z, y, omega, V, noise, w = np.linspace(-12, 12, 4001), 0.8, -0.3, 1.3, 0.5, 2.5

    def phi(omega):
        return np.log(np.sum(norm.pdf(y, z, np.sqrt(noise)) ** w * norm.pdf(z, omega, np.sqrt(V))) * (z[1] - z[0]))

    output, one = GaussianOutput(Identity(noise), 1), np.ones((1, 1))
    g, _ = derivatives(output.raised(output.observe(y * one, 1.0), w * one[0]), omega * one, V * one)
    assert g[0, 0] == pytest.approx((phi(omega + 1e-4) - phi(omega - 1e-4)) / 2e-4, rel=1e-6)


@pytest.mark.parametrize("name", [name for name in OUTPUTS if name not in ("gaussian", "argmax-single-jensen")])
def test_powers_of_other_likelihoods_multiply_the_messages(name):
    rng, w = np.random.default_rng(3), np.array([0.0, 0.5, 1.0, 3.0])
    output, classes = made(name)
    y = output.encode(labels_for(output, name, classes, 4, rng), np.float64)
    omega, V = rng.normal(size=(output.units, 4)), rng.uniform(0.5, 2, (output.units, 4))
    message = output.observe(y, 1.0)
    plain, raised = (derivatives(each, omega, V) for each in (message, output.raised(message, w)))
    for a, b in zip(raised, plain, strict=True):
        np.testing.assert_array_equal(a, w * b)


def regression(samples=120, outputs=2):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((samples, 4)).astype(np.float32)
    y = np.stack([x[:, 0] - x[:, 1], 0.5 * x[:, 2] * x[:, 0]], axis=1)[:, :outputs]
    return x, y + np.array([0.3, 0.6])[:outputs] * rng.standard_normal(y.shape)


OPTIONS = {
    "hidden": (20,), "weights": "continuous", "activation": "relu", "closure": "amp", "bias": True,
    "rho": 1.0, "damping": 0.0, "beta": 0.3, "dtype": "float64",
}  # fmt: skip


@pytest.mark.parametrize("name", [*numeric(), "logistic", "sign", "argmax-probit"])
@pytest.mark.parametrize("closure", ["bp", "amp"])
def test_samples_of_no_weight_teach_nothing(name, closure):
    """Not even by what they are: the other ones make the same network without them."""
    x, y = regression(samples=24)
    y = np.abs(np.round(y)) if name in numeric() else (y[:, 0] > 0) * 2 - 1
    weights = np.repeat([1.0, 0.0], 12)
    config = Config(**OPTIONS | {"closure": closure}, batch_size=24, output=name)
    networks = [init(config, 4, 2) for _ in range(3)]
    y_other = np.concatenate([y[:12], y[12:][::-1] if name in numeric() else -y[12:]])
    for network, targets in zip(networks, (y, y_other), strict=False):
        train_epoch(network, x, targets, sample_weight=weights)
    train_epoch(networks[2], x[:12], y[:12])
    for name, values in networks[0].arrays().items():
        np.testing.assert_allclose(networks[1].arrays()[name], values, rtol=1e-9, err_msg=name)
        if closure == "bp":  # AMP's sums of Γ Δ have all samples of the batch; these have none of their own
            np.testing.assert_allclose(networks[2].arrays()[name], values, rtol=1e-6, atol=1e-9, err_msg=name)


def test_wrong_weights_are_named_before_any_work():
    x, y = regression(outputs=1)
    network = init(Config(**OPTIONS, output="gaussian"), 4, 1)
    before = network.layers[0].H.copy()
    for wrong, message in (
        (np.ones(3), r"of shape \(120,\)"),
        (-np.ones(120), ">= 0"),
        (np.full(120, np.nan), "finite"),
    ):
        with pytest.raises(ValueError, match=f"`sample_weight` must be .*{message}"):
            train_epoch(network, x, y, sample_weight=wrong)
    assert network.epoch == 0 and np.array_equal(network.layers[0].H, before)


@given(st.integers(0, 1000), st.floats(-1, 1), st.floats(0.2, 5))
@settings(max_examples=6)
def test_learning_the_noise_ends_where_the_likelihood_is_largest(seed, log_noise, power):
    """A fixed point of expectation maximisation: d/ds² Σ w log N(y; omega, V + s²) = 0."""
    rng = np.random.default_rng(seed)
    V, w = rng.uniform(0.1, 0.5, (1, 500)), np.where(rng.random(500) < 0.5, 1.0, power)
    omega = rng.normal(size=(1, 500))
    y = omega + np.sqrt(V + 10.0**log_noise) * rng.standard_normal((1, 500))
    output = GaussianOutput(Identity(1.0), 1, {"noise": np.ones((1, 1))})
    for _ in range(400):
        output.learn(y, omega, V, w)
    noise = output.parameters["noise"][0, 0]

    def evidence(noise):
        return np.sum(w * norm.logpdf(y, omega, np.sqrt(V + noise)))

    slope = (evidence(1.001 * noise) - evidence(0.999 * noise)) / 2e-3
    assert abs(slope) < 1e-2  # of some hundreds of samples, each of which gives one of order 1


def test_the_noise_of_each_target_is_learnt_and_kept():
    x, y = regression(samples=400)
    config = Config(**OPTIONS, epochs=25, output="gaussian", batch_size=32)
    network = init(config, 4, 2)
    for _ in range(25):
        train_epoch(network, x, y)
    noise = network.arrays()["W1.noise"].ravel()
    np.testing.assert_allclose(noise, [0.09, 0.36], rtol=0.35)
    copy = init(config, 4, 2)
    copy.restore(network.arrays(), 25)
    assert log_loss(copy.layers, x, y, copy.operations) == log_loss(network.layers, x, y, network.operations)
    law = predictive(network.layers, x, network.operations)
    np.testing.assert_array_equal(law.aleatoric, np.broadcast_to(noise, y.shape))
    density = norm.logpdf(y, law.mean, np.sqrt(law.aleatoric + law.epistemic))
    assert log_loss(network.layers, x, y, network.operations) == pytest.approx(-density.mean(), rel=1e-9)
    found = metrics(network, Evaluation(x, y, x, y))
    assert found["bayes_train_error"] == pytest.approx(np.sqrt(np.mean((law.mean - y) ** 2)), rel=1e-9)
    wrong = {**network.arrays(), "W1.noise": -network.arrays()["W1.noise"]}
    with pytest.raises(ValueError, match="W1 must have noise of variances > 0"):
        copy.restore(wrong, 25)


def test_a_given_noise_stays():
    x, y = regression()
    network = init(Config(**OPTIONS, output="gaussian", noise_variance=0.25), 4, 2)
    train_epoch(network, x, y)
    assert "W1.noise" not in network.arrays() and output_of(network.layers[-1]).noise == 0.25


def test_counts():
    """The moments are those of a Poisson variable whose rate is log-normal."""
    output, _ = made("poisson")
    rng = np.random.default_rng(0)
    omega, V = np.array([[0.3], [-1.0], [1.0]]), np.array([[0.2], [0.1], [0.05]])
    rates = np.exp(omega + np.sqrt(V) * rng.standard_normal((3, 200_000)))
    law = output.predictive(omega, V)
    np.testing.assert_allclose(law.mean[0], rates.mean(axis=1), rtol=0.01)
    np.testing.assert_allclose(law.aleatoric[0], rates.mean(axis=1), rtol=0.01)
    np.testing.assert_allclose(law.epistemic[0], rates.var(axis=1), rtol=0.03)
    x, _ = regression(samples=300)
    y = rng.poisson(np.exp(x[:, 0]))
    network = init(Config(**OPTIONS, output="poisson", batch_size=32), 4, 1)
    for _ in range(15):
        train_epoch(network, x, y)
    found, base = log_loss(network.layers, x, y, network.operations), -poisson.logpmf(y, y.mean()).mean()
    best = -poisson.logpmf(y, np.exp(x[:, 0])).mean()
    assert found < best + 0.3 * (base - best)


@pytest.mark.parametrize(
    "output, targets, message",
    [
        ("gaussian", np.zeros((120, 3)), r"`y` must be of shape \(120, 2\), got shape \(120, 3\)"),
        ("gaussian", np.zeros(120), r"`y` must be of shape \(120, 2\), got shape \(120,\)"),
        ("gaussian", np.full((120, 2), np.inf), "`y` must be finite numbers, got inf"),
        ("poisson", np.full((120, 2), 0.5), "`y` must be integers >= 0, got 0.5"),
    ],
)
def test_wrong_targets_are_named(output, targets, message):
    x, _ = regression()
    network = init(Config(**OPTIONS, output=output), 4, 2)
    with pytest.raises(ValueError, match=message):
        train_epoch(network, x, targets)
    with pytest.raises(ValueError, match="`output` must have classes"):
        predict_proba(network.layers, x, network.operations)


def test_noise_of_labels_gives_up_samples_that_are_confidently_wrong():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 5)).astype(np.float32)
    truth = np.where(x[:, 0] + x[:, 1] > 0, 1, -1)
    y = np.where(rng.random(200) < 0.2, -truth, truth)
    errors = {0.0: 0.0, 0.4: 0.0}
    for share, seed in itertools.product(errors, range(4)):
        network = init(Config(hidden=(21,), label_noise=share, batch_size=30, epochs=12, seed=seed), 5, 2)
        for _ in train(network, x, y):
            pass
        errors[share] += metrics(network, Evaluation(x, truth, x, truth))["bayes_test_error"]
    assert errors[0.4] < errors[0.0], errors


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"output": "sign", "temperature": 2.0}, "`temperature` must be left alone with output 'sign'"),
        ({"output": "softmax", "temperature": 0.0}, "`temperature` must be a finite number > 0"),
        ({"output": "softmax", "noise_variance": 0.1}, "`noise_variance` must be left alone with output 'softmax'"),
        ({"output": "gaussian", "noise_variance": 0.0}, "`noise_variance` must be a finite number > 0"),
        ({"output": "gaussian", "label_noise": 0.1}, "`label_noise` must be 0 for an output of numbers, got 0.1"),
        ({"label_noise": 1.0}, "`label_noise` must be a finite number >= 0 and < 1"),
        ({"output": "logistic", "algorithm": "ebp"}, "`output` must be of another kind with algorithm 'ebp'"),
        ({"output": "gaussian", "algorithm": "ebp"}, "`output` must be of another kind with algorithm 'ebp'"),
    ],
)
def test_settings_that_an_output_does_not_read_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Config(**settings)


def test_settings_of_outputs_survive_json():
    for own in ({"output": "softmax", "temperature": 0.3}, {"output": "gaussian", "noise_variance": 2.0}):
        config = Config(**own)
        assert Config.from_json(config.to_json()) == config
