"""State evolution of vector approximate message passing, for matrices of any singular values.

Means over components take the place of vectors. Messages from above are known by the three numbers of a ``Field``, and
those from below, laws N(r, V), by the ``Overlap`` of r with the truth and with itself and by V. What a prior or a
channel makes of them on average is known from the same averages as in ``state_evolution``; what a matrix does, from
its spectrum: along the singular vectors truth and errors are independent and normal. If the model is right
(Bayes-optimal) the precisions say all. The passes are those of ``VampChain``.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from factorgraph.channels import Identity
from factorgraph.iteration import DampingLevels, Report, Status, Turn, iterate
from factorgraph.messages.linear_node import Directions
from factorgraph.messages.ranges import MIN_REST, MIN_VARIANCE, message_precision
from models.asymptotics.averages import Averages, Field, Overlap, hidden_averages, output_averages, prior_averages
from models.asymptotics.ensembles import Ensemble
from models.asymptotics.spectra import Spectrum
from models.asymptotics.state_evolution import (
    DIVERGED,
    EvolutionTrace,
    StateEvolution,
    check_ensembles,
    check_run,
    compared,
    evolved,
    require_finite,
)

Array = NDArray[np.float64]

#: Share of its second moment below which a signal's error counts as none: where the model is right, once the variance
#: of a layer has met its bound; else, where m and q resolve no less.
RECOVERED, RESOLVED = 1e-9, 1e-6


@dataclass(frozen=True)
class _Map:
    """z = W x at large sizes.

    Attributes:
        values: λ, squared singular values.
        weights: of these, per component of x.
        ratio: components of z per component of x.
    """

    values: Array
    weights: Array
    ratio: float

    @classmethod
    def of(cls, spectrum: Spectrum, ratio: float) -> "_Map":
        return cls(*spectrum.eigenvalues(ratio), ratio)

    def _directions(self, gamma: float, tau: float) -> Directions:
        """Return posterior given precisions γ of x and τ of z, ∞ where z is observed."""
        known = np.isinf([tau])
        x, z = np.full((1, 1, 1), gamma), np.full((1, 1, 1), 1.0 if known[0] else tau)
        return Directions(self.values, self.weights, (self.ratio, 1.0), z, x, known)

    def up(self, below: Overlap, above: Field, moment: float) -> Overlap:
        """Return message to z: of the precision 1/v - τ, where v = E λ/(γ + τλ) per component of z.

        Args:
            below: message about x, of precision γ.
            above: that about z, of precision τ.
            moment: E x².
        """
        scale = moment * float(self.weights @ self.values) / self.ratio  # E z²
        if np.isinf(above.precision):
            return Overlap(scale, scale, 0.0)
        gamma, b, c = _information(below, moment)
        b_z, c_z, tau = above
        node = self._directions(gamma, tau)
        R, unseen = node.covariances[0, :, 0, 0], node.unseen[0]
        variance = float(node.output_covariance[0, 0, 0])
        precision = float(node.output_share[0, 0, 0]) / variance
        slopes = R * (b + self.values * b_z) / variance - b_z  # of the message by z, direction by direction
        slope = float(self.weights @ (self.values * slopes)) / float(self.weights @ self.values)
        noise = self.values * (moment * (slopes - slope) ** 2 + c * (R / variance) ** 2)
        noise += c_z * (self.values * R / variance - 1.0) ** 2
        square = scale * slope**2 + (float(self.weights @ noise) + unseen * c_z) / self.ratio
        return Overlap(scale * slope / precision, square / precision**2, 1.0 / precision)

    def down(self, below: Overlap, above: Field, moment: float) -> Field:
        """Return message to x: of the precision 1/v - γ, where v = E 1/(γ + τλ); arguments as of ``up``."""
        gamma, b, c = _information(below, moment)
        b_z, c_z, tau = above
        node = self._directions(gamma, tau)
        R, unseen, variance = node.covariances[0, :, 0, 0], node.unseen[1], float(node.input_covariance[0, 0, 0])
        if np.isinf(tau):
            known, noise_above = np.ones_like(R), np.zeros_like(R)
        else:
            known, noise_above = R * (b + self.values * b_z), self.values * c_z * R**2
        if variance <= MIN_VARIANCE * moment:  # the output determines the input
            return Field(*[1.0 / (MIN_VARIANCE * moment)] * 3)
        slopes, rest = known / variance - b, 1.0 / (gamma * variance) - 1.0
        slope = float(self.weights @ slopes) + unseen * b * rest
        noise = moment * (slopes - slope) ** 2 + noise_above / variance**2 + c * (R / variance - 1.0) ** 2
        outside = moment * (b * rest - slope) ** 2 + c * rest**2
        return Field(slope, float(self.weights @ noise) + unseen * outside, float(node.input_share[0, 0, 0]) / variance)


def _information(below: Overlap, moment: float) -> tuple[float, float, float]:
    """Return γ, b and c of a message of information B = γ r = b x + √c ξ."""
    gamma = 1.0 / below.variance
    return gamma, gamma * below.truth / moment, gamma**2 * max(below.square - below.truth**2 / moment, 0.0)


def _without(belief: Overlap, message: Field, moment: float) -> Overlap:
    """Return what is left of a belief without a message B from above; E[x̂ B] = b m + c V, since V is the mean of
    ∂x̂/∂B."""
    m, q, V = belief
    b, c, A = message
    rate = message_precision(V, 1.0 - V * A)
    total = A + rate  # 1/V, unless the rate has met its bound; what is left has information total · x̂ - B in any case
    truth = (total * m - b * moment) / rate
    noise = max((q - m**2 / moment) * total**2 - c * (2.0 * V * total - 1.0), 0.0) / rate**2
    return Overlap(truth, truth**2 / moment + noise, 1.0 / rate)


def _extrinsic_field(averages: Field, below: Overlap, moment: float) -> Field:
    """Return message about z that makes of N(r, V) the mean r + V g and variance V - V² Γ.

    Its information is k g + A r = k (g + Γ r) + (A - k Γ) r with k = 1 + A V, where the last term is 0 unless A has met
    its bound. By parts, E[g z] = ρ E[g g_truth] - m Γ and E[g r] = m E[g g_truth] - q Γ: what is left of g + Γ r
    without E[g g_truth] z depends on neither z nor r.
    """
    m, q, V = below
    score, square, gamma = averages
    A = message_precision(V * max(1.0 - V * gamma, MIN_REST), V * gamma)
    factor, unseen = 1.0 + A * V, q - m**2 / moment
    rest = A - factor * gamma
    noise = square - moment * (score - m / moment * gamma) ** 2 - unseen * gamma**2
    return Field(factor * score + rest * m / moment, factor**2 * max(noise, 0.0) + rest**2 * max(unseen, 0.0), A)


@dataclass
class _Run:
    """All messages, layer by layer: about x from above (down) and below (up), about z from above and below."""

    model: Ensemble
    truth: Ensemble | None
    maps: list[_Map]
    moments: tuple[float, ...]  # E x² of every layer
    down: list[Field]
    from_above: list[Field]
    up: list[Overlap] = field(default_factory=list)
    from_below: list[Overlap] = field(default_factory=list)
    overlaps: list[Overlap] = field(default_factory=list)
    trace: EvolutionTrace = field(default_factory=EvolutionTrace)

    def step(self, turn: Turn) -> Report:
        """Do one iteration; where the signal is recovered only the first half, as messages about what is known have
        no limit, and what follows would be rounding."""
        try:
            self.forward()
            self.trace.add(self.errors(), self.overlaps)
            if turn.previous is not None and self.recovered:
                return Report(0.0, Status.CONVERGED)
            self.backward(turn.damping)
        except FloatingPointError:
            return DIVERGED
        return compared(turn, [*self.errors(), *(o.variance for o in self.overlaps), *(f.precision for f in self.down)])

    @property
    def scales(self) -> tuple[float, ...]:
        """E z² of every pre-activation."""
        return tuple(rho * gain for rho, gain in zip(self.moments, self.model.gains, strict=True))

    def forward(self) -> None:
        """Estimates from the signal up, and the messages that they leave."""
        self.up, self.from_below, self.overlaps = [], [], []
        for layer, (message, rho) in enumerate(zip(self.down, self.moments, strict=True)):
            if layer == 0:
                output = prior_averages(self.model.prior, message, self.truth and self.truth.prior).output
            elif self.model.channels[layer - 1] == Identity():
                output = _together(self.from_below[-1], message, rho)
            else:
                output = self._hidden(layer - 1).output
            assert output is not None
            belief = output._replace(variance=max(output.variance, MIN_VARIANCE * rho))
            self.overlaps.append(self._law(belief, rho))
            self.up.append(self._law(_without(self.overlaps[-1], message, rho), rho))
            sent = self.maps[layer].up(self.up[-1], self.from_above[layer], rho)
            self.from_below.append(self._law(sent, self.scales[layer]))

    def backward(self, damping: float) -> None:
        """Messages from the output down to the signal."""
        last = len(self.down) - 1
        for layer in range(last, -1, -1):
            self.from_above[layer] = self._mixed(damping, self.from_above[layer], self._from_channel(layer, last))
            down = self.maps[layer].down(self.up[layer], self.from_above[layer], self.moments[layer])
            self.down[layer] = self._mixed(damping, self.down[layer], down)

    def _from_channel(self, layer: int, last: int) -> Field:
        """Return what the channel above says about z."""
        channel = self.model.channels[layer]
        if channel == Identity():
            return Field(*[np.inf] * 3) if layer == last else self.down[layer + 1]
        below, scale = self.from_below[layer], self.scales[layer]
        if layer == last:
            averages = output_averages(channel, below, scale, self.truth and self.truth.channels[layer])
        else:
            averages = self._hidden(layer)
        assert averages.field is not None
        return _extrinsic_field(averages.field, below, scale)

    def _hidden(self, layer: int) -> Averages:
        below, above = self.from_below[layer], self.down[layer + 1]
        truth = self.truth and self.truth.channels[layer]
        return hidden_averages(self.model.channels[layer], below, above, self.scales[layer], truth)

    def _law(self, overlap: Overlap, moment: float) -> Overlap:
        """Return the overlap; where the model is right, what its variance says. Raises FloatingPointError for no
        numbers."""
        require_finite(overlap)
        known = max(moment - overlap.variance, 0.0)
        return overlap if self.truth is not None else Overlap(known, known, overlap.variance)

    def _mixed(self, damping: float, old: Field, new: Field) -> Field:
        """Return α old + (1 - α) new; where the model is right, all three numbers are the precision."""
        if self.truth is None:
            new = Field(*[new.precision] * 3)
        if damping == 0.0 or np.isinf(new.precision):
            return new
        return Field(*(damping * a + (1.0 - damping) * b for a, b in zip(old, new, strict=True)))

    @property
    def recovered(self) -> bool:
        """The signal is found and known to be."""
        V, rho = self.overlaps[0].variance, self.moments[0]
        if self.truth is not None:
            return V <= 0.01 * RESOLVED * rho and abs(self.errors()[0]) <= RESOLVED * rho
        met = any(each.variance <= MIN_VARIANCE * m for each, m in zip(self.overlaps, self.moments, strict=True))
        return met and V <= RECOVERED * rho

    def errors(self) -> list[float]:
        """Return mean squared errors."""
        if self.truth is None:
            return [overlap.variance for overlap in self.overlaps]
        return [rho - 2.0 * each.truth + each.square for each, rho in zip(self.overlaps, self.moments, strict=True)]


def _together(below: Overlap, above: Field, moment: float) -> Overlap:
    """Return the belief of both messages about a layer that copies its input."""
    rate = 1.0 / below.variance
    V = 1.0 / (rate + above.precision)
    square = rate**2 * below.square + 2.0 * rate * above.truth * below.truth + above.truth**2 * moment + above.noise
    return Overlap(V * (rate * below.truth + above.truth * moment), V**2 * square, V)


def vamp_state_evolution(
    model: Ensemble, *, truth: Ensemble | None = None, start: str = "uninformative", iterations: int = 2000,
    tolerance: float = 1e-8, damping: float = 0.0,
) -> StateEvolution:  # fmt: skip
    """Run the state evolution of the closure "vamp" to its fixed point.

    Args:
        model: with which the signal is estimated; its ``spectra`` are those of the matrices.
        truth: by which signal and output arose, with the same ratios and spectra; None if it is the model
            (Bayes-optimal).
        start: "uninformative" (no message, as the algorithm starts) or "informative" (at the truth).
        iterations: most of them; each is one pass forward and one backward.
        tolerance: relative change of all variances and precisions below which it stops.
        damping: α in [0, 1) of the messages from above.

    Raises:
        ValueError: an argument outside its domain, or a truth with other layers or matrices.
    """
    _check(model, truth)
    strength = check_run(start, iterations, tolerance, damping)
    maps = [_Map.of(spectrum, ratio) for spectrum, ratio in zip(model.spectra or (), model.ratios, strict=True)]
    moments = (truth or model).second_moments
    nothing = [Field(0.0, 0.0, 0.0) for _ in maps]
    run = _Run(model, truth, maps, moments, [Field(*[strength / rho] * 3) for rho in moments], nothing)
    status = iterate(run.step, limit=iterations, tolerance=tolerance, policy=DampingLevels(damping)).status
    cause = ""
    if status is Status.CONVERGED and run.recovered:
        share = RECOVERED if truth is None else RESOLVED
        cause = f"the signal is recovered, to less than {share:g} of its second moment"
    return evolved(run.overlaps, run.down, run.trace, status, cause)


def _check(model: Ensemble, truth: Ensemble | None) -> None:
    check_ensembles(model, truth)
    if truth is None:
        return
    if (truth.ratios, truth.spectra) != (model.ratios, model.spectra):
        raise ValueError(
            f"`truth` must have the ratios and spectra of the model, {model.ratios} and {model.spectra}, got "
            f"{truth.ratios} and {truth.spectra}"
        )
    copies = [[channel == Identity() for channel in each.channels] for each in (model, truth)]
    if copies[0] != copies[1]:
        raise ValueError(
            f"`truth` must have noiseless Identity() layers where the model has them, got {list(truth.channels)} for "
            f"{list(model.channels)}"
        )
