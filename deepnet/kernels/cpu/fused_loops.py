"""Parallel float32 loops over layers of sign units and ±1 weights: one pass over memory each, in vector instructions.

``threads`` share the rows of an array: each owns some, so that elementwise results do not depend on their number.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from deepnet.kernels.cpu.float32 import (
    FAST,
    f32,
    free_sign_moments32,
    in_widest_vectors,
    inlined,
    rival32,
    sign_derivatives32,
    sign_moments32,
    update_spin32,
)
from deepnet.kernels.cpu.products import panels_of, rows_of_product, share, shares_samples
from deepnet.kernels.cpu.tile import (
    AS_IS,
    BLOCK,
    FIRST,
    NEXT,
    POSITIVES,
    SAMPLES,
    SQUARES,
    TRANSPOSED,
    VALUES,
    VARIANCES,
    put,
)
from factorgraph.dense.state import Array
from factorgraph.runtime.compiled import njit
from factorgraph.runtime.parallel import shared

#: Numbers in a line of the cache, so that lines of transposed data are written whole.
_LINE = 16

#: Rows of the messages to weights computed at once.
STRIP = 64

loop: Callable[..., Any] = shared(error_model="numpy", fastmath=FAST)


# --- samples ----------------------------------------------------------------------------------------------------------


@loop
def gather(data: Any, chosen: Any, x: Any, thread: int, threads: int) -> None:
    """x_in = data_{chosen n, i}."""
    inputs, samples = x.shape
    start, stop = thread * inputs // threads, (thread + 1) * inputs // threads
    # A line of samples at a time for all inputs of the thread, so that the rows of the data stay in the cache.
    for first in range(0, samples, _LINE):
        for i in range(start, stop):
            for n in range(first, min(first + _LINE, samples)):
                x[i, n] = data[chosen[n], i]


# --- units ------------------------------------------------------------------------------------------------------------


@loop
def sign_moments(B: Any, omega: Any, V: Any, mean: Any, variance: Any, thread: int, threads: int) -> None:
    """x̂ and Δ of sign units that receive the fields B."""
    rows = omega.shape[0]
    in_widest_vectors()
    for k in range(thread * rows // threads, (thread + 1) * rows // threads):
        _sign_moments(B[k], omega[k], V[k], mean[k], variance[k])


@inlined
def _sign_moments(B: Any, omega: Any, V: Any, mean: Any, variance: Any) -> None:
    for j in range(omega.shape[0]):
        mean[j], variance[j] = sign_moments32(B[j], omega[j], V[j])


@loop
def free_sign_moments(omega: Any, V: Any, mean: Any, variance: Any, thread: int, threads: int) -> None:
    """x̂ and Δ of sign units that receive no message."""
    rows = omega.shape[0]
    in_widest_vectors()
    for k in range(thread * rows // threads, (thread + 1) * rows // threads):
        _free_sign_moments(omega[k], V[k], mean[k], variance[k])


@inlined
def _free_sign_moments(omega: Any, V: Any, mean: Any, variance: Any) -> None:
    for j in range(omega.shape[0]):
        mean[j], variance[j] = free_sign_moments32(omega[j], V[j])


@loop
def sign_derivatives(B: Any, omega: Any, V: Any, g: Any, gamma: Any, thread: int, threads: int) -> None:
    """g and Γ of sign units that receive the fields B: ±1e30 where they are observed."""
    rows = omega.shape[0]
    in_widest_vectors()
    for k in range(thread * rows // threads, (thread + 1) * rows // threads):
        _sign_derivatives(B[k], omega[k], V[k], g[k], gamma[k])


@inlined
def _sign_derivatives(B: Any, omega: Any, V: Any, g: Any, gamma: Any) -> None:
    for j in range(omega.shape[0]):
        g[j], gamma[j] = sign_derivatives32(B[j], omega[j], V[j])


@njit(cache=True, error_model="numpy", fastmath=FAST)
def argmax_derivatives(y: Any, omega: Any, V: Any, g: Any, gamma: Any) -> None:
    """g and Γ of an argmax output, each rival of the label by itself [DL, eqs. 132-133]."""
    classes, samples = omega.shape
    omega_y, V_y = np.empty(samples, f32), np.empty(samples, f32)
    g_y, gamma_y = np.zeros(samples, f32), np.zeros(samples, f32)
    # omega and V of the label of every sample.
    for j in range(samples):
        omega_y[j], V_y[j] = omega[y[j], j], V[y[j], j]
    # Rivals: g_k = -K(a)/s and Γ_k = K(a)(K(a) - a)/s² with s² = V_k + V_y, a = (omega_k - omega_y)/s. The label
    # itself is computed like a rival, branch-free, and counts 0.
    for k in range(classes):
        for j in range(samples):
            inverse = f32(1.0) / np.sqrt(V[k, j] + V_y[j])
            slope, curvature = rival32(omega[k, j] - omega_y[j], inverse)
            rival = f32(0.0) if y[j] == k else f32(1.0)
            g[k, j] = -rival * slope
            gamma[k, j] = rival * curvature
            g_y[j] -= g[k, j]
            gamma_y[j] += gamma[k, j]
    # The label: g_y = -Σ g_k, as only differences of omega matter.
    for j in range(samples):
        g[y[j], j], gamma[y[j], j] = g_y[j], gamma_y[j]


# --- edges ------------------------------------------------------------------------------------------------------------


@loop
def add_product(target: Any, a: Any, b: Any, thread: int, threads: int) -> None:
    """target += a b."""
    rows = target.shape[0]
    in_widest_vectors()
    for k in range(thread * rows // threads, (thread + 1) * rows // threads):
        _add_product(target[k], a[k], b[k])


@inlined
def _add_product(target: Any, a: Any, b: Any) -> None:
    for i in range(target.shape[0]):
        target[i] += a[i] * b[i]


@loop
def update_spins(
    H_in: Any, base: Any, H: Any, m: Any, beta: Any, rho: Any, r: Any, alpha: Any, thread: int, threads: int
) -> None:
    """New fields and means of ±1 weights, in place; ``base`` has no rows if ``rho`` is 0."""
    rows = H.shape[0]
    in_widest_vectors()
    for k in range(thread * rows // threads, (thread + 1) * rows // threads):
        prior = base[k] if base.shape[0] > 0 else H_in[k]  # of weight 0
        _update_row(H_in[k], prior, H[k], m[k], beta, rho, r, alpha)


@inlined
def _update_row(H_in: Any, base: Any, H: Any, m: Any, beta: Any, rho: Any, r: Any, alpha: Any) -> None:
    for i in range(H.shape[0]):
        H[i], m[i] = update_spin32(H_in[i], base[i], H[i], m[i], beta, rho, r, alpha)


@loop
def erase(values: Any, mask: Any, thread: int, threads: int) -> None:
    """Zero where the mask is False."""
    rows = values.shape[0]
    in_widest_vectors()
    for k in range(thread * rows // threads, (thread + 1) * rows // threads):
        for i in range(values.shape[1]):
            values[k, i] = values[k, i] if mask[k, i] else f32(0.0)


# --- whole layers -----------------------------------------------------------------------------------------------------


@loop
def preactivations(
    m: Any,
    x: Any,
    delta: Any,
    floor: Any,
    omega: Any,
    V: Any,
    mean: Any,
    variance: Any,
    on_amx: bool,
    thread: int,
    threads: int,
) -> None:
    """omega = Σ m x̂ and V = Σ σ x̂² + Σ Δ, at least ``floor``; ``delta`` has no rows where the inputs are known.

    Also the moments of sign units that receive no message, unless ``mean`` and ``variance`` have no rows.
    """
    (rows, inputs), samples = m.shape, x.shape[1]
    in_widest_vectors()
    start, stop = thread * rows // threads, (thread + 1) * rows // threads
    first_sample, last_sample = FIRST, samples
    if shares_samples(samples, threads):
        start, stop = FIRST, rows
        first_sample, last_sample = share(samples, SAMPLES, thread, threads)
    total = _column_sums(delta)  # Σ_i Δ_in, since m² + σ = 1
    for sample in range(first_sample, last_sample, SAMPLES):
        end = min(sample + SAMPLES, last_sample)
        for begin in range(FIRST, inputs, BLOCK):
            # Panels of x̂ and x̂² for a block of inputs, in the second-level cache.
            part = x[begin : begin + BLOCK]
            panels = panels_of(part, AS_IS, VALUES, sample, end, on_amx)
            squares = panels_of(part, AS_IS, SQUARES, sample, end, on_amx)
            for first in range(start, stop, STRIP):
                # omega += m x̂ and V += (1 - m²) x̂² [DL, eqs. 89, 88], for a strip of outputs.
                last = min(first + STRIP, stop)
                rows_of_product(m, VALUES, first, last, inputs, NEXT, begin, panels, omega, first, sample, on_amx)
                rows_of_product(m, VARIANCES, first, last, inputs, NEXT, begin, squares, V, first, sample, on_amx)
                # After the last block: V is whole, and so are the moments that follow from it.
                if begin + BLOCK >= inputs:
                    for k in range(first, last):
                        _finish_variance(V[k, sample:end], total[sample:end], floor)
                    for k in range(first, min(last, mean.shape[0])):
                        own = omega[k, sample:end], V[k, sample:end]
                        _free_sign_moments(*own, mean[k, sample:end], variance[k, sample:end])


@inlined
def _finish_variance(V: Any, total: Any, floor: Any) -> None:
    for j in range(V.shape[0]):
        V[j] = max(V[j] + total[j], floor)


def send_and_receive(
    g: Array,
    gamma: Array,
    x: Array,
    amp: bool,
    base: Array,
    H: Array,
    m: Array,
    beta: np.float32,
    rho: np.float32,
    r: np.float32,
    alpha: np.float32,
    B: Array,
    omega: Array,
    V: Array,
    g_below: Array,
    gamma_below: Array,
    on_amx: bool,
    threads: int,
) -> None:
    """B = Σ m g, for ``amp`` with x̂ Σ (1 - σ)Γ, unless it has no rows; then new weights from H_in = Σ x̂ g.

    Also g and Γ of the sign units below, with their ``omega`` and ``V``: as many as these have rows. ``base`` has no
    rows if ``rho`` is 0. Each thread sends and receives for its own outputs, whose weights are in its cache, of which
    there must be some; then the parts of B are added. Where samples are many, each sends for its own samples, and then
    receives for its own inputs.
    """
    receiving = g, gamma, x, amp, base, H, m, beta, rho, r, alpha
    if len(B) and shares_samples(x.shape[1], threads):
        _send_of_samples(g, gamma, x, m, amp, B, omega, V, g_below, gamma_below, on_amx, threads)
        _send_and_receive(*receiving, np.empty((threads, 0, 0), f32), on_amx, threads)
        return
    parts = np.empty((threads, *B.shape), f32)
    _send_and_receive(*receiving, parts, on_amx, threads)
    if len(B):
        _sum_of_parts(parts, B, omega, V, g_below, gamma_below, threads)


@loop
def _send_of_samples(
    g: Any,
    gamma: Any,
    x: Any,
    m: Any,
    amp: bool,
    B: Any,
    omega: Any,
    V: Any,
    g_below: Any,
    gamma_below: Any,
    on_amx: bool,
    thread: int,
    threads: int,
) -> None:
    in_widest_vectors()
    start, stop = share(x.shape[1], SAMPLES, thread, threads)
    _send(g, gamma, x, m, amp, start, stop, B, on_amx)
    for i in range(omega.shape[0]):
        own = g_below[i, start:stop], gamma_below[i, start:stop]
        _sign_derivatives(B[i, start:stop], omega[i, start:stop], V[i, start:stop], *own)


@loop
def _send_and_receive(
    g: Any,
    gamma: Any,
    x: Any,
    amp: bool,
    base: Any,
    H: Any,
    m: Any,
    beta: Any,
    rho: Any,
    r: Any,
    alpha: Any,
    parts: Any,
    on_amx: bool,
    thread: int,
    threads: int,
) -> None:
    in_widest_vectors()
    rows, (inputs, samples) = m.shape[0], x.shape
    start, stop = thread * rows // threads, (thread + 1) * rows // threads
    left, right = FIRST, inputs
    if shares_samples(samples, threads):
        start, stop = FIRST, rows
        left, right = thread * inputs // threads, (thread + 1) * inputs // threads
    # First the message down, with the old weights; then the weights themselves.
    if parts.shape[1] > 0:
        _send(g[start:stop], gamma[start:stop], x, m[start:stop], amp, FIRST, samples, parts[thread], on_amx)
    own = base[start:stop] if base.shape[0] > 0 else base
    weights = H[start:stop], m[start:stop], beta, rho, r, alpha
    _receive(g[start:stop], gamma[start:stop], x, amp, own, *weights, left, right, on_amx)


@loop
def _sum_of_parts(
    parts: Any, B: Any, omega: Any, V: Any, g_below: Any, gamma_below: Any, thread: int, threads: int
) -> None:
    """B is the sum of what the threads sent, in a fixed order; g and Γ of the unit below follow at once."""
    in_widest_vectors()
    inputs = B.shape[0]
    for i in range(thread * inputs // threads, (thread + 1) * inputs // threads):
        for other in range(parts.shape[0]):
            put(parts[other, i], B[i], other > 0)
        if i < omega.shape[0]:
            _sign_derivatives(B[i], omega[i], V[i], g_below[i], gamma_below[i])


@inlined
def _send(g: Any, gamma: Any, x: Any, m: Any, amp: bool, start: int, stop: int, B: Any, on_amx: bool) -> None:
    """What some outputs send of samples start..stop; (1 - σ)Γ is what m x̂ Γ in g_{kn→i} ≈ g + m x̂ Γ adds."""
    outputs, inputs = m.shape
    reaction = np.empty((STRIP if amp else 0, SAMPLES), f32)
    for sample in range(start, stop, SAMPLES):
        end = min(sample + SAMPLES, stop)
        for begin in range(FIRST, outputs, BLOCK):
            # Panels of g, and for the reaction of Γ with Σ_k Γ: m² = 1 - σ.
            part = gamma[begin : begin + BLOCK] if amp else gamma[:0]
            panels = panels_of(g[begin : begin + BLOCK], AS_IS, VALUES, sample, end, on_amx)
            squares, total = panels_of(part, AS_IS, POSITIVES, sample, end, on_amx), _column_sums(part)
            for first in range(FIRST, inputs, STRIP):
                # B += mᵀ g [DL, eq. 93], for a strip of inputs.
                last = min(first + STRIP, inputs)
                rows_of_product(m, VALUES, first, last, NEXT, inputs, begin, panels, B, first, sample, on_amx)
                # B += x̂ Σ m²Γ, the part of AMP's B without an earlier iteration.
                if amp:
                    own = m[begin:], VARIANCES, first, last, NEXT, inputs, FIRST
                    rows_of_product(*own, squares, reaction, FIRST, FIRST, on_amx)
                    for i in range(first, last):
                        _add_reaction(B[i, sample:end], x[i, sample:end], total[sample:end], reaction[i - first])


@inlined
def _add_reaction(B: Any, x: Any, total: Any, reaction: Any) -> None:
    for j in range(B.shape[0]):
        B[j] += x[j] * (total[j] - reaction[j])


@inlined
def _column_sums(values: Any) -> Any:
    total = np.zeros(values.shape[1], np.float32)
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            total[j] += values[i, j]
    return total


@inlined
def _receive(
    g: Any,
    gamma: Any,
    x: Any,
    amp: bool,
    base: Any,
    H: Any,
    m: Any,
    beta: Any,
    rho: Any,
    r: Any,
    alpha: Any,
    left: int,
    right: int,
    on_amx: bool,
) -> None:
    """New weights of inputs left..right from H_in = Σ x̂ g, for ``amp`` with m Σ x̂² Γ.

    A few rows of H_in at a time, in cache; all of them where the samples come in several blocks.
    """
    outputs, samples = m.shape[0], x.shape[1]
    rows = outputs if samples > SAMPLES else min(STRIP, outputs)
    for begin in range(left, right, BLOCK):
        columns = slice(begin, min(begin + BLOCK, right))
        part = x[columns]
        H_in, reaction = np.empty((rows, part.shape[0]), f32), np.empty((rows if amp else 0, part.shape[0]), f32)
        for sample in range(FIRST, samples, SAMPLES):
            end = min(sample + SAMPLES, samples)
            # Panels of x̂ᵀ and, for the reaction, of its squares.
            panels = panels_of(part, TRANSPOSED, VALUES, sample, end, on_amx)
            squares = panels_of(part if amp else part[:0], TRANSPOSED, SQUARES, sample, end, on_amx)
            for first in range(FIRST, outputs, STRIP):
                # H_in += g x̂ᵀ [DL, eq. 95], for a strip of outputs.
                last, to = min(first + STRIP, outputs), first if samples > SAMPLES else FIRST
                rows_of_product(g, VALUES, first, last, samples, NEXT, sample, panels, H_in, to, FIRST, on_amx)
                if amp:
                    own = gamma, POSITIVES, first, last, samples, NEXT, sample
                    rows_of_product(*own, squares, reaction, to, FIRST, on_amx)
                # After the last samples: the message is whole, new fields and means.
                if end == samples:
                    for k in range(first, last):
                        message = H_in[to + k - first]
                        if amp:
                            _add_product(message, m[k, columns], reaction[to + k - first])
                        prior = base[k, columns] if base.shape[0] > 0 else message
                        _update_row(message, prior, H[k, columns], m[k, columns], beta, rho, r, alpha)
