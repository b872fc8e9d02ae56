"""What a network is trained and tested on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepnet.data.preparation import Preparation

#: A class as the user knows it.
Label = str | int


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set, standardised and split.

    Attributes:
        name: one of `DATASETS`, or that of a file.
        task: "multiclass" or "parity".
        x_train: (n_train, features), standardised inputs. CIFAR-10 pixels are ordered channel, row, column.
        y_train: (n_train,), int64 labels 0..classes-1; or, for two classes, int8, +1 for the second one (odd, for
            parity) and -1 for the first one (even).
        x_test: (n_test, features), shifted and scaled by the numbers of the training part.
        y_test: (n_test,), as `y_train`.
        labels: the classes as the user knows them, in the order of their numbers.
        preparation: how the inputs were made from what the files hold.
    """

    name: str
    task: str
    x_train: NDArray[np.floating]
    y_train: NDArray[np.integer]
    x_test: NDArray[np.floating]
    y_test: NDArray[np.integer]
    labels: tuple[Label, ...]
    preparation: Preparation

    @property
    def features(self) -> int:
        """Number of inputs."""
        return self.x_train.shape[1]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.labels)

    def __repr__(self) -> str:
        sizes = f"{len(self.x_train)} + {len(self.x_test)} samples, {self.features} features"
        return f"<Dataset {self.name} ({self.task}): {sizes}, {self.classes} classes>"


def targets(numbers: NDArray[Any], classes: int) -> NDArray[np.integer]:
    """Return labels of data as networks take them, of class numbers."""
    return 2 * numbers.astype(np.int8) - 1 if classes == 2 else numbers.astype(np.int64)
