"""A known matrix between two vectors with shared precisions, z = A x: the linear node of vector message passing."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from factorgraph.factors.base import Array, Group, Kind, Parameters, Part, aligned
from factorgraph.interface.errors import ContradictionError, ModelError
from factorgraph.messages.linear_node import Law, LinearNode, along
from factorgraph.messages.natural import Incoming, Outgoing
from factorgraph.model.description import Model, Selection
from factorgraph.model.layout import Layout
from factorgraph.numerics.spectral import Spectral, matrix_argument

OUT_OF_RANGE = 1e-6  # relative distance from the range of a matrix that rounding of observed outputs may leave


@dataclass(frozen=True, eq=False, init=False)
class LinearMap(Group):
    """Constraints output = matrix · input between vectors along the last axis, with one precision each.

    Each message has the moments of the joint law of both ends, projected to one precision per vector (a d × d matrix,
    where the elements are vectors themselves: the columns of a matrix are then mapped together). One singular value
    decomposition serves all messages; each costs two products with U or V.

    Args:
        output: selection (..., m) of a variable with ``shared`` precision.
        input: selection (..., n) of another one, of the same dimension.
        matrix: (m, n) array, sparse, or ``Spectral``.

    Raises:
        ModelError: selections that are not whole vectors with shared precision, a matrix that does not fit.
    """

    matrix: Any
    shared_names = ("matrix",)

    def __init__(self, output: Selection, input: Selection, *, matrix: Any) -> None:
        aligned((output,), "output")
        aligned((input,), "input")
        if not output.shape or not input.shape or output.dimension != input.dimension:
            raise ModelError(f"arguments must be vectors of elements of one dimension, got {output} and {input}")
        matrix = matrix_argument("matrix", matrix, error=ModelError)
        shape = tuple(map(int, matrix.shape))
        if shape != (output.shape[-1], input.shape[-1]):
            raise ModelError(f"`matrix` must be of shape {(output.shape[-1], input.shape[-1])}, got {shape}")
        ends = aligned([output[..., 0], input[..., 0]])
        if ends[0].shape != output.shape[:-1] or ends[1].shape != input.shape[:-1]:
            raise ModelError(f"arguments must have as many vectors, got {output.shape} and {input.shape}")
        object.__setattr__(self, "arguments", (output, input))
        object.__setattr__(self, "matrix", matrix)

    @cached_property
    def spectral(self) -> Spectral:
        """The matrix by its singular values.

        Raises:
            ModelError: a matrix that has none, or that is not finite.
        """
        try:
            return Spectral.of(self.matrix)
        except ValueError as error:
            raise ModelError(str(error)) from None

    def check(self, model: Model) -> None:
        """Raise ``ModelError`` unless both ends are vectors with shared precision."""
        super().check(model)
        for selection in self.arguments:
            if not model.variables[selection.name].shared:
                raise ModelError(f"`{selection.name}` must have a shared precision (shared=True) to be mapped")

    def parts(self, layout: Layout) -> list[Part]:
        """Return one part, its factors with the places of both vectors as arguments."""
        places = []
        for selection in self.arguments:
            first, d = layout.scalars(selection), max(1, selection.dimension)
            places.append((first[..., None] + np.arange(d * d)).reshape(-1, selection.shape[-1] * d * d))
        d = self.arguments[0].dimension
        return [Part(SpectralMap(self.spectral, d), np.concatenate(places, axis=1))]


@dataclass(frozen=True)
class SpectralMap(Kind):
    """z = A x with A = U diag(s) Vᵀ, for vectors of elements of some dimension (0: scalars); slots of z, then of x.

    With a = Vᵀ h_x, c = Uᵀ h_z of the information h and G_x, G_z the precisions, direction k has precision
    M_k = G_x + s_k² G_z and mean M_k⁻¹(a_k + s_k c_k). What is observed is the limit G_z = ∞.
    """

    matrix: Spectral
    dimension: int
    seen: dict[str, tuple[Array, Array]] = field(default_factory=dict, compare=False, repr=False)
    name = "LinearMap"
    approximate = True
    whole = True
    maximum = True  # of Gaussian laws: at the means

    @property
    def spins(self) -> tuple[bool, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """None, on any slot."""
        return (False,) * (sum(self.matrix.shape) * self._places)

    @property
    def projects(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """All."""
        return tuple(range(len(self.spins)))

    def rule(self, parameters: Parameters, incoming: Incoming, *, maximum: bool = False) -> Outgoing:
        """Return the moments of both ends under the joint law, one precision each, divided by the cavity laws.

        Where a direction of x is known from neither side, nothing is said about x.
        """
        m, n = self.matrix.shape
        node = self._node(incoming)
        B, A = np.zeros_like(incoming.first), np.zeros_like(incoming.second)
        wanted = np.ones(m + n) if incoming.wanted is None else incoming.wanted[:, :: self._places].any(axis=0)
        d = max(1, self.dimension)
        first, second = (values.reshape(-1, m + n, d, d) for values in (B, A))
        for part, send in ((slice(0, m), node.to_output), (slice(m, None), node.to_input)):
            if wanted[part].any():  # information in the first columns, the shared precision in all places
                message = send()
                first[:, part, :, 0], second[:, part] = message.information, message.precision[:, None]
        return Outgoing(B, A)

    def log_partition(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return log ∫ dx of both laws at x and A x; +∞ for values observed with certainty where A has not full row
        rank."""
        node = self._node(incoming)
        if not self.dimension:
            return node.log_partition_normalised()
        if incoming.centre is None:
            return node.log_partition()
        (m, n), d = self.matrix.shape, self.dimension
        values = incoming.centre.reshape(-1, m + n, d, d)[..., 0]
        return node.log_partition_about(values[:, :m], values[:, m:])

    def mean_log_factor(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return 0, of a constraint."""
        return np.zeros(len(incoming.first))

    def log_factor(self, parameters: Parameters, *x: Array) -> Array:
        """Return 0 where the constraint holds to rounding, -∞ else."""
        step = max(1, self.dimension)
        values = np.stack(x)[:: step if self.dimension else 1] if self.dimension else np.stack(x)
        m, n = self.matrix.shape
        z, inputs = values[: m * step], values[m * step :]
        flat = np.asarray(self.matrix @ inputs.reshape(n, -1)).reshape(z.shape)
        return np.where(np.isclose(z, flat).all(axis=0), 0.0, -np.inf)

    @property
    def centred(self) -> bool:
        """For vectors: see ``Kind``."""
        return self.dimension > 0

    @property
    def _places(self) -> int:
        return max(1, self.dimension**2)

    def _node(self, incoming: Incoming) -> LinearNode:
        """Return the node between the laws of z and x.

        Raises:
            ModelError: x is observed, or a vector of z in some elements only.
            ContradictionError: z is observed outside the range of A.
        """
        slots = self.matrix.shape[0] * self._places
        z, x = (self._law(incoming, part) for part in (slice(0, slots), slice(slots, None)))
        if x.known.any():
            raise ModelError("the input of LinearMap must be free, got one that is observed: observe its output")
        right, left = self._along("right", self.matrix.right, x), self._along("left", self.matrix.left_transposed, z)
        if z.known.any() and self.matrix.rank < self.matrix.shape[0]:
            self._check_range(z, left)
        return LinearNode(self.matrix, z, x, right, left)

    def _law(self, incoming: Incoming, part: slice) -> Law:
        F, d = len(incoming.first), max(1, self.dimension)
        first = np.ascontiguousarray(incoming.first[:, part].reshape(F, -1, d, d)[..., 0])
        second = incoming.second[:, part].reshape(F, -1, d, d)
        if self.dimension:
            observed = np.isinf(np.diagonal(second, axis1=2, axis2=3)).reshape(F, -1)
            precision = second[:, 0]
        else:
            observed = second.reshape(F, -1) == 0.0
            precision = np.where(observed[:, :1, None], 1.0, 1.0 / np.where(second[:, 0] == 0.0, 1.0, second[:, 0]))
            first = np.where(observed[:, :1, None], first, first * precision)
        known = np.asarray(observed.all(axis=1))
        if np.any(observed.any(axis=1) & ~known):
            raise ModelError("vectors with shared precision must be observed as a whole or not at all, got a part")
        return Law(first, np.where(known[:, None, None], np.eye(d), precision), known)

    def _check_range(self, z: Law, left: Array) -> None:
        missed = np.linalg.norm((z.information - along(self.matrix.left, left))[z.known], axis=(1, 2))
        size = np.linalg.norm(z.information[z.known], axis=(1, 2))
        if np.any(missed > OUT_OF_RANGE * size):
            raise ContradictionError(
                "an output observed with certainty must be a matrix times some input, got one at a relative "
                f"distance {float(np.max(missed / size)):.2g} (the matrix has rank {self.matrix.rank} and "
                f"{self.matrix.shape[0]} rows): observe it through noise, by Linear"
            )

    def _along(self, side: str, product: Any, law: Law) -> Array:
        """Return (F, r, d) the information along the singular vectors; the last product is kept, for it is asked for
        twice."""
        old = self.seen.get(side)
        if old is None or not np.array_equal(old[0], law.information):
            old = self.seen[side] = law.information, along(product, law.information)
        return old[1]
