"""Compiled sweeps against the general ones: message by message, and which runs they are for."""

import itertools

import numpy as np
import pytest
import tolerances as tol
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import forest, gaussian, ising

from factorgraph import ContradictionError, Graph, Linear, Pairwise, Parity, PSpin, Status, exact, infer
from factorgraph.engine.compiled_sweeps import compiled_sweeps
from factorgraph.engine.constants import WithConstants, first_messages
from factorgraph.engine.damping import Damping
from factorgraph.engine.inputs import potentials_of
from factorgraph.engine.real_sweeps import RealInOrder, RealResidual, RealSweeps, RealTwoPass
from factorgraph.engine.spin_sweeps import SpinResidual, SpinSweeps, SpinTwoPass
from factorgraph.engine.sweeps import ResidualSweeps, ScheduledSweeps
from factorgraph.engine.tree_sweeps import TreeTwoPass
from factorgraph.engine.unroll import unroll

LOOPY = ["flooding", "sequential", "random", "forward-backward", "residual"]
SIZE = 12
seeds = st.integers(0, 2**32 - 1)


def general(graph, weights, schedule, damping, maximum):
    """The sweeps that serve any graph."""
    messages = first_messages(graph, None, maximum)
    if schedule == "residual":
        return ResidualSweeps(graph, weights, messages, Damping(damping), maximum)
    rng = np.random.default_rng(0)
    return ScheduledSweeps(graph, weights, messages, Damping(damping), maximum, schedule=schedule, rng=rng)


def pairs(kind, i, j, coupling, own, unary):
    """A graph of pairs, with or without factors of one argument."""
    graph = Graph()
    x = graph.spins("x", SIZE, **own) if kind == "spins" else graph.reals("x", SIZE, **own)
    if unary and kind == "spins":
        graph.add(PSpin(x[[0, 4, 4, 9]], coupling=[0.4, -0.3, 0.2, 0.7]))
    elif unary:
        graph.add(Linear(x[[0, 4, 4, 9]], coefficients=[[2.0], [1.0], [-1.0], [0.5]], target=0.7, noise=0.8))
    graph.add(Pairwise(x[i], x[j], coupling=coupling))
    return graph


def loopy(kind, unary):
    """With loops."""
    model = (ising(5, SIZE) if kind == "spins" else gaussian(5, SIZE)).model
    (variable,), (factor,) = model.variables.values(), model.factors
    own = {"field": variable.field} if kind == "spins" else {"field": variable.field, "precision": variable.precision}
    i, j = (selection.indices for selection in factor.arguments)
    return pairs(kind, i, j, factor.coupling, own, unary)


def tree(kind, unary):
    """A tree with a hub."""
    rng = np.random.default_rng(2)
    child, parent = np.arange(1, SIZE), np.array([0, 0, 0, 1, 1, 4, 4, 4, 4, 4, 9])
    own = {"field": rng.normal(size=SIZE)} | ({} if kind == "spins" else {"precision": 3.0})
    return pairs(kind, parent, child, rng.uniform(-0.8, 0.8, SIZE - 1), own, unary)


def evidence(kind, observed):
    values = np.full(SIZE, np.nan)
    if observed:
        values[[3, 7]] = (1.0, -1.0) if kind == "spins" else (0.6, -1.3)
    return {"x": values}


def assert_same(result, sweeps, path):
    """The messages of a run on its compiled path, and those of the general sweeps."""
    state = result.state.sweeps if isinstance(result.state, WithConstants) else result.state
    assert type(state) is path
    B, A = sweeps.messages()
    assert np.abs(B).max() > 0.1  # there is something to compare
    np.testing.assert_allclose(result.B, B, rtol=tol.COMPILED, atol=tol.COMPILED)
    np.testing.assert_allclose(result.A, A, rtol=tol.COMPILED, atol=tol.COMPILED)


@pytest.mark.parametrize("schedule", LOOPY)
@pytest.mark.parametrize("kind", ["spins", "reals"])
@pytest.mark.parametrize("unary", [False, True])
def test_every_run_on_pairs_is_compiled_and_sends_what_the_general_sweeps_send(kind, schedule, unary):
    """Damped or not, observed or not, sums and maxima: the same messages and residuals after 1, 7 and 33 sweeps."""
    residual, ordered = (SpinResidual, SpinSweeps) if kind == "spins" else (RealResidual, RealInOrder)
    path = {"residual": residual, "flooding": SpinSweeps, "sequential": SpinSweeps}.get(schedule, ordered)
    path = RealSweeps if kind == "reals" and path is SpinSweeps else path
    graph = unroll(loopy(kind, unary).model)
    for damping, observed, maximum in itertools.product((0.0, 0.3), (False, True), (False, True)):
        given_values = evidence(kind, observed)
        weights = potentials_of(graph, given_values, {}, {})
        sweeps, done, change = general(graph, weights, schedule, damping, maximum), 0, 0.0
        options = {"schedule": schedule, "damping": damping, "maximum": maximum, "observed": given_values, "rng": 0}
        for count in (1, 7, 33):
            with np.errstate(all="ignore"):
                for _ in range(count - done):
                    change = sweeps.sweep(1)[0]
            done = count
            result = infer(graph, tolerance=0.0, max_sweeps=count, **options)
            assert_same(result, sweeps, path)
            if change < 0.01:  # of spins it is known to first order
                assert result.residuals[-1] == pytest.approx(change, rel=0.03, abs=tol.COMPILED)


@pytest.mark.parametrize("kind", ["spins", "reals"])
@pytest.mark.parametrize("unary", [False, True])
def test_every_run_on_a_tree_of_pairs_is_compiled(kind, unary):
    described = tree(kind, unary)
    graph = unroll(described.model)
    for observed, maximum in itertools.product((False, True), (False, True)):
        given_values = evidence(kind, observed)
        sweeps = general(graph, potentials_of(graph, given_values, {}, {}), "two-pass", 0.0, maximum)
        with np.errstate(all="ignore"):
            sweeps.sweep(1)
        result = infer(graph, maximum=maximum, observed=given_values)
        path = RealTwoPass if kind == "reals" else SpinSweeps if maximum else SpinTwoPass
        assert_same(result, sweeps, path)
        if not maximum:
            truth = exact(described, observed=given_values)
            assert result.exact and result.log_partition == pytest.approx(truth.log_partition, abs=tol.TREE)
            np.testing.assert_allclose(result["x"].mean, truth["x"].mean, atol=tol.TREE)
            np.testing.assert_allclose(result["x"].variance, truth["x"].variance, atol=tol.TREE)


@settings(max_examples=60)
@given(seed=seeds, spins=st.integers(0, 7), reals=st.integers(0, 6), factors=st.integers(1, 14))
def test_two_passes_over_forests_of_scalars(seed, spins, reals, factors):
    """All kinds with rules in closed form, hubs and flat laws: one pass after the other as the general sweeps."""
    graph = unroll(forest(seed, spins, reals, factors).model)
    weights = potentials_of(graph, {}, {}, {})
    compiled = compiled_sweeps(graph, weights, None, "two-pass", Damping(), False, np.random.default_rng(0))
    if not isinstance(compiled, TreeTwoPass):
        return
    sweeps = general(graph, weights, "two-pass", 0.0, False)
    with np.errstate(all="ignore"):
        for _ in range(4):
            sweeps.sweep(1)
            compiled.sweep(1)
    for ours, theirs in zip(compiled.messages(), sweeps.messages(), strict=True):
        scale = max(1.0, np.abs(theirs).max(initial=0.0))
        np.testing.assert_allclose(ours, theirs, rtol=tol.TREE, atol=tol.TREE * scale)


@settings(max_examples=60)
@given(seed=seeds, size=st.integers(1, 9), observed=st.booleans())
def test_trees_of_linear_factors_of_any_arity(seed, size, observed):
    """Flat variables, held by the factors alone, against dense algebra."""
    rng = np.random.default_rng(seed)
    graph, n = Graph(), 3 * size
    x = graph.reals("x", n)
    graph.add(Linear(x[rng.permutation(n)], target=rng.normal(size=n), noise=rng.uniform(0.1, 2.0, n)))
    order, at = rng.permutation(n), 1
    while at < n:  # each factor ties some new variables to one that is there
        arity = min(int(rng.integers(1, 5)), n - at)
        terms = [int(order[rng.integers(at)]), *order[at : at + arity].tolist()]
        graph.add(Linear(*(x[i] for i in terms), coefficients=rng.normal(size=arity + 1), target=rng.normal()))
        at += arity
    given_values = {"x": np.where(np.arange(n) == 1, 0.7, np.nan)} if observed else {}
    result, truth = infer(graph, observed=given_values), exact(graph, observed=given_values)
    assert result.exact and isinstance(result.state, TreeTwoPass)
    np.testing.assert_allclose(
        result["x"].mean, truth["x"].mean, atol=tol.TREE * max(1.0, np.abs(truth["x"].mean).max())
    )
    np.testing.assert_allclose(result["x"].variance, truth["x"].variance, rtol=tol.TREE)
    assert result.log_partition == pytest.approx(truth.log_partition, rel=tol.TREE, abs=tol.TREE)


def test_certainty_from_factors_of_one_argument():
    """A hard constraint on one spin is an observation; two that contradict each other, or it, are an error."""
    graph = tree("spins", False)
    s = graph.model.factors[0].arguments[0]
    hard = Graph()
    x = hard.spins("x", SIZE, field=graph.model.variables["x"].field)
    hard.add(Pairwise(x[s.indices], x[graph.model.factors[0].arguments[1].indices], graph.model.factors[0].coupling))
    hard.add(Parity(x[[2, 5]], sign=[1.0, -1.0]))
    result = infer(hard)
    assert isinstance(result.state, WithConstants)
    known = np.full(SIZE, np.nan)
    known[[2, 5]] = 1.0, -1.0
    truth = infer(graph, observed={"x": known})
    np.testing.assert_allclose(result["x"].mean, truth["x"].mean, atol=tol.TREE)
    assert result.log_partition == pytest.approx(exact(hard).log_partition, abs=tol.TREE)
    for schedule in ("auto", "flooding"):
        with pytest.raises(ContradictionError):
            infer(hard, schedule=schedule, observed={"x": np.where(np.arange(SIZE) == 5, 1.0, np.nan)})
    hard.add(Parity(x[2], sign=-1.0))
    for schedule in ("auto", "flooding"):
        with pytest.raises(ContradictionError):
            infer(hard, schedule=schedule)


@pytest.mark.parametrize("schedule", ["auto", *LOOPY])
@pytest.mark.parametrize("maximum", [False, True])
def test_constraints_between_pairs_are_no_matter_of_differences(schedule, maximum):
    """Infinite messages cannot be taken out of a total again: such runs are not for sweeps over pairs."""
    graph = Graph()
    s = graph.spins("s", 4, field=[0.3, -0.1, 0.2, -0.9])
    graph.add(Parity(s[:-1], s[1:], sign=[1.0, -1.0, 1.0]))
    result = infer(graph, schedule=schedule, maximum=maximum, observed={"s": [np.nan, 1.0, np.nan, np.nan]})
    assert not isinstance(result.state, SpinSweeps)
    np.testing.assert_array_equal(result["s"].mean, [1.0, 1.0, -1.0, -1.0])


def test_a_callback_hears_of_every_sweep():
    """Also where compiled sweeps look only now and then without one."""
    seen = []
    infer(loopy("spins", False), callback=lambda n, r: seen.append(n) or n >= 3)
    assert seen == [1, 2, 3]


def test_a_run_goes_on_where_another_ended():
    for kind, schedule in itertools.product(("spins", "reals"), LOOPY):
        graph = unroll(loopy(kind, True).model)
        options = {"schedule": schedule, "tolerance": 1e-12, "damping": 0.1}
        first = infer(graph, **options)
        again = infer(graph, start=first, **(options | {"tolerance": tol.WARM}))
        assert first.status is Status.CONVERGED and again.sweeps <= 5 and again.residuals[0] <= tol.WARM
