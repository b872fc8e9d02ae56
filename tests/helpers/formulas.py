"""The scalar formulas that are translated to C++, and arguments for them."""

import inspect

import numpy as np

from factorgraph.channels import argmax, identity, logistic, probit, relu, sign
from factorgraph.numerics import special
from factorgraph.numerics.elementwise import Elementwise
from factorgraph.priors import binary, gauss_bernoulli, gaussian

FORMULAS = {
    f"{module.__name__.rpartition('.')[2]}.{name}": function
    for module in (special, sign, relu, identity, logistic, probit, argmax, binary, gaussian, gauss_bernoulli)
    for name, function in vars(module).items()
    if isinstance(function, Elementwise)
}

POSITIVE = {"A", "V", "G", "x", "variance", "noise", "slab", "precision", "temperature"}


def arguments(element, inputs, rng, size=400):
    """Numbers from 1e-3 to 1e3 in the domain of each argument."""
    values = []
    for name in list(inspect.signature(element).parameters)[:inputs]:
        draw = 10.0 ** rng.uniform(-3, 3, size)
        if name == "y":
            draw = np.ones(size)
        if name == "density":
            draw = rng.uniform(0.01, 0.99, size)
        elif name == "noise_lo":
            draw = np.zeros(size)
        values.append(draw if name in POSITIVE | {"density"} else draw * rng.choice([-1.0, 1.0], size))
    return values
