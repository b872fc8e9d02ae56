"""Spike-and-slab (Gauss-Bernoulli) prior: zero, or a normal variable."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.interface.arguments import check_number
from factorgraph.numerics.elementwise import Elementwise, check_real, formula
from factorgraph.priors.base import Prior, PriorValues, check_drawn
from factorgraph.priors.gaussian import gaussian_moments, log_ratio
from factorgraph.runtime.device_arrays import on_device


@formula
def log_mixture(s: float, density: float, spike: float) -> float:
    """log[spike + density e^s], spike = 1 - density, to relative accuracy about its zero s = 0, for any s."""
    if s <= 1.0:
        excess = density * math.expm1(s)
        return math.log1p(excess) if excess > -0.5 else math.log(spike + density * math.exp(s))
    excess = density * math.exp(s) if s < 700.0 else math.inf
    if excess < 0.5:
        return math.log1p(density * math.expm1(s))
    return s + math.log(density + spike * math.exp(-s))


@formula
def spike_and_slab(
    H: float, G: float, density: float, mean: float, slab: float
) -> tuple[float, float, float, float, float]:
    """m and σ, and E, D, D - 1 of the slab integral s = E - log(D)/2; no logarithm, since only e^{-s} is needed.

    The posterior weights of slab and spike are each a quotient, neither is one minus the other.
    """
    slab_mean, slab_variance, E, D, excess = gaussian_moments(H, G, mean, 1.0, slab)
    small, spike = math.exp(-abs(E)), (1.0 - density) * math.sqrt(D)
    on, off = (density, spike * small) if E > 0.0 else (density * small, spike)
    on, off = on / (on + off), off / (on + off)
    return on * slab_mean, on * (slab_variance + off * slab_mean * slab_mean), E, D, excess


def _evaluate_element(
    H: float, G: float, density: float, mean: float, slab: float, psi: Any, m: Any, variance: Any
) -> None:
    m[0], variance[0], E, D, excess = spike_and_slab(H, G, density, mean, slab)
    psi[0] = log_mixture(E - 0.5 * log_ratio(D, 1.0, excess), density, 1.0 - density)


def _moments_element(H: float, G: float, density: float, mean: float, slab: float, m: Any, variance: Any) -> None:
    m[0], variance[0], _, _, _ = spike_and_slab(H, G, density, mean, slab)


_evaluate = Elementwise(_evaluate_element, inputs=5, outputs=3)
_moments = Elementwise(_moments_element, inputs=5, outputs=2)


@dataclass(frozen=True)
class GaussBernoulli(Prior):
    """q(w) = (1 - density) δ(w) + density N(w; mean, variance).

    With slab integral s = log ∫ N(w; mean, variance) e^{Hw - Gw²/2} dw and posterior weight π of the slab,
    psi = log(1 - density + density e^s), m = π m₁ and σ = π σ₁ + π(1 - π) m₁².

    Args:
        density: weight of the slab, in (0, 1]; 1 is the Gaussian prior.
        mean: mean of the slab, finite.
        variance: variance of the slab, finite, > 0.

    Raises:
        ValueError: a parameter outside its domain.
    """

    density: float
    mean: float = 0.0
    variance: float = 1.0
    on_gpu = True

    def __post_init__(self) -> None:
        density = check_number("density", self.density)
        if not 0.0 < density <= 1.0:
            raise ValueError(f"`density` must be in (0, 1], got {self.density!r}")
        object.__setattr__(self, "density", density)
        object.__setattr__(self, "mean", check_number("mean", self.mean))
        object.__setattr__(self, "variance", check_number("variance", self.variance, above=0.0))

    @property
    def mass(self) -> float:
        """See ``Prior``."""
        return 1.0 - self.density

    def with_mass(self, mass: float) -> "GaussBernoulli":
        """See ``Prior``."""
        return replace(self, density=1.0 - mass)

    def evaluate(self, *, H: ArrayLike, G: ArrayLike) -> PriorValues:
        """See ``Prior``.

        Raises:
            ValueError: G > -1/variance does not hold everywhere: the slab integral diverges.
        """
        check_real(H=H, G=G)
        self._check(G)
        return PriorValues(*_evaluate(H, G, self.density, self.mean, self.variance))

    def moments(self, *, H: ArrayLike, G: ArrayLike) -> tuple[Any, Any]:
        """See ``Prior``; raises as ``evaluate`` does, and leaves out the logarithms."""
        check_real(H=H, G=G)
        self._check(G)
        m, variance = _moments(H, G, self.density, self.mean, self.variance)
        return m, variance

    def _check(self, G: ArrayLike) -> None:
        """Nothing is read back from a GPU."""
        if on_device(G):
            return
        if not 1.0 + np.min(np.asarray(G, dtype=np.float64), initial=math.inf) * self.variance > 0.0:
            raise ValueError(f"`G` must be > -1/variance = {-1.0 / self.variance:g}, got {np.min(G)!s}")

    @property
    def moments_formula(self) -> tuple[Elementwise, tuple[float, ...]]:
        return _moments, (self.density, self.mean, self.variance)

    @property
    def components(self) -> tuple[tuple[float, float], ...]:
        return ((0.0, 0.0), (self.mean, self.variance**0.5))

    def sample(self, size: int | tuple[int, ...], rng: np.random.Generator) -> Any:
        check_drawn(size, rng)
        slab = self.mean + self.variance**0.5 * rng.standard_normal(size)
        return np.where(rng.random(size) < self.density, slab, 0.0)
