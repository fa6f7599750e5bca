"""Maps and predictions of N images to the numbers of a report: rates, curves, groups, intervals, baselines.

It does not ask where the maps came from: a run's evaluation and `evaluate --maps` share it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from fastwsol.evaluation.boxes import CurveHits, hits_of, thresholds_by_iou
from fastwsol.evaluation.choe2020 import hits_at_cuts
from fastwsol.evaluation.fixed_boxes import FixedBox, fixed_box_hits, fixed_boxes
from fastwsol.evaluation.maps import Localized, Maps, localize_as_wsoleval, localize_maps
from fastwsol.evaluation.metrics import (
    BEYOND_TOP_5,
    IOU_THRESHOLDS,
    OBJECT_SIZES,
    CamClass,
    Count,
    Outcomes,
    counts,
    counts_of_groups,
    outcomes,
    ranks,
    rates,
    size_groups,
)
from fastwsol.evaluation.per_image import ImageRows
from fastwsol.evaluation.report_types import (
    AtThresholds,
    ClassRow,
    Counts,
    Numbers,
    OracleRates,
    Rates,
    Report,
    SizeRow,
)
from fastwsol.evaluation.resampling import intervals_of, oracles
from fastwsol.evaluation.thresholds import CAM_THRESHOLD, ChosenLevels, ThresholdKind, best_levels
from fastwsol.evaluation.truths import Truths
from fastwsol.host.command_line import image_ticker
from fastwsol.host.environment import environment

REPORT_FORMAT_VERSION = 5


@dataclass(frozen=True)
class EvaluatedImages:
    """N images, what they show, and what was predicted of them."""

    names: Sequence[str]
    truths: Truths
    labels: NDArray[np.int64] | None
    """[N], indices of `classes`; None where they are not known."""
    predicted: NDArray[np.int64] | None
    """[N, up to 5], indices of `classes`, the likeliest first, -1 beyond what is known; None where nothing was
    classified."""
    classes: Sequence[str]
    """As reports name them."""

    @property
    def knows_five(self) -> bool:
        """Whether the first five classes of every image are known (all, where there are fewer)."""
        expected = min(BEYOND_TOP_5, len(self.classes))
        return self.predicted is not None and self.predicted.shape[1] == expected and bool((self.predicted >= 0).all())

    @cached_property
    def ranks(self) -> NDArray[np.int64] | None:
        """The rank of each label among the predicted classes, as `metrics.ranks` gives it; None where nothing is known
        of it.
        """
        if self.labels is None or self.predicted is None:
            return None
        return ranks(self.predicted, self.labels)

    def outcomes(self, hits: NDArray[np.bool_], cam_class: CamClass) -> Outcomes:
        """What happened to each image under every metric, by its hits bool [T, N]."""
        return outcomes(hits, self.truths.has_boxes, self.ranks, cam_class, self.knows_five)


@dataclass(frozen=True)
class Question:
    """What a report is asked for beyond the rates at the fixed threshold."""

    threshold: float | Literal["auto", "box-free", "otsu"] | None = None
    """Another threshold to report at. auto: the one that is best on other images; `measure` is given it. box-free and
    otsu: of localizers alone."""
    wsoleval: bool = False
    """Add the protocol of the older evaluator."""
    cam_class: CamClass = "truth"
    """Whose map is boxed."""

    @property
    def tuning_rule(self) -> Literal["auto", "box-free"] | None:
        """By which rule a threshold is found on other images; None where none is."""
        return self.threshold if self.threshold in ("auto", "box-free") else None

    @property
    def fixed_threshold(self) -> float | None:
        """The threshold, where it is a number."""
        return None if isinstance(self.threshold, str) else self.threshold


NOTHING_MORE = Question()


@dataclass(frozen=True)
class Measurement:
    """The part of a report that is made of maps, predictions and truths; and what it says of each image."""

    numbers: Numbers
    rows: ImageRows
    seconds: dict[str, float]
    """`boxes` and `numbers`."""
    curve: CurveHits

    def report(self, about: Mapping[str, Any], seconds: dict[str, float] | None = None) -> Report:
        """The whole report. about: what it is of, and what else was measured; seconds: of the work before."""
        spent = {name: round(each, 3) for name, each in ((seconds or {}) | self.seconds).items()}
        whole = {"format_version": REPORT_FORMAT_VERSION, **about, **self.numbers, "seconds": spent, **environment()}
        return cast(Report, whole)


def measure(
    images: EvaluatedImages,
    maps: Maps,
    question: Question,
    train: Truths | None,
    chosen: ChosenLevels | None = None,
    threads: int = 1,
) -> Measurement:
    """Box the maps of `images`, and count.

    train: of the training images, which fixed boxes are found on; None or without boxes: the whole image alone. chosen:
    levels chosen on other images. threads: of the older evaluator's part. Raises UserError where a map cannot be had.
    """
    start = time.perf_counter()
    truths = images.truths
    ticker = image_ticker("boxes", len(truths))
    localized = localize_maps(maps, truths, question.fixed_threshold, ticker.update)
    ticker.close()
    if question.wsoleval:
        ticker = image_ticker("wsoleval", len(truths))
        localized = localize_as_wsoleval(localized, maps, truths, threads, ticker.update)
        ticker.close()
    boxed = time.perf_counter()
    numbers = numbers_of(images, localized, question, fixed_boxes(train, maps.square), maps.square, chosen)
    rows = ImageRows.of(
        images.names, images.classes, images.labels, images.predicted, np.diff(truths.offsets), localized.boxes
    )
    seconds = {"boxes": boxed - start, "numbers": time.perf_counter() - boxed}
    return Measurement(numbers, rows, seconds, localized.curve)


def numbers_of(
    images: EvaluatedImages,
    localized: Localized,
    question: Question,
    fixed: Sequence[FixedBox],
    square: int,
    chosen: ChosenLevels | None = None,
) -> Numbers:
    """The part of a report that is made of maps, predictions and truths (docs/evaluating.md).

    square: the side of the square that the `fixed` boxes are in.
    """
    truths, cam_class = images.truths, question.cam_class
    by_protocol = {name: images.outcomes(hits_of(each.ious, name), cam_class) for name, each in localized.boxes.items()}
    elsewhere = _at_other_thresholds(localized, question.fixed_threshold, chosen)
    outcomes_elsewhere = [images.outcomes(each.hits, cam_class) for each in elsewhere]
    intervals = intervals_of([*by_protocol.values(), *outcomes_elsewhere])

    def rates_of(box: FixedBox) -> dict[str, Rates]:
        hit = {name: fixed_box_hits(box, truths, square, name, localized.wsoleval) for name in by_protocol}
        return {name: rates(images.outcomes(each, cam_class)) for name, each in hit.items()}

    return {
        "cam_class": cam_class,
        "cam_threshold": CAM_THRESHOLD,
        "square": square,
        "images": len(truths),
        "images_with_boxes": int(truths.has_boxes.sum()),
        "images_cut": truths.images_cut,
        "truths_digest": truths.digest(),
        "wsoleval_side": localized.wsoleval.side if localized.wsoleval is not None else None,
        "counts": {name: counts(each) for name, each in by_protocol.items()},
        "rates": {name: rates(each) for name, each in by_protocol.items()},
        "intervals": dict(zip(by_protocol, intervals, strict=False)),
        "strict_at": [
            AtThresholds(
                kind=row.kind,
                name=row.name,
                thresholds=row.thresholds,
                counts=counts(each),
                rates=rates(each),
                intervals=own,
            )
            for row, each, own in zip(elsewhere, outcomes_elsewhere, intervals[len(by_protocol) :], strict=True)
        ],
        "max_box_acc": _best_possible(localized, truths),
        "curve": localized.curve.counts(),
        "sizes": _by_size(by_protocol["strict"], truths, fixed, square),
        "classes": counts_by_class(by_protocol["strict"], images.labels, images.classes),
        "baselines": [{**each.as_json(), "rates": rates_of(each)} for each in fixed],
    }


def _best_possible(localized: Localized, truths: Truths) -> dict[str, OracleRates]:
    """The oracles under each protocol that has them."""
    of_protocol = {"strict": oracles(localized.curve.single, localized.curve.multiple, truths.has_boxes)}
    if localized.wsoleval is not None:
        of_protocol["wsoleval"] = oracles(*hits_at_cuts(localized.wsoleval, IOU_THRESHOLDS), truths.has_boxes)
    return of_protocol


class _AtThreshold(NamedTuple):
    """A row of the table for `strict` that is not at the fixed threshold."""

    kind: ThresholdKind
    name: str
    thresholds: dict[str, float]
    """By IoU threshold."""
    hits: NDArray[np.bool_]
    """[T, N]."""


def _at_other_thresholds(
    localized: Localized, threshold: float | None, chosen: ChosenLevels | None
) -> list[_AtThreshold]:
    """At the threshold asked for, at those chosen on other images, and at those that are best on these."""
    rows = []
    if localized.at_asked is not None and threshold is not None:
        of_iou = {str(each): threshold for each in IOU_THRESHOLDS}
        rows.append(_AtThreshold("asked", "as asked", of_iou, hits_of(localized.at_asked.ious, "strict")))
    if chosen is not None:
        rows.append(_at_levels("chosen", f"chosen on {chosen.images}", localized, chosen.levels))
    best = best_levels(localized.curve.single.sum(axis=0))
    return [*rows, _at_levels("oracle", "oracle: best on these very images", localized, best)]


def _at_levels(kind: ThresholdKind, name: str, localized: Localized, levels: NDArray[np.int64]) -> _AtThreshold:
    return _AtThreshold(kind, name, thresholds_by_iou(levels), hits_at_levels(localized.curve.single, levels))


def hits_at_levels(single: NDArray[np.bool_], levels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The hits [T, N] at one level for each IoU threshold, of hits [N, T, LEVELS]."""
    return np.stack([single[:, k, level] for k, level in enumerate(levels)])


def counts_by_size(strict: Outcomes, truths: Truths) -> list[SizeRow]:
    """Counts of the images whose object covers up to 10 %, 25 %, ... of them."""
    bounds = [0.0, *OBJECT_SIZES, 1.0]
    groups, number = size_groups(truths.object_shares()), len(bounds) - 1
    ours = counts_of_groups(strict, groups, number)
    return [
        {
            "share": [bounds[group], bounds[group + 1]],
            "images": int((groups == group).sum()),
            "counts": _of_group(ours, group),
        }
        for group in range(number)
    ]


def _by_size(strict: Outcomes, truths: Truths, fixed: Sequence[FixedBox], square: int) -> list[SizeRow]:
    """The same beside the fixed boxes' counts."""
    rows = counts_by_size(strict, truths)
    groups, number = size_groups(truths.object_shares()), len(rows)
    theirs = {
        each.key: counts_of_groups(
            outcomes(fixed_box_hits(each, truths, square, "strict"), truths.has_boxes, None), groups, number
        )
        for each in fixed
    }
    for group, row in enumerate(rows):
        row["baselines"] = {key: _of_group(each, group) for key, each in theirs.items()}
    return rows


def counts_by_class(strict: Outcomes, labels: NDArray[np.int64] | None, class_names: Sequence[str]) -> list[ClassRow]:
    """Counts of the images of each class; nothing where labels are not known."""
    if labels is None:
        return []
    counts = counts_of_groups(strict, labels, len(class_names))
    return [
        {"class": name, "images": int((labels == label).sum()), "counts": _of_group(counts, label)}
        for label, name in enumerate(class_names)
    ]


def _of_group(of_groups: Mapping[str, Sequence[Count]], group: int) -> Counts:
    return {name: each[group] for name, each in of_groups.items()}
