"""Files that are replaced in one step: a reader finds the old content or the new, whatever happens meanwhile."""

import contextlib
import os
from pathlib import Path


def write_bytes_atomic(path: Path, data: bytes | memoryview) -> None:
    """Replace `path` by `data`, all or nothing, and see it on the disk before returning.

    Raises:
        OSError: the disk refuses; an old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
