"""What leaves the program: trained layers, and what stands before and behind them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from deepnet.layers import Layer
from factorgraph.interface.arguments import shown


@dataclass(frozen=True, eq=False)
class Exported:
    """A trained network with what inputs go through before it, and outputs behind it.

    Attributes:
        layers: in host memory.
        standardization: what inputs are shifted and then divided by, in double precision: two numbers, or one of each
            for every input; None if they are taken as they are.
        classes: the labels, texts or numbers, in the order of their numbers; None for class numbers, or ±1.
        scale: what predicted numbers are multiplied by, and what is added then, one of each for every output; None if
            they are taken as they are.
    """

    layers: Sequence[Layer]
    standardization: tuple[Any, Any] | None = None
    classes: ArrayLike | None = None
    scale: tuple[Any, Any] | None = None

    def labels(self) -> tuple[Any, ...] | None:
        """Return the classes as Python has them; raise ``ValueError`` for other than texts and numbers."""
        found = None if self.classes is None else tuple(np.asarray(self.classes).tolist())
        if found is not None and not all(isinstance(label, str | int | float) for label in found):
            raise ValueError(f"`classes` must be texts or numbers to be exported, got {shown(self.classes)}")
        return found
