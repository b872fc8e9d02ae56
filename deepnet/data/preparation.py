"""How rows of a file become inputs of a network, learned from its training set and kept with it as plain numbers."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from deepnet.data.files import DataError
from deepnet.data.table import Table, pieces

Inputs = NDArray[np.floating]

#: Largest inputs of a network; squares must fit into float32, and those of the inverse too.
LARGEST = 1e15


class Preparation(ABC):
    """What a run knows of the files that its network takes."""

    @property
    @abstractmethod
    def features(self) -> int:
        """Number of inputs."""

    @property
    def standardization(self) -> tuple[float, float] | None:
        """What all values of a row are shifted and then divided by; None if inputs are more than that."""
        return None

    @abstractmethod
    def apply(self, table: Table, dtype: DTypeLike) -> Inputs:
        """Return inputs (rows, features); columns that are not needed may be there too.

        Raises:
            DataError: a column is missing, or a value is no number or of a new category; names file, line and column.
        """

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return what ``preparation_from_json`` takes."""


@dataclass(frozen=True)
class Pixels(Preparation):
    """Pictures: one mean and one deviation of all pixels.

    Attributes:
        name: of the column.
        shape: of a picture.
        mean, scale: what pixels are shifted and divided by.
    """

    name: str
    shape: tuple[int, ...]
    mean: float
    scale: float

    @property
    def features(self) -> int:
        return prod(self.shape)

    @property
    def standardization(self) -> tuple[float, float]:
        return self.mean, self.scale

    @classmethod
    def fit(cls, name: str, pixels: NDArray[Any], rows: NDArray[np.integer]) -> "Pixels":
        """Return the numbers of some of the pictures (rows, ...)."""
        mean, deviation = _moments(pixels, rows)
        return cls(name, pixels.shape[1:], mean, deviation or 1.0)

    def standardise(self, pixels: NDArray[Any], dtype: DTypeLike) -> Inputs:
        """Return inputs (rows, features) of pictures (rows, ...)."""
        x = pixels.reshape(len(pixels), -1).astype(dtype)
        x -= self.mean
        x /= self.scale
        return x

    def apply(self, table: Table, dtype: DTypeLike) -> Inputs:
        pixels = table.column(self.name)
        if prod(pixels.shape[1:]) != self.features or pixels.dtype.kind not in "biuf":
            raise DataError(f"{table.file} must hold pictures of shape {self.shape}, got {pixels.shape[1:]}")
        if not (finite := np.isfinite(pixels).reshape(len(pixels), -1).all(axis=1)).all():
            raise DataError(f"{table.where(int(finite.argmin()), self.name)}: pixels must be finite numbers")
        with np.errstate(over="ignore"):
            x = self.standardise(pixels, dtype)
        if (far := np.abs(x).max(axis=1, initial=0.0) > LARGEST).any():
            need = f"within {LARGEST * self.scale:g} of {self.mean:g}"
            raise DataError(f"{table.where(int(far.argmax()), self.name)}: pixels must be {need}")
        return x

    def to_json(self) -> dict[str, Any]:
        return {"kind": "pixels", **asdict(self), "shape": list(self.shape)}


def _moments(pixels: NDArray[Any], rows: NDArray[np.integer]) -> tuple[float, float]:
    """Return mean and standard deviation of all pixels of some rows; of bytes, from the exact counts of their 256
    values."""
    count = len(rows) * prod(pixels.shape[1:])
    if pixels.dtype != np.uint8:
        mean = sum(float(pixels[some].sum(dtype=np.float64)) for some in pieces(rows)) / count
        squares = sum(float(np.square(pixels[some].astype(np.float64) - mean).sum()) for some in pieces(rows))
        deviation = float(np.sqrt(squares / count))
        if not np.isfinite(mean) or not np.isfinite(deviation):
            raise DataError(f"pixels must be finite numbers of a finite variance, got a mean of {mean:g}")
        return mean, deviation
    counts = np.zeros(256, dtype=np.int64)
    for some in pieces(rows):
        counts += np.bincount(pixels[some].ravel(), minlength=256)
    values = np.arange(256.0)
    mean = counts @ values / count
    return float(mean), float(np.sqrt(counts @ (values - mean) ** 2 / count))
