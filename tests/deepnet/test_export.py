"""Networks that leave the program: the same labels from packed bits and from C."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wrong_values import WRONG, check_refusals

import deepnet
from deepnet.app.cli import main
from deepnet.app.run import Run
from deepnet.config import Config
from deepnet.data import load_pictures
from deepnet.estimator import MessagePassingClassifier
from deepnet.export.c_header import c_header, c_name
from deepnet.export.exported import Exported
from deepnet.export.packed import PackedNetwork, load_packed
from deepnet.export.packing import export, pack
from deepnet.predict import predict_pointwise
from deepnet.train import Network, init

ROOT = Path(__file__).resolve().parents[2]
COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
FLAGS = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O2"]


@st.composite
def networks(draw: st.DrawFn, least_hidden: int = 0) -> tuple[Network, np.ndarray[Any, Any]]:
    """Random networks of few and of many units, with integer inputs of which many sums tie."""
    sizes = st.sampled_from([1, 2, 7, 31, 32, 33, 63, 64, 65])
    config = Config(
        hidden=tuple(draw(st.lists(sizes, min_size=least_hidden, max_size=2))),
        bias=draw(st.booleans()),
        density=draw(st.sampled_from([1.0, 0.7, 0.1])),
        dtype=draw(st.sampled_from(["float32", "float64"])),
        seed=draw(st.integers(0, 1000)),
    )
    features, classes = draw(st.sampled_from([1, 3, 8, 32, 65])), draw(st.sampled_from([2, 3, 5]))
    largest = draw(st.sampled_from([1, 5, 255]))
    x = np.random.default_rng(config.seed).integers(-largest, largest + 1, (20, features))
    return init(config, features, classes), x


@given(networks())
@settings(max_examples=60)
def test_packed_networks_give_the_same_labels(drawn: tuple[Network, Any]) -> None:
    network, x = drawn
    packed = pack(Exported(network.layers))
    for each in (x.astype(float), (x / 3 + 0.1).astype(np.float32), x.astype(float) * 0.1):
        np.testing.assert_array_equal(packed.predict(each), predict_pointwise(network.layers, each))
    np.testing.assert_array_equal(packed.predict(x), predict_pointwise(network.layers, x.astype(float)))


@given(drawn=networks())
@settings(max_examples=30)
def test_files_hold_all_of_a_network(drawn: tuple[Network, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    network, x = drawn
    path = tmp_path_factory.getbasetemp() / "network.packed"
    packed = pack(Exported(network.layers, (1.5, 2.25)))
    packed.save(path)
    loaded = load_packed(path)
    assert path.read_bytes() == packed.to_bytes() == loaded.to_bytes()
    standardised = (x - 1.5) / 2.25
    np.testing.assert_array_equal(loaded.predict(x), predict_pointwise(network.layers, standardised))


def test_more_samples_than_enter_at_once() -> None:
    network = init(Config(hidden=(33,)), 10, 3)
    x = np.random.default_rng(0).integers(0, 9, (2500, 10)).astype(float)
    np.testing.assert_array_equal(pack(Exported(network.layers)).predict(x), predict_pointwise(network.layers, x))
    assert pack(Exported(network.layers)).predict(x[:0]).shape == (0,)


def test_one_bit_a_weight() -> None:
    """784-501-501-10 has 648 795 weights: 81.1 kB, and what fills the last byte of every row."""
    packed = pack(Exported(init(Config(hidden=(501, 501)), 784, 10).layers))
    assert 648_795 / 8 < len(packed.to_bytes()) <= 83_000
    assert "784-501-501-10, argmax output" in repr(packed)


# --- C ----------------------------------------------------------------------------------------------------------------


def compiled_labels(packed: PackedNetwork, x: Any, folder: Path, compiler: str, kind: str) -> Any:
    """Labels (samples, outputs) or numbers (samples,) from the compiled header, for inputs int16 or double."""
    outputs = packed.layers[-1].outputs if packed.output == "sign" else 1
    several = outputs > 1
    (folder / "network.h").write_text(c_header(packed, "network"))
    function = "network_predict" if kind == "int16_t" else "network_predict_real"
    (folder / "main.c").write_text(f"""
#include <stdio.h>
#include "network.h"
int main(void)
{{
  static {kind} x[{packed.features}];
  int8_t labels[{outputs}] = {{0}};
  while (fread(x, sizeof x, 1, stdin) == 1) {{
    {"" if several else "labels[0] = (int8_t)"}{function}(x{", labels" if several else ""});
    fwrite(labels, 1, {outputs}, stdout);
  }}
  return 0;
}}
""")
    program = folder / "main"
    subprocess.run([compiler, *FLAGS, "-o", str(program), str(folder / "main.c")], check=True, timeout=60)
    data = np.ascontiguousarray(x, np.int16 if kind == "int16_t" else np.float64).tobytes()
    done = subprocess.run([str(program)], input=data, stdout=subprocess.PIPE, check=True, timeout=60)
    found = np.frombuffer(done.stdout, np.int8).reshape(len(x), outputs)
    return found if several else found[:, 0]


def numbers(labels: Any) -> Any:
    """Class numbers of what ``predict_pointwise`` gives for one label a sample."""
    return (labels[:, 0] > 0).astype(int) if labels.ndim == 2 else labels


pytest_compiler = pytest.mark.parametrize(
    "compiler", COMPILERS or [pytest.param("", marks=pytest.mark.skip(reason="there is no compiler of C"))]
)


@pytest_compiler
@given(drawn=networks(least_hidden=1), standardised=st.booleans())
@settings(max_examples=20)
def test_c_gives_the_same_labels(
    compiler: str, drawn: tuple[Network, Any], standardised: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    network, x = drawn
    folder = tmp_path_factory.getbasetemp()
    mean = 4.9 if standardised else 0.0  # of which integers have ties that rounding hides
    packed = pack(Exported(network.layers, (mean, 2.0) if standardised else None))
    expected = numbers(predict_pointwise(network.layers, (x - mean) / 2.0 if standardised else x.astype(float)))
    for kind in ("int16_t", "double"):
        np.testing.assert_array_equal(compiled_labels(packed, x, folder, compiler, kind), expected)


@pytest_compiler
@pytest.mark.parametrize("outputs", [1, 3, 33])
def test_c_of_a_perceptron(compiler: str, outputs: int, tmp_path: Path) -> None:
    """One layer of sign units, with a label for each."""
    layers = init(Config(hidden=(outputs,), bias=True, density=0.8), 9, 2).layers[:1]
    x = np.random.default_rng(0).integers(-2, 3, (200, 9))
    expected = predict_pointwise(layers, x.astype(float))
    packed = pack(Exported(layers))
    np.testing.assert_array_equal(packed.predict(x), expected)
    for kind in ("int16_t", "double"):
        found = compiled_labels(packed, x, tmp_path, compiler, kind)
        np.testing.assert_array_equal(found, expected if outputs > 1 else numbers(expected))


@pytest_compiler
def test_ties_that_the_mean_hides_from_integers(compiler: str, tmp_path: Path) -> None:
    """Ten times 4.9 in binary is more than 49, and no float64 sum of the shifted inputs can tell."""
    layers = init(Config(hidden=(1,)), 10, 2).layers[:1]
    layers[0].mean[...] = 1.0
    x = np.full((3, 10), 5)
    x[:, 0] = 3, 4, 5
    packed = pack(Exported(layers, (4.9, 2.0)))
    expected = predict_pointwise(layers, (x - 4.9) / 2.0)
    assert expected.ravel().tolist() == [-1, 1, 1] and packed.predict(x).ravel().tolist() == [-1, 1, 1]
    for kind in ("int16_t", "double"):
        np.testing.assert_array_equal(compiled_labels(packed, x, tmp_path, compiler, kind), numbers(expected))


@pytest_compiler
def test_the_largest_integers(compiler: str, tmp_path: Path) -> None:
    network = init(Config(hidden=(15,), bias=True), 300, 2)
    x = np.random.default_rng(0).choice([-(2**15), 2**15 - 1], (50, 300))
    x[0], x[1] = -(2**15), 2**15 - 1
    expected = numbers(predict_pointwise(network.layers, x.astype(float)))
    np.testing.assert_array_equal(
        compiled_labels(pack(Exported(network.layers)), x, tmp_path, compiler, "int16_t"), expected
    )


def test_weights_in_any_order_of_memory() -> None:
    layers = init(Config(hidden=(9,), density=0.5), 70, 3).layers
    packed = pack(Exported(layers))
    layers[0].mean = np.asfortranarray(layers[0].mean)
    assert pack(Exported(layers)).to_bytes() == packed.to_bytes() and c_header(pack(Exported(layers)), "x") == c_header(
        packed, "x"
    )


def test_names_in_c() -> None:
    for name, expected in {
        "digits.h": "digits",
        "9 lives.h": "network_9_lives",
        "my-net.v2.h": "my_net",
        "é.h": "network",
    }.items():
        assert c_name(Path(name)) == expected


# --- digits, classifiers and the command line -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_on("digits", tmp_path_factory.mktemp("runs"), "--hidden", "33", "33", "--epochs", "3")


def trained_on(dataset: str, folder: Path, *options: str) -> Path:
    """The folder of a run."""
    out = folder / dataset
    assert main(["train", dataset, *options, "--no-plot", "--out", str(out)]) == 0
    return out


@pytest_compiler
def test_a_run_of_digits(compiler: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pixels go in as they are, and integers stay integers in C."""
    pixels, trained = load_pictures("digits").column("x").reshape(-1, 64), Run.open(run)
    mean, scale = trained.description.prepared()[0].standardization or (0.0, 1.0)
    expected = predict_pointwise(trained.load().layers, (pixels - mean) / scale)
    path = tmp_path / "digits.packed"
    assert main(["export", str(run), "--out", str(path)]) == 0
    assert f"{path}: {path.stat().st_size} bytes, packed, from epoch 3 of" in capsys.readouterr().out
    packed = deepnet.load_packed(path)
    np.testing.assert_array_equal(packed.predict(pixels), expected)
    assert main(["export", str(run), "--to", "c", "--out", str(tmp_path / "digits.h")]) == 0
    assert (tmp_path / "digits.h").read_text() == c_header(packed, "digits")
    for kind in ("int16_t", "double"):
        np.testing.assert_array_equal(compiled_labels(packed, pixels, tmp_path, compiler, kind), expected)


@pytest.mark.skipif("CAVITY_DATA" not in os.environ, reason="needs a folder with the files of MNIST as $CAVITY_DATA")
@pytest_compiler
def test_all_of_mnist(compiler: str, tmp_path: Path) -> None:
    """Every sample of the test set, as integers and as numbers, packed and in C."""
    trained = Run.open(trained_on("mnist", tmp_path, "--hidden", "501", "501", "--epochs", "1"))
    pixels = load_pictures("mnist").column("x").reshape(-1, 784)
    mean, scale = trained.description.prepared()[0].standardization or (0.0, 1.0)
    expected = predict_pointwise(trained.load().layers, (pixels.astype(float) - mean) / scale)
    assert np.bincount(expected, minlength=10).min() > 700
    packed = pack(Exported(trained.load().layers, (mean, scale)))
    np.testing.assert_array_equal(packed.predict(pixels), expected)
    for kind in ("int16_t", "double"):
        np.testing.assert_array_equal(compiled_labels(packed, pixels, tmp_path, compiler, kind), expected)


@pytest.mark.parametrize("labels", [["no", "yes"], ["a", "b", "c"], [3, 7, 9], ["*/x", "/*"]])
def test_classifiers_of_pixels(labels: list[Any], tmp_path: Path) -> None:
    """Of which the header takes the integers as they are."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 17, (300, 20))
    y = np.array(labels)[X[:, : len(labels)].argmax(axis=1)]
    model = MessagePassingClassifier(hidden=15, epochs=3, random_state=0, prediction="pointwise").fit(X, y)
    model.export(tmp_path / "pixels.packed")
    packed = load_packed(tmp_path / "pixels.packed")
    np.testing.assert_array_equal(packed.predict(X), model.predict(X))
    model.export(tmp_path / "pixels.h", to="c")
    names = ", ".join(f"{k}: {label!r}" for k, label in enumerate(labels)).replace("*/", "* /").replace("/*", "/ *")
    assert names in (tmp_path / "pixels.h").read_text()  # where no label ends the comment
    for compiler in COMPILERS:
        found = compiled_labels(packed, X, tmp_path, compiler, "int16_t")
        np.testing.assert_array_equal(model.classes_[found], model.predict(X))


def test_reading_needs_numpy_only(tmp_path: Path) -> None:
    pack(Exported(init(Config(hidden=(5,)), 4, 2).layers)).save(tmp_path / "x")
    script = f"""
import sys
import deepnet
deepnet.load_packed({str(tmp_path / "x")!r}).predict([[1, 2, 3, 4]])
assert not {{"numba", "scipy", "sklearn", "networkx"}} & set(sys.modules), sorted(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": ("binary", "continuous", "binary")}, "`W1` must have weights of ±1 or of -1, 0 and 1"),
        ({"activation": ("sign", "relu")}, "`W1` must have sign units to be packed, got ReLU"),
    ],
)
def test_the_layer_that_cannot_be_packed(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pack(Exported(init(Config(hidden=(5, 4), **changes), 4, 3).layers))


def test_what_the_command_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "relu", tmp_path / "x"
    argv = [
        "train",
        "digits",
        "--hidden",
        "5",
        "--activation",
        "relu",
        "--epochs",
        "0",
        "--no-plot",
        "--out",
        str(folder),
    ]
    assert main(argv) == 0
    assert main(["export", str(folder), "--out", str(out)]) == 2
    assert "error: `W0` must have sign units to be packed" in capsys.readouterr().err
    assert main(["export", str(folder), "--to", "onyx", "--out", str(out)]) == 2
    assert not out.exists()


def test_what_c_refuses() -> None:
    with pytest.raises(ValueError, match="`W0` must have sign units for a C header"):
        c_header(pack(Exported(init(Config(hidden=()), 4, 3).layers)), "x")
    layers = init(Config(hidden=(3,)), 4, 2).layers
    with pytest.raises(ValueError, match="`standardization` must be for integers of 16 bits"):
        c_header(pack(Exported(layers, (1e15, 1.0))), "x")


def test_wrong_arguments(tmp_path: Path) -> None:
    network = Exported(init(Config(hidden=(3,)), 4, 2).layers)
    packed = pack(network)
    check_refusals(packed.predict, "x")
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match=f"`x` must be finite numbers, got {value}"):
            packed.predict(np.full((2, 4), value))
    half = np.full((1, 4), 6e4, np.float16)  # the sum of two is infinite in their own type
    np.testing.assert_array_equal(packed.predict(half), packed.predict(half.astype(float)))
    check_refusals(lambda value: export(network, tmp_path / "x", value), "to")
    wrong = {label: value for label, value in WRONG.items() if label not in ("text", "digits")}
    for call in (packed.save, lambda value: export(network, value, "c"), load_packed):
        check_refusals(call, "path", wrong=wrong)
    assert not list(tmp_path.iterdir())


CHANGES = {
    "format": "other", "version": 2, "output": "softmax", "standardization": [0.0, -1.0], "classes": ["a"],
    "layers": [], "checksum": 7, "layers[0].name": "", "layers[0].outputs": 0, "layers[1].inputs": 9,
    "layers[0].bias": 1, "layers[0].scale": 0.0, "layers[1].edges": None,
}  # fmt: skip


@pytest.mark.parametrize("field", CHANGES)
def test_damaged_headers_name_the_field(field: str, tmp_path: Path) -> None:
    line, _, bits = pack(Exported(init(Config(hidden=(8,)), 8, 3).layers)).to_bytes().partition(b"\n")
    header = json.loads(line)
    *where, name = field.split(".")
    record = header["layers"][int(where[0][-2])] if where else header
    for damage in ("changed", "missing"):
        if damage == "changed":
            record[name] = CHANGES[field]
        elif field in ("standardization", "classes"):  # which may be null
            continue
        else:
            del record[name]
        (tmp_path / "x").write_bytes(json.dumps(header).encode() + b"\n" + bits)
        with pytest.raises(ValueError, match="`path` must be a packed network") as error:
            load_packed(tmp_path / "x")
        assert f"`{field}" in str(error.value)


@given(data=st.data())
@settings(max_examples=150)
def test_damaged_bytes_are_errors(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Or change what no check can know of, such as a name."""
    path = tmp_path_factory.getbasetemp() / "damaged"
    content = pack(Exported(init(Config(hidden=(9,), density=0.5), 7, 3).layers)).to_bytes()
    position = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        path.write_bytes(content[:position])
    else:
        changed = bytearray(content)
        changed[position] ^= data.draw(st.integers(1, 255))
        path.write_bytes(changed)
        if position < content.index(b"\n"):
            try:
                load_packed(path)
            except ValueError as error:
                assert "`path`" in str(error)
            return
    with pytest.raises(ValueError, match="`path` must be a packed network"):
        load_packed(path)
