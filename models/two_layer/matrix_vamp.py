"""Matrix VAMP: learning the first layer of a two-layer network whose head is known, by the engine on its graph."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from factorgraph.engine.damping import Damping
from factorgraph.engine.inputs import potentials_of
from factorgraph.engine.schedules import Batch, Step
from factorgraph.engine.sweeps import UnmeasuredSweeps
from factorgraph.engine.unroll import unroll
from factorgraph.factors import LinearMap
from factorgraph.factors.linear_map import SpectralMap
from factorgraph.interface.arguments import check_choice, check_instance, check_integer, check_number, real_array
from factorgraph.interface.brief import tabled
from factorgraph.interface.errors import IndefiniteError
from factorgraph.iteration import LEVELS, DampingLevels, Outcome, Report, Status, Turn, iterate
from factorgraph.messages.linear_node import Law, LinearNode
from factorgraph.model.graph import Graph
from factorgraph.numerics.spectral import Spectral
from models.checks import check_callback, check_size, generator, matrix
from models.two_layer.head import Head
from models.two_layer.head_factor import METHODS, HeadFactor, HeadKind
from models.two_layer.row_messages import RowMessage
from models.two_layer.row_prior import GaussianRows

Array = NDArray[np.float64]

SMALL_START = 0.1  # deviations of the prior
#: Of adaptive damping: with less than one half, finite matrices let the messages swing to and fro.
_LEVELS = tuple(level for level in LEVELS if level >= 0.5)


@tabled
@dataclass(repr=False)
class MatrixTrace:
    """One entry per iteration.

    Attributes:
        residual: change of the estimate of Z that an undamped step would make, relative to the deviations of its prior.
        damping: α of the messages.
        mse: mean squared error of W, if the truth was given.
    """

    residual: list[float] = field(default_factory=list)
    damping: list[float] = field(default_factory=list)
    mse: list[float] = field(default_factory=list)

    def __repr__(self) -> str:
        last = f", last residual {self.residual[-1]:.2g}" if self.residual else ""
        return f"MatrixTrace({len(self.residual)} iterations{last})"


@tabled
@dataclass(frozen=True, repr=False)
class MatrixInference:
    """Outcome of ``MatrixVAMP.infer``.

    Attributes:
        weights: estimate of W⁰, (inputs, d).
        covariance: of its rows, averaged, (d, d).
        preactivations: estimate of Z, (N, d).
        intercept: estimate of the hidden biases (d,); 0 where none are learnt.
        field: message about the rows of Z that the head sends.
        status: "converged", "stopped" (by the callback), "not converged" or "diverged".
        message: the status with its cause and what to try.
        iterations: how many there were.
        trace: what happened on the way.
        mse: of W, if its truth was given.
    """

    weights: Array
    covariance: Array
    preactivations: Array
    intercept: Array
    field: RowMessage
    status: Status
    message: str
    iterations: int
    trace: MatrixTrace
    mse: float | None
    _model: "MatrixVAMP"
    _node: LinearNode
    _bayesian: bool

    def __repr__(self) -> str:
        return f"MatrixInference({self.weights.shape} weights, {self.iterations} iterations, {self.message!r})"

    @property
    def converged(self) -> bool:
        """The estimates had stopped to change."""
        return self.status.converged

    def predict(self, X: ArrayLike) -> Array:
        """Return expected outputs at inputs X (n, inputs): averaged over the posterior of W, for "map" at its mode."""
        mean, covariance = (values[0] for values in self._node.at(self._model.inputs(X)))
        head = self._model.head
        return head.expectation(mean, covariance) if self._bayesian else head(mean)


class MatrixVAMP:
    """Y = f(X W⁰ + c) W¹ + b + noise with rows of W⁰ from a Gaussian prior; W⁰ free, all else observed [2L].

    Three nodes exchange Gaussian messages about whole rows, with one d × d precision for all rows of a matrix: the
    prior of W⁰, the linear node X W⁰ = Z, and the head, row by row of Z.

    Args:
        prior: of the rows of W⁰.
        X: inputs (N, inputs), rows with squares of order 1.
        head: everything behind Z.
        intercept: if > 0, hidden biases are learnt too; their prior is that of a row of W⁰ times this number.

    Raises:
        ValueError: X is not a finite matrix with an entry other than 0, or d differs between prior and head.
    """

    def __init__(self, prior: GaussianRows, X: Any, head: Head, *, intercept: float = 0.0) -> None:
        check_instance("prior", prior, GaussianRows, "GaussianRows")
        check_instance("head", head, Head, "a Head")
        if prior.d != head.d:
            raise ValueError(f"`prior` must be of rows in R^{head.d}, one number per hidden unit, got R^{prior.d}")
        self.prior, self.head = prior, head
        self.intercept = check_number("intercept", intercept, minimum=0.0)
        X = matrix("X", X, "(N, inputs)")
        if not X.any():
            raise ValueError("`X` must have an entry other than 0, got zeros: there is nothing to learn from")
        self._columns = X.shape[1]
        self.matrix = Spectral.of(self.inputs(X))

    @property
    def samples(self) -> int:
        """N, the number of rows of X."""
        return self.matrix.shape[0]

    def graph(self, Y: ArrayLike, *, nodes: int = 64) -> Graph:
        """Return the model as a factor graph of W (one more row for ``intercept``) and Z, for ``factorgraph.infer``.

        Its fixed points are those of ``infer``: with the schedule "sequential", from the start "prior", and for the
        method "map" with ``maximum``.
        """
        outputs, (samples, inputs), d = self._checked_outputs(Y), self.matrix.shape, self.prior.d
        graph = Graph()
        field = self.prior.precision @ self.prior.mean
        W = graph.vectors("W", inputs, d, field=field, precision=self.prior.precision, shared=True)
        Z = graph.vectors("Z", samples, d, shared=True)
        graph.add(LinearMap(Z, W, matrix=self.matrix))
        graph.add(HeadFactor(Z, head=self.head, outputs=outputs, nodes=nodes))
        return graph

    def inputs(self, X: ArrayLike) -> Array:
        """Return X with the column that belongs to the learnt hidden biases, if any; raise ValueError for other
        shapes."""
        X = matrix("X", X, f"with {self._columns} columns", self._columns)
        if not self.intercept:
            return X
        return np.column_stack([X, np.full(len(X), self.intercept)])

    def infer(
        self,
        Y: ArrayLike,
        *,
        method: str = "mmse",
        damping: float | str = "adaptive",
        tolerance: float = 1e-4,
        iterations: int = 200,
        nodes: int = 64,
        start: str | ArrayLike = "random",
        truth: ArrayLike | None = None,
        callback: Callable[[int, Array], bool | None] | None = None,
        rng: np.random.Generator | int | None = 0,
    ) -> MatrixInference:
        """Return the posterior of W⁰ given the outputs.

        Args:
            Y: outputs (N, outputs), or (N,) for one.
            method: "mmse", posterior means, or "map", the most probable W⁰.
            damping: α in [0, 1) of the messages, or "adaptive": one half, and more where that does not converge.
            tolerance: change of Z by an undamped step, relative to the prior's deviations, at which it stops.
            iterations: most of them.
            nodes: lines that each row is integrated along, for "mmse"; see ``rows``.
            start: W to begin with (inputs, d); "random", a draw from the prior shrunk to a tenth about its mean, which
                tells hidden units apart where the head does not; or "prior", its mean.
            truth: true W (inputs, d), for the error.
            callback: called after each iteration with its number and the estimate of W; True stops.
            rng: generator or seed of the random start.

        Raises:
            ValueError: an argument outside its domain or of another shape.
        """
        check_choice("method", method, METHODS)
        iterations, nodes = check_integer("iterations", iterations, minimum=1), check_size("nodes", nodes)
        tolerance = check_number("tolerance", tolerance, minimum=0.0)
        levels, callback = DampingLevels.of(damping, _LEVELS), check_callback(callback)
        outputs = self._checked_outputs(Y)
        true = None if truth is None else self._checked_weights("truth", truth)
        begin = self._start(start, generator(rng))
        run = _Run(self, outputs, method, nodes, begin)
        mse: list[float] = []

        def step(turn: Turn) -> Report:
            residual = run.iterate(turn.damping)
            if true is not None:
                mse.append(float(np.mean((run.weights[: self._columns] - true) ** 2)))
            return turn.judge(residual)

        outcome = iterate(
            step,
            limit=iterations,
            tolerance=tolerance,
            policy=levels,
            begin=run.begin,
            callback=None if callback is None else lambda n, _: callback(n, run.weights[: self._columns]),
        )
        return self._result(run, outcome, mse, method)

    def _result(self, run: "_Run", outcome: Outcome, mse: list[float], method: str) -> MatrixInference:
        node, columns, status = run.node(), self._columns, outcome.status
        weights = node.input_mean[0]
        bias = self.intercept * weights[columns] if self.intercept else np.zeros(self.head.d)
        settled = status in (Status.CONVERGED, Status.STOPPED)
        advice = "" if settled else "raise `iterations` or `nodes`, or try stronger `damping`"
        return MatrixInference(
            weights=weights[:columns],
            covariance=node.directions.input_covariance[0],
            preactivations=node.output_mean[0],
            intercept=bias,
            field=run.message,
            status=status,
            message=status.explained(advice),
            iterations=outcome.steps,
            trace=MatrixTrace(outcome.residuals, outcome.damping, mse),
            mse=mse[-1] if mse else None,
            _model=self,
            _node=node,
            _bayesian=method == "mmse",
        )

    def _checked_outputs(self, Y: ArrayLike) -> Array:
        given = real_array("Y", Y)
        outputs = given[:, None] if given.ndim == 1 else given
        if outputs.shape != (self.samples, self.head.outputs):
            raise ValueError(
                f"`Y` must be of shape ({self.samples}, {self.head.outputs}), one row per row of X and one column per "
                f"output of the head, got shape {given.shape}"
            )
        return outputs

    def _checked_weights(self, name: str, weights: ArrayLike) -> Array:
        given = real_array(name, weights)
        if given.shape != (self._columns, self.head.d):
            raise ValueError(f"`{name}` must be of shape ({self._columns}, {self.head.d}), got shape {given.shape}")
        return given

    def _start(self, start: str | ArrayLike, rng: np.random.Generator) -> Array:
        """Return W to begin with, with a row for the hidden biases."""
        mean = np.tile(self.prior.mean, (self.matrix.shape[1], 1))
        if isinstance(start, str):
            if start not in ("random", "prior"):
                raise ValueError(f"`start` must be 'random', 'prior' or weights, got {start!r}")
            if start == "random":
                mean = mean + SMALL_START * (self.prior.sample(len(mean), rng) - self.prior.mean)
        else:
            mean[: self._columns] = self._checked_weights("start", start)
        return mean


class _Run:
    """The engine on the graph prior - linear map - head: the messages of one run, and the estimates that they make.

    Attributes:
        message: what the head says about Z.
        weights: estimate of W, (inputs, d).
        preactivations: of Z, (N, d).
    """

    def __init__(self, model: MatrixVAMP, outputs: Array, method: str, nodes: int, start: Array) -> None:
        self.model, self.start, self.maximum = model, start, method == "map"
        self.graph = unroll(model.graph(outputs, nodes=nodes).model)
        self.own = potentials_of(self.graph, {}, {}, {})
        kinds = [type(stack.kind) for stack in self.graph.stacks]
        self.map_step, self.head_step = ([Batch(kinds.index(kind))] for kind in (SpectralMap, HeadKind))
        self.begin()

    def begin(self) -> None:
        """Take back all messages: the head is first told the start, with the precision that the prior gives Z."""
        prior, d = self.model.prior, self.model.head.d
        messages = np.zeros(self.graph.edges), np.zeros(self.graph.edges)
        begin = potentials_of(self.graph, {}, {"W": (self.start - prior.mean) @ prior.precision}, {})
        self.sweeps = UnmeasuredSweeps(self.graph, begin, messages, Damping(), self.maximum)
        self.sweeps.act(self.map_step)
        self.sweeps.potentials = self.own
        self.scale = self._message(self.map_step, "Z").precision.copy()  # the inverse covariance of Z under the prior
        self.message = RowMessage(np.zeros((self.model.samples, d)), np.zeros((d, d)))
        self.weights = np.tile(prior.mean, (len(self.start), 1))
        self.preactivations: Array = np.asarray(self.model.matrix @ self.weights)

    def iterate(self, damping: float) -> float:
        """Let the head act, then the linear node; return the change of Z that an undamped step would have made."""
        try:
            self.sweeps.damping = Damping(damping)
            self.sweeps.act(self.head_step)
            self.sweeps.damping = Damping()
            self.sweeps.act(self.map_step)
        except IndefiniteError:
            return np.inf
        message, prior = self._message(self.head_step, "Z"), self.model.prior
        preactivations = _belief(message, self._message(self.map_step, "Z"))
        own = RowMessage(prior.precision @ prior.mean, prior.precision)
        weights = _belief(own, self._message(self.map_step, "W"))
        change = preactivations - self.preactivations
        residual = float(np.sqrt(np.mean(np.einsum("ni,ni->n", change @ self.scale, change)) / len(self.scale)))
        if np.isfinite(residual):
            self.message = RowMessage(*(values.copy() for values in message))
            self.weights, self.preactivations = weights, preactivations
        return residual / (1.0 - damping)

    def node(self) -> LinearNode:
        """Return the linear node between the prior and the head's message."""
        prior, free = self.model.prior, np.zeros(1, dtype=bool)
        information = np.broadcast_to(prior.precision @ prior.mean, self.start.shape)
        z, x = (Law(h[None], G[None], free) for h, G in (self.message, (information, prior.precision)))
        return LinearNode.of(self.model.matrix, z, x)

    def _message(self, step: Step, name: str) -> RowMessage:
        """Return the message of a step's factor to a matrix, a view of those of the engine."""
        stack = self.graph.stacks[step[0].stack]
        d, places = self.model.head.d, self.graph.layout.slice(name)
        first = stack.offset + int(np.flatnonzero(stack.variables[0] == places.start)[0])
        rows = slice(first, first + places.stop - places.start)
        B, A = (values[rows].reshape(-1, d, d) for values in self.sweeps.messages())
        return RowMessage(B[..., 0], A[0])


def _belief(one: RowMessage, other: RowMessage) -> Array:
    """Return the means of the rows under the product of two messages."""
    return RowMessage(one.information + other.information, one.precision + other.precision).mean
