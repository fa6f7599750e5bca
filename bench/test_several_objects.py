"""The composites of several_objects.py and how boxes on them are counted; nothing is timed."""

from dataclasses import replace

import numpy as np
from several_objects import HEIGHT, Scene, counted, iou, joined_boxes, side_by_side, without_object

from fastwsol.prediction.predictions import Prediction, ScoredBox


def scene(label, box=(10, 20, 60, 90)):
    pixels = np.full((100, 200, 3), 40, np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = 255
    return Scene(pixels, np.array([box], np.float64), np.array([label]))


def predicted(*boxes):
    every = tuple(ScoredBox(wnid, wnid, x0, y0, x1, y1, score, score) for wnid, (x0, y0, x1, y1), score in boxes)
    return Prediction("", 0, 0, (), every, np.empty((0, 1, 1), np.float32), (0, 0, 1, 1), 1, np.empty(0))


def test_boxes_lie_on_their_objects_in_a_composite():
    both = side_by_side(scene(0), scene(1))
    assert both.pixels.shape == (HEIGHT, 2 * 2 * HEIGHT, 3)
    for box in both.boxes.astype(int):
        assert both.pixels[box[1] + 4 : box[3] - 4, box[0] + 4 : box[2] - 4].min() > 200
    assert both.labels.tolist() == [0, 1]


def test_what_is_left_without_the_object_shows_nothing_of_it():
    empty = without_object(scene(0))
    assert empty is not None
    assert empty.pixels.shape == (100, 200, 3)
    assert empty.pixels.max() == 40
    assert without_object(scene(0, (2, 2, 198, 98))) is None


def test_boxes_of_one_class_that_are_near_become_one():
    boxes = predicted(("a", [0, 0, 10, 10], 0.9), ("a", [12, 0, 20, 8], 0.7), ("b", [12, 0, 20, 8], 0.6))
    boxes = replace(boxes, width=100, height=50)
    assert [box[2:6] for box in joined_boxes(boxes, 0.01, 0.0).boxes] == [
        (0, 0, 10, 10),
        (12, 0, 20, 8),
        (12, 0, 20, 8),
    ]
    assert [box[2:6] for box in joined_boxes(boxes, 0.02, 0.0).boxes] == [(0, 0, 20, 10), (12, 0, 20, 8)]


def test_each_object_is_found_once_and_the_rest_is_invented():
    both = side_by_side(scene(0), scene(1))
    first, second = both.boxes.tolist()
    boxes = predicted(("a", first, 0.9), ("a", first, 0.8), ("a", second, 0.7), ("b", [0, 0, 5, 5], 0.2))
    found = counted([both], [boxes], 0.0, ("a", "b"))
    assert found == {"objects": 2, "found": 2, "named right": 1, "missed": 0, "invented": 2, "images all right": 0}
    found = counted([both], [boxes], 0.85, ("a", "b"))
    assert found == {"objects": 2, "found": 1, "named right": 1, "missed": 1, "invented": 0, "images all right": 0}
    assert iou(first, np.array(second)) == 0
