"""A kind of layer that is not dense: a file and its row in a table, then it trains, is kept, and is told of."""

from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import pytest

from deepnet.app.cli import main
from deepnet.app.run import Run
from deepnet.bench.cost import message_passing
from deepnet.config import Config
from deepnet.cost import Cost
from deepnet.layers import KINDS, DensePlan
from deepnet.network import perceptron
from deepnet.observables import expected_preactivations
from deepnet.predict import predict_bayes, predict_pointwise
from deepnet.state import check_arrays
from deepnet.train import DivergenceError, Evaluation, init, metrics, train_epoch
from factorgraph import priors
from factorgraph.channels import Sign
from factorgraph.dense.numpy_operations import NumpyOperations
from factorgraph.dense.operations import Backward, Forward
from factorgraph.factors import Bilinear
from factorgraph.model.description import Model, Variable
from models.preactivation import StochasticWeights

#: Sums of the same float32 terms in another order, through some epochs.
SAME_SUMS = 1e-4


@dataclass(frozen=True)
class Flips:
    """output_in = P(·|s_i input_in): a ±1 weight for each unit, and no sum."""

    output: str
    weights: str
    inputs: str
    channel: Any

    @property
    def variables(self):
        return (self.output, self.weights, self.inputs)

    def check(self, model):
        pass

    def __str__(self):
        return f"{self.output} ~ {self.channel}({self.weights} * {self.inputs})"


@dataclass(frozen=True)
class FlipsPlan:
    """What a layer of flips is."""

    name: str
    features: int
    channel: Any
    scale: float = 1.0

    def __str__(self):
        return f"{self.name}: {self.features} flips"

    @classmethod
    def of(cls, model, factor, closure, input_channel):
        return cls(factor.weights, model.shape(factor.weights)[0], factor.channel)

    @property
    def outputs(self):
        return self.features

    @property
    def weights(self):
        return self.features

    @property
    def on_gpu(self):
        return False

    def state_shapes(self):
        return {"bias_to_plus": (self.features,), "mean": (self.features,)}

    def initial_layer(self, size, rng, dtype, below):
        start = (size * rng.standard_normal(self.features)).astype(dtype)
        return FlipsLayer(self, start, np.tanh(start))

    def cost(self):
        return Cost(flops=6.0 * self.features)


@dataclass
class FlipsLayer:
    """Mean field for s: the state is one natural parameter for each flip, and its damped mean."""

    plan: FlipsPlan
    field: Any
    mean: Any
    to_inputs: Any = None

    def state(self):
        return {"bias_to_plus": self.field, "mean": self.mean}

    def restore(self, state):
        for name, own in self.state().items():
            own[...] = state[name]

    def drawn(self):
        return None

    def copied(self, convert, operations, below):
        copy = FlipsLayer(self.plan, convert(self.field), convert(self.mean))
        if not isinstance(copy.field, np.ndarray):
            raise ValueError("`device` must be cpu for a layer of flips")
        return copy

    def watched(self):
        return {"field": (self.field, 1e12)}

    def settle(self):
        pass

    def learn_prior(self):
        return False

    def start(self, update):
        pass

    def base(self, *, copied):
        return self.field.copy()

    def receive(self, mean, variance):
        self.x, self.x_variance = mean, np.zeros_like(mean) if variance is None else variance

    def forward(self, operations, *, last, free_moments):
        m = self.mean[:, None]
        return Forward(m * self.x, m * m * self.x_variance + (1 - m * m) * (self.x**2 + self.x_variance) + 1e-8)

    def backward(self, operations, above, base, update, *, last):
        m = self.mean[:, None]
        sent = Backward(m * self.g, np.maximum(self.gamma - (1 - m * m) * self.g**2, 0.0))
        received = update.beta * (self.x * self.g).sum(axis=1) + update.rho * base
        self.field[...] = update.reinforcement * self.field + received
        self.mean[...] = update.damping * self.mean + (1 - update.damping) * np.tanh(self.field)
        return sent

    def most_probable(self):
        s = np.where(self.mean >= 0, 1, -1).astype(self.mean.dtype)
        return lambda x: s[:, None] * x

    def polarization(self):
        return float(np.mean(self.mean**2))

    def overlap(self):
        return 0.0

    def stochastic_weights(self):
        edges = np.eye(self.plan.features, dtype=bool)
        return StochasticWeights(np.diag(self.mean), np.diag(1 - self.mean**2), True, mask=edges)


def network_with(layer, widths, **settings):
    """In place of ``perceptron``: the layer between the two hidden ones, which are equally wide, is another one."""
    model = perceptron(widths, **settings)
    factors, variables = list(model.factors), dict(model.variables)
    factors[1], variables["W1"] = layer(factors[1], widths[1])
    return Model.of(model.plates, variables.values(), factors)


def flips(factor, width):
    return Flips(factor.output, "W1", factor.inputs, factor.channel), Variable("W1", ("units1",), priors.Binary())


def diagonal(factor, width):
    mask = np.eye(width, dtype=bool)
    weights = Variable("W1", ("units2", "units1"), priors.Binary())
    return Bilinear(factor.output, "W1", factor.inputs, factor.channel, mask=mask), weights


def built_of(layer):
    return mock.patch("deepnet.state.perceptron", lambda widths, **settings: network_with(layer, widths, **settings))


@pytest.fixture
def with_flips():
    with mock.patch.dict(KINDS, {Flips: FlipsPlan}), built_of(flips):
        yield


def data():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((80, 6)).astype(np.float32)
    return x, np.argmax(x[:, :3], axis=1)


CONFIG = Config(hidden=(9, 9), batch_size=16, epochs=4, damping=0.9, rho=0.95, beta=0.3, eps_init=0.3)


@pytest.mark.parametrize("tau", [1, 2])
@pytest.mark.parametrize("activation", ["sign", "relu"])
@pytest.mark.parametrize("compiled", [True, False])
def test_it_trains_as_the_same_dense_layer(with_flips, activation, tau, compiled):
    """A dense layer of which the edges are a diagonal has the same equations, with the same fields to start from."""
    config = Config(**(CONFIG.to_json() | {"activation": activation, "tau": tau, "reinforcement": 0.2}))
    ours = init(config, 6, 3)
    with built_of(diagonal):
        theirs = init(config, 6, 3)
    assert isinstance(ours.layers[1], FlipsLayer) and isinstance(theirs.layers[1].plan, DensePlan)
    for name, values in ours.arrays().items():
        if not name.startswith("W1"):
            theirs.restore(theirs.arrays() | {name: values}, 0)
    start = np.diag(ours.layers[1].field)
    theirs.restore(theirs.arrays() | {"W1.H": start, "W1.mean": np.tanh(start)}, 0)
    if not compiled:
        ours.operations = theirs.operations = NumpyOperations()
    x, y = data()
    for _ in range(2):
        for network in (ours, theirs):
            train_epoch(network, x, y)
    assert np.abs(ours.layers[1].field - np.diag(start)).max() > 0.5 * np.abs(start).max()
    for name in ("W0.H", "W2.H"):
        expected = theirs.arrays()[name]
        np.testing.assert_allclose(ours.arrays()[name], expected, atol=SAME_SUMS * np.abs(expected).max(), rtol=0)
    found, expected = ours.layers[1].field, np.diag(theirs.layers[1].H)
    np.testing.assert_allclose(found, expected, atol=SAME_SUMS * np.abs(expected).max(), rtol=0)
    measured = [metrics(network, Evaluation(x, y, x, y)) for network in (ours, theirs)]
    for name, value in measured[0].items():
        assert value == pytest.approx(measured[1][name], rel=1e-3, abs=1e-5), name
    for predict in (predict_bayes, predict_pointwise):
        labels = [predict(network.layers, x, network.operations) for network in (ours, theirs)]
        np.testing.assert_array_equal(*labels)
    sums = [expected_preactivations(network.layers) for network in (ours, theirs)]
    for a, b in zip(*sums, strict=True):
        assert vars(a) == pytest.approx(vars(b), rel=1e-3)


def test_a_run_is_kept_taken_up_and_shown(with_flips, tmp_path, capsys):
    options = ["--hidden", "8", "8", "--batch-size", "300", "--preset", "paper", "--no-plot"]
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    for folder, epochs in ((whole, "3"), (cut, "2")):
        assert main(["train", "digits", *options, "--epochs", epochs, "--out", str(folder)]) == 0
    assert main(["train", "digits", *options, "--epochs", "3", "--out", str(cut), "--resume"]) == 0
    again, straight = (Run.open(folder).load() for folder in (cut, whole))
    assert list(again.arrays()) == ["W0.H", "W0.mean", "W1.bias_to_plus", "W1.mean", "W2.H", "W2.mean"]
    for name, values in again.arrays().items():
        assert values.tobytes() == straight.arrays()[name].tobytes(), name
    capsys.readouterr()
    assert main(["evaluate", str(cut), "digits"]) == 0
    assert main(["show", str(cut)]) == 0
    text = capsys.readouterr().out
    assert "W1: 8 flips" in text and "x2 ~ Sign()(W1 * x1)" in text
    assert f"W1         {again.layers[1].polarization():12.4f}" in text


def test_what_is_wrong_with_it_is_said(with_flips):
    network = init(CONFIG, 6, 3)
    arrays = network.arrays()
    check_arrays(arrays, CONFIG, 6, 3)
    with pytest.raises(ValueError, match=r"saved 'W1.bias_to_plus' must be float32 of shape \(9,\)"):
        check_arrays(arrays | {"W1.bias_to_plus": np.zeros(8, np.float32)}, CONFIG, 6, 3)
    with mock.patch("deepnet.state.total_memory", lambda: 4.0 * (2 * 54 + 2 * 9 + 2 * 27) - 1):
        with pytest.raises(ValueError, match="`hidden` must make a network that fits into the memory"):
            init(CONFIG, 6, 3)
    assert message_passing(layer.plan for layer in network.layers).flops == 2 * (3 * 54 + 4 * 27) + 6 * 9
    network.layers[1].field[3] = np.nan
    with pytest.raises(DivergenceError, match="layer W1, quantity field, largest value nan"):
        train_epoch(network, *data())


def test_it_may_be_the_first_layer():
    assert Sign().spin
    with mock.patch.dict(KINDS, {Flips: FlipsPlan}):
        plates = {"units0": 6, "units1": 6, "units2": 3, "samples": None}
        variables = [
            Variable("x0", ("units0", "samples"), observed=True),
            Variable("S", ("units0",), priors.Binary()),
            Variable("x1", ("units1", "samples"), spin=True),
            Variable("W", ("units2", "units1"), priors.Binary()),
            Variable("y", ("samples",), observed=True),
        ]
        output = perceptron([6, 3], output="argmax").factors[0].channel
        factors = [Flips("x1", "S", "x0", Sign()), Bilinear("y", "W", "x1", output)]
        model = Model.of(plates, variables, factors)
        with mock.patch("deepnet.state.model", lambda *_: model):
            network = init(Config(hidden=(6,), batch_size=16, epochs=10), 6, 3)
            x, y = data()
            for _ in range(10):
                train_epoch(network, x, y)
            assert metrics(network, Evaluation(x, y, x, y))["train_error"] < 60.0
