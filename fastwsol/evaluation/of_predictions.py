"""How good predictions are, by images that somebody has looked at: a review's export, or anyone's boxes in COCO's JSON.

A review's random sample gives the share of all images whose class and box were accepted, with its interval. Boxes that
were drawn without the predicted one in sight are ground truth; those that were mended after it was seen, and those that
were merely accepted, are not quite: a box that is shown anchors the eye, so their rates are upper bounds.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

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
from fastwsol.evaluation.thresholds import BY_BOXES
from fastwsol.formats.labelled_images import GIVEN_CLASS, GIVEN_CLASSES, About, LabelledImage, Skipped
from fastwsol.formats.of_coco import labelled_images, read_predictions
from fastwsol.host.environment import environment
from fastwsol.host.errors import UserError
from fastwsol.sources.coco_json import CORRECT, CocoAnnotation, CocoFile, Phase, Verdict
from fastwsol.sources.known_boxes import image_finder, names_of_both, read_known_boxes

Known = Verdict | Literal["boxes"]
"""What is known of an image: what a review says, or boxes from elsewhere."""
Wrong = Literal["class", "box", "both"]
"""What is wrong with the best object of a rejected image."""

IOU = 0.5
"""Of a box that is right."""


@dataclass(frozen=True)
class Truth:
    """What is known of an image: objects as labels of the predictions' classes, -1 for another class, and boxes."""

    kind: Known
    phase: Phase | None
    """Of a review."""
    objects: tuple[tuple[int, tuple[float, float, float, float]], ...]
    boxes_kept: bool = True
    """Whether the boxes are those predicted, of a corrected image."""
    wrong: Wrong | None = None
    """Of a rejected image, where it was said."""


@dataclass
class Looked:
    """The images that were looked at: their places among the predictions [n], what is known of them, whether class and
    box of the best object are right [n], whether its class is, and its best IoU with a known box (NaN without any).
    """

    places: NDArray[np.int64]
    truths: list[Truth]
    right: NDArray[np.bool_]
    class_right: NDArray[np.bool_]
    ious: NDArray[np.float64]
    phases: Mapping[str, int] = field(default_factory=dict)
    """How many images a review has in each phase."""
    not_predicted: int = 0
    """How many images of the file are none of the predictions'."""
    without_box: int = 0
    """How many of the predicted images the file knows without a box that counts: they are not looked at."""
    other_classes: Mapping[str, int] = field(default_factory=dict)
    """How many known boxes are of each class that is none of the predictions'."""
    whole: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    """The best IoU of each whole image with a known box [n]."""

    def of(self, *kinds: Known) -> NDArray[np.bool_]:
        """Which are of these kinds."""
        return np.array([each.kind in kinds for each in self.truths], np.bool_)

    def in_phase(self, *phases: Phase) -> NDArray[np.bool_]:
        """Which were looked at in these phases."""
        return np.array([each.phase in phases for each in self.truths], np.bool_)

    @property
    def of_unknown_fault(self) -> NDArray[np.bool_]:
        """Which were rejected without a word whether class or box is wrong."""
        return np.array([each.kind == "rejected" and each.wrong is None for each in self.truths], np.bool_)

    @property
    def by_chance(self) -> NDArray[np.bool_]:
        """Which were drawn from all images, not chosen for their certainty, and judged: a rejection of an image whose
        box was not shown says nothing of that.
        """
        return ~self.in_phase("uncertain") & ~(self.in_phase("drawn") & self.of("rejected"))


@dataclass(frozen=True)
class Judged:
    """The report's numbers, and the predictions with calibrated certainties, where there were enough images."""

    report: PredictionsReport
    calibrated: list[LabelledImage | Skipped] | None
    about: About


def judge(predictions: Sequence[Path], reviewed: Path) -> Judged:
    """How good predictions are, by a file of looked-at images.

    Raises UserError where either cannot be read, or no image is in both.
    """
    files, about = read_predictions(predictions)
    every = [*labelled_images(files, about.classes)]
    images = [each for each in every if isinstance(each, LabelledImage)]
    looked = looked_at(images, about, read_known_boxes(reviewed, f"--reviewed {reviewed}"))
    classes_given = GIVEN_CLASSES in about.model or GIVEN_CLASS in about.model
    certainties, certainty = _calibrated(images, looked, reviewed.name)
    known = {label for truth in looked.truths for label, _ in truth.objects}
    if certainties is not None and len(known) == 1 and len(about.classes) > 1 and min(known) >= 0:
        certainty["of_one_class"] = about.classes[min(known)].name
    report: PredictionsReport = {
        "format_version": 2,
        "predictions": [path.name for path in predictions],
        "reviewed": reviewed.name,
        "images": len(images),
        "looked_at": len(looked.truths),
        "not_predicted": looked.not_predicted,
        "without_box": looked.without_box,
        "boxes_of_other_classes": dict(looked.other_classes),
        "cut_on_these": f" of {reviewed.name}, {BY_BOXES}" in about.model,
        "verdicts": dict(Counter(each.kind for each in looked.truths)),
        "sample": _sample(looked, len(images)),
        "boxes": _box_counts(looked, classes_given),
        "classes_given": classes_given,
        "model": about.model,
        "certainty": certainty,
        **environment(),  # type: ignore[typeddict-item]
    }
    if certainties is None:
        return Judged(report, None, about)
    sure = iter(certainties.tolist())
    calibrated = [each if isinstance(each, Skipped) else _with_certainty(each, next(sure)) for each in every]
    return Judged(report, calibrated, replace(about, calibrated_on=certainty["calibrated_on"]))


def looked_at(images: Sequence[LabelledImage], about: About, file: CocoFile) -> Looked:
    """The images that a file knows, beside their predictions.

    Raises UserError where there is none, where the two share no class, where an image is of another size in each, or
    where a review was of other predictions.
    """
    place_of = {image.name: place for place, image in enumerate(images)}
    find = image_finder(place_of, file, f"--reviewed {file.path}")
    label_of = _labels_of(about, file)
    phases = _phases(file)
    of_image = _known_boxes(file, is_review=phases is not None)
    truths: dict[int, Truth] = {}
    seen: list[Any] = []
    not_predicted = without_box = 0
    for number, image in file.images.items():
        name = find(image.name)
        if name is None:
            not_predicted += 1
            continue
        place = place_of[name]
        predicted = images[place]
        if place in truths:
            raise UserError(f"{image.where}: {image.name!r:.80} is listed twice; give each image once")
        if image.size not in (None, (predicted.width, predicted.height)):
            raise UserError(
                f"{image.where}: {image.name!r:.80} has {image.size} pixels, and {predicted.width}x{predicted.height} "
                f"were predicted; give what is known of these very images"
            )
        objects = tuple(
            (-1 if each.category is None else label_of.get(each.category.wnid, -1), each.box)
            for each in of_image.get(number, [])
        )
        truth = Truth("boxes", None, objects)
        if phases is not None:
            truth = _of_review(image.review, objects, predicted, image.where)
        elif not objects:
            without_box += 1
            continue
        truths[place] = truth
        seen.append(number)
    if not truths:
        raise UserError(
            f"--reviewed {file.path}: none of its images is among the predictions{names_of_both(file, [*place_of])}; "
            f"give what was exported of these predictions' review, or boxes under the same names"
        )
    truths = dict(sorted(truths.items()))  # certainties are fitted to parts of them, whatever the file's order
    looked = _compared([images[place] for place in truths], np.array([*truths]), [*truths.values()], phases or {})
    looked = replace(looked, not_predicted=not_predicted, without_box=without_box)
    others = _other_classes(of_image, seen, label_of)
    whole = _of_whole_images(images, looked)
    return replace(looked, other_classes=others, whole=whole)


def _other_classes(
    of_image: Mapping[Any, Sequence[CocoAnnotation]], seen: Collection[Any], label_of: Mapping[str, int]
) -> dict[str, int]:
    """How many boxes are of each class that is none of the predictions', in the images `seen`."""
    named = (each.category for image in seen for each in of_image.get(image, []) if each.category is not None)
    return dict(Counter(one.name for one in named if label_of.get(one.wnid, -1) < 0))


def _of_whole_images(images: Sequence[LabelledImage], looked: "Looked") -> NDArray[np.float64]:
    """The best IoU of the whole image with a known box, of each that was looked at, [n]; NaN without a box."""
    sizes = [(images[place].width, images[place].height) for place in looked.places]
    boxes = [[box for _, box in truth.objects] for truth in looked.truths]
    whole = [
        _iou((0, 0, width, height), each) if each else np.nan
        for (width, height), each in zip(sizes, boxes, strict=True)
    ]
    return np.array(whole, np.float64)


def _known_boxes(file: CocoFile, is_review: bool) -> dict[Any, list[CocoAnnotation]]:
    """A file's boxes, but for crowds and difficult ones, by their image's id. Raises UserError where they are
    predictions.
    """
    of_image: dict[Any, list[CocoAnnotation]] = defaultdict(list)
    for each in file.annotations():
        if not is_review and ("score" in each.fields or file.content.get("predicted")):
            raise UserError(
                f"--reviewed {file.path}: its boxes have scores, so they are predictions and no review; give what the "
                f"page exported, or known boxes (perhaps the two files are the wrong way round)"
            )
        if each.counts:
            of_image[each.image_id].append(each)
    return of_image


def _labels_of(about: About, file: CocoFile) -> dict[str, int]:
    """The predictions' labels of a file's classes, by wnid: those of the same wnid, else of the same name."""
    by_wnid = {one.wnid: label for label, one in enumerate(about.classes)}
    by_name = {one.name: label for label, one in enumerate(about.classes)}
    if not file.categories and file.path.suffix.lower() == ".csv":
        raise UserError(f"--reviewed {file.path}: has no column label; give each box the name of its class there")
    found = {one.wnid: by_wnid.get(one.wnid, by_name.get(one.name, -1)) for one in file.categories.values()}
    ours = {name.casefold(): name for name in (*by_name, *by_wnid)}
    for one in file.categories.values():
        if found[one.wnid] < 0 and (like := ours.get(one.name.casefold())) is not None:
            raise UserError(
                f"--reviewed {file.path}: {one.name!r:.60} is the predictions' class {like!r:.60} but for case; write "
                f"both alike"
            )
    if all(label < 0 for label in found.values()):
        named = ", ".join([*found][:3]) or "none"
        raise UserError(
            f"--reviewed {file.path}: its categories ({named}) are none of the predictions' classes "
            f"({', '.join([*by_wnid][:3])}); name classes alike in both"
        )
    return found


def _phases(file: CocoFile) -> dict[str, int] | None:
    """How many images a review has in each phase; None where the file is no review's."""
    info = file.content.get("info")
    review = info.get("review") if isinstance(info, dict) else None
    if review is None:
        return None
    phases = review.get("phases") if isinstance(review, dict) else None
    if isinstance(phases, dict) and all(type(each) is int for each in phases.values()):
        return phases
    raise UserError(f"--reviewed {file.path}: its review has no phases; give the file that the page exported")


def _of_review(
    said: Mapping[str, Any],
    objects: tuple[tuple[int, tuple[float, float, float, float]], ...],
    image: LabelledImage,
    where: str,
) -> Truth:
    verdict, phase = said.get("verdict"), said.get("phase")
    if verdict not in get_args(Verdict) or phase not in get_args(Phase):
        raise UserError(f"{where}: its review is {dict(said)!r:.60}, no verdict and phase; {CORRECT}")
    wrong = said.get("wrong")
    if wrong is not None and (wrong not in get_args(Wrong) or verdict != "rejected"):
        raise UserError(
            f"{where}: its review says that {wrong!r:.40} is wrong, and the image is {verdict}; class, box or both may "
            f"be wrong, of a rejected one; {CORRECT}"
        )
    _refuse_other_predictions(said.get("predicted"), image, where)
    predicted = [each.box for each in image.objects]
    boxes_kept = len(objects) == len(predicted) and bool(
        np.allclose([box for _, box in objects] or 0, predicted or 0, atol=1e-3)
    )
    return Truth(cast(Verdict, verdict), cast(Phase, phase), objects, boxes_kept, cast(Wrong | None, wrong))


def _refuse_other_predictions(said: Any, image: LabelledImage, where: str) -> None:
    """Raise UserError where what a review says was predicted of an image is not what the predictions say."""
    ours = [[each.label + 1, *each.box] for each in image.objects]
    try:
        theirs = [
            [each["category_id"], x, y, x + width, y + height]
            for each in said
            for x, y, width, height in [each["bbox"]]
        ]
        same = len(ours) == len(theirs) and bool(np.allclose(ours or 0.0, theirs or 0.0, atol=0.01))
    except (KeyError, TypeError, ValueError):
        same = False
    if not same:
        raise UserError(
            f"{where}: {image.name!r:.80} was reviewed with other predictions than these; give those that the page was "
            f"made of, or review these"
        )


def _compared(
    images: Sequence[LabelledImage], places: NDArray[np.int64], truths: list[Truth], phases: Mapping[str, int]
) -> Looked:
    right, class_right, ious = [], [], []
    for image, truth in zip(images, truths, strict=True):
        best = best_object(image)
        if truth.kind == "rejected":
            right.append(False)
            class_right.append(truth.wrong == "box")
            ious.append(np.nan if truth.wrong is None else float(truth.wrong == "class" and best is not None))
            continue
        if best is None:
            right.append(False)
            class_right.append(image.label is not None and image.label in {label for label, _ in truth.objects})
            ious.append(0.0 if truth.objects else np.nan)
            continue
        of_class = [box for label, box in truth.objects if label == best.label]
        every = [box for _, box in truth.objects]
        class_right.append(bool(of_class))
        right.append(_iou(best.box, of_class) >= IOU)
        ious.append(_iou(best.box, every) if every else np.nan)
    return Looked(places, truths, np.array(right), np.array(class_right), np.array(ious, np.float64), phases)


def _iou(box: tuple[float, float, float, float], others: Sequence[tuple[float, float, float, float]]) -> float:
    """The best IoU of a box with others; 0 where there are none."""
    if not others:
        return 0.0
    offsets = np.array([0, len(others)], np.int64)
    return float(kernels.best_iou(np.array([box], np.float32), np.array(others, np.float32), offsets)[0])


def _sample(looked: Looked, images: int) -> Sample | None:
    """The share of a review's random sample that was accepted; an interval only where all of it was looked at, and it
    is not all `images`.
    """
    of_sample = [each.kind for each in looked.truths if each.phase == "sample"]
    size = int(looked.phases.get("sample", 0))
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


def _box_counts(looked: Looked, classes_given: bool) -> dict[str, BoxCounts]:
    """Predicted Loc, Top-1 Clas and Top-1 Loc, in counts: of ground truth, and beside it the box that needs no network,
    the whole image; of boxes drawn without help; of those of the sample that were redrawn after the predicted one was
    seen; and of the whole sample, where an accepted image is a hit at each IoU, an upper bound. A rejected image is a
    miss in Top-1 Loc, and in the other rates where its class or its box was called wrong (of a class alone its box is a
    hit); where nobody said which, those rates are None. Where classes were given, which is no merit of the network, the
    rates that count them are None.
    """
    sample = looked.in_phase("sample")
    redrawn = np.array([each.kind == "corrected" and not each.boxes_kept for each in looked.truths], np.bool_)
    groups = {
        "boxes": looked.of("boxes"),
        "drawn": looked.in_phase("drawn") & looked.of("drawn"),
        "redrawn": sample & redrawn,
        "sample": sample,
    }
    found: dict[str, BoxCounts] = {}
    for name, rows in groups.items():
        if rows.any():
            unknown = looked.of_unknown_fault[rows].any()
            found[name] = {
                "images": int(rows.sum()),
                "top1_clas": None if unknown or classes_given else int(looked.class_right[rows].sum()),
                "predicted_loc@0.5": None if unknown else int((looked.ious[rows] >= 0.5).sum()),
                "predicted_loc@0.7": None if unknown else int((looked.ious[rows] >= 0.7).sum()),
                "top1_loc@0.5": None if classes_given else int(looked.right[rows].sum()),
            }
    if (rows := groups["boxes"]).any():
        found["whole-image"] = {
            "images": int(rows.sum()),
            "top1_clas": None,
            "predicted_loc@0.5": int((looked.whole[rows] >= 0.5).sum()),
            "predicted_loc@0.7": int((looked.whole[rows] >= 0.7).sum()),
            "top1_loc@0.5": None,
        }
    return found


def _calibrated(
    images: Sequence[LabelledImage], looked: Looked, reviewed: str
) -> tuple[NDArray[np.float64] | None, Certainty]:
    """The certainty of every image, [N], None where too few images were looked at; and what the report says of it."""
    rows = np.flatnonzero(looked.by_chance)
    right = looked.right[rows]
    found = certainty_inputs(images)
    of_looked = found[looked.places[rows]]
    plain = np.array([uncalibrated(images[place]) for place in looked.places[rows]])
    certainty: Certainty = {"uncalibrated": certainty_numbers(plain, right) if len(rows) else None}
    good, bad = int(right.sum()), int((~right).sum())
    of_whom = "of the images drawn at random" if looked.phases else "of the images with known boxes"
    if min(good, bad) < LEAST_OF_EACH:
        certainty["why_not"] = f"{of_whom} {good} are right and {bad} wrong, and {LEAST_OF_EACH} of each are needed"
        return None, certainty
    unseen = cross_fitted_chances(of_looked, right)
    certainty["calibrated"] = calibrated = certainty_numbers(unseen, right)
    assert calibrated["auroc"] is not None  # some are right, some wrong
    if calibrated["auroc"] <= 0.5:
        certainty["why_not"] = "fitted, they tell right from wrong no better than chance does; look at more images"
        return None, certainty
    certainty["calibrated_on"] = f"{len(rows)} images of {reviewed}, each by a fit to the others"
    with_signals = any(each.signals is not None for image in images for each in image.objects)
    certainty["made_of"] = "score and agreement of other looks" if with_signals else "score"
    chances = fit_chances(of_looked, right)(found)
    chances[looked.places[rows]] = unseen
    return chances, certainty


def _with_certainty(image: LabelledImage, certainty: float) -> LabelledImage:
    """The image with its certainty noted with its best object."""
    best = best_object(image)
    objects = tuple(replace(each, certainty=certainty) if each is best else each for each in image.objects)
    return replace(image, objects=objects)
