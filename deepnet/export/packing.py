"""Trained layers as a packed network, and as the file that a user asks for."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from deepnet.export.c_header import write_c_header
from deepnet.export.exported import Exported
from deepnet.export.onnx_graph import write_onnx
from deepnet.export.packed import Bits, PackedLayer, PackedNetwork
from deepnet.layers import DenseLayer, Layer
from factorgraph.channels import Argmax, Sign
from factorgraph.interface.arguments import check_choice

#: How a network is written, by the name of the format.
FORMATS: dict[str, Callable[[Exported, str | os.PathLike[str]], None]] = {
    "packed": lambda network, path: pack(network).save(path),
    "c": lambda network, path: write_c_header(pack(network), path),
    "onnx": write_onnx,
}


def export(network: Exported, path: str | os.PathLike[str], to: str) -> None:
    """Write a file that gives the labels of a network without this program.

    Args:
        network: to be written.
        path: of the file.
        to: one of ``FORMATS``.

    Raises:
        ValueError: an argument is not as described, or the format does not serve the network.
        ImportError: the format needs what is not installed.
        OSError: the disk refuses.
    """
    FORMATS[check_choice("to", to, FORMATS)](network, path)


def pack(network: Exported) -> PackedNetwork:
    """Return the most probable weights of a trained network, one bit each; two where some may be 0.

    Raises:
        ValueError: a layer has other weights than ±1 or 0, or other units than signs; inputs have a scale of their own
            each; or the classes are neither texts nor numbers.
    """
    *hidden, last = network.layers
    for layer in hidden:
        if not isinstance(layer.plan.channel, Sign):
            raise ValueError(f"`{layer.plan.name}` must have sign units to be packed, got {layer.plan.channel}")
    if not isinstance(last.plan.channel, Sign | Argmax):
        raise ValueError(f"`{last.plan.name}` must have a sign or argmax output to be packed, got {last.plan.channel}")
    output = "sign" if isinstance(last.plan.channel, Sign) else "argmax"
    return PackedNetwork(tuple(map(_packed, network.layers)), output, network.standardization, network.labels())


def _packed(layer: Layer) -> PackedLayer:
    if not isinstance(layer, DenseLayer) or not layer.plan.whole_weights:
        need = "weights of ±1 or of -1, 0 and 1 in a dense layer to be packed"
        raise ValueError(f"`{layer.plan.name}` must have {need}, got {layer.plan}")
    plan, W = layer.plan, layer.most_probable_weights()
    edges = None if plan.full_spins else _bits(W != 0)
    return PackedLayer(plan.name, plan.inputs, plan.bias, float(plan.scale), _bits(W > 0), edges)


def _bits(rows: np.ndarray[Any, np.dtype[np.bool_]]) -> Bits:
    return np.packbits(np.ascontiguousarray(rows), axis=1, bitorder="little")
