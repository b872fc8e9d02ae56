"""The model's own parameters by expectation maximisation: noise level, sparsity, moments of the prior."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from factorgraph.channels import Channel, Identity
from factorgraph.interface.arguments import check_instance, check_integer, check_number, real_array
from factorgraph.interface.brief import tabled
from factorgraph.iteration import Report, Status, Turn, iterate
from factorgraph.priors import Binary, Exponential, GaussBernoulli, Gaussian, Prior
from models.checks import check_sequence
from models.inference.multilayer import MultiLayerGLM
from models.inference.results import Inference

Array = NDArray[np.float64]


@tabled
@dataclass(frozen=True, repr=False)
class Learned:
    """Outcome of expectation maximisation.

    Attributes:
        prior: with the parameters found.
        channel: that of the output, likewise.
        result: inference with them.
        history: parameters of every round, by name.
        status: "converged", where the last round changed them by less than the tolerance, or "not converged".
    """

    prior: Prior
    channel: Channel
    result: Inference
    history: list[dict[str, float]]
    status: Status

    @property
    def converged(self) -> bool:
        """The last round changed the parameters by less than the tolerance."""
        return self.status.converged

    def __repr__(self) -> str:
        return f"Learned({self.prior}, {self.channel}, {len(self.history) - 1} rounds, {self.status})"


def learn(
    model: MultiLayerGLM,
    y: ArrayLike,
    *,
    rounds: int = 100,
    tolerance: float = 1e-4,
    fixed: tuple[str, ...] = (),
    **options: Any,
) -> Learned:
    """Alternate inference and the parameters that maximise its expected log-likelihood.

    Learned are the noise of an ``Identity`` output and the parameters of the prior: field of ``Binary``, mean and
    precision of ``Gaussian``, density, mean and variance of ``GaussBernoulli``, scale of ``Exponential``; of others
    nothing is.

    Args:
        model: whose prior and output channel are the first guess.
        y: observed output.
        rounds: most of them.
        tolerance: relative change of all parameters at which it stops.
        fixed: names of parameters to be left as they are.
        options: of ``MultiLayerGLM.infer``.

    Raises:
        ValueError: ``fixed`` names no parameter, nothing is left to learn, or as ``infer``.
    """
    check_instance("model", model, MultiLayerGLM, "a GLM or MultiLayerGLM")
    rounds, tolerance = check_integer("rounds", rounds, minimum=0), check_number("tolerance", tolerance, minimum=0.0)
    fixed = check_sequence("fixed", fixed, "a sequence of names of parameters")
    observed = real_array("y", y)
    known = _parameters(model.prior, model.channels[-1])
    if any(name not in list(known) for name in fixed) or len(known) == len(set(fixed)):
        raise ValueError(f"`fixed` must be some, not all, of {sorted(known)}, got {fixed}")
    run = _Rounds(model, observed, fixed, options, model.infer(y, **options), [known])
    status = iterate(run.step, limit=rounds, tolerance=tolerance).status
    return Learned(run.model.prior, run.model.channels[-1], run.result, run.history, status)


@dataclass
class _Rounds:
    """A model whose parameters are learned.

    Attributes:
        model: with the present parameters.
        y: observed output.
        fixed: names of parameters to be left as they are.
        options: of inference.
        result: of inference with the present parameters.
        history: parameters of every round, by name.
    """

    model: MultiLayerGLM
    y: Array
    fixed: tuple[str, ...]
    options: dict[str, Any]
    result: Inference
    history: list[dict[str, float]]

    def step(self, turn: Turn) -> Report:
        """Do one round, and return the largest change of a parameter, relative to it."""
        prior = _maximised_prior(self.model.prior, self.result, self.fixed)
        channel = _maximised_channel(self.model.channels[-1], self.y, self.result, self.fixed)
        self.history.append(_parameters(prior, channel))
        self.model = self.model.with_parameters(prior, channel)
        self.options["start"] = self.result.signal.mean
        self.result = self.model.infer(self.y, **self.options)
        old, new = (np.array(list(values.values())) for values in self.history[-2:])
        return turn.judge(float(np.max(np.abs(new - old) / (np.abs(new) + 1e-12))))


def _parameters(prior: Prior, channel: Channel) -> dict[str, float]:
    names = {
        Binary: ("field",),
        Exponential: ("scale",),
        Gaussian: ("mean", "precision"),
        GaussBernoulli: ("density", "mean", "variance"),
    }
    values = {name: float(getattr(prior, name)) for name in names.get(type(prior), ())}
    return values | ({"noise": channel.noise} if isinstance(channel, Identity) else {})


def _maximised_prior(prior: Prior, result: Inference, fixed: tuple[str, ...]) -> Prior:
    mean, variance = result.signal.mean, result.signal.variance
    new: dict[str, float] = {}
    if isinstance(prior, Binary):
        new = {"field": float(np.arctanh(np.clip(mean.mean(), -1 + 1e-12, 1 - 1e-12)))}
    elif isinstance(prior, Exponential):
        new = {"scale": max(float(mean.mean()), 1e-300)}
    elif isinstance(prior, Gaussian):
        centre = prior.mean if "mean" in fixed else float(mean.mean())
        new = {"mean": centre, "precision": 1.0 / float(np.mean(variance + (mean - centre) ** 2))}
    elif isinstance(prior, GaussBernoulli):
        B, A = result.field
        slab = Gaussian(prior.mean, 1.0 / prior.variance).evaluate(H=B, G=A)
        odds = np.log(prior.density) - np.log1p(-prior.density) if prior.density < 1.0 else np.inf
        on = expit(slab.psi + odds)
        total = float(on.sum())
        centre = prior.mean if "mean" in fixed else float(np.sum(on * slab.mean)) / total
        spread = float(np.sum(on * (slab.variance + (slab.mean - centre) ** 2))) / total
        new = {"density": min(float(on.mean()), 1.0), "mean": centre, "variance": max(spread, 1e-300)}
    return replace(prior, **{name: value for name, value in new.items() if name not in fixed})  # pyright: ignore[reportArgumentType]


def _maximised_channel(channel: Channel, y: Array, result: Inference, fixed: tuple[str, ...]) -> Channel:
    """Return the noise: expected square of y - z."""
    if not isinstance(channel, Identity) or "noise" in fixed:
        return channel
    return Identity(float(np.mean((y - result.output.mean) ** 2 + result.output.variance)))
