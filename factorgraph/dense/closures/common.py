"""What all closures share: V, A and G, made of full quantities [DL eqs. 64, 68, 70]."""

from typing import Protocol

import numpy as np

from factorgraph.dense.operations import Operations
from factorgraph.dense.state import Array, Layer, Message


class Closure(Protocol):
    """One answer to the question what replaces the cavity quantities in omega, H and B."""

    @property
    def name(self) -> str:
        """Its name on the command line."""
        ...

    @property
    def edgewise(self) -> bool:
        """Whether sums are taken over edges, each with a cavity of its own, and not as matrix products."""
        ...

    @property
    def products(self) -> int:
        """Number of matrix products in each of H and B at the first iteration; 0 if edgewise."""
        ...

    @property
    def onsager(self) -> float:
        """c in omega = W x̂ - c g⁻V and B = Wᵀg + c x̂A for observed weights W; of no account if edgewise."""
        ...

    def omega(self, layer: Layer, operations: Operations) -> Array:
        """Return the means of the pre-activations, (outputs, samples)."""
        ...

    def send(self, layer: Layer, above: Message, operations: Operations, *, last: bool) -> Array | None:
        """Fill ``layer.H_in``, given g and Γ of the layer; return B for all inputs, None if they are data.

        Unless the iteration is the ``last`` of the batch, leave in ``layer.memory`` what the next one needs of it.
        """
        ...


def preactivation_variance(layer: Layer, operations: Operations, share: Array | float = 1.0) -> Array:
    """Return V = Σ_i [m²Δ + σ(s x̂² + Δ)], (outputs, samples), at least the ``min_variance`` of the layer.

    The ``share`` s of each sample is 1 where the weights are independent.

    For ±1 weights on all edges m² + σ = 1: a product and a sum replace two products, all terms stay positive and
    nothing cancels when the weights polarise.
    """
    # [DL eq. 64]: for data Δ = 0; for ±1 weights Σ Δ + Σ σ x̂²; else both products.
    delta = layer.x_variance
    if delta is None:
        V = operations.times(layer.variance, np.square(layer.x_mean) * share)
    elif layer.plan.full_spins:
        V = operations.times(layer.variance, np.square(layer.x_mean) * share)
        V += delta.sum(axis=0)
    else:
        V = operations.times(np.square(layer.mean), delta)
        V += operations.times(layer.variance, np.square(layer.x_mean) * share + delta)
    return np.maximum(V, layer.plan.min_variance, out=V)


def squared_mean_transposed(layer: Layer, gamma: Array, operations: Operations) -> Array:
    """Return Σ_k m²Γ, (inputs, samples); for ±1 weights on all edges m² = 1 - σ."""
    if layer.plan.full_spins:
        return gamma.sum(axis=0) - operations.times_transposed(layer.variance, gamma)
    return operations.times_transposed(np.square(layer.mean), gamma)


def input_precision(layer: Layer, operations: Operations) -> Array | None:
    """Return A = Σ_k [(m² + σ)Γ - σg²], (inputs, samples); None where A is a constant or nothing is sent.

    Outputs far from what they should be send a negative precision, with which e^{-Ax²/2} would grow: it counts as none,
    unlike in [DL eq. 68].
    """
    if layer.plan.is_first or layer.plan.spin_inputs:
        return None
    # [DL eq. 68]; for ±1 weights m² + σ = 1.
    A = -operations.times_transposed(layer.variance, np.square(layer.g))
    if layer.plan.full_spins:
        A += layer.gamma.sum(axis=0)
    else:
        A += operations.times_transposed(np.square(layer.mean) + layer.variance, layer.gamma)
    return np.maximum(A, 0.0, out=A)


def weight_precision(layer: Layer, operations: Operations) -> Array | None:
    """Return G = Σ_n [(x̂² + Δ)Γ - Δg²], (outputs, inputs), at least 0 as A is; None for ±1 weights, where it is a
    constant."""
    if layer.G is None:
        return None
    # [DL eq. 70]; data have no Δ.
    G = np.empty_like(layer.G)
    second_moment = np.square(layer.x_mean)
    if layer.x_variance is not None:
        second_moment += layer.x_variance
    operations.outer(layer.gamma, second_moment, G)
    if layer.x_variance is not None:
        operations.outer(np.square(layer.g), layer.x_variance, layer.scratch)
        G -= layer.scratch
    return np.maximum(G, 0.0, out=G)
