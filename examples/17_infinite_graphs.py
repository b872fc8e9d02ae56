"""Spins on infinite random graphs of degree 3: ferromagnet and spin glass by population dynamics, beside finite graphs.

With ``ensemble=True`` messages are dealt out anew after every sweep, so that there are no loops: the replica-symmetric
cavity. The ferromagnet orders where tanh J · 2 = 1, couplings ±J of equal odds freeze where tanh² J · 2 = 1.
"""

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np

from factorgraph import Graph, Pairwise, infer

SPINS, SWEEPS, POINTS = 4000, 300, np.linspace(0.2, 1.4, 25)


def model(J: float, glass: bool) -> Graph:
    """Spins on a random regular graph."""
    i, j = np.array(nx.random_regular_graph(3, SPINS, seed=0).edges).T
    signs = np.random.default_rng(1).choice([-1.0, 1.0], i.size) if glass else 1.0
    graph = Graph()
    s = graph.spins("s", SPINS)
    graph.add(Pairwise(s[i], s[j], coupling=J * signs))
    return graph


def main() -> None:
    """Order parameter and free entropy against the coupling."""
    first = np.random.default_rng(2).normal(0.5, 1.0, 3 * SPINS), np.zeros(3 * SPINS)
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    for glass, name, color in ((False, "ferromagnet", "C0"), (True, "±J glass", "C3")):
        order, entropy, finite = [], [], []
        for J in POINTS:
            graph = model(J, glass)
            result = infer(graph, ensemble=True, start=first, tolerance=1e-6, max_sweeps=SWEEPS)
            order.append((result["s"].mean ** 2).mean())
            entropy.append(result.log_partition / SPINS)
            sample = infer(graph, start=first, max_sweeps=SWEEPS)
            finite.append((sample["s"].mean ** 2).mean() if sample.converged else np.nan)
        critical = np.arctanh(0.5) if not glass else np.arctanh(np.sqrt(0.5))
        axes[0].plot(POINTS, order, color=color, label=f"{name}, infinite")
        axes[0].plot(POINTS, finite, "o", color=color, mfc="none", label=f"{name}, {SPINS} spins, where converged")
        axes[0].axvline(critical, color=color, ls=":")
        axes[1].plot(POINTS, entropy, color=color, label=name)
        low, high = (np.interp(critical + shift, POINTS, order) for shift in (-0.1, 0.1))
        print(f"{name}: order {low:.3f} and {high:.3f} at J = {critical:.3f} -+ 0.1")
    axes[0].set(xlabel="J (dotted: critical)", ylabel="mean of ⟨s⟩²", ylim=(-0.05, 1.6))
    axes[1].set(xlabel="J", ylabel="log Z per spin")
    for axis in axes:
        axis.legend(fontsize=8)
    figure.savefig("17_infinite_graphs.png", dpi=110)


if __name__ == "__main__":
    main()
