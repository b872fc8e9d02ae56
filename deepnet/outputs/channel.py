"""Labels that any scalar channel observes, one an output: for models made by hand."""

from typing import Any, ClassVar

import numpy as np

from deepnet.outputs.base import Labels, Output
from factorgraph.dense.state import Array, Message


class ChannelOutput(Output):
    """y ~ P(y|z) for every output by itself; labels are as the channel observes them, (outputs, samples)."""

    channels: ClassVar = {}

    @staticmethod
    def serves(classes: int) -> bool:
        return False

    @staticmethod
    def units_for(classes: int) -> int:
        return classes

    @property
    def need(self) -> str:
        return f"real numbers that {self.channel} can give"

    def valid(self, y: Labels) -> Labels:
        return np.isfinite(y)

    def numbers(self, y: Labels) -> Labels:
        return y

    def encode(self, y: Labels, dtype: Any) -> Array:
        return y.astype(dtype)

    def observe(self, y: Array, scale: float, rng: np.random.Generator | None = None) -> Message:
        return Message(self.channel, scale, y=y)

    def pointwise(self, z: Array) -> Labels:
        return self.channel(z).T

    def most_probable(self, omega: Array, V: Array) -> Labels:
        return self.channel(omega).T

    def probabilities(self, omega: Array, V: Array) -> Array:
        raise ValueError(f"`output` must have classes, got {self.channel}")

    def conditional_entropy(self, omega: Array, V: Array) -> Array:
        raise ValueError(f"`output` must have classes, got {self.channel}")
