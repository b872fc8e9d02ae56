"""What the outputs of a network mean, one kind a file: how labels enter, what is predicted, what a prediction costs.

A new kind is a file with a class and its place in ``KINDS``.
"""

from collections.abc import Callable
from typing import Any

from deepnet.layers import Layer
from deepnet.outputs.argmax import ArgmaxOutput
from deepnet.outputs.base import Output
from deepnet.outputs.channel import ChannelOutput
from deepnet.outputs.gaussian import GaussianOutput
from deepnet.outputs.logistic import LogisticOutput
from deepnet.outputs.poisson import PoissonOutput
from deepnet.outputs.probit import ArgmaxProbitOutput, ProbitOutput
from deepnet.outputs.sign import SignOutput
from deepnet.outputs.softmax import SoftmaxOutput
from factorgraph.channels import Argmax, Channel
from factorgraph.dense.state import Array

KINDS: tuple[type[Output], ...] = (
    SignOutput,
    ArgmaxOutput,
    LogisticOutput,
    SoftmaxOutput,
    ProbitOutput,
    ArgmaxProbitOutput,
    GaussianOutput,
    PoissonOutput,
)

#: The channel of every output, by the name that settings give it.
OUTPUTS: dict[str, Channel | Argmax] = {name: channel for kind in KINDS for name, channel in kind.channels.items()}

#: The output that follows from the labels: the first of ``KINDS`` that serves them.
AUTO = "auto"


def classifying() -> tuple[str, ...]:
    """Return the names of the outputs that serve classes."""
    return tuple(name for kind in KINDS if not kind.numeric for name in kind.channels)


def numeric() -> tuple[str, ...]:
    """Return the names of the outputs of numbers."""
    return tuple(name for kind in KINDS if kind.numeric for name in kind.channels)


def output_of(layer: Layer, host: Callable[[Array], Array] | None = None) -> Output:
    """Return what the outputs of the last layer mean.

    Args:
        layer: the last one.
        host: how its arrays come into host memory; None for an output that is where the layer is.
    """
    kind, state = output_kind(layer.plan.channel), layer.state()
    learnt = {name: state[name] if host is None else host(state[name]) for name in kind.learnt if name in state}
    return kind(layer.plan.channel, layer.plan.outputs, learnt)


def output_kind(channel: Channel | Argmax) -> type[Output]:
    """Return the class that says what a channel means as an output."""
    for kind in KINDS:
        if kind.has(channel):
            return kind
    return ChannelOutput


def kind_named(name: str) -> type[Output]:
    """Return the class of an output by one of the names in ``OUTPUTS``."""
    return next(kind for kind in KINDS if name in kind.channels)


def output_channel(name: str, classes: int, **settings: Any) -> Channel | Argmax:
    """Return the channel of an output for so many classes, with the settings of its own; errors as of
    ``output_name``."""
    name = output_name(name, classes)
    return kind_named(name).configured(OUTPUTS[name], **settings)


def units_for(name: str, classes: int) -> int:
    """Return the number of outputs of a network for so many classes; errors as for ``output_name``."""
    return kind_named(output_name(name, classes)).units_for(classes)


def output_name(name: str, classes: int) -> str:
    """Return the name of an output for so many classes: for "auto" the first one that serves them.

    Raises:
        ValueError: the output does not serve so many classes.
    """
    if name == AUTO:
        return next(name for kind in KINDS if kind.serves(classes) for name in kind.channels)
    if not kind_named(name).serves(classes):
        possible = [other for kind in KINDS if kind.serves(classes) and not kind.numeric for other in kind.channels]
        raise ValueError(f"`output` must be one of {possible} for {classes} classes, got {name!r}")
    return name
