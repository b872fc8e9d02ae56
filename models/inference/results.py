"""What inference returns."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factorgraph.interface.brief import tabled
from factorgraph.iteration import Status
from models.checks import check_sequence, samples_of

Array = NDArray[np.float64]


@tabled
@dataclass(frozen=True, repr=False)
class Estimate:
    """Posterior of the components of one layer.

    Attributes:
        mean: x̂, (n,), or (n, samples) if several outputs were observed with the same matrices.
        variance: Δ, of the same shape.
    """

    mean: Array
    variance: Array

    def __repr__(self) -> str:
        return f"Estimate(of shape {self.mean.shape})"


@tabled
@dataclass(repr=False)
class Trace:
    """One entry per iteration.

    Attributes:
        residual: change of the estimates that an undamped step would make, relative to their size.
        damping: α of the messages.
        mse: mean squared error of every layer whose truth was given.
        overlap: mean of x̂ x for the same layers.
    """

    residual: list[float] = field(default_factory=list)
    damping: list[float] = field(default_factory=list)
    mse: list[list[float]] = field(default_factory=list)
    overlap: list[list[float]] = field(default_factory=list)

    def __repr__(self) -> str:
        last = f", last residual {self.residual[-1]:.2g}" if self.residual else ""
        return f"Trace({len(self.residual)} iterations{last})"


@tabled
@dataclass(frozen=True, repr=False)
class Inference:
    """Outcome of ``infer``.

    Attributes:
        signal: posterior of x^0.
        hidden: posterior of every hidden layer, from the signal up.
        output: posterior of the last pre-activation z, of which y is the noisy picture.
        field: B and A of the message about the signal, as the prior sees it.
        free_entropy: Bethe estimate of log P(y); of all samples together.
        status: "converged", "stopped" (by the callback), "not converged" or "diverged": to numbers that are not finite,
            or to certainty of what the output excludes.
        message: the status with its cause and what to try.
        iterations: how many there were.
        trace: what happened on the way.
        mse: of every layer whose truth was given, at the end; None without truth.
        overlap: mean of x̂ x likewise.
    """

    signal: Estimate
    hidden: tuple[Estimate, ...]
    output: Estimate
    field: tuple[Array, Array]
    free_entropy: float
    status: Status
    message: str
    iterations: int
    trace: Trace
    mse: tuple[float, ...] | None = None
    overlap: tuple[float, ...] | None = None

    def __repr__(self) -> str:
        return f"Inference({self.signal.mean.shape} signal, {self.iterations} iterations, {self.message!r})"

    @property
    def converged(self) -> bool:
        """The estimates had stopped to change."""
        return self.status.converged


class Scores:
    """Errors against the true signals of some layers, from the signal up."""

    def __init__(self, truth: Any, shapes: list[tuple[int, int]]) -> None:
        if isinstance(truth, np.ndarray):
            truth = [truth]
        need = "an array, or a sequence of arrays from the signal up"
        given = () if truth is None else check_sequence("truth", truth, need)
        if len(given) > len(shapes):
            raise ValueError(f"`truth` must be at most {len(shapes)} layers, the signal first, got {len(given)}")
        self.truth: list[Array] = []
        for layer, (values, shape) in enumerate(zip(given, shapes, strict=False)):
            x = samples_of("truth", values, shape[0])
            if x.shape != shape:
                raise ValueError(f"`truth` of layer {layer} must have shape {shape}, got {x.shape}")
            self.truth.append(x)

    def mse(self, means: list[Array]) -> list[float]:
        """Return mean squared errors."""
        return [float(np.mean((m - x) ** 2)) for m, x in zip(means, self.truth, strict=False)]

    def overlap(self, means: list[Array]) -> list[float]:
        """Return the means of x̂ x."""
        return [float(np.mean(m * x)) for m, x in zip(means, self.truth, strict=False)]
