"""Approximate message passing: BP's cavity means expanded to first order around full ones [DL App. A.6]."""

import numpy as np

from factorgraph.dense.closures.common import squared_mean_transposed
from factorgraph.dense.plain import PlainKernels
from factorgraph.dense.state import Array, Layer, Message


class ApproximateMessagePassing:
    """Full quantities with Onsager terms that carry the time indices of the expansion.

    With ⁻ for the previous iteration (absent at the first one) and β the likelihood weight, which scales the message to
    the weights: x̂_{in→k} ≈ x̂ - m⁻g⁻Δ, m_{ki→n} ≈ m - βx̂⁻g⁻σ, g_{kn→i} ≈ g + m x̂ Γ. [DL eqs. 116, 118] drop the time
    indices, and have terms at the first iteration that must vanish; here they are kept. With damping and several
    iterations the corrections of the means are those of a fixed point, where past and present messages agree.
    """

    name = "amp"
    own_share: float | None = 1.0

    def omega(self, layer: Layer, kernels: PlainKernels) -> Array:
        """Σ m x̂ - βg⁻ Σ σ x̂ x̂⁻ - g⁻ Σ m m⁻ Δ + β(g⁻)² Σ σ m⁻ x̂⁻ Δ; with σ = 0, m = m⁻ the second sum is V."""
        omega = kernels.times(layer.mean, layer.x_mean)
        if layer.memory is None:
            return omega
        if layer.observed:  # g is still that of the previous iteration
            return omega - layer.g * layer.V
        x, m, g = layer.memory
        reaction = layer.beta * kernels.times(layer.variance, layer.x_mean * x)
        if layer.x_variance is not None:
            reaction += kernels.times(layer.mean * m, layer.x_variance)
            reaction -= layer.beta * g * kernels.times(layer.variance * m, x * layer.x_variance)
        return omega - g * reaction

    def send(self, layer: Layer, above: Message, kernels: PlainKernels, *, last: bool) -> Array | None:
        """B = Σ_k m g + x̂ Σ m²Γ - βx̂⁻ Σ g g⁻ σ - βx̂ x̂⁻ Σ σ m g⁻ Γ, and likewise H with W and x exchanged."""
        x, delta, m, g, gamma = layer.x_mean, layer.x_variance, layer.mean, layer.g, layer.gamma
        B = None
        if not layer.plan.is_first:
            B = kernels.times_transposed(m, g) + x * squared_mean_transposed(layer, gamma, kernels)
        if layer.observed:
            layer.memory = None if last else True
            return B
        kernels.outer(g, x, layer.H_in)
        self._add_outer(layer, m, gamma, np.square(x), kernels)
        if layer.memory is not None:
            x_old, m_old, g_old = layer.memory
            if delta is not None:
                self._add_outer(layer, -m_old, g * g_old, delta, kernels)
                self._add_outer(layer, -m * m_old, g_old * gamma, delta * x, kernels)
            if B is not None:
                reaction = kernels.times_transposed(layer.variance, g * g_old)
                reaction += x * kernels.times_transposed(layer.variance * m, g_old * gamma)
                B -= layer.beta * x_old * reaction
        layer.memory = None if last else (x, m.copy(), g)
        return B

    @staticmethod
    def _add_outer(layer: Layer, weights: Array, units: Array, inputs: Array, kernels: PlainKernels) -> None:
        """H_in += weights · Σ_n units_kn inputs_in."""
        kernels.outer(units, inputs, layer.scratch)
        kernels.add_product(layer.H_in, weights, layer.scratch)
