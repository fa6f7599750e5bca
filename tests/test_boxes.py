"""Boxes, protocols and hits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels
from fastwsol.dataset.ragged_boxes import Objects
from fastwsol.evaluation import boxes as boxes_module
from fastwsol.evaluation.boxes import PROTOCOLS, curve_hits, hits, localize, score_boxes
from fastwsol.evaluation.fixed_boxes import fixed_boxes
from fastwsol.evaluation.thresholds import otsu_thresholds
from fastwsol.evaluation.truths import Truths
from fastwsol.geometry import to_original, to_square, windows_in_square


@settings(max_examples=100, deadline=None)
@given(
    box=st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4),
    width=st.integers(1, 4000),
    height=st.integers(1, 4000),
    image_size=st.sampled_from([64, 224, 299]),
)
def test_there_and_back_is_the_same_box_up_to_rounding(box, width, height, image_size):
    boxes = (np.array([box]) * [width, height, width, height]).astype(np.float32)
    back = to_original(to_square(boxes, width, height, image_size), width, height, image_size)
    np.testing.assert_allclose(back, boxes, rtol=3e-7, atol=0)


def test_non_square_images_are_stretched_to_the_square():
    boxes = np.array([[32, 12, 128, 24], [0, 0, 64, 64]], np.float32)
    in_square = to_square(boxes, np.array([128, 64]), np.array([24, 64]), 64)
    assert in_square.tolist() == [[16, 32, 64, 64], [0, 0, 64, 64]]
    assert in_square.dtype == np.float32
    np.testing.assert_array_equal(to_original(in_square, [128, 64], [24, 64], 64), boxes)


def test_the_whole_image_is_the_whole_frame_whatever_its_size():
    widths, heights = np.arange(1, 2000), np.arange(2000, 1, -1)
    zeros = np.zeros(len(widths))
    images = np.stack([zeros, zeros, widths, heights], axis=1).astype(np.float32)
    frames = np.tile(np.array([0, 0, 64, 64], np.float32), (len(widths), 1))
    np.testing.assert_array_equal(to_square(images, widths, heights, 64), frames)
    np.testing.assert_array_equal(to_original(frames, widths, heights, 64), images)


def test_sizes_that_make_no_sense_are_refused():
    boxes = np.zeros((2, 4), np.float32)
    for call, message in (
        (lambda: to_square(boxes, [64, 0], 64, 64), "widths must be positive, found 0"),
        (lambda: to_original(boxes, 64, [64], 64), r"heights have shape \(1,\), expected one number or \[2\]"),
        (lambda: to_square(boxes[0], 64, 64, 64), r"boxes have shape \(4,\)"),
        (lambda: to_original(boxes, 64, 64, 0), "the square is 0 x 0 pixels"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_boxes_come_back_in_each_images_own_pixels():
    cams = np.random.default_rng(0).standard_normal((2, 8, 8)).astype(np.float32)
    boxes = localize(cams, "strict", 64, np.array([128, 32]), np.array([64, 16]), 0.2, "min-max")
    in_square = kernels.cam_boxes(cams, 64, 0.2)
    assert boxes.dtype == np.float32
    np.testing.assert_array_equal(boxes, in_square * np.array([[2, 1, 2, 1], [0.5, 0.25, 0.5, 0.25]]))


def test_each_protocol_has_its_own_component_and_box():
    # A thin diagonal with few pixels and a large rectangle, and a block with many pixels.
    cam = np.zeros((1, 8, 8), np.float32)
    cam[0, range(4), range(4)] = 1
    cam[0, :3, 5:8] = 1
    assert localize(cam, "strict", 8, 8, 8, 0.2, "min-max").tolist() == [[5, 0, 8, 3]]
    assert localize(cam, "paper2018", 8, 8, 8, 0.2, "min-max").tolist() == [[0, 0, 5, 5]]


def test_the_threshold_reaches_the_kernel():
    cam = np.array([[[0, 2, 4, 10, 4, 2, 0, 0]]], np.float32).repeat(8, axis=1)
    widths = {t: np.ptp(localize(cam, "strict", 8, 8, 8, t, "min-max")[0, [0, 2]]) for t in (0.1, 0.3, 0.9)}
    assert widths == {0.1: 5, 0.3: 3, 0.9: 1}


def test_each_protocol_has_its_own_intersection():
    box, far_truth = np.array([[0, 0, 10, 10]], np.float32), np.array([[20, 20, 30, 30]], np.float32)
    offsets = np.array([0, 1])
    assert score_boxes(box, far_truth, offsets, "strict").tolist() == [0]
    assert score_boxes(box, far_truth, offsets, "paper2018").tolist() == [1]


def test_an_iou_of_exactly_the_threshold_is_a_hit_in_strict_alone():
    box, truth = np.array([[0, 0, 8, 4]], np.float32), np.array([[0, 0, 4, 4]], np.float32)
    for protocol, is_hit in (("strict", True), ("paper2018", False)):
        ious = score_boxes(box, truth, np.array([0, 1]), protocol)
        assert hits(ious, 0.5, protocol).tolist() == [is_hit]


def test_thresholds_of_a_tenth_are_met_by_exact_ratios():
    box = np.array([[0, 0, 10, 1]], np.float32)
    for tenths in range(1, 11):
        truth = np.array([[0, 0, tenths, 1]], np.float32)
        assert hits(score_boxes(box, truth, np.array([0, 1]), "strict"), tenths / 10, "strict").all()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_image_without_ground_truth_is_nan_and_no_hit(protocol):
    boxes, truths = np.array([[0, 0, 4, 4]] * 2, np.float32), np.array([[0, 0, 4, 4]], np.float32)
    ious = score_boxes(boxes, truths, np.array([0, 0, 1]), protocol)
    assert np.isnan(ious).tolist() == [True, False]
    assert hits(ious, 0.0, protocol).tolist() == [False, True]


def test_the_first_bad_map_is_named_by_its_place_among_all():
    """And not among those of its part."""
    maps = np.zeros((300, 4, 4), np.float32)
    maps[200, 0, 0] = np.nan
    ones, no_boxes = np.ones(300, np.int32), (np.empty((0, 4), np.float32), np.zeros(301, np.int64))
    for call in (
        lambda: localize(maps, "strict", 224, 8, 8, 0.2, "min-max"),
        lambda: curve_hits(maps, 224, ones, ones, *no_boxes, "min-max"),
        lambda: otsu_thresholds(maps, 224, "min-max"),
    ):
        with pytest.raises(ValueError, match="map 200 holds NaN"):
            call()


@pytest.mark.parametrize("count", [2, 300])
def test_what_does_not_belong_to_the_maps_is_refused_in_words(count):
    """Whether they are boxed in one part or in several."""
    maps = np.tile(np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4), (count, 1, 1))
    ones, no_boxes = np.ones(count, np.int32), (np.empty((0, 4), np.float32), np.zeros(count + 1, np.int64))
    one_for_all = localize(maps, "strict", 224, 8, 8, np.array([0.2]), "min-max")
    np.testing.assert_array_equal(one_for_all, localize(maps, "strict", 224, 8, 8, 0.2, "min-max"))
    np.testing.assert_array_equal(one_for_all, localize(maps, "strict", 224, 8, 8, [0.2] * count, "min-max"))
    for call, message in (
        (lambda: localize(maps, "strict", 224, 8, 8, np.full(count + 3, 0.2), "min-max"), "expected one number or"),
        (lambda: localize(maps, "paper2018", 224, 8, 8, np.full(count, 0.2), "min-max"), "others are for strict"),
        (lambda: localize(maps, "paper2018", 224, 8, 8, 0.2, "own"), "others are for strict"),
        (lambda: localize(maps, "strict", 224, 8, 8, 0.2, "minmax"), "no scale 'minmax'"),
        (lambda: curve_hits(maps, 224, np.ones(count + 1, np.int32), ones, *no_boxes, "own"), "shape mismatch"),
        (lambda: curve_hits(maps, 224, ones[1:], ones[1:], *no_boxes, "own"), "expected integers"),
        (lambda: curve_hits(maps, 224, ones * 1.5, ones, *no_boxes, "own"), "widths and heights are float64"),
        (lambda: curve_hits(maps, 224, ones, ones, no_boxes[0], no_boxes[1] + 1, "own"), "offsets must rise from 0"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_an_unknown_protocol_names_the_choices():
    one = np.zeros((1, 4), np.float32)
    for call in (
        lambda: localize(np.zeros((1, 2, 2), np.float32), "loose", 8, 8, 8, 0.2, "min-max"),
        lambda: score_boxes(one, one, np.array([0, 1]), "loose"),
    ):
        with pytest.raises(ValueError, match="no protocol 'loose'; choose from strict, paper2018"):
            call()


def test_thresholds_of_images_stay_theirs_where_maps_are_taken_in_parts(monkeypatch):
    """Two maps of 8 x 8 fit into a part."""
    monkeypatch.setattr(boxes_module, "_PIXELS_AT_ONCE", 2 * 8 * 8)
    maps = np.random.default_rng(0).random((5, 8, 8)).astype(np.float32)
    thresholds, sizes = np.array([0.1, 0.3, 0.5, 0.7, 0.9]), np.full(5, 8)
    together = localize(maps, "strict", 8, sizes, sizes, thresholds, "min-max")
    alone = [
        localize(maps[k : k + 1], "strict", 8, sizes[:1], sizes[:1], thresholds[k : k + 1], "min-max") for k in range(5)
    ]
    np.testing.assert_array_equal(together, np.concatenate(alone))
    assert len(np.unique(together, axis=0)) > 1


def test_truths_of_other_images_have_another_digest():
    boxes, sizes = np.array([[0, 0, 4, 4], [1, 1, 5, 5]], np.float32), np.full(2, 9)
    one, other = (Truths(sizes, sizes, boxes, np.array(offsets)) for offsets in ([0, 1, 2], [0, 2, 2]))
    assert one.digest() != other.digest()


@pytest.mark.parametrize(("window", "expected"), [([999, 0, 1, 100], [9, 0, 1, 10]), ([50, 0, 1, 100], [1, 0, 1, 10])])
def test_a_window_that_shrinks_to_nothing_keeps_a_pixel_of_the_square(window, expected):
    whole = np.array([[0, 0, 1000, 100]], np.int32)
    assert windows_in_square(np.array([window], np.int32), whole, 10).tolist() == [expected]


def test_a_square_without_a_width_is_refused():
    with pytest.raises(ValueError, match="the square is 4 x 0 pixels"):
        to_square(np.zeros((1, 4), np.float32), 5, 5, (4, 0))


def test_objects_of_the_first_classes_are_those_below_their_number():
    objects = Objects(np.zeros((3, 4), np.float32), np.arange(3), np.zeros(3, bool), np.array([0, 1, 3]))
    found = objects.of_labels_below(2)
    assert (found.labels.tolist(), found.offsets.tolist()) == ([0, 1], [0, 1, 2])


def test_without_boxes_to_train_on_the_whole_image_is_the_only_fixed_box():
    none = Truths(np.full(2, 9), np.full(2, 9), np.zeros((0, 4), np.float32), np.zeros(3, np.int64))
    assert [each.name for each in fixed_boxes(none, 64)] == ["whole image"]
