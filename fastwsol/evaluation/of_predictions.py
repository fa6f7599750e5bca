"""How good predictions are, by reviewed images: a review's export, or anyone's boxes in COCO's JSON.

A review's random sample gives the share of all images whose class and box were accepted, with its interval. Boxes that
were drawn without the predicted one in sight are ground truth; those that were mended after it was seen, and those that
were merely accepted, are not quite: a box that is shown anchors the eye, so their rates are upper bounds.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import kernels
from fastwsol.evaluation.certainty import (
    LEAST_OF_EACH,
    best_object,
    certainty_inputs,
    certainty_numbers,
    cross_fitted_chances,
    fit_chances,
    share_interval,
    uncalibrated,
)
from fastwsol.evaluation.report_types import BoxCounts, Certainty, PredictionsReport, Sample
from fastwsol.evaluation.reviewed import KnownImages, known_images
from fastwsol.evaluation.thresholds import BY_BOXES
from fastwsol.formats.labelled_images import GIVEN_CLASS, GIVEN_CLASSES, About, LabelledImage, Skipped
from fastwsol.formats.of_coco import labelled_images, read_predictions
from fastwsol.host.environment import environment
from fastwsol.sources.boxes import Box
from fastwsol.sources.known_boxes import read_known_boxes

IOU = 0.5
"""Of a box that is right."""


@dataclass(frozen=True)
class Judgements:
    """What became of the n reviewed images."""

    right: NDArray[np.bool_]
    """Whether class and box of the best object are right: [n]."""
    class_right: NDArray[np.bool_]
    """[n]."""
    ious: NDArray[np.float64]
    """The best object's best IoU with a known box: [n], NaN without any."""
    whole: NDArray[np.float64]
    """That of the whole image: [n], likewise."""


@dataclass(frozen=True)
class Judged:
    """The report's numbers, and the predictions with calibrated certainties, where there were enough images."""

    report: PredictionsReport
    calibrated: list[LabelledImage | Skipped] | None
    about: About


def judge(predictions: Sequence[Path], reviewed: Path) -> Judged:
    """How good predictions are, by a file of reviewed images.

    Raises UserError where either cannot be read, or no image is in both.
    """
    files, about = read_predictions(predictions)
    every = [*labelled_images(files, about.classes)]
    images = [each for each in every if isinstance(each, LabelledImage)]
    known = known_images(images, about, read_known_boxes(reviewed, f"--reviewed {reviewed}"))
    judgements = judge_images(images, known)
    classes_given = GIVEN_CLASSES in about.model or GIVEN_CLASS in about.model
    certainties, certainty = _calibrated(images, known, judgements, reviewed.name)
    labels = {each.label for image in known.images for each in image.objects}
    if certainties is not None and len(labels) == 1 and len(about.classes) > 1 and min(labels) >= 0:
        certainty["of_one_class"] = about.classes[min(labels)].name
    report: PredictionsReport = {
        "format_version": 2,
        "predictions": [path.name for path in predictions],
        "reviewed": reviewed.name,
        "images": len(images),
        "looked_at": len(known.images),
        "not_predicted": known.not_predicted,
        "without_box": known.without_box,
        "boxes_of_other_classes": dict(known.other_classes),
        "cut_on_these": f" of {reviewed.name}, {BY_BOXES}" in about.model,
        "verdicts": dict(Counter(each.kind for each in known.images)),
        "sample": _sample(known, len(images)),
        "boxes": _box_counts(known, judgements, classes_given),
        "classes_given": classes_given,
        "model": about.model,
        "certainty": certainty,
        **environment(),
    }
    if certainties is None:
        return Judged(report, None, about)
    sure = iter(certainties.tolist())
    calibrated = [each if isinstance(each, Skipped) else _with_certainty(each, next(sure)) for each in every]
    return Judged(report, calibrated, replace(about, calibrated_on=certainty["calibrated_on"]))


def judge_images(images: Sequence[LabelledImage], known: KnownImages) -> Judgements:
    """The judgements of predicted images, all of them given, that are known."""
    right, class_right, ious, whole = [], [], [], []
    for place, truth in zip(known.places, known.images, strict=True):
        image = images[place]
        best, boxes = best_object(image), [each.box for each in truth.objects]
        whole.append(_iou((0, 0, image.width, image.height), boxes) if boxes else np.nan)
        if truth.kind == "rejected":
            right.append(False)
            class_right.append(truth.wrong == "box")
            ious.append(np.nan if truth.wrong is None else float(truth.wrong == "class" and best is not None))
        elif best is None:
            right.append(False)
            class_right.append(image.label is not None and image.label in {each.label for each in truth.objects})
            ious.append(0.0 if boxes else np.nan)
        else:
            of_class = [each.box for each in truth.objects if each.label == best.label]
            right.append(_iou(best.box, of_class) >= IOU)
            class_right.append(bool(of_class))
            ious.append(_iou(best.box, boxes) if boxes else np.nan)
    return Judgements(*map(np.array, (right, class_right)), *(np.array(each, np.float64) for each in (ious, whole)))


def _iou(box: Box, others: Sequence[Box]) -> float:
    """The best IoU of a box with others; 0 where there are none."""
    if not others:
        return 0.0
    offsets = np.array([0, len(others)], np.int64)
    return float(kernels.best_iou(np.array([box], np.float32), np.array(others, np.float32), offsets)[0])


def _sample(known: KnownImages, images: int) -> Sample | None:
    """The share of a review's random sample that was accepted; an interval only where all of it was reviewed, and it
    is not all `images`.
    """
    of_sample = [each.kind for each in known.images if each.phase == "sample"]
    size = int(known.phases.get("sample", 0))
    if not size:
        return None
    accepted = of_sample.count("accepted")
    whole = len(of_sample) == size
    return {
        "size": size,
        "looked_at": len(of_sample),
        "accepted": accepted,
        "share": accepted / len(of_sample) if of_sample else None,
        "interval": share_interval(accepted, size, images) if whole and size < images else None,
    }


def _box_counts(known: KnownImages, judgements: Judgements, classes_given: bool) -> dict[str, BoxCounts]:
    """Predicted Loc, Top-1 Clas and Top-1 Loc, in counts: of ground truth, and beside it the box that needs no network,
    the whole image; of boxes drawn without help; of those of the sample that were redrawn after the predicted one was
    seen; and of the whole sample, where an accepted image is a hit at each IoU, an upper bound. A rejected image is a
    miss in Top-1 Loc, and in the other rates where its class or its box was called wrong (of a class alone its box is a
    hit); where nobody said which, those rates are None. Where classes were given, which is no merit of the network, the
    rates that count them are None.
    """
    sample = known.in_phase("sample")
    redrawn = np.array([each.kind == "corrected" and not each.boxes_kept for each in known.images], np.bool_)
    groups = {
        "boxes": known.of("boxes"),
        "drawn": known.in_phase("drawn") & known.of("drawn"),
        "redrawn": sample & redrawn,
        "sample": sample,
    }
    found: dict[str, BoxCounts] = {}
    for name, rows in groups.items():
        if rows.any():
            unknown = known.of_unknown_fault[rows].any()
            found[name] = {
                "images": int(rows.sum()),
                "top1_clas": None if unknown or classes_given else int(judgements.class_right[rows].sum()),
                "predicted_loc@0.5": None if unknown else int((judgements.ious[rows] >= 0.5).sum()),
                "predicted_loc@0.7": None if unknown else int((judgements.ious[rows] >= 0.7).sum()),
                "top1_loc@0.5": None if classes_given else int(judgements.right[rows].sum()),
            }
    if (rows := groups["boxes"]).any():
        found["whole-image"] = {
            "images": int(rows.sum()),
            "top1_clas": None,
            "predicted_loc@0.5": int((judgements.whole[rows] >= 0.5).sum()),
            "predicted_loc@0.7": int((judgements.whole[rows] >= 0.7).sum()),
            "top1_loc@0.5": None,
        }
    return found


def _calibrated(
    images: Sequence[LabelledImage], known: KnownImages, judgements: Judgements, reviewed: str
) -> tuple[NDArray[np.float64] | None, Certainty]:
    """The certainty of every image, [N], None where too few images were reviewed; and what the report says of it."""
    rows = np.flatnonzero(known.by_chance)
    right = judgements.right[rows]
    found = certainty_inputs(images)
    of_known = found[known.places[rows]]
    plain = np.array([uncalibrated(images[place]) for place in known.places[rows]])
    certainty: Certainty = {"uncalibrated": certainty_numbers(plain, right) if len(rows) else None}
    good, bad = int(right.sum()), int((~right).sum())
    of_whom = "of the images drawn at random" if known.phases else "of the images with known boxes"
    if min(good, bad) < LEAST_OF_EACH:
        certainty["why_not"] = f"{of_whom} {good} are right and {bad} wrong, and {LEAST_OF_EACH} of each are needed"
        return None, certainty
    unseen = cross_fitted_chances(of_known, right)
    certainty["calibrated"] = calibrated = certainty_numbers(unseen, right)
    assert calibrated["auroc"] is not None  # some are right, some wrong
    if calibrated["auroc"] <= 0.5:
        certainty["why_not"] = "fitted, they tell right from wrong no better than chance does; look at more images"
        return None, certainty
    certainty["calibrated_on"] = f"{len(rows)} images of {reviewed}, each by a fit to the others"
    with_signals = any(each.signals is not None for image in images for each in image.objects)
    certainty["made_of"] = "score and agreement of other looks" if with_signals else "score"
    chances = fit_chances(of_known, right)(found)
    chances[known.places[rows]] = unseen
    return chances, certainty


def _with_certainty(image: LabelledImage, certainty: float) -> LabelledImage:
    """The image with its certainty noted with its best object."""
    best = best_object(image)
    objects = tuple(replace(each, certainty=certainty) if each is best else each for each in image.objects)
    return replace(image, objects=objects)
