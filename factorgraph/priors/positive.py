"""Normal variable that is positive: the truncated Gaussian."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from factorgraph.channels.pieces import log_slab_mean, slab
from factorgraph.interface.arguments import check_number
from factorgraph.numerics.elementwise import Elementwise, check_real
from factorgraph.numerics.special import log_normal_cdf_array
from factorgraph.priors.base import Prior, PriorValues, check_drawn
from factorgraph.priors.gaussian import Gaussian

_FARTHEST = 1e10


def _evaluate_element(H: float, G: float, mean: float, variance: float, psi: Any, m: Any, s: Any) -> None:
    e, e_lo, f, m[0], s[0], _, _ = slab(H, G, mean, 0.0, variance, 0.0, 0.0)
    change = abs(H) * m[0] + 0.5 * (G * s[0] + G * m[0] * m[0])
    psi[0] = log_slab_mean(H, G, mean, 0.0, variance, 0.0, 0.0, e, e_lo, f, change)


_evaluate = Elementwise(_evaluate_element, inputs=4, outputs=3)


@dataclass(frozen=True)
class Positive(Prior):
    """q(w) ∝ N(w; mean, variance) on w > 0.

    Args:
        mean: of the normal law before it is cut off, finite, at most 1e10 deviations from 0.
        variance: of that law, finite, > 0.

    Raises:
        ValueError: a parameter outside its domain.
    """

    mean: float = 0.0
    variance: float = 1.0
    on_gpu = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", check_number("mean", self.mean))
        object.__setattr__(self, "variance", check_number("variance", self.variance, above=0.0))
        if abs(self.mean) > _FARTHEST * self.variance**0.5:
            raise ValueError(f"`mean` must be at most {_FARTHEST:g} deviations from 0, got {self.mean!r}")

    def evaluate(self, *, H: ArrayLike, G: ArrayLike) -> PriorValues:
        """See ``Prior``.

        Raises:
            ValueError: G < 0 somewhere.
        """
        check_real(H=H, G=G)
        if not np.all(np.asarray(G) >= 0.0):
            raise ValueError(f"`G` must be >= 0, got {np.min(G)!s}")
        return PriorValues(*_evaluate(H, G, self.mean, self.variance))

    def maximum(self, *, H: ArrayLike, G: ArrayLike) -> PriorValues:
        """See ``Prior``: the mode of the normal law, or 0; ridge regression with coefficients that are not negative."""
        whole = Gaussian(self.mean, 1.0 / self.variance)
        psi, mode, slope = whole.maximum(H=H, G=G)
        inside, share = np.asarray(mode) > 0.0, log_normal_cdf_array(self.mean / math.sqrt(self.variance))
        at_zero = whole.log_height - 0.5 * self.mean**2 / self.variance
        values = (np.where(inside, psi, at_zero) - share, np.where(inside, mode, 0.0), np.where(inside, slope, 0.0))
        return PriorValues(*(x[()] for x in values))

    @property
    def moments_formula(self) -> tuple[Elementwise, tuple[float, ...]]:
        return _evaluate, (self.mean, self.variance)

    @property
    def components(self) -> tuple[tuple[float, float], ...]:
        values = self.evaluate(H=0.0, G=0.0)
        deviation = float(values.variance) ** 0.5
        return ((0.0, 0.0), (float(values.mean), deviation), (0.0, deviation))

    def sample(self, size: int | tuple[int, ...], rng: np.random.Generator) -> Any:
        check_drawn(size, rng)
        draws = np.empty(size)
        left = np.arange(draws.size)
        while left.size:
            values, kept = self._proposals(left.size, rng)
            draws.flat[left[kept]] = values[kept]
            left = left[~kept]
        return draws[()]

    def _proposals(self, count: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return draws from a law that is near to this one, and which of them to keep, at least three in ten.

        They are those of the normal law; or, where little of it is positive, have in deviations the density
        (a + x) e^{-ax - x²/2}, -a being the mean: small values are no differences of large ones then.
        """
        deviation = math.sqrt(self.variance)
        if self.mean >= -0.5 * deviation:
            values = self.mean + deviation * rng.standard_normal(count)
            return values, values > 0.0
        a, energy = -self.mean / deviation, 2.0 * rng.standard_exponential(count)
        x = energy / (a + np.sqrt(a * a + energy))
        return deviation * x, rng.random(count) * (a + x) < a
