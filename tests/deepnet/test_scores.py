"""Scores of probabilities against scikit-learn, and uncertainties that tell strange inputs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from deepnet.app.cli import main
from deepnet.app.run import Run
from deepnet.average import class_probabilities, uncertainty
from deepnet.config import Config
from deepnet.data import load_dataset
from deepnet.metrics import measure
from deepnet.predict import error_percent, predict_bayes
from deepnet.scores import BINS, Reliability, class_scores, detection
from deepnet.train import init, train_epoch


@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(2, 300), st.sampled_from([0.05, 1.0, 30.0]))
@settings(max_examples=30)
def test_scores_are_those_of_scikit_learn(seed: int, classes: int, samples: int, concentration: float) -> None:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(classes, concentration), samples).clip(1e-9)
    p /= p.sum(axis=1, keepdims=True)
    numbers = rng.integers(0, classes, samples)
    found = class_scores(p, numbers)
    every = list(range(classes))
    assert found["log_loss"] == pytest.approx(log_loss(numbers, p, labels=every), rel=1e-9)
    brier: Any = brier_score_loss  # of several classes since scikit-learn 1.7
    assert found["brier"] == pytest.approx(brier(numbers, p, labels=every, scale_by_half=False), rel=1e-9)
    reliability = Reliability.of(p, numbers)
    right = p.argmax(axis=1) == numbers
    accuracy, confidence = calibration_curve(right, p.max(axis=1), n_bins=BINS)
    there = reliability.counts > 0
    np.testing.assert_allclose(reliability.accuracy[there], accuracy, rtol=1e-9)
    np.testing.assert_allclose(reliability.confidence[there], confidence, rtol=1e-9)
    weights = reliability.counts[there] / samples
    assert found["calibration_error"] == pytest.approx(weights @ np.abs(accuracy - confidence), abs=1e-12)


def test_extremes() -> None:
    """Certain and right, certain and wrong: finite, and as large as can be."""
    p = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert class_scores(p, np.array([0, 0])) == {"log_loss": 0.0, "brier": 0.0, "calibration_error": 0.0}
    worst = class_scores(p, np.array([1, 1]))
    assert worst["brier"] == 2.0 and worst["calibration_error"] == 1.0
    assert worst["log_loss"] == pytest.approx(12 * np.log(10))


def test_calibrated_probabilities_have_no_error() -> None:
    """Labels drawn from them: what is left is the noise of the bins, at most √(bins / samples) / 2 in the mean."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1.0, 1.0, 1.0], 60_000)
    numbers = (p.cumsum(axis=1) < rng.random((60_000, 1))).sum(axis=1)
    assert Reliability.of(p, numbers).error < np.sqrt(BINS / 60_000) / 2
    sharper = p**3 / (p**3).sum(axis=1, keepdims=True)
    assert Reliability.of(sharper, numbers).error > 0.1


def test_detection() -> None:
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(size=4000), rng.normal(2.0, size=4000)
    found = detection(inside, outside)
    pairs = (outside[:, None] > inside).mean()
    assert found["auroc"] == pytest.approx(pairs, abs=1e-9)
    # where 95 % of those inside pass, at their 95th percentile
    assert found["fpr95"] == pytest.approx(np.mean(outside <= np.quantile(inside, 0.95)), abs=2e-3)
    assert found["average_precision"] > 0.9
    assert detection(np.zeros(9), np.zeros(9)) == {"auroc": 0.5, "average_precision": 0.5, "fpr95": 1.0}
    assert detection(np.zeros(9), np.ones(9)) == {"auroc": 1.0, "average_precision": 1.0, "fpr95": 0.0}


@pytest.fixture(scope="module")
def trained() -> Any:
    data = load_dataset("digits")
    network = init(Config(hidden=(41,), bias=True), 64, 10)
    for _ in range(5):
        train_epoch(network, data.x_train, data.y_train)
    return network, data


def test_what_is_measured(trained: Any) -> None:
    network, data = trained
    found = measure(network, data.x_test, data.y_test)
    p = class_probabilities(network, data.x_test)
    assert found["log_loss"] == pytest.approx(log_loss(data.y_test, p), rel=1e-6) and found["log_loss"] < 0.6
    bayes = predict_bayes(network.layers, data.x_test, network.operations)
    assert found["bayes_error"] == pytest.approx(error_percent(bayes, data.y_test), abs=0.3)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-6)


@pytest.mark.parametrize("task", ["multiclass", "parity"])
def test_all_uncertainty_is_one_of_the_weights_where_labels_are_functions_of_them(task: Any) -> None:
    """Against networks drawn from the posterior of a single layer: each of them is certain."""
    data = load_dataset("digits", task=task)
    network = init(Config(hidden=()), 64, data.classes)
    for _ in range(3):
        train_epoch(network, data.x_train, data.y_train)
    found = uncertainty(network, data.x_test[:200])
    np.testing.assert_array_equal(found.total, found.epistemic)
    rng, (layer,) = np.random.default_rng(0), network.layers
    mean = layer.state()["mean"] if "mean" in layer.state() else np.tanh(layer.state()["H"])
    weights = np.where(rng.random((3000, *mean.shape)) < 0.5 * (1 + mean), 1.0, -1.0)
    z = weights @ data.x_test[:200].T
    votes = z[:, 0] > 0 if data.classes == 2 else z.argmax(axis=1)
    p = np.stack([(votes == k).mean(axis=0) for k in range(data.classes)], axis=1)
    entropy = -np.sum(p * np.log(np.where(p > 0, p, 1.0)), axis=1)
    assert np.abs(entropy - found.total).mean() < 0.05 < entropy.std()


def test_strange_inputs_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    argv = ["train", "digits", "--hidden", "41", "--bias", "--epochs", "5", "--no-plot", "--out", str(run)]
    assert main(argv) == 0
    rng = np.random.default_rng(0)
    np.save(tmp_path / "noise.npy", rng.integers(0, 17, (300, 8, 8), dtype=np.uint8))
    capsys.readouterr()
    options = ["--ood", str(tmp_path / "noise.npy"), "--no-plot"]
    assert main(["evaluate", str(run), *options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["ood"]
    assert main(["evaluate", str(run), *options]) == 0
    assert f"{found['entropy']['auroc']:8.4f}" in capsys.readouterr().out
    description, network = Run.open(run).description, Run.open(run).load()
    x = description.prepared()[0].standardise(np.load(tmp_path / "noise.npy"), "float32")  # pyright: ignore
    data = load_dataset("digits")
    entropy = [uncertainty(network, each).total for each in (data.x_test, x)]
    labels = np.repeat([0, 1], [len(data.x_test), 300])
    assert found["entropy"]["auroc"] == pytest.approx(roc_auc_score(labels, np.concatenate(entropy)), abs=1e-6)
    assert found["entropy"]["auroc"] > 0.8 and found["entropy"] == found["mutual_information"]
    assert not (run / "reliability.png").exists()
