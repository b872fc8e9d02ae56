"""Communities in a sparse random graph: what belief propagation finds, and where nothing can be found.

Of the stochastic block model with q = 2 groups and mean degree c, neighbours are of one group with probability
(1 + λ)/2. Below the Kesten-Stigum threshold cλ² = 1 no algorithm does better than guessing; above it belief propagation
does [Decelle-Krzakala-Moore-Zdeborová 2011]. Each edge is a Potts factor; what the very many pairs without an edge say
is a field, the same for all, that keeps a group from taking everything.
"""

import matplotlib.pyplot as plt
import numpy as np

from factorgraph import Graph, Potts, infer

N, DEGREE, SEEDS, SWEEPS = 3000, 4.0, 2, 100


def block_model(lam: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Groups (N,) and edges (E, 2)."""
    groups = rng.integers(0, 2, N)
    pairs = rng.integers(0, N, (int(4 * N * DEGREE), 2))
    same = groups[pairs[:, 0]] == groups[pairs[:, 1]]
    kept = rng.random(len(pairs)) < np.where(same, 1 + lam, 1 - lam) / 2
    pairs = np.sort(pairs[kept & (pairs[:, 0] != pairs[:, 1])][: int(N * DEGREE / 2)], axis=1)
    return groups, np.unique(pairs, axis=0)


def overlap(lam: float, rng: np.random.Generator) -> float:
    """How much better than guessing the modes of the beliefs are."""
    groups, edges = block_model(lam, rng)
    graph = Graph()
    c = graph.categories("group", N, states=2)
    graph.add(Potts(*c[edges].columns, coupling=np.log((1 + lam) / (1 - lam))))
    affinity = DEGREE * np.array([[1 + lam, 1 - lam], [1 - lam, 1 + lam]])
    result = infer(graph, fields={"group": 0.1 * rng.standard_normal((N, 2))}, schedule="flooding", max_sweeps=1)
    sizes = np.full(2, 0.5)
    for _ in range(SWEEPS):
        sizes = 0.8 * sizes + 0.2 * result["group"].probabilities.mean(axis=0)
        options = {"fields": {"group": -affinity @ sizes}, "schedule": "flooding", "damping": 0.5}
        result = infer(graph, start=result, max_sweeps=1, **options)
    return 2 * abs(np.mean(result["group"].mode == groups) - 0.5)


def main() -> None:
    """Sweep the strength of the communities through the threshold."""
    strengths = np.linspace(0.3, 0.8, 11)
    rng = np.random.default_rng(0)
    found = np.array([[overlap(lam, rng) for _ in range(SEEDS)] for lam in strengths])
    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    axis.errorbar(strengths, found.mean(axis=1), found.std(axis=1) / SEEDS**0.5, fmt="o-")
    axis.axvline(DEGREE**-0.5, color="gray", linestyle="--", label="Kesten-Stigum, cλ² = 1")
    axis.set(xlabel="λ", ylabel="overlap", title=f"two groups, {N} nodes, mean degree {DEGREE:g}")
    axis.legend()
    figure.savefig("13_communities.png", dpi=110)
    for lam, each in zip(strengths, found, strict=True):
        print(f"λ = {lam:.2f}: overlap {each.mean():.3f}")


if __name__ == "__main__":
    main()
