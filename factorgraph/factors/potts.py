"""Two categories that like, or dislike, to be in the same state."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.factors.base import Array, Group, Kind, Parameters, Part, aligned, numbers
from factorgraph.factors.joints import Joint, of_table, shares
from factorgraph.factors.table import argument_values, pattern_of
from factorgraph.interface.errors import ModelError
from factorgraph.messages.categories import normalise
from factorgraph.messages.natural import Incoming, Outgoing, log_sum_of_two
from factorgraph.model.description import Model, Selection
from factorgraph.model.layout import Layout
from factorgraph.runtime.compiled import njit


@dataclass(frozen=True, eq=False, init=False)
class Potts(Group):
    """Factors e^{coupling} where a = b, and 1 elsewhere; with the coupling -∞ the constraint a ≠ b.

    Args:
        a: one end of each pair, a category.
        b: the other end, with as many states, of a shape that broadcasts with the first one's.
        coupling: number or array of the pairs' shape; finite or -∞.

    Raises:
        ModelError: selections or couplings that do not fit.
    """

    coupling: Array
    parameter_names = ("coupling",)

    def __init__(self, a: Selection, b: Selection, coupling: ArrayLike) -> None:
        object.__setattr__(self, "arguments", aligned((a, b), "a", "b"))
        object.__setattr__(self, "coupling", numbers("coupling", coupling, self.shape, infinite=True))
        if self.coupling.size and self.coupling.max() == np.inf:
            raise ModelError("`coupling` must be finite or -inf, got inf: let the pair be one variable")

    def check(self, model: Model) -> None:
        """Also that both ends have the same number of states."""
        super().check(model)
        states = [model.variables[selection.name].states for selection in self.arguments]
        if 0 in states or states[0] != states[1]:
            got = " and ".join(f"{q} states" if q else "a number" for q in states)
            raise ModelError(f"arguments of {self} must be categories of the same number of states, got {got}")

    def parts(self, layout: Layout) -> list[Part]:
        """Return one part."""
        states = self.states(layout)
        return [Part(PottsPair(pattern_of(states), states), self.slots(layout), (self.coupling,))]


@njit(part=True, error_model="numpy")
def log_others(law: Array, others: Array) -> None:
    """log Σ_{c' ≠ c} p(c') for all c, in O(q).

    Only without the most probable state is what is left small beside the sum of all: for that state it is summed anew.
    """
    first = 0
    for c in range(law.size):
        if law[c] > law[first]:
            first = c
    second, rest, rest_of_second = -math.inf, 0.0, 0.0
    for c in range(law.size):
        if c != first and law[c] > second:
            second = law[c]
    for c in range(law.size):
        if c != first and second > -math.inf:
            rest += math.exp(law[c] - law[first])
            rest_of_second += math.exp(law[c] - second)
    for c in range(law.size):
        left = rest - math.exp(law[c] - law[first])
        others[c] = law[first] + math.log1p(max(left, 0.0))
    others[first] = second + math.log(rest_of_second) if second > -math.inf else -math.inf


@njit(part=True, error_model="numpy")
def maxima_of_others(law: Array, others: Array) -> None:
    """max_{c' ≠ c} of a law, for all c."""
    first = 0
    for c in range(law.size):
        if law[c] > law[first]:
            first = c
    second = -math.inf
    for c in range(law.size):
        if c != first and law[c] > second:
            second = law[c]
    for c in range(law.size):
        others[c] = second if c == first else law[first]


@njit(cache=True, error_model="numpy")
def _messages(J: Array, laws: Array, maximum: bool) -> Array:
    F, q = J.size, laws.shape[1] // 2
    B, others = np.empty(laws.shape), np.empty(q)
    for f in range(F):
        for side in range(2):
            law, sent = laws[f, (1 - side) * q : (2 - side) * q], B[f, side * q : (side + 1) * q]
            if maximum:
                maxima_of_others(law, others)
            else:
                log_others(law, others)
            for c in range(q):
                own = J[f] + law[c]
                sent[c] = max(own, others[c]) if maximum else log_sum_of_two(own, others[c])
    for side in range(2):
        normalise(B[:, side * q : (side + 1) * q], maximum)
    return B


@njit(cache=True, error_model="numpy")
def _equal_and_not(laws: Array) -> tuple[Array, Array]:
    """log P(a = b) and log P(a ≠ b) under the cavity laws."""
    F, q = laws.shape[0], laws.shape[1] // 2
    equal, other, others = np.full(F, -np.inf), np.full(F, -np.inf), np.empty(q)
    for f in range(F):
        log_others(laws[f, q:], others)
        for c in range(q):
            equal[f] = log_sum_of_two(equal[f], laws[f, c] + laws[f, q + c])
            other[f] = log_sum_of_two(other[f], laws[f, c] + others[c])
    return equal, other


@dataclass(frozen=True)
class PottsPair(Kind):
    """e^{J [a = b]} with J (F,)."""

    spins: tuple[bool, ...]
    states: tuple[int, ...]
    name = "Potts"
    maximum = True

    def rule(self, parameters: Parameters, incoming: Incoming, *, maximum: bool = False) -> Outgoing:
        """Return log(e^J p(c) + Σ_{c' ≠ c} p(c'))."""
        return Outgoing(_messages(parameters[0], incoming.first, maximum))

    def log_partition(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return log(e^J P(a = b) + P(a ≠ b))."""
        equal, other = _equal_and_not(incoming.first)
        return np.logaddexp(parameters[0] + equal, other)

    def mean_log_factor(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return J P(a = b) under the belief; 0 for a constraint."""
        J = parameters[0]
        equal, other = _equal_and_not(incoming.first)
        share = np.exp(J + equal - np.logaddexp(J + equal, other))
        return np.where(np.isinf(J), 0.0, J) * share

    def joint(self, parameters: Parameters, incoming: Incoming) -> Joint:
        """Return probabilities (F, q, q)."""
        q = self.states[0]
        logs = incoming.first[:, :q, None] + incoming.first[:, None, q:]
        logs[:, np.arange(q), np.arange(q)] += parameters[0][:, None]
        return of_table(shares(logs))

    def largest(self, parameters: Parameters) -> Array:
        """Return J, or 0 where that is more."""
        return np.maximum(parameters[0], 0.0)

    def log_factor(self, parameters: Parameters, *x: Array) -> Array:
        """Return J where both states are the same."""
        a, b = argument_values(self.states, x)
        return np.where(a == b, parameters[0].reshape(-1, *(1,) * (a.ndim - 1)), 0.0)
