"""Factor graphs with Gaussian messages: scalar free energies, models made of variables and factors, and an engine.

``Graph`` builds models, the classes in ``factorgraph.factors`` tie variables together, ``infer`` passes messages, and
``exact`` is the ground truth for small models.
"""

from typing import TYPE_CHECKING

from factorgraph.interface.on_demand import on_demand
from factorgraph.runtime.names import check_names

if TYPE_CHECKING:
    from factorgraph.engine.covariances import JointCovariance
    from factorgraph.engine.infer import infer
    from factorgraph.engine.laws import Message, Mixed
    from factorgraph.engine.result import Result
    from factorgraph.engine.search import Solution, decimate, reinforce
    from factorgraph.engine.syndromes import Decoded, decode
    from factorgraph.factors import (
        Allowed,
        Bilinear,
        Function,
        Linear,
        LinearMap,
        Logical,
        Neurons,
        Pairwise,
        Parity,
        Potts,
        PSpin,
        Sum,
        Switch,
        Table,
    )
    from factorgraph.interface.errors import CavityWarning, ContradictionError, IndefiniteError, ModelError
    from factorgraph.io.networkx_graphs import draw, from_bipartite, from_networkx, to_networkx
    from factorgraph.io.parity_checks import from_parity_checks, read_alist, write_alist
    from factorgraph.io.pgmpy_models import from_pgmpy
    from factorgraph.io.quadratic_models import QuadraticModel, from_dimod, to_dimod
    from factorgraph.io.storage import load_model, save_model
    from factorgraph.io.uai import (
        read_uai,
        read_uai_evidence,
        read_uai_solution,
        write_uai,
        write_uai_evidence,
        write_uai_solution,
    )
    from factorgraph.iteration import Status
    from factorgraph.model.description import Factor, Model, Selection, Variable
    from factorgraph.model.graph import Graph
    from factorgraph.numerics.spectral import Spectral
    from factorgraph.reference.check_factor import FactorCheck, check_factor
    from factorgraph.reference.exact import Exact, TooLargeError, exact
    from factorgraph.runtime.machine import show_versions

__all__ = [
    "Allowed",
    "Bilinear",
    "CavityWarning",
    "ContradictionError",
    "Decoded",
    "Exact",
    "Factor",
    "FactorCheck",
    "Function",
    "Graph",
    "IndefiniteError",
    "JointCovariance",
    "Linear",
    "LinearMap",
    "Logical",
    "Message",
    "Mixed",
    "Model",
    "ModelError",
    "Neurons",
    "PSpin",
    "Pairwise",
    "Parity",
    "Potts",
    "QuadraticModel",
    "Result",
    "Selection",
    "Solution",
    "Spectral",
    "Status",
    "Sum",
    "Switch",
    "Table",
    "TooLargeError",
    "Variable",
    "check_factor",
    "decimate",
    "decode",
    "draw",
    "exact",
    "from_bipartite",
    "from_dimod",
    "from_networkx",
    "from_parity_checks",
    "from_pgmpy",
    "infer",
    "load_model",
    "read_alist",
    "read_uai",
    "read_uai_evidence",
    "read_uai_solution",
    "reinforce",
    "save_model",
    "show_versions",
    "to_dimod",
    "to_networkx",
    "write_alist",
    "write_uai",
    "write_uai_evidence",
    "write_uai_solution",
]

_MODULES = {
    "reference.check_factor": ("FactorCheck", "check_factor"),
    "engine.covariances": ("JointCovariance",),
    "engine.infer": ("infer",),
    "factors": (
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
    ),
    "model.graph": ("Graph",),
    "reference.exact": ("Exact", "TooLargeError", "exact"),
    "interface.errors": ("CavityWarning", "ContradictionError", "IndefiniteError", "ModelError"),
    "model.description": ("Factor", "Model", "Selection", "Variable"),
    "io.networkx_graphs": ("draw", "from_bipartite", "from_networkx", "to_networkx"),
    "engine.laws": ("Message", "Mixed"),
    "engine.result": ("Result",),
    "engine.syndromes": ("Decoded", "decode"),
    "engine.search": ("Solution", "decimate", "reinforce"),
    "iteration": ("Status",),
    "numerics.spectral": ("Spectral",),
    "runtime.machine": ("show_versions",),
    "io.parity_checks": ("from_parity_checks", "read_alist", "write_alist"),
    "io.pgmpy_models": ("from_pgmpy",),
    "io.quadratic_models": ("QuadraticModel", "from_dimod", "to_dimod"),
    "io.storage": ("load_model", "save_model"),
    "io.uai": (
        "read_uai",
        "read_uai_evidence",
        "read_uai_solution",
        "write_uai",
        "write_uai_evidence",
        "write_uai_solution",
    ),
}
__getattr__, __dir__ = on_demand(__name__, _MODULES)

check_names("factorgraph")
