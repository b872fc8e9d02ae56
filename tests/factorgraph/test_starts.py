"""Runs that go on from others: after factors were added or left out, with some of them held."""

import numpy as np
import pytest
import tolerances as tol
from hypothesis import given, settings
from hypothesis import strategies as st

from factorgraph import (
    Allowed,
    ContradictionError,
    Graph,
    Linear,
    Neurons,
    Pairwise,
    Parity,
    Potts,
    Table,
    infer,
)
from factorgraph.channels import Probit

SEEDS = st.integers(0, 2**16)


def mixed(rng, more):
    """A loopy graph of spins, categories and reals; with ``more`` also others' neighbours, put before and between."""
    graph = Graph()
    if more:
        graph.spins("new", 3, field=0.3)
    s, c = graph.spins("s", 6, field=rng.normal(size=6)), graph.categories("c", 4, states=3, field=rng.normal(size=3))
    x = graph.reals("x", 3, precision=2.0, field=rng.normal(size=3))
    factors = [
        Pairwise(s, s[(np.arange(6) + 1) % 6], coupling=rng.normal(size=6) / 2),
        Potts(c, c[(np.arange(4) + 1) % 4], coupling=0.4),
        Table(c[0], s[2], table=rng.random((3, 2)) + 0.3),
        Linear(x[0], s[1], coefficients=[1.0, -0.5], noise=0.8),
        Pairwise(x, x[[1, 2, 0]], coupling=0.3),
    ]
    if more:
        factors.insert(0, Pairwise(s[0], s[3], coupling=0.2))
        factors.append(Linear(x[2], x[0], coefficients=[1.0, 0.3], noise=1.0))
    for factor in factors:
        graph.add(factor)
    return graph, factors


@settings(max_examples=5, deadline=None, derandomize=True)
@given(SEEDS)
def test_factors_and_variables_may_be_added_and_left_out(seed):
    graphs = [mixed(np.random.default_rng(seed), more) for more in (False, True)]
    for (old, factors), (new, others) in (graphs, graphs[::-1]):
        start = infer(old, schedule="flooding", max_sweeps=500, tolerance=1e-11, damping=0.2)
        held = infer(new, start=start, schedule="flooding", max_sweeps=1, frozen=[others[-3], others[-4]])
        kept = {type(f): f for f in factors}
        for factor in (others[-3], others[-4]):
            for slot in range(2):
                twin = kept[type(factor)]
                np.testing.assert_array_equal(held.sent(factor, slot).B, start.sent(twin, slot).B)
        cold = infer(new, schedule="flooding", tolerance=1e-11, damping=0.2, max_sweeps=500)
        warm = infer(new, start=start, schedule="flooding", tolerance=1e-11, damping=0.2, max_sweeps=500)
        assert warm.converged and cold.converged
        assert warm.log_partition == pytest.approx(cold.log_partition, abs=tol.LOOPY)


def test_one_more_factor_of_a_growing_group_needs_few_sweeps():
    graph, rng = Graph(), np.random.default_rng(0)
    s = graph.spins("s", 200, field=rng.normal(size=200))
    couple = graph.one_by_one(Pairwise, s, s)
    for _ in range(300):
        i, j = rng.choice(200, 2, replace=False)
        couple(i, j, 0.3)
    start = infer(graph, tolerance=1e-8)
    couple(0, 1, 1e-6)
    cold, warm = infer(graph, tolerance=1e-8), infer(graph, tolerance=1e-8, start=start)
    assert warm.sweeps * 3 < cold.sweeps
    np.testing.assert_allclose(warm["s"].mean, cold["s"].mean, atol=1e-6)


def test_equal_factors_keep_their_order():
    graph = Graph()
    s = graph.spins("s", 2, field=[0.5, -0.3])
    graph.add(Pairwise(s[[0, 0]], s[[1, 1]], coupling=[0.2, 0.9]))
    start = infer(graph)
    graph.add(Pairwise(s[0], s[1], coupling=0.0))
    last = graph.model.factors[0]
    again = infer(graph, start=start, frozen=[last], schedule="flooding")
    np.testing.assert_array_equal(again.sent(last, 0).B, start.sent(last, 0).B)


@pytest.mark.parametrize("change", ["left out", "added", "field"])
def test_certainty_is_kept_only_while_its_cause_is_there(change):
    graph = Graph()
    c = graph.categories("c", 3, states=3)
    graph.add(Table(c[:-1], c[1:], table=np.eye(3)))
    rule = Allowed(c[0], configurations=[[1]])
    given = {"c": np.array([[-np.inf, 0.0, -np.inf], [0.0] * 3, [0.0] * 3])}
    if change != "field":
        graph.add(rule)
    start = infer(graph, schedule="flooding", fields=given if change == "field" else None)
    np.testing.assert_allclose(start["c"].probabilities[:, 1], 1.0)
    new = Graph()
    d = new.categories("c", 3, states=3)
    new.add(Table(d[:-1], d[1:], table=np.eye(3)))
    if change == "added":
        new.add(Allowed(d[0], configurations=[[1]]))
        new.add(Potts(d[0], d[2], coupling=0.1))
    end = infer(new, schedule="flooding", start=start)
    np.testing.assert_allclose(end["c"].probabilities[:, 1], 1.0 if change == "added" else 1 / 3)


@pytest.mark.parametrize("schedule", ["flooding", "sequential", "random", "residual", "auto"])
def test_frozen_messages_are_weights_of_their_variables(schedule):
    rng = np.random.default_rng(3)
    graph, factors = mixed(rng, True)
    start = infer(graph, schedule="flooding", tolerance=1e-11, damping=0.2)
    held = factors[1:4]
    end = infer(graph, start=start, frozen=held, fields={"s": 0.4}, schedule=schedule, tolerance=1e-11)
    assert end.converged and not end.exact
    rest = Graph()
    rest.spins("new", 3, field=0.3)
    s, c, x = (rest.spins("s", 6), rest.categories("c", 4, states=3), rest.reals("x", 3, precision=2.0))
    for factor in factors:
        if factor not in held:
            own = [{"s": s, "c": c, "x": x}[argument.name][argument.indices.ravel()] for argument in factor.arguments]
            rest.add(factor.from_rows(own, factor.rows, {}))
    own = {name: graph.model.variables[name].field for name in ("s", "c", "x")}
    fields = {"s": own["s"] + 0.4, "c": np.broadcast_to(own["c"], (4, 3)).copy(), "x": own["x"].copy()}
    for factor in held:
        for slot, argument in enumerate(factor.arguments):
            np.add.at(fields[argument.name], argument.indices, start.sent(factor, slot).B)
    truth = infer(rest, fields=fields, schedule="flooding", tolerance=1e-11)
    np.testing.assert_allclose(end["s"].mean, truth["s"].mean, atol=tol.LOOPY)
    np.testing.assert_allclose(end["c"].probabilities, truth["c"].probabilities, atol=tol.LOOPY)
    np.testing.assert_allclose(end["x"].mean, truth["x"].mean, atol=tol.LOOPY)


def test_everything_may_be_frozen_and_batches_too():
    graph, factors = mixed(np.random.default_rng(1), False)
    start = infer(graph, damping=0.2)
    end = infer(graph, start=start, frozen=factors)
    assert end.converged
    np.testing.assert_allclose(end["x"].variance, start["x"].variance, atol=1e-7)
    fields = {"s": np.random.default_rng(2).normal(size=(3, 6))}
    batch = infer(graph, batch=3, fields=fields, damping=0.2)
    moved = infer(graph, batch=3, fields=fields, start=batch, frozen=factors[:1], damping=0.2)
    np.testing.assert_allclose(moved["s"].mean, batch["s"].mean, atol=1e-6)
    assert moved.graph.copies == 3


def test_what_cannot_be_frozen_is_refused():
    graph, factors = mixed(np.random.default_rng(1), False)
    start = infer(graph, damping=0.2)
    with pytest.raises(ValueError, match="`start` must be given where factors are `frozen`"):
        infer(graph, frozen=factors[:1])
    for wrong, need in ((factors[0], "a sequence of factors"), ([3], "factors of this model"), ("s", "a sequence")):
        with pytest.raises(ValueError, match=f"`frozen` must be {need}"):
            infer(graph, start=start, frozen=wrong)
    graph = Graph()
    w, z, y = graph.spins("w", 3), graph.spins("z"), graph.spins("y", 3)
    graph.add(Neurons(z, w.columns, y.columns, channel=Probit(1.0)))
    with pytest.raises(ValueError, match="`frozen` must be factors whose messages are weights of variables"):
        infer(graph, start=infer(graph), frozen=graph.model.factors)
    graph = Graph()
    s = graph.spins("s", 2)
    graph.add(Parity(s[0], s[1]))
    with pytest.raises(ContradictionError, match="frozen messages that contradict each other"):
        infer(
            graph,
            start=([np.inf, 0.0], [0.0, 0.0]),
            frozen=graph.model.factors,
            observed={"s": [-1, np.nan]},
        )
