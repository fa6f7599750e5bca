"""Small rules of the formats, each by an example."""

import io
import json
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import get_args

import numpy as np
import pytest

from fastwsol.formats.class_folders import write_class_folders
from fastwsol.formats.folders import in_split
from fastwsol.formats.labelled_images import (
    EMPTY_CLASSES,
    NO_MASK,
    About,
    Images,
    LabelledImage,
    LabelledObject,
    Listed,
    class_by_boxes,
    contents_of,
)
from fastwsol.formats.polygons import fill, polygons
from fastwsol.formats.writing import AnyFormat, not_held, refuse_another_ending, refuse_beside, write_in_file, write_set
from fastwsol.host.errors import UserError
from fastwsol.sources import Class

ABOUT = About("a run", (Class("n1", "cat"), Class("n2", "dog")))


def json_of(form: AnyFormat, image: LabelledImage) -> object:
    file = io.BytesIO()
    write_in_file(file, form, [image], ABOUT)  # type: ignore[arg-type]
    return json.loads(file.getvalue())


def test_a_part_in_a_hole_of_another_keeps_its_own_hole() -> None:
    mask = np.ones((24, 24), bool)
    mask[4:20, 4:20] = False
    mask[8:16, 8:16] = True
    mask[10:14, 10:14] = False
    drawn = fill(polygons(mask), (24, 24))
    assert (drawn & mask).sum() / (drawn | mask).sum() >= 0.98


def test_names_that_are_told_apart_are_so_from_all_others() -> None:
    about = About("", (Class("a", "x"), Class("b", "x"), Class("c", "x (a)")))
    assert len(set(about.names)) == 3


def test_difficult_boxes_do_not_say_what_an_image_is_of() -> None:
    large, small = LabelledObject(0, (0, 0, 9, 9), difficult=True), LabelledObject(1, (0, 0, 2, 2))
    assert class_by_boxes(LabelledImage("a", 9, 9, (large, small))) == 1


def test_an_image_without_a_class_has_none_to_lose() -> None:
    assert contents_of(LabelledImage("a", 1, 1), ABOUT)[EMPTY_CLASSES] == 0
    assert contents_of(LabelledImage("a", 1, 1, label=0), ABOUT) == Counter({EMPTY_CLASSES: 1, NO_MASK: 1})


def test_json_lines_have_certainties_and_the_class_of_an_image() -> None:
    image = LabelledImage("a", 9, 9, (LabelledObject(1, (0, 0, 2, 2), certainty=0.5),), label=0)
    found = json_of("jsonl", image)
    assert isinstance(found, dict)
    assert (found["boxes"][0]["certainty"], found["class"]) == (0.5, {"wnid": "n1", "name": "cat"})


def test_a_reviews_verdict_stands_in_every_json() -> None:
    image = LabelledImage("a", 9, 9, (LabelledObject(1, (0, 0, 2, 2), 0.5),), review={"verdict": "corrected"})
    line, (task,) = json_of("jsonl", image), json_of("label-studio", image)  # type: ignore[misc]
    assert isinstance(line, dict)
    assert line["verdict"] == task["data"]["verdict"] == "corrected"
    lost = {
        form for form in get_args(AnyFormat) if "1 mark of images that" in not_held(form, contents_of(image, ABOUT))
    }
    assert lost == {"yolo", "yolo-segments", "voc", "masks"}


def test_more_classes_than_a_pixel_can_number_are_told(tmp_path: Path) -> None:
    about = About("", tuple(Class(f"n{k}", f"class {k}") for k in range(255)))
    image = LabelledImage("a.jpg", 9, 9, (LabelledObject(254, (0, 0, 2, 2), mask=lambda: np.ones((9, 9), bool)),))
    write_set(tmp_path / "voc", "voc", [image], about)
    assert not (tmp_path / "voc/SegmentationClass").exists()
    assert not (tmp_path / "voc/labelmap.txt").exists()
    assert "1 mask by class, of more than 254 classes" in not_held("voc", contents_of(image, about))
    assert "by class" not in not_held("coco", contents_of(image, about))


def test_outlines_are_asked_of_what_has_some(tmp_path: Path) -> None:
    plain = LabelledImage("x.jpg", 10, 10, (LabelledObject(0, (1, 2, 3, 4)),), encoded=lambda: b"")
    with pytest.raises(UserError, match="no object has a mask; choose --format yolo"):
        write_set(tmp_path / "out", "yolo-segments", [plain], ABOUT)
    assert not (tmp_path / "out").exists()


def test_a_task_of_label_studio_has_the_probability_of_its_class() -> None:
    (task,) = json_of("label-studio", LabelledImage("a", 9, 9, listed=(Listed(0, 0.75),)))  # type: ignore[misc]
    assert task["predictions"][0]["score"] == 0.75


def test_what_lies_beside_a_file_goes_where_the_images_end_in_an_error(tmp_path: Path) -> None:
    def images() -> Images:
        yield LabelledImage("a", 9, 9)
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_set(tmp_path / "tasks.json", "label-studio", images(), ABOUT)
    assert [*tmp_path.iterdir()] == []
    (tmp_path / "tasks-labels.xml").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"tasks-labels\.xml, which is written beside it, exists"):
        refuse_beside(tmp_path / "tasks.json", "label-studio")


def test_a_file_ends_as_its_format_does() -> None:
    with pytest.raises(UserError, match=r"a file of --format coco ends in \.json"):
        refuse_another_ending("coco", Path("a.csv"))
    refuse_another_ending("coco", Path("a.json"))


def test_a_name_that_begins_with_its_split_does_not_repeat_it() -> None:
    assert in_split(PurePosixPath("train/a.jpg"), "train") == PurePosixPath("train/a.jpg")
    assert in_split(PurePosixPath("train"), "train") == PurePosixPath("train/train"), "an image that is called so"


def test_a_class_with_a_slash_is_no_folder(tmp_path: Path) -> None:
    image = LabelledImage("a.jpg", 9, 9, label=0, encoded=lambda: b"")
    with pytest.raises(UserError, match="the class 'a/b' can be no folder"):
        write_class_folders(tmp_path, {"": [image]}, About("", (Class("a/b", "a/b"), Class("c", "c"))))
