"""Folders for compiled code, each of exactly one state of the sources, that take over what still holds of older ones.

The packages' cache on disk notices an edit of the file that a compiled function is in, by its time and size, but not of
the files of the functions that it calls. So every state of the code gets a folder of its own; what was compiled of
modules that depend on nothing that has changed since is linked there from the latest folder that has it.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

_KEYS = "keys.json"
_DAY = 24 * 3600.0


def folder_for(base: Path, known: dict[str, Path], keys: dict[str, str]) -> Path:
    """The folder for modules with these keys; those that no run has used for a day are removed.

    Args:
        base: where the folders are.
        known: the files of the modules.
        keys: what the compiled code of each depends on, by module.
    """
    text = json.dumps(keys, indent=0, sort_keys=True)
    folder = base / hashlib.sha256(text.encode()).hexdigest()[:16]
    if not folder.exists():
        new = Path(tempfile.mkdtemp(prefix="new-", dir=base))
        for older in sorted(base.glob(f"*/{_KEYS}"), key=_last_use, reverse=True):
            with contextlib.suppress(OSError, ValueError):  # another run may be removing it
                _take_over(older.parent, json.loads(older.read_text()), new, known, keys)
        (new / _KEYS).write_text(text)
        try:
            new.replace(folder)
        except OSError:  # another run was faster
            shutil.rmtree(new)
    os.utime(folder)
    _remove_unused(base)
    return folder


def _take_over(older: Path, its_keys: dict[str, str], new: Path, known: dict[str, Path], keys: dict[str, str]) -> None:
    """Link the compiled functions of the modules that have the same key there, unless a later folder had them."""
    for name, key in keys.items():
        if its_keys.get(name) != key:
            continue
        room = place(known[name])
        for file in (older / room).glob(f"{name.rpartition('.')[2]}.*.cavity"):
            target = new / room / file.name
            if not target.exists():
                target.parent.mkdir(exist_ok=True)
                os.link(file, target)


def place(source: Path) -> str:
    """Numba's name for the folder of the compiled functions of a file."""
    parent = source.resolve().parent
    return f"{parent.name}_{hashlib.sha1(str(parent).encode()).hexdigest()}"


def _last_use(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.parent.stat().st_mtime
    return 0.0


def _remove_unused(base: Path) -> None:
    for other in base.iterdir():
        with contextlib.suppress(OSError):  # another run may be removing it too
            if time.time() - other.stat().st_mtime > _DAY:
                shutil.rmtree(other)
