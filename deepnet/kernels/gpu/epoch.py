"""Epochs on the device: the data stay there, and every batch is the replay of one captured step."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from deepnet.kernels.gpu.operations import GpuOperations
from deepnet.layers import Layer, Update
from deepnet.processes import ALONE, Communicator, shared
from deepnet.sweep import train_batch
from factorgraph.channels import Argmax
from factorgraph.dense.state import Array


class DeviceEpochs:
    """Training batches of one network and one data set.

    What changes from batch to batch lies in device arrays: the order of the samples, the schedules of the
    hyper-parameters, and the number of the batch, which every step increases. So all steps of a size are the same
    operations on the same addresses.

    Args:
        layers: from the data to the output, on the device.
        operations: of the device.
        x: inputs (samples, features), float32.
        y: labels (samples,), integers of an argmax output, or (samples, outputs) of ±1 in float32; or soft targets,
            with the axis of the classes last.
        power: to which the likelihood of each sample is taken, (samples,) in float32; None for 1.
        communicator: of the processes that share every batch.
        batch_size: samples in a batch, of all processes.
        tau: inner iterations.
        reinforcement: r of all layers.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        operations: GpuOperations,
        x: Array,
        y: Array,
        power: Array | None = None,
        communicator: Communicator = ALONE,
        *,
        batch_size: int,
        tau: int,
        reinforcement: float,
    ) -> None:
        xp = operations.device.xp
        self._layers, self._operations, self._tau = layers, operations, tau
        self._communicator = communicator
        alone = communicator is ALONE
        self._shared = shared(operations, communicator if alone else operations.device.summing(communicator))
        self._x, self._y = xp.asarray(x), xp.asarray(y)
        self._power = None if power is None else xp.asarray(power)
        self._size = batch_size
        # What the steps read from fixed addresses: order, schedules, the current ones, and the number of the batch.
        batches = -(-len(x) // batch_size)
        self._order = xp.zeros((batches, batch_size), np.int64)
        self._schedules = xp.zeros((batches, len(layers), 3), np.float32)
        self._now = xp.zeros((1, len(layers), 3), np.float32)
        self._batch = xp.zeros(1, np.int64)
        numbers = [self._now[0, index] for index in range(len(layers))]
        self._updates = [Update(rho=n[0], damping=n[1], beta=n[2], reinforcement=reinforcement) for n in numbers]
        self._steps: dict[int, Callable[[], None]] = {}

    def run(self, order: Array, schedules: Sequence[Sequence[Update]], progress: Callable[[int], None] | None) -> None:
        """One epoch.

        Args:
            order: the samples to be trained on, each once, or some of them.
            schedules: updates of the layers, for every batch.
            progress: called with the number of samples after each batch was sent to the device.
        """
        xp = self._operations.device.xp
        # Order and schedules of the whole epoch go to the device at once.
        padded = np.zeros(self._order.size, np.int64)
        padded[: len(order)] = order
        self._order[...] = xp.asarray(padded.reshape(self._order.shape))
        values = [[(update.rho, update.damping, update.beta) for update in updates] for updates in schedules]
        self._schedules[: len(values)] = xp.asarray(np.array(values, np.float32))
        self._batch[...] = 0
        # A captured step for each size of batch, replayed.
        full, rest = divmod(len(order), self._size)
        for size in [self._size] * full + [rest] * (rest > 0):
            if size not in self._steps:
                step = partial(self._train, size)
                labels = self._y.ndim == 1 or not isinstance(self._layers[-1].plan.channel, Argmax)
                whole = labels and all(layer.plan.on_gpu for layer in self._layers)
                self._steps[size] = self._operations.device.captured(step) if whole else step
            self._steps[size]()
            if progress is not None:
                progress(size)

    def _train(self, size: int) -> None:
        """The next batch, of ``size`` samples, of which this process has its part."""
        xp = self._operations.device.xp
        xp.take(self._schedules, self._batch, axis=0, out=self._now)
        chosen = xp.take(self._order, self._batch, axis=0)[0, :size][self._communicator.part(size)]
        self._batch += 1
        x, y = (xp.take(values, chosen, axis=0).T.copy() for values in (self._x, self._y))
        power = None if self._power is None else xp.take(self._power, chosen, axis=0)
        train_batch(self._layers, x, y, self._updates, operations=self._shared, tau=self._tau, power=power)
