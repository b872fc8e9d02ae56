"""Checks of all input: numbers, sizes, choices and arrays, or an error that names the argument.

Every public function of the three packages takes its input through these functions, so that what NumPy would convert in
silence (the mask of an array, an imaginary part, a string of digits, a column for a row) is refused alike everywhere.
All errors read "`name` must be <need>, got <value>".
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Choice = TypeVar("Choice")
Wanted = TypeVar("Wanted")

#: Longest value that an error prints whole.
_LONGEST = 120


def shown(value: Any) -> str:
    """Return ``repr(value)`` in one line of bounded length, as errors print what they got."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # an object that cannot be printed, or a number of too many digits, must not hide the error
        text = f"an object of {type(value).__name__}"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 20]} ... ({type(value).__name__})"


def check_number(
    name: str,
    value: Any,
    *,
    minimum: float = -math.inf,
    above: float = -math.inf,
    maximum: float = math.inf,
    below: float = math.inf,
    error: type[ValueError] = ValueError,
) -> float:
    """Return ``value`` as a finite float within its bounds.

    Raises:
        ValueError: ``value`` is no real number, not finite, or outside ``minimum`` <= value <= ``maximum``,
            ``above`` < value < ``below``; of the class ``error``.
    """
    number = math.nan
    scalar = isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind in "iuf"
    if isinstance(value, Real) or (scalar and not np.ma.is_masked(value)):
        try:
            number = float(value)
        except OverflowError:  # an integer of hundreds of digits
            pass
    if not (math.isfinite(number) and minimum <= number <= maximum and above < number < below):
        bounds = [(">=", minimum), (">", above), ("<=", maximum), ("<", below)]
        wanted = " and ".join(f"{sign} {bound:g}" for sign, bound in bounds if math.isfinite(bound))
        raise error(f"`{name}` must be {f'a finite number {wanted}'.strip()}, got {shown(value)}")
    return number


def check_integer(
    name: str,
    value: Any,
    *,
    minimum: int | None = None,
    maximum: int | None = None,
    error: type[ValueError] = ValueError,
) -> int:
    """Return ``value`` as an int within its bounds; NumPy integers are integers, True and 2.0 are not.

    Raises:
        ValueError: anything else; of the class ``error``.
    """
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    number = int(value) if whole else 0
    if not whole or (minimum is not None and number < minimum) or (maximum is not None and number > maximum):
        bounds = [(">=", minimum), ("<=", maximum)]
        wanted = " and ".join(f"{sign} {bound}" for sign, bound in bounds if bound is not None)
        raise error(f"`{name}` must be {f'an integer {wanted}'.strip()}, got {shown(value)}")
    return number


def check_shape(name: str, shape: Any, *, error: type[ValueError] = ValueError) -> tuple[int, ...]:
    """Return a shape from a size or a sequence of sizes.

    Raises:
        ValueError: not integers >= 1; of the class ``error``.
    """
    sizes = (shape,) if isinstance(shape, Integral) else shape
    if isinstance(sizes, np.ndarray) and sizes.ndim == 1 and sizes.dtype.kind in "iu":
        sizes = sizes.tolist()
    if isinstance(sizes, (str, bytes)) or not isinstance(sizes, Sequence):
        raise error(f"`{name}` must be a size or a sequence of sizes, got {shown(shape)}")
    return tuple(check_integer(name, size, minimum=1, error=error) for size in sizes)


def check_choice(name: str, value: Any, choices: Collection[Choice], *, error: type[ValueError] = ValueError) -> Choice:
    """Return the one among ``choices`` that equals ``value``.

    Raises:
        ValueError: there is none; of the class ``error``.
    """
    for choice in choices:
        if type(value) is type(choice) and value == choice:
            return choice
    raise error(f"`{name}` must be one of {list(choices)}, got {shown(value)}")


def check_flag(name: str, value: Any, *, error: type[ValueError] = ValueError) -> bool:
    """Return True or False, of Python or NumPy.

    Raises:
        ValueError: anything else; of the class ``error``.
    """
    return bool(check_instance(name, value, (bool, np.bool_), "True or False", error=error))


def check_instance(
    name: str,
    value: Any,
    types: type[Wanted] | tuple[type[Wanted], ...],
    need: str,
    *,
    error: type[ValueError] = ValueError,
) -> Wanted:
    """Return ``value``, if it is of one of the types; ``need`` says in words what these are.

    Raises:
        ValueError: it is not; of the class ``error``.
    """
    if not isinstance(value, types):
        raise error(f"`{name}` must be {need}, got {shown(value)}")
    return value


def check_fields(
    name: str,
    value: Any,
    names: Sequence[str],
    later: Mapping[str, Any] | None = None,
    *,
    error: type[ValueError] = ValueError,
) -> dict[str, Any]:
    """Return a JSON object with just these fields.

    Args:
        name: of the object.
        value: a mapping.
        names: of the fields.
        later: the fields among them that what earlier versions wrote is without, and what they were then.
        error: class of what is raised.

    Raises:
        ValueError: ``value`` is no mapping, lacks a field or has others.
    """
    found = {**(later or {}), **check_instance(name, value, Mapping, "a JSON object", error=error)}
    if missing := [each for each in names if each not in found]:
        raise error(f"`{name}` must have the fields {', '.join(names)}, and lacks {', '.join(missing)}")
    if unknown := [each for each in found if each not in names]:
        raise error(f"`{name}` must have the fields {', '.join(names)}, and has {shown(unknown)}")
    return found


def check_name(name: str, value: Any, *, error: type[ValueError] = ValueError) -> str:
    """Return a string that is not empty.

    Raises:
        ValueError: anything else; of the class ``error``.
    """
    if not check_instance(name, value, str, "a string", error=error):
        raise error(f"`{name}` must be a string of at least one letter, got ''")
    return str(value)


def check_generator(name: str, value: Any, *, error: type[ValueError] = ValueError) -> np.random.Generator:
    """Return a generator as it is, or one made from a seed.

    Raises:
        ValueError: neither a ``numpy.random.Generator`` nor an integer >= 0; of the class ``error``.
    """
    if isinstance(value, np.random.Generator):
        return value
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 0:
        raise error(f"`{name}` must be a numpy.random.Generator or an integer >= 0, got {shown(value)}")
    return np.random.default_rng(int(value))


def real_array(
    name: str,
    values: ArrayLike,
    *,
    shape: tuple[int, ...] | None = None,
    finite: bool = True,
    missing: bool = False,
    error: type[ValueError] = ValueError,
) -> NDArray[np.float64]:
    """Return ``values`` as an array of float64; not a copy if it is one already.

    Args:
        name: of the argument.
        values: real numbers in any form that NumPy takes.
        shape: to which the array is broadcast; by default it keeps its own.
        finite: refuse infinite values; NaN is refused unless ``missing``.
        missing: NaN stands for a value that is not given, and so does a masked element, which becomes NaN; without it
            both are refused.
        error: class of the errors.

    Raises:
        ValueError: not an array of real numbers, with masked elements or an imaginary part, not finite, or of a shape
            that does not fit.
    """
    if missing and any(_masks(values)):
        values = _unmasked(name, values, error)
    array = number_array(name, values, error=error).astype(np.float64, copy=False)
    bad = np.isinf(array) if finite else np.zeros(array.shape, dtype=bool)
    if not missing:
        bad |= np.isnan(array)
    if bad.any():
        kind = "finite numbers" if finite else "numbers"
        where = f" at {tuple(int(i) for i in np.argwhere(bad)[0])}" if array.ndim else ""
        need = f"{kind}{' or NaN' if missing else ''}"
        raise error(f"`{name}` must be {need}, got {array[bad].flat[0]}{where}")
    if shape is None or array.shape == shape:
        return array
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        raise error(f"`{name}` must be a number or of shape {shape}, got shape {array.shape}") from None


def number_array(name: str, values: ArrayLike, *, error: type[ValueError] = ValueError) -> NDArray[Any]:
    """Return ``values`` as an array of real numbers of their own type (integers, float32, ...), NaN and infinite ones
    too.

    Raises:
        ValueError: not an array of real numbers, with masked elements or an imaginary part; of the class ``error``.
    """
    if type(values) is np.ndarray and values.dtype.kind in "biuf":
        return values
    if masked := sum(_masks(values)):
        raise error(f"`{name}` must have no masked elements, got {masked} of them")
    try:
        array = np.asarray(values)
    except Exception as cause:  # ragged lists; tensors on a device or with a gradient say what to do with them
        raise error(f"`{name}` must be an array of real numbers, got {shown(values)}: {cause}") from None
    if array.dtype.kind == "O" and array.size and all(isinstance(value, Real) for value in array.flat):
        try:
            array = array.astype(np.float64)
        except OverflowError:
            pass
    if array.dtype.kind not in "biuf" and array.size:
        kind = "complex numbers" if array.dtype.kind == "c" else shown(values)
        raise error(f"`{name}` must be an array of real numbers, got {kind}")
    return array if array.dtype.kind in "biuf" else np.zeros(array.shape)


def _unmasked(name: str, values: Any, error: type[ValueError]) -> Any:
    """Return the same with NaN where it is masked, in the arrays of a list too."""
    if isinstance(values, np.ma.MaskedArray):
        return np.where(np.ma.getmaskarray(values), np.nan, number_array(name, values.data, error=error))
    return [_unmasked(name, value, error) for value in values] if isinstance(values, (list, tuple)) else values


def _masks(values: Any, depth: int = 0) -> Iterator[int]:
    """Yield the numbers of masked elements, of an array and of the arrays in lists, whose masks NumPy would drop."""
    if isinstance(values, np.ma.MaskedArray):
        yield int(np.ma.count_masked(values))
    elif isinstance(values, (list, tuple)) and depth < 8:
        for value in values:
            if isinstance(value, (np.ma.MaskedArray, list, tuple)):
                yield from _masks(value, depth + 1)
