"""Bethe free entropy: the one place where anything is summed over the graph.

With cavity laws q normalised, log Z = Σ_f log E_q f + Σ_i log Z_i - Σ_e log Z_e, where Z_i is the integral of a
variable's own weight times all its messages, and Z_e the mean of one message under the cavity law of its edge
[Mézard-Montanari, ch. 14; Yedidia-Freeman-Weiss]. A message e^{Bx} to a spin is divided by e^{|B|} in both, so that
hard constraints stay finite.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from factorgraph.messages import Array, ContradictionError, IndefiniteError, log_gaussian_mean, log_weight
from factorgraph.special import LOG_2PI
from factorgraph.unroll import Beliefs, Unrolled, Weights
from factorgraph.vectors import conditioned, log_constants, log_integrals


@dataclass(frozen=True)
class Energy:
    """The Bethe log-partition and its parts.

    Attributes:
        factors: Σ log Z_f, by stack.
        variables: Σ log Z_i.
        edges: Σ log Z_e.
    """

    factors: tuple[float, ...]
    variables: float
    edges: float

    @property
    def log_partition(self) -> float:
        """Σ log Z_f + Σ log Z_i - Σ log Z_e."""
        return sum(self.factors) + self.variables - self.edges


@njit(cache=True, error_model="numpy")
def _log_sum(a: float, b: float) -> float:
    top = max(a, b)
    return top if math.isinf(top) else top + math.log(math.exp(a - top) + math.exp(b - top))


@njit(cache=True, error_model="numpy")
def _edge_sums(
    ends: Any, spin: Any, silent: Any, first: Any, second: Any, B: Any, A: Any, up: Any, down: Any, out: Any
) -> None:
    """Add log Z_e to ``out`` of the variable of each edge, and what a message takes from each state to up and down."""
    for e in range(ends.size):
        i = ends[e]
        if silent[e]:
            continue
        if spin[i]:
            a, b = min(0.0, 2.0 * B[e]), min(0.0, -2.0 * B[e])
            up[i] += a
            down[i] += b
            out[i] += _log_sum(log_weight(first[e], 1.0) + a, log_weight(first[e], -1.0) + b)
        else:
            out[i] += log_gaussian_mean(first[e], second[e], B[e], A[e])


@njit(cache=True, error_model="numpy")
def _variable_sums(spin: Any, plain: Any, value: Any, field: Any, up: Any, down: Any, H: Any, G: Any, out: Any) -> None:
    """log Z_i of spins, of observed variables and of real ones whose own weight is Gaussian."""
    for i in range(spin.size):
        y = value[i]
        if spin[i]:
            if np.isnan(y):
                out[i] += _log_sum(field[i] + up[i], -field[i] + down[i])
            else:
                out[i] += field[i] * y + (up[i] if y > 0.0 else down[i])
        elif not np.isnan(y):
            out[i] += H[i] * y - 0.5 * G[i] * y * y
        elif plain[i]:
            out[i] += 0.5 * (H[i] * H[i] / G[i] + LOG_2PI - math.log(G[i]))


def bethe(graph: Unrolled, weights: Weights, B: Array, A: Array, laws: tuple[Array, Array], known: Beliefs) -> Energy:
    """The Bethe free entropy of given messages.

    Args:
        graph: the factors.
        weights: of the variables, without reinforcement.
        B: messages (E,).
        A: messages (E,).
        laws: all cavity laws, from ``cavity_laws``.
        known: the beliefs.

    Raises:
        ContradictionError: no state satisfies a factor or a variable.
        IndefiniteError: an integral over a real variable diverges.
    """
    up, down, edges = np.zeros((3, graph.variables))
    silent = graph.silent | (graph.vector_of >= 0)[graph.ends] if graph.vectors else graph.silent
    _edge_sums(graph.ends, graph.spin, silent, *laws, B, A, up, down, edges)
    variables = graph.log_base.copy()
    _variable_sums(graph.spin, graph.plain, weights.value, weights.field, up, down, known.H, known.G, variables)
    for law in graph.laws:
        free = np.flatnonzero(np.isnan(weights.value[law.variables]))
        where = law.variables[free]
        variables[where] += law.evaluate(known.H[where], known.G[where], B, A, free)[0]
    if graph.vectors:
        _vector_sums(graph, weights, B, A, known, variables, edges)
    _check(graph, variables - edges)
    factors = []
    for stack in graph.stacks:
        values = stack.kind.log_partition(stack.parameters, stack.incoming(laws, known))
        if not np.all(values > -np.inf):
            row = int(np.flatnonzero(~(values > -np.inf))[0])
            what = graph.factor_label(stack, row)
            if np.isnan(values[row]):
                raise IndefiniteError(f"the mean of {what} must be finite: an integral over a real variable diverges")
            raise ContradictionError(f"evidence must be consistent, got a state that {what} forbids")
        factors.append(float(values.sum()))
    return Energy(tuple(factors), float(variables.sum()), float(edges.sum()))


def _vector_sums(
    graph: Unrolled, weights: Weights, B: Array, A: Array, known: Beliefs, variables: Array, edges: Array
) -> None:
    """Fill in log Z_i of vectors, and log Z_e summed over their edges.

    Their cavity laws are not normalised, e^{hx - x·Gx/2} dx, in factors and edges alike, because the flat ones cannot
    be. Every Z_e then is the integral of Z_i; up to what is constant where components are observed, which is linear in
    the natural parameters: that of the messages counts.
    """
    count = np.bincount(graph.ends, minlength=graph.variables)
    H, G = (np.bincount(graph.ends, m, minlength=graph.variables).astype(np.float64) for m in (B, A))
    for places in graph.vectors:
        value, first = weights.value[places[..., 0]], places[:, 0, 0]
        integral = log_integrals(conditioned(known.H[places][..., 0], known.G[places], value))
        variables[places], edges[places] = 0.0, 0.0
        variables[first] = integral + log_constants(known.H[places][..., 0], known.G[places], value)
        edges[first] = count[first] * integral + log_constants(H[places][..., 0], G[places], value)


def entropy(
    graph: Unrolled, weights: Weights, laws: tuple[Array, Array], known: Beliefs, log_partition: float
) -> float:
    """Entropy of the Bethe law: log Z minus the mean logarithm of all factors and of the variables' own weights.

    Raises:
        NotImplementedError: a factor kind or a prior has no mean log-weight.
    """
    if graph.laws:
        raise NotImplementedError("the entropy needs variables whose own weight is a field or a Gaussian")
    square = known.mean**2 + known.variance
    for places in graph.vectors:
        mean = known.mean[places[..., 0]]
        square[places] = known.variance[places] + mean[:, :, None] * mean[:, None, :]
    precision = np.where(graph.spin, 0.0, weights.precision)
    total = log_partition - float((weights.field * known.mean - 0.5 * precision * square + graph.log_base).sum())
    for stack in graph.stacks:
        total -= float(stack.kind.mean_log_factor(stack.parameters, stack.incoming(laws, known)).sum())
    return total


def _check(graph: Unrolled, values: Array) -> None:
    if np.isfinite(values.sum()):
        return
    i = int(np.flatnonzero(~np.isfinite(values))[0])
    if graph.spin[i]:
        raise ContradictionError(f"evidence must be consistent, got no possible state for {graph.label(i)}")
    raise IndefiniteError(f"the integral over {graph.label(i)} must be finite: its law has no normalisation")
