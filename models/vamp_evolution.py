"""State evolution of vector approximate message passing, for matrices of any singular values.

Precisions take the place of vectors: a message about x of precision γ is x + N(0, 1/γ), and what a prior, a channel or
a matrix makes of it on average is known from the same averages as in ``state_evolution``, or from the spectrum. The
model is the truth (Bayes-optimal); the passes are those of ``VampChain``.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from factorgraph.channels import Channel, Identity
from factorgraph.families import LEAST_SHARE
from models.averages import Averages, Field, Overlap, hidden_averages, output_averages, prior_averages
from models.ensembles import Ensemble
from models.spectra import Spectrum
from models.state_evolution import LEAST_VARIANCE, StateEvolution, check_run, outcome

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Map:
    """z = W x at large sizes: average variances at both ends, given the precisions γ of x and τ of z.

    Attributes:
        values: squared singular values.
        weights: of these, per component of x.
        ratio: components of z per component of x.
    """

    values: Array
    weights: Array
    ratio: float

    @classmethod
    def of(cls, spectrum: Spectrum, ratio: float) -> "_Map":
        return cls(*spectrum.eigenvalues(ratio), ratio)

    def up(self, gamma: float, tau: float) -> float:
        """Precision of the message to z, 1/v - τ with v = E λ/(γ + τλ) per component of z."""
        if np.isinf(tau):
            return np.inf
        rate = gamma + tau * self.values
        variance = float(self.weights @ (self.values / rate)) / self.ratio
        missed = float(self.weights @ (gamma / rate)) + self.ratio - float(self.weights.sum())
        return missed / self.ratio / variance

    def down(self, gamma: float, tau: float) -> float:
        """Precision of the message to x, 1/v - γ with v = E 1/(γ + τλ)."""
        zero = 1.0 - float(self.weights.sum())
        if np.isinf(tau):
            return gamma * (1.0 - zero) / zero if zero > 0.0 else np.inf
        rate = gamma + tau * self.values
        variance = float(self.weights @ (1.0 / rate)) + zero / gamma
        return float(self.weights @ (tau * self.values / rate)) / variance


@dataclass
class _Run:
    """Precisions of all messages: of x from above (down) and below (up), of z from above and below, layer by layer."""

    model: Ensemble
    maps: list[_Map]
    down: list[float]
    from_above: list[float]
    up: list[float] = field(default_factory=list)
    from_below: list[float] = field(default_factory=list)
    overlaps: list[Overlap] = field(default_factory=list)

    @property
    def scales(self) -> tuple[float, ...]:
        """E z² of every pre-activation."""
        pairs = zip(self.model.second_moments, self.model.gains, strict=True)
        return tuple(rho * gain for rho, gain in pairs)

    def forward(self) -> None:
        """Estimates from the signal up, and the messages that they leave."""
        self.up, self.from_below, self.overlaps = [], [], []
        for layer, message in enumerate(self.down):
            if layer == 0:
                output = prior_averages(self.model.prior, Field(message, message, message)).output
            elif self.model.channels[layer - 1] == Identity():
                variance = 1.0 / (self.from_below[-1] + message)
                output = Overlap(0.0, 0.0, variance)
            else:
                output = self._hidden(layer - 1).output
            assert output is not None
            rho = self.model.second_moments[layer]
            V = max(output.variance, LEAST_VARIANCE * rho)
            self.overlaps.append(Overlap(rho - V, rho - V, V))
            self.up.append(max(1.0 / V - message, LEAST_SHARE * message))
            self.from_below.append(self.maps[layer].up(self.up[-1], self.from_above[layer]))

    def backward(self, damping: float) -> None:
        """Messages from the output down to the signal."""
        last = len(self.down) - 1
        for layer in range(last, -1, -1):
            new = self._told(layer, last)
            self.from_above[layer] = _mixed(damping, self.from_above[layer], new)
            down = self.maps[layer].down(self.up[layer], self.from_above[layer])
            self.down[layer] = _mixed(damping, self.down[layer], down)

    def _told(self, layer: int, last: int) -> float:
        """Precision of what the channel above says about z: 1/(V - V² E Γ) - 1/V."""
        channel = self.model.channels[layer]
        if channel == Identity():
            return np.inf if layer == last else self.down[layer + 1]
        if layer == last:
            averages = output_averages(channel, self._below(layer), self.scales[layer])
        else:
            averages = self._hidden(layer)
        assert averages.field is not None
        rate, V = max(averages.field.precision, 0.0), 1.0 / self.from_below[layer]
        return max(rate / max(1.0 - V * rate, 1e-15), LEAST_SHARE / V)

    def _hidden(self, layer: int) -> Averages:
        message = self.down[layer + 1]
        channel: Channel = self.model.channels[layer]
        return hidden_averages(channel, self._below(layer), Field(message, message, message), self.scales[layer])

    def _below(self, layer: int) -> Overlap:
        V = 1.0 / self.from_below[layer]
        q = max(self.scales[layer] - V, 0.0)
        return Overlap(q, q, V)


def _mixed(damping: float, old: float, new: float) -> float:
    return new if damping == 0.0 or np.isinf(new) else damping * old + (1.0 - damping) * new


def vamp_state_evolution(
    model: Ensemble, *, start: str = "uninformative", iterations: int = 2000, tolerance: float = 1e-8,
    damping: float = 0.0,
) -> StateEvolution:  # fmt: skip
    """Run the state evolution of the closure "vamp" to its fixed point.

    Args:
        model: by which signal and output arose, and with which they are estimated; its ``spectra`` are those of the
            matrices.
        start: "uninformative" (no message, as the algorithm starts) or "informative" (at the truth).
        iterations: most of them; each is one pass forward and one backward.
        tolerance: relative change of all variances and precisions below which it stops.
        damping: α in [0, 1) of the messages from above, as precisions.

    Raises:
        ValueError: an argument outside its domain.
    """
    strength = check_run(start, iterations, tolerance, damping)
    layers = len(model.channels)
    maps = [_Map.of(spectrum, ratio) for spectrum, ratio in zip(model.spectra or (), model.ratios, strict=True)]
    run = _Run(model, maps, [strength / rho for rho in model.second_moments], [0.0] * layers)
    mse: list[list[float]] = []
    previous, converged = np.zeros(0), False
    while len(mse) < iterations and not converged:
        run.forward()
        mse.append([overlap.variance for overlap in run.overlaps])
        run.backward(damping if len(mse) > 1 else 0.0)
        numbers = np.array([*mse[-1], *run.down])
        if not np.all(np.isfinite(mse[-1])):
            break
        if previous.size:
            with np.errstate(invalid="ignore"):
                still = (numbers == previous) | (
                    np.abs(numbers - previous) <= tolerance * (1.0 - damping) * np.abs(previous)
                )
            converged = bool(np.all(still))
        previous = numbers
    errors = np.array(mse)
    fields = tuple(Field(message, message, message) for message in run.down)
    return outcome(run.overlaps, fields, errors, np.array(model.second_moments) - errors, converged, previous)
