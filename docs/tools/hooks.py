"""What the site has beyond its pages: formulas, citations that lead to equations and back, figures, the gallery."""

import ast
import contextlib
import csv
import io
import json
import re
import runpy
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from bibliography import entries, listing
from citations import DOCS, ROOT, Place, anchor, documented, equations, places
from mathml import Formulas
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File
from mkdocs.utils import get_relative_url

EXAMPLES = ROOT / "examples"

#: Pages made of something else in the repository.
_MADE = {"changelog.md": lambda: (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")}


def on_config(config: Any) -> Any:
    config.markdown_extensions.append(Formulas(_caption))
    return config


def on_files(files: Any, config: Any) -> Any:
    for path in sorted(EXAMPLES.glob("*.png")):
        files.append(File.generated(config, f"figures/{path.name}", abs_src_path=str(path)))
    for name, content in _MADE.items():
        files.append(File.generated(config, name, content=content()))
    for page in sorted(DOCS.glob("start/*.md")):
        if "```python" in page.read_text(encoding="utf-8"):
            name = f"start/{page.stem}.ipynb"
            files.append(File.generated(config, name, content=notebook(page.read_text(encoding="utf-8"))))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    for name, make in _LISTS.items():
        mark = f"<!-- {name} -->"
        if mark in markdown:
            markdown = markdown.replace(mark, make())
    if files.get_file_from_path(re.sub(r"\.md$", ".ipynb", page.file.src_uri)):
        markdown += f"\n\n[This page as a notebook]({PurePosixPath(page.file.src_uri).stem}.ipynb)\n"
    return markdown


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Make links of citations, wherever they stand but in links."""
    stated, sources = equations(), "|".join(_sources())

    def link(match: re.Match[str]) -> str:
        key = match[1]
        target = get_relative_url("bibliography.html", page.url)

        def number(found: re.Match[str]) -> str:
            place = stated.get((key, found[0]))
            if place is None:
                return found[0]
            return f'<a href="{get_relative_url(place, page.url)}#{anchor(key, found[0])}">{found[0]}</a>'

        rest = re.sub(r"\d+(?:\.\d+)?", number, match[2]) if "eq" in match[2] else match[2]
        return f'[<a href="{target}#{key}">{key}</a>{rest}]'

    parts, depth = re.split(r"(<[^>]*>)", html), 0
    for n, part in enumerate(parts):
        if n % 2:
            depth += part.startswith("<a ") - (part == "</a>")
        elif depth == 0:
            parts[n] = re.sub(rf"\[({sources})\b([^\]\[<]*)\]", link, part)
    return "".join(parts)


def _caption(key: str, stated: list[str]) -> str:
    """Return the equation's name, and links to all places in the code that cite it."""
    plural = "s" if len(stated) > 1 else ""
    found = [place for place in places() if place.key == key and set(place.equations) & set(stated)]
    return f"[{key}, eq{plural}. {', '.join(stated)}]" + (f" in {_links(found)}" if found else "")


def _links(found: Iterable[Place]) -> str:
    """Return links to places in the code, by their own names, with that of the module where two have one name."""
    unique = {place.name: place for place in found}
    own = {name: name.removeprefix(place.module).removeprefix(".") or name for name, place in unique.items()}
    texts = []
    for name, place in unique.items():
        short = own[name]
        if list(own.values()).count(short) > 1:
            short = f"{place.module.rpartition('.')[2]}.{short}"
        texts.append(f"`{name}`" if "/" in name else f"[`{short}`][{name}]")  # other languages have no page
    return ", ".join(texts)


def _table_of_equations() -> str:
    """Return all cited equations: number, link to where it is stated, links to where it is computed."""
    stated = equations()
    found: dict[tuple[str, str], list[Place]] = {}
    for place in places():
        for number in place.equations:
            found.setdefault((place.key, number), []).append(place)
    if lost := found.keys() - stated.keys():
        raise PluginError(f"docs/theory must state the equations {sorted(lost)}, which the code cites")
    rows = ["| equation | in the code |", "|---|---|"]
    for key, number in sorted(found, key=lambda each: (each[0], [int(part) for part in each[1].split(".")])):
        page = PurePosixPath(stated[key, number]).with_suffix(".md").name
        rows.append(f"| [{key} {number}]({page}#{anchor(key, number)}) | {_links(found[key, number])} |")
    return "\n".join(rows)


def _formulas() -> str:
    """Return what cites an equation and has no place elsewhere in the reference, with its source."""
    modules: dict[str, list[str]] = {}
    for place in places():
        if place.equations and "/" not in place.name and not documented(place.name):
            modules.setdefault(place.module, []).append(place.name)
    lines = []
    for module, names in modules.items():
        lines.append(f"## `{module}`\n")
        for name in dict.fromkeys(names):
            options = ["members: false", "inherited_members: false", f"show_source: {str(name != module).lower()}"]
            options.append("show_root_full_path: false")
            lines.append("\n      ".join([f"::: {name}\n    options:", *options]) + "\n")
    return "\n".join(lines)


def _gallery() -> str:
    """Return the examples: what their docstrings say, how to run them, their figures and their sources."""
    parts = []
    for path in sorted(EXAMPLES.glob("[0-9]*.py")):
        source = path.read_text(encoding="utf-8")
        title, _, rest = (ast.get_docstring(ast.parse(source)) or "").partition("\n")
        parts.append(f"## {path.stem[:2]} {title.rstrip('.')}\n\n{rest.strip().replace('``', '`')}\n")
        if path.with_suffix(".png").exists():
            parts.append(f"![{title}](figures/{path.stem}.png)\n")
        code = "\n".join(f"    {line}".rstrip() for line in source.splitlines())
        parts.append(f'??? note "examples/{path.name}"\n\n    ```python\n{code}\n    ```\n')
    return "\n".join(parts)


def notebook(page: str) -> str:
    """Return a page as a Jupyter notebook: its Python in cells that can be run, the rest as text."""
    cells = []
    for n, part in enumerate(re.split(r"^```python\n(.*?)^```\n", page, flags=re.MULTILINE | re.DOTALL)):
        if not part.strip():
            continue
        cell: dict[str, Any] = {"id": f"cell-{n}", "metadata": {}, "source": part.strip("\n").splitlines(keepends=True)}
        code = {"cell_type": "code", "execution_count": None, "outputs": []}
        cells.append(cell | (code if n % 2 else {"cell_type": "markdown"}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return json.dumps(
        {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}, indent=1
    )


def _sources() -> dict[str, dict[str, str]]:
    """Return the entries of the bibliography by their keys."""
    return entries((DOCS / "references.bib").read_text(encoding="utf-8"))


def _bibliography() -> str:
    """Return the entries as a list, with how often the code cites each."""
    return listing(_sources(), Counter(place.key for place in places()))


def _paper_tables() -> str:
    """Return what ``examples/paper/compare.py`` prints, of the results that are there."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        runpy.run_path(str(EXAMPLES / "paper" / "compare.py"), run_name="__main__")
    runs = [row for path in (EXAMPLES / "paper" / "results").glob("*.csv") for row in _rows(path)]
    taken = sorted({f"{row['machine']}, {row['date']}" for row in runs if row.get("machine")})
    return printed.getvalue() + f"\n{len(runs)} runs, on: {'; '.join(taken)}.\n"


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


_LISTS = {
    "paper tables": _paper_tables,
    "equations": _table_of_equations,
    "formulas": _formulas,
    "gallery": _gallery,
    "bibliography": _bibliography,
    "bibtex": lambda: (DOCS / "references.bib").read_text(encoding="utf-8").strip(),
}
