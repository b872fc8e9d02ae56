"""Any activation function, by adaptive quadrature of the definition."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from factorgraph.channels.base import Channel, ChannelValues, ObservedValues, check_arguments, pre_activation
from factorgraph.interface.arguments import check_instance, check_number, real_array, shown
from factorgraph.numerics.elementwise import result_type
from factorgraph.numerics.quadrature import Panels, adaptive_panels
from factorgraph.numerics.special import LOG_2PI

Array = NDArray[np.float64]

_CHUNK = 256  # elements integrated together: bounds the memory to some megabytes
_EPS = float(np.finfo(np.float64).eps)
_FAR = 12.0 * 2.0 ** np.arange(1, 22)
#: Where the mass is looked for first, in standard deviations: ±12 in steps of 2, then ever wider up to ±2.5e7.
_SCAN = np.concatenate([-_FAR[::-1], np.linspace(-12.0, 12.0, 13), _FAR])
_WEAK = 1.0  # a tilt that varies by less is treated as a perturbation of the Gaussian


class _Tilt(NamedTuple):
    """Columns (m, 1) of the problem E e^{t(f(z))}, z ~ N(omega, V), with t(f) = b (f - y) - a (f - y)²/2."""

    b: Array
    a: Array
    y: Array
    omega: Array
    V: Array

    def take(self, index: NDArray[np.intp]) -> "_Tilt":
        return _Tilt(*(column[index] for column in self))

    def log_ratio(self, z: Array, f: Array, z0: Array, f0: Array) -> Array:
        """Return l(z) - l(z0) for l = t(f(z)) - (z - omega)²/(2V), by factored differences; NaN becomes -inf.

        Thousands of deviations from omega both terms of l are huge; the factors keep their difference.
        """
        drop = (z - z0) * ((z - self.omega) + (z0 - self.omega)) / (2.0 * self.V)
        values = (f - f0) * (self.b - 0.5 * self.a * ((f - self.y) + (f0 - self.y))) - drop
        return np.where(np.isnan(values), -np.inf, values)


class _Moments(NamedTuple):
    """Arrays (m,): log-expectation, mean and variance of f, g = E[z - omega]/V, and Γ."""

    log_expectation: Array
    mean: Array
    variance: Array
    g: Array
    gamma: Array


@dataclass(frozen=True)
class Numeric(Channel):
    """x = f(z) + noise for any activation f, by quadrature: slow, and the oracle of the other channels.

    f must grow at most linearly, or be damped by A > 0. Its mass is searched for on a grid about omega: every feature
    wider than √V is seen. Kinks and jumps should be declared in ``breakpoints``; others are found by bisection, at a
    cost. A narrow feature at an undeclared place may be missed.

    Accuracy in float64, tested for |B| <= 50, A <= 1e3, |omega|/√V <= 20 and V from 1e-6 to 1e6: 1e-10, relative to
    max(1, |phi|) for phi, to √E x² for the mean, to max(1, |g|√V) for g√V, absolutely for ΓV, and for the variance to
    itself plus 1e-5 E x². At weak tilts g and Γ are accurate relative to themselves, and 0 at B = A = 0. All this is
    for f that is right to rounding: an error of f enters the exponent multiplied by |B - A f|. Speed: some 0.3 ms an
    element.

    Args:
        activation: vectorised function of one float64 array, of the same shape.
        breakpoints: where f or a derivative is discontinuous, finite.
        noise: variance of Gaussian noise added to f(z), finite, >= 0.
        name: for messages and printing; by default that of the function.
        atoms: the values that f takes all along an interval, about which its law is narrow, which state evolution
            resolves; by default those of the pieces between breakpoints, and beyond them, on which f is found constant.

    Raises:
        ValueError: a breakpoint, the noise or an atom outside its domain.
    """

    activation: Callable[[Array], Any]
    breakpoints: Sequence[float] = ()
    noise: float = 0.0
    name: str | None = None
    atoms: Sequence[float] | None = None  # pyright: ignore[reportIncompatibleVariableOverride, reportAssignmentType]

    def __post_init__(self) -> None:
        if not callable(self.activation) or isinstance(self.activation, type):
            raise ValueError(f"`activation` must be a function of an array, got {shown(self.activation)}")
        check_instance("name", self.name, (str, type(None)), "a string or None")
        points = np.unique(real_array("breakpoints", self.breakpoints).ravel())
        object.__setattr__(self, "breakpoints", tuple(points.tolist()))
        object.__setattr__(self, "noise", check_number("noise", self.noise, minimum=0.0))
        object.__setattr__(self, "kinks", self.breakpoints)
        name = getattr(self.activation, "__name__", "numeric") if self.name is None else self.name
        object.__setattr__(self, "name", check_instance("name", name, str, "a string"))
        atoms = self._constants(points) if self.atoms is None else real_array("atoms", self.atoms).ravel()
        object.__setattr__(self, "atoms", tuple(np.unique(atoms).tolist()))

    def _constants(self, points: Array) -> Array:
        """Return the values of f on the pieces where it does not change."""
        if not points.size:
            return points
        pieces = points[:-1, None] + np.diff(points)[:, None] * np.linspace(0.03, 0.97, 9)
        beyond = np.maximum(1.0, np.ptp(points)) * np.geomspace(1e-3, 1e3, 9)
        pieces = np.concatenate([[points[0] - beyond], pieces, [points[-1] + beyond]])
        with np.errstate(all="ignore"):
            values = self._f(pieces.ravel()).reshape(pieces.shape)
        constant = np.all(values == values[:, :1], axis=1) & np.isfinite(values[:, 0])
        return values[constant, 0]

    @property
    def narrow(self) -> tuple[float, ...]:
        """Atoms, and the values of f on both sides of its breakpoints, where its law may jump."""
        points = np.array(self.breakpoints)
        sides = np.concatenate([np.nextafter(points, -np.inf), np.nextafter(points, np.inf)])
        values = self._f(sides) if sides.size else sides
        return tuple(np.unique(np.append(values[np.isfinite(values)], list(self.atoms or ()))).tolist())

    def __call__(self, z: ArrayLike) -> Any:
        """Return f(z)."""
        return self.activation(pre_activation(z))

    def sample(self, z: ArrayLike, rng: np.random.Generator) -> Any:
        """Return f(z) plus noise."""
        check_instance("rng", rng, np.random.Generator, "a numpy.random.Generator")
        return self(z) + math.sqrt(self.noise) * rng.standard_normal(np.shape(z))

    def evaluate(self, *, B: ArrayLike, A: ArrayLike, omega: ArrayLike, V: ArrayLike) -> ChannelValues:
        """See ``Channel``. The noise is integrated in closed form: it divides B and A by 1 + A noise.

        Raises:
            ValueError: V is not finite and > 0, A >= 0 does not hold, or the integral diverges or is too far out to be
                found.
        """
        check_arguments(V, B=B, A=A, omega=omega)
        _check_not_infinite(B=B, A=A, omega=omega)
        dtype, shape, (B, A, omega, V) = _columns(B, A, omega, V)
        if not np.all(A >= 0.0):
            raise ValueError(f"`A` must be >= 0, got {np.min(A)!s}")
        s, c = self.noise, 1.0 + A * self.noise
        r = self._expectation(_Tilt(B / c, A / c, np.zeros_like(B), omega, V))
        B, A, c = B[:, 0], A[:, 0], c[:, 0]
        phi = r.log_expectation + 0.5 * (B * B * s / c - np.log1p(A * s))
        values = (phi, (r.mean + s * B) / c, r.variance / (c * c) + s / c, r.g, r.gamma)
        return ChannelValues(*(_restore(v, shape, dtype) for v in values))

    def observe(self, y: ArrayLike, *, omega: ArrayLike, V: ArrayLike) -> ObservedValues:
        """Return log E N(y; f(z), noise) and its derivatives.

        Raises:
            ValueError: V is not finite and > 0, or there is no noise: an exact output would need the inverse of f.
        """
        check_arguments(V, y=y, omega=omega)
        _check_not_infinite(y=y, omega=omega)
        if self.noise == 0.0:
            raise ValueError(
                "`noise` must be > 0 to observe the output of a numeric channel, got 0.0; give it the variance of the "
                "observation noise, or use a channel with a closed form"
            )
        dtype, shape, (y, omega, V) = _columns(y, omega, V)
        a = np.full_like(y, 1.0 / self.noise)
        r = self._expectation(_Tilt(np.zeros_like(y), a, y, omega, V))
        phi = r.log_expectation - 0.5 * (LOG_2PI + math.log(self.noise))
        return ObservedValues(*(_restore(v, shape, dtype) for v in (phi, r.g, r.gamma)))

    def _expectation(self, tilt: _Tilt) -> _Moments:
        m = tilt.omega.shape[0]
        with np.errstate(all="ignore"):  # f may overflow far out in the scan; what is not finite has no weight
            parts = [
                _integrate(self._f, np.array(self.breakpoints), _Tilt(*(c[i : i + _CHUNK] for c in tilt)))
                for i in range(0, m, _CHUNK)
            ]
        return (
            _Moments(*(np.concatenate(column) for column in zip(*parts, strict=True)))
            if parts
            else _Moments(*np.empty((5, 0)))
        )

    def _f(self, z: Array) -> Array:
        return np.asarray(self.activation(z), dtype=np.float64)


def _check_not_infinite(**arguments: ArrayLike) -> None:
    """Raise ValueError for an infinite argument: no integral is the limit."""
    for name, values in arguments.items():
        if np.isinf(values).any():
            raise ValueError(f"`{name}` must not be infinite for a numeric channel, got {shown(values)}")


def _columns(*args: ArrayLike) -> tuple[np.dtype[Any], tuple[int, ...], list[Array]]:
    """Return result type, broadcast shape and the arguments as float64 columns (m, 1)."""
    dtype = result_type(*args)
    arrays = np.broadcast_arrays(*(np.asarray(a, dtype=np.float64) for a in args))
    return dtype, arrays[0].shape, [a.reshape(-1, 1) for a in arrays]


def _restore(values: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    return values.reshape(shape).astype(dtype, copy=False)[()]


def _edges(breakpoints: Array, tilt: _Tilt) -> Array:
    """Return ordered edges (m, E) of the scan: the grid about omega, and the breakpoints themselves."""
    grid = tilt.omega + np.sqrt(tilt.V) * _SCAN
    return np.sort(np.concatenate([grid, np.broadcast_to(breakpoints, (len(grid), len(breakpoints)))], axis=1), axis=1)


def _peak(f: Callable[[Array], Array], edges: Array, tilt: _Tilt) -> Array:
    """Return a point (m, 1) near the greatest integrand: the best of the scan, refined by ever finer grids about it."""
    rows = np.arange(len(edges))
    z = edges
    z0 = tilt.omega
    for _ in range(10):
        best = np.argmax(tilt.log_ratio(z, f(z), z0, f(z0)), axis=1)
        if z is edges and np.any((best == 0) | (best == z.shape[1] - 1)):
            raise ValueError("`activation` must grow at most linearly where A = 0: the integral diverges")
        left, z0, right = (z[rows, np.clip(best + k, 0, z.shape[1] - 1)][:, None] for k in (-1, 0, 1))
        z = np.concatenate([left + (z0 - left) * np.linspace(0, 1, 6), z0 + (right - z0) * np.linspace(0, 1, 6)[1:]], 1)
    return z0


def _integrate(f: Callable[[Array], Array], breakpoints: Array, tilt: _Tilt) -> _Moments:
    """Return the moments of the tilted law of z and f(z) for the m rows of ``tilt``."""
    edges = _edges(breakpoints, tilt)
    z0 = _peak(f, edges, tilt)
    f0 = f(z0)
    index, cell = np.nonzero(edges[:, 1:] > edges[:, :-1])
    start = Panels(index, edges[index, cell], edges[index, cell + 1])
    # f is resolved in the mean square about f0, but not below what its rounding lets one see.
    floor = (1e-4 * f0) ** 2 + 1e-300

    def log_integrands(index: NDArray[np.intp], z: Array) -> Array:
        value = f(z)
        log_weight = tilt.take(index).log_ratio(z, value, z0[index], f0[index])
        return np.stack([log_weight, log_weight + np.log((value - f0[index]) ** 2 + floor[index])])

    noise = _EPS * (np.abs(f0) * (np.abs(tilt.b) + tilt.a * np.abs(f0)) + np.abs(z0 * (z0 - tilt.omega)) / tilt.V)
    panels = adaptive_panels(log_integrands, start, len(z0), tolerance=np.maximum(1e-12, 4.0 * noise[:, 0]))
    return _moments(f, panels, tilt, z0, f0)


def _best_node(panels: Panels, values: Array, z: Array) -> Array:
    """Return the node (m, 1) of greatest value (P, nodes) of each integral."""
    best = values.argmax(axis=1)[:, None]
    order = np.lexsort((np.take_along_axis(values, best, axis=1)[:, 0], panels.owner))
    last = np.r_[panels.starts()[1:], panels.owner.size] - 1
    return np.take_along_axis(z, best, axis=1)[order[last]]


def _moments(f: Callable[[Array], Array], panels: Panels, tilt: _Tilt, z0: Array, f0: Array) -> _Moments:
    """Return all sums over the nodes, by columns (m, 1) relative to the greatest integrand, first taken to be at z0."""
    index, (z, w) = panels.owner, panels.rule()
    value, local = f(z), tilt.take(panels.owner)
    z0 = _best_node(panels, local.log_ratio(z, value, z0[index], f0[index]), z)
    f0 = f(z0)
    d, e = z - z0[index], value - f0[index]
    weight = w * np.exp(local.log_ratio(z, value, z0[index], f0[index]))

    def mean(x: Array) -> Array:
        return panels.sum(weight * x)[:, None] / total

    total = panels.sum(weight)[:, None]
    shift, e_mean = mean(d), mean(e)
    deviation = z0 - tilt.omega
    g = (deviation + shift) / tilt.V
    gamma = (1.0 - mean((d - shift[index]) ** 2) / tilt.V) / tilt.V
    reference = (f0 - tilt.y) * (tilt.b - 0.5 * tilt.a * (f0 - tilt.y))
    phi = reference - deviation**2 / (2.0 * tilt.V) + np.log(total) - 0.5 * (LOG_2PI + np.log(tilt.V))
    weak, phi_weak, g_weak, gamma_weak = _weak_tilt(panels, local, z, w, e, f0[index])
    phi = np.where(weak, reference + phi_weak, phi)
    g, gamma = np.where(weak, g_weak / np.sqrt(tilt.V), g), np.where(weak, gamma_weak / tilt.V, gamma)
    variance = mean((e - e_mean[index]) ** 2)
    return _Moments(*(a[:, 0] for a in (phi, f0 + e_mean, variance, g, gamma)))


def _weak_tilt(
    panels: Panels, local: _Tilt, z: Array, w: Array, e: Array, f0: Array
) -> tuple[NDArray[np.bool_], Array, Array, Array]:
    """Where the tilt is weak, and there log E e^t, √V g and V Γ, with t relative to t(f0); all (m, 1).

    With E over the *untilted* law, u = (z - omega)/√V and h = e^t - 1, g √V = E[u h]/E[1 + h] and
    V Γ = (g √V)² - E[(u² - 1) h]/E[1 + h], because E u = E[u² - 1] = 0: small differences of large moments never form.
    """
    u = (z - local.omega) / np.sqrt(local.V)
    base = w * np.exp(-0.5 * u * u) / np.sqrt(2.0 * math.pi * local.V)
    t = e * (local.b - 0.5 * local.a * (e + 2.0 * (f0 - local.y)))
    widest = np.maximum.reduceat(np.abs(t).max(axis=-1), panels.starts())
    weak = (np.abs(panels.sum(base) - 1.0) < 1e-12) & (widest <= _WEAK)
    h = base * np.expm1(np.minimum(t, _WEAK))
    excess = panels.sum(h)
    slope, curvature = panels.sum(u * h) / (1.0 + excess), panels.sum((u * u - 1.0) * h) / (1.0 + excess)
    gamma = slope * slope - curvature
    return weak[:, None], np.log1p(excess)[:, None], slope[:, None], gamma[:, None]
