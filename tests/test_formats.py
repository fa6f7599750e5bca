"""Labelled images in every format: read back by other tools' code, or by plain means where there is none."""

import csv
import io
import json
import random
import resource
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from conftest import noise_jpeg
from PIL import Image, ImageDraw
from pycocotools.coco import COCO

from fastwsol.formats.coco import run_lengths, write_coco
from fastwsol.formats.json_text import rounded
from fastwsol.formats.label_studio import brush_runs
from fastwsol.formats.labelled_images import About, LabelledImage, LabelledObject, Listed, Skipped, counted
from fastwsol.formats.polygons import fill, one_polygon, polygons
from fastwsol.formats.writing import (
    AnyFormat,
    FolderFormat,
    not_held,
    refuse_shared,
    write_in_file,
    write_in_folder,
    write_set,
)
from fastwsol.host.errors import UserError
from fastwsol.sources import Class, heif
from fastwsol.sources.mask_images import read_mask
from fastwsol.sources.segmentations import SegmentationMask, pixels_of

ABOUT = About("a run", (Class("n1", "red: a colour"), Class("n2", 'the "blue" one'), Class("green", "green")))


def ellipse(width: int, height: int, box: tuple[int, int, int, int], hole: bool = False) -> np.ndarray:
    picture = Image.new("1", (width, height))
    ImageDraw.Draw(picture).ellipse([box[0], box[1], box[2] - 1, box[3] - 1], fill=1)
    if hole:
        x, y = (box[0] + box[2]) // 2, (box[1] + box[3]) // 2
        ImageDraw.Draw(picture).ellipse([x - 8, y - 6, x + 8, y + 6], fill=0)
    return np.array(picture)


def predicted() -> list[LabelledImage | Skipped]:
    """One with two objects, the second with a hole; one that was skipped; one without an object."""
    first = partial(ellipse, 160, 120, (10, 20, 70, 90))
    second = partial(ellipse, 160, 120, (80, 10, 150, 110), hole=True)
    two = (
        LabelledObject(1, (10.25, 20.5, 70.125, 90.0), 0.875, 0.9, first),
        LabelledObject(0, (80.0, 10.0, 150.0, 110.0), 0.25, 0.3, second),
    )
    jpeg = partial(noise_jpeg, 1, size=(160, 120))
    chances = np.array([0.1, 0.8, 0.1])
    return [
        LabelledImage("deep/two.jpg", 160, 120, two, 1, chances, (Listed(1, 0.8),), encoded=jpeg),
        Skipped("bad.jpg", "no image"),
        LabelledImage(
            "none.jpg", 160, 120, (), 2, chances, (Listed(2, 0.1),), lambda: np.zeros((120, 160), np.uint8), jpeg
        ),
    ]


def text_of(form: Any) -> str:
    file = io.BytesIO()
    write_in_file(file, form, predicted(), ABOUT)
    return file.getvalue().decode()


def written(form: Any, folder: Path) -> list[str]:
    """The files of a folder format."""
    write_in_folder(folder, form, {"": predicted()}, ABOUT)
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def objects() -> tuple[LabelledObject, ...]:
    (image, *_) = predicted()
    assert isinstance(image, LabelledImage)
    return image.objects


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize(("form", "least"), [("coco", 1.0), ("coco-polygons", 0.98)])
def test_coco_opens_in_pycocotools_with_all_it_holds(form: str, least: float, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text_of(form))
    coco = COCO(tmp_path / "a.json")
    assert [each["name"] for each in coco.loadCats(coco.getCatIds())] == [one.name for one in ABOUT.classes]
    images = coco.loadImgs(coco.getImgIds())
    assert [(each["file_name"], each["width"], each["height"]) for each in images] == [
        ("deep/two.jpg", 160, 120),
        ("none.jpg", 160, 120),
    ]
    assert [each["probabilities"] for each in images] == [[0.1, 0.8, 0.1]] * 2
    assert [each["category_id"] for each in images] == [2, 3]
    for annotation, thing in zip(coco.loadAnns(coco.getAnnIds()), objects(), strict=True):
        x0, y0, x1, y1 = thing.box
        assert annotation["bbox"] == [x0, y0, x1 - x0, y1 - y0]
        assert (annotation["score"], annotation["probability"]) == (thing.score, thing.probability)
        assert annotation["category_id"] == thing.label + 1
        assert thing.mask is not None
        assert iou(coco.annToMask(annotation).astype(bool), thing.mask()) >= least
        assert annotation["area"] == thing.mask().sum()
    assert coco.dataset["skipped"] == [{"file_name": "bad.jpg", "reason": "no image"}]


def test_coco_is_drawn_by_pycocotools(tmp_path: Path) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pytest.importorskip("matplotlib").use("agg")
    for form in ("coco", "coco-polygons"):
        (tmp_path / "a.json").write_text(text_of(form))
        coco = COCO(tmp_path / "a.json")
        pyplot.figure()
        pyplot.imshow(np.zeros((120, 160, 3)))
        coco.showAnns(coco.loadAnns(coco.getAnnIds()), draw_bbox=True)
        axes = pyplot.gca()
        assert len(axes.images) + sum(len(each.get_paths()) for each in axes.collections) >= 3
        pyplot.close()


def test_csv_and_json_lines_say_the_same() -> None:
    rows = [*csv.DictReader(io.StringIO(text_of("csv")))]
    assert [(row["name"], row["label"]) for row in rows] == [
        ("deep/two.jpg", "n2"),
        ("deep/two.jpg", "n1"),
        ("none.jpg", "green"),
    ]
    lines = [json.loads(line) for line in text_of("jsonl").splitlines()]
    assert [line["name"] for line in lines] == ["deep/two.jpg", "bad.jpg", "none.jpg"]
    assert lines[1]["skipped"] == "no image"
    assert lines[2]["classes"] == [{"wnid": "green", "name": "green", "probability": 0.1}]
    for row, box, thing in zip(rows, lines[0]["boxes"], objects(), strict=False):
        assert [float(row[side]) for side in ("x0", "y0", "x1", "y1")] == box["box"] == [*thing.box]
        assert float(row["score"]) == box["score"] == thing.score
    assert (rows[2]["x0"], rows[2]["score"], rows[2]["probability"]) == ("", "", "0.1")


def brushed(runs: list[int], shape: tuple[int, int]) -> np.ndarray:
    """The pixels of a brush stroke, bit by bit as the form is described."""
    bits = iter("".join(f"{byte:08b}" for byte in runs))

    def take(count: int) -> int:
        return int("".join(next(bits) for _ in range(count)), 2)

    total, word = take(32), take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < total:
        repeated, size = take(1), sizes[take(2)]
        count = take(size) + 1
        values += [take(word)] * count if repeated else [take(word) for _ in range(count)]
    return np.array(values).reshape(*shape, 4)[..., 3] > 0


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (40, 61), (300, 200)])
def test_brush_strokes_are_the_pixels(shape: tuple[int, int]) -> None:
    for share in (0.0, 0.3, 1.0):
        mask = np.random.default_rng(0).random((shape[0] // 5 + 1, shape[1] // 5 + 1)) < share
        mask = mask.repeat(5, 0).repeat(5, 1)[: shape[0], : shape[1]]
        np.testing.assert_array_equal(brushed(brush_runs(mask), shape), mask)


def test_label_studio_has_rectangle_polygon_and_brush_of_each_object() -> None:
    tasks = json.loads(text_of("label-studio"))
    assert [task["data"]["image"] for task in tasks] == ["deep/two.jpg", "none.jpg"]
    result = tasks[0]["predictions"][0]["result"]
    assert [region["type"] for region in result] == ["rectanglelabels", "polygonlabels", "brushlabels"] * 2
    assert len({region["id"] for region in result}) == 6
    for k, thing in enumerate(objects()):
        assert thing.mask is not None
        rectangle, polygon, brush = (region["value"] for region in result[3 * k : 3 * k + 3])
        x, y, width, height = (rectangle[key] for key in ("x", "y", "width", "height"))
        edges = np.array([x, y, x + width, y + height]) * [1.6, 1.2, 1.6, 1.2]
        np.testing.assert_allclose(edges, thing.box, atol=1e-5)
        corners = np.array(polygon["points"]) * [1.6, 1.2]
        assert iou(fill([corners], (120, 160)), thing.mask()) > 0.98
        np.testing.assert_array_equal(brushed(brush["rle"], (120, 160)), thing.mask())
        name = ABOUT.names[thing.label]
        assert rectangle["rectanglelabels"] == polygon["polygonlabels"] == brush["brushlabels"] == [name]
    assert tasks[1]["predictions"][0]["result"] == []


def test_yolo_holds_the_images_and_their_boxes_as_shares(tmp_path: Path) -> None:
    files = written("yolo", tmp_path)
    assert files == ["data.yaml", "images/deep/two.jpg", "images/none.jpg", "labels/deep/two.txt", "labels/none.txt"]
    assert (tmp_path / "images/deep/two.jpg").read_bytes() == noise_jpeg(1, size=(160, 120))
    about = yaml.safe_load((tmp_path / "data.yaml").read_text())
    assert about == {"train": "images", "val": "images", "predicted": 1, "names": dict(enumerate(ABOUT.names))}
    assert (tmp_path / "labels/none.txt").read_text() == ""
    lines = (tmp_path / "labels/deep/two.txt").read_text().splitlines()
    for line, thing in zip(lines, objects(), strict=True):
        label, x, y, width, height = map(float, line.split())
        assert label == thing.label
        edges = [(x - width / 2) * 160, (y - height / 2) * 120, (x + width / 2) * 160, (y + height / 2) * 120]
        np.testing.assert_allclose(edges, thing.box, atol=1e-3)


def test_yolo_segments_are_outlines_and_boxes_where_there_is_no_mask(tmp_path: Path) -> None:
    written("yolo-segments", tmp_path / "a")
    lines = (tmp_path / "a/labels/deep/two.txt").read_text().splitlines()
    for line, thing in zip(lines, objects(), strict=True):
        label, *shares = map(float, line.split())
        assert label == thing.label
        assert thing.mask is not None
        corners = np.array(shares).reshape(-1, 2) * (160, 120)
        assert iou(fill([corners], (120, 160)), thing.mask()) > 0.97
    plain = LabelledImage("x.jpg", 10, 10, (LabelledObject(0, (1, 2, 3, 4)),), encoded=lambda: noise_jpeg(0))
    two = predicted()[0]
    write_in_folder(tmp_path / "b", "yolo-segments", {"": [two, plain]}, ABOUT)
    assert (tmp_path / "b/labels/x.txt").read_text().split()[1:5] == ["0.100000", "0.200000", "0.300000", "0.200000"]


def test_voc_holds_boxes_rounded_outwards_and_the_pixels_of_objects(tmp_path: Path) -> None:
    files = written("voc", tmp_path)
    of_two = [f"{kind}/deep/two.png" for kind in ("SegmentationClass", "SegmentationObject")]
    assert files == [
        *("Annotations/deep/two.xml", "Annotations/none.xml", "ImageSets/Main/trainval.txt"),
        "ImageSets/Segmentation/trainval.txt",
        *("JPEGImages/deep/two.jpg", "JPEGImages/none.jpg", *of_two),
    ]
    root = ElementTree.parse(tmp_path / "Annotations/deep/two.xml").getroot()
    assert (root.findtext("folder"), root.findtext("filename")) == ("deep", "deep/two.jpg")
    assert [root.findtext(f"size/{side}") for side in ("width", "height", "depth")] == ["160", "120", "3"]
    numbers = np.asarray(Image.open(tmp_path / of_two[1]))
    labels = np.asarray(Image.open(tmp_path / of_two[0]))
    for k, (element, thing) in enumerate(zip(root.findall("object"), objects(), strict=True)):
        assert element.findtext("name") == ABOUT.names[thing.label]
        edges = [int(element.findtext(f"bndbox/{side}") or 0) for side in ("xmin", "ymin", "xmax", "ymax")]
        x0, y0, x1, y1 = thing.box
        assert edges == [int(x0) + 1, int(y0) + 1, -int(-x1 // 1), -int(-y1 // 1)]
        assert thing.mask is not None
        np.testing.assert_array_equal(numbers == k + 1, thing.mask())
        np.testing.assert_array_equal(labels == thing.label + 1, thing.mask())
    assert (tmp_path / "ImageSets/Main/trainval.txt").read_text() == "deep/two\nnone\n"
    assert (tmp_path / "ImageSets/Segmentation/trainval.txt").read_text() == "deep/two\n"
    assert ElementTree.parse(tmp_path / "Annotations/none.xml").getroot().find("object") is None


def test_a_label_map_is_written_where_names_have_no_colon(tmp_path: Path) -> None:
    about = About("", (Class("a", "a b"), Class("c", "c")))
    write_in_folder(tmp_path, "voc", {"": []}, about)
    lines = (tmp_path / "labelmap.txt").read_text().splitlines()
    assert lines[1:] == ["background:0,0,0::", "a b:128,0,0::", "c:0,128,0::"]


def test_label_studios_configuration_is_xml_whatever_classes_are_called(tmp_path: Path) -> None:
    about = About("a run", (Class("a", "odd \ufffe name"), Class("b", "b")))
    thing = LabelledObject(0, (1.0, 2.0, 9.0, 9.0))
    write_set(tmp_path / "a.json", "label-studio", [LabelledImage("a.jpg", 20, 20, (thing,))], about)
    labels = ElementTree.parse(tmp_path / "a-labels.xml").getroot().findall("RectangleLabels/Label")
    ((region,),) = [each["predictions"][0]["result"] for each in json.loads((tmp_path / "a.json").read_text())]
    assert [labels[0].get("value")] == region["value"]["rectanglelabels"] == ["odd \ufffd name"]


def test_what_lies_beside_a_file_goes_where_the_file_cannot_be_put(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            write_set(tmp_path / "a.json", "label-studio", predicted(), ABOUT)
    assert not [*tmp_path.glob("*.xml")]
    write_set(tmp_path / "a.json", "label-studio", predicted(), ABOUT)


def test_masks_are_what_packing_takes(tmp_path: Path) -> None:
    assert written("masks", tmp_path) == ["deep/two.jpg.png", "none.jpg.png"]
    both = read_mask((tmp_path / "deep/two.jpg.png").read_bytes(), (160, 120)) > 0
    np.testing.assert_array_equal(both, np.logical_or(*(thing.mask() for thing in objects() if thing.mask)))
    assert not read_mask((tmp_path / "none.jpg.png").read_bytes(), (160, 120)).any()


def with_redrawn() -> LabelledImage:
    """An image of two objects with masks, of two classes, and one whose box was drawn anew, which has no mask."""
    redrawn = LabelledObject(1, (60.0, 20.0, 80.0, 90.0))
    jpeg = partial(noise_jpeg, 1, size=(160, 120))
    return LabelledImage("three.jpg", 160, 120, (*objects(), redrawn), 1, encoded=jpeg)


@pytest.mark.parametrize(
    ("form", "lost"),
    [
        ("masks", "2 masks of images with an object that has none"),
        (
            "class-folders",
            "1 mask of images with an object of their class that has none, "
            "1 mask of objects that are not of their image's class",
        ),
        ("voc", ""),
        ("coco", ""),
    ],
)
def test_an_object_without_a_mask_does_not_become_background(form: AnyFormat, lost: str, tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    images = [*counted([with_redrawn()], ABOUT, counts)]
    assert (lost in not_held(form, counts)) if lost else ("that has none" not in not_held(form, counts))
    if form == "masks":
        with pytest.raises(UserError, match="no image has a mask"):
            write_in_folder(tmp_path, form, {"": images}, ABOUT)
    if form == "class-folders":
        write_in_folder(tmp_path, form, {"": images}, ABOUT)
        assert not [*tmp_path.rglob("*.png")]
    if form == "voc":
        write_in_folder(tmp_path, form, {"": images}, ABOUT)
        first, second = (thing.mask() for thing in objects() if thing.mask)
        for kind in ("SegmentationObject", "SegmentationClass"):
            pixels = np.asarray(Image.open(tmp_path / kind / "three.png"))
            left_out = np.zeros((120, 160), bool)
            left_out[20:90, 60:80] = True
            np.testing.assert_array_equal(pixels == 255, left_out & ~first & ~second)


def test_a_box_of_another_class_is_left_out_by_class_where_the_mask_is_of_the_images_own(tmp_path: Path) -> None:
    """As of a packed set: its mask says what is of the image's class, and no dog is background."""
    own = np.zeros((120, 160), np.uint8)
    own[10:40, 10:40] = 255
    cat = LabelledObject(0, (10.0, 10.0, 40.0, 40.0), mask=lambda: own == 255)
    dog = LabelledObject(1, (100.0, 50.0, 150.0, 100.0))
    image = LabelledImage("a.jpg", 160, 120, (cat, dog), 0, mask=lambda: own)
    write_in_folder(tmp_path, "voc", {"": [image]}, ABOUT)
    numbers, labels = (
        np.asarray(Image.open(tmp_path / kind / "a.png")) for kind in ("SegmentationObject", "SegmentationClass")
    )
    np.testing.assert_array_equal(numbers, own // 255)
    assert (labels[50:100, 100:150] == 255).all()
    assert (labels == 255).sum() == 50 * 50
    np.testing.assert_array_equal(labels[own == 255], 1)


def test_of_equal_masks_the_first_is_in_front_and_hidden_ones_are_counted(tmp_path: Path) -> None:
    mask = partial(ellipse, 160, 120, (10, 20, 70, 90))
    behind = LabelledObject(2, (5.0, 5.0, 90.0, 100.0), 0.1, 0.1, partial(ellipse, 160, 120, (5, 5, 90, 100)))
    same = [LabelledObject(label, (10.0, 20.0, 70.0, 90.0), 0.9 - label / 10, 0.5, mask) for label in (0, 1)]
    jpeg = partial(noise_jpeg, 1, size=(160, 120))
    image = LabelledImage("same.jpg", 160, 120, (*same, behind), 0, encoded=jpeg)
    counts: Counter[str] = Counter()
    empty = LabelledObject(1, (10.0, 20.0, 70.0, 90.0), mask=lambda: np.zeros((120, 160), np.bool_))
    image = replace(image, objects=(*image.objects, empty))
    write_in_folder(tmp_path, "voc", {"": counted([image], ABOUT, counts, numbers_pixels=True)}, ABOUT)
    numbers = np.asarray(Image.open(tmp_path / "SegmentationObject" / "same.png"))
    assert sorted(np.unique(numbers)) == [0, 1, 3]
    np.testing.assert_array_equal(numbers == 1, mask())
    assert "1 mask that others hide wholly" in not_held("voc", counts)

    def never() -> Any:
        raise AssertionError("drawn where nothing is counted by it")

    undrawn = replace(image, objects=tuple(replace(each, mask=never) for each in image.objects))
    assert [*counted([undrawn], ABOUT, counts)] == [undrawn]


@pytest.mark.parametrize("form", get_args(FolderFormat))
def test_two_images_do_not_share_a_file(form: FolderFormat) -> None:
    names = ["a/x.png", "a/X.jpg"] if form not in ("masks", "class-folders") else ["a/x.png", "../a/X.png"]
    with pytest.raises(UserError, match=f"--format {form}: '{names[0]}' and '{names[1]}' would share a/X"):
        refuse_shared(form, names, f"--format {form}")


LOST = {
    "coco": "",
    "coco-polygons": "coco-polygons has no place for 2 masks to the pixel (outlines, of an IoU of 0.98 at least)",
    "jsonl": "jsonl has no place for 2 masks",
    "csv": "csv has no place for 2 lists of all classes' probabilities, 2 masks, 1 class of images that their "
    "boxes do not tell, 2 names of classes beside their ids, 1 image that could not be read",
    "masks": "masks has no place for 2 boxes, 2 classes of objects, 2 scores, 2 lists of all classes' probabilities, "
    "1 class of images that their boxes do not tell, 1 image that could not be read, 1 class of images without a box",
}


@pytest.mark.parametrize("form", LOST)
def test_what_a_format_cannot_hold_is_counted(form: AnyFormat) -> None:
    counts: Counter[str] = Counter()
    assert [*counted(predicted(), ABOUT, counts)] != []
    assert not_held(form, counts) == LOST[form]


def test_ultralytics_finds_the_labels_of_images_in_a_folder_called_images(tmp_path: Path) -> None:
    """It puts `labels` in place of the last `images` of a path."""
    names = ["train/n1/images/a.jpg", "images/b.jpg", "c.jpg"]
    images = [LabelledImage(name, 160, 120, objects(), 0, encoded=lambda: noise_jpeg(0)) for name in names]
    write_in_folder(tmp_path / "set", "yolo", {"train": images}, ABOUT)
    found = sorted((tmp_path / "set" / "images").rglob("*.jpg"))
    assert len(found) == 3
    for path in found:
        before, _, behind = str(path).rpartition("/images/")
        assert Path(f"{before}/labels/{behind}").with_suffix(".txt").read_text().count("\n") == 2


def test_names_of_classes_stay_themselves(tmp_path: Path) -> None:
    names = ["größe", "🐱 cat", "a: b # c", 'say "no"', "\\", "yes", "1.5", "tab\tstop"]
    names += ["Cooper\x92s", "next\x85line\u2028", "\ufeff", "x", "x", "y"]
    about = About("", tuple(Class(f"n{k}", name) for k, name in enumerate(names)))
    assert len(set(about.names)) == len(names)
    assert about.names[11:] == ["x (n11)", "x (n12)", "y"]
    write_in_folder(tmp_path / "yolo", "yolo", {"": []}, about)
    assert [*yaml.safe_load((tmp_path / "yolo" / "data.yaml").read_text())["names"].values()] == about.names
    odd = About("", (Class("a", "bell\a"), Class("b", "b")))
    image = LabelledImage("i.jpg", 9, 9, (LabelledObject(0, (1, 1, 2, 2)),))
    write_in_folder(tmp_path / "voc", "voc", {"": [image]}, odd)
    assert ElementTree.parse(tmp_path / "voc/Annotations/i.xml").findtext("object/name") == "bell\ufffd"


@pytest.mark.parametrize("form", get_args(FolderFormat))
def test_names_that_become_too_long_are_refused_before_anything_is_written(form: FolderFormat) -> None:
    longest = "ä" * 125 + ".jpg"  # 254 bytes
    if form != "masks":  # whose file ends in .jpg.png
        refuse_shared(form, [longest], f"--format {form}")
        longest = "ä" * 126 + ".x/y.jpg"
        refuse_shared(form, [longest], f"--format {form}")
        longest = "ä" * 128 + "/y.jpg"
    with pytest.raises(UserError, match=f"--format {form}: 'ä.* is too long a name"):
        refuse_shared(form, [longest], f"--format {form}")


@pytest.mark.parametrize("form", ["yolo", "yolo-segments"])
def test_a_folder_called_images_shares_no_file_with_what_it_is_called_instead(form: FolderFormat) -> None:
    with pytest.raises(UserError, match=r"'images/x\.jpg' and 'images-/x\.jpg' would share images-/x\.txt"):
        refuse_shared(form, ["images/x.jpg", "images-/x.jpg"], f"--format {form}")


def test_images_that_come_to_one_name_are_refused(tmp_path: Path) -> None:
    """`b.bmp` that holds a JPEG, beside `b.bmp.jpg`."""
    images = [LabelledImage(name, 9, 9, encoded=lambda: noise_jpeg(0)) for name in ("b.bmp", "b.bmp.jpg")]
    with pytest.raises(UserError, match=r"b\.bmp\.jpg: two images would share this file"):
        write_in_folder(tmp_path / "yolo", "yolo", {"": images}, ABOUT)


def test_noise_has_polygons_in_short_time() -> None:
    mask = np.random.default_rng(0).random((400, 300)) < 0.55
    found = polygons(mask)
    assert 0 < len(found) <= 256
    assert one_polygon(mask) is not None


def test_photographs_that_were_packed_anew_get_the_ending_of_what_they_are(tmp_path: Path) -> None:
    image = LabelledImage("a.heic", 64, 64, encoded=lambda: noise_jpeg(0))
    write_in_folder(tmp_path, "yolo", {"val": [image]}, ABOUT)
    assert (tmp_path / "images/val/a.heic.jpg").is_file()
    assert (tmp_path / "labels/val/a.heic.txt").is_file()


@pytest.mark.parametrize("seed", range(4))
def test_polygons_are_the_mask_but_for_its_edge(seed: int) -> None:
    rng = random.Random(seed)
    picture = Image.new("1", (200, 150))
    canvas = ImageDraw.Draw(picture)
    for fills in (1, 1, 1, 0, 0, 1):
        x, y = rng.randrange(180), rng.randrange(130)
        canvas.ellipse([x, y, x + rng.randrange(1, 90), y + rng.randrange(1, 70)], fill=fills)
    mask = np.array(picture)
    assert iou(fill(polygons(mask), mask.shape), mask) >= 0.98
    whole = one_polygon(mask)
    assert whole is not None
    assert iou(fill([whole], mask.shape), mask) >= 0.98
    assert polygons(np.zeros((3, 4), np.bool_)) == []
    assert one_polygon(np.zeros((3, 4), np.bool_)) is None
    one_pixel = np.zeros((5, 5), np.bool_)
    one_pixel[2, 3] = True
    np.testing.assert_array_equal(fill(polygons(one_pixel), (5, 5)), one_pixel)


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [4, 6], "counts": [0, 24]},
        {"size": [4, 6], "counts": "0h0"},
        [[0, 0, 6, 0, 6, 4, 0, 4]],
        [[0, 0, 6, 0, 6, 2, 0, 2], [0, 2, 6, 2, 6, 4, 0, 4]],
    ],
)
def test_segmentations_of_every_form_are_read(segmentation: Any) -> None:
    pixels = pixels_of(segmentation, 6, 4, "here")
    assert pixels is not None
    assert pixels.shape == (4, 6)
    assert pixels.all()


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [6, 4], "counts": [0, 24]},
        {"size": [4, 6], "counts": [0, 25]},
        {"size": [4, 6], "counts": [-1, 25]},
        {"size": [4, 6], "counts": "zzzzzzzz"},
        {"size": [4, 6], "counts": "0"},
        {"size": [4, 6], "counts": "PPPPPPPPPPPPP0h0"},
        {"size": [4, 6], "counts": ""},
        {"size": [4, 6], "counts": 7},
        {"size": [4, 6], "counts": ["a"]},
        {"size": [4, 6], "counts": [0.5] * 48},
        [[0, 0, 90, 90, *[5, 5, 90, 90] * 50_000]],
        "",
        {},
        {"counts": "0h0"},
        {"size": 3, "counts": "0h0"},
        "text",
        7,
        [[0, 0, 1, 1]],
        [[0, 0, 1, 1, 2]],
        [[0, 0, 1, 1, 2, "x"]],
        [[0, 0, 1e300, 1, 2, 2]],
        [[0, 0, float("nan"), 1, 2, 2]],
        [7],
    ],
)
def test_a_segmentation_that_is_none_is_refused_by_its_place(segmentation: Any) -> None:
    with pytest.raises(UserError, match=r"^here: its segmentation .*; correct it, or leave it out$"):
        pixels_of(segmentation, 6, 4, "here")
    if isinstance(segmentation, dict) and isinstance(segmentation.get("counts"), str):
        with pytest.raises(UserError, match=r"^here: its segmentation .*; correct it, or leave it out$"):
            SegmentationMask(segmentation, 6, 4, "here").compressed_runs()


@pytest.mark.parametrize("density", [0.0, 0.3, 0.999, 1.0])
def test_runs_are_copied_as_they_would_be_written_anew(density: float, tmp_path: Path) -> None:
    """Without being decoded."""
    mask = np.random.default_rng(1).random((37, 53)) < density
    read = SegmentationMask(run_lengths(mask), 53, 37, "here")
    assert read.compressed_runs() == (run_lengths(mask), mask.sum())
    np.testing.assert_array_equal(read(), mask)
    assert SegmentationMask([[0, 0, 5, 0, 5, 5]], 53, 37, "here").compressed_runs() is None
    assert SegmentationMask({"size": [37, 53], "counts": [0, 37 * 53]}, 53, 37, "here").compressed_runs() is None
    texts = []
    for each in (read, lambda: mask):
        images = [LabelledImage("a.jpg", 53, 37, (LabelledObject(0, (0, 0, 5, 5), mask=each),))]
        file = io.BytesIO()
        write_coco(file, images, ABOUT)
        texts.append(file.getvalue())
    assert texts[0] == texts[1]


def test_probabilities_are_written_as_python_rounds_them() -> None:
    values = np.random.default_rng(0).dirichlet(np.ones(1000))
    assert rounded(values) == [round(value, 6) for value in values.tolist()]
    assert rounded(np.array([0.123456], np.float32)) == [0.123456]  # type: ignore[arg-type]


def test_many_polygons_are_drawn_in_the_memory_of_few() -> None:
    rings = [[10 * k, 0, 10 * k + 5, 0, 10 * k + 5, 5] for k in range(800)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pixels = pixels_of(rings, 8192, 8192, "here")
    assert pixels is not None
    assert pixels.sum() == 800 * pixels[:, :10].sum()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000  # KiB; 50 GB for one mask a polygon


@pytest.mark.parametrize(
    ("name", "kind", "written"),
    [
        ("a.jfif", "JPEG", "a.jfif.jpg"),
        ("a.JPE", "JPEG", "a.JPE.jpg"),
        ("a.jpeg", "JPEG", "a.jpeg"),
        ("a.avif", "AVIF", "a.avif.png"),
        ("a.heic", "HEIF", "a.heic.png"),
    ],
)
def test_yolo_has_images_under_endings_that_are_looked_for(name: str, kind: Any, written: str, tmp_path: Path) -> None:
    if kind != "JPEG":
        if not heif.is_read(kind):
            pytest.skip(f"NOT TESTED: {kind} cannot be read here")
        heif.let_pillow_read(kind)
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 30, 10)).save(file, kind)
    thing = LabelledObject(0, (10.0, 6.0, 30.0, 24.0))
    write_in_folder(tmp_path, "yolo", {"": [LabelledImage(name, 40, 30, (thing,), encoded=file.getvalue)]}, ABOUT)
    (image,) = (tmp_path / "images").iterdir()
    assert image.name == written
    assert Image.open(image).size == (40, 30)
    assert (tmp_path / "labels" / written).with_suffix(".txt").is_file()


@pytest.mark.parametrize("form", ["yolo", "class-folders"])
def test_a_gif_that_ends_early_is_told_by_its_name(form: FolderFormat, tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40), np.uint8)).save(file, "GIF")
    image = LabelledImage("deep/a.gif", 40, 30, (), 0, encoded=lambda: file.getvalue()[:200])
    with pytest.raises(UserError, match=r"^deep/a\.gif: cannot be decoded"):
        write_in_folder(tmp_path, form, {"": [image]}, ABOUT)


@pytest.mark.parametrize(("kind", "size"), [("JPEG", (6, 4)), ("TIFF", (40, 30)), ("AVIF", (40, 30))])
def test_what_pack_would_not_take_is_upright_too(kind: Any, size: tuple[int, int], tmp_path: Path) -> None:
    if kind == "AVIF":
        if not heif.is_read(kind):
            pytest.skip("NOT TESTED: AVIF cannot be read here")
        heif.let_pillow_read(kind)
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.new("RGB", size, (200, 30, 10)).save(file, kind, exif=exif)
    image = LabelledImage("a.img", size[1], size[0], (), encoded=file.getvalue)
    write_in_folder(tmp_path, "yolo", {"": [image]}, ABOUT)
    with Image.open(next((tmp_path / "images").iterdir())) as written:
        assert written.size == size[::-1]
        assert written.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("form", ["yolo", "voc"])
def test_photographs_that_exif_turns_are_written_upright(form: FolderFormat, tmp_path: Path) -> None:
    """Some readers turn them and some do not, and boxes are of the upright image."""
    pixels = np.zeros((40, 30, 3), np.uint8)
    pixels[:, 20:] = 255  # bright on the right, which is the bottom once it is turned
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95, exif=exif)
    image = LabelledImage("a.jpg", 40, 30, (LabelledObject(0, (0.0, 20.0, 40.0, 30.0)),), encoded=file.getvalue)
    write_in_folder(tmp_path, form, {"": [image]}, ABOUT)
    with Image.open(next(tmp_path.rglob("a.jpg"))) as written:
        assert written.size == (40, 30)
        assert not written.getexif().get(0x0112)
        seen = np.asarray(written.convert("L"))
    assert seen[22:].mean() > 250
    assert seen[:18].mean() < 5


def test_yolo_has_a_gif_as_png_of_its_first_frame(tmp_path: Path) -> None:
    """Ultralytics ignores a GIF, and with it its labels."""
    frames = [Image.new("RGB", (40, 30), colour) for colour in ((200, 30, 10), (0, 0, 90))]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    thing = LabelledObject(0, (10.0, 6.0, 30.0, 24.0))
    image = LabelledImage("a.gif", 40, 30, (thing,), encoded=file.getvalue)
    write_in_folder(tmp_path, "yolo", {"": [image]}, ABOUT)
    (written,) = (tmp_path / "images").iterdir()
    assert written.name == "a.gif.png"
    write_in_folder(tmp_path / "voc", "voc", {"": [image]}, ABOUT)
    assert [each.name for each in (tmp_path / "voc" / "JPEGImages").iterdir()] == ["a.gif.png"]
    np.testing.assert_array_equal(Image.open(written).convert("RGB"), frames[0])
    assert (tmp_path / "labels" / "a.gif.txt").read_text() == "0 0.500000 0.500000 0.500000 0.600000\n"
