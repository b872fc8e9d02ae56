"""Sweeps on an NVIDIA GPU, with CuPy."""

from deepnet.kernels.gpu.device import CudaDevice, Device, DeviceError
from deepnet.kernels.gpu.epoch import DeviceEpochs
from deepnet.kernels.gpu.operations import GpuOperations

__all__ = ["CudaDevice", "Device", "DeviceEpochs", "DeviceError", "GpuOperations"]
