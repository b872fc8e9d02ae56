"""Citations as ``[DL, eq. 68]`` in the sources: which equations, and in which function, class or module.

Everything is read from the text: nothing is imported.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from formulas import numbers

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("factorgraph", "models", "deepnet")
KEYS = ("DL", "DER", "ML", "RG", "2L")

#: Anything that starts as a citation does, and those that are written as they should be.
CITED = re.compile(rf"\[({'|'.join(KEYS)})\b([^\]\[<]*)\]")
_PLACE = r"(?:eqs?\. [\d., –-]*\d|App\. [A-Z](?:\.\d+)*(?:, [A-Z]\.\d+)*|§[\d.]+|Alg\. \d|Figs?\. \d|Tables? \d( and \d)?)"
STYLE = re.compile(rf"\[(?:{'|'.join(KEYS)})(?:, {_PLACE})?(?:, corrected)?\]")


class Place(NamedTuple):
    """Where a citation stands.

    Attributes:
        name: dotted name of the innermost function or class about it that can be named from outside, or of the module.
        module: dotted name, or the path of a file that is no Python.
        citation: as it is written.
        key: of the source.
        equations: numbers, none for a citation of a section or a figure.
    """

    name: str
    module: str
    citation: str
    key: str
    equations: tuple[str, ...]


def cited(text: str) -> Iterator[tuple[int, str, str, tuple[str, ...]]]:
    """Yield line, citation, key and equations of all citations in a text."""
    for match in CITED.finditer(text):
        found = re.search(r"\beqs?\.\s*([\d., –-]+)", match[2])
        yield text.count("\n", 0, match.start()) + 1, match[0], match[1], tuple(numbers(found[1]) if found else ())


@cache
def places() -> tuple[Place, ...]:
    """Return all citations in the packages."""
    found = []
    for package in PACKAGES:
        for path in sorted([*(ROOT / package).rglob("*.py"), *(ROOT / package).rglob("*.cu")]):
            text, relative = path.read_text(encoding="utf-8"), path.relative_to(ROOT)
            python = path.suffix == ".py"
            module = ".".join(relative.with_suffix("").parts).removesuffix(".__init__") if python else str(relative)
            spans = list(_spans(ast.parse(text), module)) if python else []
            for line, citation, key, equations in cited(text):
                inside = [name for name, first, last in spans if first <= line <= last]
                found.append(Place(inside[-1] if inside else module, module, citation, key, equations))
    return tuple(found)


def _spans(tree: ast.AST, prefix: str) -> Iterator[tuple[str, int, int]]:
    """Yield names of functions and classes with their first and last line, outer ones first; none inside functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{prefix}.{node.name}"
            yield name, min([node.lineno, *(each.lineno for each in node.decorator_list)]), node.end_lineno or 0
            if isinstance(node, ast.ClassDef):
                yield from _spans(node, name)


#: Packages that are public as wholes, all of their names; the modules with a page in the reference are public too.
PUBLIC = (
    "factorgraph",
    "factorgraph.activations",
    "factorgraph.channels",
    "factorgraph.factors",
    "factorgraph.priors",
    "models",
    "models.preactivation",
    "deepnet",
)


@cache
def exported(package: str) -> dict[str, str]:
    """Return what a package hands on: name -> dotted name in the module that it comes from."""
    tree = ast.parse((ROOT.joinpath(*package.split(".")) / "__init__.py").read_text(encoding="utf-8"))
    source = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    return {name: source.get(name, f"{package}.{name}") for name in _public_names(tree)}


def home(name: str) -> str:
    """Return the dotted name of what a package hands on under ``name`` in the module that defines it."""
    package, _, last = name.rpartition(".")
    found = exported(package).get(last, name) if package in PUBLIC else name
    return found if found == name else home(found)


def _public_names(tree: ast.Module) -> list[str]:
    """Return ``__all__`` of a module."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return list(ast.literal_eval(node.value))
    return []
