"""What notebooks show of graphs, models, results and estimators: HTML in which every text is escaped."""

from html.parser import HTMLParser
from typing import Any

import numpy as np
from sklearn.datasets import load_iris
from tqdm.auto import tqdm

from deepnet import MessagePassingClassifier
from factorgraph import Graph, Linear, Pairwise, infer
from factorgraph.interface.html import html_table
from factorgraph.iteration import _bar
from factorgraph.priors import GaussBernoulli
from models import GLM


class _Parsed(HTMLParser):
    """Cells of the tables; that every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def test_tables_are_escaped() -> None:
    text = html_table(["<a>"], [["x & <b>"], ['"y"']])
    assert "<b>" not in text and _Parsed(text).rows == [["<a>"], ["x & <b>"], ['"y"']]


def test_graphs_and_results() -> None:
    graph = Graph()
    s, x = graph.spins("s<1>", (2, 3), field=0.1), graph.reals("x", 4, precision=1.0)
    c = graph.categories("c", 2, states=3)
    graph.add(Pairwise(s[0], s[1], coupling=0.3))
    graph.add(Linear(x[1:], x[:-1], coefficients=[1, -1], noise=0.5))
    rows = _Parsed(graph._repr_html_()).rows
    assert ["variable", "shape"] in rows and ["factor"] in rows and len(rows) == 2 + 3 + 2
    assert [row[1] for row in rows[1:4]] == ["2x3", "4", "2"] and "s<1>" in rows[1][0]
    assert graph._repr_html_() == graph.model._repr_html_() and c.shape == (2,)
    result = infer(graph)
    text = result._repr_html_()
    rows = _Parsed(text).rows
    assert rows == [
        ["variable", "shape", "law"],
        *([n, s, repr(result[n])] for n, s in (("s<1>", "2x3"), ("x", "4"), ("c", "2"))),
    ]
    assert "exact" in text


def test_many_factors_are_not_all_shown() -> None:
    graph = Graph()
    s = graph.spins("s", 60)
    for i in range(59):
        graph.add(Pairwise(s[i], s[i + 1], coupling=0.1))
    rows = _Parsed(graph._repr_html_()).rows
    assert len(rows) == 2 + 1 + 40 + 1 and rows[-1] == ["59 in all"]


def test_results_of_models_and_estimators() -> None:
    rng = np.random.default_rng(0)
    W = rng.standard_normal((20, 10)) / 3
    prior = GaussBernoulli(0.3)
    from factorgraph.channels import Identity

    result: Any = GLM(prior, W, Identity(0.1)).infer(W @ prior.sample(10, rng))
    names = [row[0] for row in _Parsed(result._repr_html_()).rows[1:]]
    assert names and all(hasattr(result, name) for name in names)
    X, y = load_iris(return_X_y=True)
    classifier: Any = MessagePassingClassifier(hidden=(3,), epochs=1, random_state=0).fit(X, y)
    assert "MessagePassingClassifier" in classifier._repr_html_()


def test_the_bar_is_the_one_for_the_place() -> None:
    """That of ``tqdm.auto``: a widget in a notebook, text elsewhere."""
    with _bar(3, "sweeps") as bar:
        assert isinstance(bar, tqdm)
