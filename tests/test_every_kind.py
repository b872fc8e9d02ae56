"""Every module imported and every kind of thing run once, by what the packages export: the heart of ``make quick``."""

import argparse
import importlib
import itertools

import numpy as np
import pytest
import source_tree
import tolerances as tol
from members import CHANNELS, FACTORS, HIDDEN, PRIORS, SCALAR

from deepnet.app.cli import main, parser
from deepnet.kernels import CpuOperations
from deepnet.lower import lower
from deepnet.network import ACTIVATIONS as UNITS
from deepnet.network import WEIGHTS, perceptron
from deepnet.outputs import OUTPUTS, kind_named
from deepnet.sweep import Update, initial_layers, train_batch
from factorgraph import Graph, Pairwise, check_factor, exact, infer
from factorgraph.activations import ACTIVATIONS, Activation
from factorgraph.channels import Channel
from factorgraph.dense.closures import CLOSURES
from factorgraph.dense.numpy_operations import NumpyOperations
from factorgraph.engine.infer import SCHEDULE_NAMES
from models import GLM
from models.inference.multilayer import CLOSURE_NAMES

pytestmark = pytest.mark.quick

#: Libraries that a module may need and that not everybody has.
OPTIONAL = {"torch", "cupy", "mpi4py", "onnx"}

STEP = 1e-4
#: Of central differences with this step, whose third derivatives are a few units.
DIFFERENCE = 1e-6
#: Two implementations of one iteration, in float64.
SAME = 1e-9
#: Of a projected message by numerical integration.
PROJECTED = 1e-5


def test_modules():
    """All can be imported, but for those that need a library that is not there."""
    for name in source_tree.modules().keys() - {"deepnet.__main__"}:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            assert error.name in OPTIONAL, name


@pytest.mark.parametrize("channel", SCALAR, ids=str)
def test_channel(channel: Channel):
    """g is the derivative of phi, and Γ minus that of g, hidden and observed; samples can be observed."""
    z = np.linspace(-1.2, 1.3, 6)
    y = channel.sample(z[::-1], np.random.default_rng(0))
    calls = [lambda omega: channel.observe(y, omega=omega, V=1.7)]
    if channel in HIDDEN:
        calls.append(lambda omega: channel.evaluate(B=0.4, A=0.3, omega=omega, V=1.7))
    for call in calls:
        low, here, high = (call(z + shift) for shift in (-STEP, 0.0, STEP))
        np.testing.assert_allclose(here.g, (high.phi - low.phi) / (2 * STEP), atol=DIFFERENCE)
        np.testing.assert_allclose(here.gamma, -(high.g - low.g) / (2 * STEP), atol=DIFFERENCE)
        assert np.abs(here.g).max() > 0.01


@pytest.mark.parametrize("channel", [c for each in CHANNELS.values() for c in each if c not in SCALAR], ids=str)
def test_channel_of_vectors(channel):
    omega, y = np.array([[0.3, -0.5], [0.1, 0.2], [-0.4, 0.6]]), np.array([0, 2])

    def call(shift):
        return channel.observe(y, omega=omega + shift, V=1.3, rng=np.random.default_rng(0))

    for k in range(3):
        shift = STEP * (np.arange(3) == k)[:, None]
        low, here, high = call(-shift), call(0.0), call(shift)
        np.testing.assert_allclose(here.g[k], (high.phi - low.phi) / (2 * STEP), atol=DIFFERENCE)
        np.testing.assert_allclose(here.gamma[k], -(high.g[k] - low.g[k]) / (2 * STEP), atol=DIFFERENCE)


@pytest.mark.parametrize("prior", [prior for each in PRIORS.values() for prior in each], ids=str)
def test_prior(prior):
    """The mean is the derivative of psi, and the variance that of the mean."""
    H = np.linspace(-1.2, 1.3, 6)
    low, here, high = (prior.evaluate(H=H + shift, G=0.8) for shift in (-STEP, 0.0, STEP))
    np.testing.assert_allclose(here.mean, (high.psi - low.psi) / (2 * STEP), atol=DIFFERENCE)
    np.testing.assert_allclose(here.variance, (high.mean - low.mean) / (2 * STEP), atol=DIFFERENCE)
    assert np.isfinite(prior.sample(5, np.random.default_rng(0))).all()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name):
    """Its best linear function is that by quadrature."""
    ours = ACTIVATIONS[name]
    any_function = Activation(ours.function, kinks=ours.kinks)
    mean, variance = np.array([0.3, -1.0]), np.array([0.7, 2.0])
    for found, expected in zip(ours.linearised(mean, variance), any_function.linearised(mean, variance), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", FACTORS)
def test_factor_kind(name):
    """Its messages are the integrals that they stand for: roughly, where sums of three terms pass for Gaussian."""
    found = check_factor(FACTORS[name](), cases=2)
    approximate = {"Bilinear": 0.2, "Neurons": 0.1, "LinearMap": PROJECTED}
    assert found.compared >= 6 and found.largest < approximate.get(name, tol.QUADRATURE_RULE)


@pytest.mark.parametrize("schedule", SCHEDULE_NAMES)
def test_schedule(schedule):
    graph = Graph()
    s, x = graph.spins("s", 5, field=0.3), graph.reals("x", 4, precision=2.0, field=[0.5, -1.0, 0.2, 0.0])
    graph.add(Pairwise(s[1:], s[:-1], coupling=[0.5, -0.7, 0.3, 1.1]))
    graph.add(Pairwise(x[1:], x[0], coupling=[0.5, -0.4, 0.8]))
    result, truth = infer(graph, schedule=schedule), exact(graph)
    assert result.converged
    for name in ("s", "x"):
        np.testing.assert_allclose(result[name].mean, truth[name].mean, atol=tol.LOOPY)


@pytest.mark.parametrize("closure", CLOSURES)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_network(closure, weights):
    """Every unit and every output with every closure, by NumPy and by compiled loops."""
    for unit, output in itertools.product(UNITS, OUTPUTS):
        rng = np.random.default_rng(0)
        kind = kind_named(output)
        model = perceptron([6, 5, kind.units_for(3)], weights=weights, activation=unit, output=output)
        x = rng.standard_normal((6, 4))
        labels = rng.integers(0, 3, 4) if kind.units_for(3) == 3 else rng.choice([-1.0, 1.0], (1, 4))
        y = rng.poisson(1.0, (3, 4)).astype(np.float64) if kind.numeric else labels
        fields = []
        for operations in (NumpyOperations(), CpuOperations()):
            layers = initial_layers(lower(model, closure), eps_init=0.7, rng=np.random.default_rng(1), dtype=np.float64)
            before = layers[0].H.copy()
            train_batch(layers, x, y, [Update()] * 2, operations=operations, tau=2, rng=np.random.default_rng(2))
            assert np.abs(layers[0].H - before).max() > 1e-3
            fields.append([layer.H for layer in layers])
        for one, other in zip(*fields, strict=True):
            np.testing.assert_allclose(one, other, atol=SAME * np.abs(one).max())


@pytest.mark.parametrize("closure", CLOSURE_NAMES)
def test_inference_with_known_weights(closure):
    rng = np.random.default_rng(0)
    prior, channel = PRIORS["GaussBernoulli"][-1], CHANNELS["Identity"][-1]
    W, x = rng.standard_normal((40, 20)) / 20**0.5, prior.sample(20, rng)
    result = GLM(prior, W, channel).infer(channel.sample(W @ x, rng), closure=closure, truth=x)
    assert result.mse is not None and result.mse[0] < 0.5 * np.mean((x - x.mean()) ** 2)


TINY = ["digits", "--hidden", "9", "--epochs", "1", "--no-plot", "--out", "run"]
COMMANDS = {
    "train": [*TINY],
    "evaluate": ["run", "digits"],
    "predict": ["run", "digits.npy", "--out", "predictions.csv"],
    "report": ["run", "--out", "report.html"],
    "show": ["run"],
    "export": ["run", "--out", "run.packed"],
    "flatness": ["run", "--samples", "50", "--points", "3", "--repeats", "2", "--no-plot"],
    "sweep": ["spec.toml", "--serial", "--no-plot", "--out", "sweep"],
    "bench": ["--network", "20-7-3", "--samples", "60", "--batch-size", "15", "--rounds", "1", "--seconds", "0.01",
              "--no-baseline", "--closure", "mf"],
}  # fmt: skip


def test_commands(tmp_path, monkeypatch, capsys):
    """All that the parser knows, one after the other on one run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.toml").write_text("seeds = 1\n[settings]\ndataset = 'digits'\nhidden = [9]\nepochs = 1\n")
    np.save(tmp_path / "digits.npy", np.zeros((3, 8, 8), np.uint8))
    (known,) = (action.choices for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    assert COMMANDS.keys() == known.keys()
    for command, arguments in COMMANDS.items():
        assert main([command, *arguments]) == 0
        assert capsys.readouterr().out
