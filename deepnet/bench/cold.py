"""The first calls on a machine: what there is to wait for while Numba compiles, each in a new process with no cache."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from deepnet.bench import BenchError

_TRAINING = """
from deepnet.app.cli import main
settings = "--hidden 201 201 --batch-size 32 --epochs 1 --no-plot --out run --closure {closure}"
assert main(["train", "digits", *settings.split()]) == 0
"""

#: Programs by what they do.
PROGRAMS = {
    "import": "import deepnet, factorgraph, models",
    "a tree of spins": """
from factorgraph import Graph, Pairwise, infer
graph = Graph()
s = graph.spins("s", 3, field=0.3)
graph.add(Pairwise(s[1:], s[:-1], coupling=0.5))
infer(graph)["s"].mean
""",
    "spins with loops": """
from factorgraph import Graph, Pairwise, infer
graph = Graph()
s = graph.spins("s", (4, 4), field=0.1)
graph.add(Pairwise(s[:-1], s[1:], coupling=0.3))
graph.add(Pairwise(s[:, :-1], s[:, 1:], coupling=0.3))
infer(graph, damping=0.3)["s"].mean
""",
    "a smoother of vectors": """
from factorgraph import Graph, Linear, infer
graph = Graph()
x = graph.vectors("x", 100, 2)
graph.add(Linear(x[1:], x[:-1], coefficients=[1, [[-1, -1], [0, -1]]], noise=[[1, 0], [0, 1]]))
graph.add(Linear(x, coefficients=[[[1, 0]]], target=[[1.0]] * 100, noise=0.5))
infer(graph)["x"].variance
""",
    "a table of categories": """
from factorgraph import Graph, Table, infer
graph = Graph()
c = graph.categories("c", 6, states=3)
graph.add(Table(c[1:], c[:-1], log_table=[[1, 0, 0], [0, 1, 0], [0, 0, 1]]))
infer(graph)["c"]
""",
    "MultiLayerGLM": """
from factorgraph.channels import Identity, ReLU
from factorgraph.priors import GaussBernoulli
from models import Ensemble, MultiLayerGLM
ensemble = Ensemble(GaussBernoulli(0.3), [ReLU(), Identity(1e-2)], ratios=[2.0, 1.0])
sample = ensemble.sample(200, rng=0)
MultiLayerGLM(ensemble.prior, sample.weights, ensemble.channels).infer(sample.y)
""",
    "MessagePassingClassifier on iris": """
from deepnet import MessagePassingClassifier
from sklearn.datasets import load_iris
MessagePassingClassifier().fit(*load_iris(return_X_y=True))
""",
    **{f"an epoch of digits, {closure}": _TRAINING.format(closure=closure) for closure in ("mf", "amp", "bp")},
}

#: Around a program: counts what its own process compiles.
_COUNTED = """
import atexit, os
from pathlib import Path
from numba.core import event

class Count(event.Listener):
    functions = 0

    def on_start(self, event):
        self.functions += 1

    def on_end(self, event):
        pass

count = Count()
event.register("numba:compile", count)
atexit.register(lambda: Path("functions").write_text(str(count.functions)))
"""


@dataclass(frozen=True)
class Start:
    """What a program takes.

    Attributes:
        program: what it does.
        seconds: until it ends.
        processor_seconds: of all its processes; 0 where the system does not say.
        functions: that its own process compiled.
    """

    program: str
    seconds: float
    processor_seconds: float
    functions: int


def measure(program: str, threads: int | None = None) -> Start:
    """Run one of ``PROGRAMS`` in a new process, in an empty folder, with an empty cache.

    Args:
        program: its name.
        threads: that Numba may use, and so how many processes compile; None for its own choice.

    Raises:
        BenchError: it failed.
    """
    path = [str(Path(entry).resolve()) for entry in sys.path]
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"NUMBA_CACHE_DIR": f"{folder}/cache", "PYTHONPATH": os.pathsep.join(path)}
        environment |= {} if threads is None else {"NUMBA_NUM_THREADS": str(threads)}
        command = [sys.executable, "-c", _COUNTED + PROGRAMS[program]]
        before, start = _children(), perf_counter()
        run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        seconds = perf_counter() - start
        if run.returncode:
            raise BenchError(f"{program} failed: {run.stderr.strip().splitlines()[-1]}")
        functions = int(Path(folder, "functions").read_text())
    return Start(program, seconds, _children() - before, functions)


def lines() -> Iterator[str]:
    """Measure all programs, and yield a table line by line."""
    width = max(map(len, PROGRAMS))
    yield f"{'first call, nothing compiled':{width}}  {'s':>6}  {'s of cores':>10}  {'functions':>9}"
    for program in PROGRAMS:
        start = measure(program)
        times = f"{start.seconds:6.1f}  {start.processor_seconds:10.1f}"
        yield f"{program:{width}}  {times}  {start.functions:9d}"


def _children() -> float:
    """Return the processor seconds of the processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system
