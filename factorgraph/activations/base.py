"""Base class of activations: a scalar function σ, and its averages over Gaussian variables.

The theory of wide networks needs <σ ... σ>_G and its derivatives in G; messages need the best linear function.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from factorgraph.activations.averages import gaussian_rule, normal_panels
from factorgraph.interface.arguments import check_instance, real_array, shown

Array = NDArray[np.float64]

_STEP = 1e-3  # of differences


class Linearised(NamedTuple):
    """The linear function of z ~ N(m, v) nearest to σ(z), elementwise.

    Attributes:
        mean: E σ.
        slope: E σ' = Cov(σ, z)/v.
        residual: Var σ - slope² v ≥ 0, what the linear function does not explain.
    """

    mean: Array
    slope: Array
    residual: Array


class Activation:
    """x = σ(z), for any function of one variable: what follows from it is found by quadrature split at its kinks.

    Args:
        function: vectorised σ.
        kinks: where σ or a derivative is discontinuous.
        name: for printing.

    Raises:
        ValueError: an argument of another type.

    Attributes:
        steepest: largest |σ'|; infinite where it is not known.
    """

    steepest: float = math.inf

    def __init__(self, function: Callable[[Array], Any], *, kinks: Sequence[float] = (), name: str = "") -> None:
        if not callable(function):
            raise ValueError(f"`function` must be a function of one array, got {shown(function)}")
        self.function = function
        self.kinks = tuple(real_array("kinks", kinks).ravel().tolist())
        self.name = check_instance("name", name, str, "a string") or getattr(function, "__name__", "activation")

    def __call__(self, z: Array) -> Array:
        return np.asarray(self.function(z), dtype=np.float64)

    def __repr__(self) -> str:
        return self.name

    def derivative(self, z: ArrayLike) -> Array:
        """Return σ'(z), elementwise, by differences of fourth order."""
        z = np.asarray(z, dtype=np.float64)
        values = self(z[..., None] + _STEP * np.array([-2.0, -1.0, 1.0, 2.0]))
        return values @ np.array([1.0, -8.0, 8.0, -1.0]) / (12.0 * _STEP)

    def linearised(self, mean: Array, variance: Array) -> Linearised:
        """Return the best linear function under N(mean, variance), which broadcast; variances > 0."""
        mean, variance = np.broadcast_arrays(mean, variance)
        deviation = np.sqrt(variance.ravel())
        z, weight = normal_panels(mean.ravel(), deviation, self.centres)
        x, t = self(z), (z - mean.ravel()[:, None, None]) / deviation[:, None, None]
        first, tilted, square = (
            (weight * values).sum(axis=(1, 2)).reshape(mean.shape) for values in (x, x * t, np.square(x))
        )
        return Linearised(first, tilted / np.sqrt(variance), np.maximum(square - first**2 - tilted**2, 0.0))

    @property
    def centres(self) -> tuple[float, ...]:
        """Kinks, and the origin, about which functions like tanh are narrow on the scale of a large variance."""
        return tuple(sorted({0.0, *self.kinks}))

    def moment(self, powers: tuple[int, ...], G: Array) -> float:
        """Return <Π_i σ(z_i)^powers_i>_G for d <= 4 variables, (d, d) positive definite."""
        z, weight = gaussian_rule(G, self.centres)
        return float(np.prod([self(row) ** power for row, power in zip(z, powers, strict=True)], axis=0) @ weight)

    def second(self, G: Array) -> float:
        """Return <σ(z)²>_G or <σ(z_1) σ(z_2)>_G, for one variable or two."""
        return self.moment((2,) if len(G) == 1 else (1, 1), G)

    def slope(self, G: Array) -> Array:
        """Return ½ <∂_c ∂_d f>_G for the f of ``second``: its derivatives in G_cd, of which both of the pair count, (d,
        d).

        ½ <f (y_c y_d - G^cd)> with y = G^-1 z, [RG, eqs. 4.61-4.63].
        """
        z, weight = gaussian_rule(G, self.centres)
        weight = weight * self._product(z)
        y = np.linalg.solve(G, z)
        return 0.5 * ((y * weight) @ y.T - weight.sum() * np.linalg.inv(G))

    def fourth_order(self, G: Array, cumulant: Array) -> float:
        """Return Σ K_cdef <∂_c ∂_d ∂_e ∂_f f>_G / 24 for the f of ``second``: what a fourth cumulant K (d, d, d, d)
        adds."""
        z, weight = gaussian_rule(G, self.centres)
        inverse = np.linalg.inv(G)
        y = inverse @ z
        pairs = np.einsum("cdef,cd->ef", cumulant, inverse)
        quartic = np.einsum("cdef,ck,dk,ek,fk->k", cumulant, y, y, y, y, optimize=True)
        quadratic = np.einsum("ef,ek,fk->k", pairs, y, y)
        constant = float(np.einsum("ef,ef->", pairs, inverse))
        return float((self._product(z) * weight) @ (quartic - 6.0 * quadratic + 3.0 * constant)) / 24.0

    def square_slope(self, K: float) -> float:
        """Return <σ'(z)²>_K; infinite if σ jumps. σ' is that of the interpolating polynomial on each panel."""
        if K == 0.0:
            return float(self.derivative(0.0)) ** 2
        if any(self._jumps(kink) for kink in self.kinks):
            return np.inf
        z, weight = normal_panels(np.zeros(1), K**0.5, self.centres)
        nodes = z.shape[-1]
        wide = np.ptp(z[0], axis=1) > 1e-12 * K**0.5
        z, weight = z[0][wide], weight[0][wide]
        derivative = self(z) @ _differentiation(nodes).T
        scale = _differentiation(nodes) @ z.T  # dz/dt on each panel, the same at all its nodes
        return float(np.sum(weight * (derivative / scale.T) ** 2))

    def _product(self, z: Array) -> Array:
        return self(z[0]) * self(z[-1])

    def _jumps(self, kink: float) -> bool:
        step = 1e-9 * max(1.0, abs(kink))
        low, near, high = self(np.array([kink - step, kink + step, kink + 2.0 * step]))
        return abs(near - low) > 1e-6 * max(1.0, abs(near)) and abs(near - low) > 100.0 * abs(high - near)


@lru_cache
def _differentiation(nodes: int) -> Array:
    """Return matrix that takes values at the Gauss-Legendre nodes to the derivative of their polynomial there."""
    x = np.polynomial.legendre.leggauss(nodes)[0]
    basis = np.polynomial.legendre.legvander(x, nodes - 1)
    slopes = np.stack(
        [np.polynomial.legendre.legval(x, np.polynomial.legendre.legder(row)) for row in np.eye(nodes)], axis=1
    )
    return slopes @ np.linalg.inv(basis)
