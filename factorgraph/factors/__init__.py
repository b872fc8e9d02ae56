"""Factor kinds, one a file."""

from factorgraph.factors.bilinear import Bilinear

__all__ = ["Bilinear"]
