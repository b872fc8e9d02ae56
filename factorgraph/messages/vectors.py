"""Vectors with Gaussian messages e^{B·x - x·Ax/2}: from information vectors and precision matrices to moments.

All functions act on n vectors of dimension d at once. Laws are kept as (information, precision), because a precision
matrix of any rank is a law that may be sent, and a covariance matrix with infinite directions is not an array.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from factorgraph.messages.natural import Array
from factorgraph.numerics.special import LOG_2PI

#: What is left of terms that cancel, relative to them, when it is taken for 0: thousands of steps of rounding.
ROUNDING = 2.0**-40

#: Deviations by which rounding may move a mean for the sake of what is known far better in another direction.
MAX_BLUR = 1e-5


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
    """Return laws ∝ e^{h·x - x·Gx/2} given observed values (n, d), NaN where free."""
    free = np.isnan(value)
    known = np.where(free, 0.0, value)
    both = free[:, :, None] & free[:, None, :]
    shifted = np.where(free, h - np.einsum("nij,nj->ni", G, known), 0.0)
    return Laws(shifted, np.where(both, G, np.eye(value.shape[1])), known, free)


def represent(laws: Laws) -> tuple[Array, Array]:
    """Return laws as they are sent to factors, in the places of ``layout``, flat; see
    ``factorgraph.messages.natural``."""
    first, second = np.zeros_like(laws.precision), laws.precision.copy()
    first[..., 0] = np.where(laws.free, laws.information, laws.known)
    n, i = np.nonzero(~laws.free)
    second[n, i, i] = np.inf
    return first.ravel(), second.ravel()


def received(first: Array, second: Array) -> Laws:
    """Return what ``represent`` sent, from arrays (n, d, d)."""
    free = np.isfinite(np.diagonal(second, axis1=1, axis2=2))
    precision = np.where(np.isfinite(second), second, 1.0)
    return Laws(np.where(free, first[..., 0], 0.0), precision, np.where(free, 0.0, first[..., 0]), free)


def smallest_eigenvalues(precision: Array, terms: Array) -> Array:
    """Of matrices (n, d, d); 0 if it is rounding beside the terms that were added up, NaN for what is not finite.

    Args:
        precision: the matrices.
        terms: (n, d) sums of the absolute values of what their diagonal elements are sums of.
    """
    finite, d = np.asarray(np.isfinite(precision).all(axis=(1, 2))), precision.shape[1]
    matrices = np.where(finite[:, None, None], precision, np.eye(d))
    size = _size(np.where(finite[:, None], terms, 1.0))
    relative = np.linalg.eigvalsh(matrices / size)[:, 0]
    absolute = np.minimum(np.linalg.eigvalsh(matrices)[:, 0], 0.0) if np.any(relative < -ROUNDING) else 0.0
    values = np.where(relative < -ROUNDING, absolute, np.where(relative > ROUNDING, relative, 0.0))
    return np.where(finite, values, np.nan)


def blurred(laws: Laws, minimum: Array, information: Array) -> NDArray[np.bool_]:
    """Return laws (n,) whose mean rounding moves by more than ``MAX_BLUR`` deviations, and far more than it must.

    Args:
        laws: all with a precision.
        minimum: their ``smallest_eigenvalues``.
        information: (n, d) sums of the absolute values of what their information is the sum of.
    """
    root = np.sqrt(np.where(laws.free, np.diagonal(laws.precision, axis1=1, axis2=2), np.inf))
    rounding = np.finfo(float).eps * (information / root).max(axis=1)
    return (rounding / np.sqrt(minimum) > MAX_BLUR) & (minimum < MAX_BLUR)


def _size(diagonal: Array) -> Array:
    """Of the elements of covariance matrices with these diagonals, all of them if they are 0."""
    root = np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
    return root[:, :, None] * root[:, None, :]


def moments(laws: Laws) -> tuple[Array, Array]:
    """Return means (n, d) and covariance matrices (n, d, d)."""
    size = _size(np.diagonal(laws.precision, axis1=1, axis2=2))  # components may be known to very different digits
    covariance = np.linalg.inv(laws.precision / size) / size
    covariance = 0.5 * (covariance + np.swapaxes(covariance, 1, 2))
    mean = laws.known + np.einsum("nij,nj->ni", covariance, laws.information)
    return mean, np.where(laws.free[:, :, None] & laws.free[:, None, :], covariance, 0.0)


def log_widths(laws: Laws) -> Array:
    """Return log ∫ of the laws over the free components relative to their values at the means, (n,); NaN where it
    diverges."""
    sign, log_det = np.linalg.slogdet(laws.precision)
    return np.where(sign > 0.0, 0.5 * (laws.free.sum(axis=1) * LOG_2PI - log_det), np.nan)
