"""The maps of N images, from a network or from files, and the boxes that they give.

Maps of a network cover its square and are upsampled to that; maps from files are upsampled to their image. Both are
boxed in groups of one size, by the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

import kernels
from fastwsol.evaluation.boxes import PROTOCOLS, BoxProtocol, CurveHits, ProtocolName
from fastwsol.evaluation.choe2020 import WsolevalSweep, sweep
from fastwsol.evaluation.map_statistics import StatisticsOfMaps
from fastwsol.evaluation.metrics import IOU_THRESHOLDS
from fastwsol.evaluation.report_types import MapStatistics
from fastwsol.evaluation.thresholds import CAM_THRESHOLD, BestHits, otsu_thresholds
from fastwsol.evaluation.truths import ShownTruths, Truths
from fastwsol.geometry import Size, to_original
from fastwsol.host.device import kernel_threads
from kernels.levels import LEVELS, wsoleval_cut


class MapGroup(NamedTuple):
    """Maps that are boxed together."""

    rows: NDArray[np.int64]
    """Which images' they are: [n]."""
    maps: NDArray[np.float32]
    """[n, h, w]."""
    size: Size
    """What they are upsampled to."""


class Maps(Protocol):
    """A map for each of N images."""

    @property
    def square(self) -> int:
        """The side, in pixels, of the square that fixed boxes are made in and the older evaluator's maps are of."""

    @property
    def scale(self) -> kernels.Scale:
        """What their values mean."""

    def read(self, row: int) -> NDArray[np.float32]:
        """The map [h, w] of one image. Raises UserError where it cannot be had."""

    def groups(self, truths: Truths) -> Iterator[MapGroup]:
        """All maps, each in one group."""


@dataclass(frozen=True)
class NetworkMaps:
    """The maps that a network gave, float32 [N, h, w], the side of its square, and their scale."""

    maps: NDArray[np.float32]
    square: int
    scale: kernels.Scale = "min-max"

    def read(self, row: int) -> NDArray[np.float32]:
        """The map [h, w] of one image."""
        return self.maps[row]

    def groups(self, truths: Truths) -> Iterator[MapGroup]:
        """All maps at once."""
        yield MapGroup(np.arange(len(self.maps)), self.maps, self.square)


class MeasuredBoxes(NamedTuple):
    """One box an image, and how good it is."""

    boxes: NDArray[np.float32]
    """[N, 4], original pixels."""
    ious: NDArray[np.float64]
    """With the best ground-truth box by the protocol's rule: [N], NaN without one."""


@dataclass(frozen=True)
class Localized:
    """What the maps of N images say."""

    boxes: dict[ProtocolName, MeasuredBoxes]
    """At `CAM_THRESHOLD`, by protocol, where those were asked for."""
    at_cut: MeasuredBoxes
    """Under `strict`, where the maps are cut."""
    thresholds: NDArray[np.float64]
    """Where each map is cut: [N]."""
    curve: CurveHits
    statistics: MapStatistics
    wsoleval: WsolevalSweep | None = None
    """Where the older evaluator's protocol was asked for; `boxes` then has its boxes too."""

    @cached_property
    def best_hits(self) -> BestHits:
        """The hits at the thresholds that are best on these images, under `strict`."""
        return BestHits.of(self.curve.single, self.curve.multiple)


def localize_maps(
    maps: Maps,
    truths: Truths,
    cut: float | None = CAM_THRESHOLD,
    at_fixed: bool = True,
    tick: Callable[[int], None] = lambda images: None,
) -> Localized:
    """Box all maps under `strict`, at the threshold `cut` (None: Otsu's, of each map) and at every level.

    at_fixed: also at `CAM_THRESHOLD`, under every protocol; maps on their own scale under `strict` alone. tick: is told
    how many maps are done.
    """
    count, shown, scale = len(truths), truths.shown, maps.scale
    shape = (count, len(IOU_THRESHOLDS), LEVELS)
    curve = CurveHits(np.zeros(shape, bool), np.zeros(shape, bool))
    protocols: Sequence[BoxProtocol] = PROTOCOLS if scale == "min-max" else ("strict",)
    of_protocol = [(protocol, _nothing_yet(count)) for protocol in (protocols if at_fixed else ())]
    at_cut, thresholds, statistics = _nothing_yet(count), np.zeros(count), StatisticsOfMaps(scale)
    images = 0
    for group in maps.groups(shown):
        rows, own = group.rows, shown.of_rows(group.rows)
        with kernel_threads(len(rows)):
            thresholds[rows] = otsu_thresholds(group.maps, group.size, scale) if cut is None else cut
            for protocol, measured in of_protocol:
                _fill(measured, group, own, protocol, CAM_THRESHOLD, scale)
            _fill(at_cut, group, own, "strict", thresholds[rows], scale)
            statistics.add(group.maps, group.size, thresholds[rows])
            hits = own.curve_hits(group.maps, group.size, scale)
        curve.single[rows], curve.multiple[rows] = hits.single, hits.multiple
        images += len(rows)
        tick(images)
    for measured in (*(each for _, each in of_protocol), at_cut):
        is_box = measured.boxes[:, 2] > measured.boxes[:, 0]  # of an empty map it stays 0, 0, 0, 0
        measured.boxes[is_box] += truths.origins[is_box][:, [0, 1, 0, 1]]
    return Localized(dict(of_protocol), at_cut, thresholds, curve, statistics.numbers())


def _nothing_yet(count: int) -> MeasuredBoxes:
    return MeasuredBoxes(np.zeros((count, 4), np.float32), np.full(count, np.nan))


def _fill(
    boxes_of_all: MeasuredBoxes,
    group: MapGroup,
    own: ShownTruths,
    protocol: BoxProtocol,
    threshold: kernels.Thresholds,
    scale: kernels.Scale,
) -> None:
    boxes = own.localize(group.maps, protocol, group.size, threshold, scale)
    boxes_of_all.boxes[group.rows] = boxes
    boxes_of_all.ious[group.rows] = own.ious(boxes, protocol)


def localize_as_wsoleval(
    localized: Localized, maps: Maps, truths: Truths, threads: int, tick: Callable[[int], None]
) -> Localized:
    """The same, and what the older evaluator finds, to which every map is scaled by its own extremes. Raises UserError
    without OpenCV.
    """
    in_map = truths.in_wsoleval_map(maps.square)
    swept = sweep(maps.read, maps.square, in_map, truths.offsets, threads, tick)
    boxes_of = localized.boxes
    if boxes_of:
        cut = wsoleval_cut(CAM_THRESHOLD)
        boxes = to_original(swept.boxes[:, cut], truths.widths, truths.heights, swept.side)
        boxes_of = {**boxes_of, "wsoleval": MeasuredBoxes(boxes, swept.single[:, cut])}
    return replace(localized, boxes=boxes_of, wsoleval=swept)
