"""Compiled kernels are kept on disk until a file that they were compiled from changes, and compiling is told."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import kernels

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
        return done.stdout, "compiling kernels, once on this machine" in done.stderr

    first = run()
    assert first[1], "compiling is told"
    assert run() == (first[0], False), "taken from the cache"
    philox = tmp_path / "kernels" / "philox.py"
    philox.write_text(philox.read_text().replace("_ROUNDS = 10", "_ROUNDS = 7"))
    changed = run()
    assert changed[0] != first[0]
    assert changed[1]
