"""A channel on a weighted sum with known coefficients: generalized linear models, probit links, signs of sums."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from factorgraph.channels import Channel
from factorgraph.factors.base import Array, Group, Kind, Parameters, Part, aligned, expand, numbers
from factorgraph.interface.arguments import check_instance
from factorgraph.interface.errors import ModelError
from factorgraph.messages.natural import Incoming, Outgoing, log_integral, natural, spin_moments
from factorgraph.messages.ranges import MIN_REST, quotient
from factorgraph.model.description import Selection, printable
from factorgraph.model.layout import Layout
from factorgraph.numerics.special import log_2cosh_array

#: Smallest variance of a term that is known, relative to its square, and of all: they keep omega/√V finite.
_KNOWN, _MIN_VARIANCE = 1e-24, 1e-100
_POINT = 1e-12  # the variance that stands for none where a channel is asked about a known sum


@dataclass(frozen=True, eq=False, init=False)
class Sum(Group):
    """output ~ P(·|z), z = Σ_i c_i x_i, for any channel P.

    The sum of real variables is Gaussian: the message to the output is exact, those to the inputs have the exact
    moments. A spin takes part in the sums for other arguments as if it were Gaussian, which is right for many; the
    message to a spin itself adds its two values to the Gaussian rest. Once all spins are as good as certain, a sum of
    k of them claims no less than the variance of one term: spins that convince each other would else go on for ever.

    Args:
        output: selection of what the channel gives; spins for a channel whose output is ±1. Often observed.
        inputs: k selections of fitting shapes; ``*x[table].columns`` for a table (F, k).
        coefficients: k numbers, or an array of the factors' shape with a last axis of k.
        channel: the activation; one that acts on scalars.

    Raises:
        ModelError: selections, coefficients or a channel that do not fit.
    """

    coefficients: Array
    channel: Channel
    parameter_names = ("coefficients",)
    shared_names = ("channel",)

    def __init__(self, output: Selection, *inputs: Selection, channel: Channel, coefficients: ArrayLike = 1.0) -> None:
        check_instance("channel", channel, Channel, "a channel that acts on scalars", error=ModelError)
        terms = aligned(inputs, "inputs")
        object.__setattr__(self, "arguments", aligned((output, *terms), "output", "inputs"))
        k = len(terms)
        object.__setattr__(self, "coefficients", numbers("coefficients", coefficients, self.shape, k))
        object.__setattr__(self, "channel", channel)

    @classmethod
    def row_shapes(cls, arity: int, shared: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """Return a coefficient for each input."""
        return {"coefficients": (arity - 1,)}

    def parts(self, layout: Layout) -> list[Part]:
        """Return one part."""
        pattern, table = self.pattern(layout), self.table(layout)
        variables = [layout.model.variables[selection.name] for selection in self.arguments]
        if any(variable.shared for variable in variables):
            if pattern[0] and not self.channel.spin:
                raise ModelError(f"`{self.arguments[0].name}` must be real for the channel {self.channel}, got spins")
            return [Part(ProjectedSum(pattern, self.channel), table, (self.coefficients,))]
        if pattern[0] != self.channel.spin:
            want = "spins" if self.channel.spin else "real"
            raise ModelError(f"`{self.arguments[0].name}` must be {want} for the channel {self.channel}, got the other")
        return [Part(ChannelSum(pattern, self.channel), table, (self.coefficients,))]

    def __str__(self) -> str:
        output, *inputs = self.arguments
        terms = " + ".join(f"c {selection.name}" for selection in inputs[:3])
        more = " + ..." if len(inputs) > 3 else ""
        return printable(f"{output.name} ~ {self.channel}({terms}{more}) × {int(np.prod(self.shape))}")


def output_values(
    channel: Channel, spin: bool, first: Array, second: Array, omega: Array, V: Array
) -> tuple[Array, Array, Array]:
    """Return phi, g and Γ of a channel whose output sends a cavity law, or is observed: rows (F,), omega and V (F,
    ...).

    phi is relative to a normalised law of a spin; that of a free real output is counted by the variable.
    """
    known = np.isinf(first) if spin else np.isinf(second)
    phi, g, gamma = (np.empty(omega.shape) for _ in range(3))
    if known.any():
        y = expand(np.sign(first[known]) if spin else first[known], omega)
        phi[known], g[known], gamma[known] = channel.observe(y, omega=omega[known], V=V[known])
    if not known.all():
        B = expand(first[~known], omega)
        A = 0.0 if spin else expand(second[~known], omega)
        values = channel.evaluate(B=B, A=A, omega=omega[~known], V=V[~known])
        phi[~known], g[~known], gamma[~known] = values.phi, values.g, values.gamma
        if spin:
            phi[~known] -= log_2cosh_array(B)
    return phi, g, gamma


def to_output(channel: Channel, omega: Array, V: Array) -> tuple[Array, Array]:
    """Return the message to the output: (omega, V) as the parameters of its law; half the log-odds for a spin."""
    if not channel.spin:
        return omega, V
    up, down = (channel.observe(np.full(omega.shape, y), omega=omega, V=V).phi for y in (1.0, -1.0))
    return 0.5 * (up - down), np.zeros_like(omega)


def exclusive_sums(terms: Array) -> Array:
    """Return sums over the last axis (F, k), each term left out in turn, without a subtraction."""
    left = np.zeros_like(terms)
    left[:, 1:] = np.cumsum(terms[:, :-1], axis=1)
    right = np.zeros_like(terms)
    right[:, :-1] = np.cumsum(terms[:, :0:-1], axis=1)[:, ::-1]
    return left + right


@dataclass(frozen=True)
class ChannelSum(Kind):
    """P(x_0 | Σ c_i x_i), with the coefficients (F, k) of x_1 .. x_k."""

    spins: tuple[bool, ...]
    channel: Any
    name = "Sum"

    @property
    def projects(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The real inputs."""
        return tuple(i for i, spin in enumerate(self.spins) if i and not spin)

    @property
    def approximate(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """A sum with spins is not Gaussian."""
        return any(self.spins[1:])

    @property
    def law_slot(self) -> int | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The output, unless it is a spin."""
        return None if self.channel.spin else 0

    def rule(self, parameters: Parameters, incoming: Incoming, *, maximum: bool = False) -> Outgoing:
        """To a real input: the quotient of the tilted and the cavity law, A = c²Γ/(1 - c² v Γ) with g, Γ at the sum.

        To a spin: B = ½[phi(omega_i + c_i) - phi(omega_i - c_i)] with the rest of the sum N(omega_i, V_i).
        """
        (c,), (m, v) = parameters, self._moments(incoming)
        omega, V = (c * m).sum(axis=1), self._variance(c, incoming, m, v)
        B, A = np.zeros(incoming.first.shape), np.zeros(incoming.first.shape)
        B[:, 0], A[:, 0] = to_output(self.channel, omega, V)
        _, g, gamma = self._values(incoming, omega, V)
        kept = np.maximum(1.0 - c * c * v * gamma[:, None], MIN_REST)
        B[:, 1:] = (c * g[:, None] + m * c * c * gamma[:, None]) / kept
        A[:, 1:] = c * c * gamma[:, None] / kept
        spins = np.array(self.spins[1:])
        if spins.any():
            rest = exclusive_sums(c * m)[:, spins]
            minimum = exclusive_sums(self._least(c, incoming, m, v))
            V_rest = np.maximum(np.maximum(exclusive_sums(c * c * v), minimum)[:, spins], _MIN_VARIANCE)
            up = self._values(incoming, rest + c[:, spins], V_rest)[0]
            down = self._values(incoming, rest - c[:, spins], V_rest)[0]
            where = 1 + np.flatnonzero(spins)
            B[:, where], A[:, where] = 0.5 * (up - down), 0.0
        return Outgoing(B, A)

    def log_partition(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return phi of an observed output or a spin; 0 for a free real one, whose variable counts it."""
        (c,), (m, v) = parameters, self._moments(incoming)
        omega, V = (c * m).sum(axis=1), self._variance(c, incoming, m, v)
        phi = self._values(incoming, omega, V)[0]
        return phi if self.channel.spin else np.where(np.isinf(incoming.second[:, 0]), phi, 0.0)

    def largest(self, parameters: Parameters) -> Array:
        """Return 0 for the probability of a spin; a density may be larger."""
        return np.full(len(parameters[0]), 0.0 if self.channel.spin else np.inf)

    def log_factor(self, parameters: Parameters, *x: Array) -> Array:
        """Return log P(x_0 | z)."""
        z = sum(expand(parameters[0][:, i], value) * value for i, value in enumerate(x[1:]))
        y, z = np.broadcast_arrays(x[0], z)
        return self.channel.observe(y, omega=z, V=np.full(z.shape, _POINT)).phi

    def _variance(self, c: Array, incoming: Incoming, m: Array, v: Array) -> Array:
        """Return variances (F,) of the sums, with coefficients c and terms of means m and variances v."""
        variance = np.maximum((c * c * v).sum(axis=1), self._least(c, incoming, m, v).sum(axis=1))
        return np.maximum(variance, _MIN_VARIANCE)

    def _least(self, c: Array, incoming: Incoming, m: Array, v: Array) -> Array:
        """Return what each term (F, k) adds to the least variance of the sum: about c²/k for a spin that is not
        certain."""
        k, spins = c.shape[1], np.array(self.spins[1:], dtype=bool)
        uncertain = spins & np.isfinite(incoming.first[:, 1:])
        return np.where(uncertain, c * c * ((k - 1) / k**2), _KNOWN * c * c * (m * m + v))

    def _moments(self, incoming: Incoming) -> tuple[Array, Array]:
        """Return means and variances (F, k) of the inputs."""
        m, v = incoming.first[:, 1:].copy(), incoming.second[:, 1:].copy()
        spins = np.array(self.spins[1:], dtype=bool)
        m[:, spins], v[:, spins] = spin_moments(incoming.first[:, 1:][:, spins])
        if np.isinf(v).any():
            raise ModelError("inputs of a sum must have a prior or precision that makes them a law, got a flat one")
        return m, v

    def _values(self, incoming: Incoming, omega: Array, V: Array) -> tuple[Array, Array, Array]:
        return output_values(self.channel, self.spins[0], incoming.first[:, 0], incoming.second[:, 0], omega, V)


@dataclass(frozen=True)
class ProjectedSum(ChannelSum):
    """The same between variables of which some have a shared precision: a real output too is sent a Gaussian message,
    with the exact moments of its belief; nothing is said where an input has no law yet."""

    law_slot = None  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]
    approximate = True  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]

    @property
    def projects(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """All real arguments."""
        return tuple(i for i, spin in enumerate(self.spins) if not spin)

    def rule(self, parameters: Parameters, incoming: Incoming, *, maximum: bool = False) -> Outgoing:
        """Return precision 1/Δ - A and information x̂/Δ - B to a free real output; to the inputs as for
        ``ChannelSum``."""
        flat, incoming = self._natural(incoming)
        B, A = super().rule(parameters, incoming)
        assert A is not None
        free = np.isfinite(incoming.second[:, 0])
        if not self.spins[0] and not free.any():
            B[:, 0], A[:, 0] = 0.0, 0.0
        elif not self.spins[0]:
            (c,), (m, v) = parameters, self._moments(incoming)
            H, G = np.where(free, incoming.first[:, 0], 0.0), np.where(free, incoming.second[:, 0], 0.0)
            V = self._variance(c, incoming, m, v)
            mean, variance = self.channel.moments(B=H, A=G, omega=(c * m).sum(axis=1), V=V)
            sent = quotient(mean, variance, H, G, float(np.mean(mean**2)))
            B[:, 0], A[:, 0] = (np.where(free, values, 0.0) for values in sent)
        return Outgoing(np.where(flat[:, None], 0.0, B), np.where(flat[:, None], 0.0, A))

    def log_partition(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return phi, less the logarithm of the integral of a free output's cavity law."""
        _, raw = self._natural(incoming)
        (c,), (m, v) = parameters, self._moments(raw)
        V = self._variance(c, raw, m, v)
        phi = self._values(raw, (c * m).sum(axis=1), V)[0]
        if self.spins[0]:
            return phi
        free = np.isfinite(raw.second[:, 0])
        H, G = np.where(free, raw.first[:, 0], 0.0), np.where(free, raw.second[:, 0], 0.0)
        return phi - np.where(free, log_integral(H, G) + (0.5 * G if self.channel.spin else 0.0), 0.0)

    def _natural(self, incoming: Incoming) -> tuple[NDArray[np.bool_], Incoming]:
        """Return rows with an input that has no law, and the laws as ``ChannelSum`` sees them: the output's (B, A), (y,
        ∞)."""
        first, second = incoming.first.copy(), incoming.second.copy()
        inputs = second[:, 1:]
        flat = np.asarray((np.isinf(inputs) & ~np.array(self.spins[1:])).any(axis=1))
        inputs[np.isinf(inputs) & ~np.array(self.spins[1:])] = 1.0
        if not self.spins[0]:
            H, G, known = natural(first[:, 0], second[:, 0])
            first[:, 0], second[:, 0] = np.where(known, first[:, 0], H), np.where(known, np.inf, G)
        return flat, Incoming(first, second)
