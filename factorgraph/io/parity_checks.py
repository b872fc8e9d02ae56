"""Codes by their parity-check matrices: models of them, and alist files."""

import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from factorgraph.factors import Parity
from factorgraph.interface.arguments import real_array, shown
from factorgraph.interface.errors import ModelError
from factorgraph.io.files import write_bytes_atomic
from factorgraph.io.paths import checked_target
from factorgraph.io.words import Words
from factorgraph.model.description import Selection
from factorgraph.model.graph import Graph
from factorgraph.model.parity_matrix import checked_matrix

#: Bits or checks of a file.
_MAX_SIZE = 2**30


def from_parity_checks(
    matrix: Any, *, name: str = "s", field: ArrayLike = 0.0, syndrome: ArrayLike = 0
) -> tuple[Graph, Selection]:
    """Return a model with one spin per bit, +1 for the bit 0, and one ``Parity`` factor per check.

    Args:
        matrix: (M, N) of 0 and 1, an array or a sparse matrix of SciPy; its rows are the checks.
        name: of the spins.
        field: of the spins, a number or (N,): half the log-likelihood ratio of the bit 0 and the bit 1.
        syndrome: a number or (M,) of 0 and 1: what the bits of each check sum up to, modulo 2.

    Returns:
        the graph under construction, and its spins.

    Raises:
        ModelError: not such a matrix or syndrome, or a check without bits whose syndrome is 1.
    """
    checks, (count, bits) = checked_matrix(matrix)
    wanted = real_array("syndrome", syndrome, shape=(count,), error=ModelError)
    if not np.isin(wanted, (0, 1)).all():
        raise ModelError(f"`syndrome` must be of 0 and 1, got {shown(wanted[~np.isin(wanted, (0, 1))][0])}")
    weights = np.diff(checks.indptr)
    if np.any(wanted[weights == 0]):
        raise ModelError(f"`syndrome` must be 0 for checks without bits, got 1 for {np.flatnonzero(weights == 0)[0]}")
    graph = Graph()
    s = graph.spins(name, bits, field=field)
    for weight in np.unique(weights[weights > 0]):
        rows = np.flatnonzero(weights == weight)
        table = checks.indices[checks.indptr[rows][:, None] + np.arange(weight)]
        graph.add(Parity(*s[table].columns, sign=1.0 - 2.0 * wanted[rows]))
    return graph, s


def read_alist(path: str | os.PathLike[str]) -> sparse.csr_array:
    """Return the parity-check matrix (M, N) of an alist file, whose lists may be filled up with zeros or not.

    Raises:
        ModelError: not such a file; with the line and the field.
        OSError: the file cannot be read.
    """
    words = Words(path, "an alist file")
    bits, checks = (words.integer(f"the number of {what}", 1, _MAX_SIZE) for what in ("bits", "checks"))
    largest = [
        words.integer("largest number of checks of a bit", 0, checks),
        words.integer("largest number of bits of a check", 0, bits),
    ]
    counts = [
        words.integers("number of checks of bit", bits, 0, largest[0]),
        words.integers("number of bits of check", checks, 0, largest[1]),
    ]
    filled = words.left > sum(map(sum, counts))
    columns = [
        _members(words, f"checks of bit {i}", count, largest[0] if filled else count, checks)
        for i, count in enumerate(counts[0])
    ]
    found = sparse.csc_array(_from_lists(columns, checks)).tocsr()
    found.sort_indices()
    for i, count in enumerate(counts[1]):
        start = words.place
        row = _members(words, f"bits of check {i}", count, largest[1] if filled else count, bits)
        if sorted(row) != found.indices[found.indptr[i] : found.indptr[i + 1]].tolist():
            words.refuse(f"bits of check {i}", "those that have it in their lists", start)
    words.end()
    return found


def _members(words: Words, field: str, count: int, length: int, maximum: int) -> list[int]:
    """Return a list of different numbers, from 0 on; in the file from 1 on, with zeros at its end."""
    start = words.place
    members = words.integers(f"{field}, number", count, 1, maximum)
    if len(set(members)) < count:
        words.refuse(field, "different ones", start)
    words.integers(f"{field}, what fills them up,", length - count, 0, 0)
    return [member - 1 for member in members]


def _from_lists(columns: list[list[int]], rows: int) -> sparse.csc_array:
    starts = np.cumsum([0, *map(len, columns)])
    indices = np.array([member for column in columns for member in column], dtype=np.int64)
    return sparse.csc_array((np.ones(indices.size, dtype=np.int8), indices, starts), shape=(rows, len(columns)))


def write_alist(matrix: Any, path: str | os.PathLike[str]) -> None:
    """Write a parity-check matrix as an alist file, replaced in one step.

    Args:
        matrix: as for ``from_parity_checks``.
        path: of the file.

    Raises:
        ModelError: not such a matrix.
        OSError: as for ``save_model``.
    """
    (rows, shape), target = checked_matrix(matrix), checked_target(path)
    columns = sparse.csc_array(rows)
    columns.sort_indices()
    lines = [shape[::-1]]
    lists: list[Any] = []
    weights = [np.diff(half.indptr) for half in (columns, rows)]
    for half, weight in zip((columns, rows), weights, strict=True):
        longest = int(weight.max())
        padded = np.zeros((weight.size, longest), dtype=np.int64)
        padded[np.arange(longest) < weight[:, None]] = half.indices + 1
        lists += padded.tolist()
    lines += [[int(weight.max()) for weight in weights], *(weight.tolist() for weight in weights), *lists]
    write_bytes_atomic(target, ("\n".join(" ".join(map(str, line)) for line in lines) + "\n").encode())
