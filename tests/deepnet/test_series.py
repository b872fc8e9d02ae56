"""The series of messages at full means: what it leaves out, and its sums against those over edges, at extremes."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

from deepnet.kernels import CpuOperations
from deepnet.kernels.cpu.float32 import f32
from deepnet.kernels.cpu.relu_series import ReluUnits
from deepnet.kernels.cpu.series import LARGEST_SHIFT, ORDERS, RESOLUTION, Series, SignUnits, edge_messages
from deepnet.lower import lower
from deepnet.network import perceptron
from deepnet.sweep import initial_layers
from factorgraph.channels import ReLU, Sign

#: Two neglected terms of ``RESOLUTION`` each, all later ones together, and the rounding of the coefficients to float32.
NEGLECTED = 4 * RESOLUTION

#: Of what the series of a ReLU unit starts with, the weight of the slab and the density at 0, in float32.
RELU_START = 1e-6

#: Of g of one edge in float32, in units of what rounding t does to it; see ``test_kernels``.
ROUNDING = 3e-5

SIGN = Sign()


def expanded(t, V, units, largest_m, largest_x):
    """a_p (orders, n) of factors (n,) as float64, their needs, and t, √V, X as the series sees them."""
    V, largest_x = (np.asarray(values, f32)[None] for values in (V, largest_x))
    layer = SimpleNamespace(omega=(np.asarray(t) * np.sqrt(V.astype(float))).astype(f32), V=V)
    series = Series.of(layer)
    series.coefficients.fill(0.0)
    units.expand(layer, np.array([largest_m], f32), largest_x[0], series, 1)
    root, X = np.sqrt(V[0].astype(float)), largest_x[0].astype(float)
    p = np.arange(ORDERS + 1)[:, None]
    a = series.coefficients[:, 0].astype(float) * root * (root / X) ** p
    return a, series.needed[0], layer.omega[0].astype(float) / root, root, X


def sign_units(c):
    """Sign units with messages of these log-odds."""
    return SignUnits(np.asarray(0.5 * np.asarray(c), f32)[None])


def relu_units(b, a, V):
    """ReLU units with these messages where V is 1."""
    V = np.asarray(V, f32).astype(float)
    return ReluUnits((b / np.sqrt(V)).astype(f32)[None], (a / V).astype(f32)[None], 1.0)


def shifted(t, a_0, s):
    """√V g at t - s of the unit that has a_0 at t: N(u)/(K + Φ(u)), the general solution of h' = -h (h + t)."""
    t, u = mpf(t), mpf(t) - mpf(s)
    return float(mp.npdf(u) / (mp.npdf(t) / mpf(a_0) + mp.ncdf(u) - mp.ncdf(t))) if a_0 else 0.0


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([0.1, 1.0, 5.0, 30.0]),
    largest_m=st.sampled_from([1.0, 0.3, 1e-3]),
    message=st.sampled_from([1e-4, 1.0, 30.0, 1e30]),
)
def test_what_is_left_out_is_below_the_resolution(seed, scale, largest_m, message):
    """For every own term that may occur; with the coefficient a_0 as it is, which is another test's."""
    rng, n = np.random.default_rng(seed), 25
    t, V = rng.uniform(-scale, scale, n), 10.0 ** rng.uniform(-6, 6, n)
    X = np.sqrt(V) * 10.0 ** rng.uniform(-4, 1.6, n)
    a, needed, t, root, X = expanded(t, V, sign_units(message * rng.uniform(-1, 1, n)), largest_m, X)
    with mp.workdps(250):  # Φ(30) is 1 but for 1e-198
        for j in np.flatnonzero(needed <= ORDERS):
            s = X[j] / root[j] * float(f32(largest_m)) * rng.choice([-1.0, -0.5, 0.5, 1.0])
            assert abs(t[j] * s) < 1.001 * LARGEST_SHIFT
            p = np.arange(needed[j] + 1)
            sum_ = np.sum(a[p, j] * (-s) ** p)
            assert abs(sum_ - shifted(t[j], a[0, j], s)) <= NEGLECTED * np.sqrt(t[j] ** 2 + 1)


def relu_slope(t, b, a):
    """√V g of a ReLU unit at t, by 50 digits: ∂_t log of the weights of spike and slab."""
    s2 = 1 / (1 + a)
    mu = (t + b) * s2
    E = s2 * (b * (b + 2 * t) - a * t * t) / 2
    slab = mp.exp(E) * mp.ncdf(mu / mp.sqrt(s2)) * mp.sqrt(s2)
    return ((b - a * t) * s2 * slab - a * s2 * mp.npdf(t)) / (mp.ncdf(-t) + slab)


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([0.1, 1.0, 5.0]),
    largest_m=st.sampled_from([1.0, 0.3, 1e-3]),
    field=st.sampled_from([1e-4, 1.0, 10.0]),
    precision=st.sampled_from([0.0, 1e-3, 1.0, 100.0]),
)
def test_what_is_left_out_of_relu_units_is_below_the_resolution(seed, scale, largest_m, field, precision):
    """For every own term that may occur, with the coefficient a_0 as it is."""
    rng, n = np.random.default_rng(seed), 25
    t, V = rng.uniform(-scale, scale, n), 10.0 ** rng.uniform(-6, 6, n)
    X = np.sqrt(V) * 10.0 ** rng.uniform(-4, 1.6, n)
    units = relu_units(field * rng.uniform(-1, 1, n), precision * rng.uniform(0, 1, n), V)
    a, needed, t, root, X = expanded(t, V, units, largest_m, X)
    for j in np.flatnonzero(needed <= ORDERS):
        s = X[j] / root[j] * float(f32(largest_m)) * rng.choice([-1.0, -0.5, 0.5, 1.0])
        p = np.arange(needed[j] + 1)
        sum_ = np.sum(a[p, j] * (-s) ** p)
        b, rate = mpf(float(units.B[0, j])) * mpf(root[j]), mpf(float(units.A[0, j])) * mpf(root[j]) ** 2
        exact, start = relu_slope(mpf(t[j]) - mpf(s), b, rate), relu_slope(mpf(t[j]), b, rate)
        rounded = abs(a[0, j] - start) + RELU_START * (1 + abs(t[j])) * float(b**2 + rate + 1) / float(1 + rate)
        assert abs(sum_ - exact) <= NEGLECTED * np.sqrt(t[j] ** 2 + 1) + rounded * np.exp(LARGEST_SHIFT)


@pytest.mark.parametrize("sign", [True, False])
def test_orders_of_all_sizes_occur(sign):
    """Small own terms need few, and none is enough for large ones."""
    t, V = np.linspace(-3, 3, 200), np.ones(200)
    units = sign_units(np.ones(200)) if sign else relu_units(np.ones(200), np.ones(200), V)
    orders = [expanded(t, V, units, 1.0, np.full(200, X))[1] for X in (1e-8, 1e-2, 0.1, 0.3, 20.0)]
    largest = [order.max() for order in orders]
    assert largest[0] == 0 < largest[1] < largest[2] < largest[3]
    assert largest[3] <= ORDERS < orders[4].min()


def layer_of(rng, outputs, inputs, samples):
    """A layer of sign units between two others, its arrays to be filled."""
    network = lower(perceptron([3, inputs, outputs, 1]), "bpi")
    layer = initial_layers(network, eps_init=1.0, rng=rng)[1]
    layer.H_in, layer.scratch = (np.zeros((outputs, inputs), f32) for _ in range(2))
    return layer


@settings(max_examples=50)
@given(
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([0.0, 1.0, 6.0, 100.0]),
    exponent=st.floats(-8, 8),
    own=st.sampled_from([1e-3, 0.1, 1.0, 40.0]),
    message=st.sampled_from([0.0, 1e-3, 3.0, 1e3, 1e30]),
    polarised=st.booleans(),
)
def test_sums_are_those_over_the_edges(seed, scale, exponent, own, message, polarised):
    """omega/√V and messages up to hundreds, observed outputs, own terms from nothing to many deviations, m = ±1."""
    rng = np.random.default_rng(seed)
    outputs, inputs, samples = 4, 9, 11
    layer = layer_of(rng, outputs, inputs, samples)
    V = (10.0**exponent * rng.uniform(0.5, 2, (outputs, samples))).astype(f32)
    layer.V, layer.omega = V, (scale * rng.standard_normal(V.shape) * np.sqrt(V)).astype(f32)
    m = rng.choice([-1.0, 1.0], (outputs, inputs)) if polarised else rng.uniform(-1, 1, (outputs, inputs))
    layer.mean = m.astype(f32)
    layer.x_mean = (own * 10.0 ** (exponent / 2) * rng.standard_normal((inputs, samples))).astype(f32)
    fields = (message * rng.uniform(-1, 1, V.shape)).astype(f32)
    B = edge_messages(layer, SignUnits(fields), CpuOperations(), 1)

    m, x, V, omega = (values.astype(float) for values in (layer.mean, layer.x_mean, layer.V, layer.omega))
    terms = m[:, :, None] * x  # k, i, n
    edges = {"omega": omega[:, None] - terms, "V": V[:, None] + 0 * terms}
    g, _ = SIGN.derivatives(B=fields.astype(float)[:, None] + 0 * terms, A=0.0, **edges)
    y = np.abs(np.stack([edges["omega"], omega[:, None] + 0 * terms])).max(axis=0) / np.sqrt(edges["V"])
    # In the series an error of a_0 grows by e^{|t| s}; at edges t is rounded as it is in any unit.
    error = ROUNDING * np.exp(LARGEST_SHIFT) * (1 + y) * (1 + np.minimum(y, 20)) * np.abs(g)
    error += (ROUNDING + NEGLECTED) * (1 + y) / np.sqrt(edges["V"])
    for found, exact, bound in (
        (layer.H_in, (x * g).sum(axis=2), (np.abs(x) * error).sum(axis=2)),
        (B, (m[:, :, None] * g).sum(axis=0), (np.abs(m[:, :, None]) * error).sum(axis=0)),
    ):
        assert np.all(np.isfinite(found))
        assert np.all(np.abs(found - exact) <= bound)
        if message and scale <= 6.0 and own <= 1.0:
            assert np.abs(exact).max() > 0  # and the bound says something:
            assert message < 1 or np.median(bound / np.maximum(np.abs(exact), np.abs(exact).mean())) < 0.05


@settings(max_examples=50)
@given(
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([0.0, 1.0, 6.0]),
    exponent=st.floats(-6, 6),
    own=st.sampled_from([1e-3, 0.1, 1.0, 10.0]),
    field=st.sampled_from([0.0, 1e-3, 1.0, 30.0]),
    precision=st.sampled_from([0.0, 1e-3, 1.0, 100.0]),
)
def test_sums_of_relu_units_are_those_over_the_edges(seed, scale, exponent, own, field, precision):
    """omega/√V of several, messages from none to nearly all that is known, own terms of many deviations."""
    rng = np.random.default_rng(seed)
    outputs, inputs, samples = 4, 9, 11
    layer = layer_of(rng, outputs, inputs, samples)
    V = (10.0**exponent * rng.uniform(0.5, 2, (outputs, samples))).astype(f32)
    layer.V, layer.omega = V, (scale * rng.standard_normal(V.shape) * np.sqrt(V)).astype(f32)
    layer.mean = rng.standard_normal((outputs, inputs)).astype(f32)
    layer.x_mean = (own * 10.0 ** (exponent / 2) * rng.standard_normal((inputs, samples))).astype(f32)
    c, deviation = f32(0.5), 10.0 ** (exponent / 2)
    units = ReluUnits(
        (field * rng.uniform(-1, 1, V.shape) / deviation).astype(f32),
        (precision * rng.uniform(0, 1, V.shape) / deviation**2).astype(f32),
        float(c),
    )
    B_in = edge_messages(layer, units, CpuOperations(), 1)

    m, x, V, omega = (values.astype(float) for values in (layer.mean, layer.x_mean, layer.V, layer.omega))
    terms = m[:, :, None] * x  # k, i, n
    B, A = (values.astype(float)[:, None] + 0 * terms for values in (units.B, units.A))
    edges = c * (omega[:, None] - terms), c * c * (V[:, None] + 0 * terms)
    g = c * ReLU().derivatives(B=B, A=A, omega=edges[0], V=edges[1])[0]
    # g is a difference of terms of the size B and A x̂; in the series an error of a_0 grows by e^LARGEST_SHIFT.
    sd = c * np.sqrt(V[:, None])
    y = np.abs(np.stack([edges[0], c * omega[:, None] + 0 * terms])).max(axis=0) / sd
    b, a = np.abs(B) * sd, A * sd**2
    error = ROUNDING * np.exp(LARGEST_SHIFT) * (1 + y) * (1 + np.minimum(y, 20)) * (b + a * (y + 1)) / (1 + a)
    error = (error * (1 + b) + NEGLECTED * (1 + y)) / np.sqrt(V[:, None])
    for found, exact, bound in (
        (layer.H_in, (x * g).sum(axis=2), (np.abs(x) * error).sum(axis=2)),
        (B_in, (m[:, :, None] * g).sum(axis=0), (np.abs(m[:, :, None]) * error).sum(axis=0)),
    ):
        assert np.all(np.isfinite(found))
        assert np.all(np.abs(found - exact) <= bound)
        if field + precision >= 1.0 and scale <= 1.0 and own <= 1.0:
            assert np.median(bound / np.maximum(np.abs(exact), np.abs(exact).mean())) < 0.05
