"""A dense layer of ±1 weights in several coupled replicas: focusing on wide minima [FBP].

Of y networks w¹ ... w^y that learn the same data, every weight is coupled to the one of a centre w*, which sees no
data:

    P(w*, w¹, ..., w^y) ∝ Π_a P(w^a | data) e^{γ Σ_i w*_i w^a_i}

The centre is probable where many networks near it are: its law is that of the local entropy, and y makes it count. With
the same messages H in all replicas, one of them sends the centre the field artanh(tanh γ tanh H), and has from it the
field that the other y - 1 make, which attracts it to where they are:

    m = tanh(H + F),   tanh F = c(tanh H),   c(m) = tanh γ tanh[(y - 1) artanh(tanh γ m)],   |F| < γ

The rest is as with one network: H is kept from batch to batch, F follows from it, and y = 1 has F = 0. The mean of the
centre is tanh[y artanh(tanh γ tanh H)], of the sign of H.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deepnet.layers.base import Layer, Plan, Update
from deepnet.layers.dense import DenseLayer, DensePlan
from factorgraph.dense.operations import Backward, Operations
from factorgraph.dense.state import Array, Message

#: Weights whose means are renewed at a time, in the cache.
_BLOCK = 1 << 14


@dataclass(frozen=True)
class FocusingPlan(DensePlan):
    """A dense layer of ±1 weights in so many replicas."""

    replicas: int = 1

    def __str__(self) -> str:
        return f"{super().__str__()}, {self.replicas} replicas"

    def initial_layer(
        self, size: float, rng: np.random.Generator, dtype: np.dtype[Any] | type, below: Layer | None
    ) -> "FocusingLayer":
        """As ``Plan.initial_layer``; the replicas are first coupled after a batch."""
        layer = super().initial_layer(size, rng, dtype, below)
        return FocusingLayer(self, layer.H, None, layer.mean, layer.sigma, below=below, noise=layer.noise)


@dataclass
class FocusingLayer(DenseLayer):
    """Such a layer in training: m is the mean of a replica, and H its field without the centre.

    Attributes:
        coupling: γ of the current batch.
    """

    plan: FocusingPlan  # pyright: ignore[reportIncompatibleVariableOverride]
    coupling: float = field(init=False, default=0.0)

    def start(self, update: Update | None) -> None:
        """As ``Layer.start``."""
        super().start(update)
        if update is not None:
            self.coupling = update.coupling

    def fields(self) -> Array:
        """Return H + F."""
        return self.H + np.arctanh(attraction(np.tanh(self.H), self.coupling, self.plan.replicas))

    def backward(self, operations: Operations, above: Message, base: Any, update: Update, *, last: bool) -> Backward:
        """As ``Layer.backward``; the new means are those with the centre."""
        return super().backward(operations, above, base, update, last=last).then(self._attract)

    def _attract(self) -> None:
        """Add (1 - α)[tanh(H + F) - tanh H] to m, which has the share of tanh H already."""
        rows = max(1, _BLOCK // self.plan.inputs)
        for first in range(0, self.plan.outputs, rows):
            some = slice(first, first + rows)
            free, mask = np.tanh(self.H[some]), 1 if self.plan.mask is None else self.plan.mask[some]
            c = attraction(free, self.coupling, self.plan.replicas)
            self.mean[some] += mask * (1.0 - self.damping) * c * (1.0 - free * free) / (1.0 + free * c)
        np.clip(self.mean, -1.0, 1.0, out=self.mean)  # where the loops round tanh otherwise


def attraction(mean: Array, coupling: float, replicas: int) -> Array:
    """Return c = tanh F of the field from the centre, given the means tanh H of the other replicas without it."""
    t = math.tanh(coupling)
    size = t * np.abs(mean)
    odds = ((1.0 - size) / (1.0 + size)) ** (replicas - 1)
    return t * np.sign(mean) * (1.0 - odds) / (1.0 + odds)


def with_replicas(plans: Sequence[Plan], replicas: int) -> tuple[Plan, ...]:
    """Return layers in so many replicas, which are dense and of ±1 weights; those given for one."""
    if replicas == 1:
        return tuple(plans)
    for plan in plans:
        if type(plan) is not DensePlan or not plan.spin_weights:
            raise ValueError(
                f"`replicas` must be 1 for a layer that is not dense with ±1 weights, got {replicas}: {plan}"
            )
    return tuple(FocusingPlan(**vars(plan), replicas=replicas) for plan in plans)
