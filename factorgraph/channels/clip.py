"""Linear outputs between two bounds: the hard tanh and the hard sigmoid."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.channels.base import Channel, ChannelValues, ObservedValues, check_arguments, pre_activation
from factorgraph.channels.identity import log_normal_values
from factorgraph.channels.pieces import ramp, ramp_growth, tilt_at
from factorgraph.channels.relu import SMALL
from factorgraph.channels.sign import sign_observed
from factorgraph.interface.arguments import check_number
from factorgraph.numerics.elementwise import Elementwise, formula
from factorgraph.numerics.special import add2, divide2, half_square_ratio, normal_tail, two_product

# x = min(max(u, low), high) with u = offset + z/span ~ N(omega, V): a mixture of *spikes* at the bounds, of weights
# e^{t(low)} P(u < low) and e^{t(high)} P(u > high) for t = Bx - Ax²/2, and a *ramp* between them.


@formula
def clip_values(
    B: float, A: float, z: float, z_variance: float, low: float, high: float, offset: float, span: float
) -> tuple[float, float, float, float, float]:
    """phi = log(W0 + Ws + W1), x̂ = p0 low + ps x + p1 high, Δ from the squared distances, g = ps (B - A x) and
    Γ = ps [A v - (B - A x)(x - E u)]/V, which holds by parts since the output is continuous: both vanish with B and A.
    """
    omega, omega_lo = divide2(z, 0.0, span, 0.0)
    omega, omega_lo = add2(omega, omega_lo, offset, 0.0)
    V, V_lo = two_product(span, span)
    V, V_lo = divide2(z_variance, 0.0, V, V_lo)
    sd = math.sqrt(V)
    m0, m0_lo = add2(omega, omega_lo, -low, 0.0)
    m1, m1_lo = add2(omega, omega_lo, -high, 0.0)
    q0, q0_lo = half_square_ratio(m0, m0_lo, V, V_lo)
    q1, q1_lo = half_square_ratio(m1, m1_lo, V, V_lo)
    h0, f0, _, z0, _ = normal_tail(m0 / sd, q0)
    h1, f1, _, z1, _ = normal_tail(-m1 / sd, q1)
    t0, t0_lo = tilt_at(B, A, low)
    t1, t1_lo = tilt_at(B, A, high)
    e0, e0_lo = add2(t0, t0_lo, -q0, -q0_lo) if m0 > 0.0 else (t0, t0_lo)
    e1, e1_lo = add2(t1, t1_lo, -q1, -q1_lo) if m1 < 0.0 else (t1, t1_lo)
    e, e_lo, f, x, v, below, above, pull = ramp(B, A, omega, omega_lo, V, V_lo, low, high)
    top, top_lo = (e0, e0_lo) if (e0 - e1) + (e0_lo - e1_lo) > 0.0 else (e1, e1_lo)
    top, top_lo = (e, e_lo) if (e - top) + (e_lo - top_lo) > 0.0 else (top, top_lo)
    part0 = f0 * math.exp((e0 - top) + (e0_lo - top_lo))
    part = f * math.exp((e - top) + (e_lo - top_lo))
    part1 = f1 * math.exp((e1 - top) + (e1_lo - top_lo))
    total = part0 + part + part1
    p0, p, p1 = part0 / total, part / total, part1 / total
    change, growth = abs(B) * math.sqrt(x * x + v) + 0.5 * A * (x * x + v), 1.0
    if p * change + p0 * abs(t0) + p1 * abs(t1) < SMALL:
        chance0, chance1 = h0 if m0 > 0.0 else 1.0 - h0, h1 if m1 < 0.0 else 1.0 - h1
        growth = chance0 * math.expm1(min(t0, 700.0)) + chance1 * math.expm1(min(t1, 700.0))
        growth += ramp_growth(B, A, omega, omega_lo, V, V_lo, low, high, e, e_lo, f, change)
    if abs(growth) < 0.5:
        phi = math.log1p(growth)
    elif top == 0.0 and t0 == 0.0 and m0 <= 0.0:  # f0 = 1 - h0 is not to swallow the small parts
        phi = math.log1p(part + part1 - h0)
    else:
        phi = top + (top_lo + math.log(total))
    gamma = p * (A * v - pull * (p0 * (below + sd * z0) - p1 * (above + sd * z1))) / V
    variance = p * v + p * p0 * below * below + p * p1 * above * above + p0 * p1 * (high - low) * (high - low)
    return phi, p0 * low + p * x + p1 * high, variance, p * pull / span, gamma / span / span


@formula
def clip_observed(
    y: float, omega: float, V: float, low: float, high: float, offset: float, span: float
) -> tuple[float, float, float]:
    """At a bound log P(z beyond it), that of a spin; between them log N(z(y); omega, V) + log span."""
    if low < y < high:
        phi, g, gamma = log_normal_values((y - offset) * span, omega, V)
        return phi + math.log(span), g, gamma
    side, bound = (-1.0, low) if y <= low else (1.0, high)
    m, m_lo = two_product(offset - bound, span)
    m, m_lo = add2(omega, 0.0, m, m_lo)
    return sign_observed(side, m, m_lo, V, 0.0)


def _evaluate_element(
    B: float, A: float, omega: float, V: float, low: float, high: float, offset: float, span: float,
    phi: Any, mean: Any, variance: Any, g: Any, gamma: Any,
) -> None:  # fmt: skip
    phi[0], mean[0], variance[0], g[0], gamma[0] = clip_values(B, A, omega, V, low, high, offset, span)


def _observe_element(
    y: float, omega: float, V: float, low: float, high: float, offset: float, span: float, phi: Any, g: Any, gamma: Any
) -> None:
    phi[0], g[0], gamma[0] = clip_observed(y, omega, V, low, high, offset, span)


_evaluate = Elementwise(_evaluate_element, 8, 5)
_observe = Elementwise(_observe_element, 7, 3)


class Clip(Channel):
    """x = min(max(offset + z/span, low), high): what the hard tanh and the hard sigmoid are.

    Attributes:
        low, high: the bounds, each of which has a probability.
        offset: x at z = 0.
        span: increase of z along which that of x is 1.
    """

    low: float
    high: float
    offset: float
    span: float
    on_gpu = True

    @property
    def lines(self) -> tuple[tuple[float, float], ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """See ``Channel``."""
        return ((self.offset, 1.0 / self.span),)

    @property
    def _parameters(self) -> tuple[float, float, float, float]:
        return self.low, self.high, self.offset, self.span

    def evaluate(self, *, B: ArrayLike, A: ArrayLike, omega: ArrayLike, V: ArrayLike) -> ChannelValues:
        check_arguments(V, B=B, A=A, omega=omega)
        return ChannelValues(*_evaluate(B, A, omega, V, *self._parameters))

    @property
    def observe_formula(self) -> tuple[Elementwise, tuple[float, ...]]:
        return _observe, self._parameters

    def observe(self, y: ArrayLike, *, omega: ArrayLike, V: ArrayLike) -> ObservedValues:
        """Return the log-probability of a bound, the log-density of what is between them.

        Raises:
            ValueError: some ``y`` is beyond the bounds or not a number, or ``V`` is not finite and > 0.
        """
        check_arguments(V, y=y, omega=omega)
        wrong = ~((np.asarray(y) >= self.low) & (np.asarray(y) <= self.high))
        if np.any(wrong):
            raise ValueError(f"`y` must be in [{self.low:g}, {self.high:g}], got {np.extract(wrong, y)[0]}")
        return ObservedValues(*_observe(y, omega, V, *self._parameters))

    def __call__(self, z: ArrayLike) -> Any:
        return np.clip(self.offset + pre_activation(z) / self.span, self.low, self.high)[()]


@dataclass(frozen=True)
class HardTanh(Clip):
    """x = min(max(z, -1), 1). Observed outputs ±1 stand for z beyond ±1."""

    low, high, offset, span = -1.0, 1.0, 0.0, 1.0
    atoms = (-1.0, 1.0)
    interval = (-1.0, 1.0)
    kinks = (-1.0, 1.0)


@dataclass(frozen=True)
class HardSigmoid(Clip):
    """x = min(max(½ + z/(2 width), 0), 1). Observed outputs 0 and 1 stand for z beyond ∓width.

    Args:
        width: where the bounds are reached, finite and > 0.

    Raises:
        ValueError: the width outside its domain.
    """

    width: float = 2.5

    low, high, offset = 0.0, 1.0, 0.5
    atoms = (0.0, 1.0)
    interval = (0.0, 1.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "width", check_number("width", self.width, above=0.0))
        object.__setattr__(self, "kinks", (-self.width, self.width))

    @property
    def span(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        """See ``Clip``."""
        return 2.0 * self.width
