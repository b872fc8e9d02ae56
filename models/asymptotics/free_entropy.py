"""The replica-symmetric free entropy, whose stationary points are the fixed points of state evolution [ML, eq. 15]."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import brentq

from factorgraph.channels import Channel
from factorgraph.interface.arguments import check_instance, check_number, shown
from factorgraph.priors import Prior
from models.asymptotics.averages import Field, Overlap, hidden_averages, output_averages, prior_averages
from models.asymptotics.ensembles import Ensemble
from models.asymptotics.state_evolution import StateEvolution, state_evolution
from models.checks import vector


def free_entropy(model: Ensemble, variances: Sequence[float], precisions: Sequence[float]) -> float:
    """Return Φ = Ψ_0(A_0) - A_0 q_0/2 + Σ_l (n_{l+1}/n_0)[E φ^{l+1} - A_{l+1} q_{l+1}/2] + (n_{L+1}/n_0) E φ_out.

    At the greatest stationary value it is the average log-likelihood of the output, E log P(y), per signal component.

    Args:
        model: Bayes-optimal chain.
        variances: V_l = ρ_l - q_l of the signal and of each hidden layer.
        precisions: A_l of the messages about them, independent of the variances.

    Raises:
        ValueError: not one number per layer.
    """
    check_instance("model", model, Ensemble, "an Ensemble")
    second_moments = model.second_moments
    variances = vector("variances", variances, len(second_moments)).tolist()
    precisions = vector("precisions", precisions, len(second_moments)).tolist()
    overlaps = [Overlap(rho - V, rho - V, V) for rho, V in zip(second_moments, variances, strict=True)]
    fields = [Field(A, A, A) for A in precisions]
    total = prior_averages(model.prior, fields[0]).phi + _coupling(model.prior, fields[0], overlaps[0])
    size = 1.0
    for layer, (channel, ratio) in enumerate(zip(model.channels, model.ratios, strict=True)):
        size *= ratio
        below, rho = overlaps[layer], second_moments[layer]
        if layer == len(model.channels) - 1:
            total += size * output_averages(channel, below, rho).phi
        else:
            above = fields[layer + 1]
            phi = hidden_averages(channel, below, above, rho).phi
            total += size * (phi + _coupling(channel, above, overlaps[layer + 1]))
    return total


def _check_interval(family: object, low: float, high: float, xtol: float) -> tuple[float, float, float]:
    if not callable(family):
        raise ValueError(f"`family` must be a function from a parameter to an Ensemble, got {shown(family)}")
    low, high = check_number("low", low), check_number("high", high)
    if low >= high:
        raise ValueError(f"`high` must be > `low`, got {high} and {low}")
    return low, high, check_number("xtol", xtol, above=0.0)


def _coupling(source: Channel | Prior, field: Field, overlap: Overlap) -> float:
    """Return what is missing in E[φ - B x̂/2] = E φ - A ρ/2 to E φ - A q/2: A V/2, and -A/2 that φ leaves out for
    spins."""
    return 0.5 * field.precision * (overlap.variance - (1.0 if source.spin else 0.0))


def fixed_point_free_entropy(model: Ensemble, result: StateEvolution) -> float:
    """Return Φ at the end of a Bayes-optimal run of state evolution; raise ValueError for what is none of this
    model."""
    check_instance("result", result, StateEvolution, "a StateEvolution")
    return free_entropy(model, [o.variance for o in result.overlaps], [f.precision for f in result.fields])


def information_threshold(family: Callable[[float], Ensemble], low: float, high: float, *, xtol: float = 1e-4) -> float:
    """Return the parameter in (low, high) where the informative fixed point becomes the one of greater free entropy.

    Args:
        family: the model at every value of the parameter.
        low: where the uninformative fixed point prevails.
        high: where the informative one does, both still being fixed points.
        xtol: accuracy.

    Raises:
        ValueError: the difference does not change its sign.
    """

    low, high, xtol = _check_interval(family, low, high, xtol)

    def gain(parameter: float) -> float:
        model = check_instance("family", family(parameter), Ensemble, "a function that returns an Ensemble")
        runs = [state_evolution(model, start=start) for start in ("informative", "uninformative")]
        values = [fixed_point_free_entropy(model, run) for run in runs]
        return values[0] - values[1]

    ends = gain(low), gain(high)
    if not ends[0] < 0.0 < ends[1]:
        raise ValueError(f"`low` and `high` must enclose the transition, got Φ differences {ends} at ({low}, {high})")
    return float(brentq(gain, low, high, xtol=xtol))  # pyright: ignore[reportArgumentType]


def algorithmic_threshold(
    family: Callable[[float], Ensemble], low: float, high: float, *, xtol: float = 1e-4, success: float = 1e-6
) -> float:
    """Return the spinodal: the parameter in (low, high) where the uninformative start begins to reach the truth.

    Args:
        family: the model at every value of the parameter.
        low: where the run stops at an error.
        high: where it ends at the truth.
        xtol: accuracy.
        success: relative error of the signal below which the truth counts as found.

    Raises:
        ValueError: both ends succeed or both fail.
    """

    low, high, xtol = _check_interval(family, low, high, xtol)
    success = check_number("success", success, above=0.0)

    def found(parameter: float) -> bool:
        model = check_instance("family", family(parameter), Ensemble, "a function that returns an Ensemble")
        run = state_evolution(model, iterations=20_000, tolerance=1e-7)
        return bool(run.mse[-1, 0] < success * model.second_moments[0])

    if found(low) or not found(high):
        raise ValueError(f"`low` and `high` must enclose the transition, got ({low}, {high})")
    while high - low > xtol:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if found(middle) else (middle, high)
    return float(np.mean((low, high)))
