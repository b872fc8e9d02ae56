"""Inference with known weights: multi-layer generalized linear models, their state evolution and free entropy; and
learning of one layer below a known head.

[ML]: A. Manoel, F. Krzakala, M. Mézard, L. Zdeborová, Multi-layer generalized linear estimation, ISIT 2017.
[2L]: learning the parameters of a two-layer network by matrix VAMP, a poster; see ``models.two_layer``.
"""

from typing import TYPE_CHECKING

try:
    from factorgraph.interface.on_demand import on_demand
    from factorgraph.runtime.names import check_names
except ModuleNotFoundError as error:
    raise ImportError("`factorgraph` must be the package of Cavity, and another one is found first") from error

if TYPE_CHECKING:
    from models.asymptotics.ensembles import Ensemble, Sample
    from models.asymptotics.errors import generalisation_error, preactivation_errors
    from models.asymptotics.free_entropy import (
        algorithmic_threshold,
        fixed_point_free_entropy,
        free_entropy,
        information_threshold,
    )
    from models.asymptotics.phase_diagram import PhaseDiagram, phase_diagram
    from models.asymptotics.spectra import (
        Empirical,
        Geometric,
        MarchenkoPastur,
        RowOrthogonal,
        Spectrum,
        marchenko_pastur,
    )
    from models.asymptotics.state_evolution import StateEvolution, state_evolution
    from models.asymptotics.vamp_evolution import vamp_state_evolution
    from models.inference.expectation_maximisation import Learned, learn
    from models.inference.lasso import LassoPath, lasso_path
    from models.inference.multilayer import GLM, MultiLayerGLM
    from models.inference.perceptron import Committee, Perceptron
    from models.inference.results import Estimate, Inference
    from models.two_layer import (
        GaussianRows,
        Head,
        MatrixInference,
        MatrixStateEvolution,
        MatrixVAMP,
        matrix_state_evolution,
    )

__all__ = [
    "GLM",
    "Committee",
    "Empirical",
    "Ensemble",
    "Estimate",
    "GaussianRows",
    "Geometric",
    "Head",
    "Inference",
    "LassoPath",
    "Learned",
    "MarchenkoPastur",
    "MatrixInference",
    "MatrixStateEvolution",
    "MatrixVAMP",
    "MultiLayerGLM",
    "Perceptron",
    "PhaseDiagram",
    "RowOrthogonal",
    "Sample",
    "Spectrum",
    "StateEvolution",
    "algorithmic_threshold",
    "fixed_point_free_entropy",
    "free_entropy",
    "generalisation_error",
    "information_threshold",
    "lasso_path",
    "learn",
    "marchenko_pastur",
    "matrix_state_evolution",
    "phase_diagram",
    "preactivation_errors",
    "state_evolution",
    "vamp_state_evolution",
]

_MODULES = {
    "asymptotics.ensembles": ("Ensemble", "Sample"),
    "asymptotics.errors": ("generalisation_error", "preactivation_errors"),
    "asymptotics.free_entropy": (
        "algorithmic_threshold",
        "fixed_point_free_entropy",
        "free_entropy",
        "information_threshold",
    ),
    "asymptotics.phase_diagram": ("PhaseDiagram", "phase_diagram"),
    "asymptotics.spectra": (
        "Empirical",
        "Geometric",
        "MarchenkoPastur",
        "RowOrthogonal",
        "Spectrum",
        "marchenko_pastur",
    ),
    "asymptotics.state_evolution": ("StateEvolution", "state_evolution"),
    "asymptotics.vamp_evolution": ("vamp_state_evolution",),
    "inference.expectation_maximisation": ("Learned", "learn"),
    "inference.lasso": ("LassoPath", "lasso_path"),
    "inference.multilayer": ("GLM", "MultiLayerGLM"),
    "inference.perceptron": ("Committee", "Perceptron"),
    "inference.results": ("Estimate", "Inference"),
    "two_layer": (
        "GaussianRows",
        "Head",
        "MatrixInference",
        "MatrixStateEvolution",
        "MatrixVAMP",
        "matrix_state_evolution",
    ),
}

__getattr__, __dir__ = on_demand(__name__, _MODULES)

check_names("models")
