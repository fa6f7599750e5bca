"""What an image has that not every format can hold is counted, and told once."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastwsol.formats.labelled_images import (
    HIDDEN,
    MANY,
    OF_OTHERS,
    OTHER_CLASSES,
    PARTIAL,
    PARTIAL_OF_CLASS,
    WHOLE_MASKS,
    About,
    LabelledImage,
    LabelledObject,
    contents_of,
    counted,
    hidden_masks,
    object_numbers,
)
from fastwsol.formats.writing import (
    IMAGE_PREFIX,
    format_of,
    holds_masks_of_objects,
    not_held,
    note_of,
    refuse_another_ending,
    refuse_useless_prefix,
    takes,
    write_set,
)
from fastwsol.host.errors import UserError
from fastwsol.sources import Class

ABOUT = About("a run", (Class("n1", "cat"), Class("n2", "dog")))


def masked(label: int, *box: int, **more: Any) -> LabelledObject:
    """An object that fills its box in an image of 20x10."""
    x0, y0, x1, y1 = box
    pixels = np.zeros((10, 20), bool)
    pixels[y0:y1, x0:x1] = True
    return LabelledObject(label, (x0, y0, x1, y1), mask=lambda: pixels, **more)


def image(*objects: LabelledObject, **more: Any) -> LabelledImage:
    return LabelledImage("a.jpg", 20, 10, objects, **more)


def test_a_folder_of_yolo_says_which_split_it_has_twice() -> None:
    twice = "data.yaml has the same images for training and for validation"
    assert note_of("yolo", Path("out"), ["train"]) == f"{twice}: only train was written"
    assert note_of("yolo", Path("out")) == f"{twice}: there are no splits here"
    assert note_of("yolo", Path("out"), ["train", "val"]) == note_of("voc", Path("out")) == ""


def test_only_images_with_a_class_come_into_folders_of_classes() -> None:
    """Told, or by their boxes."""
    told, by_boxes, neither = image(label=0), image(LabelledObject(1, (0, 0, 5, 5))), image()
    assert [takes("class-folders", each) for each in (told, by_boxes, neither)] == [True, True, False]
    assert all(takes("coco", each) for each in (told, by_boxes, neither))


def test_what_is_lost_with_the_whole_is_not_told_twice() -> None:
    hard = image(LabelledObject(0, (0.5, 0, 5, 5), difficult=True), label=0)
    assert not_held("masks", contents_of(hard, ABOUT)) == (
        "masks has no place for 1 box, 1 class of objects, 1 class of images that their boxes do not tell, 1 image "
        "without a mask"
    )
    assert not_held("voc", contents_of(hard, ABOUT)).startswith("voc has no place for")
    assert "1 box with fractions of a pixel" in not_held("voc", contents_of(hard, ABOUT))
    assert "1 mark of difficult objects" in not_held("yolo", contents_of(hard, ABOUT))


def test_certainties_have_no_place_in_folders_of_classes_and_names_none_in_a_csv() -> None:
    sure = contents_of(image(LabelledObject(0, (0, 0, 5, 5), certainty=0.5), label=0), ABOUT)
    assert "1 certainty or what they are made of" in not_held("class-folders", sure)
    assert "1 name of classes beside their ids" in not_held("csv", sure)


def test_endings_say_a_format_in_any_case_and_folders_may_have_dots() -> None:
    assert [format_of(each) for each in (".JSON", ".csv", ".jsonl", ".xml")] == ["coco", "csv", "jsonl", None]
    refuse_another_ending("yolo", Path("birds.v2"))
    with pytest.raises(UserError, match="--format yolo writes a folder"):
        refuse_another_ending("yolo", Path("birds.JSON"))


def test_a_prefix_is_of_formats_with_addresses() -> None:
    refuse_useless_prefix("coco", IMAGE_PREFIX)
    refuse_useless_prefix("label-studio", "http://here/")
    with pytest.raises(UserError, match="is of --format label-studio, not of coco"):
        refuse_useless_prefix("coco", "http://here/")


def test_masks_of_objects_are_held_where_not_one_an_image_is() -> None:
    held = [
        form
        for form in ("coco", "voc", "yolo-segments", "masks", "class-folders", "csv")
        if holds_masks_of_objects(form)
    ]
    assert held == ["coco", "voc", "yolo-segments"]


def test_what_lies_beside_a_file_is_taken_away_where_the_file_is_not_put(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full only when what lies beside it is there."""
    put = Path.replace

    def full(path: Path, place: Path) -> Path:
        if place.name == "tasks.json":
            assert (tmp_path / "tasks-labels.xml").is_file()
            raise OSError(28, "No space left on device")
        return put(path, place)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_set(tmp_path / "tasks.json", "label-studio", [image()], ABOUT)
    assert not [*tmp_path.glob("*.xml")]


def test_masks_of_an_image_are_counted_by_what_they_leave_out() -> None:
    bare = LabelledObject(0, (0, 0, 5, 5))
    other = LabelledObject(1, (0, 0, 5, 5))
    whole = contents_of(image(masked(0, 0, 0, 5, 5), masked(0, 6, 0, 9, 5), label=0), ABOUT)
    assert not whole.keys() & {PARTIAL, PARTIAL_OF_CLASS, OF_OTHERS, MANY, OTHER_CLASSES}
    lacks_other = contents_of(image(masked(0, 0, 0, 5, 5), other, label=0), ABOUT)
    assert (lacks_other[PARTIAL], lacks_other[PARTIAL_OF_CLASS]) == (1, 0)
    lacks_own = contents_of(image(masked(0, 0, 0, 5, 5), bare, label=0), ABOUT)
    assert (lacks_own[PARTIAL], lacks_own[PARTIAL_OF_CLASS]) == (1, 1)
    of_set = contents_of(image(masked(0, 0, 0, 5, 5), label=0, mask=lambda: np.zeros((10, 20), np.uint8)), ABOUT)
    assert of_set[WHOLE_MASKS] == 0
    assert contents_of(image(masked(0, 0, 0, 5, 5)), ABOUT)[OTHER_CLASSES] == 0, "no class is told"


def test_masks_that_cannot_be_numbered_are_counted_and_boxes_without_a_mask_need_no_number() -> None:
    many = [masked(0, 0, 0, 1, 1)] * 256
    assert contents_of(image(*many, label=0), ABOUT)[MANY] == 2
    assert contents_of(image(*[LabelledObject(0, (0, 0, 1, 1))] * 256, label=0), ABOUT)[MANY] == 0
    numbers, hidden = object_numbers(image(*many))
    assert (numbers.max(), hidden) == (1, 253)


def test_a_mask_is_hidden_only_where_boxes_overlap_in_both_directions() -> None:
    beside = image(masked(0, 0, 0, 5, 5), masked(0, 0, 5, 5, 10), masked(0, 5, 0, 9, 5))
    assert hidden_masks(beside) == 0

    def never() -> Any:
        raise AssertionError("drawn where no boxes overlap")

    assert hidden_masks(image(*(LabelledObject(0, each.box, mask=never) for each in beside.objects))) == 0
    same = image(masked(0, 0, 0, 5, 5), masked(0, 0, 0, 5, 5))
    counts: Counter[str] = Counter()
    assert [*counted([same, same], ABOUT, counts, numbers_pixels=True)] == [same, same]
    assert counts[HIDDEN] == 2


def test_only_names_that_classes_share_have_their_ids() -> None:
    assert About("", (Class("a", "x"), Class("b", "x"), Class("c", "y"))).names == ["x (a)", "x (b)", "y"]


def test_an_image_without_a_box_is_neither_predicted_nor_accepted() -> None:
    """Nobody has to be told whose boxes they are."""
    accepted, thing = {"verdict": "accepted"}, LabelledObject(0, (0, 0, 5, 5), 0.5)
    assert not image(review=accepted).is_accepted
    assert not image(of_predicted_set=True).is_predicted
    assert (image(thing, review=accepted).is_accepted, image(thing, review=accepted).is_predicted) == (True, False)
    assert (image(thing).is_accepted, image(thing).is_predicted) == (False, True)
