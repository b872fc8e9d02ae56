"""A processor that keeps the promises of a GPU: arrays that NumPy must not touch, kernels compiled by a C++ compiler.

The kernels are those of the GPU, from the same text, run as a grid of one thread. Products go through the same calls of
cuBLAS to a library that does what its documentation says, in loops. Missing are launches, cuBLAS itself and graphs.
"""

import contextlib
import ctypes
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.lib.mixins import NDArrayOperatorsMixin

from deepnet.kernels.gpu.cublas import Cublas
from deepnet.kernels.gpu.nccl import NcclCommunicator
from deepnet.kernels.gpu.source import module_source
from factorgraph.runtime.device_arrays import elementwise_source

COMPILER = next((path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))), None)

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler to run the kernels on the processor")

HEADER = """
#include <cmath>
using namespace std;
#define __device__
#define __global__
struct Dimension { unsigned x; };
static const Dimension blockIdx{0}, threadIdx{0}, blockDim{1}, gridDim{1};
"""

#: What the documentation of cuBLAS says that these functions do: matrices are columns, one behind the other.
CUBLAS = """
extern "C" int cublasCreate_v2(void** handle) { *handle = (void*)42; return 0; }
extern "C" int cublasSetStream_v2(void* handle, void* stream) { return handle != (void*)42; }
extern "C" int cublasSetWorkspace_v2(void* handle, void* memory, unsigned long size) { return handle != (void*)42; }
extern "C" int cublasSetMathMode(void* handle, int mode) { return handle != (void*)42 || (mode != 0 && mode != 3); }
extern "C" int cublasSgemmStridedBatched(
    void* handle, int op_a, int op_b, int m, int n, int k, const float* alpha,
    const float* a, int lda, long long step_a, const float* b, int ldb, long long step_b,
    const float* beta, float* c, int ldc, long long step_c, int count) {
    if (handle != (void*)42) return 1;
    if (lda < (op_a ? k : m) || ldb < (op_b ? n : k) || ldc < m) return 7;
    for (int s = 0; s < count; s++, a += step_a, b += step_b, c += step_c)
        for (int i = 0; i < m; i++)
            for (int j = 0; j < n; j++) {
                float sum = 0;
                for (int l = 0; l < k; l++) sum += a[op_a ? l + (long)i * lda : i + (long)l * lda]
                                                 * b[op_b ? j + (long)l * ldb : l + (long)j * ldb];
                c[i + (long)j * ldc] = *alpha * sum + (*beta == 0 ? 0 : *beta * c[i + (long)j * ldc]);
            }
    return 0;
}
"""


def compiled(text: str, options: tuple[str, ...] = ()) -> ctypes.CDLL:
    """A library from C++, kept in the folder of the compiled code of these sources."""
    assert COMPILER is not None
    command = [COMPILER, "-std=c++17", "-O2", "-shared", "-fPIC", *options]
    name = hashlib.sha256(" ".join([*command, text]).encode()).hexdigest()[:16]
    library = Path(os.environ["NUMBA_CACHE_DIR"]) / f"{name}.so"
    if not library.exists():
        source, new = library.with_suffix(f".{os.getpid()}.cc"), library.with_suffix(f".{os.getpid()}.new")
        source.write_text(text)
        subprocess.run([*command, str(source), "-o", str(new)], check=True)
        new.replace(library)
        source.unlink()
    return ctypes.CDLL(str(library))


def elementwise(element, inputs, outputs):
    """A function of one element of ``factorgraph``, translated and compiled, over float64 arrays of one shape."""
    definitions, statement = elementwise_source(element, inputs, outputs)
    arrays = "".join(f", const double* p{i}" for i in range(inputs))
    results = "".join(f", double* q{j}" for j in range(outputs))
    loads = "".join(f"double a{i} = p{i}[e]; " for i in range(inputs))
    names = ", ".join(f"o{j}" for j in range(outputs))
    stores = "".join(f"q{j}[e] = o{j}; " for j in range(outputs))
    loop = f"for (long e = 0; e < size; e++) {{ {loads}double {names}; {statement} {stores} }}"
    function = f'extern "C" void run(long size{arrays}{results}) {{ {loop} }}'
    run = compiled(f"{HEADER}{definitions}\n{function}", ("-ffp-contract=off",)).run

    def apply(*args):
        args = [np.ascontiguousarray(a, np.float64) for a in np.broadcast_arrays(*args)]
        out = [np.empty_like(args[0]) for _ in range(outputs)]
        run(ctypes.c_long(args[0].size), *(ctypes.c_void_p(a.ctypes.data) for a in (*args, *out)))
        return tuple(out)

    return apply


class _Tape:
    """What is done while a step is captured, to be done again; ``operations`` is None at other times."""

    operations: "list | None" = None

    @classmethod
    def change(cls, operation):
        """Do something to existing arrays; while capturing, it is only noted."""
        if cls.operations is None:
            operation()
        else:
            cls.operations.append(operation)

    @classmethod
    def make(cls, operation):
        """The result of ``operation`` as a new array of the device, filled again at every replay."""
        values = operation()
        if not isinstance(values, np.ndarray | np.generic):
            return values
        result = DeviceArray(np.array(values))
        if cls.operations is not None:
            cls.operations.append(lambda: np.copyto(result._values, operation()))
        return result

    @classmethod
    def waits(cls):
        """For the device, which is not allowed while capturing."""
        assert cls.operations is None, "the host waits for the device during a capture"


class DeviceArray(NDArrayOperatorsMixin):
    """An array that cannot be mixed with arrays of NumPy, nor become one by accident, as those of CuPy cannot."""

    def __init__(self, values, base=None):
        assert type(values) is np.ndarray
        self._values, self.base = values, base

    @property
    def __cuda_array_interface__(self):
        return self._values.__array_interface__

    def __array__(self, *args, **kwargs):
        raise TypeError("implicit conversion to a NumPy array")

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        assert method == "__call__", method
        values = [_inside(a) for a in inputs]
        if out is None:
            return _Tape.make(lambda: ufunc(*values, **kwargs))
        _Tape.change(lambda: ufunc(*values, out=tuple(_inside(a) for a in out), **kwargs))
        return out[0]

    def __array_function__(self, function, types, args, kwargs):
        args, kwargs = _inside(args), {name: _inside(value) for name, value in kwargs.items()}
        return _Tape.make(lambda: function(*args, **kwargs))

    def _view(self, values):
        return DeviceArray(values, self if self.base is None else self.base)

    def __getitem__(self, key):
        return self._view(self._values[(*key, ...) if isinstance(key, tuple) else (key, ...)])

    def __setitem__(self, key, value):
        key, value = _inside(key), _inside(value)
        _Tape.change(lambda: self._values.__setitem__(key, value))

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __len__(self):
        return len(self._values)

    def __float__(self):
        _Tape.waits()
        return float(self._values)

    def __bool__(self):
        _Tape.waits()
        return bool(self._values)

    def __getattr__(self, name):
        if name in ("shape", "dtype", "size", "nbytes", "ndim", "strides", "flags", "itemsize"):
            return getattr(self._values, name)
        if name == "T":
            return self._view(self._values.T)
        if name == "transpose":
            return lambda *axes: self._view(self._values.transpose(*axes))
        if name in ("sum", "min", "max", "copy", "astype"):
            return lambda *args, **kwargs: _Tape.make(lambda: getattr(self._values, name)(*args, **kwargs))
        raise AttributeError(name)


def _inside(value):
    if isinstance(value, DeviceArray):
        return value._values
    if isinstance(value, tuple | list):
        return type(value)(_inside(v) for v in value)
    if isinstance(value, np.ndarray):
        raise TypeError("a NumPy array cannot be an argument beside arrays of the device")
    return value


class _ArrayModule:
    """Functions that make or take arrays of the device."""

    def asarray(self, values):
        if isinstance(values, DeviceArray):
            return values
        _Tape.waits()
        return DeviceArray(np.array(values))

    def empty(self, shape, dtype):
        return self.full(shape, np.nan if np.dtype(dtype).kind == "f" else 0, dtype)

    def take(self, values, indices, axis, out=None):
        if out is None:
            return _Tape.make(lambda: np.take(values._values, indices._values, axis, mode="wrap"))
        assert out.dtype == values.dtype
        _Tape.change(lambda: np.copyto(out._values, np.take(values._values, indices._values, axis, mode="wrap")))
        return out

    def __getattr__(self, name):
        assert name in ("zeros", "full", "stack")
        return lambda *args, **kwargs: _Tape.make(lambda: getattr(np, name)(*_inside(args), **kwargs))


class EmulatedNccl:
    """What of CuPy's module for NCCL is called, by the host's sums of the same processes."""

    NCCL_FLOAT32, NCCL_SUM = 7, 0

    def __init__(self, communicator):
        self._communicator = communicator

    def get_unique_id(self):
        return ("the", "first")

    def NcclCommunicator(self, size, identity, rank):  # noqa: N802
        assert identity == ("the", "first") and (size, rank) == (self._communicator.size, self._communicator.rank)
        return self

    def allReduce(self, source, target, count, kind, operation, stream):  # noqa: N802
        assert source == target and (kind, operation, stream) == (self.NCCL_FLOAT32, self.NCCL_SUM, 0)
        values = np.ctypeslib.as_array(ctypes.cast(source, ctypes.POINTER(ctypes.c_float)), (count,))
        _Tape.change(lambda: self._communicator.begin_sum(values)())


class EmulatedDevice:
    """A ``Device`` on the processor; ``launches`` counts the kernels by name, ``captures`` the captured steps."""

    def __init__(self):
        self.xp = _ArrayModule()
        self.launches: dict[str, int] = {}
        self.captures = 0
        self._kernels = compiled(HEADER + module_source())
        self._cublas = Cublas(compiled(CUBLAS), 0, 0, 0, tf32=False)

    def launch(self, name, count, *args):
        self.launches[name] = self.launches.get(name, 0) + 1
        values = [self._argument(value) for value in args]
        _Tape.change(lambda args=args: getattr(self._kernels, name)(ctypes.c_longlong(count), *values))

    def product(self, a, b, out):
        _Tape.change(lambda: self._cublas.product(a, b, out))

    def running(self):
        return contextlib.nullcontext()

    def captured(self, step):
        """A graph sees nothing of the host: numbers that a step reads there stay as they were at the capture."""
        operations = []
        warm = False

        def run():
            nonlocal warm
            if not warm:
                step()
                warm = True
                return
            if not operations:
                self.captures += 1
                _Tape.operations = operations
                try:
                    step()
                finally:
                    _Tape.operations = None
            for operation in operations:
                operation()

        return run

    def host(self, values):
        _Tape.waits()
        return values._values.copy() if isinstance(values, DeviceArray) else values

    def summing(self, communicator):
        return NcclCommunicator(communicator, EmulatedNccl(communicator), 0)

    def memory(self):
        return 0

    @staticmethod
    def _argument(value):
        if value is None:
            return ctypes.c_void_p(0)
        if isinstance(value, int):
            return ctypes.c_longlong(value)
        if isinstance(value, float):
            return ctypes.c_float(value)
        assert isinstance(value, DeviceArray) and value.flags.c_contiguous
        assert value.dtype in (np.float32, np.int64, np.bool_)
        return ctypes.c_void_p(value._values.ctypes.data)


def apply_compiled(element, types, outputs, dtype):
    """In place of ``factorgraph.runtime.device_arrays._compiled``."""
    function = elementwise(element, len(types), outputs)

    def apply(*args):
        assert all(
            isinstance(a, float) or (isinstance(a, DeviceArray) and a.dtype == t)
            for a, t in zip(args, types, strict=True)
        )
        values = [_inside(a) for a in args]
        with np.errstate(over="ignore", under="ignore"):
            return tuple(_Tape.make(lambda j=j: function(*values)[j].astype(dtype)) for j in range(outputs))

    return apply
