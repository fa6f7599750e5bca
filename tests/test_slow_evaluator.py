"""The whole evaluation, fast against slow: exactly the same counts."""

import numpy as np
import pytest
from scipy import ndimage
from slow_evaluator import evaluate_slowly, hits_slowly

from fastwsol.evaluation.boxes import PROTOCOLS, curve_hits, hits, localize, score_boxes
from fastwsol.evaluation.metrics import IOU_THRESHOLDS, counts, outcomes, ranks

IMAGE_SIZE = 32


@pytest.fixture(scope="module")
def images():
    """Images of four shapes, with no, one or more boxes; their scales to the input frame are exact in binary."""
    rng = np.random.default_rng(7)
    number = 150
    cams = ndimage.gaussian_filter(rng.standard_normal((number, 8, 8)), (0, 1, 1)).astype(np.float32)
    shapes = np.array([(32, 32), (64, 48), (16, 40), (100, 24)])[rng.integers(0, 4, number)]
    widths, heights = shapes.T
    boxes_of_images = []
    for width, height in shapes:
        corners = []
        for _ in range(rng.choice([0, 1, 1, 1, 3])):
            x0, y0 = rng.integers(0, width // 2), rng.integers(0, height // 2)
            x1, y1 = rng.integers(width // 2, width) + 1, rng.integers(height // 2, height) + 1
            corners.append([int(x0), int(y0), int(x1), int(y1)])
        boxes_of_images.append(corners)
    labels = rng.integers(0, 9, number)
    predicted = np.stack([rng.permutation(9) for _ in range(number)])[:, :5]
    predicted[:, 0] = np.where(rng.random(number) < 0.5, labels, predicted[:, 0])
    return cams, predicted, labels, boxes_of_images, widths, heights


def truths_of(boxes_of_images):
    offsets = np.cumsum([0, *(len(boxes) for boxes in boxes_of_images)])
    return np.array([box for boxes in boxes_of_images for box in boxes], np.float32).reshape(-1, 4), offsets


def evaluate_fast(cams, predicted, labels, boxes_of_images, widths, heights, protocol, threshold):
    truths, offsets = truths_of(boxes_of_images)
    boxes = localize(cams, protocol, IMAGE_SIZE, widths, heights, threshold, "min-max")
    ious = score_boxes(boxes, truths, offsets, protocol)
    hits_TN = np.stack([hits(ious, iou_threshold, protocol) for iou_threshold in IOU_THRESHOLDS])
    return counts(outcomes(hits_TN, ~np.isnan(ious), ranks(predicted, labels)))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("threshold", [0.2, 0.55])
def test_fast_and_slow_count_the_same(images, protocol, threshold):
    slow = evaluate_slowly(
        *images, image_size=IMAGE_SIZE, protocol=protocol, iou_thresholds=IOU_THRESHOLDS, threshold=threshold
    )
    assert evaluate_fast(*images, protocol=protocol, threshold=threshold) == slow


def test_the_images_tell_the_metrics_protocols_and_thresholds_apart(images):
    """Without this, equal counts could be equal because nothing happens."""
    found = {protocol: evaluate_fast(*images, protocol=protocol, threshold=0.55) for protocol in PROTOCOLS}
    strict = {name: count.succeeded for name, count in found["strict"].items()}
    assert found["strict"] != found["paper2018"]
    assert 0 < strict["top1_loc@0.5"] < strict["top5_loc@0.5"] < strict["gt_known_loc@0.5"]
    assert strict["gt_known_loc@0.3"] > strict["gt_known_loc@0.5"] > strict["gt_known_loc@0.7"] > 0
    assert found["strict"]["gt_known_loc@0.5"].counted < found["strict"]["top1_clas"].counted


@pytest.mark.parametrize("level", [1, 40, 51, 130, 200, 255])
def test_the_curve_counts_what_single_thresholds_count(images, level):
    cams, _, _, boxes_of_images, widths, heights = images
    found = curve_hits(cams, IMAGE_SIZE, widths, heights, *truths_of(boxes_of_images), "min-max")
    for k, iou_threshold in enumerate(IOU_THRESHOLDS):
        slow = hits_slowly(cams, boxes_of_images, widths, heights, IMAGE_SIZE, iou_threshold, level / 255)
        assert (found.single[:, k, level].sum(), found.multiple[:, k, level].sum()) == slow


def test_level_51_of_the_curve_is_the_fixed_threshold(images):
    cams, _, _, boxes_of_images, widths, heights = images
    found = curve_hits(cams, IMAGE_SIZE, widths, heights, *truths_of(boxes_of_images), "min-max")
    fast = evaluate_fast(*images, protocol="strict", threshold=0.2)
    for k, iou_threshold in enumerate(IOU_THRESHOLDS):
        assert found.single[:, k, 51].sum() == fast[f"gt_known_loc@{iou_threshold}"].succeeded


def test_a_constant_map_hits_nothing_at_any_level(images):
    cams, _, _, boxes_of_images, widths, heights = images
    constant = np.full_like(cams, 3)
    found = curve_hits(constant, IMAGE_SIZE, widths, heights, *truths_of(boxes_of_images), "min-max")
    assert not found.single.any()
    assert not found.multiple.any()
