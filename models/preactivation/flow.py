"""Pre-activations of wide random networks, layer by layer: covariance, four-point vertex, and running couplings.

z^1 = b + W x and z^{l+1} = b + W σ(z^l), with independent W of variance C_W/inputs and b of variance C_b. At infinite
width the pre-activations of a unit on D inputs are Gaussian; at finite width all deviations are of order depth/width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from factorgraph.activations import Activation
from factorgraph.interface.arguments import check_instance, check_integer, check_number, real_array, shown
from factorgraph.interface.brief import briefly
from models.checks import check_activations, check_sequence, matrix, number_or_vector
from models.preactivation.tensors import moments, slopes

Array = NDArray[np.float64]

_LARGEST_CORRELATION = 1.0 - 1e-8


@briefly
@dataclass(frozen=True)
class Couplings:
    """The action S = ½ Σ g_ab z_a·z_b - ⅛ Σ v_abcd z_a·z_b z_c·z_d of some neurons on some inputs [RG, eq. 4.80].

    The dots are sums over the neurons. Correlators follow to first order in v.

    Attributes:
        g: quadratic coupling, (D, D).
        v: quartic one, (D, D, D, D).
        neurons: how many are not integrated out.
    """

    g: Array
    v: Array
    neurons: int

    def covariance(self) -> Array:
        """Return G_ab of one neuron; does not depend on how many others are kept [RG, eq. 4.101]."""
        c = np.linalg.inv(self.g)
        pairs = np.einsum("efgh,gh->ef", self.v, c)
        crossed = np.einsum("egfh,gh->ef", self.v, c)
        return c + c @ (0.5 * self.neurons * pairs + crossed) @ c

    def marginal(self, neurons: int) -> "Couplings":
        """Integrate out all but ``neurons`` of them, g_m = g_n - ½ (n - m) v/g_n; v stays [RG, eq. 4.100, corrected].

        Raises:
            ValueError: more than there are, or less than one.
        """
        neurons = check_integer("neurons", neurons, minimum=1, maximum=self.neurons)
        mean = np.einsum("abcd,cd->ab", self.v, np.linalg.inv(self.g))
        return Couplings(self.g - 0.5 * (self.neurons - neurons) * mean, self.v, neurons)


@briefly
@dataclass(frozen=True)
class LayerStatistics:
    """Pre-activations of one layer on D inputs, to first order in 1/width.

    Attributes:
        inputs: n, units in the layer below.
        limit_covariance: G_ab, covariance of a unit at infinite width, (D, D) [RG, eq. 4.72].
        shift: what finite width adds to it, of order 1/width.
        vertex: V, (D, D, D, D): units i ≠ j have the cumulant V_(ab)(cd)/n of z_ia z_ib z_jc z_jd [RG, eqs. 4.76-4.77].
        own: U, what weights that are not Gaussian add to the fourth cumulant of a single unit, times n.
    """

    inputs: int
    limit_covariance: Array
    shift: Array
    vertex: Array
    own: Array

    @property
    def covariance(self) -> Array:
        """Covariance of a unit, (D, D)."""
        return self.limit_covariance + self.shift

    @property
    def cumulant(self) -> Array:
        """Fourth cumulant of a unit, (D, D, D, D): (V_(ab)(cd) + V_(ac)(bd) + V_(ad)(bc) + U)/n."""
        V = self.vertex
        return (V + V.transpose(0, 2, 1, 3) + V.transpose(0, 3, 2, 1) + self.own) / self.inputs

    def four_point(self, units: Sequence[int]) -> Array:
        """Return <z_ia z_jb z_kc z_ld> of four units i, j, k, l on all inputs, (D, D, D, D) [RG, eqs. 4.73-4.77].

        Only pairs of equal units count: the Gaussian part of three pairings, and the vertex that joins two pairs.

        Args:
            units: i, j, k, l: four integers, of which only matters which are equal.

        Raises:
            ValueError: ``units`` are not four integers >= 0.
        """
        first, second, third, fourth = _four("units", units)
        covariance, vertex = self.covariance, self.vertex / self.inputs
        pairing = np.multiply.outer(covariance, covariance) + vertex  # of the first two and the last two
        result = np.zeros_like(vertex)
        if first == second and third == fourth:
            result += pairing
        if first == third and second == fourth:
            result += pairing.transpose(0, 2, 1, 3)
        if first == fourth and second == third:
            result += pairing.transpose(0, 3, 2, 1)
        if first == second == third == fourth:
            result += self.own / self.inputs
        return result

    @property
    def excess_kurtosis(self) -> Array:
        """Of a unit, (D,); 0 for a Gaussian."""
        return np.einsum("aaaa->a", self.cumulant) / np.diag(self.limit_covariance) ** 2

    def couplings(self, neurons: int = 1, samples: Sequence[int] | None = None) -> Couplings:
        """Return the couplings of the marginal law of ``neurons`` units on the inputs ``samples`` (all if None).

        [RG, eqs. 4.82-4.83, 4.102] for several inputs. For a single unit the cumulant of its own weights belongs to v,
        and 1/g is what makes the covariance of the action that of the layer.

        Raises:
            ValueError: ``neurons`` < 1 or so many that the expansion fails; samples that are none; more than one unit
                where weights are not Gaussian: their law is no function of the products z_a·z_b.
        """
        neurons, last = check_integer("neurons", neurons, minimum=1), len(self.limit_covariance) - 1
        given = check_sequence("samples", range(last + 1) if samples is None else samples, "a sequence of inputs")
        index = [check_integer("samples", i, minimum=0, maximum=last) for i in given]
        if not index or len(set(index)) < len(index):
            raise ValueError(f"`samples` must be different numbers in 0..{last}, at least one, got {shown(samples)}")
        if neurons > 1 and np.any(self.own):
            raise ValueError(f"`neurons` must be 1 where weights are not Gaussian, got {neurons}")
        four = np.ix_(index, index, index, index)
        covariance, own = self.covariance[np.ix_(index, index)], self.own[four] / 3.0
        vertex = (self.vertex[four] + own) / self.inputs
        inverse = np.linalg.inv(covariance)
        pairs = np.einsum("abcd,cd->ab", vertex, inverse)
        crossed = np.einsum("acbd,cd->ab", vertex, inverse)
        c = covariance - 0.5 * neurons * pairs - crossed
        if np.linalg.eigvalsh(c)[0] <= 0.0:
            raise ValueError(
                f"`neurons` must be few enough that neurons times depth/width is small, got {neurons}: "
                "no Gaussian is near"
            )
        g = np.linalg.inv(c)
        v = np.einsum("ae,bf,cg,dh,efgh->abcd", *(inverse,) * 4, vertex, optimize=True)
        return Couplings(g, v, neurons)


def _four(name: str, values: Sequence[int]) -> list[int]:
    numbers = [check_integer(name, value, minimum=0) for value in check_sequence(name, values, "four integers")]
    if len(numbers) != 4:
        raise ValueError(f"`{name}` must be four integers, got {shown(values)}")
    return numbers


def first_layer(
    x: ArrayLike, *, weight_variance: float = 1.0, bias_variance: float = 0.0, weight_kurtosis: float = 0.0
) -> LayerStatistics:
    """Return the statistics of b + W x.

    Args:
        x: inputs (features,) or (D, features).
        weight_variance: C_W.
        bias_variance: C_b.
        weight_kurtosis: excess kurtosis of a weight, -2 for ±1.

    Raises:
        ValueError: inputs that are no finite numbers, zero, or multiples of one another; variances < 0.
    """
    x = matrix("x", np.atleast_2d(real_array("x", x)), "(D, features), or of shape (features,)")
    weight_variance, bias_variance = _check_variances(weight_variance, bias_variance)
    weight_kurtosis = check_number("weight_kurtosis", weight_kurtosis, minimum=-2.0)
    inputs = x.shape[1]
    covariance = _checked(bias_variance + weight_variance * (x @ x.T) / inputs)
    own = weight_kurtosis * weight_variance**2 * np.einsum("ai,bi,ci,di->abcd", x, x, x, x, optimize=True) / inputs
    return LayerStatistics(inputs, covariance, np.zeros_like(covariance), np.zeros(own.shape), own)


def next_layer(
    below: LayerStatistics,
    activation: Activation,
    width: int,
    *,
    weight_variance: float = 1.0,
    bias_variance: float = 0.0,
    weight_kurtosis: float = 0.0,
) -> LayerStatistics:
    """Return the statistics of b + W σ(z), for ``width`` units of pre-activations z with the statistics ``below``.

    With χ = C_W ∂<σσ>/∂G, V' = C_W² [<σσσσ> - <σσ><σσ>] + (width/inputs) χ V χ [RG, eq. 4.90], and the shift is carried
    on by χ and grows by the fourth cumulant below [RG, eq. 4.61]. Arguments as of ``first_layer``.

    Raises:
        ValueError: ``width`` < 1, variances < 0, or pre-activations on two inputs that are multiples of one another.
    """
    check_instance("below", below, LayerStatistics, "LayerStatistics")
    check_instance("activation", activation, Activation, "an activation of models.preactivation")
    width = check_integer("width", width, minimum=1)
    weight_variance, bias_variance = _check_variances(weight_variance, bias_variance)
    weight_kurtosis = check_number("weight_kurtosis", weight_kurtosis, minimum=-2.0)
    second, fourth = moments(activation, below.limit_covariance, 2), moments(activation, below.limit_covariance, 4)
    chi = weight_variance * slopes(activation, below.limit_covariance)
    vertex = weight_variance**2 * (fourth - np.multiply.outer(second, second))
    carried = np.einsum("abij,ijkl,cdkl->abcd", chi, below.vertex, chi, optimize=True)
    shift = np.einsum("abij,ij->ab", chi, below.shift) + weight_variance * _bent(activation, below)
    return LayerStatistics(
        width,
        _checked(bias_variance + weight_variance * second),
        shift,
        vertex + width / below.inputs * carried,
        weight_kurtosis * weight_variance**2 * fourth,
    )


def propagate(
    x: ArrayLike,
    hidden: Sequence[int],
    activation: Activation | Sequence[Activation],
    *,
    weight_variance: ArrayLike = 1.0,
    bias_variance: ArrayLike = 0.0,
    weight_kurtosis: ArrayLike = 0.0,
) -> tuple[LayerStatistics, ...]:
    """Return the statistics of the pre-activations of every layer, the last one behind the last hidden layer.

    Args:
        x: inputs (features,) or (D, features).
        hidden: units of each hidden layer.
        activation: of all hidden layers, or one each.
        weight_variance: C_W of all layers, or one each (hidden layers and one).
        bias_variance: C_b, likewise.
        weight_kurtosis: of the weights, likewise; -2 for ±1.

    Raises:
        ValueError: as by ``first_layer`` and ``next_layer``, or numbers of values that do not fit.
    """
    hidden = [check_integer("hidden", n, minimum=1) for n in check_sequence("hidden", hidden, "a sequence of sizes")]
    activations = check_activations("activation", activation, len(hidden))
    names = ("weight_variance", "bias_variance", "weight_kurtosis")
    columns = [
        _per_layer(name, value, len(hidden) + 1)
        for name, value in zip(names, (weight_variance, bias_variance, weight_kurtosis), strict=True)
    ]
    settings = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    layers = [first_layer(x, **settings[0])]
    for width, sigma, setting in zip(hidden, activations, settings[1:], strict=True):
        layers.append(next_layer(layers[-1], sigma, width, **setting))
    return tuple(layers)


def _bent(activation: Activation, below: LayerStatistics) -> Array:
    """Return what the fourth cumulant below adds to <σ_a σ_b>, (D, D)."""
    size = len(below.limit_covariance)
    result = np.zeros((size, size))
    if not np.any(below.cumulant):
        return result
    for a in range(size):
        for b in range(a + 1):
            index = sorted({a, b})
            covariance, cumulant = below.limit_covariance[np.ix_(index, index)], below.cumulant[np.ix_(*(index,) * 4)]
            result[a, b] = result[b, a] = activation.fourth_order(covariance, cumulant)
    return result


def _per_layer(name: str, value: ArrayLike, layers: int) -> list[float]:
    return number_or_vector(name, value, layers).tolist()


def _check_variances(weight_variance: float, bias_variance: float) -> tuple[float, float]:
    return (
        check_number("weight_variance", weight_variance, minimum=0.0),
        check_number("bias_variance", bias_variance, minimum=0.0),
    )


def _checked(covariance: Array) -> Array:
    """Return the covariance, if every input has a signal of its own in it."""
    variance = np.diag(covariance)
    if np.any(variance <= 0.0):
        raise ValueError(
            f"`x` and `weight_variance` must give pre-activations of variance > 0, got {variance.tolist()}"
        )
    correlation = np.abs(covariance) / np.sqrt(np.multiply.outer(variance, variance)) - np.eye(len(covariance))
    if correlation.max() > _LARGEST_CORRELATION:
        a, b = np.unravel_index(correlation.argmax(), correlation.shape)
        raise ValueError(
            "`x` must be inputs whose pre-activations are no multiples of one another in any layer: "
            f"those on inputs {a} and {b} are correlated by {correlation[a, b]:.9f} in size; leave one out"
        )
    return covariance
