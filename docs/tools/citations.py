"""Citations as ``[DL, eq. 68]`` in the sources: which equations, and in which function, class or module.

Everything is read from the text: nothing is imported.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PACKAGES = ("factorgraph", "models", "deepnet")
KEYS = ("DL", "DER", "ML", "RG", "2L")

#: Anything that starts as a citation does, and those that are written as they should be.
CITED = re.compile(rf"\[({'|'.join(KEYS)})\b([^\]\[<]*)\]")
_SECTION = r"App\. [A-Z](?:\.\d+)*(?:, [A-Z]\.\d+)*|§[\d.]+|Alg\. \d|Fig\. \d|Tables? \d(?: and \d)?"
_PLACE = rf"(?:eqs?\. [\d., –-]*\d|{_SECTION})"
STYLE = re.compile(rf"\[(?:{'|'.join(KEYS)})(?:, {_PLACE})?(?:, corrected)?\]")


#: What names an equation of the site as one of a paper.
TAG = re.compile(r"\\tag\{(\w+), ([^}]*)\}")


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


def anchor(key: str, number: str) -> str:
    """Return the name of the place of an equation."""
    return f"{key}-{number}"


def numbers(text: str) -> list[str]:
    """Return the numbers of equations: "64, 68-70" are 64, 68, 69 and 70, "4.82-4.83" are two."""
    found = []
    for part in re.findall(r"[\d.]*\d(?:\s*[-–]\s*[\d.]*\d)?", text):
        first, _, last = (each.strip() for each in part.replace("–", "-").partition("-"))
        chapter, dot, start = first.rpartition(".")
        end = (last or first).rpartition(".")[2]
        found += [f"{chapter}{dot}{number}" for number in range(int(start), int(end) + 1)]
    return found


@cache
def equations() -> dict[tuple[str, str], str]:
    """Return where the site states each equation of a paper: (key, number) -> address of the page."""
    return {
        (tag[1], number): str(page.relative_to(DOCS).with_suffix(".html"))
        for page in sorted(DOCS.glob("theory/*.md"))
        for tag in TAG.finditer(page.read_text(encoding="utf-8"))
        for number in numbers(tag[2])
    }


def documented(name: str) -> bool:
    """Return whether other pages of the reference show a name: by itself, or as a public part of something."""
    for whole in reference():
        rest = name.removeprefix(whole)
        if rest != name and (not rest or (rest[0] == "." and "._" not in rest)):
            return True
    return False


@cache
def reference() -> frozenset[str]:
    """Return the dotted names, where they are defined, of all that the pages of the reference show."""
    names = {
        name
        for page in (DOCS / "reference").glob("*.md")
        for name in re.findall(r"^::: (\S+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    return frozenset(home(name) for name in names)
