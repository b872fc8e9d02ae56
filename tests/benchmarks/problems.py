"""The problems that the engine and its peers are timed on; needs NumPy and networkx only."""

import resource
import time
from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np

GRID, CHAIN, GAUSSIAN_GRID = 500, 100_000, 316


def best(action: Callable[[], Any], repeats: int = 3) -> tuple[float, Any]:
    """Shortest time in seconds of some calls, and what the last one returned."""
    times, result = [], None
    for _ in range(repeats):
        start = time.perf_counter()
        result = action()
        times.append(time.perf_counter() - start)
    return min(times), result


def median_processor(action: Callable[[], Any], repeats: int = 3) -> tuple[float, Any]:
    """Median seconds of processor time of some calls, which a busy machine changes little, and the last result."""
    times, result = [], None
    for _ in range(repeats):
        start = time.process_time()
        result = action()
        times.append(time.process_time() - start)
    return sorted(times)[repeats // 2], result


def peak_memory() -> float:
    """Peak of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def grid(size: int = GRID) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Fields (size, size), and ends and couplings of the pairs of neighbours."""
    rng = np.random.default_rng(0)
    index = np.arange(size * size).reshape(size, size)
    i = np.concatenate([index[:-1].ravel(), index[:, :-1].ravel()])
    j = np.concatenate([index[1:].ravel(), index[:, 1:].ravel()])
    return 0.1 * rng.normal(size=(size, size)), i, j, 0.3 * rng.normal(size=i.size)


def glass(spins: int = CHAIN) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A random 3-regular graph with couplings ±0.5 and small fields."""
    rng = np.random.default_rng(0)
    ends = np.array(nx.random_regular_graph(3, spins, seed=0).edges)
    return 0.1 * rng.normal(size=spins), ends[:, 0], ends[:, 1], 0.5 * rng.choice([-1.0, 1.0], len(ends))


def tree(spins: int = CHAIN) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A random recursive tree."""
    rng = np.random.default_rng(0)
    child = np.arange(1, spins)
    parent = (rng.random(spins - 1) * child).astype(np.intp)
    return rng.normal(size=spins), parent, child, rng.normal(size=spins - 1)


def smoothing(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Data y of unit noise on a chain or grid; precision 1 + number of neighbours, and the pairs (coupling 1)."""
    y = np.random.default_rng(0).normal(size=shape)
    index, degree = np.arange(y.size).reshape(shape), np.zeros(shape)
    i, j = [], []
    for axis in range(len(shape)):
        a, b = (np.take(index, range(k, shape[axis] - 1 + k), axis) for k in (0, 1))
        i.append(a.ravel())
        j.append(b.ravel())
        np.add.at(degree.ravel(), np.concatenate([a.ravel(), b.ravel()]), 1.0)
    return y, 1.0 + degree, np.concatenate(i), np.concatenate(j)


def labels(states: int, size: int = 100) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Log-weights (size², q) of labels on a grid, and the pairs of neighbours with their Potts couplings."""
    _, i, j, coupling = grid(size)
    return np.random.default_rng(1).normal(size=(size * size, states)), i, j, 2.0 * coupling


def gates(arity: int = 1000, count: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds of spins of which each gate has some as parents, (count, arity), and the spin that is their OR."""
    rng = np.random.default_rng(2)
    field = rng.normal(-4.0, 1.0, 20 * arity + count)
    return field, np.stack([rng.choice(20 * arity, arity, replace=False) for _ in range(count)])
