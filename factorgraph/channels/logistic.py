"""Stochastic binary output with the logistic probability: ±1 at a temperature, as in logistic regression."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.channels.base import Channel, ChannelValues, ObservedValues, check_arguments, pre_activation
from factorgraph.channels.sign import Sign, check_spins
from factorgraph.interface.arguments import check_instance, check_number
from factorgraph.numerics.elementwise import Elementwise, formula
from factorgraph.numerics.special import LOG_2PI

_WIDE = 16.0  # V above which steps grow with the distance from the bend of the sigmoid at 0
_FAR = 39.0  # deviations at which a Gaussian is no number of float64
_REACH = 10.0  # deviations within which all of a Gaussian lies
_DIRECT = 0.5  # step in z: relative errors of e^{-2π π/0.5} by the poles of the sigmoid at ±iπ
_MAPPED = 0.125  # step of the map: relative errors of e^{-2π (π/4)/0.125} by the growth of the Gaussian


@formula
def _mode(omega: float, V: float) -> tuple[float, float, float]:
    """The maximum z of log σ(z) - (z - omega)²/(2V), between omega and omega + V, with σ(-z) and σ(z) there."""
    low, high = omega, omega + V
    z = low
    for _ in range(1000):
        s, q = _sigmoids(z)
        excess = (z - omega) / V - s
        if excess < 0.0:
            low = z
        else:
            high = z
        trial = z - excess / (1.0 / V + s * q)
        if not low < trial < high:
            trial = 0.5 * (low + high)
        step = trial - z
        z = trial
        if abs(step) <= 1e-15 * max(abs(z), 1.0):
            break
    s, q = _sigmoids(z)
    return z, s, q


@formula
def _sigmoids(z: float) -> tuple[float, float]:
    """σ(-z) and σ(z)."""
    e = math.exp(-abs(z))
    large, small = 1.0 / (1.0 + e), e / (1.0 + e)
    return (small, large) if z > 0.0 else (large, small)


@formula
def _softplus(x: float) -> float:
    """log(1 + e^x)."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@formula
def _log_ratio(d: float, mode: float, s: float, q: float, V: float) -> float:
    """Log of σ(z) N(z; omega, V) at a distance d from its mode, relative to there; the mode's equation is used.

    Of the two equal forms of what σ bends down from its tangent, each is taken where it does not cancel.
    """
    c, rest = (s, q) if d > 0.0 else (q, s)
    a = abs(d)
    if c <= 0.5:
        bend = c * a + math.log1p(c * math.expm1(-a))
    else:
        bend = _softplus(a - abs(mode)) - _softplus(-abs(mode)) - rest * a
    return -bend - 0.5 * d * (d / V)


@formula
def _sums(mode: float, s: float, q: float, V: float) -> tuple[float, float, float]:
    """The integral relative to the mode, the mean of σ(-z), and minus its slope in omega, by the trapezoidal rule.

    The slope is a covariance with z over V; or, where V does not exceed the scale of the sigmoid much, E σ(1 - 2σ)
    + (E σ)² by parts, which keeps its relative accuracy where σ is small.

    The integrand is analytic about the real axis and vanishes at both ends: there the rule converges exponentially.
    Steps are in d = z - mode, or in t of z = sinh t where the Gaussian is wider than the bend of the sigmoid. A
    Gaussian k deviations left of the bend grows by e^{k² sin²a/(2 cos 2a)} at Im t = a: smaller steps keep the error.
    """
    deviation = math.sqrt(V)
    left, right = -_REACH * deviation, _REACH * deviation
    mapped = V > _WIDE
    if mapped:
        left, right = math.asinh(mode + left), math.asinh(mode + right)
        h = _MAPPED / (1.0 + 0.165 * max(-mode / deviation, 0.0))
    else:
        h = min(_DIRECT, 0.6 / math.sqrt(1.0 / V + s * q))
    points = int((right - left) / h) + 2
    h = (right - left) / (points - 1)
    sign = 1.0 if s > q else -1.0  # the covariance is that of the smaller one of σ(z) and σ(-z)
    total, shift, fall, growth, smaller, product, curvature = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(points):
        t = left + i * h
        z = math.sinh(t) if mapped else mode + t
        d = z - mode if mapped else t
        weight = math.exp(_log_ratio(d, mode, s, q, V)) * (math.cosh(t) if mapped else 1.0)
        below, e = _sigmoids(z)
        total += weight
        fall += weight * below
        shift += weight * d
        growth += weight * e
        smaller += weight * (e if s > q else below)
        product += weight * d * (e if s > q else below)
        curvature += weight * e * (1.0 - 2.0 * e)
    covariance = product / total - shift / total * (smaller / total)
    gamma = sign * covariance / V if mapped else curvature / total + (growth / total) ** 2
    return total * h, fall / total, gamma


@formula
def _rare(omega: float, V: float) -> tuple[float, float, float]:
    """log E σ(z), z ~ N(omega, V), for omega <= 0, with its derivative g in omega and Γ = -∂g.

    Where all of the mass lies left of the bend σ(z) is e^z, and e^{2z} a small correction to it.
    """
    mode, s, q = _mode(omega, V)
    below = V > _WIDE and mode < -_FAR * math.sqrt(V)
    if below or omega + 2.0 * V + _REACH * math.sqrt(V) < -_FAR:
        lost = 0.0 if below else math.exp(omega + 1.5 * V)
        return omega + 0.5 * V + math.log1p(-lost), 1.0 - lost, lost
    total, g, gamma = _sums(mode, s, q, V)
    pull = (mode - omega) / V if s * q * V > 1.0 else s  # equal; the smaller rounding error
    phi = -_softplus(-mode) - 0.5 * V * pull * pull + math.log(total) - 0.5 * (LOG_2PI + math.log(V))
    return phi, g, gamma


@formula
def logistic_both(omega: float, V: float) -> tuple[float, float, float, float, float, float]:
    """log p, ∂log p, -∂²log p and the same of q, with p = E σ(z), z ~ N(omega, V), q = 1 - p, and ∂log q as > 0.

    The smaller one of p and q is computed, and keeps its relative accuracy; the other one follows without cancellation.
    """
    rare, g, gamma = _rare(-abs(omega), V)
    chance = math.exp(rare)
    other = math.log1p(-chance)
    odds = math.exp(rare - other)
    slope = odds * g
    curvature = slope * slope + odds * (g * g - gamma)
    if omega > 0.0:
        return other, slope, curvature, rare, g, gamma
    return rare, g, gamma, other, slope, curvature


def _evaluate_element(
    B: float, omega: float, V: float, temperature: float, threshold: float,
    phi: Any, mean: Any, variance: Any, g: Any, gamma: Any,
) -> None:  # fmt: skip
    T = temperature
    log_p, g_p, gamma_p, log_q, g_q, gamma_q = logistic_both((omega - threshold) / T, V / T / T)
    x = 2.0 * B + log_p - log_q
    down, up = _sigmoids(x)
    phi[0] = max(B + log_p, -B + log_q) + math.log1p(math.exp(-abs(x)))
    mean[0], variance[0] = math.tanh(0.5 * x), 4.0 * up * down
    # p (e^B - e^-B) over p e^B + q e^-B, and so for p' and p'': by the output that the message favours.
    share = -math.expm1(-2.0 * abs(B))
    if B > 0.0:
        slope, bend = share * up * g_p, share * up * (g_p * g_p - gamma_p)
    else:
        slope, bend = -share * down * g_q, share * down * (g_q * g_q - gamma_q)
    g[0], gamma[0] = slope / T, (slope * slope - bend) / T / T


def _observe_element(
    y: float, omega: float, V: float, temperature: float, threshold: float, phi: Any, g: Any, gamma: Any
) -> None:
    T = temperature
    log_p, g_p, gamma_p, _, _, _ = logistic_both(y * (omega - threshold) / T, V / T / T)
    phi[0], g[0], gamma[0] = log_p, y * g_p / T, gamma_p / T / T


def _maximum_element(
    y: float, omega: float, V: float, temperature: float, threshold: float, phi: Any, g: Any, gamma: Any
) -> None:
    T = temperature
    v = V / T / T
    mode, s, q = _mode(y * (omega - threshold) / T, v)
    phi[0], g[0], gamma[0] = -_softplus(-mode) - 0.5 * v * s * s, y * s / T, s * q / (1.0 + v * s * q) / T / T


_evaluate = Elementwise(_evaluate_element, 5, 5)
_maximum = Elementwise(_maximum_element, 5, 3)
_observe = Elementwise(_observe_element, 5, 3)


@dataclass(frozen=True)
class Logistic(Channel):
    """x = ±1 with P(x = +1 | z) = 1/(1 + e^{-(z - threshold)/temperature}).

    Likelihoods and moments by the trapezoidal rule, with some 100 to 300 points: relative errors of phi and g of 1e-12.

    Args:
        temperature: scale of the noise, finite and > 0; ``Sign`` is the limit 0.
        threshold: where both outputs are equally likely, finite.

    Raises:
        ValueError: an argument is out of its range.
    """

    temperature: float = 1.0
    threshold: float = 0.0

    spin = True
    atoms = (-1.0, 1.0)
    interval = None
    on_gpu = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperature", check_number("temperature", self.temperature, above=0))
        object.__setattr__(self, "threshold", check_number("threshold", self.threshold))
        object.__setattr__(self, "kinks", (self.threshold,))

    def evaluate(self, *, B: ArrayLike, A: ArrayLike, omega: ArrayLike, V: ArrayLike) -> ChannelValues:
        check_arguments(V, B=B, A=A, omega=omega)
        return ChannelValues(*_evaluate(B, omega, V, self.temperature, self.threshold))

    @property
    def observe_formula(self) -> tuple[Elementwise, tuple[float, ...]]:
        return _observe, (self.temperature, self.threshold)

    def observe(self, y: ArrayLike, *, omega: ArrayLike, V: ArrayLike) -> ObservedValues:
        """Return log E 1/(1 + e^{-y (z - threshold)/temperature}).

        Raises:
            ValueError: some ``y`` is neither -1 nor +1, or ``V`` is not finite and > 0.
        """
        check_arguments(V, y=y, omega=omega)
        check_spins(y)
        return ObservedValues(*_observe(y, omega, V, self.temperature, self.threshold))

    def observe_maximum(self, y: ArrayLike, *, omega: ArrayLike, V: ArrayLike) -> ObservedValues:
        """See ``Channel``: of logistic regression, by Newton's method."""
        check_arguments(V, y=y, omega=omega)
        check_spins(y)
        return ObservedValues(*_maximum(y, omega, V, self.temperature, self.threshold))

    def __call__(self, z: ArrayLike) -> Any:
        return Sign()(np.subtract(pre_activation(z), self.threshold))

    def sample(self, z: ArrayLike, rng: np.random.Generator) -> Any:
        """Return sign(z - threshold + noise) with logistic noise."""
        values = pre_activation(z)
        check_instance("rng", rng, np.random.Generator, "a numpy.random.Generator")
        return self(values + self.temperature * rng.logistic(size=np.shape(z)))
