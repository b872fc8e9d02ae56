"""Vectors with Gaussian messages e^{B·x - x·Ax/2}: from information vectors and precision matrices to moments.

All functions act on n vectors of dimension d at once. Laws are kept as (information, precision), because a precision
matrix of any rank is a law that may be sent, and a covariance matrix with infinite directions is not an array.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from factorgraph.messages import Array
from factorgraph.special import LOG_2PI


class Laws(NamedTuple):
    """Laws of n vectors, given the components that are observed.

    Attributes:
        information: (n, d), 0 where observed.
        precision: (n, d, d), that of the free components; the identity where observed.
        known: (n, d) observed values; 0 where free.
        free: (n, d) which components are free.
    """

    information: Array
    precision: Array
    known: Array
    free: NDArray[np.bool_]


def conditioned(h: Array, G: Array, value: Array) -> Laws:
    """Laws ∝ e^{h·x - x·Gx/2} given observed values (n, d), NaN where free."""
    free = np.isnan(value)
    known = np.where(free, 0.0, value)
    both = free[:, :, None] & free[:, None, :]
    shifted = np.where(free, h - np.einsum("nij,nj->ni", G, known), 0.0)
    return Laws(shifted, np.where(both, G, np.eye(value.shape[1])), known, free)


def represent(laws: Laws) -> tuple[Array, Array]:
    """Laws as they are sent to factors, in the places of ``layout``, flat; see ``messages``."""
    first, second = np.zeros_like(laws.precision), laws.precision.copy()
    first[..., 0] = np.where(laws.free, laws.information, laws.known)
    n, i = np.nonzero(~laws.free)
    second[n, i, i] = np.inf
    return first.ravel(), second.ravel()


def received(first: Array, second: Array) -> Laws:
    """What ``represent`` sent, from arrays (n, d, d)."""
    free = np.isfinite(np.diagonal(second, axis1=1, axis2=2))
    precision = np.where(np.isfinite(second), second, 1.0)
    return Laws(np.where(free, first[..., 0], 0.0), precision, np.where(free, 0.0, first[..., 0]), free)


def smallest_eigenvalues(precision: Array) -> Array:
    """Of matrices (n, d, d); 0 if it is 0 up to rounding, NaN for matrices that are not finite."""
    finite = np.asarray(np.isfinite(precision).all(axis=(1, 2)))
    values = np.linalg.eigvalsh(np.where(finite[:, None, None], precision, 0.0))
    rounding = 8.0 * precision.shape[1] * np.finfo(float).eps * np.abs(values).max(axis=1)
    return np.where(finite, np.where(np.abs(values[:, 0]) <= rounding, 0.0, values[:, 0]), np.nan)


def moments(laws: Laws) -> tuple[Array, Array]:
    """Means (n, d) and covariance matrices (n, d, d)."""
    covariance = np.linalg.inv(laws.precision)
    covariance = 0.5 * (covariance + np.swapaxes(covariance, 1, 2))
    mean = laws.known + np.einsum("nij,nj->ni", covariance, laws.information)
    return mean, np.where(laws.free[:, :, None] & laws.free[:, None, :], covariance, 0.0)


def log_widths(laws: Laws) -> Array:
    """log ∫ of the laws over the free components relative to their values at the means, (n,); NaN where it diverges."""
    sign, log_det = np.linalg.slogdet(laws.precision)
    return np.where(sign > 0.0, 0.5 * (laws.free.sum(axis=1) * LOG_2PI - log_det), np.nan)
