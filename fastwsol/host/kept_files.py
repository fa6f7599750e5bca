"""Large files that are computed once beside the shards and shared by all processes of a machine: their lock, their
room, and the hashes by which they are checked.
"""

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fastwsol.host.errors import Interrupted
from fastwsol.host.files import takes_lock
from fastwsol.host.words import bytes_text

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
def locked(folder: Path, name: str, gives_up: Callable[[], bool]) -> Iterator[None]:
    """Hold the lock of something kept, as a store. Where another process holds it, say so and wait. The system releases
    it when the process ends, however it ends. A folder that cannot be written needs no lock, since nobody can build
    there. Raises Interrupted where `gives_up` returns true.
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


SHARE_OF_MEMORY = 0.5
"""The share of the free memory that such files may take. A mapped file that does not fit is read from the disk again
and again.
"""


def why_too_large(
    needed: int, folder: Path, available: int, *, memory: str = "memory", in_use: int = 0, is_there: bool = False
) -> str | None:
    """Why there is no room for a file of `needed` bytes in a folder, unless it `is_there`, or in the memory that it is
    mapped into, of which `available` are free and others have `in_use`; None where there is.
    """
    if not is_there and needed > (free := free_disk_bytes(folder)):
        return f"needs {bytes_text(needed)} in {folder}, where {bytes_text(free)} are free"
    if in_use + needed > SHARE_OF_MEMORY * available:
        return f"takes {bytes_text(needed)}, and {bytes_text(available)} of {memory} are free"
    return None


def can_be_written(folder: Path) -> bool:
    """Whether files can be made in `folder`, which is there or is to be."""
    there = _lowest_there(folder)
    return there.is_dir() and os.access(there, os.W_OK)


def _lowest_there(folder: Path) -> Path:
    return next(each for each in (folder, *folder.absolute().parents) if each.exists())
