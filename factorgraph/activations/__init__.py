"""Activations: one scalar function a file, with what averages over Gaussian pre-activations need of it.

The channels of ``factorgraph.channels`` have one each, with or without noise.
"""

from factorgraph.activations.base import Activation, Linearised
from factorgraph.activations.error_function import Erf
from factorgraph.activations.linear import Linear
from factorgraph.activations.relu import ReLU
from factorgraph.activations.sigmoid import Sigmoid
from factorgraph.activations.sign import Sign
from factorgraph.activations.tanh import Tanh

LINEAR = Linear()
RELU = ReLU()
SIGN = Sign()
ERF = Erf()
TANH = Tanh()
SIGMOID = Sigmoid()

#: Those that have a name.
ACTIVATIONS: dict[str, Activation] = {each.name: each for each in (LINEAR, RELU, SIGN, ERF, TANH, SIGMOID)}

__all__ = ["ACTIVATIONS", "ERF", "LINEAR", "RELU", "SIGMOID", "SIGN", "TANH", "Activation", "Linearised"]
