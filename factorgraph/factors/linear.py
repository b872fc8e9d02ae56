"""Linear-Gaussian factors: a weighted sum of real variables and a few spins, measured with Gaussian noise."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike

from factorgraph.factors.base import Array, Group, Kind, Parameters, Part, aligned, expand, numbers
from factorgraph.factors.vector_linear import VectorGaussian, vector_parameters, whitened
from factorgraph.layout import Layout
from factorgraph.messages import Incoming, Outgoing, log_weight
from factorgraph.model import ModelError, Selection
from factorgraph.special import LOG_2PI

_MOST_SPINS = 12


@dataclass(frozen=True, eq=False, init=False)
class Linear(Group):
    """Factors N(target; Σ_i c_i x_i, noise).

    Arguments may be spins: their states are enumerated, so that messages to spins are exact, and messages to real
    variables have the moments of the exact mixture. Or all arguments are vectors, of any dimensions: then the
    coefficients are matrices with the same number m of rows, and the noise is a covariance matrix.

    Args:
        terms: k selections of fitting shapes; ``*x[table].columns`` for a table (F, k).
        coefficients: k numbers, or an array of the factors' shape with a last axis of k; for vectors k matrices
            (..., m, d), each with the factors' shape in front or without, or numbers for multiples of the identity.
        target: what the sum is measured to be: number or array of the factors' shape; for vectors with an axis of m.
        noise: variance of the noise, > 0: number or array of the factors' shape; for vectors a number or covariance
            matrices (..., m, m).

    Raises:
        ModelError: selections or parameters that do not fit, or more than 12 spins in a factor (use ``Sum``).
    """

    coefficients: Array
    target: Array
    noise: Array
    parameter_names = ("coefficients", "target", "noise")

    def __init__(
        self, *terms: Selection, coefficients: Any = 1.0, target: ArrayLike = 0.0, noise: ArrayLike = 1.0
    ) -> None:
        object.__setattr__(self, "arguments", aligned(terms))
        if any(term.dimension for term in self.arguments):
            values = vector_parameters(self.arguments, coefficients, target, noise)
            for name, value in zip(("coefficients", "target", "noise"), values, strict=True):
                object.__setattr__(self, name, value)
            return
        k = len(self.arguments)
        object.__setattr__(self, "coefficients", numbers("coefficients", coefficients, (*self.shape, k)).reshape(-1, k))
        object.__setattr__(self, "target", numbers("target", target, self.shape))
        object.__setattr__(self, "noise", numbers("noise", noise, self.shape))
        if not np.all(self.noise > 0.0):
            raise ModelError(f"`noise` must be > 0, got {self.noise.min():g}; observe a variable that is known exactly")

    @classmethod
    def row_shapes(cls, arity: int, shared: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """A coefficient for each argument, target and noise."""
        return {"coefficients": (arity,), "target": (), "noise": ()}

    @classmethod
    def from_rows(
        cls, arguments: Sequence[Selection], rows: Mapping[str, Array], shared: Mapping[str, Any]
    ) -> "Linear":
        """Vectors have the matrices of all their arguments side by side."""
        given: dict[str, Any] = dict(rows)
        ends = np.cumsum([argument.dimension for argument in arguments])
        if ends[-1] and "coefficients" in given:
            given["coefficients"] = np.split(given["coefficients"], ends[:-1], axis=2)
        return cls(*arguments, **given)

    def parts(self, layout: Layout) -> list[Part]:
        """One part."""
        if self.noise.ndim > 1:
            dimensions = tuple(term.dimension for term in self.arguments)
            places = [
                first[:, None] + np.arange(d * d) for first, d in zip(self.table(layout).T, dimensions, strict=True)
            ]
            parameters = whitened(self.coefficients, self.target, self.noise)
            return [Part(VectorGaussian(self.target.shape[1], dimensions), np.concatenate(places, axis=1), parameters)]
        pattern = self.pattern(layout)
        if sum(pattern) > _MOST_SPINS:
            raise ModelError(f"spins in {self} must be at most {_MOST_SPINS}, got {sum(pattern)}: use Sum for many")
        return [Part(LinearGaussian(pattern), self.table(layout), (self.coefficients, self.target, self.noise))]


@njit(cache=True, error_model="numpy")
def _states(c: Any, y: float, V: float, reals: float, h: Any, spin: Any, omega: Any, log_p: Any, log_q: Any) -> None:
    """For each state of the spins: mean of the sum, log-weight of the state, and log N(y; omega, V) up to a constant.

    States are counted in binary, the first spin as the lowest bit.
    """
    for state in range(omega.size):
        omega[state], log_p[state], bit = reals, 0.0, state
        for i in range(c.size):
            if spin[i]:
                s = 1.0 - 2.0 * (bit & 1)
                omega[state] += c[i] * s
                log_p[state] += log_weight(h[i], s)
                bit >>= 1
        log_q[state] = -0.5 * (y - omega[state]) ** 2 / V


@njit(cache=True, error_model="numpy")
def _field_of_spin(i: int, h: Any, spin: Any, log_q: Any) -> float:
    """Half the log-odds that a factor gives to its argument i, that spin's own field left out."""
    log_w = log_q.copy()
    own, bit = 0, 0
    for j in range(h.size):
        if spin[j]:
            if j == i:
                own = bit
            else:
                for state in range(log_w.size):
                    log_w[state] += log_weight(h[j], 1.0 - 2.0 * ((state >> bit) & 1))
            bit += 1
    top, up, down = np.max(log_w), 0.0, 0.0
    for state in range(log_w.size):
        if (state >> own) & 1:
            down += math.exp(log_w[state] - top)
        else:
            up += math.exp(log_w[state] - top)
    return 0.5 * (math.log(up) - math.log(down))


@njit(cache=True, error_model="numpy")
def _sums(c: Any, y: float, noise: float, m: Any, v: Any, spin: Any, omega: Any, log_p: Any, log_q: Any) -> Any:
    """Total variance V, log Σ p N up to -½ log(2πV), posterior mean and variance of omega over the states."""
    V, reals = noise, 0.0
    for i in range(c.size):
        if not spin[i]:
            V += c[i] * c[i] * v[i]
            reals += c[i] * m[i]
    _states(c, y, V, reals, m, spin, omega, log_p, log_q)
    top = np.max(log_p + log_q)
    total, mean, square = 0.0, 0.0, 0.0
    for state in range(omega.size):
        w = math.exp(log_p[state] + log_q[state] - top)
        total += w
        mean += w * omega[state]
    mean /= total
    for state in range(omega.size):
        square += math.exp(log_p[state] + log_q[state] - top) * (omega[state] - mean) ** 2
    return V, top + math.log(total), mean, square / total


@njit(cache=True, error_model="numpy")
def _messages(c: Any, y: Any, noise: Any, m: Any, v: Any, spin: Any) -> tuple[Array, Array]:
    """With W the posterior variance of the spins' part and V_i = V - c_i² v_i, the message to a real argument i has
    A = c_i² (1 - W/V)/(V_i + W c_i² v_i/V) and B = c_i (y - omega_i - c_i m_i W/V)/(the same), and omega_i = omega
    - c_i m_i.

    Without spins W = 0: the law of c_i x_i is N(y - omega_i, V_i).
    """
    F, k = m.shape
    B, A = np.zeros((F, k)), np.zeros((F, k))
    omega, log_p, log_q = np.empty((3, 2 ** np.sum(spin)))
    for f in range(F):
        V, _, mean, W = _sums(c[f], y[f], noise[f], m[f], v[f], spin, omega, log_p, log_q)
        rest, variance = 0.0, noise[f]
        for i in range(k):
            B[f, i], A[f, i] = rest, variance
            if not spin[i]:
                rest, variance = rest + c[f, i] * m[f, i], variance + c[f, i] ** 2 * v[f, i]
        spins_mean = mean - rest
        rest, variance = 0.0, 0.0
        for i in range(k - 1, -1, -1):
            omega_i, V_i = B[f, i] + rest + spins_mean, A[f, i] + variance
            if spin[i]:
                A[f, i] = 0.0
                continue
            s = c[f, i] ** 2 * v[f, i]
            share = 1.0 if math.isinf(s) else s / V
            D = V_i + (share * W if W > 0.0 else 0.0)
            B[f, i] = 0.0 if math.isinf(D) else c[f, i] * (y[f] - omega_i - c[f, i] * m[f, i] * (W / V)) / D
            A[f, i] = c[f, i] ** 2 * (1.0 - W / V) / D
            rest, variance = rest + c[f, i] * m[f, i], variance + s
        for i in range(k):
            if spin[i]:
                B[f, i] = _field_of_spin(i, m[f], spin, log_q)
    return B, A


@njit(cache=True, error_model="numpy")
def _log_partitions(c: Any, y: Any, noise: Any, m: Any, v: Any, spin: Any) -> tuple[Array, Array]:
    """log of the mean factor, and mean of its logarithm under the belief, (F,) each.

    With one flat argument (v = ∞), integrated over dx, N(y; c x + ..., ·) gives 1/|c|.
    """
    F, k = m.shape
    log_z, mean_log = np.empty(F), np.empty(F)
    omega, log_p, log_q = np.empty((3, 2 ** np.sum(spin)))
    for f in range(F):
        V, log_sum, mean, W = _sums(c[f], y[f], noise[f], m[f], v[f], spin, omega, log_p, log_q)
        remainder = noise[f] * (1.0 - noise[f] / V)
        residual = noise[f] / V * (y[f] - mean)
        expected = residual * residual + remainder + (noise[f] / V) ** 2 * W
        if math.isinf(V):
            expected = noise[f]
            log_z[f] = log_sum
            for i in range(k):
                if not spin[i] and math.isinf(v[f, i]):
                    log_z[f] -= math.log(abs(c[f, i]))
        else:
            log_z[f] = log_sum - 0.5 * (LOG_2PI + math.log(abs(V)))  # V < 0 where a law grows
        mean_log[f] = -0.5 * (LOG_2PI + math.log(noise[f]) + expected / noise[f])
    return log_z, mean_log


@dataclass(frozen=True)
class LinearGaussian(Kind):
    """N(y; Σ c_i x_i, noise) with c (F, k), y and noise (F,)."""

    spins: tuple[bool, ...]
    name = "Linear"
    quadratic = True

    @property
    def projects(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The real arguments, if there are spins among the others."""
        return tuple(i for i, spin in enumerate(self.spins) if not spin) if any(self.spins) else ()

    @property
    def maximum(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Gaussian maxima are means; with spins there is no closed form."""
        return not any(self.spins)

    def rule(self, parameters: Parameters, incoming: Incoming, *, maximum: bool = False) -> Outgoing:
        """See ``_messages``."""
        return Outgoing(*_messages(*self._values(parameters, incoming)))

    def log_partition(self, parameters: Parameters, incoming: Incoming) -> Array:
        """log Σ over the states of the spins of p N(y; omega, V)."""
        return _log_partitions(*self._values(parameters, incoming))[0]

    def mean_log_factor(self, parameters: Parameters, incoming: Incoming) -> Array:
        """-½ log(2π noise) - E(y - Σ c x)²/(2 noise)."""
        return _log_partitions(*self._values(parameters, incoming))[1]

    def _values(self, parameters: Parameters, incoming: Incoming) -> tuple[Array, Array, Array, Array, Array, Array]:
        c, y, noise = parameters
        return c, y, noise, incoming.first, incoming.second, np.array(self.spins)

    def log_factor(self, parameters: Parameters, *x: Array) -> Array:
        """log N(y; Σ c x, noise)."""
        c, y, noise = parameters
        rest = expand(y, x[0]) - sum(expand(c[:, i], value) * value for i, value in enumerate(x))
        return -0.5 * (rest * rest / expand(noise, x[0]) + np.log(expand(noise, x[0])) + LOG_2PI)
