"""Outputs: how labels enter, hard or soft; what is predicted; and what adding one costs."""

from typing import Any, ClassVar
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import entr, ndtr

from deepnet import MessagePassingClassifier, outputs
from deepnet.config import Config
from deepnet.outputs import ArgmaxOutput, Output, SignOutput, output_name
from deepnet.predict import log_loss, predict_proba
from deepnet.train import Evaluation, init, metrics, output_labels, train_batch, train_epoch, updates
from factorgraph.channels import Argmax, Probit, Sign
from factorgraph.dense.numpy_operations import derivatives
from factorgraph.dense.state import Message

#: Soft targets that are certain, against labels: sums of the same terms.
CERTAIN = 1e-12

finite = st.floats(-5, 5)


@given(st.lists(finite, min_size=3, max_size=3), st.lists(st.floats(0.1, 4), min_size=3, max_size=3), st.integers(0, 2))
def test_certain_targets_are_labels(omega, V, label):
    omega, V = np.array(omega)[:, None], np.array(V)[:, None]
    argmax, sign = ArgmaxOutput(Argmax(), 3), SignOutput(Sign(), 3)
    y = np.full((3, 1), 1.0 if label else -1.0)
    for output, hard, soft in (
        (argmax, np.array([label]), np.eye(3)[label][:, None]),
        (sign, y, np.stack([y < 0, y > 0]).astype(float)),
    ):
        ours, theirs = (derivatives(output.observe(target, 1.0), omega, V) for target in (soft, hard))
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=CERTAIN * max(1.0, np.abs(b).max()))


@pytest.mark.parametrize("form", ["double_jensen", "exact"])
def test_soft_targets_of_an_argmax_are_a_mixture_of_labels(form):
    rng = np.random.default_rng(0)
    omega, V, p = rng.normal(size=(3, 4)), rng.uniform(0.5, 2, (3, 4)), rng.dirichlet([1, 1, 1], 4).T
    channel = Argmax(form)
    found = channel.observe_soft(p, omega=omega, V=V)
    each = [channel.observe(np.full(4, c), omega=omega, V=V).phi for c in range(3)]
    np.testing.assert_allclose(found.phi, np.log(np.sum(p * np.exp(each), axis=0)), rtol=1e-12)
    step = 1e-4
    for k in range(3):
        shift = step * np.eye(3)[k][:, None]
        up, down = (channel.observe_soft(p, omega=omega + s, V=V).phi for s in (shift, -shift))
        np.testing.assert_allclose(found.g[k], (up - down) / (2 * step), atol=1e-6)
        np.testing.assert_allclose(found.gamma[k], -(up + down - 2 * found.phi) / step**2, atol=1e-5)
    for wrong in (-p, p[:2], np.zeros_like(p)):
        with pytest.raises(ValueError, match="`p` must be"):
            channel.observe_soft(wrong, omega=omega, V=V)


def test_soft_targets_of_a_sign_are_labels_seen_through_noise():
    omega, V, p = np.array([[0.3, -1.0]]), np.array([[0.5, 2.0]]), np.array([[0.8, 0.35]])
    message = SignOutput(Sign(), 1).observe(np.stack([1 - p, p]), 1.0)
    g, _ = derivatives(message, omega, V)
    up, step = lambda o: np.log(p * ndtr(o / np.sqrt(V)) + (1 - p) * ndtr(-o / np.sqrt(V))), 1e-5
    np.testing.assert_allclose(g, (up(omega + step) - up(omega - step)) / (2 * step), rtol=1e-8)


def test_soft_targets_train_as_labels_do():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 6)).astype(np.float32)
    y = np.argmax(x[:, :3], axis=1)
    networks = [init(Config(hidden=(9,), batch_size=40), 6, 3) for _ in range(2)]
    for network, labels in zip(networks, (y, np.eye(3, dtype=np.float32)[y].T), strict=True):
        step = updates(network.config, 0.0)
        train_batch(network.layers, x.T.copy(), labels, step, operations=network.operations)
    for name, values in networks[0].arrays().items():
        scale = np.abs(values).max()
        np.testing.assert_allclose(networks[1].arrays()[name], values, rtol=0, atol=1e-4 * scale, err_msg=name)


def task(classes):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 6)).astype(np.float32)
    return x, np.argmax(x[:, :classes], axis=1)


@pytest.mark.parametrize("output", ["sign", "argmax", "argmax-exact"])
def test_certain_targets_are_labels_in_whole_epochs(output):
    """By the same door; the network has float64, so that it is the same one."""
    classes = 2 if output == "sign" else 3
    x, y = task(classes)
    hard = 2 * y - 1 if output == "sign" else y
    config = Config(hidden=(9,), batch_size=16, output=output, dtype="float64", closure="amp", tau=2)
    networks = [init(config, 6, classes) for _ in range(2)]
    for _ in range(2):
        for network, targets in zip(networks, (hard, np.eye(classes)[y]), strict=True):
            train_epoch(network, x, targets)
    for name, values in networks[0].arrays().items():
        np.testing.assert_allclose(networks[1].arrays()[name], values, rtol=1e-6, err_msg=name)
    found, expected = (metrics(networks[1], Evaluation(x, each, x, each)) for each in (np.eye(classes)[y], hard))
    assert found == expected
    losses = [log_loss(networks[1].layers, x, each, networks[1].operations) for each in (np.eye(classes)[y], hard)]
    p = predict_proba(networks[1].layers, x, networks[1].operations)
    chosen = np.where(y == 1, p[:, 0], 1 - p[:, 0]) if output == "sign" else p[np.arange(60), y]
    assert losses == pytest.approx([-np.mean(np.log(chosen))] * 2, rel=1e-9)


@pytest.mark.parametrize("classes", [2, 3])
def test_targets_without_information_teach_nothing(classes):
    x, _ = task(classes)
    network = init(Config(hidden=(9,), batch_size=16, damping=0.0, rho=1.0, dtype="float64"), 6, classes)
    before = network.arrays()
    before = {name: values.copy() for name, values in before.items()}
    train_epoch(network, x, np.full((60, classes), 1 / classes))
    if classes == 2:
        for name, values in network.arrays().items():
            np.testing.assert_allclose(values, before[name], rtol=0, atol=1e-12, err_msg=name)
    assert log_loss(network.layers, x, np.full((60, classes), 1 / classes), network.operations) == pytest.approx(
        np.log(classes), abs=1e-10
    )


@given(st.lists(finite, min_size=4, max_size=4), st.lists(st.floats(0.1, 4), min_size=4, max_size=4), st.floats(0, 1))
def test_the_loss_of_soft_targets_of_two_classes(omega, V, p):
    """Both outputs against the sums over the two labels that their definitions are."""
    omega, V = np.array(omega).reshape(2, 2), np.array(V).reshape(2, 2)
    soft = np.array([[1 - p, p], [0.25, 0.75]])
    gap = (omega[1] - omega[0]) / np.sqrt(V.sum(axis=0))
    argmax, sign = ArgmaxOutput(Argmax(), 2), SignOutput(Sign(), 1)
    p = soft[:, 0] * ndtr(-gap) + soft[:, 1] * ndtr(gap)
    assert np.mean(argmax.log_likelihood(argmax.encode(soft, np.float64), omega, V)) == pytest.approx(
        np.mean(np.log(p)), rel=1e-8
    )
    z = omega[0] / np.sqrt(V[0])
    p = soft[:, 0] * ndtr(-z) + soft[:, 1] * ndtr(z)
    found = -np.mean(sign.log_likelihood(sign.encode(soft, np.float64), omega[:1], V[:1]))
    assert found == pytest.approx(-np.mean(np.log(p)), rel=1e-9, abs=1e-12)


def test_wrong_targets_are_refused_before_any_work():
    x, y = task(3)
    network = init(Config(hidden=(9,)), 6, 3)
    before = network.layers[0].H.copy()
    for wrong, message in (
        (np.eye(4)[y], r"`y` must be of shape \(60,\), one label for each sample, or \(60, 3\), probabilities of"),
        (2 * np.eye(3)[y], r"`y` must have probabilities that add up to 1 in each row, got array"),
        (np.full((60, 3), np.nan), "`y` must have probabilities that add up to 1"),
        (np.array([[1.5, -0.5, 0.0]] * 60), "`y` must have probabilities that add up to 1"),
    ):  # fmt: skip
        for use in (train_epoch, lambda network, x, y: log_loss(network.layers, x, y, network.operations)):
            with pytest.raises(ValueError, match=message):
                use(network, x, wrong)
    assert network.epoch == 0 and np.array_equal(network.layers[0].H, before)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_estimator_takes_soft_targets(classes):
    X, y = task(classes)
    soft = np.eye(classes)[y]
    options = {"hidden": 9, "epochs": 15, "random_state": 0, "output": "argmax", "batch_size": 10, "preset": "paper"}
    options["calibrate"] = False  # the networks are compared
    hard, certain = (MessagePassingClassifier(**options).fit(X, targets) for targets in (y, soft))
    assert certain.classes_.tolist() == list(range(classes))
    assert hard.score(X, y) > 0.9
    np.testing.assert_allclose(certain.predict_proba(X), hard.predict_proba(X), atol=1e-4)
    vague = MessagePassingClassifier(**options).fit(X, 0.6 * soft + 0.4 / classes)
    entropy = [-np.sum(p * np.log(p + 1e-300)) for p in (vague.predict_proba(X), certain.predict_proba(X))]
    assert entropy[0] > 1.01 * entropy[1]
    online = MessagePassingClassifier(**options, verbose=1)
    names = np.array(["a", "b", "c"][:classes])
    online.partial_fit(X, soft, classes=names).partial_fit(X, names[y]).partial_fit(X, soft)
    assert online.n_iter_ == 3 and set(online.predict(X)) <= set(names)
    with pytest.raises(ValueError, match=f"`y` must be probabilities of the {classes} classes, got shape"):
        online.partial_fit(X, np.full((60, 4), 0.25))
    with pytest.raises(ValueError, match="`y` must have probabilities that add up to 1"):
        MessagePassingClassifier(**options).fit(X, 2 * soft)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        MessagePassingClassifier(**options).fit(X, soft[:-1])


def test_the_output_follows_from_the_labels_or_is_chosen():
    assert output_name("auto", 2) == "sign" and output_name("auto", 3) == "argmax"
    assert output_name("argmax-exact", 2) == "argmax-exact"
    with pytest.raises(ValueError, match=r"`output` must be one of \['argmax', .*\] for 3 classes, got 'sign'"):
        output_name("sign", 3)
    with pytest.raises(ValueError, match="`output` must be one of"):
        Config(output="softmin")
    assert init(Config(hidden=(3,), output="argmax"), 4, 2).layers[-1].plan.outputs == 2


@pytest.mark.parametrize("output", outputs.classifying())
def test_two_classes_with_every_output(output):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 5))
    y = np.where(X[:, 0] + 0.5 * X[:, 1] > 0, "yes", "no")
    network = MessagePassingClassifier(hidden=(11,), output=output, epochs=15, batch_size=20, random_state=0).fit(X, y)
    assert network.score(X, y) > 0.85
    p = network.predict_proba(X)
    assert p.shape == (120, 2) and np.allclose(p.sum(axis=1), 1)
    assert np.array_equal(network.classes_[p.argmax(axis=1)], network.predict(X))


def test_labels_of_two_classes_may_be_signs():
    for output, expected in (("sign", [[-1.0, 1.0]]), ("argmax", [0, 1])):
        network = init(Config(hidden=(3,), output=output), 4, 2)
        assert output_labels(network, np.array([-1, 1])).tolist() == expected


@given(finite, st.floats(0.1, 4))
def test_the_loss_of_a_sign(omega, V):
    output = SignOutput(Sign(), 1)
    p = output.probabilities(np.array([[omega]]), np.array([[V]]))
    assert output.log_likelihood(np.array([[1.0]]), np.array([[omega]]), np.array([[V]])).item() == pytest.approx(
        np.log(p[0, 0])
    )


class NoisySign(Output):
    """Labels ±1 that probit noise has flipped: all that a new output takes."""

    channels: ClassVar = {"noisy-sign": Probit(1.0)}

    @staticmethod
    def serves(classes: int) -> bool:
        return classes == 2

    @staticmethod
    def units_for(classes: int) -> int:
        return 1

    @property
    def need(self) -> str:
        return "labels +1 and -1"

    def valid(self, y: Any) -> Any:
        return np.abs(y) == 1

    def numbers(self, y: Any) -> Any:
        return (y.reshape(len(y), -1)[:, 0] > 0).astype(np.intp)

    def encode(self, y: Any, dtype: Any) -> Any:
        return (2 * self.numbers(y) - 1)[None].astype(dtype)

    def observe(self, y: Any, scale: float, rng: Any = None) -> Message:
        return Message(self.channel, scale, y=y)

    def pointwise(self, z: Any) -> Any:
        return self.channel(z).T

    def most_probable(self, omega: Any, V: Any) -> Any:
        return self.channel(omega).T

    def probabilities(self, omega: Any, V: Any) -> Any:
        return ndtr(omega / np.sqrt(V + 1.0)).T

    def conditional_entropy(self, omega: Any, V: Any) -> Any:
        nodes, weights = np.polynomial.hermite_e.hermegauss(40)
        p = ndtr(omega[0] + np.sqrt(V[0]) * nodes[:, None])
        return weights @ (entr(p) + entr(1.0 - p)) / weights.sum()


def test_a_new_output_is_a_class_and_its_place_in_the_table():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 5)).astype(np.float32)
    y = np.where(X[:, 0] > 0, 1, -1)
    with (
        mock.patch.object(outputs, "KINDS", (*outputs.KINDS, NoisySign)),
        mock.patch.dict(outputs.OUTPUTS, NoisySign.channels),
    ):
        network = init(Config(hidden=(21,), output="noisy-sign", epochs=5, batch_size=20), 5, 2)
        assert network.layers[-1].plan.channel == Probit(1.0)
        for _ in range(5):
            train_epoch(network, X, y)
        model = MessagePassingClassifier(
            hidden=(21,), output="noisy-sign", batch_size=20, calibrate=False, random_state=0
        )
        fitted = model.fit(X, y)
        assert fitted.score(X, y) > 0.85
        p = fitted.predict_proba(X)
    assert np.all((p > 0) & (p < 1)) and np.allclose(p.sum(axis=1), 1)
