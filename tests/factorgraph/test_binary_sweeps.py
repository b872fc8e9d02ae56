"""Pairs of variables with two states each, sent by the sweeps over spins: every message as that of the general ones."""

import numpy as np
import pytest
import tolerances as tol
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from factorgraph import Graph, Pairwise, Potts, PSpin, Table, exact, infer
from factorgraph.engine.binary_sweeps import BinarySweeps
from factorgraph.engine.category_sweeps import CategorySweeps
from factorgraph.engine.constants import WithConstants, first_messages
from factorgraph.engine.damping import Damping
from factorgraph.engine.inputs import potentials_of
from factorgraph.engine.sweeps import ScheduledSweeps
from factorgraph.engine.unroll import unroll

SIZE = 6
seeds = st.integers(0, 2**32 - 1)


def loops(seed, unary=True):
    """Categories of two states and spins: own tables, shared ones, Potts and Ising couplings, and fields."""
    rng = np.random.default_rng(seed)
    graph = Graph()
    c = graph.categories("c", SIZE, states=2, field=rng.normal(size=(SIZE, 2)))
    s = graph.spins("s", SIZE, field=rng.normal(size=SIZE))
    graph.add(Table(c[:-1], c[1:], log_table=rng.normal(size=(SIZE - 1, 2, 2))))
    graph.add(Potts(c[:2], c[-2:], coupling=rng.normal(size=2)))
    graph.add(Table(c, s, log_table=rng.normal(size=(2, 2))))
    graph.add(Pairwise(s[:-1], s[1:], coupling=rng.normal(size=SIZE - 1)))
    if unary:
        graph.add(PSpin(s[2], coupling=0.4))
        graph.add(Table(c[1], table=[0.2, 0.9]))
    return graph


def observed(seed):
    rng = np.random.default_rng(seed)
    known = rng.random((2, SIZE)) < 0.2
    return {
        "c": np.where(known[0], rng.integers(0, 2, SIZE), np.nan),
        "s": np.where(known[1], rng.choice([-1.0, 1.0], SIZE), np.nan),
    }


def general(graph, evidence, schedule, damping, maximum, sweeps):
    """Messages, and the change in the last sweep."""
    graph = unroll(graph.model)
    state = ScheduledSweeps(
        graph, potentials_of(graph, evidence, {}, {}), first_messages(graph, None, maximum), Damping(damping), maximum,
        schedule=schedule, rng=np.random.default_rng(0),
    )  # fmt: skip
    with np.errstate(all="ignore"):
        for _ in range(sweeps):
            change = state.sweep(1)[0]
    B = state.messages()[0]
    own = np.flatnonzero(graph.category_of[graph.ends] >= 0).reshape(-1, 2)
    B[own] -= np.max(B[own], axis=1, keepdims=True) if maximum else logsumexp(B[own], axis=1, keepdims=True)
    return B, change  # damping leaves a common term, which is taken out


def state_of(result):
    return result.state.sweeps if isinstance(result.state, WithConstants) else result.state


@settings(max_examples=25)
@given(
    seed=seeds,
    schedule=st.sampled_from(["flooding", "sequential", "random", "forward-backward"]),
    damping=st.sampled_from([0.0, 0.4]),
    maximum=st.booleans(),
    known=st.booleans(),
)
def test_messages_of_pairs_of_two_states(seed, schedule, damping, maximum, known):
    graph, evidence = loops(seed), observed(seed) if known else {}
    options = {"schedule": schedule, "damping": damping, "maximum": maximum, "observed": evidence, "tolerance": 0.0}
    result = infer(graph, max_sweeps=3, rng=0, **options)
    assert isinstance(state_of(result), BinarySweeps)
    B, _ = general(graph, evidence, schedule, damping, maximum, 3)
    np.testing.assert_allclose(result.B, B, atol=tol.COMPILED * 100)
    if schedule != "random":  # which begins its orders anew
        B, _ = general(graph, evidence, schedule, damping, maximum, 7)
        again = infer(graph, max_sweeps=4, start=result, **options)
        np.testing.assert_allclose(again.B, B, atol=tol.COMPILED * 100)


@settings(max_examples=15)
@given(seed=seeds, known=st.booleans())
def test_beliefs_of_pairs_of_two_states(seed, known):
    """From the totals of spins, as from the messages; and those of the general sweeps where these have settled."""
    graph, evidence = loops(seed), observed(seed) if known else {}
    result = infer(graph, schedule="flooding", damping=0.3, observed=evidence, tolerance=1e-12, max_sweeps=1000)
    other = infer(graph, schedule="residual", observed=evidence, tolerance=1e-12, max_sweeps=1000)
    assert isinstance(state_of(result), BinarySweeps) and not isinstance(state_of(other), BinarySweeps)
    assert result.converged and other.converged
    np.testing.assert_allclose(result["c"].probabilities, other["c"].probabilities, atol=1e-9)
    np.testing.assert_allclose(result["s"].mean, other["s"].mean, atol=1e-9)
    assert result.log_partition == pytest.approx(other.log_partition, abs=1e-8)


def test_the_change_of_a_sweep_and_where_it_is():
    """That of half the log-odds: at least half of that of logarithms of probabilities, relative if these are large."""
    graph = loops(3, unary=False)
    result = infer(graph, schedule="flooding", max_sweeps=5, tolerance=0.0)
    _, change = general(graph, {}, "flooding", 0.0, False, 5)
    assert 0.4 * change <= result.residuals[-1] <= 1.1 * change * max(1.0, np.abs(result.B).max())
    sweeps = state_of(result)
    before = sweeps.messages()[0].copy()
    _, edge = sweeps.sweep(1)
    moved = np.abs(sweeps.messages()[0] - before)
    assert moved[edge : edge + 2].max() >= 0.4 * moved.max()  # of a category both states


def test_zeros_and_extreme_tables_are_left_to_other_sweeps():
    """And are as exact there as before."""
    for log_table in ([[0.0, -np.inf], [0.3, 0.1]], [[0.0, 700.0], [0.0, 0.0]]):
        graph = Graph()
        c = graph.categories("c", 4, states=2, field=[0.3, -0.1])
        graph.add(Table(c, c[[1, 2, 3, 0]], log_table=log_table))
        result = infer(graph, schedule="flooding", damping=0.3, max_sweeps=500)
        assert not isinstance(result.state, BinarySweeps | CategorySweeps)
        truth = exact(graph)
        assert np.isfinite(result["c"].probabilities).all()
        np.testing.assert_array_equal(result["c"].mode, truth["c"].mode)
