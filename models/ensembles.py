"""Random multi-layer models: what is drawn, and its large-size parameters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factorgraph.channels import Channel
from factorgraph.priors import Prior

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """One draw from an ensemble.

    Attributes:
        weights: W^l, (n_{l+1}, n_l), from the signal up.
        signals: x^l, (n_l,), from the signal x^0 to the last hidden layer.
        y: the observed output, (n_{L+1},).
    """

    weights: tuple[Array, ...]
    signals: tuple[Array, ...]
    y: Array


@dataclass(frozen=True)
class Ensemble:
    """x^0 ~ prior and x^{l+1} ~ P^{l+1}(x | W^l x^l) with independent weights W^l_ki ~ N(0, 1/n_l) [ML, eqs. 1-3].

    Args:
        prior: law of the components of the signal.
        channels: one per layer, the last one that of the observed output.
        ratios: α_l = n_{l+1}/n_l, one per layer.

    Raises:
        ValueError: no layer, numbers of channels and ratios that differ, or a ratio that is not > 0.
    """

    prior: Prior
    channels: Sequence[Channel]
    ratios: Sequence[float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        object.__setattr__(self, "ratios", tuple(float(ratio) for ratio in self.ratios))
        if not self.channels or len(self.channels) != len(self.ratios):
            raise ValueError(
                f"`ratios` must be one per channel, and at least one, got {len(self.ratios)} for {len(self.channels)}"
            )
        if not all(np.isfinite(ratio) and ratio > 0 for ratio in self.ratios):
            raise ValueError(f"`ratios` must be finite numbers > 0, got {self.ratios}")

    @property
    def second_moments(self) -> tuple[float, ...]:
        """ρ_l = E[(x^l)²] of the signal and of each hidden layer; that of z^l is the same number."""
        mean, variance = self.prior.moments(H=0.0, G=0.0)
        moments = [float(mean**2 + variance)]
        for channel in self.channels[:-1]:
            mean, variance = channel.moments(B=0.0, A=0.0, omega=0.0, V=moments[-1])
            moments.append(float(mean**2 + variance))
        return tuple(moments)

    def sizes(self, n: int) -> tuple[int, ...]:
        """n_0 = n, n_1, ... rounded; raises ValueError if a layer would be empty."""
        sizes = [n]
        for ratio in self.ratios:
            sizes.append(round(sizes[-1] * ratio))
        if min(sizes) < 1:
            raise ValueError(f"`n` must be large enough that no layer is empty, got {n} for sizes {sizes}")
        return tuple(sizes)

    def sample(self, n: int, rng: np.random.Generator | int | None = None) -> Sample:
        """Weights, signals and output of a model with ``n`` signal components."""
        rng = np.random.default_rng(rng)
        sizes = self.sizes(n)
        x: Any = self.prior.sample(n, rng)
        weights, signals = [], []
        for inputs, outputs, channel in zip(sizes[:-1], sizes[1:], self.channels, strict=True):
            weights.append(rng.standard_normal((outputs, inputs)) / inputs**0.5)
            signals.append(x)
            x = channel.sample(weights[-1] @ x, rng)
        return Sample(tuple(weights), tuple(signals), x)
