"""The steps of one layer by the equations of its closure, product by product, with any ``Operations``."""

from factorgraph.dense.closures import CLOSURES
from factorgraph.dense.closures.common import input_precision, preactivation_variance, set_weight_precision
from factorgraph.dense.operations import Backward, Forward, Operations, Step
from factorgraph.dense.state import Layer, Message


def forward_step(operations: Operations, layer: Layer) -> Forward:
    """Return mean and variance of the pre-activations."""
    omega = CLOSURES[layer.plan.closure].omega(layer, operations)
    return Forward(omega, preactivation_variance(layer, operations))


def backward_step(operations: Operations, layer: Layer, above: Message, step: Step, *, last: bool) -> Backward:
    """Return the messages to the inputs; those to the weights, and the new weights, go to the layer."""
    sent = send_step(operations, layer, above, last=last)
    operations.update_weights(layer, step)
    return sent


def send_step(operations: Operations, layer: Layer, above: Message, *, last: bool) -> Backward:
    """Return the messages to the inputs; those to the weights go to the layer, whose weights stay as they are."""
    sent = CLOSURES[layer.plan.closure].send(layer, above, operations, last=last)
    set_weight_precision(layer, operations, sent.curvature_weights)
    return Backward(sent.B, input_precision(layer, operations, sent.curvature_inputs))
