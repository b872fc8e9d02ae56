"""The folder of a run: nothing is lost or changed by a kill, a full disk or a resumption."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepnet import run as run_module
from deepnet.checkpoint import CheckpointError, latest_checkpoint, load_checkpoint
from deepnet.cli import main
from deepnet.config import Config
from deepnet.data import Dataset, load_dataset
from deepnet.lower import lower
from deepnet.run import CONFIG, METRICS, Description, Run, RunError, check_free, describe, evaluate
from deepnet.train import DivergenceError, init

ROOT = Path(__file__).resolve().parent.parent
TIMES = ("seconds", "evaluation_seconds")

#: Seconds after which a process is taken to hang: one that finds no compiled code needs minutes.
PATIENCE = 600
SMALL: dict[str, Any] = {"hidden": (31,), "epochs": 3, "rho": (1, 0.9), "damping": 0.95, "beta": ("8:1:0.7", 1)}


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load_dataset("digits", task="parity")


def begin(folder: Path, data: Dataset, **settings: Any) -> Run:
    return Run(folder, Description.of(data, Config(**SMALL | settings)))


def go_on(run: Run, data: Dataset, stop: int | None = None) -> None:
    """Train to the end, or until ``stop`` epochs are done."""
    network = run.load()
    with run.locked():
        run.prepare(network)
        if network.epoch != stop:
            for measured in run.train(network, data):
                if measured["epoch"] == stop:
                    return


def lines(folder: Path) -> list[dict[str, Any]]:
    """The lines of the metrics without the times."""
    parsed = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMES} for line in parsed]


def newest(folder: Path) -> tuple[int, dict[str, Any], list[dict[str, Any]]]:
    path = latest_checkpoint(folder)
    assert path is not None
    epoch, arrays, meta = load_checkpoint(path)
    return epoch, arrays, meta["history"]


def assert_same_end(folder: Path, other: Path) -> None:
    (epoch, arrays, history), (other_epoch, other_arrays, _) = newest(folder), newest(other)
    assert epoch == other_epoch and list(arrays) == list(other_arrays)
    for name, array in arrays.items():
        assert array.tobytes() == other_arrays[name].tobytes(), name
    assert lines(folder) == lines(other)
    assert len(history) == len(lines(folder)) == epoch
    assert json.loads((folder / CONFIG).read_text()) == json.loads((other / CONFIG).read_text())
    assert not list(folder.glob(".*.tmp"))


# --- description ------------------------------------------------------------------------------------------------------


def test_description_comes_back_from_its_text(data: Dataset, tmp_path: Path) -> None:
    config = Config(
        hidden=(31, 15), closure=("bp", "mf", "amp"), weights="continuous", activation="relu", bias=True, density=0.5,
        rho=[0.9, 1, 1.0001], damping="0.3:0.9:0.5", tau=2, reinforcement=0.1, seed=3, dtype="float64",
    )  # fmt: skip
    description = Description.of(data, config, tmp_path)
    again = Description.from_json(description.to_json())
    assert again == description
    assert again.config == config and again.data_dir == str(tmp_path)
    assert (again.features, again.classes, again.task) == (64, 2, "parity")
    assert set(again.versions) == {"python", "cavity", "numpy", "scipy", "numba"}


@pytest.mark.parametrize("task", ["parity", "multiclass"])
def test_the_model_shown_is_the_model_trained(task: Any) -> None:
    data = load_dataset("digits", task=task)
    config = Config(hidden=(31, 15), activation=("relu", "sign"), bias=True, density=(0.5, 0.2, 1.0), seed=5)
    description = Description.of(data, config)
    layers = init(config, description.features, description.classes).layers
    plans = lower(description.model(), config.closure)
    assert [describe(plan) for plan in plans] == [describe(layer.plan) for layer in layers]
    masks = [(plan.mask, layer.plan.mask) for plan, layer in zip(plans, layers, strict=True)]
    assert masks[0][0] is not None and 0.4 < masks[0][0].mean() < 0.6
    for mask, other in masks:
        assert (mask is None and other is None) or np.array_equal(mask, other)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("rho", [1.00000001, "1:0.123456789:0.5", "1:0:0.1234567891"])
def test_no_digits_of_a_setting_are_lost_silently(rho: Any, data: Dataset) -> None:
    config = Config(rho=rho)
    try:
        kept = Description.of(data, config).config
    except ValueError as error:
        assert "`rho` must be" in str(error)
    else:
        assert [s(1.0) for s in kept.schedules("rho")] == [s(1.0) for s in config.schedules("rho")]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"hidden": [31], "closure": "mf", "task": "parity", "epochs": 3},
        {"closure": ["mf", "mf"], "rho": ["1.0", "0.90"], "damping": "0.950", "epochs": 8},
        {"rho": [1, 0.9], "beta": ["8:1:.7", 1.0]},
    ],
)
def test_the_same_settings_are_recognised(given: dict[str, Any], data: Dataset, tmp_path: Path) -> None:
    begin(tmp_path, data).description.check_same("digits", given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"hidden": [31, 31]}, "`hidden` must stay as it was in a resumed run: the run has 31, got 31 31"),
        ({"closure": "bp"}, "`closure` must stay .* the run has mf, got bp"),
        ({"closure": ["mf", "bp"]}, "the run has mf, got mf bp"),
        ({"rho": "1"}, "`rho` .* the run has 1 0.9, got 1"),
        ({"rho": "nonsense"}, "`rho` must be a number or 'start:end:rate'"),
        ({"bias": True}, "`bias` .* the run has False, got True"),
        ({"task": "multiclass"}, "`task` .* the run has parity, got multiclass"),
        ({"seed": 1}, "`seed` .* the run has 0, got 1"),
        ({"epochs": 2}, "`epochs` of a resumed run may only grow: the run has 3, got 2"),
    ],
)
def test_other_settings_are_refused(given: dict[str, Any], message: str, data: Dataset, tmp_path: Path) -> None:
    with pytest.raises((RunError, ValueError), match=message):
        begin(tmp_path, data).description.check_same("digits", given)


def test_another_data_set_is_refused(data: Dataset, tmp_path: Path) -> None:
    description = begin(tmp_path, data).description
    with pytest.raises(RunError, match=r"`dataset` must stay .* the run has digits, got mnist"):
        description.check_same("mnist", {})
    with pytest.raises(RunError, match="data set digits must have 2 classes for this network, got 10"):
        description.check_fits(load_dataset("digits"))


# --- resumption -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"closure": "bp", "damping": 0.5, "bias": True, "density": 0.7},
        {"closure": ("bpi", "mf"), "tau": 2, "reinforcement": 0.3},
        {"closure": "amp", "weights": "continuous", "activation": "relu", "beta": 1, "dtype": "float64"},
    ],
)
def test_a_run_in_parts_is_the_run_in_one(settings: dict[str, Any], data: Dataset, tmp_path: Path) -> None:
    go_on(begin(tmp_path / "one", data, **settings), data)
    go_on(begin(tmp_path / "parts", data, **settings), data, stop=1)
    assert newest(tmp_path / "parts")[0] == 1
    go_on(Run.open(tmp_path / "parts"), data)
    assert_same_end(tmp_path / "parts", tmp_path / "one")
    initial = init(Config(**SMALL | settings), 64, 2).arrays()
    assert not np.allclose(newest(tmp_path / "one")[1]["W0.H"], initial["W0.H"])


def test_an_extended_run_is_the_longer_run(data: Dataset, tmp_path: Path) -> None:
    go_on(begin(tmp_path / "long", data, epochs=4), data)
    go_on(begin(tmp_path / "short", data, epochs=2), data)
    run = Run.open(tmp_path / "short")
    run.extend(4)
    go_on(run, data)
    assert_same_end(tmp_path / "short", tmp_path / "long")


@pytest.mark.parametrize("torn", ['{"epoch": 3, "train_err', '{"epoch": 3, "train_error": 1.0}\n', "\0\0"])
def test_metrics_beyond_the_checkpoint_are_dropped(torn: str, data: Dataset, tmp_path: Path) -> None:
    go_on(begin(tmp_path / "one", data), data)
    go_on(begin(tmp_path / "cut", data), data, stop=2)
    with (tmp_path / "cut" / METRICS).open("a") as file:
        file.write(torn)
    run = Run.open(tmp_path / "cut")
    run.prepare(run.load())
    assert [line["epoch"] for line in lines(tmp_path / "cut")] == [1, 2]
    go_on(Run.open(tmp_path / "cut"), data)
    assert_same_end(tmp_path / "cut", tmp_path / "one")


def test_metrics_have_all_fields(data: Dataset, tmp_path: Path) -> None:
    go_on(begin(tmp_path, data), data)
    measured = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert [line["epoch"] for line in measured] == [1, 2, 3]
    for line in measured:
        for name in ("train_error", "test_error", "bayes_train_error", "bayes_test_error"):
            assert 0.0 < line[name] < 50.0
        assert len(line["polarization"]) == len(line["overlap"]) == 2
        assert all(0.0 < value <= 1.0 for value in line["polarization"])
        assert line["seconds"] > 0 and line["evaluation_seconds"] > 0
    assert measured[-1]["test_error"] < measured[0]["test_error"]
    network = Run.open(tmp_path).load()
    whole = evaluate(network, data)
    assert whole["test_error"] == measured[-1]["test_error"] and whole["train_error"] != measured[-1]["train_error"]
    assert whole["epoch"] == 3


# --- killed -----------------------------------------------------------------------------------------------------------

KILLER = """
import os, signal, sys
import deepnet.checkpoint, deepnet.run, deepnet.train
from deepnet.cli import main

module, name, when, count = sys.argv[1].split()
module = sys.modules[module]
original, calls = getattr(module, name), 0

def killing(*args, **kwargs):
    global calls
    calls += 1
    if calls == int(count) and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = original(*args, **kwargs)
    if calls == int(count):
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(module, name, killing)
sys.exit(main(sys.argv[2:]))
"""


def command(folder: Path, epochs: int) -> list[str]:
    return ["train", "digits", "--task", "parity", "--hidden", "31", "--epochs", str(epochs), "--out", str(folder),
            "--no-plot"]  # fmt: skip


def process(*args: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, *args], env=environment, stdout=subprocess.DEVNULL, cwd=ROOT)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("point", "epoch"),
    [
        ("deepnet.run write_text_atomic after 1", None),  # the settings only: no checkpoint yet
        ("deepnet.train train_batch before 17", 1),  # within the second epoch
        ("deepnet.run save_checkpoint after 3", 2),  # the checkpoint without its line of the metrics
        ("factorgraph.files _sync_folder before 5", 1),  # a checkpoint or metrics, the moment they are in place
        ("os replace before 7", 2),  # a finished temporary file, not yet in place
    ],
)
def test_killed_at_a_point_and_resumed(point: str, epoch: int | None, data: Dataset, tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    assert process("-c", KILLER, point, *command(killed, 3)).wait(PATIENCE) == -signal.SIGKILL
    assert (newest(killed)[0] if latest_checkpoint(killed) else None) == epoch
    assert main([*command(killed, 3), "--resume"]) == 0
    assert main(command(whole, 3)) == 0
    assert_same_end(killed, whole)


@pytest.mark.slow
def test_killed_at_random_again_and_again(tmp_path: Path) -> None:
    killed, whole, epochs, rng = tmp_path / "killed", tmp_path / "whole", 80, random.Random(1)
    reached = 0
    for attempt in range(3):
        resume = ["--resume"] if attempt else []
        running = process("-m", "deepnet", *command(killed, epochs), *resume)
        wanted, deadline = reached + rng.randint(1, 15), time.monotonic() + PATIENCE
        while time.monotonic() < deadline and running.poll() is None:
            path = latest_checkpoint(killed)
            if path is not None and int(path.stem[-5:]) >= wanted:
                break
            time.sleep(0.001)
        time.sleep(rng.uniform(0.0, 0.03))
        running.kill()
        assert running.wait(10) == -signal.SIGKILL, "the run must be long enough to be killed"
        assert newest(killed)[0] >= wanted
        reached = newest(killed)[0]
    assert reached < epochs
    assert main([*command(killed, epochs), "--resume"]) == 0
    assert main(command(whole, epochs)) == 0
    assert_same_end(killed, whole)


# --- failures ---------------------------------------------------------------------------------------------------------


def full_disk(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """No room for files whose name starts like this."""
    original = os.replace

    def replace(source: Any, target: Any) -> None:
        if Path(target).name.startswith(name):
            raise OSError(errno.ENOSPC, "No space left on device")
        original(source, target)

    monkeypatch.setattr(os, "replace", replace)


@pytest.mark.parametrize("name", ["checkpoint-00002", METRICS])
def test_a_full_disk_leaves_a_run_that_goes_on(
    name: str, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on(begin(tmp_path / "one", data), data)
    go_on(begin(tmp_path / "full", data), data, stop=1)
    with monkeypatch.context() as patch:
        full_disk(patch, name)
        run = Run.open(tmp_path / "full")
        network = run.load()
        with pytest.raises(CheckpointError, match="the disk is full"):
            for _ in run.train(network, data):
                pass
    go_on(Run.open(tmp_path / "full"), data)
    assert_same_end(tmp_path / "full", tmp_path / "one")


def test_divergence_leaves_the_good_checkpoint(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on(begin(tmp_path, data), data, stop=1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr("deepnet.train.LARGEST_FIELD", 1e-3)
    run = Run.open(tmp_path)
    with pytest.raises(DivergenceError, match="diverged in epoch 2"):
        next(run.train(run.load(), data))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_damaged_checkpoint_is_an_error(data: Dataset, tmp_path: Path) -> None:
    go_on(begin(tmp_path, data), data)
    path = latest_checkpoint(tmp_path)
    assert path is not None
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"delete it to resume from the previous checkpoint .*checkpoint-00002"):
        Run.open(tmp_path).load()


def test_a_checkpoint_of_another_network_is_an_error(data: Dataset, tmp_path: Path) -> None:
    go_on(begin(tmp_path, data), data, stop=1)
    text = (tmp_path / CONFIG).read_text()
    assert '"seed": 0' in text and '"features": 64' in text
    (tmp_path / CONFIG).write_text(text.replace('"features": 64', '"features": 65'))
    with pytest.raises(CheckpointError, match=r"does not belong to the run described in config.json.*shape"):
        Run.open(tmp_path).load()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"config": {"hidden": [0]}}', '{"config": {"colour": 1}}'])
def test_a_damaged_description_is_an_error(text: str, tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text(text)
    with pytest.raises(CheckpointError, match=r"cannot read .*config\.json"):
        Run.open(tmp_path)


def test_two_processes_cannot_train_in_one_folder(data: Dataset, tmp_path: Path) -> None:
    run = begin(tmp_path / "new" / "run", data)
    with run.locked(), pytest.raises(RunError, match="another process is training in"), run.locked():
        pass
    with run.locked():  # free again
        pass
    with pytest.raises(BlockingIOError), run.locked():
        raise BlockingIOError  # an error within is not taken for the lock's


def test_where_a_new_run_may_go(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes.txt").touch()
    check_free(tmp_path)
    check_free(tmp_path / "a" / "b")
    with pytest.raises(RunError, match=r"`--out` must be a folder, got .*notes.txt is a file"):
        check_free(tmp_path / "notes.txt" / "run")
    for name in (CONFIG, METRICS, "checkpoint-00000.npz"):
        (tmp_path / name).touch()
        with pytest.raises(RunError, match="already holds a run: continue it with --resume, or choose another folder"):
            check_free(tmp_path)
        (tmp_path / name).unlink()
    monkeypatch.setattr(run_module.os, "access", lambda *_: False)
    with pytest.raises(RunError, match="`--out` must be a folder that can be written"):
        check_free(tmp_path / "c")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt"]
