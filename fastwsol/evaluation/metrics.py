"""What is counted of each image, and the percentages made of the counts at the very end.

- GT-known Loc: the box of the true class's map is a hit.
- Predicted Loc: the box of the predicted class's map is a hit, whether the prediction is right or not.
- Top-1 Loc: either is a hit and the image is classified right (the two maps are then the same).
- Top-5 Loc: the box of the true class's map is a hit and that class is among the five predicted first.
- Top-1 Clas, Top-5 Clas: the true class is predicted first, or among the first five.
- MaxBoxAcc: the highest GT-known Loc that any threshold of the map gives, at IoU .5, one box an image (Choe et al.
  2020).
- MaxBoxAccV2: the mean of that over the IoU thresholds .3, .5, .7, where the best box of all components counts. This
  gives credit to a map that falls into parts, so the same with one box an image stands beside it.

The last two choose the threshold on the boxes they are measured on: they are oracles, not what a user would get.

Localization rates are shares of the images that have a ground-truth box, classification rates are shares of all images.
Percentages are functions of counts, and counts can be added: over disjoint sets of images, and with weights, as a
bootstrap needs.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

IOU_THRESHOLDS = (0.3, 0.5, 0.7)

OBJECT_SIZES = (0.1, 0.25, 0.5, 0.75)
"""Bounds between the groups by size: the share of the image that its largest ground-truth box covers."""

TOP = 5
"""How many of the likeliest classes are kept of each image, and "Top-5" asks for."""
BEYOND_TOP_5 = TOP
"""The rank of a class that is not among the first five."""

CamClass = Literal["truth", "predicted"]
"""Whose map is boxed: the true class's, or the one with the highest logit."""

LOC_NAMES: dict[CamClass, str] = {"truth": "gt_known_loc", "predicted": "predicted_loc"}

BoolArray = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64] | npt.NDArray[np.float32]


class Outcome(NamedTuple):
    """Of each image: whether it succeeded, and whether it counts at all; bool [N]. What succeeds also counts."""

    succeeded: BoolArray
    counted: BoolArray


Outcomes = dict[str, Outcome]
"""By the name of the rate that they make: `top1_clas`, `gt_known_loc@0.5`, `top1_loc@0.5`, ..."""


class Count(NamedTuple):
    """How many images succeeded, and out of how many."""

    succeeded: int
    counted: int


def ranks(predicted: npt.NDArray, labels: npt.NDArray) -> npt.NDArray[np.int64]:
    """The rank of each label [N] among the likeliest classes, `predicted` [N, 1 to 5]: 0 is the first; BEYOND_TOP_5
    where it is none of them.

    Classes are numbers or names.
    """
    right = predicted == labels[:, np.newaxis]
    return np.where(right.any(axis=1), right.argmax(axis=1), BEYOND_TOP_5)


def outcomes(
    hits: BoolArray,
    has_boxes: BoolArray,
    ranks: npt.NDArray[np.int64] | None,
    cam_class: CamClass = "truth",
    top5: bool = True,
) -> Outcomes:
    """What happened to each image under every metric that can be told.

    hits: bool [T, N], a row for each of `IOU_THRESHOLDS`; `has_boxes` bool [N], without which no hit counts; ranks: the
    true class's [N], or None where nothing was classified; top5: whether they are known up to the fifth place. Top-5
    Loc needs the true class's map as well. Raises ValueError for other shapes or dtypes.
    """
    shapes = {"hits": (len(IOU_THRESHOLDS), len(has_boxes)), "ranks": has_boxes.shape}
    for (name, shape), array in zip(shapes.items(), (hits, ranks), strict=True):
        if array is not None and array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
    if hits.dtype != np.bool_ or has_boxes.dtype != np.bool_:
        raise ValueError("hits and has_boxes must be boolean arrays")
    of_rate: Outcomes = {}
    if ranks is not None:
        every = np.ones_like(has_boxes)
        of_rate["top1_clas"] = Outcome(ranks == 0, every)
        if top5:
            of_rate["top5_clas"] = Outcome(ranks < BEYOND_TOP_5, every)
    for iou_threshold, row in zip(IOU_THRESHOLDS, hits, strict=True):
        hit = row & has_boxes
        of_rate[f"{LOC_NAMES[cam_class]}@{iou_threshold}"] = Outcome(hit, has_boxes)
        if ranks is not None:
            of_rate[f"top1_loc@{iou_threshold}"] = Outcome(hit & (ranks == 0), has_boxes)
        if ranks is not None and top5 and cam_class == "truth":
            of_rate[f"top5_loc@{iou_threshold}"] = Outcome(hit & (ranks < BEYOND_TOP_5), has_boxes)
    return of_rate


def counts(of_images: Outcomes) -> dict[str, Count]:
    """How many images, as plain whole numbers."""
    return {name: Count(int(each.succeeded.sum()), int(each.counted.sum())) for name, each in of_images.items()}


def rates(of_images: Outcomes) -> dict[str, float | None]:
    """Percentages by name; None where there was no image to count."""
    return {name: percent(*count) for name, count in counts(of_images).items()}


def percent(succeeded: float, counted: int) -> float | None:
    """A percentage, None of nothing."""
    return 100 * succeeded / counted if counted else None


def counts_of_groups(of_images: Outcomes, groups: npt.NDArray[np.int64], number: int) -> dict[str, list[Count]]:
    """Counts of each of `number` groups of images, `groups` int64 [N] naming each image's (-1: in none)."""
    inside = groups >= 0

    def sums(flags: BoolArray) -> list[int]:
        return np.bincount(groups[inside], flags[inside], number).astype(np.int64).tolist()

    return {
        name: [Count(*pair) for pair in zip(sums(each.succeeded), sums(each.counted), strict=True)]
        for name, each in of_images.items()
    }


def size_groups(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The size group of each image, int64 [N], from the share of the image that its object covers; -1 for NaN."""
    return np.where(np.isnan(shares), -1, np.searchsorted(OBJECT_SIZES, shares, side="right"))


def max_box_acc(
    single: Counts, multiple: Counts, counted: Counts | np.int64 | int
) -> dict[str, npt.NDArray[np.float64]]:
    """The oracles over all thresholds, in percent: `max_box_acc`, `max_box_acc_v2`, `max_box_acc_v2_single`, and
    what the second is the mean of, `max_box_acc_v2@0.3` and so on.

    single, multiple: how many images are hit, [..., T, levels], a row for each of `IOU_THRESHOLDS`, by the largest
    component's box and by the best of all components' boxes; counted: out of how many images, [...]. Results are [...],
    NaN where no image counts.
    """
    denominator = np.asarray(counted, np.float64)[..., np.newaxis]
    with np.errstate(invalid="ignore"):
        best_single, best_multiple = (100 * each.max(axis=-1) / denominator for each in (single, multiple))
    return {
        "max_box_acc": best_single[..., IOU_THRESHOLDS.index(0.5)],
        "max_box_acc_v2": best_multiple.mean(axis=-1),
        "max_box_acc_v2_single": best_single.mean(axis=-1),
        **{f"max_box_acc_v2@{threshold}": best_multiple[..., k] for k, threshold in enumerate(IOU_THRESHOLDS)},
    }


CONFIDENCE = 0.95


def interval(resampled: npt.NDArray[np.float64]) -> tuple[float, float] | None:
    """The interval between the percentiles of a rate's values over resamples [B] (NaN: had nothing to count)."""
    known = resampled[~np.isnan(resampled)]
    if len(known) == 0:
        return None
    low, high = np.quantile(known, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def sign_test(only_one: int, only_other: int) -> float:
    """The exact two-sided p value that two classifiers differ by chance (McNemar's test, binomial form).

    only_one, only_other: how many images the one alone, and the other alone, got right.
    """
    number, fewer = only_one + only_other, min(only_one, only_other)
    term = total = 1  # binomial coefficients, exact
    for k in range(fewer):
        term = term * (number - k) // (k + 1)
        total += term
    return min(1.0, 2 * total / 2**number)
