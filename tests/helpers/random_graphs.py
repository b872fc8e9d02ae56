"""Random models for the tests of the engine."""

import numpy as np

from factorgraph import Function, Graph, Linear, Pairwise, Parity, PSpin
from factorgraph.priors import Binary, Gaussian


class Groups:
    """Disjoint sets with a count each."""

    def __init__(self, size):
        self.parent = list(range(size))
        self.count = [0] * size

    def find(self, i):
        while self.parent[i] != i:
            i = self.parent[i]
        return i

    def join(self, members):
        roots = {self.find(i) for i in members}
        first = roots.pop()
        for other in roots:
            self.parent[other] = first
            self.count[first] += self.count[other]


def forest(seed, spins, reals, factors):
    """A forest whose tree messages are exact: at most one mixture enters each tree of Gaussian factors.

    Real variables come in two groups: ``x`` with a precision or a prior, ``y`` flat, each tied by a factor of its own.
    """
    rng = np.random.default_rng(seed)
    graph = Graph()
    s = graph.spins("s", spins, field=rng.normal(size=spins)) if spins else None
    x = graph.reals("x", reals, field=rng.normal(size=reals), precision=rng.uniform(1, 2, reals)) if reals else None
    extra = [graph.spins("t", (), prior=Binary(0.3)), graph.reals("z", (), prior=Gaussian(0.5, 2.0))]
    nodes = [s[i] for i in range(spins)] + [x[i] for i in range(reals)] + extra
    is_spin = [True] * spins + [False] * reals + [True, False]
    trees, gaussian = Groups(len(nodes)), Groups(len(nodes))
    for _ in range(factors):
        chosen = [int(i) for i in rng.permutation(len(nodes))[: rng.integers(1, 4)]]
        if len({trees.find(i) for i in chosen}) < len(chosen):
            continue
        real = [i for i in chosen if not is_spin[i]]
        entering = sum(gaussian.count[r] for r in {gaussian.find(i) for i in real}) + (0 < len(real) < len(chosen))
        if real and entering > 1:
            continue
        factor = _factor(rng, [nodes[i] for i in chosen], [is_spin[i] for i in chosen])
        graph.add(factor)
        trees.join(chosen)
        if real:
            gaussian.join(real)
            gaussian.count[gaussian.find(real[0])] = entering
    if reals:
        y = graph.reals("y", 2)
        graph.add(Linear(y[0], x[0], coefficients=[2.0, -1.0], target=0.3, noise=0.7))
        graph.add(Linear(y[1], coefficients=1.5, target=-0.4, noise=0.2))
    return graph


def _factor(rng, nodes, is_spin):
    k = len(nodes)
    if all(is_spin):
        kind = rng.integers(4)
        if kind == 0 and k == 2:
            return Pairwise(*nodes, coupling=2 * rng.normal())
        if kind == 1 and k > 1:
            return Parity(*nodes, sign=rng.choice([-1, 1]))
        if kind == 2:
            table = rng.normal(size=(2,) * k)
            return Function(lambda *v: table[tuple((1 - np.asarray(u).astype(int)) // 2 for u in v)], *nodes)
        return PSpin(*nodes, coupling=rng.normal())
    if k == 2 and rng.random() < 0.5:
        strength = 2.0 if any(is_spin) else 0.4
        return Pairwise(*nodes, coupling=strength * rng.uniform(-1, 1))
    return Linear(*nodes, coefficients=rng.normal(size=k), target=rng.normal(), noise=rng.uniform(0.2, 2))


def ising(seed, spins, degree=3.0, strength=0.5, field=1.0):
    """A random graph of Ising pairs, with loops."""
    rng = np.random.default_rng(seed)
    graph = Graph()
    s = graph.spins("s", spins, field=field * rng.normal(size=spins))
    i, j = np.triu_indices(spins, 1)
    chosen = rng.random(i.size) < degree / (spins - 1)
    chosen[0] = True
    graph.add(Pairwise(s[i[chosen]], s[j[chosen]], coupling=strength * rng.normal(size=chosen.sum())))
    return graph


def gaussian(seed, reals, share=0.8):
    """A dense graph of Gaussian pairs that is walk-summable: its couplings have the spectral radius ``share``."""
    rng = np.random.default_rng(seed)
    R = np.triu(rng.normal(size=(reals, reals)), 1)
    R *= share / np.abs(np.linalg.eigvalsh(np.abs(R + R.T))).max()
    precision = rng.uniform(0.5, 2, reals)
    i, j = np.triu_indices(reals, 1)
    graph = Graph()
    x = graph.reals("x", reals, field=rng.normal(size=reals), precision=precision)
    graph.add(Pairwise(x[i], x[j], coupling=R[i, j] * np.sqrt(precision[i] * precision[j])))
    return graph
