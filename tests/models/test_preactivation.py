"""Statistics of wide networks against closed forms, exact integrals and sampled networks of finite width."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf, expit, ndtr
from tolerances import ERRORS, FOUR_AVERAGE, PAIR_AVERAGE

from models.preactivation import (
    ERF,
    LINEAR,
    RELU,
    SIGN,
    TANH,
    Activation,
    Couplings,
    LayerStatistics,
    critical,
    first_layer,
    next_layer,
    propagate,
    susceptibilities,
)

#: Averages by 60 nodes an axis, and their central differences.
RECURSION = 1e-5

CLOSED = [LINEAR, RELU, SIGN, ERF]


def by_quadrature(activation: Activation) -> Activation:
    """The same function without its closed forms."""
    return Activation(activation.function, kinks=activation.kinks)


def covariance_of(first: float, second: float, correlation: float) -> np.ndarray:
    cross = correlation * (first * second) ** 0.5
    return np.array([[first, cross], [cross, second]])


# --- averages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", CLOSED, ids=repr)
@settings(max_examples=8, deadline=None)
@given(st.floats(0.05, 30.0), st.floats(0.05, 30.0), st.floats(-0.99, 0.99))
def test_closed_forms_are_the_integrals(activation, first, second, correlation):
    G, numeric = covariance_of(first, second, correlation), by_quadrature(activation)
    one = G[:1, :1]
    for powers in ((2,), (4,)):
        assert activation.moment(powers, one) == pytest.approx(numeric.moment(powers, one), rel=PAIR_AVERAGE)
    assert activation.slope(one) == pytest.approx(numeric.slope(one), rel=PAIR_AVERAGE, abs=PAIR_AVERAGE)
    assert activation.square_slope(first) == pytest.approx(numeric.square_slope(first), rel=PAIR_AVERAGE)
    for powers in ((1, 1), (2, 2), (3, 1), (1, 3)):
        scale = (activation.second(one) ** powers[0] * activation.second(G[1:, 1:]) ** powers[1]) ** 0.5
        assert activation.moment(powers, G) == pytest.approx(numeric.moment(powers, G), abs=PAIR_AVERAGE * scale)
    slope = activation.slope(G)
    assert slope == pytest.approx(numeric.slope(G), abs=PAIR_AVERAGE * max(1.0, np.abs(slope).max()))


def test_four_spins_and_four_error_functions_by_their_order():
    # z_i - z_0 for independent z: their signs tell the rank of z_0, and the mean of (-1)^rank over 0..4 is 1/5.
    G = 0.5 * (np.eye(4) + 1.0)
    assert SIGN.moment((1, 1, 1, 1), G) == pytest.approx(0.2, abs=FOUR_AVERAGE)
    assert ERF.moment((4,), np.array([[0.5]])) == pytest.approx(0.2, abs=PAIR_AVERAGE)
    x = np.random.default_rng(3).normal(size=(4, 9))
    noisy = x @ x.T / 9 + 0.5 * np.eye(4)  # erf(z) is the mean sign of z plus noise of variance ½
    assert ERF.moment((1, 1, 1, 1), x @ x.T / 9) == pytest.approx(SIGN.moment((1, 1, 1, 1), noisy), abs=FOUR_AVERAGE)


def test_four_different_inputs_by_wick():
    x = np.random.default_rng(3).normal(size=(4, 9))
    G = x @ x.T / 9
    exact = G[0, 1] * G[2, 3] + G[0, 2] * G[1, 3] + G[0, 3] * G[1, 2]
    scale = np.sqrt(np.prod(np.diag(G)))
    assert by_quadrature(LINEAR).moment((1, 1, 1, 1), G) == pytest.approx(exact, abs=FOUR_AVERAGE * scale)
    exact = G[0, 0] * G[1, 2] + 2.0 * G[0, 1] * G[0, 2]
    assert by_quadrature(LINEAR).moment((2, 1, 1), G[:3, :3]) == pytest.approx(exact, abs=FOUR_AVERAGE * scale)


@pytest.mark.parametrize("activation", [RELU, TANH, SIGN], ids=repr)
def test_slopes_and_fourth_order_are_derivatives(activation):
    """Of <f> under the law with another covariance, or with a fourth cumulant: a mixture of two Gaussians has one."""
    G, step = covariance_of(1.3, 0.8, 0.4), 1e-3
    for d, direction in ((0, [[1, 0], [0, 0]]), (1, [[0, 1], [1, 0]]), (2, [[0, 0], [0, 1]])):
        change = step * np.array(direction)
        expected = (activation.second(G + change) - activation.second(G - change)) / (2.0 * step)
        assert np.sum(activation.slope(G) * direction) == pytest.approx(expected, rel=1e-5, abs=1e-6), d
    # N(0, (1 ± e) G) in equal parts: the covariance stays, the cumulant is e² (G_ab G_cd + 2 permutations).
    pairs = np.multiply.outer(G, G)
    cumulant = pairs + pairs.transpose(0, 2, 1, 3) + pairs.transpose(0, 3, 2, 1)
    for matrix in (G, G[:1, :1]):
        size = len(matrix)
        e = 0.02
        mixed = 0.5 * (activation.second((1 + e) * matrix) + activation.second((1 - e) * matrix))
        change = activation.fourth_order(matrix, cumulant[:size, :size, :size, :size]) * e**2
        assert mixed - activation.second(matrix) == pytest.approx(change, rel=2e-3, abs=1e-9)


# --- layers -----------------------------------------------------------------------------------------------------------


def sampled_metrics(activation, C_W, C_b, width, depth, networks, rng, x):
    """Ĝ, the covariance of the units of the last layer of each network given the layers below: (networks, D, D)."""
    metric = np.broadcast_to(C_b + C_W * x @ x.T / x.shape[1], (networks, len(x), len(x)))
    for _ in range(depth):
        z = np.linalg.cholesky(metric) @ rng.standard_normal((networks, len(x), width))
        units = activation(z)
        metric = C_b + C_W * units @ units.transpose(0, 2, 1) / width
    return metric


@pytest.mark.parametrize("activation, factor", [(LINEAR, 2.0), (RELU, 5.0)], ids=repr)
def test_units_without_a_scale_have_a_known_kurtosis_at_every_width(activation, factor):
    """E[Ĝ²] is multiplied by 1 + factor/n in every layer, and G stays."""
    depth, C_W = 6, critical(activation).weight_variance
    x = np.random.default_rng(0).normal(size=(1, 30))
    layers = propagate(x, [10_000] * depth, activation, weight_variance=C_W)
    for number, layer in enumerate(layers):
        exact = 3.0 * ((1.0 + factor / 10_000) ** number - 1.0)
        assert layer.excess_kurtosis[0] == pytest.approx(exact, rel=2e-3)
        assert layer.covariance[0, 0] == pytest.approx(C_W * np.mean(x**2), rel=PAIR_AVERAGE)
    metric = sampled_metrics(activation, C_W, 0.0, 50, 3, 20_000, np.random.default_rng(1), x)[:, 0, 0]
    square = metric**2 / layers[0].limit_covariance[0, 0] ** 2
    error = square.std() / square.size**0.5
    assert abs(square.mean() - (1.0 + factor / 50) ** 3) < ERRORS * error
    assert error < 0.1 * factor / 50 * 3, "too few networks to see the non-Gaussianity"


def average(function, G):
    """Of a function of z (2, n), by the trapezoidal rule, which errs by e^{-2π a/h} for functions analytic up to Im a.

    The nearest poles here are those of tanh, at a = π/2 over a deviation of at most √2.
    """
    node = np.linspace(-8.5, 8.5, 81)
    weight = np.exp(-0.5 * node**2) * (node[1] - node[0])
    u = np.stack(np.meshgrid(node, node)).reshape(2, -1)
    weight = np.multiply.outer(weight, weight).ravel() / (2 * np.pi)
    return function(np.linalg.cholesky(G) @ u) @ weight


def second_moments(activation, G):
    def products(z):
        return np.einsum("an,bn->abn", activation(z), activation(z))

    return average(products, G)


@settings(max_examples=25, deadline=None)
@given(
    activation=st.sampled_from([TANH, ERF, LINEAR]),
    first=st.floats(0.1, 2.0),
    second=st.floats(0.1, 2.0),
    correlation=st.floats(-0.9, 0.9),
    width=st.integers(1, 50),
    inputs=st.integers(1, 50),
    C_W=st.floats(0.2, 3.0),
    seed=st.integers(0, 10**6),
)
def test_the_vertex_recursion_is_the_law_of_total_covariance(
    activation, first, second, correlation, width, inputs, C_W, seed
):
    """The metric C_W Σ σσ/width of the next layer fluctuates as σσ does, and with the metric below.

    Its derivative in the latter by differences of plain averages, not by the tensors that the recursion is made of.
    """
    G, step = covariance_of(first, second, correlation), 1e-4
    roots = np.random.default_rng(seed).normal(size=(3, 2, 2))
    roots = roots + roots.transpose(0, 2, 1)
    vertex = np.einsum("kab,kcd->abcd", roots, roots)
    below = LayerStatistics(inputs, G, np.zeros((2, 2)), vertex, np.zeros((2,) * 4))
    found = next_layer(below, activation, width, weight_variance=C_W)

    def quadruples(z):
        s = activation(z)
        return np.einsum("an,bn,cn,dn->abcdn", s, s, s, s)

    metric = second_moments(activation, G)
    own = average(quadruples, G) - np.multiply.outer(metric, metric)
    carried = np.zeros((3, 2, 2))
    for k, root in enumerate(roots):  # along each direction in which the metric below fluctuates
        size = step / np.abs(root).max() * min(first, second) * (1 - abs(correlation))
        up, down = (second_moments(activation, G + sign * size * root) for sign in (1, -1))
        carried[k] = (up - down) / (2 * size)
    expected = C_W**2 * (own + width / inputs * np.einsum("kab,kcd->abcd", carried, carried))
    assert found.inputs == width
    np.testing.assert_allclose(found.limit_covariance, C_W * metric, atol=PAIR_AVERAGE * C_W)
    np.testing.assert_allclose(found.vertex, expected, atol=RECURSION * max(1.0, np.abs(expected).max()))


UNITS = [(0, 0, 0, 0), (0, 0, 1, 1), (0, 1, 0, 1), (0, 1, 1, 0), (0, 0, 0, 1), (0, 1, 2, 3), (2, 2, 2, 2)]


@pytest.mark.parametrize("units", UNITS, ids=str)
def test_four_units_of_spin_weights_by_enumeration(units):
    x = np.array([[1.5, 0.5, -1.0], [0.5, 1.0, 1.0]])
    layer = first_layer(x, weight_variance=3.0, weight_kurtosis=-2.0)
    z = np.array(list(itertools.product([-1.0, 1.0], repeat=3))) @ x.T  # a unit for all of its weights
    number = {unit: place for place, unit in enumerate(dict.fromkeys(units))}
    states = np.array(list(itertools.product(range(len(z)), repeat=len(number))))
    columns = [z[states[:, number[unit]]] for unit in units]
    exact = np.einsum("na,nb,nc,nd->abcd", *columns) / len(states)
    np.testing.assert_allclose(layer.four_point(units), exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("units", UNITS, ids=str)
def test_four_units_above_linear_ones(units):
    """Given the layer below, units are Gaussian with a covariance of Wishart's law: exact at every width."""
    x, width = np.array([[1.5, 0.5, -1.0], [0.5, 1.0, 1.0]]), 5
    K = x @ x.T / 3
    two = np.multiply.outer(K, K) + (np.einsum("ac,bd->abcd", K, K) + np.einsum("ad,bc->abcd", K, K)) / width
    i, j, k, m = units
    exact = (i == j and k == m) * two
    exact = (
        exact + (i == k and j == m) * np.einsum("acbd->abcd", two) + (i == m and j == k) * np.einsum("adcb->abcd", two)
    )
    np.testing.assert_allclose(propagate(x, [width], LINEAR)[-1].four_point(units), exact, rtol=1e-12)


@pytest.mark.parametrize("units", [(0, 1, 2), (0, 1, 2, -1), (0, 1, 2, 0.5), "0000", None])
def test_wrong_units(units):
    with pytest.raises(ValueError, match="`units` must be"):
        first_layer([1.0, 2.0]).four_point(units)


def test_sampled_networks_approach_the_theory():
    """Two inputs, tanh: vertex and shift times n, extrapolated from widths 20 and 40, against theory."""
    x, depth, blocks = np.array([[1.5, 0.5, -1.0], [0.5, 1.0, 1.0]]), 3, 40
    theory = propagate(x, [100] * depth, TANH, weight_variance=2.0)[-1]
    rng, found = np.random.default_rng(5), {}
    for width in (20, 40):
        vertex, shift = [], []
        for _ in range(blocks):
            metric = sampled_metrics(TANH, 2.0, 0.0, width, depth, 3000, rng, x)
            mean = metric.mean(axis=0)
            deviation = metric - mean
            vertex.append(width * np.einsum("nab,ncd->abcd", deviation, deviation) / (len(metric) - 1))
            shift.append(width * (mean - theory.limit_covariance))
        found[width] = np.array(vertex), np.array(shift)
    for quantity, exact in ((0, theory.vertex), (1, theory.shift * 100)):
        extrapolated = 2.0 * found[40][quantity] - found[20][quantity]
        mean, error = extrapolated.mean(axis=0), extrapolated.std(axis=0, ddof=1) / blocks**0.5
        assert np.all(np.abs(mean - exact) < ERRORS * error)
        assert error.flat[0] < 0.2 * np.abs(exact).max(), "too few networks to see a deviation"


def test_networks_of_random_spins():
    """±1 weights: -2/n from the weights alone with sign units, and real sampled matrices for an activation like it."""
    x = np.sign(np.random.default_rng(0).normal(size=40))
    layers = propagate(x, [50, 20], SIGN, weight_kurtosis=-2.0)
    assert [layer.excess_kurtosis[0] for layer in layers] == pytest.approx([-2 / 40, -2 / 50, -2 / 20])
    rng, width, blocks = np.random.default_rng(2), 24, 40
    theory = propagate(x, [width] * 2, ERF, weight_variance=4.0, weight_kurtosis=-2.0)[-1]
    moments = []
    for _ in range(blocks):
        z = rng.choice([-1.0, 1.0], size=(1000, width, 40)) @ x * (4.0 / 40) ** 0.5
        for _ in range(2):
            weights = rng.choice([-1.0, 1.0], size=(1000, width, width))
            z = np.einsum("nki,ni->nk", weights, erf(z)) * (4.0 / width) ** 0.5
        moments.append([np.mean(z**2), np.mean(z**4)])
    second, fourth = np.array(moments).T
    second_order = (2 / width) ** 2
    error = second.std(ddof=1) / blocks**0.5
    assert abs(second.mean() / theory.covariance[0, 0] - 1.0) < ERRORS * error / second.mean() + second_order
    kurtosis = fourth / second.mean() ** 2 - 3.0
    error = kurtosis.std(ddof=1) / blocks**0.5
    assert abs(kurtosis.mean() - theory.excess_kurtosis[0]) < ERRORS * error + 3.0 * second_order
    assert theory.excess_kurtosis[0] < -3.0 * second_order - 5.0 * error, "too small to be seen"


def test_inputs_that_carry_nothing_of_their_own_are_refused():
    with pytest.raises(ValueError, match=r"no multiples of one another.*inputs 0 and 1"):
        propagate(np.array([[1.0, 2.0], [2.0, 4.0]]), [10], RELU)
    with pytest.raises(ValueError, match="variance > 0"):
        propagate(np.zeros(3), [10], RELU)
    with pytest.raises(ValueError, match=r"`weight_variance` must be one number or of shape \(3,\)"):
        propagate(np.ones(3), [10, 10], RELU, weight_variance=[1.0, 2.0])
    with pytest.raises(ValueError, match="`activation` must be one or 2"):
        propagate(np.ones(3), [10, 10], [RELU])
    with pytest.raises(ValueError, match="`bias_variance` must be a finite number >= 0, got -1"):
        first_layer(np.ones(3), bias_variance=-1.0)
    with pytest.raises(ValueError, match="`width` must be an integer >= 1"):
        next_layer(first_layer(np.ones(3)), RELU, 0)
    with pytest.raises(ValueError, match="`x` must be a matrix"):
        first_layer(np.ones((2, 2, 2)))


# --- running couplings ------------------------------------------------------------------------------------------------


def radial(g, v, neurons, power):
    """∫ r^(n-1+power) e^{-g r²/2 + v r⁴/8} dr, for v < 0, where the action is a probability."""
    r, weight = np.polynomial.legendre.leggauss(400)
    r, weight = 8.0 * (r + 1.0), 8.0 * weight
    return float(weight @ (r ** (neurons - 1 + power) * np.exp(-0.5 * g * r * r + v * r**4 / 8.0)))


def test_quartic_action_by_radial_integrals():
    """The covariance of n neurons, and g of m of them, both exact, against the couplings: errors of second order."""
    errors = []
    for v in (-0.02, -0.01):
        couplings = Couplings(np.array([[1.2]]), np.full((1, 1, 1, 1), v), 5)
        exact = radial(1.2, v, 5, 2) / radial(1.2, v, 5, 0) / 5
        # p_m(z) is a function of s = z²: g_m = -2 d log p_m/ds at 0 = g - v/2 <R²> of the neurons integrated out.
        integrated = 1.2 - 0.5 * v * radial(1.2, v, 3, 2) / radial(1.2, v, 3, 0)
        errors.append([couplings.covariance()[0, 0] - exact, couplings.marginal(2).g[0, 0] - integrated])
    assert np.array(errors[0]) / errors[1] == pytest.approx(4.0, abs=0.5)
    assert np.abs(errors[1]).max() < 2e-3


def test_samples_integrated_out_by_a_double_integral():
    """One neuron on two inputs, v < 0: <z_a²> of the quartic action by quadrature, to second order in v."""
    rng = np.random.default_rng(0)
    symmetric = rng.normal(size=(3, 2, 2))
    symmetric = symmetric + symmetric.transpose(0, 2, 1)
    shape = np.einsum("kab,kcd->abcd", symmetric, symmetric)  # negative of it confines
    g = np.array([[1.5, 0.4], [0.4, 1.1]])
    axis, weight = np.polynomial.legendre.leggauss(160)
    z = np.stack(np.meshgrid(9 * axis, 9 * axis)).reshape(2, -1)
    weight = np.multiply.outer(weight, weight).ravel()
    quadratic = np.einsum("ab,ak,bk->k", g, z, z)
    quartic = np.einsum("abcd,ak,bk,ck,dk->k", shape, z, z, z, z)
    errors = []
    for strength in (-2e-3, -1e-3):
        density = weight * np.exp(-0.5 * quadratic + strength / 8.0 * quartic)
        exact = (density * z) @ z.T / density.sum()
        errors.append(np.abs(Couplings(g, strength * shape, 1).covariance() - exact).max())
    assert errors[0] / errors[1] == pytest.approx(4.0, abs=0.5)


def test_covariance_is_invariant_under_partial_marginalisation():
    """Of neurons and of samples: what is left is of second order in 1/width, a factor of 4 when the width doubles."""
    x, errors = np.random.default_rng(1).normal(size=(3, 10)), []
    for width in (4000, 8000):
        layer = propagate(x, [width] * 2, RELU, weight_variance=2.0)[-1]
        whole, part = layer.couplings(neurons=12), layer.couplings(neurons=2, samples=[0, 2])
        rest = np.ix_([0, 2], [0, 2])
        errors.append(
            [
                *(whole.marginal(m).covariance() - layer.covariance for m in (1, 4, 12)),
                *(whole.marginal(m).g - layer.couplings(neurons=m).g for m in (1, 4)),
                np.pad(part.covariance() - layer.covariance[rest], (0, 1)),
            ]
        )
        assert np.abs(part.g - layer.couplings(neurons=2).g[rest]).max() > 0.01, "the third input matters"
    sizes = np.abs(np.array(errors)).max(axis=(2, 3))
    assert sizes[0] / sizes[1] == pytest.approx(4.0, abs=0.3)


def test_couplings_of_one_input():
    one = propagate(np.ones(4), [400] * 3, RELU, weight_variance=2.0)[-1]
    G, V, n = one.covariance[0, 0], one.vertex[0, 0, 0, 0], one.inputs
    found = one.couplings(neurons=3)
    assert 1.0 / found.g[0, 0] == pytest.approx(G - 5 * V / (2 * n * G))
    assert found.v[0, 0, 0, 0] == pytest.approx(V / (n * G**4))


def test_couplings_refuse_what_they_cannot_be():
    layer = propagate(np.ones(3), [30], RELU)[-1]
    with pytest.raises(ValueError, match=r"`neurons` must be an integer >= 1"):
        layer.couplings(neurons=0)
    with pytest.raises(ValueError, match=r"`samples` must be an integer >= 0 and <= 0"):
        layer.couplings(samples=[1])
    with pytest.raises(ValueError, match=r"`neurons` must be an integer >= 1 and <= 2, got 3"):
        layer.couplings(neurons=2).marginal(3)
    with pytest.raises(ValueError, match=r"`neurons` must be few .* got 30"):
        layer.couplings(neurons=30)
    with pytest.raises(ValueError, match="`neurons` must be 1 where weights are not Gaussian"):
        propagate(np.ones(3), [10], RELU, weight_kurtosis=-2.0)[-1].couplings(neurons=2)


# --- criticality ------------------------------------------------------------------------------------------------------


def test_critical_initialisations():
    assert critical(RELU).weight_variance == 2.0 and critical(RELU).bias_variance == 0.0
    assert critical(LINEAR).weight_variance == 1.0
    leaky = critical(Activation(lambda z: np.where(z > 0, z, 0.1 * z), kinks=[0.0]))
    assert leaky.weight_variance == pytest.approx(2.0 / 1.01) and leaky.fixed_point is None
    assert critical(ERF).weight_variance == pytest.approx(np.pi / 4.0) and critical(ERF).fixed_point == 0.0
    assert critical(Activation(erf)).weight_variance == pytest.approx(np.pi / 4.0)
    assert critical(TANH).weight_variance == pytest.approx(1.0) and critical(TANH).fixed_point == 0.0
    assert critical(Activation(lambda z: np.clip(z, -1, 1), kinks=[-1, 1])).weight_variance == pytest.approx(1.0)


@pytest.mark.parametrize("gate, published", [(expit, (1.988, 0.555)), (ndtr, (1.983, 0.173))], ids=["swish", "gelu"])
def test_critical_point_at_a_finite_kernel(gate, published):
    """z gate(z): published values, and the variance stays where it is and moves slowly about it."""
    activation = Activation(lambda z: z * gate(z))
    found = critical(activation)
    assert (found.weight_variance, found.bias_variance) == pytest.approx(published, abs=1e-3)
    assert found.fixed_point is not None
    step = found.bias_variance + found.weight_variance * activation.second(np.array([[found.fixed_point]]))
    assert step == pytest.approx(found.fixed_point)
    assert susceptibilities(activation, found.fixed_point, found.weight_variance) == pytest.approx((1.0, 1.0))


def test_no_criticality():
    for activation in (Activation(expit, name="logistic"), Activation(lambda z: np.logaddexp(0, z), name="softplus")):
        with pytest.raises(ValueError, match=f"{activation} has none between"):
            critical(activation)
    for activation in (SIGN, Activation(np.sign, kinks=[0.0])):
        with pytest.raises(ValueError, match="must be continuous"):
            critical(activation)
    with pytest.raises(ValueError, match="`variance` must be a finite number > 0"):
        susceptibilities(RELU, 0.0, 1.0)


@pytest.mark.parametrize("activation", [RELU, TANH, ERF], ids=repr)
def test_depth_neither_explodes_nor_kills_only_at_criticality(activation):
    found = critical(activation)
    covariances = []
    for factor in (0.8, 1.0, 1.25):
        settings = {"weight_variance": factor * found.weight_variance, "bias_variance": found.bias_variance}
        layer = first_layer(np.ones(3), **settings)
        start = layer.limit_covariance[0, 0]
        for _ in range(40):
            layer = next_layer(layer, activation, 10**6, **settings)
        covariances.append(layer.limit_covariance[0, 0] / start)
    assert covariances[0] < 1e-3
    if activation is RELU:
        assert covariances[1] == pytest.approx(1.0) and covariances[2] > 1000
    else:  # K decays as 1/depth at criticality, and goes to a finite value above it
        assert 0.005 < covariances[1] < 0.05 and covariances[2] > 5.0 * covariances[1]
