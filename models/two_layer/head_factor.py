"""The head as a factor of the engine: what the outputs say about the rows of Z, which share one precision."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from factorgraph.factors.base import Group, Kind, Parameters, Part, aligned
from factorgraph.interface.arguments import check_instance, check_integer, real_array
from factorgraph.interface.errors import ModelError
from factorgraph.messages.linear_node import definite, inverses, symmetric
from factorgraph.messages.natural import Incoming, Outgoing
from factorgraph.model.description import Model, Selection
from factorgraph.model.layout import Layout
from factorgraph.numerics.special import LOG_2PI
from models.two_layer.head import Head
from models.two_layer.row_messages import RowMessage, extrinsic
from models.two_layer.row_modes import row_modes
from models.two_layer.row_moments import row_moments

Array = NDArray[np.float64]

METHODS = ("mmse", "map")


@dataclass(frozen=True, eq=False, init=False)
class HeadFactor(Group):
    """The outputs Y = f(Z + c) W¹ + b + noise, observed, as a factor on a whole matrix Z.

    Messages have the moments of the rows, their covariances averaged; for maxima, their modes and curvatures.

    Args:
        rows: Z, selection (N,) of a variable of vectors in R^d with a ``shared`` precision.
        head: everything behind Z.
        outputs: Y, (N, outputs).
        nodes: lines that each row is integrated along; see ``row_moments``.

    Raises:
        ModelError: a selection or outputs that do not fit the head.
    """

    head: Head
    outputs: Array
    nodes: int
    parameter_names = ("outputs",)
    shared_names = ("head", "nodes")

    def __init__(self, rows: Selection, *, head: Head, outputs: ArrayLike, nodes: int = 64) -> None:
        aligned((rows,), "rows")
        check_instance("head", head, Head, "a Head", error=ModelError)
        if len(rows.shape) != 1 or rows.dimension != head.d:
            raise ModelError(f"arguments must be the rows of one matrix in R^{head.d}, got {rows}")
        values = real_array("outputs", outputs, shape=(rows.shape[0], head.outputs), error=ModelError)
        object.__setattr__(self, "arguments", (rows,))
        object.__setattr__(self, "head", head)
        object.__setattr__(self, "outputs", values.copy())
        object.__setattr__(self, "nodes", check_integer("nodes", nodes, minimum=1, error=ModelError))

    def check(self, model: Model) -> None:
        """Raise ``ModelError`` unless the rows share a precision."""
        super().check(model)
        (rows,) = self.arguments
        if not model.variables[rows.name].shared:
            raise ModelError(f"`{rows.name}` must have a shared precision (shared=True) to be the input of a head")

    def parts(self, layout: Layout) -> list[Part]:
        """Return one factor, with the places of all rows as arguments."""
        (rows,) = self.arguments
        places = layout.scalars(rows)[:, None] + np.arange(rows.dimension**2)
        return [Part(HeadKind(self.head, len(places), self.nodes), places.reshape(1, -1), (self.outputs[None],))]


@dataclass(frozen=True)
class HeadKind(Kind):
    """Outputs of ``rows`` rows of Z; parameters Y (F, rows, outputs)."""

    head: Head
    rows: int
    nodes: int
    name = "Head"
    approximate = True
    whole = True
    maximum = True

    @property
    def spins(self) -> tuple[bool, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """None, on any slot."""
        return (False,) * (self.rows * self.head.d**2)

    @property
    def projects(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """All."""
        return tuple(range(len(self.spins)))

    @property
    def centred(self) -> bool:
        """See ``Kind``."""
        return True

    def rule(self, parameters: Parameters, incoming: Incoming, *, maximum: bool = False) -> Outgoing:
        """See ``head_message``; nothing where nothing is known of Z, but by a linear head, which does not ask."""
        B, A = np.zeros((2, len(incoming.first), self.rows, self.head.d, self.head.d))
        method = "map" if maximum else "mmse"
        for f, cavity in enumerate(self._cavities(incoming)):
            if self.head.activation.name == "linear" or definite(cavity.precision):
                B[f, :, :, 0], A[f] = head_message(self.head, cavity, parameters[0][f], method, self.nodes)
        return Outgoing(B.reshape(incoming.first.shape), A.reshape(incoming.first.shape))

    def log_partition(self, parameters: Parameters, incoming: Incoming) -> Array:
        """Return log of the integral over Z of the outputs' density and the cavity laws, relative to these at the
        centre."""
        logs = np.full(len(incoming.first), np.nan)
        centres = np.zeros_like(incoming.first) if incoming.centre is None else incoming.centre
        for f, (cavity, centre) in enumerate(zip(self._cavities(incoming), self._columns(centres), strict=True)):
            if definite(cavity.precision):
                shift = cavity.mean - centre
                square = float(((shift @ cavity.precision) * shift).sum())
                width = self.head.d * LOG_2PI - np.linalg.slogdet(cavity.precision)[1]
                logs[f] = log_evidence(self.head, cavity, parameters[0][f], self.nodes)
                logs[f] += 0.5 * (square + self.rows * width)
        return logs

    def log_factor(self, parameters: Parameters, *x: Array) -> Array:
        """Return log-density of the outputs at Z."""
        d = self.head.d
        values = np.stack(x)[::d]  # (rows · d, F, ...)
        Z = np.moveaxis(values.reshape(self.rows, d, *values.shape[1:]), (0, 1), (-2, -1))
        Y = parameters[0].reshape(len(parameters[0]), *(1,) * (Z.ndim - 3), self.rows, self.head.outputs)
        rest = self.head.scaled(Y) - self.head.scaled(self.head(Z.reshape(-1, d)).reshape(*Z.shape[:-1], -1))
        return -0.5 * ((rest**2).sum(axis=(-2, -1)) + self.rows * self.head.log_noise)

    def _cavities(self, incoming: Incoming) -> list[RowMessage]:
        """Return one message of the other factors for each matrix Z.

        Raises:
            ModelError: Z is observed.
        """
        precisions = incoming.second.reshape(-1, self.rows, self.head.d, self.head.d)[:, 0]
        if not np.all(np.isfinite(precisions)):
            raise ModelError("the input of a head must be free, got one that is observed")
        return [RowMessage(*each) for each in zip(self._columns(incoming.first), precisions, strict=True)]

    def _columns(self, values: Array) -> Array:
        """Return (F, rows, d) of what is in the first columns."""
        return values.reshape(-1, self.rows, self.head.d, self.head.d)[..., 0]


def head_message(head: Head, cavity: RowMessage, Y: Array, method: str, nodes: int) -> RowMessage:
    """Return what the head says about the rows of Z.

    Args:
        head: its activation, weights, biases and noise.
        cavity: what it receives, with a positive definite precision unless the activation is linear.
        Y: outputs (N, outputs).
        method: "mmse", moments of the rows, or "map", their modes.
        nodes: as of ``row_moments``.
    """
    if head.activation.name == "linear":
        W = head.scaled_weights
        return RowMessage((head.scaled(Y) - head.hidden_bias @ W) @ W.T, W @ W.T)
    if method == "mmse":
        mean, covariances, _ = row_moments(head, cavity.mean, cavity.precision, Y, nodes=nodes)
    else:
        mean, covariances = row_modes(head, cavity.mean, cavity.precision, Y)
    return extrinsic(mean, symmetric(covariances.mean(axis=0)), cavity)


def log_evidence(head: Head, cavity: RowMessage, Y: Array, nodes: int) -> float:
    """Return log-density of the outputs of rows z ~ N(Γ⁻¹ b, Γ⁻¹)."""
    if head.activation.name != "linear":
        return float(row_moments(head, cavity.mean, cavity.precision, Y, nodes=nodes).log_evidence.sum())
    W = head.scaled_weights
    rest = head.scaled(Y) - (cavity.mean + head.hidden_bias) @ W
    covariance = np.eye(head.outputs) + W.T @ inverses(cavity.precision) @ W
    squares = ((rest @ inverses(covariance)) * rest).sum()
    return -0.5 * float(squares + len(Y) * (np.linalg.slogdet(covariance)[1] + head.log_noise))
