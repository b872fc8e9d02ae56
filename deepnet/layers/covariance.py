"""A dense layer that remembers which directions of its inputs have been measured: streams without double counting.

The messages of a batch take its samples, and the units of a layer, for independent evidence about the weights. They are
not: inputs are much alike, and all units are credited with what the labels say. The fields alone cannot know: what has
been measured in one direction of the inputs x leaves the posterior of every single weight nearly as wide as it was, so
that the next input of the same direction is given the same weight again, and old tasks are overwritten.

Here the posterior of the weights into unit k has the covariance D_k^½ C D_k^½, with D_k = diag(σ_k), and C, 1 in the
beginning, of all units. A batch adds its evidence to the precision, and its messages count as in a step of Newton's
method, those of the closure "mf", Σ x̂ g, being the gradient; the step is shortened by the damping α:

    C⁻¹ ← C⁻¹ + β Σ_n τ_n x_n x_nᵀ,   H ← H + (1-α) β H_in C,   V_kn = (x_nᵀ C x_n / x_nᵀ x_n) Σ_i σ_ki x_in² + ...

τ_n is the curvature σΓ of sample n, as a mean over the units, times what the units have in common: of K units whose g
has the second moments M = E g gᵀ, the evidence lies in the direction of g, where it is not tr M / K, the mean of the
eigenvalues of M, but tr M² / tr M, their mean weighted by themselves. That is still too little: for a single sample all
units have moved together, which would be tr M, and what is learnt later moves them again. So (1-α) β is about 2 in the
preset "stream", and β ten times as much, or three times where the inputs are data: without that old tasks are
overwritten, by steps that are too long in directions that have been measured.

C has inputs² numbers however long the stream is, and room for as much. What a batch takes once no more than ``FREE`` of
the prior variance is left, tr C / inputs, is given back by what was known before, in proportion:

    C⁻¹ ← ρ C⁻¹ + (1-ρ) 1   to first order in 1-ρ,   C ← C + (1-ρ) (C - C²)

Precise directions stay precise for 1/(1-ρ) batches, however many there are. A ρ < 1 that is given does the same always.
The mean stays as it is: fields that relax as well would lose the random part that tells the units apart.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from deepnet.cost import Cost
from deepnet.layers.base import Layer, Plan, Update
from deepnet.layers.dense import DenseLayer, DensePlan
from factorgraph.dense.closures import CLOSURES
from factorgraph.dense.closures.common import preactivation_variance
from factorgraph.dense.layer_steps import send_step
from factorgraph.dense.operations import Backward, Forward, Operations, Step
from factorgraph.dense.state import Array, Message

#: Share of the prior variance that is kept free for what comes.
FREE = 0.05

#: Accuracy of C in units of that of its numbers.
_ROUNDING = 8.0


@dataclass(frozen=True)
class CovariancePlan(DensePlan):
    """A dense layer of ±1 weights with one covariance of its inputs."""

    def __str__(self) -> str:
        return f"{super().__str__()}, covariance of the inputs"

    @property
    def on_gpu(self) -> bool:
        """As ``Plan.on_gpu``: the decomposition of a matrix is not captured."""
        return False

    def state_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """As ``Plan.state_shapes``, and 1 - C."""
        return {**super().state_shapes(), "measured": (self.inputs, self.inputs)}

    def initial_layer(
        self, size: float, rng: np.random.Generator, dtype: np.dtype[Any] | type, below: Layer | None
    ) -> "CovarianceLayer":
        """As ``Plan.initial_layer``."""
        layer = super().initial_layer(size, rng, dtype, below)
        measured = np.zeros((self.inputs, self.inputs), dtype)
        noise = layer.noise
        return CovarianceLayer(
            self, layer.H, None, layer.mean, layer.sigma, below=below, noise=noise, measured=measured
        )

    def cost(self) -> Cost:
        """As ``Plan.cost``; the products of C are with the samples, with the fields, and of the samples for itself."""
        return super().cost() + Cost(flops=4.0 * self.inputs**2, evaluations=0.0, bytes=12.0 * self.inputs**2)


@dataclass
class CovarianceLayer(DenseLayer):
    """Such a layer in training.

    Attributes:
        measured: 1 - C, symmetric, (inputs, inputs).
        seen: C x of the inputs of the batch.
        step: 1 - α, the part of Newton's step that is made.
    """

    measured: Array = field(default_factory=lambda: np.zeros((0, 0)))
    seen: Array = field(init=False)
    step: float = field(init=False)

    def state(self) -> dict[str, Array]:
        """Return what a dense layer has, and 1 - C."""
        return super().state() | {"measured": self.measured}

    def copied(self, convert: Callable[[Array], Array], operations: Operations, below: Layer | None) -> Self:
        """As ``Layer.copied``."""
        layer = super().copied(convert, operations, below)
        layer.measured = convert(self.measured)
        return layer

    def start(self, update: Update | None) -> None:
        """As ``Layer.start``; it is the step of the fields that is damped."""
        super().start(update)
        if update is not None:
            self.step, self.damping = 1.0 - update.damping, 0.0

    def forward(self, operations: Operations, *, last: bool, free_moments: bool) -> Forward:
        """As ``Layer.forward``, with the variance that is left in the direction of the inputs."""
        x = self.x_mean
        self.seen = x - operations.times(self.measured, x)
        share = (x * self.seen).sum(axis=0) / np.maximum((x * x).sum(axis=0), np.finfo(x.dtype).tiny)
        omega = CLOSURES[self.plan.closure].omega(self, operations)
        return Forward(omega, preactivation_variance(self, operations, share))

    def backward(self, operations: Operations, above: Message, base: Any, update: Update, *, last: bool) -> Backward:
        """As ``Layer.backward``; C changes at the end of the batch."""
        sent = send_step(operations, self, above, last=last)
        measured = self._posterior(operations)
        self.H_in = self.step * (self.H_in - operations.times(self.H_in, measured))
        operations.update_weights(self, Step(base[0], None, 1.0, update.reinforcement))
        if last:
            self.measured = self._relaxed(operations, measured, update.rho)
        return self._without_constant_unit(sent)

    def _relaxed(self, operations: Operations, measured: Array, rho: float) -> Array:
        """Return 1 - C once what was known before has given way to make room, at least by 1 - ρ."""
        host, inputs = operations.host(measured), self.plan.inputs
        share, square = float(host.trace()) / inputs, float(np.vdot(host, host)) / inputs
        given = max(1.0 - rho, (FREE - (1.0 - share)) / max(share - square, np.finfo(host.dtype).tiny))
        if given <= 0.0:
            return measured
        relaxed = measured - min(given, 1.0) * (measured - operations.times(measured, measured))
        return 0.5 * (relaxed + relaxed.T)  # what is not symmetric would grow as C does

    def _posterior(self, operations: Operations) -> Array:
        """Return 1 - C once the evidence T = diag(βτ) of the batch is added.

        C decreases by U(1 + √T Xᵀ U)⁻¹Uᵀ with U = C X √T; the matrix of the samples is inverted by the host. What every
        batch rounds would add up to variances below 0: C widens by more, the accuracy of C times 1 - C.
        """
        root = np.sqrt(self.evidence(operations))
        x, seen = operations.everywhere(self.x_mean), operations.everywhere(self.seen)
        inner = operations.host(operations.times_transposed(x, seen)).astype(np.float64)
        rounding = _ROUNDING * np.finfo(x.dtype).eps
        inner += np.diag(rounding * operations.host((x * x).sum(axis=0)).astype(np.float64))
        factor = np.linalg.inv(np.linalg.cholesky(np.eye(len(root)) + inner * root * root[:, None]))
        weights = np.ascontiguousarray((factor * root).T, self.measured.dtype)
        half = operations.times(seen, operations.array(weights))
        decrease = np.empty_like(self.measured)
        operations.outer(half, half, decrease)
        return (1.0 - rounding) * (self.measured + decrease)

    def evidence(self, operations: Operations) -> Array:
        """Return βτ of every sample of the batch, in host memory."""
        width = 1 - (self.mean * self.mean).sum(axis=1) / self.plan.inputs
        curvature = operations.everywhere((self.beta * width[:, None] * self.gamma).sum(axis=0)) / self.plan.outputs
        g = operations.everywhere(self.g)
        products = operations.host(operations.times_transposed(g, g))
        shared = common(products.astype(np.float64), self.plan.outputs)
        return np.maximum(operations.host(curvature).astype(np.float64), 0) * shared


def common(products: Array, units: int) -> float:
    """Return what g of so many units have in common: tr M²/tr M in units of tr M/K, M = E g gᵀ; at least 1.

    Args:
        products: gᵀg, (samples, samples). Pairs of different samples estimate tr M² without bias; one sample tells
            nothing.
        units: K.
    """
    samples, own = len(products), products.diagonal()
    trace = float(own.mean())
    if samples == 1 or trace == 0:
        return 1.0
    square = (np.square(products).sum() - np.square(own).sum()) / (samples * (samples - 1))
    return max(1.0, units * float(square) / trace**2)


def with_covariance(plans: Sequence[Plan]) -> tuple[Plan, ...]:
    """Return dense layers of ±1 weights with a covariance each; raise ``ValueError`` for others."""
    for plan in plans:
        if not isinstance(plan, DensePlan) or not plan.full_spins or plan.closure != "mf":
            need = "'fields' for a layer that is not one of ±1 weights on all edges with the closure mf"
            raise ValueError(f"`memory` must be {need}, got 'covariance' for {plan}")
    return tuple(CovariancePlan(**vars(plan)) for plan in plans)
