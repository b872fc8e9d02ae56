"""Outputs of numbers, one a unit: what regression has in place of labels."""

from typing import Any

import numpy as np

from deepnet.outputs.base import Labels, Output, Predictive
from factorgraph.dense.state import Array, Message


class NumericOutput(Output):
    """y ~ P(y|z) for every unit by itself; targets of the data are (samples, units), or (samples,) of one unit.

    What of the base class is about classes does not apply.
    """

    numeric = True

    @staticmethod
    def serves(classes: int) -> bool:
        return classes >= 1

    @staticmethod
    def units_for(classes: int) -> int:
        return classes

    def check(self, y: Labels, samples: int) -> None:
        shapes = [(samples, self.units), *([(samples,)] if self.units == 1 else [])]
        if y.shape not in shapes:
            raise ValueError(f"`y` must be of shape {' or '.join(map(str, shapes))}, got shape {y.shape}")
        if not (valid := self.valid(y)).all():
            raise ValueError(f"`y` must be {self.need}, got {y[~valid][0]}")

    def encode(self, y: Labels, dtype: Any) -> Array:
        """Return (units, samples)."""
        return np.ascontiguousarray(y.reshape(len(y), self.units).T, dtype)

    def observe(self, y: Array, scale: float, rng: np.random.Generator | None = None) -> Message:
        return Message(self.channel, scale, y=y)

    def numbers(self, y: Labels) -> Labels:
        raise ValueError(f"`output` must have classes, got {self.channel}")

    def error(self, predicted: Labels, y: Labels) -> float:
        """Return the root mean square error."""
        return float(np.sqrt(np.mean(np.square(predicted - y.reshape(predicted.shape)))))

    def probabilities(self, omega: Array, V: Array) -> Array:
        raise ValueError(f"`output` must have classes, got {self.channel}")

    def pointwise(self, z: Array) -> Labels:
        """Return the means of the targets of known pre-activations."""
        return self.predictive(z, np.zeros_like(z)).mean

    def most_probable(self, omega: Array, V: Array) -> Labels:
        """Return the means of the targets."""
        return self.predictive(omega, V).mean

    def predictive(self, omega: Array, V: Array) -> Predictive:
        """Return the two moments of the targets of pre-activations of these means and variances (units, samples)."""
        raise NotImplementedError
