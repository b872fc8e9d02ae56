"""Moments of the rows of Z given their outputs: one integral over R^d a row.

A row has z ~ N(r, Γ⁻¹) and outputs y = f(z + c) W¹ + b + noise. Whitened by the cavity law, the outputs are narrow
along the direction of steepest ascent and broad across it. Across, Gauss-Hermite nodes follow the Gaussian law that
belongs to the best linear function; along every such line the integral is done exactly (ReLU: a sequence of truncated
normal laws between the kinks) or by the trapezoidal rule (sigmoid), which converges exponentially for what falls off
at both ends.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from factorgraph.messages.linear_node import inverses, symmetric
from factorgraph.numerics.quadrature import gauss_hermite, sobol_normals
from factorgraph.numerics.special import LOG_2PI, SQRT_HALF, upper_tail
from factorgraph.runtime.compiled import njit
from models.two_layer.head import Head

Array = NDArray[np.float64]

_SQRT_2PI = math.sqrt(2.0 * math.pi)
_NEGLIGIBLE = -30.0  # exponents relative to the largest
_REACH = 5.0  # deviations to which the trapezoidal rule reaches beyond the cavity's mean and the linear estimate
_STEP = 1.0  # its step in units of the narrowest possible width: relative errors of about 2 e^{-2π²} = 5e-9
_MAX_STEPS = 400
_TIE = 1e-6


class Moments(NamedTuple):
    """Of the rows of Z given their outputs.

    Attributes:
        mean: (N, d).
        covariance: (N, d, d).
        log_evidence: log-density of the outputs, (N,).
    """

    mean: Array
    covariance: Array
    log_evidence: Array


def row_moments(head: Head, R: Array, precision: Array, Y: Array, *, nodes: int) -> Moments:
    """Return posterior moments of the rows of Z.

    Args:
        head: with a ReLU or sigmoid activation.
        R: cavity means (N, d).
        precision: Γ, their common precision (d, d), positive definite.
        Y: outputs (N, outputs).
        nodes: about how many lines a row is integrated along.
    """
    covariance = inverses(precision)
    L = np.linalg.cholesky(0.5 * (covariance + covariance.T))
    W = head.scaled_weights
    near = head.linearised(R, covariance)
    noise = 1.0 + np.max(near.residual @ W**2, axis=1)  # residuals of the linear function count as noise
    slopes = L.T @ (near.slope[:, :, None] * W)  # of the outputs, by whitened coordinates
    excess = head.scaled(Y) - near.mean @ W
    gains = slopes @ np.swapaxes(slopes, 1, 2)
    free = _TIE * (1.0 + np.trace(gains, axis1=1, axis2=2))[:, None, None]
    axes = np.linalg.eigh(gains + free * _choices(len(R), head.d))[1][:, :, ::-1]
    values = (axes * (gains @ axes)).sum(axis=1)
    deviation = 1.0 / np.sqrt(1.0 + np.maximum(values, 0.0) / noise[:, None])
    pull = np.einsum("nio,no->ni", slopes, excess)
    centre = np.einsum("nij,ni->nj", axes, pull) / noise[:, None] * deviation**2
    points, weights = _across(head.d - 1, nodes)
    basis = np.ascontiguousarray(L @ axes)
    first, second, logs = _integrate(
        head.activation.name == "relu",
        np.ascontiguousarray(R + head.hidden_bias),
        basis,
        centre,
        deviation,
        np.ascontiguousarray(head.scaled(Y)),
        W,
        points,
        weights,
        head.activation.steepest,
    )
    M = R + np.einsum("nij,nj->ni", basis, first)
    logs = logs + np.log(deviation[:, 1:]).sum(axis=1) - 0.5 * (LOG_2PI + head.log_noise)
    return Moments(M, basis @ second @ np.swapaxes(basis, 1, 2), logs)


@lru_cache(maxsize=4)
def _choices(rows: int, d: int) -> Array:
    """Return symmetric matrices (rows, d, d) that settle the axes where the outputs leave them free: for every row in
    another way, so that errors of the rule average out, but always in the same way."""
    matrices = np.random.default_rng(0).standard_normal((rows, d, d))
    return symmetric(matrices)


@lru_cache(maxsize=16)
def _across(dimension: int, nodes: int) -> tuple[Array, Array]:
    """Return points (n, dimension) and weights (n,) of standard normal averages: a product of Gauss-Hermite rules, or
    Sobol's points where three nodes an axis would be too many."""
    if dimension == 0:
        return np.zeros((1, 0)), np.ones(1)
    order = math.floor(nodes ** (1.0 / dimension) + 1e-9)
    if order < 3:
        size = 2 ** math.ceil(math.log2(nodes))
        return np.ascontiguousarray(sobol_normals(dimension, size)), np.full(size, 1.0 / size)
    x, w = gauss_hermite(order)
    grid = np.meshgrid(*[x] * dimension, indexing="ij")
    weights = np.prod(np.meshgrid(*[w] * dimension, indexing="ij"), axis=0)
    return np.stack(grid, axis=-1).reshape(-1, dimension), weights.ravel()


@njit(cache=True, error_model="numpy")
def _integrate(
    relu: bool, base: Any, basis: Any, centre: Any, deviation: Any, y: Any, W: Any, points: Any, weights: Any,
    steepest: float,
) -> Any:  # fmt: skip
    """Mean (N, d) and covariance (N, d, d) of the coordinates along ``basis``; log-integrals (N,) up to constants."""
    N, d = base.shape
    lines = points.shape[0]
    mean, covariance, logs = np.zeros((N, d)), np.zeros((N, d, d)), np.zeros(N)
    across, start = np.zeros((d, lines)), np.zeros((d, lines))
    result, ends, pieces = np.zeros((4, lines)), np.zeros(d + 2), np.zeros((d + 1, 5))
    units, rest, levels = np.zeros((2, d, lines)), np.zeros(lines), np.zeros((_MAX_STEPS, lines))
    for n in range(N):
        along = basis[n, :, 0].copy()
        for i in range(1, d):
            for q in range(lines):
                across[i, q] = centre[n, i] + deviation[n, i] * points[q, i - 1]
        for j in range(d):
            start[j] = base[n, j]
            for i in range(1, d):
                for q in range(lines):
                    start[j, q] += basis[n, j, i] * across[i, q]
        if relu:
            for q in range(lines):
                _relu_line(start[:, q], along, y[n], W, ends, pieces, result[:, q])
        else:
            _sigmoid_lines(start, along, y[n], W, centre[n, 0], steepest, units, rest, levels, result)
        for q in range(lines):  # weights relative to the law of the points
            for i in range(1, d):
                result[0, q] += 0.5 * (points[q, i - 1] ** 2 - across[i, q] ** 2)
        reference, total = np.max(result[0]), 0.0
        m, S = mean[n], covariance[n]
        for q in range(lines):
            weight = weights[q] * math.exp(result[0, q] - reference)
            mass, first = weight * result[1, q], weight * result[2, q]
            total += mass
            m[0] += first
            S[0, 0] += weight * result[3, q]
            for i in range(1, d):
                m[i] += mass * across[i, q]
                S[0, i] += first * across[i, q]
                for j in range(i, d):
                    S[i, j] += mass * across[i, q] * across[j, q]
        logs[n] = reference + math.log(total)
        for i in range(d):
            m[i] /= total
        for i in range(d):
            for j in range(i, d):
                S[i, j] = S[i, j] / total - m[i] * m[j]
                S[j, i] = S[i, j]
    return mean, covariance, logs


@njit(part=True, error_model="numpy")
def _sigmoid_lines(
    start: Any, along: Any, y: Any, W: Any, centre: float, steepest: float, units: Any, rest: Any, levels: Any,
    result: Any,
) -> None:  # fmt: skip
    """(log scale, mass, first, second moment) of t under e^{-t²/2} × the law of y at start + t along, for all lines."""
    d, outputs = W.shape
    bound = 1.0  # of the posterior's precision along the line
    for o in range(outputs):
        slope = 0.0
        for j in range(d):
            slope += abs(W[j, o] * along[j])
        bound += (steepest * slope) ** 2
    low, high = min(0.0, centre) - _REACH, max(0.0, centre) + _REACH
    steps = min(int((high - low) * math.sqrt(bound) / _STEP) + 2, _MAX_STEPS)
    h = (high - low) / (steps - 1)
    lines = rest.size
    tails, values = units[0], units[1]
    for j in range(d):  # e^{-z} along a line is a geometric sequence
        for q in range(lines):
            tails[j, q] = math.exp(-min(max(start[j, q] + low * along[j], -700.0), 700.0))
    for k in range(steps):
        for j in range(d):
            ratio = math.exp(-h * along[j])
            for q in range(lines):
                values[j, q] = 1.0 / (1.0 + tails[j, q])
                tails[j, q] *= ratio
        t = low + k * h
        for q in range(lines):
            levels[k, q] = -0.5 * t * t
        for o in range(outputs):
            for q in range(lines):
                rest[q] = y[o]
            for j in range(d):
                w = W[j, o]
                for q in range(lines):
                    rest[q] -= w * values[j, q]
            for q in range(lines):
                levels[k, q] -= 0.5 * rest[q] * rest[q]
    for q in range(lines):
        result[0, q] = levels[0, q]
        result[1, q] = result[2, q] = result[3, q] = 0.0
    for k in range(steps):
        for q in range(lines):
            result[0, q] = max(result[0, q], levels[k, q])
    for k in range(steps):
        t = low + k * h
        for q in range(lines):
            level = levels[k, q] - result[0, q]
            if level > _NEGLIGIBLE:
                weight = h * math.exp(level)
                result[1, q] += weight
                result[2, q] += weight * t
                result[3, q] += weight * t * t


@njit(part=True, error_model="numpy")
def _relu_line(start: Any, along: Any, y: Any, W: Any, ends: Any, pieces: Any, line: Any) -> None:
    """The same for one line, in closed form between the kinks."""
    d, outputs = W.shape
    kinks = 0
    ends[0] = -np.inf
    for j in range(d):
        if along[j] != 0.0:
            t = -start[j] / along[j]
            i = kinks
            while i > 0 and ends[i] > t:
                ends[i + 1] = ends[i]
                i -= 1
            ends[i + 1] = t
            kinks += 1
    ends[kinks + 1] = np.inf
    reference = -np.inf
    for k in range(kinks + 1):  # e^{-(A t² - 2 B t + C)/2} on every piece, and its largest value there
        left, right = ends[k], ends[k + 1]
        inside = right - 1.0 if k == 0 else (left + 1.0 if k == kinks else 0.5 * (left + right))
        A, B, C = 1.0, 0.0, 0.0
        for o in range(outputs):
            offset, slope = y[o], 0.0
            for j in range(d):
                if (start[j] > 0.0) if kinks == 0 else (start[j] + inside * along[j] > 0.0):
                    offset -= W[j, o] * start[j]
                    slope += W[j, o] * along[j]
            A += slope * slope
            B += slope * offset
            C += offset * offset
        root, top = math.sqrt(A), B / A
        a, b = (left - top) * root, (right - top) * root  # ends in units of the normal law on this piece
        nearest = min(max(0.0, a), b)
        level = 0.5 * (B * top - C - nearest * nearest)
        reference = max(reference, level)
        pieces[k, 0], pieces[k, 1], pieces[k, 2], pieces[k, 3], pieces[k, 4] = level, root, top, a, b
    line[0] = reference
    line[1] = line[2] = line[3] = 0.0
    for k in range(kinks + 1):
        if pieces[k, 0] > reference + _NEGLIGIBLE and ends[k] < ends[k + 1]:
            root, top = pieces[k, 1], pieces[k, 2]
            mass, first, second = _truncated(pieces[k, 3], pieces[k, 4])
            factor = math.exp(pieces[k, 0] - reference) / root
            line[1] += factor * mass
            line[2] += factor * (top * mass + first / root)
            line[3] += factor * (top * (top * mass + 2.0 * first / root) + second / (root * root))


@njit(part=True, error_model="numpy")
def _truncated(a: float, b: float) -> Any:
    """Mass and moments of e^{-x²/2} between two ends, all relative to its largest value there."""
    nearest = min(max(0.0, a), b)
    at_a, tail_a = _end(nearest, a)
    at_b, tail_b = _end(nearest, b)
    if a > 0.0:
        mass = tail_a - tail_b
    elif b < 0.0:
        mass = tail_b - tail_a
    else:
        mass = _SQRT_2PI - tail_a - tail_b
    second = mass
    if at_a > 0.0:
        second += a * at_a
    if at_b > 0.0:
        second -= b * at_b
    return mass, at_a - at_b, second


@njit(part=True, error_model="numpy")
def _end(nearest: float, x: float) -> Any:
    """e^{-x²/2} and its integral beyond x, relative to e^{-nearest²/2}."""
    exponent = 0.5 * (nearest * nearest - x * x)
    if not exponent > _NEGLIGIBLE:
        return 0.0, 0.0
    density = math.exp(exponent)
    if abs(x) < 8.0:
        return density, 0.5 * _SQRT_2PI * math.exp(0.5 * nearest * nearest) * math.erfc(abs(x) * SQRT_HALF)
    return density, density * _SQRT_2PI * upper_tail(abs(x))[0]
