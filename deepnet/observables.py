"""What to watch in a network while it learns [DL App. B.8]."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from factorgraph.channels import Channel
from factorgraph.dense.state import Layer

if TYPE_CHECKING:
    from models.preactivation import ExpectedSum


def polarization(layer: Layer) -> float:
    """⟨q0⟩ = mean over the edges of m²: 1 once every ±1 weight is certain; 0 for a layer without edges."""
    edges = layer.mean.size if layer.plan.mask is None else int(np.count_nonzero(layer.plan.mask))
    return _total_square(layer) / max(1, edges)


def overlap(layer: Layer) -> float:
    """⟨q_ab⟩ = mean over pairs of units a < b of (1/inputs) Σ_i m_ai m_bi; 0 for a layer of one unit.

    Σ_{a<b} m_a·m_b = (|Σ_a m_a|² - Σ_a |m_a|²)/2 needs no product of all pairs. [DL App. B.8] divides the sum
    over pairs by the number of units, not of pairs: see ``overlap_per_unit``.
    """
    units, inputs = layer.mean.shape
    if units == 1:
        return 0.0
    total = np.square(layer.mean.sum(axis=0, dtype=np.float64)).sum() - _total_square(layer)
    return float(total) / (units * (units - 1) * inputs)


def overlap_per_unit(layer: Layer) -> float:
    """(1/units) Σ_{a<b} q_ab as [DL App. B.8] defines it: (units - 1)/2 times the mean over pairs.

    Unlike a mean it is not bounded by 1.
    """
    return 0.5 * (len(layer.mean) - 1) * overlap(layer)


def expected_preactivations(layers: Sequence[Layer]) -> "tuple[ExpectedSum, ...]":
    """How known and how Gaussian the sums into each layer are expected to be, for inputs ±1: see ``expected_sums``.

    The Gaussian is what every message assumes; a large excess kurtosis says where it is wrong.
    """
    from models.preactivation import StochasticWeights, expected_sums

    weights = [
        StochasticWeights(
            layer.mean, layer.variance, layer.plan.spin_weights, scale=layer.plan.scale, mask=layer.plan.mask
        )
        for layer in layers
    ]
    return expected_sums(weights, [cast(Channel, layer.plan.channel).nonlinearity for layer in layers[:-1]])


def _total_square(layer: Layer) -> float:
    """Σ m², summed in double precision."""
    return float(np.einsum("ki,ki->", layer.mean, layer.mean, dtype=np.float64))
