"""Times of other packages on the same problems: ``PYTHON tests/benchmarks/peers.py CASE``; prints one JSON object.

PYTHON has pgmax, gtsam and pgmpy; what is absent is reported as absent.
"""

import json
import sys

import numpy as np
from problems import GAUSSIAN_GRID, best, gates, glass, grid, labels, median_processor, peak_memory, smoothing, tree


def pgmax_spins(field, i, j, coupling):
    """PGMax: the graph and its inferer; states are +1, -1."""
    from pgmax import fgraph, fgroup, infer, vgroup

    spins = vgroup.NDVarArray(num_states=2, shape=(field.size,))
    graph = fgraph.FactorGraph(variable_groups=[spins])
    signs = np.array([[1.0, -1.0], [-1.0, 1.0]])
    graph.add_factors(
        fgroup.PairwiseFactorGroup(
            variables_for_factors=[[spins[a], spins[b]] for a, b in zip(i.tolist(), j.tolist(), strict=True)],
            log_potential_matrix=coupling[:, None, None] * signs,
        )
    )
    inferer = infer.build_inferer(graph.bp_state, backend="bp")
    evidence = np.stack([field.ravel(), -field.ravel()], axis=1)
    return spins, infer, inferer, inferer.init(evidence_updates={spins: evidence})


def pgmax_run(built, sweeps):
    """Marginal means after some sweeps, undamped."""
    spins, infer, inferer, arrays = built
    marginals = infer.get_marginals(
        inferer.get_beliefs(inferer.run(arrays, num_iters=sweeps, damping=0.0, temperature=1.0))
    )[spins]
    marginals = np.asarray(marginals)
    return marginals[..., 0] - marginals[..., 1]


def grid_case():
    problem = grid()
    build, built = best(lambda: pgmax_spins(*problem), 1)
    pgmax_run(built, 100)
    run, _ = best(lambda: pgmax_run(built, 100))
    return {"build": build, "run": run, "memory": peak_memory()}


def glass_case():
    """The 40 undamped sweeps that the engine needs to 1e-8."""
    built = pgmax_spins(*glass())
    pgmax_run(built, 40)
    run, _ = best(lambda: pgmax_run(built, 40))
    return {"run": run, "sweeps": 40}


def gtsam_graph(y, precision, i, j):
    """GTSAM: one Python call a factor."""
    import gtsam

    graph = gtsam.GaussianFactorGraph()
    one, noise = np.eye(1), gtsam.noiseModel.Unit.Create(1)
    zero = np.zeros(1)
    for k, value in enumerate(y.ravel().tolist()):
        graph.add(k, one, np.array([value]), noise)
    for a, b in zip(i.tolist(), j.tolist(), strict=True):
        graph.add(a, one, b, -one, zero, noise)
    return gtsam, graph


def gtsam_case(shape):
    y, precision, i, j = smoothing(shape)
    build, (gtsam, graph) = best(lambda: gtsam_graph(y, precision, i, j), 1)
    ordering = gtsam.Ordering.MetisGaussianFactorGraph(graph)
    run, values = best(lambda: graph.optimize(ordering), 2)
    return {"run": run, "one_factor": build / (y.size + i.size), "first_mean": float(values.at(0)[0])}


def tree_case():
    """pgmpy: one query on a tree of 200 spins."""
    from pgmpy.factors.discrete import DiscreteFactor
    from pgmpy.inference import BeliefPropagation
    from pgmpy.models import DiscreteMarkovNetwork

    _, i, j, coupling = tree(200)
    model = DiscreteMarkovNetwork([(f"s{a}", f"s{b}") for a, b in zip(i, j, strict=True)])
    for a, b, c in zip(i, j, coupling, strict=True):
        w = np.exp(np.array([c, -c, -c, c]))
        model.add_factors(DiscreteFactor([f"s{a}", f"s{b}"], [2, 2], w))
    run, _ = best(lambda: BeliefPropagation(model).query(["s0"], show_progress=False), 1)
    return {"run": run}


def pgmax_marginals(graph, group, evidence, sweeps=100):
    """A function that runs PGMax for so many sweeps, undamped, and returns the marginals of a group."""
    from pgmax import infer

    inferer = infer.build_inferer(graph.bp_state, backend="bp")
    arrays = inferer.init(evidence_updates={group: evidence})

    def run():
        beliefs = inferer.get_beliefs(inferer.run(arrays, num_iters=sweeps, damping=0.0, temperature=1.0))
        return np.asarray(infer.get_marginals(beliefs)[group])

    run()  # compiled
    return run


def potts_case(states):
    """Labels on a grid, 100 sweeps: processor time."""
    from pgmax import fgraph, fgroup, vgroup

    field, i, j, coupling = labels(states)

    def built():
        group = vgroup.NDVarArray(num_states=states, shape=(len(field),))
        graph = fgraph.FactorGraph(variable_groups=[group])
        graph.add_factors(
            fgroup.PairwiseFactorGroup(
                variables_for_factors=[[group[a], group[b]] for a, b in zip(i.tolist(), j.tolist(), strict=True)],
                log_potential_matrix=coupling[:, None, None] * np.eye(states),
            )
        )
        return graph, group

    build, (graph, group) = median_processor(built, 1)
    run, result = median_processor(pgmax_marginals(graph, group, field))
    return {"build": build, "run": run, "memory": peak_memory(), "first": float(result[0, 0])}


def gates_case():
    """OR of a thousand spins, a hundred times, 100 sweeps: processor time."""
    from pgmax import fgraph, fgroup, vgroup

    field, parents = gates()
    group = vgroup.NDVarArray(num_states=2, shape=(field.size,))
    graph = fgraph.FactorGraph(variable_groups=[group])
    rows = [[group[i] for i in [*row, field.size - len(parents) + k]] for k, row in enumerate(parents.tolist())]
    graph.add_factors(fgroup.ORFactorGroup(variables_for_factors=rows))
    evidence = np.stack([np.zeros(field.size), field], axis=1)
    run, result = median_processor(pgmax_marginals(graph, group, evidence))
    return {"run": run, "memory": peak_memory(), "first": float(result[field.size - len(parents), 1])}


CASES = {
    **{f"potts-{q}": (lambda q=q: potts_case(q)) for q in (2, 8, 32)},
    "gates": gates_case,
    "grid": grid_case,
    "glass": glass_case,
    "tree": tree_case,
    "chain": lambda: gtsam_case((100_000,)),
    "gaussian-grid": lambda: gtsam_case((GAUSSIAN_GRID, GAUSSIAN_GRID)),
}

if __name__ == "__main__":
    try:
        print(json.dumps(CASES[sys.argv[1]]()))
    except ImportError as error:
        print(json.dumps({"absent": str(error)}))
