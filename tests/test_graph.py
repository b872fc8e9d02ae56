"""Building, printing, drawing, saving, and networkx."""

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
import pytest
import tolerances as tol
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import forest, ising

from factorgraph import (
    Function,
    Graph,
    Linear,
    ModelError,
    Pairwise,
    Parity,
    PSpin,
    Sum,
    draw,
    exact,
    from_networkx,
    infer,
    load_model,
    save_model,
    to_networkx,
)
from factorgraph.channels import Probit
from factorgraph.factors import Bilinear
from factorgraph.priors import Gaussian, Mixture


def test_a_grid_in_three_lines():
    graph = Graph()
    s = graph.spins("s", (3, 4), field=np.full((3, 4), 0.1))
    graph.add(Pairwise(s[:-1], s[1:], coupling=np.arange(8).reshape(2, 4) / 10))
    graph.add(Pairwise(s[:, :-1], s[:, 1:], coupling=0.3))
    result = infer(graph)
    assert result["s"].mean.shape == (3, 4)
    np.testing.assert_allclose(result["s"].mean, exact(graph)["s"].mean, atol=0.1)
    assert "s.0=3" in str(graph) and "Pairwise(s, s) × 8" in str(graph)
    with pytest.raises(KeyError, match="`name` must be one of"):
        result["t"]


def test_one_factor_at_a_time_equals_arrays():
    rng = np.random.default_rng(0)
    J, field = rng.normal(size=9), rng.normal(size=10)
    together, single = Graph(), Graph()
    s = together.spins("s", 10, field=field)
    together.add(Pairwise(s[:-1], s[1:], coupling=J))
    t = single.spins("s", 10, field=field)
    couple = single.one_by_one(Pairwise, t, t)
    for i in range(9):
        couple(i, i + 1, J[i])
    assert infer(single).log_partition == infer(together).log_partition
    couple(9, 0, 0.5)  # after a run: the model is made anew
    assert not infer(single).exact
    with pytest.raises(ModelError, match=r"must be given by 3 numbers .*, got 2"):
        couple(0, 1)
    couple(0, 10, 1.0)
    with pytest.raises(ModelError, match=r"indices of `s` must be integers in 0..9, got 10"):
        infer(single)
    with pytest.raises(ModelError, match="`kind` must have parameters that are single numbers"):
        single.one_by_one(Linear, t)


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda g: g.spins("s", 2), "names of variables must differ, got 's' twice"),
        (lambda g: g.spins("t", 0), "`shape` of `t` must be of sizes >= 1"),
        (lambda g: g.spins("t", 2, field=[1, 2, 3]), "`field` of `t` must be a number or of shape"),
        (lambda g: g.spins("t", 2, field=np.inf), "`field` of `t` must be finite numbers"),
        (lambda g: g.spins("t", 2, prior=Gaussian()), "`prior` of spins `t` must be one of spins"),
        (lambda g: g.add(Pairwise(Graph().spins("u", 3)[0], g.spins("t", 2)[0], coupling=1)) or g.model, "got 'u'"),
        (lambda g: g.add(Pairwise(Graph().spins("s", 9)[8], g.spins("t", 2)[0], coupling=1)) or g.model, "in 0..4"),
    ],
)
def test_variables_that_do_not_fit(build, message):
    graph = Graph()
    graph.spins("s", 5)
    with pytest.raises(ModelError, match=message):
        build(graph)


def test_from_networkx_and_back():
    source = nx.karate_club_graph()
    rng = np.random.default_rng(0)
    nx.set_node_attributes(source, {node: float(rng.normal()) for node in source}, "field")
    nx.set_edge_attributes(source, {edge: 0.1 * float(rng.normal()) for edge in source.edges}, "coupling")
    graph, nodes = from_networkx(source)
    result = infer(graph)
    s = dict(zip(nodes, result["s"].mean, strict=True))
    assert abs(s[0] - np.tanh(source.nodes[0]["field"])) < 0.3 and result.converged
    back = to_networkx(graph)
    variables = [n for n, kind in back.nodes(data="kind") if kind == "spin"]
    assert nx.is_bipartite(back) and len(variables) == 34 and back.number_of_edges() == 2 * source.number_of_edges()
    assert back.nodes["s[0]"]["field"] == source.nodes[0]["field"]
    couplings = sorted(p[0] for _, p in back.nodes(data="parameters") if p)
    assert couplings == sorted(value for *_, value in source.edges(data="coupling"))
    source.add_edge(0, 9)
    with pytest.raises(ModelError, match="edges must have the attribute 'coupling', got none on"):
        from_networkx(source)
    walk = nx.path_graph(5)
    nx.set_edge_attributes(walk, 0.4, "coupling")
    nx.set_node_attributes(walk, 1.0, "precision")
    chain, _ = from_networkx(walk, name="x", spins=False)
    Q = np.eye(5) - 0.4 * (np.eye(5, k=1) + np.eye(5, k=-1))
    np.testing.assert_allclose(infer(chain)["x"].variance, np.diag(np.linalg.inv(Q)), atol=tol.TREE)


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_saved_model_is_the_same_model(seed, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.npz"
    graph = forest(seed, 6, 3, 10)
    if any(isinstance(factor, Function) for factor in graph.model.factors):
        with pytest.raises(ModelError, match="must be made of this package's own classes"):
            save_model(graph, path)
        assert not list(path.parent.iterdir())
        return
    save_model(graph, path)
    loaded = load_model(path)
    assert [p.name for p in path.parent.iterdir()] == ["model.npz"]
    first, second = infer(graph), infer(loaded)
    assert first.log_partition == second.log_partition and np.array_equal(first["s"].mean, second["s"].mean)
    assert str(loaded) == str(graph)


def test_all_classes_are_saved(tmp_path):
    graph = Graph()
    s = graph.spins("s", 4)
    x = graph.reals("x", 4, prior=Mixture([0.0, 1.0], [1, 1]))
    graph.add(Sum(s, x, coefficients=2.0, channel=Probit(2.0)))
    graph.add(PSpin(*s[:3], coupling=0.5))
    graph.add(Parity(*s[:2]))
    save_model(graph, tmp_path / "model")
    assert str(load_model(tmp_path / "model")) == str(graph)
    from deepnet.network import perceptron

    network = perceptron([3, 2, 1], density=0.9, rng=0)
    save_model(network, tmp_path / "network")
    loaded = load_model(tmp_path / "network")
    first, other = network.factors[0], loaded.factors[0]
    assert isinstance(first, Bilinear) and isinstance(other, Bilinear)
    assert str(loaded) == str(network) and np.array_equal(other.mask, first.mask)


def test_files_that_are_no_models(tmp_path):
    path = tmp_path / "no.npz"
    np.savez(path, a=np.zeros(3))
    with pytest.raises(ModelError, match="`path` must be a model file"):
        load_model(path)
    path.write_bytes(b"something else")
    with pytest.raises(ModelError, match="`path` must be a model file"):
        load_model(path)


def test_small_graphs_are_drawn_and_large_ones_refused():
    graph = forest(0, 4, 3, 6)
    figure, axes = plt.subplots()
    draw(graph, axes)
    assert len(axes.collections) >= 4 and {"s[0]", "x[1]"} <= {text.get_text() for text in axes.texts}
    with pytest.raises(ModelError, match="`model` must have at most 200 variables and factors to be drawn"):
        draw(ising(0, 150))
    plt.close(figure)
