"""Products of spins: p-spin couplings e^{J s_1 ... s_p}, and parity constraints as their limit J = ±∞."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.factors.base import Array, Group, Kind, Parameters, Part, aligned, expand, numbers
from factorgraph.factors.joints import Joint, enumerated
from factorgraph.interface.arguments import shown
from factorgraph.interface.errors import ModelError
from factorgraph.messages.natural import Incoming, Outgoing, combine, combine_maxima, log_sum_of_two, parity_weights
from factorgraph.model.description import Selection
from factorgraph.model.layout import Layout
from factorgraph.runtime.compiled import njit


@dataclass(frozen=True, eq=False, init=False)
class PSpin(Group):
    """Factors e^{coupling · s_1 s_2 ... s_p}.

    Args:
        spins: p selections of spins of fitting shapes; ``*s[table].columns`` for a table (F, p).
        coupling: number or array of the factors' shape.

    Raises:
        ModelError: selections or couplings that do not fit.
    """

    coupling: Array
    parameter_names = ("coupling",)

    def __init__(self, *spins: Selection, coupling: ArrayLike) -> None:
        object.__setattr__(self, "arguments", aligned(spins, "spins"))
        object.__setattr__(self, "coupling", numbers("coupling", coupling, self.shape))

    def parts(self, layout: Layout) -> list[Part]:
        """Return one part."""
        return _parts(self, layout, self.coupling)


@dataclass(frozen=True, eq=False, init=False)
class Parity(Group):
    """Constraints s_1 s_2 ... s_p = sign.

    Args:
        spins: as for ``PSpin``.
        sign: ±1, a number or an array of the factors' shape.

    Raises:
        ModelError: selections or signs that do not fit.
    """

    sign: Array
    parameter_names = ("sign",)

    def __init__(self, *spins: Selection, sign: ArrayLike = 1.0) -> None:
        object.__setattr__(self, "arguments", aligned(spins, "spins"))
        object.__setattr__(self, "sign", numbers("sign", sign, self.shape))
        if not np.all(np.abs(self.sign) == 1.0):
            raise ModelError(f"`sign` must be 1 or -1, got {shown(sign)}")

    def parts(self, layout: Layout) -> list[Part]:
        """Return one part."""
        return _parts(self, layout, self.sign * np.inf)


def _parts(group: Group, layout: Layout, coupling: Array) -> list[Part]:
    pattern = group.pattern(layout)
    if not all(pattern):
        name = group.arguments[pattern.index(False)].name
        raise ModelError(f"arguments of {group} must be spins, got `{name}`")
    return [Part(SpinProduct(pattern), group.table(layout), (coupling,))]


@njit(part=True, error_model="numpy")
def parity_messages(J: float, h: Any, maximum: bool, B: Any) -> None:
    """Fill in the messages (k,) of one factor, given the fields of its spins.

    B_i = J combined with all h but h_i: from the left and from the right, without a division.
    """
    total = J
    for i in range(h.size):
        B[i] = total
        total = combine_maxima(total, h[i]) if maximum else combine(total, h[i])
    total = math.inf
    for i in range(h.size - 1, -1, -1):
        B[i] = combine_maxima(B[i], total) if maximum else combine(B[i], total)
        total = combine_maxima(total, h[i]) if maximum else combine(total, h[i])


@njit(cache=True, error_model="numpy")
def _messages(J: Array, h: Array, maximum: bool) -> Array:
    """The messages (F, k) of all factors."""
    B = np.empty_like(h)
    for f in range(J.size):
        parity_messages(J[f], h[f], maximum, B[f])
    return B


@njit(cache=True, error_model="numpy")
def log_parity_sums(J: Array, h: Array) -> tuple[Array, Array]:
    """log E e^{J Π s} and J E[Π s] under the tilted law, for spins in fields h (F, k); see ``SpinProduct``."""
    log_sum, mean = np.empty(J.size), np.zeros(J.size)
    for f in range(J.size):
        even, odd = 0.0, -math.inf
        for i in range(h.shape[1]):
            even, odd = parity_weights(even, odd, h[f, i])
        likely, unlikely = (even, odd) if J[f] > 0.0 else (odd, even)
        if math.isinf(J[f]):
            log_sum[f] = likely
            continue
        log_sum[f] = log_sum_of_two(abs(J[f]) + likely, unlikely - abs(J[f]))
        mean[f] = abs(J[f]) * math.tanh(abs(J[f]) + 0.5 * (likely - unlikely))
    return log_sum, mean


def parity_log_factor(J: Array, x: tuple[Array, ...]) -> Array:
    """Return J Π x, or the logarithm of the indicator of Π x = sign J for J = ±∞."""
    product = np.prod(np.broadcast_arrays(*x), axis=0)
    J = np.broadcast_to(expand(J, product), product.shape)
    hard = np.isinf(J)
    return np.where(hard, np.where(product == np.sign(J), 0.0, -np.inf), np.where(hard, 0.0, J) * product)


def largest_parity(J: Array) -> Array:
    """Return |J|; 0 for a constraint, J = ±∞."""
    return np.where(np.isinf(J), 0.0, np.abs(J))


@dataclass(frozen=True)
class SpinProduct(Kind):
    """e^{J s_1 ... s_k}, or the indicator of s_1 ... s_k = sign J for J = ±∞ [Mézard-Montanari, ch. 14]."""

    spins: tuple[bool, ...]
    name = "PSpin"
    maximum = True

    def rule(self, parameters: Parameters, incoming: Incoming, *, maximum: bool = False) -> Outgoing:
        """Return B_i = atanh(tanh J Π_{j≠i} tanh h_j)."""
        return Outgoing(_messages(parameters[0], incoming.first, maximum))

    def log_partition(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return log(e^J P(Π s = 1) + e^{-J} P(Π s = -1))."""
        return log_parity_sums(parameters[0], incoming.first)[0]

    def mean_log_factor(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return J E[Π s]."""
        return log_parity_sums(parameters[0], incoming.first)[1]

    def joint(self, parameters: Parameters, incoming: Incoming) -> Joint | None:
        """Return probabilities of all states."""
        return enumerated(self, parameters, incoming)

    def largest(self, parameters: Parameters) -> Array:
        """Return |J|."""
        return largest_parity(parameters[0])

    def log_factor(self, parameters: Parameters, *x: Array) -> Array:
        """Return J Π s."""
        return parity_log_factor(parameters[0], x)
