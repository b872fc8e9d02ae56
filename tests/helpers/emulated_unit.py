"""The matrix unit in NumPy: its instructions one by one, so that what is built on them runs on any processor, slowly.

What no instruction has written is NaN: a read beyond what was packed shows in the result.
"""

from typing import Any

import numpy as np

from deepnet.kernels.cpu import amx, products, tile
from deepnet.kernels.cpu.tile import SQUARES, VALUES, VARIANCES
from factorgraph.runtime.parallel import one_by_one

SIDE = 16
TILE = SIDE * SIDE
NAN_PAIR = np.uint32(0x7FC07FC0)


def rounded(x: np.ndarray) -> np.ndarray:
    """The bits (uint32) of the nearest bfloat16, ties to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


def number(bits: np.ndarray) -> np.ndarray:
    """The float32 of the bits of a bfloat16."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def room(count: int, kind: type) -> np.ndarray:
    """As ``amx._aligned``, full of NaN."""
    return np.full(count, NAN_PAIR, np.uint32).view(kind)


def _store(pairs: np.ndarray, out: np.ndarray, to: int) -> np.ndarray:
    """Round 16 pairs, write them, the first of a pair in the low half, and return what is lost."""
    bits = rounded(pairs)
    out.view(np.uint32)[to : to + SIDE] = bits[:, 0] | bits[:, 1] << 16
    return pairs - number(bits)


def _split(pairs: np.ndarray, kind: int, out: np.ndarray, to: int) -> None:
    if kind == VALUES:
        _store(_store(pairs, out, to), out, to + TILE)
    elif kind == VARIANCES:
        _store((1 - pairs) * (1 + pairs), out, to)
    else:
        _store(pairs * pairs if kind == SQUARES else pairs, out, to)


def split_neighbours(values: np.ndarray, at: int, step: int, kind: int, out: np.ndarray, to: int) -> None:
    """Pairs that alternate."""
    _split(values[at : at + 2 * SIDE].reshape(SIDE, 2), kind, out, to)


def split_lines(values: np.ndarray, at: int, step: int, kind: int, out: np.ndarray, to: int) -> None:
    """Pairs of two lines."""
    _split(np.stack([values[at : at + SIDE], values[at + step : at + step + SIDE]], axis=1), kind, out, to)


def transpose(source: np.ndarray, at: int, out: np.ndarray, to: int) -> None:
    """A tile of pairs with rows and columns exchanged."""
    block = source.view(np.uint32)[at : at + TILE].reshape(SIDE, SIDE)
    out.view(np.uint32)[to : to + TILE] = block.T.ravel()


def _tile(values: np.ndarray, at: int) -> np.ndarray:
    """(16, 16, 2) numbers of a tile."""
    pairs = values.reshape(-1).view(np.uint32)[at : at + TILE].reshape(SIDE, SIDE)
    return np.stack([number(pairs & 0xFFFF), number(pairs >> 16)], axis=2)


def multiply(
    left: np.ndarray, right: np.ndarray, at: int, depth: int, kind: int, out: np.ndarray, to: int, width: int
) -> None:
    """As ``amx._multiply``; a tile multiplies rows of pairs by columns of pairs."""
    flat = out.reshape(-1)
    assert np.shares_memory(flat, out)
    for i in range(2):
        for j in range(2):
            total = np.zeros((SIDE, SIDE), np.float32)
            for p in range(depth):
                a, b = (i * depth + p) * 2 * TILE, at + (j * depth + p) * 2 * TILE
                halves = [(TILE, 0), (0, 0), (0, TILE)] if kind == VALUES else [(0, 0)]
                for x, y in halves:
                    total += np.einsum("mkt,knt->mn", _tile(left, a + x), _tile(right, b + y))
            for r in range(SIDE):
                place = to + (SIDE * i + r) * width + SIDE * j
                flat[place : place + SIDE] = total[r]


def install(monkeypatch: Any) -> None:
    """Let products run as Python, on this unit."""
    instructions = {
        "_split_neighbours": split_neighbours,
        "_split_lines": split_lines,
        "_transpose": transpose,
        "_multiply": multiply,
        "_aligned": room,
        "_configure": lambda layout: None,
        "_release": lambda: None,
        "put": tile.put.py_func,
        "AVAILABLE": True,
    }
    for name, replacement in instructions.items():
        monkeypatch.setattr(amx, name, replacement)
    monkeypatch.setattr(products, "_AMX_COMPILED", True)
    for name in ("_pack", "panels_of", "rows_of_product"):
        monkeypatch.setattr(amx, name, getattr(amx, name).py_func)
    for name in ("panels_of", "rows_of_product"):
        monkeypatch.setattr(products, name, getattr(products, name).py_func)
    for name in ("_product", "_outer"):
        monkeypatch.setattr(products, name, one_by_one(getattr(products, name).__wrapped__))
