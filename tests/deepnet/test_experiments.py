"""Sweeps: their specifications, cells, tables, and what is left of them when something dies."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepnet.app.cli import main
from deepnet.experiments.cell import Job
from deepnet.experiments.results import Entry, markdown
from deepnet.experiments.spec import read_spec

ROOT = Path(__file__).resolve().parents[2]

#: Seconds after which a process is taken to hang: one that finds no compiled code needs minutes.
PATIENCE = 600

SPEC = """
seeds = 2

[settings]
dataset = "digits"
hidden = [15]
epochs = 2
batch_size = 32

[axes]
task = ["parity", "multiclass"]

[axes.algorithm]
MF = { closure = "mf" }
EBP = { algorithm = "ebp", batch_size = 10, epochs = 1 }
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "spec.toml"
    path.write_text(text)
    return path


def jobs_of(spec: Path, out: Path) -> list[Job]:
    return [Job(cell, out, None, "cpu") for cell in read_spec(spec).cells]


# --- specifications ---------------------------------------------------------------------------------------------------


def test_cells_are_the_product_of_axes_and_seeds(tmp_path: Path) -> None:
    spec = read_spec(written(tmp_path, SPEC))
    assert spec.axes == {"task": ("parity", "multiclass"), "algorithm": ("MF", "EBP")}
    assert [(*cell.labels, cell.seed) for cell in spec.cells[:4]] == [
        ("parity", "MF", 0), ("parity", "MF", 1), ("parity", "EBP", 0), ("parity", "EBP", 1),
    ]  # fmt: skip
    assert len(spec.cells) == 8 == len({cell.directory for cell in spec.cells})
    mf, ebp = spec.cells[0].config, spec.cells[2].config
    assert (mf.algorithm, mf.epochs, mf.batch_size) == ("message-passing", 2, 32)
    assert (ebp.algorithm, ebp.epochs, ebp.batch_size) == ("ebp", 1, 10)


def test_a_list_of_values_and_no_axes(tmp_path: Path) -> None:
    text = "seeds = [7, 3]\n[settings]\ndataset = 'digits'\n[axes]\nhidden = [[15], [15, 5]]\ndensity = [1.0, 0.5]\n"
    spec = read_spec(written(tmp_path, text))
    assert spec.axes["hidden"] == ("15", "15-5") and spec.seeds == (7, 3)
    assert {cell.config.hidden for cell in spec.cells} == {(15,), (15, 5)}
    assert len(read_spec(written(tmp_path, "[settings]\ndataset = 'digits'\n")).cells) == 1


@pytest.mark.parametrize(
    "text, message",
    [
        ("seeds = [", "must be a TOML file"),
        ("cells = 3", "`cells` must be one of the fields seeds, "),
        ("seeds = 0", "`seeds` must be an integer >= 1 and <= 10000, got 0"),
        ("seeds = [1, 1]", r"`seeds` must be at least one integer, all different, got [1, 1]"),
        ("seeds = [-1]", "`seeds` must be an integer >= 0 and "),
        ("report = ['loss']", "`report` must be "),
        ("report = []", "`report` must be at least one of "),
        ("device = 'tpu'", "`device` must be "),
        ("settings = 3", "`settings` must be a table, got 3"),
        ("axes = 3", "`axes` must be a table, got 3"),
        ("", "`settings` must have a `dataset`"),
        ("[settings]\ndataset = 'mnists'", "`settings.dataset` must be "),
        ("[settings]\ndataset = 'digits'\ntask = 'sum'", "`settings.task` must be "),
        ("[settings]\nseed = 3", "`settings.seed` must be one of the settings dataset, task, "),
        ("[settings]\nclosur = 'mf'", "`settings.closur` must be one of the settings dataset, task, "),
        ("[settings]\ndataset = 'digits'\nepochs = 1.5", "`settings.epochs` must be "),
        ("[axes]\nclosure = []", "`axes.closure` must be a list of values, or settings by label, at least one, got []"),
        ("[axes]\nnetwork = ['a']", "`axes.network` must have the name of a setting for a list"),
        ("[axes]\nclosure = ['mf', 'mf']", "`axes.closure` must have different values, got ['mf', 'mf']"),
        (
            "[settings]\ndataset = 'digits'\n[axes.algorithm]\nBP = { closure = 'bq' }",
            "`axes.algorithm.BP.closure` must be one of ['amp', 'bp', 'bpi', 'mf'], got 'bq'",
        ),
        ("[axes.algorithm]\nBP = 3", "`axes.algorithm.BP` must be a table, got 3"),
        ("[axes]\nclosure = ['mf']\nother = {a = {closure = 'bp'}}", "must leave `closure` to `axes.closure`"),
        ("[settings]\ndataset = 'digits'\n[axes.a]\n'x y' = {}\n'x/y' = {}", "`axes` must have labels that "),
        (
            "[settings]\ndataset = 'digits'\nhidden = [9]\n[axes]\nclosure = [['mf', 'bp']]",
            "`axes.closure` of layer W1 must be 'mf' or 'amp', got 'bp'",
        ),
        (
            "[settings]\ndataset = 'digits'\nalgorithm = 'ebp'\n[axes]\nrho = [1.0, 0.9]",
            "`axes.rho` must be left alone with algorithm 'ebp'",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    out = tmp_path / "out"
    assert main(["sweep", str(written(tmp_path, text)), "--out", str(out), "--serial"]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not out.exists()


@pytest.mark.parametrize(
    "options, message",
    [
        (["--serial", "--workers", "2"], "`serial` must come without"),
        (["--workers", "0"], "`workers` must be an integer >= 1, got 0"),
        (["--scheduler", "tcp://h:1", "--workers", "2"], "`workers` must come without --scheduler"),
    ],
)
def test_options_that_do_not_go_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main(["sweep", str(written(tmp_path, SPEC)), "--out", str(tmp_path / "out"), *options]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted((ROOT / "examples").rglob("*.toml")), ids=lambda path: path.stem)
def test_the_specifications_among_the_examples_are_right(path: Path) -> None:
    pytest.importorskip("torch", reason="the baselines need it")
    assert read_spec(path).cells


# --- cells and tables -------------------------------------------------------------------------------------------------


def serial(spec: Path, out: Path) -> int:
    return main(["sweep", str(spec), "--out", str(out), "--serial"])


def test_a_sweep_and_what_it_skips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec, out = written(tmp_path, SPEC), tmp_path / "out"
    assert serial(spec, out) == 0
    printed = capsys.readouterr().out
    assert "8 cells" in printed and "parity, MF, seed 1: test error" in printed and "0 left" in printed
    results = {job: job.result() for job in jobs_of(spec, out)}
    assert all(result is not None for result in results.values())
    tables = {name: (out / name).read_text() for name in ("table.md", "table.csv", "curves.csv")}
    for row in csv.DictReader(tables["table.csv"].splitlines()):
        values = [
            result[row["measured"]]
            for job, result in results.items()
            if result and job.cell.labels == (row["task"], row["algorithm"])
        ]
        assert float(row["mean"]) == pytest.approx(np.mean(values)) and int(row["seeds"]) == 2
        assert float(row["deviation"]) == pytest.approx(abs(values[0] - values[1]) / np.sqrt(2.0))
    cells = list(csv.DictReader((out / "cells.csv").read_text().splitlines()))
    assert len(cells) == 8 and {row["seed"] for row in cells} == {"0", "1"} and all(row["machine"] for row in cells)
    assert [float(row["test_error"]) for row in cells] == [each["test_error"] for each in results.values() if each]
    assert (out / "curves.png").exists()

    first, second = jobs_of(spec, out)[:2]
    written_at = (first.directory / "result.json").stat().st_mtime_ns
    (second.directory / "result.json").unlink()
    assert serial(spec, out) == 0
    assert "7 are done, 1 to run" in capsys.readouterr().out
    assert (first.directory / "result.json").stat().st_mtime_ns == written_at
    assert {name: (out / name).read_text() for name in tables} == tables


def test_more_epochs_go_on_and_other_settings_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "[settings]\ndataset = 'digits'\nhidden = [15]\nepochs = 1\n"
    out = tmp_path / "out"
    assert serial(written(tmp_path, text), out) == 0
    job = jobs_of(written(tmp_path, text.replace("epochs = 1", "epochs = 2")), out)[0]
    before = job.history()
    assert serial(written(tmp_path, text.replace("epochs = 1", "epochs = 2")), out) == 0
    assert len(job.history()) == 2 and job.history()[:1] == before
    capsys.readouterr()
    assert serial(written(tmp_path, text.replace("epochs = 1", "epochs = 2\ntau = 2")), out) == 2
    assert "`tau` must stay as it was" in capsys.readouterr().err


def test_a_cell_that_fails_does_not_stop_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "[settings]\ndataset = 'digits'\nhidden = [15]\nepochs = 1\n[axes]\ntau = [1, 2]\n"
    spec, out = written(tmp_path, text), tmp_path / "out"
    bad = out / "cells" / "1" / "seed-0"
    bad.mkdir(parents=True)
    (bad / "metrics.jsonl").write_text("")
    assert serial(spec, out) == 1
    printed = capsys.readouterr().out
    assert "1, seed 0: failed: RunError" in printed and "| not run | " in printed
    (bad / "metrics.jsonl").unlink()
    assert serial(spec, out) == 0
    assert "not run" not in (out / "table.md").read_text()


def test_entries() -> None:
    assert str(Entry((), ())) == "not run"
    assert str(Entry((), (2.0,))) == "2.00 (1)"
    assert str(Entry((), (1.0, 3.0))) == "2.00 ± 1.41 (2)"


def test_a_table_without_axes(tmp_path: Path) -> None:
    spec = read_spec(written(tmp_path, "report = ['test_error']\n[settings]\ndataset = 'digits'\n"))
    assert markdown(spec, []).count("not run") == 1


# --- processes --------------------------------------------------------------------------------------------------------


LONG = """
seeds = 3
[settings]
dataset = "digits"
hidden = [15]
epochs = 40
batch_size = 16
"""


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a module in a process group of its own; whatever is left of it is ended after the test.

    It heeds Ctrl-C also where these tests run in the background of a shell, which lets its children ignore it.
    """
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], env=environment, start_new_session=True, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        processes.append(process)
        return process

    yield start
    for process in processes:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


def training(jobs: list[Job], maximum: int) -> list[Job]:
    """Cells that have begun and have epochs left."""
    return [job for job in jobs if 2 <= len(job.history()) < maximum]


@pytest.mark.skipif(sys.platform == "win32", reason="processes are killed by signals")
def test_a_killed_worker_loses_an_epoch_at_most(tmp_path: Path, started: Callable[..., subprocess.Popen[str]]) -> None:
    """A scheduler, two workers, one of which is killed while both train: all cells end as in one process."""
    pytest.importorskip("distributed")
    spec, address = written(tmp_path, LONG), tmp_path / "scheduler.json"
    started("distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(address))
    options = ("--scheduler-file", str(address), "--nthreads", "1", "--no-nanny", "--no-dashboard")
    workers = [started("distributed.cli.dask_worker", *options) for _ in range(2)]
    wait_for(address.exists, workers[0])
    scheduler = json.loads(address.read_text())["address"]
    out, jobs = tmp_path / "dask", jobs_of(spec, tmp_path / "dask")
    sweep = started("deepnet", "sweep", str(spec), "--out", str(out), "--scheduler", scheduler, "--no-plot")
    wait_for(lambda: len(training(jobs, 25)) == 2, sweep)
    before = {job: job.history() for job in training(jobs, 40)}
    workers[0].kill()
    printed = sweep.communicate(timeout=PATIENCE)[0]
    assert sweep.returncode == 0, printed
    assert len(before) == 2 and all(job.history()[: len(kept)] == kept for job, kept in before.items())
    assert serial(spec, tmp_path / "serial") == 0
    for name in ("table.md", "table.csv", "curves.csv"):
        assert (out / name).read_text() == (tmp_path / "serial" / name).read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal")
def test_ctrl_c_leaves_everything_resumable(tmp_path: Path, started: Callable[..., subprocess.Popen[str]]) -> None:
    pytest.importorskip("distributed")
    spec, out = written(tmp_path, LONG), tmp_path / "out"
    jobs = jobs_of(spec, out)
    command = ("deepnet", "sweep", str(spec), "--out", str(out), "--workers", "2", "--no-plot")
    sweep = started(*command)
    wait_for(lambda: training(jobs, 25), sweep)
    os.killpg(sweep.pid, signal.SIGINT)
    printed = sweep.communicate(timeout=PATIENCE)[0]
    assert sweep.returncode == 130 and "interrupted; go on with the same command" in printed, printed
    kept = {job: job.history() for job in jobs}
    assert any(kept.values()) and "Traceback" not in printed
    assert serial(spec, out) == 0
    assert all(job.result() is not None and job.history()[: len(kept[job])] == kept[job] for job in jobs)


def test_a_scheduler_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("distributed")
    options = ["--scheduler", "nowhere", "--out", str(tmp_path / "out")]
    assert main(["sweep", str(written(tmp_path, SPEC)), *options]) == 1
    assert "`scheduler` must be the address of a Dask scheduler" in capsys.readouterr().err


def test_without_dask(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main(["sweep", str(written(tmp_path, SPEC)), "--out", str(tmp_path / "out")]) == 1
    assert "pip install 'cavity[dask]', or give --serial" in capsys.readouterr().err


def test_without_matplotlib_nothing_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "deepnet.experiments.figures", None)
    argv = ["sweep", str(written(tmp_path, SPEC)), "--serial", "--out", str(tmp_path / "out")]
    assert main(argv) == 2
    assert "or give --no-plot" in capsys.readouterr().err and not (tmp_path / "out").exists()
