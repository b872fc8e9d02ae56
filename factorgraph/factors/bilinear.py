"""The neuron: a channel on a weighted sum, for every unit and sample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from factorgraph.channels import Argmax, Channel
from factorgraph.factors.argmax import Classes
from factorgraph.factors.base import Array, Group, Kind, Parameters, Part, aligned
from factorgraph.factors.sum import output_values, to_output
from factorgraph.interface.arguments import check_instance, check_name, check_number, shown
from factorgraph.interface.errors import ModelError
from factorgraph.messages.natural import Incoming, Outgoing, spin_moments
from factorgraph.messages.ranges import VARIANCE_FLOOR
from factorgraph.model.description import Model, Selection, printable
from factorgraph.model.layout import Layout


@dataclass(frozen=True)
class Bilinear:
    """z_kn = scale · (Σ_i W_ki x_in + b_k),  output_kn ~ P(·|z_kn)  [DL, eq. 18].

    Attributes:
        output: name of the variable on plates (units, samples); (samples) alone for an ``Argmax`` output.
        weights: name of the variable on plates (units, inputs).
        inputs: name of the variable on plates (inputs, samples).
        channel: the activation; ``Argmax`` couples all units of a sample.
        bias: name of a variable on plate (units), or None: the weight of a constant unit 1.
        scale: fixed factor in front of the sum.
        mask: boolean (units, inputs), False where there is no edge; None for all edges.
    """

    output: str
    weights: str
    inputs: str
    channel: Channel | Argmax
    bias: str | None = None
    scale: float = 1.0
    mask: np.ndarray[Any, np.dtype[np.bool_]] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        for what in ("output", "weights", "inputs", "bias"):
            if what != "bias" or self.bias is not None:
                check_name(what, getattr(self, what), error=ModelError)
        check_instance("channel", self.channel, (Channel, Argmax), "a channel", error=ModelError)
        object.__setattr__(self, "scale", check_number("scale", self.scale, above=0.0, error=ModelError))
        if self.mask is not None and (type(self.mask) is not np.ndarray or self.mask.dtype != bool):
            raise ModelError(f"`mask` must be a boolean array, got {shown(self.mask)}")

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the variables it touches."""
        names = (self.output, self.weights, self.inputs)
        return names if self.bias is None else (*names, self.bias)

    def check(self, model: Model) -> None:
        """Raise ``ModelError`` unless plates, mask and scale fit each other."""
        units, samples = self._plate_pair(model, self.weights)[0], self._plate_pair(model, self.inputs)[1]
        inputs = model.variables[self.weights].plates[1]
        expected: dict[str, tuple[str, ...]] = {self.inputs: (inputs, samples), self.output: (units, samples)}
        if isinstance(self.channel, Argmax):
            expected[self.output] = (samples,)
            if not model.variables[self.output].observed:
                raise ModelError(f"labels `{self.output}` of an argmax must be observed, got a free variable")
        if self.bias is not None:
            expected[self.bias] = (units,)
        for name in self.variables:
            if model.variables[name].states:
                raise ModelError(f"`{name}` must be spins or real variables, got categories")
        for name, plates in expected.items():
            if model.variables[name].plates != plates:
                raise ModelError(f"plates of `{name}` must be {plates}, got {model.variables[name].plates}")
        if self.mask is not None and self.mask.shape != model.shape(self.weights):
            shape = model.shape(self.weights)
            raise ModelError(f"`mask` must be a boolean array of shape {shape}, got shape {self.mask.shape}")

    def parts(self, layout: Layout) -> list[Part]:
        """Return one part for every number of inputs that the mask leaves to a unit; one alone for an ``Argmax``
        output."""
        if isinstance(self.channel, Argmax):
            return [self._classes(layout, self.channel)]
        return [part for group in self.neurons(layout) for part in group.parts(layout)]

    def _classes(self, layout: Layout, channel: Argmax) -> Part:
        """Return one factor a sample."""
        if channel.form == "single_jensen":
            raise ModelError(f"`form` of {self} must be one without random numbers, got {channel.form!r}")
        K, n = layout.shapes[self.weights]
        edges = np.arange(K * n) if self.mask is None else np.flatnonzero(self.mask)
        (samples,) = layout.shapes[self.output]
        positions = {name: np.arange(layout.size)[layout.slice(name)] for name in self.variables}
        weights = positions[self.weights][edges]
        if self.bias is not None:
            weights = np.concatenate([positions[self.bias], weights])
        table = [np.broadcast_to(weights, (samples, weights.size)), positions[self.inputs].reshape(n, samples).T]
        table.append(positions[self.output][:, None])
        spin_weights, spin_inputs = (layout.model.variables[name].is_spin for name in (self.weights, self.inputs))
        kept, bias = tuple(edges.tolist()), self.bias is not None
        kind = Classes(channel, self.scale, K, n, kept, bias, spin_weights, spin_inputs)
        return Part(kind, np.concatenate(table, axis=1))

    def neurons(self, layout: Layout) -> "list[Neurons]":
        """Return the same factors unit by unit and sample by sample.

        Raises:
            ModelError: an ``Argmax`` output, which couples its units.
        """
        if isinstance(self.channel, Argmax):
            raise ModelError(f"`channel` of {self} must act on scalars, got an Argmax")
        W, x, out = (Selection.whole(n, layout.shapes[n]) for n in (self.weights, self.inputs, self.output))
        bias = None if self.bias is None else Selection.whole(self.bias, layout.shapes[self.bias])
        mask = np.ones(W.shape, dtype=bool) if self.mask is None else self.mask
        groups = []
        for degree in np.unique(mask.sum(axis=1)):
            units = np.flatnonzero(mask.sum(axis=1) == degree)
            kept = np.nonzero(mask[units])[1].reshape(len(units), degree)
            weights = W[units[:, None], kept][:, None].columns
            inputs = x[kept[:, None], np.arange(x.shape[1])[:, None]].columns
            own = None if bias is None else bias[units][:, None]
            groups.append(Neurons(out[units], weights, inputs, channel=self.channel, bias=own, scale=self.scale))
        return groups

    @staticmethod
    def _plate_pair(model: Model, name: str) -> tuple[str, str]:
        plates = model.variables[name].plates
        if len(plates) != 2:
            raise ModelError(f"`{name}` must have two plates, got {plates}")
        return plates[0], plates[1]

    def __str__(self) -> str:
        total = f"{self.weights} · {self.inputs}" + (f" + {self.bias}" if self.bias else "")
        if self.scale != 1.0:
            total = f"{self.scale:.4g} ({total})"
        sparse = "" if self.mask is None else f", {self.mask.mean():.1%} of the edges"
        return printable(f"{self.output} ~ {self.channel}({total}){sparse}")


@dataclass(frozen=True, eq=False, init=False)
class Neurons(Group):
    """output ~ P(·|scale · (Σ_i weights_i inputs_i + bias)): the factors of ``Bilinear`` between any variables.

    Args:
        output: selection of what the channel gives; spins for a channel whose output is ±1.
        weights: n selections of fitting shapes; ``W[k].columns`` for the weights of unit k.
        inputs: likewise.
        channel: the activation; one that acts on scalars.
        bias: selection, or None.
        scale: fixed factor in front of the sum.

    Raises:
        ModelError: selections, a channel or a scale that do not fit; or weights of which some are spins and some not.
    """

    channel: Channel
    scale: float
    shared_names = ("channel", "scale")

    def __init__(
        self,
        output: Selection,
        weights: Sequence[Selection],
        inputs: Sequence[Selection],
        *,
        channel: Channel,
        bias: Selection | None = None,
        scale: float = 1.0,
    ) -> None:
        check_instance("channel", channel, Channel, "a channel that acts on scalars", error=ModelError)
        scale = check_number("scale", scale, above=0.0, error=ModelError)
        weights, inputs = _selections("weights", weights), _selections("inputs", inputs)
        if len(weights) != len(inputs):
            raise ModelError(f"`weights` and `inputs` must be equally many, got {len(weights)} and {len(inputs)}")
        _selections("output", [output])
        _selections("bias", [] if bias is None else [bias])
        terms = (*weights, *inputs, output)
        object.__setattr__(self, "arguments", aligned(terms if bias is None else (bias, *terms), "arguments"))
        object.__setattr__(self, "channel", channel)
        object.__setattr__(self, "scale", scale)

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return (len(self.arguments) - 1) // 2

    @property
    def bias(self) -> bool:
        """Whether the first argument is a bias."""
        return len(self.arguments) % 2 == 0

    @classmethod
    def from_rows(
        cls, arguments: Sequence[Selection], rows: Mapping[str, Array], shared: Mapping[str, Any]
    ) -> "Neurons":
        """Return the arguments are the bias (where their number is even), the weights, the inputs and the output."""
        *terms, output = arguments
        bias = terms.pop(0) if len(terms) % 2 else None
        n = len(terms) // 2
        return cls(output, terms[:n], terms[n:], bias=bias, **shared)

    def parts(self, layout: Layout) -> list[Part]:
        """Return one part."""
        pattern, n, b = self.pattern(layout), self.inputs, int(self.bias)
        if pattern[-1] != self.channel.spin:
            want = "spins" if self.channel.spin else "real"
            raise ModelError(f"`{self.arguments[-1].name}` must be {want} for {self.channel}")
        weights, inputs = set(pattern[: n + b]), set(pattern[n + b : -1])
        if len(weights) > 1 or len(inputs) > 1:
            raise ModelError(f"weights (and inputs) of {self} must be all spins or all real, got both")
        kind = Neuron(self.channel, self.scale, n, self.bias, True in weights, True in inputs, pattern[-1])
        return [Part(kind, self.table(layout))]


def _selections(name: str, given: Any) -> tuple[Selection, ...]:
    """Return a sequence of selections, checked; a selection with axes is one."""
    if not isinstance(given, (list, tuple)) and not (isinstance(given, Selection) and given.shape):
        raise ModelError(f"`{name}` must be a sequence of selections of variables, got {shown(given)}")
    items: Any = given
    return aligned(tuple(items), name) if len(items) else ()


@dataclass(frozen=True)
class Neuron(Kind):
    """x_out ~ P(·|scale · (b + Σ_i W_i x_i)), arguments in the order b (if there is one), W_1 .. W_n, x_1 .. x_n, out.

    Relaxed belief propagation [DL, eqs. 64-71]: means are cavity ones, variances full ones.

    Attributes:
        channel: the activation.
        scale: fixed factor in front of the sum.
        inputs: n.
        bias: whether there is a bias: the weight of a constant input 1.
        spin_weights: whether weights and bias are spins.
        spin_inputs: whether the inputs are.
        spin_output: whether the output is.
    """

    channel: Any
    scale: float
    inputs: int
    bias: bool
    spin_weights: bool
    spin_inputs: bool
    spin_output: bool
    name = "Bilinear"
    full_variance = True
    approximate = True

    @property
    def spins(self) -> tuple[bool, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Bias and weights, inputs, output."""
        weights = self.inputs + self.bias
        return (self.spin_weights,) * weights + (self.spin_inputs,) * self.inputs + (self.spin_output,)

    @property
    def law_slot(self) -> int | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The output, unless it is a spin."""
        return None if self.channel.spin else 2 * self.inputs + self.bias

    def rule(self, parameters: Parameters, incoming: Incoming, *, maximum: bool = False) -> Outgoing:
        """Return B = s m g_i, A = s² [(m² + σ)Γ - σ g²] to an input, the same with W and x exchanged to a weight.

        g_i is taken at omega minus the own term, Γ and the g of A at the full omega.
        """
        m, x, (m_full, sigma), (x_full, delta) = self._arguments(incoming)
        omega, V = self._sum(m, x, m_full, sigma, x_full, delta)
        s, own = self.scale, m * x
        _, g, gamma = self._derivatives(incoming, omega, V)
        _, g_edge, _ = self._derivatives(incoming, omega[:, None] - own, np.broadcast_to(V[:, None], own.shape))
        gamma, g_squared = s * s * gamma[:, None], (s * g[:, None]) ** 2
        to_weights = s * x * g_edge, (x_full**2 + delta) * gamma - delta * g_squared
        to_inputs = s * m * g_edge, (m_full**2 + sigma) * gamma - sigma * g_squared
        to_out = to_output(self.channel, s * omega, s * s * V)
        b = int(self.bias)
        B, A = (np.hstack([w, i[:, b:], o[:, None]]) for w, i, o in zip(to_weights, to_inputs, to_out, strict=True))
        return Outgoing(B, A)

    def log_partition(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return phi of an observed output or a spin; 0 for a free real one, whose variable counts it."""
        m, x, (m_full, sigma), (x_full, delta) = self._arguments(incoming)
        omega, V = self._sum(m, x, m_full, sigma, x_full, delta)
        phi = self._derivatives(incoming, omega, V)[0]
        return phi if self.channel.spin else np.where(np.isinf(incoming.second[:, -1]), phi, 0.0)

    def log_factor(self, parameters: Parameters, *x: Array) -> Array:
        """Return log P(x_out | z)."""
        n, b = self.inputs, int(self.bias)
        terms = [w * value for w, value in zip(x[b : b + n], x[b + n : b + 2 * n], strict=True)]
        z = self.scale * (sum(terms) + (x[0] if self.bias else 0.0))
        y, z = np.broadcast_arrays(x[-1], z)
        return self.channel.observe(y, omega=z, V=np.full(z.shape, 1e-12)).phi

    def _arguments(self, incoming: Incoming) -> tuple[Array, Array, tuple[Array, Array], tuple[Array, Array]]:
        """Return cavity means of weights and inputs (F, n + bias), and their full means and variances."""
        w, last = self.inputs + self.bias, 2 * self.inputs + self.bias
        m, x = incoming.first[:, :w], incoming.first[:, w:last]
        m = spin_moments(m)[0] if self.spin_weights else m
        x = spin_moments(x)[0] if self.spin_inputs else x
        full = incoming.mean[:, w:last], incoming.variance[:, w:last]
        if self.bias:
            one, zero = np.ones((len(m), 1)), np.zeros((len(m), 1))
            x, full = np.hstack([one, x]), (np.hstack([one, full[0]]), np.hstack([zero, full[1]]))
        return m, x, (incoming.mean[:, :w], incoming.variance[:, :w]), full

    def _sum(self, m: Array, x: Array, m_full: Array, sigma: Array, x_full: Array, delta: Array) -> tuple[Array, Array]:
        """Return omega = Σ m x and V = Σ [m²Δ + σ(x̂² + Δ)], both (F,)."""
        V = (m_full**2 * delta + sigma * (x_full**2 + delta)).sum(axis=1)
        return (m * x).sum(axis=1), np.maximum(V, VARIANCE_FLOOR)

    def _derivatives(self, incoming: Incoming, omega: Array, V: Array) -> tuple[Array, Array, Array]:
        s, first, second = self.scale, incoming.first[:, -1], incoming.second[:, -1]
        return output_values(self.channel, self.spin_output, first, second, s * omega, s * s * V)
