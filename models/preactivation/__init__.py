"""Statistics of the pre-activations of wide networks.

[RG]: D. A. Roberts, S. Yaida, B. Hanin, The Principles of Deep Learning Theory, chapter 4, in the presentation of
L. F. Bossa, RG flow of preactivations.
"""

from models.preactivation.activations import ERF, LINEAR, RELU, SIGN, TANH, Activation
from models.preactivation.criticality import Criticality, critical, susceptibilities
from models.preactivation.flow import Couplings, LayerStatistics, first_layer, next_layer, propagate

__all__ = [
    "ERF",
    "LINEAR",
    "RELU",
    "SIGN",
    "TANH",
    "Activation",
    "Couplings",
    "Criticality",
    "LayerStatistics",
    "critical",
    "first_layer",
    "next_layer",
    "propagate",
    "susceptibilities",
]
