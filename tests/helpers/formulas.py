"""The scalar formulas that are translated to C++, and arguments for them."""

import inspect

import numpy as np

from factorgraph.channels import (
    absolute,
    argmax,
    asymmetric_absolute,
    clip,
    identity,
    leaky_relu,
    logistic,
    probit,
    relu,
    sign,
    symmetric_door,
)
from factorgraph.numerics import special
from factorgraph.numerics.elementwise import Elementwise
from factorgraph.priors import binary, exponential, gauss_bernoulli, gaussian, positive

MODULES = (
    special, sign, relu, identity, logistic, probit, argmax, absolute, leaky_relu, asymmetric_absolute, clip,
    symmetric_door, binary, gaussian, gauss_bernoulli, exponential, positive,
)  # fmt: skip

FORMULAS = {
    f"{module.__name__.rpartition('.')[2]}.{name}": function
    for module in MODULES
    for name, function in vars(module).items()
    if isinstance(function, Elementwise)
}

POSITIVE = {"A", "V", "G", "x", "variance", "noise", "slab", "precision", "temperature", "scale", "span", "width"}
GIVEN = {"y": 1.0, "low": -1.0, "high": 1.0, "offset": 0.3, "noise_lo": 0.0}


def arguments(element, inputs, rng, size=400):
    """Numbers from 1e-3 to 1e3 in the domain of each argument."""
    values = []
    for name in list(inspect.signature(element).parameters)[:inputs]:
        draw = 10.0 ** rng.uniform(-3, 3, size)
        sides = rng.choice([-1.0, 1.0], size)
        if name == "density":
            values.append(rng.uniform(0.01, 0.99, size))
        elif name in GIVEN:
            values.append(np.full(size, GIVEN[name]))
        else:
            values.append(draw if name in POSITIVE else draw * sides)
    return values
