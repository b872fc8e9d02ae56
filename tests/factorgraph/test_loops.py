"""On graphs with loops: what belief propagation promises there, and what it must not do."""

import itertools

import networkx as nx
import numpy as np
import pytest
import tolerances as tol
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from members import LOOPY
from random_graphs import gaussian, ising

from factorgraph import (
    ContradictionError,
    Function,
    Graph,
    IndefiniteError,
    Linear,
    ModelError,
    Pairwise,
    Parity,
    Potts,
    PSpin,
    Status,
    exact,
    infer,
)
from factorgraph.engine.unroll import unroll

quick = settings(max_examples=25)
seeds = st.integers(0, 2**32 - 1)
TIGHT = tol.TIGHT


def spins_of(graph):
    return graph.model.variables["s"].field, graph.model.factors[0]


def rebuilt(field, i, j, coupling):
    graph = Graph()
    s = graph.spins("s", len(field), field=field)
    graph.add(Pairwise(s[i], s[j], coupling=coupling))
    return graph


# ---- Gaussian graphs -------------------------------------------------------------------------------------------------


@quick
@given(seed=seeds, schedule=st.sampled_from(LOOPY))
def test_means_of_walk_summable_graphs_are_exact_and_variances_are_not(seed, schedule):
    """[Weiss-Freeman 2001; Malioutov-Johnson-Willsky 2006]"""
    graph = gaussian(seed, 6)
    result, truth = infer(graph, schedule=schedule, **TIGHT), exact(graph)
    assert result.converged and not result.exact
    np.testing.assert_allclose(result["x"].mean, truth["x"].mean, atol=tol.LOOPY * np.abs(truth["x"].mean).max())
    assert np.abs(result["x"].variance / truth["x"].variance - 1).max() > tol.WRONG_ON_LOOPS


def triangle(r):
    graph = Graph()
    x = graph.reals("x", 3, precision=1.0, field=[1.0, 0.0, 0.5])
    graph.add(Pairwise(x[[0, 1, 0]], x[[1, 2, 2]], coupling=-r))
    return graph


@pytest.mark.parametrize("schedule", LOOPY)
def test_a_triangle_that_is_not_walk_summable_is_reported(schedule):
    """Its precision matrix is positive definite (1 > r > 1/2), but the messages have no fixed point."""
    truth = exact(triangle(0.7))
    assert np.all(truth["x"].variance > 0)
    result = infer(triangle(0.7), schedule=schedule, max_sweeps=300)
    assert not result.converged and result.status in (Status.NOT_CONVERGED, Status.DIVERGED)
    assert result.message in str(result) and result.message.startswith(result.status)
    assert result.worst.name.startswith("x[")
    assert infer(triangle(0.4), schedule=schedule).converged


def test_an_indefinite_belief_names_its_variable():
    graph = Graph()
    x = graph.reals("x", (2, 2), precision=[[1.0, 1.0], [1.0, 0.0]])
    graph.add(Pairwise(x[0, 0], x[0, 1], coupling=1.5))
    with pytest.raises(IndefiniteError, match=r"precision of x\[\d, \d\] must be > 0, got"):
        infer(graph)
    with pytest.raises(IndefiniteError, match="positive definite"):
        exact(graph)
    lonely = Graph()
    lonely.reals("y", 2)
    with pytest.raises(IndefiniteError, match=r"precision of y\[0\] must be > 0, got 0; nothing says where it is"):
        infer(lonely)


# ---- spins -----------------------------------------------------------------------------------------------------------


@quick
@given(seed=seeds)
def test_the_fixed_point_does_not_depend_on_schedule_and_damping(seed):
    """Weak couplings: one fixed point. The first run is by odds ratios, the others in the logarithmic form."""
    graph = ising(seed, 12, strength=0.3)
    first = infer(graph, **TIGHT)
    assert first.converged and np.abs(first["s"].mean).max() > 0.1
    options = [
        {"damping": 0.4},
        {"schedule": "sequential"},
        {"schedule": "random", "rng": 3},
        {"schedule": "residual"},
        {"schedule": "forward-backward", "damping": 0.1},
    ]
    for option in options:
        other = infer(graph, **option, **TIGHT)
        assert other.converged
        np.testing.assert_allclose(other["s"].mean, first["s"].mean, atol=tol.LOOPY, err_msg=str(option))
        assert other.log_partition == pytest.approx(first.log_partition, abs=tol.LOOPY)


@quick
@given(seed=seeds)
def test_bethe_is_stationary(seed):
    """∂ log Z/∂h = m and ∂ log Z/∂J = E[s s'] at a fixed point, though neither is exact."""
    graph = ising(seed, 8, strength=0.5)
    field, pairs = spins_of(graph)
    i, j = pairs.arguments[0].indices, pairs.arguments[1].indices
    result = infer(graph, **TIGHT)
    assume(result.converged)
    step = 1e-4
    slopes = [
        infer(graph, fields={"s": sign * step * (np.arange(8) == 2)}, start=result, **TIGHT).log_partition
        for sign in (1, -1)
    ]
    assert (slopes[0] - slopes[1]) / (2 * step) == pytest.approx(result["s"].mean[2], abs=tol.SLOPE)
    joint = result.pairs(pairs)[0]
    slopes = [
        infer(rebuilt(field, i, j, pairs.coupling + sign * step * (np.arange(i.size) == 0)), **TIGHT).log_partition
        for sign in (1, -1)
    ]
    correlation = joint[0, 0] + joint[1, 1] - joint[0, 1] - joint[1, 0]
    assert (slopes[0] - slopes[1]) / (2 * step) == pytest.approx(correlation, abs=tol.SLOPE)


@quick
@given(seed=seeds)
def test_gauges_names_and_orders(seed):
    """Flipping spins with their couplings, renaming variables, and the order of factors change nothing."""
    graph = ising(seed, 10, strength=0.3)
    field, pairs = spins_of(graph)
    i, j, J = pairs.arguments[0].indices, pairs.arguments[1].indices, pairs.coupling
    reference = infer(graph, **TIGHT)
    rng = np.random.default_rng(seed)
    gauge, order, names = rng.choice([-1, 1], 10), rng.permutation(J.size), rng.permutation(10)
    flipped = infer(rebuilt(gauge * field, i, j, gauge[i] * gauge[j] * J), **TIGHT)
    shuffled = infer(rebuilt(field, i[order], j[order], J[order]), **TIGHT)
    renamed = infer(rebuilt(field[np.argsort(names)], names[i], names[j], J), **TIGHT)
    for other, back in ((flipped, gauge), (shuffled, 1)):
        np.testing.assert_allclose(other["s"].mean * back, reference["s"].mean, atol=tol.LOOPY)
    np.testing.assert_allclose(renamed["s"].mean[names], reference["s"].mean, atol=tol.LOOPY)
    for other in (flipped, shuffled, renamed):
        assert other.log_partition == pytest.approx(reference.log_partition, abs=tol.LOOPY)


@quick
@given(seed=seeds)
def test_zero_couplings_are_no_edges_and_unions_add_up(seed):
    graph = ising(seed, 8, strength=0.3)
    field, pairs = spins_of(graph)
    i, j, J = pairs.arguments[0].indices, pairs.arguments[1].indices, pairs.coupling
    reference = infer(graph, **TIGHT)
    extra = infer(rebuilt(field, np.r_[i, 0, 1], np.r_[j, 5, 7], np.r_[J, 0.0, 0.0]), **TIGHT)
    assert extra.log_partition == pytest.approx(reference.log_partition, abs=tol.LOOPY)
    np.testing.assert_allclose(extra["s"].mean, reference["s"].mean, atol=tol.LOOPY)
    both = Graph()
    for name in ("a", "b"):
        s = both.spins(name, 8, field=field)
        both.add(Pairwise(s[i], s[j], coupling=J))
    result = infer(both, **TIGHT)
    assert result.log_partition == pytest.approx(2 * reference.log_partition, abs=tol.LOOPY)
    np.testing.assert_allclose(result["b"].mean, reference["s"].mean, atol=tol.LOOPY)


def test_two_factors_on_one_pair_are_a_loop_and_merging_them_is_exact():
    def pair(*couplings):
        graph = Graph()
        s = graph.spins("s", 2, field=[0.3, -0.2])
        for J in couplings:
            graph.add(Pairwise(s[0], s[1], coupling=J))
        return graph

    split, merged = infer(pair(0.5, 0.4), **TIGHT), infer(pair(0.9), **TIGHT)
    truth = exact(pair(0.5, 0.4))
    assert not unroll(pair(0.5, 0.4).model).is_forest and not split.exact
    assert merged.exact and merged.log_partition == pytest.approx(truth.log_partition, abs=tol.TREE)
    assert abs(split.log_partition - truth.log_partition) > tol.WRONG_ON_LOOPS
    with pytest.raises(ValueError, match="must not be 'two-pass' on a graph with loops"):
        infer(pair(0.5, 0.4), schedule="two-pass")


def test_four_spins_that_oscillate_undamped():
    """A complete graph of antiferromagnetic couplings: flooding jumps between two states, damping finds the middle."""
    graph = Graph()
    s = graph.spins("s", 4, field=0.05)
    i, j = np.triu_indices(4, 1)
    graph.add(Pairwise(s[i], s[j], coupling=-1.5))
    plain = infer(graph, max_sweeps=500)
    assert plain.status is Status.NOT_CONVERGED and "use damping" in plain.message
    assert plain.residuals[-1] > 0.01
    damped = infer(graph, damping=0.6, max_sweeps=5000)
    assert damped.converged
    assert np.ptp(damped["s"].mean) < 1e-6


def test_several_fixed_points():
    """A strong ferromagnet: the start decides between up and down; reinforcement decides by itself."""
    graph = Graph()
    s = graph.spins("s", (6, 6), field=1e-3)
    graph.add(Pairwise(s[:-1], s[1:], coupling=0.8))
    graph.add(Pairwise(s[:, :-1], s[:, 1:], coupling=0.8))
    down = infer(graph, start=infer(graph, fields={"s": np.full((6, 6), -0.5)}))
    up = infer(graph)
    assert up.converged and down.converged
    assert up["s"].mean.min() > 0.5 and down["s"].mean.max() < -0.5
    decided = infer(graph, reinforcement=0.5, max_sweeps=30, schedule="sequential")
    assert np.abs(decided["s"].mean).min() > np.abs(up["s"].mean).min()


def test_a_warm_start_at_a_fixed_point_stops_at_once():
    graph = unroll(ising(3, 30, strength=0.3).model)
    for options in ({}, {"damping": 0.2}, {"schedule": "residual"}):
        first = infer(graph, tolerance=1e-12, **options)
        again = infer(graph, start=first, tolerance=tol.WARM, **options)
        assert first.sweeps > 5 and again.sweeps <= 5 and again.residuals[0] <= tol.WARM


# ---- hard constraints and evidence -----------------------------------------------------------------------------------


def test_a_small_code_is_decoded():
    """Parity checks of the Hamming code (7, 4), one flipped bit: max-product finds the nearest word, zeros and all."""
    checks = [[0, 1, 2, 4], [0, 1, 3, 5], [0, 2, 3, 6]]
    received = np.array([1.0, 1, 1, -1, 1, 1, 1])
    graph = Graph()
    s = graph.spins("s", 7, field=received * np.array([1, 1, 1, 0.4, 1, 1, 1]))
    graph.add(Parity(*s[checks].columns))
    np.testing.assert_array_equal(infer(graph, maximum=True, damping=0.3)["s"].mean, np.ones(7))
    truth, result = exact(graph), infer(graph, damping=0.3)
    assert result.converged and np.all(np.sign(result["s"].mean) == np.sign(truth["s"].mean))


def test_infinite_messages():
    """A chain of constraints passes certainty on, and weights that are zero do not make NaN."""
    graph = Graph()
    s = graph.spins("s", 4, field=[0.2, 0.0, 0.0, -0.7])
    graph.add(Parity(s[:-1], s[1:], sign=[-1, 1, -1]))
    truth = exact(graph)
    for schedule in ("auto", "flooding", "residual"):
        result = infer(graph, schedule=schedule)
        np.testing.assert_allclose(result["s"].mean, truth["s"].mean, atol=tol.TREE)
        assert result.log_partition == pytest.approx(truth.log_partition, abs=tol.TREE)
    clamped = infer(graph, observed={"s": [1, np.nan, np.nan, np.nan]})
    np.testing.assert_array_equal(clamped["s"].mean, [1, -1, -1, 1])
    assert clamped.log_partition == pytest.approx(exact(graph, observed={"s": [1] + [np.nan] * 3}).log_partition)


@pytest.mark.parametrize("schedule", ["auto", *LOOPY])
def test_contradictory_evidence(schedule):
    graph = Graph()
    s = graph.spins("s", 3)
    graph.add(Parity(s[:-1], s[1:]))
    evidence = {"s": [1, np.nan, -1]}
    with pytest.raises(ContradictionError, match=r"evidence must be consistent, got .*s\[[012]\]"):
        infer(graph, observed=evidence, schedule=schedule)
    with pytest.raises(ContradictionError):
        exact(graph, observed=evidence)
    with pytest.raises(ContradictionError, match=r"s\[[01]\]"):
        infer(graph, observed={"s": [1, -1, np.nan]}, schedule=schedule)


def test_variables_without_factors_and_graphs_without_either():
    graph = Graph()
    graph.spins("s", 3, field=[0.0, 1.0, -2.0])
    graph.reals("x", (), precision=2.0, field=1.0)
    result, truth = infer(graph), exact(graph)
    assert result.exact and result.log_partition == pytest.approx(truth.log_partition, abs=tol.TREE)
    np.testing.assert_allclose(result["s"].mean, np.tanh([0, 1, -2]), atol=tol.TREE)
    assert result["x"].mean == 0.5 and result["x"].variance == 0.5
    for schedule in LOOPY:
        assert infer(graph, schedule=schedule).converged


# ---- maxima ----------------------------------------------------------------------------------------------------------


@quick
@given(seed=seeds)
def test_maxima_on_trees_and_gaussian_graphs(seed):
    """Max-product finds the state of largest weight on a tree; for Gaussians it is the mean."""
    rng = np.random.default_rng(seed)
    graph = Graph()
    s = graph.spins("s", 8, field=rng.normal(size=8))
    graph.add(Pairwise(s[[0, 1, 1, 3]], s[[1, 2, 3, 4]], coupling=rng.normal(size=4)))
    graph.add(PSpin(s[4], s[5], s[6], coupling=rng.normal()))
    table = rng.normal(size=(2, 2))
    graph.add(Function(lambda a, b: table[(1 - a.astype(int)) // 2, (1 - b.astype(int)) // 2], s[6], s[7]))
    states = np.array(list(itertools.product([1.0, -1.0], repeat=8)))
    unrolled = unroll(graph.model)
    weights = states @ unrolled.field
    for stack in unrolled.stacks:
        values = [states[:, column].T for column in stack.variables.T]
        weights += stack.kind.log_factor(stack.parameters, *values).sum(0)
    np.testing.assert_array_equal(infer(graph, maximum=True)["s"].mean, states[weights.argmax()])
    model = gaussian(seed, 5)
    means = exact(model)["x"].mean
    np.testing.assert_allclose(
        infer(model, maximum=True, **TIGHT)["x"].mean, means, atol=tol.LOOPY * np.abs(means).max()
    )


# ---- running ---------------------------------------------------------------------------------------------------------


def test_a_batch_is_many_runs_in_one():
    graph = unroll(ising(1, 10, strength=0.3).model)
    fields = np.random.default_rng(0).normal(size=(4, 10))
    evidence = np.full((4, 10), np.nan)
    evidence[2, 3] = -1
    for options in ({}, {"observed": {"s": evidence}}):
        batch = infer(graph, batch=4, fields={"s": fields}, **options, **TIGHT)
        assert batch["s"].mean.shape == (4, 10)
        for k in range(4):
            single = {"observed": {"s": evidence[k]}} if options else {}
            alone = infer(graph, fields={"s": fields[k]}, **single, **TIGHT)
            np.testing.assert_allclose(batch["s"].mean[k], alone["s"].mean, atol=tol.LOOPY)


def test_callbacks_progress_and_trace(capsys):
    graph = ising(1, 10, strength=0.3)
    seen = []
    result = infer(graph, schedule="sequential", callback=lambda n, r: seen.append((n, r)) or n >= 3, progress=True)
    assert result.status is Status.STOPPED and result.sweeps == 3 and not result.converged
    assert [r for _, r in seen] == result.residuals.tolist() and [n for n, _ in seen] == [1, 2, 3]
    assert "sweep" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, message",
    [
        ({"schedule": "upwards"}, "`schedule` must be one of .*got 'upwards'"),
        ({"damping": 1.0}, r"`damping` must be 'adaptive' or a number in \[0, 1\), got 1.0"),
        ({"reinforcement": -1}, "`reinforcement` must be a finite number >= 0, got -1"),
        ({"max_sweeps": 0}, "`max_sweeps` must be an integer >= 1, got 0"),
        ({"tolerance": np.nan}, "`tolerance` must be a finite number >= 0"),
        ({"observed": {"s": np.zeros(10)}}, "`observed` values of the spins `s` must be 1, -1 or NaN"),
        ({"observed": {"t": 1}}, "`observed` must name variables among"),
        ({"fields": {"s": np.zeros(3)}}, r"`fields` of `s` must be of shape \(10,\), got \(3,\)"),
        ({"fields": {"s": np.full(10, np.nan)}}, "must be finite"),
    ],
)
def test_options_outside_their_domain(options, message):
    with pytest.raises(ValueError, match=message):
        infer(ising(1, 10), **options)


def test_runs_on_another_graph_are_refused_as_starts():
    with pytest.raises(ValueError, match="`start` must be a run on the same graph"):
        infer(ising(1, 10), start=infer(ising(1, 11)))


def test_maxima_without_a_rule_are_refused():
    graph = Graph()
    s, x = graph.spins("s", 1), graph.reals("x", 1, precision=1.0)
    graph.add(Linear(s, x, noise=1.0))
    with pytest.raises(ValueError, match="`maximum` must be False for a model with Linear"):
        infer(graph, maximum=True)


def test_what_is_too_large_is_refused_with_its_cost():
    graph = Graph()
    s = graph.spins("s", (40, 40))
    graph.add(Pairwise(s[:-1], s[1:], coupling=0.1))
    graph.add(Pairwise(s[:, :-1], s[:, 1:], coupling=0.1))
    with pytest.raises(ValueError, match=r"must take at most .* numbers, got .*width \d+"):
        exact(graph)
    strip = nx.grid_2d_graph(3, 40)
    index = {node: k for k, node in enumerate(strip)}
    i, j = np.array([(index[a], index[b]) for a, b in strip.edges]).T
    narrow = rebuilt(np.full(120, 0.1), i, j, np.full(i.size, 0.2))
    truth = exact(narrow)
    assert truth.method == "elimination"
    assert infer(narrow).log_partition == pytest.approx(truth.log_partition, rel=0.01)


def test_models_with_other_laws_have_no_exact_solution():
    graph = Graph()
    x = graph.reals("x", 2, precision=1.0)
    graph.add(Function(lambda a, b: -((a - b) ** 4), x[0], x[1]))
    with pytest.raises(ModelError, match="factors on real variables must be Gaussian for an exact solution"):
        exact(graph)


@pytest.mark.parametrize("discrete", ["spins", "categories"])
def test_damping_raises_itself_where_messages_oscillate(discrete):
    """A strong antiferromagnet on a complete graph: flooding goes to and fro until it is damped."""
    n, graph = 8, Graph()
    i, j = np.triu_indices(n, 1)
    if discrete == "spins":
        s = graph.spins("s", n, field=0.1)
        graph.add(Pairwise(s[i], s[j], coupling=-0.8))
    else:
        c = graph.categories("s", n, states=3, field=[0.1, 0.0, 0.0])
        graph.add(Potts(c[i], c[j], coupling=-3.0))
    plain = infer(graph, schedule="flooding")
    adaptive = infer(graph, schedule="flooding", damping="adaptive", max_sweeps=3000)
    damped = infer(graph, schedule="flooding", damping=0.7, max_sweeps=3000)
    assert not plain.converged and adaptive.converged and damped.converged
    assert adaptive.log_partition == pytest.approx(damped.log_partition, abs=tol.LOOPY)
    assert infer(graph, damping="adaptive", schedule="sequential").converged
    with pytest.raises(ValueError, match="`damping` must be 'adaptive'"):
        infer(graph, damping="more")
