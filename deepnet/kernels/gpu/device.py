"""The GPU itself: CuPy, the compiled kernels, cuBLAS and CUDA graphs. Nothing else in the project touches them.

Everything above works on what ``Device`` promises, and runs as well on a processor that keeps the promise.
"""

import contextlib
import ctypes
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from threading import RLock
from typing import Any, Protocol

import numpy as np

from deepnet.kernels.gpu.cublas import Cublas
from deepnet.kernels.gpu.nccl import NcclCommunicator
from deepnet.kernels.gpu.source import OPTIONS, module_source
from deepnet.processes import Communicator
from factorgraph.dense.state import Array

#: Threads of a block.
BLOCK = 128

#: What NVIDIA recommends for the workspace of cuBLAS on Hopper, the largest of its recommendations.
_WORKSPACE = 32 << 20


class DeviceError(RuntimeError):
    """There is no GPU that can be used; the message is what was found instead."""


class Device(Protocol):
    """Where arrays are, and what computes on them.

    Attributes:
        xp: its array module, NumPy or one with the same functions.
    """

    xp: Any

    def launch(self, name: str, count: int, *args: Any) -> None:
        """Run a kernel for ``count`` elements; arguments after the count are contiguous arrays, numbers and None."""
        ...

    def product(self, a: Array, b: Array, out: Array) -> None:
        """out = a b, as ``Cublas.product``."""
        ...

    def running(self) -> AbstractContextManager[Any]:
        """To be entered around all work; what was begun is complete at its end."""
        ...

    def captured(self, step: Callable[[], None]) -> Callable[[], None]:
        """Return a function that does what ``step`` does, without the host's part in it from the second call on.

        ``step`` must do the same operations on the same arrays whatever their numbers are, and read from arrays what
        changes. It runs in full at the first call. At the second one its operations are recorded, and then done; the
        arrays that it left anywhere are those of the record, which further calls fill again.
        """
        ...

    def host(self, values: Array) -> Array:
        """Return A NumPy array with the values."""
        ...

    def summing(self, communicator: Communicator) -> Communicator:
        """Return the communicator whose sums are of arrays of the devices of all processes."""
        ...

    def memory(self) -> int:
        """Return the bytes of the device that are kept for arrays, those of captured steps included."""
        ...


class CudaDevice:
    """The current CUDA device, or that of a number; the methods are documented in ``Device`` above.

    Args:
        tf32: let matrix products round their factors to 10 bits of mantissa.
        number: of the device, from 0, which becomes the current one; None for the current one.

    Raises:
        DeviceError: CuPy, a driver, a device or cuBLAS is missing.
    """

    def __init__(self, *, tf32: bool = False, number: int | None = None) -> None:
        try:
            import cupy  # pyright: ignore[reportMissingImports]
            from cupy.cuda.device import get_cublas_handle  # pyright: ignore[reportMissingImports]

            self.xp = cupy
            if number is not None:
                cupy.cuda.Device(number).use()
            self._stream = cupy.cuda.Stream(non_blocking=True)
            get_cublas_handle()  # loads the library that CuPy was made for; the name below finds the same one
            library = ctypes.CDLL(f"libcublas.so.{cupy.cuda.runtime.runtimeGetVersion() // 1000}")
            self._workspace = cupy.cuda.alloc(_WORKSPACE)
            self._cublas = Cublas(library, self._stream.ptr, self._workspace.ptr, _WORKSPACE, tf32=tf32)
            self._module = cupy.RawModule(code=module_source(), options=OPTIONS)
            self._module.compile()
        except Exception as error:  # whatever CuPy meets on the way to a device
            raise DeviceError(" ".join(str(error).split()) or type(error).__name__) from error
        self._lock = RLock()
        self._functions: dict[str, Any] = {}
        self._graphs: weakref.WeakSet[_Graph] = weakref.WeakSet()
        self._sums: dict[Communicator, Communicator] = {}

    def launch(self, name: str, count: int, *args: Any) -> None:
        """Launch on the current stream."""
        if count == 0:
            return
        if name not in self._functions:
            self._functions[name] = self._module.get_function(name)
        blocks = -(-count // BLOCK)
        self._functions[name]((blocks,), (BLOCK,), (np.int64(count), *map(_argument, args)))

    def product(self, a: Array, b: Array, out: Array) -> None:
        """Multiply with cuBLAS; only within ``running``."""
        if self.xp.cuda.get_current_stream().ptr != self._stream.ptr:
            raise RuntimeError("products must be computed inside `running()`")
        self._cublas.product(a, b, out)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Send everything to one stream, which waits for what was done before on others.

        One thread at a time: what another one does while a step is captured would break the capture.
        """
        with self._lock:
            self.xp.cuda.Device().synchronize()
            with self._stream:
                yield
                self._stream.synchronize()

    def captured(self, step: Callable[[], None]) -> Callable[[], None]:
        """Capture a CUDA graph."""
        graph = _Graph(self.xp.cuda, self._stream, step)
        self._graphs.add(graph)
        return graph

    def host(self, values: Array) -> Array:
        return self.xp.asnumpy(values)

    def summing(self, communicator: Communicator) -> Communicator:
        """Sum with NCCL, whose start takes seconds."""
        if communicator not in self._sums:
            nccl: Any = self.xp.cuda.nccl
            if not nccl.available:
                raise DeviceError("several processes with GPUs need NCCL: pip install nvidia-nccl-cu13")
            self._sums[communicator] = NcclCommunicator(communicator, nccl, self._stream.ptr)
        return self._sums[communicator]

    def memory(self) -> int:
        """Count the workspace of cuBLAS too."""
        return self.xp.get_default_memory_pool().total_bytes() + sum(graph.memory() for graph in self._graphs)


class _Graph:
    """A step as a CUDA graph.

    The graph reads and writes at the addresses of its capture. Temporary arrays come from a memory pool of its own,
    that nothing else uses and that lives as long as the graph does.
    """

    def __init__(self, cuda: Any, stream: Any, step: Callable[[], None]) -> None:
        self._cuda, self._stream, self._step = cuda, stream, step
        self._pool = cuda.MemoryPool()
        self._warm, self._graph = False, None

    def memory(self) -> int:
        """Return the bytes of its pool."""
        return self._pool.total_bytes()

    def __call__(self) -> None:
        if not self._warm:  # compiles what is not yet compiled, and fills the pool: neither is for a capture
            with self._cuda.using_allocator(self._pool.malloc):
                self._step()
            self._warm = True
            return
        if self._graph is None:
            self._graph = self._capture()
        self._graph.launch(self._stream)

    def _capture(self) -> Any:
        with self._cuda.using_allocator(self._pool.malloc):
            self._stream.begin_capture()  # in relaxed mode: the pool may still grow
            try:
                self._step()
            except BaseException:
                with contextlib.suppress(Exception):  # what has been recorded cannot be used: the first error counts
                    self._stream.end_capture()
                raise
            return self._stream.end_capture()


def _argument(value: Any) -> Any:
    """Return an argument of a kernel: 64-bit integers, float32 numbers, pointers."""
    if value is None:
        return np.uintp(0)
    if isinstance(value, int):
        return np.int64(value)
    return np.float32(value) if isinstance(value, float) else value
