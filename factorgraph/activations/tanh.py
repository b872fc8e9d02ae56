"""Hyperbolic tangents."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from factorgraph.activations.base import Activation

Array = NDArray[np.float64]


class Tanh(Activation):
    """σ(z) = tanh(z)."""

    steepest = 1.0

    def __init__(self) -> None:
        super().__init__(np.tanh, name="tanh")

    def derivative(self, z: ArrayLike) -> Array:
        return 1.0 / np.square(np.cosh(np.clip(np.asarray(z, dtype=np.float64), -350.0, 350.0)))
