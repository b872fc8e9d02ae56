"""The bibliography, from BibTeX."""

import re
from collections.abc import Mapping

_ENTRY = re.compile(r"@(\w+)\{([^,\s]+),(.*?)\n\}", re.DOTALL)
_FIELD = re.compile(r"(\w+)\s*=\s*\{(.*?)\},?\s*$", re.MULTILINE)
_WHERE = ("journal", "booktitle", "publisher", "howpublished")


def entries(text: str) -> dict[str, dict[str, str]]:
    """Return the fields of every entry by its key; each field stands on a line of its own, in braces."""
    return {key: dict(_FIELD.findall(body)) | {"type": kind} for kind, key, body in _ENTRY.findall(text)}


def listing(found: Mapping[str, Mapping[str, str]], cited: Mapping[str, int]) -> str:
    """Return the entries as Markdown, each a place of its own."""
    lines = []
    for key, entry in found.items():
        where = next((entry[field] for field in _WHERE if field in entry), "")
        volume = " ".join(filter(None, (entry.get("volume"), entry.get("pages"))))
        parts = [_authors(entry.get("author", "")), f"*{entry['title']}*", " ".join(filter(None, (where, volume)))]
        times = f"cited {cited[key]} times in the code" if key in cited else ""
        parts += [entry.get("year", ""), entry.get("note", ""), times]
        text = ", ".join(filter(None, parts)).replace("{", "").replace("}", "")
        lines.append(f'<span id="{key}"></span>**[{key}]** {text}.\n')
    return "\n".join(lines)


def _authors(text: str) -> str:
    names = [" ".join(reversed(name.split(", "))) for name in text.split(" and ") if name]
    return ", ".join(names)
