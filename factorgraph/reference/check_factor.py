"""A factor's message rule compared with numerical integration of its definition."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from factorgraph.engine.unroll import unroll
from factorgraph.factors.base import Array, Kind, Parameters, Unrollable, chosen
from factorgraph.interface.arguments import check_integer, check_number, shown
from factorgraph.interface.errors import ModelError
from factorgraph.messages.categories import normalised
from factorgraph.messages.natural import Incoming
from factorgraph.model.description import Factor, Model, is_factor
from factorgraph.model.graph import Graph, model_of
from factorgraph.numerics.quadrature import Panels, adaptive_panels, panel_rule
from factorgraph.numerics.special import LOG_2PI

_REACH = 12.0  # standard deviations of the cavity laws that are integrated over
_MAX_REALS, _MAX_SPINS = 3, 16
_MAX_CASES = 10**6
_PANELS = {0: 1, 1: 60, 2: 16, 3: 5}  # of 16 nodes, on each axis, by the number of real arguments


@dataclass(frozen=True)
class FactorCheck:
    """The largest differences between a rule and the integral that it stands for.

    Attributes:
        spins: of the messages to spins and, normalised, to categories.
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

    The message to a spin must be half the log-odds of the integral over the other arguments, that to a category its
    logarithm up to a constant, and with the message to a
    real argument its belief must have the mean and variance of the integral; with that to a vector, mean and covariance
    matrix. Linear factors are checked where they are not small, however far from zero that is. Messages that carry the
    parameters of a channel's law are left out. With several real arguments the integrand should be smooth on the scale
    of the cavity laws. The rules of ``Bilinear``, and of ``Sum`` with spins, are expansions for many arguments: their
    differences are the errors of that.

    Args:
        model: contains the factor.
        factor: one of the model's; its last one by default. Its first rows are checked.
        cases: number of random sets of cavity laws.
        seed: of their generator.
        spread: size of random fields, and of means about that place; variances lie between 0.3 and 2.

    Raises:
        ModelError: not a factor with rules, or more than three real arguments (components of vectors), or more joint
            states of the others than sixteen spins have.
    """
    model = model_of(model)
    check_integer("cases", cases, minimum=1, maximum=_MAX_CASES, error=ModelError)
    check_integer("seed", seed, minimum=0, error=ModelError)
    spread = check_number("spread", spread, minimum=0.0, error=ModelError)
    if factor is None and not model.factors:
        raise ModelError("`model` must have a factor to be checked, got none")
    factor = model.factors[-1] if factor is None else factor
    if not is_factor(factor) or not isinstance(factor, Unrollable):
        raise ModelError(f"`factor` must have rules for the engine, got {shown(factor)}")
    sizes = dict.fromkeys((name for name, size in model.plates.items() if size is None), 1)
    graph = unroll(Model(model.plates, model.variables, (factor,)), sizes)
    rng = np.random.default_rng(seed)
    differences: list[list[float]] = [[], [], [], []]
    for stack in graph.stacks:
        if graph.vectors and graph.categories:
            raise ModelError(f"arguments must not be vectors and categories to be checked together, got {factor}")
        parameters = chosen(stack.parameters, np.arange(1))
        for _ in range(cases):
            if stack.kind.dimensions:
                _compare_vectors(stack.kind, parameters, rng, spread, differences)
            else:
                _compare(stack.kind, parameters, _random_laws(stack.kind, parameters, rng, spread), differences)
    worst = [max(values, default=0.0) for values in differences]
    return FactorCheck(*worst, compared=sum(map(len, differences)))


def _place(kind: Kind, parameters: Parameters) -> Array:
    """Return values (k,) of the real arguments at which a factor with residuals is not small; 0 for other factors."""
    place = np.zeros(len(kind.spins))
    if kind.quadratic:
        form, real = kind.quadratic_form(parameters), ~np.array(kind.spins)
        place[real] = np.linalg.lstsq(form.matrix[0][:, real], form.target[0], rcond=None)[0]
    return place


def _random_laws(kind: Kind, parameters: Parameters, rng: np.random.Generator, spread: float) -> Incoming:
    k = len(kind.spins)
    first, second = spread * rng.standard_normal((1, k)), rng.uniform(0.3, 2.0, (1, k))
    first += _place(kind, parameters)
    if kind.law_slot is not None:
        second[0, kind.law_slot] = np.inf  # an output is checked as an observed one
    for own in _categories(kind):
        first[:, own] = normalised(first[:, own])
    spin = np.array(kind.spins)
    mean, variance = np.where(spin, np.tanh(first), first), np.where(spin, 1.0 - np.tanh(first) ** 2, second)
    return Incoming(first, second, mean, variance)


def _categories(kind: Kind) -> list[slice]:
    """Return the slots of the arguments that are categories."""
    return [own for own in kind.discrete if not kind.spins[own.start]]


def _values(kind: Kind, slot: int) -> Array:
    """Return (states, slots) what the slots of a discrete argument hold, which begins at ``slot``."""
    if kind.spins[slot]:
        return np.array([[1.0], [-1.0]])
    return np.eye(next(own.stop - own.start for own in kind.discrete if own.start == slot))


def _log_law(kind: Kind, first: Array, slot: int) -> Array:
    """Return (states,) log-probabilities of a discrete argument under its cavity law."""
    values = _values(kind, slot)
    if kind.spins[slot]:
        return -np.logaddexp(0.0, -2.0 * first[slot] * values[:, 0])
    return first[slot : slot + len(values)]


def _grid(kind: Kind, parameters: Parameters, incoming: Incoming) -> tuple[list[Array], Array]:
    """Return the values of all arguments at the nodes of a product rule, and log-weights with the cavity laws.

    One real argument has a rule of its own, with panels as small as its factor needs in any state of the spins.
    """
    discrete = [own.start for own in kind.discrete if own.start != kind.law_slot]
    reals, states = len(set(kind.reals) - {kind.law_slot}), math.prod(len(_values(kind, slot)) for slot in discrete)
    if reals > _MAX_REALS or states > 2**_MAX_SPINS:
        raise ModelError(
            "arguments must be at most 3 real ones and 16 spins, or as many states, to be checked, "
            f"got {reals} and {states} states"
        )
    u, log_w = _normal_rule(reals)
    one = _adaptive_rule(kind, parameters, incoming) if reals == 1 else None
    axes: list[tuple[Array, Array]] = []  # (nodes, slots) and (nodes,)
    slot = 0
    for width in kind.widths:
        a, b = incoming.first[0, slot], incoming.second[0, slot]
        if slot == kind.law_slot:
            axes.append((np.array([[a]]), np.zeros(1)))
        elif slot in discrete:
            axes.append((_values(kind, slot), _log_law(kind, incoming.first[0], slot)))
        else:
            values, logs = one or (a + np.sqrt(b) * u, log_w)
            axes.append((values[:, None], logs))
        slot += width
    index = [m.ravel() for m in np.meshgrid(*(np.arange(len(logs)) for _, logs in axes), indexing="ij")]
    x = [column for (values, _), n in zip(axes, index, strict=True) for column in values[n].T]
    return x, sum((logs[n] for (_, logs), n in zip(axes, index, strict=True)), np.zeros(x[0].size))


def _adaptive_rule(kind: Kind, parameters: Parameters, incoming: Incoming) -> tuple[Array, Array]:
    """Return nodes and log-weights of the only real argument, its cavity law included."""
    place = next(i for i in kind.reals if i != kind.law_slot)
    mean, variance = incoming.first[0, place], incoming.second[0, place]
    discrete = [own for own in kind.discrete if own.start != kind.law_slot]
    rows = itertools.product(*(_values(kind, own.start) for own in discrete))
    states = np.array([np.concatenate([np.empty(0), *row]) for row in rows])

    def log_density(index: NDArray[np.intp], z: Array) -> Array:
        spins = iter(states.T)
        shape = (len(states), z.size)
        columns = []
        for i in range(len(kind.spins)):
            value = incoming.first[0, i] if i == kind.law_slot else z.ravel() if i == place else next(spins)[:, None]
            columns.append(np.broadcast_to(value, shape).reshape(1, -1))
        with np.errstate(over="ignore"):  # far out functions may
            log_f = kind.log_factor(parameters, *columns).reshape(len(states), *z.shape)
        return np.maximum(log_f, -1e200) - 0.5 * (z - mean) ** 2 / variance

    far = _REACH * 2.0 ** np.arange(1, 8)
    edges = mean + np.sqrt(variance) * np.concatenate([-far[::-1], np.linspace(-_REACH, _REACH, 97), far])
    start = Panels(np.zeros(edges.size - 1, np.intp), edges[:-1], edges[1:])
    z, w = adaptive_panels(log_density, start, 1).rule()
    return z.ravel(), np.log(w.ravel()) - 0.5 * ((z.ravel() - mean) ** 2 / variance + LOG_2PI + np.log(variance))


def _normal_rule(axes: int) -> tuple[Array, Array]:
    """Return nodes and log-weights on each axis for standard normal variables."""
    u, w = panel_rule(np.linspace(-_REACH, _REACH, _PANELS[axes] + 1))
    return u.ravel(), np.log(w.ravel()) - 0.5 * (u.ravel() ** 2 + LOG_2PI)


def _compare_vectors(
    kind: Kind, parameters: Parameters, rng: np.random.Generator, spread: float, differences: list[list[float]]
) -> None:
    """The same for vectors: their laws are e^{h·x - x·Gx/2}, relative to the value at their means, with random G."""
    dimensions = kind.dimensions
    if sum(dimensions) > _MAX_REALS:
        raise ModelError(f"vectors must have at most 3 components together to be checked, got {sum(dimensions)}")
    u, log_w = _normal_rule(sum(dimensions))
    nodes = np.stack([m.ravel() for m in np.meshgrid(*[u] * sum(dimensions), indexing="ij")])
    log_w = np.sum([m.ravel() for m in np.meshgrid(*[log_w] * sum(dimensions), indexing="ij")], axis=0)
    first, second, centre, x, laws = [], [], [], [], []
    place = _place(kind, parameters)
    for d in dimensions:
        root = rng.standard_normal((d, d))
        G, (middle, place) = np.eye(d) + root @ root.T, (place[: d * d : d], place[d * d :])
        middle = middle + np.linalg.solve(G, spread * rng.standard_normal(d))
        own, nodes = nodes[:d], nodes[d:]
        x.append(middle[:, None] + np.linalg.inv(np.linalg.cholesky(G)).T @ own)
        laws.append((G @ middle, G))
        for column, values in ((first, G @ middle), (centre, middle)):
            column.append(np.pad(values[:, None], ((0, 0), (0, d - 1))).ravel())
        second.append(G.ravel())
        log_w = log_w + 0.5 * (d * LOG_2PI - np.linalg.slogdet(G)[1])
    incoming = Incoming(*(np.concatenate(part)[None] for part in (first, second)), centre=np.concatenate(centre)[None])
    slots = [values for own in x for component in own for values in [component] + [np.zeros(1)] * (len(own) - 1)]
    log_w = log_w + kind.log_factor(parameters, *(np.broadcast_to(s, log_w.shape)[None] for s in slots))[0]
    B, A = kind.rule(parameters, incoming)
    top = float(log_w.max())
    w = np.exp(log_w - top)
    differences[3].append(float(abs(top + np.log(w.sum()) - kind.log_partition(parameters, incoming)[0])))
    w /= w.sum()
    ends = np.cumsum([0, *(d * d for d in dimensions)])
    for i, (d, (h, G), own) in enumerate(zip(dimensions, laws, x, strict=True)):
        assert A is not None
        messages = (values[0, ends[i] : ends[i + 1]].reshape(d, d) for values in (B, A))
        information, precision = next(messages)[:, 0] + h, next(messages) + G
        mean, rest = own @ w, own - (own @ w)[:, None]
        covariance = (w * rest) @ rest.T
        deviation = np.sqrt(np.diag(covariance))
        differences[1] += (np.abs(np.linalg.solve(precision, information) - mean) / deviation).tolist()
        relative = (np.linalg.inv(precision) - covariance) / np.outer(deviation, deviation)
        differences[2] += np.abs(relative).ravel().tolist()


def _compare(kind: Kind, parameters: Parameters, incoming: Incoming, differences: list[list[float]]) -> None:
    x, log_q = _grid(kind, parameters, incoming)
    log_w = log_q + kind.log_factor(parameters, *(values[None] for values in x))[0]
    top = log_w.max()
    w = np.exp(log_w - top)
    total = w.sum()
    differences[3].append(abs(top + np.log(total) - kind.log_partition(parameters, incoming)[0]))
    B, A = kind.rule(parameters, incoming)
    for own in _categories(kind):
        law = incoming.first[:, own]
        with np.errstate(divide="ignore"):
            weights = np.log([[w[x[i] > 0].sum() for i in range(own.start, own.stop)]])
        exact, given = normalised(weights - law), normalised(B[:, own])
        differences[0].append(float(np.abs(np.where(exact == given, 0.0, exact - given)).max()))
    categories = {i for own in _categories(kind) for i in range(own.start, own.stop)}
    for i, spin in enumerate(kind.spins):
        first, second = incoming.first[0, i], incoming.second[0, i]
        if i == kind.law_slot or i in categories:
            continue
        if spin:
            with np.errstate(divide="ignore"):
                odds = 0.5 * (np.log(w[x[i] > 0].sum()) - np.log(w[x[i] < 0].sum())) - first
            differences[0].append(0.0 if odds == B[0, i] else float(abs(odds - B[0, i])))
            continue
        mean = (w * x[i]).sum() / total
        variance = (w * (x[i] - mean) ** 2).sum() / total
        precision = 1.0 / second + (0.0 if A is None else A[0, i])
        differences[1].append(abs((first / second + B[0, i]) / precision - mean) / np.sqrt(variance))
        differences[2].append(abs(1.0 / (precision * variance) - 1.0))
