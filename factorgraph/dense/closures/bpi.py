"""BP-inspired: the cavity is kept in the argument of g only [DL, App. A.4]."""

from factorgraph.dense.closures.common import Sent
from factorgraph.dense.closures.mean_field import MeanField
from factorgraph.dense.operations import Operations
from factorgraph.dense.state import Layer, Message


class BPInspired(MeanField):
    """m and x̂ are full, g is taken at omega - m x̂ on every edge: omega = Σ m x̂, B = Σ m g_{→i}, H = Σ x̂ g_{→i}."""

    name = "bpi"
    edgewise = True
    products = 0

    def send(self, layer: Layer, above: Message, operations: Operations, *, last: bool) -> Sent:
        """[DL, eqs. 78, 81, 83], streamed: no (outputs, inputs, samples) array is kept."""
        return Sent(operations.edge_messages(layer, above))
