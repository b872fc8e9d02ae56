"""The neuron: a channel on a weighted sum, for every unit and sample."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from factorgraph.channels import Argmax, Channel
from factorgraph.model import Model, ModelError


@dataclass(frozen=True)
class Bilinear:
    """z_kn = scale · (Σ_i W_ki x_in + b_k),  output_kn ~ P(·|z_kn)  [DL eq. 18].

    Attributes:
        output: name of the variable on plates (units, samples); (samples) alone for an ``Argmax`` output.
        weights: name of the variable on plates (units, inputs).
        inputs: name of the variable on plates (inputs, samples).
        channel: the activation; ``Argmax`` couples all units of a sample.
        bias: name of a variable on plate (units), or None: the weight of a constant unit 1.
        scale: fixed factor in front of the sum.
        mask: boolean (units, inputs), False where there is no edge; None for all edges.
    """

    output: str
    weights: str
    inputs: str
    channel: Channel | Argmax
    bias: str | None = None
    scale: float = 1.0
    mask: np.ndarray[Any, np.dtype[np.bool_]] | None = field(default=None, compare=False, repr=False)

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the variables it touches."""
        names = (self.output, self.weights, self.inputs)
        return names if self.bias is None else (*names, self.bias)

    def check(self, model: Model) -> None:
        """Raise ``ModelError`` unless plates, mask and scale fit each other."""
        units, samples = self._plate_pair(model, self.weights)[0], self._plate_pair(model, self.inputs)[1]
        inputs = model.variables[self.weights].plates[1]
        expected: dict[str, tuple[str, ...]] = {self.inputs: (inputs, samples), self.output: (units, samples)}
        if isinstance(self.channel, Argmax):
            expected[self.output] = (samples,)
        if self.bias is not None:
            expected[self.bias] = (units,)
        for name, plates in expected.items():
            if model.variables[name].plates != plates:
                raise ModelError(f"plates of `{name}` must be {plates}, got {model.variables[name].plates}")
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise ModelError(f"`scale` must be a finite number > 0, got {self.scale}")
        if self.mask is not None and (self.mask.dtype != bool or self.mask.shape != model.shape(self.weights)):
            raise ModelError(
                f"`mask` must be a boolean array of shape {model.shape(self.weights)}, "
                f"got {self.mask.dtype} of shape {self.mask.shape}"
            )

    @staticmethod
    def _plate_pair(model: Model, name: str) -> tuple[str, str]:
        plates = model.variables[name].plates
        if len(plates) != 2:
            raise ModelError(f"`{name}` must have two plates, got {plates}")
        return plates[0], plates[1]

    def __str__(self) -> str:
        total = f"{self.weights} · {self.inputs}" + (f" + {self.bias}" if self.bias else "")
        if self.scale != 1.0:
            total = f"{self.scale:.4g} ({total})"
        sparse = "" if self.mask is None else f", {self.mask.mean():.1%} of the edges"
        return f"{self.output} ~ {self.channel}({total}){sparse}"
