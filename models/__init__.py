"""Inference with known weights: state evolution and free entropy of multi-layer generalized linear models.

[ML]: A. Manoel, F. Krzakala, M. Mézard, L. Zdeborová, Multi-layer generalized linear estimation, ISIT 2017.
"""

from models.ensembles import Ensemble, Sample
from models.free_entropy import (
    algorithmic_threshold,
    fixed_point_free_entropy,
    free_entropy,
    information_threshold,
)
from models.state_evolution import StateEvolution, state_evolution

__all__ = [
    "Ensemble",
    "Sample",
    "StateEvolution",
    "algorithmic_threshold",
    "fixed_point_free_entropy",
    "free_entropy",
    "information_threshold",
    "state_evolution",
]
