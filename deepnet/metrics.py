"""What is measured of a network between epochs: errors, and what its weights are like."""

import contextlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import entr

from deepnet.outputs import output_of
from deepnet.predict import (
    conditional_entropy,
    error_percent,
    output_marginals,
    preactivations,
    predict_pointwise,
    predict_proba,
    predictive,
)
from deepnet.scores import class_scores, coverage
from deepnet.state import EVALUATION, Network
from factorgraph.dense.state import Array


@dataclass(frozen=True)
class Evaluation:
    """Samples on which the errors are measured after every epoch.

    Attributes:
        x_train, y_train, x_test, y_test: inputs (samples, features), labels or numbers.
        unit: what errors of numbers are multiplied by: 1 on the scale of the network.
    """

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array
    unit: float = 1.0

    @classmethod
    def of(
        cls, x_train: Array, y_train: Array, x_test: Array, y_test: Array, *, seed: int, unit: float = 1.0
    ) -> "Evaluation":
        """Return the whole test set and, of the training set, a fixed random 1/60: at least 1000 samples, or all if
        fewer.

        More would make the figures cost more than a tenth of the epoch that they are about.
        """
        size = min(len(x_train), max(1000, len(x_train) // 60))
        chosen = np.sort(np.random.default_rng([seed, EVALUATION]).choice(len(x_train), size, replace=False))
        return cls(x_train[chosen], y_train[chosen], x_test, y_test, unit)


def class_probabilities(network: Network, x: Array, calibration: float = 1.0) -> Array:
    """Return the probabilities of the classes, (samples, classes), with the weights averaged over their posterior
    if the network has one.

    Args:
        network: trained; its messages of the current batch are overwritten.
        x: inputs (samples, features).
        calibration: as of ``predict_proba``.
    """
    layers, baseline = network.layers, network.config.baseline
    if baseline is not None and baseline.point:
        p = baseline.probabilities(preactivations(layers, x, network.operations) / calibration)
    else:
        p = predict_proba(layers, x, network.operations, calibration)
    if p.shape[1] == 1:
        return np.concatenate([1.0 - p, p], axis=1)
    return p / p.sum(axis=1, keepdims=True)  # one quadrature a class: their sum is 1 to its accuracy only


def means_and_deviations(network: Network, x: Array) -> tuple[Array, Array]:
    """Return both of the first number of every sample, (samples,) each, on the scale of the network.

    Args:
        network: trained, with an output of numbers; its messages of the current batch are overwritten.
        x: inputs (samples, features).
    """
    law = predictive(network.layers, x, network.operations)
    return law.mean[:, 0], law.deviation[:, 0]


class Uncertainty(NamedTuple):
    """The two parts of an uncertainty: ``aleatoric`` stays however much is learnt, ``epistemic`` does not.

    Of labels, in nats: their mean entropy once the weights are known, and the mutual information of labels and weights.
    Where the output is a function of the sums into it, as a sign or the largest of several, all of it is epistemic.
    Of numbers likewise, under normal laws of their variances; or these variances themselves.
    """

    aleatoric: Array
    epistemic: Array

    @property
    def total(self) -> Array:
        """The sum of both, of labels the entropy of their probabilities."""
        return self.aleatoric + self.epistemic


def uncertainty(network: Network, x: Array) -> Uncertainty:
    """Return that of the labels or numbers of inputs (samples, features), in nats; as ``class_probabilities``."""
    if output_of(network.layers[-1]).numeric:
        law = predictive(network.layers, x, network.operations)
        noise, known = np.log(2.0 * np.pi * np.e * law.aleatoric), np.log1p(law.epistemic / law.aleatoric)
        return Uncertainty(0.5 * noise.sum(axis=1), 0.5 * known.sum(axis=1))
    total, baseline = entr(class_probabilities(network, x)).sum(axis=1), network.config.baseline
    if baseline is not None and baseline.point:
        return Uncertainty(total, np.zeros_like(total))
    aleatoric = np.minimum(conditional_entropy(network.layers, x, network.operations), total)
    return Uncertainty(aleatoric, total - aleatoric)


def measure(network: Network, x: Array, y: Array, unit: float = 1.0) -> dict[str, float]:
    """Return what is measured on samples, of which every process that trains the network predicts its part.

    Args:
        network: trained; its messages of the current batch are overwritten.
        x: inputs (samples, features).
        y: labels or numbers.
        unit: as of ``Evaluation``.

    Returns:
        "error" and "bayes_error", see ``Output.error``; and scores, see ``deepnet.scores.measures``.
    """
    layers, operations, communicator = network.layers, network.operations, network.communicator
    output = output_of(layers[-1], operations.host)
    with contextlib.nullcontext() if network.device == "cpu" else operations.running():
        pointwise = communicator.predicted(lambda own: predict_pointwise(layers, own, operations), x)
        if output.numeric:
            moments = communicator.predicted(lambda own: np.stack(output_marginals(layers, own, operations)).T, x).T
            law = output.predictive(*moments)
            loss = output.loss(output.encode(y, moments.dtype), *moments)
            return {
                "error": unit * output.error(pointwise, y),
                "bayes_error": unit * output.error(law.mean, y),
                "log_likelihood": -loss - float(np.log(unit)),
                "coverage": coverage(law.mean, law.deviation, y.reshape(law.mean.shape)),
            }
        numbers = output.likeliest(y)
        p = communicator.predicted(lambda own: class_probabilities(network, own), x)
    errors = {
        "error": error_percent(output.numbers(pointwise), numbers),
        "bayes_error": error_percent(p.argmax(axis=1), numbers),
    }
    return errors | class_scores(p, numbers)


def metrics(network: Network, evaluation: Evaluation) -> dict[str, Any]:
    """Return errors and scores (see ``measure``), polarisation and overlap of every layer."""
    values: dict[str, Any] = {"epoch": network.epoch}
    for name, x, y in (
        ("train", evaluation.x_train, evaluation.y_train),
        ("test", evaluation.x_test, evaluation.y_test),
    ):
        values |= named(name, measure(network, x, y, evaluation.unit))
    layers = network.layers if network.device == "cpu" else network.to("cpu").layers
    values["polarization"] = [layer.polarization() for layer in layers]
    values["overlap"] = [layer.overlap() for layer in layers]
    return values


def named(part: str, measured: dict[str, float]) -> dict[str, float]:
    """Return what was measured on a part of the data, "train" or "test", by the names that it has in ``metrics``."""
    return {
        f"bayes_{part}_error" if name == "bayes_error" else f"{part}_{name}": value for name, value in measured.items()
    }
