"""A mask is one for all classes: with --class and --top a class takes the component that shows it."""

import csv
import io
import json
from collections.abc import Callable

import numpy as np
import pytest
from colour_network import colour_predictor, picture

from fastwsol.evaluation.thresholds import Cut
from fastwsol.formats.labelled_images import About
from fastwsol.formats.writing import write_in_file
from fastwsol.prediction.labelled import labelled
from fastwsol.prediction.predictor import Predictor
from fastwsol.sources import Class


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return colour_predictor()


def centre(box) -> tuple[float, float]:
    return (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2


RED, BLUE = pytest.approx((16, 16), abs=3), pytest.approx((44, 44), abs=3)


def test_two_classes_in_one_image_get_two_boxes(predictor):
    (prediction,) = predictor.predict([picture()], top=2)
    assert {box.wnid: centre(box) for box in prediction.boxes} == {"red": RED, "blue": BLUE}


@pytest.mark.parametrize(("name", "where"), [("red", RED), ("blue", BLUE)])
def test_a_class_that_is_asked_for_takes_its_own_component(predictor, name, where):
    (prediction,) = predictor.predict([picture()], of_class=name)
    assert [centre(box) for box in prediction.boxes] == [where]


@pytest.mark.parametrize("top", [1, 2])
def test_all_boxes_are_objects_of_the_class_that_each_shows(predictor, top):
    image = picture()
    image[40:56, 8:24] = (255, 0, 0)
    (prediction,) = predictor.predict([image], top=top, boxes="all")
    assert sorted(box.wnid for box in prediction.boxes) == ["blue", "red", "red"]
    assert all(box.probability > 0.5 for box in prediction.boxes)
    assert [box.score for box in prediction.boxes] == sorted((box.score for box in prediction.boxes), reverse=True)
    (of_red,) = predictor.predict([image], of_class="red", boxes="all")
    assert [box.wnid for box in of_red.boxes] == ["red", "red"]


def test_another_localizer_is_asked_for_the_class_of_each_box(predictor, monkeypatch):
    """Of blue, the image's likeliest class, it finds nothing where the red squares are."""
    monkeypatch.setattr(predictor._boxing, "other_cut", Cut("asked", 0.9, ""))
    one, none = picture(), np.full((64, 64, 3), 127, np.uint8)
    one[8:24, 8:24] = 127
    three = picture()
    three[40:56, 8:24] = (255, 0, 0)
    found = predictor.predict([three, none, one], boxes="all", signals=True)
    assert [len(each.boxes) for each in found] == [3, 0, 1]
    for of_one in found:
        for box in of_one.boxes:
            assert box.signals.other > 0.3, box
            assert box.signals.margin > 0.7, "in its own box nothing speaks for the other"
    for name in ("red", "blue"):
        (asked,) = predictor.predict([three], of_class=name, boxes="all", signals=True)
        same = [box.signals for box in found[0].boxes if box.name == name]
        assert [box.signals for box in asked.boxes] == same


def test_a_speck_is_no_object_of_its_own(predictor):
    image = picture()
    image[56:59, 4:7] = (255, 0, 0)
    (prediction,) = predictor.predict([image], boxes="all")
    assert sorted(box.wnid for box in prediction.boxes) == ["blue", "red"]


CLASSES_IN: dict[str, Callable[[str], set]] = {
    "coco": lambda text: {each["category_id"] for each in json.loads(text)["annotations"]},
    "csv": lambda text: {row["label"] for row in csv.DictReader(io.StringIO(text))},
    "jsonl": lambda text: {each["wnid"] for each in json.loads(text)["boxes"]},
    "label-studio": lambda text: {
        each["value"][each["type"]][0] for each in json.loads(text)[0]["predictions"][0]["result"]
    },
}


def test_what_shows_no_class_is_no_object_unless_asked(predictor):
    """A square half reddish and half bluish: kept by the mask, and of no class."""
    image = picture()
    image[8:24, 40:48], image[8:24, 48:56] = (153, 127, 101), (101, 127, 153)
    (kept,) = predictor.predict([image], boxes="all", least_score=0)
    assert len(kept.boxes) == 3
    assert kept.boxes[-1].score < 0.5
    (prediction,) = predictor.predict([image], boxes="all")
    assert sorted(box.wnid for box in prediction.boxes) == ["blue", "red"]


@pytest.mark.parametrize("form", CLASSES_IN)
def test_several_objects_stand_in_every_format(predictor, form):
    file = io.BytesIO()
    images = labelled(predictor.predict([picture()], boxes="all"), ["red", "blue"])
    write_in_file(file, form, images, About("a run", (Class("red", "red"), Class("blue", "blue"))))
    assert CLASSES_IN[form](file.getvalue().decode()) == ({1, 2} if form == "coco" else {"red", "blue"})


def test_without_a_class_the_largest_component_is_the_box_as_in_evaluations(predictor):
    (prediction,) = predictor.predict([picture()])
    assert [centre(box) for box in prediction.boxes] == [BLUE]


def test_an_image_in_which_nothing_is_has_no_box(predictor):
    grey = np.full((64, 64, 3), 127, np.uint8)
    for how in ({}, {"top": 2}, {"of_class": "red"}):
        (prediction,) = predictor.predict([grey], **how)
        assert prediction.boxes == ()
