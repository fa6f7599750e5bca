"""`python -m fastwsol.convert` of predictions: parts are joined, and what a review said is kept."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import noise_jpeg
from faults.run_cases import make_run
from layouts import put, run

from fastwsol import convert, pack, predict
from fastwsol.dataset.shards import open_shards
from fastwsol.formats.class_folders import write_class_folders
from fastwsol.formats.labelled_images import About, LabelledImage, LabelledObject
from fastwsol.host.command_line import run_command
from fastwsol.prediction import predictor
from fastwsol.prediction.user_images import ImageListing, NamedImage
from fastwsol.sources import Class
from fastwsol.sources.mask_images import read_mask


@pytest.fixture(scope="module")
def predictions(tmp_path_factory: pytest.TempPathFactory, synthetic_shards: Path) -> Path:
    """A folder with 70 photos, a run, and predictions of them: whole, and in parts."""
    root = tmp_path_factory.mktemp("predictions")
    (root / "photos").mkdir()
    for k in range(70):
        (root / "photos" / f"{k:02}.jpg").write_bytes(noise_jpeg(k, size=(40 + k, 50)))
    (root / "photos" / "bad.jpg").write_bytes(b"no image")
    make_run(root / "run", synthetic_shards)
    for name, more in (("whole", ()), ("1", ("--part", "1/3")), ("2", ("--part", "2/3")), ("3", ("--part", "3/3"))):
        out = ("--out", root / f"{name}.json", "--device", "cpu", "--threads", "1")
        assert run(predict.main, root / "run", root / "photos", *out, *more) in (0, 3)
    return root


def test_parts_are_joined_to_the_file_that_one_process_writes(predictions: Path, tmp_path: Path) -> None:
    parts = [predictions / f"{k}.json" for k in (3, 1, 2)]
    assert [len(json.loads(part.read_text())["images"]) > 0 for part in parts] == [True] * 3
    assert run(convert.main, *parts, "--out", tmp_path / "all.json") == 0
    assert (tmp_path / "all.json").read_bytes() == (predictions / "whole.json").read_bytes()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("1", "2"), "is one of 3 parts, and part 3 is missing; give all of them"),
        (("1",), "is one of 3 parts, and parts 2, 3 are missing; give all"),
        (("1", "2", "2"), "is part 2 of 3, as"),
        (("1", "2", "3", "whole"), "is no part of 3, as others are"),
        (("whole", "whole-again"), "too; give each image once"),
    ],
)
def test_parts_that_are_none_are_named(
    names: tuple[str, ...], words: str, predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(predictions / "whole.json", predictions / "whole-again.json")
    assert run(convert.main, *(predictions / f"{each}.json" for each in names), "--out", tmp_path / "a.json") == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "a.json").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"end": 40}, "begins at image 64, and the part before it ends at 40; make both anew"),
        ({"number": 9}, "its part is "),
        ({"parts": 10**9}, "is no part of 1000000000, as others are"),
        ({"total": 9000}, "is no part of 3, as others are"),
        ({"of": ""}, "2.json: was made by an earlier version, which did not note what was asked"),
        ({"of": "0123456789abcdef"}, "was predicted otherwise than"),
    ],
)
def test_parts_that_do_not_make_a_whole_are_named(
    change: dict[str, int], words: str, predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As of parts that were cut otherwise, by another version or on another set."""
    content = json.loads((predictions / "2.json").read_text())
    content["info"]["part"] |= change
    (tmp_path / "2.json").write_text(json.dumps(content))
    parts = [predictions / "1.json", tmp_path / "2.json", predictions / "3.json"]
    assert run(convert.main, *parts, "--out", tmp_path / "a.json") == 2
    assert words in capsys.readouterr().err


def test_parts_of_another_prediction_are_named(
    predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads((predictions / "2.json").read_text())
    content["info"]["description"] += ", otherwise"
    (tmp_path / "2.json").write_text(json.dumps(content))
    parts = [predictions / "1.json", tmp_path / "2.json", predictions / "3.json"]
    assert run(convert.main, *parts, "--out", tmp_path / "a.json") == 2
    assert "was predicted otherwise than" in capsys.readouterr().err


@pytest.mark.parametrize("otherwise", [("--threshold", "0.9"), ("--boxes", "all"), ("--localizer", "cam-positive")])
def test_a_part_that_was_asked_otherwise_is_none_of_the_others(
    otherwise: tuple[str, str], predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_and_photos = (predictions / "run", predictions / "photos", "--device", "cpu", "--threads", "1")
    assert run(predict.main, *run_and_photos, "--part", "2/3", *otherwise, "--out", tmp_path / "2.json") in (0, 3)
    parts = [predictions / "1.json", tmp_path / "2.json", predictions / "3.json"]
    assert run(convert.main, *parts, "--out", tmp_path / "a.json") == 2
    assert "was predicted otherwise than" in capsys.readouterr().err


@pytest.mark.parametrize("size", [64, 80, 224, 448])
@pytest.mark.parametrize("images", [1, 71, 100, 4001])
def test_parts_are_the_same_images_on_every_device_and_hold_whole_batches(size: int, images: int) -> None:
    cpu, gpu = (predictor._batch_size(device, size) for device in ("cpu", "cuda"))
    listing = ImageListing([NamedImage(str(k), lambda: np.zeros((1, 1, 3), np.uint8)) for k in range(images)], [])
    end = 0
    for number in range(1, 8):
        _, part = predict.part_of(listing, number, 7)
        assert part.first == end
        assert part.first % cpu == part.first % gpu == 0 or part.first == images
        end = part.end
    assert end == images


def coco_file(path: Path, annotations: list[dict[str, Any]], **image: Any) -> Path:
    entry = {"id": 1, "file_name": "a.jpg", "width": 40, "height": 30, **image}
    content = {"images": [entry], "annotations": annotations, "categories": [{"id": 1, "name": "x"}]}
    path.write_text(json.dumps(content))
    return path


def test_keys_of_other_tools_are_said_not_to_be_taken_along(
    predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    annotation = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 9, 9], "keypoints": [], "score": 0.5}
    coco_file(tmp_path / "a.json", [annotation | {"attributes": {"occluded": True}}, annotation])
    assert run(convert.main, tmp_path / "a.json", "--format", "csv", "--out", tmp_path / "a.csv") == 0
    assert "not taken along: attributes (1) of annotations\n" in capsys.readouterr().out
    assert run(convert.main, predictions / "whole.json", "--format", "csv", "--out", tmp_path / "b.csv") == 0
    assert "not taken along" not in capsys.readouterr().out


def test_crowds_and_boxes_outside_are_counted_and_others_cut_at_the_edge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = [[-1.5, 2, 43, 10], [50, 2, 10, 10], [2, 2, -3, 5], [1, 1, 9, 9], [3, 3, 4, 4], [-5, 2, 100, 10]]
    annotations = [{"image_id": 1, "category_id": 1, "bbox": box} for box in boxes]
    annotations[3] |= {"iscrowd": 1}
    annotations[4] |= {"iscrowd": "0"}
    coco_file(tmp_path / "a.json", annotations)
    assert run(convert.main, tmp_path / "a.json", "--format", "csv", "--out", tmp_path / "a.csv") == 0
    said = capsys.readouterr().out
    assert (
        "csv has no place for 1 crowd, 2 boxes outside of their image, or empty, 2 parts of boxes outside of "
        "their image" in said
    )
    rows = (tmp_path / "a.csv").read_text().splitlines()[1:]
    assert [row.split(",")[3:7] for row in rows] == [
        ["0.0", "2.0", "40.0", "12.0"],
        ["3.0", "3.0", "7.0", "7.0"],
        ["0.0", "2.0", "40.0", "12.0"],
    ]


def test_class_folders_take_sets_of_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whose images have no class but by their boxes, and some none."""
    (tmp_path / "a.jpg").write_bytes(noise_jpeg(0, size=(40, 30)))
    annotation = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 9, 9], "segmentation": [[1, 2, 9, 2, 9, 9]]}
    content = json.loads(coco_file(tmp_path / "a.json", [annotation], category_id=None).read_text())
    content["images"].append({"id": 2, "file_name": "b.jpg", "width": 40, "height": 30})
    (tmp_path / "a.json").write_text(json.dumps(content))
    (tmp_path / "b.jpg").write_bytes(noise_jpeg(1, size=(40, 30)))
    flags = ("--format", "class-folders", "--images", tmp_path, "--out", tmp_path / "out")
    assert run(convert.main, tmp_path / "a.json", *flags) == 0
    assert (tmp_path / "out/images/x/a.jpg").is_file()
    assert (tmp_path / "out/masks/x/a.jpg.png").is_file()
    said = capsys.readouterr().out
    assert "out: class-folders, 1 image, 1 object, 1 mask\n" in said
    assert "class-folders has no place for 1 image without a class\n" in said
    place = tmp_path / "out"
    beside = f"--boxes {place}/boxes.csv --masks {place}/masks"
    assert f"to pack it: python scripts/pack.py --layout imagefolder --source {place}/images {beside}\n" in said
    assert run(convert.main, tmp_path / "a.json", "--format", "masks", "--out", tmp_path / "masks") == 0
    assert "without a class" not in capsys.readouterr().out
    (tmp_path / "a.json").write_text(json.dumps(content | {"annotations": []}))
    assert run(convert.main, tmp_path / "a.json", *flags[:-1], tmp_path / "none") == 2
    assert "no image has a class" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("image", "annotation", "words"),
    [
        ({"review": {"seconds": float("nan")}}, {}, "its review holds a number that is infinite or none"),
        ({"file_name": ""}, {}, "its file_name '' is no name of a file"),
        ({"file_name": "a\0b"}, {}, "is no name of a file"),
        ({"file_name": "a\ud800"}, {}, "is no name of a file"),
        ({"width": 10**12, "height": 10**12}, {}, "pixels, more than the"),
        ({}, {"bbox": [1e308, 1, 1e308, 1]}, "is not x, y, width, height"),
        ({}, {"segmentation": ""}, "its segmentation cannot be read"),
        ({}, {"iscrowd": "no"}, "iscrowd 'no' is neither 0 nor 1"),
        ({}, {"score": "high"}, "score 'high' is no number"),
        ({}, {"signals": [1]}, "its signals are not numbers by name"),
        ({"probabilities": [1, 2]}, {}, "its probabilities are not 1 numbers"),
        ({"width": None, "height": None}, {}, "tells no width and height; add them"),
    ],
)
def test_odd_entries_get_one_line(
    image: dict[str, Any], annotation: dict[str, Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coco_file(tmp_path / "a.json", [{"image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], **annotation}], **image)
    assert run(convert.main, tmp_path / "a.json", "--format", "masks", "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert words in said, said
    assert said.count("\n") == 1


def test_images_that_a_review_rejected_are_left_out_and_counted(
    predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty label file would say that nothing is there."""
    content = json.loads((predictions / "whole.json").read_text())
    for k, image in enumerate(content["images"]):
        image["review"] = {"phase": "sample", "verdict": "rejected" if k < 3 else "accepted"}
    (tmp_path / "reviewed.json").write_text(json.dumps(content))
    flags = ("--format", "yolo", "--images", predictions / "photos", "--out", tmp_path / "yolo")
    assert run(convert.main, tmp_path / "reviewed.json", *flags) == 0
    assert "3 images left out: rejected in a review" in capsys.readouterr().out
    assert len([*(tmp_path / "yolo" / "labels").iterdir()]) == 67


def test_predictions_that_nobody_has_judged_are_named_where_they_become_ground_truth(
    predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also behind a conversion, which keeps what a review says of an image."""
    content = json.loads((predictions / "whole.json").read_text())
    for k, image in enumerate(content["images"]):
        image["category_id"] = 1 + k % 2
        if k < 3:
            image["review"] = {"phase": "sample", "verdict": "accepted"}
    class_of = {image["id"]: image["category_id"] for image in content["images"]}
    content["annotations"] = [each | {"category_id": class_of[each["image_id"]]} for each in content["annotations"]]
    (tmp_path / "some.json").write_text(json.dumps(content))
    assert run(convert.main, tmp_path / "some.json", "--out", tmp_path / "again.json") == 0
    of_images = [
        each["id"] for each in content["images"] if any(one["image_id"] == each["id"] for one in content["annotations"])
    ]
    for number, name in enumerate(("some.json", "again.json")):
        out = tmp_path / f"shards-{number}"
        flags = ("--layout", "coco", "--source", predictions / "photos", "--boxes", tmp_path / name, "--quarantine")
        assert run(pack.main, *flags, "--out", out) in (0, 3)
        said = capsys.readouterr().out
        assert "3 of the images have boxes (and masks, where there are such) of a prediction that somebody acc" in said
        assert f"{len(of_images) - 3} of the images in the annotations have boxes that a network predicted and" in said
        assert "(coco, with predicted boxes)" in open_shards(out).manifest.source


def test_images_that_are_gone_are_counted_and_left_out_where_that_is_asked(
    predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = shutil.copytree(predictions / "photos", tmp_path / "photos")
    for name in ("03.jpg", "07.jpg"):
        (photos / name).unlink()
    flags = (predictions / "whole.json", "--format", "yolo", "--images", photos, "--out", tmp_path / "yolo")
    assert run(convert.main, *flags) == 2
    said = capsys.readouterr().err
    assert f"{photos / '03.jpg'}: missing, and the predictions name it (2 of the 70 images of the file are)" in said
    assert "or leave such images out with --skip-missing" in said
    assert not (tmp_path / "yolo").exists()
    assert run(convert.main, *flags, "--skip-missing") == 0
    said = capsys.readouterr().out
    assert "2 images left out, as no place of --images holds their files" in said
    assert "yolo, 68 images" in said
    assert len([*(tmp_path / "yolo/images").iterdir()]) == 68
    scores = {
        each["image_id"]: each["score"] for each in json.loads((predictions / "whole.json").read_text())["annotations"]
    }
    limit = sorted(scores.values())[35]
    flags = (*flags[:-1], tmp_path / "sure", "--least-score", f"{limit:.9f}")
    assert run(convert.main, *flags, "--skip-missing") == 0
    said = capsys.readouterr().out
    counts = [int(each) for each in re.findall(r"(\d+) images?(?: left|,)", said)]
    assert sum(counts) == 70, said
    for name in photos.iterdir():
        name.unlink()
    assert run(convert.main, *flags[:-3], tmp_path / "none", "--skip-missing") == 2
    assert "(70 of the 70 images of the file are)" in capsys.readouterr().err


@pytest.fixture
def reviewed(predictions: Path, tmp_path: Path) -> Path:
    """The predictions, of two classes in turn, of which a review has rejected three and accepted the others."""
    content = json.loads((predictions / "whole.json").read_text())
    for k, image in enumerate(content["images"]):
        image["category_id"] = 1 + k % 2
        image["review"] = {"phase": "sample", "verdict": "rejected" if k < 3 else "accepted"}
    class_of = {image["id"]: image["category_id"] for image in content["images"]}
    content["annotations"] = [each | {"category_id": class_of[each["image_id"]]} for each in content["annotations"]]
    (tmp_path / "reviewed.json").write_text(json.dumps(content))
    return tmp_path / "reviewed.json"


@pytest.mark.parametrize("form", ["coco", "voc", "yolo", "class-folders", "csv"])
def test_what_was_accepted_is_told_whatever_form_it_took(
    form: str, reviewed: Path, predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And is not called what nobody has judged."""
    out, photos = tmp_path / ("more.csv" if form == "csv" else "more"), predictions / "photos"
    packing = {
        "coco": ("--layout", "coco", "--source", photos, "--boxes", reviewed, "--quarantine"),
        "voc": ("--layout", "voc", "--source", out),
        "yolo": ("--layout", "yolo", "--source", out),
        "class-folders": ("--layout", "imagefolder", "--source", out / "images", "--boxes", out / "boxes.csv"),
        "csv": ("--layout", "imagefolder", "--source", tmp_path / "classes/images", "--boxes", out),
    }[form]
    images = ("--images", photos)
    if form == "csv":
        flags = ("--format", "class-folders", "--out", tmp_path / "classes", *images)
        assert run(convert.main, reviewed, *flags) == 0
    if form != "coco":
        flags = ("--format", form, "--out", out, *(() if form == "csv" else images))
        assert run(convert.main, reviewed, *flags) == 0
    if form == "csv":  # whose names are the class folders'
        lines = out.read_text().splitlines()
        names = {path.name: f"{path.parent.name}/{path.name}" for path in (tmp_path / "classes/images").rglob("*.jpg")}
        out.write_text(
            "\n".join([lines[0], *(f"{names[line.split(',')[0]]},{line.partition(',')[2]}" for line in lines[1:])])
        )
    capsys.readouterr()
    assert run(pack.main, *packing, "--out", tmp_path / "shards") in (0, 3)
    said = capsys.readouterr().out
    assert "nobody has judged" not in said
    assert (
        "67 of the images have boxes (and masks, where there are such) of a prediction that somebody accepted" in said
    )
    shards = open_shards(tmp_path / "shards")
    assert shards.manifest.source.endswith(", with boxes accepted as predicted)")
    assert sum(map(len, shards.splits.values())) == 67


def test_class_folders_of_predictions_need_the_photographs(
    reviewed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(convert.main, reviewed, "--format", "class-folders", "--out", tmp_path / "more") == 2
    assert "its folder holds the images; say where they are with --images" in capsys.readouterr().err


def test_a_class_folders_mask_is_of_objects_of_that_class(tmp_path: Path) -> None:
    def box(label: int, row: int) -> LabelledObject:
        mask = np.zeros((4, 6), np.uint8)
        mask[row] = 1
        return LabelledObject(label, (0, row, 6, row + 1), 0.5, 0.5, lambda: mask)

    image = LabelledImage("a.jpg", 6, 4, (box(0, 0), box(1, 2)), 1, encoded=lambda: noise_jpeg(0, size=(6, 4)))
    about = About("a run", (Class("cat", "cat"), Class("dog", "dog")))
    write_class_folders(tmp_path, {"": [image]}, about)
    mask = read_mask((tmp_path / "masks/dog/a.jpg.png").read_bytes(), (6, 4))
    assert np.flatnonzero((mask == 255).all(axis=1)).tolist() == [2]
    assert len((tmp_path / "boxes.csv").read_text().splitlines()) == 3, "boxes are of all"
    write_class_folders(tmp_path / "other", {"": [replace(image, objects=(box(0, 0),))]}, about)
    assert not (tmp_path / "other/masks").exists(), "nobody said that nothing is of its class"
    redrawn = replace(box(1, 2), mask=None)
    write_class_folders(tmp_path / "redrawn", {"": [replace(image, objects=(box(0, 0), redrawn))]}, about)
    assert not (tmp_path / "redrawn/masks").exists(), "its pixels are not known"


@pytest.mark.parametrize("name", ["..", "/", "../../etc/x.jpg", "/abs/x.jpg"])
def test_no_name_leads_out_of_the_folder(name: str, tmp_path: Path) -> None:
    coco_file(tmp_path / "a.json", [{"image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]}], file_name=name)
    assert run(convert.main, tmp_path / "a.json", "--format", "voc", "--out", tmp_path / "out") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "out"]


@pytest.mark.parametrize("form", ["csv", "jsonl", "label-studio", "yolo", "yolo-segments", "voc", "masks"])
def test_a_converted_prediction_is_what_predict_writes(form: str, predictions: Path, tmp_path: Path) -> None:
    """But for a csv's and jsonl's probabilities, which COCO's file has in six digits."""
    run_and_photos = (predictions / "run", predictions / "photos", "--device", "cpu", "--threads", "1")
    assert run(predict.main, *run_and_photos, "--format", form, "--out", tmp_path / "a") == 3
    flags = ("--format", form, "--out", tmp_path / "b")
    images = ("--images", predictions / "photos") if form in ("yolo", "yolo-segments", "voc") else ()
    assert run(convert.main, predictions / "whole.json", *flags, *images) == 0
    if (tmp_path / "a").is_dir():
        files = {str(path.relative_to(tmp_path / "a")) for path in (tmp_path / "a").rglob("*") if path.is_file()}
        assert files == {
            str(path.relative_to(tmp_path / "b")) for path in (tmp_path / "b").rglob("*") if path.is_file()
        }
        for name in files:
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    elif form == "jsonl":
        for one, other in zip(*((tmp_path / name).read_text().splitlines() for name in ("a", "b")), strict=True):
            ours, theirs = json.loads(one), json.loads(other)
            for each in (ours, theirs):
                for named in each.get("classes", ()):
                    named["probability"] = pytest.approx(named["probability"], abs=1e-6)
            if "skipped" not in ours:
                assert ours == theirs
    elif form == "csv":
        assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text()
    else:
        ours, theirs = (json.loads((tmp_path / name).read_text()) for name in ("a", "b"))
        for one, other in zip(ours, theirs, strict=True):
            assert one["predictions"][0]["result"] == other["predictions"][0]["result"]


@pytest.mark.parametrize("form", ["yolo", "voc"])
def test_predictions_are_divided_where_that_is_asked(
    form: str, predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of each class the same images each time."""
    flags = (predictions / "whole.json", "--format", form, "--images", predictions / "photos", "--val-fraction", "0.2")
    for name in ("one", "other"):
        assert run(convert.main, *flags, "--out", tmp_path / name) == 0
        said = capsys.readouterr().out
        assert f"{form}, 70 images" in said
        assert "same images for training and for validation" not in said
        assert "1 image beside them could not be read" in said
    folder = "images" if form == "yolo" else "JPEGImages"
    one, other = (
        {
            split: sorted(path.name for path in (tmp_path / name / folder / split).rglob("*.jpg"))
            for split in ("train", "val")
        }
        for name in ("one", "other")
    )
    assert one == other
    assert sum(map(len, one.values())) == 70
    assert not {*one["train"]} & {*one["val"]}
    classes = {
        image["file_name"]: image["category_id"]
        for image in json.loads((predictions / "whole.json").read_text())["images"]
    }
    for of_class in {*classes.values()}:
        count = list(classes.values()).count(of_class)
        expected = min(max(1, round(0.2 * count)), count - 1)
        assert sum(classes[name] == of_class for name in one["val"]) == expected
    if form == "yolo":
        assert (tmp_path / "one/data.yaml").read_text().startswith("train: images/train\nval: images/val\n")


def test_two_images_that_come_to_one_path_of_a_split_are_named_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("x.jpg", "train/x.jpg", "y.jpg", "train/y.jpg")
    images = [{"id": k, "file_name": name, "width": 40, "height": 30} for k, name in enumerate(names)]
    for name in names:
        put(tmp_path / "photos" / name, noise_jpeg(0, size=(40, 30)))
    annotations = [{"image_id": k, "category_id": 1, "bbox": [1, 2, 9, 9]} for k in range(4)]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "x"}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    flags = ("--format", "yolo", "--images", tmp_path / "photos", "--val-fraction", "0.25", "--out", tmp_path / "out")
    assert run(convert.main, tmp_path / "a.json", *flags) == 2
    said = capsys.readouterr().err
    assert any(f"'{name}' and 'train/{name}' would share train/{name[0]}.txt" in said for name in ("x.jpg", "y.jpg"))


def test_predictions_are_packed_with_their_images(predictions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--layout", "coco", "--source", predictions / "photos", "--boxes", predictions / "whole.json")
    assert run(pack.main, *flags, "--out", predictions / "shards") in (0, 2)
    said = capsys.readouterr()
    classes = {image["category_id"] for image in json.loads((predictions / "whole.json").read_text())["images"]}
    if len(classes) > 1:
        assert "70 boxes in all" in said.out
        assert "1 image of the folder in no file of annotations" in said.out
    else:
        assert "are of 1 class; two at least are needed" in said.err


def test_predictions_as_voc_are_packed_with_their_images(predictions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = predictions / "as-voc"
    found = (predictions / "run", predictions / "photos", "--device", "cpu", "--threads", "1")
    assert run(predict.main, *found, "--format", "voc", "--out", out) == 3
    capsys.readouterr()
    assert run(pack.main, "--layout", "voc", "--source", out, "--out", predictions / "voc-shards") in (0, 2)
    said = capsys.readouterr()
    assert "70 boxes in all" in said.out or "are of 1 class; two at least are needed" in said.err


MISTAKES = [
    (("nowhere", "--out", "a.json"), "nowhere: no such file or folder"),
    (("empty", "--out", "a", "--format", "coco"), "empty: no packed set (manifest.json is missing)"),
    (("whole.json", "--out", "a.txt"), "--out a.txt: its ending tells no format; say the format with --format"),
    (("shards", "--out", "a.json"), "--out a.json: shards become a folder; say the format with --format"),
    (("whole.json", "--format", "voc", "--out", "empty"), "--out empty: exists; nothing was changed"),
    (("whole.json", "--out", "a", "--format", "yolo"), "--format yolo: its folder holds the images; say where"),
    (
        ("whole.json", "--out", "a", "--format", "yolo", "--images", "empty"),
        "00.jpg: missing, and the predictions name",
    ),
    (
        ("whole.json", "--out", "a", "--format", "yolo", "--images", "none"),
        "--images none: no such folder, zip",
    ),
    (("whole.json", "--out", "a", "--format", "voc", "--images", "others"), "has 9x9 pixels, and 40x50 were predicted"),
    (
        ("whole.json", "--out", "a.csv", "--images", "others"),
        "--images others: csv takes no images along",
    ),
    (("whole.json", "--out", "a.csv", "--follow-links"), "--follow-links: is of the folders of --images"),
    (("whole.json", "--out", "a.csv", "--skip-missing"), "--skip-missing: is of the folders of --images"),
    (("whole.json", "--out", "a.csv", "--val-fraction", "0.2"), "--val-fraction 0.2: csv has no splits; choose yolo"),
    (("shards", "--format", "yolo", "--out", "a", "--val-fraction", "0.2"), "is of predictions; shards have splits"),
    (("whole.json", "--out", "a.csv", "--image-prefix", "s3://"), "--image-prefix s3://: is of --format label-studio"),
    (("whole.json", "--out", "a.csv", "--format", "voc"), "--out a.csv: --format voc writes a folder; name one"),
    (("whole.json", "--out", "a.csv", "--split", "val"), "--split val: is of shards; predictions have none"),
    (("shards", "--out", "a", "--format", "coco", "--images", "empty"), "is of predictions; shards hold their images"),
    (("shards", "--out", "a", "--format", "coco", "--split", "test"), "--split test: shards has train, val; choose"),
    (
        ("shards", "whole.json", "--out", "a", "--format", "coco"),
        "shards: is a folder, and beside it stands whole.json",
    ),
    (("--out", "a.json"), "nothing to convert; name the folder of a packed set"),
    (("broken.json", "--out", "a.csv"), "broken.json line 1: not JSON"),
    (("plain.json", "--out", "a.csv"), "plain.json: lists no categories"),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES)
def test_mistakes_get_one_line_and_nothing_is_written(
    arguments: tuple[str, ...],
    words: str,
    predictions: Path,
    synthetic_shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("others").mkdir()
    for path in (predictions / "photos").iterdir():
        Path("others", path.name).write_bytes(noise_jpeg(0, size=(9, 9)))
    shutil.copy(predictions / "whole.json", "whole.json")
    Path("shards").symlink_to(synthetic_shards)
    Path("broken.json").write_text("{")
    Path("plain.json").write_text('{"images": [], "annotations": []}')
    before = sorted(path.name for path in Path().iterdir())
    assert run_command(convert.main, arguments) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == before


@pytest.mark.parametrize(
    ("part", "words"),
    [("0/3", "must be K/N"), ("4/3", "must be K/N"), ("a/3", "must be K/N"), ("3", "must be K/N"), ("1/0", "must be")],
)
def test_parts_that_cannot_be_are_refused(
    part: str, words: str, predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = (predictions / "run", predictions / "photos")
    assert run(predict.main, *where, "--part", part, "--out", tmp_path / "a.json") == 2
    assert words in capsys.readouterr().err
    assert run(predict.main, *where, "--part", "1/2", "--out", tmp_path / "a.csv") == 2
    assert "--part 1/2: goes with --format coco, not csv" in capsys.readouterr().err


def test_no_bad_image_of_a_detection_set_is_drawn_for_val_where_they_are_quarantined(
    reviewed: Path, predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = shutil.copytree(predictions / "photos", tmp_path / "photos")
    flags = ("--layout", "coco", "--source", photos, "--boxes", reviewed, "--quarantine")
    assert run(pack.main, *flags, "--out", tmp_path / "first") == 0
    val = open_shards(tmp_path / "first").splits["val"]
    for name in val.names(range(2)):
        (photos / name).write_bytes((photos / name).read_bytes()[:200])
    capsys.readouterr()
    assert run(pack.main, *flags, "--out", tmp_path / "second") == 3
    assert "2 bad images ignored where val was drawn" in capsys.readouterr().out
    again = open_shards(tmp_path / "second").splits["val"]
    assert np.bincount(again.labels).tolist() == np.bincount(val.labels).tolist()


def test_an_image_that_was_skipped_counts_once_and_not_where_it_was_predicted_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    categories = [{"id": 1, "name": "cat"}]
    for number, (images, skipped) in enumerate(((["a"], ["x", "y"]), (["b", "y"], ["x"]))):
        listed = [{"id": k, "file_name": f"{name}.jpg", "width": 9, "height": 9} for k, name in enumerate(images)]
        aside = [{"file_name": f"{name}.jpg", "reason": "damaged"} for name in skipped]
        content = {"images": listed, "annotations": [], "categories": categories, "skipped": aside}
        (tmp_path / f"{number}.json").write_text(json.dumps(content))
    files = [str(tmp_path / f"{number}.json") for number in (0, 1)]
    assert run_command(convert.main, [*files, "--out", str(tmp_path / "joined.json")]) == 0
    assert "1 image beside them could not be read" in capsys.readouterr().out
    joined = json.loads((tmp_path / "joined.json").read_text())
    assert [each["file_name"] for each in joined["skipped"]] == ["x.jpg"]
    assert sorted(each["file_name"] for each in joined["images"]) == ["a.jpg", "b.jpg", "y.jpg"]
