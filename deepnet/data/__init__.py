"""Data sets: handwritten digits, MNIST, Fashion-MNIST and CIFAR-10, as ten classes or as two (odd against even); and
files of the user's (`load_files`).

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
import os
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import DTypeLike, NDArray

from deepnet.data.dataset import Dataset, Label
from deepnet.data.files import CLASSES, DataError, Raw
from deepnet.data.own import Files, load_files
from deepnet.data.preparation import Pixels
from deepnet.data.sources import SOURCES, locate
from deepnet.data.table import LABELS, PICTURES, Table
from deepnet.data.target import Classes
from factorgraph.interface.arguments import check_instance, shown

__all__ = [
    "DATASETS",
    "TASKS",
    "DataError",
    "Dataset",
    "Files",
    "Label",
    "Task",
    "load_dataset",
    "load_files",
    "load_pictures",
]

Task = Literal["multiclass", "parity"]

#: The tasks of `load_dataset`.
TASKS: tuple[str, ...] = get_args(Task)

#: The data sets of `load_dataset`.
DATASETS: tuple[str, ...] = ("digits", *SOURCES)

#: Shapes of the pictures in the data sets of `load_dataset`.
SHAPES = {"digits": (8, 8), "mnist": (28, 28), "fashion-mnist": (28, 28), "cifar10": (3, 32, 32)}


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
    _check_choice("task", task, TASKS)
    float_type = _float_type(dtype)
    raw = _read(name, data_dir)
    pictures = raw.x_train.reshape(-1, *SHAPES[name])
    preparation = Pixels.fit(PICTURES, pictures, np.arange(len(pictures)))
    return Dataset(
        name=name,
        task=task,
        x_train=preparation.standardise(raw.x_train, float_type),
        y_train=targets_for(task, raw.labels_train),
        x_test=preparation.standardise(raw.x_test, float_type),
        y_test=targets_for(task, raw.labels_test),
        labels=labels_for(task),
        preparation=preparation,
    )


def labels_for(task: Task) -> tuple[Label, ...]:
    """Return the classes of a task."""
    return ("even", "odd") if task == "parity" else tuple(range(CLASSES))


def targets_for(task: Task, numbers: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return labels as networks take them, of the ten classes by their numbers."""
    return Classes(labels_for(task)).encode(numbers % 2 if task == "parity" else numbers)


def load_pictures(name: str, data_dir: str | os.PathLike[str] | None = None) -> Table:
    """Return the test set of a data set as its files have it, as if it were a file; arguments and errors as of
    `load_dataset`."""
    raw = _read(name, data_dir)
    pictures = raw.x_test.reshape(-1, *SHAPES[name])
    return Table(Path(name), {PICTURES: pictures, LABELS: raw.labels_test}, np.arange(len(pictures)))


def _read(name: str, data_dir: str | os.PathLike[str] | None) -> Raw:
    """Return a data set as its files have it."""
    _check_choice("name", name, DATASETS)
    if data_dir is not None:
        check_instance("data_dir", data_dir, (str, os.PathLike), "the path of a folder")
    return _read_digits() if name == "digits" else SOURCES[name].read(locate(name, data_dir))


def _check_choice(argument: str, value: object, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"`{argument}` must be one of {', '.join(choices)}, got {shown(value)}")


def _float_type(dtype: DTypeLike) -> np.dtype[np.floating]:
    for choice in (np.dtype(np.float32), np.dtype(np.float64)):
        with contextlib.suppress(TypeError):  # compared with what NumPy takes for no type
            if isinstance(dtype, str | type | np.dtype) and dtype == choice:
                return choice
    raise ValueError(f"`dtype` must be float32 or float64, got {shown(dtype)}")


def _read_digits() -> Raw:
    """Return the 1797 digits of 8 x 8 pixels in scikit-learn; of every class, each fifth sample is for testing.

    No random numbers are involved, so the split is the same for every seed and with every version of every library.
    """
    from sklearn.datasets import load_digits  # here, because it takes a second to import

    bunch: Any = load_digits()
    pixels, labels = bunch.data.astype(np.uint8), bunch.target.astype(np.uint8)
    test = np.zeros(len(labels), dtype=bool)
    for label in range(CLASSES):
        test[np.flatnonzero(labels == label)[4::5]] = True
    return Raw(pixels[~test], labels[~test], pixels[test], labels[test])
