"""Several processes train the network of one process. Real launchers start them, few times and with many cases."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import together

from deepnet.app.checkpoint import latest_checkpoint, load_checkpoint
from deepnet.app.cli import main
from deepnet.config import Config
from deepnet.processes import ALONE, Communicator, LauncherError, world
from deepnet.processes.randomness import own_numbers
from deepnet.train import init

HELPERS, ROOT = Path(together.__file__).parent, Path(__file__).parents[2]

LAUNCHER = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))

try:
    import mpi4py.MPI  # noqa: F401

    MISSING = "" if LAUNCHER else "no launcher of MPI"
except (ImportError, RuntimeError) as error:
    MISSING = f"no MPI: {error}"

needs_launcher = pytest.mark.skipif(bool(MISSING), reason=f"needs processes by MPI: {MISSING}")

#: In float64, orders of additions in two epochs: some times the rounding of one.
SAME = 1e-12

#: Likewise in float32, where one process has loops of its own for the layers that several compute by products.
SAME32 = 1e-5

#: A run whose rounding does not grow: by 1e-13 in twelve epochs. With two iterations of AMP it would a million times.
RUN = ["--hidden", "12", "7", "--batch-size", "20", "--epochs", "12", "--dtype", "float64", "--no-plot"]


def command(processes: int, *args: object) -> tuple[list[str], dict[str, str]]:
    """What starts several processes, and their environment."""
    assert LAUNCHER is not None
    path = os.pathsep.join([str(ROOT), str(HELPERS)])
    return (
        [LAUNCHER, "-n", str(processes), sys.executable, *map(str, args)],
        os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
    )


def launch(processes: int, *args: object) -> subprocess.CompletedProcess[str]:
    line, environment = command(processes, *args)
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=240, check=False)


@needs_launcher
@pytest.mark.parametrize("processes", [2, 3])
def test_the_network_is_that_of_one_process(processes: int, tmp_path: Path) -> None:
    done = launch(processes, HELPERS / "together.py", tmp_path / "found")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found").read_text())
    for names, tolerance in (("cases", SAME), ("float32", SAME32), ("device", SAME32)):
        for case, each in zip(together.CASES, found[names], strict=False):
            assert each["difference"] <= tolerance, (names, case, each)
            assert each["same"], (names, case)
            assert each["moved"] > 1, (names, case)
    assert len(found["cases"]) == len(together.CASES)
    # Bytes of an epoch of five batches: all weights in each iteration; precisions too; the noise of two outputs too.
    weights, numbers = 6 * 7 + 5 * 6 + 3 * 5, 6 * 7 + 5 * 6 + 2 * 5
    assert found["bytes"] == [5 * 2 * 8 * weights, 5 * 8 * 2 * weights, 5 * 8 * (numbers + 3)]
    assert found["threads"] == [int(os.environ.get("NUMBA_NUM_THREADS", 1))] * processes
    assert found["rounded"] == [0.0] * processes
    assert sum(found["mapped"]["rows"]) == together.SAMPLES and found["mapped"]["difference"] <= SAME
    assert len(set(found["diverged"])) == 1 and "layer W0, quantity H" in found["diverged"][0]


def members(launcher: int) -> list[int]:
    """The Python processes that a launcher has started."""
    found, parents = [], [launcher]
    while parents:
        parent = parents.pop()
        children = [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
        parents += children
        found += [pid for pid in children if b"deepnet" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return found


@needs_launcher
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs the processes in /proc")
def test_a_process_that_is_killed_ends_all_and_others_go_on(tmp_path: Path) -> None:
    folder, alone = tmp_path / "together", tmp_path / "alone"
    train = ["train", "digits", *RUN]
    line, environment = command(3, "-m", "deepnet", *train, "--out", folder)
    with subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        until = time.monotonic() + 120
        while not (folder / "checkpoint-00001.npz").exists():
            assert running.poll() is None and time.monotonic() < until, running.communicate()
            time.sleep(0.02)
        pids = members(running.pid)
        assert len(pids) == 3
        os.kill(pids[1], signal.SIGKILL)
        out, err = running.communicate(timeout=60)
    assert running.returncode != 0
    # In the words of the launcher, which ends the others as it notices, and may name one of them.
    assert any(f"PID {pid}" in out + err for pid in pids) and "Killed" in out + err
    assert "Traceback" not in err
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    # Another number of processes goes on, and finds what one process finds.
    done = launch(2, "-m", "deepnet", *train, "--out", folder, "--resume")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained: 12 epochs") == 1 and "processes 2" in done.stdout and not done.stderr
    assert main([*train, "--out", str(alone)]) == 0
    states = [load_checkpoint(path) for path in map(latest_checkpoint, (folder, alone)) if path is not None]
    for name, values in states[1][1].items():
        np.testing.assert_allclose(states[0][1][name], values, rtol=0, atol=SAME * np.abs(values).max(), err_msg=name)
    ours, theirs = (state[2]["history"] for state in states)
    assert [each["test_error"] for each in ours] == [each["test_error"] for each in theirs]
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in alone.iterdir())


FAILING = """
import sys
import numpy as np
from deepnet.processes import run_together, world

def program():
    if world().rank == 1:
        print("error: here alone", file=sys.stderr)
        return 7
    world().begin_sum(np.zeros(3))()

sys.exit(run_together(program))
"""


@needs_launcher
def test_a_process_that_fails_alone_says_so_and_ends_all(tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text(FAILING)
    done = launch(2, tmp_path / "failing.py")
    assert done.returncode == 7
    assert done.stderr.count("error: here alone\ndeepnet: process 1 of 2 has ended all") == 1


@needs_launcher
def test_what_all_find_wrong_is_said_once(tmp_path: Path) -> None:
    done = launch(2, "-m", "deepnet", "train", "digits", "--rho", "-1", "--out", tmp_path / "run")
    assert done.returncode == 2 and done.stderr.count("error") == 1 and "`rho` must be" in done.stderr
    assert not (tmp_path / "run").exists()


def test_another_algorithm_is_for_one_process() -> None:
    with pytest.raises(ValueError, match="`algorithm` must be 'message-passing' in several processes, got 'binarynet'"):
        init(Config(algorithm="binarynet"), 3, 2, communicator=Several())


class Several(Communicator):
    """Three processes in name."""

    rank, size = 1, 3
    begin_sum = gather = single = None  # pyright: ignore[reportAssignmentType]


@pytest.mark.parametrize("samples", [0, 1, 2, 3, 10])
def test_parts_are_all_samples(samples: int) -> None:
    parts = []
    for rank in range(3):
        communicator = Several()
        communicator.rank = rank
        parts.append(list(range(samples))[communicator.part(samples)])
    assert [sample for part in parts for sample in part] == list(range(samples))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_numbers_of_some_samples_are_those_of_the_batch() -> None:
    whole = np.random.default_rng(1)
    parts = [own_numbers(np.random.default_rng(1), part, 7) for part in (slice(0, 3), slice(3, 3), slice(3, 7))]
    for _ in range(2):
        expected = whole.standard_normal((2, 7))
        found = [rng.standard_normal((2, size)) for rng, size in zip(parts, (3, 0, 4), strict=True)]
        np.testing.assert_array_equal(np.concatenate(found, axis=1), expected)
    with pytest.raises(ValueError, match="`size` must end with the number of samples"):
        parts[0].standard_normal((2, 4))


def test_one_process_has_no_library_of_mpi(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    world.cache_clear()
    assert world() is ALONE
    world.cache_clear()
    monkeypatch.setenv("PMI_SIZE", "4")
    with pytest.raises(LauncherError, match=r"4 processes need mpi4py .* pip install 'cavity\[mpi\]'"):
        world()
    world.cache_clear()
