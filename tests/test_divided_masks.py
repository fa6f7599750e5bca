"""A packed set has one mask an image: what becomes of it where it is written for each object."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import noise_jpeg
from layouts import HEIGHT, WIDTH, png, put, region, run
from PIL import Image
from pycocotools.coco import COCO

from fastwsol import convert, pack

BODY = (4, 6, 40, 36)
HEAD = (10, 10, 20, 18)


def packed(root: Path, boxes: list[tuple[int, int, int, int]]) -> Path:
    """Two images of a cat with masks of its whole body, the first with boxes that hold a part of it."""
    for number in range(2):
        for label, name in enumerate(("cat", "dog")):
            for split in ("train", "val"):
                place = root / f"photos/{split}/{name}/{number}.jpg"
                put(place, noise_jpeg(10 * label + 2 * number + len(split), size=(WIDTH, HEIGHT)))
        put(root / f"masks/train/cat/{number}.jpg.png", png(region(BODY)))
    lines = [f"train/cat/0.jpg,{','.join(map(str, box))}\n" for box in boxes]
    put(root / "boxes.csv", ("name,x0,y0,x1,y1\n" + "".join(lines)).encode())
    flags = ["--layout", "imagefolder", "--source", root / "photos", "--boxes", root / "boxes.csv"]
    assert run(pack.main, *flags, "--masks", root / "masks", "--out", root / "shards") == 0
    return root / "shards"


def test_the_only_object_of_an_image_has_the_whole_mask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Though its box is of a part, as of heads beside masks of bodies."""
    shards = packed(tmp_path, [HEAD])
    for form in ("coco", "voc"):
        assert run(convert.main, shards, "--format", form, "--out", tmp_path / form) == 0
    assert "in no box" not in capsys.readouterr().out
    truth = COCO(tmp_path / "coco/annotations/train.json")
    np.testing.assert_array_equal(truth.annToMask(truth.anns[1]) * 255, region(BODY))
    for kind in ("Object", "Class"):
        pixels = np.array(Image.open(tmp_path / f"voc/Segmentation{kind}/train/cat/0.png"))
        np.testing.assert_array_equal(pixels, region(BODY) // 255)


def test_pixels_in_no_box_of_several_objects_are_told_and_are_no_background(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = packed(tmp_path, [HEAD, (24, 10, 36, 20)])
    assert run(convert.main, shards, "--format", "voc", "--out", tmp_path / "voc") == 0
    assert (
        "1 mask had pixels in no box, and those are of no object now: a packed set has one" in capsys.readouterr().out
    )
    objects, classes = (
        np.array(Image.open(tmp_path / f"voc/Segmentation{kind}/train/cat/0.png")) for kind in ("Object", "Class")
    )
    inside = region(HEAD) > 0
    assert {*objects[inside].tolist()} == {1}
    assert {*objects[region(BODY) == 0].tolist()} == {0}
    assert {*objects[(region(BODY) > 0) & (objects != 1) & (objects != 2)].tolist()} == {255}
    np.testing.assert_array_equal(classes, region(BODY) // 255)


def test_an_image_that_a_review_left_without_a_mask_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two images the box of one was drawn anew."""
    counts = {"size": [HEIGHT, WIDTH], "counts": [4 * HEIGHT, 6 * HEIGHT, (WIDTH - 10) * HEIGHT]}
    images, annotations = [], []
    for number, mask in ((1, counts), (2, [])):
        put(tmp_path / f"photos/{number}.jpg", noise_jpeg(number, size=(WIDTH, HEIGHT)))
        images.append({"id": number, "file_name": f"{number}.jpg", "width": WIDTH, "height": HEIGHT})
        annotations.append({"image_id": number, "category_id": 1, "bbox": [4, 0, 6, 40], "segmentation": mask})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cat"}]}
    put(tmp_path / "reviewed.json", json.dumps(content).encode())
    assert run(convert.main, tmp_path / "reviewed.json", "--format", "masks", "--out", tmp_path / "masks") == 0
    said = capsys.readouterr().out
    assert "masks: masks, 1 image, 1 object, 1 mask\n" in said
    assert "1 image without a mask" in said
    assert len([*(tmp_path / "masks").rglob("*.png")]) == 1
    for form in ("class-folders", "yolo-segments"):
        flags = ("--format", form, "--images", tmp_path / "photos", "--out", tmp_path / form)
        assert run(convert.main, tmp_path / "reviewed.json", *flags) == 0
    said = capsys.readouterr().out
    assert "class-folders: class-folders, 2 images, 2 objects, 1 mask\n" in said
    assert (
        "yolo-segments has no place for 1 box beside masks, 1 mask to the pixel (outlines, of an IoU of 0.98 " in said
    )
    assert "at least), 1 box without a mask, but as four corners" in said
