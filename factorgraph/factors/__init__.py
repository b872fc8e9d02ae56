"""Factor kinds, one a file: message rules on stacked edges, and classes that describe many factors by index arrays."""

from typing import TYPE_CHECKING

from factorgraph.interface.on_demand import on_demand

if TYPE_CHECKING:
    from factorgraph.factors.bilinear import Bilinear, Neurons
    from factorgraph.factors.function import Function
    from factorgraph.factors.linear import Linear
    from factorgraph.factors.linear_map import LinearMap
    from factorgraph.factors.logical import Logical
    from factorgraph.factors.pairwise import Pairwise
    from factorgraph.factors.parity import Parity, PSpin
    from factorgraph.factors.potts import Potts
    from factorgraph.factors.sum import Sum
    from factorgraph.factors.switch import Switch
    from factorgraph.factors.table import Allowed, Table

__all__ = [
    "Allowed",
    "Bilinear",
    "Function",
    "Linear",
    "LinearMap",
    "Logical",
    "Neurons",
    "PSpin",
    "Pairwise",
    "Parity",
    "Potts",
    "Sum",
    "Switch",
    "Table",
]

_MODULES = {
    "bilinear": ("Bilinear", "Neurons"),
    "function": ("Function",),
    "linear": ("Linear",),
    "linear_map": ("LinearMap",),
    "logical": ("Logical",),
    "pairwise": ("Pairwise",),
    "parity": ("PSpin", "Parity"),
    "potts": ("Potts",),
    "sum": ("Sum",),
    "switch": ("Switch",),
    "table": ("Allowed", "Table"),
}

__getattr__, __dir__ = on_demand(__name__, _MODULES)  # pairs do not pay for the channels of neurons
