"""Saved models: the same when they are read, whatever is in the file nothing is run, and those of earlier versions."""

import json
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris

import deepnet
from deepnet import Config, MessagePassingClassifier, MessagePassingRegressor
from deepnet.app.cli import main
from deepnet.predict import predict_pointwise
from deepnet.state import Network, init
from deepnet.train import train_epoch
from factorgraph.io.archive import pack_archive, unpack_archive

X, Y = load_iris(return_X_y=True)
SMALL: dict[str, Any] = {"hidden": (5,), "epochs": 2, "random_state": 0}

#: A file of format 1, and what its model says of every fifth flower.
KEPT = Path(__file__).parent / "data"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"weights": "continuous", "activation": "relu", "beta": 1.0, "closure": "amp"},
        {"density": 0.5, "hidden": 7, "rho": ("1:0.9:0.5", 1.0), "prediction": "pointwise"},
        {"hidden": np.int64(4), "random_state": np.random.RandomState(3), "standardize": False},
    ],
    ids=lambda settings: "-".join(settings) or "defaults",
)
@pytest.mark.parametrize("labels", ["numbers", "texts", "objects", "wholes", "flags"])
def test_classifiers_come_back(settings: dict[str, Any], labels: str, tmp_path: Path) -> None:
    names = np.array(["rose", "tulip", "ä"])
    y: Any = {
        "numbers": Y, "texts": names[Y], "objects": names[Y].astype(object), "wholes": 2.0 * Y, "flags": Y > 0,
    }[labels]  # fmt: skip
    model = MessagePassingClassifier(**SMALL | settings).fit(X, y)
    deepnet.save(model, tmp_path / "model.npz")
    found: Any = deepnet.load(tmp_path / "model.npz")
    assert isinstance(found, MessagePassingClassifier)
    np.testing.assert_array_equal(found.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(found.predict(X), model.predict(X))
    assert found.classes_.dtype == model.classes_.dtype and found.predict(X).dtype == model.predict(X).dtype
    np.testing.assert_array_equal(found.partial_fit(X, y).predict_proba(X), model.partial_fit(X, y).predict_proba(X))
    np.testing.assert_array_equal(found.fit(X, y).network_.arrays()["W0.H"], refitted(model, y))


def refitted(model: MessagePassingClassifier, y: Any) -> np.ndarray:
    """A state of the same settings, from the seed with which it was fitted."""
    seed = model.network_.config.seed
    return model.set_params(random_state=seed).fit(X, y).network_.arrays()["W0.H"]


@pytest.mark.parametrize(
    ("output", "targets"),
    [("gaussian", X[:, 0]), ("gaussian", X[:, :2]), ("poisson", np.round(X[:, 2]))],
    ids=["one", "two", "counts"],
)
def test_regressors_come_back(output: str, targets: np.ndarray, tmp_path: Path) -> None:
    """With means, deviations and the noise; several targets, and counts, whose scale is their own."""
    model = MessagePassingRegressor(**SMALL, output=output).fit(X, targets)
    deepnet.save(model, tmp_path / "model.npz")
    found: Any = deepnet.load(tmp_path / "model.npz")
    assert isinstance(found, MessagePassingRegressor) and found.get_params()["output"] == output
    for one, other in zip(found.predict(X, return_std=True), model.predict(X, return_std=True), strict=True):
        np.testing.assert_array_equal(one, other)
    if output == "gaussian":
        np.testing.assert_array_equal(found.noise_variance_, model.noise_variance_)
    for each in (found, model):
        each.partial_fit(X, targets)
    np.testing.assert_array_equal(found.predict(X), model.predict(X))


def test_networks_of_numbers_come_back(tmp_path: Path) -> None:
    network = init(Config(hidden=(3,), output="gaussian"), 4, 2)
    deepnet.save(network, tmp_path / "network.npz")
    assert repr(deepnet.load(tmp_path / "network.npz")) == repr(network)


def test_networks_come_back(tmp_path: Path) -> None:
    network = init(Config(hidden=(9,), density=0.5, dtype="float64", seed=4), 4, 3)
    train_epoch(network, X, Y)
    deepnet.save(network, tmp_path / "network.npz")
    found = deepnet.load(tmp_path / "network.npz")
    assert isinstance(found, Network) and (found.config, found.epoch) == (network.config, 1)
    for name, values in network.arrays().items():
        np.testing.assert_array_equal(found.arrays()[name], values)
    np.testing.assert_array_equal(predict_pointwise(found.layers, X), predict_pointwise(network.layers, X))
    for each in (network, found):
        train_epoch(each, X, Y)
    np.testing.assert_array_equal(found.arrays()["W1.H"], network.arrays()["W1.H"])


def test_the_network_of_a_run_is_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main(["train", "digits", "--hidden", "9", "--epochs", "1", "--no-plot", "--out", str(run)]) == 0
    from deepnet.app.run import Run

    network = Run.open(run).load()
    deepnet.save(network, tmp_path / "network.npz")
    assert repr(deepnet.load(tmp_path / "network.npz")) == repr(network)


def test_a_model_of_the_first_version_is_read() -> None:
    model: Any = deepnet.load(KEPT / "iris-format-1.npz")
    expected = json.loads((KEPT / "iris-format-1.json").read_text())
    assert model.predict(X[::5]).tolist() == expected["labels"]
    np.testing.assert_allclose(model.predict_proba(X[::5]), expected["probabilities"], rtol=1e-6, atol=1e-9)
    assert model.get_params()["hidden"] == (7,) and model.n_iter_ == 20


def test_a_regressor_of_the_first_version_is_read() -> None:
    model: Any = deepnet.load(KEPT / "regressor-format-1.npz")
    expected = json.loads((KEPT / "regressor-format-1.json").read_text())
    mean, deviation = model.predict(X[::5, :3], return_std=True)
    np.testing.assert_allclose(mean, expected["means"], rtol=1e-6)
    np.testing.assert_allclose(deviation, expected["deviations"], rtol=1e-6)
    assert model.get_params()["hidden"] == (7,) and model.n_iter_ == 20


def test_no_pickle_is_read_or_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects in the place of numbers are refused, and what they would run is not run."""

    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "trapped",)

    monkeypatch.setattr(pickle, "load", lambda *_: pytest.fail("unpickled"))
    path = tmp_path / "model.npz"
    deepnet.save(MessagePassingClassifier(**SMALL).fit(X, Y), path)
    np.savez(tmp_path / "trap.npz", document=np.array(Trap(), dtype=object))
    with pytest.raises(ValueError, match="`path` must be a saved model"):
        deepnet.load(tmp_path / "trap.npz")
    with zipfile.ZipFile(path) as archive:
        assert all(b"|O" not in archive.read(name)[:128] for name in archive.namelist())
    assert not (tmp_path / "trapped").exists()


EDITS: list[tuple[tuple[str, ...], Any, str]] = [
    (("format",), 3, "`format` must be an integer >= 1 and <= 2, got 3"),
    (
        ("kind",),
        "Pipeline",
        "`kind` must be one of ['Network', 'Ensemble', 'MessagePassingClassifier', 'MessagePassingRegressor'], got "
        "'Pipeline'",
    ),
    (("network", "epoch"), -1, "`network.epoch` must be an integer >= 0"),
    (("network", "config", "hidden"), [6], "saved 'W0.H' must be float32 of shape"),
    (("network", "config", "hidden"), [10**9], "`hidden` must make a network that can be built"),
    (("network", "config", "seed"), 1, "the edges drawn from `seed` and `density` must be those"),
    (("estimator", "parameters", "n_jobs"), 2, "`estimator.parameters` must be those of MessagePassingClassifier"),
    (("estimator", "classes", "values"), [2, 1, 0], "`estimator.classes` must be different labels, sorted"),
    (("estimator", "classes", "values"), [0, 1], "`estimator.classes` must be 3 labels, got 2"),
    (("estimator", "scale"), 0, "`estimator.scale` must be a finite number > 0"),
    (("estimator", "feature_names"), ["a"], "`estimator.feature_names` must be null or 4 texts"),
]


@pytest.mark.parametrize(("place", "value", "message"), EDITS)
def test_edited_files(place: tuple[str, ...], value: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    deepnet.save(MessagePassingClassifier(**SMALL, density=0.5).fit(X, Y), path)
    with path.open("rb") as file:
        text, arrays = unpack_archive(file)
    document = json.loads(text)
    record = document
    for name in place[:-1]:
        record = record[name]
    record[place[-1]] = value
    path.write_bytes(pack_archive(json.dumps(document), arrays))
    with pytest.raises(ValueError) as caught:
        deepnet.load(path)
    assert message in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("target_scale", [0.0], "`estimator.target_scale[0]` must be a finite number > 0"),
        ("mean", [0.0], "`estimator.mean` must be 3 numbers, got 1"),
        ("single", None, "`estimator.single` must be True or False"),
    ],
)
def test_edited_regressors(name: str, value: Any, message: str, tmp_path: Path) -> None:
    with (KEPT / "regressor-format-1.npz").open("rb") as file:
        text, arrays = unpack_archive(file)
    document = json.loads(text)
    document["estimator"][name] = value
    (tmp_path / "model.npz").write_bytes(pack_archive(json.dumps(document), arrays))
    with pytest.raises(ValueError) as caught:
        deepnet.load(tmp_path / "model.npz")
    assert message in str(caught.value)


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    deepnet.save(MessagePassingClassifier(**SMALL).fit(X, Y), path)
    content, rng = path.read_bytes(), random.Random(0)
    for _ in range(60):
        damaged = bytearray(content)
        at = rng.randrange(len(content))
        damaged[at] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged[: rng.choice([len(content), at])])
        try:
            found: Any = deepnet.load(path)
        except ValueError as error:
            assert "`path` must be a saved model" in str(error)
        else:  # a flag or a date in the headers of the archive
            assert isinstance(found, MessagePassingClassifier)
    for wrong in ("", None, 3):
        with pytest.raises(ValueError, match="`path` must be the name of a file"):
            deepnet.load(wrong)  # pyright: ignore[reportArgumentType]
    with pytest.raises(FileNotFoundError):
        deepnet.load(tmp_path / "none.npz")


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    for wrong in (None, "model", object()):
        need = "a Network, an Ensemble or one of MessagePassingClassifier, MessagePassingRegressor"
        with pytest.raises(ValueError, match=f"`model` must be {need}"):
            deepnet.save(wrong, tmp_path / "model.npz")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="`model` must be fitted before it is saved"):
        deepnet.save(MessagePassingClassifier(), tmp_path / "model.npz")
    dates = np.array(["2020", "2021", "2022"], dtype="datetime64[Y]")[Y]
    with pytest.raises(ValueError, match="`model` must have texts or numbers as labels"):
        deepnet.save(MessagePassingClassifier(**SMALL).fit(X, dates), tmp_path / "model.npz")
    assert not list(tmp_path.iterdir())
