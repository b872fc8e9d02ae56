"""Gaussian expectations and one-dimensional integrals of e^{l(z)}, for many integrands at once.

``gaussian_expectation`` is the cheap rule for smooth functions. ``adaptive_panels`` is the careful one: for each
integrand it finds panels on which Gauss-Legendre is accurate, wherever and however narrow its mass is. It works on
logarithms throughout, so that nothing under- or overflows.
"""

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, roots_hermitenorm

from factorgraph.interface.errors import CavityWarning

Array = NDArray[np.float64]

#: Contributions below e^-60 of the total are nothing in float64, with room for the widths of panels.
NEGLIGIBLE = 60.0
_STEEP = 10.0  # neighbouring nodes that differ by more than this in l may hide a peak between them
_MAX_PANELS = 4096  # panels of one integrand on one level of bisection


@lru_cache(maxsize=32)
def gauss_hermite(nodes: int) -> tuple[Array, Array]:
    """Return nodes and weights (nodes,) of E f(z), z ~ N(0, 1), exact for polynomials of degree < 2 nodes;
    read-only."""
    x, w = roots_hermitenorm(nodes)
    return _frozen(x, w / w.sum())


@lru_cache(maxsize=32)
def gauss_legendre(nodes: int) -> tuple[Array, Array]:
    """Return nodes and weights (nodes,) of the integral over [-1, 1]; read-only."""
    return _frozen(*np.polynomial.legendre.leggauss(nodes))


def _frozen(x: Array, w: Array) -> tuple[Array, Array]:
    x.flags.writeable = w.flags.writeable = False
    return x, w


def gaussian_expectation(f: Callable[[Array], Any], mean: ArrayLike, variance: ArrayLike, nodes: int = 64) -> Any:
    """Return E f(z), z ~ N(mean, variance), elementwise, by Gauss-Hermite.

    Converges fast for f analytic on the scale of √variance, slowly across kinks: for these see ``panel_rule``.

    Args:
        f: vectorised function of one array.
        mean: array, broadcast with ``variance``.
        variance: array, >= 0; zero gives f(mean).
        nodes: number of nodes, at least 1.

    Raises:
        ValueError: a variance is negative or not a number.
    """
    variance = np.asarray(variance, dtype=np.float64)
    if not np.all(variance >= 0.0):
        raise ValueError(f"`variance` must be >= 0, got {np.min(variance)!s}")
    x, w = gauss_hermite(nodes)
    return f(np.asarray(mean, dtype=np.float64)[..., None] + np.sqrt(variance)[..., None] * x) @ w


def panel_rule(edges: ArrayLike, nodes: int = 16) -> tuple[Array, Array]:
    """Return composite Gauss-Legendre rule: nodes and weights (..., panels, nodes) for edges (..., panels + 1) in
    order."""
    edges = np.asarray(edges, dtype=np.float64)
    return _rule(edges[..., :-1], edges[..., 1:], nodes)


def _rule(left: Array, right: Array, nodes: int) -> tuple[Array, Array]:
    x, w = gauss_legendre(nodes)
    half = 0.5 * (right - left)[..., None]
    return 0.5 * (left + right)[..., None] + half * x, half * w


class Panels(NamedTuple):
    """Intervals of many integrals, sorted by integral.

    Attributes:
        owner: (P,) the integral to which each panel belongs.
        left: (P,) lower ends.
        right: (P,) upper ends.
    """

    owner: NDArray[np.intp]
    left: Array
    right: Array

    def rule(self, nodes: int = 16) -> tuple[Array, Array]:
        """Return nodes and weights (P, nodes)."""
        return _rule(self.left, self.right, nodes)

    def where(self, mask: NDArray[np.bool_]) -> "Panels":
        """Return the panels marked in ``mask`` (P,)."""
        return Panels(self.owner[mask], self.left[mask], self.right[mask])

    def sum(self, terms: Array) -> Array:
        """Return sums (..., m) of node terms (..., P, nodes) over each integral; every integral must have a panel."""
        return np.add.reduceat(terms.sum(axis=-1), self.starts(), axis=-1)

    def starts(self) -> NDArray[np.intp]:
        """Return position (m,) of the first panel of each integral."""
        return np.flatnonzero(np.r_[True, self.owner[1:] != self.owner[:-1]])


LogIntegrands = Callable[[NDArray[np.intp], Array], Array]


class _Measured(NamedTuple):
    """What is known of P panels and C integrands, each field (C, P).

    Attributes:
        log_mass: log-integrals.
        bound: log of the mass that the panel could hold at most, seen and hidden.
        steep: the same between those nodes only where l is steep, so that a peak may hide.
    """

    log_mass: Array
    bound: Array
    steep: Array


def _measure(log_integrands: LogIntegrands, panels: Panels, nodes: int) -> _Measured:
    x, w = panels.rule(nodes)
    values = np.maximum(log_integrands(panels.owner, x), -1e300)  # no -inf: it would give inf - inf
    top = values.max(axis=-1)
    log_width = np.log(panels.right - panels.left)
    mass = top + np.log((np.exp(values - top[..., None]) * w).sum(axis=-1))
    # Between two nodes a peak rises over the higher by less than the difference to a neighbour (exact for a parabola).
    steps = np.abs(np.diff(values, axis=-1))
    reach = np.maximum(values[..., 1:], values[..., :-1]) + steps
    steep = np.where(steps > _STEEP, reach, -np.inf).max(axis=-1)
    return _Measured(mass, reach.max(axis=-1) + log_width, steep + log_width)


def _log_totals(log_mass: Array, index: NDArray[np.intp], start: Array) -> Array:
    """Return log(e^start + sums of e^log_mass) (C, m), for panel masses (C, P)."""
    top = start.copy()
    for row, values in zip(top, log_mass, strict=True):
        np.maximum.at(row, index, values)
    sums = np.exp(start - top)
    for row, values, offset in zip(sums, log_mass, top, strict=True):
        row += np.bincount(index, np.exp(values - offset[index]), minlength=row.size)
    return top + np.log(sums)


def adaptive_panels(
    log_integrands: LogIntegrands,
    start: Panels,
    size: int,
    *,
    tolerance: float | Array = 1e-12,
    nodes: int = 16,
) -> Panels:
    """Return panels on which Gauss-Legendre integrates ``size`` families of C positive integrands e^l.

    Each panel is bisected until its integral and that of its halves agree to ``tolerance`` of the total, for all C
    members; then the halves are kept, whose error is smaller than the difference by orders of magnitude. Panels
    that hold a negligible part of every member are dropped. A peak that falls between the nodes is not missed as
    long as its flanks are seen: l differs much between neighbouring nodes there, and such a panel is bisected also
    while its integral is still nothing. A narrow peak whose flanks are hidden below a broader one may be missed. Jumps
    and kinks inside a panel are found too, slowly.

    Args:
        log_integrands: maps index (P,) and nodes z (P, nodes) to l (C, P, nodes), without NaN.
        start: panels that cover the mass.
        size: the number m of integrals: indices are 0..m-1, each with at least one panel.
        tolerance: relative accuracy, a number or (m,).
        nodes: nodes per panel.

    Raises:
        ValueError: an integral has no mass on its panels.
    """
    tolerance = np.broadcast_to(np.asarray(tolerance, dtype=np.float64), (size,))
    # Panels with mass, and their integrals.
    parents = _promising(log_integrands, start, size)
    mass = _measure(log_integrands, parents, nodes).log_mass
    done = np.full((len(mass), size), -1e300)
    kept: list[Panels] = []
    while parents.owner.size:
        # The halves, and with those that are done the current totals.
        halves = _bisect(parents)
        found = _measure(log_integrands, halves, nodes)
        totals = _log_totals(found.log_mass, halves.owner, done)
        # Which may hide a peak, hold nothing, are right, or are too narrow to bisect.
        floor = totals[:, halves.owner] - NEGLIGIBLE
        hidden = np.any(found.steep > floor, axis=0)
        vain = np.all(found.bound < floor, axis=0)
        agree = _agree(mass, found.log_mass, totals[:, parents.owner], tolerance[parents.owner])
        finest = parents.right - parents.left <= 1e-15 * np.maximum(np.abs(parents.left), np.abs(parents.right))
        accepted = np.repeat((agree & ~(hidden[::2] | hidden[1::2])) | finest, 2)
        accepted |= _overfull(halves.owner, accepted | vain, size)
        # Keep what is right, go on with the rest.
        keep, go_on = accepted & ~vain, ~(accepted | vain)
        kept.append(halves.where(keep))
        done = _log_totals(found.log_mass[:, keep], halves.owner[keep], done)
        parents, mass = halves.where(go_on), found.log_mass[:, go_on]
    return _sorted(kept, size)


def _promising(log_integrands: LogIntegrands, start: Panels, size: int) -> Panels:
    """Return the panels that may hold mass, after a look with few nodes: most of a wide search range is dropped
    here."""
    found = _measure(log_integrands, start, 6)
    totals = _log_totals(found.log_mass, start.owner, np.full((len(found.log_mass), size), -1e300))
    return start.where(np.any(found.bound > totals[:, start.owner] - NEGLIGIBLE, axis=0))


def _bisect(parents: Panels) -> Panels:
    """Return the halves of each panel, next to one another."""
    middle = 0.5 * (parents.left + parents.right)
    left = np.stack([parents.left, middle], axis=-1).ravel()
    right = np.stack([middle, parents.right], axis=-1).ravel()
    return Panels(np.repeat(parents.owner, 2), left, right)


def _agree(mass: Array, halves: Array, totals: Array, tolerance: Array) -> NDArray[np.bool_]:
    whole = np.exp(np.minimum(mass - totals, 1.0))  # a rule that happens to hit a narrow peak may exceed the total
    parts = np.exp(halves[:, ::2] - totals) + np.exp(halves[:, 1::2] - totals)
    return np.all(np.abs(whole - parts) <= tolerance, axis=0)


def _overfull(index: NDArray[np.intp], settled: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Return the panels of integrals that would need too many: they are taken as they are, with a warning."""
    full = np.bincount(index[~settled], minlength=size) > _MAX_PANELS
    if full.any():
        warnings.warn("an integrand is too rough to be resolved to tolerance", CavityWarning, stacklevel=3)
    return full[index]


def _sorted(kept: list[Panels], size: int) -> Panels:
    index = np.concatenate([p.owner for p in kept]) if kept else np.empty(0, dtype=np.intp)
    if np.unique(index).size < size:
        raise ValueError("`log_integrands` must have mass on the panels of every integral")
    order = np.argsort(index, kind="stable")
    left, right = np.concatenate([p.left for p in kept]), np.concatenate([p.right for p in kept])
    return Panels(index[order], left[order], right[order])


def sobol_normals(dimension: int, count: int) -> Array:
    """Return points (count, dimension) of Sobol's scrambled sequence, always the same, as standard normal variables."""
    from scipy.stats import qmc  # here, because it takes half a second to import

    return ndtri(qmc.Sobol(dimension, rng=np.random.default_rng(0)).random(count))
