"""The operations of a sweep over the samples of one process, where the sums over samples are those of all processes.

Sums over samples are the messages to the weights, H_in and G_in, with the Onsager sums in them; what outputs learn of
their noise; and what a layer with a covariance measures. Everything else belongs to one sample, or to one weight, and
is computed by the operations of the device as they are.
"""

from functools import partial
from typing import Any, cast

import numpy as np

from deepnet.processes.communicator import ALONE, Communicator
from factorgraph.channels import Channel
from factorgraph.dense.layer_steps import send_step
from factorgraph.dense.operations import Backward, Forward, Operations, Step
from factorgraph.dense.state import Array, Layer, Message


def shared(operations: Operations, communicator: Communicator) -> Operations:
    """Return operations on the samples of this process whose sums are those of all; the same ones for one process."""
    return operations if communicator is ALONE else cast(Operations, SharedOperations(operations, communicator))


class SharedOperations:
    """The operations of a device, with sums over the samples of all processes.

    The methods are documented in ``factorgraph.dense.operations.Operations``; those that are not here are the device's.
    A process may have no samples at all, which no loop of a device needs to know.

    Args:
        operations: of the device.
        communicator: of the processes.
    """

    def __init__(self, operations: Operations, communicator: Communicator) -> None:
        self._operations, self._communicator = operations, communicator

    def __getattr__(self, name: str) -> Any:
        return getattr(self._operations, name)

    def total(self, values: Array) -> Array:
        self._communicator.begin_sum(values)()
        return values

    def everywhere(self, values: Array) -> Array:
        return self._operations.array(self._communicator.side_by_side(self._operations.host(values)))

    def require_finite(self, values: Array) -> None:
        """Nothing: what is no number makes the sums of all processes such, which all of them find there."""

    def moments(self, message: Message, omega: Array, V: Array) -> tuple[Array, Array]:
        return self._operations.moments(message, omega, V) if omega.size else (omega, V)

    def derivatives(self, message: Message, omega: Array, V: Array) -> tuple[Array, Array]:
        """As ``Operations.derivatives``; an argmax is asked for none as well: it may draw numbers for other samples."""
        none = not omega.size and isinstance(message.channel, Channel)
        return (omega, V) if none else self._operations.derivatives(message, omega, V)

    def forward(self, layer: Layer, *, last: bool, free_moments: bool) -> Forward:
        if layer.x_mean.size:
            return self._operations.forward(layer, last=last, free_moments=free_moments)
        nothing = np.empty_like(layer.x_mean, shape=(layer.plan.outputs, 0))
        return Forward(nothing, nothing)

    def update_weights(self, layer: Layer, step: Step) -> None:
        """Add up what is said to the weights, and renew them."""
        self._begin_update(layer, step)()

    def backward(self, layer: Layer, above: Message, step: Step, *, last: bool) -> Backward:
        """As ``Operations.backward``; the sums go on while the layers below compute, and ``finish`` waits for them."""
        if layer.x_mean.size:
            sent = send_step(self._operations, layer, above, last=last)
        else:
            sent = _nothing_sent(layer)
        return sent._replace(finish=self._begin_update(layer, step))

    def _begin_update(self, layer: Layer, step: Step) -> Any:
        """Begin the sums over the samples of all processes; return what renews the weights once they are there."""
        if layer.G_in is None:
            messages = layer.H_in
        else:
            messages = np.stack([layer.H_in, layer.G_in])  # as one: few long messages are faster than many short ones
        return partial(self._update, layer, step, messages, self._communicator.begin_sum(messages))

    def _update(self, layer: Layer, step: Step, messages: Array, wait: Any) -> None:
        wait()
        if layer.G_in is not None:
            layer.H_in[...], layer.G_in[...] = messages
        self._operations.require_finite(layer.H_in)
        self._operations.update_weights(layer, step)


def _nothing_sent(layer: Layer) -> Backward:
    """Return what no samples send."""
    layer.H_in[...] = 0
    if layer.G_in is not None:
        layer.G_in[...] = 0
    if layer.plan.is_first:
        return Backward(None)
    return Backward(layer.x_mean, None if layer.plan.spin_inputs else layer.x_mean)
