"""Joint beliefs of all arguments of a factor: tables of discrete ones, with the Gaussian law of real ones in each."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag

from factorgraph.factors.base import Array, Kind, Parameters
from factorgraph.messages.categories import log_laws
from factorgraph.messages.natural import Incoming
from factorgraph.messages.vectors import Laws, received

#: Largest table of the configurations of discrete arguments, of one factor.
MAX_JOINT = 2**24


class Joint(NamedTuple):
    """The law of the arguments of F factors: of D discrete and, in each of their configurations, of r real ones.

    Discrete arguments are in their order, and so are real ones, vectors by their components.

    Attributes:
        probabilities: (F, values of each discrete argument), with (+1, -1) for spins.
        mean: (F, values of each, r).
        covariance: (F, values of each, r, r); 0 where an argument is observed.
    """

    probabilities: Array
    mean: Array
    covariance: Array


def of_table(probabilities: Array) -> Joint:
    """Return the law of discrete arguments alone."""
    shape = probabilities.shape
    return Joint(probabilities, np.empty((*shape, 0)), np.empty((*shape, 0, 0)))


def of_reals(mean: Array, covariance: Array) -> Joint:
    """Return the law of real arguments alone, (F, r) and (F, r, r)."""
    return Joint(np.ones(len(mean)), mean, covariance)


def shares(log_weights: Array) -> Array:
    """Return log-weights (F, ...) as probabilities of each factor."""
    axes = tuple(range(1, log_weights.ndim))
    w = np.exp(log_weights - log_weights.max(axis=axes, keepdims=True))
    return w / w.sum(axis=axes, keepdims=True)


def configurations(counts: tuple[int, ...]) -> NDArray[np.intp]:
    """Return (S, D) numbers of the values of D arguments with so many values, in the order of a table's elements."""
    return np.indices(counts).reshape(len(counts), math.prod(counts)).T


def enumerated(kind: Kind, parameters: Parameters, incoming: Incoming) -> Joint | None:
    """Return the law of discrete arguments of any kind from its values; None if there are too many configurations."""
    states = kind.states or (0,) * len(kind.spins)
    counts = tuple(q or 2 for q in states)
    if math.prod(counts) > MAX_JOINT:
        return None
    numbers, laws = configurations(counts), log_laws(incoming.first, np.array(states, dtype=np.int64))
    shape = (len(laws), len(numbers))
    slots, log_w, place = [], np.zeros(shape), 0
    for q, count, own in zip(states, counts, numbers.T, strict=True):
        values = [own == c for c in range(q)] if q else [1.0 - 2.0 * own]
        slots += [np.broadcast_to(np.asarray(v, dtype=np.float64), shape) for v in values]
        log_w = log_w + laws[:, place + own]
        place += count
    return of_table(shares(log_w + kind.log_factor(parameters, *slots)).reshape(-1, *counts))


def gaussian(kind: Kind, parameters: Parameters, incoming: Incoming) -> Joint:
    """Return the law of a quadratic kind: in each state of its spins one Gaussian, all of the same covariance.

    States weigh what factor and laws are at the mean of each: no squares of large numbers are subtracted.
    """
    form = kind.quadratic_form(parameters)
    spins = np.flatnonzero(kind.spins)
    columns = components(kind)
    F, r, counts = len(incoming.first), len(columns), (2,) * len(spins)
    s = 1.0 - 2.0 * configurations(counts).astype(np.float64)
    centre, pull, precision, free = _laws(kind, incoming)
    # Precision matrices of the free components, and their slopes at the centre in each state.
    M, both = form.matrix[:, :, columns], free[:, :, None] & free[:, None, :]
    total = precision + np.einsum("fmi,fm,fmj->fij", M, form.weight, M)
    rest = form.target[:, None] - np.einsum("fmi,si->fsm", form.matrix[:, :, spins], s)
    at_centre = rest - np.einsum("fmi,fi->fm", M, centre)[:, None]
    slope = pull[:, None] + np.einsum("fmi,fm,fsm->fsi", M, form.weight, at_centre)
    if form.coupling.any():
        if r == 2:
            total[:, [0, 1], [1, 0]] -= form.coupling[:, None]
            slope += form.coupling[:, None, None] * centre[:, None, ::-1]
        else:
            slope += form.coupling[:, None, None] * s[None]
    covariance = np.where(both, np.linalg.inv(np.where(both, total, np.eye(r))), 0.0)
    shift = np.einsum("fij,fsj->fsi", covariance, slope)
    mean = centre[:, None] + shift
    log_w = np.zeros((F, len(s)))
    if len(spins):
        left = at_centre - np.einsum("fmi,fsi->fsm", M, shift)
        log_w = -0.5 * np.einsum("fm,fsm->fs", form.weight, left**2)
        log_w += np.einsum("fi,fsi->fs", pull, mean) - 0.5 * np.einsum("fsi,fij,fsj->fs", shift, precision, shift)
        if form.coupling.any():
            log_w += form.coupling[:, None] * s.T * mean[..., 0]
        log_w += _log_law_of_spins(incoming.first[:, spins], s)
    shape = (F, *counts)
    spread = np.broadcast_to(covariance[:, None], (F, len(s), r, r))
    return Joint(shares(log_w.reshape(shape)), mean.reshape(*shape, r), spread.reshape(*shape, r, r))


def _log_law_of_spins(h: Array, s: Array) -> Array:
    """Return log-weights (F, S) of states (S, D) of spins in fields (F, D)."""
    with np.errstate(over="ignore"):
        return -np.logaddexp(0.0, -2.0 * h[:, None] * s).sum(axis=2)


def components(kind: Kind) -> list[int]:
    """Return the slots of real arguments, and of the components of vectors."""
    if not kind.dimensions:
        return list(kind.reals)
    starts = np.cumsum([0, *(d * d for d in kind.dimensions[:-1])]).tolist()
    return [start + a * d for start, d in zip(starts, kind.dimensions, strict=True) for a in range(d)]


def _laws(kind: Kind, incoming: Incoming) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
    """Return cavity laws e^{pull·x - (x - c)·P(x - c)/2} of r components: centre c (F, r), pull, P (F, r, r), and which
    are free."""
    if not kind.dimensions:
        slots = list(kind.reals)
        first, second = incoming.first[:, slots], incoming.second[:, slots]
        free, flat = second != 0.0, np.isinf(second)
        P = np.where(free, 1.0 / np.where(free, second, 1.0), 0.0)
        return np.where(flat, 0.0, first), np.where(flat, first, 0.0), P[..., None] * np.eye(len(slots)), free
    laws: list[Laws] = []
    slot = 0
    for d in kind.dimensions:
        own = slice(slot, slot + d * d)
        laws.append(received(*(v[:, own].reshape(-1, d, d) for v in incoming[:2])))
        slot += d * d
    blocks = zip(*(law.precision for law in laws), strict=True)
    precision = np.array([block_diag(*matrices) for matrices in blocks])
    known = np.concatenate([law.known for law in laws], axis=1)
    information = np.concatenate([law.information for law in laws], axis=1)
    return known, information, precision, np.concatenate([law.free for law in laws], axis=1)
