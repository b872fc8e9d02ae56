"""What is compared: each contender holds its network and the data, and trains on request."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from deepnet.baselines.base import BaselineError
from deepnet.baselines.gradient import import_torch
from deepnet.bench import BenchError
from deepnet.bench.case import Case
from deepnet.bench.cost import gradients, message_passing
from deepnet.bench.limits import SIZE, limits
from deepnet.cost import Cost, Limits

if TYPE_CHECKING:
    from factorgraph.dense.state import Array

#: What gradients train beside each kind of weights: BinaryNet, or a multi-layer perceptron as anyone trains it.
NETWORKS = {"binary": "binarynet", "continuous": "mlp"}

#: How PyTorch runs it, and how its name in the results ends.
MODES = {"eager": "", "compiled": "-compiled", "graph": "-graph"}

#: How each baseline runs, by its name in the results.
BASELINES = {network + end: mode for network in NETWORKS.values() for mode, end in MODES.items()}


class Contender(ABC):
    """A network in training. Made with its libraries and the data loaded; ``build`` makes the network.

    Attributes:
        operations: what a sample and a batch take.
        weights: number of elements of the weight arrays.
        epoch: completed epochs.
    """

    operations: Cost
    weights: int
    epoch: int = 0

    @abstractmethod
    def build(self) -> None:
        """Make the network."""

    @abstractmethod
    def train(self, samples: int) -> None:
        """Train on ``samples`` of the samples, once each, drawn at random, as one more epoch."""

    @abstractmethod
    def limits(self) -> Limits:
        """Of the machine, with the contender's libraries."""

    def polarization(self) -> list[float] | None:
        """Return the mean of m² in each layer; None where the weights have no means."""
        return None

    def device_memory(self) -> int | None:
        """Return largest size of the pool of GPU memory so far, in bytes; None on the CPU."""
        return None


class MessagePassing(Contender):
    """A closure of this project, called as ``deepnet train`` calls it."""

    def __init__(self, case: Case, closure: str) -> None:
        from deepnet import train
        from deepnet.kernels.devices import DeviceUnavailableError

        self._config, self._case = case.config(closure), case
        self._x, self._y = case.load()
        try:
            train.warm_up(self._config, case.classes, case.device)
        except DeviceUnavailableError as error:
            raise BenchError(str(error)) from error

    def build(self) -> None:
        """See ``Contender.build``."""
        from deepnet import train

        self._network = train.init(self._config, self._case.widths[0], self._case.classes, self._case.device)
        self.weights = sum(layer.plan.weights for layer in self._network.layers)
        self.operations = message_passing(layer.plan for layer in self._network.layers)

    def train(self, samples: int) -> None:
        """See ``Contender.train``."""
        from deepnet import train

        self._network.epoch = self.epoch
        train.train_epoch(self._network, self._x, self._y, samples=samples)
        self.epoch = self._network.epoch

    def limits(self) -> Limits:
        """See ``Contender.limits``."""
        if self._case.device == "cpu":
            from deepnet.bench import numba_limits

            return numba_limits.measure(self.weights)
        from deepnet.bench import gpu_limits

        return gpu_limits.measure(self._network.operations, self.weights)  # pyright: ignore[reportArgumentType]

    def polarization(self) -> list[float]:
        """See ``Contender.polarization``."""
        return [layer.polarization() for layer in self._network.to("cpu").layers]

    def device_memory(self) -> int | None:
        """See ``Contender.device_memory``."""
        if self._case.device == "cpu":
            return None
        return self._network.operations.device.memory()  # pyright: ignore[reportAttributeAccessIssue]


class Baseline(Contender):
    """A network of ``NETWORKS``."""

    def __init__(self, case: Case, mode: str) -> None:
        try:
            torch = self._torch = import_torch()
        except BaselineError as error:
            raise BenchError(f"{error}, or compare nothing with --no-baseline") from error
        if case.device != "cpu" and not torch.cuda.is_available():
            raise BenchError("`device` must be cpu here: torch finds no CUDA device, or was built without CUDA")
        if mode == "graph" and case.device == "cpu":
            raise BenchError("`device` must be a GPU for the baseline 'graph', a CUDA graph, got 'cpu'")
        torch.set_num_threads(case.threads)
        torch.backends.cuda.matmul.allow_tf32 = case.device == "cuda-tf32"
        self._case, self._mode, self._device = case, mode, case.device.removesuffix("-tf32")
        x, y = case.load()
        self._x = torch.from_numpy(x).to(self._device)
        self._y = torch.from_numpy(y if case.widths[-1] > 1 else y.astype(np.float32)).to(self._device)

    def build(self) -> None:
        """See ``Contender.build``."""
        from deepnet.baselines.binarynet import BinaryNet, Trainer

        case = self._case
        binary = case.weights == "binary"
        scales = None if binary else [1.0] * (len(case.widths) - 1)
        options = {"binary": binary, "activation": case.activation, "scales": scales}
        network = BinaryNet.of(case.widths, masks=_masks(case), seed=case.seed, **options).to(self._device)
        self._trainer = Trainer(network, optimizer=case.optimizer, mode=self._mode)
        self.weights = sum(w.numel() for w in network.weights)
        self.operations = gradients(network.edges())

    def train(self, samples: int) -> None:
        """See ``Contender.train``; returns when the device has done."""
        rng = np.random.default_rng([self._case.seed, self.epoch])
        order = self._torch.from_numpy(rng.permutation(len(self._x))[:samples]).to(self._device)
        self._trainer.epoch(self._x, self._y, order, self._case.batch_size)
        self._done()
        self.epoch += 1

    def limits(self) -> Limits:
        """See ``Contender.limits``."""
        torch, device = self._torch, self._device
        a, b = torch.randn(2, SIZE, SIZE, device=device)
        source, target = torch.randn(2, self.weights, device=device)
        return limits(lambda: self._done(a @ b), lambda: self._done(target.copy_(source)), self.weights)

    def device_memory(self) -> int | None:
        """See ``Contender.device_memory``."""
        return self._torch.cuda.max_memory_reserved() if self._device == "cuda" else None

    def _done(self, _: object = None) -> None:
        """Wait until the device has computed what it was given."""
        if self._device == "cuda":
            self._torch.cuda.synchronize()


def _masks(case: Case) -> "list[Array | None] | None":
    """Return the edges that message passing has in the same case."""
    if case.density == 1:
        return None
    from deepnet.train import init

    return [layer.drawn() for layer in init(case.config("mf"), case.widths[0], case.classes).layers]


def make(name: str, case: Case) -> Contender:
    """Return the contender of a name: a closure, or a baseline.

    Raises:
        BenchError: what it needs is not installed or not there, or the case does not fit the data set.
        DataError: the data set cannot be had.
    """
    return Baseline(case, BASELINES[name]) if name in BASELINES else MessagePassing(case, name)
