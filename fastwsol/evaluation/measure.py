"""Maps and predictions of N images to the numbers of a report: rates, curves, groups, intervals, baselines.

It does not ask where the maps came from: a run's evaluation and `evaluate --maps` share it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastwsol.draws import bootstrap_weights
from fastwsol.evaluation.baselines import best_fixed_boxes, whole_frame
from fastwsol.evaluation.boxes import (
    CAM_THRESHOLD,
    PROTOCOLS,
    CurveHits,
    Size,
    curve_hits,
    hits,
    localize,
    score_boxes,
    to_input,
    to_original,
)
from fastwsol.evaluation.choe2020 import WsolevalSweep, cut_of, fixed_box_ious, hits_at_cuts, truths_in_map
from fastwsol.evaluation.metrics import (
    IOU_THRESHOLDS,
    LEVELS,
    OBJECT_SIZES,
    CamClass,
    Outcomes,
    best_levels,
    counts,
    counts_of_groups,
    interval,
    max_box_acc,
    outcomes,
    rates,
    size_groups,
)

REPORT_FORMAT_VERSION = 3
RESAMPLES = 1000
_IMAGES_AT_ONCE = 4096  # resampled together: their weights are 16 MiB


@dataclass(frozen=True)
class Truths:
    """What N images are known to show."""

    widths: NDArray[np.int32]
    heights: NDArray[np.int32]
    """[N], pixels of the original images."""
    boxes: NDArray[np.float32]
    """[M, 4], half-open, in original pixels."""
    offsets: NDArray[np.int64]
    """[N + 1]: image n has boxes[offsets[n] : offsets[n + 1]]."""

    def __len__(self) -> int:
        return len(self.widths)

    @cached_property
    def has_boxes(self) -> NDArray[np.bool_]:
        """Which images have ground truth: [N]."""
        return np.diff(self.offsets) > 0

    def digest(self) -> str:
        """SHA-256 of sizes and boxes: equal where two evaluations measured against the same."""
        arrays = (self.widths, self.heights, self.boxes, self.offsets)
        return hashlib.sha256(b"".join(np.ascontiguousarray(each).tobytes() for each in arrays)).hexdigest()

    def of_rows(self, rows: NDArray[np.int64]) -> Truths:
        """The images `rows`, in that order."""
        numbers = np.diff(self.offsets)[rows]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(numbers)])
        boxes = self.boxes[np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], numbers)]
        return Truths(self.widths[rows], self.heights[rows], boxes, offsets)

    def object_shares(self) -> NDArray[np.float64]:
        """The share of each image that its largest box covers: float64 [N], NaN without a box."""
        sides = (self.boxes[:, 2:] - self.boxes[:, :2]).astype(np.float64)
        shares = np.full(len(self), np.nan)
        areas = np.maximum(sides, 0).prod(axis=1) / (self.widths.astype(np.float64) * self.heights)[self._image_of_box]
        np.fmax.at(shares, self._image_of_box, areas)
        return shares

    def in_frame(self, size: Size) -> NDArray[np.float32]:
        """`boxes` in the input frame that every image is stretched to."""
        return to_input(self.boxes, self.widths[self._image_of_box], self.heights[self._image_of_box], size)

    def in_wsoleval_map(self, side: int) -> NDArray[np.int64]:
        """`boxes` as the older evaluator has them in its maps of `side` pixels."""
        return truths_in_map(self.boxes, self.widths[self._image_of_box], self.heights[self._image_of_box], side)

    @cached_property
    def _image_of_box(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))


class Boxes(NamedTuple):
    """One box an image."""

    boxes: NDArray[np.float32]
    """[N, 4], original pixels."""
    ious: NDArray[np.float64]
    """With the best ground-truth box by the protocol's rule: [N], NaN without one."""


@dataclass(frozen=True)
class Localized:
    """What the maps of N images say."""

    found: dict[str, Boxes]
    """At `CAM_THRESHOLD`, by protocol."""
    given: Boxes | None
    """Under `strict` at a threshold that was asked for."""
    curve: CurveHits
    wsoleval: WsolevalSweep | None = None
    """Where the older evaluator's protocol was asked for; `found` has its boxes at `CAM_THRESHOLD`."""

    def with_wsoleval(self, sweep: WsolevalSweep, truths: Truths) -> Localized:
        """The same, and what that protocol found."""
        cut = cut_of(CAM_THRESHOLD)
        boxes = to_original(sweep.boxes[:, cut], truths.widths, truths.heights, sweep.side)
        found = {**self.found, "wsoleval": Boxes(boxes, sweep.single[:, cut])}
        return replace(self, found=found, wsoleval=sweep)


def localize_maps(cams: NDArray[np.float32], size: Size, truths: Truths, threshold: float | None = None) -> Localized:
    """Box maps float32 [N, h, w], upsampled to `size`, under every protocol and, `strict`, at every threshold."""

    def boxed(protocol: str, at: float) -> Boxes:
        boxes = localize(cams, protocol, size, truths.widths, truths.heights, at)
        return Boxes(boxes, score_boxes(boxes, truths.boxes, truths.offsets, protocol))

    return Localized(
        {protocol: boxed(protocol, CAM_THRESHOLD) for protocol in PROTOCOLS},
        boxed("strict", threshold) if threshold is not None else None,
        curve_hits(cams, size, truths.widths, truths.heights, truths.boxes, truths.offsets, IOU_THRESHOLDS),
    )


@dataclass(frozen=True)
class FixedBox:
    """A baseline that looks at no image: one box for all, in the input frame, int32 [4]; and where it is from."""

    name: str
    box: NDArray[np.int32]
    origin: str


def fixed_boxes(train: Truths | None, image_size: int) -> list[FixedBox]:
    """The whole frame and, where there are training boxes, for each IoU threshold the box that hits most of them."""
    boxes = [FixedBox("whole frame", whole_frame(image_size), "no choice")]
    if train is not None and len(train.boxes):
        best = best_fixed_boxes(train.in_frame(image_size), train.offsets, image_size, IOU_THRESHOLDS)
        boxes += [
            FixedBox(f"best box at IoU {threshold}", box, "boxes of train")
            for threshold, box in zip(IOU_THRESHOLDS, best, strict=True)
        ]
    return boxes


def hits_of(ious: NDArray[np.float64], protocol: str) -> NDArray[np.bool_]:
    """Hits bool [T, N], a row for each of `IOU_THRESHOLDS`."""
    rule = "strict" if protocol == "wsoleval" else protocol  # both hit at the threshold exactly
    return np.stack([hits(ious, threshold, rule) for threshold in IOU_THRESHOLDS])


def fixed_box_hits(
    fixed: FixedBox, truths: Truths, image_size: int, protocol: str, wsoleval: WsolevalSweep | None = None
) -> NDArray[np.bool_]:
    """The hits bool [T, N] of answering `fixed` for every image, under a protocol."""
    if protocol == "wsoleval":
        assert wsoleval is not None
        return hits_of(fixed_box_ious(wsoleval, fixed.box, image_size), protocol)
    box = np.tile(fixed.box, (len(truths), 1))
    boxes = to_original(box, truths.widths, truths.heights, image_size)
    return hits_of(score_boxes(boxes, truths.boxes, truths.offsets, protocol), protocol)


@dataclass(frozen=True)
class Chosen:
    """A threshold of the curve for each IoU threshold: levels int64 [T], and on which images' boxes it was chosen."""

    levels: NDArray[np.int64]
    images: str


def choose(curve: CurveHits, images: str) -> Chosen:
    """The levels that hit most of the images that `curve` is of; without ground truth the lowest."""
    return Chosen(best_levels(curve.single.sum(axis=0)), images)


def measure(
    localized: Localized,
    truths: Truths,
    ranks: NDArray[np.int64] | None,
    fixed: Sequence[FixedBox],
    image_size: int,
    threshold: float | None = None,
    chosen: Chosen | None = None,
    labels: NDArray[np.int64] | None = None,
    class_names: Sequence[str] = (),
    cam_class: CamClass = "truth",
    top5: bool = True,
) -> dict[str, Any]:
    """The part of a report, as JSON, that is made of maps, predictions and truths (README, "A report's file").

    ranks: as `metrics.ranks` gives them, None where nothing was classified; image_size: the frame of the `fixed` boxes;
    threshold: what `localized.given` was made with; chosen: thresholds chosen elsewhere; labels: indices of
    `class_names`, for the results by class; top5: whether the ranks tell it of the first five.
    """

    def told(found: NDArray[np.bool_]) -> Outcomes:
        return outcomes(found, truths.has_boxes, ranks, cam_class, top5)

    by_protocol = {name: told(hits_of(each.ious, name)) for name, each in localized.found.items()}
    elsewhere = _at_other_thresholds(localized, threshold, chosen)
    told_elsewhere = [told(each.hits) for each in elsewhere]
    intervals = _intervals([*by_protocol.values(), *told_elsewhere])
    baselines = [
        {
            "name": each.name,
            "box": each.box.tolist(),
            "from": each.origin,
            "rates": {
                name: rates(told(fixed_box_hits(each, truths, image_size, name, localized.wsoleval)))
                for name in by_protocol
            },
        }
        for each in fixed
    ]
    curve = localized.curve
    oracles = {"strict": _oracles(curve.single, curve.multiple, truths.has_boxes)}
    if localized.wsoleval is not None:
        oracles["wsoleval"] = _oracles(*hits_at_cuts(localized.wsoleval, IOU_THRESHOLDS), truths.has_boxes)
    return {
        "cam_class": cam_class,
        "cam_threshold": CAM_THRESHOLD,
        "images": len(truths),
        "images_with_boxes": int(truths.has_boxes.sum()),
        "truths_digest": truths.digest(),
        "wsoleval_side": localized.wsoleval.side if localized.wsoleval is not None else None,
        "counts": {name: counts(each) for name, each in by_protocol.items()},
        "rates": {name: rates(each) for name, each in by_protocol.items()},
        "intervals": dict(zip(by_protocol, intervals, strict=False)),
        "strict_at": [
            {
                "name": row.name,
                "thresholds": row.thresholds,
                "counts": counts(each),
                "rates": rates(each),
                "intervals": own,
            }
            for row, each, own in zip(elsewhere, told_elsewhere, intervals[len(by_protocol) :], strict=True)
        ],
        "max_box_acc": oracles,
        "curve": {
            name: {str(t): row.tolist() for t, row in zip(IOU_THRESHOLDS, hits.sum(axis=0), strict=True)}
            for name, hits in (("single", curve.single), ("multiple", curve.multiple))
        },
        "sizes": _by_size(by_protocol["strict"], truths, fixed, image_size),
        "classes": _by_class(by_protocol["strict"], labels, class_names),
        "baselines": baselines,
    }


class _AtThreshold(NamedTuple):
    """A row of the table for `strict` that is not at the fixed threshold."""

    name: str
    thresholds: dict[str, float]
    """By IoU threshold."""
    hits: NDArray[np.bool_]
    """[T, N]."""


def _at_other_thresholds(localized: Localized, threshold: float | None, chosen: Chosen | None) -> list[_AtThreshold]:
    """At the threshold asked for, at those chosen on other images, and at those that are best on these."""
    rows = []
    if localized.given is not None and threshold is not None:
        of_iou = {str(each): threshold for each in IOU_THRESHOLDS}
        rows.append(_AtThreshold("as asked", of_iou, hits_of(localized.given.ious, "strict")))
    found = [(f"chosen on {chosen.images}", chosen.levels)] if chosen is not None else []
    found.append(("oracle: best on these very images", choose(localized.curve, "").levels))
    for name, levels in found:
        of_iou = {str(each): level / (LEVELS - 1) for each, level in zip(IOU_THRESHOLDS, levels.tolist(), strict=True)}
        hits_at = np.stack([localized.curve.single[:, k, level] for k, level in enumerate(levels)])
        rows.append(_AtThreshold(name, of_iou, hits_at))
    return rows


def _intervals(every: Sequence[Outcomes]) -> list[dict[str, Any]]:
    """95 % intervals, in percent, of each of the outcomes' rates, by a bootstrap over images.

    None where all images are alike: resampling cannot tell how far from 0 or 100 % another set would be.
    """
    resampled = resampled_counts(
        np.column_stack([flags for each in every for outcome in each.values() for flags in outcome])
    )
    columns = iter(resampled.T.astype(np.float64))
    found: list[dict[str, Any]] = []
    for each in every:
        found.append({})
        for name, outcome in each.items():
            values = _percent(next(columns), next(columns))
            alike = outcome.succeeded.sum() in (0, outcome.counted.sum())
            found[-1][name] = None if alike else interval(values)
    return found


def _oracles(
    single: NDArray[np.bool_], multiple: NDArray[np.bool_], has_boxes: NDArray[np.bool_]
) -> dict[str, dict[str, Any]]:
    """MaxBoxAcc and its kin from hits bool [N, T, thresholds], and their intervals with the best thresholds held.

    (Choosing them anew in each resample would move the interval up: a maximum is drawn to what chance favours.)
    """
    of_both = [hits.sum(axis=0) for hits in (single, multiple)]
    held = [
        np.take_along_axis(hits, best_levels(numbers)[np.newaxis, :, np.newaxis], axis=2)[:, :, 0]
        for hits, numbers in zip((single, multiple), of_both, strict=True)
    ]
    resampled = resampled_counts(np.column_stack([*held, has_boxes]))[:, :, np.newaxis]
    rows = len(IOU_THRESHOLDS)
    values = max_box_acc(resampled[:, :rows], resampled[:, rows : 2 * rows], resampled[:, -1, 0])
    return {
        "rates": _plain(max_box_acc(of_both[0], of_both[1], has_boxes.sum())),
        # None where all images are alike: resampling them tells nothing.
        "intervals": {name: None if np.ptp(each) == 0 else interval(each) for name, each in values.items()},
    }


def _plain(values: Mapping[str, NDArray[np.float64]]) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else float(value) for name, value in values.items()}


def resampled_counts(flags: NDArray[np.bool_]) -> NDArray[np.float32]:
    """In each of `RESAMPLES` resamples of the N images, how many have each flag: [N, R] -> [RESAMPLES, R]."""
    totals = np.zeros((RESAMPLES, flags.shape[1]), np.float32)
    for start in range(0, len(flags), _IMAGES_AT_ONCE):
        ids = np.arange(start, min(start + _IMAGES_AT_ONCE, len(flags)))
        totals += bootstrap_weights(ids, RESAMPLES) @ flags[ids].astype(np.float32)
    return totals


def _percent(succeeded: NDArray[np.float64], counted: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        return 100 * succeeded / counted


def _by_size(strict: Outcomes, truths: Truths, fixed: Sequence[FixedBox], image_size: int) -> list[dict[str, Any]]:
    """Counts of the images whose object covers up to 10 %, 25 %, ... of them, beside the fixed boxes'."""
    bounds = [0.0, *OBJECT_SIZES, 1.0]
    groups, number = size_groups(truths.object_shares()), len(bounds) - 1
    ours = counts_of_groups(strict, groups, number)
    theirs = {
        each.name: counts_of_groups(
            outcomes(fixed_box_hits(each, truths, image_size, "strict"), truths.has_boxes, None), groups, number
        )
        for each in fixed
    }
    return [
        {
            "share": [bounds[group], bounds[group + 1]],
            "images": int((groups == group).sum()),
            "counts": _of_group(ours, group),
            "baselines": {name: _of_group(each, group) for name, each in theirs.items()},
        }
        for group in range(number)
    ]


def _by_class(strict: Outcomes, labels: NDArray[np.int64] | None, class_names: Sequence[str]) -> list[dict[str, Any]]:
    if labels is None:
        return []
    found = counts_of_groups(strict, labels, len(class_names))
    return [
        {"class": name, "images": int((labels == label).sum()), "counts": _of_group(found, label)}
        for label, name in enumerate(class_names)
    ]


def _of_group(of_groups: Mapping[str, Sequence[Any]], group: int) -> dict[str, Any]:
    return {name: each[group] for name, each in of_groups.items()}
