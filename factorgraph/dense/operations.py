"""The operations of a sweep over dense layers, on whatever device the arrays are.

``Operations`` is implemented by NumPy in this package, and by the compiled loops for processors and GPUs in
``deepnet.kernels``. No implementation inherits from another: what they share are functions. A step that computes more
than its own result returns that in its record, and the sweep hands it on.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, Protocol

from factorgraph.dense.state import Array, Layer, Message
from factorgraph.priors import Prior

#: Means (m, x̂) of a block of edges: from the rows of the weight array to two (rows, inputs, samples) arrays.
EdgeMeans = Callable[[slice], tuple[Array, Array]]


class Path(Enum):
    """How the steps of a layer are computed; the values are what a reader sees."""

    CLOSURE = "the equations of the closure, product by product"
    FUSED = "fused loops over the whole layer"
    EDGES = "fused loops over the few edges of the layer"


@dataclass(frozen=True)
class Step:
    """How the messages of an iteration change the weights of a layer: H ← βH_in + r H + ρ H_base, G likewise.

    Attributes:
        field: H at the start of the batch; may be the layer's own array if ``reinforcement`` is 0.
        precision: G at the start of the batch, likewise; None for ±1 weights.
        rho: weight of the base.
        reinforcement: weight of the previous iteration's field; 0 at the first iteration.
    """

    field: Array
    precision: Array | None
    rho: float
    reinforcement: float


class Forward(NamedTuple):
    """What the forward step of a layer finds.

    Attributes:
        omega: means of the pre-activations, (outputs, samples).
        V: their variances.
        free_moments: x̂ and Δ of its units while no message from above is known; None if not computed on the way.
    """

    omega: Array
    V: Array
    free_moments: tuple[Array, Array] | None = None


class Backward(NamedTuple):
    """What the backward step of a layer sends; the weights it changes in place, at once or in ``finish``.

    Attributes:
        B: first natural parameter of the message to all inputs, (inputs, samples); None if they are data.
        A: second one; None where it is a constant or nothing is sent.
        derivatives_below: g and Γ of the layer below given this message; None if not computed on the way.
        finish: waits for sums over samples of other processes and changes the weights; None if that is done.
    """

    B: Array | None
    A: Array | None = None
    derivatives_below: tuple[Array, Array] | None = None
    finish: Callable[[], None] | None = None

    def then(self, action: Callable[[], None]) -> "Backward":
        """Return the same, with an ``action`` once the weights are changed: now, if they are."""
        if self.finish is None:
            action()
            return self
        finish = self.finish

        def both() -> None:
            finish()
            action()

        return self._replace(finish=both)


class Operations(Protocol):
    """Operations on layers whose arrays are where these operations take place."""

    def running(self) -> AbstractContextManager[Any]:
        """To be entered around sweeps, once for many of them."""
        ...

    def gather(self, data: Array, chosen: Array) -> Array:
        """Return the chosen rows of the data (samples, features) as inputs (features, chosen)."""
        ...

    def array(self, values: Array) -> Array:
        """Return the values where these operations take place; the same array if it is there."""
        ...

    def host(self, values: Array) -> Array:
        """Return the values as a NumPy array; the same array if it is one."""
        ...

    def total(self, values: Array) -> Array:
        """Return sums over the samples of a batch, given those over the samples that are here; may change
        ``values``."""
        ...

    def everywhere(self, values: Array) -> Array:
        """Return an array of all samples of a batch, which its last axis counts, given that of the samples that are
        here."""
        ...

    def place(self, layer: Layer) -> Layer:
        """Arrange the arrays of a layer, which are on the device, as suits the operations."""
        ...

    def times(self, W: Array, x: Array, *, coarse: bool = False) -> Array:
        """Return Σ_i W_ki x_in, (outputs, samples), of an array of edges W and an array of inputs x.

        Args:
            W: the edges.
            x: the inputs.
            coarse: every term may be rounded by 2^-8 of itself, as in sums that are variances or precisions.
        """
        ...

    def times_transposed(self, W: Array, g: Array, *, coarse: bool = False) -> Array:
        """Return Σ_k W_ki g_kn, (inputs, samples), of an array of edges W and an array of outputs g; as ``times``."""
        ...

    def outer(self, g: Array, x: Array, out: Array, *, coarse: bool = False) -> None:
        """Fill an array of edges with Σ_n g_kn x_in; as ``times``."""
        ...

    def add_product(self, target: Array, a: Array, b: Array) -> None:
        """target += a b, arrays of edges."""
        ...

    def moments(self, message: Message, omega: Array, V: Array) -> tuple[Array, Array]:
        """Return mean x̂ and variance Δ of the outputs of a hidden layer, given its pre-activations and the message.

        A signal has its prior instead, and pre-activations of no account.
        """
        ...

    def derivatives(self, message: Message, omega: Array, V: Array) -> tuple[Array, Array]:
        """Return g and Γ of the pre-activations z, given the message about the outputs."""
        ...

    def edge_messages(self, layer: Layer, message: Message, means: EdgeMeans | None = None) -> Array | None:
        """Sum the messages with g at omega minus the own term: fill H_in, return B (None if the inputs are data).

        Args:
            layer: with its omega, V, and inputs.
            message: about its outputs.
            means: cavity means of the edges; the full means of the layer if None.
        """
        ...

    def update_weights(self, layer: Layer, step: Step) -> None:
        """New fields from H_in and G_in, and from them the damped means [DL, App. B]; in place."""
        ...

    def weight_moments(self, prior: Prior, H: Array, G: Array | float) -> tuple[Array, Array]:
        """Return mean and variance of weights with these natural parameters."""
        ...

    def require_finite(self, values: Array) -> None:
        """Raise ``FloatingPointError`` if a value is not a number or infinite."""
        ...

    def path(self, layer: Layer, *, last: bool) -> Path:
        """Return how ``forward`` and ``backward`` compute a layer in this iteration, the ``last`` of its batch or
        not."""
        ...

    def forward(self, layer: Layer, *, last: bool, free_moments: bool) -> Forward:
        """Return mean and variance of the pre-activations of a layer, given its inputs.

        Args:
            layer: with its inputs.
            last: whether the iteration is the last one of the batch.
            free_moments: whether the moments of its units without a message are of use.
        """
        ...

    def backward(self, layer: Layer, above: Message, step: Step, *, last: bool) -> Backward:
        """Return messages to the inputs of a layer, given its g and Γ, and renew its weights, or say how.

        Args:
            layer: with its inputs, omega, V, g and Γ; its weights are changed in place.
            above: message about its outputs.
            step: how the messages change the weights.
            last: whether the iteration is the last one of the batch.
        """
        ...
