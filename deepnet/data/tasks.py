"""Sequences of tasks made of one data set, for continual learning: the same tasks for every run, seed and machine.

- permuted: the features in another order in each task; the first task has them as they are.
- split: some of the classes in each task, in their order (0 and 1, then 2 and 3, ...), with the labels of the data set;
  odd against even within a task with ``task="parity"``.
- rotated: the images turned, by 180°/tasks more in each task; the first task has them as they are.
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy import sparse

from deepnet.data import TASKS, Dataset, Label, Task, labels_for, load_dataset, targets_for
from deepnet.data.files import CLASSES
from deepnet.data.preparation import Preparation
from deepnet.data.target import Classes, Target
from factorgraph.interface.arguments import check_choice, check_integer, shown

#: Inputs of a task from those of the data set, (samples, features) both.
Transform = Callable[[NDArray[np.floating]], NDArray[np.floating]]

#: First part of the seeds of the permutations.
_PERMUTED = 14

_LARGEST = 10_000


@dataclass(frozen=True)
class Tasks:
    """What a sequence of tasks is, written ``"permuted:5"``.

    Attributes:
        kind: one of ``KINDS``.
        number: of tasks.
    """

    kind: str
    number: int

    def __str__(self) -> str:
        return f"{self.kind}:{self.number}"

    @classmethod
    def of(cls, value: str) -> Self:
        """Return tasks from their written form; raise ``ValueError`` for anything else."""
        kind, _, number = value.partition(":") if isinstance(value, str) else ("", "", "")
        if kind not in KINDS or not number.isdecimal():
            example = f"{', '.join(KINDS)} and the number of tasks, as in 'permuted:5'"
            raise ValueError(f"`tasks` must be one of {example}, got {shown(value)}")
        largest = CLASSES // 2 if kind == "split" else _LARGEST
        return cls(kind, check_integer("tasks", int(number), minimum=2, maximum=largest))


@dataclass(frozen=True, eq=False)
class TaskSequence(Sequence[Dataset]):
    """Data sets to be learnt one after the other, each made when it is asked for.

    Attributes:
        base: the data set that they are made of, with all its classes.
        task: what their labels are: "multiclass" or "parity".
        tasks: how they are made.
    """

    base: Dataset
    task: Task
    tasks: Tasks

    def __len__(self) -> int:
        return self.tasks.number

    def __getitem__(self, index: int) -> Dataset:  # pyright: ignore[reportIncompatibleMethodOverride]
        number = range(len(self))[index]
        base, transform, kept = self.base, self._transform(number), self._classes(number)
        train, test = np.isin(base.y_train, kept), np.isin(base.y_test, kept)
        return replace(
            base,
            task=self.task,
            x_train=transform(base.x_train[train]),
            y_train=targets_for(self.task, base.y_train[train]),
            x_test=transform(base.x_test[test]),
            y_test=targets_for(self.task, base.y_test[test]),
            labels=self.labels,
        )

    def tests(self, number: int) -> Iterator[tuple[NDArray[np.floating], NDArray[np.integer]]]:
        """Yield the inputs and labels for testing of the first tasks, so many of them."""
        for task in range(number):
            test = np.isin(self.base.y_test, self._classes(task))
            yield self._transform(task)(self.base.x_test[test]), targets_for(self.task, self.base.y_test[test])

    @property
    def name(self) -> str:
        """Name of the data set."""
        return self.base.name

    @property
    def features(self) -> int:
        """Number of inputs, of every task."""
        return self.base.features

    @property
    def labels(self) -> tuple[Label, ...]:
        """The classes of all tasks together, as the user knows them."""
        return labels_for(self.task)

    @property
    def target(self) -> Target:
        """What is learned, in all tasks together."""
        return Classes(self.labels)

    @property
    def classes(self) -> int:
        """Number of classes, of all tasks together."""
        return self.target.size

    @property
    def preparation(self) -> Preparation:
        """How the inputs of the first task are made from what files hold."""
        return self.base.preparation

    @cached_property
    def x_test(self) -> NDArray[np.floating]:
        """The inputs for testing of all tasks, one after the other."""
        return np.concatenate([x for x, _ in self.tests(len(self))])

    @cached_property
    def y_test(self) -> NDArray[np.integer]:
        """The labels for testing of all tasks."""
        return np.concatenate([y for _, y in self.tests(len(self))])

    def _transform(self, number: int) -> Transform:
        return KINDS[self.tasks.kind](self.features, number, len(self))

    def _classes(self, number: int) -> NDArray[np.integer]:
        """Return the classes of a task."""
        parts = len(self) if self.tasks.kind == "split" else 1
        return np.array_split(np.arange(self.base.classes), parts)[number % parts]


def number_of_tasks(tasks: str | None) -> int:
    """Return how many data sets are learnt one after the other; 1 if there are no ``tasks``."""
    return 1 if tasks is None else Tasks.of(tasks).number


def load_tasks(
    name: str,
    tasks: str,
    *,
    task: Task = "multiclass",
    data_dir: str | os.PathLike[str] | None = None,
    dtype: DTypeLike = np.float32,
) -> TaskSequence:
    """Load a sequence of tasks: "permuted:T", "split:T" or "rotated:T", made of the data set of this name.

    The other arguments and the errors are those of ``load_dataset``; "split" takes half as many tasks as classes at
    most.
    """
    made = Tasks.of(tasks)
    check_choice("task", task, TASKS)
    return TaskSequence(load_dataset(name, data_dir=data_dir, dtype=dtype), task, made)


def load_data(
    name: str,
    *,
    task: Task,
    tasks: str | None,
    data_dir: str | os.PathLike[str] | None,
    dtype: DTypeLike,
) -> Dataset | TaskSequence:
    """Load a data set, or a sequence of tasks made of it unless ``tasks`` is None."""
    if tasks is None:
        return load_dataset(name, task=task, data_dir=data_dir, dtype=dtype)
    return load_tasks(name, tasks, task=task, data_dir=data_dir, dtype=dtype)


def _permuted(features: int, number: int, tasks: int) -> Transform:
    if number == 0:
        return _unchanged
    order = np.random.default_rng([_PERMUTED, number]).permutation(features)
    return lambda x: x[:, order]


def _rotated(features: int, number: int, tasks: int) -> Transform:
    if number == 0:
        return _unchanged
    turn = _rotation(features, math.pi * number / tasks)
    return lambda x: np.ascontiguousarray((turn.astype(x.dtype) @ x.T).T)


def _split(features: int, number: int, tasks: int) -> Transform:
    return _unchanged


def _unchanged(x: NDArray[np.floating]) -> NDArray[np.floating]:
    return x


def _rotation(features: int, angle: float) -> sparse.csr_array:
    """Return the matrix that turns images counter-clockwise about their centre: bilinear, the border continued."""
    channels = 1 if math.isqrt(features) ** 2 == features else 3
    side = math.isqrt(features // channels)
    if channels * side**2 != features:
        raise ValueError(f"`tasks` must be of another kind where inputs are no square images, got {features} features")
    row, column = np.indices((side, side)).reshape(2, -1) - (side - 1) / 2
    turned = math.cos(angle) * row + math.sin(angle) * column, math.cos(angle) * column - math.sin(angle) * row
    places = [np.clip(each + (side - 1) / 2, 0, side - 1) for each in turned]
    corner = [np.minimum(np.floor(each), side - 2).astype(np.int64) for each in places]
    rest = [place - whole for place, whole in zip(places, corner, strict=True)]
    plane = sparse.csr_array((side**2, side**2))
    for down in (0, 1):
        for right in (0, 1):
            share = np.abs(1 - down - rest[0]) * np.abs(1 - right - rest[1])
            source = (corner[0] + down) * side + corner[1] + right
            plane += sparse.csr_array((share, (np.arange(side**2), source)), shape=(side**2, side**2))
    return sparse.csr_array(sparse.kron(sparse.eye_array(channels), plane))


#: How the inputs of a task are made, from the number of features, that of the task and that of all tasks.
KINDS: dict[str, Callable[[int, int, int], Transform]] = {
    "permuted": _permuted,
    "split": _split,
    "rotated": _rotated,
}
