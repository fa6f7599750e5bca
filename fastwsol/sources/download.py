"""Get one large file over HTTP, however often the connection breaks, and know that it is the right one.

What is there of a file lies beside its place as NAME.partial, with NAME.partial.json saying which version of the
server's file it belongs to; both are kept when the download stops, and the next one asks for the rest.
"""

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import BinaryIO

from fastwsol.host.errors import Interrupted, RunFailure
from fastwsol.host.files import PARTIAL_SUFFIX, sole_worker, sync_folder, write_json
from fastwsol.host.ticker import Ticker

_PIECE_BYTES = 2**18
_TIMEOUT_SECONDS = 30.0
_MB = 1e6


@dataclass(frozen=True)
class Download:
    """A file to get: where it is, what it is, and how to know that it is whole."""

    url: str
    bytes: int
    md5: str
    terms: str
    """What must be known before it is downloaded."""
    otherwise: str
    """What can be done where the server cannot be reached."""
    tries: int = 5
    """How many connections in a row may get no further before it is given up."""
    pause: float = 2.0
    """Seconds before the second try; twice as long before each further one."""

    @property
    def name(self) -> str:
        """The file's name."""
        return self.url.rpartition("/")[2]


TINY_IMAGENET = Download(
    "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
    248_100_043,
    "90528d7ca1a48142e341f4ef8d21d0de",
    "the official Tiny ImageNet; its images are ImageNet's, for non-commercial research and teaching only",
    "put a copy of it into data/raw or name one with --source, or try the software with --synthetic",
)


class _Dropped(Exception):
    """The connection broke, or the server is busy; what came is kept, and another try may get the rest."""


def fetch(download: Download, folder: Path) -> Path:
    """Download into `folder`, which is made, and return the file's path: whole, checked and durably there.

    Raises RunFailure where it cannot be had, Interrupted on Ctrl-C; what came until then is kept.
    """
    path = folder / download.name
    partial = _Partial(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with sole_worker(folder):
            _announce(download, folder, partial)
            _check_room(download, folder, partial)
            _get(download, partial)
            partial.finish(download)
    except KeyboardInterrupt:
        raise Interrupted(f"{path}: {_kept(partial)}; the same command goes on from there") from None
    except OSError as error:
        raise RunFailure(
            f"{error.filename or path}: cannot be written ({error.strerror or error}), {_kept(partial)}; make room or "
            f"correct the permissions, then run the same command again"
        ) from None
    return path


class _Partial:
    """What is there of a file, and which version of it that is."""

    def __init__(self, path: Path):
        self._path = path
        self._partial = path.with_name(path.name + PARTIAL_SUFFIX)
        self._version_file = path.with_name(path.name + PARTIAL_SUFFIX + ".json")

    @property
    def bytes(self) -> int:
        """How many bytes are there."""
        try:
            return self._partial.stat().st_size
        except FileNotFoundError:
            return 0

    def version(self, url: str) -> str | None:
        """What to ask the server to compare with (RFC 9110, If-Range), or None where that is not known."""
        try:
            fields = json.loads(self._version_file.read_bytes())
            version = fields["version"] if fields["url"] == url else None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return version if isinstance(version, str) and version.isprintable() else None

    def begin(self, url: str, version: str | None) -> None:
        """Forget what is there; the file that comes now is `version` of `url`."""
        self.discard()
        write_json(self._version_file, {"url": url, "version": version})

    def discard(self) -> None:
        """Remove what is there."""
        self._partial.unlink(missing_ok=True)
        self._version_file.unlink(missing_ok=True)

    def open(self) -> BinaryIO:
        """The file, to append to."""
        return self._partial.open("ab")

    def digest(self) -> str:
        """MD5 of what is there: the digest that is published of the file."""
        with self._partial.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()

    def finish(self, download: Download) -> None:
        """Put the file in its place, or raise RunFailure where it is not the one that was wanted."""
        if self.digest() != download.md5:
            self.discard()
            raise RunFailure(
                f"{download.url}: what was downloaded is another file (its MD5 is not {download.md5}) and was removed; "
                f"run the same command again, or {download.otherwise}"
            )
        with self._partial.open("rb") as file:
            os.fsync(file.fileno())
        self._partial.replace(self._path)
        self._version_file.unlink(missing_ok=True)
        sync_folder(self._path.parent)


def _get(download: Download, partial: _Partial) -> None:
    """Bring `partial` to its full size. Connections are made again as long as each of them gets further."""
    ticker = _byte_ticker(download.bytes)
    fruitless = 0
    furthest = partial.bytes
    while partial.bytes < download.bytes:
        try:
            with _answer(download, partial) as answer:
                _append(download, partial, answer, ticker)
        except _Dropped as drop:
            ticker.close()
            # Further than ever, not than before: a server without ranges may break off at the same byte for ever.
            fruitless = 0 if partial.bytes > furthest else fruitless + 1
            furthest = max(furthest, partial.bytes)
            # Who was never reached at all is not asked again: without a network that only costs time.
            unreachable = isinstance(drop.__cause__, urllib.error.URLError) and not partial.bytes
            if unreachable or fruitless == download.tries:
                raise RunFailure(f"{download.url}: {drop}, {_kept(partial)}; {download.otherwise}") from None
            time.sleep(download.pause * 2 ** max(fruitless - 1, 0))
    ticker.close()


@contextlib.contextmanager
def _answer(download: Download, partial: _Partial) -> Iterator[http.client.HTTPResponse]:
    """The server's answer, positioned at the end of `partial`, which is emptied where it does not fit.

    Raises _Dropped when trying again may help, RunFailure when not.
    """
    start = partial.bytes
    version = partial.version(download.url)
    request = urllib.request.Request(download.url, headers={"User-Agent": "fastwsol"})
    if start and version is not None:
        request.add_header("Range", f"bytes={start}-")
        request.add_header("If-Range", version)
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # there is no rest of what we have: it is not of this file
            partial.discard()
            raise _Dropped("has less than was downloaded") from None
        if error.code >= 500 or error.code in (408, 429):
            raise _Dropped(f"HTTP {error.code} {error.reason}") from None
        raise RunFailure(
            f"{download.url}: HTTP {error.code} {error.reason}, {_kept(partial)}; {download.otherwise}"
        ) from None
    except urllib.error.URLError as error:
        raise _Dropped(f"cannot be reached ({error.reason})") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Dropped(_reason(error)) from None
    with answer:
        if not _continues(answer, start, download.bytes):
            _check_size(download, answer.headers)
            partial.begin(download.url, _version(answer.headers))
        yield answer


def _continues(answer: http.client.HTTPResponse, start: int, size: int) -> bool:
    """Whether the answer is the rest that was asked for; a server that does not know ranges sends the whole."""
    return answer.status == 206 and answer.headers.get("Content-Range") == f"bytes {start}-{size - 1}/{size}"


def _append(download: Download, partial: _Partial, answer: http.client.HTTPResponse, ticker: Ticker) -> None:
    """Write the answer's body behind what is there. Raises _Dropped where it ends early."""
    bytes_received = partial.bytes
    with partial.open() as file:
        while bytes_received < download.bytes:
            try:
                piece = answer.read(min(_PIECE_BYTES, download.bytes - bytes_received))
            except (OSError, http.client.HTTPException) as error:
                raise _Dropped(_reason(error)) from None
            if not piece:
                raise _Dropped("the connection was closed early")
            file.write(piece)
            bytes_received += len(piece)
            ticker.update(bytes_received)


def _check_size(download: Download, headers: Message) -> None:
    offered = headers.get("Content-Length")
    if offered is not None and offered != str(download.bytes):
        raise RunFailure(
            f"{download.url}: the server offers {offered} bytes, expected {download.bytes}: not the wanted file; "
            f"{download.otherwise}"
        )


def _version(headers: Message) -> str | None:
    """A validator that If-Range takes: a strong entity tag, else the time of the last change."""
    tag = headers.get("ETag", "")
    return tag if tag.startswith('"') else headers.get("Last-Modified")


def _announce(download: Download, folder: Path, partial: _Partial) -> None:
    kept = f", {partial.bytes / _MB:,.1f} MB of it are there" if partial.bytes else ""
    print(
        f"{download.url} ({download.bytes / _MB:,.1f} MB{kept}) is downloaded to {folder}: {download.terms}", flush=True
    )


def _check_room(download: Download, folder: Path, partial: _Partial) -> None:
    missing, free = download.bytes - partial.bytes, shutil.disk_usage(folder).free
    if missing > free:
        raise RunFailure(f"{folder}: {free / _MB:,.1f} MB are free and {missing / _MB:,.1f} MB needed; make room")


def _kept(partial: _Partial) -> str:
    return f"{partial.bytes / _MB:,.1f} MB are kept" if partial.bytes else "nothing was downloaded"


def _reason(error: Exception) -> str:
    return "the connection timed out" if isinstance(error, TimeoutError) else f"the connection broke ({error})"


def _byte_ticker(total: int) -> Ticker:
    def line(bytes_received: int, rate: float, left: float) -> str:
        return f"{bytes_received / _MB:,.1f} of {total / _MB:,.1f} MB  {rate / _MB:,.1f} MB/s  {left:.0f} s left"

    return Ticker(total, line)
