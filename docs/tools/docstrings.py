"""Docstrings as Markdown: their formulas are plain text, of which no sign may be taken for markup."""

import re
from typing import Any

from griffe import Extension, Object

_CODE = re.compile(r"(``.*?``|`[^`]*`)", re.DOTALL)
#: Indices after what is no letter or in braces, which would begin an emphasis; angles that would be tags.
_MARKUP = re.compile(r"_(?=\{)|(?<![\w\\])_(?=\w)|<(?=[A-Za-z/])")
#: Several arguments or attributes with one description.
_TOGETHER = re.compile(r"^( +)(\w+)((?:, \w+)+): ", re.MULTILINE)


class Docstrings(Extension):
    """Escapes them, but for what is in backticks, and takes apart what is described together."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        if obj.docstring:
            parts = _CODE.split(obj.docstring.value)
            parts[::2] = (_MARKUP.sub(lambda match: f"\\{match[0]}", part) for part in parts[::2])
            obj.docstring.value = _TOGETHER.sub(_apart, "".join(parts))


def _apart(match: re.Match[str]) -> str:
    """Give each of several names a line of its own, with the description at the first one's."""
    space, first, others = match[1], match[2], match[3].split(", ")[1:]
    return "".join(f"{space}{other}: see `{first}`.\n" for other in others) + f"{space}{first}: "
