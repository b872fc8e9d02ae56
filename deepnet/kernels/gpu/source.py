"""Text of the CUDA module: the float32 bodies, translated, and the kernels that use them."""

from functools import cache
from importlib import resources

from deepnet.kernels.cpu import float32
from factorgraph.runtime.cpp import Translation

#: The kernels have C names, so that they are found under them.
KERNELS = (
    "sign_moments", "sign_derivatives", "argmax_derivatives", "strip_sums", "with_squares", "finish_variances",
    "finish_fields", "add_product", "update_spins", "edge_factors", "edge_messages", "sum_parts",
    "sum_parts_transposed",
)  # fmt: skip

#: Rows summed by a thread, and outputs that it takes at a time in the messages of BP, as in ``kernels.cu``.
STRIP, TILE = 16, 8

#: Single precision division and root to 2 units in the last place, denormal numbers as zero.
OPTIONS = ("--std=c++17", "--ftz=true", "--prec-div=false", "--prec-sqrt=false")

_BODIES = (
    float32.sign_moments32, float32.sign_derivatives32, float32.rival32, float32.update_spin32,
    float32.edge_factor32, float32.edge_g32,
)  # fmt: skip


@cache
def module_source() -> str:
    """Return CUDA C++ of all kernels. The exponential is the device's own."""
    bodies = Translation("float", replace={float32.exp32: "expf"})
    for body in _BODIES:
        bodies.add(body)
    kernels = resources.files("deepnet.kernels.gpu").joinpath("kernels.cu").read_text(encoding="utf-8")
    return f"{bodies.text}\n{kernels}"
