"""Activation functions σ and what the statistics of wide networks need of them: averages <σ...σ>_G over Gaussians.

Any function does, by quadrature split at its kinks; linear, ReLU, sign and erf units have closed forms.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from factorgraph.arguments import check_instance, shown
from models.checks import check_sequence, vector
from models.preactivation.quadrature import gaussian_rule, normal_panels

Array = NDArray[np.float64]


class Activation:
    """x = σ(z), for any function of one variable.

    Args:
        function: vectorised σ.
        kinks: where σ or a derivative is discontinuous.
        name: for printing.

    Raises:
        ValueError: an argument of another type.
    """

    def __init__(self, function: Callable[[Array], Any], *, kinks: Sequence[float] = (), name: str = "") -> None:
        if not callable(function):
            raise ValueError(f"`function` must be a function of one array, got {shown(function)}")
        self.function = function
        self.kinks = tuple(vector("kinks", kinks).tolist())
        self.name = check_instance("name", name, str, "a string") or getattr(function, "__name__", "activation")

    def __call__(self, z: Array) -> Array:
        return np.asarray(self.function(z), dtype=np.float64)

    def __repr__(self) -> str:
        return self.name

    @property
    def centres(self) -> tuple[float, ...]:
        """Kinks, and the origin, about which functions like tanh are narrow on the scale of a large variance."""
        return tuple(sorted({0.0, *self.kinks}))

    def moment(self, powers: tuple[int, ...], G: Array) -> float:
        """<Π_i σ(z_i)^powers_i>_G for d <= 4 variables, (d, d) positive definite."""
        z, weight = gaussian_rule(G, self.centres)
        return float(np.prod([self(row) ** power for row, power in zip(z, powers, strict=True)], axis=0) @ weight)

    def second(self, G: Array) -> float:
        """<σ(z)²>_G or <σ(z_1) σ(z_2)>_G, for one variable or two."""
        return self.moment((2,) if len(G) == 1 else (1, 1), G)

    def slope(self, G: Array) -> Array:
        """½ <∂_c ∂_d f>_G for the f of ``second``: its derivatives in G_cd, of which both of the pair count, (d, d).

        ½ <f (y_c y_d - G^cd)> with y = G^-1 z, [RG, eqs. 4.61-4.63].
        """
        z, weight = gaussian_rule(G, self.centres)
        weight = weight * self._product(z)
        y = np.linalg.solve(G, z)
        return 0.5 * ((y * weight) @ y.T - weight.sum() * np.linalg.inv(G))

    def fourth_order(self, G: Array, cumulant: Array) -> float:
        """Σ K_cdef <∂_c ∂_d ∂_e ∂_f f>_G / 24 for the f of ``second``: what a fourth cumulant K (d, d, d, d) adds."""
        z, weight = gaussian_rule(G, self.centres)
        inverse = np.linalg.inv(G)
        y = inverse @ z
        pairs = np.einsum("cdef,cd->ef", cumulant, inverse)
        quartic = np.einsum("cdef,ck,dk,ek,fk->k", cumulant, y, y, y, y, optimize=True)
        quadratic = np.einsum("ef,ek,fk->k", pairs, y, y)
        constant = float(np.einsum("ef,ef->", pairs, inverse))
        return float((self._product(z) * weight) @ (quartic - 6.0 * quadratic + 3.0 * constant)) / 24.0

    def square_slope(self, K: float) -> float:
        """<σ'(z)²>_K; infinite if σ jumps. σ' is that of the interpolating polynomial on each panel."""
        if K == 0.0:
            return self._slope_at(0.0) ** 2
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

    def _slope_at(self, z: float) -> float:
        """σ'(z) by differences of fourth order."""
        step = 1e-3
        values = self(z + step * np.array([-2.0, -1.0, 1.0, 2.0]))
        return float(values @ np.array([1.0, -8.0, 8.0, -1.0])) / (12.0 * step)


@lru_cache
def _differentiation(nodes: int) -> Array:
    """Matrix that takes values at the Gauss-Legendre nodes to the derivative of their polynomial there."""
    x = np.polynomial.legendre.leggauss(nodes)[0]
    basis = np.polynomial.legendre.legvander(x, nodes - 1)
    slopes = np.stack(
        [np.polynomial.legendre.legval(x, np.polynomial.legendre.legder(row)) for row in np.eye(nodes)], axis=1
    )
    return slopes @ np.linalg.inv(basis)


class _Linear(Activation):
    """σ(z) = z: Wick's theorem."""

    def moment(self, powers: tuple[int, ...], G: Array) -> float:
        index = [i for i, power in enumerate(powers) for _ in range(power)]
        return _pairings(index, G)

    def slope(self, G: Array) -> Array:
        return np.eye(1) if len(G) == 1 else 0.5 * (1.0 - np.eye(2))

    def square_slope(self, K: float) -> float:
        return 1.0


def _pairings(index: list[int], G: Array) -> float:
    if not index:
        return 1.0
    first, rest = index[0], index[1:]
    return float(sum(G[first, other] * _pairings(rest[:j] + rest[j + 1 :], G) for j, other in enumerate(rest)))


class _ReLU(Activation):
    """σ(z) = max(0, z): integrals over the angle between two inputs, the radius being a Gamma function.

    With ρ = cos θ, over the directions where both are positive, ∫ cos^p φ cos^q(φ - θ) dφ.
    """

    def moment(self, powers: tuple[int, ...], G: Array) -> float:
        scale = float(np.prod(np.sqrt(np.diag(G)) ** np.asarray(powers)))
        if powers in ((2,), (4,)):
            return scale * (0.5 if powers == (2,) else 1.5)
        if powers not in ((1, 1), (2, 2), (3, 1), (1, 3)):
            return super().moment(powers, G)
        rho, theta = _angle(G)
        sine, rest = np.sin(theta), np.pi - theta
        if powers == (1, 1):
            return scale * (sine + rest * rho) / (2.0 * np.pi)
        if powers == (2, 2):
            return scale * (3.0 * sine * rho + rest * (1.0 + 2.0 * rho * rho)) / (2.0 * np.pi)
        return scale * (3.0 * rho * rest + (2.0 + rho * rho) * sine) / (2.0 * np.pi)

    def slope(self, G: Array) -> Array:
        if len(G) == 1:
            return np.full((1, 1), 0.5)
        _, theta = _angle(G)
        ratio = np.sqrt(G[1, 1] / G[0, 0])
        own = np.sin(theta) / (4.0 * np.pi) * np.array([ratio, 1.0 / ratio])
        return np.diag(own) + (np.pi - theta) / (4.0 * np.pi) * (1.0 - np.eye(2))

    def square_slope(self, K: float) -> float:
        return 0.5


class _Sign(Activation):
    """σ(z) = ±1: orthant probabilities."""

    def moment(self, powers: tuple[int, ...], G: Array) -> float:
        odd = [i for i, power in enumerate(powers) if power % 2]
        if not odd:
            return 1.0
        if len(odd) == 2:
            return 2.0 / np.pi * float(np.arcsin(_angle(G[np.ix_(odd, odd)])[0]))
        return super().moment((1,) * len(odd), G[np.ix_(odd, odd)])

    def slope(self, G: Array) -> Array:
        return np.zeros((1, 1)) if len(G) == 1 else _arcsine_slope(G)

    def square_slope(self, K: float) -> float:
        return np.inf


class _Erf(Activation):
    """σ(z) = erf(z), the mean of the sign of z plus noise of variance ½."""

    def moment(self, powers: tuple[int, ...], G: Array) -> float:
        if powers == (2,):
            return 2.0 / np.pi * float(np.arcsin(G[0, 0] / (G[0, 0] + 0.5)))
        if powers == (1, 1):
            return 2.0 / np.pi * float(np.arcsin(_angle(G + 0.5 * np.eye(2))[0]))
        return super().moment(powers, G)

    def slope(self, G: Array) -> Array:
        if len(G) == 1:
            return 1.0 / (np.pi * (G + 0.5) * np.sqrt(G + 0.25))
        return _arcsine_slope(G + 0.5 * np.eye(2))

    def square_slope(self, K: float) -> float:
        return 4.0 / np.pi / (1.0 + 4.0 * K) ** 0.5


def _angle(G: Array) -> tuple[float, float]:
    """Correlation and angle of two variables."""
    rho = float(np.clip(G[0, 1] / np.sqrt(G[0, 0] * G[1, 1]), -1.0, 1.0))
    return rho, float(np.arccos(rho))


def _arcsine_slope(G: Array) -> Array:
    """Derivatives of (2/π) arcsin ρ, as of ``Activation.slope``."""
    rho, _ = _angle(G)
    root = np.pi * np.sqrt(G[0, 0] * G[1, 1] * (1.0 - rho * rho))
    own = -G[0, 1] / (root * np.diag(G))
    return np.diag(own) + (1.0 - np.eye(2)) / root


LINEAR: Activation = _Linear(lambda z: z, name="linear")
RELU: Activation = _ReLU(lambda z: np.maximum(z, 0.0), kinks=[0.0], name="relu")
SIGN: Activation = _Sign(lambda z: np.where(z >= 0.0, 1.0, -1.0), kinks=[0.0], name="sign")
ERF: Activation = _Erf(erf, name="erf")
TANH = Activation(np.tanh, name="tanh")


def moments(activation: Activation, G: Array, order: int) -> Array:
    """All averages <σ_a σ_b> (order 2) or <σ_a σ_b σ_c σ_d> (order 4) over inputs of covariance ``G``, (D, D).

    Returns:
        a symmetric tensor with ``order`` axes of D.
    """
    size = len(G)
    result = np.empty((size,) * order)
    cache: dict[tuple[int, ...], float] = {}
    for index in np.ndindex(result.shape):
        key = tuple(sorted(index))
        if key not in cache:
            distinct = sorted(set(key))
            powers = tuple(key.count(i) for i in distinct)
            cache[key] = activation.moment(powers, G[np.ix_(distinct, distinct)])
        result[index] = cache[key]
    return result


def slopes(activation: Activation, G: Array) -> Array:
    """½ <∂_c ∂_d σ_a σ_b>_G for all a, b, c, d: the derivatives of <σ_a σ_b> in the symmetric G, (D, D, D, D)."""
    size = len(G)
    result = np.zeros((size,) * 4)
    for a in range(size):
        result[a, a, a, a] = activation.slope(G[a : a + 1, a : a + 1])[0, 0]
    for a, b in combinations(range(size), 2):
        pair = np.ix_((a, b), (a, b))
        result[a, b][pair] = result[b, a][pair] = activation.slope(G[pair])
    return result


def check_activations(name: str, values: Any, number: int | None = None) -> list[Activation]:
    """Activations, one for all ``number`` layers or a sequence of as many.

    Raises:
        ValueError: anything else.
    """
    if isinstance(values, Activation) and number is not None:
        return [values] * number
    need = "activations of models.preactivation"
    found = [check_instance(name, each, Activation, need) for each in check_sequence(name, values, need)]
    if number is not None and len(found) != number:
        raise ValueError(f"`{name}` must be one or {number} (one per hidden layer), got {len(found)}")
    return found
