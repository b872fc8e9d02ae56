"""Streaming over per-edge quantities, which would take outputs × inputs × samples numbers for a whole layer."""

from collections.abc import Iterator

#: Elements of one block: a few arrays of this size exist at a time.
BLOCK_ELEMENTS = 1 << 18


def blocks(outputs: int, elements_per_output: int) -> Iterator[slice]:
    """Yield slices over the outputs such that a block of per-edge values has at most about ``BLOCK_ELEMENTS``
    elements."""
    size = max(1, BLOCK_ELEMENTS // elements_per_output)
    for start in range(0, outputs, size):
        yield slice(start, min(start + size, outputs))
