"""The GPU path: its own kernels and the sweeps on device arrays, on a processor that stands in for the device."""

from dataclasses import replace

import emulated_gpu
import numpy as np
import pytest
from emulated_gpu import EmulatedDevice, needs_compiler
from test_parity import FLOAT32_SWEEP, problem

from deepnet.config import Config
from deepnet.kernels import PlainKernels
from deepnet.kernels.gpu import GpuKernels
from deepnet.kernels.gpu.kernels import edge_parts
from deepnet.kernels.gpu.source import STRIP, TILE, module_source
from deepnet.sweep import train_batch
from deepnet.train import DivergenceError, Evaluation, Network, init, metrics, train_epoch

pytestmark = needs_compiler


@pytest.fixture
def kernels(monkeypatch):
    monkeypatch.setattr("factorgraph.device._compiled", emulated_gpu.apply_compiled)
    return GpuKernels(EmulatedDevice())


def polarise(layers, factor):
    for layer in layers:
        layer.H *= factor
        mask = 1 if layer.plan.mask is None else layer.plan.mask
        layer.mean[...] = np.tanh(layer.H) * mask
        layer.variance[...] = (1 - layer.mean**2) * mask


def compare(kernels, kind, closure, *, tau, polarised=1.0, widths=(25, 20, 18), **options):
    """Two batches on the device and on the processor; both layers' quantities, all of float32."""
    layers, batches, updates = problem(kind, closure, widths=widths, dtype=np.float32, **options)
    if polarised != 1.0:
        polarise(layers, polarised)
    ours = Network(Config(), layers, PlainKernels()).on(kernels, "cuda")
    for x, y in batches:
        train_batch(layers, x, y, updates, kernels=PlainKernels(), tau=tau)
        train_batch(ours.layers, kernels.array(x), kernels.array(y), updates, kernels=kernels, tau=tau)
    for layer, theirs in zip(ours.layers, layers, strict=True):
        for name in ("H", "mean", "variance", "omega", "V", "g", "gamma"):
            a, b = kernels.host(getattr(layer, name)), getattr(theirs, name)
            assert a.dtype == np.float32
            np.testing.assert_allclose(a, b, rtol=0, atol=FLOAT32_SWEEP * np.abs(b).max(), err_msg=name)
        assert np.abs(theirs.g).max() > 1e-3


@pytest.mark.parametrize("polarised", [1.0, 20.0])
@pytest.mark.parametrize("options", [{}, {"bias": True, "density": 0.5}, {"output": "argmax"}, {"bias": True}], ids=str)
@pytest.mark.parametrize("closure, tau", [("bp", 1), ("bp", 2), ("mf", 1), ("mf", 2), ("amp", 1), ("amp", 3)])
def test_sweeps_equal_the_plain_ones(kernels, closure, tau, options, polarised):
    compare(kernels, "binary-sign", closure, tau=tau, polarised=polarised, **options)


@pytest.mark.parametrize("tau", [1, 2])
@pytest.mark.parametrize("closure", ["bp", "amp", "mf"])
@pytest.mark.parametrize("kind", ["binary-relu", "continuous-sign", "continuous-relu", "mixed-sign"])
def test_other_units_and_weights_equal_the_plain_ones(kernels, kind, closure, tau):
    compare(kernels, kind, closure, tau=tau, widths=(12, 9, 7))


def trained(config, kernels, x, y, epochs, classes):
    network = init(config, x.shape[1], classes)
    network = network.on(PlainKernels(), "cpu") if kernels is None else network.on(kernels, "cuda")
    for _ in range(epochs):
        train_epoch(network, x, y)
    return network


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("closure", ["bp", "mf", "amp"])
def test_replayed_epochs_equal_plain_ones(kernels, closure, classes):
    """Schedules that change every batch, a last batch of another size, biases, and steps that are only replayed."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 9)).astype(np.float32)
    y = rng.integers(0, 3, 50) if classes > 2 else rng.choice([-1.0, 1.0], 50)
    config = Config(hidden=(8, 7), closure=closure, batch_size=16, bias=True, beta="4:1:0.5", rho="0.9:1:0.5")
    ours, plain = (trained(config, k, x, y, 3, classes) for k in (kernels, None))
    assert kernels.device.captures == 2
    assert ours.epoch == plain.epoch == 3
    for name, values in ours.arrays().items():
        theirs = plain.arrays()[name]
        np.testing.assert_allclose(values, theirs, rtol=0, atol=FLOAT32_SWEEP * np.abs(theirs).max(), err_msg=name)
    ours, plain = (metrics(network, Evaluation(x, y, x[:20], y[:20])) for network in (ours, plain))
    assert {name: pytest.approx(value, abs=1e-3) for name, value in plain.items()} == ours


def test_state_moves_between_devices(kernels):
    network = init(Config(hidden=(5,), density=0.5, weights="continuous"), 4, 2)
    moved = network.on(kernels, "cuda")
    back = init(Config(hidden=(5,), density=0.5, weights="continuous", seed=1), 4, 2).on(kernels, "cuda")
    back.restore(moved.arrays(), 7)
    for name, values in back.arrays().items():
        np.testing.assert_array_equal(values, network.arrays()[name])
    assert back.epoch == 7


def test_divergence_is_found_after_the_epoch(kernels):
    x, y = np.ones((8, 3), np.float32), np.ones(8)
    x[3, 1] = np.nan
    network = init(Config(hidden=(5,), batch_size=4), 3, 2).on(kernels, "cuda")
    with pytest.raises(DivergenceError, match="layer W0"):
        train_epoch(network, x, y)


@pytest.mark.parametrize("outputs, inputs, samples", [(1, 1, 1), (10, 501, 128), (501, 784, 128), (4096, 4096, 1024)])
def test_parts_of_edges_keep_a_device_busy_in_little_memory(outputs, inputs, samples):
    groups, chunks = edge_parts(outputs, inputs, samples)
    tiles = -(-outputs // TILE)
    assert 1 <= groups <= tiles and 1 <= chunks <= samples
    assert groups * chunks * inputs >= min(60_000, tiles * samples * inputs)
    assert 4 * inputs * (groups * samples + chunks * outputs) < 1 << 30


def test_tiles_and_strips_are_those_of_the_kernels():
    assert f"const Index STRIP = {STRIP};" in module_source()
    assert f"const Index TILE = {TILE};" in module_source()


def test_edges_in_many_groups_and_chunks(kernels, monkeypatch):
    """However the edges are split, the sums are the same."""
    layers, ((x, y), _), updates = problem("binary-sign", "bpi", widths=(40, 30, 20), dtype=np.float32)
    train_batch(layers, x, y, updates, kernels=PlainKernels())
    ours = Network(Config(), layers, PlainKernels()).on(kernels, "cuda").layers[1]
    layer, message = layers[1], layers[2].to_inputs
    for name in ("omega", "V", "x_mean"):
        setattr(ours, name, kernels.array(getattr(layer, name)))
    B = PlainKernels().edge_messages(layer, message)
    for parts in ((1, 1), (3, 4), (2, 1), (1, 3)):
        monkeypatch.setattr("deepnet.kernels.gpu.kernels.edge_parts", lambda *sizes, parts=parts: parts)
        theirs = kernels.edge_messages(ours, replace(message, B=kernels.array(message.B)))
        np.testing.assert_allclose(kernels.host(theirs), B, rtol=0, atol=1e-5 * np.abs(B).max())
        H = layer.H_in
        np.testing.assert_allclose(kernels.host(ours.H_in), H, rtol=0, atol=1e-5 * np.abs(H).max())
        assert np.abs(H).max() > 1e-3
