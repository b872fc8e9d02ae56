"""Files of the UAI competitions against sums over all states of what a few lines here read, and files with faults."""

import subprocess
import sys

import numpy as np
import pytest
import tolerances as tol
from hypothesis import given, settings
from hypothesis import strategies as st
from random_tables import draw, truth

from factorgraph import (
    Graph,
    ModelError,
    Pairwise,
    Parity,
    Table,
    exact,
    infer,
    read_uai,
    read_uai_evidence,
    read_uai_solution,
    write_uai,
    write_uai_evidence,
    write_uai_solution,
)
from factorgraph.__main__ import main

quick = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def network(seed, *, forest=False):
    """A random network in the format of the files, with a state that is possible."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 6))
    states = [2, *rng.integers(1, 5, n - 1).tolist()]
    hidden = [int(rng.integers(q)) for q in states]
    scopes, tables, tree = [], [], list(range(n))
    for _ in range(2 * n):
        scope = rng.permutation(n)[: rng.integers(0, 4)].tolist()
        roots = {tree[i] for i in scope}
        if forest and len(roots) < len(scope):
            continue
        tree = [min(roots) if root in roots else root for root in tree]
        table = rng.gamma(1.0, size=[states[i] for i in scope])
        table *= rng.random(table.shape) > 0.15
        table[tuple(hidden[i] for i in scope)] = 1.0
        scopes.append(scope)
        tables.append(table)
    return text(states, scopes, tables), hidden


def text(states, scopes, tables, kind="MARKOV"):
    lines = [kind, str(len(states)), " ".join(map(str, states)), str(len(scopes))]
    lines += [" ".join(map(str, [len(scope), *scope])) for scope in scopes]
    lines += [f"{table.size} {' '.join(map(repr, np.ravel(table).tolist()))}" for table in tables]
    return "\n".join(lines) + "\n"


def dense(content):
    """Log-weights of all states of a network."""
    words = iter(content.split()[1:])
    states = [int(next(words)) for _ in range(int(next(words)))]
    scopes = [[int(next(words)) for _ in range(int(next(words)))] for _ in range(int(next(words)))]
    total, grid = np.zeros(states), np.indices(states)
    for scope in scopes:
        table = np.array([float(next(words)) for _ in range(int(next(words)))])
        with np.errstate(divide="ignore"):
            table = np.log(table).reshape([states[i] for i in scope])
        total = total + table[tuple(grid[i] for i in scope)]
    return total


def clamped(logs, evidence):
    result = logs.copy()
    for i, value in evidence.items():
        np.moveaxis(result, i, 0)[np.arange(result.shape[i]) != value] = -np.inf
    return result


def written(folder, content, name="model.uai"):
    path = folder / name
    path.write_text(content)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("uai")


# ---- networks --------------------------------------------------------------------------------------------------------


@quick
@given(seed=seeds)
def test_networks_are_the_sums_over_their_states(folder, seed):
    content, _ = network(seed)
    log_z, marginals, _ = truth(dense(content))
    graph, variables = read_uai(written(folder, content))
    solution = exact(graph)
    assert solution.log_partition == pytest.approx(log_z, abs=tol.TREE)
    for place, own in zip(variables, marginals, strict=True):
        if place is None:
            assert own.size == 1
        else:
            found = solution[place.name].probabilities[place.indices.item()]
            np.testing.assert_allclose(found, own, atol=tol.TREE)


@quick
@given(seed=seeds)
def test_networks_survive_a_round_trip(folder, seed):
    content, _ = network(seed)
    graph, variables = read_uai(written(folder, content))
    write_uai(graph, folder / "again.uai", variables=variables)
    again = (folder / "again.uai").read_text()
    np.testing.assert_allclose(dense(again), dense(content), atol=tol.TREE)
    write_uai(*read_uai(folder / "again.uai")[:1], folder / "third.uai")  # in the order of the model
    assert truth(dense((folder / "third.uai").read_text()))[0] == pytest.approx(truth(dense(content))[0], abs=tol.TREE)


@quick
@given(seed=seeds)
def test_every_kind_of_discrete_factor_is_written(folder, seed):
    spec = draw(seed, 5, forest=False)
    graph, nodes = spec.model()
    write_uai(graph, folder / "mixed.uai", variables=nodes)
    np.testing.assert_allclose(dense((folder / "mixed.uai").read_text()), spec.dense(), atol=tol.TREE)


LAWS = [np.array([0.25, 0.75]), np.ones(1), np.array([0.5, 0.5, 0.0, 0.1, 0.2, 0.7])]
BAYES = text([2, 1, 3], [[0], [1], [1, 0, 2]], LAWS, "BAYES")


def test_bayesian_networks(tmp_path):
    graph, variables = read_uai(written(tmp_path, BAYES))
    assert variables[1] is None
    assert infer(graph).log_partition == pytest.approx(0.0, abs=tol.TREE)
    write_uai(graph, tmp_path / "again.uai", variables=variables, network="BAYES")
    again = (tmp_path / "again.uai").read_text()
    assert again.startswith("BAYES\n3\n2 1 3\n3\n")
    np.testing.assert_allclose(dense(again), dense(BAYES), atol=tol.TREE)


def test_models_that_no_file_holds(tmp_path):
    path = written(tmp_path, "old")
    graph = Graph()
    c = graph.categories("c", 2, states=3)
    graph.add(Table(c[0], c[1], table=np.ones((3, 3))))
    for call, message in (
        (lambda: write_uai(graph, path, network="BAYES"), "one table for each of 2 variables"),
        (lambda: write_uai(graph, path, variables=[c[0]]), "all 2 elements"),
        (lambda: write_uai(graph, path, variables=[c[0], c[0]]), "all 2 elements"),
    ):
        with pytest.raises(ModelError, match=message):
            call()
    graph.add(Table(c[0], log_table=[0.0, 800.0, 0.0]))
    with pytest.raises(ModelError, match=r"floating-point numbers in a UAI file, got exp\(800\)"):
        write_uai(graph, path)
    reals = Graph()
    reals.reals("x", 2, precision=1.0)
    with pytest.raises(ModelError, match="spins and categories for UAI files, got `x`"):
        write_uai(reals, path)
    large = Graph()
    large.add(Parity(*large.spins("s", 40)[None].columns))
    with pytest.raises(ModelError, match=r"got 1 of .* with 40 arguments"):
        write_uai(large, path)
    sums = Graph()
    sums.categories("c", 1, states=2, field=[0.1, 0.2])
    with pytest.raises(ModelError, match="sum to 1"):
        write_uai(sums, path, network="BAYES")
    assert path.read_text() == "old"


GOOD = "MARKOV\n2\n2 3\n1\n2 0 1\n\n6\n1 2 3\n4 5 6\n"
FAULTS = {
    "": "line 1: the kind of network must be there, got the end of the file",
    "MARKOW\n2\n": "line 1: the kind of network must be one of .*, got 'MARKOW'",
    GOOD.replace("MARKOV\n2", "MARKOV\ntwo"): "line 2: the number of variables must be an integer >= 1, got 'two'",
    GOOD.replace("MARKOV\n2", "MARKOV\n99999999999999999999"): "line 2: the number of variables",
    GOOD.replace("MARKOV\n2", "MARKOV\n99999999"): "line 9: number of states of variable must be 99999999 numbers",
    GOOD.replace("2 3\n1", "2 0\n1"): "line 3: number of states of variable 1 must be an integer in 1..*, got '0'",
    GOOD.replace("2 3\n1", "2 3.0\n1"): "line 3: number of states of variable 1 must be .* got '3.0'",
    GOOD.replace("2 3\n1", "1 1\n1"): "line 3: numbers of states must be .* one of them more than 1",
    GOOD.replace("2 0 1", "3 0 1"): "line 5: number of variables of factor 0 must be an integer in 0..2, got '3'",
    GOOD.replace("2 0 1", "2 0 2"): "line 5: factor 0, variable 1 must be an integer in 0..1, got '2'",
    GOOD.replace("2 0 1", "2 0 -1"): "line 5: factor 0, variable 1 must be an integer in 0..1, got '-1'",
    GOOD.replace("2 0 1", "2 0 0"): "line 5: variables of factor 0 must be different ones",
    GOOD.replace("6\n1", "5\n1"): "line 7: size of the table of factor 0 must be an integer in 6..6, got '5'",
    GOOD.replace("4 5", "4 -5"): "line 9: table of factor 0, number 4, must be a finite number >= 0, got '-5'",
    GOOD.replace("4 5", "4 nan"): "line 9: table of factor 0, number 4, must be .* got 'nan'",
    GOOD.replace("4 5", "4 1_0"): "line 9: table of factor 0, number 4, must be .* got '1_0'",
    GOOD.replace("4 5", "4 1e999"): "line 9: table of factor 0, number 4, must be .* got '1e999'",
    GOOD.replace("5 6", "5"): "line 9: table of factor 0 must be 6 numbers, got 5 before, got the end of the file",
    GOOD + "7\n": "line 10: the end of the file must be after the last number, got '7'",
    GOOD + "é": "'ascii' codec can't decode",
}


@pytest.mark.parametrize("content", FAULTS)
def test_faults_of_networks(tmp_path, content):
    path = tmp_path / "wrong.uai"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=rf"`path` must be a UAI network, got '.*wrong\.uai': {FAULTS[content]}"):
        read_uai(path)
    read_uai(written(tmp_path, GOOD))


# ---- evidence and solutions ------------------------------------------------------------------------------------------


@quick
@given(seed=seeds, samples=st.booleans())
def test_evidence_is_conditioning(folder, seed, samples):
    content, hidden = network(seed)
    rng = np.random.default_rng(seed)
    evidence = {i: value for i, value in enumerate(hidden) if rng.random() < 0.5}
    graph, variables = read_uai(written(folder, content))
    pairs = " ".join(f"{i} {value}" for i, value in evidence.items())
    path = written(folder, f"{'1' if samples else ''}\n{len(evidence)} {pairs}\n", "e.evid")
    observed = read_uai_evidence(path, graph, variables)
    log_z, _, _ = truth(clamped(dense(content), evidence))
    assert exact(graph, observed=observed).log_partition == pytest.approx(log_z, abs=tol.TREE)
    write_uai_evidence(observed, folder / "again.evid", graph, variables)
    again = read_uai_evidence(folder / "again.evid", graph, variables)
    assert observed.keys() == again.keys()
    for name, values in observed.items():
        np.testing.assert_array_equal(again[name], values)


def test_evidence_of_spins(tmp_path):
    graph = Graph()
    graph.spins("s", 3)
    path = written(tmp_path, "2 0 1 2 0", "e.evid")
    observed = read_uai_evidence(path, graph)
    np.testing.assert_array_equal(observed["s"], [-1.0, np.nan, 1.0])
    write_uai_evidence(observed, path, graph)
    assert path.read_text() == "2 0 1 2 0\n"
    with pytest.raises(ModelError, match="`observed` of `s` must be one of its values, got 0"):
        write_uai_evidence({"s": [0.0, 1.0, 1.0]}, path, graph)
    with pytest.raises(ModelError, match="`observed` must be of"):
        write_uai_evidence({"t": [1.0]}, path, graph)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: the number of samples must be there"),
        ("x", "line 1: the number of observed variables must be an integer in 0..2, got 'x'"),
        ("2\n1 0 0", "line 1: the number of samples must be an integer in 1..1, got '2'"),
        ("1\n\n1 2 0", "line 3: an observed variable must be an integer in 0..1, got '2'"),
        ("1 1 3", "line 1: the state of variable 1 must be an integer in 0..2, got '3'"),
        ("2 1 1\n1 1", "line 2: an observed variable must be another one than those before, got '1'"),
        ("1 1 1 0 0", "line 1: the end of the file must be after the last number, got '0'"),
    ],
)
def test_faults_of_evidence(tmp_path, content, message):
    graph, variables = read_uai(written(tmp_path, GOOD))
    with pytest.raises(ModelError, match=rf"a UAI evidence file, got '.*wrong\.evid': {message}"):
        read_uai_evidence(written(tmp_path, content, "wrong.evid"), graph, variables)


SOLUTIONS = [("PR", -3.25), ("MPE", np.array([0, 3, 1])), ("MAR", [np.array([0.1, 0.9]), np.ones(1)])]


@pytest.mark.parametrize(("task", "solution"), SOLUTIONS)
def test_solutions_survive_a_round_trip(tmp_path, task, solution):
    path = tmp_path / "solution"
    write_uai_solution(task, solution, path)
    found, again = read_uai_solution(path)
    assert found == task
    for ours, theirs in zip(again, solution, strict=True) if task == "MAR" else [(again, solution)]:
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("MMAP\n1 0", "line 1: the task must be one of"),
        ("PR\nx", "line 2: log10 of the partition function, number 0, must be a finite number, got 'x'"),
        ("MPE\n2 0", "line 2: state of variable must be 2 numbers, got 1 before, got the end of the file"),
        ("MPE\n2 0 -1", "line 2: state of variable 1 must be an integer"),
        ("MAR\n1\n2 0.5 -0.5", "line 3: probabilities of variable 0, number 1, must be a finite number >= 0"),
        ("MAR\n1 1 1.0\n1", "line 3: the end of the file must be after the last number"),
    ],
)
def test_faults_of_solutions(tmp_path, content, message):
    with pytest.raises(ModelError, match=rf"a UAI result file, got '.*wrong': {message}"):
        read_uai_solution(written(tmp_path, content, "wrong"))


# ---- the command -----------------------------------------------------------------------------------------------------


@quick
@given(seed=seeds, forest=st.booleans())
def test_solve(folder, seed, forest):
    content, hidden = network(seed, forest=forest)
    path, solution = written(folder, content), folder / "solution"
    evidence = written(folder, f"1 0 {hidden[0]}", "e.evid")
    logs = clamped(dense(content), {0: hidden[0]})
    log_z, marginals, _ = truth(logs)
    found = {}
    for task in ("PR", "MAR", "MPE"):
        code = main(["solve", str(path), "--evidence", str(evidence), "--task", task, "--output", str(solution)])
        if task == "MPE" and code and not forest:
            continue  # messages may find no state
        assert code == 0
        name, found[task] = read_uai_solution(solution)
        assert name == task
    assert found["PR"] * np.log(10.0) == pytest.approx(log_z, abs=tol.TREE)
    for ours, theirs in zip(found["MAR"], marginals, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=tol.TREE)
    if forest:
        assert logs[tuple(found["MPE"])] == pytest.approx(logs.max(), abs=tol.TREE)
    elif "MPE" in found:
        assert logs[tuple(found["MPE"])] > -np.inf


def test_what_is_approximate_is_said(tmp_path, capsys):
    rng = np.random.default_rng(0)
    ring = [[0, 1], [1, 2], [2, 0]]
    path = written(tmp_path, text([3] * 3, ring, [rng.gamma(1.0, size=(3, 3)) for _ in ring]))
    for task, said in (("PR", ""), ("MAR", ""), ("MPE", "approximate")):
        assert main(["solve", str(path), "--task", task]) == 0
        out, err = capsys.readouterr()
        assert out.startswith(f"{task}\n")
        assert (said in err) if said else not err
    large = Graph()
    s = large.spins("s", (40, 40))
    large.add(Pairwise(s[1:], s[:-1], coupling=0.1))
    large.add(Pairwise(s[:, 1:], s[:, :-1], coupling=0.1))
    write_uai(large, path)
    assert main(["solve", str(path), "--task", "PR"]) == 0
    out, err = capsys.readouterr()
    assert float(out.split()[1]) * np.log(10.0) == pytest.approx(infer(large).log_partition, rel=tol.LOOPY)
    assert "approximate, by belief propagation on a graph with loops: converged" in err


def test_errors_of_the_command(tmp_path, capsys):
    path = written(tmp_path, GOOD.replace("4 5", "4 -5"))
    assert main(["solve", str(path)]) == 2
    assert "line 9: table of factor 0, number 4," in capsys.readouterr().err
    assert main(["solve", str(tmp_path / "none.uai")]) == 1
    assert "none.uai" in capsys.readouterr().err
    written(tmp_path, GOOD.replace("1 2 3", "0 0 0"))
    evidence = written(tmp_path, "1 0 0", "e.evid")
    for task in ("PR", "MAR", "MPE"):
        assert main(["solve", str(path), "--evidence", str(evidence), "--task", task]) == 1
        assert "error: " in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["solve", str(path), "--task", "MMAP"])


def test_the_command_is_a_program(tmp_path):
    path = written(tmp_path, GOOD)
    command = [sys.executable, "-m", "factorgraph", "solve", str(path), "--task", "PR"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout.split()[1]) == pytest.approx(np.log10(21.0), abs=tol.TREE)
    assert not done.stderr


def test_comments_are_left_out(tmp_path):
    """pyAgrum writes the names of variables so, in any encoding."""
    path = tmp_path / "named.uai"
    path.write_bytes(
        "BAYES # é\n2\n2 2 # of each\n2\n1 0   # rain\n2 0 1   # wet 3 4\n2 0.3 0.7\n4 1 0 0.4 0.6\n".encode()
    )
    graph, places = read_uai(path)
    np.testing.assert_allclose(exact(graph)[places[1].name].probabilities[1], [0.3 + 0.7 * 0.4, 0.7 * 0.6])
    path.write_text("MARKOV\n2\n# 2 2\n2 two # states\n0\n")
    with pytest.raises(ModelError, match=r"line 4: number of states of variable 1 .*'two'"):
        read_uai(path)
