"""Matrix VAMP: the first layer of a two-layer network, learnt with messages about whole rows.

[2L]: the poster on learning two-layer networks by matrix VAMP; its model is Y = f(X W⁰ + c) W¹ + b + noise.
"""

from models.two_layer.head import Head
from models.two_layer.matrix_state_evolution import MatrixStateEvolution, matrix_state_evolution
from models.two_layer.matrix_vamp import MatrixInference, MatrixVAMP
from models.two_layer.row_prior import GaussianRows

__all__ = [
    "GaussianRows",
    "Head",
    "MatrixInference",
    "MatrixStateEvolution",
    "MatrixVAMP",
    "matrix_state_evolution",
]
