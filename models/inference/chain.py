"""A chain of dense layers with observed weights and a free signal: the state that inference iterates.

Every layer is a dense layer of ``factorgraph.dense`` with σ = 0, and its messages are those of the same closures: AMP
becomes GAMP and ML-AMP [ML, eq. 5], omega = W x̂ - c g⁻ V, V = W² Δ, B = Wᵀ g + c x̂ A, A = (W²)ᵀ Γ with c = 1, and
mean field c = 0: the closure's ``onsager``. BP sums over edges instead.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from factorgraph.channels import Channel
from factorgraph.dense.closures import CLOSURES
from factorgraph.dense.numpy_operations import NumpyOperations
from factorgraph.dense.state import Layer, LayerPlan, Message
from factorgraph.numerics.elementwise import Elementwise
from factorgraph.priors import Prior
from models.inference.known_products import RowFunction, Sums, large, product_and_adjoint, products, transposed_products
from models.inference.modes import Modes

Array = NDArray[np.float64]

#: Smallest variance of a pre-activation, relative to that under the prior: far below any noise, far above underflow.
#: With discrete inputs it is 1/inputs, the share of one input: below, flipping one is no small change, to which all of
#: these messages are expansions; all constraints would be satisfied by far, and nothing be left to hold the estimate.
MIN_VARIANCE = 1e-24
#: E g²/E Γ of an output 10⁵ deviations off, more than any wrong guess of the noise should make of it.
CONTRADICTION = 1e10
TINY = float(np.finfo(np.float64).tiny)


class Ahead(NamedTuple):
    """What one pass computes for the next one while it has a matrix in the cache, and their products with it.

    Attributes:
        first: g of the output after a pass forward, x̂ of the signal after one backward.
        second: Γ, or Δ.
        sums: Wᵀ g and (W²)ᵀ Γ, or W x̂ and W² Δ.
    """

    first: Array
    second: Array
    sums: Sums


class Chain:
    """Layers from the signal to the observed output, for one inference.

    Large dense matrices at both ends are read once an iteration, for one sample and without messages on edges: outputs
    answer to some rows of the last one as soon as these have been multiplied, and so does the signal to some columns
    of the first one, whose estimates and products wait for the next iteration.
    """

    def __init__(
        self, prior: Prior, matrices: Sequence[tuple[Any, Any]], channels: Sequence[Channel], y: Array, closure: str
    ) -> None:
        self.operations = NumpyOperations()
        self.closure = CLOSURES[closure]
        self.y = Message(channels[-1], 1.0, y=y)
        self.modes = isinstance(prior, Modes)
        self.layers: list[Layer] = []
        self.min_variances: dict[str, float] = {}
        source: Prior | Channel = prior
        for i, ((W, squares), channel) in enumerate(zip(matrices, channels, strict=True)):
            outputs, inputs = W.shape
            plan = LayerPlan(
                name=f"W{i}", inputs=inputs, outputs=outputs, prior=None, channel=channel, closure=closure, scale=1.0,
                bias=False, input_channel=source, mask=None, min_variance=0.0,
            )  # fmt: skip
            below = self.layers[-1] if self.layers else None
            self.layers.append(Layer(plan, H=None, G=None, mean=W, squares=squares, below=below))
            source = channel
        once = not self.closure.edgewise and y.shape[1] == 1
        self._observe_formula = channels[-1].observe_formula if once and large(self.layers[-1]) else None
        self._moments_formula = (
            prior.moments_formula if once and large(self.layers[0]) and len(self.layers) > 1 else None
        )
        self.begin()

    def begin(self, start: Array | None = None) -> None:
        """Take back all messages.

        Args:
            start: estimate of the signal for the first iteration, instead of the prior's mean.
        """
        self.start, self.iterations, self._lost, self._heard = start, 0, False, None
        for layer in self.layers:
            source = layer.plan.input_channel
            assert source is not None and self.y.y is not None
            zeros = np.zeros((layer.plan.inputs, self.y.y.shape[1]))
            layer.to_inputs = Message(source, 1.0, B=zeros, A=None if source.spin else zeros)
            layer.memory = None

    def forward(self, ahead: Ahead | None) -> tuple[float, Ahead | None]:
        """Return the estimates of the signal and the hidden layers, V and omega.

        Args:
            ahead: what ``backward`` has computed of it; it is of no account at the beginning.

        Returns:
            How much the estimates and omega have changed, and what is known already for ``backward``. Estimates alone
            may stand still for once while the messages do not: those of a mode, which depend on them in straight lines,
            and which rest at 0 while damped messages are on their way; so for modes also how much the messages have.
            Infinite where a V is no number: such an inference is lost, and sends no more messages.
        """
        change, size, answer = 0.0, 0.0, None
        for layer in self.layers:
            old: list[Any] = [layer.x_mean, layer.omega] if self.iterations else []
            known = ahead if layer.below is None and self.iterations else None
            layer.x_mean, layer.x_variance = self._moments(layer) if known is None else known[:2]
            if layer.plan.name not in self.min_variances:
                self.min_variances[layer.plan.name] = _min_variance(layer)
            if self.start is not None and self.iterations == 0 and layer.below is None:
                layer.x_mean = self.start
            if layer is self.layers[-1] and self._observe_formula is not None:
                answer = self._answer(layer, *self._observe_formula)
            else:
                self._set_preactivations(layer, None if known is None else known.sums)
            self._lost = self._lost or not np.isfinite(layer.V.sum())
            if self._lost:
                self.iterations += 1
                return np.inf, None
            new: list[Any] = [(layer.x_mean, layer.x_variance), (layer.omega, layer.V)]
            if self.modes:
                told = cast(Message, layer.to_inputs)
                old, new, self._heard = old and [*old, self._heard], [*new, (told.B, told.A)], told.B
            change += max(map(_relative_change, old, new)) if old else 1.0
            size += 1.0
        self.iterations += 1
        return (change / size) ** 0.5, answer

    def _moments(self, layer: Layer) -> tuple[Array, Array]:
        """Return x̂ and Δ of the inputs."""
        assert layer.to_inputs is not None
        omega, V = (0.0, 0.0) if layer.below is None else (layer.below.omega, layer.below.V)
        return self.operations.moments(layer.to_inputs, omega, V)  # pyright: ignore[reportArgumentType]

    def _set_preactivations(self, layer: Layer, sums: Sums | None) -> None:
        """V and omega; what does not vary does not react, so the reaction is that of V before its least value."""
        if self.closure.edgewise:
            V = layer.squares @ layer.x_variance
            layer.omega = self.closure.omega(layer, self.operations)
        else:
            Wx, V = products(layer) if sums is None else sums
            layer.omega = Wx if self.iterations == 0 else Wx - self.closure.onsager * layer.g * np.maximum(V, 0.0)
        layer.V = np.maximum(V, self.min_variances[layer.plan.name])

    def _answer(self, layer: Layer, formula: Elementwise, parameters: tuple[float, ...]) -> Ahead:
        """Return V and omega of the last layer, and for ``backward`` g and Γ and their products."""
        y = cast(Array, self.y.y)
        own = np.zeros_like(y) if self.iterations == 0 else -self.closure.onsager * layer.g
        values = _rows_of(y, 0.0, 0.0, *parameters)
        row_function = RowFunction(formula, values, 1, own.ravel(), minimum=self.min_variances[layer.plan.name])
        answer = Ahead(*product_and_adjoint(layer.mean, layer.x_mean, cast(Array, layer.x_variance), row_function))
        layer.omega, layer.V = values[1, :, None], values[2, :, None]
        return answer

    def backward(self, ahead: Ahead | None, damping: float, reinforcement: float) -> Ahead | None:
        """Return g, Γ and messages from the output down to the signal.

        Args:
            ahead: what ``forward`` has computed of it.
            damping: α, messages ← α old + (1 - α) new.
            reinforcement: r, weight of the signal's old message on top of the new one.

        Returns:
            What is known already for ``forward``.
        """
        if self._lost:
            return None
        above, estimate = self.y, None
        for layer in reversed(self.layers):
            keep, take = (reinforcement, 1.0) if layer.below is None and reinforcement else (damping, 1.0 - damping)
            known = ahead if layer is self.layers[-1] else None
            derivatives = self.operations.derivatives(above, layer.omega, layer.V) if known is None else known[:2]
            layer.g, layer.gamma = derivatives
            if layer.below is None and self._moments_formula is not None:
                estimate = self._send_and_estimate(layer, keep, take, *self._moments_formula)
            else:
                B, A = self._message(layer, above, None if known is None else known.sums)
                old = cast(Message, layer.to_inputs)
                A = None if old.A is None else _mixed(keep, old.A, take, A)
                layer.to_inputs = replace(old, B=_mixed(keep, old.B, take, B), A=A)
            above = cast(Message, layer.to_inputs)
        return estimate

    def _message(self, layer: Layer, above: Message, sums: Sums | None) -> tuple[Array, Array | None]:
        """Return B and A to the inputs; A is at least 0 as in training, and None for spins, where it is a constant."""
        onsager, spins = self.closure.onsager, layer.plan.spin_inputs
        if self.closure.edgewise:
            B = cast(Array, self.closure.send(layer, above, self.operations, last=False).B)
            return B, None if spins else np.maximum(layer.squares.T @ layer.gamma, 0.0)
        B, precision = transposed_products(layer) if sums is None else sums
        A = None if spins else np.maximum(precision, 0.0)
        if onsager:
            B = B + onsager * layer.x_mean * (precision if A is None else A)
        return B, A

    def _send_and_estimate(
        self, layer: Layer, keep: float, take: float, formula: Elementwise, parameters: tuple[float, ...]
    ) -> Ahead:
        """Return the message to the signal, and for ``forward`` x̂ and Δ and their products."""
        old = cast(Message, layer.to_inputs)
        values = _rows_of(old.B, 0.0 if old.A is None else old.A, *parameters)
        row_function = RowFunction(formula, values, 0, self.closure.onsager * layer.x_mean.ravel(), keep, take)
        estimate = Ahead(*product_and_adjoint(layer.squares.columns, layer.g, layer.gamma, row_function))
        layer.to_inputs = replace(old, B=values[0, :, None], A=None if old.A is None else values[1, :, None])
        return estimate

    @property
    def finite(self) -> bool:
        """All messages are numbers."""
        if self._lost:
            return False
        arrays = (values for layer in self.layers for values in (layer.to_inputs.B, layer.to_inputs.A, layer.omega))  # pyright: ignore[reportOptionalMemberAccess]
        return all(values is None or bool(np.isfinite(values.sum())) for values in arrays)

    @property
    def contradicted(self) -> bool:
        """The estimates are certain of what the output excludes: where they are right, E g² = E Γ."""
        last = self.layers[-1]
        return contradicts(last.g, last.gamma)

    @property
    def field(self) -> tuple[Array, Array]:
        """B and A of the message about the signal; A is 0 for spins."""
        message = self.layers[0].to_inputs
        assert message is not None and message.B is not None
        return message.B, np.zeros_like(message.B) if message.A is None else message.A

    def output(self) -> tuple[Array, Array]:
        """Return posterior mean and variance of the last pre-activation, omega + V g and V - V² Γ; NaN of a lost
        inference."""
        last = self.layers[-1]
        if self._lost:
            nothing = np.full_like(cast(Array, self.y.y), np.nan)
            return nothing, nothing
        g, gamma = self.operations.derivatives(self.y, last.omega, last.V)
        return last.omega + last.V * g, last.V * (1.0 - last.V * gamma)

    def settle(self) -> None:
        """Nothing: the estimates are those of the components already."""

    def free_entropy(self) -> float:
        """See ``bethe_free_entropy``."""
        return bethe_free_entropy(self)

    @property
    def means(self) -> list[Array]:
        """x̂ of every layer, (n, samples)."""
        return [layer.x_mean for layer in self.layers]

    @property
    def variances(self) -> list[Array]:
        """Δ of every layer."""
        return [layer.x_variance for layer in self.layers]  # pyright: ignore[reportReturnType]


def contradicts(g: Array, gamma: Array) -> bool:
    """Return whether an output excludes the messages about its pre-activations; where that is right, E g² = E Γ."""
    return _square(g) > CONTRADICTION * float(np.abs(gamma).sum())


def _square(values: Array) -> float:
    """Return the sum of the squares."""
    return float(np.vdot(values, values))


def _mixed(keep: float, old: Array | None, take: float, new: Array | None) -> Array:
    assert old is not None and new is not None
    return new if keep == 0.0 and take == 1.0 else keep * old + take * new


def _rows_of(*values: Any) -> Array:
    """Return columns (n, 1) and numbers as the rows of one array."""
    first = next(v for v in values if np.ndim(v))
    table = np.empty((len(values), len(first)))
    for row, value in zip(table, values, strict=True):
        row[:] = np.ravel(value)
    return table


def _relative_change(old: Array, new: tuple[Array, Array]) -> float:
    """Return the square of a change of means, over that of their size, given the new ones and their variances."""
    mean, variance = new
    return _square(mean - old) / (_square(mean) + float(variance.sum()) + TINY)


def _min_variance(layer: Layer) -> float:
    """Return least variance of the pre-activations, from that under the prior: without messages, at the beginning."""
    share = 1.0 / layer.plan.inputs if _discrete(layer.plan.input_channel) else MIN_VARIANCE
    second = cast(Array, layer.x_variance) + layer.x_mean**2
    return max(share * float(np.mean(layer.squares @ second)), TINY)


def _discrete(source: Prior | Channel | None) -> bool:
    if isinstance(source, Channel):
        return source.interval is None
    return source is not None and all(width == 0.0 for _, width in source.components)


def bethe_free_entropy(chain: Chain) -> float:
    """Return Σ ψ + Σ φ + Σ φ_out + Σ [A (x̂² + Δ)/2 - B x̂] + Σ (omega - W x̂)²/(2V), over all components and samples.

    Stationary in x̂, Δ, omega, V, A and B at the fixed points of AMP; an estimate of log P(y) there. For spins, x² = 1,
    ψ and φ leave out the term in A, and so does the sum that compensates it.
    """
    total = 0.0
    for layer in chain.layers:
        message, below = layer.to_inputs, layer.below
        assert message is not None and message.B is not None
        A = 0.0 if message.A is None else message.A
        if isinstance(message.channel, Prior):
            values = message.channel.evaluate(H=message.B, G=A)
            total += float(np.sum(values.psi))
        else:
            assert below is not None and isinstance(message.channel, Channel)
            values = message.channel.evaluate(B=message.B, A=A, omega=below.omega, V=below.V)
            total += float(np.sum(values.phi))
        total += float(np.sum(0.5 * A * (values.mean**2 + values.variance) - message.B * values.mean))
        total += float(np.sum((layer.omega - layer.mean @ layer.x_mean) ** 2 / (2.0 * layer.V)))
    last = chain.layers[-1]
    assert isinstance(last.plan.channel, Channel) and chain.y.y is not None
    return total + float(np.sum(last.plan.channel.observe(chain.y.y, omega=last.omega, V=last.V).phi))
