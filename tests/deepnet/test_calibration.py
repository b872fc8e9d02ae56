"""The temperature of ``predict_proba``: by networks that have not seen the samples, and what it is good for."""

import itertools
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.metrics import log_loss

from deepnet import MessagePassingClassifier
from deepnet.estimator.classifier import _CALIBRATING, _FOLDS, _SPREAD
from deepnet.estimator.inputs import scaled

OPTIONS: dict[str, Any] = {"hidden": 15, "epochs": 10, "random_state": 0}


def parts(model: MessagePassingClassifier, X: Any, y: Any) -> list[Any]:
    """Return networks and held-out samples of a fitted model."""
    _, _, samples = model._ready(X, y, None, None, again=True, given="y")
    return list(model._cross_fitted(model.network_.config, samples))


def test_every_sample_is_held_out_once_and_its_network_has_not_seen_it() -> None:
    X, y = load_iris(return_X_y=True)
    single = np.unique(X, axis=0, return_index=True)[1]
    X, y = X[single], y[single]
    model = MessagePassingClassifier(**OPTIONS).fit(X, y)
    found = parts(model, X, y)
    x = scaled(X, model.mean_, model.scale_)
    rows = {each.tobytes(): row for row, each in enumerate(x.astype(np.float32))}
    held = [[rows[each.tobytes()] for each in samples.x] for _, samples in found]
    assert len(found) == _FOLDS and sorted(itertools.chain(*held)) == list(range(len(X)))
    for (network, _), own in zip(found, held, strict=True):
        np.testing.assert_allclose(np.bincount(y[own]), np.bincount(y) / _FOLDS, atol=1.0)
        rest = np.setdiff1d(np.arange(len(X)), own)
        other = MessagePassingClassifier(calibrate=False, standardize=False, **OPTIONS).fit(x[rest], y[rest])
        for ours, theirs in zip(network.layers, other.network_.layers, strict=True):
            np.testing.assert_array_equal(ours.state()["mean"], theirs.state()["mean"])


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_it_is_the_most_probable_one(noise: float) -> None:
    """Given labels with their noise, of which predictions are free."""
    X, y = load_iris(return_X_y=True)
    model = MessagePassingClassifier(label_noise=noise, **OPTIONS).fit(X, y)
    found, chosen = parts(model, X, y), model.calibration_
    exponents = np.linspace(-2.5, 2.5, 251)
    energies = []
    for exponent in exponents:
        model.calibration_, total = float(np.exp(exponent)), 0.0
        for network, samples in found:
            model.network_ = network
            p = model.predict_proba(samples.x.astype(float) * model.scale_ + model.mean_)
            total -= np.log((1.0 - noise) * p[np.arange(len(p)), samples.y] + noise / 3).sum()
        energies.append(total + 0.5 * (exponent / _SPREAD) ** 2)
    assert np.log(chosen) == pytest.approx(exponents[int(np.argmin(energies))], abs=0.02)


@pytest.mark.parametrize("count", [2, 4, 3 * _CALIBRATING // 2, 4 * _CALIBRATING])
def test_how_much_is_held_out(count: int) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((count, 2)), np.arange(count) % 2
    model = MessagePassingClassifier(hidden=3, epochs=1, batch_size=512, calibrate=False, random_state=0).fit(X, y)
    sizes = [len(samples.x) for _, samples in parts(model, X, y)]
    assert sum(sizes) <= max(count, 2 * _CALIBRATING) and max(sizes) <= _CALIBRATING
    assert sum(sizes) >= min(count, _CALIBRATING // 2)


def test_probabilities_become_better_and_labels_stay() -> None:
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))[:900]
    X, y, found = X[order], y[order], {}
    for calibrate in (False, True):
        model = MessagePassingClassifier(calibrate=calibrate, random_state=0).fit(X[:600], y[:600])
        found[calibrate] = log_loss(y[600:], model.predict_proba(X[600:]))
    assert found[True] < 0.8 * found[False]  # .16 and .25


def test_what_is_not_calibrated() -> None:
    X, y = load_iris(return_X_y=True)
    model = MessagePassingClassifier(calibrate=False, **OPTIONS).fit(X, y)
    assert model.calibration_ == 1.0
    kept = MessagePassingClassifier(warm_start=True, **OPTIONS).fit(X, y)
    first = kept.calibration_
    assert first != 1.0 and kept.fit(X, y).calibration_ == first
    assert MessagePassingClassifier(algorithm="ebp", **OPTIONS).fit(X, y).calibration_ == 1.0
    with pytest.raises(ValueError, match="`calibrate` must be True or False, got 1"):
        MessagePassingClassifier(calibrate=1).fit(X, y)  # pyright: ignore[reportArgumentType]
