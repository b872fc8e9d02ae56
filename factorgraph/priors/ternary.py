"""Prior of a variable that is -1, 0 or +1."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.interface.arguments import check_number
from factorgraph.numerics.elementwise import Elementwise, check_real, formula
from factorgraph.priors.base import Prior, PriorValues, check_drawn
from factorgraph.priors.binary import log_cosh_ratio
from factorgraph.priors.gauss_bernoulli import log_mixture
from factorgraph.priors.mixture import expm1_remainder

_SMALL = 0.5  # exponents below this are expanded about 0


@formula
def ternary_moments(H: float, G: float, mass: float) -> tuple[float, float]:
    """m and σ of -1, 0 and +1 by their posterior weights, relative to the largest one.

    σ = Σ π_a (a - m)² with a - m as sums of the weights of other values: nothing cancels where one is certain.
    """
    up, down = H - 0.5 * G, -H - 0.5 * G
    top = max(0.0, max(up, down))
    side = 0.5 * (1.0 - mass)
    zero, plus, minus = mass * math.exp(-top), side * math.exp(up - top), side * math.exp(down - top)
    total = zero + plus + minus
    zero, plus, minus = zero / total, plus / total, minus / total
    mean = (plus + minus) * math.tanh(H)
    from_plus, from_minus = zero + 2.0 * minus, zero + 2.0 * plus
    return mean, zero * mean * mean + plus * from_plus * from_plus + minus * from_minus * from_minus


@formula
def ternary_log_partition(H: float, G: float, mass: float) -> float:
    """log[mass + (1 - mass) e^s], s = log cosh H - G/2; to first order in small exponents the terms are added up."""
    up, down = H - 0.5 * G, -H - 0.5 * G
    if abs(up) > _SMALL or abs(down) > _SMALL:
        return log_mixture(log_cosh_ratio(H, 0.0) - 0.5 * G, 1.0 - mass, mass)
    return math.log1p(0.5 * (1.0 - mass) * (expm1_remainder(up) + expm1_remainder(down) - G))


def _evaluate_element(H: float, G: float, mass: float, psi: Any, mean: Any, variance: Any) -> None:
    psi[0] = ternary_log_partition(H, G, mass)
    mean[0], variance[0] = ternary_moments(H, G, mass)


def _moments_element(H: float, G: float, mass: float, mean: Any, variance: Any) -> None:
    mean[0], variance[0] = ternary_moments(H, G, mass)


_evaluate = Elementwise(_evaluate_element, inputs=3, outputs=3)
_moments = Elementwise(_moments_element, inputs=3, outputs=2)


@dataclass(frozen=True)
class Ternary(Prior):
    """w = 0 with probability ``mass``, ±1 else: psi = log[mass + (1 - mass) e^{-G/2} cosh H].

    Args:
        mass: of 0, in (0, 1).

    Raises:
        ValueError: the mass is not such a number.
    """

    mass: float = 1.0 / 3.0  # pyright: ignore[reportIncompatibleMethodOverride]

    support = (-1.0, 0.0, 1.0)
    on_gpu = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "mass", check_number("mass", self.mass, above=0.0, below=1.0))

    def with_mass(self, mass: float) -> "Ternary":
        """See ``Prior``."""
        return Ternary(mass)

    def evaluate(self, *, H: ArrayLike, G: ArrayLike) -> PriorValues:
        """See ``Prior``; psi is accurate relative to the largest exponent or -log of a weight, the mean to E|w|."""
        check_real(H=H, G=G)
        return PriorValues(*_evaluate(H, G, self.mass))

    def moments(self, *, H: ArrayLike, G: ArrayLike) -> tuple[Any, Any]:
        """See ``Prior``; leaves out the logarithms."""
        check_real(H=H, G=G)
        m, variance = _moments(H, G, self.mass)
        return m, variance

    @property
    def moments_formula(self) -> tuple[Elementwise, tuple[float, ...]]:
        return _moments, (self.mass,)

    @property
    def components(self) -> tuple[tuple[float, float], ...]:
        return ((-1.0, 0.0), (0.0, 0.0), (1.0, 0.0))

    def sample(self, size: int | tuple[int, ...], rng: np.random.Generator) -> Any:
        check_drawn(size, rng)
        signs = np.where(rng.random(size) < 0.5, 1.0, -1.0)
        return np.where(rng.random(size) < self.mass, 0.0, signs)
