"""The baseline of [DL App. B.6]: ±1 weights and sign units trained by gradients, with PyTorch.

A continuous copy of the weights is updated by stochastic gradient descent, or Adam, with gradients taken at its signs,
and kept in [-1, 1]; backwards, a sign counts as the identity (weights) or as the identity clipped to [-1, 1] (units):
the straight-through estimator. No bias, no normalisation layers; sums into a unit are divided by √inputs.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

#: Learning rates: that of [DL App. B.3] for SGD, the library's default for Adam.
LEARNING_RATES = {"sgd": 10.0, "adam": 0.001}


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
        density: fraction of the weights kept, chosen at random.
        seed: of the initial weights and the choice.
    """

    def __init__(self, widths: Sequence[int], *, density: float = 1.0, seed: int = 0) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        self.weights = torch.nn.ParameterList(torch.empty(k, i) for i, k in pairwise(widths))
        for layer, w in enumerate(self.weights):
            torch.nn.init.xavier_uniform_(w, generator=rng)
            mask = None if density == 1 else (torch.rand(w.shape, generator=rng) < density).to(w.dtype)
            self.register_buffer(f"mask{layer}", mask)

    def edges(self) -> list[int]:
        """Number of weights kept in each layer."""
        masks = [getattr(self, f"mask{layer}") for layer in range(len(self.weights))]
        return [w.numel() if mask is None else int(mask.sum()) for w, mask in zip(self.weights, masks, strict=True)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs (samples, outputs) of inputs (samples, features)."""
        for layer, w in enumerate(self.weights):
            if layer:
                x = _SignUnits.apply(x)
            signs, mask = _SignWeights.apply(w), getattr(self, f"mask{layer}")
            x = functional.linear(x, signs if mask is None else signs * mask) * w.shape[1] ** -0.5
        return x


def loss(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of labels (samples,): class numbers, or ±1 for a single output."""
    if outputs.shape[1] == 1:
        return functional.soft_margin_loss(outputs[:, 0], y)
    return functional.cross_entropy(outputs, y)


class Trainer:
    """Trains a ``BinaryNet``.

    Args:
        network: on its device.
        optimizer: "sgd" or "adam".
        mode: "eager"; "compiled": forward pass and loss with ``torch.compile``; "graph": every step is the replay of
            one CUDA graph, for networks on a GPU.
    """

    def __init__(self, network: BinaryNet, *, optimizer: str = "sgd", mode: str = "eager") -> None:
        self.network = network
        options: dict[str, Any] = {"lr": LEARNING_RATES[optimizer], "fused": True}
        if optimizer == "sgd":
            self.optimizer = torch.optim.SGD(network.parameters(), **options)
        else:
            self.optimizer = torch.optim.Adam(network.parameters(), capturable=mode == "graph", **options)
        self.objective = torch.compile(self._objective) if mode == "compiled" else self._objective
        self._train = self._replay if mode == "graph" else self._step
        self._graphs: dict[tuple[int, int, int], Any] = {}

    def _objective(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return loss(self.network(x), y)

    def epoch(self, x: torch.Tensor, y: torch.Tensor, order: torch.Tensor, batch_size: int) -> None:
        """One pass over the samples of x (samples, features) and y (samples,) in the given order."""
        for batch in order.split(batch_size):
            self._train(x, y, batch)

    def _step(self, x: torch.Tensor, y: torch.Tensor, batch: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        self.objective(x[batch], y[batch]).backward()
        self.optimizer.step()
        with torch.no_grad():
            for w in self.network.weights:
                w.clamp_(-1.0, 1.0)

    def _replay(self, x: torch.Tensor, y: torch.Tensor, batch: torch.Tensor) -> None:
        """The step as a CUDA graph, which reads its batch from a tensor; the first one of a size runs in full."""
        key = (len(batch), x.data_ptr(), y.data_ptr())
        if key not in self._graphs:
            self._graphs[key] = None
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                self._step(x, y, batch)
            torch.cuda.current_stream().wait_stream(side)
            return
        if self._graphs[key] is None:
            graph, chosen = torch.cuda.CUDAGraph(), batch.clone()
            with torch.cuda.graph(graph):
                self._step(x, y, chosen)
            self._graphs[key] = graph, chosen
        graph, chosen = self._graphs[key]
        chosen.copy_(batch)
        graph.replay()
