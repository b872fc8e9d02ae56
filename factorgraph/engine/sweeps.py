"""What a run repeats: sweeps over any graph by any schedule, and those that follow the largest change."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from factorgraph.engine.cavity import beliefs, cavity_laws, totals
from factorgraph.engine.damping import Damping, commit, joint_change, relative_change
from factorgraph.engine.schedules import ROUNDS, SCHEDULES, Batch, Same, Step, Table, in_order, two_pass, urgent
from factorgraph.engine.unroll import Potentials, Unrolled, incoming
from factorgraph.factors.base import chosen
from factorgraph.interface.errors import IndefiniteError
from factorgraph.iteration import Outcome, Policy, Report, Turn, iterate
from factorgraph.messages.categories import normalised
from factorgraph.messages.natural import Array, Outgoing
from factorgraph.runtime.compiled import njit

#: Smallest unit of messages that are measured together: their squares stay finite.
_MIN_SCALE = 1e-60


class State(Protocol):
    """Messages as they are.

    Attributes:
        log_partition: log Z where sending the messages gave it too; None else.
        entropy: likewise.
    """

    @property
    def log_partition(self) -> float | None: ...

    @property
    def entropy(self) -> float | None: ...

    def messages(self) -> tuple[Array, Array]:
        """Return all messages B and A (E,)."""
        ...

    def moments(self) -> tuple[Array, Array] | None:
        """Return means and variances (N,), if they are at hand; None where they follow from the messages.

        Raises:
            IndefiniteError: a real variable has no positive precision.
        """
        ...


class Sweeps(State, Protocol):
    """Messages, and how they change.

    Attributes:
        stride: after how many sweeps the change is looked at.
    """

    @property
    def stride(self) -> int: ...

    def sweep(self, count: int) -> tuple[float, int]:
        """Send every message ``count`` times; the largest relative change in the last one, and its edge."""
        ...


class Beginnings:
    """Sweeps that may begin again, as ``make`` then makes them.

    Attributes:
        sweeps: those of now.
    """

    def __init__(self, make: Callable[[], Sweeps]) -> None:
        self.make, self.sweeps = make, make()

    def begin(self) -> None:
        """Begin again."""
        self.sweeps = self.make()

    @property
    def stride(self) -> int:
        """That of the sweeps."""
        return self.sweeps.stride

    def sweep(self, count: int) -> tuple[float, int]:
        """Send every message ``count`` times."""
        return self.sweeps.sweep(count)


def repeat(
    sweeps: Sweeps | Beginnings,
    *,
    limit: int,
    tolerance: float,
    policy: Policy | None = None,
    callback: Callable[[int, float], Any] | None = None,
    progress: bool = False,
) -> Outcome:
    """Sweep until no message changes any more, at most ``limit`` times; the ``extra`` of a report is the edge with the
    largest change. Only ``Beginnings`` follow a policy that begins again."""

    def step(turn: Turn) -> Report:
        count = 1 if callback is not None else min(sweeps.stride, turn.left)  # a callback hears of every sweep
        try:
            residual, edge = sweeps.sweep(count)
        except IndefiniteError:
            residual, edge = math.inf, 0 if turn.previous is None else turn.previous.extra
        return turn.judge(residual, steps=count, extra=int(edge))

    bar = "sweep" if progress else ""
    begin = sweeps.begin if isinstance(sweeps, Beginnings) else None
    return iterate(step, limit=limit, tolerance=tolerance, policy=policy, begin=begin, callback=callback, progress=bar)


@dataclass(frozen=True, eq=False)
class Messages:
    """Messages B and A (E,), from which everything else follows."""

    B: Array
    A: Array
    log_partition = None
    entropy = None

    def messages(self) -> tuple[Array, Array]:
        """Return all messages B and A (E,)."""
        return self.B, self.A

    def moments(self) -> None:
        """They follow from the messages."""


def scales(graph: Unrolled, potentials: Potentials, B: Array, A: Array) -> tuple[Array, Array]:
    """Return what the changes of the messages B and A (E,) are compared with, where they are smaller.

    Of a spin or a category 1. Of a real variable the root of its precision, or the precision, as far as it is known:
    what matters is how far the mean moves in deviations, whatever the unit in which the variable is measured.
    """
    scale = np.where(~graph.real, 1.0, np.maximum(totals(graph, potentials, B, A)[1], 0.0))
    root = np.sqrt(scale)
    for law in graph.nonconjugate:
        if law.parameter is None:
            mean, variance = law.source.moments(H=0.0, G=0.0)
            second = mean**2 + variance
        else:
            second = B[law.parameter] ** 2 + A[law.parameter]
        scale[law.variables] += 1.0 / np.maximum(second, _MIN_SCALE)
        root[law.variables] = np.sqrt(scale[law.variables])
    for places in graph.vectors:
        deviation = root[np.diagonal(places, axis1=1, axis2=2)]
        root[places] = deviation[:, :, None]
        scale[places] = deviation[:, :, None] * deviation[:, None, :]
    scale_B, scale_A = root[graph.ends], scale[graph.ends]
    # omega and V of a channel
    scale_B[graph.parametric], scale_A[graph.parametric] = np.sqrt(np.abs(A[graph.parametric])), 0.0
    return scale_B, scale_A


class GeneralSweeps:
    """Any graph, any schedule: the messages of a step are computed together, then replaced together."""

    stride = 1
    log_partition = None
    entropy = None

    def __init__(
        self, graph: Unrolled, potentials: Potentials, messages: tuple[Array, Array], damping: Damping, maximum: bool
    ) -> None:
        self.graph, self.damping, self.maximum = graph, damping, maximum
        self.base, self.potentials = potentials, replace(potentials)
        self.B, self.A = messages
        self.scales = np.ones(graph.edges), np.ones(graph.edges)

    def measure(self) -> None:
        """Take the units in which the changes of the coming messages are measured; see ``scales``."""
        if self.graph.nonconjugate or self.graph.real.any():
            self.scales = scales(self.graph, self.potentials, self.B, self.A)

    def messages(self) -> tuple[Array, Array]:
        """Return all messages B and A (E,)."""
        return self.B, self.A

    def moments(self) -> None:
        """They follow from the messages."""

    def act(self, step: Step) -> tuple[float, int]:
        """Send the messages of a step."""
        computed = self.compute(step)
        return max((self._replace(batch, new) for batch, new in zip(step, computed, strict=True)), default=(0.0, 0))

    def compute(self, step: Step) -> list[Outgoing]:
        """Return the new messages of every batch of a step, not sent yet."""
        size = sum(self._edges(batch).size for batch in step)
        laws = cavity_laws(self.graph, self.potentials, self.B, self.A) if 4 * size > self.graph.edges else None
        return [self._compute(batch, laws) for batch in step]

    def _compute(self, batch: Batch, laws: tuple[Array, Array] | None) -> Outgoing:
        stack, edges = self.graph.stacks[batch.stack], self._edges(batch)
        if laws is None:
            laws = cavity_laws(self.graph, self.potentials, self.B, self.A, edges)
        elif batch.rows is None:
            laws = laws[0][stack.edges], laws[1][stack.edges]
        else:
            laws = laws[0][edges], laws[1][edges]
        parameters, variables = stack.parameters, stack.variables
        if batch.rows is not None:
            parameters, variables = chosen(parameters, batch.rows), variables[batch.rows]
        known = beliefs(self.graph, self.potentials, self.B, self.A) if stack.kind.full_variance else None
        given = incoming(stack.kind, variables, laws, known)._replace(wanted=batch.slots)
        return stack.kind.rule(parameters, given, maximum=self.maximum)

    def _edges(self, batch: Batch) -> NDArray[np.intp]:
        stack = self.graph.stacks[batch.stack]
        if batch.rows is None:
            return np.arange(stack.edges.start, stack.edges.stop)
        arity = stack.variables.shape[1]
        return (stack.offset + batch.rows[:, None] * arity + np.arange(arity)).ravel()

    def _replace(self, batch: Batch, new: Outgoing) -> tuple[float, int]:
        edges = self._edges(batch)
        slots = np.ones(edges.size, dtype=bool) if batch.slots is None else batch.slots.ravel()
        changes = [self._commit(self.B, new.B.ravel(), edges, slots, self.scales[0])]
        if new.A is not None:
            changes.append(self._commit(self.A, new.A.ravel(), edges, slots, self.scales[1]))
        return max(changes)

    def _commit(
        self, messages: Array, new: Array, edges: NDArray[np.intp], slots: NDArray[np.bool_], scales: Array
    ) -> tuple[float, int]:
        """Replace messages; the change of those that share a precision is taken, and measured, together."""
        old = messages[edges] if self.graph.joined else None
        change = commit(messages, new, edges, slots, self.damping.damping, scales)
        if old is None or self.graph.first_of is None or not np.isfinite(change[0]):
            return change
        ends = self.graph.ends[edges]
        real = self.graph.real[ends]
        if not real.any():
            return change
        old, new, edges, slots = old[real], new[real], edges[real], slots[real]
        scale = np.maximum(scales[edges], _MIN_SCALE)
        together = joint_change(old / scale, np.where(slots, new, old) / scale, self.graph.first_of[ends[real]], edges)
        return together if real.all() else max(change, together)

    def reinforce(self) -> tuple[float, int]:
        """Let the fields of the next sweep lean towards the present beliefs; the largest change of one, and its edge.

        The change is relative, as that of a message; of a spin it is that of tanh, of a category that of the
        probabilities: where they are almost certain, the field may grow for ever, and nothing else changes.
        """
        if not self.damping.reinforcement:
            return 0.0, 0
        old, H = self.potentials.field.copy(), beliefs(self.graph, self.potentials, self.B, self.A).H
        for places in self.graph.categories:
            H[places] = normalised(H[places])
        self.potentials.field = self.base.field + self.damping.reinforcement * H
        new = self.potentials.field.copy()
        for places in self.graph.categories:
            for field in (old, new):
                field[places] = np.exp(normalised(field[places]))
        return _largest_pull(self.graph.spin, *self.graph.incidence, old, new, self.graph.category_of)


class UnmeasuredSweeps(GeneralSweeps):
    """Steps of a loop that looks at the change of its estimates, and not at that of the messages."""

    def _commit(
        self, messages: Array, new: Array, edges: NDArray[np.intp], slots: NDArray[np.bool_], scales: Array
    ) -> tuple[float, int]:
        if self.damping.damping == 0.0:
            messages[edges] = np.where(slots, new, messages[edges])
            return 0.0, 0
        return commit(messages, new, edges, slots, self.damping.damping, scales)


class ScheduledSweeps(GeneralSweeps):
    """Sweeps whose order does not depend on the messages."""

    def __init__(self, *args: Any, schedule: str, rng: np.random.Generator) -> None:
        super().__init__(*args)
        steps = two_pass(self.graph) if schedule == "two-pass" else None
        self.steps = Same(steps) if steps is not None else SCHEDULES[schedule](self.graph, rng)

    def sweep(self, count: int) -> tuple[float, int]:
        """Take all steps of the schedule."""
        worst = (0.0, 0)
        self.measure()
        for step in next(self.steps):
            worst = max(worst, self.act(step))
        return max(worst, self.reinforce())


class ResidualSweeps(GeneralSweeps):
    """The messages that would change most go first [Elidan-McGraw-Koller 2006]; see ``schedules.urgent``.

    In each round all pending messages are computed, and the most urgent factors act one after the other.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.table = Table.of(self.graph)

    def sweep(self, count: int) -> tuple[float, int]:
        """Go some rounds, with as many actions as there are factors, if so many are pending."""
        acting = self.graph.acting
        self.measure()
        for _ in range(ROUNDS if acting.size else 0):
            first = acting[urgent(np.maximum.reduceat(self._changes(), self.table.starts[:-1])[acting])]
            for step in in_order(self.graph, self.table, first):
                self.act(step)
        pull = self.reinforce()
        self.measure()
        change = self._changes()
        return max(pull, (float(change.max(initial=0.0)), int(change.argmax()) if change.size else 0))

    def _changes(self) -> Array:
        """Return relative change (E,) that each pending message would make."""
        step = [Batch(s) for s in range(len(self.graph.stacks))]
        new = self.B.copy(), self.A.copy()
        for batch, sent in zip(step, self.compute(step), strict=True):
            edges = self.graph.stacks[batch.stack].edges
            new[0][edges] = sent.B.ravel()
            if sent.A is not None:
                new[1][edges] = sent.A.ravel()
        return _pending_changes(self.B, new[0], self.scales[0], self.A, new[1], self.scales[1])


@njit(cache=True, error_model="numpy")
def _pending_changes(B: Any, new_B: Any, scale_B: Any, A: Any, new_A: Any, scale_A: Any) -> Any:
    change = np.empty(B.size)
    for e in range(B.size):
        change[e] = max(relative_change(B[e], new_B[e], scale_B[e]), relative_change(A[e], new_A[e], scale_A[e]))
    return change


@njit(cache=True, error_model="numpy")
def _largest_pull(spin: Any, starts: Any, order: Any, old: Any, new: Any, category: Any) -> tuple[float, int]:
    """The largest change of the field (of a category the probability) of what factors see, and an edge of it."""
    worst, where = 0.0, 0
    for i in range(spin.size):
        if starts[i] == starts[i + 1]:
            continue
        if spin[i]:
            change = abs(math.tanh(new[i]) - math.tanh(old[i]))
        else:
            change = abs(new[i] - old[i]) if category[i] >= 0 else relative_change(old[i], new[i], 0.0)
        if not change <= worst:
            worst, where = (math.inf if math.isnan(change) else change), order[starts[i]]
    return worst, where
