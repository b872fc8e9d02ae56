"""A user's own factor: any function of a few arguments, summed over spins and integrated over real variables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.arguments import check_instance, check_integer, shown
from factorgraph.compiled import njit
from factorgraph.factors.base import Array, Group, Kind, Parameters, Part, aligned, expand, numbers
from factorgraph.layout import Layout
from factorgraph.messages import Incoming, Outgoing, log_weight
from factorgraph.model import ModelError, Selection
from factorgraph.quadrature import gauss_hermite

_MOST_SPINS, _MOST_REALS = 16, 3
_MOST_NODES = 1000  # of Gauss-Hermite: the outer weights underflow long before


@dataclass(frozen=True, eq=False, init=False)
class Function(Group):
    """Factors e^{log_factor(x_1, ..., x_k, *parameters)}.

    With spins alone the function is tabulated once. With real arguments, at most three, it is integrated at every
    update by Gauss-Hermite rules about the cavity law and then about the tilted one: right for functions that are
    smooth on the scale of these laws; the messages to real arguments have the moments found.

    Args:
        log_factor: function of k + len(parameters) arrays that broadcast; -∞ where a factor is 0.
        arguments: k selections of fitting shapes; ``*s[table].columns`` for a table (F, k).
        parameters: numbers or arrays of the factors' shape.
        nodes: of the quadrature, for each real argument.

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
        object.__setattr__(self, "nodes", check_integer("nodes", nodes, least=1, most=_MOST_NODES, error=ModelError))

    @classmethod
    def row_shapes(cls, arity: int, shared: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """As many parameters as the function takes besides its arguments."""
        if "log_factor" not in shared:
            raise ModelError(f"`log_factor` must be given for functions one at a time, got {sorted(shared)}")
        try:
            count = len(signature(_checked_function(shared["log_factor"])).parameters) - arity
        except ValueError as cause:  # some functions written in C do not tell
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


def spin_states(k: int) -> Array:
    """All states (2^k, k) of k spins; the first one is all +1, and the first spin changes fastest."""
    return 1.0 - 2.0 * ((np.arange(2**k)[:, None] >> np.arange(k)) & 1)


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


@dataclass(frozen=True)
class Quadrature(Kind):
    """A function of at least one real argument, integrated where its mass is."""

    spins: tuple[bool, ...]
    function: Callable[..., Any]
    nodes: int
    name = "Function"

    @property
    def projects(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The real arguments."""
        return tuple(i for i, spin in enumerate(self.spins) if not spin)

    def rule(self, parameters: Parameters, incoming: Incoming, *, maximum: bool = False) -> Outgoing:
        """Half the log-odds of spins; the quotient of tilted and cavity law for real arguments."""
        grid = self._tilted(parameters, incoming)
        B, A = np.zeros(incoming.first.shape), np.zeros(incoming.first.shape)
        for i, spin in enumerate(self.spins):
            if spin:
                B[:, i] = grid.log_odds(i)
                continue
            m, v = incoming.first[:, i], incoming.second[:, i]
            mean, variance = grid.moments(i)
            free = v > 0.0
            A[free, i] = 1.0 / variance[free] - 1.0 / v[free]
            B[free, i] = (mean[free] - m[free]) / variance[free] + A[free, i] * m[free]
        return Outgoing(B, A)

    def log_partition(self, parameters: Parameters, incoming: Incoming) -> Array:
        """log of the mean under the cavity laws."""
        return self._tilted(parameters, incoming).log_total()

    def mean_log_factor(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Mean of the function under its belief."""
        grid = self._tilted(parameters, incoming)
        values, w = self.log_factor(parameters, *grid.x), grid.weights()
        return (w * np.where(w > 0.0, values, 0.0)).sum(axis=1)

    def log_factor(self, parameters: Parameters, *x: Array) -> Array:
        """The function."""
        return np.asarray(self.function(*x, *(expand(p, x[0]) for p in parameters)), dtype=np.float64)

    def _tilted(self, parameters: Parameters, incoming: Incoming) -> "_Grid":
        """A grid about the tilted law: first about the cavity law, then twice about the moments found."""
        if np.isinf(incoming.second[:, [not spin for spin in self.spins]]).any():
            raise ModelError("real arguments of a function must have a prior or precision, got a flat one")
        where = [(incoming.first[:, i], incoming.second[:, i]) for i in range(len(self.spins))]
        grid = _Grid.about(self, parameters, incoming, where)
        for _ in range(2):
            where = [m if self.spins[i] else grid.moments(i) for i, m in enumerate(where)]
            grid = _Grid.about(self, parameters, incoming, where)
        return grid


@dataclass(frozen=True)
class _Grid:
    """Nodes of all arguments, and log-weights of the tilted law at them.

    Attributes:
        x: for each argument (F, n).
        log_f: (F, n) the function with the weights of the real arguments.
        log_p: for each spin (F, n) the log-weight of its value under its cavity law.
    """

    x: list[Array]
    log_f: Array
    log_p: dict[int, Array]

    @classmethod
    def about(
        cls, kind: Quadrature, parameters: Parameters, incoming: Incoming, where: list[tuple[Array, Array]]
    ) -> "_Grid":
        """A product grid: ±1 for spins, Gauss-Hermite for real arguments of the given means and variances."""
        nodes, weights = gauss_hermite(kind.nodes)
        axes = [np.array([1.0, -1.0]) if spin else nodes for spin in kind.spins]
        flat = [a.ravel() for a in np.meshgrid(*axes, indexing="ij")]
        x, log_p = [], {}
        log_f = np.zeros((len(incoming.first), flat[0].size))
        for i, spin in enumerate(kind.spins):
            m, v, u = incoming.first[:, i, None], incoming.second[:, i, None], flat[i]
            if spin:
                x.append(np.broadcast_to(u, log_f.shape))
                log_p[i] = -np.logaddexp(0.0, -2.0 * m * u)
                continue
            centre, width = (values[:, None] for values in where[i])
            x.append(centre + np.sqrt(width) * u)
            log_f = log_f + np.log(weights)[np.searchsorted(nodes, u)]
            free = v > 0.0
            v, width = np.where(free, v, 1.0), np.where(free, width, 1.0)
            log_f = log_f + np.where(free, 0.5 * (u * u - (x[i] - m) ** 2 / v + np.log(width / v)), 0.0)
        return cls(x, log_f + kind.log_factor(parameters, *x), log_p)

    def log_total(self) -> Array:
        """log of the integral, (F,)."""
        return _log_sums(self.log_f + sum(self.log_p.values()))

    def weights(self) -> Array:
        """Normalised weights (F, n)."""
        return np.exp(self.log_f + sum(self.log_p.values()) - self.log_total()[:, None])

    def moments(self, i: int) -> tuple[Array, Array]:
        """Mean and variance of a real argument, (F,) each."""
        w = self.weights()
        mean = (w * self.x[i]).sum(axis=1)
        return mean, (w * (self.x[i] - mean[:, None]) ** 2).sum(axis=1)

    def log_odds(self, i: int) -> Array:
        """Half the log-odds of a spin, its own field left out."""
        log_w = self.log_f + sum(values for j, values in self.log_p.items() if j != i)
        up = self.x[i][0] > 0
        return 0.5 * (_log_sums(log_w[:, up]) - _log_sums(log_w[:, ~up]))


def _log_sums(log_w: Array) -> Array:
    """log Σ e^{log_w} over the last axis, (F,); -∞ where all terms are 0."""
    top = log_w.max(axis=1)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return top + np.log(np.exp(log_w - top[:, None]).sum(axis=1))
