"""Compiled kernels are kept on disk until a file that they were compiled from changes, and compiling is told."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from numba.core.caching import FunctionCache

import kernels
from kernels import compiling

WORDS = """
import numpy as np
from kernels.compiling import njit
from kernels.philox import philox4x32

@njit()
def words(count):
    out = np.empty(count, np.uint32)
    for k in range(count):
        out[k] = philox4x32(np.uint32(k), np.uint32(0), np.uint32(0), np.uint32(0), np.uint32(1), np.uint32(2))[0]
    return out
"""


PROGRAM = """
from fastwsol.host.starting import tell_of_compiling
tell_of_compiling()
from kernels.words import words
print(words(4).tolist())
"""


def test_a_change_in_a_file_below_is_compiled_anew_and_nothing_else_is(tmp_path):
    shutil.copytree(Path(kernels.__file__).parent, tmp_path / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "kernels" / "words.py").write_text(WORDS)
    root = Path(kernels.__file__).parents[1]

    def run() -> tuple[str, bool]:
        path = os.pathsep.join([str(tmp_path), str(root)])
        environment = {**os.environ, "PYTHONPATH": path, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout, ", once on this machine" in done.stderr

    first = run()
    assert first[1], "compiling is told"
    assert run() == (first[0], False), "taken from the cache"
    philox = tmp_path / "kernels" / "philox.py"
    philox.write_text(philox.read_text().replace("_ROUNDS = 10", "_ROUNDS = 7"))
    changed = run()
    assert changed[0] != first[0]
    assert changed[1]


WHERE_CACHES_LIE = ("XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "PYTHONPATH")


@pytest.mark.parametrize(("home", "kept"), [("a file", True), ("~", True), ("a file", False)])
def test_where_no_cache_can_lie_beside_the_source_or_at_home_it_lies_among_temporary_files(
    tmp_path: Path, home: str, kept: bool
) -> None:
    """As in a container whose user has no home. Where that fails too, kernels are compiled at each start."""
    source = Path(kernels.__file__).parent
    copy = shutil.copytree(source, tmp_path / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "words.py").write_text(WORDS)
    (copy / "__pycache__").write_text("in the way")
    (tmp_path / "a file").touch()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    own = temporary / f"fastwsol-kernels-{os.getuid()}"
    if not kept:
        own.touch()
    environment = {name: value for name, value in os.environ.items() if name not in WHERE_CACHES_LIE}
    environment |= {"HOME": str(tmp_path / "a file") if home == "a file" else home, "TMPDIR": str(temporary)}
    done = subprocess.run(
        [sys.executable, "-c", "from kernels.words import words; print(len(words(4)))"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("4\n", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a file", "kernels", "temporary"], "no folder `~`"
    assert own.is_dir() == kept
    if kept:
        assert own.stat().st_mode & 0o777 == 0o700
        assert [*own.rglob("*.nbc")]


def test_where_there_is_no_room_to_keep_a_kernel_it_runs_all_the_same(monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(FunctionCache, "save_overload", full)
    compiling._warn_not_kept.cache_clear()

    @compiling.njit()
    def plus_one(x):
        return x + 1

    @compiling.njit()
    def plus_two(x):
        return x + 2

    assert (plus_one(1), plus_two(1)) == (2, 3)
    said = capsys.readouterr().err
    assert said.count("compiled kernels cannot be kept (No space left on device): they are compiled each time") == 1
