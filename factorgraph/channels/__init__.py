"""Channels: one activation a file, each a scalar free energy phi(B, A, omega, V) with its moments and derivatives."""

from factorgraph.channels.argmax import Argmax
from factorgraph.channels.base import Channel, ChannelValues, ObservedValues
from factorgraph.channels.identity import Identity
from factorgraph.channels.numeric import Numeric
from factorgraph.channels.probit import Probit
from factorgraph.channels.relu import ReLU
from factorgraph.channels.sign import Sign

__all__ = [
    "Argmax",
    "Channel",
    "ChannelValues",
    "Identity",
    "Numeric",
    "ObservedValues",
    "Probit",
    "ReLU",
    "Sign",
]
