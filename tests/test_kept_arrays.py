"""Arrays that are built once: whose leftovers go, and how much room is taken."""

import errno
import fcntl
import os
import platform
from pathlib import Path

import numpy as np
import pytest

from fastwsol.host.kept_arrays import ComputedOnce, array_when_whole


def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)


@pytest.mark.parametrize("name", ["file.npy", "file[1].npy"])
def test_without_locks_only_what_a_process_of_this_machine_left_goes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_locks(monkeypatch)
    here = platform.node()
    numbers = {f"{here}-{os.getppid()}": True, f"{here}-{10**30}": False, f"{here}-x": True, "3f2a9c11d0b7-1": True}
    files = {f"{name}.{each}.partial": stays for each, stays in numbers.items()}
    for each in files:
        (tmp_path / each).write_bytes(b"half")
    with array_when_whole(tmp_path / name, (10,)):
        pass
    stay = [each for each, stays in files.items() if stays]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, *stay])


def test_what_another_users_process_builds_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_ours(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    without_locks(monkeypatch)
    monkeypatch.setattr(os, "kill", not_ours)
    built = tmp_path / f"file.npy.{platform.node()}-7.partial"
    built.write_bytes(b"half")
    with array_when_whole(tmp_path / "file.npy", (10,)):
        pass
    assert built.exists()


def test_all_of_a_files_room_is_taken_before_it_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its head too: a mapped page without room kills the process."""
    taken = []
    take = os.posix_fallocate
    monkeypatch.setattr(os, "posix_fallocate", lambda *of: (taken.append(of[1:]), take(*of)))
    with array_when_whole(tmp_path / "file.npy", (1000,), np.float32):
        pass
    assert taken == [(0, (tmp_path / "file.npy").stat().st_size)]
    array = ComputedOnce(tmp_path, "file", {}, (), (), (1000,), np.float32)
    assert array.nbytes == np.load(array.path).nbytes == 4000


def test_of_another_versions_array_that_stays_one_process_of_a_machine_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def of(*packages: str) -> ComputedOnce:
        return ComputedOnce(tmp_path, "file", {"of": 1}, (), packages, (3,))

    def never(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", str(path))

    found: list[str] = []
    of("numpy").open(lambda values: values.fill(1), found.append)
    monkeypatch.setattr(Path, "unlink", never)
    for verify, times in ((False, 0), (True, 1)):
        of("torch").open(lambda values: values.fill(2), found.append, verify)
        assert capsys.readouterr().err.count("it is used as it is") == times
    assert found == ["missing", "kept", "kept"]


def test_an_array_of_something_else_is_not_there(tmp_path: Path) -> None:
    one, other = (ComputedOnce(tmp_path, "file", {"of": number}, (), (), (3,)) for number in (1, 2))
    assert not one.is_there()
    one.open(lambda values: values.fill(1), lambda _: None)
    assert (one.is_there(), other.is_there()) == (True, False)
