"""Vectors whose elements share one precision: exact where it is, stationary elsewhere, and refused where impossible."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tolerances as tol
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dct, idct
from scipy.sparse.linalg import LinearOperator

from factorgraph import ContradictionError, Graph, Linear, LinearMap, ModelError, Pairwise, Spectral, Sum, exact, infer
from factorgraph.channels import Identity, Probit, ReLU, Sign
from factorgraph.priors import Binary, GaussBernoulli, Gaussian, Laplace

TIGHT = {"tolerance": 1e-12, "max_sweeps": 3000}


def gaussian_matrix(rng, m, n, condition=None):
    A = rng.standard_normal((m, n)) / n**0.5
    if condition is not None:
        u, s, vt = np.linalg.svd(A, full_matrices=False)
        s = condition ** -np.linspace(0.0, 1.0, len(s))
        A = u * (s * (m / np.sum(s**2)) ** 0.5) @ vt
    return A


def log_normal(y, mean, covariance):
    rest = y - mean
    return -0.5 * (np.linalg.slogdet(2 * np.pi * covariance)[1] + rest @ np.linalg.solve(covariance, rest))


def regression(A, prior, **options):
    graph = Graph()
    x = graph.reals("x", A.shape[1], prior=prior, shared=True)
    z = graph.reals("z", A.shape[0], shared=True, **options)
    graph.add(LinearMap(z, x, matrix=A))
    return graph, x, z


# ---- exact answers ---------------------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 2**32 - 1), m=st.integers(1, 9), n=st.integers(1, 9),
    schedule=st.sampled_from(["auto", "flooding", "forward-backward", "sequential", "residual"]),
    channel=st.booleans(), condition=st.sampled_from([1.0, 100.0]),
)  # fmt: skip
@settings(max_examples=20, deadline=None)
def test_one_map_between_gaussian_laws_is_exact(seed, m, n, schedule, channel, condition):
    rng = np.random.default_rng(seed)
    A, y = gaussian_matrix(rng, m, n, condition), rng.standard_normal(m)
    graph, _, z = regression(A, Gaussian(0.2, 1.5))
    if channel:
        graph.add(Sum(graph.reals("y", m), z, channel=Identity(0.1)))
    else:
        graph.add(Linear(z, target=y, noise=0.1))
    result = infer(graph, schedule=schedule, observed={"y": y} if channel else {}, **TIGHT)
    covariance = np.linalg.inv(1.5 * np.eye(n) + A.T @ A / 0.1)
    mean = covariance @ (0.3 + A.T @ y / 0.1)
    assert result.converged and not result.exact
    np.testing.assert_allclose(result["x"].mean, mean, atol=tol.SHARED)
    np.testing.assert_allclose(result["z"].mean, A @ mean, atol=tol.SHARED)
    np.testing.assert_allclose(result["x"].variance, np.trace(covariance) / n, rtol=tol.SHARED)
    np.testing.assert_allclose(result["z"].variance, np.trace(A @ covariance @ A.T) / m, rtol=tol.SHARED)
    evidence = log_normal(y, A @ np.full(n, 0.2), A @ A.T / 1.5 + 0.1 * np.eye(m))
    assert result.log_partition == pytest.approx(evidence, abs=tol.SHARED, rel=tol.SHARED)


@pytest.mark.parametrize("n", [9, 14])
def test_an_output_that_is_observed_with_certainty(n):
    rng = np.random.default_rng(n)
    A = gaussian_matrix(rng, 6, n)
    y = A @ rng.standard_normal(n)
    graph, *_ = regression(A, Gaussian(0.0, 2.0))
    result = infer(graph, observed={"z": y}, **TIGHT)
    np.testing.assert_allclose(result["x"].mean, np.linalg.pinv(A) @ y, atol=tol.SHARED)
    assert result.log_partition == pytest.approx(log_normal(y, np.zeros(6), A @ A.T / 2.0), rel=tol.SHARED)


def test_a_flat_input_is_least_squares():
    rng = np.random.default_rng(3)
    A, y = rng.standard_normal((9, 5)), rng.standard_normal(9)
    graph, _, z = regression(A, None)
    graph.add(Linear(z, target=y, noise=0.5))
    result = infer(graph, **TIGHT)
    best = np.linalg.lstsq(A, y, rcond=None)[0]
    np.testing.assert_allclose(result["x"].mean, best, atol=tol.SHARED)
    Q = A.T @ A / 0.5
    log_z = 0.5 * (best @ Q @ best - y @ y / 0.5 - np.linalg.slogdet(Q / (2 * np.pi))[1] - 9 * np.log(np.pi))
    assert result.log_partition == pytest.approx(log_z, rel=tol.SHARED)


@pytest.mark.parametrize("schedule", ["auto", "flooding", "forward-backward"])
def test_rows_that_share_a_precision_matrix(schedule):
    """A regression with correlated noise of the columns, and correlated weights."""
    rng = np.random.default_rng(1)
    n, m, d = 30, 25, 3
    A, Y, H = rng.standard_normal((m, n)), rng.standard_normal((m, d)), rng.standard_normal((n, d))
    P, Q = (np.cov(rng.standard_normal((d, 9))) for _ in range(2))
    graph = Graph()
    W = graph.vectors("W", n, d, precision=P, field=H, shared=True)
    Z = graph.vectors("Z", m, d, shared=True)
    graph.add(LinearMap(Z, W, matrix=A))
    graph.add(Linear(Z, coefficients=1.0, target=Y, noise=Q))
    result = infer(graph, schedule=schedule, **TIGHT)
    inverse = np.linalg.inv(Q)
    precision = np.kron(np.eye(n), P) + np.kron(A.T @ A, inverse)
    information = H.ravel() + (A.T @ Y @ inverse).ravel()
    covariance = np.linalg.inv(precision)
    log_z = 0.5 * (information @ covariance @ information - np.linalg.slogdet(precision / (2 * np.pi))[1])
    log_z += sum(log_normal(y, np.zeros(d), Q) for y in Y)
    np.testing.assert_allclose(result["W"].mean.ravel(), covariance @ information, atol=tol.SHARED)
    average = covariance.reshape(n, d, n, d)[range(n), :, range(n)].mean(axis=0)
    np.testing.assert_allclose(result.covariance("W"), np.broadcast_to(average, (n, d, d)), atol=tol.SHARED)
    assert result.log_partition == pytest.approx(log_z, rel=tol.SHARED)


def test_trees_of_maps_sums_and_products():
    """Two signals, each through a matrix, their noisy sum through another, and a second look at one of them."""
    rng = np.random.default_rng(0)
    n, m, k = 150, 250, 100
    P1, P2, P3, P4 = (gaussian_matrix(rng, *shape) for shape in ((m, n), (k, m), (m, n), (k, n)))
    y, y2 = rng.standard_normal((2, k))
    graph = Graph()
    x, w = graph.reals("x", n, prior=Gaussian(), shared=True), graph.reals("w", n, prior=Gaussian(0, 2), shared=True)
    u, v, t = (graph.reals(name, m, shared=True) for name in "uvt")
    z, second = graph.reals("z", k, shared=True), graph.reals("z2", k, shared=True)
    graph.add(LinearMap(u, x, matrix=P1))
    graph.add(LinearMap(v, w, matrix=P3))
    graph.add(Sum(t, u, v, coefficients=[1.0, -0.5], channel=Identity(0.05)))
    graph.add(LinearMap(z, t, matrix=P2))
    graph.add(LinearMap(second, x, matrix=P4))
    graph.add(Linear(z, target=y, noise=0.1))
    graph.add(Linear(second, target=y2, noise=0.2))
    S = np.diag(np.r_[np.ones(n), 0.5 * np.ones(n)])
    T = np.block([[P2 @ np.hstack([P1, -0.5 * P3])], [P4, np.zeros((k, n))]])
    noise = np.eye(2 * k) * 0.2
    noise[:k, :k] = 0.1 * np.eye(k) + 0.05 * P2 @ P2.T
    evidence = T @ S @ T.T + noise
    both = np.r_[y, y2]
    mean = S @ T.T @ np.linalg.solve(evidence, both)
    for schedule in ("auto", "forward-backward"):
        result = infer(graph, schedule=schedule, **TIGHT)
        np.testing.assert_allclose(np.r_[result["x"].mean, result["w"].mean], mean, atol=tol.SHARED)
        log_z = log_normal(both, np.zeros(2 * k), evidence)
        assert result.log_partition == pytest.approx(log_z, rel=tol.SHARED_EVIDENCE)


def test_a_batch_and_several_vectors_are_as_many_runs():
    rng = np.random.default_rng(5)
    A = gaussian_matrix(rng, 20, 30)
    Y = np.sign(A @ GaussBernoulli(0.4).sample((30, 3), rng)).T
    single, _, z = regression(A, GaussBernoulli(0.4))
    single.add(Sum(single.reals("y", 20), z, channel=Sign()))
    several = Graph()
    x, z = (several.reals(name, (3, size), prior=prior, shared=True)
            for name, size, prior in (("x", 30, GaussBernoulli(0.4)), ("z", 20, None)))  # fmt: skip
    several.add(LinearMap(z, x, matrix=A))
    several.add(Sum(several.reals("y", (3, 20)), z, channel=Sign()))
    batch = infer(single, observed={"y": Y}, batch=3, **TIGHT)
    together = infer(several, observed={"y": Y}, **TIGHT)
    runs = [infer(single, observed={"y": y}, **TIGHT) for y in Y]
    for result in (batch, together):
        np.testing.assert_allclose(result["x"].mean, [run["x"].mean for run in runs], atol=tol.SHARED)
        assert result.log_partition == pytest.approx(sum(run.log_partition for run in runs), rel=tol.SHARED)


# ---- fixed points of projected messages ------------------------------------------------------------------------------


def sparse_and_signs(rng, n=60):
    """A sparse signal seen through an ill-conditioned matrix with noise, and by signs through another."""
    x0 = GaussBernoulli(0.3).sample(n, rng)
    first, second = gaussian_matrix(rng, 40, n, 100.0), gaussian_matrix(rng, 70, n)
    graph, x, z = regression(first, GaussBernoulli(0.3))
    graph.add(Linear(z, target=first @ x0 + 0.1 * rng.standard_normal(40), noise=0.01))
    other = graph.reals("other", 70, shared=True)
    graph.add(LinearMap(other, x, matrix=second))
    graph.add(Sum(graph.reals("y", 70), other, channel=Sign()))
    return graph, {"y": np.sign(second @ x0)}


def decoder(rng, n=40):
    """Spins, a rectified layer, noisy outputs."""
    W0, W1 = gaussian_matrix(rng, 50, n), gaussian_matrix(rng, 30, 50)
    graph, _, z = regression(W0, Binary(0.3))
    hidden, last = graph.reals("hidden", 50, shared=True), graph.reals("last", 30, shared=True)
    graph.add(Sum(hidden, z, channel=ReLU()))
    graph.add(LinearMap(last, hidden, matrix=W1))
    y = W1 @ np.maximum(W0 @ Binary(0.3).sample(n, rng), 0.0) + 0.7 * rng.standard_normal(30)
    graph.add(Linear(last, target=y, noise=0.49))
    return graph, {}


def spin_layer(rng, n=40):
    """A hidden layer of signs with real messages."""
    W0, W1 = gaussian_matrix(rng, 30, n), gaussian_matrix(rng, 50, 30)
    graph, _, z = regression(W0, Laplace(1.0))
    hidden, last = graph.reals("hidden", 30, shared=True), graph.reals("last", 50, shared=True)
    graph.add(Sum(hidden, z, channel=Probit(0.2)))
    graph.add(LinearMap(last, hidden, matrix=W1))
    y = W1 @ np.sign(W0 @ Laplace(1.0).sample(n, rng)) + 0.7 * rng.standard_normal(50)
    graph.add(Linear(last, target=y, noise=0.49))
    return graph, {}


def moved(result, dB, dA):
    """The result with other messages."""
    messages = result.B + dB, result.A + dA
    return replace(result, state=SimpleNamespace(messages=lambda: messages, moments=lambda: None, log_partition=None))


@pytest.mark.parametrize("make", [sparse_and_signs, decoder, spin_layer])
def test_log_partition_is_stationary_and_its_slope_is_the_mean(make):
    rng = np.random.default_rng(2)
    graph, observed = make(rng)
    results = [infer(graph, schedule=s, observed=observed, **TIGHT) for s in ("auto", "forward-backward")]
    assert all(result.converged for result in results)
    result = results[0]
    assert results[1].log_partition == pytest.approx(result.log_partition, rel=tol.SHARED)
    first_of = result.graph.first_of[result.graph.ends]
    shared = np.isin(result.graph.ends, np.flatnonzero(np.bincount(result.graph.first_of)[result.graph.first_of] > 1))
    step = 1e-4
    for _ in range(5):
        dB = np.where(shared, rng.standard_normal(result.B.size), 0.0)
        edge_scale = rng.standard_normal((result.graph.factors, result.graph.variables))
        dA = np.where(shared, edge_scale[result.graph.owners, first_of] * result.A, 0.0)
        up, centre, down = (moved(result, e * dB, e * dA).log_partition for e in (step, 0.0, -step))
        curvature = abs(up - 2 * centre + down) / step**2
        assert curvature > 0.1
        assert abs(up - down) / (2 * step) < tol.SLOPE * max(1.0, curvature)
    direction = rng.standard_normal(result["x"].mean.shape)
    up, down = (
        infer(graph, observed=observed, fields={"x": e * direction}, **TIGHT).log_partition for e in (step, -step)
    )
    assert (up - down) / (2 * step) == pytest.approx(direction @ result["x"].mean, rel=1e-4, abs=1e-4)


def test_a_certain_solution_ends_without_overflow():
    rng = np.random.default_rng(4)
    W0, W1 = gaussian_matrix(rng, 150, 100), gaussian_matrix(rng, 120, 150)
    x0 = Binary().sample(100, rng)
    graph, _, z = regression(W0, Binary())
    hidden = graph.reals("hidden", 150, shared=True)
    graph.add(Sum(hidden, z, channel=ReLU()))
    graph.add(LinearMap(graph.reals("y", 120, shared=True), hidden, matrix=W1))
    result = infer(graph, observed={"y": W1 @ np.maximum(W0 @ x0, 0.0)}, tolerance=1e-9)
    assert result.converged and np.isfinite(result.log_partition)
    np.testing.assert_allclose(result["x"].mean, x0, atol=1e-9)


# ---- matrices and errors ---------------------------------------------------------------------------------------------


def test_fast_transforms_are_matrices():
    rows = np.random.default_rng(0).permutation(32)[:20]

    def forward(x):
        return dct(x, norm="ortho", axis=0)[rows]

    def back(c):
        full = np.zeros((32, *c.shape[1:]))
        full[rows] = c
        return idct(full, norm="ortho", axis=0)

    vt = LinearOperator((20, 32), matvec=forward, matmat=forward, rmatvec=back, rmatmat=back, dtype=float)
    fast = Spectral(None, np.linspace(1.0, 2.0, 20), vt)
    dense = fast @ np.eye(32)
    x = np.random.default_rng(1).standard_normal(32)
    np.testing.assert_allclose(fast.T @ (fast @ x), dense.T @ dense @ x, atol=tol.TREE)
    np.testing.assert_allclose(np.sort(Spectral.of(dense).s), np.linspace(1.0, 2.0, 20), atol=tol.TREE)
    results = []
    for matrix in (fast, dense):
        graph, _, z = regression(matrix, GaussBernoulli(0.3))
        graph.add(Linear(z, target=np.arange(20.0) / 10, noise=0.1))
        results.append(infer(graph, **TIGHT))
    np.testing.assert_allclose(results[0]["x"].mean, results[1]["x"].mean, atol=tol.SHARED)
    assert results[0].log_partition == pytest.approx(results[1].log_partition, rel=tol.SHARED)


def test_rank_is_what_rounding_leaves():
    u = np.linalg.qr(np.random.default_rng(0).standard_normal((8, 3)))[0]
    A = Spectral.of(u @ np.diag([3.0, 1.0, 1e-3]) @ u.T)
    assert A.rank == 3 and A.shape == (8, 8)
    np.testing.assert_allclose(A.s, [3.0, 1.0, 1e-3], rtol=tol.TREE)


def test_errors_name_what_to_change():
    rng = np.random.default_rng(0)
    A = rng.standard_normal((4, 6))
    with pytest.raises(ValueError, match="`matrix` must be a matrix of finite numbers"):
        Spectral.of(np.full((2, 2), np.nan))
    with pytest.raises(ValueError, match="`u` must have orthonormal columns"):
        Spectral(A.T, np.ones(4), None)
    with pytest.raises(ValueError, match="`s` must be a vector of finite numbers > 0"):
        Spectral(None, [1.0, 0.0], None)
    graph, x, z = regression(A, Gaussian())
    with pytest.raises(ModelError, match="`matrix` must be of shape"):
        LinearMap(x, z, matrix=A)
    graph.add(Pairwise(x[0], x[1], coupling=0.1))
    with pytest.raises(ModelError, match="must take whole vectors"):
        infer(graph)
    plain = Graph()
    plain.add(LinearMap(plain.reals("z", 4), plain.reals("x", 6), matrix=A))
    with pytest.raises(ModelError, match="shared=True"):
        infer(plain)
    with pytest.raises(ModelError, match="must be the same along the axis"):
        Graph().reals("x", 3, precision=[1.0, 2.0, 1.0], shared=True)
    with pytest.raises(ModelError, match="positive semi-definite"):
        Graph().vectors("x", 3, 2, precision=[[1.0, 2.0], [2.0, 1.0]], shared=True)
    graph, _, z = regression(A, Gaussian())
    with pytest.raises(ModelError, match="as a whole or not at all"):
        infer(graph, observed={"z": [1.0, np.nan, 0.0, 0.0]})
    with pytest.raises(ModelError, match="must be free"):
        infer(graph, observed={"x": np.zeros(6)})
    with pytest.raises(ModelError):
        exact(graph)
    graph, *_ = regression(rng.standard_normal((8, 6)), Gaussian())
    with pytest.raises(ContradictionError, match="must be a matrix times some input"):
        infer(graph, observed={"z": rng.standard_normal(8)})
