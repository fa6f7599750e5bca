"""What maps keep, without a box."""

import numpy as np
import pytest

from fastwsol.evaluation import boxes as boxes_module
from fastwsol.evaluation.map_statistics import StatisticsOfMaps


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_statistics_of_maps_are_those_of_their_kept_pixels(at_once, monkeypatch):
    """Of images 10 wide and 6 high, each cut at its own threshold, however many are taken at a time."""
    monkeypatch.setattr(boxes_module, "_PIXELS_AT_ONCE", at_once * 6 * 10)
    maps = np.zeros((5, 6, 10), np.float32)
    maps[0, :3] = 0.75  # left, right and top
    maps[1, :2, :4] = maps[1, 4:, 8:] = 0.5  # two corners: every edge, by two components
    maps[2, 4:, 8:], maps[2, 2, 4] = 0.75, 0.25  # one corner: two edges; and below its threshold a pixel
    maps[3, 2:4, 4:6] = 0.25  # amid the image
    thresholds = np.array([0.5, 0.25, 0.5, 0.125, 0.5])
    together, apart = StatisticsOfMaps("own"), StatisticsOfMaps("own")
    together.add(maps, (6, 10), thresholds)
    apart.add(maps[:2], (6, 10), thresholds[:2])
    apart.add(maps[2:], (6, 10), thresholds[2:])
    means = [0.75 * 30, 0.5 * 12, 0.75 * 4 + 0.25, 0.25 * 4, 0]
    expected = {
        "mean_area": pytest.approx((30 + 12 + 4 + 4) / 60 / 5),
        "empty": 1 / 5,
        "three_edges": 2 / 5,
        "mean_value": pytest.approx(sum(means) / 60 / 5),
    }
    assert together.numbers() == expected
    assert apart.numbers() == expected
    assert StatisticsOfMaps("min-max").numbers() == {"mean_area": 0, "empty": 0, "three_edges": 0}
