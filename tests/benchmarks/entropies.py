"""What the Bethe entropy of tiny networks with a hidden layer is worth, with approximate messages and with exact ones.

``python tests/benchmarks/entropies.py`` prints the entropy of the 4-3-1 networks of ±1 weights with all labels right in
a field γ w*, by enumeration, and as shares of it three from messages: those of AMP (``deepnet.entropy``), exact ones of
a table for each unit, and exact ones that have all weights of a hidden unit as one variable of 32 states. A star says
that they have not converged.
"""

import itertools
from typing import NamedTuple

import numpy as np

from deepnet import Config
from deepnet.entropy import entropy
from deepnet.predict import predict_pointwise
from deepnet.state import Network, init
from factorgraph import Graph, Result, Status, Table, infer

INPUTS, UNITS = 4, 3
WEIGHTS = INPUTS * UNITS + UNITS
SPINS = np.array(list(itertools.product([-1.0, 1.0], repeat=INPUTS + 1)))  # weights of a unit, the last one out of it
Array = np.ndarray


class Problem(NamedTuple):
    """A network, its weights (units, inputs + 1), and inputs and labels of which it has all right."""

    network: Network
    weights: Array
    x: Array
    y: Array


def problem(seed: int, samples: int) -> Problem:
    """Return a random network, and random inputs with its labels."""
    network = init(Config(hidden=(UNITS,), seed=seed, dtype="float64"), INPUTS, 2)
    first, last = (layer.most_probable_weights() for layer in network.layers)  # pyright: ignore[reportAttributeAccessIssue]
    x = np.random.default_rng(seed).standard_normal((samples, INPUTS))
    return Problem(network, np.column_stack([first, last[0]]), x, predict_pointwise(network.layers, x).reshape(-1))


def along(values: Array, unit: int) -> Array:
    """Return values of a unit's states as an array with an axis for each unit."""
    return values.reshape([-1 if each == unit else 1 for each in range(UNITS)])


def allowed(given: Problem, sample: int) -> Array:
    """Return which states of all units, (32, 32, 32), have a sample's label right."""
    sums = np.where(SPINS[:, :INPUTS] @ given.x[sample] > 0, 1.0, -1.0) * SPINS[:, INPUTS]
    return sum(along(sums, unit) for unit in range(UNITS)) * given.y[sample] > 0


def enumerated(given: Problem, coupling: float) -> float:
    """Return the entropy by enumeration."""
    right = np.logical_and.reduce([allowed(given, sample) for sample in range(len(given.x))])
    fields = sum(along(coupling * SPINS @ given.weights[unit], unit) for unit in range(UNITS))
    p = np.where(right, np.exp(fields - np.max(fields)), 0.0).ravel()
    p = p[p > 0] / p.sum()
    return -float(p @ np.log(p))


def by_units(given: Problem, coupling: float) -> Result:
    """Return the messages between weights, hidden units and labels, with a table for each unit."""
    graph = Graph()
    w = graph.spins("w", given.weights.shape, field=coupling * given.weights)
    s = graph.spins("s", (len(given.x), UNITS))
    spins = np.array(list(itertools.product([-1.0, 1.0], repeat=2 * UNITS)))
    output = (spins[:, :UNITS] * spins[:, UNITS:]).sum(axis=1).reshape([2] * (2 * UNITS))
    for sample, (x, y) in enumerate(zip(given.x, given.y, strict=True)):
        sums = (SPINS[:, :INPUTS] @ x) * SPINS[:, INPUTS]  # times the value of the unit
        table = (sums > 0).reshape([2] * (INPUTS + 1)).astype(float)
        for unit in range(UNITS):
            inputs = [w[unit, each : each + 1] for each in range(INPUTS)]
            graph.add(Table(*inputs, s[sample, unit : unit + 1], table=table))
        last = [w[unit, INPUTS:] for unit in range(UNITS)]
        hidden = [s[sample, unit : unit + 1] for unit in range(UNITS)]
        graph.add(Table(*last, *hidden, table=(output * y > 0).astype(float)))
    return infer(graph, max_sweeps=1000, tolerance=1e-9, damping=0.3)


def by_vectors(given: Problem, coupling: float) -> Result:
    """Return the messages between units, of as many states as their weights have, and labels."""
    graph = Graph()
    fields = coupling * given.weights @ SPINS.T
    units = [graph.categories(f"w{k}", 1, states=len(SPINS), field=fields[k : k + 1]) for k in range(UNITS)]
    for sample in range(len(given.x)):
        graph.add(Table(*units, table=allowed(given, sample).astype(float)))
    return infer(graph, max_sweeps=1000, tolerance=1e-9, damping=0.3)


def main() -> None:
    """Print a row for each problem."""
    print("   γ  samples  seed  exact      AMP    units  vectors   (shares of exact, in nats a weight)")
    for coupling, samples, seed in itertools.product((0.0, 0.3, 1.0, 2.0), (2, 4, 6), range(3)):
        given = problem(seed, samples)
        exact = enumerated(given, coupling)
        fields = [coupling * given.weights[:, :INPUTS], coupling * given.weights[:, INPUTS][None]]
        found = entropy(given.network, given.x, given.y, fields, tolerance=1e-8)
        rows = [(found.entropy * WEIGHTS, found.status)]
        rows += [(each.entropy, each.status) for each in (by_units(given, coupling), by_vectors(given, coupling))]
        shares = "  ".join(
            f"{value / exact:6.3f}{' ' if status is Status.CONVERGED else '*'}" for value, status in rows
        )
        print(f"{coupling:4.1f}  {samples:7}  {seed:4}  {exact / WEIGHTS:.4f}  {shares}", flush=True)


if __name__ == "__main__":
    main()
