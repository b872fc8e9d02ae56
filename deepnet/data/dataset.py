"""What a network is trained and tested on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepnet.data.preparation import Preparation
from deepnet.data.target import Classes, Label, Numbers, Target

__all__ = ["Dataset", "Label"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set, standardised and split.

    Attributes:
        name: one of `DATASETS`, or that of a file.
        task: "multiclass", "parity" or "regression".
        x_train: (n_train, features), standardised inputs. CIFAR-10 pixels are ordered channel, row, column.
        y_train: (n_train,), int64 labels 0..classes-1; or, for two classes, int8, +1 for the second one (odd, for
            parity) and -1 for the first one (even); or float64, numbers on the scale of the training part.
        x_test: (n_test, features), shifted and scaled by the numbers of the training part.
        y_test: (n_test,), as `y_train`.
        labels: the classes as the user knows them, in the order of their numbers; none for numbers.
        preparation: how the inputs were made from what the files hold.
        numbers: the scale of the targets, if these are numbers.
    """

    name: str
    task: str
    x_train: NDArray[np.floating]
    y_train: NDArray[Any]
    x_test: NDArray[np.floating]
    y_test: NDArray[Any]
    labels: tuple[Label, ...]
    preparation: Preparation
    numbers: Numbers | None = None

    @property
    def features(self) -> int:
        """Number of inputs."""
        return self.x_train.shape[1]

    @property
    def target(self) -> Target:
        """What is learned."""
        return self.numbers or Classes(self.labels)

    @property
    def classes(self) -> int:
        """Number of classes; of numbers, how many each sample has."""
        return self.target.size

    def __repr__(self) -> str:
        sizes = f"{len(self.x_train)} + {len(self.x_test)} samples, {self.features} features"
        return f"<Dataset {self.name} ({self.task}): {sizes}, {self.target}>"
