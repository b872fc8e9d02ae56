"""Networks of stochastic ±1 weights: how far signal and messages reach, and the initial fields that suit a depth.

A weight has the mean m = tanh H. Two draws of all weights with the same means are two inputs of the recursion of
covariances, whose covariance is multiplied by <m²> in every layer: the one recursion gives the second moment ρ of a
unit, of which q = <x̂²> is the part that is certain, and its slope how messages come back.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from factorgraph.activations import Activation
from factorgraph.activations.averages import normal_panels
from factorgraph.interface.arguments import check_number, real_array, shown
from factorgraph.interface.brief import briefly
from models.checks import check_activations
from models.preactivation.criticality import root

Array = NDArray[np.float64]


def mean_square(field: float) -> float:
    """Return <m²> = <tanh²(field · ξ)> of weights with normal fields of that size.

    Raises:
        ValueError: ``field`` is not a finite number >= 0.
    """
    field = check_number("field", field, minimum=0.0)
    xi, weight = normal_panels(np.zeros(1), 1.0, (0.0,))
    return float(np.sum(weight * np.tanh(field * xi) ** 2))


def field_size(polarization: float) -> float:
    """Return the inverse of ``mean_square``: size of the fields that give <m²> = ``polarization``.

    Raises:
        ValueError: not in (0, 1).
    """
    polarization = check_number("polarization", polarization, above=0.0, below=1.0)
    return float(np.exp(root(lambda t: mean_square(float(np.exp(t))) - polarization, -20.0, 20.0)))


@briefly
@dataclass(frozen=True)
class SignalPath:
    """Signal and messages through a network of weight layers 0..L with given <m²>, z = Σ w x/√inputs.

    Attributes:
        mean_square: <m²> of the weights of each layer, (L + 1,).
        overlap: q/ρ of the inputs of each layer, (L + 1,): 1 for data, 0 where the units are known not at all.
        gain: χ_l = <m²>_{l+1} <(∂x̂/∂ω)²> of hidden layer l, (L,): by which the mean square of the messages g shrinks
            from the pre-activations of weight layer l + 1 to those of l, times outputs of l + 1 / inputs of l.
    """

    mean_square: Array
    overlap: Array
    gain: Array

    @property
    def log_progress(self) -> Array:
        """log of (1 - <m²>) q <g²> of each weight layer, (L + 1,), up to a common constant.

        The message of a sample to a weight has the mean square q <g²>, and adding it to the field H changes the
        log-likelihood, to first order, by (1 - m²) times its square: what the sample gains from this layer.
        """
        above = np.append(np.cumsum(np.log(self.gain)[::-1])[::-1], 0.0)
        return np.log1p(-self.mean_square) + np.log(self.overlap) + above


def signal_path(mean_squares: Sequence[float] | Array, activations: Sequence[Activation]) -> SignalPath:
    """Follow the recursion of covariances of two draws of the weights.

    Args:
        mean_squares: <m²> of each layer of weights, in (0, 1).
        activations: of the hidden layers, one fewer.

    Raises:
        ValueError: numbers that do not fit, or outside their range.
    """
    activations = check_activations("activations", activations)
    m2 = real_array("mean_squares", mean_squares)
    if m2.shape != (len(activations) + 1,) or not np.all((m2 > 0.0) & (m2 < 1.0)):
        raise ValueError(f"`mean_squares` must be {len(activations) + 1} numbers in (0, 1), got {shown(mean_squares)}")
    second, known, overlaps, gains = 1.0, 1.0, [1.0], []
    for here, above, activation in zip(m2[:-1], m2[1:], activations, strict=True):
        G = np.array([[second, here * known], [here * known, second]])
        gains.append(above * 2.0 * activation.slope(G)[0, 1])
        second, known = activation.second(G[:1, :1]), activation.second(G)
        overlaps.append(known / second)
    return SignalPath(m2, np.array(overlaps), np.array(gains))


def critical_field(activations: Sequence[Activation]) -> float:
    """Return size ε of the initial fields of ±1 weights at which a network of that depth learns fastest at its start.

    No size keeps the signal: sign units have q' = (2/π) arcsin(<m²> q) < q, and messages come back with the gain
    (2/π) <m²> for small q. Weak fields lose both along the depth, by <m²> a layer; strong ones hold the weights, which
    move by 1 - m². At the critical size these balance: the mean of ``log_progress`` over the layers is greatest, for L
    hidden layers of small q at <m²> = L/(L + 1), where ε ≈ 0.8 (L + 1). All layers share it: if each had its own, the
    first ones would freeze, for all but a few of their units would be certain and these few make the mean gain large.

    Args:
        activations: of the hidden layers.

    Raises:
        ValueError: no hidden layer; then the fields need not break any symmetry, and smaller is better.
    """
    activations = check_activations("activations", activations)
    depth = len(activations)
    if depth == 0:
        raise ValueError("`activations` must be of at least one hidden layer, got none")

    def loss(t: float) -> float:
        return -float(signal_path(np.full(depth + 1, expit(t)), activations).log_progress.mean())

    start = float(logit(depth / (depth + 1.0)))
    found = minimize_scalar(loss, bounds=(start - 3.0, start + 6.0), method="bounded", options={"xatol": 1e-8})
    return field_size(float(expit(found.x)))
