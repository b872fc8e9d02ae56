"""What may happen to a message between its computation and its use."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from factorgraph.interface.arguments import check_number
from factorgraph.runtime.compiled import njit


@dataclass(frozen=True)
class Damping:
    """message ← (1 - damping) new + damping old, and a field that pulls every variable where it already leans.

    Attributes:
        damping: in [0, 1); moves no fixed point. What counts as the change of a message is that without damping: a run
            has converged where no message would move, not where they are held.
        reinforcement: r >= 0: after each sweep a variable's own field is increased by r times its total field; it moves
            the fixed points, towards one state.

    Raises:
        ValueError: a number outside its domain.
    """

    damping: float = 0.0
    reinforcement: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "damping", check_number("damping", self.damping, minimum=0.0))
        object.__setattr__(self, "reinforcement", check_number("reinforcement", self.reinforcement, minimum=0.0))
        if self.damping >= 1.0:
            raise ValueError(f"`damping` must be in [0, 1), got {self.damping!r}")


@njit(part=True, error_model="numpy")
def relative_change(old: float, new: float, scale: float) -> float:
    """|new - old| relative to the larger of both and ``scale``; 1 to or from infinity (a hard constraint), ∞ for
    NaN."""
    if old == new:
        return 0.0
    if math.isnan(new):
        return math.inf
    if math.isinf(new) or math.isinf(old):
        return 1.0
    return abs(new - old) / max(scale, abs(new), abs(old))


@njit(cache=True, error_model="numpy")
def commit(messages: Any, new: Any, edges: Any, slots: Any, damping: float, scales: Any) -> tuple[float, int]:
    """Replace the messages on ``edges`` by ``new`` where ``slots`` is set; the largest relative change and its edge.

    The change is that from the old message to the new one, however much of it the damping lets through. A message
    that is infinite, or was, is replaced at once: no share of it is less.
    """
    worst, where = 0.0, 0
    for n in range(edges.size):
        if not slots[n]:
            continue
        old, value = messages[edges[n]], new[n]
        change = relative_change(old, value, scales[edges[n]])
        if change > worst:
            worst, where = change, edges[n]
        if damping > 0.0 and old != value and math.isfinite(old):
            value = (1.0 - damping) * value + damping * old
        messages[edges[n]] = value
    return worst, where


@njit(cache=True, error_model="numpy")
def largest_change(old: Any, new: Any, ends: Any, scales: Any) -> tuple[float, int]:
    """The largest relative change between two arrays of messages, and where it is; ``scales`` by variable."""
    worst, where = 0.0, 0
    for e in range(old.size):
        change = relative_change(old[e], new[e], scales[ends[e]])
        if change > worst:
            worst, where = change, e
    return worst, where


def joint_change(old: Any, new: Any, groups: Any, edges: Any) -> tuple[float, int]:
    """Return the largest change of the messages of one group, relative to max(1, |them|) as vectors, and its first
    edge."""
    size, change = (np.sqrt(np.bincount(groups, values**2)) for values in (new, new - old))
    relative = change / np.maximum(np.maximum(np.sqrt(np.bincount(groups)), 1.0), size)  # of a mean square of 1 or more
    worst = int(np.argmax(relative))
    return float(relative[worst]), int(edges[np.argmax(groups == worst)])
