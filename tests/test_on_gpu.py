"""The script that runs all that needs a GPU: its commands are understood, run to their end or limit, and compared."""

import importlib.util
import sys
from pathlib import Path

import pytest
from emulated_gpu import EmulatedDevice, needs_compiler

from deepnet.app.cli import main as deepnet
from deepnet.app.cli import parser
from deepnet.bench.command import _plan
from deepnet.kernels.gpu import GpuOperations

_SPEC = importlib.util.spec_from_file_location("on_gpu", Path(__file__).with_name("on_gpu.py"))
assert _SPEC is not None and _SPEC.loader is not None
on_gpu = importlib.util.module_from_spec(_SPEC)
sys.modules["on_gpu"] = on_gpu  # dataclasses look their module up
_SPEC.loader.exec_module(on_gpu)


def commands(out, data):
    return [command for group in on_gpu.plan(out, data) for command in group]


def test_benchmarks_are_understood(tmp_path):
    """Networks, batch sizes and baselines of every benchmark; nothing is timed beside anything else."""
    cases = []
    for group in on_gpu.plan(tmp_path, None)[1:]:
        (command,) = group
        plan = _plan(parser().parse_args(command.arguments[2:]))
        assert plan.contenders[:3] == ["binarynet", "binarynet-compiled", "binarynet-graph"]
        cases += [(case.widths, case.batch_size, case.device) for _, _, case in plan.cases]
    small, narrow, wide = (784, 501, 501, 10), (784, 101, 101, 1), (784, 4096, 4096, 10)
    wanted = [(network, size) for network in (small, narrow) for size in (16, 128, 1024)] + [(wide, 1024)]
    assert sorted(cases) == sorted((*each, "cuda") for each in wanted)


@needs_compiler
def test_training_is_compared(tmp_path, monkeypatch):
    """The commands that train, with digits in place of MNIST and a processor in place of the GPU."""
    operations = GpuOperations(EmulatedDevice())
    monkeypatch.setattr("deepnet.kernels.devices._gpu_operations", lambda device: operations)
    lines = on_gpu.errors(tmp_path)
    assert len(lines) == 6 and all("nothing: failed" in line for line in lines)
    trainings = [command for command in commands(tmp_path, tmp_path) if command.name.startswith("mnist")]
    assert len(trainings) == 6
    for command in trainings:
        arguments = ["digits" if argument == "mnist" else argument for argument in command.arguments[2:]]
        assert deepnet([*arguments, "--hidden", "8"]) == 0
    assert operations.device.captures > 0
    lines = on_gpu.errors(tmp_path)
    assert all(line.endswith("done, alike") and "cuda" in line and "cpu" in line for line in lines)


@pytest.mark.parametrize("first, second, same", [(3.0, 3.5, True), (3.0, 4.0, False), (0.0, 0.0, True)])
def test_noise(first, second, same):
    assert on_gpu.alike(first, second) is same


def test_commands_end(tmp_path):
    """Done, failed, and ended at the limit, side by side; what they print is kept."""
    texts = {
        "good": "print('fine')",
        "bad": "raise SystemExit(3)",
        "slow": "print('so far'); import time; time.sleep(60)",
    }
    found = on_gpu.run([on_gpu.Command(name, ("-c", text), 20.0) for name, text in texts.items()], tmp_path, 3.0)
    good, bad, slow = (line.partition(" (")[0] for line in found)
    assert good == "good: done" and bad == "bad: failed, exit code 3" and slow == "slow: ended, its time was up"
    assert (tmp_path / "good.log").read_text() == "fine\n" and (tmp_path / "slow.log").read_text() == "so far\n"
