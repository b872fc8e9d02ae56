"""Where the scalars of each variable are in one long row, and how they are called."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from factorgraph.model import Model, ModelError, Selection, Variable


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
        counts = [int(np.prod(shape)) for shape in shapes.values()]
        offsets = dict(zip(shapes, np.cumsum([0, *counts])[:-1].tolist(), strict=True))
        spin = np.repeat([v.is_spin for v in model.variables.values()], counts).astype(bool)
        return cls(model, shapes, offsets, sum(counts), spin)

    def slice(self, name: str) -> slice:
        """The scalars of a variable."""
        return slice(self.offsets[name], self.offsets[name] + int(np.prod(self.shapes[name])))

    def scalars(self, selection: Selection) -> NDArray[np.intp]:
        """Positions of the selected scalars, in the shape of the selection."""
        return selection.indices + self.offsets[selection.name]

    def whole(self, name: str) -> NDArray[np.intp]:
        """Positions of all scalars of a variable, in its shape."""
        return self.scalars(Selection.whole(name, self.shapes[name]))

    def label(self, i: int) -> str:
        """Name of a scalar, such as ``s[3, 4]``."""
        for name in self.shapes:
            block = self.slice(name)
            if block.start <= i < block.stop:
                position = np.unravel_index(i - block.start, self.shapes[name])
                return f"{name}[{', '.join(map(str, position))}]" if position else name
        raise ValueError(f"`i` must be in 0..{self.size - 1}, got {i}")


def _shape(model: Model, variable: Variable, sizes: Mapping[str, int]) -> tuple[int, ...]:
    shape = []
    for plate in variable.plates:
        size = model.plates[plate]
        size = sizes.get(plate) if size is None else size
        if size is None:
            raise ModelError(f"`observed` must contain values of a variable on plate {plate!r}, which decide its size")
        shape.append(size)
    return tuple(shape)
