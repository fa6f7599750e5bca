"""The whole evaluation, fast against slow: exactly the same counts."""

from dataclasses import asdict

import numpy as np
import pytest
from scipy import ndimage
from slow_evaluator import evaluate_slowly

from fastwsol.localize import PROTOCOLS, hits, localize, score_boxes
from fastwsol.metrics import IOU_THRESHOLDS, LocalizationCounts, count

IMAGE_SIZE = 32
BATCH = 16


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
    labels = rng.integers(0, 3, number)
    predictions = np.where(rng.random(number) < 0.6, labels, rng.integers(0, 3, number))
    return cams, predictions, labels, boxes_of_images, widths, heights


def evaluate_fast(cams, predictions, labels, boxes_of_images, widths, heights, protocol, threshold):
    """In batches, the last one padded, as the evaluation runs."""
    counts = LocalizationCounts()
    for start in range(0, len(cams), BATCH):
        slots = np.arange(start, start + BATCH)
        valid = slots < len(cams)
        ids = np.minimum(slots, len(cams) - 1)  # the padding repeats the last image
        truths = [boxes_of_images[i] for i in ids]
        offsets = np.cumsum([0, *(len(boxes) for boxes in truths)])
        truths = np.array([box for boxes in truths for box in boxes], np.float32).reshape(-1, 4)
        boxes = localize(cams[ids], protocol, IMAGE_SIZE, widths[ids], heights[ids], threshold)
        ious = score_boxes(boxes, truths, offsets, protocol)
        hits_TN = np.stack([hits(ious, iou_threshold, protocol) for iou_threshold in IOU_THRESHOLDS])
        counts += count(hits_TN, predictions[ids] == labels[ids], ~np.isnan(ious), valid)
    return counts


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("threshold", [0.2, 0.55])
def test_fast_and_slow_count_the_same(images, protocol, threshold):
    slow = evaluate_slowly(
        *images, image_size=IMAGE_SIZE, protocol=protocol, iou_thresholds=IOU_THRESHOLDS, threshold=threshold
    )
    fast = evaluate_fast(*images, protocol=protocol, threshold=threshold)
    assert {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(fast).items()} == slow


def test_the_images_tell_the_metrics_protocols_and_thresholds_apart(images):
    """Without this, equal counts could be equal because nothing happens."""
    counts = {protocol: evaluate_fast(*images, protocol=protocol, threshold=0.55) for protocol in PROTOCOLS}
    strict = counts["strict"]
    assert strict != counts["paper2018"]
    assert 0 < strict.top1_loc[1] < strict.loc[1] < strict.images_with_boxes < strict.images
    assert strict.loc[0] > strict.loc[1] > strict.loc[2] > 0
