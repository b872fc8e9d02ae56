"""Limits of the machine, measured on the spot with the libraries and threads in use."""

from collections.abc import Callable
from math import inf
from time import perf_counter

from deepnet.cost import Limits

#: Rows and columns of the product that is timed.
SIZE = 2048

#: How long everything is repeated, and how often at least.
_SECONDS, _REPEATS = 0.3, 5


def best_seconds(action: Callable[[], object]) -> float:
    """Return the shortest of some calls, after one that is not timed."""
    action()
    best, total, calls = inf, 0.0, 0
    while calls < _REPEATS or total < _SECONDS:
        start = perf_counter()
        action()
        seconds = perf_counter() - start
        best, total, calls = min(best, seconds), total + seconds, calls + 1
    return best


def limits(
    product: Callable[[], object], copy: Callable[[], object], elements: int, evaluations: float | None = None
) -> Limits:
    """From a product of two SIZE x SIZE matrices, and a copy of so many float32 elements."""
    return Limits(2.0 * SIZE**3 / best_seconds(product), 8.0 * elements / best_seconds(copy), evaluations)
