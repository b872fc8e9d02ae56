"""Messages by factor and variable, first messages from arrays, and log Z of each copy of a batch."""

import numpy as np
import pytest
import tolerances as tol

from factorgraph import Graph, Linear, Pairwise, Potts, Switch, Table, infer


def mixed():
    rng = np.random.default_rng(0)
    graph = Graph()
    s, c = graph.spins("s", (2, 3), field=0.3), graph.categories("c", 2, states=3, field=rng.normal(size=(2, 3)))
    x, v = graph.reals("x", 3, precision=1.0), graph.vectors("v", 2, dimension=2, precision=1.0)
    factors = [
        Pairwise(s[1:], s[:-1], coupling=rng.normal(size=(1, 3))),
        Table(c, s[0, :2], log_table=rng.normal(size=(3, 2))),
        Pairwise(x, s[0], coupling=0.4),
        Linear(v[0], v[1], coefficients=[np.eye(2), -np.eye(2)], target=[0.3, -0.2]),
        Switch(c[0], x[2], coefficients=np.ones((3, 1)), target=[0.0, 1.0, 2.0]),
        Potts(c[0], c[1], coupling=0.5),
    ]
    for factor in factors:
        graph.add(factor)
    return graph, factors


def test_beliefs_are_the_messages_together():
    """Own weights times what the factors have sent, found by their names, are the beliefs."""
    graph, (pair, table, tie, vector, switch, potts) = mixed()
    result = infer(graph, **tol.TIGHT)
    s = np.full((2, 3), 0.3)
    s[1] += result.sent(pair, 0).B[0]
    s[0] += result.sent(pair, 1).B[0] + result.sent(tie, "s").B
    s[0, :2] += result.sent(table, "s").B
    np.testing.assert_allclose(np.tanh(s), result["s"].mean, atol=tol.LOOPY)
    c = graph.model.variables["c"].field + result.sent(table, "c").B
    c[0] += result.sent(switch, "c").B + result.sent(potts, 0).B
    c[1] += result.sent(potts, 1).B
    p = np.exp(c) / np.exp(c).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(p, result["c"].probabilities, atol=tol.LOOPY)
    B, A = result.sent(tie, "x")
    B[2] += result.sent(switch, "x").B
    A[2] += result.sent(switch, "x").A
    np.testing.assert_allclose(B / (1 + A), result["x"].mean, atol=tol.LOOPY)
    B, A = result.sent(vector, 0)
    assert B.shape == (2,) and A.shape == (2, 2)
    np.testing.assert_allclose(np.linalg.solve(np.eye(2) + A, B), result["v"].mean[0], atol=tol.LOOPY)
    for wrong in ("s", 2, "t", True):
        with pytest.raises(ValueError, match="`argument`"):
            result.sent(pair, wrong)


def test_a_run_goes_on_from_arrays():
    graph, _ = mixed()
    end = infer(graph, schedule="flooding", **tol.TIGHT)
    again = infer(graph, schedule="flooding", start=(end.B, end.A), tolerance=1e-6)
    assert again.sweeps <= 5 and again.converged
    for start in ((end.B,), (end.B[:-1], end.A), (end.B * np.nan, end.A), (end.B, end.A + np.inf)):
        with pytest.raises(ValueError, match="`start`"):
            infer(graph, schedule="flooding", start=start)


def test_every_copy_of_a_batch_has_its_log_partition():
    graph, _ = mixed()
    fields = {"s": np.random.default_rng(1).normal(size=(4, 2, 3))}
    batch = infer(graph, batch=4, fields=fields, **tol.TIGHT)
    alone = [infer(graph, fields={"s": own}, **tol.TIGHT).log_partition for own in fields["s"]]
    np.testing.assert_allclose(batch.log_partitions, alone, atol=tol.LOOPY)
    assert batch.log_partition == pytest.approx(batch.log_partitions.sum())
