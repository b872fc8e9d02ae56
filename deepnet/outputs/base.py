"""What every output is."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from factorgraph.channels import Argmax, Channel
from factorgraph.dense.state import Array, Message
from factorgraph.interface.arguments import shown

#: How far from 1 the sum of probabilities in float32 may be.
_ROUNDING = 1e-5

Labels = np.ndarray[Any, np.dtype[Any]]


class Output(ABC):
    """What the last layer of a network means.

    Labels have three forms: those of the data, ±1 or 0, 1, ..., K-1; class numbers, always 0, 1, ..., K-1; and those
    that the channel observes. Soft targets are probabilities of the classes, messages in place of labels: (samples, K)
    in the data; as the channel observes them they have one more axis than its labels, in front.

    Args:
        channel: of the last layer.
        units: number of its outputs.

    Attributes:
        channels: those that this class serves, by the names that settings give them.
        coupled: a label couples all units of a sample, so that no edge has a cavity of its own.
        soft: whether ``observe`` and ``log_likelihood`` take soft targets.
    """

    channels: ClassVar[dict[str, Channel | Argmax]]
    coupled: ClassVar[bool] = False
    soft: ClassVar[bool] = False

    def __init__(self, channel: Any, units: int) -> None:
        self.channel, self.units = channel, units

    @staticmethod
    @abstractmethod
    def serves(classes: int) -> bool:
        """Return whether there are labels of so many classes."""

    @staticmethod
    @abstractmethod
    def units_for(classes: int) -> int:
        """Return the number of outputs that so many classes need."""

    @property
    def classes(self) -> int:
        """Number of classes."""
        return max(2, self.units)

    @property
    @abstractmethod
    def need(self) -> str:
        """What labels of the data must be, in words."""

    @abstractmethod
    def valid(self, y: Labels) -> Labels:
        """Return which labels of the data, real numbers (samples,), are such."""

    @abstractmethod
    def numbers(self, y: Labels) -> Labels:
        """Return class numbers (samples,) of labels of the data (samples,), or of what is predicted."""

    @abstractmethod
    def encode(self, y: Labels, dtype: Any) -> Array:
        """As the channel observes them: labels of the data (samples,), their numbers, or soft targets (samples, K)."""

    def check(self, y: Labels, samples: int) -> None:
        """Raise ``ValueError`` unless ``y`` are labels of the data or soft targets, one for each sample."""
        if y.shape == (samples,):
            if not (valid := self.valid(y)).all():
                raise ValueError(f"`y` must be {self.need}, got {y[~valid][0]}")
            return
        shapes = f"{(samples,)}, one label for each sample"
        if self.soft:
            shapes += f", or {(samples, self.classes)}, probabilities of the classes"
        if not self.soft or y.shape != (samples, self.classes):
            raise ValueError(f"`y` must be of shape {shapes}, got shape {y.shape}")
        valid = (y >= 0).all(axis=1) & (np.abs(y.sum(axis=1) - 1.0) <= _ROUNDING)
        if not valid.all():
            raise ValueError(f"`y` must have probabilities that add up to 1 in each row, got {shown(y[~valid][0])}")

    def likeliest(self, y: Labels) -> Labels:
        """Return class numbers (samples,) of labels of the data, or of the largest probabilities of soft targets."""
        return y.argmax(axis=1) if y.ndim == 2 else self.numbers(y)

    @abstractmethod
    def observe(self, y: Array, scale: float, rng: np.random.Generator | None = None) -> Message:
        """Return what labels, or soft targets, say about the outputs of the last layer.

        Args:
            y: labels as the channel observes them; or probabilities, with one more axis in front.
            scale: of the layer.
            rng: for channels that sample.
        """

    @abstractmethod
    def pointwise(self, z: Array) -> Labels:
        """Return the labels of known pre-activations (outputs, samples), with the samples first."""

    @abstractmethod
    def most_probable(self, omega: Array, V: Array) -> Labels:
        """Return the most probable labels of pre-activations of these means and variances (outputs, samples)."""

    @abstractmethod
    def probabilities(self, omega: Array, V: Array) -> Array:
        """Return output marginals of the same, with the samples first."""

    @abstractmethod
    def conditional_entropy(self, omega: Array, V: Array) -> Array:
        """Return E H[y | z] (samples,) in nats, z being pre-activations of these means and variances (outputs,
        samples): the uncertainty that is not one of the weights."""

    def log_likelihood(self, y: Array, omega: Array, V: Array) -> Array:
        """Return log P(y | omega, V) of what the channel observes; log Σ_c p_c P(c | omega, V) of soft targets p."""
        return self.channel.observe(y, omega=omega, V=V).phi

    def loss(self, y: Array, omega: Array, V: Array) -> float:
        """Return the mean of -``log_likelihood`` over the samples, and over the outputs if each has labels of its
        own."""
        return -float(np.mean(self.log_likelihood(y, omega, V)))
