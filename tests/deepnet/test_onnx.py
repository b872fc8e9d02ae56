"""Networks as graphs of ONNX operators: the same labels, and the same numbers, from ONNX Runtime."""

import builtins
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import deepnet
from deepnet import MessagePassingClassifier, MessagePassingRegressor
from deepnet.app.cli import main
from deepnet.app.run import Run
from deepnet.config import Config
from deepnet.export.exported import Exported
from deepnet.export.onnx_graph import onnx_model
from deepnet.export.packed import load_packed
from deepnet.export.packing import export, pack
from deepnet.network import WEIGHTS
from deepnet.predict import predict_pointwise
from deepnet.train import Network, init, train_epoch

pytest.importorskip("onnx", reason="needs the extra onnx")
runtime = pytest.importorskip("onnxruntime", reason="needs ONNX Runtime, which runs what is written")


def answers(model: bytes, x: Any) -> Any:
    """What ONNX Runtime computes, on one thread."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.ascontiguousarray(x, np.float64)})[0]


@st.composite
def networks(draw: st.DrawFn) -> tuple[Network, np.ndarray[Any, Any]]:
    """Random networks of all kinds of layers, with inputs of which many sums tie."""
    sizes = st.sampled_from([1, 2, 7, 32, 65])
    hidden = tuple(draw(st.lists(sizes, max_size=2)))
    config = Config(
        hidden=hidden,
        weights=tuple(draw(st.sampled_from(sorted(WEIGHTS))) for _ in range(len(hidden) + 1)),
        activation=tuple(draw(st.sampled_from(["sign", "relu"])) for _ in hidden),
        bias=draw(st.booleans()),
        density=draw(st.sampled_from([1.0, 0.7, 0.1])),
        dtype=draw(st.sampled_from(["float32", "float64"])),
        seed=draw(st.integers(0, 1000)),
    )
    features, classes = draw(st.sampled_from([1, 3, 32, 65])), draw(st.sampled_from([2, 3, 5]))
    x = np.random.default_rng(config.seed).integers(-5, 6, (40, features)).astype(float)
    return init(config, features, classes), x


@given(drawn=networks(), standardised=st.booleans())
@settings(max_examples=80)
def test_the_same_labels(drawn: tuple[Network, Any], standardised: bool) -> None:
    network, x = drawn
    mean = 4.9 if standardised else 0.0  # of which integers have ties that rounding hides
    model = onnx_model(Exported(network.layers, (mean, 2.0) if standardised else None))
    for each in (x, x / 3 + 0.1):
        expected = predict_pointwise(network.layers, (each - mean) / 2.0 if standardised else each)
        np.testing.assert_array_equal(answers(model.SerializeToString(), each), expected)


@pytest.mark.parametrize("output", ["logistic", "probit", "softmax", "argmax-probit", "argmax"])
def test_every_output_of_classes(output: str) -> None:
    network = init(Config(hidden=(9,), output=output), 5, 2 if output in ("logistic", "probit") else 4)
    x = np.random.default_rng(0).normal(size=(60, 5))
    found = answers(onnx_model(Exported(network.layers)).SerializeToString(), x)
    np.testing.assert_array_equal(found, predict_pointwise(network.layers, x))


@pytest.mark.parametrize("labels", [["no", "yes"], ["a", "b", "ç"], [3, 7, 9], [1.0, 2.0], [True, False]])
def test_classifiers(labels: list[Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 17, (200, 12))
    y = np.array(labels)[X[:, : len(labels)].argmax(axis=1)]
    model = MessagePassingClassifier(hidden=15, epochs=2, random_state=0, prediction="pointwise").fit(X, y)
    model.export(tmp_path / "x.onnx", to="onnx")
    np.testing.assert_array_equal(answers((tmp_path / "x.onnx").read_bytes(), X), model.predict(X))


@pytest.mark.parametrize("output", ["gaussian", "poisson"])
def test_regressors(output: str, tmp_path: Path) -> None:
    """Means by the most probable weights, on the scale of the targets."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 3)) * [1, 10, 100]
    y = rng.poisson(3.0, (100, 1 if output == "poisson" else 2))
    model = MessagePassingRegressor(hidden=9, epochs=2, output=output, random_state=0).fit(X, y)
    model.export(tmp_path / "x.onnx")
    expected = predict_pointwise(model.network_.layers, (X - model.mean_) / model.scale_)
    expected = model.target_mean_ + model.target_scale_ * expected
    np.testing.assert_allclose(answers((tmp_path / "x.onnx").read_bytes(), X), expected, rtol=1e-9)
    with pytest.raises(ValueError, match="must have sign units to be packed"):
        model.export(tmp_path / "x.packed", to="packed")


def test_one_byte_a_weight() -> None:
    """Of ±1 weights; eight of continuous ones."""
    for kinds, weights in ((("binary",) * 3, 1.0), (("continuous", "binary", "binary"), 8.0)):
        network = init(Config(hidden=(100, 500), weights=kinds), 10, 500)
        least = weights * 10 * 100 + 100 * 500 + 500 * 500
        assert least < len(onnx_model(Exported(network.layers)).SerializeToString()) < least + 3000


def test_a_run_takes_pixels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["train", "digits", "--hidden", "21", "--activation", "relu", "--epochs", "1", "--no-plot"]
    assert main([*argv, "--out", str(tmp_path / "run")]) == 0
    assert main(["export", str(tmp_path / "run"), "--to", "onnx", "--out", str(tmp_path / "x.onnx")]) == 0
    assert "bytes, onnx, from epoch 1" in capsys.readouterr().out
    run, pixels = Run.open(tmp_path / "run"), np.random.default_rng(0).integers(0, 17, (300, 64)).astype(float)
    mean, scale = run.description.prepared()[0].standardization or (0.0, 1.0)
    expected = predict_pointwise(run.load().layers, (pixels - mean) / scale)
    np.testing.assert_array_equal(answers((tmp_path / "x.onnx").read_bytes(), pixels), expected)


@pytest.mark.skipif("CAVITY_DATA" not in os.environ, reason="needs a folder with the files of MNIST as $CAVITY_DATA")
def test_all_of_mnist() -> None:
    """Packed bits and ONNX Runtime, on every sample of the test set."""
    data = deepnet.load_dataset("mnist", dtype=np.float64)
    network = init(Config(hidden=(501, 501)), 784, 10)
    train_epoch(network, data.x_train.astype(np.float32)[:6000], data.y_train[:6000])
    expected = predict_pointwise(network.layers, data.x_test)
    assert np.mean(expected != data.y_test) < 0.2
    exported = Exported(network.layers)
    np.testing.assert_array_equal(answers(onnx_model(exported).SerializeToString(), data.x_test), expected)
    np.testing.assert_array_equal(pack(exported).predict(data.x_test), expected)


def test_without_onnx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    argv = ["train", "digits", "--hidden", "3", "--epochs", "1", "--no-plot", "--out", str(run)]
    assert main(argv) == 0
    export_onnx = ["export", str(run), "--to", "onnx", "--out", str(tmp_path / "x.onnx")]
    original = builtins.__import__

    def refusing(name: str, *args: Any) -> Any:
        if name == "onnx":
            raise ImportError("No module named 'onnx'")
        return original(name, *args)

    monkeypatch.setattr(builtins, "__import__", refusing)
    network = Exported(init(Config(hidden=(3,)), 4, 2).layers)
    with pytest.raises(ImportError, match=r"pip install 'cavity\[onnx\]'"):
        export(network, tmp_path / "x.onnx", "onnx")
    assert main(export_onnx) == 1
    assert "deepnet: error: onnx is needed" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [run]
    export(network, tmp_path / "x", "packed")
    assert load_packed(tmp_path / "x").features == 4
