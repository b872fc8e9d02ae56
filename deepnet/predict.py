"""Predictions: pointwise with the most probable weights, Bayesian with the output marginals of one forward pass."""

from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np

from deepnet.data.mapped import MappedInputs
from deepnet.layers import Layer
from deepnet.outputs import output_of
from deepnet.outputs.base import Predictive
from deepnet.sweep import output_moments
from factorgraph.channels import Channel
from factorgraph.dense.numpy_operations import NumpyOperations
from factorgraph.dense.operations import Operations
from factorgraph.dense.state import Array
from factorgraph.interface.arguments import number_array

_HOST = NumpyOperations()

#: Samples in one forward pass: enough for full-speed products, small enough to stay in cache.
CHUNK = 1024


def check_inputs(layers: Sequence[Layer], x: Array) -> Array:
    """Return inputs for a network, in floating point: integers, such as pixels, and flags in float64.

    Raises:
        ValueError: they are no real numbers, or not of shape (samples, features).
    """
    features = layers[0].plan.features
    if not isinstance(x, MappedInputs):
        x = number_array("x", x)
    if x.ndim != 2 or x.shape[1] != features:
        raise ValueError(f"`x` must be of shape (samples, {features}), got shape {x.shape}")
    return x if x.dtype.kind == "f" else x.astype(np.float64)


def predict_pointwise(layers: Sequence[Layer], x: Array, operations: Operations = _HOST) -> Array:
    """Return labels by the network with its most probable weights, which do not depend on the number of threads.

    Args:
        layers: a trained network.
        x: inputs (samples, features).
        operations: where the layers are.

    Returns:
        Class numbers (samples,) for an argmax output, (samples, outputs) otherwise: ±1, or means of numbers.
    """
    output = output_of(layers[-1], operations.host)
    return np.concatenate([output.pointwise(z) for z in _outputs(layers, x, operations)])


def preactivations(layers: Sequence[Layer], x: Array, operations: Operations = _HOST) -> Array:
    """Return scaled sums into the outputs, (samples, outputs), with the most probable weights: see
    ``predict_pointwise``."""
    return np.concatenate([z.T for z in _outputs(layers, x, operations)])


def _outputs(layers: Sequence[Layer], x: Array, operations: Operations) -> Iterator[Array]:
    """Yield the same in pieces (outputs, samples), in host memory."""
    sums = [layer.most_probable() for layer in layers]
    for units in _chunks(check_inputs(layers, x), operations):
        z = sums[0](units)
        for below, layer_above in zip(layers, sums[1:], strict=False):
            channel = cast(Channel, below.plan.channel)
            units = channel(z) if channel.on_gpu else operations.array(channel(operations.host(z)))
            z = layer_above(units)
        yield operations.host(z)


def predict_proba(layers: Sequence[Layer], x: Array, operations: Operations, calibration: float = 1.0) -> Array:
    """Return output marginals with the weights averaged over their posterior [DL, §4.4], on any threads up to rounding.

    Args:
        layers: a trained network; its messages of the current batch are overwritten.
        x: inputs (samples, features).
        operations: where the layers are.
        calibration: what the means of the pre-activations of the outputs are divided by: below 1 probabilities are
            sharper, above 1 nearer to each other.

    Returns:
        (samples, classes) for an argmax output; P(y = +1) in (samples, outputs) otherwise.
    """
    output = output_of(layers[-1], operations.host)
    parts = _output_moments(layers, x, operations)
    return np.concatenate([output.probabilities(omega / calibration, V) for omega, V in parts])


def conditional_entropy(layers: Sequence[Layer], x: Array, operations: Operations) -> Array:
    """Return the mean entropy of the label for known weights, (samples,): see ``Output.conditional_entropy``."""
    output = output_of(layers[-1], operations.host)
    return np.concatenate([output.conditional_entropy(*each) for each in _output_moments(layers, x, operations)])


def predictive(layers: Sequence[Layer], x: Array, operations: Operations) -> Predictive:
    """Return the law of the targets of an output of numbers, with the weights averaged over their posterior.

    Args:
        layers: a trained network; its messages of the current batch are overwritten.
        x: inputs (samples, features).
        operations: where the layers are.
    """
    output = output_of(layers[-1], operations.host)
    parts = [output.predictive(*moments) for moments in _output_moments(layers, x, operations)]
    return Predictive(*map(np.concatenate, zip(*parts, strict=True)))


def predict_bayes(layers: Sequence[Layer], x: Array, operations: Operations) -> Array:
    """Return the most probable labels under ``predict_proba``, shaped as by ``predict_pointwise``."""
    output = output_of(layers[-1], operations.host)
    return np.concatenate([output.most_probable(*moments) for moments in _output_moments(layers, x, operations)])


def log_loss(layers: Sequence[Layer], x: Array, y: Array, operations: Operations) -> float:
    """Return the mean of -log P(y | x), with the weights averaged over their posterior: what ``predict_proba`` says of
    labels.

    Args:
        layers: a trained network; its messages of the current batch are overwritten.
        x: inputs (samples, features).
        y: labels (samples,), ±1 or 0..classes-1; or soft targets p, probabilities (samples, classes), whose P(y | x) is
            Σ_c p_c P(c | x); or numbers (samples, outputs), and the mean is over the outputs too.
        operations: where the layers are.

    Raises:
        ValueError: an argument is not as described.
    """
    return -float(np.mean(log_likelihood(layers, x, y, operations)))


def log_likelihood(layers: Sequence[Layer], x: Array, y: Array, operations: Operations) -> Array:
    """Return log P(y | x) of every sample, with the samples last; arguments and errors as of ``log_loss``."""
    x, y, output = check_inputs(layers, x), number_array("y", y), output_of(layers[-1], operations.host)
    if not len(x):
        raise ValueError("`x` must have at least one sample, got none")
    output.check(y, len(x))
    found = []
    for start, (omega, V) in zip(range(0, len(x), CHUNK), _output_moments(layers, x, operations), strict=True):
        seen = output.encode(y[start : start + CHUNK], omega.dtype)
        found.append(output.log_likelihood(seen, omega, V))
    return np.concatenate(found, axis=-1)


def calibrate_noise(layers: Sequence[Layer], x: Array, y: Array, operations: Operations) -> None:
    """Set the learnt noise of a Gaussian output to the one under which targets are the most probable.

    Args:
        layers: a trained network; its messages of the current batch are overwritten.
        x: inputs (samples, features) that it has not seen.
        y: numbers (samples, outputs).
        operations: where the layers are, in host memory.
    """
    output = output_of(layers[-1])
    omega, V = output_marginals(layers, x, operations)
    output.calibrate(output.encode(y, omega.dtype), omega, V)


def output_marginals(layers: Sequence[Layer], x: Array, operations: Operations) -> tuple[Array, Array]:
    """Return means and variances (outputs, samples) of the outputs' pre-activations, in host memory.

    Args:
        layers: a trained network; its messages of the current batch are overwritten.
        x: inputs (samples, features).
        operations: where the layers are.
    """
    omega, V = zip(*_output_moments(layers, x, operations), strict=True)
    return np.concatenate(omega, axis=1), np.concatenate(V, axis=1)


def _output_moments(layers: Sequence[Layer], x: Array, operations: Operations) -> Iterator[tuple[Array, Array]]:
    """Yield means and variances (outputs, samples) of the outputs' pre-activations, chunk by chunk, on the host.

    They are computed in the floating type of the network.
    """
    dtype = next((state.dtype for layer in layers for state in layer.state().values()), None)
    x = check_inputs(layers, x)
    for chunk in _chunks(x if dtype is None else x.astype(dtype, copy=False), operations):
        omega, V = output_moments(layers, chunk, operations)
        yield operations.host(omega), operations.host(V)


def error_percent(predicted: Array, y: Array) -> float:
    """Return the share of wrong labels, in percent."""
    return 100.0 * float(np.mean(predicted.reshape(y.shape) != y))


def _chunks(x: Array, operations: Operations) -> Iterator[Array]:
    """Yield contiguous (features, samples) pieces of ``x``, where the layers are."""
    for start in range(0, max(len(x), 1), CHUNK):
        yield operations.array(np.ascontiguousarray(np.asarray(x[start : start + CHUNK]).T))
