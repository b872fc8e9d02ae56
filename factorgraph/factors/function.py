"""A user's own factor: any function of a few arguments, summed over spins and integrated over real variables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.factors.base import Array, Group, Kind, Parameters, Part, aligned, numbers
from factorgraph.factors.integrals import Quadrature, spin_states
from factorgraph.interface.arguments import check_instance, check_integer, shown
from factorgraph.interface.errors import ModelError
from factorgraph.messages.natural import Incoming, Outgoing, log_weight
from factorgraph.model.description import Selection
from factorgraph.model.layout import Layout
from factorgraph.runtime.compiled import njit

_MOST_SPINS, _MOST_REALS = 16, 3
_MOST_NODES = 1000  # of Gauss-Hermite: the outer weights underflow long before


@dataclass(frozen=True, eq=False, init=False)
class Function(Group):
    """Factors e^{log_factor(x_1, ..., x_k, *parameters)}.

    With spins alone the function is tabulated once. With real arguments, at most three, it is integrated at every
    update: its mass is searched for about the cavity law and far beyond, and integrated adaptively, so that kinks,
    jumps, several peaks and peaks much narrower than the law are resolved. No search can see a narrow feature whose
    flanks lie hidden under a broader one. ``result.integration_error`` tells how large the errors are estimated to be;
    above 1e-8 ``result.exact`` is not claimed. The messages to real arguments have the moments found. An argument of
    which nothing else is known is integrated over the whole line, if the function falls off fast enough for variances.

    Args:
        log_factor: function of k + len(parameters) arrays that broadcast; -∞ where a factor is 0.
        arguments: k selections of fitting shapes; ``*s[table].columns`` for a table (F, k).
        parameters: numbers or arrays of the factors' shape.
        nodes: on each axis of a product rule that is tried first with two or three real arguments, and is enough for
            smooth functions; >= 3.

    Raises:
        ModelError: selections or parameters that do not fit, or too many arguments.
    """

    log_factor: Callable[..., Any]
    parameters: tuple[Array, ...]
    nodes: int
    parameter_names = ("parameters",)
    shared_names = ("log_factor", "nodes")

    def __init__(
        self,
        log_factor: Callable[..., Any],
        *arguments: Selection,
        parameters: Sequence[ArrayLike] = (),
        nodes: int = 40,
    ) -> None:
        object.__setattr__(self, "log_factor", _checked_function(log_factor))
        object.__setattr__(self, "arguments", aligned(arguments, "arguments"))
        check_instance("parameters", parameters, (list, tuple), "a list of numbers and arrays", error=ModelError)
        values = tuple(numbers("parameters", p, self.shape, infinite=True) for p in parameters)
        object.__setattr__(self, "parameters", values)
        object.__setattr__(self, "nodes", check_integer("nodes", nodes, least=3, most=200, error=ModelError))

    @classmethod
    def row_shapes(cls, arity: int, shared: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """As many parameters as the function takes besides its arguments."""
        if "log_factor" not in shared:
            raise ModelError(f"`log_factor` must be given for functions one at a time, got {sorted(shared)}")
        try:
            count = len(signature(_checked_function(shared["log_factor"])).parameters) - arity
        except ValueError as cause:  # some functions written in C have no signature
            raise ModelError(f"`log_factor` must tell how many arguments it has, got {cause}") from None
        if count < 0:
            raise ModelError(f"`log_factor` must take {arity} arguments and parameters, got {count + arity} in all")
        return {"parameters": (count,)}

    @classmethod
    def from_rows(
        cls, arguments: Sequence[Selection], rows: Mapping[str, Array], shared: Mapping[str, Any]
    ) -> "Function":
        """The parameters are the columns of one array."""
        if "log_factor" not in shared:
            raise ModelError(f"`log_factor` must be given for functions, got {sorted(shared)}")
        shared = dict(shared)
        columns = rows["parameters"].T if "parameters" in rows else ()
        return cls(shared.pop("log_factor"), *arguments, parameters=list(columns), **shared)

    @property
    def rows(self) -> dict[str, Array]:
        """The parameters, (F, number)."""
        count = int(np.prod(self.shape))
        return {"parameters": np.array(self.parameters).reshape(len(self.parameters), count).T}

    def parts(self, layout: Layout) -> list[Part]:
        """One part: a table of the states of spins, or the function itself."""
        pattern, table = self.pattern(layout), self.table(layout)
        spins, reals = sum(pattern), len(pattern) - sum(pattern)
        if spins > _MOST_SPINS or reals > _MOST_REALS:
            raise ModelError(
                f"arguments of {self} must be at most {_MOST_SPINS} spins and {_MOST_REALS} real variables, "
                f"got {spins} and {reals}"
            )
        if reals:
            return [Part(Quadrature(pattern, self.log_factor, self.nodes), table, self.parameters)]
        states = spin_states(len(pattern))
        values = self.log_factor(*states.T, *(p[:, None] for p in self.parameters))
        logs = np.ascontiguousarray(np.broadcast_to(np.asarray(values, dtype=np.float64), (len(table), len(states))))
        if np.isnan(logs).any() or np.isposinf(logs).any():
            raise ModelError(
                f"`log_factor` must be finite or -inf on all states of {self}, got {logs[~(logs < np.inf)][0]}"
            )
        return [Part(Table(pattern), table, (logs,))]

    def __str__(self) -> str:
        return f"{getattr(self.log_factor, '__name__', 'function')}: {super().__str__()}"


def _checked_function(log_factor: Any) -> Callable[..., Any]:
    if not callable(log_factor) or isinstance(log_factor, type):
        raise ModelError(f"`log_factor` must be a function of arrays, got {shown(log_factor)}")
    return log_factor


@njit(cache=True, error_model="numpy")
def _table_messages(logs: Array, h: Array, maximum: bool) -> Array:
    """Half the log-odds of each spin under the table times the laws of all others; of maxima if asked."""
    F, k = h.shape
    B, log_w = np.empty((F, k)), np.empty(logs.shape[1])
    for f in range(F):
        for i in range(k):
            top = np.array([-np.inf, -np.inf])
            for state in range(log_w.size):
                total = logs[f, state]
                for j in range(k):
                    if j != i:
                        total += log_weight(h[f, j], 1.0 - 2.0 * ((state >> j) & 1))
                log_w[state] = total
                side = (state >> i) & 1
                top[side] = max(top[side], total)
            if not maximum:
                sums = np.zeros(2)
                for state in range(log_w.size):
                    side = (state >> i) & 1
                    if top[side] > -np.inf:
                        sums[side] += np.exp(log_w[state] - top[side])
                top += np.log(np.maximum(sums, 1e-300))
            B[f, i] = 0.5 * (top[0] - top[1])
    return B


@njit(cache=True, error_model="numpy")
def _table_sums(logs: Array, h: Array) -> tuple[Array, Array]:
    """log of the mean of the table under the cavity laws, and the mean log-factor under the belief."""
    F, k = h.shape
    log_z, mean_log, log_w = np.empty(F), np.zeros(F), np.empty(logs.shape[1])
    for f in range(F):
        for state in range(log_w.size):
            log_w[state] = logs[f, state]
            for j in range(k):
                log_w[state] += log_weight(h[f, j], 1.0 - 2.0 * ((state >> j) & 1))
        top, total = np.max(log_w), 0.0
        if top == -np.inf:
            log_z[f] = top
            continue
        for state in range(log_w.size):
            if log_w[state] > -np.inf:
                w = np.exp(log_w[state] - top)
                total += w
                mean_log[f] += w * logs[f, state]
        log_z[f], mean_log[f] = top + np.log(total), mean_log[f] / total
    return log_z, mean_log


@dataclass(frozen=True)
class Table(Kind):
    """A table of log-values (F, 2^k) at all states of k spins, in the order of ``spin_states``."""

    spins: tuple[bool, ...]
    name = "Function"
    maximum = True

    def rule(self, parameters: Parameters, incoming: Incoming, *, maximum: bool = False) -> Outgoing:
        """Half the log-odds of each argument."""
        return Outgoing(_table_messages(parameters[0], incoming.first, maximum))

    def log_partition(self, parameters: Parameters, incoming: Incoming) -> Array:
        """log of the mean under the cavity laws."""
        return _table_sums(parameters[0], incoming.first)[0]

    def mean_log_factor(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Mean of the table under its belief."""
        return _table_sums(parameters[0], incoming.first)[1]

    def largest(self, parameters: Parameters) -> Array:
        """The largest entry."""
        return parameters[0].max(axis=1)

    def log_factor(self, parameters: Parameters, *x: Array) -> Array:
        """Look the states up."""
        values = np.broadcast_arrays(*x)
        states = sum((value < 0).astype(np.intp) << i for i, value in enumerate(values))
        rows = np.arange(len(parameters[0])).reshape(-1, *(1,) * (values[0].ndim - 1))
        return parameters[0][rows, np.asarray(states)]
