"""`python -m fastwsol.convert`, and what it writes packed again: nothing is lost that the format can hold."""

from pathlib import Path

import numpy as np
import pytest
from conftest import noise_jpeg
from layouts import mask_of, packed_again, run

from fastwsol import convert, pack
from fastwsol.dataset.shards import Split, open_shards
from fastwsol.sources.encode import as_png

CLASSES = ("bird", "cat", "dog")
BOXES = """name,x0,y0,x1,y1,label,difficult
train/bird/0.jpg,3.25,4,30.5,33.1,bird,0
train/bird/0.jpg,40,5,60,20,cat,0
train/bird/1.jpg,3,4,30,33,bird,1
train/bird/1.jpg,0,4,31,33,bird,0
train/cat/0.jpg,0.1,0.2,63.9,47.8,cat,0
train/dog/2.jpg,8,8,20,20,dog,0
val/dog/0.jpg,5,6,50,40,dog,0
val/dog/0.jpg,1,2,9,8,bird,1
val/cat/1.jpg,7,7,20,21,cat,0
"""
WITH_MASK = {"train/bird/0.jpg": (3, 4, 31, 34), "val/dog/0.jpg": (5, 6, 50, 40)}
WIDTH, HEIGHT = 64, 48


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes, three images of train and two of val each; boxes of some, and masks of two."""
    root = tmp_path_factory.mktemp("set")
    for split, count in (("train", 3), ("val", 2)):
        for label, name in enumerate(CLASSES):
            folder = root / "photos" / split / name
            folder.mkdir(parents=True)
            for k in range(count):
                (folder / f"{k}.jpg").write_bytes(noise_jpeg(10 * label + k + len(split), size=(WIDTH, HEIGHT)))
    for name, (x0, y0, x1, y1) in WITH_MASK.items():
        path = root / "masks" / f"{name}.png"
        path.parent.mkdir(parents=True)
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[y0:y1, x0:x1] = 255
        mask[y0 + 5 : y0 + 9, x0 + 4 : x0 + 8] = 0
        mask[:2] = 128
        path.write_bytes(as_png(mask))
    (root / "boxes.csv").write_text(BOXES)
    flags = ["--layout", "imagefolder", "--source", root / "photos", "--boxes", root / "boxes.csv"]
    assert run(pack.main, *flags, "--masks", root / "masks", "--out", root / "shards") == 0
    return root / "shards"


def assert_same(one: Split, other: Split) -> None:
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.widths, other.widths)
    np.testing.assert_array_equal(one.heights, other.heights)
    assert [one.image(k) for k in range(len(one))] == [other.image(k) for k in range(len(other))]
    np.testing.assert_array_equal(one.objects.offsets, other.objects.offsets)
    np.testing.assert_array_equal(one.objects.labels, other.objects.labels)


def test_coco_gives_back_what_was_packed(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(convert.main, shards, "--format", "coco", "--out", tmp_path / "coco") == 0
    said = capsys.readouterr().out
    assert "coco, 15 images, 9 objects" in said
    assert "coco has no place for 2 masks with pixels that are left out" in said
    before, after = open_shards(shards), packed_again(tmp_path / "coco", "coco")
    assert before.manifest.classes == after.manifest.classes
    for name in ("train", "val"):
        one, other = before.splits[name], after.splits[name]
        assert_same(one, other)
        np.testing.assert_array_equal(one.objects.boxes, other.objects.boxes)
        np.testing.assert_array_equal(one.objects.difficult, other.objects.difficult)
        for k in range(len(one)):
            ours, theirs = mask_of(one, k), mask_of(other, k)
            assert (ours is None) == (theirs is None)
            if ours is not None and theirs is not None:
                np.testing.assert_array_equal(ours == 255, theirs == 255)


def test_voc_gives_back_what_was_packed_in_whole_pixels(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(convert.main, shards, "--format", "voc", "--out", tmp_path / "voc") == 0
    said = capsys.readouterr().out
    assert "voc has no place for 2 boxes with fractions of a pixel, 9 classes of images without a box" in said
    capsys.readouterr()
    before, after = open_shards(shards), packed_again(tmp_path / "voc", "voc")
    said = capsys.readouterr().out
    assert "9 images without an object that counts, left out" in said
    for name in ("train", "val"):
        one = before.splits[name]
        kept = np.flatnonzero(np.diff(one.objects.offsets) > 0)
        one, other = one.subset(name, kept), after.splits[name]
        names_of = [[each.name for each in shard.manifest.classes] for shard in (before, after)]
        assert [names_of[0][label] for label in one.labels] == [names_of[1][label] for label in other.labels]
        boxes = one.objects.boxes
        np.testing.assert_array_equal(np.hstack([np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])]), other.objects.boxes)
        np.testing.assert_array_equal(one.objects.difficult, other.objects.difficult)
        for k in range(len(one)):
            ours, theirs = mask_of(one, k), mask_of(other, k)
            assert (ours is None) == (theirs is None)
            if ours is not None and theirs is not None:
                np.testing.assert_array_equal(ours, theirs)


def test_class_folders_give_back_what_was_packed(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "folders"
    assert run(convert.main, shards, "--format", "class-folders", "--out", out) == 0
    assert "has no place" not in capsys.readouterr().out
    flags = ["--layout", "imagefolder", "--source", out / "images", "--boxes", out / "boxes.csv"]
    assert run(pack.main, *flags, "--masks", out / "masks", "--out", tmp_path / "again") == 0
    assert "nobody has judged" not in capsys.readouterr().out
    before, after = open_shards(shards), open_shards(tmp_path / "again")
    assert before.manifest.classes == after.manifest.classes
    for name in ("train", "val"):
        one, other = before.splits[name], after.splits[name]
        rows = range(len(one))
        assert one.names(rows) == other.names(rows)
        np.testing.assert_array_equal(one.labels, other.labels)
        for field in ("boxes", "labels", "difficult", "offsets"):
            np.testing.assert_array_equal(getattr(one.objects, field), getattr(other.objects, field))
        for k in rows:
            assert bytes(one.image(k)) == bytes(other.image(k))
            ours, theirs = mask_of(one, k), mask_of(other, k)
            assert (ours is None) == (theirs is None)
            if ours is not None and theirs is not None:
                np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("form", ["csv", "jsonl", "label-studio", "coco-polygons", "yolo", "yolo-segments", "masks"])
def test_every_format_takes_a_packed_set(form: str, shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(convert.main, shards, "--format", form, "--out", out) == 0
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    if form == "masks":
        assert files == {f"{name}.png" for name in WITH_MASK}
        return
    assert {f"images/{split}/{name}/0.jpg" for split in ("train", "val") for name in CLASSES} <= files
    if form == "csv":
        flags = ("--layout", "imagefolder", "--source", out / "images", "--boxes", out / "train.csv")
        text = (out / "train.csv").read_text()
        assert "\ntrain/train/" not in text
        assert run(pack.main, *flags, "--out", tmp_path / "again") == 0


def test_one_split_alone(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(convert.main, shards, "--split", "val", "--format", "yolo", "--out", tmp_path / "yolo") == 0
    said = capsys.readouterr().out
    assert "the same images for training and for validation: only val was written" in said
    assert run(convert.main, shards, "--format", "yolo", "--out", tmp_path / "both") == 0
    assert "the same images" not in capsys.readouterr().out
    assert run(convert.main, shards, "--split", "val", "--format", "coco", "--out", tmp_path / "a") == 0
    assert [path.name for path in (tmp_path / "a/annotations").iterdir()] == ["val.json"]
