"""A factor's message rule compared with numerical integration of its definition."""

from dataclasses import dataclass

import numpy as np

from factorgraph.factors.base import Array, Kind, Parameters
from factorgraph.graph import Graph
from factorgraph.messages import Incoming
from factorgraph.model import Factor, Model, ModelError, Unrollable
from factorgraph.quadrature import panel_rule
from factorgraph.unroll import unroll

_REACH = 12.0  # standard deviations of the cavity laws that are integrated over
_PANELS = {0: 1, 1: 60, 2: 16, 3: 5}  # of 16 nodes, on each axis, by the number of real arguments


@dataclass(frozen=True)
class FactorCheck:
    """The largest differences between a rule and the integral that it stands for.

    Attributes:
        spins: of the messages B to spins.
        means: of the means of real arguments, in units of their deviation.
        variances: of their variances, relative.
        log_partition: of the log-integral.
        compared: number of numbers compared.
    """

    spins: float
    means: float
    variances: float
    log_partition: float
    compared: int

    @property
    def largest(self) -> float:
        """The largest of all."""
        return max(self.spins, self.means, self.variances, self.log_partition)


def check_factor(
    model: Model | Graph, factor: Factor | None = None, *, cases: int = 5, seed: int = 0, spread: float = 1.0
) -> FactorCheck:
    """Compare the rule of a factor with numerical integration over random cavity laws.

    The message to a spin must be half the log-odds of the integral over the other arguments, and with the message to a
    real argument its belief must have the mean and variance of the integral. Messages that carry the parameters of a
    channel's law are left out. The integrand should be smooth on the scale of the cavity laws.

    Args:
        model: contains the factor.
        factor: one of the model's; its last one by default. Its first rows are checked.
        cases: number of random sets of cavity laws.
        seed: of their generator.
        spread: size of random fields and means; variances lie between 0.3 and 2.

    Raises:
        ModelError: not a factor with rules, or more than three real or sixteen spin arguments.
    """
    model = model.model if isinstance(model, Graph) else model
    factor = model.factors[-1] if factor is None else factor
    if not isinstance(factor, Unrollable):
        raise ModelError(f"`factor` must have rules for the engine, got {factor}")
    graph = unroll(Model(model.plates, model.variables, (factor,)))
    rng = np.random.default_rng(seed)
    differences: list[list[float]] = [[], [], [], []]
    for stack in graph.stacks:
        if stack.kind.dimensions:
            raise ModelError(f"arguments must be scalars to be checked, got vectors in {factor}")
        parameters = tuple(p[:1] for p in stack.parameters)
        for _ in range(cases):
            _compare(stack.kind, parameters, _random_laws(stack.kind, rng, spread), differences)
    worst = [max(values, default=0.0) for values in differences]
    return FactorCheck(*worst, compared=sum(map(len, differences)))


def _random_laws(kind: Kind, rng: np.random.Generator, spread: float) -> Incoming:
    k = len(kind.spins)
    first, second = spread * rng.standard_normal((1, k)), rng.uniform(0.3, 2.0, (1, k))
    if kind.law_slot is not None:
        second[0, kind.law_slot] = np.inf  # an output is checked as an observed one
    spin = np.array(kind.spins)
    mean, variance = np.where(spin, np.tanh(first), first), np.where(spin, 1.0 - np.tanh(first) ** 2, second)
    return Incoming(first, second, mean, variance)


def _grid(kind: Kind, incoming: Incoming) -> tuple[list[Array], Array]:
    """Values of all arguments at the nodes of a product rule, and log-weights with the cavity laws."""
    reals = sum(not spin for i, spin in enumerate(kind.spins) if i != kind.law_slot)
    if reals > 3 or len(kind.spins) - reals > 16:
        raise ModelError(f"arguments must be at most 3 real ones and 16 spins to be checked, got {kind.spins}")
    u, w = panel_rule(np.linspace(-_REACH, _REACH, _PANELS[reals] + 1))
    u, log_w = u.ravel(), np.log(w.ravel()) - 0.5 * u.ravel() ** 2 - 0.5 * np.log(2.0 * np.pi)
    axes = []
    for i, spin in enumerate(kind.spins):
        a, b = incoming.first[0, i], incoming.second[0, i]
        if i == kind.law_slot:
            axes.append((np.array([a]), np.zeros(1)))
        elif spin:
            s = np.array([1.0, -1.0])
            axes.append((s, -np.logaddexp(0.0, -2.0 * a * s)))
        else:
            axes.append((a + np.sqrt(b) * u, log_w))
    x = [m.ravel() for m in np.meshgrid(*(values for values, _ in axes), indexing="ij")]
    weights = [m.ravel() for m in np.meshgrid(*(logs for _, logs in axes), indexing="ij")]
    return x, sum(weights, np.zeros(x[0].size))


def _compare(kind: Kind, parameters: Parameters, incoming: Incoming, differences: list[list[float]]) -> None:
    x, log_q = _grid(kind, incoming)
    log_w = log_q + kind.log_factor(parameters, *(values[None] for values in x))[0]
    top = log_w.max()
    w = np.exp(log_w - top)
    total = w.sum()
    differences[3].append(abs(top + np.log(total) - kind.log_partition(parameters, incoming)[0]))
    B, A = kind.rule(parameters, incoming)
    for i, spin in enumerate(kind.spins):
        first, second = incoming.first[0, i], incoming.second[0, i]
        if i == kind.law_slot:
            continue
        if spin:
            odds = 0.5 * np.log(w[x[i] > 0].sum() / w[x[i] < 0].sum()) - first
            differences[0].append(abs(odds - B[0, i]))
            continue
        mean = (w * x[i]).sum() / total
        variance = (w * (x[i] - mean) ** 2).sum() / total
        precision = 1.0 / second + (0.0 if A is None else A[0, i])
        differences[1].append(abs((first / second + B[0, i]) / precision - mean) / np.sqrt(variance))
        differences[2].append(abs(1.0 / (precision * variance) - 1.0))
