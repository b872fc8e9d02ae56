"""Linear-Gaussian factors of vectors: a sum of matrices times vectors, measured with correlated Gaussian noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.factors.base import Array, Kind, Parameters, QuadraticForm
from factorgraph.factors.joints import Joint, gaussian
from factorgraph.factors.vector_rules import expected_squares, log_integrals, messages, undetermined, whiten
from factorgraph.interface.arguments import number_array, real_array, shown
from factorgraph.interface.errors import ModelError
from factorgraph.messages.natural import Incoming, Outgoing
from factorgraph.messages.vectors import Laws, received
from factorgraph.model.description import Selection
from factorgraph.numerics.special import LOG_2PI

#: How far, relative to its largest element, a matrix may be from a covariance matrix that rounding has touched.
_ALMOST = 1e-10


def matrices(name: str, values: ArrayLike, shape: tuple[int, ...], rows: int, columns: int) -> Array:
    """Return a parameter as matrices (F, rows, columns); a number is a multiple of the identity.

    Raises:
        ModelError: not finite numbers, or of a shape that does not fit.
    """
    array = real_array(name, values, error=ModelError)
    if not array.ndim and rows == columns:
        array = array * np.eye(rows)
    wanted = (*shape, rows, columns)
    try:
        if array.shape[-2:] != wanted[-2:]:  # a single row or column is not meant for all
            raise ValueError
        return np.broadcast_to(array, wanted).reshape(-1, rows, columns)
    except ValueError:
        raise ModelError(f"`{name}` must be matrices that broadcast to {wanted}, got {array.shape}") from None


def vector_parameters(
    terms: Sequence[Selection], coefficients: Any, target: ArrayLike, noise: ArrayLike
) -> tuple[Array, Array, Array]:
    """Return checked parameters of F factors with m rows: coefficients (F, m, Σd), target (F, m) and noise (F, m, m).

    Raises:
        ModelError: parameters that do not fit, a noise that is no covariance matrix, or a singular one of factors that
            would determine a part of one argument exactly.
    """
    k, shape, dimensions = len(terms), terms[0].shape, [term.dimension for term in terms]
    if 0 in dimensions:
        raise ModelError("arguments must be all vectors or all scalars, got both; a vector may have dimension 1")
    if isinstance(coefficients, (list, tuple)):
        given = [number_array("coefficients", c, error=ModelError) for c in coefficients]
    else:
        together = number_array("coefficients", coefficients, error=ModelError)
        given = list(together) if together.ndim else [together] * k
    if len(given) != k:
        raise ModelError(f"`coefficients` must be one number or matrix for each of {k} arguments, got {len(given)}")
    sizes = [np.shape(c)[-2] if np.ndim(c) >= 2 else d for c, d in zip(given, dimensions, strict=True)]
    m = sizes[0]
    blocks = [matrices("coefficients", c, shape, m, d) for c, d in zip(given, dimensions, strict=True)]
    covariance = _covariances(matrices("noise", noise, shape, m, m), noise)
    values = real_array("target", target, error=ModelError)
    try:
        if values.ndim and values.shape[-1] != m:
            raise ValueError
        values = np.broadcast_to(values, (*shape, m)).reshape(-1, m)
    except ValueError:
        raise ModelError(f"`target` must broadcast to {(*shape, m)}, got {values.shape}") from None
    both = np.concatenate(blocks, axis=2)
    W, _, _, sigma = whitened(both, values, covariance)
    _check_determined(W, sigma, tuple(dimensions), np.ones((len(W), W.shape[2]), dtype=bool), shown(noise))
    return both, values, covariance


def _covariances(given: Array, noise: ArrayLike) -> Array:
    """Return matrices that are symmetric, and have no negative eigenvalue, up to rounding; made symmetric."""
    symmetric, scale = 0.5 * (given + np.swapaxes(given, 1, 2)), np.abs(given).max(axis=(1, 2), initial=0.0)
    minimum = np.linalg.eigvalsh(symmetric)[:, 0] if given.size else scale
    skew = np.abs(given - symmetric).max(axis=(1, 2), initial=0.0)
    if np.any(skew > _ALMOST * scale) or np.any(minimum < -_ALMOST * scale):
        raise ModelError(
            "`noise` must be symmetric and positive definite, or singular without negative eigenvalues, "
            f"got {shown(noise)}"
        )
    return symmetric


def _check_determined(
    W: Array, sigma: Array, dimensions: tuple[int, ...], free: Array, noise: str = "a singular one"
) -> None:
    """Raise ``ModelError`` for factors that determine a part of one argument exactly where others are not ``free``.

    Messages would be infinitely precise. Which they are follows from the ranks of the noise and of the coefficients,
    because what is not observed always has some variance.
    """
    if np.all(sigma > 0.0) or undetermined(W, sigma, np.array(dimensions), free) < 0:
        return
    raise ModelError(
        f"`noise` must be symmetric and positive definite, got {noise}: in a direction without noise the factor must "
        "leave every argument uncertain whatever the others are; give it a variance there, or observe what is exact"
    )


def whitened(coefficients: Array, target: Array, noise: Array) -> tuple[Array, Array, Array, Array]:
    """Return W, w and σ with N(y; C x, Q) = e^c N(w; W x, diag σ) (2π)^{m/2}, and c.

    Rows have noise of variance σ = 1, or none where Q is singular: x = 0.3 is a row (1) of W, 0.3 of w with σ = 0.
    """
    W, w, sigma, log_det = whiten(np.ascontiguousarray(coefficients), np.ascontiguousarray(target), noise)
    return W, w, -0.5 * (target.shape[1] * LOG_2PI + log_det), sigma


@dataclass(frozen=True)
class VectorGaussian(Kind):
    """e^c N(w; Σ W_i x_i, diag σ) (2π)^{m/2} with W (F, m, Σd), w (F, m), c (F,), σ (F, m) of 0 and 1, m = ``rows``."""

    rows: int
    dimensions: tuple[int, ...]  # pyright: ignore[reportIncompatibleVariableOverride]
    name = "Linear"
    quadratic = True
    maximum = True

    @property
    def spins(self) -> tuple[bool, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """None, on any slot."""
        return (False,) * sum(d * d for d in self.dimensions)

    def rule(self, parameters: Parameters, incoming: Incoming, *, maximum: bool = False) -> Outgoing:
        """See ``square_roots``."""
        self._check(parameters, incoming)
        starts = np.cumsum([0, *(d * d for d in self.dimensions[:-1])])
        wanted = np.ones((len(incoming.first), len(starts)), dtype=bool)
        if incoming.wanted is not None:
            wanted = np.ascontiguousarray(incoming.wanted[:, starts])
        return Outgoing(*messages(self._factors(parameters), self._sizes, *incoming[:2], wanted))

    def log_partition(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return log ∫ of the factor times the arguments' e^{h·x - x·Gx/2}, or e^{(h - Gm)·(x - m) - (x - m)·G(x -
        m)/2}."""
        self._check(parameters, incoming)
        return parameters[2] + log_integrals(*self._centred(parameters, incoming))

    def mean_log_factor(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return c - E|w - W x|²/2; ∞ without noise in some direction."""
        self._check(parameters, incoming)
        square = expected_squares(*self._centred(parameters, incoming))
        return np.where((parameters[3] > 0.0).all(axis=1), parameters[2] - 0.5 * square, np.inf)

    def joint(self, parameters: Parameters, incoming: Incoming) -> Joint:
        """Return the Gaussian; raises ``ModelError`` for a singular noise."""
        return gaussian(self, parameters, incoming)

    def quadratic_form(self, parameters: Parameters) -> QuadraticForm:
        """Return the residuals of weight 1, of the first columns of the vectors' places.

        Raises:
            ModelError: a singular noise, with which there are none.
        """
        W, w, constant, sigma = parameters
        _require_values(sigma)
        matrix = np.zeros((*W.shape[:2], len(self.spins)))
        matrix[..., self.columns] = W
        return QuadraticForm(constant, matrix, w, np.ones_like(w), np.zeros(len(w)))

    def log_factor(self, parameters: Parameters, *x: Array) -> Array:
        """Return c - |w - W x|²/2, with the components in the first columns of their places.

        Raises:
            ModelError: a singular noise, with which it has no values.
        """
        W, w, constant, sigma = parameters
        _require_values(sigma)
        components = np.stack([x[slot] for slot in self.columns])
        trailing = (1,) * (components.ndim - 2)
        rest = w.reshape(*w.shape, *trailing) - np.einsum("fmi,if...->fm...", W, components)
        return constant.reshape(-1, *trailing) - 0.5 * (rest * rest).sum(axis=1)

    @property
    def columns(self) -> list[int]:
        """The slots of all components: the first columns of the arguments' places."""
        starts = np.cumsum([0, *(d * d for d in self.dimensions[:-1])]).tolist()
        return [s + a * d for s, d in zip(starts, self.dimensions, strict=True) for a in range(d)]

    @property
    def _sizes(self) -> Any:
        return np.array(self.dimensions, dtype=np.int64)

    def _factors(self, parameters: Parameters) -> tuple[Array, Array, Array]:
        return parameters[0], parameters[1], parameters[3]

    def _centred(self, parameters: Parameters, incoming: Incoming) -> tuple[Any, Any, Array, Array]:
        """Return factors, sizes and laws about the centre, if there is one: what remains is small, nothing cancels."""
        W, w, sigma = self._factors(parameters)
        if incoming.centre is None:
            return (W, w, sigma), self._sizes, *incoming[:2]
        first, slot, column = incoming.first.copy(), 0, 0
        for d in self.dimensions:
            law, mean = self._law(incoming, slot, d), incoming.centre[:, slot : slot + d * d : d]
            change = np.where(law.free, np.einsum("fij,fj->fi", law.precision, np.where(law.free, mean, 0.0)), mean)
            first[:, slot : slot + d * d : d] -= change
            w = w - np.einsum("fmi,fi->fm", W[..., column : column + d], mean)
            slot, column = slot + d * d, column + d
        return (W, w, sigma), self._sizes, first, incoming.second

    def _law(self, incoming: Incoming, slot: int, d: int) -> Laws:
        return received(*(x[:, slot : slot + d * d].reshape(-1, d, d) for x in incoming[:2]))

    def _check(self, parameters: Parameters, incoming: Incoming) -> None:
        """Raise ``ModelError`` if observations leave one argument exactly determined: see ``_check_determined``."""
        within = [a for d in self.dimensions for a in range(d)]
        diagonal = [slot + a for slot, a in zip(self.columns, within, strict=True)]
        self.check_determined(parameters, np.isfinite(incoming.second[:, diagonal]))

    def check_determined(self, parameters: Parameters, free: Array) -> None:
        """Raise ``ModelError`` if what is not ``free`` (F, Σd) leaves one argument exactly determined."""
        _check_determined(parameters[0], parameters[3], self.dimensions, free)


def _require_values(sigma: Array) -> None:
    """Raise ``ModelError`` for factors that have no values, because their noise is singular."""
    if not np.all(sigma > 0.0):
        raise ModelError(
            "`noise` must be positive definite where factors are evaluated, got a singular one: `infer` takes it, "
            "`exact` and `check_factor` do not"
        )
