"""Copies in a packed set are found and told, whatever lies between them."""

import dataclasses
import io
import json
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import noise_jpeg
from PIL import Image

from fastwsol import pack as pack_command
from fastwsol.dataset import near_copies
from fastwsol.dataset.duplicates import Copies, copies_in
from fastwsol.dataset.shards import Split, open_shards
from fastwsol.host.command_line import run_command
from fastwsol.host.limits import usable_cores
from fastwsol.host.ticker import Ticker


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


def test_images_that_look_like_one_of_train_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene, other = smooth_scene(1), smooth_scene(2)
    files = {
        "train/cat/0.jpg": encoded(scene),
        "train/cat/1.jpg": encoded(smooth_scene(3)),
        "train/dog/2.png": encoded(other, "PNG"),
        "val/cat/a.jpg": encoded(np.roll(scene, 2, axis=1)),
        "val/cat/copy.jpg": encoded(scene),
        "val/dog/b.jpg": encoded(smooth_scene(4)),
        "val/dog/c.jpg": encoded((other * 0.8).astype(np.uint8)),
        "val/dog/half.jpg": encoded((other * 0.6 + smooth_scene(5) * 0.4).astype(np.uint8)),
        "val/dog/plain.jpg": encoded(np.full_like(other, 90)),
    }
    out = packed(tmp_path, files)
    assert (
        "2 images look like one of train, and may be shots of one scene, so that results may be too good: "
        "val/cat/a.jpg like train/cat/0.jpg, val/dog/c.jpg like train/dog/2.png; all are in "
        f"{out / 'near-copies.json'}"
    ) in capsys.readouterr().out
    listed = json.loads((out / "near-copies.json").read_text())
    assert [(each["image"], each["of_train"], each["split"]) for each in listed] == [
        ("val/cat/a.jpg", "train/cat/0.jpg", "val"),
        ("val/dog/c.jpg", "train/dog/2.png", "val"),
    ]
    assert all(0.9 <= each["correlation"] <= 1 for each in listed)


def test_a_set_without_val_or_with_few_images_has_none(tmp_path: Path) -> None:
    files = {f"train/{name}/{k}.jpg": encoded(smooth_scene(1)) for name in "ab" for k in range(3)}
    shards = open_shards(packed(tmp_path, files | {"val/a/0.jpg": encoded(smooth_scene(7))}))
    assert near_copies.near_copies(shards) == []
    for name in ("val", "train"):
        none = np.arange(0)
        some = dataclasses.replace(shards, splits=shards.splits | {name: shards.splits[name].subset(name, none)})
        assert near_copies.near_copies(some) == []


def test_images_are_read_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred large ones would not fit into memory together."""
    places = [f"{split}/{name}/{k}.jpg" for split in SPLITS for name in "ab" for k in range(50)]
    files = {name: noise_jpeg(seed) for seed, name in enumerate(places)}
    shards = open_shards(packed(tmp_path, files))
    held, most = 0, 0

    def counted(image: bytes) -> np.ndarray:
        nonlocal held, most
        time.sleep(0.001)
        held -= 1
        return thumbnail(image)

    def image(self: Split, row: int) -> bytes:
        nonlocal held, most
        held += 1
        most = max(most, held)
        return read(self, row)

    thumbnail, read = near_copies.thumbnail, Split.image
    monkeypatch.setattr(near_copies, "thumbnail", counted)
    monkeypatch.setattr(Split, "image", image)
    near_copies.near_copies(shards)
    assert most <= 2 * usable_cores()


def test_a_stop_does_not_wait_for_all_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"{split}/{name}/0.jpg": noise_jpeg(0) for split in SPLITS for name in "ab"}
    files |= {f"train/a/{k}.jpg": noise_jpeg(k) for k in range(50)}
    shards = open_shards(packed(tmp_path, files))
    begun = []

    def slow(image: bytes) -> np.ndarray:
        begun.append(image)
        time.sleep(0.02)
        return thumbnail(image)

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    thumbnail = near_copies.thumbnail
    monkeypatch.setattr(near_copies, "thumbnail", slow)
    monkeypatch.setattr(Ticker, "update", stopped)
    with pytest.raises(KeyboardInterrupt):
        near_copies.near_copies(shards)
    assert len(begun) < 25


def test_what_pillow_cannot_read_small_is_decoded_as_for_packing(monkeypatch: pytest.MonkeyPatch) -> None:
    image = encoded(smooth_scene(1), "PNG")
    expected = near_copies.thumbnail(image)
    opened = Image.open

    def refuses(file: io.BytesIO, formats: object = None) -> Image.Image:
        if formats is None:
            raise OSError("not today")
        return opened(file, formats=formats)

    monkeypatch.setattr(Image, "open", refuses)
    np.testing.assert_allclose(near_copies.thumbnail(image), expected, atol=1e-6)


def test_of_a_large_set_it_is_said_that_they_were_not_looked_for(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(near_copies, "MOST_IMAGES", 3)
    scene = smooth_scene(1)
    files = {f"{split}/{name}/{k}.jpg": encoded(np.roll(scene, k)) for split, k in SPLITS.items() for name in "ab"}
    out = packed(tmp_path, files)
    assert "were not looked for, as there are more than 3" in capsys.readouterr().out
    assert not (out / "near-copies.json").exists()


SPLITS = {"train": 0, "val": 1}


def smooth_scene(seed: int) -> np.ndarray:
    """Pixels [96, 120, 3] that differ as much as scenes do, and little from one pixel to the next."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((120, 96), Image.Resampling.BICUBIC))


def encoded(pixels: np.ndarray, form: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()
