"""One good state of a model with loops: by decimation, or by fields that lean ever more to where beliefs are.

Beliefs of a hard problem say what most solutions have in common, not what one solution is. Decimation fixes a few of
the clearest variables and sends the messages again, until all are fixed [Montanari-Ricci-Tersenghi-Semerjian 2007];
reinforcement lets every variable pull itself along a little in every sweep [Chavas et al. 2005]. A contradiction ends
an attempt; the next one breaks ties otherwise.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from factorgraph.engine.bethe import largest_weight, log_potentials
from factorgraph.engine.cavity import beliefs, totals
from factorgraph.engine.constants import first_messages
from factorgraph.engine.damping import Damping
from factorgraph.engine.decoding import best, margins
from factorgraph.engine.inputs import data_sizes, potentials_of, values_of
from factorgraph.engine.laws import named_values
from factorgraph.engine.schedules import SCHEDULES
from factorgraph.engine.sweeps import ScheduledSweeps, repeat
from factorgraph.engine.unroll import Potentials, Unrolled, unroll
from factorgraph.interface.arguments import (
    check_choice,
    check_flag,
    check_generator,
    check_integer,
    check_number,
)
from factorgraph.interface.brief import briefly
from factorgraph.interface.errors import ContradictionError, IndefiniteError
from factorgraph.messages.natural import Array
from factorgraph.model.description import Model
from factorgraph.model.graph import Graph, model_of
from factorgraph.runtime.compiled import njit

#: Half log-odds of what is as good as implied: all such variables are fixed together.
_CERTAIN = 18.0
#: Noise that breaks ties between variables, relative to their margins; between states, in their logarithms.
_TIES = 1e-6
#: Deviation of the fields that tell attempts of reinforcement apart.
_NOISE = 0.01
#: How far below its bound the largest weight may be by rounding, relative to it.
_ROUNDING = 1e-12
#: Sweeps of reinforcement between two looks at the state, and the change at which there are no more.
_STRIDE, _SETTLED = 10, 1e-3


@briefly
@dataclass(frozen=True)
class Solution:
    """A state that a search has found.

    Attributes:
        values: of all variables by name, in their shapes: ±1 of spins, states of categories, and of reals the means
            given these.
        log_weight: logarithm of the product of all factors and weights; -∞ if a factor is 0.
        violated: number of factors that are 0.
        attempts: how many were made.
        sweeps: of all attempts together.
    """

    values: dict[str, NDArray[Any]]
    log_weight: float
    violated: int
    attempts: int
    sweeps: int

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Values of a variable; raises ``KeyError`` if there is none."""
        if not isinstance(name, str) or name not in self.values:
            raise KeyError(f"`name` must be one of {sorted(self.values)}, got {name!r}")
        return self.values[name]


def decimate(
    model: Model | Graph | Unrolled,
    *,
    share: float = 0.05,
    maximum: bool = False,
    schedule: str = "sequential",
    damping: float = 0.0,
    tolerance: float = 1e-3,
    max_sweeps: int = 100,
    attempts: int = 10,
    observed: Mapping[str, ArrayLike] | None = None,
    fields: Mapping[str, ArrayLike] | None = None,
    rng: np.random.Generator | int = 0,
) -> Solution:
    """Return a state found by decimation: the best of some attempts, of which one that none can better is the last.

    In every round the clearest variables are fixed to their likeliest values: a ``share`` of those left, no two of one
    factor, and all that the messages imply. Then messages are sent until they settle.

    Args:
        model: as for ``infer``, with spins or categories.
        share: of the free variables that are fixed in a round, in (0, 1]; at least one is.
        maximum: take maxima instead of sums: the variables are fixed to where the best state is, instead of most of
            them.
        schedule: "flooding", "sequential", "random" or "forward-backward".
        damping: as for ``infer``.
        tolerance: as for ``infer``, in every round.
        max_sweeps: of a round.
        attempts: at most so many.
        observed: as for ``infer``.
        fields: as for ``infer``.
        rng: generator or seed.

    Raises:
        ModelError: the model, observations or fields do not fit together.
        ValueError: an option outside its domain.
        ContradictionError: evidence that no state satisfies, before anything is fixed.
    """
    share = check_number("share", share, above=0.0, maximum=1.0)
    tolerance = check_number("tolerance", tolerance, minimum=0.0)
    options = Damping(damping), check_flag("maximum", maximum)
    limit = check_integer("max_sweeps", max_sweeps, minimum=1)
    check_choice("schedule", schedule, list(SCHEDULES))
    generator = check_generator("rng", rng)
    graph, potentials = _given(model, observed, fields)

    def attempt() -> tuple[Array, int]:
        sweeps = _sweeps(graph, potentials, *options, schedule, generator)
        count = _settle(sweeps, limit, tolerance)
        while _fix(sweeps, share, generator):
            try:
                count += _settle(sweeps, limit, tolerance)
            except ContradictionError:
                break
        return _state(sweeps), count

    return _best(graph, potentials, attempt, check_integer("attempts", attempts, minimum=1))


def reinforce(
    model: Model | Graph | Unrolled,
    *,
    reinforcement: float = 0.95,
    maximum: bool = False,
    schedule: str = "sequential",
    damping: float = 0.0,
    max_sweeps: int = 1000,
    attempts: int = 10,
    observed: Mapping[str, ArrayLike] | None = None,
    fields: Mapping[str, ArrayLike] | None = None,
    rng: np.random.Generator | int = 0,
) -> Solution:
    """Return a state found by reinforcement: the best of some attempts, of which one that none can better is the last.

    Args:
        model: as for ``infer``, with spins or categories.
        reinforcement: r > 0: before every sweep the field of a variable is its own and r times its total of before.
        maximum: take maxima instead of sums.
        schedule: "flooding", "sequential", "random" or "forward-backward".
        damping: as for ``infer``.
        max_sweeps: of an attempt.
        attempts: at most so many.
        observed: as for ``infer``.
        fields: as for ``infer``.
        rng: generator or seed.

    Raises:
        ModelError: the model, observations or fields do not fit together.
        ValueError: an option outside its domain.
    """
    options = Damping(damping, check_number("reinforcement", reinforcement, above=0.0)), check_flag("maximum", maximum)
    limit = check_integer("max_sweeps", max_sweeps, minimum=1)
    check_choice("schedule", schedule, list(SCHEDULES))
    generator = check_generator("rng", rng)
    graph, potentials = _given(model, observed, fields)
    highest = _highest(graph, potentials)

    def attempt() -> tuple[Array, int]:
        noise = np.where(graph.real, 0.0, _NOISE * generator.standard_normal(graph.variables))
        sweeps = _sweeps(graph, replace(potentials, field=potentials.field + noise), *options, schedule, generator)
        count, steps, found, best_weight = 0, _STRIDE, None, -np.inf
        while count < limit and steps == _STRIDE and best_weight < highest:
            try:
                steps = _settle(sweeps, min(_STRIDE, limit - count), _SETTLED)
            except ContradictionError:
                break
            count += steps
            state = _state(sweeps)
            weight = float(log_potentials(graph, potentials, state)[0])
            if weight > best_weight:
                found, best_weight = state, weight
        return _state(sweeps) if found is None else found, count

    return _best(graph, potentials, attempt, check_integer("attempts", attempts, minimum=1))


def _given(
    model: Model | Graph | Unrolled, observed: Mapping[str, ArrayLike] | None, fields: Mapping[str, ArrayLike] | None
) -> tuple[Unrolled, Potentials]:
    evidence = values_of("observed", observed, missing=True)
    if not isinstance(model, Unrolled):
        model = model_of(model)
        model = unroll(model, data_sizes(model, evidence, 1))
    if model.copies > 1 or model.nonconjugate:
        raise ValueError("`model` must be without a batch and without priors of real variables that are not Gaussian")
    if not (~model.real).any():
        raise ValueError("`model` must have spins or categories to be searched, got real variables alone")
    return model, potentials_of(model, evidence, fields, None)


def _sweeps(
    graph: Unrolled,
    potentials: Potentials,
    damping: Damping,
    maximum: bool,
    schedule: str,
    rng: np.random.Generator,
) -> ScheduledSweeps:
    own = replace(potentials, value=potentials.value.copy())
    return ScheduledSweeps(
        graph, own, first_messages(graph, None, maximum), damping, maximum, schedule=schedule, rng=rng
    )


def _settle(sweeps: ScheduledSweeps, limit: int, tolerance: float) -> int:
    """Send messages until they settle; how many sweeps it took. Errors as for ``beliefs``, but for real variables."""
    try:
        done = repeat(sweeps, limit=limit, tolerance=tolerance)
        beliefs(sweeps.graph, sweeps.potentials, sweeps.B, sweeps.A)  # what contradicts itself says so
    except IndefiniteError:
        return limit
    return done.steps


def _fix(sweeps: ScheduledSweeps, share: float, rng: np.random.Generator) -> bool:
    """Fix the clearest free variables to their best values; whether there were any."""
    graph, value = sweeps.graph, sweeps.potentials.value
    H = totals(graph, sweeps.potentials, sweeps.B, sweeps.A)[0]
    left = np.flatnonzero(~graph.real & np.isnan(value) & graph.is_first)
    if not left.size:
        return False
    margin = np.nan_to_num(margins(graph, H)[left], nan=0.0)
    order = left[np.argsort(-margin * (1.0 - _TIES * rng.random(left.size)) - _TIES * rng.random(left.size))]
    chosen = _apart(
        order, max(1, math.ceil(share * left.size)), *graph.incidence, graph.owners, graph.factor_starts, graph.ends
    )
    places = _places(graph, np.union1d(chosen, left[margin > _CERTAIN]))
    value[places] = best(graph, places, *(H[places] + _TIES * rng.standard_normal(places.size),) * 2)
    return True


@njit(cache=True)
def _apart(order: Any, count: int, starts: Any, around: Any, owners: Any, factor_starts: Any, ends: Any) -> Any:
    """The first variables of an order, at most ``count``, no two of which share a factor."""
    taken = np.zeros(factor_starts.size - 1, np.bool_)
    found, n = np.empty(min(count, order.size), np.int64), 0
    for i in order:
        free = True
        for p in range(starts[i], starts[i + 1]):
            free = free and not taken[owners[around[p]]]
        if free:
            for p in range(starts[i], starts[i + 1]):
                taken[owners[around[p]]] = True
            found[n] = i
            n += 1
            if n == found.size:
                break
    return found[:n]


def _places(graph: Unrolled, variables: NDArray[Any]) -> NDArray[Any]:
    """Return all places of discrete variables given by their first ones."""
    if graph.first_of is None:
        return variables
    return np.flatnonzero(np.isin(graph.first_of, variables))


def _state(sweeps: ScheduledSweeps) -> Array:
    """Return values (N,): what is fixed, for the rest where beliefs lean, and for reals their means."""
    graph, value = sweeps.graph, sweeps.potentials.value
    H = totals(graph, sweeps.potentials, sweeps.B, sweeps.A)[0]
    H = np.where(graph.real, H, np.nan_to_num(H, nan=0.0))
    state = np.where(np.isnan(value), best(graph, np.arange(graph.variables), H, H), value)
    if not graph.real.any():
        return state
    try:
        mean = beliefs(graph, sweeps.potentials, sweeps.B, sweeps.A).mean
    except (ContradictionError, IndefiniteError):
        mean = np.zeros(graph.variables)
    return np.where(np.isnan(state), mean, state)


def _violated(graph: Unrolled, potentials: Potentials, state: Array) -> int:
    """Return how many factors, and weights of variables, are 0 at a state."""
    logs = potentials.own.log_weight(state)
    count = int(np.isneginf(np.where(graph.single | (graph.category_of >= 0), logs, 0.0)).sum())
    for stack in graph.stacks:
        values = stack.kind.log_factor(stack.parameters, *state[stack.variables].T[..., None])
        count += int(np.isneginf(values).sum())
    return count


def _highest(graph: Unrolled, potentials: Potentials) -> float:
    """Return a log-weight that no state has more than, but for rounding; ∞ where none is known."""
    highest = largest_weight(graph, potentials)
    return highest - _ROUNDING * max(1.0, abs(highest)) if math.isfinite(highest) else highest


def _best(graph: Unrolled, potentials: Potentials, attempt: Callable[[], tuple[Array, int]], attempts: int) -> Solution:
    """Return the best of some attempts; one whose weight is as large as can be is the last."""
    found: list[tuple[int, float, Array]] = []
    sweeps, highest = 0, _highest(graph, potentials)
    for _ in range(attempts):
        state, count = attempt()
        sweeps += count
        weight = float(log_potentials(graph, potentials, state)[0])
        found.append((_violated(graph, potentials, state), -weight, state))
        if weight >= highest:
            break
    violated, cost, state = min(found, key=lambda each: each[:2])
    return Solution(named_values(graph.layout, state), -cost, violated, len(found), sweeps)
