"""Logical constraints between many spins, +1 for true: how many are true, or that one is the OR or AND of the others.

The arguments are read one after the other by an automaton whose state is the number of true ones so far, as far as it
matters. Log-probabilities of its states from the left and from the right give all messages in a time proportional to
the number of arguments [Mézard-Montanari, ch. 14, transfer matrices].
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.factors.base import Array, Group, Kind, Parameters, Part, aligned, expand, numbers
from factorgraph.factors.joints import Joint, enumerated
from factorgraph.interface.arguments import check_choice, check_integer, shown
from factorgraph.interface.errors import ModelError
from factorgraph.messages.natural import Incoming, Outgoing, log_sum_of_two, log_weight
from factorgraph.model.description import Selection
from factorgraph.model.layout import Layout
from factorgraph.runtime.compiled import njit

#: Fields up to which the odds of a state, e^{2h}, and what is left of 1 in their product are numbers.
_MODERATE = 300.0
_RELATIONS = ("or", "and", "exactly", "at-most", "at-least")


@dataclass(frozen=True, eq=False, init=False)
class Logical(Group):
    """Constraints between spins, +1 for true and -1 for false.

    | relation   | what holds                                    |
    |------------|-----------------------------------------------|
    | "or"       | the last argument is the OR of the others     |
    | "and"      | the last argument is the AND of the others    |
    | "exactly"  | exactly ``count`` arguments are true          |
    | "at-most"  | at most ``count`` arguments are true          |
    | "at-least" | at least ``count`` arguments are true         |

    A clause of a satisfiability problem is "at-least" one, with the signs of its literals. Messages take a time
    proportional to the number of arguments (times the count).

    Args:
        spins: k selections of spins of fitting shapes; ``*s[table].columns`` for a table (F, k).
        relation: one of the table.
        count: of true arguments, where the relation has one.
        signs: -1 for arguments that are negated, 1 for others: a number or an array of the factors' shape with a last
            axis of k.

    Raises:
        ModelError: selections, signs, a relation or a count that do not fit.
    """

    signs: Array
    relation: str
    count: int
    parameter_names = ("signs",)
    shared_names = ("relation", "count")

    def __init__(self, *spins: Selection, relation: str, count: int = 1, signs: ArrayLike = 1.0) -> None:
        object.__setattr__(self, "arguments", aligned(spins, "spins"))
        k = len(self.arguments)
        object.__setattr__(self, "relation", check_choice("relation", relation, _RELATIONS, error=ModelError))
        maximum = k if relation in ("exactly", "at-most", "at-least") else 1
        object.__setattr__(self, "count", check_integer("count", count, minimum=0, maximum=maximum, error=ModelError))
        if relation in ("or", "and") and (k < 2 or count != 1):
            raise ModelError(f"`spins` must be >= 2 and `count` 1 for {relation!r}, got {k} and {count}")
        object.__setattr__(self, "signs", numbers("signs", signs, self.shape, k))
        if not np.all(np.abs(self.signs) == 1.0):
            raise ModelError(f"`signs` must be 1 or -1, got {shown(signs)}")

    @classmethod
    def row_shapes(cls, arity: int, shared: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """Return a sign for each argument."""
        return {"signs": (arity,)}

    def parts(self, layout: Layout) -> list[Part]:
        """Return one part: AND is OR with everything negated."""
        pattern = self.pattern(layout)
        if not all(pattern):
            raise ModelError(f"arguments of {self} must be spins, got `{self.arguments[pattern.index(False)].name}`")
        if self.relation in ("or", "and"):
            signs = self.signs if self.relation == "or" else -self.signs
            return [Part(Counted(pattern, 1, 1, True, True), self.table(layout), (signs,))]
        minimum = 0 if self.relation == "at-most" else self.count
        kind = Counted(pattern, minimum, self.count, self.relation == "at-least", False)
        return [Part(kind, self.table(layout), (self.signs,))]


@njit(part=True, error_model="numpy")
def _either(a: float, b: float, maximum: bool) -> float:
    return max(a, b) if maximum else log_sum_of_two(a, b)


@njit(part=True, error_model="numpy")
def _read(n: int, top: int, saturates: bool, log_p: Any, left: Any, maximum: bool) -> None:
    """Fill in left (n + 1, top + 1), log-weights of the numbers of true ones among the first i arguments."""
    left[:] = -np.inf
    left[0, 0] = 0.0
    for i in range(n):
        for c in range(top + 1):
            left[i + 1, c] = left[i, c] + log_p[i, 1]
            if c > 0:
                left[i + 1, c] = _either(left[i + 1, c], left[i, c - 1] + log_p[i, 0], maximum)
        if saturates:
            left[i + 1, top] = _either(left[i + 1, top], left[i, top] + log_p[i, 0], maximum)


@njit(cache=True, error_model="numpy")
def _messages(signs: Any, h: Any, minimum: int, top: int, saturates: bool, output: bool, maximum: bool) -> Any:
    """Messages B (F, k), and the log-weight (F,) of what is allowed under the laws."""
    F, k = h.shape
    n = k - 1 if output else k
    B, log_z = np.empty((F, k)), np.full(F, -np.inf)
    log_p, left, right, fed = np.empty((k, 2)), np.empty((n + 1, top + 1)), np.empty(top + 1), np.empty(top + 1)
    for f in range(F):
        for i in range(k):
            own = signs[f, i] * h[f, i]
            log_p[i, 0], log_p[i, 1] = log_weight(own, 1.0), log_weight(own, -1.0)
        _read(n, top, saturates, log_p, left, maximum)
        for c in range(top + 1):
            right[c] = log_p[n, 0 if c == top else 1] if output else (0.0 if c >= minimum else -np.inf)
            log_z[f] = _either(log_z[f], left[n, c] + right[c], maximum)
        if output:
            B[f, n] = 0.5 * signs[f, n] * (left[n, 1] - left[n, 0])
        for i in range(n - 1, -1, -1):
            up, down = -np.inf, -np.inf
            for c in range(top + 1):
                after = right[c + 1] if c < top else (right[top] if saturates else -np.inf)
                up = _either(up, left[i, c] + after, maximum)
                down = _either(down, left[i, c] + right[c], maximum)
                fed[c] = _either(after + log_p[i, 0], right[c] + log_p[i, 1], maximum)
            B[f, i] = 0.5 * signs[f, i] * (up - down)
            right[:] = fed
    return B, log_z


@njit(part=True, error_model="numpy")
def _log_one_less(d: float) -> float:
    """log(1 - e^d), d <= 0."""
    return math.log(-math.expm1(d)) if d > -0.5 else math.log1p(-math.exp(d))


@njit(cache=True, error_model="numpy")
def _any_true(signs: Any, h: Any, output: bool) -> Any:
    """The same for sums where one true argument is enough: with Q the probability that all other ones are false, which
    is a product, what an argument is sent is -½ log(1 - Q), and below an output of odds 1 : r -½ log(1 - Q + rQ)."""
    F, k = h.shape
    n = k - 1 if output else k
    B, log_z = np.empty((F, k)), np.empty(F)
    log_false, before = np.empty(n), np.empty(n)
    for f in range(F):
        left = 0.0
        for i in range(n):
            log_false[i], before[i] = log_weight(signs[f, i] * h[f, i], -1.0), left
            left += log_false[i]
        out = signs[f, n] * h[f, n] if output else math.inf
        odds = math.expm1(-2.0 * out)
        true, false = log_weight(out, 1.0) + _log_one_less(left), log_weight(out, -1.0) + left
        log_z[f] = log_sum_of_two(true, false)
        if output:
            B[f, n] = 0.5 * signs[f, n] * (_log_one_less(left) - left)
        right = 0.0
        for i in range(n - 1, -1, -1):
            d = before[i] + right
            change = odds * math.exp(d)
            if abs(change) < 0.5:
                B[f, i] = -0.5 * signs[f, i] * math.log1p(change)
            elif d - 2.0 * out > 0.0:
                B[f, i] = -0.5 * signs[f, i] * (d - 2.0 * out + math.log1p(-math.expm1(d) * math.exp(2.0 * out - d)))
            else:
                B[f, i] = -0.5 * signs[f, i] * math.log(math.exp(d - 2.0 * out) - math.expm1(d))
            right += log_false[i]
    return B, log_z


@dataclass(frozen=True)
class Counted(Kind):
    """The indicator that the number of true arguments is in a range; or, of all but the last, that it has the last's
    truth value. Signs (F, k) say which arguments are negated.

    Attributes:
        minimum: number that must be true.
        top: largest number that is told from larger ones.
        saturates: whether more may be true.
        output: whether the last argument says if the number is ``top``.
    """

    spins: tuple[bool, ...]
    minimum: int
    top: int
    saturates: bool
    output: bool
    name = "Logical"
    maximum = True

    def _passed(self, parameters: Parameters, incoming: Incoming, maximum: bool) -> tuple[Array, Array]:
        h = incoming.first
        if self.minimum == self.top == 1 and self.saturates and not maximum:
            if np.max(np.abs(h), initial=0.0, where=np.isfinite(h)) <= _MODERATE:
                return _any_true(parameters[0], h, self.output)
        return _messages(parameters[0], h, self.minimum, self.top, self.saturates, self.output, maximum)

    def rule(self, parameters: Parameters, incoming: Incoming, *, maximum: bool = False) -> Outgoing:
        """Return half the log-odds of each argument, from the numbers of true ones to its left and to its right."""
        return Outgoing(self._passed(parameters, incoming, maximum)[0])

    def log_partition(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return log of the probability of what is allowed."""
        return self._passed(parameters, incoming, False)[1]

    def mean_log_factor(self, parameters: Parameters, incoming: Incoming) -> Array:
        """0: a constraint."""
        return np.zeros(len(parameters[0]))

    def joint(self, parameters: Parameters, incoming: Incoming) -> Joint | None:
        """Return probabilities of all states."""
        return enumerated(self, parameters, incoming)

    def largest(self, parameters: Parameters) -> Array:
        """Return 0."""
        return np.zeros(len(parameters[0]))

    def log_factor(self, parameters: Parameters, *x: Array) -> Array:
        """Return 0 where it holds, -∞ elsewhere."""
        true = [expand(parameters[0][:, i], value) * value > 0.0 for i, value in enumerate(np.broadcast_arrays(*x))]
        if self.output:
            holds = np.any(true[:-1], axis=0) == true[-1]
        else:
            total = np.sum(true, axis=0)
            holds = (total >= self.minimum) & (total <= (math.inf if self.saturates else self.top))
        return np.where(holds, 0.0, -np.inf)
