"""Linear units: averages by Wick's theorem."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from factorgraph.activations.base import Activation, Linearised

Array = NDArray[np.float64]


class Linear(Activation):
    """σ(z) = z."""

    steepest = 1.0

    def __init__(self) -> None:
        super().__init__(np.positive, name="linear")

    def derivative(self, z: ArrayLike) -> Array:
        return np.ones_like(np.asarray(z, dtype=np.float64))

    def linearised(self, mean: Array, variance: Array) -> Linearised:
        return Linearised(mean, np.ones_like(mean), np.zeros_like(mean))

    def moment(self, powers: tuple[int, ...], G: Array) -> float:
        index = [i for i, power in enumerate(powers) for _ in range(power)]
        return _pairings(index, G)

    def slope(self, G: Array) -> Array:
        return np.eye(1) if len(G) == 1 else 0.5 * (1.0 - np.eye(2))

    def square_slope(self, K: float) -> float:
        return 1.0


def _pairings(index: list[int], G: Array) -> float:
    if not index:
        return 1.0
    first, rest = index[0], index[1:]
    return float(sum(G[first, other] * _pairings(rest[:j] + rest[j + 1 :], G) for j, other in enumerate(rest)))
