"""Trained layers as a packed network, and as the file that a user asks for."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from deepnet.export.c_header import write_c_header
from deepnet.export.packed import Bits, PackedLayer, PackedNetwork
from deepnet.layers import DenseLayer, Layer
from factorgraph.channels import Argmax, Sign
from factorgraph.interface.arguments import check_choice, shown

#: What a packed network is written as, by name.
FORMATS: dict[str, Callable[[PackedNetwork, str | os.PathLike[str]], None]] = {
    "packed": PackedNetwork.save,
    "c": write_c_header,
}


def export(network: PackedNetwork, path: str | os.PathLike[str], to: str) -> None:
    """Write a file that gives the labels of a network without this program.

    Args:
        network: from ``pack``.
        path: of the file.
        to: one of ``FORMATS``.

    Raises:
        ValueError: an argument is not as described, or the format does not serve the network.
        OSError: the disk refuses.
    """
    FORMATS[check_choice("to", to, FORMATS)](network, path)


def pack(
    layers: Sequence[Layer],
    *,
    standardization: tuple[float, float] | None = None,
    classes: ArrayLike | None = None,
) -> PackedNetwork:
    """Return the most probable weights of trained layers, one bit each; two where some may be 0.

    Args:
        layers: in host memory.
        standardization: what inputs are shifted and divided by before they enter.
        classes: the labels, texts or numbers, in the order of their numbers.

    Raises:
        ValueError: a layer has other weights than ±1 or 0, or other units than signs; or ``classes`` are of another
            type.
    """
    *hidden, last = layers
    for layer in hidden:
        if not isinstance(layer.plan.channel, Sign):
            raise ValueError(f"`{layer.plan.name}` must have sign units to be packed, got {layer.plan.channel}")
    if not isinstance(last.plan.channel, Sign | Argmax):
        raise ValueError(f"`{last.plan.name}` must have a sign or argmax output to be packed, got {last.plan.channel}")
    labels = None if classes is None else tuple(np.asarray(classes).tolist())
    if labels is not None and not all(isinstance(label, str | int | float) for label in labels):
        raise ValueError(f"`classes` must be texts or numbers to be packed, got {shown(classes)}")
    output = "sign" if isinstance(last.plan.channel, Sign) else "argmax"
    return PackedNetwork(tuple(map(_packed, layers)), output, standardization, labels)


def _packed(layer: Layer) -> PackedLayer:
    if not isinstance(layer, DenseLayer) or not layer.plan.whole_weights:
        need = "weights of ±1 or of -1, 0 and 1 in a dense layer to be packed"
        raise ValueError(f"`{layer.plan.name}` must have {need}, got {layer.plan}")
    plan, W = layer.plan, layer.most_probable_weights()
    edges = None if plan.full_spins else _bits(W != 0)
    return PackedLayer(plan.name, plan.inputs, plan.bias, float(plan.scale), _bits(W > 0), edges)


def _bits(rows: np.ndarray[Any, np.dtype[np.bool_]]) -> Bits:
    return np.packbits(np.ascontiguousarray(rows), axis=1, bitorder="little")
