"""Sweeps of two parameters: phases known from elsewhere, continuation after a kill, figure."""

import errno
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from factorgraph.channels import Identity, Probit, Sign
from factorgraph.priors import Binary, GaussBernoulli
from models import Ensemble, phase_diagram
from models.asymptotics.phase_diagram import EASY, HARD, IMPOSSIBLE
from models.asymptotics.phase_file import PhaseFile


def sparse_regression(ratio, density):
    return Ensemble(GaussBernoulli(density), [Identity()], [ratio])


def perceptron(ratio, noise):
    return Ensemble(Binary(), [Probit(1 / noise) if noise else Sign()], [ratio])


def test_noiseless_sparse_regression():
    """Impossible below α = ρ, easy above 0.4802 for ρ = 0.3 (``test_state_evolution``), hard between."""
    diagram = phase_diagram(sparse_regression, [0.25, 0.35, 0.45, 0.52], [0.3, 0.05], workers=1, progress=False)
    assert diagram.phase.tolist() == [[IMPOSSIBLE, HARD, HARD, EASY], [EASY, EASY, EASY, EASY]]
    assert np.all(diagram.best <= diagram.algorithm)


def test_perceptron():
    diagram = phase_diagram(perceptron, [1.1, 1.4, 1.6], [0.0], workers=2, progress=False)
    assert diagram.phase.tolist() == [[IMPOSSIBLE, HARD, EASY]]
    assert diagram.algorithm.shape == (1, 3)


def test_a_killed_sweep_continues(tmp_path, monkeypatch):
    path = tmp_path / "sweep.jsonl"
    x, y = [0.25, 0.52], [0.3, 0.2]
    whole = phase_diagram(sparse_regression, x, y, path=path, workers=1, progress=False)
    lines = path.read_text().splitlines(keepends=True)
    assert len(lines) == 5
    path.write_text("".join(lines[:3]) + lines[3][:9])  # two points, and a third that was being written
    computed = []

    def counted(ratio, density):
        computed.append((ratio, density))
        return sparse_regression(ratio, density)

    again = phase_diagram(counted, x, y, path=path, workers=1, progress=False)
    assert len(computed) == 2
    np.testing.assert_array_equal(again.phase, whole.phase)
    np.testing.assert_allclose(again.algorithm, whole.algorithm)
    assert path.read_text().splitlines(keepends=True) == lines
    with pytest.raises(ValueError, match="`path` must be a file of the same diagram"):
        phase_diagram(sparse_regression, [0.1], y, path=path, workers=1, progress=False)


def test_the_figure_names_the_phases():
    diagram = phase_diagram(sparse_regression, [0.25, 0.52], [0.3], workers=1, progress=False)
    _, axes = plt.subplots()
    diagram.draw(axes, labels=("α", "ρ"))
    legend = axes.get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == ["easy", "impossible"]
    plt.close("all")


def test_wrong_arguments():
    with pytest.raises(ValueError, match="`x` must be finite numbers"):
        phase_diagram(sparse_regression, [np.nan], [0.3], progress=False)


# ---- the file --------------------------------------------------------------------------------------------------------

X, Y, SETTINGS = [0.25, 0.5, 0.75], [0.1, 0.2], {"success": 1e-3, "iterations": 1000}
POINTS = {(i, j): (0.1 * (3 * i + j) + 0.01, 1.0 / 3.0 if i else math.nan) for i in range(2) for j in range(3)}


def written(path, points=POINTS):
    """The bytes of a file with these points."""
    with PhaseFile(path, X, Y, SETTINGS) as file:
        for place, values in points.items():
            file.append(*place, *values)
    return path.read_bytes()


def read(path):
    with PhaseFile(path, X, Y, SETTINGS) as file:
        return file.points


def assert_points(points, expected):
    assert points.keys() == expected.keys()
    np.testing.assert_array_equal(list(points.values()), list(expected.values()))


def test_no_byte_at_which_a_writer_is_killed_loses_a_finished_point(tmp_path):
    path = tmp_path / "sweep.jsonl"
    content = written(path)
    for length in range(len(content) + 1):
        path.write_bytes(content[:length])
        finished = dict(list(POINTS.items())[: max(content[:length].count(b"\n") - 1, 0)])
        assert_points(read(path), finished)
        assert path.read_bytes() == (content[: content.rfind(b"\n", 0, length) + 1] or content.split(b"\n")[0] + b"\n")


def test_a_full_disk_loses_only_what_was_being_written(tmp_path, monkeypatch):
    path = tmp_path / "sweep.jsonl"
    places = list(POINTS.items())
    written(path, dict(places[:3]))
    write = os.write
    left = [40]

    def scarce(descriptor, data):
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = data[: left[0]]
        left[0] -= len(taken)
        return write(descriptor, taken)

    monkeypatch.setattr(os, "write", scarce)
    for _ in range(2):  # a file with a torn line is repaired on a full disk too
        with pytest.raises(OSError, match="No space left"):
            written(path, dict(places[3:]))
    assert_points(read(path), dict(places[:3]))
    monkeypatch.undo()
    written(path, dict(places[3:]))
    assert_points(read(path), POINTS)


def mutated(content, rng):
    """The file after one of the accidents that files have."""
    kind = rng.integers(8)
    a, b = sorted(rng.integers(len(content) + 1, size=2).tolist())
    lines = content.splitlines(keepends=True)
    if kind == 0:  # a byte, or a bit of it
        a = min(a, len(content) - 1)
        return content[:a] + bytes([content[a] ^ int(rng.integers(1, 256))]) + content[a + 1 :]
    if kind == 1:
        return content[:a] + content[b:]
    if kind == 2:
        return content[:a] + rng.bytes(int(rng.integers(1, 20))) + content[a:]
    if kind == 3:
        return content[:b] + content[a:]
    if kind == 4:
        return b"".join(lines[i] for i in rng.permutation(len(lines)))
    if kind == 5:  # another number in place of one
        numbers = list(re.finditer(rb"[0-9.]+(e-?[0-9]+)?|null", content))
        chosen = numbers[rng.integers(len(numbers))]
        other = [b"-1", b"1e999", b"NaN", b"true", b'"1"', b"9" * 400, b"[1]", b"{}", b"2", b"0.5"][rng.integers(10)]
        return content[: chosen.start()] + other + content[chosen.end() :]
    if kind == 6:
        return b"[" * int(rng.integers(1, 100_000)) + content[a:]
    return lines[0] + b"".join(lines[i] for i in rng.integers(len(lines), size=5))


def fuzz(path, seed, number):
    """Files after accidents give points that were written, or an error of ours that names the file."""
    rng = np.random.default_rng(seed)
    content = written(path)
    accepted = refused = 0
    for _ in range(number):
        path.write_bytes(mutated(content, rng))
        try:
            points = read(path)
        except ValueError as error:
            assert "`path` must be" in str(error) and str(path) in str(error) and len(str(error)) < 1000
            refused += 1
        else:
            assert_points(points, {place: POINTS[place] for place in points})
            accepted += 1
    assert accepted > number / 50 and refused > number / 4


def test_a_mutated_file_is_read_as_it_was_or_refused(tmp_path):
    fuzz(tmp_path / "sweep.jsonl", 0, 1500)


@pytest.mark.fuzz
def test_many_mutated_files(tmp_path):
    for seed in range(1, 101):
        fuzz(tmp_path / f"sweep{seed}.jsonl", seed, 1000)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a recipe\n", "line 1: it is no JSON"),
        (b"a recipe", "with other content"),
        (b'{"file": "phase diagram"}\n', "line 1: it has no checksum"),
        (b"\x00" * 100_000, "which is too long"),
    ],
)
def test_other_files_are_left_alone(tmp_path, content, reason):
    path = tmp_path / "mine.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"`path` must be .*mine.txt.*{reason}"):
        read(path)
    assert path.read_bytes() == content
    with pytest.raises(ValueError, match="`path` must be a file to read and write"):
        read(tmp_path / "no folder" / "sweep.jsonl")
    with pytest.raises(ValueError, match="`path` must be a file to read and write"):
        read(tmp_path)


SCRIPT = """
import multiprocessing, sys, time
from factorgraph.channels import Identity
from factorgraph.priors import GaussBernoulli
from models import Ensemble, phase_diagram

def slow(model, success, iterations):
    time.sleep(0.02)
    return model.ratios[0], 0.0

def family(ratio, density):
    return Ensemble(GaussBernoulli(density), [Identity()], [ratio])

sys.modules["models.asymptotics.phase_diagram"].errors = slow
multiprocessing.set_start_method("fork")  # workers have what is replaced here
x, y = [0.1 * k for k in range(1, 11)], [0.1 * k for k in range(1, 9)]
phase_diagram(family, x, y, path=sys.argv[1], workers=3, progress=False)
"""


@pytest.mark.skipif(os.name != "posix", reason="process groups are those of POSIX")
def test_a_killed_parent_takes_its_workers_along_and_loses_nothing(tmp_path):
    path = tmp_path / "sweep.jsonl"
    finished = 0
    for wanted in (4, 11, 30, 81):  # lines at which the parent is killed, if it lives so long; the first is the head
        process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(path)], start_new_session=True)
        group = process.pid
        while process.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") < wanted):
            time.sleep(0.005)
        process.kill()
        process.wait()
        assert process.returncode in (0, -signal.SIGKILL)
        _wait_for_the_end_of(group)
        lines = path.read_bytes().count(b"\n")
        assert lines >= max(wanted, finished)
        finished = lines
    assert finished == 81
    with PhaseFile(path, [0.1 * k for k in range(1, 11)], [0.1 * k for k in range(1, 9)], SETTINGS) as file:
        assert file.points == {(i, j): (0.1 * (j + 1), 0.0) for i in range(8) for j in range(10)}


def _wait_for_the_end_of(group):
    """No process of the group is left, within seconds."""
    for _ in range(500):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    os.killpg(group, signal.SIGKILL)
    pytest.fail("workers outlived their parent")


@pytest.mark.skipif(os.name != "posix", reason="locks are those of POSIX")
def test_a_file_has_one_writer(tmp_path):
    path = tmp_path / "sweep.jsonl"
    written(path)
    program = f"""
from pathlib import Path
from models.asymptotics.phase_file import PhaseFile
try:
    PhaseFile(Path({str(path)!r}), {X}, {Y}, {SETTINGS})
except ValueError as error:
    print(error)
"""
    with PhaseFile(path, X, Y, SETTINGS):
        output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "`path` must be written by one process at a time" in output


def test_a_cluster_computes_the_same(tmp_path):
    """A scheduler with a worker, each in a process of its own."""
    pytest.importorskip("distributed")
    address, root = tmp_path / "scheduler.json", Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(Path(__file__).parent)])}
    commands = [
        ["dask_scheduler", "--port", "0", "--no-dashboard"],
        ["dask_worker", "--nthreads", "1", "--no-nanny", "--no-dashboard"],
    ]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{name}", "--scheduler-file", str(address), *options],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for name, *options in commands
    ]  # fmt: skip
    try:
        while not address.exists():
            assert all(process.poll() is None for process in processes)
            time.sleep(0.05)
        scheduler = json.loads(address.read_text())["address"]
        there = phase_diagram(sparse_regression, [0.25, 0.52], [0.05], scheduler=scheduler, progress=False)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    here = phase_diagram(sparse_regression, [0.25, 0.52], [0.05], workers=1, progress=False)
    assert np.array_equal(there.algorithm, here.algorithm) and np.array_equal(there.phase, here.phase)
