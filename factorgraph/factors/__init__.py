"""Factor kinds, one a file."""

from factorgraph.factors.bilinear import Bilinear
from factorgraph.factors.linear import Linear
from factorgraph.factors.pairwise import Pairwise
from factorgraph.factors.parity import Parity, PSpin

__all__ = ["Bilinear", "Linear", "PSpin", "Pairwise", "Parity"]
