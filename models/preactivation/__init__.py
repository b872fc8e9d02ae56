"""Statistics of the pre-activations of wide networks.

[RG]: D. A. Roberts, S. Yaida, B. Hanin, The Principles of Deep Learning Theory, chapter 4, in the presentation of
L. F. Bossa, RG flow of preactivations.
"""

from factorgraph.activations import ERF, LINEAR, RELU, SIGN, TANH, Activation
from models.preactivation.criticality import Criticality, critical, susceptibilities
from models.preactivation.diagnosis import ExpectedSum, StochasticWeights, expected_sums, matched
from models.preactivation.flow import Couplings, LayerStatistics, first_layer, next_layer, propagate
from models.preactivation.stochastic import SignalPath, critical_field, field_size, mean_square, signal_path

__all__ = [
    "ERF",
    "LINEAR",
    "RELU",
    "SIGN",
    "TANH",
    "Activation",
    "Couplings",
    "Criticality",
    "ExpectedSum",
    "LayerStatistics",
    "SignalPath",
    "StochasticWeights",
    "critical",
    "critical_field",
    "expected_sums",
    "field_size",
    "first_layer",
    "matched",
    "mean_square",
    "next_layer",
    "propagate",
    "signal_path",
    "susceptibilities",
]
