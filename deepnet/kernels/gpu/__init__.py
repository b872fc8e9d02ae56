"""Sweeps on an NVIDIA GPU, with CuPy."""

from deepnet.kernels.gpu.device import CudaDevice, Device, DeviceError
from deepnet.kernels.gpu.epoch import DeviceEpochs
from deepnet.kernels.gpu.kernels import GpuKernels

__all__ = ["CudaDevice", "Device", "DeviceEpochs", "DeviceError", "GpuKernels"]
