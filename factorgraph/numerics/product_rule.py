"""Moments of Gaussian laws of two or three variables times a smooth function, by product rules, with their errors.

A Gauss-Hermite rule is laid about the tilted law, with its covariance, and compared with a smaller one. It costs a
hundredth of what nested integrals do, and is believed only where it has seen everything: the two rules agree, the law
found has the moments of the rule, and a wide scan finds no mass elsewhere.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from factorgraph.numerics.quadrature import gauss_hermite
from factorgraph.numerics.special import LOG_2PI

Array = NDArray[np.float64]
Index = NDArray[np.intp]

#: Where mass outside the rule is looked for, in standard deviations.
_SCAN = np.concatenate(
    [[-1e4, -1e3, -200.0, -50.0, -20.0], np.linspace(-10.1, 10.3, 21), [20.0, 50.0, 200.0, 1e3, 1e4]]
)
_AGREE = 1e-9  # two rules that differ by less are believed
_NOTHING = 25.0  # contributions below e^-25 of the total are nothing to a rule that is right to 1e-9
_SHAPE = 0.1  # by how much the law's covariance may differ from that of the rule

#: From laws (m,) and points (m, r, n), counted from their centres, to the logarithm of the function (m, n).
LogFunction = Callable[[Index, Array], Array]


class Product(NamedTuple):
    """Of N laws of r variables.

    Attributes:
        log_total: (N,) log-integrals.
        shift: (N, r) means, counted from the centres.
        covariance: (N, r, r).
        error: (N,) estimated, as in ``integration``; ∞ where the rule is not to be believed.
        mean_log: (N,) means of the logarithm of the function.
    """

    log_total: Array
    shift: Array
    covariance: Array
    error: Array
    mean_log: Array


class _Rule(NamedTuple):
    """What one rule says: means are counted from the centres; the covariance (N, r, r)."""

    log_total: Array
    shift: Array
    covariance: Array
    mean_log: Array

    def proper(self) -> NDArray[np.bool_]:
        """Return (N,) whether a law was found, with a covariance that is one."""
        finite = np.isfinite(self.log_total) & np.isfinite(self.covariance).all(axis=(1, 2))
        covariance = np.where(finite[:, None, None], self.covariance, np.eye(self.shift.shape[1]))
        values = np.linalg.eigvalsh(covariance)
        return finite & (values[:, 0] > 1e-12 * values[:, -1])

    def difference(self, other: "_Rule") -> Array:
        """Return (N,) the largest, in the units of ``Product.error``; ∞ where it is no number."""
        deviation = np.sqrt(np.maximum(np.diagonal(self.covariance, axis1=1, axis2=2), 1e-300))
        apart = np.abs(self.covariance - other.covariance) / (deviation[:, :, None] * deviation[:, None, :])
        moved = (np.abs(self.shift - other.shift) / deviation).max(axis=1)
        error = np.maximum(np.abs(self.log_total - other.log_total), np.maximum(moved, apart.max(axis=(1, 2))))
        return np.where(np.isnan(error), np.inf, error)

    def take(self, rows: Index) -> "_Rule":
        """Of some laws."""
        return _Rule(*(values[rows] for values in self))


def product_moments(log_function: LogFunction, variance: Array, nodes: int) -> Product:
    """Return the moments of N(0, variance) (N, r) times a function, with so many nodes on each axis; twice as many if
    need be."""
    N, r = variance.shape
    everything, fewer = np.arange(N), (2 * nodes) // 3
    shift, root = np.zeros((N, r)), np.sqrt(variance)[:, :, None] * np.eye(r)
    for _ in range(3):
        rule = _rule(log_function, everything, variance, shift, root, fewer)
        proper = rule.proper()
        covariance = np.where(proper[:, None, None], rule.covariance, root @ root.transpose(0, 2, 1))
        shift, root = np.where(proper[:, None], rule.shift, shift), np.linalg.cholesky(covariance)
    smaller, rule = (_rule(log_function, everything, variance, shift, root, n) for n in (fewer, nodes))
    error = rule.difference(smaller)
    rest = np.flatnonzero(~(error <= _AGREE))
    if rest.size and r == 2:
        larger = _rule(log_function, rest, variance[rest], shift[rest], root[rest], 2 * nodes)
        error[rest] = larger.difference(rule.take(rest))
        for values, new in zip(rule, larger, strict=True):
            values[rest] = new
    inverse = np.linalg.inv(root)
    unlike = np.abs(inverse @ rule.covariance @ inverse.transpose(0, 2, 1) - np.eye(r)).max(axis=(1, 2))
    missed = _missed(log_function, variance, shift, inverse, rule.log_total, gauss_hermite(nodes)[0].max())
    error = np.where(rule.proper() & (unlike < _SHAPE) & ~missed & (error <= _AGREE), error, np.inf)
    return Product(rule.log_total, rule.shift, rule.covariance, error, rule.mean_log)


def _missed(
    log_function: LogFunction, variance: Array, shift: Array, inverse: Any, log_total: Array, reach: float
) -> NDArray[np.bool_]:
    """Return (N,) whether a scan finds mass beyond the outermost nodes of the rule."""
    points, log_cells = _scan(variance.shape[1])
    d = np.sqrt(variance)[:, :, None] * points
    log_f = log_function(np.arange(len(variance)), d)
    log_f = np.where(np.isnan(log_f), -np.inf, log_f)  # far out functions overflow
    seen = log_f - 0.5 * (points * points).sum(axis=0) + log_cells - 0.5 * variance.shape[1] * LOG_2PI
    outside = np.abs(inverse @ (d - shift[:, :, None])).max(axis=1) > reach
    return np.where(outside, seen, -np.inf).max(axis=1) > log_total - _NOTHING


def _rule(log_function: LogFunction, laws: Index, variance: Array, shift: Array, root: Array, nodes: int) -> _Rule:
    """Return A Gauss-Hermite rule about N(shift, root rootᵀ)."""
    u, log_w = _grid(shift.shape[1], nodes)
    x = shift[:, :, None] + root @ u
    log_f = log_function(laws, x)
    log_w = log_f - 0.5 * (x * x / variance[:, :, None]).sum(axis=1) + log_w
    scale = np.log(np.abs(np.diagonal(root, axis1=1, axis2=2))).sum(axis=1) - 0.5 * np.log(variance).sum(axis=1)
    top = log_w.max(axis=1)
    w = np.exp(log_w - np.where(np.isfinite(top), top, 0.0)[:, None])
    total = w.sum(axis=1)
    w /= total[:, None]
    mean = np.einsum("ng,nrg->nr", w, x)
    rest = x - mean[:, :, None]
    covariance = (rest * w[:, None]) @ rest.transpose(0, 2, 1)
    mean_log = (w * np.where(w > 0.0, log_f, 0.0)).sum(axis=1)
    return _Rule(top + np.log(total) + scale, mean, covariance, mean_log)


@lru_cache(maxsize=16)
def _grid(r: int, nodes: int) -> tuple[Array, Array]:
    """Return points (r, nodes^r) of a product rule, and log-weights for the measure du/√(2π); read-only."""
    u, w = gauss_hermite(nodes)
    points = np.stack([axis.ravel() for axis in np.meshgrid(*[u] * r, indexing="ij")])
    with np.errstate(divide="ignore"):
        log_w = np.sum([axis.ravel() for axis in np.meshgrid(*[np.log(w)] * r, indexing="ij")], axis=0)
    log_w += 0.5 * (points * points).sum(axis=0)
    points.flags.writeable = log_w.flags.writeable = False
    return points, log_w


@lru_cache(maxsize=4)
def _scan(r: int) -> tuple[Array, Array]:
    """Return points (r, n) of the scan, and log-volumes (n,) of the cells about them; read-only."""
    edges = np.concatenate([_SCAN[:1], 0.5 * (_SCAN[1:] + _SCAN[:-1]), _SCAN[-1:]])
    cells = np.log(np.diff(edges))
    points = np.stack([axis.ravel() for axis in np.meshgrid(*[_SCAN] * r, indexing="ij")])
    log_cells = np.sum([axis.ravel() for axis in np.meshgrid(*[cells] * r, indexing="ij")], axis=0)
    points.flags.writeable = log_cells.flags.writeable = False
    return points, log_cells
