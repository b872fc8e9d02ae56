"""What runs say of themselves: fixed points, continued runs, ties, bounds, and results that travel."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import tolerances as tol
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st
from members import LOOPY
from random_graphs import forest, gaussian, ising

from factorgraph import (
    ContradictionError,
    Function,
    Graph,
    IndefiniteError,
    Linear,
    ModelError,
    Pairwise,
    Parity,
    PSpin,
    Selection,
    Status,
    Sum,
    Switch,
    exact,
    infer,
    load_model,
    save_model,
)
from factorgraph.channels import Identity, Sign
from factorgraph.priors import GaussBernoulli
from models import GLM

quick = settings(max_examples=25)
seeds = st.integers(0, 2**32 - 1)


# ---- fixed points ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", LOOPY)
@pytest.mark.parametrize("make", [lambda: ising(3, 8), lambda: gaussian(3, 6)])
def test_damping_does_not_make_a_fixed_point(schedule, make):
    graph = make()
    held = infer(graph, schedule=schedule, damping=0.999999999, max_sweeps=100)
    assert held.status is Status.NOT_CONVERGED and held.residuals[-1] > tol.SOMETHING
    truth = infer(graph, schedule=schedule, **tol.TIGHT)
    damped = infer(graph, schedule=schedule, damping=0.8)
    name = next(iter(graph.model.variables))
    assert damped.converged
    np.testing.assert_allclose(damped[name].mean, truth[name].mean, atol=1e-7 * np.abs(truth[name].mean).max())


@pytest.mark.parametrize("schedule", LOOPY)
def test_a_converged_run_with_reinforcement_is_a_fixed_point(schedule):
    graph = ising(5, 8)
    result = infer(graph, schedule=schedule, reinforcement=0.3)
    again = infer(graph, schedule=schedule, reinforcement=0.3, tolerance=1e-13)
    assert result.converged and again.converged
    np.testing.assert_allclose(result["s"].mean, again["s"].mean, atol=1e-7)


@pytest.mark.parametrize("schedule", LOOPY)
@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_convergence_does_not_depend_on_the_unit_of_a_variable(schedule, unit):
    """x → unit · x: precisions of 1e-18 are no less than those of 1."""
    graph, truth = gaussian(8, 6), exact(gaussian(8, 6))
    x, pairs = graph.model.variables["x"], graph.model.factors[0]
    scaled = Graph()
    y = scaled.reals("x", 6, field=x.field / unit, precision=x.precision / unit**2)
    i, j = (selection.indices for selection in pairs.arguments)
    scaled.add(Pairwise(y[i], y[j], coupling=pairs.coupling / unit**2))
    result = infer(scaled, schedule=schedule)
    assert result.converged
    np.testing.assert_allclose(result["x"].mean / unit, truth["x"].mean, atol=1e-7 * np.abs(truth["x"].mean).max())


def test_couplings_that_outweigh_fields():
    for kind in (lambda a, b: Pairwise(a, b, coupling=600.0), lambda a, b: PSpin(a, b, coupling=600.0)):
        graph = Graph()
        s = graph.spins("s", 2, field=[500.0, -500.0])
        graph.add(factor := kind(s[0], s[1]))
        for schedule in ("auto", *LOOPY):
            result = infer(graph, schedule=schedule)
            np.testing.assert_allclose(result.log_partition, 600.0 + np.log(2.0), rtol=tol.TREE)
            np.testing.assert_allclose(result.entropy, np.log(2.0), rtol=tol.TREE)
            if isinstance(factor, Pairwise):
                np.testing.assert_allclose(result.pairs(factor), [[0.5, 0.0], [0.0, 0.5]], atol=tol.TREE)
    graph = Graph()
    s = graph.spins("s", 3, field=[500.0, -450.0, 400.0])
    graph.add(Parity(s[0], s[1], s[2], sign=-1.0))
    np.testing.assert_allclose(infer(graph).log_partition, 1350.0, rtol=tol.TREE)


@quick
@given(seed=seeds)
def test_flat_variables_with_a_field(seed):
    """A law e^{hx} dx says where nothing is, and still tilts what is measured together with it."""
    rng = np.random.default_rng(seed)
    graph = Graph()
    s, x = (
        graph.spins("s", 2, field=rng.normal(size=2)),
        graph.reals("x", 3, field=rng.normal(size=3), precision=[0, 1, 2]),
    )
    graph.add(Linear(x[0], s[0], x[1], coefficients=rng.normal(size=3), target=rng.normal(), noise=0.5))
    graph.add(Linear(x[1], x[2], coefficients=[1.0, -1.0], noise=0.3))
    graph.add(Pairwise(s[0], s[1], coupling=0.4))
    result, truth = infer(graph), exact(graph)
    assert result.exact
    for name in ("s", "x"):
        np.testing.assert_allclose(
            result[name].mean, truth[name].mean, atol=tol.TREE * 100 * np.sqrt(truth[name].variance).max()
        )
    np.testing.assert_allclose(
        result.log_partition, truth.log_partition, atol=tol.TREE * 100 * abs(truth.log_partition) + tol.TREE
    )


def test_variables_of_another_kind_beside_pairs():
    graph = Graph()
    s, x = graph.spins("s", 3, field=0.4), graph.reals("x", 3, field=1.0, precision=2.0)
    graph.add(Pairwise(s[0], s[1], coupling=0.3))
    np.testing.assert_allclose(infer(graph)["x"].mean, 0.5)
    np.testing.assert_allclose(infer(graph).log_partition, exact(graph).log_partition)
    graph = Graph()
    s, x = graph.spins("s", 3, field=0.4), graph.reals("x", 3, field=1.0, precision=2.0)
    graph.add(Pairwise(x[0], x[1], coupling=0.3))
    np.testing.assert_allclose(infer(graph)["s"].mean, np.tanh(0.4))
    np.testing.assert_allclose(infer(graph)["x"].mean, exact(graph)["x"].mean)


def test_a_gaussian_run_that_diverges_warns_of_nothing():
    graph = Graph()
    x = graph.reals("x", 4, field=1e200, precision=1.0)
    i, j = np.triu_indices(4, 1)
    graph.add(Pairwise(x[i], x[j], coupling=1e160))
    for schedule in LOOPY:
        try:
            assert not infer(graph, schedule=schedule).converged
        except IndefiniteError:
            pass


# ---- continued runs --------------------------------------------------------------------------------------------------


def evidence(seed, size):
    rng = np.random.default_rng(seed)
    return {"s": np.where(rng.random(size) < 0.4, rng.choice([-1.0, 1.0], size), np.nan)}


@quick
@given(seed=seeds, schedule=st.sampled_from(["auto", *LOOPY]))
def test_a_run_that_continues_one_with_other_evidence(seed, schedule):
    """Hard constraints on a tree, with soft ones between: what was certain before is not now."""
    rng = np.random.default_rng(seed)
    graph = Graph()
    s = graph.spins("s", 8, field=rng.normal(size=8))
    for i in range(1, 8):
        parent = int(rng.integers(i))
        graph.add(
            Parity(s[i], s[parent], sign=rng.choice([-1, 1]))
            if rng.random() < 0.6
            else Pairwise(s[i], s[parent], coupling=1.0)
        )
    runs = []
    for k in range(2):
        try:
            runs.append((evidence(seed + k, 8), infer(graph, observed=evidence(seed + k, 8), schedule=schedule)))
        except ContradictionError:
            reject()
    (_, first), (seen, truth) = runs
    result = infer(graph, observed=seen, schedule=schedule, start=first)
    assert result.converged
    np.testing.assert_allclose(result["s"].mean, truth["s"].mean, atol=tol.LOOPY * 100)


def test_certainty_that_still_holds_is_kept():
    graph = Graph()
    s = graph.spins("s", 4)
    graph.add(Parity(s[1:], s[:-1]))
    first = infer(graph, observed={"s": [1, np.nan, np.nan, np.nan]}, schedule="flooding")
    assert infer(graph, observed={"s": [1, np.nan, np.nan, np.nan]}, schedule="flooding", start=first).sweeps == 1


def test_starts_on_other_graphs_are_refused():
    def chain(name, order):
        graph = Graph()
        s = graph.spins(name, 4, field=0.1)
        graph.add(Pairwise(s[order[1:]], s[order[:-1]], coupling=0.2))
        return graph

    start = infer(chain("s", [0, 1, 2, 3]))
    assert infer(chain("s", [0, 1, 2, 3]), schedule="flooding", start=start).sweeps <= 5
    for other in (chain("t", [0, 1, 2, 3]), chain("s", [0, 2, 1, 3])):
        with pytest.raises(ValueError, match="`start` must be a run on the same graph"):
            infer(other, start=start)
    with pytest.raises(ValueError, match="`start` must be a run on the same graph"):
        infer(chain("s", [0, 1, 2, 3]), start=start, batch=2)
    with pytest.raises(ValueError, match=r"`start` must be a result of `infer`, messages \(B, A\), or None, got 3"):
        infer(chain("s", [0, 1, 2, 3]), start=3)


def test_selections_of_another_graph_are_refused(tmp_path):
    one, other = Graph(), Graph()
    s, t = one.spins("s", 3, field=0.1), other.spins("s", 3)
    for add in (lambda: other.add(Pairwise(s[1:], t[1:], coupling=1.0)), lambda: other.one_by_one(Pairwise, t, s)):
        with pytest.raises(ModelError, match="must select from variables of this graph, got `s` of another"):
            add()
    one.add(Pairwise(s[1:], s[:-1], coupling=1.0))
    twin = copy.deepcopy(one)
    twin.add(PSpin(s[0], coupling=0.3))
    again, selection = pickle.loads(pickle.dumps((one, s)))
    again.add(PSpin(selection[0], coupling=0.3))
    one.add(PSpin(Selection.whole("s", (3,))[0], coupling=0.3))
    save_model(one, tmp_path / "m.npz")
    means = [infer(m)["s"].mean for m in (one, twin, again, load_model(tmp_path / "m.npz"))]
    for mean in means[1:]:
        np.testing.assert_array_equal(mean, means[0])


# ---- ties ------------------------------------------------------------------------------------------------------------


def states_and_weights(graph):
    model = graph.model
    states = np.array(list(itertools.product([1.0, -1.0], repeat=model.shape("s")[0])))
    weights = states @ np.broadcast_to(model.variables["s"].field, states.shape[1])
    for factor in model.factors:
        product = np.prod([states[:, a.indices] for a in factor.arguments], axis=0).reshape(len(states), -1)
        if isinstance(factor, Parity):
            weights = weights + np.where(product == factor.sign, 0.0, -np.inf).sum(axis=1)
        else:
            weights = weights + product @ factor.coupling
    return states, weights


def integers(seed, loops):
    """Small integers, so that ties abound."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 8))
    graph = Graph()
    s = graph.spins("s", n, field=rng.integers(-1, 2, n).astype(float))
    groups = list(range(n))
    for _ in range(n + 1):
        chosen = [int(i) for i in rng.permutation(n)[: rng.integers(1, 4)]]
        if not loops and len({groups[i] for i in chosen}) < len(chosen):
            continue
        joined = {groups[i] for i in chosen}
        groups = [min(joined) if g in joined else g for g in groups]
        if not loops and rng.random() < 0.3:
            graph.add(Parity(*(s[i] for i in chosen), sign=rng.choice([-1, 1])))
        else:
            graph.add(PSpin(*(s[i] for i in chosen), coupling=float(rng.integers(-1, 2))))
    return graph


@settings(max_examples=60)
@given(seed=seeds, schedule=st.sampled_from(["auto", *LOOPY]))
def test_the_state_of_a_forest_is_a_best_one_whatever_the_ties(seed, schedule):
    graph = integers(seed, loops=False)
    states, weights = states_and_weights(graph)
    assume(weights.max() > -np.inf)
    result = infer(graph, maximum=True, schedule=schedule)
    state = result["s"].mean
    assert np.all(np.abs(state) == 1.0) and np.all(result["s"].variance == 0.0)
    reached = weights[np.flatnonzero((states == state).all(axis=1))[0]]
    assert reached == weights.max() == pytest.approx(result.log_weight)
    best = states[weights == weights.max()]
    np.testing.assert_array_equal(result.ties["s"], np.abs(best.sum(axis=0)) < len(best))
    assert ("tied" in str(result)) == bool(result.ties["s"].any())


@settings(max_examples=40)
@given(seed=seeds, schedule=st.sampled_from(LOOPY))
def test_the_state_of_a_loopy_graph_has_the_weight_that_is_reported(seed, schedule):
    graph = integers(seed, loops=True)
    states, weights = states_and_weights(graph)
    result = infer(graph, maximum=True, schedule=schedule, max_sweeps=50)
    state = result["s"].mean
    assert np.all(np.abs(state) == 1.0)
    assert weights[np.flatnonzero((states == state).all(axis=1))[0]] == pytest.approx(result.log_weight)


@pytest.mark.parametrize("schedule", ["auto", *LOOPY])
def test_a_frustrated_triangle(schedule):
    graph = Graph()
    s = graph.spins("s", 3)
    graph.add(Pairwise(s[[0, 1, 2]], s[[1, 2, 0]], coupling=-1.0))
    result = infer(graph, maximum=True, schedule=schedule)
    assert result.log_weight == 1.0 and result.ties["s"].all()
    batch = infer(graph, maximum=True, schedule=schedule, batch=2, fields={"s": [[0, 0, 0], [3, 2, 1]]})
    np.testing.assert_array_equal(batch.log_weight, [1.0, 5.0])
    np.testing.assert_array_equal(batch.ties["s"][0], True)
    with pytest.raises(ValueError, match="`maximum` must be True"):
        _ = infer(graph).log_weight


def test_the_maximum_of_real_variables_and_vectors():
    graph = Graph()
    x, v = graph.reals("x", 3, field=[1.0, 2.0, 0.5], precision=2.0), graph.vectors("v", 2, 2, field=1.0, precision=3.0)
    graph.add(Pairwise(x[1:], x[:-1], coupling=0.5))
    graph.add(Linear(v[0], v[1], coefficients=[1.0, -1.0], target=[0.3, 0.1], noise=0.5))
    result = infer(graph, maximum=True)
    m = result["x"].mean
    own = np.array([1.0, 2.0, 0.5]) @ m - m @ m + 0.5 * (m[1:] @ m[:-1])
    w = result["v"].mean
    rest = np.array([0.3, 0.1]) - (w[0] - w[1])
    own += w.sum() - 1.5 * (w**2).sum() - rest @ rest - np.log(2 * np.pi * 0.5)
    np.testing.assert_allclose(result.log_weight, own, rtol=tol.TREE)


# ---- bounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["flooding", "sequential"])
def test_a_log_partition_above_all_laws_is_no_solution(schedule):
    outside = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        n, m = int(rng.integers(9, 12)), int(rng.integers(3, 11))
        x, teacher = rng.choice([-1.0, 1.0], (m, n)), rng.choice([-1.0, 1.0], n)
        graph = Graph()
        w, y = graph.spins("w", n), graph.spins("y", m)
        graph.add(Sum(y, *w[np.tile(np.arange(n), (m, 1))].columns, coefficients=x, channel=Sign()))
        result = infer(graph, observed={"y": np.where(x @ teacher >= 0.0, 1.0, -1.0)}, schedule=schedule)
        assert result.bounds[1] == pytest.approx(n * np.log(2.0))
        assert not result.converged or result.log_partition <= n * np.log(2.0) + tol.LOOPY
        assert np.abs(result.B).max() < 1e3
        outside += result.status is Status.OUTSIDE
    assert outside < 3


@quick
@given(seed=seeds, spins=st.integers(2, 7))
def test_bounds_hold_for_the_true_log_partition(seed, spins):
    graph = forest(seed, spins, 0, 8)
    graph.model  # noqa: B018
    result = infer(graph, observed={"z": 0.3})
    low, high = result.bounds
    assert low <= result.log_partition + tol.TREE and result.log_partition <= high + tol.TREE and not result.outside


def test_a_symmetric_fixed_point_below_its_best_state_is_mentioned():
    graph = Graph()
    s = graph.spins("s", (4, 4))
    graph.add(Pairwise(s[1:], s[:-1], coupling=5.0))
    graph.add(Pairwise(s[:, 1:], s[:, :-1], coupling=5.0))
    result = infer(graph)
    assert result.converged and result.outside and "must be in [120, 131" in str(result)
    assert not infer(ising(3, 8)).warnings


# ---- results travel --------------------------------------------------------------------------------------------------


def double_well(x):
    return -((x * x - 1.0) ** 2)


def travellers():
    mixed = Graph()
    s, x = mixed.spins("s", 3, field=0.2), mixed.reals("x", 3, precision=1.0)
    mixed.add(Linear(s, x, coefficients=[0.5, 1.0], target=0.3, noise=0.5))
    mixed.add(Pairwise(s[1:], s[:-1], coupling=0.3))
    mixed.add(Function(double_well, x))
    return {"s": ising(2, 6), "x": gaussian(2, 5), "mixed": mixed}


@pytest.mark.parametrize("schedule", ["auto", *LOOPY])
@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_results_are_copied_and_sent(schedule, damping):
    for graph in travellers().values():
        result = infer(graph, schedule=schedule, damping=damping)
        names = list(graph.model.variables)
        for how in (copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))):
            again = how(result)
            for name in names:
                np.testing.assert_array_equal(again[name].mean, result[name].mean)
            assert again.log_partition == result.log_partition
            assert infer(graph, start=again, schedule="flooding").converged


def switching():
    graph = Graph()
    x, c = graph.reals("x", 2, precision=1.0), graph.categories("c", states=3, field=[0.0, 0.3, -0.2])
    graph.add(Switch(c, x[0], target=[0.0, 1.0, 3.0], noise=[0.5, 1.0, 2.0]))
    graph.add(Linear(x[0], x[1], coefficients=[1.0, -1.0], noise=0.4))
    return graph


@pytest.mark.parametrize("graph", [ising(2, 6), ising(5, 30), gaussian(2, 5), switching()], ids=lambda _: "")
@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
def test_exact_solutions_are_copied_and_sent_with_what_is_found_later(graph, how):
    solution = exact(graph)
    again = how(solution)
    assert again.log_partition == solution.log_partition
    assert again.best.log_weight == solution.best.log_weight
    for name, values in solution.best.values.items():
        np.testing.assert_array_equal(again.best.values[name], values)
    for factor in graph.model.factors[:1]:
        found = again.pairs(again.graph.layout.model.factors[0])
        for one, other in zip(found, solution.pairs(factor), strict=True):
            np.testing.assert_array_equal(one, other)


def test_results_print_in_one_screen():
    graph = Graph()
    s = graph.spins("s", (40, 50), field=0.1)
    graph.add(Pairwise(s[1:], s[:-1], coupling=0.2))
    small = Graph()
    t = small.spins("t", (3, 4), field=0.1)
    small.add(Pairwise(t[1:], t[:-1], coupling=0.2))
    W = np.random.default_rng(0).normal(size=(200, 300)) / 300**0.5
    found = GLM(GaussBernoulli(0.3), W, Identity(0.01)).infer(W[:, 0])
    result = infer(graph)
    for thing in (result, result["s"], exact(small), exact(small)["t"], found, found.signal, found.trace):
        for text in (repr(thing), str(thing)):
            lines = text.splitlines()
            assert len(lines) <= 20 and max(map(len, lines)) <= 240
            assert type(thing).__name__ in text or thing is result
