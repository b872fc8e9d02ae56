"""Counts: y ~ Poisson(e^z)."""

from typing import ClassVar

import numpy as np

from deepnet.outputs.base import Labels, Predictive
from deepnet.outputs.numeric import NumericOutput
from factorgraph.channels import Poisson
from factorgraph.dense.state import Array


class PoissonOutput(NumericOutput):
    """Counts whose rate is e^z."""

    channels: ClassVar = {"poisson": Poisson()}

    @property
    def need(self) -> str:
        return "integers >= 0"

    def valid(self, y: Labels) -> Labels:
        return (y >= 0) & (y == np.floor(y)) & np.isfinite(y)

    def predictive(self, omega: Array, V: Array) -> Predictive:
        """The rate is log-normal, and the variance of a count its rate."""
        with np.errstate(over="ignore"):
            mean = np.exp(omega + 0.5 * V)
            return Predictive(mean.T, mean.T, (np.square(mean) * np.expm1(V)).T)
