"""ReLU units."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from factorgraph.activations.averages import angle
from factorgraph.activations.base import Activation, Linearised

Array = NDArray[np.float64]


def _relu(z: ArrayLike) -> Array:
    return np.maximum(z, 0.0)


class ReLU(Activation):
    """σ(z) = max(0, z): integrals over the angle between two inputs, the radius being a Gamma function.

    With ρ = cos θ, over the directions where both are positive, ∫ cos^p φ cos^q(φ - θ) dφ.
    """

    steepest = 1.0

    def __init__(self) -> None:
        super().__init__(_relu, kinks=[0.0], name="relu")

    def derivative(self, z: ArrayLike) -> Array:
        return (np.asarray(z) > 0.0).astype(np.float64)

    def linearised(self, mean: Array, variance: Array) -> Linearised:
        deviation = np.sqrt(variance)
        a = mean / deviation
        on, density = ndtr(a), np.exp(-0.5 * a * a) / np.sqrt(2.0 * np.pi)
        expected = deviation * (a * on + density)
        square = variance * ((1.0 + a * a) * on + a * density)
        return Linearised(expected, on, np.maximum(square - expected**2 - on**2 * variance, 0.0))

    def moment(self, powers: tuple[int, ...], G: Array) -> float:
        scale = float(np.prod(np.sqrt(np.diag(G)) ** np.asarray(powers)))
        if powers in ((2,), (4,)):
            return scale * (0.5 if powers == (2,) else 1.5)
        if powers not in ((1, 1), (2, 2), (3, 1), (1, 3)):
            return super().moment(powers, G)
        rho, theta = angle(G)
        sine, rest = np.sin(theta), np.pi - theta
        if powers == (1, 1):
            return scale * (sine + rest * rho) / (2.0 * np.pi)
        if powers == (2, 2):
            return scale * (3.0 * sine * rho + rest * (1.0 + 2.0 * rho * rho)) / (2.0 * np.pi)
        return scale * (3.0 * rho * rest + (2.0 + rho * rho) * sine) / (2.0 * np.pi)

    def slope(self, G: Array) -> Array:
        if len(G) == 1:
            return np.full((1, 1), 0.5)
        _, theta = angle(G)
        ratio = np.sqrt(G[1, 1] / G[0, 0])
        own = np.sin(theta) / (4.0 * np.pi) * np.array([ratio, 1.0 / ratio])
        return np.diag(own) + (np.pi - theta) / (4.0 * np.pi) * (1.0 - np.eye(2))

    def square_slope(self, K: float) -> float:
        return 0.5
