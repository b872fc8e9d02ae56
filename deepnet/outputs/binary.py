"""Labels ±1, one an output, by any channel that gives such: two classes, or several yes-or-no questions."""

from typing import Any

import numpy as np
from scipy.special import logsumexp

from deepnet.outputs.base import Labels, Output
from factorgraph.dense.state import Array, Message

#: B of a label that is as good as certain: e^{-2|B|} is nothing, and B² is a number of float32.
_CERTAIN = 1e15

#: Variance of a pre-activation that is known: far below that of any noise.
_KNOWN = 1e-30


class BinaryOutput(Output):
    """±1 ~ P(y|z) for every output by itself; soft targets are probabilities (2, outputs, samples) of -1 and +1."""

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
        return ((y if y.ndim == 1 else y[:, 0]) > 0).astype(np.intp)

    def encode(self, y: Labels, dtype: Any) -> Array:
        if y.ndim == 2:
            return np.ascontiguousarray(y.T[:, None], dtype)
        return (2 * self.numbers(y) - 1)[None].astype(dtype)

    def observe(self, y: Array, scale: float, rng: np.random.Generator | None = None) -> Message:
        """A soft target is the message of a label that is seen through noise, B = ½ log(p₊/p₋)."""
        if y.ndim == 2:
            return Message(self.channel, scale, y=y)
        with np.errstate(divide="ignore"):
            B = 0.5 * (np.log(y[1]) - np.log(y[0]))
        return Message(self.channel, scale, B=np.clip(B, -_CERTAIN, _CERTAIN))

    def log_likelihood(self, y: Array, omega: Array, V: Array) -> Array:
        if y.ndim == 2:
            return super().log_likelihood(y, omega, V)
        each = [self.channel.observe(np.full_like(omega, label), omega=omega, V=V).phi for label in (-1, 1)]
        return np.asarray(logsumexp(np.stack(each), b=y, axis=0))

    def conditional(self, z: Array) -> Array:
        """Of the first output."""
        p = np.exp(self.channel.observe(np.ones_like(z[0]), omega=z[0], V=np.full_like(z[0], _KNOWN)).phi)
        return np.stack([1.0 - p, p])

    def pointwise(self, z: Array) -> Labels:
        return self.channel(z).T

    def most_probable(self, omega: Array, V: Array) -> Labels:
        return self.channel(omega).T

    def probabilities(self, omega: Array, V: Array) -> Array:
        """Return P(y = +1), (samples, outputs)."""
        return np.exp(self.channel.observe(np.ones_like(omega), omega=omega, V=V).phi).T
