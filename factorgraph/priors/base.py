"""What every prior is: the scalar free energy of one variable, with its first two cumulants."""

import math
import sys
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.interface.arguments import check_instance, check_integer, check_number, real_array, shown
from factorgraph.numerics.elementwise import Elementwise


class PriorValues(NamedTuple):
    """A prior's log-partition and cumulants, elementwise [DL, eqs. 5, 62-63].

    Attributes:
        psi: log ∫ dw q(w) e^{Hw - Gw²/2}.
        mean: m = ∂_H psi.
        variance: σ = ∂²_H psi ≥ 0.
    """

    psi: Any
    mean: Any
    variance: Any


#: Values whose squares and sums are numbers.
LARGEST = 1e150


def check_drawn(size: Any, rng: Any) -> None:
    """Raise ValueError unless ``size`` is a shape, zeros included, and ``rng`` a generator."""
    for length in size if isinstance(size, (list, tuple)) else (size,):
        check_integer("size", length, minimum=0, maximum=sys.maxsize)
    check_instance("rng", rng, np.random.Generator, "a numpy.random.Generator")


def number_list(name: str, values: Any, *, above: float = -math.inf) -> tuple[float, ...]:
    """Return a sequence of numbers above a bound, and at most 1e150 in size, as floats.

    Raises:
        ValueError: other than one axis of such numbers.
    """
    if real_array(name, values).ndim != 1:
        raise ValueError(f"`{name}` must be a sequence of numbers, got {shown(values)}")
    numbers = tuple(check_number(name, value, above=above) for value in values)
    if any(abs(number) > LARGEST for number in numbers):
        raise ValueError(f"`{name}` must be at most {LARGEST:g} in size, got {shown(values)}")
    return numbers


class Prior(ABC):
    """A distribution q(w) of one variable that receives the message e^{Hw - Gw²/2}.

    Priors are immutable; their parameters are scalars; H and G broadcast and are passed by keyword only.

    Attributes:
        spin: w takes the values ±1 only, so that G w² is a constant and G drops out.
        on_gpu: the formulas take arrays on a GPU, as scalar kernels do.
        support: the finitely many values that w takes, so that G may be any number; None if there are others.
    """

    spin: bool = False
    on_gpu: bool = False
    support: tuple[float, ...] | None = None

    @property
    def mass(self) -> float:
        """q(0), the probability of 0 itself."""
        return 0.0

    def with_mass(self, mass: float) -> "Prior":
        """Return the same with another probability of 0, if it has one.

        Raises:
            ValueError: 0 has none.
        """
        raise ValueError(f"`prior` must be one with an atom at 0, got {self}")

    def zero_probability(self, *, H: ArrayLike, G: ArrayLike) -> Any:
        """Return P(w = 0) under the messages: q(0) e^{-psi}, since e^{Hw - Gw²/2} is 1 there."""
        return self.mass * np.exp(-self.evaluate(H=H, G=G).psi)

    @property
    def natural(self) -> tuple[float, float, float] | None:
        """(h, λ, c) with q(w) = e^{c + hw - λw²/2}, where the prior has the form of the messages; else None.

        w runs over ±1 with weight 1 each for a spin, over dw else.
        """
        return None

    @abstractmethod
    def evaluate(self, *, H: ArrayLike, G: ArrayLike) -> PriorValues:
        """Return log-partition, mean and variance together.

        Args:
            H: first natural parameter of the incoming messages, any real number.
            G: their second natural parameter; may be negative where the prior's own precision outweighs it.
        """

    def maximum(self, *, H: ArrayLike, G: ArrayLike) -> PriorValues:
        """Return max_w [log q(w) + Hw - Gw²/2], where it is, and how that answers to H: its derivative.

        Raises:
            ValueError: the prior has atoms, or no closed form.
        """
        raise ValueError(f"`maximum` must be False for the prior {self}: it has no density with a mode in closed form")

    @property
    @abstractmethod
    def components(self) -> tuple[tuple[float, float], ...]:
        """Centres and deviations of the narrow and wide parts of q; a deviation of 0 is an atom or a kink."""

    @abstractmethod
    def sample(self, size: int | tuple[int, ...], rng: np.random.Generator) -> Any:
        """Return independent draws from q, of shape ``size``."""

    @property
    def moments_formula(self) -> tuple[Elementwise, tuple[float, ...]] | None:
        """The formula of ``moments``: m and σ, as the last two results, of H, G >= 0 and these parameters, or None."""
        return None

    def moments(self, *, H: ArrayLike, G: ArrayLike) -> tuple[Any, Any]:
        """Return mean m and variance σ."""
        values = self.evaluate(H=H, G=G)
        return values.mean, values.variance
