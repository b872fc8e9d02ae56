"""Every file that ``deepnet`` reads, mutated: our own errors, or what the file says; never anything else."""

import copy
import gzip
import io
import json
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepnet.app.checkpoint import CheckpointError, latest_checkpoint, load_checkpoint
from deepnet.app.description import CONFIG, Description, RunError
from deepnet.app.run import Run
from deepnet.bench import BenchError
from deepnet.bench.measure import Protocol
from deepnet.bench.report import document, legend, table
from deepnet.bench.results import read
from deepnet.config import Config
from deepnet.data import DataError, cifar, idx, load_dataset

#: Values that turn up in the place of others in JSON.
STRANGE: list[Any] = [
    None, True, False, 0, 1, -1, 2, 64, 0.5, -0.5, 1e-300, 1e300, 10**12, 10**400, "", "x", "64", "mf", "float64",
    "\ud800",
    "\0", [], {}, [[]], [1], ["1"], [None], {"x": 1}, [0.1] * 50, "1:2", "1:2:3", "8:1:0.9", "nan", "inf", [10**12, 3],
]  # fmt: skip

#: Texts that turn up in the place of a value, and are no value.
NO_JSON = [
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"9" * 5000,
    b"[" * 5000,
    b'{"a":' * 5000,
    b"'x'",
    b"",
    b"\xff",
    b"00",
    b"\\u",
]


def mutated_bytes(rng: random.Random, data: bytes) -> bytes:
    """A few bytes changed, lost, doubled or moved."""
    content = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        at, size = rng.randrange(len(content) + 1), rng.choice([1, 1, 4, 30, 1000])
        action = rng.randrange(6)
        if action == 0 and at < len(content):
            content[at] ^= 1 << rng.randrange(8)
        elif action == 1:
            content[at : at + size] = rng.randbytes(size)
        elif action == 2:
            del content[at : at + size]
        elif action == 3:
            content[at:at] = content[at : at + size]
        elif action == 4:
            content[at : at + size] = bytes([rng.choice([0, 255])]) * size
        elif action == 5 and rng.random() < 0.3:
            del content[at:]
    return bytes(content)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container and key in a JSON value."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])


def mutated_json(rng: random.Random, value: Any) -> bytes:
    """The text of a JSON value in which one or two values are others, gone, new, or no values at all."""
    if rng.random() < 0.02:
        return json.dumps(rng.choice(STRANGE)).encode()
    value, hole = copy.deepcopy(value), "a hole for what is no JSON"
    for _ in range(rng.choice([1, 1, 2])):
        within, key = rng.choice(list(places(value)))
        action = rng.randrange(8)
        if action == 0:
            del within[key]
        elif action == 1 and isinstance(within, dict):
            within[rng.choice(["x", "", "seed", "results", "epoch"])] = rng.choice(STRANGE)
        elif action == 2 and isinstance(within, list):
            within.insert(key, copy.deepcopy(rng.choice([*STRANGE, within[key]])))
        elif action == 3:
            within[key] = hole
        elif action == 4:
            within[key] = [within[key]]
        else:
            within[key] = copy.deepcopy(rng.choice(STRANGE))
    text = json.dumps(value).encode()
    return text.replace(json.dumps(hole).encode(), rng.choice(NO_JSON), 1)


# --- runs -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a small network, two of five weights kept."""
    folder = tmp_path_factory.mktemp("fuzz") / "run"
    dataset = load_dataset("digits", task="parity")
    config = Config(hidden=(5,), closure=("bp", "mf"), density=0.4, epochs=3, beta=["8:1:0.9", 1], weights="continuous")
    begun = Run(folder, Description.of(dataset, config))
    network = begun.load()
    with begun.begun():
        begun.prepare(network)
        for epoch in range(1, 4):
            network.epoch = epoch
            measured: dict[str, Any] = {"epoch": epoch, "polarization": [0.5, 0.25], "overlap": [0.125, 0.0]}
            names = ("train_error", "test_error", "bayes_train_error", "bayes_test_error")
            begun.record(network, measured | dict.fromkeys((*names, "seconds", "evaluation_seconds"), 1.5))
    return folder


def load(folder: Path) -> tuple[Run, dict[str, Any]] | None:
    """The run and its arrays; None for one of our own errors, in one line that is not too long."""
    try:
        opened = Run.open(folder)
        return opened, opened.load().arrays()
    except (RunError, CheckpointError) as error:
        assert str(folder) in str(error) and len(str(error)) < 5000
        return None


def same(value: Any) -> Any:
    """One value for all layers, where all have the same."""
    return value[0] if isinstance(value, list) and all(each == value[0] for each in value) else value


def descriptions(run: Path, folder: Path) -> Callable[[random.Random], bool]:
    """``config.json``: what is read is refused, or decides the same weights as what was written."""
    text = (run / CONFIG).read_bytes()
    right, arrays = Run.open(run).description.decisive(), Run.open(run).load().arrays()
    for path in run.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())

    def attempt(rng: random.Random) -> bool:
        spoilt = mutated_json(rng, json.loads(text)) if rng.random() < 0.8 else mutated_bytes(rng, text)
        (folder / CONFIG).write_bytes(spoilt)
        found = load(folder)
        if found is None:
            return False
        own = found[0].description.decisive()
        assert {name: same(value) for name, value in own.items()} == {
            name: same(value) for name, value in right.items()
        }
        assert all(np.array_equal(values, arrays[name]) for name, values in found[1].items())
        return True

    return attempt


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def checkpoints(run: Path, folder: Path) -> Callable[[random.Random], bool]:
    """A checkpoint: bytes anywhere, or members with right checksums and wrong content."""
    newest = latest_checkpoint(run)
    assert newest is not None
    (folder / CONFIG).write_bytes((run / CONFIG).read_bytes())
    content, parts = newest.read_bytes(), members(newest)
    right = load_checkpoint(newest)

    def rebuilt(rng: random.Random) -> bytes:
        spoilt = dict(parts)
        if rng.random() < 0.5:
            text = mutated_json(rng, json.loads(str(np.load(io.BytesIO(parts["document.npy"])))))
            stream = io.BytesIO()
            np.save(stream, np.array(text.decode(errors="replace")))
            spoilt["document.npy"] = stream.getvalue()
        else:
            name = rng.choice(list(parts))
            head = rng.choice([128, 128, len(parts[name])])
            spoilt[name] = mutated_bytes(rng, parts[name][:head]) + parts[name][head:]
            if rng.random() < 0.2:
                spoilt[rng.choice([*parts, "x", "../x", "array/", "array/x.npy"])] = spoilt.pop(name)
        stream = io.BytesIO()
        packing = rng.choice([zipfile.ZIP_STORED] * 9 + [zipfile.ZIP_DEFLATED])
        with zipfile.ZipFile(stream, "w", packing) as archive:
            for name, part in spoilt.items():
                archive.writestr(name, part)
        return stream.getvalue()

    def attempt(rng: random.Random) -> bool:
        whole = rng.random() < 0.5
        (folder / newest.name).write_bytes(mutated_bytes(rng, content) if whole else rebuilt(rng))
        found = load(folder)
        if found is None:
            return False
        if whole:  # checksums tell everything but what does not matter
            assert found[0].history == right[2]["history"]
            assert all(np.array_equal(values, right[1][name]) for name, values in found[1].items())
        assert all(np.isfinite(values).all() for values in found[1].values())
        return True

    return attempt


# --- benchmarks -------------------------------------------------------------------------------------------------------


def benchmark() -> dict[str, Any]:
    """A document as ``--json`` writes it."""
    row = {
        "name": "mf", "after": 0, "weights": 115, "polarization": [0.5, 0.25], "batches": 8, "epoch_batches": 20,
        "seconds": [1.0, 1.5], "median_seconds": 1.25, "ratios": [10.0, 12.0], "median_ratio": 11.0, "flops": 1e9,
        "evaluations": 0.0, "limits": {"flops": 1e11, "bytes": 1e10, "evaluations": 1e9}, "share": 0.5,
        "memory": {"peak": 100_000_000, "own": 1_000_000, "device": None},
    }  # fmt: skip
    case = {
        "widths": [20, 5, 3], "batch_size": 15, "samples": 300, "density": 0.5, "weights": "binary",
        "activation": "sign", "preset": "default", "dataset": None, "data_dir": None, "seed": 0, "device": "cpu",
        "threads": 1, "optimizer": "sgd",
    }  # fmt: skip
    baseline = row | {"name": "binarynet", "polarization": None, "ratios": [1.0, 1.0], "median_ratio": 1.0}
    results = [
        {"axis": "width", "value": value, "case": case, "contenders": [copy.deepcopy(baseline), copy.deepcopy(row)]}
        for value in (5, 9)
    ]
    return json.loads(document(results, Protocol()))


def benchmarks(_: Path, folder: Path) -> Callable[[random.Random], bool]:
    """Results of benchmarks: what is read can be shown."""
    right = benchmark()
    path = folder / "bench.json"
    path.write_text(json.dumps(right))
    assert read(path) == right["results"]

    def attempt(rng: random.Random) -> bool:
        spoilt = mutated_json(rng, right) if rng.random() < 0.8 else mutated_bytes(rng, json.dumps(right).encode())
        path.write_bytes(spoilt)
        try:
            results = read(path)
        except BenchError as error:
            assert str(path) in str(error) and len(str(error)) < 1000
            return False
        for result in results:
            assert table(result)
        assert legend(results) and json.loads(document(results, Protocol()))["results"] == results
        return True

    return attempt


# --- data -------------------------------------------------------------------------------------------------------------


def loads(name: str, folder: Path) -> bool:
    """Whether a data set is read; then it is one."""
    try:
        found = load_dataset(name, data_dir=folder)
    except DataError as error:
        assert str(folder) in str(error) and len(str(error)) < 1000
        return False
    for x, y in ((found.x_train, found.y_train), (found.x_test, found.y_test)):
        assert x.ndim == 2 and len(x) == len(y) > 0 and np.isfinite(x).all()
        assert set(np.unique(y)) <= set(range(10))
    return True


def idx_files(_: Path, folder: Path) -> Callable[[random.Random], bool]:
    """MNIST: its four files, plain and packed, the packed ones spoilt before or after they are packed."""
    values = np.random.default_rng(0)
    stems = idx.STEMS
    contents = {}
    for stem, size in zip(stems, (7, 7, 3, 3), strict=True):
        shape = (size, 28, 28) if "images" in stem else (size,)
        body = values.integers(0, 256 if "images" in stem else 10, shape, dtype=np.uint8).tobytes()
        contents[stem] = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape) + body

    def write(stem: str, content: bytes, packed: bool) -> None:
        (folder / (stem if packed else f"{stem}.gz")).unlink(missing_ok=True)
        (folder / (f"{stem}.gz" if packed else stem)).write_bytes(content)

    for stem, content in contents.items():
        write(stem, content, False)
    assert loads("mnist", folder)

    def attempt(rng: random.Random) -> bool:
        stem, way = rng.choice(stems), rng.randrange(3)
        head = rng.choice([16, len(contents[stem])])
        spoilt = mutated_bytes(rng, contents[stem][:head]) + contents[stem][head:]
        if way == 2:
            spoilt = mutated_bytes(rng, gzip.compress(contents[stem], 1))
        write(stem, gzip.compress(spoilt, 1) if way == 1 else spoilt, way > 0)
        accepted = loads("mnist", folder)
        write(stem, contents[stem], False)
        return accepted

    return attempt


def cifar_archives(_: Path, folder: Path) -> Callable[[random.Random], bool]:
    """CIFAR-10: the archive, spoilt before or after it is packed."""
    values, stream = np.random.default_rng(0), io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for batch in cifar.BATCHES:
            records = values.integers(0, 10, (1, 1 + cifar.PIXELS), dtype=np.uint8)
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{batch}")
            info.size = records.size
            archive.addfile(info, io.BytesIO(records.tobytes()))
    path, content = folder / cifar.ARCHIVE, stream.getvalue()
    path.write_bytes(gzip.compress(content, 1))
    assert loads("cifar10", folder)

    def attempt(rng: random.Random) -> bool:
        if rng.random() < 0.5:
            path.write_bytes(mutated_bytes(rng, gzip.compress(content, 1)))
        else:
            at = 3584 * rng.randrange(6)  # a header of a member, and its records
            spoilt = mutated_bytes(rng, content[at : at + 512])
            path.write_bytes(gzip.compress(content[:at] + spoilt + content[at + 512 :], 1))
        return loads("cifar10", folder)

    return attempt


FILES = [descriptions, checkpoints, benchmarks, idx_files, cifar_archives]


def fuzz(make: Callable[..., Callable[[random.Random], bool]], run: Path, folder: Path, seeds: range) -> None:
    """One attempt a seed: some files are refused, and some are not."""
    attempt, accepted = make(run, folder), 0
    for seed in seeds:
        try:
            accepted += attempt(random.Random(seed))
        except Exception as error:
            raise AssertionError(f"{make.__name__}, seed {seed}: {type(error).__name__}: {error}") from error
    assert 0 < accepted < 0.9 * len(seeds)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar, "RECORDS", 1)


@pytest.mark.parametrize("make", FILES)
def test_mutated_files(make: Any, run: Path, tmp_path: Path) -> None:
    fuzz(make, run, tmp_path, range(700))


@pytest.mark.fuzz
@pytest.mark.parametrize("make", FILES)
def test_many_mutated_files(make: Any, run: Path, tmp_path: Path) -> None:
    fuzz(make, run, tmp_path, range(10_000, 30_000))
