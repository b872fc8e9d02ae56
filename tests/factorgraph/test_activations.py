"""Activations: closed forms against the quadrature that serves any function, and the channels that have them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from members import SCALAR

from factorgraph.activations import ACTIVATIONS, Activation
from factorgraph.channels import Logistic, Probit

#: Of the closed forms against panels of 14 nodes, relative to 1; the rule of the sigmoid is good to 2e-6 up to V = 4.
CLOSED_FORM = 1e-8
SIGMOID_RULE = 2e-6


@pytest.mark.parametrize("name", ACTIVATIONS)
@given(mean=st.floats(-4, 4), variance=st.floats(0.01, 4))
def test_the_best_linear_function(name, mean, variance):
    ours = ACTIVATIONS[name]
    any_function = Activation(ours.function, kinks=ours.kinks)
    m, v = np.array([mean]), np.array([variance])
    for found, expected in zip(ours.linearised(m, v), any_function.linearised(m, v), strict=True):
        assert found == pytest.approx(expected, abs=SIGMOID_RULE if name == "sigmoid" else CLOSED_FORM)


@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"sign"}))
def test_derivatives(name):
    ours = ACTIVATIONS[name]
    z = np.array([-30.0, -3.0, -0.4, 0.7, 2.0, 40.0])
    assert ours.derivative(z) == pytest.approx(Activation(ours.function).derivative(z), abs=1e-9)
    assert np.all(np.abs(ours.derivative(np.linspace(-5, 5, 1001))) <= ours.steepest)
    assert np.all(np.isfinite(ours.derivative(np.array([-1e6, 1e6]))))


@pytest.mark.parametrize("channel", SCALAR, ids=repr)
def test_a_channel_without_noise_is_its_activation(channel):
    z = np.linspace(-3, 3, 13)
    np.testing.assert_array_equal(channel.nonlinearity(z), channel(z))
    assert set(channel.nonlinearity.kinks) <= set(channel.kinks)


@pytest.mark.parametrize(
    "channel", [channel for channel in SCALAR if not isinstance(channel, Logistic | Probit)], ids=repr
)
def test_a_channel_is_scale_free_where_it_says_so(channel):
    z = np.linspace(-3, 3, 13)
    assert np.array_equal(channel(7.0 * z), channel(z)) == channel.scale_free
