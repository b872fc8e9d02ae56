"""Units whose activation is the error function."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import erf

from factorgraph.activations.averages import angle, arcsine_slope
from factorgraph.activations.base import Activation

Array = NDArray[np.float64]


class Erf(Activation):
    """σ(z) = erf(z), the mean of the sign of z plus noise of variance ½."""

    steepest = 2.0 / np.pi**0.5

    def __init__(self) -> None:
        super().__init__(erf, name="erf")

    def derivative(self, z: ArrayLike) -> Array:
        return self.steepest * np.exp(-np.square(np.asarray(z, dtype=np.float64)))

    def moment(self, powers: tuple[int, ...], G: Array) -> float:
        if powers == (2,):
            return 2.0 / np.pi * float(np.arcsin(G[0, 0] / (G[0, 0] + 0.5)))
        if powers == (1, 1):
            return 2.0 / np.pi * float(np.arcsin(angle(G + 0.5 * np.eye(2))[0]))
        return super().moment(powers, G)

    def slope(self, G: Array) -> Array:
        if len(G) == 1:
            return 1.0 / (np.pi * (G + 0.5) * np.sqrt(G + 0.25))
        return arcsine_slope(G + 0.5 * np.eye(2))

    def square_slope(self, K: float) -> float:
        return 4.0 / np.pi / (1.0 + 4.0 * K) ** 0.5
