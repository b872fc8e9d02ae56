"""The numeric channel against closed forms, and against mpmath where there is none."""

import numpy as np
import pytest
import tolerances as tol
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf
from reference import legendre

from factorgraph.channels.absolute import Absolute
from factorgraph.channels.identity import Identity
from factorgraph.channels.numeric import Numeric
from factorgraph.channels.relu import ReLU
from factorgraph.channels.sign import Sign
from models.asymptotics.averages import Field, Overlap, hidden_averages, output_averages

LINEAR = Numeric(lambda z: z, name="linear")
RECTIFIER = Numeric(lambda z: np.maximum(z, 0.0), breakpoints=[0.0], name="rectifier")
STEP = Numeric(lambda z: np.where(z >= 0, 1.0, -1.0), breakpoints=[0.0], name="step")
TANH = Numeric(np.tanh)


def _grid(*axes):
    return [a.ravel() for a in np.meshgrid(*axes, indexing="ij")]


def _message(B, A, u, V):
    """Grid of arguments, with omega = u √V."""
    B, A, u, V = _grid(B, A, u, V)
    return {"B": B, "A": A, "omega": u * np.sqrt(V), "V": V}


WIDE = _message([0.0, 1e-8, 0.1, 7.0, -50.0], [0.0, 1e-8, 1.0, 1e3], [-20.0, -3.0, 0.0, 0.4, 20.0], [1e-6, 1.0, 1e6])


def _units(values, V):
    """The units of the errors, as the class documents them."""
    root = np.sqrt(V)
    second_moment = values.mean**2 + values.variance
    return (
        np.maximum(1.0, np.abs(values.phi)),
        np.sqrt(second_moment) + tol.TINY64,
        values.variance + 1e-5 * second_moment + tol.TINY64,  # times 1e-10: the rounding of f
        np.maximum(1.0, np.abs(values.g) * root) / root,
        1.0 / V,
    )


def _assert_close(got, exact, V, tolerance=tol.NUMERIC):
    for name, a, b, unit in zip(got._fields, got, exact, _units(exact, V), strict=True):
        errors = np.abs(a - b) / unit
        worst = np.argmax(errors)
        assert np.max(errors) < tolerance, (name, worst, np.ravel(a)[worst], np.ravel(b)[worst])


@pytest.mark.parametrize(("numeric", "closed"), [(LINEAR, Identity()), (RECTIFIER, ReLU())])
def test_closed_forms(numeric, closed):
    exact = closed.evaluate(**WIDE)
    assert np.ptp(exact.mean) > 1
    _assert_close(numeric.evaluate(**WIDE), exact, WIDE["V"])


def test_an_exact_activation_has_no_rounding_floor_in_the_variance():
    got, exact = LINEAR.evaluate(**WIDE), Identity().evaluate(**WIDE)
    np.testing.assert_allclose(got.variance, exact.variance, rtol=tol.NUMERIC)


def test_sign():
    arguments = _message([0.0, 1e-8, 0.1, 7.0, -50.0], [0.0], [-20.0, -3.0, 0.0, 0.4, 20.0], [1e-6, 1.0, 1e6])
    _assert_close(STEP.evaluate(**arguments), Sign().evaluate(**arguments), arguments["V"])
    tilted = STEP.evaluate(B=1.0, A=3.0, omega=0.3, V=2.0)  # A x² is a constant, which Sign leaves out
    assert tilted.phi + 1.5 == pytest.approx(Sign().evaluate(B=1.0, A=3.0, omega=0.3, V=2.0).phi, rel=tol.NUMERIC)


def test_undeclared_breakpoints_are_found():
    bare = Numeric(STEP.activation)
    arguments = _message([0.0, 1.0, -7.0], [0.0], [-2.3, 0.1], [0.7])
    _assert_close(bare.evaluate(**arguments), STEP.evaluate(**arguments), arguments["V"])
    assert bare.evaluate(B=3.0, A=0.0, omega=0.1, V=0.7).g > 0.1


def test_noise_is_that_of_the_noisy_channel():
    arguments = _message([0.0, 0.3, -20.0], [0.0, 0.5, 100.0], [-5.0, 0.2], [1e-3, 1.0, 50.0])
    noisy = Numeric(lambda z: z, noise=0.25)
    _assert_close(noisy.evaluate(**arguments), Identity(noise=0.25).evaluate(**arguments), arguments["V"])


def test_observed_linear():
    y, u, V = _grid([-30.0, 0.0, 0.2, 8.0], [-20.0, 0.0, 1.0], [1e-4, 1.0, 1e4])
    got = Numeric(lambda z: z, noise=0.25).observe(y, omega=u * np.sqrt(V), V=V)
    exact = Identity(noise=0.25).observe(y, omega=u * np.sqrt(V), V=V)
    assert np.max(np.abs(got.phi - exact.phi) / np.maximum(1, np.abs(exact.phi))) < tol.NUMERIC
    assert np.max(np.abs(got.g - exact.g) * np.sqrt(V) / np.maximum(1, np.abs(exact.g) * np.sqrt(V))) < tol.NUMERIC
    assert np.max(np.abs(got.gamma - exact.gamma) * V) < tol.NUMERIC


def test_observed_output_is_a_message_of_its_precision():
    arguments = {"omega": np.array([0.3, -1.0, 4.0]), "V": np.array([1.0, 0.2, 9.0])}
    y, noise = np.array([0.5, 0.9, -0.2]), 0.01
    observed = Numeric(np.tanh, noise=noise).observe(y, **arguments)
    message = TANH.evaluate(B=y / noise, A=1 / noise, **arguments)
    constant = -(y**2) / (2 * noise) - 0.5 * np.log(2 * np.pi * noise)
    np.testing.assert_allclose(observed.phi, message.phi + constant, rtol=1e-9)
    np.testing.assert_allclose(observed.g, message.g, rtol=1e-9)
    np.testing.assert_allclose(observed.gamma, message.gamma, rtol=1e-9)


def _tanh_reference(B, A, omega, V):
    """phi, mean, variance, g, Γ by mpmath, on panels about where the integrand is large."""
    with mp.workdps(30):
        B, A, omega, V = mpf(B), mpf(A), mpf(omega), mpf(V)
        s = mp.sqrt(V)

        def exponent(z):
            return B * mp.tanh(z) - A * mp.tanh(z) ** 2 / 2 - (z - omega) ** 2 / (2 * V)

        grid = [omega + s * (mpf(k) / 8) for k in range(-14 * 8, 14 * 8 + 1)]
        if V > 1:  # tanh varies on a scale of 1
            grid = sorted(set(grid) | {mpf(k) / 8 for k in range(-80, 81)})
        top = max(exponent(z) for z in grid)
        alive = [k for k in range(len(grid) - 1) if max(exponent(grid[k]), exponent(grid[k + 1])) > top - 60]
        sums = [mpf(0)] * 5
        x, w = legendre(12)
        for k in alive:
            half = (grid[k + 1] - grid[k]) / 2
            for xj, wj in zip(x, w, strict=True):
                z = grid[k] + half * (1 + xj)
                weight, f, d = half * wj * mp.exp(exponent(z) - top), mp.tanh(z), z - omega
                sums = [t + weight * v for t, v in zip(sums, (1, f, f * f, d, d * d), strict=True)]
        total, f, ff, d, dd = sums[0], *(t / sums[0] for t in sums[1:])
        phi = top + mp.log(total) - mp.log(2 * mp.pi * V) / 2
        return [float(v) for v in (phi, f, ff - f * f, d / V, 1 / V - (dd - d * d) / V**2)]


@pytest.mark.parametrize(
    "arguments",
    [
        (0.0, 0.0, 0.3, 1.0),
        (1e-6, 0.0, 0.3, 1.0),
        (2.0, 0.5, -1.0, 0.5),
        (50.0, 0.0, -3.0, 2.0),
        (-50.0, 1e3, 4.0, 1.0),
        (3.0, 1e3, 0.0, 1e-6),
        (50.0, 1e3, -0.5, 1e4),
        (0.0, 20.0, 0.1, 300.0),
        (5.0, 1.0, 20.0, 1.0),
    ],
)
def test_tanh(arguments):
    B, A, omega, V = arguments
    got = TANH.evaluate(B=B, A=A, omega=omega, V=V)
    exact = type(got)(*map(np.float64, _tanh_reference(*arguments)))
    _assert_close(got, exact, V)


def test_no_message_changes_nothing():
    for channel in (LINEAR, RECTIFIER, STEP, TANH, Numeric(np.tanh, noise=0.3)):
        values = channel.evaluate(B=0.0, A=0.0, omega=np.linspace(-20, 20, 7), V=np.logspace(-6, 6, 7))
        assert np.all(values.phi == 0)
        assert np.all(values.g == 0)
        assert np.all(values.gamma == 0)
        assert np.all(values.variance >= 0)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.floats(-12, -3), st.floats(-12, -3), st.floats(-3, 3), st.floats(-2, 2))
def test_weak_messages_keep_relative_accuracy(log_b, log_a, omega, log_v):
    B, A, V = 10.0**log_b, 10.0**log_a, 10.0**log_v
    if abs(B - A * omega) < 0.1 * (B + A * abs(omega)):  # g passes through zero
        B = 3 * B
    got, exact = (c.evaluate(B=B, A=A, omega=omega, V=V) for c in (LINEAR, Identity()))
    assert got.g == pytest.approx(exact.g, rel=1e-9)
    # Γ = A/(1 + AV) is the difference of terms of order A and B², of averages of Bz/V whose rounding is one of B/√V
    rounding = 4.0 * np.finfo(float).eps * B / np.sqrt(V)
    assert got.gamma == pytest.approx(exact.gamma, rel=1e-9, abs=1e-12 * B * B + rounding)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.floats(-5, 5), st.floats(0, 5), st.floats(-4, 4), st.floats(0.05, 20))
def test_derivatives_of_the_log_partition(B, A, omega, V):
    channel = Numeric(lambda z: np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0.0), name="softplus")
    h = 0.01 * min(1.0, np.sqrt(V))
    stencil, offsets = np.array([1, -8, 0, 8, -1]) / 12, np.arange(-2, 3)
    at = channel.evaluate(B=B, A=A, omega=omega, V=V)
    by_b = channel.evaluate(B=B + 1e-2 * offsets, A=A, omega=omega, V=V)
    by_omega = channel.evaluate(B=B, A=A, omega=omega + h * offsets, V=V)
    scale = 1e-6 * (1 + np.abs(B) + at.mean + at.variance) ** 3
    assert stencil @ by_b.phi / 1e-2 == pytest.approx(at.mean, abs=scale)
    assert stencil @ by_b.mean / 1e-2 == pytest.approx(at.variance, abs=scale)
    assert stencil @ by_omega.phi / h == pytest.approx(at.g, abs=scale / np.sqrt(V))
    assert stencil @ by_omega.g / h == pytest.approx(-at.gamma, abs=scale / V)
    assert at.variance > 0


def test_bimodal():
    """|z| observed well: two narrow peaks far from omega, exact by symmetry."""
    channel = Numeric(np.abs, breakpoints=[0.0])
    B, A, V = 3e4, 1e4, 1.0  # |z| = 3 ± 0.01
    got = channel.evaluate(B=B, A=A, omega=0.0, V=V)
    one = Identity().evaluate(B=B, A=A, omega=0.0, V=V)
    assert got.phi == pytest.approx(one.phi + np.log(2), rel=1e-12)
    assert got.mean == pytest.approx(one.mean, rel=1e-12)
    assert got.variance == pytest.approx(one.variance, rel=1e-9)
    assert abs(got.g) < 1e-10
    assert got.gamma == pytest.approx(1 - one.mean**2 - one.variance, rel=1e-10)


def test_chunks_scalars_and_types():
    rng = np.random.default_rng(1)
    omega = rng.normal(size=(3, 200))
    values = TANH.evaluate(B=0.7, A=0.2, omega=omega, V=0.4)
    assert values.mean.shape == (3, 200)
    for place in [(0, 0), (1, 55), (1, 56), (2, 199)]:
        one = TANH.evaluate(B=0.7, A=0.2, omega=omega[place], V=0.4)
        assert np.ndim(one.phi) == 0
        np.testing.assert_allclose([v[place] for v in values], one, rtol=1e-13)
    single = TANH.evaluate(B=np.float32(0.7), A=np.float32(0.2), omega=omega.astype(np.float32), V=np.float32(0.4))
    assert {v.dtype for v in single} == {np.dtype(np.float32)}
    for a, b in zip(single, values, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert TANH.evaluate(B=np.zeros(0), A=0.0, omega=0.0, V=1.0).phi.shape == (0,)


def test_names_and_calls():
    assert TANH.name == "tanh"
    assert LINEAR.name == "linear"
    np.testing.assert_array_equal(RECTIFIER([-1.0, 2.0]), [0.0, 2.0])
    assert Numeric(np.abs, breakpoints=[1, 0, 1]).breakpoints == (0.0, 1.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Numeric(np.tanh, noise=-1.0), r"`noise` must be a finite number >= 0, got -1.0"),
        (lambda: Numeric(np.tanh, breakpoints=[np.inf]), r"`breakpoints` must be finite numbers"),
        (lambda: TANH.evaluate(B=0.0, A=-1.0, omega=0.0, V=1.0), r"`A` must be >= 0, got -1.0"),
        (lambda: TANH.evaluate(B=0.0, A=0.0, omega=0.0, V=0.0), r"`V` must be finite and > 0, got 0.0"),
        (lambda: TANH.observe(0.5, omega=0.0, V=1.0), r"`noise` must be > 0 to observe"),
        (lambda: Numeric(np.square).evaluate(B=9.0, A=0.0, omega=0.0, V=1.0), r"`activation` must grow at most"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_constant_pieces_are_atoms():
    def staircase(z):
        return np.clip(np.floor(z), -1.0, 2.0)

    assert RECTIFIER.atoms == (0.0,) and STEP.atoms == (-1.0, 1.0) and TANH.atoms == () and LINEAR.atoms == ()
    assert Numeric(lambda z: np.clip(z, -1.0, 1.0), breakpoints=[-1.0, 1.0]).atoms == (-1.0, 1.0)
    assert Numeric(staircase, breakpoints=[0.0, 1.0, 2.0]).atoms == (-1.0, 0.0, 1.0, 2.0)
    assert Numeric(np.tanh, breakpoints=[0.0]).atoms == ()
    assert Numeric(RECTIFIER.activation, atoms=[0]).atoms == (0.0,)
    assert Numeric(RECTIFIER.activation, breakpoints=[0.0], atoms=[]).atoms == ()
    with pytest.raises(ValueError, match="`atoms` must be"):
        Numeric(np.tanh, atoms="x")


@pytest.mark.parametrize(("numeric", "closed"), [(RECTIFIER, ReLU()), (Numeric(np.abs, breakpoints=[0.0]), Absolute())])
@pytest.mark.parametrize("A", [30.0])
def test_state_evolution_sees_where_outputs_crowd(numeric, closed, A):
    below, above = Overlap(0.6, 0.6, 0.4), Field(A, A, A)
    got, exact = (hidden_averages(channel, below, above, 1.0) for channel in (numeric, closed))
    assert got.phi == pytest.approx(exact.phi, rel=tol.NUMERIC)
    assert got.output == pytest.approx(exact.output, rel=tol.NUMERIC)
    assert got.field == pytest.approx(exact.field, rel=tol.NUMERIC)


@pytest.mark.slow
def test_state_evolution_sees_where_noisy_outputs_crowd():
    """log of the law of y = max(0, z) + noise, averaged: by a fine grid over z and y."""
    noise, below = 1e-4, Overlap(0.6, 0.6, 0.4)
    channel = Numeric(RECTIFIER.activation, breakpoints=[0.0], noise=noise)
    got = output_averages(channel, below, 1.0)
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    y = np.concatenate([np.arange(-8.0, 8.0, 0.25) * noise**0.5, np.arange(8.0 * noise**0.5, 7.0, 0.005)])
    exact = 0.0
    for omega, weight in zip(nodes * 0.6**0.5, weights / weights.sum(), strict=True):
        phi = channel.observe(y, omega=omega, V=0.4).phi
        exact += weight * np.trapezoid(np.exp(phi) * phi, y)
    assert got.phi == pytest.approx(exact, rel=1e-3)
