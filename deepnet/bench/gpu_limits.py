"""Limits of a GPU for message passing: cuBLAS, copies, and the kernel for the messages of every edge."""

from collections.abc import Callable

import numpy as np

from deepnet import train
from deepnet.bench.limits import SIZE, Limits, best_seconds, limits
from deepnet.config import Config
from deepnet.kernels.gpu import GpuOperations
from deepnet.layers import DenseLayer
from factorgraph.dense.state import Message

#: Units below and above, and samples, of the layer in which evaluations of g are timed: it fills the device.
_SIDE, _SAMPLES = 2048, 256


def measure(operations: GpuOperations, weights: int) -> Limits:
    """On the device of the kernels.

    Args:
        weights: elements of the array that is copied.
    """
    rng = np.random.default_rng(0)
    a, b, out = (operations.array(rng.standard_normal((SIZE, SIZE), np.float32)) for _ in range(3))
    source, target = (operations.array(rng.standard_normal(weights, np.float32)) for _ in range(2))

    def copy() -> None:
        target[...] = source

    product = _complete(operations, lambda: operations.device.product(a, b, out))
    return limits(product, _complete(operations, copy), weights, _evaluations(operations))


def _evaluations(operations: GpuOperations) -> float:
    """Return the evaluations of g a second where a layer computes its messages."""
    layer = train.init(Config(hidden=(_SIDE,), closure="bp"), _SIDE, 2).on(operations, "cuda").layers[0]
    assert isinstance(layer, DenseLayer)
    rng = np.random.default_rng(0)
    shape = (_SIDE, _SAMPLES)
    layer.x_mean, layer.omega, B = (operations.array(rng.standard_normal(shape, np.float32)) for _ in range(3))
    layer.V = operations.array(np.full(shape, _SIDE, np.float32))
    message = Message(layer.plan.channel, layer.plan.scale, B=B)
    return _SIDE**2 * _SAMPLES / best_seconds(_complete(operations, lambda: operations.edge_messages(layer, message)))


def _complete(operations: GpuOperations, action: Callable[[], object]) -> Callable[[], None]:
    """Return the action until the device has done it."""

    def run() -> None:
        with operations.running():
            action()

    return run
