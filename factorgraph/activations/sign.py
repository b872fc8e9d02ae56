"""Sign units."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf, ndtr

from factorgraph.activations.averages import angle, arcsine_slope
from factorgraph.activations.base import Activation, Linearised

Array = NDArray[np.float64]


def _sign(z: Array) -> Array:
    return np.where(z >= 0.0, 1.0, -1.0)


class Sign(Activation):
    """σ(z) = ±1, with +1 at 0: orthant probabilities."""

    def __init__(self) -> None:
        super().__init__(_sign, kinks=[0.0], name="sign")

    def linearised(self, mean: Array, variance: Array) -> Linearised:
        deviation = np.sqrt(variance)
        a = mean / deviation
        expected, slope = erf(a / np.sqrt(2.0)), np.sqrt(2.0 / np.pi) * np.exp(-0.5 * a * a) / deviation
        return Linearised(expected, slope, np.maximum(4.0 * ndtr(a) * ndtr(-a) - slope**2 * variance, 0.0))

    def moment(self, powers: tuple[int, ...], G: Array) -> float:
        odd = [i for i, power in enumerate(powers) if power % 2]
        if not odd:
            return 1.0
        if len(odd) == 2:
            return 2.0 / np.pi * float(np.arcsin(angle(G[np.ix_(odd, odd)])[0]))
        return super().moment((1,) * len(odd), G[np.ix_(odd, odd)])

    def slope(self, G: Array) -> Array:
        return np.zeros((1, 1)) if len(G) == 1 else arcsine_slope(G)

    def square_slope(self, K: float) -> float:
        return np.inf
