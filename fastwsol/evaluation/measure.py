"""Maps and predictions of N images to the numbers of a report: rates, curves, groups, intervals, baselines.

It does not ask where the maps came from: a run's evaluation and `evaluate --maps` share it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import kernels
from fastwsol.evaluation.boxes import hits_of
from fastwsol.evaluation.evaluated_images import EvaluatedImages
from fastwsol.evaluation.fixed_boxes import FixedBox, fixed_box_hits, fixed_boxes
from fastwsol.evaluation.maps import Localized, localize_as_wsoleval, localize_maps
from fastwsol.evaluation.metrics import IOU_THRESHOLDS, CamClass, counts, outcomes, rates
from fastwsol.evaluation.of_localizer import CutMaps, counts_by_size, localizer_row
from fastwsol.evaluation.per_image import ImageRows
from fastwsol.evaluation.question import NOTHING_MORE, Question
from fastwsol.evaluation.report_rows import ReportRows, uses_papers_threshold
from fastwsol.evaluation.report_types import REPORT_FORMAT_VERSION, Baseline, Making, Numbers
from fastwsol.evaluation.resampling import intervals_of
from fastwsol.evaluation.thresholds import CAM_THRESHOLD
from fastwsol.evaluation.truths import Truths
from fastwsol.host.environment import environment
from fastwsol.host.ticker import image_ticker


@dataclass(frozen=True)
class Measurement:
    """The part of a report that is made of maps, predictions and truths; and what it says of each image."""

    numbers: Numbers
    rows: ReportRows
    thresholds: dict[str, kernels.Thresholds]
    """By localizer, where its maps are cut: one number, or one an image, [N]."""
    seconds: dict[str, float]
    """`boxes` and `numbers`."""

    def making(self, threads: int, seconds: Mapping[str, float]) -> Making:
        """How the report is made, in which this measurement's numbers stand. seconds: by phase, of all other work."""
        spent = {name: round(each, 3) for name, each in {**seconds, **self.seconds}.items()}
        return {"format_version": REPORT_FORMAT_VERSION, "threads": threads, "seconds": spent, **environment()}


def measure(
    images: EvaluatedImages,
    localizers: Sequence[CutMaps],
    question: Question = NOTHING_MORE,
    train: Truths | None = None,
    threads: int = 1,
) -> Measurement:
    """Box the maps of `images`, of one localizer or several, and count. The first one is also measured at
    `CAM_THRESHOLD`, the paper's, under every protocol.

    train: of the training images, which fixed boxes are found on; None or without boxes: the whole image alone.
    threads: of the older evaluator's part. Raises UserError where a map cannot be had.
    """
    start = time.perf_counter()
    truths, first = images.truths, localizers[0]
    found: dict[str, Localized] = {}
    for each in localizers:
        with image_ticker(f"boxes of {each.name}", len(truths)) as ticker:
            localized = localize_maps(each.maps, truths, each.cut.value, each is first, ticker.update)
        if question.wsoleval:
            with image_ticker(f"wsoleval of {each.name}", len(truths)) as ticker:
                localized = localize_as_wsoleval(localized, each.maps, truths, threads, ticker.update)
        found[each.name] = localized
    boxed = time.perf_counter()
    fixed = fixed_boxes(train, first.maps.square)
    numbers = _numbers(images, found[first.name], question.cam_class, fixed, first.maps.square)
    best_boxes = {
        at: fixed_box_hits(box, truths, first.maps.square, "strict")[IOU_THRESHOLDS.index(at)]
        for box in fixed
        if (at := box.iou_threshold) is not None
    }
    numbers["localizers"] = [
        localizer_row(each, found[each.name], images, question.cam_class, best_boxes) for each in localizers
    ]

    at_cuts = {
        each.name: ImageRows.of(images, {"strict": found[each.name].at_cut}, found[each.name].best_hits)
        for each in localizers
        if not uses_papers_threshold(numbers, each.name)
    }
    best = None if first.name in at_cuts else found[first.name].best_hits
    rows = ReportRows(ImageRows.of(images, found[first.name].boxes, best), at_cuts)
    thresholds = {
        each.name: found[each.name].thresholds if each.cut.value is None else each.cut.value for each in localizers
    }
    seconds = {"boxes": boxed - start, "numbers": time.perf_counter() - boxed}
    return Measurement(numbers, rows, thresholds, seconds)


def _numbers(
    images: EvaluatedImages, at_fixed: Localized, cam_class: CamClass, fixed: Sequence[FixedBox], square: int
) -> Numbers:
    """What stands at the top of a report, without a localizer yet (docs/evaluating.md).

    at_fixed: has the boxes at the fixed threshold; square: the side of the square that the `fixed` boxes are in.
    """
    truths, sweep = images.truths, at_fixed.wsoleval
    of_protocol = {name: images.outcomes(hits_of(each.ious, name), cam_class) for name, each in at_fixed.boxes.items()}

    def baseline(box: FixedBox) -> Baseline:
        hits = {name: fixed_box_hits(box, truths, square, name, sweep) for name in of_protocol}
        localized = outcomes(hits["strict"], truths.has_boxes, None)
        return {
            **box.as_json(),
            "rates": {name: rates(images.outcomes(each, cam_class)) for name, each in hits.items()},
            "sizes": counts_by_size(localized, truths),
        }

    return {
        "cam_class": cam_class,
        "cam_threshold": CAM_THRESHOLD,
        "square": square,
        "classes": len(images.classes) if images.labels is not None else 0,
        "images": len(truths),
        "images_with_boxes": int(truths.has_boxes.sum()),
        "images_cut": truths.images_cut,
        "truths_digest": truths.digest(),
        "wsoleval_side": sweep.side if sweep is not None else None,
        "counts": {name: counts(each) for name, each in of_protocol.items()},
        "rates": {name: rates(each) for name, each in of_protocol.items()},
        "intervals": dict(zip(of_protocol, intervals_of([*of_protocol.values()]), strict=True)),
        "localizers": [],
        "baselines": [baseline(each) for each in fixed],
    }
