"""Matrix VAMP: its nodes against independent calculations, the algorithm where the posterior is known, its limits."""

import itertools

import numpy as np
import pytest
import tolerances as tol
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from factorgraph import Graph, LinearMap, ModelError, infer
from models import GaussianRows, Head, MatrixVAMP
from models.two_layer.head import ACTIVATIONS
from models.two_layer.head_factor import HeadFactor, HeadKind
from models.two_layer.row_messages import RowMessage, extrinsic
from models.two_layer.row_modes import _MAX as MAX
from models.two_layer.row_modes import row_modes
from models.two_layer.row_moments import row_moments


def covariance(d, rng, scale=1.0):
    A = rng.normal(size=(d, d))
    return scale * (np.eye(d) + 0.3 * A @ A.T / d)


def head_and_rows(activation, d, outputs, rng, rows=2, noise=0.1, scale=1.0):
    """A head, cavity means and precision, and outputs of rows drawn from that law."""
    head = Head(rng.normal(size=(d, outputs)), activation, noise=noise, bias=0.3, hidden_bias=rng.normal(size=d) / 2)
    C = covariance(d, rng, scale)
    R = rng.normal(size=(rows, d))
    Z = R + rng.normal(size=(rows, d)) @ np.linalg.cholesky(C).T
    return head, R, np.linalg.inv(C), head.sample(Z, rng)


def by_grid(head, r, precision, y, steps):
    """Moments of one row, and the log-density of its outputs, on a grid over ±6 deviations."""
    d = len(r)
    C = np.linalg.inv(precision)
    x = np.linspace(-6.0, 6.0, steps)
    points = np.stack(np.meshgrid(*[x] * d, indexing="ij"), axis=-1).reshape(-1, d)
    Z = r + points @ np.linalg.cholesky(C).T
    level = -0.5 * np.sum(points**2, axis=1) - 0.5 * np.sum((y - head(Z)) ** 2 / head.noise, axis=1)
    weight = np.exp(level - level.max())
    log_z = level.max() + np.log(weight.sum()) + d * (np.log(x[1] - x[0]) - 0.5 * np.log(2.0 * np.pi))
    weight /= weight.sum()
    mean = weight @ Z
    return mean, (weight[:, None] * (Z - mean)).T @ (Z - mean), log_z - 0.5 * np.log(2.0 * np.pi * head.noise).sum()


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
@pytest.mark.parametrize("d, outputs, steps", [(1, 1, 40001), (1, 2, 40001), (2, 1, 601), (2, 3, 601), (3, 1, 121)])
def test_moments_of_rows_by_integration(activation, d, outputs, steps):
    head, R, precision, Y = head_and_rows(activation, d, outputs, np.random.default_rng(d + 10 * outputs))
    found = row_moments(head, R, precision, Y, nodes=1 if d == 1 else 40 ** (d - 1))
    for r, y, m, c, log_evidence in zip(R, Y, *found, strict=True):
        mean, cov, log_z = by_grid(head, r, precision, y, steps)
        unit = np.linalg.cholesky(precision)  # in units of the cavity's deviations
        bound = tol.LINES_ALONG if d == 1 else tol.LINES[activation]
        np.testing.assert_allclose((m - mean) @ unit, 0.0, atol=bound)
        np.testing.assert_allclose(unit.T @ (c - cov) @ unit, 0.0, atol=bound)
        assert log_evidence == pytest.approx(log_z, abs=bound)


def test_few_lines_err_little_on_average():
    """The default number, for four units, at 15 dB and with a cavity that knows nothing yet or a good deal."""
    rng = np.random.default_rng(0)
    for activation, scale in itertools.product(["relu", "sigmoid"], [1.0, 0.2]):
        head, R, precision, Y = head_and_rows(activation, 4, 1, rng, rows=100, noise=0.03, scale=scale)
        few, many = (row_moments(head, R, precision, Y, nodes=n) for n in (64, 1000))
        unit = np.linalg.cholesky(precision)
        assert np.sqrt(np.mean(((few[0] - many[0]) @ unit) ** 2)) < 0.05
        np.testing.assert_allclose(unit.T @ (few[1] - many[1]).mean(axis=0) @ unit, 0.0, atol=0.03)


def test_many_units_take_sobol_points():
    """Seven units of which all but two have no weight: the others keep their cavity law."""
    rng = np.random.default_rng(3)
    head, R, _, Y = head_and_rows("relu", 2, 1, rng)
    wide = Head(
        np.concatenate([head.weights, np.zeros((5, 1))]), noise=0.1, bias=0.3, hidden_bias=[*head.hidden_bias, *[0] * 5]
    )
    means = np.concatenate([R, np.ones((2, 5))], axis=1)
    M, C, _ = row_moments(wide, means, np.eye(7), Y, nodes=4096)
    m, c, _ = row_moments(head, R, np.eye(2), Y, nodes=40)
    np.testing.assert_allclose(M, np.concatenate([m, np.ones((2, 5))], axis=1), atol=0.02)
    np.testing.assert_allclose(C[:, :2, :2], c, atol=0.03)
    np.testing.assert_allclose(C[:, 2:, 2:], np.broadcast_to(np.eye(5), (2, 5, 5)), atol=0.05)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_linearised_activation(activation):
    f = ACTIVATIONS[activation]
    z = np.linspace(-9.0, 9.0, 200_001)
    density = np.exp(-0.5 * (z / 0.8) ** 2)
    density /= density.sum()
    value = f(z + 0.4)
    slope = density @ (value * z) / 0.64
    near = f.linearised(np.array([0.4]), np.array([0.64]))
    expected = [density @ value, slope, density @ value**2 - (density @ value) ** 2 - slope**2 * 0.64]
    np.testing.assert_allclose(np.ravel(near), expected, atol=tol.LINEARISED)
    np.testing.assert_allclose(
        f.derivative(z[::7]), np.gradient(f(z), z)[::7], atol=1e-3 if activation != "relu" else 0.51
    )
    assert np.all(f.derivative(z) <= f.steepest)


@settings(max_examples=15)
@given(st.sampled_from(["relu", "sigmoid"]), st.integers(1, 4), st.integers(1, 3), st.integers(0, 10_000))
def test_modes_are_minima(activation, d, outputs, seed):
    """No search from some other places finds a lower cost nearby, and few find one at all."""
    rng = np.random.default_rng(seed)
    head, R, precision, Y = head_and_rows(activation, d, outputs, rng, rows=1)
    mode, inverse = row_modes(head, R, precision, Y)

    def cost(z):
        rest = (Y - head(z[None])) / np.sqrt(head.noise)
        return 0.5 * (z - R[0]) @ precision @ (z - R[0]) + 0.5 * np.sum(rest**2)

    minimum = cost(mode[0])
    for size in (1e-4, 1e-2):
        assert all(cost(mode[0] + size * step) >= minimum - 1e-10 * (1 + minimum) for step in rng.normal(size=(40, d)))
    found = minimize(cost, mode[0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000})
    assert found.fun >= minimum - tol.MODE * (1.0 + minimum)
    assert np.linalg.eigvalsh(inverse[0])[0] > -1e-12


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_derivatives_of_modes(activation):
    """By differences in Γ r, for units in the kink too; bounded where they exceed the cavity's covariance."""
    rng = np.random.default_rng(5)
    head, R, precision, Y = head_and_rows(activation, 3, 2, rng, rows=40)
    mode, inverse = row_modes(head, R, precision, Y)
    step = 1e-5
    slopes = np.empty((40, 3, 3))
    for i in range(3):
        shift = step * np.linalg.inv(precision)[:, i]
        up, down = (row_modes(head, R + sign * shift, precision, Y)[0] for sign in (1, -1))
        slopes[:, :, i] = (up - down) / (2 * step)
    L = np.linalg.cholesky(precision)
    within = np.linalg.eigvalsh(L.T @ slopes @ L)[:, -1] < MAX
    close = np.abs(slopes - inverse).max(axis=(1, 2)) < 1e-4
    assert within.sum() >= 20 and close[within].mean() >= 0.9  # others: about to change sides, or between two minima
    assert within.all() == (activation == "relu") and not close[~within].any()
    assert np.linalg.eigvalsh(L.T @ inverse @ L).max() < MAX + 1e-9
    if activation == "relu":
        assert np.any(mode[close] + head.hidden_bias == 0.0)


@given(st.integers(1, 4), st.integers(0, 10_000), st.floats(-8, 8))
def test_extrinsic_messages_stay_in_the_cone(d, seed, size):
    """Whatever the node's covariance, the product of both messages has the node's mean."""
    rng = np.random.default_rng(seed)
    received = RowMessage(rng.normal(size=(5, d)), covariance(d, rng))
    mean = rng.normal(size=(5, d))
    sent = extrinsic(mean, covariance(d, rng, scale=10.0**size), received)
    total = received.precision + sent.precision
    assert np.linalg.eigvalsh(sent.precision)[0] > 0.0
    product = np.linalg.solve(total, (received.information + sent.information).T).T
    np.testing.assert_allclose(product, mean, atol=1e-6)


@pytest.mark.parametrize("method", ["mmse", "map"])
def test_linear_units_give_the_exact_posterior(method):
    """All is Gaussian: biases, learnt and known, several outputs, a prior with a mean, fewer samples than weights."""
    rng = np.random.default_rng(1)
    samples, inputs, d, outputs, intercept = 15, 6, 3, 2, 0.5
    X = rng.normal(size=(samples, inputs))
    noise, c, b = np.array([0.1, 0.3]), rng.normal(size=d), rng.normal(size=outputs)
    head = Head(rng.normal(size=(d, outputs)), "linear", noise=noise, bias=b, hidden_bias=c)
    prior = GaussianRows(covariance(d, rng), mean=[1.0, 0.0, -1.0])
    Y = rng.normal(size=(samples, outputs))
    result = MatrixVAMP(prior, X, head, intercept=intercept).infer(Y, method=method, tolerance=1e-12, damping=0.0)
    assert result.converged and result.iterations < 5
    wide = np.column_stack([X, np.full(samples, intercept)])
    A = (
        np.einsum("ni,jo->noij", wide, head.weights).reshape(samples * outputs, -1)
        / np.tile(noise, samples)[:, None] ** 0.5
    )
    y = ((Y - b - c @ head.weights) / noise**0.5).ravel()
    precision = np.kron(np.eye(inputs + 1), prior.precision)
    C = np.linalg.inv(precision + A.T @ A)
    W = (C @ (A.T @ y + precision @ np.tile(prior.mean, inputs + 1))).reshape(inputs + 1, d)
    np.testing.assert_allclose(result.weights, W[:-1], atol=1e-9)
    np.testing.assert_allclose(result.intercept, intercept * W[-1], atol=1e-9)
    np.testing.assert_allclose(result.predict(X), (wide @ W + c) @ head.weights + b, atol=1e-9)


def learning(activation, rng, *, inputs=30, samples=300, d=3, outputs=1, decibel=15.0, weights=None):
    truth = rng.normal(size=(inputs, d))
    second = rng.normal(size=(d, outputs)) if weights is None else np.asarray(weights)
    X, X_test = (rng.normal(size=(n, inputs)) / inputs**0.5 for n in (samples, 3000))
    power = np.var(Head(second, activation, noise=1.0)(X_test @ truth))
    head = Head(second, activation, noise=power / 10 ** (decibel / 10))
    return truth, X, head, head.sample(X @ truth, rng), X_test


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_most_probable_weights_are_stationary(activation):
    rng = np.random.default_rng(2)
    _, X, head, Y, _ = learning(activation, rng, d=2, decibel=15.0 if activation == "relu" else 5.0)
    result = MatrixVAMP(GaussianRows(np.eye(2)), X, head).infer(Y, method="map", tolerance=1e-8, iterations=500)
    assert result.converged, result.message
    W = result.weights
    pull = ((head(X @ W) - Y) / head.noise) @ head.weights.T * head.activation.derivative(X @ W)
    in_kink = np.any(np.abs(X @ W) < 1e-6, axis=1) & (activation == "relu")
    gradient = X.T @ (pull * ~in_kink[:, None]) + W
    # Rows in a kink pull by anything between their two slopes: what is left must be a combination of them.
    rest = gradient - X[in_kink].T @ np.linalg.lstsq(X[in_kink].T, gradient, rcond=None)[0]
    assert in_kink.sum() < 30
    np.testing.assert_allclose(rest, 0.0, atol=1e-5 * np.abs(pull).max())
    np.testing.assert_allclose(result.predict(X), head(X @ W))


@pytest.mark.parametrize("seed", range(3))
def test_modes_settle_where_outputs_curve_the_other_way(seed):
    """Little noise: the messages swing to and fro if single rows near a saddle may outweigh all others."""
    _, X, head, Y, _ = learning("sigmoid", np.random.default_rng(seed), d=2)
    result = MatrixVAMP(GaussianRows(np.eye(2)), X, head).infer(Y, method="map")
    assert result.converged, result.message


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_learning(activation):
    """Better than the most probable weights, and close to who knows the network where samples abound."""
    rng = np.random.default_rng(4)
    truth, X, head, Y, X_test = learning(activation, rng, samples=1000, outputs=2)
    model = MatrixVAMP(GaussianRows(np.eye(3)), X, head)
    errors = {}
    for method in ("mmse", "map"):
        result = model.infer(Y, method=method, truth=truth, tolerance=1e-3)
        assert result.converged, result.message
        assert result.mse == pytest.approx(np.mean((result.weights - truth) ** 2))
        assert len(result.trace.mse) == len(result.trace.residual) == result.iterations
        errors[method] = np.mean((result.predict(X_test) - head(X_test @ truth)) ** 2 / head.noise)
    assert errors["mmse"] <= errors["map"] < 0.3


@pytest.mark.parametrize("method", ["mmse", "map"])
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_it_is_the_engine_on_a_graph(activation, method):
    """The same fixed point by ``infer`` with one of its own schedules, all messages damped."""
    rng = np.random.default_rng(12)
    _, X, head, Y, _ = learning(activation, rng, inputs=8, samples=120, d=2, weights=[[1.0], [-0.7]], decibel=3.0)
    prior = GaussianRows(covariance(2, rng), mean=[0.2, -0.1])
    model = MatrixVAMP(prior, X, head, intercept=0.5)
    result = model.infer(Y, method=method, start="prior", nodes=16, tolerance=1e-9, iterations=500)
    graph = model.graph(Y, nodes=16)
    options = {"maximum": method == "map", "damping": 0.5, "tolerance": 1e-9}
    engine = infer(graph, schedule="sequential", **options)
    assert result.converged and engine.converged
    W = engine["W"].mean
    assert np.abs(W - prior.mean).max() > 0.1
    np.testing.assert_allclose(result.weights, W[:-1], atol=tol.SAME_FIXED_POINT)
    np.testing.assert_allclose(result.intercept, 0.5 * W[-1], atol=tol.SAME_FIXED_POINT)
    np.testing.assert_allclose(result.preactivations, engine["Z"].mean, atol=tol.SAME_FIXED_POINT)
    np.testing.assert_allclose(result.covariance, engine.covariance("W")[0], atol=tol.SAME_FIXED_POINT)


@pytest.mark.parametrize("samples", [4, 15])
def test_log_partition_of_linear_units_is_the_evidence(samples):
    rng = np.random.default_rng(12)
    X, b = rng.normal(size=(samples, 6)), rng.normal(size=2)
    head = Head(rng.normal(size=(3, 2)), "linear", noise=[0.1, 0.3], bias=b, hidden_bias=rng.normal(size=3))
    prior = GaussianRows(covariance(3, rng), mean=[1.0, 0.0, -1.0])
    Y = rng.normal(size=(samples, 2))
    result = infer(MatrixVAMP(prior, X, head).graph(Y), tolerance=1e-12)
    mean = X @ np.tile(prior.mean, (6, 1)) + head.hidden_bias
    joint = np.kron(X @ X.T, head.weights.T @ prior.covariance @ head.weights) + np.diag(np.tile(head.noise, samples))
    rest = (Y - mean @ head.weights - b).ravel()
    evidence = -0.5 * (np.linalg.slogdet(2.0 * np.pi * joint)[1] + rest @ np.linalg.solve(joint, rest))
    # The graph has the prior's weight without its constant: e^{field · w - w · precision w/2}.
    constant = 0.5 * (prior.mean @ prior.precision @ prior.mean - np.linalg.slogdet(prior.precision / (2.0 * np.pi))[1])
    assert result.log_partition == pytest.approx(evidence + 6 * constant, rel=tol.SHARED)


def test_log_partition_of_a_head_is_stationary():
    """The slope of log Z by a field is the mean, as of every fixed point."""
    rng = np.random.default_rng(13)
    _, X, head, Y, _ = learning("sigmoid", rng, inputs=3, samples=12, d=1, weights=[[1.0]], decibel=5.0)
    graph = MatrixVAMP(GaussianRows(np.eye(1)), X, head).graph(Y)
    direction, step = rng.normal(size=(3, 1)), 1e-3
    options = {"schedule": "sequential", "tolerance": 1e-12}
    up, down = (infer(graph, fields={"W": s * step * direction}, **options).log_partition for s in (1, -1))
    slope = float((direction * infer(graph, **options)["W"].mean).sum())
    assert abs(slope) > 0.1
    assert (up - down) / (2 * step) == pytest.approx(slope, rel=1e-4)


def test_the_density_of_a_head_is_that_of_its_outputs():
    rng = np.random.default_rng(14)
    head, R, _, Y = head_and_rows("relu", 2, 3, rng, rows=4)
    kind = HeadKind(head, 4, 8)
    places = np.stack([R, np.zeros_like(R)], axis=-1).ravel()  # of every vector the first column
    rest = (Y - head(R)) / head.noise**0.5
    expected = -0.5 * (rest**2).sum() - 2.0 * np.log(2.0 * np.pi * head.noise).sum()
    assert kind.log_factor((Y[None],), *(np.array([value]) for value in places))[0] == pytest.approx(expected)
    table = kind.log_factor((Y[None],), *(np.full((1, 5), value) for value in places))
    np.testing.assert_allclose(table, expected)


def test_learnt_hidden_biases():
    rng = np.random.default_rng(6)
    truth, X, head, _, _ = learning("relu", rng, samples=1000, outputs=2)
    biases = np.array([0.7, -0.5, 0.2])
    known = Head(head.weights, noise=head.noise, hidden_bias=biases)
    result = MatrixVAMP(GaussianRows(np.eye(3)), X, head, intercept=1.0).infer(known.sample(X @ truth, rng))
    assert result.converged
    np.testing.assert_allclose(result.intercept, biases, atol=0.15)


def test_units_that_the_head_does_not_tell_apart():
    """From weights that are alike for all units no message tells them apart; a random start does."""
    rng = np.random.default_rng(7)
    _, X, head, Y, _ = learning("relu", rng, samples=600, d=2, weights=[1.0, 1.0])
    result = MatrixVAMP(GaussianRows(np.eye(2)), X, head).infer(Y, tolerance=1e-3)
    assert result.converged
    assert np.mean((head(result.preactivations) - Y) ** 2) < 1.3 * head.noise[0]
    assert np.abs(np.corrcoef(result.weights.T)[0, 1]) < 0.5


@settings(max_examples=12)
@given(
    st.sampled_from(["relu", "sigmoid"]),
    st.sampled_from(["mmse", "map"]),
    st.tuples(st.integers(1, 12), st.integers(1, 8), st.integers(1, 5), st.integers(1, 3)),
    st.tuples(st.floats(-6, 3), st.floats(-4, 4), st.floats(-3, 3)),
    st.integers(0, 1000),
)
def test_nothing_is_ever_undefined(activation, method, shape, sizes, seed):
    """Noise, inputs and weights of any size, outputs that no network gives, any number of samples."""
    samples, inputs, d, outputs = shape
    rng = np.random.default_rng(seed)
    X, Y = 10.0 ** sizes[1] * rng.normal(size=(samples, inputs)), 10.0 ** sizes[2] * rng.normal(size=(samples, outputs))
    head = Head(rng.normal(size=(d, outputs)) * (rng.random((d, 1)) < 0.8), activation, noise=10.0 ** sizes[0])
    result = MatrixVAMP(GaussianRows(covariance(d, rng)), X, head).infer(Y, method=method, nodes=9, iterations=30)
    assert result.status in ("converged", "not converged")
    for values in (result.weights, result.preactivations, result.covariance, result.predict(X), *result.field):
        assert np.all(np.isfinite(values))


def test_start_and_callback():
    rng = np.random.default_rng(8)
    truth, X, head, Y, _ = learning("sigmoid", rng, samples=50)
    model = MatrixVAMP(GaussianRows(np.eye(3)), X, head)
    seen = []
    result = model.infer(Y, start=truth, nodes=9, callback=lambda i, W: seen.append((i, W.shape)) or i == 3)
    assert result.status == result.message == "stopped" and seen == [(i, (30, 3)) for i in (1, 2, 3)]
    short = model.infer(Y, nodes=9, iterations=2)
    assert not short.converged and "raise `iterations`" in short.message
    a, b = (model.infer(Y, nodes=9, iterations=2, rng=seed).weights for seed in (0, 1))
    assert not np.array_equal(a, b) and np.array_equal(a, short.weights)


MODEL = MatrixVAMP(GaussianRows(np.eye(2)), np.ones((3, 4)), Head([1.0, 2.0], noise=0.1))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: GaussianRows([[1.0, 2.0], [2.0, 1.0]]), "`covariance` must be positive definite"),
        (lambda: GaussianRows(np.ones((2, 3))), r"`covariance` must be a matrix \(d, d\)"),
        (lambda: GaussianRows([[1.0, 0.5], [0.0, 1.0]]), "`covariance` must be symmetric"),
        (lambda: GaussianRows(np.eye(2), mean=[1.0, 2.0, 3.0]), "`mean` must be one number or of shape"),
        (lambda: Head([1.0], noise=0.0), "`noise` must be variances > 0"),
        (lambda: Head([1.0], noise=[1.0, 1.0]), "`noise` must be one number or of shape"),
        (lambda: Head([1.0], "tanh", noise=1.0), "`activation` must be one of"),
        (lambda: Head([np.nan], noise=1.0), "`weights` must be finite"),
        (lambda: Head([1.0, 1.0], noise=1.0, hidden_bias=[1.0]), "`hidden_bias` must be one number or of shape"),
        (lambda: MatrixVAMP(GaussianRows(np.eye(3)), np.ones((3, 4)), MODEL.head), r"`prior` must be of rows in R\^2"),
        (lambda: MatrixVAMP(MODEL.prior, np.zeros((3, 4)), MODEL.head), "`X` must have an entry other than 0"),
        (lambda: MatrixVAMP(MODEL.prior, np.ones(3), MODEL.head), "`X` must be a matrix"),
        (lambda: MatrixVAMP(MODEL.prior, np.ones((3, 4)), MODEL.head, intercept=-1.0), "`intercept` must be"),
        (lambda: MODEL.infer(np.zeros(4)), r"`Y` must be of shape \(3, 1\)"),
        (lambda: MODEL.infer(np.zeros(3), method="vb"), "`method` must be one of"),
        (lambda: MODEL.infer(np.zeros(3), iterations=0), "`iterations` must be an integer >= 1"),
        (lambda: MODEL.infer(np.zeros(3), damping=1.0), "`damping` must be"),
        (lambda: MODEL.infer(np.zeros(3), start="ones"), "`start` must be"),
        (lambda: MODEL.infer(np.zeros(3), start=np.zeros((2, 4))), "`start` must be of shape"),
        (lambda: MODEL.infer(np.zeros(3), truth=np.zeros((2, 4))), "`truth` must be of shape"),
        (lambda: MODEL.infer(np.zeros(3)).predict(np.zeros((2, 3))), "`X` must be a matrix with 4 columns"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_errors_of_the_factor():
    head = Head([1.0, 2.0], noise=0.1)
    graph = Graph()
    Z, plain = graph.vectors("Z", 3, 2, shared=True), graph.vectors("P", 3, 2)
    with pytest.raises(ModelError, match=r"rows of one matrix in R\^2"):
        HeadFactor(graph.vectors("Q", 3, 3, shared=True), head=head, outputs=np.zeros((3, 1)))
    with pytest.raises(ModelError, match="`outputs` must"):
        HeadFactor(Z, head=head, outputs=np.zeros((2, 1)))
    with pytest.raises(ModelError, match="`nodes` must be an integer >= 1"):
        HeadFactor(Z, head=head, outputs=np.zeros((3, 1)), nodes=0)
    with pytest.raises(ModelError, match="`head` must be a Head"):
        HeadFactor(Z, head=None, outputs=np.zeros((3, 1)))
    graph.add(HeadFactor(plain, head=head, outputs=np.zeros((3, 1))))
    with pytest.raises(ModelError, match="shared=True"):
        infer(graph)
    graph = Graph()
    W, Z = graph.vectors("W", 4, 2, precision=1.0, shared=True), graph.vectors("Z", 3, 2, shared=True)
    graph.add(LinearMap(Z, W, matrix=np.ones((3, 4))))
    graph.add(HeadFactor(Z, head=head, outputs=np.zeros((3, 1))))
    with pytest.raises(ModelError, match="input of a head must be free"):
        infer(graph, observed={"Z": np.zeros((3, 2))})
