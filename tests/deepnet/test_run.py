"""The folder of a run: nothing is lost or changed by a kill, a full disk or a resumption."""

import contextlib
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepnet import network as network_module
from deepnet.app import run as run_module
from deepnet.app.checkpoint import CheckpointError, latest_checkpoint, load_checkpoint, save_checkpoint
from deepnet.app.cli import main
from deepnet.app.run import CONFIG, METRICS, Description, Run, RunError, check_free, evaluate
from deepnet.config import Config
from deepnet.data import Dataset, load_dataset
from deepnet.lower import lower
from deepnet.train import DivergenceError, init

ROOT = Path(__file__).resolve().parents[2]
KEPT = Path(__file__).parent / "data" / "run-of-version-0.2"
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


def test_a_run_of_an_earlier_version_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its settings lack all that came later, its checkpoint likewise."""
    folder = tmp_path / "run"
    shutil.copytree(KEPT, folder)
    run = Run.open(folder)
    network = run.load()
    assert run.description.config.to_json().items() >= json.loads((KEPT / CONFIG).read_text())["config"].items()
    assert network.epoch == 1 and run.history[0]["bayes_test_error"] == 68.45070422535211
    assert main(["evaluate", str(folder)]) == 0
    assert "78.87     68.45" in capsys.readouterr().out
    assert main(["train", "digits", "--resume", "--epochs", "2", "--no-plot", "--out", str(folder)]) == 0
    assert Run.open(folder).load().epoch == 2


@pytest.mark.parametrize("name", [each.name for each in fields(Config)])
def test_a_setting_that_is_not_there(name: str, tmp_path: Path) -> None:
    """One that came later is what it was before, another one is an error, and so is one that is not known."""
    values = json.loads((KEPT / CONFIG).read_text())
    first, known = dict(values["config"]), Config.from_json(values["config"])
    values["config"] = known.to_json()
    del values["config"][name]
    if name not in first:
        assert Description.from_json(json.dumps(values)).config == known
        return
    with pytest.raises(ValueError, match=rf"`config` must have the fields .*, and lacks {name}$"):
        Description.from_json(json.dumps(values))
    values["config"] = first | {"momentum": 1}
    with pytest.raises(ValueError, match=r"`config` must have the fields .*, and has \['momentum'\]$"):
        Description.from_json(json.dumps(values))


@pytest.mark.parametrize("task", ["parity", "multiclass"])
def test_the_model_shown_is_the_model_trained(task: Any) -> None:
    data = load_dataset("digits", task=task)
    config = Config(hidden=(31, 15), activation=("relu", "sign"), bias=True, density=(0.5, 0.2, 1.0), seed=5)
    description = Description.of(data, config)
    layers = init(config, description.features, description.classes).layers
    plans = lower(description.model(), config.closure)
    assert [str(plan) for plan in plans] == [str(layer.plan) for layer in layers]
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
        assert [s(1.0, 9) for s in kept.schedules("rho")] == [s(1.0, 9) for s in config.schedules("rho")]


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
        ({"rho": "nonsense"}, "`rho` must be a number, 'start:end:rate' or"),
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
import deepnet.app.checkpoint, deepnet.app.run, deepnet.train
from deepnet.app.cli import main

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
        ("deepnet.app.run write_text_atomic after 1", None),  # the settings only: no checkpoint yet
        ("deepnet.train train_batch before 17", 1),  # within the second epoch
        ("deepnet.app.run save_checkpoint after 3", 2),  # the checkpoint without its line of the metrics
        ("factorgraph.io.files _sync_folder before 5", 1),  # a checkpoint or metrics, the moment they are in place
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
    monkeypatch.setattr("deepnet.layers.dense.LARGEST_FIELD", 1e-3)
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


# --- two runs on one folder -------------------------------------------------------------------------------------------


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def at_the_lock(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Do something in the moment before the folder is locked, once."""
    lock, waiting = run_module._locked, [action]

    def late(directory: Path) -> Any:
        if waiting:
            waiting.pop()()
        return lock(directory)

    monkeypatch.setattr(run_module, "_locked", late)


def test_a_run_that_came_in_between_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second one has looked at the folder already, when the first begins in it and runs to its end."""
    folder, after = tmp_path / "run", {}

    def first() -> None:
        assert main(command(folder, 2)) == 0
        after.update(content(folder))

    at_the_lock(monkeypatch, first)
    assert main([*command(folder, 3), "--rho", "0.5"]) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert content(folder) == after and len(lines(folder)) == 2


def test_a_run_that_goes_on_in_between_loses_nothing(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, after = tmp_path / "run", {}
    assert main(command(folder, 1)) == 0

    def first() -> None:
        assert main([*command(folder, 4), "--resume"]) == 0
        after.update(content(folder))

    with monkeypatch.context() as patch:
        at_the_lock(patch, first)
        assert main([*command(folder, 2), "--resume"]) == 2
    assert "may only grow: the run has 4, got 2" in capsys.readouterr().err
    assert content(folder) == after and len(lines(folder)) == 4
    run = Run.open(folder)
    network = run.load()
    assert main([*command(folder, 5), "--resume"]) == 0
    with pytest.raises(RunError, match=r"has gone on to checkpoint-00005\.npz since it was read"), run.locked():
        run.prepare(network)
    assert len(lines(folder)) == 5


def test_a_new_run_reads_nothing_and_writes_over_nothing(data: Dataset, tmp_path: Path) -> None:
    go_on(begin(tmp_path, data), data)
    before = content(tmp_path)
    run = begin(tmp_path, data)
    network = run.load()
    assert network.epoch == 0 and not run.history
    for block in (run.begun(), run.locked()):
        with pytest.raises(RunError, match="already holds a run"), block:
            run.prepare(network)
    assert content(tmp_path) == before


def test_the_checkpoint_that_goes_while_it_is_read(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process trains, and removes what was the newest: the new one is read."""
    go_on(begin(tmp_path, data), data)
    newest = tmp_path / "checkpoint-00003.npz"
    found = iter([tmp_path / "checkpoint-00001.npz", newest])
    monkeypatch.setattr(run_module, "latest_checkpoint", lambda _: next(found))
    assert Run.open(tmp_path).load().epoch == 3


# --- edited and foreign -----------------------------------------------------------------------------------------------

#: Another value for everything that decides the weights.
EDITS: dict[str, Any] = {
    "dataset": "mnist", "task": "multiclass", "features": 65, "classes": 10, "hidden": [32], "closure": "amp",
    "weights": "continuous", "activation": "relu", "output": "argmax", "bias": True, "density": 0.6,
    "batch_size": 64, "preset": "paper", "tasks": "split:2",
    "rho": ["1", "1"], "damping": ["0.9", "0.95"], "beta": ["8:1:0.7", "2"], "tau": 2, "reinforcement": 0.1,
    "label_noise": 0.1, "members": 2, "replicas": 2, "eps_init": 0.5, "seed": 1, "dtype": "float64",
}  # fmt: skip


#: Another algorithm does not know the settings of the run, nor this one, its output or weights those of another; nor
#: another memory.
FOREIGN: dict[str, Any] = {
    "algorithm": "ebp", "learning_rate": 0.1, "memory": "covariance", "temperature": 0.5, "noise_variance": 0.1,
    "mass": 0.3, "coupling": 0.5,
}  # fmt: skip


def test_the_edits_are_complete(data: Dataset, tmp_path: Path) -> None:
    assert set(EDITS) | set(FOREIGN) == set(begin(tmp_path, data).description.decisive())


@pytest.fixture(scope="module")
def sparse(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of which every fourth weight is kept."""
    folder = tmp_path_factory.mktemp("runs") / "sparse"
    go_on(begin(folder, data, density=0.25, epochs=1), data)
    return folder


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_description_is_noticed(name: str, sparse: Path, tmp_path: Path) -> None:
    shutil.copytree(sparse, tmp_path / "run")
    path = tmp_path / "run" / CONFIG
    values = json.loads(path.read_text())
    place = values if name in values else values["config"]
    assert place[name] != EDITS[name]
    path.write_text(json.dumps(values | {name: EDITS[name]}))
    if name in values["config"]:
        path.write_text(json.dumps(values | {"config": values["config"] | {name: EDITS[name]}}))
    run = Run.open(tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"checkpoint-00001\.npz does not belong to the run .* in config\.json: "
                       rf"`{name}` must be .*, with which it was trained, got"):  # fmt: skip
        run.load()


@pytest.mark.parametrize("name", FOREIGN)
def test_settings_that_go_with_other_ones_are_noticed(name: str, sparse: Path, tmp_path: Path) -> None:
    shutil.copytree(sparse, tmp_path / "run")
    path = tmp_path / "run" / CONFIG
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"config": values["config"] | {name: FOREIGN[name]}}))
    why = "(with (algorithm|memory|output)|where no weights)"
    with pytest.raises(CheckpointError, match=rf"cannot read .*config\.json: .* must be .* {why}"):
        Run.open(tmp_path / "run")


@pytest.mark.parametrize("name", ["seed", "density"])
def test_every_command_refuses_an_edited_description(
    name: str, sparse: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(sparse, folder)
    text = (folder / CONFIG).read_text()
    edited = text.replace('"density": 0.25', '"density": 0.3') if name == "density" else text.replace(
        '"seed": 0', '"seed": 7')  # fmt: skip
    assert edited != text
    (folder / CONFIG).write_text(edited)
    before = content(folder)
    for argv in (
        ["evaluate", str(folder), "digits"],
        ["show", str(folder)],
        ["train", "digits", "--out", str(folder), "--resume"],
    ):
        assert main(argv) == 1
        assert f"`{name}` must be" in capsys.readouterr().err
    assert content(folder) == before


def test_edges_that_are_drawn_otherwise_are_noticed(
    sparse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another generator, say; also where the checkpoint says nothing of its edges."""
    folder = tmp_path / "run"
    shutil.copytree(sparse, folder)
    original = network_module.random_mask
    monkeypatch.setattr(network_module, "random_mask", lambda *args: None if args[2] == 1.0 else original(*args)[::-1])
    with pytest.raises(CheckpointError, match="the edges drawn from `seed` and `density` must be those with which"):
        Run.open(folder).load()
    path = latest_checkpoint(folder)
    assert path is not None
    epoch, arrays, meta = load_checkpoint(path)
    save_checkpoint(folder, epoch, arrays, {"history": meta["history"]})
    with pytest.raises(CheckpointError, match="W0 must have weights where `seed` and `density` draw edges only"):
        Run.open(folder).load()
    monkeypatch.setattr(network_module, "random_mask", original)
    assert Run.open(folder).load().epoch == 1


def test_a_renamed_checkpoint_gets_its_name_back(data: Dataset, tmp_path: Path) -> None:
    """What the error advises leads on."""
    go_on(begin(tmp_path, data), data)
    right, wrong = tmp_path / "checkpoint-00003.npz", tmp_path / "checkpoint-00007.npz"
    shutil.copy(right, wrong)
    with pytest.raises(CheckpointError, match=r"00007\.npz has the name of another epoch: .* after 3; delete it$"):
        Run.open(tmp_path).load()
    wrong.unlink()
    right.rename(wrong)
    with pytest.raises(CheckpointError, match=r"after 3; rename it to checkpoint-00003\.npz$"):
        Run.open(tmp_path).load()
    wrong.rename(right)
    run = Run.open(tmp_path)
    run.extend(4)
    go_on(run, data)
    assert newest(tmp_path)[0] == 4


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("trained", [], "`trained` must be settings by name"),
        ("trained", {}, "`trained` must have the fields"),
        ("masks", {"W0": 3}, "the edges drawn"),
        ("history", None, "`history` must be a list, got None"),
        ("history", [], "`history` must have an entry for each of the 1 epochs, got 0"),
        ("history", [3], r"`history\[0\]` must be a JSON object, got 3"),
        ("epoch", 2, r"`history\[0\]\.epoch` must be an integer >= 1 and <= 1, got 2"),
        ("test_error", "low", r"`history\[0\]\.test_error` must be a finite number .*, got 'low'"),
        ("train_error", 101, r"`history\[0\]\.train_error` must be"),
        ("seconds", -1, r"`history\[0\]\.seconds` must be"),
        ("overlap", [0.1], r"`history\[0\]\.overlap` must have a number for each of 2 layers, got 1"),
        ("polarization", [0.1, None], r"`history\[0\]\.polarization` must be a finite number, got None"),
        ("bayes_test_error", ..., r"`history\[0\]` must have .* and lacks bayes_test_error"),
    ],
)
def test_what_a_checkpoint_says_is_checked(field: str, value: Any, message: str, sparse: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(sparse, folder)
    path = latest_checkpoint(folder)
    assert path is not None
    epoch, arrays, meta = load_checkpoint(path)
    if field in meta:
        meta[field] = value
    elif value is ...:
        del meta["history"][0][field]
    else:
        meta["history"][0][field] = value
    save_checkpoint(folder, epoch, arrays, meta)
    with pytest.raises(CheckpointError, match=message):
        Run.open(folder).load()


def test_an_array_without_numbers_is_refused(sparse: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(sparse, folder)
    path = latest_checkpoint(folder)
    assert path is not None
    epoch, arrays, meta = load_checkpoint(path)
    arrays["W1.H"][0, 3] = np.nan
    save_checkpoint(folder, epoch, arrays, meta)
    with pytest.raises(CheckpointError, match=r"saved 'W1\.H' must be finite numbers, got nan"):
        Run.open(folder).load()
    save_checkpoint(folder, epoch, arrays | {"W1.H": arrays["W1.mean"], "W9.H": arrays["W0.H"]}, meta)
    with pytest.raises(CheckpointError, match=r"must have the arrays .* only, and has \['W9\.H'\]"):
        Run.open(folder).load()


# --- the folder goes, or is not ours ----------------------------------------------------------------------------------


@pytest.mark.parametrize("other", [False, True])
def test_a_folder_that_goes_during_training(other: bool, data: Dataset, tmp_path: Path) -> None:
    """Nothing is made in its place, and nothing is written to another folder of its name."""
    folder = tmp_path / "run"
    run = begin(folder, data)
    network = run.load()
    with pytest.raises(CheckpointError, match=f"the folder {folder} of the run was removed"), run.locked():
        run.prepare(network)
        for measured in run.train(network, data):
            assert measured["epoch"] == 1
            shutil.rmtree(folder)
            if other:
                folder.mkdir()
    assert list(tmp_path.rglob("*")) == ([folder] if other else [])


def test_the_epoch_is_not_finished_when_the_folder_has_gone(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "_WATCH_PERIOD", 0.0)
    run, batches = begin(tmp_path / "run", data), []

    def progress(samples: int) -> None:
        if not batches:
            (tmp_path / "run").rename(tmp_path / "elsewhere")
        batches.append(samples)

    network = run.load()
    with pytest.raises(CheckpointError, match="was removed"), run.locked():
        run.prepare(network)
        next(run.train(network, data, progress))
    assert len(batches) == 1 and [path.name for path in tmp_path.iterdir()] == ["elsewhere"]


def test_a_lost_description_is_written_again(data: Dataset, tmp_path: Path) -> None:
    run = begin(tmp_path, data)
    network = run.load()
    with run.locked():
        run.prepare(network)
        for _ in run.train(network, data):
            (tmp_path / CONFIG).unlink(missing_ok=True)
            (tmp_path / METRICS).unlink()
            break
        next(run.train(network, data))
    go_on(Run.open(tmp_path), data)
    assert len(lines(tmp_path)) == 3


@contextlib.contextmanager
def somebody_else() -> Iterator[None]:
    """Without the rights of the superuser, if the tests have them."""
    if os.geteuid():
        yield
        return
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("permissions", [0o000, 0o555])
def test_the_folder_of_somebody_else(
    permissions: int, sparse: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    base = Path(tempfile.mkdtemp())
    base.chmod(0o755)
    folder = base / "run"
    shutil.copytree(sparse, folder)
    before = content(folder)
    folder.chmod(permissions)
    readable = permissions == 0o555
    shutil.copytree(sparse, tmp_path / "run")
    for argv in (["show"], ["train", "digits", "--resume", "--no-plot", "--out"]):  # imports all that is needed
        assert main([*argv, str(tmp_path / "run")]) == 0
    capsys.readouterr()
    try:
        for argv, code in (
            (["show", str(folder)], 0 if readable else 1),
            (["train", "digits", "--no-plot", "--out", str(folder), "--resume"], 2),
            (["train", "digits", "--no-plot", "--out", str(folder)], 2),
            (["train", "digits", "--no-plot", "--out", str(folder / "new")], 2),
        ):
            with somebody_else():
                assert main(argv) == code, argv
            error = capsys.readouterr().err
            assert error.count("\n") == (code > 0) and (not code or "ermission" in error or "already holds" in error)
        folder.chmod(0o755)
        assert content(folder) == before
    finally:
        folder.chmod(0o755)
        shutil.rmtree(base)


# --- where a new run may go -------------------------------------------------------------------------------------------


def test_where_a_new_run_may_go(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes.txt").touch()
    check_free(tmp_path)
    check_free(tmp_path / "a" / "b")
    with pytest.raises(RunError, match=r"`--out` must be a folder, got .*notes.txt is a file"):
        check_free(tmp_path / "notes.txt" / "run")
    for name in (CONFIG, METRICS, "checkpoint-00000.npz"):
        (tmp_path / name).touch()
        resume = "already holds a run: continue it with --resume, or choose another folder"
        remove = rf"no config\.json, only parts .* \({name}\): remove them, or choose another folder"
        with pytest.raises(RunError, match=resume if name == CONFIG else remove):
            check_free(tmp_path)
        if name != CONFIG:  # the other command must not send back
            with pytest.raises(RunError, match=f"there is no run in .* {remove}"):
                Run.open(tmp_path)
        (tmp_path / name).unlink()
    monkeypatch.setattr(run_module.os, "access", lambda *_: False)
    with pytest.raises(RunError, match="`--out` must be a folder that can be written"):
        check_free(tmp_path / "c")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt"]
