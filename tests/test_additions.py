"""What adding costs: a definition and a row in a table, then everything takes it. Outputs are in ``test_outputs``."""

from dataclasses import dataclass
from unittest import mock

import emulated_gpu
import numpy as np
import pytest

from deepnet import MessagePassingClassifier
from deepnet.app.cli import main
from deepnet.kernels.gpu import GpuOperations
from deepnet.network import ACTIVATIONS, WEIGHTS
from deepnet.outputs.probit import ProbitOutput
from deepnet.presets import PRESETS
from factorgraph import Graph, check_factor, exact, infer
from factorgraph.channels import Numeric, Probit
from factorgraph.dense.closures import CLOSURES
from factorgraph.dense.closures.mean_field import MeanField
from factorgraph.factors.base import Array, Group, Kind, Part, aligned, expand, numbers
from factorgraph.messages.natural import Outgoing
from factorgraph.priors import GaussBernoulli, Mixture
from models import Ensemble, state_evolution

pytestmark = pytest.mark.quick


def score(**settings):
    """Of a classifier with these settings on a task that a linear one solves."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((150, 6))
    y = X @ np.array([1.0, -1.0, 0.5, 0.0, 0.0, 0.0]) > 0
    options = {"hidden": (15,), "epochs": 12, "batch_size": 25, "random_state": 0} | settings
    return MessagePassingClassifier(**options).fit(X, y).score(X, y)


def helped(capsys, name):
    """Whether the help of the command line has a name."""
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--help"])
    return name in capsys.readouterr().out


@pytest.mark.parametrize("name, channel", [("noisy", Probit(2.0)), ("clipped", Numeric(np.tanh, name="tanh"))])
def test_an_activation(name, channel, capsys):
    with mock.patch.dict(ACTIVATIONS, {name: channel}):
        assert score(activation=name, hidden=(7,), epochs=4) > 0.75
        assert helped(capsys, name)
    evolution = state_evolution(Ensemble(Mixture([-1, 1], [1, 1]), [channel, Probit(5.0)], [1.5, 1.5]), iterations=3)
    assert 0.0 < evolution.mse[-1][0] < 1.0


def test_a_prior(capsys):
    prior = Mixture([-1, 0, 1], [1, 2, 1])
    with mock.patch.dict(WEIGHTS, {"ternary": prior}):
        assert score(weights="ternary") > 0.8
        assert helped(capsys, "ternary")
    evolution = state_evolution(Ensemble(prior, [Probit(5.0)], [3.0]), iterations=3)
    assert 0.0 < evolution.mse[-1][0] < 0.5


class Halved(MeanField):
    """Mean field that tells the weights half of what it knows."""

    name = "halved"

    def send(self, layer, above, operations, *, last):
        B = super().send(layer, above, operations, last=last)
        layer.H_in *= 0.5
        return B


def test_a_closure(capsys):
    with mock.patch.dict(CLOSURES, {"halved": Halved()}):
        assert score(closure="halved") > 0.8
        assert helped(capsys, "halved")


def test_an_output_and_a_preset_and_a_data_set_are_told_of(capsys):
    loud = mock.patch.dict(ProbitOutput.channels, {"loud": Probit(1.0)})
    with loud, mock.patch.dict(PRESETS, {"calm": PRESETS["paper"]}):
        assert helped(capsys, "loud") and helped(capsys, "calm")
    assert not helped(capsys, "loud")
    with mock.patch("deepnet.data.DATASETS", ("digits", "letters")):
        assert helped(capsys, "letters")
    with mock.patch("deepnet.kernels.devices.DEVICES", ("cpu", "abacus")):
        assert helped(capsys, "abacus")


ON_GPU = [{"activation": "noisy"}, {"closure": "halved"}, {"weights": "sparse"}, {"weights": "ternary"}]


@pytest.mark.parametrize("settings", [*ON_GPU, {"activation": "clipped", "closure": "bp", "tau": 2}], ids=str)
def test_on_a_gpu(settings, monkeypatch):
    """Formulas that are scalar kernels run there, captured; others on the processor, in steps that are not."""
    if emulated_gpu.COMPILER is None:
        pytest.skip("needs a C++ compiler to run the operations on the processor")
    monkeypatch.setattr("factorgraph.runtime.device_arrays._compiled", emulated_gpu.apply_compiled)
    operations = GpuOperations(emulated_gpu.EmulatedDevice())
    monkeypatch.setattr("deepnet.kernels.devices._gpu_operations", lambda device: operations)
    options = {"hidden": (3,), "epochs": 2, "damping": 0.5, "beta": 1.0} | settings
    with (
        mock.patch.dict(ACTIVATIONS, {"noisy": Probit(2.0), "clipped": Numeric(np.tanh, name="tanh")}),
        mock.patch.dict(CLOSURES, {"halved": Halved()}),
        mock.patch.dict(WEIGHTS, {"sparse": GaussBernoulli(0.5), "ternary": Mixture([-1, 0, 1], [1, 2, 1])}),
    ):
        scores = [score(device=device, **options) for device in ("cpu", "cuda")]
    assert (operations.device.captures > 0) == (not {"ternary", "clipped"} & set(settings.values()))
    assert scores[1] == pytest.approx(scores[0], abs=0.05) and scores[1] > 0.6


@dataclass(frozen=True, eq=False, init=False)
class Triple(Group):
    """Weight e^{J s t u}: a factor of one's own, with a rule."""

    J: Array
    parameter_names = ("J",)

    def __init__(self, s, t, u, *, J):
        object.__setattr__(self, "arguments", aligned((s, t, u)))
        object.__setattr__(self, "J", numbers("J", J, self.shape))

    def parts(self, layout):
        return [Part(TripleKind(), self.table(layout), (self.J,))]


@dataclass(frozen=True)
class TripleKind(Kind):
    """Its rule: atanh(tanh J Π tanh h) over the others."""

    spins = (True, True, True)
    name = "Triple"

    def rule(self, parameters, incoming, *, maximum=False):
        t = np.tanh(incoming.first)
        others = np.stack([t[:, 1] * t[:, 2], t[:, 0] * t[:, 2], t[:, 0] * t[:, 1]], axis=1)
        return Outgoing(np.arctanh(np.tanh(parameters[0])[:, None] * others))

    def log_partition(self, parameters, incoming):
        J, t = parameters[0], np.tanh(incoming.first).prod(axis=1)
        return np.log(np.cosh(J) + np.sinh(J) * t)

    def log_factor(self, parameters, *x):
        return expand(parameters[0], x[0]) * x[0] * x[1] * x[2]


def test_a_factor_kind():
    graph = Graph()
    s = graph.spins("s", 7, field=np.linspace(-0.4, 0.6, 7))
    graph.add(Triple(s[[0, 2, 4]], s[[1, 3, 5]], s[[2, 4, 6]], J=[0.5, -0.8, 1.1]))
    result, truth = infer(graph), exact(graph)
    assert result.exact and result.log_partition == pytest.approx(truth.log_partition, abs=1e-12)
    np.testing.assert_allclose(result["s"].mean, truth["s"].mean, atol=1e-12)
    assert check_factor(graph).largest < 1e-9
