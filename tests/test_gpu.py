"""The GPU path: its own kernels and the sweeps on device arrays, on a processor that stands in for the device."""

import emulated_gpu
import numpy as np
import pytest
from emulated_gpu import EmulatedDevice, needs_compiler
from test_parity import FLOAT32_SWEEP, problem

from deepnet.config import Config
from deepnet.kernels import PlainKernels
from deepnet.kernels.gpu import GpuKernels
from deepnet.sweep import train_batch
from deepnet.train import Network

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


def compare(kernels, kind, closure, *, tau, polarised=1.0, widths=(40, 30, 20), **options):
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
@pytest.mark.parametrize("tau", [1, 3])
@pytest.mark.parametrize("closure", ["bp", "bpi", "mf", "amp"])
def test_sweeps_equal_the_plain_ones(kernels, closure, tau, options, polarised):
    compare(kernels, "binary-sign", closure, tau=tau, polarised=polarised, **options)
