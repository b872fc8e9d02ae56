"""Without the compiler (NUMBA_DISABLE_JIT, for debuggers and coverage): slow, for small cases."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

_NUMPYS = ("exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "sinh", "cosh", "tanh")


def use_ieee_math(function: Callable[..., Any]) -> None:
    """Give the module of a function a ``math`` that returns infinity or NaN where Python's raises an error."""
    if function.__globals__.get("math") is math:
        function.__globals__["math"] = _IEEE_MATH


def over_elements(element: Callable[..., None], outputs: int) -> Callable[..., Any]:
    """Return a function of scalars and ``outputs`` one-element arrays as a broadcasting function."""

    def apply(*args: Any) -> Any:
        arrays = np.broadcast_arrays(*(np.asarray(a, np.float64) for a in args))
        results = np.empty((outputs, *arrays[0].shape))
        with np.errstate(all="ignore"):
            for index in np.ndindex(arrays[0].shape):
                filled = np.empty((outputs, 1))
                element(*(a[index] for a in arrays), *filled)
                results[(slice(None), *index)] = filled[:, 0]
        return results[0] if outputs == 1 else tuple(results)

    return apply


def _ieee(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def apply(x: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(np.float64(x))

    return apply


def _lgamma(x: float) -> float:
    return math.inf if x <= 0 and x == math.floor(x) else math.lgamma(x)


_IEEE_MATH = SimpleNamespace(
    **(vars(math) | {name: _ieee(getattr(np, name)) for name in _NUMPYS} | {"lgamma": _lgamma})
)
