"""What comes into an estimator: arrays as scikit-learn checks them, seeds, and the scale of inputs and targets."""

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.validation import validate_data

from deepnet.data.preparation import LARGEST
from factorgraph.dense.state import Array
from factorgraph.interface.arguments import number_array, real_array, shown


def seed_of(random_state: Any) -> int:
    """Return the seed of a run; an integer is its own."""
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    try:
        generator = check_random_state(random_state)  # which checks integers, too
    except ValueError:
        need = f"None, an integer from 0 to {2**32 - 1}, a RandomState or a Generator"
        raise ValueError(f"`random_state` must be {need}, got {shown(random_state)}") from None
    return int(random_state) if isinstance(random_state, Integral) else int(generator.randint(2**31 - 1))


def validated(estimator: BaseEstimator, *, reset: bool = True, several: bool = False, **arrays: Any) -> Any:
    """Return the arrays of a sample ``X``, and ``y`` if it is given, as scikit-learn checks them; errors name them.

    Args:
        estimator: that learns the features, or has.
        reset: they are learned anew.
        several: ``y`` are numbers, of one column or several. Without it they are labels, or in two columns or more
            soft targets, which scikit-learn does not know for a classifier.
        arrays: ``X``, and ``y`` with it.
    """
    for name, values in arrays.items():
        if masked := count_masked(values):
            raise ValueError(f"`{name}` must have no masked elements, got {masked} of them")
    try:
        if "y" in arrays and not several and _columns(arrays["y"]) > 1:
            y = real_array("y", arrays["y"])
            X = _validate(estimator, X=arrays["X"], dtype=np.float64, reset=reset)
            check_consistent_length(X, y)
            return X, y
        numbers = {"y_numeric": True, "multi_output": True} if several and "y" in arrays else {}
        found = _validate(estimator, **arrays, **numbers, dtype=np.float64, reset=reset)
        if numbers:
            number_array("y", found[1])  # scikit-learn lets texts pass
        return found
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:  # the last from a tensor with a gradient
        targets = "targets, numbers" if several else "labels"
        need = "`X` must be samples of real features" + (f", and `y` their {targets}" if "y" in arrays else "")
        raise (TypeError if isinstance(error, TypeError) else ValueError)(f"{need}: {error}") from error


_validate: Any = validate_data  # which has no annotations, and defaults that mislead about its types


def _columns(y: Any) -> int:
    """Return the number of columns of an array with two axes; 0 for anything else."""
    try:
        shape = np.asarray(y).shape
    except ValueError:  # of lists of different lengths
        return 0
    return shape[1] if len(shape) == 2 else 0


def count_masked(values: Any) -> int:
    """Return the number of masked elements."""
    return int(np.ma.count_masked(values)) if isinstance(values, np.ma.MaskedArray) else 0


def weights_of(sample_weight: Any, samples: int) -> Array | None:
    """Return weights of samples, one each; None for 1.

    Raises:
        ValueError: other than finite numbers >= 0, one for each sample, and not all 0.
    """
    if sample_weight is None:
        return None
    weights = real_array("sample_weight", sample_weight)
    if weights.shape != (samples,):
        raise ValueError(f"`sample_weight` must be of shape {(samples,)}, got shape {weights.shape}")
    if (weights < 0).any() or not (weights > 0).any():
        raise ValueError(f"`sample_weight` must be >= 0 and not all zero, got {shown(sample_weight)}")
    return weights


def moments(name: str, values: Array) -> tuple[float, float]:
    """Return mean and standard deviation of all entries; 1 for a deviation of zero, which rounding would hide."""
    if values.min() == values.max():
        return float(values.flat[0]), 1.0
    largest = float(np.abs(values).max())
    if largest < 1e-100:  # squares would be zero
        mean, deviation = moments(name, values / largest)
        return largest * mean, largest * deviation
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = float(values.mean()), float(values.std())
    if not np.isfinite(deviation):
        raise ValueError(f"`{name}` must have a finite variance, got values up to {largest:g}")
    return mean, deviation or 1.0


def column_moments(name: str, values: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation of every column, as ``moments`` does."""
    columns = [moments(name, column) for column in values.T]
    return np.array([mean for mean, _ in columns]), np.array([deviation for _, deviation in columns])


def scaled(X: Array, mean: Any, scale: Any) -> Array:
    """Return inputs on the scale of a network.

    Raises:
        ValueError: they are out of its range.
    """
    with np.errstate(over="ignore"):
        x = (X - mean) / scale
    if not np.abs(x).max() <= LARGEST:
        _, column = np.unravel_index(np.abs(x).argmax(), x.shape)
        centre, reach = (float(np.broadcast_to(value, X.shape[1])[column]) for value in (mean, LARGEST * scale))
        raise ValueError(f"`X` must be within {reach:g} of {centre:g}, got {X.min():g} to {X.max():g}")
    return x
