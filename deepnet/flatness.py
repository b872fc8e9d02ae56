"""How flat the error is about a trained network of ±1 weights: the local energy of [DL, App. B.5]."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from deepnet.layers import DenseLayer
from deepnet.outputs import output_of
from deepnet.predict import error_percent, predict_pointwise
from deepnet.sizes import check_count
from deepnet.state import Network
from factorgraph.dense.state import Array


class LocalEnergy(NamedTuple):
    """The local energy at one probability.

    Attributes:
        p: with which every weight is flipped.
        mean: δE(p), the mean rise of the error, in percent.
        error: of the mean.
    """

    p: float
    mean: float
    error: float


def local_energy(
    network: Network, x: Array, y: Array, probabilities: Sequence[float], *, repeats: int, rng: np.random.Generator
) -> list[LocalEnergy]:
    """Return δE(p) = E_z E(w ⊙ z) - E(w) of the most probable weights w, z = -1 with probability p [DL, eq. 136].

    In a repetition every weight has one random number for all p, below which it is flipped: the curve of a repetition
    is that of a growing set of flips, and zero at p = 0.

    Args:
        network: trained, on any device and by any algorithm.
        x: inputs (samples, features).
        y: labels (samples,).
        probabilities: p.
        repeats: number of repetitions, at least 2.
        rng: of the flips.

    Raises:
        ValueError: the network has weights that are not ±1.
    """
    check_count("repeats", repeats, 2)
    network = network.to("cpu")
    layers: list[DenseLayer] = []
    for layer in network.layers:
        if not isinstance(layer, DenseLayer) or not layer.plan.spin_weights:
            raise ValueError(f"`weights` must be binary in all layers to be flipped, got {layer.plan}")
        layers.append(layer.copied(np.copy, network.operations, layers[-1] if layers else None))
    output = output_of(layers[-1])
    numbers, weights = output.numbers(y), [layer.most_probable_weights() for layer in layers]

    def error(draws: Sequence[Array], p: float) -> float:
        for layer, w, u in zip(layers, weights, draws, strict=True):
            layer.mean[...] = np.where(u < p, -w, w)
        return error_percent(output.numbers(predict_pointwise(layers, x)), numbers)

    whole = error([np.ones(1)] * len(layers), 0.0)
    rises = np.empty((repeats, len(probabilities)))
    for row in rises:
        draws = [rng.random(w.shape) for w in weights]
        row[:] = [error(draws, p) - whole for p in probabilities]
    means, errors = rises.mean(axis=0), rises.std(axis=0, ddof=1) / np.sqrt(repeats)
    return [LocalEnergy(*map(float, values)) for values in zip(probabilities, means, errors, strict=True)]
