"""Mean field: full quantities everywhere [DL, App. A.5]."""

from factorgraph.dense.closures.common import Sent
from factorgraph.dense.operations import Operations
from factorgraph.dense.state import Array, Layer, Message


class MeanField:
    """m, x̂ and g are full: omega = Σ m x̂, B = Σ m g, H = Σ x̂ g."""

    name = "mf"
    edgewise = False
    products = 1
    onsager = 0.0

    def omega(self, layer: Layer, operations: Operations) -> Array:
        """[DL, eq. 89]."""
        return operations.times(layer.mean, layer.x_mean)

    def send(self, layer: Layer, above: Message, operations: Operations, *, last: bool) -> Sent:
        """[DL, eqs. 93, 95]."""
        operations.outer(layer.g, layer.x_mean, layer.H_in)
        return Sent(None if layer.plan.is_first else operations.times_transposed(layer.mean, layer.g))
