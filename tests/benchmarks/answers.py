"""Answers of the engine beside those of other packages, on a folder of UAI files: ``PYTHON tests/benchmarks/answers.py
FOLDER``, from the root of the repository; prints a line for each file and the largest differences.

PYTHON has pyagrum, pgmpy and what the engine needs. The files, with their evidence if there is a ``.evid`` beside them,
are read here by a few lines for the others: marginals are pyAgrum's, log Z opt_einsum's, most probable states of small
networks pgmpy's. ``--make`` first fills the folder with random networks, and with those that pgmpy is shipped with.
pyAgrum's own files of Bayesian networks have the first parent change fastest, and not the last: they are not used.
"""

import argparse
import gzip
import importlib.util
import math
import time
from pathlib import Path

import numpy as np
import pyagrum as gum
from opt_einsum import contract, contract_path

from factorgraph import TooLargeError, exact, infer, read_uai, read_uai_evidence

#: Joint states up to which pgmpy is asked for a most probable one.
_MPE_STATES = 2.0**20
#: Numbers that opt_einsum may hold.
_MAX_NUMBERS = 2**27
RANDOM = 60

#: Variables, and an array with an axis for each.
Table = tuple[list[int], np.ndarray]


def text(kind: str, states: list[int], tables: list[Table]) -> str:
    """A UAI file."""
    lines = [kind, str(len(states)), " ".join(map(str, states)), str(len(tables))]
    lines += [" ".join(map(str, [len(scope), *scope])) for scope, _ in tables]
    lines += [f"{table.size}\n{' '.join(map(repr, table.ravel().tolist()))}" for _, table in tables]
    return "\n".join(lines) + "\n"


def read(path: Path) -> tuple[list[int], list[Table]]:
    """Numbers of states, and the tables with their scopes."""
    words = iter(path.read_text().split()[1:])
    states = [int(next(words)) for _ in range(int(next(words)))]
    scopes = [[int(next(words)) for _ in range(int(next(words)))] for _ in range(int(next(words)))]
    shapes = [[states[i] for i in scope] for scope in scopes]
    return states, [
        (scope, np.array([float(next(words)) for _ in range(int(next(words)))]).reshape(shape))
        for scope, shape in zip(scopes, shapes, strict=True)
    ]


def random_network(seed: int) -> tuple[str, list[int], list[Table]]:
    """A Markov network, or for odd seeds a Bayesian one; in every third there are zeros."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(6, 25))
    states = rng.integers(2, 6, n).tolist()
    scopes = [sorted(rng.choice(n, rng.integers(1, 4), replace=False).tolist()) for _ in range(int(1.2 * n))]
    if seed % 2:
        scopes = [[*rng.choice(i, min(i, rng.integers(0, 4)), replace=False).tolist(), i] for i in range(n)]
    tables = []
    for scope in scopes:
        table = rng.gamma(0.7, size=[states[i] for i in scope]) + 1e-3
        if seed % 3 == 0:
            table[rng.random(table.shape) < 0.1] = 0.0
            table[..., 0] += 1e-2  # some state remains
        tables.append((scope, table / table.sum(axis=-1, keepdims=True) if seed % 2 else table))
    return "BAYES" if seed % 2 else "MARKOV", states, tables


def make(folder: Path) -> None:
    """Write random networks, with evidence beside half of them, and pgmpy's."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(RANDOM):
        kind, states, tables = random_network(seed)
        (folder / f"random{seed:02}.uai").write_text(text(kind, states, tables))
        if seed % 4 < 2:
            seen = np.random.default_rng(seed).choice(len(states), 2, replace=False)
            (folder / f"random{seed:02}.uai.evid").write_text("2 " + " ".join(f"{i} 0" for i in seen) + "\n")
    package = importlib.util.find_spec("pgmpy")
    assert package is not None and package.origin is not None
    for path in sorted((Path(package.origin).parent / "utils" / "example_models").glob("*.bif.gz")):
        plain = folder / path.name.removesuffix(".gz")
        plain.write_bytes(gzip.decompress(path.read_bytes()))
        try:
            network = gum.loadBN(str(plain))
        except gum.FatalError as error:  # names of states that its reader does not take
            print(f"{path.name} left out: {str(error).splitlines()[0]}")
            continue
        finally:
            plain.unlink()
        laws = [network.cpt(i) for i in range(network.size())]
        tables = [([network.idFromName(name) for name in reversed(law.names)], law.toarray()) for law in laws]
        states = [network.variable(i).domainSize() for i in range(network.size())]
        plain.with_suffix(".uai").write_text(text("BAYES", states, tables))


def evidence_of(path: Path) -> dict[int, int]:
    """Numbers of the observed variables and their states."""
    if not path.exists():
        return {}
    words = [int(word) for word in path.read_text().split()]
    return dict(zip(words[1::2], words[2::2], strict=True))


def theirs(states: list[int], tables: list[Table], evidence: dict[int, int]) -> tuple[list[np.ndarray], float]:
    """Marginals by variable, and log Z."""
    held = {i for scope, _ in tables for i in scope}
    tables = tables + [([i], np.ones(q)) for i, q in enumerate(states) if i not in held]
    network, joint = gum.MarkovRandomField(), {}
    for i, q in enumerate(states):
        network.add(gum.LabelizedVariable(str(i), "", q))
    for scope, table in tables:
        order = np.argsort(scope)
        key = tuple(sorted(scope))
        joint[key] = joint.get(key, 1.0) * table.transpose(order)
    for scope, table in joint.items():
        factor = gum.Tensor()
        for i in reversed(scope):  # the first one added changes fastest
            factor.add(network.variable(str(i)))
        factor.fillWith(table.ravel().tolist())
        network.addFactor(factor)
    inference = gum.ShaferShenoyMRFInference(network)
    inference.setEvidence({str(i): state for i, state in evidence.items()})
    inference.makeInference()
    marginals = [inference.posterior(str(i)).toarray() for i in range(len(states))]
    operands = [part for scope, table in tables for part in (_at(scope, table, evidence), scope)]
    if contract_path(*operands, [], optimize="greedy")[1].largest_intermediate > _MAX_NUMBERS:
        return marginals, math.nan
    return marginals, math.log(float(contract(*operands, [], optimize="greedy")))


def _at(scope: list[int], table: np.ndarray, evidence: dict[int, int]) -> np.ndarray:
    table = table.copy()
    for axis, i in enumerate(scope):
        if i in evidence:
            table *= np.eye(table.shape[axis])[evidence[i]].reshape([-1 if a == axis else 1 for a in range(table.ndim)])
    return table


def their_best(tables: list[Table], evidence: dict[int, int]) -> float:
    """log-weight of pgmpy's most probable state."""
    from pgmpy.factors.discrete import DiscreteFactor
    from pgmpy.inference import VariableElimination
    from pgmpy.models import DiscreteMarkovNetwork

    network = DiscreteMarkovNetwork()
    for scope, table in tables:
        names = [str(i) for i in scope]
        network.add_nodes_from(names)
        network.add_edges_from([(a, b) for k, a in enumerate(names) for b in names[:k]])
        network.add_factors(DiscreteFactor(names, table.shape, table))
    free = [node for node in network.nodes() if int(node) not in evidence]
    given = {str(i): state for i, state in evidence.items()}
    state = VariableElimination(network).map_query(free, evidence=given, show_progress=False) | given
    with np.errstate(divide="ignore"):
        return sum(float(np.log(table[tuple(int(state[str(i)]) for i in scope)])) for scope, table in tables)


def compare(path: Path) -> tuple[float, float, float]:
    """Largest differences of marginals, of log Z, and of the log-weight of the best state (NaN where the others have
    none); prints them."""
    evidence_path = path.with_name(path.name + ".evid")
    evidence = evidence_of(evidence_path)
    start = time.process_time()
    graph, places = read_uai(path)
    observed = read_uai_evidence(evidence_path, graph, places) if evidence else {}
    solution = exact(graph, observed=observed)
    middle = time.process_time()
    states, tables = read(path)
    marginals, log_z = theirs(states, tables, evidence)
    end = time.process_time()
    difference = 0.0
    for place, theirs_ in zip(places, marginals, strict=True):
        if place is not None:
            ours = solution[place.name].probabilities.reshape(-1, theirs_.size)[place.indices.item()]
            difference = max(difference, float(np.abs(ours - theirs_).max()))
    best = math.nan
    if math.prod(map(float, states)) <= _MPE_STATES:
        best = abs(solution.best.log_weight - their_best(tables, evidence))
    beliefs = infer(graph, observed=observed)
    if beliefs.exact:
        assert abs(beliefs.log_partition - solution.log_partition) < 1e-9
    z = abs(solution.log_partition - log_z)
    print(
        f"{path.stem:12} {len(marginals):5} variables  marginals {difference:.1e}  log Z {z:.1e}  best {best:.1e}  "
        f"{end - middle:.2f} s, ours {middle - start:.2f} s",
        flush=True,
    )
    return difference, z, best


def main() -> None:
    """Compare all files of a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--make", action="store_true", help="fill the folder first")
    arguments = parser.parse_args()
    if arguments.make:
        make(arguments.folder)
    found = []
    for path in sorted(arguments.folder.glob("*.uai"), key=lambda path: path.stat().st_size):
        try:
            found.append(compare(path))
        except TooLargeError as error:
            print(f"{path.stem:12} left out: {error}")
    worst = np.nanmax(np.array(found), axis=0)
    known = int(np.isfinite(np.array(found)[:, 2]).sum())
    print(f"{len(found)} files, {known} with a most probable state; largest: ", end="")
    print(f"marginals {worst[0]:.1e}, log Z {worst[1]:.1e}, best {worst[2]:.1e}")


if __name__ == "__main__":
    main()
