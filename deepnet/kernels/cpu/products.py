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
from numba.extending import register_jitable

from deepnet.kernels.cpu import amx, tile
from deepnet.kernels.cpu.tile import AS_IS, BLOCK, FIRST, NEXT, POSITIVES, SAMPLES, TRANSPOSED, VALUES
from factorgraph.dense.state import Array
from factorgraph.runtime.compiled import njit
from factorgraph.runtime.parallel import shared

if "OMP_WAIT_POLICY" not in os.environ:  # read when the first parallel loop starts the threads
    os.environ["OMP_WAIT_POLICY"] = "passive"
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # of GNU's OpenMP, where it overrides the policy

parallel: Callable[..., Any] = shared(error_model="numpy")

#: Multiply-adds below which a second thread costs more than it saves.
_SMALL = 1 << 16


compiled: Callable[..., Any] = njit(part=True, error_model="numpy")

#: Known while code is compiled, which has none of what this processor cannot do.
_AMX_COMPILED = amx.COMPILED

#: Rows, depth and columns from which a product is one for AMX: its tiles are filled up with zeros, and
#: rounded terms are many enough to average out.
_AMX_SIDE = 64


def uses_amx(*sides: int) -> bool:
    """Return whether a product of these rows, depth and columns is one for AMX."""
    return amx.AVAILABLE and min(sides) >= _AMX_SIDE


@compiled
def panels_of(right, given, kind, start, stop, on_amx):
    """Pack the panels of ``deepnet.kernels.cpu.amx`` if the product is for AMX, else those of ``tile``."""
    if _AMX_COMPILED and on_amx:
        return amx.panels_of(right, given, kind, start, stop)
    return tile.panels_of(right, given, kind, start, stop)


@compiled
def rows_of_product(left, kind, start, stop, row, step, begin, panels, out, to, column, on_amx):
    """Compute rows on ``deepnet.kernels.cpu.amx`` if the product is for AMX, else by ``tile``."""
    if _AMX_COMPILED and on_amx:
        amx.rows_of_product(left, kind, start, stop, row, step, begin, panels, out, to, column)
    else:
        tile.rows_of_product(left, kind, start, stop, row, step, begin, panels, out, to, column)


@register_jitable
def shares_samples(samples: int, threads: int) -> Any:
    """Return whether there are enough samples for threads to share these instead of outputs: each packs its own panels
    then, and not all of them for its own outputs."""
    return threads > 1 and samples >= threads * SAMPLES


@register_jitable
def share(count: Any, unit: Any, thread: int, threads: int) -> Any:
    """Return the part of a thread of so many numbers, whole units but at the end: panels are padded to some width, and
    what pads them must not be another's."""
    units = (count + unit - 1) // unit
    return min(thread * units // threads * unit, count), min((thread + 1) * units // threads * unit, count)


def threads_worth(weights: Array, samples: int, threads: int) -> int:
    """Return how many of the threads a product of these weights and as many samples is worth."""
    return 1 if weights.size * samples < _SMALL else threads


def times(W: Array, x: Array, threads: int, *, coarse: bool = False) -> Array:
    """Return Σ_i W_ki x_in, (outputs, samples), of terms that may be ``coarse``: see ``Operations.times``."""
    out = np.empty((W.shape[0], x.shape[1]), W.dtype)
    _fill(W, W.shape[1], 1, x, out, threads, coarse)
    return out


def times_transposed(W: Array, g: Array, threads: int, *, coarse: bool = False) -> Array:
    """Return Σ_k W_ki g_kn, (inputs, samples)."""
    out = np.empty((W.shape[1], g.shape[1]), W.dtype)
    _fill(W, 1, W.shape[1], g, out, threads, coarse)
    return out


def _fill(left: Array, row: int, step: int, right: Array, out: Array, threads: int, coarse: bool) -> None:
    on_amx, threads = uses_amx(*left.shape, right.shape[1]), threads_worth(left, right.shape[1], threads)
    _product(left, row, step, right, out, _kind(coarse), on_amx, threads)


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
def _product(
    left: Any, row: int, step: int, right: Any, out: Any, kind: int, on_amx: bool, thread: int, threads: int
) -> None:
    """Row k and depth p of the left-hand factor are at k·row + p·step, one of which is 1."""
    rows, (depth, samples) = out.shape[0], right.shape
    start, stop = thread * rows // threads, (thread + 1) * rows // threads
    first, last = FIRST, samples
    if shares_samples(samples, threads):
        start, stop = FIRST, rows
        first, last = share(samples, SAMPLES, thread, threads)
    for sample in range(first, last, SAMPLES):
        end = min(sample + SAMPLES, last)
        for begin in range(FIRST, depth, BLOCK):
            panels = panels_of(right[begin : begin + BLOCK], AS_IS, kind, sample, end, on_amx)
            rows_of_product(left, kind, start, stop, row, step, begin, panels, out, start, sample, on_amx)


@parallel
def _outer(g: Any, x: Any, out: Any, kind: int, thread: int, threads: int) -> None:
    """Each thread has some of the inputs, since packing those takes longer than packing outputs."""
    (rows, samples), inputs = g.shape, x.shape[0]
    start, stop = share(inputs, amx.WIDTH, thread, threads)
    for sample in range(FIRST, samples, SAMPLES):
        panels = amx.panels_of(x[start:stop], TRANSPOSED, kind, sample, min(sample + SAMPLES, samples))
        amx.rows_of_product(g, kind, FIRST, rows, samples, NEXT, sample, panels, out, FIRST, start)


@parallel
def _outer_by_library(g: Any, x: Any, out: Any, thread: int, threads: int) -> None:
    rows = g.shape[0]
    start, stop = thread * rows // threads, (thread + 1) * rows // threads
    np.dot(g[start:stop], x.T, out[start:stop])
