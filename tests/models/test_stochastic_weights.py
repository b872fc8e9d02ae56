"""Networks of stochastic weights: signal, messages and sums, against sampled networks and real sweeps."""

import numpy as np
import pytest
from tolerances import ERRORS, FINITE_WIDTH

from deepnet import Config, MessagePassingClassifier
from deepnet.lower import lower
from deepnet.network import perceptron
from deepnet.observables import expected_preactivations
from deepnet.sweep import Update, initial_layers, train_batch
from factorgraph.dense.numpy_operations import NumpyOperations
from models.preactivation import (
    LINEAR,
    RELU,
    SIGN,
    StochasticWeights,
    critical_field,
    expected_sums,
    field_size,
    matched,
    mean_square,
    propagate,
    signal_path,
)

SAMPLES, WIDTH, DEPTH = 200, 301, 3


def swept(eps, activation="sign", seed=0):
    """A network after one mini-batch of random signs with nothing learned: x̂ and g of the first sweep stay in it."""
    rng = np.random.default_rng(seed)
    plans = lower(perceptron([WIDTH] * (DEPTH + 1) + [1], activation=activation), "mf")
    layers = initial_layers(plans, eps_init=eps, rng=rng, dtype=np.float64)
    x = rng.choice([-1.0, 1.0], size=(WIDTH, SAMPLES))
    y = rng.choice([-1.0, 1.0], size=(1, SAMPLES))
    train_batch(layers, x, y, [Update()] * len(layers), operations=NumpyOperations())
    return layers


@pytest.mark.parametrize("eps", [0.8, 3.0])
def test_signal_and_messages_of_a_real_sweep(eps):
    """Overlap q = <x̂²> of every layer and the decrease of <g²> from layer to layer."""
    layers = swept(eps)
    path = signal_path([mean_square(eps)] * (DEPTH + 1), [SIGN] * DEPTH)
    for layer, q in zip(layers, path.overlap, strict=True):
        assert np.mean(layer.x_mean**2) == pytest.approx(q, rel=FINITE_WIDTH)
    squares = [np.mean(layer.g**2) for layer in layers]
    for below, above, gain in zip(squares[:-2], squares[1:-1], path.gain[:-1], strict=True):
        assert below / above == pytest.approx(gain, rel=FINITE_WIDTH)
    # One output sends 1/WIDTH of what as many outputs as inputs send, by weights whose <m²> is left to chance.
    assert squares[-2] * WIDTH / squares[-1] == pytest.approx(path.gain[-1], rel=2 * FINITE_WIDTH)


def test_progress_is_the_change_of_the_likelihood():
    """(1 - m²) H_in² of a real sweep, as a function of ε, up to what the output contributes to all layers."""
    found, expected = [], []
    for eps in (1.0, 2.0, 4.0):
        layers, path = swept(eps), signal_path([mean_square(eps)] * (DEPTH + 1), [SIGN] * DEPTH)
        progress = [np.mean((1.0 - layer.mean**2) * (layer.g**2 @ (layer.x_mean**2).T)) / SAMPLES for layer in layers]
        found.append(np.log(progress) - np.log(np.mean(layers[-1].g ** 2)))
        expected.append(path.log_progress)
    assert np.diff(found, axis=0) == pytest.approx(np.diff(expected, axis=0), abs=3 * FINITE_WIDTH)


def test_critical_field():
    fields = [critical_field([SIGN] * depth) for depth in (1, 2, 5, 10)]
    assert np.all(np.diff(fields) > 0)
    for depth, field in zip((1, 2, 5, 10), fields, strict=True):
        best = signal_path([mean_square(field)] * (depth + 1), [SIGN] * depth).log_progress.mean()
        for other in (0.9 * field, 1.1 * field):
            assert signal_path([mean_square(other)] * (depth + 1), [SIGN] * depth).log_progress.mean() < best
        assert 0.8 * depth < field < 2.0 * (depth + 1)
    assert field_size(mean_square(2.3)) == pytest.approx(2.3)
    with pytest.raises(ValueError, match="at least one hidden layer"):
        critical_field([])
    with pytest.raises(ValueError, match=r"`mean_squares` must be 2 numbers in \(0, 1\)"):
        signal_path([0.5, 1.0], [SIGN])
    with pytest.raises(ValueError, match=r"`polarization` must be a finite number > 0 and < 1, got 1"):
        field_size(1.0)
    with pytest.raises(ValueError, match="`field` must be a finite number >= 0"):
        mean_square(np.inf)


def test_no_field_keeps_the_signal_of_sign_units():
    for m2 in (0.5, 0.9, 0.999):
        path = signal_path([m2] * 30, [SIGN] * 29)
        assert np.all(np.diff(path.overlap) < 0) and path.overlap[-1] < 0.05
        assert path.gain[-1] == pytest.approx(2 / np.pi * m2, rel=0.01)


def test_critical_is_a_setting():
    config = Config(hidden=(31,) * 5, eps_init="critical")
    assert config.initial_sizes() == pytest.approx((critical_field([SIGN] * 5),) * 6)
    assert Config.from_json(config.to_json()) == config
    assert Config(eps_init=(1.0, 2.0, 3.0)).initial_sizes() == (1.0, 2.0, 3.0)
    X = np.random.default_rng(0).normal(size=(40, 5))
    model = MessagePassingClassifier(hidden=(11, 11), eps_init="critical", epochs=1).fit(X, X[:, 0] > 0)
    assert model.network_.config.initial_sizes()[0] == pytest.approx(critical_field([SIGN] * 2))
    layers = initial_layers(
        lower(perceptron([50, 40, 30, 1]), "mf"), eps_init=(0.5, 2.0, 8.0), rng=np.random.default_rng(0)
    )
    assert [layer.H.std() for layer in layers[:2]] == pytest.approx([0.5, 2.0], rel=0.1)


# --- sums -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function, scale, spin", [(SIGN, 1.0, True), (RELU, 0.25, False)])
def test_kurtosis_of_sampled_sums(function, scale, spin):
    """All weights of two layers drawn many times; the units of the hidden layer are independent given the data."""
    rng, n, blocks, size = np.random.default_rng(4), 16, 30, 1500
    layers = []
    for _ in range(2):
        mean = np.tanh(1.5 * rng.normal(size=(n, n))) if spin else rng.normal(size=(n, n))
        variance = 1.0 - mean**2 if spin else rng.gamma(2.0, 0.2, size=(n, n))
        layers.append(StochasticWeights(mean, variance, spin, scale))
    x = rng.choice([-1.0, 1.0], size=n)
    draws = []
    for _ in range(blocks):
        units = np.broadcast_to(x, (size, n))
        for layer in layers:
            if spin:
                W = np.where(rng.random((size, n, n)) < 0.5 * (1.0 + layer.mean), 1.0, -1.0)
            else:
                W = layer.mean + np.sqrt(layer.variance) * rng.standard_normal((size, n, n))
            z = scale * np.einsum("nki,ni->nk", W, units)
            units = function(z)
        draws.append(z)
    z = np.concatenate(draws)
    z -= z.mean(axis=0)
    fourth = np.array([np.mean(part**4 - 3.0 * np.mean(part**2, axis=0) ** 2) for part in np.split(z, blocks)])
    kurtosis = fourth / np.mean(np.mean(z**2, axis=0) ** 2)
    error = kurtosis.std(ddof=1) / blocks**0.5
    expected = expected_sums(layers, [function])
    assert abs(kurtosis.mean() - expected[1].excess_kurtosis) < ERRORS * error + 0.15 * abs(kurtosis.mean())
    assert abs(kurtosis.mean()) > 4.0 * error, "too few draws to see the non-Gaussianity"


def test_sums_of_known_data_have_the_kurtosis_of_the_weights():
    m = np.tanh(np.random.default_rng(0).normal(size=(30, 50)))
    (found,) = expected_sums([StochasticWeights(m, 1.0 - m**2, True)], [])
    exact = np.mean(-2.0 * (1.0 - m**2) * (1.0 - 3.0 * m**2)) / np.mean(1.0 - m**2) ** 2 / 50
    assert found.excess_kurtosis == pytest.approx(exact) and found.known == pytest.approx(np.mean(m**2))
    mask = np.zeros((30, 50), dtype=bool)
    mask[:, :10] = True
    (thin,) = expected_sums([StochasticWeights(m, 1.0 - m**2, True, mask=mask)], [])
    assert thin.inputs == 10.0 and abs(thin.excess_kurtosis) > 2 * abs(found.excess_kurtosis)
    with pytest.raises(ValueError, match="one shape"):
        StochasticWeights(m, m[:2], True)
    with pytest.raises(ValueError, match="must leave an edge"):
        StochasticWeights(m, 1.0 - m**2, True, mask=np.zeros_like(mask))
    with pytest.raises(ValueError, match=r"`activations` must be 0"):
        expected_sums([StochasticWeights(m, 1.0 - m**2, True)], [SIGN])


def test_sums_of_a_network():
    """At the start of training, signal as by the recursion; certain weights leave sums that are not Gaussian."""
    layers = swept(2.0)
    path = signal_path([mean_square(2.0)] * (DEPTH + 1), [SIGN] * DEPTH)
    sums = expected_preactivations(
        initial_layers([layer.plan for layer in layers], eps_init=2.0, rng=np.random.default_rng(1))
    )
    assert [s.known for s in sums] == pytest.approx(path.overlap * path.mean_square, rel=FINITE_WIDTH)
    certain = initial_layers([layer.plan for layer in layers], eps_init=300.0, rng=np.random.default_rng(1))
    assert abs(expected_preactivations(certain)[0].excess_kurtosis) > 10 * abs(sums[0].excess_kurtosis)


def test_weights_matched_by_an_ensemble():
    rng = np.random.default_rng(0)
    weights = [rng.choice([-1.0, 1.0], size=shape) for shape in ((40, 30), (20, 40), (1, 20))]
    x = rng.normal(size=30)
    found = matched(x, weights, SIGN)
    expected = propagate(x, [40, 20], SIGN, weight_variance=[30.0, 40.0, 20.0], weight_kurtosis=-2.0)
    for one, other in zip(found, expected, strict=True):
        assert one.excess_kurtosis == pytest.approx(other.excess_kurtosis)
        assert one.covariance == pytest.approx(other.covariance)
    with pytest.raises(ValueError, match=r"`weights` must be matrices \(outputs, inputs\) from 30 inputs up"):
        matched(x, weights[1:], LINEAR)
    with pytest.raises(ValueError, match="not zero in every layer"):
        matched(x, [np.zeros((2, 30))], LINEAR)
