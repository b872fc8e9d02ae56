"""What processes that train one network ask of each other: which samples are whose, sums, and values of all."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from factorgraph.dense.state import Array


class Communicator(ABC):
    """The processes that train a network together. All of them call the same methods in the same order.

    Attributes:
        rank: number of this process, from 0; the first one speaks and writes for all.
        size: how many they are.
        summed: bytes that this process has given to sums.
    """

    rank: int = 0
    size: int = 1
    summed: int = 0

    @abstractmethod
    def begin_sum(self, values: Array) -> Callable[[], None]:
        """Begin to add up an array over all processes, in place; return what waits until it is done.

        The array must be left alone in the meantime.
        """

    @abstractmethod
    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, in the order of their ranks; of any kind, and small."""

    @abstractmethod
    def single(self) -> "Communicator":
        """Return a communicator of this process alone that works as this one does."""

    def part(self, samples: int) -> slice:
        """Return which of so many samples are those of this process: as many as of any other, or one fewer or more."""
        return slice(self.rank * samples // self.size, (self.rank + 1) * samples // self.size)

    def side_by_side(self, values: Array) -> Array:
        """Return the arrays of all processes joined along their last axis, that of the samples."""
        return np.concatenate(self.gather(values), axis=-1)

    def predicted(self, predict: Callable[[Array], Array], x: Array) -> Array:
        """Return what ``predict`` makes of inputs, samples first in both, of which every process takes its part."""
        own = self.part(len(x))
        parts = self.gather(predict(x[own]) if own.start < own.stop else None)
        return np.concatenate([part for part in parts if part is not None])

    def largest(self, values: Array) -> Array:
        """Return the largest of the values of all processes, element by element; NaN where one of them is."""
        return np.max(self.gather(values), axis=0)

    @contextlib.contextmanager
    def after_first(self) -> Iterator[None]:
        """The block, in the first process before it is in the others: they find on the disk what it leaves there."""
        if self.rank:
            self.gather(None)
        try:
            yield
        finally:
            if not self.rank:
                self.gather(None)


class Alone(Communicator):
    """One process, which has all samples."""

    def begin_sum(self, values: Array) -> Callable[[], None]:
        return _nothing

    def gather(self, value: Any) -> list[Any]:
        return [value]

    def single(self) -> Communicator:
        return self

    def __reduce__(self) -> str:
        """There is one only, in copies and unpickled networks too."""
        return "ALONE"


def _nothing() -> None:
    """What one process waits for."""


#: The one for all networks that are trained by one process.
ALONE = Alone()
