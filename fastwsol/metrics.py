"""What is counted, in whole numbers, and the percentages made of them at the very end.

- GT-known Loc: the box of the true class's map is a hit.
- Top-1 Loc: it is a hit and the image is classified right.
- Top-1 Clas: the image is classified right.

Localization is out of the images that have a ground-truth box, classification out of all. Counts of disjoint sets of
images add up to the counts of their union, so shards, batches and ranks may be counted apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IOU_THRESHOLDS = (0.3, 0.5, 0.7)


@dataclass(frozen=True)
class LocalizationCounts:
    """Numbers of images; a tuple has one for each of `IOU_THRESHOLDS`. Without arguments nothing is counted yet."""

    images: int = 0
    images_with_boxes: int = 0
    top1_clas: int = 0
    gt_known_loc: tuple[int, ...] = (0,) * len(IOU_THRESHOLDS)
    top1_loc: tuple[int, ...] = (0,) * len(IOU_THRESHOLDS)

    def __add__(self, other: LocalizationCounts) -> LocalizationCounts:
        return LocalizationCounts(
            self.images + other.images,
            self.images_with_boxes + other.images_with_boxes,
            self.top1_clas + other.top1_clas,
            tuple(a + b for a, b in zip(self.gt_known_loc, other.gt_known_loc, strict=True)),
            tuple(a + b for a, b in zip(self.top1_loc, other.top1_loc, strict=True)),
        )

    def rates(self) -> dict[str, float | None]:
        """Percentages by name: `top1_clas`, and `gt_known_loc@0.5`, `top1_loc@0.5` for each IoU threshold.

        None where there was no image to count.
        """
        rates: dict[str, float | None] = {"top1_clas": _percent(self.top1_clas, self.images)}
        for threshold, gt_known, top1 in zip(IOU_THRESHOLDS, self.gt_known_loc, self.top1_loc, strict=True):
            rates[f"gt_known_loc@{threshold}"] = _percent(gt_known, self.images_with_boxes)
            rates[f"top1_loc@{threshold}"] = _percent(top1, self.images_with_boxes)
        return rates


def count(
    hits: npt.NDArray[np.bool_],
    correct: npt.NDArray[np.bool_],
    has_boxes: npt.NDArray[np.bool_],
    valid: npt.NDArray[np.bool_],
) -> LocalizationCounts:
    """Count one batch: `hits` bool [T, N], a row for each of `IOU_THRESHOLDS`; the others bool [N].

    `correct` says that the image is classified right, `has_boxes` that it has ground truth to be localized against
    (without it no hit counts), `valid` that it is an image and not padding, which is counted nowhere.
    Raises ValueError for other shapes or dtypes.
    """
    shapes = {"hits": (len(IOU_THRESHOLDS), len(valid)), "correct": valid.shape, "has_boxes": valid.shape}
    for (name, shape), array in zip(shapes.items(), (hits, correct, has_boxes), strict=True):
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
    if any(array.dtype != np.bool_ for array in (hits, correct, has_boxes, valid)):
        raise ValueError("hits, correct, has_boxes and valid must be boolean arrays")
    localizable = has_boxes & valid
    return LocalizationCounts(
        images=int(valid.sum()),
        images_with_boxes=int(localizable.sum()),
        top1_clas=int((correct & valid).sum()),
        gt_known_loc=tuple((hits & localizable).sum(axis=1).tolist()),
        top1_loc=tuple((hits & correct & localizable).sum(axis=1).tolist()),
    )


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None
