"""Where a network computes: on the processor, or on an NVIDIA GPU."""

from functools import cache

from deepnet.kernels import FusedKernels, PlainKernels
from deepnet.network import choice
from factorgraph.compiled import DISABLED

#: What ``device`` may be. "cuda-tf32" lets matrix products round their factors to 10 bits, for tensor cores.
DEVICES = ("cpu", "cuda", "cuda-tf32")


class DeviceUnavailableError(RuntimeError):
    """There is no GPU to compute on; the message says why, and the remedy."""


def kernels_for(device: str, dtype: str) -> PlainKernels:
    """Who computes on a device.

    Args:
        device: one of ``DEVICES``.
        dtype: of the network.

    Raises:
        ValueError: an unknown device, or one that does not compute in ``dtype``.
        DeviceUnavailableError: CuPy or a GPU is missing.
    """
    choice("device", device, dict.fromkeys(DEVICES))
    if device == "cpu":
        return PlainKernels() if DISABLED else FusedKernels()  # fused loops are nothing without a compiler
    if dtype != "float32":
        raise ValueError(f"`dtype` must be float32 on device {device!r}, got {dtype!r}")
    return _gpu_kernels(device)


@cache
def _gpu_kernels(device: str) -> PlainKernels:
    from deepnet.kernels.gpu import CudaDevice, DeviceError, GpuKernels

    try:
        return GpuKernels(CudaDevice(tf32=device == "cuda-tf32"))
    except DeviceError as error:
        raise DeviceUnavailableError(
            f"`device` {device!r} needs CuPy and a GPU: pip install 'cavity[gpu]' ({error})"
        ) from error
