"""Multi-layer perceptrons as models."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, TypeVar

import numpy as np

from deepnet.outputs import OUTPUTS, output_kind
from factorgraph.channels import Argmax, Channel, ReLU, Sign
from factorgraph.factors import Bilinear
from factorgraph.interface.arguments import check_flag, check_generator, check_number, shown
from factorgraph.model.description import Model, Variable
from factorgraph.priors import Binary, GaussBernoulli, Gaussian, Prior, Ternary

T = TypeVar("T")

#: Base measure of each kind of weight; the trained fields are natural parameters on top of it.
WEIGHTS: dict[str, Prior] = {
    "binary": Binary(),
    "continuous": Gaussian(precision=0.0),
    "ternary": Ternary(0.5),
    "spike-and-slab": GaussBernoulli(0.5),
}
ACTIVATIONS: dict[str, Channel] = {"sign": Sign(), "relu": ReLU()}


def per_layer(name: str, value: T | Sequence[T], layers: int) -> tuple[T, ...]:
    """Return one value for all layers, or one each.

    Raises:
        ValueError: if a sequence has a length other than 1 or ``layers``.
    """
    values = sequence(value)
    if values is None:
        return (value,) * layers  # pyright: ignore[reportReturnType]
    if len(values) == 1:
        return values * layers
    if len(values) != layers:
        got = f"{len(values)}: {shown(values)}"
        raise ValueError(f"`{name}` must be one value or {layers} values (one per layer), got {got}")
    return values


def sequence(value: Any) -> tuple[Any, ...] | None:
    """Return a list, tuple or one-dimensional array as a tuple; None for anything else, which is one value."""
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return tuple(value)
    return tuple(value) if isinstance(value, list | tuple) else None


def choice(name: str, value: str, options: dict[str, T]) -> T:
    """Look ``value`` up; raise a ``ValueError`` that lists the options."""
    if not isinstance(value, str) or value not in options:
        raise ValueError(f"`{name}` must be one of {sorted(options)}, got {shown(value)}")
    return options[value]


def perceptron(
    widths: Sequence[int],
    *,
    weights: str | Sequence[str] = "binary",
    activation: str | Sequence[str] = "sign",
    output: str | Channel | Argmax = "sign",
    bias: bool = False,
    density: float | Sequence[float] = 1.0,
    mass: float | Sequence[float] | None = None,
    rng: np.random.Generator | int | None = None,
) -> Model:
    """Return a multi-layer perceptron: weights free, inputs ``x0`` and labels ``y`` observed [DL, eq. 18].

    Args:
        widths: number of inputs, of units in each hidden layer, and of outputs.
        weights: "binary" (±1), "continuous" (Gaussian), "ternary" (-1, 0 or 1) or "spike-and-slab" (0 or Gaussian), for
            all layers or one per layer.
        activation: "sign" or "relu", for all hidden layers or one per hidden layer. The sum into a unit is divided by
            √inputs unless the unit does not feel the scale, as sign units.
        output: "sign" for labels ±1 (one per output); "argmax", "argmax-single-jensen" or "argmax-exact" for one label
            in 0..outputs-1 per sample; another one of ``deepnet.outputs``, or its channel.
        bias: give every unit the weight of a constant unit.
        density: fraction of the weights kept, chosen at random and fixed; for all layers or one per layer.
        mass: prior probability of 0 of the weights that may be 0, in (0, 1); for all layers or one per layer, None for
            1/2.
        rng: generator or seed of the random masks; needed where density < 1.

    Raises:
        ValueError: for anything that is not a network, naming the argument.
    """
    sizes = sequence(widths) or ()
    whole = all(isinstance(size, Integral) and not isinstance(size, bool) and int(size) >= 1 for size in sizes)
    if len(sizes) < 2 or not whole:
        raise ValueError(f"`widths` must be at least two integers >= 1, got {shown(widths)}")
    check_flag("bias", bias)
    channel = output if isinstance(output, Channel | Argmax) else choice("output", output, OUTPUTS)
    coupled = output_kind(channel).coupled
    if coupled and widths[-1] < 2:
        raise ValueError(f"`widths` must end with at least 2 outputs for output {output!r}, got {shown(widths)}")
    layers = len(widths) - 1
    priors = [choice("weights", kind, WEIGHTS) for kind in per_layer("weights", weights, layers)]
    if mass is not None:
        masses = per_layer("mass", mass, layers)
        priors = [with_mass(prior, value) for prior, value in zip(priors, masses, strict=True)]
    hidden = [choice("activation", kind, ACTIVATIONS) for kind in per_layer("activation", activation, layers - 1)]
    channels: list[Channel | Argmax] = [*hidden, channel]
    densities = [_checked_density(value) for value in per_layer("density", density, layers)]
    plates: dict[str, int | None] = {f"units{i}": int(width) for i, width in enumerate(widths)} | {"samples": None}
    variables = [Variable("x0", ("units0", "samples"), observed=True)]
    factors = []
    generator = check_generator("rng", 0 if rng is None and set(densities) == {1.0} else rng)
    for i in range(layers):
        last = i == layers - 1
        name = "y" if last else f"x{i + 1}"
        out = ("samples",) if last and coupled else (f"units{i + 1}", "samples")
        variables.append(Variable(f"W{i}", (f"units{i + 1}", f"units{i}"), priors[i]))
        if bias:
            variables.append(Variable(f"b{i}", (f"units{i + 1}",), priors[i]))
        variables.append(Variable(name, out, observed=last, spin=channels[i].spin))
        factors.append(
            Bilinear(
                output=name,
                weights=f"W{i}",
                inputs=f"x{i}",
                channel=channels[i],
                bias=f"b{i}" if bias else None,
                scale=1.0 if channels[i].scale_free else (widths[i] + bias) ** -0.5,
                mask=random_mask(widths[i + 1], widths[i], densities[i], generator),
            )
        )
    return Model.of(plates, variables, factors)


def with_mass(prior: Prior, mass: float) -> Prior:
    """Return a prior with another probability of 0, if it has one; raise ``ValueError`` unless it is in (0, 1)."""
    value = check_number("mass", mass, above=0.0, below=1.0)
    return prior.with_mass(value) if prior.mass > 0.0 else prior


def random_mask(outputs: int, inputs: int, density: float, rng: np.random.Generator) -> np.ndarray | None:
    """Return a random boolean mask (outputs, inputs), True with probability ``density``; None if nothing is masked."""
    density = _checked_density(density)
    return None if density == 1 else rng.random((outputs, inputs)) < density


def _checked_density(density: float) -> float:
    value = check_number("density", density)
    if not 0 < value <= 1:
        raise ValueError(f"`density` must be in (0, 1], got {density}")
    return value
