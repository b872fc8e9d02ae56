"""A dense layer that remembers which directions of its inputs have been measured: streams without double counting.

The messages of a batch take its samples, and the units of a layer, for independent evidence about the weights. They are
not: inputs are much alike, and all units are credited with what the labels say. The fields alone cannot know: what has
been measured in one direction of the inputs x leaves the posterior of every single weight nearly as wide as it was, so
that the next input of the same direction is given the same weight again, and old tasks are overwritten.

Here the posterior of the weights into unit k has the covariance D_k^½ C D_k^½, with D_k = diag(σ_k), and C, 1 in the
beginning, of all units. A batch adds its evidence to the precision, and its messages count as in a step of Newton's
method:

    C⁻¹ ← C⁻¹ + Σ_n τ_n x_n x_nᵀ,   H ← H + H_in C,   V_kn = (x_nᵀ C x_n / x_nᵀ x_n) Σ_i σ_ki x_in² + ...

τ_n is the curvature σΓ of sample n, as a mean over the units, times what the units have in common: of K units whose g
has the second moments M = E g gᵀ, the evidence lies in the direction of g, where it is not tr M / K, the mean of the
eigenvalues of M, but tr M² / tr M, their mean weighted by themselves.

C has inputs² numbers however long the stream is. When less than ``FREE`` of the directions is left, the weights relax
towards their prior by just as much as keeps it, w ← √(1-q) w + √q · noise: C ← (1-q) C + q, H ← √(1-q) H.
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

#: Share of the directions of the inputs that is kept free for what is to come: the smallest mean eigenvalue of C.
FREE = 0.1


@dataclass(frozen=True)
class CovariancePlan(DensePlan):
    """A dense layer of ±1 weights with one covariance of its inputs."""

    def __str__(self) -> str:
        return f"{super().__str__()}, covariance of the inputs"

    @property
    def on_gpu(self) -> bool:
        """As ``Plan.on_gpu``: the decomposition of a matrix is not captured."""
        return False

    def state_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """As ``Plan.state_shapes``, and C."""
        return {**super().state_shapes(), "covariance": (self.inputs, self.inputs)}

    def initial_layer(
        self, size: float, rng: np.random.Generator, dtype: np.dtype[Any] | type, below: Layer | None
    ) -> "CovarianceLayer":
        """As ``Plan.initial_layer``."""
        layer = super().initial_layer(size, rng, dtype, below)
        return CovarianceLayer(
            self, layer.H, None, layer.mean, layer.sigma, below=below, covariance=np.eye(self.inputs, dtype=dtype)
        )

    def cost(self) -> Cost:
        """As ``Plan.cost``; the products of C are with the samples, with the fields, and of the samples for itself."""
        return super().cost() + Cost(flops=4.0 * self.inputs**2, evaluations=0.0, bytes=12.0 * self.inputs**2)


@dataclass
class CovarianceLayer(DenseLayer):
    """Such a layer in training.

    Attributes:
        covariance: C, symmetric, (inputs, inputs).
        seen: C x of the inputs of the batch.
    """

    covariance: Array = field(default_factory=lambda: np.zeros((0, 0)))
    seen: Array = field(init=False)

    def state(self) -> dict[str, Array]:
        """Return H, m and C."""
        return super().state() | {"covariance": self.covariance}

    def copied(self, convert: Callable[[Array], Array], operations: Operations, below: Layer | None) -> Self:
        """As ``Layer.copied``."""
        layer = super().copied(convert, operations, below)
        layer.covariance = convert(self.covariance)
        return layer

    def forward(self, operations: Operations, *, last: bool, free_moments: bool) -> Forward:
        """As ``Layer.forward``, with the variance that is left in the direction of the inputs."""
        x = self.x_mean
        self.seen = operations.times(self.covariance, x)
        share = (x * self.seen).sum(axis=0) / np.maximum((x * x).sum(axis=0), np.finfo(x.dtype).tiny)
        omega = CLOSURES[self.plan.closure].omega(self, operations)
        return Forward(omega, preactivation_variance(self, operations, share))

    def backward(self, operations: Operations, above: Message, base: Any, update: Update, *, last: bool) -> Backward:
        """As ``Layer.backward``; C changes at the end of the batch."""
        sent = send_step(operations, self, above, last=last)
        covariance = self._posterior(operations)
        self.H_in = operations.times(self.H_in, covariance)
        operations.update_weights(self, Step(base[0], None, update.rho, update.reinforcement))
        if last:
            self._remember(covariance)
        return self._without_constant_unit(sent)

    def _posterior(self, operations: Operations) -> Array:
        """Return C once the evidence of the batch is added: C - U(1 + Xᵀ T C X)⁻¹Uᵀ of U = C X √T."""
        root = np.sqrt(self._evidence())
        U, X = self.seen * root, self.x_mean * root
        inner = X.T @ U
        inner.reshape(-1)[:: len(inner) + 1] += 1
        half = np.linalg.solve(np.linalg.cholesky(inner), U.T)
        return self.covariance - half.T @ half

    def _evidence(self) -> Array:
        """Return τ of every sample."""
        width = np.square(self.mean).mean(axis=1)
        curvature = ((1 - width)[:, None] * self.gamma).mean(axis=0)
        return np.maximum(curvature * common(self.g), 0)

    def _remember(self, covariance: Array) -> None:
        """Take up C, and relax towards the prior if too little of it is left."""
        free = covariance.trace() / len(covariance)
        q = np.maximum((FREE - free) / (1 - free), 0).astype(covariance.dtype)
        self.covariance = covariance * (1 - q)
        self.covariance.reshape(-1)[:: len(covariance) + 1] += q
        self.H *= np.sqrt(1 - q)


def common(g: Array) -> Any:
    """Return what g (units, samples) have in common: tr M²/tr M in units of tr M/K, M = E g gᵀ of K units; at least 1.

    Pairs of different samples estimate tr M² without bias; of one sample, nothing is known.
    """
    units, samples = g.shape
    if samples == 1:
        return 1.0
    products = g.T @ g
    own = products.diagonal()
    square = (np.square(products).sum() - np.square(own).sum()) / (samples * (samples - 1))
    trace = own.sum() / samples
    return np.maximum(units * square / np.maximum(trace * trace, np.finfo(g.dtype).tiny), 1)


def with_covariance(plans: Sequence[Plan]) -> tuple[Plan, ...]:
    """Return dense layers of ±1 weights with a covariance each; raise ``ValueError`` for others."""
    for plan in plans:
        if not isinstance(plan, DensePlan) or not plan.full_spins:
            need = "'fields' for a layer that is not one of ±1 weights on all edges"
            raise ValueError(f"`memory` must be {need}, got 'covariance' for {plan}")
    return tuple(CovariancePlan(**vars(plan)) for plan in plans)
