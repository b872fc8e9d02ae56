"""Decoding beside the package ``ldpc``: ``PYTHON tests/benchmarks/decoders.py``, from the root of the repository.

PYTHON has ldpc and what the engine needs. The same syndromes are decoded by both, by flooding with at most 50 sweeps:
shares of words that are not found, with their standard errors and how often the two differ in it, and processor time
for all of them in turns, medians of three.
"""

import time
from typing import Any

import numpy as np
from ldpc import BpDecoder
from scipy import sparse

from factorgraph import decode

WORDS, SWEEPS, SCALE, TURNS = 1000, 50, 0.75, 3
METHODS = {"sum-product": "product_sum", "min-sum": "minimum_sum"}


def regular(n: int = 2000) -> Any:
    """A random (3, 6) code; of two edges between one bit and one check, one changes ends with another edge."""
    rng = np.random.default_rng(0)
    check, bit = rng.permutation(3 * n) // 6, np.arange(3 * n) // 3
    while len(first := np.unique(check * n + bit, return_index=True)[1]) < 3 * n:
        for e in np.setdiff1d(np.arange(3 * n), first):
            other = rng.integers(3 * n)
            check[[e, other]] = check[[other, e]]
    return sparse.csr_matrix((np.ones(3 * n, dtype=np.uint8), (check, bit)), shape=(n // 2, n))


def bicycle() -> tuple[Any, Any]:
    """Checks of both kinds of the [[144,12,12]] code of Bravyi et al. (2024)."""
    x = np.kron(np.roll(np.eye(12, dtype=int), 1, axis=1), np.eye(6, dtype=int))
    y = np.kron(np.eye(12, dtype=int), np.roll(np.eye(6, dtype=int), 1, axis=1))
    power = np.linalg.matrix_power
    A, B = power(x, 3) + y + power(y, 2), power(y, 3) + x + power(x, 2)
    return sparse.csr_matrix(np.hstack([A, B]).astype(np.uint8)), np.hstack([B.T, A.T]) % 2


def kernel(matrix: np.ndarray) -> np.ndarray:
    """A basis of the vectors that all rows are orthogonal to, modulo 2."""
    reduced, pivots, row = matrix.copy() % 2, [], 0
    for column in range(matrix.shape[1]):
        below = np.flatnonzero(reduced[row:, column]) + row
        if not below.size:
            continue
        reduced[[row, below[0]]] = reduced[[below[0], row]]
        others = np.flatnonzero(reduced[:, column])
        reduced[others[others != row]] ^= reduced[row]
        pivots.append(column)
        row += 1
        if row == len(reduced):
            break
    free = np.setdiff1d(np.arange(matrix.shape[1]), pivots)
    basis = np.zeros((free.size, matrix.shape[1]), dtype=int)
    basis[np.arange(free.size), free] = 1
    basis[:, pivots] = reduced[: len(pivots), free].T
    return basis


def compare(name: str, H: Any, logical: np.ndarray, noise: float) -> None:
    """Print a line for each method; an error is found if it differs from its estimate by no row of ``logical``."""
    rng = np.random.default_rng(1)
    errors = (rng.random((WORDS, H.shape[1])) < noise).astype(np.uint8)
    syndromes = np.asarray((errors @ H.T) % 2, dtype=np.uint8)
    field = 0.5 * np.log((1 - noise) / noise)
    for method, theirs in METHODS.items():
        scale = SCALE if method == "min-sum" else 1.0
        options = {"max_iter": SWEEPS, "bp_method": theirs, "ms_scaling_factor": scale, "schedule": "parallel"}
        decoder = BpDecoder(H, error_rate=noise, **options)
        given = {"field": field, "method": method, "scale": scale, "max_sweeps": SWEEPS}
        decode(H, syndromes=syndromes[:20], **given)
        seconds: list[list[float]] = [[], []]
        ours = other = np.zeros_like(errors)
        for _ in range(TURNS):
            start = time.process_time()
            ours = decode(H, syndromes=syndromes, **given).bits
            middle = time.process_time()
            other = np.stack([decoder.decode(syndrome) for syndrome in syndromes])
            seconds[0].append(middle - start)
            seconds[1].append(time.process_time() - middle)
        failed = [_failed(errors ^ bits, H, logical) for bits in (ours, other)]
        shares = [f"{f.mean():.3f} ± {np.sqrt(f.mean() * (1 - f.mean()) / WORDS):.3f}" for f in failed]
        a, b = (float(np.median(s)) for s in seconds)
        print(
            f"{name}, p = {noise}, {method}: not found {shares[0]}, ldpc {shares[1]} ({np.sum(failed[0] != failed[1])} "
            f"differ); {a:.3f} s, ldpc {b:.3f} s, ratio {b / a:.1f}",
            flush=True,
        )


def _failed(rest: np.ndarray, H: Any, logical: np.ndarray) -> np.ndarray:
    """Whether a syndrome is left, or a word that the checks of the other kind do not make."""
    return np.asarray((rest @ H.T) % 2).any(axis=1) | ((rest @ logical.T) % 2).any(axis=1)


def main() -> None:
    """Around the threshold of the classical code, and for some noise of the quantum one."""
    H = regular()
    for noise in (0.07, 0.075, 0.08):
        compare("(3, 6), n = 2000", H, np.eye(H.shape[1], dtype=int), noise)
    H, other = bicycle()
    for noise in (0.03, 0.05, 0.07):
        compare("[[144,12,12]]", H, kernel(other), noise)


if __name__ == "__main__":
    main()
