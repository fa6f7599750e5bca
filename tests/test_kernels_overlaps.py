"""Overlaps of boxes against their plain twins, bit for bit, and against answers worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import kernels
from kernels import reference

# Boxes whose sides are small whole numbers or halves: shared edges, containment and inverted boxes all turn up.
coordinates = st.integers(-6, 12).map(lambda half: half / 2)


@st.composite
def boxed_images(draw):
    images = draw(st.integers(0, 6))
    numbers = draw(st.lists(st.integers(0, 3), min_size=images, max_size=images))
    offsets = np.cumsum([0, *numbers]).astype(np.int64)
    boxes = draw(arrays(np.float32, (images, 4), elements=coordinates))
    truths = draw(arrays(np.float32, (int(offsets[-1]), 4), elements=coordinates))
    return boxes, truths, offsets


@settings(max_examples=200, deadline=None)
@given(boxed_images())
def test_ious_are_their_twins(images):
    boxes, truths, offsets = images
    for name in ("best_iou", "best_iou_paper2018"):
        ours = getattr(kernels, name)(boxes, truths, offsets)
        np.testing.assert_array_equal(ours, getattr(reference, name)(boxes, truths, offsets))
    thresholds = [0.3, 0.5]
    candidates = boxes.astype(np.int32)
    np.testing.assert_array_equal(
        kernels.fixed_box_hits(candidates, truths, offsets, thresholds),
        reference.fixed_box_hits(candidates, truths, offsets, thresholds),
    )


def test_iou_by_hand():
    boxes = np.array([[0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 2, 2], [0, 0, 0, 0], [3, 3, 1, 1], [0, 0, 10, 1]], np.int32)
    truths = np.array([[0, 0, 4, 4], [2, 0, 6, 4], [2, 2, 4, 4], [0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 3, 1]], np.int32)
    assert kernels.best_iou(boxes, truths, np.arange(7)).tolist() == [1, 1 / 3, 0, 0, 0, 0.3]


def test_the_best_of_several_truths_counts_and_none_gives_nan():
    boxes = np.array([[0, 0, 4, 4]] * 3, np.float32)
    truths = np.array([[2, 0, 6, 4], [0, 0, 4, 2], [9, 9, 10, 10]], np.float32)
    ious = kernels.best_iou(boxes, truths, np.array([0, 2, 2, 3]))
    np.testing.assert_array_equal(ious, [0.5, np.nan, 0])


def test_paper2018_multiplies_two_negative_overlaps():
    # Ten apart on both axes: (10 - 20) * (10 - 20) = 100 = the area of each, so a box far off scores 1.
    box, truth = np.array([[0, 0, 10, 10]], np.int32), np.array([[20, 20, 30, 30]], np.int32)
    assert kernels.best_iou_paper2018(box, truth, np.array([0, 1])).tolist() == [1]
    assert kernels.best_iou(box, truth, np.array([0, 1])).tolist() == [0]


def test_paper2018_gives_no_score_to_no_box():
    box, truth = np.zeros((1, 4), np.int32), np.array([[10, 10, 22, 22]], np.int32)
    assert kernels.best_iou_paper2018(box, truth, np.array([0, 1])).tolist() == [0]


def test_paper2018_gives_no_score_to_a_union_of_nothing():
    # (10 - 20) * (10 - 30) = 200, as much as both areas.
    box, truth = np.array([[0, 0, 10, 10]], np.int32), np.array([[20, 30, 30, 40]], np.int32)
    assert kernels.best_iou_paper2018(box, truth, np.array([0, 1])).tolist() == [0]


def test_fixed_box_hits_are_best_iou_at_or_above_each_threshold():
    truths = np.array([[0, 0, 4, 4], [2, 0, 6, 4], [0, 0, 4, 2]], np.float32)
    offsets = np.array([0, 1, 1, 3])  # the second image has no box
    hits = kernels.fixed_box_hits(np.array([[0, 0, 4, 4], [2, 0, 6, 4]], np.int32), truths, offsets, [0.3, 0.5, 0.7])
    assert hits.tolist() == [[2, 2, 1], [2, 1, 1]]


def test_boxes_and_offsets_that_make_no_sense_are_refused():
    boxes = np.zeros((2, 4), np.float32)
    for call, message in (
        (lambda: kernels.best_iou(boxes[:, :3], boxes, np.arange(3)), r"boxes have shape \(2, 3\)"),
        (lambda: kernels.best_iou(boxes, boxes.astype(int), np.arange(3)), "truths are int64"),
        (
            lambda: kernels.best_iou(np.full((2, 4), np.nan, np.float32), boxes, np.arange(3)),
            "row 0 of boxes holds NaN",
        ),
        (lambda: kernels.best_iou(boxes, boxes, np.array([0, 2])), "int64 array of 3 numbers"),
        (lambda: kernels.best_iou(boxes, boxes, np.array([0, 1, 3])), "rise from 0 to 2"),
        (lambda: kernels.best_iou(boxes, boxes, np.array([0, 3, 2])), "rise from 0 to 2"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
