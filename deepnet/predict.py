"""Predictions: pointwise with the most probable weights, Bayesian with the output marginals of one forward pass."""

from collections.abc import Iterator, Sequence

import numpy as np

from deepnet.outputs import output_of
from deepnet.sweep import output_moments, with_constant_unit
from factorgraph.dense.numpy_operations import NumpyOperations
from factorgraph.dense.operations import Operations
from factorgraph.dense.state import Array, Layer
from factorgraph.interface.arguments import number_array

_HOST = NumpyOperations()

#: Samples in one forward pass: enough for full-speed products, small enough to stay in cache.
CHUNK = 1024


def most_probable_weights(layer: Layer) -> Array:
    """sign(m) for ±1 weights (+1 where m = 0), m for continuous ones; zero where there is no edge."""
    if not layer.plan.spin_weights:
        return layer.mean
    weights = np.where(layer.mean >= 0, layer.mean.dtype.type(1), layer.mean.dtype.type(-1))
    return weights if layer.plan.mask is None else weights * layer.plan.mask


def check_inputs(layers: Sequence[Layer], x: Array) -> Array:
    """Inputs for a network.

    Raises:
        ValueError: they are no real numbers, or not of shape (samples, features).
    """
    x, plan = number_array("x", x), layers[0].plan
    if x.ndim != 2 or x.shape[1] != plan.inputs - plan.bias:
        raise ValueError(f"`x` must be of shape (samples, {plan.inputs - plan.bias}), got shape {x.shape}")
    return x


def predict_pointwise(layers: Sequence[Layer], x: Array, operations: Operations = _HOST) -> Array:
    """Labels by the network with its most probable weights, which do not depend on the number of threads.

    A sum of inputs of which as many enter with +1 as with -1 is a tie where these are all alike, as pixels of a
    background are: it is 0, and the unit decides by its rule for 0, not by how the sum was rounded.

    Args:
        layers: a trained network.
        x: inputs (samples, features).
        operations: where the layers are.

    Returns:
        Class numbers (samples,) for an argmax output, ±1 in (samples, outputs) otherwise.
    """
    output = output_of(layers[-1].plan)
    return np.concatenate([output.pointwise(z) for z in _preactivations(layers, x, operations)])


def preactivations(layers: Sequence[Layer], x: Array, operations: Operations = _HOST) -> Array:
    """Scaled sums into the outputs, (samples, outputs), with the most probable weights: see ``predict_pointwise``."""
    return np.concatenate([z.T for z in _preactivations(layers, x, operations)])


def _preactivations(layers: Sequence[Layer], x: Array, operations: Operations) -> Iterator[Array]:
    """The same in pieces (outputs, samples), in host memory."""
    weights = [most_probable_weights(layer) for layer in layers]
    for units in _chunks(check_inputs(layers, x), operations):
        for layer, W in zip(layers, weights, strict=True):
            z = _sums(layer, W, with_constant_unit(layer.plan, units, 1))
            z *= layer.plan.scale
            units = z if layer is layers[-1] else layer.plan.channel(z)
        yield operations.host(units)


def predict_proba(layers: Sequence[Layer], x: Array, operations: Operations) -> Array:
    """Output marginals with the weights averaged over their posterior [DL §4.4], on any threads up to rounding.

    Args:
        layers: a trained network; its messages of the current batch are overwritten.
        x: inputs (samples, features).
        operations: where the layers are.

    Returns:
        (samples, classes) for an argmax output; P(y = +1) in (samples, outputs) otherwise.
    """
    x, output, probabilities = check_inputs(layers, x), output_of(layers[-1].plan), []
    for chunk in _chunks(x, operations):
        omega, V = (operations.host(values) for values in output_moments(layers, chunk, operations))
        probabilities.append(output.probabilities(omega, V))
    return np.concatenate(probabilities)


def predict_bayes(layers: Sequence[Layer], x: Array, operations: Operations) -> Array:
    """The most probable labels under ``predict_proba``, shaped as by ``predict_pointwise``."""
    x, output, labels = check_inputs(layers, x), output_of(layers[-1].plan), []
    for chunk in _chunks(x, operations):
        omega, V = (operations.host(values) for values in output_moments(layers, chunk, operations))
        labels.append(output.most_probable(omega, V))
    return np.concatenate(labels)


def _sums(layer: Layer, W: Array, x: Array) -> Array:
    """W @ x, 0 where nothing but rounding is left of the terms."""
    if layer.plan.spin_weights and layer.below is not None and layer.below.plan.channel.spin:
        return W @ x  # of integers: exact
    z = W.astype(np.float64) @ x.astype(np.float64)
    rounding = len(x) * np.finfo(np.float64).eps * np.abs(W).max() * np.abs(x).sum(axis=0, dtype=np.float64)
    z *= np.abs(z) > rounding
    return z.astype(x.dtype)


def error_percent(predicted: Array, y: Array) -> float:
    """Share of wrong labels, in percent."""
    return 100.0 * float(np.mean(predicted.reshape(y.shape) != y))


def _chunks(x: Array, operations: Operations) -> Iterator[Array]:
    """Contiguous (features, samples) pieces of ``x``, where the layers are."""
    for start in range(0, max(len(x), 1), CHUNK):
        yield operations.array(np.ascontiguousarray(x[start : start + CHUNK].T))
