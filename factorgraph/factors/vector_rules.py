"""Compiled rules of Gaussian factors of vectors, many at once, by the square roots of ``square_roots``.

A factor is given by W (m, Σd), w (m,) and σ (m,), laws by information h and precision matrix G as ``messages`` has
them. A cavity law that has no square root, because G has a negative eigenvalue, is one that loops may pass through;
then the same formulas are written with inverse matrices, for one factor at a time.
"""

from typing import Any

import numpy as np
from scipy.linalg import block_diag

from factorgraph.factors.square_roots import ROUNDING, law_of_rows, rows_of_natural, send, triangle, workspace
from factorgraph.messages.natural import Array
from factorgraph.messages.vectors import received
from factorgraph.numerics.special import LOG_2PI
from factorgraph.runtime.compiled import njit

_EPS = float(np.finfo(float).eps)


@njit(cache=True, error_model="numpy")
def whiten(C: Any, target: Any, noise: Any) -> Any:
    """W, w, σ and log det of the noise where it has any: rows C x = y + noise become independent ones.

    By a Cholesky factor with pivots. A pivot that is rounding is 0: what is left of its row has no noise.
    """
    F, m, D = C.shape
    W, w, sigma, log_det = np.empty((F, m, D)), np.empty((F, m)), np.zeros((F, m)), np.zeros(F)
    terms = np.empty((m, D))
    for f in range(F):
        S, left = noise[f].copy(), np.arange(m)
        for r in range(m):
            w[f, r] = target[f, r]
            for a in range(D):
                W[f, r, a], terms[r, a] = C[f, r, a], abs(C[f, r, a])
        for j in range(m):
            # The largest remaining variance is the next pivot.
            best, top = -1, 0.0
            for q in range(j, m):
                i = left[q]
                if S[i, i] > 16.0 * m * _EPS * noise[f, i, i] and S[i, i] > top:
                    best, top = q, S[i, i]
            if best < 0:
                break
            left[j], left[best] = left[best], left[j]
            # Its row, scaled to unit noise.
            i, root = left[j], np.sqrt(top)
            log_det[f], sigma[f, i] = log_det[f] + np.log(top), 1.0
            w[f, i] /= root
            for a in range(D):
                W[f, i, a], terms[i, a] = W[f, i, a] / root, terms[i, a] / root
            # Its part out of the rows that are left, and out of their noise.
            for q in range(j + 1, m):
                k = left[q]
                share = S[k, i] / root
                for a in range(D):
                    W[f, k, a] -= share * W[f, i, a]
                    terms[k, a] += abs(share) * terms[i, a]
                    if abs(W[f, k, a]) <= ROUNDING * terms[k, a]:
                        W[f, k, a] = 0.0
                w[f, k] -= share * w[f, i]
            for q in range(j + 1, m):
                for p in range(j + 1, m):
                    S[left[q], left[p]] -= S[left[q], i] * S[i, left[p]] / top
    return W, w, sigma, log_det


@njit(cache=True, error_model="numpy")
def undetermined(W: Any, sigma: Any, sizes: Any, free: Any) -> int:
    """The first factor whose rows without noise, for given values of one argument, need not have a solution; or -1.

    They always have one if the free components of the other arguments have coefficients of full row rank.
    """
    F, m, D = W.shape
    X, order, zero = np.empty((D, m)), np.empty(m, np.int64), np.empty(m)
    for f in range(F):
        column = 0
        for own in range(-1, sizes.size):
            # Free components of the other arguments in the rows without noise: full row rank?
            end = column + (sizes[own] if own >= 0 else 0)
            n, rows = 0, 0
            for a in range(D):
                if free[f, a] and not column <= a < end:
                    rows = 0
                    for r in range(m):
                        if sigma[f, r] == 0.0:
                            X[n, rows] = W[f, r, a]
                            rows += 1
                    n += 1
            rows = m - int(sigma[f].sum())
            if (own < 0 or np.any(free[f, column:end])) and triangle(X, n, rows, rows, order, zero, ROUNDING) < rows:
                return f
            column = end
    return -1


@njit(cache=True, error_model="numpy")
def _law(first: Any, second: Any, laws: Any, place: int, tilt: Any, work: Any) -> tuple[int, float]:
    """Fill in the law of a vector at its place; its rank, -1 without a square root, and log ∫ over g."""
    X, order, zero = work[2:5]
    d = len(first)
    # Observed components leave the law, their values come back at the end.
    h, G, known = first[:, 0].copy(), second.copy(), 0
    for a in range(d):
        if np.isinf(second[a, a]):
            h[a], known = 0.0, known + 1
            for b in range(d):
                G[a, b], G[b, a] = 0.0, 0.0
            G[a, a] = 1.0  # an independent normal component, that no factor sees
    # Its square root, then mean and columns.
    rank = rows_of_natural(h, G, X, d, order, zero, tilt)
    if rank < 0:
        return rank, np.nan
    log_z = law_of_rows(X, rank, d, order, laws, place) - 0.5 * known * LOG_2PI
    for i in range(rank):
        log_z += 0.5 * X[i, d] * X[i, d]
    for a in range(d):
        if np.isinf(second[a, a]):
            to = place + a * (d + 1)
            for b in range(d):
                laws[to + b] = 0.0
            laws[to + d] = first[a, 0]
    return rank, log_z


@njit(part=True, error_model="numpy")
def _laws(first: Any, second: Any, sizes: Any, laws: Any, rank: Any, tilts: Any, work: Any) -> float:
    """Fill in the laws of all arguments of a factor; the sum of their logarithms, NaN if one has no square root."""
    log_z, slot, place = 0.0, 0, 0
    for i in range(sizes.size):
        d = sizes[i]
        h, G = first[slot : slot + d * d].reshape(d, d), second[slot : slot + d * d].reshape(d, d)
        rank[i], log_integral = _law(h, G, laws, place, tilts[i], work)
        log_z, slot, place = log_z + log_integral, slot + d * d, place + d * (d + 1)
    return log_z


@njit(part=True, error_model="numpy")
def _tilt(own: int, sizes: Any, rank: Any, tilts: Any, tilt: Any) -> None:
    """Fill in the tilts of all arguments but one, side by side."""
    to = 0
    for i in range(sizes.size):
        if i != own:
            for b in range(sizes[i] - rank[i]):
                tilt[to] = tilts[i, b]
                to += 1


@njit(part=True, error_model="numpy")
def _arrays(W: Any, sizes: Any) -> Any:
    """Places of the laws, laws, ranks, tilts, their concatenation and a workspace for factors of one kind."""
    m, D = W.shape[1:]
    maximum, k = np.max(sizes), sizes.size
    places = np.zeros(k + 1, np.int64)
    places[1:] = np.cumsum(sizes * (sizes + 1))
    laws, rank, tilts = np.empty(places[-1]), np.empty(k, np.int64), np.empty((k, maximum))
    return places, laws, rank, tilts, np.empty(D + maximum), workspace(m, D + maximum)


@njit(cache=True, error_model="numpy")
def _messages(factors: Any, sizes: Any, first: Any, second: Any, wanted: Any) -> Any:
    """The messages B and A, and of those that are wanted (F, k) the ones that need laws without square roots."""
    W, w, sigma = factors
    B, A, missing = np.zeros(first.shape), np.zeros(first.shape), np.zeros(wanted.shape, np.bool_)
    places, laws, rank, tilts, tilt, work = _arrays(W, sizes)
    extra = np.empty(W.shape[2])
    for f in range(len(W)):
        _laws(first[f], second[f], sizes, laws, rank, tilts, work)
        slot = 0
        for own in range(sizes.size):
            d = sizes[own]
            end = slot + d * d
            to_B, to_A = B[f, slot:end].reshape(d, d), A[f, slot:end].reshape(d, d)
            if wanted[f, own]:
                # A message needs the square roots of all other laws.
                proper = True
                for i in range(sizes.size):
                    proper = proper and (i == own or rank[i] >= 0)
                if proper:
                    _tilt(own, sizes, rank, tilts, tilt)
                    # Rows of the message, as natural parameters, and what flat directions add.
                    for a in range(d):
                        extra[a] = 0.0
                    factor = W[f], w[f], sigma[f]
                    rows = send(own, 0, sizes.size, factor, (places, sizes, rank), laws, work, tilt, extra)[0]
                    natural(work[5], rows, d, to_B, to_A)
                    for a in range(d):
                        to_B[a, 0] += extra[a]
                missing[f, own] = not proper
            slot = end
    return B, A, missing


@njit(part=True, error_model="numpy")
def natural(rows: Any, count: int, d: int, B: Any, A: Any) -> None:
    """Add to B (its first column) and A (d, d) what rows [R, z] are as e^{B·x - x·Ax/2}."""
    for r in range(count):
        for a in range(d):
            B[a, 0] += rows[r, a] * rows[r, d]
            for b in range(d):
                A[a, b] += rows[r, a] * rows[r, b]


@njit(cache=True, error_model="numpy")
def _log_integrals(factors: Any, sizes: Any, first: Any, second: Any) -> Any:
    """See ``log_integrals``; -∞ without square roots."""
    W, w, sigma = factors
    result = np.empty(len(W))
    places, laws, rank, tilts, tilt, work = _arrays(W, sizes)
    for f in range(len(W)):
        log_z = _laws(first[f], second[f], sizes, laws, rank, tilts, work)
        if np.min(rank) < 0:
            result[f] = -np.inf
            continue
        _tilt(-1, sizes, rank, tilts, tilt)
        # Integrate over all arguments: what is left are the squares of the rows without any.
        _, log_factor, (seen, _, flat, _) = send(
            -1, 0, sizes.size, (W[f], w[f], sigma[f]), (places, sizes, rank), laws, work, tilt, tilt
        )
        square = 0.0
        for r in range(W.shape[1] - seen):
            square += work[5][r, 0] ** 2
        result[f] = log_z + log_factor + 0.5 * (W.shape[1] * LOG_2PI - square) if seen == flat else np.nan
    return result


@njit(cache=True, error_model="numpy")
def _expected_squares(factors: Any, sizes: Any, first: Any, second: Any) -> Any:
    """See ``expected_squares``; -∞ without square roots.

    The noise has mean Kᵀζ and covariance 1 - KᵀK with K = S^-½ σ and ζ = S^-½ (w - U mean), rows that fix t left out.
    """
    W, w, sigma = factors
    result = np.empty(len(W))
    places, laws, rank, tilts, tilt, work = _arrays(W, sizes)
    for f in range(len(W)):
        _laws(first[f], second[f], sizes, laws, rank, tilts, work)
        if np.min(rank) < 0:
            result[f] = -np.inf
            continue
        _tilt(-1, sizes, rank, tilts, tilt)
        rows, _, (seen, _, _, _) = send(
            -1, 0, sizes.size, (W[f], w[f], sigma[f]), (places, sizes, rank), laws, work, tilt, tilt
        )
        Y, _, X, order, column, zeta = work
        noisy = int(np.sum(sigma[f]))
        result[f] = noisy
        for c in range(noisy):
            mean = 0.0
            # Column c of K by forward substitution in the triangle that ``send`` has left.
            for j in range(rows):
                column[j] = Y[seen + order[j], c]
                for i in range(j):
                    column[j] -= X[i, order[j]] * column[i]
                column[j] /= X[j, order[j]]
                mean += column[j] * zeta[j, 0]
                result[f] -= column[j] ** 2
            result[f] += mean * mean
    return result


# ---- any laws --------------------------------------------------------------------------------------------------------


def messages(factors: Any, sizes: Any, first: Array, second: Array, wanted: Any) -> tuple[Array, Array]:
    """Return the messages B and A (F, slots) to the arguments (F, k) that are wanted."""
    B, A, missing = _messages(factors, sizes, first, second, wanted)
    ends = np.cumsum([0, *(sizes * sizes)])
    for f, own in np.argwhere(missing):
        d, places = sizes[own], slice(ends[own], ends[own + 1])
        W, w, sigma = _one(factors, f)
        information, precision = _message(W, w, sigma, sizes, own, first[f], second[f])
        A[f, places], B[f, places.start : places.stop : d] = precision.ravel(), information
    return B, A


def log_integrals(factors: Any, sizes: Any, first: Array, second: Array) -> Array:
    """Return log ∫ e^{-|w - W x|²/2} e^{h·x - x·Gx/2} dx (F,), with a delta function where σ is 0; NaN where it
    diverges."""
    result = _log_integrals(factors, sizes, first, second)
    for f in np.flatnonzero(np.isneginf(result)):
        W, w, sigma = _one(factors, f)
        U, rest, h, G = _joint(W, w, sizes, -1, first[f], second[f])
        M, b = G + U.T @ U, h + U.T @ rest
        if np.any(sigma == 0.0) or not np.all(np.isfinite(M)) or np.linalg.eigvalsh(M)[0] <= 0.0:
            result[f] = np.nan
            continue
        free = len(b) - np.isinf(second[f]).sum()
        result[f] = 0.5 * (b @ np.linalg.solve(M, b) + free * LOG_2PI - np.linalg.slogdet(M)[1] - rest @ rest)
    return result


def expected_squares(factors: Any, sizes: Any, first: Array, second: Array) -> Array:
    """Return E|w - W x|² (F,) under the factors' beliefs, of the rows with noise."""
    result = _expected_squares(factors, sizes, first, second)
    for f in np.flatnonzero(np.isneginf(result)):
        W, w, _ = _one(factors, f)
        U, rest, h, G = _joint(W, w, sizes, -1, first[f], second[f])
        covariance = np.linalg.pinv(G + U.T @ U, hermitian=True)
        rest = rest - U @ covariance @ (h + U.T @ rest)
        result[f] = rest @ rest + np.trace(U @ covariance @ U.T)
    return result


def _one(factors: Any, f: Any) -> Any:
    return tuple(values[f] for values in factors)


def _joint(W: Array, w: Array, sizes: Any, own: int, first: Array, second: Array) -> tuple[Array, Array, Array, Array]:
    """Return U without the columns of one argument and 0 where observed, w less the part of those, and the laws' h and
    G."""
    U, rest, h, G = [], w, [], []
    slot, column = 0, 0
    for i, d in enumerate(sizes):
        if i != own:
            law = received(*(values[slot : slot + d * d].reshape(1, d, d) for values in (first, second)))
            block = W[:, column : column + d]
            U.append(np.where(law.free[0], block, 0.0))
            rest = rest - block @ law.known[0]
            h.append(law.information[0])
            G.append(law.precision[0])
        slot, column = slot + d * d, column + d
    return np.concatenate(U, axis=1), rest, np.concatenate(h), np.asarray(block_diag(*G), dtype=np.float64)


def _message(
    W: Array, w: Array, sigma: Array, sizes: Any, own: int, first: Array, second: Array
) -> tuple[Array, Array]:
    """Return Wᵀ K (w - U G⁻¹ h) and Wᵀ K W with K = (diag σ + U G⁻¹ Uᵀ)⁻¹, which is 1 - U (G + UᵀU)⁻¹ Uᵀ if all σ are
    1."""
    U, rest, h, G = _joint(W, w, sizes, own, first, second)
    start = int(sizes[:own].sum())
    back = W[:, start : start + sizes[own]].T
    if not (np.all(np.isfinite(G)) and np.all(np.isfinite(h))):
        return np.full(len(back), np.nan), np.full((len(back), len(back)), np.nan)
    if np.all(sigma > 0.0):
        gain = U @ np.linalg.pinv(G + U.T @ U, hermitian=True)
        precision, information = back @ (back.T - gain @ (U.T @ back.T)), back @ (rest - gain @ (h + U.T @ rest))
    else:
        inverse = np.linalg.pinv(G, hermitian=True)
        K = np.linalg.pinv(np.diag(sigma) + U @ inverse @ U.T, hermitian=True)
        precision, information = back @ K @ back.T, back @ K @ (rest - U @ inverse @ h)
    return information, 0.5 * (precision + precision.T)
