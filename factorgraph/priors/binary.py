"""Prior of a spin: w = ±1 in a field."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.interface.arguments import check_number
from factorgraph.numerics.elementwise import Elementwise, check_real, formula
from factorgraph.numerics.special import log_2cosh, sech2
from factorgraph.priors.base import Prior, PriorValues, check_drawn


@formula
def log_cosh_ratio(H: float, field: float) -> float:
    """log[cosh(H + field) / cosh(field)], to relative accuracy also at its zeros H = 0 and H = -2 field.

    Near the zeros the ratio is 1 + 2 sinh(H/2) sinh(H/2 + field)/cosh(field), whose second term keeps its relative
    accuracy; the exponents of its factors are added by cases, without rounding H/2 + field. Away from the zeros
    log cosh x = |x| - log 2 + log(1 + e^{-2|x|}), and |H + field| - |field| is taken by the same cases.
    """
    a, h, f = 0.5 * H, abs(H), abs(field)
    aligned = H * field >= 0.0
    growth = h if aligned else max(h - 2.0 * f, 0.0)  # |H/2| + |H/2 + field| - |field|
    if growth < 1.0:
        s = a + field
        size = math.expm1(-h) * math.expm1(-2.0 * abs(s)) / (1.0 + math.exp(-2.0 * f)) * math.exp(growth)
        excess = size if a * s >= 0.0 else -size
        if abs(excess) <= 0.5:
            return math.log1p(excess)
    lead = h if aligned else max(-h, h - 2.0 * f)  # |H + field| - |field|
    return lead + (math.log1p(math.exp(-2.0 * abs(H + field))) - math.log1p(math.exp(-2.0 * f)))


def _evaluate_element(H: float, G: float, field: float, psi: Any, mean: Any, variance: Any) -> None:
    psi[0] = log_cosh_ratio(H, field)
    mean[0] = math.tanh(H + field)
    variance[0] = sech2(H + field)


def _moments_element(H: float, G: float, field: float, mean: Any, variance: Any) -> None:
    mean[0] = math.tanh(H + field)
    variance[0] = sech2(H + field)


_evaluate = Elementwise(_evaluate_element, inputs=3, outputs=3)
_moments = Elementwise(_moments_element, inputs=3, outputs=2)


@dataclass(frozen=True)
class Binary(Prior):
    """w = ±1 with probabilities ∝ e^{±field}: psi = log 2cosh(H + θ) - log 2cosh(θ), m = tanh(H + θ), σ = sech²(H + θ).

    G w² is a constant, left out of psi: G only takes part in broadcasting.

    Args:
        field: θ, any finite number.

    Raises:
        ValueError: the field is not a finite number.
    """

    field: float = 0.0

    spin = True
    on_gpu = True
    support = (-1.0, 1.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "field", check_number("field", self.field))

    @property
    def natural(self) -> tuple[float, float, float]:
        """See ``Prior``."""
        return self.field, 0.0, -log_2cosh(self.field)

    def evaluate(self, *, H: ArrayLike, G: ArrayLike = 0.0) -> PriorValues:
        """See ``Prior``."""
        check_real(H=H, G=G)
        return PriorValues(*_evaluate(H, G, self.field))

    def moments(self, *, H: ArrayLike, G: ArrayLike = 0.0) -> tuple[Any, Any]:
        """See ``Prior``; leaves out the logarithms."""
        check_real(H=H, G=G)
        m, variance = _moments(H, G, self.field)
        return m, variance

    @property
    def moments_formula(self) -> tuple[Elementwise, tuple[float, ...]]:
        return _moments, (self.field,)

    @property
    def components(self) -> tuple[tuple[float, float], ...]:
        return ((-1.0, 0.0), (1.0, 0.0))

    def sample(self, size: int | tuple[int, ...], rng: np.random.Generator) -> Any:
        check_drawn(size, rng)
        return np.where(rng.random(size) < 0.5 * (1.0 + math.tanh(self.field)), 1.0, -1.0)
