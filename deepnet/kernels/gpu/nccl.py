"""Sums over the GPUs of several processes, by NCCL: on the stream of the device, so that a captured step has them."""

from collections.abc import Callable
from typing import Any

from deepnet.kernels.gpu.cublas import address
from deepnet.processes import Communicator
from factorgraph.dense.state import Array

#: Names of the types in NCCL.
_TYPES = {"float32": "NCCL_FLOAT32", "float64": "NCCL_FLOAT64"}


class NcclCommunicator(Communicator):
    """Processes each of which has a GPU.

    Args:
        host: the same processes, by their hosts.
        nccl: CuPy's module.
        stream: pointer to the stream on which the sums follow what was begun before, and come before what follows.
    """

    def __init__(self, host: Communicator, nccl: Any, stream: int) -> None:
        self._host, self._nccl, self._stream = host, nccl, stream
        self.rank, self.size, self.summed = host.rank, host.size, 0
        first = host.gather(nccl.get_unique_id() if host.rank == 0 else None)[0]
        self._group = nccl.NcclCommunicator(host.size, first, host.rank)

    def begin_sum(self, values: Array) -> Callable[[], None]:
        """As ``Communicator.begin_sum``; the host need not wait."""
        kind = getattr(self._nccl, _TYPES[str(values.dtype)])
        where = address(values)
        self._group.allReduce(where, where, values.size, kind, self._nccl.NCCL_SUM, self._stream)
        self.summed += values.nbytes
        return _nothing

    def gather(self, value: Any) -> list[Any]:
        return self._host.gather(value)

    def single(self) -> Communicator:
        return self._host.single()


def _nothing() -> None:
    """What the host waits for."""
