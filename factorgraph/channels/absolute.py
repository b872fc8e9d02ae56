"""Output without its sign: x = |z|."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.channels.base import (
    Channel,
    ChannelValues,
    ObservedValues,
    check_arguments,
    check_from,
    pre_activation,
)
from factorgraph.channels.leaky_relu import leaky_evaluate, leaky_observe
from factorgraph.numerics.elementwise import Elementwise

#: |z| is the leaky ReLU of this slope.
_SLOPE = -1.0


@dataclass(frozen=True)
class Absolute(Channel):
    """x = |z|: real phase retrieval. z and -z are alike, so that inference has to start away from omega = 0.

    The modulus of a complex z is no such channel: phi is a function of real scalars.
    """

    interval = (0.0, math.inf)
    kinks = (0.0,)
    on_gpu = True

    def evaluate(self, *, B: ArrayLike, A: ArrayLike, omega: ArrayLike, V: ArrayLike) -> ChannelValues:
        check_arguments(V, B=B, A=A, omega=omega)
        return ChannelValues(*leaky_evaluate(B, A, omega, V, _SLOPE))

    @property
    def observe_formula(self) -> tuple[Elementwise, tuple[float, ...]]:
        return leaky_observe, (_SLOPE,)

    def observe(self, y: ArrayLike, *, omega: ArrayLike, V: ArrayLike) -> ObservedValues:
        """Return log[N(y; omega, V) + N(-y; omega, V)].

        Raises:
            ValueError: some ``y`` is negative or not finite, or ``V`` is not finite and > 0.
        """
        check_arguments(V, y=y, omega=omega)
        check_from(y, 0.0)
        return ObservedValues(*leaky_observe(y, omega, V, _SLOPE))

    def __call__(self, z: ArrayLike) -> Any:
        return np.abs(pre_activation(z))
