"""The range of what a message may say: bounds of variances and precisions, each with its reason.

Nodes that match moments send a belief divided by what they received, of precision C⁻¹ - G. It is no law where the
belief is wider than the law received, which an average over elements or a wrong model allows, and it has no bound where
the belief is a point. The bounds are relative to what is known, in every direction: a change of units or of basis
changes nothing.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Smallest share of a belief's precision that a projected message makes up: less says nothing, and could be no law at
#: all.
MIN_SHARE = 1e-8

#: Smallest share of its variance that a channel may leave to a sum: below, 1 - V Γ is only rounding.
MIN_REST = 1e-15

#: Smallest variance that a belief claims, relative to the mean square: what is known better has been found, and log Z,
#: in which means over deviations are squared, keeps some digits.
MIN_VARIANCE = 1e-12

#: Smallest variance of a sum of weights and inputs that are both free, in training: it keeps omega/√V finite once all
#: of them are certain.
VARIANCE_FLOOR = 1e-8

_POINT = 1e-100  # what stands for no variance at all


def min_variance(mean_square: float) -> float:
    """Return the least variance that a message claims for a variable of that mean square."""
    return max(MIN_VARIANCE * mean_square, _POINT)


def message_precision(variance: Any, share: Any) -> Any:
    """Return 1/C - G = S/C of messages, given the belief's variance C and S = 1 - C G, but at least a share of 1/C.

    S, what of the belief is the sender's own, can often be had without the subtraction.
    """
    return np.maximum(share, MIN_SHARE) / variance


def message_precisions(covariance: Array, share: Array) -> Array:
    """Return the same of n vectors, C⁻¹ S, bounded in all directions.

    Args:
        covariance: C, (n, d, d), positive definite.
        share: S, (n, d, d), similar to a symmetric matrix.
    """
    if covariance.shape[-1] == 1:
        return message_precision(covariance, share)
    root = np.linalg.cholesky(covariance)
    inner = np.linalg.solve(root, share @ root)
    values, axes = np.linalg.eigh(0.5 * (inner + np.swapaxes(inner, -1, -2)))
    back = np.linalg.solve(np.swapaxes(root, -1, -2), axes)
    return (back * np.maximum(values, MIN_SHARE)[..., None, :]) @ np.swapaxes(back, -1, -2)


def quotient(mean: Array, variance: Array, H: Array, G: Array, mean_square: float) -> tuple[Array, Array]:
    """Return the message that makes a belief of given moments of a law of information H and precision G.

    One that would be more precise than ``min_variance`` allows has the belief's mean and that variance: it does not
    answer what is left of H, which would grow from one answer to the next.
    """
    A, maximum = 1.0 / np.maximum(variance, _POINT) - G, 1.0 / min_variance(mean_square)
    return np.where(A < maximum, (G + A) * mean - H, maximum * mean), np.minimum(A, maximum)
