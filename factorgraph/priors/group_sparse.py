"""Group-sparse prior of vectors: the whole vector is zero, or normal."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from factorgraph.interface.arguments import check_number, real_array, shown
from factorgraph.numerics.elementwise import Elementwise
from factorgraph.priors.base import LARGEST, PriorValues, check_drawn
from factorgraph.priors.gauss_bernoulli import log_mixture

Array = NDArray[np.float64]

#: Of the terms that cancel in an eigenvalue, per dimension.
_ROUNDINGS = 16.0 * float(np.finfo(float).eps)


def _log_mixture_element(s: float, density: float, psi: Any) -> None:
    psi[0] = log_mixture(s, density, 1.0 - density)


_log_mixture = Elementwise(_log_mixture_element, inputs=2, outputs=1)


class Tilted(NamedTuple):
    """The slab under the messages e^{H·w - w·Gw/2}, and how probable it is, of vectors (...).

    Attributes:
        log_integral: s = log ∫ N(w; 0, Σ) e^{H·w - w·Gw/2} dw = e/2 - log det(1 + ΣG)/2, (...); NaN where it diverges.
        energy: e = H·(Σ⁻¹ + G)⁻¹H, (...).
        mean: (Σ⁻¹ + G)⁻¹H, (..., d).
        covariance: (Σ⁻¹ + G)⁻¹, (..., d, d).
        on: posterior weight π of the slab, (...).
        off: 1 - π, not by a subtraction.
    """

    log_integral: Array
    energy: Array
    mean: Array
    covariance: Array
    on: Array
    off: Array


@dataclass(frozen=True)
class GroupSparse:
    """q(w) = (1 - density) δ(w) + density N(w; 0, covariance) of vectors w in R^d: spike and slab of whole vectors.

    With the slab's integral s and mean m₁ and covariance C₁ under the messages, and its posterior weight π,
    psi = log(1 - density + density e^s), the mean is π m₁ and the covariance π C₁ + π(1 - π) m₁m₁ᵀ. For d = 1 this is
    ``GaussBernoulli``.

    Args:
        density: weight of the slab, in (0, 1].
        covariance: Σ of the slab, (d, d), symmetric and positive definite.

    Raises:
        ValueError: a parameter outside its domain.
    """

    density: float
    covariance: Sequence[Sequence[float]]

    spin = False

    def __post_init__(self) -> None:
        density = check_number("density", self.density)
        if not 0.0 < density <= 1.0:
            raise ValueError(f"`density` must be in (0, 1], got {self.density!r}")
        matrix = real_array("covariance", self.covariance)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
            raise ValueError(f"`covariance` must be a matrix (d, d), got {shown(self.covariance)}")
        root = np.sqrt(np.maximum(np.diagonal(matrix), 0.0))
        with np.errstate(all="ignore"):
            correlation = matrix / root / root[:, None]
        definite = bool(np.isfinite(correlation).all()) and np.linalg.eigvalsh(correlation)[0] > 0.0
        if not np.array_equal(matrix, matrix.T) or not definite or np.abs(matrix).max() > LARGEST:
            need = f"symmetric and positive definite, and at most {LARGEST:g} in size"
            raise ValueError(f"`covariance` must be {need}, got {shown(self.covariance)}")
        object.__setattr__(self, "density", density)
        object.__setattr__(self, "covariance", tuple(map(tuple, matrix.tolist())))

    @property
    def dimension(self) -> int:
        """d."""
        return len(self.covariance)

    @cached_property
    def root(self) -> Array:
        """L of Σ = L Lᵀ, (d, d), lower triangular."""
        return np.linalg.cholesky(np.array(self.covariance))

    def tilted(self, H: Array, G: Array) -> Tilted:
        """Return the slab given messages (..., d) and (..., d, d); see ``evaluate``.

        In u = L⁻¹w the slab is standard normal, and Σ⁻¹ + G becomes M = 1 + LᵀGL: no precision is inverted, so that G
        may be singular. M is taken in units of its diagonal, for components may be known to very different digits.
        Directions in which only the rounding of a large G is left are those of the slab alone.
        """
        L, d = self.root, self.dimension
        M = np.eye(d) + L.T @ G @ L
        size = np.sqrt(np.maximum(np.diagonal(M, axis1=-2, axis2=-1), np.finfo(float).tiny))
        scaled, root = M / (size[..., None] * size[..., None, :]), L / size[..., None, :]
        values, axes = np.linalg.eigh(scaled)
        alone = ((axes / size[..., None]) ** 2).sum(axis=-2)
        values = np.where(np.abs(values) > _ROUNDINGS * d, values, np.maximum(values, alone))
        proper = np.asarray((values > 0.0).all(axis=-1))
        values = np.where(proper[..., None], values, 1.0)
        half = (root @ axes) / np.sqrt(values)[..., None, :]
        covariance = half @ np.swapaxes(half, -1, -2)
        along = np.einsum("...ij,...i->...j", half, H)
        mean, energy = np.einsum("...ij,...j->...i", half, along), (along * along).sum(axis=-1)
        log_det = np.log(values).sum(axis=-1) + 2.0 * np.log(size).sum(axis=-1)
        s = np.where(proper, 0.5 * (energy - log_det), np.nan)
        log_odds = s + (math.log(self.density) - math.log1p(-self.density) if self.density < 1.0 else math.inf)
        return Tilted(s, energy, mean, covariance, expit(log_odds), expit(-log_odds))

    def evaluate(self, *, H: ArrayLike, G: ArrayLike) -> PriorValues:
        """Return log-partition psi = log ∫ dw q(w) e^{H·w - w·Gw/2} (...), mean (..., d) and covariance (..., d, d).

        Args:
            H: first natural parameters of the incoming messages, (..., d).
            G: their precision matrices, (..., d, d), symmetric; of any rank, and negative in directions where the
                slab's own precision outweighs it.

        Raises:
            ValueError: arrays of other shapes, or a G with which the slab's integral diverges.
        """
        H, G = real_array("H", H), real_array("G", G)
        d = self.dimension
        if H.shape[-1:] != (d,) or G.shape[-2:] != (d, d):
            raise ValueError(f"`H` and `G` must be of shapes (..., {d}) and (..., {d}, {d}), got {H.shape}, {G.shape}")
        slab = self.tilted(H, G)
        if np.any(np.isnan(slab.log_integral)):
            raise ValueError(f"`G` must be > -Σ⁻¹, the precision of the slab, got {shown(G.tolist())}")
        on, off = slab.on[..., None, None], slab.off[..., None, None]
        outer = slab.mean[..., :, None] * slab.mean[..., None, :]
        psi = _log_mixture(slab.log_integral, self.density)[0]
        return PriorValues(psi, on[..., 0] * slab.mean, on * (slab.covariance + off * outer))

    def log_partition(self, H: Array, G: Array) -> Array:
        """Return psi alone; NaN where the slab's integral diverges."""
        return _log_mixture(self.tilted(H, G).log_integral, self.density)[0]

    def moments(self, *, H: ArrayLike, G: ArrayLike) -> tuple[Any, Any]:
        """Return mean and covariance."""
        values = self.evaluate(H=H, G=G)
        return values.mean, values.variance

    def sample(self, size: int | tuple[int, ...], rng: np.random.Generator) -> Any:
        """Return independent draws from q, of shape (*size, d)."""
        check_drawn(size, rng)
        shape = (*size, self.dimension) if isinstance(size, (list, tuple)) else (size, self.dimension)
        slab = rng.standard_normal(shape) @ self.root.T
        return np.where(rng.random(shape[:-1])[..., None] < self.density, slab, 0.0)
