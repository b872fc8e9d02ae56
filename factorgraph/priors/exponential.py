"""Exponential prior: a variable that is positive, and sparse in the sense of small."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.interface.arguments import check_number
from factorgraph.numerics.elementwise import Elementwise, check_real
from factorgraph.priors.base import Prior, PriorValues, check_drawn
from factorgraph.priors.laplace import check_side, exponential_side, soft_threshold


def _evaluate_element(H: float, G: float, scale: float, psi: Any, mean: Any, variance: Any) -> None:
    psi[0], _, mean[0], variance[0] = exponential_side(H, G, scale)


_evaluate = Elementwise(_evaluate_element, inputs=3, outputs=3)


@dataclass(frozen=True)
class Exponential(Prior):
    """q(w) = e^{-w/scale}/scale on w > 0, of mean ``scale`` and variance scale².

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
        """See ``Prior``.

        Raises:
            ValueError: the integral diverges: G < 0, or G = 0 and H >= 1/scale.
        """
        check_real(H=H, G=G)
        check_side(np.asarray(H), np.asarray(G), self.scale, "H")
        return PriorValues(*_evaluate(H, G, self.scale))

    def maximum(self, *, H: ArrayLike, G: ArrayLike) -> PriorValues:
        """See ``Prior``: the soft threshold on one side."""
        check_real(H=H, G=G)
        return soft_threshold(np.asarray(H), np.asarray(G), self.scale, 1.0 / self.scale, positive=True)

    @property
    def moments_formula(self) -> tuple[Elementwise, tuple[float, ...]]:
        return _evaluate, (self.scale,)

    @property
    def components(self) -> tuple[tuple[float, float], ...]:
        return ((0.0, 0.0), (0.0, self.scale), (0.0, 4.0 * self.scale))

    def sample(self, size: int | tuple[int, ...], rng: np.random.Generator) -> Any:
        check_drawn(size, rng)
        return rng.exponential(self.scale, size)
