"""What all closures share: V, A and G, made of full quantities [DL eqs. 64, 68, 70]."""

from typing import Protocol

import numpy as np

from factorgraph.dense.plain import PlainKernels
from factorgraph.dense.state import Array, Layer, Message


class Closure(Protocol):
    """One answer to the question what replaces the cavity quantities in omega, H and B.

    Where the weights are observed there is no H, and V is to be computed before omega, A before B.
    """

    @property
    def name(self) -> str:
        """Its name on the command line."""
        ...

    @property
    def own_share(self) -> float | None:
        """With observed weights c in omega = W x̂ - c g⁻V and B = Wᵀg + c x̂A; None where sums are taken over edges."""
        ...

    def omega(self, layer: Layer, kernels: PlainKernels) -> Array:
        """Means of the pre-activations, (outputs, samples)."""
        ...

    def send(self, layer: Layer, above: Message, kernels: PlainKernels, *, last: bool) -> Array | None:
        """Fill ``layer.H_in``, given g and Γ of the layer; return B for all inputs, None if they are data.

        Unless the iteration is the ``last`` of the batch, leave in ``layer.memory`` what the next one needs of it.
        """
        ...


def preactivation_variance(layer: Layer, kernels: PlainKernels) -> Array:
    """V = Σ_i [m²Δ + σ(x̂² + Δ)], (outputs, samples), at least the ``least_variance`` of the layer.

    For ±1 weights on all edges m² + σ = 1: a product and a sum replace two products, all terms stay positive and
    nothing cancels when the weights polarise.
    """
    delta = layer.x_variance
    if delta is None:
        V = kernels.times(layer.variance, np.square(layer.x_mean))
    elif layer.observed:
        V = kernels.times(layer.squares, delta)
    elif layer.plan.full_spins:
        V = kernels.times(layer.variance, np.square(layer.x_mean))
        V += delta.sum(axis=0)
    else:
        V = kernels.times(np.square(layer.mean), delta)
        V += kernels.times(layer.variance, np.square(layer.x_mean) + delta)
    return np.maximum(V, layer.plan.least_variance, out=V)


def squared_mean_transposed(layer: Layer, gamma: Array, kernels: PlainKernels) -> Array:
    """Σ_k m²Γ, (inputs, samples); for ±1 weights on all edges m² = 1 - σ. For observed ones it is A itself."""
    if layer.observed:
        return kernels.times_transposed(layer.squares, gamma) if layer.A is None else layer.A
    if layer.plan.full_spins:
        return gamma.sum(axis=0) - kernels.times_transposed(layer.variance, gamma)
    return kernels.times_transposed(np.square(layer.mean), gamma)


def input_precision(layer: Layer, kernels: PlainKernels) -> Array | None:
    """A = Σ_k [(m² + σ)Γ - σg²], (inputs, samples); None where A is a constant or nothing is sent.

    Outputs far from what they should be send a negative precision, e^{-Ax²/2} would grow: it counts as none.
    """
    if layer.plan.is_first or layer.plan.spin_inputs:
        return None
    if layer.observed:
        A = kernels.times_transposed(layer.squares, layer.gamma)
        return np.maximum(A, 0.0, out=A)
    A = -kernels.times_transposed(layer.variance, np.square(layer.g))
    if layer.plan.full_spins:
        A += layer.gamma.sum(axis=0)
    else:
        A += kernels.times_transposed(np.square(layer.mean) + layer.variance, layer.gamma)
    return np.maximum(A, 0.0, out=A)


def weight_precision(layer: Layer, kernels: PlainKernels) -> Array | None:
    """G = Σ_n [(x̂² + Δ)Γ - Δg²], (outputs, inputs), at least 0 as A is; None for ±1 weights, where it is a constant."""
    if layer.G is None:
        return None
    G = np.empty_like(layer.G)
    second_moment = np.square(layer.x_mean)
    if layer.x_variance is not None:
        second_moment += layer.x_variance
    kernels.outer(layer.gamma, second_moment, G)
    if layer.x_variance is not None:
        kernels.outer(np.square(layer.g), layer.x_variance, layer.scratch)
        G -= layer.scratch
    return np.maximum(G, 0.0, out=G)
