"""Factors of spins and categories by their logarithms at all configurations of the arguments, or at those allowed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from factorgraph.factors.base import Array, Group, Kind, Parameters, Part, aligned, distinct
from factorgraph.factors.joints import MAX_JOINT, Joint, of_table
from factorgraph.interface.arguments import number_array, real_array, shown
from factorgraph.interface.errors import ModelError
from factorgraph.messages.categories import log_laws, log_messages, log_sum, state_of
from factorgraph.messages.natural import Incoming, Outgoing
from factorgraph.model.description import Model, Selection, check_log_weights
from factorgraph.model.layout import Layout
from factorgraph.runtime.compiled import njit

#: Sums of products of probabilities above this have lost nothing to underflow.
_SAFE = 1e-250


def values_of_arguments(group: Group, model: Model) -> tuple[int, ...]:
    """Return how many values each argument has, 2 for a spin.

    Raises:
        ModelError: an argument is neither a spin nor a category.
    """
    found = []
    for selection in group.arguments:
        variable = model.variables[selection.name]
        if not variable.is_spin and not variable.states:
            raise ModelError(f"arguments of {group} must be spins or categories, got `{selection.name}`")
        found.append(variable.states or 2)
    return tuple(found)


def pattern_of(states: tuple[int, ...]) -> tuple[bool, ...]:
    """Return which slots of discrete arguments with so many states, 0 for a spin, are spins."""
    return tuple(spin for q in states for spin in ([False] * q or [True]))


@dataclass(frozen=True, eq=False, init=False)
class Table(Group):
    """Factors given by a table of their values at all configurations of spins and categories.

    An argument has an axis of the table, with the states of a category, or (+1, -1) of a spin.

    Args:
        arguments: k selections of fitting shapes; ``*c[table].columns`` for a table (F, k).
        table: values >= 0, one table (values of each argument) for all factors or (factors' shape, values of each).
        log_table: their logarithms, -∞ for 0; instead of ``table``.

    Raises:
        ModelError: selections or a table that do not fit, or neither or both of ``table`` and ``log_table``.
    """

    log_table: Array
    shared_names = ("log_table",)

    def __init__(
        self, *arguments: Selection, table: ArrayLike | None = None, log_table: ArrayLike | None = None
    ) -> None:
        object.__setattr__(self, "arguments", aligned(arguments, "arguments"))
        object.__setattr__(self, "log_table", _logarithms(table, log_table))
        k, ndim = len(self.arguments), self.log_table.ndim
        own = ndim != k
        if ndim not in (k, len(self.shape) + k) or (own and self.log_table.shape[:-k] != self.shape):
            front = f", or {self.shape} in front of these" if self.shape else ""
            raise ModelError(
                f"`table` must have an axis for each of {k} arguments{front}, got shape {self.log_table.shape}"
            )

    @classmethod
    def row_shapes(cls, arity: int, shared: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """None: factors one at a time have one table."""
        return {}

    @property
    def rows(self) -> dict[str, Array]:
        """The tables, if every factor has its own."""
        own = self.log_table.ndim > len(self.arguments)
        return {"log_table": self.log_table.reshape(-1, *self.log_table.shape[-len(self.arguments) :])} if own else {}

    @property
    def shared(self) -> dict[str, Any]:
        """The one table otherwise."""
        return {} if self.rows else {"log_table": self.log_table}

    def check(self, model: Model) -> None:
        """Also that the table has the values of all arguments."""
        super().check(model)
        values, k = values_of_arguments(self, model), len(self.arguments)
        if self.log_table.shape[-k:] != values:
            raise ModelError(f"`table` of {self} must have the last axes {values}, got shape {self.log_table.shape}")

    def parts(self, layout: Layout) -> list[Part]:
        """Return one part."""
        states, slots, k = self.states(layout), self.slots(layout), len(self.arguments)
        size = math.prod(self.log_table.shape[-k:])
        logs = np.broadcast_to(self.log_table.reshape(-1, size), (len(slots), size))
        return [Part(Tabulated(pattern_of(states), states), slots, (logs,))]


@dataclass(frozen=True, eq=False, init=False)
class Allowed(Group):
    """Factors that are 0 but at some configurations of spins and categories.

    Args:
        arguments: k selections of fitting shapes.
        configurations: (M, k) the allowed values of the arguments: states of categories, ±1 of spins.
        log_weights: logarithms at these, -∞ for 0: a number, (M,) or (factors' shape, M).

    Raises:
        ModelError: selections, configurations or weights that do not fit.
    """

    configurations: NDArray[np.int32]
    log_weights: Array
    shared_names = ("configurations", "log_weights")

    def __init__(self, *arguments: Selection, configurations: ArrayLike, log_weights: ArrayLike = 0.0) -> None:
        object.__setattr__(self, "arguments", aligned(arguments, "arguments"))
        rows = number_array("configurations", configurations, error=ModelError)
        k = len(self.arguments)
        if rows.ndim != 2 or rows.shape[1] != k or not len(rows):
            raise ModelError(f"`configurations` must be of shape (M, {k}) with M >= 1, got {rows.shape}")
        whole = rows.astype(np.int32)
        if np.any(whole != rows):
            raise ModelError(f"`configurations` must be integers, got {shown(rows[whole != rows][0])}")
        if len(np.unique(whole, axis=0)) < len(whole):
            raise ModelError("`configurations` must differ, got one twice")
        weights = real_array("log_weights", log_weights, finite=False, error=ModelError)
        if weights.ndim > 1 or weights.shape not in ((), (len(whole),)):
            check_log_weights("log_weights", weights, (*self.shape, len(whole)))
        else:
            check_log_weights("log_weights", weights, (len(whole),))
        object.__setattr__(self, "configurations", whole)
        object.__setattr__(self, "log_weights", np.broadcast_to(weights, (*weights.shape[:-1], len(whole))))

    @classmethod
    def row_shapes(cls, arity: int, shared: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """None: factors one at a time have the same configurations."""
        return {}

    @property
    def rows(self) -> dict[str, Array]:
        """The weights, if every factor has its own."""
        own = self.log_weights.ndim > 1
        return {"log_weights": self.log_weights.reshape(-1, len(self.configurations))} if own else {}

    @property
    def shared(self) -> dict[str, Any]:
        """What is common otherwise."""
        weights = {} if self.rows else {"log_weights": self.log_weights}
        return {"configurations": self.configurations, **weights}

    def check(self, model: Model) -> None:
        """Also that the configurations are values of the arguments."""
        super().check(model)
        values_of_arguments(self, model)
        for selection, column in zip(self.arguments, self.configurations.T, strict=True):
            q = model.variables[selection.name].states
            wrong = (column < 0) | (column >= q) if q else np.abs(column) != 1
            if wrong.any():
                need = f"states 0..{q - 1}" if q else "1 or -1"
                raise ModelError(f"`configurations` of `{selection.name}` must be {need}, got {column[wrong][0]}")

    def parts(self, layout: Layout) -> list[Part]:
        """Return one part."""
        states, slots = self.states(layout), self.slots(layout)
        spin = np.array(states) == 0
        rows = np.where(spin, (1 - self.configurations) // 2, self.configurations).astype(np.int32)
        logs = np.broadcast_to(self.log_weights.reshape(-1, len(rows)), (len(slots), len(rows)))
        return [Part(Tabulated(pattern_of(states), states, rows.tobytes()), slots, (logs,))]


def _logarithms(table: ArrayLike | None, log_table: ArrayLike | None) -> Array:
    """Return the checked logarithms of a table given in one of two ways."""
    if (table is None) == (log_table is None):
        raise ModelError("`table` must be given, or `log_table`, and not both")
    if table is None:
        array = real_array("log_table", np.asarray(log_table), finite=False, error=ModelError)
        return check_log_weights("log_table", array, array.shape)
    array = real_array("table", table, error=ModelError)
    if array.size and array.min() < 0.0:
        raise ModelError(f"`table` must be >= 0, got {array.min():g}")
    with np.errstate(divide="ignore"):
        return np.log(array)


# ---- compiled rules --------------------------------------------------------------------------------------------------


@njit(cache=True, error_model="numpy")
def _messages(logs: Array, laws: Array, position: Any, maximum: bool) -> Array:
    """log Σ (or max) over the configurations of table and laws of all other arguments, at each value of each one."""
    F, k = laws.shape[0], position.shape[1]
    out, total, before = np.full(laws.shape, -np.inf), np.zeros(laws.shape), np.empty(k)
    for f in range(F):
        row = logs[f if logs.shape[0] > 1 else 0]
        for m in range(position.shape[0]):
            value = row[m]
            if value == -np.inf:
                continue
            for i in range(k):
                before[i] = value
                value += laws[f, position[m, i]]
            after = 0.0
            for i in range(k - 1, -1, -1):
                p = position[m, i]
                value = before[i] + after
                after += laws[f, p]
                if value > out[f, p]:
                    total[f, p] = total[f, p] * math.exp(out[f, p] - value) + 1.0
                    out[f, p] = value
                elif value > -np.inf:
                    total[f, p] += math.exp(value - out[f, p])
        if not maximum:
            for p in range(laws.shape[1]):
                if out[f, p] > -np.inf:
                    out[f, p] += math.log(total[f, p])
    return out


@njit(cache=True, error_model="numpy")
def _pair_messages(logs: Array, laws: Array, a: int) -> Array:
    """``_messages`` of sums for two arguments, the first with a values: products of probabilities with the tables.

    Where a sum has underflowed, its logarithm is taken term by term.
    """
    F, b = laws.shape[0], laws.shape[1] - a
    out, p = np.empty(laws.shape), np.empty(a + b)
    W, top, terms = np.empty((a, b)), 0.0, np.empty(max(a, b))
    for f in range(F):
        row = logs[f if logs.shape[0] > 1 else 0].reshape(a, b)
        if f == 0 or logs.shape[0] > 1:
            top = np.max(row)
            top = 0.0 if top == -np.inf else top
            for i in range(a):
                for j in range(b):
                    W[i, j] = math.exp(row[i, j] - top)
        for i in range(a + b):
            p[i] = math.exp(laws[f, i])
            out[f, i] = 0.0
        for i in range(a):
            total = 0.0
            for j in range(b):
                total += W[i, j] * p[a + j]
                out[f, a + j] += W[i, j] * p[i]
            out[f, i] = total
        for i in range(a):
            if out[f, i] > _SAFE:
                out[f, i] = top + math.log(out[f, i])
            else:
                for j in range(b):
                    terms[j] = row[i, j] + laws[f, a + j]
                out[f, i] = log_sum(terms[:b])
        for j in range(b):
            if out[f, a + j] > _SAFE:
                out[f, a + j] = top + math.log(out[f, a + j])
            else:
                for i in range(a):
                    terms[i] = row[i, j] + laws[f, i]
                out[f, a + j] = log_sum(terms[:a])
    return out


@njit(cache=True, error_model="numpy")
def _weights(logs: Array, laws: Array, position: Any) -> tuple[Array, Array, Array]:
    """log of the mean table under the laws, mean logarithm under the belief, and the belief (F, M)."""
    F, (M, k) = laws.shape[0], position.shape
    log_z, mean_log, belief = np.empty(F), np.zeros(F), np.zeros((F, M))
    for f in range(F):
        row, w = logs[f if logs.shape[0] > 1 else 0], belief[f]
        for m in range(M):
            w[m] = row[m]
            for i in range(k):
                w[m] += laws[f, position[m, i]]
        log_z[f] = log_sum(w)
        for m in range(M):
            w[m] = math.exp(w[m] - log_z[f]) if w[m] > -np.inf else 0.0
            if w[m] > 0.0:
                mean_log[f] += w[m] * row[m]
    return log_z, mean_log, belief


@lru_cache(maxsize=64)
def _all_configurations(values: tuple[int, ...]) -> NDArray[np.int32]:
    """Return (M, k) in the order of a table's elements."""
    return np.indices(values, dtype=np.int32).reshape(len(values), -1).T.copy()


@dataclass(frozen=True)
class Tabulated(Kind):
    """Logarithms (F, M) at M configurations of discrete arguments: all, in the order of a table, or those listed.

    Attributes:
        states: of the arguments; 0 for a spin, whose values are +1 and -1 in this order.
        listed: the numbers (M, k) of the values, int32, in bytes; None for all.
    """

    spins: tuple[bool, ...]
    states: tuple[int, ...]
    listed: bytes | None = None
    name = "Table"
    maximum = True

    @property
    def values(self) -> tuple[int, ...]:
        """How many values the arguments have."""
        return tuple(q or 2 for q in self.states)

    @cached_property
    def configurations(self) -> NDArray[np.int32]:
        """(M, k) numbers of the arguments' values."""
        if self.listed is None:
            return _all_configurations(self.values)
        return np.frombuffer(self.listed, dtype=np.int32).reshape(-1, len(self.states))

    @cached_property
    def _position(self) -> NDArray[np.int32]:
        """The same in a row of all values of all arguments."""
        return self.configurations + np.cumsum([0, *self.values[:-1]], dtype=np.int32)

    @cached_property
    def _states(self) -> NDArray[np.int64]:
        return np.array(self.states, dtype=np.int64)

    def rule(self, parameters: Parameters, incoming: Incoming, *, maximum: bool = False) -> Outgoing:
        """Return log Σ over the other arguments of the factor times their laws [Mézard-Montanari, ch. 14]."""
        logs, laws = distinct(parameters[0]), log_laws(incoming.first, self._states)
        if len(self.states) == 2 and self.listed is None and not maximum:
            found = _pair_messages(logs, laws, self.values[0])
        else:
            found = _messages(logs, laws, self._position, maximum)
        return Outgoing(log_messages(found, self._states, maximum))

    def _weighted(self, parameters: Parameters, incoming: Incoming) -> tuple[Array, Array, Array]:
        return _weights(distinct(parameters[0]), log_laws(incoming.first, self._states), self._position)

    def log_partition(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return log of the mean under the cavity laws."""
        return self._weighted(parameters, incoming)[0]

    def mean_log_factor(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return the mean of the logarithms under the belief."""
        return self._weighted(parameters, incoming)[1]

    def joint(self, parameters: Parameters, incoming: Incoming) -> Joint | None:
        """Return probabilities (F, values of each)."""
        belief = self._weighted(parameters, incoming)[2]
        if self.listed is not None:
            if math.prod(self.values) > MAX_JOINT:
                return None
            dense = np.zeros((len(belief), math.prod(self.values)))
            dense[:, np.ravel_multi_index(tuple(self.configurations.T), self.values)] = belief
            belief = dense
        return of_table(belief.reshape(-1, *self.values))

    def largest(self, parameters: Parameters) -> Array:
        """Return the largest entry."""
        return np.broadcast_to(distinct(parameters[0]).max(axis=1), len(parameters[0]))

    def log_factor(self, parameters: Parameters, *x: Array) -> Array:
        """Look the configurations up."""
        found = argument_values(self.states, x)
        rows = np.arange(len(parameters[0])).reshape(-1, *(1,) * (found[0].ndim - 1))
        if self.listed is None:
            return parameters[0][rows, np.ravel_multi_index(found, self.values)]
        numbers = {row.tobytes(): m for m, row in enumerate(self.configurations)}
        flat = np.stack(found, axis=-1).astype(np.int32)
        index = np.array([numbers.get(row.tobytes(), -1) for row in flat.reshape(-1, len(self.states))], dtype=np.intp)
        index = index.reshape(flat.shape[:-1])
        return np.where(index >= 0, parameters[0][rows, np.maximum(index, 0)], -np.inf)


def argument_values(states: Sequence[int], x: Sequence[Array]) -> tuple[NDArray[np.intp], ...]:
    """Return the numbers of the values of discrete arguments, from those of all slots: 0 and 1 for the spins +1 and
    -1."""
    slots, found, slot = np.broadcast_arrays(*x), [], 0
    for q in states:
        own = slots[slot : slot + max(1, q)]
        found.append(state_of(np.stack(own, axis=-1)) if q else (own[0] < 0.0).astype(np.intp))
        slot += max(1, q)
    return tuple(found)
