"""Variables with any number of states: against dense tables of all joint states, and against spins."""

import itertools

import numpy as np
import pytest
import tolerances as tol
from hypothesis import given, settings
from hypothesis import strategies as st
from random_tables import draw, probabilities, truth
from scipy.special import logsumexp

from factorgraph import (
    Allowed,
    ContradictionError,
    Function,
    Graph,
    Linear,
    Logical,
    ModelError,
    Pairwise,
    Parity,
    Potts,
    PSpin,
    Table,
    check_factor,
    exact,
    from_bipartite,
    infer,
    load_model,
    save_model,
    to_networkx,
)
from factorgraph.engine.binary_sweeps import BinarySweeps
from factorgraph.engine.category_sweeps import CategorySweeps, CategoryTwoPass
from factorgraph.engine.constants import WithConstants, first_messages
from factorgraph.engine.damping import Damping
from factorgraph.engine.inputs import potentials_of
from factorgraph.engine.sweeps import ScheduledSweeps
from factorgraph.engine.unroll import unroll
from factorgraph.factors.logical import Counted
from factorgraph.factors.table import Tabulated
from factorgraph.messages.natural import Incoming
from factorgraph.reference import exact as reference

quick = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32 - 1)
LOOPY = ["flooding", "sequential", "residual", "random", "forward-backward"]


def agree(result, spec, nodes, marginals, tolerance=tol.TREE):
    for i, node in enumerate(nodes):
        np.testing.assert_allclose(probabilities(result, spec, node, i), marginals[i], atol=tolerance)


# ---- exactness -------------------------------------------------------------------------------------------------------


@quick
@given(seeds)
def test_forests_are_exact(seed):
    spec = draw(seed)
    graph, nodes = spec.model()
    log_z, marginals, entropy = truth(spec.dense())
    result = infer(graph)
    assert result.exact
    assert result.log_partition == pytest.approx(log_z, abs=tol.TREE)
    assert result.entropy == pytest.approx(entropy, abs=tol.TREE)
    agree(result, spec, nodes, marginals)
    low, high = result.bounds
    assert low - tol.TREE <= log_z <= high + tol.TREE


@quick
@given(seeds, st.sampled_from(LOOPY), st.sampled_from([0.0, 0.4]))
def test_every_schedule_finds_what_two_passes_find(seed, schedule, damping):
    spec = draw(seed, 5)
    graph, nodes = spec.model()
    result = infer(graph, schedule=schedule, damping=damping, **tol.TIGHT)
    assert result.converged
    log_z, marginals, _ = truth(spec.dense())
    assert result.log_partition == pytest.approx(log_z, abs=tol.LOOPY)
    agree(result, spec, nodes, marginals, tol.LOOPY)


@quick
@given(seeds)
def test_both_exact_solutions(seed):
    spec = draw(seed, 5, forest=False)
    graph, nodes = spec.model()
    log_z, marginals, _ = truth(spec.dense())
    unrolled = unroll(graph.model)
    weights = potentials_of(unrolled, {}, {}, {})
    discrete = reference._free_discrete(unrolled, weights)
    reals = np.empty(0, dtype=np.intp)
    for solution in (
        exact(graph),
        reference._enumerate(unrolled, weights, discrete, reals),
        reference._eliminate(unrolled, weights, discrete, *reference._decomposition(unrolled, discrete)),
    ):
        assert solution.log_partition == pytest.approx(log_z, abs=tol.TREE)
        agree(solution, spec, nodes, marginals)
        for i, (node, own) in enumerate(zip(nodes, marginals, strict=True)):
            if spec.states[i]:
                found = probabilities(solution, spec, node, i)
                assert np.all(found >= 0.0)
                assert np.all(found[own == 0.0] == 0.0)


@quick
@given(seeds, st.booleans())
def test_the_most_probable_state(seed, forest):
    spec = draw(seed, 5, forest=forest)
    graph, nodes = spec.model()
    dense = spec.dense()
    result = infer(graph, maximum=True, schedule="auto" if forest else "sequential")
    state = tuple(int(probabilities(result, spec, node, i).argmax()) for i, node in enumerate(nodes))
    if forest:
        assert dense[state] == pytest.approx(dense.max(), abs=tol.TREE)
    if np.isfinite(dense[state]) or forest:
        assert result.log_weight == pytest.approx(dense[state], abs=tol.TREE)
    for i, node in enumerate(nodes):
        assert set(probabilities(result, spec, node, i)) == {0.0, 1.0}


@quick
@given(seeds)
def test_joint_marginals_of_factors(seed):
    spec = draw(seed, 5)
    graph, _ = spec.model()
    result, dense = infer(graph), spec.dense()
    p = np.exp(dense - logsumexp(dense))
    for factor, (members, _, _) in zip(graph.model.factors, spec.factors, strict=True):
        if not isinstance(factor, (Table, Allowed, Potts, Function)):
            continue
        others = tuple(a for a in range(dense.ndim) if a not in members)
        joint = np.transpose(p.sum(axis=others), np.argsort(np.argsort(members)))
        np.testing.assert_allclose(result.pairs(factor), joint, atol=tol.TREE)


@quick
@given(seeds)
def test_clamping_is_conditioning(seed):
    spec = draw(seed, 5, forest=False, factors=6)
    graph, nodes = spec.model()
    _, marginals, _ = truth(spec.dense())
    rng, dense, observed = np.random.default_rng(seed), spec.dense(), {}
    for i in (0, 1):
        value = int(rng.choice(np.flatnonzero(marginals[i] > 0)))
        if not np.isfinite(np.take(dense, [value], axis=i)).any():
            return
        clamped = np.full(dense.shape, -np.inf)
        index = [slice(None)] * dense.ndim
        index[i] = value
        clamped[tuple(index)] = dense[tuple(index)]
        dense = clamped
        name = nodes[i].name
        given_ = observed.setdefault(name, np.full(graph.model.shape(name), np.nan))
        given_[int(nodes[i].indices)] = value if spec.states[i] else 1 - 2 * value
    if np.isneginf(dense).all():
        with pytest.raises(ContradictionError):
            exact(graph, observed=observed)
        return
    log_z, marginals, _ = truth(dense)
    solution = exact(graph, observed=observed)
    assert solution.log_partition == pytest.approx(log_z, abs=tol.TREE)
    agree(solution, spec, nodes, marginals)
    if unroll(graph.model).is_forest:
        result = infer(graph, observed=observed)
        assert result.log_partition == pytest.approx(log_z, abs=tol.TREE)
        agree(result, spec, nodes, marginals)


# ---- invariances -----------------------------------------------------------------------------------------------------


def loopy(rng, q, n=7):
    """Fields (n, q), pairs (F, 2) with loops and log-tables (F, q, q)."""
    pairs = np.array([(i, (i + 1) % n) for i in range(n)] + [(0, 3), (2, 5)])
    return rng.normal(size=(n, q)), pairs, 0.7 * rng.normal(size=(len(pairs), q, q))


def tables(field, pairs, logs):
    graph = Graph()
    c = graph.categories("c", len(field), states=field.shape[1], field=field)
    graph.add(Table(*c[pairs].columns, log_table=logs))
    return graph


@quick
@given(seeds)
def test_two_states_are_spins(seed):
    rng = np.random.default_rng(seed)
    h, pairs, J = rng.normal(size=7), loopy(rng, 2)[1], 0.5 * rng.normal(size=9)
    spins, states, equal = Graph(), Graph(), Graph()
    s = spins.spins("s", 7, field=h)
    spins.add(Pairwise(*s[pairs].columns, coupling=J))
    field = np.stack([h, -h], axis=1)
    c = states.categories("s", 7, states=2, field=field)
    states.add(Table(*c[pairs].columns, log_table=J[:, None, None] * np.array([[1, -1], [-1, 1]])))
    d = equal.categories("s", 7, states=2, field=field)
    equal.add(Potts(*d[pairs].columns, coupling=2 * J))
    results = [infer(graph, **tol.TIGHT) for graph in (spins, states, equal)]
    probability = (1 + results[0]["s"].mean) / 2
    for result, shift in zip(results, (0.0, 0.0, J.sum()), strict=True):
        assert result.log_partition - shift == pytest.approx(results[0].log_partition, abs=tol.LOOPY)
        if result is not results[0]:
            np.testing.assert_allclose(result["s"].probabilities[:, 0], probability, atol=tol.LOOPY)
    maxima = [infer(graph, maximum=True, schedule="sequential", damping=0.3) for graph in (spins, states, equal)]
    if all(result.converged for result in maxima):
        weights = [result.log_weight - shift for result, shift in zip(maxima, (0.0, 0.0, J.sum()), strict=True)]
        assert weights == pytest.approx([weights[0]] * 3)


@quick
@given(seeds)
def test_names_of_states_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    field, pairs, logs = loopy(rng, 4)
    order = np.array([rng.permutation(4) for _ in field])
    moved = np.take_along_axis(field, order, axis=1)
    turned = np.stack([logs[f][np.ix_(order[a], order[b])] for f, (a, b) in enumerate(pairs)])
    one, other = infer(tables(field, pairs, logs), **tol.TIGHT), infer(tables(moved, pairs, turned), **tol.TIGHT)
    assert one.converged and other.log_partition == pytest.approx(one.log_partition, abs=tol.LOOPY)
    expected = np.take_along_axis(one["c"].probabilities, order, axis=1)
    np.testing.assert_allclose(other["c"].probabilities, expected, atol=tol.LOOPY)


def test_a_table_of_ones_is_no_edge_and_states_that_cannot_be_told_merge():
    rng = np.random.default_rng(0)
    field, pairs, logs = loopy(rng, 3)
    bare = infer(tables(field, pairs, logs), **tol.TIGHT)
    graph = tables(field, pairs, logs)
    d = graph.categories("d", 2, states=5)
    graph.add(Table(d[0], d[1], table=np.ones((5, 5))))
    both = infer(graph, **tol.TIGHT)
    assert both.log_partition == pytest.approx(bare.log_partition + 2 * np.log(5), abs=tol.LOOPY)
    np.testing.assert_allclose(both["d"].probabilities, 0.2, atol=tol.TREE)
    doubled = np.concatenate([field, field[:, :1]], axis=1)  # the last state does all that the first one does
    doubled[:, [0, 3]] -= np.log(2)
    same = np.concatenate([logs, logs[:, :1]], axis=1)
    same = np.concatenate([same, same[:, :, :1]], axis=2)
    merged = infer(tables(doubled, pairs, same), **tol.TIGHT)
    assert merged.log_partition == pytest.approx(bare.log_partition, abs=tol.LOOPY)
    halves = merged["c"].probabilities
    np.testing.assert_allclose(halves[:, 0] + halves[:, 3], bare["c"].probabilities[:, 0], atol=tol.LOOPY)


def test_bethe_is_stationary():
    """The derivative of log Z by a field is the probability: messages are at a stationary point."""
    rng = np.random.default_rng(4)
    field, pairs, logs = loopy(rng, 3)
    graph, step = tables(field, pairs, logs), 1e-5
    p = infer(graph, **tol.TIGHT)["c"].probabilities
    for place in [(0, 1), (3, 2)]:
        change = np.zeros(field.shape)
        change[place] = step
        up, down = (infer(graph, fields={"c": sign * change}, **tol.TIGHT).log_partition for sign in (1, -1))
        assert (up - down) / (2 * step) == pytest.approx(p[place], abs=tol.SLOPE)


# ---- extremes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("states", [(2, 3), (0, 4), (3, 2, 0)])
def test_many_extreme_tables(states):
    """10⁵ tables with zeros and entries up to ±1000: the sums of products and the terms one by one, no NaN."""
    rng, F = np.random.default_rng(1), 10**5
    sizes = tuple(q or 2 for q in states)
    kind = Tabulated(tuple(spin for q in states for spin in ([False] * q or [True])), states)
    logs = rng.normal(size=(F, *sizes)) * 10.0 ** rng.uniform(-2, 3, (F, *(1,) * len(sizes)))
    logs[rng.random(logs.shape) < 0.2] = -np.inf
    laws, first = [], []
    for q in states:
        own = rng.normal(size=(F, q or 2)) * 10.0 ** rng.uniform(-2, 3, (F, 1))
        own[rng.random(own.shape) < 0.1] = -np.inf
        own[:, 0] = np.where(np.isneginf(own).all(axis=1), 0.0, own[:, 0])
        own -= logsumexp(own, axis=1, keepdims=True)
        laws.append(own)
        with np.errstate(invalid="ignore"):
            first.append(own if q else 0.5 * (own[:, :1] - own[:, 1:]))
    incoming = Incoming(np.concatenate(first, axis=1), np.zeros((F, 1)))
    parameters = (logs.reshape(F, -1),)
    weights = logs.copy()
    for a, own in enumerate(laws):
        weights = weights + own.reshape(F, *(-1 if b == a else 1 for b in range(len(states))))
    cuts = np.cumsum([max(1, q) for q in states])[:-1]
    for maximum, over in ((False, logsumexp), (True, np.max)):
        sent = np.split(kind.rule(parameters, incoming, maximum=maximum).B, cuts, axis=1)
        for a, (q, B) in enumerate(zip(states, sent, strict=True)):
            rest = logs.copy()
            for b, own in enumerate(laws):
                if b != a:
                    rest = rest + own.reshape(F, *(-1 if c == b else 1 for c in range(len(states))))
            expected = over(rest, axis=tuple(b + 1 for b in range(len(states)) if b != a))
            possible = np.isfinite(expected).any(axis=1)
            expected, got = expected[possible], B[possible]
            if q:
                expected = expected - over(expected, axis=1, keepdims=True)
            else:
                expected = 0.5 * (expected[:, :1] - expected[:, 1:])
            assert not np.isnan(got).any() and possible.mean() > 0.9
            np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-11)
    log_z = kind.log_partition(parameters, incoming)
    np.testing.assert_allclose(log_z, logsumexp(weights.reshape(F, -1), axis=1), rtol=1e-12, atol=1e-11)


@quick
@given(seeds, st.sampled_from([30.0, 300.0, 1000.0]))
def test_extreme_weights(seed, scale):
    spec = draw(seed, 5, scale=scale)
    graph, nodes = spec.model()
    log_z, marginals, _ = truth(spec.dense())
    result = infer(graph)
    assert result.log_partition == pytest.approx(log_z, rel=tol.TREE)
    agree(result, spec, nodes, marginals, 1e-8)


def test_many_states():
    rng = np.random.default_rng(2)
    graph = Graph()
    c = graph.categories("c", 6, states=50, field=1000 * rng.normal(size=(6, 50)))
    logs = 100 * rng.normal(size=(3, 50, 50))
    logs[rng.random(logs.shape) < 0.3] = -np.inf
    graph.add(Table(c[:3], c[1:4], log_table=logs))
    graph.add(Potts(c[3:5], c[4:], coupling=[40.0, -np.inf]))
    result, solution = infer(graph), exact(graph)
    assert result.exact and solution.method == "elimination"
    assert result.log_partition == pytest.approx(solution.log_partition, rel=tol.TREE)
    np.testing.assert_allclose(result["c"].probabilities, solution["c"].probabilities, atol=tol.TREE)


@quick
@given(seeds, st.sampled_from([1.0, 50.0, 1000.0]))
def test_potts_is_its_table(seed, scale):
    rng = np.random.default_rng(seed)
    q, J = int(rng.integers(2, 7)), scale * rng.normal()
    J = -np.inf if rng.random() < 0.3 else J
    field = scale * rng.normal(size=(2, q))
    field[:, 1:][rng.random((2, q - 1)) < 0.3] = -np.inf
    results = []
    for make in (lambda a, b: Potts(a, b, J), lambda a, b: Table(a, b, log_table=np.where(np.eye(q) > 0, J, 0.0))):
        graph = Graph()
        c = graph.categories("c", 2, states=q, field=field)
        graph.add(make(c[0], c[1]))
        try:
            results.append(infer(graph))
        except ContradictionError:
            results.append(None)
    if results[0] is None or results[1] is None:
        assert results[0] is results[1] and np.isneginf(J)
        return
    one, other = results
    assert one.log_partition == pytest.approx(other.log_partition, rel=tol.TREE)
    assert one.entropy == pytest.approx(other.entropy, abs=1e-9 * scale)
    np.testing.assert_allclose(one["c"].probabilities, other["c"].probabilities, atol=1e-9)
    np.testing.assert_allclose(*(r.pairs(r.graph.layout.model.factors[0]) for r in results), atol=1e-9)


# ---- ties ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("q, n", [(2, 6), (3, 5), (3, 8), (5, 7)])
def test_a_colouring_is_found_although_all_colours_are_alike(q, n):
    for ring in (False, True):
        graph = Graph()
        c = graph.categories("c", n, states=q)
        graph.add(Potts(c[:-1], c[1:], coupling=-np.inf))
        if ring:
            graph.add(Potts(c[n - 1], c[0], coupling=-np.inf))
        result = infer(graph, maximum=True)
        assert result.ties["c"].all() and "tied" in str(result)
        colours = result["c"].mode
        assert np.all(colours[1:] != colours[:-1]) and (not ring or colours[0] != colours[-1])
        assert result.log_weight == 0.0


# ---- runs ------------------------------------------------------------------------------------------------------------


def test_a_batch_is_its_runs():
    rng = np.random.default_rng(5)
    graph = tables(*loopy(rng, 3))
    fields = rng.normal(size=(4, 7, 3))
    fields[2, 0, 1] = -np.inf
    observed = np.full((4, 7), np.nan)
    observed[1, 2], observed[3, [0, 4]] = 2, [1, 0]
    batch = infer(graph, batch=4, fields={"c": fields}, observed={"c": observed}, **tol.TIGHT)
    assert batch["c"].probabilities.shape == (4, 7, 3) and batch["c"].mode.shape == batch["c"].entropy.shape == (4, 7)
    runs = [
        infer(graph, fields={"c": f}, observed={"c": o}, **tol.TIGHT) for f, o in zip(fields, observed, strict=True)
    ]
    assert batch.log_partition == pytest.approx(sum(run.log_partition for run in runs), abs=tol.LOOPY)
    for row, run in zip(batch["c"].probabilities, runs, strict=True):
        np.testing.assert_allclose(row, run["c"].probabilities, atol=tol.LOOPY)
    assert runs[1]["c"].mode[2] == 2 and runs[1]["c"].entropy[2] == 0.0


def test_a_run_is_continued_with_other_evidence():
    rng = np.random.default_rng(6)
    graph = tables(*loopy(rng, 3))
    first = infer(graph, observed={"c": np.array([0] + [np.nan] * 6)}, **tol.TIGHT)
    again = infer(graph, start=first, **tol.TIGHT)
    fresh = infer(graph, **tol.TIGHT)
    np.testing.assert_allclose(again["c"].probabilities, fresh["c"].probabilities, atol=tol.LOOPY)
    assert infer(graph, start=fresh).sweeps <= 5  # the first look at the change


def test_reinforcement_decides():
    rng = np.random.default_rng(7)
    graph = tables(*loopy(rng, 4))
    sure = [infer(graph, reinforcement=r)["c"].probabilities.max(axis=1).mean() for r in (0.0, 0.5, 2.0)]
    assert sure[0] < sure[1] < sure[2]


def test_one_table_for_all_is_not_copied():
    graph = Graph()
    c = graph.categories("c", 1000, states=3)
    graph.add(Table(c[:-1], c[1:], table=np.ones((3, 3))))
    assert unroll(graph.model).stacks[0].parameters[0].strides[0] == 0
    add = graph.one_by_one(Table, c, c, log_table=np.zeros((3, 3)))
    add(0, 2)
    assert len(unroll(graph.model).stacks[0].parameters[0]) == 1000


def test_models_in_files_and_networks(tmp_path):
    kinds = set()
    for seed in range(25):
        spec = draw(seed, 6)
        spec.factors = [f for f in spec.factors if "Function" not in f[2].__code__.co_names]
        graph, nodes = spec.model()
        kinds |= {type(factor) for factor in graph.model.factors}
        save_model(graph, tmp_path / "m")
        log_z, marginals, _ = truth(spec.dense())
        result = infer(load_model(tmp_path / "m"))
        assert result.log_partition == pytest.approx(log_z, abs=tol.TREE)
        agree(result, spec, nodes, marginals)
        assert infer(from_bipartite(to_networkx(graph))[0]).log_partition == pytest.approx(log_z, abs=tol.TREE)
    assert kinds >= {Table, Allowed, Potts}
    graph = Graph()
    s = graph.spins("s", 4, field=0.3)
    graph.add(Logical(s[:2], s[1:3], s[2:], relation="at-most", count=2, signs=[[1, -1, 1], [1, 1, -1]]))
    save_model(graph, tmp_path / "m")
    for again in (load_model(tmp_path / "m"), from_bipartite(to_networkx(graph))[0]):
        assert exact(again).log_partition == pytest.approx(exact(graph).log_partition, abs=tol.TREE)


# ---- many arguments --------------------------------------------------------------------------------------------------


def test_parity_and_logic_of_hundreds():
    n, rng = 400, np.random.default_rng(8)
    h = rng.normal(size=n) + 1.0
    for make, count in (
        (lambda s: Parity(*s, sign=-1), None),
        (lambda s: Logical(*s, relation="at-most", count=3), lambda k: k <= 3),
        (lambda s: Logical(*s, relation="exactly"), lambda k: k == 1),
        (lambda s: Logical(*s, relation="at-least", count=390), lambda k: k >= 390),
    ):
        graph = Graph()
        graph.add(make(graph.spins("s", n, field=h)))
        result = infer(graph)
        # The number of true ones by convolution, with and without the first.
        p = 1 / (1 + np.exp(-2 * h))
        log_count = [np.zeros(1)]
        for own in p[::-1]:
            old = log_count[-1]
            new = np.full(old.size + 1, -np.inf)
            new[:-1] = old + np.log1p(-own)
            new[1:] = np.logaddexp(new[1:], old + np.log(own))
            log_count.append(new)
        k = np.arange(n + 1)
        holds = (n - k) % 2 == 1 if count is None else np.array([count(i) for i in k])
        log_z = logsumexp(log_count[-1][holds]) + np.logaddexp(h, -h).sum()
        assert result.log_partition == pytest.approx(log_z, abs=1e-9)
        with_first = log_count[-2] + np.log(p[0])
        up = np.exp(logsumexp(with_first[holds[1:]]) - logsumexp(log_count[-1][holds]))
        assert (1 + result["s"].mean[0]) / 2 == pytest.approx(up, abs=1e-10)


RELATIONS = [("or", 1), ("and", 1), ("exactly", 0), ("exactly", 2), ("at-most", 0), ("at-most", 2), ("at-least", 1)]


@pytest.mark.parametrize("relation, count", [*RELATIONS, ("at-least", 3), ("at-most", 4)])
def test_logic(relation, count):
    graph = Graph()
    s = graph.spins("s", 4, field=[0.3, -0.2, 0.8, 0.1])
    graph.add(Logical(*s, relation=relation, count=count, signs=[1, -1, 1, -1]))
    assert check_factor(graph).largest < tol.RULE
    for observed in ({}, {"s": [1, np.nan, np.nan, np.nan]}):
        try:
            solution = exact(graph, observed=observed)
        except ContradictionError:
            with pytest.raises(ContradictionError):
                _ = infer(graph, observed=observed).log_partition
            continue
        result = infer(graph, observed=observed)
        assert result.exact and result.log_partition == pytest.approx(solution.log_partition, abs=tol.TREE)
        np.testing.assert_allclose(result["s"].mean, solution["s"].mean, atol=tol.TREE)
        best = infer(graph, observed=observed, maximum=True)
        assert np.isfinite(best.log_weight)


@quick
@given(seeds, st.sampled_from([0.1, 1.0, 10.0, 150.0, 500.0]), st.booleans(), st.booleans())
def test_gates_and_clauses_as_by_enumeration(seed, scale, output, certain):
    """One true argument is enough: closed forms up to large fields, the automaton beyond; certain arguments too."""
    rng = np.random.default_rng(seed)
    k, signs = 5, rng.choice([-1.0, 1.0], (1, 5))
    h = scale * rng.normal(size=(1, k))
    if certain:
        h[0, rng.integers(k)] = rng.choice([-np.inf, np.inf])
    kind = Counted((True,) * k, 1, 1, True, output)
    x = np.array(list(itertools.product([1.0, -1.0], repeat=k)))
    with np.errstate(invalid="ignore"):
        laws = np.minimum(0.0, 2 * h * x) - np.logaddexp(0.0, -np.abs(2 * h))  # log of e^{hx} / (2 cosh h)
    laws = np.where(np.isinf(h), np.where(x == np.sign(h), 0.0, -np.inf), laws)
    log_w = kind.log_factor((signs,), *x.T[:, None, :])[0]
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(
            kind.log_partition((signs,), Incoming(h, h))[0], logsumexp(log_w + laws.sum(axis=1)), rtol=1e-12, atol=1e-12
        )
        sent = kind.rule((signs,), Incoming(h, h)).B[0]
        for i in range(k):
            others = log_w + np.delete(laws, i, axis=1).sum(axis=1)
            up, down = logsumexp(others[x[:, i] > 0]), logsumexp(others[x[:, i] < 0])
            if up > -np.inf or down > -np.inf:
                np.testing.assert_allclose(sent[i], 0.5 * (up - down), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [1e10, 1e16, 1e300])
@pytest.mark.parametrize("schedule", ["auto", "flooding", "sequential", "residual"])
def test_probabilities_of_large_fields_have_the_sum_one(size, schedule):
    """log Σ e^{ℓ} = 1e16 + log 2 is 1e16: it must not be taken from ℓ at once."""
    graph = Graph()
    c = graph.categories("c", 3, states=3, field=[[size, -size, size], [0.0, 0.3, 0.0], [size, size, size]])
    graph.add(Potts(c[:-1], c[1:], coupling=0.5))
    result = infer(graph, schedule=schedule)
    np.testing.assert_allclose(result["c"].probabilities.sum(axis=1), 1.0)
    np.testing.assert_allclose(result["c"].probabilities[0], [0.5, 0.0, 0.5])


# ---- samples ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("forest", [True, False])
def test_samples_have_the_frequencies(forest):
    spec = draw(11, 5, forest=forest, factors=None if forest else 5)
    graph, nodes = spec.model()
    n = 4000 if forest else 400
    drawn = infer(graph).sample(n, rng=1)
    counts, dense = np.zeros(spec.values), spec.dense()
    columns = []
    for i, node in enumerate(nodes):
        own = drawn[node.name][:, int(node.indices)]
        columns.append(own if spec.states[i] else ((1 - own) / 2).astype(int))
    np.add.at(counts, tuple(columns), 1)
    p = np.exp(dense - logsumexp(dense))
    assert counts[p == 0].sum() == 0
    if forest:
        z = (counts - n * p)[p > 0] / np.sqrt(n * p[p > 0])
        assert (z**2).sum() < z.size + 6 * np.sqrt(2 * z.size)  # χ²


# ---- errors ----------------------------------------------------------------------------------------------------------


def build():
    graph = Graph()
    return graph, graph.categories("c", 3, states=3), graph.spins("s", 3), graph.reals("x", 3, precision=1.0)


WRONG = {
    "states": lambda g, c, s, x: g.categories("d", 2, states=1),
    "`field`": lambda g, c, s, x: g.categories("d", 2, states=3, field=np.zeros((2, 2))),
    "inf": lambda g, c, s, x: g.categories("d", 2, states=3, field=np.inf),
    "axis for each": lambda g, c, s, x: g.add(Table(c[0], c[1], table=np.ones(3))),
    "last axes": lambda g, c, s, x: g.add(Table(c[0], s[1], table=np.ones((3, 3)))),
    ">= 0": lambda g, c, s, x: g.add(Table(c[0], table=[1, -1, 1])),
    "not both": lambda g, c, s, x: g.add(Table(c[0], table=np.ones(3), log_table=np.ones(3))),
    "spins or categories": lambda g, c, s, x: g.add(Table(c[0], x[0], table=np.ones((3, 2)))),
    "same number of states": lambda g, c, s, x: g.add(Potts(c[0], s[0], coupling=1.0)),
    "`coupling`": lambda g, c, s, x: g.add(Potts(c[0], c[1], coupling=np.inf)),
    "`configurations`": lambda g, c, s, x: g.add(Allowed(c[0], s[0], configurations=[[3, 1]])),
    "1 or -1": lambda g, c, s, x: g.add(Allowed(c[0], s[0], configurations=[[2, 0]])),
    "one twice": lambda g, c, s, x: g.add(Allowed(c[0], configurations=[[1], [1]])),
    "must be spins": lambda g, c, s, x: g.add(Pairwise(c[0], s[0], coupling=1.0)),
    "scalars": lambda g, c, s, x: g.add(Linear(c[0], x[0])),
    "`relation`": lambda g, c, s, x: g.add(Logical(*s, relation="nor")),
    "`count`": lambda g, c, s, x: g.add(Logical(*s, relation="at-most", count=4)),
    "`signs`": lambda g, c, s, x: g.add(Logical(*s, relation="or", signs=0.5)),
    "differ": lambda g, c, s, x: g.add(Potts(c[0], c[0], coupling=1.0)),
    "2^16": lambda g, c, s, x: g.add(Function(lambda *v: 0.0, *g.categories("d", 2, states=300))),
}


@pytest.mark.parametrize("words", WRONG)
def test_wrong_models(words):
    with pytest.raises(ModelError) as caught:
        graph, *variables = build()
        WRONG[words](graph, *variables)
        unroll(graph.model)
    assert words in str(caught.value) or words in ("must be spins", "scalars"), caught.value


@pytest.mark.parametrize("values", [[3, 0, 0], [0.5, 0, 0], [-1, 0, 0], [0, 0], [[0, 1, 2]] * 2, [np.inf, 0, 0]])
def test_wrong_observations(values):
    graph, c, *_ = build()
    graph.add(Potts(c[0], c[1], coupling=1.0))
    with pytest.raises(ModelError, match="`observed"):
        infer(graph, observed={"c": values})


def test_impossible_evidence():
    graph, c, *_ = build()
    graph.add(Potts(c[0], c[1], coupling=-np.inf))
    with pytest.raises(ContradictionError, match="c"):
        infer(graph, observed={"c": [1, 1, np.nan]})
    with pytest.raises(ContradictionError, match=r"c\[2\]"):
        infer(graph, fields={"c": np.array([[0, 0, 0], [0, 0, 0], [-np.inf] * 3])})
    with pytest.raises(ModelError, match="`fields"):
        infer(graph, fields={"s": -np.inf})


# ---- compiled sweeps -------------------------------------------------------------------------------------------------


def general(graph, schedule, sweeps, observed=None, damping=0.0, maximum=False):
    """Messages of the general sweeps."""
    unrolled = unroll(graph.model)
    weights = potentials_of(unrolled, observed or {}, {}, {})
    start, rng = first_messages(unrolled, None, maximum), np.random.default_rng(0)
    slow = ScheduledSweeps(unrolled, weights, start, Damping(damping), maximum, schedule=schedule, rng=rng)
    slow.sweep(1) if schedule == "two-pass" else [slow.sweep(1) for _ in range(sweeps)]
    B = slow.messages()[0]
    for k, places in enumerate(unrolled.categories if damping else ()):  # damping leaves a common term
        own = np.flatnonzero(unrolled.category_of[unrolled.ends] == k).reshape(-1, places.shape[1])
        B[own] -= logsumexp(B[own], axis=1, keepdims=True)
    return B


def pairs_of(kind, rng, q, tree):
    """A random graph of pairs of one kind; on a tree with zeros and extreme entries."""
    n = 8
    field, size = rng.normal(size=(n, q)), 10.0 ** rng.uniform(0, 3 if tree else 0)
    ends = np.array([(i, int(rng.integers(i))) for i in range(1, n)] + ([] if tree else [(0, 5), (7, 1), (2, 6)]))
    ends = np.where(rng.random((len(ends), 1)) < 0.5, ends, ends[:, ::-1])
    graph = Graph()
    logs = size * rng.normal(size=(len(ends), q, q))
    if tree:
        field[rng.random(field.shape) < 0.2] = -np.inf
        field[:, 0] = 0.0
        logs[rng.random(logs.shape) < 0.2] = -np.inf
        logs[:, 0, 0] = 0.0
    c = graph.categories("c", n, states=q, field=size * field)
    a, b = c[ends].columns
    if kind == "potts":
        J = size * rng.normal(size=len(ends))
        graph.add(Potts(a, b, coupling=np.where(rng.random(len(ends)) < 0.2 * tree, -np.inf, J)))
    else:
        graph.add(Table(a, b, log_table=logs if kind == "own" else logs[0]))
    return graph


@quick
@given(seeds, st.sampled_from(["potts", "own", "shared"]), st.integers(2, 5))
def test_compiled_two_passes(seed, kind, q):
    rng = np.random.default_rng(seed)
    graph = pairs_of(kind, rng, q, True)
    for observed in ({}, {"c": np.where(rng.random(8) < 0.3, 0.0, np.nan)}):
        try:
            solution = exact(graph, observed=observed)
        except ContradictionError:
            with pytest.raises(ContradictionError):
                infer(graph, observed=observed)
            continue
        result = infer(graph, observed=observed)
        assert isinstance(result.state, CategoryTwoPass) and result.exact
        assert result.log_partition == pytest.approx(solution.log_partition, rel=tol.TREE, abs=tol.TREE)
        assert result.energy.log_partition == pytest.approx(solution.log_partition, rel=1e-9, abs=1e-9)
        np.testing.assert_allclose(result["c"].probabilities, solution["c"].probabilities, atol=1e-9)
        np.testing.assert_allclose(result.B, general(graph, "two-pass", 1, observed), rtol=1e-9, atol=1e-9)


@quick
@given(seeds, st.sampled_from(["potts", "own", "shared"]), st.integers(2, 5))
def test_compiled_flooding(seed, kind, q):
    graph = pairs_of(kind, np.random.default_rng(seed), q, False)
    few = infer(graph, schedule="flooding", max_sweeps=3)
    assert isinstance(few.state, CategorySweeps if q > 2 else BinarySweeps)
    np.testing.assert_allclose(few.B, general(graph, "flooding", 3), atol=tol.COMPILED * 100)
    again = infer(graph, schedule="flooding", start=few, max_sweeps=4)
    np.testing.assert_allclose(again.B, general(graph, "flooding", 7), atol=tol.COMPILED * 100)
    np.testing.assert_allclose(again["c"].probabilities, np.exp(normalised_beliefs(again)), atol=tol.TREE)


def normalised_beliefs(result):
    H = result.beliefs.H.reshape(8, -1)
    return H - logsumexp(H, axis=1, keepdims=True)


def test_what_products_cannot_carry_is_left_to_logarithms():
    graph = pairs_of("own", np.random.default_rng(1), 3, False)
    result = infer(graph, schedule="flooding", fields={"c": 400.0 * np.eye(3)[0]})
    assert not isinstance(result.state, CategorySweeps) and result.converged


def mix(rng, tree):
    """Pairs of every kind between spins and categories, with factors of one argument; on a tree with zeros."""
    graph = Graph()
    s, c = graph.spins("s", 5, field=rng.normal(size=5)), graph.categories("c", 5, states=3, field=rng.normal(size=3))
    d = graph.categories("d", 2, states=2)
    logs = rng.normal(size=(4, 2, 3))
    graph.add(Table(c[:3], table=rng.uniform(0.2, 1.0, size=3)))
    graph.add(PSpin(s[1], coupling=0.4))
    graph.add(Pairwise(s[:2], s[1:3], coupling=rng.normal(size=2)))
    graph.add(Table(s[:4], c[:4], log_table=logs if tree else logs[0]))
    graph.add(Potts(c[3], c[4], coupling=-np.inf if tree else 0.7))
    graph.add(Allowed(d[0], s[2], configurations=[[0, 1], [1, -1]], log_weights=[0.3, 0.1]))
    graph.add(PSpin(s[3], s[4], coupling=-0.8))
    graph.add(Function(lambda a, b: 0.3 * a * (b - 1), c[4], d[1]))
    if not tree:
        graph.add(Table(c[:2], c[2:4], log_table=rng.normal(size=(3, 3))))
        graph.add(Table(d[0], d[1], log_table=rng.normal(size=(2, 2))))
    return graph


@quick
@given(seeds, st.booleans())
def test_two_passes_over_a_mix(seed, maximum):
    rng = np.random.default_rng(seed)
    graph = mix(rng, True)
    for observed in ({}, {"s": [1, np.nan, np.nan, -1, np.nan], "c": [np.nan, 2, np.nan, np.nan, np.nan]}):
        result, truth = infer(graph, observed=observed, maximum=maximum), exact(graph, observed=observed)
        assert isinstance(result.state, WithConstants) and isinstance(result.state.sweeps, CategoryTwoPass)
        sweeps = general(graph, "two-pass", 1, observed, maximum=maximum)
        np.testing.assert_allclose(result.B, sweeps, atol=tol.TREE)
        if not maximum:
            assert result.log_partition == pytest.approx(truth.log_partition, abs=tol.TREE)
            for name in ("c", "d"):
                np.testing.assert_allclose(result[name].probabilities, truth[name].probabilities, atol=tol.TREE)
            np.testing.assert_allclose(result["s"].mean, truth["s"].mean, atol=tol.TREE)


@quick
@given(seeds, st.sampled_from(["flooding", "sequential"]), st.sampled_from([0.0, 0.4]))
def test_sweeps_over_a_mix(seed, schedule, damping):
    rng = np.random.default_rng(seed)
    graph = mix(rng, False)
    graph._factors = [f for f in graph._factors if not isinstance(f, Allowed)]  # zeros
    for observed in ({}, {"s": [1, np.nan, np.nan, -1, np.nan], "c": [np.nan, 2, np.nan, np.nan, np.nan]}):
        options = {"schedule": schedule, "damping": damping, "observed": observed, "tolerance": 0.0}
        result = infer(graph, max_sweeps=3, **options)
        assert isinstance(result.state.sweeps, CategorySweeps)
        np.testing.assert_allclose(result.B, general(graph, schedule, 3, observed, damping), atol=tol.COMPILED * 100)
        again = infer(graph, max_sweeps=4, start=result, **options)
        np.testing.assert_allclose(again.B, general(graph, schedule, 7, observed, damping), atol=tol.COMPILED * 100)


def test_a_random_order_is_compiled_too():
    graph = pairs_of("own", np.random.default_rng(1), 3, False)
    result = infer(graph, schedule="random", max_sweeps=4, tolerance=0.0, damping=0.2)
    assert isinstance(result.state, CategorySweeps)
    np.testing.assert_allclose(result.B, general(graph, "random", 4, None, 0.2), atol=tol.COMPILED * 100)
