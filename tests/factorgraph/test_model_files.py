"""Model files: what is written is read again, and whatever else is read is refused by ``ModelError``."""

import io
import os
import warnings
import zipfile

import numpy as np
import pytest
from mutated_models import MODELS, mutated, npy, read, write

from factorgraph import Graph, Model, ModelError, Pairwise, infer, load_model, save_model
from factorgraph.model.description import Variable

#: Models of more scalars are what their files say, and take memory that a test does not need.
SMALL = 10_000


def ring(path):
    graph = Graph()
    s = graph.spins("s", 3, field=0.2)
    graph.add(Pairwise(s[1:], s[:-1], coupling=np.array([0.5, -0.3])))
    save_model(graph, path)
    return path


def evidence(model: Model) -> dict[str, np.ndarray]:
    return {n: np.ones(model.shape(n)) for n, v in model.variables.items() if v.observed and None not in model.shape(n)}


def size(model: Model) -> int:
    return sum(int(np.prod([n or 1 for n in model.shape(name)])) for name in model.variables)


def run(path) -> bool:
    """Load a file and run what it holds; whether there was something. Other errors than ours are the test's."""
    try:
        model = load_model(path)
    except ModelError as error:
        assert str(path) in str(error) and "`path`" in str(error)
        return False
    if size(model) <= SMALL:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                infer(model, observed=evidence(model), max_sweeps=3)
            except ValueError:  # ours are of this class: no law, contradictions, missing observations
                pass
    return True


def fuzz(tmp_path, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    path, whole = tmp_path / "m.npz", []
    for make in MODELS.values():
        save_model(make(), path)
        assert run(path)
        whole.append(path.read_bytes())
    refused = 0
    for number in range(count):
        data = mutated(whole[number % len(whole)], rng)
        path.write_bytes(data)
        try:
            refused += not run(path)
        except Exception as error:
            raise AssertionError(f"input {number} of seed {seed}: {type(error).__name__}: {error}") from error
    assert 0.5 * count < refused < count  # some changes make another model


def test_mutated_files(tmp_path):
    fuzz(tmp_path, 2000, seed=0)


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", range(1, 11))
def test_mutated_files_at_length(tmp_path, seed):
    fuzz(tmp_path, 10_000, seed)


@pytest.mark.parametrize("name", MODELS)
def test_models_come_back(name, tmp_path):
    model = MODELS[name]()
    save_model(model, tmp_path / "m.npz")
    loaded = load_model(tmp_path / "m.npz")
    first, second = (infer(m, observed=evidence(m), max_sweeps=5, tolerance=0) for m in (model, loaded))
    np.testing.assert_array_equal(first.B, second.B)
    np.testing.assert_array_equal(first.A, second.A)
    for one, other in zip(model.factors, loaded.factors, strict=True):
        assert getattr(one, "shape", None) == getattr(other, "shape", None)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(0), np.full(2, np.nan), np.ones(10_000), np.ones((2, 2)), np.ones(2) * 1j, np.array(0.5),
        np.ones((2, 1)), np.array(["0.5", "1"]), np.array([0.5, np.inf]),
    ],
    ids=str,
)  # fmt: skip
def test_arrays_that_do_not_fit(array, tmp_path):
    path = ring(tmp_path / "m.npz")
    members = read(path.read_bytes())
    place = next(i for i, (_, data) in enumerate(members) if b"(2,)" in data and b"<f8" in data)
    members[place] = (members[place][0], npy(array))
    path.write_bytes(write(members))
    name = members[place][0].removesuffix(".npy")
    with pytest.raises(ModelError, match=rf"`path` must be a .*model file, got '.*m.npz'.*\b{name}\b"):
        load_model(path)


def test_sizes_are_held_against_the_file_before_anything_is_allocated(tmp_path):
    """A header that claims petabytes, a member that unpacks to more than the file, and one that goes on."""
    path = ring(tmp_path / "m.npz")
    members = read(path.read_bytes())
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**15,)})
    for content, message in ((header.getvalue(), "must have 8000000000000000 bytes, got 0"), (npy(0) + b"x", "bytes")):
        path.write_bytes(write([*members[:-1], (members[-1][0], content)]))
        with pytest.raises(ModelError, match=message):
            load_model(path)
    path.write_bytes(write([*members, ("bomb.npy", npy(np.zeros(10**6)))], zipfile.ZIP_DEFLATED))
    with pytest.raises(ModelError, match="must be stored without compression"):
        load_model(path)


def test_members_that_lie_over_each_other(tmp_path):
    """All members at one place of the file: together they are larger than it."""
    path = tmp_path / "m.npz"
    path.write_bytes(write([(f"a{i}.npy", npy(np.zeros(1000))) for i in range(9)]))
    data = bytearray(path.read_bytes())
    start = data.find(b"PK\x01\x02")
    while start >= 0:
        data[start + 42 : start + 46] = bytes(4)
        start = data.find(b"PK\x01\x02", start + 1)
    path.write_bytes(data[:10_000] + data[data.find(b"PK\x01\x02") :])
    with pytest.raises(ModelError, match="`path` must be a model file"):
        load_model(path)


def test_places_that_are_no_files(tmp_path):
    model = MODELS["spins"]()
    with pytest.raises(FileNotFoundError, match=r"`path` must be a file that can be read .*nothing.npz"):
        load_model(tmp_path / "nothing.npz")
    with pytest.raises(OSError, match="`path` must be a file that can be read"):
        load_model(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"`path` must be in a folder that exists, got.*nowhere"):
        save_model(model, tmp_path / "nowhere" / "m.npz")
    with pytest.raises(IsADirectoryError, match="`path` must be a file, got a folder"):
        save_model(model, tmp_path)
    for wrong in (None, 3, b"m.npz", "", "a\0b", "\ud800"):
        with pytest.raises(ModelError, match="`path` must be"):
            load_model(wrong)
        with pytest.raises(ModelError, match="`path` must be"):
            save_model(model, wrong)
    assert os.listdir(tmp_path) == []


def test_sizes_of_any_integer_type(tmp_path):
    variable = Variable("x", ("p",), precision=np.float32(1.0), dimension=np.int64(0))
    save_model(Model.of({"p": np.int32(3)}, [variable], []), tmp_path / "m.npz")
    assert infer(load_model(tmp_path / "m.npz"))["x"].variance.tolist() == [1.0, 1.0, 1.0]
