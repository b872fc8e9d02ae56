"""Linear output with another slope below 0: leaky ReLU, and |z| of two slopes."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.channels.base import (
    Channel,
    ChannelValues,
    ObservedValues,
    check_arguments,
    check_from,
    pre_activation,
)
from factorgraph.channels.identity import log_normal_values
from factorgraph.channels.pieces import slab, slab_growth
from factorgraph.channels.relu import SMALL, two_weights
from factorgraph.interface.arguments import check_number
from factorgraph.numerics.elementwise import Elementwise, formula
from factorgraph.numerics.special import multiply2, sech2, two_product

_MIN_SLOPE = 1e-12


@formula
def leaky_values(B: float, A: float, omega: float, V: float, slope: float) -> tuple[float, float, float, float, float]:
    """phi = log(W0 + W1) of two slabs: x1 = z > 0, and x0 = |slope z| > 0 for z < 0, which is ∓x and receives ∓B.

    h(z) = Bx - Ax²/2 is continuous, so that g = E h'(z) = p1 d1 - |slope| p0 d0 with d = B - A x of a slab, and
    Γ = -Cov(h'(z), z)/V = [A Σ p v - p0 p1 (d1 + |slope| d0)(x1 + x0/|slope|)]/V: nothing is subtracted that a small
    message leaves.
    """
    side, steep = (-1.0 if slope > 0.0 else 1.0), abs(slope)
    m, m_lo = two_product(-steep, omega)
    v, v_lo = two_product(steep, steep)
    v, v_lo = multiply2(v, v_lo, V, 0.0)
    e0, e0_lo, f0, x0, v0, _, d0 = slab(side * B, A, m, m_lo, v, v_lo, 0.0)
    e1, e1_lo, f1, x1, v1, _, d1 = slab(B, A, omega, 0.0, V, 0.0, 0.0)
    p0, p1, exponent, part0, part1 = two_weights(e0, e0_lo, f0, e1, e1_lo, f1)
    change0, change1 = abs(B) * x0 + 0.5 * (A * v0 + A * x0 * x0), abs(B) * x1 + 0.5 * (A * v1 + A * x1 * x1)
    growth = 1.0
    if p0 * change0 + p1 * change1 < SMALL:
        growth = slab_growth(side * B, A, m, m_lo, v, v_lo, 0.0, e0, e0_lo, f0, change0)
        growth += slab_growth(B, A, omega, 0.0, V, 0.0, 0.0, e1, e1_lo, f1, change1)
    phi = math.log1p(growth) if abs(growth) < 0.5 else exponent + math.log(part0 + part1)
    spread, gap = p0 * v0 + p1 * v1, x1 - side * x0
    gamma = (A * spread - p0 * p1 * (d1 + steep * d0) * (x1 + x0 / steep)) / V
    return phi, p1 * x1 + side * p0 * x0, spread + (p0 * gap) * (p1 * gap), p1 * d1 - steep * p0 * d0, gamma


@formula
def leaky_observed(y: float, omega: float, V: float, slope: float) -> tuple[float, float, float]:
    """log of N(y; omega, V), or of N(y/slope; omega, V)/|slope| for y < 0; of their sum for a slope below 0.

    There g = (E z - omega)/V and Γ = (1 - Var z/V)/V for the two places z, whose odds are e^{2u}.
    """
    if slope > 0.0:
        z, scale = (y, 0.0) if y >= 0.0 else (y / slope, math.log(slope))
        phi, g, gamma = log_normal_values(z, omega, V)
        return phi - scale, g, gamma
    z = y / slope
    gap, middle = 0.5 * (y - z), 0.5 * (y + z)
    u = gap * (omega - middle) / V + 0.5 * math.log(-slope)
    phi, _, _ = log_normal_values(y if u >= 0.0 else z, omega, V)
    phi = phi - (math.log(-slope) if u < 0.0 else 0.0) + math.log1p(math.exp(-2.0 * abs(u)))
    spread = gap * gap / V * sech2(u)
    if abs(u) < 1.0:
        shift = gap * math.tanh(u) + middle - omega
    else:  # from the likelier place, near which omega may be
        odds = math.exp(-2.0 * abs(u))
        shift = (y - omega if u > 0.0 else z - omega) - math.copysign(2.0 * gap, u) * (odds / (1.0 + odds))
    return phi, shift / V, (1.0 - spread) / V


def _evaluate_element(
    B: float, A: float, omega: float, V: float, slope: float, phi: Any, mean: Any, variance: Any, g: Any, gamma: Any
) -> None:
    phi[0], mean[0], variance[0], g[0], gamma[0] = leaky_values(B, A, omega, V, slope)


def _observe_element(y: float, omega: float, V: float, slope: float, phi: Any, g: Any, gamma: Any) -> None:
    phi[0], g[0], gamma[0] = leaky_observed(y, omega, V, slope)


leaky_evaluate = Elementwise(_evaluate_element, 5, 5)
leaky_observe = Elementwise(_observe_element, 4, 3)


@dataclass(frozen=True)
class LeakyReLU(Channel):
    """x = z for z ≥ 0, slope · z below. A slope below 0 makes of it a |z| that is not symmetric.

    Args:
        slope: finite, from 1e-12 to 1e12 in size; 0 is ``ReLU``, -1 is ``Absolute``, 1 is ``Identity``.

    Raises:
        ValueError: the slope outside its domain.
    """

    slope: float = 0.01

    kinks = (0.0,)
    on_gpu = True

    def __post_init__(self) -> None:
        slope = check_number("slope", self.slope)
        if not _MIN_SLOPE <= abs(slope) <= 1.0 / _MIN_SLOPE:
            raise ValueError(f"`slope` must be from 1e-12 to 1e12 in size (0 is ReLU), got {self.slope!r}")
        object.__setattr__(self, "slope", slope)
        object.__setattr__(self, "lines", ((0.0, slope), (0.0, 1.0)))
        if slope > 0.0:
            object.__setattr__(self, "jumps", (0.0,))
        else:
            object.__setattr__(self, "interval", (0.0, math.inf))

    def evaluate(self, *, B: ArrayLike, A: ArrayLike, omega: ArrayLike, V: ArrayLike) -> ChannelValues:
        check_arguments(V, B=B, A=A, omega=omega)
        return ChannelValues(*leaky_evaluate(B, A, omega, V, self.slope))

    @property
    def observe_formula(self) -> tuple[Elementwise, tuple[float, ...]]:
        return leaky_observe, (self.slope,)

    def observe(self, y: ArrayLike, *, omega: ArrayLike, V: ArrayLike) -> ObservedValues:
        """Return the log-density of the places z that have the output ``y``.

        Raises:
            ValueError: some ``y`` is not finite, or negative where the slope is; ``V`` is not finite and > 0.
        """
        check_arguments(V, y=y, omega=omega)
        check_from(y, -math.inf if self.slope > 0.0 else 0.0)
        return ObservedValues(*leaky_observe(y, omega, V, self.slope))

    def __call__(self, z: ArrayLike) -> Any:
        values = pre_activation(z)
        return np.where(values >= 0, values, values * values.dtype.type(self.slope))[()]
