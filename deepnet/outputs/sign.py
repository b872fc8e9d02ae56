"""Labels ±1 without noise."""

from typing import ClassVar

from deepnet.outputs.binary import BinaryOutput
from factorgraph.channels import Sign


class SignOutput(BinaryOutput):
    """±1 = sign(z)."""

    channels: ClassVar = {"sign": Sign()}
