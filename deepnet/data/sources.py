"""Where the files of every data set are: in a folder of the user, of the system, or to be downloaded."""

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deepnet.data import cifar, idx
from deepnet.data.files import DataError, Raw, pooch
from factorgraph.interface.arguments import shown

_log = logging.getLogger(__name__)

_SYSTEM_FOLDER = Path("/usr/share/datasets")


@dataclass(frozen=True)
class Source:
    """Where the files of a data set come from and how they are found and read."""

    url: str  # of the folder that holds the files to download
    hashes: dict[str, str]  # file to download -> its checksum
    wanted: str  # what a folder must contain, in words
    find: Callable[[Path], list[Path] | None]  # the complete set of files in one folder, or None
    read: Callable[[list[Path]], Raw]


def locate(name: str, data_dir: str | os.PathLike[str] | None) -> list[Path]:
    """Return the files of a data set, from the first place in the order of the module's text."""
    source = SOURCES[name]
    try:
        if data_dir is not None:
            return _find_given("`data_dir`", data_dir, name, source)
        if variable := os.environ.get("CAVITY_DATA"):
            return _find_given("the environment variable CAVITY_DATA", variable, name, source)
        return source.find(_SYSTEM_FOLDER / name) or _from_cache(name, source)
    except OSError as error:  # no permission, most likely
        raise DataError(f"cannot look for the data set {name}: {error}") from error


def _find_given(what: str, folder: str | os.PathLike[str], name: str, source: Source) -> list[Path]:
    """Return the files in a folder that the user named, or in its sub-folder."""
    root = _folder(folder)
    if root is None:
        raise DataError(f"{what} must be an existing folder, got {shown(os.fspath(folder))}")
    places = [root / name]
    # MNIST and Fashion-MNIST have the same file names: a folder called after another data set is not searched itself.
    if root.resolve().name not in set(SOURCES) - {name}:
        places.append(root)
    for place in places:
        if paths := source.find(place):
            return paths
    looked = " and ".join(str(place) for place in places)
    raise DataError(f"{what} must hold the data set {name}, got {str(root)!r}: looked for {source.wanted} in {looked}")


def _folder(name: str | os.PathLike[str]) -> Path | None:
    """Return the folder of a name, the home of ``~`` or ``~user`` put in; None if there is none."""
    try:
        root = Path(name).expanduser()
        return root if os.fspath(name) and root.is_dir() else None
    except (OSError, RuntimeError):  # a name that is too long, or a user without a home
        return None


def _from_cache(name: str, source: Source) -> list[Path]:
    """Return the files in the user's cache folder, after downloading those that are not there."""
    folder = Path(pooch().os_cache("cavity"), name)
    if paths := source.find(folder):
        return paths
    for file, known_hash in source.hashes.items():
        if not (folder / file).is_file():
            _download(source, file, known_hash, folder)
    if paths := source.find(folder):
        return paths
    raise DataError(f"{folder} must hold {source.wanted} after the download, and does not")


def _download(source: Source, file: str, known_hash: str, folder: Path) -> None:
    """Download one file. pooch writes to a temporary file and moves it into place once the checksum is right."""
    url = source.url + file
    _log.info("downloading %s to %s", url, folder)
    try:
        pooch().retrieve(url, known_hash, fname=file, path=folder, progressbar=sys.stderr.isatty())
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong checksum is a ValueError
        raise DataError(
            f"could not download {url}: {error}. Put {source.wanted} into {folder}, or into a folder of your own "
            f"that `data_dir` or the environment variable CAVITY_DATA names"
        ) from error


# The checksums are those of the files at these addresses. Other copies (Debian's, for one) hold the same images but are
# compressed anew, which is why files that were not downloaded here are checked for their content only.
_MNIST_HASHES = (
    "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
)
_FASHION_HASHES = (
    "sha256:3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "sha256:a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "sha256:346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "sha256:67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
)


def _idx_source(url: str, hashes: tuple[str, ...]) -> Source:
    return Source(
        url=url,
        hashes={f"{stem}.gz": known_hash for stem, known_hash in zip(idx.STEMS, hashes, strict=True)},
        wanted=f"{', '.join(idx.STEMS)} (each plain or .gz)",
        find=idx.find,
        read=idx.read,
    )


SOURCES: dict[str, Source] = {
    "mnist": _idx_source("https://ossci-datasets.s3.amazonaws.com/mnist/", _MNIST_HASHES),
    "fashion-mnist": _idx_source("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/", _FASHION_HASHES),
    "cifar10": Source(
        url="https://www.cs.toronto.edu/~kriz/",
        hashes={cifar.ARCHIVE: "sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
        wanted=f"{cifar.ARCHIVE} or {', '.join(cifar.BATCHES)} (these also in cifar-10-batches-bin)",
        find=cifar.find,
        read=cifar.read,
    ),
}
