"""Covariances of chosen scalars: exact on forests and for Gaussian laws, the linear response of beliefs elsewhere."""

import numpy as np
import pytest
import tolerances as tol
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import forest

from factorgraph import Graph, Linear, Pairwise, Potts, Switch, Table, exact, infer
from factorgraph.priors import Gaussian

SEEDS = st.integers(0, 2**16)


def conditioned(graph, name, shape, position, value):
    """Means of all scalars where one is observed, and the log-probability of that."""
    observed = np.full(shape, np.nan)
    observed[position] = value
    given, free = exact(graph, observed={name: observed}), exact(graph)
    return given, given.log_partition - free.log_partition


@settings(max_examples=15, deadline=None, derandomize=True)
@given(SEEDS)
def test_of_spins_and_categories_on_trees_as_by_conditioning(seed):
    rng = np.random.default_rng(seed)
    graph = Graph()
    s, c = graph.spins("s", 4, field=rng.normal(size=4)), graph.categories("c", 2, states=3, field=rng.normal(size=3))
    graph.add(Pairwise(s[:-1], s[1:], coupling=rng.normal(size=3)))
    graph.add(Table(c[0], c[1], table=rng.random((3, 3))))
    graph.add(Table(c[0], s[2], table=rng.random((3, 2))))
    free, found = exact(graph), infer(graph).joint_covariance("s", c[1])
    means = np.concatenate([free["s"].mean, free["c"].probabilities[1]])
    truth = np.empty((7, 7))
    for j in range(4):
        given, log_p = conditioned(graph, "s", 4, j, 1.0)
        shift = np.concatenate([given["s"].mean, given["c"].probabilities[1]]) - means
        truth[j] = 2.0 * np.exp(log_p) * shift
    for k in range(3):
        given, log_p = conditioned(graph, "c", 2, 1, k)
        truth[4 + k] = np.exp(log_p) * (np.concatenate([given["s"].mean, given["c"].probabilities[1]]) - means)
    assert found.exact
    np.testing.assert_allclose(found.matrix, truth, atol=1e-9)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(SEEDS)
def test_of_mixed_forests_as_by_enumeration(seed):
    graph = forest(seed, 3, 3, 6)
    result, truth = infer(graph), exact(graph)
    if truth.method == "elimination":
        return
    found = result.joint_covariance("s", "x", "y", "z")
    places = np.concatenate([result.graph.layout.scalars_of(name) for name in ("s", "x", "y", "z")])
    assert found.exact == result.exact
    scale = np.sqrt(np.diag(found.matrix))
    np.testing.assert_allclose(
        found.matrix / scale / scale[:, None], truth._later.covariance(places) / scale / scale[:, None], atol=1e-8
    )


@settings(max_examples=15, deadline=None, derandomize=True)
@given(SEEDS, st.integers(3, 9))
def test_of_gaussian_laws_with_loops_is_the_inverse_of_the_precision(seed, n):
    rng = np.random.default_rng(seed)
    graph, root = Graph(), rng.normal(size=(n, n))
    precision = root @ root.T + 3 * n * np.eye(n)
    x = graph.reals("x", n, precision=np.diag(precision).copy(), field=rng.normal(size=n))
    i, j = np.triu_indices(n, 1)
    graph.add(Pairwise(x[i], x[j], coupling=-precision[i, j]))
    order = rng.permutation(n)[:3]
    found = infer(graph).joint_covariance(x[order])
    assert found.exact
    np.testing.assert_allclose(found.matrix, np.linalg.inv(precision)[np.ix_(order, order)], rtol=1e-9, atol=1e-14)


def test_of_a_kalman_smoother_at_lag_one_is_what_its_factors_say():
    graph, step = Graph(), np.array([[1.0, 0.3], [-0.2, 0.9]])
    v = graph.vectors("v", 5, dimension=2, prior=Gaussian(0.0, 0.5))
    move = Linear(v[1:], v[:-1], coefficients=[np.eye(2), -step], noise=0.3)
    graph.add(move)
    graph.add(Linear(v, coefficients=[[[1.0, 0.0]]], target=np.ones((5, 1)), noise=[[0.4]]))
    result = infer(graph)
    found = result.joint_covariance("v")
    assert found.exact
    pairs = result.pairs(move)
    for t in range(4):
        both = np.r_[2 * t + 2 : 2 * t + 4, 2 * t : 2 * t + 2]
        np.testing.assert_allclose(found.matrix[np.ix_(both, both)], pairs[t], atol=tol.LOOPY)
    np.testing.assert_allclose(found.matrix[:2, :2], result.covariance("v")[0], atol=tol.LOOPY)


def test_with_loops_it_is_the_response_of_the_means_and_says_so():
    graph, n = Graph(), 6
    s = graph.spins("s", n, field=0.2)
    graph.add(Pairwise(s, s[(np.arange(n) + 1) % n], coupling=0.3))
    result = infer(graph, tolerance=1e-13)
    found = result.joint_covariance("s")
    assert not found.exact
    step, field = 1e-4, np.eye(n)
    for j in range(n):
        up, down = (infer(graph, fields={"s": sign * step * field[j]}, tolerance=1e-14) for sign in (1, -1))
        np.testing.assert_allclose(found.matrix[j], (up["s"].mean - down["s"].mean) / (2 * step), atol=1e-7)
    np.testing.assert_allclose(found.matrix, exact(graph)._later.covariance(np.arange(n)), atol=5e-3)  # a long loop


def test_observed_scalars_have_none():
    graph = Graph()
    x, s = graph.reals("x", 3, precision=1.0), graph.spins("s", 2, field=0.1)
    graph.add(Pairwise(x[:-1], x[1:], coupling=0.4))
    graph.add(Pairwise(s[0], s[1], coupling=0.4))
    result = infer(graph, observed={"x": [np.nan, 2.0, np.nan], "s": [1, np.nan]})
    matrix = result.joint_covariance("x", "s").matrix
    np.testing.assert_allclose(matrix[[1, 3]], 0.0, atol=tol.LOOPY)
    np.testing.assert_allclose(np.diag(matrix)[[0, 2]], 1.0, atol=1e-9)


def test_a_switch_makes_a_mixture():
    graph = Graph()
    c, x = graph.categories("c", 1, states=2, field=[0.3, 0.0]), graph.reals("x", 2, precision=0.5)
    graph.add(Switch(c[0], x[0], x[1], coefficients=[[1, -0.9], [1, 0.7]], target=[0.0, 1.0], noise=0.4))
    found, truth = infer(graph).joint_covariance("x", "c"), exact(graph)
    places = np.concatenate([truth.graph.layout.scalars_of(name) for name in ("x", "c")])
    assert found.exact
    np.testing.assert_allclose(found.matrix, truth._later.covariance(places), atol=1e-8)


def test_what_cannot_be_is_refused():
    graph = Graph()
    c = graph.categories("c", 3, states=3, field=[0.1, 0.0, 0.0])
    graph.add(Potts(c[:-1], c[1:], coupling=0.5))
    result = infer(graph)
    for wrong in ("t", 3, None):
        with pytest.raises(ValueError, match="variables must be selections or names among"):
            result.joint_covariance(wrong)
    other = Graph().categories("c", 9, states=3)
    with pytest.raises(ValueError, match=r"indices of `c` must be in 0..2"):
        result.joint_covariance(other[5])
    for run in (infer(graph, maximum=True), infer(graph, batch=2)):
        with pytest.raises(ValueError, match=r"covariances must be of a converged run for sums .*, got "):
            run.joint_covariance("c")
    with pytest.raises(ValueError, match="variables must be at least one"):
        result.joint_covariance()


@pytest.mark.parametrize(("far", "exact"), [(0.0, True), (-1e3, True), (1e6, False), (1e9, False)])
def test_rounding_of_means_far_from_zero_is_no_exact_response(far, exact):
    """Differences of means of 1e9 have three digits: nothing is claimed where they are lost, and nothing else is."""

    def covariance(far):
        graph = Graph()
        x, s = graph.reals("x", 3, prior=Gaussian(far, 1.0)), graph.spins("s")
        graph.add(Linear(x[0], x[1], s, coefficients=[1.0, -1.0, 1.0], noise=0.5))
        graph.add(Linear(x[1], x[2], coefficients=[1.0, -1.0], noise=0.5))
        return infer(graph).joint_covariance("x", "s")

    found, truth = covariance(far), covariance(0.0)
    assert found.exact == exact
    np.testing.assert_allclose(found.matrix, truth.matrix, atol=1e-8 if exact else 1e-3)
