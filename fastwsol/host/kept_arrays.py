"""Arrays that are computed once, kept as mapped NumPy files, and shared by all processes of a machine.

    FOLDER/
      NAME.npy    the array
      NAME.json   written last: what it is of, which code and packages made it, and the file's SHA-256
      NAME.lock   held by the process that makes or checks it

An array may be deleted at any time: it is made again. So is one of other contents, a damaged one, and one that another
version made (unless it cannot be replaced: then it is used, with a warning).
"""

import contextlib
import fcntl
import glob
import json
import math
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastwsol.host.files import PARTIAL_SUFFIX, takes_lock, write_json
from fastwsol.host.kept_files import contents_of, is_whole, locked
from fastwsol.host.source_code import made_by
from fastwsol.host.stop_signals import never

Found = Literal["kept", "missing", "damaged", "outdated"]
"""What lies in an array's place. damaged: not as it was written, or of other contents; outdated: made by other code or
packages. Anything but `kept` is made anew.
"""


@dataclass(frozen=True, eq=False)
class KeptArray:
    """An array that was computed once. values: mapped from `path`, read-only."""

    path: Path
    values: NDArray[Any]
    sha256: str
    """Of the file, as it was when it was written."""


@dataclass(frozen=True, eq=False)
class ComputedOnce:
    """An array to be computed once: where it is kept, and what it is of."""

    folder: Path
    name: str
    key: dict[str, Any]
    """All that decides its values but the version: equal keys mean equal arrays of one version."""
    sources: tuple[str, ...]
    packages: tuple[str, ...]
    """The modules and packages that make it: its version (`source_code.made_by`)."""
    shape: tuple[int, ...]
    dtype: DTypeLike = np.uint8

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / f"{self.name}.npy"

    @property
    def nbytes(self) -> int:
        """Of its values."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def is_there(self) -> bool:
        """Whether the array was made; that it is whole, and of this version, is not checked."""
        return self.path.is_file() and self._about().get("key") == self.key

    def open(
        self,
        fill: Callable[[NDArray[Any]], None],
        tell: Callable[[Found], None],
        verify: bool = True,
        gives_up: Callable[[], bool] = never,
    ) -> KeptArray:
        """The array; `fill` writes its values where they are to be computed. tell: is called before, with what was
        found. With `verify` a file that is there is hashed first. Of several processes one computes, and the others
        wait. Raises OSError where the file cannot be written, Interrupted where `gives_up` returns true for one that
        waits, and what `fill` raises.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder, self.name, gives_up):
            about = self._about()
            made = made_by(self.sources, self.packages)
            found = self._found(about, made, verify)
            tell(found)
            if found != "kept":
                with array_when_whole(self.path, self.shape, self.dtype) as values:
                    fill(values)
                about = {"key": self.key, "made_by": made, **contents_of(self.path)}
                write_json(self._about_path, about)
            return KeptArray(self.path, np.load(self.path, mmap_mode="r"), about["sha256"])

    @property
    def _about_path(self) -> Path:
        return self.folder / f"{self.name}.json"

    def _about(self) -> dict[str, Any]:
        """The content of the JSON; empty where the file cannot be used."""
        try:
            about = json.loads(self._about_path.read_bytes())
        except (OSError, ValueError):
            return {}
        return about if isinstance(about, dict) else {}

    def _found(self, about: dict[str, Any], made: dict[str, Any], verify: bool) -> Found:
        """What lies there. An outdated file is deleted, so that a new one takes its room; one that cannot be deleted is
        used, with a warning. A process that has it mapped keeps its mapping.
        """
        if not about or not self.path.exists():
            return "missing"
        if about.get("key") != self.key or not is_whole(self.path, about, verify):
            return "damaged"
        if about.get("made_by") == made:
            return "kept"
        try:
            self._about_path.unlink()  # first: without it the file is nothing
            self.path.unlink()
        except OSError:
            if verify:  # of the processes of a machine one says so
                print(
                    f"warning: {self.path}: was made by another version and cannot be replaced; it is used as it is",
                    file=sys.stderr,
                )
            return "kept"
        return "outdated"


@contextlib.contextmanager
def array_when_whole(path: Path, shape: tuple[int, ...], dtype: DTypeLike = np.uint8) -> Iterator[NDArray[Any]]:
    """A new NumPy file to fill, mapped, which takes the place `path` at the end of the context, and is removed where
    that is not reached. Whoever has an old one mapped keeps it. What a killed process has left of one is removed.

    Its space is taken at once: a mapped page for which the disk has no room later kills the process. The file is not
    flushed to the disk: its hash finds what a crash damages.
    """
    own = f"{path.name}.{platform.node()}-"
    for left in path.parent.glob(f"{glob.escape(path.name)}.*{PARTIAL_SUFFIX}"):
        if _is_left(left, own):
            left.unlink(missing_ok=True)
    # A name of this process's own: where there are no locks, another one may build the same at the same time.
    partial = path.with_name(f"{own}{os.getpid()}{PARTIAL_SUFFIX}")
    try:
        with partial.open("w+b") as file:
            takes_lock(file.fileno())  # it says that the file is being built
            yield _mapped_anew(partial, file, shape, dtype)
            partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _is_left(partial: Path, own: str) -> bool:
    """Whether nobody builds this file any more: nobody holds its lock, and it is of no process of this machine, whose
    files are called `own` and its number. Where there are no locks, only one of this machine can be told.
    """
    process = partial.name.removeprefix(own).removesuffix(PARTIAL_SUFFIX)
    is_own = partial.name.startswith(own) and process.isdigit()
    if is_own and _runs(process):
        return False
    try:
        with partial.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except BlockingIOError:
        return False
    except OSError:
        return is_own


def _runs(process: str) -> bool:
    """Whether there is a process of this number on this machine."""
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _mapped_anew(path: Path, file: BinaryIO, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    np.lib.format.write_array_header_1_0(file, {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape})
    offset = file.tell()
    file.flush()
    os.posix_fallocate(file.fileno(), 0, offset + math.prod(shape) * np.dtype(dtype).itemsize)
    return np.memmap(path, dtype, "r+", offset, shape)
