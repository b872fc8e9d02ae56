"""Description of a model: variables with priors on plates, tied together by factors. No message lives in it.

A *plate* is a named index set; a variable is an array with one scalar per element of its plates. What is free and what
is observed is a property of the variable, so one description serves training, inference and prediction.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from factorgraph.priors import Prior


class ModelError(ValueError):
    """A model description that does not fit together."""


@dataclass(frozen=True)
class Variable:
    """An array of scalars, one per element of its plates.

    Attributes:
        name: how results and errors call it.
        plates: names of its index sets, in the order of the array's axes.
        prior: distribution of each free element; None if a factor alone determines it.
        observed: its values are given with the data.
    """

    name: str
    plates: tuple[str, ...]
    prior: Prior | None = None
    observed: bool = False

    def __str__(self) -> str:
        shape = f"{self.name}[{', '.join(self.plates)}]"
        if self.observed:
            return f"{shape} observed"
        return f"{shape} ~ {self.prior}" if self.prior is not None else shape


class Factor(Protocol):
    """One kind of factor on whole plates."""

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the variables it touches."""
        ...

    def check(self, model: "Model") -> None:
        """Raise ``ModelError`` where the factor does not fit its variables."""
        ...


@dataclass(frozen=True)
class Model:
    """Plates, variables and factors, checked on construction.

    Attributes:
        plates: size of every index set; None where the data decide it (the samples).
        variables: by name.
        factors: in any order.

    Raises:
        ModelError: for unknown plates, unknown variables, or factors that do not fit.
    """

    plates: Mapping[str, int | None]
    variables: Mapping[str, Variable]
    factors: tuple[Factor, ...] = field(default=())

    def __post_init__(self) -> None:
        for name, size in self.plates.items():
            if size is not None and size < 1:
                raise ModelError(f"plate `{name}` must have a size >= 1 (or None), got {size}")
        for name, variable in self.variables.items():
            if name != variable.name:
                raise ModelError(f"variable `{variable.name}` must be listed under its own name, got {name!r}")
            for plate in variable.plates:
                if plate not in self.plates:
                    raise ModelError(f"plates of `{name}` must be among {sorted(self.plates)}, got {plate!r}")
        for factor in self.factors:
            for name in factor.variables:
                if name not in self.variables:
                    raise ModelError(f"variables of {factor} must be among {sorted(self.variables)}, got {name!r}")
            factor.check(self)

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
