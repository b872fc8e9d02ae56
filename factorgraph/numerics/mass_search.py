"""Where the mass of a Gaussian or flat law times any function of its variable is, for many laws at once.

It is searched for on a grid that is fine about the law and reaches far beyond it, then on ever finer grids about
whatever rises, because a narrow peak shows its flanks long before it shows itself. Everything is in logarithms.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from factorgraph.runtime.compiled import njit

Array = NDArray[np.float64]
Index = NDArray[np.intp]

#: Contributions below e^-40 of the total are nothing, with room for the widths of cells.
NEGLIGIBLE = 40.0
_RESOLVED = 6  # cells of a grid on an interval from which on its panels are laid out
_PANELS = 6  # on an interval to begin with
_EPS = float(np.finfo(np.float64).eps)


def _grid(near: float, spacing: float, far: Any) -> Array:
    """Return a symmetric grid without round numbers, where kinks and poles of functions tend to be."""
    inner = (np.arange(round(near / spacing)) + 0.5) * spacing * 1.0012345678
    return np.asarray(np.concatenate([-far[::-1], -inner[::-1], inner, far]), dtype=np.float64)


#: Where the mass is looked for in standard deviations of the law: from ±8 on ever wider, up to ±3e7.
_FINE = _grid(8.0, 0.25, np.concatenate([[8.5, 9.0, 9.8, 12.0, 18.0, 30.0, 50.0], 90.0 * 6.0 ** np.arange(8)]))
_THOROUGH = _grid(12.0, 0.015, np.concatenate([12.3 * 1.02 ** np.arange(70), 50.0 * 1.15 ** np.arange(97)]))
#: The same where every value is an integral itself.
_COARSE = _grid(8.0, 0.5, 8.5 * 4.0 ** np.arange(11))
#: For flat laws, in the variable's own unit.
_FLAT = [_grid(1.0, 0.1, 2.0 ** np.arange(0.1, maximum, 0.5)) for maximum in (500.0, 350.0, 230.0)]
#: Finer ones for functions that are 0 on all of these; where every value is an integral, coarser.
_LOST = [_grid(10.0, spacing, 10.0 * ratio ** np.arange(1, 70)) for spacing, ratio in ((0.005, 1.2), (0.05, 2.0))]


class Values(NamedTuple):
    """What is integrated, at P sets of n points.

    Attributes:
        log_f: (P, n) log of the function.
        means: (P, n, J) of further variables given this one.
        variances: (P, n, J) of theirs.
        error: (P, n) of log_f and these, where they are integrals themselves; ∞ where those diverge.
    """

    log_f: Array
    means: Any = None
    variances: Any = None
    error: Any = None


#: From the row (P,) of a law and points (P, n), counted from its centre, to the values there.
Integrand = Callable[[Index, Array], Values]


class Problem:
    """What is known of R laws.

    Attributes:
        integrand: the function.
        centre: (R,) of the laws.
        half: (R,) half their precisions.
        top: (R,) greatest log-density seen so far.
        best: (R,) where that is.
        endless: (R,) whether the function is itself an integral that diverges somewhere.
        diverged: (R,) whether the integral diverges.
    """

    def __init__(self, integrand: Integrand, centre: Array, variance: Array) -> None:
        self.integrand, self.centre = integrand, centre
        self.half = np.where(np.isinf(variance), 0.0, 0.5 / variance)
        self.top = np.full(centre.size, -np.inf)
        self.best = np.zeros(centre.size)
        self.endless = np.zeros(centre.size, dtype=bool)
        self.diverged = np.zeros(centre.size, dtype=bool)

    def look(self, owner: Index, d: Array) -> Array:
        """Return log-density at points (P, n), -∞ where it is none; the greatest are remembered."""
        values = self.integrand(owner, d)
        log_f = values.log_f
        if values.error is not None:
            endless = np.isinf(values.error)
            self.endless[owner[endless.any(axis=1)]] = True
            log_f = np.where(endless, -np.inf, log_f)
        density = np.ascontiguousarray(np.broadcast_to(log_f, d.shape), dtype=np.float64).copy()
        _weigh(owner, d, self.half, density, self.top, self.best)
        return density


class Intervals(NamedTuple):
    """Intervals of some laws.

    Attributes:
        owner: (S,) their laws.
        left: (S,).
        right: (S,).
    """

    owner: Index
    left: Array
    right: Array

    def take(self, mask: Any) -> "Intervals":
        """Return those marked."""
        return Intervals(self.owner[mask], self.left[mask], self.right[mask])

    @classmethod
    def joined(cls, parts: "list[Intervals]") -> "Intervals":
        """Return all of them."""
        owner, left, right = zip(*parts, strict=True)
        return cls(np.concatenate(owner), np.concatenate(left), np.concatenate(right))


def search(problem: Problem, variance: Array, level: int, thorough: bool) -> Intervals:
    """Return panels that hold the mass; ``level`` and ``thorough`` as for ``moments``."""
    flat = np.isinf(variance)
    grids = (
        (~flat, _COARSE if level else _THOROUGH if thorough else _FINE, np.sqrt(np.abs(variance))),
        (flat, _FLAT[min(level, 2)], flat * 1.0),
    )
    return Intervals.joined(
        [
            _search(problem, np.flatnonzero(rows), grid, scale, _LOST[min(level, 1)])
            for rows, grid, scale in grids
            if rows.any()
        ]
    )


def _search(problem: Problem, rows: Index, grid: Array, scale: Array, lost_grid: Array) -> Intervals:
    """Return panels that hold the mass of some laws, from grids on which what is there is resolved."""
    pieces: list[Intervals] = []
    scales = scale[rows][:, None]
    # The first grid; mass at its ends does not fall off.
    narrow, ends = _divide(problem, rows, scales * grid, pieces)
    problem.diverged[rows[ends]] = True
    # Where it has found nothing, a wider one.
    lost = np.isneginf(problem.top[rows]) & ~problem.endless[rows]
    if lost.any():
        found, _ = _divide(problem, rows[lost], scales[lost] * lost_grid, pieces)
        narrow = Intervals.joined([narrow, found])
    problem.diverged[rows] |= np.isneginf(problem.top[rows]) & problem.endless[rows]
    # Where mass lies in a cell or two, ever finer grids, down to the spacing of floating-point numbers.
    while narrow.owner.size:
        width = narrow.right - narrow.left
        finest = width <= 64.0 * _EPS * np.abs(problem.centre[narrow.owner] + narrow.left)
        pieces.append(narrow.take(finest))
        narrow, width = narrow.take(~finest), width[~finest]
        d = narrow.left[:, None] + width[:, None] * np.linspace(0.0, 1.0, 33)
        narrow, _ = _divide(problem, narrow.owner, d, pieces)
    return Intervals.joined(pieces)


def _divide(problem: Problem, owner: Index, d: Array, pieces: list[Intervals]) -> tuple[Intervals, NDArray[np.bool_]]:
    """Look at grids (P, n) and add panels to ``pieces`` where there is mass.

    Returns:
        Intervals on which the grid is too coarse for that; and whether there is mass at the ends of the grids (P,).
    """
    if not owner.size:
        return Intervals(owner, np.empty(0), np.empty(0)), np.zeros(0, dtype=bool)
    density = problem.look(owner, d)
    marked = _marks(d, density, problem.top[owner], problem.best[owner], problem.half[owner] == 0.0)
    panels, narrow = _layout(owner, d, density, marked, problem.top[owner])
    pieces.append(Intervals(*panels))
    return Intervals(*narrow), marked[:, 0] | marked[:, -1]


@njit(cache=True, error_model="numpy")
def _layout(owner: Any, d: Any, density: Any, marked: Any, top: Any) -> Any:
    """Panels on the marked runs of cells, laid between their ends and the peaks inside; and the runs too short for it.

    Two passes: the first one counts.
    """
    panels = (np.empty(0, np.intp), np.empty(0), np.empty(0))
    narrow = (np.empty(0, np.intp), np.empty(0), np.empty(0))
    for count_only in (True, False):
        fine, coarse = 0, 0
        for p in range(d.shape[0]):
            end = 0
            for k in range(marked.shape[1]):
                if k < end or not marked[p, k]:
                    continue
                # A run of marked cells k .. end - 1.
                end = k + 1
                while end < marked.shape[1] and marked[p, end]:
                    end += 1
                if end - k < _RESOLVED:
                    if not count_only:
                        narrow[0][coarse], narrow[1][coarse], narrow[2][coarse] = owner[p], d[p, k], d[p, end]
                    coarse += 1
                    continue
                # Panels between its ends and its peaks, in proportion to their lengths.
                begin = k
                for j in range(k + 1, end + 1):
                    here = density[p, j]
                    peak = j < end and here > density[p, j - 1] and here >= density[p, j + 1]
                    if not (j == end or (peak and here > top[p] - NEGLIGIBLE)):
                        continue
                    number = -(-_PANELS * (j - begin) // (end - k))
                    width = (d[p, j] - d[p, begin]) / number
                    for n in range(0 if count_only else number):
                        panels[0][fine + n], panels[1][fine + n] = owner[p], d[p, begin] + n * width
                        panels[2][fine + n] = d[p, begin] + (n + 1) * width if n + 1 < number else d[p, j]
                    fine, begin = fine + number, j
        if count_only:
            panels = (np.empty(fine, np.intp), np.empty(fine), np.empty(fine))
            narrow = (np.empty(coarse, np.intp), np.empty(coarse), np.empty(coarse))
    return panels, narrow


@njit(part=True, error_model="numpy")
def bound_between(d: Any, density: Any, k: int) -> float:
    """What the log-density may rise to between nodes k and k + 1, as the flanks on both sides say.

    A concave one stays below the lines through the two nodes on either side. Next to -∞ only one side tells.
    """
    # The line through the nodes on the left, then that on the right: a density that falls towards them is seen.
    bound, low, high = np.inf, density[k], density[k + 1]
    seen, width = max(low, high), d[k + 1] - d[k]
    if k > 0 and density[k - 1] > -np.inf and low > -np.inf:
        if density[k - 1] >= low:
            return seen
        bound = low + (low - density[k - 1]) / (d[k] - d[k - 1]) * width
    if k + 2 < d.size and density[k + 2] > -np.inf and high > -np.inf:
        if density[k + 2] >= high:
            return seen
        bound = min(bound, high + (high - density[k + 2]) / (d[k + 2] - d[k + 1]) * width)
    return max(bound, seen) if bound < np.inf else seen


@njit(cache=True, error_model="numpy")
def _marks(d: Any, density: Any, top: Any, best: Any, flat: Any) -> Any:
    """(P, n - 1) whether there may be mass between two nodes of a grid.

    Where no Gaussian ends the tails, they count with the second moment.
    """
    marked = np.zeros((d.shape[0], d.shape[1] - 1), np.bool_)
    for p in range(d.shape[0]):
        if top[p] == -np.inf:
            continue
        x, values, minimum = d[p], density[p], top[p] - NEGLIGIBLE
        for k in range(marked.shape[1]):
            bound = max(values[k], values[k + 1])
            if bound <= minimum:
                bound = bound_between(x, values, k)
            if flat[p]:
                bound += 3.0 * math.log1p(max(abs(x[k] - best[p]), abs(x[k + 1] - best[p])))
            marked[p, k] = bound >= minimum
    return marked


@njit(cache=True, error_model="numpy")
def _weigh(owner: Any, d: Any, half: Any, density: Any, top: Any, best: Any) -> None:
    """Turn log-values of the function into log-densities, in place, and remember the greatest of each law.

    Far out functions overflow: what is no number there, or infinite, has no weight.
    """
    for p in range(d.shape[0]):
        r = owner[p]
        for k in range(d.shape[1]):
            value = density[p, k] - half[r] * d[p, k] * d[p, k]
            if not value < np.inf:
                value = -np.inf
            density[p, k] = value
            if value > top[r]:
                top[r], best[r] = value, d[p, k]
