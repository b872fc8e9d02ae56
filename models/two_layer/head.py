"""The known part of a two-layer network: activation, head, biases and noise."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from factorgraph.activations import LINEAR, RELU, SIGMOID, Linearised
from factorgraph.interface.arguments import check_choice, real_array, shown
from models.checks import generator, matrix, number_or_vector

Array = NDArray[np.float64]

#: Activations for which the rows of ``MatrixVAMP`` have integrals and modes.
ACTIVATIONS = {each.name: each for each in (RELU, SIGMOID, LINEAR)}


class Head:
    """Y = f(Z + c) W¹ + b + noise, row by row [2L].

    Args:
        weights: W¹, (d, outputs), or (d,) for one output.
        activation: f, "relu", "sigmoid" or "linear".
        noise: variance of the Gaussian noise, > 0; one number or one per output.
        bias: b, one number or one per output.
        hidden_bias: c, one number or one per hidden unit.

    Attributes:
        d: number of hidden units.
        outputs: number of outputs.

    Raises:
        ValueError: an argument outside its domain or of another shape.
    """

    def __init__(
        self,
        weights: ArrayLike,
        activation: str = "relu",
        *,
        noise: ArrayLike,
        bias: ArrayLike = 0.0,
        hidden_bias: ArrayLike = 0.0,
    ) -> None:
        W = real_array("weights", weights).copy()
        self.weights: Array = W[:, None] if W.ndim == 1 else W
        if self.weights.ndim != 2 or 0 in W.shape:
            raise ValueError(f"`weights` must be of shape (d, outputs) or (d,), got shape {W.shape}")
        self.d, self.outputs = self.weights.shape
        self.activation = ACTIVATIONS[check_choice("activation", activation, sorted(ACTIVATIONS))]
        self.noise = number_or_vector("noise", noise, self.outputs)
        self.bias = number_or_vector("bias", bias, self.outputs)
        self.hidden_bias = number_or_vector("hidden_bias", hidden_bias, self.d)
        if not np.all(self.noise > 0.0):
            raise ValueError(f"`noise` must be variances > 0, got {shown(noise)}")

    def __repr__(self) -> str:
        return f"Head({self.d} {self.activation.name} units, {self.outputs} outputs)"

    @property
    def scaled_weights(self) -> Array:
        """W¹ in units of the noise's deviations, (d, outputs)."""
        return self.weights / np.sqrt(self.noise)

    @property
    def log_noise(self) -> float:
        """log det(2π Σ) of the covariance Σ of the noise."""
        return float(np.log(2.0 * np.pi * self.noise).sum())

    def scaled(self, Y: Array) -> Array:
        """Return Y - b in the same units."""
        return (Y - self.bias) / np.sqrt(self.noise)

    def __call__(self, Z: ArrayLike) -> Array:
        """Return outputs without noise (N, outputs) of pre-activations (N, d)."""
        return self.activation(matrix("Z", Z, f"(N, {self.d})", self.d) + self.hidden_bias) @ self.weights + self.bias

    def linearised(self, mean: Array, covariance: Array) -> Linearised:
        """Return the best linear function to f(z + c) for rows z ~ N(mean, covariance).

        Means are (N, d), covariances (d, d) or (N, d, d).
        """
        variance = np.diagonal(covariance, axis1=-2, axis2=-1)
        return self.activation.linearised(mean + self.hidden_bias, np.broadcast_to(variance, mean.shape))

    def expectation(self, mean: Array, covariance: Array) -> Array:
        """Return expected outputs (N, outputs) of rows z ~ N(mean, covariance)."""
        return self.linearised(mean, covariance).mean @ self.weights + self.bias

    def sample(self, Z: ArrayLike, rng: np.random.Generator | int | None = None) -> Array:
        """Return outputs with noise (N, outputs)."""
        clean = self(Z)
        return clean + np.sqrt(self.noise) * generator(rng).standard_normal(clean.shape)
