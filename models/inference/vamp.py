"""Vector approximate message passing with known matrices: the engine on a graph of vectors with shared precisions.

Prior - matrix - channel - matrix - ... - channel: every edge carries one precision, the matrices act through their
singular values, and each end of an edge receives what comes from the others, nothing of its own (Rangan, Schniter,
Fletcher, Vector approximate message passing, 2016; of several layers: Fletcher, Rangan, Schniter, 2018). Unlike the
messages of ``chain``, these are made for any matrix with singular vectors in general directions, whatever its singular
values. Of modes (``Modes``) the same iteration is that of Peaceman and Rachford for the sum of two convex functions,
with a step that adapts, and its fixed points are their minima whatever the precisions are.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factorgraph.channels import Channel, Identity
from factorgraph.engine.cavity import beliefs
from factorgraph.engine.damping import Damping
from factorgraph.engine.inputs import potentials_of
from factorgraph.engine.result import Result
from factorgraph.engine.schedules import Batch, Step, passes
from factorgraph.engine.sweeps import UnmeasuredSweeps
from factorgraph.engine.unroll import unroll
from factorgraph.factors import LinearMap, Sum
from factorgraph.factors.projection import Site
from factorgraph.interface.errors import IndefiniteError
from factorgraph.iteration import Status
from factorgraph.model.description import Selection
from factorgraph.model.graph import Graph
from factorgraph.numerics.spectral import Spectral
from factorgraph.priors import Prior
from models.inference.chain import TINY, contradicts
from models.inference.modes import Modes

Array = NDArray[np.float64]

#: Least slope of a mode in units of that without a prior: what one free component in a hundred would make. Of 36 LASSO
#: problems (columns correlated up to 0.99, condition numbers up to 10⁴) all converged; of the first 32 without it 23.
LEAST_SLOPE = 0.01


class VampChain:
    """The state that inference iterates, with the interface of ``Chain``; one pass forward and back takes four products
    with the singular vectors of each matrix."""

    def __init__(self, prior: Prior, matrices: Sequence[Spectral], channels: Sequence[Channel], y: Array) -> None:
        self.prior, self.channels, self.y = prior, tuple(channels), y
        self.law = prior.prior if isinstance(prior, Modes) else prior
        graph, samples = Graph(), y.shape[1]
        sent = replace(prior, least=LEAST_SLOPE) if isinstance(prior, Modes) else prior
        layer = graph.reals("x0", (samples, matrices[0].shape[1]), prior=sent, shared=True)
        self.names = ["x0"]  # of the estimated layers
        self.maps: list[LinearMap] = []
        observed: dict[str, Array] = {}
        for number, (matrix, channel) in enumerate(zip(matrices, channels, strict=True)):
            z = graph.reals(f"z{number}", (samples, matrix.shape[0]), shared=True)
            self.maps.append(LinearMap(z, layer, matrix=matrix))
            graph.add(self.maps[-1])
            layer = self._output(graph, z, channel, number == len(channels) - 1, observed)
        # A mode may rest at 0 for once while the messages about it change: the pre-activations then do too.
        self.watched = self.names if self.law is prior else [*self.names, "z0"]
        self.graph = unroll(graph.model)
        self.potentials = potentials_of(self.graph, observed, {}, {})
        self.forward_steps, self.backward_steps = ([*map(self._needed, steps)] for steps in passes(self.graph))
        self.begin()

    def _output(
        self, graph: Graph, z: Selection, channel: Channel, last: bool, observed: dict[str, Array]
    ) -> Selection:
        """Return the layer above z; z itself, where the channel copies it."""
        copied = channel == Identity()
        if last:
            name = z.name if copied else "y"
            output = z if copied else graph.reals(name, z.shape)
            observed[name] = self.y.T
        else:
            name = z.name if copied else f"x{len(self.names)}"
            output = z if copied else graph.reals(name, z.shape, shared=True)
            self.names.append(name)
        if not copied:
            graph.add(Sum(output, z, channel=channel))
        return output

    def _needed(self, step: Step) -> Step:
        """Return the step without messages to what is observed."""
        free = np.isnan(self.potentials.value)

        def reaches_free(batch: Batch) -> bool:
            targets = self.graph.stacks[batch.stack].variables
            return bool(free[targets if batch.rows is None else targets[batch.rows]][batch.slots].any())

        return [batch for batch in step if reaches_free(batch)]

    def begin(self, start: Array | None = None) -> None:
        """Take back all messages.

        Args:
            start: estimate of the signal (n, samples) for the first passes, instead of what the prior says. Modes begin
                with the mean: without messages they rest at 0, as if that were certain.
        """
        if start is None and self.law is not self.prior:
            start = np.full((self._sizes()[0], self.y.shape[1]), float(self.law.moments(H=0.0, G=0.0)[0]))
        self.start, self.iterations, self.finite = start, 0, True
        messages = np.zeros(self.graph.edges), np.zeros(self.graph.edges)
        self.sweeps = UnmeasuredSweeps(self.graph, self.potentials, messages, Damping(), False)
        self.means: list[Array] = [np.full((n, self.y.shape[1]), np.nan) for n in self._sizes()]
        self.variances: list[Array] = [np.full_like(mean, np.nan) for mean in self.means]
        self._estimates = self.means

    def _sizes(self) -> list[int]:
        return [self.graph.layout.shapes[name][-1] for name in self.names]

    def forward(self, ahead: Any) -> tuple[float, None]:
        """Return messages from the prior upwards, and the estimates: how much these have changed, and nothing ahead."""
        assert ahead is None
        return self._forward(), None

    def _forward(self) -> float:
        if not self.finite:
            return np.inf
        if self.iterations == 1:
            self.sweeps.potentials = replace(self.potentials)
        try:
            self._send(self.forward_steps if self.start is None or self.iterations else self._first_steps())
            known = beliefs(self.graph, self.sweeps.potentials, *self.sweeps.messages())
        except IndefiniteError:
            self.finite = False
            return np.inf
        means, variances = (
            [self.graph.layout.components(name, values).T for name in self.watched]
            for values in (known.mean, known.variance)
        )
        old, self._estimates = self._estimates, means
        self.means, self.variances = means[: len(self.names)], variances[: len(self.names)]
        self.iterations += 1
        if self.iterations == 1:
            return 1.0
        change = 0.0
        for before, mean, variance in zip(old, means, variances, strict=True):
            change += float(np.sum((mean - before) ** 2)) / (float(np.sum(mean**2) + np.sum(variance)) + TINY)
        return (change / len(means)) ** 0.5

    def _first_steps(self) -> list[Step]:
        """Return the pass without the prior, which the start replaces with the prior's variance until the next one."""
        assert self.start is not None
        precision = 1.0 / max(float(self.law.moments(H=0.0, G=0.0)[1]), TINY)
        field, own_precision = self.potentials.field.copy(), self.potentials.precision.copy()
        where = self.graph.layout.slice("x0")
        field[where], own_precision[where] = precision * self.start.T.ravel(), precision
        self.sweeps.potentials = replace(self.potentials, field=field, precision=own_precision)
        kinds: list[Any] = [stack.kind for stack in self.graph.stacks]
        priors = {i for i, kind in enumerate(kinds) if isinstance(getattr(kind, "inner", None), Site)}
        return [[batch for batch in step if batch.stack not in priors] for step in self.forward_steps]

    def backward(self, ahead: Any, damping: float, reinforcement: float) -> None:
        """Messages from the output down to the signal.

        Args:
            ahead: nothing.
            damping: α of these messages and of the next pass forward, α old + (1 - α) new.
            reinforcement: 0.
        """
        assert ahead is None
        self.sweeps.damping = Damping(damping)
        try:
            self._send(self.backward_steps)
        except IndefiniteError:
            self.finite = False
        B, A = self.sweeps.messages()
        self.finite = self.finite and bool(np.isfinite(B.sum()) and np.isfinite(A.sum()))

    def _send(self, steps: list[Step]) -> None:
        for step in steps:
            self.sweeps.act(step)

    def _message(self, number: int, end: int) -> tuple[Array, Array]:
        """Return B and A (n, samples) of a map to its output (end 0) or input (end 1)."""
        factor = self.maps[number]
        order = next(i for i, other in enumerate(self.graph.layout.model.factors) if other is factor)
        stack, rows = next((s, rows) for s in self.graph.stacks for origin, rows in s.origins if origin == order)
        m = factor.arguments[0].shape[-1]
        part = slice(0, m) if end == 0 else slice(m, None)
        first, second = (
            values[stack.edges].reshape(stack.variables.shape)[rows][:, part].T for values in self.sweeps.messages()
        )
        return first, second

    @property
    def field(self) -> tuple[Array, Array]:
        """B and A of the message about the signal; A is the precision that its components share."""
        return self._message(0, 1)

    def settle(self) -> None:
        """Estimates component by component, from the messages that prior and channels receive."""
        B, A = self.field
        values = [self.prior.moments(H=B, G=A)]
        for number, channel in enumerate(self.channels[:-1]):
            (B, A), (omega, V) = self._message(number + 1, 1), self._preactivation(number)
            values.append(channel.moments(B=B, A=A, omega=omega, V=V))
        self.means = [np.asarray(mean) for mean, _ in values]
        self.variances = [np.asarray(variance) for _, variance in values]

    def _preactivation(self, number: int) -> tuple[Array, Array]:
        B, A = self._message(number, 0)
        return B / A, 1.0 / A

    def output(self) -> tuple[Array, Array]:
        """Return posterior mean and variance of the last pre-activation."""
        if self.channels[-1] == Identity():
            return self.y, np.zeros_like(self.y)
        omega, V = self._preactivation(len(self.maps) - 1)
        values = self.channels[-1].observe(self.y, omega=omega, V=V)
        return omega + V * values.g, V * np.maximum(1.0 - V * values.gamma, 0.0)

    @property
    def contradicted(self) -> bool:
        """As of ``Chain``."""
        if self.channels[-1] == Identity():
            return False
        omega, V = self._preactivation(len(self.maps) - 1)
        values = self.channels[-1].observe(self.y, omega=omega, V=V)
        return contradicts(values.g, values.gamma)

    def free_entropy(self) -> float:
        """Return the Bethe log-partition of the graph: an estimate of log P(y), NaN where the messages have none."""
        residuals = np.zeros(0)
        result = Result(Status.STOPPED, False, self.iterations, residuals, self.graph, self.potentials, self.sweeps)
        try:
            return result.log_partition
        except IndefiniteError:
            return float("nan")
