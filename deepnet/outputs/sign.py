"""Labels ±1, one an output: two classes, or several yes-or-no questions."""

from typing import Any, ClassVar

import numpy as np
from scipy.special import log_ndtr, logsumexp, ndtr

from deepnet.outputs.base import Labels, Output
from factorgraph.channels import Sign
from factorgraph.dense.state import Array, Message

#: B of a label that is as good as certain: e^{-2|B|} is nothing, and B² is a number of float32.
_CERTAIN = 1e15


class SignOutput(Output):
    """±1 = sign(z) for every output by itself; soft targets are probabilities (2, outputs, samples) of -1 and +1."""

    channels: ClassVar = {"sign": Sign()}
    soft = True

    @property
    def classes(self) -> int:
        return 2

    @staticmethod
    def serves(classes: int) -> bool:
        return classes == 2

    @staticmethod
    def units_for(classes: int) -> int:
        return 1

    @property
    def need(self) -> str:
        return "labels +1 and -1"

    def valid(self, y: Labels) -> Labels:
        return np.abs(y) == 1

    def numbers(self, y: Labels) -> Labels:
        return (y.reshape(len(y), -1)[:, 0] > 0).astype(np.intp)

    def encode(self, y: Labels, dtype: Any) -> Array:
        if y.ndim == 2:
            return np.ascontiguousarray(y.T[:, None], dtype)
        return (2 * self.numbers(y) - 1)[None].astype(dtype)

    def observe(self, y: Array, scale: float, rng: np.random.Generator | None = None) -> Message:
        """Return a soft target is the message of a label that is seen through noise, B = ½ log(p₊/p₋)."""
        if y.ndim == 2:
            return Message(self.channel, scale, y=y)
        with np.errstate(divide="ignore"):
            B = 0.5 * (np.log(y[1]) - np.log(y[0]))
        return Message(self.channel, scale, B=np.clip(B, -_CERTAIN, _CERTAIN))

    def log_likelihood(self, y: Array, omega: Array, V: Array) -> Array:
        if y.ndim == 2:
            return super().log_likelihood(y, omega, V)
        a = omega / np.sqrt(V)
        return logsumexp(np.stack([log_ndtr(-a), log_ndtr(a)]), b=y, axis=0)

    def pointwise(self, z: Array) -> Labels:
        return self.channel(z).T

    def most_probable(self, omega: Array, V: Array) -> Labels:
        return self.channel(omega).T

    def probabilities(self, omega: Array, V: Array) -> Array:
        """Return P(y = +1), (samples, outputs)."""
        return ndtr(omega / np.sqrt(V)).T

    def conditional_entropy(self, omega: Array, V: Array) -> Array:
        return np.zeros(omega.shape[1])  # the label is a function of the pre-activations
