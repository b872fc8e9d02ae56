"""``BinaryNet`` as a baseline: its weights, and what the optimiser remembers, are arrays of a network's layers."""

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, cast

import numba
import numpy as np
from scipy.special import expit, softmax

from deepnet.baselines.base import Baseline, BaselineError, Epoch, arguments, dense, xavier
from deepnet.layers import DenseLayer, DensePlan, Layer, Plan
from deepnet.outputs import output_of
from factorgraph.channels import ReLU, Sign
from factorgraph.dense.operations import Operations
from factorgraph.dense.state import Array

#: What Adam remembers of every layer, and what PyTorch calls it.
_MEMORY = {"steps": "step", "first_moment": "exp_avg", "second_moment": "exp_avg_sq"}

#: What can be trained, and what PyTorch's side calls it.
_ACTIVATIONS: dict[type, str] = {Sign: "sign", ReLU: "relu"}


@dataclass(frozen=True)
class GradientDescent(Baseline):
    """``BinaryNet`` with an optimiser. H is the continuous copy of the weights, which start as Glorot and Bengio's.

    Attributes:
        optimizer: "sgd" or "adam".
        learning_rate: unless the settings have another one.
        cosine: the learning rate falls to 0 over the epochs as half a period of the cosine.
        scaled: sums with continuous weights are divided by √inputs, as those with ±1 weights always are.
    """

    optimizer: str
    learning_rate: float
    cosine: bool = False
    scaled: bool = True

    settings: ClassVar[tuple[str, ...]] = ("learning_rate",)
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda", "cuda-tf32")
    point: ClassVar[bool] = True
    remedy: ClassVar[str] = "Try another `learning_rate`, or more epochs"

    @property
    def anneals(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.cosine

    def plans(self, plans: Sequence[Plan]) -> tuple[Plan, ...]:
        """See ``Baseline.plans``."""
        import_torch()
        for plan in plans[:-1]:
            if type(plan.channel) not in _ACTIVATIONS:
                raise ValueError(f"`activation` must be sign or relu for training by gradients, got {plan.channel}")
        return tuple(self._plan(plan) for plan in dense(plans))

    def _plan(self, plan: DensePlan) -> "GradientPlan":
        scale = plan.inputs**-0.5 if self.scaled or plan.spin_weights else 1.0
        return GradientPlan(**arguments(plan, closure="none", scale=scale, adam=self.optimizer == "adam"))

    def train(self, layers: Sequence[Layer], epoch: Epoch) -> None:
        if epoch.y.ndim > 1:
            raise ValueError(f"`y` must be a label for each sample where gradients train, got shape {epoch.y.shape}")
        torch, device = import_torch(), epoch.device.removesuffix("-tf32")
        torch.set_num_threads(numba.get_num_threads())
        torch.backends.cuda.matmul.allow_tf32 = epoch.device == "cuda-tf32"
        own = cast(Sequence[GradientLayer], layers)
        trainer = self._trainer(torch, own, epoch, device)
        x = torch.from_numpy(epoch.x).to(device)
        y = torch.from_numpy(output_of(layers[-1]).numbers(epoch.y)).to(device)
        if layers[-1].plan.outputs == 1:
            y = (2 * y - 1).to(x.dtype)
        for number, batch in enumerate(epoch.batches):
            trainer.batch(x, y, torch.from_numpy(batch).to(device), self._rate(epoch, number))
            if epoch.progress is not None:
                epoch.progress(len(batch))
        for layer, w in zip(own, trainer.network.weights, strict=True):
            layer.take(w, trainer.optimizer.state[w])

    def _rate(self, epoch: Epoch, batch: int) -> float:
        """Return learning rate of a batch."""
        rate = self.learning_rate if epoch.learning_rate is None else epoch.learning_rate
        if not self.cosine:
            return rate
        return rate * 0.5 * (1.0 + math.cos(math.pi * min(1.0, epoch.fraction(batch) / epoch.epochs)))

    def _trainer(self, torch: Any, layers: "Sequence[GradientLayer]", epoch: Epoch, device: str) -> Any:
        """Return a trainer that goes on where the last epoch ended."""
        plans = [layer.plan for layer in layers]

        def there(values: Array) -> Any:
            return torch.from_numpy(values.copy()).to(device)

        module = importlib.import_module("deepnet.baselines.binarynet")
        network = module.BinaryNet(
            [there(layer.H) for layer in layers],
            masks=[None if plan.mask is None else there(plan.mask.astype(epoch.x.dtype)) for plan in plans],
            binary=[plan.spin_weights for plan in plans],
            activation=[_ACTIVATIONS[type(plan.channel)] for plan in plans[:-1]],
            bias=plans[0].bias,
            scales=[plan.scale for plan in plans],
        )
        trainer = module.Trainer(network, optimizer=self.optimizer)
        for layer, w in zip(layers, network.weights, strict=True):
            if layer.remembered:
                state = {theirs: there(layer.remembered[ours]) for ours, theirs in _MEMORY.items()}
                trainer.optimizer.state[w] = state | {"step": state["step"].float()}
        return trainer

    def probabilities(self, z: Array) -> Array:
        """See ``Baseline.probabilities``: the logistic function of a single output, the softmax of several."""
        return expit(z) if z.shape[1] == 1 else softmax(z, axis=1)


@dataclass(frozen=True)
class GradientPlan(DensePlan):
    """A dense layer that is trained by gradients.

    Attributes:
        adam: whether the optimiser remembers moments of the gradients.
    """

    adam: bool = False

    def state_shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """As ``Plan.state_shapes``: H, the continuous copy of the weights, their values, and what Adam remembers."""
        shape = (self.outputs, self.inputs)
        return dict.fromkeys(("H", "mean"), shape) | (self.remembered() if self.adam else {})

    def remembered(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of what Adam remembers."""
        return {name: () if name == "steps" else (self.outputs, self.inputs) for name in _MEMORY}

    def initial_layer(
        self, size: float, rng: np.random.Generator, dtype: np.dtype[Any] | type, below: Layer | None
    ) -> "GradientLayer":
        """As ``Plan.initial_layer``, with the weights of Glorot and Bengio, whatever the ``size``."""
        H = xavier(self.outputs, self.inputs, rng).astype(dtype)
        sigma = None if self.spin_weights else np.zeros_like(H)
        memory = {name: np.zeros(shape, dtype) for name, shape in self.remembered().items()} if self.adam else {}
        return GradientLayer(self, H, None, self.used(H), sigma, below=below, remembered=memory)

    def used(self, H: Array) -> Array:
        """Return the weights with which the network computes: signs of ±1 ones, zero where there is no edge."""
        used = np.where(H >= 0, H.dtype.type(1), H.dtype.type(-1)) if self.spin_weights else H.copy()
        return used if self.mask is None else used * self.mask


@dataclass
class GradientLayer(DenseLayer):
    """A dense layer in training by gradients.

    Attributes:
        remembered: what the optimiser knows of the gradients so far, by name.
    """

    remembered: dict[str, Array] = field(default_factory=dict)

    def state(self) -> dict[str, Array]:
        """Return H, the values of the weights, and what the optimiser remembers."""
        return {"H": self.H, "mean": self.mean} | self.remembered

    def copied(self, convert: Callable[[Array], Array], operations: Operations, below: Layer | None) -> Self:
        """As ``Layer.copied``."""
        layer = super().copied(convert, operations, below)
        layer.remembered = {name: convert(values) for name, values in self.remembered.items()}
        return layer

    def take(self, w: Any, memory: Mapping[str, Any]) -> None:
        """Take up weights, and the memory of their optimiser, from PyTorch."""
        self.H = w.detach().cpu().numpy().copy()
        self.mean = cast(GradientPlan, self.plan).used(self.H)
        for ours in self.remembered:
            self.remembered[ours] = memory[_MEMORY[ours]].cpu().numpy().astype(self.H.dtype)


def import_torch() -> Any:
    """Return pyTorch.

    Raises:
        BaselineError: it is not installed, or broken.
    """
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise BaselineError(f"torch is needed for the baseline ({error}): pip install 'cavity[bench]'") from error
