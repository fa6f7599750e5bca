"""The older evaluator's protocol against a plain transcription of its description: all 1000 thresholds, one by one."""

import sys

import numpy as np
import pytest
from scipy import ndimage
from slow_wsoleval import THRESHOLDS, evaluate_plainly, iou

from fastwsol.evaluation import choe2020 as wsoleval
from fastwsol.evaluation.metrics import IOU_THRESHOLDS
from fastwsol.host.errors import UserError
from kernels.levels import WSOLEVAL_CUTS, wsoleval_cut

SIDE = 32


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(5)
    cams = ndimage.gaussian_filter(rng.standard_normal((12, 8, 8)), (0, 1, 1)).astype(np.float32)
    cams[3] = 1.5
    cams[4] = rng.standard_normal((8, 8))  # rough: holes and pieces
    numbers = rng.integers(0, 3, 12)
    corners = rng.integers(0, 15, (numbers.sum(), 2))
    truths = np.concatenate([corners, corners + rng.integers(1, 17, corners.shape)], axis=1)
    return cams, truths, np.cumsum([0, *numbers])


def test_every_threshold_of_the_evaluator_gives_the_same_boxes_and_ious(images):
    cams, truths, offsets = images
    found = wsoleval.sweep(cams.__getitem__, SIDE, truths, offsets, threads=2)
    cuts = [wsoleval_cut(threshold) for threshold in THRESHOLDS]
    assert set(cuts) == set(range(WSOLEVAL_CUTS))
    for n, cam in enumerate(cams):
        plain = evaluate_plainly(cam, truths[offsets[n] : offsets[n + 1]], SIDE)
        for cut, (box, single, multiple) in zip(cuts, plain, strict=True):
            assert found.boxes[n, cut].tolist() == list(box)
            np.testing.assert_array_equal(found.single[n, cut], single)
            np.testing.assert_array_equal(found.multiple[n, cut], multiple)


def test_hits_are_counted_at_each_cut(images):
    found = wsoleval.sweep(images[0].__getitem__, SIDE, *images[1:], threads=1)
    single, multiple = wsoleval.hits_at_cuts(found, IOU_THRESHOLDS)
    assert single.shape == multiple.shape == (12, 3, WSOLEVAL_CUTS)
    np.testing.assert_array_equal(single[:, 1, 100], found.single[:, 100] >= 0.5)
    assert (multiple >= single).all()
    assert (multiple > single).any()


def test_a_hole_is_a_box_here():
    cam = np.ones((SIDE, SIDE), np.float32)
    cam[8:24, 8:24] = 0
    boxes = wsoleval.boxes_at_cuts(wsoleval.as_uint8(cam, SIDE))[100].tolist()
    assert boxes == [[0, 0, 31, 31], [7, 7, 25, 25]]


def test_boxes_are_one_past_their_pixels_but_inside_the_map():
    cam = np.zeros((SIDE, SIDE), np.float32)
    cam[4:8, 28:32] = 1
    assert wsoleval.boxes_at_cuts(wsoleval.as_uint8(cam, SIDE))[0].tolist() == [[28, 4, 31, 8]]


def test_ground_truth_is_inclusive_and_cut_to_whole_pixels():
    boxes = np.array([[10, 20, 41, 61], [0, 0, 1, 1]], np.float32)
    widths, heights = np.array([100, 64], np.int32), np.array([200, 64], np.int32)
    assert wsoleval.truths_in_map(boxes, widths, heights, 64).tolist() == [[6, 6, 25, 19], [0, 0, 0, 0]]


def test_a_fixed_box_is_written_as_the_evaluator_writes_it(images):
    _, truths, offsets = images
    found = wsoleval.sweep(images[0].__getitem__, SIDE, truths, offsets, threads=1)
    ious = wsoleval.fixed_box_ious(found, np.array([0, 0, 64, 64], np.int32), 64)
    for n in range(len(ious)):
        own = truths[offsets[n] : offsets[n + 1]]
        np.testing.assert_array_equal(ious[n], max((iou((0, 0, 31, 31), each) for each in own), default=np.nan))


def test_without_opencv_there_is_a_line_and_no_traceback(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match="--wsoleval: needs OpenCV; pip install opencv-python-headless"):
        wsoleval.require_opencv()
