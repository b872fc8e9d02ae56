"""Factor graphs with Gaussian messages: scalar free energies, and models made of variables, factors and plates."""

from factorgraph.model import Factor, Model, ModelError, Variable

__all__ = ["Factor", "Model", "ModelError", "Variable"]
