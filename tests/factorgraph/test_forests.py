"""On forests: the engine against enumeration and dense algebra, to rounding."""

import numpy as np
import pytest
import tolerances as tol
from hypothesis import given, settings
from hypothesis import strategies as st
from members import LOOPY
from random_graphs import forest

from factorgraph import ContradictionError, Graph, Linear, Pairwise, Sum, exact, infer
from factorgraph.channels import Sign
from factorgraph.engine.inputs import potentials_of
from factorgraph.engine.unroll import unroll
from factorgraph.priors import GaussBernoulli, Mixture
from factorgraph.reference.exact import _decomposition, _eliminate, _free_discrete

quick = settings(max_examples=60)
seeds = st.integers(0, 2**32 - 1)


def assert_equal(result, truth):
    names = truth.graph.layout.shapes
    for name in names:
        scale = np.sqrt(truth[name].variance.max() + (truth[name].mean ** 2).max())
        np.testing.assert_allclose(result[name].mean, truth[name].mean, rtol=0, atol=tol.TREE * scale, err_msg=name)
        np.testing.assert_allclose(
            result[name].variance, truth[name].variance, rtol=tol.TREE, atol=tol.TREE * scale**2, err_msg=name
        )
    assert result.log_partition == pytest.approx(truth.log_partition, rel=tol.TREE, abs=tol.TREE)
    assert max(np.abs(truth[name].mean).max() for name in names) > tol.SOMETHING  # there is something to compare


@quick
@given(seed=seeds, spins=st.integers(0, 7), reals=st.integers(0, 5), factors=st.integers(0, 14))
def test_two_passes_are_exact(seed, spins, reals, factors):
    """Spins, Gaussians and mixtures of both; all factor kinds with a closed form; Bethe's log Z included."""
    graph = forest(seed, spins, reals, factors)
    result = infer(graph)
    assert result.exact and result.converged and result.sweeps <= 3
    assert_equal(result, exact(graph))


@settings(max_examples=25)
@given(seed=seeds, schedule=st.sampled_from(LOOPY))
def test_every_schedule_finds_the_same(seed, schedule):
    graph = forest(seed, 6, 4, 12)
    result = infer(graph, schedule=schedule, damping=0.2, tolerance=1e-14, max_sweeps=3000, rng=1)
    assert result.converged and not result.exact
    assert_equal(result, exact(graph))


@settings(max_examples=25)
@given(seed=seeds)
def test_clamping_is_conditioning(seed):
    graph = forest(seed, 5, 3, 10)
    unrolled = unroll(graph.model)
    s, x = np.full(5, np.nan), np.full(3, np.nan)
    s[0], x[1] = 1.0, 0.7
    given_values = {"s": s, "x": x}
    try:
        truth = exact(graph, observed=given_values)
    except ContradictionError:  # parity constraints may forbid s[0] = 1
        with pytest.raises(ContradictionError):
            infer(unrolled, observed=given_values)
    else:
        assert_equal(infer(unrolled, observed=given_values), truth)
    assert_equal(infer(unrolled), exact(graph))  # released again


@settings(max_examples=25)
@given(seed=seeds, spins=st.booleans())
def test_merging_factors_on_the_same_variables_is_exact(seed, spins):
    """Two factors on one pair are a loop; their product as one factor makes the forest, and the law, the same again."""
    rng = np.random.default_rng(seed)
    parent, J = [int(rng.integers(i)) for i in range(1, 7)], rng.uniform(-0.15, 0.15, (2, 6))

    def chain(*couplings):
        graph = Graph()
        field = np.random.default_rng(seed).normal(size=7)
        x = graph.spins("x", 7, field=field) if spins else graph.reals("x", 7, field=field, precision=2.0)
        for coupling in couplings:
            graph.add(Pairwise(x[1:], x[parent], coupling=coupling))
        return graph

    split, merged = chain(*J), chain(J.sum(0))
    truth = exact(split)
    assert_equal(infer(merged), truth)
    loopy = infer(split, **tol.TIGHT)
    assert loopy.converged and not loopy.exact
    assert abs(loopy.log_partition - truth.log_partition) > tol.WRONG_BY_DOUBLE_PAIRS
    if not spins:
        np.testing.assert_allclose(loopy["x"].mean, truth["x"].mean, atol=tol.LOOPY)


@settings(max_examples=25)
@given(seed=seeds)
def test_enumeration_equals_elimination(seed):
    graph = forest(seed, 7, 0, 12)
    unrolled = unroll(graph.model)
    reals = {"z": 0.3}
    truth = exact(graph, observed=reals)
    weights = potentials_of(unrolled, reals, {}, {})
    discrete = _free_discrete(unrolled, weights)
    other = _eliminate(unrolled, weights, discrete, *_decomposition(unrolled, discrete))
    assert other.log_partition == pytest.approx(truth.log_partition, abs=tol.TREE)
    np.testing.assert_allclose(other.mean, truth.mean, atol=tol.TREE)


def test_entropy_and_pairs():
    """S = -Σ p log p by enumeration; pair marginals agree with the single ones and with the covariance."""
    rng = np.random.default_rng(0)
    graph = Graph()
    s = graph.spins("s", 6, field=rng.normal(size=6))
    group = Pairwise(s[:-1], s[1:], coupling=rng.normal(size=5))
    graph.add(group)
    states = 1 - 2 * ((np.arange(64)[:, None] >> np.arange(6)) & 1)
    field = graph.model.variables["s"].field
    log_p = states @ field + (states[:, :-1] * states[:, 1:]) @ group.coupling
    p = np.exp(log_p - log_p.max()) / np.exp(log_p - log_p.max()).sum()
    result = infer(graph)
    assert result.entropy == pytest.approx(-(p * np.log(p)).sum(), abs=tol.TREE)
    pairs = result.pairs(group)
    assert pairs.shape == (5, 2, 2)
    np.testing.assert_allclose(pairs.sum(2) @ [1, -1], result["s"].mean[:-1], atol=tol.TREE)
    products = pairs[:, 0, 0] + pairs[:, 1, 1] - pairs[:, 0, 1] - pairs[:, 1, 0]
    np.testing.assert_allclose(products, p @ (states[:, :-1] * states[:, 1:]), atol=tol.TREE)
    x = graph.reals("x", 2, precision=1.0)
    tie = Pairwise(x[0], x[1], coupling=0.5)
    graph.add(tie)
    covariance = np.linalg.inv([[1, -0.5], [-0.5, 1]])
    result = infer(graph)
    np.testing.assert_allclose(result.pairs(tie), covariance, atol=tol.TREE)
    gaussian_entropy = 0.5 * np.log(np.linalg.det(2 * np.pi * np.e * covariance))
    assert result.entropy == pytest.approx(-(p * np.log(p)).sum() + gaussian_entropy, abs=tol.TREE)


def test_a_spin_that_is_the_sign_of_a_gaussian():
    """P(s = 1, t = 1) of the signs of two correlated normal variables: Sheppard's formula, by conditioning on s."""
    graph = Graph()
    x = graph.reals("x", 2, precision=[1.0, 1.0])
    s = graph.spins("s", 2)
    graph.add(Pairwise(x[0], x[1], coupling=0.6))
    graph.add(Sum(s, x, channel=Sign()))
    free = infer(graph, observed={"s": [1, np.nan]})
    angle = np.arcsin(0.6) / np.pi  # E[s t] = (2/π) arcsin(correlation)
    assert free.converged and not free.exact  # two projections in one tree of Gaussians
    assert free["s"].mean[1] == pytest.approx(2 * angle, abs=0.02)
    alone = Graph()
    x, s = alone.reals("x", 1, precision=[4.0], field=[2.0]), alone.spins("s", 1)
    alone.add(Sum(s, x, channel=Sign()))
    result = infer(alone)
    assert result.exact
    assert result["s"].mean[0] == pytest.approx(
        0.6826894921370859, abs=tol.SIGN_OF_NORMAL
    )  # erf(1/√2): mean 0.5, deviation 0.5
    assert result["x"].mean[0] == pytest.approx(0.5, abs=tol.SIGN_OF_NORMAL)


@pytest.mark.parametrize("prior", [Mixture([-1.0, 0.5, 3.0], [1, 2, 1]), GaussBernoulli(0.3, 1.0, 2.0)])
def test_one_noisy_look_at_a_variable_with_another_prior(prior):
    graph = Graph()
    x = graph.reals("x", 3, prior=prior)
    graph.add(Linear(x, coefficients=2.0, target=[-1.0, 0.3, 5.0], noise=0.4))
    result = infer(graph)
    truth = prior.evaluate(H=2.0 * np.array([-1.0, 0.3, 5.0]) / 0.4, G=4.0 / 0.4)
    np.testing.assert_allclose(result["x"].mean, truth.mean, rtol=tol.CLOSED_FORM)
    np.testing.assert_allclose(result["x"].variance, truth.variance, rtol=tol.CLOSED_FORM)
    constant = -0.5 * (np.log(2 * np.pi * 0.4) + np.array([1.0, 0.09, 25.0]) / 0.4)
    assert result.log_partition == pytest.approx((truth.psi + constant).sum(), rel=tol.CLOSED_FORM)


def test_the_smoother_of_a_random_walk():
    """Kalman smoothing in three lines, with a flat start: against the normal equations."""
    rng = np.random.default_rng(0)
    y = np.cumsum(rng.normal(size=30)) + 0.5 * rng.normal(size=30)
    graph = Graph()
    x = graph.reals("x", 30)
    graph.add(Linear(x[1:], x[:-1], coefficients=[1, -1], noise=1.0))
    graph.add(Linear(x, target=y, noise=0.25))
    result = infer(graph)
    Q = 4 * np.eye(30) + np.diff(np.eye(30), axis=0).T @ np.diff(np.eye(30), axis=0)
    assert result.exact
    np.testing.assert_allclose(result["x"].mean, np.linalg.solve(Q, 4 * y), atol=tol.TREE)
    np.testing.assert_allclose(result["x"].variance, np.diag(np.linalg.inv(Q)), atol=tol.TREE)


def test_a_star_and_a_long_chain():
    """No recursion, and no quadratic cost at a hub."""
    graph = Graph()
    s = graph.spins("s", 20001, field=0.01)
    graph.add(Pairwise(s[0], s[1:], coupling=0.01))
    t = graph.spins("t", 20000, field=0.1)
    graph.add(Pairwise(t[:-1], t[1:], coupling=0.5))
    result = infer(graph)
    assert result.exact
    transfer = np.array([[np.exp(0.5 + 0.1), np.exp(-0.5)], [np.exp(-0.5), np.exp(0.5 - 0.1)]])
    values, vectors = np.linalg.eigh(transfer)
    ends = vectors.T @ np.exp([0.05, -0.05])
    chain = 19999 * np.log(values[-1]) + np.log(ends**2 @ (values / values[-1]) ** 19999)
    star = np.logaddexp(0.01 + 20000 * np.log(2 * np.cosh(0.02)), -0.01 + 20000 * np.log(2))
    assert result.log_partition == pytest.approx(chain + star, rel=tol.TREE)
