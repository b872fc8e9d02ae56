"""A network of ±1 weights in one bit a weight: its file, and its predictions by counting bits, on NumPy alone.

A file is one line of JSON and then bits, in bytes whose lowest bit comes first: of each layer the weights, 1 for +1,
and then its edges, 1 where there is one, unless it has all. Every row, the weights of one unit, starts a new byte; the
weight of the constant unit of a bias is the last of its row.
"""

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepnet.sums import sums
from factorgraph.interface.arguments import (
    check_choice,
    check_flag,
    check_instance,
    check_integer,
    check_name,
    check_number,
    number_array,
    shown,
)
from factorgraph.io.files import parse_json, read_bytes, write_bytes_atomic

_FORMAT, _VERSION = "cavity packed network", 1

#: Meanings of the outputs: each the sign of its sum, or one label, that of the largest.
OUTPUTS = ("sign", "argmax")

#: Bytes that a file may have.
_LARGEST_FILE = 1 << 32

#: Samples at once: bits of a word of all units and samples stay in cache.
_CHUNK = 256

Bits = NDArray[np.uint8]
Words = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class PackedLayer:
    """The weights of a layer, one bit each.

    Attributes:
        name: of the weights.
        inputs: columns, the constant unit of a bias the last one.
        bias: whether there is that unit.
        scale: of the sums, which only a largest one feels.
        weights: (outputs, bytes of a row), 1 for +1.
        edges: likewise, 1 where there is an edge; None for all edges.
    """

    name: str
    inputs: int
    bias: bool
    scale: float
    weights: Bits
    edges: Bits | None

    @property
    def outputs(self) -> int:
        """Number of units that it computes."""
        return len(self.weights)

    @property
    def features(self) -> int:
        """Number of inputs without the constant unit."""
        return self.inputs - self.bias

    @cached_property
    def signs(self) -> NDArray[Any]:
        """The weights as numbers, (outputs, inputs): ±1, and 0 without an edge."""
        bits = _unpacked(self.weights, self.inputs)
        edges = 1 if self.edges is None else _unpacked(self.edges, self.inputs)
        return (2.0 * bits - 1.0) * edges

    @cached_property
    def _words(self) -> tuple[Words, Words | None, NDArray[np.int64]]:
        """Weights and edges by words (words, outputs), and the number of edges of each unit."""
        weights = _words(self.weights)
        if self.edges is None:
            return weights, None, np.full(self.outputs, self.inputs)
        return weights, _words(self.edges), np.bitwise_count(self.edges).sum(axis=1, dtype=np.int64)

    def of_numbers(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the scaled sums (outputs, samples) of real inputs (features, samples)."""
        if self.bias:
            x = np.concatenate([x, np.ones_like(x, shape=(1, x.shape[1]))])
        z = sums(self.signs, x)
        z *= self.scale
        return z

    def of_units(self, positive: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the sums (outputs, samples) of ±1 inputs (features, samples): edges less twice those of unlike signs.

        A unit whose bits are no edges, those that fill the last word, is alike on both sides: zero.
        """
        if self.bias:
            positive = np.concatenate([positive, np.ones((1, positive.shape[1]), dtype=bool)])
        units = _words(np.packbits(positive.T, axis=1, bitorder="little"))
        weights, edges, count = self._words
        unlike = np.zeros((self.outputs, positive.shape[1]), dtype=np.int64)
        for word in range(len(weights)):
            different = weights[word][:, None] ^ units[word]
            if edges is not None:
                different &= edges[word][:, None]
            unlike += np.bitwise_count(different)
        return count[:, None] - 2 * unlike


@dataclass(frozen=True, eq=False)
class PackedNetwork:
    """A trained network with its most probable weights, ±1 and sign units throughout.

    Attributes:
        layers: from the inputs to the outputs.
        output: "sign" or "argmax".
        standardization: what inputs are shifted and then divided by, in double precision; None if they are taken as
            they are.
        classes: the labels, in the order of their numbers; None for class numbers, or ±1 of each output.
    """

    layers: tuple[PackedLayer, ...]
    output: str
    standardization: tuple[float, float] | None = None
    classes: tuple[Any, ...] | None = None

    def __repr__(self) -> str:
        sizes = "-".join(str(size) for size in (self.features, *(layer.outputs for layer in self.layers)))
        return f"<PackedNetwork {sizes}, {self.output} output: {len(self.to_bytes())} bytes>"

    @property
    def features(self) -> int:
        """Number of inputs."""
        return self.layers[0].features

    def predict(self, x: ArrayLike) -> NDArray[Any]:
        """Return the labels of ``deepnet.predict.predict_pointwise``.

        Args:
            x: inputs (samples, features). Sums of integers are exact.

        Returns:
            Labels (samples,) if there are ``classes``; else class numbers (samples,) for an argmax output, ±1 in
            (samples, outputs) otherwise.

        Raises:
            ValueError: ``x`` is not as described.
        """
        z = np.concatenate([z.T for z in self._outputs(self._inputs(x))])
        numbers = z.argmax(axis=1) if self.output == "argmax" else z >= 0
        if self.classes is not None:
            return np.array(self.classes)[numbers.reshape(len(z)).astype(np.intp)]
        return numbers if self.output == "argmax" else np.where(numbers, 1, -1)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file, all or nothing.

        Raises:
            ValueError: ``path`` is no name of a file.
            OSError: the disk refuses.
        """
        write_bytes_atomic(file_path(path), self.to_bytes())

    def to_bytes(self) -> bytes:
        """Return the content of the file."""
        bits = b"".join(part.tobytes() for layer in self.layers for part in _parts(layer))
        layers = [
            {
                "name": layer.name,
                "outputs": layer.outputs,
                "inputs": layer.inputs,
                "bias": layer.bias,
                "scale": layer.scale,
                "edges": layer.edges is not None,
            }
            for layer in self.layers
        ]
        header = {
            "format": _FORMAT,
            "version": _VERSION,
            "output": self.output,
            "standardization": self.standardization,
            "classes": self.classes,
            "layers": layers,
            "checksum": zlib.crc32(bits),
        }
        return json.dumps(header, allow_nan=False).encode() + b"\n" + bits

    def _inputs(self, x: ArrayLike) -> NDArray[Any]:
        x = number_array("x", x)
        if not (finite := np.isfinite(x)).all():
            raise ValueError(f"`x` must be finite numbers, got {x[~finite][0]}")
        if x.ndim != 2 or x.shape[1] != self.features:
            raise ValueError(f"`x` must be of shape (samples, {self.features}), got shape {x.shape}")
        if self.standardization is None:
            return x.astype(np.result_type(x, np.float32) if x.dtype.kind == "f" else np.float64, copy=False)
        shift, divisor = self.standardization
        return (x.astype(np.float64) - shift) / divisor

    def _outputs(self, x: NDArray[Any]) -> Iterator[NDArray[Any]]:
        """Yield the sums into the outputs, (outputs, samples), in pieces."""
        first, *others = self.layers
        for start in range(0, max(len(x), 1), _CHUNK):
            z = first.of_numbers(np.ascontiguousarray(x[start : start + _CHUNK].T))
            for layer in others:
                z = layer.of_units(z >= 0)
            yield z


def load_packed(path: str | os.PathLike[str]) -> PackedNetwork:
    """Read the file of a packed network.

    Raises:
        ValueError: ``path`` is no name of a file, or the file is damaged or none of a packed network; names the field.
        OSError: it cannot be read.
    """
    path = file_path(path)
    data = read_bytes(path, _LARGEST_FILE)
    try:
        return _from_bytes(data)
    except ValueError as error:
        raise ValueError(f"`path` must be a packed network, got {shown(str(path))}: {error}") from error


# --- the file ---------------------------------------------------------------------------------------------------------


def _from_bytes(data: bytes) -> PackedNetwork:
    line, end, bits = data.partition(b"\n")
    header = check_instance("header", parse_json(line) if end else None, dict, "a line of JSON, an object")
    check_choice("format", header.get("format"), (_FORMAT,))
    check_choice("version", header.get("version"), (_VERSION,))
    output = check_choice("output", header.get("output"), OUTPUTS)
    standardization = _standardization(header.get("standardization"))
    records = check_instance("layers", header.get("layers"), list, "a list of layers")
    if not records:
        raise ValueError("`layers` must have at least one layer, got []")
    layers, start = [], 0
    for number, record in enumerate(records):
        layer, start = _layer(f"layers[{number}]", record, layers[-1] if layers else None, bits, start)
        layers.append(layer)
    if start != len(bits):
        raise ValueError(f"`layers` must account for all bytes of bits, {len(bits)}, got {start}")
    if header.get("checksum") != zlib.crc32(bits):
        raise ValueError(
            f"`checksum` must be {zlib.crc32(bits)}, that of the bits, got {shown(header.get('checksum'))}"
        )
    classes = _classes(header.get("classes"), output, layers[-1].outputs)
    return PackedNetwork(tuple(layers), output, standardization, classes)


def _standardization(value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"`standardization` must be null or two numbers, got {shown(value)}")
    return check_number("standardization[0]", value[0]), check_number("standardization[1]", value[1], above=0)


def _classes(value: Any, output: str, units: int) -> tuple[Any, ...] | None:
    if value is None:
        return None
    count = units if output == "argmax" else 2
    if output == "sign" and units != 1:
        raise ValueError(f"`classes` must be null for {units} outputs ±1, got {shown(value)}")
    if (
        not isinstance(value, list)
        or len(value) != count
        or not all(isinstance(each, str | int | float) for each in value)
    ):
        raise ValueError(f"`classes` must be null or {count} texts or numbers, got {shown(value)}")
    return tuple(value)


def _layer(where: str, record: Any, below: PackedLayer | None, bits: bytes, start: int) -> tuple[PackedLayer, int]:
    """Return the layer whose bits begin at ``start``, and where they end."""
    check_instance(where, record, dict, "an object")
    outputs = check_integer(f"{where}.outputs", record.get("outputs"), minimum=1)
    bias = check_flag(f"{where}.bias", record.get("bias"))
    inputs = check_integer(f"{where}.inputs", record.get("inputs"), minimum=1 + bias)
    if below is not None and inputs != below.outputs + bias:
        need = f"{below.outputs + bias}, the outputs below{' and the constant unit' if bias else ''}"
        raise ValueError(f"`{where}.inputs` must be {need}, got {inputs}")
    width = -(-inputs // 8)
    arrays: list[Bits] = []
    for _ in range(1 + check_flag(f"{where}.edges", record.get("edges"))):
        if start + outputs * width > len(bits):
            need = f"{start + outputs * width} bytes for {where}"
            raise ValueError(f"`bits` must have at least {need}, got {len(bits)}")
        rows = np.frombuffer(bits, np.uint8, outputs * width, start).reshape(outputs, width)
        if inputs % 8 and (rows[:, -1] >> (inputs % 8)).any():
            raise ValueError(f"`bits` must be 0 behind the rows of {where}, got ones")
        arrays.append(rows)
        start += rows.size
    layer = PackedLayer(
        name=check_name(f"{where}.name", record.get("name")),
        inputs=inputs,
        bias=bias,
        scale=check_number(f"{where}.scale", record.get("scale"), above=0),
        weights=arrays[0],
        edges=arrays[1] if len(arrays) > 1 else None,
    )
    return layer, start


def _parts(layer: PackedLayer) -> Sequence[Bits]:
    return [layer.weights] if layer.edges is None else [layer.weights, layer.edges]


def _unpacked(rows: Bits, columns: int) -> Bits:
    return np.unpackbits(rows, axis=1, count=columns, bitorder="little")


def _words(rows: Bits) -> Words:
    """Return rows of bytes as words (words, rows), zeros in the last one."""
    padded = np.zeros((len(rows), -(-rows.shape[1] // 8) * 8), dtype=np.uint8)
    padded[:, : rows.shape[1]] = rows
    return np.ascontiguousarray(padded.view(np.uint64).T)


def file_path(path: Any) -> Path:
    """Return a path from its name; raise ``ValueError`` for what is none."""
    if not isinstance(path, str | os.PathLike) or not isinstance(text := os.fspath(path), str) or not text:
        raise ValueError(f"`path` must be the name of a file, got {shown(path)}")
    return Path(text)
