"""Labels seen through Gaussian noise on the outputs: hard labels with V + T² for V."""

from dataclasses import replace
from typing import Any, ClassVar

from deepnet.outputs.argmax import ArgmaxOutput
from deepnet.outputs.binary import BinaryOutput
from factorgraph.channels import Argmax, Channel, Probit


class ProbitOutput(BinaryOutput):
    """±1 = sign(z + T N(0, 1))."""

    channels: ClassVar = {"probit": Probit(1.0)}
    settings: ClassVar = ("temperature",)

    @classmethod
    def configured(cls, channel: Channel, **settings: Any) -> Channel:
        return Probit(1.0 / settings["temperature"])


class ArgmaxProbitOutput(ArgmaxOutput):
    """c = argmax_k z_k + T N(0, 1), with noise of its own on every output: the multi-class probit."""

    channels: ClassVar = {"argmax-probit": Argmax(noise=1.0)}
    settings: ClassVar = ("temperature",)

    @classmethod
    def configured(cls, channel: Argmax, **settings: Any) -> Argmax:
        return replace(channel, noise=settings["temperature"] ** 2)

    @classmethod
    def has(cls, channel: Any) -> bool:
        return type(channel) is Argmax and channel.noise > 0.0
