"""Vectors with noise of any size, singular too, and directions of which nothing is known: against 60 digits."""

import itertools

import numpy as np
import pytest
import tolerances as tol
from hypothesis import given, settings
from hypothesis import strategies as st
from members import LOOPY
from mpmath import mp

from factorgraph import Graph, IndefiniteError, Linear, ModelError, Pairwise, check_factor, exact, infer
from factorgraph.engine.vector_sweeps import VectorTwoPass

seeds = st.integers(0, 2**32 - 1)


def floats(matrix):
    return np.array(matrix.tolist(), dtype=float)


class Sources:
    """The law of x = M s given measurements A s + noise = y, from independent standard normal s: nothing is inverted
    but the covariance of the measurements, and all of it at 60 digits."""

    def __init__(self, M, A, noise, y):
        with mp.workdps(60):
            y = mp.matrix(y)
            S = A * A.T + mp.matrix(noise)
            gain = A.T * S**-1
            rest = M - M * gain * A
            self.mean, self.covariance = floats(M * gain * y).ravel(), floats(rest * M.T)
            log_det = mp.log(mp.det(S)) + len(y) * mp.log(2 * mp.pi)
            self.log_partition = float(-((y.T * S**-1 * y)[0] + log_det) / 2)
            self.joint = rest * M.T

    @property
    def entropy(self):
        with mp.workdps(60):
            n = self.joint.rows
            return float((mp.log(mp.det(self.joint)) + n * (1 + mp.log(2 * mp.pi))) / 2)


def root(Q):
    """L with Q = L Lᵀ at 60 digits."""
    with mp.workdps(60):
        return mp.cholesky(mp.matrix(Q))


def chain(F, steps, H, r, y):
    """Sources of x_0 = s_0, x_{t+1} = F_t x_t + L s_{t+1} for roots L, measured by H with variances r."""
    d, T = len(F[0]), len(F) + 1
    widths = [d, *(L.cols for L in steps)]
    with mp.workdps(60):
        M = mp.zeros(T * d, sum(widths))
        M[:d, :d] = mp.eye(d)
        for t in range(T - 1):
            start = sum(widths[: t + 1])
            M[(t + 1) * d : (t + 2) * d, :] = mp.matrix(F[t]) * M[t * d : (t + 1) * d, :]
            M[(t + 1) * d : (t + 2) * d, start : start + widths[t + 1]] = steps[t]
        measured = mp.matrix(np.kron(np.eye(T), H)) * M
        return Sources(M, measured, r * np.eye(len(y.ravel())), y.ravel())


def assert_law(result, name, truth, limit):
    """Means in deviations, beyond the rounding that any mean has; covariances relative."""
    mean, d = result[name].mean.ravel(), result[name].mean.shape[-1]
    blocks = np.stack([truth.covariance[i : i + d, i : i + d] for i in range(0, mean.size, d)])
    deviation = np.sqrt(np.diagonal(blocks, axis1=1, axis2=2))
    minimum = tol.ROUNDINGS * np.abs(truth.mean).max()
    assert np.all(np.abs(mean - truth.mean) <= limit * deviation.ravel() + minimum)
    relative = (result.covariance(name) - blocks) / (deviation[:, :, None] * deviation[:, None, :])
    assert np.abs(relative).max() <= limit
    assert result.log_partition == pytest.approx(truth.log_partition, rel=limit, abs=limit)


@settings(max_examples=12)
@given(seed=seeds, q=st.sampled_from([1e-6, 1e-10, 1e-14, 1e-18, 1e-24]))
def test_noise_far_smaller_than_what_else_is_known(seed, q):
    """A state that hardly changes, seen through 1 to d + 1 rows; noise of 1e-24 is as good as of 1e-6."""
    rng = np.random.default_rng(seed)
    d, T = int(rng.integers(1, 4)), 5
    F = [np.linalg.qr(rng.normal(size=(d, d)))[0] * rng.uniform(0.7, 1.3) for _ in range(T - 1)]
    mixed = rng.normal(size=(d, d))
    Q = q * (mixed @ mixed.T + np.eye(d))
    H = rng.normal(size=(int(rng.integers(1, d + 2)), d))
    y, r = 3 * rng.normal(size=(T, len(H))), float(rng.choice([1.0, 1e-3, 1e-6]))
    graph = Graph()
    x = graph.vectors("x", T, d)
    graph.add(Linear(x[0], noise=1.0))
    for t in range(T - 1):
        graph.add(Linear(x[t + 1], x[t], coefficients=[1, -F[t]], noise=Q))
    graph.add(Linear(x, coefficients=[H], target=y, noise=r))
    truth = chain(F, [root((Q + Q.T) / 2)] * (T - 1), H, r, y)
    result = infer(graph)
    assert result.exact and isinstance(result.state, VectorTwoPass)
    assert_law(result, "x", truth, tol.TREE)
    size = max(1.0, abs(truth.entropy))
    assert result.entropy == pytest.approx(truth.entropy, abs=tol.TREE * size)
    assert result.energy.log_partition == pytest.approx(truth.log_partition, rel=tol.TREE, abs=tol.TREE)
    other = infer(graph, schedule=LOOPY[seed % len(LOOPY)], tolerance=tol.WARM)
    assert_law(other, "x", truth, tol.LOOPY)
    assert other.entropy == pytest.approx(truth.entropy, abs=tol.LOOPY * (size + abs(truth.log_partition)))


def mixed_tree(rng):
    """A tree of vectors of dimensions 1 to 3, noise from 1 to 1e-18 in the directions and rows of one factor too, as
    many rows as 4; and its precision form at 60 digits."""
    n = int(rng.integers(2, 5))
    sizes = rng.integers(1, 4, n)
    ends = np.cumsum([0, *sizes])
    graph, x, total = Graph(), [], int(ends[-1])
    J, h, c = mp.zeros(total, total), mp.zeros(total, 1), mp.mpf(0)
    columns = [slice(int(a), int(b)) for a, b in itertools.pairwise(ends)]
    for i, d in enumerate(int(size) for size in sizes):
        mixed = rng.normal(size=(d, d))
        P, field = (mixed @ mixed.T + 0.5 * np.eye(d)) * 10.0 ** rng.choice([0, -2, 3]), rng.normal(size=d)
        P = 0.5 * (P + P.T)
        x.append(graph.vectors(f"x{i}", (), d, precision=P, field=field))
        J[columns[i], columns[i]], h[columns[i], 0] = mp.matrix(P), mp.matrix(field)
    groups = [[i, int(rng.integers(i))] for i in range(1, n)] + [[int(i)] for i in rng.integers(0, n, 2)]
    for group in groups:
        m = int(rng.integers(1, 5))
        C = [rng.normal(size=(m, int(sizes[i]))) for i in group]
        y = rng.normal(size=m) * 10.0 ** rng.choice([0, 2])
        mixed = np.tril(rng.normal(size=(m, m)), -1) + np.eye(m)
        diagonal = 10.0 ** rng.choice([0, -6, -12, -18], m if rng.random() < 0.5 else 1)
        Q = np.diag(np.broadcast_to(diagonal, m)) if diagonal.size > 1 else diagonal[0] * (mixed @ mixed.T)
        Q = 0.5 * (Q + Q.T)
        graph.add(Linear(*(x[i] for i in group), coefficients=C, target=y, noise=Q))
        A, inverse, w = mp.zeros(m, total), mp.matrix(Q) ** -1, mp.matrix(y)
        for i, block in zip(group, C, strict=True):
            A[:, columns[i]] = mp.matrix(block)
        J, h = J + A.T * inverse * A, h + A.T * inverse * w
        c -= ((w.T * inverse * w)[0] + mp.log(mp.det(mp.matrix(Q))) + m * mp.log(2 * mp.pi)) / 2
    covariance = J**-1
    log_det = mp.log(mp.det(J)) - total * mp.log(2 * mp.pi)
    log_z = c + ((h.T * covariance * h)[0] - log_det) / 2
    moments = floats(covariance * h).ravel(), floats(covariance)
    return graph, columns, *moments, float(log_z), float((total - log_det) / 2)


@settings(max_examples=30)
@given(seed=seeds)
def test_sharp_and_loose_factors_in_one_tree(seed):
    """Right to rounding by two passes; other schedules, whose messages are precision matrices, are right or say so."""
    with mp.workdps(80):
        graph, columns, mean, covariance, log_z, entropy = mixed_tree(np.random.default_rng(seed))
    deviation = np.sqrt(np.diag(covariance))
    rounding = tol.ROUNDINGS * (1.0 + np.max(np.abs(mean) / deviation))

    def assert_right(result, limit):
        for i, own in enumerate(columns):
            off = np.abs(result[f"x{i}"].mean - mean[own]) / deviation[own]
            assert off.max() <= limit + 100 * rounding
            relative = (result.covariance(f"x{i}") - covariance[own, own]) / np.outer(deviation[own], deviation[own])
            assert np.abs(relative).max() <= limit
        assert result.log_partition == pytest.approx(log_z, rel=limit, abs=limit)

    result = infer(graph)
    assert_right(result, tol.TREE)
    assert result.entropy == pytest.approx(entropy, rel=tol.TREE, abs=tol.TREE)
    try:
        other = infer(graph, schedule="flooding", tolerance=tol.WARM)
    except IndefiniteError as error:
        assert "trillion" in str(error) or "lost by rounding" in str(error)
    else:
        assert_right(other, tol.BLURRED)


# ---- singular noise --------------------------------------------------------------------------------------------------


def tracker(F, Q, y, precision, r=0.3):
    graph = Graph()
    x = graph.vectors("x", len(y), len(F), precision=precision)
    graph.add(Linear(x[1:], x[:-1], coefficients=[1, -F], noise=Q))
    graph.add(Linear(x, coefficients=[np.eye(1, len(F))], target=y[:, None], noise=r))
    return graph


@settings(max_examples=15)
@given(seed=seeds, dt=st.floats(1e-3, 5.0), q=st.floats(1e-4, 10.0))
def test_noise_of_rank_one(seed, dt, q):
    """Acceleration or jerk is all that is random in the motion; means, covariances and log Z on every schedule."""
    rng = np.random.default_rng(seed)
    d, T = 2 + seed % 2, 6
    F, G = np.eye(d) + dt * np.eye(d, k=1), np.array([dt**2 / 2, dt, 1.0][-d:] if d == 3 else [dt**2 / 2, dt])
    y = np.cumsum(rng.normal(size=T))
    start = np.zeros((T, d, d))
    start[0] = np.eye(d)
    graph = tracker(F, q * np.outer(G, G), y, start)
    with mp.workdps(60):
        step = mp.sqrt(q) * mp.matrix(G)
    truth = chain([F] * (T - 1), [step] * (T - 1), np.eye(1, d), 0.3, y)
    truth.log_partition += 0.5 * d * np.log(2 * np.pi)  # the first state's own weight is not normalised
    result = infer(graph)
    assert_law(result, "x", truth, tol.TREE)
    assert result.entropy == -np.inf
    assert result.energy.log_partition == pytest.approx(truth.log_partition, rel=tol.TREE, abs=tol.LOOPY)
    other = infer(graph, schedule=LOOPY[seed % len(LOOPY)], tolerance=tol.WARM)
    assert_law(other, "x", truth, tol.LOOPY)


def test_no_noise_at_all_is_the_limit_of_little():
    """A deterministic motion: two unknowns, and everything else follows."""
    F, y = np.array([[1.0, 0.5], [0.0, 1.0]]), np.array([1.0, -0.5, 2.0, 0.3])
    start = np.zeros((4, 2, 2))
    start[0] = np.eye(2)
    exactly, nearly = (infer(tracker(F, Q, y, start)) for Q in (np.zeros((2, 2)), 1e-20 * np.eye(2)))
    A = np.stack([np.linalg.matrix_power(F, t)[0] for t in range(4)])
    covariance = np.linalg.inv(np.eye(2) + A.T @ A / 0.3)
    np.testing.assert_allclose(exactly["x"].mean[0], covariance @ A.T @ y / 0.3, atol=tol.TREE)
    np.testing.assert_allclose(exactly.covariance("x")[0], covariance, atol=tol.TREE)
    np.testing.assert_allclose(nearly["x"].mean, exactly["x"].mean, atol=tol.TREE)
    assert nearly.log_partition == pytest.approx(exactly.log_partition, abs=tol.TREE)


@settings(max_examples=50)
@given(seed=seeds)
def test_a_covariance_touched_by_rounding_is_one(seed):
    """Asymmetric or with negative eigenvalues as products leave them; what is more than that is refused."""
    rng = np.random.default_rng(seed)
    d = int(rng.integers(2, 5))
    L = rng.normal(size=(d, int(rng.integers(1, d + 1)))) * 10.0 ** rng.uniform(-6, 6)
    Q = L @ L.T
    scale = np.abs(Q).max()
    noise, F = 1e-13 * scale * rng.normal(size=(d, d)), np.eye(d) + 0.3 * np.eye(d, k=1)
    y, start = np.sqrt(scale) * rng.normal(size=5), np.zeros((5, d, d))
    start[0] = np.eye(d) / scale
    plain, touched = (infer(tracker(F, given, y, start, scale)) for given in (0.5 * (Q + Q.T), Q + noise))
    deviation = np.sqrt(plain["x"].variance.max())
    np.testing.assert_allclose(touched["x"].mean, plain["x"].mean, rtol=0, atol=tol.LOOPY * deviation)
    skew = np.triu(rng.normal(size=(d, d)), 1)
    for wrong in (Q + 1e-6 * scale * skew, Q - 1e-6 * scale * np.eye(d) * (L.shape[1] < d) - 2 * scale * np.eye(d)):
        with pytest.raises(ModelError, match="`noise` must be symmetric and positive definite"):
            tracker(F, wrong, y, start)


@settings(max_examples=50)
@given(seed=seeds)
def test_what_would_be_known_exactly_is_refused_alike(seed):
    """Rank-one noise around one argument, or around a motion that does not reach all components."""
    rng = np.random.default_rng(seed)
    graph, G = Graph(), rng.normal(size=(2, 1)) * 10.0 ** rng.uniform(-4, 4, (2, 1))
    x = graph.vectors("x", 3, 2, precision=1.0)
    Q = rng.uniform(0.1, 10) * (G @ G.T)
    along = G @ rng.normal(size=(1, 2))
    for arguments, C in (((x,), [1]), ((x[1:], x[:-1]), [1, -along])):
        with pytest.raises(ModelError, match=r"`noise` must be symmetric and positive definite.*without noise"):
            Linear(*arguments, coefficients=C, noise=Q)
    graph.add(Linear(x[1:], x[:-1], coefficients=[1, -np.eye(2)], noise=Q))
    assert infer(graph).exact
    for schedule in ("auto", "flooding"):
        with pytest.raises(ModelError, match=r"`noise` must be .*observe what is exact"):
            infer(graph, observed={"x": [[np.nan] * 2, [0.5, 0.3], [np.nan] * 2]}, schedule=schedule)
    small = Graph()
    small.add(Linear(*small.vectors("u", 2, 1, precision=1.0).columns, coefficients=[1, -1], noise=0.0))
    for ask, model in ((exact, graph), (check_factor, small)):
        with pytest.raises(ModelError, match="`noise` must be positive definite where factors are evaluated"):
            ask(model)


def test_a_component_of_singular_noise_may_be_observed():
    """Given the position of a tracker at one time, the others are still uncertain."""
    F, G = np.array([[1.0, 0.5], [0.0, 1.0]]), np.array([0.125, 0.5])
    y, start = np.array([0.3, 1.0, -0.4]), np.zeros((3, 2, 2))
    start[0] = np.eye(2)
    graph = tracker(F, np.outer(G, G), y, start)
    seen = [[np.nan] * 2, [0.7, np.nan], [np.nan] * 2]
    result, near = infer(graph, observed={"x": seen}), Graph()
    x = near.vectors("x", 3, 2, precision=start)
    near.add(Linear(x[1:], x[:-1], coefficients=[1, -F], noise=np.outer(G, G)))
    near.add(Linear(x, coefficients=[[[1, 0]]], target=y[:, None], noise=0.3))
    near.add(Linear(x[1], coefficients=[[[1, 0]]], target=[0.7], noise=1e-22))
    limit = infer(near)
    np.testing.assert_allclose(result["x"].mean, limit["x"].mean, atol=tol.LOOPY)
    np.testing.assert_allclose(result["x"].variance, limit["x"].variance, atol=tol.LOOPY)
    assert result.log_partition == pytest.approx(limit.log_partition, abs=tol.LOOPY)
    flooding = infer(graph, observed={"x": seen}, schedule="flooding", tolerance=tol.WARM)
    np.testing.assert_allclose(flooding["x"].mean, result["x"].mean, atol=tol.LOOPY)
    assert flooding.log_partition == pytest.approx(result.log_partition, abs=tol.LOOPY)


# ---- long chains and hubs --------------------------------------------------------------------------------------------


def test_a_smoother_of_ten_thousand_steps():
    """Against elimination of blocks in extended precision; noise far smaller than that of the measurements."""
    n, F, Q, r = 10_000, np.array([[1.0, 0.3], [0.0, 0.9]]), 1e-8 * np.array([[0.2, 0.05], [0.05, 0.1]]), 0.5
    y = np.sin(np.arange(n) / 500.0)
    graph = tracker(F, Q, y, np.eye(2), r)
    result = infer(graph)
    long = np.longdouble
    f, rows = F.astype(long), np.array([[1, 0]], dtype=long)
    a, b, c = (long(v) for v in (Q[0, 0], Q[0, 1], Q[1, 1]))
    inverse = np.array([[c, -b], [-b, a]], dtype=long) / (a * c - b * b)

    def solve(M, R):
        det = M[0, 0] * M[1, 1] - M[0, 1] * M[1, 0]
        return np.array([[M[1, 1], -M[0, 1]], [-M[1, 0], M[0, 0]]], dtype=long) @ R / det

    diagonal, h, off = [], [], -f.T @ inverse
    for t in range(n):
        D = np.eye(2, dtype=long) + rows.T @ rows / long(r)
        D = D + (inverse if t else 0) + (f.T @ inverse @ f if t < n - 1 else 0)
        v = rows[0] * long(y[t]) / long(r)
        if t:
            share = solve(diagonal[-1], off)
            D, v = D - off.T @ share, v - share.T @ h[-1]
        diagonal.append(D)
        h.append(v)
    mean, variance, cov = np.empty((n, 2), dtype=long), np.empty((n, 2), dtype=long), inverse
    for t in range(n - 1, -1, -1):
        own = solve(diagonal[t], np.eye(2, dtype=long))
        if t < n - 1:
            share = solve(diagonal[t], off)
            mean[t], cov = own @ h[t] - share @ mean[t + 1], own + share @ cov @ share.T
        else:
            mean[t], cov = own @ h[t], own
        variance[t] = np.diag(cov)
    deviation = np.sqrt(variance)
    assert np.max(np.abs(result["x"].mean - mean) / deviation) < tol.LOOPY
    assert np.max(np.abs(result["x"].variance / variance - 1)) < tol.LOOPY
    assert np.abs(mean).max() > tol.SOMETHING


@pytest.mark.parametrize("noise", [0.3, 1e-12])
def test_hubs(noise):
    """Cavity laws of variables with many factors, from the left and from the right; some leaves are observed."""
    rng = np.random.default_rng(0)
    n, graph = 30, Graph()
    x, hub = graph.vectors("x", n, 2, precision=0.7), graph.vectors("hub", (), 3, precision=0.2)
    C, y = rng.normal(size=(n, 2, 3)), rng.normal(size=(n, 2))
    graph.add(Linear(x, hub, coefficients=[1, -C], target=y, noise=noise))
    seen = np.full((n, 2), np.nan)
    seen[3], seen[4, 1] = [0.2, -0.1], 0.6
    result = infer(graph, observed={"x": seen})
    other = infer(graph, observed={"x": seen}, schedule="flooding", tolerance=tol.WARM)
    weight = 1.0 / (noise + 1.0 / 0.7)
    precision, h = 0.2 * np.eye(3), np.zeros(3)
    for i in range(n):
        for a in range(2):
            w, z = (1.0 / noise, seen[i, a]) if np.isfinite(seen[i, a]) else (weight, 0.0)
            precision = precision + w * np.outer(C[i, a], C[i, a])
            h = h + w * C[i, a] * (z - y[i, a])
    covariance = np.linalg.inv(precision)
    scale = np.sqrt(np.diag(covariance))
    for found in (result, other):
        assert np.max(np.abs(found["hub"].mean - covariance @ h)) < tol.LOOPY * scale.min() + 10 * tol.ROUNDINGS
        assert np.max(np.abs(found.covariance("hub") - covariance) / np.outer(scale, scale)) < tol.LOOPY
    np.testing.assert_allclose(result["x"].mean, other["x"].mean, atol=tol.LOOPY)
    assert result.log_partition == pytest.approx(other.log_partition, rel=tol.LOOPY)
    if noise == 0.3:
        truth = exact(graph, observed={"x": seen})
        assert result.log_partition == pytest.approx(truth.log_partition, rel=tol.TREE)


# ---- what nothing holds ----------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    dimension=st.integers(0, 3),
    size=st.integers(3, 8),
    ring=st.booleans(),
    noise=st.floats(-18.0, 3.0).map(lambda e: 10.0**e),
    partly=st.booleans(),
    schedule=st.sampled_from(["auto", *LOOPY]),
    seed=seeds,
)
def test_chains_and_rings_that_nothing_holds(dimension, size, ring, noise, partly, schedule, seed):
    """The error names one of them, whatever the noise; held in all directions but some, or turned from step to step."""
    rng, graph = np.random.default_rng(seed), Graph()

    def make(name, n):
        return graph.vectors(name, n, dimension) if dimension else graph.reals(name, n)

    held, loose = make("held", 4), make("loose", size)
    turn, Q = 1.0, noise
    if dimension == 2:  # once round the ring is no turn at all
        angle = 2 * np.pi / size
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if dimension:
        mixed = rng.normal(size=(dimension, dimension))
        Q = noise * (mixed @ mixed.T + 0.1 * np.eye(dimension))
    for one in (held, loose):
        graph.add(Linear(one[1:], one[:-1], coefficients=[1, -turn], noise=Q))
    graph.add(Linear(held[0], noise=0.01))
    if partly and dimension > 1:
        graph.add(Linear(loose[1], coefficients=[rng.normal(size=(1, dimension))], noise=0.5))
    if ring:
        graph.add(Linear(loose[0], loose[-1], coefficients=[1, -turn], noise=Q))
    with pytest.raises(IndefiniteError, match=r"precision of loose\[\d\] .* got 0; nothing says .* give it a prior"):
        _ = infer(graph, schedule=schedule, max_sweeps=60)["loose"]  # unless it converges, its status says no more


@settings(max_examples=40)
@given(seed=seeds, schedule=st.sampled_from(["auto", *LOOPY]), general=st.booleans())
def test_precisions_that_couplings_use_up(seed, schedule, general):
    """The weights e^{-J(x - y)²/2} of a chain, as pairs: what is left of the precisions is rounding, of any sign."""
    rng, graph = np.random.default_rng(seed), Graph()
    n = int(rng.integers(2, 8))
    J, own = 10.0 ** rng.uniform(-1, 1, n - 1), np.zeros(n)
    own[1:] += J
    own[:-1] += J
    x, z = graph.reals("x", n, precision=own), graph.reals("z", 2, precision=1.0)
    graph.add(Pairwise(x[1:], x[:-1], coupling=J))
    graph.add(Pairwise(z[0], z[1], coupling=0.1))
    with pytest.raises(IndefiniteError, match=r"precision of x\[\d\] must be > 0, got 0; nothing says where it is"):
        infer(graph, schedule=schedule, observed={"z": [1.0, np.nan]} if general else None)
    held = Graph()
    x = held.reals("x", n, precision=own + 1e-9 * own)
    held.add(Pairwise(x[1:], x[:-1], coupling=J))
    assert infer(held, schedule=schedule, max_sweeps=20).exact is (schedule == "auto")
