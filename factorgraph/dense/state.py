"""One dense layer: what it is, the state of its weights, and its messages.

The weights are free, with means m and variances σ, or observed: then σ = 0, and m may be any linear operator.

Weight arrays are (outputs, inputs), arrays of units (units, samples). ``x`` are the inputs of the layer, ``z`` its
pre-activations, in units where the scale of the layer is 1: z = Σ_i W_ki x_in.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from factorgraph.channels import Argmax, Channel
from factorgraph.messages.ranges import VARIANCE_FLOOR
from factorgraph.priors import Prior

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class LayerPlan:
    """What a dense layer is: its sizes, scalar free energies and closure.

    Attributes:
        name: of the weight variable, used in every message about the layer.
        inputs: columns of the weight array; the constant unit of a bias is the last one.
        outputs: rows of the weight array.
        prior: base measure of the weights; None if they are observed.
        channel: activation of the outputs.
        closure: name of what replaces the cavity quantities: see ``factorgraph.dense.closures``.
        scale: z = scale · Σ_i W_ki x_in.
        bias: whether the last input is the constant unit.
        input_channel: activation that produces the inputs, or their prior; None for data.
        mask: boolean (outputs, inputs), False where there is no edge; None for all edges.
        min_variance: of the pre-activations; keeps omega/√V finite once all weights and inputs are certain.
    """

    name: str
    inputs: int
    outputs: int
    prior: Prior | None
    channel: Channel | Argmax
    closure: str
    scale: float
    bias: bool
    input_channel: Channel | Prior | None
    mask: np.ndarray[Any, np.dtype[np.bool_]] | None
    min_variance: float = VARIANCE_FLOOR

    @property
    def is_first(self) -> bool:
        """The inputs are data: known exactly, nothing is sent to them."""
        return self.input_channel is None

    @property
    def spin_inputs(self) -> bool:
        """Every input satisfies x² = 1, so that x̂² + Δ = 1 and the message A to it is a constant."""
        return self.input_channel is not None and self.input_channel.spin

    @property
    def spin_weights(self) -> bool:
        """Every weight satisfies w² = 1, so that m² + σ = 1 and the message G to it is a constant."""
        return self.prior is not None and self.prior.spin

    @property
    def full_spins(self) -> bool:
        """±1 weights on all edges: m² + σ = 1 everywhere in the weight array."""
        return self.spin_weights and self.mask is None


@dataclass(frozen=True)
class Message:
    """What is known from above about the outputs of a layer: natural parameters (B, A), or the observed values.

    Attributes:
        channel: activation of the outputs, or their prior if they are the signal.
        scale: the channel sees scale · z.
        B: first natural parameter, (outputs, samples); None at the start of a batch, when nothing is known.
        A: second natural parameter; None where the outputs are ±1.
        y: observed outputs, (outputs, samples) or, for an argmax, labels (samples) or their probabilities (outputs,
            samples); None for a hidden layer, or where B is known of the outputs.
        rng: for the sampled form of an argmax output.
        power: to which the likelihood of each sample is taken, (samples,); None for 1. g and Γ are those of
            phi times it.
    """

    channel: Channel | Argmax | Prior
    scale: float
    B: Array | None = None
    A: Array | None = None
    y: Array | None = None
    rng: np.random.Generator | None = None
    power: Array | None = None

    def rows(self, rows: slice) -> "Message":
        """Return the same for some of the outputs, with an axis for the inputs in the middle: (rows, 1, samples)."""

        def pick(values: Array | None) -> Array | None:
            return None if values is None else values[rows, None, :]

        return replace(self, B=pick(self.B), A=pick(self.A), y=pick(self.y))


class Source(Protocol):
    """The layer that computes the inputs of another one, dense or not.

    Attributes:
        omega: mean of its pre-activations.
        V: their variance.
    """

    omega: Array
    V: Array

    @property
    def plan(self) -> Any:
        """What it is: an object with its ``channel``."""
        ...


@dataclass
class Layer:
    """One layer: the state of its weights, kept from batch to batch, and the messages of the current batch.

    Attributes:
        plan: what the layer is.
        H: field, first natural parameter of the weights' posterior (the next prior); None if they are observed.
        G: precision, the second one; None for ±1 weights.
        mean: m, damped.
        sigma: σ of continuous weights. That of ±1 weights is 1 - m², and need not be kept: see ``variance``.
        squares: m² of observed weights, an operator as m is; None for free ones.
        below: the layer that computes the inputs; None for the first.
        beta: likelihood weight of the current batch: the messages to the weights count β times.
        damping: α of the means, m ← αm + (1 - α) m_new.
        x_mean: x̂ of the inputs, (inputs, samples).
        x_variance: Δ of the inputs; None for data.
        omega: mean of the pre-activations, (outputs, samples).
        V: their variance.
        g: ∂_omega phi.
        gamma: Γ = -∂²_omega phi.
        A: precision of the message to the inputs; None for data, and while it has not been computed.
        to_inputs: message about the inputs; None for data.
        H_in: message to the weights.
        G_in: its second natural parameter, which counts as 0 where it is negative; None for ±1 weights.
        scratch: room for one more array of edges.
        memory: what the closure keeps of the earlier iterations of the batch; None at the first one.
    """

    plan: LayerPlan
    H: Any
    G: Array | None
    mean: Any
    sigma: Any = None
    squares: Any = None
    below: Source | None = None
    beta: float = field(init=False, default=1.0)
    damping: float = field(init=False, default=0.0)
    x_mean: Array = field(init=False)
    x_variance: Array | None = field(init=False, default=None)
    omega: Array = field(init=False)
    V: Array = field(init=False)
    g: Array = field(init=False)
    gamma: Array = field(init=False)
    A: Array | None = field(init=False, default=None)
    to_inputs: Message | None = field(init=False, default=None)
    H_in: Array = field(init=False)
    G_in: Array | None = field(init=False, default=None)
    scratch: Array = field(init=False)
    memory: Any = field(init=False, default=None)

    def __post_init__(self) -> None:
        if not self.observed:
            self.H_in = np.zeros_like(self.H)
            self.G_in = None if self.G is None else np.zeros_like(self.H)
            self.scratch = np.zeros_like(self.H)

    @property
    def observed(self) -> bool:
        """The weights are known: nothing is sent to them."""
        return self.H is None

    @property
    def variance(self) -> Any:
        """σ, (outputs, inputs), computed anew where it is not kept; None if the weights are observed."""
        return self.spin_variance() if self.sigma is None and not self.observed else self.sigma

    def fields(self) -> Array:
        """Return a copy of H: what the means of the weights follow from."""
        return self.H.copy()

    def spin_variance(self) -> Array:
        """Return 1 - m² with the damped m, so that m² + σ = 1; (1 - m)(1 + m) keeps its digits as |m| -> 1.

        [DL, eq. 9] has ∂²_H psi = 1 - tanh² H, which differs while damped means lag behind: see ``docs/deviations.md``.
        """
        variance = (1.0 - self.mean) * (1.0 + self.mean)
        return variance if self.plan.mask is None else variance * self.plan.mask
