"""State of a run on disk: checkpoints and small text files, written atomically.

A checkpoint is one uncompressed .npz file: the arrays, and a JSON document with the format version, the epoch, the
names of the arrays and the caller's own metadata. It is written to a temporary file in the same folder, flushed to the
disk and only then renamed, so that a crash or a full disk at any moment leaves the previous checkpoint as it was.
"""

import contextlib
import errno
import io
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike, NDArray

from factorgraph.interface.arguments import check_instance, check_integer, check_name, shown
from factorgraph.io.archive import pack_archive, unpack_archive
from factorgraph.io.files import parse_json, remove_abandoned, write_bytes_atomic

_FORMAT = 1
_KEEP = 2
_LAST_EPOCH = 10**12
_NAME = re.compile(r"checkpoint-([0-9]{5,13})\.npz")


class CheckpointError(Exception):
    """A checkpoint could not be written or read; the message says why and what to do."""


def save_checkpoint(
    directory: str | os.PathLike[str],
    epoch: int,
    arrays: Mapping[str, ArrayLike],
    meta: dict[str, Any],
    *,
    make_folder: bool = True,
) -> Path:
    """Write ``checkpoint-<epoch>.npz`` and remove all but the newest two.

    Args:
        directory: folder for the checkpoints of one run.
        epoch: number of finished epochs, at least that of the newest checkpoint in the folder.
        arrays: real, complex, integer or boolean arrays of any shape; they come back bit for bit. Scalars come back as
            arrays of shape ().
        meta: whatever JSON can hold (so tuples come back as lists, and keys as strings).
        make_folder: make the folder if need be; otherwise it is an error if there is none.

    Returns:
        Path of the new checkpoint.

    Raises:
        ValueError: an argument that cannot be stored.
        CheckpointError: the disk is full or refuses; the previous checkpoint is untouched and named in the message.
    """
    folder = as_path("directory", directory)
    epoch = _check_epoch(epoch)
    check_instance("arrays", arrays, Mapping, "arrays by name")
    check_instance("meta", meta, dict, "a dictionary")
    data = _pack(epoch, arrays, meta)
    path = folder / file_name(epoch)
    _check_order(folder, epoch)
    try:
        if make_folder:
            folder.mkdir(parents=True, exist_ok=True)
        write_bytes_atomic(path, data)
    except OSError as error:
        raise CheckpointError(f"could not write {path}: {_reason(error)}; {_still_good(folder, epoch)}") from error
    _tidy(folder)
    return path


def load_checkpoint(path: str | os.PathLike[str]) -> tuple[int, dict[str, NDArray[Any]], dict[str, Any]]:
    """Read a checkpoint, every checksum verified.

    Returns:
        The epoch, the arrays and the metadata, as they were given to `save_checkpoint`.

    Raises:
        CheckpointError: there is no such file, or it is damaged or not a checkpoint; says what to do.
    """
    path = as_path("path", path)
    try:
        file = path.open("rb")
    except (OSError, ValueError) as error:  # the latter from a null character
        raise CheckpointError(f"cannot open the checkpoint {path}: {_reason(error)}") from error
    with file:
        try:
            epoch, arrays, meta = _unpack(file)
            _check_name(path, epoch)
            return epoch, arrays, meta
        except CheckpointError:
            raise
        except Exception as error:  # damaged bytes make the zip, NumPy and JSON readers raise nearly anything
            reason = str(error) or type(error).__name__
            raise CheckpointError(f"cannot read the checkpoint {path}: {reason}; {_remedy(path)}") from error


def latest_checkpoint(directory: str | os.PathLike[str]) -> Path | None:
    """Return the path of the checkpoint with the highest epoch in a folder; None if there is none, or no such
    folder."""
    found = checkpoints(directory)
    return found[-1] if found else None


def checkpoints(directory: str | os.PathLike[str]) -> list[Path]:
    """Return the paths of the checkpoints in a folder, oldest first."""
    return [path for _, path in _checkpoints(as_path("directory", directory))]


def as_path(name: str, value: Any) -> Path:
    """Return a path from its name; raise ``ValueError`` for what is none."""
    if not isinstance(value, str | os.PathLike) or not isinstance(text := os.fspath(value), str) or not text:
        raise ValueError(f"`{name}` must be the name of a file or folder, got {shown(value)}")
    return Path(text)


def write_text_atomic(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file (UTF-8) so that a reader finds the old content or the new, never a part.

    Raises:
        CheckpointError: the disk is full or refuses; the old content is untouched.
    """
    path = as_path("path", path)
    data = check_instance("text", text, str, "a string").encode()
    try:
        write_bytes_atomic(path, data)
    except OSError as error:
        raise CheckpointError(f"could not write {path}: {_reason(error)}; its old content, if any, is kept") from error


# --- the content of a checkpoint --------------------------------------------------------------------------------------


def _check_epoch(epoch: int) -> int:
    try:
        return check_integer("epoch", epoch, minimum=0, maximum=_LAST_EPOCH)
    except ValueError:
        raise ValueError(f"`epoch` must be a non-negative integer, got {shown(epoch)}") from None


def _pack(epoch: int, arrays: Mapping[str, ArrayLike], meta: dict[str, Any]) -> memoryview:
    """Return the bytes of the .npz, made in memory: what cannot be stored is found out before any file is touched."""
    document = {"format": _FORMAT, "epoch": epoch, "arrays": list(map(str, arrays)), "meta": meta}
    try:
        text = json.dumps(document, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"`meta` must be storable as JSON, got {shown(meta)}") from error
    return pack_archive(text, arrays)


def _unpack(file: io.BufferedReader) -> tuple[int, dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the content of an open .npz; raise CheckpointError if another version wrote it, else whatever the readers
    raise."""
    text, arrays = unpack_archive(file)
    document = _document(text, file.name)
    return document["epoch"], {name: arrays[name] for name in document["arrays"]}, document["meta"]


def _document(text: str, where: str) -> dict[str, Any]:
    """Return the JSON document of a checkpoint, every field of the right type."""
    document = check_instance("document", parse_json(text), dict, "a JSON object")
    if (version := document.get("format")) != _FORMAT or isinstance(version, bool):
        raise CheckpointError(
            f"the checkpoint {where} has format version {shown(version)}, this program reads version "
            f"{_FORMAT}: use the program that wrote it"
        )
    check_integer("epoch", document.get("epoch"), minimum=0, maximum=_LAST_EPOCH)
    check_instance("meta", document.get("meta"), dict, "a JSON object")
    for name in check_instance("arrays", document.get("arrays"), list, "a list of names"):
        check_name("arrays", name)
    return document


def _check_name(path: Path, epoch: int) -> None:
    """Refuse a checkpoint under the name of another epoch: it would seem to be later or earlier than it is."""
    match = _NAME.fullmatch(path.name)
    if match is None or int(match[1]) == epoch:
        return
    right = path.with_name(file_name(epoch))
    remedy = "delete it" if right.exists() else f"rename it to {right.name}"
    raise CheckpointError(
        f"the checkpoint {path} has the name of another epoch: it was written after {epoch}; {remedy}"
    )


def file_name(epoch: int) -> str:
    """Return the name of the checkpoint of an epoch."""
    return f"checkpoint-{epoch:05d}.npz"


# --- the folder -------------------------------------------------------------------------------------------------------


def _checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """Return epochs and paths of the checkpoints in a folder, oldest first."""
    try:
        paths = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot list the checkpoints in {folder}: {_reason(error)}") from error
    matches = ((_NAME.fullmatch(path.name), path) for path in paths)
    found = ((int(match[1]), path) for match, path in matches if match)
    return sorted((epoch, path) for epoch, path in found if path.name == file_name(epoch))


def _check_order(folder: Path, epoch: int) -> None:
    """Refuse to write behind the newest checkpoint: it would be resumed from, or be the one to go."""
    newer = [path for other, path in _checkpoints(folder) if other > epoch]
    if newer:
        raise CheckpointError(
            f"could not write checkpoint {epoch} into {folder}, which holds the later {newer[-1].name}: "
            f"resume from that, or choose another folder for a new run"
        )


def _tidy(folder: Path) -> None:
    """Remove old checkpoints and what an interrupted write left; a file that will not go does not stop the run."""
    for _, path in _checkpoints(folder)[:-_KEEP]:
        with contextlib.suppress(OSError):
            path.unlink()
    remove_abandoned(folder, _NAME.pattern)


# --- messages ---------------------------------------------------------------------------------------------------------


def _reason(error: Exception) -> str:
    if not isinstance(error, OSError):
        return str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full"
    return error.strerror or str(error)


def _still_good(folder: Path, epoch: int) -> str:
    good = [path for other, path in _checkpoints(folder) if other < epoch]
    return f"the previous checkpoint {good[-1]} is still good" if good else "there is no earlier checkpoint"


def _remedy(path: Path) -> str:
    match = _NAME.fullmatch(path.name)
    earlier = [p for other, p in _checkpoints(path.parent) if match and other < int(match[1])]
    if earlier:
        return f"delete it to resume from the previous checkpoint {earlier[-1]}"
    return "delete it to start anew"
