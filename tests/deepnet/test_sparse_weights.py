"""Weights that may be 0: against enumeration and quadrature, on a device, learnt priors, packed files."""

import itertools
from pathlib import Path
from typing import Any

import emulated_gpu
import numpy as np
import pytest
from emulated_gpu import EmulatedDevice
from scipy.special import ndtr
from sweep_problems import FLOAT32_SWEEP

from deepnet import Config, load, load_packed, save
from deepnet.app.cli import main
from deepnet.data import load_dataset
from deepnet.export.exported import Exported
from deepnet.export.packing import export, pack
from deepnet.kernels.gpu import GpuOperations
from deepnet.layers import DenseLayer, Update
from deepnet.lower import lower
from deepnet.network import WEIGHTS, perceptron
from deepnet.predict import error_percent, predict_bayes, predict_pointwise
from deepnet.state import DivergenceError, Network, check_finite, init
from deepnet.sweep import initial_layers, train_batch
from deepnet.train import output_labels, train_epoch, updates
from factorgraph.channels import Probit
from factorgraph.dense.numpy_operations import NumpyOperations
from factorgraph.priors import GaussBernoulli, Ternary

SPARSE = ("ternary", "spike-and-slab")
SMALL: dict[str, Any] = {"hidden": (9, 7), "batch_size": 16, "epochs": 3}

#: Of marginals by messages of Gaussian sums to those of enumeration.
NEAR = 0.05


def dense(network: Network) -> list[DenseLayer]:
    return [layer for layer in network.layers if isinstance(layer, DenseLayer)]


def zeros(layer: DenseLayer) -> np.ndarray:
    """Return P(w = 0) of every weight."""
    assert layer.plan.prior is not None and layer.G is not None
    return layer.plan.prior.zero_probability(H=layer.H, G=layer.G)


def trained(**settings: Any) -> tuple[Network, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((80, 6)).astype(settings.get("dtype", "float32"))
    y = np.where(x[:, 0] - x[:, 1] > 0.6, 1, np.where(x[:, 2] > 0, 2, 0))
    network = init(Config(**SMALL | settings), 6, 3)
    for _ in range(network.config.epochs):
        train_epoch(network, x, y)
    return network, x, y


def posterior(prior: Any, x: np.ndarray, y: np.ndarray, damping: float = 0.5) -> DenseLayer:
    """Return a layer after message passing to the fixed point on all samples at once, without a random start."""
    model = perceptron([x.shape[1], 1], output=Probit(1.0))
    plans = lower(model, "bp")
    plan = type(plans[0])(**{**vars(plans[0]), "prior": prior})
    (layer,) = initial_layers([plan], eps_init=1.0, rng=np.random.default_rng(0), dtype=np.float64)
    assert isinstance(layer, DenseLayer)
    layer.H[...], layer.mean[...] = 0.0, 0.0
    layer.sigma[...] = prior.moments(H=0.0, G=0.0)[1]
    train_batch([layer], x.T, y[None].astype(float), [Update(damping=damping)], operations=NumpyOperations(), tau=40)
    return layer


def likelihood(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return P(y | w) of weights (number, inputs), whose sums are divided by √inputs."""
    return ndtr(y * (weights @ x.T) / x.shape[1] ** 0.5).prod(axis=1)


def problem(weights: int, samples: int, size: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    x = size * rng.standard_normal((samples, weights))
    return x, np.where(x[:, 0] - x[:, 1] > 0, 1, -1)


@pytest.mark.parametrize("mass", [0.3, 0.8])
def test_ternary_marginals_are_those_of_enumeration(mass: float) -> None:
    x, y = problem(8, 12, 0.6)
    values = np.array(list(itertools.product([-1.0, 0.0, 1.0], repeat=8)))
    p = likelihood(values, x, y) * np.where(values == 0, mass, 0.5 * (1 - mass)).prod(axis=1)
    p /= p.sum()
    layer = posterior(Ternary(mass), x, y)
    assert np.abs(p @ values).max() > 0.1
    np.testing.assert_allclose(layer.mean[0], p @ values, atol=NEAR)
    np.testing.assert_allclose(zeros(layer)[0], p @ (values == 0), atol=NEAR)


def test_spike_and_slab_marginals_are_those_of_quadrature() -> None:
    x, y = problem(3, 12, 0.4)
    prior = GaussBernoulli(0.6)
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    nodes, weights = np.append(nodes, 0.0), np.append(0.6 * weights / weights.sum(), 0.4)
    values = np.array(list(itertools.product(nodes, repeat=3)))
    atoms = np.array(list(itertools.product(np.arange(41) == 40, repeat=3)))
    p = likelihood(values, x, y) * np.array(list(itertools.product(weights, repeat=3))).prod(axis=1)
    p /= p.sum()
    layer = posterior(prior, x, y)
    assert np.abs(p @ values).max() > 0.3
    np.testing.assert_allclose(layer.mean[0], p @ values, atol=NEAR)
    np.testing.assert_allclose(zeros(layer)[0], p @ atoms, atol=NEAR)


@pytest.mark.parametrize("closure", ["mf", "amp", "bp"])
@pytest.mark.parametrize("weights", SPARSE)
def test_the_posterior_of_a_batch_is_the_next_prior(weights: str, closure: str) -> None:
    """H and G add up, with ρ and β; negative precisions of ternary weights count, those of others do not."""
    network, x, y = trained(weights=weights, closure=closure, mass=0.6, dtype="float64", epochs=0)
    rho, beta = 0.9, 0.7
    for start in (0, 20):
        before = [(layer.H.copy(), layer.G.copy()) for layer in dense(network)]  # pyright: ignore[reportOptionalMemberAccess]
        labels = output_labels(network, y[start : start + 20])
        now = [Update(rho=rho, beta=beta)] * 3
        train_batch(network.layers, x[start : start + 20].T, labels, now, operations=network.operations)
    for layer, (H, G) in zip(dense(network), before, strict=True):
        assert layer.G is not None and layer.G_in is not None and layer.plan.prior is not None
        received = layer.G_in if weights == "ternary" else np.maximum(layer.G_in, 0.0)
        np.testing.assert_allclose(layer.H, rho * H + beta * layer.H_in)
        np.testing.assert_allclose(layer.G, rho * G + beta * received, atol=1e-6)
        mean, variance = layer.plan.prior.moments(H=layer.H, G=layer.G)
        np.testing.assert_allclose(layer.mean, mean)
        np.testing.assert_allclose(layer.sigma, variance)


@pytest.mark.parametrize("settings", [{}, {"mass": 0.9}, {"closure": "amp", "bias": True, "density": 0.7}], ids=str)
@pytest.mark.parametrize("weights", SPARSE)
def test_a_device_computes_the_same(weights: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    if emulated_gpu.COMPILER is None:
        pytest.skip("needs a C++ compiler to run the operations on the processor")
    monkeypatch.setattr("factorgraph.runtime.device_arrays._compiled", emulated_gpu.apply_compiled)
    operations = GpuOperations(EmulatedDevice())
    network, x, y = trained(weights=weights, epochs=0, damping=0.5, **settings)
    ours = network.on(operations, "cuda")
    for start in (0, 16, 32):
        now, rows = updates(network.config, 0), slice(start, start + 16)
        labels = output_labels(network, y[rows])
        train_batch(network.layers, x[rows].T, labels, now, operations=NumpyOperations())
        data = operations.array(np.ascontiguousarray(x[rows].T)), operations.array(labels)
        train_batch(ours.layers, *data, now, operations=operations)
        assert [layer.learn_prior() for layer in (*network.layers, *ours.layers)] == [True] * 6
    for name, values in network.arrays().items():
        theirs = ours.arrays()[name]
        np.testing.assert_allclose(theirs, values, atol=FLOAT32_SWEEP * np.abs(values).max(), err_msg=name)
    there = predict_pointwise(ours.layers, x, operations)
    assert np.mean(there == predict_pointwise(network.layers, x)) > 0.97


@pytest.mark.parametrize("density", [1.0, 0.5])
@pytest.mark.parametrize("weights", SPARSE)
def test_the_learnt_mass_is_the_mean_of_the_posterior(weights: str, density: float) -> None:
    network, _, _ = trained(weights=weights, density=density, epochs=2)
    for layer in dense(network):
        assert layer.mass is not None and layer.plan.prior is not None
        edges = np.ones(layer.H.shape, bool) if layer.plan.mask is None else layer.plan.mask
        before = zeros(layer)[edges].mean()
        assert layer.learn_prior() and layer.mass[0, 0] == pytest.approx(np.clip(before, 1e-4, 1), rel=1e-5)
        assert layer.plan.prior.mass == pytest.approx(layer.mass[0, 0]) and layer.mass[0, 0] != 0.5
    fixed, _, _ = trained(weights=weights, mass=(0.7, 0.8, 0.9))
    assert [layer.mass[0, 0] for layer in dense(fixed)] == pytest.approx([0.7, 0.8, 0.9])  # pyright: ignore[reportOptionalSubscript]


def test_the_most_probable_weights() -> None:
    network, _, _ = trained(weights="ternary", mass=0.6)
    for layer in dense(network):
        assert layer.G is not None
        side = np.log(0.2) - layer.G / 2
        expected = np.argmax([side - layer.H, np.full_like(side, np.log(0.6)), side + layer.H], axis=0) - 1
        assert {-1, 0, 1} == set(np.unique(layer.most_probable_weights())) or layer is network.layers[-1]
        assert np.array_equal(layer.most_probable_weights(), expected)
    network, _, _ = trained(weights="spike-and-slab", mass=0.9)
    for layer in dense(network):
        assert layer.plan.prior is not None and layer.G is not None
        zero = zeros(layer)
        slab = layer.H / (layer.G + 1.0)
        np.testing.assert_allclose(layer.most_probable_weights(), np.where(zero < 0.5, slab, 0.0), rtol=1e-4)
        assert 0 < np.count_nonzero(zero > 0.5)


@pytest.mark.parametrize(
    "settings", [{}, {"bias": True, "density": 0.8}, {"weights": ("ternary", "binary", "ternary")}]
)
def test_packed_ternary_networks_predict_the_same(settings: dict[str, Any], tmp_path: Path) -> None:
    network, x, _ = trained(**{"weights": "ternary", "mass": 0.5} | settings)
    layers = dense(network)
    assert any((layer.most_probable_weights() == 0).any() for layer in layers)
    export(Exported(network.layers), tmp_path / "network.packed", "packed")
    loaded = load_packed(tmp_path / "network.packed")
    assert np.array_equal(loaded.predict(x), predict_pointwise(network.layers, x))
    for layer, other in zip(layers, loaded.layers, strict=True):
        assert np.array_equal(other.signs, layer.most_probable_weights())
    with pytest.raises(ValueError, match=r"must have weights of ±1 or of -1, 0 and 1 in a dense layer to be packed"):
        pack(Exported(trained(weights="spike-and-slab", epochs=1)[0].layers))


@pytest.mark.parametrize("weights", SPARSE)
def test_a_run_is_taken_up_with_what_it_has_learnt(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, whole = tmp_path / "run", tmp_path / "whole"
    train = ["train", "digits", "--hidden", "15", "--weights", weights, "--beta", "1", "--damping", "0.8", "--no-plot"]
    assert main([*train, "--epochs", "1", "--out", str(out)]) == 0
    assert main(["train", "digits", "--epochs", "2", "--out", str(out), "--resume", "--no-plot"]) == 0
    assert main([*train, "--epochs", "2", "--out", str(whole)]) == 0
    one, other = (np.load(folder / "checkpoint-00002.npz") for folder in (out, whole))
    assert all(np.array_equal(one[name], other[name]) for name in one if "/" in name)
    capsys.readouterr()
    assert main(["show", str(out)]) == 0
    told = capsys.readouterr().out.splitlines()[-3:]
    assert told[0].split() == ["layer", "mass", "at", "0", "zeros"]
    assert float(told[1].split()[1]) == pytest.approx(one["array/W0.mass"].item(), abs=1e-4)
    assert one["array/W0.mass"].shape == (1, 1) and one["array/W0.mass"][0, 0] != 0.5


@pytest.mark.parametrize("weights", SPARSE)
@pytest.mark.parametrize("mass", [1e-60, 1e-5, 0.3, 1 - 1e-12])
def test_a_given_mass_stays_as_it_is(weights: str, mass: float, tmp_path: Path) -> None:
    """Also where the type of the network has not all of its digits, and outside what a learnt one may be."""
    network = init(Config(hidden=(3,), weights=weights, mass=mass, dtype="float32"), 4, 3)
    save(network, tmp_path / "network.npz")
    read = load(tmp_path / "network.npz")
    assert isinstance(read, Network)
    assert [layer.plan.prior for layer in dense(read)] == [layer.plan.prior for layer in dense(network)]
    assert all(
        layer.plan.prior is not None and layer.plan.prior.mass == WEIGHTS[weights].with_mass(mass).mass
        for layer in dense(read)
    )


@pytest.mark.parametrize("weights", SPARSE)
def test_sites_of_rare_features_are_renewed(weights: str) -> None:
    """Where no other batch speaks of a weight its cavity is the prior, which is proper."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 5)).astype(np.float32)
    x[:, 0] = np.arange(40) == 7
    y = np.where(x[:, 1] > 0, 1, -1)
    settings: dict[str, Any] = {"hidden": (6,), "batch_size": 10, "memory": "sites", "preset": "adf", "mass": 0.5}
    network = init(Config(weights=weights, **settings), 5, 2)
    train_epoch(network, x, y)
    first = dense(network)[0].mean[:, 0].copy()
    train_epoch(network, x, y)
    assert (dense(network)[0].mean[:, 0] != first).all()


@pytest.mark.parametrize("weights", SPARSE)
def test_a_divergence_shows_in_both_parameters(weights: str) -> None:
    network = init(Config(hidden=(3,), weights=weights), 4, 3)
    check_finite(network)
    layer = dense(network)[1]
    assert layer.G is not None
    layer.G[0, 0] = 1e13
    with pytest.raises(DivergenceError, match=r"layer W1, quantity G, largest value 1e\+13"):
        check_finite(network)


@pytest.mark.parametrize("wrong", [0.0, 1.0, -0.5, 2.0])
def test_no_mass_is_taken_up_that_is_none(wrong: float) -> None:
    network = init(Config(hidden=(3,), weights="ternary"), 4, 3)
    before = network.arrays()
    after = before | {"W0.mass": np.full((1, 1), wrong, np.float32), "W0.H": before["W0.H"] + 1}
    with pytest.raises(ValueError, match=r"W0 must have a mass at 0 in \(0, 1\)"):
        network.restore(after, 1)


def test_sparse_networks_learn() -> None:
    """With a large mass most weights stay 0, and the network still knows more than one with as many fixed at random."""
    data, found = load_dataset("digits"), {}
    common: dict[str, Any] = {"hidden": (51, 51), "epochs": 8, "closure": "mf"}
    compared: dict[str, dict[str, Any]] = {
        "ternary": {"weights": ("ternary", "ternary", "binary"), "mass": 0.99},
        "masked": {"density": (0.15, 0.2, 1.0)},
    }
    for name, settings in compared.items():
        network = init(Config(**common | settings), 64, 10)
        for _ in range(8):
            train_epoch(network, data.x_train, data.y_train)
        bayes = predict_bayes(network.layers, data.x_test, network.operations)
        shares = [float((layer.most_probable_weights() == 0).mean()) for layer in dense(network)[:2]]
        found[name] = shares, error_percent(bayes, data.y_test)
    assert min(found["ternary"][0]) > 0.75 and max(found["masked"][0]) < 0.87, found
    assert found["ternary"][1] < 0.8 * found["masked"][1], found


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"mass": 0.5}, "`mass` must be None where no weights may be 0, got 0.5"),
        ({"weights": "ternary", "mass": 1.0}, r"`mass` must be in \(0, 1\), got 1.0"),
        ({"weights": "ternary", "mass": (0.5, 0.5)}, "`mass` must be one value or 3 values"),
        ({"weights": "ternary", "algorithm": "ebp"}, "`weights` must be of another kind with a baseline"),
        ({"weights": "ternary", "memory": "covariance"}, "`weights` must be 'binary' with memory"),
    ],
)
def test_wrong_settings(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings: dict[str, Any] = {"hidden": (5, 5)} | wrong
        Config(**settings)


def test_every_prior_of_weights_is_known_by_name() -> None:
    assert [name for name, prior in WEIGHTS.items() if prior.mass > 0] == list(SPARSE)


@pytest.mark.parametrize("weights", SPARSE)
def test_whole_epochs_on_a_device(weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is captured there is captured anew once the prior has changed."""
    if emulated_gpu.COMPILER is None:
        pytest.skip("needs a C++ compiler to run the operations on the processor")
    monkeypatch.setattr("factorgraph.runtime.device_arrays._compiled", emulated_gpu.apply_compiled)
    operations = GpuOperations(EmulatedDevice())
    network, x, y = trained(weights=weights, epochs=0, damping=0.5)
    ours = network.on(operations, "cuda")
    for _ in range(3):
        train_epoch(network, x, y)
        train_epoch(ours, x, y)
    for name, values in network.arrays().items():
        np.testing.assert_allclose(ours.arrays()[name], values, atol=1e-3 * np.abs(values).max(), err_msg=name)


@pytest.mark.parametrize("weights", SPARSE)
def test_a_learnt_mass_is_printed_with_six_digits(weights: str) -> None:
    network, _, _ = trained(weights=weights)
    for layer in dense(network):
        assert layer.mass is not None
        mass = layer.mass.item()
        printed = f"mass={mass:.6g}" if weights == "ternary" else f"density={float(f'{1.0 - mass:.6g}')}"
        assert f"({printed}" in str(layer.plan) and len(str(mass)) > 9
