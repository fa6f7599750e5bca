"""`python -m fastwsol.predict` and `Predictor`: an evaluation's boxes, whatever form an image comes in."""

import csv
import errno
import io
import json
import os
import re
import shutil
import unicodedata
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from conftest import noise_jpeg
from faults.run_cases import make_run
from PIL import Image
from pycocotools import mask
from pycocotools.coco import COCO

import fastwsol
import kernels
from fastwsol import evaluate, predict
from fastwsol.dataset.shards import open_shards
from fastwsol.evaluation.boxes import localize
from fastwsol.formats.labelled_images import Skipped
from fastwsol.host.command_line import run_command
from fastwsol.host.errors import RunFailure, UserError
from fastwsol.host.files import sole_worker
from fastwsol.localizer.ddt import DdtDirections
from fastwsol.prediction import overlays
from fastwsol.prediction.components import boxes_of_maps
from fastwsol.prediction.named import label_of, labelled_as
from fastwsol.prediction.overlays import overlay_file, overlay_paths
from fastwsol.prediction.predictions import Prediction
from fastwsol.prediction.predictor import Predictor
from fastwsol.prediction.user_images import NamedImage
from fastwsol.sources.tree import BadFile, Folder

ON_CPU = ["--device", "cpu", "--threads", "1"]
SIZES = [(64, 64), (90, 40), (33, 120), (200, 150), (64, 65)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, synthetic_shards: Path) -> Path:
    """A run at its first step: its network knows nothing, and has maps and boxes all the same."""
    folder = tmp_path_factory.mktemp("predict") / "run"
    make_run(folder, synthetic_shards)
    return folder


@pytest.fixture(scope="module")
def predictor(run: Path) -> Predictor:
    return fastwsol.load(run, "cpu", threads=1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images of several sizes."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "more").mkdir()
    for k, size in enumerate(SIZES):
        (folder / "more" / f"{k}.jpg").write_bytes(noise_jpeg(k, size=size))
    return folder


def predict_to(out: Path, run: Path, *arguments: object) -> int:
    return run_command(predict.main, [*map(str, [run, *arguments]), "--out", str(out), *ON_CPU])


def test_an_image_that_goes_before_it_is_copied_counts_as_skipped(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder of YOLO's takes the images along, and reads them once more."""
    read, seen = Folder.read, set[str]()

    def goes(self: Folder, path: str, max_bytes: int) -> bytes:
        if path == "more/1.jpg" and path in seen:
            raise BadFile("missing")
        seen.add(path)
        return read(self, path, max_bytes)

    monkeypatch.setattr(Folder, "read", goes)
    assert predict_to(tmp_path / "yolo", run, photos, "--format", "yolo") == 3
    said = capsys.readouterr()
    assert "skipped: more/1.jpg: missing, since it was predicted" in said.err
    assert f"{len(SIZES) - 1} predicted and 1 skipped, {len(SIZES)} in all" in said.out
    assert len([*(tmp_path / "yolo" / "images").rglob("*.jpg")]) == len(SIZES) - 1


def as_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# The network's answers


def test_boxes_of_a_packed_split_are_those_of_its_evaluation(
    run: Path, predictor: Predictor, synthetic_shards: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    evaluate.main([str(copy), "--cam-class", "predicted", *ON_CPU])
    (report,) = copy.glob("report-predicted-step-*[0-9].csv")
    rows = {row["name"]: row for row in csv.DictReader(report.open())}
    split = open_shards(synthetic_shards).splits["val"]
    names = split.names(range(len(split)))
    found = predictor.predict([split.image(k) for k in range(len(split))])
    assert len(found) == len(rows) == 40
    for name, prediction in zip(names, found, strict=True):
        row, (box,) = rows[name], prediction.boxes
        assert row["predicted"].split(";")[0] == prediction.classes[0].wnid == box.wnid
        assert [float(row[f"strict_{side}"]) for side in ("x0", "y0", "x1", "y1")] == [*box[2:6]]


def test_predictions_do_not_depend_on_the_neighbours_in_a_batch(predictor: Predictor, photos: Path) -> None:
    paths = sorted((photos / "more").iterdir())
    together = predictor.predict(paths)
    alone = [predictor.predict([path])[0] for path in paths]
    for one, other in zip(together, alone, strict=True):
        assert (one.name, one.width, one.height) == (other.name, other.width, other.height)
        np.testing.assert_allclose(one.cams, other.cams, atol=1e-4)


def test_paths_bytes_pillow_images_and_arrays_are_the_same_to_it(run: Path, photos: Path) -> None:
    path = photos / "more" / "1.jpg"
    image = Image.open(path)
    encoded, pixels = path.read_bytes(), np.asarray(image)
    several = [path, str(path), encoded, image, pixels, bytearray(encoded), memoryview(encoded), io.BytesIO(encoded)]
    predictor = fastwsol.load(str(run), torch.device("cpu"))
    found = predictor.predict([*several, pixels.astype(np.uint16) * 257])
    assert len({each.boxes for each in found}) == len({each.classes for each in found}) == 1
    assert [each.name for each in found] == [str(path), str(path), *map(str, range(2, 9))]
    for alone in (io.BytesIO(encoded), bytearray(encoded), np.array([path], object), np.array([str(path)])):
        assert predictor.predict(alone)[0].boxes == predictor.predict(path)[0].boxes


def test_a_pillow_image_that_cannot_be_read_any_more_is_bad_as_a_file_is(predictor: Predictor, photos: Path) -> None:
    with Image.open(photos / "more" / "1.jpg") as closed:
        pass
    cut_short = Image.open(io.BytesIO((photos / "more" / "1.jpg").read_bytes()[:-2000]))
    found = [*predictor.stream([closed, photos / "more" / "0.jpg", cut_short])]
    assert [isinstance(each, Skipped) for each in found] == [True, False, True]
    with pytest.raises(ValueError, match="0: damaged, or its file is closed: image file is truncated"):
        predictor.predict(Image.open(io.BytesIO((photos / "more" / "1.jpg").read_bytes()[:-2000])))


def test_what_cannot_be_opened_or_read_is_skipped(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    good = photos / "more" / "0.jpg"
    closed = good.open("rb")
    closed.close()
    with (photos / "more" / "1.jpg").open(encoding="latin-1") as text:
        found = [*predictor.stream(["x" * 5000, closed, text, tmp_path, good])]
    assert [isinstance(each, Skipped) for each in found] == [True, True, True, True, False]
    reasons = [each.reason for each in found if isinstance(each, Skipped)]
    assert "File name too long" in reasons[0]
    assert reasons[1] == "cannot be read (read of closed file); give a file that is open in binary mode"
    assert reasons[2] == "is open in text mode; open it in binary mode"
    swapped = np.asarray(Image.open(good)).astype(">u2") * 257
    assert isinstance(next(iter(predictor.stream([swapped]))), Prediction)


def test_numbers_of_numpy_are_numbers(predictor: Predictor, run: Path, photos: Path) -> None:
    image = photos / "more" / "1.jpg"
    (ours,) = predictor.predict(image, top=2, threshold=0.5, least_score=0.25)
    (theirs,) = predictor.predict(image, top=np.int64(2), threshold=np.float32(0.5), least_score=np.float16(0.25))
    assert ours.boxes == theirs.boxes
    for wrong in ({"threshold": True}, {"threshold": "half"}, {"top": "2"}, {"top": 2.0}, {"top": True}):
        with pytest.raises(UserError):
            predictor.predict(image, **wrong)
    with pytest.raises(UserError, match="--precision float32: choose from auto, bf16"):
        Predictor.of_run(run, "cpu", precision="float32")  # type: ignore[arg-type]


def test_names_that_look_alike_are_one(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    info = replace(predictor.info, class_names=("Größe", *predictor.info.class_names[1:]))
    for form in ("NFC", "NFD"):
        assert label_of(unicodedata.normalize(form, "größe"), info) == 0
        assert labelled_as(unicodedata.normalize(form, "Größe"), info) == 0


def test_predict_raises_for_an_image_that_is_none(predictor: Predictor, photos: Path) -> None:
    with pytest.raises(ValueError, match=r"missing\.jpg: missing"):
        predictor.predict([photos / "more" / "0.jpg", "missing.jpg"])
    with pytest.raises(ValueError, match="1: no image of a format that is read"):
        predictor.predict([noise_jpeg(0), b"hello, world"])
    with pytest.raises(ValueError, match=r"is a folder; give the images in it, as sorted\(Path"):
        predictor.predict(photos)
    with pytest.raises(ValueError, match=r"an array with 30 channels, .*; give several grey images as a list"):
        predictor.predict(np.zeros((9, 9, 30), np.uint8))
    with pytest.raises(TypeError, match="image 0 is of type int"):
        predictor.predict([3])  # type: ignore[list-item]
    assert predictor.predict([]) == []


def test_top_gives_the_likeliest_classes_first_and_their_boxes_by_score(predictor: Predictor, photos: Path) -> None:
    (found,) = predictor.predict([photos / "more" / "3.jpg"], top=4, boxes="all")
    probabilities = [each.probability for each in found.classes]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1)
    assert {box.wnid for box in found.boxes} == {each.wnid for each in found.classes}
    scores = [box.score for box in found.boxes]
    assert scores == sorted(scores, reverse=True)
    for one in found.classes:
        best = next(box for box in found.boxes if box.wnid == one.wnid)
        assert best.score == pytest.approx(one.probability)  # it holds the map's maximum


def test_a_class_that_is_named_is_boxed_whatever_is_predicted(predictor: Predictor, photos: Path) -> None:
    for wnid, name in zip(predictor.info.classes, predictor.info.class_names, strict=True):
        (by_wnid,) = predictor.predict([photos / "more" / "2.jpg"], of_class=wnid)
        (by_name,) = predictor.predict([photos / "more" / "2.jpg"], of_class=name.upper())
        assert by_wnid.boxes == by_name.boxes
        assert [each.wnid for each in by_wnid.classes] == [wnid]


def test_of_images_in_class_folders_the_boxes_are_of_those_classes(
    run: Path, predictor: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = predictor.info.class_names
    content = noise_jpeg(0, size=(90, 60))
    files = {
        f"{names[2]}/a.jpg": 2,
        f"{names[0].upper()}/b.jpg": 0,
        f"{names[2]}/{'deep'}/c.jpg": 2,
        f"{names[1]}/d.jpg": 1,
    }
    for name in files:
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(content)
    assert predict_to(tmp_path / "boxes.json", run, tmp_path / "set", "--class-of-folder") == 0
    found = json.loads((tmp_path / "boxes.json").read_text())
    assert {each["file_name"]: each["category_id"] - 1 for each in found["images"]} == files
    assert "of the classes that their folders are named after" in found["info"]["description"]
    for image, of_image in zip(found["images"], found["annotations"], strict=True):
        assert of_image["category_id"] == image["category_id"]
        (plain,) = predictor.predict(content, of_class=names[image["category_id"] - 1])
        box = plain.boxes[0]
        np.testing.assert_allclose(of_image["bbox"], [box.x0, box.y0, box.x1 - box.x0, box.y1 - box.y0], atol=1e-3)
        assert of_image["score"] == pytest.approx(box.score)
    of_each = predictor.predict([content] * 3, of_class=[names[1], names[0], names[2]])
    assert [each.classes[0].name for each in of_each] == [names[1], names[0], names[2]]
    with pytest.raises(ValueError, match="classes in of_class: 1, images: 3"):
        predictor.predict([content] * 3, of_class=[names[1]])
    with pytest.raises(ValueError, match="classes in of_class: 1, images: more; give a class for each"):
        predictor.predict((content for _ in range(3)), of_class=[names[1]])
    with pytest.raises(ValueError, match="classes in of_class: 2, images: 1; give a class for each"):
        predictor.predict((content for _ in range(1)), of_class=[names[1]] * 2)
    with pytest.raises(ValueError, match="of_class names a class for each image, or one for all"):
        predictor.predict([content], of_class=[None])  # type: ignore[list-item]
    some = [NamedImage(str(k), lambda: np.zeros((9, 9, 3), np.uint8), label=[1, None][k]) for k in range(2)]
    with pytest.raises(UserError, match="1: has no class, and 0 has one; give all images one, or none"):
        [*predictor.stream(some)]
    places = [tmp_path / "set" / names[2], tmp_path / "set" / names[1]]
    for number, named in enumerate(([places[0]], places, [places[0] / "a.jpg"])):
        assert predict_to(tmp_path / f"{number}.csv", run, *named, "--class-of-folder") == 0
    assert {row["label"] for row in csv.DictReader((tmp_path / "1.csv").open())} == {
        predictor.info.classes[label] for label in (1, 2)
    }
    (tmp_path / "set" / names[0] / names[1]).mkdir(parents=True)
    (tmp_path / "set" / names[0] / names[1] / "f.jpg").write_bytes(content)
    assert predict_to(tmp_path / "3.csv", run, tmp_path / "set", "--class-of-folder") == 0
    label_of_file = {row["name"]: row["label"] for row in csv.DictReader((tmp_path / "3.csv").open())}
    assert label_of_file[f"{names[0]}/{names[1]}/f.jpg"] == predictor.info.classes[0], "the outer one, as pack has it"
    capsys.readouterr()
    (tmp_path / "set" / "e.jpg").write_bytes(content)
    (tmp_path / "set" / "others").mkdir()
    for number in range(2):
        (tmp_path / "set" / "others" / f"{number}.jpg").write_bytes(content)
    assert predict_to(tmp_path / "more.json", run, tmp_path / "set", "--class-of-folder") == 2
    said = capsys.readouterr().err
    assert "--class-of-folder: images without a class: 2 in others, 1 in set; no folder that they lie in" in said
    for more in (("--top", "2"), ("--class", names[0])):
        assert predict_to(tmp_path / "more.json", run, tmp_path / "set", "--class-of-folder", *more) == 2
        assert f"{more[0]}: --class-of-folder says which class" in capsys.readouterr().err


def test_a_folder_that_may_be_of_several_classes_is_refused(predictor: Predictor) -> None:
    info = replace(predictor.info, class_names=("wagon, car", "wagon, cart", "dog", "cat"))
    images = [NamedImage("wagon/a.jpg", lambda: np.zeros((9, 9, 3), np.uint8), folders=("wagon", "set"))]
    with pytest.raises(
        UserError, match="the folder 'wagon' may be of synthetic-0, synthetic-1; call it by one of them"
    ):
        predict.of_their_folders(images, info)


def test_class_names_are_found_by_their_parts_and_misspelt_ones_get_a_hint(predictor: Predictor) -> None:
    info = predictor.info
    named = type(info)(**{**vars(info), "class_names": ("goldfish, Carassius auratus", "crane", "crane", "bear")})
    assert label_of("Carassius auratus", named) == 0
    assert label_of(named.classes[2], named) == 2
    with pytest.raises(UserError, match=r"may be .*name one of them"):
        label_of("crane", named)
    with pytest.raises(UserError, match="perhaps you meant bear"):
        label_of("beer", named)


# Boxes


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.35, 0.5, 0.77, 1.0])
def test_the_largest_boxes_are_those_of_the_strict_protocol(threshold: float) -> None:
    cams = np.random.default_rng(0).normal(size=(50, 8, 8)).astype(np.float32)
    cams[7] = 3
    owners, boxes, peaks, _ = boxes_of_maps(cams, 64, threshold, "largest")
    expected = localize(cams, "strict", 64, 64, 64, threshold)
    assert owners.tolist() == [n for n in range(50) if n != 7]
    np.testing.assert_array_equal(boxes, expected[owners])
    assert (peaks == 1).any()
    assert ((threshold <= peaks) & (peaks <= 1)).all()


def test_all_boxes_hold_the_largest_and_one_with_the_maximum() -> None:
    cams = np.random.default_rng(1).normal(size=(50, 8, 8)).astype(np.float32)
    owners, boxes, peaks, _ = boxes_of_maps(cams, 64, 0.6, "all")
    one_owners, one_boxes, *_ = boxes_of_maps(cams, 64, 0.6, "largest")
    every = {(n, *box) for n, box in zip(owners.tolist(), boxes.tolist(), strict=True)}
    assert {(n, *box) for n, box in zip(one_owners.tolist(), one_boxes.tolist(), strict=True)} < every
    assert all(peaks[owners == n].max() == 1 for n in range(50))


def test_maps_that_are_not_finite_fail_by_the_images_name(run: Path, photos: Path) -> None:
    predictor = fastwsol.load(run, "cpu")
    with torch.no_grad():
        predictor.model.network.fc.weight.fill_(torch.nan)
    with pytest.raises(RunFailure, match=r"0\.jpg: the network's map of it is not finite"):
        predictor.predict([photos / "more" / "0.jpg"])


# Files


def test_coco_files_open_in_pycocotools_and_their_ious_are_ours(run: Path, photos: Path, tmp_path: Path) -> None:
    assert predict_to(tmp_path / "boxes.json", run, photos, "--boxes", "all", "--top", 2) == 0
    coco = COCO(str(tmp_path / "boxes.json"))
    images = coco.loadImgs(coco.getImgIds())
    assert [(each["width"], each["height"]) for each in images] == SIZES
    assert len(coco.getCatIds()) == 4
    results = coco.loadRes(coco.dataset["annotations"])
    truth = np.array([[5, 6, 40, 31]], np.float32)
    for image in images:
        found = results.loadAnns(results.getAnnIds(imgIds=image["id"]))
        assert found
        boxes = np.array([each["bbox"] for each in found])
        theirs = mask.iou(boxes, np.array([[5, 6, 35, 25]], np.float64), [0])[:, 0]
        ours = boxes.astype(np.float32)
        ours[:, 2:] += ours[:, :2]
        every, offsets = np.repeat(truth, len(ours), 0), np.arange(len(ours) + 1)
        np.testing.assert_allclose(kernels.best_iou(ours, every, offsets), theirs, atol=1e-5)


def test_coco_files_carry_the_pixels_that_boxes_keep(run: Path, photos: Path, tmp_path: Path) -> None:
    assert predict_to(tmp_path / "boxes.json", run, photos, "--boxes", "all") == 0
    coco = COCO(str(tmp_path / "boxes.json"))
    for annotation in coco.dataset["annotations"]:
        x, y, width, height = annotation["bbox"]
        rows, columns = np.nonzero(coco.annToMask(annotation))
        near = [columns.min() - x, rows.min() - y, columns.max() + 1 - x - width, rows.max() + 1 - y - height]
        np.testing.assert_allclose(near, 0, atol=1.01)
        assert annotation["area"] == len(rows)


def test_every_format_says_the_same(run: Path, photos: Path, tmp_path: Path) -> None:
    for name in ("a.json", "a.csv", "a.jsonl"):
        assert predict_to(tmp_path / name, run, photos, "--boxes", "all") == 0
    assert predict_to(tmp_path / "tasks.json", run, photos, "--boxes", "all", "--format", "label-studio") == 0
    lines = as_jsonl(tmp_path / "a.jsonl")
    expected = [(line["name"], *box["box"]) for line in lines for box in line["boxes"]]
    rows = list(csv.DictReader((tmp_path / "a.csv").open(newline="")))
    assert [(row["name"], *(float(row[side]) for side in ("x0", "y0", "x1", "y1"))) for row in rows] == expected
    coco = json.loads((tmp_path / "a.json").read_text())
    names = {image["id"]: image["file_name"] for image in coco["images"]}
    for annotation, (name, x0, y0, x1, y1) in zip(coco["annotations"], expected, strict=True):
        assert names[annotation["image_id"]] == name
        assert annotation["bbox"] == pytest.approx([x0, y0, x1 - x0, y1 - y0])
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    regions = [
        (task, region)
        for task in tasks
        for region in task["predictions"][0]["result"]
        if region["type"] == "rectanglelabels"
    ]
    for (task, region), (name, x0, y0, _, y1) in zip(regions, expected, strict=True):
        assert task["data"]["image"] == f"/data/local-files/?d={name}"
        width, height, value = region["original_width"], region["original_height"], region["value"]
        assert value["x"] * width / 100 == pytest.approx(x0, abs=1e-3)
        assert (value["y"] + value["height"]) * height / 100 == pytest.approx(y1, abs=1e-3)
        assert value["y"] * height / 100 == pytest.approx(y0, abs=1e-3)
        assert len(value["rectanglelabels"]) == 1


def test_a_zip_gives_the_file_that_its_folder_gives(run: Path, photos: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for file in sorted(photos.rglob("*.jpg")):
            archive.write(file, file.relative_to(photos))
    assert predict_to(tmp_path / "folder.json", run, photos) == 0
    assert predict_to(tmp_path / "zip.json", run, tmp_path / "photos.zip") == 0
    assert (tmp_path / "folder.json").read_bytes() == (tmp_path / "zip.json").read_bytes()


def test_boxes_are_in_the_pixels_of_the_upright_image(predictor: Predictor, tmp_path: Path) -> None:
    upright = Image.open(io.BytesIO(noise_jpeg(5, size=(120, 48))))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying, to be turned by 90 degrees clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "lying.png", exif=exif)
    upright.save(tmp_path / "upright.png")
    one, other = predictor.predict([tmp_path / "lying.png", tmp_path / "upright.png"])
    assert (one.width, one.height) == (other.width, other.height) == (120, 48)
    assert one.boxes == other.boxes


def test_a_file_that_is_no_image_is_said_and_skipped_and_the_counts_add_up(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(photos, tmp_path / "photos")
    (folder / "a.jpg").write_bytes(b"hello, world")
    (folder / "z.png").write_bytes(noise_jpeg(1)[:200])
    (folder / "readme.md").write_text("# hello")
    for form in ("json", "csv", "jsonl"):
        assert predict_to(tmp_path / f"boxes.{form}", run, folder) == 3
    shown = capsys.readouterr()
    assert "skipped: a.jpg: no image of a format that is read (text)" in shown.err
    assert "skipped: z.png: truncated" in shown.err
    assert "5 predicted and 2 skipped, 7 in all" in shown.out
    assert "1 other file" in shown.out
    lines = as_jsonl(tmp_path / "boxes.jsonl")
    assert [line["name"] for line in lines if "skipped" in line] == ["a.jpg", "z.png"]
    assert len(json.loads((tmp_path / "boxes.json").read_text())["images"]) == 5


def test_a_folder_of_nothing_but_bad_images_gives_an_empty_file(run: Path, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.jpg").write_bytes(b"")
    assert predict_to(tmp_path / "boxes.json", run, tmp_path / "bad") == 3
    coco = json.loads((tmp_path / "boxes.json").read_text())
    assert coco["images"] == coco["annotations"] == []


def test_boxes_of_a_low_score_are_left_out(run: Path, photos: Path, tmp_path: Path) -> None:
    assert predict_to(tmp_path / "boxes.csv", run, photos, "--least-score", 0.999) == 0
    rows = list(csv.DictReader((tmp_path / "boxes.csv").open(newline="")))
    assert len(rows) == len(SIZES)
    assert all(row["x0"] == row["score"] == "" for row in rows)
    assert all(row["label"] and float(row["probability"]) > 0 for row in rows)


def test_an_interrupted_command_with_overlays_is_begun_anew_by_the_same_command(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it was interrupted or killed: what it has left is in nobody's way."""
    asked = (tmp_path / "boxes.json", run, photos, "--overlays", tmp_path / "pictures")
    whole = overlays.save

    def interrupted(path: Path, *what: object) -> None:
        if path.stem.startswith("3"):
            raise KeyboardInterrupt
        whole(path, *what)

    monkeypatch.setattr(overlays, "save", interrupted)
    assert predict_to(*asked) == 75
    assert list(tmp_path.iterdir()) == []
    left = tmp_path / "pictures.partial"
    left.mkdir()
    (left / ".unfinished").touch()
    (left / "old.jpg").touch()
    monkeypatch.setattr(overlays, "save", whole)
    with sole_worker(left):
        assert predict_to(*asked) == 2, "another process is at work on them"
    assert predict_to(*asked) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["boxes.json", "pictures"]
    assert len(list((tmp_path / "pictures").rglob("*"))) == len(SIZES) + 1, "and their folder"


def test_a_folder_in_the_way_of_overlays_is_named_and_untouched(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pictures.partial").mkdir()
    (tmp_path / "pictures.partial" / "mine.txt").touch()
    assert predict_to(tmp_path / "boxes.json", run, photos, "--overlays", tmp_path / "pictures") == 2
    assert f"{tmp_path / 'pictures.partial'}: is in the way" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["pictures.partial", "mine.txt"]


def test_a_full_disk_names_the_picture_that_it_lacked_room_for(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Image.Image, "save", full)
    assert predict_to(tmp_path / "boxes.json", run, photos, "--overlays", tmp_path / "pictures") == 1
    assert re.search(r"^failed: .*pictures.*jpg: No space left on device", capsys.readouterr().err, re.MULTILINE)
    assert list(tmp_path.iterdir()) == []


def test_overlays_are_drawn_one_an_image(run: Path, photos: Path, tmp_path: Path) -> None:
    assert predict_to(tmp_path / "boxes.json", run, photos, "--overlays", tmp_path / "pictures") == 0
    pictures = sorted((tmp_path / "pictures").rglob("*.jpg"))
    assert [path.name for path in pictures] == [f"{k}.jpg.jpg" for k in range(len(SIZES))]
    for path, (width, height) in zip(pictures, SIZES, strict=True):
        picture = Image.open(path)
        assert max(picture.size) == 320
        assert picture.width / picture.height == pytest.approx(width / height, rel=0.02)


def test_addresses_for_label_studio_are_encoded(
    tmp_path: Path, run: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = tmp_path / "shown" / "größe 100%"
    shown.mkdir(parents=True)
    shutil.copy(sorted(photos.rglob("*.jpg"))[0], shown / "a+b#1&2?.jpg")
    out = tmp_path / "tasks.json"
    assert predict_to(out, run, tmp_path / "shown", "--format", "label-studio") == 0
    (task,) = json.loads(out.read_text())
    prefix, _, encoded = task["data"]["image"].partition("?d=")
    assert prefix == "/data/local-files/"
    assert encoded == "gr%C3%B6%C3%9Fe%20100%25/a%2Bb%231%262%3F.jpg"
    assert unquote(encoded) == "größe 100%/a+b#1&2?.jpg"
    view = ElementTree.parse(tmp_path / "tasks-labels.xml").getroot()
    names = fastwsol.load(run, "cpu").info.class_names
    assert [each.get("name") for each in view] == ["image", "label", "polygon", "brush"]
    assert all(tuple(label.get("value") for label in part) == names for part in list(view)[1:])
    out.unlink()
    assert predict_to(out, run, tmp_path / "shown", "--format", "label-studio") == 2
    assert "tasks-labels.xml, which is written beside it, exists; name another file" in capsys.readouterr().err
    monkeypatch.setattr(Predictor, "stream", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    assert predict_to(tmp_path / "more.json", run, tmp_path / "shown", "--format", "label-studio") == 75
    assert not [*tmp_path.glob("more*")]


def test_a_name_is_written_in_the_letters_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert overlays.in_ascii("Purpurstärling, weiß 鳥") == "Purpurstarling, weiss ?"
    monkeypatch.setenv("XDG_DATA_DIRS", "/nowhere")
    monkeypatch.setenv("HOME", "/nowhere")
    font, can_write_all = overlays._font(20)
    assert not can_write_all
    assert font.getmask("a").getbbox() is not None


def test_images_whose_pictures_would_share_a_name_get_one_each(tmp_path: Path) -> None:
    names = ["../photos/1.jpg", "../../photos/1.jpg", "/photos/1.jpg", "Photos/1.JPG", "photos/2.jpg"]
    paths = overlay_paths(tmp_path, names)
    assert [str(path.relative_to(tmp_path)) for path in paths] == [
        "photos/1.jpg.jpg",
        "photos/1.jpg (2).jpg",
        "photos/1.jpg (3).jpg",
        "Photos/1.JPG (4).jpg",
        "photos/2.jpg.jpg",
    ]


def test_a_forked_process_is_told_to_be_spawned(predictor: Predictor, run: Path) -> None:
    """It would wait for threads that are not there."""

    def told(use: Callable[[], object]) -> bool:
        child = os.fork()
        if not child:
            try:
                use()
            except UserError as error:
                os._exit(0 if "spawn" in str(error) else 1)
            os._exit(2)
        return os.waitpid(child, 0)[1] == 0

    predictor.predict(Image.new("RGB", (64, 64)))
    assert told(lambda: predictor.predict(Image.new("RGB", (64, 64))))
    assert told(lambda: fastwsol.load(run, "cpu", threads=1))
    assert len(predictor.predict(Image.new("RGB", (64, 64)))) == 1, "the process itself goes on"


def test_one_image_is_one_image(run: Path, photos: Path) -> None:
    predictor = fastwsol.load(run)
    path = sorted(photos.rglob("*.jpg"))[0]
    image = Image.open(path).convert("RGB")
    array = np.asarray(image)
    for one in (path, str(path), path.read_bytes(), image, array):
        (alone,) = predictor.predict(one)
        (in_a_list,) = predictor.predict([one])
        assert (alone.boxes, alone.width, alone.height) == (in_a_list.boxes, in_a_list.width, in_a_list.height)
    assert len(predictor.predict(np.stack([array, array]))) == 2
    assert len(predictor.predict(array[..., 0])) == 1


@pytest.mark.parametrize("name", ["/etc/passwd.png", "../../x.png", "a/../../x.png", "x.png"])
def test_an_overlay_never_leaves_its_folder(name: str, tmp_path: Path) -> None:
    assert (tmp_path / overlay_file(name)).resolve().is_relative_to(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out", "boxes.txt"], "--out boxes.txt: its ending tells no format"),
        (["--out", "there.json"], "there.json: exists; nothing was changed"),
        (["--out", "there.json/such/boxes.json"], "there.json is no folder; name another place"),
        (["--out", "boxes.json", "--overlays", "there.json"], "--overlays there.json: exists"),
        (
            ["--out", "a/boxes.json", "--overlays", "a"],
            "--out a/boxes.json: lies in what is also written",
        ),
        (
            ["--out", "b.json", "--masks", "m/m", "--overlays", "m"],
            "--masks m/m: lies in what is also written",
        ),
        (["--out", "same.csv", "--masks", "same.csv"], "--out same.csv: is also --masks same.csv; name another place"),
        (["--out", "boxes.json", "--class", "unicorn"], "--class unicorn: the run knows no such class"),
        (["--out", "boxes.json", "--top", "5"], "--top 5: must be a whole number of classes, 1 to 4"),
        (["--out", "boxes.json", "--top", "0"], "--top 0"),
        (["--out", "boxes.json", "--format", "yolo"], "--out boxes.json: --format yolo writes a folder; name one"),
        (
            ["--out", "boxes.csv", "--format", "coco-polygons"],
            "a file of --format coco-polygons ends in .json; name it",
        ),
        (["--out", "boxes.json", "--top", "2", "--class", "n00000001"], "--class n00000001 is one class"),
        (["--out", "boxes.json", "--least-score", "50"], "--least-score 50.0: must be a number from 0 to 1"),
        (["--out", "boxes.json", "--least-score", "nan"], "--least-score nan: must be"),
        (["--out", "boxes.json", "--image-prefix", "s3://"], "--image-prefix s3://: is of --format label-studio"),
        (
            ["--out", "boxes.json", "--threshold", "-0.1"],
            "--threshold: -0.1 is neither own, otsu nor a number",
        ),
        (["--out", "boxes.json", "--threshold", "35"], "--threshold: 35 is neither own"),
        (["--out", "boxes.json", "--device", "tpu"], "--device tpu"),
        (["--out", "boxes.json", "--thresold", "0.3"], "perhaps you meant --threshold"),
    ],
)
def test_mistakes_get_one_line_and_nothing_is_written(
    arguments: list[str],
    words: str,
    run: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.json").write_text("precious")
    assert run_command(predict.main, [str(run), str(photos), *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["there.json"]
    assert Path("there.json").read_text() == "precious"


def test_files_of_several_frames_are_named(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = [Image.new("RGB", (64, 64), (level, 0, 0)) for level in (10, 200)]
    place = tmp_path / "clips"
    place.mkdir()
    for form in ("gif", "webp", "tiff"):
        frames[0].save(place / f"two.{form}", save_all=True, append_images=frames[1:])
        frames[0].save(place / f"one.{form}")
    (place / "bad.tiff").write_bytes(b"no image")
    assert predict_to(tmp_path / "out" / "boxes.json", run, place) == 3
    said = capsys.readouterr().out
    assert "the first is taken: 3 files (two.gif, two.tiff, two.webp)" in said
    assert (tmp_path / "out" / "boxes.json").is_file()


def test_images_that_are_nearly_black_are_counted(run: Path, tmp_path: Path, capsys: Any) -> None:
    place = tmp_path / "cells"
    place.mkdir()
    for name, highest in (("12", 4095), ("16", 65535)):
        levels = np.linspace(0, highest, 4096, dtype=np.uint16).reshape(64, 64)
        Image.fromarray(levels).save(place / f"{name}.png")
    assert predict_to(tmp_path / "boxes.json", run, place) == 0
    assert "nearly black, with no pixel above 16 of 255: 1 image (levels of 12 bits" in capsys.readouterr().out


def test_a_flag_mistyped_for_one_that_is_required_is_named(run: Path, photos: Path, capsys: Any) -> None:
    assert run_command(predict.main, [str(run), str(photos), "--output", "boxes.json"]) == 2
    said = capsys.readouterr().err
    assert "Missing from" in said
    assert "--out" in said
    assert "unrecognized options: --output boxes.json" in said


def test_a_run_behind_the_images_is_said(run: Path, photos: Path, tmp_path: Path, capsys: Any) -> None:
    assert predict_to(tmp_path / "boxes.json", photos, run) == 2
    assert f"{photos}: no run here" in capsys.readouterr().err


def test_a_folder_that_is_no_run_and_images_that_are_not_there_are_named(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict_to(tmp_path / "boxes.json", photos, photos) == 2
    assert "no run here" in capsys.readouterr().err
    assert predict_to(tmp_path / "boxes.json", run, tmp_path / "nowhere") == 2
    assert "nowhere: no such file or folder" in capsys.readouterr().err


# Streams


def test_what_a_notebook_shows_of_a_network_and_its_answer_is_short(predictor: Predictor) -> None:
    (prediction,) = predictor.predict(np.zeros((8, 8, 3), np.uint8))
    assert re.fullmatch(r"Predictor\(cam at step \d+, 4 classes, 64 pixels, fp32 on cpu\)", repr(predictor))
    assert len(repr(prediction)) < 700
    assert "array(" not in repr(prediction)


@pytest.mark.parametrize("suffix", [".json", ".csv", ".jsonl"])
def test_a_program_writes_the_commands_file(
    predictor: Predictor, run: Path, photos: Path, tmp_path: Path, suffix: str
) -> None:
    """But for what says who made it."""
    (ours := tmp_path / f"ours{suffix}"), (theirs := tmp_path / f"theirs{suffix}")
    paths = sorted((photos / "more").iterdir())
    lost = predictor.write(ours, predictor.stream(paths), relative_to=photos)
    assert ("csv has no place for" in lost) == (suffix == ".csv")
    assert predict_to(theirs, run, photos) == 0
    texts = [path.read_text() for path in (ours, theirs)]
    ours_text, theirs_text = (text.partition('"categories"')[2] or text for text in texts)
    assert ours_text == theirs_text
    predictor.write(str(tmp_path / f"one{suffix}"), predictor.predict(paths[0])[0])
    with pytest.raises(UserError, match="exists; nothing was changed"):
        predictor.write(ours, [])


def test_what_a_program_cannot_write_is_told(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    paths = sorted((photos / "more").iterdir())[:1]
    with pytest.raises(UserError, match="its ending tells no format"):
        predictor.write(tmp_path / "boxes.xml", predictor.stream(paths))
    with pytest.raises(UserError, match="form 'yolo': choose from coco, coco-polygons, csv"):
        predictor.write(tmp_path / "yolo", predictor.stream(paths), form="yolo")
    with pytest.raises(UserError, match="is there twice"):
        predictor.write(tmp_path / "twice.json", predictor.stream(paths * 2))
    with pytest.raises(UserError, match="does not lie in"):
        predictor.write(tmp_path / "below.json", predictor.stream(paths), relative_to=tmp_path)
    assert not [*tmp_path.iterdir()]


def test_streams_at_once_leave_torch_its_threads(predictor: Predictor) -> None:
    """Whichever of them ends last."""

    def of_a_new_thread() -> int:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(torch.get_num_threads).result()

    images = [np.full((40, 30, 3), 9 * k, np.uint8) for k in range(8)] * 10
    before = of_a_new_thread()
    first, second = predictor.stream(images), predictor.stream(images)
    for stream in (first, second):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(next, stream).result()
    first.close()
    assert len([*second]) == len(images) - 1
    assert of_a_new_thread() == before


def test_a_predictors_identity_holds_the_directions_of_its_maps(run: Path) -> None:
    loaded = fastwsol.load(run, "cpu", threads=1)
    directions = DdtDirections(torch.zeros(10, 8), torch.ones(10, 8))
    loaded.model.directions = directions
    predictor = Predictor(loaded.info, loaded.model, loaded.step, loaded._autocast, 1, "ddt")
    before = predictor.identity()
    predictor.model.directions = directions._replace(directions=-directions.directions)
    assert predictor.identity() != before
