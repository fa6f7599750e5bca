"""A source's files under one root, a folder or a zip, read as if nobody had meant well.

Nothing is extracted. What leads out of the root, is no plain file or is larger than expected is refused before it is
read; what an archive says of its members is checked when it is opened.
"""

import contextlib
import errno
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from fastwsol.host.errors import UserError
from fastwsol.host.words import plain

_LOCAL_HEADER_BYTES = 30
_UTF_8 = 1 << 11
"""The flag of a member whose name is said to be UTF-8."""
_SYSTEMS_FOLDERS = frozenset(
    [
        *("__MACOSX", "@eaDir", "#recycle", "@Recycle", "@Recently-Snapshot"),
        *("lost+found", "$RECYCLE.BIN", "System Volume Information"),
    ]
)
"""What macOS packs beside files, and what network storage and file systems keep beside them: thumbnails, what was
deleted.
"""
# What is wrong with the process or the machine, and says nothing about a file.
_MACHINE_ERRORS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class BadFile(Exception):
    """A file that cannot be had; the message says why, and neither its name nor a remedy."""


class Tree(Protocol):
    """Files under a root. Paths are relative to it, with slashes."""

    gives_several: bool
    """Whether several threads can read files at once, none waiting for another."""

    def where(self, path: str) -> str:
        """The file as the user would find it."""

    def read(self, path: str, max_bytes: int) -> bytes:
        """A file's bytes. Raises BadFile when it is missing, larger than `max_bytes`, or cannot be read."""

    def names(self, folder: str) -> list[str]:
        """The names directly in `folder`, sorted, those of systems left out; none when there is no such folder."""

    def folders(self, folder: str) -> set[str]:
        """Those of `names(folder)` that are folders."""

    def stamps(self, folder: str) -> dict[str, str]:
        """For each of `names(folder)`, in their order, a text that is another when the file was changed."""

    @property
    def left_out(self) -> int:
        """How many files and folders were left out so far: hidden ones, and those of systems (`_is_a_systems`)."""


def joined(folder: str, path: str) -> str:
    """A path below a folder; "" is the top, or the folder itself."""
    return "/".join(each for each in (folder, path) if each)


class Folder:
    """A `Tree` over a folder. Links are followed as long as they stay in it, and with `follow_links` wherever they
    lead, but not back to a folder that they lie in.
    """

    gives_several = True

    def __init__(self, root: Path, follow_links: bool = False):
        self._root, self._follow_links = root, follow_links
        self._real_root = root.resolve()
        self._leads_out: dict[str, bool] = {}
        self._left_out: set[str] = set()

    def where(self, path: str) -> str:
        """The file's path."""
        return f"{self._root}/{path}"

    def read(self, path: str, max_bytes: int) -> bytes:
        """See `Tree.read`."""
        try:
            descriptor = self._open(path)
        except FileNotFoundError:
            raise BadFile("missing") from None
        except OSError as error:
            if error.errno in _MACHINE_ERRORS:
                raise
            raise BadFile(f"cannot be read ({error.strerror})") from None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise BadFile(f"is {_file_kind(status.st_mode)}, not a plain file")
            if status.st_size > max_bytes:
                raise BadFile(f"{status.st_size:,} bytes, more than the {max_bytes:,} allowed")
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(max_bytes)
        except OSError as error:
            raise BadFile(f"cannot be read ({error.strerror})") from None
        finally:
            os.close(descriptor)

    def names(self, folder: str) -> list[str]:
        """See `Tree.names`."""
        return sorted(entry.name for entry in self._entries(folder))

    def folders(self, folder: str) -> set[str]:
        """See `Tree.folders`. A link to a folder is one.

        Raises UserError for a link to a folder that is not to be followed, and for one that leads nowhere and by its
        name could be to a folder: what is behind it would be left out in silence.
        """
        names = set()
        for entry in self._entries(folder):
            path = joined(folder, entry.name)
            if entry.is_symlink():
                self._check_link(path)
            if _is_folder(entry):
                names.add(entry.name)
        return names

    def _check_link(self, path: str) -> None:
        where = self.where(path)
        if os.path.isdir(where):
            if self._outside(path):
                raise UserError(
                    f"{where}: is a link to a folder outside of {self._root}; put the folder itself there, or, if it "
                    f"is meant, pass --follow-links"
                )
            target, parts = Path(where).resolve(), path.split("/")[:-1]
            way = [Path(self.where("/".join(parts[: k + 1]))).resolve() for k in range(len(parts))]
            if any(each.is_relative_to(target) for each in (*way, Path(where).parent.resolve())):
                raise UserError(f"{where}: is a link back to a folder on the way to it; take it away")
        elif not os.path.exists(where) and "." not in path.rpartition("/")[2]:
            raise UserError(f"{where}: is a link that leads nowhere; put the folder itself there, or take it away")

    def stamps(self, folder: str) -> dict[str, str]:
        """Size and time of the last change."""
        stamps = {}
        for entry in sorted(self._entries(folder), key=lambda entry: entry.name):
            try:
                status = entry.stat()
            except OSError:
                stamps[entry.name] = "unreadable"
            else:
                stamps[entry.name] = f"{status.st_size} {status.st_mtime_ns}"
        return stamps

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        where = self.where(folder)
        if self._outside(folder):
            raise UserError(f"{where}: is a link that leads out of {self._root}; put the folder itself there")
        try:
            with os.scandir(where) as entries:
                every = [*entries]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise UserError(f"{where}: cannot be listed ({error.strerror}); check its permissions") from None
        self._left_out |= {entry.path for entry in every if _is_a_systems(entry.name)}
        return [entry for entry in every if not _is_a_systems(entry.name)]

    @property
    def left_out(self) -> int:
        """See `Tree.left_out`."""
        return len(self._left_out)

    def _open(self, path: str) -> int:
        """A descriptor to read from; a pipe does not block, and a link out of the root raises BadFile."""
        if self._outside(path.rpartition("/")[0]):
            raise BadFile(f"lies behind a link that leads out of {self._root}")
        where, flags = self.where(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            return os.open(where, flags | os.O_NOFOLLOW)
        except OSError:
            if not os.path.islink(where):
                raise
        if self._outside(path):
            raise BadFile(f"is a link that leads out of {self._root}")
        return os.open(where, flags)

    def _outside(self, path: str) -> bool:
        """Whether `path` lies outside the root once its links are followed, and is not to; remembered, as folders hold
        many files.
        """
        if self._follow_links:
            return False
        if path not in self._leads_out:
            try:
                real = Path(self.where(path)).resolve()
            except (OSError, RuntimeError):  # a loop of links, which opening will name
                return False
            self._leads_out[path] = not real.is_relative_to(self._real_root)
        return self._leads_out[path]


class Zip:
    """A `Tree` over the members of a zip below the folder `wrapper`, where the archive has one, else over all.

    Raises UserError naming archive and member when the archive is not whole, or not one that a person packed from
    plain files: paths that leave it, links, two members in one place, encryption. How far a member may inflate is
    limited where it is read, in bytes.
    """

    gives_several = False

    def __init__(self, path: Path, wrapper: str, remedy: str):
        self._path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
        except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, IndexError) as error:
            raise UserError(f"{path}: not a whole zip archive ({error}); {remedy}") from None
        for member in self._archive.infolist():
            if fault := _fault(member):
                raise UserError(f"{path}: {member.orig_filename!r} {fault}; {remedy}")
        self._check_places(remedy)
        every = {_name(member): member for member in self._archive.infolist() if not member.is_dir()}
        files = {name: every[name] for name in every if not any(map(_is_a_systems, name.split("/")))}
        self.left_out = len(every) - len(files)
        self._prefix = f"{wrapper}/" if any(name.startswith(f"{wrapper}/") for name in files) else ""
        self._members = {
            name.removeprefix(self._prefix): member for name, member in files.items() if name.startswith(self._prefix)
        }
        self._names = _names_by_folder(self._members)

    def where(self, path: str) -> str:
        """Archive and member."""
        return f"{self._path}: {self._prefix}{path}"

    def read(self, path: str, max_bytes: int) -> bytes:
        """See `Tree.read`."""
        member = self._members.get(path)
        if member is None:
            raise BadFile("missing")
        if member.file_size > max_bytes:
            raise BadFile(f"{member.file_size:,} bytes, more than the {max_bytes:,} allowed")
        try:
            with self._archive.open(member) as file:
                # Asked for one byte more than there should be: read() would inflate whatever there is at once.
                content = file.read(member.file_size + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, struct.error) as error:
            raise BadFile(f"the archive is damaged here ({error})") from None
        if len(content) != member.file_size:
            raise BadFile(
                f"the archive is damaged here ({len(content):,} bytes, and {member.file_size:,} were announced)"
            )
        return content

    def names(self, folder: str) -> list[str]:
        """See `Tree.names`."""
        return sorted(self._names.get(folder, ()))

    def folders(self, folder: str) -> set[str]:
        """See `Tree.folders`."""
        return {name for name in self.names(folder) if joined(folder, name) in self._names}

    def stamps(self, folder: str) -> dict[str, str]:
        """Checksum and size."""
        prefix = f"{folder}/" if folder else ""
        members = ((name, self._members.get(prefix + name)) for name in self.names(folder))
        return {name: f"{member.CRC:08x} {member.file_size}" if member else "folder" for name, member in members}

    def _check_places(self, remedy: str) -> None:
        """Refuse two members of one name, and members whose data overlap: a small archive can be made to inflate to
        petabytes so.
        """
        seen: set[str] = set()
        end, before = 0, ""
        for member in sorted(self._archive.infolist(), key=lambda member: member.header_offset):
            name = _name(member)
            if name in seen:
                raise UserError(f"{self._path}: {name}: the archive has two files of this name; {remedy}")
            seen.add(name)
            if member.header_offset < end:
                raise UserError(f"{self._path}: {name!r} shares its bytes with {before!r}; {remedy}")
            end, before = member.header_offset + _LOCAL_HEADER_BYTES + member.compress_size, name


def outer_folders(tree: Tree) -> Iterator[str]:
    """Where a set may begin: the top, and as in a zip of it the only folder there, and the only one in that."""
    root = ""
    for _ in range(_MOST_OUTER):
        yield root
        inner = tree.folders(root)
        if len(inner) != 1:
            return
        (name,) = inner
        root = joined(root, name)


_MOST_OUTER = 4


def open_tree(path: Path, follow_links: bool = False) -> Tree:
    """The files of a folder or of a zip, which exists. follow_links: see `Folder`. Raises UserError as `Zip` does."""
    return Zip(path, "", "make it anew") if path.is_file() else Folder(path, follow_links)


def name_of_set(path: Path) -> str:
    """What a set in a folder or zip is called: the same wherever it lies."""
    return plain(path.resolve().stem if path.is_file() else path.resolve().name)


def _is_a_systems(name: str) -> bool:
    """Whether a file or folder is hidden, or one that a system makes for itself."""
    return name.startswith(".") or name in _SYSTEMS_FOLDERS


def _name(member: zipfile.ZipInfo) -> str:
    """Its path in the archive, without the `./` that some programs put before it. Programs on Macs and Linux write
    UTF-8 and do not say so, for which the standard is code page 437.
    """
    name = member.filename
    if not member.flag_bits & _UTF_8:
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode()
    return name.removeprefix("./").rstrip("/")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False


def _fault(member: zipfile.ZipInfo) -> str | None:
    """Why an archive with this member is refused, or None."""
    name = member.orig_filename
    if "\0" in name or "\\" in name or name.startswith("/") or re.match("[A-Za-z]:", name):
        return "is no path within an archive"
    parts = name.removeprefix("./").removesuffix("/").split("/")
    if any(part in ("", ".", "..") for part in parts) and name != "./":
        return "is no path within an archive"
    if len(parts) > _DEEPEST or len(name) > _LONGEST_PATH:
        return f"lies deeper than {_DEEPEST} folders, or has a path of more than {_LONGEST_PATH:,} characters"
    mode = member.external_attr >> 16  # as Unix programs write it; others leave it 0
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return f"is {_file_kind(mode)}, not a plain file"
    if member.flag_bits & 0x1:
        return "is encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"is compressed by method {member.compress_type}, neither stored nor deflated"
    return None


def _names_by_folder(files: Iterable[str]) -> dict[str, set[str]]:
    names: dict[str, set[str]] = {}
    for file in files:
        folder, _, name = file.rpartition("/")
        names.setdefault(folder, set()).add(name)
    for folder in list(names):
        while folder:  # a folder need not have a member of its own
            folder, _, name = folder.rpartition("/")
            names.setdefault(folder, set()).add(name)
    return names


_DEEPEST = 64
"""Folders of an archive's member."""
_LONGEST_PATH = 4096
"""Characters of a member's path, as many as a file system takes."""


def _file_kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "a special file")
