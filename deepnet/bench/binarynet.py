"""The baseline of [DL App. B.6]: ±1 weights and sign units trained by gradients, with PyTorch.

A continuous copy of the weights is updated by stochastic gradient descent with gradients taken at its signs; backwards,
a sign counts as the identity (weights) or as the identity clipped to [-1, 1] (units): the straight-through estimator.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch


class _SignWeights(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, w: torch.Tensor) -> torch.Tensor:
        return torch.sign(w)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return grad


class _SignUnits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(z)
        return torch.sign(z)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (z,) = ctx.saved_tensors
        return grad * (z.abs() <= 1)


class BinaryNet(torch.nn.Module):
    """A multi-layer perceptron with ±1 weights and sign units.

    Args:
        widths: number of inputs, of units in each hidden layer, and of outputs.
        rng: of the initial weights.
    """

    def __init__(self, widths: Sequence[int], rng: torch.Generator) -> None:
        super().__init__()
        self.weights = torch.nn.ParameterList(torch.randn(k, i, generator=rng) * i**-0.5 for i, k in pairwise(widths))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs (samples, outputs) of inputs (samples, features); sums are divided by √inputs."""
        for layer, w in enumerate(self.weights):
            if layer:
                x = _SignUnits.apply(x)
            x = (x @ _SignWeights.apply(w).T) * w.shape[1] ** -0.5
        return x
