"""Arrays on a GPU: how they are recognised, and the scalar formulas applied to them by CuPy."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from factorgraph.runtime.cpp import Translation

#: Products are not fused with sums: the twofold arithmetic of the formulas relies on the rounding of each.
OPTIONS = ("--fmad=false",)


def on_device(*values: Any) -> bool:
    """Return whether one of the values is an array on a GPU."""
    return any(hasattr(value, "__cuda_array_interface__") for value in values)


def apply_on_device(element: Callable[..., None], outputs: int, args: Sequence[Any]) -> tuple[Any, ...]:
    """Return the results of a function of one element over broadcast arguments, in float64 arithmetic.

    Args:
        element: function of one float64 scalar for each of ``args``, followed by ``outputs`` one-element arrays to
            fill.
        outputs: number of results.
        args: arrays on the device, and numbers.

    Returns:
        Arrays on the device: float32 if all arrays are float32, else float64.
    """
    arrays = [value for value in args if hasattr(value, "dtype")]
    dtype = "float32" if all(value.dtype == np.float32 for value in arrays) else "float64"
    values: list[Any] = [value if on_device(value) else float(value) for value in args]
    types = tuple("float64" if isinstance(value, float) else str(value.dtype) for value in values)
    return _compiled(element, types, outputs, dtype)(*values)


@cache
def _compiled(
    element: Callable[..., None], types: tuple[str, ...], outputs: int, dtype: str
) -> Callable[..., tuple[Any, ...]]:
    """For arguments of these types: CuPy would derive them from arrays, but has none for a number."""
    import cupy  # pyright: ignore[reportMissingImports]

    preamble, operation = elementwise_source(element, len(types), outputs)
    return cupy.ElementwiseKernel(
        ", ".join(f"{name} a{i}" for i, name in enumerate(types)),
        ", ".join(f"{dtype} o{j}" for j in range(outputs)),
        operation,
        name=element.__module__.replace(".", "_") + element.__name__,
        preamble=preamble,
        options=OPTIONS,
        return_tuple=True,
    )


def elementwise_source(element: Callable[..., None], inputs: int, outputs: int) -> tuple[str, str]:
    """Return definitions in C++, and the statements that set o0, o1, ... from a0, a1, ..."""
    bodies = Translation("double")
    name = bodies.add(element)
    results = [f"r{j}" for j in range(outputs)]
    call = ", ".join([*(f"(double)a{i}" for i in range(inputs)), *(f"&{result}" for result in results)])
    sets = " ".join(f"o{j} = {result};" for j, result in enumerate(results))
    return bodies.text, f"double {', '.join(results)}; {name}({call}); {sets}"
