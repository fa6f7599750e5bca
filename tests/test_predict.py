"""`python -m fastwsol.predict`: every image is predicted or named, in every format."""

import csv
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import PHOTO_SIZES, noise_jpeg
from PIL import Image
from pycocotools import mask
from pycocotools.coco import COCO

import fastwsol
import kernels
from fastwsol import convert, predict
from fastwsol.host.command_line import run_command
from fastwsol.host.errors import UserError
from fastwsol.prediction.predictor import Predictor
from fastwsol.prediction.user_images import NamedImage
from fastwsol.sources.tree import BadFile, Folder

ON_CPU = ["--device", "cpu", "--threads", "1"]


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
    assert f"{len(PHOTO_SIZES) - 1} predicted and 1 skipped, {len(PHOTO_SIZES)} in all" in said.out
    assert len([*(tmp_path / "yolo" / "images").rglob("*.jpg")]) == len(PHOTO_SIZES) - 1


def as_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


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
    skipping = ("--class-of-folder", "--skip-other-folders")
    assert predict_to(tmp_path / "some.json", run, tmp_path / "set", *skipping) == 0
    said = capsys.readouterr().out
    assert "3 images left out, in folders of no class of the run: 2 in others, 1 in set" in said
    assert {each["file_name"] for each in json.loads((tmp_path / "some.json").read_text())["images"]} == {
        *files,
        f"{names[0]}/{names[1]}/f.jpg",
    }
    assert predict_to(tmp_path / "none.json", run, tmp_path / "set" / "others", *skipping) == 2
    assert predict_to(tmp_path / "none.json", run, tmp_path / "set", "--skip-other-folders") == 2
    assert "--skip-other-folders: goes with --class-of-folder" in capsys.readouterr().err
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


def test_coco_files_open_in_pycocotools_and_their_ious_are_ours(run: Path, photos: Path, tmp_path: Path) -> None:
    assert predict_to(tmp_path / "boxes.json", run, photos, "--boxes", "all", "--top", 2) == 0
    coco = COCO(str(tmp_path / "boxes.json"))
    images = coco.loadImgs(coco.getImgIds())
    assert [(each["width"], each["height"]) for each in images] == PHOTO_SIZES
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
    assert len(rows) == len(PHOTO_SIZES)
    assert all(row["x0"] == row["score"] == "" for row in rows)
    assert all(row["label"] and float(row["probability"]) > 0 for row in rows)


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


@pytest.mark.parametrize("flags", [("--overlays",), ("--masks",), ("--format", "yolo", "--out")])
def test_pictures_are_not_written_among_the_images(
    run: Path, photos: Path, tmp_path: Path, flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the next command would take them for images."""
    out = () if "--out" in flags else ("--out", str(tmp_path / "boxes.json"))
    asked = [str(run), str(photos), *flags, str(photos / "more" / "new"), *out]
    assert run_command(predict.main, [*asked, *ON_CPU]) == 2
    assert f"lies in {photos}, where its pictures would be taken for images" in capsys.readouterr().err
    (tmp_path / "link").symlink_to(photos)
    asked[1] = str(tmp_path / "link")
    assert run_command(predict.main, [*asked, *ON_CPU]) == 2
    assert "where its pictures would be taken for images" in capsys.readouterr().err
    (tmp_path / "link").unlink()
    assert not [*tmp_path.iterdir()]


def test_images_of_several_folders_are_called_by_their_paths_below_one(run: Path, photos: Path, tmp_path: Path) -> None:
    for place in ("a", "b"):
        shutil.copytree(photos / "more", tmp_path / "set" / place)
    places = (tmp_path / "set" / "a", tmp_path / "set" / "b")
    assert predict_to(tmp_path / "boxes.json", run, *places, "--relative-to", tmp_path / "set") == 0
    names = [each["file_name"] for each in json.loads((tmp_path / "boxes.json").read_text())["images"]]
    assert names == [f"{place}/{k}.jpg" for place in ("a", "b") for k in range(len(PHOTO_SIZES))]


def test_images_that_were_predicted_before_are_left_out_and_the_files_joined(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = sorted((photos / "more").iterdir())[:2]
    how = ["--relative-to", str(photos), *ON_CPU]
    first, later, whole, other = (tmp_path / f"{name}.json" for name in ("first", "later", "whole", "other"))

    def predicted(out: Path, *more: object) -> int:
        return run_command(predict.main, [str(run), str(photos), "--out", str(out), *how, *map(str, more)])

    assert run_command(predict.main, [str(run), *map(str, few), "--out", str(first), *how]) == 0
    assert predicted(whole) == 0
    capsys.readouterr()
    assert predicted(later, "--skip-known", first) == 0
    assert f"2 images left out, as {first} has them" in capsys.readouterr().out
    assert run_command(convert.main, [str(first), str(later), "--out", str(tmp_path / "joined.csv")]) == 0
    assert run_command(convert.main, [str(whole), "--out", str(tmp_path / "whole.csv")]) == 0
    joined, expected = ((tmp_path / name).read_text().splitlines() for name in ("joined.csv", "whole.csv"))
    assert [line.partition(",")[0] for line in sorted(joined)] == [line.partition(",")[0] for line in sorted(expected)]
    assert predicted(tmp_path / "none.json", "--skip-known", whole) == 2
    assert f"--skip-known {whole}: all " in capsys.readouterr().err
    assert predicted(tmp_path / "none.json", "--skip-known", first, "--part", "1/2") == 2
    assert "--part 1/2: parts are joined with parts alone" in capsys.readouterr().err
    content = json.loads(first.read_text())
    for number, each in enumerate(content["images"]):
        each["file_name"] = f"other/{number}.jpg"
    other.write_text(json.dumps(content))
    assert predicted(tmp_path / "none.json", "--skip-known", other) == 2
    assert "has none of these images (its images are called like 'other/0.jpg'" in capsys.readouterr().err
