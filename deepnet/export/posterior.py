"""The posterior of the weights in 8 bits a number: means, and variances where they do not follow from these.

The mean of a ±1 weight is m = sin θ with θ in even steps between -π/2 and π/2, so that its variance 1 - m² = cos² θ
keeps its digits where weights are nearly certain. Continuous weights have means in even steps up to the largest of
their unit, and variances in even steps of their logarithm; 0 is the variance of a weight that is not there.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from deepnet.layers import DenseLayer, Layer

#: Codes of means are -127..127, those of variances 1..255.
_MOST, _LEVELS = 127, 254

#: Step of the angle of a ±1 weight: the largest code stays below π/2, where the field is infinite.
_STEP = np.pi / (2 * _MOST + 1)

Arrays = dict[str, NDArray[Any]]


def pack_posterior(layers: Sequence[Layer]) -> Arrays:
    """Return the codes of trained layers, by the name of the layer and what they are; ``unpack_posterior`` reads them.

    Raises:
        ValueError: a layer is not dense, or keeps more than its posterior, or its weights may be 0: means and variances
            do not tell then how probable that is.
    """
    found: Arrays = {}
    for layer in layers:
        if type(layer) is not DenseLayer:
            raise ValueError(f"`{layer.plan.name}` must be dense, with memory 'fields', to be packed, got {layer.plan}")
        if layer.plan.sparse_weights:
            need = "±1 or continuous weights for a packed posterior"
            raise ValueError(f"`{layer.plan.name}` must have {need}, got {layer.plan}")
        codes = _pack_spins(layer.mean) if layer.plan.spin_weights else _pack_reals(layer.mean, layer.variance)
        if layer.noise is not None:
            codes["noise"] = layer.noise
        found |= {f"{layer.plan.name}.{name}": values for name, values in codes.items()}
    return found


def unpack_posterior(codes: Mapping[str, NDArray[Any]], dtype: DTypeLike) -> Arrays:
    """Return the state of layers from their codes, as ``deepnet.state.Network.arrays`` has it.

    Raises:
        ValueError: an array is missing.
    """
    layers: dict[str, Arrays] = {}
    for name, values in codes.items():
        layer, _, kind = name.rpartition(".")
        layers.setdefault(layer, {})[kind] = values
    found: Arrays = {}
    for layer, own in layers.items():
        try:
            state = _unpack_reals(own) if "variance" in own else _unpack_spins(own)
        except KeyError as error:
            raise ValueError(
                f"the packed posterior must have the array '{layer}.{error.args[0]}', and has not"
            ) from None
        found |= {f"{layer}.{name}": values.astype(dtype) for name, values in state.items()}
    return found


def _pack_spins(mean: NDArray[Any]) -> Arrays:
    angles = np.arcsin(np.clip(mean.astype(np.float64), -1.0, 1.0))
    return {"mean": np.clip(np.rint(angles / _STEP), -_MOST, _MOST).astype(np.int8)}


def _unpack_spins(codes: Arrays) -> Arrays:
    mean = np.sin(_STEP * codes["mean"].astype(np.float64))
    return {"H": np.arctanh(mean), "mean": mean} | _noise(codes)


def _pack_reals(mean: NDArray[Any], variance: NDArray[Any]) -> Arrays:
    largest = np.abs(mean).max(axis=1, keepdims=True).astype(np.float64)
    scale = np.where(largest > 0, largest, 1.0) / _MOST
    there = variance > 0
    logarithms = np.log(np.where(there, variance, 1.0), dtype=np.float64)
    low, high = (logarithms[there].min(), logarithms[there].max()) if there.any() else (0.0, 0.0)
    step = (high - low) / _LEVELS or 1.0
    return {
        "mean": np.rint(mean / scale).astype(np.int8),
        "scale": scale,
        "variance": np.where(there, 1 + np.rint((logarithms - low) / step), 0).astype(np.uint8),
        "range": np.array([low, step]),
    }


def _unpack_reals(codes: Arrays) -> Arrays:
    low, step = codes["range"]
    mean = codes["scale"] * codes["mean"].astype(np.float64)
    there = codes["variance"] > 0
    variance = np.exp(low + step * (codes["variance"].astype(np.float64) - 1.0))
    state = {"H": mean / variance, "mean": mean, "G": 1.0 / variance, "variance": variance * there}
    return state | _noise(codes)


def _noise(codes: Arrays) -> Arrays:
    return {"noise": codes["noise"]} if "noise" in codes else {}
