"""Boxes that look at no image: what every localization result has to beat (docs/paper.md, "Trivial baselines").

Both are one box for all images, in the network's square; `geometry.to_original` puts it into each image's own pixels.
"""

from collections.abc import Sequence
from itertools import combinations, product

import numpy as np
import numpy.typing as npt

import kernels

COARSE_CELLS = 8  # a side of the grid that the search starts from: 36 x 36 boxes


def whole_image(image_size: int) -> npt.NDArray[np.int32]:
    """The box of the whole square, int32 [4]. On Tiny ImageNet's val it hits 52.11 % (IoU >= .5), 51.70 (>)."""
    return np.array([0, 0, image_size, image_size], np.int32)


def best_fixed_boxes(
    truths: npt.NDArray[np.float32], offsets: npt.NDArray[np.int64], image_size: int, iou_thresholds: Sequence[float]
) -> npt.NDArray[np.int32]:
    """For each IoU threshold the box that hits most images of train, int32 [T, 4], whole pixels of the network's
    square.

    `truths` float32 [M, 4] are in the square, image n owning rows offsets[n] up to offsets[n + 1]; a hit is an
    IoU >= the threshold with one of them. The search takes the best box of a coarse grid, then moves each side by
    at most a step to the best of those 81 boxes while that has more hits, then halves the step. No box that differs by
    at most a pixel a side is better than the result; one farther away could be. Of equals it keeps the box it has,
    then the first in the order of x0, y0, x1, y1, so the same boxes give the same result.

    Raises ValueError if there is no box to choose by.
    """
    if len(truths) == 0:
        raise ValueError("there are no ground-truth boxes to choose the best fixed box by")
    coarse = _coarse_boxes(image_size)
    counts = kernels.fixed_box_hits(coarse, truths, offsets, iou_thresholds)
    best = []
    for threshold, own in zip(iou_thresholds, counts.T, strict=True):
        first = int(own.argmax())
        best.append(_climb(coarse[first], int(own[first]), truths, offsets, image_size, threshold))
    return np.stack(best)


def _climb(
    box: npt.NDArray[np.int32],
    most: int,
    truths: npt.NDArray[np.float32],
    offsets: npt.NDArray[np.int64],
    image_size: int,
    iou_threshold: float,
) -> npt.NDArray[np.int32]:
    """The box that the search ends with, from `box`, which has `most` hits."""
    step = max(1, image_size // (2 * COARSE_CELLS))
    while step:
        candidates = _neighbours(box, step, image_size)
        counts = kernels.fixed_box_hits(candidates, truths, offsets, [iou_threshold])[:, 0]
        first = int(counts.argmax())
        if counts[first] > most:
            box, most = candidates[first], int(counts[first])
        else:
            step //= 2
    return box


def _coarse_boxes(image_size: int) -> npt.NDArray[np.int32]:
    """All boxes [K, 4] between the lines of the coarse grid, sorted."""
    lines = sorted({round(cell * image_size / COARSE_CELLS) for cell in range(COARSE_CELLS + 1)})
    sides = list(combinations(lines, 2))
    return np.array(sorted((x0, y0, x1, y1) for (x0, x1), (y0, y1) in product(sides, sides)), np.int32)


def _neighbours(box: npt.NDArray[np.int32], step: int, image_size: int) -> npt.NDArray[np.int32]:
    """Sorted boxes [K, 4] with each side of `box` moved by -step, 0 or step, that fit the square and are not empty."""
    moved = box + np.array(list(product((-step, 0, step), repeat=4)), np.int32)
    inside = (moved >= 0).all(axis=1) & (moved <= image_size).all(axis=1)
    return moved[inside & (moved[:, 0] < moved[:, 2]) & (moved[:, 1] < moved[:, 3])]
