"""Vectors with Gaussian messages: against dense Gaussian algebra that is written out here."""

import numpy as np
import pytest
import tolerances as tol
from hypothesis import given, settings
from hypothesis import strategies as st
from members import LOOPY
from scipy.linalg import solve_discrete_are

from factorgraph import (
    Graph,
    IndefiniteError,
    Linear,
    Model,
    ModelError,
    Pairwise,
    Variable,
    check_factor,
    exact,
    infer,
    load_model,
    save_model,
    to_networkx,
)
from factorgraph.engine.damping import Damping
from factorgraph.engine.inputs import potentials_of
from factorgraph.engine.sweeps import ScheduledSweeps
from factorgraph.engine.unroll import unroll
from factorgraph.engine.vector_sweeps import VectorTwoPass
from factorgraph.priors import Gaussian, Laplace

TIGHT = tol.TIGHT
seeds = st.integers(0, 2**32 - 1)


class Dense:
    """The exponent c + b·z - z·Q z/2 of all components of n vectors, collected factor by factor."""

    def __init__(self, n, d, field=0.0, precision=0.0):
        self.n, self.d, self.c = n, d, 0.0
        self.b = np.broadcast_to(field, (n, d)).ravel().copy()
        self.Q = np.zeros((n * d, n * d))
        for i in range(n):
            self.Q[i * d : i * d + d, i * d : i * d + d] = np.broadcast_to(precision, (n, d, d))[i]

    def add(self, arguments, coefficients, target, noise):
        """N(target; Σ C x, noise)."""
        C = np.zeros((len(target), self.n * self.d))
        for i, matrix in zip(arguments, coefficients, strict=True):
            C[:, i * self.d : (i + 1) * self.d] += matrix
        inverse = np.linalg.inv(noise)
        self.b += C.T @ inverse @ target
        self.Q += C.T @ inverse @ C
        self.c -= 0.5 * (target @ inverse @ target + np.linalg.slogdet(2 * np.pi * noise)[1])

    def clamp(self, i, value):
        """Observe a component."""
        self.c += self.b[i] * value - 0.5 * self.Q[i, i] * value**2
        self.b = np.delete(self.b - self.Q[:, i] * value, i)
        self.Q = np.delete(np.delete(self.Q, i, 0), i, 1)

    @property
    def mean(self):
        return np.linalg.solve(self.Q, self.b)

    @property
    def covariance(self):
        return np.linalg.inv(self.Q)

    @property
    def log_partition(self):
        return self.c + 0.5 * (self.b @ self.mean - np.linalg.slogdet(self.Q / (2 * np.pi))[1])

    def blocks(self):
        d = self.d
        return np.stack([self.covariance[i * d : i * d + d, i * d : i * d + d] for i in range(self.n)])


def assert_equal(result, name, dense):
    scale = np.sqrt(np.diag(dense.covariance).max() + (dense.mean**2).max())
    np.testing.assert_allclose(result[name].mean.ravel(), dense.mean, rtol=0, atol=tol.TREE * scale)
    np.testing.assert_allclose(result.covariance(name), dense.blocks(), rtol=0, atol=tol.TREE * scale**2)
    assert result.log_partition == pytest.approx(dense.log_partition, rel=tol.TREE, abs=tol.TREE)


def smoother(y, F, noise, sigma):
    graph = Graph()
    x = graph.vectors("x", len(y), 2)
    graph.add(Linear(x[1:], x[:-1], coefficients=[1, -F], noise=noise))
    graph.add(Linear(x, coefficients=[[[1, 0]]], target=y[:, None], noise=sigma))
    return graph


def test_the_smoother_of_position_and_velocity():
    """A Kalman smoother with a flat start; two passes, and any other schedule on the same tree."""
    rng = np.random.default_rng(0)
    y, F, noise = 5 * rng.normal(size=40), np.array([[1, 0.5], [0, 1]]), np.array([[1 / 3, 1 / 2], [1 / 2, 1]])
    dense = Dense(40, 2)
    for t in range(39):
        dense.add([t + 1, t], [np.eye(2), -F], np.zeros(2), noise)
    for t in range(40):
        dense.add([t], [np.array([[1, 0]])], y[t : t + 1], np.array([[0.3]]))
    graph = smoother(y, F, noise, 0.3)
    result = infer(graph)
    assert result.exact and result.sweeps == 1
    assert_equal(result, "x", dense)
    np.testing.assert_allclose(result["x"].variance, np.diagonal(result.covariance("x"), axis1=1, axis2=2))
    entropy = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * dense.covariance)[1]
    assert result.entropy == pytest.approx(entropy, rel=tol.TREE)
    for schedule in LOOPY:
        other = infer(graph, schedule=schedule, **TIGHT)
        assert other.converged
        np.testing.assert_allclose(other["x"].mean, result["x"].mean, atol=tol.LOOPY)


def random_tree(seed, n=8, d=3):
    """A tree of vectors with own weights, factors of one to three arguments and of two to four rows; and densely."""
    rng = np.random.default_rng(seed)
    field, root = rng.normal(size=(n, d)), rng.normal(size=(n, d, d))
    precision = root @ np.swapaxes(root, 1, 2) + 0.5 * np.eye(d)
    precision = 0.5 * (precision + np.swapaxes(precision, 1, 2))
    graph, dense = Graph(), Dense(n, d, field, precision)
    x = graph.vectors("x", n, d, field=field, precision=precision)
    joined = 1
    while joined < n:
        new = min(int(rng.integers(1, 3)), n - joined)
        arguments = [int(rng.integers(joined)), *range(joined, joined + new)]
        arguments = [arguments[i] for i in rng.permutation(len(arguments))]
        m = int(rng.integers(2, 5))
        C, y, root = rng.normal(size=(len(arguments), m, d)), rng.normal(size=m), rng.normal(size=(m, m))
        noise = root @ root.T + np.eye(m)
        noise = 0.5 * (noise + noise.T)
        graph.add(Linear(*(x[i] for i in arguments), coefficients=C, target=y, noise=noise))
        dense.add(arguments, C, y, noise)
        joined += new
    return graph, dense


@settings(max_examples=40)
@given(seed=seeds)
def test_trees_of_vectors_are_exact(seed):
    graph, dense = random_tree(seed)
    result, truth = infer(graph), exact(graph)
    assert result.exact
    assert_equal(result, "x", dense)
    np.testing.assert_allclose(truth["x"].mean.ravel(), dense.mean, atol=tol.TREE * (1 + np.abs(dense.mean).max()))
    np.testing.assert_allclose(truth["x"].variance.ravel(), np.diag(dense.covariance), rtol=tol.TREE)
    np.testing.assert_allclose(truth.covariance("x"), dense.blocks(), rtol=0, atol=tol.TREE * dense.covariance.max())
    assert truth.log_partition == pytest.approx(dense.log_partition, rel=tol.TREE, abs=tol.TREE)


@settings(max_examples=25)
@given(seed=seeds)
def test_observed_components_condition_the_others(seed):
    """A whole vector and a single component; released again in the next run."""
    graph, dense = random_tree(seed)
    free = infer(graph)
    evidence = np.full((8, 3), np.nan)
    evidence[2], evidence[5, 1] = [0.3, -1.0, 0.5], 0.7
    rows = np.flatnonzero(~np.isnan(evidence.ravel()))
    for i in rows[::-1]:
        dense.clamp(i, evidence.ravel()[i])
    result = infer(graph, observed={"x": evidence})
    mean, variance = (np.delete(values.ravel(), rows) for values in result["x"])
    np.testing.assert_allclose(mean, dense.mean, atol=tol.TREE * (1 + np.abs(dense.mean).max()))
    np.testing.assert_allclose(variance, np.diag(dense.covariance), rtol=tol.TREE)
    assert result.log_partition == pytest.approx(dense.log_partition, rel=tol.TREE, abs=tol.TREE)
    assert result["x"].mean[5, 1] == 0.7 and np.all(result["x"].variance[2] == 0.0)
    assert exact(graph, observed={"x": evidence}).log_partition == pytest.approx(dense.log_partition, rel=tol.TREE)
    assert infer(graph).log_partition == free.log_partition


@settings(max_examples=25)
@given(seed=seeds)
def test_the_compiled_passes_send_what_the_general_ones_send(seed):
    """Arguments of three dimensions, factors of one to three arguments; a flat variable; hubs."""
    graph = random_tree(seed)[0]
    rng = np.random.default_rng(seed)
    x, u = graph.vectors("w", 4, 1), graph.vectors("u", 3, 2, precision=0.3)
    C = [rng.normal(size=(3, 2)), rng.normal(size=(3, 1))]
    graph.add(Linear(u[0], x[:3], coefficients=C, target=rng.normal(size=3), noise=0.5))  # a hub
    graph.add(Linear(u[1], x[0], coefficients=C, target=rng.normal(size=3), noise=0.5))
    graph.add(Linear(x[3], target=[0.7], noise=2.0))
    graph = unroll(graph.model)
    weights = potentials_of(graph, {}, {}, {})
    start = np.zeros(graph.edges), np.zeros(graph.edges)
    general = ScheduledSweeps(graph, weights, start, Damping(), False, schedule="two-pass", rng=rng)
    general.sweep(1)
    compiled = infer(graph)
    assert isinstance(compiled.state, VectorTwoPass) and np.abs(general.B).max() > 0.1
    for ours, theirs in ((compiled.B, general.B), (compiled.A, general.A)):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tol.TREE * np.abs(theirs).max())


def test_a_smoother_of_many_steps():
    """A random walk with drift that is known: the smoothed law of the last step equals the stationary Riccati one."""
    n, F, Q, r = 20_000, np.array([[1.0, 0.3], [0.0, 0.9]]), np.array([[0.2, 0.05], [0.05, 0.1]]), 0.5
    y = np.sin(np.arange(n) / 50.0)
    result = infer(smoother(y, F, Q, r))
    assert result.exact
    prior = solve_discrete_are(F.T, np.array([[1.0], [0.0]]), Q, r)
    gain = prior[:, :1] / (prior[0, 0] + r)
    np.testing.assert_allclose(result.covariance("x")[-1], prior - gain @ prior[:1], atol=tol.TREE)
    middle = slice(n // 2, n // 2 + 40)
    window = infer(smoother(y[n // 2 - 200 : n // 2 + 240], F, Q, r))  # what is far away has no influence
    np.testing.assert_allclose(result["x"].mean[middle], window["x"].mean[200:240], atol=tol.TREE)


def loop(strength, seed=0):
    rng = np.random.default_rng(seed)
    graph, dense = Graph(), Dense(6, 2, 1.0, 4.0 * np.eye(2))
    x = graph.vectors("x", 6, 2, field=1.0, precision=4.0)
    for i in range(6):
        for j in (i + 1, i + 2):
            C, y = strength * rng.normal(size=(2, 2, 2)), rng.normal(size=2)
            graph.add(Linear(x[i], x[j % 6], coefficients=C, target=y))
            dense.add([i, j % 6], C, y, np.eye(2))
    return graph, dense


def test_means_are_exact_on_loops_and_covariances_are_not():
    graph, dense = loop(0.5)
    result = infer(graph, **TIGHT)
    assert result.converged and not result.exact
    np.testing.assert_allclose(result["x"].mean.ravel(), dense.mean, atol=tol.LOOPY)
    assert np.abs(result.covariance("x") - dense.blocks()).max() > tol.WRONG_ON_LOOPS
    batch = infer(graph, batch=2, fields={"x": np.stack([np.zeros((6, 2)), np.ones((6, 2))])}, **TIGHT)
    assert batch["x"].mean.shape == (2, 6, 2) and batch.covariance("x").shape == (2, 6, 2, 2)
    np.testing.assert_allclose(batch["x"].mean[0].ravel(), dense.mean, atol=tol.LOOPY)
    dense.b += 1.0
    np.testing.assert_allclose(batch["x"].mean[1].ravel(), dense.mean, atol=tol.LOOPY)
    assert infer(graph, start=result, tolerance=tol.WARM).sweeps == 1


def test_dimension_one_is_the_scalar_engine():
    rng = np.random.default_rng(0)
    C, y, noise = rng.normal(size=(5, 2)), rng.normal(size=5), rng.uniform(0.5, 1, 5)
    scalar, vector = Graph(), Graph()
    x = scalar.reals("x", 5, precision=3.0)
    v = vector.vectors("x", 5, 1, precision=3.0)
    around = (np.arange(5) + 1) % 5
    scalar.add(Linear(x, x[around], coefficients=C, target=y, noise=noise))
    matrices = [C[:, i, None, None] for i in range(2)]
    vector.add(Linear(v, v[around], coefficients=matrices, target=y[:, None], noise=noise[:, None, None]))
    first, second = infer(scalar, **TIGHT), infer(vector, **TIGHT)
    assert first.sweeps > 3
    np.testing.assert_allclose(second["x"].mean[:, 0], first["x"].mean, atol=tol.TREE)
    np.testing.assert_allclose(second["x"].variance[:, 0], first["x"].variance, atol=tol.TREE)
    assert second.log_partition == pytest.approx(first.log_partition, abs=tol.TREE)  # Bethe's, not exact


@pytest.mark.parametrize("dimensions", [(1,), (2,), (1, 1), (2, 1), (1, 1, 1), (3,)])
def test_the_rule_is_the_integral_it_stands_for(dimensions):
    rng = np.random.default_rng(len(dimensions))
    graph = Graph()
    terms = [graph.vectors(f"x{i}", (), d) for i, d in enumerate(dimensions)]
    root = rng.normal(size=(2, 2))
    C = [0.4 * rng.normal(size=(2, d)) for d in dimensions]
    graph.add(Linear(*terms, coefficients=C, target=rng.normal(size=2), noise=root @ root.T + np.eye(2)))
    found = check_factor(graph, cases=3)
    assert found.compared == 3 * sum([1, *dimensions, *(d * d for d in dimensions)])
    assert found.largest < (tol.QUADRATURE_RULE if sum(dimensions) == 3 else tol.RULE), found


def test_covariances_are_known_by_enumeration_too():
    """Spins beside vectors: a mixture in name only, but the sum over states is taken."""
    graph, dense = random_tree(5)
    s = graph.spins("s", 3, field=0.4)
    graph.add(Pairwise(s[:-1], s[1:], coupling=0.7))
    truth = exact(graph)
    np.testing.assert_allclose(truth.covariance("x"), dense.blocks(), rtol=0, atol=tol.TREE * dense.covariance.max())
    assert truth["s"].variance.shape == (3,) and truth["x"].variance.shape == (8, 3)
    with pytest.raises(KeyError, match=r"`name` must be one of the vectors \['x'\], got 's'"):
        truth.covariance("s")


def test_vectors_of_two_dimensions_beside_spins_and_reals():
    graph = Graph()
    s, z = graph.spins("s", 3, field=0.3), graph.reals("z", (), precision=2.0)
    x, u = graph.vectors("x", (2, 2), 3, precision=1.0), graph.vectors("u", 2, 1, precision=2.0)
    graph.add(Pairwise(s[:-1], s[1:], coupling=0.5))
    graph.add(Linear(z, target=1.0))
    push = np.ones((3, 1))
    graph.add(Linear(x[1], x[0], u, coefficients=[1, -0.5, -push], target=[1.0, 0, -2], noise=0.5))
    result, truth = infer(graph), exact(graph)
    assert result.exact
    for name in "szxu":
        np.testing.assert_allclose(result[name].mean, truth[name].mean, atol=tol.TREE)
        np.testing.assert_allclose(result[name].variance, truth[name].variance, atol=tol.TREE)
    assert result.log_partition == pytest.approx(truth.log_partition, abs=tol.TREE)
    assert np.abs(truth["u"].mean).max() > tol.SOMETHING


def test_what_nothing_says_and_what_is_indefinite():
    graph = Graph()
    x = graph.vectors("x", 3, 2, precision=[[1.0, 0.0], [0.0, 1.0]])
    graph.add(Linear(x[0], x[1]))
    graph.vectors("y", 2, 2)
    with pytest.raises(IndefiniteError, match=r"precision of y\[0\] must be > 0, got 0; nothing says where it is"):
        infer(graph)
    half = Graph()
    half.add(Linear(half.vectors("y", 2, 2), coefficients=[[[1.0, 2.0]]], target=[[1.0]]))
    with pytest.raises(IndefiniteError, match=r"precision of y\[0\] must be > 0, got 0"):
        infer(half)
    wrong = Graph()
    wrong.vectors("w", 3, 2, precision=[[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(IndefiniteError, match=r"precision of w\[0\] must be > 0, got -1; the couplings are too strong"):
        infer(wrong)
    with pytest.raises(IndefiniteError, match="must be positive definite"):
        exact(wrong)
    chain = Graph()
    c = chain.vectors("c", 3, 2)
    chain.add(Linear(c[1:], c[:-1], coefficients=[1, -np.array([[1.0, 0.1], [0.0, 1.0]])]))
    with pytest.raises(IndefiniteError, match=r"precision of c\[\d\] must be > 0"):
        infer(chain)


def test_files_networkx_and_text(tmp_path):
    graph, _ = random_tree(3)
    save_model(graph, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert infer(loaded).log_partition == infer(graph).log_partition and str(loaded) == str(graph)
    network = to_networkx(graph)
    variables = [n for n, kind in network.nodes(data="kind") if kind == "real"]
    assert len(variables) == 8 and np.shape(network.nodes["x[2]"]["precision"]) == (3, 3)


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda g, x: g.vectors("v", 2, 0), "`dimension` of `v` must be >= 1, got 0"),
        (lambda g, x: g.vectors("v", 2, 2, field=[1, 2, 3]), "`field` and `precision` of `v` must be of shapes"),
        (lambda g, x: g.vectors("v", 2, 2, precision=[[1, 1], [0, 1]]), "`precision` of `v` must be symmetric"),
        (lambda g, x: Linear(x, noise=[[1, 2], [2, 1]]), "`noise` must be symmetric and positive definite"),
        (lambda g, x: Linear(x, noise=0.0), "`noise` must be symmetric and positive definite, got 0.0"),
        (lambda g, x: Linear(x, coefficients=[np.eye(3)]), "`coefficients` must be matrices that broadcast to"),
        (lambda g, x: Linear(x, x[0], coefficients=[1]), "`coefficients` must be one number or matrix for each of 2"),
        (lambda g, x: Linear(x, target=[1, 2, 3]), r"`target` must broadcast to \(4, 2\), got \(3,\)"),
        (lambda g, x: Linear(x[0], g.reals("r", 1)), "arguments must be all vectors or all scalars, got both"),
        (
            lambda g, x: g.add(Pairwise(x[0], x[1], coupling=1)) or infer(g),
            "must be scalars .only Linear takes vectors",
        ),
        (lambda g, x: g.add(Linear(x[0], x[1])) or check_factor(g), "vectors must have at most 3 components .*, got 4"),
    ],
)
def test_what_does_not_fit(build, message):
    graph = Graph()
    x = graph.vectors("x", 4, 2)
    with pytest.raises(ModelError, match=message):
        build(graph, x)
    with pytest.raises(KeyError, match=r"`name` must be one of the vectors \[\], got 'y'"):
        other = Graph()
        other.spins("y", 1)
        infer(other).covariance("y")


@pytest.mark.parametrize("shared", [False, True])
def test_a_prior_of_vectors_is_that_of_each_component(shared, tmp_path):
    """As a measurement of all components by its mean, with log Z; kept in files, and by ``exact``."""
    graphs = []
    for prior in (Gaussian(1.5, 2.0), None):
        graph = Graph()
        v = graph.vectors("v", 3, dimension=2, prior=prior, field=[0.1, 0.2], shared=shared)
        if not shared:
            step = np.array([[1.0, 0.3], [0.0, 0.8]])
            graph.add(Linear(v[1:], v[:-1], coefficients=[np.eye(2), -step], noise=0.3))
        graph.add(Linear(v, target=[0.3, 0.4], noise=0.5))
        if prior is None:
            graph.add(Linear(v, target=[1.5, 1.5], noise=0.5))
        graphs.append(graph)
    with_prior, by_factor = graphs
    save_model(with_prior.model, tmp_path / "model.zip")
    truth = infer(by_factor, tolerance=1e-12)
    for result in (
        infer(with_prior),
        infer(load_model(tmp_path / "model.zip")),
        infer(with_prior, schedule="flooding"),
    ):
        assert result.log_partition == pytest.approx(truth.log_partition, abs=1e-9)
        np.testing.assert_allclose(result["v"].mean, truth["v"].mean, atol=1e-9)
    if not shared:
        assert exact(with_prior).log_partition == pytest.approx(truth.log_partition, abs=1e-9)


def test_other_priors_of_vectors_are_refused():
    with pytest.raises(ModelError, match="`prior` of the vectors `v` must be Gaussian"):
        Graph().vectors("v", 3, dimension=2, prior=Laplace())
    with pytest.raises(ModelError, match="`prior` of the vectors `v` must be Gaussian"):
        Model({"p": 2}, {"v": Variable("v", ("p",), prior=Laplace(), dimension=2)})
