"""What every output is."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from factorgraph.channels import Argmax, Channel
from factorgraph.dense.state import Array, Message

Labels = np.ndarray[Any, np.dtype[Any]]


class Output(ABC):
    """What the last layer of a network means.

    Labels have three forms: those of the data, ±1 or 0, 1, ..., K-1; class numbers, always 0, 1, ..., K-1; and those
    that the channel observes. Soft targets, probabilities of the classes, have one more axis than the latter, in front.

    Args:
        channel: of the last layer.
        units: number of its outputs.

    Attributes:
        channels: those that this class serves, by the names that settings give them.
        coupled: a label couples all units of a sample, so that no edge has a cavity of its own.
    """

    channels: ClassVar[dict[str, Channel | Argmax]]
    coupled: ClassVar[bool] = False

    def __init__(self, channel: Any, units: int) -> None:
        self.channel, self.units = channel, units

    @staticmethod
    @abstractmethod
    def serves(classes: int) -> bool:
        """Whether there are labels of so many classes."""

    @staticmethod
    @abstractmethod
    def units_for(classes: int) -> int:
        """Number of outputs that so many classes need."""

    @property
    @abstractmethod
    def need(self) -> str:
        """What labels of the data must be, in words."""

    @abstractmethod
    def valid(self, y: Labels) -> Labels:
        """Which labels of the data, real numbers (samples,), are such."""

    @abstractmethod
    def numbers(self, y: Labels) -> Labels:
        """Class numbers (samples,) of labels of the data (samples,), or of what is predicted."""

    @abstractmethod
    def encode(self, y: Labels, dtype: Any) -> Array:
        """Labels as the channel observes them, from those of the data (samples,), or their numbers."""

    @abstractmethod
    def observe(self, y: Array, scale: float, rng: np.random.Generator | None = None) -> Message:
        """What labels, or soft targets, say about the outputs of the last layer.

        Args:
            y: labels as the channel observes them; or probabilities, with one more axis in front.
            scale: of the layer.
            rng: for channels that sample.
        """

    @abstractmethod
    def pointwise(self, z: Array) -> Labels:
        """Labels of known pre-activations (outputs, samples), with the samples first."""

    @abstractmethod
    def most_probable(self, omega: Array, V: Array) -> Labels:
        """The most probable labels of pre-activations of these means and variances (outputs, samples)."""

    @abstractmethod
    def probabilities(self, omega: Array, V: Array) -> Array:
        """Output marginals of the same, with the samples first."""

    def loss(self, y: Array, omega: Array, V: Array) -> float:
        """Mean of -log P(y | omega, V) over samples and labels y as the channel observes them."""
        return -float(np.mean(self.channel.observe(y, omega=omega, V=V).phi))
