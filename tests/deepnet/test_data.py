"""Data sets: where files are found, what is read from them, and what happens when they are not as they should be."""

import gzip
import io
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pooch
import pytest
from wrong_values import check_refusals

from deepnet.data import DATASETS, DataError, Dataset, cifar, files, load_dataset, sources

STEMS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
RECORDS = 4
REAL_RETRIEVE = pooch.retrieve
BATCHES = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def tiny_set(seed: int = 0, train: int = 12, test: int = 5) -> list[np.ndarray]:
    """Images and labels of a training and a test part, in the order of STEMS."""
    rng = np.random.default_rng(seed)
    parts = []
    for n in (train, test):
        parts += [rng.integers(0, 256, (n, 28, 28), dtype=np.uint8), rng.integers(0, 10, n, dtype=np.uint8)]
    return parts


def write_idx(folder: Path, arrays: list[np.ndarray], packed: tuple[bool, ...] = (True,) * 4) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for stem, array, gz in zip(STEMS, arrays, packed, strict=True):
        content = idx(array)
        (folder / f"{stem}.gz" if gz else folder / stem).write_bytes(gzip.compress(content) if gz else content)
    return folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No data of this machine, and no network. Returns the cache folder."""

    def no_network(url: str, *args: Any, **kwargs: Any) -> None:
        pytest.fail(f"unexpected download of {url}")

    monkeypatch.delenv("CAVITY_DATA", raising=False)
    monkeypatch.setattr(sources, "_SYSTEM_FOLDER", tmp_path / "system")
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.setattr(pooch, "retrieve", no_network)
    return tmp_path / "cache" / "cavity"


def assert_is(loaded: Dataset, arrays: list[np.ndarray]) -> None:
    """The loaded set has the images and labels of `arrays`, standardised by the definition."""
    train = arrays[0].astype(np.float64)
    expected = [(x.reshape(len(x), -1) - train.mean()) / train.std() for x in (arrays[0], arrays[2])]
    np.testing.assert_allclose(loaded.x_train, expected[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(loaded.x_test, expected[1], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(loaded.y_train, arrays[1])
    np.testing.assert_array_equal(loaded.y_test, arrays[3])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, "float32"])
def test_digits_are_complete_standardised_and_stratified(dtype: Any) -> None:
    d = load_dataset("digits", dtype=dtype)
    assert d.x_train.dtype == d.x_test.dtype == np.dtype(dtype)
    assert d.x_train.shape[1] == d.x_test.shape[1] == 64
    assert len(d.x_train) == len(d.y_train) and len(d.x_test) == len(d.y_test)
    assert len(d.x_train) + len(d.x_test) == 1797
    assert d.classes == 10 and d.y_train.dtype == np.int64
    assert abs(d.x_train.mean(dtype=float)) < 1e-6 and abs(d.x_train.std(dtype=float) - 1) < 1e-6
    counts = [np.bincount(y, minlength=10) for y in (d.y_train, d.y_test)]
    np.testing.assert_allclose(counts[1] / (counts[0] + counts[1]), 0.2, atol=0.01)


def test_digits_match_their_source_and_the_split_has_no_overlap() -> None:
    from sklearn.datasets import load_digits

    d = load_dataset("digits", dtype=np.float64)
    bunch: Any = load_digits()
    mean = (bunch.data[0] - d.x_train[0] * (16 / np.ptp(d.x_train))).mean()  # first sample is in the training part
    restored = np.concatenate([d.x_train, d.x_test]) * (16 / np.ptp(d.x_train)) + mean
    labelled = np.column_stack([restored.round(6), np.concatenate([d.y_train, d.y_test])])
    original = np.column_stack([bunch.data, bunch.target])
    np.testing.assert_allclose(np.unique(labelled, axis=0), np.unique(original, axis=0), atol=1e-5)


def test_the_digits_split_never_changes_and_needs_no_files() -> None:
    first, second = load_dataset("digits"), load_dataset("digits", data_dir="/no/such/folder")
    np.testing.assert_array_equal(first.x_test, second.x_test)
    np.testing.assert_array_equal(first.y_test[:12], [5, 0, 9, 8, 7, 1, 2, 6, 3, 4, 0, 2])


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_idx_files_are_read_and_standardised_by_the_training_part(name: str, tmp_path: Path) -> None:
    arrays = tiny_set()
    arrays[2][:] //= 3  # a test part with another mean
    loaded = load_dataset(name, data_dir=write_idx(tmp_path / name, arrays), dtype=np.float64)
    assert loaded.x_train.shape == (12, 784) and loaded.x_test.shape == (5, 784)
    assert (loaded.name, loaded.task, loaded.classes) == (name, "multiclass", 10)
    assert loaded.x_test.mean() < -0.5
    assert_is(loaded, arrays)


def test_parity_is_plus_one_for_odd_labels(tmp_path: Path) -> None:
    arrays = tiny_set()
    arrays[1][:10] = range(10)
    loaded = load_dataset("mnist", task="parity", data_dir=write_idx(tmp_path, arrays))
    assert loaded.y_train.dtype == np.int8 and loaded.classes == 2
    np.testing.assert_array_equal(loaded.y_train[:10], [-1, 1] * 5)
    np.testing.assert_array_equal(loaded.y_test, np.where(arrays[3] % 2, 1, -1))


def test_a_constant_training_set_is_shifted_and_not_scaled(tmp_path: Path) -> None:
    arrays = tiny_set()
    arrays[0][:] = 7
    loaded = load_dataset("mnist", data_dir=write_idx(tmp_path, arrays))
    assert not loaded.x_train.any()
    np.testing.assert_array_equal(loaded.x_test, arrays[2].reshape(5, -1) - np.float32(7))


@pytest.mark.parametrize("packed", [(True,) * 4, (False,) * 4, (True, False, False, True)])
@pytest.mark.parametrize("sub", ["", "mnist"])
def test_data_dir_holds_the_files_or_the_folder_packed_or_not(
    packed: tuple[bool, ...], sub: str, tmp_path: Path
) -> None:
    arrays = tiny_set()
    write_idx(tmp_path / "there" / sub, arrays, packed)
    assert_is(load_dataset("mnist", data_dir=str(tmp_path / "there")), arrays)


def test_the_order_of_places(tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = [tiny_set(seed) for seed in range(4)]
    write_idx(elsewhere / "mnist", sets[0])
    assert_is(load_dataset("mnist"), sets[0])
    write_idx(tmp_path / "system" / "mnist", sets[1])
    assert_is(load_dataset("mnist"), sets[1])
    write_idx(tmp_path / "variable" / "mnist", sets[2])
    monkeypatch.setenv("CAVITY_DATA", str(tmp_path / "variable"))
    assert_is(load_dataset("mnist"), sets[2])
    write_idx(tmp_path / "argument", sets[3])
    assert_is(load_dataset("mnist", data_dir=tmp_path / "argument"), sets[3])


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
@pytest.mark.parametrize("given", ["argument", "variable"])
def test_a_given_folder_without_the_files_is_an_error_that_says_where_it_looked(
    name: str, given: str, tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_idx(elsewhere / "mnist", tiny_set())  # must not be fallen back to
    folder = tmp_path / "given"
    folder.mkdir()
    monkeypatch.setenv("CAVITY_DATA", str(folder) if given == "variable" else "")
    with pytest.raises(DataError) as caught:
        load_dataset(name, data_dir=folder if given == "argument" else None)
    message = str(caught.value)
    assert message.startswith("`data_dir` must" if given == "argument" else "the environment variable CAVITY_DATA must")
    wanted = STEMS if name == "mnist" else ["cifar-10-binary.tar.gz", *BATCHES]
    for part in (*wanted, str(folder), str(folder / name)):
        assert part in message


def test_an_incomplete_folder_is_an_error(tmp_path: Path) -> None:
    write_idx(tmp_path, tiny_set())
    (tmp_path / f"{STEMS[3]}.gz").unlink()
    with pytest.raises(DataError, match=STEMS[3]):
        load_dataset("mnist", data_dir=tmp_path)


def test_another_data_set_is_not_taken_for_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_idx(tmp_path / "fashion-mnist", tiny_set())
    with pytest.raises(DataError, match="`data_dir` must hold the data set mnist"):
        load_dataset("mnist", data_dir=tmp_path / "fashion-mnist")
    monkeypatch.chdir(tmp_path / "fashion-mnist")
    with pytest.raises(DataError, match="must hold the data set mnist"):
        load_dataset("mnist", data_dir=".")


@pytest.mark.parametrize("bad", ["", "nowhere", "file"])
def test_data_dir_must_be_a_folder(bad: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=f"`data_dir` must be an existing folder, got '{bad}'"):
        load_dataset("mnist", data_dir=bad)


@pytest.mark.parametrize(
    ("argument", "kwargs"),
    [
        ("name", {"name": "mnsit"}),
        ("task", {"name": "digits", "task": "binary"}),
        ("dtype", {"name": "digits", "dtype": np.int32}),
        ("dtype", {"name": "digits", "dtype": "nonsense"}),
        ("dtype", {"name": "digits", "dtype": None}),
    ],
)
def test_wrong_arguments_are_refused_with_the_choices(argument: str, kwargs: dict[str, Any]) -> None:
    choices = {"name": DATASETS, "task": ("multiclass", "parity"), "dtype": ("float32", "float64")}[argument]
    with pytest.raises(ValueError, match=f"^`{argument}` must be .*, got ") as caught:
        load_dataset(**kwargs)
    assert all(choice in str(caught.value) for choice in choices)


def fake_retrieve(arrays: list[np.ndarray], calls: list[tuple[str, str]]) -> Callable[..., str]:
    contents = {f"{stem}.gz": gzip.compress(idx(array)) for stem, array in zip(STEMS, arrays, strict=True)}

    def retrieve(url: str, known_hash: str, fname: str, path: Path, **kwargs: Any) -> str:
        calls.append((url, known_hash))
        path.mkdir(parents=True, exist_ok=True)
        (path / fname).write_bytes(contents[fname])
        return str(path / fname)

    return retrieve


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_files_are_downloaded_once_into_the_cache_with_checksums(
    name: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays, calls = tiny_set(), []
    monkeypatch.setattr(pooch, "retrieve", fake_retrieve(arrays, calls))
    assert_is(load_dataset(name), arrays)
    assert_is(load_dataset(name), arrays)
    assert [url.rpartition("/")[2] for url, _ in calls] == [f"{stem}.gz" for stem in STEMS]
    assert all(known_hash.startswith("sha256:") and len(known_hash) == 7 + 64 for _, known_hash in calls)
    assert sorted(path.name for path in (elsewhere / name).iterdir()) == sorted(f"{stem}.gz" for stem in STEMS)


def test_only_missing_files_are_downloaded(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays, calls = tiny_set(), []
    write_idx(elsewhere / "mnist", arrays)
    (elsewhere / "mnist" / f"{STEMS[1]}.gz").unlink()
    monkeypatch.setattr(pooch, "retrieve", fake_retrieve(arrays, calls))
    assert_is(load_dataset("mnist"), arrays)
    assert [url.rpartition("/")[2] for url, _ in calls] == [f"{STEMS[1]}.gz"]


@pytest.mark.parametrize("error", [ConnectionError("no route"), ValueError("hash does not match"), OSError(28, "full")])
def test_a_failed_download_says_what_to_put_where(
    error: Exception, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(pooch, "retrieve", fail)
    with pytest.raises(DataError) as caught:
        load_dataset("fashion-mnist")
    for part in (str(error), "fashion-mnist.s3", *STEMS, str(elsewhere / "fashion-mnist"), "`data_dir`", "CAVITY_DATA"):
        assert part in str(caught.value)


def test_a_wrong_checksum_leaves_nothing_behind(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real pooch, with a downloader that delivers an error page as if it were the file."""

    def deliver(url: str, output_file: Any, pooch: Any) -> None:
        Path(output_file).write_bytes(b"<html>sign in</html>")

    monkeypatch.setattr(pooch, "retrieve", REAL_RETRIEVE)
    monkeypatch.setattr("pooch.core.choose_downloader", lambda *args, **kwargs: deliver)
    with pytest.raises(DataError, match="does not match"):
        load_dataset("mnist")
    assert not list((elsewhere / "mnist").iterdir())


def swap(position: int, value: int) -> Callable[[bytes], bytes]:
    return lambda content: content[:position] + bytes([value]) + content[position + 1 :]


DAMAGE: dict[str, tuple[int, Callable[[bytes], bytes], str]] = {
    "empty": (0, lambda c: b"", "truncated"),
    "half a header": (0, lambda c: c[:9], "truncated"),
    "half of the images": (0, lambda c: c[: len(c) // 2], "damaged"),
    "one byte too few": (3, lambda c: c[:-1], "damaged"),
    "one byte too many": (2, lambda c: c + b"\0", "damaged"),
    "labels for images": (0, lambda c: idx(np.zeros(12)), "magic"),
    "images for labels": (1, lambda c: idx(np.zeros((12, 28, 28))), "magic"),
    "wrong pixel type": (2, swap(2, 0x0D), "magic"),
    "wrong size": (0, lambda c: idx(np.zeros((12, 28, 27))), "shape"),
    "no images": (2, lambda c: idx(np.zeros((0, 28, 28))), "shape"),
    "too few labels": (1, lambda c: idx(np.zeros(11)), "12 images, 11 labels"),
    "images without number": (0, lambda c: c[:4] + b"\xff" * 4 + c[8:], "shape"),
    "label 10": (3, swap(8 + 2, 10), "labels must lie in 0..9, got 10"),
}


@pytest.mark.parametrize("case", DAMAGE)
@pytest.mark.parametrize("packed", [True, False])
def test_damaged_idx_files_are_refused_by_name(case: str, packed: bool, tmp_path: Path) -> None:
    which, damage, reason = DAMAGE[case]
    write_idx(tmp_path, tiny_set(), (packed,) * 4)
    path = tmp_path / (f"{STEMS[which]}.gz" if packed else STEMS[which])
    content = path.read_bytes()
    path.write_bytes(gzip.compress(damage(gzip.decompress(content))) if packed else damage(content))
    with pytest.raises(DataError, match=reason) as caught:
        load_dataset("mnist", data_dir=tmp_path)
    assert str(path) in str(caught.value)


def spoil(path: Path, how: str, fraction: float) -> None:
    """Cut a file off at a fraction of its length, or flip the byte there."""
    content = bytearray(path.read_bytes())
    at = int(fraction * len(content))
    if how == "cut":
        del content[at:]
    else:
        content[at] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.5, 0.8, 0.9999])
@pytest.mark.parametrize("how", ["cut", "flip"])
def test_a_damaged_gz_is_refused(how: str, fraction: float, tmp_path: Path) -> None:
    path = write_idx(tmp_path, tiny_set()) / f"{STEMS[0]}.gz"
    spoil(path, how, fraction)
    with pytest.raises(DataError, match=STEMS[0]):
        load_dataset("mnist", data_dir=tmp_path)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """Small batches: (records, 1 + 3072) bytes each."""
    monkeypatch.setattr(cifar, "RECORDS", RECORDS)
    rng = np.random.default_rng(3)
    made = {batch: rng.integers(0, 256, (RECORDS, 3073), dtype=np.uint8) for batch in BATCHES}
    for records in made.values():
        records[:, 0] %= 10
    return made


def write_archive(path: Path, batches: dict[str, np.ndarray]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for batch, records in reversed(batches.items()):  # the order in the archive must not matter
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{batch}")
            info.size = records.size
            archive.addfile(info, io.BytesIO(records.tobytes()))
    return path


@pytest.mark.parametrize("layout", ["", "cifar-10-batches-bin", "cifar10", "cifar10/cifar-10-batches-bin", "archive"])
def test_cifar_is_read_from_batches_or_archive(layout: str, batches: dict[str, np.ndarray], tmp_path: Path) -> None:
    if layout == "archive":
        write_archive(tmp_path / "cifar10" / "cifar-10-binary.tar.gz", batches)
    else:
        (tmp_path / layout).mkdir(parents=True, exist_ok=True)
        for batch, records in batches.items():
            (tmp_path / layout / batch).write_bytes(records.tobytes())
    train = np.concatenate([batches[batch] for batch in BATCHES[:5]])
    test = batches[BATCHES[5]]
    loaded = load_dataset("cifar10", data_dir=tmp_path, dtype=np.float64)
    assert loaded.x_train.shape == (5 * RECORDS, 3072) and loaded.x_train.flags.c_contiguous
    assert_is(loaded, [train[:, 1:], train[:, 0], test[:, 1:], test[:, 0]])


def test_cifar_batches_of_a_wrong_size_or_with_wrong_labels_are_refused(
    batches: dict[str, np.ndarray], tmp_path: Path
) -> None:
    for batch, records in batches.items():
        (tmp_path / batch).write_bytes(records.tobytes())
    path = tmp_path / BATCHES[2]
    for content, reason in [
        (path.read_bytes()[:-3073], "damaged: must have 12292 bytes"),
        (path.read_bytes() + b"\0", "damaged: must have 12292 bytes"),
        (swap(3073, 10)(path.read_bytes()), "labels must lie in 0..9, got 10"),
    ]:
        path.write_bytes(content)
        with pytest.raises(DataError, match=reason) as caught:
            load_dataset("cifar10", data_dir=tmp_path)
        assert str(path) in str(caught.value)
        path.write_bytes(batches[BATCHES[2]].tobytes())
    load_dataset("cifar10", data_dir=tmp_path)


def test_a_cifar_archive_without_a_batch_is_refused(batches: dict[str, np.ndarray], tmp_path: Path) -> None:
    del batches[BATCHES[3]]
    path = write_archive(tmp_path / "cifar-10-binary.tar.gz", batches)
    with pytest.raises(DataError, match=f"{path} must contain .* and lacks {BATCHES[3]}"):
        load_dataset("cifar10", data_dir=tmp_path)


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.3, 0.6, 0.99, 0.99998])
@pytest.mark.parametrize("how", ["cut", "flip"])
def test_a_damaged_cifar_archive_is_refused(
    how: str, fraction: float, batches: dict[str, np.ndarray], tmp_path: Path
) -> None:
    path = write_archive(tmp_path / "cifar-10-binary.tar.gz", batches)
    spoil(path, how, fraction)
    with pytest.raises(DataError, match="cifar-10-binary"):
        load_dataset("cifar10", data_dir=tmp_path)


class Unpacked:
    """What a .gz unpacks to: some bytes, and then zeros without end."""

    def __init__(self, start: bytes) -> None:
        self.start, self.given = start, 0

    def read(self, size: int = -1) -> bytes:
        assert size > 0
        part = (self.start[self.given : self.given + size] + bytes(size))[:size]
        self.given += size
        return part

    def __enter__(self) -> "Unpacked":
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_a_gz_that_unpacks_to_more_than_its_header_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused at the first byte too many, whatever would come after it."""
    arrays = tiny_set()
    write_idx(tmp_path, arrays)
    stream = Unpacked(idx(arrays[0]))
    monkeypatch.setattr(files.gzip, "open", lambda path: stream)
    with pytest.raises(DataError, match=rf"{STEMS[0]}\.gz is damaged: must have {12 * 784} bytes of data, got more"):
        load_dataset("mnist", data_dir=tmp_path)
    assert stream.given == 16 + 12 * 784 + 1


def test_an_archive_that_unpacks_to_too_much(batches: dict[str, np.ndarray], tmp_path: Path) -> None:
    """Also where the batches are right, and the rest is behind them or in another member."""
    path = tmp_path / "cifar-10-binary.tar.gz"
    for after in (False, True):
        write_archive(path, batches)
        content = gzip.decompress(path.read_bytes())
        if not after:
            info = tarfile.TarInfo("cifar-10-batches-bin/readme.html")
            info.size = 3 << 20
            content = info.tobuf() + bytes(3 << 20) + content
        path.write_bytes(gzip.compress(content + bytes(3 << 20), 1))
        with pytest.raises(DataError, match=r"it unpacks to more than \d+ bytes"):
            load_dataset("cifar10", data_dir=tmp_path)


def test_a_batch_of_the_archive_that_claims_too_much(batches: dict[str, np.ndarray], tmp_path: Path) -> None:
    batches[BATCHES[0]] = np.concatenate([batches[BATCHES[0]]] * 2)
    path = write_archive(tmp_path / "cifar-10-binary.tar.gz", batches)
    with pytest.raises(DataError, match=rf"member {BATCHES[0]} is damaged: must have 12292 bytes of data, got more"):
        load_dataset("cifar10", data_dir=path.parent)


@pytest.mark.parametrize("folder", ["~nobody-has-this-name", "a" * 300, "a\0b", "\ud800", " " * 5000])
@pytest.mark.parametrize("given", ["argument", "variable"])
def test_names_that_no_folder_can_have(folder: str, given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if given == "variable" and "\0" in folder:
        pytest.skip("no environment can hold it")
    if given == "variable":
        monkeypatch.setattr(sources.os, "environ", {"CAVITY_DATA": folder, "HOME": "/"})
    with pytest.raises(DataError, match="must be an existing folder, got '"):
        load_dataset("mnist", data_dir=folder if given == "argument" else None)


@pytest.mark.parametrize("name", ["name", "task", "data_dir", "dtype"])
def test_wrong_types(name: str) -> None:
    right = {"name": "digits"}
    check_refusals(
        lambda value: load_dataset(**right | {name: value}),
        name,
        accepts=("None", "text", "digits") if name == "data_dir" else (),
        errors=(ValueError,),
    )
