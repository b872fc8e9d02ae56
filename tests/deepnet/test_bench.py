"""Benchmarks: what is counted, what is timed, how it is told."""

import contextlib
import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepnet.app.cli import main, parser
from deepnet.bench import BenchError, contenders, measure
from deepnet.bench.case import Case, synthetic
from deepnet.bench.command import _plan
from deepnet.bench.cost import gradients, message_passing
from deepnet.bench.limits import Limits
from deepnet.bench.report import table
from deepnet.bench.worker import Worker, memory
from deepnet.config import Config
from deepnet.cost import Cost
from deepnet.train import init, train_epoch
from factorgraph.dense.closures import CLOSURES
from factorgraph.dense.numpy_operations import NumpyOperations
from factorgraph.dense.state import Array

SHORT = ["--network", "20-7-3", "--samples", "300", "--batch-size", "15", "--rounds", "2", "--seconds", "0.01"]
SHORT += ["--threads", "1", "--closure", "mf"]


def failure(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
    """Exit code and the line of the error."""
    code = main(["bench", *argv])
    return code, capsys.readouterr().err


# --- operations -------------------------------------------------------------------------------------------------------


def operations(classes: int = 4, **settings: Any) -> Cost:
    """Of a network with 15 and 5 x classes weights."""
    config = Config(hidden=(5,), **settings)
    return message_passing(layer.plan for layer in init(config, 3, classes).layers)


def test_operations_counted_by_hand() -> None:
    assert operations(closure="mf") == Cost(2 * (3 * 15 + 4 * 20), 0, 20 * 35)
    assert operations(closure="amp") == Cost(2 * (4 * 15 + 6 * 20), 0, 20 * 35)
    assert operations(closure="bp") == Cost(2 * (2 * 15 + 4 * 20), 15, 20 * 35)  # the argmax layer is mean field
    assert operations(closure="bpi", classes=2) == Cost(2 * (2 * 15 + 2 * 5), 20, 20 * 20)
    assert operations(weights="continuous") == Cost(2 * (4 * 15 + 5 * 20), 0, 40 * 35)
    assert gradients([15, 20]) == Cost(2 * (2 * 15 + 3 * 20), 0, 4 * (3 * 15 + 4 * 20))


def test_operations_of_kept_weights() -> None:
    config = Config(hidden=(50,), density=0.1)
    layers = init(config, 30, 4).layers
    kept = [int(np.count_nonzero(layer.mean)) for layer in layers]
    assert 0 < sum(kept) < 0.2 * 1700
    found = message_passing(layer.plan for layer in layers)
    assert found == Cost(2 * (3 * kept[0] + 4 * kept[1]), 0, 20 * sum(kept))


@pytest.mark.parametrize("closure", CLOSURES)
@pytest.mark.parametrize("weights", ["binary", "continuous"])
@pytest.mark.parametrize("activation", ["sign", "relu"])
def test_as_many_products_as_the_sweep_computes(closure: str, weights: str, activation: str) -> None:
    samples, computed = 6, 0

    class Counting(NumpyOperations):
        def times(self, W: Array, x: Array, *, coarse: bool = False) -> Array:
            nonlocal computed
            computed += 2 * W.size * x.shape[1]
            return super().times(W, x)

        def times_transposed(self, W: Array, g: Array, *, coarse: bool = False) -> Array:
            nonlocal computed
            computed += 2 * W.size * g.shape[1]
            return super().times_transposed(W, g)

        def outer(self, g: Array, x: Array, out: Array, *, coarse: bool = False) -> None:
            nonlocal computed
            computed += 2 * out.size * x.shape[1]
            super().outer(g, x, out)

    config = Config(hidden=(5, 4), closure=closure, weights=weights, activation=activation, batch_size=samples)
    network = init(config, 3, 4)
    network.operations = Counting()
    x, y = synthetic(samples, 3, 4, 0)
    train_epoch(network, x, y)
    assert computed == samples * message_passing(layer.plan for layer in network.layers).flops > 0


def test_least_time() -> None:
    limits = Limits(flops=1e9, bytes=1e8, evaluations=1e7)
    work = Cost(flops=1e6, evaluations=2e4, bytes=1e6)
    assert work.min_seconds(limits, samples=10, batches=1) == pytest.approx(10 * (1e-3 + 2e-3))
    assert work.min_seconds(limits, samples=10, batches=5) == pytest.approx(5 * 1e-2)
    assert Cost(1e6).min_seconds(Limits(1e9, 1e8), samples=1, batches=1) == pytest.approx(1e-3)


# --- data -------------------------------------------------------------------------------------------------------------


def test_synthetic_data_are_standardised_and_learnable() -> None:
    x, y = synthetic(4000, 200, 10, 0)
    assert x.dtype == np.float32 and y.dtype == np.int64 and set(y) == set(range(10))
    assert abs(float(x.mean())) < 0.01 and float(x.std()) == pytest.approx(1.0, abs=0.01)
    means = np.stack([x[:3000][y[:3000] == label].mean(axis=0) for label in range(10)])
    error = np.mean(np.argmax(x[3000:] @ means.T - 0.5 * np.square(means).sum(axis=1), axis=1) != y[3000:])
    assert 0.02 < error < 0.7  # chance is 0.9
    _, parity = synthetic(100, 3, 2, 0)
    assert parity.dtype == np.int8 and set(parity) == {-1, 1}


def test_a_data_set_as_a_case() -> None:
    x, y = Case((64, 5, 1), samples=100, dataset="digits").load()
    assert x.shape == (100, 64) and set(y) == {-1, 1}
    for case, message in (
        (Case((64, 5, 3), samples=9, dataset="digits"), "`network` must have 64 inputs and 10 outputs, or 1"),
        (Case((63, 5, 10), samples=9, dataset="digits"), "for digits; got 63-5-10"),
        (Case((64, 5, 10), samples=1500, dataset="digits"), "`samples` must be at most 1442 for digits, got 1500"),
    ):
        with pytest.raises(BenchError, match=message):
            case.load()


# --- rounds -----------------------------------------------------------------------------------------------------------


class Scripted:
    """A worker whose epochs of one batch of 16 take 1, 2, ... seconds, times 10 for message passing."""

    asked: list[tuple[str, str]]

    def __init__(self, name: str, case: Case) -> None:
        self.name, self._measured = name, 0

    def ask(self, question: str, *_: Any) -> Any:
        self.send(question)
        return self.receive()

    def send(self, question: str) -> None:
        self._question = question

    def receive(self) -> Any:
        question = self._question
        self.asked.append((question, self.name))
        self._measured += question == "measure"
        return {
            "prepare": {"weights": 7, "operations": Cost(flops=1e6)},
            "batches": 1,
            "advance": None if self.name == "binarynet" else [0.5],
            "measure": self._measured * (1.0 if self.name == "binarynet" else 10.0),
            "memory": {"peak": 3_000_000, "own": None, "device": None},
            "limits": Limits(flops=1e6, bytes=1.0),
        }[question]

    def close(self) -> None:
        self.asked.append(("close", self.name))


def test_contenders_are_timed_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scripted, "asked", [], raising=False)
    monkeypatch.setattr(measure, "Worker", Scripted)
    monkeypatch.setattr(measure, "_SETTLE", 0.0)
    case = Case((3, 2, 4), samples=64, batch_size=16)
    result = measure.measure(case, ["mf", "binarynet"], measure.Protocol(rounds=3, after=(0, 2)))
    assert Scripted.asked[:2] == [("prepare", "mf"), ("prepare", "binarynet")]
    measured = [name for question, name in Scripted.asked if question == "measure"]
    assert measured == ["mf", "binarynet"] * 6
    assert [name for question, name in Scripted.asked if question == "close"] == ["binarynet", "mf"]
    first, baseline, later, _ = result["contenders"]
    assert (first["after"], later["after"]) == (0, 2)
    assert first["seconds"] == [40.0, 80.0, 120.0] and later["seconds"] == [160.0, 200.0, 240.0]  # four times a batch
    assert first["ratios"] == [10.0] * 3 and first["median_ratio"] == 10.0 and baseline["ratios"] == [1.0] * 3
    assert first["median_seconds"] == 80.0 and first["flops"] == 1e6 * 64 / 80 and first["share"] == 64 / 80
    text = table(json.loads(json.dumps(result)))
    assert "after 2 epochs; polarisation: mf 0.50" in text
    assert [line.split()[:5] for line in text.splitlines() if line.startswith("mf")] == [
        ["mf", "80", "10.00", "(10.00-10.00)", "1/4"], ["mf", "200", "10.00", "(10.00-10.00)", "1/4"],
    ]  # fmt: skip
    assert len({len(line) for line in text.splitlines()[2:5]}) == 1


def test_without_a_baseline_there_are_no_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scripted, "asked", [], raising=False)
    monkeypatch.setattr(measure, "Worker", Scripted)
    result = measure.measure(Case((3, 2, 4), samples=16), ["mf"], measure.Protocol(rounds=1))
    assert result["contenders"][0]["ratios"] is None and result["contenders"][0]["median_ratio"] is None
    assert "inf" not in table(result) and "nan" not in table(result)


# --- the baseline -----------------------------------------------------------------------------------------------------


def test_straight_through_gradients() -> None:
    torch = pytest.importorskip("torch")
    from deepnet.baselines.binarynet import BinaryNet

    network = BinaryNet.of([7, 5, 3], seed=1)
    rng = np.random.default_rng(0)
    x, weighting = rng.standard_normal((6, 7), np.float32), rng.standard_normal((6, 3), np.float32)
    outputs = network(torch.from_numpy(x))
    (outputs * torch.from_numpy(weighting)).sum().backward()
    w0, w1 = (np.sign(w.detach().numpy()) for w in network.weights)
    z = x @ w0.T / np.sqrt(7)
    np.testing.assert_allclose(outputs.detach().numpy(), np.sign(z) @ w1.T / np.sqrt(5), rtol=1e-5, atol=1e-6)
    inner = (np.abs(z) <= 1) * (weighting @ w1) / np.sqrt(5)
    assert 0 < np.count_nonzero(inner) < inner.size
    np.testing.assert_allclose(network.weights[1].grad, weighting.T @ np.sign(z) / np.sqrt(5), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(network.weights[0].grad, inner.T @ x / np.sqrt(7), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("outputs", [10, 1])
def test_the_baseline_learns(optimizer: str, outputs: int) -> None:
    torch = pytest.importorskip("torch")
    from deepnet.baselines.binarynet import BinaryNet, Trainer
    from deepnet.data import load_dataset

    data = load_dataset("digits", task="parity" if outputs == 1 else "multiclass")
    network = BinaryNet.of([64, 101, outputs])
    trainer, rng = Trainer(network, optimizer=optimizer), torch.Generator().manual_seed(0)
    x = torch.from_numpy(data.x_train)
    y = torch.from_numpy(data.y_train.astype(np.float32) if outputs == 1 else data.y_train)
    for _ in range(20):
        trainer.epoch(x, y, torch.randperm(len(x), generator=rng), 32)
    with torch.no_grad():
        found = network(torch.from_numpy(data.x_test)).numpy()
    predicted = np.sign(found[:, 0]) if outputs == 1 else found.argmax(axis=1)
    assert np.mean(predicted != data.y_test) < 0.12
    assert all(float(w.detach().abs().max()) <= 1.0 for w in network.weights)


def test_kept_weights_of_the_baseline() -> None:
    torch = pytest.importorskip("torch")
    from deepnet.baselines.binarynet import BinaryNet

    masks = [np.random.default_rng(0).random(shape) < 0.1 for shape in ((40, 30), (2, 40))]
    network = BinaryNet.of([30, 40, 2], masks=masks)
    assert network.edges() == [np.count_nonzero(mask) for mask in masks]
    network(torch.randn(9, 30)).sum().backward()
    gradient = network.weights[0].grad.numpy()
    assert np.any(gradient[masks[0]]) and not np.any(gradient[~masks[0]])


def test_continuous_weights_are_compared_with_a_multi_layer_perceptron() -> None:
    """As anyone trains it: with Adam, and no sum divided."""
    torch = pytest.importorskip("torch")
    options = ["--weights", "continuous", "--activation", "relu"]
    plan = _plan(parser().parse_args(["bench", *SHORT, *options]))
    ((_, _, case),) = plan.cases
    assert list(plan.contenders) == ["mlp", "mf"]
    assert (case.weights, case.activation, case.optimizer) == ("continuous", "relu", "adam")
    assert (case.config("mf").weights, case.config("mf").activation) == ("continuous", "relu")
    contender = contenders.make("mlp", case)
    assert isinstance(contender, contenders.Baseline)
    contender.build()
    network = contender._trainer.network
    assert not any(network.binary) and set(network.scales) == {1.0} and network.activations == [torch.relu]
    assert isinstance(contender._trainer.optimizer, torch.optim.Adam)
    x = torch.randn(5, 20)
    w0, w1 = network.weights
    torch.testing.assert_close(network(x), torch.relu(x @ w0.T) @ w1.T)
    before = w0.detach().clone()
    contender.train(case.samples)
    assert contender.operations == gradients([140, 21]) and not torch.equal(w0, before)
    plan = _plan(parser().parse_args(["bench", *SHORT, *options, "--baseline-optimizer", "sgd"]))
    assert plan.cases[0][2].optimizer == "sgd"


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case((3, 2, 4), samples=9)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(BenchError, match=r"torch is needed .* pip install 'cavity\[bench\]', or .* --no-baseline"):
        contenders.make("binarynet", case)


# --- processes --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell the memory of a process")
def test_memory_of_a_process() -> None:
    now, peak = memory("VmRSS"), memory("VmHWM")
    assert now is not None and peak is not None and 10e6 < now <= peak
    assert memory("VmNothing") is None


def test_errors_in_a_process_come_home() -> None:
    before = dict(os.environ)
    with contextlib.closing(Worker("mf", Case((63, 5, 10), samples=9, dataset="digits"))) as worker:
        with pytest.raises(BenchError, match="`network` must have 64 inputs"):
            worker.ask("prepare")
        with pytest.raises(BenchError, match="mf failed: AttributeError: "):
            worker.ask("measure", 1)
        os.kill(worker._process.pid or 0, signal.SIGKILL)
        with pytest.raises(BenchError, match="mf failed: its process ended with exit code -9: too little memory"):
            worker.ask("measure", 1)
    assert dict(os.environ) == before


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a small scaling study."""
    path = tmp_path_factory.mktemp("bench") / "study.json"
    assert main(["bench", *SHORT, "--no-baseline", "--scaling", "width", "--values", "5", "--json", str(path)]) == 0
    return path


def test_a_study_without_the_baseline(study: Path) -> None:
    document = json.loads(study.read_text())
    assert set(document) == {"machine", "protocol", "results"}
    assert document["protocol"] == {"rounds": 2, "seconds": 0.01, "after": [0]}
    assert document["machine"]["cores"] >= 1 and document["machine"]["versions"]["numpy"]
    (result,) = document["results"]
    assert (result["axis"], result["value"]) == ("width", 5)
    assert (result["case"]["widths"], result["case"]["threads"]) == ([20, 5, 3], 1)
    (row,) = result["contenders"]
    assert (row["name"], row["weights"], row["epoch_batches"]) == ("mf", 115, 20)
    assert 8 <= row["batches"] <= 20 and len(row["seconds"]) == 2 and min(row["seconds"]) > 0
    assert row["flops"] > 0 and row["share"] > 0 and min(row["limits"].values()) > 0
    assert row["ratios"] is None and len(row["polarization"]) == 2


def test_a_figure_of_earlier_results(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    document = json.loads(study.read_text())
    wider = json.loads(study.read_text())["results"][0] | {"value": 9}
    wider["contenders"][0]["weights"] = 23 * 9
    (tmp_path / "wider.json").write_text(json.dumps(document | {"results": [wider]}))
    path = tmp_path / "scaling.png"
    assert main(["bench", "--from", str(study), str(tmp_path / "wider.json"), "--plot", str(path)]) == 0
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and path.stat().st_size > 10_000
    text = capsys.readouterr().out
    assert "20-5-3, batch 15, 300 samples; cpu, threads: 1; medians of 2 rounds" in text and "limits of mf: " in text


def test_epochs_that_are_never_cut(tmp_path: Path) -> None:
    """What is written can be read again: JSON has no infinite number."""
    path = tmp_path / "whole.json"
    argv = [*SHORT, "--no-baseline", "--seconds", "inf", "--rounds", "1", "--json", str(path)]
    assert main(["bench", *argv]) == 0
    document = json.loads(path.read_text(), parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
    assert document["protocol"]["seconds"] is None
    assert document["results"][0]["contenders"][0]["batches"] == 20
    assert main(["bench", "--from", str(path)]) == 0


def test_a_figure_of_results_with_different_contenders(study: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    document = json.loads(study.read_text())
    other = json.loads(study.read_text())["results"][0] | {"value": 9}
    other["contenders"][0] |= {"name": "bp", "memory": {"peak": None, "own": None, "device": None}}
    (tmp_path / "a.json").write_text(json.dumps(document | {"results": [*document["results"], other]}))
    assert main(["bench", "--from", str(tmp_path / "a.json"), "--plot", str(tmp_path / "a.png")]) == 0


def test_beside_the_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    assert main(["bench", *SHORT, "--after", "0", "1", "--json", "-"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["axis"] is None
    assert [(row["name"], row["after"]) for row in result["contenders"]] == [
        ("binarynet", 0), ("mf", 0), ("binarynet", 1), ("mf", 1),
    ]  # fmt: skip
    baseline, ours = result["contenders"][2:]
    assert baseline["ratios"] == [1.0, 1.0] and baseline["polarization"] is None
    assert ours["ratios"] == [a / b for a, b in zip(ours["seconds"], baseline["seconds"], strict=True)]
    assert all(row["memory"]["peak"] is None or row["memory"]["peak"] > 50e6 for row in (baseline, ours))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--network", "784"], "`network` must be at least two integers >= 1 joined by '-', got '784'"),
        (["--network", "784-x"], "argument --network: must be integers joined by '-', got '784-x'"),
        (["--network", "7-0-2"], "`network` must be at least two integers >= 1"),
        (["--batch-size", "0"], "`batch_size` must be an integer >= 1, got 0"),
        (["--samples", "0"], "`samples` must be an integer >= 1, got 0"),
        (["--threads", "0"], "`threads` must be an integer >= 1, got 0"),
        (["--closure", "pb"], "`closure` must be one of"),
        (["--closure", "mf", "mf"], "`closure` must be names that differ, got ['mf', 'mf']"),
        (["--density", "0"], "`density` must be in (0, 1], got 0.0"),
        (["--preset", "best"], "`preset` must be one of"),
        (["--weights", "spins"], "`weights` must be one of ['binary', 'continuous'], got 'spins'"),
        (["--activation", "tanh"], "`activation` must be one of ['relu', 'sign'], got 'tanh'"),
        (["--rounds", "0"], "`rounds` must be an integer >= 1, got 0"),
        (["--rounds", "1" + "0" * 30], "`rounds` must be at most 1000000000, got 1000"),
        (["--samples", "1" + "0" * 30], "`samples` must be at most 1000000000, got 1000"),
        (["--samples", "900000000"], "`samples` must be something that fits into the memory of"),
        (["--network", "900000000-900000000-2"], "`network` must be something that fits into the memory of"),
        (["--network", "1" + "0" * 12 + "-5-2"], "`network` must be at most 1000000000 units a layer"),
        (["--seed", "9" * 30], "`seed` must be at most 9223372036854775807"),
        (["--threads", "9" * 30], "`threads` must be at most"),
        (["--after", "9" * 30], "`after` must be integers >= 0 that increase"),
        (["--seconds", "many"], "argument --seconds: must be a number, got 'many'"),
        (["--scaling", "width", "--values", "inf"], "`values` must be integers for this axis, got [inf]"),
        (["--scaling", "width", "--values", "nan"], "`values` must be integers for this axis, got [nan]"),
        (["--scaling", "depth", "--values", "1e9"], "`values` must be 0 to 1000 hidden layers"),
        (["--scaling", "density", "--values", "inf"], "`density` must be in (0, 1], got inf"),
        (["--seconds", "nan"], "`seconds` must be greater than 0, got nan"),
        (["--after", "3", "1"], "`after` must be integers >= 0 that increase, got [3, 1]"),
        (["--plot", "a.png"], "`plot` must come with --scaling or --from, got neither"),
        (["--values", "3"], "`values` must come with one axis of --scaling, got 0"),
        (["--scaling", "width", "--values", "2.5"], "`values` must be integers for this axis, got [2.5]"),
        (["--scaling", "density", "--values", "2"], "`density` must be in (0, 1], got 2.0"),
        (["--from", "a.json", "--json", "b.json"], "`json` must not come with --from"),
        (["--cold", "--plot", "a.png"], "`cold` must come without --scaling, --from, --json and --plot"),
        (["mnsit"], "argument DATASET: must be one of"),
    ],
)
def test_wrong_options(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, error = failure(capsys, *argv)
    assert code == 2 and message in error and error.count("\n") == 1


def test_failures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "b.json").write_text(
        '{"machine": {}, "protocol": {}, "results": [{"axis": "width", "value": "5", "case": 3}]}'
    )
    for argv, message in (
        (["--from", str(tmp_path / "b.json")], "`results[0].value` must be a finite number > 0, got '5'"),
        (["--from", str(tmp_path / "no.json")], "no.json must hold results that --json wrote"),
        (["--from", str(tmp_path / "a.json")], "a.json must hold results that --json wrote"),
        (["--json", str(tmp_path / "no" / "b.json")], "`json` must be in an existing folder"),
    ):
        code, error = failure(capsys, *argv)
        assert code == 1 and message in error


def test_a_case_tells_its_settings() -> None:
    case = Case((784, 501, 10), batch_size=64, samples=130)
    assert (case.name, case.classes, case.batches) == ("784-501-10", 10, 3)
    assert json.loads(json.dumps(asdict(case)))["widths"] == [784, 501, 10]
    assert case.config("amp").hidden == (501,) and case.config("amp").batch_size == 64
