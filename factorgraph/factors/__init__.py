"""Factor kinds, one a file: message rules on stacked edges, and classes that describe many factors by index arrays."""

from factorgraph.factors.bilinear import Bilinear
from factorgraph.factors.function import Function
from factorgraph.factors.linear import Linear
from factorgraph.factors.linear_map import LinearMap
from factorgraph.factors.pairwise import Pairwise
from factorgraph.factors.parity import Parity, PSpin
from factorgraph.factors.sum import Sum

__all__ = ["Bilinear", "Function", "Linear", "LinearMap", "PSpin", "Pairwise", "Parity", "Sum"]
