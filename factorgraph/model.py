"""Description of a model: variables with priors on plates, tied together by factors. No message lives in it.

A *plate* is a named index set; a variable is an array with one scalar per element of its plates. What is free and what
is observed is a property of the variable, so one description serves training, inference and prediction. A factor acts
on whole plates, or on selected elements: see ``Selection``. ``Graph`` builds models piece by piece.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from factorgraph.priors import Prior

if TYPE_CHECKING:
    from factorgraph.factors.base import Part
    from factorgraph.layout import Layout

Array = NDArray[np.float64]


class ModelError(ValueError):
    """A model description that does not fit together."""


@dataclass(frozen=True)
class Variable:
    """An array of scalars, one per element of its plates, with the weight q(x) e^{field x - precision x²/2} each.

    Attributes:
        name: how results and errors call it.
        plates: names of its index sets, in the order of the array's axes.
        prior: q, the distribution of each free element; None for the counting measure of a spin or the flat measure dx
            of a real variable, neither normalised.
        observed: its values are given with the data.
        spin: its values are ±1; what a prior says about this counts more.
        field: number or array of the variable's shape.
        precision: number or array of the variable's shape; without effect on a spin.
        dimension: 0 for scalars; else each element is a vector of so many components, whose field and precision matrix
            are arrays with one and two more axes.
        shared: all elements along the last axis have one precision in every message: see ``families``.
    """

    name: str
    plates: tuple[str, ...]
    prior: Prior | None = None
    observed: bool = False
    spin: bool = False
    field: Any = dataclasses.field(default=0.0, compare=False, repr=False)
    precision: Any = dataclasses.field(default=0.0, compare=False, repr=False)
    dimension: int = 0
    shared: bool = False

    @property
    def is_spin(self) -> bool:
        """Whether the values are ±1."""
        return self.spin if self.prior is None or self.shared else self.prior.spin

    def __str__(self) -> str:
        shape = f"{self.name}[{', '.join(self.plates)}]"
        if self.observed:
            return f"{shape} observed"
        return f"{shape} ~ {self.prior}" if self.prior is not None else shape


class Factor(Protocol):
    """One kind of factor, on whole plates or on many selections at once."""

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the variables it touches."""
        ...

    def check(self, model: "Model") -> None:
        """Raise ``ModelError`` where the factor does not fit its variables."""
        ...


@runtime_checkable
class Unrollable(Protocol):
    """A factor that the general engine can run."""

    def parts(self, layout: "Layout") -> "list[Part]":
        """Its factors as stacked arrays, one part per kind and arity."""
        ...


@dataclass(frozen=True, eq=False)
class Selection:
    """Elements of one variable: ``s[3]``, ``s[:-1]`` or ``s[index_array]`` select from a selection as from an array.

    Attributes:
        name: of the variable.
        indices: positions in the flattened array of the variable, in any shape.
        dimension: of each element, as for ``Variable``.
        owner: mark of the variable in the ``Graph`` that made it, which takes no selection of another one's variable of
            the same name; copies of a graph share it. Empty for selections made by hand: they are known by name alone.
    """

    name: str
    indices: NDArray[np.intp]
    dimension: int = 0
    owner: str = dataclasses.field(default="", repr=False)

    @classmethod
    def whole(cls, name: str, shape: tuple[int, ...], dimension: int = 0) -> "Selection":
        """All elements of a variable of that shape."""
        return cls(name, np.arange(int(np.prod(shape)), dtype=np.intp).reshape(shape), dimension)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the selection."""
        return self.indices.shape

    @property
    def columns(self) -> "tuple[Selection, ...]":
        """The selections along the last axis: ``*s[table].columns`` for the rows of a table (F, k)."""
        return tuple(self[..., i] for i in range(self.shape[-1]))

    def __getitem__(self, key: Any) -> "Selection":
        return dataclasses.replace(self, indices=np.asarray(self.indices[key]))

    def __len__(self) -> int:
        return len(self.indices)

    def __str__(self) -> str:
        return f"{self.name}[{' × '.join(map(str, self.shape)) or '1'} elements]"


@dataclass(frozen=True)
class Model:
    """Plates, variables and factors, checked on construction.

    Attributes:
        plates: size of every index set; None where the data decide it (the samples).
        variables: by name.
        factors: in any order.

    Raises:
        ModelError: for unknown plates, unknown variables, fields of a wrong shape, or factors that do not fit.
    """

    plates: Mapping[str, int | None]
    variables: Mapping[str, Variable]
    factors: tuple[Factor, ...] = dataclasses.field(default=())

    def __post_init__(self) -> None:
        for name, size in self.plates.items():
            if size is not None and size < 1:
                raise ModelError(f"plate `{name}` must have a size >= 1 (or None), got {size}")
        for name, variable in self.variables.items():
            self._check_variable(name, variable)
        for factor in self.factors:
            for name in factor.variables:
                if name not in self.variables:
                    raise ModelError(f"variables of {factor} must be among {sorted(self.variables)}, got {name!r}")
            factor.check(self)

    def _check_variable(self, name: str, variable: Variable) -> None:
        if name != variable.name:
            raise ModelError(f"variable `{variable.name}` must be listed under its own name, got {name!r}")
        for plate in variable.plates:
            if plate not in self.plates:
                raise ModelError(f"plates of `{name}` must be among {sorted(self.plates)}, got {plate!r}")
        own = (variable.dimension,) if variable.dimension else ()
        for what, axes in (("field", own), ("precision", 2 * own)):
            shape = (*self.shape(name), *axes)
            values = np.asarray(getattr(variable, what))
            if not np.issubdtype(values.dtype, np.number) or not np.all(np.isfinite(values)):
                raise ModelError(f"`{what}` of `{name}` must be finite numbers, got {getattr(variable, what)!r}")
            if values.ndim and values.shape != shape:
                raise ModelError(f"`{what}` of `{name}` must be a number or of shape {shape}, got {values.shape}")
        if variable.shared:
            self._check_shared(name, variable)

    def _check_shared(self, name: str, variable: Variable) -> None:
        if not variable.plates or variable.spin:
            raise ModelError(
                f"`{name}` must be real and have an axis along which a precision is shared, got {variable}"
            )
        precision = np.asarray(variable.precision, dtype=np.float64)
        axis = -3 if variable.dimension else -1
        if precision.ndim and np.any(precision != np.take(precision, [0], axis=axis)):
            raise ModelError(f"`precision` of `{name}` must be the same along the axis that shares it, got others")
        least = np.linalg.eigvalsh(precision)[..., 0] if variable.dimension and precision.ndim else precision
        if np.any(least < -8.0 * np.finfo(float).eps * np.abs(precision).max(initial=0.0)):
            raise ModelError(f"`precision` of `{name}` must be >= 0 (positive semi-definite), got {np.min(least):g}")

    @classmethod
    def of(cls, plates: Mapping[str, int | None], variables: Iterable[Variable], factors: Iterable[Factor]) -> "Model":
        """A model from a sequence of variables; raises ``ModelError`` if two share a name."""
        named: dict[str, Variable] = {}
        for variable in variables:
            if variable.name in named:
                raise ModelError(f"names of variables must differ, got {variable.name!r} twice")
            named[variable.name] = variable
        return cls(plates, named, tuple(factors))

    def shape(self, name: str) -> tuple[int | None, ...]:
        """Shape of a variable's array; None where the data decide."""
        return tuple(self.plates[plate] for plate in self.variables[name].plates)

    def __str__(self) -> str:
        sizes = ", ".join(f"{name}={'*' if size is None else size}" for name, size in self.plates.items())
        lines = [f"plates: {sizes}", *map(str, self.variables.values()), *map(str, self.factors)]
        return "\n".join(lines)
