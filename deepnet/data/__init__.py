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
import math
import os
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import DTypeLike, NDArray

from deepnet.data.files import CLASSES, DataError, Raw, import_package
from deepnet.data.sources import SOURCES, locate
from factorgraph.interface.arguments import check_instance, shown

__all__ = ["DATASETS", "TASKS", "DataError", "Dataset", "Task", "load_dataset"]

Task = Literal["multiclass", "parity"]

#: The tasks of `load_dataset`.
TASKS: tuple[str, ...] = get_args(Task)

#: The data sets of `load_dataset`.
DATASETS: tuple[str, ...] = ("digits", *SOURCES)


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

    @property
    def features(self) -> int:
        """Number of inputs."""
        return self.x_train.shape[1]

    def __repr__(self) -> str:
        sizes = f"{len(self.x_train)} + {len(self.x_test)} samples, {self.features} features"
        return f"<Dataset {self.name} ({self.task}): {sizes}, {self.classes} classes>"


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
    raw = _read_digits() if name == "digits" else SOURCES[name].read(locate(name, data_dir))
    mean, deviation = _moments(raw.x_train)
    return Dataset(
        name=name,
        task=task,
        x_train=_standardise(raw.x_train, mean, deviation, float_type),
        y_train=targets(raw.labels_train, task),
        x_test=_standardise(raw.x_test, mean, deviation, float_type),
        y_test=targets(raw.labels_test, task),
        classes=2 if task == "parity" else CLASSES,
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


def targets(labels: NDArray[np.integer], task: Task) -> NDArray[np.integer]:
    """Return what a network learns of classes 0, 1, ...: themselves, or +1 for odd and -1 for even ones."""
    if task == "parity":
        return np.where(labels % 2 == 1, 1, -1).astype(np.int8)
    return labels.astype(np.int64)


def _moments(pixels: NDArray[np.uint8]) -> tuple[float, float]:
    """Return mean and standard deviation of all pixels, from the exact counts of their 256 values."""
    counts = np.zeros(256, dtype=np.int64)
    for rows in np.array_split(pixels, math.ceil(len(pixels) / 1024)):
        counts += np.bincount(rows.ravel(), minlength=256)
    values = np.arange(256.0)
    mean = counts @ values / counts.sum()
    return float(mean), math.sqrt(counts @ (values - mean) ** 2 / counts.sum())


def _standardise(
    pixels: NDArray[np.uint8], mean: float, deviation: float, dtype: np.dtype[np.floating]
) -> NDArray[np.floating]:
    """Return (pixels - mean) / deviation; without a deviation (a constant training set), only shifted."""
    x = pixels.astype(dtype)
    x -= mean
    x /= deviation or 1.0
    return x


def _read_digits() -> Raw:
    """Return the 1797 digits of 8 x 8 pixels in scikit-learn; of every class, each fifth sample is for testing.

    No random numbers are involved, so the split is the same for every seed and with every version of every library.
    """
    bunch: Any = import_package("sklearn.datasets", "scikit-learn").load_digits()
    pixels, labels = bunch.data.astype(np.uint8), bunch.target.astype(np.uint8)
    test = np.zeros(len(labels), dtype=bool)
    for label in range(CLASSES):
        test[np.flatnonzero(labels == label)[4::5]] = True
    return Raw(pixels[~test], labels[~test], pixels[test], labels[test])
