"""Gaussian laws of vectors by square roots: precisions of very different size are never added or subtracted.

A law, or a message, is kept as rows R x = z of unit noise, e^{-|R x - z|²/2}: a noise of variance q and a prior of
variance 1 are rows of sizes q^-½ and 1, where precision matrices would have to hold 1/q and 1 in one element. For a
factor Σ U_j x_j + W x + σ e = w with unit noise e (σ = 1, or 0 in rows without noise, which is all that a singular
covariance is) the other arguments are written as x_j = mean + C g + N t, with independent standard normals g, and t
free in directions of which nothing is known. The message is then

    S^-½ (W x - r) with S^½ (S^½)ᵀ = σσᵀ + Σ U_j C_j C_jᵀ U_jᵀ and r = w - Σ U_j mean_j,

of the rows that remain when those that fix t have been eliminated. All triangles come from Householder reflections
with pivots among rows and columns, whose errors are small in every row by itself [Powell-Reid 1969, Cox-Higham 1998].

Nothing is 0 by its own size: a number counts as 0 where it is rounding beside the terms that it is the sum of. Those
are deviations here, not variances, which may be 2^80 apart in one law.
"""

import math
from typing import Any

import numpy as np

from factorgraph.messages.vectors import ROUNDING
from factorgraph.numerics.special import LOG_2PI
from factorgraph.runtime.compiled import njit


@njit(part=True)
def workspace(rows: int, columns: int) -> Any:
    """Arrays for factors of at most so many rows, on vectors of at most so many components together."""
    size = 2 * (rows + columns) + 2
    order, zero = np.empty(size, np.int64), np.empty(size)
    return np.empty((rows, size)), np.empty((rows, size)), np.empty((size, size)), order, zero, np.empty((rows, size))


@njit(part=True, error_model="numpy")
def triangle(X: Any, n: int, d: int, width: int, order: Any, zero: Any, rounding: float) -> int:
    """Make X (n, width) triangular in its first d columns, which are taken in ``order``; their rank."""
    for c in range(d):
        order[c], zero[c] = c, 0.0
        # Columns of less than ``rounding`` of their size count as zero.
        for i in range(n):
            zero[c] += X[i, c] * X[i, c]
        zero[c] *= rounding * rounding
    for j in range(min(n, d)):
        # The longest remaining column is the next pivot.
        best, top = -1, 0.0
        for q in range(j, d):
            c, square = order[q], 0.0
            for i in range(j, n):
                square += X[i, c] * X[i, c]
            if square > zero[c] and square > top:
                best, top = q, square
        if best < 0:
            return j
        order[j], order[best] = order[best], order[j]
        # Its largest row comes first, for rows of very different size.
        c, row = order[j], j
        for i in range(j + 1, n):
            if abs(X[i, c]) > abs(X[row, c]):
                row = i
        if row != j:
            for k in range(width):
                X[j, k], X[row, k] = X[row, k], X[j, k]
        # The Householder reflection that leaves alpha in this row, applied to all columns to come.
        alpha = -math.copysign(math.sqrt(top), X[j, c])
        pivot = X[j, c] - alpha
        for q in range(j + 1, width):
            k = order[q] if q < d else q
            share = pivot * X[j, k]
            for i in range(j + 1, n):
                share += X[i, c] * X[i, k]
            share /= alpha * pivot
            X[j, k] += share * pivot
            for i in range(j + 1, n):
                X[i, k] += share * X[i, c]
        X[j, c] = alpha
        for i in range(j + 1, n):
            X[i, c] = 0.0
    return min(n, d)


@njit(part=True, error_model="numpy")
def law_of_rows(X: Any, rank: int, d: int, order: Any, laws: Any, place: int) -> float:
    """Fill in a law (d, d + 1) at its place, the columns of C, N and the mean, from rows [R, z]; log ∫ over g."""
    log_size, width = 0.5 * rank * LOG_2PI, d + 1
    # Back substitution from the last row; components without a row are free.
    for i in range(d - 1, -1, -1):
        to = place + order[i] * width
        if i >= rank:
            for b in range(width):
                laws[to + b] = 1.0 if b == i else 0.0
            continue
        pivot = X[i, order[i]]
        log_size -= math.log(abs(pivot))
        for b in range(width):
            if b < rank:
                value = 1.0 if b == i else 0.0
            else:
                value = -X[i, order[b]] if b < d else X[i, d]
            for k in range(i + 1, rank):
                value -= X[i, order[k]] * laws[place + order[k] * width + b]
            laws[to + b] = value / pivot
    return log_size


@njit(part=True, error_model="numpy")
def rows_of_natural(h: Any, G: Any, X: Any, d: int, order: Any, zero: Any, tilt: Any) -> int:
    """Rows [R, z] of the law e^{h·x - x·Gx/2}, by a Cholesky factor with pivots, as ``triangle`` leaves them; the rank.

    ``tilt`` gets what h says in directions in which G is 0. The rank is -1 if G has a negative eigenvalue.
    """
    # Largest pivot first; what is left of a diagonal entry below its rounding is zero.
    S = G.copy()
    for c in range(d):
        order[c], zero[c], tilt[c] = c, ROUNDING * abs(G[c, c]), h[c]
    rank = d
    for j in range(d):
        best, top = -1, 0.0
        for q in range(j, d):
            c = order[q]
            if S[c, c] > zero[c] and S[c, c] > top:
                best, top = q, S[c, c]
        if best < 0:
            rank = j
            break
        order[j], order[best] = order[best], order[j]
        # Row j of R, z_j, and h less their part.
        c, root = order[j], math.sqrt(top)
        for k in range(d):
            X[j, k] = 0.0
        X[j, c] = root
        X[j, d] = tilt[c] / root
        for q in range(j + 1, d):
            k = order[q]
            X[j, k] = S[c, k] / root
            size = abs(tilt[k]) + abs(X[j, k] * X[j, d])
            tilt[k] -= X[j, k] * X[j, d]
            if abs(tilt[k]) <= ROUNDING * size:
                tilt[k] = 0.0
        # The Schur complement.
        for q in range(j + 1, d):
            for p in range(j + 1, d):
                S[order[q], order[p]] -= X[j, order[q]] * X[j, order[p]]
    # What is left must be zero, or G had a negative eigenvalue.
    for q in range(rank, d):
        for p in range(rank, d):
            a, b = order[q], order[p]
            if not abs(S[a, b]) <= math.sqrt(zero[a] * zero[b]):
                return -1
    for q in range(rank, d):
        zero[q - rank] = tilt[order[q]]
    for q in range(d - rank):
        tilt[q] = zero[q]
    return rank


@njit(part=True, error_model="numpy", forceinline=True)
def _collect(own: int, first: int, end: int, factor: Any, arguments: Any, laws: Any, work: Any) -> tuple[int, int, int]:
    """Fill in Y = [σ, U C | U N | W | w - U mean], and T with the sizes of terms in U N and W; numbers of columns."""
    W, w, sigma = factor
    place, size, rank = arguments
    Y, T = work[:2]
    # Columns: noise and g first, then t, then x.
    m, regular, flat, p = len(w), 0, 0, 0
    for e in range(first, end):
        if e == own:
            p = size[e]
        else:
            regular, flat = regular + rank[e], flat + size[e] - rank[e]
    for r in range(m):
        if sigma[r] > 0.0:
            regular += 1
    # The last column w, and one column for the noise of each row that has any.
    last = regular + flat + p
    to = 0
    for r in range(m):
        for c in range(last):
            Y[r, c] = 0.0
        Y[r, last] = w[r]
        if sigma[r] > 0.0:
            Y[r, to] = 1.0
            to += 1
    at, column = 0, 0
    for e in range(first, end):
        d = size[e]
        # The addressee's columns as they are; those of the others times the columns of their law.
        if e == own:
            for r in range(m):
                for b in range(d):
                    Y[r, regular + flat + b], T[r, flat + b] = W[r, column + b], abs(W[r, column + b])
        else:
            for r in range(m):
                for b in range(d + 1):
                    value = 0.0
                    for a in range(d):
                        value += W[r, column + a] * laws[place[e] + a * (d + 1) + b]
                    if b == d:
                        Y[r, last] -= value
                    elif b < rank[e]:
                        Y[r, to + b] = value
                    else:
                        k, terms = at + b - rank[e], 0.0
                        for a in range(d):
                            terms += abs(W[r, column + a] * laws[place[e] + a * (d + 1) + b])
                        Y[r, regular + k], T[r, k] = value if abs(value) > ROUNDING * terms else 0.0, terms
            to, at = to + rank[e], at + d - rank[e]
        column += d
    return regular, flat, p


@njit(part=True, error_model="numpy")
def _fix_flat(m: int, regular: int, flat: int, p: int, work: Any, tilt: Any) -> tuple[int, float]:
    """Eliminate t by pivots among the m rows of Y, whose rows come first then; their number, log |their product|."""
    Y, T = work[:2]
    log_pivots = 0.0
    for s in range(min(m, flat)):
        # The largest entry that is left in the columns of t is the next pivot.
        row, col = s, s
        for i in range(s, m):
            for k in range(s, flat):
                if abs(Y[i, regular + k]) > abs(Y[row, regular + col]):
                    row, col = i, k
        pivot = Y[row, regular + col]
        if pivot == 0.0:
            return s, log_pivots
        log_pivots += math.log(abs(pivot))
        # Its row and column come next.
        for k in range(regular + flat + p + 1):
            Y[s, k], Y[row, k] = Y[row, k], Y[s, k]
        for k in range(flat + p):
            T[s, k], T[row, k] = T[row, k], T[s, k]
        for i in range(m):
            a, b = regular + s, regular + col
            Y[i, a], Y[i, b], T[i, s], T[i, col] = Y[i, b], Y[i, a], T[i, col], T[i, s]
        tilt[s], tilt[col] = tilt[col], tilt[s]
        # Out of the rows below; what is left of a sum below its rounding is zero.
        for i in range(s + 1, m):
            share = Y[i, regular + s] / pivot
            if share == 0.0:
                continue
            for k in range(regular + flat + p + 1):
                Y[i, k] -= share * Y[s, k]
            for k in range(s, flat + p):
                T[i, k] += abs(share) * T[s, k]
                if abs(Y[i, regular + k]) <= ROUNDING * T[i, k]:
                    Y[i, regular + k] = 0.0
    return min(m, flat), log_pivots


@njit(part=True, error_model="numpy")
def _lean(seen: int, m: int, regular: int, flat: int, p: int, work: Any, tilt: Any, B: Any) -> float:
    """The factor e^{η·t}, η = ``tilt``: what the rows that fix t make of it, for the other rows, x (in B) and log Z."""
    Y = work[0]
    last, log_z = regular + flat + p, 0.0
    # η in terms of the rows that fix t: forward substitution, and what they say of w and x.
    for s in range(seen):
        for k in range(s):
            tilt[s] -= tilt[k] * Y[k, regular + s]
        tilt[s] /= Y[s, regular + s]
        log_z += tilt[s] * Y[s, last]
        for b in range(p):
            B[b] -= tilt[s] * Y[s, regular + flat + b]
    # The mean of noise and g moves by what those rows hold of them.
    for c in range(regular):
        shift = 0.0
        for s in range(seen):
            shift += tilt[s] * Y[s, c]
        log_z += 0.5 * shift * shift
        for i in range(seen, m):
            Y[i, last] += Y[i, c] * shift
    return log_z


@njit(part=True, error_model="numpy", forceinline=True)
def _divide(seen: int, m: int, regular: int, flat: int, p: int, work: Any, message: Any) -> float:
    """Fill in ``message``, the other rows divided by S^½, whose triangle is left in ``work``; log det S^½, or NaN."""
    Y, T, X, order, zero = work[:5]
    # S^½ is the triangle of the columns of noise and g.
    k = m - seen
    for c in range(regular):
        for j in range(k):
            X[c, j] = Y[seen + j, c]
    if triangle(X, regular, k, k, order, zero, 0.0) < k:
        return math.nan
    # Forward substitution; what is left of a sum below its rounding is zero.
    log_det = 0.0
    for j in range(k):
        c, row = order[j], seen + order[j]
        log_det += math.log(abs(X[j, c]))
        for b in range(p + 1):
            value, terms = Y[row, regular + flat + b], 0.0
            if b < p:
                terms = T[row, flat + b]
            for i in range(j):
                value -= X[i, c] * message[i, b]
                terms += abs(X[i, c] * message[i, b])
            message[j, b] = value / X[j, c] if b == p or abs(value) > ROUNDING * terms else 0.0
    return log_det


@njit(part=True, error_model="numpy")
def send(own: int, first: int, end: int, factor: Any, arguments: Any, laws: Any, work: Any, tilt: Any, B: Any) -> Any:
    """The message of a factor to one of its edges: rows [R, z] left in the last array of ``work``.

    Args:
        own: the edge; -1 to integrate over all arguments.
        first: the first edge of the factor.
        end: the one behind its last.
        factor: W, w and σ.
        arguments: of all edges the place of their law in ``laws``, the dimension, and the rank.
        laws: those of ``law_of_rows``.
        work: from ``workspace``.
        tilt: (flat,) natural parameters η of the law's directions N, the factor's other arguments one after the other.
        B: (d,) gets what η leaves besides the rows.

    Returns:
        the number of rows, the logarithm of what stands before e^{-|R x - z|²/2}, and the sizes that ``Y`` has: rows
        that fix t, columns of g, of t, and of x.
    """
    m = len(factor[1])
    regular, flat, p = _collect(own, first, end, factor, arguments, laws, work)
    # First what fixes t, the directions in which the others are flat; then the Gaussian rest.
    log_z, seen = 0.0, 0
    if flat:
        seen, log_pivots = _fix_flat(m, regular, flat, p, work, tilt)
        log_z -= log_pivots
        leaning = False
        for s in range(seen):
            leaning = leaning or tilt[s] != 0.0
        if leaning:
            log_z += _lean(seen, m, regular, flat, p, work, tilt, B)
    log_z -= _divide(seen, m, regular, flat, p, work, work[5]) + 0.5 * (m - seen) * LOG_2PI
    return m - seen, log_z, (seen, regular, flat, p)
