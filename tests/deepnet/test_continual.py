"""Sequences of tasks: what they are, what is measured of them, and that a run of them can be killed and resumed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import deepnet.train
from deepnet import MessagePassingClassifier, load_dataset, load_tasks
from deepnet.app.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from deepnet.app.cli import main
from deepnet.app.run import METRICS, TASKS_FIGURE, Description, Run
from deepnet.config import Config
from deepnet.continual import TASK_ERRORS, accuracies, accuracy_matrix, average_accuracy, forgetting
from deepnet.data.tasks import KINDS, Tasks, TaskSequence
from deepnet.experiments.spec import read_spec
from deepnet.metrics import measure

SMALL: dict[str, Any] = {"hidden": (15,), "epochs": 2, "batch_size": 64, "seed": 3}
TRAIN = ["train", "digits", "--hidden", "15", "--epochs", "2", "--batch-size", "64", "--seed", "3"]


# --- the tasks --------------------------------------------------------------------------------------------------------


def test_permuted_tasks_have_the_features_in_an_order_of_their_own() -> None:
    whole, tasks = load_dataset("digits"), load_tasks("digits", "permuted:4")
    assert len(tasks) == 4 and len(list(tasks)) == 4
    np.testing.assert_array_equal(tasks[0].x_train, whole.x_train)
    orders = []
    for task in tasks:
        np.testing.assert_array_equal(task.y_train, whole.y_train)
        np.testing.assert_array_equal(np.sort(task.x_test, axis=1), np.sort(whole.x_test, axis=1))
        orders.append(tuple(task.x_train.sum(axis=0)))
    assert len(set(orders)) == 4
    np.testing.assert_array_equal(load_tasks("digits", "permuted:2")[1].x_test, tasks[1].x_test)


@pytest.mark.parametrize("task", ["multiclass", "parity"])
@pytest.mark.parametrize("number", [2, 3, 5])
def test_split_tasks_share_out_the_classes(number: int, task: Any) -> None:
    whole, tasks = load_dataset("digits"), load_tasks("digits", f"split:{number}", task=task)
    labels = [np.unique(each.y_train) for each in tasks]
    if task == "parity":
        assert all(np.array_equal(each, [-1, 1]) for each in labels) and tasks.classes == 2
    else:
        np.testing.assert_array_equal(np.concatenate(labels), np.arange(10))
    assert sum(len(each.x_test) for each in tasks) == len(whole.x_test)
    kept = np.isin(whole.y_train, np.array_split(np.arange(10), number)[1])
    np.testing.assert_array_equal(tasks[1].x_train, whole.x_train[kept])


def test_rotated_tasks_turn_the_images() -> None:
    whole, tasks = load_dataset("digits", dtype=np.float64), load_tasks("digits", "rotated:2", dtype=np.float64)
    np.testing.assert_array_equal(tasks[0].x_train, whole.x_train)
    turned = np.rot90(whole.x_test.reshape(-1, 8, 8), axes=(1, 2)).reshape(-1, 64)
    np.testing.assert_allclose(tasks[1].x_test, turned, atol=1e-12)


def test_a_small_turn_is_that_of_bilinear_interpolation() -> None:
    from scipy.ndimage import rotate

    whole, tasks = load_dataset("digits", dtype=np.float64), load_tasks("digits", "rotated:9", dtype=np.float64)
    for number in (1, 4):
        images = whole.x_test[:20].reshape(-1, 8, 8)
        expected = rotate(images, 20 * number, axes=(2, 1), reshape=False, order=1, mode="nearest")
        np.testing.assert_allclose(tasks[number].x_test[:20], expected.reshape(-1, 64), atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_tests_of_the_first_tasks_are_those_of_the_tasks(kind: str) -> None:
    tasks = load_tasks("digits", f"{kind}:3", task="parity")
    found = list(tasks.tests(2))
    assert len(found) == 2
    for task, (x, y) in zip(tasks, found, strict=False):
        np.testing.assert_array_equal(task.x_test, x)
        np.testing.assert_array_equal(task.y_test, y)


@pytest.mark.parametrize(
    "tasks", ["permuted", "permuted:", "permuted:1", "permuted:-2", "split:6", "rotated:2.5", "mixed:3", "", 5, None]
)
def test_what_is_no_sequence_of_tasks(tasks: Any) -> None:
    with pytest.raises(ValueError, match="`tasks` must be "):
        Tasks.of(tasks)
    with pytest.raises(ValueError, match="`tasks` must be "):
        load_tasks("digits", tasks)


def test_images_that_are_not_square_cannot_be_turned() -> None:
    whole = load_dataset("digits")
    narrow = TaskSequence(replace(whole, x_train=whole.x_train[:, :10]), "multiclass", Tasks.of("rotated:2"))
    with pytest.raises(ValueError, match="`tasks` must be of another kind where inputs are no square images"):
        narrow[1]


# --- what is measured -------------------------------------------------------------------------------------------------


def test_average_accuracy_and_forgetting_by_their_definitions() -> None:
    nan = np.nan
    matrix = np.array([[90.0, nan, nan], [70.0, 80.0, nan], [75.0, 60.0, 99.0]])
    assert average_accuracy(matrix) == pytest.approx((75 + 60 + 99) / 3)
    assert forgetting(matrix) == pytest.approx(((90 - 75) + (80 - 60)) / 2)
    assert forgetting(matrix[:1, :1]) == 0
    history = [{}, {"task_errors": [10.0]}, {"task_errors": [30.0, 20.0]}, {}, {"task_errors": [25.0, 40.0, 1.0]}]
    np.testing.assert_array_equal(accuracy_matrix(history), matrix)


def test_a_run_and_partial_fit_learn_the_same(tmp_path: Path) -> None:
    tasks = load_tasks("digits", "permuted:3")
    run = Run(tmp_path / "run", Description.of(tasks, Config(**SMALL, preset="paper-continual")))
    network = run.load()
    with run.begun():
        run.prepare(network)
        seen = list(run.train(network, tasks))
    assert [name in measured for measured in seen for name in TASK_ERRORS] == [False, False, True, True] * 3
    learner = MessagePassingClassifier(
        hidden=(15,), batch_size=64, random_state=3, bias=False, standardize=False, preset="paper-continual"
    )
    matrix = accuracies(learner, tasks, epochs=2)
    for name, values in network.arrays().items():
        np.testing.assert_array_equal(values, learner.network_.arrays()[name])
    np.testing.assert_allclose(accuracy_matrix(run.history, "bayes_task_errors"), matrix, atol=0.5)  # float32
    assert run.history[-1]["bayes_forgetting"] == pytest.approx(forgetting(matrix), abs=1.0)
    x, y = next(tasks.tests(3))
    assert run.history[-1]["task_errors"][0] == measure(network, x, y)["error"]


def test_schedules_begin_anew_for_each_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[float, float]] = []
    train_batch = deepnet.train.train_batch

    def recorded(layers: Any, x: Any, y: Any, updates: Any, **options: Any) -> None:
        given.append((updates[0].rho, updates[0].beta))
        train_batch(layers, x, y, updates, **options)

    tasks, config = load_tasks("digits", "split:3"), Config(**SMALL, rho="1:0.9:0.5", beta=("8:1:0.25/run", 1.0))
    run = Run(tmp_path / "run", Description.of(tasks, config))
    network = run.load()
    with run.begun():
        run.prepare(network)
        monkeypatch.setattr("deepnet.train.train_batch", recorded)
        monkeypatch.setattr("deepnet.app.run.warm_up", lambda *_: None)
        for _ in run.train(network, tasks):
            pass
    parts = [2 * -(-len(task.x_train) // 64) for task in tasks]
    begins = np.cumsum([0, *parts[:-1]])
    assert sum(parts) == len(given) and [given[begin] for begin in begins] == [(1.0, 8.0)] * 3
    for begin, part in zip(begins, parts, strict=True):
        rho, beta = np.array(given[begin : begin + part]).T
        assert (
            (np.diff(beta) < 0).all() and (np.diff(rho) < 0).all() and rho[part // 2] == 0.95 and beta[part // 2] == 4.5
        )


# --- the command line -------------------------------------------------------------------------------------------------


def lines(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    return [{name: value for name, value in line.items() if "seconds" not in name} for line in found]


@pytest.mark.parametrize("stop", [1, 2, 3, 5])
def test_a_run_of_tasks_is_taken_up_where_it_was_left(
    stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = [*TRAIN, "--tasks", "split:3", "--no-plot"]
    assert main([*options, "--out", str(whole)]) == 0
    out = capsys.readouterr().out
    assert "digits (multiclass, split:3)" in out and "6/6" in out and "after 3 tasks" in out
    record = Run.record

    def interrupted(self: Run, network: Any, measured: dict[str, Any]) -> None:
        record(self, network, measured)
        if measured["epoch"] == stop:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "record", interrupted)
        assert main([*options, "--out", str(parts)]) == 130
    assert main(["train", "digits", "--out", str(parts), "--resume", "--no-plot", "--tasks", "split:3"]) == 0
    assert lines(parts) == lines(whole)
    (*_, arrays, _), (*_, others, _) = (load_checkpoint(folder / "checkpoint-00006.npz") for folder in (whole, parts))
    assert all(np.array_equal(arrays[name], others[name]) for name in arrays)


def test_the_figure_and_what_is_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main([*TRAIN, "--tasks", "rotated:2", "--out", str(out)]) == 0
    assert (out / TASKS_FIGURE).read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()
    assert main(["evaluate", str(out), "digits", "--json"]) == 0
    measured, last = json.loads(capsys.readouterr().out), lines(out)[-1]
    assert measured["task_errors"] == last["task_errors"]
    assert measured["test_error"] == pytest.approx(np.mean(last["task_errors"]))
    assert measured["test_log_loss"] > 0
    assert main(["report", str(out), "--out", str(tmp_path / "page.html")]) == 0
    assert "Accuracy on every task" in (tmp_path / "page.html").read_text()
    capsys.readouterr()
    assert main(["show", str(out)]) == 0
    assert "task 1" in capsys.readouterr().out
    assert main(["flatness", str(out), "--points", "2", "--repeats", "2", "--no-plot"]) == 0


def test_what_a_resumed_run_of_tasks_must_keep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main([*TRAIN, "--tasks", "permuted:2", "--out", str(out), "--no-plot"]) == 0
    for wrong, name in ((["--tasks", "permuted:3"], "tasks"), (["--epochs", "3"], "epochs")):
        assert main(["train", "digits", "--out", str(out), "--resume", *wrong]) == 2
        assert f"`{name}` must stay as it was in a resumed run" in capsys.readouterr().err
    assert main([*TRAIN, "--tasks", "permuted", "--out", str(tmp_path / "none")]) == 2
    assert "`tasks` must be one of permuted, split, rotated" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    table = tmp_path / "table.csv"
    table.write_text("a,b\n1,x\n2,y\n3,x\n4,y\n")
    assert main(["train", str(table), "--target", "b", "--tasks", "permuted:2", "--out", str(tmp_path / "none")]) == 2
    assert "`tasks` must be left out for a file, got permuted:2" in capsys.readouterr().err


@pytest.mark.parametrize("change", [{"task_errors": [1.0]}, {"bayes_task_errors": None}, {"forgetting": "much"}])
def test_a_checkpoint_without_the_tasks_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert main([*TRAIN, "--tasks", "permuted:2", "--out", str(out), "--no-plot"]) == 0
    epoch, arrays, meta = load_checkpoint(out / "checkpoint-00004.npz")
    meta["history"][-1] |= change
    save_checkpoint(out, epoch, arrays, meta)
    with pytest.raises(CheckpointError, match=rf"history\[3\].{next(iter(change))}"):
        Run.open(out).load()


def test_a_sweep_of_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "spec.toml"
    spec.write_text(
        "seeds = 2\nreport = ['bayes_test_error', 'forgetting']\n"
        "[settings]\ndataset = 'digits'\nhidden = [15]\nepochs = 1\nbatch_size = 64\ntasks = 'permuted:2'\n"
        "[axes]\ntask = ['multiclass', 'parity']\n"
    )
    assert main(["sweep", str(spec), "--out", str(tmp_path / "out"), "--serial"]) == 0
    text = capsys.readouterr().out
    assert "forgetting (%)" in text and "not run" not in text
    result = json.loads((tmp_path / "out" / "cells" / "parity" / "seed-1" / "result.json").read_text())
    assert result["epoch"] == 2 and len(result["task_errors"]) == 2
    assert result["test_error"] == pytest.approx(np.mean(result["task_errors"]))
    assert main(["sweep", str(spec), "--out", str(tmp_path / "out"), "--serial", "--no-plot"]) == 0
    assert "4 are done, 0 to run" in capsys.readouterr().out


def test_the_example_of_streams_is_a_specification() -> None:
    pytest.importorskip("torch", reason="one of its methods needs it")
    spec = read_spec(Path(__file__).resolve().parents[2] / "examples" / "streams.toml")
    assert len(spec.cells) == 15 and {cell.epochs for cell in spec.cells} == {10}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[settings]\ndataset = 'digits'\ntasks = 'permuted:0'", "`settings.tasks` must be an integer >= 2"),
        ("[settings]\ndataset = 'digits'\n[axes]\ntasks = ['split:5', 3]", "`axes.tasks` must be one of permuted, "),
        ("report = ['forgetting']\n[settings]\ndataset = 'digits'", "`report` must be without forgetting where a cell"),
    ],
)
def test_a_wrong_specification_of_tasks(text: str, message: str, tmp_path: Path) -> None:
    spec = tmp_path / "spec.toml"
    spec.write_text(text)
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        read_spec(spec)
