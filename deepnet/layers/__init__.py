"""What the layers of a network are, one kind a file: a new one is a file with a plan and a layer, and its row here."""

from typing import Any

from deepnet.layers.base import Layer, LoweringError, Plan, Update
from deepnet.layers.dense import DenseLayer, DensePlan
from deepnet.layers.noise import LearntNoise
from factorgraph.factors import Bilinear

#: The plan of the layer that a factor stands for, by the class of the factor: ``of`` makes it of a model. Factors have
#: ``inputs``, ``output`` and ``weights``, names of variables, and a ``channel``.
KINDS: dict[type, Any] = {Bilinear: DensePlan}

__all__ = ["KINDS", "DenseLayer", "DensePlan", "Layer", "LearntNoise", "LoweringError", "Plan", "Update"]
