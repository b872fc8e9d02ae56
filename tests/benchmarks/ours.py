"""Times of the engine on one core: ``python tests/benchmarks/ours.py CASE``; prints one JSON object."""

import json
import subprocess
import sys
import time

import numpy as np
from problems import (
    CHAIN,
    GAUSSIAN_GRID,
    best,
    gates,
    glass,
    grid,
    labels,
    median_processor,
    peak_memory,
    smoothing,
    tree,
)

from factorgraph import Graph, Logical, Pairwise, Potts, infer
from factorgraph.engine.unroll import Unrolled, unroll


def spins(field: np.ndarray, i: np.ndarray, j: np.ndarray, coupling: np.ndarray) -> Unrolled:
    """An Ising model, ready to run."""
    graph = Graph()
    s = graph.spins("s", field.size, field=field.ravel())
    graph.add(Pairwise(s[i], s[j], coupling=coupling))
    return unroll(graph.model)


def reals(y: np.ndarray, precision: np.ndarray, i: np.ndarray, j: np.ndarray) -> Unrolled:
    """A Gaussian model, ready to run."""
    graph = Graph()
    x = graph.reals("x", y.size, field=y.ravel(), precision=precision.ravel())
    graph.add(Pairwise(x[i], x[j], coupling=1.0))
    return unroll(graph.model)


def grid_case() -> dict[str, float]:
    """Build a grid of spins, 100 flooding sweeps."""
    problem = grid()
    infer(spins(*grid(20)), schedule="flooding")
    build, graph = best(lambda: spins(*problem))
    run, _ = best(lambda: infer(graph, schedule="flooding", max_sweeps=100, tolerance=0))
    return {"build": build, "run": run, "memory": peak_memory()}


def glass_case() -> dict[str, float]:
    """A spin glass to 1e-8."""
    problem = glass()
    graph = spins(*problem)
    infer(graph, schedule="flooding", max_sweeps=5)
    run, result = best(lambda: infer(graph, schedule="flooding", tolerance=1e-8))
    return {"run": run, "sweeps": result.sweeps, "converged": bool(result.converged)}


def tree_case() -> dict[str, float]:
    """A tree, with marginals and log Z, from the unrolled graph and from arrays; scipy's search of the same tree."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import breadth_first_order

    field, i, j, coupling = tree()
    matrix = coo_array((np.ones(i.size), (i, j)), shape=(field.size, field.size)).tocsr()
    infer(spins(field, i, j, coupling))
    search, _ = best(lambda: breadth_first_order(matrix, 0, directed=False))
    whole, result = best(lambda: infer(spins(field, i, j, coupling)))
    assert result.exact
    start = time.perf_counter()
    _ = result["s"], result.log_partition
    return {"run": whole + time.perf_counter() - start, "scipy_search": search}


def chain_case() -> dict[str, float]:
    """Means and variances of a chain; scipy's banded solve gives the means."""
    from scipy.linalg import solveh_banded

    y, precision, i, j = smoothing((CHAIN,))
    infer(reals(y, precision, i, j))
    run, result = best(lambda: infer(reals(y, precision, i, j))["x"])
    band = np.stack([precision, np.full(CHAIN, -1.0)])
    solve, means = best(lambda: solveh_banded(band, y, lower=True))
    assert np.allclose(result.mean, means, atol=1e-10)
    return {"run": run, "scipy_banded": solve}


def gaussian_grid_case() -> dict[str, float]:
    """Means of a grid to 1e-10; scipy's sparse LU."""
    from scipy.sparse import coo_array, diags_array
    from scipy.sparse.linalg import spsolve

    y, precision, i, j = smoothing((GAUSSIAN_GRID, GAUSSIAN_GRID))
    graph = reals(y, precision, i, j)
    infer(graph, schedule="sequential", max_sweeps=5)
    pairs = coo_array((-np.ones(i.size), (i, j)), shape=(y.size, y.size))
    matrix = (pairs + pairs.T + diags_array(precision.ravel())).tocsc()
    solve, means = best(lambda: spsolve(matrix, y.ravel()), 2)
    times = {}
    for schedule in ("flooding", "sequential"):
        times[schedule], result = best(lambda s=schedule: infer(graph, schedule=s, tolerance=1e-11))
        assert np.abs(result["x"].mean - means).max() < 1e-10
        times[schedule + "_sweeps"] = result.sweeps
    return {"run": min(times["flooding"], times["sequential"]), "scipy_lu": solve, **times}


def one_by_one_case() -> dict[str, float]:
    """Seconds a factor, one factor at a time and from networkx, until the graph is unrolled."""
    import networkx as nx

    from factorgraph import from_networkx

    _, i, j, coupling = (a.tolist() for a in tree())

    def build() -> Unrolled:
        graph = Graph()
        s = graph.spins("s", CHAIN)
        couple = graph.one_by_one(Pairwise, s, s)
        for a, b, c in zip(i, j, coupling, strict=True):
            couple(a, b, c)
        return unroll(graph.model)

    source = nx.Graph()
    source.add_weighted_edges_from(zip(i, j, coupling, strict=True), weight="coupling")
    alone, _ = best(build)
    networkx, _ = best(lambda: unroll(from_networkx(source)[0].model))
    return {"run": alone / (CHAIN - 1), "networkx": networkx / (CHAIN - 1)}


def million_edges_case() -> dict[str, float]:
    """A grid of 10^7 edges beside one of 10^6 (an edge is a variable in a factor): build, 10 sweeps, memory."""
    report = {}
    infer(spins(*grid(20)), schedule="flooding")
    for name, size in (("small", 500), ("large", 1581)):
        field, i, j, coupling = grid(size)
        build, graph = best(lambda p=(field, i, j, coupling): spins(*p), 1)
        run, _ = best(lambda g=graph: infer(g, schedule="flooding", max_sweeps=10, tolerance=0), 1)
        report |= {f"{name}_edges": graph.edges, f"{name}_build": build, f"{name}_run": run}
        report[f"{name}_memory"] = peak_memory()
    return report


def import_case() -> dict[str, float]:
    """Seconds to import the package, and to import numpy, scipy and numba alone."""
    code = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"

    def seconds(statement: str) -> float:
        runs = [
            subprocess.run([sys.executable, "-c", code.format(statement)], capture_output=True, text=True, check=True)
        ]
        runs += [
            subprocess.run([sys.executable, "-c", code.format(statement)], capture_output=True, text=True)
            for _ in "123"
        ]
        return min(float(run.stdout) for run in runs)

    return {
        "run": seconds("from factorgraph import Graph, Pairwise, infer"),
        "alone": seconds("import numpy, scipy.sparse, scipy.special, numba"),
    }


def potts_case(states: int) -> dict[str, float]:
    """Labels on a grid, 100 flooding sweeps: processor time."""

    def built(size: int) -> Unrolled:
        field, i, j, coupling = labels(states, size)
        graph = Graph()
        c = graph.categories("c", len(field), states=states, field=field)
        graph.add(Potts(c[i], c[j], coupling=coupling))
        return unroll(graph.model)

    infer(built(10), schedule="flooding", max_sweeps=5)
    build, graph = median_processor(lambda: built(100))
    run, result = median_processor(lambda: infer(graph, schedule="flooding", max_sweeps=100, tolerance=0))
    return {"build": build, "run": run, "memory": peak_memory(), "first": float(result["c"].probabilities[0, 0])}


def gates_case() -> dict[str, float]:
    """OR of a thousand spins, a hundred times, 100 flooding sweeps: processor time."""
    field, parents = gates()
    graph = Graph()
    s = graph.spins("s", field.size, field=0.5 * field)
    children = np.arange(field.size - len(parents), field.size)
    graph.add(Logical(*s[np.concatenate([parents, children[:, None]], axis=1)].columns, relation="or"))
    whole = unroll(graph.model)
    infer(whole, schedule="flooding", max_sweeps=2)
    run, result = median_processor(lambda: infer(whole, schedule="flooding", max_sweeps=100, tolerance=0))
    return {"run": run, "memory": peak_memory(), "first": float(0.5 + 0.5 * result["s"].mean[children[0]])}


CASES = {
    **{f"potts-{q}": (lambda q=q: potts_case(q)) for q in (2, 8, 32)},
    "gates": gates_case,
    "grid": grid_case,
    "glass": glass_case,
    "tree": tree_case,
    "chain": chain_case,
    "gaussian-grid": gaussian_grid_case,
    "one-by-one": one_by_one_case,
    "ten-million-edges": million_edges_case,
    "import": import_case,
}

if __name__ == "__main__":
    print(json.dumps(CASES[sys.argv[1]]()))
