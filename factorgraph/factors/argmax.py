"""A layer of classes: one factor a sample, in which the label is the argmax of K sums that share their inputs."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from factorgraph.channels import Argmax
from factorgraph.factors.base import Array, Kind, Parameters
from factorgraph.messages.natural import Incoming, Outgoing
from factorgraph.messages.ranges import VARIANCE_FLOOR


@dataclass(frozen=True)
class Classes(Kind):
    """label = argmax_k scale · (b_k + Σ_i W_ki x_i), arguments in the order b (if there are any), W, x, label.

    Mean field [DL, App. A.9]: the argmax couples all units of a sample, so that no edge has a cavity of its own. W goes
    row by row over the edges that there are.

    Attributes:
        channel: in a form without random numbers.
        scale: fixed factor in front of the sums.
        classes: K.
        inputs: n.
        edges: positions k n + i of the weights, in increasing order.
        bias: whether there are biases: the weights of a constant input 1.
        spin_weights: whether weights and biases are spins.
        spin_inputs: whether the inputs are.
    """

    channel: Argmax  # pyright: ignore[reportIncompatibleVariableOverride]
    scale: float
    classes: int
    inputs: int
    edges: tuple[int, ...]
    bias: bool
    spin_weights: bool
    spin_inputs: bool
    name = "Bilinear"
    full_variance = True
    approximate = True

    @property
    def spins(self) -> tuple[bool, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Biases and weights, inputs, label."""
        weights = self.bias * self.classes + len(self.edges)
        return (self.spin_weights,) * weights + (self.spin_inputs,) * self.inputs + (False,)

    def rule(self, parameters: Parameters, incoming: Incoming, *, maximum: bool = False) -> Outgoing:
        """Return B = s m g, A = s² [(m² + σ)Γ - σ g²] to an input, summed over classes; the same with W and x
        exchanged."""
        m, sigma, x, delta = self._arguments(incoming)
        _, g, gamma = self._observed(incoming, m, sigma, x, delta)
        g, gamma = self.scale * g[:, :, None], self.scale**2 * gamma[:, :, None]
        x, delta = x[:, None], delta[:, None]
        to_weights = x * g, (x**2 + delta) * gamma - delta * g**2
        to_inputs = (m * g).sum(axis=1), ((m**2 + sigma) * gamma - sigma * g**2).sum(axis=1)
        nothing = np.zeros((len(m), 1))
        return Outgoing(*(self._slots(w, i, nothing) for w, i in zip(to_weights, to_inputs, strict=True)))

    def log_partition(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return phi of the label."""
        return self._observed(incoming, *self._arguments(incoming))[0]

    def log_factor(self, parameters: Parameters, *x: Array) -> Array:
        """Return log P(label | z): without noise 0 where it is the argmax, -∞ elsewhere."""
        values = np.stack(np.broadcast_arrays(*x))
        W, inputs, label = self._matrices(values)
        p = self.channel.conditional(self.scale * (W * inputs).sum(axis=1))
        with np.errstate(divide="ignore"):
            return np.log(np.take_along_axis(p, label[None].astype(np.intp), axis=0)[0])

    def _matrices(self, values: Any) -> tuple[Any, Any, Any]:
        """Return W (K, n + bias, ...), x (1, n + bias, ...) and the label, from values (slots, ...) of the
        arguments."""
        K, n, rest = self.classes, self.inputs, values.shape[1:]
        b, w = self.bias * K, self.bias * K + len(self.edges)
        W = np.zeros((K * n, *rest))
        W[list(self.edges)] = values[b:w]
        W, x = W.reshape(K, n, *rest), values[None, w:-1]
        if self.bias:
            W = np.concatenate([W, values[:b, None]], axis=1)
            x = np.concatenate([x, np.ones((1, 1, *rest))], axis=1)
        return W, x, values[-1]

    def _arguments(self, incoming: Incoming) -> tuple[Array, Array, Array, Array]:
        """Return full means and variances of the weights (F, K, n + bias) and inputs (F, n + bias)."""
        (m, x, _), (sigma, delta, _) = (self._matrices(values.T) for values in (incoming.mean, incoming.variance))
        if self.bias:
            delta[:, -1] = 0.0
        return np.moveaxis(m, -1, 0), np.moveaxis(sigma, -1, 0), x[0].T, delta[0].T

    def _observed(self, incoming: Incoming, m: Array, sigma: Array, x: Array, delta: Array) -> tuple[Array, ...]:
        """Return phi (F,), g and Γ (F, K) of z = scale · (b + W x)."""
        omega, s = np.einsum("fki,fi->fk", m, x), self.scale
        V = np.einsum("fki,fi->fk", m**2, delta) + np.einsum("fki,fi->fk", sigma, x**2 + delta)
        label = incoming.first[:, -1].astype(np.intp)
        return self.channel.observe(label, omega=s * omega, V=s * s * np.maximum(V, VARIANCE_FLOOR), axis=1)

    def _slots(self, weights: Array, inputs: Array, label: Array) -> Array:
        """Return messages in the order of the arguments."""
        F, n = len(weights), self.inputs
        kept = weights[:, :, :n].reshape(F, -1)[:, list(self.edges)]
        return np.concatenate([*([weights[:, :, n]] if self.bias else []), kept, inputs[:, :n], label], axis=1)
