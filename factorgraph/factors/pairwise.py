"""Two variables coupled by e^{Jxy}: Ising pairs, Gaussian pairs, and a spin with a real variable."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.factors.base import Array, Group, Kind, Parameters, Part, QuadraticForm, aligned, expand, numbers
from factorgraph.factors.joints import Joint, gaussian, of_reals, of_table
from factorgraph.factors.parity import largest_parity, log_parity_sums, parity_log_factor
from factorgraph.messages.natural import Incoming, Outgoing, combine, combine_maxima, log_cosh_change, log_weight
from factorgraph.model.description import Selection
from factorgraph.model.layout import Layout
from factorgraph.numerics.elementwise import formula
from factorgraph.numerics.special import LOG_2PI, sech2
from factorgraph.runtime.compiled import njit


@dataclass(frozen=True, eq=False, init=False)
class Pairwise(Group):
    """Factors e^{coupling · x · y}: the Ising coupling of two spins, an off-diagonal element of a precision matrix
    (minus the coupling) of two real variables, or a spin that shifts a real variable.

    Args:
        x: one end of each pair.
        y: the other end, of a shape that broadcasts with the first one's.
        coupling: number or array of the pairs' shape.

    Raises:
        ModelError: selections or couplings that do not fit.
    """

    coupling: Array
    parameter_names = ("coupling",)

    def __init__(self, x: Selection, y: Selection, coupling: ArrayLike) -> None:
        object.__setattr__(self, "arguments", aligned((x, y), "x", "y"))
        object.__setattr__(self, "coupling", numbers("coupling", coupling, self.shape))

    def parts(self, layout: Layout) -> list[Part]:
        """Return one part: the two arguments of a group belong to one variable each."""
        table, pattern = self.table(layout), self.pattern(layout)
        if pattern == (False, True):
            table, pattern = table[:, ::-1], (True, False)
        kind = SpinPair() if all(pattern) else SpinRealPair() if any(pattern) else RealPair()
        return [Part(kind, table, (self.coupling,))]


@njit(cache=True, error_model="numpy")
def _spin_messages(J: Array, h: Array, maximum: bool) -> Array:
    B = np.empty_like(h)
    for f in range(J.size):
        if maximum:
            B[f, 0], B[f, 1] = combine_maxima(J[f], h[f, 1]), combine_maxima(J[f], h[f, 0])
        else:
            B[f, 0], B[f, 1] = combine(J[f], h[f, 1]), combine(J[f], h[f, 0])
    return B


@njit(cache=True, error_model="numpy")
def _spin_joint(J: Array, h: Array) -> Array:
    joint = np.empty((J.size, 2, 2))
    for f in range(J.size):
        table = joint[f]
        for a in range(2):
            for b in range(2):
                exponent = min(0.0, (2.0 if a == b else -2.0) * J[f])
                table[a, b] = exponent + log_weight(h[f, 0], 1.0 - 2.0 * a) + log_weight(h[f, 1], 1.0 - 2.0 * b)
        table[:] = np.exp(table - table.max())
        table /= table.sum()
    return joint


@dataclass(frozen=True)
class SpinPair(Kind):
    """e^{J s s'}, J = ±∞ allowed: then the indicator of s s' = sign J."""

    name = "Pairwise"
    spins = (True, True)
    maximum = True

    def rule(self, parameters: Parameters, incoming: Incoming, *, maximum: bool = False) -> Outgoing:
        """Return B = atanh(tanh J tanh h)."""
        return Outgoing(_spin_messages(parameters[0], incoming.first, maximum))

    def log_partition(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return log(e^J P(s s' = 1) + e^{-J} P(s s' = -1))."""
        return log_parity_sums(parameters[0], incoming.first)[0]

    def mean_log_factor(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return J E[s s']."""
        return log_parity_sums(parameters[0], incoming.first)[1]

    def joint(self, parameters: Parameters, incoming: Incoming) -> Joint:
        """Return the probabilities of (s, s') = (±1, ±1)."""
        return of_table(_spin_joint(parameters[0], incoming.first))

    def largest(self, parameters: Parameters) -> Array:
        """Return |J|."""
        return largest_parity(parameters[0])

    def log_factor(self, parameters: Parameters, *x: Array) -> Array:
        """Return J s s'."""
        return parity_log_factor(parameters[0], x)


def coupled(J: Array) -> QuadraticForm:
    """Return the form J x_0 x_1, without residuals."""
    none = np.empty((J.size, 0))
    return QuadraticForm(np.zeros(J.size), np.empty((J.size, 0, 2)), none, none, J)


def _pairs_about(J: Array, m: Array, v: Array, x: Array) -> Array:
    """Return log ∫ e^{J(y_0 y_1 - ½ sgn J (x_0² + x_1²))} times both laws relative to their values at x, (F,).

    The factor at x is e^{-|J| (x_0 - sgn J x_1)²/2}, where x_0² and x_1² are left to the variables: the difference may
    be small where they are large. What the peak adds is quadratic in the slope at x, 0 at a fixed point.
    """
    free = v > 0.0
    g = np.where(free, 1.0 / np.where(free, v, 1.0), 0.0)
    slope = np.where(free, J[:, None] * x[:, ::-1] + g * np.where(np.isinf(v), 0.0, m - x), 0.0)
    both = free.all(axis=1)
    g = np.where(free, g, 1.0)
    off = np.where(both, J, 0.0)
    det = g[:, 0] * g[:, 1] - off * off
    a, b = slope.T
    rise = (g[:, 1] * a * a + g[:, 0] * b * b + 2.0 * off * a * b) / det
    with np.errstate(invalid="ignore", divide="ignore"):
        width = np.where(det > 0.0, free.sum(axis=1) * LOG_2PI - np.log(det), np.nan)
    return 0.5 * (rise + width - np.abs(J) * (x[:, 0] - np.sign(J) * x[:, 1]) ** 2)


@dataclass(frozen=True)
class RealPair(Kind):
    """e^{J x y}."""

    name = "Pairwise"
    spins = (False, False)
    quadratic = True
    maximum = True
    centred = True  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]

    def rule(self, parameters: Parameters, incoming: Incoming, *, maximum: bool = False) -> Outgoing:
        """Return B = J m, A = -J² v of the other end; maxima are means."""
        J, m, v = parameters[0][:, None], incoming.first[:, ::-1], incoming.second[:, ::-1]
        return Outgoing(J * m, -J * J * v)

    def log_partition(self, parameters: Parameters, incoming: Incoming) -> Array:
        """With D = 1 - J² v v': -½ log D + [J m m' + ½ J² (m² v' + m'² v)]/D."""
        J, (m0, m1), (v0, v1) = parameters[0], incoming.first.T, incoming.second.T
        if incoming.centre is not None:
            return _pairs_about(J, incoming.first, incoming.second, incoming.centre)
        D = 1.0 - J * J * v0 * v1
        return (J * m0 * m1 + 0.5 * J * J * (m0 * m0 * v1 + m1 * m1 * v0)) / D - 0.5 * np.log(D)

    def lifted(self, parameters: Parameters) -> Array:
        """Return |J| at both ends."""
        return np.abs(parameters[0])[:, None] * np.ones(2)

    def mean_log_factor(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return J E[x y] under the joint belief."""
        J = parameters[0]
        means, covariance = self.moments(J, incoming)
        if incoming.centre is not None:  # the mean; its squares are left to the variables
            x, y = incoming.centre.T
            return J * covariance[:, 0, 1] - 0.5 * np.abs(J) * (x - np.sign(J) * y) ** 2
        return J * (covariance[:, 0, 1] + means[:, 0] * means[:, 1])

    def moments(self, J: Array, incoming: Incoming) -> tuple[Array, Array]:
        """Return means (F, 2) and covariances (F, 2, 2) of the joint belief."""
        (m0, m1), (v0, v1) = incoming.first.T, incoming.second.T
        D = 1.0 - J * J * v0 * v1
        means = np.stack([m0 + J * v0 * m1, m1 + J * v1 * m0], axis=1) / D[:, None]
        covariance = np.stack([v0, J * v0 * v1, J * v0 * v1, v1], axis=1).reshape(-1, 2, 2) / D[:, None, None]
        return means, covariance

    def joint(self, parameters: Parameters, incoming: Incoming) -> Joint:
        """Return means and covariances."""
        return of_reals(*self.moments(parameters[0], incoming))

    def quadratic_form(self, parameters: Parameters) -> QuadraticForm:
        """Return the coupling alone."""
        return coupled(parameters[0])

    def log_factor(self, parameters: Parameters, *x: Array) -> Array:
        """Return J x y."""
        return expand(parameters[0], x[0]) * x[0] * x[1]


@formula
def spin_real_messages(J: float, h: float, m: float, v: float) -> tuple[float, float, float]:
    """B to the spin, B and A to the real variable, given the spin's field and the real one's law."""
    if math.isinf(v):
        return 0.0, 0.0, 0.0  # nothing is known of a flat law's place
    B = J * m
    t, c = math.tanh(h + B), J * J * sech2(h + B)
    return B, (J * t - m * c) / (1.0 + c * v), -c / (1.0 + c * v)


@njit(cache=True, error_model="numpy")
def _spin_real_messages(J: Array, h: Array, m: Array, v: Array) -> tuple[Array, Array]:
    B, A = np.zeros((J.size, 2)), np.zeros((J.size, 2))
    for f in range(J.size):
        B[f, 0], B[f, 1], A[f, 1] = spin_real_messages(J[f], h[f], m[f], v[f])
    return B, A


@dataclass(frozen=True)
class SpinRealPair(Kind):
    """e^{J s x}: the message to the spin is exact, that to the real variable has the moments of the exact one."""

    name = "Pairwise"
    spins = (True, False)
    projects = (1,)
    quadratic = True

    def rule(self, parameters: Parameters, incoming: Incoming, *, maximum: bool = False) -> Outgoing:
        """To s: J m. To x: with t = tanh(h + J m) a mixture of mean m + J v t and variance v + J² v² (1 - t²)."""
        h, m, v = incoming.first[:, 0], incoming.first[:, 1], incoming.second[:, 1]
        return Outgoing(*_spin_real_messages(parameters[0], h, m, v))

    def log_partition(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return ½ J² v + log cosh(h + J m) - log cosh h."""
        J, h, m, v = parameters[0], incoming.first[:, 0], incoming.first[:, 1], incoming.second[:, 1]
        return 0.5 * J * J * v + log_cosh_changes(h, J * m)

    def mean_log_factor(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return J E[s x] = J E[s (m + J v s)]."""
        J, h, m, v = parameters[0], incoming.first[:, 0], incoming.first[:, 1], incoming.second[:, 1]
        return J * (np.tanh(h + J * m) * m + J * v)

    def joint(self, parameters: Parameters, incoming: Incoming) -> Joint:
        """Return a Gaussian for each value of the spin."""
        return gaussian(self, parameters, incoming)

    def quadratic_form(self, parameters: Parameters) -> QuadraticForm:
        """Return the coupling alone."""
        return coupled(parameters[0])

    def log_factor(self, parameters: Parameters, *x: Array) -> Array:
        """Return J s x."""
        return expand(parameters[0], x[0]) * x[0] * x[1]


@njit(cache=True, error_model="numpy")
def log_cosh_changes(h: Array, d: Array) -> Array:
    """``log_cosh_change`` of arrays (F,)."""
    result = np.empty(h.size)
    for f in range(h.size):
        result[f] = log_cosh_change(h[f], d[f])
    return result
