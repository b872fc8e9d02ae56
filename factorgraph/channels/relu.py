"""Rectified linear output: x = max(0, z)."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.activations import RELU, Activation
from factorgraph.channels.base import (
    Channel,
    ChannelValues,
    ObservedValues,
    check_arguments,
    check_from,
    pre_activation,
)
from factorgraph.channels.identity import (
    gaussian_exponent,
    gaussian_pull,
    gaussian_rate,
    gaussian_tilt,
    log_normal_values,
)
from factorgraph.channels.sign import sign_observed
from factorgraph.numerics.elementwise import Elementwise, formula
from factorgraph.numerics.special import half_square_ratio, normal_tail

# The output is a mixture of a *spike* at 0 (z < 0), of weight W0 = H(t) with t = omega/√V, and a *slab*, the normal
# density of mean mu = (BV + omega)/(1 + AV) and variance s² = V/(1 + AV) on x > 0, of weight W1 = e^E H(a)/√(1 + AV)
# with a = -mu/s and E from ``gaussian_exponent``; E = a²/2 - q, q = t²/2. p0 and p1 are the normalised weights. |z| is
# a mixture of two such slabs, at omega and -omega.

SMALL = 4e-3  # below: ``log_tilt`` is exact to 1e-15; above: differences of logarithms lose less than 2.5 digits
NODES = (0.06943184420297371, 0.33000947820757187, 0.6699905217924281, 0.9305681557970262)  # Gauss-Legendre on [0, 1]
WEIGHTS = (0.17392742256872692, 0.32607257743127307, 0.32607257743127307, 0.17392742256872692)


@formula
def slab_position(B: float, A: float, omega: float, V: float) -> tuple[float, float]:
    """a = -(BV + omega)/√(V(1 + AV)) and s = √(V/(1 + AV))."""
    sd, root = math.sqrt(V), math.sqrt(1.0 + A * V)
    return -gaussian_tilt(B, omega, V, 0.0) / sd / root, sd / root


@formula
def log_tilt(B: float, A: float, omega: float, V: float) -> float:
    """log of the slab's mean of e^{Bx - Ax²/2} under B = A = 0, for messages that hardly change the slab.

    It is ∫_0^1 dr [B E_r x - A E_r x²/2] with the slab of (rB, rA), so that its error is relative to B and A, while
    logarithms of weights would leave 1e-16 absolute.
    """
    total = 0.0
    for i in range(4):
        a, s = slab_position(NODES[i] * B, NODES[i] * A, omega, V)
        _, _, _, excess, variance = normal_tail(a, 0.5 * a * a)
        total += WEIGHTS[i] * (B * s * excess - 0.5 * A * s * s * (variance + excess * excess))
    return total


@formula
def slab_values(
    B: float, A: float, omega: float, V: float, q: float, q_lo: float
) -> tuple[float, float, float, float, float, float, float]:
    """e, e_lo, f, x1, v1, d1, a: the slab's weight f e^{e + e_lo}/√(1 + AV), moments, and d1 = B - A x1.

    The exponent is E where the slab is mostly there, and where it is mostly cut off (a > 0) E - a²/2 = -q exactly.
    """
    a, s = slab_position(B, A, omega, V)
    E, E_lo = gaussian_exponent(B, A, omega, V, 0.0)
    # Beyond 1e16 deviations the twofold difference has no digits left; far inside the slab any large exponent does.
    _, f, k, excess, variance = normal_tail(a, max((E + q) + (E_lo + q_lo), 0.25 * a * a))
    x1, v1 = s * excess, s * s * variance
    # B - A x1 with x1 = s (K - a) for a slab that is mostly cut off, with x1 = mu + s K for one that is mostly there.
    if a > 0.0:
        return -q, -q_lo, f, x1, v1, B - A * x1, a
    rate = gaussian_rate(A, V, 0.0)[0]
    return E, E_lo, f, x1, v1, gaussian_pull(B, A, omega) / rate - A * s * k, a


@formula
def two_weights(
    e0: float, e0_lo: float, f0: float, e1: float, e1_lo: float, f1: float
) -> tuple[float, float, float, float, float]:
    """p0, p1 and log(W0 + W1) as (exponent, part0, part1): exponent + log(part0 + part1), for W = f e^{e + e_lo}.

    The exponents are compared before they are taken: equal ones, where large numbers cancel, cancel exactly.
    """
    delta = (e1 - e0) + (e1_lo - e0_lo)
    small = math.exp(-abs(delta))
    part0, part1 = (f0 * small, f1) if delta > 0.0 else (f0, f1 * small)
    total = part0 + part1
    return part0 / total, part1 / total, max(e0, e1), part0, part1


@formula
def relu_slopes(
    B: float, A: float, omega: float, V: float
) -> tuple[float, float, float, float, float, float, float, float, float, float, float]:
    """x̂ = p1 x1, Δ = p1 (v1 + p0 x1²), g = p1 d1, Γ = p1 [A v1 - p0 d1 (z0 + x1)]/V, and what phi is made of.

    x1, v1: mean and variance of the slab; d1 = B - A x1, the slab mean of ∂_x(Bx - Ax²/2); z0 = E|z| in the spike. g
    follows by parts: the boundary terms of spike and slab at z = 0 cancel, so they never appear, and g, Γ → 0 with B
    and A. For Γ = g² + p1 [d1 (omega - x1) + A v1]/V, the identity E z = omega + V g turns the part in d1 into a single
    product.
    """
    sd = math.sqrt(V)
    t = omega / sd
    q, q_lo = half_square_ratio(omega, 0.0, V, 0.0)
    h, f0, _, z0, _ = normal_tail(t, q)
    e0, e0_lo = (-q, -q_lo) if t > 0.0 else (0.0, 0.0)
    e1, e1_lo, f1, x1, v1, d1, _ = slab_values(B, A, omega, V, q, q_lo)
    root = math.sqrt(gaussian_rate(A, V, 0.0)[0])
    p0, p1, exponent, part0, part1 = two_weights(e0, e0_lo, f0, e1, e1_lo, f1 / root)
    gamma = p1 * (A * v1 - p0 * d1 * (sd * z0 + x1)) / V
    return p1 * x1, p1 * (v1 + p0 * x1 * x1), p1 * d1, gamma, x1, v1, t, h, exponent, part0, part1


@formula
def relu_values(B: float, A: float, omega: float, V: float) -> tuple[float, float, float, float, float]:
    """phi = log(W0 + W1), [DL, eq. 122] with a normalised Gaussian, and its derivatives."""
    mean, variance, g, gamma, x1, v1, t, h, exponent, part0, part1 = relu_slopes(B, A, omega, V)
    if abs(B) * x1 + 0.5 * A * (v1 + x1 * x1) < SMALL:
        phi = math.log1p((1.0 - h if t > 0.0 else h) * math.expm1(log_tilt(B, A, omega, V)))
    elif exponent == 0.0 and t <= 0.0:  # W0 = 1 - h is not to swallow a small W1
        phi = math.log1p(part1 - h)
    else:
        phi = exponent + math.log(part0 + part1)
    return phi, mean, variance, g, gamma


@formula
def relu_observed(y: float, omega: float, V: float) -> tuple[float, float, float]:
    """y = 0: log P(z < 0) = log H(omega/√V), that of a spin -1; y > 0: log N(y; omega, V)."""
    if y > 0.0:
        return log_normal_values(y, omega, V)
    return sign_observed(-1.0, omega, 0.0, V, 0.0)


def _evaluate_element(
    B: float, A: float, omega: float, V: float, phi: Any, mean: Any, variance: Any, g: Any, gamma: Any
) -> None:
    phi[0], mean[0], variance[0], g[0], gamma[0] = relu_values(B, A, omega, V)


def _moments_element(B: float, A: float, omega: float, V: float, mean: Any, variance: Any) -> None:
    mean[0], variance[0], _, _, _, _, _, _, _, _, _ = relu_slopes(B, A, omega, V)


def _derivatives_element(B: float, A: float, omega: float, V: float, g: Any, gamma: Any) -> None:
    _, _, g[0], gamma[0], _, _, _, _, _, _, _ = relu_slopes(B, A, omega, V)


def _observe_element(y: float, omega: float, V: float, phi: Any, g: Any, gamma: Any) -> None:
    phi[0], g[0], gamma[0] = relu_observed(y, omega, V)


_evaluate = Elementwise(_evaluate_element, 4, 5)
_moments = Elementwise(_moments_element, 4, 2)
_derivatives = Elementwise(_derivatives_element, 4, 2)
_observe = Elementwise(_observe_element, 3, 3)


@dataclass(frozen=True)
class ReLU(Channel):
    """x = max(0, z). The output has a point mass at 0, so an observed y = 0 stands for z < 0."""

    atoms = (0.0,)
    interval = (0.0, math.inf)
    kinks = (0.0,)
    on_gpu = True

    @property
    def nonlinearity(self) -> Activation:
        return RELU

    def evaluate(self, *, B: ArrayLike, A: ArrayLike, omega: ArrayLike, V: ArrayLike) -> ChannelValues:
        check_arguments(V, B=B, A=A, omega=omega)
        return ChannelValues(*_evaluate(B, A, omega, V))

    def moments(self, *, B: ArrayLike, A: ArrayLike, omega: ArrayLike, V: ArrayLike) -> tuple[Any, Any]:
        """See ``Channel``; leaves out phi."""
        check_arguments(V, B=B, A=A, omega=omega)
        mean, variance = _moments(B, A, omega, V)
        return mean, variance

    def derivatives(self, *, B: ArrayLike, A: ArrayLike, omega: ArrayLike, V: ArrayLike) -> tuple[Any, Any]:
        """See ``Channel``; leaves out phi."""
        check_arguments(V, B=B, A=A, omega=omega)
        g, gamma = _derivatives(B, A, omega, V)
        return g, gamma

    @property
    def observe_formula(self) -> tuple[Elementwise, tuple[float, ...]]:
        return _observe, ()

    def observe(self, y: ArrayLike, *, omega: ArrayLike, V: ArrayLike) -> ObservedValues:
        """Return log H(omega/√V) for y = 0, log N(y; omega, V) for y > 0.

        Raises:
            ValueError: some ``y`` is negative or not finite, or ``V`` is not finite and > 0.
        """
        check_arguments(V, y=y, omega=omega)
        check_from(y, 0.0)
        return ObservedValues(*_observe(y, omega, V))

    def __call__(self, z: ArrayLike) -> Any:
        return np.maximum(pre_activation(z), 0)
