"""The Gaussian linear node against the joint law of all elements, and the range of what nodes send."""

import numpy as np
import pytest
import tolerances as tol
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp

from factorgraph.messages.linear_node import Law, LinearNode
from factorgraph.messages.ranges import MIN_SHARE, message_precision, message_precisions
from factorgraph.numerics.spectral import Spectral


def precision(rng, F, d, size):
    """F matrices (d, d) of about that size, of condition 10 or so."""
    A = rng.normal(size=(F, d, d))
    return 10.0**size * (np.eye(d) + A @ np.swapaxes(A, 1, 2) / d)


def matrix_of_rank(rng, m, n, rank):
    """(m, n), entries of order 1."""
    return rng.normal(size=(m, rank)) @ rng.normal(size=(rank, n))


class Joint:
    """The posterior of one vector x by its dense precision matrix (n d, n d), and that of z = A x, with 40 digits: that
    matrix may be of a condition of 1e10, which the node does not see."""

    def __init__(self, A, z, x, f):
        n, d = A.shape[1], x.precision.shape[-1]
        H, G = x.information[f], x.precision[f]
        with mp.workdps(40):
            A = mp.matrix(A.tolist())
            full, information = mp.matrix(n * d), mp.matrix(n * d, 1)
            square, sent = A.T * A, A.T * mp.matrix(z.information[f].tolist())
            for i, a in np.ndindex(n, d):
                information[i * d + a] = H[i, a] + sent[i, a]
                for j, b in np.ndindex(n, d):
                    full[i * d + a, j * d + b] = square[i, j] * z.precision[f, a, b] + (G[a, b] if i == j else 0)
            inverse = full**-1
            mean = inverse * information
            log_z = (information.T * mean)[0] + n * d * mp.log(2 * mp.pi) - mp.log(mp.det(full))
            self.log_partition = float(log_z) / 2
        self.x = np.array(mean.tolist(), dtype=float).reshape(n, d)
        C = np.array(inverse.tolist(), dtype=float)
        blocks = C.reshape(n, d, n, d)
        self.covariance = np.einsum("iaib->ab", blocks) / n
        self.covariances_at = lambda rows: np.einsum("ki,iajb,kj->kab", rows, blocks, rows)


def drawn(seed, m, n, rank, d, sizes, silent):
    """A matrix, and two laws of each end; that of z may say nothing."""
    rng = np.random.default_rng(seed)
    A = matrix_of_rank(rng, m, n, min(rank, m, n))
    free = np.zeros(2, dtype=bool)
    laws = []
    for size, scale in zip((m, n), sizes, strict=True):
        G = precision(rng, 2, d, scale)
        laws.append(Law(rng.normal(size=(2, size, d)) @ G, G, free))
    z, x = laws
    if silent:
        z = Law(0.0 * z.information, 0.0 * z.precision, free)
    return A, z, x, rng


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), m=st.integers(1, 6), n=st.integers(1, 6), rank=st.integers(1, 6),
    d=st.integers(1, 3), sizes=st.tuples(st.floats(-4.0, 4.0), st.floats(-4.0, 4.0)), silent=st.booleans(),
)  # fmt: skip
def test_the_node_is_the_joint_gaussian(seed, m, n, rank, d, sizes, silent):
    A, z, x, rng = drawn(seed, m, n, rank, d, sizes, silent)
    node = LinearNode.of(Spectral.of(A), z, x)
    rows = np.concatenate([A, rng.normal(size=(2, n))])
    means, covariances = node.at(rows)
    directions, log_z = node.directions, node.log_partition()
    for f in range(2):
        joint = Joint(A, z, x, f)
        at_rows = joint.covariances_at(rows)
        outputs = at_rows[:m].mean(axis=0)
        for found, expected in [
            (node.input_mean[f], joint.x),
            (node.output_mean[f], A @ joint.x),
            (means[f], rows @ joint.x),
            (directions.input_covariance[f], joint.covariance),
            (directions.output_covariance[f], outputs),
            (covariances[f], at_rows),
        ]:
            np.testing.assert_allclose(found, expected, atol=tol.LINEAR_NODE * np.abs(expected).max())
        assert log_z[f] == pytest.approx(joint.log_partition, rel=tol.LINEAR_NODE, abs=tol.LINEAR_NODE)
        for law, message, mean, C in [
            (z, node.to_output(), A @ joint.x, outputs),
            (x, node.to_input(), joint.x, joint.covariance),
        ]:
            total = law.precision[f] + message.precision[f]
            unit = np.linalg.cholesky(total)  # the belief is compared in its own deviations
            np.testing.assert_allclose(unit.T @ C @ unit, np.eye(d), atol=tol.LINEAR_NODE)
            pull = (law.information[f] + message.information[f] - mean @ total) @ np.linalg.inv(unit).T
            np.testing.assert_allclose(pull, 0.0, atol=tol.LINEAR_NODE * (1.0 + np.abs(mean @ unit).max()))
            minimum = np.linalg.eigvalsh(np.linalg.solve(unit, message.precision[f]) @ np.linalg.inv(unit).T)[0]
            assert minimum > -tol.LINEAR_NODE


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), m=st.integers(1, 6), n=st.integers(1, 6), d=st.integers(1, 3),
    sizes=st.tuples(st.floats(-2.0, 2.0), st.floats(-2.0, 2.0)),
)  # fmt: skip
def test_log_partitions_about_any_point_are_one(seed, m, n, d, sizes):
    """Relative to the laws' values at a centre, whichever; of scalars also relative to the laws' own integrals."""
    A, z, x, rng = drawn(seed, m, n, 6, d, sizes, False)
    node = LinearNode.of(Spectral.of(A), z, x)
    centres = [rng.normal(size=law.information.shape) for law in (z, x)]
    logs = sum(
        (c * (law.information - 0.5 * c @ law.precision)).sum(axis=(1, 2))
        for law, c in zip((z, x), centres, strict=True)
    )
    size = 1.0 + np.abs(logs) + np.abs(node.log_partition())
    found = node.log_partition_about(*centres)
    np.testing.assert_allclose((found - (node.log_partition() - logs)) / size, 0.0, atol=tol.LINEAR_NODE)
    if d == 1:
        integrals = sum(
            (0.5 * (law.information**2 / law.precision + np.log(2.0 * np.pi / law.precision))).sum(axis=(1, 2))
            for law in (z, x)
        )
        found = node.log_partition_normalised()
        np.testing.assert_allclose((found - (node.log_partition() - integrals)) / size, 0.0, atol=tol.LINEAR_NODE)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), d=st.integers(1, 3), size=st.floats(6.0, 10.0), wide=st.booleans())
def test_almost_certain_outputs_are_those_observed(seed, d, size, wide):
    """The limit of a large precision of z, which is a case of its own."""
    m, n = (3, 5) if wide else (5, 3)
    A, z, x, rng = drawn(seed, m, n, 3, d, (0.0, 0.0), False)
    values = A @ rng.normal(size=(2, n, d))
    eye = np.broadcast_to(np.eye(d), (2, d, d))
    sharp = Law(10.0**size * values, 10.0**size * eye, z.known)
    certain = Law(values, eye, np.ones(2, dtype=bool))
    matrix = Spectral.of(A)
    near, limit = (LinearNode.of(matrix, law, x) for law in (sharp, certain))
    slack = 1e4 * 10.0**-size * (1.0 + matrix.s.min() ** -2) ** 2
    np.testing.assert_allclose(near.input_mean, limit.input_mean, atol=slack * (1.0 + np.abs(x.information).max()))
    np.testing.assert_allclose(near.output_mean, values, atol=slack * (1.0 + np.abs(x.information).max()))
    np.testing.assert_allclose(near.directions.input_covariance, limit.directions.input_covariance, atol=slack)
    np.testing.assert_allclose(limit.directions.input_share, near.directions.input_share, atol=slack)
    assert not limit.to_output().precision.any()


def test_nothing_is_sent_where_a_direction_has_no_law():
    """A flat input that the outputs do not determine."""
    rng = np.random.default_rng(0)
    A, free = rng.normal(size=(2, 3)), np.zeros(1, dtype=bool)
    z = Law(rng.normal(size=(1, 2, 1)), np.ones((1, 1, 1)), free)
    x = Law(np.zeros((1, 3, 1)), np.zeros((1, 1, 1)), free)
    message = LinearNode.of(Spectral.of(A), z, x).to_input()
    assert not message.precision.any() and not message.information.any()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), d=st.integers(1, 4), size=st.floats(-9.0, 9.0), stretch=st.floats(-4.0, 4.0))
def test_sent_precisions_are_the_difference_within_their_range(seed, d, size, stretch):
    """In all directions between the least share and all of the belief's precision; the same in any basis."""
    rng = np.random.default_rng(seed)
    G, C = precision(rng, 1, d, 0.0), precision(rng, 1, d, size)
    sent = message_precisions(C, np.eye(d) - C @ G)
    root = np.linalg.cholesky(C[0])
    inside, difference = root.T @ sent[0] @ root, np.eye(d) - root.T @ G[0] @ root
    values, axes = np.linalg.eigh(difference)
    expected = (axes * np.maximum(values, MIN_SHARE)) @ axes.T
    np.testing.assert_allclose(inside, expected, atol=tol.LINEAR_NODE * max(1.0, np.abs(difference).max()))
    basis = rng.normal(size=(d, d)) + 3.0 * np.eye(d)
    basis[0] *= 10.0**stretch
    other = basis @ C @ basis.T
    G_other = np.linalg.inv(basis).T @ G @ np.linalg.inv(basis)
    back = basis.T @ message_precisions(other, np.eye(d) - other @ G_other)[0] @ basis
    np.testing.assert_allclose(
        root.T @ back @ root, inside, atol=1e3 * tol.LINEAR_NODE * max(1.0, np.abs(difference).max())
    )
    if d == 1:
        assert sent[0, 0, 0] == message_precision(C[0, 0, 0], 1.0 - C[0, 0, 0] * G[0, 0, 0])
