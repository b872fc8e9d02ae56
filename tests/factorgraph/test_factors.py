"""Every message rule against numerical integration, the compiled sweeps against the general ones, and a user's kind."""

from dataclasses import dataclass

import numpy as np
import pytest
import tolerances as tol
from random_graphs import gaussian, ising

from deepnet.network import perceptron
from factorgraph import (
    Function,
    Graph,
    Linear,
    ModelError,
    Neurons,
    Pairwise,
    Parity,
    PSpin,
    Sum,
    check_factor,
    exact,
    infer,
)
from factorgraph.channels import Identity, Probit, ReLU
from factorgraph.factors.base import Group, Kind, Part, aligned, expand, numbers
from factorgraph.messages.natural import Outgoing, combine, combine_maxima

pytestmark = pytest.mark.quick


def quartic(a, b, j):
    return -j * (a - b) ** 4 / 10 - 0.1 * a * b


RULES = {
    "pair": lambda s, x: Pairwise(s[0], s[1], coupling=0.7),
    "strong pair": lambda s, x: Pairwise(s[0], s[1], coupling=-20.0),
    "real pair": lambda s, x: Pairwise(x[0], x[1], coupling=0.3),
    "mixed pair": lambda s, x: Pairwise(x[0], s[1], coupling=-1.8),
    "p-spin": lambda s, x: PSpin(*s[:4], coupling=0.9),
    "parity": lambda s, x: Parity(*s[:5], sign=-1),
    "linear": lambda s, x: Linear(*x[:2], coefficients=[1, -0.7], target=0.5, noise=0.6),
    "linear of three": lambda s, x: Linear(*x[:3], coefficients=[1, -0.7, 0.4], target=0.5, noise=0.6),
    "linear of one": lambda s, x: Linear(x[0], coefficients=-0.7, target=0.5, noise=0.6),
    "linear with spins": lambda s, x: Linear(x[0], s[1], s[2], x[1], coefficients=[1, -0.7, 0.4, 1.3], noise=0.6),
    "linear of spins": lambda s, x: Linear(s[0], s[1], coefficients=[1, 2], target=0.3, noise=0.2),
    "table": lambda s, x: Function(lambda a, b, c: 0.3 * a * b * c + 0.2 * a - b * c, *s[:3]),
    "function": lambda s, x: Function(quartic, x[0], x[1], parameters=[0.4]),
    "mixed function": lambda s, x: Function(lambda a, b: -np.cosh(a - 0.5 * b), x[0], s[1]),
    "probit link": lambda s, x: Sum(s[0], x[0], x[1], channel=Probit(3.0, 0.2), coefficients=[0.8, -0.5]),
    "observed sum": lambda s, x: Sum(x[0], x[1], x[2], channel=Identity(0.5), coefficients=[0.8, -0.3]),
}


@pytest.mark.parametrize("name", RULES)
def test_rules_are_the_integrals_they_stand_for(name):
    graph = Graph()
    s, x = graph.spins("s", 6), graph.reals("x", 4)
    graph.add(RULES[name](s, x))
    found = check_factor(graph, cases=4)
    assert found.compared >= 8
    tolerance = tol.QUADRATURE_RULE if "function" in name or "three" in name else tol.RULE
    assert found.largest < tolerance, found


def test_sums_of_spins_are_gaussian_when_they_are_many():
    """The only rule that is no integral: its error falls as the number of terms grows, at a fixed total variance."""
    errors = []
    for k in (2, 4, 8):
        graph = Graph()
        s = graph.spins("s", k + 1)
        graph.add(Sum(*s, channel=Probit(2.0), coefficients=k**-0.5))
        errors.append(check_factor(graph, cases=4, spread=0.3).largest)
    assert 1e-6 < errors[2] < errors[1] < errors[0] < 0.1


def test_neurons_are_expansions_for_many_inputs():
    """The rule of ``Bilinear`` is that of single neurons; errors fall faster than the number of inputs grows."""
    errors = []
    for n in (1, 3, 6):
        graph = Graph()
        w, x, y = graph.spins("w", n), graph.spins("x", n), graph.spins("y")
        graph.add(Neurons(y, w.columns, x.columns, channel=Probit(0.5), scale=n**-0.5))
        errors.append(check_factor(graph, cases=20, spread=0.5).spins)
    assert errors[2] < errors[1] / 2 < errors[0] / 4
    assert check_factor(perceptron([3, 2, 1], rng=0)).largest < 0.2


def test_check_factor_finds_a_wrong_rule():
    graph = Graph()
    s = graph.spins("s", 2)
    graph.add(Cubic(s[0], s[1], coupling=0.5, slip=1e-6))
    assert 1e-8 < check_factor(graph).largest < 1e-5
    graph.add(Cubic(s[0], s[1], coupling=0.5))
    assert check_factor(graph).largest < tol.RULE


@dataclass(frozen=True, eq=False, init=False)
class Cubic(Group):
    """A user's own kind in one class and one vectorised rule: an Ising pair, with a slip for the test above."""

    coupling: np.ndarray
    slip: float

    def __init__(self, a, b, coupling, slip=0.0):
        object.__setattr__(self, "arguments", aligned((a, b)))
        object.__setattr__(self, "coupling", numbers("coupling", coupling, self.shape))
        object.__setattr__(self, "slip", slip)

    def parts(self, layout):
        return [Part(CubicKind(self.slip), self.table(layout), (self.coupling,))]


@dataclass(frozen=True)
class CubicKind(Kind):
    slip: float
    spins = (True, True)

    def rule(self, parameters, incoming, *, maximum=False):
        t = np.tanh(parameters[0])[:, None] * np.tanh(incoming.first[:, ::-1])
        return Outgoing(np.arctanh(t) + self.slip)

    def log_partition(self, parameters, incoming):
        product = np.tanh(incoming.first).prod(axis=1)
        return np.log(np.cosh(parameters[0]) + product * np.sinh(parameters[0]))

    def log_factor(self, parameters, *x):
        return expand(parameters[0], x[0]) * x[0] * x[1]


def test_a_users_kind_runs_beside_the_built_in_ones():
    rng = np.random.default_rng(0)
    graph, other = Graph(), Graph()
    for g, kind in ((graph, Cubic), (other, Pairwise)):
        s = g.spins("s", 6, field=np.linspace(-1, 1, 6))
        g.add(kind(s[[0, 1, 2]], s[[1, 2, 3]], coupling=[0.5, -0.4, 0.8]))
        g.add(PSpin(s[3], s[4], s[5], coupling=rng.normal() * 0 + 0.7))
    result, truth = infer(graph), exact(other)
    np.testing.assert_allclose(result["s"].mean, truth["s"].mean, atol=tol.TREE)
    assert result.log_partition == pytest.approx(truth.log_partition, abs=tol.TREE)


def test_combining_fields_over_the_whole_range():
    """atanh(tanh a tanh b) by 50 digits, and its limits."""
    mp = pytest.importorskip("mpmath").mp
    with mp.workdps(400):
        for a in (1e-200, 1e-9, 0.3, 0.4999, 0.5001, 3.0, 40.0, 300.0):
            for b in (1e-12, 0.2, 0.6, 2.999, 3.0, 17.0, 300.5):
                truth = float(mp.atanh(mp.tanh(mp.mpf(a)) * mp.tanh(mp.mpf(b))))
                assert combine(a, -b) == pytest.approx(-truth, rel=tol.SCALAR)
    assert combine(np.inf, 0.7) == 0.7 and combine(-np.inf, 1e-3) == pytest.approx(-1e-3, rel=tol.SCALAR)
    assert combine(np.inf, -np.inf) == -np.inf and combine(0.0, np.inf) == 0.0
    assert combine_maxima(-2.0, 3.0) == -2.0


LOOPY = {"ising": ising, "gaussian": gaussian}


def plain_messages(graph, sweeps, sequential, damping):
    """B and A (factors, 2) of a graph of pairs as a loop over factors; all of the old messages, or each as it comes.

    To a spin B = atanh(tanh J tanh H), to a real variable B = JH/G, A = -J²/G, with H and G of the other end without
    the factor's own message.
    """
    ((name, variable),), (pairs,) = graph.model.variables.items(), graph.model.factors
    ends = np.stack([argument.indices for argument in pairs.arguments], axis=1)
    field, precision = (np.broadcast_to(v, graph.model.shape(name)) for v in (variable.field, variable.precision))
    B, A = np.zeros(ends.shape), np.zeros(ends.shape)
    for _ in range(sweeps):
        seen = (B, A) if sequential else (B.copy(), A.copy())
        for f, J in enumerate(pairs.coupling):
            new = []
            for side in (0, 1):
                other = ends[f, 1 - side]
                others = [(g, t) for g, t in np.argwhere(ends == other) if g != f]
                H = field[other] + sum(seen[0][place] for place in others)
                G = precision[other] + sum(seen[1][place] for place in others)
                new.append((np.arctanh(np.tanh(J) * np.tanh(H)), 0.0) if variable.spin else (J * H / G, -J * J / G))
            for messages, values in zip((B, A), np.transpose(new), strict=True):
                messages[f] = (1 - damping) * values + damping * messages[f]
    return B, A


@pytest.mark.parametrize("damping", [0.0, 0.3])
@pytest.mark.parametrize("schedule", ["flooding", "sequential"])
@pytest.mark.parametrize("name", LOOPY)
def test_sweeps_are_a_loop_over_factors(name, schedule, damping):
    """Whichever code runs them."""
    graph = LOOPY[name](5, 12)
    for sweeps in (1, 2, 7):
        B, A = plain_messages(graph, sweeps, schedule == "sequential", damping)
        found = infer(graph, schedule=schedule, damping=damping, tolerance=0, max_sweeps=sweeps)
        assert np.abs(B).max() > 0.1 and found.sweeps == sweeps
        np.testing.assert_allclose(found.B, B.ravel(), atol=tol.COMPILED)
        np.testing.assert_allclose(found.A, A.ravel(), atol=tol.COMPILED)


def test_strong_couplings_fall_back_to_the_logarithmic_form():
    """Odds ratios would overflow at J = 400: the run goes on by itself, and agrees with the exact solution."""
    graph = Graph()
    s = graph.spins("s", 5, field=[0.3, 0, 0, 0, -0.1])
    graph.add(Pairwise(s[:-1], s[1:], coupling=[400.0, -1000.0, 0.5, 300.0]))
    for schedule in ("auto", "flooding"):
        result, truth = infer(graph, schedule=schedule), exact(graph)
        np.testing.assert_allclose(result["s"].mean, truth["s"].mean, atol=tol.TREE)
        assert result.log_partition == pytest.approx(truth.log_partition, rel=tol.TREE)


def test_generalized_linear_models():
    """Bayesian linear regression by sums with a noisy identity: means equal the normal equations'; ReLU outputs run."""
    rng = np.random.default_rng(0)
    F = rng.normal(size=(60, 20)) / np.sqrt(20)
    truth = rng.normal(size=20)
    y = F @ truth + 0.3 * rng.normal(size=60)
    graph = Graph()
    x, out = graph.reals("x", 20, precision=1.0), graph.reals("y", 60)
    rows = np.broadcast_to(np.arange(20), (60, 20))
    graph.add(Sum(out, *x[rows].columns, coefficients=F, channel=Identity(0.09)))
    result = infer(graph, observed={"y": y}, damping=0.3, tolerance=1e-12)
    expected = np.linalg.solve(np.eye(20) + F.T @ F / 0.09, F.T @ y / 0.09)
    assert result.converged
    np.testing.assert_allclose(result["x"].mean, expected, atol=tol.REGRESSION)
    relu = Graph()
    x, out = relu.reals("x", 20, precision=1.0), relu.reals("y", 60)
    relu.add(Sum(out, *x[rows].columns, coefficients=F, channel=ReLU()))
    relu.add(Linear(out, target=np.maximum(F @ truth, 0), noise=0.01))
    result = infer(relu, damping=0.3, max_sweeps=300)
    assert np.corrcoef(result["x"].mean, truth)[0, 1] > 0.95


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda s, x: Pairwise(s[0], s[0], coupling=1.0), r"must differ, got s\[0\] twice"),
        (lambda s, x: Pairwise(s[:2], s[:3], coupling=1.0), "arguments must have fitting shapes"),
        (lambda s, x: Pairwise(s[:2], s[2:4], coupling=np.ones(3)), r"`coupling` must be a number or of shape \(2,\)"),
        (lambda s, x: Pairwise(s[:2], s[2:4], coupling=np.nan), "`coupling` must be finite numbers, got nan"),
        (lambda s, x: Pairwise(1, s[0], coupling=1.0), "arguments must be selections of variables"),
        (lambda s, x: PSpin(s[0], x[0], coupling=1.0), "must be spins, got `x`"),
        (lambda s, x: Parity(s[0], s[1], sign=2.0), "`sign` must be 1 or -1, got 2.0"),
        (lambda s, x: Linear(x[0], noise=0.0), "`noise` must be > 0, got 0; observe a variable"),
        (lambda s, x: Linear(*s, noise=1.0), "must be at most 12, got 14: use Sum"),
        (lambda s, x: Sum(x[0], x[1], channel=Probit(1.0)), "`x` must be spins for the channel"),
        (lambda s, x: Sum(s[0], x[1], channel=np.sign), "`channel` must be a channel"),
        (lambda s, x: Function(lambda a: np.nan * a, s[0]), "`log_factor` must be finite or -inf"),
        (
            lambda s, x: Function(lambda *a: a[0], *x),
            "must be at most 3 real variables, and .*, got 4 and 1",
        ),
    ],
)
def test_factors_that_do_not_fit(build, message):
    graph = Graph()
    s, x = graph.spins("s", 14), graph.reals("x", 4, precision=1.0)
    with pytest.raises(ModelError, match=message):
        graph.add(build(s, x))
        infer(graph)
