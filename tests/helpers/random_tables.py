"""Random models of categories and spins, and their solution as one dense table of log-weights."""

from dataclasses import dataclass, field

import numpy as np
from scipy.special import logsumexp

from factorgraph import Allowed, Function, Graph, Logical, Pairwise, Parity, Potts, Table


@dataclass
class Spec:
    """Variables by their number of values, and factors.

    Attributes:
        states: of each variable; 0 for a spin, whose values are +1 and -1 in this order.
        fields: log-weights of the values of each.
        factors: (members, dense log-table over them, function that makes the factor of their selections).
    """

    states: list
    fields: list
    factors: list = field(default_factory=list)

    @property
    def values(self):
        return [q or 2 for q in self.states]

    def model(self):
        """Graph, and the selection of each variable: one group of spins, others of equal numbers of states."""
        graph, nodes = Graph(), [None] * len(self.states)
        for q in dict.fromkeys(self.states):
            own = [i for i, other in enumerate(self.states) if other == q]
            if q:
                group = graph.categories(f"c{q}", len(own), states=q, field=np.array([self.fields[i] for i in own]))
            else:
                group = graph.spins("s", len(own), field=np.array([np.diff(-self.fields[i])[0] / 2 for i in own]))
            for place, i in enumerate(own):
                nodes[i] = group[place]
        for members, _, make in self.factors:
            graph.add(make(*(nodes[i] for i in members)))
        return graph, nodes

    def dense(self):
        """Log-weights of all states."""
        total = np.zeros(self.values)
        for i, own in enumerate(self.fields):
            # A spin has the weight e^{hs}: its field says no more than the difference.
            logs = np.asarray(own) if self.states[i] else np.asarray(own) - np.mean(own)
            total = total + _along(logs, (i,), len(self.states))
        for members, logs, _ in self.factors:
            total = total + _along(logs, members, len(self.states))
        return total


def _along(table, members, axes):
    """A table over some axes, to be broadcast with one over all."""
    shape = [1] * axes
    for i, size in zip(members, np.shape(table), strict=True):
        shape[i] = size
    return np.transpose(table, np.argsort(members)).reshape(shape)


def truth(dense):
    """log Z, probabilities of the values of each variable, and the entropy."""
    log_z = logsumexp(dense)
    p = np.exp(dense - log_z)
    marginals = [p.sum(axis=tuple(a for a in range(dense.ndim) if a != i)) for i in range(dense.ndim)]
    return log_z, marginals, -(p[p > 0] * np.log(p[p > 0])).sum()


def probabilities(result, spec, node, i):
    """Of the values of variable i, from a result."""
    own = result[node.name]
    place = int(node.indices)
    if spec.states[i]:
        return own.probabilities[place]
    mean = own.mean[place]
    return np.array([(1 + mean) / 2, (1 - mean) / 2])


def draw(seed, size=6, *, forest=True, factors=None, scale=1.0, zeros=0.15):
    """A random spec; every log-weight of size ``scale``, some of them -∞, and always a state that is possible."""
    rng = np.random.default_rng(seed)
    states = [int(rng.choice([0, 0, 2, 3, 3, 5])) for _ in range(size)]
    hidden = [int(rng.integers(q or 2)) for q in states]  # this state stays possible
    fields = []
    for q, own in zip(states, hidden, strict=True):
        logs = scale * rng.normal(size=q or 2)
        if q:
            logs[(rng.random(q) < zeros) & (np.arange(q) != own)] = -np.inf
        fields.append(logs)
    spec, tree = Spec(states, fields), list(range(size))
    for _ in range(factors or 2 * size):
        members = [int(i) for i in rng.permutation(size)[: rng.integers(1, 4)]]
        roots = {tree[i] for i in members}
        if forest and len(roots) < len(members):
            continue
        tree = [min(roots) if root in roots else root for root in tree]
        spec.factors.append(_factor(rng, states, hidden, members, scale, zeros))
    return spec


def _factor(rng, states, hidden, members, scale, zeros):
    sizes, own = tuple(states[i] or 2 for i in members), tuple(hidden[i] for i in members)
    spins = [states[i] == 0 for i in members]
    kinds = ["table", "table", "allowed", "function"]
    kinds += ["potts"] * 3 if len(members) == 2 and sizes[0] == sizes[1] and not any(spins) else []
    kinds += ["logical", "parity"] if all(spins) and len(members) > 1 else []
    kinds += ["pair"] if all(spins) and len(members) == 2 else []
    kind = rng.choice(kinds)
    signs = 1 - 2 * np.indices(sizes)
    if kind == "potts":
        J = -np.inf if rng.random() < zeros and own[0] != own[1] else scale * rng.normal()
        logs = np.where(np.eye(sizes[0]) > 0, J, 0.0)
        return members, logs, lambda a, b: Potts(a, b, coupling=J)
    if kind == "pair":
        J = scale * rng.normal()
        return members, J * signs.prod(axis=0), lambda a, b: Pairwise(a, b, coupling=J)
    if kind == "parity":
        sign = signs[(slice(None), *own)].prod()
        logs = np.where(signs.prod(axis=0) == sign, 0.0, -np.inf)
        return members, logs, lambda *s: Parity(*s, sign=sign)
    if kind == "logical":
        true = signs > 0
        count = int(true[(slice(None), *own)].sum())
        relation = str(rng.choice(["exactly", "at-most", "at-least"]))
        total = true.sum(axis=0)
        holds = {"exactly": total == count, "at-most": total <= count, "at-least": total >= count}[relation]
        return members, np.where(holds, 0.0, -np.inf), lambda *s: Logical(*s, relation=relation, count=count)
    logs = scale * rng.normal(size=sizes)
    logs[(rng.random(sizes) < zeros) & ~_one(sizes, own)] = -np.inf
    if kind == "table":
        return members, logs, lambda *c: Table(*c, log_table=logs)
    if kind == "function":
        flat = lambda *x: logs[tuple(_numbers(v, s) for v, s in zip(x, spins, strict=True))]  # noqa: E731
        return members, logs, lambda *c: Function(flat, *c)
    rows = np.argwhere(np.isfinite(logs))
    rows = rows[rng.permutation(len(rows))]
    values = np.where(spins, 1 - 2 * rows, rows)
    weights = logs[tuple(rows.T)]
    return members, logs, lambda *c: Allowed(*c, configurations=values, log_weights=weights)


def _one(sizes, own):
    marked = np.zeros(sizes, dtype=bool)
    marked[own] = True
    return marked


def _numbers(values, spin):
    return (1 - np.asarray(values).astype(int)) // 2 if spin else np.asarray(values)
