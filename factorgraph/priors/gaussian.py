"""Gaussian prior, and the tilted normal integral that it shares with the spike-and-slab prior."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.interface.arguments import check_number
from factorgraph.numerics.elementwise import Elementwise, check_real, formula
from factorgraph.numerics.special import LOG_2PI, add2, divide2, multiply2, two_product
from factorgraph.priors.base import Prior, PriorValues, check_drawn
from factorgraph.runtime.device_arrays import on_device


@formula
def log_ratio(numerator: float, denominator: float, excess: float) -> float:
    """log(numerator/denominator) where numerator = denominator + excess, to relative accuracy in a small excess."""
    x = excess / denominator
    return math.log1p(x) if -0.5 < x < 1.0 else math.log(numerator / denominator)


@formula
def gaussian_moments(H: float, G: float, mean: float, a: float, b: float) -> tuple[float, float, float, float, float]:
    """Mean and variance of N(w; mean, b/a) e^{Hw - Gw²/2}, and E, D, D - a of ``tilted_normal``, without a logarithm.

    The prior's precision is the quotient a/b, so that neither a precision (b = 1) nor a variance (a = 1) is rounded by
    an inversion. D and the numerator of E are twofold numbers: their terms may be much larger than their difference.
    """
    bG, bG_lo = two_product(b, G)
    D, D_lo = add2(bG, bG_lo, a, 0.0)
    if mean == 0.0:  # nothing to cancel in the exponent
        centre = b * H / D
        return centre, b / D, 0.5 * H * centre, D, bG
    bH, bH_lo = two_product(b, H)
    am, am_lo = two_product(a, mean)
    centre, _ = add2(bH, bH_lo, am, am_lo)
    sum_, sum_lo = add2(bH, bH_lo, 2.0 * am, 2.0 * am_lo)
    gain, gain_lo = multiply2(sum_, sum_lo, H, 0.0)
    Gm, Gm_lo = two_product(G, mean)
    loss, loss_lo = multiply2(am, am_lo, Gm, Gm_lo)
    numerator, numerator_lo = add2(gain, gain_lo, -loss, -loss_lo)
    exponent, _ = divide2(numerator, numerator_lo, D, D_lo)
    return centre / D, b / D, 0.5 * exponent, D, bG


@formula
def tilted_normal(H: float, G: float, mean: float, a: float, b: float) -> tuple[float, float, float]:
    """log ∫ N(w; mean, b/a) e^{Hw - Gw²/2} dw and the mean and variance of the tilted law.

    With D = a + bG the log-integral is E - log(D/a) / 2, where

        E = [H (bH + 2a mean) - aG mean²] / (2D)

    a = 0 is the flat measure dw (mean then plays no part), for which log(D/a) becomes log(D/(2πb)).
    """
    m, variance, E, D, bG = gaussian_moments(H, G, mean, a, b)
    volume = log_ratio(D, a, bG) if a > 0.0 else math.log(D / (2.0 * math.pi * b))
    return E - 0.5 * volume, m, variance


def _evaluate_element(H: float, G: float, mean: float, precision: float, psi: Any, m: Any, variance: Any) -> None:
    psi[0], m[0], variance[0] = tilted_normal(H, G, mean, precision, 1.0)


_evaluate = Elementwise(_evaluate_element, inputs=4, outputs=3)


@dataclass(frozen=True)
class Gaussian(Prior):
    """q(w) = N(w; mean, 1/precision), with m = (H + λμ)/(G + λ) and σ = 1/(G + λ) for μ = mean, λ = precision.

    With precision 0 it is the flat measure dw, which has no normalisation: psi is then log ∫ e^{Hw - Gw²/2} dw.

    Args:
        mean: any finite number; without effect when the precision is 0.
        precision: finite, >= 0.

    Raises:
        ValueError: a parameter outside its domain.
    """

    mean: float = 0.0
    precision: float = 1.0
    on_gpu = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", check_number("mean", self.mean))
        object.__setattr__(self, "precision", check_number("precision", self.precision, minimum=0.0))

    @property
    def natural(self) -> tuple[float, float, float]:
        """See ``Prior``; c = 0 for the flat measure."""
        if self.precision == 0.0:
            return 0.0, 0.0, 0.0
        h = self.precision * self.mean
        return h, self.precision, self.log_height - 0.5 * h * self.mean

    @property
    def log_height(self) -> float:
        """Logarithm of the density at its mean; 0 for the flat measure."""
        return 0.5 * (math.log(self.precision) - LOG_2PI) if self.precision > 0.0 else 0.0

    def evaluate(self, *, H: ArrayLike, G: ArrayLike) -> PriorValues:
        """See ``Prior``; psi is a natural quantity of size H²/(G + λ) + λμ² + |log(1 + G/λ)| and may cross zero.

        Raises:
            ValueError: G + precision > 0 does not hold everywhere; nothing is read back from a GPU.
        """
        check_real(H=H, G=G)
        if not on_device(G) and not np.all(np.asarray(G, dtype=np.float64) + self.precision > 0.0):
            raise ValueError(
                f"`G` must be > -precision = {-self.precision:g} (the total precision must be > 0), got {np.min(G)!s}"
            )
        return PriorValues(*_evaluate(H, G, self.mean, self.precision))

    def maximum(self, *, H: ArrayLike, G: ArrayLike) -> PriorValues:
        """See ``Prior``: the mean and the variance."""
        psi, mean, variance = self.evaluate(H=H, G=G)
        return PriorValues(psi - 0.5 * (LOG_2PI + np.log(variance)), mean, variance)

    @property
    def moments_formula(self) -> tuple[Elementwise, tuple[float, ...]]:
        return _evaluate, (self.mean, self.precision)

    @property
    def components(self) -> tuple[tuple[float, float], ...]:
        return ((self.mean, self._deviation()),)

    def sample(self, size: int | tuple[int, ...], rng: np.random.Generator) -> Any:
        check_drawn(size, rng)
        return self.mean + self._deviation() * rng.standard_normal(size)

    def _deviation(self) -> float:
        if self.precision == 0.0:
            raise ValueError("`precision` must be > 0 for a prior that can be drawn from, got 0.0")
        return self.precision**-0.5
