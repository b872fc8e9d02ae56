"""Labels ±1 at a temperature, as in logistic regression."""

from typing import Any, ClassVar

from deepnet.outputs.binary import BinaryOutput
from factorgraph.channels import Channel, Logistic


class LogisticOutput(BinaryOutput):
    """P(y = +1 | z) = 1/(1 + e^{-z/T})."""

    channels: ClassVar = {"logistic": Logistic()}
    settings: ClassVar = ("temperature",)

    @classmethod
    def configured(cls, channel: Channel, **settings: Any) -> Channel:
        return Logistic(settings["temperature"])
