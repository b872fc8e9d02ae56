"""Models of codes against sums over all words, and alist files."""

import numpy as np
import pytest
import tolerances as tol
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from factorgraph import ModelError, exact, from_parity_checks, infer, read_alist, write_alist

quick = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32 - 1)

HAMMING = np.array([[1, 1, 0, 1, 1, 0, 0], [1, 0, 1, 1, 0, 1, 0], [0, 1, 1, 1, 0, 0, 1]])


def code(seed):
    """A matrix, a syndrome that is possible, and fields."""
    rng = np.random.default_rng(seed)
    M, N = rng.integers(1, 5), rng.integers(1, 8)
    H = (rng.random((M, N)) < 0.5).astype(int)
    return H, H @ rng.integers(0, 2, N) % 2, rng.normal(size=N)


def big_endian(H):
    return H.astype(">i4")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("alist") / "code.alist"


@quick
@given(
    seed=seeds, form=st.sampled_from([np.asarray, big_endian, sparse.csr_matrix, sparse.coo_array, sparse.csc_array])
)
def test_models_are_the_sums_over_their_words(seed, form):
    H, syndrome, field = code(seed)
    words = np.indices((2,) * H.shape[1]).reshape(H.shape[1], -1)
    weights = np.exp(field @ (1 - 2 * words)) * np.all((H @ words) % 2 == syndrome[:, None], axis=0)
    graph, s = from_parity_checks(form(H), name="bit", field=field, syndrome=syndrome)
    solution = exact(graph)
    assert solution.log_partition == pytest.approx(np.log(weights.sum()), abs=tol.TREE)
    expected = (1 - 2 * words) @ weights / weights.sum()
    np.testing.assert_allclose(solution[s.name].mean, expected, atol=tol.TREE)


@quick
@given(seed=seeds)
def test_files_survive_a_round_trip(path, seed):
    H, _, _ = code(seed)
    write_alist(H, path)
    np.testing.assert_array_equal(read_alist(path).toarray(), H)
    # The same without zeros that fill the lists up.
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:4], *(" ".join(w for w in line.split() if w != "0") for line in lines[4:])]))
    np.testing.assert_array_equal(read_alist(path).toarray(), H)


def test_the_format(path):
    write_alist(sparse.csr_array(HAMMING), path)
    assert path.read_text().splitlines() == [
        "7 3", "3 4", "2 2 2 3 1 1 1", "4 4 4",
        "1 2 0", "1 3 0", "2 3 0", "1 2 3", "1 0 0", "2 0 0", "3 0 0",
        "1 2 4 5", "1 3 4 6", "2 3 4 7",
    ]  # fmt: skip


def test_decoding():
    """One wrong bit of a Hamming code is found from its syndrome, whichever it is."""
    for wrong in range(7):
        graph, s = from_parity_checks(HAMMING, field=1.5, syndrome=HAMMING[:, wrong])
        result = infer(graph, maximum=True, schedule="sequential", damping=0.3)
        np.testing.assert_array_equal(result[s.name].mean, 1.0 - 2.0 * (np.arange(7) == wrong))


def test_wrong_matrices(path):
    for matrix, message in (
        ([[1, 2]], "must be of 0 and 1, got"),
        (sparse.csr_array([[0.5]]), "must be of 0 and 1, got"),
        ([1, 0], r"two axes and an element, got shape \(2,\)"),
        (np.zeros((0, 3)), "two axes and an element"),
    ):
        with pytest.raises(ModelError, match=f"`matrix` {message}" if "must" in message else message):
            from_parity_checks(matrix)
        with pytest.raises(ModelError, match=message):
            write_alist(matrix, path)
    with pytest.raises(ModelError, match="`syndrome` must be 0 for checks without bits, got 1 for 1"):
        from_parity_checks([[1, 1], [0, 0]], syndrome=[0, 1])
    with pytest.raises(ModelError, match="`syndrome` must be of 0 and 1, got"):
        from_parity_checks(HAMMING, syndrome=-1)


GOOD = "3 2\n2 2\n1 2 1\n2 2\n1 0\n1 2\n2 0\n1 2\n2 3\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: the number of bits must be there"),
        (GOOD.replace("3 2\n", "3 x\n", 1), "line 1: the number of checks must be an integer in .* got 'x'"),
        (GOOD.replace("3 2\n", "999999999 2\n", 1), "number of checks of bit must be 999999999 numbers"),
        (GOOD.replace("\n2 2\n", "\n3 2\n", 1), "line 2: largest number of checks of a bit must be .* 0..2, got '3'"),
        (GOOD.replace("1 2 1", "1 3 1"), "line 3: number of checks of bit 1 must be an integer in 0..2, got '3'"),
        (GOOD.replace("1 0", "3 0"), "line 5: checks of bit 0, number 0 must be an integer in 1..2, got '3'"),
        (GOOD.replace("\n1 2\n2 0", "\n1 1\n2 0"), "line 6: checks of bit 1 must be different ones"),
        (GOOD.replace("1 0", "1 2"), "line 5: checks of bit 0, what fills them up, 0 must be .* got '2'"),
        (GOOD.replace("2 3\n", "1 3\n"), "line 9: bits of check 1 must be those that have it in their lists, got '1'"),
        (GOOD + "4", "line 10: the end of the file must be after the last number, got '4'"),
        (GOOD[:-3], "line 9: bits of check 1, number must be 2 numbers, got 1 before, got the end of the file"),
    ],
)
def test_faults_of_files(tmp_path, content, message):
    path = tmp_path / "wrong.alist"
    path.write_text(content)
    with pytest.raises(ModelError, match=rf"`path` must be an alist file, got '.*wrong\.alist': .*{message}"):
        read_alist(path)
    path.write_text(GOOD)
    np.testing.assert_array_equal(read_alist(path).toarray(), [[1, 1, 0], [0, 1, 1]])
