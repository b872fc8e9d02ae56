"""Sums that are seen through a channel: every channel, spins and real variables, free and observed, drawn."""

import numpy as np
import pytest
import tolerances as tol
from hypothesis import given, settings
from hypothesis import strategies as st
from members import SCALAR
from scipy.special import logsumexp

from factorgraph import Graph, Sum, check_factor, infer
from factorgraph.channels import Identity, Probit
from factorgraph.priors import Gaussian

#: Messages to real inputs are exact: two integrals by quadrature.
EXACT = 1e-6

#: Without noise a sum and its output are one number, and there is nothing to integrate.
CHANNELS = [channel for channel in SCALAR if channel != Identity()]

coefficients = st.floats(0.2, 1.5).flatmap(lambda c: st.sampled_from([-c, c]))


@settings(max_examples=30)
@given(
    slope=st.floats(0.3, 3.0),
    threshold=st.floats(-1, 1),
    c=st.lists(coefficients, min_size=1, max_size=3),
    seed=st.integers(0, 1000),
)
def test_sums_of_real_variables_are_exact(slope, threshold, c, seed):
    """A sum of Gaussians is one: beliefs are those of the integral over all arguments, the output included."""
    graph = Graph()
    s, x = graph.spins("s"), graph.reals("x", 3)
    graph.add(Sum(s, *(x[i] for i in range(len(c))), channel=Probit(slope, threshold), coefficients=c))
    found = check_factor(graph, cases=1, seed=seed)
    assert found.compared >= 2 * len(c) and found.largest < EXACT, found


@settings(max_examples=25)
@given(
    channel=st.sampled_from(CHANNELS),
    c=st.lists(coefficients, min_size=1, max_size=3),
    seed=st.integers(0, 1000),
)
def test_beliefs_are_those_of_the_sum_given_its_output(channel, c, seed):
    """One observation of x ~ N(m, v): belief m + v c g and v - v² c² Γ of the channel, which has tests of its own."""
    rng = np.random.default_rng(seed)
    m, v = rng.normal(size=len(c)), rng.uniform(0.3, 2, len(c))
    graph = Graph()
    x = graph.reals("x", len(c), field=m / v, precision=1 / v)
    y = graph.spins("y", ()) if channel.spin else graph.reals("y", ())
    graph.add(Sum(y, *(x[i] for i in range(len(c))), channel=channel, coefficients=c))
    c, value = np.array(c), channel.sample(c @ (m + v**0.5 * rng.normal(size=len(c))), rng)
    result = infer(graph, observed={"y": value})
    exact = channel.observe(value, omega=c @ m, V=c**2 @ v)
    np.testing.assert_allclose(result["x"].mean, m + v * c * exact.g, atol=tol.TREE * np.abs(m).max() + 1e-9)
    np.testing.assert_allclose(result["x"].variance, v - (v * c) ** 2 * exact.gamma, atol=1e-9)


@settings(max_examples=30)
@given(
    noise=st.floats(0.1, 2.0),
    c=st.lists(coefficients, min_size=2, max_size=4),
    y=st.floats(-3, 3),
    seed=st.integers(0, 1000),
)
def test_a_noisy_sum_is_a_linear_factor(noise, c, y, seed):
    """The same observation by conditioning of Gaussians, several at once: the fixed point has the exact means."""
    rng = np.random.default_rng(seed)
    rows = np.stack([c, rng.permutation(c) * rng.choice([-1.0, 1.0], len(c))])
    graph = Graph()
    x, out = graph.reals("x", len(c), prior=Gaussian(0.3, 1.5)), graph.reals("y", 2)
    for k in range(2):
        graph.add(Sum(out[k], *(x[i] for i in range(len(c))), channel=Identity(noise), coefficients=0.4 * rows[k]))
    result = infer(graph, observed={"y": [y, -0.5 * y]}, tolerance=1e-13, damping=0.2)
    F = 0.4 * rows
    mean = np.linalg.solve(1.5 * np.eye(len(c)) + F.T @ F / noise, 0.45 + F.T @ [y, -0.5 * y] / noise)
    assert result.converged
    np.testing.assert_allclose(result["x"].mean, mean, atol=tol.REGRESSION)


@settings(max_examples=40)
@given(
    channel=st.sampled_from(CHANNELS),
    c=st.lists(coefficients, min_size=1, max_size=3),
    weight=coefficients,
    fields=st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
    seed=st.integers(0, 1000),
)
def test_a_spin_beside_real_variables(channel, c, weight, fields, seed):
    """Its message adds its two values, and is exact: of a free output that is a spin, and of one that is observed."""
    rng, c = np.random.default_rng(seed), np.array(c)
    m, v = rng.normal(size=len(c)), rng.uniform(0.3, 2, len(c))
    graph = Graph()
    s, x = graph.spins("s", (), field=fields[0]), graph.reals("x", len(c), field=m / v, precision=1 / v)
    y = graph.spins("y", (), field=fields[1]) if channel.spin else graph.reals("y", ())
    graph.add(Sum(y, s, *(x[i] for i in range(len(c))), channel=channel, coefficients=[weight, *c]))

    def log_likelihood(value):
        return channel.observe(value, omega=c @ m + weight * np.array([1.0, -1.0]), V=c**2 @ v).phi

    value = channel.sample(c @ m, rng)
    given_y = infer(graph, observed={"y": value})
    assert given_y["s"].mean == pytest.approx(np.tanh(fields[0] + log_likelihood(value) @ [0.5, -0.5]), abs=1e-9)
    if channel.spin:
        odds = logsumexp([h * fields[1] + log_likelihood(h) for h in (1.0, -1.0)], axis=0)
        assert infer(graph)["s"].mean == pytest.approx(np.tanh(fields[0] + odds @ [0.5, -0.5]), abs=1e-9)
