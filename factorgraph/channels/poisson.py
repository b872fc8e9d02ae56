"""Counts as observed outputs: y ~ Poisson(e^z)."""

import math
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.channels.base import Channel, ObservedValues, check_arguments, pre_activation
from factorgraph.interface.arguments import check_instance, real_array
from factorgraph.numerics.elementwise import Elementwise, formula
from factorgraph.numerics.special import LOG_2PI

_DROP = 40.0  # the integrand is nothing where its logarithm is this much below the maximum
_WALL = 4.0  # e^{-e^z} is nothing above
_NARROW = 4.0  # V below which steps of the Gaussian's own scale resolve e^{-e^z} too
_FAR = 39.0  # deviations at which a Gaussian is no number of float64
_MAX_RATE = 43.0  # logarithm of the largest mean of counts that can be drawn
_STEP = 0.125  # of the map: relative errors of e^{-2π (π/4)/0.125} = 1e-17 for a Gaussian centred at the wall


@formula
def _mode(y: float, omega: float, V: float) -> float:
    """The zero of y - e^z - (z - omega)/V, by Newton steps from the right, which never cross it."""
    z = min(omega + y * V, math.log(max(y + max(omega, 0.0) / V, 1.0)))
    for _ in range(1000):
        rate = math.exp(z)
        step = (y - rate - (z - omega) / V) / (rate + 1.0 / V)
        z += step
        if abs(step) <= 1e-15 * max(1.0, abs(z)):
            break
    return z


@formula
def _bend(d: float, z: float, rate: float) -> float:
    """rate (e^d - 1 - d) with e^z = rate e^d: a series where it would cancel, and nothing that overflows."""
    if abs(d) < 0.03:
        series = 0.5 + d * (1.0 / 6.0 + d * (1.0 / 24.0 + d * (1.0 / 120.0 + d * (1.0 / 720.0 + d / 5040.0))))
        return rate * d * d * series
    return rate * (math.expm1(d) - d) if d < 1.0 else (math.exp(z) - rate) - rate * d


@formula
def _log_ratio(d: float, z: float, rate: float, V: float) -> float:
    """Log of the integrand at z, a distance d from its mode, relative to there; the mode's equation has taken y out."""
    return -_bend(d, z, rate) - 0.5 * d * (d / V)


@formula
def _reach(side: float, width: float, mode: float, rate: float, V: float) -> float:
    """Distance from the mode at which the integrand is nothing; to the right at most that of the wall e^{-e^z}."""
    maximum = math.log(rate + _DROP + 2.0) + 2.0 - mode
    d = side * min(width, maximum) if side > 0.0 else side * width
    while _log_ratio(d, mode + d, rate, V) > -_DROP and d < maximum:
        d = min(1.2 * d, maximum)
    return d


@formula
def _direct_sums(mode: float, rate: float, V: float) -> tuple[float, float, float, float]:
    """The integral relative to the mode, and the means of d, e^z - rate and their product, for steps in z itself."""
    width = 1.0 / math.sqrt(rate + 1.0 / V)
    left, right = _reach(-1.0, width, mode, rate, V), _reach(1.0, width, mode, rate, V)
    points = int((right - left) / min(0.4 * width, 0.25)) + 2
    h = (right - left) / (points - 1)
    total, shift, growth, product = 0.0, 0.0, 0.0, 0.0
    for i in range(points):
        d = left + i * h
        weight, e = math.exp(_log_ratio(d, mode + d, rate, V)), rate * math.expm1(d)
        total += weight
        shift += weight * d
        growth += weight * e
        product += weight * d * e
    return total * h, shift / total, growth / total, product / total


@formula
def _mapped_sums(centre: float, mode: float, rate: float, V: float) -> tuple[float, float, float, float]:
    """The same for a wide Gaussian of mean ``centre`` that ends at the wall about z = 0, for z = t + 1 - e^{-t}.

    The steps grow with the distance to the left of the wall as the scale of the integrand does; the map is entire, and
    the integrand falls off at both ends for |Im t| < π/4, where the trapezoidal rule therefore converges as before. A
    Gaussian c deviations left of the wall grows by e^{c² sin²s/(2 cos 2s)} at Im t = s: smaller steps keep the error.
    """
    deviation = math.sqrt(V)
    h = _STEP / (1.0 + 0.165 * max(-centre / deviation, 0.0))
    left = -math.log(max(-mode, 0.0) + 10.0 * deviation + 2.0)
    points = int((_WALL - left) / h) + 2
    total, shift, growth, product = 0.0, 0.0, 0.0, 0.0
    for i in range(points):
        t = left + i * h
        stretch = math.exp(-t)
        z = t + 1.0 - stretch
        d = z - mode
        weight, e = (1.0 + stretch) * math.exp(_log_ratio(d, z, rate, V)), math.exp(z) - rate
        total += weight
        shift += weight * d
        growth += weight * e
        product += weight * d * e
    return total * h, shift / total, growth / total, product / total


@formula
def _log_counts(y: float, mode: float, rate: float, pull: float) -> float:
    """y log rate - rate - log y!; for many counts as -y (e^d - 1 - d) by Stirling's formula, with rate = y e^d."""
    if y < 16.0:
        return y * mode - rate - math.lgamma(y + 1.0)
    ratio = pull / y
    d = math.log1p(-ratio) if abs(ratio) < 0.5 else mode - math.log(y)
    square = 1.0 / y / y
    stirling = (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0))) / y
    return -_bend(d, mode, y) - 0.5 * (LOG_2PI + math.log(y)) - stirling


@formula
def poisson_observed(y: float, omega: float, V: float) -> tuple[float, float, float]:
    """phi = log E e^{yz - e^z}/y!, g = y - E e^z, Γ = Cov(e^z, z)/V, by the trapezoidal rule.

    The integrand is log-concave and entire, and vanishes at both ends: there the rule converges exponentially. Where
    all of the Gaussian of mean omega + yV lies left of the wall e^{-e^z}, E e^z is a small correction to it.
    """
    centre, deviation = omega + y * V, math.sqrt(V)
    below = V > _NARROW and centre < -_FAR * deviation
    if below or centre + V + 9.0 * deviation < -_FAR:
        lost = 0.0 if below else math.exp(centre + 0.5 * V)
        return y * (omega + 0.5 * y * V) - lost - math.lgamma(y + 1.0), y - lost, lost
    mode = _mode(y, omega, V)
    rate = math.exp(mode)
    if rate < 1.0 and V > _NARROW:
        total, shift, growth, product = _mapped_sums(centre, mode, rate, V)
    else:
        total, shift, growth, product = _direct_sums(mode, rate, V)
    wide = rate * V > 1.0
    pull = (mode - omega) / V if wide else y - rate  # equal; the smaller rounding error
    phi = math.log(total) + _log_counts(y, mode, rate, pull) - 0.5 * (V * pull * pull + LOG_2PI + math.log(V))
    g = pull + shift / V if wide and y > 0.0 else y - (rate + growth)  # E e^z by parts, or as it is
    return phi, g, (product - shift * growth) / V


def _observe_element(y: float, omega: float, V: float, phi: Any, g: Any, gamma: Any) -> None:
    phi[0], g[0], gamma[0] = poisson_observed(y, omega, V)


_observe = Elementwise(_observe_element, 3, 3)


@dataclass(frozen=True)
class Poisson(Channel):
    """y ~ Poisson(e^z), an output only."""

    interval = None

    def evaluate(self, *, B: ArrayLike, A: ArrayLike, omega: ArrayLike, V: ArrayLike) -> NoReturn:
        """There is none: raises ValueError."""
        raise ValueError("`channel` of a hidden layer must be another one than Poisson, which is an output only")

    @property
    def observe_formula(self) -> tuple[Elementwise, tuple[float, ...]]:
        return _observe, ()

    def observe(self, y: ArrayLike, *, omega: ArrayLike, V: ArrayLike) -> ObservedValues:
        """Return log E e^{yz - e^z}/y!.

        Raises:
            ValueError: some ``y`` is not an integer >= 0, or ``V`` is not finite and > 0.
        """
        check_arguments(V, y=y, omega=omega)
        y = np.asarray(y)
        wrong = ~(np.isfinite(y) & (y >= 0) & (y == np.floor(y)))
        if np.any(wrong):
            raise ValueError(f"`y` must be integers >= 0, got {np.extract(wrong, y)[0]}")
        return ObservedValues(*_observe(y, omega, V))

    def __call__(self, z: ArrayLike) -> Any:
        """Return the most probable count, ⌊e^z⌋."""
        return np.floor(np.exp(pre_activation(z)))

    def sample(self, z: ArrayLike, rng: np.random.Generator) -> Any:
        """Counts."""
        z = real_array("z", z)
        if np.any(z > _MAX_RATE):
            raise ValueError(f"`z` must be at most {_MAX_RATE} for counts that are drawn, got {np.max(z)}")
        check_instance("rng", rng, np.random.Generator, "a numpy.random.Generator")
        return np.asarray(rng.poisson(np.exp(z)), dtype=np.float64)[()]
