"""What a run of state evolution says of pre-activations and of new outputs: errors at its end."""

import numpy as np

from factorgraph.channels import Poisson
from factorgraph.interface.arguments import check_instance
from models.asymptotics.averages import preactivations
from models.asymptotics.ensembles import Ensemble
from models.asymptotics.state_evolution import StateEvolution, check_ensembles


def preactivation_errors(model: Ensemble, result: StateEvolution, truth: Ensemble | None = None) -> tuple[float, ...]:
    """Return mean squared errors of ẑ = omega + V g, the estimate of W^l x^l given the output, one per layer.

    They are those of ``Inference.output`` for the last layer. E (z - ω)g follows by parts in ω, and in z given ω.

    Args:
        model: with which the signal was estimated, with independent weights.
        result: of ``state_evolution``, at a fixed point.
        truth: by which the output arose; None if that is the model.

    Raises:
        ValueError: an argument that is none, or of another number of layers.
    """
    source = _source(model, result, truth)
    errors = []
    for ratio, overlap, field, rho in zip(
        model.ratios, result.overlaps, result.fields, source.second_moments, strict=True
    ):
        m, q, V = overlap
        gain, noise, gamma = (value / ratio for value in field)
        slope = m / q if q > 0.0 else 0.0
        common = q * (slope - 1.0) * (slope * gain - gamma) + (rho - m * slope) * gain  # E (z - ω) g
        errors.append(float(rho - 2.0 * m + q - 2.0 * V * common + V * V * noise))
    return tuple(errors)


def generalisation_error(model: Ensemble, result: StateEvolution, truth: Ensemble | None = None) -> float:
    """Return the error of predictions for new rows of the last matrix, the sample being learned from.

    For outputs ±1 it is the share of wrong labels, where the more probable one is predicted; else the mean squared
    error of the predicted mean.

    Args:
        model: with which the signal was estimated.
        result: of ``state_evolution`` or ``vamp_state_evolution``, at a fixed point.
        truth: by which the output arose; None if that is the model.

    Raises:
        ValueError: an argument that is none, of another number of layers, or of counts.
    """
    source = _source(model, result, truth)
    channel, actual = model.channels[-1], source.channels[-1]
    if isinstance(actual, Poisson) or isinstance(channel, Poisson):
        raise ValueError("`model` must have outputs with moments in closed form, got Poisson")
    gain = 1.0 if model.spectra is None else model.spectra[-1].gain(model.ratios[-1])
    below = type(result.overlaps[-1])(*(gain * value for value in result.overlaps[-1]))
    omega, weight, true_omega, true_V = preactivations(
        channel, below, gain * source.second_moments[-1], None if truth is None else actual
    )
    predicted, _ = channel.moments(B=0.0, A=0.0, omega=omega, V=below.variance)
    mean, variance = actual.moments(B=0.0, A=0.0, omega=true_omega, V=true_V)
    if channel.spin:
        wrong = 0.5 * (1.0 - np.where(predicted >= 0.0, mean, -mean))
        return float(np.sum(weight * wrong))
    return float(np.sum(weight * (variance + (mean - predicted) ** 2)))


def _source(model: Ensemble, result: StateEvolution, truth: Ensemble | None) -> Ensemble:
    """Return the ensemble of the truth, all arguments checked."""
    check_ensembles(model, truth)
    check_instance("result", result, StateEvolution, "a StateEvolution")
    if len(result.overlaps) != len(model.ratios) or (truth is not None and len(truth.ratios) != len(model.ratios)):
        raise ValueError(f"`result` must be of {len(model.ratios)} layers, as the model, got {len(result.overlaps)}")
    if truth is not None and truth.channels[-1].spin != model.channels[-1].spin:
        raise ValueError(f"`truth` must have outputs as the model's, got {truth.channels[-1]}")
    return truth or model
