"""Covariances of any scalars: a sparse solve where the joint law is Gaussian, and the response of the means else.

The covariance of x_i and x_j is the derivative of the mean of x_i by the field of x_j. Where belief propagation is
exact for every field, on forests, so is that derivative; with loops it is the linear response [Welling-Teh 2004], which
correlates variables that no factor ties, too.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from factorgraph.engine.cavity import beliefs, indefinite
from factorgraph.engine.copies import settled, side_by_side
from factorgraph.engine.unroll import Potentials, Unrolled
from factorgraph.interface.brief import briefly
from factorgraph.messages.natural import Array

#: Fields of the response, in units of a deviation, and what their means count: a derivative with an error of order 4.
_STEP = 2e-3
_STENCIL = ((-2.0, 1.0 / 12.0), (-1.0, -8.0 / 12.0), (1.0, 8.0 / 12.0), (2.0, -1.0 / 12.0))
#: Relative error of a derivative above which it is not exact.
_EXACT = 1e-9
#: Sweeps until the means have responded, at most, and the change at which there are no more.
_SWEEPS, _TOLERANCE = 1000, 1e-13
#: Scalars of the copies that respond together.
_MAX_SCALARS = 2**22


@briefly
class JointCovariance(NamedTuple):
    """Covariances of some scalars.

    Attributes:
        matrix: (n, n).
        exact: they are those of the model: on forests to about 1e-9, where no mean is 1e4 deviations from 0 or more,
            which would hide its response; and where the joint law is Gaussian, with loops too. Otherwise they are the
            linear response of the beliefs.
    """

    matrix: Array
    exact: bool


def is_gaussian(graph: Unrolled, potentials: Potentials) -> bool:
    """Return whether the joint law of the free variables is Gaussian: reals alone, with quadratic factors."""
    free = np.isnan(potentials.value)
    return (
        bool(graph.real[free].all())
        and not any(free[law.variables].any() for law in graph.nonconjugate)
        and all(stack.kind.quadratic or not free[stack.variables].any() for stack in graph.stacks)
    )


def gaussian_covariance(graph: Unrolled, potentials: Potentials, places: NDArray[np.intp]) -> Array:
    """Return the covariances of some components, 0 for observed ones, by a sparse decomposition of the precision.

    Raises:
        IndefiniteError: it is not positive definite.
    """
    from scipy.sparse import csc_array, diags_array  # here, because they take a tenth of a second to import
    from scipy.sparse.linalg import splu

    from factorgraph.engine.joint import Joint

    reals = np.flatnonzero(np.isnan(potentials.value) & graph.real)
    joint = Joint(graph, potentials, reals)
    matrix = joint.residuals.matrix[:, reals]
    precision = csc_array(matrix.T @ diags_array(joint.residuals.weight) @ matrix - diags_array(joint.excess))
    scale = 1.0 / np.sqrt(np.maximum(precision.diagonal(), np.finfo(float).tiny))
    precision = csc_array(diags_array(scale) @ precision @ diags_array(scale))
    try:
        factors = splu(precision, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    except RuntimeError:  # exactly singular
        raise indefinite(graph, int(reals[0]), 0.0) from None
    if not np.all(factors.U.diagonal() > 0.0):
        raise indefinite(graph, int(reals[0]), float(factors.U.diagonal().min()))
    of = np.full(graph.variables, -1)
    of[reals] = np.arange(reals.size)
    columns, kept = of[places], of[places] >= 0
    unit = np.zeros((reals.size, places.size))
    unit[columns[kept], np.flatnonzero(kept)] = scale[columns[kept]]
    covariance = np.zeros((places.size, places.size))
    covariance[kept] = (scale[:, None] * factors.solve(unit))[columns[kept]]
    return 0.5 * (covariance + covariance.T)


def response(
    graph: Unrolled, potentials: Potentials, messages: tuple[Array, Array], places: NDArray[np.intp], schedule: str
) -> JointCovariance:
    """Return the derivatives of the means of some components by each other's fields, and whether they are exact as far
    as rounding goes."""
    known = beliefs(graph, potentials, *messages)
    deviations = np.sqrt(known.variance[_diagonal(graph, np.arange(graph.variables))])
    spread, deviation = graph.real & (deviations > 0.0), deviations[places]
    largest = float(np.max(np.abs(known.mean[spread]) / deviations[spread], initial=0.0))
    rounding = float(np.finfo(float).eps) * largest / _STEP
    units = np.where(graph.real[places] & (deviation > 0.0), deviation, 1.0)
    runs = [(j, step) for j in range(places.size) for step, _ in _STENCIL]
    size = max(1, _MAX_SCALARS // max(1, graph.variables + graph.edges))
    means = [
        _means(graph, potentials, messages, places, units, runs[at : at + size], schedule)
        for at in range(0, len(runs), size)
    ]
    stencil = np.array([share for _, share in _STENCIL]) / _STEP
    shift = np.concatenate(means).reshape(places.size, len(_STENCIL), places.size)
    covariance = np.einsum("jsi,s->ij", shift, stencil) * units
    return JointCovariance(0.5 * (covariance + covariance.T), rounding <= _EXACT)


def _means(
    graph: Unrolled,
    potentials: Potentials,
    messages: tuple[Array, Array],
    places: NDArray[np.intp],
    units: Array,
    runs: list[tuple[int, float]],
    schedule: str,
) -> Array:
    """Return the means (runs, n) of some components with a field on one of them in each run."""
    copies, at = side_by_side(graph, potentials, messages, len(runs)), graph.variables * np.arange(len(runs))
    j, step = (np.array(column) for column in zip(*runs, strict=True))
    copies.potentials.field[at + places[j]] += _STEP * step / units[j]
    found = settled(*copies, schedule, sweeps=_SWEEPS, tolerance=_TOLERANCE)
    return beliefs(copies.graph, copies.potentials, *found).mean[at[:, None] + places]


def _diagonal(graph: Unrolled, places: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return where the variances of components are: of vectors in the diagonals of their matrices."""
    found = np.arange(graph.variables)
    for vectors in graph.vectors:
        found[vectors[..., 0]] = np.diagonal(vectors, axis1=1, axis2=2)
    return found[places]
