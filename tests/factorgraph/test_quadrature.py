"""Quadrature rules against integrals known in closed form."""

import math

import numpy as np
import pytest
import tolerances as tol
from hypothesis import given, settings
from hypothesis import strategies as st

from factorgraph.numerics.quadrature import (
    Panels,
    adaptive_panels,
    gauss_hermite,
    gauss_legendre,
    gaussian_expectation,
    panel_rule,
)


def _cover(edges):
    """Panels between the edges (m, E) of m integrals."""
    edges = np.atleast_2d(np.asarray(edges, dtype=float))
    index = np.repeat(np.arange(len(edges)), edges.shape[1] - 1)
    return Panels(index, edges[:, :-1].ravel(), edges[:, 1:].ravel())


def _integrals(log_integrands, edges, **options):
    """Integrals (C, m) and the number of panels."""
    start = _cover(edges)
    panels = adaptive_panels(log_integrands, start, start.owner[-1] + 1, **options)
    z, w = panels.rule()
    return panels.sum(w * np.exp(log_integrands(panels.owner, z))), panels


@pytest.mark.parametrize("nodes", [1, 8, 64])
def test_hermite_is_exact_for_polynomials(nodes):
    x, w = gauss_hermite(nodes)
    for power in range(0, min(2 * nodes, 20), 2):
        assert (w * x**power).sum() == pytest.approx(math.prod(range(power - 1, 0, -2)), rel=tol.PANELS)
    assert abs((w * x).sum()) < tol.PANELS


def test_nodes_are_cached_and_protected():
    assert gauss_hermite(8) is gauss_hermite(8)
    for rule in (gauss_hermite(8), gauss_legendre(8)):
        with pytest.raises(ValueError, match="read-only"):
            rule[0][0] = 0.0


@settings(deadline=None, derandomize=True)
@given(st.floats(-5, 5), st.floats(0, 4))
def test_expectation_of_a_cosine(mean, variance):
    value = gaussian_expectation(np.cos, mean, variance)
    assert value == pytest.approx(math.exp(-variance / 2) * math.cos(mean), abs=tol.PANELS)


def test_expectation_broadcasts_and_allows_no_variance():
    value = gaussian_expectation(np.exp, np.zeros((3, 1)), np.array([0.0, 1.0]))
    assert value.shape == (3, 2)
    np.testing.assert_allclose(value, np.tile([1.0, math.exp(0.5)], (3, 1)), rtol=tol.PANELS)


@pytest.mark.parametrize("variance", [-1.0, np.nan])
def test_expectation_refuses_a_bad_variance(variance):
    with pytest.raises(ValueError, match=r"`variance` must be >= 0"):
        gaussian_expectation(np.cos, 0.0, variance)


def test_panel_rule_is_exact_for_polynomials():
    edges = np.array([[-1.0, 0.3, 2.0], [0.0, 1.0, 4.0]])
    x, w = panel_rule(edges, nodes=4)
    assert x.shape == w.shape == (2, 2, 4)
    for power in range(8):
        exact = (edges[:, -1] ** (power + 1) - edges[:, 0] ** (power + 1)) / (power + 1)
        np.testing.assert_allclose((w * x**power).sum(axis=(1, 2)), exact, rtol=tol.PANELS, atol=tol.PANELS)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.floats(-0.999, 0.999), st.floats(-9, 1), st.floats(-2000, 2000))
def test_a_gaussian_of_any_place_width_and_height(centre, log_width, height):
    width = 10.0**log_width

    def log_integrands(index, z):
        return (height - 0.5 * ((z - centre) / width) ** 2)[None]

    panels = adaptive_panels(log_integrands, _cover(np.linspace(-1, 1, 4)), 1)
    z, w = panels.rule()
    value = panels.sum(w * np.exp(log_integrands(panels.owner, z)[0] - height))[0]
    limits = (1 - centre) / width, (-1 - centre) / width
    exact = width * math.sqrt(math.pi / 2) * (math.erf(limits[0] / 2**0.5) - math.erf(limits[1] / 2**0.5))
    # The place z of a node is rounded: an error 1e-16/width of its standardised distance.
    assert value == pytest.approx(exact, rel=tol.PANELS + 1e-15 / width)


def test_each_integral_and_each_member_has_its_own_panels():
    centres, widths = np.array([[0.0, 30.0], [-55.0, 7.0]]), np.array([[1e-4, 2.0], [0.3, 1e-6]])  # (C, m)

    def log_integrands(index, z):
        c, s = centres[:, index, None], widths[:, index, None]
        return -0.5 * ((z - c) / s) ** 2 - 300.0 * (np.arange(2)[:, None, None])  # e^-300 between the members

    values, panels = _integrals(log_integrands, np.tile(np.linspace(-60, 60, 9), (2, 1)))
    np.testing.assert_allclose(values, math.sqrt(2 * math.pi) * widths * np.exp([[0.0], [-300.0]]), rtol=1e-9)
    assert np.all(np.diff(panels.owner) >= 0)
    assert np.bincount(panels.owner).max() < 60


def test_two_peaks_of_different_widths():
    def log_integrands(index, z):
        narrow, wide = -0.5 * ((z + 3.37) / 0.01) ** 2 + math.log(100), -0.5 * ((z - 4) / 0.2) ** 2 + math.log(5)
        return np.logaddexp(narrow, wide)[None]

    values, _ = _integrals(log_integrands, np.linspace(-20, 20, 21))
    assert values[0, 0] == pytest.approx(2 * math.sqrt(2 * math.pi), rel=1e-10)


def test_an_undeclared_jump_is_found():
    values, _ = _integrals(lambda index, z: np.where(z > 0.123456789, 0.0, -np.inf)[None], [-1.0, 0.0, 1.0])
    assert values[0, 0] == pytest.approx(1 - 0.123456789, rel=tol.PANELS)


def test_no_mass_is_an_error():
    def log_integrands(index, z):
        return np.where(index[:, None] == 0, 0.0, -np.inf)[None] + 0.0 * z

    start = Panels(np.array([0]), np.array([0.0]), np.array([1.0]))
    with pytest.raises(ValueError, match=r"`log_integrands` must have mass"):
        adaptive_panels(log_integrands, start, 2)


def test_roughness_beyond_resolution_is_told():
    def log_integrands(index, z):
        return np.sin(1e7 * z)[None]

    with pytest.warns(RuntimeWarning, match="too rough"):
        adaptive_panels(log_integrands, _cover([0.0, 1.0]), 1)
