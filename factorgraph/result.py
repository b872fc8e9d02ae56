"""What a run says: whether it converged, marginals by name, pair marginals, the log-partition and its parts."""

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from factorgraph.cavity import beliefs, cavity_laws
from factorgraph.energy import Energy, bethe, entropy
from factorgraph.exactness import integration_error
from factorgraph.messages import Array
from factorgraph.model import Factor
from factorgraph.sweeps import State
from factorgraph.unroll import Beliefs, Stack, Unrolled, Weights


class Status(Enum):
    """How a run ended; the values are what a reader is told."""

    EXACT = "the graph is a forest: two passes sent every message once"
    CONVERGED = "converged: no message changes by more than the tolerance"
    SWEEPS = (
        "not converged: the messages still change after the last sweep; if the residuals fall, allow more sweeps; if "
        "they oscillate, use damping (0.5, say) or the schedule 'sequential'"
    )
    DIVERGED = (
        "not converged: messages grow without bound or a precision turned negative; the couplings are too strong for "
        "belief propagation (a Gaussian model that is not walk-summable, for example): use `exact`, or weaker couplings"
    )
    STOPPED = "stopped by the callback"

    @property
    def converged(self) -> bool:
        """Whether the messages are a fixed point."""
        return self in (Status.EXACT, Status.CONVERGED)


class Marginal(NamedTuple):
    """Moments of a variable, in its own shape (with the batch in front, if there is one).

    Attributes:
        mean: of each element; for maxima, where the maximum is.
        variance: of each element.
    """

    mean: Array
    variance: Array


class Worst(NamedTuple):
    """Where the last change was largest.

    Attributes:
        name: the variable that got the message.
        residual: the change.
    """

    name: str
    residual: float


@dataclass
class Result:
    """The end of a run. Everything but the status is computed when it is first asked for.

    Attributes:
        status: how the run ended.
        exact: means, variances and log-partition are exact: the graph is a forest without approximated messages, and
            the integrals that its factors do numerically are right to 1e-8 (see ``integration_error``).
        sweeps: number of sweeps.
        residuals: largest changes of a message, relative to max(1, |message|): one a sweep, or one every few sweeps
            where compiled sweeps look only now and then.
        graph: the unrolled model.
        weights: fields, precisions and observations of the run.
        state: what ran, with the messages as they are at its end.
        maximum: whether maxima were taken instead of sums.
        worst: where the last change was largest; None on a forest.
    """

    status: Status
    exact: bool
    sweeps: int
    residuals: Array
    graph: Unrolled
    weights: Weights
    state: State
    maximum: bool = False
    worst: Worst | None = None

    @property
    def converged(self) -> bool:
        """Whether the messages are a fixed point."""
        return self.status.converged

    @cached_property
    def _messages(self) -> tuple[Array, Array]:
        return self.state.messages()

    @property
    def B(self) -> Array:  # noqa: N802
        """All messages B (E,)."""
        return self._messages[0]

    @property
    def A(self) -> Array:  # noqa: N802
        """All messages A (E,)."""
        return self._messages[1]

    @cached_property
    def moments(self) -> tuple[Array, Array]:
        """Means and variances of all scalars; errors as for ``beliefs``."""
        known = self.state.moments()
        return (self.beliefs.mean, self.beliefs.variance) if known is None else known

    @cached_property
    def beliefs(self) -> Beliefs:
        """Natural parameters and moments of all scalars.

        Raises:
            ContradictionError: constraints that contradict each other.
            IndefiniteError: a real variable without a positive precision.
        """
        return beliefs(self.graph, self.weights, self.B, self.A)

    def __getitem__(self, name: str) -> Marginal:
        """Moments of a variable by its name.

        Raises:
            KeyError: there is no such variable.
            ContradictionError: constraints that contradict each other.
            IndefiniteError: a real variable without a positive precision.
        """
        layout = self.graph.layout
        if name not in layout.shapes:
            raise KeyError(f"`name` must be one of {sorted(layout.shapes)}, got {name!r}")
        mean, variance = (self._rows(values) for values in self.moments)
        mean, variance = layout.components(name, mean), layout.matrices(name, variance)
        if layout.model.variables[name].dimension:
            variance = np.diagonal(variance, axis1=-2, axis2=-1)
        if self.maximum and layout.model.variables[name].is_spin:
            mean, variance = np.sign(layout.components(name, self._rows(self.beliefs.H))), np.zeros_like(variance)
        return Marginal(mean, variance)

    def covariance(self, name: str) -> Array:
        """Covariance matrices (..., d, d) of a variable of vectors.

        Raises:
            KeyError: there is no such variable of vectors.
            IndefiniteError: a real variable without a positive precision.
        """
        return self.graph.layout.vector_matrices(name, self._rows(self.moments[1]))

    def _rows(self, values: Array) -> Array:
        """An array over all scalars with a row for each copy, if there are several."""
        return values.reshape(self.graph.copies, -1) if self.graph.copies > 1 else values

    @cached_property
    def energy(self) -> Energy:
        """The Bethe log-partition by parts; see ``energy``.

        Raises:
            ValueError: for maxima, which have no partition function.
            ContradictionError: constraints that contradict each other.
            IndefiniteError: an integral over a real variable that diverges.
        """
        if self.maximum:
            raise ValueError("`maximum` must be False for a log-partition, got a run with True")
        return bethe(self.graph, self.weights, self.B, self.A, self._laws, self.beliefs)

    @property
    def log_partition(self) -> float:
        """log Z in the Bethe approximation: of all copies together in a batch; exact on a forest."""
        return self.energy.log_partition if self.state.log_partition is None else self.state.log_partition

    @cached_property
    def entropy(self) -> float:
        """Entropy of the Bethe law; differential for real variables.

        Raises:
            NotImplementedError: a factor kind or a prior has no mean log-weight.
        """
        return entropy(self.graph, self.weights, self._laws, self.beliefs, self.log_partition)

    @cached_property
    def _laws(self) -> tuple[Array, Array]:
        return cavity_laws(self.graph, self.weights, self.B, self.A)

    @cached_property
    def integration_error(self) -> float:
        """Largest estimated error of the integrals that factors (``Function``) do numerically; 0 if there are none.

        Of log Z, of means in deviations and of variances relative to themselves, in a single factor.

        Raises:
            IndefiniteError: an integral diverges.
            ContradictionError: a factor is 0 wherever it was looked at.
        """
        if not any(stack.kind.numerical for stack in self.graph.stacks):
            return 0.0
        return integration_error(self.graph, self._laws)

    def pairs(self, factor: Factor) -> Any:
        """Joint beliefs of the two arguments of each factor of a ``Pairwise`` group, in the group's shape.

        Returns:
            For spins, probabilities (..., 2, 2) of the values (+1, -1) of both; for real variables, covariances
            (..., 2, 2).

        Raises:
            ValueError: not a factor of this model, or of a kind without pair marginals.
        """
        model = self.graph.layout.model
        numbers = [number for number, other in enumerate(model.factors) if other is factor]
        if not numbers or self.graph.copies > 1:
            raise ValueError(f"`factor` must be a group of this model (and the run without a batch), got {factor}")
        for stack in self.graph.stacks:
            for number, rows in stack.origins:
                if number == numbers[0]:
                    return self._joint(stack, rows).reshape(*getattr(factor, "shape", (-1,)), 2, 2)
        raise ValueError(f"`factor` must contain at least one pair, got {factor}")

    def _joint(self, stack: Stack, rows: slice) -> Array:
        joint = stack.kind.joint(stack.parameters, stack.incoming(self._laws, self.beliefs))
        if joint is None:
            raise ValueError(f"`factor` must be a pair of two spins or two real variables, got {stack.kind.name}")
        return joint[rows]

    def __str__(self) -> str:
        last = f", last change {self.residuals[-1]:.2e}" if len(self.residuals) else ""
        where = f" at {self.worst.name}" if self.worst and not self.converged else ""
        kind = "exact" if self.exact else "approximate"
        if self.converged and self.integration_error > 0.0:
            kind += f" (integrals to about {self.integration_error:.0e})"
        return f"{kind}, {self.sweeps} sweeps{last}{where}: {self.status.value}"
