"""Matrix products by cuBLAS through its C interface.

CuPy refuses to call cuBLAS while a stream is captured. cuBLAS itself allows it, best with a workspace of the handle's
own [cuBLAS documentation, "CUDA Graphs Support" and cublasSetWorkspace].
"""

import ctypes
from typing import Any

from factorgraph.dense.state import Array

#: CUBLAS_OP_N and CUBLAS_OP_T; CUBLAS_DEFAULT_MATH and CUBLAS_TF32_TENSOR_OP_MATH.
_PLAIN, _TRANSPOSED = 0, 1
_DEFAULT_MATH, _TF32_MATH = 0, 3

_Pointer, _Int, _Long = ctypes.c_void_p, ctypes.c_int, ctypes.c_longlong
_MATRIX = [_Pointer, _Int, _Long]
_SIGNATURES = {
    "cublasCreate_v2": [_Pointer],
    "cublasSetStream_v2": [_Pointer, _Pointer],
    "cublasSetWorkspace_v2": [_Pointer, _Pointer, ctypes.c_size_t],
    "cublasSetMathMode": [_Pointer, _Int],
    "cublasSgemmStridedBatched": [
        *[_Pointer, _Int, _Int, _Int, _Int, _Int, _Pointer],
        *[*_MATRIX, *_MATRIX, _Pointer, *_MATRIX, _Int],
    ],
}


class CublasError(RuntimeError):
    """A call of cuBLAS has failed."""


class Cublas:
    """A handle of cuBLAS, bound to a stream.

    Args:
        library: cuBLAS, loaded.
        stream: address of the stream on which products run.
        workspace: address of device memory that the handle may use as long as it lives.
        workspace_size: its size in bytes.
        tf32: round the factors of products to 10 bits of mantissa and use tensor cores.

    Raises:
        CublasError: the device or the library refuses.
    """

    def __init__(self, library: ctypes.CDLL, stream: int, workspace: int, workspace_size: int, *, tf32: bool) -> None:
        self._library = library
        for name, arguments in _SIGNATURES.items():
            getattr(library, name).argtypes = arguments
        self._handle = _Pointer()
        self._call("cublasCreate_v2", ctypes.addressof(self._handle))
        self._call("cublasSetStream_v2", self._handle, stream)
        self._call(
            "cublasSetWorkspace_v2", self._handle, workspace, workspace_size
        )  # after the stream, which resets it
        self._call("cublasSetMathMode", self._handle, _TF32_MATH if tf32 else _DEFAULT_MATH)

    def product(self, a: Array, b: Array, out: Array) -> None:
        """out = a b, of float32 matrices or stacks of as many matrices.

        Args:
            a: (..., rows, inner), each matrix contiguous or the transposed view of one that is.
            b: (..., inner, columns), likewise.
            out: (..., rows, columns), contiguous.

        Raises:
            ValueError: shapes, types or layouts are other ones.
        """
        _check(a, b, out)
        count = out.shape[0] if out.ndim == 3 else 1
        rows, columns = out.shape[-2:]
        # cuBLAS counts by columns: to it all matrices are transposed, and out^T = b^T a^T.
        op_a, leading_a = _layout(a)
        op_b, leading_b = _layout(b)
        one, zero = ctypes.c_float(1.0), ctypes.c_float(0.0)
        self._call(
            "cublasSgemmStridedBatched",
            *(self._handle, op_b, op_a, columns, rows, a.shape[-1], ctypes.addressof(one)),
            *(address(b), leading_b, _stride(b), address(a), leading_a, _stride(a), ctypes.addressof(zero)),
            *(address(out), columns, _stride(out), count),
        )

    def _call(self, name: str, *args: Any) -> None:
        status = getattr(self._library, name)(*args)
        if status != 0:
            raise CublasError(f"{name} failed with status {status}")


def address(values: Array) -> int:
    """Where the first number of an array is, on the device or, for a NumPy array, in memory."""
    interface = getattr(values, "__cuda_array_interface__", None) or values.__array_interface__
    return interface["data"][0]


def _check(a: Array, b: Array, out: Array) -> None:
    fits = a.shape[-1] == b.shape[-2] and (*a.shape[:-1], b.shape[-1]) == out.shape and a.shape[:-2] == b.shape[:-2]
    if not fits or out.ndim not in (2, 3) or not out.flags.c_contiguous:
        raise ValueError(f"`out` must be the contiguous product of {a.shape} and {b.shape}, got {out.shape}")
    for name, values in (("a", a), ("b", b), ("out", out)):
        if values.dtype != "float32":
            raise ValueError(f"`{name}` must be float32, got {values.dtype}")


def _layout(values: Array) -> tuple[int, int]:
    """Return operation and leading dimension of matrices that are transposed to cuBLAS."""
    (rows, columns), (row_step, step) = values.shape[-2:], values.strides[-2:]
    if step == values.itemsize and row_step >= columns * step:
        return _PLAIN, row_step // step
    if row_step == values.itemsize and step >= rows * row_step:
        return _TRANSPOSED, step // row_step
    raise ValueError(f"matrices must be contiguous in rows or in columns, got strides {values.strides}")


def _stride(values: Array) -> int:
    """Return numbers from one matrix of a stack to the next."""
    return values.strides[0] // values.itemsize if values.ndim == 3 else 0
