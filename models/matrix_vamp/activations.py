"""The three activations of a hidden layer, and what a Gaussian pre-activation makes of them."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, ndtr

from factorgraph.quadrature import gaussian_expectation

Array = NDArray[np.float64]


class Linearised(NamedTuple):
    """The linear function of z ~ N(m, v) nearest to f(z), elementwise.

    Attributes:
        mean: E f.
        slope: E f' = Cov(f, z)/v.
        residual: Var f - slope² v ≥ 0, what the linear function does not explain.
    """

    mean: Array
    slope: Array
    residual: Array


class Activation(ABC):
    """f(z), elementwise.

    Attributes:
        name: as a user writes it.
        steepest: largest slope.
    """

    name: str
    steepest: float = 1.0

    @abstractmethod
    def __call__(self, z: ArrayLike) -> Any:
        """f(z)."""

    @abstractmethod
    def slope(self, z: ArrayLike) -> Any:
        """f'(z)."""

    @abstractmethod
    def linearised(self, mean: Array, variance: Array) -> Linearised:
        """The best linear function under N(mean, variance), which broadcast; variances > 0."""


class Linear(Activation):
    """f(z) = z."""

    name = "linear"

    def __call__(self, z: ArrayLike) -> Any:
        return np.asarray(z)

    def slope(self, z: ArrayLike) -> Any:
        return np.ones_like(np.asarray(z))

    def linearised(self, mean: Array, variance: Array) -> Linearised:
        return Linearised(mean, np.ones_like(mean), np.zeros_like(mean))


class ReLU(Activation):
    """f(z) = max(0, z)."""

    name = "relu"

    def __call__(self, z: ArrayLike) -> Any:
        return np.maximum(z, 0.0)

    def slope(self, z: ArrayLike) -> Any:
        return (np.asarray(z) > 0.0).astype(np.float64)

    def linearised(self, mean: Array, variance: Array) -> Linearised:
        deviation = np.sqrt(variance)
        a = mean / deviation
        on, density = ndtr(a), np.exp(-0.5 * a * a) / np.sqrt(2.0 * np.pi)
        expected = deviation * (a * on + density)
        square = variance * ((1.0 + a * a) * on + a * density)
        return Linearised(expected, on, np.maximum(square - expected**2 - on**2 * variance, 0.0))


class Sigmoid(Activation):
    """f(z) = 1/(1 + e^{-z})."""

    name = "sigmoid"
    steepest = 0.25

    def __call__(self, z: ArrayLike) -> Any:
        return expit(z)

    def slope(self, z: ArrayLike) -> Any:
        f = expit(z)
        return f * (1.0 - f)

    def linearised(self, mean: Array, variance: Array) -> Linearised:
        def powers(z: Array) -> Array:
            f = expit(z)
            return np.stack([f, f * (1.0 - f)])

        expected, slope = gaussian_expectation(powers, mean, variance, nodes=_NODES)
        square = expected - slope  # f² = f - f'
        return Linearised(expected, slope, np.maximum(square - expected**2 - slope**2 * variance, 0.0))


_NODES = 32  # 1e-9 for variances up to 4, 1e-3 at 100
ACTIVATIONS: dict[str, Activation] = {each.name: each for each in (Linear(), ReLU(), Sigmoid())}
