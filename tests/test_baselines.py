"""The boxes that look at no image."""

from itertools import product

import numpy as np
import pytest

import kernels
from fastwsol.evaluation.baselines import best_fixed_boxes, whole_image


def best_fixed_box(truths, offsets, image_size, iou_threshold=0.5):
    """The box of one threshold; asked for together with others it is the same."""
    alone = best_fixed_boxes(truths, offsets, image_size, [iou_threshold])
    together = best_fixed_boxes(truths, offsets, image_size, [0.25, iou_threshold])
    assert together[1].tolist() == alone[0].tolist()
    return alone[0]


def random_truths(seed, images, size, boxes_each=1):
    """Whole-pixel boxes around the middle, as objects in photographs are."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size / 2, size / 10, (images * boxes_each, 2))
    sides = rng.uniform(size / 6, size, (images * boxes_each, 2))
    corners = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1).round().clip(0, size)
    corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2] + 1)
    return corners.astype(np.float32), np.arange(0, images * boxes_each + 1, boxes_each)


def hit_counts(candidates, truths, offsets, iou_threshold=0.5):
    return kernels.fixed_box_hits(np.array(candidates, np.int32), truths, offsets, [iou_threshold])[:, 0]


def all_boxes(size):
    return [box for box in product(range(size + 1), repeat=4) if box[0] < box[2] and box[1] < box[3]]


def test_the_whole_frame_is_the_whole_frame():
    assert whole_image(64).tolist() == [0, 0, 64, 64]
    assert whole_image(64).dtype == np.int32


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("iou_threshold", [0.3, 0.5, 0.7])
def test_no_box_a_pixel_away_has_more_hits(seed, iou_threshold):
    truths, offsets = random_truths(seed, 300, 64)
    box = best_fixed_box(truths, offsets, 64, iou_threshold)
    neighbours = [
        side for side in box + np.array(list(product((-1, 0, 1), repeat=4))) if 0 <= min(side) <= max(side) <= 64
    ]
    own = hit_counts([box], truths, offsets, iou_threshold)[0]
    assert own >= hit_counts(neighbours, truths, offsets, iou_threshold).max()
    assert own >= hit_counts([whole_image(64)], truths, offsets, iou_threshold)[0]


def test_it_is_the_best_of_all_boxes_where_all_can_be_tried():
    truths, offsets = random_truths(0, 400, 14)
    box = best_fixed_box(truths, offsets, 14)
    assert hit_counts([box], truths, offsets)[0] == hit_counts(all_boxes(14), truths, offsets).max()


def test_one_box_everywhere_is_hit_everywhere():
    truths, offsets = np.tile(np.array([7, 13, 50, 59], np.float32), (20, 1)), np.arange(21)
    box = best_fixed_box(truths, offsets, 64, iou_threshold=0.7)
    assert hit_counts([box], truths, offsets, iou_threshold=0.7).tolist() == [20]


def test_an_image_is_hit_through_any_of_its_boxes_and_counted_once():
    # Three images own the small box twice over, four the large one: the large one wins by images, not by boxes.
    small, large = [0, 0, 16, 16], [24, 24, 64, 64]
    truths = np.array([small, small] * 3 + [large] * 4, np.float32)
    offsets = np.array([0, 2, 4, 6, 7, 8, 9, 10, 10])
    box = best_fixed_box(truths, offsets, 64)
    assert hit_counts([box], truths, offsets).tolist() == [4]


def test_of_equals_the_first_in_the_order_of_corners_is_kept():
    # Many boxes of the coarse grid hit the one truth, and none of the search's later ones has more hits than one.
    truths = np.array([[0, 0, 64, 48]], np.float32)
    candidates = [box for box in product(range(0, 65, 8), repeat=4) if box[0] < box[2] and box[1] < box[3]]
    counts = hit_counts(candidates, truths, np.array([0, 1]))
    assert best_fixed_box(truths, np.array([0, 1]), 64).tolist() == list(candidates[counts.argmax()])


def test_the_order_of_images_does_not_matter():
    truths, offsets = random_truths(1, 200, 64)
    box = best_fixed_box(truths, offsets, 64)
    assert best_fixed_box(truths[::-1].copy(), offsets, 64).tolist() == box.tolist()


def test_other_frames_than_64_and_smaller_than_the_grid_work():
    for size in (1, 5, 224):
        truths, offsets = random_truths(2, 50, size)
        box = best_fixed_box(truths, offsets, size)
        assert box.min() >= 0
        assert box.max() <= size
        assert hit_counts([box], truths, offsets)[0] > 0


def test_no_ground_truth_is_refused():
    with pytest.raises(ValueError, match="no ground-truth boxes"):
        best_fixed_box(np.empty((0, 4), np.float32), np.zeros(4, np.int64), 64)
