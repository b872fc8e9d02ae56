"""One label a sample with softmax probabilities."""

from dataclasses import replace
from typing import Any, ClassVar

from deepnet.outputs.argmax import ArgmaxOutput
from factorgraph.channels import Softmax


class SoftmaxOutput(ArgmaxOutput):
    """P(y = c | z) = e^{z_c/T}/Σ_k e^{z_k/T}, learnt by the odds of each rival by itself, or exactly."""

    channels: ClassVar = {"softmax": Softmax(), "softmax-exact": Softmax("exact")}
    settings: ClassVar = ("temperature",)

    @classmethod
    def configured(cls, channel: Softmax, **settings: Any) -> Softmax:
        return replace(channel, temperature=settings["temperature"])
