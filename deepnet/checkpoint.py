"""State of a run on disk: checkpoints and small text files, written atomically.

A checkpoint is one uncompressed .npz file: the arrays, and a JSON document with the format version, the epoch, the
names of the arrays and the caller's own metadata. It is written to a temporary file in the same folder, flushed to the
disk and only then renamed, so that a crash or a full disk at any moment leaves the previous checkpoint as it was.
"""

import contextlib
import errno
import io
import json
import operator
import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from factorgraph.files import remove_abandoned, write_bytes_atomic

_FORMAT = 1
_KEEP = 2
_NAME = re.compile(r"checkpoint-(\d{5,})\.npz")
_DOCUMENT = "document"
_PREFIX = "array/"  # keeps the caller's names apart from ours and from the parameters of np.savez


class CheckpointError(Exception):
    """A checkpoint could not be written or read; the message says why and what to do."""


def save_checkpoint(
    directory: str | os.PathLike[str], epoch: int, arrays: Mapping[str, ArrayLike], meta: dict[str, Any]
) -> Path:
    """Write ``checkpoint-<epoch>.npz`` and remove all but the newest two.

    Args:
        directory: folder for the checkpoints of one run; made if need be.
        epoch: number of finished epochs, at least that of the newest checkpoint in the folder.
        arrays: real, complex, integer or boolean arrays of any shape; they come back bit for bit. Scalars come back as
            arrays of shape ().
        meta: whatever JSON can hold (so tuples come back as lists, and keys as strings).

    Returns:
        Path of the new checkpoint.

    Raises:
        ValueError: an argument that cannot be stored.
        CheckpointError: the disk is full or refuses; the previous checkpoint is untouched and named in the message.
    """
    folder = Path(directory)
    epoch = _check_epoch(epoch)
    data = _pack(epoch, arrays, meta)
    path = folder / f"checkpoint-{epoch:05d}.npz"
    _check_order(folder, epoch)
    try:
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
    path = Path(path)
    try:
        file = path.open("rb")
    except OSError as error:
        raise CheckpointError(f"cannot open the checkpoint {path}: {_reason(error)}") from error
    with file:
        try:
            return _unpack(file)
        except CheckpointError:
            raise
        except Exception as error:  # damaged bytes make the zip, NumPy and JSON readers raise nearly anything
            reason = str(error) or type(error).__name__
            raise CheckpointError(f"cannot read the checkpoint {path}: {reason}; {_remedy(path)}") from error


def latest_checkpoint(directory: str | os.PathLike[str]) -> Path | None:
    """Path of the checkpoint with the highest epoch in a folder; None if there is none, or no such folder."""
    checkpoints = _checkpoints(Path(directory))
    return checkpoints[-1][1] if checkpoints else None


def write_text_atomic(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file (UTF-8) so that a reader finds the old content or the new, never a part.

    Raises:
        CheckpointError: the disk is full or refuses; the old content is untouched.
    """
    path = Path(path)
    try:
        write_bytes_atomic(path, text.encode())
    except OSError as error:
        raise CheckpointError(f"could not write {path}: {_reason(error)}; its old content, if any, is kept") from error


# --- the content of a checkpoint --------------------------------------------------------------------------------------


def _check_epoch(epoch: int) -> int:
    try:
        number = operator.index(epoch)
    except TypeError:
        number = -1
    if number < 0:
        raise ValueError(f"`epoch` must be a non-negative integer, got {epoch!r}")
    return number


def _check_array(name: str, value: ArrayLike) -> NDArray[Any]:
    if not isinstance(name, str) or not name:
        raise ValueError(f"`arrays` must have non-empty strings as names, got {name!r}")
    array = np.asarray(value)
    if array.dtype.kind not in "biufc":
        raise ValueError(f"`arrays[{name!r}]` must be numeric or boolean, got dtype {array.dtype}")
    return array


def _pack(epoch: int, arrays: Mapping[str, ArrayLike], meta: dict[str, Any]) -> memoryview:
    """Bytes of the .npz, made in memory: what cannot be stored is found out before any file is touched."""
    content: dict[str, Any] = {f"{_PREFIX}{name}": _check_array(name, value) for name, value in arrays.items()}
    document = {"format": _FORMAT, "epoch": epoch, "arrays": list(arrays), "meta": meta}
    try:
        content[_DOCUMENT] = np.array(json.dumps(document))
    except (TypeError, ValueError) as error:
        raise ValueError(f"`meta` must be storable as JSON, got {meta!r}") from error
    buffer = io.BytesIO()
    np.savez(buffer, **content)
    return buffer.getbuffer()


def _unpack(file: io.BufferedReader) -> tuple[int, dict[str, NDArray[Any]], dict[str, Any]]:
    """Content of an open .npz; raises CheckpointError if another version wrote it, else whatever the readers raise."""
    with zipfile.ZipFile(file) as archive:
        if damaged := archive.testzip():  # np.load stops reading where an array ends, which may be before the CRC
            raise ValueError(f"the checksum of {damaged} is wrong")
        if f"{_DOCUMENT}.npy" not in archive.namelist():
            raise ValueError("it was not written by this program")
    file.seek(0)
    with np.load(file, allow_pickle=False) as content:
        document = json.loads(str(content[_DOCUMENT]))
        if document["format"] != _FORMAT:
            raise CheckpointError(
                f"the checkpoint {file.name} has format version {document['format']}, this program reads version "
                f"{_FORMAT}: use the program that wrote it"
            )
        arrays = {name: content[_PREFIX + name] for name in document["arrays"]}
    return document["epoch"], arrays, document["meta"]


# --- the folder -------------------------------------------------------------------------------------------------------


def _checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """Epochs and paths of the checkpoints in a folder, oldest first."""
    try:
        paths = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise CheckpointError(f"cannot list the checkpoints in {folder}: {_reason(error)}") from error
    matches = ((_NAME.fullmatch(path.name), path) for path in paths)
    return sorted((int(match[1]), path) for match, path in matches if match)


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


def _reason(error: OSError) -> str:
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
