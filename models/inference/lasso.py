"""Sparse linear regression along a path of penalties, by AMP or VAMP at zero temperature."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from factorgraph.channels import Identity
from factorgraph.interface.arguments import check_integer, check_number, real_array, shown
from factorgraph.interface.brief import tabled
from factorgraph.iteration import Status
from factorgraph.priors import Laplace
from models.checks import check_size, matrix, vector
from models.inference.multilayer import GLM

Array = NDArray[np.float64]


@tabled
@dataclass(frozen=True, repr=False)
class LassoPath:
    """Minimisers of |y - X w|²/(2 samples) + penalty |w|₁.

    Attributes:
        penalties: from the largest to the smallest, (K,).
        coefficients: w of each, (K, features).
        gaps: duality gaps: how much the minimum may be lower, at most, over |y|²/(2 samples).
        status: "converged", where all runs have, or that of the first that has not.
        message: the status with the penalty of that run.
    """

    penalties: Array
    coefficients: Array
    gaps: Array
    status: Status
    message: str

    def __repr__(self) -> str:
        return f"LassoPath({self.penalties.size} penalties, largest gap {self.gaps.max():.1e})"

    @property
    def converged(self) -> bool:
        """All runs have."""
        return self.status.converged


def lasso_path(
    X: ArrayLike,
    y: ArrayLike,
    penalties: ArrayLike | None = None,
    *,
    count: int = 50,
    smallest: float = 1e-3,
    closure: str = "amp",
    tolerance: float = 1e-8,
    iterations: int = 3000,
) -> LassoPath:
    """Return the LASSO estimates for every penalty, each from the one before: ``GLM.infer(maximum=True)`` of a Laplace
    prior.

    Penalties are those of scikit-learn (its alpha), and so is the objective, without an intercept: centre X and y.

    Args:
        X: (samples, features).
        y: (samples,).
        penalties: > 0; None for ``count`` of them in geometric progression, from the least that leaves no feature.
        count: of penalties.
        smallest: the last of them over the first, in (0, 1).
        closure: "amp", for independent entries; or "vamp", for columns that are correlated or of any singular values.
        tolerance: as of ``infer``.
        iterations: most of them for one penalty.

    Raises:
        ValueError: an argument outside its domain.
    """
    X = matrix("X", X, "(samples, features)")
    y = vector("y", y, len(X))
    count, iterations = check_size("count", count), check_integer("iterations", iterations, minimum=1)
    smallest = check_number("smallest", smallest, above=0.0, below=1.0)
    greatest = float(np.max(np.abs(X.T @ y))) / len(y)
    if greatest == 0.0:
        raise ValueError(f"`y` must not be orthogonal to all features, got {shown(y)}")
    given = greatest * np.geomspace(1.0, smallest, count) if penalties is None else real_array("penalties", penalties)
    if given.ndim != 1 or not given.size or not np.all(given > 0.0):
        raise ValueError(f"`penalties` must be a vector of numbers > 0, got {shown(penalties)}")
    given, w, found = np.sort(given)[::-1], np.zeros(X.shape[1]), []
    noise = float(y @ y) / len(y)  # any has the same minimisers; with this one the unit of y is of no account
    model = GLM(Laplace(), X, Identity(noise))
    for penalty in given.tolist():
        at = model.with_parameters(Laplace(noise / (penalty * len(y))), Identity(noise))
        result = at.infer(y, maximum=True, closure=closure, start=w, tolerance=tolerance, iterations=iterations)
        w = result.signal.mean if result.status is not Status.DIVERGED else w
        found.append((w, duality_gap(X, y, w, penalty), result.status))
    coefficients, gaps, statuses = zip(*found, strict=True)
    failed = next((i for i, status in enumerate(statuses) if not status.converged), None)
    status = Status.CONVERGED if failed is None else statuses[failed]
    advice = "" if failed is None else f"at the penalty {given[failed]:.3g}; raise `iterations`"
    return LassoPath(given, np.array(coefficients), np.array(gaps), status, status.explained(advice))


def duality_gap(X: Array, y: Array, w: Array, penalty: float) -> float:
    """Return the objective less that of the dual problem at the scaled residual, over |y|²/(2 samples)."""
    rest = y - X @ w
    bound = penalty * len(y)
    dual = rest * min(1.0, bound / max(float(np.max(np.abs(X.T @ rest))), 1e-300))
    return float(rest @ rest + 2.0 * bound * np.abs(w).sum() - y @ y + (y - dual) @ (y - dual)) / float(y @ y)
