"""Output without its sign: x = |z|."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.channels.base import Channel, ChannelValues, ObservedValues, check_arguments, pre_activation
from factorgraph.channels.identity import log_normal_values
from factorgraph.channels.relu import SMALL, log_tilt, slab_values, two_weights
from factorgraph.numerics.elementwise import Elementwise, formula
from factorgraph.numerics.special import half_square_ratio, normal_tail, sech2


@formula
def absolute_values(B: float, A: float, omega: float, V: float) -> tuple[float, float, float, float, float]:
    """phi = log(W₊ + W₋), x̂ = Σ p x, Δ = Σ p v + p₊p₋(x₊ - x₋)², and the derivatives below, x and v those of a slab.

    With h(z) = B|z| - Az²/2, which is continuous, g = E h'(z) = p₊d₊ - p₋d₋, where d = B - A x, and
    Γ = -Cov(h'(z), z)/V = [A Σ p v - p₊p₋(d₊ + d₋)(x₊ + x₋)]/V: nothing is subtracted that a small message leaves.
    """
    q, q_lo = half_square_ratio(omega, 0.0, V, 0.0)
    e0, e0_lo, f0, x0, v0, d0, _ = slab_values(B, A, -omega, V, q, q_lo)
    e1, e1_lo, f1, x1, v1, d1, _ = slab_values(B, A, omega, V, q, q_lo)
    p0, p1, exponent, part0, part1 = two_weights(e0, e0_lo, f0, e1, e1_lo, f1)
    mean, spread = p0 * x0 + p1 * x1, p0 * v0 + p1 * v1
    if abs(B) * mean + 0.5 * A * (spread + p0 * x0 * x0 + p1 * x1 * x1) < SMALL:
        h = normal_tail(omega / math.sqrt(V), q)[0]
        h0, h1 = (h, 1.0 - h) if omega > 0.0 else (1.0 - h, h)
        phi = math.log1p(h0 * math.expm1(log_tilt(B, A, -omega, V)) + h1 * math.expm1(log_tilt(B, A, omega, V)))
    else:
        phi = exponent + (math.log(part0 + part1) - 0.5 * math.log1p(A * V))
    gamma = (A * spread - p0 * p1 * (d0 + d1) * (x0 + x1)) / V
    return phi, mean, spread + p0 * p1 * (x1 - x0) * (x1 - x0), p1 * d1 - p0 * d0, gamma


@formula
def absolute_observed(y: float, omega: float, V: float) -> tuple[float, float, float]:
    """log[N(y; omega, V) + N(-y; omega, V)], g = (y tanh u - omega)/V and Γ = (1 - y² sech² u/V)/V, u = y omega/V."""
    side = 1.0 if omega >= 0.0 else -1.0
    u = y * abs(omega) / V
    phi, _, _ = log_normal_values(y, abs(omega), V)
    g = side * (y * math.tanh(u) - abs(omega)) / V
    return phi + math.log1p(math.exp(-2.0 * u)), g, (1.0 - y * y / V * sech2(u)) / V


def _evaluate_element(
    B: float, A: float, omega: float, V: float, phi: Any, mean: Any, variance: Any, g: Any, gamma: Any
) -> None:
    phi[0], mean[0], variance[0], g[0], gamma[0] = absolute_values(B, A, omega, V)


def _observe_element(y: float, omega: float, V: float, phi: Any, g: Any, gamma: Any) -> None:
    phi[0], g[0], gamma[0] = absolute_observed(y, omega, V)


_evaluate = Elementwise(_evaluate_element, 4, 5)
_observe = Elementwise(_observe_element, 3, 3)


@dataclass(frozen=True)
class Absolute(Channel):
    """x = |z|: real phase retrieval. z and -z are alike, so that inference has to start away from omega = 0.

    The modulus of a complex z is no such channel: phi is a function of real scalars.
    """

    interval = (0.0, math.inf)
    kinks = (0.0,)
    on_gpu = True

    def evaluate(self, *, B: ArrayLike, A: ArrayLike, omega: ArrayLike, V: ArrayLike) -> ChannelValues:
        check_arguments(V, B=B, A=A, omega=omega)
        return ChannelValues(*_evaluate(B, A, omega, V))

    @property
    def observe_formula(self) -> tuple[Elementwise, tuple[float, ...]]:
        return _observe, ()

    def observe(self, y: ArrayLike, *, omega: ArrayLike, V: ArrayLike) -> ObservedValues:
        """Return log[N(y; omega, V) + N(-y; omega, V)].

        Raises:
            ValueError: some ``y`` is negative or not finite, or ``V`` is not finite and > 0.
        """
        check_arguments(V, y=y, omega=omega)
        wrong = ~(np.isfinite(y) & (np.asarray(y) >= 0))
        if np.any(wrong):
            raise ValueError(f"`y` must be finite and >= 0, got {np.extract(wrong, y)[0]}")
        return ObservedValues(*_observe(y, omega, V))

    def __call__(self, z: ArrayLike) -> Any:
        return np.abs(pre_activation(z))
