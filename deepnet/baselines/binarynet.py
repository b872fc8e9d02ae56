"""BinaryNet of [DL, App. B.6], with PyTorch: ±1 weights and sign units trained by gradients.

A continuous copy of the ±1 weights is updated by stochastic gradient descent, or Adam, with gradients taken at its
signs, and kept in [-1, 1]; backwards, a sign counts as the identity (weights) or as the identity clipped to [-1, 1]
(units): the straight-through estimator. Sums into a unit are divided by √inputs; there are no normalisation layers.
Layers of continuous weights and ReLU units are trained as usual.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

from deepnet.baselines.base import xavier
from factorgraph.dense.state import Array

#: Learning rates: that of [DL, App. B.3] for SGD, the library's default for Adam.
LEARNING_RATES = {"sgd": 10.0, "adam": 0.001}


class _SignWeights(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, w: torch.Tensor) -> torch.Tensor:
        return torch.sign(w)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return grad


class _SignUnits(torch.autograd.Function):
    """+1 at 0, as where the network is used: sums of an even number of ±1 are often 0."""

    @staticmethod
    def forward(ctx: Any, z: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(z)
        return torch.sign(z + torch.finfo(z.dtype).tiny)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (z,) = ctx.saved_tensors
        return grad * (z.abs() <= 1)


#: By the name that settings give them.
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"sign": _SignUnits.apply, "relu": torch.relu}


class BinaryNet(torch.nn.Module):
    """A multi-layer perceptron.

    Args:
        weights: continuous copies of the weights (outputs, inputs) of every layer, on the device and not copied.
        masks: 1 where there is an edge and 0 elsewhere, for every layer; None for all edges.
        binary: the weights of the layer are the signs of these copies, for all layers or one each.
        activation: "sign" or "relu", for all hidden layers or one each.
        bias: the last column of the weights is that of a constant unit.
        scales: of the sums into the units of every layer; 1/√inputs if None.
    """

    def __init__(
        self,
        weights: Sequence[torch.Tensor],
        *,
        masks: Sequence[torch.Tensor | None] | None = None,
        binary: bool | Sequence[bool] = True,
        activation: str | Sequence[str] = "sign",
        bias: bool = False,
        scales: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        count = len(weights)
        self.weights = torch.nn.ParameterList(torch.nn.Parameter(w) for w in weights)
        for layer, mask in enumerate(masks or [None] * count):
            self.register_buffer(f"mask{layer}", mask)
        self.binary = [binary] * count if isinstance(binary, bool) else list(binary)
        names = [activation] * (count - 1) if isinstance(activation, str) else activation
        self.activations = [ACTIVATIONS[name] for name in names]
        self.bias = bias
        self.scales = [w.shape[1] ** -0.5 for w in weights] if scales is None else list(scales)

    @classmethod
    def of(
        cls, widths: Sequence[int], *, masks: Sequence[Array | None] | None = None, seed: int = 0, **options: Any
    ) -> "BinaryNet":
        """Return a network of so many inputs, units in each hidden layer, and outputs, with random weights on all
        edges or those of the masks (outputs, inputs), and other options as they come."""
        rng = np.random.default_rng(seed)
        weights = [torch.from_numpy(xavier(k, i, rng).astype(np.float32)) for i, k in pairwise(widths)]
        given = [None if mask is None else torch.from_numpy(mask.astype(np.float32)) for mask in masks or ()]
        return cls(weights, masks=given or None, **options)

    def mask(self, layer: int) -> torch.Tensor | None:
        """Return 1 where a layer has an edge; None for all edges."""
        return getattr(self, f"mask{layer}")

    def edges(self) -> list[int]:
        """Return the number of weights kept in each layer."""
        masks = [self.mask(layer) for layer in range(len(self.weights))]
        return [w.numel() if mask is None else int(mask.sum()) for w, mask in zip(self.weights, masks, strict=True)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return outputs (samples, outputs) of inputs (samples, features)."""
        for layer, w in enumerate(self.weights):
            if layer:
                x = self.activations[layer - 1](x)
            if self.bias:
                x = functional.pad(x, (0, 1), value=1.0)
            used, mask = _SignWeights.apply(w) if self.binary[layer] else w, self.mask(layer)
            x = functional.linear(x, used if mask is None else used * mask)
            x = x if self.scales[layer] == 1.0 else x * self.scales[layer]
        return x


def loss(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return mean cross-entropy of labels (samples,): class numbers, or ±1 for a single output."""
    if outputs.shape[1] == 1:
        return functional.soft_margin_loss(outputs[:, 0], y)
    return functional.cross_entropy(outputs, y)


class Trainer:
    """Trains a ``BinaryNet``.

    Args:
        network: on its device.
        optimizer: "sgd" or "adam".
        learning_rate: None for that of ``LEARNING_RATES``.
        mode: "eager"; "compiled": forward pass and loss with ``torch.compile``; "graph": every step is the replay of
            one CUDA graph, for networks on a GPU.
    """

    def __init__(
        self,
        network: BinaryNet,
        *,
        optimizer: str = "sgd",
        learning_rate: float | None = None,
        mode: str = "eager",
    ) -> None:
        self.network = network
        rate = LEARNING_RATES[optimizer] if learning_rate is None else learning_rate
        options: dict[str, Any] = {"lr": rate, "fused": True}
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
            self.batch(x, y, batch)

    def batch(self, x: torch.Tensor, y: torch.Tensor, batch: torch.Tensor, learning_rate: float | None = None) -> None:
        """One step with the samples of these numbers; from now on with another learning rate, if one is given."""
        if learning_rate is not None:
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate
        self._train(x, y, batch)

    def _step(self, x: torch.Tensor, y: torch.Tensor, batch: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        self.objective(x[batch], y[batch]).backward()
        self.optimizer.step()
        with torch.no_grad():
            for w, binary in zip(self.network.weights, self.network.binary, strict=True):
                if binary:
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
