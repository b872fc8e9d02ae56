"""A function of real variables and spins as a factor: summed over the spins and integrated where its mass is.

For each state of the spins the integral is one of ``integration``, nested where there are several real arguments. Two
or three of them are tried first with a product rule about the tilted law, which is enough for smooth functions, and is
believed where a smaller rule agrees.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from factorgraph.factors.base import Array, Kind, Parameters, expand
from factorgraph.interface.errors import ModelError
from factorgraph.messages.natural import Incoming, Outgoing
from factorgraph.numerics.integration import moments
from factorgraph.numerics.mass_search import Values
from factorgraph.numerics.product_rule import product_moments

Index = NDArray[np.intp]

_CHUNK = 2048  # integrals done together
_FEW = 32  # so few are searched thoroughly at no cost to speak of; of more, ``error`` tells what was missed
_POINTS = 2**20  # of product rules, together
# a precision that is less, relative to the belief's, is not told: a tenth of what is called exact
_MIN_PRECISION = 1e-9


def spin_states(k: int) -> Array:
    """Return all states (2^k, k) of k spins; the first one is all +1, and the first spin changes fastest."""
    return 1.0 - 2.0 * ((np.arange(2**k)[:, None] >> np.arange(k)) & 1)


class _Rows(NamedTuple):
    """N integrals: a factor at a state of its spins.

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
    """Of F factors at S states of their spins.

    Attributes:
        states: (S, spins).
        log_p: (F, S, spins) log-weights of the spins' values under their cavity laws.
        log_total: (F, S) log-integrals over the real arguments.
        shift: (F, S, reals) their means, from the cavity means, or from 0 where these are flat.
        variance: (F, S, reals).
        error: (F, S) estimated; ∞ where an integral diverges.
        mean_log: (F, S) mean of the function, if asked for.
    """

    states: Array
    log_p: Array
    log_total: Array
    shift: Array
    variance: Array
    error: Array
    mean_log: Array

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
    """Of N integrals over r arguments: see ``_Tilted``; shifts and variances (N, r) in the order of integration."""

    log_total: Array
    shift: Array
    variance: Array
    error: Array
    mean_log: Array

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
    name = "Function"
    numerical = True

    @property
    def projects(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The real arguments."""
        return tuple(i for i, spin in enumerate(self.spins) if not spin)

    def rule(self, parameters: Parameters, incoming: Incoming, *, maximum: bool = False) -> Outgoing:
        """Return half the log-odds of spins; the quotient of tilted and cavity law for real arguments."""
        tilted = self._tilted(parameters, incoming)
        B, A = np.zeros(incoming.first.shape), np.zeros(incoming.first.shape)
        error = tilted.errors()
        sound = np.isfinite(error)
        for place, i in enumerate(np.flatnonzero(self.spins)):
            log_w = tilted.log_total + np.delete(tilted.log_p, place, axis=2).sum(axis=2)
            up = tilted.states[:, place] > 0.0
            with np.errstate(invalid="ignore"):
                B[:, i] = 0.5 * (_log_sums(log_w[:, up]) - _log_sums(log_w[:, ~up]))
            B[:, i] = np.where(sound & ~np.isnan(B[:, i]), B[:, i], 0.0)
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
        tilted = self._tilted(parameters, incoming, logs=True)
        weights = np.exp(tilted.log_w - _log_sums(tilted.log_w)[:, None])
        return (weights * tilted.mean_log).sum(axis=1)

    def error(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Of each factor's integrals, estimated: ∞ where they diverge, NaN where no place is found with f > 0."""
        tilted = self._tilted(parameters, incoming)
        if tilted.error.size <= _FEW:
            return tilted.errors()
        finer = self._tilted(parameters, incoming, thorough=True)
        return np.maximum(finer.errors(), finer.apart(tilted))

    def log_factor(self, parameters: Parameters, *x: Array) -> Array:
        """Return the function."""
        values = np.asarray(self.function(*x, *(expand(p, x[0]) for p in parameters)))
        fits = values.ndim <= x[0].ndim and all(
            a in (1, b) for a, b in zip(values.shape[::-1], x[0].shape[::-1], strict=False)
        )
        if values.dtype.kind not in "biuf" or not fits:
            raise ModelError(
                f"`log_factor` must return real numbers of its arguments' shape {x[0].shape}, "
                f"got {values.dtype} of shape {values.shape}"
            )
        return np.broadcast_to(values, x[0].shape).astype(np.float64, copy=False)

    def _tilted(
        self, parameters: Parameters, incoming: Incoming, *, logs: bool = False, thorough: bool = False
    ) -> _Tilted:
        """Return all integrals. Those with the same arguments free, and flat, go together."""
        # A row for every factor and state of its spins.
        F = len(incoming.first)
        spin = np.array(self.spins)
        states, reals = spin_states(int(spin.sum())), np.flatnonzero(~spin)
        S = len(states)
        values = np.repeat(incoming.first, S, axis=0)
        values[:, spin] = np.tile(states, (F, 1))
        with np.errstate(over="ignore"):
            log_p = -np.logaddexp(0.0, -2.0 * incoming.first[:, None, spin] * states)
        variance = np.repeat(incoming.second, S, axis=0)
        centre = np.where(np.isinf(variance), 0.0, values)
        rows = _Rows(tuple(np.repeat(p, S, axis=0) for p in parameters), values, centre, variance)
        result, thorough = np.zeros((F * S, 3 + 2 * reals.size)), thorough or F * S <= _FEW
        # Rows by which of their arguments are free or flat, some at a time.
        known, flat = variance[:, reals] == 0.0, np.isinf(variance[:, reals])
        pattern = (known + 2 * flat) @ 4 ** np.arange(reals.size)
        for number in np.unique(pattern):
            members = np.flatnonzero(pattern == number)
            order = reals[np.argsort(flat[members[0]], kind="stable")]  # flat ones are integrated over first, inside
            free = [int(i) for i in order if variance[members[0], i] != 0.0]
            step = _CHUNK if len(free) < 2 else max(1, _POINTS // self.nodes ** len(free))
            for start in range(0, members.size, step):
                part = members[start : start + step]
                with np.errstate(all="ignore"):  # far out functions overflow
                    found = self._integrals(rows.take(part), free, logs, thorough)
                result[part, 0], result[part, 1], result[part, 2] = found.log_total, found.error, found.mean_log
                for column, i in enumerate(free):
                    place = int(np.searchsorted(reals, i))
                    result[part, 3 + place] = found.shift[:, column]
                    result[part, 3 + reals.size + place] = found.variance[:, column]
        table = result.reshape(F, S, -1)
        shift, spread = table[..., 3 : 3 + reals.size], table[..., 3 + reals.size :]
        return _Tilted(states, log_p, table[..., 0], shift, spread, table[..., 1], table[..., 2])

    def _integrals(self, rows: _Rows, free: list[int], logs: bool, thorough: bool) -> _Found:
        """Over the free arguments: by nested quadrature, or by a product rule where that is enough."""
        N = len(rows.values)
        if not free:
            log_f = self.log_factor(rows.parameters, *rows.values.T)
            if not np.all(log_f < np.inf):
                bad = log_f[~(log_f < np.inf)][0]
                raise ModelError(f"`log_factor` must be finite or -inf on the values observed, got {bad}")
            return _Found(log_f, np.zeros((N, 0)), np.zeros((N, 0)), np.zeros(N), log_f)
        proper = (rows.variance[:, free] > 0.0) & (rows.variance[:, free] < np.inf)
        if len(free) == 1 or not proper.all():
            return self._nested(rows, free, logs, thorough and len(free) == 1)

        def log_function(index: Index, x: Array) -> Array:
            columns = [np.broadcast_to(values[index][:, None], (len(x), x.shape[2])) for values in rows.values.T]
            for place, i in enumerate(free):
                columns[i] = rows.centre[index, i][:, None] + x[:, place]
            return self.log_factor(tuple(p[index] for p in rows.parameters), *columns)

        found = _Found(*(values.copy() for values in product_moments(log_function, rows.variance[:, free], self.nodes)))
        for row in np.flatnonzero(np.isinf(found.error)):
            found.replace(np.array([row]), self._nested(rows.take(np.array([row])), free, logs))
        return found

    def _nested(self, rows: _Rows, free: list[int], logs: bool, thorough: bool = False) -> _Found:
        """Return the first of the free arguments outside, for each of its values the integral over the others."""
        slot, rest = free[0], free[1:]

        def integrand(owner: Index, d: Array) -> Values:
            x = rows.centre[owner, slot][:, None] + d
            tilt = np.where(np.isinf(rows.variance[owner, slot]), rows.values[owner, slot], 0.0)[:, None] * d
            # The innermost one: the function itself.
            if not rest:
                columns = [np.broadcast_to(values[owner][:, None], d.shape) for values in rows.values.T]
                columns[slot] = x
                log_f = self.log_factor(tuple(p[owner] for p in rows.parameters), *columns)
                log_w = log_f + tilt
                return Values(log_w, _finite(log_f)[..., None], np.zeros((*d.shape, 1))) if logs else Values(log_w)
            # Else the integrals over the others, one for each value.
            inner = rows.take(np.repeat(owner, d.shape[1]))
            inner.values[:, slot] = x.ravel()
            found = self._nested_in_parts(inner, rest, logs)
            means, variances = found.shift, found.variance
            if logs:
                means = np.column_stack([means, _finite(found.mean_log)])
                variances = np.column_stack([variances, np.zeros(len(means))])
            means, variances = means.reshape(*d.shape, -1), variances.reshape(*d.shape, -1)
            return Values(found.log_total.reshape(d.shape) + tilt, means, variances, found.error.reshape(d.shape))

        centre, variance = rows.centre[:, slot], rows.variance[:, slot]
        found = moments(integrand, centre, variance, level=len(rest), further=len(rest) + logs, thorough=thorough)
        shift, variance = (
            np.column_stack([own, others[:, : len(rest)]])
            for own, others in ((found.shift, found.means), (found.variance, found.variances))
        )
        mean_log = found.means[:, len(rest)] if logs else np.zeros(len(shift))
        return _Found(found.log_total, shift, variance, found.error, mean_log)

    def _nested_in_parts(self, rows: _Rows, free: list[int], logs: bool) -> _Found:
        """Return the same for very many integrals."""
        starts = range(0, len(rows.values), _CHUNK)
        parts = [self._nested(rows.take(slice(start, start + _CHUNK)), free, logs) for start in starts]
        return _Found(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _finite(log_f: Array) -> Array:
    """Return 0 where it is -∞: there the law has no weight."""
    return np.where(log_f > -np.inf, log_f, 0.0)


def _log_sums(log_w: Array) -> Array:
    """Return log Σ e^{log_w} over the last axis, (F,); -∞ where all terms are 0."""
    top = log_w.max(axis=1)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return top + np.log(np.exp(log_w - top[:, None]).sum(axis=1))
