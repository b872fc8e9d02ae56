"""Factor graphs with Gaussian messages: scalar free energies, models made of variables and factors, and an engine.

``Graph`` builds models, the classes in ``factorgraph.factors`` tie variables together, ``infer`` passes messages, and
``exact`` is the ground truth for small models.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from factorgraph.check import FactorCheck, check_factor
    from factorgraph.engine import infer
    from factorgraph.factors import Bilinear, Function, Linear, LinearMap, Neurons, Pairwise, Parity, PSpin, Sum
    from factorgraph.graph import Graph
    from factorgraph.ground_truth import Exact, TooLargeError, exact
    from factorgraph.messages import ContradictionError, IndefiniteError
    from factorgraph.model import Factor, Model, ModelError, Selection, Variable
    from factorgraph.networks import draw, from_bipartite, from_networkx, to_networkx
    from factorgraph.result import Result, Status
    from factorgraph.spectral import Spectral
    from factorgraph.storage import load_model, save_model

__all__ = [
    "Bilinear",
    "ContradictionError",
    "Exact",
    "Factor",
    "FactorCheck",
    "Function",
    "Graph",
    "IndefiniteError",
    "Linear",
    "LinearMap",
    "Model",
    "ModelError",
    "Neurons",
    "PSpin",
    "Pairwise",
    "Parity",
    "Result",
    "Selection",
    "Spectral",
    "Status",
    "Sum",
    "TooLargeError",
    "Variable",
    "check_factor",
    "draw",
    "exact",
    "from_bipartite",
    "from_networkx",
    "infer",
    "load_model",
    "save_model",
    "to_networkx",
]

_MODULES = {
    "check": ("FactorCheck", "check_factor"),
    "engine": ("infer",),
    "factors": ("Bilinear", "Function", "Linear", "LinearMap", "Neurons", "PSpin", "Pairwise", "Parity", "Sum"),
    "graph": ("Graph",),
    "ground_truth": ("Exact", "TooLargeError", "exact"),
    "messages": ("ContradictionError", "IndefiniteError"),
    "model": ("Factor", "Model", "ModelError", "Selection", "Variable"),
    "networks": ("draw", "from_bipartite", "from_networkx", "to_networkx"),
    "result": ("Result", "Status"),
    "spectral": ("Spectral",),
    "storage": ("load_model", "save_model"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import on first use: importing one part of the package does not pay for the others."""
    if name in _HOME:
        return getattr(import_module(f"factorgraph.{_HOME[name]}"), name)
    raise AttributeError(f"module 'factorgraph' has no attribute {name!r}")
