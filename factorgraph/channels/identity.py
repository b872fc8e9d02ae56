"""Linear output: x = z + Gaussian noise."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.activations import LINEAR, Activation
from factorgraph.channels.base import (
    Channel,
    ChannelValues,
    ObservedValues,
    check_arguments,
    check_from,
    pre_activation,
)
from factorgraph.interface.arguments import check_instance, check_number
from factorgraph.numerics.elementwise import Elementwise, formula
from factorgraph.numerics.special import LOG_2PI, add2, divide2, multiply2, two_product, two_sum


@formula
def gaussian_rate(A: float, V: float, V_lo: float) -> tuple[float, float]:
    """1 + AV as a twofold number: the factor by which e^{-Ax²/2} narrows N(x; omega, V)."""
    p, p_lo = multiply2(A, 0.0, V, V_lo)
    return add2(p, p_lo, 1.0, 0.0)


@formula
def gaussian_tilt(B: float, omega: float, V: float, V_lo: float) -> float:
    """BV + omega, correctly rounded also where the terms cancel."""
    p, p_lo = multiply2(B, 0.0, V, V_lo)
    return add2(p, p_lo, omega, 0.0)[0]


@formula
def gaussian_pull(B: float, A: float, omega: float) -> float:
    """B - A omega, correctly rounded also where the terms cancel."""
    p, p_lo = two_product(A, omega)
    return add2(B, 0.0, -p, -p_lo)[0]


@formula
def gaussian_exponent(B: float, A: float, omega: float, V: float, V_lo: float) -> tuple[float, float]:
    """E = [B(BV + 2 omega) - A omega²] / (2(1 + AV)) as a twofold number.

    ∫ e^{Bx - Ax²/2} N(x; omega, V) dx = e^E / √(1 + AV). The three terms reach 1e20 and may cancel to O(1).
    """
    c, c_lo = multiply2(B, 0.0, V, V_lo)
    c, c_lo = add2(c, c_lo, 2.0 * omega, 0.0)
    c, c_lo = multiply2(c, c_lo, B, 0.0)
    d, d_lo = two_product(omega, omega)
    d, d_lo = multiply2(d, d_lo, A, 0.0)
    c, c_lo = add2(c, c_lo, -d, -d_lo)
    rate, rate_lo = gaussian_rate(A, V, V_lo)
    return divide2(c, c_lo, 2.0 * rate, 2.0 * rate_lo)


@formula
def identity_values(
    B: float, A: float, omega: float, V: float, V_lo: float
) -> tuple[float, float, float, float, float]:
    """phi = E - ½ log(1 + AV), x̂ = (BV + omega)/(1 + AV), Δ = V/(1 + AV), g = (B - A omega)/(1 + AV), Γ = A/(1 + AV).

    V, here with its rounding error V_lo, is the variance of x: that of z plus that of the noise.
    """
    rate = gaussian_rate(A, V, V_lo)[0]
    phi = gaussian_exponent(B, A, omega, V, V_lo)[0] - 0.5 * math.log1p(A * V)
    mean = gaussian_tilt(B, omega, V, V_lo) / rate
    return phi, mean, V / rate, gaussian_pull(B, A, omega) / rate, A / rate


@formula
def log_normal_values(y: float, omega: float, V: float) -> tuple[float, float, float]:
    """log N(y; omega, V) with g = (y - omega)/V and Γ = 1/V [DL, eq. 21]."""
    g = (y - omega) / V
    return -0.5 * (LOG_2PI + math.log(V)) - 0.5 * (y - omega) * g, g, 1.0 / V


def _evaluate_element(
    B: float, A: float, omega: float, V: float, noise: float, phi: Any, mean: Any, variance: Any, g: Any, gamma: Any
) -> None:
    total, total_lo = two_sum(V, noise)
    phi[0], mean[0], variance[0], g[0], gamma[0] = identity_values(B, A, omega, total, total_lo)


def _observe_element(y: float, omega: float, V: float, noise: float, phi: Any, g: Any, gamma: Any) -> None:
    phi[0], g[0], gamma[0] = log_normal_values(y, omega, V + noise)


_evaluate = Elementwise(_evaluate_element, 5, 5)
_observe = Elementwise(_observe_element, 4, 3)


@dataclass(frozen=True)
class Identity(Channel):
    """x = z + N(0, noise): a linear unit, noiseless by default.

    Args:
        noise: variance of the additive noise, finite and ≥ 0.

    Raises:
        ValueError: ``noise`` is negative or not finite.
    """

    noise: float = 0.0
    on_gpu = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "noise", check_number("noise", self.noise, minimum=0.0))

    @property
    def nonlinearity(self) -> Activation:
        return LINEAR

    def evaluate(self, *, B: ArrayLike, A: ArrayLike, omega: ArrayLike, V: ArrayLike) -> ChannelValues:
        check_arguments(V, B=B, A=A, omega=omega)
        return ChannelValues(*_evaluate(B, A, omega, V, self.noise))

    @property
    def observe_formula(self) -> tuple[Elementwise, tuple[float, ...]]:
        return _observe, (self.noise,)

    def observe(self, y: ArrayLike, *, omega: ArrayLike, V: ArrayLike) -> ObservedValues:
        """Return log N(y; omega, V + noise).

        Raises:
            ValueError: ``y`` is not finite, or ``V`` is not finite and > 0.
        """
        check_arguments(V, y=y, omega=omega)
        check_from(y, -math.inf)
        return ObservedValues(*_observe(y, omega, V, self.noise))

    def observe_maximum(self, y: ArrayLike, *, omega: ArrayLike, V: ArrayLike) -> ObservedValues:
        """See ``Channel``: the derivatives are those of the likelihood.

        Raises:
            ValueError: there is no noise.
        """
        if self.noise == 0.0:
            raise ValueError("`noise` must be > 0 for a maximum, got 0.0")
        phi, g, gamma = self.observe(y, omega=omega, V=V)
        return ObservedValues(phi + 0.5 * np.log1p(np.asarray(V) / self.noise), g, gamma)

    def __call__(self, z: ArrayLike) -> Any:
        return pre_activation(z)[()]

    def sample(self, z: ArrayLike, rng: np.random.Generator) -> Any:
        """Return z plus noise."""
        values = pre_activation(z)
        check_instance("rng", rng, np.random.Generator, "a numpy.random.Generator")
        return values + math.sqrt(self.noise) * rng.standard_normal(np.shape(z))
