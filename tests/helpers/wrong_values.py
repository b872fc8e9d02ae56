"""Values that no argument should take in silence, and what must become of them at a public entry point."""

from collections.abc import Callable, Collection
from typing import Any

import numpy as np


class Stubborn:
    """An array-like that refuses to be one, as a tensor with a gradient does."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")


#: Arrays have seven elements, so that they are refused for what they are where that is the right number.
#: By the labels that ``accepts`` of ``check_refusals`` uses. None of them is a plausible shape, name or file.
WRONG: dict[str, Any] = {
    "None": None,
    "text": "x",
    "digits": "3",
    "bytes": b"x",
    "float": 3.5,
    "nan": float("nan"),
    "inf": float("inf"),
    "negative": -3,
    "huge": 10**400,
    "complex": 2j,
    "object": object(),
    "lambda": lambda *_: None,
    "type": int,
    "empty list": [],
    "empty dict": {},
    "dict": {"x": 3.5},
    "ragged": [[1.0], [1.0, 2.0]],
    "nested": [[[[1.0]]]],
    "texts": ["x", "y"],
    "NaN array": np.full(7, np.nan),
    "empty array": np.zeros((0, 3)),
    "column": np.ones((7, 1)),
    "complex array": np.ones(7) * 1j,
    "object array": np.array([1, None, "x"], dtype=object),
    "masked": np.ma.array(np.ones(7), mask=[True] + 6 * [False]),
    "tensor": Stubborn(),
}


def check_refusals(
    call: Callable[[Any], Any],
    *names: str,
    accepts: Collection[str] = (),
    errors: tuple[type[Exception], ...] = (ValueError, TypeError),
    wrong: dict[str, Any] = WRONG,
) -> None:
    """Call with every wrong value: each must be refused by an error of ours that names the argument.

    Args:
        call: the entry point as a function of the one argument in question, everything else being right.
        names: one of them must stand in backticks in the message: errors of Python and NumPy have no backticks.
        accepts: labels of the values with which the call may also work.
        errors: the classes that are ours; a file's argument may add ``OSError``, and a look-up ``KeyError``.
        wrong: the values.
    """
    unknown = set(accepts) - set(wrong)
    assert not unknown, f"no such labels: {unknown}"
    problems = []
    for label, value in wrong.items():
        try:
            call(value)
        except errors as error:
            if not any(f"`{name}`" in str(error) for name in names):
                problems.append(f"{label}: names none of {names}: {type(error).__name__}: {error}")
        except Exception as error:
            problems.append(f"{label}: {type(error).__name__}: {error}")
        else:
            if label not in accepts:
                problems.append(f"{label}: accepted in silence")
    assert not problems, "\n".join(problems)
