"""What only a machine with a GPU can show, in one go: the tests marked gpu, the benchmark, and MNIST for three epochs.

Run it as ``make gpu``. Every step writes what it prints to a file of the folder as it comes, and has a time of its own
after which it is ended, so that a run that is cut still tells. Needed are CuPy, PyTorch, pytest and hypothesis, no
installation of this project.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

CLOSURES = ("mf", "amp", "bpi", "bp")


@dataclass(frozen=True)
class Step:
    """A command of the interpreter, ``python3 *arguments``, ended after so many seconds."""

    name: str
    arguments: tuple[str, ...]
    seconds: float


def plan(out: Path, data: Path | None) -> list[Step]:
    """The steps, the most telling ones first.

    Args:
        out: folder of the results.
        data: folder with the files of MNIST; None: no training on them.
    """
    tests = ("-m", "pytest", "-m", "gpu", "-n", "0", "-p", "no:cacheprovider", "tests/deepnet/test_gpu.py")
    steps = [Step("tests", tests, 150.0)]
    if data is not None:
        steps += [Step(f"mnist-{closure}", _training(closure, "cuda", out, data), 60.0) for closure in ("mf", "amp", "bp")]
    steps += [
        Step("bench", _bench(out / "bench.json", ["784-501-501-10", "784-101-101-1"], [128]), 200.0),
        Step("bench-wide", _bench(out / "wide.json", ["784-4096-4096-10"], [1024], rounds=3), 150.0),
        Step("bench-batches", _bench(out / "batches.json", ["784-501-501-10", "784-101-101-1"], [16, 1024]), 240.0),
    ]
    return steps


def _training(closure: str, device: str, out: Path, data: Path) -> tuple[str, ...]:
    options = ("--closure", closure, "--epochs", "3", "--device", device, "--no-plot")
    run = out / "runs" / f"mnist-{closure}-{device}"
    return ("-m", "deepnet", "train", "mnist", *options, "--data-dir", str(data), "--out", str(run))


def _bench(file: Path, networks: Sequence[str], batch_sizes: Sequence[int], rounds: int = 5) -> tuple[str, ...]:
    what = ("--network", *networks, "--batch-size", *map(str, batch_sizes), "--closure", *CLOSURES)
    how = ("--baseline", "eager", "compiled", "--rounds", str(rounds), "--seconds", "0.3", "--json", str(file))
    return ("-m", "deepnet", "bench", "--device", "cuda", *what, *how)


def run(steps: Sequence[Step], out: Path, seconds: float) -> Iterator[str]:
    """Run the steps one after the other; yield one line about each.

    Args:
        steps: see ``plan``.
        out: folder of the results; what a step prints goes to ``NAME.log``.
        seconds: of all steps together; what is left then is not begun.
    """
    end = time.monotonic() + seconds
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    for step in steps:
        limit, start = min(step.seconds, end - time.monotonic()), time.monotonic()
        if limit < 5.0:
            yield f"{step.name}: not begun, no time was left"
            continue
        with (out / f"{step.name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *step.arguments], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
            try:
                code = str(process.wait(limit))
            except subprocess.TimeoutExpired:
                process.kill()
                code = "time was up"
        yield f"{step.name}: {'done' if code == '0' else f'FAILED ({code})'} after {time.monotonic() - start:.0f} s"


def main() -> int:
    """Run everything; return 1 if a step failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder of the results (default: runs/gpu)")
    parser.add_argument("--data-dir", type=Path, help="folder with the files of MNIST (default: no training on them)")
    parser.add_argument("--seconds", type=float, default=480.0, help="of all steps together (default: 480)")
    parser.add_argument("--steps", nargs="+", help="run only those whose names begin so (default: all)")
    args = parser.parse_args()
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    steps = plan(out, args.data_dir and args.data_dir.resolve())
    if args.steps:
        steps = [step for step in steps if step.name.startswith(tuple(args.steps))]
    lines = []
    for line in run(steps, out, args.seconds):
        lines.append(line)
        print(line, flush=True)
        print((out / f"{line.partition(':')[0]}.log").read_text(errors="replace")[-3000:], flush=True)
        (out / "summary.txt").write_text("\n".join(lines) + "\n")
    return int(any("done" not in line for line in lines))


if __name__ == "__main__":
    sys.exit(main())
