"""Matrix products of float32 layers, split by outputs over the threads of the other loops.

One pool of threads does everything: a second one, that of the linear algebra library, would make both wait for each
other. The library's own threads are to be limited to one (``one_thread_each``) where these products run.
"""

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import scipy.linalg  # noqa: F401  (loads the library whose products Numba calls, so that its threads can be limited)
from numba import njit, prange
from threadpoolctl import threadpool_limits

from factorgraph.dense.state import Array

#: Multiply-adds below which a second thread costs more than it saves.
_SMALL = 1 << 16


def one_thread_each() -> AbstractContextManager[Any]:
    """While it is entered, every call of the linear algebra library keeps to its own thread."""
    return threadpool_limits(1, user_api="blas")


def threads_for(work: int, threads: int) -> int:
    """How many of the ``threads`` a product of ``work`` multiply-adds is worth."""
    return 1 if work < _SMALL else threads


def times(W: Array, x: Array, threads: int) -> Array:
    """Σ_i W_ki x_in, (outputs, samples)."""
    out = np.empty((W.shape[0], x.shape[1]), W.dtype)
    _times(W, x, out, threads_for(W.size * x.shape[1], threads))
    return out


def times_transposed(W: Array, g: Array, threads: int) -> Array:
    """Σ_k W_ki g_kn, (inputs, samples)."""
    threads = threads_for(W.size * g.shape[1], threads)
    parts = np.empty((threads, W.shape[1], g.shape[1]), W.dtype)
    _times_transposed(W, g, parts)
    return parts[0]


def outer(g: Array, x: Array, out: Array, threads: int) -> None:
    """Σ_n g_kn x_in, (outputs, inputs)."""
    _outer(g, x.T, out, threads_for(out.size * x.shape[1], threads))


@njit(cache=True, parallel=True)
def _times(W: Any, x: Any, out: Any, threads: int) -> None:
    rows = W.shape[0]
    for thread in prange(threads):
        start, stop = thread * rows // threads, (thread + 1) * rows // threads
        np.dot(W[start:stop], x, out[start:stop])


@njit(cache=True, parallel=True)
def _outer(g: Any, x_transposed: Any, out: Any, threads: int) -> None:
    rows = g.shape[0]
    for thread in prange(threads):
        start, stop = thread * rows // threads, (thread + 1) * rows // threads
        np.dot(g[start:stop], x_transposed, out[start:stop])


@njit(cache=True, parallel=True)
def _times_transposed(W: Any, g: Any, parts: Any) -> None:
    """Each thread takes some outputs k; the parts are added into the first."""
    rows, threads = W.shape[0], parts.shape[0]
    for thread in prange(threads):
        start, stop = thread * rows // threads, (thread + 1) * rows // threads
        np.dot(W[start:stop].T, g[start:stop], parts[thread])
    inputs = parts.shape[1]
    if threads > 1:
        for thread in prange(threads):
            for i in range(thread * inputs // threads, (thread + 1) * inputs // threads):
                for other in range(1, threads):
                    for j in range(parts.shape[2]):
                        parts[0, i, j] += parts[other, i, j]
