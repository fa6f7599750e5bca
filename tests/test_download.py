"""A download comes whole or not at all, over connections that break, servers of every kind, and several starts."""

import contextlib
import errno
import functools
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from fastwsol.host.command_line import FAILURE, USER_ERROR, run_command
from fastwsol.host.errors import RunFailure, UserError
from fastwsol.host.starting import INTERRUPTED
from fastwsol.pack import PackFlags, find_source, main
from fastwsol.sources import download as module
from fastwsol.sources.download import TINY_IMAGENET, Download, fetch
from fastwsol.sources.tiny_imagenet import TinyImageNet

ROOT = Path(__file__).parents[1]
CONTENT = np.random.default_rng(0).bytes(700_000)
OTHER = np.random.default_rng(1).bytes(700_000)
NAME = "tiny-imagenet-200.zip"
PARTIAL = f"{NAME}.partial"


def cut(after: int) -> tuple[str, int]:
    """An answer that breaks off after so many bytes of its body."""
    return "cut", after


def status(code: int) -> tuple[str, int]:
    """An answer that is an error."""
    return "status", code


@dataclass
class Behaviour:
    """What the server does, and what it was asked."""

    content: bytes = CONTENT
    ranges: bool = True
    tag: str | None = '"version 1"'
    modified: str | None = None
    says_length: bool = True
    script: list[tuple[str, int]] = field(default_factory=list)
    """How the first answers fail; those behind them do not."""
    asked: list[dict[str, str]] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    def __init__(self, behaviour: Behaviour, *arguments: object) -> None:
        self.behaviour = behaviour
        super().__init__(*arguments)

    def do_GET(self) -> None:
        behaviour = self.behaviour
        behaviour.asked.append(dict(self.headers))
        fails, number = behaviour.script.pop(0) if behaviour.script else ("", 0)
        if fails == "status":
            self.send_error(number)
            return
        start, size = 0, len(behaviour.content)
        wanted = self.headers.get("Range")
        if wanted and behaviour.ranges and self.headers.get("If-Range") == (behaviour.tag or behaviour.modified):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= size:
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        else:
            self.send_response(200)
        for name, value in (("ETag", behaviour.tag), ("Last-Modified", behaviour.modified)):
            if value is not None:
                self.send_header(name, value)
        if behaviour.says_length:
            self.send_header("Content-Length", str(size - start))
        self.end_headers()
        body = behaviour.content[start:]
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body[:number] if fails == "cut" else body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[Behaviour, Download]]:
    """A server on this machine, and the download of its file."""
    behaviour = Behaviour()
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, behaviour)) as http_server:
        thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield behaviour, wanted(f"http://127.0.0.1:{http_server.server_port}/{NAME}")
        http_server.shutdown()
        thread.join()


def wanted(url: str) -> Download:
    md5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    return Download(url, len(CONTENT), md5, "for tests only", "put a copy into data/raw", tries=3, pause=0.0)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def break_off(behaviour: Behaviour, download: Download, folder: Path) -> None:
    """Leave the first 300,000 bytes of the file in `folder`, as a download that was given up does."""
    behaviour.script += [cut(300_000), status(404)]
    with pytest.raises(RunFailure, match=r"HTTP 404 Not Found, 0\.3 MB are kept; put a copy into data/raw"):
        fetch(download, folder)
    assert (folder / PARTIAL).read_bytes() == behaviour.content[:300_000]
    behaviour.asked.clear()


def test_the_whole_file_comes_and_nothing_else_is_left(
    server: tuple[Behaviour, Download], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    behaviour, download = server
    path = fetch(download, tmp_path / "data" / "raw")
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == [NAME]
    (line,) = capsys.readouterr().out.splitlines()
    assert "(0.7 MB) is downloaded to" in line
    assert line.endswith("for tests only")
    assert "Range" not in behaviour.asked[0]


@pytest.mark.parametrize(
    ("tag", "modified", "validator"),
    [
        ('"version 1"', "Mon, 01 Jan 2018 00:00:00 GMT", '"version 1"'),
        (None, "Mon, 01 Jan 2018 00:00:00 GMT", "Mon, 01 Jan 2018 00:00:00 GMT"),
    ],
    ids=["entity tag", "time of change"],
)
def test_a_second_start_asks_for_the_rest_of_the_same_version(
    tag: str | None, modified: str, validator: str, server: tuple[Behaviour, Download], tmp_path: Path
) -> None:
    behaviour, download = server
    behaviour.tag, behaviour.modified = tag, modified
    break_off(behaviour, download, tmp_path)
    assert fetch(download, tmp_path).read_bytes() == CONTENT
    (asked,) = behaviour.asked
    assert (asked["Range"], asked["If-Range"]) == ("bytes=300000-", validator)


@pytest.mark.parametrize("way", ["ignores ranges", "has another version", "says no version", "says a weak one"])
def test_what_does_not_fit_is_fetched_from_the_start(
    way: str, server: tuple[Behaviour, Download], tmp_path: Path
) -> None:
    """The first part is of other bytes here: kept, it would show."""
    behaviour, download = server
    behaviour.content = OTHER
    if way == "says no version":
        behaviour.tag = None
    if way == "says a weak one":
        behaviour.tag = 'W/"1"'
    break_off(behaviour, download, tmp_path)
    behaviour.content = CONTENT
    behaviour.ranges = way != "ignores ranges"
    if way == "has another version":
        behaviour.tag = '"version 2"'
    assert fetch(download, tmp_path).read_bytes() == CONTENT
    assert len(behaviour.asked) == 1
    assert names(tmp_path) == [NAME]


def test_connections_that_break_are_taken_up_where_they_broke(
    server: tuple[Behaviour, Download], tmp_path: Path
) -> None:
    behaviour, download = server
    # Six times, which is more than the tries without any progress that are allowed.
    behaviour.script += [cut(100_000)] * 6
    assert fetch(download, tmp_path).read_bytes() == CONTENT
    starts = [asked.get("Range", "bytes=0-") for asked in behaviour.asked]
    assert starts == [f"bytes={100_000 * k}-" for k in range(7)]


def test_a_server_without_ranges_that_always_breaks_off_is_given_up(
    server: tuple[Behaviour, Download], tmp_path: Path
) -> None:
    behaviour, download = server
    behaviour.ranges = False
    behaviour.script += [cut(100_000)] * 99
    with pytest.raises(RunFailure, match=r"the connection .*, 0\.1 MB are kept; put a copy into data/raw"):
        fetch(download, tmp_path)
    assert len(behaviour.asked) == 1 + download.tries


def test_a_server_that_is_busy_is_asked_again_a_few_times(server: tuple[Behaviour, Download], tmp_path: Path) -> None:
    behaviour, download = server
    behaviour.script += [status(503), status(429)]
    assert fetch(download, tmp_path).read_bytes() == CONTENT
    assert len(behaviour.asked) == 3


def test_a_server_that_stays_busy_is_given_up(server: tuple[Behaviour, Download], tmp_path: Path) -> None:
    behaviour, download = server
    behaviour.script += [cut(1000)] + [status(503)] * 9
    with pytest.raises(RunFailure, match=r"HTTP 503 Service Unavailable, 0\.0 MB are kept; put a copy into data/raw"):
        fetch(download, tmp_path)
    assert len(behaviour.asked) == 1 + download.tries
    assert (tmp_path / PARTIAL).stat().st_size == 1000


def test_a_missing_file_is_one_line_at_once(server: tuple[Behaviour, Download], tmp_path: Path) -> None:
    behaviour, download = server
    behaviour.script += [status(404)]
    with pytest.raises(RunFailure, match=r"HTTP 404 Not Found, nothing was downloaded; put a copy into data/raw"):
        fetch(download, tmp_path)
    assert len(behaviour.asked) == 1


def test_an_announced_wrong_size_is_refused_before_a_byte_comes(
    server: tuple[Behaviour, Download], tmp_path: Path
) -> None:
    behaviour, download = server
    behaviour.content = CONTENT[:-1]
    with pytest.raises(RunFailure, match=r"the server offers 699999 bytes, expected 700000: not the wanted file"):
        fetch(download, tmp_path)
    assert names(tmp_path) == []


def test_a_server_without_lengths_that_sends_too_little_is_given_up(
    server: tuple[Behaviour, Download], tmp_path: Path
) -> None:
    behaviour, download = server
    behaviour.content, behaviour.says_length = CONTENT[:-1], False
    with pytest.raises(RunFailure, match=r"(closed early|has less than was downloaded)"):
        fetch(download, tmp_path)
    assert NAME not in names(tmp_path)


def test_a_server_without_lengths_that_sends_too_much_is_not_read_on(
    server: tuple[Behaviour, Download], tmp_path: Path
) -> None:
    behaviour, download = server
    behaviour.content, behaviour.says_length = CONTENT + OTHER, False
    assert fetch(download, tmp_path).read_bytes() == CONTENT


def test_a_wrong_file_is_removed_and_the_next_start_begins_anew(
    server: tuple[Behaviour, Download], tmp_path: Path
) -> None:
    behaviour, download = server
    behaviour.content = OTHER
    with pytest.raises(RunFailure, match=rf"another file \(its MD5 is not {download.md5}\) and was removed; run the"):
        fetch(download, tmp_path)
    assert names(tmp_path) == []
    behaviour.content = CONTENT
    assert fetch(download, tmp_path).read_bytes() == CONTENT


def test_a_partial_file_that_is_too_long_or_of_another_address_is_not_used(
    server: tuple[Behaviour, Download], tmp_path: Path
) -> None:
    _, download = server
    (tmp_path / PARTIAL).write_bytes(OTHER[:1000])
    (tmp_path / f"{PARTIAL}.json").write_text(json.dumps({"url": "http://elsewhere/x.zip", "version": '"version 1"'}))
    assert fetch(download, tmp_path).read_bytes() == CONTENT
    (tmp_path / NAME).unlink()
    (tmp_path / PARTIAL).write_bytes(CONTENT + b"more")
    with pytest.raises(RunFailure, match="was removed; run the same command again"):
        fetch(download, tmp_path)
    assert fetch(download, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b'{"url": 3}', b"\xff", b'{"url": "URL", "version": "a\\nb"}'])
def test_a_damaged_note_of_the_version_costs_a_new_start_and_no_more(
    note: bytes, server: tuple[Behaviour, Download], tmp_path: Path
) -> None:
    behaviour, download = server
    break_off(behaviour, download, tmp_path)
    (tmp_path / f"{PARTIAL}.json").write_bytes(note.replace(b"URL", download.url.encode()))
    assert fetch(download, tmp_path).read_bytes() == CONTENT
    assert "Range" not in behaviour.asked[0]


def test_a_machine_that_cannot_be_reached_is_one_line_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RunFailure, match=r"cannot be reached \(.*\), nothing was downloaded; put a copy into data/raw"):
        fetch(wanted(f"http://127.0.0.1:9/{NAME}"), tmp_path)


def test_without_room_nothing_is_downloaded(server: tuple[Behaviour, Download], tmp_path: Path) -> None:
    behaviour, download = server
    huge = replace(download, bytes=10**18)
    with pytest.raises(RunFailure, match=r"MB are free and 1,000,000,000,000\.0 MB needed; make room"):
        fetch(huge, tmp_path)
    assert behaviour.asked == []


def test_a_disk_that_fills_up_is_one_line_and_keeps_what_came(
    server: tuple[Behaviour, Download], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behaviour, download = server

    class Full:
        def __init__(self, file) -> None:
            self._file = file

        def __enter__(self):
            return self

        def __exit__(self, *error: object) -> None:
            self._file.close()

        def write(self, piece: bytes) -> None:
            if self._file.tell() + len(piece) > 300_000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._file.write(piece)

    whole_open = module._Partial.open
    with monkeypatch.context() as patch:
        patch.setattr(module._Partial, "open", lambda partial: Full(whole_open(partial)))
        with pytest.raises(RunFailure, match=r"cannot be written \(No space left on device\), 0\.3 MB are kept; make"):
            fetch(download, tmp_path)
    assert fetch(download, tmp_path).read_bytes() == CONTENT
    assert behaviour.asked[-1]["Range"] == f"bytes={2**18}-"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_what_came(number: int, server: tuple[Behaviour, Download], tmp_path: Path) -> None:
    """In a process of its own, which signals itself when its third piece has come."""
    behaviour, download = server
    code = f"""
import os, signal, sys
from pathlib import Path
from fastwsol.sources import download
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a process in the background begins without
from fastwsol.host.command_line import run_command
from fastwsol.host.ticker import Ticker
download._PIECE_BYTES = 100_000
update = Ticker.update
Ticker.update = lambda ticker, done: os.kill(os.getpid(), {int(number)}) if done == 300_000 else update(ticker, done)
sys.exit(run_command(lambda _: download.fetch(download.{download!r}, Path({str(tmp_path)!r})) and 0))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == INTERRUPTED, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.endswith("0.3 MB are kept; the same command goes on from there")
    assert fetch(download, tmp_path).read_bytes() == CONTENT
    assert behaviour.asked[-1]["Range"] == "bytes=300000-"


def test_two_at_once_do_not_write_into_one_file(server: tuple[Behaviour, Download], tmp_path: Path) -> None:
    with module.sole_worker(tmp_path), pytest.raises(UserError, match="another process is at work here"):
        fetch(server[1], tmp_path)


@pytest.mark.usefixtures("every_line")
def test_progress_says_how_much_how_fast_and_how_long(
    server: tuple[Behaviour, Download],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fetch(server[1], tmp_path)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("0.7 of 0.7 MB  ")
    assert last.endswith(" MB/s  0 s left")


def test_packing_without_a_source_downloads_it_into_data_raw(
    server: tuple[Behaviour, Download],
    layout: Path,
    as_zip: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    behaviour, download = server
    behaviour.content = as_zip(layout).read_bytes()
    md5 = hashlib.md5(behaviour.content, usedforsecurity=False).hexdigest()
    download = replace(download, bytes=len(behaviour.content), md5=md5)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # the second time it is there
        assert TinyImageNet(find_source(PackFlags(), download)).count("train") == 9
        assert names(tmp_path / "data" / "raw") == [NAME]
    assert len(behaviour.asked) == 1


def test_a_source_that_is_named_and_missing_is_never_downloaded(
    server: tuple[Behaviour, Download], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_source(PackFlags(source=Path("data/raw")), server[1]) == Path("data/raw")
    assert server[0].asked == []
    assert run_command(main, ["--source", "data/raw"]) == USER_ERROR


def test_the_command_without_a_network_says_what_to_do(tmp_path: Path) -> None:
    """As a process, with a proxy that nobody answers at: nothing leaves the machine."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    command = [sys.executable, str(ROOT / "scripts" / "pack.py")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == FAILURE
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"failed: {TINY_IMAGENET.url}: cannot be reached")
    for what in ("put a copy of it into data/raw", "--source", "--synthetic"):
        assert what in line
    assert "248.1 MB" in done.stdout
    assert "non-commercial research and teaching" in done.stdout
    assert names(tmp_path) == ["data"]
    assert names(tmp_path / "data" / "raw") == []
