"""Files that are larger than memory stay on the disk: inputs are made of the rows that are asked for."""

import gzip
import struct
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from deepnet.app.cli import main
from deepnet.app.run import Run
from deepnet.config import Config
from deepnet.data import DataError, Dataset, Files, load_files
from deepnet.data.mapped import MappedInputs
from deepnet.data.own import read_table
from deepnet.predict import predict_proba
from deepnet.train import Evaluation, init, train

SAMPLES = 90

#: As if there were no memory at all.
MAPPING = mock.patch("deepnet.data.own.IN_MEMORY", 0.0)


@pytest.fixture(params=["bytes", "pictures", "columns", "idx"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    rng = np.random.default_rng(0)
    bytes_ = rng.integers(0, 256, (SAMPLES, 4, 3)).astype(np.uint8)
    y, path = rng.integers(0, 3, SAMPLES), tmp_path / ("x" if request.param == "idx" else "x.npy")
    if request.param == "idx":
        path.write_bytes(struct.pack(">HBB3I", 0, 8, 3, *bytes_.shape) + bytes_.tobytes())
    elif request.param == "columns":
        values = rng.standard_normal((SAMPLES, 5))
        values[7, 2] = np.nan
        np.save(path, values)
    else:
        np.save(path, bytes_ if request.param == "bytes" else bytes_ * 0.25)
    np.save(tmp_path / "y.npy", y)
    return Files(path, str(tmp_path / "y.npy"), test_fraction=0.3)


def mapped_and_read(files: Files) -> tuple[Dataset, Dataset]:
    with MAPPING:
        mapped = load_files(files)
    return mapped, load_files(files)


def test_inputs_are_those_that_are_read(files: Files) -> None:
    mapped, read = mapped_and_read(files)
    assert isinstance(mapped.x_train, MappedInputs) and isinstance(mapped.x_test, MappedInputs)
    assert mapped.preparation == read.preparation
    for name in ("x_train", "x_test", "y_train", "y_test"):
        np.testing.assert_array_equal(np.asarray(getattr(mapped, name)), getattr(read, name))
    chosen = [5, 0, 5]
    np.testing.assert_array_equal(mapped.x_train[chosen], read.x_train[chosen])
    part = mapped.x_train[3:9].astype(np.float64)
    assert isinstance(part, MappedInputs) and part.shape == (6, read.features) and part.dtype == np.float64
    np.testing.assert_allclose(part, read.x_train[3:9], rtol=0, atol=1e-6)


def test_training_reads_the_samples_of_a_batch_only(files: Files) -> None:
    mapped, read = mapped_and_read(files)
    asked, made = [], MappedInputs.__array__

    def noted(inputs: MappedInputs, *args: object, **options: object) -> np.ndarray:
        asked.append(len(inputs))
        return made(inputs, *args, **options)

    states = []
    for data in (mapped, read):
        network = init(Config(hidden=(5,), batch_size=16, epochs=2), data.features, data.classes)
        with mock.patch.object(MappedInputs, "__array__", noted):
            evaluation = Evaluation(data.x_train[:4], data.y_train[:4], data.x_test, data.y_test)
            history = list(train(network, data.x_train, data.y_train, evaluation))
        proba = predict_proba(network.layers, data.x_test, network.operations)
        states.append((network.arrays(), [each["test_error"] for each in history], proba))
    assert states[0][1] == states[1][1]
    np.testing.assert_array_equal(states[0][2], states[1][2])
    for name, values in states[1][0].items():
        np.testing.assert_array_equal(states[0][0][name], values)
    assert max(asked) == len(mapped.x_test) > 16 and sorted(set(asked))[:-1] == [4, 15, 16]


def test_the_command_line_maps(files: Files, tmp_path: Path) -> None:
    words = ["train", str(files.train), "--target", files.target, "--hidden", "4", "--epochs", "2", "--no-plot"]
    with MAPPING:
        assert main([*words, "--out", str(tmp_path / "mapped")]) == 0
        assert main([*words, "--out", str(tmp_path / "mapped"), "--resume"]) == 0
    assert main([*words, "--out", str(tmp_path / "read")]) == 0
    runs = [Run.open(tmp_path / name).load() for name in ("mapped", "read")]
    for name, values in runs[1].arrays().items():
        np.testing.assert_array_equal(runs[0].arrays()[name], values)


def test_an_array_that_numpy_has_mapped(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", rng.standard_normal((40, 6)).astype(np.float32))
    y, states = rng.integers(0, 3, 40), []
    for mode in ("r", None):
        network = init(Config(hidden=(5,), batch_size=16, epochs=1), 6, 3)
        list(train(network, np.load(tmp_path / "x.npy", mmap_mode=mode), y))
        states.append(network.arrays())
    for name, values in states[1].items():
        np.testing.assert_array_equal(states[0][name], values)


def test_errors_name_the_file(tmp_path: Path) -> None:
    x, y = tmp_path / "x.npy", tmp_path / "y.npy"
    np.save(x, np.zeros((9, 4)))
    np.save(y, np.zeros(8))
    with MAPPING, pytest.raises(DataError, match=r"x\.npy must have as many labels as rows, got .*: 9, .*: 8"):
        read_table(x, "label", y)
    x.write_bytes(x.read_bytes()[:-1])
    with MAPPING, pytest.raises(DataError, match=r"x\.npy is truncated: must have 288 bytes of data, got 287"):
        read_table(x)


def test_small_and_packed_files_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((9, 4)))
    assert not read_table(tmp_path / "x.npy").mapped
    (tmp_path / "x.npy.gz").write_bytes(gzip.compress((tmp_path / "x.npy").read_bytes()))
    with MAPPING:
        assert not read_table(tmp_path / "x.npy.gz").mapped
        assert read_table(tmp_path / "x.npy").mapped
