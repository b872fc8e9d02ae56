"""``repr`` of results in one screen: arrays by their shape and ends, the rest cut to a line."""

import dataclasses
from typing import Any, TypeVar

import numpy as np

from factorgraph.interface.html import html_table

Kind = TypeVar("Kind", bound=type)

#: Longest value in a line, and most elements of an array that is shown whole.
_LONGEST, _MAX_ELEMENTS = 100, 8


def brief(value: Any) -> str:
    """Return a value in one line of bounded length."""
    if isinstance(value, np.ndarray) and value.size > _MAX_ELEMENTS:
        ends = [np.array2string(part, precision=4, separator=", ") for part in (value.ravel()[:3], value.ravel()[-1:])]
        return f"<array {value.shape}: {ends[0][1:-1]}, ..., {ends[1][1:-1]}>"
    if isinstance(value, np.ndarray):
        value = value.tolist()
    elif isinstance(value, (list, tuple)) and len(value) > _MAX_ELEMENTS and type(value) in (list, tuple):
        return f"<{type(value).__name__} of {len(value)}: {brief(value[0])}, ..., {brief(value[-1])}>"
    return brief_text(repr(value))


def brief_text(text: str) -> str:
    """Return a text in one line of bounded length."""
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."


def briefly(kind: Kind) -> Kind:
    """Return a decorator for data classes and named tuples: their ``repr`` has one short line for each field, and what
    notebooks show a row."""
    fields = _fields(kind)

    def __repr__(self: Any) -> str:  # noqa: N807
        return described(self, fields)

    setattr(kind, "__repr__", __repr__)  # noqa: B010
    return tabled(kind)


def tabled(kind: Kind) -> Kind:
    """Return a decorator for data classes and named tuples: notebooks show a row for each field."""
    fields = _fields(kind)

    def _repr_html_(self: Any) -> str:
        return html_table(["", type(self).__name__], ([name, brief(getattr(self, name))] for name in fields))

    setattr(kind, "_repr_html_", _repr_html_)  # noqa: B010
    return kind


def _fields(kind: Any) -> list[str]:
    return getattr(kind, "_fields", None) or [field.name for field in dataclasses.fields(kind) if field.repr]


def described(thing: Any, names: Any) -> str:
    """Return ``Name(a=..., b=...)`` with the attributes of these names, a line each if they do not fit one."""
    parts = [f"{name}={brief(getattr(thing, name))}" for name in names]
    line = f"{type(thing).__name__}({', '.join(parts)})"
    if len(line) <= _LONGEST:
        return line
    return f"{type(thing).__name__}(\n" + "".join(f"    {part},\n" for part in parts) + ")"
