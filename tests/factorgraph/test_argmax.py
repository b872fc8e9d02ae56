"""The argmax output: each form against its definition in many digits, and what all forms have in common."""

import itertools

import numpy as np
import pytest
import reference as ref
import tolerances as tol
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

from factorgraph.channels.argmax import Argmax

FORMS = ["double_jensen", "single_jensen", "exact"]
EXACT, DOUBLE, SINGLE = Argmax("exact"), Argmax(), Argmax("single_jensen")


def _observe(channel, y, seed=0, **arguments):
    return channel.observe(y, rng=np.random.default_rng(seed), **arguments)


def _random(K, n, seed, spread=3.0):
    rng = np.random.default_rng(seed)
    omega, V = spread * rng.normal(size=(K, n)), np.exp(rng.normal(size=(K, n)))
    return rng.integers(K, size=n), omega, V


# ---- against many digits ---------------------------------------------------------------------------------------------


def _log_cdf(x):
    return mp.log1p(-ref.upper(x)) if x > 0 else mp.log(ref.upper(-x))


def _by_rivals(c, centre, omega, variances):
    """Σ log Φ((centre - omega_k)/√variance_k) over k ≠ c, with the rows of g and gamma."""
    phi, g, gamma = mpf(0), [mpf(0)] * len(omega), [mpf(0)] * len(omega)
    for k in range(len(omega)):
        if k != c:
            s = mp.sqrt(mpf(variances[k]))
            x = (centre - mpf(omega[k])) / s
            r = mp.exp(mp.log(mp.npdf(x)) - _log_cdf(x))
            phi += _log_cdf(x)
            g[k], gamma[k] = -r / s, r * (r + x) / s**2
    g[c], gamma[c] = -sum(g), sum(gamma)
    return phi, g, gamma


def _exact(c, omega, V, split):
    """The integral over z_c, with derivatives as they come from differentiating under it, in 35 digits."""
    omega, V = [mpf(v) for v in omega], [mpf(v) for v in V]
    rivals = [k for k in range(len(omega)) if k != c]
    s = [mp.sqrt(v) for v in V]
    edges = {omega[c] + j * s[c] for j in (-14, -7, -3, -1, 0, 1, 3, 7, 14)}
    for k in rivals:
        meeting, v = (omega[k] * V[c] + omega[c] * V[k]) / (V[c] + V[k]), s[c] * s[k] / mp.sqrt(V[c] + V[k])
        edges |= {meeting + j * v for j in (-12, -5, -2, 0, 2, 5, 12)}
        edges |= {omega[k] + j * s[k] for j in (-8, -3, 0, 3, 8)}
    edges = sorted(edges)
    total, lost = mpf(0), mpf(0)
    # weight times rho_k, rho_k (x + r)/s, rho_k²; R², with R = Σ rho
    sums = {k: [mpf(0)] * 3 for k in rivals}
    square = mpf(0)
    rule = list(zip(*ref.legendre(18), strict=True))
    for a, b in itertools.pairwise(edges):
        half = (b - a) / (2 * split)
        for i in range(split):
            for x, w in rule:
                z = a + half * (2 * i + 1 + x)
                logs = {k: _log_cdf((z - omega[k]) / s[k]) for k in rivals}
                log_all = sum(logs.values())
                base = w * half * mp.npdf((z - omega[c]) / s[c]) / s[c]
                weight = base * mp.exp(log_all)
                total += weight
                lost -= base * mp.expm1(log_all)
                rho = {}
                for k in rivals:
                    u = (z - omega[k]) / s[k]
                    r = mp.npdf(u) * mp.exp(-logs[k])
                    rho[k] = r / s[k]
                    terms = rho[k], rho[k] * (r + u) / s[k], rho[k] ** 2
                    sums[k] = [t + weight * v for t, v in zip(sums[k], terms, strict=True)]
                square += weight * sum(rho.values()) ** 2
    phi = mp.log1p(-lost) if lost < 0.5 else mp.log(total)
    g, gamma = [mpf(0)] * len(omega), [mpf(0)] * len(omega)
    for k in rivals:
        q, bend, own = (v / total for v in sums[k])
        g[k], gamma[k] = -q, bend - (own - q * q)
        gamma[c] += bend
    g[c] = -sum(g)
    gamma[c] -= square / total - g[c] ** 2
    return phi, g, gamma


def _assert_relative(got, exact, tolerance):
    phi, g, gamma = exact
    pairs = [(got.phi, phi), *zip(got.g, g, strict=True), *zip(got.gamma, gamma, strict=True)]
    for k, (a, b) in enumerate(pairs):
        assert abs(mpf(float(a)) - b) <= tolerance * abs(b) or abs(b) < tol.TINY64, (k, float(a), float(b))


@pytest.mark.parametrize(
    ("c", "omega", "V", "split"),
    [
        (0, [30.0, 0.0, -1.0], [1.0, 1.0, 1.0], 1),
        (0, [-30.0, 0.0, -1.0], [1.0, 1.0, 1.0], 1),
        (0, [-29.0, 0.0], [1.0, 0.5], 1),
        (1, [0.0, 0.3, -0.2], [1.0, 1e-6, 1.0], 1),
        (0, [0.0, 0.3, -0.2], [1.0, 1e-6, 1e-6], 1),
        (0, [0.0, 3.0, 2.99], [1e6, 1.0, 1.0], 1),
        (0, [0.0, 3.0, 2.99], [1e15, 1.0, 1.0], 2),
        (2, [0.0, 0.1, 0.2], [1e-8, 1.0, 1e4], 1),
        (1, [3.2, -8.0, 4.3, 0.5], [0.8, 4.8, 19.8, 0.1], 1),
        (0, [0.0, 4.0, 3.9, -4.0], [1.0, 1e-3, 1e-3, 1.0], 3),
    ],
)
def test_exact_form(c, omega, V, split):
    got = EXACT.observe(c, omega=np.array(omega), V=np.array(V))
    with mp.workdps(35):
        _assert_relative(got, _exact(c, omega, V, split), tol.ARGMAX)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-6, 6)), min_size=2, max_size=5), st.integers(0, 4))
def test_double_jensen(rows, c):
    omega, V = np.array([r[0] for r in rows]), 10.0 ** np.array([r[1] for r in rows])
    c = c % len(rows)
    with mp.workdps(60):
        variances = [mpf(v) + mpf(V[c]) for v in V]
        exact = _by_rivals(c, mpf(omega[c]), omega, variances)
        near = [abs(omega[c] - w) < 1e3 * np.sqrt(v + V[c]) for w, v in zip(omega, V, strict=True)]
        assume(all(near))  # beyond, x itself is right to 1e-16 only and r to x² as much
        _assert_relative(DOUBLE.observe(c, omega=omega, V=V), exact, tol.ARGMAX_RIVALS)


def test_tails_of_the_curvature_do_not_cancel():
    x = np.logspace(0, 3, 40)
    got = DOUBLE.observe(np.zeros(40, int), omega=np.stack([-x, 0 * x]), V=np.full((2, 40), 0.5))
    for k in range(40):
        with mp.workdps(60):
            exact = _by_rivals(0, -mpf(x[k]), [0.0, 0.0], [1.0, 1.0])[2][1]
        assert got.gamma[1, k] == pytest.approx(float(exact), rel=1e-12)


def test_single_jensen_is_its_definition_at_the_sampled_point():
    y, omega, V = _random(4, 7, seed=3)
    eps = np.random.default_rng(9).standard_normal(7)
    got = _observe(SINGLE, y, seed=9, omega=omega, V=V)
    for i in range(7):
        with mp.workdps(40):
            centre = mpf(omega[y[i], i]) + mpf(eps[i]) * mp.sqrt(mpf(V[y[i], i]))
            phi, g, gamma = _by_rivals(y[i], centre, omega[:, i], V[:, i])
        assert got.phi[i] == pytest.approx(float(phi), rel=1e-12)
        np.testing.assert_allclose(got.g[:, i], np.array(g, float), rtol=1e-12)
        np.testing.assert_allclose(got.gamma[:, i], np.array(gamma, float), rtol=1e-12)


# ---- what the forms have in common -----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_derivatives_by_differences(form):
    channel, (y, omega, V) = Argmax(form), _random(4, 6, seed=1, spread=1.0)
    at, h = _observe(channel, y, omega=omega, V=V), 2e-3
    for k in range(4):
        shifted = []
        for j in (-2, -1, 0, 1, 2):
            moved = omega.copy()
            moved[k] += j * h
            shifted.append(_observe(channel, y, omega=moved, V=V))  # the same seed: the same ε
        stencil = np.array([1, -8, 0, 8, -1]) / (12 * h)
        slope = sum(w * v.phi for w, v in zip(stencil, shifted, strict=True))
        bend = sum(w * v.g[k] for w, v in zip(stencil, shifted, strict=True))
        np.testing.assert_allclose(slope, at.g[k], rtol=tol.STENCIL, atol=tol.STENCIL)
        np.testing.assert_allclose(bend, -at.gamma[k], rtol=tol.STENCIL, atol=tol.STENCIL)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    st.sampled_from(FORMS),
    st.lists(st.tuples(st.floats(-3, 3), st.floats(-1, 1)), min_size=2, max_size=6),
    st.integers(0, 5),
    st.integers(0, 1000),
    st.floats(0.01, 100),
)
def test_forms_are_laws_of_differences(form, rows, c, seed, scale):
    """Any classes: derivatives by differences in every class, one sum of probabilities, no unit, Jensen's bounds."""
    omega, V = np.array([r[0] for r in rows]), 10.0 ** np.array([r[1] for r in rows])
    c, channel = c % len(rows), Argmax(form)
    at, h = _observe(channel, c, seed, omega=omega, V=V), 1e-3 * np.sqrt(V.min())
    for k in range(len(rows)):
        step = h * (np.arange(len(rows)) == k)
        shifted = [_observe(channel, c, seed, omega=omega + j * step, V=V) for j in (-2, -1, 1, 2)]
        stencil = np.array([1, -8, 8, -1]) / (12 * h)
        units = 1 + np.abs(at.g).max(), 1 + np.abs(at.gamma).max()
        assert stencil @ [v.phi for v in shifted] == pytest.approx(at.g[k], abs=tol.STENCIL * units[0])
        assert stencil @ [v.g[k] for v in shifted] == pytest.approx(-at.gamma[k], abs=tol.STENCIL * units[1])
    scaled = _observe(channel, c, seed, omega=scale * omega, V=scale**2 * V)
    assert scaled.phi == pytest.approx(at.phi, rel=1e-9)
    np.testing.assert_allclose(scaled.g * scale, at.g, rtol=1e-8, atol=1e-12 / np.sqrt(V.min()))
    exact = [EXACT.observe(k, omega=omega, V=V).phi for k in range(len(rows))]
    assert np.exp(exact).sum() == pytest.approx(1.0, abs=1e-9)
    assert DOUBLE.observe(c, omega=omega, V=V).phi <= exact[c] + 1e-9


@pytest.mark.parametrize("form", FORMS)
def test_signs_and_invariance_under_a_common_shift(form):
    y, omega, V = _random(5, 40, seed=2)
    values = _observe(Argmax(form), y, omega=omega, V=V)
    label = np.arange(5)[:, None] == y
    assert np.all(values.phi < 0)
    assert np.all((values.g > 0) == label)
    assert np.all(values.gamma >= 0)
    assert np.max(np.abs(values.g)) > 1
    np.testing.assert_allclose(values.g.sum(axis=0), 0, atol=1e-13 * np.abs(values.g).max())
    shifted = _observe(Argmax(form), y, omega=omega + 4.0, V=V)
    for a, b in zip(values, shifted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-300)


@pytest.mark.parametrize("form", FORMS)
def test_permutation_of_the_classes(form):
    y, omega, V = _random(4, 20, seed=4)
    order = np.array([2, 0, 3, 1])
    values = _observe(Argmax(form), y, omega=omega, V=V)
    permuted = _observe(Argmax(form), np.argsort(order)[y], omega=omega[order], V=V[order])
    np.testing.assert_allclose(permuted.phi, values.phi, rtol=1e-12)
    np.testing.assert_allclose(permuted.g, values.g[order], rtol=1e-11)
    np.testing.assert_allclose(permuted.gamma, values.gamma[order], rtol=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_known_label_variance_zero_makes_all_forms_agree(form):
    """With V_c → 0 the rivals are independent: every form is Σ log Φ((omega_c - omega_k)/√V_k)."""
    y, omega, V = _random(4, 20, seed=5)
    V[y, np.arange(20)] = 1e-26
    values, double = _observe(Argmax(form), y, omega=omega, V=V), DOUBLE.observe(y, omega=omega, V=V)
    for a, b in zip(values, double, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_two_classes_are_exact_in_double_jensen():
    y, omega, V = _random(2, 50, seed=6, spread=8.0)
    for a, b in zip(EXACT.observe(y, omega=omega, V=V), DOUBLE.observe(y, omega=omega, V=V), strict=True):
        np.testing.assert_allclose(a, b, rtol=tol.ARGMAX)


def test_jensen_bound():
    """The average of the single-Jensen form lies below the exact log-probability; double-Jensen lies below it too."""
    y, omega, V = _random(4, 10, seed=7, spread=1.0)
    exact = EXACT.observe(y, omega=omega, V=V).phi
    rng = np.random.default_rng(0)
    sampled = np.mean([SINGLE.observe(y, omega=omega, V=V, rng=rng).phi for _ in range(2000)], axis=0)
    assert np.all(sampled < exact)
    assert np.all(DOUBLE.observe(y, omega=omega, V=V).phi < exact)  # the events are positively associated


# ---- probabilities ---------------------------------------------------------------------------------------------------


@settings(deadline=None, derandomize=True, max_examples=25)
@given(st.integers(2, 6), st.integers(0, 10**6), st.sampled_from([0.3, 3.0, 20.0]))
def test_probabilities_sum_to_one(K, seed, spread):
    _, omega, V = _random(K, 5, seed, spread)
    p = EXACT.probabilities(omega=omega, V=V)
    np.testing.assert_allclose(p.sum(axis=0), 1, atol=1e-12)
    assert np.all((p >= 0) & (p <= 1))


def test_probabilities_are_those_of_the_labels_and_of_equals():
    y, omega, V = _random(4, 9, seed=8)
    log_p = DOUBLE.log_probabilities(omega=omega, V=V)  # exact whatever the form
    np.testing.assert_allclose(log_p[y, np.arange(9)], EXACT.observe(y, omega=omega, V=V).phi, rtol=1e-12)
    np.testing.assert_allclose(EXACT.probabilities(omega=np.full(7, 0.3), V=np.full(7, 2.0)), 1 / 7, atol=1e-12)


def test_probabilities_are_frequencies():
    omega, V = np.array([0.3, -0.2, 0.5]), np.array([1.0, 4.0, 0.1])
    z = omega + np.sqrt(V) * np.random.default_rng(0).standard_normal((200_000, 3))
    frequency = np.bincount(EXACT(z, axis=-1), minlength=3) / len(z)
    np.testing.assert_allclose(EXACT.probabilities(omega=omega, V=V), frequency, atol=5e-3)


# ---- arrays ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["double_jensen", "exact"])
def test_axes_chunks_and_scalars(form):
    channel, (y, omega, V) = Argmax(form), _random(3, 400, seed=10)
    values = channel.observe(y, omega=omega, V=V)
    last = channel.observe(y.reshape(20, 20), omega=omega.T.reshape(20, 20, 3), V=V.T.reshape(20, 20, 3), axis=-1)
    np.testing.assert_array_equal(last.phi.ravel(), values.phi)
    np.testing.assert_array_equal(last.g.reshape(400, 3).T, values.g)
    for i in (0, 1, 260, 399):
        one = channel.observe(int(y[i]), omega=omega[:, i], V=V[:, i])
        assert np.ndim(one.phi) == 0
        assert one.g.shape == (3,)
        np.testing.assert_allclose(one.phi, values.phi[i], rtol=1e-13)
        np.testing.assert_allclose(one.gamma, values.gamma[:, i], rtol=1e-13)


@pytest.mark.parametrize("form", FORMS)
def test_no_samples(form):
    omega = np.zeros((3, 0))
    values = _observe(Argmax(form), np.zeros(0, dtype=int), omega=omega, V=1.0)
    assert [v.shape for v in values] == [(0,), (3, 0), (3, 0)]
    assert Argmax(form).probabilities(omega=omega, V=1.0).shape == (3, 0)


@pytest.mark.parametrize("form", FORMS)
def test_types(form):
    y, omega, V = _random(3, 30, seed=11)
    omega, V = omega.astype(np.float32), V.astype(np.float32)
    single = _observe(Argmax(form), y, omega=omega, V=V)
    double = _observe(Argmax(form), y, omega=omega.astype(float), V=V.astype(float))
    for a, b in zip(single, double, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_array_equal(a, b.astype(np.float32))
    assert Argmax(form).probabilities(omega=omega, V=V).dtype == np.float32


def test_many_classes():
    y, omega, V = _random(1000, 30, seed=12)
    values = DOUBLE.observe(y, omega=omega, V=1.0)
    assert np.all(np.isfinite(values.phi))
    assert values.g.shape == (1000, 30)
    y, omega, V = _random(300, 1, seed=12)  # the exact form takes the square of K, seconds for 1000 classes
    exact, below = (form.observe(y, omega=omega, V=V) for form in (EXACT, DOUBLE))
    assert below.phi[0] < exact.phi[0] < 0
    np.testing.assert_allclose(exact.g.sum(axis=0), 0, atol=1e-13 * np.abs(exact.g).max())


def test_call():
    z = np.array([[0.0, 3.0], [1.0, 3.0], [-1.0, 2.0]])
    np.testing.assert_array_equal(DOUBLE(z), [1, 0])
    np.testing.assert_array_equal(DOUBLE(z, axis=1), [1, 1, 1])


_THREE = {"omega": np.zeros((3, 2)), "V": np.ones((3, 2))}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Argmax("triple"), r"`form` must be one of double_jensen, single_jensen, exact, got 'triple'"),
        (lambda: Argmax(nodes=2), r"`nodes` must be >= 8, got 2"),
        (lambda: DOUBLE.observe([0, 3], **_THREE), r"`y` must be in 0..2, got 3"),
        (lambda: DOUBLE.observe([0, -1], **_THREE), r"`y` must be in 0..2, got -1"),
        (lambda: DOUBLE.observe([0.0, 1.0], **_THREE), r"`y` must be integers, got float64"),
        (lambda: DOUBLE.observe([True, False], **_THREE), r"`y` must be integers, got bool"),
        (lambda: DOUBLE.observe([0], **_THREE), r"`y` must be of shape \(2,\), got \(1,\)"),
        (lambda: DOUBLE.observe(0, omega=np.zeros(1), V=1.0), r"`omega` must be of at least 2 classes, got 1"),
        (lambda: DOUBLE.observe(0, omega=0.0, V=1.0), r"`axis` must be an axis of omega"),
        (lambda: DOUBLE.observe(0, omega=np.zeros(3), V=[1.0, 0.0, 1.0]), r"`V` must be finite and > 0, got 0.0"),
        (lambda: EXACT.probabilities(omega=np.zeros(3), V=np.ones(2)), r"`V` must be of the shape of omega"),
        (lambda: SINGLE.observe([0, 1], **_THREE), r"`rng` must be a numpy.random.Generator"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("ratio", [1.0, 10.0, 1e3])
def test_grid_and_adaptive_probabilities_agree(ratio):
    """On one grid for all classes, and (deviations 1000 : 1) where the grid gives way to the adaptive integrals."""
    rng = np.random.default_rng(5)
    omega, V = 3.0 * rng.standard_normal((6, 12)), np.exp(np.log(ratio) * rng.uniform(-1, 1, (6, 12)))
    exact = np.exp(DOUBLE.log_probabilities(omega=omega, V=V))
    np.testing.assert_allclose(DOUBLE.probabilities(omega=omega, V=V), exact, rtol=0, atol=1e-12)
    assert exact.min() < 0.01 < 0.5 < exact.max()


@pytest.mark.parametrize("spread", [0.3, 2.0, 20.0])
def test_most_probable_class_without_its_probability(spread):
    rng = np.random.default_rng(6)
    omega, V = spread * rng.standard_normal((5, 400)), np.exp(rng.uniform(-2, 2, (5, 400)))
    p = DOUBLE.probabilities(omega=omega, V=V)
    assert np.array_equal(DOUBLE.most_probable(omega=omega, V=V), p.argmax(axis=0))
    assert spread > 1 or np.any(p.argmax(axis=0) != omega.argmax(axis=0))
