"""Stochastic binary output: a noisy threshold unit."""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.channels.base import Channel, ChannelValues, ObservedValues, check_arguments, pre_activation
from factorgraph.channels.sign import Sign, check_spins, sign_observed, sign_values
from factorgraph.interface.arguments import check_instance, check_number, number_array, shown
from factorgraph.numerics.elementwise import Elementwise, formula
from factorgraph.numerics.special import add2, two_sum

_MIN_SLOPE = 1e-100


@formula
def _effective(
    omega: float, V: float, noise: float, noise_lo: float, threshold: float
) -> tuple[float, float, float, float]:
    """omega - threshold and V + 1/slope², each twofold."""
    shifted, shifted_lo = two_sum(omega, -threshold)
    total, total_lo = add2(V, 0.0, noise, noise_lo)
    return shifted, shifted_lo, total, total_lo


def _evaluate_element(
    B: float, A: float, omega: float, V: float, noise: float, noise_lo: float, threshold: float,
    phi: Any, mean: Any, variance: Any, g: Any, gamma: Any,
) -> None:  # fmt: skip
    m, m_lo, v, v_lo = _effective(omega, V, noise, noise_lo, threshold)
    phi[0], mean[0], variance[0], g[0], gamma[0] = sign_values(B, m, m_lo, v, v_lo)


def _observe_element(
    y: float, omega: float, V: float, noise: float, noise_lo: float, threshold: float, phi: Any, g: Any, gamma: Any
) -> None:
    m, m_lo, v, v_lo = _effective(omega, V, noise, noise_lo, threshold)
    phi[0], g[0], gamma[0] = sign_observed(y, m, m_lo, v, v_lo)


_evaluate = Elementwise(_evaluate_element, 7, 5)
_observe = Elementwise(_observe_element, 6, 3)


@dataclass(frozen=True)
class Probit(Channel):
    """x = ±1 with P(x = +1 | z) = Φ(slope · (z - threshold)).

    The same as the sign of z - threshold plus Gaussian noise of variance 1/slope²: all formulas are those of ``Sign``
    with omega - threshold for omega and V + 1/slope² for V.

    Args:
        slope: steepness, ≥ 1e-100 (smaller ones square to zero); infinite for a hard threshold.
        threshold: where both outputs are equally likely, finite.

    Raises:
        ValueError: an argument is out of its range.
    """

    slope: float
    threshold: float = 0.0

    spin = True
    atoms = (-1.0, 1.0)
    interval = None
    on_gpu = True

    def __post_init__(self) -> None:
        slope = number_array("slope", self.slope)
        if slope.ndim or not slope >= _MIN_SLOPE:
            raise ValueError(f"`slope` must be a number >= {_MIN_SLOPE}, inf allowed, got {shown(self.slope)}")
        object.__setattr__(self, "slope", float(slope))
        object.__setattr__(self, "threshold", check_number("threshold", self.threshold))
        object.__setattr__(self, "kinks", (self.threshold,))

    @cached_property
    def _parameters(self) -> tuple[float, float, float]:
        """1/slope² as a twofold number, and the threshold."""
        if math.isinf(self.slope):
            return 0.0, 0.0, self.threshold
        noise = 1 / Fraction(self.slope) ** 2
        return float(noise), float(noise - Fraction(float(noise))), self.threshold

    def evaluate(self, *, B: ArrayLike, A: ArrayLike, omega: ArrayLike, V: ArrayLike) -> ChannelValues:
        check_arguments(V, B=B, A=A, omega=omega)
        return ChannelValues(*_evaluate(B, A, omega, V, *self._parameters))

    @property
    def observe_formula(self) -> tuple[Elementwise, tuple[float, ...]]:
        return _observe, self._parameters

    def observe(self, y: ArrayLike, *, omega: ArrayLike, V: ArrayLike) -> ObservedValues:
        """Return log H(-y (omega - threshold)/√(V + 1/slope²)).

        Raises:
            ValueError: some ``y`` is neither -1 nor +1, or ``V`` is not finite and > 0.
        """
        check_arguments(V, y=y, omega=omega)
        check_spins(y)
        return ObservedValues(*_observe(y, omega, V, *self._parameters))

    def __call__(self, z: ArrayLike) -> Any:
        return Sign()(np.subtract(pre_activation(z), self.threshold))

    def sample(self, z: ArrayLike, rng: np.random.Generator) -> Any:
        """Return sign(z - threshold + noise)."""
        values = pre_activation(z)
        check_instance("rng", rng, np.random.Generator, "a numpy.random.Generator")
        return self(values + rng.standard_normal(np.shape(z)) / self.slope)
