"""Large files that are computed once beside the shards, mapped, and shared by all processes of a machine: their lock,
their room, and the JSON that says what they are of.
"""

import contextlib
import fcntl
import glob
import hashlib
import json
import math
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastwsol.host.errors import Interrupted
from fastwsol.host.files import PARTIAL_SUFFIX, takes_lock


def never() -> bool:
    """Always false: the work is never given up."""
    return False


def read_about(folder: Path, name: str) -> dict[str, Any]:
    """The content of a store's JSON. It is empty where the file cannot be used: the store is then built anew."""
    try:
        about = json.loads((folder / f"{name}.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


_PART_BYTES = 2**25
_HASHED_AT_ONCE = 8


def contents_of(path: Path) -> dict[str, Any]:
    """A file's size, its SHA-256, and those of its parts of 32 MiB, by which it is checked later on several threads."""
    with path.open("rb") as file, ThreadPoolExecutor(1) as pool:
        whole = pool.submit(hashlib.file_digest, file, "sha256")
        parts = _hashes_of_parts(path)
        return {"bytes": os.fstat(file.fileno()).st_size, "sha256": whole.result().hexdigest(), "parts": parts}


def is_whole(path: Path, about: dict[str, Any], verify: bool) -> bool:
    """Whether a file is there and the one that `about` says (`contents_of`): by its hash, or else by its size."""
    try:
        return is_as_written(path, about) if verify else path.stat().st_size == about.get("bytes")
    except OSError:
        return False


def what_is_kept(
    path: Path, about: dict[str, Any], key: dict[str, Any], made_by: dict[str, Any], verify: bool
) -> Literal["this", "outdated", "nothing"]:
    """How usable a kept file is for `key`. this: as it is. outdated: it has the right key, and other code or packages
    made it; it is deleted, so that a new one takes its room. nothing: it is missing, damaged or of another key. An
    outdated file that cannot be deleted is used, with a warning. A process that has it mapped keeps its mapping.
    """
    if about.get("key") != key or not is_whole(path, about, verify):
        return "nothing"
    if about.get("made_by") == made_by:
        return "this"
    try:
        path.with_suffix(".json").unlink()  # first: without it the file is nothing
        path.unlink()
    except OSError:
        if verify:  # of the processes of a machine one says so
            print(
                f"warning: {path}: was made by another version and cannot be replaced; it is used as it is",
                file=sys.stderr,
            )
        return "this"
    return "outdated"


def is_as_written(path: Path, about: dict[str, Any]) -> bool:
    """Whether a file is the one that `about` says (`contents_of`, perhaps an older version's, without parts). Raises
    OSError where there is none.
    """
    if path.stat().st_size != about.get("bytes") or not isinstance(about.get("sha256"), str):
        return False
    if "parts" in about:
        return _hashes_of_parts(path) == about["parts"]
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == about.get("sha256")


def _hashes_of_parts(path: Path) -> list[str]:
    def hash_of(start: int) -> str:
        digest, left = hashlib.sha256(), _PART_BYTES
        with path.open("rb") as file:
            file.seek(start)
            while left and (read := file.read(min(left, _READ_BYTES))):
                digest.update(read)
                left -= len(read)
        return digest.hexdigest()

    with ThreadPoolExecutor(_HASHED_AT_ONCE) as pool:  # hashing holds no lock of Python's
        return list(pool.map(hash_of, range(0, path.stat().st_size, _PART_BYTES)))


_READ_BYTES = 2**20


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


@contextlib.contextmanager
def locked(folder: Path, name: str, gives_up: Callable[[], bool]) -> Iterator[None]:
    """Hold a store's lock. Where another process holds it, say so and wait. The system releases it when the process
    ends, however it ends. A folder that cannot be written needs no lock, since nobody can build there. Raises
    Interrupted where `gives_up` returns true.
    """
    if not os.access(folder, os.W_OK):
        yield
        return
    path = folder / f"{name}.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:  # another user's, which serves as well
        descriptor = os.open(path, os.O_RDONLY)
    try:
        was_told = False
        while not takes_lock(descriptor):
            if not was_told:
                print(f"waiting for another process, which is at work on {folder / name}.npy", flush=True)
                was_told = True
            if gives_up():
                raise Interrupted(f"{folder / name}.npy is in another process's hands; run the same command again")
            time.sleep(_SECONDS_BETWEEN_TRIES)
        yield
    finally:
        os.close(descriptor)


_SECONDS_BETWEEN_TRIES = 0.1


def free_disk_bytes(folder: Path) -> int:
    """Room on the disk where `folder` is, or is to be."""
    return shutil.disk_usage(_lowest_there(folder)).free


def can_be_written(folder: Path) -> bool:
    """Whether files can be made in `folder`, which is there or is to be."""
    there = _lowest_there(folder)
    return there.is_dir() and os.access(there, os.W_OK)


def _lowest_there(folder: Path) -> Path:
    return next(each for each in (folder, *folder.absolute().parents) if each.exists())
