"""Promise 4: shards that are not the ones that were packed are refused before Arrow parses them, by name."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from fastwsol.dataset.packer import pack
from fastwsol.dataset.shards import MANIFEST_NAME, open_shards
from fastwsol.host.errors import UserError
from fastwsol.sources.synthetic import Synthetic

from .tally import Tally

PROMISE = "4 tampered shards refused"
FLIPS = 1000
SHARD, OTHER = "train-00000.arrow", "train-00001.arrow"


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Several shards a split. Shared: copy it."""
    folder = tmp_path_factory.mktemp("tampered") / "shards"
    pack(Synthetic(class_count=2, train_count=30, val_count=15), folder, max_shard_bytes=48 * 1024, workers=1)
    return folder


@pytest.fixture
def no_arrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """To parse anything is to fail: what is refused is refused before that."""

    def parsed(*_: object, **__: object) -> None:
        raise AssertionError("Arrow was given bytes that are not the ones that were packed")

    monkeypatch.setattr(pa.ipc, "open_file", parsed)
    monkeypatch.setattr(pa.ipc, "open_stream", parsed)


def complaint(folder: Path) -> str:
    """What opening says; empty where it opens."""
    try:
        open_shards(folder)
    except UserError as error:
        return str(error)
    return ""


def test_one_bit(shards: Path, tmp_path: Path, tally: Tally, full: bool, no_arrow: None) -> None:
    """The first shard that is opened is the one that is damaged, so that no whole one is parsed before it."""
    folder = shutil.copytree(shards, tmp_path / "shards")
    content = (folder / SHARD).read_bytes()
    count = tally.of(PROMISE, "one bit of a shard flipped")
    drawn = random.Random(0)
    for _ in range(FLIPS if full else 100):
        damaged = bytearray(content)
        offset = drawn.randrange(len(content))
        damaged[offset] ^= 1 << drawn.randrange(8)
        (folder / SHARD).write_bytes(damaged)
        count(f"offset {offset}", SHARD in complaint(folder))
    assert count.lost == []


def truncated(folder: Path, share: float) -> str:
    content = (folder / SHARD).read_bytes()
    (folder / SHARD).write_bytes(content[: int(len(content) * share)])
    return SHARD


def swapped(folder: Path) -> str:
    one, other = (folder / SHARD).read_bytes(), (folder / OTHER).read_bytes()
    (folder / SHARD).write_bytes(other)
    (folder / OTHER).write_bytes(one)
    return SHARD


def dropped(folder: Path) -> str:
    (folder / SHARD).unlink()
    return SHARD


def emptied(folder: Path) -> str:
    (folder / SHARD).write_bytes(b"")
    return SHARD


def lengthened(folder: Path) -> str:
    with (folder / SHARD).open("ab") as file:
        file.write(b"\0")
    return SHARD


def edited(change: Callable[[dict], object]) -> Callable[[Path], str]:
    """The manifest changed, and written as the program writes it."""

    def edit(folder: Path) -> str:
        fields = json.loads((folder / MANIFEST_NAME).read_text())
        change(fields)
        (folder / MANIFEST_NAME).write_text(json.dumps(fields, indent=2) + "\n")
        return ""

    return edit


def of_first_shard(change: Callable[[dict], object]) -> Callable[[dict], object]:
    return lambda fields: change(fields["splits"]["train"]["shards"][0])


HURTS: dict[str, Callable[[Path], str]] = {
    "cut in half": lambda folder: truncated(folder, 0.5),
    "cut by its end": lambda folder: truncated(folder, 0.999),
    "emptied": emptied,
    "a byte longer": lengthened,
    "swapped with another": swapped,
    "dropped": dropped,
    "the manifest names another hash": edited(of_first_shard(lambda shard: shard.update(sha256="0" * 64))),
    "the manifest names a file elsewhere": edited(of_first_shard(lambda shard: shard.update(file="../x.arrow"))),
    "the manifest is of another version": edited(lambda fields: fields.update(schema_version=99)),
    "the manifest lacks a split's shards": edited(lambda fields: fields["splits"]["train"].pop("shards")),
    "the manifest lacks its classes": edited(lambda fields: fields.pop("classes")),
}


@pytest.mark.parametrize("hurt", HURTS)
def test_a_set_that_is_not_whole(hurt: str, shards: Path, tmp_path: Path, tally: Tally, no_arrow: None) -> None:
    folder = shutil.copytree(shards, tmp_path / "shards")
    named = HURTS[hurt](folder) or MANIFEST_NAME
    count = tally.of(PROMISE, "a shard cut, emptied, lengthened, swapped or dropped, or the manifest edited")
    said = complaint(folder)
    count(hurt, named in said or (named == MANIFEST_NAME and SHARD in said))
    assert count.lost == [], said
