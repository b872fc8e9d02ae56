"""The Gaussian linear node z = A x between laws of x and of z whose elements share one precision, a number or d × d.

With A = U diag(s) Vᵀ all directions are independent: that of the k-th singular vectors has precision
M_k = G_x + s_k² G_z, whatever the informations are. Sums over the directions give the covariances of both ends,
averaged over the elements, C_x = (Σ M_k⁻¹ + (n - r) G_x⁻¹)/n and C_z = Σ s_k² M_k⁻¹/m. The shares of the beliefs that
do not come from the ends' own laws, 1 - C G, are sums too, and so the messages C⁻¹ - G = C⁻¹ (1 - C G) are found
without cancelling.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from factorgraph.messages.ranges import min_variance
from factorgraph.messages.vectors import ROUNDING
from factorgraph.numerics.special import LOG_2PI
from factorgraph.numerics.spectral import Spectral

Array = NDArray[np.float64]


class Law(NamedTuple):
    """Gaussian laws ∝ e^{Σ h·x - x·Gx/2} of F vectors of elements in R^d, or the values of those that are observed.

    Attributes:
        information: h, (F, size, d); the values where observed.
        precision: G, (F, d, d), shared by the elements of a vector; the identity where observed.
        known: (F,) which are observed.
    """

    information: Array
    precision: Array
    known: NDArray[np.bool_]


@dataclass(frozen=True)
class Directions:
    """Second moments of the posterior of x and z, which the precisions of their laws determine.

    Attributes:
        squares: s², (r,).
        weights: (r,) of how many directions each is the value.
        shape: m and n, elements of z and x; densities of large matrices are counted per element of x, n = 1.
        z: precisions of the laws of z, (F, d, d).
        x: those of x.
        known: (F,) where z is observed: the limit of infinite precision.
    """

    squares: Array
    weights: Array
    shape: tuple[float, float]
    z: Array
    x: Array
    known: NDArray[np.bool_]

    @property
    def unseen(self) -> tuple[float, float]:
        """How many directions of z have no value, and of x no influence."""
        rank = float(self.weights.sum())
        return max(self.shape[0] - rank, 0.0), max(self.shape[1] - rank, 0.0)

    @cached_property
    def proper(self) -> NDArray[np.bool_]:
        """(F,) whether every direction that A sees has a law."""
        ends = np.array([self.squares.min(), self.squares.max()])[:, None, None]
        return self.known | definite(self.x[:, None] + ends * self.z[:, None]).all(axis=1)

    @cached_property
    def lawful(self) -> NDArray[np.bool_]:
        """(F,) whether the law of x alone is one."""
        return definite(self.x)

    @property
    def precisions(self) -> Array:
        """M_k, (F, r, d, d)."""
        return self.x[:, None] + self.squares[:, None, None] * self.z[:, None]

    @cached_property
    def covariances(self) -> Array:
        """M_k⁻¹, (F, r, d, d); 0 where z is observed."""
        fit = self.proper & ~self.known
        return np.where(_each(fit, 4), inverses(_where(fit, self.precisions)), 0.0)

    @cached_property
    def prior_covariance(self) -> Array:
        """G_x⁻¹, (F, d, d); the identity where there is none."""
        return inverses(_where(self.lawful, self.x))

    @cached_property
    def input_covariance(self) -> Array:
        """C_x, (F, d, d)."""
        seen = np.tensordot(self.covariances, self.weights, axes=(1, 0))
        return (seen + self.unseen[1] * self.prior_covariance) / self.shape[1]

    @cached_property
    def output_covariance(self) -> Array:
        """C_z, (F, d, d)."""
        return np.tensordot(self.covariances, self.weights * self.squares, axes=(1, 0)) / self.shape[0]

    @cached_property
    def input_share(self) -> Array:
        """1 - C_x G_x, (F, d, d)."""
        share = np.tensordot(self.covariances, self.weights * self.squares, axes=(1, 0)) @ self.z
        whole = float(self.weights.sum()) * np.eye(self.x.shape[-1])
        return np.where(_each(self.known, 3), whole, share) / self.shape[1]

    @cached_property
    def output_share(self) -> Array:
        """1 - C_z G_z, (F, d, d)."""
        seen = np.tensordot(self.covariances, self.weights, axes=(1, 0)) @ self.x
        return (seen + self.unseen[0] * np.eye(self.x.shape[-1])) / self.shape[0]


class Message(NamedTuple):
    """What the node sends to one end.

    Attributes:
        information: (F, size, d), 0 where nothing is sent.
        precision: (F, d, d).
    """

    information: Array
    precision: Array


@dataclass(frozen=True)
class LinearNode:
    """The joint law of z = A x and x, given a law of each.

    Attributes:
        matrix: A by its singular values; the decomposition is the caller's, once for all laws.
        z: law of z.
        x: law of x, which is not observed.
        right: information Vᵀ h_x along the singular vectors, (F, r, d).
        left: Uᵀ h_z, (F, r, d).
    """

    matrix: Spectral
    z: Law
    x: Law
    right: Array
    left: Array

    @classmethod
    def of(cls, matrix: Spectral, z: Law, x: Law) -> "LinearNode":
        """Return the node with both products taken."""
        right, left = along(matrix.right, x.information), along(matrix.left_transposed, z.information)
        return cls(matrix, z, x, right, left)

    @cached_property
    def directions(self) -> Directions:
        """Their precisions."""
        s = self.matrix.s
        return Directions(s**2, np.ones(s.size), self.matrix.shape, self.z.precision, self.x.precision, self.z.known)

    @cached_property
    def means(self) -> Array:
        """Posterior means of Vᵀ x, (F, r, d)."""
        s = self.matrix.s[:, None]
        free = apply(self.directions.covariances, self.right + s * self.left)
        return np.where(_each(self.z.known, 3), self.left / s, free)

    @property
    def output_mean(self) -> Array:
        """Posterior mean of z, (F, m, d)."""
        return along(self.matrix.left, self.matrix.s[:, None] * self.means)

    @property
    def input_mean(self) -> Array:
        """Posterior mean of x, (F, n, d)."""
        mean = along(self.matrix.right_transposed, self.means)
        if not self.directions.unseen[1]:
            return mean
        outside = self.x.information - along(self.matrix.right_transposed, self.right)
        return mean + outside @ self.directions.prior_covariance

    def at(self, rows: Array) -> tuple[Array, Array]:
        """Return posterior means (F, k, d) and covariances (F, k, d, d) of the products of other rows (k, n) with x."""
        d, squares = self.directions, self.matrix.right(rows.T).T ** 2
        seen = np.einsum("kr,frij->fkij", squares, d.covariances)
        rest = np.maximum((rows**2).sum(axis=1) - squares.sum(axis=1), 0.0)
        return rows @ self.input_mean, seen + rest[:, None, None] * d.prior_covariance[:, None]

    def to_output(self) -> Message:
        """Return C_z⁻¹ - G_z, and the information that makes the mean of the belief.

        It is C_z⁻¹ U s M⁻¹ (a - s G_x G_z⁻¹ c) + (1 - C_z G_z) terms of h_z, in which nothing cancels, where G_z is a
        law, and z has no direction besides those of U.
        """
        d, s = self.directions, self.matrix.s[:, None]
        sent = d.proper & ~self.z.known
        inverse = inverses(_where(sent, symmetric(d.output_covariance)))
        A = symmetric(inverse @ d.output_share)
        if d.unseen[0] or not np.all(definite(self.z.precision, ROUNDING)):
            B = self.output_mean @ inverse - self.z.information
        else:
            own = inverses(self.z.precision)
            shift = apply(d.covariances, s * self.right - self.left @ own @ self.x.precision)
            shift = along(self.matrix.left, shift) + self.z.information @ symmetric(d.output_share @ own)
            B = shift @ inverse
        return _message(sent, B, A)

    def to_input(self) -> Message:
        """Return C_x⁻¹ - G_x, and the information that makes the mean of the belief; nothing where a direction of x is
        known from neither side."""
        d, s, known = self.directions, self.matrix.s[:, None], self.z.known
        sent = d.proper & d.lawful if d.unseen[1] else d.proper
        C = d.input_covariance
        if not d.unseen[1] and known.any():  # the output determines the input
            C = np.where(_each(known, 3), min_variance(float(np.mean(self.means**2))) * np.eye(C.shape[-1]), C)
        inverse = inverses(_where(sent, C))
        A = symmetric(inverse @ d.input_share)
        if not np.all(d.lawful | ~sent):
            B = along(self.matrix.right_transposed, self.means) @ inverse - self.x.information
        else:
            pull = self.right @ d.prior_covariance  # Vᵀ of the mean of the law of x, if there is one
            shift = apply(d.covariances, s * (self.left - s * (pull @ self.z.precision)))
            shift = along(self.matrix.right_transposed, np.where(_each(known, 3), self.means - pull, shift))
            B = (shift + self.x.information @ symmetric(d.input_share @ d.prior_covariance)) @ inverse
        return _message(sent, B, A)

    def log_partition(self) -> Array:
        """Return log ∫ dx of both laws at x and A x, (F,); +∞ for values observed with certainty where A has not full
        row rank, NaN where the integral diverges. For laws that are not normalised, e^{h·x - x·Gx/2}."""
        d, s, dimension = self.directions, self.matrix.s[:, None], self.x.precision.shape[-1]
        total = 0.5 * ((self.right + s * self.left) * self.means).sum(axis=(1, 2)) + self._log_width
        value = self.left / s
        density = (value * (self.right - 0.5 * value @ self.x.precision)).sum(axis=(1, 2)) - dimension * np.log(s).sum()
        total = np.where(self.z.known, np.inf if d.unseen[0] else density, total)
        if d.unseen[1]:
            outside = ((self.x.information @ d.prior_covariance) * self.x.information).sum(axis=(1, 2))
            outside = outside - ((self.right @ d.prior_covariance) * self.right).sum(axis=(1, 2))
            total = total + np.where(d.lawful, 0.5 * outside + self._outer_log_width, np.nan)
        return np.where(d.proper, total, np.nan)

    def log_partition_about(self, z: Array, x: Array) -> Array:
        """Return the same for laws relative to their values at z and x, (F, m, d) and (F, n, d): the distance of the
        peak from there is what counts."""
        d = self.directions
        certain = np.inf if d.unseen[0] else -self.x.precision.shape[-1] * np.log(self.matrix.s).sum()
        total = np.where(self.z.known, certain, self._log_width + rise(self.z, z, self.output_mean))
        if d.unseen[1]:
            total = total + np.where(d.lawful, self._outer_log_width, np.nan)
        return np.where(d.proper, total + rise(self.x, x, self.input_mean), np.nan)

    def log_partition_normalised(self) -> Array:
        """Return the same for laws of scalars, normalised where they can be: in terms of residuals, without
        cancelling."""
        d, m, s, total = self.directions, self.matrix.shape[0], self.matrix.s, self.log_partition()
        G_x, G_z = self.x.precision[:, 0], np.where(self.z.known[:, None], 1.0, self.z.precision[:, 0])
        a, c, outside = self.right[..., 0], self.left[..., 0], d.unseen[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            residual = c - s * G_z / G_x * a
            rate = G_z * G_x / (G_x + s**2 * G_z)
            both = 0.5 * (np.log(rate) - LOG_2PI - (residual / G_z) ** 2 * rate).sum(axis=1)
            seen = along(self.matrix.left, self.left) if outside else self.z.information
            missed = ((self.z.information - seen) ** 2).sum(axis=(1, 2))
            both += 0.5 * (outside * (np.log(G_z[:, 0]) - LOG_2PI) - missed / G_z[:, 0])
            variance = s**2 / G_x
            known = -0.5 * ((c - s / G_x * a) ** 2 / variance + np.log(variance) + LOG_2PI).sum(axis=1)
            square = (self.z.information**2).sum(axis=(1, 2))
            flat = total - 0.5 * (square / G_z[:, 0] + m * (LOG_2PI - np.log(G_z[:, 0])))
        known = np.where(np.isinf(total), total, known)
        proper = np.where(self.z.known, known, np.where(G_z[:, 0] > 0.0, both, 0.0))
        return np.where(G_x[:, 0] > 0.0, proper, np.where(self.z.known | (G_z[:, 0] == 0.0), total, flat))

    @property
    def _log_width(self) -> Array:
        """log ∫ along the directions that A sees, relative to the peak."""
        return 0.5 * (self.right[0].size * LOG_2PI - _log_dets(self.directions.precisions))

    @property
    def _outer_log_width(self) -> Array:
        """Likewise along the others."""
        logs = self.x.precision.shape[-1] * LOG_2PI - _log_dets(self.x.precision[:, None])
        return 0.5 * self.directions.unseen[1] * logs


def along(product: Any, values: Array) -> Array:
    """Return a product with a matrix (l, k) for each of the columns of (F, k, d)."""
    F, k, d = values.shape
    if F * d == 1:  # a single vector, which is a case of its own for the product
        return np.asarray(product(values.reshape(k))).reshape(1, -1, 1)
    columns = np.ascontiguousarray(np.moveaxis(values, 1, 0).reshape(k, F * d))
    return np.moveaxis(product(columns).reshape(-1, F, d), 0, 1)


def rise(law: Law, start: Array, end: Array) -> Array:
    """Return how much more the logarithm of e^{h·x - x·Gx/2} is at one point than at another, (F,)."""
    return ((end - start) * (law.information - 0.5 * (start + end) @ law.precision)).sum(axis=(1, 2))


def inverses(matrices: Array) -> Array:
    """Of (..., d, d)."""
    return 1.0 / matrices if matrices.shape[-1] == 1 else np.asarray(np.linalg.inv(matrices), dtype=np.float64)


def apply(matrices: Array, vectors: Array) -> Array:
    """Return matrices (..., d, d) times vectors (..., d)."""
    return matrices[..., 0] * vectors if matrices.shape[-1] == 1 else np.einsum("...ij,...j->...i", matrices, vectors)


def symmetric(matrices: Array) -> Array:
    """Return the symmetric part of (..., d, d)."""
    return 0.5 * (matrices + np.swapaxes(matrices, -1, -2))


def definite(matrices: Array, share: float = 0.0) -> Any:
    """Return whether (..., d, d) are positive definite: the least eigenvalue more than a share of the largest."""
    if matrices.shape[-1] == 1:
        return matrices[..., 0, 0] > 0.0
    values = np.linalg.eigvalsh(matrices)
    return values[..., 0] > share * np.abs(values[..., -1])


def _message(sent: Any, information: Array, precision: Array) -> Message:
    return Message(np.where(_each(sent, 3), information, 0.0), np.where(_each(sent, 3), precision, 0.0))


def _each(flags: Any, axes: int) -> Any:
    """Return flags (F,) to choose among arrays of so many axes."""
    return flags.reshape(-1, *(1,) * (axes - 1))


def _where(flags: Any, matrices: Array) -> Array:
    """Return the matrices (F, ..., d, d) where flags (F,) are set, else the identity."""
    return np.where(_each(flags, matrices.ndim), matrices, np.eye(matrices.shape[-1]))


def _log_dets(matrices: Array) -> Array:
    """Return sums (F,) of the log-determinants of (F, k, d, d)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(matrices[..., 0, 0]) if matrices.shape[-1] == 1 else np.linalg.slogdet(matrices)[1]
    return logs.sum(axis=1)
