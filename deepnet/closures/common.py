"""What all closures share: V, A and G, made of full quantities [DL eqs. 64, 68, 70]."""

from typing import Protocol

import numpy as np

from deepnet.kernels.plain import PlainKernels
from deepnet.state import Array, Layer, Message

#: Smallest variance of a pre-activation: keeps omega/√V finite once all weights and inputs are certain.
VARIANCE_FLOOR = 1e-8


class Closure(Protocol):
    """One answer to the question what replaces the cavity quantities in omega, H and B."""

    @property
    def name(self) -> str:
        """Its name on the command line."""
        ...

    def omega(self, layer: Layer, kernels: PlainKernels) -> Array:
        """Means of the pre-activations, (outputs, samples)."""
        ...

    def send(self, layer: Layer, above: Message, kernels: PlainKernels, *, last: bool) -> Array | None:
        """Fill ``layer.H_in``, given g and Γ of the layer; return B for all inputs, None if they are data.

        Unless the iteration is the ``last`` of the batch, leave in ``layer.memory`` what the next one needs of it.
        """
        ...


def preactivation_variance(layer: Layer) -> Array:
    """V = Σ_i [m²Δ + σ(x̂² + Δ)], (outputs, samples), at least ``VARIANCE_FLOOR``.

    For ±1 inputs x̂² + Δ = 1, for ±1 weights on all edges m² + σ = 1: one product and a sum replace two products, all
    terms stay positive and nothing cancels when the weights polarise.
    """
    plan, delta = layer.plan, layer.x_variance
    if delta is None:
        V = layer.variance @ np.square(layer.x_mean)
    elif plan.spin_inputs:
        V = layer.mean_squared @ delta
        V += layer.variance.sum(axis=1, keepdims=True)
    elif plan.spin_weights and plan.mask is None:
        V = layer.variance @ np.square(layer.x_mean)
        V += delta.sum(axis=0)
    else:
        V = layer.mean_squared @ delta
        V += layer.variance @ (np.square(layer.x_mean) + delta)
    return np.maximum(V, VARIANCE_FLOOR, out=V)


def input_precision(layer: Layer) -> Array | None:
    """A = Σ_k [(m² + σ)Γ - σg²], (inputs, samples); None where A is a constant or nothing is sent.

    Outputs far from what they should be send a negative precision, e^{-Ax²/2} would grow: it counts as none.
    """
    if layer.plan.is_first or layer.plan.spin_inputs:
        return None
    A = (layer.mean_squared + layer.variance).T @ layer.gamma - layer.variance.T @ np.square(layer.g)
    return np.maximum(A, 0.0, out=A)


def weight_precision(layer: Layer) -> Array | None:
    """G = Σ_n [(x̂² + Δ)Γ - Δg²], (outputs, inputs), at least 0 as A is; None for ±1 weights, where it is a constant."""
    if layer.plan.spin_weights:
        return None
    second_moment = np.square(layer.x_mean)
    if layer.x_variance is None:
        G = layer.gamma @ second_moment.T
    else:
        second_moment += layer.x_variance
        G = layer.gamma @ second_moment.T - np.square(layer.g) @ layer.x_variance.T
    return np.maximum(G, 0.0, out=G)
