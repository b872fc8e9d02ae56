"""Counts as observed outputs: y ~ Poisson(e^z)."""

import math
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.channels.base import Channel, ObservedValues
from factorgraph.elementwise import Elementwise, formula
from factorgraph.special import LOG_2PI

_DROP = 40.0  # the integrand is nothing where its logarithm is this much below the maximum


@formula
def _mode(y: float, omega: float, V: float) -> float:
    """The zero of y - e^z - (z - omega)/V, by Newton steps from the right, which never cross it."""
    z = min(omega + y * V, 700.0)
    for _ in range(1000):
        rate = math.exp(z)
        step = (y - rate - (z - omega) / V) / (rate + 1.0 / V)
        z += step
        if abs(step) <= 1e-15 * max(1.0, abs(z)):
            break
    return z


@formula
def _log_ratio(d: float, rate: float, V: float) -> float:
    """Log of the integrand a distance d from its mode, relative to there; the mode's equation has taken y out."""
    return -rate * (math.expm1(d) - d) - 0.5 * d * d / V


@formula
def _reach(side: float, width: float, rate: float, V: float) -> float:
    d = side * width
    while _log_ratio(d, rate, V) > -_DROP:
        d *= 1.2
    return d


@formula
def poisson_observed(y: float, omega: float, V: float) -> tuple[float, float, float]:
    """phi = log E e^{yz - e^z}/y!, g = y - E e^z, Γ = Cov(e^z, z)/V, by the trapezoidal rule about the mode.

    The integrand is log-concave and entire, and vanishes at both ends: there the rule converges exponentially.
    """
    mode = _mode(y, omega, V)
    rate = math.exp(mode)
    width = 1.0 / math.sqrt(rate + 1.0 / V)
    left, right = _reach(-1.0, width, rate, V), _reach(1.0, width, rate, V)
    points = int((right - left) / min(0.4 * width, 0.3)) + 2
    h = (right - left) / (points - 1)
    total, shift, growth, product = 0.0, 0.0, 0.0, 0.0
    for i in range(points):
        d = left + i * h
        weight, e = math.exp(_log_ratio(d, rate, V)), math.expm1(d)
        total += weight
        shift += weight * d
        growth += weight * e
        product += weight * d * e
    shift, growth, product = shift / total, growth / total, product / total
    phi = math.log(total * h) + y * mode - rate - 0.5 * ((mode - omega) ** 2 / V + LOG_2PI + math.log(V))
    return phi - math.lgamma(y + 1.0), (mode - omega) / V - rate * growth, rate * (product - shift * growth) / V


def _observe_kernel(y: float, omega: float, V: float, phi: Any, g: Any, gamma: Any) -> None:
    phi[0], g[0], gamma[0] = poisson_observed(y, omega, V)


_observe = Elementwise(_observe_kernel, 3, 3)


@dataclass(frozen=True)
class Poisson(Channel):
    """y ~ Poisson(e^z), an output only."""

    interval = None

    def evaluate(self, *, B: ArrayLike, A: ArrayLike, omega: ArrayLike, V: ArrayLike) -> NoReturn:
        """There is none: raises ValueError."""
        raise ValueError("`channel` of a hidden layer must be another one than Poisson, which is an output only")

    @property
    def observation(self) -> tuple[Elementwise, tuple[float, ...]]:
        return _observe, ()

    def observe(self, y: ArrayLike, *, omega: ArrayLike, V: ArrayLike) -> ObservedValues:
        """log E e^{yz - e^z}/y!.

        Raises:
            ValueError: some ``y`` is not an integer >= 0.
        """
        y = np.asarray(y)
        wrong = ~(np.isfinite(y) & (y >= 0) & (y == np.floor(y)))
        if np.any(wrong):
            raise ValueError(f"`y` must be integers >= 0, got {np.extract(wrong, y)[0]}")
        return ObservedValues(*_observe(y, omega, V))

    def __call__(self, z: ArrayLike) -> Any:
        """The most probable count, ⌊e^z⌋."""
        return np.floor(np.exp(z))

    def sample(self, z: ArrayLike, rng: np.random.Generator) -> Any:
        """Counts."""
        return rng.poisson(np.exp(z)).astype(np.float64)
