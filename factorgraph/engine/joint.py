"""The joint weight of a model as terms and residuals, for the ground truth: nothing here uses a message rule."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from factorgraph.engine.unroll import Own, Potentials, Stack, Unrolled
from factorgraph.messages.natural import Array
from factorgraph.numerics.dense_gaussian import DenseGaussian

#: Sums of terms below this lose no more than the terms themselves are wrong by.
_MODERATE = 16.0


class _Residuals(NamedTuple):
    """Σ_r -weight_r (target_r - (matrix x)_r)²/2 with a sparse matrix (m, N)."""

    matrix: Any
    target: Array
    weight: Array

    def take(self, rows: NDArray[Any]) -> "_Residuals":
        return _Residuals(self.matrix[rows], self.target[rows], self.weight[rows])


class Joint:
    """Everything that has a weight, without the factors on some variables and these variables' own weights.

    The logarithm is kept as many terms, because large ones may cancel: see ``compensated``. What is quadratic in free
    real variables is kept as residuals. A coupling J of two real variables is a residual of their difference (sum, for
    J < 0), which may be small where they are large, and takes |J| from the precision at both ends.

    Args:
        graph: the factors.
        potentials: of the variables.
        reals: the free real scalars.
        left_out: (N,) the variables of which nothing is to count.
    """

    def __init__(
        self,
        graph: Unrolled,
        potentials: Potentials,
        reals: NDArray[np.intp],
        left_out: NDArray[np.bool_] | None = None,
    ) -> None:
        left_out = np.zeros(graph.variables, dtype=bool) if left_out is None else left_out
        self.reals, self.free = reals, np.zeros(graph.variables, dtype=bool)
        self.free[reals] = True
        self.kept = np.flatnonzero(~self.free & ~left_out & ((graph.vector_of < 0) | _components(graph)))
        self.own = _scalars(graph, potentials.own)
        self.constants: list[Array] = [self.own.base[reals]]
        self.fields: list[tuple[NDArray[Any], NDArray[Any], Array]] = []  # free real variable, spin and coupling
        self.factors: list[Stack] = []
        self.couplings = _own_couplings(graph, potentials)
        rows: list[tuple[NDArray[Any], NDArray[Any], Array, Array, Array]] = []
        for stack in graph.stacks:
            taken = np.asarray(~left_out[stack.variables].any(axis=1))
            through = np.asarray(self.free[stack.variables].any(axis=1)) & stack.kind.quadratic
            if stack.kind.quadratic and stack.variables.shape[1] == 2 and not any(stack.kind.spins):
                through[:] = True  # a coupling, or a residual: both keep their digits
            self._add_form(graph, _some(stack, taken & through), rows)
            self.factors.append(_some(stack, taken & ~through))
        self._lift_couplings(rows)
        self.settled, self.residuals = self._residuals(graph.variables, rows)

    def _add_form(self, graph: Unrolled, stack: Stack, rows: list[Any]) -> None:
        """Take factors by their quadratic form."""
        if not len(stack.variables):
            return
        form = stack.kind.quadratic_form(stack.parameters)
        self.constants.append(form.constant)
        f, r, slot = np.nonzero(form.matrix)
        number = f * form.matrix.shape[1] + r
        rows.append(
            (number, stack.variables[f, slot], form.matrix[f, r, slot], form.target.ravel(), form.weight.ravel())
        )
        if form.coupling.any():
            x, y = stack.variables.T
            if graph.spin[x[0]]:
                self.fields.append((y, x, form.coupling))
            else:
                self.couplings.append((x, y, form.coupling))

    def _lift_couplings(self, rows: list[Any]) -> None:
        """Couplings of real variables, and what remains of the precisions, as residuals."""
        precision = self.own.precision.copy()
        for i, j, J in self.couplings:
            number = np.arange(J.size)
            both, ends = np.concatenate([number, number]), np.concatenate([i, j])
            rows.append((both, ends, np.concatenate([np.ones(J.size), -np.sign(J)]), np.zeros(J.size), np.abs(J)))
            np.subtract.at(precision, ends, np.abs(J)[both])
        self.own = self.own._replace(precision=precision)
        self.excess = np.maximum(-precision[self.reals], 0.0)
        for centre, stiffness in ((np.zeros(precision.size), precision), (self.own.centre, self.own.stiffness)):
            i = self.reals[stiffness[self.reals] > 0.0]
            rows.append((np.arange(i.size), i, np.ones(i.size), centre[i], stiffness[i]))

    def _residuals(self, variables: int, rows: list[Any]) -> tuple[_Residuals, _Residuals]:
        """Return those without and with free real variables."""
        from scipy.sparse import csr_array

        starts = np.cumsum([0, *(len(target) for *_, target, _ in rows)])
        number = np.concatenate([start + row[0] for start, row in zip(starts, rows, strict=False)])
        columns, values, target, weight = (np.concatenate([row[n] for row in rows]) for n in range(1, 5))
        matrix = csr_array((values, (number, columns)), shape=(starts[-1], variables))
        free = np.zeros(starts[-1], dtype=bool)
        free[number[self.free[columns]]] = True
        every = _Residuals(matrix, target, weight)
        return every.take(np.flatnonzero(~free)), every.take(np.flatnonzero(free))

    def terms(self, x: Array) -> Array:
        """Return terms (T, S) of the logarithm at states x (S, N) that do not depend on the free real variables."""
        known = np.where(self.free, 0.0, x)
        own = self.own.log_weight(known)[:, self.kept].T
        rest = self.settled.target[:, None] - self.settled.matrix @ known.T
        terms = [own, -0.5 * self.settled.weight[:, None] * rest * rest]
        terms += [np.broadcast_to(c[:, None], (c.size, len(x))) for c in self.constants]
        for stack in self.factors:
            values = [known[:, column].T for column in stack.variables.T]
            terms.append(stack.kind.log_factor(stack.parameters, *values) if len(stack.variables) else terms[0][:0])
        return np.concatenate(terms)

    def gaussian(self) -> DenseGaussian:
        """Return the law of the free real variables, which has the same precision in all states.

        Raises:
            IndefiniteError: it has no normalisation.
        """
        return DenseGaussian(self.residuals.matrix[:, self.reals].toarray(), self.residuals.weight, self.excess)

    def integrated(self, gaussian: DenseGaussian, x: Array) -> Array:
        """Return terms (T, S) of the log-integral over the free real variables, whose means are filled into x (S,
        N)."""
        known = np.where(self.free, 0.0, x)
        target = self.residuals.target[:, None] - self.residuals.matrix @ known.T
        field = np.zeros_like(x)
        field[:, self.reals] = self.own.field[self.reals]
        for i, s, J in self.fields:
            np.add.at(field.T, i, J[:, None] * x[:, s].T)
        mean = gaussian.mean(target, field[:, self.reals].T)
        x[:, self.reals] = mean.T
        peak = gaussian.log_peak(target, field[:, self.reals].T, mean)
        return np.concatenate([peak, np.full((1, len(x)), gaussian.log_volume)])


def compensated(terms: Array) -> Array:
    """Return sums over the first axis, (S,), as if in twice the precision: of terms (T, S) that may cancel, or be
    -∞."""
    if max(terms.max(initial=0.0), -terms.min(initial=0.0)) < _MODERATE:
        return terms.sum(axis=0)
    error = np.zeros(terms.shape[1])
    with np.errstate(invalid="ignore"):
        while len(terms) > 1:
            half = len(terms) // 2
            a, b = terms[:half], terms[half : 2 * half]
            total = a + b
            back = total - a
            lost = (a - (total - back)) + (b - back)
            error += np.where(np.isfinite(lost), lost, 0.0).sum(axis=0)
            terms = np.concatenate([total, terms[2 * half :]])
    return terms.sum(axis=0) + error


def _some(stack: Stack, rows: NDArray[np.bool_]) -> Stack:
    return Stack(stack.kind, stack.variables[rows], tuple(p[rows] for p in stack.parameters), stack.offset, ())


def _components(graph: Unrolled) -> NDArray[np.bool_]:
    """Return (N,) the places of vectors that hold a component."""
    first = np.zeros(graph.variables, dtype=bool)
    for places in graph.vectors:
        first[places[..., 0]] = True
    return first


def _scalars(graph: Unrolled, own: Own) -> Own:
    """Return own weights with the diagonal of each vector's precision matrix in the places of its components."""
    precision = np.where(graph.vector_of < 0, own.precision, 0.0)
    for places in graph.vectors:
        precision[places[..., 0]] = np.diagonal(own.precision[places], axis1=1, axis2=2)
    return own._replace(precision=precision)


def _own_couplings(graph: Unrolled, potentials: Potentials) -> list[tuple[NDArray[Any], NDArray[Any], Array]]:
    """Return the pairs of components and their couplings in the vectors' own precision matrices."""
    found = []
    for places in graph.vectors:
        i, j = np.triu_indices(places.shape[1], 1)
        J = -potentials.own.precision[places[:, i, j]]
        where = np.nonzero(J)
        found.append((places[:, i, 0][where], places[:, j, 0][where], J[where]))
    return found
