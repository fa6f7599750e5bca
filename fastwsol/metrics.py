"""What is counted, in whole numbers, and the percentages made of them at the very end.

- GT-known Loc: the box of the true class's map is a hit.
- Predicted Loc: the box of the predicted class's map is a hit, whether the prediction is right or not.
- Top-1 Loc: either is a hit and the image is classified right (the two maps are then the same).
- Top-1 Clas: the image is classified right.

Localization is out of the images that have a ground-truth box, classification out of all. Counts of disjoint sets of
images add up to the counts of their union, so shards, batches and ranks may be counted apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

IOU_THRESHOLDS = (0.3, 0.5, 0.7)

CamClass = Literal["truth", "predicted"]
"""Whose map is boxed: the true class's, or the one with the highest logit."""

LOC_NAMES: dict[CamClass, str] = {"truth": "gt_known_loc", "predicted": "predicted_loc"}


@dataclass(frozen=True)
class LocalizationCounts:
    """Numbers of images; a tuple has one for each of `IOU_THRESHOLDS`. Without arguments nothing is counted yet.

    loc: the box is a hit; top1_loc: and the image is classified right.
    """

    images: int = 0
    images_with_boxes: int = 0
    top1_clas: int = 0
    loc: tuple[int, ...] = (0,) * len(IOU_THRESHOLDS)
    top1_loc: tuple[int, ...] = (0,) * len(IOU_THRESHOLDS)

    def __add__(self, other: LocalizationCounts) -> LocalizationCounts:
        return LocalizationCounts(
            self.images + other.images,
            self.images_with_boxes + other.images_with_boxes,
            self.top1_clas + other.top1_clas,
            tuple(a + b for a, b in zip(self.loc, other.loc, strict=True)),
            tuple(a + b for a, b in zip(self.top1_loc, other.top1_loc, strict=True)),
        )

    def rates(self, cam_class: CamClass = "truth") -> dict[str, float | None]:
        """Percentages by name: `top1_clas`, and for each IoU threshold `top1_loc@0.5` and `gt_known_loc@0.5`, which is
        `predicted_loc@0.5` where the boxes are of the predicted classes' maps.

        None where there was no image to count.
        """
        rates: dict[str, float | None] = {"top1_clas": _percent(self.top1_clas, self.images)}
        for threshold, loc, top1 in zip(IOU_THRESHOLDS, self.loc, self.top1_loc, strict=True):
            rates[f"{LOC_NAMES[cam_class]}@{threshold}"] = _percent(loc, self.images_with_boxes)
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
        loc=tuple((hits & localizable).sum(axis=1).tolist()),
        top1_loc=tuple((hits & correct & localizable).sum(axis=1).tolist()),
    )


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None
