"""Promise 6: an archive or image made to do harm is refused with a reason; nothing crashes, no file lands outside the
target, and memory stays within bounds.
"""

import io
import itertools
import stat
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fastwsol.dataset.shards import QUARANTINE_NAME

from .dying import Trial
from .hostile import decode_packed, good_images, good_zip, look_at_archives, look_at_images, pack_images, predict_images
from .tally import Tally
from .works import train_small

PROMISE = "6 hostile archives and images"
MEMORY = 2 * 2**30
"""Bytes that a command may take beyond what importing it took: one image may have 64 million pixels."""
SECONDS = 600
"""Of each search, in full."""
EXAMPLES = 2000
"""Between two packings, in full."""
JPEG = good_images()[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, synthetic_shards: Path) -> Path:
    """A finished run. Shared: read it."""
    folder = tmp_path_factory.mktemp("hostile")
    assert Trial(train_small, synthetic_shards, folder / "run", output=folder / "log").wait() == 0
    return folder / "run"


def member(name: str, content: bytes = JPEG, attributes: int = 0) -> Callable[[bytes], bytes]:
    """Add a member."""

    def add(archive: bytes) -> bytes:
        file = io.BytesIO(archive)
        with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as opened:
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = attributes << 16, zipfile.ZIP_DEFLATED
            if name == "a/1.jpg":
                with pytest.warns(UserWarning, match="Duplicate"):
                    opened.writestr(info, content)
            else:
                opened.writestr(info, content)
        return file.getvalue()

    return add


def in_last_entry(offset: int, *values: int) -> Callable[[bytes], bytes]:
    """Overwrite 32-bit fields of the directory's entry of a member that is added."""

    def change(archive: bytes) -> bytes:
        content = bytearray(member("b/9.jpg", bytes(2**19))(archive))
        struct.pack_into(f"<{len(values)}I", content, content.rindex(b"PK\1\2") + offset, *values)
        return bytes(content)

    return change


ARCHIVES = {
    "a path out of the root": member("../evil.jpg"),
    "a path out of the root by a folder": member("a/../../evil.jpg"),
    "an absolute path": member("/evil.jpg"),
    "a drive": member("C:/evil.jpg"),
    "backslashes": member("..\\evil.jpg"),
    "a link": member("a/link.jpg", b"/etc/passwd", stat.S_IFLNK | 0o777),
    "a device": member("a/zero.jpg", b"", stat.S_IFCHR | 0o666),
    "one name twice": member("a/1.jpg"),
    "a member within another's bytes": in_last_entry(42, 60),
    "a directory that ends early": lambda archive: archive[:-30],
    "nothing but a directory": lambda archive: archive[archive.index(b"PK\1\2") :],
}
"""Refused whole."""
MEMBERS = {
    "a wrong CRC": in_last_entry(16, 1),
    "an announced size that is too small": in_last_entry(24, 1000),
    "an announced size that is too large": in_last_entry(24, 2**19 + 1),
    "an announced size of 4 GB": in_last_entry(24, 2**32 - 2),
    "a ratio of a thousand": member("b/9.jpg", bytes(200 * 2**20)),
}
"""Refused in one member."""


def jpeg_of(width: int, height: int) -> bytes:
    """An image whose header says that size."""
    content = bytearray(JPEG)
    struct.pack_into(">HH", content, content.index(b"\xff\xc0") + 5, height, width)
    return bytes(content)


def png_of(width: int, height: int) -> bytes:
    """A black image whose header says that size, and has as many pixels or 128 million."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(min((width + 1) * height, 2**27)), 9)
    chunks = ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    parts = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff_of(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(file, "TIFF")
    content = bytearray(file.getvalue())
    at = struct.unpack_from("<I", content, 4)[0] + 2
    for tag, value in ((0, width), (1, height)):
        struct.pack_into("<HII", content, at + 12 * tag + 2, 4, 1, value)
    return bytes(content)


IMAGES = {
    "a JPEG of 30,000 x 30,000": jpeg_of(30_000, 30_000),
    "a PNG of 30,000 x 30,000": png_of(30_000, 30_000),
    "a PNG of 2,000,000,000 x 2": png_of(2_000_000_000, 2),
    "a TIFF of 30,000 x 30,000": tiff_of(30_000, 30_000),
    "a JPEG of 0 x 0": jpeg_of(0, 0),
    "a JPEG of ten thousand scans": JPEG[:-2] + b"\xff\xda\x00\x02" * 10_000 + b"\xff\xd9",
    "nothing": b"",
    "a JPEG's first bytes": JPEG[:4],
}


class Place:
    """A folder of a trial, below which commands work, in the folder `here`; what they leave where they should not is
    seen.
    """

    def __init__(self, root: Path, run: Path) -> None:
        self.root, self._run = root, run
        (root / "here").mkdir(parents=True)
        self.log = root / "log"

    def holds_nothing_else(self) -> bool:
        """Whether the commands wrote to their targets alone."""
        expected = {"here", "source", "source.zip", "shards", "boxes.json", "log"}
        beside = {path.name for path in self.root.iterdir()} | {path.name for path in self.root.parent.iterdir()}
        nothing_here = not any((self.root / "here").iterdir())
        return nothing_here and beside <= expected | {self.root.name} and not Path("/evil.jpg").exists()

    def commands(self, source: Path, *flags: str) -> tuple[int | None, int | None]:
        """Pack `source` and predict its boxes; their exit statuses."""
        how: dict[str, Any] = {"output": self.log, "more_bytes": MEMORY, "works_in": self.root / "here"}
        packed = Trial(pack_images, source, self.root / "shards", *flags, **how).wait()
        return packed, Trial(predict_images, self._run, source, self.root / "boxes.json", **how).wait()

    def told(self, *statuses: int | None) -> str:
        """For what a trial is counted as."""
        return f"{self.root.name}: {statuses} {self.log.read_text()}"


@pytest.mark.parametrize("name", [*ARCHIVES, *MEMBERS])
def test_an_archive(name: str, run: Path, tmp_path: Path, tally: Tally) -> None:
    place, whole = Place(tmp_path / name, run), name in ARCHIVES
    source = place.root / "source.zip"
    source.write_bytes((ARCHIVES | MEMBERS)[name](good_zip()))
    packed, predicted = place.commands(source)
    lines = [line for line in place.log.read_text().splitlines() if line.startswith("error: ")]
    named = len(lines) == (2 if whole else 1) and all("source.zip" in line for line in lines)
    refused = packed == 2 and predicted == (2 if whole else 3) and named and "Traceback" not in place.log.read_text()
    count = tally.of(PROMISE, "an archive made to do harm, packed and predicted on")
    count(place.told(packed, predicted), refused and place.holds_nothing_else())
    assert count.lost == []


@pytest.mark.parametrize("name", IMAGES)
def test_an_image(name: str, run: Path, tmp_path: Path, tally: Tally) -> None:
    """Among good ones, which are taken."""
    place = Place(tmp_path / name, run)
    source = place.root / "source"
    for folder in "ab":
        (source / folder).mkdir(parents=True)
        for k in range(8):
            (source / folder / f"{k}.jpg").write_bytes(JPEG)
    (source / "b/2.jpg").write_bytes(IMAGES[name])
    packed, predicted = place.commands(source, "--quarantine")
    log = place.log.read_text()
    named = "skipped: b/2.jpg: " in log and "b/2.jpg" in (place.root / "shards" / QUARANTINE_NAME).read_text()
    refused = packed == 3 and predicted == 3 and named and "Traceback" not in log
    count = tally.of(PROMISE, "an image made to do harm, packed and predicted on")
    count(place.told(packed, predicted), refused and place.holds_nothing_else())
    assert count.lost == []


def test_images_as_large_as_are_allowed_stay_within_the_memory(run: Path, tmp_path: Path, tally: Tally) -> None:
    place = Place(tmp_path / "large", run)
    for k in range(6):
        path = place.root / "source" / "ab"[k % 2] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png_of(8192, 8192))
    ends = place.commands(place.root / "source")
    count = tally.of(PROMISE, "images of 64 million pixels, packed and predicted on within 2 GiB")
    count(place.told(*ends), ends == (0, 0))
    assert count.lost == []


def test_damaged_images_found_by_search(run: Path, tmp_path: Path, tally: Tally, full: bool) -> None:
    """Decoded one by one, then packed and predicted on; what was packed is what DALI can decode."""
    one = tally.of(PROMISE, "searches of damaged images, 2,000 each, by Hypothesis")
    many = tally.of(PROMISE, "folders of what the searches found, packed, decoded by DALI, predicted on")
    for number in numbers(full):
        place = Place(tmp_path / f"{number}" / "trial", run)
        source, shards = place.root / "source", place.root / "shards"
        examples = EXAMPLES if full else 300
        looked = Trial(look_at_images, number, examples, source, output=place.log, more_bytes=MEMORY).wait()
        one(place.told(looked), looked == 0)
        packed, predicted = place.commands(source, "--quarantine")
        decoded = Trial(decode_packed, shards, output=place.log, more_bytes=MEMORY).wait()
        ended = packed in (0, 3) and predicted in (0, 3) and decoded == 0
        many(place.told(packed, predicted, decoded), ended and place.holds_nothing_else())
        assert one.lost + many.lost == []


def test_damaged_archives_found_by_search(tmp_path: Path, tally: Tally, full: bool) -> None:
    count = tally.of(PROMISE, "searches of damaged archives, 2,000 each, by Hypothesis")
    for number in numbers(full):
        log, place = tmp_path / f"{number}.log", tmp_path / "source.zip"
        examples = EXAMPLES if full else 300
        status = Trial(look_at_archives, number, examples, place, output=log, more_bytes=MEMORY).wait()
        count(f"{number}: {status} {log.read_text()}", status == 0)
        assert count.lost == []


def numbers(full: bool) -> Iterator[int]:
    """Of searches: one, or as many as the time allows."""
    end = time.monotonic() + SECONDS * full
    for number in itertools.count():
        yield number
        if time.monotonic() >= end:
            return
