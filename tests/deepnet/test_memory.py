"""What is kept of the batches seen: a covariance of the inputs, against dense algebra, enumeration and the fields."""

import itertools
from collections.abc import Iterator
from typing import Any

import emulated_gpu
import numpy as np
import pytest
from emulated_gpu import EmulatedDevice
from sweep_problems import FLOAT32_SWEEP

from deepnet import MessagePassingClassifier, load_tasks
from deepnet.app.cli import main
from deepnet.config import Config
from deepnet.continual import accuracies, average_accuracy
from deepnet.kernels.gpu import GpuOperations
from deepnet.layers.covariance import FREE, CovarianceLayer, common
from deepnet.layers.sites import SitesLayer
from deepnet.state import init
from deepnet.sweep import train_batch
from deepnet.train import Network, output_labels, train_epoch, updates
from factorgraph.dense.numpy_operations import NumpyOperations
from factorgraph.dense.operations import Operations
from factorgraph.dense.state import Array

STREAM: dict[str, Any] = {"memory": "covariance", "preset": "stream", "hidden": (9, 7)}


def correlated(samples: int, features: int, rng: np.random.Generator, size: float = 3.0) -> Array:
    """Inputs that are much alike, as images are."""
    return rng.normal(size=(samples, features)) + size * rng.normal(size=features)


def batches(network: Network, number: int = 3, samples: int = 6) -> Iterator[tuple[Array, Array]]:
    rng, plans = np.random.default_rng(1), [layer.plan for layer in network.layers]
    for _ in range(number):
        x = correlated(samples, plans[0].features, rng).T.astype(network.config.dtype)
        yield x, output_labels(network, rng.integers(0, plans[-1].outputs, samples))


@pytest.mark.parametrize("settings", [{}, {"beta": 0.3, "damping": 0.0}, {"bias": True}, {"rho": 0.99}], ids=str)
def test_precisions_add_up(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """C⁻¹ grows by Σ βτ x xᵀ and H by (1-α)βH_in C, by inversion; with ρ < 1, or no room, C relaxes to 1."""
    network = init(Config(**STREAM | settings, dtype="float64"), 5, 3)
    found: dict[str, Array] = {}
    layers: Any = network.layers
    own = CovarianceLayer.evidence

    def recorded(self: CovarianceLayer, operations: Operations) -> Array:
        found[self.plan.name] = own(self, operations)
        return found[self.plan.name]

    monkeypatch.setattr(CovarianceLayer, "evidence", recorded)
    now = updates(network.config, 0)
    expected = [np.eye(layer.plan.inputs) for layer in layers]
    for x, y in batches(network):
        before = [layer.H.copy() for layer in layers]
        train_batch(layers, x, y, updates(network.config, 0), operations=network.operations)
        for number, layer in enumerate(layers):
            assert isinstance(layer, CovarianceLayer)
            tau = found[layer.plan.name]
            assert (tau >= 0).all() and (tau.max() > 0 or layer is not layers[-1])
            C = np.linalg.inv(np.linalg.inv(expected[number]) + (layer.x_mean * tau) @ layer.x_mean.T)
            H = before[number] + (1 - now[number].damping) * now[number].beta * layer.g @ layer.x_mean.T @ C
            np.testing.assert_allclose(layer.H, H, atol=1e-9 * np.abs(H).max())
            room = (FREE - np.trace(C) / len(C)) / (np.trace(C - C @ C) / len(C))
            expected[number] = C + min(1, max(0, 1 - now[number].rho, room)) * (C - C @ C)
            np.testing.assert_allclose(np.eye(len(C)) - layer.measured, expected[number], atol=1e-9)


def test_a_full_layer_makes_room() -> None:
    """What was known gives way in proportion: the variances that are left keep their order of magnitude."""
    network = init(Config(**STREAM, dtype="float64"), 5, 3)
    layer, left = network.layers[0], np.ones(5)
    assert isinstance(layer, CovarianceLayer)
    for x, y in batches(network, number=60, samples=30):
        now = updates(network.config, 0)
        train_batch(network.layers, x, y, now, operations=network.operations)
        left = np.linalg.eigvalsh(np.eye(5) - layer.measured)
        assert 0 < left[0] and left[-1] <= 1 + 1e-9
        assert left.mean() > 0.8 * FREE
    assert left.mean() < 1.5 * FREE, "the layer is full"
    assert left[0] < 0.5 * FREE, "and still knows what it has measured"


def test_without_evidence_there_is_nothing_but_the_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"preset": "adf", "hidden": (9, 7), "dtype": "float64", "tau": 2}
    monkeypatch.setattr(CovarianceLayer, "evidence", lambda self, _: np.zeros(self.g.shape[1]))
    ours, fields = (init(Config(memory=memory, **settings), 5, 3) for memory in ("covariance", "fields"))
    for network in (ours, fields):
        for x, y in batches(network):
            train_batch(network.layers, x, y, updates(network.config, 0), operations=network.operations, tau=2)
    pairs: Any = zip(ours.layers, fields.layers, strict=True)
    for layer, other in pairs:
        np.testing.assert_allclose(layer.mean, other.mean, atol=1e-12)
        np.testing.assert_allclose(layer.V, other.V, rtol=1e-12)


def test_the_variance_is_that_of_correlated_weights() -> None:
    network = init(Config(**STREAM | {"hidden": (), "dtype": "float64"}), 6, 2)
    layer, rng = network.layers[0], np.random.default_rng(0)
    assert isinstance(layer, CovarianceLayer)
    root = rng.normal(size=(6, 6))
    C = root @ root.T
    layer.measured[...] = np.eye(6) - C
    layer.mean[...] = 0.6 * rng.choice([-1, 1], 6)
    layer.receive(rng.normal(size=(6, 8)), None)
    V = layer.forward(network.operations, last=True, free_moments=False).V
    np.testing.assert_allclose(V[0], 0.64 * np.einsum("in,ij,jn->n", layer.x_mean, C, layer.x_mean))


def test_what_units_have_in_common() -> None:
    rng = np.random.default_rng(0)

    def of(g: Array) -> float:
        return common(g.T @ g, len(g))

    assert of(np.outer(rng.normal(size=40), rng.normal(size=300))) == pytest.approx(40, rel=0.3)
    each = [of(rng.normal(size=(40, 30))) for _ in range(200)]
    assert np.mean(each) == pytest.approx(1.0, abs=0.1)
    spectrum = np.arange(1, 41)[:, None] ** -1.0
    each = [of(spectrum**0.5 * rng.normal(size=(40, 3000))) for _ in range(5)]
    assert np.mean(each) == pytest.approx(40 * (spectrum**2).sum() / spectrum.sum() ** 2, rel=0.02)
    assert of(rng.normal(size=(40, 1))) == 1


@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_posteriors_of_correlated_inputs_are_nearer_to_enumeration(batch_size: int) -> None:
    weights = np.array(list(itertools.product([-1, 1], repeat=10)))
    distance = dict.fromkeys(("fields", "covariance"), 0.0)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = correlated(16, 10, rng)
        y = np.where(x @ rng.choice([-1, 1], 10) >= 0, 1, -1)
        exact = weights[((x @ weights.T) * y[:, None] > 0).all(axis=0)].mean(axis=0)
        for memory in distance:
            settings: dict[str, Any] = {"memory": memory, "hidden": (), "batch_size": batch_size, "seed": seed}
            network = init(Config(preset="adf", eps_init=1e-6, dtype="float64", **settings), 10, 2)
            train_epoch(network, x, y)
            distance[memory] += float(np.abs(network.arrays()["W0.mean"][0] - exact).mean()) / 20
    assert distance["covariance"] < 0.8 * distance["fields"], distance


@pytest.mark.parametrize("bias", [False, True])
def test_a_device_computes_the_same(bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if emulated_gpu.COMPILER is None:
        pytest.skip("needs a C++ compiler to run the operations on the processor")
    monkeypatch.setattr("factorgraph.runtime.device_arrays._compiled", emulated_gpu.apply_compiled)
    operations = GpuOperations(EmulatedDevice())
    network = init(Config(**STREAM, bias=bias), 12, 3)
    ours = network.on(operations, "cuda")
    for x, y in batches(network):
        now = updates(network.config, 0)
        train_batch(network.layers, x, y, now, operations=NumpyOperations())
        train_batch(ours.layers, operations.array(x), operations.array(y), now, operations=operations)
    for name, values in network.arrays().items():
        theirs = ours.arrays()[name]
        np.testing.assert_allclose(theirs, values, atol=FLOAT32_SWEEP * np.abs(values).max(), err_msg=name)


def test_a_stream_is_remembered_better_than_by_the_fields() -> None:
    tasks, average = load_tasks("digits", "permuted:4"), {}
    for memory, preset in (("fields", "default"), ("covariance", "stream")):
        learner = MessagePassingClassifier(
            hidden=(51, 51), memory=memory, preset=preset, standardize=False, bias=False, random_state=0
        )
        average[memory] = average_accuracy(accuracies(learner, tasks, epochs=2))
    assert average["covariance"] > average["fields"] + 20, average


def test_a_run_is_kept_and_told_of(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    out, whole = tmp_path / "run", tmp_path / "whole"
    train = ["train", "digits", "--hidden", "15", "--memory", "covariance", "--preset", "stream", "--no-plot"]
    assert main([*train, "--epochs", "1", "--out", str(out)]) == 0
    assert main(["train", "digits", "--epochs", "2", "--out", str(out), "--resume", "--no-plot"]) == 0
    assert main([*train, "--epochs", "2", "--out", str(whole)]) == 0
    capsys.readouterr()
    assert main(["show", str(out)]) == 0
    assert "covariance of the inputs" in capsys.readouterr().out
    one, other = (np.load(folder / "checkpoint-00002.npz") for folder in (out, whole))
    assert "array/W0.measured" in one and all(np.array_equal(one[name], other[name]) for name in one if "/" in name)


@pytest.mark.parametrize(
    "wrong", [{"weights": "continuous"}, {"density": 0.5}, {"closure": "amp"}, {"algorithm": "ebp"}, {"memory": "all"}]
)
def test_what_has_no_covariance(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"`({'|'.join(wrong)}|memory)` must be "):
        Config(**{"hidden": (5,), "memory": "covariance"} | wrong)


# --- sites ------------------------------------------------------------------------------------------------------------


def test_the_preset_of_streams_is_for_covariances() -> None:
    with pytest.raises(ValueError, match="`preset` must be another with memory 'fields', got 'stream'"):
        Config(preset="stream", rho=1.0)
    assert Config(preset="stream", rho=1.0, damping=0.5, beta=1.0).memory == "fields"  # nothing comes from it


SITES: dict[str, Any] = {"memory": "sites", "preset": "adf", "hidden": (9, 7), "batch_size": 8}


def data(samples: int = 40, features: int = 5, classes: int = 3) -> tuple[Array, Array]:
    rng = np.random.default_rng(3)
    return correlated(samples, features, rng, 1.0), rng.integers(0, classes, samples)


def copied(network: Network) -> dict[str, Array]:
    return {name: values.copy() for name, values in network.arrays().items()}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("settings", [{}, {"closure": "bp"}, {"closure": "amp", "tau": 2}, {"weights": "continuous"},
                                      {"bias": True, "density": 0.5}], ids=str)  # fmt: skip
def test_one_pass_is_that_of_the_fields(settings: dict[str, Any], dtype: str) -> None:
    """Exactly, with ρ = β = 1; the damping is that of sites, and there is nothing yet to damp."""
    x, y = data()
    sites = init(Config(**SITES | settings, damping=0.5, dtype=dtype), 5, 3)
    fields = init(Config(**SITES | settings | {"memory": "fields"}, dtype=dtype), 5, 3)
    for network in (sites, fields):
        train_epoch(network, x, y)
    found = sites.arrays()
    for name, values in fields.arrays().items():
        np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize("settings", [{}, {"weights": "continuous", "damping": 0.5}], ids=str)
def test_the_posterior_is_the_prior_and_the_sites(settings: dict[str, Any]) -> None:
    x, y = data()
    network = init(Config(**SITES | settings, dtype="float64"), 5, 3)
    before = copied(network)
    for _ in range(4):
        train_epoch(network, x, y)
    after = network.arrays()
    for layer in network.layers:
        sites = after[f"{layer.plan.name}.sites"]
        assert sites.shape[0] == 5
        for parameter, own in zip(("H", "G"), sites.sum(axis=0), strict=False):
            name = f"{layer.plan.name}.{parameter}"
            np.testing.assert_allclose(after[name], before[name] + own, atol=1e-8 * np.abs(after[name]).max())


@pytest.mark.parametrize("closure", ["bp", "amp"])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_few_samples_count_once(batch_size: int, closure: str) -> None:
    """Nearer to enumeration than with a batch's message in its prior, and the same after any number of passes."""
    weights = np.array(list(itertools.product([-1, 1], repeat=10)))
    distance = {"fields": 0.0, "sites": 0.0}
    for seed in range(5):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(4, 10))
        y = np.where(x @ rng.choice([-1, 1], 10) >= 0, 1, -1)
        exact = weights[((x @ weights.T) * y[:, None] > 0).all(axis=0)].mean(axis=0)
        for memory in distance:
            settings: dict[str, Any] = {"hidden": (), "memory": memory, "batch_size": batch_size, "closure": closure}
            network = init(Config(preset="adf", eps_init=1e-6, dtype="float64", **settings), 10, 2)
            for _ in range(12):
                train_epoch(network, x, y)
            means = copied(network)["W0.mean"][0]
            distance[memory] += float(np.abs(means - exact).mean()) / 5
            for _ in range(4):
                train_epoch(network, x, y)
            if memory == "sites":
                np.testing.assert_allclose(network.arrays()["W0.mean"][0], means, atol=2e-3)
    assert distance["sites"] < 0.12 < 0.3 < distance["fields"], distance


def test_a_weight_without_a_cavity_is_left_as_it_is() -> None:
    x, y = data()
    network = init(Config(**SITES | {"weights": "continuous", "batch_size": 40}, dtype="float64"), 5, 3)
    train_epoch(network, x, y)
    layer = network.layers[0]
    assert isinstance(layer, SitesLayer) and layer.G is not None
    layer.sites[0][1, 0, 0] = 2.0 * layer.G[0, 0]
    layer.mean[0, 0] = layer.H[0, 0] / layer.G[0, 0]
    before = copied(network)
    train_epoch(network, x, y)
    after = network.arrays()
    for name in ("W0.H", "W0.G", "W0.mean"):
        assert after[name][0, 0] == pytest.approx(before[name][0, 0], rel=1e-12)
        assert after[name][1, 1] != before[name][1, 1]
    np.testing.assert_array_equal(after["W0.sites"][0, :, 0, 0], before["W0.sites"][0, :, 0, 0])


def test_sites_are_kept_in_checkpoints(tmp_path: Any) -> None:
    out, whole = tmp_path / "run", tmp_path / "whole"
    train = ["train", "digits", "--hidden", "5", "--memory", "sites", "--preset", "adf", "--no-plot"]
    assert main([*train, "--epochs", "2", "--out", str(out)]) == 0
    assert main(["train", "digits", "--epochs", "3", "--out", str(out), "--resume", "--no-plot"]) == 0
    assert main([*train, "--epochs", "3", "--out", str(whole)]) == 0
    one, other = (np.load(folder / "checkpoint-00003.npz") for folder in (out, whole))
    assert one["array/W0.sites"].shape == (12, 1, 5, 64)
    assert all(np.array_equal(one[name], other[name]) for name in one if "/" in name)


def test_other_data_leave_the_messages_in_the_posterior() -> None:
    X, y = data()
    settings: dict[str, Any] = {"hidden": (5,), "preset": "adf", "random_state": 0}
    learners = [MessagePassingClassifier(memory=memory, **settings) for memory in ("sites", "fields")]
    for learner in learners:
        for part in (slice(0, 20), slice(20, 40)):
            learner.partial_fit(X[part], y[part], classes=[0, 1, 2])
    sites, fields = (learner.network_.arrays() for learner in learners)
    for name, values in fields.items():
        assert (np.sign(sites[name]) == np.sign(values)).mean() > 0.9
        np.testing.assert_allclose(sites[name], values, atol=0.5 * np.abs(values).max())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (SITES | {"rho": 0.9}, "`rho` must be 1 with memory 'sites', as preset 'adf' has it, got '0.9'"),
        (SITES | {"rho": "1:0.9:0.5"}, "`rho` must be 1 with memory 'sites'"),
        (STREAM | {"rho": 1.001}, "`rho` must be at most 1 with memory 'covariance', got '1.001'"),
    ],
)
def test_weights_of_the_posterior_that_a_memory_cannot_have(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config(**settings)


def test_sites_are_on_the_processor() -> None:
    with pytest.raises(ValueError, match="`device` must be 'cpu' with memory 'sites', got 'cuda'"):
        init(Config(**SITES), 5, 3, "cuda")
    with pytest.raises(ValueError, match="`device` must be 'cpu' with memory 'sites', got 'cuda'"):
        init(Config(**SITES), 5, 3).to("cuda")


def test_a_copy_has_the_sites() -> None:
    network = init(Config(**SITES), 5, 3)
    train_epoch(network, *data())
    copy = network.on(network.operations, "cpu")
    for name, values in network.arrays().items():
        np.testing.assert_array_equal(copy.arrays()[name], values)
        assert name in network.in_double().arrays()
    assert all(layer.state()["sites"].any() for layer in copy.layers)
