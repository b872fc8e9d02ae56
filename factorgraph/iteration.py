"""The one loop of every iteration: begin, step, and how it stands after each step.

An algorithm supplies a step, and says how to begin again if that is possible. ``iterate`` counts the steps, tells each
how much to damp, keeps the trace, asks the callback, and decides whether the iteration is over or begins again.
"""

import contextlib
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

import numpy as np

from factorgraph.interface.arguments import check_number, shown

_log = logging.getLogger(__name__)

#: α that adaptive damping tries, one after the other.
LEVELS = (0.0, 0.3, 0.5, 0.7, 0.85, 0.95)
_PATIENCE = 50


class Status(StrEnum):
    """How an iteration stands or has ended; the values are what a reader sees."""

    EXACT = "exact"  # on a forest, where two passes send every message once
    CONVERGED = "converged"
    NOT_CONVERGED = "not converged"
    DIVERGED = "diverged"
    OUTSIDE = "converged to no solution"  # to messages that make log Z larger than any law can
    STOPPED = "stopped"  # by the callback

    @property
    def converged(self) -> bool:
        """Whether the result is a fixed point."""
        return self in (Status.EXACT, Status.CONVERGED)

    def explained(self, why: str) -> str:
        """Return the message to a reader: the status, and its cause and what to try if there is something to say."""
        return f"{self}: {why}" if why else str(self)


class Report(NamedTuple):
    """What a step has done.

    Attributes:
        residual: the change that it made, or would have made without damping.
        status: how the iteration stands; unless it is "not converged", this was the last step.
        steps: how many it stands for.
        extra: whatever else it computed, for the next step and for the caller.
    """

    residual: float
    status: Status
    steps: int = 1
    extra: Any = None


class Turn(NamedTuple):
    """What a step is told.

    Attributes:
        damping: α, messages ← α old + (1 - α) new; 0 in the first step, where there is nothing old.
        tolerance: largest residual at which the iteration has converged.
        left: for how many steps this one may stand.
        previous: what the step before reported; None at the beginning, and where the iteration begins again.
    """

    damping: float
    tolerance: float
    left: int
    previous: Report | None

    def judge(self, residual: float, *, steps: int = 1, extra: Any = None) -> Report:
        """Return a report with the usual verdict: diverged if the residual is not finite, converged within the
        tolerance."""
        if residual <= self.tolerance:
            status = Status.CONVERGED
        else:
            status = Status.NOT_CONVERGED if math.isfinite(residual) else Status.DIVERGED
        return Report(residual, status, steps, extra)


class Policy(Protocol):
    """How much to damp, and when to begin again."""

    @property
    def damping(self) -> float:
        """α of the next step, in [0, 1)."""
        ...

    def begins_again(self, turn: Turn, report: Report) -> bool:
        """Take in what a step was told and reports; whether to give up what it led to, and begin again."""
        ...


class DampingLevels:
    """α constant, or raised level by level.

    When the residual has found no new minimum for a time, or the iteration has diverged, it begins again with more
    damping: what has left its course seldom finds back. The time grows with the number of steps that led to the
    minimum, since a residual may pass through one in a bottleneck and still fall later.

    Args:
        levels: α to try, one after the other; a single one is constant.
    """

    def __init__(self, *levels: float) -> None:
        self.damping, *self._left = levels
        self._minimum, self._steps, self._best = math.inf, 0, 0

    @classmethod
    def of(cls, damping: float | str, levels: tuple[float, ...] = LEVELS) -> "DampingLevels":
        """From a number, or from "adaptive" for ``levels``; raises ValueError for anything else."""
        if isinstance(damping, str) and damping == "adaptive":
            return cls(*levels)
        try:
            return cls(check_number("damping", damping, minimum=0.0, below=1.0))
        except ValueError:
            raise ValueError(f"`damping` must be 'adaptive' or a number in [0, 1), got {shown(damping)}") from None

    def begins_again(self, turn: Turn, report: Report) -> bool:
        """Return whether the step shows that more damping is needed, and there is more."""
        if report.status is not Status.NOT_CONVERGED:
            return report.status is Status.DIVERGED and self.raise_level()
        if turn.previous is None:  # its residual compares with nothing
            self._minimum, self._steps, self._best = math.inf, 0, 0
            return False
        self._steps += report.steps
        if report.residual < self._minimum:
            self._minimum, self._best = report.residual, self._steps
        return self._steps - self._best > _PATIENCE + self._best and self.raise_level()

    def raise_level(self) -> bool:
        """Go to the next level; False if there is none."""
        if not self._left:
            return False
        self.damping = self._left.pop(0)
        return True


@dataclass
class Outcome:
    """A finished iteration.

    Attributes:
        status: how it ended.
        steps: how many there were, from all beginnings together.
        residuals: of every step.
        damping: α of every step.
        last: what the last step reported; None if there was none.
    """

    status: Status = Status.NOT_CONVERGED
    steps: int = 0
    residuals: list[float] = field(default_factory=list)
    damping: list[float] = field(default_factory=list)
    last: Report | None = None

    def take(self, report: Report, damping: float) -> None:
        """Add a step."""
        self.residuals.append(report.residual)
        self.damping.append(damping)
        self.steps += report.steps
        self.status, self.last = report.status, report


def iterate(
    step: Callable[[Turn], Report],
    *,
    limit: int,
    tolerance: float,
    policy: Policy | None = None,
    begin: Callable[[], None] | None = None,
    callback: Callable[[int, float], Any] | None = None,
    progress: str = "",
) -> Outcome:
    """Take steps until one settles the status.

    Args:
        step: called with numerical warnings off; what is not finite shows in its residual or status.
        limit: most steps, from all beginnings together.
        tolerance: largest residual at which the iteration has converged.
        policy: how much to damp, and when to begin again; None for neither.
        begin: takes back all steps; needed only by a policy that begins again. While steps are left the policy may
            overrule every status but "stopped".
        callback: called after every step that settles nothing, with the number of steps and the residual; a true value
            stops the iteration.
        progress: what a step is called on a progress bar; none is shown without a name.
    """
    policy = policy or DampingLevels(0.0)
    outcome, previous = Outcome(), None
    with _bar(limit, progress) as bar:
        while outcome.status is Status.NOT_CONVERGED and outcome.steps < limit:
            damping = 0.0 if previous is None else policy.damping
            turn = Turn(damping, tolerance, limit - outcome.steps, previous)
            with np.errstate(all="ignore"):
                report = previous = step(turn)
            outcome.take(report, damping)
            if bar is not None:
                bar.update(report.steps)
                bar.set_postfix(residual=f"{report.residual:.1e}")
            going = report.status is Status.NOT_CONVERGED
            if going and callback is not None and callback(outcome.steps, report.residual):
                outcome.status = Status.STOPPED
            elif outcome.steps < limit and policy.begins_again(turn, report):
                assert begin is not None
                begin()
                outcome.status, previous = Status.NOT_CONVERGED, None
    if outcome.last is not None:
        _log.debug("%s after %d steps, residual %.2g", outcome.status, outcome.steps, outcome.last.residual)
    return outcome


def _bar(limit: int, name: str) -> Any:
    """Return a progress bar, or None, as a context."""
    if not name:
        return contextlib.nullcontext()
    from tqdm.auto import tqdm  # here, because it is seldom needed

    return tqdm(total=limit, unit=name)
