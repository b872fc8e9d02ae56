"""Arguments that several models share, taken through ``factorgraph.interface.arguments``."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from factorgraph.activations import Activation
from factorgraph.channels import Channel
from factorgraph.interface.arguments import check_generator, check_instance, check_integer, real_array, shown
from factorgraph.priors import Prior

Array = NDArray[np.float64]

_MAX = 2**31 - 1


def check_prior(name: str, value: Any) -> Prior:
    """Return a prior; raise ValueError for anything else."""
    return check_instance(name, value, Prior, "a prior of factorgraph.priors")  # pyright: ignore[reportAbstractUsage]


def check_channel(name: str, value: Any) -> Channel:
    """Return a channel that acts on scalars; raise ValueError for anything else."""
    return check_instance(name, value, Channel, "a channel of factorgraph.channels that acts on scalars")  # pyright: ignore[reportAbstractUsage]


def check_size(name: str, value: Any, *, minimum: int = 1) -> int:
    """Return a number of rows, nodes and the like, which arrays can have; raise ValueError for anything else."""
    return check_integer(name, value, minimum=minimum, maximum=_MAX)


def check_callback(value: Any) -> Callable[..., Any] | None:
    """Return a function or None; raise ValueError for anything else."""
    if value is not None and not callable(value):
        raise ValueError(f"`callback` must be a function or None, got {shown(value)}")
    return value


def generator(value: Any) -> np.random.Generator:
    """Return the generator ``rng``, or one from this seed, or an unpredictable one for None.

    Raises:
        ValueError: anything else.
    """
    return np.random.default_rng() if value is None else check_generator("rng", value)


def check_sequence(name: str, values: Any, need: str) -> tuple[Any, ...]:
    """Return the members of a list, tuple or other sequence; raise ValueError for what is none."""
    if isinstance(values, (str, bytes, dict)) or not hasattr(values, "__iter__") or not hasattr(values, "__len__"):
        raise ValueError(f"`{name}` must be {need}, got {shown(values)}")
    return tuple(values)


def vector(name: str, values: ArrayLike, size: int | None = None) -> Array:
    """Return a vector of finite numbers, of that size if one is given, never broadcast.

    Raises:
        ValueError: anything else.
    """
    array = real_array(name, values)
    if array.ndim != 1 or array.size != (array.size if size is None else size):
        shape = "(n,)" if size is None else (size,)
        raise ValueError(f"`{name}` must be of shape {shape}, got shape {array.shape}")
    return array


def matrix(name: str, values: ArrayLike, shape: str, columns: int | None = None) -> Array:
    """Return a matrix of finite numbers, not empty; ``shape`` in words. Raises ValueError for anything else."""
    array = real_array(name, values)
    if array.ndim != 2 or 0 in array.shape or (columns is not None and array.shape[1] != columns):
        raise ValueError(f"`{name}` must be a matrix {shape}, got shape {array.shape}")
    return array


def samples_of(name: str, values: ArrayLike, rows: int, *, what: str = "numbers") -> Array:
    """Return finite numbers (rows,) or (rows, samples) as a matrix (rows, samples).

    Raises:
        ValueError: of another shape, or not such numbers.
    """
    array = real_array(name, values)
    columns = array[:, None] if array.ndim == 1 else array
    if columns.ndim != 2 or len(columns) != rows or columns.shape[1] == 0:
        raise ValueError(f"`{name}` must be {what} of shape ({rows},) or ({rows}, samples), got shape {array.shape}")
    return columns


def number_or_vector(name: str, values: ArrayLike, size: int) -> Array:
    """Return one finite number for all, or a vector of that size, as a vector of its own.

    Raises:
        ValueError: anything else.
    """
    array = real_array(name, values)
    if array.shape not in ((), (size,)):
        raise ValueError(f"`{name}` must be one number or of shape ({size},), got shape {array.shape}")
    return np.broadcast_to(array, (size,)).copy()


def check_activations(name: str, values: Any, number: int | None = None) -> list[Activation]:
    """Return activations, one for all ``number`` layers or a sequence of as many.

    Raises:
        ValueError: anything else.
    """
    if isinstance(values, Activation) and number is not None:
        return [values] * number
    need = "activations of factorgraph.activations"
    found = [check_instance(name, each, Activation, need) for each in check_sequence(name, values, need)]
    if number is not None and len(found) != number:
        raise ValueError(f"`{name}` must be one or {number} (one per hidden layer), got {len(found)}")
    return found
