"""What a report says of one localizer: its rates at its cut, its oracles, and how its maps look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastwsol.evaluation.boxes import hits_of, thresholds_by_iou
from fastwsol.evaluation.choe2020 import hits_at_cuts
from fastwsol.evaluation.evaluated_images import EvaluatedImages
from fastwsol.evaluation.maps import Localized, Maps, NetworkMaps
from fastwsol.evaluation.metrics import (
    IOU_THRESHOLDS,
    LOC_NAMES,
    OBJECT_SIZES,
    CamClass,
    Count,
    Outcomes,
    counts,
    counts_of_groups,
    rates,
    size_groups,
)
from fastwsol.evaluation.paired import paired_means
from fastwsol.evaluation.report_types import AboveBox, ClassRow, Counts, LocalizerRow, SizeRow
from fastwsol.evaluation.resampling import intervals_of, oracles
from fastwsol.evaluation.thresholds import BestHits, ChosenLevels, Cut, best_levels
from fastwsol.evaluation.truths import Truths
from fastwsol.localizer.localizers import Localizer


@dataclass(frozen=True)
class CutMaps:
    """The maps of a localizer, or anyone's, and where they are cut."""

    name: str
    title: str
    class_specific: bool
    maps: Maps
    cut: Cut
    chosen: ChosenLevels | None = None
    """Under the rule `auto`, the levels for each IoU threshold; `cut` then has the one for IoU .5."""

    @staticmethod
    def of(
        localizer: Localizer, maps: NDArray[np.float32], square: int, cut: Cut, chosen: ChosenLevels | None = None
    ) -> CutMaps:
        """Of the maps [N, h, w] of a network whose square has `square` pixels a side."""
        shown = NetworkMaps(maps, square, localizer.scale)
        return CutMaps(localizer.name, localizer.title, localizer.class_specific, shown, cut, chosen)


def localizer_row(
    of: CutMaps,
    localized: Localized,
    images: EvaluatedImages,
    cam_class: CamClass = "truth",
    best_boxes: Mapping[float, NDArray[np.bool_]] | None = None,
) -> LocalizerRow:
    """Count what the maps `of` the images gave, `localized` at their cut. best_boxes: by IoU threshold, which images
    [N] are hit by the fixed box that is best there on train.
    """
    truths, curve = images.truths, localized.curve
    hits = hits_of(localized.at_cut.ious, "strict")
    if of.chosen is not None:
        hits = hits_at_levels(curve.single, of.chosen.levels)
    best = best_levels(curve.single.sum(axis=0))
    at_cut, at_best = (images.outcomes(each, cam_class) for each in (hits, hits_at_levels(curve.single, best)))
    intervals = intervals_of([at_cut, at_best])
    best_possible = {"strict": oracles(localized.best_hits, truths.has_boxes)}
    if localized.wsoleval is not None:
        at_cuts = hits_at_cuts(localized.wsoleval, IOU_THRESHOLDS)
        best_possible["wsoleval"] = oracles(BestHits.of(*at_cuts), truths.has_boxes)
    row: LocalizerRow = {
        "name": of.name,
        "title": of.title,
        "class_specific": of.class_specific,
        "scale": of.maps.scale,
        "cut": of.cut.to_json(),
        "counts": counts(at_cut),
        "rates": rates(at_cut),
        "intervals": intervals[0],
        "oracle": {
            "thresholds": thresholds_by_iou(best),
            "counts": counts(at_best),
            "rates": rates(at_best),
            "intervals": intervals[1],
        },
        "max_box_acc": best_possible,
        "curve": curve.counts(),
        "maps": localized.statistics,
        "sizes": counts_by_size(at_cut, truths),
        "classes": counts_by_class(at_cut, images.labels, images.classes),
    }
    if of.chosen is not None:
        row["thresholds"] = thresholds_by_iou(of.chosen.levels)
    if best_boxes and truths.has_boxes.any():
        row["above_best_box"] = {
            f"{LOC_NAMES[cam_class]}@{threshold}": above_box(hits[k], best_boxes[threshold], truths.has_boxes)
            for k, threshold in enumerate(IOU_THRESHOLDS)
            if threshold in best_boxes
        }
    return row


def above_box(ours: NDArray[np.bool_], of_box: NDArray[np.bool_], counts: NDArray[np.bool_]) -> AboveBox:
    """The rate of images that are hit less that of those that a fixed box hits, in points. All are of images, [N];
    counts: which of them count.
    """
    box, own = (np.where(counts, each, np.nan) for each in (of_box, ours))
    pair = paired_means(box, own)
    return {"of_box": pair.rates[0], "points": pair.difference, "interval": pair.interval, "p": pair.p}


def hits_at_levels(single: NDArray[np.bool_], levels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The hits [T, N] at one level for each IoU threshold, of hits [N, T, LEVELS]."""
    return np.stack([single[:, k, level] for k, level in enumerate(levels)])


def counts_by_size(strict: Outcomes, truths: Truths) -> list[SizeRow]:
    """Counts of the images whose object covers up to 10 %, 25 %, ... of them."""
    bounds = [0.0, *OBJECT_SIZES, 1.0]
    groups, number = size_groups(truths.object_shares()), len(bounds) - 1
    of_groups = counts_of_groups(strict, groups, number)
    return [
        {
            "share": [bounds[group], bounds[group + 1]],
            "images": int((groups == group).sum()),
            "counts": _of_group(of_groups, group),
        }
        for group in range(number)
    ]


def counts_by_class(strict: Outcomes, labels: NDArray[np.int64] | None, class_names: Sequence[str]) -> list[ClassRow]:
    """Counts of the images of each class; nothing where labels are not known."""
    if labels is None:
        return []
    of_groups = counts_of_groups(strict, labels, len(class_names))
    images = np.bincount(labels, minlength=len(class_names)).tolist()
    return [
        {"class": name, "images": images[label], "counts": _of_group(of_groups, label)}
        for label, name in enumerate(class_names)
    ]


def _of_group(of_groups: Mapping[str, Sequence[Count]], group: int) -> Counts:
    return {name: each[group] for name, each in of_groups.items()}
