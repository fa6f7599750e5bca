"""Boxes of class folders: from CSV and COCO's JSON, and what is refused."""

import json
from pathlib import Path

import pytest
from class_folders import boxes_of, pack_flags, ten_of_each_class, train_and_val
from conftest import noise_jpeg

from fastwsol import pack as pack_command
from fastwsol.dataset.packer import pack
from fastwsol.dataset.shards import open_shards
from fastwsol.host.command_line import run_command
from fastwsol.host.errors import UserError
from fastwsol.sources.imagefolder import ImageFolder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return ten_of_each_class(tmp_path / "photos")


@pytest.fixture
def with_val(tmp_path: Path) -> Path:
    return train_and_val(tmp_path / "photos")


def test_boxes_come_from_csv_by_path_or_by_the_last_part(with_val: Path, tmp_path: Path) -> None:
    file = tmp_path / "boxes.csv"
    file.write_text(
        "x0,y0,x1,y1,name,score\n1,2,30,40,train/bird/bird_0.jpg,0.5\n"
        '3,4,5.5,6,cat_51.jpg,\n,,,,dog_0.jpg,\n"10","11","12","13",train/bird/bird_0.jpg,1\n'
    )
    pack(ImageFolder(with_val, boxes=file), tmp_path / "shards")
    splits = open_shards(tmp_path / "shards").splits
    assert boxes_of(splits["train"]) == {"train/bird/bird_0.jpg": [[1, 2, 30, 40], [10, 11, 12, 13]]}
    assert boxes_of(splits["val"]) == {"val/cat/cat_51.jpg": [[3, 4, 5.5, 6]]}


def coco(images: list[str], annotations: list[dict]) -> dict:
    return {
        "images": [{"id": 10 + k, "file_name": name} for k, name in enumerate(images)],
        "annotations": annotations,
        "categories": [{"id": k, "name": name} for k, name in enumerate(("bird", "cat", "thing", "dog"), 1)],
    }


def test_boxes_come_from_coco_but_crowds_and_those_of_another_class(with_val: Path, tmp_path: Path) -> None:
    file = tmp_path / "boxes.json"
    annotations = [
        {"image_id": 10, "bbox": [1, 2, 10, 20], "category_id": 1},
        {"image_id": 10, "bbox": [5, 5, 5, 5], "category_id": 2},  # a cat in a bird's image
        {"image_id": 10, "bbox": [0, 0, 3, 3], "category_id": 3},
        {"image_id": 11, "bbox": [0.5, 0, 3, 3], "category_id": 4},
        {"image_id": 11, "bbox": [0, 0, 30, 30], "category_id": 4, "iscrowd": 1},
    ]
    file.write_text(json.dumps(coco(["bird_0.jpg", "val/dog/deep/dog_50.jpg"], annotations)))
    pack(ImageFolder(with_val, boxes=file), tmp_path / "shards")
    splits = open_shards(tmp_path / "shards").splits
    assert boxes_of(splits["train"]) == {"train/bird/bird_0.jpg": [[1, 2, 11, 22]]}
    assert boxes_of(splits["val"]) == {"val/dog/deep/dog_50.jpg": [[0.5, 0, 3.5, 3]]}


@pytest.mark.parametrize("edges", ["-0.4,0,64.9,48.2", "-2,-1,66,50"])
def test_a_box_that_hangs_over_the_edge_is_cut_and_one_farther_out_is_refused(
    with_val: Path, tmp_path: Path, edges: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in published sets, by up to two pixels; how many is said."""
    file = tmp_path / "boxes.csv"
    file.write_text(f"name,x0,y0,x1,y1\nbird_0.jpg,{edges}\n")
    pack(ImageFolder(with_val, boxes=file), tmp_path / "shards")
    assert boxes_of(open_shards(tmp_path / "shards").splits["train"]) == {"train/bird/bird_0.jpg": [[0, 0, 64, 48]]}
    assert "1 box reached up to 2 pixels outside the image: cut at the edge" in capsys.readouterr().out
    file.write_text("name,x0,y0,x1,y1\nbird_0.jpg,0,0,66.1,48\n")
    with pytest.raises(UserError, match=r"reaches outside the 64x48 pixels.*boxes\.csv line 2.*correct the box"):
        pack(ImageFolder(with_val, boxes=file), tmp_path / "other")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("name,x0,y0,x1\nbird_0.jpg,1,2,3\n", "boxes.csv line 1: no column 'y1'"),
        ("", "boxes.csv line 1: no column 'name'"),
        ("name,x0,y0,x1,y1\nnone.jpg,1,2,3,4\n", "boxes.csv line 2: 'none.jpg' is no image of the source"),
        ("name,x0,y0,x1,y1\n\nbird_0.jpg,1,2,3\n", "boxes.csv line 3: found 4 values"),
        ("name,x0,y0,x1,y1\nbird_0.jpg,1,2,three,4\n", "boxes.csv line 2: ['1', '2', 'three', '4'] are not four"),
        ("name,x0,y0,x1,y1\nbird_0.jpg,1,2,nan,4\n", "boxes.csv line 2"),
        ("name,x0,y0,x1,y1\nbird_0.jpg,9,2,3,4\n", "FILE line 2: x0 9 .. x1 3, y0 2 .. y1 4 is no box"),
        ("name,x0,y0,x1,y1\nsame.jpg,1,2,3,4\n", "may be bird/same.jpg or cat/same.jpg; give its path"),
    ],
)
def test_bad_lines_of_csv_are_named(photos: Path, content: str, words: str, capsys) -> None:
    for name in ("bird", "cat"):
        (photos / name / "same.jpg").write_bytes(noise_jpeg(1))
    file = photos.parent / "boxes.csv"
    file.write_text(content)
    assert run_command(pack_command.main, pack_flags(photos, "--boxes", file)) == 2
    assert words.replace("FILE", str(file)) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "boxes.json line 1: not JSON"),
        ("[]", "not COCO's JSON"),
        ('{"images": []}', "not COCO's JSON (no 'annotations')"),
        ('{"images": [3], "annotations": []}', "not COCO's JSON"),
        (json.dumps(coco(["bird_0.jpg"], [{"image_id": 10}])), "annotation 0: has no image_id or no bbox"),
        (json.dumps(coco([], [{"image_id": 7, "bbox": [0, 0, 1, 1], "id": 3}])), "annotation 0 (id 3): image_id 7"),
        (
            json.dumps(coco(["bird_0.jpg"], [{"image_id": 10, "bbox": [0, 0, 1], "category_id": 1}])),
            "is not x, y, width",
        ),
        (json.dumps(coco(["bird_0.jpg"], [{"image_id": 10, "bbox": [5, 5, 0, 1], "category_id": 1}])), "or is empty"),
        (
            json.dumps(coco(["bird_0.jpg"], [{"image_id": 10, "bbox": [0, 0, int("9" * 400), 1], "category_id": 1}])),
            "four",
        ),
        (
            json.dumps(coco(["bird_0.jpg"], [{"image_id": 10, "bbox": [0] * 4, "category_id": []}])),
            "category_id [] is none of",
        ),
        ('{"images": [], "annotations": [], "info": ' + "9" * 5000 + "}", "not COCO's JSON"),
        (
            json.dumps(coco(["nope.jpg"], [{"image_id": 10, "bbox": [0, 0, 1, 1], "category_id": 1}])),
            "'nope.jpg' is no",
        ),
    ],
)
def test_bad_annotations_of_coco_are_named(photos: Path, content: str, words: str, capsys) -> None:
    file = photos.parent / "boxes.json"
    file.write_text(content)
    assert run_command(pack_command.main, pack_flags(photos, "--boxes", file)) == 2
    assert words in capsys.readouterr().err


def test_boxes_that_a_network_predicted_are_named_in_the_set(photos: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "boxes.csv").write_text("name,x0,y0,x1,y1,label,score\nbird_0.jpg,1,1,20,20,bird,0.9\n")
    assert run_command(pack_command.main, pack_flags(photos, "--boxes", tmp_path / "boxes.csv")) == 0
    assert "nobody has judged" in capsys.readouterr().out
    assert open_shards(photos.parent / "out").manifest.source == (
        "photos (class folders, 0.1 of them val, with predicted boxes)"
    )
