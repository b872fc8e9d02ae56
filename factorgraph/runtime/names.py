"""Whether the names of our packages lead to our packages: others have a ``models`` or a ``factorgraph`` too.

Another project's folder that is found first hides one of ours; a distribution that was installed into the same folder
has replaced files, or mixed its own among them. Either is said when a package is imported, before something fails that
does not tell why.
"""

import sys
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from factorgraph.interface.errors import CavityWarning

#: The packages of this distribution.
PACKAGES = ("factorgraph", "models", "deepnet")

_ROOT = Path(__file__).resolve().parents[2]


def check_names(*needed: str) -> None:
    """Warn of every one of the packages that is not ours.

    Args:
        needed: packages without which the importing one does not work; of the others only damage is told.
    """
    said = [*_hidden(needed), *_mixed()]
    if said:
        warnings.warn(
            f"{'; '.join(said)}: install Cavity into an environment of its own, or rename what hides it",
            CavityWarning,
            stacklevel=3,
        )


def _hidden(needed: tuple[str, ...]) -> Iterator[str]:
    """Yield a clause for every package that Python finds somewhere else than beside this one."""
    for name in needed:
        place = _place(name)
        if Path(place).resolve().parent != _ROOT / name:
            yield f"{name!r} is not the package of Cavity in {_ROOT}, but {place}"


def _place(name: str) -> str:
    """Return the file of a package, imported or not; its folder if that is all there is."""
    if name in sys.modules:
        return getattr(sys.modules[name], "__file__", None) or "a module without a file"
    spec = find_spec(name)
    if spec is None:
        return "nowhere"
    return spec.origin or next(iter(spec.submodule_search_locations or ()), "a module without a file")


def _mixed() -> Iterator[str]:
    """Yield a clause for every package with files that are not as pip has recorded them; without its record, none."""
    record = next(_ROOT.glob("cavity-*.dist-info/RECORD"), None)
    if record is None:  # not installed, or as an editable one
        return
    sizes = {}
    for line in record.read_text(encoding="utf-8").splitlines():
        file, _, size = line.rsplit(",", 2)
        sizes[file] = size
    for name in PACKAGES:
        ours = {file.split("/")[1] for file in sizes if file.startswith(f"{name}/")} | {"__pycache__"}
        others = sorted(path.name for path in (_ROOT / name).glob("[!.]*") if path.name not in ours)
        face = _ROOT / name / "__init__.py"
        if others:
            yield f"another distribution has put {', '.join(others)} into {_ROOT / name}"
        elif not face.is_file() or str(face.stat().st_size) != sizes.get(f"{name}/__init__.py"):
            yield f"another distribution has replaced {face}"
