"""Durable writes: after a crash or a kill at any instant a file is either whole or not there."""

import contextlib
import csv
import errno
import fcntl
import functools
import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from fastwsol.host.errors import UserError, line_of

PARTIAL_SUFFIX = ".partial"


def write_durably(path: Path, write: Callable[[BinaryIO], None], is_new: bool = False) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place: fsync, rename, fsync of the folder.

    An existing file is replaced in one step. What a killed writer leaves behind ends in `.partial`. The temporary file
    is removed when `write` raises. An OSError that names no file, as that of a full disk, gets the name of this.

    Raises UserError where another process is at work on the same file, or where it `is_new` and is there by now.
    """
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    with naming(path), _held(partial, path) as file:
        try:
            if is_new and path.exists():
                raise UserError(f"{path}: another process has written it by now; it stays, name another file")
            file.truncate()
            write(file)
            file.flush()
            os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    sync_folder(path.parent)


@contextlib.contextmanager
def _held(partial: Path, path: Path) -> Iterator[BinaryIO]:
    """The temporary file of `path`, open for this writer alone, with what a killed one has left in it."""
    while True:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666), "wb") as file:
            if not takes_lock(file.fileno()):
                raise UserError(f"{path}: another process is writing it; wait for it, or name another file")
            if _is_at(file, partial):
                yield file
                return
            # The writer that held it has put it in place since it was opened here.


def takes_lock(descriptor: int) -> bool:
    """Whether the lock of an open file or folder could be had at once. The operating system lets go of it when the
    process ends, however it ends. Where the file system has no locks, nobody has it, and nobody looks after two.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise
        _warn_without_locks(str(error.strerror))
    return True


@functools.cache
def _warn_without_locks(why: str) -> None:
    """Once in a process."""
    print(f"warning: there are no file locks here ({why}): have no two commands work in one folder", file=sys.stderr)


_WITHOUT_FOLDER_SYNC = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""What a file system says that has no way to write a folder out, as some that are shared with other systems."""
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""What a file system says that has no locks."""


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def folder_when_whole(path: Path) -> Iterator[Path]:
    """A new folder to fill, which takes the place `path` at the end of the context, and is removed where that is not
    reached. What a killed process has left of one is removed first.

    Raises UserError where something else lies in the way, or another process is at work on the same.
    """
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    mark = partial / _UNFINISHED
    refuse_in_the_way(path)
    partial.mkdir(parents=True, exist_ok=True)
    with sole_worker(partial):
        mark.touch()
        _empty_but_for(partial, mark)
        try:
            yield partial
            partial.replace(path)
            (path / _UNFINISHED).unlink()
        except BaseException:
            with contextlib.suppress(OSError):
                _empty_but_for(partial, mark)
                mark.unlink()
                partial.rmdir()
            raise


_UNFINISHED = ".unfinished"


def refuse_in_the_way(path: Path) -> None:
    """Raise UserError where something lies in the place that `folder_when_whole` fills before it is `path`."""
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    if partial.exists() and not (partial / _UNFINISHED).is_file() and not (partial.is_dir() and _is_empty(partial)):
        raise UserError(f"{partial}: is in the way of what is written before it becomes {path}; move it away")


def _is_empty(folder: Path) -> bool:
    return next(folder.iterdir(), None) is None


def _empty_but_for(folder: Path, mark: Path) -> None:
    """Remove all that is in a folder but the mark, which says to the next process that it may."""
    for left in folder.iterdir():
        if left != mark:
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError raised inside that names no file gets the name `path`."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write `value` durably as indented JSON, keys in the order given; NaN and infinity are refused (ValueError)."""
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def write_bytes(path: Path, content: bytes, is_new: bool = False) -> None:
    """Write `content` durably; `is_new` as of `write_durably`."""

    def write(file: BinaryIO) -> None:
        file.write(content)

    write_durably(path, write, is_new)


def read_utf8(path: Path, said: str, name_what: str) -> str:
    """A text file, perhaps with a byte order mark. said: how messages name it; name_what: the remedy where it cannot be
    read, as `name a CSV file`. Raises UserError for that, and for what is no UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{said}: cannot be read ({error.strerror}); {name_what}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{said} line {line_of(error)}: not UTF-8 text; store it as UTF-8") from None


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV with line ends of a single character. A row with a carriage return is quoted whole, or a reader would
    take it for two.
    """
    text = io.StringIO()
    plain = csv.writer(text, lineterminator="\n")
    quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in rows:
        (quoted if any("\r" in cell for cell in row if isinstance(cell, str)) else plain).writerow(row)
    return text.getvalue()


@contextlib.contextmanager
def sole_worker(folder: Path) -> Iterator[None]:
    """Hold `folder` (which exists) for this process; raises UserError where another process works in it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if not takes_lock(descriptor):
            raise UserError(f"{folder}: another process is at work here; wait for it, or name another folder")
        yield
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make renames and deletions in `folder` durable, where its file system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _WITHOUT_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)
