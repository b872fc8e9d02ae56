"""Arrays and one JSON document in an uncompressed .npz file: no pickle on either way, every checksum verified."""

import io
import math
import zipfile
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_DOCUMENT = "document"
_PREFIX = "array/"  # keeps the caller's names apart from ours and from the parameters of np.savez


def pack_archive(document: str, arrays: Mapping[str, ArrayLike]) -> memoryview:
    """Return the bytes of the file, made in memory: what cannot be stored is found out before any file is touched.

    Args:
        document: a text, usually JSON.
        arrays: real, complex, integer or boolean arrays of any shape, by name.

    Raises:
        ValueError: an array that cannot be stored.
    """
    content: dict[str, Any] = {f"{_PREFIX}{name}": _check_array(name, value) for name, value in arrays.items()}
    content[_DOCUMENT] = np.array(document)
    buffer = io.BytesIO()
    np.savez(buffer, **content)
    return buffer.getbuffer()


def unpack_archive(file: IO[bytes]) -> tuple[str, dict[str, NDArray[Any]]]:
    """Return document and arrays of an open file; raise ``ValueError`` if it was not written by ``pack_archive``.

    Damaged bytes make the zip and NumPy readers raise nearly anything else.
    """
    with zipfile.ZipFile(file) as archive:
        if damaged := archive.testzip():  # np.load stops reading where an array ends, which may be before the CRC
            raise ValueError(f"the checksum of {damaged} is wrong")
        if f"{_DOCUMENT}.npy" not in archive.namelist():
            raise ValueError("it was not written by this program")
        for member in archive.infolist():
            _check_size(archive, member)
    file.seek(0)
    with np.load(file, allow_pickle=False) as content:
        document = str(content[_DOCUMENT])
        names = [name for name in content.files if name.startswith(_PREFIX)]
        arrays = {name.removeprefix(_PREFIX): content[name] for name in names}
    for name, array in arrays.items():
        if array.dtype.kind not in "biufc":
            raise ValueError(f"`{name}` must be numeric or boolean, got dtype {array.dtype}")
    return document, arrays


def _check_array(name: str, value: ArrayLike) -> NDArray[Any]:
    if not isinstance(name, str) or not name:
        raise ValueError(f"`arrays` must have non-empty strings as names, got {name!r}")
    if np.ma.is_masked(value):
        raise ValueError(f"`arrays[{name!r}]` must have no masked elements, got {np.ma.count_masked(value)} of them")
    array = np.asarray(value)
    if array.dtype.kind not in "biufc":
        raise ValueError(f"`arrays[{name!r}]` must be numeric or boolean, got dtype {array.dtype}")
    return array


def _check_size(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Raise ``ValueError`` unless a member is as large as its header claims, before anybody makes room for it."""
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{member.filename} is compressed, which this program does not do")
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in readers:
            raise ValueError(f"{member.filename} has a header of version {version}")
        shape, _, dtype = readers[version](stream)
        claimed, found = math.prod(shape) * dtype.itemsize, member.file_size - stream.tell()
    if not dtype.hasobject and (claimed != found or min(shape, default=0) < 0):
        raise ValueError(f"{member.filename} must have {claimed} bytes of data as its header says, got {found}")
