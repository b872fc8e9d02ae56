"""Values far from zero, and factors much sharper than what they meet: shifted data shift the means, no more."""

import itertools

import numpy as np
import pytest
import tolerances as tol
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

from factorgraph import Graph, Linear, LinearMap, Pairwise, Sum, check_factor, exact, infer
from factorgraph.channels import ReLU
from factorgraph.engine.inputs import potentials_of
from factorgraph.engine.unroll import unroll
from factorgraph.priors import Gaussian
from factorgraph.reference.exact import _decomposition, _eliminate, _enumerate, _free_discrete

seeds = st.integers(0, 2**32 - 1)
shifts = st.sampled_from([0.0, 1e3, -1e5, 6.371e6, 1e8])
EPS = float(np.finfo(float).eps)


class Drawn:
    """Random real variables, far from zero, and a few spins, with a dense solution in 50 digits.

    Every number of the model is a float; ``rows`` are (c, y, noise) over all variables, spins last.
    """

    def __init__(self, seed, shift, reals, spins, loops, sharp=1e-4):
        rng = np.random.default_rng(seed)
        self.n, self.spins, self.shift = reals, spins, shift
        self.field, self.rows, self.pairs = 0.5 * rng.normal(size=spins), [], []
        graph = self.graph = Graph()
        x = graph.reals("x", reals, prior=Gaussian(shift, 0.5), precision=0.0)
        s = graph.spins("s", spins, field=self.field) if spins else None
        for i in range(reals):
            self.rows.append((self._row({i: 1.0}), shift, 2.0))

        def add(coefficients, target, noise, *terms):
            graph.add(Linear(*terms, coefficients=list(coefficients.values()), target=target, noise=noise))
            self.rows.append((self._row(coefficients), target, noise))

        ends = [(i, int(rng.integers(i))) for i in range(1, reals)]
        ends += [tuple(rng.choice(reals, 2, replace=False)) for _ in range(loops)] if reals > 1 else []
        for i, j in ends:
            noise = float(10.0 ** rng.uniform(np.log10(sharp), 0.0))
            add({i: 1.0, j: -1.0}, float(rng.normal()), noise, x[int(i)], x[int(j)])
        i = int(rng.integers(reals))
        add({i: 1.0}, shift + float(rng.normal()), float(10.0 ** rng.uniform(np.log10(sharp), 0.0)), x[i])
        for k in range(spins):
            add({i: 1.0, reals + k: 0.7}, shift + float(rng.normal()), 0.5, x[i], s[k])

    def _row(self, coefficients):
        row = np.zeros(self.n + self.spins)
        row[list(coefficients)] = list(coefficients.values())
        return row

    def dense(self):
        """Means, variances of all variables and log Z, from sums over the spins of Gaussian integrals."""
        with mp.workdps(50):
            C = mp.matrix([[mpf(c) for c in row] for row, _, _ in self.rows])
            weight = [1 / mpf(noise) for *_, noise in self.rows]
            n, m = self.n, len(self.rows)
            Q = mp.matrix(n, n)
            for i, j in itertools.product(range(n), repeat=2):
                Q[i, j] = mp.fsum(weight[r] * C[r, i] * C[r, j] for r in range(m))
            inverse, log_det = mp.inverse(Q), mp.log(mp.det(Q))
            weights, means = [], []
            for state in itertools.product((1, -1), repeat=self.spins):
                y = [
                    mpf(t) - mp.fsum(C[r, n + k] * s for k, s in enumerate(state))
                    for r, (_, t, _) in enumerate(self.rows)
                ]
                b = mp.matrix([mp.fsum(weight[r] * C[r, i] * y[r] for r in range(m)) for i in range(n)])
                x = inverse * b
                rest = [y[r] - mp.fsum(C[r, i] * x[i] for i in range(n)) for r in range(m)]
                log_w = mp.fsum(-w * r * r / 2 + mp.log(w / (2 * mp.pi)) / 2 for w, r in zip(weight, rest, strict=True))
                log_w += mp.fsum(mpf(h) * s for h, s in zip(self.field, state, strict=True))
                weights.append(mp.exp(log_w + (n * mp.log(2 * mp.pi) - log_det) / 2))
                means.append([*x, *map(mpf, state)])
            total = mp.fsum(weights)
            p = [w / total for w in weights]
            mean = [mp.fsum(q * m[i] for q, m in zip(p, means, strict=True)) for i in range(n + self.spins)]
            spread = [
                mp.fsum(q * (m[i] - mean[i]) ** 2 for q, m in zip(p, means, strict=True)) for i in range(len(mean))
            ]
            variance = [spread[i] + (inverse[i, i] if i < n else 0) for i in range(len(mean))]
            shifted = [mean[i] - (mpf(self.shift) if i < n else 0) for i in range(len(mean))]
            return np.array(shifted, float), np.array(variance, float), float(mp.log(total))

    def check(self, result):
        mean, variance, log_z = self.dense()
        got = [result["x"].mean - self.shift, *([result["s"].mean] if self.spins else [])]
        spread = [result["x"].variance, *([result["s"].variance] if self.spins else [])]
        minimum = np.sqrt(min(min(noise for *_, noise in self.rows), variance[: self.n].min()))
        rounding = 64 * len(self.rows) * EPS * (10.0 + abs(self.shift)) / minimum  # of the data, in deviations
        np.testing.assert_allclose(
            (np.concatenate(got) - mean) / np.sqrt(variance), 0.0, atol=tol.TREE + rounding, rtol=0
        )
        np.testing.assert_allclose(np.concatenate(spread), variance, rtol=tol.TREE + rounding)
        assert result.log_partition == pytest.approx(log_z, rel=tol.TREE, abs=tol.TREE + 10 * rounding)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, shift=shifts, reals=st.integers(1, 5), spins=st.integers(0, 3), loops=st.integers(0, 2))
def test_exact_agrees_with_fifty_digits(seed, shift, reals, spins, loops):
    drawn = Drawn(seed, shift, reals, spins, loops, sharp=1e-6)
    drawn.check(exact(drawn.graph))


@settings(max_examples=25, deadline=None)
@given(seed=seeds, shift=shifts, reals=st.integers(1, 6), schedule=st.sampled_from(["two-pass", "flooding", "random"]))
def test_trees_agree_with_fifty_digits(seed, shift, reals, schedule):
    drawn = Drawn(seed, shift, reals, 0, 0)
    drawn.check(infer(drawn.graph, schedule=schedule, tolerance=1e-14, rng=0, max_sweeps=2000))


def _likelihood(y, variance):
    with mp.workdps(50):
        return float(-(mpf(y) ** 2) / (2 * mpf(variance)) - mp.log(2 * mp.pi * mpf(variance)) / 2)


@pytest.mark.parametrize(
    "mean, variance, target, noise",
    [(101000.0, 2.0**-20, 101325.5, 2.0**-7), (0.0, 1e18, 1.7e9, 1.0), (6371000.0, 1.0, 6371000.5, 1e-4)]
    + [(0.0, 1.0, 7.7, 10.0**-k) for k in (6, 16, 30)],
)
@pytest.mark.parametrize("solver", [infer, exact])
def test_evidence_of_one_measurement(solver, mean, variance, target, noise):
    graph = Graph()
    x = graph.reals("x", prior=Gaussian(mean, 1.0 / variance))
    graph.add(Linear(x, target=target, noise=noise))
    with mp.workdps(50):
        truth = _likelihood(mpf(target) - mpf(mean), 1 / mpf(1.0 / variance) + mpf(noise))
    assert solver(graph).log_partition == pytest.approx(truth, rel=1e-12, abs=1e-10 + 4 * EPS * abs(mean))


@pytest.mark.parametrize("shift", [0.0, 1e3, 1e5, 1e7])
@pytest.mark.parametrize("coupling", [0.9, -0.9])
def test_pairs_of_differences(shift, coupling):
    """A chain of e^{Jxy} with the precisions of a graph Laplacian weighs differences (sums) alone."""
    graph, sign = Graph(), np.array([1, np.sign(coupling), 1, np.sign(coupling)])
    x = graph.reals("x", 4, precision=0.9 * np.array([1, 2, 2, 1]))
    graph.add(Pairwise(x[1:], x[:-1], coupling=coupling))
    graph.add(Linear(x, target=sign * (shift + np.array([0.0, 0.5, 0.25, -0.75])), noise=0.5))
    Q = 0.9 * (np.diag([1, 2, 2, 1]) - np.eye(4, k=1) - np.eye(4, k=-1)) + 2 * np.eye(4)
    y = np.array([0.0, 0.5, 0.25, -0.75])
    m = np.linalg.solve(Q, 2 * y)
    log_z = -(y @ y) + 0.5 * m @ Q @ m - 0.5 * np.linalg.slogdet(Q)[1] + 2 * np.log(2)
    entropy = 0.5 * (4 * np.log(2 * np.pi * np.e) - np.linalg.slogdet(Q)[1])
    assert infer(graph).entropy == pytest.approx(entropy, abs=1e-12 + 1e-14 * shift)
    for result in (infer(graph), exact(graph)):
        np.testing.assert_allclose(sign * result["x"].mean - shift, m, rtol=0, atol=1e-12 + 1e-14 * shift)
        assert result.log_partition == pytest.approx(log_z, abs=1e-12 + 1e-14 * shift)


@pytest.mark.parametrize("schedule", ["two-pass", "flooding"])
@pytest.mark.parametrize("noise", [1e-8, 1e-2, 1.0])
def test_vectors(schedule, noise):
    def posterior(solver, shift):
        graph = Graph()
        x = graph.vectors("x", 3, 2)
        process = np.array([[0.25, 0.125], [0.125, 0.5]])
        graph.add(Linear(x[1:], x[:-1], coefficients=[np.eye(2), -np.eye(2)], noise=process))
        graph.add(Linear(x, coefficients=[np.eye(2)], target=shift + np.arange(6.0).reshape(3, 2) / 4, noise=noise))
        result = infer(graph, schedule=schedule, tolerance=1e-13) if solver is infer else exact(graph)
        return result, result["x"].mean - shift, result.covariance("x")

    truth, mean, covariance = posterior(exact, 0.0)
    entropy = posterior(infer, 0.0)[0].entropy
    for shift, solver in itertools.product((0.0, 1e3, 1e6), (infer, exact)):
        result, moved, spread = posterior(solver, shift)
        rounding = 1e-10 + 64 * EPS * shift / np.sqrt(noise)
        deviation = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
        np.testing.assert_allclose((moved - mean) / deviation, 0.0, atol=rounding)
        np.testing.assert_allclose(spread, covariance, rtol=rounding, atol=rounding * noise)
        assert result.log_partition == pytest.approx(truth.log_partition, abs=10 * rounding)
        if solver is infer:
            assert result.entropy == pytest.approx(entropy, abs=10 * rounding)


@pytest.mark.parametrize("shift", [0.0, 1e3, 1e6])
def test_a_map_between_vectors_with_one_precision(shift):
    rng = np.random.default_rng(0)
    A, target = np.round(4 * rng.normal(size=(5, 4))) / 4, rng.normal(size=5)
    graph = Graph()
    x, z = graph.reals("x", 4, prior=Gaussian(shift, 1.0), shared=True), graph.reals("z", 5, shared=True)
    graph.add(LinearMap(z, x, matrix=A))
    graph.add(Linear(z, target=A.sum(axis=1) * shift + target, noise=0.5))
    C = A @ A.T + 0.5 * np.eye(5)
    truth = -0.5 * (target @ np.linalg.solve(C, target) + np.linalg.slogdet(2 * np.pi * C)[1])
    assert infer(graph, tolerance=1e-12).log_partition == pytest.approx(truth, abs=1e-9 + 1e-13 * shift)


@pytest.mark.parametrize("y", [3.0, 100.0, 1e4])
@pytest.mark.parametrize("c", [[1.0], [1.0, 2.0, 2.0**-8]])
def test_noiseless_sums(y, c):
    """A known sum leaves no variance: what it says grows without bound, and log Z is a density at y."""
    graph = Graph()
    x = graph.reals("x", len(c), prior=Gaussian(0.5, 1.0))
    graph.add(Sum(graph.reals("z", observed=True), *x.columns, coefficients=c, channel=ReLU()))
    result = infer(graph, observed={"z": y})
    truth = _likelihood(y - 0.5 * sum(c), sum(value**2 for value in c))
    assert result.log_partition == pytest.approx(truth, rel=1e-12, abs=1e-10)


def test_a_spin_coupled_to_a_real_variable_far_away():
    graph = Graph()
    x, s = graph.reals("x"), graph.spins("s", field=-0.25e6)
    graph.add(Linear(x, target=1e6 + 0.5, noise=1.0))
    graph.add(Pairwise(s, x, coupling=0.25))
    truth = exact(graph)
    assert truth["s"].mean == pytest.approx(np.tanh(0.125), abs=1e-9)
    assert truth["x"].mean - 1e6 == pytest.approx(0.5 + 0.25 * np.tanh(0.125), abs=1e-9)
    assert truth["x"].variance == pytest.approx(1.0 + 0.25**2 * (1 - np.tanh(0.125) ** 2), abs=1e-9)
    assert truth.log_partition == pytest.approx(np.log(2 * np.cosh(0.125)) + 0.5 * 0.25**2, abs=1e-9)


@pytest.mark.parametrize("clamp", ["field", "coupling"])
def test_huge_numbers_leave_the_others_alone(clamp):
    graph = Graph()
    field = [1e12, 0.0, 0.3, -0.2] if clamp == "field" else [0.0, 0.1, 0.3, -0.2]
    s = graph.spins("s", 4, field=field)
    graph.add(Pairwise(s[0], s[1], coupling=1e12 if clamp == "coupling" else 0.4))
    graph.add(Pairwise(s[2], s[3], coupling=0.5))
    unrolled = unroll(graph.model)
    weights = potentials_of(unrolled, {}, {}, {})
    discrete = _free_discrete(unrolled, weights)
    w = np.array([[np.exp(0.5 * a * b + 0.3 * a - 0.2 * b) for b in (1, -1)] for a in (1, -1)])
    first = [1.0, np.tanh(0.4)] if clamp == "field" else [np.tanh(0.1)] * 2
    mean = [*first, (w[0] - w[1]).sum() / w.sum(), (w[:, 0] - w[:, 1]).sum() / w.sum()]
    for truth in (
        _enumerate(unrolled, weights, discrete, np.empty(0, np.intp)),
        _eliminate(unrolled, weights, discrete, *_decomposition(unrolled, discrete)),
    ):
        np.testing.assert_allclose(truth.mean, mean, rtol=0, atol=1e-14)
        np.testing.assert_allclose(truth.variance[2:], 1 - np.square(mean[2:]), rtol=1e-13)


def test_the_cheaper_way_is_chosen():
    def chain(n, width):
        graph = Graph()
        s = graph.spins("s", n, field=0.1)
        for step in range(1, width + 1):
            graph.add(Pairwise(s[step:], s[:-step], coupling=0.2))
        return graph

    assert exact(chain(6, 1)).method == "enumeration"
    assert exact(chain(25, 1)).method == "elimination"
    assert exact(chain(13, 12)).log_partition == pytest.approx(_all_states(13, 0.1, 0.2), rel=1e-13)
    mixed = chain(6, 1)
    mixed.add(Linear(mixed.reals("x", precision=1.0), coefficients=1.0))
    assert exact(mixed).method == "enumeration"


def _all_states(n, field, coupling):
    """log Z of n spins that are all coupled, by their sum."""
    up = np.arange(n + 1)
    m = 2 * up - n
    choose = np.cumsum(np.concatenate([[0.0], np.log((n - up[:-1]) / (up[:-1] + 1))]))
    return float(np.logaddexp.reduce(choose + field * m + 0.5 * coupling * (m * m - n)))


@pytest.mark.parametrize("target", [0.0, 1e3, 1e6])
def test_factors_can_be_checked_far_from_zero(target):
    graph = Graph()
    x, s, v = graph.reals("x", 2), graph.spins("s"), graph.vectors("v", 1, 2)
    graph.add(Linear(x[0], x[1], s, coefficients=[1.0, -0.5, 0.7], target=target, noise=0.4))
    assert check_factor(graph, cases=2).largest < 1e-9 + 1e-13 * target
    graph.add(Linear(v[0], coefficients=[np.array([[1.0, 0.5], [0.0, 1.0]])], target=target, noise=0.4))
    assert check_factor(graph, cases=2).largest < 1e-9 + 1e-13 * target


@pytest.mark.parametrize("kinds", ["rs", "rr", "mixed", "reals", "vectors"])
def test_quadratic_forms_are_the_logarithms_of_the_factors(kinds):
    rng = np.random.default_rng(3)
    graph = Graph()
    x, s, v = graph.reals("x", 3), graph.spins("s", 3), graph.vectors("v", 2, 2)
    noise = np.array([[0.5, 0.2], [0.2, 0.7]])
    graph.add(
        {
            "rs": lambda: Pairwise(s, x, coupling=rng.normal(size=3)),
            "rr": lambda: Pairwise(x[:2], x[1:], coupling=rng.normal(size=2)),
            "mixed": lambda: Linear(x, s, coefficients=rng.normal(size=(3, 2)), target=[1.0, 2.0, 3.0], noise=0.3),
            "reals": lambda: Linear(x[:2], x[1:], coefficients=[1.0, 2.0], target=0.3, noise=[0.2, 0.4]),
            "vectors": lambda: Linear(v[0], v[1], coefficients=[noise, 3 * noise], target=[1.0, 2.0], noise=noise),
        }[kinds]()
    )
    (stack,) = unroll(graph.model).stacks
    F, k = stack.variables.shape
    values = np.where(stack.kind.spins, rng.choice([-1.0, 1.0], (F, k)), rng.normal(size=(F, k)))
    form = stack.kind.quadratic_form(stack.parameters)
    rest = form.target - np.einsum("fmk,fk->fm", form.matrix, values)
    logs = form.constant - 0.5 * (form.weight * rest**2).sum(axis=1) + form.coupling * values[:, 0] * values[:, 1]
    np.testing.assert_allclose(stack.kind.log_factor(stack.parameters, *values.T), logs, rtol=1e-13)
    assert np.ptp(logs) > 0.0 or F == 1
