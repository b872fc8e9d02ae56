"""Finished points of a phase diagram on the disk: one line each, appended and never rewritten.

Every line carries a checksum of itself. A writer that is killed, or a disk that is full, leaves at most a last line
without its end; it is cut off before the next one is appended, which no byte before it notices.
"""

import json
import math
import os
import stat
import sys
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from factorgraph.interface.arguments import shown
from factorgraph.io.files import parse_json

Points = dict[tuple[int, int], tuple[float, float]]

_KIND = "phase diagram"
#: Bytes of the longest line of a point, and of a number in the first line.
_POINT, _NUMBER = 200, 32


class PhaseFile:
    """The file of one diagram, which no other process may write to meanwhile.

    Args:
        path: of the file, made if there is none.
        x: values of the first parameter.
        y: those of the second one.
        settings: what else the points depend on.

    Attributes:
        points: (algorithm, best) of the finished ones, by (row, column).

    Raises:
        ValueError: the file cannot be read and written, belongs to another diagram, to none, or was changed; nothing
            has been written then.
    """

    def __init__(self, path: Path, x: list[float], y: list[float], settings: dict[str, Any]) -> None:
        self.path = path
        self.points: Points = {}
        head = _line({"file": _KIND, "x": x, "y": y} | settings)
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
        except (OSError, ValueError) as error:  # the latter for null characters
            reason = error.strerror if isinstance(error, OSError) else error
            raise ValueError(f"`path` must be a file to read and write, got {shown(str(path))}: {reason}") from None
        try:
            self._lock()
            self._load(head, len(y), len(x))
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def append(self, i: int, j: int, algorithm: float, best: float) -> None:
        """Add a finished point and see it on the disk; values that are not finite are kept as null."""
        values = [value if math.isfinite(value) else None for value in (algorithm, best)]
        self._write(_line({"point": [i, j, *values]}))
        self.points[i, j] = (algorithm, best)

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._descriptor, data) :]
        os.fsync(self._descriptor)

    def _lock(self) -> None:
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            raise ValueError(f"`path` must be a file to read and write, got {self.path}, which is none")
        if sys.platform == "win32":
            return
        import fcntl

        try:  # a lock of this process alone: workers do not inherit it, and it ends with this process however it ends
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"`path` must be written by one process at a time, got {self.path}, in use") from None
        except OSError:
            pass  # no locks on this file system

    def _load(self, head: bytes, rows: int, columns: int) -> None:
        """Read the points, cut off an unfinished line, and begin a new file with its head."""
        maximum = len(head) + 2 * _POINT * rows * columns + _NUMBER
        content = self._content(maximum)
        whole = content[: content.rfind(b"\n") + 1]
        if not whole:
            if not head.startswith(content):
                raise ValueError(
                    f"`path` must be a file of a phase diagram or none, got {self.path} with other content"
                )
        else:
            self._read(whole, head, rows, columns)
        if whole != content:
            os.ftruncate(self._descriptor, len(whole))
        if not whole:
            self._write(head)

    def _content(self, maximum: int) -> bytes:
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        parts, size = [], 0
        while part := os.read(self._descriptor, 1 << 20):
            parts.append(part)
            size += len(part)
            if size > maximum:
                raise ValueError(
                    f"`path` must be a file of the same diagram or none, got {self.path}, which is too long"
                )
        return b"".join(parts)

    def _read(self, content: bytes, head: bytes, rows: int, columns: int) -> None:
        first, *others = content.split(b"\n")[:-1]
        if first + b"\n" != head:
            if _record(self.path, 1, first).get("file") != _KIND:
                raise self._wrong(1, "it does not begin a phase diagram")
            raise ValueError(f"`path` must be a file of the same diagram or none, got {self.path} with other values")
        for number, line in enumerate(others, start=2):
            i, j, *values = self._point(number, _record(self.path, number, line))
            if not (i < rows and j < columns):
                raise self._wrong(number, f"there is no point ({i}, {j})")
            self.points[i, j] = (values[0], values[1])

    def _point(self, number: int, record: dict[str, Any]) -> tuple[int, int, float, float]:
        point = record.get("point")
        if list(record) != ["point"] or not isinstance(point, list) or len(point) != 4:
            raise self._wrong(number, "it is no point")
        i, j, *values = point
        if not all(type(place) is int and place >= 0 for place in (i, j)):
            raise self._wrong(number, "its place must be two integers >= 0")
        if not all(value is None or (type(value) in (int, float) and value >= 0.0) for value in values):
            raise self._wrong(number, "its errors must be numbers >= 0 or null")
        algorithm, best = (math.nan if value is None else float(value) for value in values)
        return i, j, algorithm, best

    def _wrong(self, number: int, reason: str) -> ValueError:
        return _wrong(self.path, number, reason)


def _line(record: dict[str, Any]) -> bytes:
    """Return the record with its checksum, as it stands in the file."""
    return json.dumps(record | {"crc": _checksum(record)}).encode() + b"\n"


def _checksum(record: dict[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(record).encode()):08x}"


def _record(path: Path, number: int, line: bytes) -> dict[str, Any]:
    """Return what ``_line`` was made of.

    Raises:
        ValueError: the line is not exactly what ``_line`` makes.
    """
    try:
        record = parse_json(line)
    except ValueError as error:
        raise _wrong(path, number, f"it is no JSON: {error}") from None
    if not isinstance(record, dict):
        raise _wrong(path, number, "it is no object")
    checksum = record.pop("crc", None)
    if checksum is None:
        raise _wrong(path, number, "it has no checksum; files of earlier versions cannot be continued")
    if _line(record) != line + b"\n":
        raise _wrong(path, number, "its checksum does not fit")
    return record


def _wrong(path: Path, number: int, reason: str) -> ValueError:
    return ValueError(f"`path` must be a file of the same diagram or none, got {path}, line {number}: {reason}")
