"""Binary quadratic models against their energies in all states."""

from enum import Enum

import numpy as np
import pytest
import tolerances as tol
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from factorgraph import Graph, ModelError, Pairwise, Parity, QuadraticModel, exact, from_dimod, to_dimod

quick = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32 - 1)
vartypes = st.sampled_from(["SPIN", "BINARY"])


class Vartype(Enum):
    """As dimod has it."""

    SPIN = frozenset([-1, 1])
    BINARY = frozenset([0, 1])


def random_model(seed, vartype):
    rng = np.random.default_rng(seed)
    labels = ["a", 7, ("b", 1), "c", "d"][: rng.integers(1, 6)]
    pairs = [(u, v) for i, u in enumerate(labels) for v in labels[:i] if rng.random() < 0.6]
    return QuadraticModel(
        dict(zip(labels, rng.normal(size=len(labels)), strict=True)),
        dict(zip(pairs, rng.normal(size=len(pairs)), strict=True)),
        float(rng.normal()),
        vartype,
    )


def energies(model):
    """In all states of the variables, in their order; the first value of each is the larger one."""
    axes = np.indices((2,) * len(model.linear))
    values = 1 - axes if model.vartype == "BINARY" else 1 - 2 * axes
    x = dict(zip(model.linear, values, strict=True))
    total = model.offset + sum(a * x[v] for v, a in model.linear.items())
    return total + sum(b * x[u] * x[v] for (u, v), b in model.quadratic.items())


@quick
@given(seed=seeds, vartype=vartypes, beta=st.sampled_from([1.0, 0.4]))
def test_models_have_the_weights_of_their_energies(seed, vartype, beta):
    model = random_model(seed, vartype)
    graph, labels, offset = from_dimod(model._replace(vartype=Vartype[vartype]), beta=beta)
    assert labels == list(model.linear)
    logs, solution = -beta * energies(model), exact(graph)
    assert solution.log_partition - beta * offset == pytest.approx(logsumexp(logs), abs=tol.TREE)
    p = np.exp(logs - logsumexp(logs))
    for i, mean in enumerate(solution["s"].mean):
        up, down = np.moveaxis(p, i, 0).reshape(2, -1).sum(axis=1)
        assert mean == pytest.approx(up - down, abs=tol.TREE)


@quick
@given(seed=seeds, vartype=vartypes, other=vartypes)
def test_energies_survive_a_round_trip(seed, vartype, other):
    model = random_model(seed, vartype)
    graph, _, offset = from_dimod(model)
    again = to_dimod(graph, vartype=other, offset=offset)
    assert again.vartype == other
    np.testing.assert_allclose(energies(again), energies(model), atol=tol.TREE)


def test_names_and_parallel_factors():
    graph = Graph()
    s, t = graph.spins("s", (1, 2), field=0.5), graph.spins("t")
    graph.add(Pairwise(s[0, 0], s[0, 1], coupling=0.25))
    graph.add(Pairwise(s[0, 1], s[0, 0], coupling=0.5))
    graph.add(Pairwise(s[0, 1], t, coupling=1.0))
    assert to_dimod(graph) == (
        {"s[0, 0]": -0.5, "s[0, 1]": -0.5, "t": 0.0},
        {("s[0, 0]", "s[0, 1]"): -0.75, ("s[0, 1]", "t"): -1.0},
        0.0,
        "SPIN",
    )


def test_what_is_no_quadratic_model():
    good = random_model(0, "SPIN")
    for changes, message in (
        ({"linear": {}}, "`model` must have a variable"),
        ({"quadratic": {("a", "z"): 1.0}}, r"`quadratic` must be by pairs .* got \('a', 'z'\)"),
        ({"quadratic": {("a", "a"): 1.0}}, r"`quadratic` must be by pairs .* got \('a', 'a'\)"),
        ({"quadratic": {"ab": 1.0}}, "`quadratic` must be by pairs .* got 'ab'"),
        ({"linear": {"a": np.nan}, "quadratic": {}}, "`linear` of `'a'` must be a finite number"),
        ({"vartype": "INTEGER"}, "`vartype` must be one of"),
        ({"offset": None}, "`offset` must be"),
    ):
        with pytest.raises(ModelError, match=message):
            from_dimod(good._replace(**changes))
    parity, reals = Graph(), Graph()
    parity.add(Parity(*parity.spins("s", 3)[None].columns))
    with pytest.raises(ModelError, match="of `Pairwise` factors"):
        to_dimod(parity)
    reals.reals("x", 2, precision=1.0)
    with pytest.raises(ModelError, match="spins without priors for a quadratic model, got `x`"):
        to_dimod(reals)
