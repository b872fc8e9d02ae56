"""One label a sample, the largest of K outputs, in one of three forms of the likelihood."""

from typing import Any, ClassVar

import numpy as np
from scipy.special import logsumexp

from deepnet.outputs.base import Labels, Output
from factorgraph.channels import Argmax
from factorgraph.dense.state import Array, Message

#: Probabilities of which the absolute accuracy of ``Argmax.probabilities``, 1e-12, is not enough for a logarithm.
_SMALL = 1e-3


class ArgmaxOutput(Output):
    """c = argmax_k z_k; soft targets are probabilities (K, samples) of the classes."""

    channels: ClassVar = {
        "argmax": Argmax(),
        "argmax-single-jensen": Argmax("single_jensen"),
        "argmax-exact": Argmax("exact"),
    }
    coupled = True
    soft = True

    @classmethod
    def has(cls, channel: Any) -> bool:
        return super().has(channel) and channel.noise == 0.0

    @staticmethod
    def serves(classes: int) -> bool:
        return classes >= 2

    @staticmethod
    def units_for(classes: int) -> int:
        return classes

    @property
    def need(self) -> str:
        return f"classes from 0 to {self.units - 1}" + (", or labels +1 and -1" if self.units == 2 else "")

    def valid(self, y: Labels) -> Labels:
        return (y >= (-1 if self.units == 2 else 0)) & (y < self.units) & (y == np.floor(y))

    def numbers(self, y: Labels) -> Labels:
        """Two classes may be ±1."""
        return ((y > 0) if self.units == 2 else y).astype(np.intp, copy=False)

    def encode(self, y: Labels, dtype: Any) -> Array:
        return np.ascontiguousarray(y.T, dtype) if y.ndim == 2 else self.numbers(y)

    def observe(self, y: Array, scale: float, rng: np.random.Generator | None = None) -> Message:
        return Message(self.channel, scale, y=y, rng=rng)

    def log_likelihood(self, y: Array, omega: Array, V: Array) -> Array:
        """Return log P(y | omega, V), exact whatever the form; small probabilities are computed anew, as logarithms."""
        weights = y if y.ndim == 2 else np.arange(self.units)[:, None] == y
        p = (weights * self.channel.probabilities(omega=omega, V=V)).sum(axis=0)
        values, small = np.log(np.maximum(p, _SMALL)), p < _SMALL
        if small.any():
            log_p = self.channel.log_probabilities(omega=omega[:, small], V=V[:, small])
            values[small] = logsumexp(log_p, b=weights[:, small], axis=0)
        return values

    def conditional(self, z: Array) -> Array:
        return self.channel.conditional(z)

    def pointwise(self, z: Array) -> Labels:
        return self.channel(z)

    def most_probable(self, omega: Array, V: Array) -> Labels:
        return self.channel.most_probable(omega=omega, V=V)

    def probabilities(self, omega: Array, V: Array) -> Array:
        """Return P(y = k), (samples, K)."""
        return self.channel.probabilities(omega=omega, V=V).T
