"""What every baseline is: how the weights of a network start, and what an epoch makes of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, cast

import numpy as np

from deepnet.layers import DensePlan, Layer, Plan
from factorgraph.dense.operations import Operations
from factorgraph.dense.state import Array


class BaselineError(RuntimeError):
    """A baseline cannot run here; the message says what is missing, and the remedy."""


@dataclass(frozen=True)
class Epoch:
    """One pass over the training set.

    Attributes:
        x: inputs (samples, features), of the floating type of the weights.
        y: labels (samples,): ±1, or 0..classes-1.
        batches: numbers of the samples of each mini-batch.
        number: of the epochs before, on the same task if there are several.
        epochs: on the training set, or on each task.
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
        """Return epochs before a batch, a share of this one included."""
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
    def plans(self, plans: Sequence[Plan]) -> tuple[Plan, ...]:
        """Return the layers as the baseline starts and keeps them, from those of message passing.

        Raises:
            ValueError: it does not train this kind of layer.
            BaselineError: what it needs is not installed.
        """

    @abstractmethod
    def train(self, layers: Sequence[Layer], epoch: Epoch) -> None:
        """Train layers of such plans for an epoch, in place."""

    def probabilities(self, z: Array) -> Array:
        """Where ``point``: what the loss takes pre-activations (samples, outputs) for, as ``predict_proba`` has it."""
        raise NotImplementedError


def dense(plans: Sequence[Plan]) -> list[DensePlan]:
    """Return the plans, all of dense layers; raise ``ValueError`` for others."""
    for plan in plans:
        if not isinstance(plan, DensePlan):
            raise ValueError(f"`algorithm` must be 'message-passing' for a layer that is not dense, got {plan}")
    return cast(list[DensePlan], list(plans))


def arguments(plan: DensePlan, **changes: Any) -> dict[str, Any]:
    """Return all that makes a plan, for one of another class, but for some changes."""
    return {each.name: getattr(plan, each.name) for each in fields(plan)} | changes


def xavier(outputs: int, inputs: int, rng: np.random.Generator) -> Array:
    """Return initial weights: uniform, with the variance 2/(inputs + outputs) of Glorot and Bengio (2010)."""
    bound = (6.0 / (inputs + outputs)) ** 0.5
    return rng.uniform(-bound, bound, (outputs, inputs))
