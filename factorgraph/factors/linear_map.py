"""A known matrix between two vectors with shared precisions, z = A x: the linear node of vector message passing."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from factorgraph.factors.base import Array, Group, Kind, Parameters, Part, aligned
from factorgraph.interface.errors import ContradictionError, ModelError
from factorgraph.messages.natural import Incoming, Outgoing, least_variance
from factorgraph.model.description import Model, Selection
from factorgraph.model.layout import Layout
from factorgraph.numerics.special import LOG_2PI
from factorgraph.numerics.spectral import Spectral, matrix_argument

OUT_OF_RANGE = 1e-6  # relative distance from the range of a matrix that rounding of observed outputs may leave


@dataclass(frozen=True, eq=False, init=False)
class LinearMap(Group):
    """Constraints output = matrix · input between vectors along the last axis, with one precision each.

    Each message has the moments of the joint law of both ends, projected to one precision per vector (a d × d matrix,
    where the elements are vectors themselves: the columns of a matrix are then mapped together). One singular value
    decomposition serves all messages; each costs two products with U or V.

    Args:
        output: selection (..., m) of a variable with ``shared`` precision.
        input: selection (..., n) of another one, of the same dimension.
        matrix: (m, n) array, sparse, or ``Spectral``.

    Raises:
        ModelError: selections that are not whole vectors with shared precision, a matrix that does not fit.
    """

    matrix: Any
    shared_names = ("matrix",)

    def __init__(self, output: Selection, input: Selection, *, matrix: Any) -> None:
        aligned((output,), "output")
        aligned((input,), "input")
        if not output.shape or not input.shape or output.dimension != input.dimension:
            raise ModelError(f"arguments must be vectors of elements of one dimension, got {output} and {input}")
        matrix = matrix_argument("matrix", matrix, error=ModelError)
        shape = tuple(map(int, matrix.shape))
        if shape != (output.shape[-1], input.shape[-1]):
            raise ModelError(f"`matrix` must be of shape {(output.shape[-1], input.shape[-1])}, got {shape}")
        ends = aligned([output[..., 0], input[..., 0]])
        if ends[0].shape != output.shape[:-1] or ends[1].shape != input.shape[:-1]:
            raise ModelError(f"arguments must have as many vectors, got {output.shape} and {input.shape}")
        object.__setattr__(self, "arguments", (output, input))
        object.__setattr__(self, "matrix", matrix)

    @cached_property
    def spectral(self) -> Spectral:
        """The matrix by its singular values.

        Raises:
            ModelError: a matrix that has none, or that is not finite.
        """
        try:
            return Spectral.of(self.matrix)
        except ValueError as error:
            raise ModelError(str(error)) from None

    def check(self, model: Model) -> None:
        """Raise ``ModelError`` unless both ends are vectors with shared precision."""
        super().check(model)
        for selection in self.arguments:
            if not model.variables[selection.name].shared:
                raise ModelError(f"`{selection.name}` must have a shared precision (shared=True) to be mapped")

    def parts(self, layout: Layout) -> list[Part]:
        """One part, its factors with the places of both vectors as arguments."""
        places = []
        for selection in self.arguments:
            first, d = layout.scalars(selection), max(1, selection.dimension)
            places.append((first[..., None] + np.arange(d * d)).reshape(-1, selection.shape[-1] * d * d))
        d = self.arguments[0].dimension
        return [Part(SpectralMap(self.spectral, d), np.concatenate(places, axis=1))]


class _Laws(NamedTuple):
    """Cavity laws of F vectors: information (F, size, d) and precision (F, d, d); values where ``known`` (F,)."""

    information: Array
    precision: Array
    known: Any


@dataclass(frozen=True)
class SpectralMap(Kind):
    """z = A x with A = U diag(s) Vᵀ, for vectors of elements of some dimension (0: scalars); slots of z, then of x.

    With a = Vᵀ h_x, c = Uᵀ h_z of the information h and G_x, G_z the precisions, direction k has precision
    M_k = G_x + s_k² G_z and mean M_k⁻¹(a_k + s_k c_k). What is observed is the limit G_z = ∞.
    """

    matrix: Spectral
    dimension: int
    seen: dict[str, tuple[Array, Array]] = field(default_factory=dict, compare=False, repr=False)
    name = "LinearMap"
    approximate = True
    whole = True

    @property
    def spins(self) -> tuple[bool, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """None, on any slot."""
        return (False,) * (sum(self.matrix.shape) * self._places)

    @property
    def projects(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """All."""
        return tuple(range(len(self.spins)))

    def rule(self, parameters: Parameters, incoming: Incoming, *, maximum: bool = False) -> Outgoing:
        """The moments of both ends under the joint law, one precision each, divided by the cavity laws.

        To x: C = Σ_k M_k⁻¹/n + (1 - r/n) G_x⁻¹, A = C⁻¹ D and B = C⁻¹(V M⁻¹ s (c - s G_z G_x⁻¹ a) + D G_x⁻¹ h_x) with
        D = Σ_k M_k⁻¹ s_k² G_z/n, which are C⁻¹ - G_x and the rest of the mean without cancelling; to z likewise.
        Where a direction of x is known from neither side, nothing is said about x.
        """
        m, n = self.matrix.shape
        z, x = self._ends(incoming)
        proper = self._proper(z, x)
        covariance, mean = self._directions(z, x, proper)
        B, A = np.zeros_like(incoming.first), np.zeros_like(incoming.second)
        wanted = np.ones(m + n) if incoming.wanted is None else incoming.wanted[:, :: self._places].any(axis=0)
        slots = m * self._places
        if wanted[:m].any():
            B[:, :slots], A[:, :slots] = self._to_output(z, x, covariance, mean, proper & ~z.known)
        if wanted[m:].any():
            B[:, slots:], A[:, slots:] = self._to_input(z, x, covariance, mean, proper)
        return Outgoing(B, A)

    def _to_output(self, z: _Laws, x: _Laws, covariance: Array, mean: Array, said: Any) -> tuple[Array, Array]:
        m, s = self.matrix.shape[0], self.matrix.s[:, None]
        C = _symmetric((covariance * s[..., None] ** 2).sum(axis=1) / m)
        eye, rest = np.eye(C.shape[1]), m - len(s)
        inverse = _inverses(np.where(said[:, None, None], C, eye))
        gain = (covariance.sum(axis=1) @ x.precision + rest * eye) / m
        A = _symmetric(inverse @ gain)
        if rest or not np.all(_definite(z.precision)):
            return self._slots(self._back(self.matrix.left, s * mean) @ inverse - z.information, A, said)
        own = _inverses(z.precision)
        a, c = self._seen_right(x), self._seen_left(z)
        shift = self._back(self.matrix.left, _apply(covariance, s * a - c @ own @ x.precision))
        return self._slots((shift + z.information @ _symmetric(gain @ own)) @ inverse, A, said)

    def _to_input(self, z: _Laws, x: _Laws, covariance: Array, mean: Array, said: Any) -> tuple[Array, Array]:
        n, s = self.matrix.shape[1], self.matrix.s[:, None]
        eye, rest, known = np.eye(z.precision.shape[1]), n - len(s), z.known[:, None, None]
        lawful = _definite(x.precision)
        said = said & lawful if rest else said
        own = _inverses(np.where(lawful[:, None, None], x.precision, eye))
        C = covariance.sum(axis=1) / n + rest / n * own
        if not rest and z.known.any():  # the output determines the input
            C = np.where(known, least_variance(float(np.mean(mean**2))) * eye, C)
        inverse = _inverses(np.where(said[:, None, None], C, eye))
        gain = (covariance * s[..., None] ** 2).sum(axis=1) @ z.precision
        gain = np.where(known, len(s) * eye, gain) / n
        A = _symmetric(inverse @ gain)
        if not np.all(lawful | ~said):
            return self._slots(self._back(self.matrix.right_transposed, mean) @ inverse - x.information, A, said)
        a, c = self._seen_right(x), self._seen_left(z)
        shift = np.where(known, mean - a @ own, _apply(covariance, s * (c - s * (a @ own @ z.precision))))
        shift = self._back(self.matrix.right_transposed, shift)
        return self._slots((shift + x.information @ _symmetric(gain @ own)) @ inverse, A, said)

    def log_partition(self, parameters: Parameters, incoming: Incoming) -> Array:
        """log ∫ dx of both laws at x and A x; +∞ for values observed with certainty where A has not full row rank."""
        m, n = self.matrix.shape
        (z, x), s, d = self._ends(incoming), self.matrix.s[:, None], max(1, self.dimension)
        proper = self._proper(z, x)
        mean = self._directions(z, x, proper)[1]
        if self.dimension and incoming.centre is not None:
            return np.where(proper, self._about(z, x, mean, incoming.centre), np.nan)
        a, c = self._seen_right(x), self._seen_left(z)
        precision = self._precisions(z, x)
        total = 0.5 * ((a + s * c) * mean).sum(axis=(1, 2)) + 0.5 * len(s) * d * LOG_2PI - 0.5 * _log_dets(precision, 1)
        value = c / s
        square = (value * (value @ x.precision)).sum(axis=(1, 2))
        density = (a * value).sum(axis=(1, 2)) - 0.5 * square - d * np.log(s).sum()
        total = np.where(z.known, density if len(s) == m else np.inf, total)
        if n > len(s):
            outside = _inverses(np.where(_definite(x.precision)[:, None, None], x.precision, np.eye(d)))
            squares = ((x.information @ outside) * x.information).sum(axis=(1, 2)) - ((a @ outside) * a).sum(
                axis=(1, 2)
            )
            logs = d * LOG_2PI - _log_dets(x.precision[:, None], 1)
            total += np.where(_definite(x.precision), 0.5 * (squares + (n - len(s)) * logs), np.nan)
        if self.dimension:
            return np.where(proper, total, np.nan)
        return self._normalised(np.where(proper, total, np.nan), z, x, a, c)

    def _about(self, z: _Laws, x: _Laws, mean: Array, centre: Array) -> Array:
        """The same for laws relative to their values at a centre: the peak's distance from there is what counts."""
        (m, n), s, d = self.matrix.shape, self.matrix.s, self.dimension
        values = centre.reshape(len(centre), m + n, d, d)[..., 0]
        peak_z = self._back(self.matrix.left, s[:, None] * mean)
        peak_x = self._back(self.matrix.right_transposed, mean)
        width = 0.5 * (len(s) * d * LOG_2PI - _log_dets(self._precisions(z, x), 1))
        total = np.where(
            z.known, -d * np.log(s).sum() if len(s) == m else np.inf, width + _rise(z, values[:, :m], peak_z)
        )
        if n > len(s):
            lawful = _definite(x.precision)
            outside = x.information - self._back(self.matrix.right_transposed, self._seen_right(x))
            peak_x = peak_x + outside @ _inverses(np.where(lawful[:, None, None], x.precision, np.eye(d)))
            rest = 0.5 * (n - len(s)) * (d * LOG_2PI - _log_dets(x.precision[:, None], 1))
            total = total + np.where(lawful, rest, np.nan)
        return total + _rise(x, values[:, m:], peak_x)

    def _normalised(self, total: Array, z: _Laws, x: _Laws, a: Array, c: Array) -> Array:
        """For laws of scalars, which are normalised where they can be: in terms of residuals, without cancelling."""
        m, s = self.matrix.shape[0], self.matrix.s
        G_x, G_z = x.precision[:, 0], np.where(z.known[:, None], 1.0, z.precision[:, 0])
        a, c, outside = a[..., 0], c[..., 0], m - len(s)
        with np.errstate(divide="ignore", invalid="ignore"):
            residual = c - s * G_z / G_x * a
            rate = G_z * G_x / (G_x + s**2 * G_z)
            both = 0.5 * (np.log(rate) - LOG_2PI - (residual / G_z) ** 2 * rate).sum(axis=1)
            seen = self._back(self.matrix.left, c[..., None]) if outside else z.information
            missed = ((z.information - seen) ** 2).sum(axis=(1, 2))
            both += 0.5 * (outside * (np.log(G_z[:, 0]) - LOG_2PI) - missed / G_z[:, 0])
            variance = s**2 / G_x
            known = -0.5 * ((c - s / G_x * a) ** 2 / variance + np.log(variance) + LOG_2PI).sum(axis=1)
            flat = total - 0.5 * ((z.information**2).sum(axis=(1, 2)) / G_z[:, 0] + m * (LOG_2PI - np.log(G_z[:, 0])))
        known = np.where(np.isinf(total), total, known)
        proper = np.where(z.known, known, np.where(G_z[:, 0] > 0.0, both, 0.0))
        return np.where(G_x[:, 0] > 0.0, proper, np.where(z.known | (G_z[:, 0] == 0.0), total, flat))

    def mean_log_factor(self, parameters: Parameters, incoming: Incoming) -> Array:
        """0, of a constraint."""
        return np.zeros(len(incoming.first))

    def log_factor(self, parameters: Parameters, *x: Array) -> Array:
        """0 where the constraint holds to rounding, -∞ else."""
        step = max(1, self.dimension)
        values = np.stack(x)[:: step if self.dimension else 1] if self.dimension else np.stack(x)
        m, n = self.matrix.shape
        z, inputs = values[: m * step], values[m * step :]
        flat = np.asarray(self.matrix @ inputs.reshape(n, -1)).reshape(z.shape)
        return np.where(np.isclose(z, flat).all(axis=0), 0.0, -np.inf)

    @property
    def centred(self) -> bool:
        """For vectors: see ``Kind``."""
        return self.dimension > 0

    @property
    def _places(self) -> int:
        return max(1, self.dimension**2)

    def _ends(self, incoming: Incoming) -> tuple[_Laws, _Laws]:
        """The laws of z and x.

        Raises:
            ModelError: x is observed, or a vector of z in some elements only.
        """
        F, d, ends = len(incoming.first), max(1, self.dimension), []
        slots = self.matrix.shape[0] * self._places
        for part in (slice(0, slots), slice(slots, None)):
            first = incoming.first[:, part].reshape(F, -1, d, d)[..., 0]
            second = incoming.second[:, part].reshape(F, -1, d, d)
            if self.dimension:
                observed = np.isinf(np.diagonal(second, axis1=2, axis2=3)).reshape(F, -1)
                precision = second[:, 0]
            else:
                observed = second.reshape(F, -1) == 0.0
                precision = np.where(observed[:, :1, None], 1.0, 1.0 / np.where(second[:, 0] == 0.0, 1.0, second[:, 0]))
                first = np.where(observed[:, :1, None], first, first * precision)
            known = np.asarray(observed.all(axis=1))
            if np.any(observed.any(axis=1) & ~known):
                raise ModelError("vectors with shared precision must be observed as a whole or not at all, got a part")
            ends.append(_Laws(first, np.where(known[:, None, None], np.eye(d), precision), known))
        if ends[1].known.any():
            raise ModelError("the input of LinearMap must be free, got one that is observed: observe its output")
        return ends[0], ends[1]

    def _precisions(self, z: _Laws, x: _Laws) -> Array:
        """M_k (F, r, d, d)."""
        return x.precision[:, None] + self.matrix.s[:, None, None] ** 2 * z.precision[:, None]

    def _proper(self, z: _Laws, x: _Laws) -> Any:
        """(F,) where every direction has a law."""
        s = self.matrix.s[[0, -1]] if self.matrix.rank > 1 else self.matrix.s
        extremes = x.precision[:, None] + np.array([s.min(), s.max()])[:, None, None] ** 2 * z.precision[:, None]
        return z.known | _definite(extremes).all(axis=1)

    def _directions(self, z: _Laws, x: _Laws, proper: Any) -> tuple[Array, Array]:
        """Covariances (F, r, d, d) and means (F, r, d) along the singular vectors."""
        s, eye = self.matrix.s[:, None], np.eye(z.precision.shape[1])
        a, c = self._seen_right(x), self._seen_left(z)
        covariance = _inverses(np.where(proper[:, None, None, None], self._precisions(z, x), eye))
        mean = _apply(covariance, a + s * c)
        known = z.known[:, None, None]
        return np.where(known[..., None], 0.0, covariance), np.where(known, c / s, mean)

    def _seen_right(self, x: _Laws) -> Array:
        return self._seen("right", x, self.matrix.right)

    def _seen_left(self, z: _Laws) -> Array:
        before = self.seen.get("left")
        c = self._seen("left", z, self.matrix.left_transposed)
        if self.seen["left"] is not before and z.known.any() and self.matrix.rank < self.matrix.shape[0]:
            missed = np.linalg.norm((z.information - self._back(self.matrix.left, c))[z.known], axis=(1, 2))
            size = np.linalg.norm(z.information[z.known], axis=(1, 2))
            if np.any(missed > OUT_OF_RANGE * size):
                raise ContradictionError(
                    "an output observed with certainty must be a matrix times some input, got one at a relative "
                    f"distance {float(np.max(missed / size)):.2g} (the matrix has rank {self.matrix.rank} and "
                    f"{self.matrix.shape[0]} rows): observe it through noise, by Linear"
                )
        return c

    def _seen(self, side: str, law: _Laws, product: Any) -> Array:
        """(F, r, d) the information along the singular vectors; the last product is kept, for it is asked for twice."""
        old = self.seen.get(side)
        if old is None or not np.array_equal(old[0], law.information):
            old = self.seen[side] = law.information, self._back(product, law.information)
        return old[1]

    def _back(self, product: Any, values: Array) -> Array:
        """A product with each of the columns of (F, k, d)."""
        F, k, d = values.shape
        if F * d == 1:  # a single vector, which is a case of its own for the product
            return np.asarray(product(values.reshape(k))).reshape(1, -1, 1)
        columns = np.ascontiguousarray(np.moveaxis(values, 1, 0).reshape(k, F * d))
        return np.moveaxis(product(columns).reshape(-1, F, d), 0, 1)

    def _slots(self, B: Array, A: Array, said: Any) -> tuple[Array, Array]:
        """Messages in the places of vectors: information in the first columns, the shared precision in all."""
        F, k, d = B.shape
        first, second = np.zeros((F, k, d, d)), np.broadcast_to(A[:, None], (F, k, d, d))
        first[..., 0] = np.where(said[:, None, None], B, 0.0)
        return first.reshape(F, -1), np.where(said[:, None, None, None], second, 0.0).reshape(F, -1)


def _rise(law: _Laws, start: Array, end: Array) -> Array:
    """How much more the logarithm of e^{h·x - x·Gx/2} is at one point than at another, (F,)."""
    return ((end - start) * (law.information - 0.5 * (start + end) @ law.precision)).sum(axis=(1, 2))


def _inverses(matrices: Array) -> Array:
    return 1.0 / matrices if matrices.shape[-1] == 1 else np.asarray(np.linalg.inv(matrices), dtype=np.float64)


def _apply(matrices: Array, vectors: Array) -> Array:
    return matrices[..., 0] * vectors if matrices.shape[-1] == 1 else np.einsum("...ij,...j->...i", matrices, vectors)


def _symmetric(matrices: Array) -> Array:
    return 0.5 * (matrices + np.swapaxes(matrices, -1, -2))


def _definite(matrices: Array) -> Any:
    return matrices[..., 0, 0] > 0.0 if matrices.shape[-1] == 1 else np.linalg.eigvalsh(matrices)[..., 0] > 0.0


def _log_dets(matrices: Array, axis: int) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(matrices[..., 0, 0]) if matrices.shape[-1] == 1 else np.linalg.slogdet(matrices)[1]
    return logs.sum(axis=axis)
