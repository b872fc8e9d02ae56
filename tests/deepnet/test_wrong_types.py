"""Public entry points of ``deepnet`` and wrong values: always our own error, and it names the argument."""

import inspect
import json
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import DataConversionWarning
from wrong_values import WRONG, check_refusals

import deepnet
from deepnet import Config, MessagePassingClassifier, MessagePassingRegressor
from deepnet.app.checkpoint import (
    CheckpointError,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
    write_text_atomic,
)
from deepnet.app.description import Description, RunError
from deepnet.app.run import Run
from deepnet.predict import predict_bayes, predict_pointwise, predict_proba
from deepnet.schedule import Schedule
from deepnet.train import init, train, train_epoch

#: Arguments for which any text is the name of something, which need not be there.
PATHS = ("directory", "path")

ROOT = Path(__file__).resolve().parents[2]
X, Y = load_iris(return_X_y=True)
SMALL: dict[str, Any] = {"hidden": 3, "epochs": 1, "random_state": 0}

#: Values among the wrong ones that are right for some argument; of settings, and of the classifier where it differs.
RIGHT: dict[str, tuple[str, ...]] = {
    "hidden": ("empty list",),
    "rho": ("None", "float", "digits"),
    "damping": ("None",),
    "beta": ("None", "float", "digits"),
    "reinforcement": ("float",),
    "coupling": ("None",),
    "eps_init": ("float",),
    "learning_rate": ("None",),
    "noise_variance": ("None",),
    "mass": ("None",),
    "label_noise": ("float",),
    "class_weight": ("None", "empty dict"),
    "tol": ("float",),
    "validation_fraction": ("float",),
    "random_state": ("None",),
}


def test_the_tables_cover_what_is_public() -> None:
    """``load_dataset`` is in the tests of the data sets, ``load_packed`` in those of the exports, ``load_tasks`` in
    those of continual learning, ``load`` and ``save`` in those of saved models."""
    others = {"load", "load_dataset", "load_packed", "load_tasks", "save"}
    assert set(deepnet.__all__) == {"Config", "MessagePassingClassifier", "MessagePassingRegressor"} | others


@pytest.mark.parametrize("name", [field.name for field in fields(Config)])
def test_settings(name: str) -> None:
    check_refusals(lambda value: Config(**{name: value}), name, accepts=RIGHT.get(name, ()), errors=(ValueError,))


@pytest.mark.parametrize("name", [name for name in inspect.signature(MessagePassingClassifier).parameters])
def test_parameters_of_the_classifier(name: str) -> None:
    def fit(value: Any) -> None:
        MessagePassingClassifier(**SMALL | {name: value}).fit(X[::10], Y[::10])

    check_refusals(fit, name, accepts=RIGHT.get(name, ()), errors=(ValueError,))


@pytest.mark.parametrize("name", [name for name in inspect.signature(MessagePassingRegressor).parameters])
def test_parameters_of_the_regressor(name: str) -> None:
    def fit(value: Any) -> None:
        MessagePassingRegressor(**SMALL | {name: value}).fit(X[::10], X[::10, 0])

    accepts = (*RIGHT.get(name, ()), *(("float",) if name == "noise_variance" else ()))
    check_refusals(fit, name, accepts=accepts, errors=(ValueError,))


@pytest.mark.parametrize("estimator", [MessagePassingClassifier, MessagePassingRegressor])
def test_weights_of_samples(estimator: Any) -> None:
    check_refusals(lambda value: estimator(**SMALL).fit(X, Y, sample_weight=value), "sample_weight", accepts=("None",))
    network = init(Config(hidden=(3,), epochs=1), 4, 3)
    refused = lambda value: train_epoch(network, X.astype(np.float32), Y, sample_weight=value)  # noqa: E731
    check_refusals(refused, "sample_weight", accepts=("None",), errors=(ValueError,))


@pytest.fixture(scope="module")
def fitted() -> MessagePassingClassifier:
    return MessagePassingClassifier(**SMALL).fit(X, Y)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda model, value: model.fit(value, Y), ("X",)),
        (lambda model, value: model.fit(X, value), ("y",)),
        (lambda model, value: model.partial_fit(value, Y, classes=[0, 1, 2]), ("X",)),
        (lambda model, value: model.partial_fit(X, value, classes=[0, 1, 2]), ("y",)),
        (lambda model, value: model.partial_fit(X, Y, classes=value), ("classes", "y")),
    ],
)
def test_samples_of_the_classifier(call: Callable[..., Any], names: tuple[str, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataConversionWarning)  # a column of labels is taken, as scikit-learn demands
        check_refusals(lambda value: call(MessagePassingClassifier(**SMALL), value), *names)


def test_arguments_of_the_export(fitted: MessagePassingClassifier, tmp_path: Path) -> None:
    right = {label: value for label, value in WRONG.items() if label not in ("text", "digits")}
    check_refusals(fitted.export, "path", wrong=right)
    check_refusals(lambda value: fitted.export(tmp_path / "x", to=value), "to")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_samples_to_predict(method: str, fitted: MessagePassingClassifier) -> None:
    check_refusals(getattr(fitted, method), "X")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.ma.array(X, mask=X > 7), "`X` must have no masked elements, got"),
        (X * 1j, "`X` must be samples of real features.*Complex data not supported"),
        (np.where(X > 7, np.nan, X), "`X` must be .*NaN"),
    ],
)
def test_samples_of_the_right_shape(wrong: Any, message: str, fitted: MessagePassingClassifier) -> None:
    for call in (lambda: MessagePassingClassifier(**SMALL).fit(wrong, Y), lambda: fitted.predict(wrong)):
        with pytest.raises(ValueError, match=message):
            call()


def test_labels_of_the_right_shape() -> None:
    for wrong in (np.ma.array(Y, mask=Y == 2), Y * 1j, np.where(Y == 2, np.nan, Y), [None, *Y[1:]]):
        with pytest.raises((ValueError, TypeError), match="`y`"):
            MessagePassingClassifier(**SMALL).fit(X, wrong)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_functional_interface(classes: int) -> None:
    config = Config(hidden=(3,), epochs=1)
    for name, call in {
        "config": lambda value: init(value, 4, classes),
        "features": lambda value: init(config, value, classes),
        "classes": lambda value: init(config, 4, value),
        "device": lambda value: init(config, 4, classes, value),
    }.items():
        check_refusals(call, name, errors=(ValueError,))
    x, y = X.astype(np.float32), Y if classes == 3 else np.where(Y > 0, 1, -1)
    network = init(config, 4, classes)
    for name, call in {
        "network": lambda value: train_epoch(value, x, y),
        "x": lambda value: train_epoch(network, value, y),
        "y": lambda value: train_epoch(network, x, value),
    }.items():
        check_refusals(call, name, errors=(ValueError,))
        check_refusals(lambda value, call=call: next(train(network, x, value)), "y", errors=(ValueError,))
    assert network.epoch == 0
    check_refusals(lambda value: train_epoch(network, x, y, samples=value), "samples", accepts=("None",))
    for wrong in (y[:, None], y + 7, y + 0.5, y[:-1], np.ma.array(y, mask=y > 0)):
        with pytest.raises(ValueError, match="`y` must"):
            train_epoch(network, x, wrong)
    for predict in (
        lambda value: predict_pointwise(network.layers, value),
        lambda value: predict_proba(network.layers, value, network.operations),
        lambda value: predict_bayes(network.layers, value, network.operations),
    ):
        check_refusals(predict, "x", errors=(ValueError,))


def test_files_of_a_run(tmp_path: Path) -> None:
    def open_run(value: Any) -> None:
        with Run.resumed(value):
            pass

    ours = (ValueError, RunError, CheckpointError)
    nowhere = ("text", "digits")
    for call, name, accepts in (
        (lambda value: Run.open(value), "directory", ()),
        (open_run, "directory", ()),
        (latest_checkpoint, "directory", nowhere),
        (load_checkpoint, "path", ()),
        (lambda value: save_checkpoint(value, 1, {}, {}, make_folder=False), "directory", ()),
        (lambda value: save_checkpoint(tmp_path, value, {}, {}), "epoch", ()),
        (lambda value: save_checkpoint(tmp_path, 1, value, {}), "arrays", ("empty dict", "dict")),
        (lambda value: save_checkpoint(tmp_path, 1, {}, value), "meta", ("empty dict", "dict")),
        (lambda value: write_text_atomic(tmp_path / "x", value), "text", nowhere),
    ):
        right = {label: value for label, value in WRONG.items() if label not in nowhere or name not in PATHS}
        check_refusals(call, name, accepts=[label for label in accepts if label in right], errors=ours, wrong=right)


def test_schedules() -> None:
    for name in ("start", "end", "rate"):
        right = {"start": 1.0, "end": 0.5, "rate": 0.5}
        accepts = () if name == "rate" else ("float", "negative")
        check_refusals(lambda value: Schedule(**right | {name: value}), name, accepts=accepts)  # noqa: B023
    check_refusals(lambda value: Schedule(1.0, 0.5, 0.5, value), "of_run")


# --- ordinary Python --------------------------------------------------------------------------------------------------


def test_settings_of_numpy_are_plain_settings() -> None:
    """Also for JSON, which knows no numbers of NumPy."""
    numpy = Config(
        hidden=np.array([5, 4]), epochs=np.int64(3), batch_size=np.uint8(7), tau=np.int32(2), seed=np.uint64(2**63),
        bias=np.True_, density=np.array([0.5, 1, 1], np.float32), reinforcement=np.float32(0.5), rho=np.array([1.0]),
        damping=np.float32(0.5), eps_init=[np.float64(2.0)],
    )  # fmt: skip
    plain = Config(
        hidden=(5, 4), epochs=3, batch_size=7, tau=2, seed=2**63, bias=True, density=(0.5, 1.0, 1.0),
        reinforcement=0.5, rho=1.0, damping=0.5, eps_init=(2.0,),
    )  # fmt: skip
    assert numpy == plain and Config.from_json(json.loads(json.dumps(numpy.to_json()))) == plain
    assert type(numpy.epochs) is int and type(numpy.hidden[0]) is int and type(numpy.bias) is bool


def test_text_is_short(fitted: MessagePassingClassifier, tmp_path: Path) -> None:
    data = deepnet.load_dataset("digits")
    run = Run(tmp_path, Description.of(data, Config()), history=[{"epoch": 1, "train_error": 1.0}] * 1000)
    for each in (fitted, data, run, fitted.network_, Config()):
        assert len(repr(each)) < 2000 and repr(each).count("\n") < 25


def test_classifiers_travel(fitted: MessagePassingClassifier, tmp_path: Path) -> None:
    """By pickle and joblib; one that is mapped from its file cannot be written to, and learns all the same."""
    path = tmp_path / "model.joblib"
    expected = MessagePassingClassifier(**SMALL).fit(X, Y).partial_fit(X, Y).predict_proba(X)
    for settings in ({}, {"density": 0.6, "weights": "continuous"}):
        model = MessagePassingClassifier(**SMALL | settings).fit(X, Y)
        joblib.dump(model, path)
        mapped = joblib.load(path, mmap_mode="r")
        assert not mapped.network_.layers[0].H.flags.writeable
        before = path.read_bytes()
        for copy in (mapped, pickle.loads(pickle.dumps(model)), joblib.load(path)):
            np.testing.assert_array_equal(copy.predict_proba(X), model.predict_proba(X))
            np.testing.assert_array_equal(copy.partial_fit(X, Y).predict_proba(X).argmax(axis=1), copy.predict(X))
            if not settings:
                np.testing.assert_array_equal(copy.predict_proba(X), expected)
        assert path.read_bytes() == before


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e-160, 1e-80, 1e-6, 1e100])
def test_inputs_of_any_scale(scale: float) -> None:
    """Standardised they are the same; as they are, they are refused if they cannot be told from zero."""
    expected = MessagePassingClassifier(**SMALL).fit(X, Y)
    scaled = MessagePassingClassifier(**SMALL).fit(X * scale, Y)
    assert scaled.scale_ == pytest.approx(scale * expected.scale_, rel=1e-9)
    np.testing.assert_allclose(scaled.predict_proba(X * scale), expected.predict_proba(X), atol=1e-4)
    with pytest.raises(ValueError, match=r"`X` must be (of order 1 unless `standardize` is True|within)"):
        MessagePassingClassifier(**SMALL, standardize=False).fit(X * scale, Y)


# --- what is not installed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("absent", "code", "remedy"),
    [
        ("sklearn", "from deepnet import MessagePassingClassifier", "pip install scikit-learn"),
        ("pooch", "from deepnet import load_dataset; load_dataset('mnist')", "pip install 'cavity[data]'"),
        (
            "cupy",
            "from deepnet.kernels.devices import operations_for; operations_for('cuda', 'float32')",
            "pip install 'cavity[gpu]'",
        ),
        ("matplotlib", "import deepnet.app.figures", "pip install 'cavity[plots]'"),
        ("torch", "import deepnet.baselines.gradient as g; g.import_torch()", "pip install 'cavity[bench]'"),
    ],
)
def test_the_remedy_is_named(absent: str, code: str, remedy: str, tmp_path: Path) -> None:
    script = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
try:
    {code}
except Exception as error:
    print(f"{{type(error).__name__}}: {{error}}")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=600,
        env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path)},
    )  # fmt: skip
    assert remedy in done.stdout, done.stdout + done.stderr
