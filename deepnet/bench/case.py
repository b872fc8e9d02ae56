"""What is timed: one network on one data set."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepnet.bench import BenchError
from deepnet.data import load_dataset
from deepnet.sizes import LARGEST, check_count, total_memory
from factorgraph.interface.arguments import shown

if TYPE_CHECKING:  # the baseline's process is spared what only message passing needs
    from deepnet.config import Config
    from factorgraph.dense.state import Array

#: Distance of the class means of the synthetic data from the origin, an input, in units of the noise: the classes
#: overlap a little.
_SIGNAL = 0.1


#: Most threads, and the largest seed that PyTorch takes.
_MAX_THREADS, _LARGEST_SEED = 100_000, 2**63 - 1


@dataclass(frozen=True)
class Case:
    """One network on one data set, checked on construction.

    Attributes:
        widths: number of inputs, of units in each hidden layer, and of outputs: classes, or 1 for labels ±1.
        batch_size: samples in a mini-batch.
        samples: in an epoch.
        density: fraction of the weights kept.
        weights: "binary" or "continuous", in all layers.
        activation: "sign" or "relu", in all hidden layers.
        preset: settings of message passing: see ``deepnet.config.Config``.
        dataset: name of a data set; None for synthetic data.
        data_dir: folder with its files.
        seed: of the data, the networks and the orders of the samples.
        device: one of ``deepnet.kernels.devices.DEVICES``.
        threads: for every contender, on the CPU.
        optimizer: of the baseline, "sgd" or "adam".

    Raises:
        ValueError: naming the attribute, what it must be and what it was.
    """

    widths: tuple[int, ...]
    batch_size: int = 128
    samples: int = 60_000
    density: float = 1.0
    weights: str = "binary"
    activation: str = "sign"
    preset: str = "default"
    dataset: str | None = None
    data_dir: Path | None = None
    seed: int = 0
    device: str = "cpu"
    threads: int = 1
    optimizer: str = "sgd"

    def __post_init__(self) -> None:
        if len(self.widths) < 2 or min(self.widths) < 1:
            raise ValueError(f"`network` must be at least two integers >= 1 joined by '-', got {shown(self.name)}")
        if max(self.widths) > LARGEST:
            raise ValueError(f"`network` must be at most {LARGEST} units a layer, got {shown(self.name)}")
        for name, minimum, maximum in (
            ("samples", 1, LARGEST),
            ("threads", 1, _MAX_THREADS),
            ("seed", 0, _LARGEST_SEED),
        ):
            check_count(name, getattr(self, name), minimum, maximum)
        self.config("mf")  # checks the rest
        weights = sum(a * b for a, b in pairwise(self.widths))
        for name, numbers in (("network", 2 * weights), ("samples", self.samples * self.widths[0])):
            if 4 * numbers > (there := total_memory()):
                got, needed = self.name if name == "network" else self.samples, 4 * numbers / 1e9
                need = f"something that fits into the memory of {there / 1e9:.3g} GB"
                raise ValueError(f"`{name}` must be {need}, got {shown(got)}, which needs {needed:.3g} GB and more")

    @property
    def name(self) -> str:
        """The network as it is written on the command line."""
        return "-".join(map(str, self.widths))

    @property
    def classes(self) -> int:
        """Number of classes; 2 for the labels ±1 of a single output."""
        return max(2, self.widths[-1])

    @property
    def batches(self) -> int:
        """Number of mini-batches in an epoch."""
        return -(-self.samples // self.batch_size)

    def config(self, closure: str) -> "Config":
        """Return the settings of message passing with a closure."""
        from deepnet.config import Config

        return Config(
            hidden=self.widths[1:-1],
            closure=closure,
            weights=self.weights,
            activation=self.activation,
            density=self.density,
            batch_size=self.batch_size,
            preset=self.preset,
            seed=self.seed,
        )

    def load(self) -> "tuple[Array, Array]":
        """Return inputs (samples, features), float32, and labels (samples,): class numbers (int64) or ±1 (int8).

        Raises:
            BenchError: the network does not fit the data set, or the data set has too few samples.
            DataError: the data set cannot be had.
        """
        if self.dataset is None:
            return synthetic(self.samples, self.widths[0], self.classes, self.seed)
        task = "parity" if self.classes == 2 else "multiclass"
        data = load_dataset(self.dataset, task=task, data_dir=self.data_dir)
        features, found = data.x_train.shape[1], len(data.x_train)
        if (features, data.classes) != (self.widths[0], self.classes):
            outputs = f"{data.classes} outputs, or 1 for odd against even"
            raise BenchError(f"`network` must have {features} inputs and {outputs}, for {data.name}; got {self.name}")
        if found < self.samples:
            raise BenchError(f"`samples` must be at most {found} for {data.name}, got {self.samples}")
        return data.x_train[: self.samples], data.y_train[: self.samples]


def synthetic(samples: int, features: int, classes: int, seed: int) -> "tuple[Array, Array]":
    """Return standardised inputs round one mean a class, and labels: as ``Case.load`` returns them."""
    rng = np.random.default_rng(seed)
    means = _SIGNAL * rng.standard_normal((classes, features), np.float32)
    labels = rng.integers(classes, size=samples)
    x = rng.standard_normal((samples, features), np.float32)
    for label in range(classes):
        x[labels == label] += means[label]
    x *= (1.0 + _SIGNAL**2) ** -0.5
    return x, (2 * labels - 1).astype(np.int8) if classes == 2 else labels
