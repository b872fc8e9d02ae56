"""Most probable rows of Z given their outputs: Newton's method, and for ReLU also into and across its kinks."""

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.matrix_vamp.head import Head

Array = NDArray[np.float64]

_ROUNDS = 100
_SMALLEST_STEP = 1e-3


def row_modes(head: Head, R: Array, precision: Array, Y: Array) -> tuple[Array, Array]:
    """Modes (N, d) of the rows of Z, and their derivatives by Γ r (N, d, d).

    Of the minima found from the cavity's mean and from the estimate by the best linear function, the lower. At a
    smooth minimum the derivative is the inverse Hessian. A unit that rests in the kink of a ReLU does not move, and its
    row and column are 0.

    Args:
        head: with a ReLU or sigmoid activation.
        R: cavity means (N, d).
        precision: Γ, their common precision (d, d), positive definite.
        Y: outputs (N, outputs).
    """
    W, y = head.scaled_weights, np.ascontiguousarray(head.scaled(Y))
    covariance = np.linalg.inv(precision)
    near = head.linearised(R, covariance)
    slopes = near.slope[:, :, None] * W
    noise = np.eye(head.outputs) + np.einsum("nio,ij,njp->nop", slopes, covariance, slopes)
    excess = np.linalg.solve(noise, (y - near.mean @ W)[..., None])[..., 0]
    linear = R + np.einsum("nio,no->ni", slopes, excess) @ covariance
    starts = np.stack([R, linear]) + head.hidden_bias
    z, inverse = _minimise(head.activation.name == "relu", starts, np.ascontiguousarray(precision), y, W)
    return z - head.hidden_bias, inverse


@njit(cache=True, error_model="numpy")
def _minimise(relu: bool, starts: Any, G: Any, Y: Any, W: Any) -> Any:
    """The lower minimum of each row; starts (2, N, d), of which the first are the cavity's means."""
    _, N, d = starts.shape
    modes, inverses = np.empty((N, d)), np.zeros((N, d, d))
    for n in range(N):
        r, y, least = starts[0, n], Y[n], np.inf
        for k in range(2):
            z = starts[k, n].copy()
            cost = _descend(relu, z, r, G, y, W)
            if cost < least:
                least = cost
                modes[n] = z
        free = (modes[n] != 0.0) if relu else np.ones(d, dtype=np.bool_)
        _, H = _derivatives(relu, modes[n], r, G, y, W)
        _invert(H, free, inverses[n])
    return modes, inverses


@njit(cache=True, error_model="numpy")
def _descend(relu: bool, z: Any, r: Any, G: Any, y: Any, W: Any) -> float:
    """Minimise in place: Newton steps, halved until the cost falls, for ReLU after a sweep over the coordinates."""
    d = z.size
    inverse = np.zeros((d, d))
    cost = _cost(relu, z, r, G, y, W)
    for _ in range(_ROUNDS):
        before = cost
        if relu:
            _sweep(z, r, G, y, W)
            cost = _cost(relu, z, r, G, y, W)
        free = (z != 0.0) if relu else np.ones(d, dtype=np.bool_)
        gradient, H = _derivatives(relu, z, r, G, y, W)
        _invert(H, free, inverse)
        step, size = inverse @ gradient, 1.0
        while size > _SMALLEST_STEP:
            trial = z - size * step
            new = _cost(relu, trial, r, G, y, W)
            if new < cost:
                z[:] = trial
                cost = new
                break
            size *= 0.5
        if before - cost <= 1e-14 * abs(before):
            break
    return cost


@njit(cache=True, error_model="numpy")
def _residual(relu: bool, z: Any, y: Any, W: Any) -> Any:
    d, outputs = W.shape
    rest = y.copy()
    for j in range(d):
        value = max(z[j], 0.0) if relu else 1.0 / (1.0 + math.exp(-z[j]))
        for o in range(outputs):
            rest[o] -= W[j, o] * value
    return rest


@njit(cache=True, error_model="numpy")
def _cost(relu: bool, z: Any, r: Any, G: Any, y: Any, W: Any) -> float:
    """(z - r)·Γ(z - r)/2 + |y - f(z) W|²/2."""
    rest = _residual(relu, z, y, W)
    shift = z - r
    return 0.5 * (np.dot(shift, G @ shift) + np.dot(rest, rest))


@njit(cache=True, error_model="numpy")
def _derivatives(relu: bool, z: Any, r: Any, G: Any, y: Any, W: Any) -> Any:
    """Gradient and Hessian; that of Gauss and Newton where the Hessian is not positive definite."""
    d = z.size
    pull = W @ _residual(relu, z, y, W)
    slope, bend = np.empty(d), np.zeros(d)
    for j in range(d):
        if relu:
            slope[j] = 1.0 if z[j] > 0.0 else 0.0
        else:
            f = 1.0 / (1.0 + math.exp(-z[j]))
            slope[j] = f * (1.0 - f)
            bend[j] = slope[j] * (1.0 - 2.0 * f)
    gradient = G @ (z - r) - slope * pull
    H = G.copy()
    outer = W @ W.T
    for i in range(d):
        for j in range(d):
            H[i, j] += slope[i] * outer[i, j] * slope[j]
    if not relu:
        full = H - np.diag(bend * pull)
        if np.linalg.eigvalsh(full)[0] > 1e-3 * np.linalg.eigvalsh(G)[0]:
            return gradient, full
    return gradient, H


@njit(cache=True, error_model="numpy")
def _invert(H: Any, free: Any, out: Any) -> None:
    """The inverse of the block of the free units, 0 elsewhere."""
    d = H.shape[0]
    block = H.copy()
    for i in range(d):
        if not free[i]:
            block[i, :] = 0.0
            block[:, i] = 0.0
            block[i, i] = 1.0
    out[:] = np.linalg.inv(block)
    for i in range(d):
        if not free[i]:
            out[i, i] = 0.0


@njit(cache=True, error_model="numpy")
def _sweep(z: Any, r: Any, G: Any, y: Any, W: Any) -> None:
    """Every unit of a ReLU layer in turn to its best place on either side of its kink, or into it."""
    rest = _residual(True, z, y, W)
    for j in range(z.size):
        rest += W[j] * max(z[j], 0.0)  # without this unit
        pull = G[j, j] * z[j] - np.dot(G[j], z - r)
        curvature, gain = np.dot(W[j], W[j]), np.dot(W[j], rest)
        below, above = pull / G[j, j], (pull + gain) / (G[j, j] + curvature)
        drop = pull * below if below < 0.0 else 0.0
        rise = (pull + gain) * above if above > 0.0 else 0.0
        z[j] = above if rise > drop else (below if drop > 0.0 else 0.0)
        rest -= W[j] * max(z[j], 0.0)
