"""Functions of one's own against quadrature that knows where their kinks, jumps and peaks are."""

import numpy as np
import pytest
import tolerances as tol
from hypothesis import given, settings
from hypothesis import strategies as st
from members import LOOPY

from factorgraph import Function, Graph, Linear, ModelError, check_factor, infer
from factorgraph.engine.unroll import unroll
from factorgraph.interface.errors import ContradictionError, IndefiniteError
from factorgraph.messages.natural import Incoming
from factorgraph.numerics.integration import EXTRAPOLATION, GAUSS, KRONROD, NODES

GRADED = np.concatenate([[0.0], 2.0 ** np.arange(-45.0, 1.0)])
X, W = np.polynomial.legendre.leggauss(20)


def reference(log_density, breaks):
    """log of the integral, mean and variance; panels become ever smaller towards the places named."""
    breaks = np.unique(breaks)
    gaps = np.diff(breaks)[:, None]
    edges = np.concatenate(
        [breaks[:-1, None] + 0.5 * gaps * GRADED, breaks[1:, None] - 0.5 * gaps * GRADED[-2::-1]], axis=1
    )
    centre, half = 0.5 * (edges[:, 1:] + edges[:, :-1]), 0.5 * np.diff(edges, axis=1)
    x, w = centre[..., None] + half[..., None] * X, half[..., None] * W
    log_w = log_density(x)
    top = log_w.max()
    w = w * np.exp(log_w - top)
    mean = (w * x).sum() / w.sum()
    return top + np.log(w.sum()), mean, (w * (x - mean) ** 2).sum() / w.sum()


def needle(x, centre, variance):
    return -((x - centre) ** 2) / (2 * variance)


def peaks(first, gap, exponent, ratio):
    """Two peaks, neither of which is hidden under the flank of the other."""
    places, variances = (first, first + gap), (10.0**exponent, 10.0 ** (exponent + ratio))

    def function(x):
        return np.logaddexp(needle(x, places[0], variances[0]), needle(x, places[1], variances[1]))

    return function, places


places, sizes = st.floats(-6, 6), st.floats(-6, -1).map(lambda exponent: 10.0**exponent)
#: A function, and where it is not smooth or narrow.
functions = st.one_of(
    st.tuples(st.floats(-2, 2), st.floats(-2, 0.5)).map(lambda p: (lambda x: -np.abs(x - p[0]) / 10 ** p[1], p[:1])),
    st.tuples(places, st.sampled_from([-1, 1])).map(
        lambda p: (lambda x: np.where(p[1] * (x - p[0]) > 0, 0.0, -np.inf), p[:1])
    ),
    st.tuples(places, st.floats(-20, 20)).map(lambda p: (lambda x: np.where(x > p[0], p[1], 0.0), p[:1])),
    st.tuples(places, sizes).map(lambda p: (lambda x: needle(x, *p), p[:1])),
    st.builds(peaks, st.floats(-5, 2), st.floats(1, 3), st.floats(-6, -1), st.floats(-1, 1)),
    st.tuples(places, st.floats(-2, 1)).map(lambda p: (lambda x: -(10 ** p[1]) * (x - p[0]) ** 4, p[:1])),
    st.tuples(places, st.floats(0.01, 1)).map(lambda p: (lambda x: -np.log1p(((x - p[0]) / p[1]) ** 2), p[:1])),
    st.tuples(places, st.floats(-10, 10)).map(lambda p: (lambda x: -np.logaddexp(0.0, -p[1] * (x - p[0])), p[:1])),
)
laws = st.tuples(st.floats(-2, 2), st.floats(0.5, 4))


def known(graph, name, law, how):
    """A real variable whose place is told by a prior, by a measurement, or by both."""
    mean, variance = law
    share = {"prior": 1.0, "measurement": 0.0, "both": 0.5}[how]
    x = graph.reals(name, (), field=share * mean / variance, precision=share / variance)
    if share < 1.0:
        graph.add(Linear(x, target=mean, noise=variance / (1.0 - share)))
    return x


def gaussian(x, law):
    return needle(x, *law) - 0.5 * np.log(2 * np.pi * law[1])


def ends(law, breaks):
    """Where to cut the line: the law's bulk and flanks, and the places named."""
    mean, deviation = law[0], np.sqrt(law[1])
    grid = mean + deviation * np.array([-30, -20, -14, -10, -6, -3, 0, 3, 6, 10, 14, 20, 30])
    return np.concatenate([grid, breaks])


def compare(result, name, truth, constant=0.0):
    log_z, mean, variance = truth
    assert float(result[name].mean - mean) == pytest.approx(0.0, abs=tol.FUNCTION * np.sqrt(variance))
    assert float(result[name].variance) == pytest.approx(variance, rel=tol.FUNCTION)
    assert result.log_partition + constant == pytest.approx(log_z, abs=tol.FUNCTION * max(1.0, abs(log_z)))


@settings(max_examples=120)
@given(functions, laws, st.sampled_from(["prior", "measurement", "both"]), st.sampled_from(["auto", "flooding"]))
def test_a_function_of_one_variable_is_exact_and_says_so(drawn, law, how, schedule):
    function, breaks = drawn
    graph = Graph()
    graph.add(Function(function, known(graph, "x", law, how)))
    result = infer(graph, schedule=schedule)
    assert result.converged
    assert 0.0 <= result.integration_error <= tol.FUNCTION
    assert result.exact == (schedule == "auto")
    truth = reference(lambda x: function(x) + gaussian(x, law), ends(law, breaks))
    alone = Graph()
    known(alone, "x", law, how)  # a prior comes without the constant of its normalisation
    compare(result, "x", truth, -infer(alone).log_partition)


@settings(max_examples=40)
@given(functions, laws, st.floats(-3, 3), st.floats(-2, 2))
def test_spins_and_a_variable(drawn, law, coupling, field):
    """f(x) + J s x + x t: each state of the spins has an integral of its own."""
    function, breaks = drawn
    graph = Graph()
    x, s, t = known(graph, "x", law, "measurement"), graph.spins("s", (), field=field), graph.spins("t")
    graph.add(Function(lambda x, s, t: function(x - 0.1 * t) + coupling * s * x, x, s, t))
    result = infer(graph)
    assert result.exact
    states = [(a, b) for a in (1, -1) for b in (1, -1)]

    def part(a, b):
        cuts = ends(law, np.add(breaks, 0.1 * b))
        cuts = np.concatenate([cuts, cuts + coupling * a * law[1]])
        return reference(lambda x: function(x - 0.1 * b) + coupling * a * x + gaussian(x, law) + field * a, cuts)

    parts = [part(*state) for state in states]
    log_z = np.logaddexp.reduce([part[0] for part in parts])
    weights = np.exp([part[0] - log_z for part in parts])
    mean = weights @ [part[1] for part in parts]
    variance = weights @ [part[2] + (part[1] - mean) ** 2 for part in parts]
    compare(result, "x", (log_z, mean, variance))
    for name, values in (("s", [a for a, _ in states]), ("t", [b for _, b in states])):
        assert float(result[name].mean) == pytest.approx(weights @ values, abs=tol.FUNCTION)


def test_many_factors_at_once_are_each_as_alone():
    rng = np.random.default_rng(0)
    centre, width = rng.uniform(-5, 5, 40), 10.0 ** rng.uniform(-3, 1, 40)
    graph = Graph()
    x = graph.reals("x", 40, precision=1.0)
    graph.add(Function(lambda x, c, s: -np.abs(x - c) / s, x, parameters=[centre, width]))
    result = infer(graph)
    assert result.exact
    for i, (c, s) in enumerate(zip(centre, width, strict=True)):
        truth = reference(lambda x: -np.abs(x - c) / s - 0.5 * x * x, ends((0.0, 1.0), [c]))  # noqa: B023
        assert result["x"].mean[i] - truth[1] == pytest.approx(0.0, abs=tol.FUNCTION * np.sqrt(truth[2]))
        assert result["x"].variance[i] == pytest.approx(truth[2], rel=tol.FUNCTION)


@pytest.mark.parametrize("schedule", ["auto", *LOOPY])
def test_a_function_that_can_be_integrated_needs_nothing_else(schedule):
    graph = Graph()
    x = graph.reals("x")
    graph.add(Function(lambda x: -0.25 * (x - 1e3) ** 4, x))
    result = infer(graph, schedule=schedule)
    truth = reference(lambda x: -0.25 * x**4, np.linspace(-6, 6, 13))
    compare(result, "x", (truth[0], truth[1] + 1e3, truth[2]))


@pytest.mark.parametrize("schedule", ["auto", *LOOPY])
@pytest.mark.parametrize("damping", [0.0, 0.5])
def test_a_flat_argument_beside_one_that_is_known(schedule, damping):
    """Whatever comes first says nothing until the measurement has arrived."""
    graph = Graph()
    x, y, z = graph.reals("x"), graph.reals("y"), graph.reals("z")
    graph.add(Function(lambda x, y: -np.abs(x - y), x, y))
    graph.add(Linear(y, z, coefficients=[1, -1], noise=0.5))
    graph.add(Linear(z, target=2.0, noise=0.5))
    if damping and schedule == "auto":
        schedule = "flooding"
    result = infer(graph, schedule=schedule, damping=damping)
    assert result.converged
    assert float(result["x"].mean) == pytest.approx(2.0, abs=tol.FUNCTION)
    assert float(result["x"].variance) == pytest.approx(1.0 + 2.0, rel=tol.FUNCTION)  # that of y, and of Laplace's law
    assert float(result["y"].variance) == pytest.approx(1.0, rel=tol.FUNCTION)
    assert result.log_partition == pytest.approx(np.log(2.0), abs=tol.FUNCTION)


def difference_law(function, breaks):
    """Two variables N(0.3, 1), N(-0.2, 2) and a function of their difference: log Z, means, variances."""
    law = (0.5, 3.0)
    log_z, mean, variance = reference(lambda d: function(d) + gaussian(d, law), ends(law, breaks))
    gains = np.array([1.0, -2.0]) / 3.0
    means = np.array([0.3, -0.2]) + gains * (mean - 0.5)
    return log_z, means, np.array([1.0, 2.0]) + gains**2 * (variance - 3.0)


@pytest.mark.parametrize(
    ("function", "breaks"),
    [
        (lambda d: -np.abs(d), [0.0]),
        (lambda d: np.where(d > 1.0, 0.0, -np.inf), [1.0]),
        (lambda d: needle(d, 4.0, 1e-6), [4.0]),
        (lambda d: -(d**4), [0.0]),
        (lambda d: np.logaddexp(needle(d, 3.0, 1e-2), needle(d, -3.0, 1e-2)), [3.0, -3.0]),
    ],
    ids=["kink", "jump", "ridge", "quartic", "two ridges"],
)
@pytest.mark.parametrize("measured", [False, True])
def test_functions_of_two_variables(function, breaks, measured):
    graph = Graph()
    x = graph.reals("x", 2, field=[0.3, 0.0 if measured else -0.1], precision=[1.0, 0.0 if measured else 0.5])
    constant = 0.5 * 0.09 + 0.5 * np.log(2 * np.pi)
    if measured:
        graph.add(Linear(x[1], target=-0.2, noise=2.0))
    else:
        constant += 0.5 * 0.02 + 0.5 * np.log(4 * np.pi)
    graph.add(Function(lambda a, b: function(a - b), x[0], x[1]))
    result = infer(graph)
    log_z, means, variances = difference_law(function, breaks)
    assert result.exact
    np.testing.assert_allclose(result["x"].mean, means, atol=tol.FUNCTION, rtol=0)
    np.testing.assert_allclose(result["x"].variance, variances, rtol=tol.FUNCTION)
    assert result.log_partition - constant == pytest.approx(log_z, abs=tol.FUNCTION)


def test_a_smooth_function_of_three_variables():
    graph = Graph()
    x = graph.reals("x", 3, precision=1.0)
    graph.add(Function(lambda a, b, c: -0.1 * (a + b - c) ** 2 + 0.3 * a, *x[[0, 1, 2]].columns))
    result = infer(graph)
    precision = np.eye(3) + 0.2 * np.outer([1, 1, -1], [1, 1, -1])
    assert result.exact
    np.testing.assert_allclose(result["x"].mean, np.linalg.solve(precision, [0.3, 0, 0]), atol=tol.FUNCTION)
    np.testing.assert_allclose(result["x"].variance, np.diag(np.linalg.inv(precision)), rtol=tol.FUNCTION)


def test_entropy_and_a_law_that_grows():
    """A double well whose place is told by a measurement: its message is of negative precision."""
    for mean, variance in ((0.0, 1.0), (0.3, 0.5), (1.0, 4.0)):
        graph = Graph()
        x = known(graph, "x", (mean, variance), "measurement")
        graph.add(Function(lambda x: -4 * (x * x - 1) ** 2, x))
        result = infer(graph)
        assert result.exact

        def log_p(x, law=(mean, variance)):
            return -4 * (x * x - 1) ** 2 + gaussian(x, law)

        cuts = np.linspace(-4, 4, 17)
        truth = reference(log_p, cuts)
        compare(result, "x", truth)
        nodes = np.linspace(-4, 4, 20001)
        entropy = -np.trapezoid(np.exp(log_p(nodes) - truth[0]) * (log_p(nodes) - truth[0]), nodes)
        assert result.entropy == pytest.approx(entropy, abs=tol.FUNCTION)


def test_an_error_too_large_is_told_and_not_called_exact():
    graph = Graph()
    x = graph.reals("x", (), precision=1.0)
    graph.add(Function(lambda x: np.sin(1e7 * x), x))  # more oscillations than any budget of nodes resolves
    result = infer(graph)
    assert not result.exact
    assert result.integration_error > tol.FUNCTION
    assert "approximate (integrals to about" in str(result)


@pytest.mark.parametrize(
    ("function", "precision", "error", "match"),
    [
        (lambda x: 0 * x, 0.0, IndefiniteError, "`x` must be: give it a prior, a precision or another factor"),
        (lambda x: -np.logaddexp(0, -x), 0.0, IndefiniteError, "nothing else says where `x` must be"),
        (lambda x: -np.log1p(x * x), 0.0, IndefiniteError, "with second moments"),
        (lambda x: x**4, 1.0, IndefiniteError, r"Function\(x\).* grows faster than the laws of its arguments"),
        (lambda x: np.full_like(x, -np.inf), 1.0, ContradictionError, r"no place where Function\(x\) is not 0"),
        (np.log, 1.0, ModelError, "must be finite or -inf where its arguments have weight, got nan"),
        (lambda x: np.ones(3), 1.0, ModelError, "must return real numbers of its arguments' shape"),
        (lambda x: x + 1j, 1.0, ModelError, "must return real numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_functions_that_cannot_be_integrated(function, precision, error, match):
    graph = Graph()
    x = graph.reals("x", (), precision=precision)
    graph.add(Function(function, x))
    with pytest.raises(error, match=match):
        infer(graph)


def test_two_flat_arguments_are_named():
    graph = Graph()
    x, y = graph.reals("x"), graph.reals("y")
    graph.add(Function(lambda x, y: -np.abs(x - y), x, y))
    with pytest.raises(IndefiniteError, match="nothing else says where `x` and `y` must be"):
        infer(graph)


@pytest.mark.parametrize("nodes", [2, 2.5, "many", True])
def test_numbers_of_nodes(nodes):
    graph = Graph()
    with pytest.raises(ModelError, match="`nodes` must be an integer >= 3"):
        Function(lambda x: -x * x, graph.reals("x"), nodes=nodes)


@pytest.mark.parametrize("name", ["kink", "jump", "needle"])
def test_check_factor_integrates_them_too(name):
    function = {
        "kink": lambda x: -np.abs(x - 0.3),
        "jump": lambda x: np.where(x > 0.3, 0.0, -1.0),
        "needle": lambda x: needle(x, 3.0, 1e-6),
    }[name]
    graph = Graph()
    x = graph.reals("x")
    graph.add(Function(function, x))
    assert check_factor(graph).largest < tol.RULE * 100


def test_the_pair_of_rules():
    for k in range(0, 32, 2):
        assert NODES**k @ KRONROD == pytest.approx(2 / (k + 1), rel=1e-14)
        assert k >= 20 or NODES**k @ GAUSS == pytest.approx(2 / (k + 1), rel=1e-14)
    assert NODES**7 @ EXTRAPOLATION == pytest.approx(1.0, rel=1e-13)


def test_smooth_functions_need_few_evaluations():
    """The search costs some hundred, and smooth integrands are accepted at once."""
    count = 0

    def function(x):
        nonlocal count
        count += x.size
        return -0.25 * x**4

    graph = Graph()
    graph.add(Function(function, graph.reals("x", 100, precision=1.0)))
    stack = unroll(graph.model).stacks[0]
    stack.kind.rule(stack.parameters, Incoming(np.linspace(-3, 3, 100)[:, None], np.ones((100, 1))))
    assert count <= 360 * 100
