"""The infinite random graph of which a graph is a sample: known transitions, one-message equations, large graphs."""

import networkx as nx
import numpy as np
import pytest
from scipy.optimize import brentq

from factorgraph import Graph, Linear, LinearMap, Pairwise, Potts, infer
from factorgraph.priors import Gaussian

DEGREE = 3


def pairs(n, degree=DEGREE, seed=0):
    return np.array(nx.random_regular_graph(degree, n, seed=seed).edges).T


def ising(n, coupling, field=0.0, seed=0):
    graph, (i, j) = Graph(), pairs(n, seed=seed)
    s = graph.spins("s", n, field=field)
    graph.add(Pairwise(s[i], s[j], coupling=coupling))
    return graph, 2 * i.size


@pytest.mark.parametrize("t", [0.4, 0.49, 0.52, 0.8])
def test_a_ferromagnet_orders_where_its_tanh_times_degree_less_one_is_one(t):
    """All messages are one message u = atanh(t tanh 2u): the Bethe lattice, whatever the size of the graph."""
    graph, edges = ising(20, np.arctanh(t))
    result = infer(graph, ensemble=True, start=(np.ones(edges), np.zeros(edges)), tolerance=1e-12, max_sweeps=5000)
    u = brentq(lambda u: np.arctanh(t * np.tanh(2 * u)) - u, 1e-4, 5.0) if 2 * t > 1 else 0.0
    assert result.converged and not result.exact
    np.testing.assert_allclose(result["s"].mean, np.tanh(3 * u), atol=1e-8)
    J, h = np.arctanh(t), 2 * u
    site = np.log(2 * np.cosh(3 * u)) - 3 * np.log(2 * np.cosh(u))
    link = np.log(np.cosh(J) * (1 + t * np.tanh(h) ** 2)) - np.log((1 + np.tanh(u) * np.tanh(h)) ** 2)
    # -3/2 of the link with its two edges, which is 2·2 cosh u each in the site term's normalisation
    bethe = site + 3 * np.log(2.0) + 1.5 * link
    assert result.log_partition / 20 == pytest.approx(bethe, abs=1e-8)


@pytest.mark.parametrize("t, frozen", [(0.60, False), (0.85, True)])
def test_a_spin_glass_freezes_where_tanh_squared_times_degree_less_one_is_one(t, frozen):
    """With ±J of equal odds: at t² = 1/2."""
    n, rng = 4000, np.random.default_rng(1)
    graph, edges = ising(n, np.arctanh(t) * rng.choice([-1.0, 1.0], 3 * n // 2))
    start = rng.normal(size=edges), np.zeros(edges)
    result = infer(graph, ensemble=True, start=start, tolerance=0.0, max_sweeps=150)
    q = float((result["s"].mean ** 2).mean())
    assert (q > 0.2) == frozen and (q < 1e-6) != frozen
    assert abs(result["s"].mean.mean()) < 0.05


def test_a_large_graph_has_the_marginals_and_the_free_entropy_of_its_ensemble():
    n, rng = 20000, np.random.default_rng(2)
    i, j = np.array(nx.fast_gnp_random_graph(n, 2.5 / n, seed=3).edges).T
    coupling, graph = 0.7 * rng.normal(size=i.size), Graph()
    s = graph.spins("s", n, field=0.3 * rng.normal(size=n))
    c = graph.categories("c", n, states=3, field=[0.2, 0.0, 0.0])
    x = graph.reals("x", n, precision=3.0, field=rng.normal(size=n))
    graph.add(Pairwise(s[i], s[j], coupling=coupling))
    graph.add(Potts(c[i], c[j], coupling=-coupling))
    graph.add(Pairwise(x[i], x[j], coupling=0.3 * coupling))
    population = infer(graph, ensemble=True, tolerance=0.0, max_sweeps=30)
    sample = infer(graph, tolerance=1e-8)
    assert sample.converged
    for of in (lambda r: r["s"].mean ** 2, lambda r: r["c"].entropy, lambda r: r["x"].variance):
        error = 4 * np.sqrt(2 / n) * of(sample).std()  # of the means of two independent populations
        assert abs(of(population).mean() - of(sample).mean()) < error < 0.05 * of(sample).mean()
    assert population.log_partition == pytest.approx(sample.log_partition, rel=0.01)


def test_the_change_is_that_of_the_distribution():
    n, rng = 6000, np.random.default_rng(4)
    graph, edges = ising(n, 0.4, field=0.3 * rng.normal(size=n))
    long = infer(graph, ensemble=True, tolerance=0.0, max_sweeps=60)
    assert not long.converged
    assert 0.0 < long.residuals[20:].max() < 3 / np.sqrt(edges) < long.residuals[0]
    assert infer(graph, ensemble=True, tolerance=3 / np.sqrt(edges)).sweeps < 20


def test_bipartite_kinds_do_not_mix():
    """Messages to the two sides of a graph, of different degree, are two populations."""
    n, rng = 3000, np.random.default_rng(5)
    graph = Graph()
    a, b = graph.spins("a", n, field=0.5), graph.spins("b", n // 2)
    graph.add(Pairwise(a[np.repeat(np.arange(n), 2)], b[rng.permutation(np.tile(np.arange(n // 2), 4))], coupling=0.5))
    result = infer(graph, ensemble=True, tolerance=1e-12)
    u, w = 0.0, 0.0  # to a and to b
    for _ in range(200):
        u = np.arctanh(np.tanh(0.5) * np.tanh(3 * w))
        w = np.arctanh(np.tanh(0.5) * np.tanh(0.5 + u))
    assert result.converged
    np.testing.assert_allclose(result["a"].mean, np.tanh(0.5 + 2 * u), atol=1e-8)
    np.testing.assert_allclose(result["b"].mean, np.tanh(4 * w), atol=1e-8)


def test_what_has_no_ensemble_is_refused():
    graph, edges = ising(10, 0.3)
    for options in (
        {"schedule": "sequential"},
        {"damping": 0.5},
        {"damping": "adaptive"},
        {"reinforcement": 0.1},
        {"batch": 2},
        {"start": (np.zeros(edges), np.zeros(edges)), "frozen": graph.model.factors},
    ):
        with pytest.raises(ValueError, match=f"`{next(iter(options)) if 'frozen' not in options else 'batch'}`"):
            infer(graph, ensemble=True, **options)
    with pytest.raises(ValueError, match="`ensemble` must be"):
        infer(graph, ensemble=1)
    dense = Graph()
    x, z = dense.reals("x", 2, prior=Gaussian(), shared=True), dense.reals("z", 3, shared=True)
    dense.add(LinearMap(z, x, matrix=np.ones((3, 2))))
    dense.add(Linear(z, target=0.5, noise=0.3))
    with pytest.raises(
        ValueError,
        match=r"`ensemble` must be False but for .*, got shared `x`, shared `z`$",
    ):
        infer(dense, ensemble=True)


def test_its_results_are_not_of_this_graph():
    graph = Graph()
    x = graph.reals("x", 4, precision=1.0, field=0.3)
    graph.add(Pairwise(x[:-1], x[1:], coupling=0.3))
    result = infer(graph, ensemble=True, tolerance=0.5)
    assert result.converged and result.ensemble
    with pytest.raises(ValueError, match=r"samples must be drawn from .*, got an ensemble"):
        result.sample(2)
    with pytest.raises(ValueError, match=r"covariances must be of a converged run .*, got an ensemble"):
        result.joint_covariance("x")
