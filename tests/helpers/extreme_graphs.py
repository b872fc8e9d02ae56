"""Random graphs with extreme numbers, and their solution by enumeration and dense algebra in many digits.

A graph is a ``Spec``, plain numbers, from which the model and the truth are made independently of each other.
"""

import itertools
import math
from dataclasses import dataclass, field

import mpmath as mp
import numpy as np

from factorgraph import Function, Graph, Linear, Pairwise, Parity, PSpin


@dataclass
class Spec:
    """Spins, then reals, and factors on their numbers.

    ``factors`` are tuples (kind, members, parameters), ``observed`` values by number.
    """

    fields: list
    precisions: list
    real_fields: list
    factors: list
    observed: dict = field(default_factory=dict)

    @property
    def spins(self):
        return len(self.fields)

    @property
    def reals(self):
        return len(self.precisions)


def _wide(rng, low, high):
    """A number of either sign, its size log-uniform."""
    return float(rng.choice([-1, 1]) * 10.0 ** rng.uniform(low, high))


def draw(seed, size=5):
    """A random spec, with numbers over many orders of magnitude."""
    rng = np.random.default_rng(seed)
    spins, reals = rng.integers(0, size + 1), rng.integers(0, size)
    if spins + reals < 2:
        spins += 2
    style = rng.integers(4)

    def number(kind):
        ranges = {
            "field": [(-1, 0.5), (2, 3), (9, 12), (-12, 3)],
            "coupling": [(-1, 0.3), (2, 2.8), (8, 12), (-12, 3)],
            "position": [(-1, 0.5), (2, 5), (5, 9), (-8, 6)],
            "coefficient": [(-0.5, 0.5), (-2, 2), (-3, 3), (-4, 4)],
        }[kind]
        low, high = ranges[style if rng.random() < 0.8 else 0]
        return 0.0 if rng.random() < 0.1 else _wide(rng, low, high)

    def width():
        low, high = [(-1, 0.5), (-6, 2), (-12, 12), (-10, 6)][style if rng.random() < 0.8 else 0]
        return float(10.0 ** rng.uniform(low, high))

    spec = Spec(
        fields=[number("field") for _ in range(spins)],
        precisions=[1.0 / width() if rng.random() < 0.85 else 0.0 for _ in range(reals)],
        real_fields=[number("position") for _ in range(reals)],
        factors=[],
    )
    total = spins + reals
    for _ in range(rng.integers(1, total + 2)):
        k = min(int(rng.integers(1, 4)), total)
        members = tuple(int(i) for i in rng.permutation(total)[:k])
        spin = [i < spins for i in members]
        if all(spin):
            kind = rng.choice(["pair", "pspin", "parity", "table", "linear"])
        elif k == 2 and rng.random() < 0.4:
            kind = "pair"
        else:
            kind = "linear"
        if kind == "pair" and k != 2:
            kind = "pspin"
        if kind == "parity" and k == 1:
            kind = "pspin"
        if kind in ("pair", "pspin"):
            if kind == "pair" and not any(spin):
                sizes = [spec.precisions[i - spins] or 1.0 for i in members]
                value = float(rng.uniform(-0.6, 0.6) * math.sqrt(sizes[0] * sizes[1]))
            else:
                value = number("coupling")
            parameters = (value,)
        elif kind == "parity":
            parameters = (float(rng.choice([-1, 1])),)
        elif kind == "table":
            logs = [number("coupling") if rng.random() < 0.85 else -math.inf for _ in range(2**k)]
            logs[int(rng.integers(2**k))] = number("coupling")
            parameters = (tuple(logs),)
        else:
            parameters = (tuple(number("coefficient") or 1.0 for _ in range(k)), number("position"), width())
        spec.factors.append((str(kind), members, parameters))
    for i in range(total):
        if rng.random() < 0.15:
            spec.observed[i] = float(rng.choice([-1, 1])) if i < spins else number("position")
    return spec


def model_of(spec):
    """The model, and what is observed."""
    graph = Graph()
    nodes = []
    observed = {}
    if spec.spins:
        s = graph.spins("s", spec.spins, field=np.array(spec.fields))
        nodes += [s[i] for i in range(spec.spins)]
        seen = [spec.observed.get(i, math.nan) for i in range(spec.spins)]
        observed |= {"s": np.array(seen)} if not np.all(np.isnan(seen)) else {}
    if spec.reals:
        x = graph.reals("x", spec.reals, field=np.array(spec.real_fields), precision=np.array(spec.precisions))
        nodes += [x[i] for i in range(spec.reals)]
        seen = [spec.observed.get(i + spec.spins, math.nan) for i in range(spec.reals)]
        observed |= {"x": np.array(seen)} if not np.all(np.isnan(seen)) else {}
    for kind, members, parameters in spec.factors:
        chosen = [nodes[i] for i in members]
        if kind == "pair":
            graph.add(Pairwise(*chosen, coupling=parameters[0]))
        elif kind == "pspin":
            graph.add(PSpin(*chosen, coupling=parameters[0]))
        elif kind == "parity":
            graph.add(Parity(*chosen, sign=parameters[0]))
        elif kind == "table":
            table = np.array(parameters[0]).reshape((2,) * len(members))
            graph.add(Function(lambda *v, t=table: t[tuple((1 - np.asarray(u).astype(int)) // 2 for u in v)], *chosen))
        else:
            c, target, noise = parameters
            graph.add(Linear(*chosen, coefficients=list(c), target=target, noise=noise))
    return graph, observed


def _shaken(spec, rng, size):
    """The same with every number changed by a relative ``size`` at most, as rounding changes them."""
    if rng is None:
        return spec

    def shake(value):
        if isinstance(value, tuple):
            return tuple(shake(v) for v in value)
        return mp.mpf(value) * (1 + size * mp.mpf(rng.uniform(-1, 1))) if math.isfinite(value) else value

    factors = [(k, m, p if k == "parity" else shake(p)) for k, m, p in spec.factors]
    seen = {i: v if i < spec.spins else shake(v) for i, v in spec.observed.items()}
    lists = (spec.fields, spec.precisions, spec.real_fields)
    return Spec(*([shake(v) for v in values] for values in lists), factors, seen)


def solve(spec, rng=None, size=1e-15):
    """log Z, means and variances of all; None if there is no law (improper), "none" if no state has a weight."""
    spec = _shaken(spec, rng, size)
    n, m = spec.spins, spec.reals
    free_s = [i for i in range(n) if i not in spec.observed]
    free_x = [i for i in range(m) if n + i not in spec.observed]
    place = {n + i: a for a, i in enumerate(free_x)}
    results = []
    for signs in itertools.product([1, -1], repeat=len(free_s)):
        value = {i: mp.mpf(v) for i, v in spec.observed.items()} | dict(zip(free_s, map(mp.mpf, signs), strict=True))
        log_w = sum((mp.mpf(spec.fields[i]) * value[i] for i in range(n)), mp.mpf(0))
        b, Q = mp.zeros(len(free_x), 1), mp.zeros(len(free_x))
        for i in range(m):
            h, p = mp.mpf(spec.real_fields[i]), mp.mpf(spec.precisions[i])
            if n + i in place:
                b[place[n + i]] += h
                Q[place[n + i], place[n + i]] += p
            else:
                log_w += h * value[n + i] - p * value[n + i] ** 2 / 2
        for kind, members, parameters in spec.factors:
            if kind == "parity":
                product = mp.fprod(value[i] for i in members)
                log_w = log_w if product == parameters[0] else mp.ninf
            elif kind == "table":
                index = 0
                for i in members:
                    index = 2 * index + (value[i] < 0)
                entry = parameters[0][index]
                log_w = mp.ninf if entry == -math.inf else log_w + mp.mpf(entry)
            elif kind in ("pair", "pspin"):
                real = [i for i in members if i in place]
                known = mp.mpf(parameters[0]) * mp.fprod(value[i] for i in members if i not in place)
                if not real:
                    log_w += known
                elif len(real) == 1:
                    b[place[real[0]]] += known
                else:
                    Q[place[real[0]], place[real[1]]] -= known
                    Q[place[real[1]], place[real[0]]] -= known
            else:
                c, target, noise = parameters
                rest = mp.mpf(target)
                for a, i in enumerate(members):
                    if i not in place:
                        rest -= mp.mpf(c[a]) * value[i]
                real = [(mp.mpf(c[a]), place[i]) for a, i in enumerate(members) if i in place]
                log_w -= rest**2 / (2 * mp.mpf(noise)) + mp.log(2 * mp.pi * mp.mpf(noise)) / 2
                for ca, i in real:
                    b[i] += ca * rest / noise
                    for cb, j in real:
                        Q[i, j] += ca * cb / mp.mpf(noise)
            if log_w == mp.ninf:
                break
        if log_w == mp.ninf:
            continue
        mean, cov = {}, {}
        if free_x:
            try:
                L, inverse = mp.cholesky(Q), mp.inverse(Q)
            except (ValueError, ZeroDivisionError):
                return None
            mu = inverse * b
            log_w += (b.T * mu)[0] / 2 + len(free_x) * mp.log(2 * mp.pi) / 2
            log_w -= sum(mp.log(L[a, a]) for a in range(len(free_x)))
            mean, cov = {i: mu[a] for i, a in place.items()}, {i: inverse[a, a] for i, a in place.items()}
        results.append((log_w, value, mean, cov))
    if not results:
        return "none"
    top = max(r[0] for r in results)
    w = [mp.exp(r[0] - top) for r in results]
    total = mp.fsum(w)
    log_z = top + mp.log(total)
    means, variances = [], []
    for i in range(n + m):
        values = [r[2].get(i, r[1].get(i)) for r in results]
        mu = mp.fsum(a * v for a, v in zip(w, values, strict=True)) / total
        spread = [r[3].get(i, mp.mpf(0)) + (v - mu) ** 2 for r, v in zip(results, values, strict=True)]
        means.append(mu)
        variances.append(mp.fsum(a * v for a, v in zip(w, spread, strict=True)) / total)
    return log_z, means, variances
