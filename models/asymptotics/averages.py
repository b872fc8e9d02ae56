"""Averages of φ, ψ and their derivatives over the Gaussian fields of state evolution, by composite quadrature.

For a truth x, the message about it is B = b x + √c ξ with standard normal ξ, and the density of B follows from the
truth's own free energy: N(B; 0, c) e^{φ(bB/c, b²/c, ...)}. An average over truth and noise is an integral over B alone,
and one over pre-activations as well: of analytic functions, whose narrow parts (atoms and kinks seen through the noise)
are at known places. Panels are graded about these.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from factorgraph.channels import Channel, Identity
from factorgraph.numerics.quadrature import panel_rule
from factorgraph.priors import Prior

Array = NDArray[np.float64]

_NODES = 4
_NEGLIGIBLE = 1e-14  # nodes of less weight are left out
_PRIOR_NODES = 12  # small errors of the signal come from the far tails, and the one-dimensional integral costs nothing
#: Panel edges about a narrow part, in units of its width; further ones double.
_STEPS = np.array([0.0, 0.5, 1.0, 1.6, 2.4, 3.4, 4.8, 7.0])
#: Gauss-Hermite nodes of a standard normal, and weights over its density: exact for polynomials of degree five.
_NORMAL_NODES = np.array([-(3.0**0.5), 0.0, 3.0**0.5])
_NORMAL_WEIGHTS = np.array([1.0, 4.0, 1.0]) / 6.0 * np.sqrt(2.0 * np.pi) * np.exp(0.5 * _NORMAL_NODES**2)


class Overlap(NamedTuple):
    """What is known of a layer's signal: means E[x̂ x], E[x̂²] and E[Δ]; in the Bayes-optimal case truth = square.

    Attributes:
        truth: m, overlap of the estimate with the signal.
        square: q, that with itself.
        variance: V, the variance that the estimate claims.
    """

    truth: float
    square: float
    variance: float


class Field(NamedTuple):
    """A message about a layer's signal x, B = truth · x + √noise · ξ and A = precision; all equal if Bayes-optimal."""

    truth: float
    noise: float
    precision: float


class Averages(NamedTuple):
    """Averages over one layer: of φ, of the estimate of its output, and of the message to its input.

    Attributes:
        phi: E φ of an observed layer; elsewhere E[φ - B x̂/2], which stays finite as A → ∞. E B x̂ = A E x².
        output: m, q and V of the outputs; None where these are observed.
        field: E[g g_truth], E[g²] and E[Γ]; None for a prior.
    """

    phi: float
    output: Overlap | None
    field: Field | None


def prior_averages(prior: Prior, field: Field, truth: Prior | None = None) -> Averages:
    """Return averages over the signal, whose law is that of ``truth``, estimated with ``prior`` from the message
    ``field``."""
    b, c, A = field
    if c <= 0.0:
        H, weight = np.zeros(1), np.ones(1)
    else:
        centres, widths = np.array((truth or prior).components).T
        H, weight = _rule([b * centres], [np.sqrt((b * widths) ** 2 + c)], nodes=_PRIOR_NODES)
    values = prior.evaluate(H=H, G=A)
    true = values if truth is None else truth.evaluate(H=_ratio(b, c) * H, G=b * _ratio(b, c))
    weight = _tilted(weight, true.psi, H, truth or prior, b, c)
    return Averages(
        float(weight @ (true.psi - 0.5 * _ratio(b, c) * H * true.mean)),
        Overlap(
            float(weight @ (values.mean * true.mean)),
            float(weight @ values.mean**2),
            float(weight @ values.variance),
        ),
        None,
    )


def hidden_averages(
    channel: Channel, below: Overlap, above: Field, second_moment: float, truth: Channel | None = None
) -> Averages:
    """Return averages over a hidden layer.

    Args:
        channel: with which it is estimated.
        below: of its inputs, whose overlaps are those of the pre-activations.
        above: message about its outputs.
        second_moment: ρ of its pre-activations.
        truth: the channel by which its outputs arose, if it is another one.
    """
    source = truth or channel
    omega, weight, true_omega, true_V = preactivations(channel, below, second_moment, truth)
    b, c, A = above
    if c <= 0.0:
        B = np.zeros((len(omega), 1))
    else:
        centres = [np.full_like(omega, b * x) for x in source.narrow]
        widths = [np.full_like(omega, (c + b * b * source.noise) ** 0.5) for _ in centres]
        for mean, deviation in _bulk(source, true_omega, true_V):
            centres.append(b * mean)
            widths.append(np.hypot(b * deviation, c**0.5))
        B, panel_weight = _rule(centres, widths, normal=_linear(channel, truth))
        weight = weight * panel_weight
        likely = weight * _density_bound(source, B, b, c, true_omega, true_V) > _NEGLIGIBLE
        omega, true_omega = (np.broadcast_to(values, B.shape)[likely] for values in (omega, true_omega))
        B, weight = B[likely], weight[likely]
    values = channel.evaluate(B=B, A=A, omega=omega, V=below.variance)
    if truth is None:
        true = values
    else:
        true = truth.evaluate(B=_ratio(b, c) * B, A=b * _ratio(b, c), omega=true_omega, V=true_V)
    weight = _tilted(weight, true.phi, B, source, b, c)
    return Averages(
        float(np.sum(weight * (true.phi - 0.5 * _ratio(b, c) * B * true.mean))),
        Overlap(
            float(np.sum(weight * values.mean * true.mean)),
            float(np.sum(weight * values.mean**2)),
            float(np.sum(weight * values.variance)),
        ),
        _slopes(weight, values, true),
    )


def output_averages(channel: Channel, below: Overlap, second_moment: float, truth: Channel | None = None) -> Averages:
    """Return averages over the observed layer: sums over the outputs that have a probability, integrals over the
    others.

    Raises:
        ValueError: the channel of the truth has infinitely many atoms.
    """
    source = truth or channel
    if not source.atoms and source.interval is None:
        raise ValueError(f"`channel` must have a density or finitely many outputs, got {source}")
    omega, weight, true_omega, true_V = preactivations(channel, below, second_moment, truth)
    phi, field = 0.0, np.zeros(3)
    for y, y_weight in _outputs(source, true_omega, true_V, _linear(channel, truth)):
        values = channel.observe(y, omega=omega, V=below.variance)
        true = values if truth is None else truth.observe(y, omega=true_omega, V=true_V)
        total = weight * y_weight * np.exp(true.phi)
        phi += float(np.sum(total * true.phi))
        field += _slopes(total, values, true)
    return Averages(phi, None, Field(*field.tolist()))


def _outputs(source: Channel, omega: Array, V: float, normal: bool) -> list[tuple[Array, Array | float]]:
    """Return the values of y that broadcast with omega (n, 1), and their weights."""
    outputs: list[tuple[Array, Array | float]] = []
    if source.noise == 0.0:
        outputs += [(np.array(atom), 1.0) for atom in source.atoms]
    if source.interval is not None:
        low, high = source.interval
        centres, widths = (list(parts) for parts in zip(*_bulk(source, omega, V), strict=True))
        edges, width = (source.narrow, source.noise**0.5) if source.noise > 0.0 else (source.jumps, V**0.5)
        centres += [np.full_like(omega, x) for x in edges]
        widths += [np.full_like(omega, width) for _ in edges]
        y, weight = _rule(centres, widths, low, high, normal=normal)
        inside = np.nextafter([low, high], [np.inf, -np.inf])  # the bounds are atoms
        outputs.append((np.clip(y, *inside), weight))
    return outputs


def _slopes(weight: Array, values: Any, true: Any) -> Field:
    return Field(
        float(np.sum(weight * values.g * true.g)),
        float(np.sum(weight * values.g**2)),
        float(np.sum(weight * values.gamma)),
    )


def preactivations(
    channel: Channel, below: Overlap, second_moment: float, truth: Channel | None
) -> tuple[Array, Array, Array, float]:
    """Return omega (n, 1) ~ N(0, q) with weights, and mean and variance of the true z given omega."""
    m, q, V = below
    slope = m / q if q > 0.0 else 0.0
    true_V = V if truth is None else max(second_moment - m * slope, 1e-300)
    if q <= 0.0:
        omega = np.zeros((1, 1))
        return omega, np.ones((1, 1)), omega, true_V
    parts = [(0.0, q**0.5)] + [(kink, V**0.5) for kink in channel.kinks]
    if truth is not None and slope > 0.0:
        parts += [(kink / slope, true_V**0.5 / slope) for kink in truth.kinks]
    centres, widths = np.array([part for part in parts if part[1] <= q**0.5]).T
    limit = _STEPS[-1] * q**0.5
    omega, weight = _rule([centres], [widths], -limit, limit, normal=_linear(channel, truth))
    omega, weight = (values[weight > 0.0].reshape(-1, 1) for values in (omega, weight * _normal(omega, q)))
    return omega, weight, omega if truth is None else slope * omega, true_V


def _linear(channel: Channel, truth: Channel | None) -> bool:
    """Return all laws are normal, and all that is averaged over them a polynomial of degree two."""
    return isinstance(channel, Identity) and (truth is None or isinstance(truth, Identity))


def _rule(
    centres: list[Array],
    widths: list[Array],
    low: float = -np.inf,
    high: float = np.inf,
    nodes: int = _NODES,
    normal: bool = False,
) -> tuple[Array, Array]:
    """Return nodes and weights (..., K) of the integral over a line with narrow parts at ``centres``.

    A list of one vector describes one line; arrays (n, 1), one per part, describe n lines. With ``normal`` there is one
    part, and the integrand is the normal density of that centre and width times a polynomial.
    """
    centre, width = np.concatenate(centres, axis=-1), np.concatenate(widths, axis=-1)
    if normal:
        return centre + width * _NORMAL_NODES, width * _NORMAL_WEIGHTS
    start, end = (centre - _STEPS[-1] * width).min(axis=-1), (centre + _STEPS[-1] * width).max(axis=-1)
    doublings = int(np.ceil(np.log2(max(1.0, np.max((end - start)[..., None] / (_STEPS[-1] * width))))))
    steps = np.concatenate([_STEPS, _STEPS[-1] * 2.0 ** np.arange(1, doublings + 1)])
    steps = np.concatenate([-steps[:0:-1], steps])
    edges = (centre[..., None] + width[..., None] * steps).reshape(*centre.shape[:-1], -1)
    start, end = np.maximum(start, low)[..., None], np.minimum(end, high)[..., None]
    edges = np.sort(np.clip(edges, start, end), axis=-1)
    points, weights = panel_rule(edges, nodes)
    shape = (*points.shape[:-2], -1)
    return points.reshape(shape), weights.reshape(shape)


def _density_bound(source: Channel, B: Array, b: float, c: float, omega: Array, V: float) -> Array | float:
    """Return the density of B where all outputs are atoms, for many nodes see neither; where they are not, its
    maximum."""
    if source.interval is not None:
        return float(_normal(np.zeros(1), c)[0])
    return sum(
        (np.exp(source.observe(x, omega=omega, V=V).phi) * _normal(B - b * x, c) for x in source.atoms),
        np.zeros_like(B),
    )


def _bulk(source: Channel, omega: Array, V: float) -> list[tuple[Array, Array]]:
    """Return the centres of the density of the outputs, if there is one, and deviations that bound it where part of it
    is cut off: those of the lines of which the output consists, or else its own."""
    if source.interval is None:
        return []
    if source.lines:
        return [(level + slope * omega, np.full_like(omega, abs(slope) * V**0.5)) for level, slope in source.lines]
    mean, variance = source.moments(B=0.0, A=0.0, omega=omega, V=V)
    return [(mean, np.sqrt(np.maximum(variance, V)))]


def _normal(x: Array, variance: float) -> Array:
    return np.exp(-0.5 * x * x / variance) / np.sqrt(2.0 * np.pi * variance)


def _tilted(weight: Array, log_partition: Array, B: Array, source: Channel | Prior, b: float, c: float) -> Array:
    """Return the weights of nodes B under N(B; 0, c) e^{φ}, normalised: large exponents cancel, which leaves a common
    error.

    The factor e^{-Ax²/2}, which the free energies of spins leave out, is put back.
    """
    if c <= 0.0:
        return weight
    exponent = log_partition - 0.5 * B * B / c - (0.5 * b * _ratio(b, c) if source.spin else 0.0)
    weight = weight * np.exp(exponent) / np.sqrt(2.0 * np.pi * c)
    return weight / weight.sum()


def _ratio(b: float, c: float) -> float:
    return b / c if c > 0.0 else 0.0
