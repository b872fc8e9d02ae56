"""Elementwise parts of a sweep: plain NumPy for everything, fused loops for the common layers."""

from deepnet.kernels.fused import FusedKernels
from factorgraph.dense.plain import PlainKernels

__all__ = ["FusedKernels", "PlainKernels"]
