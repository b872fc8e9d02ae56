"""How much of the old messages is kept, and the loop that decides it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from factorgraph.interface.arguments import check_number, shown

#: What adaptive damping tries, one after the other.
LEVELS = (0.0, 0.3, 0.5, 0.7, 0.85, 0.95)
_PATIENCE = 50


@dataclass
class Damping:
    """Messages ← α old + (1 - α) new, with α constant or raised level by level.

    Adaptive damping begins without any. When the residual, the change that an undamped step would make, has found no
    new least value for a time, inference begins again with more damping: what has left its course seldom finds back.
    The time grows with the number of iterations that led to the least value, since a residual may pass through a
    minimum in a bottleneck and still fall later.

    Attributes:
        value: α in [0, 1).
        levels: values left to try.
    """

    value: float
    levels: tuple[float, ...] = ()
    _least: float = float("inf")
    _iterations: int = 0
    _best: int = 0

    @classmethod
    def of(cls, damping: float | str) -> "Damping":
        """From a number or "adaptive"; raises ValueError for anything else."""
        if isinstance(damping, str) and damping == "adaptive":
            return cls(LEVELS[0], LEVELS[1:])
        try:
            return cls(check_number("damping", damping, least=0.0, below=1.0))
        except ValueError:
            raise ValueError(f"`damping` must be 'adaptive' or a number in [0, 1), got {shown(damping)}") from None

    def fails(self, residual: float) -> bool:
        """Take in the residual of an iteration; whether to begin again, with more damping if so."""
        self._iterations += 1
        if residual < self._least:
            self._least, self._best = residual, self._iterations
        return self._iterations - self._best > _PATIENCE + self._best and self.raise_level()

    def raise_level(self) -> bool:
        """Go to the next level; False if there is none."""
        if not self.levels:
            return False
        self.value, self.levels = self.levels[0], self.levels[1:]
        self._least, self._iterations, self._best = float("inf"), 0, 0
        return True

    def drive(
        self,
        step: Callable[[float], str],
        begin: Callable[[], None],
        residuals: Sequence[float],
        *,
        iterations: int,
        stop: Callable[[], bool | None],
    ) -> str:
        """Iterate until the status is another than "not converged", from the beginning again with every new level.

        Args:
            step: one iteration with the given α; the status after it, "not converged", "converged", "diverged", or
                "forgotten": at a fixed point where the messages have died out, to begin again elsewhere.
            begin: takes back all messages.
            residuals: to which every step appends one.
            iterations: most steps, of all levels together.
            stop: asked after every step that does not settle it; True for "stopped".
        """
        status, since = "not converged", 0
        while len(residuals) < iterations and status == "not converged":
            status = step(self.value)
            since += 1
            if status == "not converged" and stop():
                status = "stopped"
            failed = status == "not converged" and since > 1 and self.fails(residuals[-1])
            if status == "forgotten":
                self.raise_level()
                failed = True
            if failed or (status == "diverged" and self.raise_level()):
                begin()
                status, since = "not converged", 0
        return status
