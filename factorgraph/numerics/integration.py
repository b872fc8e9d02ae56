"""Moments of a Gaussian or flat law times any function of its variable, for many laws at once, with their errors.

The intervals that hold the mass (see ``mass_search``) are integrated by Gauss-Kronrod rules, and halved where the two
rules of a pair disagree. Everything is in logarithms.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from factorgraph.interface.errors import ModelError
from factorgraph.numerics.mass_search import (
    NEGLIGIBLE,
    Array,
    Integrand,
    Intervals,
    Problem,
    Values,
    bound_between,
    search,
)
from factorgraph.numerics.special import LOG_2PI
from factorgraph.runtime.compiled import njit

#: Nodes and weights of the 21-point Kronrod rule on [0, 1], mirrored below, and of the 10-point Gauss rule in it.
_KRONROD_X = [0.0, 0.148874338981631210885, 0.294392862701460198131, 0.433395394129247190799, 0.562757134668604683339,
              0.679409568299024406234, 0.780817726586416897064, 0.865063366688984510732, 0.930157491355708226001,
              0.973906528517171720078, 0.995657163025808080736]  # fmt: skip
_KRONROD_W = [0.149445554002916905665, 0.147739104901338491375, 0.142775938577060080797, 0.134709217311473325928,
              0.123491976262065851078, 0.109387158802297641899, 0.093125454583697605535, 0.075039674810919952767,
              0.054755896574351996031, 0.032558162307964727479, 0.011694638867371874278]  # fmt: skip
_GAUSS_W = [0.0, 0.295524224714752870174, 0.0, 0.269266719309996355091, 0.0, 0.219086362515982043996,
            0.0, 0.149451349150580593146, 0.0, 0.066671344308688137594, 0.0]  # fmt: skip


def _mirrored(half: list[float], sign: float = 1.0) -> Array:
    return np.array([sign * value for value in half[:0:-1]] + half)


def _extrapolation(nodes: Array) -> Array:
    """Return the coefficients of the values at nodes in what the polynomial through them is at 1."""
    others = np.where(np.eye(nodes.size), np.nan, nodes)
    return np.nanprod((1.0 - others) / (nodes[:, None] - others), axis=1)


#: (23,) nodes of both rules on [-1, 1] between the ends, the weights, and the coefficients of the value expected at 1.
#: A jump between an end and the outermost node would be seen by no rule.
NODES = np.pad(_mirrored(_KRONROD_X, -1.0), 1, constant_values=(-1.0, 1.0))
KRONROD, GAUSS = np.pad(_mirrored(_KRONROD_W), 1), np.pad(_mirrored(_GAUSS_W), 1)
EXTRAPOLATION = np.pad(_extrapolation(NODES[1:-1]), 1)
_GAP = float(NODES[-1] - NODES[-2])

_STEEP = 10.0  # neighbouring nodes that differ by more than this may hide a peak between them
_MAX_PANELS = 4096  # of one integral at one level of bisection
_TOLERANCE = 1e-10  # of each panel's error, relative to the integral
_EPS = float(np.finfo(np.float64).eps)


class Moments(NamedTuple):
    """Of R laws times their functions.

    Attributes:
        log_total: (R,) log-integral; -∞ where no mass was found.
        shift: (R,) mean, counted from the centre.
        variance: (R,).
        means: (R, J) of the further variables.
        variances: (R, J).
        error: (R,) estimated: the largest of those of ``log_total``, of the means in deviations, and of the variances
            relative to themselves; ∞ where the integral or a second moment diverges.
    """

    log_total: Array
    shift: Array
    variance: Array
    means: Array
    variances: Array
    error: Array


def moments(
    integrand: Integrand, centre: Array, variance: Array, *, level: int = 0, further: int = 0, thorough: bool = False
) -> Moments:
    """Return log-integral, mean and variance of N(centre, variance) times a function, or of the function alone where
    flat.

    Args:
        integrand: the function.
        centre: (R,) means; 0 for flat laws.
        variance: (R,), not 0; ∞ for flat laws. A negative one stands for a law that grows, e^{d²/(2|variance|)}.
        level: how many integrals the function is itself: the search is coarser then.
        further: how many further variables there are.
        thorough: search on a much finer grid, for peaks that lie hidden under others.
    """
    problem, flat = Problem(integrand, centre, variance), np.isinf(variance)
    log_total, shift, spread, means, variances, error = _integrate(
        problem, search(problem, variance, level, thorough), further
    )
    log_scale = np.where(flat, 0.0, 0.5 * (LOG_2PI + np.log(np.where(flat, 1.0, np.abs(variance)))))
    sound = ~problem.diverged
    return Moments(
        np.where(sound, log_total - log_scale, -np.inf),
        np.where(sound, shift, 0.0),
        np.where(sound, spread, 0.0),
        means * sound[:, None],
        variances * sound[:, None],
        np.where(sound, error, np.inf),
    )


def _halved(panels: Intervals) -> Intervals:
    """Return both halves of each; their ends are those of the whole to the last bit, so that nothing is lost
    between."""
    middle = 0.5 * (panels.left + panels.right)
    left, right = np.concatenate([panels.left, middle]), np.concatenate([middle, panels.right])
    return Intervals(np.concatenate([panels.owner, panels.owner]), left, right)


class _Stats(NamedTuple):
    """Log-mass (m,), and means and variances (m, 1 + J) of the variable itself and the further ones."""

    log_mass: Array
    means: Array
    variances: Array

    def take(self, mask: Any) -> "_Stats":
        """Return those marked."""
        return _Stats(*(values[mask] for values in self))


class _Sums(NamedTuple):
    """What the two rules say of P panels.

    Attributes:
        stats: of Kronrod's.
        differences: (P, 3 + 2 J) between the two, relative to the mass: of mass, first and second moment in half widths
            about the middle, and of means and variances of the further variables.
        noise: (P,) what rounding makes of them.
        end: (P,) log-mass that may be missed next to the ends.
        hidden: (P,) log-mass that may hide between two nodes.
        error: (P,) mean error of the values.
    """

    stats: _Stats
    differences: Array
    noise: Array
    end: Array
    hidden: Array
    error: Array


def _integrate(problem: Problem, panels: Intervals, further: int) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Return log-integral, mean, variance, those of the further variables, and error, of all laws."""
    R = problem.centre.size
    panels = panels.take(~problem.diverged[panels.owner])
    error, done = np.zeros(R), None
    while panels.owner.size:
        # Both rules on the panels that are left, and with those that are done the current result of every law.
        sums = _measure(problem, panels)
        total = _joined(_Stats(*_by_law(panels.owner, *sums.stats, R)), done)
        estimate, kept = _errors(
            *panels,
            problem.centre,
            (sums.differences, sums.noise, sums.end, sums.hidden),
            tuple(sums.stats),
            tuple(total),
            sums.error,
        )
        # Panels that are right, or too many to halve, count; the others are halved.
        full = np.bincount(panels.owner[~kept], minlength=R) > _MAX_PANELS
        kept |= full[panels.owner] | problem.diverged[panels.owner]
        error += np.bincount(panels.owner[kept], estimate[kept], minlength=R)
        done = _joined(_Stats(*_by_law(panels.owner[kept], *sums.stats.take(kept), R)), done)
        panels = _halved(panels.take(~kept))
    if done is None:
        nothing = np.zeros((R, further))
        return np.full(R, -np.inf), np.zeros(R), np.zeros(R), nothing, nothing, error
    means, variances = done.means, done.variances
    return done.log_mass, means[:, 0], variances[:, 0], means[:, 1:], variances[:, 1:], error


def _measure(problem: Problem, panels: Intervals) -> _Sums:
    owner = panels.owner
    centre, half = 0.5 * (panels.left + panels.right), 0.5 * (panels.right - panels.left)
    d = centre[:, None] + half[:, None] * NODES
    values = problem.integrand(owner, d)
    log_f = values.log_f
    if values.error is not None:
        endless = np.isinf(values.error)
        problem.diverged[owner[endless.any(axis=1)]] = True
        log_f = np.where(endless, -np.inf, log_f)
    integrals = _kronrod(owner, centre, half, log_f, problem.half, problem.centre, NODES, KRONROD, GAUSS, EXTRAPOLATION)
    log_mass, mean, variance, differences, noise, end, hidden, w, sound = integrals
    if not sound:
        bad = log_f[:, 1:-1][~(log_f[:, 1:-1] < np.inf)][0]
        raise ModelError(f"`log_factor` must be finite or -inf where its arguments have weight, got {bad}")
    if values.means is None:
        stats = _Stats(log_mass, mean[:, None], variance[:, None])
        return _Sums(stats, differences, noise, end, hidden, np.zeros(owner.size))
    means, variances, further = _further(w, values)
    stats = _Stats(log_mass, np.column_stack([mean, means]), np.column_stack([variance, variances]))
    differences, mass = np.concatenate([differences, further], axis=1), np.maximum(w @ KRONROD, 1e-300)
    error = np.zeros(owner.size) if values.error is None else (w * _finite(values.error)) @ KRONROD / mass
    return _Sums(stats, differences, noise, end, hidden, error)


def _finite(error: Array) -> Array:
    return np.where(np.isfinite(error), error, 0.0)


@njit(cache=True, error_model="numpy")
def _kronrod(
    owner: Any,
    centre: Any,
    half: Any,
    log_f: Any,
    curvature: Any,
    place: Any,
    nodes: Any,
    kronrod: Any,
    gauss: Any,
    beyond: Any,
) -> Any:
    """Log-mass, mean and variance on each panel, and the further fields of ``_Sums``; weights (P, 23) of the
    nodes; and whether the function is finite or -∞ at all inner ones.

    What may hide between two nodes counts where the log-density is steep.
    """
    (P, n), sound = log_f.shape, True
    log_mass, mean, variance = np.empty(P), np.empty(P), np.empty(P)
    noise, end, hidden = np.empty(P), np.empty(P), np.full(P, -np.inf)
    differences, w, density, d = np.empty((P, 3)), np.empty((P, n)), np.empty(n), np.empty(n)
    for p in range(P):
        # Log-densities at the nodes, their maximum, and whether they are steep.
        top, steep, rate = -np.inf, False, curvature[owner[p]]
        for k in range(1, n - 1):
            sound = sound and log_f[p, k] < np.inf
        for k in range(n):
            d[k] = centre[p] + half[p] * nodes[k]
            density[k] = log_f[p, k] - rate * d[k] * d[k]
            if not density[k] < np.inf:
                density[k] = -np.inf  # a pole at an end: halved until it is nothing
            top = max(top, density[k])
            steep = steep or (k > 0 and _STEEP < abs(density[k] - density[k - 1]) < np.inf)
        # Mass and moments by both rules, in half widths about the middle.
        level = top if top > -np.inf else 0.0
        mass, first, second, other, other_first, other_second = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for k in range(n):
            w[p, k] = math.exp(density[k] - level)
            a, b, y = kronrod[k] * w[p, k], gauss[k] * w[p, k], nodes[k]
            mass, first, second = mass + a, first + a * y, second + a * y * y
            other, other_first, other_second = other + b, other_first + b * y, other_second + b * y * y
        # How much the rules differ.
        safe = mass if mass > 0.0 else 1.0
        differences[p, 0] = abs(mass - other) / safe
        differences[p, 1] = abs(first - other_first) / safe
        differences[p, 2] = abs(second - other_second) / safe
        # What the polynomial through the inner nodes misses at the ends.
        low, high = -w[p, 0], -w[p, n - 1]
        for k in range(1, n - 1):
            low, high = low + beyond[n - 1 - k] * w[p, k], high + beyond[k] * w[p, k]
        end[p] = level + math.log(_GAP * half[p] * max(abs(low), abs(high)))
        # Moments in the law's own coordinates, and their rounding.
        first, second = first / safe, second / safe
        log_mass[p] = level + math.log(mass * half[p])
        mean[p], variance[p] = centre[p] + half[p] * first, half[p] * half[p] * (second - first * first)
        noise[p] = 8.0 * _EPS * (1.0 + abs(level) + abs(rate) * centre[p] * centre[p])
        noise[p] += 0.3 * _EPS * abs(place[owner[p]] + centre[p]) / half[p]  # of the nodes, on the average over them
        # Mass that may hide between two nodes.
        if steep:
            for k in range(n - 1):
                bound = bound_between(d, density, k)
                if bound > max(density[k], density[k + 1]) + _STEEP:
                    hidden[p] = max(hidden[p], bound + math.log(2.0 * half[p]))
    return log_mass, mean, variance, differences, noise, end, hidden, w, sound


def _further(w: Array, values: Values) -> tuple[Array, Array, Array]:
    """Return means and variances (P, J) of the further variables, and by how much the rules differ (P, 2 J)."""
    there = w[..., None] > 0.0
    mass, gauss = (np.maximum(w @ rule, 1e-300)[:, None] for rule in (KRONROD, GAUSS))
    finite = np.where(there, values.means, 0.0)
    mean = np.einsum("pn,n,pnj->pj", w, KRONROD, finite) / mass
    rest = finite - mean[:, None]
    spread = rest**2 + np.where(there, values.variances, 0.0)
    variance = np.einsum("pn,n,pnj->pj", w, KRONROD, spread) / mass
    shift = np.abs(np.einsum("pn,n,pnj->pj", w, GAUSS, rest)) / gauss
    change = np.abs(np.einsum("pn,n,pnj->pj", w, GAUSS, spread) / gauss - variance)
    return mean, variance, np.concatenate([shift, change], axis=1)


@njit(cache=True, error_model="numpy")
def _errors(
    owner: Any, left: Any, right: Any, place: Any, sums: Any, stats: Any, total: Any, further: Any
) -> tuple[Array, NDArray[np.bool_]]:
    """Estimated error that each panel (P,) makes in its law's result, and whether it may be kept.

    The power of the difference is that of QUADPACK: where Gauss and Kronrod agree to r, Kronrod is right to some r^1.5.

    Args:
        owner: (P,) laws of the panels.
        left: (P,) their ends.
        right: (P,) likewise.
        place: (R,) the laws' centres.
        sums: ``differences``, ``noise``, ``end`` and ``hidden`` of ``_Sums``.
        stats: of the panels.
        total: of the laws.
        further: (P,) errors of the values.
    """
    differences, noise, end, hidden = sums
    estimate, kept = np.empty(owner.size), np.empty(owner.size, np.bool_)
    J = (differences.shape[1] - 3) // 2
    for p in range(owner.size):
        r = owner[p]
        # Share of the panel in its law; place and width in deviations.
        share = math.exp(stats[0][p] - total[0][r]) if stats[0][p] > -np.inf else 0.0
        deviation = math.sqrt(max(total[2][r, 0], 1e-300))
        centre, half = 0.5 * (left[p] + right[p]), 0.5 * (right[p] - left[p])
        a, b = abs(centre - total[1][r, 0]) / deviation, half / deviation
        scale, error, clear = 1.0 + a + a * a, 0.0, False
        # Errors of mass and moments, as they enter mass, mean and variance.
        for k in range(3):
            difference = differences[p, k]
            clear = clear or difference > noise[p]
            power = min(difference, (200.0 * difference) ** 1.5) if difference > noise[p] else noise[p]
            error += power * (scale if k == 0 else b + 2.0 * a * b if k == 1 else b * b)
        # Those of the further variables, in their deviations.
        for k in range(2 * J):
            spread = max(total[2][r, 1 + k % J], 1e-300)
            difference = differences[p, 3 + k] / (math.sqrt(spread) if k < J else spread)
            error += min(difference, (200.0 * difference) ** 1.5)
        # What may be missed at the ends counts too.
        error *= share
        missed = math.exp(min(end[p] - total[0][r], 0.0))
        if missed > share * noise[p]:
            clear, error = True, error + missed * (scale + b + 2.0 * a * b + b * b)
        # Kept: what is right, or too narrow to be halved.
        rough = clear and error > _TOLERANCE
        rough = rough or hidden[p] > total[0][r] - NEGLIGIBLE
        finest = half <= 4.0 * _EPS * abs(place[r] + centre) + 1e-300
        if rough and finest:
            error = max(error, max(share, missed) * scale)
        estimate[p], kept[p] = error + share * further[p], finest or not rough
    return estimate, kept


@njit(cache=True, error_model="numpy")
def _by_law(owner: Any, log_mass: Any, means: Any, variances: Any, size: int) -> tuple[Array, Array, Array]:
    """What panels say of their laws together, as in ``_Stats``; means are counted from that of the heaviest panel."""
    J = means.shape[1]
    total, mean, variance = np.full(size, -np.inf), np.zeros((size, J)), np.zeros((size, J))
    top, mass, near = np.full(size, -np.inf), np.zeros(size), np.zeros(size, np.intp)
    # The heaviest panel of each law.
    for p in range(owner.size):
        if log_mass[p] > top[owner[p]]:
            top[owner[p]], near[owner[p]] = log_mass[p], p
    # Masses and means relative to it,
    w = np.empty(owner.size)
    for p in range(owner.size):
        r = owner[p]
        w[p] = math.exp(log_mass[p] - top[r]) if log_mass[p] > -np.inf else 0.0
        mass[r] += w[p]
        for j in range(J):
            mean[r, j] += w[p] * (means[p, j] - means[near[r], j])
    for r in range(size):
        if mass[r] > 0.0:
            total[r] = top[r] + math.log(mass[r])
            mean[r] /= mass[r]
    # then variances about the means.
    for p in range(owner.size):
        r = owner[p]
        for j in range(J):
            gap = means[p, j] - means[near[r], j] - mean[r, j]
            variance[r, j] += w[p] * (variances[p, j] + gap * gap)
    for r in range(size):
        if mass[r] > 0.0:
            mean[r] += means[near[r]]
            variance[r] /= mass[r]
    return total, mean, variance


def _joined(stats: _Stats, other: _Stats | None) -> _Stats:
    """Two shares of the same laws together."""
    if other is None:
        return stats
    log_mass = np.logaddexp(stats.log_mass, other.log_mass)
    with np.errstate(invalid="ignore"):
        share = np.where(np.isneginf(other.log_mass), 0.0, np.exp(other.log_mass - log_mass))[:, None]
    gap = other.means - stats.means
    variances = stats.variances + share * (other.variances - stats.variances) + share * (1.0 - share) * gap * gap
    return _Stats(log_mass, stats.means + share * gap, variances)
