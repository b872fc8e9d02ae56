"""Exact, tree and loopy belief propagation on small nets of spins, as the loops get stronger."""

import matplotlib.pyplot as plt
import numpy as np

from factorgraph import Graph, Pairwise, draw, exact, infer

SIZE, SAMPLES, STRENGTHS = 4, 10, np.linspace(0.0, 1.5, 16)


def net(strength: float, seed: int, loops: bool) -> Graph:
    """A grid of spins with random fields and couplings of that strength; without loops, its rows and one column."""
    rng = np.random.default_rng(seed)
    graph = Graph()
    s = graph.spins("s", (SIZE, SIZE), field=0.3 * rng.normal(size=(SIZE, SIZE)))
    across, down = strength * rng.normal(size=(2, SIZE, SIZE))
    graph.add(Pairwise(s[:, :-1], s[:, 1:], coupling=across[:, 1:]))
    columns = slice(None) if loops else slice(0, 1)
    graph.add(Pairwise(s[:-1, columns], s[1:, columns], coupling=down[1:, columns]))
    return graph


def errors(strength: float, loops: bool) -> np.ndarray:
    """Mean error of the means, error of log Z per spin, and share of converged runs, over some samples."""
    rows = []
    for seed in range(SAMPLES):
        graph = net(strength, seed, loops)
        truth, result = exact(graph), infer(graph, damping=0.3 if loops else 0.0, max_sweeps=500)
        log_z = abs(result.log_partition - truth.log_partition) / SIZE**2
        rows.append([np.abs(result["s"].mean - truth["s"].mean).mean(), log_z, result.converged])
    return np.mean(rows, axis=0)


def main() -> None:
    """Compare on a tree and on the grid that contains it."""
    figure, axes = plt.subplots(2, 2, figsize=(10, 8), layout="constrained")
    for place, loops, title in ((axes[0, 0], False, "a tree"), (axes[0, 1], True, "with loops")):
        draw(net(1.0, 0, loops), place, labels=False)
        place.set_title(f"{SIZE}×{SIZE} spins, {title}", fontsize=10)
    for loops, label, style in ((False, "tree", "o-"), (True, "with loops", "s-")):
        mean, log_z, converged = np.array([errors(strength, loops) for strength in STRENGTHS]).T
        for values, what, fill in ((mean, "means", None), (log_z, "log Z a spin", "none")):
            axes[1, 0].semilogy(STRENGTHS, np.maximum(values, 1e-17), style, mfc=fill, label=f"{what}, {label}", ms=4)
        print(f"{label}: errors of the means {mean[1]:.1e} to {mean[-1]:.1e}, {converged.mean():.0%} of runs converged")
    for strength, colour in ((0.3, "tab:green"), (1.5, "tab:red")):
        graphs = [net(strength, seed, True) for seed in range(SAMPLES)]
        truth = np.concatenate([exact(graph)["s"].mean.ravel() for graph in graphs])
        found = np.concatenate([infer(graph, damping=0.3)["s"].mean.ravel() for graph in graphs])
        axes[1, 1].plot(truth, found, ".", color=colour, ms=4, label=f"strength {strength:g}")
    axes[1, 0].set(xlabel="strength of the couplings", ylabel="mean absolute error", title="Against the exact solution")
    axes[1, 1].plot([-1, 1], [-1, 1], ":", color="gray")
    axes[1, 1].set(xlabel="exact mean of a spin", ylabel="by belief propagation", title="With loops")
    for place in axes[1]:
        place.legend(fontsize=8)
        place.grid(alpha=0.3)
    figure.savefig("10_loops.png", dpi=150)


if __name__ == "__main__":
    main()
