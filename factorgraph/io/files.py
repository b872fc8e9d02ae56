"""Files that are replaced in one step: a reader finds the old content or the new, whatever happens meanwhile."""

import contextlib
import errno
import json
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

#: Bytes of a file's name that its temporary file repeats: with the rest it must stay below the usual limit of 255.
_KEPT = 200

#: What a name is followed by in that of its temporary file.
_ENDING = r"\.[0-9a-f]+\.tmp"

#: Bytes that are read at once.
_PIECE = 1 << 20

#: Age in seconds from which on a temporary file is taken for abandoned, where there are no locks to ask.
_ABANDONED = 3600.0


class FileTooLargeError(OSError):
    """A file has more bytes than it is allowed to have."""


def write_bytes_atomic(path: Path, data: bytes | memoryview) -> None:
    """Replace `path` by `data`, all or nothing, as `replaced` does it.

    Raises:
        OSError: the disk refuses; an old file is untouched.
    """
    with replaced(path) as file:
        file.write(data)


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, which takes the place of `path` at the end of the block, seen on the disk, or not at all.

    Where `path` is a symbolic link, the file that it leads to is replaced and the link stays; a file that exists keeps
    its permissions, and one that may not be written is not replaced. What is no file (a pipe, a device) is written to.
    Several threads and processes may write to one path: one of them is the last.

    Raises:
        OSError: the disk refuses; an old file is untouched, as after any other error in the block.
    """
    target, old = _target(path)
    if old is not None and not stat.S_ISREG(old.st_mode):
        with open(path, "wb") as file:
            yield file
        return
    if old is not None and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    descriptor, temporary = _created(target, 0o666 if old is None else 0o600)
    try:
        with open(descriptor, "wb") as file:
            if old is not None:
                _keep_permissions(descriptor, old)
            yield file
            file.flush()
            os.fsync(descriptor)
            if sys.platform != "win32":
                os.replace(temporary, target)  # while it is locked
        if sys.platform == "win32":  # where an open file cannot be renamed
            os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(target.parent)
    remove_abandoned(target.parent, re.escape(_stem(target)))


def remove_abandoned(folder: Path, name: str) -> None:
    """Remove what killed writers left of files whose names match the regular expression `name`; never fails."""
    pattern = re.compile(rf"\.(?:{name}){_ENDING}")
    with contextlib.suppress(OSError):
        for entry in os.listdir(folder):
            if pattern.fullmatch(entry):
                _remove_if_abandoned(folder / entry)


def read_bytes(path: Path, maximum: int) -> bytes:
    """Return the content of a file.

    Raises:
        OSError: it cannot be read.
        FileTooLargeError: it has more than `maximum` bytes.
    """
    with open(path, "rb") as file:
        return read_at_most(file, maximum)


def read_at_most(stream: IO[bytes], maximum: int) -> bytes:
    """Return what is left of a stream, which may be one that unpacks; memory is taken for what is there, not for
    `maximum`.

    Raises:
        OSError: it cannot be read.
        FileTooLargeError: it has more than `maximum` bytes.
    """
    parts, size = [], 0
    while part := stream.read(min(_PIECE, maximum + 1 - size)):
        parts.append(part)
        size += len(part)
        if size > maximum:
            raise FileTooLargeError(f"it has more than {maximum} bytes")
    return b"".join(parts)


def parse_json(data: bytes | str) -> Any:
    """Return the value of a JSON document in UTF-8: numbers are finite, and no name occurs twice in an object.

    Raises:
        ValueError: for anything else, whatever the bytes.
    """
    try:
        text = data if isinstance(data, str) else data.decode()
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse_constant(text: str) -> float:
    raise ValueError(f"numbers must be finite, got {text}")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"numbers must be finite, got {text[:40]}")
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        left = set(values)
        twice = next(name for name, _ in pairs if name not in left or left.remove(name))
        raise ValueError(f"names must occur once, got {twice[:40]!r} twice")
    return values


def _target(path: Path) -> tuple[Path, os.stat_result | None]:
    """Return the file that a path means, links followed, and what is there now."""
    try:
        target = Path(os.path.realpath(path))
    except ValueError as error:  # a null character, or one that no file name can have
        raise OSError(errno.EINVAL, str(error), repr(path)) from None
    try:
        old = os.stat(path)
    except FileNotFoundError:
        return target, None
    if stat.S_ISDIR(old.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return target, old


def _created(target: Path, mode: int) -> tuple[int, Path]:
    """Return a new file beside `target`, under a name that nobody can foresee, locked as long as it is open."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_BINARY", "O_NOINHERIT"):
        flags |= getattr(os, name, 0)
    while True:
        temporary = target.with_name(f".{_stem(target)}.{secrets.token_hex(8)}.tmp")
        try:
            descriptor = os.open(temporary, flags, mode)
        except OSError as error:  # of the file that was asked for, not of one that nobody knows
            raise OSError(error.errno, error.strerror, str(target)) from None
        locked = _lock(descriptor)
        if locked is False or (locked and os.fstat(descriptor).st_nlink):
            return descriptor, temporary
        os.close(descriptor)  # somebody took it for abandoned before it was locked, and removes it


def _stem(target: Path) -> str:
    """Return the part of a file's name that its temporary files repeat."""
    return os.fsencode(target.name)[:_KEPT].decode(errors="ignore")


def _keep_permissions(descriptor: int, old: os.stat_result) -> None:
    """Give a new file owner, group and permissions of the one that it replaces, as far as the system lets."""
    if sys.platform == "win32":
        return
    for owner, group in ((-1, old.st_gid), (old.st_uid, -1)):
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, owner, group)
    os.fchmod(descriptor, old.st_mode & 0o777)


def _lock(descriptor: int) -> bool | None:
    """Lock an open file until it is closed: True; None if somebody else has it, False if there are no locks here."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    except OSError:
        return False
    return True


def _remove_if_abandoned(temporary: Path) -> None:
    """Remove a temporary file unless somebody still writes to it."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with contextlib.suppress(OSError):
        descriptor = os.open(temporary, flags)
        try:
            locked, state = _lock(descriptor), os.fstat(descriptor)
            old = locked is False and time.time() - state.st_mtime > _ABANDONED
            if stat.S_ISREG(state.st_mode) and (locked or old):
                temporary.unlink()  # while it is locked
        finally:
            os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
