"""A user's own factor: any function of a few arguments, summed over discrete ones and integrated over real ones."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from factorgraph.factors.base import Array, Group, Part, aligned, numbers
from factorgraph.factors.integrals import Quadrature
from factorgraph.factors.table import Tabulated, pattern_of
from factorgraph.interface.arguments import check_instance, check_integer, shown
from factorgraph.interface.errors import ModelError
from factorgraph.model.description import Selection
from factorgraph.model.layout import Layout

_MAX_SPINS, _MAX_REALS = 16, 3
_MAX_NODES = 1000  # of Gauss-Hermite: the outer weights underflow long before


@dataclass(frozen=True, eq=False, init=False)
class Function(Group):
    """Factors e^{log_factor(x_1, ..., x_k, *parameters)}.

    With spins and categories alone the function is tabulated once. With real arguments besides, at most three, it is
    summed and integrated at every update: its mass is searched for about the cavity law and far beyond, and integrated
    adaptively, so that kinks, jumps, several peaks and peaks much narrower than the law are resolved. No search can see
    a narrow feature whose flanks lie hidden under a broader one. ``result.integration_error`` tells how large the
    errors are estimated to be; above 1e-8 ``result.exact`` is not claimed. The messages to real arguments have the
    moments found. An argument of which nothing else is known is integrated over the whole line, if the function falls
    off fast enough for variances.

    Args:
        log_factor: function of k + len(parameters) arrays that broadcast, values of reals, ±1 of spins, integers
            0 .. q - 1 of categories; -∞ where a factor is 0.
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
        object.__setattr__(self, "nodes", check_integer("nodes", nodes, minimum=3, maximum=200, error=ModelError))

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
        """Return the parameters are the columns of one array."""
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
        """Return one part: a table of the states of spins, or the function itself."""
        variables = [layout.model.variables[selection.name] for selection in self.arguments]
        if any(variable.dimension for variable in variables):
            raise ModelError(f"arguments of {self} must be scalars (only Linear takes vectors), got a vector")
        states = self.states(layout)
        counts = [variable.states or 2 for variable in variables if variable.states or variable.is_spin]
        reals = len(variables) - len(counts)
        if math.prod(counts) > 2**_MAX_SPINS or reals > _MAX_REALS:
            raise ModelError(
                f"arguments of {self} must be at most {_MAX_REALS} real variables, and others of at most "
                f"2^{_MAX_SPINS} configurations, got {reals} and {math.prod(counts)}"
            )
        states = states if any(states) or not reals else ()
        if not reals:
            return [self._tabulated(pattern_of(states), states, self.slots(layout))]
        pattern = tuple(v.is_spin for v in variables for _ in range(v.states or 1))
        kind = Quadrature(pattern, self.log_factor, self.nodes, states)
        return [Part(kind, self.slots(layout), self.parameters)]

    def _tabulated(self, pattern: tuple[bool, ...], states: tuple[int, ...], slots: NDArray[np.int32]) -> Part:
        kind = Tabulated(pattern, states)
        columns = [c if q else 1.0 - 2.0 * c for c, q in zip(kind.configurations.T, states, strict=True)]
        values = self.log_factor(*columns, *(p[:, None] for p in self.parameters))
        shape = (len(slots), len(kind.configurations))
        logs = np.ascontiguousarray(np.broadcast_to(np.asarray(values, dtype=np.float64), shape))
        if np.isnan(logs).any() or np.isposinf(logs).any():
            raise ModelError(
                f"`log_factor` must be finite or -inf on all states of {self}, got {logs[~(logs < np.inf)][0]}"
            )
        return Part(kind, slots, (logs,))

    def __str__(self) -> str:
        return f"{getattr(self.log_factor, '__name__', 'function')}: {super().__str__()}"


def _checked_function(log_factor: Any) -> Callable[..., Any]:
    if not callable(log_factor) or isinstance(log_factor, type):
        raise ModelError(f"`log_factor` must be a function of arrays, got {shown(log_factor)}")
    return log_factor
