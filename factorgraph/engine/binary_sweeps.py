"""Compiled sweeps for pairs of variables with two states each, categories among them: those over spins.

A table of two variables is ℓ(s, t) = a s + b t + J s t + constant, with s, t = ±1 for the first and the second state: a
message to its first end is that of an Ising pair of coupling J, and a. So spins with the fields a and b of all their
pairs have the same totals.
"""

from typing import Any

import numpy as np

from factorgraph.engine.damping import Damping
from factorgraph.engine.discrete_pairs import Pairs, StackOfPairs
from factorgraph.engine.spin_sweeps import SpinSweeps, spin_sweeps
from factorgraph.engine.unroll import Potentials, Unrolled, unroll
from factorgraph.factors.pairwise import Pairwise
from factorgraph.messages.natural import Array
from factorgraph.model.graph import Graph


def binary_sweeps(
    graph: Unrolled,
    potentials: Potentials,
    start: tuple[Array, Array] | None,
    schedule: str,
    damping: Damping,
    maximum: bool,
    rng: np.random.Generator,
) -> "BinarySweeps | None":
    """Return sweeps over pairs, or None: where those over spins are none, with zeros in tables, or variables of more
    states; for two passes; and by the residual schedule, which compares changes of other numbers for spins."""
    if schedule in ("two-pass", "residual") or any(max(stack.kind.states or (2,)) > 2 for stack in graph.stacks):
        return None
    pairs = Pairs.of(graph)
    if pairs is None or bool(np.any(pairs.counts != 2)):
        return None
    with np.errstate(invalid="ignore"):  # infinite differences
        terms = [_terms(own) for own in pairs.stacks]
        J, shifts = np.concatenate([own[0] for own in terms]), np.concatenate([own[1] for own in terms])
        logs = pairs.field(potentials)
        field = 0.5 * (logs[pairs.firsts] - logs[pairs.firsts + 1])
        B = -shifts if start is None else _half_log_odds(pairs.spread(start[0])) - shifts
    if not np.isfinite(J).all() or not np.isfinite(shifts).all() or np.isnan(field).any():
        return None
    ends = np.searchsorted(pairs.firsts, np.concatenate([own.ends for own in pairs.stacks]))
    known = np.isinf(field)
    value = np.where(known, np.sign(field), np.nan)
    field[known] = 0.0
    np.add.at(field, ends.ravel(), shifts)
    spins = _spins(field.size, ends, J)
    own = Potentials(field, spins.precision, value, spins.own)
    sweeps = spin_sweeps(spins, own, (B, np.zeros(B.size)), schedule, damping, maximum, rng)
    return BinarySweeps(pairs, sweeps, shifts, maximum) if isinstance(sweeps, SpinSweeps) else None


def _spins(size: int, ends: Any, J: Array) -> Unrolled:
    """Return the graph of Ising pairs."""
    described = Graph()
    s = described.spins("s", size)
    described.add(Pairwise(s[ends[:, 0]], s[ends[:, 1]], coupling=J))
    return unroll(described.model)


def _terms(own: StackOfPairs) -> tuple[Array, Array]:
    """Return couplings J (F,) and fields a and b, flat (2F,), of a stack."""
    F = len(own.ends)
    if own.potts:
        return 0.5 * own.logs[:, 0], np.zeros(2 * F)
    first, second, third, fourth = 0.25 * np.broadcast_to(own.logs, (F, 4)).T
    fields = np.stack([first + second - third - fourth, first - second + third - fourth], axis=1)
    return first - second - third + fourth, fields.ravel()


def _half_log_odds(logs: Array) -> Array:
    """Return ½ log p(first)/p(second) of log-weights of both states, flat."""
    return 0.5 * (logs[::2] - logs[1::2])


def _both_states(B: Array) -> Array:
    """Return the reverse, the larger of both 0."""
    return np.stack([np.minimum(2.0 * B, 0.0), np.minimum(-2.0 * B, 0.0)], axis=1).ravel()


class BinarySweeps:
    """Sweeps over spins seen as sweeps over pairs of any kinds; the residual is the largest change of half the log-odds
    of a message."""

    log_partition = None
    entropy = None

    def __init__(self, pairs: Pairs, sweeps: SpinSweeps, shifts: Array, maximum: bool) -> None:
        self.pairs, self.sweeps, self.shifts, self.maximum = pairs, sweeps, shifts, maximum
        self.begins = np.cumsum([0, *(len(own.ends) for own in pairs.stacks)])

    @property
    def stride(self) -> int:
        """That of the sweeps over spins."""
        return self.sweeps.stride

    def sweep(self, count: int) -> tuple[float, int]:
        """Send every message ``count`` times."""
        change, edge = self.sweeps.sweep(count)
        stack = int(np.searchsorted(self.begins, edge // 2, side="right")) - 1
        return change, self.pairs.stacks[stack].edge(edge - 2 * int(self.begins[stack]))

    def messages(self) -> tuple[Array, Array]:
        """Return B, normalised, or half the log-odds of a spin."""
        B = self.pairs.gathered(_both_states(self.sweeps.messages()[0] + self.shifts), self.maximum)
        return B, np.broadcast_to(np.zeros(()), B.size)

    def moments(self) -> tuple[Array, Array] | None:
        """Return them from the totals; for maxima they follow from the messages."""
        if self.maximum:
            return None
        value, field = self.sweeps.value, 0.5 * np.log(self.sweeps.T)
        with np.errstate(invalid="ignore"):
            field = np.where(np.isnan(value), field, value * np.inf)
        return self.pairs.moments(_both_states(field))
