"""Approximate message passing: BP's cavity means expanded to first order around full ones [DL App. A.6]."""

import numpy as np

from deepnet.kernels.plain import PlainKernels
from deepnet.state import Array, Layer, Message


class ApproximateMessagePassing:
    """Full quantities with Onsager terms that carry the time indices of the expansion.

    With ⁻ for the previous iteration (absent at the first one) and β the likelihood weight, which scales the message to
    the weights: x̂_{in→k} ≈ x̂ - m⁻g⁻Δ, m_{ki→n} ≈ m - βx̂⁻g⁻σ, g_{kn→i} ≈ g + m x̂ Γ. [DL eqs. 116, 118] drop the time
    indices, and have terms at the first iteration that must vanish; here they are kept. With damping and several
    iterations the corrections of the means are those of a fixed point, where past and present messages agree.
    """

    name = "amp"

    def omega(self, layer: Layer, kernels: PlainKernels) -> Array:
        """Σ m x̂ - βg⁻ Σ σ x̂ x̂⁻ - g⁻ Σ m m⁻ Δ + β(g⁻)² Σ σ m⁻ x̂⁻ Δ."""
        omega = layer.mean @ layer.x_mean
        if layer.memory is None:
            return omega
        x, m, g = layer.memory
        reaction = layer.beta * (layer.variance @ (layer.x_mean * x))
        if layer.x_variance is not None:
            reaction += (layer.mean * m) @ layer.x_variance
            reaction -= layer.beta * g * ((layer.variance * m) @ (x * layer.x_variance))
        return omega - g * reaction

    def send(self, layer: Layer, above: Message, kernels: PlainKernels, *, last: bool) -> Array | None:
        """B = Σ_k m g + x̂ Σ m²Γ - βx̂⁻ Σ g g⁻ σ - βx̂ x̂⁻ Σ σ m g⁻ Γ, and likewise H with W and x exchanged."""
        x, delta, m, g, gamma = layer.x_mean, layer.x_variance, layer.mean, layer.g, layer.gamma
        np.matmul(g, x.T, out=layer.H_in)
        layer.H_in += m * (gamma @ np.square(x).T)
        B = None if layer.plan.is_first else m.T @ g + x * (layer.mean_squared.T @ gamma)
        if layer.memory is not None:
            x_old, m_old, g_old = layer.memory
            if delta is not None:
                layer.H_in -= m_old * ((g * g_old) @ delta.T) + m * m_old * ((g_old * gamma) @ (delta * x).T)
            if B is not None:
                reaction = layer.variance.T @ (g * g_old) + x * ((layer.variance * m).T @ (g_old * gamma))
                B -= layer.beta * x_old * reaction
        layer.memory = None if last else (x, m.copy(), g)
        return B
