"""Prior of a variable that belongs to one of several normal populations."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from factorgraph.numerics.elementwise import check_real, formula, result_type
from factorgraph.priors.base import Prior, PriorValues, check_drawn, number_list
from factorgraph.priors.gaussian import tilted_normal
from factorgraph.runtime.compiled import njit

_SMALL = 0.5  # log-integrals below this are expanded about 0


@formula
def mixture_of_normals(H: float, G: float, weights: Any, means: Any, variances: Any) -> tuple[float, float, float]:
    """psi = log Σ p_j e^{s_j}, m = Σ π_j m_j, σ = Σ π_j [σ_j + (m_j - m)²], with s, m, σ of each tilted component."""
    top, widest, growth = -math.inf, 0.0, 0.0
    for j in range(weights.size):
        s, _, _ = tilted_normal(H, G, means[j], 1.0, variances[j])
        top, widest = max(top, s), max(widest, abs(s))
        growth += weights[j] * math.expm1(min(s, 1.0))
    total, mean = 0.0, 0.0
    for j in range(weights.size):
        s, m, _ = tilted_normal(H, G, means[j], 1.0, variances[j])
        p = weights[j] * math.exp(s - top)
        total += p
        mean += p * m
    mean /= total
    variance = 0.0
    for j in range(weights.size):
        s, m, v = tilted_normal(H, G, means[j], 1.0, variances[j])
        variance += weights[j] * math.exp(s - top) * (v + (m - mean) * (m - mean))
    psi = math.log1p(growth) if widest < _SMALL else top + math.log(total)
    return psi, mean, variance / total


@njit(cache=True, error_model="numpy")
def _fill(H: Any, G: Any, weights: Any, means: Any, variances: Any, out: Any) -> None:
    for j in range(H.size):
        out[0, j], out[1, j], out[2, j] = mixture_of_normals(H[j], G[j], weights, means, variances)


@dataclass(frozen=True)
class GaussianMixture(Prior):
    """q(w) = Σ_j p_j N(w; mean_j, variance_j).

    Args:
        weights: probabilities of the components up to a common factor, > 0 and at most 1e150; stored normalised.
        means: finite.
        variances: finite, > 0. A component at one point needs ``GaussBernoulli`` or ``Mixture``.

    Raises:
        ValueError: a parameter outside its domain, no components, or lengths that differ.
    """

    weights: Sequence[float]
    means: Sequence[float]
    variances: Sequence[float]
    _arrays: tuple[NDArray[np.float64], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        weights = number_list("weights", self.weights, above=0.0)
        means = number_list("means", self.means)
        variances = number_list("variances", self.variances, above=0.0)
        if not weights:
            raise ValueError(f"`weights` must be at least one, got {self.weights!r}")
        for name, values in (("means", means), ("variances", variances)):
            if len(values) != len(weights):
                raise ValueError(f"`{name}` must be as many as the {len(weights)} weights, got {len(values)}")
        total = math.fsum(weights)
        weights = tuple(p / total for p in weights)
        for name, values in (("weights", weights), ("means", means), ("variances", variances)):
            object.__setattr__(self, name, values)
        object.__setattr__(self, "_arrays", tuple(np.array(v) for v in (weights, means, variances)))

    def evaluate(self, *, H: ArrayLike, G: ArrayLike) -> PriorValues:
        """See ``Prior``; the mean is accurate relative to Σ π_j |m_j|.

        Raises:
            ValueError: G > -1/variance does not hold everywhere for the widest component.
        """
        check_real(H=H, G=G)
        dtype = result_type(H, G)
        H, G = np.broadcast_arrays(np.asarray(H, dtype=np.float64), np.asarray(G, dtype=np.float64))
        widest = max(self.variances)
        if not np.all(1.0 + G * widest > 0.0):
            raise ValueError(f"`G` must be > -1/variance = {-1.0 / widest:g}, got {np.min(G)!s}")
        out = np.empty((3, H.size))
        weights, means, variances = self._arrays
        _fill(H.flatten(), G.flatten(), weights, means, variances, out)
        with np.errstate(over="ignore", under="ignore"):
            values = out.reshape(3, *H.shape).astype(dtype, copy=False)
        return PriorValues(*(v[()] for v in values))

    @property
    def components(self) -> tuple[tuple[float, float], ...]:
        return tuple((m, v**0.5) for m, v in zip(self.means, self.variances, strict=True))

    def sample(self, size: int | tuple[int, ...], rng: np.random.Generator) -> Any:
        check_drawn(size, rng)
        chosen = rng.choice(len(self.weights), size, p=self.weights)
        _, means, variances = self._arrays
        return means[chosen] + np.sqrt(variances[chosen]) * rng.standard_normal(size)
