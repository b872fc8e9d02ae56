"""Inference with known weights: multi-layer generalized linear models, their state evolution and free entropy.

[ML]: A. Manoel, F. Krzakala, M. Mézard, L. Zdeborová, Multi-layer generalized linear estimation, ISIT 2017.
"""

from models.ensembles import Ensemble, Sample
from models.free_entropy import (
    algorithmic_threshold,
    fixed_point_free_entropy,
    free_entropy,
    information_threshold,
)
from models.learning import Learned, learn
from models.multilayer import GLM, MultiLayerGLM
from models.perceptron import Committee, Perceptron
from models.phase_diagram import PhaseDiagram, phase_diagram
from models.result import Estimate, Inference
from models.spectra import Empirical, Geometric, MarchenkoPastur, RowOrthogonal, Spectrum
from models.state_evolution import StateEvolution, state_evolution
from models.vamp_evolution import vamp_state_evolution

__all__ = [
    "GLM",
    "Committee",
    "Empirical",
    "Ensemble",
    "Estimate",
    "Geometric",
    "Inference",
    "Learned",
    "MarchenkoPastur",
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
    "information_threshold",
    "learn",
    "phase_diagram",
    "state_evolution",
    "vamp_state_evolution",
]
