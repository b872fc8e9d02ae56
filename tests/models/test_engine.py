"""Inference with known weights is the engine's on the same description: relaxed BP layer by layer and edge by edge."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from members import HIDDEN, PRIORS, SCALAR

from factorgraph import infer
from factorgraph.channels import Absolute, Identity, Numeric
from factorgraph.messages.ranges import VARIANCE_FLOOR
from factorgraph.priors import Gaussian
from models import MultiLayerGLM
from models.inference import chain

pytestmark = pytest.mark.quick

#: Sums of a dozen float64 terms through up to four iterations, each of which may enlarge an error some tenfold.
UNROLLED = 1e-10

#: Without those whose averages are quadratures, which take their time.
OUTPUTS = [channel for channel in SCALAR if not isinstance(channel, Numeric)]
UNITS = [channel for channel in HIDDEN if channel in OUTPUTS and channel != Identity()]
SIGNALS = [each[-1] for each in PRIORS.values()]


@st.composite
def models(draw):
    """A model of one or two layers, its matrices, and an output of it."""
    sizes = [draw(st.integers(2, 6)) for _ in range(draw(st.integers(2, 3)))]
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    prior = draw(st.sampled_from(SIGNALS))
    channels = [draw(st.sampled_from(UNITS)) for _ in sizes[2:]] + [draw(st.sampled_from(OUTPUTS))]
    # From the prior's mean nothing starts where the sign is not seen: there inference begins elsewhere by itself.
    assume(not isinstance(channels[0], Absolute) or prior.moments(H=0.0, G=0.0)[0] != 0.0)
    matrices = [rng.standard_normal((m, n)) / np.sqrt(n) for n, m in itertools.pairwise(sizes)]
    signal = prior.sample((sizes[0], draw(st.integers(1, 2))), rng)
    for W, channel in zip(matrices, channels, strict=True):
        signal = channel.sample(W @ signal, rng)
    return MultiLayerGLM(prior, matrices, channels), matrices, signal


@settings(max_examples=60)
@given(models(), st.integers(1, 4))
def test_layers_send_what_edges_send(drawn, iterations):
    """Where no precision is negative, which layers take for 0, edges as it is, and with the least variance of edges."""
    model, matrices, y = drawn
    clipped = []

    def look(number, state):
        clipped.extend(
            (layer.squares.T @ layer.gamma).min() < 0 for layer in state.layers if not layer.plan.spin_inputs
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain, "_min_variance", lambda layer: VARIANCE_FLOOR)
        options = {"damping": 0.0, "iterations": iterations, "tolerance": 0.0}
        layers = model.infer(y, closure="bp", callback=look, **options)
    assume(not any(clipped) and layers.status != "diverged")
    known = {f"W{i}": W for i, W in enumerate(matrices)}
    edges = infer(
        model.description(),
        observed=known | {"y": y},
        schedule="forward-backward",
        max_sweeps=layers.iterations,
        tolerance=0.0,
    )
    mean, variance = model.prior.moments(H=layers.field[0], G=layers.field[1])
    for ours, theirs in ((edges["x0"].mean, mean), (edges["x0"].variance, variance)):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=UNROLLED * max(1.0, np.abs(theirs).max()))


def test_what_is_compared_is_not_nothing():
    """The messages move the estimate, and BP is not AMP."""
    rng = np.random.default_rng(0)
    W, x = rng.standard_normal((8, 6)) / 6**0.5, rng.standard_normal(6)
    model = MultiLayerGLM(Gaussian(), [W], [Identity(0.1)])
    options = {"damping": 0.0, "iterations": 3, "tolerance": 0.0}
    bp, amp = (model.infer(W @ x, closure=closure, **options) for closure in ("bp", "amp"))
    assert np.abs(bp.signal.mean).max() > 0.1 and np.abs(bp.signal.mean - amp.signal.mean).max() > 1e-3
