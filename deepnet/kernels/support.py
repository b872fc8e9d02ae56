"""Which layers and units the compiled loops serve: decided here alone, for processors and GPUs."""

from typing import cast

import numpy as np

from factorgraph.channels import Argmax, ReLU, Sign
from factorgraph.dense.state import Array, Layer, LayerPlan, Message
from factorgraph.priors import Gaussian

#: Closures that the fused loops compute, and whether with the reaction terms of AMP.
REACTIONS = {"mf": False, "amp": True}

#: B of an observed ±1 unit, up to sign: the weight e^{-2|B|} of the other value is zero.
_OBSERVED = np.float32(1e30)


def supports_sign_units(message: Message, omega: Array) -> bool:
    """Return whether these are whole layers of sign units in float32; blocks of edges have three axes."""
    return isinstance(message.channel, Sign) and _whole(message, omega)


def supports_relu_units(message: Message, omega: Array) -> bool:
    """Return whether these are whole hidden layers of ReLU units in float32."""
    return isinstance(message.channel, ReLU) and message.y is None and _whole(message, omega)


def _whole(message: Message, omega: Array) -> bool:
    per_edge = omega.ndim > 2 or (message.B is not None and message.B.ndim > 2)
    return omega.dtype == np.float32 and not per_edge


def supports_gaussian_weights(layer: Layer) -> bool:
    """Return whether these are continuous weights with a Gaussian prior in float32."""
    return isinstance(layer.plan.prior, Gaussian) and layer.H.dtype == np.float32


def supports_argmax(message: Message, omega: Array) -> bool:
    """Return whether these are labels of an argmax, in the form and the precision that the loops have."""
    channel, hard = message.channel, message.y is not None and message.y.ndim == 1
    return isinstance(channel, Argmax) and channel.form == "double_jensen" and hard and omega.dtype == np.float32


def noisy(message: Message, V: Array) -> Array:
    """Return the variances of pre-activations with the noise of an argmax output."""
    noise = cast(Argmax, message.channel).noise
    return V + noise / message.scale**2 if noise else V


def supports_fusing(plan: LayerPlan, dtype: np.dtype) -> bool:
    """Return whether a layer may be fused at all: ±1 weights, sign inputs or data, float32, and a closure of
    ``REACTIONS``."""
    spins = plan.spin_weights and (plan.is_first or plan.spin_inputs)
    return spins and dtype == np.float32 and plan.closure in REACTIONS


def fuses_iteration(layer: Layer, *, last: bool) -> bool:
    """Return whether no other iteration takes part in this one: the fused loops keep nothing for AMP's reaction
    terms."""
    return not REACTIONS[layer.plan.closure] or (layer.memory is None and last)


def fields(message: Message) -> Array:
    """Return B of sign units, huge where they are observed."""
    if message.y is not None:
        return np.where(message.y > 0, _OBSERVED, -_OBSERVED)
    assert message.B is not None
    return message.B
