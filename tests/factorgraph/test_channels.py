"""Channels: accuracy against 50 digits over the whole range, bounds, limits, symmetries, interface."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import reference as ref
import tolerances as tol
from channel_cases import CASES, NOISE, SHIFT, THRESHOLD, WIDTH, Point
from hypothesis import given, settings
from hypothesis import strategies as st
from members import SCALAR
from mpmath import mp, mpf
from reference import legendre

from factorgraph.channels import (
    Absolute,
    AsymmetricAbsolute,
    Channel,
    HardSigmoid,
    HardTanh,
    Heaviside,
    Identity,
    LeakyReLU,
    Logistic,
    Numeric,
    Poisson,
    Probit,
    ReLU,
    Sign,
    SymmetricDoor,
)

NAMES = pytest.mark.parametrize("name", CASES)
CHEAP = settings(deadline=None, derandomize=True, max_examples=60)


def test_every_closed_form_is_among_the_cases() -> None:
    """The others are quadratures, and have tests of their own."""
    closed = {type(channel) for channel in SCALAR} - {Logistic, Numeric, Poisson}
    assert {type(case.channel) for case in CASES.values()} == closed


def evaluate(channel: Channel, B: Any, A: Any, omega: Any, V: Any) -> tuple[Any, ...]:
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        return tuple(channel.evaluate(B=B, A=A, omega=omega, V=V))


def assert_accurate(got: Any, expected: ref.Values, scales: ref.Values, powers: Any, V: float, rtol: float) -> None:
    """|got - expected| ≤ rtol · scale, or below underflow in units of V: output j has the unit V**-powers[j] there."""
    single = np.asarray(got[0]).dtype == np.float32
    tiny = tol.TINY32 if single else tol.TINY64
    for j, (value, true, scale) in enumerate(zip(got, expected, scales, strict=True)):
        assert np.isfinite(value), (j, got)
        size = max(abs(scale), abs(true)) if single else abs(scale)  # a float32 is rounded by its own size
        bound = max(rtol * size, mpf(tiny) * max(1.0, V ** -powers[j]))
        assert abs(mpf(float(value)) - true) <= bound, (j, value, float(true), float(scale))


def check_point(name: str, point: Point) -> None:
    """All five outputs in float64, and in float32 at the point rounded to it."""
    case = CASES[name]
    for dtype, rtol in ((np.float64, tol.CHANNEL), (np.float32, tol.FLOAT32)):
        rounded = tuple(dtype(x) for x in point)
        exact = tuple(float(x) for x in rounded)
        expected = ref.to_agreement(case.values, *exact)
        with mp.workdps(60):
            scales = case.scales(expected, *exact)
        assert_accurate(evaluate(case.channel, *rounded), expected, scales, (0, 0, 0, 0.5, 1), exact[3], rtol)


# ---- accuracy --------------------------------------------------------------------------------------------------------

FIELDS = (0.0, 1e-8, -1e-8, 0.3, -2.0, 40.0, -1e4, 1e4)
PRECISIONS = (0.0, 1e-8, 1.0, 1e12)
RATIOS = (0.0, 1e-9, 0.5, -0.5, 4.0, -6.0, 39.0, 150.0, -1e3, 1e3)  # omega/√V
VARIANCES = (1e-12, 1.0, 1e12)
TINY_FIELDS = [(B, A, t, 1.0) for B in (1e-300, -1e-300) for A in (0.0, 1.0) for t in (0.0, 3.0, -3.0, 30.0)]


def grid(name: str) -> list[Point]:
    """The extremes, omega/√V in place of omega: every field with every ratio; A and V run along with the pair."""
    pairs = list(itertools.product(FIELDS, RATIOS))
    rest = list(itertools.product(PRECISIONS, VARIANCES))
    step = 5 if name == "relu" else 1
    points = [(B, *rest[(step * i + k) % 12], t) for i, (B, t) in enumerate(pairs) for k in (0, 7)]
    return [(B, A, t * math.sqrt(V), V) for B, A, V, t in points] + TINY_FIELDS


@NAMES
def test_accuracy_at_the_extremes(name: str) -> None:
    for point in grid(name):
        check_point(name, point)


def logarithmic(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high).map(lambda e: 10.0**e)


SIDES = st.sampled_from([1.0, -1.0])
DEVIATIONS = logarithmic(-16.0, 0.0).flatmap(lambda e: st.sampled_from([1 + e, 1 - e]))


@st.composite
def points(draw: Callable[..., Any]) -> Point:
    """Anywhere in the range, and close to the lines where large exponents cancel to O(1)."""
    V = draw(logarithmic(-12.0, 12.0))
    t = draw(SIDES) * draw(st.one_of(st.just(0.0), logarithmic(-6.0, 3.0), st.floats(0.1, 40.0)))
    A = draw(st.one_of(st.just(0.0), logarithmic(-12.0, 12.0), st.floats(0.01, 100.0).map(lambda a: min(a / V, 1e12))))
    omega = t * math.sqrt(V)
    B = draw(
        st.one_of(
            st.sampled_from([0.0, 1e-300, -1e-300, 1e-20]),
            st.builds(lambda side, x: side * x, SIDES, logarithmic(-6.0, 4.0)),
            # spins: the field of the message against that of the pre-activation, and e^{2|B|} against e^{t²/2}
            st.builds(lambda part, e: -t * abs(t) * part * e, st.sampled_from([0.25, 0.5]), DEVIATIONS),
            # ReLU: equal exponents of spike and slab, B(BV + 2 omega) = A omega²
            st.builds(lambda side, e: (-omega + side * abs(omega) * math.sqrt(1 + A * V)) / V * e, SIDES, DEVIATIONS),
        )
    )
    return min(max(B, -1e4), 1e4), A, omega, V


@NAMES
@CHEAP
@given(point=points())
def test_accuracy_anywhere(name: str, point: Point) -> None:
    check_point(name, point)


# |B| for spins whose message contradicts the pre-activation, with t²/2 = q: 2|B| = q ± 2 and |B| = q ± 2. The exponents
# cancel to O(1); to one float they are known to 2e-12 only.
CONTRADICTIONS = [(q, shift) for q in np.linspace(8.3e3, 1.99e4, 9) for shift in (-1.0, 0.3, 1.0)]


@pytest.mark.parametrize("name", ["sign", "probit"])
def test_contradicted_spins(name: str) -> None:
    for i, (q, shift) in enumerate(CONTRADICTIONS):
        V, side = VARIANCES[i % 3], (-1) ** i
        check_point(name, (-side * (0.5 * q + shift), 0.0, side * math.sqrt(2 * q * V), V))
        # phi does better here than its scale |B| demands
        omega, B = side * math.sqrt(q * V), -side * (0.5 * q + shift)
        expected = ref.to_agreement(CASES[name].values, B, 0.0, omega, V)[0]
        assert abs(evaluate(CASES[name].channel, B, 0.0, omega, V)[0] - expected) <= 1e-14 * (10 + abs(expected))


@pytest.mark.parametrize("name", ["identity", "relu"])
def test_cancelling_messages(name: str) -> None:
    """BV + omega → 0 and B - A omega → 0: the mean of x and g of a linear unit vanish, but keep their digits."""
    for omega, V, excess in itertools.product((0.3, -47.0), (0.7, 31.0), (1e-15, 3e-13, -1e-9)):
        check_point(name, (-omega / V * (1 + excess), 0.1, omega, V))
        check_point(name, (1.7 * omega * (1 + excess), 1.7, omega, V))


@NAMES
def test_observed_accuracy(name: str) -> None:
    case = CASES[name]
    for y, t, V in itertools.product(case.outputs, RATIOS, VARIANCES):
        for dtype, rtol in ((np.float64, tol.CHANNEL), (np.float32, tol.FLOAT32)):
            rounded = dtype(y), dtype(t * math.sqrt(V)), dtype(V)
            exact = tuple(float(x) for x in rounded)
            expected = ref.to_agreement(case.observed, *exact)
            scales = expected
            if case.observed_scales is not None:
                with mp.workdps(60):
                    scales = case.observed_scales(expected, *exact)
            elif name in ("identity", "noisy") or (name == "relu" and y > 0):  # the logarithm and the square
                logarithm = mp.log(2 * mp.pi / expected[2]) / 2
                scales = (abs(logarithm) + abs(expected[0] + logarithm), *expected[1:])
            with np.errstate(over="raise", invalid="raise", divide="raise"):
                got = case.channel.observe(rounded[0], omega=rounded[1], V=rounded[2])
            assert_accurate(got, expected, scales, (0, 0.5, 1), exact[2], rtol)


# ---- bounds ----------------------------------------------------------------------------------------------------------


def random_points(size: int = 20_000) -> Point:
    """Arrays of points over the range of the accuracy tests."""
    rng = np.random.default_rng(1)
    V = 10 ** rng.uniform(-12, 12, size)
    B = rng.choice([-1, 1], size) * 10 ** rng.uniform(-6, 4, size) * (rng.random(size) > 0.1)
    A = 10 ** rng.uniform(-12, 12, size) * (rng.random(size) > 0.1)
    omega = rng.choice([-1, 1], size) * 10 ** rng.uniform(-6, 3, size) * np.sqrt(V)
    return B, A, omega, V


@NAMES
def test_bounds(name: str) -> None:
    B, A, omega, V = random_points()
    channel = CASES[name].channel
    phi, mean, variance, g, gamma = evaluate(channel, B, A, omega, V)
    assert all(np.all(np.isfinite(x)) for x in (phi, mean, variance, g, gamma))
    assert np.all(variance >= 0)
    assert np.all(gamma * V <= 1 + 1e-12)  # V - Γ V² is the variance of z
    if channel.spin:
        assert np.all(abs(mean) <= 1) and np.all(variance <= 1)
        assert np.all(abs(phi) <= abs(B) * (1 + 1e-15))
        if name == "door":  # two edges
            assert np.any(g * B < 0)
            return
        assert np.all(g * B >= 0)
        shift = THRESHOLD if name == "probit" else 0.0
        assert np.all(gamma[B * (omega - shift) >= 0] >= 0)
    elif name == "relu":
        assert np.all(mean >= 0)
        assert np.all(gamma[B <= 0] >= 0)  # then the integrand is log-concave in z
        assert np.any(gamma < 0)
    elif name == "absolute":
        assert np.all(mean > 0)
        assert np.all(gamma[(B <= 0) & (abs(omega) < 10 * np.sqrt(V))] >= 0)
        assert np.any(gamma < 0)
    elif name in ("leaky", "uneven", "shifted", "hard tanh", "hard sigmoid"):
        low, high = channel.interval
        assert np.all((mean >= low * (1 + 1e-15)) & (mean <= high))
        assert np.all(variance <= (high - low) ** 2 / 4 * (1 + 1e-15))
        assert np.any(gamma < 0)
    elif name == "heaviside":
        assert np.all((mean >= 0) & (mean <= 1) & (variance <= 0.25))
        assert np.all(g * (B - A / 2) >= 0)
    else:
        assert np.all(gamma >= 0)


#: Outputs with two places for z.
TWO_PLACES = {("shifted", 2.0), ("door", 1.0)}


@NAMES
def test_observed_likelihood_is_log_concave(name: str) -> None:
    _, _, omega, V = random_points()
    for y in CASES[name].outputs:
        phi, g, gamma = CASES[name].channel.observe(y, omega=omega, V=V)
        assert all(np.all(np.isfinite(x)) for x in (phi, g, gamma))
        assert np.all(gamma * V <= 1 + 1e-12)
        if (name, y) in TWO_PLACES or (name in ("absolute", "uneven") and y > 0):
            assert np.any(gamma < 0)
        else:
            assert np.all(gamma >= 0)


@NAMES
def test_no_message_leaves_no_trace(name: str) -> None:
    _, _, omega, V = random_points()
    phi, _, _, g, gamma = evaluate(CASES[name].channel, 0.0, 0.0, omega, V)
    assert np.all(phi == 0) and np.all(g == 0) and np.all(gamma == 0)


# ---- limits and relations between channels ---------------------------------------------------------------------------

OMEGA = np.array([-7.0, -1.0, -1e-3, 0.0, 0.4, 2.0, 9.0])


@pytest.mark.parametrize("channel", [Identity(), Identity(0.25), ReLU()], ids=str)
@pytest.mark.parametrize("y", [0.0, 0.5, 3.0])
def test_sharp_message_equals_observation(channel: Channel, y: float) -> None:
    """e^{Bx - Ax²/2} with B = Ay tends to √(2π/A) e^{Ay²/2} δ(x - y), with errors of order 1/A, or 1/√A at a spike."""
    A, V = 1e12, 1.3
    rtol = 1e-5 if isinstance(channel, ReLU) and y == 0 else 1e-9
    values = evaluate(channel, A * y, A, OMEGA, V)
    observed = channel.observe(y, omega=OMEGA, V=V)
    np.testing.assert_allclose(values[3], observed.g, rtol=rtol, atol=1e-9)
    np.testing.assert_allclose(values[4], observed.gamma, rtol=rtol)
    np.testing.assert_allclose(values[1], y, atol=1e-5)
    if y == 0:
        constant = 0.0 if isinstance(channel, ReLU) else 0.5 * math.log(2 * math.pi / A)
        np.testing.assert_allclose(values[0] - constant, observed.phi, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("channel", [Sign(), Probit(2.0, 0.3)], ids=str)
@pytest.mark.parametrize("y", [-1, 1])
def test_strong_field_equals_observation(channel: Channel, y: int) -> None:
    phi, mean, _, g, gamma = evaluate(channel, y * 1e4, 0.0, OMEGA, 0.7)
    observed = channel.observe(y, omega=OMEGA, V=0.7)
    np.testing.assert_array_equal(mean, y)
    np.testing.assert_allclose(phi - 1e4, observed.phi, rtol=1e-12, atol=1e-11)
    np.testing.assert_allclose(g, observed.g, rtol=1e-12)
    np.testing.assert_allclose(gamma, observed.gamma, rtol=1e-12)


def same(left: Any, right: Any) -> None:
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b)


def test_hard_probit_is_sign() -> None:
    B, A, omega, V = random_points(1000)
    same(evaluate(Probit(math.inf), B, A, omega, V), evaluate(Sign(), B, A, omega, V))
    same(Probit(math.inf).observe(1, omega=omega, V=V), Sign().observe(1, omega=omega, V=V))


def test_probit_adds_variance_and_shifts() -> None:
    soft, hard = Probit(0.5, 0.25), Sign()
    same(evaluate(soft, 0.8, 0.0, OMEGA, 2.0), evaluate(hard, 0.8, 0.0, OMEGA - 0.25, 6.0))
    same(soft.observe(-1, omega=OMEGA, V=2.0), hard.observe(-1, omega=OMEGA - 0.25, V=6.0))


def test_noise_adds_variance() -> None:
    same(evaluate(Identity(0.25), 0.8, 0.3, OMEGA, 2.0), evaluate(Identity(), 0.8, 0.3, OMEGA, 2.25))
    same(Identity(0.25).observe(0.1, omega=OMEGA, V=2.0), Identity().observe(0.1, omega=OMEGA, V=2.25))


def test_relu_far_above_its_kink_is_the_identity() -> None:
    B, A, V = np.meshgrid([-3.0, 0.2, 5.0], [0.0, 0.5], [0.3, 1.0])
    for linear, rectified in zip(evaluate(Identity(), B, A, 60.0, V), evaluate(ReLU(), B, A, 60.0, V), strict=True):
        np.testing.assert_allclose(rectified, linear, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("channel", [Sign(), Probit(3.0)], ids=str)
def test_spin_flip(channel: Channel) -> None:
    B, A, omega, V = random_points(1000)
    phi, mean, variance, g, gamma = evaluate(channel, B, A, omega, V)
    same(evaluate(channel, -B, A, -omega, V), (phi, -mean, variance, -g, gamma))
    y = np.sign(B) + (B == 0)
    observed = channel.observe(y, omega=omega, V=V)
    same(channel.observe(-y, omega=-omega, V=V), (observed.phi, -observed.g, observed.gamma))


@NAMES
def test_change_of_units(name: str) -> None:
    """z → 8z with every scale of the channel at once leaves phi alone; powers of two are exact."""
    c = 8.0
    if name == "hard tanh":
        pytest.skip("its bounds are no parameters")
    before = {"noisy": Identity(NOISE), "probit": Probit(2.0, 0.5)}.get(name, CASES[name].channel)
    after = {
        "noisy": Identity(NOISE * c * c),
        "probit": Probit(2.0 / c, 0.5 * c),
        "hard sigmoid": HardSigmoid(2.5 * c),
        "shifted": AsymmetricAbsolute(SHIFT * c),
        "door": SymmetricDoor(WIDTH * c),
    }.get(name, before)
    B, A, omega, V = random_points(1000)
    unit = 1.0 if before.interval in (None, (0.0, 1.0)) else c
    phi, mean, variance, g, gamma = evaluate(before, B, A, omega, V)
    scaled = evaluate(after, B / unit, A / unit**2, omega * c, V * c * c)
    for got, expected in zip(scaled, (phi, mean * unit, variance * unit**2, g / c, gamma / c**2), strict=True):
        normal = abs(expected) > tol.TINY64
        assert np.count_nonzero(normal) > 100
        np.testing.assert_array_equal(got[normal], expected[normal])


def test_absolute_value_does_not_see_the_sign() -> None:
    B, A, omega, V = random_points(1000)
    phi, mean, variance, g, gamma = evaluate(Absolute(), B, A, omega, V)
    for got, expected in zip(evaluate(Absolute(), B, A, -omega, V), (phi, mean, variance, -g, gamma), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_heaviside_is_a_shifted_spin() -> None:
    step = evaluate(Heaviside(), 1.4, 0.6, OMEGA, 2.0)
    spin = evaluate(Sign(), 0.55, 0.0, OMEGA, 2.0)
    expected = (spin[0] + 0.55, (1 + spin[1]) / 2, spin[2] / 4, spin[3], spin[4])
    for a, b in zip(step, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("y", [0, 1, 7, 200])
@pytest.mark.parametrize(("omega", "V"), [(0.0, 1.0), (-3.0, 0.2), (2.0, 4.0), (5.0, 1e-4), (1.0, 40.0), (60.0, 1.0)])
def test_counts(y: int, omega: float, V: float) -> None:
    """log E e^{yz - e^z}/y! and its derivatives, as moments of the law of z in many digits."""
    with mp.workdps(25):
        start = min(omega + y * V, math.log(y + 1.0 + max(omega, 0.0) / V))
        mode = mp.findroot(lambda z: y - mp.exp(z) - (z - omega) / mpf(V), start)
        width = 1 / mp.sqrt(1 / mpf(V) + mp.exp(mode))

        def moment(k: int) -> mpf:
            def f(z: mpf) -> mpf:
                d = z - mode
                return d**k * mp.exp(y * d - mp.exp(mode) * mp.expm1(d) - d * (d + 2 * (mode - omega)) / (2 * mpf(V)))

            return mp.quad(f, [mode + width * k for k in range(-40, 17, 4)])

        total, mean = moment(0), moment(1) / moment(0)
        top = y * mode - mp.exp(mode) - (mode - omega) ** 2 / (2 * mpf(V))
        phi = mp.log(total) + top - mp.log(2 * mp.pi * V) / 2 - mp.loggamma(y + 1)
        g, gamma = (mode + mean - omega) / V, (1 - (moment(2) / total - mean**2) / V) / V
    terms = abs(y * mode) + mp.exp(mode) + (mode - omega) ** 2 / (2 * V) + mp.loggamma(y + 1) + abs(mp.log(V))
    got = Poisson().observe(y, omega=omega, V=V)
    np.testing.assert_allclose(got.phi, float(phi), atol=tol.PANELS * float(terms + 1))
    np.testing.assert_allclose(got.g, float(g), atol=tol.PANELS * float(y + mp.exp(mode) + 1 / mp.sqrt(V)))
    np.testing.assert_allclose(got.gamma, float(gamma), rtol=1e-10)


def counts_by_panels(y: float, omega: float, V: float) -> ref.Values:
    """phi, g and Γ on panels of many digits, graded towards the wall e^{-e^z} and about the Gaussian that it ends."""
    y, omega, V = mpf(y), mpf(omega), mpf(V)
    low, high = min(omega, 0) - V - 1, mp.log(y + 2 + max(omega, 0) / V) + 1
    for _ in range(400):  # the mode by bisection
        middle = (low + high) / 2
        low, high = (middle, high) if y - mp.exp(middle) > (middle - omega) / V else (low, middle)
    mode, deviation = low, mp.sqrt(V)
    width = 1 / mp.sqrt(mp.exp(mode) + 1 / V)

    def logarithm(z: mpf) -> mpf:  # relative to the mode, whose equation has taken y out
        d = z - mode
        return -mp.exp(mode) * (mp.expm1(d) - d) - d * d / (2 * V)

    steps = [side * mpf(2) ** k for side in (-1, 1) for k in range(-6, 50)]
    edges = {mode, mpf(0), *(mode + width * step for step in steps), *steps}
    edges |= {centre + deviation * mpf(k) / 2 for centre in (mode, omega + y * V) for k in range(-30, 31)}
    edges = sorted(edge for edge in edges if edge < max(mode, 0) + 40)
    heights = [logarithm(edge) for edge in edges]
    x, weights = legendre(20)
    sums = [mpf(0)] * 4
    for left, right, *ends in zip(edges[:-1], edges[1:], heights[:-1], heights[1:], strict=True):
        if max(ends) < -80 and not left < mode < right:
            continue
        for node, weight in zip(x, weights, strict=True):
            z = left + (right - left) * (1 + node) / 2
            value, d, rate = weight * (right - left) / 2 * mp.exp(logarithm(z)), z - mode, mp.exp(z)
            sums = [total + value * term for total, term in zip(sums, (1, d, rate, rate * d), strict=True)]
    total, shift, rate, product = sums[0], *(term / sums[0] for term in sums[1:])
    top = y * mode - mp.exp(mode) - (mode - omega) ** 2 / (2 * V) - mp.log(2 * mp.pi * V) / 2 - mp.loggamma(y + 1)
    return mp.log(total) + top, y - rate, (product - shift * rate) / V


@pytest.mark.parametrize(
    ("y", "t", "V"),
    [(0, 0.0, V) for V in (1e-6, 1.0, 3.9, 4.1, 1e6, 1e7, 1e10, 1e20)]
    + [
        (0, -5.6, 1e10),
        (0, 3.0, 1e8),
        (1, 0.06, 9e6),
        (3, -30.0, 1e4),
        (50, 2.0, 1e5),
        (1e12, 0.0, 1e8),
        (7, 9.0, 1e-3),
    ],
)  # fmt: skip
def test_counts_of_rates_that_are_known_badly_or_well(y: float, t: float, V: float) -> None:
    """Accuracy of phi in itself, of g in the larger of itself and its deviation, and of Γ in itself."""
    omega = t * math.sqrt(V)
    with mp.workdps(40):
        phi, g, gamma = counts_by_panels(y, omega, V)
    got = Poisson().observe(y, omega=omega, V=V)
    assert got.phi == pytest.approx(float(phi), rel=tol.PANELS)
    assert got.g == pytest.approx(float(g), rel=tol.PANELS, abs=tol.PANELS * float(abs(y) + 1 / mp.sqrt(V)))
    assert got.g * math.sqrt(V) == pytest.approx(float(g * mp.sqrt(V)), rel=1e-9)
    assert got.gamma == pytest.approx(float(gamma), rel=100 * tol.PANELS)


@pytest.mark.parametrize("channel", SCALAR, ids=str)
def test_samples_have_the_likelihood(channel: Channel) -> None:
    """Mean of e^{phi_observe} over drawn outputs agrees with its integral; for continuous outputs a histogram does."""
    x = channel.sample(np.full(200_000, 0.3), np.random.default_rng(0))
    V = 1e-12 if channel.interval else 1e-9
    if channel.interval is None and channel.atoms:
        for y in channel.atoms:
            p = float(np.exp(channel.observe(y, omega=0.3, V=V).phi))
            assert np.mean(x == y) == pytest.approx(p, abs=4 * math.sqrt(0.25 / x.size))
    elif isinstance(channel, Poisson):
        for y in range(5):
            p = float(np.exp(channel.observe(y, omega=0.3, V=V).phi))
            assert np.mean(x == y) == pytest.approx(p, abs=4 * math.sqrt(0.25 / x.size))
    else:
        values = channel.evaluate(B=0.0, A=0.0, omega=0.3, V=V)
        assert np.mean(x) == pytest.approx(values.mean, abs=4 * math.sqrt(values.variance / x.size) + 1e-5)
        assert np.var(x) == pytest.approx(values.variance, rel=0.02, abs=1e-9)


# ---- interface -------------------------------------------------------------------------------------------------------


@NAMES
def test_array_equals_scalar(name: str) -> None:
    arrays = random_points(50)
    values = evaluate(CASES[name].channel, *arrays)
    for i in range(50):
        assert [v[i] for v in values] == list(evaluate(CASES[name].channel, *(a[i] for a in arrays)))


@NAMES
def test_broadcasting_and_types(name: str) -> None:
    channel, y = CASES[name].channel, CASES[name].outputs[-1]
    B, A, omega = np.full((3, 1), 0.3), np.full((2, 1, 1), 0.1), np.linspace(-1, 1, 4)
    assert all(v.shape == (2, 3, 4) and v.dtype == np.float64 for v in evaluate(channel, B, A, omega, 1.0))
    single = [x.astype(np.float32) for x in (B, A, omega)]
    assert all(v.dtype == np.float32 for v in evaluate(channel, *single, 1.0))
    assert all(v.dtype == np.float64 for v in evaluate(channel, B, *single[1:], 1.0))
    assert all(isinstance(v, np.float64) for v in evaluate(channel, 1, 0, -1, 2))
    observed = channel.observe(np.full((3, 1), y, dtype=np.float32), omega=single[2], V=np.float32(2))
    assert all(v.shape == (3, 4) and v.dtype == np.float32 for v in observed)


@NAMES
def test_lists_are_arrays(name: str) -> None:
    channel = CASES[name].channel
    from_arrays = evaluate(channel, np.array([0.1, 0.2]), 0.3, np.array([-1.0, 1.0]), 2.0)
    same(evaluate(channel, [0.1, 0.2], 0.3, [-1, 1], 2.0), from_arrays)


@NAMES
def test_shortcuts_agree_with_evaluate(name: str) -> None:
    channel = CASES[name].channel
    arguments = {"B": 0.4, "A": 0.2, "omega": OMEGA, "V": 1.5}
    values = channel.evaluate(**arguments)
    same(channel.moments(**arguments), (values.mean, values.variance))
    same(channel.derivatives(**arguments), (values.g, values.gamma))


def test_activation_functions() -> None:
    z = np.array([-2.0, -0.0, 0.3, 1.0], dtype=np.float32)
    for channel, expected in (
        (Identity(), z),
        (Sign(), [-1, 1, 1, 1]),
        (Probit(2.0, 0.5), [-1, -1, -1, 1]),
        (ReLU(), [0, 0, 0.3, 1]),
        (Absolute(), [2, 0, 0.3, 1]),
        (Heaviside(), [0, 1, 1, 1]),
        (LeakyReLU(0.25), [-0.5, 0, 0.3, 1]),
        (AsymmetricAbsolute(0.5), [2, 0, -0.3, 1]),
        (HardTanh(), [-1, 0, 0.3, 1]),
        (HardSigmoid(0.5), [0, 0.5, 0.8, 1]),
        (SymmetricDoor(0.7), [1, -1, -1, 1]),
    ):
        result = channel(z)
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result, np.float32(expected))
        assert np.ndim(channel(0.7)) == 0
    assert Sign()(np.array([-3, 0, 3])).dtype == np.float64


@pytest.mark.parametrize("channel", [*(case.channel for case in CASES.values()), Poisson(), Logistic()], ids=repr)
@pytest.mark.parametrize("kind", ["int8", "i2", ">i4", "int64", "bool", "uint8", "float16", ">f8", "f8"])
def test_activations_of_any_type_of_number_are_those_of_float64(channel: Channel, kind: str) -> None:
    z = np.array([0, 1, 3, 9, *([] if kind in ("bool", "uint8") else [-128, -3, -1])]).astype(kind)
    expected = channel(z.astype(np.float64))
    np.testing.assert_allclose(channel(z), expected, rtol=1e-3 if kind == "float16" else 1e-15)
    np.testing.assert_allclose(channel(z[1]), expected[1], rtol=1e-3 if kind == "float16" else 1e-15)
    if kind != "float16":
        drawn, same = (channel.sample(values, np.random.default_rng(0)) for values in (z % 5, (z % 5).astype("f8")))
        np.testing.assert_array_equal(drawn, same)


def test_repr_and_equality() -> None:
    assert [repr(c) for c in (Identity(), Sign(), ReLU())] == ["Identity(noise=0.0)", "Sign()", "ReLU()"]
    assert repr(Probit(2, 1)) == "Probit(slope=2.0, threshold=1.0)"
    assert Identity(1) == Identity(1.0) != Identity(2)
    assert len({Sign(), Sign(), ReLU()}) == 2
    assert [name for name, case in CASES.items() if case.channel.spin] == ["sign", "probit", "door"]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Identity(-1), "`noise` must be a finite number >= 0, got -1"),
        (lambda: Identity(math.inf), "`noise` must be a finite number >= 0, got inf"),
        (lambda: Identity(math.nan), "`noise` must be a finite number >= 0, got nan"),
        (lambda: Probit(0), "`slope` must be a number >= 1e-100, inf allowed, got 0"),
        (lambda: Probit(-2.0), "`slope` must be a number >= 1e-100, inf allowed, got -2.0"),
        (lambda: Probit(math.nan), "`slope` must be a number >= 1e-100, inf allowed, got nan"),
        (lambda: Probit(1.0, math.inf), "`threshold` must be a finite number, got inf"),
        (lambda: Identity().observe([0.0, math.nan], omega=0.0, V=1.0), "`y` must be finite, got nan"),
        (lambda: Sign().observe([1, -1, 0], omega=0.0, V=1.0), "`y` must be -1 or +1, got 0"),
        (lambda: Probit(1.0).observe(0.5, omega=0.0, V=1.0), "`y` must be -1 or +1, got 0.5"),
        (lambda: Sign().observe(math.nan, omega=0.0, V=1.0), "`y` must be -1 or +1, got nan"),
        (lambda: ReLU().observe([0.0, -0.5], omega=0.0, V=1.0), "`y` must be finite and >= 0, got -0.5"),
        (lambda: ReLU().observe(math.inf, omega=0.0, V=1.0), "`y` must be finite and >= 0, got inf"),
        (lambda: Absolute().observe([1.0, -0.5], omega=0.0, V=1.0), "`y` must be finite and >= 0, got -0.5"),
        (lambda: LeakyReLU(-0.5).observe(-1.0, omega=0.0, V=1.0), "`y` must be finite and >= 0, got -1.0"),
        (lambda: LeakyReLU().observe(math.inf, omega=0.0, V=1.0), "`y` must be finite, got inf"),
        (lambda: AsymmetricAbsolute(0.5).observe(-1, omega=0, V=1), "`y` must be finite and >= -0.5, got -1"),
        (lambda: HardTanh().observe([0.0, 1.5], omega=0.0, V=1.0), "`y` must be in [-1, 1], got 1.5"),
        (lambda: HardSigmoid().observe(math.nan, omega=0.0, V=1.0), "`y` must be in [0, 1], got nan"),
        (lambda: SymmetricDoor().observe(0.5, omega=0.0, V=1.0), "`y` must be -1 or +1, got 0.5"),
        (lambda: LeakyReLU(0.0), "`slope` must be from 1e-12 to 1e12 in size (0 is ReLU), got 0.0"),
        (lambda: AsymmetricAbsolute(0), "`shift` must not be 0 (which is Absolute), got 0"),
        (lambda: Heaviside().observe([1, 2], omega=0.0, V=1.0), "`y` must be 0 or 1, got 2"),
        (lambda: Poisson().observe([1, 2.5], omega=0.0, V=1.0), "`y` must be integers >= 0, got 2.5"),
        (
            lambda: Poisson().evaluate(B=0.0, A=0.0, omega=0.0, V=1.0),
            "`channel` of a hidden layer must be another one than Poisson, which is an output only",
        ),
    ],
)
def test_wrong_arguments(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        build()
    assert str(caught.value) == message


def test_extreme_slopes_are_representable() -> None:
    for slope in (1e-100, 1e-3, 1e300):
        phi, mean, variance, g, gamma = evaluate(Probit(slope), 2.0, 0.0, 0.5, 1.0)
        assert np.all(np.isfinite([phi, mean, variance, g, gamma])) and g > 0
