"""Building, printing, drawing, saving, and networkx."""

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
import pytest
import tolerances as tol
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import forest, ising

from deepnet.network import perceptron
from factorgraph import (
    Function,
    Graph,
    Linear,
    ModelError,
    Pairwise,
    Parity,
    PSpin,
    Selection,
    Sum,
    draw,
    exact,
    factors,
    from_bipartite,
    from_networkx,
    infer,
    load_model,
    save_model,
    to_networkx,
)
from factorgraph.channels import Probit, Sign
from factorgraph.factors import Bilinear
from factorgraph.priors import Gaussian, Mixture

pytestmark = pytest.mark.quick


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
    with pytest.raises(ModelError, match="`kind` must be a class of factors on selections of variables"):
        single.one_by_one(Bilinear, t)
    with pytest.raises(ModelError, match="targets must be scalars for factors one at a time, got vectors"):
        single.one_by_one(Linear, single.vectors("v", 3))
    with pytest.raises(ModelError, match="`log_factor` must be given for functions one at a time"):
        single.one_by_one(Function, t)


def interaction(a, b, strength):
    return strength * a * b + 0.1 * a


#: Variables of the arguments, parameters of one factor by name from a generator, and what all factors have in common.
KINDS = {
    "Pairwise": ("ss", lambda rng: {"coupling": rng.normal()}, {}),
    "PSpin": ("sss", lambda rng: {"coupling": rng.normal()}, {}),
    "Parity": ("ss", lambda rng: {"sign": 1.0}, {}),
    "Linear": ("xxs", lambda rng: {"coefficients": rng.normal(size=3), "target": 0.3, "noise": 0.5}, {}),
    "Sum": ("sxx", lambda rng: {"coefficients": rng.normal(size=2)}, {"channel": Probit(0.7)}),
    "Function": ("ss", lambda rng: {"parameters": rng.normal(size=1)}, {"log_factor": interaction}),
    "Neurons": ("sssxxs", lambda rng: {}, {"channel": Sign(), "scale": 0.5}),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_built_in_three_ways(name):
    """Arrays, single factors in a loop, and a row of numbers each."""
    kind, (arguments, parameters, shared) = getattr(factors, name), KINDS[name]
    rng = np.random.default_rng(0)
    tables = {
        "s": rng.permuted(np.tile(np.arange(12), (5, 1)), axis=1),
        "x": np.array([[0, 1], [1, 2], [3, 4]] * 2)[:5],
    }
    place = [arguments[:i].count(v) for i, v in enumerate(arguments)]
    rows = [parameters(rng) for _ in range(5)]
    results = []
    for way in ("arrays", "single", "rows"):
        graph = Graph()
        variables = {
            "s": graph.spins("s", 12, field=np.linspace(-1, 1, 12)),
            "x": graph.reals("x", 5, field=0.3, precision=2.0),
        }
        columns = [variables[v][tables[v][:, i]] for v, i in zip(arguments, place, strict=True)]
        if way == "arrays":
            together = {key: np.array([row[key] for row in rows]) for key in rows[0]}
            graph.add(kind.from_rows(columns, together, shared))
        elif way == "single":
            for f, row in enumerate(rows):
                single = {key: np.asarray(value)[None] for key, value in row.items()}
                graph.add(kind.from_rows([column[f : f + 1] for column in columns], single, shared))
        else:
            add = graph.one_by_one(kind, *(variables[v] for v in arguments), **shared)
            for f, row in enumerate(rows):
                indices = [tables[v][f, i] for v, i in zip(arguments, place, strict=True)]
                add(*indices, *(number for value in row.values() for number in np.ravel(value)))
        results.append(infer(graph, damping=0.2, max_sweeps=5, tolerance=0))
    assert np.abs(results[0].B).max() > 0.1
    for other in results[1:]:
        np.testing.assert_array_equal(other.B, results[0].B)
        np.testing.assert_array_equal(other.A, results[0].A)


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda g: g.spins("s", 2), "names of variables must differ, got 's' twice"),
        (lambda g: g.spins("t", 0), "`shape` of `t` must be of sizes >= 1"),
        (lambda g: g.spins("t", 2, field=[1, 2, 3]), "`field` of `t` must be a number or of shape"),
        (lambda g: g.spins("t", 2, field=np.inf), "`field` of `t` must be finite numbers"),
        (lambda g: g.spins("t", 2, prior=Gaussian()), "`prior` of spins `t` must be one of spins"),
        (
            lambda g: g.add(Pairwise(Selection.whole("u", (3,))[0], g.spins("t", 2)[0], coupling=1)) or g.model,
            "got 'u'",
        ),
        (
            lambda g: g.add(Pairwise(Selection.whole("s", (9,))[8], g.spins("t", 2)[0], coupling=1)) or g.model,
            "in 0..4",
        ),
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
    couplings = sorted(value for _, value in back.nodes(data="coupling") if value is not None)
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


def same_answers(first, second):
    assert second.graph.layout.shapes == first.graph.layout.shapes
    assert second.log_partition == pytest.approx(first.log_partition, rel=tol.TREE, abs=tol.TREE)
    for name in first.graph.layout.shapes:
        np.testing.assert_allclose(second[name].mean, first[name].mean, rtol=0, atol=tol.TREE)


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1))
def test_any_model_goes_through_networkx(seed):
    """Names, shapes, own weights and factors of all kinds come back from the bipartite graph."""
    graph = forest(seed, 6, 3, 10)
    walk = graph.vectors("walk", (2, 2), 2, precision=1.0)
    graph.add(Linear(walk[0], walk[1], coefficients=[np.eye(2), [[1.0, 0.5], [0.0, 1.0]]], target=1.0, noise=0.3))
    network = to_networkx(graph)
    back, places = from_bipartite(network)
    same_answers(infer(graph), infer(back))
    assert places["walk[1, 0]"].indices == 2 and places["z"].name == "z"
    renamed, places = from_bipartite(nx.relabel_nodes(network, {node: f"node {node}" for node in network}))
    same_answers(infer(graph), infer(renamed))
    assert places["node s[2]"].name == "s"


def test_networks_and_laws_go_through_networkx():
    network = perceptron([3, 2, 1], activation="relu", bias=True, density=0.9, rng=0)
    back, _ = from_bipartite(to_networkx(network, {"samples": 4}))
    rng = np.random.default_rng(0)
    data = {"x0": rng.normal(size=(3, 4)), "y": rng.choice([-1.0, 1.0], (1, 4))}
    options = {"schedule": "forward-backward", "max_sweeps": 3, "tolerance": 0, "observed": data}
    first, second = infer(network, **options), infer(back, **options)
    for name in ("W0", "b0", "W1", "x1"):
        np.testing.assert_allclose(second[name].mean, first[name].mean, rtol=0, atol=tol.TREE)
        assert np.abs(first[name].variance).min() > 0


def test_a_bipartite_graph_made_by_hand():
    network = nx.Graph()
    network.add_node("up", kind="spin", field=0.5)
    network.add_node("down", kind="spin")
    network.add_node("level", kind="real", prior=Gaussian(0.0, 2.0))
    network.add_node("tie", kind="factor", factor="Pairwise", coupling=-0.4)
    network.add_node("look", kind="factor", factor="Linear", coefficients=[2.0, -1.0], target=0.3, noise=0.5)
    network.add_edges_from([("tie", "up"), ("tie", "down")])
    network.add_edge("look", "up", argument=1)
    network.add_edge("look", "level", argument=0)
    graph, places = from_bipartite(network)
    direct = Graph()
    s, x = direct.spins("s", 2, field=[0.5, 0.0]), direct.reals("x", 1, prior=Gaussian(0.0, 2.0))
    direct.add(Pairwise(s[0], s[1], coupling=-0.4))
    direct.add(Linear(x[0], s[0], coefficients=[2.0, -1.0], target=0.3, noise=0.5))
    same_answers(infer(direct), infer(graph))
    assert {node: (place.name, int(place.indices)) for node, place in places.items()} == {
        "up": ("s", 0),
        "down": ("s", 1),
        "level": ("x", 0),
    }


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda n: n.add_node("a", kind="cat"), "`kind` of 'a' must be 'spin', 'real', 'category' or"),
        (lambda n: n.add_node("a", kind="factor", factor="Cat"), "`factor` of 'a' must be one of .*got 'Cat'"),
        (lambda n: n.add_node("a", kind="factor", factor="Pairwise"), "neighbours of the factor 'a' must be variables"),
        (lambda n: n.add_node("a", kind="spin", variable="s", index=(3,)), "`index` of the nodes of `s` must fill"),
        (lambda n: n.add_node("a", kind="real", variable="s"), "nodes of `s` must agree in kind"),
    ],
)
def test_bipartite_graphs_that_are_no_models(change, message):
    network = to_networkx(ising(0, 4))
    change(network)
    with pytest.raises(ModelError, match=message):
        from_bipartite(network)


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
