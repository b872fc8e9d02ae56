"""Decoding of many words at once, against the engine's flooding and against the most probable words."""

import numpy as np
import pytest
from scipy import sparse

from factorgraph import ModelError, decode, from_parity_checks, infer


def regular(n, rng):
    """A random (3, 6) code, where two edges between the same nodes leave none."""
    key = rng.permutation(3 * n) // 6 * n + np.arange(3 * n) // 3
    H = sparse.coo_matrix((np.ones(3 * n), (key // n, key % n)), shape=(n // 2, n)).tocsr()
    H.data %= 2
    H.eliminate_zeros()
    return H


def bicycle():
    """Checks of the bit flips of the [[144, 12, 12]] bivariate bicycle code [Bravyi et al. 2024]."""
    shift = lambda n, k: np.roll(np.eye(n, dtype=int), k, axis=1)  # noqa: E731
    x, y = lambda k: np.kron(shift(12, k), np.eye(6, dtype=int)), lambda k: np.kron(np.eye(12, dtype=int), shift(6, k))
    A, B = x(3) + y(1) + y(2), y(3) + x(1) + x(2)
    return np.concatenate([A, B], axis=1), np.concatenate([B.T, A.T], axis=1)


@pytest.mark.parametrize("method", ["sum-product", "min-sum"])
def test_sweeps_are_those_of_flooding(method):
    rng = np.random.default_rng(0)
    H = regular(60, rng)
    field, syndromes = 0.7 + 0.5 * rng.normal(size=(20, 60)), rng.integers(0, 2, size=(20, H.shape[0]))
    found = decode(H, field=field, syndromes=syndromes, method=method, max_sweeps=4)
    assert not found.converged.all()
    for bits, h, syndrome, sweeps in zip(found.bits, field, syndromes, found.sweeps, strict=True):
        graph, _ = from_parity_checks(H, field=h, syndrome=syndrome)
        options = {"max_sweeps": int(sweeps), "schedule": "flooding", "tolerance": 0.0}
        run = infer(graph, maximum=method == "min-sum", **options)
        np.testing.assert_array_equal(bits, run.beliefs.H < 0)


@pytest.mark.parametrize("method, scale", [("sum-product", 1.0), ("min-sum", 0.75)])
def test_words_below_the_threshold_are_found(method, scale):
    rng = np.random.default_rng(1)
    H, p = regular(600, rng), 0.04
    errors = (rng.random((100, 600)) < p).astype(int)
    syndromes = errors @ H.toarray().astype(int).T % 2
    found = decode(H, field=0.5 * np.log((1 - p) / p), syndromes=syndromes, method=method, scale=scale)
    assert found.converged.mean() > 0.95
    np.testing.assert_array_equal((found.bits @ H.T.toarray().astype(int) % 2 == syndromes).all(1), found.converged)
    np.testing.assert_array_equal((found.bits == errors).all(1), found.converged)


def test_the_bicycle_code():
    X, Z = bicycle()
    assert not (X @ Z.T % 2).any() and X.sum(axis=0).tolist() == [3] * 144
    rng, p = np.random.default_rng(2), 0.01
    errors = (rng.random((200, 144)) < p).astype(int)
    found = decode(X, field=0.5 * np.log((1 - p) / p), syndromes=errors @ X.T % 2, method="min-sum", scale=0.8)
    assert found.converged.mean() > 0.95
    rest = (found.bits ^ errors)[found.converged]
    assert not (rest @ X.T % 2).any()


def test_received_words_and_fields_of_any_size():
    H = np.array([[1, 1, 0, 1, 1, 0, 0], [1, 0, 1, 1, 0, 1, 0], [0, 1, 1, 1, 0, 0, 1]])
    for size in (1.0, 1e3, 1e300):
        field = size * np.array([[1.0, 1, -1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1]])
        for method in ("sum-product", "min-sum"):
            found = decode(H, field=field, method=method)
            assert found.converged.all() and not found.bits[1].any()
    one = decode(H, field=0.5)
    assert one.bits.shape == (1, 7) and one.sweeps.tolist() == [1]


def test_errors():
    H = np.eye(3, dtype=int)
    with pytest.raises(ValueError, match="`syndromes` must be of 0 and 1, got 2"):
        decode(H, field=1.0, syndromes=[0, 2, 1])
    with pytest.raises(ValueError, match="`syndromes` must be as many as the 4 rows"):
        decode(H, field=np.ones((4, 3)), syndromes=np.zeros((2, 3)))
    with pytest.raises(ValueError, match="`field` must be a number or of shape"):
        decode(H, field=np.ones(4))
    with pytest.raises(ModelError, match="`matrix`"):
        decode(2 * H, field=1.0)
