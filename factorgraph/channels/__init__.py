"""Channels: one activation a file, each a scalar free energy phi(B, A, omega, V) with its moments and derivatives."""

from factorgraph.channels.absolute import Absolute
from factorgraph.channels.argmax import Argmax
from factorgraph.channels.asymmetric_absolute import AsymmetricAbsolute
from factorgraph.channels.base import Channel, ChannelValues, ObservedValues
from factorgraph.channels.clip import HardSigmoid, HardTanh
from factorgraph.channels.heaviside import Heaviside
from factorgraph.channels.identity import Identity
from factorgraph.channels.leaky_relu import LeakyReLU
from factorgraph.channels.logistic import Logistic
from factorgraph.channels.numeric import Numeric
from factorgraph.channels.poisson import Poisson
from factorgraph.channels.probit import Probit
from factorgraph.channels.relu import ReLU
from factorgraph.channels.sign import Sign
from factorgraph.channels.softmax import Softmax
from factorgraph.channels.symmetric_door import SymmetricDoor

__all__ = [
    "Absolute",
    "Argmax",
    "AsymmetricAbsolute",
    "Channel",
    "ChannelValues",
    "HardSigmoid",
    "HardTanh",
    "Heaviside",
    "Identity",
    "LeakyReLU",
    "Logistic",
    "Numeric",
    "ObservedValues",
    "Poisson",
    "Probit",
    "ReLU",
    "Sign",
    "Softmax",
    "SymmetricDoor",
]
