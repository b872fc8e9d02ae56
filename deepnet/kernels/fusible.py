"""Which units and layers have kernels of their own, on the processor and on a GPU."""

import numpy as np

from factorgraph.channels import Sign
from factorgraph.dense.state import Array, Layer, Message

#: B of an observed ±1 unit, up to sign: the weight e^{-2|B|} of the other value is zero.
_OBSERVED = np.float32(1e30)


def sign_units(message: Message, omega: Array) -> bool:
    """Whether these are whole layers of sign units in float32; blocks of edges have three axes."""
    per_edge = omega.ndim > 2 or (message.B is not None and message.B.ndim > 2)
    return isinstance(message.channel, Sign) and omega.dtype == np.float32 and not per_edge


def fields(message: Message) -> Array:
    """B of sign units, huge where they are observed."""
    if message.y is not None:
        return np.where(message.y > 0, _OBSERVED, -_OBSERVED)
    assert message.B is not None
    return message.B


def fusible(layer: Layer, *, last: bool) -> bool:
    """Layers of ±1 weights with sign inputs or data in float32, without part of an earlier iteration."""
    plan = layer.plan
    closure = plan.closure == "mf" or (plan.closure == "amp" and layer.memory is None and last)
    return closure and plan.spin_weights and (plan.is_first or plan.spin_inputs) and layer.H.dtype == np.float32
