"""Parallel float32 loops over layers of sign units and ±1 weights: one pass over memory each, in vector instructions.

``threads`` share the rows of an array: each owns some, so that elementwise results do not depend on their number.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, prange

from deepnet.kernels.float32 import FAST, f32, inlined, rival32, sign_derivatives32, sign_moments32, update_spin32

loop: Callable[..., Any] = njit(cache=True, error_model="numpy", parallel=True, fastmath=FAST)


# --- units ------------------------------------------------------------------------------------------------------------


@loop
def sign_moments(B: Any, omega: Any, V: Any, mean: Any, variance: Any, threads: int) -> None:
    """x̂ and Δ of sign units that receive the fields B."""
    rows = omega.shape[0]
    for thread in prange(threads):
        for k in range(thread * rows // threads, (thread + 1) * rows // threads):
            _sign_moments(B[k], omega[k], V[k], mean[k], variance[k])


@inlined
def _sign_moments(B: Any, omega: Any, V: Any, mean: Any, variance: Any) -> None:
    for j in range(omega.shape[0]):
        mean[j], variance[j] = sign_moments32(B[j], omega[j], V[j])


@loop
def sign_derivatives(B: Any, omega: Any, V: Any, g: Any, gamma: Any, threads: int) -> None:
    """g and Γ of sign units that receive the fields B: ±1e30 where they are observed."""
    rows = omega.shape[0]
    for thread in prange(threads):
        for k in range(thread * rows // threads, (thread + 1) * rows // threads):
            _sign_derivatives(B[k], omega[k], V[k], g[k], gamma[k])


@inlined
def _sign_derivatives(B: Any, omega: Any, V: Any, g: Any, gamma: Any) -> None:
    for j in range(omega.shape[0]):
        g[j], gamma[j] = sign_derivatives32(B[j], omega[j], V[j])


@loop
def argmax_derivatives(y: Any, omega: Any, V: Any, g: Any, gamma: Any) -> None:
    """g and Γ of an argmax output, each rival of the label by itself: see ``Argmax`` for the formula."""
    classes, samples = omega.shape
    omega_y, V_y = np.empty(samples, f32), np.empty(samples, f32)
    g_y, gamma_y = np.zeros(samples, f32), np.zeros(samples, f32)
    for j in range(samples):
        omega_y[j], V_y[j] = omega[y[j], j], V[y[j], j]
    for k in range(classes):
        for j in range(samples):
            inverse = f32(1.0) / np.sqrt(V[k, j] + V_y[j])
            slope, curvature = rival32(omega[k, j] - omega_y[j], inverse)
            rival = f32(0.0) if y[j] == k else f32(1.0)
            g[k, j] = -rival * slope
            gamma[k, j] = rival * curvature
            g_y[j] -= g[k, j]
            gamma_y[j] += gamma[k, j]
    for j in range(samples):
        g[y[j], j], gamma[y[j], j] = g_y[j], gamma_y[j]


# --- edges ------------------------------------------------------------------------------------------------------------


@loop
def add_product(target: Any, a: Any, b: Any, threads: int) -> None:
    """target += a b."""
    rows = target.shape[0]
    for thread in prange(threads):
        for k in range(thread * rows // threads, (thread + 1) * rows // threads):
            _add_product(target[k], a[k], b[k])


@inlined
def _add_product(target: Any, a: Any, b: Any) -> None:
    for i in range(target.shape[0]):
        target[i] += a[i] * b[i]


@loop
def update_spins(
    H_in: Any, base: Any, H: Any, m: Any, sigma: Any, beta: Any, rho: Any, r: Any, alpha: Any, threads: int
) -> None:
    """New fields, means and variances of ±1 weights, in place."""
    rows = H.shape[0]
    for thread in prange(threads):
        for k in range(thread * rows // threads, (thread + 1) * rows // threads):
            _update_row(H_in[k], base[k], H[k], m[k], sigma[k], beta, rho, r, alpha)


@inlined
def _update_row(H_in: Any, base: Any, H: Any, m: Any, sigma: Any, beta: Any, rho: Any, r: Any, alpha: Any) -> None:
    for i in range(H.shape[0]):
        H[i], m[i], sigma[i] = update_spin32(H_in[i], base[i], H[i], m[i], beta, rho, r, alpha)


@loop
def erase(values: Any, mask: Any, threads: int) -> None:
    """Zero where the mask is False."""
    rows = values.shape[0]
    for thread in prange(threads):
        for k in range(thread * rows // threads, (thread + 1) * rows // threads):
            for i in range(values.shape[1]):
                values[k, i] = values[k, i] if mask[k, i] else f32(0.0)


# --- whole layers -----------------------------------------------------------------------------------------------------


@loop
def preactivations(m: Any, sigma: Any, x: Any, delta: Any, floor: Any, omega: Any, V: Any, threads: int) -> None:
    """omega = Σ m x̂ and V = Σ σ x̂² + Σ Δ, at least ``floor``; ``delta`` has no rows where the inputs are known."""
    squared, totals = np.empty_like(x), np.zeros((threads, x.shape[1]), f32)
    for thread in prange(threads):
        for i in range(thread * x.shape[0] // threads, (thread + 1) * x.shape[0] // threads):
            for j in range(x.shape[1]):
                squared[i, j] = x[i, j] * x[i, j]
        for i in range(thread * delta.shape[0] // threads, (thread + 1) * delta.shape[0] // threads):
            for j in range(x.shape[1]):
                totals[thread, j] += delta[i, j]
    rows = m.shape[0]
    for thread in prange(threads):
        start, stop = thread * rows // threads, (thread + 1) * rows // threads
        np.dot(m[start:stop], x, omega[start:stop])
        np.dot(sigma[start:stop], squared, V[start:stop])
        total = totals[0].copy()
        for other in range(1, threads):
            total += totals[other]
        for k in range(start, stop):
            for j in range(x.shape[1]):
                V[k, j] = max(V[k, j] + total[j], floor)


@loop
def send_and_update(
    g: Any,
    gamma: Any,
    x: Any,
    H_in: Any,
    scratch: Any,
    base: Any,
    H: Any,
    m: Any,
    sigma: Any,
    B: Any,
    amp: bool,
    beta: Any,
    rho: Any,
    r: Any,
    alpha: Any,
    threads: int,
) -> None:
    """Messages B (unless it has no rows) and H_in of full means, and the new weights, rows by rows while in cache.

    B = Σ m g and H_in = Σ x̂ g; for ``amp`` with what g_{kn→i} ≈ g + m x̂ Γ adds: x̂ Σ (1 - σ)Γ and m Σ x̂² Γ.
    """
    rows, (inputs, samples) = m.shape[0], x.shape
    parts = np.empty((threads, *B.shape), f32)
    reactions = np.empty((threads if amp else 0, *B.shape), f32)
    totals = np.zeros((threads, samples), f32)
    squared = np.empty((inputs if amp else 0, samples), f32)
    for thread in prange(threads):
        for i in range(thread * squared.shape[0] // threads, (thread + 1) * squared.shape[0] // threads):
            for j in range(samples):
                squared[i, j] = x[i, j] * x[i, j]
    for thread in prange(threads):
        start, stop = thread * rows // threads, (thread + 1) * rows // threads
        if B.shape[0] > 0:
            np.dot(m[start:stop].T, g[start:stop], parts[thread])
            if amp:
                np.dot(sigma[start:stop].T, gamma[start:stop], reactions[thread])
                for k in range(start, stop):
                    for j in range(samples):
                        totals[thread, j] += gamma[k, j]
        np.dot(g[start:stop], x.T, H_in[start:stop])
        if amp:
            np.dot(gamma[start:stop], squared.T, scratch[start:stop])
        for k in range(start, stop):
            if amp:
                _add_product(H_in[k], m[k], scratch[k])
            _update_row(H_in[k], base[k], H[k], m[k], sigma[k], beta, rho, r, alpha)
    for thread in prange(threads):
        for i in range(thread * B.shape[0] // threads, (thread + 1) * B.shape[0] // threads):
            B[i] = parts[0, i]
            for other in range(1, threads):
                B[i] += parts[other, i]
            if amp:
                for other in range(threads):
                    B[i] += x[i] * (totals[other] - reactions[other, i])
