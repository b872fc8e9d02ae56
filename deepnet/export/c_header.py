"""A packed network as one header in C99, which needs no library, no memory but the stack, and no floating point for
integer inputs.

With integer inputs x and the standardisation (x - shift)/divisor, the sum into a unit of the first layer is at least
zero where Σ ±x >= shift · Σ ±1 ∓ divisor, the last term being that of the constant unit of a bias: an integer sum and
an integer threshold, the right-hand side rounded up. The sum is twice that of the inputs of weight +1, less all, and
each of these is one of powers of two over the bits of the inputs: popcounts, as in the layers above. As in
``deepnet.sums``, what lies below zero by no more than rounding is zero.
"""

import math
import os
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepnet.export.packed import PackedNetwork, file_path
from factorgraph.io.files import write_bytes_atomic

#: Largest size of an input of 16 bits, and the number of them whose sum has 32 bits.
_LARGEST_INPUT, _LARGEST_FEATURES = 1 << 15, (1 << 16) - 2

_WORD = 64

_EPSILON = float(np.finfo(np.float64).eps)


def write_c_header(network: PackedNetwork, path: str | os.PathLike[str]) -> None:
    """Write the header; its functions begin with the name of the file.

    Raises:
        ValueError: ``path`` is no name of a file, or the network has too many inputs or sums that are no thresholds.
        OSError: the disk refuses.
    """
    path = file_path(path)
    write_bytes_atomic(path, c_header(network, c_name(path)).encode())


def c_name(path: Path) -> str:
    """Return an identifier in C from the name of a file."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", path.name.split(".")[0]).strip("_").lower()
    return name if name and name[0].isalpha() else f"network_{name}".rstrip("_")


def c_header(network: PackedNetwork, name: str) -> str:
    """Return the text of the header, its functions called ``name``_predict and ``name``_predict_real.

    Raises:
        ValueError: as by ``write_c_header``.
    """
    first, *others = network.layers
    if network.output == "argmax" and not others:
        raise ValueError(
            f"`{first.name}` must have sign units for a C header, which has thresholds, got an argmax output"
        )
    if network.features > _LARGEST_FEATURES:
        raise ValueError(f"`{first.name}` must have at most {_LARGEST_FEATURES} inputs, got {network.features}")
    shift, divisor = network.standardization or (0.0, 1.0)
    several = _several(network)
    return _HEADER.substitute(
        name=name,
        guard=name.upper(),
        features=network.features,
        meaning=_meaning(network),
        tables="\n".join(_tables(network, name)),
        units=first.outputs,
        inputs=first.inputs,
        words=_words(first.inputs),
        edges=f"{name}_edges0" if first.edges is not None else "0",
        shift=float(shift).hex(),
        divisor=float(divisor).hex(),
        epsilon=_EPSILON.hex(),
        room=max(_words(max(layer.inputs, layer.outputs)) for layer in (*others, first)),
        sums=max((layer.outputs for layer in others), default=1),
        layers="".join(_step(network, name, number) for number in range(1, len(network.layers))),
        result=_result(network),
        labels=", int8_t *labels" if several else "",
        passed=", labels" if several else "",
    )


def _several(network: PackedNetwork) -> bool:
    """Return whether a sample has several labels."""
    return network.output == "sign" and network.layers[-1].outputs > 1


def _meaning(network: PackedNetwork) -> str:
    """Return what a function gives, in words and in the order of the labels, safe in a comment."""
    if _several(network):
        return "labels[k] becomes +1 or -1 for each output k; returns labels[0] > 0."
    if network.classes is None:
        return "Returns the number of the class" + (", 1 for +1 and 0 for -1." if network.output == "sign" else ".")
    names = ", ".join(f"{number}: {label!a}" for number, label in enumerate(network.classes))
    return f"Returns the number of the class, {names}.".replace("*/", "* /").replace("/*", "/ *")


def _thresholds(network: PackedNetwork) -> list[int]:
    """Return for each unit of the first layer the least sum of integers at which it is +1."""
    layer, (shift, divisor) = network.layers[0], network.standardization or (0.0, 1.0)
    largest = network.features * _LARGEST_INPUT
    rounding = layer.inputs * _EPSILON * (network.features * (_LARGEST_INPUT + abs(shift)) + layer.bias * divisor)
    if rounding >= 0.5:
        raise ValueError(f"`standardization` must be for integers of 16 bits, got {shift:g} and {divisor:g}")
    found = []
    for row in layer.signs:
        total, constant = int(row[: layer.features].sum()), int(row[-1]) if layer.bias else 0
        least = math.ceil(Fraction(shift) * total - Fraction(divisor) * constant - Fraction(rounding))
        found.append(min(max(least, -largest), largest + 1))
    return found


# --- pieces of C ------------------------------------------------------------------------------------------------------


def _words(bits: int) -> int:
    return -(-bits // _WORD)


def _tables(network: PackedNetwork, name: str) -> Iterator[str]:
    for number, layer in enumerate(network.layers):
        yield _array(f"static const uint64_t {name}_weights{number}", _hexadecimal(layer.weights))
        if layer.edges is not None:
            yield _array(f"static const uint64_t {name}_edges{number}", _hexadecimal(layer.edges))
    yield _array(f"static const int32_t {name}_thresholds", [str(each) for each in _thresholds(network)])


def _hexadecimal(rows: NDArray[Any]) -> list[str]:
    padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 8)))
    return [f"0x{word:016x}" for word in padded.view("<u8").ravel().tolist()]


def _array(declaration: str, values: list[str]) -> str:
    lines = [", ".join(values[start : start + 5]) for start in range(0, len(values), 5)]
    return f"{declaration}[{len(values)}] = {{\n  " + ",\n  ".join(lines) + "\n};"


def _step(network: PackedNetwork, name: str, number: int) -> str:
    """Return the statements of a layer above the first one."""
    layer, last = network.layers[number], number == len(network.layers) - 1
    edges = f"{name}_edges{number}" if layer.edges is not None else "0"
    lines = []
    if layer.bias:
        word, bit = divmod(layer.features, _WORD)
        lines.append(f"units[{word}] |= (uint64_t)1 << {bit};" if bit else f"units[{word}] = 1;")
    lines.append(f"{name}_sums(units, {name}_weights{number}, {edges}, {layer.outputs}, {layer.inputs}, sums);")
    if not last or network.output == "sign":
        lines.append(f"{name}_signs(sums, {layer.outputs}, units);")
    return "".join(f"  {line}\n" for line in lines)


def _result(network: PackedNetwork) -> str:
    """Return the statements that make labels of the last sums, or of their signs."""
    text = _SEVERAL if _several(network) else _LARGEST if network.output == "argmax" else _SIGN
    return text.replace("OUTPUTS", str(network.layers[-1].outputs))


_LARGEST = """  {
    int best = 0, k;
    for (k = 1; k < OUTPUTS; k++)
      if (sums[k] > sums[best]) best = k;
    return best;
  }"""

_SIGN = """  (void)sums;
  return (int)(units[0] & 1);"""

_SEVERAL = """  {
    int k;
    (void)sums;
    for (k = 0; k < OUTPUTS; k++) labels[k] = (units[k / 64] >> (k % 64) & 1) ? 1 : -1;
    return labels[0] > 0;
  }"""

_HEADER = Template("""\
/* A neural network of weights +1 and -1, written by deepnet export: C99, no library, no allocation.

   int ${name}_predict(const int16_t x[$features]$labels): inputs are integers, and so is all arithmetic.
   int ${name}_predict_real(const double x[$features]$labels): inputs are finite numbers.

   $meaning */
#ifndef ${guard}_H
#define ${guard}_H

#include <stdint.h>

$tables

static inline int ${name}_ones(uint64_t word)
{
#if defined(__GNUC__)
  return __builtin_popcountll(word);
#else
  word -= word >> 1 & 0x5555555555555555u;
  word = (word & 0x3333333333333333u) + (word >> 2 & 0x3333333333333333u);
  word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0fu;
  return (int)(word * 0x0101010101010101u >> 56);
#endif
}

/* Sums of +1 and -1, each with the sign of its weight: edges with both alike, less the others. */
static inline void ${name}_sums(const uint64_t *units, const uint64_t *weights, const uint64_t *edges, int outputs,
                                int inputs, int32_t *sums)
{
  const int words = inputs / 64 + (inputs % 64 != 0);
  const uint64_t last = inputs % 64 ? ((uint64_t)1 << inputs % 64) - 1 : ~(uint64_t)0;
  int k, w;
  for (k = 0; k < outputs; k++, weights += words) {
    sums[k] = 0;
    for (w = 0; w < words; w++) {
      const uint64_t there = edges ? edges[w] : w == words - 1 ? last : ~(uint64_t)0;
      sums[k] += 2 * ${name}_ones(~(units[w] ^ weights[w]) & there) - ${name}_ones(there);
    }
    if (edges) edges += words;
  }
}

/* The sum of the inputs of which the mask has a bit, given the bits of all inputs, less the least one. */
static inline int64_t ${name}_picked(uint64_t bits[][$words], int planes, int32_t least, const uint64_t *mask)
{
  int64_t sum = 0;
  int b, w, ones;
  for (b = 0; b < planes; b++) {
    for (w = ones = 0; w < $words; w++) ones += ${name}_ones(bits[b][w] & mask[w]);
    sum += (int64_t)ones << b;
  }
  if (!least) return sum;
  for (w = ones = 0; w < $words; w++) ones += ${name}_ones(bits[16][w] & mask[w]);
  return sum + (int64_t)least * ones;
}

static inline void ${name}_set(uint64_t *units, int k, int positive)
{
  if (k % 64 == 0) units[k / 64] = 0;
  units[k / 64] |= (uint64_t)(positive != 0) << k % 64;
}

static inline void ${name}_signs(const int32_t *sums, int outputs, uint64_t *units)
{
  int k;
  for (k = 0; k < outputs; k++) ${name}_set(units, k, sums[k] >= 0);
}

/* The sign of input i in the sum of a unit, 0 without an edge. */
static inline int ${name}_weight(const uint64_t *weights, const uint64_t *edges, int i)
{
  const int there = edges ? (int)(edges[i / 64] >> i % 64 & 1) : 1; /* no branch: it would be a coin flip */
  return there * (2 * (int)(weights[i / 64] >> i % 64 & 1) - 1);
}

/* All layers above the first one. */
static inline int ${name}_upper(uint64_t *units$labels)
{
  int32_t sums[$sums];
$layers$result
}

static inline int ${name}_predict(const int16_t *x$labels)
{
  const uint64_t *weights = ${name}_weights0, *edges = $edges;
  uint64_t units[$room] = {0}, bits[17][$words] = {{0}}; /* of all inputs, less the least one; the last row is 1s */
  int32_t least = x[0], size = 0;
  int64_t total = 0;
  int k, i, b, planes = 0;
  for (i = 0; i < $features; i++) least = x[i] < least ? x[i] : least;
  for (i = 0; i < $features; i++) {
    const uint32_t above = (uint32_t)(x[i] - least);
    size |= (int32_t)above;
    total += x[i];
    for (b = 0; above >> b; b++) bits[b][i / 64] |= (uint64_t)(above >> b & 1) << i % 64;
    bits[16][i / 64] |= (uint64_t)1 << i % 64;
  }
  while (size >> planes) planes++;
  for (k = 0; k < $units; k++, weights += $words) {
    const int64_t both = edges ? ${name}_picked(bits, planes, least, edges) : total;
    const int64_t sum = 2 * ${name}_picked(bits, planes, least, weights) - both;
    ${name}_set(units, k, sum >= ${name}_thresholds[k]);
    if (edges) edges += $words;
  }
  return ${name}_upper(units$passed);
}

static inline int ${name}_predict_real(const double *x$labels)
{
  const uint64_t *weights = ${name}_weights0, *edges = $edges;
  uint64_t units[$room] = {0};
  double inputs[$inputs], size = 0.0;
  int k, i;
  for (i = 0; i < $inputs; i++) {
    inputs[i] = i < $features ? (x[i] - ($shift)) / $divisor : 1.0;
    size += inputs[i] < 0.0 ? -inputs[i] : inputs[i];
  }
  for (k = 0; k < $units; k++, weights += $words) {
    double sum = 0.0;
    for (i = 0; i < $inputs; i++) sum += ${name}_weight(weights, edges, i) * inputs[i];
    ${name}_set(units, k, sum >= -($inputs * $epsilon * size)); /* what is left of rounding is zero */
    if (edges) edges += $words;
  }
  return ${name}_upper(units$passed);
}

#endif
""")
