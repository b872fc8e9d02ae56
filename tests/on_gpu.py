"""What only a machine with a GPU can show, in one go: the tests marked gpu, MNIST for three epochs, the benchmark.

Run it as ``make gpu``. Every command writes what it prints to a file of the folder as it comes, and is ended when its
time is up, so that a run that is cut still tells. Needed are CuPy, PyTorch, pytest and hypothesis; no installation of
this project.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

#: All that a processor is asked for as well, to compare the errors.
_DEVICES, _TRAINED = ("cuda", "cpu"), ("mf", "amp", "bp")

_CLOSURES = ("mf", "amp", "bpi", "bp")

#: Test images of MNIST, and how many deviations of the difference of two independent errors are noise.
_IMAGES, _DEVIATIONS = 10_000, 3.0


@dataclass(frozen=True)
class Command:
    """``python3 *arguments``, ended after so many seconds."""

    name: str
    arguments: tuple[str, ...]
    seconds: float


def plan(out: Path, data: Path | None) -> list[list[Command]]:
    """Commands, those of one list side by side: what is timed runs alone, and comes last.

    Args:
        out: folder of the results.
        data: folder with the files of MNIST; None: no training on them.
    """
    tests = ("-m", "pytest", "-m", "gpu", "-n", "0", "-p", "no:cacheprovider", "tests/deepnet/test_gpu.py")
    first = [Command("tests", tests, 150.0)]
    if data is not None:
        first += [
            Command(f"mnist-{closure}-{device}", _training(closure, device, out, data), 150.0)
            for device in _DEVICES
            for closure in _TRAINED
        ]
    paper, wide = ["784-501-501-10", "784-101-101-1"], ["784-4096-4096-10"]
    benchmarks = [
        Command("bench", _bench(out / "bench.json", paper, [128]), 150.0),
        Command("bench-wide", _bench(out / "bench-wide.json", wide, [1024]), 100.0),
        Command("bench-batches", _bench(out / "bench-batches.json", paper, [16, 1024]), 240.0),
    ]
    return [first, *([command] for command in benchmarks)]


def _training(closure: str, device: str, out: Path, data: Path) -> tuple[str, ...]:
    options = ("--closure", closure, "--epochs", "3", "--device", device, "--no-plot", "--data-dir", str(data))
    return ("-m", "deepnet", "train", "mnist", *options, "--out", str(_run_folder(closure, device, out)))


def _run_folder(closure: str, device: str, out: Path) -> Path:
    return out / "runs" / f"mnist-{closure}-{device}"


def _bench(file: Path, networks: Sequence[str], batch_sizes: Sequence[int]) -> tuple[str, ...]:
    what = ("--network", *networks, "--batch-size", *map(str, batch_sizes), "--closure", *_CLOSURES)
    return (
        "-m",
        "deepnet",
        "bench",
        "--device",
        "cuda",
        *what,
        "--rounds",
        "3",
        "--seconds",
        "0.3",
        "--json",
        str(file),
    )


def run(commands: Sequence[Command], out: Path, seconds: float) -> list[str]:
    """Run commands side by side; return a line about each.

    Args:
        commands: see ``plan``.
        out: folder of the results; what a command prints goes to ``NAME.log``.
        seconds: all are ended after them.
    """
    threads = str(max(1, (os.cpu_count() or 1) // len(commands)))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "NUMBA_NUM_THREADS": threads}
    start, processes = time.monotonic(), []
    for command in commands:
        with (out / f"{command.name}.log").open("wb") as log:
            arguments: dict[str, Any] = {"cwd": ROOT, "env": environment, "stdout": log, "stderr": subprocess.STDOUT}
            processes.append(subprocess.Popen([sys.executable, *command.arguments], **arguments))
    lines = []
    for command, process in zip(commands, processes, strict=True):
        try:
            code = process.wait(max(0.0, start + min(command.seconds, seconds) - time.monotonic()))
            outcome = "done" if code == 0 else f"failed, exit code {code}"
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            outcome = "ended, its time was up"
        lines.append(f"{command.name}: {outcome} ({time.monotonic() - start:.0f} s)")
    return lines


def errors(out: Path) -> list[str]:
    """Lines on the test errors of each closure, and on every pair that differs by more than noise; see ``alike``."""
    from deepnet.app.run import Run

    lines = []
    for closure in _TRAINED:
        found = {}
        for device in _DEVICES:
            if (folder := _run_folder(closure, device, out)).is_dir():
                run = Run.open(folder)
                run.load()
                if len(run.history) == 3:
                    found[device] = run.history[-1]
        for name in ("test_error", "bayes_test_error"):
            texts = ", ".join(f"{device} {history[name]:.2f} %" for device, history in found.items())
            ok = len(found) == len(_DEVICES) and alike(*(history[name] for history in found.values()))
            lines.append(
                f"mnist-{closure} {name}: {texts or 'nothing'}: {'done, alike' if ok else 'failed to be alike'}"
            )
    return lines


def alike(first: float, second: float) -> bool:
    """Whether two test errors in percent differ by noise only, were the networks trained independently."""
    rate = (first + second) / 200.0
    return abs(first - second) / 100.0 <= _DEVIATIONS * sqrt(2.0 * rate * (1.0 - rate) / _IMAGES)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything; return 1 if something failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder of the results (default: runs/gpu)")
    parser.add_argument("--data-dir", type=Path, help="folder with the files of MNIST (default: no training on them)")
    parser.add_argument("--seconds", type=float, default=480.0, help="of everything together (default: 480)")
    args = parser.parse_args(arguments)
    out, end = args.out.resolve(), time.monotonic() + args.seconds
    out.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []

    def tell(new: list[str]) -> None:
        print(*new, sep="\n", flush=True)
        lines.extend(new)
        (out / "summary.txt").write_text("\n".join(lines) + "\n")

    for commands in plan(out, args.data_dir and args.data_dir.resolve()):
        if (left := end - time.monotonic()) > 5.0:
            tell(run(commands, out, left))
        else:
            tell([f"{command.name}: failed to begin, no time was left" for command in commands])
    if args.data_dir:
        tell(errors(out))
    return int(not all(": done" in line for line in lines))


if __name__ == "__main__":
    sys.exit(main())
