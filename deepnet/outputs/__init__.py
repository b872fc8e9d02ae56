"""What the outputs of a network mean, one kind a file: how labels enter, what is predicted, what a prediction costs.

A new kind is a file with a class and its place in ``KINDS``.
"""

from deepnet.layers import Plan
from deepnet.outputs.argmax import ArgmaxOutput
from deepnet.outputs.base import Output
from deepnet.outputs.channel import ChannelOutput
from deepnet.outputs.sign import SignOutput
from factorgraph.channels import Argmax, Channel

KINDS: tuple[type[Output], ...] = (SignOutput, ArgmaxOutput)

#: The channel of every output, by the name that settings give it.
OUTPUTS: dict[str, Channel | Argmax] = {name: channel for kind in KINDS for name, channel in kind.channels.items()}

#: The output that follows from the labels: the first of ``KINDS`` that serves them.
AUTO = "auto"


def output_of(plan: Plan) -> Output:
    """Return what the outputs of the last layer mean."""
    return output_kind(plan.channel)(plan.channel, plan.outputs)


def output_kind(channel: Channel | Argmax) -> type[Output]:
    """Return the class that says what a channel means as an output."""
    for kind in KINDS:
        if any(type(channel) is type(own) for own in kind.channels.values()):
            return kind
    return ChannelOutput


def units_for(name: str, classes: int) -> int:
    """Return the number of outputs of a network for so many classes; errors as for ``output_name``."""
    return output_kind(OUTPUTS[output_name(name, classes)]).units_for(classes)


def output_name(name: str, classes: int) -> str:
    """Return the name of an output for so many classes: for "auto" the first one that serves them.

    Raises:
        ValueError: the output does not serve so many classes.
    """
    if name == AUTO:
        return next(name for kind in KINDS if kind.serves(classes) for name in kind.channels)
    if not output_kind(OUTPUTS[name]).serves(classes):
        possible = [other for kind in KINDS if kind.serves(classes) for other in kind.channels]
        raise ValueError(f"`output` must be one of {possible} for {classes} classes, got {name!r}")
    return name
