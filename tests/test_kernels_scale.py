"""Maps on their own scale, and a threshold for each map, against the plain twins."""

import numpy as np
import pytest

import kernels
from kernels import reference
from kernels.levels import LEVELS, threshold_of


def shares(count=40, cells=7):
    rng = np.random.default_rng(count)
    maps = rng.random((count, cells, cells)).astype(np.float32)
    maps[0], maps[1], maps[2] = 0, 1, 0.5
    return maps


@pytest.mark.parametrize("scale", ["min-max", "own"])
def test_a_threshold_for_each_map_gives_the_boxes_of_each_alone(scale):
    maps = shares()
    thresholds = np.random.default_rng(1).random(len(maps))
    boxes = kernels.cam_boxes(maps, (30, 41), thresholds, scale)
    np.testing.assert_array_equal(boxes, reference.cam_boxes(maps, (30, 41), thresholds, scale))
    for k, threshold in enumerate(thresholds.tolist()):
        np.testing.assert_array_equal(boxes[k], kernels.cam_boxes(maps[k : k + 1], (30, 41), threshold, scale)[0])


def test_on_its_own_scale_a_map_may_keep_nothing_and_a_constant_one_keeps_all():
    maps = shares()[:3]
    assert kernels.cam_boxes(maps, 8, 0.5, "own").tolist() == [[0, 0, 0, 0], [0, 0, 8, 8], [0, 0, 8, 8]]
    assert kernels.cam_boxes(maps, 8, 0.6, "own").tolist() == [[0, 0, 0, 0], [0, 0, 8, 8], [0, 0, 0, 0]]
    assert not kernels.cam_boxes(maps, 8, 0.5).any()


def test_levels_and_components_on_their_own_scale_are_their_twins():
    maps = shares()
    levels = kernels.cam_levels(maps, 24, "own")
    np.testing.assert_array_equal(levels, reference.cam_levels(maps, 24, "own"))
    for level in (0, 1, 51, 128, LEVELS - 1):
        kept = levels >= level
        boxes = kernels.cam_boxes(maps, 24, threshold_of(level), "own")
        np.testing.assert_array_equal(kept.any(axis=(1, 2)), boxes.any(axis=1))
    thresholds = np.random.default_rng(2).random(len(maps))
    ours = kernels.cam_component_boxes(maps, 24, thresholds, "own")
    theirs = reference.cam_component_boxes(maps, 24, thresholds, "own")
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_peak_on_its_own_scale_is_the_value_itself():
    maps = np.full((1, 3, 3), 0.25, np.float32)
    maps[0, 1, 1] = 0.75
    assert kernels.cam_component_boxes(maps, (3, 3), 0.5, "own")[2].tolist() == [0.75]


def test_what_is_no_share_of_1_is_refused():
    maps = shares()
    maps[5, 2, 2] = 1.5
    with pytest.raises(ValueError, match=r"map 5 holds values outside 0\.\.1"):
        kernels.cam_boxes(maps, 8, 0.5, "own")
    with pytest.raises(ValueError, match=r"threshold is 1.25, expected 0\.\.1"):
        kernels.cam_boxes(shares(3), 8, np.array([0.1, 1.25, 0.2]))
