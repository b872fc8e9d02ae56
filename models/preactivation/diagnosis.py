"""How far the pre-activations of a given network are from the Gaussians that every relaxed message takes them for.

A network of known weights is compared with the ensemble of its weights' second and fourth moments. In a network of
stochastic weights the sum into a unit is Gaussian by the central limit theorem, which needs many terms of comparable
size: its excess kurtosis falls as 1/inputs, and grows as the weights become certain and few terms are left to vary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from factorgraph.activations import Activation
from factorgraph.activations.averages import normal_panels
from factorgraph.interface.arguments import check_flag, check_instance, check_number, number_array, real_array, shown
from factorgraph.interface.brief import briefly
from models.checks import check_activations, check_sequence
from models.preactivation.flow import LayerStatistics, propagate

Array = NDArray[np.float64]

_MIN_SHARE = 1e-9  # of the second moment that is known, and of that which is not


def matched(
    x: ArrayLike,
    weights: Sequence[ArrayLike],
    activation: Activation | Sequence[Activation],
    *,
    bias_variance: ArrayLike = 0.0,
) -> tuple[LayerStatistics, ...]:
    """Return the statistics of random networks whose weights have the second and fourth moments of given ones.

    Args:
        x: inputs (features,) or (D, features).
        weights: of each layer, (outputs, inputs).
        activation: of all hidden layers, or one each.
        bias_variance: C_b of all layers, or one each.

    Raises:
        ValueError: weights that are no chain of matrices or all zero; otherwise as by ``propagate``.
    """
    need = "a sequence of matrices (outputs, inputs)"
    matrices = [real_array("weights", W) for W in check_sequence("weights", weights, need)]
    shapes = [W.shape for W in matrices]
    x = np.atleast_2d(real_array("x", x))
    features = x.shape[-1]
    sizes = [features, *(shape[0] for shape in shapes if len(shape) == 2)]
    if not shapes or shapes != [(rows, columns) for columns, rows in pairwise(sizes)]:
        raise ValueError(f"`weights` must be matrices (outputs, inputs) from {features} inputs up, got shapes {shapes}")
    if not all(np.any(W) for W in matrices):
        raise ValueError("`weights` must have an entry that is not zero in every layer")
    second = [float(np.mean(W**2)) for W in matrices]
    kurtosis = [float(np.mean(W**4)) / square**2 - 3.0 for W, square in zip(matrices, second, strict=True)]
    variance = [columns * square for (_, columns), square in zip(shapes, second, strict=True)]
    return propagate(
        x,
        sizes[1:-1],
        activation,
        weight_variance=variance,
        bias_variance=bias_variance,
        weight_kurtosis=kurtosis,
    )


@briefly
@dataclass(frozen=True)
class StochasticWeights:
    """One layer of independent weights, of which the moments are known.

    Args:
        mean: m, (outputs, inputs).
        variance: σ, likewise.
        spin: ±1 weights; otherwise Gaussian ones.
        scale: z = scale · Σ w x.
        mask: boolean, likewise; False where there is no edge.

    Raises:
        ValueError: shapes that differ, numbers that are none, or a layer without edges.
    """

    mean: Array
    variance: Array
    spin: bool
    scale: float = 1.0
    mask: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        for name in ("mean", "variance"):
            object.__setattr__(self, name, real_array(name, getattr(self, name)))
        object.__setattr__(self, "spin", check_flag("spin", self.spin))
        object.__setattr__(self, "scale", check_number("scale", self.scale))
        if self.mask is not None:
            if number_array("mask", self.mask).dtype != bool:
                raise ValueError(f"`mask` must be boolean, got {shown(self.mask)}")
            object.__setattr__(self, "mask", np.asarray(self.mask))
        shapes = {self.mean.shape, self.variance.shape, self.mean.shape if self.mask is None else self.mask.shape}
        if len(shapes) > 1 or self.mean.ndim != 2 or not self.mean.size:
            raise ValueError(f"`mean`, `variance` and `mask` must have one shape (outputs, inputs), got {shapes}")
        if not np.all(self.variance >= 0.0):
            raise ValueError(f"`variance` must be >= 0, got {self.variance.min()}")
        if self.inputs == 0.0:
            raise ValueError("`mask` must leave an edge, got none")

    @property
    def inputs(self) -> float:
        """Edges a unit, on average."""
        return float(np.size(self.mean) if self.mask is None else np.count_nonzero(self.mask)) / len(self.mean)

    def moments(self) -> tuple[float, ...]:
        """Return means over the edges of <w²>, m², <w⁴>, <w³>m, <w²>², <w²>m² and m⁴."""
        edges = slice(None) if self.mask is None else self.mask
        m, v = self.mean[edges], self.variance[edges]
        m2 = m * m
        second = np.ones_like(m) if self.spin else m2 + v
        third = m if self.spin else m * (m2 + 3.0 * v)
        fourth = np.ones_like(m) if self.spin else m2 * (m2 + 6.0 * v) + 3.0 * v * v
        return tuple(float(np.mean(a)) for a in (second, m2, fourth, third * m, second**2, second * m2, m2**2))


@briefly
@dataclass(frozen=True)
class ExpectedSum:
    """What the sums into the units of a layer are expected to be.

    Attributes:
        inputs: edges a unit.
        known: share of the second moment that is that of the mean ω; the rest is the variance V.
        excess_kurtosis: of z about ω; 0 for the Gaussian of the messages.
    """

    inputs: float
    known: float
    excess_kurtosis: float


def expected_sums(
    layers: Sequence[StochasticWeights], activations: Sequence[Activation], *, input_fourth: float = 1.0
) -> tuple[ExpectedSum, ...]:
    """Return pre-activations layer by layer, with inputs of mean square 1 and independent units, as message passing has
    them.

    The means ω are taken as normal over the units, with the variance that the layer below gives them.

    Args:
        layers: from the data to the output.
        activations: of the hidden layers, one fewer.
        input_fourth: mean fourth power of the data, 1 for ±1.

    Raises:
        ValueError: numbers that do not fit.
    """
    need = "a sequence of StochasticWeights"
    layers = [
        check_instance("layers", each, StochasticWeights, need) for each in check_sequence("layers", layers, need)
    ]
    activations = check_activations("activations", activations)
    input_fourth = check_number("input_fourth", input_fourth, minimum=0.0)
    if len(activations) != len(layers) - 1:
        raise ValueError(f"`activations` must be {len(layers) - 1} (one fewer than layers), got {len(activations)}")
    unit = (1.0, 1.0, input_fourth, input_fourth, input_fourth, input_fourth, input_fourth)
    sums: list[ExpectedSum] = []
    for number, layer in enumerate(layers):
        products = [w * x for w, x in zip(layer.moments(), unit, strict=True)]
        second, known = products[0], products[1]
        unknown = max(second - known, _MIN_SHARE * second)
        cumulant = float(np.dot(products[2:], (1.0, -4.0, -3.0, 12.0, -6.0)))
        sums.append(ExpectedSum(layer.inputs, known / second, cumulant / (layer.inputs * unknown**2)))
        if number < len(activations):
            total = layer.inputs * layer.scale**2 * second
            unit = _unit_moments(activations[number], total, known / second)
    return tuple(sums)


def _unit_moments(activation: Activation, total: float, known: float) -> tuple[float, ...]:
    """Return means over ω of what ``StochasticWeights.moments`` has of the weights, for x = σ(z), z ~ N(ω, V)."""
    known = float(np.clip(known, _MIN_SHARE, 1.0 - _MIN_SHARE))
    omega, outer = (a.ravel() for a in normal_panels(np.zeros(1), (known * total) ** 0.5, (0.0,), 2))
    z, inner = normal_panels(omega, ((1.0 - known) * total) ** 0.5, activation.centres, 2)
    x = activation(z)
    first, second, third, fourth = (np.sum(inner * x**power, axis=(1, 2)) for power in (1, 2, 3, 4))
    columns = (second, first**2, fourth, third * first, second**2, second * first**2, first**4)
    return tuple(float(outer @ column) for column in columns)
