"""What is measured of a network between epochs: errors, and what its weights are like."""

import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import entr

from deepnet.outputs import output_of
from deepnet.predict import conditional_entropy, error_percent, preactivations, predict_pointwise, predict_proba
from deepnet.scores import class_scores
from deepnet.state import EVALUATION, Network
from factorgraph.dense.state import Array


@dataclass(frozen=True)
class Evaluation:
    """Samples on which the errors are measured after every epoch."""

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array

    @classmethod
    def of(cls, x_train: Array, y_train: Array, x_test: Array, y_test: Array, *, seed: int) -> "Evaluation":
        """Return the whole test set and, of the training set, a fixed random 1/60: at least 1000 samples, or all if
        fewer.

        More would make the figures cost more than a tenth of the epoch that they are about.
        """
        size = min(len(x_train), max(1000, len(x_train) // 60))
        chosen = np.sort(np.random.default_rng([seed, EVALUATION]).choice(len(x_train), size, replace=False))
        return cls(x_train[chosen], y_train[chosen], x_test, y_test)


def class_probabilities(network: Network, x: Array) -> Array:
    """Return the probabilities of the classes, (samples, classes), with the weights averaged over their posterior
    if the network has one.

    Args:
        network: trained; its messages of the current batch are overwritten.
        x: inputs (samples, features).
    """
    layers, baseline = network.layers, network.config.baseline
    if baseline is not None and baseline.point:
        p = baseline.probabilities(preactivations(layers, x, network.operations))
    else:
        p = predict_proba(layers, x, network.operations)
    if p.shape[1] == 1:
        return np.concatenate([1.0 - p, p], axis=1)
    return p / p.sum(axis=1, keepdims=True)  # one quadrature a class: their sum is 1 to its accuracy only


@dataclass(frozen=True)
class Uncertainty:
    """How uncertain the labels of samples are, in nats.

    Attributes:
        entropy: of the probabilities (samples,).
        mutual_information: the part of it (samples,) that knowing the weights would remove. Where the output is a
            function of the sums into it, as a sign or the largest of several, that is all of it.
    """

    entropy: Array
    mutual_information: Array


def uncertainty(network: Network, x: Array) -> Uncertainty:
    """Return that of inputs (samples, features); as ``class_probabilities``."""
    entropy, baseline = entr(class_probabilities(network, x)).sum(axis=1), network.config.baseline
    if baseline is not None and baseline.point:
        return Uncertainty(entropy, np.zeros_like(entropy))
    return Uncertainty(entropy, entropy - conditional_entropy(network.layers, x, network.operations))


def measure(network: Network, x: Array, y: Array) -> dict[str, float]:
    """Return what is measured on samples: "error" and "bayes_error" in percent, and ``class_scores``."""
    output = output_of(network.layers[-1].plan)
    numbers, p = output.likeliest(y), class_probabilities(network, x)
    pointwise = output.numbers(predict_pointwise(network.layers, x, network.operations))
    errors = {"error": error_percent(pointwise, numbers), "bayes_error": error_percent(p.argmax(axis=1), numbers)}
    return errors | class_scores(p, numbers)


def metrics(network: Network, evaluation: Evaluation) -> dict[str, Any]:
    """Return errors in percent and scores, polarization and overlap of every layer."""
    values: dict[str, Any] = {"epoch": network.epoch}
    with contextlib.nullcontext() if network.device == "cpu" else network.operations.running():
        for name, x, y in (
            ("train", evaluation.x_train, evaluation.y_train),
            ("test", evaluation.x_test, evaluation.y_test),
        ):
            values |= named(name, measure(network, x, y))
    layers = network.layers if network.device == "cpu" else network.to("cpu").layers
    values["polarization"] = [layer.polarization() for layer in layers]
    values["overlap"] = [layer.overlap() for layer in layers]
    return values


def named(part: str, measured: dict[str, float]) -> dict[str, float]:
    """Return what was measured on a part of the data, "train" or "test", by the names that it has in ``metrics``."""
    return {
        f"bayes_{part}_error" if name == "bayes_error" else f"{part}_{name}": value for name, value in measured.items()
    }
