"""Random multi-layer models: what is drawn, and its large-size parameters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factorgraph.channels import Channel
from factorgraph.interface.arguments import check_instance, check_number
from factorgraph.priors import Prior
from models.asymptotics.spectra import MarchenkoPastur, Spectrum
from models.checks import check_channel, check_prior, check_sequence, check_size, generator

Array = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class Sample:
    """One draw from an ensemble.

    Attributes:
        weights: W^l, (n_{l+1}, n_l), from the signal up: arrays, or ``Spectral`` where the ensemble has spectra.
        signals: x^l, (n_l,), from the signal x^0 to the last hidden layer.
        y: the observed output, (n_{L+1},).
    """

    weights: tuple[Any, ...]
    signals: tuple[Array, ...]
    y: Array

    def __repr__(self) -> str:
        sizes = [*(signal.size for signal in self.signals), self.y.size]
        return f"Sample({' -> '.join(map(str, sizes))})"


@dataclass(frozen=True)
class Ensemble:
    """x^0 ~ prior and x^{l+1} ~ P^{l+1}(x | W^l x^l) with independent weights W^l_ki ~ N(0, 1/n_l) [ML, eqs. 1-3], or
    with weights of other singular values and random singular vectors.

    Args:
        prior: law of the components of the signal.
        channels: one per layer, the last one that of the observed output.
        ratios: α_l = n_{l+1}/n_l, one per layer.
        spectra: of the singular values, one per layer; None for independent entries (``MarchenkoPastur``).

    Raises:
        ValueError: no layer, numbers of channels and ratios that differ, or a ratio that is not > 0.
    """

    prior: Prior
    channels: Sequence[Channel]
    ratios: Sequence[float]
    spectra: Sequence[Spectrum] | None = None

    def __post_init__(self) -> None:
        check_prior("prior", self.prior)
        channels = check_sequence("channels", self.channels, "a sequence of channels")
        object.__setattr__(self, "channels", tuple(check_channel("channels", channel) for channel in channels))
        if not self.channels:
            raise ValueError("`channels` must be one per ratio, and at least one, got none")
        ratios = check_sequence("ratios", self.ratios, "a sequence of numbers")
        object.__setattr__(self, "ratios", tuple(check_number("ratios", ratio, above=0.0) for ratio in ratios))
        if not self.channels or len(self.channels) != len(self.ratios):
            raise ValueError(
                f"`ratios` must be one per channel, and at least one, got {len(self.ratios)} for {len(self.channels)}"
            )
        if self.spectra is None:
            spectra: tuple[Spectrum, ...] = (MarchenkoPastur(),) * len(self.ratios)
        else:
            given = check_sequence("spectra", self.spectra, "a sequence of spectra or None")
            spectra = tuple(check_instance("spectra", each, Spectrum, "spectra of models") for each in given)  # pyright: ignore[reportAbstractUsage]
        object.__setattr__(self, "spectra", spectra)
        if len(spectra) != len(self.ratios):
            raise ValueError(f"`spectra` must be one per channel, {len(self.ratios)}, got {len(spectra)}")

    @property
    def second_moments(self) -> tuple[float, ...]:
        """ρ_l = E[(x^l)²] of the signal and of each hidden layer; that of z^l is the same number where E W² = 1/n."""
        mean, variance = self.prior.moments(H=0.0, G=0.0)
        moments = [float(mean**2 + variance)]
        for channel, gain in zip(self.channels[:-1], self.gains, strict=False):
            mean, variance = channel.moments(B=0.0, A=0.0, omega=0.0, V=gain * moments[-1])
            moments.append(float(mean**2 + variance))
        return tuple(moments)

    @property
    def gains(self) -> tuple[float, ...]:
        """E[(z^l)²]/E[(x^l)²], n_l E W²."""
        return tuple(
            1.0 if isinstance(spectrum, MarchenkoPastur) else spectrum.gain(ratio)
            for spectrum, ratio in zip(self.spectra or (), self.ratios, strict=True)
        )

    @property
    def independent(self) -> bool:
        """Whether all weights have independent entries."""
        return all(isinstance(spectrum, MarchenkoPastur) for spectrum in self.spectra or ())

    def sizes(self, n: int) -> tuple[int, ...]:
        """Return n_0 = n, n_1, ... rounded; raise ValueError if a layer would be empty."""
        sizes = [check_size("n", n)]
        for ratio in self.ratios:
            sizes.append(round(sizes[-1] * ratio))
        if min(sizes) < 1:
            raise ValueError(f"`n` must be large enough that no layer is empty, got {n} for sizes {sizes}")
        return tuple(sizes)

    def sample(self, n: int, rng: np.random.Generator | int | None = None) -> Sample:
        """Return weights, signals and output of a model with ``n`` signal components."""
        rng = generator(rng)
        sizes = self.sizes(n)
        x: Any = self.prior.sample(sizes[0], rng)
        weights, signals = [], []
        layers = zip(sizes[:-1], sizes[1:], self.channels, self.spectra or (), strict=True)
        for inputs, outputs, channel, spectrum in layers:
            weights.append(spectrum.sample(outputs, inputs, rng))
            signals.append(x)
            x = channel.sample(weights[-1] @ x, rng)
        return Sample(tuple(weights), tuple(signals), x)
