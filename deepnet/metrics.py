"""What is measured of a network between epochs: errors, and what its weights are like."""

import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepnet.outputs import output_of
from deepnet.predict import error_percent, predict_bayes, predict_pointwise
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


def metrics(network: Network, evaluation: Evaluation) -> dict[str, Any]:
    """Return errors in percent, polarization and overlap of every layer."""
    values: dict[str, Any] = {"epoch": network.epoch}
    for name, x, y in (
        ("train", evaluation.x_train, evaluation.y_train),
        ("test", evaluation.x_test, evaluation.y_test),
    ):
        values[f"{name}_error"], values[f"bayes_{name}_error"] = errors(network, x, y)
    layers = network.layers if network.device == "cpu" else network.to("cpu").layers
    values["polarization"] = [layer.polarization() for layer in layers]
    values["overlap"] = [layer.overlap() for layer in layers]
    return values


def errors(network: Network, x: Array, y: Array) -> tuple[float, float]:
    """Return the errors in percent on some samples, of the pointwise and of the Bayesian prediction."""
    layers, operations = network.layers, network.operations
    output, baseline = output_of(layers[-1].plan), network.config.baseline
    numbers = output.likeliest(y)
    with contextlib.nullcontext() if network.device == "cpu" else operations.running():
        pointwise = error_percent(output.numbers(predict_pointwise(layers, x, operations)), numbers)
        if baseline is not None and baseline.point:
            return pointwise, pointwise  # there is nothing to average over
        return pointwise, error_percent(output.numbers(predict_bayes(layers, x, operations)), numbers)
