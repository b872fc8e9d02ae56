"""What is measured of a network between epochs: errors, and what its weights are like."""

import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepnet.outputs import output_of
from deepnet.predict import predict_bayes, predict_pointwise
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
    """Return errors (see ``Output.error``), polarization and overlap of every layer."""
    values: dict[str, Any] = {"epoch": network.epoch}
    layers, operations = network.layers, network.operations
    output = output_of(layers[-1])
    with contextlib.nullcontext() if network.device == "cpu" else operations.running():
        for name, x, y in (
            ("train", evaluation.x_train, evaluation.y_train),
            ("test", evaluation.x_test, evaluation.y_test),
        ):
            for prefix, predict in (("", predict_pointwise), ("bayes_", predict_bayes)):
                if prefix and (baseline := network.config.baseline) is not None and baseline.point:
                    values[f"{prefix}{name}_error"] = values[f"{name}_error"]  # there is nothing to average over
                    continue
                values[f"{prefix}{name}_error"] = output.error(predict(layers, x, operations), y)
    if network.device != "cpu":
        layers = network.to("cpu").layers
    values["polarization"] = [layer.polarization() for layer in layers]
    values["overlap"] = [layer.overlap() for layer in layers]
    return values
