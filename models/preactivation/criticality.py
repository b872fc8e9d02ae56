"""Criticality: weight and bias variances at which depth neither explodes nor kills the signal.

Near a fixed point K* = C_b + C_W <σ²>_K* of the variance, a change of the size of an input is multiplied by χ∥ from one
layer to the next, and a small difference of two inputs of equal size by χ⊥. Both are 1 at criticality.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq

from factorgraph.activations import Activation
from factorgraph.interface.arguments import check_instance, check_number
from factorgraph.interface.brief import briefly

_VARIANCES = np.geomspace(1e-3, 1e4, 36)  # where K* is looked for
_SMALL = 1e-3  # variance at which the class K* = 0 is recognised by its first correction


@briefly
@dataclass(frozen=True)
class Criticality:
    """Critical initialisation of an activation.

    Attributes:
        weight_variance: C_W.
        bias_variance: C_b.
        fixed_point: K*; 0 if the variance decays to it as a power of the depth, None if every K is one.
    """

    weight_variance: float
    bias_variance: float
    fixed_point: float | None


def susceptibilities(activation: Activation, variance: float, weight_variance: float) -> tuple[float, float]:
    """Return χ∥ = C_W d<σ²>/dK and χ⊥ = C_W <σ'²> at the variance K; χ⊥ is infinite if σ jumps.

    Raises:
        ValueError: ``variance`` <= 0 or ``weight_variance`` < 0.
    """
    check_instance("activation", activation, Activation, "an activation of models.preactivation")
    variance = check_number("variance", variance, above=0.0)
    weight_variance = check_number("weight_variance", weight_variance, minimum=0.0)
    parallel = float(activation.slope(np.array([[variance]]))[0, 0])
    return weight_variance * parallel, weight_variance * activation.square_slope(variance)


def critical(activation: Activation) -> Criticality:
    """Return the critical (C_W, C_b) with χ∥ = χ⊥ = 1 at the fixed point.

    χ∥ = χ⊥ does not depend on C_W and is solved for K*; then C_W = 1/<σ'²> and C_b = K* - C_W <σ²>. Where it holds for
    every K, as for ReLU, σ has no scale. If σ(0) = 0 it also holds at K = 0, which is the fixed point of functions that
    bend towards the axis, like tanh and erf; it is unstable for those that bend away.

    Raises:
        ValueError: the activation has no critical initialisation: it jumps, or χ∥ = χ⊥ nowhere with C_b >= 0.
    """
    check_instance("activation", activation, Activation, "an activation of models.preactivation")
    gaps = np.array([_gap(activation, K) for K in _VARIANCES])
    if not np.all(np.isfinite(gaps)):
        raise ValueError(f"`activation` must be continuous to have a critical initialisation, got {activation}")
    if np.all(np.abs(gaps) < 1e-8):
        return Criticality(1.0 / activation.square_slope(1.0), 0.0, None)
    at_zero, slope = float(activation(np.zeros(1))[0]), activation.square_slope(0.0)
    if abs(at_zero) < 1e-12 and slope > 1e-12 and activation.second(np.array([[_SMALL]])) < slope * _SMALL:
        return Criticality(1.0 / slope, 0.0, 0.0)
    for i in np.flatnonzero(np.sign(gaps[:-1]) != np.sign(gaps[1:])):
        K = root(lambda K: _gap(activation, K), float(_VARIANCES[i]), float(_VARIANCES[i + 1]))
        weight_variance = 1.0 / activation.square_slope(K)
        bias_variance = K - weight_variance * activation.second(np.array([[K]]))
        if bias_variance >= 0.0:
            return Criticality(weight_variance, bias_variance, K)
    raise ValueError(
        f"`activation` must have a variance at which both susceptibilities are 1 with a bias variance >= 0; "
        f"{activation} has none between {_VARIANCES[0]:g} and {_VARIANCES[-1]:g}: "
        "every initialisation loses or amplifies the signal"
    )


def root(f: Callable[[float], float], low: float, high: float) -> float:
    """Return the zero of f between two points of different sign."""
    zero: Any = brentq(f, low, high, xtol=1e-13)
    return float(zero)


def _gap(activation: Activation, variance: float) -> float:
    """Return χ∥/χ⊥ - 1."""
    parallel, perpendicular = susceptibilities(activation, variance, 1.0)
    return parallel / perpendicular - 1.0 if np.isfinite(perpendicular) else np.nan
