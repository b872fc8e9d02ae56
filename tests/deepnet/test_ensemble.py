"""Ensembles: members are the networks trained alone, and their average is the mixture of what they predict."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import emulated_gpu
import numba
import numpy as np
import pytest
from scipy.stats import norm
from sklearn.datasets import load_digits
from sweep_problems import FLOAT32_SWEEP

import deepnet
from deepnet import MessagePassingClassifier, MessagePassingRegressor
from deepnet.app.cli import main
from deepnet.app.run import Run
from deepnet.average import class_probabilities, law, log_loss, most_probable, uncertainty, votes
from deepnet.config import Config
from deepnet.ensemble import Ensemble, create
from deepnet.kernels.gpu import GpuOperations
from deepnet.metrics import measure
from deepnet.predict import predict_bayes, predict_pointwise
from deepnet.state import init
from deepnet.train import train_epoch

FEATURES, SAMPLES = 8, 90

#: Rounding of float64, in sums of a few terms.
EXACT = 1e-12

#: Everything that a member could share with another one by mistake: random numbers, sites, edges, learnt parameters.
CASES: list[dict[str, Any]] = [
    {"closure": "mf"},
    {"closure": "mf", "dtype": "float64", "tau": 2},
    {"closure": "amp", "density": 0.6, "bias": True},
    {"closure": "bp", "output": "softmax"},
    {"closure": "amp", "output": "argmax-single-jensen"},
    {"closure": "mf", "memory": "sites", "preset": "adf"},
    {"closure": "mf", "weights": "ternary"},
    {"closure": "amp", "weights": "continuous", "activation": "relu", "output": "gaussian"},
    {"algorithm": "ebp"},
]


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = numba.get_num_threads()
    numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))
    yield
    numba.set_num_threads(before)


def problem(config: Config) -> tuple[np.ndarray, np.ndarray, int]:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((SAMPLES, FEATURES)).astype(config.dtype)
    if config.output == "gaussian":
        return x, np.sin(x[:, :2]).astype(config.dtype), 2
    return x, (x[:, 0] > 0).astype(int) + (x[:, 1] > 0.5), 3


def trained(settings: dict[str, Any], members: int = 3, epochs: int = 2) -> tuple[Ensemble, np.ndarray, np.ndarray]:
    config = Config(**{"hidden": (7, 6), "batch_size": 20, "seed": 5} | settings, members=members)
    x, y, classes = problem(config)
    ensemble = create(config, FEATURES, classes)
    assert isinstance(ensemble, Ensemble)
    for _ in range(epochs):
        train_epoch(ensemble, x, y)
    return ensemble, x, y


@pytest.mark.parametrize("settings", CASES, ids=lambda settings: "-".join(map(str, settings.values())))
def test_members_are_networks_trained_alone(settings: dict[str, Any], two_threads: None) -> None:
    ensemble, x, y = trained(settings)
    numba.set_num_threads(1)  # as each member has
    fields = []
    for number, member in enumerate(ensemble.members):
        alone = init(ensemble.config, FEATURES, problem(ensemble.config)[2], member=number)
        for _ in range(2):
            train_epoch(alone, x, y)
        assert alone.config == member.config == replace(ensemble.config, members=1)
        assert alone.epoch == member.epoch == ensemble.epoch == 2
        for name, values in alone.arrays().items():
            np.testing.assert_array_equal(ensemble.arrays()[f"member{number}.{name}"], values)
        fields.append(alone.arrays()["W0.H"])
    assert np.abs(fields[0] - fields[1]).max() > 0.1 < np.abs(fields[1] - fields[2]).max()


def test_the_first_member_is_the_network_of_the_settings() -> None:
    config = Config(hidden=(4,), seed=2**70)  # of several words, which zeros behind it would change
    for name, values in init(config, 3, 2).arrays().items():
        np.testing.assert_array_equal(create(replace(config, members=2), 3, 2).arrays()[f"member0.{name}"], values)


def test_classes_are_averaged() -> None:
    ensemble, x, y = trained({})
    each = [class_probabilities(member, x) for member in ensemble.members]
    p = np.mean(each, axis=0)
    np.testing.assert_allclose(class_probabilities(ensemble, x), p, rtol=EXACT)
    found = measure(ensemble, x, y)
    assert found["bayes_error"] == 100 * np.mean(p.argmax(axis=1) != y)
    assert found["log_loss"] == pytest.approx(-np.mean(np.log(p[np.arange(len(y)), y])))
    assert log_loss(ensemble, x, y) == pytest.approx(
        found["log_loss"], rel=1e-3
    )  # of quadratures that are not rescaled
    alone = [measure(member, x, y) for member in ensemble.members]
    assert found["member_error"] == pytest.approx(np.mean([one["error"] for one in alone]))
    assert found["bayes_member_error"] == pytest.approx(np.mean([one["bayes_error"] for one in alone]))
    assert "member_error" not in alone[0]
    labels = np.array([predict_pointwise(member.layers, x) for member in ensemble.members])
    expected = [np.bincount(own, minlength=3).argmax() for own in labels.T]
    np.testing.assert_array_equal(most_probable(ensemble, x), expected)
    assert found["error"] == pytest.approx(100 * np.mean(expected != y))


def test_votes_of_equal_number_are_for_the_first_class() -> None:
    np.testing.assert_array_equal(votes([np.array([2, 0, 1]), np.array([1, 0, 2]), np.array([1, 2, 0])], 3), [1, 0, 0])


def test_disagreement_is_epistemic() -> None:
    ensemble, x, _ = trained({"output": "softmax"})
    whole, each = uncertainty(ensemble, x), [uncertainty(member, x) for member in ensemble.members]
    np.testing.assert_allclose(whole.aleatoric, np.mean([one.aleatoric for one in each], axis=0), atol=1e-6)
    assert (whole.epistemic > np.mean([one.epistemic for one in each], axis=0) - 1e-6).all()


def test_numbers_are_a_mixture() -> None:
    ensemble, x, y = trained({"output": "gaussian", "activation": "relu", "weights": "continuous", "dtype": "float64"})
    laws = [law(member, x) for member in ensemble.members]
    found, (means, deviations) = law(ensemble, x), ([one.mean for one in laws], [one.deviation for one in laws])
    np.testing.assert_allclose(found.mean, np.mean(means, axis=0), rtol=EXACT)
    square = np.mean(np.square(means) + np.square(deviations), axis=0)
    np.testing.assert_allclose(found.deviation**2, square - found.mean**2, rtol=1e-9)
    density = np.mean([norm.pdf(y, *moments) for moments in zip(means, deviations, strict=True)], axis=0)
    assert measure(ensemble, x, y)["log_likelihood"] == pytest.approx(np.mean(np.log(density)), rel=1e-9)


@pytest.mark.parametrize("samples", [None, 37])
def test_progress_counts_every_sample_once(samples: int | None) -> None:
    for settings in ({}, {"algorithm": "ebp"}):
        config = Config(hidden=(4,), batch_size=9, members=4, **settings)
        x, y, classes = problem(config)
        told: list[int] = []
        train_epoch(create(config, FEATURES, classes), x, y, told.append, samples)
        assert sum(told) == (samples or SAMPLES)
        assert min(told) >= 0


def test_a_resumed_run_is_one_that_never_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--hidden", "9", "--members", "2", "--damping", "0.9", "--beta", "1", "--rho", "1", "--no-plot"]
    assert main(["train", "digits", *options, "--epochs", "1", "--out", str(tmp_path / "a")]) == 0
    assert main(["train", "digits", "--resume", "--epochs", "2", "--no-plot", "--out", str(tmp_path / "a")]) == 0
    assert main(["train", "digits", *options, "--epochs", "2", "--out", str(tmp_path / "b")]) == 0
    ours, theirs = (Run.open(tmp_path / name).load() for name in "ab")
    assert isinstance(ours, Ensemble)
    for name, values in ours.arrays().items():
        np.testing.assert_array_equal(values, theirs.arrays()[name])
    last = json.loads((tmp_path / "a" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["bayes_test_error"] < last["bayes_test_member_error"]
    capsys.readouterr()
    assert main(["show", str(tmp_path / "a")]) == 0
    assert "  of one" in capsys.readouterr().out
    assert main(["evaluate", str(tmp_path / "a"), "--no-plot", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["bayes_test_error"] == pytest.approx(last["bayes_test_error"])
    for command in (["flatness", str(tmp_path / "a")], ["export", str(tmp_path / "a"), "--out", str(tmp_path / "c")]):
        assert main(command) == 2
        assert "`members` must be 1" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()
    assert main(["train", "digits", "--resume", "--members", "3", "--out", str(tmp_path / "a")]) == 2
    assert "`members` must stay as it was in a resumed run: the run has 2, got 3" in capsys.readouterr().err


def test_saved_and_loaded(tmp_path: Path) -> None:
    ensemble, x, _ = trained({"density": 0.7})
    deepnet.save(ensemble, tmp_path / "ensemble")
    found = deepnet.load(tmp_path / "ensemble")
    assert isinstance(found, Ensemble)
    assert found.config == ensemble.config
    assert found.epoch == 2
    np.testing.assert_array_equal(class_probabilities(found, x), class_probabilities(ensemble, x))
    with pytest.raises(ValueError, match="`members` must be 1 with packed, got 3"):
        deepnet.save(ensemble, tmp_path / "packed", packed=True)
    assert not (tmp_path / "packed").exists()


def test_an_estimator_averages(tmp_path: Path) -> None:
    X, y = load_digits(return_X_y=True)
    model = MessagePassingClassifier(hidden=(15,), epochs=3, members=3, random_state=1, early_stopping=True)
    model.fit(X[:600], y[:600])
    assert isinstance(model.network_, Ensemble)
    x = (X[600:800] - model.mean_) / model.scale_
    each = [class_probabilities(member, x, model.calibration_) for member in model.network_.in_double().members]
    np.testing.assert_allclose(model.predict_proba(X[600:800]), np.mean(each, axis=0), rtol=1e-9)
    alone = [
        np.mean(predict_bayes(member.layers, x, member.operations) == y[600:800]) for member in model.network_.members
    ]
    assert model.score(X[600:800], y[600:800]) > np.mean(alone)
    deepnet.save(model, tmp_path / "model")
    again = deepnet.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(X[:9]), model.predict_proba(X[:9]))
    with pytest.raises(ValueError, match="`members` must be 1 to be exported, got 3"):
        model.export(tmp_path / "model.bin")
    model.set_params(members=2)
    with pytest.raises(ValueError, match="`members` must stay 3 until fit starts a new network, got 2"):
        model.partial_fit(X, y)
    model.set_params(members=3, prediction="pointwise")
    np.testing.assert_array_equal(model.predict(X[600:800]), most_probable(model.network_.in_double(), x))


def test_a_regressor_averages() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 3))
    y = np.sin(X[:, 0])
    model = MessagePassingRegressor(hidden=(9,), epochs=5, members=2, random_state=0).fit(X, y)
    mean, deviation = model.predict(X, return_std=True)
    found = law(model.network_.in_double(), (X - model.mean_) / model.scale_)
    np.testing.assert_allclose(mean, model.target_mean_ + model.target_scale_ * found.mean[:, 0], rtol=1e-9)
    np.testing.assert_allclose(deviation, model.target_scale_ * found.deviation[:, 0], rtol=1e-9)
    assert model.noise_variance_.shape == (1,)


def test_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    if emulated_gpu.COMPILER is None:
        pytest.skip("needs a C++ compiler to run the operations on the processor")
    monkeypatch.setattr("factorgraph.runtime.device_arrays._compiled", emulated_gpu.apply_compiled)
    operations = GpuOperations(emulated_gpu.EmulatedDevice())
    monkeypatch.setattr("deepnet.kernels.devices._gpu_operations", lambda device: operations)
    here, x, y = trained({}, members=2, epochs=0)
    there = create(here.config, FEATURES, 3, "cuda")
    for one in (here, there):
        train_epoch(one, x, y)
    for name, values in here.arrays().items():
        theirs = there.arrays()[name]
        np.testing.assert_allclose(values, theirs, rtol=0, atol=FLOAT32_SWEEP * np.abs(theirs).max(), err_msg=name)


@pytest.mark.parametrize("members", [0, -1, 1.5, True, "2", None])
def test_wrong_numbers_of_members(members: Any) -> None:
    with pytest.raises(ValueError, match="`members` must be an integer"):
        Config(members=members)
