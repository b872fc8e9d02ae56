"""What to watch in a network while it learns [DL, App. B.8], besides what its layers tell of themselves."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from deepnet.layers import DenseLayer, Layer
from factorgraph.channels import Channel

if TYPE_CHECKING:
    from models.preactivation import ExpectedSum


def overlap_per_unit(layer: Layer) -> float:
    """Return (1/units) Σ_{a<b} q_ab as [DL, App. B.8] defines it: (units - 1)/2 times the mean over pairs,
    ``layer.overlap()``.

    Unlike a mean it is not bounded by 1.
    """
    return 0.5 * (layer.plan.outputs - 1) * layer.overlap()


def share_of_zeros(layer: DenseLayer) -> float:
    """Return the share of the most probable weights that are 0, of those that there is room for."""
    return 1.0 - np.count_nonzero(layer.most_probable_weights()) / layer.plan.weights


def expected_preactivations(layers: Sequence[Layer]) -> "tuple[ExpectedSum, ...]":
    """Return how known and how Gaussian the sums into each layer are expected to be, for inputs ±1: see
    ``expected_sums``.

    The Gaussian is what every message assumes; a large excess kurtosis says where it is wrong.
    """
    from models.preactivation import expected_sums

    activations = [cast(Channel, layer.plan.channel).nonlinearity for layer in layers[:-1]]
    return expected_sums([layer.stochastic_weights() for layer in layers], activations)
