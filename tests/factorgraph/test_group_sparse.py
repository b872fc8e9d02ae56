"""The group-sparse prior of vectors: against quadrature, its two states written out, scalars, enumeration."""

import itertools

import numpy as np
import pytest
import tolerances as tol
from hypothesis import given, settings
from hypothesis import strategies as st
from members import VECTOR_PRIORS
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from factorgraph import (
    Graph,
    Linear,
    LinearMap,
    Model,
    ModelError,
    Variable,
    exact,
    from_bipartite,
    infer,
    load_model,
    save_model,
    to_networkx,
)
from factorgraph.factors.vector_site import VectorSite
from factorgraph.messages.natural import Incoming
from factorgraph.priors import GaussBernoulli, GroupSparse

COVARIANCE = [[1.5, 0.4], [0.4, 0.7]]
RANGE = settings(deadline=None, derandomize=True, max_examples=60)


def two_states(prior, H, G):
    """log Z, mean and covariance of a spike and a slab, each by its own integral; G + Σ⁻¹ inverted as it stands."""
    inverse = np.linalg.inv(np.array(prior.covariance))
    S = np.linalg.inv(inverse + G)
    log_slab = 0.5 * (H @ S @ H + np.linalg.slogdet(S @ inverse)[1])
    logs = np.array([np.log1p(-prior.density), np.log(prior.density) + log_slab])
    psi = logsumexp(logs)
    on, m = np.exp(logs[1] - psi), S @ H
    return psi, on * m, on * (S + np.outer(m, m)) - on * on * np.outer(m, m)


def test_moments_are_those_by_quadrature():
    prior, H, G = GroupSparse(0.3, COVARIANCE), np.array([0.8, -1.1]), np.array([[0.9, -0.3], [-0.3, 0.4]])
    x = np.linspace(-9.0, 9.0, 721)
    w = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1).reshape(-1, 2)
    tilt = np.exp(w @ H - 0.5 * np.einsum("ni,ij,nj->n", w, G, w)) * (x[1] - x[0]) ** 2
    slab = 0.3 * multivariate_normal(np.zeros(2), COVARIANCE).pdf(w) * tilt
    Z = 0.7 + slab.sum()
    mean = slab @ w / Z
    values = prior.evaluate(H=H, G=G)
    assert values.psi == pytest.approx(np.log(Z), abs=1e-9)
    np.testing.assert_allclose(values.mean, mean, atol=1e-9)
    np.testing.assert_allclose(values.variance, (w.T * slab) @ w / Z - np.outer(mean, mean), atol=1e-9)


@RANGE
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(0, 5), st.floats(0.01, 0.99))
def test_two_states_and_the_message_that_makes_them(seed, d, rank, density):
    """Precisions of any rank; the message times the law received is a Gaussian of the mixture's moments."""
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((d, d)) + 0.5 * np.eye(d)
    prior, F = GroupSparse(density, root @ root.T + 0.1 * np.eye(d)), rng.standard_normal((d, rank))
    H, G = 3.0 * rng.standard_normal(d), F @ F.T
    values, expected = prior.evaluate(H=H, G=G), two_states(prior, H, G)
    for found, right in zip(values, expected, strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-9, atol=1e-9)
    places = np.zeros((d, d))
    places[:, 0] = H
    B, A = VectorSite(prior).rule((), Incoming(places.reshape(1, -1), G.reshape(1, -1)))
    B, A = B.reshape(d, d)[:, 0], A.reshape(d, d)
    np.testing.assert_allclose(np.linalg.inv(G + A), expected[2], rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(np.linalg.solve(G + A, H + B), expected[1], rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("density", [1e-10, 0.2, 1.0])
def test_in_one_dimension_it_is_spike_and_slab(density):
    H, G = (x.ravel() for x in np.meshgrid([0.0, 1e-9, -0.7, 3.0, -40.0, 1e4], [-0.4, 0.0, 1e-12, 0.5, 30.0, 1e8]))
    ours = GroupSparse(density, [[2.0]]).evaluate(H=H[:, None], G=G[:, None, None])
    scalar = GaussBernoulli(density, 0.0, 2.0).evaluate(H=H, G=G)
    np.testing.assert_allclose(ours.psi, scalar.psi, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(ours.mean[:, 0], scalar.mean, rtol=1e-11)
    np.testing.assert_allclose(ours.variance[:, 0, 0], scalar.variance, rtol=1e-11)


@RANGE
@given(st.integers(0, 2**32 - 1), st.floats(-30.0, 30.0), st.floats(-30.0, 30.0), st.floats(1e-30, 1.0))
def test_extremes(seed, of_H, of_G, density):
    """Messages of any size, and components in units far apart: numbers, and a covariance that is one."""
    rng = np.random.default_rng(seed)
    units = 10.0 ** rng.uniform(-8.0, 8.0, 3)
    prior = GroupSparse(density, np.outer(units, units) * (np.eye(3) + 0.3))
    F = rng.standard_normal((3, 2)) / units[:, None]
    values = prior.evaluate(H=10.0**of_H * rng.standard_normal(3) / units, G=10.0**of_G * F @ F.T)
    assert all(np.isfinite(value).all() for value in values)
    covariance = values.variance / np.outer(units, units)
    assert np.linalg.eigvalsh(covariance)[0] >= -1e-12 * np.abs(covariance).max()


def test_draws_have_its_moments():
    prior = GroupSparse(0.3, COVARIANCE)
    w = prior.sample((4, 50_000), np.random.default_rng(0)).reshape(-1, 2)
    on = np.any(w != 0.0, axis=1)
    assert np.array_equal(on, np.all(w != 0.0, axis=1)) and on.mean() == pytest.approx(0.3, abs=5e-3)
    np.testing.assert_allclose(w.T @ w / len(w), 0.3 * np.array(COVARIANCE), atol=1e-2)


# ---- on graphs -------------------------------------------------------------------------------------------------------


def test_a_vector_seen_through_noise_is_exact():
    """A forest with one mixture: mean, covariance and log Z are those of the two states."""
    rng, noise = np.random.default_rng(1), np.array([[0.5, 0.1, 0.0], [0.1, 0.4, 0.0], [0.0, 0.0, 0.3]])
    C, y = rng.standard_normal((3, 2)), np.array([1.0, -0.6, 0.2])
    prior, graph = GroupSparse(0.4, COVARIANCE), Graph()
    w = graph.vectors("w", (), 2, prior=prior)
    graph.add(Linear(w, coefficients=[C], target=y, noise=noise))
    result, inverse = infer(graph), np.linalg.inv(noise)
    psi, mean, covariance = two_states(prior, C.T @ inverse @ y, C.T @ inverse @ C)
    assert result.exact
    log_z = psi - 0.5 * (y @ inverse @ y + np.linalg.slogdet(2 * np.pi * noise)[1])
    assert result.log_partition == pytest.approx(log_z, abs=tol.TREE)
    np.testing.assert_allclose(result["w"].mean, mean, atol=tol.TREE)
    np.testing.assert_allclose(result.covariance("w"), covariance, atol=tol.TREE)


def test_two_priors_in_one_tree_are_not_exact():
    graph = Graph()
    w = graph.vectors("w", 2, 2, prior=GroupSparse(0.4, COVARIANCE))
    graph.add(Linear(w[0], w[1], coefficients=[np.eye(2), -np.eye(2)], target=[1.0, -1.0], noise=0.1 * np.eye(2)))
    result = infer(graph)
    assert result.converged and not result.exact
    assert infer(graph, observed={"w": np.array([[0.3, -0.2], [np.nan, np.nan]])}).exact
    with pytest.raises(ValueError, match="samples must be of variables with fields and Gaussian laws"):
        result.sample(3)


def test_several_vectors_against_enumeration():
    """Which of four vectors are 0, in all 16 ways; expectation propagation is near, and finds the support."""
    rng, n, d, prior = np.random.default_rng(2), 4, 2, GroupSparse(0.5, COVARIANCE)
    C, truth = rng.standard_normal((12, n, d)), np.array([[1.2, -0.8], [0.0, 0.0], [-1.5, 0.4], [0.0, 0.0]])
    y = np.einsum("mni,ni->m", C, truth) + 0.3 * rng.standard_normal(12)
    graph = Graph()
    w = graph.vectors("w", n, d, prior=prior)
    graph.add(Linear(*w, coefficients=[C[:, i] for i in range(n)], target=y, noise=0.09 * np.eye(12)))
    result = infer(graph, damping=0.3)
    logs, means = [], []
    for on in itertools.product((0.0, 1.0), repeat=n):
        K = np.einsum("mni,n,ij,knj->mk", C, on, COVARIANCE, C) + 0.09 * np.eye(12)
        logs.append(multivariate_normal(np.zeros(12), K).logpdf(y) - n * np.log(2.0))
        means.append(np.einsum("n,ij,mnj,m->ni", on, COVARIANCE, C, np.linalg.solve(K, y)))
    p = np.exp(logs - logsumexp(logs))
    assert result.converged
    np.testing.assert_allclose(result["w"].mean, np.tensordot(p, means, axes=1), atol=0.05)
    assert result.log_partition == pytest.approx(logsumexp(logs), abs=0.1)


def matrix_graph(prior, dimension, X, Y, damping=0.0):
    """Rows of a matrix behind a known one, seen through noise; scalars where the dimension is 0."""
    graph, (m, n) = Graph(), X.shape
    if dimension:
        w, z = graph.vectors("w", n, dimension, prior=prior, shared=True), graph.vectors("z", m, dimension, shared=True)
        graph.add(Linear(z, target=Y, noise=0.01 * np.eye(dimension)))
    else:
        w, z = graph.reals("w", n, prior=prior, shared=True), graph.reals("z", m, shared=True)
        graph.add(Linear(z, target=Y[:, 0], noise=0.01))
    graph.add(LinearMap(z, w, matrix=X))
    return infer(graph, schedule="forward-backward", damping=damping, max_sweeps=300)


def test_rows_of_a_matrix_in_one_dimension_are_scalars():
    rng = np.random.default_rng(3)
    X, prior = rng.standard_normal((30, 50)) / 50**0.5, GaussBernoulli(0.2)
    Y = (X @ prior.sample(50, rng) + 0.1 * rng.standard_normal(30))[:, None]
    rows, scalars = matrix_graph(GroupSparse(0.2, [[1.0]]), 1, X, Y), matrix_graph(prior, 0, X, Y)
    assert rows.converged and scalars.converged
    np.testing.assert_allclose(rows["w"].mean[:, 0], scalars["w"].mean, atol=tol.SHARED)
    assert rows.log_partition == pytest.approx(scalars.log_partition, abs=tol.SHARED * 30)


def test_what_is_known_of_the_groups_helps():
    """Rows of four columns that vanish together, from fewer outputs than inputs: scalars of the same law know less."""
    rng, prior = np.random.default_rng(4), GroupSparse(0.15, np.eye(4))
    X, W = rng.standard_normal((40, 100)) / 100**0.5, prior.sample(100, rng)
    Y = X @ W + 0.1 * rng.standard_normal((40, 4))
    found = matrix_graph(prior, 4, X, Y, damping=0.3)
    apart = [matrix_graph(GaussBernoulli(0.15), 0, X, y[:, None], damping=0.3)["w"].mean for y in Y.T]
    assert found.converged
    assert np.mean((found["w"].mean - W) ** 2) < 0.5 * np.mean((np.transpose(apart) - W) ** 2)


def test_files_and_networks_keep_it(tmp_path):
    graph, prior = Graph(), GroupSparse(0.4, COVARIANCE)
    w = graph.vectors("w", 3, 2, prior=prior)
    graph.add(Linear(w[0], w[1], coefficients=[np.eye(2), -np.eye(2)], noise=np.eye(2)))
    save_model(graph, tmp_path / "model.npz")
    again = load_model(tmp_path / "model.npz")
    assert again.variables["w"].prior == prior and hash(prior) == hash(GroupSparse(0.4, np.array(COVARIANCE)))
    network, _ = from_bipartite(to_networkx(graph))
    for other in (again, network):
        assert infer(other).log_partition == pytest.approx(infer(graph).log_partition, abs=tol.TREE)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GroupSparse(0.0, COVARIANCE), r"`density` must be in \(0, 1\], got 0.0"),
        (lambda: GroupSparse(0.3, [1.0, 2.0]), r"`covariance` must be a matrix \(d, d\)"),
        (lambda: GroupSparse(0.3, [[1.0, 2.0], [2.0, 1.0]]), "`covariance` must be symmetric and positive definite"),
        (lambda: GroupSparse(0.3, [[1.0, 0.5], [0.0, 1.0]]), "`covariance` must be symmetric and positive definite"),
        (lambda: GroupSparse(0.3, COVARIANCE).evaluate(H=np.zeros(3), G=np.eye(2)), "`H` and `G` must be of shapes"),
        (lambda: GroupSparse(0.3, COVARIANCE).evaluate(H=np.zeros(2), G=-3 * np.eye(2)), "`G` must be > -Σ⁻¹"),
        (lambda: Graph().vectors("w", 2, 3, prior=GroupSparse(0.3, COVARIANCE)), r"must be one of vectors in R\^3"),
        (lambda: Graph().reals("w", 2, prior=GroupSparse(0.3, COVARIANCE)), "`prior` must be a prior or None"),
        (
            lambda: Model({"p": 2}, {"w": Variable("w", ("p",), prior=GroupSparse(0.3, COVARIANCE))}),
            "`prior` of `w` must be one of scalars",
        ),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises((ValueError, ModelError), match=message):
        call()


def test_a_part_of_a_vector_and_exact_solutions_are_refused():
    graph = Graph()
    w = graph.vectors("w", 2, 2, prior=GroupSparse(0.3, COVARIANCE))
    graph.add(Linear(w[0], w[1], coefficients=[np.eye(2), -np.eye(2)], noise=np.eye(2)))
    known = np.array([[0.3, np.nan], [np.nan, np.nan]])
    with pytest.raises(ModelError, match="must be observed as a whole or not at all"):
        infer(graph, observed={"w": known})
    whole = infer(graph, observed={"w": np.array([[0.3, -0.2], [np.nan, np.nan]])})
    _, mean, _ = two_states(GroupSparse(0.3, COVARIANCE), np.array([0.3, -0.2]), np.eye(2))
    np.testing.assert_allclose(whole["w"].mean[1], mean, atol=tol.TREE)
    with pytest.raises(ModelError):
        exact(graph)


@pytest.mark.parametrize("prior", [prior for each in VECTOR_PRIORS.values() for prior in each], ids=str)
def test_derivatives(prior):
    """The mean is the gradient of psi, and the covariance that of the mean."""
    d, step = prior.dimension, 1e-5
    H, G = np.linspace(-0.8, 1.1, d), 0.5 * np.eye(d)
    here = prior.evaluate(H=H, G=G)
    for i in range(d):
        low, high = (prior.evaluate(H=H + shift * np.eye(d)[i], G=G) for shift in (-step, step))
        assert here.mean[i] == pytest.approx((high.psi - low.psi) / (2 * step), abs=1e-8)
        np.testing.assert_allclose(here.variance[i], (high.mean - low.mean) / (2 * step), atol=1e-8)
