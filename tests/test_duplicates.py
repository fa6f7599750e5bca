"""Copies in a packed set are found and told, whatever lies between them."""

import json
from pathlib import Path

import pytest
from conftest import noise_jpeg

from fastwsol import pack as pack_command
from fastwsol.dataset.duplicates import Copies, copies_in
from fastwsol.dataset.shards import open_shards
from fastwsol.host.command_line import run_command


def packed(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "set" / name).write_bytes(content)
    flags = ["--layout", "imagefolder", "--source", str(root / "set"), "--out", str(root / "shards")]
    assert run_command(pack_command.main, flags) == 0
    return root / "shards"


def test_copies_are_counted_by_class_and_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = [noise_jpeg(k) for k in range(6)]
    files = {
        "train/cat/0.jpg": images[0],
        "train/cat/1.jpg": images[1],
        "train/cat/2.jpg": images[0],
        "train/dog/3.jpg": images[0],
        "train/dog/4.jpg": images[3],
        "train/dog/5.jpg": images[4],
        "val/cat/6.jpg": images[1],
        "val/dog/7.jpg": images[5],
    }
    shards = open_shards(packed(tmp_path, files))
    groups = [[shards.splits[each.split].names([each.row])[0] for each in group] for group in copies_in(shards)]
    assert sorted(map(sorted, groups)) == [
        ["train/cat/0.jpg", "train/cat/2.jpg", "train/dog/3.jpg"],
        ["train/cat/1.jpg", "val/cat/6.jpg"],
    ]
    said = capsys.readouterr().out
    assert (
        "copies, byte for byte, of an image that comes before: 3; of another class than that: 1 (train/dog/3.jpg is "
        "train/cat/0.jpg); in another split, so that what is measured there was trained on: 1 (val/cat/6.jpg is "
        f"train/cat/1.jpg); all are in {tmp_path / 'shards' / 'copies.json'}"
    ) in said
    listed = json.loads((tmp_path / "shards" / "copies.json").read_text())
    assert len(listed) == 3
    assert {"copy": "val/cat/6.jpg", "split": "val", "class": "cat"}.items() <= next(
        each for each in listed if each["of"] == "train/cat/1.jpg"
    ).items()


def test_a_set_without_copies_says_nothing(tmp_path: Path) -> None:
    files = {f"train/{name}/{k}.jpg": noise_jpeg(k + 10 * ord(name)) for name in "ab" for k in range(3)}
    files |= {f"val/{name}/{k}.jpg": noise_jpeg(50 + k + 10 * ord(name)) for name in "ab" for k in range(1)}
    copies = Copies(open_shards(packed(tmp_path, files)))
    assert (copies.note, copies.listed) == ("", [])
    assert not (tmp_path / "shards" / "copies.json").exists()


def test_images_that_differ_in_the_middle_alone_are_no_copies(tmp_path: Path) -> None:
    """They have one length, and begin and end alike."""
    image = noise_jpeg(0)

    def with_comment(middle: bytes) -> bytes:
        comment = bytes(3000) + middle + bytes(2999)
        return image[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + image[2:]

    files = {
        "train/cat/0.jpg": with_comment(b"a"),
        "train/dog/1.jpg": with_comment(b"b"),
        "val/cat/2.jpg": noise_jpeg(2),
        "val/dog/3.jpg": noise_jpeg(3),
    }
    assert list(copies_in(open_shards(packed(tmp_path, files)))) == []


def test_what_is_said_of_copies_counts_each_of_them_beside_the_first(tmp_path: Path) -> None:
    image = noise_jpeg(0)
    files = {f"train/{name}.jpg": image for name in ("cat/0", "dog/1", "dog/2")}
    files |= {"val/cat/3.jpg": image, "val/dog/4.jpg": noise_jpeg(4), "train/cat/9.jpg": noise_jpeg(9)}
    assert Copies(open_shards(packed(tmp_path, files))).note == (
        "copies, byte for byte, of an image that comes before: 3; of another class than that: 2 (train/dog/1.jpg is "
        "train/cat/0.jpg, train/dog/2.jpg is train/cat/0.jpg); in another split, so that what is measured there was "
        "trained on: 1 (val/cat/3.jpg is train/cat/0.jpg)"
    )


def test_copies_that_do_no_harm_are_named_where_there_are_no_others(tmp_path: Path) -> None:
    files = {f"{name}.jpg": noise_jpeg(0) for name in ("train/cat/0", "train/cat/1")}
    files |= {f"{name}.jpg": noise_jpeg(k) for k, name in enumerate(("train/dog/2", "val/cat/3", "val/dog/4"), 2)}
    assert Copies(open_shards(packed(tmp_path, files))).note == (
        "copies, byte for byte, of an image that comes before: 1 (train/cat/1.jpg is train/cat/0.jpg)"
    )
