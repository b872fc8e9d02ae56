"""Paths that users give, checked before anything is read or written."""

import errno
import os
from pathlib import Path
from typing import IO, Any

from factorgraph.interface.arguments import shown
from factorgraph.interface.errors import ModelError


def checked_path(path: Any) -> Path:
    """Return the path of a file.

    Raises:
        ModelError: no path, or one that no file has.
    """
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise ModelError(f"`path` must be the path of a file, got {shown(path)}")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise ModelError(f"`path` must be of characters that file names have, got {shown(path)}") from None
    return Path(text)


def checked_target(path: Any) -> Path:
    """Return the path of a file that can be written.

    Raises:
        ModelError: as for ``checked_path``.
        OSError: it is in no folder, or is one.
    """
    target = checked_path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "`path` must be in a folder that exists, got", str(target))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "`path` must be a file, got a folder", str(target))
    return target


def opened(path: Path) -> IO[bytes]:
    """Return a file opened for reading.

    Raises:
        OSError: it cannot be.
    """
    try:
        return open(path, "rb")
    except OSError as error:
        raise OSError(
            error.errno, f"`path` must be a file that can be read ({error.strerror}), got", str(path)
        ) from None
