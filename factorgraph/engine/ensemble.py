"""The infinite random graph of which a graph is a sample, by population dynamics [Mézard-Parisi 2001].

On a graph without short loops the messages that arrive at a variable come from branches that know nothing of each
other. So the messages of one sweep are the population from which each factor of the next draws: they are dealt out anew
among all factors of a kind, on the same argument and to the same variable by name. Degrees, fields, couplings and which
kinds meet stay those of the graph; loops are gone. The fixed point in distribution is the replica-symmetric cavity
solution, and the Bethe formula gives its free entropy.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from factorgraph.engine.schedules import Batch
from factorgraph.engine.sweeps import GeneralSweeps
from factorgraph.messages.categories import normalised
from factorgraph.messages.natural import Array


class _Population(NamedTuple):
    """Messages that may be exchanged.

    Attributes:
        edges: (F, w) of each factor those of one argument.
        spin: whether that is a spin.
        category: whether it is a category.
    """

    edges: NDArray[np.intp]
    spin: bool
    category: bool


class EnsembleSweeps(GeneralSweeps):
    """Flooding, after which the messages of each population are dealt out anew.

    The change is that of the populations: the mean distance between their ordered members (Wasserstein's), of spins and
    categories by means and probabilities, relative for the parameters of real variables.
    """

    def __init__(self, *args: Any, rng: np.random.Generator) -> None:
        super().__init__(*args)
        self.rng, self.populations = rng, list(self._populations())

    def _populations(self) -> Iterator[_Population]:
        graph = self.graph
        starts = np.fromiter(graph.layout.offsets.values(), dtype=np.intp)
        for stack in graph.stacks:
            edges = np.arange(stack.edges.start, stack.edges.stop).reshape(stack.variables.shape)
            slot = 0
            for width in stack.kind.widths:
                own = slice(slot, slot + width)
                slot += width
                name = np.searchsorted(starts, stack.variables[:, own.start], side="right")
                for each in np.unique(name):
                    rows = edges[name == each, own]
                    first = graph.ends[rows[0, 0]]
                    if not graph.parametric[rows[0, 0]]:
                        yield _Population(rows, bool(graph.spin[first]), bool(graph.category_of[first] >= 0))

    def sweep(self, count: int) -> tuple[float, int]:
        """Send every message and deal them out, ``count`` times."""
        worst = (0.0, 0)
        for _ in range(count):
            self.measure()
            old, step = (self.B.copy(), self.A.copy()), [Batch(s) for s in range(len(self.graph.stacks))]
            self.act(step)
            worst = max(((self._change(p, *old), int(p.edges[0, 0])) for p in self.populations), default=(0.0, 0))
            for population in self.populations:
                dealt = population.edges[self.rng.permutation(len(population.edges))]
                self.B[population.edges], self.A[population.edges] = self.B[dealt], self.A[dealt]
        return worst

    def _change(self, population: _Population, B: Array, A: Array) -> float:
        edges = population.edges
        if population.spin:
            return _distance(np.tanh(B[edges]), np.tanh(self.B[edges]), np.ones(edges.shape))
        if population.category:
            return _distance(np.exp(normalised(B[edges])), np.exp(normalised(self.B[edges])), np.ones(edges.shape))
        scales = (scale[edges] for scale in self.scales)
        return max(
            _distance(old[edges], new[edges], scale)
            for old, new, scale in zip((B, A), (self.B, self.A), scales, strict=True)
        )


def _distance(old: Array, new: Array, scale: Array) -> float:
    """Return the largest over columns of the mean difference of ordered values, relative to them or the scale."""
    size = np.maximum(np.abs(new).mean(axis=0), scale.mean(axis=0))
    change = np.abs(np.sort(new, axis=0) - np.sort(old, axis=0)).mean(axis=0)
    with np.errstate(invalid="ignore"):
        largest = float(np.where(change > 0.0, change / size, change).max(initial=0.0))
    return np.inf if np.isnan(largest) else largest
