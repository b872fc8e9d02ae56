"""What every baseline is: how the weights of a network start, and what an epoch makes of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from factorgraph.dense.operations import Operations
from factorgraph.dense.state import Array, Layer, LayerPlan


class BaselineError(RuntimeError):
    """A baseline cannot run here; the message says what is missing, and the remedy."""


@dataclass(frozen=True)
class Epoch:
    """One pass over the training set.

    Attributes:
        x: inputs (samples, features), of the floating type of the weights.
        y: labels (samples,): ±1, or 0..classes-1.
        batches: numbers of the samples of each mini-batch.
        number: of the epochs before.
        epochs: of the whole run.
        learning_rate: None for that of the baseline.
        device: where to train: one of ``Baseline.devices``.
        operations: where the layers are.
        rng: for what is random besides the order.
        progress: called with the number of samples after each batch.
    """

    x: Array
    y: Array
    batches: Sequence[Array]
    number: int
    epochs: int
    learning_rate: float | None
    device: str
    operations: Operations
    rng: np.random.Generator
    progress: Callable[[int], None] | None

    def fraction(self, batch: int) -> float:
        """Epochs before a batch, a share of this one included."""
        return self.number + sum(map(len, self.batches[:batch])) / len(self.x)


class Baseline(ABC):
    """An algorithm that trains the layers of a network.

    Attributes:
        settings: of ``Config`` that it reads, of those that not every algorithm reads.
        devices: where it trains.
        anneals: what an epoch does depends on how many there will be, so that a finished run has no further ones.
        point: it finds one configuration of the weights and no posterior.
        remedy: what to do if it does not learn or diverges.
    """

    settings: ClassVar[tuple[str, ...]]
    devices: ClassVar[tuple[str, ...]]
    anneals: bool = False
    point: ClassVar[bool]
    remedy: ClassVar[str]

    @abstractmethod
    def start(
        self, plans: Sequence[LayerPlan], *, eps_init: Sequence[float], rng: np.random.Generator, dtype: np.dtype
    ) -> list[Layer]:
        """The layers of a new network.

        Raises:
            BaselineError: what the baseline needs is not installed.
        """

    @abstractmethod
    def state(self, shape: tuple[int, int], binary: bool) -> dict[str, tuple[int, ...]]:
        """Names and shapes of what training carries from one epoch to the next, of a layer with ``shape`` weights."""

    @abstractmethod
    def train(self, layers: Sequence[Layer], memory: dict[str, Array], epoch: Epoch) -> None:
        """Train for an epoch; ``layers`` and ``memory``, the arrays of ``state`` that no layer has, change in place."""

    def memory(self, layers: Sequence[Layer]) -> dict[str, Array]:
        """The arrays of ``state`` that no layer has, by name, for a new network."""
        return {}

    def probabilities(self, z: Array) -> Array:
        """Where ``point``: what the loss takes pre-activations (samples, outputs) for, as ``predict_proba`` has it."""
        raise NotImplementedError


def placed(plans: Sequence[LayerPlan], arrays: Sequence[dict[str, Array | None]]) -> list[Layer]:
    """Layers with these arrays, each above the one before."""
    layers: list[Layer] = []
    for plan, values in zip(plans, arrays, strict=True):
        layers.append(Layer(plan, **values, below=layers[-1] if layers else None))  # pyright: ignore[reportArgumentType]
    return layers
