"""Data sets: handwritten digits, MNIST, Fashion-MNIST and CIFAR-10, as ten classes or as two (odd against even).

Inputs are standardised over the whole training set, as in [DL]: one mean and one standard deviation over all training
pixels, applied to the training and the test part alike.

Where the files of a data set are looked for, in this order:

1. the folder ``data_dir``, if given: the files themselves or a sub-folder with the data set's name;
2. the folder named by the environment variable ``CAVITY_DATA``, if set: the same layout;
3. ``/usr/share/datasets/<name>``, where Debian's package dataset-fashion-mnist puts them;
4. the user's cache folder, into which they are downloaded, checksums verified, if they are nowhere else.

A folder given by the user (1, 2) that lacks the files is an error; nothing is downloaded behind it.
"""

import contextlib
import gzip
import importlib
import io
import math
import os
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, cast, get_args

import numpy as np
from numpy.typing import DTypeLike, NDArray

from factorgraph.interface.arguments import check_instance, shown
from factorgraph.io.files import FileTooLargeError, read_at_most

Task = Literal["multiclass", "parity"]

#: The tasks that `load_dataset` knows.
TASKS: tuple[str, ...] = get_args(Task)

_CLASSES = 10
_SYSTEM_FOLDER = Path("/usr/share/datasets")
_IDX_STEMS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_IDX_SHAPE = (28, 28)
_IDX_LARGEST = 1_000_000  # images or labels in a file
_CIFAR_ARCHIVE = "cifar-10-binary.tar.gz"
_CIFAR_BATCHES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
_CIFAR_PIXELS = 3 * 32 * 32
_CIFAR_RECORDS = 10_000  # per batch file
_CIFAR_OTHERS = 1 << 20  # bytes of the archive besides the batches: names, a text, padding


class DataError(Exception):
    """The files of a data set are missing, damaged or cannot be downloaded; the message says which and what to do."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set, standardised and split.

    Attributes:
        name: one of `DATASETS`.
        task: "multiclass" or "parity".
        x_train: (n_train, features), standardised pixels. CIFAR-10 pixels are ordered channel, row, column.
        y_train: (n_train,), int64 labels 0..classes-1 (multiclass), or int8, +1 for an odd label and -1 for an even
            one (parity).
        x_test: (n_test, features), shifted and scaled by the numbers of the training part.
        y_test: (n_test,), as `y_train`.
        classes: number of classes: 10 (multiclass) or 2 (parity).
    """

    name: str
    task: Task
    x_train: NDArray[np.floating]
    y_train: NDArray[np.integer]
    x_test: NDArray[np.floating]
    y_test: NDArray[np.integer]
    classes: int

    def __repr__(self) -> str:
        sizes = f"{len(self.x_train)} + {len(self.x_test)} samples, {self.x_train.shape[1]} features"
        return f"<Dataset {self.name} ({self.task}): {sizes}, {self.classes} classes>"


class _Raw(NamedTuple):
    """Bytes as stored: pixels (n, features) and labels (n,), all uint8."""

    x_train: NDArray[np.uint8]
    labels_train: NDArray[np.uint8]
    x_test: NDArray[np.uint8]
    labels_test: NDArray[np.uint8]


@dataclass(frozen=True)
class _Source:
    """Where the files of a data set come from and how they are found and read."""

    url: str  # of the folder that holds the files to download
    hashes: dict[str, str]  # file to download -> its checksum
    wanted: str  # what a folder must contain, in words
    find: Callable[[Path], list[Path] | None]  # the complete set of files in one folder, or None
    read: Callable[[list[Path]], _Raw]


def load_dataset(
    name: str,
    *,
    task: Task = "multiclass",
    data_dir: str | os.PathLike[str] | None = None,
    dtype: DTypeLike = np.float32,
) -> Dataset:
    """Load a data set, downloading it if need be.

    Args:
        name: one of `DATASETS`. The digits come with scikit-learn and need no files, so `data_dir` does not matter.
        task: "multiclass" (labels 0..9) or "parity" (odd = +1, even = -1).
        data_dir: folder with the files, or with a sub-folder ``<name>`` that has them (IDX files plain or .gz; CIFAR-10
            in its binary version, as .bin files or as the archive). See the module's text for the other places.
        dtype: float32 or float64, of the inputs.

    Raises:
        ValueError: an argument is not one of those above.
        DataError: files are missing, damaged or cannot be downloaded.
    """
    _check_choice("name", name, DATASETS)
    _check_choice("task", task, TASKS)
    float_type = _float_type(dtype)
    if data_dir is not None:
        check_instance("data_dir", data_dir, (str, os.PathLike), "the path of a folder")
    raw = _read_digits() if name == "digits" else _SOURCES[name].read(_locate(name, data_dir))
    mean, deviation = _moments(raw.x_train)
    return Dataset(
        name=name,
        task=task,
        x_train=_standardise(raw.x_train, mean, deviation, float_type),
        y_train=_targets(raw.labels_train, task),
        x_test=_standardise(raw.x_test, mean, deviation, float_type),
        y_test=_targets(raw.labels_test, task),
        classes=2 if task == "parity" else _CLASSES,
    )


def _check_choice(argument: str, value: object, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"`{argument}` must be one of {', '.join(choices)}, got {shown(value)}")


def _float_type(dtype: DTypeLike) -> np.dtype[np.floating]:
    for choice in (np.dtype(np.float32), np.dtype(np.float64)):
        with contextlib.suppress(TypeError):  # compared with what NumPy takes for no type
            if isinstance(dtype, str | type | np.dtype) and dtype == choice:
                return choice
    raise ValueError(f"`dtype` must be float32 or float64, got {shown(dtype)}")


def _targets(labels: NDArray[np.uint8], task: Task) -> NDArray[np.integer]:
    if task == "parity":
        return np.where(labels % 2 == 1, 1, -1).astype(np.int8)
    return labels.astype(np.int64)


def _moments(pixels: NDArray[np.uint8]) -> tuple[float, float]:
    """Mean and standard deviation of all pixels, from the exact counts of their 256 values."""
    counts = np.zeros(256, dtype=np.int64)
    for rows in np.array_split(pixels, math.ceil(len(pixels) / 1024)):
        counts += np.bincount(rows.ravel(), minlength=256)
    values = np.arange(256.0)
    mean = counts @ values / counts.sum()
    return float(mean), math.sqrt(counts @ (values - mean) ** 2 / counts.sum())


def _standardise(
    pixels: NDArray[np.uint8], mean: float, deviation: float, dtype: np.dtype[np.floating]
) -> NDArray[np.floating]:
    """(pixels - mean) / deviation; without a deviation (a constant training set), only shifted."""
    x = pixels.astype(dtype)
    x -= mean
    x /= deviation or 1.0
    return x


def _read_digits() -> _Raw:
    """The 1797 digits of 8 x 8 pixels in scikit-learn; of every class, each fifth sample is for testing.

    No random numbers are involved, so the split is the same for every seed and with every version of every library.
    """
    bunch: Any = _import("sklearn.datasets", "scikit-learn").load_digits()
    pixels, labels = bunch.data.astype(np.uint8), bunch.target.astype(np.uint8)
    test = np.zeros(len(labels), dtype=bool)
    for label in range(_CLASSES):
        test[np.flatnonzero(labels == label)[4::5]] = True
    return _Raw(pixels[~test], labels[~test], pixels[test], labels[test])


def _import(module: str, distribution: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DataError(f"{distribution} is needed and not installed: pip install 'cavity[data]'") from error


# --- finding and downloading ------------------------------------------------------------------------------------------


def _locate(name: str, data_dir: str | os.PathLike[str] | None) -> list[Path]:
    """The files of a data set, from the first place in the order of the module's text."""
    source = _SOURCES[name]
    try:
        if data_dir is not None:
            return _find_given("`data_dir`", data_dir, name, source)
        if variable := os.environ.get("CAVITY_DATA"):
            return _find_given("the environment variable CAVITY_DATA", variable, name, source)
        return source.find(_SYSTEM_FOLDER / name) or _from_cache(name, source)
    except OSError as error:  # no permission, most likely
        raise DataError(f"cannot look for the data set {name}: {error}") from error


def _find_given(what: str, folder: str | os.PathLike[str], name: str, source: _Source) -> list[Path]:
    """The files in a folder that the user named, or in its sub-folder."""
    root = _folder(folder)
    if root is None:
        raise DataError(f"{what} must be an existing folder, got {shown(os.fspath(folder))}")
    places = [root / name]
    # MNIST and Fashion-MNIST have the same file names: a folder called after another data set is not searched itself.
    if root.resolve().name not in set(_SOURCES) - {name}:
        places.append(root)
    for place in places:
        if paths := source.find(place):
            return paths
    looked = " and ".join(str(place) for place in places)
    raise DataError(f"{what} must hold the data set {name}, got {str(root)!r}: looked for {source.wanted} in {looked}")


def _folder(name: str | os.PathLike[str]) -> Path | None:
    """The folder of a name, the home of ``~`` or ``~user`` put in; None if there is none."""
    try:
        root = Path(name).expanduser()
        return root if os.fspath(name) and root.is_dir() else None
    except (OSError, RuntimeError):  # a name that is too long, or a user without a home
        return None


def _from_cache(name: str, source: _Source) -> list[Path]:
    """The files in the user's cache folder, after downloading those that are not there."""
    folder = Path(_import("pooch", "pooch").os_cache("cavity"), name)
    if paths := source.find(folder):
        return paths
    for file, known_hash in source.hashes.items():
        if not (folder / file).is_file():
            _download(source, file, known_hash, folder)
    if paths := source.find(folder):
        return paths
    raise DataError(f"{folder} must hold {source.wanted} after the download, and does not")


def _download(source: _Source, file: str, known_hash: str, folder: Path) -> None:
    """Download one file. pooch writes to a temporary file and moves it into place once the checksum is right."""
    url = source.url + file
    try:
        _import("pooch", "pooch").retrieve(url, known_hash, fname=file, path=folder, progressbar=sys.stderr.isatty())
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong checksum is a ValueError
        raise DataError(
            f"could not download {url}: {error}. Put {source.wanted} into {folder}, or into a folder of your own "
            f"that `data_dir` or the environment variable CAVITY_DATA names"
        ) from error


# --- MNIST and Fashion-MNIST: IDX files -------------------------------------------------------------------------------


def _find_idx(folder: Path) -> list[Path] | None:
    """The four files, each as .gz or plain, in the order of `_IDX_STEMS`."""
    paths = []
    for stem in _IDX_STEMS:
        found = [path for path in (folder / f"{stem}.gz", folder / stem) if path.is_file()]
        paths += found[:1]
    return paths if len(paths) == len(_IDX_STEMS) else None


def _read_idx_files(paths: list[Path]) -> _Raw:
    return _Raw(*_read_idx_pair(*paths[:2]), *_read_idx_pair(*paths[2:]))


def _read_idx_pair(images: Path, labels: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    x = _read_idx(images, _IDX_SHAPE)
    y = _read_idx(labels, ())
    if len(x) != len(y):
        raise DataError(f"{labels} must hold one label for each image of {images}: {len(x)} images, {len(y)} labels")
    _check_labels(y, labels)
    return x.reshape(len(x), -1), y


def _read_idx(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """(n, *shape) bytes of an IDX file: magic number 0x000008<dimensions>, big-endian sizes, data."""
    ndim = 1 + len(shape)
    start = 4 * (1 + ndim)
    with _reading(path), _opened(path) as stream:
        header = stream.read(start)
        if len(header) < start:
            raise DataError(f"{path} is truncated: {len(header)} bytes, less than its header")
        magic = int.from_bytes(header[:4], "big")
        if magic != 0x0800 + ndim:
            raise DataError(f"{path} has a wrong magic number: must be {0x0800 + ndim:#010x}, got {magic:#010x}")
        sizes = tuple(int(size) for size in np.frombuffer(header, ">u4", offset=4))
        if not 0 < sizes[0] <= _IDX_LARGEST or sizes[1:] != shape:
            need = f"{('n', *shape)} with 0 < n <= {_IDX_LARGEST}"
            raise DataError(f"{path} has a wrong shape: must be {need}, got {sizes}")
        data = _read_announced(stream, math.prod(sizes), path)
    return np.frombuffer(data, np.uint8).reshape(sizes)


def _read_announced(stream: IO[bytes], size: int, where: Path | str) -> bytes:
    """The rest of a stream, to the very end, where the CRC of a packed one is checked; its size must be as announced.

    Memory is taken for what is there, and for one byte more than announced at most.
    """
    try:
        data = read_at_most(stream, size)
    except FileTooLargeError:
        raise DataError(f"{where} is damaged: must have {size} bytes of data, got more") from None
    if len(data) != size:
        raise DataError(f"{where} is damaged: must have {size} bytes of data, got {len(data)}")
    return data


def _opened(path: Path) -> IO[bytes]:
    """A file to read from, unpacked if it is a .gz."""
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Around the reading of a file: damaged bytes make the readers of gzip and tar raise nearly anything."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path} cannot be read: {str(error) or type(error).__name__}") from error


def _check_labels(labels: NDArray[np.uint8], where: Path | str) -> None:
    if (largest := labels.max()) >= _CLASSES:
        raise DataError(f"{where} is damaged: labels must lie in 0..{_CLASSES - 1}, got {largest}")


# --- CIFAR-10: binary batches -----------------------------------------------------------------------------------------


def _find_cifar(folder: Path) -> list[Path] | None:
    """The six batch files, in the folder or the sub-folder that the archive unpacks to, or else the archive."""
    for place in (folder / "cifar-10-batches-bin", folder):
        paths = [place / batch for batch in _CIFAR_BATCHES]
        if all(path.is_file() for path in paths):
            return paths
    archive = folder / _CIFAR_ARCHIVE
    return [archive] if archive.is_file() else None


def _read_cifar(paths: list[Path]) -> _Raw:
    if len(paths) == 1:
        contents = _read_archive(paths[0])
    else:
        contents = {str(path): _read_batch(path) for path in paths}
    parts = [_cifar_records(data, where) for where, data in contents.items()]
    train = np.concatenate(parts[:-1])
    return _Raw(train[:, 1:], train[:, 0], parts[-1][:, 1:], parts[-1][:, 0])


def _read_batch(path: Path) -> bytes:
    with _reading(path), _opened(path) as stream:
        return _read_announced(stream, _CIFAR_RECORDS * (1 + _CIFAR_PIXELS), path)


def _read_archive(path: Path) -> dict[str, bytes]:
    """Contents of the batch files in the archive, in the order of `_CIFAR_BATCHES`; nothing is unpacked to disk."""
    found: dict[str, bytes] = {}
    size = _CIFAR_RECORDS * (1 + _CIFAR_PIXELS)
    with _reading(path), gzip.open(path) as unpacked:
        stream = _Bounded(cast(IO[bytes], unpacked), len(_CIFAR_BATCHES) * size + _CIFAR_OTHERS)
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                name = Path(member.name).name
                if name in _CIFAR_BATCHES and (content := archive.extractfile(member)) is not None:
                    found[name] = _read_announced(content, size, f"{path}, member {name}")
        while stream.read(1 << 20):  # to the very end, where the CRC is
            pass
    if missing := [batch for batch in _CIFAR_BATCHES if batch not in found]:
        raise DataError(f"{path} must contain {', '.join(_CIFAR_BATCHES)}, and lacks {', '.join(missing)}")
    return {f"{path}, member {batch}": found[batch] for batch in _CIFAR_BATCHES}


class _Bounded(io.RawIOBase):
    """A stream that is an error as soon as it has more bytes than it may."""

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self._stream, self._most, self._left = stream, most, most

    def read(self, size: int = -1) -> bytes:
        """Not more than is left, and one byte to see that it is too much."""
        data = self._stream.read(self._left + 1 if size < 0 else min(size, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise FileTooLargeError(f"it unpacks to more than {self._most} bytes")
        return data


def _cifar_records(data: bytes, where: str) -> NDArray[np.uint8]:
    """(records, 1 + 3072) bytes: label, then pixels."""
    records = np.frombuffer(data, np.uint8).reshape(-1, 1 + _CIFAR_PIXELS)
    _check_labels(records[:, 0], where)
    return records


# --- the table of data sets -------------------------------------------------------------------------------------------

# The checksums are those of the files at these addresses. Other copies (Debian's, for one) hold the same images but are
# compressed anew, which is why files that were not downloaded here are checked for their content only.
_MNIST_HASHES = (
    "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
)
_FASHION_HASHES = (
    "sha256:3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "sha256:a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "sha256:346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "sha256:67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
)


def _idx_source(url: str, hashes: tuple[str, ...]) -> _Source:
    return _Source(
        url=url,
        hashes={f"{stem}.gz": known_hash for stem, known_hash in zip(_IDX_STEMS, hashes, strict=True)},
        wanted=f"{', '.join(_IDX_STEMS)} (each plain or .gz)",
        find=_find_idx,
        read=_read_idx_files,
    )


_SOURCES: dict[str, _Source] = {
    "mnist": _idx_source("https://ossci-datasets.s3.amazonaws.com/mnist/", _MNIST_HASHES),
    "fashion-mnist": _idx_source("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/", _FASHION_HASHES),
    "cifar10": _Source(
        url="https://www.cs.toronto.edu/~kriz/",
        hashes={_CIFAR_ARCHIVE: "sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
        wanted=f"{_CIFAR_ARCHIVE} or {', '.join(_CIFAR_BATCHES)} (these also in cifar-10-batches-bin)",
        find=_find_cifar,
        read=_read_cifar,
    ),
}

#: The data sets that `load_dataset` knows.
DATASETS: tuple[str, ...] = ("digits", *_SOURCES)
