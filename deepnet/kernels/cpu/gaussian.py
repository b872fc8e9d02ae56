"""Parallel float32 loops over continuous weights: one pass over memory each, in vector instructions.

``threads`` share the rows of an array, as in ``deepnet.kernels.cpu.fused_loops``.
"""

from typing import Any

from deepnet.kernels.cpu.float32 import f32, in_widest_vectors, inlined
from deepnet.kernels.cpu.fused_loops import loop


@loop
def update(
    H_in: Any,
    G_in: Any,
    H_base: Any,
    G_base: Any,
    H: Any,
    G: Any,
    m: Any,
    sigma: Any,
    beta: Any,
    rho: Any,
    r: Any,
    alpha: Any,
    h: Any,
    precision: Any,
    floor: Any,
    thread: int,
    threads: int,
) -> None:
    """New fields, precisions, at least ``floor``, means and variances of weights with a prior e^{hw - precision w²/2}.

    In place; the bases have no rows if ``rho`` is 0.
    """
    rows = H.shape[0]
    in_widest_vectors()
    for k in range(thread * rows // threads, (thread + 1) * rows // threads):
        field, rate = (H_base[k], G_base[k]) if H_base.shape[0] > 0 else (H_in[k], G_in[k])  # of weight 0
        numbers = beta, rho, r, alpha, h, precision, floor
        _update(H_in[k], G_in[k], field, rate, H[k], G[k], m[k], sigma[k], *numbers)


@inlined
def _update(
    H_in: Any,
    G_in: Any,
    H_base: Any,
    G_base: Any,
    H: Any,
    G: Any,
    m: Any,
    sigma: Any,
    beta: Any,
    rho: Any,
    r: Any,
    alpha: Any,
    h: Any,
    precision: Any,
    floor: Any,
) -> None:
    for i in range(H.shape[0]):
        H[i] = beta * H_in[i] + rho * H_base[i] + r * H[i]
        G[i] = max(beta * max(G_in[i], f32(0.0)) + rho * G_base[i] + r * G[i], floor)
        sigma[i] = f32(1.0) / (G[i] + precision)
        m[i] = alpha * m[i] + (f32(1.0) - alpha) * (H[i] + h) * sigma[i]
