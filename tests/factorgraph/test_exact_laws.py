"""Entropy, joint laws and the best state of the exact solution, by every method, against dense tables and messages."""

import numpy as np
import pytest
import tolerances as tol
from hypothesis import given, settings
from hypothesis import strategies as st
from random_tables import draw, truth
from scipy.special import logsumexp

from factorgraph import Graph, Linear, Mixed, Pairwise, Potts, Switch, exact, infer
from factorgraph.engine.inputs import potentials_of
from factorgraph.engine.unroll import unroll
from factorgraph.interface.errors import ModelError
from factorgraph.reference import exact as reference

quick = settings(max_examples=15, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def both_methods(graph):
    unrolled = unroll(graph.model)
    weights = potentials_of(unrolled, {}, {}, {})
    discrete = reference._free_discrete(unrolled, weights)
    reals = np.empty(0, dtype=np.intp)
    yield reference._enumerate(unrolled, weights, discrete, reals)
    yield reference._eliminate(unrolled, weights, discrete, *reference._decomposition(unrolled, discrete))


@quick
@given(seeds)
def test_discrete_models(seed):
    spec = draw(seed, 5, forest=False, factors=6)
    graph, nodes = spec.model()
    dense = spec.dense()
    entropy, p = truth(dense)[2], np.exp(dense - logsumexp(dense))
    for solution in both_methods(graph):
        assert solution.entropy == pytest.approx(entropy, abs=tol.TREE)
        best = solution.best
        state = []
        for node, q in zip(nodes, spec.states, strict=True):
            value = best.values[node.name][int(node.indices)]
            state.append(int(value if q else (1 - value) / 2))
        assert dense[tuple(state)] == pytest.approx(dense.max(), abs=tol.TREE)
        assert best.log_weight == pytest.approx(dense.max(), abs=tol.TREE)
    for factor, (members, _, _) in list(zip(graph.model.factors, spec.factors, strict=True))[:3]:
        others = tuple(a for a in range(dense.ndim) if a not in members)
        joint = np.transpose(p.sum(axis=others), np.argsort(np.argsort(members)))
        np.testing.assert_allclose(exact(graph).pairs(factor), joint, atol=tol.TREE)


def test_mixed_models_and_what_is_observed():
    graph = Graph()
    c, s = graph.categories("c", 3, states=2, field=[0.3, -0.1]), graph.spins("s", field=0.4)
    x = graph.reals("x", 3, precision=[1.0, 2.0, 1.5], field=[0.2, -0.4, 0.1])
    one = Switch(c[:2], x[:2], coefficients=[[1.0], [0.5]], target=[0.4, -1.0], noise=[0.3, 0.8])
    ties = [one, Potts(c[1], c[2], coupling=0.6), Pairwise(s, x[2], coupling=0.8)]
    for factor in ties:
        graph.add(factor)
    for observed in ({}, {"x": [0.3, np.nan, np.nan]}):
        result, solution = infer(graph, observed=observed), exact(graph, observed=observed)
        assert result.exact and solution.entropy == pytest.approx(result.entropy, abs=tol.TREE)
        for factor in ties:
            found, expected = solution.pairs(factor), result.pairs(factor)
            assert isinstance(found, Mixed) == isinstance(expected, Mixed)
            for mine, theirs in zip(found, expected, strict=True):
                np.testing.assert_allclose(mine, theirs, atol=tol.TREE)


def test_dense_gaussians():
    graph = Graph()
    x = graph.reals("x", 4, precision=2.0, field=[0.3, -0.2, 0.5, 0.1])
    step = Linear(x[1:], x[:-1], coefficients=[1.0, -0.7], target=[0.1, 0.2, 0.3], noise=0.5)
    graph.add(step)
    solution, result = exact(graph), infer(graph)
    assert solution.entropy == pytest.approx(result.entropy, abs=tol.TREE)
    np.testing.assert_allclose(solution.pairs(step), result.pairs(step), atol=tol.TREE)
    np.testing.assert_allclose(solution.best.values["x"], result["x"].mean, atol=tol.TREE)
    with pytest.raises(ValueError, match="`factor`"):
        solution.pairs(Pairwise(x[0], x[1], coupling=0.1))


@pytest.mark.parametrize("solve", [exact, infer])
def test_weights_whose_sum_is_no_float(solve):
    """Every one of them is, but log Z is not: the model is refused, by every method."""
    graph = Graph()
    graph.categories("c", 2, states=3, field=[[1e308, -1e308, 1e308]] * 2)
    with pytest.raises(ModelError, match="fields and parameters of factors must be such that log Z is a float, got"):
        _ = solve(graph).log_partition
    graph = Graph()
    spins = graph.spins("s", 30, field=1e307)
    graph.add(Pairwise(spins[1:], spins[:-1], coupling=1e306))
    with pytest.raises(ModelError, match="log Z is a float"):
        _ = solve(graph).log_partition
