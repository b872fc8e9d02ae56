"""Message passing on any factor graph: ``infer``, and the sweeps that it repeats until nothing changes."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.engine.compiled_sweeps import compiled_sweeps
from factorgraph.engine.constants import first_messages
from factorgraph.engine.continuation import continued, shared
from factorgraph.engine.damping import Damping
from factorgraph.engine.ensemble import EnsembleSweeps
from factorgraph.engine.exactness import LARGEST_ERROR, is_exact
from factorgraph.engine.freezing import Moving, held_rows, without_held
from factorgraph.engine.inputs import data_sizes, potentials_of, values_of
from factorgraph.engine.laws import Worst
from factorgraph.engine.result import Result
from factorgraph.engine.schedules import SCHEDULES
from factorgraph.engine.sweeps import (
    Beginnings,
    GeneralSweeps,
    Messages,
    ResidualSweeps,
    ScheduledSweeps,
    State,
    Sweeps,
    repeat,
)
from factorgraph.engine.unroll import Potentials, Unrolled, tile, unroll
from factorgraph.interface.arguments import (
    check_choice,
    check_flag,
    check_generator,
    check_instance,
    check_integer,
    check_number,
    real_array,
    shown,
)
from factorgraph.interface.errors import ContradictionError, IndefiniteError
from factorgraph.iteration import DampingLevels, Status
from factorgraph.messages.natural import Array
from factorgraph.model.description import Factor, Model
from factorgraph.model.graph import Graph, model_of

#: Called after every sweep with its number and its largest change; a true value stops the run.
Callback = Callable[[int, float], Any]


#: Copies of a graph count their scalars by int32.
_MAX_SCALARS = 2**31 - 1

#: All that `schedule` may be.
SCHEDULE_NAMES = [*SCHEDULES, "residual", "two-pass", "auto"]


def infer(
    model: Model | Graph | Unrolled,
    *,
    schedule: str = "auto",
    damping: float | str = 0.0,
    reinforcement: float = 0.0,
    tolerance: float = 1e-9,
    max_sweeps: int = 1000,
    observed: Mapping[str, ArrayLike] | None = None,
    fields: Mapping[str, ArrayLike] | None = None,
    precisions: Mapping[str, ArrayLike] | None = None,
    batch: int = 1,
    start: Result | tuple[ArrayLike, ArrayLike] | None = None,
    frozen: Sequence[Factor] = (),
    ensemble: bool = False,
    maximum: bool = False,
    callback: Callback | None = None,
    progress: bool = False,
    rng: np.random.Generator | int = 0,
) -> Result:
    """Return marginals and log-partition of a model by belief propagation.

    Args:
        model: a description, a graph under construction, or an unrolled model, which saves unrolling it again.
        schedule: "flooding", "sequential", "random", "residual", "forward-backward" or "two-pass"; "auto" is "two-pass"
            on a forest, and "flooding" else. Two passes are enough once, unless mixtures are projected: such messages
            depend on what comes back from their receiver, and the passes are repeated until nothing changes.
        damping: share of the old message in the new one, in [0, 1); or "adaptive": none, and where the changes have
            found no new minimum for a time, the run begins again with more.
        reinforcement: r >= 0, how strongly every sweep pulls variables where they lean already.
        tolerance: the run ends when no message changes by more (without damping): relative to the message, or, where
            that is larger, to 1 for a spin and to the precision of a real variable or its root.
        max_sweeps: it ends after so many sweeps in any case.
        observed: values by name, in the variable's shape, NaN where an element stays free. Giving other values in the
            next run clamps and releases variables without building anything anew.
        fields: by name, added to the first natural parameters.
        precisions: by name, added to the second ones.
        batch: number of copies of the model; arrays of ``observed``, ``fields`` and ``precisions`` may then have a
            leading axis of that length, and the results have one.
        start: an earlier run on the same graph or on a part of it, whose messages are the first ones of this one:
            variables and factors may have been added since, or left out, and fields, observations and parameters have
            changed; messages that are certain only for the old ones are taken back. Or arrays B and A (E,) of messages
            in the order of ``result.B``.
        frozen: factors of the model whose messages stay what they are in ``start``.
        ensemble: solve the infinite random graph of which this one is a sample, with its degrees, fields and factors,
            by population dynamics: the replica-symmetric cavity. Marginals are those of its variables, log Z divided by
            their number its free entropy. The change is the distance of the messages' distributions in two sweeps,
            which for n messages of random factors stays of order n^-1/2: set ``tolerance`` or ``max_sweeps``.
        maximum: take maxima instead of sums: ``result[name].mean`` is then where the maximum is.
        callback: called after every sweep with its number and the residual; a true return value ends the run.
        progress: show a progress bar.
        rng: generator or seed of the random schedule.

    Raises:
        ModelError: the model, observations or fields do not fit together.
        ValueError: an option outside its domain.
        ContradictionError: evidence that no state satisfies.
        IndefiniteError: the messages converged to a Gaussian belief without a positive precision.
    """
    policy = DampingLevels.of(damping)
    damped = Damping(policy.damping, reinforcement)
    tolerance = check_number("tolerance", tolerance, minimum=0.0)
    max_sweeps, batch = check_integer("max_sweeps", max_sweeps, minimum=1), check_integer("batch", batch, minimum=1)
    check_choice("schedule", schedule, SCHEDULE_NAMES)
    check_instance("start", start, (Result, tuple, type(None)), "a result of `infer`, messages (B, A), or None")
    if callback is not None and (not callable(callback) or isinstance(callback, type)):
        raise ValueError(
            f"`callback` must be a function of a number of sweeps and a change, or None, got {shown(callback)}"
        )
    generator = check_generator("rng", rng)
    check_flag("progress", progress)
    evidence = values_of("observed", observed, missing=True)
    graph = _unrolled(model, evidence, batch)
    potentials = potentials_of(graph, evidence, fields, precisions)
    if check_flag("maximum", maximum):
        _check_maximum(graph)
    if check_flag("ensemble", ensemble):
        _check_ensemble(graph, schedule, damping, reinforcement, frozen)
    first = None if start is None else _continued(graph, potentials, start)
    moving = _moving(graph, potentials, first, frozen)
    schedule = "flooding" if ensemble else _chosen(moving.graph, schedule, damped)

    def begun() -> Sweeps:
        messages = None if first is None else (first[0][moving.edges], first[1][moving.edges])
        with np.errstate(all="ignore"):  # what overflows is seen as a change that is not finite, in every sweep
            options = replace(damped, damping=policy.damping), maximum
            if ensemble:
                first_ones = first_messages(graph, messages, maximum)
                return EnsembleSweeps(graph, potentials, first_ones, *options, rng=generator)
            return _sweeps(moving.graph, moving.potentials, messages, schedule, *options, generator)

    runs = Beginnings(begun)
    once = schedule == "two-pass" and not any(stack.kind.projects for stack in moving.graph.stacks)
    limit = 1 if once else max_sweeps
    run = repeat(runs, limit=limit, tolerance=tolerance, policy=policy, callback=callback, progress=progress)
    sweeps, whole = runs.sweeps, moving.graph is graph
    end = Status.EXACT if whole else Status.CONVERGED
    last, status = run.last, end if once and run.status is not Status.DIVERGED else run.status
    exact = whole and schedule == "two-pass" and status.converged and is_exact(graph, potentials)
    place = None
    if last is not None and moving.edges.size and status is not Status.EXACT:
        place = Worst(graph.label(int(graph.ends[moving.edges[last.extra]])), last.residual)
    state: State = sweeps
    if isinstance(sweeps, GeneralSweeps) or not whole:
        # What remains can be copied and sent: messages without the schedule, a generator. Compiled sweeps are arrays.
        state = Messages(*moving.completed(sweeps.messages(), first))
    result = Result(
        status, exact, run.steps, np.array(run.residuals), graph, potentials, state, maximum, place, ensemble
    )
    if result.converged:
        result.exact = result.integration_error <= LARGEST_ERROR and exact
        _ = result.moments  # an improper model is an error now, not when the first marginal is read
        if _impossible(result):
            result.status = Status.OUTSIDE
    elif status is Status.NOT_CONVERGED and _improper(result):
        result.status = Status.DIVERGED
    return result


def _unrolled(model: Model | Graph | Unrolled, observed: Mapping[str, ArrayLike], batch: int) -> Unrolled:
    if not isinstance(model, Unrolled):
        model = model_of(model)
    graph = unroll(model, data_sizes(model, observed, batch)) if isinstance(model, Model) else model
    if graph.copies == batch:
        return graph
    if graph.variables * batch > _MAX_SCALARS:
        raise ValueError(f"`batch` must leave at most {_MAX_SCALARS} scalars, got {shown(batch)} of {graph.variables}")
    if graph.copies > 1:
        raise ValueError(f"`batch` must be {graph.copies}, that of the unrolled model, got {batch}")
    return tile(graph, batch)


def _check_maximum(graph: Unrolled) -> None:
    for stack in graph.stacks:
        if not stack.kind.maximum:
            raise ValueError(f"`maximum` must be False for a model with {stack.kind.name} factors: no rule for maxima")
    if graph.nonconjugate:
        raise ValueError("`maximum` must be False for variables with a prior that is neither of spins nor Gaussian")


def _check_ensemble(graph: Unrolled, schedule: str, damping: Any, reinforcement: float, frozen: Sequence[Any]) -> None:
    if schedule not in ("auto", "flooding"):
        raise ValueError(f"`schedule` must be 'flooding' (or 'auto') for an ensemble, got {schedule!r}")
    if damping != 0.0 or reinforcement != 0.0:
        got = f"{shown(damping)} and {shown(reinforcement)}"
        raise ValueError(f"`damping` and `reinforcement` must be 0 for an ensemble (messages change places), got {got}")
    if graph.copies > 1 or len(frozen):
        got = f"{graph.copies} and {len(frozen)} factors"
        raise ValueError(f"`batch` must be 1 and `frozen` empty for an ensemble (messages change places), got {got}")
    dense = [f"shared `{name}`" for name, variable in graph.layout.model.variables.items() if variable.shared]
    dense += [f"{stack.kind.name} factors" for stack in graph.stacks if stack.kind.full_variance]
    if dense:
        need = "a model without shared precisions and sums over many arguments"
        raise ValueError(f"`ensemble` must be False but for {need}, got {', '.join(dense)}")


def _continued(
    graph: Unrolled, potentials: Potentials, start: Result | tuple[ArrayLike, ArrayLike]
) -> tuple[Array, Array]:
    """Return the first messages from an earlier run, or from arrays."""
    if isinstance(start, tuple):
        if len(start) != 2:
            raise ValueError(f"`start` must be two arrays of messages, B and A, got {len(start)}")
        B, A = (real_array("start", values, shape=(graph.edges,), finite=False).copy() for values in start)
        if not np.isfinite(A).all() or np.any(np.isinf(B) & graph.real[graph.ends]):
            raise ValueError("`start` must be finite, but for B of spins and categories, got infinite messages")
        return B, A
    common = shared(start.graph, graph)
    if common is None:
        raise ValueError(
            "`start` must be a run on the same graph or on a part of it (factors on elements of variables of the same "
            f"names and shapes, and the same batch), got one on {start.graph.edges} edges that shares no factor"
        )
    return continued(graph, potentials, start.graph, start.potentials, common, start.B, start.A)


def _moving(
    graph: Unrolled, potentials: Potentials, first: tuple[Array, Array] | None, frozen: Sequence[Factor]
) -> Moving:
    """Return what is not frozen: everything, as a rule."""
    held = held_rows(graph, frozen)
    if not any(rows.any() for rows in held):
        return Moving(graph, potentials, np.arange(graph.edges))
    if first is None:
        raise ValueError("`start` must be given where factors are `frozen`: it has their messages, got None")
    return without_held(graph, potentials, first, held)


def _chosen(graph: Unrolled, schedule: str, damping: Damping) -> str:
    """Return the schedule to use, by name."""
    if schedule == "auto":
        return "two-pass" if damping == Damping() and graph.is_forest else "flooding"
    if schedule == "two-pass" and not graph.is_forest:
        raise ValueError("`schedule` must not be 'two-pass' on a graph with loops (two factors on one pair are a loop)")
    if schedule == "two-pass" and damping != Damping():
        raise ValueError("`schedule` must not be 'two-pass' with damping or reinforcement: every message is sent once")
    return schedule


def _sweeps(
    graph: Unrolled,
    potentials: Potentials,
    start: tuple[Array, Array] | None,
    schedule: str,
    damping: Damping,
    maximum: bool,
    rng: np.random.Generator,
) -> Sweeps:
    """Return the compiled ones, if there are any for this run; else the general ones."""
    compiled = compiled_sweeps(graph, potentials, start, schedule, damping, maximum, rng)
    if compiled is not None:
        return compiled
    messages = first_messages(graph, start, maximum)
    if schedule == "residual":
        return ResidualSweeps(graph, potentials, messages, damping, maximum)
    return ScheduledSweeps(graph, potentials, messages, damping, maximum, schedule=schedule, rng=rng)


def _impossible(result: Result) -> bool:
    """Return whether approximated messages to spins have made a log Z above that of any law."""
    if result.maximum or not any(stack.kind.approximate for stack in result.graph.stacks):
        return False
    high = result.bounds[1]
    try:
        return math.isfinite(high) and result.outside and result.log_partition > high
    except ContradictionError:
        return False


def _improper(result: Result) -> bool:
    try:
        _ = result.moments
    except IndefiniteError:
        return True
    return False
