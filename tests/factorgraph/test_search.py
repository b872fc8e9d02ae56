"""States found by decimation and by reinforcement: constraints hold, observations are kept, good states are found."""

import networkx as nx
import numpy as np
import pytest

from factorgraph import (
    ContradictionError,
    Graph,
    Linear,
    Logical,
    Pairwise,
    Potts,
    Solution,
    Switch,
    decimate,
    exact,
    reinforce,
)

SEARCHES = [decimate, reinforce]


@pytest.mark.parametrize("search", SEARCHES)
def test_colouring_of_a_random_graph(search):
    edges = np.array(nx.random_regular_graph(4, 40, seed=1).edges)
    graph = Graph()
    c = graph.categories("c", 40, states=3)
    graph.add(Potts(*c[edges].columns, coupling=-np.inf))
    seen = np.full(40, np.nan)
    seen[[0, 7]] = 2, 1
    found = search(graph, observed={"c": seen})
    assert isinstance(found, Solution) and found.violated == 0 and found.log_weight == 0.0
    colours = found["c"]
    assert np.all(colours[edges[:, 0]] != colours[edges[:, 1]]) and colours[0] == 2 and colours[7] == 1


@pytest.mark.parametrize("search", SEARCHES)
def test_satisfiability(search):
    rng = np.random.default_rng(0)
    table = np.array([rng.permutation(50)[:3] for _ in range(150)])
    signs = rng.choice([-1, 1], size=table.shape)
    graph = Graph()
    graph.add(Logical(*graph.spins("s", 50)[table].columns, relation="at-least", count=1, signs=signs))
    found = search(graph, rng=1)
    assert found.violated == 0 and np.all((found["s"][table] == signs).any(axis=1))


@pytest.mark.parametrize("search", SEARCHES)
def test_maxima_find_a_planted_ground_state(search):
    rng = np.random.default_rng(3)
    planted, h = rng.choice([-1, 1], size=(4, 4)), 0.3 * rng.normal(size=(4, 4))
    graph = Graph()
    s = graph.spins("s", (4, 4), field=h)
    graph.add(Pairwise(s[1:], s[:-1], coupling=0.8 * planted[1:] * planted[:-1]))
    graph.add(Pairwise(s[:, 1:], s[:, :-1], coupling=0.8 * planted[:, 1:] * planted[:, :-1]))
    found, best = search(graph, maximum=True, damping=0.3), exact(graph).best
    assert found.log_weight == pytest.approx(best.log_weight)
    np.testing.assert_array_equal(found["s"], best.values["s"])


@pytest.mark.parametrize("seed", range(3))
def test_no_state_of_a_frustrated_glass_violates_anything_and_the_attempts_go_on(seed):
    """Twelve spins with Gaussian couplings between all: the best of ten attempts is the ground state."""
    rng, graph = np.random.default_rng(seed), Graph()
    i, j = np.triu_indices(12, 1)
    s = graph.spins("s", 12)
    graph.add(Pairwise(s[i], s[j], coupling=2.0 * rng.normal(size=i.size) / np.sqrt(12)))
    best = exact(graph).best.log_weight
    found = decimate(graph)
    assert found.attempts == 10 and found.log_weight == pytest.approx(best)
    pulled = reinforce(graph, damping=0.3)
    assert pulled.attempts == 10 and pulled.log_weight > 0.95 * best


@pytest.mark.parametrize("search", SEARCHES)
def test_a_state_that_none_can_better_is_the_last(search):
    rng = np.random.default_rng(0)
    graph, planted = Graph(), rng.choice([-1, 1], size=30)
    s = graph.spins("s", 30, field=0.3 * planted)
    graph.add(Pairwise(s[:-1], s[1:], coupling=0.8 * planted[:-1] * planted[1:]))
    found = search(graph)
    assert found.attempts == 1
    np.testing.assert_array_equal(found["s"], planted)


def test_reals_get_their_means_given_the_rest():
    graph = Graph()
    c, x = graph.categories("c", 2, states=2), graph.reals("x", 3, precision=0.1)
    graph.add(Switch(c, x[:2], coefficients=[[1.0], [1.0]], target=[-3.0, 3.0], noise=0.1))
    graph.add(Linear(x[0], x[1], coefficients=[1.0, 1.0], target=6.0, noise=0.1))
    graph.add(Potts(c[0], c[1], coupling=1.0))
    found = decimate(graph)
    np.testing.assert_array_equal(found["c"], [1, 1])
    np.testing.assert_allclose(found["x"][:2], 3.0, atol=0.1)


def test_what_cannot_be_satisfied():
    graph = Graph()
    c = graph.categories("c", 3, states=2)
    graph.add(Potts(*c[[[0, 1], [1, 2], [2, 0]]].columns, coupling=-np.inf))
    for search in SEARCHES:
        found = search(graph, attempts=2, max_sweeps=30)
        assert found.violated == 1 and found.log_weight == -np.inf and found.attempts == 2
    with pytest.raises(ContradictionError):
        decimate(graph, observed={"c": [1, 1, np.nan]})
    reals = Graph()
    reals.reals("x", 2, precision=1.0)
    with pytest.raises(ValueError, match="spins or categories"):
        decimate(reals)
    with pytest.raises(KeyError, match="`name`"):
        decimate(graph, attempts=1)["d"]
