"""Predictions: pointwise with the most probable weights, Bayesian with the output marginals of one forward pass."""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.special import ndtr

from deepnet.kernels import PlainKernels
from deepnet.sweep import output_moments, with_constant_unit
from factorgraph.arguments import number_array
from factorgraph.channels import Argmax
from factorgraph.dense.state import Array, Layer

_HOST = PlainKernels()

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


def predict_pointwise(layers: Sequence[Layer], x: Array, kernels: PlainKernels = _HOST) -> Array:
    """Labels by the network with its most probable weights.

    Args:
        layers: a trained network.
        x: inputs (samples, features).
        kernels: who knows where the arrays of the layers are.

    Returns:
        Class numbers (samples,) for an argmax output, ±1 in (samples, outputs) otherwise.
    """
    weights = [most_probable_weights(layer) for layer in layers]
    x, labels = check_inputs(layers, x), []
    for units in _chunks(x, kernels):
        for layer, W in zip(layers, weights, strict=True):
            z = W @ with_constant_unit(layer.plan, units, 1)
            z *= layer.plan.scale
            units = layer.plan.channel(z)
        labels.append(kernels.host(units).T)
    return np.concatenate(labels)


def predict_proba(layers: Sequence[Layer], x: Array, kernels: PlainKernels) -> Array:
    """Output marginals with the weights averaged over their posterior [DL §4.4].

    Args:
        layers: a trained network; its messages of the current batch are overwritten.
        x: inputs (samples, features).
        kernels: who computes the elementwise parts.

    Returns:
        (samples, classes) for an argmax output; P(y = +1) in (samples, outputs) otherwise.
    """
    x, output, probabilities = check_inputs(layers, x), layers[-1].plan, []
    for chunk in _chunks(x, kernels):
        omega, V = (kernels.host(values) for values in output_moments(layers, chunk, kernels))
        if isinstance(output.channel, Argmax):
            probabilities.append(output.channel.probabilities(omega=omega, V=V).T)
        else:
            probabilities.append(ndtr(omega / np.sqrt(V)).T)
    return np.concatenate(probabilities)


def predict_bayes(layers: Sequence[Layer], x: Array, kernels: PlainKernels) -> Array:
    """The most probable labels under ``predict_proba``, shaped as by ``predict_pointwise``."""
    x, channel, labels = check_inputs(layers, x), layers[-1].plan.channel, []
    for chunk in _chunks(x, kernels):
        omega, V = (kernels.host(values) for values in output_moments(layers, chunk, kernels))
        if isinstance(channel, Argmax):
            labels.append(channel.most_probable(omega=omega, V=V))
        else:
            labels.append(channel(omega).T)
    return np.concatenate(labels)


def error_percent(predicted: Array, y: Array) -> float:
    """Share of wrong labels, in percent."""
    return 100.0 * float(np.mean(predicted.reshape(y.shape) != y))


def _chunks(x: Array, kernels: PlainKernels) -> Iterator[Array]:
    """Contiguous (features, samples) pieces of ``x``, where the kernels compute."""
    for start in range(0, max(len(x), 1), CHUNK):
        yield kernels.array(np.ascontiguousarray(x[start : start + CHUNK].T))
