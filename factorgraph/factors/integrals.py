"""A function of real and discrete variables as a factor: summed over the latter and integrated where its mass is.

For each configuration of spins and categories the integral is one of ``integration``, nested where there are several
real arguments. Two or three of them are tried first with a product rule about the tilted law, which is enough for
smooth functions, and is believed where a smaller rule agrees.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from factorgraph.factors.base import Array, Kind, Parameters, expand
from factorgraph.factors.joints import Joint, configurations, shares
from factorgraph.interface.errors import ModelError
from factorgraph.messages.categories import log_laws, normalised, state_of
from factorgraph.messages.natural import Incoming, Outgoing
from factorgraph.numerics.integration import moments
from factorgraph.numerics.mass_search import Values
from factorgraph.numerics.product_rule import product_moments

Index = NDArray[np.intp]

#: What may be asked for besides the moments: see ``_Found``.
LOGARITHM, PRODUCTS = "logarithm", "products"

_CHUNK = 2048  # integrals done together
_FEW = 32  # so few are searched thoroughly at no cost to speak of; of more, ``error`` tells what was missed
_POINTS = 2**20  # of product rules, together
# a precision that is less, relative to the belief's, is not told: a tenth of what is called exact
_MIN_PRECISION = 1e-9


class _Rows(NamedTuple):
    """N integrals: a factor at a configuration of its discrete arguments.

    Attributes:
        parameters: arrays (N, ...).
        values: (N, k) of the arguments that are not integrated over.
        centre: (N, k) means of the laws of those that are, 0 where flat.
        variance: (N, k) of these laws.
    """

    parameters: Parameters
    values: Array
    centre: Array
    variance: Array

    def take(self, index: Any) -> "_Rows":
        """Return some of them."""
        values, centre, variance = (array[index] for array in self[1:])
        return _Rows(tuple(p[index] for p in self.parameters), values, centre, variance)


class _Tilted(NamedTuple):
    """Of F factors at S configurations of their discrete arguments.

    Attributes:
        numbers: (S, discrete) of the arguments' values.
        log_p: (F, S, discrete) log-weights of these values under their cavity laws.
        log_total: (F, S) log-integrals over the real arguments.
        shift: (F, S, reals) their means, from the cavity means, or from 0 where these are flat.
        variance: (F, S, reals).
        error: (F, S) estimated; ∞ where an integral diverges.
        further: (F, S, ...) what was asked for besides: see ``_Found``.
    """

    numbers: Index
    log_p: Array
    log_total: Array
    shift: Array
    variance: Array
    error: Array
    further: Array

    @property
    def log_w(self) -> Array:
        """(F, S) of the states, the integrals included."""
        return self.log_total + self.log_p.sum(axis=2)

    @property
    def possible(self) -> NDArray[np.bool_]:
        """(F, S) states that the cavity laws allow."""
        return self.log_p.sum(axis=2) > -np.inf

    def apart(self, other: "_Tilted") -> Array:
        """Return (F,) by how much another search differs, in the units of ``errors``."""
        weight = np.exp(np.minimum(self.log_w - _log_sums(self.log_w)[:, None], 0.0))
        with np.errstate(invalid="ignore", divide="ignore"):
            change = np.abs(np.nan_to_num(self.log_total - other.log_total, nan=0.0, posinf=1.0))
            moved = np.abs(self.shift - other.shift) / np.sqrt(self.variance)
            spread = np.abs(self.variance - other.variance) / self.variance
        change = np.maximum(change, np.nan_to_num(np.maximum(moved, spread), posinf=1.0).max(axis=2))
        return (weight * change).sum(axis=1)

    def errors(self) -> Array:
        """Return (F,) the largest of the possible states; NaN where the factor is 0 on all of them."""
        error = np.where(self.possible, self.error, 0.0).max(axis=1)
        return np.where(np.isinf(error) | (self.log_w > -np.inf).any(axis=1), error, np.nan)


class _Found(NamedTuple):
    """Of N integrals over r arguments: see ``_Tilted``; shifts and variances (N, r) in the order of integration.

    What is asked for besides are means of the ``LOGARITHM`` of the function, (N, 1), or of the ``PRODUCTS`` of the
    deviations from the cavity means (from 0 where these are flat) of any two arguments, (N, r (r - 1)/2).
    """

    log_total: Array
    shift: Array
    variance: Array
    error: Array
    further: Array

    def replace(self, rows: Index, other: "_Found") -> None:
        """Put others in the place of some."""
        for own, new in zip(self, other, strict=True):
            own[rows] = new


@dataclass(frozen=True)
class Quadrature(Kind):
    """A function of at least one real argument.

    Where its integral diverges, or no place is found where it is not 0, the messages are flat: other messages may still
    locate the arguments. ``error`` is infinite, or NaN, where it remains so.
    """

    spins: tuple[bool, ...]
    function: Callable[..., Any]
    nodes: int
    states: tuple[int, ...] = ()
    name = "Function"
    numerical = True

    @property
    def projects(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The real arguments."""
        return self.reals

    @cached_property
    def _starts(self) -> list[int]:
        """The first slot of each argument."""
        return np.cumsum([0, *self.widths[:-1]]).tolist()

    @cached_property
    def _discrete(self) -> list[int]:
        """The arguments that are spins or categories."""
        first = {own.start for own in self.discrete}
        return [i for i, start in enumerate(self._starts) if start in first]

    @cached_property
    def _states(self) -> NDArray[np.int64]:
        """(discrete,) their numbers of states, 0 for spins."""
        return np.array([self.states[i] if self.states else 0 for i in self._discrete], dtype=np.int64)

    @property
    def _values(self) -> tuple[int, ...]:
        """How many values they have."""
        return tuple(int(q) or 2 for q in self._states)

    def rule(self, parameters: Parameters, incoming: Incoming, *, maximum: bool = False) -> Outgoing:
        """Return log-weights of discrete arguments; the quotient of tilted and cavity law for real ones."""
        tilted = self._tilted(parameters, incoming)
        B, A = np.zeros(incoming.first.shape), np.zeros(incoming.first.shape)
        error = tilted.errors()
        sound = np.isfinite(error)
        for place, (i, q) in enumerate(zip(self._discrete, self._states, strict=True)):
            log_w = tilted.log_total + np.delete(tilted.log_p, place, axis=2).sum(axis=2)
            each = [_log_sums(log_w[:, tilted.numbers[:, place] == c]) for c in range(q or 2)]
            with np.errstate(invalid="ignore"):
                sent = normalised(np.stack(each, axis=1)) if q else 0.5 * (each[0] - each[1])[:, None]
            silent = ~sound | np.isnan(sent).any(axis=1)
            B[:, self._starts[i] : self._starts[i] + max(1, q)] = np.where(silent[:, None], 0.0, sent)
        weights = np.exp(tilted.log_w - np.where(sound, _log_sums(tilted.log_w), 0.0)[:, None])
        for place, i in enumerate(self.projects):
            m, v = incoming.first[:, i], incoming.second[:, i]
            shift = (weights * tilted.shift[..., place]).sum(axis=1)
            spread = tilted.variance[..., place] + (tilted.shift[..., place] - shift[:, None]) ** 2
            variance = (weights * spread).sum(axis=1)
            informative = sound & (v != 0.0) & (variance > 0.0)
            own, variance = (
                np.where(informative, 1.0 / np.where(informative, v, 1.0), 0.0),
                np.where(informative, variance, 1.0),
            )
            change = 1.0 / variance - own
            # What lies within the error is nothing: a flat law stays flat, and no rounding makes a precision of it,
            # which would place the law of the other factors, e^{Bx} say, at B/A, out of reach of float64.
            A[:, i] = np.where(
                informative & (np.abs(change) * variance > np.maximum(error, _MIN_PRECISION)), change, 0.0
            )
            moved = informative & (np.abs(shift) > error * np.sqrt(variance))
            flat = informative & np.isinf(v)  # m is the field of the law e^{mx}
            B[:, i] = np.where(moved, shift / variance, 0.0) + np.where(
                flat, -m, np.where(informative, A[:, i] * m, 0.0)
            )
        return Outgoing(B, A)

    def log_partition(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return log of the mean under the cavity laws; NaN where it diverges."""
        tilted = self._tilted(parameters, incoming)
        return np.where(np.isinf(tilted.errors()), np.nan, _log_sums(tilted.log_w))

    def mean_log_factor(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return the mean of the function under its belief."""
        tilted = self._tilted(parameters, incoming, LOGARITHM)
        weights = np.exp(tilted.log_w - _log_sums(tilted.log_w)[:, None])
        return (weights * tilted.further[..., 0]).sum(axis=1)

    def joint(self, parameters: Parameters, incoming: Incoming) -> Joint:
        """Return means and covariances of the real arguments in each configuration of the others."""
        tilted = self._tilted(parameters, incoming, PRODUCTS)
        shift, r, shape = tilted.shift, len(self.reals), (len(incoming.first), *self._values)
        centre = np.where(np.isinf(incoming.second), 0.0, incoming.first)[:, self.reals]
        covariance = tilted.variance[..., None] * np.eye(r)
        for n, (i, j) in enumerate(itertools.combinations(range(r), 2)):
            covariance[..., i, j] = tilted.further[..., n] - shift[..., i] * shift[..., j]
            covariance[..., j, i] = covariance[..., i, j]
        mean = centre[:, None] + shift
        probabilities = shares(tilted.log_w).reshape(shape)
        return Joint(probabilities, mean.reshape(*shape, r), covariance.reshape(*shape, r, r))

    def error(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Of each factor's integrals, estimated: ∞ where they diverge, NaN where no place is found with f > 0."""
        tilted = self._tilted(parameters, incoming)
        if tilted.error.size <= _FEW:
            return tilted.errors()
        finer = self._tilted(parameters, incoming, thorough=True)
        return np.maximum(finer.errors(), finer.apart(tilted))

    def log_factor(self, parameters: Parameters, *x: Array) -> Array:
        """Return the function at what the slots of the arguments hold."""
        if not self.states:
            return self._log_function(parameters, x)
        slots, columns = np.broadcast_arrays(*x), []
        for start, q in zip(self._starts, self.states, strict=True):
            columns.append(state_of(np.stack(slots[start : start + q], axis=-1)) if q else slots[start])
        return self._log_function(parameters, columns)

    def _log_function(self, parameters: Parameters, values: Sequence[Array]) -> Array:
        """Return the function at values (F, ...) of its arguments: integers for categories."""
        states = self.states or (0,) * len(values)
        columns: list[Any] = [v.astype(np.intp) if q else v for v, q in zip(values, states, strict=True)]
        shape = columns[0].shape
        found = np.asarray(self.function(*columns, *(expand(p, columns[0]) for p in parameters)))
        fits = found.ndim <= len(shape) and all(
            a in (1, b) for a, b in zip(found.shape[::-1], shape[::-1], strict=False)
        )
        if found.dtype.kind not in "biuf" or not fits:
            raise ModelError(
                f"`log_factor` must return real numbers of its arguments' shape {shape}, "
                f"got {found.dtype} of shape {found.shape}"
            )
        return np.broadcast_to(found, shape).astype(np.float64, copy=False)

    def _tilted(
        self, parameters: Parameters, incoming: Incoming, further: str = "", *, thorough: bool = False
    ) -> _Tilted:
        """Return all integrals. Those with the same arguments free, and flat, go together."""
        # A row for every factor and configuration of its discrete arguments.
        F, starts, counts = len(incoming.first), self._starts, self._values
        numbers = configurations(counts)
        S, reals = len(numbers), [starts.index(slot) for slot in self.reals]
        values = np.repeat(incoming.first[:, starts], S, axis=0)
        for i, q, own in zip(self._discrete, self._states, numbers.T, strict=True):
            values[:, i] = np.tile(own if q else 1.0 - 2.0 * own, F)
        slots = [slot for own in self.discrete for slot in range(own.start, own.stop)]
        laws = log_laws(np.ascontiguousarray(incoming.first[:, slots]), self._states)
        log_p = laws[:, numbers + np.cumsum([0, *counts[:-1]], dtype=np.intp)[: len(counts)]]
        variance = np.repeat(incoming.second[:, starts], S, axis=0)
        centre = np.where(np.isinf(variance), 0.0, values)
        rows = _Rows(tuple(np.repeat(p, S, axis=0) for p in parameters), values, centre, variance)
        r, thorough = len(reals), thorough or F * S <= _FEW
        more = _count(further, r)
        result = np.zeros((F * S, 2 + 2 * r + more))
        # Rows by which of their arguments are free or flat, some at a time.
        known, flat = variance[:, reals] == 0.0, np.isinf(variance[:, reals])
        pattern = (known + 2 * flat) @ 4 ** np.arange(r)
        for number in np.unique(pattern):
            members = np.flatnonzero(pattern == number)
            order = np.argsort(flat[members[0]], kind="stable")  # flat ones are integrated over first, inside
            places = [int(place) for place in order if not known[members[0], place]]
            free = [reals[place] for place in places]
            step = _CHUNK if len(free) < 2 else max(1, _POINTS // self.nodes ** len(free))
            for start in range(0, members.size, step):
                part = members[start : start + step]
                with np.errstate(all="ignore"):  # far out functions overflow
                    found = self._integrals(rows.take(part), free, further, thorough)
                result[part, 0], result[part, 1] = found.log_total, found.error
                own = np.array(places, dtype=np.intp)
                result[part[:, None], 2 + own], result[part[:, None], 2 + r + own] = found.shift, found.variance
                result[part[:, None], 2 + 2 * r + _placed(further, places, r)] = found.further
        table = result.reshape(F, S, -1)
        cuts = np.split(table, [1, 2, 2 + r, 2 + 2 * r], axis=2)
        log_total, error, shift, spread, more = cuts
        return _Tilted(numbers, log_p, log_total[..., 0], shift, spread, error[..., 0], more)

    def _integrals(self, rows: _Rows, free: list[int], further: str, thorough: bool) -> _Found:
        """Over the free arguments: by nested quadrature, or by a product rule where that is enough."""
        N = len(rows.values)
        if not free:
            log_f = self._log_function(rows.parameters, list(rows.values.T))
            if not np.all(log_f < np.inf):
                bad = log_f[~(log_f < np.inf)][0]
                raise ModelError(f"`log_factor` must be finite or -inf on the values observed, got {bad}")
            more = log_f[:, None] if further == LOGARITHM else np.zeros((N, 0))
            return _Found(log_f, np.zeros((N, 0)), np.zeros((N, 0)), np.zeros(N), more)
        proper = (rows.variance[:, free] > 0.0) & (rows.variance[:, free] < np.inf)
        if len(free) == 1 or not proper.all():
            return self._nested(rows, free, further, thorough and len(free) == 1)

        def log_function(index: Index, x: Array) -> Array:
            columns = [np.broadcast_to(values[index][:, None], (len(x), x.shape[2])) for values in rows.values.T]
            for place, i in enumerate(free):
                columns[i] = rows.centre[index, i][:, None] + x[:, place]
            return self._log_function(tuple(p[index] for p in rows.parameters), columns)

        product = product_moments(log_function, rows.variance[:, free], self.nodes)
        spread = np.diagonal(product.covariance, axis1=1, axis2=2).copy()
        more = product.mean_log[:, None] if further == LOGARITHM else np.zeros((N, 0))
        if further == PRODUCTS:
            i, j = np.triu_indices(len(free), 1)
            more = product.covariance[:, i, j] + product.shift[:, i] * product.shift[:, j]
        found = _Found(product.log_total, product.shift.copy(), spread, product.error, more)
        for row in np.flatnonzero(np.isinf(found.error)):
            found.replace(np.array([row]), self._nested(rows.take(np.array([row])), free, further))
        return found

    def _nested(self, rows: _Rows, free: list[int], further: str, thorough: bool = False) -> _Found:
        """Return the first of the free arguments outside, for each of its values the integral over the others."""
        slot, rest = free[0], free[1:]
        count, k = _count(further, len(free)), len(rest)

        def integrand(owner: Index, d: Array) -> Values:
            x = rows.centre[owner, slot][:, None] + d
            tilt = np.where(np.isinf(rows.variance[owner, slot]), rows.values[owner, slot], 0.0)[:, None] * d
            # The innermost one: the function itself.
            if not rest:
                columns = [np.broadcast_to(values[owner][:, None], d.shape) for values in rows.values.T]
                columns[slot] = x
                log_f = self._log_function(tuple(p[owner] for p in rows.parameters), columns)
                log_w = log_f + tilt
                return Values(log_w, _finite(log_f)[..., None], np.zeros((*d.shape, 1))) if count else Values(log_w)
            # Else the integrals over the others, one for each value.
            inner = rows.take(np.repeat(owner, d.shape[1]))
            inner.values[:, slot] = x.ravel()
            found = self._nested_in_parts(inner, rest, further)
            own = d.reshape(-1, 1) * found.shift if further == PRODUCTS else np.zeros((d.size, 0))
            means = np.column_stack([found.shift, own, _finite(found.further)])
            variances = np.column_stack([found.variance, np.zeros((d.size, count))])
            means, variances = means.reshape(*d.shape, -1), variances.reshape(*d.shape, -1)
            return Values(found.log_total.reshape(d.shape) + tilt, means, variances, found.error.reshape(d.shape))

        centre, variance = rows.centre[:, slot], rows.variance[:, slot]
        found = moments(integrand, centre, variance, level=k, further=k + count, thorough=thorough)
        shift, variance = (
            np.column_stack([own, others[:, :k]])
            for own, others in ((found.shift, found.means), (found.variance, found.variances))
        )
        return _Found(found.log_total, shift, variance, found.error, found.means[:, k:])

    def _nested_in_parts(self, rows: _Rows, free: list[int], further: str) -> _Found:
        """Return the same for very many integrals."""
        starts = range(0, len(rows.values), _CHUNK)
        parts = [self._nested(rows.take(slice(start, start + _CHUNK)), free, further) for start in starts]
        return _Found(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _count(further: str, r: int) -> int:
    """Return of how many quantities besides there are means, for r arguments."""
    return {LOGARITHM: 1, PRODUCTS: r * (r - 1) // 2}.get(further, 0)


def _placed(further: str, places: list[int], r: int) -> Index:
    """Return where what was asked for of some of r arguments, in this order, is among that of all of them."""
    if further != PRODUCTS:
        return np.arange(_count(further, r))
    every = {pair: n for n, pair in enumerate(itertools.combinations(range(r), 2))}
    pairs = itertools.combinations(places, 2)
    return np.array([every[min(pair), max(pair)] for pair in pairs], dtype=np.intp)


def _finite(log_f: Array) -> Array:
    """Return 0 where it is -∞: there the law has no weight."""
    return np.where(log_f > -np.inf, log_f, 0.0)


def _log_sums(log_w: Array) -> Array:
    """Return log Σ e^{log_w} over the last axis, (F,); -∞ where all terms are 0."""
    top = log_w.max(axis=1)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return top + np.log(np.exp(log_w - top[:, None]).sum(axis=1))
