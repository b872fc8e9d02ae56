"""Averages over all pairs and quadruples of inputs."""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from factorgraph.activations import Activation

Array = NDArray[np.float64]


def moments(activation: Activation, G: Array, order: int) -> Array:
    """Return all averages <σ_a σ_b> (order 2) or <σ_a σ_b σ_c σ_d> (order 4) over inputs of covariance ``G``, (D, D).

    Returns:
        a symmetric tensor with ``order`` axes of D.
    """
    size = len(G)
    result = np.empty((size,) * order)
    cache: dict[tuple[int, ...], float] = {}
    for index in np.ndindex(result.shape):
        key = tuple(sorted(index))
        if key not in cache:
            distinct = sorted(set(key))
            powers = tuple(key.count(i) for i in distinct)
            cache[key] = activation.moment(powers, G[np.ix_(distinct, distinct)])
        result[index] = cache[key]
    return result


def slopes(activation: Activation, G: Array) -> Array:
    """Return ½ <∂_c ∂_d σ_a σ_b>_G for all a, b, c, d: the derivatives of <σ_a σ_b> in the symmetric G, (D, D, D,
    D)."""
    size = len(G)
    result = np.zeros((size,) * 4)
    for a in range(size):
        result[a, a, a, a] = activation.slope(G[a : a + 1, a : a + 1])[0, 0]
    for a, b in combinations(range(size), 2):
        pair = np.ix_((a, b), (a, b))
        result[a, b][pair] = result[b, a][pair] = activation.slope(G[pair])
    return result
