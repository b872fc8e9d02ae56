"""The prior of a vector as a factor of its own: its message has the exact moments of the belief."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from factorgraph.factors.base import Array, Kind, Parameters
from factorgraph.interface.errors import ModelError
from factorgraph.messages.natural import Incoming, Outgoing
from factorgraph.messages.ranges import min_variance
from factorgraph.priors.group_sparse import GroupSparse

#: What stands for no weight of the slab.
_POINT = 1e-100


@dataclass(frozen=True)
class VectorSite(Kind):
    """A prior that is no Gaussian, on one vector."""

    prior: GroupSparse
    name = "Prior"

    @property
    def dimensions(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """One vector."""
        return (self.prior.dimension,)

    @property
    def spins(self) -> tuple[bool, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """None, on any slot."""
        return (False,) * self.prior.dimension**2

    @property
    def projects(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """All."""
        return tuple(range(len(self.spins)))

    def rule(self, parameters: Parameters, incoming: Incoming, *, maximum: bool = False) -> Outgoing:
        """Return C⁻¹ - G and C⁻¹ m - H of the belief's mean m and covariance C; nothing to an observed vector, or where
        the law received outweighs the slab.

        With the slab's weight π and its energy e, C⁻¹ = [Σ⁻¹ + G - κ HHᵀ]/π, κ = (1 - π)/(1 + (1 - π) e), so that
        A = [Σ⁻¹ + (1 - π) G - κ HHᵀ]/π and B = -κ e H: what is received is subtracted by hand. Precisions beyond
        ``min_variance`` are bounded as those of scalars are.
        """
        H, G, known = self._law(incoming)
        slab, L = self.prior.tilted(H, G), self.prior.root
        inverse = np.linalg.inv(L)
        sent = ~known & np.isfinite(slab.log_integral)
        on, off, energy = (np.where(sent, x, y) for x, y in ((slab.on, 1.0), (slab.off, 0.0), (slab.energy, 0.0)))
        h, g = H @ L, L.T @ G @ L  # of u = L⁻¹w
        ratio = off / (1.0 + off * energy)
        A = np.eye(len(L)) + off[:, None, None] * g - ratio[:, None, None] * h[:, :, None] * h[:, None, :]
        A, B = A / np.maximum(on, _POINT)[:, None, None], -(ratio * energy)[:, None] * h
        mean = on[:, None] * slab.mean @ inverse.T
        A, B = _bounded(A, B, mean, 1.0 / min_variance(self.prior.density))
        A, B = inverse.T @ A @ inverse, B @ inverse
        first = np.zeros(A.shape)
        first[..., 0] = np.where(sent[:, None], B, 0.0)
        A = np.where(sent[:, None, None], 0.5 * (A + np.swapaxes(A, 1, 2)), 0.0)
        return Outgoing(first.reshape(incoming.first.shape), A.reshape(incoming.first.shape))

    def log_partition(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return psi, less the logarithm of the law at the centre if there is one; 0 where the value is observed."""
        H, G, known = self._law(incoming)
        values = self.prior.log_partition(H, G)
        if incoming.centre is not None:
            centre = incoming.centre.reshape(G.shape)[..., 0]
            values = values - (centre * (H - 0.5 * np.einsum("fij,fj->fi", G, centre))).sum(axis=1)
        return np.where(known, 0.0, values)

    def log_factor(self, parameters: Parameters, *x: Array) -> Array:
        """Not given: there is an atom.

        Raises:
            ModelError: always.
        """
        raise ModelError("a prior with atoms has no density: vectors with one are for `infer`")

    def _law(self, incoming: Incoming) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Return information (F, d) and precision (F, d, d), 0 where observed; and where that is.

        Raises:
            ModelError: a vector that is observed in part, for which an atom has no density.
        """
        d = self.prior.dimension
        first, G = incoming.first.reshape(-1, d, d)[..., 0], incoming.second.reshape(-1, d, d)
        observed = np.isinf(np.diagonal(G, axis1=1, axis2=2))
        known = np.asarray(observed.all(axis=1))
        if np.any(observed.any(axis=1) & ~known):
            raise ModelError(f"vectors ~ {self.prior} must be observed as a whole or not at all, got a part of one")
        return np.where(known[:, None], 0.0, first), np.where(known[:, None, None], 0.0, G), known


def _bounded(A: Array, B: Array, mean: Array, maximum: float) -> tuple[Array, Array]:
    """Return messages (n, d) of precision at most ``maximum``; in directions of more, that have the belief's mean."""
    over = np.flatnonzero(np.sqrt((A * A).sum(axis=(1, 2))) >= maximum)
    if not over.size:
        return A, B
    values, axes = np.linalg.eigh(A[over])
    along, centre = (np.einsum("ni,nij->nj", x[over], axes) for x in (B, mean))
    along = np.where(values < maximum, along, maximum * centre)
    A, B = A.copy(), B.copy()
    A[over] = (axes * np.minimum(values, maximum)[:, None, :]) @ np.swapaxes(axes, 1, 2)
    B[over] = np.einsum("nj,nij->ni", along, axes)
    return A, B
