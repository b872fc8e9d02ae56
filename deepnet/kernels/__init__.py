"""Compiled loops, for processors and GPUs, and the operations of a sweep that are made of them."""

from deepnet.kernels.cpu.operations import CpuOperations

__all__ = ["CpuOperations"]
