"""Categories that select linear-Gaussian factors, against sums over their states of dense Gaussian algebra."""

import numpy as np
import pytest
import tolerances as tol
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from factorgraph import (
    Function,
    Graph,
    Linear,
    ModelError,
    Selection,
    Switch,
    Table,
    check_factor,
    exact,
    infer,
    load_model,
    save_model,
)

quick = settings(max_examples=15, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def tree(seed):
    """One switch in a tree of Gaussian factors and tables."""
    rng = np.random.default_rng(seed)
    q = int(rng.integers(2, 5))
    graph = Graph()
    c, d = graph.categories("c", states=q, field=rng.normal(size=q)), graph.categories("d", states=3)
    x = graph.reals("x", 3, precision=rng.uniform(0.5, 2.0, 3), field=rng.normal(size=3))
    y = graph.reals("y")
    numbers = {
        "coefficients": rng.normal(size=(q, 2)),
        "target": 3.0 * rng.normal(size=q),
        "noise": 10.0 ** rng.uniform(-0.7, 1, q),
    }
    graph.add(Switch(c, x[0], x[1], **numbers))
    graph.add(Linear(x[1], x[2], coefficients=[1.0, -0.6], target=0.2, noise=0.5))
    graph.add(Linear(y, x[0], coefficients=[1.0, 0.8], noise=0.3))
    graph.add(Table(c, d, table=rng.uniform(0.1, 1.0, (q, 3))))
    return graph, numbers


def agree(result, solution, tolerance=tol.TREE):
    for name, variable in result.graph.layout.model.variables.items():
        one, other = result[name], solution[name]
        pairs = zip(one, other, strict=True)
        for got, expected in pairs:
            np.testing.assert_allclose(got, expected, atol=tolerance, err_msg=f"{name} {variable}")


@quick
@given(seeds)
def test_one_switch_in_a_tree_is_exact(seed):
    graph, _ = tree(seed)
    assert check_factor(graph, graph.model.factors[0], cases=2).largest < tol.RULE
    for observed in ({}, {"c": 1}, {"x": [0.3, np.nan, np.nan]}, {"d": 2, "y": -1.0}):
        result, solution = infer(graph, observed=observed, tolerance=1e-13), exact(graph, observed=observed)
        assert result.exact
        assert result.log_partition == pytest.approx(solution.log_partition, abs=tol.LOOPY)
        agree(result, solution, tol.LOOPY)


@quick
@given(seeds)
def test_against_dense_algebra(seed):
    """A mixture of Gaussians, observed: log Z and responsibilities as in a textbook."""
    rng = np.random.default_rng(seed)
    q, n = 3, 4
    centres, widths, log_p = 4 * rng.normal(size=q), rng.uniform(0.1, 2.0, q), rng.normal(size=q)
    graph = Graph()
    c, x = graph.categories("c", n, states=q, field=log_p), graph.reals("x", n)
    graph.add(Switch(c, x, target=centres, noise=widths))
    values = 5 * rng.normal(size=n)
    result = infer(graph, observed={"x": values})
    logs = log_p - 0.5 * (values[:, None] - centres) ** 2 / widths - 0.5 * np.log(2 * np.pi * widths)
    assert result.log_partition == pytest.approx(logsumexp(logs, axis=1).sum(), abs=tol.TREE)
    responsibilities = np.exp(logs - logsumexp(logs, axis=1, keepdims=True))
    np.testing.assert_allclose(result["c"].probabilities, responsibilities, atol=tol.TREE)
    free = infer(graph)
    p = np.exp(log_p - logsumexp(log_p))
    mean = p @ centres
    np.testing.assert_allclose(free["x"].mean, mean, atol=tol.TREE)
    np.testing.assert_allclose(free["x"].variance, p @ (widths + (centres - mean) ** 2), atol=tol.TREE)
    assert free.log_partition == pytest.approx(n * logsumexp(log_p), abs=tol.TREE)


def vectors(rng):
    graph = Graph()
    c, x = graph.categories("c", states=2, field=[0.0, 0.4]), graph.vectors("x", 3, 2)
    F = np.array([[1.0, 0.5], [0.0, 1.0]])
    noise = np.stack([0.1 * np.eye(2), np.array([[1.0, 0.3], [0.3, 0.5]])])
    graph.add(Linear(x[0], noise=1.0))
    graph.add(Linear(x, coefficients=[np.array([[1.0, 0.0]])], target=rng.normal(size=(3, 1)), noise=0.5))
    graph.add(Switch(c, x[1], x[0], coefficients=[1.0, np.stack([-F, -0.5 * F])], noise=noise))
    graph.add(Linear(x[2], x[1], coefficients=[1.0, -F], noise=0.2))
    return graph


def test_vectors():
    graph = vectors(np.random.default_rng(0))
    for observed in ({}, {"c": 0}, {"x": np.array([[0.2, np.nan], [np.nan] * 2, [np.nan] * 2])}):
        result, solution = infer(graph, observed=observed, tolerance=1e-13), exact(graph, observed=observed)
        assert result.exact
        assert result.log_partition == pytest.approx(solution.log_partition, abs=tol.LOOPY)
        agree(result, solution, tol.LOOPY)
        np.testing.assert_allclose(result.covariance("x"), solution.covariance("x"), atol=tol.LOOPY)


def test_a_switching_chain_is_close_and_says_that_it_is_not_exact():
    rng, T = np.random.default_rng(1), 7
    graph = Graph()
    c, x = graph.categories("c", T - 1, states=2), graph.reals("x", T)
    graph.add(Linear(x[0], noise=1.0))
    graph.add(Linear(x, target=rng.normal(size=T), noise=0.5))
    graph.add(Table(c[:-1], c[1:], table=[[0.9, 0.1], [0.2, 0.8]]))
    graph.add(Switch(c, x[1:], x[:-1], coefficients=[[1, -0.9], [1, 0.5]], noise=[0.1, 1.0]))
    result, solution = infer(graph), exact(graph)
    assert result.converged and not result.exact
    assert 1e-6 < abs(result.log_partition - solution.log_partition) < 0.2
    assert 1e-6 < np.abs(result["x"].mean - solution["x"].mean).max() < 0.1
    assert np.abs(result["c"].probabilities - solution["c"].probabilities).max() < 0.1


def test_samples():
    graph, _ = tree(2)
    result, n = infer(graph), 5000
    drawn = result.sample(n)
    for name in ("x", "y"):
        mean, variance = result[name]
        assert np.all(np.abs(drawn[name].mean(axis=0) - mean) < 4.5 * np.sqrt(variance / n))
        np.testing.assert_allclose(drawn[name].var(axis=0), variance, rtol=0.15)
    p = result["c"].probabilities
    counts = np.bincount(drawn["c"], minlength=p.size)
    assert np.all(np.abs(counts - n * p) < 4.5 * np.sqrt(n * p))
    matrices = infer(vectors(np.random.default_rng(0)))
    x = matrices.sample(n)["x"]
    np.testing.assert_allclose(np.cov(x[:, 1].T), matrices.covariance("x")[1], atol=0.1)


def test_samples_of_a_switch_at_both_ends():
    """The law of x given nothing is a mixture: its draws have the tails of one, not those of a normal law."""
    graph = Graph()
    c, x = graph.categories("c", states=2), graph.reals("x")
    graph.add(Switch(c, x, target=[-3.0, 3.0], noise=0.1))
    drawn = infer(graph).sample(2000)
    assert np.all(np.abs(drawn["x"]) > 1.0)
    np.testing.assert_array_equal(drawn["x"] > 0, drawn["c"] == 1)
    assert np.abs(drawn["x"]).std() == pytest.approx(np.sqrt(0.1), rel=0.1)


def test_files(tmp_path):
    graph, _ = tree(3)
    save_model(graph, tmp_path / "m")
    assert infer(load_model(tmp_path / "m")).log_partition == pytest.approx(infer(graph).log_partition)


WRONG = {
    "axes of states": lambda g, c, s, x: Switch(c, x[0], noise=1.0),
    "one length": lambda g, c, s, x: Switch(c, x[0], noise=[1.0, 2.0], target=[1.0, 2.0, 3.0]),
    "of 2 states": lambda g, c, s, x: Switch(c, x[0], noise=[1.0, 2.0]),
    "`category`": lambda g, c, s, x: Switch(s[0], x[0], noise=[1.0, 2.0]),
    "`terms`": lambda g, c, s, x: Switch(c, s[0], noise=[1.0, 2.0, 1.0]),
    "`noise`": lambda g, c, s, x: Switch(c, x[0], noise=[1.0, -2.0, 1.0]),
    "got none": lambda g, c, s, x: Switch(c, noise=[1.0, 2.0, 1.0]),
    "differ": lambda g, c, s, x: Switch(c, x[0], x[0], noise=[1.0, 2.0, 1.0]),
}


@pytest.mark.parametrize("words", WRONG)
def test_wrong_models(words):
    graph = Graph()
    c, s, x = graph.categories("c", states=3), graph.spins("s", 2), graph.reals("x", 2, precision=1.0)
    with pytest.raises(ModelError, match=words):
        graph.add(WRONG[words](graph, c, s, x))
        infer(graph)


def test_no_maxima_and_no_factors_one_at_a_time():
    graph, _ = tree(0)
    with pytest.raises(ValueError, match="maximum"):
        infer(graph, maximum=True)
    with pytest.raises(ModelError, match="Switch"):
        graph.one_by_one(Switch, *(Selection(name, np.arange(1)) for name in "cx"))


def test_a_function_may_mix_categories_and_reals():
    """A switch written as a function: the same messages, by quadrature, and the same sums."""
    means, noise = np.array([-1.0, 0.5, 2.0]), np.array([0.4, 0.2, 0.7])

    def gaussian(x, c):
        return -0.5 * (x - means[c]) ** 2 / noise[c] - 0.5 * np.log(2 * np.pi * noise[c])

    results = []
    for as_function in (False, True):
        graph = Graph()
        c = graph.categories("c", 4, states=3, field=[[0.3, 0.0, -0.2]] * 4)
        x = graph.reals("x", 4, field=[0.5, -1.0, 0.2, 1.5], precision=1.2)
        if as_function:
            graph.add(Function(gaussian, x, c))
            assert check_factor(graph).largest < tol.QUADRATURE_RULE
        else:
            graph.add(Switch(c, x, coefficients=np.ones((3, 1)), target=means, noise=noise))
        results.append(infer(graph, observed={"c": [np.nan, np.nan, 1, np.nan], "x": [np.nan, 0.3, np.nan, np.nan]}))
    one, other = results
    assert one.exact and other.exact
    assert other.log_partition == pytest.approx(one.log_partition, abs=tol.LOOPY)
    assert other.entropy == pytest.approx(one.entropy, abs=tol.LOOPY)
    np.testing.assert_allclose(other["c"].probabilities, one["c"].probabilities, atol=tol.LOOPY)
    np.testing.assert_allclose(other["x"].mean, one["x"].mean, atol=tol.LOOPY)
    np.testing.assert_allclose(other["x"].variance, one["x"].variance, atol=tol.LOOPY)


@pytest.mark.parametrize("dimension", [0, 2])
def test_two_mixtures_that_meet_are_not_exact_whatever_lies_between(dimension):
    """Also if they are tied through vectors, or by a factor with an observed argument between theirs."""
    graph = Graph()
    c = graph.categories("c", 2, states=2)
    known = graph.vectors("known", (), 2) if dimension else graph.reals("known", ())
    x = graph.vectors("x", 2, 2, precision=1.0) if dimension else graph.reals("x", 2, precision=1.0)
    noise = 0.3 * np.eye(2) if dimension else 0.3
    target = np.array([[0.0, 0.0], [2.0, 1.0]]) if dimension else np.array([0.0, 2.0])
    graph.add(Switch(c, x, coefficients=1.0, target=target, noise=noise))
    graph.add(Linear(x[0], known, x[1], coefficients=1.0, noise=noise))
    result = infer(graph, observed={"known": np.zeros(2) if dimension else 0.0})
    assert result.converged and not result.exact
