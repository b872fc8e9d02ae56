"""Logistic units."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from factorgraph.activations.base import Activation, Linearised
from factorgraph.numerics.quadrature import gaussian_expectation

Array = NDArray[np.float64]

#: Errors (measured) up to 5e-9 for variances up to 2, 2e-6 up to 4, 4e-4 at 10 and 0.1 at 100.
_NODES = 32


class Sigmoid(Activation):
    """σ(z) = 1/(1 + e^{-z})."""

    steepest = 0.25

    def __init__(self) -> None:
        super().__init__(expit, name="sigmoid")

    def derivative(self, z: ArrayLike) -> Array:
        f = expit(z)
        return f * (1.0 - f)

    def linearised(self, mean: Array, variance: Array) -> Linearised:
        def powers(z: Array) -> Array:
            f = expit(z)
            return np.stack([f, f * (1.0 - f)])

        expected, slope = gaussian_expectation(powers, mean, variance, nodes=_NODES)
        square = expected - slope  # f² = f - f'
        return Linearised(expected, slope, np.maximum(square - expected**2 - slope**2 * variance, 0.0))
