"""Averages over a few Gaussian variables of functions with kinks: one conditional rule after the other."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from factorgraph.numerics.quadrature import panel_rule

Array = NDArray[np.float64]

_NEGLIGIBLE = 1e-17  # nodes of less weight are left out


class _Resolution(NamedTuple):
    """Panel edges in standard deviations, nodes of a panel, and halvings of the panels towards each centre."""

    edges: tuple[float, ...]
    nodes: int
    halvings: int


#: By the number of variables: what one line gets must be paid for once, what four lines get to the fourth power.
_RESOLUTIONS = (
    _Resolution((1.5, 3.0, 4.5, 6.5, 9.0), 14, 24),
    _Resolution((1.5, 3.0, 4.5, 6.5, 9.0), 10, 6),
    _Resolution((1.5, 3.0, 5.0, 8.0), 7, 2),
    _Resolution((1.5, 3.5, 7.5), 7, 0),
)


def normal_panels(
    mean: Array, deviation: float | Array, centres: tuple[float, ...], resolution: int = 1
) -> tuple[Array, Array]:
    """Return nodes and weights of averages over normal variables z, one for each entry of ``mean``.

    Args:
        mean: (n,).
        deviation: > 0, of all of them or (n,).
        centres: where the averaged functions have kinks or narrow parts: panels end there, and shrink towards them.
        resolution: number of variables of the whole average, 1 to 4.

    Returns:
        z and weights, each (n, panels, nodes).
    """
    edges, nodes, halvings = _RESOLUTIONS[resolution - 1]
    steps = edges[0] * 0.5 ** np.arange(1, halvings + 1)
    steps = np.concatenate([-steps, [0.0], steps])
    base = np.array([*(-edge for edge in edges), *edges])
    places = [(np.asarray(centre) - mean) / deviation for centre in centres]
    all_edges = [np.broadcast_to(base, (mean.size, base.size)), *(place[:, None] + steps for place in places)]
    u, weight = panel_rule(np.sort(np.clip(np.concatenate(all_edges, axis=1), -edges[-1], edges[-1]), axis=1), nodes)
    scale = np.reshape(deviation, (-1, 1, 1))
    return mean[:, None, None] + scale * u, weight * np.exp(-0.5 * u * u) / np.sqrt(2.0 * np.pi)


def gaussian_rule(G: Array, centres: tuple[float, ...]) -> tuple[Array, Array]:
    """Return nodes (d, K) and weights (K,) of averages over d <= 4 Gaussian variables of covariance ``G``, (d, d).

    Each variable is integrated given those before it, on panels that end at the kinks ``centres``, so that products of
    functions of one variable each, smooth but for these, are averaged with spectral accuracy.
    """
    root = np.linalg.cholesky(G)
    size = len(G)
    u, weight = np.zeros((0, 1)), np.ones(1)
    for i, row in enumerate(root):
        mean = row[:i] @ u
        z, panel = normal_panels(mean, float(row[i]), centres, size)
        total = (weight[:, None] * panel.reshape(mean.size, -1)).ravel()
        kept = total > _NEGLIGIBLE
        owner = np.repeat(np.arange(mean.size), z[0].size)[kept]
        u = np.concatenate([u[:, owner], (z.ravel()[kept] - mean[owner])[None] / row[i]])
        weight = total[kept]
    return root @ u, weight


def angle(G: Array) -> tuple[float, float]:
    """Return correlation and angle of two variables of covariance ``G``."""
    rho = float(np.clip(G[0, 1] / np.sqrt(G[0, 0] * G[1, 1]), -1.0, 1.0))
    return rho, float(np.arccos(rho))


def arcsine_slope(G: Array) -> Array:
    """Return the derivatives of (2/π) arcsin ρ, as of ``Activation.slope``."""
    rho, _ = angle(G)
    root = np.pi * np.sqrt(G[0, 0] * G[1, 1] * (1.0 - rho * rho))
    own = -G[0, 1] / (root * np.diag(G))
    return np.diag(own) + (1.0 - np.eye(2)) / root
