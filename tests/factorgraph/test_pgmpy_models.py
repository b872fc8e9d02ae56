"""Networks of pgmpy, from objects that have what its own have."""

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest
import tolerances as tol
from scipy.special import logsumexp

from factorgraph import ModelError, exact, from_pgmpy


def factor(variables, values):
    return SimpleNamespace(variables=list(variables), values=np.asarray(values, dtype=float))


def network(tables, *, laws, nodes=None):
    nodes = nodes or list(dict.fromkeys(v for variables, _ in tables for v in variables))
    factors = [factor(*table) for table in tables]
    if laws:
        given = [SimpleNamespace(to_factor=lambda f=f: f) for f in factors]
        return SimpleNamespace(nodes=lambda: nodes, get_cpds=lambda: given)
    return SimpleNamespace(nodes=lambda: nodes, get_factors=lambda: factors)


@pytest.mark.parametrize("laws", [True, False])
def test_marginals_are_those_of_the_tables(laws):
    rng = np.random.default_rng(0)
    shapes = {"a": 2, "b": 3, "c": 3, "d": 1}
    scopes = ["a", "ba", "cb", "dab"]
    tables = []
    for scope in scopes:
        values = rng.uniform(0.1, 1.0, [shapes[v] for v in scope])
        tables.append((scope, values / values.sum(axis=0) if laws else values))
    graph, places = from_pgmpy(network(tables, laws=laws))
    dense = np.zeros((2, 3, 3))
    for scope, values in tables:
        index = [np.arange(shapes[v]).reshape([-1 if u == v else 1 for u in "abc"]) if v != "d" else 0 for v in scope]
        dense = dense + np.log(values)[tuple(index)]
    assert places["d"] is None
    result = exact(graph)
    assert result.log_partition == pytest.approx(logsumexp(dense), abs=tol.TREE)
    if laws:
        assert result.log_partition == pytest.approx(0.0, abs=tol.TREE)
    p = np.exp(dense - logsumexp(dense))
    for axis, name in enumerate("abc"):
        place = places[name]
        others = tuple(k for k in range(3) if k != axis)
        np.testing.assert_allclose(
            result[place.name].probabilities[int(place.indices)], p.sum(axis=others), atol=tol.TREE
        )


WRONG = {
    "a network of pgmpy": lambda: from_pgmpy(3),
    "`get_cpds` or `get_factors`": lambda: from_pgmpy(SimpleNamespace(nodes=lambda: ["a"])),
    "a table of every node": lambda: from_pgmpy(network([("a", [1, 2])], laws=False, nodes=["a", "b"])),
    "one number of states": lambda: from_pgmpy(network([("a", [1, 2]), ("a", [1, 2, 3])], laws=False)),
    "more than one state": lambda: from_pgmpy(network([("a", [1.0])], laws=True)),
    "an axis for each": lambda: from_pgmpy(network([("ab", [1.0, 2.0])], laws=True)),
    ">= 0": lambda: from_pgmpy(network([("a", [1.0, -2.0])], laws=True)),
    "the nodes of all": lambda: from_pgmpy(network([("ab", np.ones((2, 2)))], laws=True, nodes=["a"])),
}


@pytest.mark.parametrize("words", WRONG)
def test_wrong_networks(words):
    with pytest.raises(ModelError, match="`model`") as caught:
        WRONG[words]()
    assert words in str(caught.value)


@pytest.mark.skipif(importlib.util.find_spec("pgmpy") is None, reason="pgmpy is not there")
def test_objects_of_the_package():
    from pgmpy.factors.discrete import TabularCPD  # pyright: ignore
    from pgmpy.models import DiscreteBayesianNetwork  # pyright: ignore

    model = DiscreteBayesianNetwork([("rain", "wet")])
    model.add_cpds(
        TabularCPD("rain", 2, [[0.8], [0.2]]),
        TabularCPD("wet", 2, [[0.9, 0.1], [0.1, 0.9]], evidence=["rain"], evidence_card=[2]),
    )
    graph, places = from_pgmpy(model)
    p = exact(graph)["x2"].probabilities[int(places["wet"].indices)]
    np.testing.assert_allclose(p, [0.74, 0.26], atol=tol.TREE)
