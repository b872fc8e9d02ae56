"""Limits of the machine for message passing: NumPy's products or our own, and loops compiled by Numba."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import get_num_threads

from deepnet.bench.limits import SIZE, Limits, best_seconds, limits
from deepnet.kernels.cpu import products
from deepnet.kernels.cpu.float32 import FAST, exp32, f32, sign_g32
from factorgraph.runtime.parallel import shared

#: Elements a thread of the loop over g: they stay in its cache.
_CACHED = 1 << 12

#: Passes over them in one call.
_REPEATS = 64

loop: Callable[..., Any] = shared(error_model="numpy", fastmath=FAST)


def measure(weights: int) -> Limits:
    """With the threads of this process.

    Args:
        weights: elements of the array that is copied.
    """
    threads, rng = get_num_threads(), np.random.default_rng(0)
    a, b = rng.standard_normal((2, SIZE, SIZE), np.float32)
    product = np.empty_like(a)
    source, target = rng.standard_normal((2, weights), np.float32)
    fastest = min(lambda: np.matmul(a, b, out=product), lambda: products.times(a, b, threads), key=best_seconds)
    return limits(fastest, lambda: _copy(source, target, threads), weights, _evaluations(threads))


def _evaluations(threads: int) -> float:
    """Return the evaluations of g a second."""
    t, c = np.random.default_rng(0).standard_normal((2, threads, _CACHED), np.float32)
    g = np.empty_like(t)
    return _REPEATS * t.size / best_seconds(lambda: _evaluate(t, c, g, _REPEATS, threads))


@loop
def _copy(source: Any, target: Any, thread: int, threads: int) -> None:
    for i in range(thread * source.size // threads, (thread + 1) * source.size // threads):
        target[i] = source[i]


@loop
def _evaluate(t: Any, c: Any, out: Any, repeats: int, thread: int, threads: int) -> None:
    """√V g of sign units with messages of log-odds c, one row a thread."""
    for repeat in range(repeats):
        shift = f32(repeat)
        for j in range(t.shape[1]):
            log_odds = c[thread, j] + shift
            eps = exp32(max(-abs(log_odds), f32(-87.0)))
            strength = (f32(1.0) - eps) if log_odds >= f32(0.0) else (eps - f32(1.0))
            out[thread, j] = sign_g32(t[thread, j], log_odds, eps, strength)
