"""Factor kinds, one a file: message rules on stacked edges, and classes that describe many factors by index arrays."""

from factorgraph.factors.bilinear import Bilinear, Neurons
from factorgraph.factors.function import Function
from factorgraph.factors.linear import Linear
from factorgraph.factors.pairwise import Pairwise
from factorgraph.factors.parity import Parity, PSpin
from factorgraph.factors.sum import Sum

__all__ = ["Bilinear", "Function", "Linear", "Neurons", "PSpin", "Pairwise", "Parity", "Sum"]
