"""Statistics of maps, which need no box: how much of an image they keep, and whether they reach its edges."""

import numpy as np
from numpy.typing import NDArray

import kernels
from fastwsol.dataset.ragged_boxes import owners_of
from fastwsol.evaluation.boxes import parts_of_maps
from fastwsol.evaluation.report_types import MapStatistics
from fastwsol.geometry import Size, both_sides

_EDGES = 3
"""A map that reaches so many edges of its image and more is counted."""


class StatisticsOfMaps:
    """Those of maps on one scale, added group by group."""

    def __init__(self, scale: kernels.Scale) -> None:
        self._scale = scale
        self._maps = self._empty = self._edges = 0
        self._area = self._values = 0.0

    def add(self, maps: NDArray[np.float32], size: Size, thresholds: NDArray[np.float64]) -> None:
        """Add maps [n, h, w] that are upsampled to `size` and cut at `thresholds` [n]."""
        height, width = both_sides(size)
        for part in parts_of_maps(len(maps), size):
            boxes, pixels, _, offsets = kernels.cam_component_boxes(maps[part], size, thresholds[part], self._scale)
            owners = owners_of(offsets)
            self._area += pixels.sum() / (width * height)
            self._empty += int((np.diff(offsets) == 0).sum())
            reached = np.zeros((len(offsets) - 1, 4), bool)
            at_edges = np.concatenate([boxes[:, :2] == 0, boxes[:, 2:] == [width, height]], axis=1)
            np.logical_or.at(reached, owners, at_edges)
            self._edges += int((reached.sum(axis=1) >= _EDGES).sum())
        self._maps += len(maps)
        if self._scale == "own":
            self._values += float(maps.mean(axis=(1, 2), dtype=np.float64).sum())

    def numbers(self) -> MapStatistics:
        """Of all maps."""
        count = max(1, self._maps)
        statistics: MapStatistics = {
            "mean_area": self._area / count,
            "empty": self._empty / count,
            "three_edges": self._edges / count,
        }
        if self._scale == "own" and self._maps:
            statistics["mean_value"] = self._values / count
        return statistics
