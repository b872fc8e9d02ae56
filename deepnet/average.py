"""What a network predicts with its weights averaged over their posterior, and an ensemble of its members as well.

An ensemble of k networks predicts the mixture of their laws: P(y | x) = (1/k) Σ_m P_m(y | x), whose variance of numbers
has that of the members' means among its epistemic part. The most probable weights vote.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import entr, logsumexp

from deepnet.ensemble import Trained
from deepnet.outputs import output_of
from deepnet.outputs.base import Predictive
from deepnet.predict import (
    conditional_entropy,
    log_likelihood,
    preactivations,
    predict_pointwise,
    predict_proba,
    predictive,
)
from deepnet.state import Network
from factorgraph.dense.state import Array


def class_probabilities(network: Trained, x: Array, calibration: float = 1.0) -> Array:
    """Return the probabilities of the classes, (samples, classes), with the weights averaged over their posterior
    if the network has one.

    Args:
        network: trained; its messages of the current batch are overwritten.
        x: inputs (samples, features).
        calibration: as of ``predict_proba``.
    """
    return mean([probabilities_of(member, x, calibration) for member in network.members])


def probabilities_of(network: Network, x: Array, calibration: float = 1.0) -> Array:
    """Return ``class_probabilities`` of one network."""
    layers, baseline = network.layers, network.config.baseline
    if baseline is not None and baseline.point:
        p = baseline.probabilities(preactivations(layers, x, network.operations) / calibration)
    else:
        p = predict_proba(layers, x, network.operations, calibration)
    if p.shape[1] == 1:
        return np.concatenate([1.0 - p, p], axis=1)
    return p / p.sum(axis=1, keepdims=True)  # one quadrature a class: their sum is 1 to its accuracy only


def most_probable(network: Trained, x: Array) -> Array:
    """Return what the most probable weights predict: class numbers (samples,), of an ensemble by ``votes``, or means of
    numbers (samples, outputs).

    Args:
        network: trained.
        x: inputs (samples, features).
    """
    output = output_of(network.members[0].layers[-1])
    each = [predict_pointwise(member.layers, x, member.operations) for member in network.members]
    return mean(each) if output.numeric else votes([output.numbers(labels) for labels in each], output.classes)


def votes(numbers: Sequence[Array], classes: int) -> Array:
    """Return the class that most members predict, (samples,), the first of several; ``numbers`` (samples,) of each."""
    if len(numbers) == 1:
        return numbers[0]
    return np.sum([np.eye(classes)[own] for own in numbers], axis=0).argmax(axis=1)


def law(network: Trained, x: Array) -> Predictive:
    """Return the law of the numbers of inputs, with the weights averaged over their posterior.

    Args:
        network: trained, with an output of numbers; its messages of the current batch are overwritten.
        x: inputs (samples, features).
    """
    return mixture([predictive(member.layers, x, member.operations) for member in network.members])


def mixture(laws: Sequence[Predictive]) -> Predictive:
    """Return the moments of a mixture of laws in equal parts."""
    if len(laws) == 1:
        return laws[0]
    means, aleatoric, epistemic = map(np.array, zip(*laws, strict=True))
    return Predictive(means.mean(axis=0), aleatoric.mean(axis=0), epistemic.mean(axis=0) + means.var(axis=0))


def means_and_deviations(network: Trained, x: Array) -> tuple[Array, Array]:
    """Return both of the first number of every sample, (samples,) each, on the scale of the network; arguments as of
    ``law``."""
    found = law(network, x)
    return found.mean[:, 0], found.deviation[:, 0]


def log_loss(network: Trained, x: Array, y: Array) -> float:
    """Return the mean of -log P(y | x), with the weights averaged over their posterior: see
    ``deepnet.predict.log_loss``."""
    each = [log_likelihood(member.layers, x, y, member.operations) for member in network.members]
    return mixture_loss(each)


def mixture_loss(log_likelihoods: Sequence[Array]) -> float:
    """Return the mean of -log (1/k) Σ_m P_m of the log P_m of k laws."""
    return float(np.log(len(log_likelihoods)) - np.mean(logsumexp(log_likelihoods, axis=0)))


def mean(each: Sequence[Array]) -> Array:
    """Return the mean over the members; of one of them, its own array."""
    return each[0] if len(each) == 1 else np.mean(each, axis=0)


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


def uncertainty(network: Trained, x: Array) -> Uncertainty:
    """Return that of the labels or numbers of inputs (samples, features), in nats; as ``class_probabilities``."""
    if output_of(network.members[0].layers[-1]).numeric:
        found = law(network, x)
        noise, known = np.log(2.0 * np.pi * np.e * found.aleatoric), np.log1p(found.epistemic / found.aleatoric)
        return Uncertainty(0.5 * noise.sum(axis=1), 0.5 * known.sum(axis=1))
    total = entr(class_probabilities(network, x)).sum(axis=1)
    aleatoric = np.minimum(mean([_known_entropy(member, x) for member in network.members]), total)
    return Uncertainty(aleatoric, total - aleatoric)


def _known_entropy(network: Network, x: Array) -> Array:
    """Return the mean entropy of the label for known weights, (samples,): all of it where there is no posterior."""
    baseline = network.config.baseline
    if baseline is not None and baseline.point:
        return entr(probabilities_of(network, x)).sum(axis=1)
    return conditional_entropy(network.layers, x, network.operations)
