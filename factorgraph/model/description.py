"""Description of a model: variables with priors on plates, tied together by factors. No message lives in it.

A *plate* is a named index set; a variable is an array with one scalar per element of its plates. What is free and what
is observed is a property of the variable, so one description serves training, inference and prediction. A factor acts
on whole plates, or on selected elements: see ``Selection``. ``Graph`` builds models piece by piece.
"""

import dataclasses
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from numbers import Integral
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from factorgraph.interface.arguments import (
    check_flag,
    check_instance,
    check_integer,
    check_name,
    check_shape,
    number_array,
    real_array,
    shown,
)
from factorgraph.interface.brief import brief_text
from factorgraph.interface.errors import ModelError
from factorgraph.interface.html import html_table
from factorgraph.priors import Gaussian, GroupSparse, Prior

Array = NDArray[np.float64]

#: Places of scalars are counted by int32.
_MAX_SCALARS = 2**31 - 1
#: Components of a vector, whose matrix has the square of it.
MAX_COMPONENTS = 46340
#: States of a category: a message has a number for each.
MAX_STATES = 2**20
#: Axes that NumPy has for a variable, a batch and the components of vectors together.
_MAX_AXES = 32
#: Variables and factors that notebooks show.
_SHOWN = 40

Item = TypeVar("Item")


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
        states: 0 for numbers; else each element is a category with so many states, 0 .. states - 1, and the weight
            e^{field[c]}, where the field is an array with one more axis and may be -∞.
    """

    name: str
    plates: tuple[str, ...]
    prior: Prior | GroupSparse | None = None
    observed: bool = False
    spin: bool = False
    field: Any = dataclasses.field(default=0.0, compare=False, repr=False)
    precision: Any = dataclasses.field(default=0.0, compare=False, repr=False)
    dimension: int = 0
    shared: bool = False
    states: int = 0

    @property
    def is_spin(self) -> bool:
        """Whether the values are ±1."""
        return self.spin if self.prior is None or self.shared else self.prior.spin

    def __str__(self) -> str:
        shape = f"{self.name}[{', '.join(self.plates)}]"
        shape += f" of {self.states} states" if self.states else ""
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

    def __post_init__(self) -> None:
        check_name("name", self.name, error=ModelError)
        object.__setattr__(self, "indices", index_array("indices", self.indices))
        object.__setattr__(self, "dimension", self._checked_dimension())

    def _checked_dimension(self) -> int:
        return check_integer("dimension", self.dimension, minimum=0, maximum=MAX_COMPONENTS, error=ModelError)

    @classmethod
    def whole(cls, name: str, shape: tuple[int, ...], dimension: int = 0) -> "Selection":
        """Return all elements of a variable of that shape."""
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
        if not isinstance(key, (int, slice)):
            if any(np.ma.is_masked(part) for part in (key if isinstance(key, tuple) else (key,))):
                raise ModelError(f"`key` must have no masked elements, got {shown(key)}")
        chosen = object.__new__(Selection)  # of what was checked before
        chosen.__dict__.update(
            name=self.name, indices=np.asarray(self.indices[key]), dimension=self.dimension, owner=self.owner
        )
        return chosen

    def __len__(self) -> int:
        return len(self.indices)

    def __str__(self) -> str:
        return printable(f"{self.name}[{' × '.join(map(str, self.shape)) or '1'} elements]")


def printable(text: str) -> str:
    """Return a text as the standard output can show it: there are terminals without signs of products, or Greek
    letters."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    for sign, plain in (("×", "x"), ("·", "*")):
        if not sign.encode(encoding, "ignore"):
            text = text.replace(sign, plain)
    return text.encode(encoding, "backslashreplace").decode(encoding)


def index_array(name: str, values: ArrayLike) -> NDArray[np.intp]:
    """Return positions as an array of integers.

    Raises:
        ModelError: other than integers.
    """
    if type(values) is np.ndarray and values.dtype == np.intp:
        return values
    array = number_array(name, values, error=ModelError)
    whole = array.dtype.kind == "i" or (array.dtype.kind == "u" and (not array.size or array.max() < 2**63))
    if array.size and not whole:
        raise ModelError(f"`{name}` must be integers, got {shown(values)}")
    return array.astype(np.intp)


def check_sizes(name: str, shape: Any, dimension: int = 0, states: int = 0) -> tuple[int, ...]:
    """Return the shape of a variable, whose scalars can be counted.

    Raises:
        ModelError: not sizes >= 1, too many axes, or too many scalars (d² for a vector of dimension d, q for a category
            of q states).
    """
    try:
        sizes = check_shape(name, shape, error=ModelError)
    except ModelError:
        raise ModelError(f"`{name}` must be of sizes >= 1 (an integer or several), got {shown(shape)}") from None
    if len(sizes) > _MAX_AXES:
        raise ModelError(f"`{name}` must have at most {_MAX_AXES} axes, got {len(sizes)}")
    if math.prod(sizes) * (states or max(1, dimension) ** 2) > _MAX_SCALARS:
        each = f" (vectors take {dimension}^2 each)" if dimension else f" ({states} for each)" if states else ""
        raise ModelError(f"`{name}` must be of at most {_MAX_SCALARS} scalars{each}, got {shown(shape)}")
    return sizes


def check_log_weights(name: str, values: ArrayLike, shape: tuple[int | None, ...]) -> Array:
    """Return the logarithms of weights: numbers or -∞, one or an array of that shape.

    Raises:
        ModelError: anything else.
    """
    array = real_array(name, values, finite=False, error=ModelError)
    if array.size and array.max() == np.inf:
        raise ModelError(f"`{name}` must be finite or -inf, got inf")
    if array.ndim and array.shape != shape:
        raise ModelError(f"`{name}` must be a number or of shape {shape}, got {array.shape}")
    return array


def is_factor(value: Any) -> bool:
    """Return whether something has what every factor has; a class of factors has not."""
    return not isinstance(value, type) and hasattr(value, "variables") and callable(getattr(value, "check", None))


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
        for what in ("plates", "variables"):
            check_instance(what, getattr(self, what), Mapping, "a mapping by names", error=ModelError)
        check_instance("factors", self.factors, (tuple, list), "a tuple of factors", error=ModelError)
        object.__setattr__(self, "plates", {name: _plate(name, size) for name, size in self.plates.items()})
        object.__setattr__(self, "factors", tuple(self.factors))
        for name, variable in self.variables.items():
            self._check_variable(name, variable)
        for factor in self.factors:
            if not is_factor(factor):
                raise ModelError(
                    f"`factors` must be factors, such as those of factorgraph.factors, got {shown(factor)}"
                )
            for name in factor.variables:
                if name not in self.variables:
                    raise ModelError(f"variables of {factor} must be among {sorted(self.variables)}, got {name!r}")
            factor.check(self)

    def _check_variable(self, name: str, variable: Variable) -> None:
        check_instance("variables", variable, Variable, "variables by name", error=ModelError)
        _check_attributes(variable)
        if name != variable.name:
            raise ModelError(f"variable `{variable.name}` must be listed under its own name, got {name!r}")
        for plate in variable.plates:
            if plate not in self.plates:
                raise ModelError(f"plates of `{name}` must be among {sorted(self.plates)}, got {plate!r}")
        sizes = tuple(size for size in self.shape(name) if size is not None)
        check_sizes(name, sizes, variable.dimension, variable.states)
        if variable.states:
            self._check_category(name, variable)
            return
        own = (variable.dimension,) if variable.dimension else ()
        for what, axes in (("field", own), ("precision", 2 * own)):
            shape = (*self.shape(name), *axes)
            values = real_array(f"{what}` of `{name}", getattr(variable, what), error=ModelError)
            if values.ndim and values.shape != shape:
                raise ModelError(f"`{what}` of `{name}` must be a number or of shape {shape}, got {values.shape}")
            if what == "precision" and variable.dimension > 1 and not values.ndim and values != 0.0:
                raise ModelError(f"`precision` of `{name}` must be matrices of shape {shape}, got {shown(values)}")
        if isinstance(variable.prior, GroupSparse) and variable.prior.dimension != variable.dimension:
            need = f"one of vectors in R^{variable.dimension}" if variable.dimension else "one of scalars"
            raise ModelError(f"`prior` of `{name}` must be {need}, got {variable.prior}")
        if variable.dimension and not isinstance(variable.prior, (Gaussian, GroupSparse, type(None))):
            need = "Gaussian (that of every component) or GroupSparse; a mixture is a category with a Switch"
            raise ModelError(f"`prior` of the vectors `{name}` must be {need}, got {variable.prior}")
        if variable.shared:
            self._check_shared(name, variable)

    def _check_category(self, name: str, variable: Variable) -> None:
        if variable.prior is not None or variable.spin or variable.shared or variable.dimension:
            raise ModelError(f"the category `{name}` must have no prior (its field is one), got {variable}")
        precision = real_array(f"precision` of `{name}", variable.precision, error=ModelError)
        if precision.any():
            raise ModelError(f"`precision` of the category `{name}` must be 0, got {shown(variable.precision)}")
        check_log_weights(f"field` of `{name}", variable.field, (*self.shape(name), variable.states))

    def _check_shared(self, name: str, variable: Variable) -> None:
        if not variable.plates or variable.spin:
            raise ModelError(
                f"`{name}` must be real and have an axis along which a precision is shared, got {variable}"
            )
        precision = np.asarray(variable.precision, dtype=np.float64)
        axis = -3 if variable.dimension else -1
        if precision.ndim and np.any(precision != np.take(precision, [0], axis=axis)):
            raise ModelError(f"`precision` of `{name}` must be the same along the axis that shares it, got others")
        minimum = np.linalg.eigvalsh(precision)[..., 0] if variable.dimension and precision.ndim else precision
        if np.any(minimum < -8.0 * np.finfo(float).eps * np.abs(precision).max(initial=0.0)):
            raise ModelError(f"`precision` of `{name}` must be >= 0 (positive semi-definite), got {np.min(minimum):g}")

    @classmethod
    def of(cls, plates: Mapping[str, int | None], variables: Iterable[Variable], factors: Iterable[Factor]) -> "Model":
        """Return a model from a sequence of variables; raise ``ModelError`` if two share a name."""
        for what, values in (("variables", variables), ("factors", factors)):
            check_instance(what, values, Iterable, f"a sequence of {what}", error=ModelError)
        named: dict[str, Variable] = {}
        for variable in variables:
            check_instance("variables", variable, Variable, "a sequence of variables", error=ModelError)
            check_name("name", variable.name, error=ModelError)
            if variable.name in named:
                raise ModelError(f"names of variables must differ, got {variable.name!r} twice")
            named[variable.name] = variable
        return cls(plates, named, tuple(factors))

    def shape(self, name: str) -> tuple[int | None, ...]:
        """Return the shape of a variable's array; None where the data decide."""
        return tuple(self.plates[plate] for plate in self.variables[name].plates)

    def __str__(self) -> str:
        sizes = ", ".join(f"{name}={'*' if size is None else size}" for name, size in self.plates.items())
        lines = [f"plates: {sizes}", *map(str, self.variables.values()), *map(str, self.factors)]
        return printable("\n".join(lines))

    def _repr_html_(self) -> str:
        """Return tables of variables and of factors, of those that come first if there are many."""
        variables: list[tuple[str, ...]] = []
        for name, each in _first(self.variables.items()):
            shape = "x".join("*" if size is None else str(size) for size in self.shape(name))
            variables.append((printable(str(each)), shape))
        factors: list[tuple[str, ...]] = [(brief_text(printable(str(each))),) for each in _first(self.factors)]
        for rows, count in ((variables, len(self.variables)), (factors, len(self.factors))):
            if count > len(rows):
                rows.append(("...", f"{count} in all")[-len(rows[0]) :])
        return html_table(("variable", "shape"), variables) + html_table(("factor",), factors)


def _first(items: Iterable[Item]) -> list[Item]:
    return list(islice(items, _SHOWN))


def _plate(name: Any, size: Any) -> int | None:
    """Return the size of a plate, checked."""
    check_name("plates", name, error=ModelError)
    if size is not None and (not isinstance(size, Integral) or isinstance(size, bool) or size < 1):
        raise ModelError(f"plate `{name}` must have a size >= 1 (or None), got {shown(size)}")
    count = None if size is None else int(size)
    if count is not None and count > _MAX_SCALARS:
        raise ModelError(f"plate `{name}` must have a size of at most {_MAX_SCALARS}, got {shown(count)}")
    return count


def _check_attributes(variable: Variable) -> None:
    """Raise ``ModelError`` unless a variable's attributes are of their types."""
    check_name("name", variable.name, error=ModelError)
    check_instance("plates", variable.plates, tuple, "a tuple of names", error=ModelError)
    for plate in variable.plates:
        check_name("plates", plate, error=ModelError)
    check_instance("prior", variable.prior, (Prior, GroupSparse, type(None)), "a prior or None", error=ModelError)
    for what in ("observed", "spin", "shared"):
        check_flag(what, getattr(variable, what), error=ModelError)
    check_integer("dimension", variable.dimension, minimum=0, maximum=MAX_COMPONENTS, error=ModelError)
    check_integer("states", variable.states, minimum=0, maximum=MAX_STATES, error=ModelError)
    if variable.states == 1:
        raise ModelError(f"`states` of `{variable.name}` must be >= 2, got 1")
