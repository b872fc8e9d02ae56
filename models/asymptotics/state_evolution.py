"""State evolution: what approximate message passing does at large sizes, iteration by iteration [ML, eqs. 10-13].

The estimate of layer l's signal x is known by its overlaps with the truth and with itself and by the variance that it
claims, and the message about x by the same three numbers of its own. If the model is right (Bayes-optimal, on the
Nishimori line) the first two coincide and the third is the rest, q = ρ - V; otherwise all are kept apart.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from factorgraph.interface.arguments import check_choice, check_instance, check_integer, check_number
from factorgraph.interface.brief import tabled
from factorgraph.iteration import DampingLevels, Report, Status, Turn, iterate
from factorgraph.messages.ranges import MIN_VARIANCE
from models.asymptotics.averages import Averages, Field, Overlap, hidden_averages, output_averages, prior_averages
from models.asymptotics.ensembles import Ensemble

Array = NDArray[np.float64]

STARTS = ("uninformative", "informative")
_SHARP = 1e12  # precision of the informative start, in units of 1/ρ


@tabled
@dataclass(frozen=True, repr=False)
class StateEvolution:
    """A run of state evolution.

    Attributes:
        overlaps: of the signal and of each hidden layer at the end.
        fields: messages about them.
        mse: mean squared errors per component (iterations, layers), from the first iteration on.
        overlap: m_l = E[x̂ x] (iterations, layers).
        status: "converged", where the last iteration changed nothing any more, "not converged" or "diverged".
        message: the status with its cause and what to try.
    """

    overlaps: tuple[Overlap, ...]
    fields: tuple[Field, ...]
    mse: Array
    overlap: Array
    status: Status
    message: str

    @property
    def converged(self) -> bool:
        """The last iteration changed nothing any more."""
        return self.status.converged

    def __repr__(self) -> str:
        last = f"mse {self.mse[-1].tolist()}, " if len(self.mse) else ""
        return f"StateEvolution({last}{len(self.mse)} iterations, {self.message!r})"


@dataclass
class EvolutionTrace:
    """One entry per iteration.

    Attributes:
        mse: mean squared errors of all layers.
        overlap: overlaps of the estimates with the truth.
    """

    mse: list[list[float]] = field(default_factory=list)
    overlap: list[list[float]] = field(default_factory=list)

    def add(self, errors: list[float], overlaps: list[Overlap]) -> None:
        """Add an iteration."""
        self.mse.append(errors)
        self.overlap.append([each.truth for each in overlaps])


#: Of an iteration that led to what is no number.
DIVERGED = Report(np.inf, Status.DIVERGED)


def compared(turn: Turn, numbers: list[float]) -> Report:
    """Return the largest change of numbers by an undamped step, relative to them; 1 where there was nothing before."""
    new = np.array(numbers)
    if not np.all(np.isfinite(new)):
        return DIVERGED
    if turn.previous is None:
        return Report(1.0, Status.NOT_CONVERGED, extra=new)
    old = turn.previous.extra
    size = np.maximum(np.abs(old), np.abs(new))
    change = np.divide(np.abs(new - old), size, out=np.zeros_like(new), where=size > 0.0)
    return turn.judge(float(change.max()) / (1.0 - turn.damping), extra=new)


@dataclass
class _Run:
    """The chain with its current numbers, one entry per layer from the signal up."""

    model: Ensemble
    truth: Ensemble | None
    second_moments: tuple[float, ...]
    fields: list[Field]
    overlaps: list[Overlap] = field(default_factory=list)
    trace: EvolutionTrace = field(default_factory=EvolutionTrace)

    def step(self, turn: Turn) -> Report:
        """Do one iteration."""
        try:
            self.forward()
            self.backward(turn.damping)
        except FloatingPointError:
            return DIVERGED
        self.trace.add(self.errors(), self.overlaps)
        return compared(
            turn, [*self.errors(), *(o.variance for o in self.overlaps), *(f.precision for f in self.fields)]
        )

    def forward(self) -> None:
        """Estimates of the signal, then of every hidden layer."""
        self.overlaps = []
        for layer, above in enumerate(self.fields):
            if layer == 0:
                averages = prior_averages(self.model.prior, above, self.truth and self.truth.prior)
            else:
                averages = self._hidden(layer - 1)
            assert averages.output is not None
            self.overlaps.append(self._settle(averages.output, self.second_moments[layer]))

    def backward(self, damping: float) -> None:
        """Messages from the observed output down to the signal."""
        last = len(self.fields) - 1
        for layer in range(last, -1, -1):
            if layer == last:
                truth = self.truth and self.truth.channels[layer]
                averages = output_averages(
                    self.model.channels[layer], self.overlaps[layer], self.second_moments[layer], truth
                )
            else:
                averages = self._hidden(layer)
            assert averages.field is not None
            ratio = self.model.ratios[layer]
            b, c, A = (ratio * value for value in averages.field)
            new = Field(A, A, A) if self.truth is None else Field(b, c, max(A, 0.0))
            mixed = (
                damping * old + (1.0 - damping) * value for old, value in zip(self.fields[layer], new, strict=True)
            )
            self.fields[layer] = Field(*mixed)

    def _hidden(self, layer: int) -> Averages:
        return hidden_averages(
            self.model.channels[layer],
            self.overlaps[layer],
            self.fields[layer + 1],
            self.second_moments[layer],
            self.truth and self.truth.channels[layer],
        )

    def _settle(self, overlap: Overlap, second_moment: float) -> Overlap:
        require_finite(overlap)
        V = max(overlap.variance, MIN_VARIANCE * second_moment)
        if self.truth is not None:
            return Overlap(overlap.truth, overlap.square, V)
        return Overlap(second_moment - V, second_moment - V, V)

    def errors(self) -> list[float]:
        """Return mean squared errors."""
        if self.truth is None:
            return [overlap.variance for overlap in self.overlaps]
        pairs = zip(self.overlaps, self.second_moments, strict=True)
        return [rho - 2.0 * overlap.truth + overlap.square for overlap, rho in pairs]


def state_evolution(
    model: Ensemble,
    *,
    truth: Ensemble | None = None,
    start: str = "uninformative",
    iterations: int = 2000,
    tolerance: float = 1e-8,
    damping: float = 0.0,
) -> StateEvolution:
    """Run state evolution to its fixed point.

    Args:
        model: with which the signal is estimated.
        truth: by which signal and output arose, with the same ratios; None if it is the model (Bayes-optimal).
        start: "uninformative" (no message, as the algorithm starts) or "informative" (at the truth).
        iterations: most of them; each is one pass forward and one backward.
        tolerance: relative change of all variances and precisions below which it stops.
        damping: α in [0, 1) of the messages.

    Raises:
        ValueError: an argument outside its domain, or a truth with other layers.
    """
    _check(model, truth)
    strength = check_run(start, iterations, tolerance, damping)
    second_moments = (truth or model).second_moments
    run = _Run(model, truth, second_moments, [Field(*[strength / rho] * 3) for rho in second_moments])
    status = iterate(run.step, limit=iterations, tolerance=tolerance, policy=DampingLevels(damping)).status
    return evolved(run.overlaps, run.fields, run.trace, status)


def require_finite(values: tuple[float, ...]) -> None:
    """Raise FloatingPointError for what is no numbers."""
    if not np.all(np.isfinite(values)):
        raise FloatingPointError("overlaps must be finite")


_ADVICE = {
    Status.NOT_CONVERGED: (
        "raise `iterations`, or near a transition expect slow convergence; if it oscillates, `damping`"
    ),
    Status.DIVERGED: "the assumed model is too far from the truth; try damping",
}


def evolved(
    overlaps: list[Overlap], fields: list[Field], trace: EvolutionTrace, status: Status, cause: str = ""
) -> StateEvolution:
    """Return a finished run; the cause of its status, if it is not the usual one."""
    mse, overlap = (np.reshape(values, (len(values), len(fields))) for values in (trace.mse, trace.overlap))
    message = status.explained(cause or _ADVICE.get(status, ""))
    return StateEvolution(tuple(overlaps), tuple(fields), mse, overlap, status, message)


def _check(model: Ensemble, truth: Ensemble | None) -> None:
    check_ensembles(model, truth)
    if not model.independent:
        raise ValueError("`model` must have independent weights (no `spectra`), got others: use vamp_state_evolution")
    if truth is not None and truth.ratios != model.ratios:
        raise ValueError(f"`truth` must have the ratios of the model, {model.ratios}, got {truth.ratios}")


def check_run(start: str, iterations: int, tolerance: float, damping: float) -> float:
    """Return the precision of the first messages, in units of 1/ρ; raise ValueError for options outside their
    domain."""
    check_choice("start", start, STARTS)
    check_integer("iterations", iterations, minimum=1)
    check_number("tolerance", tolerance, minimum=0.0)
    check_number("damping", damping, minimum=0.0, below=1.0)
    return _SHARP if start == "informative" else 0.0


def check_ensembles(model: Ensemble, truth: Ensemble | None) -> None:
    """Raise ValueError unless both are ensembles, the latter perhaps None."""
    check_instance("model", model, Ensemble, "an Ensemble")
    if truth is not None:
        check_instance("truth", truth, Ensemble, "an Ensemble or None")
