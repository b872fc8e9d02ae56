"""What a run says: whether it converged, marginals by name, pair marginals, the log-partition and its parts."""

import math
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factorgraph.engine.bethe import Energy, bethe, bounds, entropy, log_potentials
from factorgraph.engine.cavity import beliefs, cavity_laws
from factorgraph.engine.covariances import JointCovariance, gaussian_covariance, is_gaussian, response
from factorgraph.engine.decoding import Assignment, leaning, most_probable
from factorgraph.engine.exactness import integration_error
from factorgraph.engine.laws import Message, Worst, joint_law, marginal
from factorgraph.engine.sampling import samples
from factorgraph.engine.sweeps import State
from factorgraph.engine.unroll import Beliefs, Potentials, Stack, Unrolled
from factorgraph.factors.projection import Site
from factorgraph.factors.vector_site import VectorSite
from factorgraph.interface.arguments import check_generator, check_integer
from factorgraph.interface.brief import brief_text
from factorgraph.interface.errors import ContradictionError, IndefiniteError
from factorgraph.interface.html import html_table
from factorgraph.iteration import Status
from factorgraph.messages.natural import Array
from factorgraph.model.description import Factor, Selection

#: Change of messages below which beliefs of maxima are taken for tied, after a run that has not settled.
_UNSETTLED = 1e-9


#: How far outside its bounds a log Z may be by rounding, relative to it.
_ROUNDING = 1e-9


#: What to tell of each end of a run: how, why, and what to try.
_MESSAGES = {
    Status.EXACT: "the graph is a forest: two passes sent every message once",
    Status.CONVERGED: "converged: no message changes by more than the tolerance",
    Status.NOT_CONVERGED: (
        "not converged: the messages still change after the last sweep; if the residuals fall, allow more sweeps; if "
        "they oscillate, use damping (0.5, say) or the schedule 'sequential'"
    ),
    Status.DIVERGED: (
        "diverged: messages grow without bound or a precision turned negative; the couplings are too strong for "
        "belief propagation (a Gaussian model that is not walk-summable, for example): use `exact`, or weaker couplings"
    ),
    Status.OUTSIDE: (
        "converged to no solution: log Z is larger than that of any law of these factors, because sums of few spins "
        "are not Gaussian and the spins convince each other; start elsewhere, use damping, or for few spins a "
        "`Function` or `exact`"
    ),
    Status.STOPPED: "stopped by the callback",
}


@dataclass(repr=False)
class Result:
    """The end of a run. Everything but the status is computed at its first use.

    Attributes:
        status: how the run ended.
        exact: means, variances and log-partition are exact: the graph is a forest without approximated messages, and
            the integrals that its factors do numerically are right to 1e-8 (see ``integration_error``).
        sweeps: number of sweeps.
        residuals: largest changes of a message, as for ``tolerance`` of ``infer``: one a sweep, or one every few sweeps
            where compiled sweeps look only now and then.
        graph: the unrolled model.
        potentials: fields, precisions and observations of the run.
        state: what ran, with the messages as they are at its end.
        maximum: whether maxima were taken instead of sums.
        worst: where the last change was largest; None on a forest.
        ensemble: whether the messages are those of the infinite graph.
    """

    status: Status
    exact: bool
    sweeps: int
    residuals: Array
    graph: Unrolled
    potentials: Potentials
    state: State
    maximum: bool = False
    worst: Worst | None = None
    ensemble: bool = False

    @property
    def converged(self) -> bool:
        """Whether the messages are a fixed point."""
        return self.status.converged

    @property
    def message(self) -> str:
        """How the run ended, why, and what to try."""
        return _MESSAGES[self.status]

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
        return beliefs(self.graph, self.potentials, self.B, self.A)

    def __getitem__(self, name: str) -> Any:
        """Moments of a variable by its name, a ``Marginal``; the law of a category, ``Categorical``.

        Raises:
            KeyError: there is no such variable.
            ContradictionError: constraints that contradict each other.
            IndefiniteError: a real variable without a positive precision.
        """
        mean, variance = self.moments
        if self.maximum:
            real = self.graph.real
            mean, variance = np.where(real, mean, self._assignment.values), np.where(real, variance, 0.0)
        return marginal(self.graph.layout, name, self._rows(mean), self._rows(variance))

    def covariance(self, name: str) -> Array:
        """Return covariance matrices (..., d, d) of a variable of vectors.

        Raises:
            KeyError: there is no such variable of vectors.
            IndefiniteError: a real variable without a positive precision.
        """
        return self.graph.layout.vector_matrices(name, self._rows(self.moments[1]))

    @property
    def _other(self) -> str:
        """What this is if it is not a run for sums of one copy of a model, in words."""
        if self.maximum or self.ensemble:
            return "one for maxima" if self.maximum else "an ensemble"
        return f"a batch of {self.graph.copies}" if self.graph.copies > 1 else ""

    def joint_covariance(self, *variables: Selection | str) -> JointCovariance:
        """Return the covariance matrix of chosen scalars, in their order: components of vectors, states of categories.

        Exact where the joint law is Gaussian, loops or none, and on forests where the run is exact; else the linear
        response of the beliefs, which takes some runs for each scalar. Those of neighbours are in ``pairs`` too.

        Args:
            variables: selections, as ``x[3]``, or names.

        Raises:
            ValueError: neither, none, a run for maxima, with a batch or of an ensemble, or one that has not converged.
        """
        if self._other or not self.converged:
            got = self._other or f"one with status {str(self.status)!r}"
            raise ValueError(f"covariances must be of a converged run for sums without batch or ensemble, got {got}")
        if not variables:
            raise ValueError("variables must be at least one selection or name, got none")
        places = np.concatenate([self.graph.layout.scalars_of(own) for own in variables])
        if is_gaussian(self.graph, self.potentials):
            return JointCovariance(gaussian_covariance(self.graph, self.potentials, places), True)
        _ = self.moments  # an improper or impossible model is an error that names its variable
        schedule = "two-pass" if self.graph.is_forest else "sequential"
        found = response(self.graph, self.potentials, (self.B, self.A), places, schedule)
        return found._replace(exact=self.exact and found.exact)

    @cached_property
    def _assignment(self) -> Assignment:
        if not self.maximum:
            raise ValueError("`maximum` must be True for a most probable state, got a run with False")
        change = 0.0 if self.status is Status.EXACT else float(min(self.residuals[-1:].max(initial=0.0), _UNSETTLED))
        return most_probable(self.graph, self.potentials, self.B, self.A, change)

    @cached_property
    def log_weight(self) -> Any:
        """log-weight of the state found, in a run for maxima; an array (batch,) in a batch.

        The largest of all on a forest; with loops, and for real variables whose messages did not converge, a state
        that belief propagation takes for the best.

        Raises:
            ValueError: a run for sums.
            ContradictionError: constraints that contradict each other.
            IndefiniteError: a real variable without a positive precision.
        """
        values = log_potentials(self.graph, self.potentials, self._assignment.values)
        return values if self.graph.copies > 1 else float(values[0])

    @property
    def ties(self) -> dict[str, NDArray[np.bool_]]:
        """For each variable of spins or categories, in its shape, where two values are equally good, for maxima.

        What is tied is fixed one after the other, each given those before it: the result is one of several states.
        Errors as for ``log_weight``.
        """
        tied, layout = self._rows(self._assignment.tied), self.graph.layout
        found = {name: layout.components(name, tied) for name, v in layout.model.variables.items() if v.is_spin}
        categories = [name for name, v in layout.model.variables.items() if v.states]
        return found | {name: layout.components(name, tied)[..., 0] for name in categories}

    def _rows(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return an array over all scalars with a row for each copy, if there are several."""
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
        with np.errstate(all="ignore"):  # what diverges is an error that names its variable or factor
            return bethe(self.graph, self.potentials, self.B, self.A, self._laws, self.beliefs)

    @property
    def log_partition(self) -> float:
        """log Z in the Bethe approximation: of all copies together in a batch; exact on a forest."""
        return self.energy.log_partition if self.state.log_partition is None else self.state.log_partition

    @property
    def log_partitions(self) -> Array:
        """(batch,) log Z of each copy in a batch; errors as for ``energy``."""
        return self.energy.copies

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """Two numbers that log Z of a model of spins and categories lies between, whatever the messages.

        They are the log-weight of one state, where every variable leans, and that of free ones with every factor at its
        largest; ±∞ where nothing is known, with free real variables always. The Bethe approximation may be
        outside: see ``warnings``.

        Raises:
            ContradictionError: constraints that contradict each other.
        """
        known = self.beliefs
        return bounds(self.graph, self.potentials, leaning(self.graph, self.potentials, known))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to mind about a run that has converged: a log Z outside its bounds, or tied beliefs of maxima.

        Errors as for ``energy``.
        """
        if not self.converged and self.status is not Status.OUTSIDE:
            return ()
        if self.maximum:
            tied = int(self._assignment.tied[self.graph.is_first].sum())
            return (f"one of several best states: {tied} beliefs are tied",) if tied else ()
        if self.exact or not self.outside:
            return ()
        low, high = self.bounds
        return (f"log Z = {self.log_partition:.6g} must be in [{low:.6g}, {high:.6g}]: the messages are no solution",)

    @property
    def outside(self) -> bool:
        """Whether log Z, in the Bethe approximation, is outside ``bounds``; errors as for ``energy``."""
        value = self.log_partition
        low, high = (_ROUNDING * max(1.0, abs(b), abs(value)) if math.isfinite(b) else 0.0 for b in self.bounds)
        return not self.bounds[0] - low <= value <= self.bounds[1] + high

    @cached_property
    def entropy(self) -> float:
        """Entropy of the Bethe law; differential for real variables, -∞ where factors leave them fewer dimensions.

        Raises:
            NotImplementedError: a factor kind or a prior has no mean log-weight.
        """
        if self.state.entropy is not None:
            return self.state.entropy
        with np.errstate(all="ignore"):
            return entropy(self.graph, self.potentials, self._laws, self.beliefs, self.log_partition)

    @cached_property
    def _laws(self) -> tuple[Array, Array]:
        return cavity_laws(self.graph, self.potentials, self.B, self.A)

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

    def sample(self, n: int, rng: np.random.Generator | int = 0) -> dict[str, NDArray[Any]]:
        """Return n independent samples of the joint law.

        Exact where the run is ``exact``. With loops by decimation: one variable after the other is drawn from its
        belief and fixed, and the messages are sent again, which takes a run for every variable.

        Args:
            n: number of samples.
            rng: generator or seed.

        Returns:
            By name arrays (n, *shape): ±1 of spins, states of categories, reals; vectors with one more axis.

        Raises:
            ValueError: a run for maxima, with a batch or of an ensemble, or variables with a prior or channel that is
                neither of spins nor Gaussian.
        """
        n, generator = check_integer("n", n, minimum=1), check_generator("rng", rng)
        if self._other:
            raise ValueError(f"samples must be drawn from a run for sums without batch or ensemble, got {self._other}")
        kinds: list[Any] = [stack.kind for stack in self.graph.stacks]
        priors = any(isinstance(getattr(kind, "inner", kind), (Site, VectorSite)) for kind in kinds)
        if self.graph.nonconjugate or priors or any(kind.full_variance for kind in kinds):
            raise ValueError("samples must be of variables with fields and Gaussian laws, got priors or channels")
        _ = self.moments  # an improper or impossible model is an error that names its variable
        return samples(self.graph, self.potentials, (self.B, self.A), n, generator)

    def sent(self, factor: Factor, argument: str | int) -> "Message":
        """Return the messages that each factor of a group has sent to one of its arguments, in the group's shape.

        Args:
            factor: one of the model's.
            argument: the name of a variable, if the factors have one argument of it, or the number of the argument.

        Raises:
            ValueError: not a group of factors of this model, a batch, or not one of its arguments.
        """
        arguments: Any = getattr(factor, "arguments", ())
        stack, rows = self._rows_of(factor)
        found: list[int] = []
        if isinstance(argument, (str, int)) and not isinstance(argument, bool):
            found = [k for k, selection in enumerate(arguments) if argument in (k, selection.name)]
        if len(found) != 1:
            names = [selection.name for selection in arguments]
            raise ValueError(f"`argument` must be one of {names} that is there once, or its number, got {argument!r}")
        places = self.graph.layout.scalars(arguments[found[0]]).ravel()
        starts = np.cumsum([0, *stack.kind.widths[:-1]])
        table = stack.variables[rows]
        slot, width = next(
            (int(s), w) for s, w in zip(starts, stack.kind.widths, strict=True) if np.array_equal(table[:, s], places)
        )
        edges = stack.offset + (np.arange(rows.start, rows.stop) * stack.variables.shape[1] + slot)
        B, A = (values[edges[:, None] + np.arange(width)] for values in (self.B, self.A))
        variable, shape = self.graph.layout.model.variables[arguments[found[0]].name], arguments[0].shape
        if variable.states:
            return Message(B.reshape(*shape, width), None)
        if d := variable.dimension:
            return Message(B[:, ::d].reshape(*shape, d), A.reshape(*shape, d, d))
        return Message(B.reshape(shape), None if variable.is_spin else A.reshape(shape))

    def pairs(self, factor: Factor) -> Any:
        """Return joint beliefs of the arguments of each factor of a group (pairs, tables), in the group's shape.

        Returns:
            For spins and categories, probabilities (..., values of each argument), for spins (+1, -1); for real
            variables, covariances (..., r, r), of vectors those of all components; for both, a ``Mixed`` law.

        Raises:
            ValueError: not a factor of this model, of a kind whose messages are approximations for many arguments, or
                with more than 2^24 configurations.
        """
        return self._joint(*self._rows_of(factor), getattr(factor, "shape", (-1,)))

    def _rows_of(self, factor: Factor) -> tuple[Stack, slice]:
        """Return where a group of factors is."""
        model = self.graph.layout.model
        numbers = [number for number, other in enumerate(model.factors) if other is factor]
        if not numbers or self.graph.copies > 1:
            raise ValueError(f"`factor` must be a group of this model (and the run without a batch), got {factor}")
        for stack in self.graph.stacks:
            for number, rows in stack.origins:
                if number == numbers[0]:
                    return stack, rows
        raise ValueError(f"`factor` must contain at least one pair, got {factor}")

    def _joint(self, stack: Stack, rows: slice, shape: tuple[int, ...]) -> Any:
        if self.maximum:
            raise ValueError("`maximum` must be False for joint beliefs, got a run with True")
        with np.errstate(all="ignore"):
            joint = stack.kind.joint(stack.parameters, stack.incoming(self._laws, self.beliefs))
        if joint is None:
            need = "of a kind with exact messages and at most 2^24 configurations"
            raise ValueError(f"`factor` must be {need}, got {stack.kind.name}")
        probabilities, mean, covariance = (v[rows].reshape((*shape, *v.shape[1:])) for v in joint)
        return joint_law(probabilities, mean, covariance, len(shape))

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {shape}" for name, shape in self.graph.layout.shapes.items())
        facts = f"{self.status.name}, exact={self.exact}, sweeps={self.sweeps}, converged={self.converged}"
        return f"<Result: {facts}; variables {brief_text(shapes)}>"

    def _repr_html_(self) -> str:
        """Return how it ended, and a row for each variable."""
        rows = [(name, "x".join(map(str, shape)), repr(self[name])) for name, shape in self.graph.layout.shapes.items()]
        return f"<p>{escape(str(self))}</p>{html_table(('variable', 'shape', 'law'), rows)}"

    def __str__(self) -> str:
        last = f", last change {self.residuals[-1]:.2e}" if len(self.residuals) else ""
        where = f" at {self.worst.name}" if self.worst and not self.converged else ""
        kind = "exact" if self.exact else "approximate"
        if self.converged and self.integration_error > 0.0:
            kind += f" (integrals to about {self.integration_error:.0e})"
        try:
            more = "".join(f"; {warning}" for warning in self.warnings)
        except (ContradictionError, IndefiniteError):  # raised again where the value is used
            more = ""
        return f"{kind}, {self.sweeps} sweeps{last}{where}: {self.message}{more}"
