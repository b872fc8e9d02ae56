"""Laplace prior: two-sided exponential."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.interface.arguments import check_number
from factorgraph.numerics.elementwise import Elementwise, check_real, formula
from factorgraph.numerics.special import add2, log_upper_tail, normal_tail, two_product
from factorgraph.priors.base import Prior, PriorValues, check_drawn

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


@formula
def exponential_side(H: float, G: float, scale: float) -> tuple[float, float, float, float]:
    """s = log of the mean of e^{Hw - Gw²/2} under the exponential law on w > 0, e^s or NaN, mean and variance.

    With c = 1/scale - H and a = c/√G the tilted law is a normal one of variance 1/G above a/√G. By parts
    e^{-s} = scale (c + G mean), of positive terms where c > 0; only there e^s is given.
    """
    p, p_lo = two_product(scale, H)
    c = -add2(p, p_lo, -1.0, 0.0)[0] / scale
    a = c / math.sqrt(G) if G > 0.0 else math.inf
    if a > 1e9:  # the curvature G is nothing: an exponential law of mean 1/c, K - a = 1/a to 1e-18
        mean, variance = 1.0 / c, 1.0 / c / c
    else:
        _, _, _, excess, spread = normal_tail(a, 0.5 * a * a)
        mean, variance = excess / math.sqrt(G), spread / G
    if c > 0.0:
        rate = scale * (c + G * mean)
        excess = scale * (G * mean - H)  # rate - 1
        return -(math.log1p(excess) if abs(excess) < 0.5 else math.log(rate)), 1.0 / rate, mean, variance
    s = _HALF_LOG_2PI - 0.5 * math.log(G) - math.log(scale) + (0.5 * a * a + log_upper_tail(a, 0.5 * a * a))
    return s, math.nan, mean, variance


def _evaluate_element(H: float, G: float, scale: float, psi: Any, mean: Any, variance: Any) -> None:
    s1, z1, x1, v1 = exponential_side(H, G, scale)
    s0, z0, x0, v0 = exponential_side(-H, G, scale)
    top = max(s0, s1)
    p0, p1 = math.exp(s0 - top), math.exp(s1 - top)
    total = p0 + p1
    # e^psi - 1 is the mean of z - 1 = scale z (±H - G x) of both sides. The odd parts cancel in H (z1 - z0), which is
    # H scale z1 z0 times the difference of two rates: of order H² - G is left, with an error relative to these terms.
    gap = scale * z1 * z0 * (2.0 * H - G * (x1 - x0))
    excess = 0.5 * scale * (H * gap - G * (x1 * z1 + x0 * z0))
    psi[0] = math.log1p(excess) if abs(excess) < 0.5 else top + math.log(0.5 * total)
    p0, p1 = p0 / total, p1 / total
    mean[0] = p1 * x1 - p0 * x0
    variance[0] = p0 * v0 + p1 * v1 + p0 * p1 * (x0 + x1) * (x0 + x1)


_evaluate = Elementwise(_evaluate_element, inputs=3, outputs=3)


def soft_threshold(H: Any, G: Any, scale: float, height: float, positive: bool) -> PriorValues:
    """Return max_w [log height - |w|/scale + Hw - Gw²/2], its place and the slope of that by H, for w > 0 or any w.

    w = (H - sign(w)/scale)/G where that has the right sign, else 0.
    """
    rest = (H if positive else np.abs(H)) - 1.0 / scale
    excess = np.where(rest > 0.0, rest, 0.0)
    if np.any((G <= 0.0) & (rest >= 0.0)):
        raise ValueError(f"`G` must be > 0 where the maximum is not at 0, got {np.min(G)!s}")
    size, slope = (np.divide(x, G, out=np.zeros(np.broadcast(x, G).shape), where=rest > 0.0) for x in (excess, 1.0))
    place = size if positive else np.where(H < 0.0, -size, size) + 0.0
    return PriorValues((math.log(height) + 0.5 * excess * size)[()], place[()], slope[()])


def check_side(H: Any, G: Any, scale: float, name: str) -> None:
    """Raise ValueError where the integral of ``exponential_side`` diverges; ``name`` is that of H in the message."""
    if not np.all(G >= 0.0):
        raise ValueError(f"`G` must be >= 0, got {np.min(G)!s}")
    if not np.all((G > 0.0) | (H * scale < 1.0)):
        raise ValueError(f"`G` must be > 0 where {name} >= 1/scale = {1.0 / scale:g}, got 0.0")


@dataclass(frozen=True)
class Laplace(Prior):
    """q(w) = e^{-|w|/scale}/(2 scale), of variance 2 scale².

    Args:
        scale: finite, > 0.

    Raises:
        ValueError: the scale outside its domain.
    """

    scale: float = 1.0
    on_gpu = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", check_number("scale", self.scale, above=0.0))

    def evaluate(self, *, H: ArrayLike, G: ArrayLike) -> PriorValues:
        """See ``Prior``; the mean is accurate relative to E|w|.

        Raises:
            ValueError: the integral diverges: G < 0, or G = 0 and |H| >= 1/scale.
        """
        check_real(H=H, G=G)
        check_side(np.abs(H), np.asarray(G), self.scale, "|H|")
        return PriorValues(*_evaluate(H, G, self.scale))

    def maximum(self, *, H: ArrayLike, G: ArrayLike) -> PriorValues:
        """See ``Prior``: the soft threshold of LASSO."""
        check_real(H=H, G=G)
        return soft_threshold(np.asarray(H), np.asarray(G), self.scale, 0.5 / self.scale, positive=False)

    @property
    def moments_formula(self) -> tuple[Elementwise, tuple[float, ...]]:
        return _evaluate, (self.scale,)

    @property
    def components(self) -> tuple[tuple[float, float], ...]:
        return ((0.0, 0.0), (0.0, self.scale), (0.0, 4.0 * self.scale))

    def sample(self, size: int | tuple[int, ...], rng: np.random.Generator) -> Any:
        check_drawn(size, rng)
        return rng.laplace(0.0, self.scale, size)
