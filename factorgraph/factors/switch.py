"""A category that says which of several linear-Gaussian factors holds: mixtures, switching state-space models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.factors.base import Array, Group, Kind, Parameters, Part, aligned
from factorgraph.factors.joints import Joint, shares
from factorgraph.factors.linear import Linear
from factorgraph.factors.table import argument_values
from factorgraph.interface.arguments import number_array
from factorgraph.interface.errors import ModelError
from factorgraph.messages.categories import log_sums, normalised
from factorgraph.messages.natural import Incoming, Outgoing
from factorgraph.messages.vectors import Laws, moments, received
from factorgraph.model.description import Model, Selection
from factorgraph.model.layout import Layout


@dataclass(frozen=True, eq=False, init=False)
class Switch(Group):
    """Factors N(target_c; Σ_i coefficient_ci x_i, noise_c), with the state c of a category.

    The message to the category is exact given the laws of the x_i: the evidence of each state. Those to the x_i have
    the moments of the exact mixture, and results are exact only as far as ``result.exact`` says [Minka 2001]. There are
    no maxima.

    Args:
        category: a selection of categories with q states.
        terms: k selections of real variables, or of vectors, of fitting shapes.
        coefficients: a number, or an array with the last axes (q, k); for vectors k matrices (..., q, m, d), or numbers
            for multiples of the identity.
        target: a number, or an array with the last axis q; for vectors with the last axes (q, m).
        noise: variances > 0, likewise; for vectors with the last axes (q, m, m). All with the factors' shape in front,
            or without; at least one with its axis of states.

    Raises:
        ModelError: selections or parameters that do not fit.
    """

    coefficients: Array
    target: Array
    noise: Array
    parameter_names = ("coefficients", "target", "noise")

    def __init__(
        self,
        category: Selection,
        *terms: Selection,
        coefficients: Any = 1.0,
        target: ArrayLike = 0.0,
        noise: ArrayLike = 1.0,
    ) -> None:
        object.__setattr__(self, "arguments", aligned((category, *terms), "category", "terms"))
        if not terms:
            raise ModelError("`terms` must be selections of real variables, got none")
        q = _number_of_states(bool(terms[0].dimension), coefficients, target, noise)
        own = [replace(t, indices=np.repeat(t.indices[..., None], q, axis=-1)) for t in self.arguments[1:]]
        linear = Linear(*own, coefficients=coefficients, target=target, noise=noise)
        for name, values in linear.rows.items():
            object.__setattr__(self, name, values.reshape(-1, q, *values.shape[1:]))

    @classmethod
    def row_shapes(cls, arity: int, shared: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """None: the number of states is not known one factor at a time.

        Raises:
            ModelError: always.
        """
        raise ModelError("`kind` must be one of factors given by a fixed number of numbers, got Switch: use `add`")

    @classmethod
    def from_rows(
        cls, arguments: Sequence[Selection], rows: Mapping[str, Array], shared: Mapping[str, Any]
    ) -> "Switch":
        """Vectors have the matrices of all their arguments side by side."""
        given: dict[str, Any] = dict(rows)
        ends = np.cumsum([argument.dimension for argument in arguments[1:]])
        if ends[-1]:
            given["coefficients"] = np.split(given["coefficients"], ends[:-1], axis=-1)
        return cls(*arguments, **given)

    def check(self, model: Model) -> None:
        """Also that the first argument is a category with as many states as the parameters are for."""
        super().check(model)
        states, q = model.variables[self.arguments[0].name].states, self.target.shape[1]
        if states != q:
            got = f"one of {states}" if states else f"the number `{self.arguments[0].name}`"
            raise ModelError(f"`category` of {self} must be a category of {q} states, as its parameters say, got {got}")
        for selection in self.arguments[1:]:
            variable = model.variables[selection.name]
            if variable.is_spin or variable.states:
                raise ModelError(f"`terms` of {self} must be real variables or vectors, got `{selection.name}`")

    def parts(self, layout: Layout) -> list[Part]:
        """Return one part: the factors of all states side by side."""
        (F, q), slots = self.target.shape[:2], self.slots(layout)
        terms = [Selection(t.name, np.repeat(t.indices.ravel(), q), t.dimension) for t in self.arguments[1:]]
        rows = {name: values.reshape(F * q, *values.shape[2:]) for name, values in self.rows.items()}
        (inner,) = Linear.from_rows(terms, rows, {}).parts(layout)
        parameters = tuple(p.reshape(F, q, *p.shape[1:]) for p in inner.parameters)
        return [Part(Switched(inner.kind, q), slots, parameters)]


def _number_of_states(vectors: bool, coefficients: Any, target: ArrayLike, noise: ArrayLike) -> int:
    """Return the length of the axis of states, from the parameters that have one."""
    matrices = coefficients if vectors and isinstance(coefficients, (list, tuple)) else [coefficients]
    more = 1 if vectors else 0
    axes = [(c, 3 if vectors else 2) for c in matrices] + [(target, 1 + more), (noise, 1 + 2 * more)]
    shapes = [(number_array("parameters", values, error=ModelError).shape, axis) for values, axis in axes]
    found = {shape[-axis] for shape, axis in shapes if len(shape) >= axis}
    if len(found) != 1:
        raise ModelError(
            "`coefficients`, `target` and `noise` must have one length of their axes of states, "
            f"got {sorted(found) if found else 'none with such an axis'}"
        )
    return int(found.pop())


@dataclass(frozen=True)
class Switched(Kind):
    """Factors of a kind on real arguments, one for each state of a category, which comes first.

    Attributes:
        inner: the kind; its parameters are arrays (F, q, ...) here.
        count: q.
    """

    inner: Kind
    count: int
    name = "Switch"

    @property
    def spins(self) -> tuple[bool, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """None."""
        return (False,) * (self.count + len(self.inner.spins))

    @property
    def states(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Of the category, and 0 for the others."""
        return (self.count, *(0 for _ in self.inner.widths))

    @property
    def widths(self) -> tuple[int, ...]:
        """Slots of the category, then those of the kind."""
        return (self.count, *self.inner.widths)

    @property
    def projects(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The real arguments."""
        return tuple(range(self.count, len(self.spins)))

    @property
    def centred(self) -> bool:
        """That of the kind."""
        return self.inner.centred

    def given(self, parameters: Parameters, states: Any) -> Parameters:
        """Return the parameters of the kind's factors if the categories are in these states (F,)."""
        return tuple(p[np.arange(len(p)), states] for p in parameters)

    def rule(self, parameters: Parameters, incoming: Incoming, *, maximum: bool = False) -> Outgoing:
        """To the category log-evidence, to the others the moments of the mixture over their cavity laws."""
        every, rows = self._every(parameters), self._repeated(incoming)
        evidence = self._evidence(every, rows)
        weight = np.exp(normalised(incoming.first[:, : self.count] + evidence))
        sent = self.inner.rule(every, rows._replace(centre=None))
        assert sent.A is not None
        answers = [values.reshape(len(weight), self.count, -1) for values in (sent.B, sent.A)]
        B, A = np.zeros(incoming.first.shape), np.zeros(incoming.first.shape)
        B[:, : self.count] = normalised(evidence)
        slot = 0
        for width in self.inner.widths:
            own, outer = slice(slot, slot + width), slice(self.count + slot, self.count + slot + width)
            match = _match_vectors if self.inner.dimensions else _match
            B[:, outer], A[:, outer] = match(
                weight, incoming.first[:, outer], incoming.second[:, outer], *(v[..., own] for v in answers)
            )
            slot += width
        return Outgoing(B, A)

    def log_partition(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return log Σ p_c Z_c."""
        evidence = self._log_partitions(self._every(parameters), self._repeated(incoming))
        return log_sums(np.ascontiguousarray(incoming.first[:, : self.count] + evidence))

    def mean_log_factor(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return Σ over the states of their probability under the belief times the kind's."""
        every, rows = self._every(parameters), self._repeated(incoming)
        weight = np.exp(normalised(incoming.first[:, : self.count] + self._evidence(every, rows)))
        values = self.inner.mean_log_factor(every, rows).reshape(-1, self.count)
        return np.where(weight > 0.0, weight * values, 0.0).sum(axis=1)

    def joint(self, parameters: Parameters, incoming: Incoming) -> Joint:
        """Return the Gaussian of each state, with its probability under the belief."""
        every, rows = self._every(parameters), self._repeated(incoming)
        given = self.inner.joint(every, rows)
        log_w, r = incoming.first[:, : self.count] + self._evidence(every, rows), given.mean.shape[-1]
        return Joint(shares(log_w), given.mean.reshape(*log_w.shape, r), given.covariance.reshape(*log_w.shape, r, r))

    def largest(self, parameters: Parameters) -> Array:
        """Return the largest of all states."""
        return self.inner.largest(self._every(parameters)).reshape(-1, self.count).max(axis=1)

    def log_factor(self, parameters: Parameters, *x: Array) -> Array:
        """Return the logarithm of the factor of the state that holds."""
        (state,) = argument_values((self.count,), x[: self.count])
        reals = np.broadcast_arrays(*x[self.count :])
        values = [
            self.inner.log_factor(self.given(parameters, np.full(len(reals[0]), c)), *reals) for c in range(self.count)
        ]
        return np.take_along_axis(np.stack(values), np.broadcast_to(state, values[0].shape)[None], axis=0)[0]

    def _every(self, parameters: Parameters) -> Parameters:
        """Return parameters (F q, ...) of the kind."""
        return tuple(p.reshape(-1, *p.shape[2:]) for p in parameters)

    def _repeated(self, incoming: Incoming) -> Incoming:
        """Return the laws of the real arguments for every state."""
        values = (incoming.first, incoming.second, incoming.centre)
        first, second, centre = (
            None if v is None else np.repeat(v[:, self.count :], self.count, axis=0) for v in values
        )
        assert first is not None and second is not None
        return Incoming(first, second, centre=centre)

    def _log_partitions(self, every: Parameters, rows: Incoming) -> Array:
        return self.inner.log_partition(every, rows).reshape(-1, self.count)

    def _evidence(self, every: Parameters, rows: Incoming) -> Array:
        """Return (F, q) log-evidence of the states; 0 where an integral diverges, because it says nothing yet."""
        values = self._log_partitions(every, rows)
        return np.where(np.isnan(values).any(axis=1, keepdims=True), 0.0, values)


def _match(weight: Array, first: Array, second: Array, B: Array, A: Array) -> tuple[Array, Array]:
    """Return messages (F, 1) that with the cavity laws have the moments of a mixture of answers B and A (F, q, 1).

    Nothing where the value is observed, or a state leaves the variable without a law.
    """
    m, v, B, A = first, second, B[..., 0], A[..., 0]
    flat = np.isinf(v)
    with np.errstate(all="ignore"):
        rate = np.where(flat, A, 1.0 + A * np.where(flat, 1.0, v))
        # The beliefs' means, from the cavity mean (from 0 where it is flat), and variances.
        shift = np.where(flat, (B + m) / rate, v * (B - A * m) / rate)
        variance = np.where(flat, 1.0, v) / rate
        used = weight > 0.0
        mean = np.where(used, weight * shift, 0.0).sum(axis=1, keepdims=True)
        spread = np.where(used, weight * (shift - mean) ** 2, 0.0).sum(axis=1, keepdims=True)
        total = np.where(used, weight * variance, 0.0).sum(axis=1, keepdims=True) + spread
        gain = np.where(used, weight * A / rate, 0.0).sum(axis=1, keepdims=True)  # (v - mean variance)/v²
        precision = np.where(flat, 1.0 / total, (v * gain - spread / v) / total)
        information = np.where(flat, mean / total - m, precision * m + mean / total)
    proper = (v != 0.0) & np.all(~used | ((variance > 0.0) & (variance < np.inf)), axis=1, keepdims=True)
    proper &= np.isfinite(precision) & np.isfinite(information)
    return np.where(proper, information, 0.0), np.where(proper, precision, 0.0)


def _match_vectors(weight: Array, first: Array, second: Array, B: Array, A: Array) -> tuple[Array, Array]:
    """Return the same for vectors, with all places (F, d²) and answers (F, q, d²)."""
    F, q, d = *weight.shape, round(np.sqrt(first.shape[1]))
    law = received(first.reshape(F, d, d), second.reshape(F, d, d))
    free = np.repeat(law.free, q, axis=0)
    both = free[:, :, None] & free[:, None, :]
    answer = A.reshape(F * q, d, d)
    answer = 0.5 * (answer + np.swapaxes(answer, 1, 2))
    given = B.reshape(F * q, d, d)[..., 0] - np.einsum("nij,nj->ni", answer, np.repeat(law.known, q, axis=0))
    precision = np.repeat(law.precision, q, axis=0) + np.where(both, answer, 0.0)
    information = np.repeat(law.information, q, axis=0) + np.where(free, given, 0.0)
    proper = np.linalg.eigvalsh(precision)[:, 0] > 0.0
    precision = np.where(proper[:, None, None], precision, np.eye(d))
    mean, covariance = moments(Laws(information, precision, np.zeros_like(information), free))
    mean, covariance = mean.reshape(F, q, d), covariance.reshape(F, q, d, d)
    centre = np.einsum("fq,fqi->fi", weight, mean)
    rest = mean - centre[:, None]
    total = np.einsum("fq,fqij->fij", weight, covariance + rest[..., :, None] * rest[..., None, :])
    own = law.free[:, :, None] & law.free[:, None, :]
    matched = np.linalg.inv(np.where(own, total, np.eye(d)))
    informative = np.asarray(proper.reshape(F, q).all(axis=1))[:, None]
    new_A = np.where(own & informative[..., None], matched - law.precision, 0.0)
    new_B = np.zeros((F, d, d))
    pulled = np.einsum("fij,fj->fi", np.where(own, matched, 0.0), centre) - law.information
    new_B[..., 0] = np.where(law.free & informative, pulled, 0.0)
    return new_B.reshape(F, -1), (0.5 * (new_A + np.swapaxes(new_A, 1, 2))).reshape(F, -1)
