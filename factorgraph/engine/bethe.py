"""Bethe free entropy: the one place where anything is summed over the graph.

With cavity laws q normalised, log Z = Σ_f log E_q f + Σ_i log Z_i - Σ_e log Z_e, where Z_i is the integral of a
variable's own weight times all its messages, and Z_e the mean of one message under the cavity law of its edge
[Mézard-Montanari, ch. 14; Yedidia-Freeman-Weiss]. A message e^{Bx} to a spin is divided by e^{|B|} in both, so that
hard constraints stay finite; one to a category is normalised. One to a real variable is divided by its value at the
variable's mean: far from zero, or where a factor is sharp, H²/2G and its like are much larger than what they leave.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factorgraph.engine.unroll import Beliefs, Own, Potentials, Unrolled
from factorgraph.interface.errors import ContradictionError, IndefiniteError, ModelError
from factorgraph.messages.categories import log_sums
from factorgraph.messages.natural import Array, log_gaussian_mean, log_mean_about, log_sum_of_two, log_weight
from factorgraph.messages.vectors import conditioned, log_widths
from factorgraph.numerics.special import LOG_2PI, log_2cosh_array
from factorgraph.runtime.compiled import njit

#: What is wrong with numbers whose sums leave the range of floats.
TOO_LARGE = "fields and parameters of factors must be such that log Z is a float, got a sum beyond 1.8e308"


@dataclass(frozen=True)
class Energy:
    """The Bethe log-partition and its parts.

    Attributes:
        factors: Σ log Z_f, by stack.
        variables: Σ log Z_i.
        edges: Σ log Z_e.
        copies: (batch,) the log-partition of each copy of the model.
    """

    factors: tuple[float, ...]
    variables: float
    edges: float
    copies: Array

    @property
    def log_partition(self) -> float:
        """Σ log Z_f + Σ log Z_i - Σ log Z_e."""
        return sum(self.factors) + self.variables - self.edges


@njit(cache=True, error_model="numpy")
def _edge_sums(
    ends: Any,
    spin: Any,
    parametric: Any,
    product: Any,
    centred: Any,
    x: Any,
    first: Any,
    second: Any,
    B: Any,
    A: Any,
    up: Any,
    down: Any,
    out: Any,
) -> None:
    """Add log Z_e to ``out`` of the variable of each edge, and what a message takes from each state to up and down.

    Where cavity law times message is the belief, ``product``, its mean x need not be known to more digits than it has.
    """
    for e in range(ends.size):
        i = ends[e]
        if parametric[e]:
            continue
        if spin[i]:
            a, b = min(0.0, 2.0 * B[e]), min(0.0, -2.0 * B[e])
            up[i] += a
            down[i] += b
            out[i] += log_sum_of_two(log_weight(first[e], 1.0) + a, log_weight(first[e], -1.0) + b)
        elif second[e] != 0.0:  # the value of an observed variable is x
            m, v = first[e], second[e]
            if centred[e] and product[i]:
                out[i] += 0.5 * (LOG_2PI - math.log(1.0 / v + A[e]))
                continue
            out[i] += log_gaussian_mean(m, v, B[e], A[e]) if product[i] else log_mean_about(x[i], m, v, B[e], A[e])
            if centred[e]:  # what the law is at x: e^{mx} where it is flat
                out[i] += -m * x[i] if math.isinf(v) else 0.5 * ((m - x[i]) ** 2 / v + LOG_2PI + math.log(v))


@njit(cache=True, error_model="numpy")
def _variable_sums(spin: Any, conjugate: Any, value: Any, field: Any, up: Any, down: Any, G: Any, out: Any) -> None:
    """Add to the own weights, ``out``, what makes log Z_i of spins and of real variables with a Gaussian weight."""
    for i in range(spin.size):
        y = value[i]
        if spin[i]:
            if np.isnan(y):
                out[i] += log_sum_of_two(field[i] + up[i], -field[i] + down[i])
            else:
                out[i] += field[i] * y + (up[i] if y > 0.0 else down[i])
        elif np.isnan(y) and conjugate[i]:
            out[i] += 0.5 * (LOG_2PI - math.log(G[i]))


def bethe(
    graph: Unrolled, potentials: Potentials, B: Array, A: Array, laws: tuple[Array, Array], known: Beliefs
) -> Energy:
    """Return the Bethe free entropy of given messages.

    Args:
        graph: the factors.
        potentials: of the variables, without reinforcement.
        B: messages (E,).
        A: messages (E,).
        laws: all cavity laws, from ``cavity_laws``.
        known: the beliefs.

    Raises:
        ContradictionError: no state satisfies a factor or a variable.
        IndefiniteError: an integral over a real variable diverges.
    """
    up, down, edges = np.zeros((3, graph.variables))
    parametric = graph.parametric if graph.single.all() else graph.parametric | ~graph.single[graph.ends]
    product = graph.conjugate & ~graph.full_variance
    centred, own = _centred(graph, potentials.own)
    _edge_sums(graph.ends, graph.spin, parametric, product, centred, known.mean, *laws, B, A, up, down, edges)
    variables = np.where(graph.spin, own.base, own.log_weight(known.mean))
    _variable_sums(graph.spin, graph.conjugate, potentials.value, potentials.field, up, down, known.G, variables)
    for law in graph.nonconjugate:
        free = np.flatnonzero(np.isnan(potentials.value[law.variables]))
        if not free.size:  # an output may be a law for observation only
            continue
        where = law.variables[free]
        variables[where] += law.log_mean_about(known.mean[where], known.H[where], known.G[where], B, A, free)
    if graph.vectors:
        _vector_sums(graph, potentials, known, variables, edges)
    _category_sums(graph, potentials, known, B, laws[0], variables, edges)
    _check(graph, variables - edges)
    factors, copies = [], (variables - edges).reshape(graph.copies, -1).sum(axis=1)
    for stack in graph.stacks:
        values = stack.kind.log_partition(stack.parameters, stack.incoming(laws, known))
        if not np.all(values > -np.inf):
            row = int(np.flatnonzero(~(values > -np.inf))[0])
            what = graph.factor_label(stack, row)
            if np.isnan(values[row]):
                raise IndefiniteError(f"the mean of {what} must be finite: an integral over a real variable diverges")
            raise ContradictionError(f"evidence must be consistent, got a state that {what} forbids")
        factors.append(float(values.sum()))
        copies = copies + values.reshape(graph.copies, -1).sum(axis=1)
    return Energy(tuple(factors), float(variables.sum()), float(edges.sum()), copies)


def _centred(graph: Unrolled, own: Own) -> tuple[NDArray[np.bool_], Own]:
    """Return (E,) edges of factors that take the laws relative to their value at the mean; and the variables' own
    weights with what these factors leave to them."""
    centred, precision = np.zeros(graph.edges, dtype=bool), own.precision
    for stack in graph.stacks:
        if stack.kind.centred:
            centred[stack.edges] = True
            lifted = stack.kind.lifted(stack.parameters)
            if lifted is not None:
                precision = precision - np.bincount(stack.variables.ravel(), lifted.ravel(), graph.variables)
    return centred, own._replace(precision=precision)


def _vector_sums(graph: Unrolled, potentials: Potentials, known: Beliefs, variables: Array, edges: Array) -> None:
    """Fill in log Z_i of vectors, and log Z_e summed over their edges.

    Their cavity laws are not normalised, because the flat ones cannot be, but relative to their value at the mean in
    factors and edges alike. Every Z_e then is the width of the belief.
    """
    count = np.bincount(graph.ends, minlength=graph.variables)
    for places in graph.vectors:
        value, first = potentials.value[places[..., 0]], places[:, 0, 0]
        width = log_widths(conditioned(known.H[places][..., 0], known.G[places], value))
        variables[places], edges[places] = 0.0, 0.0
        variables[first] = width + _own_of_vectors(potentials.own, known.mean, places)
        edges[first] = count[first] * width


def _category_sums(
    graph: Unrolled, potentials: Potentials, known: Beliefs, B: Array, first: Array, variables: Array, edges: Array
) -> None:
    """Fill in log Z_i of categories, and log Z_e summed over their edges."""
    for k, places in enumerate(graph.categories):
        H, value = known.H[places], potentials.value[places]
        head, edge = places[:, 0], np.flatnonzero(graph.category_of[graph.ends] == k).reshape(-1, places.shape[1])
        variables[places], edges[places] = 0.0, 0.0
        variables[head] = log_sums(np.where(np.isnan(value) | (value > 0.0), H, -np.inf))
        np.add.at(edges, graph.ends[edge[:, 0]], log_sums(first[edge] + B[edge]))


def _own_of_vectors(own: Own, x: Array, places: Any) -> Array:
    """Return the logarithm of the own weights at values (N,) of vectors, (n,)."""
    vector = x[places[..., 0]]
    pull = own.field[places[..., 0]] - 0.5 * np.einsum("nij,nj->ni", own.precision[places], vector)
    return (pull * vector).sum(axis=1)


def _own_weights(graph: Unrolled, own: Own, x: Array) -> Array:
    """Return logarithm (N,) of the own weights at values x (N,); that of a vector in its first place."""
    logs = own.log_weight(x)
    for places in graph.vectors:
        logs[places] = 0.0
        logs[places[:, 0, 0]] = _own_of_vectors(own, x, places)
    return logs


def log_potentials(graph: Unrolled, potentials: Potentials, x: Array) -> Array:
    """Return log of the product of everything at a state x (N,), for each copy of the model; -∞ where a factor is 0."""
    total = _own_weights(graph, potentials.own, x).reshape(graph.copies, -1).sum(axis=1)
    for stack in graph.stacks:
        values = stack.kind.log_factor(stack.parameters, *x[stack.variables].T[..., None])
        total += values.reshape(graph.copies, -1).sum(axis=1)
    return total


def bounds(graph: Unrolled, potentials: Potentials, state: Array) -> tuple[float, float]:
    """Return what log Z lies between, whatever the messages: the log-weight of a state, and that of free variables with
    every factor at its largest. Without free real variables; ±∞ where nothing is known.
    """
    if (np.isnan(potentials.value) & graph.real).any():
        return -math.inf, math.inf
    high = _at_most(graph, potentials, log_2cosh_array, log_sums)
    return float(log_potentials(graph, potentials, state).sum()), high


def largest_weight(graph: Unrolled, potentials: Potentials) -> float:
    """Return a number that no state has a larger log-weight than; ∞ where none is known, with free real variables
    always."""
    if (np.isnan(potentials.value) & graph.real).any():
        return math.inf
    return _at_most(graph, potentials, np.abs, lambda logs: logs.max(axis=1))


def _at_most(graph: Unrolled, potentials: Potentials, of_spins: Any, of_categories: Any) -> float:
    """Return the log-weight of free variables, from functions of their fields, with every factor at its largest."""
    free, own = np.isnan(potentials.value), potentials.own
    known = _own_weights(graph, own, np.where(free, 0.0, potentials.value))
    logs = np.where(free & graph.spin, own.base + of_spins(own.field), known)
    for places in graph.categories:
        rows = places[free[places[:, 0]]]
        logs[rows[:, 0]] = of_categories(own.field[rows])
    return float(logs.sum()) + sum(float(stack.kind.largest(stack.parameters).sum()) for stack in graph.stacks)


def entropy(
    graph: Unrolled, potentials: Potentials, laws: tuple[Array, Array], known: Beliefs, log_partition: float
) -> float:
    """Return the entropy of the Bethe law: log Z minus the mean logarithm of all factors and of the variables' own
    weights.

    Raises:
        NotImplementedError: a factor kind or a prior has no mean log-weight.
    """
    if graph.nonconjugate:
        raise NotImplementedError("the entropy needs variables whose own weight is a field or a Gaussian")
    own = potentials.own
    means = _centred(graph, own)[1].log_weight(known.mean) - 0.5 * (own.precision + own.stiffness) * known.variance
    for places in graph.vectors:
        means[places] = 0.0
        spread = np.einsum("nij,nij->n", own.precision[places], known.variance[places])
        means[places[:, 0, 0]] = _own_of_vectors(potentials.own, known.mean, places) - 0.5 * spread
    total = log_partition - float(means.sum())
    for stack in graph.stacks:
        total -= float(stack.kind.mean_log_factor(stack.parameters, stack.incoming(laws, known)).sum())
    return total


def _check(graph: Unrolled, values: Array) -> None:
    with np.errstate(over="ignore"):
        if np.isfinite(values.sum()):
            return
    wrong = np.flatnonzero(~np.isfinite(values))
    if not wrong.size:
        raise ModelError(TOO_LARGE)
    i = int(wrong[0])
    if not graph.real[i]:
        raise ContradictionError(f"evidence must be consistent, got no possible state for {graph.label(i)}")
    raise IndefiniteError(f"the integral over {graph.label(i)} must be finite: its law has no normalisation")
