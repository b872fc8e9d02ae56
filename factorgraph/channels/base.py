"""What every channel is: the scalar free energy of one neuron, with its moments and derivatives."""

import math
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.activations import Activation
from factorgraph.interface.arguments import number_array
from factorgraph.numerics.elementwise import Elementwise, check_real
from factorgraph.runtime.device_arrays import on_device


class ChannelValues(NamedTuple):
    """A channel's log-partition and what follows from it, elementwise [DL, eqs. 4, 60-67].

    Attributes:
        phi: log ∫ dx dz e^{Bx - Ax²/2} P(x|z) N(z; omega, V).
        mean: x̂ = ∂_B phi, the mean of the output x.
        variance: Δ = ∂²_B phi ≥ 0, the variance of x.
        g: ∂_omega phi.
        gamma: Γ = -∂²_omega phi.
    """

    phi: Any
    mean: Any
    variance: Any
    g: Any
    gamma: Any


class ObservedValues(NamedTuple):
    """A channel with its output observed, elementwise [DL, eq. 21]: log P(y | omega, V) and its derivatives.

    Attributes:
        phi: log ∫ dz P(y|z) N(z; omega, V).
        g: ∂_omega phi.
        gamma: Γ = -∂²_omega phi.
    """

    phi: Any
    g: Any
    gamma: Any


def check_arguments(V: ArrayLike, **others: ArrayLike) -> None:
    """Raise ValueError unless all arguments are real numbers, and every ``V`` finite and > 0.

    A known pre-activation, V = 0, is a limit that these formulas do not contain: give it a variance far below that of
    any noise. Nothing is read back from a GPU.
    """
    check_real(V=V, **others)
    if on_device(V):
        return
    values = np.asarray(V)
    if values.size and not (values.min() > 0.0 and values.max() < math.inf):
        wrong = values[~((values > 0.0) & (values < math.inf))]
        raise ValueError(f"`V` must be finite and > 0, got {wrong.flat[0]}")


def check_from(y: ArrayLike, low: float) -> None:
    """Raise ValueError unless all outputs are finite and at least ``low``."""
    wrong = ~(np.isfinite(y) & (np.asarray(y) >= low))
    if np.any(wrong):
        need = "finite" if low == -math.inf else f"finite and >= {low:g}"
        raise ValueError(f"`y` must be {need}, got {np.extract(wrong, y)[0]}")


def pre_activation(z: ArrayLike) -> Any:
    """Return ``z`` as an array of floating-point numbers, on the GPU if it is there: integers would round activations.

    Raises:
        ValueError: other than real numbers.
    """
    values: Any = z if on_device(z) else number_array("z", z)
    return values if values.dtype.kind == "f" else values.astype(np.float64)


class Channel(ABC):
    """One activation P(x|z) seen through a Gaussian pre-activation z ~ N(omega, V).

    Channels are stateless and immutable; every argument broadcasts and a scalar is a zero-dimensional array.
    Formulas hold for arguments that are 0 or between 1e-100 and 1e100 in size, with |omega| up to 1e10 √V; float32
    results are float64 ones rounded, infinite beyond 3e38. NaN in B, A or omega gives NaN, other V than > 0 an error.
    Natural parameters (B, A) of the message e^{Bx - Ax²/2} from above are passed by keyword only.

    Attributes:
        spin: the output takes the values ±1 only, so that A x² is a constant and A drops out.
        atoms: the outputs that have a probability, or had it without the noise.
        interval: where the others have a density; None if there are no others.
        jumps: where their density is not continuous within the interval.
        kinks: where P(x|z) is not smooth in z.
        lines: level and slope of the lines x = level + slope z of which the output consists, if it does.
        scale_free: P(x|cz) = P(x|z) for c > 0, so that the scale of the pre-activations is of no account.
        noise: variance of a Gaussian part of the output, with which no single output has a probability.
        on_gpu: the formulas take arrays on a GPU, as scalar kernels do.
    """

    spin: bool = False
    atoms: tuple[float, ...] = ()
    interval: tuple[float, float] | None = (-math.inf, math.inf)
    jumps: tuple[float, ...] = ()
    kinks: tuple[float, ...] = ()
    lines: tuple[tuple[float, float], ...] = ()
    scale_free: bool = False
    noise: float = 0.0
    on_gpu: bool = False

    @property
    def nonlinearity(self) -> Activation:
        """σ with x = σ(z), noise left out."""
        return Activation(self, kinks=self.kinks, name=repr(self))

    @property
    def narrow(self) -> tuple[float, ...]:
        """Outputs about which their law is narrow but for the noise: atoms, and ends and jumps of the density."""
        ends = () if self.interval is None else tuple(end for end in self.interval if math.isfinite(end))
        return tuple(sorted({*self.atoms, *ends, *self.jumps}))

    @abstractmethod
    def evaluate(self, *, B: ArrayLike, A: ArrayLike, omega: ArrayLike, V: ArrayLike) -> ChannelValues:
        """Return log-partition, moments and derivatives together.

        Args:
            B: first natural parameter of the message from above, any real number.
            A: its second natural parameter, A ≥ 0 (an observed output is the limit A → ∞: see ``observe``).
            omega: mean of the pre-activation.
            V: variance of the pre-activation, finite and > 0.

        Raises:
            ValueError: ``V`` is not finite and > 0.
        """

    @abstractmethod
    def observe(self, y: ArrayLike, *, omega: ArrayLike, V: ArrayLike) -> ObservedValues:
        """Return the log-likelihood of the observed output ``y`` and its derivatives in omega; raise as ``evaluate``
        does."""

    def observe_maximum(self, y: ArrayLike, *, omega: ArrayLike, V: ArrayLike) -> ObservedValues:
        """Return max_z [log P(y|z) - (z - omega)²/(2V)] and its derivatives in omega.

        Raises:
            ValueError: the channel has no such form, or as ``observe``.
        """
        raise ValueError(f"`maximum` must be False for the output {self}: it has no maximum in closed form")

    @abstractmethod
    def __call__(self, z: ArrayLike) -> Any:
        """Return the most probable output for a known pre-activation ``z``: the activation function itself."""

    def sample(self, z: ArrayLike, rng: np.random.Generator) -> Any:
        """Return an output x ~ P(x|z) for every known pre-activation ``z``."""
        return self(z)

    @property
    def observe_formula(self) -> tuple[Elementwise, tuple[float, ...]] | None:
        """The formula of ``observe``: phi, g and Γ of y, omega, V and these parameters; None if it is no formula."""
        return None

    def moments(self, *, B: ArrayLike, A: ArrayLike, omega: ArrayLike, V: ArrayLike) -> tuple[Any, Any]:
        """Return mean x̂ and variance Δ of the output."""
        values = self.evaluate(B=B, A=A, omega=omega, V=V)
        return values.mean, values.variance

    def derivatives(self, *, B: ArrayLike, A: ArrayLike, omega: ArrayLike, V: ArrayLike) -> tuple[Any, Any]:
        """Return g = ∂_omega phi and Γ = -∂²_omega phi."""
        values = self.evaluate(B=B, A=A, omega=omega, V=V)
        return values.g, values.gamma
