"""Where the scalars of each variable are in one long row, and how they are called.

A vector of dimension d takes the d² places of a matrix. What is a matrix (precision, covariance) fills them; what is a
vector (information, mean, value) fills the first column. Natural parameters then add place by place for vectors too.

A category of q states takes q places, one for the indicator x_c of each state: its natural parameters are log-weights
of the states, its mean their probabilities, and a value is 1 in one place and 0 in the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factorgraph.interface.arguments import shown
from factorgraph.interface.errors import ModelError
from factorgraph.model.description import Model, Selection, Variable


@dataclass(frozen=True)
class Layout:
    """Where the scalars of each variable are.

    Attributes:
        model: the description.
        shapes: of every variable, with the sizes that the data decide filled in.
        offsets: position of each variable's first scalar.
        size: number of scalars.
        spin: (size,) whether a scalar is ±1.
    """

    model: Model
    shapes: Mapping[str, tuple[int, ...]]
    offsets: Mapping[str, int]
    size: int
    spin: NDArray[np.bool_]

    @classmethod
    def of(cls, model: Model, sizes: Mapping[str, int]) -> "Layout":
        """Lay out the variables in the order of the model; ``sizes`` are those of the plates without a size."""
        shapes = {name: _shape(model, variable, sizes) for name, variable in model.variables.items()}
        counts = [int(np.prod(shape)) * places(model.variables[name]) for name, shape in shapes.items()]
        offsets = dict(zip(shapes, np.cumsum([0, *counts])[:-1].tolist(), strict=True))
        spin = np.repeat([v.is_spin for v in model.variables.values()], counts).astype(bool)
        return cls(model, shapes, offsets, sum(counts), spin)

    def slice(self, name: str) -> slice:
        """Return the scalars of a variable."""
        size = int(np.prod(self.shapes[name])) * places(self.model.variables[name])
        return slice(self.offsets[name], self.offsets[name] + size)

    def scalars(self, selection: Selection) -> NDArray[np.intp]:
        """Return the positions of the selected scalars, or of the first places of vectors, in the shape of the
        selection."""
        count, offset = places(self.model.variables[selection.name]), self.offsets[selection.name]
        return (selection.indices if count == 1 else selection.indices * count) + offset

    def whole(self, name: str) -> NDArray[np.intp]:
        """Return the positions of all scalars of a variable, in its shape."""
        return self.scalars(Selection.whole(name, self.shapes[name]))

    def scalars_of(self, chosen: Selection | str) -> NDArray[np.intp]:
        """Return the positions (n,) of the scalars of a selection or a name: components of vectors, states of
        categories.

        Raises:
            ValueError: neither, an unknown name, or elements that the variable has not.
        """
        name = chosen.name if isinstance(chosen, Selection) else chosen
        if not isinstance(name, str) or name not in self.shapes:
            raise ValueError(f"variables must be selections or names among {sorted(self.shapes)}, got {shown(chosen)}")
        places = self.components(name, np.arange(self.size)).reshape(int(np.prod(self.shapes[name])), -1)
        indices = chosen.indices.ravel() if isinstance(chosen, Selection) else np.arange(len(places))
        if indices.size and not 0 <= indices.min() <= indices.max() < len(places):
            raise ValueError(f"indices of `{name}` must be in 0..{len(places) - 1}, got {shown(indices)}")
        return places[indices].ravel()

    def matrices(self, name: str, values: NDArray[Any]) -> NDArray[Any]:
        """Return the view of a variable's part of an array (..., N), in its shape.

        For vectors it has two more axes, for categories one of their states.
        """
        variable = self.model.variables[name]
        own = (variable.states,) if variable.states else 2 * (variable.dimension,) if variable.dimension else ()
        shape = (*values.shape[:-1], *self.shapes[name], *own)
        return values[..., self.slice(name)].reshape(shape)

    def vector_matrices(self, name: str, values: NDArray[Any]) -> NDArray[Any]:
        """Return the same for a variable of vectors; raise ``KeyError`` for any other name."""
        names = sorted(other for other, variable in self.model.variables.items() if variable.dimension)
        if not isinstance(name, str) or name not in names:
            raise KeyError(f"`name` must be one of the vectors {names}, got {name!r}")
        return self.matrices(name, values)

    def components(self, name: str, values: NDArray[Any]) -> NDArray[Any]:
        """Return the same of an array of numbers and vectors; for vectors, and for categories, with one more axis."""
        view = self.matrices(name, values)
        return view[..., 0] if self.model.variables[name].dimension else view

    @cached_property
    def first_of(self) -> NDArray[np.int32]:
        """(N,) first place of what each belongs to: vector, category, elements that share a precision, or itself."""
        first_of = np.arange(self.size, dtype=np.int32)
        for name, shape in self.shapes.items():
            variable = self.model.variables[name]
            length = places(variable) * (shape[-1] if variable.shared else 1)
            if length > 1:
                members = first_of[self.slice(name)].reshape(-1, length)
                members[...] = members[:, :1].copy()
        return first_of

    def name_of(self, i: int) -> str:
        """Return the name of the variable of a scalar."""
        for name in self.shapes:
            block = self.slice(name)
            if block.start <= i < block.stop:
                return name
        raise ValueError(f"`i` must be in 0..{self.size - 1}, got {i}")

    def label(self, i: int) -> str:
        """Return the name of a scalar, such as ``s[3, 4]``."""
        name = self.name_of(i)
        element = (i - self.offsets[name]) // places(self.model.variables[name])
        position = np.unravel_index(element, self.shapes[name])
        return f"{name}[{', '.join(map(str, position))}]" if position else name


def places(variable: Variable) -> int:
    """Return how many places an element of a variable takes."""
    return variable.states or max(1, variable.dimension**2)


def _shape(model: Model, variable: Variable, sizes: Mapping[str, int]) -> tuple[int, ...]:
    shape = []
    for plate in variable.plates:
        size = model.plates[plate]
        size = sizes.get(plate) if size is None else size
        if size is None:
            raise ModelError(f"`observed` must contain values of a variable on plate {plate!r}, which decide its size")
        shape.append(size)
    return tuple(shape)
