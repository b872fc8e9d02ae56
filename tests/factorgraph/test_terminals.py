"""What is printed can be printed on terminals of few letters, and is whole on others."""

import io
import sys

import numpy as np
import pytest

from factorgraph import Graph, Linear, ModelError, Pairwise, Sum, check_factor, exact, infer
from factorgraph.channels import Sign
from factorgraph.factors import Bilinear


def things() -> list[object]:
    graph = Graph()
    s = graph.spins("σ", (2, 3), field=0.1)
    x = graph.reals("x", 4, precision=2.0)
    graph.add(Pairwise(s[:-1], s[1:], coupling=0.3))
    graph.add(Sum(s[0, 0], x[0], x[1], channel=Sign()))
    graph.add(Linear(x[2], x[3]))
    factors = [Bilinear("y", "w", "x", Sign(), scale=0.5, mask=np.eye(2, dtype=bool))]
    things = [graph, graph.model, s, *graph.model.factors, *factors, infer(graph), exact_chain()]
    for wrong in (lambda: graph.spins("t", -1), lambda: infer(graph, observed={"x": [np.inf] * 4})):
        with pytest.raises(ModelError) as error:
            wrong()
        things.append(error.value)
    graph.add(Linear(x[0], x[0]))
    with pytest.raises(ModelError) as error:
        infer(graph)
    return [*things, error.value]


def exact_chain() -> object:
    graph = Graph()
    x = graph.reals("x", 3, precision=2.0)
    graph.add(Pairwise(x[1:], x[:-1], coupling=0.3))
    assert exact(graph).log_partition == pytest.approx(infer(graph).log_partition)
    return check_factor(graph, cases=1)


@pytest.mark.parametrize("encoding", ["ascii", "cp437", "latin-1", "utf-8"])
def test_texts_on_any_terminal(encoding, monkeypatch):
    stream = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(stream, encoding=encoding))
    for thing in things():
        print(thing)
        if not isinstance(thing, Exception):
            print(repr(str(thing)))
    sys.stdout.flush()
    text = stream.getvalue().decode(encoding)
    assert ("Pairwise(σ, σ) × 3" if encoding == "utf-8" else "Pairwise(") in text and len(text) > 200
    assert ("x 3" in text) == (encoding in ("ascii", "cp437"))
