"""What a report says of one localizer: its rates at the run's own cut, its oracles, and how its maps look."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import kernels
from fastwsol.evaluation.boxes import CurveHits, ProtocolName, hits_of, parts_of_maps, thresholds_by_iou
from fastwsol.evaluation.maps import MeasuredBoxes
from fastwsol.evaluation.measure import EvaluatedImages, counts_by_class, counts_by_size, hits_at_levels
from fastwsol.evaluation.metrics import CamClass, counts, rates
from fastwsol.evaluation.per_image import ImageRows
from fastwsol.evaluation.report_types import LocalizerRow, Looks
from fastwsol.evaluation.resampling import intervals_of, oracles
from fastwsol.evaluation.thresholds import ChosenLevels, Cut, best_levels
from fastwsol.host.device import kernel_threads
from fastwsol.localizer.localizers import Localizer

_EDGES = 3
"""A map that reaches so many edges of its image and more is counted."""


@dataclass(frozen=True)
class LocalizerMeasurement:
    """The numbers of a localizer; and what it says of each image."""

    numbers: LocalizerRow
    rows: ImageRows
    thresholds: float | NDArray[np.float64]
    """Where each map was cut: one number, or one an image, [N]."""


def measure_localizer(
    localizer: Localizer,
    maps: NDArray[np.float32],
    square: int,
    images: EvaluatedImages,
    cut: Cut,
    cam_class: CamClass = "truth",
    chosen: ChosenLevels | None = None,
    curve: CurveHits | None = None,
) -> LocalizerMeasurement:
    """Box the maps [N, h, w] of a network whose square has `square` pixels a side, under `strict`, and count.

    chosen: under the rule `auto`, the levels for each IoU threshold; `cut` then has the one for IoU .5. curve: the hits
    of these maps at all levels, where they are known.
    """
    truths, shown, scale = images.truths, images.truths.shown, localizer.scale
    with kernel_threads(len(maps)):
        thresholds = cut.thresholds(maps, square, scale)
        boxes = shown.localize(maps, "strict", square, thresholds, scale)
        ious = shown.ious(boxes, "strict")
        if curve is None:
            curve = shown.curve_hits(maps, square, scale)
        look = _look(maps, square, thresholds, scale)
    hit = hits_of(ious, "strict") if chosen is None else hits_at_levels(curve.single, chosen.levels)
    best = best_levels(curve.single.sum(axis=0))
    at_cut, at_best = (images.outcomes(each, cam_class) for each in (hit, hits_at_levels(curve.single, best)))
    intervals = intervals_of([at_cut, at_best])
    numbers: LocalizerRow = {
        "name": localizer.name,
        "title": localizer.title,
        "class_specific": localizer.class_specific,
        "scale": localizer.scale,
        "cut": cut.to_json(),
        "counts": counts(at_cut),
        "rates": rates(at_cut),
        "intervals": intervals[0],
        "oracle": {
            "thresholds": thresholds_by_iou(best),
            "counts": counts(at_best),
            "rates": rates(at_best),
            "intervals": intervals[1],
        },
        "max_box_acc": oracles(curve.single, curve.multiple, truths.has_boxes),
        "curve": curve.counts(),
        "maps": look,
        "sizes": counts_by_size(at_cut, truths),
        "classes": counts_by_class(at_cut, images.labels, images.classes),
    }
    measured: dict[ProtocolName, MeasuredBoxes] = {
        "strict": MeasuredBoxes(boxes + truths.origins[:, [0, 1, 0, 1]], ious)
    }
    rows = ImageRows.of(
        images.names, images.classes, images.labels, images.predicted, np.diff(truths.offsets), measured
    )
    return LocalizerMeasurement(numbers, rows, thresholds)


def _look(
    maps: NDArray[np.float32], square: int, thresholds: float | NDArray[np.float64], scale: kernels.Scale
) -> Looks:
    """What can be told of maps without any box: of what is kept of them at the cut, the mean share of the image; the
    share of maps that keep nothing, and of those that reach three edges of the image or more. Of maps on their own
    scale also their mean, which no cut moves.
    """
    area = empty = edges = 0.0
    each_threshold = np.broadcast_to(np.float64(thresholds), len(maps))
    for part in parts_of_maps(len(maps), square):
        boxes, pixels, _, offsets = kernels.cam_component_boxes(maps[part], square, each_threshold[part], scale)
        owners = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        area += pixels.sum() / square**2
        empty += (np.diff(offsets) == 0).sum()
        reached = np.zeros((len(offsets) - 1, 4), bool)
        np.logical_or.at(reached, owners, np.concatenate([boxes[:, :2] == 0, boxes[:, 2:] == square], axis=1))
        edges += (reached.sum(axis=1) >= _EDGES).sum()
    count = max(1, len(maps))
    looks: Looks = {"mean_area": area / count, "empty": empty / count, "three_edges": edges / count}
    if scale == "own" and len(maps):
        looks["mean_value"] = float(maps.mean())
    return looks
