"""Threshold of a low-density parity-check code: (3, 6)-regular codes on a channel that flips bits.

A word of n bits is sent through a channel that flips each with probability p; the syndrome of the received word is
decoded by sum-product and by min-sum. As n grows, the failures jump at p = 0.084 for sum-product [Richardson-Urbanke
2001].
"""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from scipy import sparse

from factorgraph import decode

SIZES, WORDS, THRESHOLD = (200, 600, 2000), 200, 0.084


def regular(n: int, rng: np.random.Generator) -> Any:
    """A random (3, 6) code; of two edges between one bit and one check, one changes ends with another edge."""
    check, bit = rng.permutation(3 * n) // 6, np.arange(3 * n) // 3
    while len(first := np.unique(check * n + bit, return_index=True)[1]) < 3 * n:
        for e in np.setdiff1d(np.arange(3 * n), first):
            other = rng.integers(3 * n)
            check[[e, other]] = check[[other, e]]
    return sparse.csr_matrix((np.ones(3 * n, dtype=int), (check, bit)), shape=(n // 2, n))


def failures(H: Any, p: float, method: str, rng: np.random.Generator) -> float:
    """Share of the words that are not found."""
    errors = (rng.random((WORDS, H.shape[1])) < p).astype(int)
    syndromes = (errors @ H.T) % 2
    scale = 0.75 if method == "min-sum" else 1.0
    found = decode(H, field=0.5 * np.log((1 - p) / p), syndromes=syndromes, method=method, scale=scale)
    return float(np.mean((found.bits != errors).any(axis=1)))


def main() -> None:
    """Sweep the noise through the threshold."""
    rng, noise = np.random.default_rng(0), np.linspace(0.05, 0.1, 11)
    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    for n, color in zip(SIZES, ("C0", "C1", "C2"), strict=True):
        H = regular(n, rng)
        for method, style in (("sum-product", "-"), ("min-sum", ":")):
            shares = [failures(H, p, method, rng) for p in noise]
            axis.plot(noise, shares, style, color=color, label=f"{method}, n = {n}")
            print(f"{method}, n = {n}: " + ", ".join(f"{share:.3f}" for share in shares))
    axis.axvline(THRESHOLD, color="gray", linestyle="--", label="threshold of sum-product")
    axis.set(xlabel="share of flipped bits", ylabel="share of words not found", title="(3, 6) codes")
    axis.legend(fontsize="small")
    figure.savefig("15_code_threshold.png", dpi=110)


if __name__ == "__main__":
    main()
