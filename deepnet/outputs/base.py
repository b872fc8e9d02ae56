"""What every output is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
from scipy.special import entr

from factorgraph.channels import Argmax, Channel
from factorgraph.dense.state import Array, Message
from factorgraph.interface.arguments import shown
from factorgraph.numerics.quadrature import sobol_normals

#: How far from 1 the sum of probabilities in float32 may be.
_ROUNDING = 1e-5

#: Points in means over pre-activations.
_DRAWS = 64

Labels = np.ndarray[Any, np.dtype[Any]]


class Predictive(NamedTuple):
    """The law of a target under the posterior of the weights, by two moments, (samples, units) each.

    The variance is the sum of two parts: the aleatoric one stays however much is learnt, the epistemic one does not.

    Attributes:
        mean: of the target.
        aleatoric: mean of its variance for known weights.
        epistemic: variance of its mean for known weights.
    """

    mean: Array
    aleatoric: Array
    epistemic: Array

    @property
    def deviation(self) -> Array:
        """Of the target, all in all."""
        return np.sqrt(self.aleatoric + self.epistemic)


class Output(ABC):
    """What the last layer of a network means.

    Labels are of classes, or numbers where ``numeric``. Those of classes have three forms: those of the data, ±1 or 0,
    1, ..., K-1; class numbers, always 0, 1, ..., K-1; and those that the channel observes. Soft targets are
    probabilities of the classes, messages in place of labels: (samples, K) in the data; as the channel observes them
    they have one more axis than its labels, in front.

    Args:
        channel: of the last layer.
        units: number of its outputs.
        parameters: those that training learns, by name.

    Attributes:
        channels: those that this class serves, by the names that settings give them.
        settings: of ``Config`` that decide about the channel: see ``configured``.
        learnt: names of the parameters that training may learn, in the state of the last layer.
        numeric: what is observed are numbers, one for each unit, and no classes.
        coupled: a label couples all units of a sample, so that no edge has a cavity of its own.
        soft: whether ``observe`` and ``log_likelihood`` take soft targets.
    """

    channels: ClassVar[dict[str, Channel | Argmax]]
    settings: ClassVar[tuple[str, ...]] = ()
    learnt: ClassVar[tuple[str, ...]] = ()
    numeric: ClassVar[bool] = False
    coupled: ClassVar[bool] = False
    soft: ClassVar[bool] = False

    def __init__(self, channel: Any, units: int, parameters: Mapping[str, Array] | None = None) -> None:
        self.channel, self.units, self.parameters = channel, units, parameters or {}

    @classmethod
    def has(cls, channel: Any) -> bool:
        """Return whether this class says what a channel means."""
        return any(type(channel) is type(own) for own in cls.channels.values())

    @classmethod
    def configured(cls, channel: Any, **settings: Any) -> Any:
        """Return one of ``channels`` with the values of the ``settings`` of this class."""
        return channel

    @staticmethod
    @abstractmethod
    def serves(classes: int) -> bool:
        """Return whether there are labels of so many classes; of numbers, so many for each sample."""

    @staticmethod
    @abstractmethod
    def units_for(classes: int) -> int:
        """Return the number of outputs that so many classes, or numbers, need."""

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

    def blurred(self, y: Labels, share: float) -> Labels:
        """Return soft targets (samples, K) of labels of the data, or of such targets, of which a share is drawn anew
        from all classes."""
        certain = y if y.ndim == 2 else np.eye(self.classes)[self.numbers(y)]
        return (1.0 - share) * certain + share / self.classes

    @abstractmethod
    def observe(self, y: Array, scale: float, rng: np.random.Generator | None = None) -> Message:
        """Return what labels, or soft targets, say about the outputs of the last layer.

        Args:
            y: labels as the channel observes them; or probabilities, with one more axis in front.
            scale: of the layer.
            rng: for channels that sample.
        """

    def raised(self, message: Message, power: Array) -> Message:
        """Return what labels say if the likelihood of each sample is taken to a power, (samples,)."""
        return replace(message, power=power)

    def learn(  # noqa: B027
        self,
        y: Array,
        omega: Array,
        V: Array,
        power: Array | None = None,
        total: Callable[[Array], Array] = lambda own: own,
    ) -> None:
        """Improve the learnt ``parameters``, in place, where there are any.

        Args:
            y: as of ``observe``.
            omega: means of the pre-activations without these labels, scaled.
            V: their variances.
            power: as of ``raised``; None for 1.
            total: makes sums over all samples of the batch of those over these.
        """

    def calibrate(self, y: Array, omega: Array, V: Array) -> None:  # noqa: B027
        """Set the learnt ``parameters`` to those under which y is the most probable, where there are any; arguments as
        of ``learn``, of samples that training has not seen."""

    def error(self, predicted: Labels, y: Labels) -> float:
        """Return how wrong predictions are of labels of the data: the share of wrong ones in percent."""
        return 100.0 * float(np.mean(self.numbers(predicted) != self.likeliest(y)))

    @abstractmethod
    def pointwise(self, z: Array) -> Labels:
        """Return the labels of known pre-activations (outputs, samples), with the samples first."""

    @abstractmethod
    def most_probable(self, omega: Array, V: Array) -> Labels:
        """Return the most probable labels of pre-activations of these means and variances (outputs, samples)."""

    @abstractmethod
    def probabilities(self, omega: Array, V: Array) -> Array:
        """Return output marginals of the same, with the samples first."""

    def conditional(self, z: Array) -> Array:
        """Return P(y = k | z) of all classes for known pre-activations (outputs, samples), with the classes first."""
        raise ValueError(f"`output` must have classes, got {self.channel}")

    def conditional_entropy(self, omega: Array, V: Array) -> Array:
        """Return the mean entropy of the label for known pre-activations, (samples,), in nats.

        It is what of its uncertainty stays however much is learnt: 0 of an output without noise. The mean is one over
        a fixed sequence of normal variables of low discrepancy.
        """
        mean = np.zeros(omega.shape[1])
        for xi in sobol_normals(len(omega), _DRAWS):
            mean += entr(self.conditional(omega + np.sqrt(V) * xi[:, None])).sum(axis=0) / _DRAWS
        return mean

    def log_likelihood(self, y: Array, omega: Array, V: Array) -> Array:
        """Return log P(y | omega, V) of what the channel observes; log Σ_c p_c P(c | omega, V) of soft targets p."""
        return self.channel.observe(y, omega=omega, V=V).phi

    def predictive(self, omega: Array, V: Array) -> Predictive:
        """Return the first two moments of the targets, which only numbers have."""
        raise ValueError(f"`output` must be of numbers, got {self.channel}")
