"""Prior of a variable that takes finitely many values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from factorgraph.numerics.elementwise import check_real, formula, result_type
from factorgraph.numerics.special import two_product, two_sum
from factorgraph.priors.base import Prior, PriorValues, check_drawn, number_list
from factorgraph.runtime.compiled import njit

_SMALL = 0.5  # exponents below this are expanded about 1


@formula
def balance(H: float, G: float, s: float, s_low: float) -> float:
    """H - (s + s_low) G/2, correctly rounded but for a few ulp also where the two terms nearly cancel."""
    p, p_low = two_product(0.5 * G, s)
    d, d_low = two_sum(H, -p)
    return d + (d_low - (p_low + 0.5 * G * s_low))


@formula
def expm1_remainder(x: float) -> float:
    """e^x - 1 - x for |x| <= 1/2, by its series."""
    term = 0.5 * x * x
    total = term
    for k in range(3, 16):
        term *= x / k
        total += term
    return total


@formula
def dominating(H: float, G: float, atoms: Any, log_weights: Any) -> int:
    """Index of the atom of the greatest weight p_i e^{H a_i - G a_i²/2}."""
    best = 0
    for i in range(1, atoms.size):
        s, s_low = two_sum(atoms[i], atoms[best])
        gain = (atoms[i] - atoms[best]) * balance(H, G, s, s_low)
        if gain + (log_weights[i] - log_weights[best]) > 0.0:
            best = i
    return best


@formula
def mixture_log_partition(
    H: float, G: float, log_sum: float, top: float, atoms: Any, weights: Any, first: float, second: float
) -> float:
    """log Σ p_i e^{e_i}, e_i = H a_i - G a_i²/2, given log_sum = log Σ p_i e^{e_i - top}.

    Where every e_i is small the sum is 1 + (H E a - G E a²/2) + Σ p_i (e^{e_i} - 1 - e_i): the terms of first order,
    which may cancel exactly (a symmetric prior), come from moments that were computed once.
    """
    excess = H * first - 0.5 * G * second
    for i in range(atoms.size):
        e = atoms[i] * balance(H, G, atoms[i], 0.0)
        if abs(e) > _SMALL:
            return top + log_sum
        excess += weights[i] * expm1_remainder(e)
    return math.log1p(excess)


@formula
def mixture_moments(mean_atom: float, d: int, atoms: Any, weights: Any, gaps: Any) -> tuple[float, float, float]:
    """log Σ p_i e^{gap_i}, mean and variance of the atoms under the weights p_i e^{gap_i}, where gap_d = 0.

    The variance is Σ π_i (a_i - m)² with a_i - m taken from the dominating atom a_d, so that every term is positive and
    a_d's own, (m - a_d)², is small by itself and not by subtraction. The mean is Σ π_i a_i; where all gaps are small
    the sum is E a + Σ p_i a_i (e^{gap_i} - 1), exact in the limit of no message for a prior of any symmetry.
    """
    n = atoms.size
    total, shift, direct, excess, widest = 0.0, 0.0, 0.0, mean_atom, 0.0
    for i in range(n):
        p = weights[i] * math.exp(gaps[i])
        total += p
        shift += p * (atoms[i] - atoms[d])
        direct += p * atoms[i]
        excess += weights[i] * atoms[i] * math.expm1(gaps[i])
        widest = max(widest, abs(gaps[i]))
    shift /= total
    variance = 0.0
    for i in range(n):
        t = (atoms[i] - atoms[d]) - shift
        variance += weights[i] * math.exp(gaps[i]) * t * t
    mean = (excess if widest <= _SMALL else direct) / total
    return math.log(total), mean, variance / total


@njit(cache=True, error_model="numpy")
def _fill(H: Any, G: Any, atoms: Any, weights: Any, log_weights: Any, moments: Any, out: Any) -> None:
    """Fill out[:, j] with psi, mean and variance for H[j], G[j]; ``moments`` are E a and E a² of the prior."""
    gaps = np.empty(atoms.size)
    for j in range(H.size):
        d = dominating(H[j], G[j], atoms, log_weights)
        for i in range(atoms.size):
            s, s_low = two_sum(atoms[i], atoms[d])
            gaps[i] = (atoms[i] - atoms[d]) * balance(H[j], G[j], s, s_low)
        log_sum, out[1, j], out[2, j] = mixture_moments(moments[0], d, atoms, weights, gaps)
        top = atoms[d] * balance(H[j], G[j], atoms[d], 0.0)
        out[0, j] = mixture_log_partition(H[j], G[j], log_sum, top, atoms, weights, moments[0], moments[1])


@dataclass(frozen=True)
class Mixture(Prior):
    """q(w) = Σ_i p_i δ(w - a_i): psi = log Σ p_i e^{H a_i - G a_i²/2} and the moments of the tilted weights.

    Args:
        atoms: the values a_i, at most 1e150 in size and distinct, at least one.
        weights: their probabilities up to a common factor, > 0 and at most 1e150; stored normalised.

    Raises:
        ValueError: an atom or weight outside its domain, a repeated atom, or lengths that differ.
    """

    atoms: Sequence[float]
    weights: Sequence[float]
    _arrays: tuple[NDArray[np.float64], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        atoms = number_list("atoms", self.atoms)
        weights = number_list("weights", self.weights, above=0.0)
        if not atoms or len(set(atoms)) < len(atoms):
            raise ValueError(f"`atoms` must be distinct and at least one, got {self.atoms!r}")
        if len(weights) != len(atoms):
            raise ValueError(f"`weights` must be as many as the {len(atoms)} atoms, got {len(weights)}")
        total = math.fsum(weights)
        weights = tuple(p / total for p in weights)
        moments = [math.fsum(p * a**k for p, a in zip(weights, atoms, strict=True)) for k in (1, 2)]
        object.__setattr__(self, "atoms", atoms)
        object.__setattr__(self, "weights", weights)
        object.__setattr__(
            self, "_arrays", (np.array(atoms), np.array(weights), np.log(np.array(weights)), np.array(moments))
        )

    def evaluate(self, *, H: ArrayLike, G: ArrayLike) -> PriorValues:
        """See ``Prior``; psi is accurate relative to the largest exponent or -log p_i, the mean relative to E|w|."""
        check_real(H=H, G=G)
        dtype = result_type(H, G)
        H, G = np.broadcast_arrays(np.asarray(H, dtype=np.float64), np.asarray(G, dtype=np.float64))
        out = np.empty((3, H.size))
        atoms, weights, log_weights, moments = self._arrays
        _fill(H.flatten(), G.flatten(), atoms, weights, log_weights, moments, out)
        with np.errstate(over="ignore", under="ignore"):
            values = out.reshape(3, *H.shape).astype(dtype, copy=False)
        return PriorValues(*(v[()] for v in values))

    @property
    def components(self) -> tuple[tuple[float, float], ...]:
        return tuple((a, 0.0) for a in self.atoms)

    def sample(self, size: int | tuple[int, ...], rng: np.random.Generator) -> Any:
        check_drawn(size, rng)
        return rng.choice(self.atoms, size, p=self.weights)
