"""Factor kinds, one a file: message rules on stacked edges, and classes that describe many factors by index arrays."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

_HOME = {
    "Allowed": "table",
    "Bilinear": "bilinear",
    "Function": "function",
    "Linear": "linear",
    "LinearMap": "linear_map",
    "Logical": "logical",
    "Neurons": "bilinear",
    "PSpin": "parity",
    "Pairwise": "pairwise",
    "Parity": "parity",
    "Potts": "potts",
    "Sum": "sum",
    "Switch": "switch",
    "Table": "table",
}


def __getattr__(name: str) -> Any:
    """Import on first use: pairs do not pay for the channels of neurons."""
    if name in _HOME:
        return getattr(import_module(f"factorgraph.factors.{_HOME[name]}"), name)
    raise AttributeError(f"module 'factorgraph.factors' has no attribute {name!r}")
