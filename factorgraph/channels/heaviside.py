"""Binary output 0 or 1: x = θ(z)."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.channels.base import Channel, ChannelValues, ObservedValues, check_arguments
from factorgraph.channels.sign import Sign, sign_observed, sign_parts
from factorgraph.numerics.elementwise import Elementwise, formula
from factorgraph.numerics.special import sech2


@formula
def heaviside_values(B: float, A: float, omega: float, V: float) -> tuple[float, float, float, float, float]:
    """phi = log[H(t) + e^c H(-t)] with c = B - A/2, t = omega/√V: a spin s = 2x - 1 in field c/2, without e^{c/2}.

    x̂ = (1 + ŝ)/2, Δ = Δ_s/4, and g and Γ are the spin's.
    """
    c = B - 0.5 * A
    b, _, q, q_lo, h, _, field, one, n, gap, slope, shifted = sign_parts(0.5 * c, omega, 0.0, V, 0.0)
    side = 1.0 if omega >= 0.0 else -1.0
    if abs(c) < 1.0:
        phi = math.log1p((1.0 - h if side > 0.0 else h) * math.expm1(c))
    elif gap > 0.0:
        phi = (((0.5 * c - b) - q) - q_lo) + math.log(one + n)
    else:
        phi = (0.5 * c + b) + math.log1p(n)
    sd = math.sqrt(V)
    odds = math.exp(-2.0 * abs(field))
    mean = (1.0 if side * field > 0.0 else odds) / (1.0 + odds)
    return phi, mean, 0.25 * sech2(field), side * slope / sd, slope * shifted / V


def _evaluate_element(
    B: float, A: float, omega: float, V: float, phi: Any, mean: Any, variance: Any, g: Any, gamma: Any
) -> None:
    phi[0], mean[0], variance[0], g[0], gamma[0] = heaviside_values(B, A, omega, V)


def _observe_element(y: float, omega: float, V: float, phi: Any, g: Any, gamma: Any) -> None:
    phi[0], g[0], gamma[0] = sign_observed(2.0 * y - 1.0, omega, 0.0, V, 0.0)


_evaluate = Elementwise(_evaluate_element, 4, 5)
_observe = Elementwise(_observe_element, 3, 3)


@dataclass(frozen=True)
class Heaviside(Channel):
    """x = 1 for z >= 0, else 0."""

    scale_free = True
    atoms = (0.0, 1.0)
    interval = None
    kinks = (0.0,)
    on_gpu = True

    def evaluate(self, *, B: ArrayLike, A: ArrayLike, omega: ArrayLike, V: ArrayLike) -> ChannelValues:
        check_arguments(V, B=B, A=A, omega=omega)
        return ChannelValues(*_evaluate(B, A, omega, V))

    @property
    def observe_formula(self) -> tuple[Elementwise, tuple[float, ...]]:
        return _observe, ()

    def observe(self, y: ArrayLike, *, omega: ArrayLike, V: ArrayLike) -> ObservedValues:
        """Return log H(∓omega/√V), upper sign for y = 1.

        Raises:
            ValueError: some ``y`` is neither 0 nor 1, or ``V`` is not finite and > 0.
        """
        check_arguments(V, y=y, omega=omega)
        wrong = ~((np.asarray(y) == 0) | (np.asarray(y) == 1))
        if np.any(wrong):
            raise ValueError(f"`y` must be 0 or 1, got {np.extract(wrong, y)[0]}")
        return ObservedValues(*_observe(y, omega, V))

    def __call__(self, z: ArrayLike) -> Any:
        return 0.5 * (1 + Sign()(z))
