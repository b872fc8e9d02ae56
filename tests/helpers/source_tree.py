"""The sources as a graph: modules, what they import of ours, and a key for what a module's compiled code depends on."""

import ast
import hashlib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("factorgraph", "models", "deepnet")


def modules(root: Path = ROOT, packages: Iterable[str] = PACKAGES) -> dict[str, Path]:
    """All modules of the packages by name; packages' own files by that of the package."""
    found = {}
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def faces(known: dict[str, Path]) -> set[str]:
    """Packages' own files, which hand names on."""
    return {name for name, path in known.items() if path.name == "__init__.py"}


def imports(tree: ast.AST, known: Iterable[str]) -> set[str]:
    """The modules of ours that a source imports, for types too, wherever the import stands."""
    found, known = set(), set(known)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if name in known else node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return found & known


def keys(known: dict[str, Path]) -> dict[str, str]:
    """Of each module a hash of its code and of that of all modules that it imports, directly or not.

    Docstrings, comments and the layout of the text do not enter. A name that a package hands on may come from anywhere
    in it: who imports from a package depends on all of its modules.
    """
    trees = {name: ast.parse(path.read_bytes()) for name, path in known.items()}
    inside = {face: {name for name in known if name.startswith(face + ".")} for face in faces(known)}
    needs = {}
    for name, tree in trees.items():
        direct = imports(tree, known)
        needs[name] = direct.union(*(inside[face] - {name} for face in direct & inside.keys()))
    own = {
        name: hashlib.sha256(ast.dump(_without_docstrings(tree)).encode()).hexdigest() for name, tree in trees.items()
    }
    return {name: _hash(f"{other} {own[other]}" for other in sorted(_reached(name, needs))) for name in known}


def _reached(name: str, needs: dict[str, set[str]]) -> set[str]:
    found, open_ = {name}, [name]
    while open_:
        new = needs[open_.pop()] - found
        found |= new
        open_ += new
    return found


def _hash(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _without_docstrings(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    return tree
