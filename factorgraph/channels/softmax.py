"""Observed class with softmax probabilities: the argmax of pre-activations with Gumbel noise.

With label c, phi = log E softmax(z/T)_c over z_k ~ N(omega_k, V_k) independent, exactly, or by the odds of each rival
against the label, which add up where the pre-activations are known: 1/softmax_c = 1 + Σ_{k≠c} e^{-(z_c - z_k)/T}.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp, softmax

from factorgraph.channels.argmax import Argmax, checked_labels
from factorgraph.channels.base import ObservedValues
from factorgraph.channels.logistic import logistic_both
from factorgraph.channels.poisson import poisson_observed
from factorgraph.interface.arguments import check_number
from factorgraph.numerics.elementwise import Elementwise, formula

Array = NDArray[np.float64]

_STEP = 0.4  # of the trapezoidal rule, in units of the narrowest scale of the integrand
_DROP = 32.0  # the integrand is nothing where its logarithm is this much below the maximum
_MOST = 100_000  # points, of classes whose scales differ by orders of magnitude
_RARE = -500.0  # log of a probability below which hazards are no numbers
_REACH = 8.5  # deviations beyond which a Gaussian is nothing to 1e-15
_TAIL = 36.0  # scales beyond which a Gumbel variable is nothing to 1e-15
_QUICK = 20.0  # √V/T above which the rule over the Gaussian takes more points than that of its bend


def _odds_element(gap: float, variance: float, T: float, log_odds: Any, slope: Any, bend: Any) -> None:
    """log of E σ(-x/T)/E σ(x/T), x ~ N(gap, variance), with minus its derivative in gap, and its second one."""
    log_p, g_p, gamma_p, log_q, g_q, gamma_q = logistic_both(gap / T, variance / T / T)
    log_odds[0], slope[0], bend[0] = log_q - log_p, (g_p + g_q) / T, (gamma_p - gamma_q) / T / T


_odds = Elementwise(_odds_element, 3, 3)


def _by_odds(y: NDArray[np.intp], omega: Array, V: Array, T: float) -> tuple[Array, Array, Array]:
    """Return phi (n,), g and gamma (K, n) of -log(1 + Σ_{k≠c} o_k), o_k the odds of k against c."""
    columns = np.arange(y.size)
    log_odds, slope, bend = _odds(omega[y, columns] - omega, V + V[y, columns], T)
    log_odds[y, columns], slope[y, columns], bend[y, columns] = 0.0, 0.0, 0.0
    phi = -np.asarray(logsumexp(log_odds, axis=0))
    share = np.exp(log_odds + phi)
    first, second = share * slope, share * (slope * slope + bend)
    g, gamma = -first, second - first * first
    g[y, columns] = first.sum(axis=0)
    gamma[y, columns] = second.sum(axis=0) - first.sum(axis=0) ** 2
    return phi, g, gamma


@formula
def _race(u: float, omega: Any, V: Any, T: float, hazards: Any, slopes: Any) -> float:
    """log Π_k F_k(u), with h_k = ∂_u log F_k and ∂_u h_k.

    F_k(u) = P(z_k + T gumbel <= u) = E exp(-e^{(z_k - u)/T}) is the probability of no count of a Poisson variable whose
    logarithmic rate is Gaussian.
    """
    total = 0.0
    for k in range(len(omega)):
        phi, g, gamma = poisson_observed(0.0, (omega[k] - u) / T, V[k] / T / T)
        total += phi
        hazards[k], slopes[k] = -g / T, -gamma / T / T
    return total


@formula
def _log_finish(u: float, label: int, omega: Any, V: Any, T: float, hazards: Any, slopes: Any) -> float:
    """Log of the density with which the label comes in first at u, e^{Σ log F_k} h_c; concave in u."""
    total = _race(u, omega, V, T, hazards, slopes)
    return total + math.log(hazards[label]) if hazards[label] > 0.0 else -math.inf


@formula
def _mode(label: int, omega: Any, V: Any, T: float, width: float, hazards: Any, slopes: Any) -> float:
    """Where that density has its maximum, to a tenth of its width: the zero of its falling logarithmic slope."""
    low, high = math.inf, -math.inf
    for k in range(len(omega)):
        low, high = min(low, omega[k] - 4.0 * T), max(high, omega[k] + T)
    low, high, step = low - width, high + width, width
    for _ in range(200):
        _race(low, omega, V, T, hazards, slopes)
        if hazards[label] > 0.0 and slopes[label] / hazards[label] + hazards.sum() > 0.0:
            break
        low, step = low - step, 2.0 * step
    step = width
    for _ in range(200):
        _race(high, omega, V, T, hazards, slopes)
        if not hazards[label] > 0.0 or slopes[label] / hazards[label] + hazards.sum() < 0.0:
            break
        high, step = high + step, 2.0 * step
    while high - low > 0.1 * width and high - low > 1e-12 * (abs(high) + abs(low)):
        u = 0.5 * (low + high)
        _race(u, omega, V, T, hazards, slopes)
        if hazards[label] > 0.0 and slopes[label] / hazards[label] + hazards.sum() > 0.0:
            low = u
        else:
            high = u
    return 0.5 * (low + high)


@formula
def softmax_observed(label: int, omega: Any, V: Any, T: float, g: Any, gamma: Any) -> float:
    """phi = log E softmax(z/T)_c, z_k ~ N(omega_k, V_k); g and gamma are filled with ∂phi and -∂²phi in omega_k.

    The label of the softmax is that of the first of z_k + T gumbel_k, so that phi = log ∫ du e^{Σ log F_k} h_c. F_k
    moves with omega_k: with averages over the place u at which the label wins, g_k = -E h_k and
    gamma_k = g_k² - E (h_k² + ∂h_k); of the label itself by a common shift of all rivals.
    """
    K = len(omega)
    hazards, slopes = np.empty(K), np.empty(K)
    width = math.inf
    for k in range(K):
        width = min(width, max(T, math.sqrt(V[k])))
    mode = _mode(label, omega, V, T, width, hazards, slopes)
    top = _log_finish(mode, label, omega, V, T, hazards, slopes)
    h, total, own, bend = _STEP * width, 0.0, 0.0, 0.0
    g[:], gamma[:] = 0.0, 0.0
    for side in range(2):
        for i in range(side, _MOST):
            u = mode + (i if side == 0 else -i) * h
            value = _log_finish(u, label, omega, V, T, hazards, slopes) - top
            if value < -_DROP:
                break
            weight, rivals, turn = math.exp(value), 0.0, 0.0
            total += weight
            for k in range(K):
                if k != label:
                    rivals += hazards[k]
                    turn += slopes[k]
                    g[k] -= weight * hazards[k]
                    gamma[k] -= weight * (hazards[k] * hazards[k] + slopes[k])
            own += weight * rivals
            bend += weight * (rivals * rivals + turn)
    g[label], gamma[label] = own, -bend
    for k in range(K):
        g[k] /= total
        gamma[k] = gamma[k] / total + g[k] * g[k]
    return top + math.log(total * h)


@formula
def _all_observed(labels: Any, omega: Any, V: Any, T: float, phi: Any, g: Any, gamma: Any) -> None:
    """Of all samples, in the rows of (n, K) arrays."""
    for n in range(len(labels)):
        phi[n] = softmax_observed(labels[n], omega[n], V[n], T, g[n], gamma[n])


@formula
def _nodes(V: Any, T: float) -> tuple[Any, Any, Any]:
    """Weights w_i and factors e^{√V_k ξ_i/T} of the trapezoidal rule over a normal ξ, and how many of each class.

    exp(-e^x) is bounded for |Im x| < π/2: steps in ξ of half of T/√V leave errors of e^{-2π (π/2)/0.5} = 3e-9.
    """
    K = len(V)
    counts = np.empty(K, np.int64)
    for k in range(K):
        counts[k] = int(2.0 * _REACH * max(1.25, 2.0 * math.sqrt(V[k]) / T)) + 2
    weights, factors = np.empty((K, counts.max())), np.empty((K, counts.max()))
    for k in range(K):
        h = 2.0 * _REACH / (counts[k] - 1)
        for i in range(counts[k]):
            xi = i * h - _REACH
            weights[k, i] = h * math.exp(-0.5 * xi * xi) / math.sqrt(2.0 * math.pi)
            factors[k, i] = math.exp(xi * math.sqrt(V[k]) / T)
    return weights, factors, counts


@formula
def _quick_race(u: float, omega: Any, T: float, weights: Any, factors: Any, counts: Any, hazards: Any) -> float:
    """Π_k F_k(u) and h_k, as ``_race`` does, absolutely to 1e-8: all that probabilities need."""
    product = 1.0
    for k in range(len(omega)):
        rate, below, density = math.exp(min((omega[k] - u) / T, 700.0)), 0.0, 0.0
        for i in range(counts[k]):
            x = rate * factors[k, i]
            if x < 40.0:
                weight = weights[k, i] * math.exp(-x)
                below += weight
                density += weight * x
        product *= below
        hazards[k] = density / below / T if below > 0.0 else 0.0
    return product


@formula
def _all_probabilities(omega: Any, V: Any, T: float, p: Any) -> None:
    """Fill the rows of (n, K) with E softmax(z/T): ∫ du e^{Σ log F_k} h_k of all classes over the same points."""
    samples, K = omega.shape
    hazards, slopes = np.empty(K), np.empty(K)
    for n in range(samples):
        low, high, width = -math.inf, -math.inf, math.inf
        for k in range(K):
            deviation = math.sqrt(V[n, k])
            low = max(low, omega[n, k] - _REACH * deviation - 4.0 * T)  # below, some class has surely come in
            high = max(high, omega[n, k] + _REACH * deviation + _TAIL * T)
            width = min(width, max(T, deviation))
        points = min(int((high - low) / (_STEP * width)) + 2, _MOST)
        quick = math.sqrt(V[n].max()) <= _QUICK * T
        weights, factors, counts = _nodes(V[n] if quick else V[n] * 0.0, T)
        p[n, :] = 0.0
        for i in range(points):
            u = low + (high - low) * i / (points - 1)
            if quick:
                weight = _quick_race(u, omega[n], T, weights, factors, counts, hazards)
            else:
                weight = math.exp(_race(u, omega[n], V[n], T, hazards, slopes))
            for k in range(K):
                p[n, k] += weight * hazards[k]
        p[n, :] /= p[n, :].sum()


@dataclass(frozen=True)
class Softmax(Argmax):
    """Label c with probability e^{z_c/T}/Σ_k e^{z_k/T}: the argmax of z_k + T gumbel_k.

    - ``"odds"``: phi = -log(1 + Σ_{k≠c} o_k) with the odds o_k = E σ(-(z_c - z_k)/T)/E σ((z_c - z_k)/T) of each rival
      by itself; exact for K = 2, and for known pre-activations.
    - ``"exact"``: the one-dimensional integral over the place where the race is won, by the trapezoidal rule, with
      integrals of their own for the classes at each point: probabilities to a relative 1e-8, those below e^-500 by
      odds; some milliseconds a sample for ten classes. ``Argmax("exact")`` is the limit T = 0.

    Probabilities of classes are exact in both forms.

    Args:
        form: one of the names above.
        temperature: T, finite and > 0.

    Raises:
        ValueError: an argument is out of its range.
    """

    form: Any = "odds"
    temperature: float = 1.0
    forms: ClassVar[tuple[str, ...]] = ("odds", "exact")

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "temperature", check_number("temperature", self.temperature, above=0))

    @property
    def scale_free(self) -> bool:
        return False

    def conditional(self, z: Array) -> Array:
        return softmax(z / self.temperature, axis=0)

    def observe(
        self,
        y: ArrayLike,
        *,
        omega: ArrayLike,
        V: ArrayLike,
        axis: int = 0,
        rng: np.random.Generator | None = None,
    ) -> ObservedValues:
        """Return log E softmax(z/T)_y in the chosen form, and its derivatives, as ``Argmax.observe``."""
        dtype, omega, V = self._classes_first(omega, V, axis)
        y = checked_labels(y, omega)
        flat = omega.reshape(len(omega), -1)
        phi, g, gamma = self._observed(y.ravel(), flat, V.reshape(flat.shape))
        derivatives = (np.moveaxis(d.reshape(omega.shape), 0, axis) for d in (g, gamma))
        return ObservedValues(*(v.astype(dtype, copy=False)[()] for v in (phi.reshape(y.shape), *derivatives)))

    def _observed(self, y: NDArray[np.intp], omega: Array, V: Array) -> tuple[Array, Array, Array]:
        values = _by_odds(y, omega, V, self.temperature)
        often = np.flatnonzero(values[0] > _RARE)
        if self.form == "odds" or not often.size:
            return values
        rows = [np.ascontiguousarray(a[:, often].T) for a in (omega, V)]
        exact = np.empty(often.size), np.empty_like(rows[0]), np.empty_like(rows[0])
        _all_observed(y[often], *rows, self.temperature, *exact)
        for found, better in zip(values, exact, strict=True):
            found[..., often] = better.T
        return values

    def log_probabilities(self, *, omega: ArrayLike, V: ArrayLike, axis: int = 0) -> Any:
        """Return log E softmax(z/T), in the shape of omega; the K integrals are independent."""
        dtype, omega, V = self._classes_first(omega, V, axis)
        exact, shape = Softmax("exact", temperature=self.temperature), omega.shape[1:]
        rows = [exact.observe(np.full(shape, c), omega=omega, V=V).phi for c in range(len(omega))]
        return np.moveaxis(np.stack(rows), 0, axis).astype(dtype, copy=False)

    def probabilities(self, *, omega: ArrayLike, V: ArrayLike, axis: int = 0) -> Any:
        """Return E softmax(z/T), in the shape of omega; absolute accuracy 1e-8."""
        dtype, omega, V = self._classes_first(omega, V, axis)
        rows = [np.ascontiguousarray(a.reshape(len(omega), -1).T) for a in (omega, V)]
        p = np.empty_like(rows[0])
        _all_probabilities(*rows, self.temperature, p)
        return np.moveaxis(p.T.reshape(omega.shape), 0, axis).astype(dtype, copy=False)

    def most_probable(self, *, omega: ArrayLike, V: ArrayLike) -> NDArray[np.intp]:
        """Return the class of largest probability: labels (n,) from means and variances (K, n)."""
        return self.probabilities(omega=omega, V=V).argmax(axis=0)
