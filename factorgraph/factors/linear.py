"""Linear-Gaussian factors: a weighted sum of real variables and a few spins, measured with Gaussian noise."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.factors.base import Array, Group, Kind, Parameters, Part, QuadraticForm, aligned, expand, numbers
from factorgraph.factors.joints import Joint, gaussian
from factorgraph.factors.vector_linear import VectorGaussian, vector_parameters, whitened
from factorgraph.interface.errors import ModelError
from factorgraph.messages.natural import Incoming, Outgoing, log_weight
from factorgraph.model.description import Selection
from factorgraph.model.layout import Layout
from factorgraph.numerics.special import LOG_2PI
from factorgraph.runtime.compiled import njit

_MAX_SPINS = 12


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
        object.__setattr__(self, "arguments", aligned(terms, "terms"))
        if any(term.dimension for term in self.arguments):
            values = vector_parameters(self.arguments, coefficients, target, noise)
            for name, value in zip(("coefficients", "target", "noise"), values, strict=True):
                object.__setattr__(self, name, value)
            return
        k = len(self.arguments)
        object.__setattr__(self, "coefficients", numbers("coefficients", coefficients, self.shape, k))
        object.__setattr__(self, "target", numbers("target", target, self.shape))
        object.__setattr__(self, "noise", numbers("noise", noise, self.shape))
        if not np.all(self.noise > 0.0):
            raise ModelError(f"`noise` must be > 0, got {self.noise.min():g}; observe a variable that is known exactly")

    @classmethod
    def row_shapes(cls, arity: int, shared: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """Return a coefficient for each argument, target and noise."""
        return {"coefficients": (arity,), "target": (), "noise": ()}

    @classmethod
    def from_rows(
        cls, arguments: Sequence[Selection], rows: Mapping[str, Array], shared: Mapping[str, Any]
    ) -> "Linear":
        """Vectors have the matrices of all their arguments side by side."""
        given: dict[str, Any] = dict(rows)
        ends = np.cumsum([argument.dimension for argument in arguments])
        if ends[-1] and "coefficients" in given:
            given["coefficients"] = np.split(given["coefficients"], ends[:-1], axis=-1)
        return cls(*arguments, **given)

    def parts(self, layout: Layout) -> list[Part]:
        """Return one part."""
        if self.noise.ndim > 1:
            dimensions = tuple(term.dimension for term in self.arguments)
            places = [
                first[:, None] + np.arange(d * d) for first, d in zip(self.table(layout).T, dimensions, strict=True)
            ]
            parameters = whitened(self.coefficients, self.target, self.noise)
            return [Part(VectorGaussian(self.target.shape[1], dimensions), np.concatenate(places, axis=1), parameters)]
        pattern = self.pattern(layout)
        if sum(pattern) > _MAX_SPINS:
            raise ModelError(f"spins in {self} must be at most {_MAX_SPINS}, got {sum(pattern)}: use Sum for many")
        return [Part(LinearGaussian(pattern), self.table(layout), (self.coefficients, self.target, self.noise))]


@njit(part=True, error_model="numpy")
def _flat(c: Any, m: Any, v: Any, spin: Any, own: int) -> tuple[int, float]:
    """Number of the flat laws e^{hx} dx among the arguments without ``own``, and Σ h/c over them.

    Integrated over one of them, N(y; c x + z, V) is e^{(h/c)(y - z) + (h/c)² V/2}/|c|.
    """
    count, tilt = 0, 0.0
    for i in range(c.size):
        if i != own and not spin[i] and math.isinf(v[i]) and c[i] != 0.0:
            count, tilt = count + 1, tilt + m[i] / c[i]
    return count, tilt


@njit(part=True, error_model="numpy")
def _states(c: Any, rest: float, V: float, tilt: float, h: Any, spin: Any, part: Any, log_p: Any, log_q: Any) -> None:
    """For each state of the spins: their part u of the sum, log-weight of the state, and log N(rest; u, V) less that
    at u = 0, which may be larger by so much that nothing of the difference would be left.

    States are counted in binary, the first spin as the lowest bit. Where V is infinite, the ``tilt`` of the flat law
    remains.
    """
    # Bit by bit, the spins of the state; then the Gaussian rest, as a difference.
    for state in range(part.size):
        part[state], log_p[state], bit = 0.0, 0.0, state
        for i in range(c.size):
            if spin[i]:
                s = 1.0 - 2.0 * (bit & 1)
                part[state] += c[i] * s
                log_p[state] += log_weight(h[i], s)
                bit >>= 1
        u = part[state]
        log_q[state] = -tilt * u if math.isinf(V) else u * ((rest - 0.5 * u) / V)


@njit(part=True, error_model="numpy")
def _field_of_spin(i: int, h: Any, spin: Any, log_q: Any) -> float:
    """Half the log-odds that a factor gives to its argument i, that spin's own field left out."""
    # Log-weights of the states without the field of spin i, and its bit.
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
    # The sums over the states of both values, each relative to its largest term.
    top, sums = np.full(2, -np.inf), np.zeros(2)
    for state in range(log_w.size):
        side = (state >> own) & 1
        top[side] = max(top[side], log_w[state])
    for state in range(log_w.size):
        side = (state >> own) & 1
        if top[side] > -np.inf:
            sums[side] += math.exp(log_w[state] - top[side])
    return 0.5 * ((top[0] - top[1]) + (math.log(sums[0]) - math.log(sums[1])))


@njit(part=True, error_model="numpy")
def _sums(c: Any, y: float, noise: float, m: Any, v: Any, spin: Any, part: Any, log_p: Any, log_q: Any) -> Any:
    """Total variance V, rest y - Σ c m, log Σ p N up to -½ log(2πV), posterior mean and variance of the spins' part."""
    # The Gaussian arguments, then the states of the spins, relative to the heaviest one.
    V, rest = noise, y
    for i in range(c.size):
        if not spin[i] and c[i] != 0.0:
            V += c[i] * c[i] * v[i]
            rest -= 0.0 if math.isinf(v[i]) else c[i] * m[i]
    tilt = _flat(c, m, v, spin, -1)[1]
    _states(c, rest, V, tilt, m, spin, part, log_p, log_q)
    top = np.max(log_p + log_q)
    total, mean, square = 0.0, 0.0, 0.0
    for state in range(part.size):
        w = math.exp(log_p[state] + log_q[state] - top)
        total += w
        mean += w * part[state]
    mean /= total
    for state in range(part.size):
        square += math.exp(log_p[state] + log_q[state] - top) * (part[state] - mean) ** 2
    common = tilt * rest if math.isinf(V) else -0.5 * rest * (rest / V)
    return V, rest, common + (top + math.log(total)), mean, square / total


@njit(part=True, error_model="numpy")
def linear_messages(
    a: int, b: int, c: Any, y: float, noise: float, m: Any, v: Any, spin: Any, spins: Any, B: Any, A: Any
) -> None:
    """Fill in the messages B and A of one factor to its real arguments, at the places a..b-1 of flat arrays.

    With W the posterior variance of the spins' part and V_i = V - c_i² v_i, the message to a real argument i has
    A = c_i² (1 - W/V)/(V_i + W c_i² v_i/V) and B = c_i (y - omega_i - c_i m_i W/V)/(the same), and omega_i = omega
    - c_i m_i.

    Without spins W = 0: the law of c_i x_i is N(y - omega_i, V_i). From a flat law e^{hx} dx of another argument x
    only the tilt -c_i h/c comes, and nothing from two.

    Args:
        a: place of the first argument.
        b: that behind the last one.
        c: coefficients.
        y: target.
        noise: its variance.
        m: cavity means.
        v: cavity variances.
        spin: which arguments are spins; their messages become 0.
        spins: V, and posterior mean and variance W of the spins' part; (1, 0, 0) without spins.
        B: to be filled.
        A: to be filled.
    """
    V, mean, W = spins
    omega, variance, flats = mean, noise, 0
    for i in range(a, b):
        B[i], A[i] = omega, variance
        if not spin[i] and c[i] != 0.0:
            if math.isinf(v[i]):
                flats += 1
            else:
                omega, variance = omega + c[i] * m[i], variance + c[i] * c[i] * v[i]
    omega, variance = 0.0, 0.0
    for i in range(b - 1, a - 1, -1):
        rest, D, left = y - (B[i] + omega), A[i] + variance, 1.0
        B[i], A[i] = 0.0, 0.0
        if spin[i] or c[i] == 0.0:
            continue
        flat, s = math.isinf(v[i]), c[i] * c[i] * v[i]
        if not flat:
            omega, variance = omega + c[i] * m[i], variance + s
        if flats == flat:
            if W != 0.0:
                share, pull = (1.0, m[i] * W / c[i]) if flat else (s / V, c[i] * m[i] * (W / V))
                rest, D, left = rest - pull, D + (share * W if W > 0.0 else 0.0), 1.0 - W / V
            B[i], A[i] = c[i] * rest / D, c[i] * c[i] * left / D
        elif flats == 1:
            B[i] = -c[i] * _flat(c[a:b], m[a:b], v[a:b], spin[a:b], i - a)[1]


@njit(part=True, error_model="numpy")
def mixed_messages(c: Any, y: float, noise: float, m: Any, v: Any, spin: Any, scratch: Any, B: Any, A: Any) -> None:
    """Fill in the messages (k,) of a factor with spins; ``scratch`` is room for three numbers a state of these."""
    V, _, _, mean, W = _sums(c, y, noise, m, v, spin, scratch[0], scratch[1], scratch[2])
    linear_messages(0, c.size, c, y, noise, m, v, spin, (V, mean, W), B, A)
    for i in range(c.size):
        if spin[i]:
            B[i] = _field_of_spin(i, m, spin, scratch[2])


@njit(cache=True, error_model="numpy")
def _messages(c: Any, y: Any, noise: Any, m: Any, v: Any, spin: Any) -> tuple[Array, Array]:
    """The messages (F, k) of all factors."""
    F, k = m.shape
    B, A, scratch = np.empty(m.shape), np.empty(m.shape), np.empty((3, 2 ** np.sum(spin)))
    for f in range(F):
        if scratch.shape[1] > 1:
            mixed_messages(c[f], y[f], noise[f], m[f], v[f], spin, scratch, B[f], A[f])
        else:
            linear_messages(0, k, c[f], y[f], noise[f], m[f], v[f], spin, (1.0, 0.0, 0.0), B[f], A[f])
    return B, A


@njit(cache=True, error_model="numpy")
def _log_partitions(c: Any, y: Any, noise: Any, m: Any, v: Any, spin: Any) -> tuple[Array, Array]:
    """log of the mean factor, and mean of its logarithm under the belief, (F,) each.

    A law of negative precision is divided by √(2π |v|), as in ``log_gaussian_mean``; at most one may be there. NaN
    where the integral diverges.
    """
    F, k = m.shape
    log_z, mean_log = np.empty(F), np.empty(F)
    part, log_p, log_q = np.empty((3, 2 ** np.sum(spin)))
    for f in range(F):
        V, rest, log_sum, mean, W = _sums(c[f], y[f], noise[f], m[f], v[f], spin, part, log_p, log_q)
        # E (y - Σ c x)² under the belief.
        remainder = noise[f] * (1.0 - noise[f] / V)
        residual = noise[f] / V * (rest - mean)
        expected = residual * residual + remainder + (noise[f] / V) ** 2 * W
        # Flat laws and laws of negative precision: at most one of either has a normalisation.
        flats, tilt = _flat(c[f], m[f], v[f], spin, -1)
        negative, others, scale = 0, noise[f], 1.0
        for i in range(k):
            if not spin[i] and c[f, i] != 0.0:
                negative += v[f, i] < 0.0
                if math.isinf(v[f, i]):
                    scale = c[f, i]
                else:
                    others += c[f, i] ** 2 * v[f, i]
        if flats == 1 and not negative:
            expected = noise[f] * (1.0 + tilt * tilt * noise[f])
            log_z[f] = log_sum + 0.5 * tilt * tilt * others - math.log(abs(scale))
        elif flats == 0 and negative == (V < 0.0):
            log_z[f] = log_sum - 0.5 * (LOG_2PI + math.log(abs(V)))
        else:
            log_z[f] = math.nan
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
        """Return log Σ over the states of the spins of p N(y; omega, V)."""
        return _log_partitions(*self._values(parameters, incoming))[0]

    def mean_log_factor(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return -½ log(2π noise) - E(y - Σ c x)²/(2 noise)."""
        return _log_partitions(*self._values(parameters, incoming))[1]

    def _values(self, parameters: Parameters, incoming: Incoming) -> tuple[Array, Array, Array, Array, Array, Array]:
        c, y, noise = parameters
        return c, y, noise, incoming.first, incoming.second, np.array(self.spins)

    def joint(self, parameters: Parameters, incoming: Incoming) -> Joint:
        """Return a Gaussian for each state of the spins."""
        return gaussian(self, parameters, incoming)

    def quadratic_form(self, parameters: Parameters) -> QuadraticForm:
        """Return one residual of weight 1/noise."""
        c, y, noise = parameters
        constant = -0.5 * (np.log(noise) + LOG_2PI)
        return QuadraticForm(constant, c[:, None], y[:, None], 1.0 / noise[:, None], np.zeros(len(y)))

    def largest(self, parameters: Parameters) -> Array:
        """Return -½ log(2π noise)."""
        return -0.5 * (LOG_2PI + np.log(parameters[2]))

    def log_factor(self, parameters: Parameters, *x: Array) -> Array:
        """Return log N(y; Σ c x, noise)."""
        c, y, noise = parameters
        rest = expand(y, x[0]) - sum(expand(c[:, i], value) * value for i, value in enumerate(x))
        return -0.5 * (rest * rest / expand(noise, x[0]) + np.log(expand(noise, x[0])) + LOG_2PI)
