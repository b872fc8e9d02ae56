"""Mean field: full quantities everywhere [DL App. A.5]."""

from factorgraph.dense.plain import PlainKernels
from factorgraph.dense.state import Array, Layer, Message


class MeanField:
    """m, x̂ and g are full: omega = Σ m x̂, B = Σ m g, H = Σ x̂ g."""

    name = "mf"
    own_share: float | None = 0.0

    def omega(self, layer: Layer, kernels: PlainKernels) -> Array:
        """[DL eq. 89]."""
        return kernels.times(layer.mean, layer.x_mean)

    def send(self, layer: Layer, above: Message, kernels: PlainKernels, *, last: bool) -> Array | None:
        """[DL eqs. 93, 95]."""
        if not layer.observed:
            kernels.outer(layer.g, layer.x_mean, layer.H_in)
        return None if layer.plan.is_first else kernels.times_transposed(layer.mean, layer.g)
