"""CIFAR-10 in its binary version: batch files, or the archive that holds them."""

import gzip
import io
import tarfile
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from deepnet.data.files import DataError, Raw, check_labels, opened, read_announced, reading
from factorgraph.io.files import FileTooLargeError

ARCHIVE = "cifar-10-binary.tar.gz"
BATCHES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
PIXELS = 3 * 32 * 32
RECORDS = 10_000  # per batch file
_OTHERS = 1 << 20  # bytes of the archive besides the batches: names, a text, padding


def find(folder: Path) -> list[Path] | None:
    """Return the six batch files, in the folder or the sub-folder that the archive unpacks to, or else the archive."""
    for place in (folder / "cifar-10-batches-bin", folder):
        paths = [place / batch for batch in BATCHES]
        if all(path.is_file() for path in paths):
            return paths
    archive = folder / ARCHIVE
    return [archive] if archive.is_file() else None


def read(paths: list[Path]) -> Raw:
    if len(paths) == 1:
        contents = _read_archive(paths[0])
    else:
        contents = {str(path): _read_batch(path) for path in paths}
    parts = [_cifar_records(data, where) for where, data in contents.items()]
    train = np.concatenate(parts[:-1])
    return Raw(train[:, 1:], train[:, 0], parts[-1][:, 1:], parts[-1][:, 0])


def _read_batch(path: Path) -> bytes:
    with reading(path), opened(path) as stream:
        return read_announced(stream, RECORDS * (1 + PIXELS), path)


def _read_archive(path: Path) -> dict[str, bytes]:
    """Return the contents of the batch files in the archive, in the order of `BATCHES`; nothing is unpacked to disk."""
    found: dict[str, bytes] = {}
    size = RECORDS * (1 + PIXELS)
    with reading(path), gzip.open(path) as unpacked:
        stream = _Bounded(cast(IO[bytes], unpacked), len(BATCHES) * size + _OTHERS)
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                name = Path(member.name).name
                if name in BATCHES and (content := archive.extractfile(member)) is not None:
                    found[name] = read_announced(content, size, f"{path}, member {name}")
        while stream.read(1 << 20):  # to the very end, where the CRC is
            pass
    if missing := [batch for batch in BATCHES if batch not in found]:
        raise DataError(f"{path} must contain {', '.join(BATCHES)}, and lacks {', '.join(missing)}")
    return {f"{path}, member {batch}": found[batch] for batch in BATCHES}


class _Bounded(io.RawIOBase):
    """A stream that is an error as soon as it has more bytes than it may."""

    def __init__(self, stream: IO[bytes], maximum: int) -> None:
        self._stream, self._maximum, self._left = stream, maximum, maximum

    def read(self, size: int = -1) -> bytes:
        """Not more than is left, and one byte to see that it is too much."""
        data = self._stream.read(self._left + 1 if size < 0 else min(size, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise FileTooLargeError(f"it unpacks to more than {self._maximum} bytes")
        return data


def _cifar_records(data: bytes, where: str) -> NDArray[np.uint8]:
    """Return (records, 1 + 3072) bytes: label, then pixels."""
    records = np.frombuffer(data, np.uint8).reshape(-1, 1 + PIXELS)
    check_labels(records[:, 0], where)
    return records
