"""Binary output: x = sign(z)."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.activations import SIGN, Activation
from factorgraph.channels.base import Channel, ChannelValues, ObservedValues, check_arguments, pre_activation
from factorgraph.numerics.elementwise import Elementwise, formula
from factorgraph.numerics.special import (
    SQRT_HALF,
    half_square_ratio,
    log_cosh,
    normal_tail,
    sech2,
    tail_logarithm,
    upper_tail,
)
from factorgraph.runtime.device_arrays import on_device

# The bodies below work with t = |omega|/√V, q = t²/2 (twofold: q + q_lo), H(t) = h = f e^{-q}, and b = ±B with the sign
# flipped together with that of omega, so that Z = e^b (1 - h) + e^{-b} h = e^b [1 + h (e^{-2b} - 1)]. b < 0 is the hard
# case: the message contradicts the pre-activation and large exponents cancel.


@formula
def spin_terms(b: float, q: float, q_lo: float, f: float) -> tuple[float, float, float]:
    """(one, n, gap) with n/one = h (e^{-2b} - 1), both multiplied by e^{-gap} if gap > 0, which keeps them ≤ 1.

    gap is the exponent of n: -q for b > 0 and 2|b| - q, right to 1e-16 absolutely or relatively, for b < 0.
    """
    n = f * math.copysign(math.expm1(-2.0 * abs(b)), -b)
    gap = (max(-2.0 * b, 0.0) - q) - q_lo
    small = math.exp(-abs(gap))
    return (small, n, gap) if gap > 0.0 else (1.0, n * small, gap)


@formula
def _phi(b: float, t: float, q: float, q_lo: float, one: float, n: float, gap: float) -> float:
    """log Z; for small b as log cosh b + log(1 + tanh b · erf(t/√2)), in which no 1 is left to swallow b."""
    if abs(b) < 0.5:
        return log_cosh(b) + math.log1p(math.tanh(b) * math.erf(t * SQRT_HALF))
    if gap > 0.0:
        return ((-b - q) - q_lo) + math.log(one + n)
    return b + math.log1p(n)


@formula
def _field(b: float, t: float, q: float, q_lo: float, h: float, f: float) -> float:
    """b + ½ log[(1 - h)/h], the total field on the spin; ½ log[(1 - h)/h] = atanh(erf(t/√2))."""
    if t < 1.0:
        return b + math.atanh(math.erf(t * SQRT_HALF))
    return (b + 0.5 * q) + 0.5 * (q_lo + math.log1p(-h) - math.log(f))


@formula
def _slopes(t: float, k: float, excess: float, one: float, n: float) -> tuple[float, float]:
    """G = ∂_t phi and t + G, whose product is VΓ.

    With P = n/(one + n): G = N(t)(e^b - e^{-b})/Z = -P K and t + G = (1 - P) t - P (K - t). Where P → 1 the plain sum
    t + G = -1/t would cancel; in this form what is left of cancellation is the true zero of Γ.
    """
    total = one + n
    return -k * (n / total), (t * one - excess * n) / total


@formula
def sign_parts(
    B: float, omega: float, omega_lo: float, V: float, V_lo: float
) -> tuple[float, float, float, float, float, float, float, float, float, float, float, float]:
    """b, t, q, q_lo, h, f, field, one, n, gap, slope and shifted: what the bodies above need and give."""
    b = B if omega >= 0.0 else -B
    t = abs(omega) / math.sqrt(V)
    q, q_lo = half_square_ratio(omega, omega_lo, V, V_lo)
    f, k, excess, _ = upper_tail(t)
    h = f * math.exp(-q)
    one, n, gap = spin_terms(b, q, q_lo, f)
    slope, shifted = _slopes(t, k, excess, one, n)
    return b, t, q, q_lo, h, f, _field(b, t, q, q_lo, h, f), one, n, gap, slope, shifted


@formula
def sign_values(
    B: float, omega: float, omega_lo: float, V: float, V_lo: float
) -> tuple[float, float, float, float, float]:
    """phi = log Σ_{x=±1} e^{Bx} H(-x omega/√V) with its moments and derivatives [DL, eqs. 119-120].

    The paper's phi is greater by ½ log(2πV) - log 2: it does not normalise the Gaussian and averages over x.
    x̂ = tanh(B + atanh erf(omega/√(2V))), Δ = sech² of the same, g and Γ from ``_slopes``.
    omega + omega_lo and V + V_lo are twofold numbers, since omega²/(2V) has to be right absolutely.
    """
    b, t, q, q_lo, _, _, field, one, n, gap, slope, shifted = sign_parts(B, omega, omega_lo, V, V_lo)
    side, sd = (1.0 if omega >= 0.0 else -1.0), math.sqrt(V)
    phi = _phi(b, t, q, q_lo, one, n, gap)
    return phi, side * math.tanh(field), sech2(field), side * slope / sd, slope * shifted / sd / sd


@formula
def sign_observed(y: float, omega: float, omega_lo: float, V: float, V_lo: float) -> tuple[float, float, float]:
    """phi = log H(a), g = y K(a)/√V, Γ = K(a)(K(a) - a)/V with a = -y omega/√V."""
    sd = math.sqrt(V)
    a = -y * omega / sd
    q, _ = half_square_ratio(omega, omega_lo, V, V_lo)
    h, f, k, excess, _ = normal_tail(a, q)
    return tail_logarithm(a, q, h, f), y * k / sd, k * excess / sd / sd


def _evaluate_element(
    B: float, A: float, omega: float, V: float, phi: Any, mean: Any, variance: Any, g: Any, gamma: Any
) -> None:
    phi[0], mean[0], variance[0], g[0], gamma[0] = sign_values(B, omega, 0.0, V, 0.0)


def _observe_element(y: float, omega: float, V: float, phi: Any, g: Any, gamma: Any) -> None:
    phi[0], g[0], gamma[0] = sign_observed(y, omega, 0.0, V, 0.0)


_evaluate = Elementwise(_evaluate_element, 4, 5)
_observe = Elementwise(_observe_element, 3, 3)


def check_spins(y: ArrayLike) -> None:
    """Raise ValueError unless every ``y`` is -1 or +1; nothing is read back from a GPU."""
    if on_device(y):
        return
    wrong = ~(np.abs(y) == 1)
    if np.any(wrong):
        raise ValueError(f"`y` must be -1 or +1, got {np.extract(wrong, y)[0]}")


@dataclass(frozen=True)
class Sign(Channel):
    """x = sign(z) = ±1, with sign(0) = +1. A drops out; the constant -A/2 is left out of phi."""

    scale_free = True
    spin = True
    atoms = (-1.0, 1.0)
    interval = None
    kinks = (0.0,)
    on_gpu = True

    @property
    def nonlinearity(self) -> Activation:
        return SIGN

    def evaluate(self, *, B: ArrayLike, A: ArrayLike, omega: ArrayLike, V: ArrayLike) -> ChannelValues:
        check_arguments(V, B=B, A=A, omega=omega)
        return ChannelValues(*_evaluate(B, A, omega, V))

    @property
    def observe_formula(self) -> tuple[Elementwise, tuple[float, ...]]:
        return _observe, ()

    def observe(self, y: ArrayLike, *, omega: ArrayLike, V: ArrayLike) -> ObservedValues:
        """Return log H(-y omega/√V) [DL, eq. 21].

        Raises:
            ValueError: some ``y`` is neither -1 nor +1, or ``V`` is not finite and > 0.
        """
        check_arguments(V, y=y, omega=omega)
        check_spins(y)
        return ObservedValues(*_observe(y, omega, V))

    def __call__(self, z: ArrayLike) -> Any:
        values = pre_activation(z)
        one = np.result_type(values.dtype, np.float32).type(1)
        return np.where(values >= 0, one, -one)[()]
