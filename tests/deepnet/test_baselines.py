"""The baselines: their equations, and the interface that they share with message passing."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from deepnet import Config, MessagePassingClassifier, load_dataset
from deepnet.app.checkpoint import latest_checkpoint, load_checkpoint
from deepnet.app.cli import main
from deepnet.baselines import BASELINES, BaselineError, Epoch, ebp
from deepnet.data import Dataset
from deepnet.predict import preactivations
from deepnet.train import Evaluation, Network, init, train, train_epoch

GRADIENTS = [name for name in BASELINES if name.startswith("binarynet")]


def need(algorithm: str) -> None:
    if algorithm in GRADIENTS:
        pytest.importorskip("torch")


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits")


@pytest.fixture(scope="module")
def parity() -> Dataset:
    return load_dataset("digits", task="parity")


def config(algorithm: str, **settings: Any) -> Config:
    batch = 10 if algorithm == "ebp" else 32
    return Config(**{"hidden": (101,), "epochs": 5, "batch_size": batch, "algorithm": algorithm} | settings)


def learned(data: Dataset, settings: Config) -> dict[str, Any]:
    """The metrics after the last epoch."""
    network = init(settings, data.x_train.shape[1], data.classes)
    evaluation = Evaluation.of(data.x_train, data.y_train, data.x_test, data.y_test, seed=0)
    return list(train(network, data.x_train, data.y_train, evaluation))[-1]


# --- learning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ["binary", "continuous"])
@pytest.mark.parametrize("algorithm", ["binarynet", "binarynet-cosine", "ebp"])
def test_they_learn(digits: Dataset, algorithm: str, weights: str) -> None:
    need(algorithm)
    last = learned(digits, config(algorithm, weights=weights))
    assert last["bayes_test_error"] < 12.0
    if BASELINES[algorithm].point:
        assert last["bayes_test_error"] == last["test_error"]


@pytest.mark.parametrize("algorithm", ["binarynet-cosine", "ebp"])
def test_they_learn_two_classes_with_biases_and_relu_units(parity: Dataset, algorithm: str) -> None:
    need(algorithm)
    last = learned(parity, config(algorithm, bias=True, activation="relu", weights="continuous"))
    assert last["bayes_test_error"] < 12.0


@pytest.mark.parametrize("algorithm", BASELINES)
def test_the_edges_are_those_of_message_passing(algorithm: str) -> None:
    need(algorithm)
    ours = init(Config(hidden=(30, 30), density=0.3, seed=5), 64, 10)
    theirs = init(config(algorithm, hidden=(30, 30), density=0.3, seed=5), 64, 10)
    x, y = np.random.default_rng(0).standard_normal((40, 64)), np.arange(40) % 10
    before = [layer.state()["H"].copy() for layer in theirs.layers]
    for _ in range(3):
        train_epoch(theirs, x, y)
    for layer, other, start in zip(theirs.layers, ours.layers, before, strict=True):
        mask, mean = other.drawn(), layer.state()["mean"]
        assert mask is not None and not np.any(mean[~mask]) and np.all(mean[mask])
        assert np.any(layer.state()["H"] != start)


@pytest.mark.parametrize("weights", ["binary", "continuous"])
@pytest.mark.parametrize("hidden", [(30, 20), (31,)])
def test_binarynet_is_used_as_it_is_trained(hidden: tuple[int, ...], weights: str) -> None:
    """An even number of inputs ±1 often has the sum 0: one rule for it, in PyTorch and here."""
    torch = pytest.importorskip("torch")
    from deepnet.baselines.gradient import GradientDescent

    settings = config("binarynet-adam", hidden=hidden, weights=weights, dtype="float64", bias=weights == "continuous")
    network, x = init(settings, 9, 10), np.random.default_rng(0).standard_normal((200, 9))
    train_epoch(network, x, np.arange(200) % 10)
    baseline = settings.baseline
    assert isinstance(baseline, GradientDescent)
    theirs = baseline._trainer(torch, network.layers, epoch_of(x, network), "cpu").network  # pyright: ignore
    with torch.no_grad():
        outputs = theirs(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(preactivations(network.layers, x), outputs, rtol=1e-9, atol=1e-9)
    assert np.ptp(outputs) > 0.1


def epoch_of(x: np.ndarray, network: Network) -> Epoch:
    return Epoch(x, x[:, 0], [], 1, 8, None, "cpu", network.operations, np.random.default_rng(0), None)


def test_the_cosine_reaches_zero() -> None:
    from deepnet.baselines.gradient import GradientDescent

    baseline = BASELINES["binarynet-cosine"]
    assert isinstance(baseline, GradientDescent)
    x, rates = np.zeros((100, 1)), []
    for number in range(4):
        batches = np.split(np.arange(100), 10)
        epoch = Epoch(x, x[:, 0], batches, number, 4, 0.5, "cpu", None, np.random.default_rng(0), None)  # pyright: ignore
        rates += [baseline._rate(epoch, batch) for batch in range(10)]
    np.testing.assert_allclose(rates, 0.25 * (1.0 + np.cos(np.pi * np.arange(40) / 40)), rtol=1e-12)


# --- expectation backpropagation --------------------------------------------------------------------------------------


def soudry(h: list[np.ndarray], x: np.ndarray, y: np.ndarray, *, real: bool) -> list[np.ndarray]:
    """Fields after a batch, by the equations of Soudry et al. (2014), algorithms 1 and 2, without biases.

    In their variables: ν of the units, u of the sums over √K, δ of what comes back; single outputs ±1. x is (K, N).
    """
    w = [layer if real else np.tanh(layer) for layer in h]
    spread = [np.ones_like(layer) if real else 1.0 - m**2 for layer, m in zip(h, w, strict=True)]
    nu, mu, variance, second = [x], [], [], x**2
    for m, s in zip(w, spread, strict=True):
        K = m.shape[1]
        mu.append(m @ nu[-1] / np.sqrt(K))
        variance.append((s @ second + m**2 @ (second - nu[-1] ** 2)) / K)
        nu.append(2.0 * norm.cdf(mu[-1] / np.sqrt(variance[-1])) - 1.0)
        second = np.ones_like(nu[-1])
    deviation = np.sqrt(variance[-1])
    delta = y * norm.pdf(mu[-1] / deviation) / deviation / norm.cdf(y * mu[-1] / deviation)
    new: list[np.ndarray] = []
    for number in reversed(range(len(h))):
        K = h[number].shape[1]
        new.insert(0, h[number] + delta @ nu[number].T / np.sqrt(K))
        if number:
            deviation = np.sqrt(variance[number - 1])
            delta = w[number].T @ delta / np.sqrt(K) * 2.0 * norm.pdf(mu[number - 1] / deviation) / deviation
    return new


@pytest.mark.parametrize("real", [False, True])
def test_a_batch_of_ebp_is_that_of_its_authors(real: bool) -> None:
    rng = np.random.default_rng(1)
    settings = config("ebp", hidden=(9, 7), weights="continuous" if real else "binary", dtype="float64", eps_init=2.0)
    network = init(settings, 11, 2)
    x, y = rng.standard_normal((11, 6)), rng.choice([-1.0, 1.0], (1, 6))
    h = [layer.state()["H"].copy() for layer in network.layers]
    expected = soudry(h, x, y, real=real)
    ebp.train_batch(network.layers, x, y, network.operations)
    for layer, before, after in zip(network.layers, h, expected, strict=True):
        assert np.abs(after - before).max() > 0.01
        np.testing.assert_allclose(layer.state()["H"], after, rtol=1e-6, atol=1e-8)


def posterior(h: list[np.ndarray], x: np.ndarray, y: float) -> list[np.ndarray]:
    """Means of all ±1 weights with these fields given one label, by enumeration."""
    sizes = [layer.size for layer in h]
    fields = np.concatenate([layer.ravel() for layer in h])
    w = np.array(list(itertools.product([-1.0, 1.0], repeat=fields.size)))
    units, start = np.broadcast_to(x, (len(w), x.size)), 0
    for layer, size in zip(h, sizes, strict=True):
        z = np.einsum("nki,ni->nk", w[:, start : start + size].reshape(-1, *layer.shape), units)
        units, start = np.where(z >= 0, 1.0, -1.0), start + size
    weight = np.exp(w @ fields) * (units[:, 0] == y)
    means = weight @ w / weight.sum()
    return [part.reshape(layer.shape) for part, layer in zip(np.split(means, np.cumsum(sizes)[:-1]), h, strict=True)]


def missed(hidden: tuple[int, ...], features: int, seed: int) -> float:
    """Distance of EBP's means from the posterior's after a surprising label, relative to the way from the prior."""
    rng = np.random.default_rng(seed)
    network = init(config("ebp", hidden=hidden, dtype="float64", seed=seed), features, 2)
    x = rng.standard_normal((features, 1))
    h = [layer.state()["H"].copy() for layer in network.layers]
    y = -float(np.sign(np.sum(h[0] @ x)))
    exact = posterior(h, x[:, 0], y)
    ebp.train_batch(network.layers, x, np.array([[y]]), network.operations)
    found, prior, right = (
        np.concatenate([part.ravel() for part in parts])
        for parts in ([layer.state()["mean"] for layer in network.layers], map(np.tanh, h), exact)
    )
    return float(np.linalg.norm(found - right) / np.linalg.norm(right - prior))


def test_ebp_is_near_the_posterior_of_one_label() -> None:
    """What it assumes is that sums are Gaussian: right for many inputs. Two layers add the first order in B."""
    few, more, many = (np.mean([missed((), features, seed) for seed in range(6)]) for features in (5, 10, 17))
    assert few > more > many and many < 0.12
    assert np.mean([missed((3,), 5, seed) for seed in range(6)]) < 0.5


# --- one interface ----------------------------------------------------------------------------------------------------


def run(*arguments: str) -> int:
    return main(["train", "digits", "--hidden", "15", "--no-plot", *arguments])


def arrays(folder: Path) -> dict[str, np.ndarray]:
    path = latest_checkpoint(folder)
    assert path is not None
    return load_checkpoint(path)[1]


@pytest.mark.parametrize("algorithm", BASELINES)
def test_a_resumed_run_is_the_same(tmp_path: Path, algorithm: str, capsys: pytest.CaptureFixture[str]) -> None:
    need(algorithm)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run("--algorithm", algorithm, "--epochs", "4", "--out", str(whole)) == 0
    assert run("--algorithm", algorithm, "--epochs", "4", "--out", str(parts)) == 0
    for path in sorted(parts.glob("checkpoint-*.npz"))[1:]:
        path.unlink()  # back to epoch 3
    assert main(["train", "digits", "--out", str(parts), "--resume", "--no-plot"]) == 0
    first, second = arrays(whole), arrays(parts)
    assert set(first) == set(second) and all(np.array_equal(first[name], second[name]) for name in first)
    assert json.loads((whole / "config.json").read_text())["config"]["algorithm"] == algorithm
    capsys.readouterr()
    assert main(["show", str(parts)]) == 0
    shown = capsys.readouterr().out
    assert algorithm in shown and "damping" not in shown
    assert main(["evaluate", str(parts), "digits"]) == 0


def test_a_run_that_has_annealed_has_no_further_epochs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    for algorithm, code in (("binarynet-cosine", 2), ("binarynet", 0)):
        folder = str(tmp_path / algorithm)
        assert run("--algorithm", algorithm, "--epochs", "1", "--out", folder) == 0
        assert main(["train", "digits", "--out", folder, "--resume", "--epochs", "2", "--no-plot"]) == code
        assert ("`epochs` must stay" in capsys.readouterr().err) == bool(code)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"algorithm": "adam"}, r"`algorithm` must be one of \[.*'ebp'.*\], got 'adam'"),
        ({"algorithm": "ebp", "rho": 1.0}, r"`rho` must be left alone with algorithm 'ebp'.*, got 1.0"),
        ({"algorithm": "ebp", "learning_rate": 0.1}, r"`learning_rate` must be left alone .*, got 0.1"),
        ({"algorithm": "binarynet", "closure": "bp"}, r"`closure` must be left alone .*, got 'bp'"),
        ({"algorithm": "binarynet", "learning_rate": 0}, r"`learning_rate` must be .*, got 0"),
        ({"learning_rate": 0.1}, r"`learning_rate` must be left alone with algorithm 'message-passing'.*, got 0.1"),
    ],
)
def test_settings_that_an_algorithm_does_not_know(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config(**settings)


def test_settings_survive_json() -> None:
    for algorithm in BASELINES:
        settings = config(algorithm, hidden=(3, 4))
        assert Config.from_json(json.loads(json.dumps(settings.to_json()))) == settings


@pytest.mark.parametrize("algorithm", ["binarynet-adam", "ebp"])
@pytest.mark.parametrize("classes", [2, 3])
def test_as_estimators(algorithm: str, classes: int) -> None:
    need(algorithm)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 6))
    y = np.argmax(X[:, :classes], axis=1)
    model = MessagePassingClassifier(hidden=(41,), algorithm=algorithm, epochs=20, batch_size=10, random_state=0)
    p = model.fit(X, y).predict_proba(X)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-12)
    assert model.score(X, y) > 0.75 and np.array_equal(model.predict(X), p.argmax(axis=1))
    model.partial_fit(X, y)
    assert model.n_iter_ == 21


def test_without_pytorch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(BaselineError, match=r"torch is needed .* pip install 'cavity\[bench\]'"):
        init(Config(algorithm="binarynet"), 4, 2)
    assert run("--algorithm", "binarynet", "--out", str(tmp_path / "run")) == 1
    assert "pip install" in capsys.readouterr().err and not (tmp_path / "run").exists()
