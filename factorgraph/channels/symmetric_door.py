"""Binary output of the size of z: -1 within a width of 0, +1 outside."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.channels.base import Channel, ChannelValues, ObservedValues, check_arguments, pre_activation
from factorgraph.channels.sign import Sign, check_spins, spin_terms
from factorgraph.interface.arguments import check_number
from factorgraph.numerics.elementwise import Elementwise, formula
from factorgraph.numerics.interval import nearest_interval
from factorgraph.numerics.special import (
    INV_SQRT_2PI,
    add2,
    half_square_ratio,
    log_cosh,
    normal_tail,
    sech2,
    upper_tail,
)

_MIN_WIDTH = 1e-12
_NARROW = 0.65  # below, in deviations, the chance to be inside is below one half

# By symmetry omega >= 0. near = width - omega is the distance to the near edge, of density N = N(near; 0, V), the far
# has the density rN, r = e^{-2 width omega/V}. p is the chance of one side of the door, x = side: outside (+1) where
# omega is well inside, else inside (-1). ∂p = side N (1 - r) by omega, ∂²p = side N bend.


@formula
def door_side(omega: float, V: float, width: float) -> tuple[float, float, float, float, float, float, float, float]:
    """side, f, q, q_lo, k, slip, bend, gamma: p = f e^{-q}, N = kp, 1 - r, bend, and -∂² log p."""
    sd = math.sqrt(V)
    near, near_lo = add2(width, 0.0, -omega, 0.0)
    q, q_lo = half_square_ratio(near, near_lo, V, 0.0)
    exponent = 2.0 * width / sd * (omega / sd)
    r, slip = math.exp(-exponent), -math.expm1(-exponent)
    far = width / V + omega / V
    bend = near / V + far * r
    if near <= 0.0 or width < _NARROW * sd:
        f, _, _, variance = nearest_interval(-near / sd, 2.0 * width / sd, omega / sd)
        f = f * math.exp(q) if near >= 0.0 else f
        return -1.0, f, q, q_lo, INV_SQRT_2PI / f / sd, slip, bend, (1.0 - variance) / V
    _, f, _, excess, _ = normal_tail(near / sd, q)
    rho = r * upper_tail(far * sd)[0] / f
    f = f * (1.0 + rho)
    k = INV_SQRT_2PI / f / sd
    # k² (1 - r)² - k bend, where the leading part of k - near/V = (K - near/√V)/√V - k rho of a normal tail cancels.
    return 1.0, f, q, q_lo, k, slip, bend, k * (excess / sd - k * (rho + r * (2.0 - r)) - far * r)


@formula
def door_values(B: float, omega: float, V: float, width: float) -> tuple[float, float, float, float, float]:
    """phi = log(e^b p + e^{-b} (1 - p)), b = side B, with its derivatives, as those of a sign.

    g = side P k (1 - r) with P = n/(1 + n), n = p (e^{2b} - 1), and Γ = P [gamma - (1 - P) k² (1 - r)²], or, where the
    message is against the rare side and P < 0, Γ = P² k² (1 - r)² - side P k bend.
    """
    side, f, q, q_lo, k, slip, bend, gamma = door_side(abs(omega), V, width)
    b, p = side * B, f * math.exp(-q)
    one, n, gap = spin_terms(-b, q, q_lo, f)
    if abs(b) < 0.5:
        phi = log_cosh(b) + math.log1p(math.tanh(b) * (2.0 * p - 1.0))
    elif gap > 0.0:
        phi = ((b - q) - q_lo) + math.log(one + n)
    else:
        phi = math.log1p(n) - b
    field = (b - 0.5 * q) + 0.5 * (math.log(f) - q_lo - math.log1p(-p))
    share, slope = n / (one + n), k * slip
    if share > 0.0:
        curvature = share * (gamma - one / (one + n) * slope * slope)
    else:
        curvature = share * (share * slope * slope - side * k * bend)
    sign = 1.0 if omega >= 0.0 else -1.0
    return phi, side * math.tanh(field), sech2(field), sign * side * share * slope, curvature


@formula
def door_observed(y: float, omega: float, V: float, width: float) -> tuple[float, float, float]:
    """log p or log(1 - p), with g and Γ."""
    side, f, q, q_lo, k, slip, bend, gamma = door_side(abs(omega), V, width)
    sign = 1.0 if omega >= 0.0 else -1.0
    if y == side:
        return math.log(f) - q - q_lo, sign * side * k * slip, gamma
    p = f * math.exp(-q)
    odds = k * p / (1.0 - p)
    return math.log1p(-p), -sign * side * odds * slip, odds * (odds * slip * slip + side * bend)


def _evaluate_element(
    B: float, A: float, omega: float, V: float, width: float, phi: Any, mean: Any, variance: Any, g: Any, gamma: Any
) -> None:
    phi[0], mean[0], variance[0], g[0], gamma[0] = door_values(B, omega, V, width)


def _observe_element(y: float, omega: float, V: float, width: float, phi: Any, g: Any, gamma: Any) -> None:
    phi[0], g[0], gamma[0] = door_observed(y, omega, V, width)


_evaluate = Elementwise(_evaluate_element, 5, 5)
_observe = Elementwise(_observe_element, 4, 3)


@dataclass(frozen=True)
class SymmetricDoor(Channel):
    """x = sign(|z| - width) = ±1; A drops out. z and -z are alike, as for ``Absolute``.

    Args:
        width: finite, from 1e-12 to 1e12.

    Raises:
        ValueError: the width outside its domain.
    """

    width: float = 1.0

    spin = True
    atoms = (-1.0, 1.0)
    interval = None
    on_gpu = True

    def __post_init__(self) -> None:
        width = check_number("width", self.width, minimum=_MIN_WIDTH, maximum=1.0 / _MIN_WIDTH)
        object.__setattr__(self, "width", width)
        object.__setattr__(self, "kinks", (-width, width))

    def evaluate(self, *, B: ArrayLike, A: ArrayLike, omega: ArrayLike, V: ArrayLike) -> ChannelValues:
        check_arguments(V, B=B, A=A, omega=omega)
        return ChannelValues(*_evaluate(B, A, omega, V, self.width))

    @property
    def observe_formula(self) -> tuple[Elementwise, tuple[float, ...]]:
        return _observe, (self.width,)

    def observe(self, y: ArrayLike, *, omega: ArrayLike, V: ArrayLike) -> ObservedValues:
        """Return log P(|z| > width) for +1, of its complement for -1.

        Raises:
            ValueError: some ``y`` is neither -1 nor +1, or ``V`` is not finite and > 0.
        """
        check_arguments(V, y=y, omega=omega)
        check_spins(y)
        return ObservedValues(*_observe(y, omega, V, self.width))

    def __call__(self, z: ArrayLike) -> Any:
        return Sign()(np.abs(pre_activation(z)) - self.width)
