"""Approximate message passing: BP's cavity means expanded to first order around full ones [DL, App. A.6]."""

from factorgraph.dense.closures.common import Sent, curvature_to_inputs, curvature_to_weights
from factorgraph.dense.operations import Operations
from factorgraph.dense.state import Array, Layer, Message


class ApproximateMessagePassing:
    """Full quantities with Onsager terms that carry the time indices of the expansion.

    With ⁻ for the previous iteration (absent at the first one) and β the likelihood weight, which scales the message to
    the weights: x̂_{in→k} ≈ x̂ - m⁻g⁻Δ, m_{ki→n} ≈ m - βx̂⁻g⁻σ, g_{kn→i} ≈ g + m x̂ Γ. [DL, eqs. 116, 118] drop the time
    indices, and have terms at the first iteration that must vanish; here they are kept. With damping and several
    iterations the corrections of the means are those of a fixed point, where past and present messages agree.
    """

    name = "amp"
    edgewise = False
    products = 2
    onsager = 1.0

    def omega(self, layer: Layer, operations: Operations) -> Array:
        """Return Σ m x̂ - βg⁻ Σ σ x̂ x̂⁻ - g⁻ Σ m m⁻ Δ + β(g⁻)² Σ σ m⁻ x̂⁻ Δ."""
        omega = operations.times(layer.mean, layer.x_mean)
        if layer.memory is None:
            return omega
        # The three Onsager terms of [DL, eq. 98] have the common factor g⁻; data have no Δ.
        x, m, g = layer.memory
        reaction = layer.beta * operations.times(layer.variance, layer.x_mean * x)
        if layer.x_variance is not None:
            reaction += operations.times(layer.mean * m, layer.x_variance)
            reaction -= layer.beta * g * operations.times(layer.variance * m, x * layer.x_variance)
        return omega - g * reaction

    def send(self, layer: Layer, above: Message, operations: Operations, *, last: bool) -> Sent:
        """Return B = Σ_k m g + x̂ Σ m²Γ - βx̂⁻ Σ g g⁻ σ - βx̂ x̂⁻ Σ σ m g⁻ Γ, and likewise H with W and x exchanged."""
        x, delta, m, g, gamma = layer.x_mean, layer.x_variance, layer.mean, layer.g, layer.gamma
        # What is there at the first iteration already: Σ m g + x̂ Σ m²Γ, and for H_in Σ x̂ g + m Σ x̂²Γ.
        B = from_weights = None
        if not layer.plan.is_first:
            from_weights = curvature_to_inputs(layer, operations)
            B = operations.times_transposed(m, g) + x * from_weights
        operations.outer(g, x, layer.H_in)
        from_inputs = curvature_to_weights(layer, operations)
        operations.add_product(layer.H_in, m, from_inputs)
        # What the previous iteration adds.
        if layer.memory is not None:
            x_old, m_old, g_old = layer.memory
            if delta is not None:
                self._add_outer(layer, -m_old, g * g_old, delta, operations)
                self._add_outer(layer, -m * m_old, g_old * gamma, delta * x, operations)
            if B is not None:
                reaction = operations.times_transposed(layer.variance, g * g_old)
                reaction += x * operations.times_transposed(layer.variance * m, g_old * gamma)
                B -= layer.beta * x_old * reaction
        layer.memory = None if last else (x, m.copy(), g)
        return Sent(B, from_weights, from_inputs)

    @staticmethod
    def _add_outer(layer: Layer, weights: Array, units: Array, inputs: Array, operations: Operations) -> None:
        """H_in += weights · Σ_n units_kn inputs_in."""
        operations.outer(units, inputs, layer.scratch)
        operations.add_product(layer.H_in, weights, layer.scratch)
