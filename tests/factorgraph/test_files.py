"""Files on the disk: replaced in one step, by nobody but us, with the permissions and links that users expect."""

import errno
import io
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from factorgraph.io import files
from factorgraph.io.files import parse_json, read_at_most, read_bytes, remove_abandoned, write_bytes_atomic

POSIX = pytest.mark.skipif(os.name != "posix", reason="permissions and links of POSIX")
ROOT = Path(__file__).resolve().parents[2]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- temporary files --------------------------------------------------------------------------------------------------


@POSIX
def test_no_planted_link_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if somebody foresees the name: the link is an error, and what it leads to is untouched."""
    monkeypatch.setattr(files.secrets, "token_hex", lambda _: "0")
    foreign = tmp_path / "foreign"
    foreign.write_bytes(b"not yours")
    (tmp_path / ".a.npz.0.tmp").symlink_to(foreign)
    with pytest.raises(FileExistsError, match=r"a\.npz"):
        write_bytes_atomic(tmp_path / "a.npz", b"content")
    assert foreign.read_bytes() == b"not yours" and names(tmp_path) == [".a.npz.0.tmp", "foreign"]


def test_names_cannot_be_foreseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used, replace = [], os.replace

    def spy(source: Path, target: Path) -> None:
        used.append(source.name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", spy)
    for _ in range(100):
        write_bytes_atomic(tmp_path / "a", b"")
    assert len(set(used)) == 100


def test_threads_that_write_to_one_path(tmp_path: Path) -> None:
    """Every write succeeds, and every reader finds one of the contents, whole."""
    path, failures = tmp_path / "model", []
    contents = {bytes([number]) * 50_000 for number in range(4)}

    def write(content: bytes) -> None:
        try:
            for _ in range(40):
                write_bytes_atomic(path, content)
                assert path.read_bytes() in contents
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and names(tmp_path) == ["model"]


@POSIX
def test_what_killed_writers_left_is_removed_and_what_others_write_is_not(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from pathlib import Path
from factorgraph.io import files
def replace(*_):
    print("written", flush=True)
    sys.stdin.readline()
files.os.replace = replace
files.write_bytes_atomic(Path(sys.argv[1]), b"x" * 1000)
"""
    path = tmp_path / "a[1].npz"  # a name that is a pattern, too
    foreign = [".a[1].npz.tmp", ".b.npz.00ff.tmp", ".a1.npz.00ff.tmp", "a[1].npz.00ff.tmp", ".a[1].npz.00ff.tmp.bak"]
    for name in foreign:
        (tmp_path / name).touch()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    writer = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    assert writer.stdin is not None and writer.stdout is not None
    writer.stdout.readline()
    write_bytes_atomic(path, b"ours")
    temporary = [name for name in names(tmp_path) if name not in foreign and name != path.name]
    assert len(temporary) == 1, "the file of a living writer must stay"
    writer.kill()
    writer.wait(60)
    writer.stdin.close()
    writer.stdout.close()
    (tmp_path / ".a[1].npz.01.tmp").symlink_to(path)  # no file: of somebody else
    write_bytes_atomic(path, b"ours again")
    assert names(tmp_path) == sorted([*foreign, ".a[1].npz.01.tmp", path.name])
    assert path.read_bytes() == b"ours again"


@POSIX
def test_without_locks_only_old_files_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_lock", lambda _: False)
    for name, age in ((".a.01.tmp", 0.0), (".a.02.tmp", 7200.0)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    write_bytes_atomic(tmp_path / "a", b"")
    assert names(tmp_path) == [".a.01.tmp", "a"]
    remove_abandoned(tmp_path / "nowhere", "a")


@POSIX
def test_a_file_that_is_removed_before_it_is_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, calls = files._lock, []

    def slow(descriptor: int) -> bool | None:
        calls.append(descriptor)
        if len(calls) == 1:
            for path in tmp_path.glob(".*.tmp"):
                path.unlink()
        return lock(descriptor)

    monkeypatch.setattr(files, "_lock", slow)
    write_bytes_atomic(tmp_path / "a", b"content")
    assert (tmp_path / "a").read_bytes() == b"content" and names(tmp_path) == ["a"] and len(calls) == 2


# --- permissions and links --------------------------------------------------------------------------------------------


@POSIX
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_permissions_of_the_mask(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        write_bytes_atomic(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert mode(tmp_path / "a") == 0o666 & ~mask


@POSIX
@pytest.mark.parametrize("permissions", [0o600, 0o640, 0o666, 0o755])
def test_a_file_keeps_its_permissions(permissions: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.touch()
    path.chmod(permissions)
    widest, fsync = [], os.fsync

    def spy(descriptor: int) -> None:
        widest.extend(mode(each) for each in tmp_path.glob(".*.tmp"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    write_bytes_atomic(path, b"new")
    assert mode(path) == permissions and path.read_bytes() == b"new"
    assert widest == [permissions], "nobody else may read it meanwhile"


@POSIX
def test_a_file_that_may_not_be_written_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o444)
    monkeypatch.setattr(os, "access", lambda *_: False)  # the superuser may do anything
    with pytest.raises(PermissionError, match="/a"):
        write_bytes_atomic(path, b"new")
    assert path.read_bytes() == b"old" and names(tmp_path) == ["a"]


@POSIX
def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "here").mkdir()
    target, link, second = tmp_path / "there" / "model", tmp_path / "here" / "link", tmp_path / "here" / "second"
    link.symlink_to("../there/model")
    second.symlink_to("link")
    for content in (b"new", b"newer"):  # there is no file at first
        write_bytes_atomic(second, content)
        assert link.is_symlink() and second.is_symlink() and not target.is_symlink()
        assert target.read_bytes() == content
    assert names(tmp_path / "here") == ["link", "second"] and names(tmp_path / "there") == ["model"]


@POSIX
def test_a_device_is_written_to_and_stays(tmp_path: Path) -> None:
    write_bytes_atomic(Path(os.devnull), b"content")
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
    if Path("/dev/full").exists():
        with pytest.raises(OSError) as caught:
            write_bytes_atomic(Path("/dev/full"), b"content")
        assert caught.value.errno == errno.ENOSPC
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    received: list[bytes] = []
    reader.start()
    write_bytes_atomic(pipe, b"content")
    reader.join()
    assert received == [b"content"] and stat.S_ISFIFO(pipe.stat().st_mode)


@POSIX
def test_paths_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    for path in ("", ".", "no/a", "file/a", "loop", "a" * 300, "a\0b", "\ud800"):
        with pytest.raises(OSError) as caught:
            write_bytes_atomic(tmp_path / path, b"content")
        assert ".tmp" not in str(caught.value)
    assert names(tmp_path) == ["file", "loop"] and (tmp_path / "file").read_bytes() == b""


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127, "." + "x" * 250])
def test_a_name_may_be_as_long_as_the_system_lets(name: str, tmp_path: Path) -> None:
    write_bytes_atomic(tmp_path / name, b"content")
    assert names(tmp_path) == [name]


# --- reading ----------------------------------------------------------------------------------------------------------


class Endless(io.RawIOBase):
    """A stream that does not end, as one that unpacks may not."""

    given = 0

    def read(self, size: int = -1) -> bytes:
        assert 0 < size <= 1 << 20
        self.given += size
        return bytes(size)


@pytest.mark.parametrize("maximum", [0, 1, 1000, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_000_000])
def test_no_more_is_read_than_is_allowed(maximum: int, tmp_path: Path) -> None:
    stream = Endless()
    with pytest.raises(OSError, match=f"more than {maximum} bytes"):
        read_at_most(stream, maximum)  # pyright: ignore[reportArgumentType]
    assert stream.given == maximum + 1, "one byte too many is enough"
    path = tmp_path / "a"
    path.write_bytes(bytes(maximum))
    assert read_bytes(path, maximum) == bytes(maximum)
    path.write_bytes(bytes(maximum + 1))
    with pytest.raises(OSError, match=f"more than {maximum} bytes"):
        read_bytes(path, maximum)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("1" * 5000, "digits"),
        ("1e400", "numbers must be finite, got 1e400"),
        ("[NaN]", "numbers must be finite, got NaN"),
        ('{"a": -Infinity}', "numbers must be finite, got -Infinity"),
        ('{"a": 1, "a": 2}', "names must occur once, got 'a' twice"),
        (b"\xff", "decode"),
        ("\ufeff1", "BOM"),
    ],
)
def test_what_is_no_json(text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_json(text)


@given(st.binary(max_size=40) | st.text(max_size=40))
def test_json_of_any_bytes(text: str | bytes) -> None:
    try:
        parse_json(text)
    except ValueError:
        pass


def test_json() -> None:
    assert parse_json(b'{"a": [1, 2.5, null, "\xc3\xa9", 1e308]}') == {"a": [1, 2.5, None, "é", 1e308]}
