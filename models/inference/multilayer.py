"""Generalized linear models with known matrices, of one layer or many."""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import LinearOperator, lsqr

from factorgraph.channels import Channel, Identity
from factorgraph.factors import Bilinear
from factorgraph.interface.arguments import check_choice, check_flag, check_integer, check_number
from factorgraph.iteration import DampingLevels, Outcome, Report, Status, Turn, iterate
from factorgraph.model.description import Model, Variable
from factorgraph.numerics.spectral import Spectral
from factorgraph.priors import Prior
from models.checks import check_callback, check_channel, check_prior, check_sequence, generator, samples_of
from models.inference.chain import Ahead, Chain
from models.inference.matrices import known_matrix, outlying_mean, with_entries
from models.inference.modes import Modes, OutputModes, log_density
from models.inference.results import Estimate, Inference, Scores, Trace
from models.inference.start import SIZES, Start
from models.inference.vamp import VampChain

Array = NDArray[np.float64]

_UNINFORMATIVE = (
    "to a fixed point that knows nothing of the signal, as there is one where the output does not tell its sign; try "
    "another `start`, `rng` or `damping`, or there are too few outputs"
)

CLOSURE_NAMES = ("amp", "bp", "mf", "vamp")


class MultiLayerGLM:
    """x^0 ~ prior, x^{l+1} ~ P^{l+1}(x | W^l x^l) with all W and the last output observed [ML, eqs. 1-4].

    Args:
        prior: law of the components of the signal x^0.
        weights: W^l, (n_{l+1}, n_l), from the signal up: arrays, SciPy sparse matrices or ``LinearOperator``, with
            entries of order 1/√n_l and of mean near 0; or ``Spectral``. For the closure "vamp" with any singular values
            and any mean.
        channels: one per layer, the last one that of the observed output.
        mean_square: E (W^l)², |W|²/(outputs · inputs), to replace the squared entries; one per layer, or one for all,
            None for exact squares. A ``LinearOperator`` needs it, unless it is a ``Spectral``; "vamp" does not use it.

    Raises:
        ValueError: matrices that do not chain, that are not finite and real, or without channel.
    """

    def __init__(
        self,
        prior: Prior,
        weights: Sequence[Any],
        channels: Sequence[Channel],
        *,
        mean_square: float | Sequence[float | None] | None = None,
    ) -> None:
        self.prior = check_prior("prior", prior)
        given = check_sequence("channels", channels, "a sequence of channels")
        self.channels = tuple(check_channel("channels", channel) for channel in given)
        if not self.channels:
            raise ValueError("`channels` must be one per matrix, and at least one, got none")
        weights = check_sequence("weights", weights, "a sequence of matrices, one per channel")
        if not weights or len(weights) != len(self.channels):
            raise ValueError(f"`weights` must be one per channel, and at least one, got {len(weights)}")
        squares: Sequence[float | None] = [mean_square] * len(weights)  # pyright: ignore[reportAssignmentType]
        if isinstance(mean_square, Sequence) or (isinstance(mean_square, np.ndarray) and mean_square.ndim):
            squares = check_sequence("mean_square", mean_square, f"one number or {len(weights)}")
            if len(squares) != len(weights):
                raise ValueError(f"`mean_square` must be one or {len(weights)}, got {len(squares)}")
        self.matrices = [
            known_matrix(self._name(i), W, square) for i, (W, square) in enumerate(zip(weights, squares, strict=True))
        ]
        self._spectral: list[Spectral | None] = [None] * len(weights)
        shapes = [W.shape for W, _ in self.matrices]
        for i in range(1, len(shapes)):
            if shapes[i][1] != shapes[i - 1][0]:
                raise ValueError(
                    f"`weights[{i}]` must have {shapes[i - 1][0]} columns, the outputs below it, got {shapes[i][1]}"
                )

    @staticmethod
    def _name(layer: int) -> str:
        """Of the matrix in errors."""
        return f"weights[{layer}]"

    def __repr__(self) -> str:
        sizes = " -> ".join(map(str, self.sizes))
        return f"{type(self).__name__}({self.prior}, {sizes}, {', '.join(map(str, self.channels))})"

    def with_parameters(self, prior: Prior, channel: Channel) -> "MultiLayerGLM":
        """Return the same matrices and hidden channels with another prior and output channel; nothing is copied."""
        other = copy(self)
        other.prior = check_prior("prior", prior)
        other.channels = (*self.channels[:-1], check_channel("channel", channel))
        return other

    @property
    def sizes(self) -> tuple[int, ...]:
        """n_0 of the signal, n_1, ... n_{L+1} of the output."""
        return (self.matrices[0][0].shape[1], *(W.shape[0] for W, _ in self.matrices))

    def description(self) -> Model:
        """Return the model as plates, variables and factors: the signal free, weights and output observed."""
        last = len(self.channels)
        plates: dict[str, int | None] = {f"units{i}": n for i, n in enumerate(self.sizes)} | {"samples": None}
        names = [*(f"x{i}" for i in range(last)), "y"]
        variables = [Variable("x0", ("units0", "samples"), self.prior)]
        for i, channel in enumerate(self.channels):  # in the order of a pass forward
            outputs = (f"units{i + 1}", "samples")
            variables.append(Variable(f"W{i}", (f"units{i + 1}", f"units{i}"), observed=True))
            variables.append(Variable(names[i + 1], outputs, observed=i + 1 == last, spin=channel.spin))
        factors = [Bilinear(names[i + 1], f"W{i}", names[i], channel) for i, channel in enumerate(self.channels)]
        return Model.of(plates, variables, factors)

    def infer(
        self,
        y: ArrayLike,
        *,
        closure: str = "amp",
        damping: float | str = "adaptive",
        tolerance: float = 1e-6,
        iterations: int = 1000,
        start: str | ArrayLike = "prior",
        reinforcement: float = 0.0,
        maximum: bool = False,
        truth: Any = None,
        callback: Callable[[int, Any], bool | None] | None = None,
        rng: np.random.Generator | int | None = 0,
    ) -> Inference:
        """Return the posterior of the signal and of every hidden layer given the output.

        Args:
            y: observed output (n_{L+1},), or (n_{L+1}, samples) for several signals seen through the same matrices.
            closure: "amp"; "bp", relaxed belief propagation with a message on every edge (dense or sparse matrices);
                or "mf", without reaction terms; or "vamp", with one precision a layer, for matrices of any singular
                values: see ``vamp``. Their singular value decompositions are computed once a model.
            damping: α in [0, 1) of the messages, or "adaptive": none, and more and more where that does not converge.
            tolerance: largest change of the estimates by an undamped step, relative to their size, at which it stops.
            iterations: most of them.
            start: "prior" begins with the prior's mean; "random" adds fluctuations of a tenth of its deviation; or the
                means (n_0,) to begin with. Models that do not see the sign of the signal begin at random anyway, and
                with "vamp" again further off where the messages die out. Where there are several fixed points, start
                and damping decide which is reached: the one of greater ``free_entropy`` is the better one.
            reinforcement: r ≥ 0 turns inference into a solver: the signal's message is B + r_t B_old with
                r_t = 1 - (1 - r)^t, which drives the estimates to one solution; 0 for "vamp".
            maximum: the mode of the posterior instead of its mean, for one layer, the closures "amp" and "vamp" (for
                columns that are correlated, or of any singular values), and priors and outputs with a ``maximum``:
                LASSO with ``Laplace``, ridge regression with ``Gaussian``, both with ``Logistic`` too. Variances are
                then what modes answer to fields, and ``free_entropy`` is the log of the joint density of mode and
                output.
            truth: true signal (n_0,), or a sequence of true layers from the signal up, for errors and overlaps.
            callback: called after each iteration with its number and the chain; True stops.
            rng: generator or seed of the random start.

        Raises:
            ValueError: an argument outside its domain, ``y`` not possible for the channel or not of the right size.
        """
        closure = check_choice("closure", closure, CLOSURE_NAMES)
        iterations = check_integer("iterations", iterations, minimum=1)
        tolerance = check_number("tolerance", tolerance, minimum=0.0)
        reinforcement = check_number("reinforcement", reinforcement, minimum=0.0, below=1.0)
        if closure == "vamp" and reinforcement:
            raise ValueError(f"`reinforcement` must be 0 for the closure 'vamp', got {reinforcement}")
        if check_flag("maximum", maximum):
            self._check_maximum(closure)
        levels, callback = DampingLevels.of(damping), check_callback(callback)
        observed = self._checked_output(y)
        scores = Scores(truth, [(n, observed.shape[1]) for n in self.sizes[:-1]])
        begin = self._start(start, observed.shape[1], generator(rng), SIZES if closure == "vamp" else SIZES[:1])
        chain = self._chain(observed, closure, maximum)
        chain.begin(begin.means)
        iteration = _Iteration(chain, reinforcement, scores)
        run = iterate(
            iteration.step,
            limit=iterations,
            tolerance=tolerance,
            policy=_Restarts(levels, begin, chain),
            begin=lambda: chain.begin(begin.means),
            callback=None if callback is None else lambda number, _: callback(number, chain),
        )
        with np.errstate(all="ignore"):  # of a run that diverged
            chain.settle()
            phi = self._free_entropy(chain, observed, maximum) if run.status is not Status.DIVERGED else float("nan")
            uninformative_end = run.status is Status.CONVERGED and begin.uninformative_end(chain.field[0])
            trace = Trace(run.residuals, run.damping, iteration.mse, iteration.overlap)
            return self._result(chain, trace, run, phi, np.ndim(np.asarray(y)) == 1, scores, uninformative_end)

    def _check_maximum(self, closure: str) -> None:
        if len(self.channels) > 1:
            raise ValueError(f"`maximum` must be False for hidden layers, got {len(self.channels) - 1} of them")
        if closure not in ("amp", "vamp"):
            raise ValueError(f"`closure` must be 'amp' or 'vamp' for a maximum, got {closure!r}")
        self.prior.maximum(H=0.0, G=1.0)  # raises where there is none, as the next line does
        for channel in self.channels:
            channel.observe_maximum(1.0, omega=0.0, V=1.0)

    def _free_entropy(self, chain: Chain | VampChain, observed: Array, maximum: bool) -> float:
        if not maximum:
            return chain.free_entropy()
        (B, A), x = chain.field, chain.means[0]
        return log_density(self.prior, self.channels[0], x, self.matrices[0][0] @ x, observed, B=B, A=A)

    def _chain(self, observed: Array, closure: str, maximum: bool) -> Chain | VampChain:
        matrices, prior, channels = self.matrices, self.prior, self.channels
        if maximum:
            prior, channels = Modes(prior), (OutputModes(channels[0]),)
        if closure == "vamp":
            return VampChain(prior, self._decomposed(), channels, observed)
        if closure == "bp":
            matrices = [(with_entries(self._name(i), W), squares) for i, (W, squares) in enumerate(matrices)]
        return Chain(prior, matrices, channels, observed, closure)

    def _decomposed(self) -> list[Spectral]:
        for i, (W, _) in enumerate(self.matrices):
            if self._spectral[i] is None:
                if isinstance(W, LinearOperator) and not isinstance(W, Spectral):
                    raise ValueError(
                        f"`{self._name(i)}` must have known singular values for 'vamp', got a LinearOperator: give it "
                        "as a Spectral"
                    )
                self._spectral[i] = Spectral.of(W)
        return [matrix for matrix in self._spectral if matrix is not None]

    def _result(
        self,
        chain: Chain | VampChain,
        trace: Trace,
        run: Outcome,
        phi: float,
        flat: bool,
        scores: Scores,
        uninformative_end: bool,
    ) -> Inference:
        estimates = [
            Estimate(mean[:, 0], variance[:, 0]) if flat else Estimate(mean, variance)
            for mean, variance in [*zip(chain.means, chain.variances, strict=True), chain.output()]
        ]
        advice = _UNINFORMATIVE if uninformative_end else ""
        if run.status not in (Status.CONVERGED, Status.STOPPED):
            advice = self._advice(chain)
        B, A = chain.field
        return Inference(
            signal=estimates[0],
            hidden=tuple(estimates[1:-1]),
            output=estimates[-1],
            field=(B[:, 0], A[:, 0]) if flat else (B, A),
            free_entropy=phi,
            status=run.status,
            message=run.status.explained(advice),
            iterations=run.steps,
            trace=trace,
            mse=tuple(scores.mse(chain.means)) if scores.truth else None,
            overlap=tuple(scores.overlap(chain.means)) if scores.truth else None,
        )

    def _advice(self, chain: Chain | VampChain) -> str:
        if isinstance(chain, VampChain):
            return "raise `iterations`, or try stronger `damping`; or the model is far from what made the output"
        means = [i for i, (W, _) in enumerate(self.matrices) if outlying_mean(W)]
        if means:
            return (
                f"the entries of weights[{means[0]}] have an outlying mean, for which these messages are not made: "
                "remove it (from the output too), or try stronger `damping`, or VAMP"
            )
        return (
            "raise `iterations`, or try stronger `damping` or another `start`; matrices far from independent entries "
            "(ill-conditioned, correlated columns) need VAMP"
        )

    def _checked_output(self, y: ArrayLike) -> Array:
        observed = samples_of("y", y, self.sizes[-1], what="outputs")
        self.channels[-1].observe(observed, omega=0.0, V=1.0)  # raises for outputs that the channel cannot have
        W = self.matrices[0][0]
        if len(self.channels) == 1 and self.channels[0] == Identity() and W.shape[0] > W.shape[1]:
            for column in observed.T:
                rest = float(lsqr(W, column, atol=1e-14, btol=1e-14, iter_lim=4 * sum(W.shape))[3])
                if rest > 1e-6 * np.linalg.norm(column):
                    raise ValueError(
                        f"`y` must be W x for some x where there is no noise, got a distance {rest:.2g}: give "
                        "Identity the variance of the noise"
                    )
        return observed

    def _start(self, start: str | ArrayLike, samples: int, rng: np.random.Generator, sizes: tuple[float, ...]) -> Start:
        shape = (self.sizes[0], samples)
        begin = Start(self.prior, shape, rng, sizes)
        if isinstance(start, str):
            if start not in ("prior", "random"):
                raise ValueError(f"`start` must be 'prior', 'random' or means of shape {shape}, got {start!r}")
            if start == "random":
                begin.draw()
            return begin
        means = samples_of("start", start, shape[0], what="'prior', 'random' or means")
        if means.shape != shape:
            raise ValueError(f"`start` must be means of shape {shape}, got shape {means.shape}")
        begin.means, begin.chosen = means, True
        return begin


class _Left(NamedTuple):
    """What an iteration leaves to the next one.

    Attributes:
        ahead: what its pass backward has computed of the next one forward.
        taken: share of the new messages in those that it sent.
    """

    ahead: Ahead | None = None
    taken: float = 1.0


@dataclass
class _Iteration:
    """One pass forward and one backward, again and again.

    Attributes:
        chain: its layers and messages.
        reinforcement: as for ``infer``.
        scores: how far the estimates are from the truth.
        mse: of every iteration, if the truth is known.
        overlap: likewise.
    """

    chain: Chain | VampChain
    reinforcement: float
    scores: Scores
    mse: list[list[float]] = field(default_factory=list)
    overlap: list[list[float]] = field(default_factory=list)

    def step(self, turn: Turn) -> Report:
        """Do both passes; only the first where the estimates have settled."""
        chain = self.chain
        before, left = (0.0, _Left()) if turn.previous is None else (turn.previous.residual, turn.previous.extra)
        change, ahead = chain.forward(left.ahead)
        residual = change / left.taken
        if self.scores.truth:
            self.mse.append(self.scores.mse(chain.means))
            self.overlap.append(self.scores.overlap(chain.means))
        if residual <= turn.tolerance and residual <= before:
            return Report(residual, Status.DIVERGED if chain.contradicted else Status.CONVERGED)
        growing = 1.0 - (1.0 - self.reinforcement) ** chain.iterations
        left = _Left(chain.backward(ahead, turn.damping, growing), 1.0 - turn.damping)
        return Report(residual, Status.NOT_CONVERGED if chain.finite else Status.DIVERGED, extra=left)


@dataclass
class _Restarts:
    """More damping where that is needed, and another start where the messages say nothing of the signal.

    Attributes:
        levels: of the damping.
        start: means to begin with, which are drawn anew.
        chain: with the messages.
    """

    levels: DampingLevels
    start: Start
    chain: Chain | VampChain

    @property
    def damping(self) -> float:
        """α of the next iteration."""
        return self.levels.damping

    def begins_again(self, turn: Turn, report: Report) -> bool:
        """Return whether the messages say nothing and there is another start, or more damping is needed."""
        B = self.chain.field[0]
        if report.status is Status.NOT_CONVERGED and self.start.uninformative_start(B) and self.start.draw():
            return True
        if report.status is Status.CONVERGED and self.start.uninformative_end(B) and self.start.draw():
            self.levels.raise_level()
            return True
        return self.levels.begins_again(turn, report)


class GLM(MultiLayerGLM):
    """y ~ P(y | W x), x ~ prior, with W observed: ``MultiLayerGLM`` of one layer.

    Args:
        prior: law of the components of x.
        weights: W, (outputs, inputs).
        channel: that of the output.
        mean_square: as for ``MultiLayerGLM``.
    """

    def __init__(self, prior: Prior, weights: Any, channel: Channel, *, mean_square: float | None = None) -> None:
        channel = check_channel("channel", channel)
        super().__init__(prior, [weights], [channel], mean_square=mean_square)

    @staticmethod
    def _name(layer: int) -> str:
        return "weights"
