"""What is measured of a network between epochs: errors, and what its weights are like."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from deepnet.average import mean, mixture, mixture_loss, most_probable, probabilities_of, votes
from deepnet.ensemble import Trained
from deepnet.outputs import output_of
from deepnet.predict import error_percent, output_marginals
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


def measure(network: Trained, x: Array, y: Array, unit: float = 1.0) -> dict[str, float]:
    """Return what is measured on samples, of which every process that trains the network predicts its part.

    Args:
        network: trained; its messages of the current batch are overwritten.
        x: inputs (samples, features).
        y: labels or numbers.
        unit: as of ``Evaluation``.

    Returns:
        "error" and "bayes_error", see ``Output.error``; of an ensemble also the means of both over its members,
        "member_error" and "bayes_member_error"; and scores, see ``deepnet.scores.measures``.
    """
    numeric = output_of(network.members[0].layers[-1]).numeric
    with contextlib.nullcontext() if network.device == "cpu" else network.operations.running():
        return _measure_numbers(network, x, y, unit) if numeric else _measure_labels(network, x, y)


def _measure_labels(network: Trained, x: Array, y: Array) -> dict[str, float]:
    members, predicted = network.members, network.communicator.predicted
    output = output_of(members[0].layers[-1])
    points = [predicted(partial(most_probable, member), x) for member in members]
    laws = [predicted(partial(probabilities_of, member), x) for member in members]
    p, numbers = mean(laws), output.likeliest(y)
    whole = votes(points, output.classes), p.argmax(axis=1)
    each = [(own, law.argmax(axis=1)) for own, law in zip(points, laws, strict=True)]
    return _errors(whole, each, lambda found: error_percent(found, numbers)) | class_scores(p, numbers)


def _measure_numbers(network: Trained, x: Array, y: Array, unit: float) -> dict[str, float]:
    members, predicted = network.members, network.communicator.predicted
    points = [predicted(partial(most_probable, member), x) for member in members]
    laws, log_likelihoods = [], []
    for member in members:
        output = output_of(member.layers[-1], member.operations.host)
        moments = predicted(partial(_moments, member), x).T
        laws.append(output.predictive(*moments))
        log_likelihoods.append(output.log_likelihood(output.encode(y, moments.dtype), *moments))
    law, output = mixture(laws), output_of(members[0].layers[-1])
    each = [(own, one.mean) for own, one in zip(points, laws, strict=True)]
    return {
        **_errors((mean(points), law.mean), each, lambda found: unit * output.error(found, y)),
        "log_likelihood": -mixture_loss(log_likelihoods) - float(np.log(unit)),
        "coverage": coverage(law.mean, law.deviation, y.reshape(law.mean.shape)),
    }


def _moments(network: Network, x: Array) -> Array:
    """Return means and variances of the outputs' pre-activations, (samples, outputs, 2)."""
    return np.stack(output_marginals(network.layers, x, network.operations)).T


def _errors(
    whole: tuple[Array, Array], each: Sequence[tuple[Array, Array]], error: Callable[[Array], float]
) -> dict[str, float]:
    """Return the errors of what is predicted, pointwise and Bayesian, and the means of those of several members."""
    names = ("error", "bayes_error")
    found = {name: error(own) for name, own in zip(names, whole, strict=True)}
    if len(each) > 1:
        for kind, name in enumerate(("member_error", "bayes_member_error")):
            found[name] = float(np.mean([error(own[kind]) for own in each]))
    return found


def metrics(network: Trained, evaluation: Evaluation) -> dict[str, Any]:
    """Return errors and scores (see ``measure``), polarisation and overlap of every layer."""
    values: dict[str, Any] = {"epoch": network.epoch}
    for name, x, y in (
        ("train", evaluation.x_train, evaluation.y_train),
        ("test", evaluation.x_test, evaluation.y_test),
    ):
        values |= named(name, measure(network, x, y, evaluation.unit))
    each = [network.to("cpu").layers for network in network.members]
    values["polarization"] = _over_members([[layer.polarization() for layer in layers] for layers in each])
    values["overlap"] = _over_members([[layer.overlap() for layer in layers] for layers in each])
    return values


def _over_members(values: Sequence[Sequence[float]]) -> list[float]:
    """Return the means over the members of a number of every layer."""
    return np.mean(values, axis=0).tolist()


def named(part: str, measured: dict[str, float]) -> dict[str, float]:
    """Return what was measured on a part of the data, "train" or "test", by the names that it has in ``metrics``."""
    return {
        f"bayes_{part}_{name.removeprefix('bayes_')}" if name.startswith("bayes_") else f"{part}_{name}": value
        for name, value in measured.items()
    }
