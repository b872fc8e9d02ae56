"""Categories with messages e^{ℓ(c)}: log-weights of their states, -∞ for what is impossible.

A message to a variable is normalised, Σ_c e^{ℓ(c)} = 1, in a run for maxima max_c ℓ(c) = 0; only the differences say
something. Damping mixes logarithms, which leaves a common term: laws and log-partitions take it out.
"""

import math
from typing import Any

import numpy as np

from factorgraph.messages.natural import Array, log_weight
from factorgraph.runtime.compiled import njit


@njit(part=True, error_model="numpy")
def log_sum(values: Any) -> float:
    """log Σ e^{values}; -∞ if all are."""
    top = -math.inf
    for value in values:
        top = value if value > top or math.isnan(value) else top
    if math.isinf(top) or math.isnan(top):
        return top
    total = 0.0
    for value in values:
        total += math.exp(value - top)
    return top + math.log(total)


@njit(cache=True, error_model="numpy")
def log_sums(logs: Any) -> Array:
    """``log_sum`` of each row (n, q)."""
    result = np.empty(logs.shape[0])
    for i in range(logs.shape[0]):
        result[i] = log_sum(logs[i])
    return result


@njit(part=True, error_model="numpy")
def normalise_row(row: Any, maximum: bool) -> None:
    """Take the largest of log-weights from them, then log Σ e^{ℓ} of the rest, which it would swallow; all of them may
    be -∞."""
    top = np.max(row)
    if not top > -math.inf:
        return
    total = 0.0
    for c in range(row.size):
        row[c] -= top
        total += math.exp(row[c])
    if not maximum:
        common = math.log(total)
        for c in range(row.size):
            row[c] -= common


@njit(cache=True, error_model="numpy")
def normalise(logs: Any, maximum: bool = False) -> None:
    """Take log Σ e^{ℓ}, or the maximum, from each row (n, q), in place; a row of -∞ stays."""
    for i in range(logs.shape[0]):
        normalise_row(logs[i], maximum)


def normalised(logs: Array, *, maximum: bool = False) -> Array:
    """Return a copy for which that was done."""
    logs = np.array(logs, dtype=np.float64, order="C")
    normalise(logs, maximum)
    return logs


def indicators(values: Array, states: int) -> Array:
    """Return (..., states) which state each of the values (...) is; NaN for NaN."""
    result = (values[..., None] == np.arange(states)).astype(np.float64)
    result[np.isnan(values)] = np.nan
    return result


def state_of(indicator: Array) -> Any:
    """Return (...) the states that indicators (..., q), or the largest of any numbers, stand for."""
    return indicator.argmax(axis=-1)


# ---- spins and categories together -----------------------------------------------------------------------------------


@njit(cache=True, error_model="numpy")
def log_laws(first: Any, states: Any) -> Array:
    """(F, Σ values) log-probabilities of all values of all arguments, from cavity laws (F, slots) on discrete ones.

    ``states`` has q for a category and 0 for a spin, whose values are +1 and -1 in this order.
    """
    width = 0
    for q in states:
        width += max(q, 2)
    logs = np.empty((first.shape[0], width))
    for f in range(first.shape[0]):
        slot, place = 0, 0
        for q in states:
            if q == 0:
                logs[f, place], logs[f, place + 1] = log_weight(first[f, slot], 1.0), log_weight(first[f, slot], -1.0)
                slot, place = slot + 1, place + 2
            else:
                for c in range(q):
                    logs[f, place + c] = first[f, slot + c]
                slot, place = slot + q, place + q
    return logs


@njit(cache=True, error_model="numpy")
def log_messages(logs: Any, states: Any, maximum: bool) -> Array:
    """(F, slots) messages of log-weights (F, Σ values): normalised, half the log-odds for a spin."""
    width = 0
    for q in states:
        width += max(q, 1)
    B = np.empty((logs.shape[0], width))
    for f in range(logs.shape[0]):
        slot, place = 0, 0
        for q in states:
            if q == 0:
                B[f, slot] = 0.5 * (logs[f, place] - logs[f, place + 1])
                slot, place = slot + 1, place + 2
            else:
                B[f, slot : slot + q] = logs[f, place : place + q]
                normalise_row(B[f, slot : slot + q], maximum)
                slot, place = slot + q, place + q
    return B
