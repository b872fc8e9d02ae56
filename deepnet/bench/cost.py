"""How many operations an epoch takes, from what is computed and not from how."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from deepnet.cost import Cost

if TYPE_CHECKING:  # the baseline's process is spared what only message passing needs
    from deepnet.layers import Plan

_BYTES = 4  # of a float32


def message_passing(plans: "Iterable[Plan]") -> Cost:
    """Of the closures, layer by layer."""
    return sum((plan.cost() for plan in plans), Cost())


def gradients(edges: Sequence[int]) -> Cost:
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
