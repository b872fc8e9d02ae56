"""Priors against their definitions in many digits, and the identities that tie psi, mean and variance."""

import numpy as np
import pytest
import tolerances as tol
from hypothesis import given, settings
from hypothesis import strategies as st
from members import PRIORS
from mpmath import mp, mpf
from reference import mills, to_agreement, upper
from scipy.special import log_ndtr
from scipy.stats import kstest

from factorgraph.priors.binary import Binary
from factorgraph.priors.exponential import Exponential
from factorgraph.priors.gauss_bernoulli import GaussBernoulli
from factorgraph.priors.gaussian import Gaussian
from factorgraph.priors.gaussian_mixture import GaussianMixture
from factorgraph.priors.laplace import Laplace
from factorgraph.priors.mixture import Mixture
from factorgraph.priors.positive import Positive
from factorgraph.priors.ternary import Ternary

# ---- the definitions -------------------------------------------------------------------------------------------------


def _binary(H, G, field):
    h = mpf(H) + mpf(field)
    return mp.log(mp.cosh(h) / mp.cosh(field)), mp.tanh(h), mp.sech(h) ** 2


def _slab(H, G, mean, precision):
    total = mpf(G) + precision
    if precision == 0:
        return mp.log(2 * mp.pi / total) / 2 + mpf(H) ** 2 / (2 * total), mpf(H) / total, 1 / total
    centre = (mpf(H) + precision * mpf(mean)) / total
    psi = mp.log(precision / total) / 2 + total * centre**2 / 2 - precision * mpf(mean) ** 2 / 2
    return psi, centre, 1 / total


def _gaussian(H, G, mean, precision):
    return _slab(H, G, mean, mpf(precision))


def _gauss_bernoulli(H, G, density, mean, variance):
    s, centre, spread = _slab(H, G, mean, 1 / mpf(variance))
    on, off = density * mp.exp(s), 1 - mpf(density)
    on, off, total = on / (on + off), off / (on + off), on + off
    return mp.log(total), on * centre, on * (spread + off * centre**2)


def _mixture(H, G, *flat):
    atoms, weights = flat[: len(flat) // 2], flat[len(flat) // 2 :]
    p = [mpf(w) * mp.exp(mpf(H) * a - mpf(G) * mpf(a) ** 2 / 2) for a, w in zip(atoms, weights, strict=True)]
    total = sum(p)
    mean = sum(a * w for a, w in zip(atoms, p, strict=True)) / total
    variance = sum((a - mean) ** 2 * w for a, w in zip(atoms, p, strict=True)) / total
    return mp.log(total / sum(mpf(w) for w in weights)), mean, variance


def _three(mass):
    """Atoms and weights of ``Ternary`` as a mixture."""
    return -1.0, 0.0, 1.0, (1 - mpf(mass)) / 2, mass, (1 - mpf(mass)) / 2


def _ternary(H, G, mass):
    return _mixture(H, G, *_three(mass))


def _laplace_side(H, G, scale):
    """Log-integral of e^{Hw - Gw²/2} under the exponential law on w > 0, mean and variance."""
    c = 1 / mpf(scale) - mpf(H)
    if G == 0:
        return -mp.log(scale * c), 1 / c, 1 / c**2
    a = c / mp.sqrt(G)
    tail, density = mp.erfc(a / mp.sqrt(2)) / 2, mp.npdf(a)
    k = density / tail
    return mp.log(tail / density / mp.sqrt(G) / scale), (k - a) / mp.sqrt(G), (1 - k * (k - a)) / G


def _laplace(H, G, scale):
    (s1, x1, v1), (s0, x0, v0) = _laplace_side(H, G, scale), _laplace_side(-mpf(H), G, scale)
    p1, p0 = mp.exp(s1), mp.exp(s0)
    total = p0 + p1
    p0, p1 = p0 / total, p1 / total
    return mp.log(total / 2), p1 * x1 - p0 * x0, p0 * v0 + p1 * v1 + p0 * p1 * (x0 + x1) ** 2


def _exponential(H, G, scale):
    return _laplace_side(H, G, scale)


def _positive(H, G, mean, variance):
    s, centre, spread = _slab(H, G, mean, 1 / mpf(variance))
    a, a0 = -centre / mp.sqrt(spread), -mpf(mean) / mp.sqrt(mpf(variance))
    k = mills(a)
    psi = s + mp.log(upper(a) / upper(a0))
    return psi, centre + mp.sqrt(spread) * k, spread * (1 - k * (k - a))


def _gaussian_mixture(H, G, *flat):
    n = len(flat) // 3
    parts = [_slab(H, G, m, 1 / mpf(v)) for m, v in zip(flat[n : 2 * n], flat[2 * n :], strict=True)]
    p = [mpf(w) * mp.exp(s) for w, (s, _, _) in zip(flat[:n], parts, strict=True)]
    total = sum(p)
    mean = sum(q * m for q, (_, m, _) in zip(p, parts, strict=True)) / total
    variance = sum(q * (v + (m - mean) ** 2) for q, (_, m, v) in zip(p, parts, strict=True)) / total
    return mp.log(total / sum(mpf(w) for w in flat[:n])), mean, variance


# ---- natural scales, see tolerances.py: the values themselves but for these ------------------------------------------


def _own_scales(values, H, G, *parameters):
    return tuple(abs(v) for v in values)


def _gaussian_scales(values, H, G, mean, precision):
    """psi = exponent - ½ log(1 + G/λ): the magnitudes of both."""
    log = mp.log(2 * mp.pi / mpf(G)) / 2 if precision == 0 else -mp.log1p(mpf(G) / precision) / 2
    return abs(values[0] - log) + abs(log), abs(values[1]), values[2]


def _gauss_bernoulli_scales(values, H, G, density, mean, variance):
    """psi crosses zero where the slab integral s = exponent - log(...) does, with slope at most the density there."""
    s = _slab(H, G, mean, 1 / mpf(variance))[0]
    log = -mp.log1p(mpf(G) * mpf(variance)) / 2
    return max(abs(values[0]), min(density * (abs(s - log) + abs(log)), 1)), abs(values[1]), values[2]


def _mixture_scales(values, H, G, *flat):
    """psi: first- and second-order terms for a small message, else exponent and log-weight of the greatest term.

    Mean: E|w| of the tilted law, or what it is for the sum of odd terms of a small message.
    """
    atoms, weights = flat[: len(flat) // 2], flat[len(flat) // 2 :]
    q = [mpf(w) / sum(mpf(v) for v in weights) for w in weights]
    e = [mpf(H) * a - mpf(G) * mpf(a) ** 2 / 2 for a in atoms]
    top = max(range(len(atoms)), key=lambda i: e[i] + mp.log(q[i]))
    first = abs(sum(w * a for w, a in zip(q, atoms, strict=True)) * H)
    small = first + sum(w * (mpf(G) * a**2 / 2 + x**2) for w, a, x in zip(q, atoms, e, strict=True))
    p = [w * mp.exp(x - e[top]) for w, x in zip(q, e, strict=True)]
    spread = sum(w * abs(a) for w, a in zip(p, atoms, strict=True)) / sum(p)
    return max(abs(values[0]), min(small, abs(e[top]) + abs(mp.log(q[top])))), spread, values[2]


def _ternary_scales(values, H, G, mass):
    return _mixture_scales(values, H, G, *_three(mass))


def _laplace_scales(values, H, G, scale):
    """psi: (H² + G) E w²/2 for a small message. Mean: E|w|."""
    (s1, x1, _), (s0, x0, _) = _laplace_side(H, G, scale), _laplace_side(-mpf(H), G, scale)
    p1, p0 = mp.exp(s1) / (mp.exp(s1) + mp.exp(s0)), mp.exp(s0) / (mp.exp(s1) + mp.exp(s0))
    size = p1 * x1 + p0 * x0
    change = (mpf(H) ** 2 + mpf(G)) * (values[2] + values[1] ** 2) / 2
    return max(abs(values[0]), min(change, 1)), size, values[2]


def _exponential_scales(values, H, G, scale):
    """psi: the change of first order, at most 1; beyond H = 1/scale the width and the height of the normal law."""
    change = scale * (abs(mpf(H)) + G * values[1])
    if H * scale >= 1:
        change = abs(mp.log(2 * mp.pi / G)) / 2 + abs(mp.log(scale)) + (mpf(H) - 1 / mpf(scale)) ** 2 / (2 * mpf(G))
    return max(abs(values[0]), min(change, 1) if H * scale < 1 else change), *values[1:]


def _positive_scales(values, H, G, mean, variance):
    """psi: the change of first order, at most 1, and the narrowing of the normal law."""
    change = abs(H) * values[1] + G * (values[2] + values[1] ** 2) / 2
    return max(abs(values[0]), min(change, 1), mp.log1p(mpf(G) * variance) / 2), *values[1:]


def _gaussian_mixture_scales(values, H, G, *flat):
    """psi: the terms of each log-integral for a small message, else those of the greatest one. Mean: Σ π_j |m_j|."""
    n = len(flat) // 3
    weights = [mpf(w) / sum(mpf(v) for v in flat[:n]) for w in flat[:n]]
    parts = [_slab(H, G, m, 1 / mpf(v)) for m, v in zip(flat[n : 2 * n], flat[2 * n :], strict=True)]
    logs = [mp.log1p(mpf(G) * mpf(v)) / 2 for v in flat[2 * n :]]
    sizes = [abs(s + log) + abs(log) for (s, _, _), log in zip(parts, logs, strict=True)]
    p = [w * mp.exp(s - values[0]) for w, (s, _, _) in zip(weights, parts, strict=True)]
    small = sum(w * size for w, size in zip(weights, sizes, strict=True))
    top = max(range(n), key=lambda j: p[j])
    spread = sum(q * abs(m) for q, (_, m, _) in zip(p, parts, strict=True))
    return max(abs(values[0]), min(small, sizes[top] + 1)), spread, values[2]


CASES = {
    "binary": (Binary, _binary, _own_scales, [(0.0,), (1e-8,), (1.0,), (-7.0,), (10.0,), (-1e4,)]),
    "gaussian": (
        Gaussian, _gaussian, _gaussian_scales, [(0.0, 1.0), (0.0, 0.0), (3.0, 0.1), (-1e3, 2.0), (0.5, 1e6)],
    ),
    "gauss_bernoulli": (
        GaussBernoulli, _gauss_bernoulli, _gauss_bernoulli_scales,
        [
            (0.1, 0.0, 1.0), (1.0, 2.0, 0.3), (1e-10, 0.0, 1.0), (1 - 1e-12, 0.0, 1.0), (0.5, 100.0, 0.01),
            (0.3, 1.0, 1e8),
        ],
    ),
    "mixture": (
        lambda *flat: Mixture(flat[: len(flat) // 2], flat[len(flat) // 2 :]), _mixture, _mixture_scales,
        [
            (-1.0, 1.0, 1.0, 1.0), (0.0, 1.0, 1.0, 2.0), (-1.5, 0.1, 0.2, 3.0, 1.0, 2.0, 3.0, 1e-8),
            (-1.0, 0.0, 1.0, 1.0, 2.0, 1.0), (2.0, 3.0),
        ],
    ),
    "exponential": (Exponential, _exponential, _exponential_scales, [(1.0,), (0.07,), (3.0,)]),
    "positive": (
        Positive, _positive, _positive_scales, [(0.0, 1.0), (0.5, 2.0), (-30.0, 0.5), (1e3, 1e-2), (-1e-3, 1e6)],
    ),
    "ternary": (Ternary, _ternary, _ternary_scales, [(1 / 3,), (0.9,), (1e-6,), (1 - 1e-9,)]),
    "laplace": (Laplace, _laplace, _laplace_scales, [(1.0,), (0.07,), (3.0,)]),
    "gaussian_mixture": (
        lambda *flat: GaussianMixture(*(flat[k * len(flat) // 3 : (k + 1) * len(flat) // 3] for k in range(3))),
        _gaussian_mixture, _gaussian_mixture_scales,
        [(1.0, 0.5, 2.0), (1.0, 3.0, -1.0, 2.0, 0.5, 0.01), (1.0, 1e-6, 2.0, 0.0, 0.0, 5.0, 1.0, 1e4, 1e-3)],
    ),
}  # fmt: skip
ALL = [(kind, parameters) for kind, case in CASES.items() for parameters in case[3]]


def test_every_prior_is_among_the_cases():
    assert {type(case[0](*case[3][0])) for case in CASES.values()} == {type(each[0]) for each in PRIORS.values()}


H_SIZES = [0.0, 1e-300, 1e-30, 1e-9, 1e-3, 0.3, 1.0, 2.2, 7.0, 30.0, 300.0, 1e4]
H_GRID = sorted({s * h for h in H_SIZES for s in (-1, 1)} | {-2.0, -2.0000001, 19.99, -20.00001})
G_GRID = [0.0, 1e-9, 0.5, 7.0, 1e3, 1e6, 1e12]


def _make(kind, parameters):
    return CASES[kind][0](*parameters)


def _errors(kind, parameters, H, G, got):
    """Errors of psi, mean, variance in their natural scales; what underflows counts as right."""
    _, definition, scales, _ = CASES[kind]
    exact = to_agreement(definition, H, G, *parameters)
    with mp.workdps(60):
        size = scales(exact, H, G, *parameters)
        return [
            float(abs(mpf(float(v)) - x) / s) if s > tol.TINY64 else float(abs(v) > tol.TINY64)
            for v, x, s in zip(got, exact, size, strict=True)
        ]


@pytest.mark.parametrize(("kind", "parameters"), ALL)
def test_against_many_digits(kind, parameters):
    prior = _make(kind, parameters)
    flat = parameters == (0.0, 0.0)
    grid = [(H, G) for H in H_GRID for G in G_GRID if (G == 0.0 or not prior.spin) and (G > 0.0 or not flat)]
    if kind == "laplace":
        grid = [(H, G) for H, G in grid if G > 0.0 or abs(H) * parameters[0] < 1.0]
    if kind == "exponential":
        grid = [(H, G) for H, G in grid if G > 0.0 or H * parameters[0] < 1.0]
    H, G = (np.array(column) for column in zip(*grid, strict=True))
    values = np.stack(prior.evaluate(H=H, G=G), axis=-1)
    assert np.all(np.isfinite(values))
    for (h, g), got in zip(grid, values, strict=True):
        errors = _errors(kind, parameters, h, g, got)
        assert max(errors) < tol.PRIOR, (h, g, errors)


@pytest.mark.parametrize("prior", [Gaussian(1.0, 1.0), GaussBernoulli(0.3, 1.0, 0.7)])
@pytest.mark.parametrize("G", [-0.3, -0.9, -1 + 1e-9])
def test_negative_second_parameter(prior, G):
    kind = "gaussian" if isinstance(prior, Gaussian) else "gauss_bernoulli"
    parameters = (1.0, 1.0) if kind == "gaussian" else (0.3, 1.0, 0.7)
    for H in (-30.0, -1.0, 0.2, 3.0):
        assert max(_errors(kind, parameters, H, G, prior.evaluate(H=H, G=G))) < tol.PRIOR


@pytest.mark.parametrize("offset", [0.0, 1e-6, -0.3])
def test_great_exponents_that_balance(offset):
    """Terms of 1e6 to 1e9 in the exponents, whose difference decides: they are carried in double-double."""
    flat, G = (0.1, 0.7, -5.3, 1.0, 2.0, 1.0), 1e9
    H = 0.4 * G + offset  # the atoms 0.1 and 0.7 have equal exponents
    assert max(_errors("mixture", flat, H, G, _make("mixture", flat).evaluate(H=H, G=G))) < tol.PRIOR
    parameters = (1000.1, 1.3)
    H, G = 1.3 * 1000.1 + offset, 3.9  # H (H + 2λμ) = G λ μ²
    assert max(_errors("gaussian", parameters, H, G, Gaussian(*parameters).evaluate(H=H, G=G))) < tol.PRIOR


@settings(deadline=None, derandomize=True, max_examples=200)
@given(
    st.floats(-20, 0), st.sampled_from([-1, 1]), st.floats(-40, 3), st.sampled_from([None, 0.0, 1.0, 1.001]),
    st.sampled_from([1.0, 0.07, 3.0]),
)  # fmt: skip
def test_laplace_for_weak_messages(log_h, side, log_g, ratio, scale):
    """psi is of order H² - G, where its terms are of order H."""
    H = 0.99 * side * 10.0**log_h / scale
    G = 10.0**log_g / scale**2 if ratio is None else ratio * H * H
    assert _errors("laplace", (scale,), H, G, Laplace(scale).evaluate(H=H, G=G))[0] < tol.PRIOR


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.sampled_from(ALL), st.floats(-50, 50), st.floats(1e-3, 100))
def test_float32_is_the_rounded_float64(case, H, G):
    prior = _make(*case)
    H, G = np.float32(H), np.float32(G)
    single, double = prior.evaluate(H=H, G=G), prior.evaluate(H=np.float64(H), G=np.float64(G))
    for a, b in zip(single, double, strict=True):
        assert a.dtype == np.float32
        assert b.dtype == np.float64
        assert a == np.float32(b)
    values = np.array(single, dtype=np.float64)
    errors = _errors(*case, float(H), float(G), values)
    assert all(e < tol.PRIOR32 or abs(v) < tol.TINY32 for e, v in zip(errors, values, strict=True))


@settings(deadline=None, derandomize=True, max_examples=100)
@given(
    st.sampled_from(
        [
            Binary(0.7),
            Gaussian(1.0, 2.0),
            GaussBernoulli(0.2, 0.5, 2.0),
            Mixture([-1, 0.3, 2], [1, 3, 2]),
            Ternary(0.6),
        ]
    ),
    st.floats(-4, 4),
    st.floats(0, 4),
)
def test_mean_and_variance_are_derivatives(prior, H, G):
    step = 2e-3
    stencil = np.array([1, -8, 0, 8, -1]) / (12 * step)
    psi, mean, _ = prior.evaluate(H=H + step * np.arange(-2, 3), G=G)
    at = prior.evaluate(H=H, G=G)
    assert stencil @ psi == pytest.approx(at.mean, abs=tol.STENCIL)
    assert stencil @ mean == pytest.approx(at.variance, abs=tol.STENCIL)
    if not prior.spin:  # ∂_G psi = -E w²/2
        psi = prior.evaluate(H=H, G=G + step * np.arange(-2, 3)).psi
        assert stencil @ psi == pytest.approx(-0.5 * (at.variance + at.mean**2), abs=tol.STENCIL)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.sampled_from(ALL), st.floats(-1e4, 1e4), st.floats(1e-9, 1e12))
def test_bounds(case, H, G):
    values = _make(*case).evaluate(H=H, G=G)
    assert np.all(np.isfinite(values))
    assert values.variance >= 0
    if case[0] in ("binary", "mixture", "ternary"):
        atoms = case[1][: len(case[1]) // 2] if case[0] == "mixture" else (-1.0, 1.0)
        room = 4 * np.finfo(float).eps * max(map(abs, atoms))
        assert min(atoms) - room <= values.mean <= max(atoms) + room
        assert values.variance <= (max(atoms) - min(atoms)) ** 2 / 4 * (1 + 1e-15)


@pytest.mark.parametrize("field", [0.0, 0.4, -3.0])
def test_two_atoms_are_binary(field):
    H = np.array([h for h in H_GRID if abs(h) <= 300 or field == 0.0])
    mixture = Mixture([-1.0, 1.0], [np.exp(-field), np.exp(field)])
    spin = Binary(field)
    a, b = mixture.evaluate(H=H, G=0.0), spin.evaluate(H=H, G=0.0)
    exact = 1e-12 * (1 if field else 0)  # the weights e^{±field} are rounded
    np.testing.assert_allclose(a.psi, b.psi, rtol=tol.PRIOR, atol=exact)
    np.testing.assert_allclose(a.mean, b.mean, rtol=tol.PRIOR, atol=exact)
    np.testing.assert_allclose(a.variance, b.variance, rtol=tol.PRIOR)
    shifted = mixture.evaluate(H=H, G=3.0)  # G w² is a constant
    np.testing.assert_allclose(shifted.psi + 1.5, b.psi, rtol=tol.PRIOR, atol=1e-15)
    np.testing.assert_allclose(shifted.mean, b.mean, rtol=tol.PRIOR, atol=exact)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.floats(0.01, 0.99), st.floats(-30, 30), st.floats(-20, 20))
def test_the_probability_of_zero(mass, H, G):
    """Of any two natural parameters, negative precisions included; and of another mass."""
    prior = Ternary(0.5).with_mass(mass)
    assert max(_errors("ternary", (mass,), H, G, prior.evaluate(H=H, G=G))) < tol.PRIOR
    logs = np.log([0.5 * (1 - mass), mass, 0.5 * (1 - mass)]) + H * np.arange(-1, 2) - 0.5 * G * np.array([1, 0, 1])
    p = np.exp(logs - logs.max())
    zero = p[1] / p.sum()
    assert prior.zero_probability(H=H, G=G) == pytest.approx(zero, rel=1e-12)
    values = prior.evaluate(H=H, G=G)
    assert values.variance + values.mean**2 == pytest.approx(1 - zero, rel=1e-12, abs=1e-15)
    slab = GaussBernoulli(0.5, 0.0, 2.0).with_mass(mass)
    on = (1 - mass) * (1 + 2 * abs(G)) ** -0.5 * np.exp(0.005 * H * H / (0.5 + abs(G)))
    assert slab.zero_probability(H=0.1 * H, G=abs(G)) == pytest.approx(mass / (mass + on), rel=1e-9)


@pytest.mark.parametrize("prior", [Binary(), Gaussian(), Laplace()], ids=str)
def test_priors_without_an_atom_at_zero(prior):
    assert prior.mass == 0.0 and prior.zero_probability(H=1.0, G=0.5) == 0.0
    with pytest.raises(ValueError, match="`prior` must be one with an atom at 0"):
        prior.with_mass(0.3)


def test_the_spin_prior_ignores_the_second_parameter():
    values, other = Binary(0.3).evaluate(H=1.0, G=5.0), Binary(0.3).evaluate(H=1.0, G=-2.0)
    assert values == other
    assert Binary.spin
    assert Binary().evaluate(H=1.0, G=np.zeros((3, 1))).mean.shape == (3, 1)


def test_full_density_is_gaussian():
    H, G = (a.ravel() for a in np.meshgrid([-1e4, -3.0, 0.0, 0.5, 1e4], [0.0, 1.0, 1e12]))
    a, b = GaussBernoulli(1.0, 2.0, 0.25).evaluate(H=H, G=G), Gaussian(2.0, 4.0).evaluate(H=H, G=G)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=tol.PRIOR)
    near = GaussBernoulli(1 - 1e-13, 2.0, 0.25).evaluate(H=1.0, G=1.0)
    np.testing.assert_allclose(near, Gaussian(2.0, 4.0).evaluate(H=1.0, G=1.0), rtol=1e-11)


def test_flat_prior_is_the_limit_of_vanishing_precision():
    flat = Gaussian(5.0, 0.0).evaluate(H=2.0, G=3.0)
    thin = Gaussian(5.0, 1e-12).evaluate(H=2.0, G=3.0)
    np.testing.assert_allclose(flat[1:], thin[1:], rtol=1e-10)
    assert flat.psi == pytest.approx(thin.psi + 0.5 * np.log(2 * np.pi / 1e-12), rel=1e-10)


def test_no_message_gives_the_moments_of_the_prior():
    for prior, mean, variance in [
        (Binary(0.3), np.tanh(0.3), 1 / np.cosh(0.3) ** 2),
        (Gaussian(-2.0, 4.0), -2.0, 0.25),
        (GaussBernoulli(0.25, 2.0, 3.0), 0.5, 0.25 * 3 + 0.25 * 0.75 * 4),
        (Mixture([0.0, 4.0], [3, 1]), 1.0, 3.0),
        (Laplace(1.5), 0.0, 4.5),
        (Exponential(1.5), 1.5, 2.25),
        (Positive(0.0, 4.0), 2 * np.sqrt(2 / np.pi), 4 * (1 - 2 / np.pi)),
        (GaussianMixture([3, 1], [0.0, 4.0], [1.0, 2.0]), 1.0, 4.25),
    ]:
        values = prior.evaluate(H=0.0, G=0.0)
        assert values.psi == 0.0
        np.testing.assert_allclose(values[1:], (mean, variance), rtol=tol.PRIOR)


@pytest.mark.parametrize(("kind", "parameters"), ALL)
def test_array_is_scalar_by_scalar(kind, parameters):
    prior = _make(kind, parameters)
    H, G = np.linspace(-3, 3, 5)[:, None], np.array([0.5, 2.0, 40.0])
    values = prior.evaluate(H=H, G=G)
    for k, v in enumerate(values):
        assert v.shape == (5, 3)
        for i in range(5):
            for j in range(3):
                assert v[i, j] == prior.evaluate(H=H[i, 0], G=G[j])[k]
    assert prior.evaluate(H=[0.5, 1.0], G=[[1.0]]).mean.shape == (1, 2)  # lists are arrays
    assert prior.moments(H=1.0, G=1.0) == prior.evaluate(H=1.0, G=1.0)[1:]


@pytest.mark.parametrize(("kind", "parameters"), [c for c in ALL if c != ("gaussian", (0.0, 0.0))])
def test_samples_have_the_moments(kind, parameters):
    prior = _make(kind, parameters)
    x = prior.sample(100_000, np.random.default_rng(3))
    values = prior.evaluate(H=0.0, G=0.0)
    centres, deviations = np.array(prior.components).T
    widest = np.max(np.abs(centres)) + 4 * np.max(deviations)
    np.testing.assert_allclose(x.mean(), values.mean, atol=5e-3 * np.sqrt(values.variance * 10) + 1e-9)
    np.testing.assert_allclose(x.var(), values.variance, atol=5e-3 * widest**2)
    assert prior.sample((2, 3), np.random.default_rng(0)).shape == (2, 3)


@pytest.mark.parametrize("deviation", [1.0, 1e-9, 1e9])
@pytest.mark.parametrize("mean", [3.0, 0.0, -0.45, -0.55, -4.0, -1e4, -1e9])
def test_draws_of_a_truncated_normal_have_its_law_however_far_it_is_cut(mean, deviation):
    prior = Positive(mean * deviation, deviation**2)
    x = prior.sample(20_000, np.random.default_rng(5))
    values = prior.evaluate(H=0.0, G=0.0)
    assert (x > 0).all()
    np.testing.assert_allclose(x.mean() / values.mean, 1.0, rtol=0.03)  # four standard errors
    np.testing.assert_allclose(x.std() / np.sqrt(values.variance), 1.0, rtol=0.05)

    def law(x):  # P(x < t) = 1 - Q(t - mean)/Q(-mean), written for the tail
        t = x / deviation
        return -np.expm1(log_ndtr(mean - t) - log_ndtr(mean)) if mean > -1e3 else -np.expm1(mean * t - 0.5 * t * t)

    assert kstest(x, law).pvalue > 1e-3


def test_a_mixture_of_one_normal_is_gaussian():
    H, G = (a.ravel() for a in np.meshgrid([-1e4, -3.0, 0.0, 0.5, 1e4], [-0.9, 0.0, 1.0, 1e12]))
    a, b = GaussianMixture([2.0], [2.0], [0.25]).evaluate(H=H, G=G), Gaussian(2.0, 4.0).evaluate(H=H, G=G)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=tol.PRIOR)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gaussian(0.0, -1), r"`precision` must be a finite number >= 0, got -1"),
        (lambda: Gaussian(np.inf, 1.0), r"`mean` must be a finite number, got inf"),
        (lambda: Binary(np.nan), r"`field` must be a finite number, got nan"),
        (lambda: Binary("up"), r"`field` must be a finite number, got 'up'"),
        (lambda: GaussBernoulli(0.0), r"`density` must be in \(0, 1\], got 0.0"),
        (lambda: GaussBernoulli(1.5), r"`density` must be in \(0, 1\], got 1.5"),
        (lambda: GaussBernoulli(0.5, 0.0, 0.0), r"`variance` must be a finite number > 0, got 0.0"),
        (lambda: Ternary(1.0), r"`mass` must be a finite number > 0 and < 1, got 1.0"),
        (lambda: Mixture([], []), r"`atoms` must be distinct and at least one"),
        (lambda: Mixture([1, 1], [1, 1]), r"`atoms` must be distinct"),
        (lambda: Mixture([0, 1], [1]), r"`weights` must be as many as the 2 atoms, got 1"),
        (lambda: Mixture([0, 1], [1, 0]), r"`weights` must be a finite number > 0, got 0"),
        (lambda: Laplace(0.0), r"`scale` must be a finite number > 0, got 0.0"),
        (lambda: Laplace(2.0).evaluate(H=0.0, G=-1.0), r"`G` must be >= 0, got -1.0"),
        (lambda: Laplace(2.0).evaluate(H=[0.1, 0.5], G=0.0), r"`G` must be > 0 where \|H\| >= 1/scale = 0.5"),
        (lambda: Exponential(2.0).evaluate(H=[0.1, 0.5], G=0.0), r"`G` must be > 0 where H >= 1/scale = 0.5"),
        (lambda: Positive(1e11), r"`mean` must be at most 1e\+10 deviations from 0, got"),
        (lambda: Positive().evaluate(H=0.0, G=-0.5), r"`G` must be >= 0, got -0.5"),
        (lambda: GaussianMixture([], [], []), r"`weights` must be at least one"),
        (lambda: GaussianMixture([1], [1, 2], [1]), r"`means` must be as many as the 1 weights, got 2"),
        (lambda: GaussianMixture([1], [1], [0]), r"`variances` must be a finite number > 0, got 0"),
        (lambda: GaussianMixture([1], [1], [2]).evaluate(H=0, G=-0.5), r"`G` must be > -1/variance = -0.5"),
        (lambda: Gaussian(0.0, 0.0).sample(3, np.random.default_rng(0)), r"`precision` must be > 0 for a prior"),
        (lambda: Gaussian(0.0, 0.0).evaluate(H=0.0, G=np.array([1.0, 0.0])), r"`G` must be > -precision.*got 0.0"),
        (lambda: Gaussian(0.0, 2.0).evaluate(H=0.0, G=-2.5), r"`G` must be > -precision = -2 .*got -2.5"),
        (lambda: GaussBernoulli(0.5, 0.0, 2.0).evaluate(H=0.0, G=-0.5), r"`G` must be > -1/variance = -0.5"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_priors_are_values():
    assert Mixture([0, 1], [1, 3]) == Mixture((0.0, 1.0), (0.25, 0.75))
    assert hash(Gaussian(1, 2)) == hash(Gaussian(1.0, 2.0))
    with pytest.raises(AttributeError):
        Gaussian().mean = 1.0
