"""Real targets seen through Gaussian noise: regression."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from deepnet.layers import LearntNoise
from deepnet.outputs.base import Labels, Predictive
from deepnet.outputs.numeric import NumericOutput
from factorgraph.channels import Channel, Identity
from factorgraph.dense.state import Array, Message

#: Samples over which the noise is averaged: a batch of n of them moves it n/(n + _MEMORY) of the way to their own.
_MEMORY = 500.0

#: Smallest noise that calibration gives, as a share of the targets' variance.
_LEAST_NOISE = 1e-8


class GaussianOutput(NumericOutput):
    """y = z + N(0, s²), with one s² for each unit, given or learnt.

    What is known of z is a message e^{Bz - Az²/2} with A = 1/s² and B = y/s²; to the power w of the likelihood it is
    that of noise s²/w.

    Attributes:
        noise: s², (units, 1): of the channel, or what has been learnt.
    """

    channels: ClassVar = {"gaussian": LearntNoise(1.0)}
    settings: ClassVar = ("noise_variance",)
    learnt: ClassVar = ("noise",)

    def __init__(self, channel: Channel, units: int, parameters: Mapping[str, Array] | None = None) -> None:
        super().__init__(channel, units, parameters)
        self.noise: Any = self.parameters.get("noise", channel.noise)

    @classmethod
    def configured(cls, channel: Channel, **settings: Any) -> Channel:
        """A given variance is that of the channel; without one it is learnt."""
        noise = settings["noise_variance"]
        return channel if noise is None else Identity(noise)

    @classmethod
    def has(cls, channel: Any) -> bool:
        return super().has(channel) or (type(channel) is Identity and channel.noise > 0.0)

    @property
    def need(self) -> str:
        return "finite numbers"

    def valid(self, y: Labels) -> Labels:
        return np.isfinite(y)

    def observe(self, y: Array, scale: float, rng: np.random.Generator | None = None) -> Message:
        A = np.ones_like(y) / self.noise
        return Message(Identity(), scale, B=A * y, A=A)

    def raised(self, message: Message, power: Array) -> Message:
        return replace(message, B=power * message.B, A=power * message.A)  # pyright: ignore[reportOperatorIssue]

    def learn(
        self,
        y: Array,
        omega: Array,
        V: Array,
        power: Array | None = None,
        total: Callable[[Array], Array] = lambda own: own,
    ) -> None:
        """Take a step of expectation maximisation: s² towards the mean of E (y - z)² under the posterior of z.

        The posterior has the mean y - (y - omega) c and the variance V c, c = s²/(V + s²). What this climbs is
        Σ w log N(y; omega, V + s²); powers within the integral would grow without bound as s² -> 0, as they say that
        one noise was drawn several times.
        """
        if "noise" not in self.parameters:
            return
        w = np.ones_like(y[:1]) if power is None else power[None]
        share = self.noise / (V + self.noise)
        own = (w * (np.square(share * (y - omega)) + share * V)).sum(axis=1, keepdims=True)
        sums = total(np.concatenate([own, w.sum(axis=1, keepdims=True)]))
        seen, samples = sums[:-1], sums[-1]
        self.noise += (seen - samples * self.noise) / (samples + _MEMORY)

    def calibrate(self, y: Array, omega: Array, V: Array) -> None:
        from scipy.optimize import minimize_scalar  # here, because it takes long to import

        if "noise" not in self.parameters:
            return
        for unit, (square, variance) in enumerate(zip(np.square(y - omega), V, strict=True)):

            def loss(logarithm: float, square: Array = square, variance: Array = variance) -> float:
                total = variance + np.exp(logarithm)
                return float(np.mean(np.log(total) + square / total))

            most = np.log(max(float(square.mean()), 2.0 * _LEAST_NOISE))
            best: Any = minimize_scalar(loss, bounds=(np.log(_LEAST_NOISE), most), method="bounded")
            self.noise[unit] = np.exp(best.x)

    def log_likelihood(self, y: Array, omega: Array, V: Array) -> Array:
        total = V + self.noise
        return -0.5 * (np.log(2.0 * np.pi * total) + np.square(y - omega) / total)

    def predictive(self, omega: Array, V: Array) -> Predictive:
        return Predictive(omega.T, np.broadcast_to(self.noise, omega.shape).T, V.T)
