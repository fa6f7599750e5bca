"""Rules for images of several objects, each by an example."""

import pytest

from fastwsol.host.errors import UserError
from fastwsol.sources import Class
from fastwsol.sources.of_objects import (
    ACCEPTED_BOXES,
    PREDICTED_BOXES,
    AnnotatedObject,
    ImageOfObjects,
    assign_classes,
    whose_boxes,
)

CLASSES = [Class(name, name) for name in ("cat", "dog", "bird")]


def image_of(name: str, *objects: AnnotatedObject, **more: object) -> ImageOfObjects:
    return ImageOfObjects(name, "here", "", (100, 100), list(objects), **more)  # type: ignore[arg-type]


def thing(name: str, x0: float, side: float, **more: object) -> AnnotatedObject:
    return AnnotatedObject(name, (x0, x0, x0 + side, x0 + side), where=f"{name} at {x0}", **more)  # type: ignore[arg-type]


def ruled(*train: ImageOfObjects, val: tuple[ImageOfObjects, ...] = ()):
    plain = (image_of("one", thing("cat", 0, 5)), image_of("two", thing("dog", 0, 5)))
    splits = {"train": [*plain, *train], "val": [image_of("three", thing("cat", 0, 5)), *val]}
    return assign_classes("set", splits, CLASSES, None, None)


def test_a_difficult_object_and_a_plain_one_of_the_same_edges_are_two() -> None:
    found = ruled(image_of("a", thing("cat", 0, 5), thing("cat", 0, 5, difficult=True), thing("cat", 0, 5)))
    (image,) = found.annotations["train"][2:]
    assert image.difficult == (False, True)
    assert "1 box repeated, of the same class and edges: taken once" in found.notes


def test_classes_of_val_alone_are_not_packed() -> None:
    found = ruled(val=(image_of("b", thing("bird", 0, 5), thing("cat", 0, 2)),))
    assert [one.name for one in found.classes] == ["cat", "dog"]
    assert "1 class of no image to train on, left out (bird)" in found.notes
    assert "1 image of classes that are not packed, left out" in found.notes
    assert "2 boxes of images that were left out" in found.notes


def test_what_is_beside_is_of_another_class_or_difficult() -> None:
    found = ruled(image_of("a", thing("cat", 0, 50), thing("dog", 0, 9), thing("cat", 60, 9, difficult=True)))
    (image,) = found.annotations["train"][2:]
    assert (image.label, image.box_labels, image.difficult) == (0, (0, 1, 0), (False, False, True))
    assert found.boxes_used == 4


def test_a_class_that_is_only_difficult_makes_no_image_one_of_several() -> None:
    notes = ruled(image_of("a", thing("cat", 0, 50), thing("dog", 0, 90, difficult=True))).notes
    assert not any("objects of several classes" in note for note in notes)
    assert (
        ruled(image_of("a", thing("cat", 0, 5), thing("dog", 0, 90, difficult=True))).annotations["train"][2].label == 0
    )


def test_boxes_are_named_by_their_own_places_where_others_are_left_out() -> None:
    found = ruled(image_of("a", thing("dog", 0, 0), thing("cat", 1, 5), thing("cat", 10, 5)))
    (image,) = found.annotations["train"][2:]
    assert [each.origin for each in image.boxes] == ["cat at 1", "cat at 10"]
    assert "1 box without a width or a height, left out" in found.notes


def test_a_mask_is_of_the_class_that_the_image_is_taken_for() -> None:
    asked: list[str] = []
    image = image_of("a", thing("cat", 0, 5), mask=lambda name: asked.append(name))
    ruled(image, image_of("b", class_name="dog", mask=lambda name: asked.append(name)))
    assert asked == ["cat", "dog"]


def test_predicted_boxes_are_said_before_accepted_ones() -> None:
    assert whose_boxes(True, True) == whose_boxes(True, False) == PREDICTED_BOXES
    assert (whose_boxes(False, True), whose_boxes(False, False)) == (ACCEPTED_BOXES, "")


def test_of_classes_that_cover_as_much_the_first_of_the_set_is_taken() -> None:
    assert ruled(image_of("a", thing("dog", 0, 5), thing("cat", 10, 5))).annotations["train"][2].label == 0
    with pytest.raises(UserError, match="its images to train on are of 1 class; two at least"):
        assign_classes("set", {"train": [image_of("a", thing("cat", 0, 5))], "val": []}, CLASSES, None, None)
