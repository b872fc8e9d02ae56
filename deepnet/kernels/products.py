"""Matrix products of float32 layers, split by outputs over the threads of the other loops.

One pool of threads does everything: a second one, that of the linear algebra library, would make both wait for each
other. Products of moderate depth are computed by tiles, others by the library, split over the threads; its own threads
are to be limited to one (``one_thread_each``) meanwhile.

The regions are short. A thread that waits for the next one by spinning for milliseconds, as OpenMP has it by default,
uses up its share of a core that other processes want too, and then all wait for it: with one busy core of two that
takes five times as long. So it is to spin for some 50 µs, no longer than to fall asleep and be woken takes, and then
sleep, unless the environment says otherwise.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import scipy.linalg  # noqa: F401  (loads the library whose products Numba calls, so that its threads can be limited)
from numba import njit, prange
from threadpoolctl import threadpool_limits

from deepnet.kernels import amx, tile
from deepnet.kernels.tile import AS_IS, DEPTH, NEXT, TRANSPOSED, VALUES
from factorgraph.dense.state import Array

if "OMP_WAIT_POLICY" not in os.environ:  # read when the first parallel loop starts the threads
    os.environ["OMP_WAIT_POLICY"] = "passive"
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # of GNU's OpenMP, where it overrides the policy

parallel: Callable[..., Any] = njit(cache=True, error_model="numpy", parallel=True)

#: Multiply-adds below which a second thread costs more than it saves.
_SMALL = 1 << 16


compiled: Callable[..., Any] = njit(cache=True, error_model="numpy")

#: Rows, depth and columns from which a product is one for the matrix unit: its tiles are filled up with zeros, and
#: rounded terms are many enough to average out.
_UNIT_SIDE = 64


def one_thread_each() -> AbstractContextManager[Any]:
    """While it is entered, every call of the linear algebra library keeps to its own thread."""
    return threadpool_limits(1, user_api="blas")


def uses_unit(*sides: int) -> bool:
    """Whether a product of these rows, depth and columns is one for the matrix unit of the processor."""
    return amx.AVAILABLE and min(sides) >= _UNIT_SIDE


@compiled
def panels_of(right, given, kind, unit):
    """Of ``amx`` if the product is for the matrix unit, else of ``tile``."""
    return amx.panels_of(right, given, kind) if unit else tile.panels_of(right, given, kind)


@compiled
def rows_of_product(left, kind, start, stop, row, step, panels, out, to, unit):
    """Of ``amx`` if the product is for the matrix unit, else of ``tile``."""
    if unit:
        amx.rows_of_product(left, kind, start, stop, row, step, panels, out, to)
    else:
        tile.rows_of_product(left, kind, start, stop, row, step, panels, out, to)


def times(W: Array, x: Array, threads: int) -> Array:
    """Σ_i W_ki x_in, (outputs, samples)."""
    out = np.empty((W.shape[0], x.shape[1]), W.dtype)
    threads = _worth(W, x, threads)
    if x.shape[0] <= DEPTH:
        _times(W, x, out, uses_unit(*W.shape, x.shape[1]), threads)
    else:
        _deep_times(W, x, out, threads)
    return out


def times_transposed(W: Array, g: Array, threads: int) -> Array:
    """Σ_k W_ki g_kn, (inputs, samples)."""
    out = np.empty((W.shape[1], g.shape[1]), W.dtype)
    threads = _worth(W, g, threads)
    if g.shape[0] <= DEPTH:
        _times_transposed(W, g, out, uses_unit(*W.shape, g.shape[1]), threads)
    else:
        _deep_times_transposed(W, g, out, threads)
    return out


def outer(g: Array, x: Array, out: Array, threads: int) -> None:
    """Σ_n g_kn x_in, (outputs, inputs); without a matrix unit by the library, as fast where the depth is so small."""
    threads = _worth(out, x, threads)
    if g.shape[1] <= DEPTH and uses_unit(*out.shape, g.shape[1]):
        _outer(g, x, out, threads)
    else:
        _deep_outer(g, x, out, threads)


def _worth(W: Array, x: Array, threads: int) -> int:
    """How many of the threads a product of these weights and samples is worth."""
    return 1 if W.size * x.shape[1] < _SMALL else threads


@parallel
def _times(W: Any, x: Any, out: Any, unit: bool, threads: int) -> None:
    rows = W.shape[0]
    for thread in prange(threads):
        start, stop = thread * rows // threads, (thread + 1) * rows // threads
        panels = panels_of(x, AS_IS, VALUES, unit)
        rows_of_product(W, VALUES, start, stop, W.shape[1], NEXT, panels, out, start, unit)


@parallel
def _times_transposed(W: Any, g: Any, out: Any, unit: bool, threads: int) -> None:
    rows = W.shape[1]
    for thread in prange(threads):
        start, stop = thread * rows // threads, (thread + 1) * rows // threads
        panels = panels_of(g, AS_IS, VALUES, unit)
        rows_of_product(W, VALUES, start, stop, NEXT, W.shape[1], panels, out, start, unit)


@parallel
def _outer(g: Any, x: Any, out: Any, threads: int) -> None:
    rows = g.shape[0]
    for thread in prange(threads):
        start, stop = thread * rows // threads, (thread + 1) * rows // threads
        panels = amx.panels_of(x, TRANSPOSED, VALUES)
        amx.rows_of_product(g, VALUES, start, stop, g.shape[1], NEXT, panels, out, start)


@parallel
def _deep_times(W: Any, x: Any, out: Any, threads: int) -> None:
    rows = W.shape[0]
    for thread in prange(threads):
        start, stop = thread * rows // threads, (thread + 1) * rows // threads
        np.dot(W[start:stop], x, out[start:stop])


@parallel
def _deep_outer(g: Any, x: Any, out: Any, threads: int) -> None:
    rows = g.shape[0]
    for thread in prange(threads):
        start, stop = thread * rows // threads, (thread + 1) * rows // threads
        np.dot(g[start:stop], x.T, out[start:stop])


@parallel
def _deep_times_transposed(W: Any, g: Any, out: Any, threads: int) -> None:
    """Each thread takes some outputs k; then the parts are added."""
    rows, (inputs, samples) = W.shape[0], out.shape
    parts = np.empty((threads, inputs, samples), np.float32)
    for thread in prange(threads):
        start, stop = thread * rows // threads, (thread + 1) * rows // threads
        np.dot(W[start:stop].T, g[start:stop], parts[thread])
    for thread in prange(threads):
        for i in range(thread * inputs // threads, (thread + 1) * inputs // threads):
            out[i] = parts[0, i]
            for other in range(1, threads):
                out[i] += parts[other, i]
