"""What every kind of layer is: all that the sweep, training, prediction, checkpoints and the benchmark ask of one.

A layer has a state, which training carries from batch to batch, and messages of the current batch. Inputs and outputs
are arrays (units, samples). What its weights are, how many, and in which arrays it keeps what it knows of them is its
own affair: see ``dense``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from deepnet.cost import Cost
from factorgraph.channels import Argmax, Channel
from factorgraph.dense.operations import Backward, Forward, Operations
from factorgraph.dense.state import Array, Message

if TYPE_CHECKING:
    from models.preactivation import StochasticWeights


class LoweringError(ValueError):
    """A model that has no sweep; the message says what stands in the way."""


@dataclass(frozen=True)
class Update:
    """How the messages of a batch change the weights of one layer: H ← βH_in + r H + ρ H_prev, m ← αm + (1-α)m_new.

    Attributes:
        rho: ρ, weight of the previous posterior as the next prior; near 1.
        damping: α in [0, 1).
        beta: likelihood weight β > 0; 1 is [DL].
        reinforcement: r >= 0, weight of the previous inner iteration's field.
        coupling: γ >= 0 of several replicas: see ``deepnet.layers.focusing``.
        batch: number of the mini-batch, of those that the training set is divided into.
    """

    rho: float = 1.0
    damping: float = 0.0
    beta: float = 1.0
    reinforcement: float = 0.0
    coupling: float = 0.0
    batch: int = 0


class Plan(Protocol):
    """What a layer is, before it has a state; its text is a line for the reader."""

    @property
    def name(self) -> str:
        """Of the weights, used in every message about the layer."""
        ...

    @property
    def features(self) -> int:
        """Number of units, or features of the data, that enter."""
        ...

    @property
    def outputs(self) -> int:
        """Number of units that it computes."""
        ...

    @property
    def weights(self) -> int:
        """Number of weights that there is room for."""
        ...

    @property
    def channel(self) -> Channel | Argmax:
        """Activation of the outputs."""
        ...

    @property
    def scale(self) -> float:
        """The channel sees scale · z of the pre-activations z."""
        ...

    @property
    def on_gpu(self) -> bool:
        """Whether a step of the layer can be captured on a GPU: none of its formulas is for the processor only."""
        ...

    def state_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """Return the shapes of the arrays of the state, by name; nothing is made."""
        ...

    def initial_layer(
        self, size: float, rng: np.random.Generator, dtype: np.dtype[Any] | type, below: "Layer | None"
    ) -> "Layer":
        """Return a layer with a random state.

        Args:
            size: of the random fields or pre-activations.
            rng: to draw from.
            dtype: of the state.
            below: the layer that computes the inputs; None for the first.
        """
        ...

    def cost(self) -> Cost:
        """Return what training the layer takes."""
        ...


class Layer(Protocol):
    """A layer: the state of its weights, and the messages of the current batch.

    Attributes:
        omega: mean of the pre-activations, (outputs, samples).
        V: their variance.
        g: ∂_omega of the log-partition of the outputs.
        gamma: Γ = -∂²_omega of it.
        to_inputs: message about the units below; None for data.
    """

    omega: Array
    V: Array
    g: Array
    gamma: Array
    to_inputs: Message | None

    @property
    def plan(self) -> Plan:
        """What the layer is."""
        ...

    def state(self) -> dict[str, Array]:
        """Return the arrays of the state by name: all that training carries from one epoch to the next."""
        ...

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up a state in place, of arrays named and shaped as those of ``state``, and where these are.

        Raises:
            ValueError: no such layer can have that state.
        """
        ...

    def drawn(self) -> Array | None:
        """Return what chance has fixed before training, where the layer is; None if nothing."""
        ...

    def copied(self, convert: Callable[[Array], Array], operations: Operations, below: "Layer | None") -> Self:
        """Return the same state in other arrays.

        Args:
            convert: from an array to the other one.
            operations: where the other arrays are.
            below: the layer below the copy.

        Raises:
            ValueError: this kind of layer cannot be there.
        """
        ...

    def watched(self) -> dict[str, tuple[Array, float]]:
        """Return what a divergence shows in: values by the symbols of the equations, and the largest size that they may
        have.

        Those of a batch are among them only after a batch.
        """
        ...

    def settle(self) -> None:
        """Take what is kept of single batches as what is known before: other data follow."""
        ...

    def learn_prior(self) -> bool:
        """Improve what the prior of the weights leaves open, if anything, by expectation maximisation; return whether
        there is such a thing."""
        ...

    def start(self, update: Update | None) -> None:
        """Begin a batch: forget the messages of the last one, and take up β and α; None for a prediction."""
        ...

    def base(self, *, copied: bool) -> Any:
        """Return what ρ weighs, the natural parameters at the start of a batch, for ``backward``.

        Args:
            copied: they are needed after the state has changed, in further iterations.
        """
        ...

    def receive(self, mean: Array, variance: Array | None) -> None:
        """Take up the moments of the inputs, (features, samples); no variance for data."""
        ...

    def forward(self, operations: Operations, *, last: bool, free_moments: bool) -> Forward:
        """Return mean and variance of the pre-activations, given the inputs.

        Args:
            operations: where the layer is.
            last: whether the iteration is the last one of the batch.
            free_moments: whether the moments of its units without a message are of use.
        """
        ...

    def backward(self, operations: Operations, above: Message, base: Any, update: Update, *, last: bool) -> Backward:
        """Return the messages to the units below, given omega, V, g and Γ, and change the state in place, or in the
        ``finish`` of what is returned.

        Args:
            operations: where the layer is.
            above: message about its outputs.
            base: of the batch.
            update: of this iteration.
            last: whether the iteration is the last one of the batch.
        """
        ...

    def most_probable(self) -> Callable[[Array], Array]:
        """Return the scaled pre-activations (outputs, samples) of inputs (features, samples), with the most probable
        weights.

        They do not depend on the number of threads, and are 0 where nothing but rounding is left of a sum.
        """
        ...

    def polarization(self) -> float:
        """Return ⟨q0⟩ = mean over the weights of m²: 1 once every ±1 weight is certain; 0 for a layer without
        weights."""
        ...

    def overlap(self) -> float:
        """Return ⟨q_ab⟩ = mean over pairs of outputs a < b of (1/inputs) Σ_i m_ai m_bi; 0 where there are no pairs."""
        ...

    def stochastic_weights(self) -> "StochasticWeights":
        """Return the weights as a random matrix."""
        ...
