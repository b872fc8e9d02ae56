"""Observed class: the argmax of K Gaussian pre-activations [DL, App. A.9].

This channel acts on vectors: its arrays have an axis of classes. With label c and r(x) = N(x)/Φ(x),

    phi = log P(z_c > z_k for all k ≠ c),  z_k ~ N(omega_k, V_k) independent

exactly [DL, eq. 125], or with Jensen's inequality used once [DL, eqs. 128-129] or twice [DL, eqs. 132-133].
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from factorgraph.channels.base import ObservedValues, check_arguments, pre_activation
from factorgraph.channels.winner import grid_probabilities
from factorgraph.interface.arguments import check_integer, check_number, number_array, real_array, shown
from factorgraph.numerics.elementwise import Elementwise, formula, result_type
from factorgraph.numerics.quadrature import Panels, adaptive_panels
from factorgraph.numerics.special import LOG_2PI, log1mexp_array, log_normal_cdf_array, log_upper_tail, normal_tail

Array = NDArray[np.float64]
Form = Literal["double_jensen", "single_jensen", "exact"]

_MAX_NODES = 1000  # of Gauss-Legendre, whose computation takes seconds then
_BUDGET = 500_000  # nodes times rivals that are evaluated together in the exact form
_TOLERANCE = 1e-9  # between a panel and its halves; the integrands are entire, and the halves right to rounding then
_KNOWN = 1e-60  # variance of what is known, far below that of any noise
_TAIL = 14.0  # deviations beyond which a Gaussian is nothing


@formula
def beats_rival(gap: float, variance: float) -> tuple[float, float, float]:
    """log Φ(x), x = gap/√variance, its derivative in gap, r(x)/√variance, and minus its second one.

    The latter, r(r + x)/variance, has r + x = K(-x) - (-x) as the mean excess of a truncated normal, not a difference.
    """
    scale = np.sqrt(variance)
    a = -gap / scale
    q = 0.5 * min(gap * gap / variance, 1e300)
    _, _, mills, excess, _ = normal_tail(a, q)
    return log_upper_tail(a, q), mills / scale, mills * excess / variance


def _rival_element(gap: float, variance: float, phi: Any, slope: Any, curvature: Any) -> None:
    phi[0], slope[0], curvature[0] = beats_rival(gap, variance)


_beats_rival = Elementwise(_rival_element, inputs=2, outputs=3)


@dataclass(frozen=True)
class Argmax:
    """Observed label c = argmax_k z_k, in one of three forms.

    - ``"double_jensen"``: phi = Σ_{k≠c} log Φ((omega_c - omega_k)/√(V_k + V_c)): each rival by itself; exact for K = 2.
    - ``"single_jensen"``: phi = Σ_{k≠c} log Φ((omega_c + ε√V_c - omega_k)/√V_k), with one ε ~ N(0, 1) for each sample,
      shared by its rivals. An unbiased estimate of a lower bound; its derivatives are those at fixed ε.
    - ``"exact"``: the one-dimensional integral over z_c by adaptive quadrature. Relative accuracy 1e-10 for phi, g and
      gamma while the gaps are below 30 deviations; one or two milliseconds a sample for ten classes.

    In every form phi depends on differences of omega only, so that Σ_k g_k = 0. The first is the default: it needs no
    random numbers, and [DL, Fig. 4] finds no difference that matters between the first two.

    With noise the label is that of z_k + N(0, noise), the multi-class probit: all formulas are those with V + noise for
    V.

    Args:
        form: one of the names above.
        nodes: Gauss-Legendre nodes on each panel of the exact form, at least 8.
        noise: variance of the noise, finite and ≥ 0.

    Raises:
        ValueError: an unknown form, too few nodes or a wrong variance.
    """

    form: Form = "double_jensen"
    nodes: int = 16
    noise: float = 0.0
    forms: ClassVar[tuple[str, ...]] = get_args(Form)
    spin: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.form, str) or self.form not in self.forms:
            raise ValueError(f"`form` must be one of {', '.join(self.forms)}, got {shown(self.form)}")
        object.__setattr__(self, "nodes", check_integer("nodes", self.nodes, maximum=_MAX_NODES))
        if self.nodes < 8:
            raise ValueError(f"`nodes` must be >= 8, got {self.nodes!r}")
        object.__setattr__(self, "noise", check_number("noise", self.noise, minimum=0.0))

    @property
    def on_gpu(self) -> bool:
        """Labels, though no soft targets, have a kernel of their own there."""
        return self.form == "double_jensen"

    @property
    def scale_free(self) -> bool:
        """The label of cz is that of z."""
        return self.noise == 0.0

    def __call__(self, z: ArrayLike, axis: int = 0) -> Any:
        """Return the label of the greatest pre-activation, the first of several."""
        values, axis = pre_activation(z), check_integer("axis", axis)
        if not -values.ndim <= axis < values.ndim or not values.size:
            raise ValueError(
                f"`axis` must be one along which `z` has classes, got {shown(axis)} for shape {values.shape}"
            )
        return np.argmax(values, axis=axis)

    def conditional(self, z: Array) -> Array:
        """Return P(c | z) of every class for known pre-activations (K, ...), without checks."""
        if self.noise > 0.0:
            return self.probabilities(omega=z, V=_KNOWN)
        return (np.arange(len(z)).reshape(-1, *[1] * (z.ndim - 1)) == z.argmax(axis=0)).astype(np.float64)

    def observe(
        self,
        y: ArrayLike,
        *,
        omega: ArrayLike,
        V: ArrayLike,
        axis: int = 0,
        rng: np.random.Generator | None = None,
    ) -> ObservedValues:
        """Return log P(y | omega, V) in the chosen form, and its derivatives.

        Args:
            y: labels (...), integers in 0..K-1.
            omega: means (K, ...), with the class axis at ``axis``.
            V: variances, > 0, broadcast to the shape of ``omega``.
            axis: where the classes are.
            rng: source of ε, for the single-Jensen form only.

        Returns:
            phi (...), g = ∂phi/∂omega_k and gamma = -∂²phi/∂omega_k², the diagonal alone, both of the shape of omega.

        Raises:
            ValueError: a shape, a label or a variance outside its domain, K < 2, or ``rng`` missing where it is needed.
        """
        dtype, omega, V = self._classes_first(omega, V, axis)
        y = checked_labels(y, omega)
        if self.form == "exact" and y.size:
            flat = omega.reshape(len(omega), -1)
            phi, g, gamma = _exact(y.ravel(), flat, V.reshape(flat.shape), self.nodes)
        else:
            phi, g, gamma = _by_rivals(y.ravel(), *self._gaps(y, omega, V, rng))
        derivatives = (np.moveaxis(d.reshape(omega.shape), 0, axis) for d in (g, gamma))
        return ObservedValues(*(v.astype(dtype, copy=False)[()] for v in (phi.reshape(y.shape), *derivatives)))

    def observe_soft(
        self, p: ArrayLike, *, omega: ArrayLike, V: ArrayLike, rng: np.random.Generator | None = None
    ) -> ObservedValues:
        """Return log Σ_c p_c P(c | omega, V) in the chosen form, and its derivatives: the label is seen through noise.

        With the posterior r_c of the labels, g = Σ r_c g_c and gamma = g² + Σ r_c (gamma_c - g_c²).

        Args:
            p: probabilities (K, n), or weights >= 0, of the labels.
            omega: means (K, n).
            V: variances, > 0, broadcast to the shape of ``omega``.
            rng: as for ``observe``.

        Raises:
            ValueError: as for ``observe``; or weights that are negative, of another shape, or all 0 for a sample.
        """
        dtype = result_type(omega, V)
        weights = real_array("p", p)
        if weights.shape != np.shape(omega) or np.any(weights < 0.0) or not np.all(weights.sum(axis=0) > 0.0):
            raise ValueError(
                f"`p` must be weights >= 0 of shape {np.shape(omega)}, some of each sample > 0, got {shown(p)}"
            )
        labels = np.arange(len(weights))[:, None] * np.ones(weights.shape[1:], dtype=np.intp)
        phi, g, gamma = (
            np.stack(v) for v in zip(*(self.observe(c, omega=omega, V=V, rng=rng) for c in labels), strict=True)
        )
        with np.errstate(divide="ignore"):
            joint = np.log(weights) + phi
        top = joint.max(axis=0)
        total = top + np.log(np.exp(joint - top).sum(axis=0))
        r = np.exp(joint - total)[:, None]
        slope = (r * g).sum(axis=0)
        curvature = np.square(slope) + (r * (gamma - np.square(g))).sum(axis=0)
        return ObservedValues(*(v.astype(dtype, copy=False) for v in (total, slope, curvature)))

    def _gaps(
        self, y: NDArray[np.intp], omega: Array, V: Array, rng: np.random.Generator | None
    ) -> tuple[Array, Array]:
        """Return omega_c - omega_k, shifted by the sampled ε√V_c or not, and its variance; both (K, n)."""
        omega_c, V_c = (np.take_along_axis(a, y[None], axis=0) for a in (omega, V))
        if self.form == "single_jensen":
            if not isinstance(rng, np.random.Generator):
                raise ValueError(f"`rng` must be a numpy.random.Generator for the single-Jensen form, got {rng!r}")
            omega_c = omega_c + rng.standard_normal(y.shape) * np.sqrt(V_c)
        else:
            V = V + V_c
        return (omega_c - omega).reshape(len(omega), -1), V.reshape(len(omega), -1)

    def log_probabilities(self, *, omega: ArrayLike, V: ArrayLike, axis: int = 0) -> Any:
        """Return log P(argmax = k) for every class, exactly whatever the form, in the shape of omega [DL, eq. 125].

        The K integrals are independent: that the probabilities sum to 1 (to 1e-12) is a check and not imposed.

        Raises:
            ValueError: as for ``observe``.
        """
        dtype, omega, V = self._classes_first(omega, V, axis)
        if not omega.size:
            return np.moveaxis(omega, 0, axis).astype(dtype)
        flat, V = omega.reshape(len(omega), -1), V.reshape(len(omega), -1)
        labels = np.arange(len(omega))
        rows = [_exact_log_probability(np.full(flat.shape[1], c), flat, V, self.nodes) for c in labels]
        return np.moveaxis(np.stack(rows).reshape(omega.shape), 0, axis).astype(dtype, copy=False)

    def probabilities(self, *, omega: ArrayLike, V: ArrayLike, axis: int = 0) -> Any:
        """Return P(argmax = k) for every class, whatever the form, in the shape of omega; absolute accuracy 1e-12.

        A hundred times faster than ``log_probabilities``, which keeps the relative accuracy of small ones and stands in
        for samples whose deviations differ by orders of magnitude.

        Raises:
            ValueError: as for ``observe``.
        """
        dtype, omega, V = self._classes_first(omega, V, axis)
        flat, V = omega.reshape(len(omega), -1), V.reshape(len(omega), -1)
        result, valid = grid_probabilities(flat, V)
        if not valid.all():
            result[:, ~valid] = np.exp(self.log_probabilities(omega=flat[:, ~valid], V=V[:, ~valid]))
        return np.moveaxis(result.reshape(omega.shape), 0, axis).astype(dtype, copy=False)

    def most_probable(self, *, omega: ArrayLike, V: ArrayLike) -> NDArray[np.intp]:
        """Return the class of largest P(argmax = k), whatever the form: labels (n,) from means and variances (K, n).

        The class of largest mean has it if its rivals' chances against it, each alone, add up to less than a half;
        only the other samples need the probabilities.

        Raises:
            ValueError: as for ``observe``.
        """
        _, omega, V = self._classes_first(omega, V, 0)
        labels, samples = omega.argmax(axis=0), np.arange(omega.shape[1])
        gap = omega[labels, samples] - omega
        chances = ndtr(-gap / np.sqrt(V + V[labels, samples]))
        open_samples = np.flatnonzero(chances.sum(axis=0) >= 1.0)  # the class itself is among them, with a half
        if open_samples.size:
            p = self.probabilities(omega=omega[:, open_samples], V=V[:, open_samples])
            labels[open_samples] = p.argmax(axis=0)
        return labels

    def _classes_first(self, omega: ArrayLike, V: ArrayLike, axis: int) -> tuple[np.dtype[Any], Array, Array]:
        """Return result type, and omega and V, noise included, as float64 (K, ...)."""
        check_arguments(V, omega=omega)
        check_integer("axis", axis)
        dtype = result_type(omega, V)
        omega = np.asarray(omega, dtype=np.float64)
        if not -omega.ndim <= axis < omega.ndim:
            raise ValueError(f"`axis` must be an axis of omega, of shape {omega.shape}, got {axis!r}")
        try:
            V = np.broadcast_to(np.asarray(V, dtype=np.float64), omega.shape)
        except ValueError:
            raise ValueError(f"`V` must be of the shape of omega, {omega.shape}, got {np.shape(V)}") from None
        omega, V = np.moveaxis(omega, axis, 0), np.moveaxis(V, axis, 0)
        if len(omega) < 2:
            raise ValueError(f"`omega` must be of at least 2 classes, got {len(omega)}")
        return dtype, omega, V + self.noise


def checked_labels(y: ArrayLike, omega: Array) -> NDArray[np.intp]:
    """Return labels of the samples of omega (K, ...); raise ``ValueError`` for others."""
    y = number_array("y", y)
    if not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"`y` must be integers, got {y.dtype}")
    if y.shape != omega.shape[1:]:
        raise ValueError(f"`y` must be of shape {omega.shape[1:]}, got {y.shape}")
    if y.size and not 0 <= np.min(y) <= np.max(y) < len(omega):
        worst = np.min(y) if np.min(y) < 0 else np.max(y)
        raise ValueError(f"`y` must be in 0..{len(omega) - 1}, got {worst!s}")
    return y.astype(np.intp)


def _by_rivals(y: NDArray[np.intp], gap: Array, variance: Array) -> tuple[Array, Array, Array]:
    """Return phi (n,), g and gamma (K, n) of Σ_{k≠c} log Φ(gap_k/√variance_k), gap_k = omega_c - omega_k + const."""
    columns = np.arange(y.size)
    phi, slope, curvature = _beats_rival(gap, variance)
    for a in (phi, slope, curvature):
        a[y, columns] = 0.0
    g = -slope
    g[y, columns], curvature[y, columns] = slope.sum(axis=0), curvature.sum(axis=0)
    return phi.sum(axis=0), g, curvature


# ---- the exact integral ----------------------------------------------------------------------------------------------


class _Race:
    """Label against rivals for m samples: log-densities of z = z_c - omega_c where the label wins.

    Measured from omega_c, z has full resolution also where V_c is many orders below omega_c².

    Attributes:
        variance: V_c (m,).
        rival_mean: omega_k - omega_c (K-1, m).
        rival_variance: V_k (K-1, m).
    """

    def __init__(self, y: NDArray[np.intp], omega: Array, V: Array) -> None:
        columns = np.arange(y.size)
        rivals = (y + 1 + np.arange(len(omega) - 1)[:, None]) % len(omega)
        self.labels, self.rivals = (y, columns), (rivals, columns)
        self.variance, self.rival_variance = V[self.labels], V[self.rivals]
        self.rival_mean = omega[self.rivals] - omega[self.labels]

    def log_factors(self, index: NDArray[np.intp], z: Array) -> tuple[Array, Array]:
        """Return log N(z; 0, V_c) (P, nodes) and log Φ((z + omega_c - omega_k)/√V_k) (K-1, P, nodes)."""
        V = self.variance[index, None]
        base = -0.5 * (z * z / V + LOG_2PI + np.log(V))
        return base, log_normal_cdf_array(self._x(index, z))

    def log_slopes(self, index: NDArray[np.intp], z: Array, log_cdf: Array) -> Array:
        """Return log of rho_k = ∂_z log Φ((z + omega_c - omega_k)/√V_k) (K-1, P, nodes)."""
        V = self.rival_variance[:, index, None]
        return -0.5 * (self._x(index, z) ** 2 + LOG_2PI + np.log(V)) - log_cdf

    def _x(self, index: NDArray[np.intp], z: Array) -> Array:
        return (z - self.rival_mean[:, index, None]) / np.sqrt(self.rival_variance[:, index, None])

    def _with_steps(self, edges: Array) -> Array:
        """Return edges (m, E) in order, with those of the steps that rivals of small variance make: one that lies close
        to an edge is seen by no node, however often a panel is halved."""
        low, high = edges[:, :1], edges[:, -1:]
        reach = 8.0 * np.sqrt(self.rival_variance.T)
        narrow = reach < edges[:, 1:2] - low
        places = [np.where(narrow, self.rival_mean.T + side * reach, low) for side in (-1.0, 0.0, 1.0)]
        return np.sort(np.clip(np.concatenate([edges, *places], axis=1), low, high), axis=1)

    def panels(self, with_slopes: bool, nodes: int) -> Panels:
        """Return panels that resolve the winning density, its complement and, if asked, its product with each slope.

        The complement N(z) (1 - ΠΦ) gives log P = log(1 - ...) its relative accuracy where the label is almost sure to
        win; the products with the slopes do so for each g_k, however small, since each has its own mass, about
        the mean m_k of N(z_c; omega_c, V_c) N(z_c; omega_k, V_k). All fall off within a few √V_c on the outer sides.
        """
        m = self.variance.size
        meeting = self.rival_mean * self.variance / (self.variance + self.rival_variance)
        left = np.minimum(0.0, meeting.min(axis=0))
        right = np.maximum(0.0, (self.rival_mean + 8.0 * np.sqrt(self.rival_variance)).max(axis=0))
        tail = _TAIL * np.sqrt(self.variance)
        edges = self._with_steps(np.linspace(left - tail, right + tail, 9, axis=-1))
        index, cell = np.nonzero(edges[:, 1:] > edges[:, :-1])
        start = Panels(index, edges[index, cell], edges[index, cell + 1])

        def log_integrands(index: NDArray[np.intp], z: Array) -> Array:
            base, log_cdf = self.log_factors(index, z)
            wins = log_cdf.sum(axis=0)
            masses = [base + wins, base + log1mexp_array(np.maximum(-wins, 1e-300))]
            slopes = [base + wins + row for row in self.log_slopes(index, z, log_cdf)] if with_slopes else []
            return np.stack(masses + slopes)

        return adaptive_panels(log_integrands, start, m, tolerance=_TOLERANCE, nodes=nodes)


def _chunked(solve: Callable[[_Race, int], Array], y: NDArray[np.intp], omega: Array, V: Array, nodes: int) -> Array:
    """Return the results of ``solve`` for all samples, joined along their last axis."""
    size = max(1, _BUDGET // (60 * nodes * len(omega)))
    parts = [slice(i, i + size) for i in range(0, y.size, size)]
    return np.concatenate([solve(_Race(y[p], omega[:, p], V[:, p]), nodes) for p in parts], axis=-1)


def _log_probability(panels: Panels, weight: Array, base: Array, wins: Array) -> tuple[Array, Array, Array]:
    """Return log P (m,), with the normalised weights (P, nodes) of the winning law."""
    top = np.maximum.reduceat((base + wins).max(axis=-1), panels.starts())
    relative = weight * np.exp(base + wins - top[panels.owner, None])
    total = panels.sum(relative)
    lost = panels.sum(weight * np.exp(base) * -np.expm1(wins))
    log_p = np.where(lost < 0.5, np.log1p(-np.minimum(lost, 0.5)), top + np.log(total))
    return log_p, relative / total[panels.owner, None], total


def _exact_log_probability(y: NDArray[np.intp], omega: Array, V: Array, nodes: int) -> Array:
    def solve(race: _Race, nodes: int) -> Array:
        panels = race.panels(False, nodes)
        z, weight = panels.rule(nodes)
        base, log_cdf = race.log_factors(panels.owner, z)
        return _log_probability(panels, weight, base, log_cdf.sum(axis=0))[0]

    return _chunked(solve, y, omega, V, nodes)


def _exact(y: NDArray[np.intp], omega: Array, V: Array, nodes: int) -> tuple[Array, Array, Array]:
    """Return phi (n,), g and gamma (K, n)."""
    K = len(omega)
    rows = _chunked(_exact_derivatives, y, omega, V, nodes)
    return rows[0], rows[1 : K + 1], rows[K + 1 :]


def _exact_derivatives(race: _Race, nodes: int) -> Array:
    """Return phi, g and gamma stacked (1 + 2K, m), from averages over the winning law of z of the slopes rho_k.

    g_k = -E rho_k. Differentiating again gives differences of large terms where V_k << V_c; integrating by parts in
    z (rho_k N(z; omega_c, V_c) Φ... is proportional to N(z; m_k, v_k) times the other rivals' Φ) leaves, with
    S_k = V_c + V_k and R = Σ_j rho_j,

        gamma_k = q_k (q_k + (omega_c - omega_k)/S_k) + (V_c/S_k) E rho_k (R - rho_k),   q_k = E rho_k

    and by invariance under a common shift gamma_c = Σ_k gamma_k - Σ_{j≠k} Cov(rho_j, rho_k), which is also
    (1 - Var z/V_c)/V_c: the second form is used where z is confined, the first where V_c is small or c sure to win.
    """
    panels = race.panels(True, nodes)
    index, (z, weight) = panels.owner, panels.rule(nodes)
    base, log_cdf = race.log_factors(index, z)
    phi, law, _ = _log_probability(panels, weight, base, log_cdf.sum(axis=0))
    rho = np.exp(race.log_slopes(index, z, log_cdf))
    total = rho.sum(axis=0)
    q = panels.sum(law * rho)
    S = race.variance + race.rival_variance
    shared = panels.sum(law * rho * (total - rho))
    gamma = q * (q - race.rival_mean / S) + race.variance / S * shared
    spread = panels.sum(law * (z - panels.sum(law * z)[index, None]) ** 2) / race.variance
    own = panels.sum(law * (rho - q[:, index, None]) ** 2).sum(axis=0)
    covariances = panels.sum(law * (total - q.sum(axis=0)[index, None]) ** 2) - own
    gamma_c = np.where(spread < 0.5, (1.0 - spread) / race.variance, gamma.sum(axis=0) - covariances)
    return np.concatenate([phi[None], _scatter(race, q.sum(axis=0), -q), _scatter(race, gamma_c, gamma)])


def _scatter(race: _Race, label: Array, rivals: Array) -> Array:
    """Return (K, m) from the label's row (m,) and the rivals' (K-1, m)."""
    out = np.empty((len(rivals) + 1, label.size))
    out[race.labels], out[race.rivals] = label, rivals
    return out
