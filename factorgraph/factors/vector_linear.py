"""Linear-Gaussian factors of vectors: a sum of matrices times vectors, measured with correlated Gaussian noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.factors.base import Array, Kind, Parameters, QuadraticForm
from factorgraph.messages import Incoming, Outgoing
from factorgraph.model import ModelError, Selection
from factorgraph.special import LOG_2PI
from factorgraph.vectors import Laws, received

#: Eigenvalues below this, relative to the largest, are rounding: times the number of columns.
_ROUNDING = 16.0 * float(np.finfo(float).eps)


def matrices(name: str, values: ArrayLike, shape: tuple[int, ...], rows: int, columns: int) -> Array:
    """A parameter as matrices (F, rows, columns); a number is a multiple of the identity.

    Raises:
        ModelError: not finite numbers, or of a shape that does not fit.
    """
    array = np.asarray(values, dtype=np.float64)
    if not np.all(np.isfinite(array)):
        raise ModelError(f"`{name}` must be finite numbers, got {values!r}")
    if not array.ndim and rows == columns:
        array = array * np.eye(rows)
    wanted = (*shape, rows, columns)
    try:
        if array.ndim < 2:
            raise ValueError
        return np.broadcast_to(array, wanted).reshape(-1, rows, columns)
    except ValueError:
        raise ModelError(f"`{name}` must be matrices that broadcast to {wanted}, got {array.shape}") from None


def vector_parameters(
    terms: Sequence[Selection], coefficients: Any, target: ArrayLike, noise: ArrayLike
) -> tuple[Array, Array, Array]:
    """Checked parameters of F factors with m rows: coefficients (F, m, Σd), target (F, m) and noise (F, m, m).

    Raises:
        ModelError: parameters that do not fit, or a noise that is not symmetric and positive definite.
    """
    k, shape, dimensions = len(terms), terms[0].shape, [term.dimension for term in terms]
    if 0 in dimensions:
        raise ModelError("arguments must be all vectors or all scalars, got both; a vector may have dimension 1")
    given = [coefficients] * k if np.isscalar(coefficients) else list(coefficients)
    if len(given) != k:
        raise ModelError(f"`coefficients` must be one number or matrix for each of {k} arguments, got {len(given)}")
    sizes = [np.shape(c)[-2] if np.ndim(c) >= 2 else d for c, d in zip(given, dimensions, strict=True)]
    m = sizes[0]
    blocks = [matrices("coefficients", c, shape, m, d) for c, d in zip(given, dimensions, strict=True)]
    covariance = matrices("noise", noise, shape, m, m)
    if not (
        np.array_equal(covariance, np.swapaxes(covariance, 1, 2)) and np.all(np.linalg.eigvalsh(covariance)[:, 0] > 0.0)
    ):
        raise ModelError(f"`noise` must be symmetric and positive definite, got {noise!r}")
    values = np.asarray(target, dtype=np.float64)
    if not np.all(np.isfinite(values)):
        raise ModelError(f"`target` must be finite numbers, got {target!r}")
    try:
        values = np.broadcast_to(values, (*shape, m)).reshape(-1, m)
    except ValueError:
        raise ModelError(f"`target` must broadcast to {(*shape, m)}, got {values.shape}") from None
    return np.concatenate(blocks, axis=2), values, covariance


def whitened(coefficients: Array, target: Array, noise: Array) -> tuple[Array, Array, Array]:
    """W and w with N(y; C x, Q) = e^{c - |w - W x|²/2}, and c: by the Cholesky factor of Q."""
    root = np.linalg.cholesky(noise)
    both = np.linalg.solve(root, np.concatenate([coefficients, target[..., None]], axis=2)).astype(
        np.float64, copy=False
    )
    log_det = 2.0 * np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)
    return both[..., :-1], both[..., -1], -0.5 * (target.shape[1] * LOG_2PI + log_det)


@dataclass(frozen=True)
class VectorGaussian(Kind):
    """e^{c - |w - Σ W_i x_i|²/2} with W (F, m, Σd), w (F, m) and c (F,), m = ``rows``."""

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
        """With U the columns of the other arguments, G and h their laws, M = G + UᵀU and K = 1 - U M⁻¹ Uᵀ:
        A = WᵀK W and B = Wᵀ(w - U M⁻¹(h + Uᵀw)).

        Directions in which M vanishes are those of which neither a law nor the factor says anything; they carry no
        information, so the pseudo-inverse is the limit.
        """
        W = parameters[0]
        laws, U, rest = self._given(parameters, incoming)
        B, A = np.zeros_like(incoming.first), np.zeros_like(incoming.second)
        columns, slots = self._slices(1), self._slices(2)
        for i, d in enumerate(self.dimensions):
            own = np.zeros(W.shape[2], dtype=bool)
            own[columns[i]] = True
            W_i, U_i = W[..., own], U[..., ~own]
            w_i = rest + np.einsum("fmi,fi->fm", W_i, laws.known[:, own])
            M = laws.precision[:, ~own][:, :, ~own] + np.swapaxes(U_i, 1, 2) @ U_i
            gain = U_i @ np.linalg.pinv(M, hermitian=True)
            residual = w_i[..., None] - gain @ (
                laws.information[:, ~own, None] + np.swapaxes(U_i, 1, 2) @ w_i[..., None]
            )
            back = np.swapaxes(W_i, 1, 2)
            precision = back @ (W_i - gain @ (np.swapaxes(U_i, 1, 2) @ W_i))
            information = np.zeros((len(W), d, d))
            information[..., 0] = (back @ residual)[..., 0]
            B[:, slots[i]] = information.reshape(len(W), -1)
            A[:, slots[i]] = (0.5 * (precision + np.swapaxes(precision, 1, 2))).reshape(len(W), -1)
        return Outgoing(B, A)

    def sweeps(self, graph: Any, weights: Any, start: Any, schedule: str, damping: Any) -> Any:
        """See ``vector_sweeps``."""
        from factorgraph.factors.vector_sweeps import vector_sweeps

        return vector_sweeps(graph, weights, schedule)

    def log_partition(self, parameters: Parameters, incoming: Incoming) -> Array:
        """log ∫ of the factor times the arguments' e^{h·x - x·Gx/2}, relative to their value at the centre."""
        laws, U, rest = self._centred(parameters, incoming)
        step, log_det, _ = _peak(laws, U, rest)
        rest = rest - np.einsum("fmi,fi->fm", U, step)
        law = laws.information - 0.5 * np.einsum("fij,fj->fi", laws.precision, step)
        width = laws.free.sum(axis=1) * LOG_2PI - log_det
        return parameters[2] + 0.5 * (width - (rest * rest).sum(axis=1)) + (law * step).sum(axis=1)

    def mean_log_factor(self, parameters: Parameters, incoming: Incoming) -> Array:
        """c - E|w - W x|²/2."""
        laws, U, rest = self._centred(parameters, incoming)
        step, _, trace = _peak(laws, U, rest)
        rest = rest - np.einsum("fmi,fi->fm", U, step)
        return parameters[2] - 0.5 * ((rest * rest).sum(axis=1) + trace)

    def quadratic_form(self, parameters: Parameters) -> QuadraticForm:
        """Residuals of weight 1, of the first columns of the vectors' places."""
        W, w, constant = parameters
        matrix = np.zeros((*W.shape[:2], len(self.spins)))
        for columns, slots, d in zip(self._slices(1), self._slices(2), self.dimensions, strict=True):
            matrix[..., slots.start : slots.stop : d] = W[..., columns]
        return QuadraticForm(constant, matrix, w, np.ones_like(w), np.zeros(len(w)))

    def log_factor(self, parameters: Parameters, *x: Array) -> Array:
        """c - |w - W x|²/2, with the components in the first columns of their places."""
        W, w, constant = parameters
        starts = [s.start for s in self._slices(2)]
        components = np.stack([x[s + a * d] for s, d in zip(starts, self.dimensions, strict=True) for a in range(d)])
        trailing = (1,) * (components.ndim - 2)
        rest = w.reshape(*w.shape, *trailing) - np.einsum("fmi,if...->fm...", W, components)
        return constant.reshape(-1, *trailing) - 0.5 * (rest * rest).sum(axis=1)

    def _slices(self, power: int) -> list[slice]:
        """Where each argument is among the columns (power 1) or slots (power 2)."""
        ends = np.cumsum([d**power for d in self.dimensions]).tolist()
        return [slice(a, b) for a, b in zip([0, *ends], ends, strict=False)]

    def _given(self, parameters: Parameters, incoming: Incoming) -> tuple[Laws, Array, Array]:
        """Laws of all arguments side by side, W without the columns of observed components, and w minus their part."""
        W, w, _ = parameters
        F, D = len(W), sum(self.dimensions)
        precision = np.zeros((F, D, D))
        parts = []
        for d, slots, columns in zip(self.dimensions, self._slices(2), self._slices(1), strict=True):
            law = received(incoming.first[:, slots].reshape(F, d, d), incoming.second[:, slots].reshape(F, d, d))
            precision[:, columns, columns] = law.precision
            parts.append((law.information, law.known, law.free))
        information, known, free = (np.concatenate(column, axis=1) for column in zip(*parts, strict=True))
        rest = w - np.einsum("fmi,fi->fm", W, known)
        return Laws(information, precision, known, free), np.where(free[:, None, :], W, 0.0), rest

    def _centred(self, parameters: Parameters, incoming: Incoming) -> tuple[Laws, Array, Array]:
        """``_given`` in terms of the distance of the free components from the centre."""
        laws, U, rest = self._given(parameters, incoming)
        if incoming.centre is None:
            return laws, U, rest
        parts = zip(self._slices(2), self.dimensions, strict=True)
        x = np.concatenate([incoming.centre[:, slots.start : slots.stop : d] for slots, d in parts], axis=1)
        x = np.where(laws.free, x, 0.0)
        information = laws.information - np.einsum("fij,fj->fi", laws.precision, x)
        return laws._replace(information=information), U, rest - np.einsum("fmi,fi->fm", U, x)


def _peak(laws: Laws, U: Array, rest: Array) -> tuple[Array, Array, Array]:
    """Mean of e^{h·x - x·Gx/2 - |rest - Ux|²/2}, log det M for M = G + UᵀU, and tr U M⁻¹ Uᵀ; NaN where M is not > 0.

    By the QR decomposition of U above a root of G, rows and columns in the order of their size: where a factor is much
    sharper than its laws, their sum M has lost these.
    """
    own = np.diagonal(laws.precision, axis1=1, axis2=2)
    unit = np.sqrt(np.where(own > 0.0, own, 1.0))
    values, vectors = np.linalg.eigh(laws.precision / (unit[:, :, None] * unit[:, None, :]))
    least = _ROUNDING * values.shape[1] * np.abs(values).max(axis=1, keepdims=True)
    deviation = np.sqrt(np.where(values > least, values, 0.0))
    turned = np.einsum("fij,fi->fj", vectors, laws.information / unit)
    target = np.concatenate([rest, np.where(values > least, turned / np.where(values > least, deviation, 1.0), 0.0)], 1)
    rows = np.concatenate([U, deviation[..., None] * np.swapaxes(vectors, 1, 2) * unit[:, None, :]], axis=1)
    columns = np.argsort(-np.abs(rows).max(axis=1), axis=1)
    rows = np.take_along_axis(rows, columns[:, None], axis=2)
    order = np.argsort(-np.abs(rows).max(axis=2), axis=1, kind="stable")
    q, r = np.linalg.qr(np.take_along_axis(rows, order[..., None], axis=1))
    diagonal = np.abs(np.diagonal(r, axis1=1, axis2=2))
    proper = (values[:, 0] >= -least[:, 0]) & (diagonal.min(axis=1) > 0.0)
    r = np.where(proper[:, None, None], r, np.eye(r.shape[1]))
    seen = np.swapaxes(q, 1, 2) @ np.take_along_axis(target, order, axis=1)[..., None]
    step = np.linalg.solve(r, seen)[..., 0].astype(np.float64, copy=False)
    back = np.argsort(columns, axis=1)
    log_det = 2.0 * np.log(np.where(proper[:, None], diagonal, np.nan)).sum(axis=1)
    trace = (np.where(order[..., None] < U.shape[1], q, 0.0) ** 2).sum(axis=(1, 2))
    return np.take_along_axis(step, back, axis=1), log_det, trace
