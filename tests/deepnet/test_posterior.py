"""Posteriors in 8 bits a number: how near they are, what comes back, and what the command says of the loss."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_iris

import deepnet
from deepnet import Config, MessagePassingClassifier, MessagePassingRegressor
from deepnet.app.cli import main
from deepnet.export.posterior import pack_posterior, unpack_posterior
from deepnet.state import Network, init
from deepnet.train import train_epoch

X, Y = load_iris(return_X_y=True)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Trained ones of all kinds of weights, also with edges that are not there."""
    config = Config(
        hidden=(draw(st.sampled_from([1, 7])), 5),
        weights=tuple(draw(st.sampled_from(["binary", "continuous"])) for _ in range(3)),
        bias=draw(st.booleans()),
        density=draw(st.sampled_from([1.0, 0.5])),
        dtype=draw(st.sampled_from(["float32", "float64"])),
        seed=draw(st.integers(0, 100)),
        epochs=1,
    )
    network = init(config, 4, 3)
    if draw(st.booleans()):
        train_epoch(network, X - X.mean(), Y)
    return network


@given(network=networks())
@settings(max_examples=40)
def test_every_number_is_near(network: Network) -> None:
    """Angles by half a step, means by half a step of their unit, variances by a share of half a step."""
    arrays = network.arrays()
    found = unpack_posterior(pack_posterior(network.layers), network.config.dtype)
    assert {name: values.shape for name, values in found.items()} == {n: v.shape for n, v in arrays.items()}
    for layer in network.layers:
        name = layer.plan.name
        mean, old = found[f"{name}.mean"].astype(float), arrays[f"{name}.mean"].astype(float)
        if f"{name}.G" not in found:
            assert np.abs(np.arcsin(mean) - np.arcsin(old)).max() <= 1.01 * np.pi / 255
            np.testing.assert_allclose(np.tanh(found[f"{name}.H"].astype(float)), mean, atol=1e-6)
            continue
        assert (np.abs(mean - old) <= 0.501 * np.abs(old).max(axis=1, keepdims=True) / 127).all()
        variance, was = found[f"{name}.variance"].astype(float), arrays[f"{name}.variance"].astype(float)
        assert ((variance == 0) == (was == 0)).all()
        there = was > 0
        width = np.log(was[there].max() / was[there].min()) / 254
        assert np.abs(np.log(variance[there] / was[there])).max() <= 0.501 * width + 1e-5
    network.restore(found, network.epoch)


def test_certain_weights() -> None:
    network = init(Config(hidden=(3,), dtype="float64"), 4, 3)
    network.layers[0].mean[...] = np.where(network.layers[0].mean > 0, 1.0, -1.0)
    found = unpack_posterior(pack_posterior(network.layers), "float64")
    assert np.isfinite(found["W0.H"]).all() and (np.abs(found["W0.mean"]) > 0.9999).all()


@pytest.mark.parametrize(
    "model",
    [
        MessagePassingClassifier(hidden=(15,), epochs=20, random_state=0),
        MessagePassingClassifier(hidden=(15,), epochs=20, random_state=0, density=0.5, closure="amp"),
        MessagePassingRegressor(hidden=(15,), epochs=20, random_state=0),
    ],
    ids=["classifier", "masked", "regressor"],
)
def test_estimators_come_back_nearly(model: Any, tmp_path: Path) -> None:
    model.fit(X, Y)
    deepnet.save(model, tmp_path / "whole.npz")
    deepnet.save(model, tmp_path / "packed.npz", packed=True)
    found: Any = deepnet.load(tmp_path / "packed.npz")
    assert type(found) is type(model)
    if isinstance(model, MessagePassingClassifier):
        assert np.abs(found.predict_proba(X) - model.predict_proba(X)).max() < 0.06
    else:
        for one, other in zip(found.predict(X, return_std=True), model.predict(X, return_std=True), strict=True):
            np.testing.assert_allclose(one, other, atol=0.05)
    again = tmp_path / "again.npz"
    deepnet.save(found, again, packed=True)
    assert (deepnet.load(again).network_.arrays()["W0.mean"] == found.network_.arrays()["W0.mean"]).all()  # pyright: ignore


def test_sizes(tmp_path: Path) -> None:
    network = init(Config(hidden=(300,)), 500, 10)
    deepnet.save(network, tmp_path / "packed.npz", packed=True)
    assert 153_000 < (tmp_path / "packed.npz").stat().st_size < 158_000  # and what names and settings take


@pytest.mark.parametrize("memory", ["sites", "covariance"])
def test_more_than_a_posterior(memory: str, tmp_path: Path) -> None:
    network = init(Config(hidden=(3,), memory=memory, preset="adf"), 4, 3)
    with pytest.raises(ValueError, match="`W0` must be dense, with memory 'fields'"):
        deepnet.save(network, tmp_path / "x.npz", packed=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("weights", ["ternary", "spike-and-slab"])
def test_weights_that_may_be_zero(weights: str, tmp_path: Path) -> None:
    """Their means and variances do not say how probable 0 is."""
    network = init(Config(hidden=(3,), weights=("binary", weights)), 4, 3)
    with pytest.raises(ValueError, match="`W1` must have ±1 or continuous weights for a packed posterior, got W1: 3 x"):
        deepnet.save(network, tmp_path / "x.npz", packed=True)
    assert not list(tmp_path.iterdir())
    deepnet.save(network, tmp_path / "x.npz")
    assert isinstance(deepnet.load(tmp_path / "x.npz"), Network)


def test_the_command_says_what_it_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = tmp_path / "run", tmp_path / "digits.bayes"
    assert main(["train", "digits", "--hidden", "33", "--epochs", "5", "--no-plot", "--out", str(run)]) == 0
    capsys.readouterr()
    assert main(["export", str(run), "--bayes", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"{out}: {out.stat().st_size} bytes, posterior of 8 bits a number" in lines[0]
    assert isinstance(deepnet.load(out), Network)
    for line in lines[1:]:
        whole, packed = (float(word) for word in line.replace("in full", "").replace("packed", "").split()[-2:])
        assert abs(whole - packed) < (1.0 if "error (%)" in line else 0.05), line
    assert {line[:8] for line in lines[1:]} == {"Bayesian", "log loss", "brier   ", "calibrat"}
    assert main(["export", str(run), "--bayes", "--to", "c", "--out", str(out)]) == 2
    assert "`bayes` must be left out for c" in capsys.readouterr().err
