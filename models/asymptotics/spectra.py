"""Laws of singular values of large random matrices with rotation-invariant singular vectors."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import LinearOperator

from factorgraph.interface.arguments import check_flag, check_number, real_array, shown
from factorgraph.numerics.quadrature import panel_rule
from factorgraph.numerics.spectral import Spectral
from models.checks import check_size, generator
from models.checks import matrix as checked

Array = NDArray[np.float64]

#: Edges of panels on (0, 1), graded towards 1, where the eigenvalues of a square matrix crowd at 0.
_GRADED = np.concatenate([np.linspace(0.0, 0.5, 9), 1.0 - 0.5 ** np.arange(2, 46)])
_ANGLES = 20001  # of a cumulative law: its errors fall as its inverse square


class Spectrum(ABC):
    """A law of the squared singular values λ of matrices W (m, n), and a way to draw such matrices."""

    @abstractmethod
    def eigenvalues(self, ratio: float) -> tuple[Array, Array]:
        """Return values λ > 0 of WᵀW at large sizes, with weights per column, for m/n = ``ratio``; the rest are 0."""

    @abstractmethod
    def sample(self, rows: int, columns: int, rng: np.random.Generator) -> Any:
        """Return a matrix (rows, columns) for ``MultiLayerGLM``: an array or ``Spectral``."""

    def gain(self, ratio: float) -> float:
        """Return E z²/E x² of z = W x."""
        values, weights = self.eigenvalues(ratio)
        return float(values @ weights) / ratio


@dataclass(frozen=True)
class MarchenkoPastur(Spectrum):
    """Independent entries of variance 1/n."""

    def eigenvalues(self, ratio: float) -> tuple[Array, Array]:
        """By panels in the angle of ``_by_angle``."""
        ratio = check_number("ratio", ratio, above=0.0)
        nodes, weights = (values.ravel() for values in panel_rule(np.pi * _GRADED, 8))
        values, density = _by_angle(ratio, np.pi - nodes)
        return values, weights * density

    def quantiles(self, rows: int, columns: int) -> Array:
        """Return the min(rows, columns) largest eigenvalues that are expected of WᵀW, ascending."""
        from scipy.integrate import cumulative_trapezoid  # here, because it takes a tenth of a second to import

        ratio, size = rows / columns, min(rows, columns)
        angle = np.linspace(0.0, np.pi, _ANGLES)
        values, density = _by_angle(ratio, angle)
        mass = cumulative_trapezoid(density, angle, initial=0.0)
        return np.interp((np.arange(size) + 0.5) / size, mass / mass[-1], values)

    def sample(self, rows: int, columns: int, rng: np.random.Generator) -> Array:
        """Return normal entries."""
        rows, columns, rng = _check_draw(rows, columns, rng)
        return rng.standard_normal((rows, columns)) / columns**0.5


def _by_angle(ratio: float, angle: Array) -> tuple[Array, Array]:
    """Return λ = λ₋ + (λ₊ - λ₋) sin²(angle/2), λ± = (1 ± √ratio)², and the density √((λ₊ - λ)(λ - λ₋))/(2πλ) dλ in the
    angle, in which no end is singular."""
    height = 4.0 * ratio**0.5 * np.sin(0.5 * angle) ** 2
    values = (1.0 - ratio**0.5) ** 2 + height
    share = np.divide(height, values, out=np.ones_like(values), where=values > 0.0)  # at λ = 0 of square matrices: 1
    return values, 2.0 / np.pi * ratio**0.5 * np.cos(0.5 * angle) ** 2 * share


def marchenko_pastur(samples: int, inputs: int, variance: float | None = None) -> Array:
    """Return the squares of the singular values of X (samples, inputs) with independent entries, as quantiles of the
    limit law.

    Args:
        samples: rows.
        inputs: columns.
        variance: of the entries, by default 1/inputs.

    Returns:
        (min(samples, inputs),), ascending.
    """
    samples, inputs = check_size("samples", samples), check_size("inputs", inputs)
    scale = 1.0 if variance is None else inputs * check_number("variance", variance, above=0.0)
    return scale * MarchenkoPastur().quantiles(samples, inputs)


@dataclass(frozen=True)
class _Invariant(Spectrum):
    """Given singular values, and singular vectors in random directions.

    Args:
        fast: draw these as cosine transforms with random signs, of which products take n log n operations, instead of
            uniformly.
    """

    fast: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fast", check_flag("fast", self.fast))

    @abstractmethod
    def singular_values(self, rows: int, columns: int) -> Array:
        """Return the min(rows, columns) singular values of a matrix; those that are 0 may be left out."""

    def sample(self, rows: int, columns: int, rng: np.random.Generator) -> Spectral:
        """Return a matrix by its singular values and vectors."""
        rows, columns, rng = _check_draw(rows, columns, rng)
        s = self.singular_values(rows, columns)
        draw = fast_rows if self.fast else uniform_rows
        return Spectral(draw(s.size, rows, rng).T, s, draw(s.size, columns, rng))


@dataclass(frozen=True)
class RowOrthogonal(_Invariant):
    """All singular values equal, with E W² = 1/n: orthonormal rows where m ≤ n."""

    def eigenvalues(self, ratio: float) -> tuple[Array, Array]:
        ratio = check_number("ratio", ratio, above=0.0)
        return np.array([max(ratio, 1.0)]), np.array([min(ratio, 1.0)])

    def singular_values(self, rows: int, columns: int) -> Array:
        """Return max(1, √(m/n)), each."""
        return np.full(min(rows, columns), max(1.0, rows / columns) ** 0.5)


@dataclass(frozen=True)
class Geometric(_Invariant):
    """Singular values in geometric progression, with E W² = 1/n.

    Args:
        condition: the largest over the smallest, ≥ 1.

    Raises:
        ValueError: a condition number below 1.
    """

    condition: float

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "condition", check_number("condition", self.condition, minimum=1.0))

    def eigenvalues(self, ratio: float) -> tuple[Array, Array]:
        ratio = check_number("ratio", ratio, above=0.0)
        u, weights = (values.ravel() for values in panel_rule(np.linspace(0.0, 1.0, 17), 8))
        values = float(self.condition) ** (-2.0 * u)
        weights = weights * min(ratio, 1.0)
        return values * ratio / float(values @ weights), weights

    def singular_values(self, rows: int, columns: int) -> Array:
        """From the largest on."""
        s = float(self.condition) ** -np.linspace(0.0, 1.0, min(rows, columns))
        return s * (rows / float(s @ s)) ** 0.5


@dataclass(frozen=True)
class Empirical(_Invariant):
    """The singular values of a given matrix.

    Args:
        values: all min(m, n) of them, ≥ 0.

    Raises:
        ValueError: no values, values that are negative or not finite, or only 0.
    """

    values: Sequence[float]

    def __post_init__(self) -> None:
        super().__post_init__()
        given = real_array("values", self.values)
        if given.ndim != 1 or not np.all(given >= 0.0) or not np.any(given):
            raise ValueError(f"`values` must be a vector of finite numbers >= 0, not all 0, got {shown(self.values)}")
        given = np.sort(given)[::-1]
        object.__setattr__(self, "values", tuple(given.tolist()))

    @classmethod
    def of(cls, matrix: ArrayLike) -> "Empirical":
        """Return the those of an array (m, n)."""
        return cls(np.linalg.svd(checked("matrix", matrix, "(m, n)"), compute_uv=False).tolist())

    def eigenvalues(self, ratio: float) -> tuple[Array, Array]:
        ratio = check_number("ratio", ratio, above=0.0)
        squares = np.square(self.values)
        positive = squares > (np.finfo(float).eps * self.values[0]) ** 2
        return squares[positive], np.full(int(positive.sum()), min(ratio, 1.0) / squares.size)

    def singular_values(self, rows: int, columns: int) -> Array:
        """Return the quantiles of the given values."""
        places = (np.arange(min(rows, columns)) + 0.5) / min(rows, columns)
        s = np.interp(places, (np.arange(len(self.values)) + 0.5) / len(self.values), self.values)
        return s[s > np.finfo(float).eps * s[0]]


def _check_draw(rows: int, columns: int, rng: np.random.Generator) -> tuple[int, int, np.random.Generator]:
    rows, columns = check_size("rows", rows), check_size("columns", columns)
    return rows, columns, generator(rng)


def uniform_rows(rows: int, columns: int, rng: np.random.Generator) -> Array:
    """Return orthonormal rows (rows, columns), rows ≤ columns, uniform over all such."""
    q, r = np.linalg.qr(rng.standard_normal((columns, rows)))
    return np.ascontiguousarray((q * np.sign(np.diagonal(r))).T)


def fast_rows(rows: int, columns: int, rng: np.random.Generator) -> LinearOperator:
    """Return some rows of two cosine transforms with random signs before each."""
    from scipy import fft  # here, because it takes a tenth of a second to import

    chosen = rng.permutation(columns)[:rows]
    signs = rng.choice([-1.0, 1.0], size=(2, columns, 1))

    def forward(x: Array) -> Array:
        columns_of = x.reshape(columns, -1)
        for sign in signs:
            columns_of = fft.dct(sign * columns_of, norm="ortho", axis=0)
        return np.asarray(columns_of[chosen]).reshape(rows, *x.shape[1:])

    def back(c: Array) -> Array:
        full = np.zeros((columns, int(np.prod(c.shape[1:]))))
        full[chosen] = c.reshape(rows, -1)
        for sign in signs[::-1]:
            full = sign * fft.idct(full, norm="ortho", axis=0)
        return full.reshape(columns, *c.shape[1:])

    return LinearOperator((rows, columns), matvec=forward, matmat=forward, rmatvec=back, rmatmat=back, dtype=np.float64)  # pyright: ignore[reportCallIssue]
