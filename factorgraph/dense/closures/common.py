"""What all closures share: V, A and G, made of full quantities [DL, eqs. 64, 68, 70]."""

from typing import NamedTuple, Protocol

import numpy as np

from factorgraph.dense.operations import Operations
from factorgraph.dense.state import Array, Layer, Message


class Sent(NamedTuple):
    """What a closure sends; the message to the weights is in ``Layer.H_in``.

    Attributes:
        B: to all inputs, (inputs, samples); None if they are data.
        curvature_inputs: Σ_k m²Γ, of which A is made, if it was computed on the way.
        curvature_weights: Σ_n x̂²Γ, of which G is made, likewise.
    """

    B: Array | None
    curvature_inputs: Array | None = None
    curvature_weights: Array | None = None


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

    def send(self, layer: Layer, above: Message, operations: Operations, *, last: bool) -> Sent:
        """Fill ``layer.H_in``, given g and Γ of the layer; return B for all inputs.

        Unless the iteration is the ``last`` of the batch, leave in ``layer.memory`` what the next one needs of it.
        """
        ...


def preactivation_variance(layer: Layer, operations: Operations, share: Array | None = None) -> Array:
    """Return V = Σ_i [m²Δ + σ(s x̂² + Δ)], (outputs, samples), at least the ``min_variance`` of the layer.

    The ``share`` s of each sample, None for 1, is that of weights that are not independent, ±1 on all edges.

    For ±1 weights on all edges m² + σ = 1, for ±1 inputs x̂² + Δ = 1: a product and a sum replace two products, all
    terms stay positive and nothing cancels when the weights polarise.
    """
    # [DL, eq. 64]; for data Δ = 0.
    delta = layer.x_variance
    if delta is None or layer.plan.full_spins:
        squares = np.square(layer.x_mean)
        V = operations.times(layer.variance, squares if share is None else squares * share, coarse=True)
        if delta is not None:
            V += delta.sum(axis=0)
    elif layer.plan.spin_inputs:
        V = operations.times(np.square(layer.mean, out=layer.scratch), delta, coarse=True)
        V += layer.variance.sum(axis=1)[:, None]
    else:
        V = operations.times(np.square(layer.mean, out=layer.scratch), delta, coarse=True)
        V += operations.times(layer.variance, np.square(layer.x_mean) + delta, coarse=True)
    return np.maximum(V, layer.plan.min_variance, out=V)


def curvature_to_inputs(layer: Layer, operations: Operations) -> Array:
    """Return Σ_k m²Γ, (inputs, samples); for ±1 weights on all edges m² = 1 - σ."""
    if layer.plan.full_spins:
        return layer.gamma.sum(axis=0) - operations.times_transposed(layer.variance, layer.gamma, coarse=True)
    return operations.times_transposed(np.square(layer.mean, out=layer.scratch), layer.gamma, coarse=True)


def curvature_to_weights(layer: Layer, operations: Operations) -> Array:
    """Return Σ_n x̂²Γ, (outputs, inputs): in ``layer.G_in``, of which it is a part, or else in ``layer.scratch``."""
    curvature = layer.scratch if layer.G_in is None else layer.G_in
    operations.outer(layer.gamma, np.square(layer.x_mean), curvature, coarse=True)
    return curvature


def input_precision(layer: Layer, operations: Operations, curvature: Array | None) -> Array | None:
    """Return A = Σ_k [m²Γ + σ(Γ - g²)], (inputs, samples); None where A is a constant or nothing is sent.

    Outputs far from what they should be send a negative precision, with which e^{-Ax²/2} would grow: it counts as none,
    unlike in [DL, eq. 68].

    Args:
        layer: with its g and Γ.
        operations: where it is.
        curvature: Σ_k m²Γ if it is known.
    """
    if layer.plan.is_first or layer.plan.spin_inputs:
        return None
    # [DL, eq. 68]; for ±1 weights on all edges m² + σ = 1.
    if layer.plan.full_spins:
        A = layer.gamma.sum(axis=0) - operations.times_transposed(layer.variance, np.square(layer.g), coarse=True)
    else:
        A = curvature_to_inputs(layer, operations) if curvature is None else curvature
        A += operations.times_transposed(layer.variance, layer.gamma - np.square(layer.g), coarse=True)
    return np.maximum(A, 0.0, out=A)


def set_weight_precision(layer: Layer, operations: Operations, curvature: Array | None) -> None:
    """Fill ``layer.G_in`` with G = Σ_n [x̂²Γ + Δ(Γ - g²)], unless it is a constant, as for ±1 weights.

    Args:
        layer: with its g and Γ.
        operations: where it is.
        curvature: Σ_n x̂²Γ if it is known, and then in ``layer.G_in``.
    """
    if layer.G_in is None:
        return
    # [DL, eq. 70]; data have no Δ, and ±1 inputs x̂² + Δ = 1.
    delta = layer.x_variance
    if delta is not None and layer.plan.spin_inputs and curvature is None:
        operations.outer(np.square(layer.g), delta, layer.G_in, coarse=True)
        np.subtract(layer.gamma.sum(axis=1)[:, None], layer.G_in, out=layer.G_in)
        return
    if curvature is None:
        curvature_to_weights(layer, operations)
    if delta is not None:
        operations.outer(layer.gamma - np.square(layer.g), delta, layer.scratch, coarse=True)
        layer.G_in += layer.scratch
