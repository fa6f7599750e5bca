"""Folders that take their place when they are whole: wherever the clean-up breaks off, the next start begins anew."""

import contextlib
import errno
import os
import stat
from pathlib import Path

import pytest

from fastwsol.host.errors import UserError
from fastwsol.host.files import folder_when_whole, refuse_in_the_way, write_json

FILES = 5


def fill(target: Path, stops: bool) -> None:
    with folder_when_whole(target) as new:
        for k in range(FILES):
            (new / f"{k}.png").touch()
        if stops:
            raise KeyboardInterrupt


@pytest.mark.parametrize("place", range(FILES + 1))
def test_a_clean_up_that_is_interrupted_locks_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    removed = 0
    unlink = Path.unlink

    def breaks_off(self: Path, missing_ok: bool = False) -> None:
        nonlocal removed
        if removed == place:
            raise KeyboardInterrupt
        removed += 1
        unlink(self, missing_ok)

    target = tmp_path / "pictures"
    monkeypatch.setattr(Path, "unlink", breaks_off)
    with pytest.raises(KeyboardInterrupt):
        fill(target, stops=True)
    monkeypatch.undo()
    assert (tmp_path / "pictures.partial").exists()
    fill(target, stops=False)
    assert sorted(path.name for path in target.iterdir()) == [f"{k}.png" for k in range(FILES)]
    assert not (tmp_path / "pictures.partial").exists()


def test_what_lies_in_the_way_is_told_before_the_work(tmp_path: Path) -> None:
    partial = tmp_path / "maps.partial"
    partial.mkdir()
    refuse_in_the_way(tmp_path / "maps")  # an empty one is nobody's
    (partial / "mine.txt").touch()
    with pytest.raises(UserError, match=r"maps.partial: is in the way of what is written before it becomes"):
        refuse_in_the_way(tmp_path / "maps")


@pytest.mark.parametrize(("number", "is_ignored"), [(errno.EINVAL, True), (errno.ENOTSUP, True), (errno.EIO, False)])
def test_a_file_system_that_cannot_write_a_folder_out_is_good_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, is_ignored: bool
) -> None:
    fsync = os.fsync

    def only_files(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, "as some file systems say")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", only_files)
    with contextlib.nullcontext() if is_ignored else pytest.raises(OSError, match="as some file systems say"):
        write_json(tmp_path / "numbers.json", {})
