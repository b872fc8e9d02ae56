"""What the layers of a network are, one kind a file: a new one is a file with a plan and a layer, and its row here."""

from collections.abc import Callable, Sequence
from typing import Any

from deepnet.layers.base import Layer, LoweringError, Plan, Update
from deepnet.layers.covariance import with_covariance
from deepnet.layers.dense import DenseLayer, DensePlan
from deepnet.layers.focusing import with_replicas
from deepnet.layers.noise import LearntNoise
from deepnet.layers.sites import with_sites
from factorgraph.factors import Bilinear

#: The plan of the layer that a factor stands for, by the class of the factor: ``of`` makes it of a model. Factors have
#: ``inputs``, ``output`` and ``weights``, names of variables, and a ``channel``.
KINDS: dict[type, Any] = {Bilinear: DensePlan}

#: What is kept of the batches seen: how the plans of the layers follow from those that keep the fields only.
MEMORIES: dict[str, Callable[[Sequence[Plan]], tuple[Plan, ...]]] = {
    "fields": tuple,
    "covariance": with_covariance,
    "sites": with_sites,
}

__all__ = [
    "KINDS",
    "MEMORIES",
    "DenseLayer",
    "DensePlan",
    "Layer",
    "LearntNoise",
    "LoweringError",
    "Plan",
    "Update",
    "with_replicas",
]
