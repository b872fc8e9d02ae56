"""``BinaryNet`` as a baseline: its weights, and what the optimiser remembers, are arrays of a network's layers."""

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from scipy.special import expit, softmax

from deepnet.baselines.base import Baseline, BaselineError, Epoch, placed
from deepnet.outputs import output_of
from factorgraph.channels import ReLU
from factorgraph.dense.state import Array, Layer, LayerPlan

#: What Adam remembers of every layer, and what PyTorch calls it.
_MEMORY = {"steps": "step", "first_moment": "exp_avg", "second_moment": "exp_avg_sq"}


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

    def start(
        self, plans: Sequence[LayerPlan], *, eps_init: Sequence[float], rng: np.random.Generator, dtype: np.dtype
    ) -> list[Layer]:
        """See ``Baseline.start``."""
        xavier = import_torch_module("binarynet").xavier
        plans = [
            replace(plan, closure="none", scale=plan.inputs**-0.5 if self.scaled or plan.spin_weights else 1.0)
            for plan in plans
        ]
        arrays: list[dict[str, Array | None]] = []
        for plan in plans:
            H = xavier(plan.outputs, plan.inputs, rng).astype(dtype)
            sigma = None if plan.spin_weights else np.zeros_like(H)
            arrays.append({"H": H, "G": None, "mean": _used(plan, H), "sigma": sigma})
        return placed(plans, arrays)

    def state(self, shape: tuple[int, int], binary: bool) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(("H", "mean"), shape) | self._remembered(shape)

    def memory(self, layers: Sequence[Layer]) -> dict[str, Array]:
        return {
            f"{layer.plan.name}.{name}": np.zeros(shape, layer.H.dtype)
            for layer in layers
            for name, shape in self._remembered(layer.H.shape).items()
        }

    def _remembered(self, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Names and shapes of what the optimiser remembers of a layer."""
        return {name: () if name == "steps" else shape for name in _MEMORY} if self.optimizer == "adam" else {}

    def train(self, layers: Sequence[Layer], memory: dict[str, Array], epoch: Epoch) -> None:
        torch, device = import_torch(), epoch.device.removesuffix("-tf32")
        torch.backends.cuda.matmul.allow_tf32 = epoch.device == "cuda-tf32"
        trainer = self._trainer(torch, layers, memory, epoch, device)
        x = torch.from_numpy(epoch.x).to(device)
        numbers = output_of(layers[-1].plan).numbers(epoch.y)
        y = torch.from_numpy(numbers).to(device)
        if layers[-1].plan.outputs == 1:
            y = (2 * y - 1).to(x.dtype)
        for number, batch in enumerate(epoch.batches):
            trainer.batch(x, y, torch.from_numpy(batch).to(device), self._rate(epoch, number))
            if epoch.progress is not None:
                epoch.progress(len(batch))
        self._keep(trainer, layers, memory)

    def _rate(self, epoch: Epoch, batch: int) -> float:
        """Learning rate of a batch."""
        rate = self.learning_rate if epoch.learning_rate is None else epoch.learning_rate
        if not self.cosine:
            return rate
        return rate * 0.5 * (1.0 + math.cos(math.pi * min(1.0, epoch.fraction(batch) / epoch.epochs)))

    def _trainer(self, torch: Any, layers: Sequence[Layer], memory: dict[str, Array], epoch: Epoch, device: str) -> Any:
        """A trainer that goes on where the last epoch ended."""
        plans = [layer.plan for layer in layers]

        def there(values: Array | None) -> Any:
            return None if values is None else torch.from_numpy(values.copy()).to(device)

        module = import_torch_module("binarynet")
        network = module.BinaryNet(
            [there(layer.H) for layer in layers],
            masks=[None if plan.mask is None else there(plan.mask.astype(epoch.x.dtype)) for plan in plans],
            binary=[plan.spin_weights for plan in plans],
            activation=["relu" if isinstance(plan.channel, ReLU) else "sign" for plan in plans[:-1]],
            bias=plans[0].bias,
            scales=[plan.scale for plan in plans],
        )
        trainer = module.Trainer(network, optimizer=self.optimizer)
        if memory:
            for plan, w in zip(plans, network.weights, strict=True):
                state = {theirs: there(memory[f"{plan.name}.{ours}"]) for ours, theirs in _MEMORY.items()}
                trainer.optimizer.state[w] = state | {"step": state["step"].float()}
        return trainer

    def _keep(self, trainer: Any, layers: Sequence[Layer], memory: dict[str, Array]) -> None:
        """Copy what the epoch has changed into the layers and the memory."""
        for layer, w in zip(layers, trainer.network.weights, strict=True):
            layer.H[...] = w.detach().cpu().numpy()
            layer.mean[...] = _used(layer.plan, layer.H)
            for ours, theirs in _MEMORY.items() if memory else ():
                memory[f"{layer.plan.name}.{ours}"][...] = trainer.optimizer.state[w][theirs].cpu().numpy()

    def probabilities(self, z: Array) -> Array:
        """See ``Baseline.probabilities``: the logistic function of a single output, the softmax of several."""
        return expit(z) if z.shape[1] == 1 else softmax(z, axis=1)


def _used(plan: LayerPlan, H: Array) -> Array:
    """The weights with which the network computes: signs of ±1 ones, zero where there is no edge."""
    used = np.where(H >= 0, H.dtype.type(1), H.dtype.type(-1)) if plan.spin_weights else H.copy()
    return used if plan.mask is None else used * plan.mask


def import_torch() -> Any:
    """PyTorch.

    Raises:
        BaselineError: it is not installed, or broken.
    """
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise BaselineError(f"torch is needed for the baseline ({error}): pip install 'cavity[bench]'") from error


def import_torch_module(name: str) -> Any:
    """A module of this package that imports PyTorch; raises as ``import_torch``."""
    import_torch()
    return importlib.import_module(f"deepnet.baselines.{name}")
