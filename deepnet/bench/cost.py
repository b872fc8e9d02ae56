"""How many operations an epoch takes, from what is computed and not from how; and the least time they can take."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from factorgraph.dense.closures import CLOSURES

if TYPE_CHECKING:
    from deepnet.bench.limits import Limits
    from factorgraph.dense.state import LayerPlan

_BYTES = 4  # of a float32


@dataclass(frozen=True)
class Cost:
    """What training one layer or network takes, with one inner iteration a batch.

    Attributes:
        flops: of the matrix products, for each sample: 2 for every weight and product.
        evaluations: of g, for each sample: one for every weight of a BP or BPI layer, as its equations have it. (A
            program may do with fewer, and thus be faster than this count allows.)
        bytes: the state of the weights, read and written once where a batch needs it, for each batch.
    """

    flops: float = 0.0
    evaluations: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.flops + other.flops, self.evaluations + other.evaluations, self.bytes + other.bytes)

    def least_seconds(self, limits: "Limits", samples: int, batches: int) -> float:
        """Time of an epoch at the limits of the machine: arithmetic or traffic, whichever takes longer."""
        arithmetic = self.flops / limits.flops
        if self.evaluations:
            assert limits.evaluations is not None
            arithmetic += self.evaluations / limits.evaluations
        return max(samples * arithmetic, batches * self.bytes / limits.bytes)


def message_passing(plans: "Iterable[LayerPlan]") -> Cost:
    """Of the closures, layer by layer."""
    return sum((_layer(plan) for plan in plans), Cost())


def _layer(plan: "LayerPlan") -> Cost:
    """Of the weights that are kept. A batch reads m (and σ) forwards, and renews H and m (and G and σ) backwards."""
    edges = float(plan.outputs * plan.inputs if plan.mask is None else plan.mask.sum())
    read, renewed = (1, 2) if plan.spin_weights else (2, 4)
    return Cost(
        flops=2.0 * edges * _products(plan),
        evaluations=edges if CLOSURES[plan.closure].edgewise else 0.0,
        bytes=_BYTES * edges * (read + 2 * renewed),
    )


def _products(plan: "LayerPlan") -> int:
    """Matrix products: omega and V; H and B, unless they are sums over g of every edge; Onsager terms; G and A."""
    count = 2 if plan.is_first or plan.full_spins else 3
    to_inputs = 0 if plan.is_first else 1
    count += CLOSURES[plan.closure].products * (1 + to_inputs)
    if not plan.spin_weights:
        count += 1 + to_inputs
    if to_inputs and not plan.spin_inputs:
        count += 1 if plan.full_spins else 2
    return count


def binarynet(edges: Sequence[int]) -> Cost:
    """Of gradient descent: forwards, gradients of the weights and, above the first layer, of the inputs.

    The weights are read for all but the second, and renewed.

    Args:
        edges: number of weights kept in each layer.
    """
    total = Cost()
    for layer, weights in enumerate(edges):
        products = 3 if layer else 2
        total += Cost(flops=2.0 * weights * products, bytes=_BYTES * weights * (products + 1.0))
    return total
