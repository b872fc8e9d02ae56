"""Where a network computes: on the processor, or on an NVIDIA GPU."""

from functools import cache

from deepnet.kernels import CpuOperations
from deepnet.network import choice
from deepnet.processes.launched import local_rank
from factorgraph.dense.numpy_operations import NumpyOperations
from factorgraph.dense.operations import Operations
from factorgraph.runtime.compiled import DISABLED

#: What ``device`` may be. "cuda-tf32" lets matrix products round their factors to 10 bits, for tensor cores.
DEVICES = ("cpu", "cuda", "cuda-tf32")


class DeviceUnavailableError(RuntimeError):
    """There is no GPU to compute on; the message says why, and the remedy."""


def operations_for(device: str, dtype: str) -> Operations:
    """Return the operations of a device.

    Args:
        device: one of ``DEVICES``.
        dtype: of the network.

    Raises:
        ValueError: an unknown device, or one that does not compute in ``dtype``.
        DeviceUnavailableError: CuPy or a GPU is missing.
    """
    choice("device", device, dict.fromkeys(DEVICES))
    if device == "cpu":
        return NumpyOperations() if DISABLED else CpuOperations()  # fused loops are nothing without a compiler
    if dtype != "float32":
        raise ValueError(f"`dtype` must be float32 on device {device!r}, got {dtype!r}")
    return _gpu_operations(device)


@cache
def _gpu_operations(device: str) -> Operations:
    from deepnet.kernels.gpu import CudaDevice, DeviceError, GpuOperations

    try:
        return GpuOperations(CudaDevice(tf32=device == "cuda-tf32", number=local_rank()))
    except DeviceError as error:
        raise DeviceUnavailableError(
            f"`device` {device!r} needs CuPy and a GPU: pip install 'cavity[gpu]' ({error})"
        ) from error
