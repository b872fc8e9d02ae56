"""Elements that share one precision: any factor between whole vectors, its messages projected to that family.

Along the last axis of a variable with ``shared`` precision every message has one precision: a number for scalars
(isotropic vectors), a d × d matrix for elements that are vectors themselves (the rows of a matrix). A factor sends what
it always sends; the belief that this makes with the cavity law is projected to the family, its variances averaged, and
the message is the quotient of projection and cavity law: expectation propagation [Minka 2001], which on the graph
prior - matrix - channel is vector approximate message passing [Rangan-Schniter-Fletcher 2016].
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from factorgraph.factors.base import Array, Kind, Parameters, Part
from factorgraph.factors.vector_linear import VectorGaussian, whitened
from factorgraph.factors.vector_site import VectorSite
from factorgraph.interface.errors import ModelError
from factorgraph.messages.natural import Incoming, Outgoing, log_integral, natural
from factorgraph.messages.ranges import message_precision, message_precisions, quotient
from factorgraph.model.layout import Layout, places
from factorgraph.priors import Gaussian, GroupSparse, Prior


@dataclass(frozen=True)
class Site(Kind):
    """A prior as a factor of its own, on one real variable: its message has the exact moments of the belief."""

    prior: Prior
    name = "Prior"
    spins = (False,)
    projects = (0,)
    approximate = True

    @cached_property
    def scale(self) -> float:
        """The prior's second moment."""
        mean, variance = self.prior.moments(H=0.0, G=0.0)
        return float(mean**2 + variance)

    def rule(self, parameters: Parameters, incoming: Incoming, *, maximum: bool = False) -> Outgoing:
        """Return precision 1/σ - G and information m/σ - H; nothing to an observed variable."""
        H, G, known = natural(incoming.first, incoming.second)
        values = self.prior.evaluate(H=H, G=G)
        B, A = quotient(values.mean, values.variance, H, G, self.scale)
        return Outgoing(np.where(known, 0.0, B), np.where(known, 0.0, A))

    def log_partition(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return psi less the logarithm of the cavity law's own integral; 0 where the value is observed."""
        H, G, known = natural(incoming.first, incoming.second)
        psi = self.prior.evaluate(H=H, G=G).psi - (0.5 * G if self.prior.spin else 0.0)
        return np.where(known, 0.0, psi - log_integral(H, G))[:, 0]

    def log_factor(self, parameters: Parameters, *x: Array) -> Array:
        """Not given: a prior may have atoms.

        Raises:
            ModelError: always.
        """
        raise ModelError("a prior with atoms has no density: variables with shared precision are for `infer`")


@dataclass(frozen=True)
class Projected(Kind):
    """Factors of a kind on vectors of ``size`` elements: the rows of F size factors side by side.

    Attributes:
        inner: the kind, of arguments one element each.
        size: elements of a vector.
        shared: first slot and dimension of the arguments with shared precision.
    """

    inner: Kind
    size: int
    shared: tuple[tuple[int, int], ...]
    approximate = True

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of the kind."""
        return self.inner.name

    @property
    def centred(self) -> bool:
        """Only where it has to be."""
        return bool(self.inner.dimensions)

    @property
    def spins(self) -> tuple[bool, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Those of the kind, over and over."""
        return self.inner.spins * self.size

    @property
    def projects(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """All slots."""
        return tuple(range(len(self.spins)))

    @property
    def numerical(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of the kind."""
        return self.inner.numerical

    def error(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return the largest of all elements."""
        values = self.inner.error(self._parameters(parameters), self._rows(incoming))
        return values.reshape(-1, self.size).max(axis=1)

    def rule(self, parameters: Parameters, incoming: Incoming, *, maximum: bool = False) -> Outgoing:
        """Return the kind's messages, those to vectors with shared precision projected."""
        rows = self._rows(incoming)
        B, A = self.inner.rule(self._parameters(parameters), rows)
        A = np.zeros_like(B) if A is None else A
        for slot, d in self.shared:
            part = slice(slot, slot + max(1, d * d))
            shape = (-1, self.size, max(1, d * d))
            mean, variance, own_B, own_A = (
                values[:, part].reshape(shape) for values in (rows.first, rows.second, B, A)
            )
            if d:
                new = _rows_projected(mean, variance, own_B, own_A, d)
            else:
                new = _projected(mean[..., 0], variance[..., 0], own_B[..., 0], own_A[..., 0])
            B[:, part], A[:, part] = (value.reshape(-1, shape[-1]) for value in new)
        return Outgoing(B.reshape(incoming.first.shape), A.reshape(incoming.first.shape))

    def log_partition(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return sums over the elements."""
        values = self.inner.log_partition(self._parameters(parameters), self._rows(incoming))
        return values.reshape(-1, self.size).sum(axis=1)

    def mean_log_factor(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return sums over the elements."""
        values = self.inner.mean_log_factor(self._parameters(parameters), self._rows(incoming))
        return values.reshape(-1, self.size).sum(axis=1)

    def log_factor(self, parameters: Parameters, *x: Array) -> Array:
        """Return sums over the elements."""
        k, F = len(self.inner.spins), len(x[0])
        columns = np.stack(x).reshape(self.size, k, F, -1).transpose(1, 2, 0, 3).reshape(k, F * self.size, -1)
        values = self.inner.log_factor(self._parameters(parameters), *columns)
        return values.reshape(F, self.size, -1).sum(axis=1).reshape(x[0].shape)

    def _rows(self, incoming: Incoming) -> Incoming:
        k = len(self.inner.spins)
        centre = None if incoming.centre is None else incoming.centre.reshape(-1, k)
        return Incoming(incoming.first.reshape(-1, k), incoming.second.reshape(-1, k), centre=centre)

    def _parameters(self, parameters: Parameters) -> Parameters:
        return tuple(values.reshape(-1, *values.shape[2:]) for values in parameters)


def _projected(mean: Array, variance: Array, B: Array, A: Array) -> tuple[Array, Array]:
    """Return messages (F, N) that with the cavity laws make beliefs of the same means and of the average variance."""
    _, G, known = natural(mean, variance)
    total = G + A
    proper = (total > 0.0).all(axis=1, keepdims=True)
    total = np.where(proper, total, 1.0)
    centre = np.where(G > 0.0, mean, 0.0)
    shift = (B - A * centre) / total  # from the cavity law's mean to that of the belief, which may be much closer
    covariance, share = (values.mean(axis=1, keepdims=True) for values in (1.0 / total, A / total))
    precision = message_precision(covariance, share)
    information = precision * centre + (G + precision) * shift
    return np.where(known, B, np.where(proper, information, 0.0)), np.where(known, A, np.where(proper, precision, 0.0))


def _rows_projected(first: Array, second: Array, B: Array, A: Array, d: int) -> tuple[Array, Array]:
    """Return the same for vectors of dimension d, (F, N, d²): covariance matrices averaged."""
    shape = (*first.shape[:2], d, d)
    H, G, B, A = first.reshape(shape)[..., 0], second.reshape(shape), B.reshape(shape)[..., 0], A.reshape(shape)
    known = np.asarray(np.isinf(np.diagonal(G, axis1=2, axis2=3)).any(axis=(1, 2)))[:, None, None, None]
    G = np.where(known, 0.0, G)
    total = 0.5 * (G + A + np.swapaxes(G + A, -1, -2))
    minimum = np.linalg.eigvalsh(total)[..., 0]
    proper = np.asarray((minimum > 0.0).all(axis=1))[:, None, None, None]
    covariance = np.linalg.inv(np.where(proper, total, np.eye(d)))
    belief = np.einsum("fnij,fnj->fni", covariance, H + B)
    precision = message_precisions(covariance.mean(axis=1), (covariance @ A).mean(axis=1))[:, None]
    information = np.zeros(shape)
    information[..., 0] = np.einsum("fnij,fnj->fni", np.broadcast_to(G + precision, shape), belief) - H
    spread = np.zeros(shape)
    spread[..., 0] = B
    B, A = (np.where(known, old, np.where(proper, new, 0.0)) for old, new in ((spread, information), (A, precision)))
    return B, np.broadcast_to(A, shape).copy()


def sites(layout: Layout) -> Iterator[Part]:
    """Yield the priors of vectors, and those of variables with shared precision that have not the form of a message."""
    for name, variable in layout.model.variables.items():
        if variable.dimension:
            if isinstance(variable.prior, GroupSparse):
                d, every = variable.dimension, np.arange(layout.size)
                yield Part(VectorSite(variable.prior), layout.matrices(name, every).reshape(-1, d * d))
            elif isinstance(variable.prior, Gaussian) and variable.prior.precision > 0.0:
                yield _of_components(variable.prior, layout, name)
        elif variable.shared and isinstance(variable.prior, Prior) and not has_natural_prior(variable):
            block = layout.slice(name)
            yield Part(Site(variable.prior), np.arange(block.start, block.stop)[:, None])


def _of_components(prior: Gaussian, layout: Layout, name: str) -> Part:
    """Return a Gaussian prior of every component of the vectors of a variable."""
    places = layout.matrices(name, np.arange(layout.size))
    d = places.shape[-1]
    places = places.reshape(-1, d * d)
    row = whitened(np.eye(d)[None], np.full((1, d), prior.mean), np.eye(d)[None] / prior.precision)
    parameters = tuple(np.broadcast_to(values, (len(places), *values.shape[1:])) for values in row)
    return Part(VectorGaussian(d, (d,)), places, parameters)


def _names(part: Part, layout: Layout) -> list[str]:
    """Return the variables of the arguments."""
    names, slot = [], 0
    while slot < part.variables.shape[1]:
        names.append(layout.name_of(int(part.variables[0, slot])))
        slot += places(layout.model.variables[names[-1]])
    return names


def has_natural_prior(variable: Any) -> bool:
    """Return whether a variable's prior has the form of its messages."""
    prior: Prior = variable.prior
    return prior.natural is not None and not (variable.shared and prior.spin)


def whole(part: Part, layout: Layout) -> Part:
    """Return the same factors on whole vectors, if some of their arguments share precisions.

    Raises:
        ModelError: not all elements of a vector in their order are arguments of such factors, or a kind that has no
            messages of this form.
    """
    if not len(part.variables):
        return part
    shared = [] if part.kind.whole else [n for n in _names(part, layout) if layout.model.variables[n].shared]
    if not shared:
        return part
    if part.kind.full_variance or part.kind.law_slot is not None:
        raise ModelError(f"factors on variables with shared precision must be sums or maps, got {part.kind.name}")
    size, slots, slot = layout.shapes[shared[0]][-1], [], 0
    F, k = part.variables.shape
    for name in _names(part, layout):
        variable = layout.model.variables[name]
        if variable.shared:
            table = part.variables[:, slot]
            fits = layout.shapes[name][-1] == size and F % size == 0
            vectors = layout.first_of[table[:: size if fits else 1], None] + places(variable) * np.arange(size)
            if not fits or not np.array_equal(table, vectors.ravel()):
                raise ModelError(
                    f"factors on `{name}` must take whole vectors, all {layout.shapes[name][-1]} elements of its last "
                    f"axis in their order, because these share one precision; got {part.kind.name} on some"
                )
            slots.append((slot, variable.dimension))
        slot += places(variable)
    kind = Projected(part.kind, size, tuple(slots))
    parameters = tuple(values.reshape(-1, size, *values.shape[1:]) for values in part.parameters)
    return Part(kind, part.variables.reshape(F // size, size * k), parameters)
