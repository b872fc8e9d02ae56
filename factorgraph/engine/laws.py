"""What is said of variables and factors by name: moments, laws, joint laws, messages."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from factorgraph.interface.brief import briefly
from factorgraph.messages.categories import state_of
from factorgraph.messages.natural import Array
from factorgraph.model.layout import Layout


@briefly
class Marginal(NamedTuple):
    """Moments of a variable, in its own shape (with the batch in front, if there is one).

    Attributes:
        mean: of each element; for maxima, where the maximum is: a state, with spins ±1 also where beliefs are tied.
        variance: of each element.
    """

    mean: Array
    variance: Array


@briefly
class Categorical(NamedTuple):
    """The law of a category, in the variable's own shape (with the batch in front, if there is one).

    Attributes:
        probabilities: (..., q) of the states; for maxima 1 for the state found and 0 for the others.
    """

    probabilities: Array

    @property
    def mode(self) -> NDArray[np.intp]:
        """(...) the most probable state; the first one of several."""
        return self.probabilities.argmax(axis=-1)

    @property
    def entropy(self) -> Array:
        """(...) -Σ p log p, in nats."""
        return entr(self.probabilities).sum(axis=-1)


def marginal(layout: Layout, name: Any, mean: Array, variance: Array) -> Any:
    """Return what arrays (..., N) of means and variances say of a variable; raise ``KeyError`` if there is none."""
    if not isinstance(name, str) or name not in layout.shapes:
        raise KeyError(f"`name` must be one of {sorted(layout.shapes)}, got {name!r}")
    variable, mean = layout.model.variables[name], layout.components(name, mean)
    if variable.states:
        return Categorical(mean)
    variance = layout.matrices(name, variance)
    return Marginal(mean, np.diagonal(variance, axis1=-2, axis2=-1) if variable.dimension else variance)


@briefly
class Message(NamedTuple):
    """Messages e^{Bx - Ax²/2} from factors to one of their arguments, in the factors' shape.

    Attributes:
        B: fields of spins and reals; of categories log-probabilities of their states, of vectors informations, with one
            more axis.
        A: precisions, of vectors matrices; None for spins and categories.
    """

    B: Array
    A: Array | None


@briefly
class Mixed(NamedTuple):
    """The joint law of the arguments of factors on discrete and on r real variables, in the factors' shape.

    Discrete arguments are in their order, and so are real ones, vectors by their components.

    Attributes:
        probabilities: (..., values of each discrete argument), with (+1, -1) for spins.
        mean: (..., values of each, r) of the real arguments in each configuration.
        covariance: (..., values of each, r, r), likewise.
    """

    probabilities: Array
    mean: Array
    covariance: Array


def joint_law(probabilities: Array, mean: Array, covariance: Array, axes: int) -> Any:
    """Return the law of factors with so many axes: probabilities, covariances, or both in one."""
    if not mean.shape[-1]:
        return probabilities
    return covariance if probabilities.ndim == axes else Mixed(probabilities, mean, covariance)


def named_values(layout: Layout, values: Array) -> dict[str, NDArray[Any]]:
    """Return a state (..., N) by names: ±1 of spins, numbers of states, reals; vectors with one more axis."""
    found = {name: layout.components(name, values) for name in layout.shapes}
    return {name: state_of(v) if layout.model.variables[name].states else v.copy() for name, v in found.items()}


class Worst(NamedTuple):
    """Where the last change was largest.

    Attributes:
        name: the variable that got the message.
        residual: the change.
    """

    name: str
    residual: float
