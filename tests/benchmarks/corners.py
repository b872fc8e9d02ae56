"""µs a message of every kind of variable and factor under every schedule: ``python tests/benchmarks/corners.py``.

A message is one on one edge in one sweep. What is more than ten times the best of its row needs a reason, which is
printed with it. Loops are a ring with random chords, trees random recursive ones. ``python corners.py WORD`` runs the
rows whose names contain the word.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from factorgraph import Graph, Linear, Pairwise, Parity, PSpin, infer
from factorgraph.engine.unroll import Unrolled, unroll

SIZE = 20_000
SCHEDULES = ("flooding", "sequential", "random", "forward-backward", "residual")
OPTIONS = {"damped": {"damping": 0.3}, "maximum": {"maximum": True}, "observed": {}}

RANDOM = "memory is visited in random order, and the order is drawn anew in every sweep"
RESIDUAL = "all pending messages are computed four times a sweep, to choose the next quarter"
STEPS = "without a compiled rule in order: steps of factors that do not wait for each other, each of some NumPy calls"
REASONS = {"random": RANDOM, "residual": RESIDUAL}

Build = Callable[[Any, Any, np.random.Generator], None]


def pairs_of_spins(s: Any, graph: Graph, rng: np.random.Generator, i: np.ndarray, j: np.ndarray) -> None:
    graph.add(Pairwise(s[i], s[j], coupling=0.3 * rng.normal(size=i.size)))


def pairs_of_spins_and_fields(s: Any, graph: Graph, rng: np.random.Generator, i: np.ndarray, j: np.ndarray) -> None:
    pairs_of_spins(s, graph, rng, i, j)
    graph.add(PSpin(s[::2], coupling=0.2))


def couplings_of_spins(s: Any, graph: Graph, rng: np.random.Generator, i: np.ndarray, j: np.ndarray) -> None:
    graph.add(PSpin(s[i[::2]], s[j[::2]], coupling=0.3 * rng.normal(size=i[::2].size)))
    graph.add(PSpin(s[i[1::2]], s[j[1::2]], coupling=-0.2))


def checks_of_spins(s: Any, graph: Graph, rng: np.random.Generator, i: np.ndarray, j: np.ndarray) -> None:
    k = (i + s.shape[0] // 2) % s.shape[0]
    free = (k != i) & (k != j)
    graph.add(Parity(s[i[free][::3]], s[j[free][::3]], s[k[free][::3]]))


def pairs_of_reals(x: Any, graph: Graph, rng: np.random.Generator, i: np.ndarray, j: np.ndarray) -> None:
    graph.add(Pairwise(x[i], x[j], coupling=rng.uniform(-0.9, 0.9, i.size)))


def pairs_of_reals_and_data(x: Any, graph: Graph, rng: np.random.Generator, i: np.ndarray, j: np.ndarray) -> None:
    pairs_of_reals(x, graph, rng, i, j)
    graph.add(Linear(x[::2], target=rng.normal(size=x[::2].shape), noise=0.5))


def linear(x: Any, graph: Graph, rng: np.random.Generator, i: np.ndarray, j: np.ndarray) -> None:
    graph.add(Linear(x[i], x[j], coefficients=[1.0, -1.0], noise=1.0))
    graph.add(Linear(x, target=rng.normal(size=x.shape), noise=0.25))


def ring(size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours on a ring, and as many chords as half its places."""
    i, half = np.arange(size), rng.permutation(size).reshape(2, -1)
    ends = np.concatenate([np.stack([i, (i + 1) % size]), half[:, np.abs(half[0] - half[1]) > 1]], axis=1)
    return ends[0], ends[1]


def tree(size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A random recursive tree."""
    child = np.arange(1, size)
    return (rng.random(size - 1) * child).astype(np.intp), child


def graph_of(kind: str, build: Any, ends: Any) -> Unrolled:
    rng, graph = np.random.default_rng(0), Graph()
    if kind == "spins":
        variable = graph.spins("x", SIZE, field=0.2 * rng.normal(size=SIZE))
    elif kind == "reals":
        variable = graph.reals("x", SIZE, field=rng.normal(size=SIZE), precision=4.0)
    else:
        variable = graph.vectors("x", SIZE, 2, precision=1.0)
    build(variable, graph, rng, *ends(SIZE, rng))
    return unroll(graph.model)


#: By name: kind of variables, what ties them.
ROWS = {
    "spins, Pairwise": ("spins", pairs_of_spins),
    "spins, Pairwise and PSpin(1)": ("spins", pairs_of_spins_and_fields),
    "spins, PSpin": ("spins", couplings_of_spins),
    "spins, Parity(3)": ("spins", checks_of_spins),
    "reals, Pairwise": ("reals", pairs_of_reals),
    "reals, Pairwise and Linear(1)": ("reals", pairs_of_reals_and_data),
    "reals, Linear": ("reals", linear),
}


def seconds(action: Callable[[], Any], repeats: int) -> float:
    """Shortest time of this process, which others on the machine do not lengthen."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return min(times)


def per_message(graph: Unrolled, repeats: int = 3, **options: Any) -> float:
    """µs: of ten sweeps more, so that what is done once is left out; of two passes all of it."""
    if options.get("schedule") == "two-pass":
        return 1e6 * seconds(lambda: infer(graph, **options), repeats) / graph.edges
    few, many = (seconds(lambda n=n: infer(graph, max_sweeps=n, tolerance=0.0, **options), repeats) for n in (5, 15))
    return 1e5 * max(many - few, 0.0) / graph.edges


def row(kind: str, build: Any) -> dict[str, float]:
    """All schedules on the loops, all options of flooding, and two passes on the tree."""
    loops, forest = graph_of(kind, build, ring), graph_of(kind, build, tree)
    value = np.full(SIZE, np.nan)
    value[SIZE // 2] = 1.0
    times = {schedule: per_message(loops, schedule=schedule) for schedule in SCHEDULES}
    for name, options in OPTIONS.items():
        more = {"observed": {"x": value}} if name == "observed" else options
        times[name] = per_message(loops, schedule="flooding", **more)
    if forest.is_forest:
        times["two-pass"] = per_message(forest, schedule="two-pass")
    return times


def reason(name: str, column: str) -> str:
    """Why a time is more than ten times the best of its row."""
    if name in ("spins, PSpin", "spins, Parity(3)", "reals, Linear"):
        return STEPS
    return REASONS.get(column, "none is known")


def main(word: str) -> None:
    """Print the table, and the reasons."""
    columns = (*SCHEDULES, *OPTIONS, "two-pass")
    print(f"{'µs a message':32}" + "".join(f"{column[:12]:>13}" for column in columns))
    found = []
    for name, (kind, build) in ROWS.items():
        if word not in name:
            continue
        times = row(kind, build)
        print(f"{name:32}" + "".join(f"{times.get(c, np.nan):13.4f}" for c in columns), flush=True)
        found += [(name, c) for c, t in times.items() if t > 10.0 * min(times.values())]
    for name, column in found:
        print(f"{name}, {column}: {reason(name, column)}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
