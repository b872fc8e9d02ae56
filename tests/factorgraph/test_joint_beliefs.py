"""Joint beliefs of the arguments of factors of every kind, against integration over all of them."""

import numpy as np
import pytest
import tolerances as tol
from members import FACTORS

from factorgraph import Function, Graph, Linear, Logical, Mixed, Pairwise, Parity, PSpin, Switch, infer
from factorgraph.engine.unroll import unroll
from factorgraph.factors.base import chosen
from factorgraph.model.graph import model_of
from factorgraph.reference.check_factor import _grid, _random_laws

#: Kinds whose messages are expansions for sums of many terms.
WITHOUT = {"Bilinear", "Neurons", "Sum", "LinearMap"}


def mixed():
    """A function of a category, a spin and two real variables that is no Gaussian."""
    graph = Graph()
    c, s = graph.categories("c", states=3, field=[0.1, 0.4, -0.2]), graph.spins("s", field=0.2)
    x = graph.reals("x", 2, precision=1.0)
    logs = np.array([0.3, -0.4, 0.1])
    graph.add(Function(lambda a, c, b, s: logs[c] * a * b - 0.1 * a**4 + 0.3 * s * np.sin(b + c), x[0], c, x[1], s))
    return graph


def by_integration(kind, parameters, incoming):
    """Probabilities, means and covariances from the values of the factor on a grid of all arguments."""
    x, log_q = _grid(kind, parameters, incoming)
    log_w = log_q + kind.log_factor(parameters, *(v[None] for v in x))[0]
    w = np.exp(log_w - log_w.max())
    w /= w.sum()
    state = np.zeros(w.size, dtype=int)
    shape = []
    for own in kind.discrete:
        q = own.stop - own.start
        number = np.stack(x[own], axis=-1).argmax(axis=-1) if q > 1 else (x[own.start] < 0).astype(int)
        state = state * max(q, 2) + number
        shape.append(max(q, 2))
    reals = np.array([x[i] for i in kind.reals]).reshape(len(kind.reals), w.size)
    p, means, covariances = [], [], []
    for n in range(int(np.prod(shape))):
        own = w * (state == n)
        p.append(own.sum())
        means.append(reals @ own / own.sum())
        rest = reals - means[-1][:, None]
        covariances.append((own * rest) @ rest.T / own.sum())
    r = len(reals)
    return np.reshape(p, shape), np.reshape(means, (*shape, r)), np.reshape(covariances, (*shape, r, r))


@pytest.mark.parametrize("name", [*sorted(FACTORS.keys() - WITHOUT), "mixed"])
def test_every_kind(name):
    graph = unroll(model_of(mixed() if name == "mixed" else FACTORS[name]()))
    (stack,) = graph.stacks
    parameters = chosen(stack.parameters, np.arange(1))
    for seed in range(3):
        incoming = _random_laws(stack.kind, parameters, np.random.default_rng(seed), 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):  # what a constraint forbids has no moments
            expected = by_integration(stack.kind, parameters, incoming)
        for found, truth in zip(stack.kind.joint(parameters, incoming), expected, strict=True):
            np.testing.assert_allclose(found[0], truth, atol=tol.QUADRATURE_RULE)


@pytest.mark.parametrize("name", sorted(WITHOUT))
def test_what_has_none_says_so(name):
    model = model_of(FACTORS[name]())
    observed = {v.name: np.ones([s or 1 for s in model.shape(v.name)]) for v in model.variables.values() if v.observed}
    with pytest.raises(ValueError, match="exact messages"):
        infer(model, observed=observed, max_sweeps=2).pairs(model.factors[0])


def test_shapes_and_forms():
    rng = np.random.default_rng(0)
    graph = Graph()
    s, x = graph.spins("s", (2, 4), field=0.3), graph.reals("x", 5, precision=1.0)
    v, c = graph.vectors("v", 2, dimension=2, precision=1.0), graph.categories("c", states=2)
    groups = {
        "table": (PSpin(*s.columns, coupling=0.4), (2, 2, 2, 2, 2)),
        "covariance": (Linear(x[1:], x[:-1], coefficients=[1.0, -0.9], noise=0.3), (4, 2, 2)),
        "vectors": (Linear(v[0], v[1], coefficients=[np.ones((1, 2)), np.eye(2)[:1]], target=[0.2]), (4, 4)),
        "both": (Pairwise(x[0], s[0, 0], coupling=0.5), (2, 2, 2)),
        "switch": (Switch(c, x[4], coefficients=[[1.0], [2.0]], target=[0.1, -0.3], noise=0.5), (2, 1, 1)),
    }
    for factor, _ in groups.values():
        graph.add(factor)
    result = infer(graph)
    for name, (factor, shape) in groups.items():
        law = result.pairs(factor)
        assert isinstance(law, Mixed) == (name in ("both", "switch"))
        assert (law.covariance[:, :1, :1] if name == "both" else law.covariance if name == "switch" else law).shape == (
            (2, 1, 1) if name == "both" else shape
        )
    # A Kalman smoother's covariances of neighbours.
    chain = Graph()
    x = chain.reals("x", 6, field=rng.normal(size=6), precision=1.0)
    step = Linear(x[1:], x[:-1], coefficients=[1.0, -0.9], noise=0.3)
    chain.add(step)
    P = np.eye(6)
    for t in range(5):
        row = np.zeros(6)
        row[[t, t + 1]] = -0.9, 1.0
        P += np.outer(row, row) / 0.3
    lag = np.diagonal(np.linalg.inv(P), offset=1)
    np.testing.assert_allclose(infer(chain).pairs(step)[:, 0, 1], lag, atol=tol.TREE)


def test_observed_arguments_have_no_spread():
    graph = Graph()
    x = graph.reals("x", 3, precision=1.0)
    factor = Linear(*x, coefficients=[1.0, 2.0, -1.0], noise=0.5)
    graph.add(factor)
    covariance = infer(graph, observed={"x": [np.nan, 0.7, np.nan]}).pairs(factor)
    assert np.all(covariance[1] == 0) and np.all(covariance[:, 1] == 0)
    inverse = np.linalg.inv(np.eye(2) + np.outer([1, -1], [1, -1]) / 0.5)
    np.testing.assert_allclose(covariance[np.ix_([0, 2], [0, 2])], inverse, atol=tol.TREE)


def test_tables_that_are_too_large():
    graph = Graph()
    s = graph.spins("s", 30)
    graph.add(Parity(*s))
    graph.add(Logical(*s, relation="at-most", count=3))
    result = infer(graph, schedule="flooding")
    for factor in graph.model.factors:
        with pytest.raises(ValueError, match=r"2\^24"):
            result.pairs(factor)
    with pytest.raises(ValueError, match="`maximum`"):
        infer(graph, schedule="flooding", maximum=True, max_sweeps=1).pairs(graph.model.factors[0])
