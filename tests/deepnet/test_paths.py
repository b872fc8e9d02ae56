"""Which path a layer takes, on the processor and on a device, by what it is."""

import itertools

import numpy as np
import pytest
from emulated_gpu import EmulatedDevice, needs_compiler

from deepnet.kernels import CpuOperations
from deepnet.kernels.gpu import GpuOperations
from deepnet.lower import lower
from deepnet.network import perceptron
from deepnet.sweep import initial_layers
from factorgraph.dense.closures import CLOSURES
from factorgraph.dense.numpy_operations import NumpyOperations
from factorgraph.dense.operations import Path

pytestmark = pytest.mark.quick

DENSITIES = {"all": 1.0, "many": 0.6, "few": 0.02}


def hidden_layer(closure, weights="binary", activation="sign", density=1.0, dtype=np.float32):
    """The middle one of three layers, with hidden units below and above."""
    model = perceptron([40, 50, 60, 1], weights=weights, activation=activation, density=density, rng=0)
    return initial_layers(lower(model, closure), eps_init=1.0, rng=np.random.default_rng(0), dtype=dtype)[1]


OPERATIONS = {"numpy": NumpyOperations, "cpu": CpuOperations, "gpu": lambda: GpuOperations(EmulatedDevice())}


def expected(device, closure, weights, activation, mask, dtype, last):
    """Fused: ±1 weights and inputs in float32, mean field or a single iteration of AMP; on edges if there are few."""
    fused = (weights, activation, dtype) == ("binary", "sign", "float32")
    fused = fused and (closure == "mf" or (closure == "amp" and last))
    if device == "numpy" or not fused or mask == "many":
        return Path.CLOSURE
    if mask == "all":
        return Path.FUSED
    return Path.EDGES if device == "cpu" else Path.CLOSURE


@pytest.mark.parametrize("device", ["numpy", "cpu", pytest.param("gpu", marks=needs_compiler)])
@pytest.mark.parametrize("closure", CLOSURES)
def test_the_path_of_every_layer(device, closure):
    path = OPERATIONS[device]().path
    kinds = itertools.product(["binary", "continuous"], ["sign", "relu"], DENSITIES, ["float32", "float64"])
    for weights, activation, mask, dtype in kinds:
        layer = hidden_layer(closure, weights, activation, DENSITIES[mask], np.dtype(dtype))
        for last in (True, False):
            found = path(layer, last=last)
            assert found is expected(device, closure, weights, activation, mask, dtype, last), (
                weights,
                activation,
                mask,
            )


def test_amp_leaves_the_fused_path_once_there_is_an_earlier_iteration():
    layer = hidden_layer("amp")
    assert CpuOperations().path(layer, last=True) is Path.FUSED
    layer.memory = True
    assert CpuOperations().path(layer, last=True) is Path.CLOSURE


@pytest.mark.parametrize("closure", ["mf", "amp"])
@pytest.mark.parametrize("free", [True, False])
def test_a_fused_step_returns_what_it_computes_ahead(closure, free):
    """The moments of its units without a message, if these are wanted, and g and Γ of the units below."""
    layer, ours = hidden_layer(closure), CpuOperations()
    rng = np.random.default_rng(1)
    layer.x_mean = np.tanh(rng.standard_normal((layer.plan.inputs, 9))).astype(np.float32)
    layer.x_variance = 1 - np.square(layer.x_mean)
    found = ours.forward(layer, last=True, free_moments=free)
    assert (found.free_moments is not None) == free
    assert NumpyOperations().forward(layer, last=True, free_moments=True).free_moments is None
