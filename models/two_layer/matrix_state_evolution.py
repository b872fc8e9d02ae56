"""State evolution of matrix VAMP: what it does for large random X, by a recursion of d × d matrices [2L].

The message of the head about Z is b = z A + ξ row by row, with z the true row and ξ ~ N(0, T), and claims the precision
Γ; with posterior means all three are one matrix. Singular values of X make of it the joint law of the true rows and
the message of the linear node, which is Gaussian; averages over it and the noise of the outputs are means over
Sobol's points, always the same ones, so that the recursion has a fixed point.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from factorgraph.interface.arguments import check_choice, check_instance, shown
from factorgraph.interface.brief import tabled
from factorgraph.iteration import DampingLevels, Report, Status, Turn, iterate
from factorgraph.messages.linear_node import Directions, inverses, symmetric
from factorgraph.messages.ranges import message_precisions
from factorgraph.numerics.quadrature import sobol_normals
from models.asymptotics.state_evolution import check_run
from models.checks import check_size, vector
from models.two_layer.head import Head
from models.two_layer.head_factor import METHODS, head_message
from models.two_layer.row_messages import RowMessage
from models.two_layer.row_prior import GaussianRows

Array = NDArray[np.float64]

_SHARP = 1e3  # precision of the informative start, in units of the inverse second moment of Z


@tabled
@dataclass(frozen=True, repr=False)
class MatrixStateEvolution:
    """A run of state evolution.

    Attributes:
        mse: mean squared error of the entries of W⁰, one per iteration.
        test_error: expected squared error of the prediction of a new output over the variance of its noise, averaged
            over the outputs, one per iteration; 1 is the oracle's.
        precision: Γ that the head claims about Z at the end, (d, d).
        status: "converged", where the last iteration changed nothing any more, "not converged" or "diverged".
        message: the status with its cause and what to try.
    """

    mse: Array
    test_error: Array
    precision: Array
    status: Status
    message: str

    @property
    def converged(self) -> bool:
        """The last iteration changed nothing any more."""
        return self.status.converged

    def __repr__(self) -> str:
        return f"MatrixStateEvolution(mse {self.mse[-1]:.6g}, {len(self.mse)} iterations, {self.message!r})"


class _Field(NamedTuple):
    """A, T and Γ, (d, d)."""

    gain: Array
    noise: Array
    precision: Array


@dataclass
class _Recursion:
    prior: GaussianRows
    head: Head
    spectrum: Array
    samples: int
    inputs: int
    method: str
    nodes: int
    normal: Array  # standard normal points (n, 2d + outputs)
    field: _Field

    def directions(self) -> Directions:
        """Return the linear node between the prior and the message of the head."""
        weights, known = np.ones(self.spectrum.size), np.zeros(1, dtype=bool)
        shape, laws = (self.samples, self.inputs), (self.field.precision[None], self.prior.precision[None])
        return Directions(self.spectrum, weights, shape, *laws, known)

    def at_head(self, node: Directions) -> tuple[Array, Array]:
        """Return joint covariance (2d, 2d) of a row of Z and the message of the linear node, and the precision of
        that."""
        A, T, _ = self.field
        square, s = self.spectrum[:, None, None], np.sqrt(self.spectrum)[:, None, None]
        modes, covariance = node.covariances[0], symmetric(node.output_covariance)
        ratio = modes @ inverses(covariance)
        from_noise = square * ratio - np.eye(self.head.d)
        known, free = s * (self.prior.precision @ ratio + A @ from_noise), s * (A @ from_noise)
        mean, law = np.outer(self.prior.mean, self.prior.mean), self.prior.covariance
        cross = (s * (mean @ known + law @ free)).sum(axis=0)
        own = (_T(known) @ mean @ known + _T(free) @ law @ free + _T(from_noise) @ T @ from_noise).sum(axis=0)
        own = own + (self.samples - len(modes)) * T
        joint = np.block([[self.spectrum.sum() * (mean + law), cross], [cross.T, own]]) / self.samples
        return joint, message_precisions(covariance, node.output_share)[0]

    def backward(self, joint: Array, precision: Array) -> _Field:
        """Return the head's new message."""
        d = self.head.d
        rows = self.normal[:, : 2 * d] @ _root(joint)
        z, cavity = rows[:, :d], RowMessage(rows[:, d:], precision)
        Y = self.head(z) + np.sqrt(self.head.noise) * self.normal[:, 2 * d :]
        sent = head_message(self.head, cavity, Y, self.method, self.nodes)
        if self.method == "mmse":
            return _Field(sent.precision, sent.precision, sent.precision)
        gain: Any = np.linalg.lstsq(rows, sent.information, rcond=None)[0][:d]
        rest = sent.information - z @ gain
        return _Field(gain, symmetric(rest.T @ rest / len(rest)), sent.precision)

    def errors(self, node: Directions) -> tuple[float, float]:
        """Return mean squared error of W, and test error over the noise."""
        A, T, _ = self.field
        modes = node.covariances[0]
        square, s = self.spectrum[:, None, None], np.sqrt(self.spectrum)[:, None, None]
        known, free, noise = (self.prior.precision + square * A) @ modes, square * A @ modes, s * modes
        unseen = self.inputs - len(modes)
        mean, law = np.outer(self.prior.mean, self.prior.mean), self.prior.covariance
        cross = (mean @ known + law @ free).sum(axis=0) + unseen * mean
        own = (_T(known) @ mean @ known + _T(free) @ law @ free + _T(noise) @ T @ noise).sum(axis=0) + unseen * mean
        truth = self.inputs * (mean + law)
        mse = float(np.trace(truth - 2.0 * cross + own)) / (self.inputs * self.head.d)
        scale = self.spectrum.sum() / self.samples  # E x² of a row of inputs
        joint = np.block([[truth, cross], [cross.T, own]]) * scale / self.inputs
        d = self.head.d
        rows = self.normal[:, : 2 * d] @ _root(joint)
        if self.method == "map":
            predicted = self.head(rows[:, d:])
        else:
            predicted = self.head.expectation(rows[:, d:], scale * node.input_covariance[0])
        excess = np.mean((predicted - self.head(rows[:, :d])) ** 2, axis=0)
        return mse, 1.0 + float(np.mean(excess / self.head.noise))


def matrix_state_evolution(
    prior: GaussianRows,
    head: Head,
    spectrum: ArrayLike,
    *,
    samples: int,
    inputs: int,
    method: str = "mmse",
    start: str = "uninformative",
    points: int = 1024,
    nodes: int = 64,
    iterations: int = 200,
    tolerance: float = 1e-3,
    damping: float = 0.0,
) -> MatrixStateEvolution:
    """Run state evolution to its fixed point, for X (samples, inputs) with singular vectors in general position.

    Args:
        prior: of the rows of W⁰.
        head: everything behind Z.
        spectrum: squares of the singular values of X, (min(samples, inputs),) or fewer, the others being 0; those of a
            given X, or ``asymptotics.spectra.marchenko_pastur``.
        samples: rows of X.
        inputs: columns.
        method: "mmse" or "map", as of ``MatrixVAMP.infer``. The averages over rows see no jumps between two modes: for
            "map" with sigmoids and little noise they are rough.
        start: "uninformative" (no message, as the algorithm starts) or "informative" (at the truth).
        points: over which averages are taken, a power of 2. The error of the mean of n points falls as 1/n where the
            integrand is smooth, and is below 1/√n anyway.
        nodes: lines that each row is integrated along.
        iterations: most of them.
        tolerance: change of Γ, relative to its size, at which it stops.
        damping: α in [0, 1) of the head's message, whose old and new noises count as one: the end is that of the
            damped algorithm, the way there is not.

    Raises:
        ValueError: an argument outside its domain.
    """
    check_instance("prior", prior, GaussianRows, "GaussianRows")
    check_instance("head", head, Head, "a Head")
    if prior.d != head.d:
        raise ValueError(f"`prior` must be of rows in R^{head.d}, got R^{prior.d}")
    check_choice("method", method, METHODS)
    check_run(start, iterations, tolerance, damping)
    samples, inputs = check_size("samples", samples), check_size("inputs", inputs)
    points, nodes = check_size("points", points, minimum=2), check_size("nodes", nodes)
    if points & (points - 1):
        raise ValueError(f"`points` must be a power of 2, got {points}")
    values, maximum = vector("spectrum", spectrum), min(samples, inputs)
    if values.size > maximum or not np.all(values >= 0.0) or not values.any():
        raise ValueError(f"`spectrum` must be 1 to {maximum} numbers >= 0, not all 0, got {shown(values)}")
    values = values[values > 0.0]
    zero = np.zeros((head.d, head.d))
    field = _Field(zero, zero, zero)
    if start == "informative":
        sharp = _SHARP * inverses(values.sum() / samples * (prior.covariance + np.outer(prior.mean, prior.mean)))
        field = _Field(sharp, sharp, sharp)
    normal = sobol_normals(2 * head.d + head.outputs, points)
    run = _Recursion(prior, head, values, samples, inputs, method, nodes, normal, field)
    errors: list[tuple[float, float]] = []

    def step(turn: Turn) -> Report:
        new = run.backward(*run.at_head(run.directions()))
        change, size = np.linalg.norm(new.precision - run.field.precision), np.linalg.norm(new.precision)
        run.field = _Field(*(turn.damping * a + (1.0 - turn.damping) * b for a, b in zip(run.field, new, strict=True)))
        errors.append(run.errors(run.directions()))
        return turn.judge(float(change / size) if change else 0.0)  # the change is that of an undamped step

    status = iterate(step, limit=iterations, tolerance=tolerance, policy=DampingLevels(damping)).status
    mse, test = np.array(errors).T
    advice = "" if status.converged else "raise `iterations`, or if it oscillates, `damping`"
    return MatrixStateEvolution(mse, test, run.field.precision, status, status.explained(advice))


def _root(covariance: Array) -> Array:
    """Return the symmetric root of a covariance matrix, which may be singular."""
    values, axes = np.linalg.eigh(symmetric(covariance))
    return (axes * np.sqrt(np.maximum(values, 0.0))) @ axes.T


def _T(matrices: Any) -> Any:  # noqa: N802  (transposition)
    return np.swapaxes(matrices, -1, -2)
