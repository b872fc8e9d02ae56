"""The command line: texts, exit codes, files."""

import argparse
import dataclasses
import errno
import io
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepnet.app import cli, commands, figures, terminal
from deepnet.app.checkpoint import CheckpointError
from deepnet.app.cli import main
from deepnet.app.run import Run
from deepnet.config import Config
from deepnet.data import DATASETS, TASKS, Files
from deepnet.kernels.devices import DEVICES
from deepnet.network import ACTIVATIONS, WEIGHTS
from deepnet.observables import expected_preactivations
from deepnet.presets import PRESETS
from deepnet.scores import OF_CLASSES
from factorgraph.dense.closures import CLOSURES

ROOT = Path(__file__).resolve().parents[2]
TINY = ["train", "digits", "--task", "parity", "--hidden", "31", "--epochs", "2"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    assert main([*TINY, "--out", str(folder)]) == 0
    return folder


def failure(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
    """Exit code and the line of the error, the only one on the error stream."""
    code = main(argv)
    error = capsys.readouterr().err
    assert error.startswith("deepnet: error: ") and error.count("\n") == 1
    return code, error


def settings(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """The options of ``train``, by destination."""
    commands = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return {action.dest: action for action in commands.choices["train"]._actions}


# --- help -------------------------------------------------------------------------------------------------------------


def test_help_imports_nothing_heavy() -> None:
    script = """
import sys
from deepnet.app.cli import main
try:
    main(["--help"])
except SystemExit as exit:
    assert exit.code == 0
assert not {"numba", "numpy", "scipy", "matplotlib", "sklearn"} & set(sys.modules), sorted(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    for word in (b"train", b"evaluate", b"show", b"export"):
        assert word in done.stdout


def test_help_of_train_has_the_defaults_of_config(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for option, default in (
        ("--hidden", "501 501"), ("--closure", Config.closure), ("--batch-size", Config.batch_size),
        ("--epochs", Config.epochs), ("--dtype", Config.dtype), ("--eps-init", Config.eps_init),
    ):  # fmt: skip
        described = text[text.rindex(option) :]
        assert described.index(f"(default: {default})") < 150


def test_every_setting_has_an_option_and_names_its_values(capsys: pytest.CaptureFixture[str]) -> None:
    options = settings(cli.parser())
    fields = set(Config.__dataclass_fields__)
    assert fields <= set(options)
    of_runs = {"help", "dataset", "task", "tasks", "data_dir", "out", "resume", "plot", "device"}
    of_files = {field.name for field in dataclasses.fields(Files)} - {"train", "test_target"}
    assert set(options) - fields == of_runs | of_files
    for name in fields:
        assert options[name].default == argparse.SUPPRESS
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for values in (CLOSURES, WEIGHTS, ACTIVATIONS, PRESETS, DATASETS, DEVICES):
        *names, last = values
        assert f" {', '.join(names)} or {last}" in text
    assert options["task"].choices == TASKS


# --- train ------------------------------------------------------------------------------------------------------------


def test_train_prints_model_epochs_and_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    assert main([*TINY, "--out", str(folder), "--closure", "amp", "--bias"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for text in ("digits (parity), 64 features, 2 classes", "x1 ~ Sign()(W0 · x0 + b0)", "W0: 31 x 65", "amp",
                 "  batch-size     128\n", "  bias           True\n", f"figure: {folder / 'curves.png'}",
                 "trained: 2 epochs, training error"):  # fmt: skip
        assert text in out
    rows = [line.split() for line in out.splitlines() if line.strip().startswith(("1/2", "2/2"))]
    assert len(rows) == 2
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    numbers = [float(number) for number in rows[1][1:]]
    expected = [
        last["train_error"],
        last["test_error"],
        last["bayes_test_error"],
        last["test_log_loss"],
        last["seconds"],
    ]
    assert numbers == pytest.approx([*expected, *last["polarization"]], abs=0.0051)
    assert f"final test error {last['test_error']:.2f} %, Bayesian {last['bayes_test_error']:.2f} %" in out
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint-00001.npz", "checkpoint-00002.npz", "config.json", "curves.png", "metrics.jsonl",
    ]  # fmt: skip


@pytest.mark.parametrize("at_terminal", [True, False])
def test_the_bar_is_for_terminals_only(at_terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: at_terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    progress = terminal.Progress(200)
    for _ in range(2):  # epochs
        for _ in range(2):  # batches
            progress(100)
        progress.close()
    bars = stream.getvalue()
    assert bars.count("evaluating: 100%") == (2 if at_terminal else 0)
    assert ("samples/s" in bars) == at_terminal == bool(bars)


def test_settings_reach_config_json(tmp_path: Path) -> None:
    argv = ["train", "digits", "--task", "parity", "--out", str(tmp_path), "--no-plot", "--epochs", "0"]
    argv += ["--hidden", "31", "15", "--closure", "bp", "mf", "amp", "--weights", "continuous", "--activation", "relu",
             "sign", "--no-bias", "--batch-size", "64", "--preset", "paper", "--rho", "1", "1", "0.5", "--damping",
             "0.3", "--beta", "2:1:0.5", "--tau", "2", "--reinforcement", "0.1", "--eps-init", "0.5", "--density",
             "0.5", "--seed", "7", "--dtype", "float64"]  # fmt: skip
    assert main(argv) == 0
    written = json.loads((tmp_path / "config.json").read_text())
    assert Config.from_json(written["config"]) == Config(
        hidden=(31, 15), closure=("bp", "mf", "amp"), weights="continuous", activation=("relu", "sign"), epochs=0,
        batch_size=64, preset="paper", rho=(1, 1, 0.5), damping=0.3, beta="2:1:0.5", tau=2, reinforcement=0.1,
        eps_init=0.5, density=0.5, seed=7, dtype="float64",
    )  # fmt: skip
    assert (written["dataset"], written["task"], written["data_dir"]) == ("digits", "parity", None)


def test_ten_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "digits", "--hidden", "31", "--closure", "bp", "--epochs", "1", "--no-plot"]) == 0
    assert "10 x 31" in capsys.readouterr().out
    folder = Path("runs/digits-bp-0")
    assert not (folder / "curves.png").exists()
    last = json.loads((folder / "metrics.jsonl").read_text())
    assert last["epoch"] == 1 and last["test_error"] < 60
    assert main(["train", "digits", "--closure", "bp", "--epochs", "2", "--no-plot", "--resume"]) == 0
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2


def test_no_hidden_layer_and_no_epoch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["train", "digits", "--task", "parity", "--hidden", "--epochs", "0", "--out", str(tmp_path)]
    assert main(argv) == 0
    assert "nothing trained: no epoch was run" in capsys.readouterr().out
    assert not (tmp_path / "curves.png").exists()
    assert main(["show", str(tmp_path)]) == 0
    assert "epoch 0 of 0" in capsys.readouterr().out
    assert main([*argv[:4], "--hidden", "--epochs", "1", "--out", str(tmp_path), "--resume"]) == 0
    assert "1/1" in capsys.readouterr().out


def test_resuming_a_finished_run_repairs_its_files(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = (finished / "metrics.jsonl").read_text()
    (finished / "curves.png").unlink()
    (finished / "metrics.jsonl").write_text(metrics[:-30])
    (finished / ".metrics.jsonl.77.tmp").touch()
    assert main(["train", "digits", "--out", str(finished), "--resume"]) == 0
    assert "resumed after epoch 2 of 2" in capsys.readouterr().out
    assert (finished / "metrics.jsonl").read_text() == metrics
    assert (finished / "curves.png").exists() and not (finished / ".metrics.jsonl.77.tmp").exists()


def test_other_versions_are_noted(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = finished / "config.json"
    text = path.read_text()
    path.write_text(text.replace('"python": "', '"python": "2.'))
    try:
        assert main(["train", "digits", "--out", str(finished), "--resume", "--no-plot"]) == 0
    finally:
        path.write_text(text)
    assert "note: the last digits may differ from before: python was 2." in capsys.readouterr().err


def test_interrupted(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a run"
    batches, original = 0, __import__("deepnet.train", fromlist=["train"]).train_batch

    def train_batch(*args: Any, **kwargs: Any) -> None:
        nonlocal batches
        batches += 1
        if batches == 15:
            raise KeyboardInterrupt
        original(*args, **kwargs)

    monkeypatch.setattr("deepnet.train.train_batch", train_batch)
    assert main([*TINY, "--out", str(folder), "--no-plot"]) == 130
    error = capsys.readouterr().err
    assert error == f"deepnet: interrupted after epoch 1; go on with: deepnet train digits --out '{folder}' --resume\n"
    assert main(["train", "digits", "--out", str(folder), "--resume", "--no-plot"]) == 0
    monkeypatch.setattr(commands, "_begun", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(TINY) == 130
    assert capsys.readouterr().err == "deepnet: interrupted\n"


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["tarin"], "invalid choice: 'tarin'"),
        (
            ["train", "mnsit"],
            "argument DATASET: must be one of digits, mnist, fashion-mnist, cifar10, or a file, got 'mnsit'",
        ),
        (["train", "--hidden", "31", "digits"], "must be integers, got 'digits'; DATASET comes before the options"),
        (["train", "digits", "--epoch", "1"], "unrecognized arguments: --epoch 1 (see: deepnet"),
        (["train", "digits", "--task", "odd"], "argument --task: invalid choice: 'odd'"),
        (["train", "digits", "--hidden", "0"], "`hidden` must be a sequence of integers >= 1, got (0,)"),
        (["train", "digits", "--closure", "pb"], "`closure` must be one of ['amp', 'bp', 'bpi', 'mf'], got 'pb'"),
        (["train", "digits", "--rho", "1:2"], "`rho` must be a number, 'start:end:rate' or"),
        (["train", "digits", "--damping", "1"], "`damping` must be in [0, 1), got '1'"),
        (["train", "digits", "--closure", "mf", "bp", "--hidden", "9"], "`closure` of layer W1 must be 'mf' or 'amp'"),
        (["train", "digits", "--batch-size", "0"], "`batch_size` must be an integer >= 1, got 0"),
    ],
)
def test_wrong_input(
    argv: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, error = failure(capsys, *argv)
    assert code == 2 and message in error
    assert not list(tmp_path.iterdir())


def test_errors_about_the_folder(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path.name: path.read_bytes() for path in finished.iterdir()}
    for argv, message in (
        ([*TINY, "--out", str(finished)], "already holds a run: continue it with --resume, or choose another folder"),
        ([*TINY, "--out", str(tmp_path / "no"), "--resume"], f"there is no run in {tmp_path / 'no'}: it has no config"),
        ([*TINY, "--out", str(finished / "config.json")], "`--out` must be a folder"),
        ([*TINY, "--out", str(finished), "--resume", "--seed", "4"], "`seed` must stay as it was in a resumed run: "
         "the run has 0, got 4"),
        (["train", "mnist", "--out", str(finished), "--resume"], "the run has digits, got mnist"),
        ([*TINY[:-1], "1", "--out", str(finished), "--resume"], "may only grow: the run has 2, got 1"),
        (["show", str(tmp_path)], "there is no run in"),
        (["evaluate", str(tmp_path), "digits"], "there is no run in"),
        (["evaluate", str(finished), "digits", "--task", "multiclass"], "must have 2 classes for this network, got 10"),
    ):  # fmt: skip
        code, error = failure(capsys, *argv)
        assert code == 2 and message in error
    assert {path.name: path.read_bytes() for path in finished.iterdir()} == before
    assert not list(tmp_path.iterdir())


def test_missing_data_is_found_before_anything_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["train", "mnist", "--data-dir", str(tmp_path), "--out", str(tmp_path / "run")]
    code, error = failure(capsys, *argv)
    assert code == 1 and "`data_dir` must hold the data set mnist" in error
    assert not list(tmp_path.iterdir())


def test_failures_at_run_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, error = failure(capsys, *TINY, "--out", str(tmp_path / "a"), "--rho", "50", "--no-plot")
    assert code == 1 and "training diverged in epoch 1" in error
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "checkpoint-00000.npz", "config.json", "metrics.jsonl",
    ]  # fmt: skip
    (tmp_path / "a" / "checkpoint-00000.npz").write_bytes(b"PK nonsense")
    code, error = failure(capsys, "train", "digits", "--out", str(tmp_path / "a"), "--resume", "--no-plot")
    assert code == 1 and "cannot read the checkpoint" in error and "delete it to start anew" in error


def test_full_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.replace

    def replace(source: Any, target: Any) -> None:
        if Path(target).name == "checkpoint-00002.npz":
            raise OSError(errno.ENOSPC, "No space left on device")
        original(source, target)

    monkeypatch.setattr(os, "replace", replace)
    code, error = failure(capsys, *TINY, "--out", str(tmp_path), "--no-plot")
    assert code == 1 and "the disk is full; the previous checkpoint" in error and "00001.npz is still good" in error


def test_a_mistake_in_the_program_is_not_hidden(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr("deepnet.train.train_batch", broken)
    with pytest.raises(ValueError, match="a bug"):
        main([*TINY, "--out", str(tmp_path), "--no-plot"])


def test_without_matplotlib(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "deepnet.app.figures")
    monkeypatch.delattr("deepnet.app.figures", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, error = failure(capsys, *TINY, "--out", str(tmp_path / "run"))
    assert code == 1 and "pip install 'cavity[plots]'" in error and "--no-plot" in error
    assert not list(tmp_path.iterdir())
    assert main([*TINY, "--out", str(tmp_path / "run"), "--no-plot"]) == 0


# --- what a shell and a terminal may give and take --------------------------------------------------------------------

BENCH = ["bench", "--network", "20-7-3", "--samples", "300", "--batch-size", "15", "--rounds", "1", "--threads", "1",
         "--closure", "mf", "--no-baseline"]  # fmt: skip
PATHS = {"--out": ["train", "digits"], "--data-dir": ["bench", "mnist"], "--json": ["bench"], "--from": ["bench"],
         "--plot": ["bench", "--scaling", "width"], "RUN": ["show"], "SPEC": ["sweep"]}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be the name of a file or folder, got ''"),
        ("a" * 300, "File name too long"),
        ("x/" + "a" * 5000, "File name too long"),
        ("~nobody-has-this-name/x", "must be below an existing home, got '~nobody-has-this-name/x'"),
        ("a\0b", "embedded null "),  # a byte, or a character: so the library has it
    ],
)
@pytest.mark.parametrize("option", PATHS)
def test_paths_that_cannot_be(
    option: str, text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    positional = {
        "RUN": [["show", text], ["evaluate", text, "digits"], ["flatness", text], ["export", text, "--out", "x"]],
        "SPEC": [["sweep", text]],
    }
    named = [[*PATHS[option], option, text], [*PATHS[option], f"{option}={text}"]]
    for argv in positional.get(option, named):
        code, error = failure(capsys, *argv)
        assert code == 2 and f"argument {option}: " in error and message in error and len(error) < 250
    assert not list(tmp_path.iterdir())


def test_every_option_for_a_path_is_among_these() -> None:
    commands = next(a for a in cli.parser()._actions if isinstance(a, argparse._SubParsersAction))
    found = {
        action.option_strings[0] if action.option_strings else action.metavar
        for command in commands.choices.values()
        for action in command._actions
        if action.type in (Path, str, cli.path) and action.metavar != "DATASET"
    }
    assert found == set(PATHS)


def test_the_tilde_is_the_home_in_every_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    argv = ["train", "digits", "--task", "parity", "--hidden", "5", "--epochs", "1", "--no-plot"]
    assert main([*argv, "--out=~/runs/a"]) == 0
    assert main([*argv, "--out=~/runs/a", "--resume"]) == 0
    assert main(["show", "~/runs/a"]) == 0
    assert main(["evaluate", "~/runs/a", "digits"]) == 0
    assert main([*BENCH, "--seconds", "0.01", "--json=~/b.json"]) == 0
    assert main(["bench", "--from", "~/b.json"]) == 0
    assert (tmp_path / "home" / "runs" / "a" / "config.json").is_file()
    code, error = failure(capsys, "train", "mnist", "--data-dir=~", "--out=~/b")
    assert code == 1 and f"got '{tmp_path / 'home'}'" in error
    assert not list((tmp_path / "here").iterdir())


@pytest.mark.parametrize("option", ["--epochs", "--batch-size", "--tau", "--seed", "--hidden"])
@pytest.mark.parametrize("text", ["1e30", "9" * 400, "9" * 5000, "1" + "0" * 40, "2.5", "", "inf", "nan"])
def test_numbers_that_are_none_or_too_large(
    option: str, text: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, error = failure(capsys, "train", "digits", "--out", str(tmp_path / "x"), option, text)
    assert code == 2 and option[2:].replace("-", "_") in error.replace("-", "_") and len(error) < 300
    assert not list(tmp_path.iterdir())


def test_a_network_that_cannot_fit_is_refused_before_it_is_made(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, error = failure(capsys, "train", "digits", "--out", str(tmp_path / "x"), "--hidden", "900000000", "900000000")
    assert code == 2 and "`hidden` must make a network that can be built, got" in error
    monkeypatch.setattr("deepnet.state.total_memory", lambda: 20_000_000_000)
    code, error = failure(capsys, "train", "digits", "--out", str(tmp_path / "x"), "--hidden", "30000000", "60")
    assert code == 2 and "`hidden` must make a network that fits into the memory of 20 GB" in error
    assert not list(tmp_path.iterdir())


def run_command(*argv: str, **options: Any) -> "subprocess.CompletedProcess[bytes]":
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | options.pop("env", {})
    return subprocess.run([sys.executable, "-m", "deepnet", *argv], cwd=ROOT, env=environment, timeout=600, **options)


@pytest.mark.parametrize("encoding", ["ascii:strict", "cp437"])
def test_terminals_without_our_letters(encoding: str, finished: Path, tmp_path: Path) -> None:
    for argv in (["train", "--help"], ["bench", "--help"], ["show", str(finished)],
                 ["train", "digits", "--out", str(tmp_path / "r"), "--hidden", "3", "--epochs", "1", "--bias"],
                 ["show", str(tmp_path / "\u03c1")]):  # fmt: skip
        done = run_command(*argv, capture_output=True, env={"PYTHONIOENCODING": encoding})
        assert done.returncode == (2 if "\u03c1" in argv[-1] else 0) and b"Traceback" not in done.stderr
        done.stdout.decode("ascii" if "ascii" in encoding else encoding)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device /dev/full")
@pytest.mark.parametrize("buffered", ["", "1"])
def test_an_output_that_is_full(buffered: str, finished: Path, tmp_path: Path) -> None:
    for argv in (["--help"], ["show", str(finished)], ["evaluate", str(finished), "digits", "--json"],
                 ["train", "digits", "--out", str(tmp_path / "r"), "--hidden", "3", "--epochs", "1"]):  # fmt: skip
        with open("/dev/full", "wb") as full:
            done = run_command(*argv, stdout=full, stderr=subprocess.PIPE, env={"PYTHONUNBUFFERED": buffered})
        assert done.returncode == 1
        assert done.stderr == b"deepnet: error: could not read or write the output: No space left on device\n"
    with open("/dev/full", "wb") as full:  # and one that cannot even be told
        assert run_command("show", str(tmp_path), stderr=full, stdout=subprocess.PIPE).returncode == 2


def test_errors_of_the_system_are_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "/some/file")

    monkeypatch.setattr("deepnet.app.run.Run.open", fail)
    code, error = failure(capsys, "show", "x")
    assert code == 1 and f"could not read or write /some/file: {os.strerror(errno.EIO)}" in error


# --- evaluate and show ------------------------------------------------------------------------------------------------


def test_evaluate(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(finished), "digits", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    last = json.loads((finished / "metrics.jsonl").read_text().splitlines()[-1])
    assert (found["dataset"], found["task"], found["epoch"]) == ("digits", "parity", 2)
    assert found["test_error"] == last["test_error"] and found["bayes_test_error"] == last["bayes_test_error"]
    assert (found["train_error"] * 14.42) == pytest.approx(round(found["train_error"] * 14.42))  # of all 1442 samples
    assert main(["evaluate", str(finished), "digits"]) == 0
    text = capsys.readouterr().out
    for part in ("train", "test"):
        scores = "".join(f" {found[f'{part}_{name}']:17.4f}" for name in ("log_loss", "brier", "calibration_error"))
        assert f"{part:<10} {found[f'{part}_error']:9.2f} {found[f'bayes_{part}_error']:9.2f}{scores}\n" in text
    assert (finished / "reliability.png").stat().st_size > 1000
    (finished / "reliability.png").unlink()


def test_show(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(finished)]) == 0
    text = capsys.readouterr().out
    last = json.loads((finished / "metrics.jsonl").read_text().splitlines()[-1])
    rho = " ".join(json.loads((finished / "config.json").read_text())["config"]["rho"])
    for part in ("digits (parity)", f"  rho            {rho}\n", "plates: units0=64", "W0: 31 x 64", "epoch 2 of 2",
                 f"test       {last['test_error']:9.2f}", f"W1         {last['polarization'][1]:12.4f}",
                 f"figure: {finished / 'curves.png'}"):  # fmt: skip
        assert part in text
    sums = expected_preactivations(Run.open(finished).load().layers)
    for name, expected in zip(("W0", "W1"), sums, strict=True):
        assert f"{name:<10} {expected.known:12.4f} {expected.excess_kurtosis:16.4f}" in text


def test_initial_fields_by_layer_or_critical(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, (given, kept) in enumerate(((["critical"], "critical"), (["0.5", "2"], [0.5, 2.0]))):
        folder = tmp_path / str(number)
        assert main([*TINY, "--no-plot", "--out", str(folder), "--eps-init", *given]) == 0
        assert json.loads((folder / "config.json").read_text())["config"]["eps_init"] == kept
        assert main([*TINY, "--no-plot", "--out", str(folder), "--resume", "--eps-init", *given]) == 0
    assert main([*TINY, "--out", str(tmp_path / "other"), "--eps-init", "large"]) == 2
    assert "`eps_init` must be a finite number > 0 or 'critical', got 'large'" in capsys.readouterr().err


def test_a_pipe_that_closes_is_no_traceback(finished: Path) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "deepnet", "show", str(finished)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert running.stdout is not None and running.stderr is not None
    running.stdout.close()
    error = running.stderr.read()
    running.stderr.close()
    assert running.wait(60) == 1 and error == b""


# --- figure -----------------------------------------------------------------------------------------------------------


def size(path: Path) -> tuple[int, int]:
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n" and content[-8:-4] == b"IEND"
    return struct.unpack(">II", content[16:24])


def history(epochs: int, error: float = 8.0) -> list[dict[str, Any]]:
    names = ("train_error", "bayes_train_error", "test_error", "bayes_test_error")
    return [{name: error / epoch for name in names} | {"epoch": epoch, "polarization": [0.1, 0.2 + 0.01 * epoch],
             "overlap": [0.01, -0.02 * epoch]}
            for epoch in range(1, epochs + 1)]  # fmt: skip


def test_the_figure_of_a_run(finished: Path) -> None:
    width, height = size(finished / "curves.png")
    assert 1000 <= width <= 3000 and 500 <= height <= 2000
    assert len((finished / "curves.png").read_bytes()) > 20_000


@pytest.mark.parametrize("values", [history(1), history(60), history(3, error=0.0)])
def test_what_the_figure_shows(values: list[dict[str, Any]], tmp_path: Path) -> None:
    left, right, overlaps = figures.curves(values, ["W0", "W1"], "digits, seed 0", OF_CLASSES).axes
    assert left.get_yscale() == "log" and right.get_yscale() == "linear"
    assert left.get_ylabel().startswith("error (%)") and left.get_xlabel() == right.get_xlabel() == "epoch"
    assert [line.get_label() for line in right.get_lines()] == ["W0", "W1"]
    assert len(left.get_lines()) == 4
    assert np.asarray(right.get_lines()[1].get_ydata()).tolist() == [line["polarization"][1] for line in values]
    assert np.asarray(overlaps.get_lines()[1].get_ydata()).tolist() == [line["overlap"][1] for line in values]
    assert ("0 % is below" in left.get_ylabel()) == (values[0]["test_error"] == 0)
    low, high = left.get_ylim()
    assert all(low < line["test_error"] < high for line in values if line["test_error"])
    figures.save_curves(tmp_path / "x.png", values, ["W0", "W1"], "a title, " * 40, OF_CLASSES)
    assert size(tmp_path / "x.png") == (2100, 720)


def test_a_full_disk_keeps_the_old_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.png").write_bytes(b"old")

    def replace(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(CheckpointError, match="the disk is full; the checkpoints are good"):
        figures.save_curves(tmp_path / "x.png", history(2), ["W0", "W1"], "", OF_CLASSES)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x.png", b"old")]


def test_the_figure_is_drawn_while_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    monkeypatch.setattr(commands, "FIGURE_PERIOD", 0.0)
    monkeypatch.setattr(figures, "save_curves", lambda _, values, *__: drawn.append(len(values)))
    assert main([*TINY, "--out", str(tmp_path)]) == 0
    assert drawn == [1, 2, 2]
