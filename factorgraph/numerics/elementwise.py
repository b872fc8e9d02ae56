"""A formula written once on scalars, used everywhere: as a broadcasting array function and inside fused loops.

A *body* is a plain function of float64 scalars compiled by Numba (``@formula``). ``Elementwise`` turns an *element
function*, a body that writes its results to one-element outputs, into a broadcasting array function that compiles at
its first call.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numba import cfunc, guvectorize
from numba.np.numpy_support import carray
from numpy.typing import ArrayLike

from factorgraph.interface.arguments import number_array
from factorgraph.runtime.compiled import DISABLED, njit
from factorgraph.runtime.device_arrays import apply_on_device, on_device
from factorgraph.runtime.uncompiled import over_elements

#: Compile a scalar body. IEEE semantics are kept: the bodies rely on infinities, signed zeros and compensated sums.
formula: Callable[..., Any] = njit(cache=True, error_model="numpy", fastmath=False)

_DOUBLE = np.dtype(np.float64)


def result_type(*args: ArrayLike) -> np.dtype[Any]:
    """Return float32 if all arrays are float32, else float64; lists count as arrays, and Python numbers do not
    widen."""
    if any(isinstance(a, np.ndarray) and a.dtype == _DOUBLE for a in args):
        return _DOUBLE
    dtype = np.result_type(*(a if isinstance(a, (int, float)) else np.asarray(a) for a in args))
    return dtype if dtype == np.float32 else _DOUBLE


def check_real(**arguments: Any) -> None:
    """Raise ValueError, naming the argument, for what NumPy would convert in silence: masks, imaginary parts, strings.

    NaN passes: it stands for what is not known. Arrays of numbers cost no look at their elements.
    """
    for name, values in arguments.items():
        kind = type(values)
        if kind is float or (kind is np.ndarray and values.dtype.kind in "fiu") or on_device(values):
            continue
        number_array(name, values)


class Elementwise:
    """Broadcast a function of one element over arrays.

    The arithmetic is float64 whatever comes in; the results have the floating type of the arguments (float32 if all
    arrays are float32, else float64), so float32 results are correctly rounded float64 ones.

    Args:
        element: function of ``inputs`` float64 scalars followed by ``outputs`` one-element float64 arrays to fill.
        inputs: number of scalar inputs.
        outputs: number of outputs.
    """

    def __init__(self, element: Callable[..., None], inputs: int, outputs: int) -> None:
        self._element = element
        self._inputs = inputs
        self.outputs = outputs
        self._ufunc: Callable[..., Any] | None = None

    def _compile(self) -> Callable[..., Any]:
        if DISABLED:
            return over_elements(self._element, self.outputs)
        types = ["float64"] * self._inputs + ["float64[:]"] * self.outputs
        # Not cached on disk: a cached wrapper names its function as the process that wrote it did, and processes that
        # fill the cache side by side leave wrappers of absent functions, which crash. The bodies are cached.
        layout = ",".join(["()"] * self._inputs) + "->" + ",".join(["()"] * self.outputs)
        return guvectorize([f"void({','.join(types)})"], layout, nopython=True)(self._element)

    @cached_property
    def loop(self) -> Any:
        """For use inside compiled loops, all of which take any such loop without being compiled anew.

        Called with n and pointers to contiguous float64 arrays: (inputs, n), read, and (outputs, n), filled.
        """
        args = [f"v[{i}, j]" for i in range(self._inputs)] + [f"r[{o}, j : j + 1]" for o in range(self.outputs)]
        lines = [
            "def loop(n, values, results):",
            f"    v, r = carray(values, ({self._inputs}, n)), carray(results, ({self.outputs}, n))",
            "    for j in range(n):",
            f"        element({', '.join(args)})",
        ]
        names = {"element": njit(error_model="numpy")(self._element), "carray": carray}
        exec("\n".join(lines), names)
        return cfunc("void(intp, CPointer(float64), CPointer(float64))", error_model="numpy")(names["loop"])

    def __call__(self, *args: Any) -> tuple[Any, ...]:
        """Return results in the broadcast shape of ``args``, one per output; scalars come back as NumPy scalars.

        Arrays on a GPU give arrays there.
        """
        if on_device(*args):
            return apply_on_device(self._element, self.outputs, args)
        if self._ufunc is None:
            self._ufunc = self._compile()
        dtype = result_type(*args)
        results = self._ufunc(*(np.asarray(a, dtype=np.float64) for a in args))
        if self.outputs == 1:
            results = (results,)
        if dtype == _DOUBLE:
            return tuple(r[()] for r in results)
        with np.errstate(over="ignore", under="ignore"):
            return tuple(np.asarray(r).astype(dtype, copy=False)[()] for r in results)
