"""Large files beside the shards are checked part by part, on several threads, and every byte of them counts."""

import errno
import fcntl
import hashlib
import json
import platform
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastwsol.host import files, kept_files
from fastwsol.host.files import sole_worker
from fastwsol.host.kept_arrays import array_when_whole
from fastwsol.host.kept_files import contents_of, is_as_written, locked
from fastwsol.host.stop_signals import never

SIZES = (0, 1, 999, 1000, 1001, 4500)


@pytest.fixture(params=SIZES)
def written(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of so many bytes, of parts of 1000."""
    monkeypatch.setattr(kept_files, "_PART_BYTES", 1000)
    monkeypatch.setattr(kept_files, "_READ_BYTES", 300)
    path = tmp_path / "file.npy"
    path.write_bytes(np.random.default_rng(0).bytes(request.param))
    return path


def test_parts_lie_end_to_end(written: Path) -> None:
    content, about = written.read_bytes(), contents_of(written)
    parts = [content[first : first + 1000] for first in range(0, len(content), 1000)]
    assert about == {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "parts": [hashlib.sha256(part).hexdigest() for part in parts],
    }
    assert is_as_written(written, json.loads(json.dumps(about)))


@pytest.mark.parametrize("of_an_older_version", [False, True])
def test_one_other_bit_anywhere_is_found(written: Path, of_an_older_version: bool) -> None:
    content, about = bytearray(written.read_bytes()), contents_of(written)
    if of_an_older_version:
        del about["parts"]
    assert is_as_written(written, about)
    for place in range(0, len(content), 499):
        content[place] ^= 1
        written.write_bytes(content)
        assert not is_as_written(written, about)
        content[place] ^= 1
    written.write_bytes(content + b"0")
    assert not is_as_written(written, about)
    if content:
        written.write_bytes(content[:-1])
        assert not is_as_written(written, about)


@pytest.mark.parametrize("about", [{}, {"bytes": 3}, {"bytes": 3, "parts": "x"}, {"bytes": 3, "sha256": 7}])
def test_what_says_too_little_describes_no_file(tmp_path: Path, about: dict[str, object]) -> None:
    path = tmp_path / "file.npy"
    path.write_bytes(b"123")
    assert not is_as_written(path, about)
    with pytest.raises(FileNotFoundError):
        is_as_written(tmp_path / "none.npy", about)


def test_two_that_build_the_same_file_at_once_leave_a_whole_one(tmp_path: Path) -> None:
    """Where a file system has no locks, nobody keeps them apart."""
    path, shape = tmp_path / "file.npy", (10,)
    with array_when_whole(path, shape) as slow:
        slow[:5] = 1
        other = subprocess.run([sys.executable, "-c", OTHER, str(path)], check=False)
        assert other.returncode == 0
        assert np.load(path).tolist() == [2] * 10
        slow[5:] = 1
    assert np.load(path).tolist() == [1] * 10
    assert [*tmp_path.iterdir()] == [path]


OTHER = """
import sys, pathlib
from fastwsol.host.kept_arrays import array_when_whole
with array_when_whole(pathlib.Path(sys.argv[1]), (10,)) as values:
    values[:] = 2
"""


def test_what_a_killed_builder_left_goes(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "file.npy")], check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.endswith(".partial")
    with array_when_whole(tmp_path / "file.npy", (10,)) as values:
        values[:] = 3
    assert [path.name for path in tmp_path.iterdir()] == ["file.npy"]


def test_what_a_machine_of_before_left_goes_and_what_is_being_built_stays(tmp_path: Path) -> None:
    """A container has another name each time, and a folder may be shared by machines: a lock tells."""
    left, built = (tmp_path / f"file.npy.{host}-1.partial" for host in ("3f2a9c11d0b7", f"{platform.node()}-2"))
    left.write_bytes(b"half")
    built.write_bytes(b"half")
    with built.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with array_when_whole(tmp_path / "file.npy", (10,)):
            pass
        assert sorted(path.name for path in tmp_path.iterdir()) == ["file.npy", built.name]
    with array_when_whole(tmp_path / "file.npy", (10,)):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["file.npy"]


KILLED = OTHER.replace("values[:] = 2", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")


def test_without_file_locks_work_goes_on_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    files._warn_without_locks.cache_clear()
    for _ in range(2):
        with sole_worker(tmp_path), locked(tmp_path, "file", never):
            pass
    said = capsys.readouterr().err
    assert said == (
        "warning: there are no file locks here (Operation not supported): have no two commands work in one folder\n"
    )
