"""What every factor kind is: rules on stacked edges; and how a group of factors is described by index arrays."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from factorgraph.interface.arguments import real_array, shown
from factorgraph.interface.errors import ModelError
from factorgraph.messages.natural import Incoming, Outgoing
from factorgraph.model.description import Model, Selection, printable
from factorgraph.model.layout import Layout, places

Array = NDArray[np.float64]
Parameters = tuple[Array, ...]


class Kind(ABC):
    """Message rules of F factors with k arguments each, all of one kind. Immutable, hashable, without parameters.

    All rules take the parameters, arrays (F, ...), and the cavity laws of the arguments, normalised (the flat measure
    dx where the variance is infinite); see ``factorgraph.messages.natural`` for their form.

    Attributes:
        name: for messages.
        spins: which of the k arguments are spins.
        projects: arguments that are sent the Gaussian projection of the exact message.
        full_variance: in sums over many arguments full variances replace cavity ones; ``Incoming`` has the full moments
            too.
        law_slot: an argument that is sent (omega, V), the parameters of ``channel``, its law; None if there is none.
        channel: of the argument in ``law_slot``.
        approximate: its messages are approximations even where all cavity laws are exact.
        quadratic: ``log_factor`` is quadratic in the real arguments for any values of the spins.
        maximum: whether the rule has a max-product form.
        dimensions: of the arguments, if they are vectors, which take as many consecutive slots as they have places.
        states: numbers of states of the arguments, if there are categories among them, which take a slot for each
            state; 0 for the others, which have one slot.
        centred: its log-partition takes cavity laws relative to their value at a centre, if one is given; see
            ``Incoming``. Kinds on vectors do, because flat laws have no normalisation.
        numerical: its rule integrates numerically; ``error`` tells how well.
        whole: its arguments are whole vectors of elements that share a precision, and so are its messages.
    """

    name: str = "Factor"
    spins: tuple[bool, ...]
    projects: tuple[int, ...] = ()
    full_variance: bool = False
    law_slot: int | None = None
    channel: Any
    approximate: bool = False
    quadratic: bool = False
    maximum: bool = False
    dimensions: tuple[int, ...] = ()
    states: tuple[int, ...] = ()
    numerical: bool = False
    whole: bool = False

    @property
    def centred(self) -> bool:
        """See above."""
        return bool(self.dimensions)

    @property
    def widths(self) -> tuple[int, ...]:
        """Numbers of slots of the arguments."""
        if self.states:
            return tuple(max(1, q) for q in self.states)
        return tuple(d * d for d in self.dimensions) or (1,) * len(self.spins)

    @property
    def discrete(self) -> tuple[slice, ...]:
        """Slots of each argument that is a spin or a category."""
        found, slot = [], 0
        for i, width in enumerate(self.widths):
            if self.spins[slot] or (self.states and self.states[i]):
                found.append(slice(slot, slot + width))
            slot += width
        return tuple(found)

    @property
    def reals(self) -> tuple[int, ...]:
        """Slots of the other arguments."""
        taken = {slot for own in self.discrete for slot in range(own.start, own.stop)}
        return tuple(slot for slot in range(len(self.spins)) if slot not in taken)

    def lifted(self, parameters: Parameters) -> Array | None:
        """Return (F, k) coefficients of x²/2 that are left to the variables' own weights where a centre is given, if
        any."""
        return None

    @abstractmethod
    def rule(self, parameters: Parameters, incoming: Incoming, *, maximum: bool = False) -> Outgoing:
        """Return messages to all arguments; in the limit of maxima if asked and the kind has it."""

    @abstractmethod
    def log_partition(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return log of the factor's mean under the cavity laws, (F,)."""

    def mean_log_factor(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return the mean of the factor's logarithm under its belief, (F,); 0 for a constraint."""
        raise NotImplementedError(f"{self.name} has no mean log-factor")

    def error(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return estimated errors (F,) of the integrals of a numerical rule.

        That of log Z, of means in deviations, or of variances relative to themselves, whichever is largest; ∞ where an
        integral diverges, and NaN where the factor is 0 wherever it was looked at.
        """
        return np.zeros(len(incoming.first))

    def joint(self, parameters: Parameters, incoming: Incoming) -> Any:
        """Return the joint belief of all arguments, a ``factors.joints.Joint``; None where there is none."""
        return None

    def quadratic_form(self, parameters: Parameters) -> "QuadraticForm":
        """Return the logarithm of a ``quadratic`` kind in terms of residuals."""
        raise NotImplementedError(f"{self.name} is not quadratic")

    def largest(self, parameters: Parameters) -> Array:
        """Return an upper bound (F,) of the factor's logarithm; ∞ where none is known."""
        return np.full(len(parameters[0]), np.inf) if parameters else np.array([np.inf])

    @abstractmethod
    def log_factor(self, parameters: Parameters, *x: Array) -> Array:
        """Return the factor's logarithm at values of its arguments, each of shape (F, ...); -∞ where it is 0."""


class QuadraticForm(NamedTuple):
    """Logarithms of F factors, constant - Σ_r weight_r (target_r - Σ_i matrix_ri x_i)²/2 + coupling x_0 x_1.

    Far from zero it keeps its digits, where an expanded polynomial is a small difference of large numbers.

    Attributes:
        constant: (F,).
        matrix: (F, m, k), 0 for slots that hold no component.
        target: (F, m).
        weight: (F, m).
        coupling: (F,); 0 unless k = 2.
    """

    constant: Array
    matrix: Array
    target: Array
    weight: Array
    coupling: Array


@dataclass(frozen=True)
class Part:
    """Factors of one kind and arity, as a factor of the model describes them.

    Attributes:
        kind: what they compute.
        variables: (F, k) positions of their arguments.
        parameters: arrays (F, ...).
    """

    kind: Kind
    variables: NDArray[Any]
    parameters: tuple[Array, ...] = ()


@runtime_checkable
class Unrollable(Protocol):
    """A factor that the general engine can run."""

    def parts(self, layout: Layout) -> list[Part]:
        """Return its factors as stacked arrays, one part per kind and arity."""
        ...


@dataclass(frozen=True, eq=False)
class Group(ABC):
    """Many factors of one kind, described by selections: a base for factor classes.

    A class with fields for its parameters says how they become ``parts``; the arguments are broadcast against each
    other, and so are the parameters.

    Attributes:
        arguments: k selections of the same shape: one factor per element.
    """

    arguments: tuple[Selection, ...]

    #: Names of the parameters of which every factor has its own, arrays (F, ...) of the group.
    parameter_names: ClassVar[tuple[str, ...]] = ()

    #: Names of what all its factors have in common.
    shared_names: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def row_shapes(cls, arity: int, shared: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the parameters of one factor with so many arguments.

        Raises:
            ModelError: a kind whose factors are not given by numbers.
        """
        return dict.fromkeys(cls.parameter_names, ())

    @classmethod
    def from_rows(cls, arguments: Sequence[Selection], rows: Mapping[str, Array], shared: Mapping[str, Any]) -> "Group":
        """Return the group with these ``arguments``, ``rows`` and ``shared``."""
        make: Any = cls
        return make(*arguments, **rows, **shared)

    @property
    def rows(self) -> dict[str, Array]:
        """The parameters of which every factor has its own, arrays (F, ...)."""
        return {name: getattr(self, name) for name in self.parameter_names}

    @property
    def shared(self) -> dict[str, Any]:
        """What all factors of the group have in common."""
        return {name: getattr(self, name) for name in self.shared_names}

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the variables that the factors touch."""
        return tuple(dict.fromkeys(selection.name for selection in self.arguments))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the group."""
        return self.arguments[0].shape

    def check(self, model: Model) -> None:
        """Raise ``ModelError`` unless the selections are inside their variables."""
        for selection in self.arguments:
            size = int(np.prod([s for s in model.shape(selection.name) if s is not None]))
            if selection.indices.size and not 0 <= selection.indices.min() <= selection.indices.max() < size:
                raise ModelError(
                    f"indices of `{selection.name}` must be in 0..{size - 1}, got {selection.indices.max()}"
                )

    @abstractmethod
    def parts(self, layout: Layout) -> list[Part]:
        """Return the factors as stacked arrays."""

    def table(self, layout: Layout) -> NDArray[np.int32]:
        """Return positions (F, k) of the arguments.

        Raises:
            ModelError: a factor has one variable as two of its arguments.
        """
        table = np.empty((self.arguments[0].indices.size, len(self.arguments)), dtype=np.int32)
        for column, selection in zip(table.T, self.arguments, strict=True):
            column[:] = layout.scalars(selection).ravel()
        ordered = np.sort(table, axis=1) if table.shape[1] > 2 else table
        same = ordered[:, 1:] == ordered[:, :-1]
        if same.any():
            row, place = np.argwhere(same)[0]
            raise ModelError(f"arguments of {self} must differ, got {layout.label(int(ordered[row, place]))} twice")
        return table

    def states(self, layout: Layout) -> tuple[int, ...]:
        """Return the numbers of states of the arguments; 0 for those that are no categories."""
        return tuple(layout.model.variables[selection.name].states for selection in self.arguments)

    def slots(self, layout: Layout) -> NDArray[np.int32]:
        """Return positions (F, slots) of all places of the arguments; errors as for ``table``."""
        table = self.table(layout)
        counts = [places(layout.model.variables[selection.name]) for selection in self.arguments]
        if max(counts) == 1:
            return table
        columns = [first[:, None] + np.arange(n, dtype=np.int32) for first, n in zip(table.T, counts, strict=True)]
        return np.concatenate(columns, axis=1)

    def pattern(self, layout: Layout) -> tuple[bool, ...]:
        """Return the which of the arguments are spins.

        Raises:
            ModelError: an argument is a vector or a category.
        """
        for selection in self.arguments:
            if layout.model.variables[selection.name].states:
                raise ModelError(f"arguments of {self} must be spins or real variables, got `{selection.name}`")
            if layout.model.variables[selection.name].dimension:
                raise ModelError(f"arguments of {self} must be scalars (only Linear takes vectors), got a vector")
        return tuple(layout.model.variables[selection.name].is_spin for selection in self.arguments)

    def __str__(self) -> str:
        count = int(np.prod(self.shape))
        arguments = ", ".join(selection.name for selection in self.arguments)
        return printable(f"{type(self).__name__}({arguments}){'' if count == 1 else f' × {count}'}")


def aligned(arguments: Sequence[Selection], *names: str) -> tuple[Selection, ...]:
    """Return selections broadcast to a common shape; errors use the ``names``, the last of which is that of all others.

    Raises:
        ModelError: not selections, none, or shapes that do not fit.
    """
    if not arguments:
        raise ModelError(f"arguments must be selections of variables, got none as `{names[-1]}`")
    for i, argument in enumerate(arguments):
        if not isinstance(argument, Selection):
            name = names[min(i, len(names) - 1)]
            raise ModelError(f"arguments must be selections of variables, got {shown(argument)} as `{name}`")
    try:
        indices = np.broadcast_arrays(*(a.indices for a in arguments))
    except ValueError:
        raise ModelError(f"arguments must have fitting shapes, got {[a.shape for a in arguments]}") from None
    return tuple(replace(a, indices=np.asarray(i)) for a, i in zip(arguments, indices, strict=True))


def numbers(
    name: str, values: ArrayLike, shape: tuple[int, ...], columns: int | None = None, *, infinite: bool = False
) -> Array:
    """Return a parameter as a flat array (F,) of a group's shape; with ``columns`` as (F, columns), from a last axis of
    these.

    Raises:
        ModelError: not numbers, not finite (infinite only if ``infinite``), or of a shape that does not fit.
    """
    own = () if columns is None else (columns,)
    array = real_array(name, values, finite=not infinite, error=ModelError)
    if array.ndim and own and array.shape[-1] != columns:
        raise ModelError(f"`{name}` must be a number or of shape {(*shape, columns)}, got shape {array.shape}")
    array = real_array(name, array, shape=(*shape, *own), finite=False, error=ModelError)
    return np.ascontiguousarray(array).reshape(-1, *own)


def stacked(parameters: Sequence[Array]) -> Array:
    """Return parameters (F, ...) of several groups in one array; what is one row for all stays a view of it."""
    first = parameters[0]
    if len(parameters) == 1:
        return first
    if first.ndim > 1 and all(_is_common(p) and np.array_equal(p[0], first[0]) for p in parameters):
        return np.broadcast_to(first[:1], (sum(map(len, parameters)), *first.shape[1:]))
    return np.concatenate(parameters)


def chosen(parameters: Parameters, rows: Any) -> Parameters:
    """Return the parameters of some factors."""
    return tuple(np.broadcast_to(p[:1], (len(rows), *p.shape[1:])) if _is_common(p) else p[rows] for p in parameters)


def distinct(parameter: Array) -> Array:
    """Return its rows (F, ...), or the one (1, ...) that all factors have in common, contiguous."""
    return np.ascontiguousarray(parameter[:1] if _is_common(parameter) else parameter)


def _is_common(parameter: Array) -> bool:
    return len(parameter) > 0 and parameter.strides[0] == 0


def expand(parameter: Array, x: Array) -> Array:
    """Return a parameter (F,) with trailing axes, to broadcast with values (F, ...) of an argument."""
    return parameter.reshape(parameter.shape + (1,) * (x.ndim - 1))
