"""Matrix VAMP: the first layer of a two-layer network, learnt with messages about whole rows.

[2L]: the poster on learning two-layer networks by matrix VAMP; its model is Y = f(X W⁰ + c) W¹ + b + noise.
"""

from models.matrix_vamp.algorithm import MatrixInference, MatrixVAMP
from models.matrix_vamp.head import Head
from models.matrix_vamp.prior import GaussianRows
from models.matrix_vamp.state_evolution import MatrixStateEvolution, marchenko_pastur, matrix_state_evolution

__all__ = [
    "GaussianRows",
    "Head",
    "MatrixInference",
    "MatrixStateEvolution",
    "MatrixVAMP",
    "marchenko_pastur",
    "matrix_state_evolution",
]
