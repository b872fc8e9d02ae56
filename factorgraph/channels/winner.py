"""P(argmax = k) of independent Gaussians for all classes at once, on one grid per sample."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]

#: Deviations beyond which a Gaussian is nothing to 1e-15.
_TAIL = 8.5

#: Most grid points of a sample; deviations that differ by more than a factor of 50 or so need adaptive panels.
_LIMIT = 2000

#: Numbers in one (classes, points, samples) array.
_CHUNK = 1 << 18


def grid_probabilities(omega: Array, V: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Return ∫ dz N(z; omega_c, V_c) Π_{k≠c} Φ((z - omega_k)/√V_k) for every class c, by the trapezoidal rule.

    The integrand is smooth and vanishes at both ends, where the rule converges exponentially. All classes share the
    points, so K distribution functions serve K integrals. Absolute accuracy 1e-12.

    Args:
        omega: means (K, n).
        V: variances (K, n), > 0.

    Returns:
        Probabilities (K, n), and which samples (n,) they are valid for: not those that need too fine a grid.
    """
    deviation = np.sqrt(V)
    low = (omega - _TAIL * deviation).max(axis=0)  # below, some class is certain to be greater
    high = (omega + _TAIL * deviation).max(axis=0)
    # Steps per smallest deviation: a product of K distribution functions varies about √K times faster (measured).
    steps = 1.5 + 0.35 * np.sqrt(len(omega))
    with np.errstate(over="ignore"):
        needed = np.ceil(steps * (high - low) / deviation.min(axis=0)) + 1
    valid = needed <= _LIMIT
    result = np.zeros_like(omega)
    order = np.flatnonzero(valid)[np.argsort(needed[valid], kind="stable")]
    while order.size:
        count = max(1, _CHUNK // int(len(omega) * needed[order[0]]))
        chosen, order = order[:count], order[count:]
        points = int(needed[chosen[-1]])
        result[:, chosen] = _trapezoid(omega[:, chosen], deviation[:, chosen], low[chosen], high[chosen], points)
    return result, valid


def _trapezoid(omega: Array, deviation: Array, low: Array, high: Array, points: int) -> Any:
    step = (high - low) / (points - 1)
    z = low + step * np.arange(points)[:, None]
    x = (z - omega[:, None]) / deviation[:, None]
    below = ndtr(x)
    density = np.exp(-0.5 * np.square(x)) / deviation[:, None]
    others = np.ones_like(below)  # products over the classes before and after, so that nothing is divided by zero
    np.cumprod(below[:-1], axis=0, out=others[1:])
    others[:-1] *= np.cumprod(below[:0:-1], axis=0)[::-1]
    return np.minimum((density * others).sum(axis=1) * (step / np.sqrt(2.0 * np.pi)), 1.0)
