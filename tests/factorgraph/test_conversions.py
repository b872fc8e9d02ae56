"""What NumPy would convert in silence is refused, or honoured: masks, imaginary parts, columns, rows half taken."""

from fractions import Fraction

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wrong_values import Stubborn

from factorgraph import Function, Graph, Linear, ModelError, Pairwise, Sum, exact, from_networkx, infer
from factorgraph.channels import Probit

pytestmark = pytest.mark.quick

TARGET = np.array([0.3, -1.2, 0.7])


def measured(target=0.0, observed=None, **options):
    graph = Graph()
    x = graph.reals("x", 3, precision=1.0)
    y = graph.reals("y", 3)
    graph.add(Linear(y, x, coefficients=[1.0, -1.0], target=target, noise=0.5))
    return infer(graph, observed=observed, **options)


@settings(max_examples=20)
@given(mask=st.lists(st.booleans(), min_size=3, max_size=3))
def test_masked_observations_are_free(mask):
    masked = np.ma.array(TARGET, mask=mask)
    free = np.where(mask, np.nan, TARGET)
    for given_values in (
        masked,
        masked.filled(np.nan),
        [np.ma.array(v, mask=m) for v, m in zip(TARGET, mask, strict=True)],
    ):
        result = measured(observed={"y": given_values})
        np.testing.assert_array_equal(result["x"].mean, measured(observed={"y": free})["x"].mean)
    assert (measured(observed={"y": masked})["y"].variance > 0.0).tolist() == mask


@pytest.mark.parametrize(
    "values", [TARGET * (1 + 0j), np.ma.array(TARGET, mask=[0, 1, 0]), TARGET[:, None], Stubborn()]
)
def test_targets_and_evidence_are_what_they_seem(values):
    for call in (
        lambda: measured(values),
        lambda: measured(fields={"x": values}),
        lambda: measured(precisions={"x": values}),
    ):
        with pytest.raises(ModelError, match=r"`(target|fields|precisions)`.* must"):
            call()


def test_a_batch_has_its_axis_in_front():
    """With as many copies as elements, a column would be one value a copy."""
    column = {"observed": {"y": TARGET[:, None]}}
    with pytest.raises(ModelError, match=r"`observed` of `y` must be of shape \(3,\) or \(3, 3\), got \(3, 1\)"):
        measured(batch=3, **column)
    batch = measured(batch=2, observed={"y": np.stack([TARGET, -TARGET])})
    np.testing.assert_array_equal(batch["x"].mean[1], measured(observed={"y": -TARGET})["x"].mean)


def test_a_precision_of_vectors_is_a_multiple_of_the_identity():
    graph = Graph()
    graph.vectors("x", 2, 3, precision=1.0, field=[1.0, 2.0, 3.0])
    np.testing.assert_allclose(infer(graph, precisions={"x": 1.0})["x"].mean, [[0.5, 1.0, 1.5]] * 2, rtol=1e-15)
    result = infer(graph, precisions={"x": np.eye(3)}, fields={"x": [1.0, 0.0, 0.0]})
    np.testing.assert_allclose(result["x"].mean, [[1.0, 1.0, 1.5]] * 2, rtol=1e-15)
    np.testing.assert_allclose(exact(graph, precisions={"x": 1.0})["x"].mean, [[0.5, 1.0, 1.5]] * 2, rtol=1e-15)


def test_columns_are_not_stretched():
    graph = Graph()
    x = graph.reals("x", (4, 2), precision=1.0)
    v = graph.vectors("v", 4, 2, precision=1.0)
    for call in (
        lambda: Linear(*x.columns, coefficients=np.ones((4, 1))),
        lambda: Sum(graph.spins("s", 4), *x.columns, channel=Probit(1.0), coefficients=np.ones((4, 1))),
        lambda: Linear(v, coefficients=[np.ones((2, 1))]),
        lambda: Linear(v, noise=np.ones((2, 1))),
        lambda: Linear(v, target=np.ones((4, 1))),
        lambda: Pairwise(x[:, 0], x[:, 1], coupling=np.ones((4, 1))),
    ):
        with pytest.raises(ModelError, match=r"`(coefficients|noise|target|coupling)` must"):
            call()


@settings(max_examples=30)
@given(
    place=st.integers(0, 2),
    wrong=st.sampled_from([None, "1", 1j, 10**400, [1.0], np.ones(1), np.ma.masked, b"1", Stubborn(), np.array("1")]),
    times=st.integers(1, 4),
)
def test_a_refused_row_leaves_nothing(place, wrong, times):
    """Whatever was wrong before, the factors are those of the calls that went well."""
    graph, alone = Graph(), Graph()
    for g, refused in ((graph, times), (alone, 0)):
        s = g.spins("s", 4, field=[0.1, 0.2, 0.3, 0.4])
        couple = g.one_by_one(Pairwise, s, s)
        for _ in range(refused):
            row = [2, 3, 0.7]
            row[place] = wrong
            with pytest.raises(ModelError, match=r"`(index_1|index_2|coupling)` must be"):
                couple(*row)
            with pytest.raises(ModelError, match="must be given by 3 numbers"):
                couple(2, 3)
        couple(np.int8(0), np.uint16(1), Fraction(1, 2))
        couple(True, 2, np.float16(0.25))
    np.testing.assert_array_equal(infer(graph)["s"].mean, infer(alone)["s"].mean)
    assert len(graph.model.factors[0].coupling) == 2


def test_kinds_that_are_given_something_else():
    graph = Graph()
    s, x = graph.spins("s", 3), graph.reals("x", 3, precision=1.0)
    for call, message in (
        (lambda: graph.one_by_one(Sum, s, x), "`targets` and `fixed` must be those of Sum"),
        (lambda: graph.one_by_one(Sum, s, x, chanel=Probit(1.0)), r"`fixed` of Sum must be among \['channel'\]"),
        (lambda: graph.one_by_one(Pairwise, s), "`targets` and `fixed` must be those of Pairwise"),
        (lambda: graph.one_by_one(Pairwise), "`targets` and `fixed` must be those of Pairwise"),
        (lambda: graph.one_by_one(Function, s, s, log_factor=lambda a: a), "`log_factor` must take 2 arguments"),
    ):
        with pytest.raises(ModelError, match=message):
            call()
    assert graph.model.factors == ()


def test_nodes_and_edges_are_named():
    loops = nx.Graph([("berlin", "paris", {"coupling": 0.3}), ("paris", "paris", {"coupling": 0.2})])
    with pytest.raises(ModelError, match="`graph` must have no self-loops, got one on the node 'paris'"):
        from_networkx(loops)
    strange = nx.Graph([("berlin", "paris", {"coupling": "strong"})])
    with pytest.raises(ModelError, match=r"`coupling` of the edge `\('berlin', 'paris'\)` must be a finite number"):
        from_networkx(strange)
    strange.nodes["paris"]["field"] = 10**400
    with pytest.raises(ModelError, match="`field` of the node `'paris'` must be a finite number"):
        from_networkx(strange)
    for graph, message in ((nx.Graph(), "must have a node"), (nx.DiGraph([(0, 1)]), "must be undirected")):
        with pytest.raises(ModelError, match=f"`graph` {message}"):
            from_networkx(graph)


def test_sizes_of_any_integer_type():
    for n in (np.int8(3), np.uint64(3), np.intp(3)):
        graph = Graph()
        v = graph.vectors("v", (n,), n, precision=1.0)
        graph.add(Linear(v[1:], v[:-1], coefficients=[1, -1], noise=0.5))
        graph.spins("s", [n, n])
        assert infer(graph, batch=n, max_sweeps=n, rng=n).covariance("v").shape == (3, 3, 3, 3)
        assert all(type(size) is int for size in graph.model.plates.values())


def test_huge_sizes_are_errors_about_the_size():
    graph = Graph()
    graph.spins("t", 2)
    for call in (
        lambda: graph.spins("s", 10**12),
        lambda: graph.reals("x", (10**6, 10**6)),
        lambda: graph.vectors("v", 3, 10**6),
        lambda: graph.vectors("v", 10**6, 1000),
        lambda: infer(graph, batch=10**12),
    ):
        with pytest.raises(ValueError, match=r"`(shape|dimension|batch)`"):
            call()
