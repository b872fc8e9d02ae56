"""|z| with its kink at another place, where it jumps: the two signs of z are told apart."""

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
from factorgraph.channels.leaky_relu import leaky_observed
from factorgraph.channels.pieces import slab, slab_growth, tilt_at
from factorgraph.channels.relu import SMALL, two_weights
from factorgraph.interface.arguments import check_number
from factorgraph.numerics.elementwise import Elementwise, formula
from factorgraph.numerics.special import INV_SQRT_2PI, add2, half_square_ratio

_MAX_SHIFT = 1e30


@formula
def asymmetric_values(
    B: float, A: float, omega: float, V: float, shift: float
) -> tuple[float, float, float, float, float]:
    """phi = log(W0 + W1) of two slabs: x1 = z > shift, and x0 = -z > -shift.

    With h(z) = Bx - Ax²/2 and J = (e^{h(shift+)} - e^{h(shift-)}) N(shift; omega, V)/Z of its jump, d = B - A x:
    g = E h'(z) + J = p1 d1 - p0 d0 + J, and
    Γ = [A Σ p v - p0 p1 (d1 + d0)(x1 + x0) + J E(z - shift)]/V.
    """
    e0, e0_lo, f0, x0, v0, excess0, d0 = slab(B, A, -omega, 0.0, V, 0.0, -shift)
    e1, e1_lo, f1, x1, v1, excess1, d1 = slab(B, A, omega, 0.0, V, 0.0, shift)
    p0, p1, exponent, part0, part1 = two_weights(e0, e0_lo, f0, e1, e1_lo, f1)
    change0, change1 = abs(B * x0) + 0.5 * (A * v0 + A * x0 * x0), abs(B * x1) + 0.5 * (A * v1 + A * x1 * x1)
    growth = 1.0
    if p0 * change0 + p1 * change1 < SMALL:
        growth = slab_growth(B, A, -omega, 0.0, V, 0.0, -shift, e0, e0_lo, f0, change0)
        growth += slab_growth(B, A, omega, 0.0, V, 0.0, shift, e1, e1_lo, f1, change1)
    phi = math.log1p(growth) if abs(growth) < 0.5 else exponent + math.log(part0 + part1)
    step = B * shift
    at, at_lo = tilt_at(B, A, abs(shift) if B >= 0.0 else -abs(shift))
    m, m_lo = add2(omega, 0.0, -shift, 0.0)
    q, q_lo = half_square_ratio(m, m_lo, V, 0.0)
    at, at_lo = add2(at, at_lo, -q, -q_lo)
    height = (
        INV_SQRT_2PI
        * math.exp(min((at - exponent) + (at_lo - (e1_lo if e1 > e0 else e0_lo)), 0.0))
        / (part0 + part1)
        / math.sqrt(V)
    )
    jump = math.copysign(-math.expm1(-2.0 * abs(step)), step) * height
    spread = p0 * v0 + p1 * v1
    gamma = (A * spread - p0 * p1 * (d1 + d0) * (excess1 + excess0) + jump * (p1 * excess1 - p0 * excess0)) / V
    g = (p1 * d1 - p0 * d0) + jump
    if p1 * abs(d1) + p0 * abs(d0) + abs(jump) > (abs(m) + p1 * excess1 + p0 * excess0) / V:  # (E z - omega)/V
        g = (p1 * excess1 - p0 * excess0 - m) / V
    return phi, p0 * x0 + p1 * x1, spread + (p0 * (x1 - x0)) * (p1 * (x1 - x0)), g, gamma


@formula
def asymmetric_observed(y: float, omega: float, V: float, shift: float) -> tuple[float, float, float]:
    """log[N(y; omega, V) 1(y > shift) + N(-y; omega, V) 1(y > -shift)] and its derivatives."""
    if y > abs(shift):
        return leaky_observed(y, omega, V, -1.0)
    return log_normal_values(y if shift < 0.0 else -y, omega, V)


def _evaluate_element(
    B: float, A: float, omega: float, V: float, shift: float, phi: Any, mean: Any, variance: Any, g: Any, gamma: Any
) -> None:
    phi[0], mean[0], variance[0], g[0], gamma[0] = asymmetric_values(B, A, omega, V, shift)


def _observe_element(y: float, omega: float, V: float, shift: float, phi: Any, g: Any, gamma: Any) -> None:
    phi[0], g[0], gamma[0] = asymmetric_observed(y, omega, V, shift)


_evaluate = Elementwise(_evaluate_element, 5, 5)
_observe = Elementwise(_observe_element, 4, 3)


@dataclass(frozen=True)
class AsymmetricAbsolute(Channel):
    """x = z for z ≥ shift, -z below: |z| but between 0 and the shift, so that inference need not break a symmetry.

    Args:
        shift: finite, not 0 (which is ``Absolute``), at most 1e30 in size.

    Raises:
        ValueError: the shift outside its domain.
    """

    shift: float = 1e-4

    lines = ((0.0, -1.0), (0.0, 1.0))
    on_gpu = True

    def __post_init__(self) -> None:
        shift = check_number("shift", self.shift, minimum=-_MAX_SHIFT, maximum=_MAX_SHIFT)
        if shift == 0.0:
            raise ValueError(f"`shift` must not be 0 (which is Absolute), got {self.shift!r}")
        object.__setattr__(self, "shift", shift)
        object.__setattr__(self, "kinks", (shift,))
        object.__setattr__(self, "interval", (-abs(shift), math.inf))
        object.__setattr__(self, "jumps", (abs(shift),))

    def evaluate(self, *, B: ArrayLike, A: ArrayLike, omega: ArrayLike, V: ArrayLike) -> ChannelValues:
        check_arguments(V, B=B, A=A, omega=omega)
        return ChannelValues(*_evaluate(B, A, omega, V, self.shift))

    @property
    def observe_formula(self) -> tuple[Elementwise, tuple[float, ...]]:
        return _observe, (self.shift,)

    def observe(self, y: ArrayLike, *, omega: ArrayLike, V: ArrayLike) -> ObservedValues:
        """Return the log-density of the one or two places z that have the output ``y``.

        Raises:
            ValueError: some ``y`` is below -|shift| or not finite, or ``V`` is not finite and > 0.
        """
        check_arguments(V, y=y, omega=omega)
        check_from(y, -abs(self.shift))
        return ObservedValues(*_observe(y, omega, V, self.shift))

    def __call__(self, z: ArrayLike) -> Any:
        values = pre_activation(z)
        return np.where(values >= self.shift, values, -values)[()]
