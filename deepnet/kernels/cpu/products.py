"""Matrix products of float32 layers, split by outputs over the threads of the other loops.

One pool of threads does everything: a second one, that of the linear algebra library, would make both wait for each
other. Products are computed by tiles or on AMX, block by block; only ``outer`` without AMX is left to
the library, split over the threads, and its own threads are to be limited to one (``ONE_THREAD``) meanwhile.

The regions are short. A thread that waits for the next one by spinning for milliseconds, as OpenMP has it by default,
uses up its share of a core that other processes want too, and then all wait for it: with one busy core of two that
takes five times as long. So it is to spin for some 150 µs, which is enough between the regions of a batch, and then
sleep, unless the environment says otherwise.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange

from deepnet.kernels.cpu import amx, tile
from deepnet.kernels.cpu.tile import AS_IS, BLOCK, FIRST, NEXT, POSITIVES, SAMPLES, TRANSPOSED, VALUES
from factorgraph.dense.state import Array
from factorgraph.runtime.compiled import njit

if "OMP_WAIT_POLICY" not in os.environ:  # read when the first parallel loop starts the threads
    os.environ["OMP_WAIT_POLICY"] = "passive"
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # of GNU's OpenMP, where it overrides the policy

parallel: Callable[..., Any] = njit(cache=True, error_model="numpy", parallel=True)

#: Multiply-adds below which a second thread costs more than it saves.
_SMALL = 1 << 16


compiled: Callable[..., Any] = njit(cache=True, error_model="numpy")

#: Rows, depth and columns from which a product is one for AMX: its tiles are filled up with zeros, and
#: rounded terms are many enough to average out.
_AMX_SIDE = 64


def uses_amx(*sides: int) -> bool:
    """Return whether a product of these rows, depth and columns is one for AMX."""
    return amx.AVAILABLE and min(sides) >= _AMX_SIDE


@compiled
def panels_of(right, given, kind, start, stop, on_amx):
    """Pack the panels of ``deepnet.kernels.cpu.amx`` if the product is for AMX, else those of ``tile``."""
    if on_amx:
        return amx.panels_of(right, given, kind, start, stop)
    return tile.panels_of(right, given, kind, start, stop)


@compiled
def rows_of_product(left, kind, start, stop, row, step, begin, panels, out, to, column, on_amx):
    """Compute rows on ``deepnet.kernels.cpu.amx`` if the product is for AMX, else by ``tile``."""
    if on_amx:
        amx.rows_of_product(left, kind, start, stop, row, step, begin, panels, out, to, column)
    else:
        tile.rows_of_product(left, kind, start, stop, row, step, begin, panels, out, to, column)


def threads_worth(weights: Array, samples: int, threads: int) -> int:
    """Return how many of the threads a product of these weights and as many samples is worth."""
    return 1 if weights.size * samples < _SMALL else threads


def times(W: Array, x: Array, threads: int, *, coarse: bool = False) -> Array:
    """Return Σ_i W_ki x_in, (outputs, samples), of terms that may be ``coarse``: see ``Operations.times``."""
    out = np.empty((W.shape[0], x.shape[1]), W.dtype)
    _times(W, x, out, _kind(coarse), uses_amx(*W.shape, x.shape[1]), threads_worth(W, x.shape[1], threads))
    return out


def times_transposed(W: Array, g: Array, threads: int, *, coarse: bool = False) -> Array:
    """Return Σ_k W_ki g_kn, (inputs, samples)."""
    out = np.empty((W.shape[1], g.shape[1]), W.dtype)
    _times_transposed(W, g, out, _kind(coarse), uses_amx(*W.shape, g.shape[1]), threads_worth(W, g.shape[1], threads))
    return out


def outer(g: Array, x: Array, out: Array, threads: int, *, coarse: bool = False) -> None:
    """Σ_n g_kn x_in, (outputs, inputs); without AMX by the library, as fast where the depth is so small."""
    threads = threads_worth(out, g.shape[1], threads)
    if uses_amx(*out.shape, g.shape[1]):
        _outer(g, x, out, _kind(coarse), threads)
    else:
        _outer_by_library(g, x, out, threads)


def _kind(coarse: bool) -> np.int64:
    """Return how factors are read: of POSITIVES, one product on AMX in place of three, also where some are negative."""
    return POSITIVES if coarse else VALUES


@parallel
def _times(W: Any, x: Any, out: Any, kind: int, on_amx: bool, threads: int) -> None:
    rows, depth = W.shape
    for thread in prange(threads):
        start, stop = thread * rows // threads, (thread + 1) * rows // threads
        for sample in range(FIRST, x.shape[1], SAMPLES):
            end = min(sample + SAMPLES, x.shape[1])
            for begin in range(FIRST, depth, BLOCK):
                panels = panels_of(x[begin : begin + BLOCK], AS_IS, kind, sample, end, on_amx)
                rows_of_product(W, kind, start, stop, depth, NEXT, begin, panels, out, start, sample, on_amx)


@parallel
def _times_transposed(W: Any, g: Any, out: Any, kind: int, on_amx: bool, threads: int) -> None:
    depth, rows = W.shape
    for thread in prange(threads):
        start, stop = thread * rows // threads, (thread + 1) * rows // threads
        for sample in range(FIRST, g.shape[1], SAMPLES):
            end = min(sample + SAMPLES, g.shape[1])
            for begin in range(FIRST, depth, BLOCK):
                panels = panels_of(g[begin : begin + BLOCK], AS_IS, kind, sample, end, on_amx)
                rows_of_product(W, kind, start, stop, NEXT, rows, begin, panels, out, start, sample, on_amx)


@parallel
def _outer(g: Any, x: Any, out: Any, kind: int, threads: int) -> None:
    rows, samples = g.shape
    for thread in prange(threads):
        start, stop = thread * rows // threads, (thread + 1) * rows // threads
        for sample in range(FIRST, samples, SAMPLES):
            panels = amx.panels_of(x, TRANSPOSED, kind, sample, min(sample + SAMPLES, samples))
            amx.rows_of_product(g, kind, start, stop, samples, NEXT, sample, panels, out, start, FIRST)


@parallel
def _outer_by_library(g: Any, x: Any, out: Any, threads: int) -> None:
    rows = g.shape[0]
    for thread in prange(threads):
        start, stop = thread * rows // threads, (thread + 1) * rows // threads
        np.dot(g[start:stop], x.T, out[start:stop])
