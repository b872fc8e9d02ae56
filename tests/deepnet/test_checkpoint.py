"""Checkpoints: bit-exact round trips, and nothing lost when the disk is full or the bytes are damaged."""

import builtins
import errno
import json
import os
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from deepnet.app.checkpoint import (
    CheckpointError,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
    write_text_atomic,
)
from factorgraph.io import files

ARRAYS = {"layer.0/H": np.arange(6.0).reshape(2, 3), "file": np.arange(3, dtype=np.int32), "allow_pickle": np.True_}
META = {"seed": 2**100, "nested": {"list": [1, 2.5, None, "ρ"]}}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_same(loaded: np.ndarray, saved: Any) -> None:
    saved = np.asarray(saved)
    assert loaded.dtype == saved.dtype and loaded.shape == saved.shape
    assert loaded.tobytes() == saved.tobytes()


def assert_holds(path: Path, epoch: int, arrays: dict[str, Any] = ARRAYS, meta: dict[str, Any] = META) -> None:
    loaded_epoch, loaded, loaded_meta = load_checkpoint(path)
    assert (loaded_epoch, loaded_meta) == (epoch, meta)
    assert list(loaded) == list(arrays)
    for name, array in arrays.items():
        assert_same(loaded[name], array)


# --- round trip -------------------------------------------------------------------------------------------------------


def test_round_trip_of_names_values_and_metadata(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "run" / "a", 7, ARRAYS, META)
    assert path == tmp_path / "run" / "a" / "checkpoint-00007.npz"
    assert_holds(path, 7)
    assert_holds(save_checkpoint(tmp_path, 0, {}, {}), 0, {}, {})


@given(
    array=st.sampled_from([np.float32, np.float64, np.int8, np.uint16, np.int64, np.bool_, np.complex64]).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    ),
    fortran=st.booleans(),
)
def test_arrays_come_back_bit_for_bit(
    array: np.ndarray, fortran: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    array = np.asfortranarray(array) if fortran and array.ndim else array
    path = save_checkpoint(tmp_path_factory.mktemp("run"), 1, {"x": array}, {})
    assert_same(load_checkpoint(path)[1]["x"], array)


def test_special_bit_patterns_and_scalars_come_back(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {
        "bits": np.array([0x7FF0000000000001, 0xFFF8000000000123, 1 << 63, 1], np.uint64).view(np.float64),
        "strided": np.arange(20.0)[::3],
        "big endian": np.arange(3, dtype=">f4"),
        "float32": np.float32(0.1),
        "float": 0.1,
        "int": -(2**62),
        "bool": True,
    }
    assert_holds(save_checkpoint(tmp_path, 1, arrays, {"x": 0.1 + 0.2}), 1, arrays, {"x": 0.1 + 0.2})


# --- the folder -------------------------------------------------------------------------------------------------------


def test_the_newest_two_are_kept_by_number(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    (tmp_path / ".checkpoint-00003.npz.123.tmp").write_bytes(b"left by a killed run")
    (tmp_path / "checkpoint-00001.npz.bak").touch()
    for epoch in (1, 2, 99_999, 100_000):
        save_checkpoint(tmp_path, epoch, ARRAYS, META)
    kept = ["checkpoint-100000.npz", "checkpoint-99999.npz"]
    assert names(tmp_path) == ["checkpoint-00001.npz.bak", *kept, "config.json"]
    assert latest_checkpoint(tmp_path) == tmp_path / "checkpoint-100000.npz"


def test_an_epoch_can_be_written_again_but_not_behind_a_later_one(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 5, ARRAYS, META)
    save_checkpoint(tmp_path, 5, {"x": np.ones(2)}, {})
    with pytest.raises(CheckpointError, match=r"holds the later checkpoint-00005\.npz: resume from that, or choose"):
        save_checkpoint(tmp_path, 4, ARRAYS, META)
    assert names(tmp_path) == ["checkpoint-00005.npz"]
    assert_holds(tmp_path / "checkpoint-00005.npz", 5, {"x": np.ones(2)}, {})


def test_latest_of_nothing_is_none(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "nowhere") is None
    (tmp_path / "checkpoint-1.npz").touch()
    assert latest_checkpoint(tmp_path) is None


def test_an_old_file_that_cannot_be_removed_does_not_stop_the_run(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-00001.npz").mkdir()
    save_checkpoint(tmp_path, 2, ARRAYS, META)
    assert_holds(save_checkpoint(tmp_path, 3, ARRAYS, META), 3)


@pytest.mark.parametrize(
    ("epoch", "arrays", "meta", "message"),
    [
        (-1, {}, {}, "`epoch` must be a non-negative integer, got -1"),
        (1.0, {}, {}, "`epoch` must be a non-negative integer, got 1.0"),
        (1, {"x": np.array([None])}, {}, r"`arrays\['x'\]` must be numeric or boolean, got dtype object"),
        (1, {"": np.ones(1)}, {}, "`arrays` must have non-empty strings as names, got ''"),
        (1, {}, {"x": np.ones(1)}, "`meta` must be storable as JSON, got"),
    ],
)
def test_wrong_arguments_are_refused_before_the_disk_is_touched(
    epoch: Any, arrays: dict[str, Any], meta: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        save_checkpoint(tmp_path / "run", epoch, arrays, meta)
    assert names(tmp_path) == []


# --- a full disk ------------------------------------------------------------------------------------------------------


class FullFile:
    """A file that takes only so many bytes."""

    def __init__(self, file: Any, room: int) -> None:
        self.file, self.room = file, room

    def write(self, content: bytes) -> int:
        self.file.write(content[: self.room])
        if len(content) > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return len(content)

    def __enter__(self) -> "FullFile":
        return self

    def __exit__(self, *args: object) -> None:
        self.file.close()


def fill_disk(monkeypatch: pytest.MonkeyPatch, where: str, code: int = errno.ENOSPC) -> None:
    """Make the step `where` of an atomic write fail."""

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError(code, os.strerror(code))

    if where == "write":
        opener = lambda path, mode: FullFile(builtins.open(path, mode), room=100)  # noqa: E731
        monkeypatch.setattr(files, "open", opener, raising=False)
    elif where == "open":
        monkeypatch.setattr(files, "open", fail, raising=False)
    else:
        monkeypatch.setattr(os, where, fail)


@pytest.mark.parametrize("where", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_the_previous_checkpoint(
    where: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for epoch in (1, 2):
        save_checkpoint(tmp_path, epoch, ARRAYS, META)
    with monkeypatch.context() as patch:
        fill_disk(patch, where, code)
        with pytest.raises(CheckpointError) as caught:
            save_checkpoint(tmp_path, 3, ARRAYS, META)
    previous = tmp_path / "checkpoint-00002.npz"
    for part in ("checkpoint-00003.npz", "the disk is full", f"the previous checkpoint {previous} is still good"):
        assert part in str(caught.value)
    assert names(tmp_path) == ["checkpoint-00001.npz", "checkpoint-00002.npz"]
    assert latest_checkpoint(tmp_path) == previous
    assert_holds(previous, 2)
    assert_holds(save_checkpoint(tmp_path, 3, ARRAYS, META), 3)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device /dev/full")
def test_a_really_full_disk(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-00001.npz").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match="the disk is full; there is no earlier checkpoint"):
        save_checkpoint(tmp_path, 1, ARRAYS, META)
    assert names(tmp_path) == ["checkpoint-00001.npz"]
    assert Path("/dev/full").exists()


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
def test_a_link_planted_for_the_temporary_file_is_not_followed(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.write_bytes(b"not yours")
    (tmp_path / f".checkpoint-00001.npz.{os.getpid()}.tmp").symlink_to(foreign)
    assert_holds(save_checkpoint(tmp_path, 1, ARRAYS, META), 1)
    assert foreign.read_bytes() == b"not yours"


def test_a_full_disk_when_the_folder_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_disk(monkeypatch, "mkdir")
    with pytest.raises(CheckpointError, match="the disk is full; there is no earlier checkpoint"):
        save_checkpoint(tmp_path / "run", 1, ARRAYS, META)


def test_other_refusals_give_their_own_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_disk(monkeypatch, "replace", errno.EROFS)
    with pytest.raises(CheckpointError, match=os.strerror(errno.EROFS)):
        save_checkpoint(tmp_path, 1, ARRAYS, META)
    assert names(tmp_path) == []


def test_an_interrupt_removes_the_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, 1, ARRAYS, META)
    assert names(tmp_path) == []


def test_the_content_is_on_the_disk_before_the_rename_and_the_rename_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order that a power cut demands: sync the file, rename, sync the folder, and only then remove."""
    save_checkpoint(tmp_path, 1, ARRAYS, META)
    save_checkpoint(tmp_path, 2, ARRAYS, META)
    steps: list[str] = []
    fsync, replace, unlink = os.fsync, os.replace, Path.unlink

    def spy_fsync(descriptor: int) -> None:
        steps.append("sync folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "sync file")
        fsync(descriptor)

    def spy_replace(source: Path, target: Path) -> None:
        steps.append("rename")
        assert source.parent == target.parent == tmp_path
        replace(source, target)

    def spy_unlink(path: Path, missing_ok: bool = False) -> None:
        steps.append("remove")
        unlink(path, missing_ok)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_replace)
    monkeypatch.setattr(Path, "unlink", spy_unlink)
    save_checkpoint(tmp_path, 3, ARRAYS, META)
    assert steps == ["sync file", "rename", "sync folder", "remove"]


# --- damaged files ----------------------------------------------------------------------------------------------------


def test_damage_anywhere_is_noticed_or_harmless(tmp_path: Path) -> None:
    """Every byte is flipped in turn: an error, or (a time stamp, say) the same content. Never other content."""
    path = save_checkpoint(tmp_path, 1, {"x": np.arange(4.0)}, {"seed": 3})
    good = path.read_bytes()
    noticed = 0
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :])
        try:
            assert_holds(path, 1, {"x": np.arange(4.0)}, {"seed": 3})
        except CheckpointError as error:
            assert str(path) in str(error)
            noticed += 1
    assert noticed > 0.8 * len(good)


def test_truncation_anywhere_is_noticed(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 1, ARRAYS, META)
    good = path.read_bytes()
    for length in range(0, len(good), 7):
        path.write_bytes(good[:length])
        with pytest.raises(CheckpointError, match="checkpoint-00001"):
            load_checkpoint(path)


def test_a_flipped_data_byte_behind_the_end_of_an_array_is_noticed(tmp_path: Path) -> None:
    """The checksum of a whole member is verified, also where np.load would stop before its end."""
    path = save_checkpoint(tmp_path, 1, {"x": np.arange(2000.0)}, {})
    content = path.read_bytes()
    assert content.count(b"(2000,)") == 1
    path.write_bytes(content.replace(b"(2000,)", b"(1000,)"))
    with np.load(path) as plain:
        assert plain["array/x"].shape == (1000,)  # what would have been read
    with pytest.raises(CheckpointError, match=r"checksum of array/x\.npy is wrong"):
        load_checkpoint(path)


def test_the_remedy_names_the_previous_checkpoint_or_a_new_start(tmp_path: Path) -> None:
    for epoch in (3, 4):
        save_checkpoint(tmp_path, epoch, ARRAYS, META)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-30])
    previous = tmp_path / "checkpoint-00003.npz"
    with pytest.raises(CheckpointError, match=f"delete it to resume from the previous checkpoint {previous}$"):
        load_checkpoint(tmp_path / "checkpoint-00004.npz")
    with pytest.raises(CheckpointError, match=r"delete it to start anew$"):
        load_checkpoint(previous)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint-00001.npz"
    path.write_text("not a zip file at all")
    with pytest.raises(CheckpointError, match=f"cannot read the checkpoint {path}"):
        load_checkpoint(path)
    np.savez(path, x=np.ones(2))
    with pytest.raises(CheckpointError, match=f"cannot read the checkpoint {path}: it was not written by this program"):
        load_checkpoint(path)
    np.savez(path, document=np.array([{"format": 1}], dtype=object))
    with pytest.raises(CheckpointError, match="allow_pickle"):
        load_checkpoint(path)


def test_another_format_version_is_refused_without_advice_to_delete(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint-00001.npz"
    np.savez(path, document=np.array(json.dumps({"format": 2})))
    with pytest.raises(CheckpointError, match="has format version 2, this program reads version 1") as caught:
        load_checkpoint(path)
    assert "delete" not in str(caught.value) and str(path) in str(caught.value)


def test_a_checkpoint_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.npz", tmp_path):
        with pytest.raises(CheckpointError, match=f"cannot open the checkpoint {path}: "):
            load_checkpoint(path)


# --- text files -------------------------------------------------------------------------------------------------------


def test_text_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.json"
    write_text_atomic(path, '{"ρ": 1}\n')
    assert path.read_bytes() == '{"ρ": 1}\n'.encode()
    fill_disk(monkeypatch, "write")
    with pytest.raises(CheckpointError, match=f"could not write {path}: the disk is full"):
        write_text_atomic(path, "x" * 1000)
    assert path.read_bytes() == '{"ρ": 1}\n'.encode()
    assert names(tmp_path) == ["config.json"]
