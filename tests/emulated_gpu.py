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
from deepnet.kernels.gpu.source import module_source
from factorgraph.device import elementwise_source

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
    void* handle, int op_a, int op_b, int m, int n, int k, const float* alpha, const float* a, int lda, long long step_a,
    const float* b, int ldb, long long step_b, const float* beta, float* c, int ldc, long long step_c, int count) {
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


def elementwise(kernel, inputs, outputs):
    """A scalar kernel of ``factorgraph``, translated and compiled, over float64 arrays of one shape."""
    definitions, statement = elementwise_source(kernel, inputs, outputs)
    arrays = "".join(f", const double* p{i}" for i in range(inputs))
    results = "".join(f", double* q{j}" for j in range(outputs))
    loads = "".join(f"double a{i} = p{i}[e]; " for i in range(inputs))
    names = ", ".join(f"o{j}" for j in range(outputs))
    stores = "".join(f"q{j}[e] = o{j}; " for j in range(outputs))
    body = f"{loads}double {names}; {statement} {stores}"
    text = f'{HEADER}{definitions}\nextern "C" void run(long size{arrays}{results}) {{ for (long e = 0; e < size; e++) {{ {body} }} }}'
    run = compiled(text, ("-ffp-contract=off",)).run

    def apply(*args):
        args = [np.ascontiguousarray(a, np.float64) for a in np.broadcast_arrays(*args)]
        out = [np.empty_like(args[0]) for _ in range(outputs)]
        run(ctypes.c_long(args[0].size), *(ctypes.c_void_p(a.ctypes.data) for a in (*args, *out)))
        return tuple(out)

    return apply


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
        if out is not None:
            kwargs["out"] = tuple(_inside(a) for a in out)
        result = ufunc(*(_inside(a) for a in inputs), **kwargs)
        return out[0] if out is not None else wrapped(result)

    def __array_function__(self, function, types, args, kwargs):
        return wrapped(function(*_inside(args), **{name: _inside(value) for name, value in kwargs.items()}))

    def __getitem__(self, key):
        key = _inside(key)
        values = self._values[key]
        if not isinstance(values, np.ndarray):
            values = self._values[(*key, ...) if isinstance(key, tuple) else (key, ...)]
        return DeviceArray(values, self if self.base is None else self.base)

    def __setitem__(self, key, value):
        self._values[_inside(key)] = _inside(value)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __len__(self):
        return len(self._values)

    def __float__(self):
        return float(self._values)

    def __getattr__(self, name):
        if name in ("shape", "dtype", "size", "ndim", "strides", "flags", "itemsize"):
            return getattr(self._values, name)
        if name == "T":
            return DeviceArray(self._values.T, self)
        if name in ("sum", "max", "copy", "astype", "take", "transpose", "reshape"):
            return lambda *args, **kwargs: wrapped(getattr(self._values, name)(*_inside(args), **kwargs))
        raise AttributeError(name)


def wrapped(result):
    """Results on the device: scalars are arrays without axes there."""
    if isinstance(result, np.ndarray | np.generic):
        return DeviceArray(np.asarray(result))
    return result


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
        return values if isinstance(values, DeviceArray) else DeviceArray(np.array(values))

    def take(self, values, indices, axis, out=None):
        result = np.take(values._values, indices._values, axis=axis)
        if out is None:
            return DeviceArray(result)
        assert out.shape == result.shape and out.dtype == result.dtype
        out[...] = DeviceArray(result)
        return out

    def __getattr__(self, name):
        assert name in ("empty", "zeros", "full", "stack")
        return lambda *args, **kwargs: wrapped(getattr(np, name)(*_inside(args), **kwargs))


class EmulatedDevice:
    """A ``Device`` on the processor. ``launches`` counts the kernels, ``captures`` the steps that a graph would hold."""

    def __init__(self):
        self.xp = _ArrayModule()
        self.launches: dict[str, int] = {}
        self.captures = 0
        self._kernels = compiled(HEADER + module_source())
        self._cublas = Cublas(compiled(CUBLAS), 0, 0, 0, tf32=False)

    def launch(self, name, count, *args):
        self.launches[name] = self.launches.get(name, 0) + 1
        getattr(self._kernels, name)(ctypes.c_longlong(count), *map(self._argument, args))

    def product(self, a, b, out):
        self._cublas.product(a, b, out)

    def running(self):
        return contextlib.nullcontext()

    def captured(self, step):
        """A graph cannot see anything of the host: whatever a step reads there is as it was at the capture."""
        step()
        self.captures += 1
        return step

    def host(self, values):
        return values._values if isinstance(values, DeviceArray) else values

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


def apply_compiled(kernel, inputs, outputs, dtype):
    """In place of ``factorgraph.device._compiled``."""
    function = elementwise(kernel, inputs, outputs)

    def apply(*args):
        results = function(*(_inside(a) for a in args))
        with np.errstate(over="ignore", under="ignore"):
            return tuple(DeviceArray(r.astype(dtype)) for r in results)

    return apply
